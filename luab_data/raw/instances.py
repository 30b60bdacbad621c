"""[I/O] COCO's ground truth: sizes, classes, class masks and boxes, from an instances file.

The only reader of such files here. It reads a stream; kept is one packed mask per image and class,
about 0.1 kB each, and 36 bytes a box.

A category is the class of its name (categories.py). What the file cannot tell is not judged: a
class that its categories lack, and a miss where an object of the class came without a mask
(`"segmentation": []`, box-only exports).
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from luab_data.boxes import file_stem
from luab_data.errors import ImagesError
from luab_data.raw.categories import category_labels, category_names, no_class, number
from luab_data.raw.json_values import JsonStream, Plain, Runs
from luab_data.raw.source import Source
from luab_data.tools import COCO, Vocabulary
from luab_data.truth import (
    NO_CLASSES,
    Instances,
    Thing,
    TrueImage,
    bounds,
    coco_id,
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
    vocabulary: Vocabulary | None = COCO,
    by_file: bool = False,
) -> Instances:
    """Read an instances_*.json, plain or gzip.

    Args:
        path: the file.
        on_read: called with the number of bytes of each read, for a progress bar.
        outlines: False for sizes and classes alone, in a twentieth of the time: every mask is b"".
        things: also keep each annotation by itself.
        vocabulary: the classes; None: those that the file's categories are, by ascending id.
        by_file: images are known by their file's name, without folder and extension (without such
            a name by their id as text), as those of somebody's own data; categories that are no
            class are left out then, and told.

    Raises:
        ArchiveError: not JSON, or cut.
        ImagesError: not COCO instances: names what is missing or unknown.
    """
    reader = _Reader(path, outlines, things, vocabulary, by_file)
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

    def __init__(
        self, path: Path, outlines: bool, things: bool, classes: Vocabulary | None, by_file: bool
    ) -> None:
        self._path = path
        self._outlines = outlines
        self._keeps_things = things
        self._vocabulary = classes
        self._by_file = by_file
        self._images = Instances()
        if classes is not None:
            self._images.classes = classes.names
        self._key_of: dict[Any, Any] = {}  # id that the file has of an image -> ours, if other
        self._names: dict[Any, str] = {}  # of categories
        self._num_of: dict[Any, list[int]] = defaultdict(lambda: [0, 0])  # annotations; unmasked
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
            get = _getter(image)
            key = get("id") if self._by_file else int(get("id"))
            width, height = int(get("width")), int(get("height"))
            if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
                raise ValueError(f"a size that is not in 1..{MAX_SIDE}")
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ImagesError(
                f"{self._where('image', image)}: expected id, width and height ({error!r})"
            ) from None
        file_name = _optional(image, "file_name")
        known: Any = key
        if self._by_file:
            known = file_stem(str(file_name or key))
        elif (in_name := coco_id(str(file_name))) is not None:
            known = in_name
            self._images.num_renumbered += known != key
        if known != key:
            self._key_of[key] = known
        if known in self._images:
            why = ", and own images are known by the names of their files" if self._by_file else ""
            raise ImagesError(f"{self._path}: image {known} is there twice{why}; expected it once")
        self._images[known] = TrueImage(width, height)
        if self._keeps_things:
            self._images[known].file_name = str(file_name)

    def _add_class(self, annotation: Any) -> None:
        try:
            get = _getter(annotation)
            image_id, category = get("image_id"), get("category_id")
            self._images[self._key_of.get(image_id, image_id)].masks[category] = b""
            self._first_of.setdefault(category, annotation)
        except (KeyError, TypeError, AttributeError) as error:
            raise self._unknown(annotation, error) from None
        self._images.num_annotations += 1
        self._num_of[category][0] += 1

    def _add_annotation(self, annotation: Any) -> None:
        try:
            get = _getter(annotation)
            image_id, category = get("image_id"), get("category_id")
            image_id = self._key_of.get(image_id, image_id)
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
        self._num_of[category][0] += 1
        self._num_of[category][1] += is_unmasked
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
        found, vocabulary = self._images, self._vocabulary
        self._names = category_names(self._path, self._categories)
        label_of = self._labels()
        for category, annotation in self._first_of.items():
            if category in label_of:
                continue
            if not (self._by_file and category in self._names):
                reason = no_class(category, self._names, vocabulary or COCO)
                raise ImagesError(f"{self._where('annotation', annotation)}: {reason}")
            total, unmasked = self._num_of[category]
            name = self._names[category]
            found.left_out[name] = found.left_out.get(name, 0) + total
            found.num_annotations -= total
            found.num_unmasked -= unmasked
        found.category_of = {label: category for category, label in label_of.items()}
        missing = [k for k in range(len(found.classes)) if k not in found.category_of]
        if found.has_names and vocabulary is not None:
            found.absent = tuple(found.classes[k] for k in missing)
        unjudged = frozenset(missing) if found.absent else NO_CLASSES
        if self._outlines and found.num_unmasked == found.num_annotations:
            unjudged = frozenset(range(len(found.classes)))
        for image_id, image in found.items():
            image.masks = _labelled(image.masks, label_of)
            image.uncrowded = _labelled(image.uncrowded, label_of)
            labels = [label_of.get(c, -1) for c in self._box_category.pop(image_id, [])]
            if -1 in labels:
                kept = np.repeat(np.array(labels) >= 0, 4)
                image.box_xyxy = array("d", np.array(image.box_xyxy)[kept])
            image.box_label = array("i", (label for label in labels if label >= 0))
            unmasked_labels = (label_of[c] for c in image.unmasked if c in label_of)
            image.unmasked = frozenset(unmasked_labels) or NO_CLASSES
            image.unjudged = unjudged
            image.things = tuple(
                t._replace(label=label_of[t.category_id])
                for t in self._things.pop(image_id, ())
                if t.category_id in label_of
            )
        return found

    def _labels(self) -> dict[Any, int]:
        """Category id -> contiguous label of the categories that are classes."""
        names, found = self._names, self._images
        if names and self._vocabulary is None:
            found.classes = tuple(str(names[category]) for category in sorted(names))
            return {category: label for label, category in enumerate(sorted(names))}
        vocabulary = self._vocabulary or COCO
        if names:
            return category_labels(self._path, names, vocabulary)
        if self._by_file:
            raise ImagesError(
                f"{self._path}: its categories have no names; expected those of {vocabulary}, as in"
                ' [{"id": 1, "name": "dog"}, ...]'
            )
        found.has_names = False
        return {category: label for label, category in enumerate(vocabulary.ids)}


def _elements(stream: JsonStream, type: Any) -> Iterator[Any]:
    """The elements of an array: typed, or whatever they are."""
    for run in Runs(stream, type, iter).array():
        yield from [run.value] if isinstance(run, Plain) else run


def _labelled(of_category: dict[Any, Any], label_of: dict[Any, int]) -> dict[int, Any]:
    return {label_of[c]: value for c, value in of_category.items() if c in label_of}


def _getter(element: Any) -> Callable[[str], Any]:
    """What gives a number by its key, also where an export writes numbers as text."""
    if isinstance(element, dict):
        return lambda key: number(element[key])
    return partial(getattr, element)


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
