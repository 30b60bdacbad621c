"""How sure a number is: images are drawn anew, models and seeds are not.

Proportions get Wilson intervals, their difference Newcombe's, means over seeds Student's, and
everything else a bootstrap over images with the project's one percentile rule
(`luab_data.statistics.estimate.interval`). `N` images, `R` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from luab_data.statistics.estimate import LEVEL, RESAMPLES, interval

_CHUNK = 50


class Interval(NamedTuple):
    """Ends of a 95 % interval; NaN where there is none."""

    low: float
    high: float


NOTHING = Interval(math.nan, math.nan)


def unless_flat(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of intervals; NaN where an interval has no width but for rounding.

    Values that never differ do not say how much others would: an interval of width 0 would claim
    to be certain.
    """
    flat = high - low <= 1e-12 * np.maximum(1, np.abs(high))
    return np.where(flat, np.nan, low), np.where(flat, np.nan, high)


_NOT_VARYING = {
    "student": "all seeds give the same",
    "bootstrap": "too few images, or the same in every resample",
    "jackknife": "the same without any group of images",
}


class Estimate(NamedTuple):
    """A number and how sure it is.

    Args:
        value: NaN over nothing.
        low, high: ends of its 95 % interval, NaN where there is none.
        n: images, or seeds, that it is over.
        method: of the interval: wilson, newcombe, bootstrap, jackknife, student; empty where none
            is taken.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    method: str = ""

    @property
    def why_none(self) -> str:
        """Why a number has no interval although one is taken; empty where that is not so."""
        if not (self.method and math.isfinite(self.value)) or math.isfinite(self.low):
            return ""
        if self.n == 1:
            return f"no interval: of one {'seed' if self.method == 'student' else 'image'}"
        return f"no interval: {_NOT_VARYING[self.method]}"


class Count(NamedTuple):
    """How many of how many."""

    hits: int
    n: int

    def percent(self) -> float:
        """NaN where nothing was counted."""
        return 100 * self.hits / self.n if self.n else math.nan


def count(correct: np.ndarray) -> Count:
    """(N,) bool -> hits and N."""
    return Count(int(np.count_nonzero(correct)), len(correct))


def wilson_ends(hits: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Wilson's score interval of hits in n trials, fractions; NaN without trials."""
    from scipy.special import ndtri

    z = ndtri(0.5 + 0.5 * LEVEL)
    hits, n = np.asarray(hits, np.float64), np.asarray(n, np.float64)
    n = np.where(n > 0, n, np.nan)
    p = hits / n
    scale = 2 * (n + z**2)
    centre, reach = (2 * n * p + z**2) / scale, z / scale * np.sqrt(4 * n * p * (1 - p) + z**2)
    # Rounding would leave 1e-17 where the end is 0 or 1.
    low = np.where(hits == 0, 0.0 * n, centre - reach)
    return low, np.where(hits == n, 1.0, centre + reach)


def wilson(counted: Count) -> Interval:
    """Of a proportion, percent."""
    low, high = wilson_ends(np.array(counted.hits), np.array(counted.n))
    return Interval(100 * float(low), 100 * float(high))


def newcombe(a: Count, b: Count) -> Interval:
    """Of the difference of two proportions, a - b, taken as independent: Newcombe's method 10.

    A bootstrap would be sure of a gap of 0 between two models that are always right.
    Source: Newcombe, Interval estimation for the difference between independent proportions, 1998.
    """
    if not a.n or not b.n:
        return NOTHING
    of_a, of_b = wilson(a), wilson(b)
    p, q = a.percent(), b.percent()
    return Interval(
        p - q - math.hypot(p - of_a.low, of_b.high - q),
        p - q + math.hypot(of_a.high - p, q - of_b.low),
    )


def t_interval(values: Iterable[float]) -> Estimate:
    """Mean and Student's t interval at 95 %, none of equal values; NaN values are left out.

    >>> t_interval([1.0, 2.0, 3.0]).low  # 2 - 4.303 * 1 / sqrt(3)
    -0.484...
    """
    kept = [value for value in values if math.isfinite(value)]
    n = len(kept)
    mean = math.fsum(kept) / n if n else math.nan
    half = math.nan
    if n > 1:
        from scipy import stats

        variance = math.fsum((value - mean) ** 2 for value in kept) / (n - 1)
        half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * math.sqrt(variance / n)
    low, high = unless_flat(np.array(mean - half), np.array(mean + half))
    return Estimate(mean, float(low), float(high), n, "student")


