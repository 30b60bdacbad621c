"""How annotators went over a page and through a HIT: what they did, in which order, how long.

A row of RoundBatch is one picture shown to one worker in one round. Pictures of one page are spread
over the whole log, so a slim row of each is kept until all of them are there: `shown`, of
slim_rounds. Of a page's 48 pictures only those of the class asked for are logged; an order is
judged on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.events import NEVER, event_span, extremes, first_enter, num_enters
from luab_data.ragged import (
    ArrowColumn,
    Bools,
    Floats,
    Ints,
    Ragged,
    bounds_of,
    floats,
    is_true,
    one_array,
    ragged,
)
from luab_data.statistics.estimate import Terms, mean_of
from luab_data.statistics.measure import TableBatch
from luab_data.tools import GRID_COLUMNS, SLOTS

SIDES_OF_PICTURE = ("left", "right", "top", "bottom")
_MOST_COLUMNS, _UNEXPLAINED = 8, 0.1


class RoundBatch(TableBatch):
    """Rows of `rounds` of a browsing log."""

    columns: tuple[str, ...] = (
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
    def trace(self) -> tuple[Ragged, Ragged]:
        """The mouse trace: x and y in fractions, by row."""
        return ragged(self.table["mouse_tracking_x"]), ragged(self.table["mouse_tracking_y"])


def entry_side(rounds: RoundBatch) -> Terms:
    """Border of the picture that the trace's first record is nearest to."""
    x, _ = rounds.trace
    row = np.flatnonzero(x.lengths > 0)
    return _nearest_side(rounds, row, x.bounds[:-1][row])


def exit_side(rounds: RoundBatch) -> Terms:
    """Border that its last record is nearest to, where the cursor left the unselected picture.

    A selected picture logs no trace, so how the cursor left it is unknown.
    """
    x, _ = rounds.trace
    actions = one_array(rounds.table["hovered_record_action"])
    ends = bounds_of(actions)
    row = np.flatnonzero((x.lengths > 0) & (np.diff(ends) > 0) & ~rounds.selected)
    left = is_true(pc.equal(actions.flatten(), "leave"))
    row = row[left[ends[1:][row] - 1]]
    return _nearest_side(rounds, row, x.bounds[1:][row] - 1)


def _nearest_side(rounds: RoundBatch, row: Ints, point: Ints) -> Terms:
    x, y = (axis.values[point] for axis in rounds.trace)
    return mean_of(np.ones(len(row)), row=row, cell=np.argmin([x, 1 - x, y, 1 - y], axis=0))


def slim_rounds(rounds: RoundBatch) -> pa.Table:
    """What is kept of each picture shown: about 50 bytes."""
    table = rounds.table
    first, last = event_span(table)
    entered = first_enter(table)
    middle = rounds.floats("image_position_x") + rounds.floats("image_width") / 2
    ids = ("worker_id", "assignment_id")
    return pa.table(
        {
            **{name: one_array(table[name]).dictionary_encode() for name in ids},
            **{name: table[name] for name in ("page_idx", "image_idx", "hit_submit_time")},
            "middle_x": pa.array(middle.astype("f4")),
            "first_ms": pa.array(first, from_pandas=True),
            "last_ms": pa.array(last, from_pandas=True),
            "enter_ms": pa.array(entered, mask=entered == NEVER),
        }
    )


def _hits(shown: pa.Table) -> Ints:
    """(num_rows,) code of each picture's assignment, from 0; -1 if it is not known."""
    codes = pc.fill_null(one_array(shown["assignment_id"]).indices, -1)
    found: Ints = codes.to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def page_spans(shown: pa.Table) -> TableBatch:
    """Each page, from its first to its last record; pictures without a page are on none."""
    key = _known_hits(shown) * 2**16 + floats(shown["page_idx"])
    return _spans(shown, key, floats(shown["last_ms"]))


def hit_spans(shown: pa.Table) -> TableBatch:
    """Each assignment, from its first record to its submission.

    The time before the first record of a picture of the class is not logged.
    """
    return _spans(shown, _known_hits(shown), 1000 * floats(shown["hit_submit_time"]))


def _known_hits(shown: pa.Table) -> Floats:
    """(num_rows,) _hits, NaN where it is not known."""
    hit = _hits(shown)
    return np.where(hit < 0, np.nan, hit)


def _spans(shown: pa.Table, key: Floats, end: Floats) -> TableBatch:
    """Rows of `worker_id` and `time_ms`, from first to last thing logged; NaN if only one was."""
    first = floats(shown["first_ms"])
    seen = np.flatnonzero(~np.isnan(key + first + end))
    _, first_row, group = np.unique(key[seen], return_index=True, return_inverse=True)
    start, stop = extremes(first[seen], end[seen], group, len(first_row))
    worker = one_array(shown["worker_id"]).take(pa.array(seen[first_row]))
    time_ms = np.where(stop > start, stop - start, np.nan)
    return TableBatch(pa.table({"worker_id": worker, "time_ms": time_ms}))


