"""The boxes of many images in two arrays, and the questions asked of them. Pure NumPy.

`N` images, `M` boxes in all. Boxes are xyxy in pixels of the original image; the image spans
[0, width] x [0, height]. Borders count as inside, and any box of the image will do
(docs/definitions.md#points-and-boxes).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from luab_data.columns.regions import in_any_box, sort_corners
from luab_data.ragged import Ragged


class Boxes(Ragged):
    """Image i has the boxes values[bounds[i]:bounds[i + 1]]; it may have none. `values` are (M, 4)
    float64, xmin, ymin, xmax, ymax in px, of sort_corners; `rows` are the images of the boxes.
    """

    @classmethod
    def of(cls, boxes: Iterable[np.ndarray | Sequence[Sequence[float]] | None]) -> Boxes:
        """From one (K, 4) array an image; None and empty both mean no box."""
        arrays = [
            np.zeros((0, 4)) if b is None else np.asarray(b, float).reshape(-1, 4) for b in boxes
        ]
        bounds = np.concatenate([[0], np.cumsum([len(a) for a in arrays], dtype=np.int64)])
        values = sort_corners(np.concatenate([np.zeros((0, 4)), *arrays]))
        return cls(values, bounds.astype(np.int64))

    @property
    def counts(self) -> np.ndarray:
        """(N,) int64: how many boxes each image has."""
        return self.lengths

    @property
    def centres(self) -> np.ndarray:
        """(M, 2) float64, px."""
        centres: np.ndarray = (self.values[:, :2] + self.values[:, 2:]) / 2
        return centres

    def take(self, index: np.ndarray) -> Boxes:
        """The boxes of the images `index`, in that order."""
        counts = self.counts[index]
        bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        shift = np.repeat(self.bounds[:-1][index] - bounds[:-1], counts)
        return Boxes(self.values[np.arange(bounds[-1]) + shift], bounds)


def contains(boxes: Boxes, points_px: np.ndarray) -> np.ndarray:
    """(N,) bool: is the point of image i, (N, 2) px, in any of its boxes, borders included; NaN is
    in none. The rule itself is luab_data's, so that clicks and predictions are judged alike.
    """
    rows = Ragged(np.arange(len(boxes.values)), boxes.bounds)
    one = np.ones(len(points_px))
    return in_any_box(points_px[:, 0], points_px[:, 1], one, one, boxes.values, rows)


def meets(boxes: Boxes, region_px: np.ndarray) -> np.ndarray:
    """(N,) bool: does any box of image i touch its region, (N, 4) xyxy px, borders included."""
    region = region_px[boxes.rows]
    size = np.minimum(boxes.values[:, 2:], region[:, 2:]) - np.maximum(
        boxes.values[:, :2], region[:, :2]
    )
    return boxes.any((size >= 0).all(axis=1))


def centre_distance(boxes: Boxes, points_px: np.ndarray, size_wh: np.ndarray) -> np.ndarray:
    """(N,) float64: Euclidean distance from the point to the nearest box centre; NaN without boxes.

    In fractions of the image: x differences are divided by the width, y differences by the height.
    """
    rows = boxes.rows
    offset = (boxes.centres - points_px[rows]) / size_wh[rows]
    distance = np.full(len(boxes.bounds) - 1, np.inf)
    with np.errstate(invalid="ignore"):  # a point that is NaN is nowhere near: NaN
        np.minimum.at(distance, rows, np.hypot(offset[:, 0], offset[:, 1]))
    return np.where(boxes.counts > 0, distance, np.nan)


def nearest_box(boxes: Boxes, points_px: np.ndarray) -> np.ndarray:
    """(N, 4) float64 xyxy px: the box nearest to the point; NaN without boxes or without a point.

    A box that contains the point is at distance 0; among equals, the one whose centre is nearest.
    """
    rows = boxes.rows
    points = points_px[rows]
    gap = np.maximum(np.maximum(boxes.values[:, :2] - points, points - boxes.values[:, 2:]), 0)
    to_box = np.hypot(gap[:, 0], gap[:, 1])
    to_centre = np.hypot(*(boxes.centres - points).T)
    order = np.lexsort((to_centre, to_box, rows))
    first = order[boxes.bounds[:-1][boxes.counts > 0]]
    result = np.full((len(boxes.bounds) - 1, 4), np.nan)
    result[rows[first]] = np.where(np.isfinite(to_box[first])[:, None], boxes.values[first], np.nan)
    return result


def nearest_centre(boxes: Boxes, points_px: np.ndarray) -> np.ndarray:
    """(N, 2) float64 px: centre of `nearest_box`."""
    found = nearest_box(boxes, points_px)
    centre: np.ndarray = (found[:, :2] + found[:, 2:]) / 2
    return centre
