"""How sure a benchmark's number is: images are drawn anew, models and seeds are not.

Proportions get Wilson intervals, their difference Newcombe's, everything else a bootstrap over
images with the project's one percentile rule (`luab_data.statistics.estimate.interval`). Two models
on the same images are compared image by image. All values percent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from luab_data.statistics.estimate import interval
from luab_train.evaluate.scores import Count, ranked, ranking_quality

RESAMPLES = 1000
_CHUNK = 50


class Interval(NamedTuple):
    """Ends of a 95 % interval; NaN where there is none."""

    low: float
    high: float


NOTHING = Interval(math.nan, math.nan)


def wilson(counted: Count) -> Interval:
    """Of a proportion."""
    from scipy.stats import binomtest

    if not counted.n:
        return NOTHING
    found = binomtest(counted.hits, counted.n).proportion_ci(method="wilson")
    return Interval(100 * float(found.low), 100 * float(found.high))


def gap_interval(a: Count, b: Count) -> Interval:
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


def two_sample_interval(
    first: np.ndarray,
    second: np.ndarray,
    statistic: Callable[[np.ndarray, np.ndarray], float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Of any statistic of two sets of images, each drawn anew by itself."""
    if not len(first) or not len(second):
        return NOTHING
    rng = np.random.default_rng(seed)
    found = [
        statistic(
            first[rng.integers(len(first), size=len(first))],
            second[rng.integers(len(second), size=len(second))],
        )
        for _ in range(resamples)
    ]
    return _ends(np.array(found), min(len(first), len(second)))


def ranking_intervals(
    score_in: np.ndarray, score_out: np.ndarray, *, seed: int = 0
) -> tuple[Interval, Interval]:
    """Of AUROC and of average precision: both sets of images are drawn anew, each by itself."""
    if not len(score_in) or not len(score_out):
        return NOTHING, NOTHING
    rng = np.random.default_rng(seed)
    found = ranked(score_in, score_out)
    replicates = []
    for start in range(0, RESAMPLES, _CHUNK):
        size = min(_CHUNK, RESAMPLES - start)
        counts = [
            _bincount_rows(rank[rng.integers(len(rank), size=(size, len(rank)))], found.size)
            for rank in (found.rank_in, found.rank_out)
        ]
        replicates.append(np.stack(ranking_quality(*counts)))
    n = min(len(score_in), len(score_out))
    area, average = np.concatenate(replicates, axis=1)
    return _ends(area, n), _ends(average, n)


def cells_interval(
    correct: np.ndarray,
    seen: np.ndarray,
    statistics: Callable[[np.ndarray], np.ndarray],
    *,
    seed: int = 0,
) -> list[Interval]:
    """Of statistics of several accuracies on the same images, e.g. the mean over corruptions.

    Args:
        correct: (N, num_cells) bool, right where it was seen.
        seen: (N, num_cells) bool, whether the image has a prediction in the cell.
        statistics: (R, num_cells) accuracies in percent -> (R, K) values.
    Returns: K intervals; whole images are drawn, with all their cells.
    """
    num_images = len(seen)
    if not num_images:
        return []
    rng = np.random.default_rng(seed)
    hits, trials = (correct & seen).astype(np.float32), seen.astype(np.float32)
    everywhere = bool(seen.all())
    replicates = []
    for start in range(0, RESAMPLES, _CHUNK):
        size = min(_CHUNK, RESAMPLES - start)
        drawn = rng.integers(num_images, size=(size, num_images))
        weights = _bincount_rows(drawn, num_images).astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            wholes = num_images if everywhere else weights @ trials
            accuracy = 100 * (weights @ hits).astype(np.float64) / wholes
        replicates.append(statistics(accuracy))
    return [_ends(column, num_images) for column in np.concatenate(replicates).T]


class Paired(NamedTuple):
    """Model A against model B on the same images."""

    difference: float
    """Accuracy of A minus accuracy of B, points."""
    low: float
    high: float
    only_a: int
    """Images that only A has right."""
    only_b: int
    p_value: float
    """McNemar's exact test: that A and B are equally often the better one."""
    n: int


def paired_accuracy(correct_a: np.ndarray, correct_b: np.ndarray, *, seed: int = 0) -> Paired:
    """Compare two models image by image.

    Args:
        correct_a, correct_b: (N,) bool, of the same images in the same order.
    """
    assert len(correct_a) == len(correct_b)
    only_a = int(np.count_nonzero(correct_a & ~correct_b))
    only_b = int(np.count_nonzero(~correct_a & correct_b))
    n = len(correct_a)
    if not n:
        return Paired(math.nan, math.nan, math.nan, 0, 0, math.nan, 0)
    rng = np.random.default_rng(seed)
    # Only the three kinds of images matter, so drawing N images is one multinomial draw.
    kinds = np.array([only_a, only_b, n - only_a - only_b]) / n
    drawn = rng.multinomial(n, kinds, size=RESAMPLES)
    low, high = _ends(100 * (drawn[:, 0] - drawn[:, 1]) / n, n)
    difference = 100 * (only_a - only_b) / n
    return Paired(difference, low, high, only_a, only_b, mcnemar(only_a, only_b), n)


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p value from the images that one model has right and the other wrong."""
    from scipy.stats import binomtest

    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def paired_bootstrap(
    statistic: Callable[[np.ndarray], float], num_images: int, *, seed: int = 0
) -> Interval:
    """Of any difference between two models: `statistic` takes the (N,) indices of drawn images."""
    if not num_images:
        return NOTHING
    rng = np.random.default_rng(seed)
    found = [statistic(rng.integers(num_images, size=num_images)) for _ in range(RESAMPLES)]
    return _ends(np.array(found), num_images)


def _bincount_rows(values: np.ndarray, size: int) -> np.ndarray:
    """(R, N) ints below `size` -> (R, size) how often each is in its row."""
    rows = np.arange(len(values))[:, None] * size
    counts = np.bincount((values + rows).ravel(), minlength=len(values) * size)
    return counts.reshape(len(values), size)


def _ends(replicates: np.ndarray, num_images: int) -> Interval:
    low, high = interval(replicates, num_images)
    return Interval(float(low), float(high))
