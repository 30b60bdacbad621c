"""Points and boxes: sums and counts first, the division last, so that images, batches, processes
and groups add up exactly. A metric over no image is NaN, never 0.

`N` images. A point on a border is inside, and any box of the image will do
(docs/definitions.md#pointing-accuracy).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from luab_train.data.boxes import Boxes, centre_distance, contains, meets
from luab_train.recipe import Recipe


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


PointSums = Mapping[str, Sums]


def point_update(
    boxes: Boxes,
    size_wh: np.ndarray,
    *,
    peak: np.ndarray,
    point: np.ndarray,
    click: np.ndarray,
) -> dict[str, Sums]:
    """Sums of a batch, by the name of the metric.

    peak_in_box: over images with a box; a flat map has no peak and misses. centre_in_box: the
    image's centre, what a model that always says "middle" scores. point_in_box: over images with a
    predicted point. peak_to_click, point_to_click: distance in fractions of the image.
    peak_with_click, point_with_click: over clicks that lie in a box, is it in a box with the click.

    Args:
        boxes: (N images) px of the originals.
        size_wh: (N, 2) px of the originals.
        peak: (N, 2); NaN for a flat map.
        point: (N, 2); NaN without a trained point head.
        click: (N, 2); NaN where no human clicked.
    """
    size = size_wh.astype(np.float64)
    boxed = boxes.counts > 0
    predicted, clicked = np.isfinite(point).all(axis=1), np.isfinite(click).all(axis=1)
    click_boxed = contains(boxes, click * size)
    return {
        "peak_in_box": add_up(contains(boxes, peak * size), boxed),
        "centre_in_box": add_up(contains(boxes, size / 2), boxed),
        "point_in_box": add_up(contains(boxes, point * size), boxed & predicted),
        "peak_to_click": _distance(peak, click),
        "point_to_click": _distance(point, click),
        "peak_with_click": add_up(_share_a_box(boxes, size, peak, click), click_boxed),
        "point_with_click": add_up(
            _share_a_box(boxes, size, point, click), click_boxed & predicted
        ),
        "click_in_box": add_up(click_boxed, boxed & clicked),
    }


def point_compute(sums: PointSums) -> dict[str, float]:
    """Means by name, each followed by `_n`, how many images it is over; NaN over none."""
    return {
        key: value
        for name, total in sums.items()
        for key, value in ((name, total.mean()), (f"{name}_n", total.count))
    }


def no_points() -> dict[str, Sums]:
    """Sums of no image."""
    none = np.zeros((0, 2))
    return point_update(Boxes.of([]), none, peak=none, point=none, click=none)


def add_points(a: PointSums, b: PointSums) -> dict[str, Sums]:
    """Sums of two batches, of the same metrics."""
    return {name: total + b[name] for name, total in a.items()}


def _distance(a: np.ndarray, b: np.ndarray) -> Sums:
    distance = np.hypot(*(a - b).T)
    return add_up(distance, np.isfinite(distance))


def _share_a_box(boxes: Boxes, size: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) bool: is there one box that holds both points."""
    rows = boxes.rows
    holds = np.ones(len(rows), bool)
    for point in (a, b):
        place = (point * size)[rows]
        # Comparisons with NaN are False.
        holds &= ((boxes.values[:, :2] <= place) & (place <= boxes.values[:, 2:])).all(axis=1)
    return boxes.any(holds)


_OF_PLACE = frozenset({"localisation", "localisation_off_centre", "point_error"})


def is_of_place(metric: str) -> bool:
    """Whether a metric judges the point of the head; it says nothing where that learned no place.

    Args:
        metric: key of a line of metrics.jsonl, without `val_`.
    """
    return metric in _OF_PLACE


def learns_place(recipe: Recipe) -> bool:
    """Whether the point that a recipe's head answers was learned.

    Not without targets or weight, unless the labels train the map that the classifier looks
    through; and dwell time is no place.
    """
    if recipe.target == "dwell_time":
        return False
    is_trained = recipe.target != "none" and recipe.loss.lambda_reg > 0
    return is_trained or recipe.model.attentive_pooling
