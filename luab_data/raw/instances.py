"""[I/O] COCO's ground truth: sizes, classes, class masks and boxes, from an instances file.

The only reader of such files here. It reads a stream; kept is one packed mask per image and class,
about 0.1 kB each, and 33 bytes a box.

A category is the class of its name: exports of other tools number their categories anew, or hold
some of the 80 only. What the file cannot tell is not judged: a class that its categories lack, and
a miss where an object of the class came without a mask (`"segmentation": []`, box-only exports).
"""

from __future__ import annotations

import math
import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from luab_data.errors import ImagesError
from luab_data.raw.json_values import JsonStream, Plain, Runs
from luab_data.raw.source import Source
from luab_data.schema import COCO_CATEGORIES, COCO_CLASSES
from luab_data.truth import (
    NO_CLASSES,
    Instances,
    Thing,
    TrueImage,
    bounds,
    from_segmentation,
    num_pixels,
    union,
)

MAX_SIDE = 2**15
"""Pixels; a mask counts them in 32 bits."""


class _Image(msgspec.Struct, gc=False):
    id: int
    width: int
    height: int
    file_name: Any = None


class _Annotation(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    segmentation: list[list[float]] | dict[str, Any] | None = None
    bbox: list[float] | None = None
    iscrowd: int = 0
    id: Any = None
    area: Any = None


class _Class(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    id: Any = None


def read_instances(
    path: Path,
    on_read: Callable[[int], object] | None = None,
    *,
    outlines: bool = True,
    things: bool = False,
    own_classes: bool = False,
) -> Instances:
    """Read an instances_*.json, plain or gzip.

    Args:
        path: the file.
        on_read: called with the number of bytes of each read, for a progress bar.
        outlines: False for sizes and classes alone, in a twentieth of the time: every mask is b"".
        things: also keep each annotation by itself.
        own_classes: the classes are the file's categories, whatever their names, by ascending id.

    Raises:
        ArchiveError: not JSON, or cut.
        ImagesError: not COCO instances: names what is missing or unknown.
    """
    reader = _Reader(path, outlines, things, own_classes)
    with Source(path, on_read) as source:
        keys = reader.read(JsonStream(source))
    if not {"images", "annotations"} <= set(keys):
        raise ImagesError(
            f"{path}: holds {sorted(set(keys))}; expected images and annotations, like"
            " instances_train2014.json"
        )
    # COCO puts images first. A file that does not is read again rather than held in memory.
    if keys.index("annotations") < keys.index("images"):
        with Source(path) as source:
            reader.read(JsonStream(source), is_again=True)
    return reader.finished()


class _Reader:
    """Images of a file in the making; classes are category ids until all is read."""

    def __init__(self, path: Path, outlines: bool, things: bool, own_classes: bool) -> None:
        self._path = path
        self._outlines = outlines
        self._keeps_things = things
        self._own_classes = own_classes
        self._images = Instances()
        self._coco_id: dict[Any, int] = {}  # of images that the file numbers anew
        self._categories: list[Any] = []
        self._box_category: dict[int, list[Any]] = defaultdict(list)
        self._things: dict[int, list[Thing]] = defaultdict(list)
        self._first_of: dict[Any, Any] = {}  # category id -> the first annotation that has it

    def read(self, stream: JsonStream, *, is_again: bool = False) -> list[str]:
        """Take in the document, or the second time its annotations; its keys."""
        keys: list[str] = []
        if stream.peek() != "{":
            stream.fail(
                "expected a COCO instances object, like instances_train2014.json", is_damage=False
            )
        for key in stream.members():
            if key == "images" and not is_again:
                for image in _elements(stream, _Image):
                    self._add_image(image)
            elif key == "annotations" and (is_again or "images" in keys):
                add = self._add_annotation if self._outlines else self._add_class
                for annotation in _elements(stream, _Annotation if self._outlines else _Class):
                    add(annotation)
            elif key in ("images", "annotations"):
                for _ in Runs(stream, msgspec.Raw, len).array():
                    pass
            elif key == "categories" and not is_again:
                self._categories = stream.value() or []
            else:
                stream.value()
            keys.append(key)
        stream.end()
        return keys

    def _add_image(self, image: Any) -> None:
        try:
            number, width, height = map(int, map(_getter(image), ("id", "width", "height")))
            if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
                raise ValueError(f"a size that is not in 1..{MAX_SIDE}")
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ImagesError(
                f"{self._where('image', image)}: expected id, width and height ({error!r})"
            ) from None
        if in_name := _COCO_NAME(str(_optional(image, "file_name"))):
            renumbered, number = number, int(in_name[1])
            if renumbered != number:
                self._coco_id[renumbered] = number
                self._images.num_renumbered += 1
        if number in self._images:
            raise ImagesError(f"{self._path}: image {number} is there twice; expected it once")
        self._images[number] = TrueImage(width, height)
        if self._keeps_things:
            self._images[number].file_name = str(_optional(image, "file_name"))

    def _add_class(self, annotation: Any) -> None:
        try:
            get = _getter(annotation)
            image_id, category = get("image_id"), get("category_id")
            self._images[self._coco_id.get(image_id, image_id)].masks[category] = b""
            self._first_of.setdefault(category, annotation)
        except (KeyError, TypeError, AttributeError) as error:
            raise self._unknown(annotation, error) from None
        self._images.num_annotations += 1

    def _add_annotation(self, annotation: Any) -> None:
        try:
            get = _getter(annotation)
            image_id, category = get("image_id"), get("category_id")
            image_id = self._coco_id.get(image_id, image_id)
            image = self._images[image_id]
            self._first_of.setdefault(category, annotation)
            outline, bbox = (_optional(annotation, key) for key in ("segmentation", "bbox"))
            if is_unmasked := outline in (None, [], [[]]):
                image.unmasked |= {category}
            mask = from_segmentation([] if is_unmasked else outline, image.width, image.height)
            is_crowd = bool(_optional(annotation, "iscrowd"))
            if not is_crowd and (bbox or not is_unmasked):
                image.box_xyxy.extend(_xyxy(bbox or bounds(mask, image.width, image.height)))
                self._box_category[image_id].append(category)
            if self._keeps_things:
                x0, y0, x1, y1 = _xyxy(bbox or bounds(mask, image.width, image.height))
                area = _optional(annotation, "area")
                if area is None:
                    area = num_pixels(mask, image.width, image.height)
                number = _optional(annotation, "id")
                self._things[image_id].append(
                    Thing(number, category, -1, mask, (x0, y0, x1, y1), float(area), is_crowd)
                )
        except KeyError as error:
            raise self._unknown(annotation, error) from None
        except (TypeError, AttributeError, ValueError, IndexError, OverflowError) as error:
            raise ImagesError(
                f"{self._where('annotation', annotation)}: expected polygons or an RLE as"
                f" segmentation and [x, y, width, height] as bbox ({error})"
            ) from None
        self._images.num_annotations += 1
        self._images.num_unmasked += is_unmasked
        known = image.masks.get(category)
        if is_crowd:
            image.uncrowded.setdefault(category, known)
        elif category in image.uncrowded:
            image.uncrowded[category] = _with(image, image.uncrowded[category], mask)
        image.masks[category] = _with(image, known, mask)

    def _unknown(self, annotation: Any, error: Exception) -> ImagesError:
        return ImagesError(
            f"{self._where('annotation', annotation)}: {error} is missing or unknown; expected a"
            " listed image_id and a category_id"
        )

    def _where(self, what: str, element: Any) -> str:
        try:
            return f"{self._path}: {what} {_getter(element)('id')!s:.40}"
        except (KeyError, AttributeError):
            return f"{self._path}: {what} {element!r:.40}"

    def finished(self) -> Instances:
        """The images, with classes for categories."""
        found = self._images
        label_of = self._labels()
        for category, annotation in self._first_of.items():
            if category not in label_of:
                where = self._where("annotation", annotation)
                raise ImagesError(f"{where}: {self._no_class(category)}")
        found.category_of = {label: category for category, label in label_of.items()}
        if found.has_names and not self._own_classes:
            found.absent = tuple(
                c for k, c in enumerate(COCO_CLASSES) if k not in found.category_of
            )
        unjudged = frozenset(COCO_CLASSES.index(name) for name in found.absent)
        if self._outlines and found.num_unmasked == found.num_annotations:
            unjudged = frozenset(range(len(COCO_CLASSES)))
        for image_id, image in found.items():
            image.masks = {label_of[c]: mask for c, mask in image.masks.items()}
            image.uncrowded = {label_of[c]: mask for c, mask in image.uncrowded.items()}
            boxed = self._box_category.pop(image_id, [])
            image.box_label = array("i", (label_of[c] for c in boxed))
            image.unmasked = frozenset(label_of[c] for c in image.unmasked) or NO_CLASSES
            image.unjudged = unjudged
            image.things = tuple(
                t._replace(label=label_of[t.category_id]) for t in self._things.pop(image_id, ())
            )
        return found

    def _labels(self) -> dict[Any, int]:
        """Category id -> contiguous label of the categories that are COCO's classes."""
        try:
            names = {
                _number(c["id"]): c["name"] for c in self._categories if c.get("name") is not None
            }
            words = {category: _letters(name) for category, name in names.items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ImagesError(
                f"{self._path}: its categories lack or garble {error}; expected"
                ' [{"id": 1, "name": "person"}, ...]'
            ) from None
        if self._own_classes and names:
            self._images.classes = tuple(str(names[category]) for category in sorted(names))
            return {category: label for label, category in enumerate(sorted(names))}
        if not names:
            self._images.has_names = False
            return dict(_COCO_LABELS)
        labels = {category: _LABELS[w] for category, w in words.items() if w in _LABELS}
        if not labels:
            raise ImagesError(f"{self._path}: {self._no_class(next(iter(names)))}")
        seen: dict[int, Any] = {}
        for category, label in labels.items():
            if label in seen:
                raise ImagesError(
                    f"{self._path}: categories {seen[label]!r} and {category!r} are both"
                    f" {COCO_CLASSES[label]!r}; expected each class once"
                )
            seen[label] = category
        return labels

    def _no_class(self, category: Any) -> str:
        names = {_number(c["id"]): c["name"] for c in self._categories if c.get("name") is not None}
        if not names:
            return f"{category} is missing or unknown; expected one of COCO's 80 category ids"
        if category not in names:
            return f"has category_id {category!r}, which its categories do not list"
        close = get_close_matches(str(names[category]).lower(), COCO_CLASSES, 1)
        hint = f" (is it {close[0]!r}?)" if close else ""
        return (
            f"category {category!r} is {names[category]!r:.40}{hint}; expected names of COCO's 80"
            " classes, the icons of the annotation tool. Rename the category, or leave it out"
        )


_COCO_LABELS = {category: label for label, category in enumerate(COCO_CATEGORIES)}


_COCO_NAME = re.compile(r"(?:.*\D)?(0{6}[0-9]{6})(?:\D.*)?", re.ASCII | re.DOTALL).fullmatch


def _letters(name: str) -> str:
    """What is equal for all spellings of a class: `Traffic_Light`, `traffic light`."""
    return re.sub(r"[\W_]+", "", name.lower())


_LABELS = {_letters(name): label for label, name in enumerate(COCO_CLASSES)}


def _elements(stream: JsonStream, type: Any) -> Iterator[Any]:
    """The elements of an array: typed, or whatever they are."""
    for run in Runs(stream, type, iter).array():
        yield from [run.value] if isinstance(run, Plain) else run


def _getter(element: Any) -> Callable[[str], Any]:
    """What gives a number by its key, also where an export writes numbers as text."""
    if isinstance(element, dict):
        return lambda key: _number(element[key])
    return partial(getattr, element)


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _optional(annotation: Any, key: str) -> Any:
    return annotation.get(key) if isinstance(annotation, dict) else getattr(annotation, key)


def _with(image: TrueImage, known: bytes | None, mask: bytes) -> bytes:
    return mask if known is None else union([known, mask], image.width, image.height)


def _xyxy(bbox: Any) -> list[float]:
    """[x, y, width, height] as [xmin, ymin, xmax, ymax]."""
    x, y, width, height = map(float, bbox)
    corners = [x, y, x + width, y + height]
    if not all(map(math.isfinite, corners)) or min(width, height) < 0:
        raise ValueError(f"a bbox of {width:.9g} x {height:.9g} at {x:.9g}, {y:.9g}")
    return corners
