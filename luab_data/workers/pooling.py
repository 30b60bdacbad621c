"""Partial pooling: a worker's number is pulled towards the crowd's, the more the less is known.

Workers' true values are taken to be normal around the crowd's mean with standard deviation tau,
and what was measured to be normal around the true value with a known variance. The best guess of
the true value then is `mean + weight (raw - mean)` with `weight = tau^2 / (tau^2 + variance)`.
A share is pooled in the same way: with the variance of a mean of 0s and 1s this is the guess of
the beta-binomial model, and its interval is that of the beta distribution of the same mean and
variance, so that it stays within 0 and 1.

An interval takes tau as known: of 60 workers or more it holds the true value about as often as it
says, of ten 85 to 94 times in a hundred, the least for workers with few rows.

tau^2 follows from the data: Paule and Mandel, "Consensus values and weighting factors", 1982. With
equal variances this is the estimate of James and Stein (Efron and Morris, 1973).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from luab_data.ragged import Bools, Floats

_NORMAL = 1.959964  # 95 % interval
_MEDIAN = 0.6744898  # median of the absolute value of a standard normal variable
_TAIL = 0.025

MAX_Z = 99.0
"""Where |z| ends: beyond, it says nothing more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooled:
    """One number of every worker; arrays are (num_workers,), NaN for workers without data.

    Attributes:
        raw: from the worker's own data.
        value: pooled: between raw and the crowd's mean.
        low, high: ends of the 95 % interval of the true value.
        weight: 1 if the value is the worker's own, 0 if it is the crowd's.
        z: how far the worker is from the ordinary ones; see `robust_z`.
        crowd: the crowd's mean.
        spread: tau, the standard deviation of the workers' true values; of their logarithms or
            squares for numbers that are pooled so.
    """

    raw: Floats
    value: Floats
    low: Floats
    high: Floats
    weight: Floats
    z: Floats
    crowd: float
    spread: float

    def mapped(self, function: Callable[[Floats], Floats]) -> Pooled:
        """The same on another scale, by an increasing function."""
        raw, value, low, high = map(function, (self.raw, self.value, self.low, self.high))
        crowd = float(function(np.array(self.crowd)))
        return replace(self, raw=raw, value=value, low=low, high=high, crowd=crowd)


def pool(raw: Floats, variance: Floats, *, is_share: bool = False) -> Pooled:
    """Pool one number of all workers.

    Args:
        raw: (num_workers,) NaN where a worker has no data.
        variance: (num_workers,) of raw around the worker's true value; infinite if unknown.
        is_share: raw is in [0, 1], and so is the interval.
    """
    there = np.isfinite(raw) & ~np.isnan(variance)
    mean, tau2 = between(raw[there], variance[there])
    weight = _weight(tau2, variance[there])
    value = mean + weight * (raw[there] - mean)
    total = tau2 + variance[there]
    information = np.divide(1, total, out=np.zeros_like(total), where=total > 0).sum()
    # What is known of the worker, and how well the crowd's mean is known where that stands in.
    within = np.where(weight > 0, weight * np.nan_to_num(variance[there], posinf=0), 0.0)
    within[np.isinf(variance[there])] = tau2
    error = within + (1 - weight) ** 2 * (1 / information if information > 0 else 0.0)
    reach = _NORMAL * np.sqrt(error)
    low, high = _beta_interval(value, error) if is_share else (value - reach, value + reach)
    z = robust_z(raw[there], variance[there], weight, mean)
    arrays = np.full((6, len(raw)), np.nan)
    arrays[:, there] = raw[there], value, low, high, weight, z
    names = ("raw", "value", "low", "high", "weight", "z")
    found = dict(zip(names, arrays, strict=True))
    return Pooled(**found, crowd=mean, spread=float(np.sqrt(tau2)))


def _weight(tau2: float, variance: Floats) -> Floats:
    total = tau2 + variance
    return np.divide(tau2, total, out=np.zeros_like(total), where=total > 0)


def between(raw: Floats, variance: Floats) -> tuple[float, float]:
    """The crowd's mean and the variance tau^2 of the true values around it.

    Args:
        raw, variance: (num_workers,) no NaN; an infinite variance tells nothing.

    Returns: (NaN, 0) without workers, tau^2 = 0 where they differ by no more than their variances
    explain. tau^2 solves sum (raw - mean)^2 / (tau^2 + variance) = num_workers - 1, with the mean
    weighted by 1 / (tau^2 + variance).
    """
    known = np.isfinite(variance)
    if not known.any():
        return (float(raw.mean()) if len(raw) else np.nan), 0.0
    raw, variance = raw[known], variance[known]
    tau2 = _root(lambda tau2: _excess(tau2, raw, variance), _scale(raw, variance))
    return _mean(tau2, raw, variance), tau2


