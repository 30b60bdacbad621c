"""Average precision and AUROC, as scikit-learn defines them, with their intervals. Pure.

Average precision on few images is higher than on many, and resampling raises it once more. So an
interval of mAP is that of the resamples, moved down by as much as their mean exceeds the value. On
drawn scores (50 to 2,000 images), it then holds the mean average precision expected on as many
images in 94 to 96 % of cases; unmoved it does in 89 to 93 %.

`N` images, `C` classes, `R` resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from luab_data.errors import OptionError
from luab_data.statistics.estimate import RESAMPLES, draw_workers, interval
from luab_data.statistics.estimate import Estimate as Estimates
from luab_train.metrics.intervals import NOTHING, Difference, Interval, bincount_rows, ends

_CHUNK = 50


def average_precision(
    scores_NC: np.ndarray, labels_NC: np.ndarray, *, envelope: bool = False
) -> np.ndarray:
    """(C,) sum over distinct scores of precision times the recall gained; NaN without positives.

    Args:
        scores_NC: higher is likelier; logits or probabilities, for only their order counts.
        labels_NC: bool; images without any label are negatives of every class.
        envelope: take for the precision at a recall the best at that recall or a higher one.
    Source: docs/definitions.md#mean-average-precision; sklearn.metrics.average_precision_score, and
    Pascal VOC's development kit.
    """
    return np.array(
        [
            weighted_precision(scores_NC[:, c], labels_NC[:, c], None, envelope=envelope)[0]
            for c in range(scores_NC.shape[1])
        ]
    )


def weighted_precision(
    scores_N: np.ndarray,
    labels_N: np.ndarray,
    weights_NR: np.ndarray | None,
    *,
    envelope: bool = False,
) -> np.ndarray:
    """(R,) average precision of one class; image i counts weights_NR[i] times, None is once.

    Recall grows only at scores that some positive has, so images between two of those are counted
    together.
    """
    num_resamples = 1 if weights_NR is None else weights_NR.shape[1]
    if not labels_N.any():
        return np.full(num_resamples, np.nan)
    order = np.argsort(-scores_N, kind="stable")
    ranked, positive = scores_N[order], labels_N[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    hits = np.diff(np.cumsum(positive)[last], prepend=0)
    last, hits = last[hits > 0], hits[hits > 0]
    if weights_NR is None:
        seen, true = (last + 1.0)[:, None], np.cumsum(hits).astype(np.float64)[:, None]
    else:
        starts = np.append(0, last[:-1] + 1)
        ranked_NR = weights_NR[order[: last[-1] + 1]]
        seen = np.cumsum(np.add.reduceat(ranked_NR, starts, axis=0), axis=0, dtype=np.float64)
        own = weights_NR[order[positive]]
        firsts = np.append(0, np.cumsum(hits)[:-1])
        true = np.cumsum(np.add.reduceat(own, firsts, axis=0), axis=0, dtype=np.float64)
    precision = np.divide(true, seen, out=np.zeros_like(true), where=seen > 0)
    if envelope:
        precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    gained = np.diff(true, axis=0, prepend=0.0)
    area, total = (gained * precision).sum(axis=0), true[-1]
    found: np.ndarray = np.divide(area, total, out=np.full(num_resamples, np.nan), where=total > 0)
    return found


@dataclass(frozen=True, kw_only=True)
class MeanPrecision:
    """mAP and what it is made of, fractions.

    Args:
        mean: over the classes with positives. Its null, and that of a class, is the share of
            positives: what scores without information come to.
        classes: shape (C,); NaN for a class without positives.
        num_positive: (C,) int64, images that have the class.
        num_excluded: classes without positives, left out of the mean.
        envelope: the mean with precision made non-increasing in recall, as Pascal VOC has it; the
            paper does not say which of the two it prints.
    """

    mean: Estimates
    classes: Estimates
    num_positive: np.ndarray
    num_excluded: int
    envelope: float


def mean_average_precision(
    scores_NC: np.ndarray, labels_NC: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> MeanPrecision:
    """The mAP with bootstrap intervals over images.

    Args:
        scores_NC, labels_NC: as in `average_precision`.
        resamples, seed: of the bootstrap; models scored with the same seed on the same images are
            resampled alike.
    """
    check_scores(scores_NC, labels_NC)
    replicates_RC = _replicates(scores_NC, labels_NC, resamples, seed)
    ap_C = average_precision(scores_NC, labels_NC)
    num_positive = labels_NC.sum(axis=0)
    share_C = np.where(num_positive > 0, num_positive / max(len(labels_NC), 1), np.nan)
    # A class hangs on its positives: with few of them the interval must be wider, whatever N is.
    ends = [
        _ends(ap_C[c], replicates_RC[:, c], int(n), least=0.0) for c, n in enumerate(num_positive)
    ]
    low, high = np.array(ends).reshape(-1, 2).T
    return MeanPrecision(
        mean=_mean_estimate(ap_C, replicates_RC, _nanmean(share_C), len(labels_NC), least=0.0),
        classes=Estimates(
            value=ap_C,
            low=low,
            high=high,
            n=np.full(len(ap_C), float(len(labels_NC))),
            null=share_C,
            num_workers=len(labels_NC),
        ),
        num_positive=num_positive.astype(np.int64),
        num_excluded=int((num_positive == 0).sum()),
        envelope=float(_nanmean(average_precision(scores_NC, labels_NC, envelope=True))),
    )


def map_difference(
    scores_NC: np.ndarray,
    other_NC: np.ndarray,
    labels_NC: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimates:
    """The mAP of one model minus that of another on the same images, resampled together."""
    check_scores(scores_NC, labels_NC)
    check_scores(other_NC, labels_NC)
    value_C = average_precision(scores_NC, labels_NC) - average_precision(other_NC, labels_NC)
    replicates_RC = _replicates(scores_NC, labels_NC, resamples, seed)
    replicates_RC -= _replicates(other_NC, labels_NC, resamples, seed)
    return _mean_estimate(value_C, replicates_RC, 0.0, len(labels_NC), least=-1.0)


def check_scores(scores_NC: np.ndarray, labels_NC: np.ndarray) -> None:
    """Raises OptionError where scores have another shape than the labels or are NaN."""
    if scores_NC.shape != labels_NC.shape:
        raise OptionError(
            f"scores of shape {scores_NC.shape} for labels of shape {labels_NC.shape}; expected one"
            " score for each image and class"
        )
    if np.isnan(scores_NC).any():
        raise OptionError(
            f"{int(np.isnan(scores_NC).any(axis=1).sum())} of {len(scores_NC)} images have a score"
            " that is no number; scores must have an order. Does the model overflow in fp16?"
        )


def _mean_estimate(
    value_C: np.ndarray,
    replicates_RC: np.ndarray,
    null: float | np.ndarray,
    num_images: int,
    *,
    least: float,
) -> Estimates:
    value = _nanmean(value_C)
    low, high = _ends(value, _nanmean(replicates_RC), num_images, least=least)
    return Estimates(
        value=value,
        low=low,
        high=high,
        n=np.array(float(num_images)),
        null=np.array(null, dtype=np.float64),
        num_workers=num_images,
    )


def _ends(
    value: np.ndarray, replicates_R: np.ndarray, num_clusters: int, *, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of the interval, moved by the bias that resampling adds, within [least, 1]."""
    low, high = interval(replicates_R, num_clusters)
    bias = _nanmean(replicates_R) - value
    low, high = np.clip([low - bias, high - bias], least, 1.0)
    return np.asarray(low), np.asarray(high)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without the NaNs; NaN where there is nothing else."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    total = np.where(there, values, 0.0).sum(axis=-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


