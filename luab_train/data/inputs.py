"""An image becomes what the network sees: decoded, cropped, resized. The one way there is, for
training (whose crops are drawn in `augment`), validation, evaluation, localisation, COCO and
probes; the network normalises.     [I/O]
"""

from __future__ import annotations

import io
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

from luab_data.errors import ImagesError, OptionError
from luab_train.data.geometry import apply, compose, crop_resize, place, seen_throughout
from luab_train.sections import Backend, Data

Preparation = Literal["p0", "stored", "framed"]
"""Of a file: `p0`, the recipe's resize and crop; `stored`, no resize where the shorter side is the
network's already; `framed`, 2 px of frame off and upright, then `p0`.
"""
RESAMPLE = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_FRAME = 2
"""px of ObjectNet's red frame that are cut off on each side."""
_ORIENTATION = 0x0112


# --- from a file to RGB --------------------------------------------------------------------------

Picture = Image.Image | np.ndarray
"""RGB: Pillow's, or (H, W, 3) uint8 of the backend `fast`."""


def decode(encoded: Path | bytes, name: str, *, upright: bool, backend: Backend) -> Picture:
    """As `decode_rgb`. With `fast`, libjpeg-turbo decodes a colour JPEG straight into an array, to
    the pixels that Pillow has; all else, and what it finds wrong, is Pillow's.
    """
    if backend == "fast":
        with suppress(Exception):  # what is wrong with a file is told below
            content = encoded if isinstance(encoded, bytes) else encoded.read_bytes()
            height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
            fits = height * width <= (Image.MAX_IMAGE_PIXELS or math.inf)
            if colours in ("YCbCr", "RGB") and fits and not (upright and _is_turned(content)):
                pixels: np.ndarray = simplejpeg.decode_jpeg(content)
                return pixels
    return decode_rgb(encoded, name, upright=upright)


def size_of(picture: Picture) -> tuple[int, int]:
    """Width and height, px."""
    if isinstance(picture, Image.Image):
        return picture.size
    return picture.shape[1], picture.shape[0]


def decode_rgb(encoded: Path | bytes, name: str, *, upright: bool = False) -> Image.Image:
    """A file or its content as RGB. 16- and 32-bit grey and floats are scaled: the file's least
    value is black, its largest white.

    Args:
        encoded: where it is, or what it is.
        name: what to call it in an error.
        upright: turn it as EXIF says; else the tag is ignored, as usual in ImageNet training and as
            COCO's boxes expect.
    Raises: ImagesError if it cannot be decoded to its end.
    """
    try:
        file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
        with Image.open(file) as opened:
            opened.load()
            image: Image.Image = ImageOps.exif_transpose(opened) if upright else opened
            if image.mode == "F" or image.mode.startswith("I"):
                return _scaled(image)
            # Pillow would copy an image that is RGB already: a tenth of the time of a photo.
            return image if image.mode == "RGB" else image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # of damaged files, Pillow's decoders raise whatever they trip over
        raise ImagesError(f"{name}: cannot be decoded ({error}); replace or remove it") from error


