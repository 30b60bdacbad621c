"""Sums and counts first, the division last: images, batches and groups then add up exactly.

Everything here is NumPy over the images of one split, after the predictions of all processes were
gathered and the padding of the last batch was dropped. A metric over no image is NaN, never 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from luab_train.data.boxes import Boxes, centre_distance, contains, meets


@dataclass(frozen=True)
class Sums:
    """A sum and how many values are in it."""

    total: float
    count: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.total + other.total, self.count + other.count)

    def mean(self) -> float:
        """NaN where nothing was counted."""
        return self.total / self.count if self.count else math.nan


def add_up(values: np.ndarray, keep: np.ndarray | None = None) -> Sums:
    """(N,) numbers or bools -> their sum and count, over the images `keep`, (N,) bool, or all."""
    kept = values if keep is None else values[keep]
    return Sums(float(kept.sum(dtype=np.float64)), len(kept))


class Predictions(NamedTuple):
    """What a model said about a split, in the split's order; `N` images."""

    label: np.ndarray
    """(N,) int64, the most probable class; ties go to the lowest."""
    label_loss: np.ndarray
    """(N,) float64, cross-entropy without smoothing."""
    point_px: np.ndarray
    """(N, 2) float64, px of the original image."""
    size_wh: np.ndarray
    """(N, 2) int64, px of the original image."""
    region_px: np.ndarray
    """(N, 4) xyxy px: what the network saw of the original image."""
    valid: np.ndarray = np.array(True)
    """(N,) bool, False where the image could not be decoded and the rest says nothing; one True
    for all."""


def score(predictions: Predictions, *, label: np.ndarray, boxes: Boxes) -> dict[str, float]:
    """All metrics of a split; a count is an int, a mean over nothing is NaN.

    Args:
        predictions: of N images.
        label: (N,) int64, the truth.
        boxes: of the N images, px of the original.

    Returns:
        num_images, label_loss and accuracy over all images; boxed: how many have a box that the
        crop does not leave out, and over those localisation (the point lies in any box),
        centre_localisation (the image's centre does) and point_error (distance to the nearest box
        centre, fractions of the image); off_centre: how many of them have no box that holds the
        image's centre, and localisation_off_centre over those. There, a model that always answers
        the centre scores 0. A model without a place (dwell_time) has NaN for what is of places.
    """
    size = predictions.size_wh.astype(np.float64)
    boxed = meets(boxes, predictions.region_px)
    hit = contains(boxes, predictions.point_px)
    centre_hit = contains(boxes, size / 2)
    off_centre = boxed & ~centre_hit
    distance = centre_distance(boxes, predictions.point_px, size)
    pointed = np.isfinite(predictions.point_px).all(axis=1)
    return {
        "num_images": len(label),
        "label_loss": add_up(predictions.label_loss).mean(),
        "accuracy": add_up(predictions.label == label).mean(),
        "boxed": int(boxed.sum()),
        "localisation": add_up(hit, boxed & pointed).mean(),
        "centre_localisation": add_up(centre_hit, boxed).mean(),
        "point_error": add_up(distance, boxed).mean(),
        "off_centre": int(off_centre.sum()),
        "localisation_off_centre": add_up(hit, off_centre & pointed).mean(),
    }
