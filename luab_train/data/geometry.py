"""Image and point move together: every geometric step is one 2x3 matrix, applied to both.

Pixels are continuous: an image of width W and height H spans [0, W] x [0, H], the centre of its
first pixel is (.5, .5), and a horizontal flip is x -> W - x. A matrix maps source px to output px.
What is drawn, and the photometric steps, are in `inputs` and `augment`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# A point on the crop's border is inside; the slack is for the rounding of a product of matrices.
_EDGE = 1e-9


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
    placed = apply(matrix, points * np.asarray(size_wh))
    return placed / np.asarray(out_wh), inside(placed, out_wh)


def inside(points: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """(...) bool: whether points, (..., 2) px, are in an image, borders included; NaN is not."""
    slack = _EDGE * np.asarray(size_wh)
    within: np.ndarray = np.all((points >= -slack) & (points <= size_wh + slack), axis=-1)
    return within


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


def seen_throughout(
    steps: Sequence[np.ndarray], points: np.ndarray, size_wh: tuple[int, int]
) -> np.ndarray:
    """Whether each point is inside the image before the first step and after every one.

    What leaves the image is cut off there. A later step may bring the place back, but as fill, and
    so may the first step with a point that the crop left out: where a point ends says too little.

    Args:
        steps: matrices, px -> px.
        points: (..., 2) px of the crop, before the first step; NaN if there is none.
        size_wh: px of the crop.
    Returns: (...) bool, borders are inside; False where there is no point.
    """
    seen = inside(points, size_wh)
    for step in steps:
        points = apply(step, points)
        seen = seen & inside(points, size_wh)
    return seen
