"""Images of COCO with the masks of what is in them, decoded and erased one by one.     [I/O]

`P` classes present in an image, `S` side of the network's square.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from torch.utils.data import Dataset

from luab_data.errors import ImagesError
from luab_data.raw.instances import read_instances
from luab_data.truth import TrueImage
from luab_train.data.inputs import EvalCrop, decode_rgb
from luab_train.evaluate.coco.erasing import Eraser

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_NUMBER = re.compile(r"(\d+)$")


class Status(IntEnum):
    """What became of the erasure of a class from an image."""

    ERASED = 0
    ALONE = 1
    """No other class of the image could be erased, so there is nothing to compare with."""
    EMPTY = 2
    """Its masks have no pixel."""
    TOO_LARGE = 3
    """It covers more of the image than the eraser takes."""
    UNCHANGED = 4
    """The network would see the same square: the object is outside, or looked like the fill."""


class Scene(NamedTuple):
    """An image file and what is in it."""

    image_id: int
    path: Path
    truth: TrueImage


class Scenes(NamedTuple):
    """The images of an instances file that were found in a folder, by ascending id."""

    scenes: list[Scene]
    num_unlisted: int
    """Image files whose id is not in the instances file; they are left out."""
    images: str
    instances: str
    """Names of the folder and the file."""


class Seen(NamedTuple):
    """What the network is shown of one image, and what is known about its objects."""

    row: int
    """Number of the scene."""
    square_SS3: np.ndarray
    """uint8."""
    label_P: np.ndarray
    """int64, ascending."""
    status_P: np.ndarray
    """int64, see Status."""
    erased: list[np.ndarray]
    """(S, S, 3) uint8, one for each class of status ERASED, in the order of `label_P`."""
    area_P: np.ndarray
    """float64, share of the image that its masks cover, before dilation."""
    visible_P: np.ndarray
    """float64, share of its pixels inside the view; NaN without pixels."""
    chance_P: np.ndarray
    """float64, share of the view that it covers: how often a random point in it hits."""
    covered_PP: np.ndarray
    """float64, [o, c]: share of the pixels of c that erasing o takes; NaN without pixels."""


def find_scenes(images: Path, instances: Path) -> Scenes:
    """Match the files of a folder, named `..._<image id>.jpg` like COCO's, to their instances.

    Raises:
        ImagesError: an image of the instances file has no file, or two.
    """
    if not images.is_dir():
        raise ImagesError(
            f"{images}: not a folder; expected the images of {instances.name}, like val2014/"
            "COCO_val2014_000000000042.jpg"
        )
    if not instances.is_file():
        raise ImagesError(
            f"{instances}: no such file; expected COCO's instances, like annotations/"
            "instances_val2014.json"
        )
    truth = read_instances(instances)
    files: dict[int, Path] = {}
    num_unlisted = 0
    for path in sorted(images.iterdir()):
        match = _NUMBER.search(path.stem)
        if match is None or path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
            continue
        number = int(match[1])
        if number not in truth:
            num_unlisted += 1
        elif number in files:
            raise ImagesError(
                f"{images}: {files[number].name} and {path.name} are both image {number};"
                " expected one file an image"
            )
        else:
            files[number] = path
    missing = sorted(set(truth) - set(files))
    if missing or not truth:
        raise ImagesError(
            f"{images}: {len(missing)} of {len(truth)} images of {instances} not found, e.g."
            f" {', '.join(map(str, missing[:3]))}; expected <name>_<image id>.jpg for each. An mAP"
            " over fewer images is another number: use an instances file of the images you have"
        )
    found = [Scene(number, files[number], truth[number]) for number in sorted(files)]
    return Scenes(found, num_unlisted, images.resolve().name, instances.name)


def load_rgb(scene: Scene) -> np.ndarray:
    """(H, W, 3) uint8; EXIF orientation is ignored, as the masks are of the stored pixels."""
    pixels = np.asarray(decode_rgb(scene.path, str(scene.path)))
    expected = scene.truth.height, scene.truth.width
    if pixels.shape[:2] != expected:
        raise ImagesError(
            f"{scene.path}: {pixels.shape[1]} x {pixels.shape[0]} px, but its masks are drawn on"
            f" {expected[1]} x {expected[0]}; expected the image as COCO published it"
        )
    return pixels


def decode(mask: bytes, truth: TrueImage) -> np.ndarray:
    """(H, W) bool: a mask of this image, see luab_data.truth."""
    packed = {"size": [truth.height, truth.width], "counts": mask}
    pixels: np.ndarray = np.ascontiguousarray(coco_mask.decode(packed).view(bool))
    return pixels


@dataclass(frozen=True)
class Gallery(Dataset):  # type: ignore[type-arg]
    """Scenes as the network sees them, whole and with each of their classes erased."""

    scenes: list[Scene]
    crop: EvalCrop
    eraser: Eraser | None
    """None erases nothing: each status then is ALONE."""

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Seen | str:
        """What the network sees; of an image that cannot be decoded, why."""
        scene = self.scenes[index]
        try:
            image = load_rgb(scene)
        except ImagesError as error:
            return str(error)
        label_P = np.array(scene.truth.labels, dtype=np.int64)
        masks = [decode(scene.truth.masks[label], scene.truth) for label in label_P.tolist()]
        square = self._see(image)
        regions, status_P = _regions(masks, self.eraser)
        changed = {}
        for p in np.flatnonzero(status_P == Status.ERASED).tolist():
            assert self.eraser is not None
            other = self._see(self.eraser.erase(image, regions[p]))
            if np.array_equal(other, square):
                status_P[p] = Status.UNCHANGED
            else:
                changed[p] = other
        if len(changed) == 1:
            status_P[list(changed)] = Status.ALONE
            changed = {}
        rows, columns = covered(self.crop, (scene.truth.width, scene.truth.height))
        size_P = np.array([np.count_nonzero(mask) for mask in masks], dtype=np.float64)
        inside_P = np.array(
            [np.count_nonzero(mask[rows, columns]) for mask in masks], dtype=np.float64
        )
        num_seen = (rows.stop - rows.start) * (columns.stop - columns.start)
        return Seen(
            row=index,
            square_SS3=square,
            label_P=label_P,
            status_P=status_P,
            erased=list(changed.values()),
            area_P=size_P / (scene.truth.width * scene.truth.height),
            visible_P=np.divide(inside_P, size_P, out=_nans(len(masks)), where=size_P > 0),
            chance_P=inside_P / num_seen,
            covered_PP=_covered(masks, regions, size_P),
        )

    def _see(self, image: np.ndarray) -> np.ndarray:
        return self.crop(Image.fromarray(image)).image


def covered(crop: EvalCrop, size_wh: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the pixels of an image whose centres are seen."""
    x0, y0, x1, y1 = crop.regions(np.array([size_wh]))[0].tolist()

    def inside(low: float, high: float) -> slice:  # pixels k with low <= k + .5 <= high
        return slice(max(int(np.ceil(low - 0.5)), 0), max(int(np.floor(high - 0.5)) + 1, 0))

    return inside(y0, y1), inside(x0, x1)


def _nans(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan)


def _regions(masks: list[np.ndarray], eraser: Eraser | None) -> tuple[list[np.ndarray], np.ndarray]:
    """What erasing each class takes, and the status (P,) it would have if that changes the view."""
    status_P = np.full(len(masks), int(Status.ALONE))
    if eraser is None:
        return masks, status_P
    area_P = np.array([mask.mean() for mask in masks])
    status_P[area_P == 0] = Status.EMPTY
    status_P[area_P > eraser.max_area] = Status.TOO_LARGE
    candidates = status_P == Status.ALONE
    if candidates.sum() >= 2:
        status_P[candidates] = Status.ERASED
    return [eraser.region(mask) for mask in masks], status_P


def _covered(masks: list[np.ndarray], regions: list[np.ndarray], size_P: np.ndarray) -> np.ndarray:
    # Counting bits of two small arrays beats one product of large ones: 1 ms an image, not 5.
    shared = [[np.count_nonzero(region & mask) for mask in masks] for region in regions]
    shared_PP = np.array(shared, dtype=np.float64).reshape(len(masks), len(masks))
    share: np.ndarray = np.divide(shared_PP, size_P, out=_nans(*shared_PP.shape), where=size_P > 0)
    return share