def cells_interval(
    value: np.ndarray,
    seen: np.ndarray,
    statistics: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    seed: int = 0,
) -> list[Interval]:
    """Of statistics of sums over the same images, e.g. of the mean over corruptions.

    Args:
        value: (N, num_cells) bool or float, of each image in each cell; 0 where it was not seen.
        seen: (N, num_cells) bool, whether the image has a value in the cell.
        statistics: (R, num_cells) sums and (R, num_cells) numbers of images -> (R, K) values.
    Returns: K intervals; whole images are drawn, with all their cells.
    """
    num_images = len(seen)
    if not num_images:
        return []
    rng = np.random.default_rng(seed)
    parts, trials = value.astype(np.float32), seen.astype(np.float32)
    everywhere = bool(seen.all())
    replicates = []
    for start in range(0, RESAMPLES, _CHUNK):
        size = min(_CHUNK, RESAMPLES - start)
        drawn = rng.integers(num_images, size=(size, num_images))
        weights = bincount_rows(drawn, num_images).astype(np.float32)
        sums = (weights @ parts).astype(np.float64)
        n = np.full(sums.shape, float(num_images)) if everywhere else weights @ trials
        with np.errstate(invalid="ignore", divide="ignore"):
            replicates.append(statistics(sums, n))
    return [ends(column, num_images) for column in np.concatenate(replicates).T]


def mean_interval(value_N: np.ndarray, *, seed: int = 0) -> Interval:
    """Of a mean over images of a number that takes few values, so a draw is one multinomial."""
    values, counts = np.unique(value_N.round(9), return_counts=True)
    n = len(value_N)
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=RESAMPLES)
    return ends(drawn @ values / n, n)


class Difference(NamedTuple):
    """One model, or arm, minus another.

    Args:
        value: NaN if there is none.
        low, high: ends of the 95 % interval, NaN if there is none.
        p_value: that there is no difference; NaN where no exact test fits.
        n: images or seeds that it is over.
        over: `seeds`, `images`, or empty.
        test: name of the test that gave the p value, or empty.
    """

    value: float
    low: float
    high: float
    p_value: float
    n: int
    over: str
    test: str = ""

    @property
    def why_none(self) -> str:
        """As `Estimate.why_none`."""
        method = "student" if self.over == "seeds" else "bootstrap"
        return Estimate(self.value, self.low, self.high, self.n, method).why_none


def over_seeds(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Paired by seed: mean difference, Student's t interval and test."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    found = t_interval(differences)
    p_value, test = math.nan, ""
    if math.isfinite(found.low):
        from scipy.stats import t

        spread = float(np.std(differences, ddof=1))
        statistic = abs(found.value) * math.sqrt(found.n) / spread
        p_value, test = 2 * float(t.sf(statistic, found.n - 1)), "paired t"
    return Difference(found.value, found.low, found.high, p_value, found.n, "seeds", test)


def paired_accuracy(correct_a: np.ndarray, correct_b: np.ndarray, *, seed: int = 0) -> Difference:
    """Accuracy of A minus accuracy of B on the same images, points, with McNemar's exact test.

    Args:
        correct_a, correct_b: (N,) bool, of the same images in the same order.
    """
    n = len(correct_a)
    only_a = int(np.count_nonzero(correct_a & ~correct_b))
    only_b = int(np.count_nonzero(~correct_a & correct_b))
    if not n:
        return Difference(math.nan, math.nan, math.nan, math.nan, 0, "images")
    # Only the three kinds of images matter, so drawing N images is one multinomial draw.
    kinds = np.array([only_a, only_b, n - only_a - only_b]) / n
    drawn = np.random.default_rng(seed).multinomial(n, kinds, size=RESAMPLES)
    low, high = ends(100 * (drawn[:, 0] - drawn[:, 1]) / n, n)
    p_value = mcnemar(only_a, only_b)
    return Difference(100 * (only_a - only_b) / n, low, high, p_value, n, "images", "McNemar")


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p value from the images that one model has right and the other wrong."""
    from scipy.stats import binomtest

    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def bincount_rows(values: np.ndarray, size: int) -> np.ndarray:
    """(R, N) ints below `size` -> (R, size) how often each is in its row."""
    rows = np.arange(len(values))[:, None] * size
    counts = np.bincount((values + rows).ravel(), minlength=len(values) * size)
    return counts.reshape(len(values), size)


def ends(replicates: np.ndarray, num_images: int) -> Interval:
    """Of a bootstrap over so many images; none where they never differ."""
    low, high = unless_flat(*interval(replicates, num_images))
    return Interval(float(low), float(high))
