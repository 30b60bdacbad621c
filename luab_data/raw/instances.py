"""[I/O] COCO's ground truth: sizes, classes, class masks and boxes, from an instances file.

Read as a stream; kept is one packed mask per image and class, about 0.1 kB each, and 33 bytes a
box.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from luab_data import masks
from luab_data.errors import ImagesError
from luab_data.ragged import Bools, Floats, Ints
from luab_data.raw.json_values import JsonStream, Plain, Runs
from luab_data.raw.source import Source
from luab_data.schema import COCO_CATEGORIES

MAX_SIDE = 2**15
"""Pixels; a mask counts them in 32 bits."""

_LABELS = {category: label for label, category in enumerate(COCO_CATEGORIES)}


@dataclass(slots=True)
class TrueImage:
    """One image of the ground truth.

    Args:
        width, height: px.
        masks: contiguous label, 0..79 -> what the class covers, crowds included (luab_data.masks).
        box_xyxy: xmin, ymin, xmax, ymax of the first instance, of the second, ..., continuous px;
            crowds are left out.
        box_label: (num_boxes,) contiguous label of each.
        uncrowded: of the classes that have a crowd: what their other annotations cover, or None if
            there are no others.
    """

    width: int
    height: int
    masks: dict[int, bytes] = field(default_factory=dict)
    box_xyxy: array[float] = field(default_factory=lambda: array("d"))
    box_label: bytearray = field(default_factory=bytearray)
    uncrowded: dict[int, bytes | None] = field(default_factory=dict)

    @property
    def labels(self) -> list[int]:
        """Classes with any annotation, ascending."""
        return sorted(self.masks)

    def contains(self, label: int, x: float, y: float) -> bool:
        """contains_many() for one point."""
        return bool(contains_many([self], np.array([label]), np.array([x]), np.array([y]))[0])


def contains_many(images: Sequence[TrueImage], labels: Ints, x: Floats, y: Floats) -> Bools:
    """Whether each point lies on the union of its class's masks, crowds included.

    Args:
        images: (num_points,) the image of each point.
        labels: (num_points,) contiguous, 0..79; a class that is not in the image covers nothing.
        x, y: (num_points,) fractions of the image; outside [0, 1], or NaN, lies on nothing.
    Returns: (num_points,) bool.
    Source: metrics 4.9; the pixel is min(floor(x W), W - 1).
    """
    pairs = list(zip(images, labels.tolist(), strict=True))
    is_there = np.array([label in image.masks for image, label in pairs], bool)
    is_asked = is_there & (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    asked = [pair for pair, flag in zip(pairs, is_asked, strict=True) if flag]
    width = np.array([image.width for image, _ in asked], np.int64)
    height = np.array([image.height for image, _ in asked], np.int64)
    column = np.minimum((x[is_asked] * width).astype(np.int64), width - 1)
    row = np.minimum((y[is_asked] * height).astype(np.int64), height - 1)
    answers = np.zeros(len(pairs), bool)
    answers[is_asked] = masks.are_inside(
        [image.masks[label] for image, label in asked], column * height + row
    )
    return answers


# --- reading -------------------------------------------------------------------------------------


class _Image(msgspec.Struct, gc=False):
    id: int
    width: int
    height: int


class _Annotation(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    segmentation: list[list[float]] | dict[str, Any]
    bbox: list[float] | None = None
    iscrowd: int = 0
    id: Any = None


def read_instances(
    path: Path, on_read: Callable[[int], object] | None = None
) -> dict[int, TrueImage]:
    """An instances_*.json as image id -> TrueImage, images without annotations included.

    Raises:
        ArchiveError: not JSON, or cut.
        ImagesError: not COCO instances: names what is missing or unknown.
    """
    images: dict[int, TrueImage] = {}
    with Source(path, on_read) as source:
        keys = _read_document(path, JsonStream(source), images)
    if not {"images", "annotations"} <= set(keys):
        raise ImagesError(
            f"{path}: holds {sorted(set(keys))}; expected images and annotations, like"
            " instances_train2014.json"
        )
    # COCO puts images first. A file that does not is read again rather than held in memory.
    if keys.index("annotations") < keys.index("images"):
        for image in images.values():
            image.box_xyxy, image.box_label = array("d"), bytearray()
        with Source(path) as source:
            _read_document(path, JsonStream(source), images, is_again=True)
    return images


def _read_document(
    path: Path, stream: JsonStream, images: dict[int, TrueImage], *, is_again: bool = False
) -> list[str]:
    """Fill `images`, or the second time only their masks; the keys of the document."""
    keys: list[str] = []
    if stream.peek() != "{":
        stream.fail("expected a COCO instances object, like instances_train2014.json")
    for key in stream.members():
        if key == "images" and not is_again:
            for image in _elements(stream, _Image):
                _add_image(path, images, image)
        elif key == "annotations" and (is_again or "images" in keys):
            for annotation in _elements(stream, _Annotation):
                _add_annotation(path, images, annotation)
        elif key in ("images", "annotations"):
            for _ in Runs(stream, msgspec.Raw, len).array():
                pass
        else:
            stream.value()
        keys.append(key)
    stream.end()
    return keys


def _elements(stream: JsonStream, type: Any) -> Iterator[Any]:
    """The elements of an array: typed, or whatever they are."""
    for run in Runs(stream, type, iter).array():
        if isinstance(run, Plain):
            yield run.value
        else:
            yield from run


def _getter(element: Any) -> Callable[[str], Any]:
    return element.__getitem__ if isinstance(element, dict) else partial(getattr, element)


def _add_image(path: Path, images: dict[int, TrueImage], image: Any) -> None:
    try:
        number, width, height = map(int, map(_getter(image), ("id", "width", "height")))
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise ValueError(f"a size that is not in 1..{MAX_SIDE}")
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ImagesError(
            f"{_where(path, 'image', image)}: expected id, width and height ({error!r})"
        ) from None
    images[number] = TrueImage(width, height)


def _add_annotation(path: Path, images: dict[int, TrueImage], annotation: Any) -> None:
    try:
        get = _getter(annotation)
        image, label = images[get("image_id")], _LABELS[get("category_id")]
        mask = masks.from_segmentation(get("segmentation"), image.width, image.height)
        is_crowd = bool(_optional(annotation, "iscrowd"))
        if not is_crowd:
            bbox = _optional(annotation, "bbox") or masks.bounds(mask, image.width, image.height)
            image.box_xyxy.extend(_xyxy(bbox))
            image.box_label.append(label)
    except KeyError as error:
        raise ImagesError(
            f"{_where(path, 'annotation', annotation)}: {error} is missing or unknown; expected a"
            " listed image_id, one of COCO's 80 category ids and a segmentation"
        ) from None
    except (TypeError, AttributeError, ValueError, IndexError, OverflowError) as error:
        raise ImagesError(
            f"{_where(path, 'annotation', annotation)}: expected polygons or an RLE as"
            f" segmentation and [x, y, width, height] as bbox ({error})"
        ) from None
    known = image.masks.get(label)
    if is_crowd:
        image.uncrowded.setdefault(label, known)
    elif label in image.uncrowded:
        image.uncrowded[label] = _with(image, image.uncrowded[label], mask)
    image.masks[label] = _with(image, known, mask)


def _with(image: TrueImage, known: bytes | None, mask: bytes) -> bytes:
    if known is None:
        return mask
    return masks.union([known, mask], image.width, image.height)


def _optional(annotation: Any, key: str) -> Any:
    if isinstance(annotation, dict):
        return annotation.get(key)
    return getattr(annotation, key)


def _xyxy(bbox: Any) -> list[float]:
    """[x, y, width, height] as [xmin, ymin, xmax, ymax]."""
    x, y, width, height = map(float, bbox)
    corners = [x, y, x + width, y + height]
    if not all(map(math.isfinite, corners)) or min(width, height) < 0:
        raise ValueError(f"a bbox of {width:.9g} x {height:.9g} at {x:.9g}, {y:.9g}")
    return corners


def _where(path: Path, what: str, element: Any) -> str:
    try:
        return f"{path}: {what} {_getter(element)('id')!s:.40}"
    except (KeyError, AttributeError):
        return f"{path}: {what} {element!r:.40}"
