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

Which workers to look at: careless ones, and ones who click the centre or rush, and why.

The rule. Every trait has a z: how far the worker is from the ordinary ones, after pooling, in a
unit that bad workers do not move (`robust_z`). A score is made of such z's and a worker is
flagged from THRESHOLD = 3.5 on, the outlier rule of Iglewicz and Hoaglin ("How to Detect and Handle
Outliers", 1993) for distances in median absolute deviations: of normal workers one in 4,300
passes it on one side. Nothing here is fitted to simulated workers.

A score of several families of signs is the sum of their z's over the square root of their number,
each capped at 3.5: no single oddity flags anybody, two strong ones or three clear ones do. Signs
of one family measure the same thing, so they are averaged. If families go together in the crowd,
the sum varies more than this square root says, and it is divided by its own robust standard
deviation.

What cannot be found: more than half of the workers being bad, since they then are the yardstick;
a worker with few rows, whose z is pulled to 0; from behaviour, a worker who takes their time and
misses, or one whose classes really are always in the centre. Flags are reasons to look, not proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from luab_data.ragged import Bools, Floats

_NORMAL = 1.959964  # 95 % interval
_MEDIAN = 0.6744898  # median of the absolute value of a standard normal variable
_TAIL = 0.025

MAX_Z = 99.0
"""Where |z| ends: beyond, it says nothing more."""

THRESHOLD = 3.5
CLEAR = 2.0
"""A sign whose z is at least this is named among the reasons."""


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
    total = tau2 + variance[there]
    weight = np.divide(tau2, total, out=np.zeros_like(total), where=total > 0)
    value = mean + weight * (raw[there] - mean)
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

    def excess(tau2: float) -> float:
        squares = (raw - _mean(tau2, raw, variance)) ** 2
        total = tau2 + variance
        with np.errstate(divide="ignore"):
            terms = np.where(squares > 0, squares / np.where(total > 0, total, np.nan), 0.0)
        return float(np.nan_to_num(terms, nan=np.inf).sum() - (len(raw) - 1))

    tau2 = _root(excess, _scale(raw, variance))
    return _mean(tau2, raw, variance), tau2


def _mean(tau2: float, raw: Floats, variance: Floats) -> float:
    total = tau2 + variance
    if (total == 0).any():
        return float(raw[total == 0].mean())
    return float(np.average(raw, weights=1 / total))


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


Traits = Mapping[str, Pooled]
Signs = Mapping[str, float]
"""Trait -> +1 if much of it is suspicious, -1 if little of it is."""


@dataclass(frozen=True)
class Suspicion:
    """One thing a worker may be suspected of.

    Attributes:
        name: `careless`, `centre_clicking` or `hasty`.
        evidence: `behaviour` needs the log only, `truth` boxes or masks too.
        score: traits and families -> (num_workers,) like a z; NaN for workers it cannot judge.
        doc: the rule in a sentence.
        families: the signs, by what they measure.
        unless: traits -> (num_workers,) whom it does not fit, however high the score.
    """

    name: str
    evidence: Literal["behaviour", "truth"]
    score: Callable[[Traits, Sequence[Signs]], Floats]
    doc: str
    families: tuple[Signs, ...]
    unless: Callable[[Traits], Bools] | None = None

    @property
    def key(self) -> str:
        """`careless_by_behaviour`, ..."""
        return f"{self.name}_by_{self.evidence}"

    def scores(self, traits: Traits) -> Floats:
        """(num_workers,) of each worker."""
        score = self.score(traits, self.families)
        if self.unless is None:
            return score
        return np.where(self.unless(traits), np.minimum(score, 0.0), score)

    def reasons(self, traits: Traits) -> list[list[str]]:
        """For each worker the traits that are clear signs, the clearest first."""
        signs = {trait: sign for family in self.families for trait, sign in family.items()}
        z = np.array([sign * traits[trait].z for trait, sign in signs.items()])
        names = np.array([*signs])
        found = []
        for column in np.nan_to_num(z).T:
            order = np.argsort(-column, kind="stable")
            found.append([str(names[k]) for k in order if column[k] >= CLEAR])
        return found


def flagged(score: Floats) -> Bools:
    """(num_workers,) whether each score is past the threshold; NaN is not."""
    return np.nan_to_num(score, nan=-np.inf) >= THRESHOLD


def together(traits: Traits, families: Sequence[Signs]) -> Floats:
    """All families as one score; NaN for workers without two of them."""
    z = np.array([_mean_z(traits, family) for family in families])
    weight = np.array([_nan_mean(np.array([traits[t].weight for t in f])) for f in families])
    there = ~np.isnan(z)
    number = there.sum(axis=0)
    capped = np.clip(np.where(there, z, 0.0), -THRESHOLD, THRESHOLD)
    score = np.where(number >= 2, capped.sum(axis=0) / np.sqrt(np.maximum(number, 1)), np.nan)
    known = ~np.isnan(score)
    by = np.where(there, weight, 0.0).sum(axis=0)[known] / number[known]
    centre = weighted_median(score[known], by)
    scale = 1.4826 * weighted_median(np.abs(score[known] - centre), by)
    # Workers with few rows all score near 0; that makes nobody else suspicious.
    return np.asarray(score / max(1.0, np.nan_to_num(scale)), np.float64)


def all_of(traits: Traits, families: Sequence[Signs]) -> Floats:
    """The weakest family: every one of them must be there."""
    found: Floats = np.min([_mean_z(traits, family) for family in families], axis=0)
    return found


def _mean_z(traits: Traits, family: Signs) -> Floats:
    z = np.array([sign * traits[trait].z for trait, sign in family.items()])
    return _nan_mean(np.clip(z, -THRESHOLD, THRESHOLD) if len(z) > 1 else z)


def _nan_mean(values: Floats) -> Floats:
    there = ~np.isnan(values)
    number = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    found: Floats = np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)
    return found


def follows_objects(traits: Traits) -> Bools:
    """(num_workers,) whose clicks move at least half as much as the object does, or are unknown."""
    return ~(np.nan_to_num(traits["box_following"].value, nan=1.0) < 0.5)


def near_centre(traits: Traits) -> Bools:
    """(num_workers,) whose clicks are nearer to the picture's centre than an ordinary worker's."""
    return np.nan_to_num(traits["centre_distance"].z) < 0
