"""What a model answered to every variant of every image, and the numbers that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luab_train.evaluate.probes.views import PAIRS, VARIANTS
from luab_train.metrics.places import add_up

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Probed:
    """Answers to `V` variants of `N` images; NaN where an image has no such variant.

    Args:
        image_id: (N,) text.
        label: (N,) int64.
        shown: (N, V) bool, whether the image has the variant.
        probability: (N, V, C) float32, softmax.
        point: (N, V, 2) float32, fractions of the crop; NaN if the model points at no single place.
        in_box: (N, V) bool, the point lies in a box of the image.
        boxed: (N,) bool, a box of the image meets the crop.
        centred: (N,) bool, a box of the image holds its centre.
        donor_label: (N,) int64, class of the other background; -1 without.
    """

    image_id: np.ndarray
    label: np.ndarray
    shown: np.ndarray
    probability: np.ndarray
    point: np.ndarray
    in_box: np.ndarray
    boxed: np.ndarray
    centred: np.ndarray
    donor_label: np.ndarray

    @property
    def prediction(self) -> np.ndarray:
        """(N, V) int64, the most probable class; -1 where there is no variant."""
        return np.where(self.shown, np.nan_to_num(self.probability).argmax(axis=2), -1)

    @property
    def correct(self) -> np.ndarray:
        """(N, V) bool; False where there is no variant."""
        found: np.ndarray = self.prediction == self.label[:, None]
        return found

    def save(self, file: Path) -> None:
        """Write all arrays to a compressed .npz."""
        np.savez_compressed(file, **vars(self))


def load_probed(file: Path) -> Probed:
    """Read what `Probed.save` wrote."""
    with np.load(file) as arrays:
        return Probed(**{name: arrays[name] for name in arrays.files})


def rows_of(probed: Probed) -> list[Row]:
    """`{probe, metric, value, n}`, a mean over n images; value is None over nothing.

    accuracy            of each variant, over the images that have it
    original_accuracy   of the unchanged pictures of these images
    donor_class         share of `other_background` answered with the class of the background
    less                first minus second accuracy of a pair, over the images that have both
    localisation, localisation_off_centre
                        share of points in a box of the image; off centre, of images whose boxes
                        miss the image's centre
    """
    correct, at = probed.correct, {name: i for i, name in enumerate(VARIANTS)}
    rows = []
    for name, i in at.items():
        shown = probed.shown[:, i]
        rows.append(_row(name, "accuracy", correct[:, i], shown))
        if i:
            rows.append(_row(name, "original_accuracy", correct[:, 0], shown))
        pointed = shown & probed.boxed & np.isfinite(probed.point[:, i]).all(axis=1)
        inside = probed.in_box[:, i]
        rows.append(_row(name, "localisation", inside, pointed))
        rows.append(_row(name, "localisation_off_centre", inside, pointed & ~probed.centred))
    other = at["other_background"]
    pulled = probed.prediction[:, other] == probed.donor_label
    rows.append(_row("other_background", "donor_class", pulled, probed.shown[:, other]))
    for first, second in PAIRS:
        gap = correct[:, at[first]].astype(float) - correct[:, at[second]]
        both = probed.shown[:, at[first]] & probed.shown[:, at[second]]
        rows.append(_row(f"{first} less {second}", "less", gap, both))
    return rows


def _row(probe: str, metric: str, values: np.ndarray, keep: np.ndarray) -> Row:
    sums = add_up(values, keep)
    value = sums.mean() if sums.count else None
    return {"probe": probe, "metric": metric, "value": value, "n": sums.count}
