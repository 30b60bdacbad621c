"""One number of each worker from rows, with the sampling variance that pooling needs.

Rows of one HIT are alike: one class of objects, one sitting. So a worker's mean varies with the
HITs they got as well as with the rows in them, and both parts count. They are estimated from all
workers together, since three rows cannot tell a variance: from the mean squares of a nested
analysis of variance with unequal numbers (Searle, Casella and McCulloch, "Variance Components",
1992, section 3.6). A HIT's part stays 0 if no worker has two HITs; weights are then too high.

A worker's own rows may be more alike than the crowd's are, and a few of them cannot tell. So the
rows' part is times (n - 1) / (n - 3), the variance of Student's t with n - 1 degrees of freedom:
up to three rows tell nothing, four a third of what they seem to, a hundred nearly all.

Logs hold stray times and places, and three rows cannot tell a stray one from a habit. So rows
beyond the crowd's 1st and 99th percentile are pooled as if they were there (winsorised); what is
shown as the worker's own number is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.ragged import Floats, Ints, above_0
from luab_data.statistics.estimate import ratio
from luab_data.workers.observations import Observations
from luab_data.workers.pooling import Pooled, Suspicion, pool


class Unpooled(NamedTuple):
    """A number of each worker before pooling; (num_workers,) each, NaN without data.

    Args:
        value: what is pooled: the number, its logarithm or its square, of winsorised rows.
        variance: of the value around the worker's true one; infinite if it cannot be told.
        n: rows it was taken over.
        own: the same value of the rows as they are; None if that is `value`.
    """

    value: Floats
    variance: Floats
    n: Ints
    own: Floats | None = None


LIMITS = (0.01, 0.99)


def limits(values: Floats) -> tuple[float, float]:
    """Where rows are winsorised; values has no NaN."""
    if not len(values):
        return -np.inf, np.inf
    low, high = np.quantile(values, LIMITS).tolist()
    return low, high


def components(values: Floats, rows: Observations) -> tuple[float, float]:
    """Variance of rows around their HIT's mean, and of HITs around their worker's mean.

    Args:
        values: (num_rows,) no NaN.

    Returns: NaN for the first where no HIT has two rows and no worker two HITs; then neither can
    be told.
    """
    group, owner = rows.groups
    size = np.bincount(group).astype(np.float64)
    means = np.bincount(group, values) / size
    of_worker = rows.mean(values)[owner]
    num_workers = len(np.unique(owner))
    free, free_hits = len(values) - len(size), len(size) - num_workers
    within = float(((values - means[group]) ** 2).sum())
    among = float((size * (means - of_worker) ** 2).sum())
    if free == 0 and free_hits == 0:
        return np.nan, 0.0
    of_row = within / free if free else 0.0
    shares = np.bincount(owner, size**2, rows.num_workers)
    coefficient = len(values) - float(np.nansum(ratio(shares, rows.count())))
    of_hit = max(0.0, (among - free_hits * of_row) / coefficient) if free_hits else 0.0
    return of_row, of_hit


def _variance(values: Floats, rows: Observations, *, factor: float = 1.0, lost: int = 0) -> Floats:
    """(num_workers,) of a worker's mean of values; `factor` times as much for its rows' part.

    Args:
        lost: rows that were used up to estimate what values are relative to.
    """
    if not len(values):
        return np.full(rows.num_workers, np.nan)
    of_row, of_hit = components(values, rows)
    group, owner = rows.groups
    shares = np.bincount(owner, np.bincount(group).astype(np.float64) ** 2, rows.num_workers)
    n = rows.count()
    with np.errstate(invalid="ignore"):  # infinitely many times nothing is unknown too
        of_rows = factor * of_row * few_rows(n) * ratio(np.ones(len(n)), n - lost)
    found = of_hit * ratio(shares, n.astype(np.float64) ** 2) + of_rows
    return np.where(np.isnan(found), np.inf, found)


def few_rows(n: Ints) -> Floats:
    """(num_workers,) how many times as uncertain a mean of n rows is as their variance says."""
    found: Floats = np.divide(n - 1, n - 3, out=np.full(len(n), np.inf), where=n > 3)
    return found


def share_of(values: Floats, rows: Observations) -> Unpooled:
    """The share of 1s in each worker's 0s and 1s; NaN values are left out."""
    values, rows = _known(values, rows)
    return Unpooled(rows.mean(values), _variance(values, rows), rows.count())


def mean_of(values: Floats, rows: Observations) -> Unpooled:
    """The mean of each worker's values; NaN values are left out."""
    values, rows = _known(values, rows)
    kept = np.clip(values, *limits(values))
    return Unpooled(rows.mean(kept), _variance(kept, rows), rows.count(), rows.mean(values))


def log_median(values: Floats, rows: Observations) -> Unpooled:
    """The logarithm of each worker's median of values; those not above 0 are left out.

    The variance is pi/2 times that of a mean of logarithms, as for normal values; times are near
    enough to lognormal.
    """
    values, rows = _known(above_0(values), rows)
    logs, median = np.log(values), np.log(rows.median(values))
    ends = limits(logs)
    variance = _variance(np.clip(logs, *ends), rows, factor=np.pi / 2)
    return Unpooled(np.clip(median, *ends), variance, rows.count(), median)


