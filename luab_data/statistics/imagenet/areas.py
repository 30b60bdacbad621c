"""Areas of unions of boxes, and of what a centred square cuts out of them: exact, no sampling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from luab_data.ragged import Bools, Floats, Ints, Ragged


class Rectangles(NamedTuple):
    """Rectangles that do not overlap, and the row each belongs to."""

    row: Ints  # (num_rectangles,)
    xyxy: Floats  # (num_rectangles, 4)


def disjoint(boxes: Floats, rows: Ragged) -> Rectangles:
    """Each row's union of boxes, cut into rectangles that do not overlap.

    Rows with the same number of boxes are cut together: their union is swept from left to right,
    one slab between neighbouring box edges after the other.

    Args:
        boxes: (num_boxes, 4) xyxy, any frame.
        rows: which of them belong to which row.
    """
    row, xyxy = [np.zeros(0, np.int64)], [np.zeros((0, 4))]
    for count in np.unique(rows.lengths[rows.lengths > 0]).tolist():
        having = np.flatnonzero(rows.lengths == count)
        own = boxes[rows.values[rows.bounds[having][:, None] + np.arange(count)]]
        if count == 1:
            row.append(having)
            xyxy.append(own[:, 0])
            continue
        found, rectangles = _slabs(own)
        row.append(having[found])
        xyxy.append(rectangles)
    return Rectangles(np.concatenate(row), np.concatenate(xyxy))


def _slabs(boxes: Floats) -> tuple[Ints, Floats]:
    """Sweep (num_rows, k, 4) boxes: place of the row and xyxy of each rectangle found."""
    by_top = np.take_along_axis(boxes, np.argsort(boxes[:, :, 1], axis=1)[:, :, None], axis=1)
    x0, y0, x1, y1 = np.moveaxis(by_top, 2, 0)
    edges = np.sort(np.concatenate([x0, x1], axis=1), axis=1)
    row, xyxy = [], []
    for slab in range(edges.shape[1] - 1):
        left, right = edges[:, slab], edges[:, slab + 1]
        inside = (x0 <= left[:, None]) & (right[:, None] <= x1) & (left < right)[:, None]
        for top, bottom, there in _stacked(y0, y1, inside):
            row.append(np.flatnonzero(there))
            xyxy.append(np.stack([left, top, right, bottom], axis=1)[there])
    return np.concatenate(row), np.concatenate(xyxy)


def _stacked(y0: Floats, y1: Floats, inside: Bools) -> list[tuple[Floats, Floats, Bools]]:
    """The part of each box, top ones first, that those above it in the slab leave uncovered."""
    found = []
    covered = np.full(len(y0), -np.inf)
    for box in range(y0.shape[1]):
        top = np.maximum(y0[:, box], covered)
        there = inside[:, box] & (y1[:, box] > top)
        found.append((top, y1[:, box], there))
        covered = np.where(there, y1[:, box], covered)
    return found


def centred_share(rectangles: Rectangles, num_rows: int, sides: Floats) -> Floats:
    """Share of the centred square of each side that a row's rectangles cover.

    That is the chance that a point drawn uniformly from the square lies in them.

    Args:
        rectangles: in fractions of the picture.
        sides: (num_sides,) of the square, more than 0.
    Returns: (num_rows, num_sides). Source: metrics 4.4.
    """
    share = np.zeros((num_rows, len(sides)))
    x0, y0, x1, y1 = rectangles.xyxy.T
    for k, side in enumerate(sides.tolist()):
        low, high = 0.5 - side / 2, 0.5 + side / 2
        width = np.minimum(x1, high) - np.maximum(x0, low)
        height = np.minimum(y1, high) - np.maximum(y0, low)
        area = np.maximum(width, 0) * np.maximum(height, 0)
        share[:, k] = np.bincount(rectangles.row, area, num_rows) / side**2
    return share
