"""What metrics take of stored predictions: of one part, a number an image in each of its cells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from luab_train.evaluate.classes import real_labels_of
from luab_train.evaluate.predictions import Predicted
from luab_train.metrics.robustness import NUM_BINS, confidence_bins, is_accepted
from luab_train.metrics.sums import Cell


def right(part: Predicted, *, first_only: bool = False) -> np.ndarray:
    """(N,) bool: is the answer one of the classes that are right."""
    return is_accepted(part.top1, part.label, part.accepted, first_only=first_only)


def correct(part: Predicted) -> Iterator[Cell]:
    """Right or wrong."""
    yield Cell(part.name, part.image_id, right(part))


def first_correct(part: Predicted) -> Iterator[Cell]:
    """Right or wrong, where only the first of the classes that are right counts."""
    yield Cell(part.name, part.image_id, right(part, first_only=True))


def real(part: Predicted) -> Iterator[Cell]:
    """ReaL: the answer is among the image's labels; over the images that have one."""
    ((name, image_id, value),) = real_all(part)
    labelled = np.array([bool(real_labels_of(i)) for i in image_id.tolist()], dtype=bool)
    yield Cell(name, image_id[labelled], value[labelled])


def real_all(part: Predicted) -> Iterator[Cell]:
    """ReaL over all images; one without a label is wrong."""
    pairs = zip(part.top1.tolist(), part.image_id.tolist(), strict=True)
    value = np.array([top1 in real_labels_of(image_id) for top1, image_id in pairs], dtype=bool)
    yield Cell(part.name, part.image_id, value)


def robust(part: Predicted) -> Iterator[Cell]:
    """Right on every background."""
    value = part.table["is_robust"].to_numpy(zero_copy_only=False).astype(bool)
    yield Cell(part.name, part.image_id, value)


def unsure(part: Predicted) -> Iterator[Cell]:
    """Minus the maximal probability: higher for what looks out of distribution."""
    yield Cell(part.name, part.image_id, -part.max_probability)


def low_logit(part: Predicted) -> Iterator[Cell]:
    """Minus the highest logit. Source: Hendrycks et al., Scaling out-of-distribution detection for
    real-world settings, ICML 2022.
    """
    yield Cell(part.name, part.image_id, -part.numbers("max_logit"))


def low_energy(part: Predicted) -> Iterator[Cell]:
    """Minus the logarithm of the logits' sum of exponentials. Source: Liu et al., Energy-based
    out-of-distribution detection, NeurIPS 2020.
    """
    yield Cell(part.name, part.image_id, -part.numbers("energy"))


def surprise(part: Predicted) -> Iterator[Cell]:
    """Minus the logarithm of the probability of what is right, in nats."""
    yield Cell(part.name, part.image_id, -part.numbers("label_log_probability"))


BINS = tuple(f"bin {k + 1}" for k in range(NUM_BINS))
"""Cells of `overconfidence`."""


def overconfidence(part: Predicted) -> Iterator[Cell]:
    """Confidence less right or wrong, each image in the cell of its confidence."""
    excess, place = part.max_probability - right(part), confidence_bins(part.max_probability)
    for k, name in enumerate(BINS):
        yield Cell(name, part.image_id[place == k], excess[place == k])


def nothing(_: Predicted) -> Iterator[Cell]:
    """No number an image: the metric has another way."""
    yield from ()


def top1_localised(part: Predicted, *, overlap: str = "iou") -> Iterator[Cell]:
    """Class and box are both right, at the best threshold of the model."""
    same = part.table["predicted"].to_numpy() == part.table["label"].to_numpy()
    yield Cell(part.name, part.image_id, same & (part.table[overlap].to_numpy() >= 0.5))


def top1_localised_fixed(part: Predicted) -> Iterator[Cell]:
    """Class and box are both right, at the fixed threshold."""
    yield from top1_localised(part, overlap="iou_fixed")


def peak_in_box(part: Predicted) -> Iterator[Cell]:
    """The peak of the map is in a box; a flat map has no peak and misses."""
    yield Cell(part.name, part.image_id, np.nan_to_num(_inside(part, "peak_in_box")) > 0)


def point_in_box(part: Predicted) -> Iterator[Cell]:
    """The predicted point is in a box; a head that was not trained says nothing."""
    inside = _inside(part, "point_in_box")
    seen = np.isfinite(inside)
    yield Cell(part.name, part.image_id[seen], inside[seen] > 0)


def _inside(part: Predicted, column: str) -> np.ndarray:
    values: np.ndarray = part.table[column].cast(pa.float64()).to_numpy()
    return values
