"""Convex hulls of many small sets of points at once, exact to the last bit.

A point of a set sorted by (x, y) is a corner of the lower hull if every slope to an earlier point
is less than every slope to a later one, and of the upper hull if every one is greater. Slopes of
all pairs are whole-array arithmetic, so there is no loop over rows; rounded slopes that are too
close to compare (nearly or exactly collinear corners) are left to GEOS, whose orientation test is
extended in precision. Measured on 17,849 simulated clicks: 5 % of the rows are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import shapely

from luab_data.ragged import Bools, Floats, Ints

# A slope of two subtractions and a division is off by at most 1.5 eps; two of them by twice that.
_TOLERANCE = 8 * np.finfo(np.float64).eps
# Coordinates of this size (or 0) can neither overflow nor underflow in a slope.
_LEAST, _MOST = 1e-100, 1e100


class Hulls(NamedTuple):
    """Corners of each row's hull, rows one after the other, and its area."""

    x: Floats  # (num_corners,)
    y: Floats  # (num_corners,)
    counts: Ints  # (num_rows,) corners of each row
    area: Floats  # (num_rows,)


def convex_hulls(x: Floats, y: Floats) -> Hulls:
    """Convex hull of the points of each row.

    Args:
        x, y: (num_rows, num_points); NaN in both where a row has fewer points.
    Returns: corners clockwise with y up (so counter-clockwise as seen with y down) from the
    leftmost, then lowest-y one, not closed, without collinear ones; one or two corners and area 0
    where the points coincide or are collinear; none where there are no points. The area is in the
    square of the points' unit.
    Source: corners equal those of GEOS (shapely.convex_hull, normalised); tests compare them.
    """
    points = np.empty(x.shape, np.complex128)
    points.real, points.imag = x, y
    points.sort(axis=1)  # complex numbers sort by (real, imaginary), NaN last
    xs, ys = points.real.T.copy(), points.imag.T.copy()
    upper, lower, unsure = _corners(xs, ys)
    unsure |= ~_comparable(xs, ys)
    upper[:, unsure] = lower[:, unsure] = False
    # Along the upper corners to the right, back along the lower ones.
    ring = np.concatenate([upper, lower[::-1]]).T
    counts = np.count_nonzero(ring, axis=1)
    rows = np.repeat(np.arange(len(counts)), counts)
    flat_x = np.concatenate([xs, xs[::-1]]).T[ring]
    flat_y = np.concatenate([ys, ys[::-1]]).T[ring]
    if unsure.any():
        others = _geos(x[unsure], y[unsure])
        flat_x, flat_y, rows = _merge((flat_x, flat_y, rows), others, np.flatnonzero(unsure))
        counts = np.bincount(rows, minlength=len(counts))
    with np.errstate(over="ignore", invalid="ignore"):
        area = _areas(flat_x, flat_y, counts, len(xs))
    return Hulls(flat_x, flat_y, counts, area)


def _corners(x: Floats, y: Floats) -> tuple[Bools, Bools, Bools]:
    """Which of the sorted points (num_points, num_rows) are upper and inner lower corners.

    Returns: two masks of the shape of x, and a (num_rows,) mask of rows where rounding may decide.
    """
    least_back = np.full(x.shape, np.inf)  # of the slopes to earlier points
    most_back = np.full(x.shape, -np.inf)
    least_on, most_on = least_back.copy(), most_back.copy()  # of the slopes to later points
    with np.errstate(all="ignore"):
        for gap in range(1, len(x)):
            slope = (y[gap:] - y[:-gap]) / (x[gap:] - x[:-gap])  # inf if above; NaN if the same
            for least in (least_back[gap:], least_on[:-gap]):
                np.fmin(least, slope, out=least)
            for most in (most_back[gap:], most_on[:-gap]):
                np.fmax(most, slope, out=most)
    first = ~np.isnan(x)  # the first of equal points stands for all
    first[1:] &= (x[1:] != x[:-1]) | (y[1:] != y[:-1])
    between = first & (most_back > -np.inf) & (most_on > -np.inf)
    close = _close(least_back, most_on) | _close(most_back, least_on)
    upper = first & ((least_back > most_on) | (most_back == -np.inf))
    lower = between & (most_back < least_on)
    unsure: Bools = np.any(between & close, axis=0)
    return upper, lower, unsure


