"""Average precision of a ranking, as scikit-learn defines it. Pure.

`N` images, `C` classes, `R` resamples.
"""

from __future__ import annotations

import numpy as np


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
