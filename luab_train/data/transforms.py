"""Image and point move together: every geometric step is one 2x3 matrix, applied to both.

Pixels are continuous: an image of width W and height H spans [0, W] x [0, H], the centre of its
first pixel is (.5, .5), and a horizontal flip is x -> W - x. A matrix maps source px to output px.
Photometric steps (colour jitter) come from torchvision and touch no point.

All random draws of a sample come from one seed, made of (run seed, epoch, image index): they do not
depend on the order of the data, on the number of workers or on where a run was resumed, and two
arms see the same crops.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as tvt

from luab_train.recipe import Data

# A point on the crop's border is inside; the slack is for the rounding of a product of matrices.
_EDGE = 1e-9
_RESAMPLE = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


class Crop(NamedTuple):
    """One image as the network sees it."""

    image: np.ndarray
    """(S, S, 3) uint8."""
    matrix: np.ndarray
    """(2, 3) float64, source px -> px of the crop."""


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
        image = image.resize(out_wh, _RESAMPLE[interpolation], box=box)
        if matrix[0, 0] < 0:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if matrix[1, 1] < 0:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        return image
    return image.transform(
        out_wh,
        Image.Transform.AFFINE,
        tuple(invert(matrix).ravel()),
        _RESAMPLE[interpolation],
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
    matrix: np.ndarray, point: np.ndarray, size_wh: tuple[int, int], out_wh: tuple[int, int]
) -> tuple[np.ndarray, bool]:
    """Where a point of the image falls in the crop, and whether it can be seen there.

    Args:
        matrix: source px -> px of the crop.
        point: (2,) fractions of the original image; NaN if there is none.
        size_wh: px of the original image.
        out_wh: px of the crop.
    Returns: (2,) fractions of the crop, never moved into it, NaN if there was none; and True where
        it lies in [0, 1]^2, borders included. The loss uses a point only if it is visible.
    """
    placed = apply(matrix, point * np.asarray(size_wh)) / np.asarray(out_wh)
    return placed, bool(((placed >= -_EDGE) & (placed <= 1 + _EDGE)).all())


class TrainCrop:
    """Random resized crop, horizontal flip, colour jitter; geometry is drawn before colour."""

    def __init__(self, data: Data) -> None:
        self.data = data
        strength = data.color_jitter
        self._jitter = tvt.ColorJitter(strength, strength, strength) if strength else None

    def __call__(self, image: Image.Image, seed: int) -> Crop:
        """`image` RGB; everything drawn follows from `seed`."""
        data, out = self.data, (self.data.image_size,) * 2
        with _torch_seeded(seed):
            y, x, h, w = tvt.RandomResizedCrop.get_params(
                image, list(data.crop_scale), list(data.crop_ratio)
            )
            matrix = crop_resize((x, y, x + w, y + h), out)
            if torch.rand(()).item() < data.flip:
                matrix = compose(matrix, hflip(out[0]))
            cropped = warp(image, matrix, out, interpolation=data.interpolation)
            if self._jitter is not None:
                cropped = self._jitter(cropped)
        return Crop(np.asarray(cropped), matrix)


class EvalCrop:
    """The centre square that a resize to `eval_resize` and a centre crop leave, in one resize."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __call__(self, image: Image.Image) -> Crop:
        """`image` RGB; the same crop every time."""
        out = (self.data.image_size,) * 2
        x0, y0, x1, y1 = self.regions(np.array([image.size]))[0]
        matrix = crop_resize((x0, y0, x1, y1), out)
        return Crop(
            np.asarray(warp(image, matrix, out, interpolation=self.data.interpolation)), matrix
        )

    def regions(self, size_wh: np.ndarray) -> np.ndarray:
        """(N, 2) px of the originals -> (N, 4) xyxy px: what the network sees of each."""
        side = size_wh.min(axis=1, keepdims=True) * self.data.image_size / self.data.eval_resize
        return np.concatenate([(size_wh - side) / 2, (size_wh + side) / 2], axis=1)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """One 63-bit seed for one image in one epoch of one run."""
    return int(
        np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)[0] >> np.uint64(1)
    )


def epoch_seed(seed: int, epoch: int, process: int) -> int:
    """A 32-bit seed of what a process draws while it trains an epoch: dropout, stochastic depth.

    Set anew for every epoch, so that neither validation nor an interruption shifts the draws.
    """
    return int(np.random.SeedSequence((seed, epoch, process, 2)).generate_state(1)[0])


@contextlib.contextmanager
def _torch_seeded(seed: int) -> Iterator[None]:
    """Lend torch's global CPU generator, from which torchvision draws, a seed for a while."""
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)
