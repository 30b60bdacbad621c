"""A number, how sure it is, and what it would be without the effect.

Clicks of one worker are not independent, so intervals come from a cluster bootstrap: whole workers
are drawn with replacement. Every statistic is a function of sums (hits and trials, say) that are
kept for each worker; a resample then is one weighted sum of them, however many clicks there are.

Source: the expanded percentile interval of Hesterberg, "What teachers should know about the
bootstrap", 2015, section 5.2: the plain percentile interval is too narrow for few workers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import ArrowColumn, Floats, Ints, one_array

NUMBERS = ("value", "low", "high", "n", "null")
"""Arrays of an Estimate."""

LEVEL = 0.95
RESAMPLES = 1000
NOBODY = -1
"""Code of rows without a worker: they count in the value and are not resampled."""

Finish = Callable[[Floats, Floats], Floats]
"""(sums of parts (..., num_cells), sums of wholes (..., num_cells)) -> (..., *shape)."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Estimate:
    """One statistic, or a curve or map of them: all arrays have its shape, () for one number.

    Attributes:
        value: the statistic; NaN where nothing was seen.
        low, high: ends of its 95 % interval; NaN with fewer than two workers.
        n: what it was taken over, the denominator: clicks, images, pages, ...
        null: what it would be without the effect; NaN where there is no such model.
        num_workers: workers who contributed.
        labels: the name of each place, where the places of a curve have names; else empty.
        replicates: (num_resamples, ...) the statistic in each resample, for `difference`.
    """

    value: Floats
    low: Floats
    high: Floats
    n: Floats
    null: Floats
    num_workers: int
    labels: tuple[str, ...] = ()
    replicates: Floats | None = None

    def __repr__(self) -> str:
        """One line: `Estimate(0.935 [0.905, 0.953], n=3941, null=0.718, 24 workers)`."""
        if self.value.ndim:
            return f"Estimate(shape {self.value.shape}, {self.num_workers} workers)"
        text = "{0.value:.4g} [{0.low:.4g}, {0.high:.4g}], n={0.n:.0f}, null={0.null:.4g}"
        return f"Estimate({text.format(self)}, {self.num_workers} workers)"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: numbers or nested lists, None for NaN."""
        found: dict[str, Any] = {name: _plain(getattr(self, name).tolist()) for name in NUMBERS}
        return {**found, "num_workers": self.num_workers}


def _plain(values: Any) -> Any:
    if isinstance(values, list):
        return [*map(_plain, values)]
    if not math.isfinite(values):
        return None
    return int(values) if values.is_integer() and abs(values) > 1 else values


class Terms(NamedTuple):
    """What rows add to a mean in each cell of a result: sum(part) / sum(whole).

    Args:
        row: (num_terms,) the row, and hence the worker, that each belongs to.
        part: (num_terms,) e.g. 1 for a hit.
        whole: (num_terms,) e.g. 1 for a trial.
        cell: (num_terms,) place in the ravelled result; None is 0.
        null: (num_terms,) expected part without the effect; None where there is no such model.
    """

    row: Ints
    part: Floats
    whole: Floats
    cell: Ints | None = None
    null: Floats | None = None


def mean_of(values: Any, *, where: Any = True, row: Ints | None = None, cell: Any = None) -> Terms:
    """Terms of a mean of the values that are known.

    Args:
        values: (n,) numbers or booleans; NaN is no trial.
        where: (n,) which of them count.
        row: (n,) the row of each; by default there is one a row.
        cell: (n,) the cell of each; by default all go to one.
    """
    values = np.asarray(values, np.float64)
    there = np.flatnonzero(~np.isnan(values) & where)
    return Terms(
        row=there if row is None else row[there],
        part=values[there],
        whole=np.ones(len(there)),
        cell=None if cell is None else np.asarray(cell)[there].astype(np.int64),
    )


def by_place(values: Any, place: Floats, num: int) -> Terms:
    """mean_of by place; a place that is not 0 .. num - 1 is none."""
    with np.errstate(invalid="ignore"):
        there = (place >= 0) & (place < num)
    return mean_of(values, where=there, cell=np.where(there, place, 0))


def grid_terms(
    part: Any, whole: Floats | None = None, null: Floats | None = None, row: Ints | None = None
) -> Terms:
    """Terms of rows that have one entry for each cell: (num_rows, num_cells) each.

    Args:
        part, whole, null: as of Terms; whole is 1 by default.
        row: (num_rows,) the row of each; by default they are all of the batch.
    """
    part = np.asarray(part, np.float64)
    num_rows, num_cells = part.shape
    return Terms(
        row=np.repeat(np.arange(num_rows) if row is None else row, num_cells),
        part=part.ravel(),
        whole=np.ones(part.size) if whole is None else whole.ravel(),
        cell=np.tile(np.arange(num_cells), num_rows),
        null=None if null is None else null.ravel(),
    )


def ratio(part: Floats | Ints, whole: Floats | Ints) -> Floats:
    """Part / whole, as the mean in each cell; NaN where whole is not above 0: nothing was seen."""
    with np.errstate(invalid="ignore"):
        return np.asarray(part / np.where(whole > 0, whole, np.nan))


def share(part: Floats, whole: Floats) -> Floats:
    """Of all cells together, the share of each: a density that sums to 1."""
    return ratio(part, whole.sum(axis=-1, keepdims=True))


def less(one: int, other: int) -> Finish:
    """Mean of one cell less that of another."""

    def difference(part: Floats, whole: Floats) -> Floats:
        mean = ratio(part, whole)
        return np.asarray(mean[..., one] - mean[..., other])

    return difference


class Workers:
    """Numbers workers, or other names, in the order they are met."""

    def __init__(self) -> None:
        self._code: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._code)

    @property
    def names(self) -> list[str]:
        """Worker ids by code."""
        return list(self._code)

    def codes(self, worker_id: ArrowColumn) -> Ints:
        """(num_rows,) the code of each row's worker; NOBODY for null and "", which are nobody."""
        keys = one_array(worker_id)
        if not pa.types.is_dictionary(keys.type):
            keys = keys.dictionary_encode()
        names = keys.dictionary.to_pylist()
        known = [self._code.setdefault(n, len(self._code)) if n else NOBODY for n in names]
        index = pc.fill_null(keys.indices.cast(pa.int64()), len(names))
        codes: Ints = np.array([*known, NOBODY])[index.to_numpy(zero_copy_only=False)]
        return codes


