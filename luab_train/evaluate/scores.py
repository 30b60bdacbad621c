"""The arithmetic of every metric of docs/definitions.md#imagenet-benchmarks: counts first, the
division last.

Pure functions of NumPy arrays, without a model and without files. Values are percent. `N` images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

C15 = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
"""Corruptions of ImageNet-C's main table."""
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four that make C19."""
SEVERITIES = (1, 2, 3, 4, 5)

ALEXNET_ERROR = dict(
    zip(
        C15,
        (
            0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816,
            0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500,
        ),
        strict=True,
    )
)  # fmt: skip
"""Mean error of AlexNet over the severities, the unit of mCE. Source: easyrobust, imagenet_c.py."""


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


def is_accepted(
    top1: Sequence[str] | np.ndarray,
    label: Sequence[str] | np.ndarray,
    accepted: Mapping[str, Sequence[str]],
    *,
    first_only: bool = False,
) -> np.ndarray:
    """(N,) bool: the predicted class is among those that are right for the label.

    Args:
        top1: (N,) predicted class.
        label: (N,) label.
        accepted: label -> classes that are right.
        first_only: only the first of them is.
    """
    if not len(label):
        return np.zeros(0, dtype=bool)
    classes, predicted = np.unique(np.asarray(top1), return_inverse=True)
    labels, true = np.unique(np.asarray(label), return_inverse=True)
    right = np.zeros((len(labels), len(classes)), dtype=bool)
    for row, name in enumerate(labels.tolist()):
        good = accepted[name][:1] if first_only else accepted[name]
        right[row] = np.isin(classes, np.array(list(good), dtype=str))
    found: np.ndarray = right[true, predicted]
    return found


def real_correct(
    top1: Sequence[str] | np.ndarray, sets: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """ReaL: is the prediction in the image's set, and has it one; (N,) bool each."""
    correct = np.array([p in s for p, s in zip(top1, sets, strict=True)], dtype=bool)
    return correct, np.array([len(s) > 0 for s in sets], dtype=bool)


def corruption_accuracy(cells: Mapping[tuple[str, int], Count], names: Sequence[str]) -> float:
    """Mean over corruptions and severities of top-1, percent; NaN if any cell is missing."""
    values = [cells[name, s].percent() for name in names for s in SEVERITIES if (name, s) in cells]
    complete = len(values) == len(names) * len(SEVERITIES)
    return float(np.mean(values)) if complete and values else math.nan


def mean_corruption_error(cells: Mapping[tuple[str, int], Count]) -> float:
    """Mean over C15 of errors over AlexNet's; percent."""
    ratios = []
    for name in C15:
        if not all((name, s) in cells for s in SEVERITIES):
            return math.nan
        error = np.mean([100 - cells[name, s].percent() for s in SEVERITIES])
        ratios.append(float(error) / ALEXNET_ERROR[name])
    return float(np.mean(ratios))


class Ranked(NamedTuple):
    """Scores of two sets of images as one ranking of `G` distinct scores, the highest first."""

    rank_in: np.ndarray
    """(N_in,) int64, of each in-distribution image."""
    rank_out: np.ndarray
    """(N_out,) int64, of each image of the other set, the positives."""
    size: int
    """G."""


def ranked(score_in: np.ndarray, score_out: np.ndarray) -> Ranked:
    """Rank scores, e.g. minus the maximal probability; equal scores have one rank."""
    values, rank = np.unique(-np.concatenate([score_in, score_out]), return_inverse=True)
    return Ranked(rank[: len(score_in)], rank[len(score_in) :], len(values))


def ranking_quality(count_in: np.ndarray, count_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision, percent, of how many images have each rank; NaN over nothing.

    AUROC is how often a positive ranks before a negative, ties half. In average precision, ties
    enter together.

    Args:
        count_in, count_out: (..., G) negatives and positives of each rank.
    Returns: (...) each.
    """
    before_in, before_out = count_in.cumsum(axis=-1), count_out.cumsum(axis=-1)
    num_in, num_out = before_in[..., -1], before_out[..., -1]
    behind = num_in[..., None] - before_in + count_in / 2
    precision = before_out / np.maximum(before_in + before_out, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = 100 * (count_out * behind).sum(axis=-1) / (num_in * num_out)
        average = 100 * (count_out * precision).sum(axis=-1) / np.where(num_in > 0, num_out, 0)
    return np.asarray(auroc), np.asarray(average)


def auroc(score_in: np.ndarray, score_out: np.ndarray) -> float:
    """How often an out-of-distribution image has the higher score, ties half; percent.

    Args:
        score_in: scores of in-distribution images, e.g. minus their maximal probability.
        score_out: scores of the others, the positives.
    """
    return _quality(score_in, score_out)[0]


def average_precision(score_in: np.ndarray, score_out: np.ndarray) -> float:
    """Average precision with out-of-distribution as positive, percent; ties enter together."""
    return _quality(score_in, score_out)[1]


def _quality(score_in: np.ndarray, score_out: np.ndarray) -> tuple[float, float]:
    if not len(score_in) or not len(score_out):
        return math.nan, math.nan
    found = ranked(score_in, score_out)
    counts = (np.bincount(rank, minlength=found.size) for rank in found[:2])
    area, average = ranking_quality(*counts)
    return float(area), float(average)


def gap(same: Count, rand: Count) -> float:
    """BGC-gap: accuracy on mixed-same minus accuracy on mixed-rand, in points."""
    return same.percent() - rand.percent()


def robust(correct_FB: np.ndarray) -> Count:
    """Foregrounds that are right on every background: (F, B) bool -> hits and F."""
    return count(np.atleast_1d(np.asarray(correct_FB, dtype=bool).all(axis=1)))
