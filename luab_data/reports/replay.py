"""What happened on one page, in order: pictures where they were, events when they were.

Events of `imagenet-ab`: enter and leave (the pointer over a picture), move (a trace record), click
(one that selected; deselecting clicks are not logged). Of `coco-ab`: move, add, shift and remove
(of an icon), category (another superclass is shown). An event of a picture without a place or
size (never loaded) and a record without a time or point cannot be shown and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from luab_data.tools import BOARD_HEIGHT

ORDER = ("category", "enter", "move", "click", "add", "shift", "remove", "leave")
"""What comes first at one time: a trace ends in its click, a visit in its leave."""

_MARGIN = 24
"""px shown around the pictures."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture on the page.

    Attributes:
        slot: its place in the grid, 0..47; None if not logged; 0 for COCO.
        x, y, w, h: left, top, width and height, px of the page.
        image_id: as in the dataset.
        selected: whether it was selected at the end; None for COCO.
        boxes: [xmin, ymin, xmax, ymax] of each ground-truth box, fractions of the picture.
    """

    slot: int | None
    x: float
    y: float
    w: float
    h: float
    image_id: str
    selected: bool | None = None
    boxes: tuple[tuple[float, float, float, float], ...] = ()


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
        kind: `imagenet-ab` or `coco-ab`.
        pictures: by slot.
        events: by time, then in ORDER.
        num_left_out: pictures that have no place or no size.
    """

    kind: str
    pictures: tuple[Picture, ...]
    events: tuple[Event, ...]
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
        return (
            left,
            top,
            max(xs, default=0.0) + _MARGIN - left,
            max(ys, default=0.0) + _MARGIN - top,
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON, compact: px to a tenth, an event as [ms, kind, picture, x, y, name]."""
        pictures = [
            {
                **{name: getattr(p, name) for name in ("slot", "image_id", "selected")},
                **{name: round(getattr(p, name), 1) for name in ("x", "y", "w", "h")},
            }
            for p in self.pictures
        ]
        return {
            "kind": self.kind,
            "view": [round(edge, 1) for edge in self.view],
            "duration": self.duration_ms,
            "pictures": pictures,
            "events": [_short(event) for event in self.events],
        }


def _short(event: Event) -> list[Any]:
    row = [event.time_ms, event.kind, event.picture]
    if event.x == event.x:
        row += [round(event.x, 1), round(event.y, 1)]
    elif event.name:
        row += [None, None]
    return [*row, event.name] if event.name else row


# --- ImageNet-AB ---------------------------------------------------------------------------------

IMAGENET_COLUMNS = (
    *("image_id", "image_idx", "selected", "image_position_x", "image_position_y"),
    *("image_width", "image_height", "original_image_width", "original_image_height"),
    *("hovered_record_action", "hovered_record_time_ms"),
    *("mouse_tracking_time_ms", "mouse_tracking_x", "mouse_tracking_y"),
    *("selected_record_time_ms", "selected_record_x", "selected_record_y"),
)
"""Columns of `rounds` that a replay needs."""

Boxes = Mapping[str, tuple[tuple[float, float, float, float], ...]]


def imagenet_replay(rounds: pa.Table, boxes: Boxes | None = None) -> Replay:
    """The replay of one page: the rounds of one (assignment_id, page_idx).

    Args:
        rounds: its rows, with IMAGENET_COLUMNS, in any order.
        boxes: image_id -> its boxes, as fractions of the picture.
    """
    rows = sorted(rounds.select(IMAGENET_COLUMNS).to_pylist(), key=_by_slot)
    pictures: list[Picture] = []
    events: list[Event] = []
    for row in rows:
        place = _place(row)
        if place is None:
            continue
        x, y, w, h = place
        image_id = str(row["image_id"])
        picture = Picture(
            slot=row["image_idx"], x=x, y=y, w=w, h=h, image_id=image_id,
            selected=bool(row["selected"]), boxes=(boxes or {}).get(image_id, ()),
        )  # fmt: skip
        events += _hovers(row, len(pictures))
        events += _points(row, "mouse_tracking", "move", picture, len(pictures))
        events += _points(row, "selected_record", "click", picture, len(pictures))
        pictures.append(picture)
    return Replay(
        kind="imagenet-ab",
        pictures=tuple(pictures),
        events=_in_order(events),
        num_left_out=len(rows) - len(pictures),
    )


def _by_slot(row: Mapping[str, Any]) -> tuple[int, str]:
    return row["image_idx"] or 0, str(row["image_id"])


def _place(row: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Left, top, width, height; None if one is missing or the size is 0 (never loaded)."""
    x, y, w, h = (row[f"image_{name}"] for name in ("position_x", "position_y", "width", "height"))
    if not (_is_number(x) and _is_number(y) and w and h and w > 0 and h > 0):
        return None
    original = row["original_image_width"] or 0, row["original_image_height"] or 0
    # The release's imageWidth is a copy of imageHeight (raw-formats.md): the file's shape tells.
    if w == h and min(original) > 0:
        w = h * original[0] / original[1]
    return float(x), float(y), float(w), float(h)


def _hovers(row: Mapping[str, Any], picture: int) -> Iterable[Event]:
    actions, times = row["hovered_record_action"] or (), row["hovered_record_time_ms"] or ()
    for action, time in zip(actions, times, strict=False):
        if time is not None and action in ("enter", "leave"):
            yield Event(time, action, picture)


def _points(
    row: Mapping[str, Any], record: str, kind: str, picture: Picture, number: int
) -> Iterable[Event]:
    lists = (row[f"{record}_{name}"] or () for name in ("time_ms", "x", "y"))
    for time, x, y in zip(*lists, strict=False):
        if time is not None and _is_number(x) and _is_number(y):
            yield Event(time, kind, number, picture.x + x * picture.w, picture.y + y * picture.h)


# --- COCO-AB -------------------------------------------------------------------------------------

COCO_COLUMNS = (
    *("image_id", "original_image_width", "original_image_height", "image_height"),
    *(f"action_histories_{name}" for name in ("action_type", "icon_type", "time_at_ms")),
    *(f"action_histories_point_to_{axis}" for axis in "xy"),
    *("category_histories_category_name", "category_histories_time_at_ms"),
    *("mouse_tracking_time_at_ms", "mouse_tracking_x", "mouse_tracking_y"),
)
"""Columns of `actions` that a replay needs."""

_ICON_EVENTS = {"add": "add", "move": "shift", "remove": "remove"}


def coco_replay(
    actions: pa.Table, *, size: tuple[float | None, float | None] | None = None
) -> Replay:
    """The replay of one image's page: one row of `actions`.

    Args:
        actions: that row, with COCO_COLUMNS.
        size: width and height of the file, px; by default as logged. The log's can be 0, and its
            imageWidth is a copy of imageHeight; without any the picture is drawn as a square.
    """
    row = actions.select(COCO_COLUMNS).slice(0, 1).to_pylist()[0]
    logged = row["original_image_width"], row["original_image_height"]
    width, height = size if size and all(size) else logged
    h = float(row["image_height"] or BOARD_HEIGHT)
    w = h * width / height if width and height else h
    picture = Picture(slot=0, x=0.0, y=0.0, w=w, h=h, image_id=str(row["image_id"]))
    events = [
        *_categories(row),
        *_icons(row, picture),
        *(
            Event(time, "move", 0, x * w, y * h)
            for time, x, y in zip(
                *(row[f"mouse_tracking_{name}"] or () for name in ("time_at_ms", "x", "y")),
                strict=False,
            )
            if time is not None and _is_number(x) and _is_number(y)
        ),
    ]
    return Replay(kind="coco-ab", pictures=(picture,), events=_in_order(events))


def _categories(row: Mapping[str, Any]) -> Iterable[Event]:
    names = row["category_histories_category_name"] or ()
    times = row["category_histories_time_at_ms"] or ()
    for name, time in zip(names, times, strict=False):
        if time is not None and name:
            yield Event(time, "category", 0, name=name)


def _icons(row: Mapping[str, Any], picture: Picture) -> Iterable[Event]:
    names = ("action_type", "icon_type", "time_at_ms", "point_to_x", "point_to_y")
    lists = (row[f"action_histories_{name}"] or () for name in names)
    for action, icon, time, x, y in zip(*lists, strict=False):
        if time is None or action not in _ICON_EVENTS:
            continue
        kind = _ICON_EVENTS[action]
        if kind == "remove":
            yield Event(time, kind, 0, name=icon or "")
        elif _is_number(x) and _is_number(y):
            yield Event(time, kind, 0, x * picture.w, y * picture.h, icon or "")


# --- both ----------------------------------------------------------------------------------------

_RANK = {kind: rank for rank, kind in enumerate(ORDER)}
_ICONS = frozenset(("add", "shift", "remove"))


def _in_order(events: list[Event]) -> tuple[Event, ...]:
    """By time, then in ORDER; actions on icons at one time stay as logged. Starts at 0 ms."""
    if not events:
        return ()
    start = min(event.time_ms for event in events)

    def key(event: Event) -> tuple[int, int]:
        return event.time_ms, _RANK["add" if event.kind in _ICONS else event.kind]

    return tuple(e._replace(time_ms=e.time_ms - start) for e in sorted(events, key=key))


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
