"""Hulls of many rows at once against GEOS, row by row, to the last bit."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import shapely
from hypothesis import given

from luab_data.columns.hulls import convex_hulls

Row = list[tuple[float, float]]
MOST = 9


def packed(rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """(num_rows, MOST) x and y, NaN where a row has fewer points."""
    x, y = np.full((2, len(rows), MOST), np.nan)
    for i, row in enumerate(rows):
        for j, point in enumerate(row):
            x[i, j], y[i, j] = point
    return x, y


def hulls(rows: list[Row]) -> list[tuple[str, float]]:
    """Corners (as text, which tells 0.0 from -0.0) and area of each row."""
    found = convex_hulls(*packed(rows))
    ends = np.cumsum(found.counts)
    corners = list(zip(found.x.tolist(), found.y.tolist(), strict=True))
    cut = [repr(corners[end - n : end]) for end, n in zip(ends, found.counts, strict=True)]
    return list(zip(cut, found.area.tolist(), strict=True))


def one_by_one(row: Row) -> tuple[str, float]:
    """The slow, obvious way."""
    if not row:
        return "[]", 0.0
    with np.errstate(all="ignore"):
        shape = shapely.normalize(shapely.convex_hull(shapely.multipoints(np.array(row))))
        corners = [tuple(xy) for xy in shapely.get_coordinates(shape).tolist()]
        if shape.geom_type == "Polygon":
            corners.pop()  # a ring repeats its first vertex
        return repr(corners), float(shapely.area(shape))


def same(found: tuple[str, float], expected: tuple[str, float]) -> bool:
    areas = found[1], expected[1]
    # GEOS is compiled with fused multiply-add on some machines: the last bit of an area is its.
    close = math.isclose(*areas, rel_tol=1e-12, abs_tol=1e-300) or all(map(math.isnan, areas))
    return found[0] == expected[0] and close


grid = st.integers(0, 3).map(lambda k: k / 324)
coarse = st.integers(0, 8).map(lambda k: k / 7)
neighbour = st.integers(0, 4).map(lambda k: 0.5 + k * 2.0**-53)
odd = st.sampled_from([0.0, -0.0, 5e-324, 1e-310, 1e-101, 0.1, 0.2, 0.3, 1.0, 1e101])
number = st.one_of(grid, coarse, neighbour, odd, st.floats(-1e3, 1e3))
row_of = st.one_of(
    *(st.lists(st.tuples(n, n), max_size=MOST) for n in (grid, coarse, neighbour, odd, number))
)


@given(st.lists(row_of, max_size=6))
def test_hulls_of_drawn_points_equal_those_of_geos(rows: list[Row]):
    found = hulls(rows)
    for row, (corners, area) in zip(rows, found, strict=True):
        assert same((corners, area), one_by_one(row)), row


def seeded(kind: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, MOST) points that are hard in one way."""
    rng = np.random.default_rng(1)
    shape = (count, MOST)
    if kind == "fractions":
        return tuple(rng.random((2, *shape)))
    if kind == "grid":
        return tuple(rng.integers(0, 5, (2, *shape)) / 340)
    if kind == "neighbours":
        return tuple(0.5 + rng.integers(0, 6, (2, *shape)) * 2.0**-53)
    if kind == "nearly on a line":  # rounding decides: slopes alone get some of these wrong
        start, step = rng.random((2, count, 1)), rng.random(shape) * 0.3
        return start[0] + step, start[1] + rng.normal(size=(count, 1)) * step
    start, steps = rng.integers(0, 300, (2, count, 1)), rng.integers(0, 9, shape)
    step = rng.integers(-7, 8, (2, count, 1))
    return (start[0] + steps * step[0]) / 324, (start[1] + steps * step[1]) / 243


@pytest.mark.parametrize(
    "kind", ["fractions", "grid", "neighbours", "nearly on a line", "pixels of a line"]
)
def test_hulls_of_many_seeded_rows_equal_those_of_geos(kind: str):
    x, y = seeded(kind, 4000)
    rng = np.random.default_rng(7)
    sizes = rng.integers(1, MOST + 4, len(x)).clip(max=MOST)
    rows = [
        list(zip(a[:n].tolist(), b[:n].tolist(), strict=True))
        for a, b, n in zip(x, y, sizes, strict=True)
    ]
    for row, found in zip(rows, hulls(rows), strict=True):
        assert same(found, one_by_one(row)), row


@given(st.lists(row_of, min_size=2, max_size=6), st.integers(1, 5))
def test_a_hull_does_not_depend_on_the_rows_beside_it(rows: list[Row], cut: int):
    apart = [h for part in (rows[:cut], rows[cut:]) if part for h in hulls(part)]
    assert repr(apart) == repr(hulls(rows))


@given(row_of, st.randoms(use_true_random=False))
def test_a_hull_holds_its_points_and_does_not_depend_on_their_order(row: Row, random: object):
    mixed = list(row)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    (corners, area), (again, area_again) = hulls([row])[0], hulls([mixed])[0]
    # 0.0 and -0.0 are one point: which of them stands there may depend on the order.
    assert corners.replace("-0.0", "0.0") == again.replace("-0.0", "0.0")
    assert area == area_again or math.isclose(area, area_again, rel_tol=1e-9)


def test_degenerate_rows_have_two_one_or_no_corners_and_area_zero():
    rows: list[Row] = [
        [],
        [(0.5, 0.25)] * 3,
        [(0.3, 0.3), (0.1, 0.1), (0.2, 0.2)],
        [(0.2, 0.9), (0.2, 0.1), (0.2, 0.5)],
        [(0.9, 0.4), (0.1, 0.4), (0.5, 0.4)],
    ]
    expected = ["[]", "[(0.5, 0.25)]", "[(0.1, 0.1), (0.3, 0.3)]"]
    expected += ["[(0.2, 0.1), (0.2, 0.9)]", "[(0.1, 0.4), (0.9, 0.4)]"]
    assert hulls(rows) == [(corners, 0.0) for corners in expected]


def test_no_rows_have_no_hulls():
    found = convex_hulls(np.empty((0, MOST)), np.empty((0, MOST)))
    assert (len(found.x), len(found.counts), len(found.area)) == (0, 0, 0)


def test_a_square_goes_round_by_its_corners_only():
    square = [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.5), (0.4, 0.6)]
    assert hulls([square]) == [("[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)]", 1.0)]
