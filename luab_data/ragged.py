"""Columns as numpy; list columns as flat values and bounds: the one file that knows offsets.

`.values` and `.offsets` of a list array ignore slices and keep what is hidden under nulls;
`flatten()` and `list_value_length` do not, so everything starts from those.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ArrowColumn: TypeAlias = pa.Array | pa.ChunkedArray
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Ragged(NamedTuple):
    """Row i is values[bounds[i]:bounds[i + 1]]; null and empty rows are both empty."""

    values: npt.NDArray[Any]  # (num_values,)
    bounds: Ints  # (num_rows + 1,)

    @property
    def lengths(self) -> Ints:
        """(num_rows,) values of each row."""
        return np.diff(self.bounds)

    @property
    def rows(self) -> Ints:
        """(num_values,) the row each value belongs to."""
        return np.repeat(np.arange(len(self.bounds) - 1), self.lengths)

    def before(self, first: Any) -> npt.NDArray[Any]:
        """(num_values,) the value before each one in its row; `first` before a row's first."""
        found = np.concatenate([[first], self.values])[:-1]
        found[self.bounds[:-1][self.lengths > 0]] = first
        return found

    def keep(self, mask: Bools) -> Ragged:
        """The same rows with only the values where mask (num_values,) is true, order kept."""
        return Ragged(self.values[mask], kept_bounds(self.bounds, mask))

    def only(self, rows: Ints) -> Ragged:
        """Some of the rows, by ascending index."""
        if len(rows) == len(self.bounds) - 1:
            return self
        chosen = np.zeros(len(self.bounds) - 1, np.bool_)
        chosen[rows] = True
        bounds = np.concatenate([[0], np.cumsum(self.lengths[rows])])
        return Ragged(self.values[np.repeat(chosen, self.lengths)], bounds)

    def any(self, flags: Bools) -> Bools:
        """(num_rows,) whether any of a row's flags (num_values,) is set."""
        found: Bools = Ragged(flags, self.bounds).reduce(np.logical_or, False)
        return found

    def reduce(self, function: np.ufunc, empty: Any) -> npt.NDArray[Any]:
        """(num_rows,) function.reduce over each row; `empty` where there is nothing to reduce."""
        out = np.full(len(self.bounds) - 1, empty, dtype=np.asarray(self.values).dtype)
        filled = self.lengths > 0
        # Empty rows own no values, so the filled rows' starts cut the values exactly.
        if filled.any():
            out[filled] = function.reduceat(self.values, self.bounds[:-1][filled])
        return out


def kept_bounds(bounds: Ints, mask: Bools) -> Ints:
    """Bounds (num_rows + 1,) of the rows once only values where mask (num_values,) stay."""
    kept: Ints = np.concatenate([[0], np.cumsum(mask)])[bounds].astype(np.int64)
    return kept


def floats(column: ArrowColumn) -> Floats:
    """A numeric column as float64 with NaN for null; integers past 2^53 become the nearest."""
    values: Floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(values, dtype=np.float64)


def above_0(times: Floats) -> Floats:
    """Times, NaN for those that are 0 or less: nothing was measured."""
    with np.errstate(invalid="ignore"):
        return np.where(times > 0, times, np.nan)


def is_true(flags: ArrowColumn) -> Bools:
    """(num_rows,) a boolean column as numpy; null is False."""
    values: Bools = pc.fill_null(flags, False).to_numpy(zero_copy_only=False)
    return values


def one_array(column: ArrowColumn) -> pa.Array:
    """A column as one array; copies only if it has several chunks."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def bounds_of(column: ArrowColumn) -> Ints:
    """(num_rows + 1,) bounds of a list column; a null row is empty."""
    lists = one_array(column)
    if not lists.null_count and pa.types.is_list(lists.type):
        # Without nulls nothing is hidden, so the offsets of the slice are the bounds, shifted.
        offsets = lists.offsets.to_numpy().astype(np.int64)
        bounds: Ints = offsets - offsets[0]
        return bounds
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def ragged(column: ArrowColumn, *, null: Any = np.nan) -> Ragged:
    """A list column as numpy values and bounds; null values inside lists become `null`.

    Whole numbers with a null among them become float64 where `null` is NaN.
    """
    lists = one_array(column)
    values = lists.flatten()
    if values.null_count:
        if pa.types.is_integer(values.type) and null != null:
            values = values.cast(pa.float64(), safe=False)
        values = pc.fill_null(values, null)
    return Ragged(values.to_numpy(zero_copy_only=False), bounds_of(lists))


def characters(texts: pa.StringArray) -> bytes:
    """The UTF-8 bytes of a text column without nulls, one value after the other."""
    if not len(texts) or texts.buffers()[2] is None:
        return b""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :]
    return bytes(texts.buffers()[2][int(offsets[0]) : int(offsets[len(texts)])])


def list_array(values: pa.Array, bounds: Ints, *, null_rows: Bools | None = None) -> pa.ListArray:
    """Flat values and bounds as a list column; rows flagged in null_rows (num_rows,) are null.

    A null row must own no values: callers give it an empty range.
    """
    offsets = pa.array(bounds, pa.int32())
    if null_rows is None or not null_rows.any():
        return pa.ListArray.from_arrays(offsets, values)
    if np.diff(bounds)[null_rows].any():
        raise ValueError("a null row owns values; give it an empty range")
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array(null_rows))


def nullable(values: npt.NDArray[Any], present: Bools, type: pa.DataType) -> pa.Array:
    """A flat column that is null where `present` is false."""
    return pa.array(values, type=type, mask=~present)
