"""Validation where an image has several labels: the scores of a model and their mAP.

`N` images, `C` classes. Whether points lie on objects is for `luab-train eval --benchmarks coco`,
which has the masks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from luab_train.metrics.places import add_up
from luab_train.metrics.ranking import average_precision


class Scores(NamedTuple):
    """What a model said about a split, in the split's order."""

    logits_NC: np.ndarray
    """float32."""
    label_loss: np.ndarray
    """(N,) float64, binary cross-entropy, mean over the classes."""
    valid: np.ndarray = np.array(True)
    """(N,) bool, False where the image could not be decoded and the rest says nothing; one True
    for all."""


def score_labels(scores: Scores, *, label_NC: np.ndarray) -> dict[str, float]:
    """All metrics of a split; a count is an int, a mean over nothing is NaN.

    Returns:
        num_images and label_loss over all images, those without labels too; map, the mean of the
        average precisions (fractions) of the classes that some image has, and num_classes, how many
        these are. NaN where a score is no number, since a ranking needs an order.
    Source: docs/definitions.md#mean-average-precision, with the squares that `EvalCrop` shows.
    """
    precision_C = average_precision(scores.logits_NC, label_NC > 0)
    present_C = np.isfinite(precision_C)
    ranked = np.isfinite(scores.logits_NC).all()
    return {
        "num_images": len(label_NC),
        "label_loss": add_up(scores.label_loss).mean(),
        "map": add_up(precision_C, present_C).mean() if ranked else math.nan,
        "num_classes": int(present_C.sum()),
    }
