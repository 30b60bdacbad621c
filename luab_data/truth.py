"""What COCO knows of an image: masks as COCO packs them, classes, boxes; points against them.

A mask is a `bytes` of about 0.1 kB: lengths of runs of pixels down the columns, zeros first, in the
characters of pycocotools' compressed RLE. Its size is that of its image.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from luab_data.ragged import Bools, Floats, Ints, Ragged
from luab_data.tools import Vocabulary

_REACH = 4
"""Polygons may leave their image by this many times its size. Rasterising takes time and memory by
the length of their sides, and pycocotools has no limit of its own."""

_AT_ONCE = 512
"""Masks unpacked together: more leave the cache (measured: twice the time for 6,000)."""

_ZERO, _LAST = ord("0"), ord("0") + 63


NO_CLASSES: frozenset[int] = frozenset()


class Thing(NamedTuple):
    """One annotation, crowds included."""

    annotation_id: Any
    category_id: Any
    label: int
    mask: bytes
    box_xyxy: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Continuous px, as the file has it; of the mask where it has none."""
    area: float = 0.0
    """px, as the file has it; of the mask where it has none."""
    is_crowd: bool = False


def coco_id(file_name: str) -> int | None:
    """9 of `COCO_train2014_000000000009.jpg`, a picture of COCO; None of other names."""
    found = _COCO_NAME(file_name)
    return int(found[1]) if found else None


_COCO_NAME = re.compile(r"(?:.*\D)?(0{6}[0-9]{6})(?:\D.*)?", re.ASCII | re.DOTALL).fullmatch


@dataclass(slots=True)
class TrueImage:
    """One image of the ground truth.

    Args:
        width, height: px.
        masks: contiguous label -> what the class covers, crowds included.
        box_xyxy: xmin, ymin, xmax, ymax of the first instance, of the second, ..., continuous px;
            crowds are left out.
        box_label: (num_boxes,) contiguous label of each.
        uncrowded: of the classes that have a crowd: what their other annotations cover, or None if
            there are no others.
        unmasked: classes of which an object has no mask, so that a point beside the known masks may
            lie on it.
        unjudged: classes of which the file says nothing that a point could be judged by.
        things: the annotations one by one, if they were asked for.
        file_name: as the file has it, if things were asked for.
    """

    width: int
    height: int
    masks: dict[int, bytes] = field(default_factory=dict)
    box_xyxy: array[float] = field(default_factory=lambda: array("d"))
    box_label: array[int] = field(default_factory=lambda: array("i"))
    uncrowded: dict[int, bytes | None] = field(default_factory=dict)
    unmasked: frozenset[int] = NO_CLASSES
    unjudged: frozenset[int] = NO_CLASSES
    things: tuple[Thing, ...] = ()
    file_name: str = ""

    @property
    def labels(self) -> list[int]:
        """Classes with any annotation, ascending."""
        return sorted(self.masks)

    def contains(self, label: int, x: float, y: float) -> bool:
        """contains_many() for one point."""
        return bool(contains_many([self], np.array([label]), np.array([x]), np.array([y]))[0])


