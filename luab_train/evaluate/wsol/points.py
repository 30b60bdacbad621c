"""Point metrics beside the boxes: predicted point, peak of the map, and the human click.

`N` images. Points are xy fractions of the whole image; boxes are px of the original. The image is
resized to the network's input without a crop, so fractions of the input are fractions of the image.
A point on a border is inside, and any box of the image will do
(docs/definitions.md#pointing-accuracy).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from luab_train.data.boxes import Boxes, any_box, contains
from luab_train.train.metrics import Sums, add_up

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
    return any_box(boxes, holds)