class WorkerSums:
    """Sums of Terms for each worker, batch by batch.

    Args:
        num_cells: cells of the result.
    """

    def __init__(self, num_cells: int = 1) -> None:
        self.num_cells = num_cells
        self.has_null = False
        self._sums = np.zeros((3, 1, num_cells))  # part, whole, null; row 0 is NOBODY's

    def add(self, terms: Terms, worker: Ints) -> None:
        """Count some rows.

        Args:
            terms: what they add.
            worker: (num_rows,) code of each row's worker.
        """
        if not len(terms.row):
            return
        place = worker[terms.row] + 1
        missing = int(place.max()) + 1 - self._sums.shape[1]
        if missing > 0:
            self._sums = np.pad(self._sums, ((0, 0), (0, missing), (0, 0)))
        size = self._sums.shape[1] * self.num_cells
        if terms.cell is not None:
            place = place * self.num_cells + terms.cell
        self.has_null |= terms.null is not None
        for each, values in zip(self._sums, (terms.part, terms.whole, terms.null), strict=True):
            if values is not None:
                each += np.bincount(place, values, size).reshape(each.shape)

    def estimate(
        self,
        weights: Floats,
        *,
        shape: Sequence[int] = (),
        finish: Finish = ratio,
        null: Floats | float | None = None,
        n: Floats | None = None,
        labels: tuple[str, ...] = (),
    ) -> Estimate:
        """The statistic, its interval and its null.

        Args:
            weights: (num_resamples, num_workers) of draw_workers.
            shape: of the result; its size is that of what `finish` returns.
            finish: the statistic from sums; by default the mean in each cell.
            null: the null where it is known beforehand; by default from the terms.
            n: what to call the sample size; by default the sum of the wholes.
            labels: of the places of the shape, where the data name them.
        """
        part, whole, expected = self._sums
        total, trials = part.sum(axis=0), whole.sum(axis=0)
        if null is None and self.has_null:
            null = finish(expected.sum(axis=0), trials).reshape(shape)
        drawn = weights[:, : len(part) - 1]
        replicates = finish(part[0] + drawn @ part[1:], whole[0] + drawn @ whole[1:])
        replicates = replicates.reshape(len(weights), *shape)
        num_workers = int(np.any(whole[1:] != 0, axis=1).sum())
        low, high = interval(replicates, num_workers)
        if n is None:
            n = trials.reshape(shape) if math.prod(shape) == self.num_cells else trials[0]
            n = trials.sum() if finish is share else n
        return Estimate(
            value=finish(total, trials).reshape(shape),
            low=low,
            high=high,
            n=_filled(n, shape),
            null=_filled(np.nan if null is None else null, shape),
            num_workers=num_workers,
            labels=labels,
            replicates=replicates,
        )