def squared_spread(x: Floats, y: Floats, rows: Observations) -> Unpooled:
    """The variance of each worker's points along an axis, around the worker's own mean.

    It is half the mean squared distance, with n - 1 for n; NaN with fewer than two points. Squares
    are pooled rather than logarithms: three clicks in one place are no proof of a steady hand, but
    their logarithm would be far from everybody's.
    """
    known = np.isfinite(x + y)
    rows = rows.where(known, {})
    from_mean = [(v - rows.mean(v)[rows.worker]) for v in (x[known], y[known])]
    n = rows.count()
    more = ratio(n, n - 1)[rows.worker]
    squares = (from_mean[0] ** 2 + from_mean[1] ** 2) * more / 2
    squares, rows = _known(squares, rows)
    kept = np.clip(squares, *limits(squares))
    return Unpooled(rows.mean(kept), _variance(kept, rows, lost=1), n, rows.mean(squares))


def slope_of(
    y: Sequence[Floats], x: Sequence[Floats], rows: Observations, *, within_hits: bool = False
) -> Unpooled:
    """The least-squares slope of y on x of each worker, both taken from their means.

    Args:
        y, x: one or more pairs of (num_rows,); all pairs share the slope, not the mean.
        within_hits: means are a HIT's rather than a worker's.

    The variance is that of the residuals of all workers together over the worker's own sum of
    squares of x: infinite where x does not vary.
    """
    known = np.isfinite(sum((*y, *x)))
    rows = rows.where(known, {})
    group = rows.groups[0] if within_hits else rows.worker
    size = np.bincount(group).astype(np.float64)
    sxx, sxy, pairs = np.zeros(rows.num_workers), np.zeros(rows.num_workers), []
    for one_y, one_x in zip(y, x, strict=True):
        u, v = (
            w[known] - (np.bincount(group, w[known]) / np.maximum(size, 1))[group]
            for w in (one_x, one_y)
        )
        sxx, sxy = sxx + rows.sum(u * u), sxy + rows.sum(u * v)
        pairs.append((u, v))
    usable = sxx > 1e-12 * rows.count()
    slope = np.divide(sxy, sxx, out=np.full(len(sxx), np.nan), where=usable)
    fitted = np.nan_to_num(slope)[rows.worker]
    squares = sum(float(((v - fitted * u) ** 2).sum()) for u, v in pairs)
    free = len(pairs) * (len(rows) - int((size > 0).sum())) - int(usable.sum())
    residual = squares / free if free > 0 else np.inf
    variance = np.divide(residual, sxx, out=np.full(len(sxx), np.nan), where=usable)
    with np.errstate(invalid="ignore"):
        variance = variance * few_rows(rows.count())
    return Unpooled(slope, np.where(np.isnan(variance) & usable, np.inf, variance), rows.count())


def _known(values: Floats, rows: Observations) -> tuple[Floats, Observations]:
    known = np.isfinite(values)
    return values[known].astype(np.float64), rows.where(known, {})


_ESTIMATORS: dict[str, Callable[..., Unpooled]] = {
    "share": share_of,
    "mean": mean_of,
    "log": log_median,
    "square": squared_spread,
}
_SHOWN: dict[str, Callable[[Floats], Floats]] = {
    "share": np.asarray,
    "mean": np.asarray,
    "log": np.exp,
    "square": lambda values: np.sqrt(np.maximum(values, 0.0)),
}
"""From the scale of pooling to that of the number."""


@dataclass(frozen=True)
class Trait:
    """One number of each worker.

    Attributes:
        name: key, snake_case.
        doc: what it is.
        over: name of the rows it is taken over.
        of: their columns: two of points for `square`.
        on: if given, the trait is the slope of `of` on these columns.
        within_hits: whether that slope is taken within HITs.
        scale: `share` in [0, 1], `mean` of anything; `log` and `square` are numbers above 0 whose
            logarithm or square is pooled.
        unit: of the number; empty for shares and slopes.
        has_truth: whether it judges by ground truth.
    """

    name: str
    doc: str
    _: KW_ONLY
    over: str
    of: tuple[str, ...]
    on: tuple[str, ...] = ()
    within_hits: bool = False
    scale: Literal["share", "mean", "log", "square"]
    unit: str = ""
    has_truth: bool = False

    def pooled(self, rows: Observations) -> tuple[Pooled, Ints]:
        """The trait of all workers, pooled; and the rows it was taken over, (num_workers,)."""
        of, on = ([rows[name] for name in names] for names in (self.of, self.on))
        if on:
            one = slope_of(of, on, rows, within_hits=self.within_hits)
        else:
            one = _ESTIMATORS[self.scale](*of, rows)
        found = pool(one.value, one.variance, is_share=self.scale == "share")
        if one.own is not None:
            found = replace(found, raw=np.where(np.isnan(found.raw), np.nan, one.own))
        return found.mapped(_SHOWN[self.scale]), one.n


@dataclass(frozen=True, kw_only=True)
class WorkerMeasures:
    """What is told of the workers of one kind of log.

    Attributes:
        image_columns, event_columns: what `collect` reads of `default` and of the table of events.
        collect: batches of both -> worker ids, sorted, and their rows by name.
        counts: rows -> how much each worker did, (num_workers,) each.
        traits, suspicions: what is told of each, and what they may be suspected of.
        shown: traits in the order of their importance, for tables that cannot hold all.
        table_columns: what `table` reads of both.
        table: batches of both -> the table `annotators` of a dataset folder.
    """

    image_columns: tuple[str, ...]
    event_columns: tuple[str, ...]
    collect: Callable[
        [Iterable[pa.Table], Iterable[pa.Table]], tuple[list[str], dict[str, Observations]]
    ]
    counts: Callable[[Mapping[str, Observations]], dict[str, Ints]]
    traits: tuple[Trait, ...]
    suspicions: tuple[Suspicion, ...]
    shown: tuple[str, ...]
    table_columns: tuple[tuple[str, ...], tuple[str, ...]]
    table: Callable[[Iterable[pa.Table], Iterable[pa.Table]], pa.Table]
