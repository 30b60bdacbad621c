"""The open log, `byproducts` version 1: JSON Lines, one line a view; docs/log-format.md. Pure.

Whatever a tool cannot know it leaves out, or says null. Fields that this version does not know are
counted and left out, so that a log of a later version can still be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa
from msgspec import Meta, Struct

from luab_data.views import CODE, EVENTS, OPTIONAL_LISTS, VIEWS, EventType

Kind = Literal["browsing", "tagging", "tracing", "pointing"]
Pointer = Literal["mouse", "touch", "pen", "eye", "keyboard"]

Pixels = Annotated[float, Meta(ge=0, description="px")]
Size = Annotated[int, Meta(ge=1, le=2**31 - 1, description="px")]
MOST_FRACTION = 10
Fraction = Annotated[
    float, Meta(ge=-MOST_FRACTION, le=MOST_FRACTION, description="fraction of the picture")
]
"""A place off the picture is one; a place ten pictures away is a pixel or a per cent."""
Milliseconds = Annotated[float, Meta(ge=-(2**53), le=2**53, description="ms")]
Place = Annotated[int, Meta(ge=0, le=2**15 - 1)]
Name = Annotated[str, Meta(min_length=1)]


class _Part(Struct, kw_only=True, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Fields that are not given are null."""


class Image(_Part, kw_only=True, frozen=True):
    """The picture: its id is unique within its class; sizes are of the file, turned as shown."""

    id: Name
    file: str | None = None
    width: Size | None = None
    height: Size | None = None


class Asked(_Part, kw_only=True, frozen=True, rename={"label": "class"}):
    """What was asked: `class` of browsing, `classes` of tagging, `prompt` in words."""

    label: Name | None = None
    classes: tuple[Name, ...] | None = None
    prompt: str | None = None


class Shown(_Part, kw_only=True, frozen=True):
    """Where the picture was in the document, and how large: CSS px."""

    x: float | None = None
    y: float | None = None
    width: Pixels | None = None
    height: Pixels | None = None


class Device(_Part, kw_only=True, frozen=True):
    """The window: CSS px, and device pixels to one of them."""

    viewport_width: Pixels | None = None
    viewport_height: Pixels | None = None
    pixel_ratio: Pixels | None = None


class Spent(_Part, kw_only=True, frozen=True):
    """How long somebody was on the page, ms: in all, while they could see it, and at work."""

    wall: Milliseconds | None = None
    visible: Milliseconds | None = None
    active: Milliseconds | None = None


class Event(_Part, kw_only=True, frozen=True):
    """Something that happened: `type`, `t` in ms by the session's clock, place as a fraction."""

    type: EventType
    t: Milliseconds | None = None
    x: Fraction | None = None
    y: Fraction | None = None
    from_x: Fraction | None = None
    from_y: Fraction | None = None
    label: str | None = None
    state: bool | None = None
    duration: Milliseconds | None = None
    pointer: Pointer | None = None


class View(_Part, kw_only=True, frozen=True):
    """One image shown once to one annotator; `epoch` is when the session's clock stood at 0."""

    byproducts: Literal[1]
    kind: Kind
    image: Image
    asked: Asked | None = None
    shown: Shown | None = None
    device: Device | None = None
    session: str | None = None
    task: str | None = None
    page: Place | None = None
    slot: Place | None = None
    arm: str | None = None
    spent: Spent | None = None
    annotator: str | None = None
    epoch: Milliseconds | None = None
    selected: bool | None = None
    answer: str | None = None
    events: tuple[Event, ...] | None = None


PARTS = {
    "image": Image, "asked": Asked, "shown": Shown, "device": Device, "spent": Spent,
    "events": Event,
}  # fmt: skip
"""Field of a view -> what its value, or each of them, has inside."""

# --- as a table ----------------------------------------------------------------------------------


def to_table(found: Sequence[View]) -> pa.Table:
    """Views as a table of VIEWS; times are rounded to whole ms."""
    asked = [v.asked or Asked() for v in found]
    shown = [v.shown or Shown() for v in found]
    device = [v.device or Device() for v in found]
    spent = [v.spent or Spent() for v in found]
    events = [v.events or () for v in found]
    columns: dict[str, Any] = {
        "image_id": [v.image.id for v in found],
        "image_file": [v.image.file for v in found],
        "width": [v.image.width for v in found],
        "height": [v.image.height for v in found],
        "label": [a.label for a in asked],
        "labels": [a.classes for a in asked],
        "prompt": [a.prompt for a in asked],
        **{f"shown_{side}": [getattr(s, side) for s in shown] for side in _SIDES},
        **{name: [getattr(d, name) for d in device] for name in Device.__struct_fields__},
        **{name: [getattr(v, name) for v in found] for name in _OF_VIEW},
        **{f"page_{time}_ms": [_whole(getattr(s, time)) for s in spent] for time in _TIMES},
        "epoch_ms": [_whole(v.epoch) for v in found],
        "event": [[CODE[e.type] for e in some] for some in events],
        "event_time_ms": [[_whole(e.t) for e in some] for some in events],
        "event_x": [[e.x for e in some] for some in events],
        "event_y": [[e.y for e in some] for some in events],
        "event_duration_ms": [[_whole(e.duration) for e in some] for some in events],
        **{f"event_{name}": [[getattr(e, name) for e in some] for some in events]
           for name in ("from_x", "from_y", "label", "state", "pointer")},
    }  # fmt: skip
    for name in OPTIONAL_LISTS:
        columns[name] = [
            some if any(one is not None for one in some) else None for some in columns[name]
        ]
    schema = VIEWS.schema()
    return pa.table([pa.array(columns[n], schema.field(n).type) for n in schema.names], schema)


_SIDES = ("x", "y", "width", "height")
_TIMES = Spent.__struct_fields__
_OF_VIEW = ("session", "task", "page", "slot", "arm", "annotator", "selected", "answer")


def _whole(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds)


# --- writing -------------------------------------------------------------------------------------


def to_lines(table: pa.Table, kind: Kind) -> bytes:
    """A table of VIEWS as lines of the open log, which `read` gives back."""
    return b"".join(msgspec.json.encode(view) + b"\n" for view in _views(table, kind))


def _views(table: pa.Table, kind: Kind) -> Iterator[View]:
    for row in table.to_pylist():
        lists = {name: row[f"event_{name}"] or [None] * len(row["event"]) for name in _OF_EVENT}
        events = tuple(
            Event(
                type=EVENTS[code],
                t=row["event_time_ms"][k],
                duration=lists["duration_ms"][k],
                **{name: lists[name][k] for name in _OF_EVENT if name != "duration_ms"},
            )
            for k, code in enumerate(row["event"])
        )
        yield View(
            byproducts=1,
            kind=kind,
            image=Image(
                id=row["image_id"],
                file=row["image_file"],
                width=row["width"],
                height=row["height"],
            ),
            asked=Asked(
                label=row["label"],
                classes=row["labels"] and tuple(row["labels"]),
                prompt=row["prompt"],
            ),
            shown=Shown(**{side: row[f"shown_{side}"] for side in _SIDES}),
            device=Device(**{name: row[name] for name in Device.__struct_fields__}),
            spent=Spent(**{time: row[f"page_{time}_ms"] for time in _TIMES}),
            epoch=row["epoch_ms"],
            events=events,
            **{name: row[name] for name in _OF_VIEW},
        )


_OF_EVENT = ("x", "y", "from_x", "from_y", "label", "state", "duration_ms", "pointer")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of one line; docs/static/byproducts-1.schema.json."""
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, "title": "byproducts, version 1", **msgspec.json.schema(View)}
