"""Pixel metrics of score maps against masks: PxAP and mPxAP, with their chance level.

Histograms first: the scores of all foreground and of all background pixels of a split are pooled in
bins, and histograms of batches, processes and images add up. `B` bins, `C` classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luab_data.errors import OptionError
from luab_train.evaluate.wsol.score_maps import SIZE, opencv, thresholds

BACKGROUND, FOREGROUND, IGNORED = 0, 1, 255


def target_mask(
    instances: Sequence[np.ndarray], ignore: np.ndarray | None = None, *, size: int = SIZE
) -> np.ndarray:
    """(size, size) uint8: 1 on any instance, 255 where ignored and on no instance, else 0.

    Args:
        instances: (H, W) masks, non-zero on the object, at least one; each is resized by nearest.
        ignore: (H, W), the same for pixels that count neither way, e.g. crowds.
        size: px a side.
    """
    if not instances:
        raise OptionError("no instance mask; expected at least one. Leave out images without any")
    foreground: np.ndarray = np.logical_or.reduce([_resized(mask, size) for mask in instances])
    result: np.ndarray = foreground.astype(np.uint8)
    if ignore is not None:
        result[_resized(ignore, size) & ~foreground] = IGNORED
    return result


def _resized(mask: np.ndarray, size: int) -> np.ndarray:
    cv2 = opencv()
    nearest = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_NEAREST)
    resized: np.ndarray = nearest > 0.5
    return resized


@dataclass(frozen=True, kw_only=True)
class PixelSums:
    """Pooled pixels by class and bin; one class for plain PxAP.

    Bin i holds scores from edges[i] up to but not including edges[i + 1]; edges are 0, b, ... 1 - b
    and 1, 2, 3 as in clovaai's evaluator.
    """

    edges: np.ndarray
    """(B + 1,) float64."""
    foreground: np.ndarray
    """(C, B) int64."""
    background: np.ndarray
    """(C, B) int64."""

    @classmethod
    def empty(cls, interval: float = 0.001, *, num_classes: int = 1) -> PixelSums:
        """Nothing seen yet."""
        edges = np.append(thresholds(interval), [1.0, 2.0, 3.0])
        zeros = np.zeros((num_classes, len(edges) - 1), np.int64)
        return cls(edges=edges, foreground=zeros, background=zeros.copy())

    def __add__(self, other: PixelSums) -> PixelSums:
        if self.foreground.shape != other.foreground.shape:
            raise OptionError(
                f"pixel sums of {self.foreground.shape} and {other.foreground.shape} (classes,"
                " bins) do not add up; expected the same interval and classes"
            )
        return PixelSums(
            edges=self.edges,
            foreground=self.foreground + other.foreground,
            background=self.background + other.background,
        )

    def add_map(self, scores: np.ndarray, mask: np.ndarray, label: int = 0) -> None:
        """Count one map in place: a split has too many to make new histograms for each.

        Args:
            scores: (H, W) float64 in [0, 1].
            mask: (H, W) uint8 from `target_mask`.
            label: class of the map.
        """
        if scores.shape != mask.shape:
            raise OptionError(
                f"a map of {scores.shape} px against a mask of {mask.shape}; expected the same size"
            )
        # Written so that NaN fails.
        if not (scores.min() >= 0 and scores.max() <= 1):
            raise OptionError(
                f"scores from {scores.min()} to {scores.max()}; expected 0 to 1. Pass maps through"
                " normalise() first"
            )
        # Finding each pixel's bin by division is slower than the sort that this does.
        self.foreground[label] += np.histogram(scores[mask == FOREGROUND], self.edges)[0]
        self.background[label] += np.histogram(scores[mask == BACKGROUND], self.edges)[0]


def pixel_compute(sums: PixelSums) -> dict[str, float]:
    """Fractions in [0, 1]; NaN where nothing was seen.

    m_px_ap: mean over the classes with foreground pixels; with one class it is PxAP. chance: mean
    over the same classes of the share of foreground pixels, the PxAP of a map that says nothing.
    num_classes, num_without_pixels: classes in the mean, and left out of it.
    """
    per_class, share = px_ap(sums), foreground_share(sums)
    seen = np.isfinite(per_class)
    return {
        "m_px_ap": float(per_class[seen].mean()) if seen.any() else math.nan,
        "chance": float(share[seen].mean()) if seen.any() else math.nan,
        "num_classes": int(seen.sum()),
        "num_without_pixels": int((~seen).sum()),
    }


def px_ap(sums: PixelSums) -> np.ndarray:
    """(C,) area under the pooled precision-recall curve; NaN for a class without foreground.

    Each recall step counts with the precision at its lower threshold, nothing is interpolated
    (docs/definitions.md#localisation-metrics).
    """
    hits = sums.foreground[:, ::-1].cumsum(axis=1)
    taken = hits + sums.background[:, ::-1].cumsum(axis=1)
    positives = sums.foreground.sum(axis=1)
    precision = hits / np.maximum(taken, 1)
    # Recall starts at 0 above the highest bin, so the first step needs no special case.
    steps = np.diff(hits, axis=1, prepend=0)
    total = (precision * steps).sum(axis=1)
    return np.where(positives > 0, total / np.maximum(positives, 1), np.nan)


def foreground_share(sums: PixelSums) -> np.ndarray:
    """(C,) share of foreground pixels among those not ignored; NaN for a class never seen."""
    foreground = sums.foreground.sum(axis=1)
    known = foreground + sums.background.sum(axis=1)
    return np.where(known > 0, foreground / np.maximum(known, 1), np.nan)
