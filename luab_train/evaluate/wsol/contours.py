"""Boxes around the contours of every superlevel set of a score map.

The set at level t holds the pixels above t. Its contours are those of OpenCV's findContours: an
outer one around each 8-connected part, and one around each 4-connected hole, on the pixels that
border the hole. There are at most 255 different sets, however many thresholds are asked for; each
is searched only in the window that follows from the maxima of rows and columns; and OpenCV's
findContoursLinkRuns finds the same parts and holes faster. What it leaves out, the
pixels above and below a hole and the area of findContours's polygons, follows from its vertices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from luab_train.evaluate.wsol.score_maps import opencv

_BLOCK = 8192
"""Vertices to measure at a time: few enough for their arrays to stay in the cache."""


class LevelBoxes(NamedTuple):
    """Boxes of `L` levels, `M` in all: level i has boxes[bounds[i]:bounds[i + 1]], or none."""

    boxes: np.ndarray
    """(M, 4) int64 xyxy px of the map, in no order; the far corner is exclusive: x1 - x0 is the
    width."""
    bounds: np.ndarray
    """(L + 1,) int64."""
    largest: np.ndarray
    """(L,) int64: index of the box of the contour with the largest polygon area, findContours's
    first of equals; -1 if none. A contour that encloses no pixel centre has area 0."""


class _Contours(NamedTuple):
    """Boxes as above, and (M,) int64 doubled areas of the polygons; 0 for a level's only one."""

    boxes: np.ndarray
    areas: np.ndarray


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
    y0, y1 = _extent(grey.max(axis=1), levels)
    x0, x1 = _extent(grey.max(axis=0), levels)
    windows = np.stack([x0, y0, x1, y1], axis=1)
    # Since OpenCV 4.10.
    link = getattr(cv2, "findContoursLinkRuns", None)
    count, measured = _search(grey, levels, windows, link)
    bounds = np.concatenate([[0], np.cumsum(count)])
    boxes, areas = windows.repeat(count, axis=0), np.zeros(bounds[-1], np.int64)
    if measured:
        several = np.flatnonzero((count > 1).repeat(count))
        corner = boxes[several][:, [0, 1, 0, 1]]
        boxes[several] = np.concatenate([part.boxes for part in measured]) + corner
        areas[several] = np.concatenate([part.areas for part in measured])
    largest, tied = _first_largest(areas, bounds)
    if link is not None:
        for i in np.flatnonzero(tied).tolist():
            largest[i] = bounds[i] + _findcontours_choice(
                grey, levels[i], windows[i], boxes[bounds[i] : bounds[i + 1]]
            )
    return LevelBoxes(boxes, bounds, largest)


def _search(
    grey: np.ndarray, levels: np.ndarray, windows: np.ndarray, link: Callable[..., Any] | None
) -> tuple[np.ndarray, list[_Contours]]:
    """(L,) how many contours each level has, and those of the levels with more than one.

    Boxes are px of the level's window, (L, 4). The only contour of a set fills its window.
    """
    cv2 = opencv()
    find, measure = (link, _of_runs) if link is not None else (_find_contours, _of_polygons)
    measured: list[_Contours] = []
    waiting: list[np.ndarray] = []
    num_waiting, counts = 0, []
    for level, (left, top, right, bottom) in zip(levels.tolist(), windows.tolist(), strict=True):
        binary = cv2.threshold(grey[top:bottom, left:right], level, 1, cv2.THRESH_BINARY)[1]
        contours = find(binary)[0]
        counts.append(len(contours))
        if len(contours) > 1:
            waiting.extend(contours)
            num_waiting += sum(map(len, contours))
            if num_waiting > _BLOCK:
                measured.append(measure(waiting))
                waiting, num_waiting = [], 0
    if waiting:
        measured.append(measure(waiting))
    return np.array(counts, np.int64), measured


def _extent(highest: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L,), (L,): first and one past the last place where `highest`, (W,), is above each level."""
    first = np.maximum.accumulate(highest).searchsorted(levels, side="right")
    last = np.maximum.accumulate(highest[::-1]).searchsorted(levels, side="right")
    return first, len(highest) - last


def _find_contours(binary: np.ndarray) -> tuple[list[np.ndarray]]:
    """Contours of OpenCV's border following, all of them, in its order."""
    cv2 = opencv()
    # OpenCV 3 returns (image, contours, hierarchy), the others (contours, hierarchy).
    return (cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2],)


