"""What the log of a picture that was shown tells at once: who came when, and which click stands.

Everything that asks for the first enter, the last click or the span of a picture's records asks
here. `rounds` are rows of that config.
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
    one_array,
    ragged,
)

NEVER = np.iinfo(np.int64).max
"""The time of what did not happen: later than all else."""

EVENT_TIMES = ("hovered_record_time_ms", "mouse_tracking_time_ms", "selected_record_time_ms")
"""Columns of `rounds` with the times of a picture's records."""


def is_enter(hovered_record_action: ArrowColumn) -> Bools:
    """(num_hovered,) which hovered records are an `enter`."""
    return is_true(pc.equal(one_array(hovered_record_action).flatten(), "enter"))


def num_enters(rounds: pa.Table) -> Ints:
    """(num_rows,) how often the cursor came over the picture."""
    actions = rounds["hovered_record_action"]
    entered = is_enter(actions).astype(np.int64)
    return Ragged(entered, bounds_of(actions)).reduce(np.add, 0)


def first_enter(rounds: pa.Table) -> Ints:
    """(num_rows,) epoch ms when the cursor first came over the picture; NEVER if it did not."""
    times = ragged(rounds["hovered_record_time_ms"])
    return times.keep(is_enter(rounds["hovered_record_action"])).reduce(np.minimum, NEVER)


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
    Returns: two (num_rows,), epoch ms; NaN for a picture without a record.
    """
    clocks = [ragged(rounds[name]) for name in EVENT_TIMES]
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