def _filled(values: Floats | float, shape: Sequence[int]) -> Floats:
    return np.array(np.broadcast_to(values, tuple(shape)), dtype=np.float64)


def draw_workers(num_workers: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """(resamples, num_workers) how often each worker is drawn: the same for all statistics."""
    if not num_workers:
        return np.zeros((resamples, 0))
    rng = np.random.default_rng(seed)
    even = np.full(num_workers, 1 / num_workers)
    return rng.multinomial(num_workers, even, size=resamples).astype(np.float64)


def interval(replicates: Floats, num_workers: int) -> tuple[Floats, Floats]:
    """Ends of the expanded percentile interval.

    Args:
        replicates: (num_resamples, ...) the statistic in each resample; NaN ones are left out.
        num_workers: how many clusters were resampled.
    Returns: low and high, (...); NaN with fewer than two workers, or without resamples.
    """
    if num_workers < 2 or not len(replicates):
        nothing = np.full(replicates.shape[1:], np.nan)
        return nothing, nothing
    from scipy.special import ndtr, stdtrit  # a tenth of a second, and only needed here

    # What is cut off on each side: less than 2.5 % for few workers.
    t = -stdtrit(num_workers - 1, (1 - LEVEL) / 2)
    tail = float(ndtr(-t * math.sqrt(num_workers / (num_workers - 1))))
    if not np.isnan(replicates).any():
        return tuple(np.quantile(replicates, [tail, 1 - tail], axis=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a cell that no resample saw
        return tuple(np.nanquantile(replicates, [tail, 1 - tail], axis=0))


def median_estimate(values: Floats, worker: Ints, weights: Floats) -> Estimate:
    """Median of some values, with the interval that resampled workers give.

    Args:
        values: (num_values,) NaN is left out.
        worker: (num_values,) code of the worker of each.
        weights: (num_resamples, num_workers) of draw_workers.
    Returns: one number. Its interval is exact for up to 2,000 distinct values; beyond, it is right
        to a two-thousandth of the values' rank.
    """
    there = ~np.isnan(values)
    values, worker = values[there], worker[there]
    nothing = np.array(np.nan)
    value, replicates = nothing, np.full(len(weights), np.nan)
    num_workers = len(np.unique(worker[worker >= 0]))
    if len(values):
        value = np.array(float(np.median(values)))
        replicates = _medians(values, worker, weights)
    low, high = interval(replicates, num_workers)
    return Estimate(
        value=value,
        low=low,
        high=high,
        n=np.array(float(len(values))),
        null=nothing,
        num_workers=num_workers,
        replicates=replicates,
    )


def _medians(values: Floats, worker: Ints, weights: Floats) -> Floats:
    """(num_resamples,) the median in each resample."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, 2001), method="inverted_cdf"))
    counts = np.zeros((weights.shape[1] + 1, len(edges)))
    np.add.at(counts, (worker + 1, np.searchsorted(edges, values)), 1.0)
    below = np.cumsum(counts[0] + weights @ counts[1:], axis=1)
    half = below[:, -1:] / 2
    lower, upper = np.argmax(below >= half, axis=1), np.argmax(below > half, axis=1)
    return np.where(below[:, -1] > 0, (edges[lower] + edges[upper]) / 2, np.nan)
