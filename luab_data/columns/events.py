"""What the log of a picture tells: who came when, which click stands, how many there were.

Everything that asks for the first enter, the last click or the span of a picture's records asks
here. `rounds` are rows of that config.

The tool logs a click only when it selects; a deselecting click leaves no record. So whether an
image ended selected is what `selected` says, never what the number of records says.

Every parameter here and in the other files of columns that define columns is named after the
column that the registry passes; `Source:` says where the definition comes from.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import (
    ArrowColumn,
    Bools,
    Floats,
    Ints,
    Ragged,
    bounds_of,
    is_true,
    nullable,
    one_array,
    ragged,
)

NEVER = np.iinfo(np.int64).max
"""The time of what did not happen: later than all else."""

EVENT_TIMES = ("hovered_record_time_ms", "mouse_tracking_time_ms", "selected_record_time_ms")
"""Columns of `rounds` with the times of a picture's records."""


UNTIMED = np.iinfo(np.int64).min
"""The time of a record whose time the log does not have: earlier than all else."""


def times(column: ArrowColumn) -> Ragged:
    """Times of records, ms, (num_rows,) lists; UNTIMED where the log has none."""
    return ragged(column, null=UNTIMED)


def known_times(column: ArrowColumn) -> Ragged:
    """The times that the log has, ms, (num_rows,) lists."""
    found = times(column)
    is_known = found.values != UNTIMED
    return found if is_known.all() else found.keep(is_known)


def is_timed(*columns: ArrowColumn) -> Bools:
    """(num_rows,) whether every record of some lists has its time."""
    found: Bools = np.ones(len(columns[0]), np.bool_)
    for column in columns:
        if one_array(column).flatten().null_count:
            clock = times(column)
            found &= ~clock.any(clock.values == UNTIMED)
    return found


def is_enter(hovered_record_action: ArrowColumn) -> Bools:
    """(num_hovered,) which hovered records are an `enter`."""
    return is_true(pc.equal(one_array(hovered_record_action).flatten(), "enter"))


def num_enters(rounds: pa.Table) -> Ints:
    """(num_rows,) how often the cursor came over the picture."""
    actions = rounds["hovered_record_action"]
    entered = is_enter(actions).astype(np.int64)
    return Ragged(entered, bounds_of(actions)).reduce(np.add, 0)


def first_enter(rounds: pa.Table) -> Ints:
    """(num_rows,) epoch ms when the cursor first came over the picture; NEVER if it did not, or
    if nobody knows when.
    """
    hovered = times(rounds["hovered_record_time_ms"])
    entered = is_enter(rounds["hovered_record_action"]) & (hovered.values != UNTIMED)
    return hovered.keep(entered).reduce(np.minimum, NEVER)


def last_click(selected_record_time_ms: ArrowColumn) -> tuple[Bools, Ints]:
    """The last selecting click of each picture.

    Returns: (num_rows,) whether there is one, and its place among the flat values of the columns
    `selected_record_*`, meaningless without one.
    """
    bounds = bounds_of(selected_record_time_ms)
    return np.diff(bounds) > 0, bounds[1:] - 1


def event_span(rounds: pa.Table) -> tuple[Floats, Floats]:
    """Time of the first and of the last record of each picture.

    Args:
        rounds: with EVENT_TIMES.
    Returns: two (num_rows,), epoch ms; NaN for a picture without a record that has a time.
    """
    clocks = [known_times(rounds[name]) for name in EVENT_TIMES]
    first = np.min([clock.reduce(np.minimum, NEVER) for clock in clocks], axis=0)
    last = np.max([clock.reduce(np.maximum, -NEVER) for clock in clocks], axis=0)
    seen = first <= last
    return np.where(seen, first, np.nan), np.where(seen, last, np.nan)


def extremes(low: Floats, high: Floats, group: Ints, num: int) -> tuple[Floats, Floats]:
    """(num,) the least of one and the greatest of the other array of each group; inf, -inf if none.

    Args:
        low, high: (num_rows,); NaN is left out.
        group: (num_rows,) from 0 to num - 1.
    """
    least, greatest = np.full(num, np.inf), np.full(num, -np.inf)
    np.fmin.at(least, group, low)
    np.fmax.at(greatest, group, high)
    return least, greatest


# --- columns of the click -------------------------------------------------------------------------

FAR = 1e6
"""A point further from the picture than this, in its sizes, is no place but a number that
overflowed: it is null in derived columns and stays as logged in raw ones."""


