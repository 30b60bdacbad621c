"""How COCO annotators went through the 11 superclasses of icons on a page.

The tool shows superclass 0 first and logs only what is shown after it, so each page here begins
with a visit to 0 at time 0. Pages without any record are left out: none can be submitted before the
last superclass was seen, so their log is lost.
Source: docs/formats.md#superclass-steps
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from luab_data.ragged import Bools, Floats, Ints, Ragged, ragged
from luab_data.schema import COCO_SUPERCLASSES
from luab_data.statistics.estimate import Terms, grid_terms, mean_of
from luab_data.statistics.measure import TableBatch

NUM_SUPERCLASSES = len(COCO_SUPERCLASSES)


class BrowsingBatch(TableBatch):
    """Rows of `actions` of a tagging log: pages, and the superclasses shown on them.

    A step is a record of another superclass than the one before it; its arrays are (num_steps,).
    """

    columns = (
        *("worker_id", "time_spent_ms", "category_histories_category_index"),
        *("category_histories_time_at_ms", "category_histories_using_keyboard"),
    )

    @cached_property
    def _steps(self) -> tuple[Ragged, Ints, Bools]:
        """Superclass of each step by page, that of the step before, and which records they are."""
        logged = ragged(self.table["category_histories_category_index"], null=-1)
        known = (logged.values >= 0) & (logged.values < NUM_SUPERCLASSES)
        shown = logged.keep(known)
        changed = shown.values != _before(shown)
        known[known] = changed
        steps = shown.keep(changed)
        return steps._replace(values=steps.values.astype(np.int64)), _before(steps), known

    @property
    def steps(self) -> Ragged:
        """Superclass that each step goes to, by page."""
        return self._steps[0]

    @property
    def origin(self) -> Ints:
        """Superclass that each step comes from."""
        return self._steps[1]

    @cached_property
    def time_ms(self) -> Floats:
        """When each step was taken, ms from the page's start."""
        return self.elements("category_histories_time_at_ms")[self._steps[2]]

    @cached_property
    def by_keyboard(self) -> Floats:
        """1 for steps taken by keyboard, 0 for others; NaN if not logged."""
        return self.elements("category_histories_using_keyboard")[self._steps[2]]

    @cached_property
    def pages(self) -> Ints:
        """Rows of pages with any step."""
        return np.flatnonzero(self.steps.lengths > 0)


def _before(shown: Ragged) -> Ints:
    """What was shown before each value: 0 before the first of a row."""
    before = np.zeros(len(shown.values), np.int64)
    before[1:] = shown.values[:-1]
    before[shown.bounds[:-1][shown.lengths > 0]] = 0
    return before


def revisited(pages: BrowsingBatch) -> Terms:
    """Pages that return to a superclass that was shown before, over pages with any step."""
    steps = pages.steps
    seen = steps.rows * NUM_SUPERCLASSES + steps.values
    is_first = np.zeros(len(seen), bool)
    is_first[np.unique(seen, return_index=True)[1]] = True
    again = ~is_first | (steps.values == 0)
    returns = steps._replace(values=again).reduce(np.logical_or, False)
    return mean_of(returns[pages.pages], row=pages.pages)


def visits(pages: BrowsingBatch) -> Terms:
    """Mean visits of a page to each superclass, the one to 0 at its start included."""
    counts = _grid(pages, pages.steps.rows, pages.steps.values, np.ones(len(pages.steps.values)))
    counts[:, 0] += 1
    return grid_terms(counts[pages.pages], row=pages.pages)


def time_share(pages: BrowsingBatch) -> Terms:
    """Mean over pages of the share of the page's time that each superclass was shown.

    A page that lacks the time of a step, or whose own time is not more than 0, is left out. Steps
    logged out of order or after the page's end are taken to be at the time of the step before, at
    the end. Every page counts alike: one left open for hours weighs no more than another.
    """
    steps, total = pages.steps, pages.floats("time_spent_ms")
    lost = steps._replace(values=np.isnan(pages.time_ms)).reduce(np.logical_or, False)
    with np.errstate(invalid="ignore"):
        there = (steps.lengths > 0) & ~lost & (total > 0)
    span = np.where(there, total, 1.0)
    time = np.clip(np.nan_to_num(pages.time_ms), 0, span[steps.rows])
    # Pages laid end to end: the running maximum of all is that of each.
    start = np.concatenate([[0], np.cumsum(span)])
    time = np.maximum.accumulate(start[steps.rows] + time) - start[steps.rows]
    end = np.append(time[1:], 0.0)
    filled = steps.lengths > 0
    end[steps.bounds[1:][filled] - 1] = span[filled]
    shown = _grid(pages, steps.rows, steps.values, end - time)
    shown[filled, 0] += time[steps.bounds[:-1][filled]]
    return grid_terms((shown / span[:, None])[there], row=np.flatnonzero(there))


def _grid(pages: BrowsingBatch, row: Ints, superclass: Ints, values: Floats) -> Floats:
    """(num_rows, 11) sums of values by page and superclass."""
    size = len(pages) * NUM_SUPERCLASSES
    total = np.bincount(row * NUM_SUPERCLASSES + superclass, values, size)
    return total.astype(np.float64).reshape(-1, NUM_SUPERCLASSES)
