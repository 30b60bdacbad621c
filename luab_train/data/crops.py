"""What the network sees of an image: drawn crops to train on, one crop to evaluate.

All random draws of a sample come from one seed, made of (run seed, epoch, image index, view): they
do not depend on the order of the data, on the number of workers or on where a run was resumed, and
two arms see the same crops.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as tvt

from luab_train.data.augment import RandAugment, seeded, seen_throughout
from luab_train.data.transforms import (
    RESAMPLE,
    apply,
    compose,
    crop_resize,
    hflip,
    place,
    warp,
)
from luab_train.recipe import Data


class Crop(NamedTuple):
    """One image as the network sees it."""

    image: np.ndarray
    """(S, S, 3) uint8."""
    matrix: np.ndarray
    """(2, 3) float64, source px -> px of the crop."""
    steps: tuple[np.ndarray, ...] = ()
    """(2, 3) each, px -> px of the crop: what moved targets after that, the first first."""

    def place(self, points: np.ndarray, size_wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Where points of the image fall in the crop, and whether they can be seen there, see
        `transforms.place`. A point that RandAugment moved out and back is not seen: its pixels are
        lost.
        """
        out = self.image.shape[1::-1]
        placed, inside = place(self.matrix, points, size_wh, out)
        if self.steps:
            px = placed * out
            inside = seen_throughout(self.steps, px, out)
            placed = apply(compose(*self.steps), px) / out
        return placed, inside


class TrainCrop:
    """Random resized crop, horizontal flip, then RandAugment or colour jitter."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self._augment = None
        strength = data.color_jitter
        if data.auto_augment is not None:
            strength = 0.0  # as timm: RandAugment has colour operations of its own
            self._augment = RandAugment(
                data.auto_augment,
                data.image_size,
                data.mean,
                interpolation=data.interpolation,
                points=data.point_geometry,
            )
        self._jitter = tvt.ColorJitter(strength, strength, strength) if strength else None

    def __call__(self, image: Image.Image, seed: int) -> Crop:
        """`image` RGB; everything drawn follows from `seed`."""
        data, out = self.data, (self.data.image_size,) * 2
        with _torch_seeded(seed):
            y, x, h, w = tvt.RandomResizedCrop.get_params(
                image, list(data.crop_scale), list(data.crop_ratio)
            )
            box = (x, y, x + w, y + h)
            matrix = crop_resize(box, out)
            # As `warp` does it, but without working out the box from the matrix.
            cropped = image.resize(out, RESAMPLE[data.interpolation], box=box)
            if torch.rand(()).item() < data.flip:
                matrix = compose(matrix, hflip(out[0]))
                cropped = cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            if self._jitter is not None:
                cropped = self._jitter(cropped)
        if self._augment is None:
            return Crop(np.asarray(cropped), matrix)
        with seeded(seed):
            augmented = self._augment(cropped)
        return Crop(np.asarray(augmented.image), matrix, augmented.steps)


class EvalCrop:
    """The centre square that a resize to `eval_resize` and a centre crop leave, in one resize."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __call__(self, image: Image.Image) -> Crop:
        """`image` RGB; the same crop every time."""
        out = (self.data.image_size,) * 2
        x0, y0, x1, y1 = self.regions(np.array([image.size]))[0]
        matrix = crop_resize((x0, y0, x1, y1), out)
        cropped = warp(image, matrix, out, interpolation=self.data.interpolation)
        return Crop(np.asarray(cropped), matrix)

    def regions(self, size_wh: np.ndarray) -> np.ndarray:
        """(N, 2) px of the originals -> (N, 4) xyxy px: what the network sees of each."""
        side = size_wh.min(axis=1, keepdims=True) * self.data.image_size / self.data.eval_resize
        return np.concatenate([(size_wh - side) / 2, (size_wh + side) / 2], axis=1)


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