def final_click(
    selected_record_x: ArrowColumn, selected_record_y: ArrowColumn, selected: ArrowColumn
) -> tuple[pa.Array, pa.Array]:
    """The last selecting click of the deciding round.

    Args:
        selected_record_x, selected_record_y: (num_rows,) lists of fractions, in time order.
        selected: (num_rows,) bool.
    Returns: x and y, (num_rows,) float64, fractions of the picture, also outside [0, 1].
    Null where the image was not selected at the end, no click was logged, or it is FAR away.
    Source: docs/definitions.md#which-click
    """
    return _click(selected_record_x, selected_record_y, selected, -1)


def first_click(
    selected_record_x: ArrowColumn, selected_record_y: ArrowColumn, selected: ArrowColumn
) -> tuple[pa.Array, pa.Array]:
    """The first selecting click of the deciding round.

    Args: as final_click.
    Returns: x and y, (num_rows,) float64, fractions of the picture, also outside [0, 1].
    Null where the image was not selected at the end, no click was logged, or it is FAR away.
    Source: docs/definitions.md#which-click; the published ImageNet notebook reads the first one.
    """
    return _click(selected_record_x, selected_record_y, selected, 0)


def is_place(x: Floats, y: Floats) -> Bools:
    """Whether points, fractions, are not FAR away; NaN is no place."""
    with np.errstate(invalid="ignore"):
        found: Bools = (np.abs(x) <= FAR) & (np.abs(y) <= FAR)
    return found


def _click(
    x: ArrowColumn, y: ArrowColumn, selected: ArrowColumn, which: int
) -> tuple[pa.Array, pa.Array]:
    """(num_rows,) the first (0) or last (-1) point of each selected row."""
    rows = ragged(x)
    clicked = is_true(selected) & (rows.lengths > 0)
    index = (rows.bounds[:-1] if which == 0 else rows.bounds[1:] - 1)[clicked]
    xy = np.full((2, len(clicked)), np.nan)
    xy[:, clicked] = rows.values[index], ragged(y).values[index]
    there = is_place(*xy)
    return nullable(xy[0], there, pa.float64()), nullable(xy[1], there, pa.float64())


def num_clicks(selected_record_time_ms: ArrowColumn, selected: ArrowColumn) -> pa.Array:
    """Clicks on the image: 2 len(selected_record) - selected.

    Each selecting click but the one that stands was followed by an unlogged deselecting one.

    Returns: (num_rows,) int32, a count.
    Null without a round, or where a selected image has no record.
    Source: AnnotationComponent.handler.ts, lines 74-76; docs/formats.md#deselection.
    """
    return _all_clicks(np.diff(bounds_of(selected_record_time_ms)), selected)


def num_logged_clicks(selected_count: ArrowColumn, selected: ArrowColumn) -> pa.Array:
    """Clicks on the image, those made by key included: 2 selected_count - selected.

    Returns: (num_rows,) int32, a count.
    Null without a view, or where it ended selected without any click of the log.
    Source: docs/log-format.md#browsing.
    """
    return _all_clicks(pc.fill_null(selected_count, 0).to_numpy().astype(np.int64), selected)


def _all_clicks(selecting: Ints, selected: ArrowColumn) -> pa.Array:
    count = 2 * selecting - is_true(selected)
    there = selected.is_valid().to_numpy(zero_copy_only=False)
    return nullable(count, there & (count >= 0), pa.int32())


def parity_disagrees(selected_record_time_ms: ArrowColumn, selected: ArrowColumn) -> pa.Array:
    """Whether the paper's rule (selected iff the number of records is odd) is wrong here.

    Returns: (num_rows,) bool.
    Null without a round.
    Source: paper, appendix D.1; docs/formats.md#deselection.
    """
    odd = np.diff(bounds_of(selected_record_time_ms)) % 2 == 1
    there = selected.is_valid().to_numpy(zero_copy_only=False)
    return nullable(odd != is_true(selected), there, pa.bool_())


def count_disagrees(selected_count: ArrowColumn, selected: ArrowColumn) -> pa.Array:
    """Whether the paper's rule (selected iff clicks that select are odd in number) is wrong here.

    Returns: (num_rows,) bool.
    Null without a view, or where it ended selected without any click of the log.
    Source: docs/log-format.md#browsing: deselecting clicks are logged, but not counted.
    """
    odd = pc.fill_null(selected_count, 0).to_numpy() % 2 == 1
    there = num_logged_clicks(selected_count, selected).is_valid().to_numpy(zero_copy_only=False)
    return nullable(odd != is_true(selected), there, pa.bool_())