def _of_polygons(contours: list[np.ndarray]) -> _Contours:
    """What boundingRect and contourArea say of M contours of findContours, each (n, 1, 2).

    Exactly so: all terms are whole numbers.
    """
    x, y, next_x, next_y, starts = _vertices(contours)
    doubled = np.add.reduceat(x * next_y - next_x * y, starts)
    low = np.minimum.reduceat(x, starts), np.minimum.reduceat(y, starts)
    high = np.maximum.reduceat(x, starts) + 1, np.maximum.reduceat(y, starts) + 1
    return _Contours(np.stack([*low, *high], axis=1), np.abs(doubled))


def _of_runs(contours: list[np.ndarray]) -> _Contours:
    """The same of contours of findContoursLinkRuns, whose vertices are the ends of runs.

    A run is a stretch of pixels in a row. Every contour starts at the left end of one and has the
    pixels to its right: a step down joins two right ends, a step up two left ends, a step within a
    row goes to the other end of the run or across a gap to the next run. Between two rows,
    findContours's polygon reaches to the nearer of the two ends, and half a pixel more if they
    differ; across a gap it dips into it, to within a pixel of its ends. The pixels above and below
    a hole, which are part of findContours's, have no vertex.
    """
    x, y, next_x, next_y, starts = _vertices(contours)
    step, run = next_y - y, next_x - x
    within = step == 0
    # Whether a vertex is a right end: every step within a row goes to an end of the other kind.
    # Only the parity matters, so the count may wrap around.
    turns = np.cumsum(within, dtype=np.uint8) - within
    turns -= np.repeat(turns[starts], np.diff(starts, append=len(x)))
    crosses_gap = (turns & 1).astype(bool) == (run > 0)
    # A gap counts twice, for the two ends that meet there, and a run not at all.
    weight = np.where(within, 2 * crosses_gap, 1)
    doubled = step * (x + next_x) - weight * np.maximum(np.abs(run) - 1, 0)
    doubled = np.add.reduceat(doubled, starts)
    # Around a hole the pixels are to the right all the same, so it is walked the other way.
    hole = (doubled < 0).astype(np.int64)
    boxes = [
        np.minimum.reduceat(x, starts),
        np.minimum.reduceat(y, starts) - hole,
        np.maximum.reduceat(x, starts) + 1,
        np.maximum.reduceat(y, starts) + 1 + hole,
    ]
    return _Contours(np.stack(boxes, axis=1), np.abs(doubled))


def _vertices(contours: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """x, y, and x and y of the next vertex, each (V,) int32; (M,) where each contour starts."""
    ends = np.cumsum([len(contour) for contour in contours])
    starts = np.concatenate([[0], ends[:-1]])
    points = np.concatenate(contours)[:, 0].T
    following = np.roll(points, -1, axis=1)
    following[:, ends - 1] = points[:, starts]
    return *np.ascontiguousarray(points), *np.ascontiguousarray(following), starts


def _first_largest(values: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L,) int64 index of the first largest of values[bounds[i]:bounds[i + 1]], never empty; and
    (L,) bool, whether it has an equal.
    """
    starts = bounds[:-1]
    is_highest = values == np.repeat(np.maximum.reduceat(values, starts), np.diff(bounds))
    candidates = np.flatnonzero(is_highest)
    first = candidates[np.searchsorted(candidates, starts)]
    return first, np.add.reduceat(is_highest.astype(np.int64), starts) > 1


def _findcontours_choice(
    grey: np.ndarray, level: int, window: np.ndarray, boxes: np.ndarray
) -> int:
    """Which of the level's boxes, (m, 4), belongs to findContours's first largest contour."""
    left, top, right, bottom = window.tolist()
    binary = (grey[top:bottom, left:right] > level).astype(np.uint8)
    traced = _of_polygons(_find_contours(binary)[0])
    chosen = traced.boxes[traced.areas.argmax()] + window[[0, 1, 0, 1]]
    return int((boxes == chosen).all(axis=1).argmax())


def _take(sets: LevelBoxes, index: np.ndarray) -> LevelBoxes:
    """The boxes of the levels `index`, (L,), in that order."""
    counts = np.diff(sets.bounds)[index]
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    shift = sets.bounds[:-1][index] - bounds[:-1]
    boxes = sets.boxes[np.arange(bounds[-1]) + np.repeat(shift, counts)]
    largest = np.where(counts > 0, sets.largest[index] - shift, -1)
    return LevelBoxes(boxes, bounds, largest)
