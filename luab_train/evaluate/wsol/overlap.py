"""How well predicted boxes cover true ones, under one of two conventions.

`wsolevaluation` reproduces clovaai/wsolevaluation (docs/definitions.md#boxes-from-maps, steps 5 to
9): a box is its inclusive corner pixels, so every width and height is x1 - x0 + 1; but the far
corner of a predicted box is one pixel too far, except at the map's border, and true boxes are
truncated to whole pixels. Where no pixel is above the threshold, the box is [0, 0, 0, 0]: one
pixel.
`continuous` is the geometry of the rest of luab: pixel i spans [i, i + 1], nothing is
truncated, width = x1 - x0; no pixel, no box, an overlap of 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from luab_train.evaluate.wsol.contours import LevelBoxes

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
