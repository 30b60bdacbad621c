"""COCO's instances as columns: boxes, classes and outlines of the objects of each image.     [I/O]

Outlines stay the JSON text they are and become masks when an image is loaded. One buffer of text
and NumPy columns are shared by loader processes, where lists of Python objects would be copied.

`N` images, `M` objects that are no crowd.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pycocotools import mask as coco_mask

from luab_data.errors import ImagesError


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    width: int
    height: int


class _Annotation(msgspec.Struct, gc=False):
    # COCO's evaluation needs `id` and `area`, too: asked for here, so that training does not begin.
    id: int
    image_id: int
    category_id: int
    segmentation: msgspec.Raw
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _Document(msgspec.Struct, gc=False):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


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
    outline: bytes
    """JSON of all segmentations, one after the other."""
    outline_bounds: np.ndarray
    """(M + 1,) int64, in bytes."""
    category_id: np.ndarray
    """(C,) int64, COCO's number of label 1, 2, ..."""
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
        packed = [self._packed(k, width, height) for k in range(first, last)]
        if not packed:
            return np.zeros((0, height, width), np.uint8)
        return np.ascontiguousarray(coco_mask.decode(packed).transpose(2, 0, 1))

    def _packed(self, k: int, width: int, height: int) -> dict[str, Any]:
        start, end = self.outline_bounds[k : k + 2]
        shape: Any = msgspec.json.decode(self.outline[start:end])
        if isinstance(shape, list):
            packed = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
        elif isinstance(shape["counts"], list):
            packed = coco_mask.frPyObjects(shape, height, width)
        else:
            packed = {"size": [height, width], "counts": shape["counts"].encode()}
        found: dict[str, Any] = packed
        return found


def read_objects(instances: Path, images: Path) -> Objects:
    """The images and objects of an instances_*.json.

    Raises: ImagesError where the file is not COCO instances, or an image is not in its folder.
    """
    try:
        content = instances.read_bytes()
        document = msgspec.json.decode(content, type=_Document)
    except OSError as error:
        raise ImagesError(f"{instances}: cannot be read ({error.strerror})") from error
    except msgspec.DecodeError as error:
        raise ImagesError(f"{instances}: expected COCO instances ({error})") from error
    found = sorted(document.images, key=lambda image: image.id)
    categories = sorted(document.categories, key=lambda category: category.id)
    image_id = np.array([image.id for image in found], np.int64)
    category_id = np.array([category.id for category in categories], np.int64)
    _check_ids(instances, image_id, category_id, document.annotations)
    _check_files(instances, images, [image.file_name for image in found])
    size_wh = np.array([(image.width, image.height) for image in found], np.int64).reshape(-1, 2)

    things = [a for a in document.annotations if not a.iscrowd]
    owner = np.searchsorted(image_id, np.array([a.image_id for a in things], np.int64))
    box_xywh = np.array([a.bbox for a in things], np.float64).reshape(-1, 4)
    low, high = box_xywh[:, :2], box_xywh[:, :2] + box_xywh[:, 2:]
    ends = size_wh[owner]
    box_xyxy = np.hstack([np.clip(low, 0, ends), np.clip(high, 0, ends)])
    solid = np.flatnonzero((box_xyxy[:, 2:] > box_xyxy[:, :2]).all(axis=1))
    # Stable: objects of an image stay in the file's order.
    order = solid[np.argsort(owner[solid], kind="stable")]
    texts = [_outline(instances, things[k]) for k in order.tolist()]
    return Objects(
        root=images,
        image_id=image_id,
        file_name=np.array([image.file_name for image in found], dtype=str),
        size_wh=size_wh,
        bounds=np.searchsorted(owner[order], np.arange(len(found) + 1)),
        box_xyxy=box_xyxy[order],
        label=1 + np.searchsorted(category_id, [things[k].category_id for k in order.tolist()]),
        outline=b"".join(texts),
        outline_bounds=np.cumsum([0, *map(len, texts)]),
        category_id=category_id,
        classes=tuple(category.name for category in categories),
        num_crowds=len(document.annotations) - len(things),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _outline(instances: Path, thing: _Annotation) -> bytes:
    """The text of a segmentation that pycocotools will take."""
    text = bytes(thing.segmentation)
    shape = msgspec.json.decode(text)
    if isinstance(shape, list):
        # pycocotools takes four numbers for a box, whatever was meant.
        fits = bool(shape) and all(
            isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 for part in shape
        )
    else:
        fits = isinstance(shape, dict) and isinstance(shape.get("counts"), (list, str))
    if not fits:
        raise ImagesError(
            f"{instances}: annotation {thing.id} has segmentation {text[:60].decode()}; expected"
            " polygons of at least three points, or a run-length encoding"
        )
    return text


def _check_ids(
    instances: Path,
    image_id: np.ndarray,
    category_id: np.ndarray,
    annotations: list[_Annotation],
) -> None:
    for what, ids in (("image", image_id), ("category", category_id)):
        if not len(ids):
            raise ImagesError(f"{instances}: no {what}; expected COCO instances")
        if len(np.unique(ids)) < len(ids):
            raise ImagesError(f"{instances}: an id is that of several {what} entries")
    own = np.array([a.id for a in annotations], np.int64)
    if len(np.unique(own)) < len(own):
        raise ImagesError(f"{instances}: an id is that of several annotations")
    if (own == 0).any():
        raise ImagesError(
            f"{instances}: an annotation has id 0, which COCO's evaluation takes for no match;"
            " number annotations from 1"
        )
    for key, known in (("image_id", image_id), ("category_id", category_id)):
        used = np.array([getattr(a, key) for a in annotations], np.int64)
        if len(lost := used[~np.isin(used, known)]):
            raise ImagesError(
                f"{instances}: {len(lost)} annotations have {key} {lost[0]} or another one that"
                " is not listed"
            )


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
