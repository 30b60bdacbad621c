"""Box metrics of score maps: MaxBoxAcc, MaxBoxAccV2, GT-known and top-1 localisation.

Counts first, division last: sums of batches, processes and splits add up. `N` images, `T`
thresholds, `D` overlaps that count as correct. Definitions and names:
docs/definitions.md#localisation-metrics. How well a box covers another follows one of two
conventions:

`wsolevaluation` reproduces clovaai/wsolevaluation (docs/definitions.md#boxes-from-maps, steps 5 to
9): a box is its inclusive corner pixels, so every width and height is x1 - x0 + 1; but the far
corner of a predicted box is one pixel too far, except at the map's border, and true boxes are
truncated to whole pixels. Where no pixel is above the threshold, the box is [0, 0, 0, 0]: one
pixel.
`continuous` is the geometry of the rest of luab: pixel i spans [i, i + 1], nothing is
truncated, width = x1 - x0; no pixel, no box, an overlap of 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from luab_data.errors import OptionError
from luab_train.evaluate.wsol.contours import LevelBoxes, level_boxes
from luab_train.evaluate.wsol.score_maps import levels_of, quantise

BoxConvention = Literal["wsolevaluation", "continuous"]


def true_boxes(
    boxes_px: np.ndarray,
    size_wh: np.ndarray,
    map_wh: tuple[int, int],
    convention: BoxConvention = "wsolevaluation",
) -> np.ndarray:
    """(K, 4) xyxy px of an image of `size_wh` px -> (K, 4) float64 px of its map."""
    scale_from, scale_to = np.tile(size_wh, 2).astype(np.float64), np.tile(map_wh, 2)
    # In this order, as a product of factors rounds differently.
    scaled: np.ndarray = boxes_px.astype(np.float64) * scale_to / scale_from
    return np.trunc(scaled) if convention == "wsolevaluation" else scaled


def predicted_boxes(
    boxes: np.ndarray, map_wh: tuple[int, int], convention: BoxConvention = "wsolevaluation"
) -> np.ndarray:
    """(M, 4) boxes of contours, far corner exclusive -> (M, 4) in the convention."""
    if convention == "continuous":
        return boxes
    width, height = map_wh
    clipped: np.ndarray = np.minimum(boxes, [width, height, width - 1, height - 1])
    return clipped


def iou(
    boxes_M4: np.ndarray, boxes_K4: np.ndarray, convention: BoxConvention = "wsolevaluation"
) -> np.ndarray:
    """(M, K) float64: area of the intersection over area of the union; 0 if the union is empty."""
    extra = 1 if convention == "wsolevaluation" else 0
    a, b = boxes_M4[:, None], boxes_K4[None]
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    inner = np.maximum(high - low + extra, 0).prod(axis=-1)
    union = (
        (a[..., 2:] - a[..., :2] + extra).prod(axis=-1)
        + (b[..., 2:] - b[..., :2] + extra).prod(axis=-1)
        - inner
    )
    ratio: np.ndarray = np.where(union > 0, inner / np.where(union > 0, union, 1), 0.0)
    return ratio


def level_iou(
    levels: LevelBoxes,
    truth_K4: np.ndarray,
    map_wh: tuple[int, int],
    convention: BoxConvention = "wsolevaluation",
) -> np.ndarray:
    """(2, L) float64: best IoU with any true box, K >= 1, of the largest contour and of all.

    Args:
        levels: boxes of each level.
        truth_K4: from `true_boxes`, same convention.
        map_wh: px of the map.
        convention: see the file's docstring.
    """
    best = iou(predicted_boxes(levels.boxes, map_wh, convention), truth_K4, convention).max(axis=1)
    empty = levels.largest < 0
    nothing = iou(np.zeros((1, 4)), truth_K4, convention).max()
    result = np.full((2, len(levels.largest)), nothing if convention == "wsolevaluation" else 0.0)
    if len(best):
        result[0, ~empty] = best[levels.largest[~empty]]
        result[1, ~empty] = np.maximum.reduceat(best, levels.bounds[:-1][~empty])
    return result


DELTAS = (0.3, 0.5, 0.7)
FIXED_TAU = 0.2


class MapOverlap(NamedTuple):
    """The overlap of one map's boxes with the true ones, by grey level."""

    iou: np.ndarray
    """(2, 256) float64: [0] of the largest contour, [1] the best of all; row position is the level
    t, NaN where no threshold asked for it."""
    highest: int
    """The map's highest grey value, by which thresholds become levels."""

    def at(self, taus: np.ndarray) -> np.ndarray:
        """(2, T) float64."""
        values: np.ndarray = self.iou[:, levels_of(taus, self.highest)]
        return values


def map_overlap(
    scores: np.ndarray,
    truth_K4: np.ndarray,
    taus: np.ndarray,
    convention: BoxConvention = "wsolevaluation",
) -> MapOverlap:
    """Boxes of a map at all thresholds against the true boxes.

    Args:
        scores: (H, W) float64 in [0, 1].
        truth_K4: (K, 4) px of the map, K >= 1, from `true_boxes`.
        taus: (T,) thresholds in [0, 1).
        convention: see the file's docstring.
    """
    grey = quantise(scores)
    highest = int(grey.max())
    levels = np.unique(levels_of(taus, highest))
    found = level_boxes(grey, levels)
    result = np.full((2, 256), np.nan)
    result[:, levels] = level_iou(found, truth_K4, (grey.shape[1], grey.shape[0]), convention)
    return MapOverlap(result, highest)


