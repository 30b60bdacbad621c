"""The difference of two arms and how sure it is, over seeds and over images. Pure NumPy.

Both arms have the same `S` seeds and the same `N` test images. The difference on seed s and image i
is m + a_s + b_i + e_si: it varies with the seed, with the image, and with both. What is asked is m,
for seeds and images like these; its variance is var(a)/S + var(b)/N + var(e)/SN. The means over
images estimate the first and third term together, those over seeds the second and third; the third
alone, which is then in twice, is taken off once. The degrees of freedom are Satterthwaite's, so few
seeds widen the interval as Student's t does. A bootstrap cannot: three seeds drawn anew from three
are too much alike.

Source: Satterthwaite, An approximate distribution of estimates of variance components, 1946; the
model is that of crossed random effects, e.g. Searle, Casella and McCulloch, Variance Components.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from luab_data.statistics.estimate import LEVEL
from luab_train.metrics.intervals import t_interval


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean and its 95 % intervals; NaN with fewer than two seeds.

    Args:
        mean: over seeds and images.
        low, high: over seeds and images.
        p_value: two-sided, of a mean of 0, by the same variance and degrees of freedom.
        seeds_low, seeds_high: Student's t over seeds, the images being what they are.
        num_seeds: S.
        num_images: N.
    """

    mean: float
    low: float
    high: float
    p_value: float
    seeds_low: float
    seeds_high: float
    num_seeds: int
    num_images: int

    @property
    def clear(self) -> bool:
        """Whether 0 lies outside the interval over seeds and images."""
        return self.low > 0 or self.high < 0


def estimate(values_SN: np.ndarray) -> Estimate:
    """Of the mean of (S, N) numbers: differences of two arms, or the values of one."""
    from scipy import stats

    num_seeds, num_images = values_SN.shape
    if not num_seeds or not num_images:
        nothing = dict.fromkeys(_NAMES, math.nan)
        return Estimate(**nothing, num_seeds=num_seeds, num_images=num_images)
    of_seed = values_SN.mean(axis=1)
    over_seeds = t_interval(of_seed.tolist())
    error, freedom = math.nan, math.nan
    if num_seeds > 1 and num_images > 1:
        error, freedom = _standard_error(values_SN)
    mean = float(of_seed.mean())
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error if error else 0.0
    far = abs(mean) / error if error else math.inf if mean else 0.0
    return Estimate(
        mean=mean,
        low=mean - half,
        high=mean + half,
        p_value=2 * float(stats.t.sf(far, freedom)),
        seeds_low=over_seeds.low,
        seeds_high=over_seeds.high,
        num_seeds=num_seeds,
        num_images=num_images,
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """(K,) p-values adjusted for there being K of them; NaN, a test not made, counts as 1.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    made = np.nan_to_num(p_values, nan=1.0)
    order = np.argsort(made, kind="stable")
    steps = np.arange(len(made), 0, -1) * made[order]
    adjusted = np.empty(len(made))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


_NAMES = ("mean", "low", "high", "p_value", "seeds_low", "seeds_high")


def _standard_error(values_SN: np.ndarray) -> tuple[float, float]:
    """Of the mean, and its degrees of freedom."""
    num_seeds, num_images = values_SN.shape
    of_seed, of_image = values_SN.mean(axis=1), values_SN.mean(axis=0)
    rest = values_SN - of_seed[:, None] - of_image[None, :] + values_SN.mean()
    free = (num_seeds - 1) * (num_images - 1)
    parts = np.array(
        [
            of_seed.var(ddof=1) / num_seeds,
            of_image.var(ddof=1) / num_images,
            -(rest**2).sum() / free / (num_seeds * num_images),
        ]
    )
    # By chance the seeds may agree better than images allow; neither part alone is undercut.
    variance = max(parts.sum(), parts[0], parts[1])
    if not variance:
        return 0.0, math.inf
    freedom = variance**2 / (parts**2 / [num_seeds - 1, num_images - 1, free]).sum()
    return math.sqrt(variance), float(freedom)
