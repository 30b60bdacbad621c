"""Points, boxes and lines of an image as other tools draw them: what each kind of log has.

A click belongs to the smallest box that holds it, borders included
(docs/definitions.md#points-and-boxes); every other box has no point, and a click in no box has no
box: an image without published boxes gets none that were made up.

Points are fractions of the picture as a browser shows it, turned as its EXIF orientation asks;
boxes are of the picture as stored, and left out where they are of a picture of another shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from luab_data.boxes import Frame
from luab_data.columns.regions import sort_corners
from luab_data.schema import COCO_CATEGORIES, COCO_SUPERCLASSES

Point = tuple[float, float]
"""(x, y), fractions of the picture, raw values even outside [0, 1]."""


class Marked(NamedTuple):
    """One object that was pointed at, or a box that was not."""

    label: int  # of the dataset
    point: Point | None = None  # of the picture as shown
    box: tuple[float, float, float, float] | None = None  # x0, y0, x1, y1, px as stored


class Line(NamedTuple):
    """A way the pointer or an icon took."""

    label: int
    name: str
    points: tuple[Point, ...]
    closed: bool = False


@dataclass(frozen=True, kw_only=True)
class PointFormat:
    """How one kind of log is drawn.

    Attributes:
        point: what a point is called.
        columns: of `default` that `marks` and `lines` read, with the image's id.
        categories: class names of `label` (or nothing) -> COCO's `categories`, by label.
        marks: a row of `default` and its picture file -> what was marked on the image.
        lines: a row -> its lines.
    """

    point: str
    columns: tuple[str, ...]
    categories: Callable[[Sequence[str]], list[dict[str, Any]]]
    marks: Callable[[Mapping[str, Any], Frame], Iterator[Marked]]
    lines: Callable[[Mapping[str, Any]], Iterator[Line]]


def clicks(row: Mapping[str, Any], frame: Frame) -> Iterator[Marked]:
    """The boxes of an image of ImageNet-AB, and its final click in the smallest that holds it."""
    label = row["label"]
    click = _point(row["final_click_x"], row["final_click_y"])
    boxes = sort_corners(np.reshape(row["boxes"] or [], (-1, 4)))
    # Boxes are px of the size that the dataset has, which need not be the file's.
    size = (row["width"] or frame.width, row["height"] or frame.height)
    if size != frame[:2]:
        wrong = abs(size[0] * frame.height - size[1] * frame.width)
        turned = abs(size[1] * frame.height - size[0] * frame.width)
        boxes = boxes[:0] if turned < wrong else boxes * (frame[:2] * 2) / (size * 2)
    holder = None
    if click is not None and len(boxes):
        x, y = np.multiply(frame.stored(*click), frame[:2])
        x0, y0, x1, y1 = boxes.T
        holds = (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
        if holds.any():
            holder = int(np.where(holds, (x1 - x0) * (y1 - y0), np.inf).argmin())
    for index, box in enumerate(boxes.tolist()):
        yield Marked(label, click if index == holder else None, tuple(box))
    if click is not None and holder is None:
        yield Marked(label, click)


def approaches(row: Mapping[str, Any]) -> Iterator[Line]:
    """The way to the final click at tenths of its records, and the hull of its last records."""
    for name, closed in (("trace_quantile", False), ("hull", True)):
        points = zip(row[f"{name}_x"] or (), row[f"{name}_y"] or (), strict=True)
        yield Line(row["label"], name, tuple(points), closed)


def icons(row: Mapping[str, Any], frame: Frame) -> Iterator[Marked]:
    """The icons that were on an image of COCO-AB at the end."""
    for label, x, y in zip(*(row[name] or () for name in _FINAL), strict=True):
        if (point := _point(x, y)) is not None:
            yield Marked(label, point)


_FINAL = ("icon_label", "final_x", "final_y")


def moves(row: Mapping[str, Any]) -> Iterator[Line]:
    """From where an icon was last added to where it was left, for icons that were moved."""
    names = (*_FINAL, "last_add_x", "last_add_y")
    for label, x, y, *before in zip(*(row[name] or () for name in names), strict=True):
        start, end = _point(*before), _point(x, y)
        if start is not None and end is not None and start != end:
            yield Line(label, "moved", (start, end))


def _point(x: float | None, y: float | None) -> Point | None:
    return None if x is None or y is None else (x, y)


def _asked_classes(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": k + 1, "name": name, "supercategory": ""} for k, name in enumerate(names)]


def _icon_classes(names: Sequence[str]) -> list[dict[str, Any]]:
    above = {name: group for group, members in COCO_SUPERCLASSES.items() for name in members}
    return [
        {"id": number, "name": name, "supercategory": above[name]}
        for number, name in COCO_CATEGORIES.items()
    ]


BROWSING = PointFormat(
    point="final_click",
    columns=(
        *("image_id", "label", "width", "height", "boxes", "final_click_x", "final_click_y"),
        *("trace_quantile_x", "trace_quantile_y", "hull_x", "hull_y"),
    ),
    categories=_asked_classes,
    marks=clicks,
    lines=approaches,
)
TAGGING = PointFormat(
    point="icon",
    columns=("image_id", *_FINAL, "last_add_x", "last_add_y"),
    categories=_icon_classes,
    marks=icons,
    lines=moves,
)
