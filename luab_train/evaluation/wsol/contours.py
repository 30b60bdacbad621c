"""Boxes around the contours of every superlevel set of a score map.

The set at level t holds the pixels above t. Its contours are OpenCV's: an outer one around each
8-connected part, and one around each 4-connected hole, on the pixels that border the hole. There
are at most 255 different sets, however many thresholds are asked for, and each lies in a window
that follows from the maxima of rows and columns; only that window is searched.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from luab_train.evaluation.wsol.opencv import opencv


class LevelBoxes(NamedTuple):
    """Boxes of `L` levels, `M` in all: level i has boxes[bounds[i]:bounds[i + 1]], or none."""

    boxes: np.ndarray
    """(M, 4) int64 xyxy px of the map, in OpenCV's order; the far corner is exclusive: x1 - x0 is
    the width."""
    bounds: np.ndarray
    """(L + 1,) int64."""
    largest: np.ndarray
    """(L,) int64: index of the box of the contour with the largest polygon area, the first of
    equals; -1 if none. A contour that encloses no pixel centre has area 0."""


def level_boxes(grey: np.ndarray, levels: np.ndarray) -> LevelBoxes:
    """The boxes of a map at some levels.

    Args:
        grey: (H, W) uint8.
        levels: (L,) int64, 0 to 255, any order, repeats allowed.
    """
    # Two levels with no grey value between them have the same set.
    present = np.flatnonzero(np.bincount(grey.ravel(), minlength=256))
    rank, back = np.unique(np.searchsorted(present, levels, side="right"), return_inverse=True)
    inside = rank < len(present)
    sets = _nested_boxes(grey, present[rank[inside]] - 1)
    # The empty set, above the highest value, sorts last.
    if not inside.all():
        sets = LevelBoxes(
            sets.boxes, np.append(sets.bounds, sets.bounds[-1]), np.append(sets.largest, -1)
        )
    return _take(sets, back)


def _nested_boxes(grey: np.ndarray, levels: np.ndarray) -> LevelBoxes:
    """The same for levels whose sets differ and are not empty."""
    cv2 = opencv()
    find, tree, simple = cv2.findContours, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE
    threshold, binary = cv2.threshold, cv2.THRESH_BINARY
    y0, y1 = _extent(grey.max(axis=1), levels)
    x0, x1 = _extent(grey.max(axis=0), levels)
    found, counts = [], []
    windows = np.stack([levels, y0, y1, x0, x1], axis=1).tolist()
    for level, top, bottom, left, right in windows:
        _, binary_map = threshold(grey[top:bottom, left:right], level, 1, binary)
        # OpenCV 3 returns (image, contours, hierarchy), the others (contours, hierarchy).
        contours = find(binary_map, tree, simple)[-2]
        found.extend(contours)
        counts.append(len(contours))
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if not found:
        return LevelBoxes(np.zeros((0, 4), np.int64), bounds, np.zeros(0, np.int64))
    boxes, areas = _boxes_and_areas(found)
    corner = np.repeat(np.stack([x0, y0, x0, y0], axis=1), counts, axis=0)
    return LevelBoxes(boxes + corner, bounds, _first_largest(areas, bounds))


def _extent(highest: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L,), (L,): first and one past the last place where `highest`, (W,), is above each level."""
    above = highest[None] > levels[:, None]
    return above.argmax(axis=1), len(highest) - above[:, ::-1].argmax(axis=1)


def _boxes_and_areas(contours: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(M, 4) int64 boxes and (M,) int64 doubled polygon areas of M contours, each (n, 1, 2).

    What boundingRect and contourArea return one by one, exactly: all terms are whole numbers.
    """
    ends = np.cumsum([len(contour) for contour in contours])
    starts = np.concatenate([[0], ends[:-1]])
    points = np.concatenate(contours)[:, 0].astype(np.int64)
    low = np.minimum.reduceat(points, starts)
    high = np.maximum.reduceat(points, starts) + 1
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = starts
    x, y = points.T
    cross = x * y[following] - x[following] * y
    return np.concatenate([low, high], axis=1), np.abs(np.add.reduceat(cross, starts))


def _first_largest(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(L,) int64: index of the first largest of values[bounds[i]:bounds[i + 1]], never empty."""
    starts = bounds[:-1]
    highest = np.repeat(np.maximum.reduceat(values, starts), np.diff(bounds))
    candidates = np.flatnonzero(values == highest)
    first: np.ndarray = candidates[np.searchsorted(candidates, starts)]
    return first


def _take(sets: LevelBoxes, index: np.ndarray) -> LevelBoxes:
    """The boxes of the levels `index`, (L,), in that order."""
    counts = np.diff(sets.bounds)[index]
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    shift = sets.bounds[:-1][index] - bounds[:-1]
    boxes = sets.boxes[np.arange(bounds[-1]) + np.repeat(shift, counts)]
    largest = np.where(counts > 0, sets.largest[index] - shift, -1)
    return LevelBoxes(boxes, bounds, largest)
