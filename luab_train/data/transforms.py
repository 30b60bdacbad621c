"""Image and point move together: every geometric step is one 2x3 matrix, applied to both.

Pixels are continuous: an image of width W and height H spans [0, W] x [0, H], the centre of its
first pixel is (.5, .5), and a horizontal flip is x -> W - x. A matrix maps source px to output px.
What is drawn, and the photometric steps, are in `crops` and `augment`.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

# A point on the crop's border is inside; the slack is for the rounding of a product of matrices.
_EDGE = 1e-9
RESAMPLE = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def crop_resize(box_xyxy: tuple[float, float, float, float], out_wh: tuple[int, int]) -> np.ndarray:
    """(2, 3): the box of the source, px, fills an output of out_wh px."""
    x0, y0, x1, y1 = box_xyxy
    sx, sy = out_wh[0] / (x1 - x0), out_wh[1] / (y1 - y0)
    return np.array([[sx, 0.0, -sx * x0], [0.0, sy, -sy * y0]])


def hflip(width: float) -> np.ndarray:
    """(2, 3): x -> width - x."""
    return np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0]])


def rotate(degrees: float, centre_xy: tuple[float, float]) -> np.ndarray:
    """(2, 3): clockwise on the screen (y points down) by `degrees` about a centre in px."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = centre_xy
    return np.array([[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y]])


def compose(*steps: np.ndarray) -> np.ndarray:
    """(2, 3): the steps one after another, the first step first."""
    result = np.eye(3)
    for step in steps:
        result = np.vstack([step, [0, 0, 1]]) @ result
    return result[:2]


def invert(matrix: np.ndarray) -> np.ndarray:
    """(2, 3): output px -> source px."""
    return np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(..., 2) px of the source -> (..., 2) px of the output; NaN stays NaN."""
    moved: np.ndarray = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def warp(
    image: Image.Image,
    matrix: np.ndarray,
    out_wh: tuple[int, int],
    *,
    interpolation: str = "bilinear",
    fill: tuple[int, int, int] = (124, 116, 104),
) -> Image.Image:
    """The image moved by `matrix`, out_wh px; outside the source it is `fill`, ImageNet's mean.

    A crop, resize and flip goes through PIL's antialiased resize with a fractional box. Anything
    else, and a crop that reaches outside the image, goes through PIL's affine sampler, which does
    not antialias.
    """
    box = _source_box(matrix, out_wh, image.size)
    if box is not None:
        image = image.resize(out_wh, RESAMPLE[interpolation], box=box)
        if matrix[0, 0] < 0:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if matrix[1, 1] < 0:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        return image
    return image.transform(
        out_wh,
        Image.Transform.AFFINE,
        tuple(invert(matrix).ravel()),
        RESAMPLE[interpolation],
        fillcolor=fill,
    )


def _source_box(
    matrix: np.ndarray, out_wh: tuple[int, int], size_wh: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """The upright box of the source, px, that fills the output; None if the image has none."""
    if matrix[0, 1] or matrix[1, 0]:
        return None
    corners = apply(invert(matrix), np.array([(0.0, 0.0), out_wh]))
    low, high = np.maximum(corners.min(axis=0), 0), np.minimum(corners.max(axis=0), size_wh)
    # What was cut off here must be rounding; a crop that really reaches outside needs filling.
    if max((low - corners.min(axis=0)).max(), (corners.max(axis=0) - high).max()) > 1e-6:
        return None
    return low[0], low[1], high[0], high[1]


def place(
    matrix: np.ndarray, points: np.ndarray, size_wh: tuple[int, int], out_wh: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Where points of the image fall in the crop, and whether they can be seen there.

    Args:
        matrix: source px -> px of the crop.
        points: (..., 2) fractions of the original image; NaN if there is none.
        size_wh: px of the original image.
        out_wh: px of the crop.
    Returns: (..., 2) fractions of the crop, never moved into it, NaN if there was none; and (...)
        bool, True in [0, 1]^2, borders included. The loss uses a point only if it is visible.
    """
    placed = apply(matrix, points * np.asarray(size_wh)) / np.asarray(out_wh)
    return placed, ((placed >= -_EDGE) & (placed <= 1 + _EDGE)).all(axis=-1)


def sample_seed(seed: int, epoch: int, index: int, view: int = 0) -> int:
    """One 63-bit seed for one view of one image in one epoch of one run."""
    entropy = (seed, epoch, index, *((view, 3) if view else ()))
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def update_seed(seed: int, epoch: int, update: int, process: int, part: int = 0) -> int:
    """A 32-bit seed of what a process draws in one update: dropout and stochastic depth; mixing and
    erasing of its parts, from 1.

    Set anew for every update, so that neither validation nor an interruption shifts the draws.
    """
    return int(np.random.SeedSequence((seed, epoch, update, process, part, 2)).generate_state(1)[0])
