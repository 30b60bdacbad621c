"""What lint rules of both datasets are made of: masks over rows, never null."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.clicks import is_true
from luab_data.ragged import Bools, Floats, Ints, Ragged, ragged

SIZES = ("image_width", "image_height", "original_image_width", "original_image_height")
"""The sizes that both tools log, px."""


def any_of(masks: Iterable[Bools]) -> Bools:
    """(num_rows,) where any of the masks is set."""
    found: Bools = np.logical_or.reduce(list(masks))
    return found


def all_of(masks: Iterable[Bools]) -> Bools:
    """(num_rows,) where all of the masks are set."""
    found: Bools = np.logical_and.reduce(list(masks))
    return found


def any_in_row(flags: Bools, bounds: Ints) -> Bools:
    """(num_rows,) whether any of a row's flags (num_values,) is set."""
    found: Bools = Ragged(flags, bounds).reduce(np.logical_or, False)
    return found


def floats(column: pa.Array | pa.ChunkedArray) -> Floats:
    """A flat column of numbers as float64; null is NaN, integers past 2^53 become the nearest."""
    values: Floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def outside(x: Floats, y: Floats) -> Bools:
    """Whether points are off the picture; NaN is not."""
    beyond: Bools = (x < 0) | (x > 1) | (y < 0) | (y > 1)
    return beyond


def points_outside(table: pa.Table, prefix: str) -> Bools:
    """(num_rows,) whether any point of the lists PREFIX_x, PREFIX_y is off the picture."""
    x, y = ragged(table[f"{prefix}_x"]), ragged(table[f"{prefix}_y"])
    return any_in_row(outside(x.values, y.values), x.bounds)


def decreases(times: Ragged) -> Bools:
    """(num_rows,) whether a row's values ever get smaller."""
    smaller = np.zeros(len(times.values), np.bool_)
    smaller[1:] = times.values[1:] < times.values[:-1]
    smaller[times.bounds[:-1][times.lengths > 0]] = False  # a row's first value follows nothing
    return any_in_row(smaller, times.bounds)


def size_missing(table: pa.Table) -> Bools:
    """(num_rows,) whether any size as logged is 0, negative or null."""
    return any_of(~is_true(pc.greater(table[size], 0)) for size in SIZES)


def original_is(table: pa.Table, width: str, height: str) -> Bools:
    """(num_rows,) whether the original size as logged equals two other columns."""
    pairs = zip(SIZES[2:], (width, height), strict=True)
    return all_of(is_true(pc.equal(table[logged], table[other])) for logged, other in pairs)


def original_logged(table: pa.Table) -> Bools:
    """(num_rows,) whether an original size was logged."""
    return all_of(is_true(pc.greater(table[size], 0)) for size in SIZES[2:])