_AT_ONCE = 250
"""Resamples at a time: 40,504 images take 40 MB a chunk."""


def _replicates(
    scores_NC: np.ndarray, labels_NC: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """(R, C) average precision in each resample; NaN where it drew no positive."""
    drawn_RN = draw_workers(len(labels_NC), resamples=resamples, seed=seed)
    found = np.full((resamples, scores_NC.shape[1]), np.nan)
    for first in range(0, resamples, _AT_ONCE):
        # Images first, so that sorting them by score moves whole rows.
        part_NR = np.ascontiguousarray(drawn_RN[first : first + _AT_ONCE].T.astype(np.float32))
        for c in range(scores_NC.shape[1]):
            found[first : first + _AT_ONCE, c] = weighted_precision(
                scores_NC[:, c], labels_NC[:, c], part_NR
            )
    return found


class Ranked(NamedTuple):
    """Scores of two sets of images as one ranking of `G` distinct scores, the highest first."""

    rank_in: np.ndarray
    """(N_in,) int64, of each negative."""
    rank_out: np.ndarray
    """(N_out,) int64, of each positive."""
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


def detection(score_in: np.ndarray, score_out: np.ndarray) -> tuple[float, float]:
    """AUROC and average precision, percent, of telling two sets of images apart; NaN over nothing.

    Args:
        score_in: scores of in-distribution images, e.g. minus their maximal probability.
        score_out: scores of the others, the positives, which should be higher.
    """
    if not len(score_in) or not len(score_out):
        return math.nan, math.nan
    found = ranked(score_in, score_out)
    counts = (np.bincount(rank, minlength=found.size) for rank in found[:2])
    area, average = ranking_quality(*counts)
    return float(area), float(average)


def detection_intervals(
    score_in: np.ndarray, score_out: np.ndarray, *, seed: int = 0
) -> tuple[Interval, Interval]:
    """Of both: the two sets of images are drawn anew, each by itself."""
    if not len(score_in) or not len(score_out):
        return NOTHING, NOTHING
    rng = np.random.default_rng(seed)
    found = ranked(score_in, score_out)
    replicates = []
    for start in range(0, RESAMPLES, _CHUNK):
        size = min(_CHUNK, RESAMPLES - start)
        counts = [
            bincount_rows(rank[rng.integers(len(rank), size=(size, len(rank)))], found.size)
            for rank in (found.rank_in, found.rank_out)
        ]
        replicates.append(np.stack(ranking_quality(*counts)))
    n = min(len(score_in), len(score_out))
    area, average = np.concatenate(replicates, axis=1)
    return ends(area, n), ends(average, n)


def detection_difference(
    in_N2: np.ndarray, out_N2: np.ndarray, quality: int, *, seed: int = 0
) -> Difference | None:
    """Of two models, image by image: both sets are drawn anew, the same for both models.

    Args:
        in_N2, out_N2: scores of the images that both models have, a column a model.
        quality: 0 for AUROC, 1 for average precision.
    """
    if not len(in_N2) or not len(out_N2):
        return None

    def difference(inside: np.ndarray, outside: np.ndarray) -> float:
        a, b = (detection(inside[:, k], outside[:, k])[quality] for k in (0, 1))
        return a - b

    rng = np.random.default_rng(seed)
    replicates = [
        difference(*(of[rng.integers(len(of), size=len(of))] for of in (in_N2, out_N2)))
        for _ in range(RESAMPLES)
    ]
    low, high = ends(np.array(replicates), min(len(in_N2), len(out_N2)))
    value = difference(in_N2, out_N2)
    return Difference(value, low, high, math.nan, len(in_N2) + len(out_N2), "images")