class Instances(dict[Any, TrueImage]):
    """Image id -> what is known of it, in the file's order, images without annotations included.

    Attributes:
        absent: names of classes that the file's categories lack.
        left_out: categories that are no class, with their numbers of annotations.
        category_of: contiguous label -> the file's category id.
        classes: name of label 0, 1, ...
        has_names: whether the categories of the file have names; else its ids are taken for COCO's.
        num_annotations: of the listed images.
        num_unmasked: of those, how many have no mask.
        num_renumbered: images whose id is not the number in their file's name, which holds.
    """

    absent: tuple[str, ...] = ()
    category_of: Mapping[int, Any]
    classes: tuple[str, ...] = ()
    has_names = True
    num_annotations = 0
    num_unmasked = 0
    num_renumbered = 0

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, int] = {}

    def about(self) -> dict[str, Any]:
        """What is out of the ordinary, for the manifest: empty for COCO's own files."""
        return {
            **({} if self.has_names else {"category_ids": "taken for COCO's"}),
            **({"absent_classes": list(self.absent)} if self.absent else {}),
            **({"left_out_categories": self.left_out} if self.left_out else {}),
            **({"num_without_mask": self.num_unmasked} if self.num_unmasked else {}),
            **({"num_renumbered": self.num_renumbered} if self.num_renumbered else {}),
        }

    def remarks(self) -> list[str]:
        """The same, a sentence each."""
        found = []
        if not self.has_names:
            found.append("its categories have no names, so their ids are taken for COCO's")
        if self.absent:
            some = ", ".join(self.absent[:3]) + (", ..." if len(self.absent) > 3 else "")
            found.append(
                f"{len(self.absent)} of {Vocabulary(self.classes)} are not in its categories"
                f" ({some}): icons of those are not judged"
            )
        if self.left_out:
            names = [f"{name} ({count:,})" for name, count in self.left_out.items()]
            some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            found.append(
                f"left out with their annotations, since their names are no class here: {some}"
            )
        if self.num_renumbered:
            found.append(
                f"{self.num_renumbered:,} images are numbered anew; the numbers in the names of"
                " their files are taken"
            )
        if not self.num_annotations:
            found.append("it has no annotation, so no icon is judged")
        elif self.num_unmasked == self.num_annotations:
            found.append(
                "no annotation has a mask (every `segmentation` is empty), so no icon is judged;"
                " boxes and classes are used"
            )
        elif self.num_unmasked:
            found.append(
                f"{self.num_unmasked:,} of {self.num_annotations:,} annotations have no mask; icons"
                " of their classes that are on no other mask are not judged"
            )
        return found


def contains_many(images: Sequence[TrueImage], labels: Ints, x: Floats, y: Floats) -> Bools:
    """Whether each point lies on the union of its class's masks, crowds included.

    Args:
        images: (num_points,) the image of each point.
        labels: (num_points,) contiguous; a class that is not in the image covers nothing.
        x, y: (num_points,) fractions of the image; outside [0, 1], or NaN, lies on nothing.
    Returns: (num_points,) bool. The pixel is min(floor(x W), W - 1).
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
    answers[is_asked] = are_inside(
        [image.masks[label] for image, label in asked], column * height + row
    )
    return answers


def can_tell(images: Sequence[TrueImage], labels: Ints, on_mask: Bools) -> Bools:
    """(num_points,) whether the ground truth tells that a point is on an object, or that it is not.

    Args:
        images, labels: as of contains_many.
        on_mask: what that answered.
    """
    pairs = zip(images, labels.tolist(), on_mask.tolist(), strict=True)
    return np.array(
        [
            label not in image.unjudged and (hit or label not in image.unmasked)
            for image, label, hit in pairs
        ],
        bool,
    )


# --- masks ---------------------------------------------------------------------------------------


def from_segmentation(segmentation: Any, width: int, height: int) -> bytes:
    """The `segmentation` of an annotation, polygons or run lengths, plain or packed.

    Raises:
        KeyError, TypeError, ValueError: it is something else, or not of an image of this size.
    """
    if isinstance(segmentation, list) and segmentation:
        _check_polygons(segmentation, _REACH * max(width, height))
        found = coco_mask.frPyObjects(segmentation, height, width)
        return union([mask["counts"] for mask in found], width, height)
    if isinstance(segmentation, list):
        return _packed([width * height], width, height)
    size, counts = segmentation["size"], segmentation["counts"]
    if list(size) != [height, width]:
        raise ValueError(f"run lengths of {size} in an image of {[height, width]}")
    if isinstance(counts, str):
        counts = run_lengths([counts.encode("ascii")]).values.tolist()
    lengths = list(counts)
    if not all(type(length) is int and length >= 0 for length in lengths):
        raise ValueError("a run length that is no number of pixels")
    if sum(lengths) != width * height:
        raise ValueError(f"run lengths of {sum(lengths)} pixels in an image of {width * height}")
    return _packed(_without_empty(lengths), width, height)


def _check_polygons(polygons: list[Any], reach: int) -> None:
    # pycocotools takes four numbers for a box and raises bare Exceptions.
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon of {len(polygon)} numbers")
        if not {*map(type, polygon)} <= {int, float}:
            raise ValueError("a polygon of something else than numbers")
        if min(polygon) < -reach or max(polygon) > reach:
            raise ValueError(f"a polygon that goes on to {max(map(abs, polygon)):.9g}")


def _without_empty(lengths: list[int]) -> list[int]:
    """The same mask with no empty run but the first; pycocotools' merge has no room for more."""
    kept = [0]
    for place, length in enumerate(lengths):
        if length and place % 2 == len(kept) % 2:
            kept.append(length)
        else:
            kept[-1] += length
    return kept


