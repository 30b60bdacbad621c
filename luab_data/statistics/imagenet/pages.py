"""How annotators went over a page and through a HIT: order of pictures, time of pages and HITs.

Pictures of one page are spread over the whole log, so a slim row of each is kept until all of them
are there. Of a page's 48 pictures only those of the class asked for are logged; an order is judged
on them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from luab_data.columns.events import NEVER, event_span, first_enter
from luab_data.columns.regions import floats
from luab_data.ragged import ArrowColumn, Floats, Ints, one_array
from luab_data.statistics.estimate import Parts
from luab_data.statistics.imagenet.rounds import RoundBatch
from luab_data.tools import GRID_COLUMNS, SLOTS

_MOST_COLUMNS, _UNEXPLAINED = 8, 0.1


def page_facts(rounds: RoundBatch) -> pa.Table:
    """What is kept of each picture shown: about 50 bytes."""
    table = rounds.table
    first, last = event_span(table)
    entered = first_enter(table)
    return pa.table(
        {
            "worker_id": one_array(table["worker_id"]).dictionary_encode(),
            "assignment_id": one_array(table["assignment_id"]).dictionary_encode(),
            "page_idx": table["page_idx"],
            "image_idx": table["image_idx"],
            "hit_submit_time": table["hit_submit_time"],
            "middle_x": pa.array(
                (floats(table["image_position_x"]) + floats(table["image_width"]) / 2).astype("f4")
            ),
            "first_ms": pa.array(first, mask=np.isnan(first)),
            "last_ms": pa.array(last, mask=np.isnan(last)),
            "enter_ms": pa.array(entered, mask=entered == NEVER),
        }
    )


class Spans:
    """Pages or HITs: who worked on them, and from when to when.

    Args:
        worker_id: (num_rows,)
        time_ms: (num_rows,) ms from the first to the last thing logged; NaN if only one was.
    """

    def __init__(self, worker_id: ArrowColumn, time_ms: Floats) -> None:
        self.worker_id = worker_id
        self.time_ms = time_ms


def time_ms(spans: Spans) -> Floats:
    """(num_rows,) how long each page or HIT took."""
    return spans.time_ms


class Steps:
    """Pictures entered one right after the other on a page.

    Args:
        worker_id: (num_rows,)
        start, end: (num_rows,) slots of the two.
        num_columns: pictures in a row of the page.
    """

    def __init__(
        self, worker_id: ArrowColumn, start: Ints, end: Ints, num_columns: int = GRID_COLUMNS
    ) -> None:
        self.worker_id = worker_id
        self.start = start
        self.end = end
        self.num_columns = num_columns

    def __len__(self) -> int:
        return len(self.start)


class Pages:
    """The pictures of all pages, sorted by assignment, page and time of first entry."""

    def __init__(self, facts: Iterable[pa.Table]) -> None:
        tables = [*facts]
        if not tables:
            raise ValueError("no rounds: expected at least one table of page_facts")
        table = pa.concat_tables(tables).unify_dictionaries()
        self._worker = one_array(table["worker_id"])
        self._hit = one_array(table["assignment_id"]).indices.to_numpy(zero_copy_only=False)
        self._page = floats(table["page_idx"])
        self._slot = floats(table["image_idx"])
        self._submit_ms = 1000 * floats(table["hit_submit_time"])
        self._first, self._last, self._enter = (
            floats(table[name]) for name in ("first_ms", "last_ms", "enter_ms")
        )
        self.num_columns = grid_columns(self._hit, self._slot, floats(table["middle_x"]))

    def pages(self) -> Spans:
        """Each page, from its first to its last record; pictures without a page are on none."""
        key = self._hit * 2**16 + self._page
        return self._spans(key, self._last)

    def hits(self) -> Spans:
        """Each assignment, from its first record to its submission.

        The time before the first record of a picture of the class is not logged.
        """
        return self._spans(self._hit.astype(np.float64), self._submit_ms)

    def _spans(self, key: Floats, end: Floats) -> Spans:
        seen = np.flatnonzero(~np.isnan(key + self._first + end))
        _, first_row, group = np.unique(key[seen], return_index=True, return_inverse=True)
        start = np.full(len(first_row), np.inf)
        stop = np.full(len(first_row), -np.inf)
        np.minimum.at(start, group, self._first[seen])
        np.maximum.at(stop, group, end[seen])
        time = np.where(stop > start, stop - start, np.nan)
        return Spans(self._worker.take(pa.array(seen[first_row])), time)

    def steps(self) -> Steps:
        """Steps between the pictures that were entered, in order of their first entry."""
        there = np.flatnonzero(~np.isnan(self._enter + self._page + self._slot))
        order = there[np.lexsort((self._enter[there], self._page[there], self._hit[there]))]
        start, end = order[:-1], order[1:]
        same = (self._hit[start] == self._hit[end]) & (self._page[start] == self._page[end])
        same &= self._enter[start] < self._enter[end]
        start, end = start[same], end[same]
        first, second = (self._slot[rows].astype(np.int64) for rows in (start, end))
        return Steps(self._worker.take(pa.array(start)), first, second, self.num_columns)


def grid_columns(hit: Ints, slot: Floats, middle_x: Floats) -> int:
    """How many pictures the page has in a row.

    That is the smallest number for which pictures of one column, in one worker's window, lie below
    each other: less than a tenth of the variance of their middles is left. The tool's own number,
    if no number does that or nothing is known of positions.

    Args:
        hit: (num_rows,) code of the assignment, from 0.
        slot: (num_rows,) slot on the page; NaN if not logged.
        middle_x: (num_rows,) px, middle of the picture on the page; NaN if not logged.
    """
    there = (slot >= 0) & (slot < SLOTS) & ~np.isnan(middle_x)
    group, place, x = hit[there].astype(np.int64), slot[there].astype(np.int64), middle_x[there]
    total = _variance(group, x)
    for number in range(2, _MOST_COLUMNS + 1) if total > 0 else ():
        if _variance(group * number + place % number, x) <= _UNEXPLAINED * total:
            return number
    return GRID_COLUMNS


def _variance(group: Ints, x: Floats) -> float:
    """Mean squared distance of values from the mean of their group, each group giving one up."""
    if not len(x):
        return 0.0
    size = np.bincount(group)
    mean = np.bincount(group, x) / np.maximum(size, 1)
    free = len(x) - np.count_nonzero(size)
    return float(((x - mean[group]) ** 2).sum() / free) if free else 0.0


def serpentine_place(slot: Ints, num_columns: int = GRID_COLUMNS) -> Ints:
    """Place of each slot when every second row is read from right to left."""
    row, column = slot // num_columns, slot % num_columns
    return row * num_columns + np.where(row % 2 == 1, num_columns - 1 - column, column)


def serpentine_forward(steps: Steps) -> Parts:
    """Steps that go forward in serpentine order; half of them would in a random order."""
    start, end = (serpentine_place(slot, steps.num_columns) for slot in (steps.start, steps.end))
    return _forward(steps, start, end)


def reading_forward(steps: Steps) -> Parts:
    """Steps that go forward when every row is read from left to right."""
    return _forward(steps, steps.start, steps.end)


def _forward(steps: Steps, start: Ints, end: Ints) -> Parts:
    row = np.flatnonzero(start != end)
    return Parts(row=row, part=(end > start)[row].astype(np.float64), whole=np.ones(len(row)))


def leftward_by_row(steps: Steps) -> Parts:
    """Steps within a row of the page that go left: in odd rows (cell 0), in even ones (cell 1).

    Rows count from 0. Reading gives the same share in both, going in serpentines differs by 1.
    """
    row_of = steps.start // steps.num_columns
    row = np.flatnonzero((row_of == steps.end // steps.num_columns) & (steps.start != steps.end))
    return Parts(
        row=row,
        part=(steps.end < steps.start)[row].astype(np.float64),
        whole=np.ones(len(row)),
        cell=1 - row_of[row] % 2,
    )
