"""Crops to train on, and timm's RandAugment with the points of the image, its pictures bit for bit.

All random draws of a sample come from one seed, made of (run seed, epoch, image index, view): they
do not depend on the order of the data, on the number of workers or on where a run was resumed, and
two arms see the same crops.

Rotations, shears and shifts are drawn inside timm and move the image without saying so, so points
go stale (docs/definitions.md#augmentation). Here each operation of timm is called as it is, and
what it was called with says which matrix it applied.

timm draws from the generators of `random` and `numpy.random` that a whole process shares; `seeded`
lends them a seed, so that what is drawn follows from a sample's own seed.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import random
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import AugmentOp, posterize, rand_augment_transform
from timm.data.transforms import str_to_pil_interp
from torchvision import transforms as tvt

from luab_data.errors import OptionError
from luab_train.data.geometry import compose, crop_resize, hflip, rotate
from luab_train.data.inputs import Crop, Picture, cut, size_of
from luab_train.data.jitter import ColourJitter
from luab_train.sections import Backend, Data

# What timm reads; it lets most misspelt sections pass without effect.
_SECTIONS = {
    "m": r"\d+",
    "n": r"[1-9]\d*",
    "p": r"0|1|0\.\d+|1\.0+",
    "mstd": r"\d+(\.\d+)?",
    "mmax": r"\d+",
    "inc": r"[01]",
    "t": r"weights|3a|3aw",
}
_EXPECTED = (
    "expected `rand` and any of -m9 (magnitude, whole), -n2 (operations an image), -p0.5"
    " (probability of each), -mstd0.5 (spread of the magnitude), -mmax10 (its bound), -inc1"
    " (stronger with magnitude), -tweights, -t3a or -t3aw (timm's sets), each at most once, e.g."
    " rand-m9-mstd0.5-inc1"
)

_PHOTOMETRIC = frozenset(
    {
        *("AutoContrast", "Desaturate", "Equalize", "GaussianBlur", "GaussianBlurRand", "Invert"),
        *("Brightness", "BrightnessIncreasing", "Color", "ColorIncreasing", "Contrast"),
        *("ContrastIncreasing", "Posterize", "PosterizeIncreasing", "PosterizeOriginal"),
        *("Sharpness", "SharpnessIncreasing", "Solarize", "SolarizeAdd", "SolarizeIncreasing"),
    }
)


class Augmented(NamedTuple):
    """An image and how it was moved."""

    image: Image.Image
    steps: tuple[np.ndarray, ...] = ()
    """(2, 3) float64 each, px before -> px after: one per geometric operation, the first first;
    `compose(*steps)` is the whole map.
    """


class RandAugment:
    """timm's RandAugment on a crop; draws from `random` and `numpy.random` as timm does.

    `points` is the recipe's `data.point_geometry`. `follow` tells the matrices of what was drawn.
    `stale` tells none, so points stay where the crop put them while the image moves, as in timm's
    own pipeline and probably in the paper's DeiT runs. The image is the same.
    """

    def __init__(
        self,
        config: str,
        image_size: int,
        mean: tuple[float, float, float],
        *,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
        points: Literal["follow", "stale"] = "follow",
    ) -> None:
        """See the class.

        Args:
            config: `data.auto_augment`, timm's notation.
            image_size: px, side of the crop.
            mean: RGB in [0, 1]; fills what comes from outside the image.
            interpolation: of rotations, shears and shifts, as `transforms_imagenet_train` sets it.
            points: see the class.
        """
        _check_config(config)
        options = {
            "translate_const": int(image_size * 0.45),
            "img_mean": tuple(min(255, round(255 * channel)) for channel in mean),
            "interpolation": str_to_pil_interp(interpolation),
        }
        self._transform: Any = rand_augment_transform(config, options)
        ops = self._transform.ops
        if self._transform.choice_weights is not None and self._transform.num_layers > len(ops):
            raise OptionError(
                f"data.auto_augment={config}: draws {self._transform.num_layers} of {len(ops)}"
                " operations, each at most once; expected a smaller -n"
            )
        if unknown := sorted({op.name for op in ops} - _PHOTOMETRIC - set(MATRICES)):
            raise OptionError(
                f"data.auto_augment={config}: this timm has the operations {', '.join(unknown)}, of"
                " which we do not know whether they move points; expected those of timm 1.0"
            )
        self._transform.ops = [with_steps(op) for op in ops]
        self.points = points

    def __call__(self, image: Image.Image) -> Augmented:
        """`image` RGB; use inside `seeded`."""
        augmented: Augmented = self._transform(Augmented(image))
        return augmented if self.points == "follow" else Augmented(augmented.image)


def _check_config(config: str) -> None:
    start, *sections = config.split("-")
    names = []
    for section in sections:
        names += [n for n, form in _SECTIONS.items() if re.fullmatch(f"{n}({form})", section)]
    if start != "rand" or len(names) != len(sections) or len(set(names)) != len(names):
        raise OptionError(
            f"data.auto_augment={config}: not what timm reads as RandAugment; {_EXPECTED}"
        )


def with_steps(op: AugmentOp) -> AugmentOp:
    """The operation on an Augmented instead of an image: same draws, same picture, and its matrix.

    AugmentOp hands its argument to `aug_fn` or returns it as it is, so only `aug_fn` is replaced.
    """
    op = copy.copy(op)
    function = _posterize if op.name.startswith("Posterize") else op.aug_fn
    op.aug_fn = functools.partial(_and_step, function, op.name)
    return op


def _posterize(image: Image.Image, bits_to_keep: int, **options: object) -> Image.Image:
    # timm asks for 0 bits at the ends of the scale, in DeiT's setting for 1 image in 650. Pillow
    # made that black until it began to refuse it (13.0 does).
    if bits_to_keep < 1:
        return Image.new(image.mode, image.size)
    posterized: Image.Image = posterize(image, bits_to_keep, **options)
    return posterized


def _and_step(
    function: Callable[..., Image.Image],
    name: str,
    augmented: Augmented,
    *level: float,
    **options: object,
) -> Augmented:
    image = function(augmented.image, *level, **options)
    if name not in MATRICES:
        return Augmented(image, augmented.steps)
    width, height = augmented.image.size
    return Augmented(image, (*augmented.steps, MATRICES[name](*level, width, height)))


def _affine(a: float, b: float, c: float, d: float, e: float, f: float) -> np.ndarray:
    return np.array([[a, b, c], [d, e, f]], np.float64)


# timm's name of an operation -> (what it is called with, width, height) -> (2, 3) px -> px. PIL is
# given the map from output to source, in continuous px (it adds the half pixel itself); these are
# the inverses. It turns counter-clockwise on the screen.
MATRICES: dict[str, Callable[..., np.ndarray]] = {
    "Rotate": lambda degrees, width, height: rotate(-degrees, (width / 2, height / 2)),
    "ShearX": lambda factor, width, height: _affine(1, -factor, 0, 0, 1, 0),
    "ShearY": lambda factor, width, height: _affine(1, 0, 0, -factor, 1, 0),
    "TranslateX": lambda px, width, height: _affine(1, 0, -px, 0, 1, 0),
    "TranslateY": lambda px, width, height: _affine(1, 0, 0, 0, 1, -px),
    "TranslateXRel": lambda share, width, height: _affine(1, 0, -share * width, 0, 1, 0),
    "TranslateYRel": lambda share, width, height: _affine(1, 0, 0, 0, 1, -share * height),
}


@contextlib.contextmanager
def seeded(seed: int, *generators: torch.Generator) -> Iterator[None]:
    """Lend `random`, `numpy.random` and the given generators of torch a seed for a while.

    Each gets a seed of its own: `random` and `numpy.random` are the same generator, and from the
    same seed an operation would be skipped or not by the very number that chose it.
    """
    words = np.random.SeedSequence(seed).generate_state(6)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch_states = [generator.get_state() for generator in generators]
    random.seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2:4])
    for generator in generators:
        generator.manual_seed(int(words[4]) << 31 | int(words[5]) >> 1)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for generator, state in zip(generators, torch_states, strict=True):
            generator.set_state(state)


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
        self._jitter = ColourJitter(strength, data.image_size) if strength else None

    @property
    def backend(self) -> Backend:
        """What decodes its pictures."""
        return self.data.backend

    def __call__(self, image: Picture, seed: int, point: tuple[float, float] | None = None) -> Crop:
        """A crop of an image; everything drawn follows from `seed`.

        Args:
            image: RGB.
            seed: see the top of the file.
            point: xy, fractions of the image, for `data.crop_keep`; None or NaN without one.
        """
        data, side = self.data, self.data.image_size
        width, height = size_of(image)
        with _torch_seeded(seed):
            y, x, h, w = tvt.RandomResizedCrop.get_params(
                torch.empty(()).expand(3, height, width),  # which it asks for its size alone
                list(data.crop_scale),
                list(data.crop_ratio),
            )
            if point is not None and data.crop_keep:
                # Drawn aside, so that flips and colours stay those of arms without it.
                keep, share_x, share_y = np.random.default_rng((seed, 1)).random(3)
                if keep < data.crop_keep and np.isfinite(point).all():
                    x = _holding(x, w, width, point[0], share_x)
                    y = _holding(y, h, height, point[1], share_y)
            box = (x, y, x + w, y + h)
            matrix = crop_resize(box, (side, side))
            if mirrored := torch.rand(()).item() < data.flip:
                matrix = compose(matrix, hflip(side))
            pixels = cut(image, box, side, interpolation=data.interpolation, mirrored=mirrored)
            if self._jitter is not None:
                pixels = self._jitter(pixels)
        if self._augment is None:
            return Crop(pixels, matrix)
        with seeded(seed):
            augmented = self._augment(Image.fromarray(pixels))
        return Crop(np.asarray(augmented.image), matrix, augmented.steps)


def _holding(start: int, length: int, of: int, point: float, share: float) -> int:
    """Where a crop's side begins that holds the point: as it was, where it does, else uniform over
    the whole pixels from which it would.

    Args:
        start: px, as drawn.
        length: px of the crop.
        of: px of the image.
        point: fraction of the image; outside of it counts as its border.
        share: uniform in [0, 1).
    """
    if start <= point * of <= start + length:  # borders are inside, as in `geometry.inside`
        return start
    pixel = min(max(int(point * of), 0), of - 1)
    low, high = max(0, pixel - length + 1), min(of - length, pixel)
    return low + int(share * (high - low + 1))