def _packed(lengths: list[int], width: int, height: int) -> bytes:
    plain = {"size": [height, width], "counts": lengths}
    return bytes(coco_mask.frPyObjects(plain, height, width)["counts"])


def union(masks: Sequence[bytes], width: int, height: int) -> bytes:
    """The pixels of any of the masks, which are of one image."""
    if len(masks) == 1:
        return masks[0]
    merged = coco_mask.merge([{"size": [height, width], "counts": mask} for mask in masks])
    return bytes(merged["counts"])


def bounds(mask: bytes, width: int, height: int) -> list[float]:
    """[x, y, width, height] px of the box about a mask's pixels; zeros if it has none."""
    found: list[float] = coco_mask.toBbox({"size": [height, width], "counts": mask}).tolist()
    return found


def num_pixels(mask: bytes, width: int, height: int) -> int:
    """How many pixels a mask covers."""
    return int(coco_mask.area({"size": [height, width], "counts": mask}))


def run_lengths(masks: Sequence[bytes]) -> Ragged:
    """Unpack many masks at once: row i has the run lengths of mask i, int64.

    A length is written as groups of five bits, low ones first, in characters from `0`; bit 5 says
    that more follow, the top bit of the last group is the sign. From the fourth length on it is the
    difference to the length two before.

    Raises:
        ValueError: a character of no group, or a length without end.
    """
    text = np.frombuffer(b"".join(masks), np.uint8).astype(np.int64)
    chars = np.fromiter(chain([0], map(len, masks)), np.int64, len(masks) + 1).cumsum()
    is_last = ((text - _ZERO) & 32) == 0
    filled = chars[1:][np.diff(chars) > 0]
    if ((text < _ZERO) | (text > _LAST)).any() or not is_last[filled - 1].all():
        raise ValueError("run lengths packed in another way than COCO's")
    ends = np.flatnonzero(is_last)
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)].astype(np.int64)
    width = ends - starts + 1
    if (width > 12).any():
        raise ValueError("a run length of more than 60 bits")
    shift = 5 * (np.arange(len(text)) - np.repeat(starts, width))
    bits = ((text - _ZERO) & 31) << shift
    values = np.add.reduceat(bits, starts) if len(starts) else bits
    values = values - np.where((text[ends] - _ZERO) & 16, np.int64(1) << (5 * width), 0)
    bounds = np.searchsorted(ends, chars)
    return Ragged(_undo_differences(values, bounds), bounds)


def _undo_differences(values: Ints, bounds: Ints) -> Ints:
    place = np.arange(len(values)) - np.repeat(bounds[:-1], np.diff(bounds))
    out: Ints = values.copy()
    for parity in (0, 1):
        # Lengths 1, 3, 5, ... of a mask add up, and so do 2, 4, 6, ...; the first stands alone.
        chained = np.flatnonzero((place % 2 == parity) & (place > 0))
        total = np.cumsum(values[chained])
        first = place[chained] <= 2
        before = (total - values[chained])[first]
        lengths = np.diff(np.append(np.flatnonzero(first), len(chained)))
        out[chained] = total - np.repeat(before, lengths)
    return out


def are_inside(masks: Sequence[bytes], pixels: Ints) -> Bools:
    """Whether mask i covers pixel i.

    Args:
        masks: (num_points,)
        pixels: (num_points,) x * height + y, not behind the last pixel.
    """
    parts = range(0, len(masks), _AT_ONCE)
    answers = [_are_inside(masks[k : k + _AT_ONCE], pixels[k : k + _AT_ONCE]) for k in parts]
    return np.concatenate(answers) if answers else np.zeros(0, bool)


def _are_inside(masks: Sequence[bytes], pixels: Ints) -> Bools:
    runs = run_lengths(masks)
    ends = np.cumsum(runs.values)
    before = np.concatenate([[0], ends])[runs.bounds[:-1]]
    is_past = ends <= np.repeat(before + pixels, runs.lengths)
    num_past = np.concatenate([[0], np.cumsum(is_past)])[runs.bounds]
    # Runs of zeros and ones alternate.
    inside: Bools = np.diff(num_past) % 2 == 1
    return inside
