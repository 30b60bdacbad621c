"""One number for each image and class becomes a mean over classes, each class's, and a micro mean,
with bootstrap intervals over images. Pure.

`T` cases (image, class), `C` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from luab_data.statistics.estimate import (
    RESAMPLES,
    Estimate,
    Finish,
    Terms,
    WorkerSums,
    draw_workers,
    ratio,
)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One metric, aggregated three ways; `n` of each counts cases.

    Args:
        mean: over images within each class, then over the classes that have a case.
        classes: shape (C,); NaN where no image has a case of the class.
        micro: over all cases.
        num_images, num_cases: what it was taken over.
    """

    mean: Estimate
    classes: Estimate
    micro: Estimate
    num_images: int
    num_cases: int


def rates(
    image_T: np.ndarray,
    label_T: np.ndarray,
    values: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    num_classes: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Rate]:
    """Aggregate some metrics on the same resamples of images.

    Args:
        image_T: int64, any numbers; cases of one image are drawn together.
        label_T: int64.
        values: metric -> (T,) its value and (T,) its null, what it would be by chance.
    """
    images, row_T = np.unique(image_T, return_inverse=True)
    weights = draw_workers(len(images), resamples=resamples, seed=seed)
    every = np.arange(len(images))

    def rate(value_T: np.ndarray, null_T: np.ndarray) -> Rate:
        terms = Terms(row_T, value_T, np.ones(len(row_T)), label_T, null_T)
        sums = WorkerSums(num_classes)
        sums.add(terms, every)

        def taken(shape: tuple[int, ...], finish: Finish) -> Estimate:
            n = None if shape else np.array(float(len(row_T)))
            return sums.estimate(weights, shape=shape, finish=finish, n=n)

        return Rate(
            mean=taken((), _mean_over_classes),
            classes=taken((num_classes,), ratio),
            micro=taken((), _over_cases),
            num_images=len(images),
            num_cases=len(row_T),
        )

    return {name: rate(*pair) for name, pair in values.items()}


def _over_cases(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return ratio(part.sum(axis=-1), whole.sum(axis=-1))


def _mean_over_classes(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    seen = whole > 0
    per_class = np.divide(part, whole, out=np.zeros(np.shape(part)), where=seen)
    return ratio(per_class.sum(axis=-1), seen.sum(axis=-1).astype(np.float64))