def _mean(tau2: float, raw: Floats, variance: Floats) -> float:
    total = tau2 + variance
    if (total == 0).any():
        return float(raw[total == 0].mean())
    return float(np.average(raw, weights=1 / total))


def _excess(tau2: float, raw: Floats, variance: Floats) -> float:
    squares = (raw - _mean(tau2, raw, variance)) ** 2
    total = tau2 + variance
    with np.errstate(divide="ignore"):
        terms = np.where(squares > 0, squares / np.where(total > 0, total, np.nan), 0.0)
    return float(np.nan_to_num(terms, nan=np.inf).sum() - (len(raw) - 1))


def _scale(raw: Floats, variance: Floats) -> float:
    return float(np.ptp(raw) ** 2 + variance.max(initial=0.0))


def _root(excess: Callable[[float], float], scale: float) -> float:
    """Where a falling function of tau^2 is 0; 0 if it starts below."""
    from scipy.optimize import brentq

    if scale == 0 or excess(0.0) <= 0:
        return 0.0
    high = scale
    while excess(high) > 0:
        high *= 4
    low = high
    while low > 1e-18 * scale and excess(low) <= 0:
        low /= 16
    if excess(low) <= 0:
        return 0.0
    return float(brentq(excess, low, high, xtol=1e-12 * scale, rtol=1e-10))


def _beta_interval(mean: Floats, error: Floats) -> tuple[Floats, Floats]:
    from scipy.special import betaincinv

    low, high = mean.copy(), mean.copy()
    # No distribution on [0, 1] has a variance of mean (1 - mean) or more.
    error = np.minimum(error, 0.999 * mean * (1 - mean))
    some = (error > 0) & (mean > 0) & (mean < 1)
    m = mean[some]
    size = m * (1 - m) / error[some] - 1
    low[some] = betaincinv(m * size, (1 - m) * size, _TAIL)
    high[some] = betaincinv(m * size, (1 - m) * size, 1 - _TAIL)
    # A very skewed beta can end on one side of its mean.
    return np.minimum(low, mean), np.maximum(high, mean)


def robust_z(raw: Floats, variance: Floats, weight: Floats, mean: float) -> Floats:
    """How far each worker is from the ordinary ones, in a unit that bad workers do not move.

    z = sqrt(weight) (raw - centre) / sqrt(spread^2 + variance). Centre and spread are a median and
    a median absolute deviation, of the true values: spread is such that half of the workers, by
    weight, are within .6745 of these units. For an ordinary worker the quotient is standard
    normal, however little is known; the root makes |z| small where little is known. Written with
    the pooled values, z is their deviation over its standard deviation, times that root; if no
    worker is bad it is the pooled deviation over the spread.

    Args:
        raw, variance, weight: (num_workers,) no NaN; weight as pooled.
        mean: of the crowd.
    """
    if not (weight > 0).any():
        return np.zeros(len(raw))
    known: Bools = weight > 0
    y, s2, w = raw[known], variance[known], weight[known]

    def deviations(tau2: float) -> tuple[float, Floats]:
        sd = np.sqrt(tau2 + s2)
        centre = weighted_median(y, w / np.where(sd > 0, sd, 1.0))
        far = np.abs(y - centre)
        units = np.divide(far, sd, out=np.full_like(far, np.inf), where=sd > 0)
        return centre, np.where(far == 0, 0.0, units)

    spread2 = _root(lambda tau2: weighted_median(deviations(tau2)[1], w) - _MEDIAN, _scale(y, s2))
    centre, _ = deviations(spread2)
    sd = np.sqrt(spread2 + variance)
    far = raw - centre
    # Where half of the workers are exactly equal and exactly known, any other is infinitely far.
    units = np.divide(far, sd, out=MAX_Z * np.sign(far), where=sd > 0)
    units = np.clip(units, -MAX_Z, MAX_Z)
    return np.where(weight > 0, np.sqrt(weight) * units, 0.0)


def weighted_median(values: Floats, weights: Floats) -> float:
    """The least value with half of the weight at or below it; NaN without values."""
    if not len(values):
        return np.nan
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])
