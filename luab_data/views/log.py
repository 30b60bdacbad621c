"""[I/O] The open log, `byproducts` version 1: JSON Lines, one line a view; docs/log-format.md.

Whatever a tool cannot know it leaves out. Fields that this version does not know are counted and
left out, so that a log of a later version can still be read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import IO, Annotated, Any, Literal

import msgspec
import pyarrow as pa
from msgspec import Meta, Struct

from luab_data.errors import RecordError
from luab_data.raw.bad_records import without_ids
from luab_data.views import CODE, EVENTS, OPTIONAL_LISTS, VIEWS, EventType, Reading

Kind = Literal["browsing", "tagging", "tracing", "pointing"]
Pointer = Literal["mouse", "touch", "pen", "eye", "keyboard"]

Pixels = Annotated[float, Meta(ge=0, description="px")]
Size = Annotated[int, Meta(ge=1, le=2**31 - 1, description="px")]
Fraction = Annotated[float, Meta(ge=-10, le=10, description="fraction of the picture")]
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
    asked: Asked = Asked()
    shown: Shown = Shown()
    device: Device = Device()
    session: str | None = None
    task: str | None = None
    page: Place | None = None
    slot: Place | None = None
    arm: str | None = None
    annotator: str | None = None
    epoch: Milliseconds | None = None
    selected: bool | None = None
    answer: str | None = None
    events: tuple[Event, ...] = ()


# --- reading -------------------------------------------------------------------------------------

BATCH_BYTES = 2**22
"""Length of the lines that become one table."""

_DECODER = msgspec.json.Decoder(View)
_ANNOTATOR = re.compile(rb'"annotator"\s*:\s*"((?:[^"\\\\]|\\\\.)*)"').findall
_UNKNOWN = "unknown field"  # msgspec's words


def read(lines: IO[bytes], unknown: Counter[str], kinds: Collection[Kind]) -> Iterator[Reading]:
    """The views of an open log, in its order, and what was wrong with other lines.

    Args:
        lines: the decompressed log, a view a line; empty lines are passed over.
        unknown: field that version 1 does not know -> how often it was there; added to.
        kinds: of the views that are asked for; others are errors.
    """
    number = 0
    while batch := lines.readlines(BATCH_BYTES):
        found, names, errors = [], [], []
        for number, line in enumerate(batch, start=number + 1):  # noqa: B020, the count goes on
            if not line.strip():
                continue
            try:
                view = decode(line, unknown)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                errors.append(_refused(f"line {number}", line, error))
                continue
            if view.kind in kinds:
                found.append(view)
                names.append(f"line {number}")
            else:
                errors.append(_other_kind(f"line {number}", view.kind, kinds))
        yield Reading(to_table(found), names, errors)


def decode(line: bytes, unknown: Counter[str]) -> View:
    """One line of a log.

    Raises:
        msgspec.DecodeError: it is not JSON, or not a view.
    """
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError as error:
        if _UNKNOWN not in str(error):
            raise
    known, more = _known(msgspec.json.decode(line), View)
    unknown.update(more)
    return msgspec.convert(known, View)


def _known(value: Any, type: Any) -> tuple[Any, list[str]]:
    """The value without fields that the struct does not have, here and below; their names."""
    fields = {f.encode_name: f for f in msgspec.structs.fields(type)}
    known, unknown = {}, []
    for name, inner in value.items():
        if name not in fields:
            unknown.append(name)
            continue
        part = _PARTS.get(name)
        known[name] = inner
        if part and isinstance(inner, dict):
            known[name], more = _known(inner, part)
        elif part and isinstance(inner, list):
            some = [_known(one, part) if isinstance(one, dict) else (one, []) for one in inner]
            known[name], more = [one for one, _ in some], [n for _, names in some for n in names]
        else:
            more = []
        unknown += [f"{name}.{one}" for one in more]
    return known, unknown


_PARTS = {"image": Image, "asked": Asked, "shown": Shown, "device": Device, "events": Event}


def _refused(where: str, line: bytes, error: Exception) -> RecordError:
    rule = "not-a-view" if isinstance(error, msgspec.ValidationError) else "json-syntax"
    ids = [found.decode("utf-8", "replace") for found in _ANNOTATOR(line)]
    return RecordError(where, rule, without_ids(str(error), ids))


def _other_kind(where: str, kind: Kind, kinds: Collection[Kind]) -> RecordError:
    verb = "tracing" if kind == "pointing" else kind
    reason = f"is a view of a {kind} task; expected {' or '.join(sorted(kinds))}."
    return RecordError(where, "other-kind", f"{reason} `luab-data convert {verb}` reads it")


def to_table(found: Sequence[View]) -> pa.Table:
    """Views as a table of VIEWS; times are rounded to whole ms."""
    columns: dict[str, Any] = {
        "image_id": [v.image.id for v in found],
        "image_file": [v.image.file for v in found],
        "width": [v.image.width for v in found],
        "height": [v.image.height for v in found],
        "label": [v.asked.label for v in found],
        "labels": [v.asked.classes for v in found],
        "prompt": [v.asked.prompt for v in found],
        **{f"shown_{side}": [getattr(v.shown, side) for v in found] for side in _SIDES},
        **{name: [getattr(v.device, name) for v in found] for name in Device.__struct_fields__},
        **{name: [getattr(v, name) for v in found] for name in _OF_VIEW},
        "epoch_ms": [_whole(v.epoch) for v in found],
        "event": [[CODE[e.type] for e in v.events] for v in found],
        "event_time_ms": [[_whole(e.t) for e in v.events] for v in found],
        "event_x": [[e.x for e in v.events] for v in found],
        "event_y": [[e.y for e in v.events] for v in found],
        "event_duration_ms": [[_whole(e.duration) for e in v.events] for v in found],
        **{f"event_{name}": [[getattr(e, name) for e in v.events] for v in found]
           for name in ("from_x", "from_y", "label", "state", "pointer")},
    }  # fmt: skip
    for name in OPTIONAL_LISTS:
        columns[name] = [
            some if any(one is not None for one in some) else None for some in columns[name]
        ]
    schema = VIEWS.schema()
    return pa.table([pa.array(columns[n], schema.field(n).type) for n in schema.names], schema)


_SIDES = ("x", "y", "width", "height")
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
            epoch=row["epoch_ms"],
            events=events,
            **{name: row[name] for name in _OF_VIEW},
        )


_OF_EVENT = ("x", "y", "from_x", "from_y", "label", "state", "duration_ms", "pointer")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of one line."""
    return msgspec.json.schema(View)
