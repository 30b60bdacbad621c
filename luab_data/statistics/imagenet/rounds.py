"""What annotators did with the pictures they were shown: selected, looked again, took their time.

One row of a RoundBatch is one picture shown to one worker in one round.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow.compute as pc

from luab_data.columns.events import num_enters
from luab_data.ragged import Bools, Floats, Ints, bounds_of, is_true, one_array, ragged
from luab_data.statistics.estimate import Terms, mean_of
from luab_data.statistics.measure import TableBatch

SIDES_OF_PICTURE = ("left", "right", "top", "bottom")


class RoundBatch(TableBatch):
    """Rows of `rounds` of a browsing log."""

    columns = (
        *("worker_id", "assignment_id", "page_idx", "image_idx", "round", "selected"),
        *("hit_submit_time", "estimate_time_ms", "hovered_record_action"),
        *("hovered_record_time_ms", "mouse_tracking_time_ms", "mouse_tracking_x"),
        *("mouse_tracking_y", "selected_record_time_ms", "image_position_x", "image_width"),
    )

    @cached_property
    def selected(self) -> Bools:
        """(num_rows,) whether the picture was selected at the end."""
        return is_true(self.table["selected"])

    @cached_property
    def enters(self) -> Ints:
        """(num_rows,) how often the cursor came over the picture."""
        return num_enters(self.table)

    @cached_property
    def trace(self) -> tuple[Floats, Floats, Ints]:
        """The mouse trace: x, y (num_points,) in fractions, and bounds (num_rows + 1,)."""
        x = ragged(self.table["mouse_tracking_x"])
        return x.values, ragged(self.table["mouse_tracking_y"]).values, x.bounds


def entry_side(rounds: RoundBatch) -> Terms:
    """Border of the picture that the trace's first record is nearest to."""
    _, _, bounds = rounds.trace
    row = np.flatnonzero(np.diff(bounds) > 0)
    return _nearest_side(rounds, row, bounds[:-1][row])


def exit_side(rounds: RoundBatch) -> Terms:
    """Border that its last record is nearest to, where the cursor left the unselected picture.

    A selected picture logs no trace, so how the cursor left it is unknown.
    """
    _, _, bounds = rounds.trace
    actions = one_array(rounds.table["hovered_record_action"])
    ends = bounds_of(actions)
    row = np.flatnonzero((np.diff(bounds) > 0) & (np.diff(ends) > 0) & ~rounds.selected)
    left = is_true(pc.equal(actions.flatten(), "leave"))
    row = row[left[ends[1:][row] - 1]]
    return _nearest_side(rounds, row, bounds[1:][row] - 1)


def _nearest_side(rounds: RoundBatch, row: Ints, point: Ints) -> Terms:
    x, y, _ = rounds.trace
    distance = np.stack([x[point], 1 - x[point], y[point], 1 - y[point]])
    return mean_of(np.ones(len(row)), row=row, cell=np.argmin(distance, axis=0))
