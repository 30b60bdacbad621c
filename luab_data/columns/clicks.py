"""Selecting clicks of a round: which one is the answer, how many there were.

The tool logs a click only when it selects; a deselecting click leaves no record. So whether an
image ended selected is what `selected` says, never what the number of records says.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Bools, Ints, Ragged, bounds_of, nullable, ragged


def is_true(flags: pa.Array | pa.ChunkedArray) -> Bools:
    """(num_rows,) a boolean column as numpy; null is False."""
    values: Bools = pc.fill_null(flags, False).to_numpy(zero_copy_only=False)
    return values


def _element(rows: Ragged, index: Ints, present: Bools) -> pa.Array:
    values = np.full(len(present), np.nan)
    values[present] = rows.values[index[present]]
    return nullable(values, present, pa.float64())


def final_click(coordinate: pa.ChunkedArray, selected: pa.ChunkedArray) -> pa.Array:
    """One coordinate of the last selecting click, (num_rows,) float64.

    Args:
        coordinate: selected_record_x or _y, (num_rows,) lists of fractions in time order.
        selected: (num_rows,) bool.
    Returns: null where the image was not selected at the end or no click was logged.
    Source: metrics 4, "final click of selected images".
    """
    rows = ragged(coordinate)
    present = is_true(selected) & (rows.lengths > 0)
    return _element(rows, rows.bounds[1:] - 1, present)


def first_click(coordinate: pa.ChunkedArray, selected: pa.ChunkedArray) -> pa.Array:
    """One coordinate of the first selecting click, (num_rows,) float64; null as final_click.

    Source: the released ImageNet notebook reads this one.
    """
    rows = ragged(coordinate)
    present = is_true(selected) & (rows.lengths > 0)
    return _element(rows, rows.bounds[:-1], present)


def num_clicks(record_time: pa.ChunkedArray, selected: pa.ChunkedArray) -> pa.Array:
    """Clicks on the image, (num_rows,) int32: 2 len(record) - selected.

    Each selecting click but the one that stands was followed by an unlogged deselecting one.
    Returns: null without a round, or where a selected image has no record.
    Source: AnnotationComponent.handler.ts, lines 74-76.
    """
    count = 2 * np.diff(bounds_of(record_time)) - is_true(selected)
    there = selected.is_valid().to_numpy()
    return nullable(count, there & (count >= 0), pa.int32())


def parity_disagrees(record_time: pa.ChunkedArray, selected: pa.ChunkedArray) -> pa.Array:
    """Whether the paper's rule (selected iff the number of records is odd) is wrong here.

    Returns: (num_rows,) bool, null without a round. Source: paper, appendix D.1; metrics 6.1-1.
    """
    odd = np.diff(bounds_of(record_time)) % 2 == 1
    return nullable(odd != is_true(selected), selected.is_valid().to_numpy(), pa.bool_())