@dataclass(frozen=True, kw_only=True)
class BoxSums:
    """How many images were right at each threshold and overlap."""

    taus: np.ndarray
    """(T,) float64."""
    deltas: tuple[float, ...]
    largest: np.ndarray
    """(D, T) int64: the largest contour's box overlaps a true one by at least delta."""
    any_contour: np.ndarray
    """(D, T) int64: any contour's box does."""
    top1: np.ndarray
    """(D, T) int64: the largest contour's box does, and the class is right."""
    num_classified: int
    """Images whose class is right."""
    num_images: int

    @classmethod
    def empty(cls, taus: np.ndarray, deltas: tuple[float, ...] = DELTAS) -> BoxSums:
        """Nothing seen yet."""
        zeros = np.zeros((len(deltas), len(taus)), np.int64)
        return cls(
            taus=taus,
            deltas=deltas,
            largest=zeros,
            any_contour=zeros,
            top1=zeros,
            num_classified=0,
            num_images=0,
        )

    def __add__(self, other: BoxSums) -> BoxSums:
        if self.deltas != other.deltas or not np.array_equal(self.taus, other.taus):
            raise OptionError(
                f"box sums over {len(self.taus)} thresholds at {self.deltas} and over"
                f" {len(other.taus)} at {other.deltas} do not add up; expected the same in both"
            )
        return replace(
            self,
            largest=self.largest + other.largest,
            any_contour=self.any_contour + other.any_contour,
            top1=self.top1 + other.top1,
            num_classified=self.num_classified + other.num_classified,
            num_images=self.num_images + other.num_images,
        )


def box_update(
    iou_N2T: np.ndarray,
    classified_N: np.ndarray,
    *,
    taus: np.ndarray,
    deltas: tuple[float, ...] = DELTAS,
) -> BoxSums:
    """Sums of a batch.

    Args:
        iou_N2T: `MapOverlap.at(taus)` of each image, from the map of its true class. Where the
            predicted class is right that is the map of the predicted class too, so top-1
            localisation needs no other map.
        classified_N: bool, whether the predicted class is right.
        taus: (T,).
        deltas: overlaps that count as correct, borders included.
    """
    correct = iou_N2T[:, :, None] >= np.array(deltas)[:, None]
    return BoxSums(
        taus=taus,
        deltas=deltas,
        largest=correct[:, 0].sum(axis=0),
        any_contour=correct[:, 1].sum(axis=0),
        top1=correct[classified_N, 0].sum(axis=0),
        num_classified=int(classified_N.sum()),
        num_images=len(iou_N2T),
    )


def box_compute(sums: BoxSums, *, fixed_tau: float = FIXED_TAU) -> dict[str, float]:
    """Fractions in [0, 1] by name; NaN where no image was seen.

    max_box_acc: best over thresholds, largest contour, IoU >= .5; it is GT-known localisation at
    its best threshold. max_box_acc_v2: mean over deltas of the best over thresholds, each delta
    with its own, all contours. gt_known_fixed: GT-known localisation at `fixed_tau`. top1_loc: best
    over thresholds of class and box both right; top1_loc_fixed: at `fixed_tau`. `_tau` is the
    lowest best threshold.
    """
    half, fixed = _position(np.array(sums.deltas), 0.5), _position(sums.taus, fixed_tau)
    gt_known, top1 = sums.largest[half], sums.top1[half]
    best, best_top1 = int(gt_known.argmax()), int(top1.argmax())

    def share(count: float) -> float:
        return float(count) / sums.num_images if sums.num_images else math.nan

    v2 = {
        f"max_box_acc_v2_{round(100 * delta)}": share(sums.any_contour[i].max())
        for i, delta in enumerate(sums.deltas)
    }
    return {
        "num_images": sums.num_images,
        "accuracy": share(sums.num_classified),
        "max_box_acc": share(gt_known[best]),
        "max_box_acc_tau": best_tau(sums.taus, best, sums.num_images),
        "max_box_acc_v2": float(np.mean(list(v2.values()))),
        **v2,
        "gt_known_fixed": share(gt_known[fixed]),
        "top1_loc": share(top1[best_top1]),
        "top1_loc_tau": best_tau(sums.taus, best_top1, sums.num_images),
        "top1_loc_fixed": share(top1[fixed]),
        "fixed_tau": fixed_tau,
    }


def best_tau(taus: np.ndarray, position: int, num_images: int) -> float:
    """The threshold, NaN if no image had a say in it."""
    return float(taus[position]) if num_images else math.nan


def _position(values: np.ndarray, wanted: float) -> int:
    found = np.flatnonzero(np.abs(values - wanted) < 1e-9)
    if not len(found):
        raise OptionError(
            f"{wanted} is not among the {len(values)} values from {values.min()} to {values.max()}"
            " that were counted; expected thresholds with 0.2 (an interval of 0.001 or 0.01) and"
            " overlaps with 0.5"
        )
    return int(found[0])