def _scaled(image: Image.Image) -> Image.Image:
    """More than 8 bits of grey as RGB; Pillow would cut them off at 0 and 255."""
    values = np.asarray(image, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("has values that are no finite numbers")
    low, high = values.min(), values.max()
    grey = (values - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")


# --- crops ---------------------------------------------------------------------------------------


def cut(
    picture: Picture,
    box: tuple[int, int, int, int],
    side: int,
    *,
    interpolation: Literal["bilinear", "bicubic"],
    mirrored: bool = False,
) -> np.ndarray:
    """(S, S, 3) uint8: a box of a picture, xyxy px, in a square of `side` px, antialiased.

    torch's filter sees no pixel outside the box, Pillow's does: they differ by 0.02 of 255 in the
    mean, and mostly within two source pixels of the border. What is enlarged more than twice, whose
    border is broad, is Pillow's.
    """
    x0, y0, x1, y1 = box
    if isinstance(picture, np.ndarray) and side > 2 * min(x1 - x0, y1 - y0):
        picture = Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        square = picture.resize((side, side), RESAMPLE[interpolation], box=box)
        return np.asarray(square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else square)
    import torch  # seconds, which `eval --list` has not

    inside = torch.from_numpy(picture)[None, y0:y1, x0:x1].permute(0, 3, 1, 2)
    out = torch.nn.functional.interpolate(inside, (side, side), mode=interpolation, antialias=True)
    pixels: np.ndarray = (out.flip(3) if mirrored else out)[0].permute(1, 2, 0).numpy()
    return pixels


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
        `geometry.place`. A point that RandAugment moved out and back is not seen: its pixels are
        lost.
        """
        out = self.image.shape[1::-1]
        placed, inside = place(self.matrix, points, size_wh, out)
        if self.steps:
            px = placed * out
            inside = seen_throughout(self.steps, px, out)
            placed = apply(compose(*self.steps), px) / out
        return placed, inside


class EvalCrop:
    """torchvision's Resize to `eval_resize` and CenterCrop to `image_size`, to the pixel; both
    sides are resized where `eval_fit` is `squash`. Nothing is drawn. Always Pillow's: what is
    published was measured so.
    """

    backend: Backend = "pillow"
    """What decodes its pictures."""

    def __init__(self, data: Data) -> None:
        self.data = data

    @classmethod
    def squash(cls, data: Data, *, size: int | None = None, interpolation: str = "") -> EvalCrop:
        """All of an image in the network's square, or in one of `size` px: nothing is cut off."""
        side = size or data.image_size
        kept: Any = interpolation or data.interpolation
        return cls(
            replace(data, image_size=side, eval_resize=side, eval_fit="squash", interpolation=kept)
        )

    def __call__(self, image: Picture) -> Crop:
        """`image` RGB, Pillow's; the same crop every time."""
        assert isinstance(image, Image.Image)
        side, size_N2 = self.data.image_size, np.array([image.size])
        full = self._resized(size_N2)[0]
        left, top = self._corner(full).tolist()
        if tuple(full) != image.size:
            image = image.resize(tuple(full.tolist()), RESAMPLE[self.data.interpolation])
        pixels = np.asarray(image.crop((left, top, left + side, top + side)))
        x0, y0, x1, y1 = self.regions(size_N2)[0].tolist()
        return Crop(pixels, crop_resize((x0, y0, x1, y1), (side, side)))

    def regions(self, size_wh: np.ndarray) -> np.ndarray:
        """(N, 2) px of the originals -> (N, 4) xyxy px: what the network sees of each."""
        full = self._resized(size_wh)
        low, scale = self._corner(full), size_wh / full
        return np.concatenate([low * scale, (low + self.data.image_size) * scale], axis=1)

    def describe(self) -> dict[str, Any]:
        """What decides a number beside the model: to be kept with every result."""
        data = self.data
        return {
            "image_size": data.image_size,
            "resize": data.eval_resize,
            "fit": data.eval_fit,
            "interpolation": data.interpolation,
            "mean": list(data.mean),
            "std": list(data.std),
        }

    def _resized(self, size_wh: np.ndarray) -> np.ndarray:
        """(N, 2) int64: size after the resize; a longer side is cut down to a whole px."""
        side, size = self.data.eval_resize, np.asarray(size_wh)
        if self.data.eval_fit == "squash":
            return np.full(size.shape, side)
        # In this order, as torchvision: side * (long / short) may come out a px less.
        full: np.ndarray = np.floor(side * size / size.min(axis=1, keepdims=True)).astype(np.int64)
        return full

    def _corner(self, full_wh: np.ndarray) -> np.ndarray:
        """Left and top of the centre square in the resized image; halves are rounded to even."""
        corner: np.ndarray = np.round((full_wh - self.data.image_size) / 2).astype(np.int64)
        return corner


# --- files of benchmarks -------------------------------------------------------------------------


class Input(NamedTuple):
    """One file as the network sees it."""

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
    framed = prepared == "framed"
    image = decode_rgb(path, str(path), upright=framed)
    turned = framed and _is_turned(path)
    original, offset = np.array(image.size, np.float64), 0
    if framed:
        if min(image.size) <= 2 * _FRAME:
            raise ImagesError(f"{path}: {image.size} px, nothing is left inside its red frame")
        image, offset = ImageOps.crop(image, _FRAME), _FRAME
    side = data.image_size
    resized = prepared == "stored" and image.size != (side, side)
    crop = EvalCrop(replace(data, eval_resize=side) if prepared == "stored" else data)
    region = crop.regions(np.array([image.size]))[0] + offset
    return Input(crop(image).image, region / np.tile(original, 2), turned, resized)


def _is_turned(encoded: Path | bytes) -> bool:
    with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
        return bool(image.getexif().get(_ORIENTATION, 1) != 1)


# --- timm's own ----------------------------------------------------------------------------------


def timm_data(name: str, *, config: Any = None, preprocessing: str = "paper") -> Data:
    """How timm feeds a model of its own.

    Args:
        name: of the timm model, with the tag of its weights.
        config: its PretrainedCfg, of a model that timm's list does not have.
        preprocessing: `paper`, the training size and the paper's crop, 224 of 256 px; `timm`, size,
            share and kind of crop that timm's validate.py takes.
    """
    import timm

    config = timm.data.resolve_data_config(
        pretrained_cfg=(config or timm.get_pretrained_cfg(name)).to_dict(),
        use_test_size=preprocessing == "timm",
    )
    size = int(config["input_size"][-1])
    share, fit, interpolation = _PAPER_CROP, "center", config["interpolation"]
    if preprocessing == "timm":
        share, fit = config["crop_pct"], config["crop_mode"]
        if fit not in _FITS or interpolation not in RESAMPLE:
            raise OptionError(
                f"{name}: timm evaluates it with crop_mode {fit} and interpolation {interpolation},"
                " which is not offered here; expected --preprocessing paper"
            )
    return Data(
        image_size=size,
        eval_resize=int(size / share),
        eval_fit=_FITS[fit],
        interpolation=interpolation if interpolation in RESAMPLE else "bicubic",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


_PAPER_CROP = 0.875
"""Share of the resized side that the centre crop keeps: 224 of 256 px."""
_FITS: dict[str, Literal["crop", "squash"]] = {"center": "crop", "squash": "squash"}
