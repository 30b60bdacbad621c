"""Images resized to a square without a crop, in batches that are read ahead.     [I/O]

Anisotropic: fractions of the square are fractions of the image
(docs/definitions.md#class-activation-maps).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from luab_train.data.inputs import EvalCrop, decode_rgb
from luab_train.recipe import Data

T = TypeVar("T")


def squash(image: Image.Image | Path, size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """(size, size, 3) uint8 RGB, and (width, height) px of the original.

    Bilinear with antialiasing, as torchvision's Resize does to PIL images; EXIF is ignored.
    """
    rgb = decode_rgb(image, str(image)) if isinstance(image, Path) else image.convert("RGB")
    return EvalCrop.squash(Data(), size=size, interpolation="bilinear")(rgb).image, rgb.size


Loaded = tuple[np.ndarray, tuple[int, int]]


def squashed_batches(
    items: Iterable[tuple[T, Image.Image | Path]],
    *,
    size: int,
    batch_size: int,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[list[T], np.ndarray, list[tuple[int, int]]]]:
    """(keys, (B, 3, size, size) uint8, original sizes) of each batch; one batch is read ahead."""
    source = iter(items)

    def submit() -> tuple[list[T], Iterator[Loaded]]:
        batch = list(itertools.islice(source, batch_size))
        images = [image for _, image in batch]
        return [key for key, _ in batch], pool.map(squash, images, itertools.repeat(size))

    keys, loading = submit()
    while keys:
        following = submit()
        pixels, sizes = zip(*loading, strict=True)
        yield keys, np.stack(pixels).transpose(0, 3, 1, 2), list(sizes)
        keys, loading = following


def thread_pool(num_threads: int | None) -> ThreadPoolExecutor:
    """As many threads as asked for, or one a core, at most 8; decoding and OpenCV free the GIL."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ThreadPoolExecutor(num_threads or min(8, cores or 1))