@dataclass(frozen=True)
class Steps:
    """Pictures entered one right after the other on a page.

    Attributes:
        worker_id: (num_rows,)
        start, end: (num_rows,) slots of the two.
        num_columns: pictures in a row of the page; 0 if that is not known.
    """

    worker_id: ArrowColumn
    start: Ints
    end: Ints
    num_columns: int = GRID_COLUMNS

    def forward(self, start: Ints, end: Ints) -> Terms:
        """Steps from one place to a later one, over those from one place to another."""
        return mean_of(end > start, where=start != end)


def steps(shown: pa.Table, num_slots: int | None = SLOTS, unknown: int = GRID_COLUMNS) -> Steps:
    """Steps between the pictures that were entered, in order of their first entry.

    Args:
        shown: of slim_rounds.
        num_slots, unknown: of grid_columns.
    """
    hit = _hits(shown)
    enter, page, slot = (floats(shown[name]) for name in ("enter_ms", "page_idx", "image_idx"))
    there = np.flatnonzero(~np.isnan(enter + page + slot) & (hit >= 0))
    order = there[np.lexsort((enter[there], page[there], hit[there]))]
    start, end = order[:-1], order[1:]
    same = (hit[start] == hit[end]) & (page[start] == page[end]) & (enter[start] < enter[end])
    first, second = (slot[rows[same]].astype(np.int64) for rows in (start, end))
    worker = one_array(shown["worker_id"]).take(pa.array(start[same]))
    columns = grid_columns(hit, slot, floats(shown["middle_x"]), num_slots, unknown)
    return Steps(worker, first, second, columns)


def grid_columns(
    hit: Ints,
    slot: Floats,
    middle_x: Floats,
    num_slots: int | None = SLOTS,
    unknown: int = GRID_COLUMNS,
) -> int:
    """How many pictures the page has in a row.

    That is the smallest number for which pictures of one column, in one worker's window, lie below
    each other: less than a tenth of the variance of their middles is left.

    Args:
        hit: (num_rows,) code of the assignment, from 0; -1 if it is not known.
        slot: (num_rows,) slot on the page; NaN if not logged.
        middle_x: (num_rows,) px, middle of the picture on the page; NaN if not logged.
        num_slots: slots of a page; None if there may be any number.
        unknown: the number if none does that, or if nothing is known of positions.
    """
    there = (hit >= 0) & (slot >= 0) & (slot < (num_slots or np.inf)) & ~np.isnan(middle_x)
    group, place, x = hit[there].astype(np.int64), slot[there].astype(np.int64), middle_x[there]
    total = _variance(group, x)
    for number in range(2, _MOST_COLUMNS + 1) if total > 0 else ():
        if _variance(group * number + place % number, x) <= _UNEXPLAINED * total:
            return number
    return unknown


def _variance(group: Ints, x: Floats) -> float:
    """Mean squared distance of values from the mean of their group, each group giving one up.

    NaN if no group has two values: then nothing can be told.
    """
    if not len(x):
        return 0.0
    size = np.bincount(group)
    mean = np.bincount(group, x) / np.maximum(size, 1)
    free = len(x) - np.count_nonzero(size)
    return float(((x - mean[group]) ** 2).sum() / free) if free else np.nan


def serpentine_place(slot: Ints, num_columns: int = GRID_COLUMNS) -> Ints:
    """Place of each slot when every second row is read from right to left."""
    row, column = slot // num_columns, slot % num_columns
    return row * num_columns + np.where(row % 2 == 1, num_columns - 1 - column, column)


def serpentine_forward(s: Steps) -> Terms:
    """Steps that go forward in serpentine order; half of them would in a random order."""
    if not s.num_columns:
        return s.forward(s.start[:0], s.end[:0])
    return s.forward(*(serpentine_place(slot, s.num_columns) for slot in (s.start, s.end)))


def leftward_by_row(s: Steps) -> Terms:
    """Steps within a row of the page that go left: in odd rows (cell 0), in even ones (cell 1).

    Rows count from 0. Reading gives the same share in both, going in serpentines differs by 1.
    """
    if not s.num_columns:
        return mean_of(s.start[:0])
    row = s.start // s.num_columns
    within = (row == s.end // s.num_columns) & (s.start != s.end)
    return mean_of(s.end < s.start, where=within, cell=1 - row % 2)
