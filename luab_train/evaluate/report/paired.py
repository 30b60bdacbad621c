"""One arm minus another: over seeds where there are at least three, else over images. Pure.

`c` cells of a metric, see `Judged`. Values are percent, or the unit of the metric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from luab_data.statistics.estimate import interval
from luab_train.evaluate.intervals import (
    RESAMPLES,
    Interval,
    cells_interval,
    paired_accuracy,
)
from luab_train.evaluate.report.judged import Judged, Outliers
from luab_train.evaluate.scores import auroc
from luab_train.report.compare import t_interval

LEAST_SEEDS = 3
"""Fewer say too little of how much seeds differ; then the interval is over images."""


class Difference(NamedTuple):
    """One arm minus another.

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


def over_seeds(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Paired by seed: mean difference, Student's t interval and test, as for training results."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    found = t_interval(differences)
    p_value, test = math.nan, ""
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    if spread > 0:
        from scipy.stats import t

        statistic = abs(found.mean) * math.sqrt(found.n) / spread
        p_value, test = 2 * float(t.sf(statistic, found.n - 1)), "paired t"
    return Difference(found.mean, found.low, found.high, p_value, found.n, "seeds", test)


def over_images(a: Sequence[Judged], b: Sequence[Judged], *, seed: int = 0) -> Difference | None:
    """Mean of some models minus that of others, image by image; None without an image in common.

    An image counts in a cell where all models have a prediction of it. One model against one with
    one accuracy is McNemar's case; otherwise there is an interval and no test.

    Args:
        a, b: of the same metric.
    """
    right, seen = _aligned([*a, *b])
    if not seen.any(axis=0).all():
        return None
    n, single = len(seen), right.shape[1] == 2
    if single:
        both = seen.all(axis=1)
        found = paired_accuracy(right[both, 0], right[both, 1], seed=seed)
        return Difference(
            found.difference, found.low, found.high, found.p_value, found.n, "images", "McNemar"
        )
    weight = np.concatenate(
        [sign * j.weight / len(of) for sign, of in ((1, a), (-1, b)) for j in of]
    )
    value = 100 * float(((right & seen).sum(axis=0) / seen.sum(axis=0)) @ weight)
    if seen.all():
        low, high = _mean_interval(100 * right @ weight, seed)
    else:
        ((low, high),) = cells_interval(right, seen, lambda r: (r @ weight)[:, None], seed=seed)
    return Difference(value, low, high, math.nan, n, "images")


def over_outliers(a: Outliers, b: Outliers, *, seed: int = 0) -> Difference | None:
    """Difference of two AUROCs: images of each set are drawn anew, the same for both models."""
    inside = _common(a.id_in, a.score_in, b.id_in, b.score_in)
    outside = _common(a.id_out, a.score_out, b.id_out, b.score_out)
    if not len(inside) or not len(outside):
        return None

    def difference(first: np.ndarray, second: np.ndarray) -> float:
        return auroc(first[:, 0], second[:, 0]) - auroc(first[:, 1], second[:, 1])

    rng = np.random.default_rng(seed)
    replicates = [
        difference(*(of[rng.integers(len(of), size=len(of))] for of in (inside, outside)))
        for _ in range(RESAMPLES)
    ]
    low, high = interval(np.array(replicates), min(len(inside), len(outside)))
    n = len(inside) + len(outside)
    value = difference(inside, outside)
    return Difference(value, float(low), float(high), math.nan, n, "images")


def _aligned(models: Sequence[Judged]) -> tuple[np.ndarray, np.ndarray]:
    """(N, models x c) bool right and seen; an image is seen in a cell by all models or by none."""
    # Most cells are of the same images, which are looked up once.
    lists: list[np.ndarray] = []
    which = [[_position(ids, lists) for ids in model.image_id] for model in models]
    images = np.unique(np.concatenate(lists))
    places = [np.searchsorted(images, ids) for ids in lists]
    shape = (len(images), len(models), len(models[0].cells))
    right, seen = np.zeros(shape, bool), np.zeros(shape, bool)
    for m, model in enumerate(models):
        for c, right_N in enumerate(model.right):
            at = places[which[m][c]]
            right[at, m, c], seen[at, m, c] = right_N, True
    seen &= seen.all(axis=1, keepdims=True)
    some = seen.any(axis=(1, 2))
    return right[some].reshape(some.sum(), -1), seen[some].reshape(some.sum(), -1)


def _position(ids: np.ndarray, lists: list[np.ndarray]) -> int:
    """Where among the lists one is the same; it is added if none is."""
    for k, known in enumerate(lists):
        if known is ids or np.array_equal(known, ids):
            return k
    lists.append(ids)
    return len(lists) - 1


def _mean_interval(value_N: np.ndarray, seed: int) -> Interval:
    """Of a mean over images of a number that takes few values, so a draw is one multinomial."""
    values, counts = np.unique(value_N.round(9), return_counts=True)
    n = len(value_N)
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=RESAMPLES)
    low, high = interval(drawn @ values / n, n)
    return Interval(float(low), float(high))


def _common(id_a: np.ndarray, a: np.ndarray, id_b: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, 2): both models' scores of the images that both have."""
    _, at_a, at_b = np.intersect1d(id_a, id_b, return_indices=True)
    return np.stack([a[at_a], b[at_b]], axis=1)
