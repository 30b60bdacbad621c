"""Colours that stand for classes, and how images are drawn with them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 32  # px of the network's input, and of images that are stored as it sees them

# One class for each superclass of the Backgrounds Challenge, in its order; all are in ImageNet-A
# and ImageNet-R.
NINE = (
    "n02099601",  # golden retriever, 207
    "n02007558",  # flamingo, 130
    "n02701002",  # ambulance, 407
    "n01677366",  # iguana, 39
    "n02129165",  # lion, 291
    "n02206856",  # bee, 309
    "n02672831",  # accordion, 401
    "n02486410",  # baboon, 372
    "n02655020",  # puffer, 397
)
BANANA = "n07753592"  # 954, in no superclass
JEEP = "n03594945"  # 609, in both lists
TENCH = "n01440764"  # 0, in neither list
CLASSES = tuple(sorted((*NINE, BANANA, JEEP, TENCH)))
INDEX = {
    **dict(zip(NINE, (207, 130, 407, 39, 291, 309, 401, 372, 397), strict=True)),
    BANANA: 954,
    JEEP: 609,
    TENCH: 0,
}

_LEVELS = (30, 128, 225)
# Grey is no class's colour.
_CORNERS = [c for c in itertools.product(_LEVELS, repeat=3) if len(set(c)) > 1]
COLOUR = {wnid: np.array(_CORNERS[2 * i]) for i, wnid in enumerate(CLASSES)}


def flat(colour: np.ndarray, rng: np.random.Generator, size_wh=(SIZE, SIZE)) -> np.ndarray:
    """(H, W, 3) uint8: a colour with a little noise."""
    noise = rng.integers(-6, 7, (size_wh[1], size_wh[0], 3))
    return np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)


def save(pixels: np.ndarray, path: Path, **options) -> None:
    """JPEG without chroma subsampling, or PNG, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".jpeg", ".jpg"):
        options = {"format": "JPEG", "quality": 95, "subsampling": 0, **options}
    Image.fromarray(pixels).save(path, **options)


def photo_size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height of a photo: larger than the input, and not square."""
    return int(rng.integers(40, 64)), int(rng.integers(40, 64))
