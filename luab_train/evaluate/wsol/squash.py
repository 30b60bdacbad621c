"""Images resized to a square without a crop, in batches that are read ahead.     [I/O]

Anisotropic: fractions of the square are fractions of the image
(docs/definitions.md#class-activation-maps).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from luab_data.errors import ImagesError
from luab_train.data.inputs import EvalCrop, decode_rgb
from luab_train.sections import Data

T = TypeVar("T")


def squash(image: Image.Image | Path, size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """(size, size, 3) uint8 RGB, and (width, height) px of the original.

    Bilinear with antialiasing, as torchvision's Resize does to PIL images; EXIF is ignored.
    """
    rgb = decode_rgb(image, str(image)) if isinstance(image, Path) else image.convert("RGB")
    return EvalCrop.squash(Data(), size=size, interpolation="bilinear")(rgb).image, rgb.size


class Squashed(NamedTuple, Generic[T]):
    """A batch of `B` images that could be read, and those of it that could not."""

    keys: list[T]
    pixels: np.ndarray
    """(B, 3, size, size) uint8."""
    sizes: list[tuple[int, int]]
    """(B,) width and height px of the originals."""
    bad: list[tuple[T, str]]


def squashed_batches(
    batches: Iterable[Sequence[tuple[T, Image.Image | Path]]],
    *,
    size: int,
    pool: ThreadPoolExecutor,
    on_bad: str = "raise",
) -> Iterator[Squashed[T]]:
    """Each batch as squares; one batch is read ahead.

    Args:
        batches: (key, image) of each.
        size: px a side.
        pool: threads that decode.
        on_bad: `raise` at an image that cannot be decoded, or `skip` it.
    """

    def load(image: Image.Image | Path) -> tuple[np.ndarray, tuple[int, int]] | ImagesError:
        try:
            return squash(image, size)
        except ImagesError as error:
            return error

    waiting: deque[tuple[list[T], list[Future[Any]]]] = deque()
    source = iter(batches)
    while True:
        for batch in itertools.islice(source, 2 - len(waiting)):
            futures = [pool.submit(load, image) for _, image in batch]
            waiting.append(([key for key, _ in batch], futures))
        if not waiting:
            return
        keys, futures = waiting.popleft()
        loaded = [(key, future.result()) for key, future in zip(keys, futures, strict=True)]
        bad = [(key, value) for key, value in loaded if isinstance(value, ImagesError)]
        if bad and on_bad == "raise":
            raise ImagesError(f"{bad[0][1]}; to go on without such images: --on-bad skip")
        good = [(key, *value) for key, value in loaded if not isinstance(value, ImagesError)]
        pixels = [image for _, image, _ in good]
        stacked = np.stack(pixels) if pixels else np.zeros((0, size, size, 3), np.uint8)
        yield Squashed(
            [key for key, *_ in good],
            stacked.transpose(0, 3, 1, 2),
            [wh for *_, wh in good],
            [(key, str(why)) for key, why in bad],
        )
