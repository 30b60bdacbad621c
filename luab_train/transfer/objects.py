"""COCO's instances as columns: boxes, classes and masks of the objects of each image.     [I/O]

Masks stay packed until an image is loaded. One buffer and NumPy columns are shared by loader
processes, where lists of Python objects would be copied.

`N` images, `M` objects that are no crowd.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from luab_data.errors import ImagesError
from luab_data.files import sha256_of
from luab_data.raw.instances import read_instances
from luab_data.truth import Instances


@dataclass(frozen=True, kw_only=True, eq=False)
class Objects:
    """Images of an instances file, by ascending id, and the objects in them, crowds left out."""

    root: Path
    """Folder of the images."""
    image_id: np.ndarray
    """(N,) int64."""
    file_name: np.ndarray
    """(N,) text, below `root`."""
    size_wh: np.ndarray
    """(N, 2) int64, px."""
    bounds: np.ndarray
    """(N + 1,) int64: image i has objects bounds[i]:bounds[i + 1]."""
    box_xyxy: np.ndarray
    """(M, 4) float64, continuous px, within the image and of positive area."""
    label: np.ndarray
    """(M,) int64, 1 to C by ascending category id; 0 is the background."""
    packed: bytes
    """All masks, one after the other, see `luab_data.truth`."""
    packed_bounds: np.ndarray
    """(M + 1,) int64, in bytes."""
    category_id: np.ndarray
    """(C,) int64, the file's number of label 1, 2, ..."""
    classes: tuple[str, ...]
    """(C,) their names."""
    num_crowds: int
    """Crowd regions, left out."""
    sha256: str
    """Of the instances file."""

    def __len__(self) -> int:
        return len(self.image_id)

    def with_objects(self) -> np.ndarray:
        """Images to train on, (n,) int64 ascending: those with an object above one pixel a side."""
        sides = self.box_xyxy[:, 2:] - self.box_xyxy[:, :2]
        large = np.append(0, np.cumsum((sides > 1).all(axis=1)))
        return np.flatnonzero(large[self.bounds[1:]] > large[self.bounds[:-1]])

    def masks(self, index: int) -> np.ndarray:
        """What the objects of an image cover, (n, height, width) uint8 of 0 and 1."""
        width, height = self.size_wh[index].tolist()
        first, last = self.bounds[index : index + 2].tolist()
        if first == last:
            return np.zeros((0, height, width), np.uint8)
        ends = self.packed_bounds[first : last + 1].tolist()
        packed = [
            {"size": [height, width], "counts": self.packed[start:end]}
            for start, end in itertools.pairwise(ends)
        ]
        return np.ascontiguousarray(coco_mask.decode(packed).transpose(2, 0, 1))


def read_objects(instances: Path, images: Path) -> Objects:
    """The images and objects of an instances_*.json.

    Raises: ImagesError where the file is not COCO instances, or an image is not in its folder.
    """
    found = _read(instances)
    image_id = sorted(found)
    names = [found[number].file_name for number in image_id]
    _check_files(instances, images, names)
    size_wh = np.array([(found[k].width, found[k].height) for k in image_id], np.int64)
    things = [(row, t) for row, k in enumerate(image_id) for t in found[k].things]
    objects = [(row, t) for row, t in things if not t.is_crowd]
    owner = np.array([row for row, _ in objects], np.int64)
    ends = np.hstack([size_wh, size_wh])[owner].reshape(-1, 4)
    box_xyxy = np.array([t.box_xyxy for _, t in objects], np.float64).reshape(-1, 4).clip(0, ends)
    solid = np.flatnonzero((box_xyxy[:, 2:] > box_xyxy[:, :2]).all(axis=1)).tolist()
    packed = [objects[k][1].mask for k in solid]
    return Objects(
        root=images,
        image_id=np.array(image_id, np.int64),
        file_name=np.array(names, dtype=str),
        size_wh=size_wh,
        bounds=np.searchsorted(owner[solid], np.arange(len(image_id) + 1)),
        box_xyxy=box_xyxy[solid],
        label=np.array([objects[k][1].label + 1 for k in solid], np.int64),
        packed=b"".join(packed),
        packed_bounds=np.cumsum([0, *map(len, packed)]),
        category_id=_category_id(found),
        classes=found.classes,
        num_crowds=len(things) - len(objects),
        sha256=sha256_of(instances),
    )


def _read(instances: Path) -> Instances:
    found = read_instances(instances, things=True, vocabulary=None)
    if not found or not found.category_of or not found.has_names:
        raise ImagesError(f"{instances}: no images or no named categories; expected COCO instances")
    if found.num_unmasked:
        raise ImagesError(
            f"{instances}: {found.num_unmasked} of {found.num_annotations} annotations have no"
            " segmentation; expected polygons or run lengths, for Mask R-CNN learns masks"
        )
    return found


def _category_id(found: Instances) -> np.ndarray:
    return np.array([found.category_of[k] for k in sorted(found.category_of)], np.int64)


def read_truth(instances: Path) -> COCO:
    """An instances file as pycocotools evaluates against it, crowds and all."""
    found = _read(instances)
    annotations: list[dict[str, Any]] = []
    for number, image in found.items():
        for thing in image.things:
            x0, y0, x1, y1 = thing.box_xyxy
            annotations.append(
                {
                    "id": len(annotations) + 1,  # it takes 0 for no match
                    "image_id": number,
                    "category_id": thing.category_id,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": {"size": [image.height, image.width], "counts": thing.mask},
                    "area": thing.area,
                    "iscrowd": int(thing.is_crowd),
                }
            )
    sizes = {number: {"width": i.width, "height": i.height} for number, i in found.items()}
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number, **size} for number, size in sizes.items()],
        "annotations": annotations,
        "categories": [{"id": int(number)} for number in _category_id(found)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def _check_files(instances: Path, images: Path, names: list[str]) -> None:
    """One listing of each folder: a look at 118,287 files takes minutes on a network disk."""
    there: dict[str, set[str]] = {}
    missing = []
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder not in there:
            try:
                there[folder] = set(os.listdir(images / folder))
            except OSError as error:
                raise ImagesError(
                    f"{images / folder}: cannot be listed ({error.strerror}); expected the images"
                    f" of {instances}"
                ) from error
        if file not in there[folder]:
            missing.append(name)
    if missing:
        raise ImagesError(
            f"{images}: {len(missing)} of {len(names)} images of {instances} not found, e.g."
            f" {', '.join(missing[:3])}; is it the right folder?"
        )
