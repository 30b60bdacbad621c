"""What happened on one page, in order: pictures where they were, events when they were.

Events: enter and leave (the pointer over a picture), move (a trace record), click (one that
selected; deselecting clicks are not logged), add, shift and remove (of an icon), category (another
superclass of icons is shown). A record without a time or a point, or with a point that lies on no
screen, cannot be shown and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

ORDER = ("category", "enter", "move", "click", "add", "shift", "remove", "leave")
"""What comes first at one time: a trace ends in its click, a visit in its leave."""

ICON_EVENTS = ("add", "shift", "remove")

_RANK = {kind: rank for rank, kind in enumerate(ORDER)}
_MARGIN = 24
"""px shown around the pictures."""
_FARTHEST = 1e5
"""px from the corner of the page; nothing farther away was on a screen."""


class Box(NamedTuple):
    """A ground-truth box, fractions of the picture; `name` of its class, where there are several.

    `is_missed`: no icon of its class was left on the picture.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    name: str = ""
    is_missed: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture on the page.

    Attributes:
        slot: its place in the grid, 0..47; None if not logged; 0 of a page of one picture.
        x, y, w, h: left, top, width and height, px of the page.
        image_id: as in the dataset.
        selected: whether it was selected at the end; None where nothing is selected.
        boxes: of the ground truth.
    """

    slot: int | None
    x: float
    y: float
    w: float
    h: float
    image_id: str
    selected: bool | None = None
    boxes: tuple[Box, ...] = ()


class Event(NamedTuple):
    """Something that happened; `x`, `y` in px of the page, NaN where the kind has no point."""

    time_ms: int  # from the first event
    kind: str  # one of ORDER
    picture: int  # its place in Replay.pictures
    x: float = math.nan
    y: float = math.nan
    name: str = ""  # of the icon or the superclass


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One page.

    Attributes:
        pictures: by slot.
        events: by time, then in ORDER.
        is_grid: whether the page shows many pictures that the pointer enters and leaves.
        num_left_out: pictures that have no place or no size.
    """

    pictures: tuple[Picture, ...]
    events: tuple[Event, ...]
    is_grid: bool
    num_left_out: int = 0

    @property
    def duration_ms(self) -> int:
        """From the first event to the last; 0 if there are fewer than two."""
        return self.events[-1].time_ms if self.events else 0

    def count(self, kind: str) -> int:
        """Events of one kind."""
        return sum(event.kind == kind for event in self.events)

    @property
    def view(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of all that is to be seen, px of the page."""
        xs = [edge for p in self.pictures for edge in (p.x, p.x + p.w)]
        ys = [edge for p in self.pictures for edge in (p.y, p.y + p.h)]
        left, top = min(xs, default=0.0) - _MARGIN, min(ys, default=0.0) - _MARGIN
        width, height = max(xs, default=0.0) + _MARGIN - left, max(ys, default=0.0) + _MARGIN - top
        return left, top, width, height


def in_order(events: Iterable[Event]) -> tuple[Event, ...]:
    """By time, then in ORDER; actions on icons at one time stay as logged. Starts at 0 ms."""
    found = list(events)
    start = min((event.time_ms for event in found), default=0)

    def key(event: Event) -> tuple[int, int]:
        return event.time_ms, _RANK["add" if event.kind in ICON_EVENTS else event.kind]

    return tuple(e._replace(time_ms=e.time_ms - start) for e in sorted(found, key=key))


def points(
    row: Mapping[str, Any], columns: tuple[str, str, str], kind: str, picture: Picture, number: int
) -> Iterator[Event]:
    """Events of the records of a picture that have a time and a point on the page.

    Args:
        row: one row of a table, as `to_pylist` gives it.
        columns: lists of times, x and y in fractions of the picture.
        kind: of the events. picture, number: what they are of.
    """
    lists = (row[name] or () for name in columns)
    for time, x, y in zip(*lists, strict=False):
        at = on_page(picture, x, y)
        if time is not None and at:
            yield Event(time, kind, number, *at)


def on_page(picture: Picture, x: float | None, y: float | None) -> tuple[float, float] | None:
    """Fractions of a picture in px of the page; None if that is no point of any screen."""
    if x is None or y is None:
        return None
    at = picture.x + x * picture.w, picture.y + y * picture.h
    return at if all(is_on_screen(value) for value in at) else None


def is_on_screen(value: float | None) -> bool:
    """Whether a px of the page can have been on a screen."""
    return value is not None and abs(value) <= _FARTHEST  # NaN is not
