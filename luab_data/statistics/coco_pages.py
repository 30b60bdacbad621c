"""How annotators went through the superclasses of a page of icons, and how whole HITs came out.

The tool shows superclass 0 first and logs only what is shown after it, so each page here begins
with a visit to 0 at time 0. Pages without any record are left out: none can be submitted before the
last superclass was seen, so their log is lost.
Source: docs/formats.md#superclass-steps

Images of one HIT are spread over the log, so a slim row of each is kept until all are there.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa

from luab_data.ragged import Bools, Floats, Ints, Ragged, floats, one_array, ragged
from luab_data.statistics.coco_icons import IconBatch, retrieved_classes
from luab_data.statistics.estimate import Terms, grid_terms, mean_of, ratio
from luab_data.statistics.measure import TableBatch


class BrowsingBatch(TableBatch):
    """Rows of `actions` of a tagging log: pages, and the superclasses shown on them.

    A step is a record of another superclass than the one before it; its arrays are (num_steps,).

    Attributes:
        num_superclasses: of the vocabulary.
    """

    num_superclasses: int

    columns = (
        *("worker_id", "time_spent_ms", "category_histories_category_index"),
        *("category_histories_time_at_ms", "category_histories_using_keyboard"),
    )

    @cached_property
    def _steps(self) -> tuple[Ragged, Ints, Bools]:
        """Superclass of each step by page, that of the step before, and which records they are."""
        logged = ragged(self.table["category_histories_category_index"], null=-1)
        known = (logged.values >= 0) & (logged.values < self.num_superclasses)
        shown = logged.keep(known)
        changed = shown.values != shown.before(0)  # superclass 0 is shown first
        known[known] = changed
        steps = shown.keep(changed)
        steps = steps._replace(values=steps.values.astype(np.int64))
        return steps, steps.before(0), known

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


def revisited(pages: BrowsingBatch) -> Terms:
    """Pages that return to a superclass that was shown before, over pages with any step."""
    steps = pages.steps
    seen = steps.rows * pages.num_superclasses + steps.values
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
    """(num_rows, num_superclasses) sums of values by page and superclass."""
    num = pages.num_superclasses
    total = np.bincount(row * num + superclass, values, len(pages) * num)
    return total.astype(np.float64).reshape(-1, num)


def slim_images(images: IconBatch) -> pa.Table:
    """What is kept of each image that has a HIT: about 60 bytes."""
    right = images.elements("is_on_object")
    judged = ~np.isnan(right)
    rows = images.icons.rows[judged]
    retrieved, present = retrieved_classes(images.table)
    slim = pa.table(
        {
            "hit_id": one_array(images.table["hit_id"]).dictionary_encode(),
            "worker_id": one_array(images.worker_id).dictionary_encode(),
            "time_spent_ms": images.table["time_spent_ms"],
            "num_right": np.bincount(rows[right[judged] == 1], minlength=len(images)),
            "num_judged": np.bincount(rows, minlength=len(images)),
            "num_retrieved": retrieved,
            "num_present": present,
        }
    )
    return slim.filter(images.table["hit_id"].is_valid())


def hits(images: pa.Table) -> TableBatch:
    """All HITs, a row each, from slim_images of every image.

    Its columns:
        worker_id: who did the HIT: the worker of the first of its images.
        precision: icons on their object over icons judged; NaN without any.
        recall: mean over its images with any class of the share of classes with an icon; NaN
            without any such image.
        time_ms: sum of the times of its pages; NaN if one is not logged.
        chance_of_precision, chance_of_recall: variance of the two if each icon, each class had the
            mean precision, the mean recall of all: binomial noise alone.
    """
    code = one_array(images["hit_id"]).indices.to_numpy(zero_copy_only=False)
    _, first, hit = np.unique(code, return_index=True, return_inverse=True)

    def total(values: Floats) -> Floats:
        """(num_hits,) sum over the images of each."""
        return np.bincount(hit, values, len(first)).astype(np.float64)

    names = ("num_right", "num_judged", "num_retrieved", "num_present")
    right, judged, retrieved, present = (floats(images[name]) for name in names)
    asked = present > 0
    num_asked = total(asked.astype(np.float64))
    noise = np.where(asked, ratio(_variance(retrieved, present), present), 0)
    columns = {
        "worker_id": one_array(images["worker_id"]).take(pa.array(first)),
        "precision": ratio(total(right), total(judged)),
        "recall": ratio(total(np.where(asked, ratio(retrieved, present), 0)), num_asked),
        "time_ms": total(floats(images["time_spent_ms"])),
        "chance_of_precision": ratio(_variance(right, judged), total(judged)),
        "chance_of_recall": ratio(total(noise), num_asked**2),
    }
    return TableBatch(pa.table(columns))


def _variance(part: Floats, whole: Floats) -> Floats:
    """Of one trial, if all had the same chance."""
    chance = ratio(part.sum(), whole.sum())
    return np.asarray(chance * (1 - chance))


def moments(hits: TableBatch, name: str) -> Terms:
    """Sums for spread: of the values of HITs and of their squares; the null is chance alone."""
    values, chance = hits.floats(name), hits.floats(f"chance_of_{name}")
    row = np.flatnonzero(~np.isnan(values))
    values, chance = values[row], chance[row]
    # spread() divides by one HIT less than there are, which is right around an estimated mean only.
    null = np.stack([np.zeros(len(row)), chance * (1 - 1 / max(len(row), 1))], axis=1)
    return grid_terms(np.stack([values, values**2], axis=1), null=null, row=row)


def spread(part: Floats, whole: Floats) -> Floats:
    """Standard deviation from sums of values (cell 0) and of squares (cell 1); NaN for one."""
    count = whole[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = part[..., 1] - part[..., 0] ** 2 / count
        variance = np.maximum(squares, 0) / np.where(count > 1, count - 1, np.nan)
    return np.asarray(np.sqrt(variance))