def _close(a: Floats, b: Floats) -> Bools:
    """Where rounding may have turned a < b into a > b. A zero slope is exact, and so is inf."""
    with np.errstate(invalid="ignore"):
        off = np.abs(a - b)
        near = (off <= _TOLERANCE * np.maximum(np.abs(a), np.abs(b))) & np.isfinite(off)
    close: Bools = near & ((a != 0) | (b != 0))
    return close


def _comparable(x: Floats, y: Floats) -> Bools:
    """(num_rows,) rows whose slopes cannot leave the range of float64, and without -0.0.

    GEOS keeps the first of 0.0 and -0.0, sorting does not know them apart.
    """
    fine = np.ones(x.shape[1], bool)
    for values in (x, y):
        size = np.abs(values)
        with np.errstate(invalid="ignore"):
            odd = ((size < _LEAST) & (size > 0)) | (size > _MOST) | np.signbit(values) & (size == 0)
        fine &= ~odd.any(axis=0)
    return fine


def hulls_of(x: Floats, y: Floats, bounds: Ints) -> Hulls:
    """Convex hulls of the points of each row that has any, however many they are.

    Args:
        x, y: (num_points,) row i has the points bounds[i]:bounds[i + 1].
    Returns: as of convex_hulls, of the rows with points.
    """
    lengths = np.diff(bounds)
    lengths = lengths[lengths > 0]
    row = np.repeat(np.arange(len(lengths)), lengths)
    # A line wants two points, so every row begins with its first one twice.
    index = np.repeat(np.arange(len(row)), 1 + (np.diff(row, prepend=-1) > 0))
    lines = shapely.linestrings(np.stack([x[index], y[index]], axis=1), indices=row[index])
    hull_x, hull_y, owner = _corners_of(lines)
    counts = np.bincount(owner, minlength=len(lengths))
    return Hulls(hull_x, hull_y, counts, _areas(hull_x, hull_y, counts, counts.max(initial=0)))


Corners = tuple[Floats, Floats, Ints]
"""x, y and the row of corners."""


def _geos(x: Floats, y: Floats) -> Corners:
    """The hulls of the points (num_rows, num_points), by GEOS."""
    # Missing points become the row's first one: repeating it does not change the hull, and a
    # line string wants two points where a multipoint would cost an object for each.
    there = ~np.isnan(x)
    chosen = np.where(there, np.arange(x.shape[1]), there.argmax(axis=1)[:, None])
    points = np.stack([np.take_along_axis(v, chosen, axis=1) for v in (x, y)], axis=2)
    return _corners_of(shapely.linestrings(points))


def _corners_of(lines: Any) -> Corners:
    """The hulls of line strings (num_rows,), by GEOS."""
    with np.errstate(over="ignore", invalid="ignore"):
        # normalize: rings start at their least vertex and run one way round.
        shapes = shapely.normalize(shapely.convex_hull(lines))
    xy, owner = shapely.get_coordinates(shapes, return_index=True)
    closed = shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON
    last = np.flatnonzero(np.diff(owner, append=-1))
    keep = np.ones(len(xy), bool)
    keep[last[closed]] = False  # a ring repeats its first vertex
    return xy[keep, 0], xy[keep, 1], owner[keep]


def _merge(sure: Corners, others: Corners, rows: Ints) -> Corners:
    """The corners of both in row order; `rows` are the rows of the others."""
    row = np.concatenate([sure[2], rows[others[2]]])
    order = np.argsort(row, kind="stable")
    x, y = (np.concatenate([sure[i], others[i]])[order] for i in (0, 1))
    return x, y, row[order]


def _areas(x: Floats, y: Floats, counts: Ints, most: int) -> Floats:
    """(num_rows,) shoelace areas, x taken from the first corner as GEOS does; 0 below 3 corners.

    The terms are added in the order of the corners, so the last bit does not depend on the batch.
    """
    area = np.zeros(len(counts))
    rings = np.flatnonzero(counts > 2)
    if not len(rings):
        return area
    starts = (np.cumsum(counts) - counts)[rings]
    step = np.arange(most + 1)[:, None]
    # Past its last corner a ring closes at its first.
    index = np.where(step < counts[rings], starts + step, starts)
    xs, ys = x[index] - x[starts], y[index]
    total = np.zeros(len(rings))
    for k in range(1, most):
        total += np.where(k < counts[rings], xs[k] * (ys[k - 1] - ys[k + 1]), 0)
    area[rings] = np.abs(total / 2)
    return area
