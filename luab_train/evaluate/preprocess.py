"""An image file becomes the network's input, as each benchmark's own code does it.     [I/O]

P0 is torchvision's Resize and CenterCrop: shorter side to 256, the middle 224 x 224. It differs
from `luab_train.data.transforms.EvalCrop` by rounding: there, one resize takes the crop out of the
original.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from luab_data.errors import ImagesError
from luab_train.evaluate.parts import Preparation
from luab_train.recipe import Data

FRAME = 2
"""px of ObjectNet's red frame that are cut off on each side."""
_ORIENTATION = 0x0112
_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Input(NamedTuple):
    """One image as the network sees it."""

    pixels: np.ndarray
    """(S, S, 3) uint8 RGB."""
    region: np.ndarray
    """(4,) xyxy, fractions of the original image: what the input shows of it."""
    turned: bool
    """EXIF asked for another orientation than the stored one, and it was followed."""
    resized: bool
    """The benchmark feeds stored pixels, but this network needs another size."""


def load_input(path: Path, prepared: Preparation, data: Data) -> Input:
    """Decode and prepare one image; ImagesError if it cannot be decoded."""
    try:
        with Image.open(path) as opened:
            turned = prepared == "framed" and opened.getexif().get(_ORIENTATION, 1) != 1
            image: Image.Image = ImageOps.exif_transpose(opened) if turned else opened
            image = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImagesError(f"{path}: cannot be decoded ({error}); replace or remove it") from error
    original = np.array(image.size, dtype=np.float64)
    offset = np.zeros(2)
    if prepared == "framed":
        if min(image.size) <= 2 * FRAME:
            raise ImagesError(f"{path}: {image.size} px, nothing is left inside its red frame")
        image = image.crop((FRAME, FRAME, image.width - FRAME, image.height - FRAME))
        offset += FRAME
    size = data.image_size
    if prepared == "stored":
        resized = image.size != (size, size)
        resize_to = min(image.size) if min(image.size) == size else size
    else:
        resized, resize_to = False, data.eval_resize
    inside = np.array(image.size, dtype=np.float64)
    image = resize_shorter(image, resize_to, data.interpolation)
    left, top = centre_corner(image.size, size)
    scale = inside / image.size
    low = offset + np.array([left, top]) * scale
    high = low + size * scale
    pixels = np.asarray(image.crop((left, top, left + size, top + size)))
    return Input(pixels, np.concatenate([low / original, high / original]), turned, resized)


def resize_shorter(image: Image.Image, side: int, interpolation: str) -> Image.Image:
    """The shorter side becomes `side` px, the longer one is cut down to a whole px."""
    short, long = sorted(image.size)
    if short == side:
        return image
    other = int(side * long / short)
    size = (side, other) if image.width <= image.height else (other, side)
    return image.resize(size, _RESAMPLE[interpolation])


def centre_corner(size_wh: tuple[int, int], side: int) -> tuple[int, int]:
    """Left and top of the centre square of `side` px, rounded as torchvision does."""
    return round((size_wh[0] - side) / 2.0), round((size_wh[1] - side) / 2.0)
