"""Recordings of rrweb: the pointer over one picture at a time, a recording a file.

Seen in rrweb-io/rrweb at c382034: packages/types/src/index.ts, packages/rrweb/src/record/index.ts
and observer.ts. `x`, `y` are clientX, clientY: px of the window's inside, so that a scroll of the
document moves the picture under them. Moves come in batches, by default every 500 ms: the time of
one is `timestamp + timeOffset`, and offsets are negative, so that a batch has moves from before
events that stand in front of it. Text that was typed (Input) and snapshots are not kept.

Where the picture is only the page knows. It says so by `record.addCustomEvent("picture", {...})`
whenever the picture appears, changes or moves: `image_id`, and `x`, `y`, `width`, `height` of its
getBoundingClientRect(); if it likes also `image_file`, `label`, `prompt`, `annotator`. A null
`image_id` says that it is gone. Else options tell it for the whole recording.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct

from luab_data.errors import ArchiveError, OptionError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import OnRead, Px, batched, files, json_objects, typed
from luab_data.importers.pictures import PictureIds
from luab_data.raw.bad_records import Bad
from luab_data.views import EventType, Reading
from luab_data.views.log import Asked, Device, Event, Image, Milliseconds, Pointer, Shown, View

_SNAPSHOT, _INCREMENT, _META, _CUSTOM = 2, 3, 4, 5
_MOVES: Mapping[int, Pointer] = {1: "mouse", 6: "touch", 12: "mouse"}
_INTERACTION, _SCROLL, _RESIZE = 2, 3, 4
_PRESSED: Mapping[int, tuple[EventType, Pointer | None]] = {
    0: ("up", "mouse"),
    1: ("down", "mouse"),
    2: ("click", None),
    7: ("down", "touch"),
    9: ("up", "touch"),
    10: ("up", "touch"),
}
_NAMES = {3: "ContextMenu", 4: "DblClick", 5: "Focus", 6: "Blur"}
_POINTERS: tuple[Pointer, ...] = ("mouse", "pen", "touch")


_Side = Annotated[float, Meta(gt=0, le=1e6, description="px")]


class _Event(Struct):
    type: int
    timestamp: Milliseconds
    data: Any = None


class _Node(Struct, frozen=True):
    id: int = 1


class _Offset(Struct, frozen=True):
    left: Px = 0
    top: Px = 0


class _Snapshot(Struct):
    node: _Node = _Node()
    initialOffset: _Offset = _Offset()


class _Position(Struct):
    x: Px
    y: Px
    timeOffset: Milliseconds = 0


class _Data(Struct):
    """An increment, whichever: positions of moves, a press, a scroll, a resize."""

    source: int
    positions: list[_Position] = []
    type: int = -1
    id: int = 0
    x: Px | None = None
    y: Px | None = None
    width: Px | None = None
    height: Px | None = None
    pointerType: int | None = None


class _Custom(Struct):
    tag: str
    payload: Any = None


class Picture(Struct, kw_only=True):
    """What a page tells of its picture; without an id it is gone."""

    image_id: str | int | None
    x: Px = 0
    y: Px = 0
    width: _Side = 1
    height: _Side = 1
    image_file: str | None = None
    label: str | None = None
    prompt: str | None = None
    annotator: str | int | None = None


class Step(NamedTuple):
    """Something in a recording that matters to the pointer or to where the picture is."""

    time: float  # epoch ms
    type: EventType | None  # None: `picture` tells of the picture
    x: float | None = None  # px of the window's inside; of a scroll: of the document; of a resize:
    y: float | None = None  # width and height
    pointer: Pointer | None = None
    picture: Picture | None = None


def read(
    paths: Sequence[Path], unknown: Counter[str], on_read: OnRead, /, **options: str
) -> Iterator[Reading]:
    """The pictures of each recording; holds the pointer of one recording at a time.

    A recording with an event that is none of rrweb's is left out as a whole: what it said of
    scrolling or of the picture would be missing.
    """
    picture = _one_picture(options)
    tag = options.get("tag", "picture")
    ids = PictureIds()
    for number, path in enumerate(files(paths, ".json", ".jsonl", ".ndjson"), start=1):
        try:
            steps = sorted(_steps(path, tag, unknown, on_read), key=lambda step: step.time)
        except Bad as bad:
            yield from batched([RecordError(path.name, bad.rule, str(bad))])
            continue
        if picture and steps:
            steps.insert(0, Step(steps[0].time, None, picture=picture))
        if not any(step.picture for step in steps):
            raise ArchiveError(
                f"{path}: no Custom event {tag!r} says where a picture was; expected one with"
                " image_id, x, y, width, height for each picture, or the options `rectangle` and"
                " `image` if one picture was in one place all the time"
            )
        yield from batched(_views(path.name, f"recording-{number}", steps, ids, unknown))


def _one_picture(options: Mapping[str, str]) -> Picture | None:
    text = options.get("rectangle")
    if not text:
        return None
    if "image" not in options:
        raise OptionError("option rectangle: expected the option `image` too, the picture's name")
    try:
        x, y, width, height = map(float, text.split(","))
        sides = {"x": x, "y": y, "width": width, "height": height}
        return typed({"image_id": options["image"], **sides}, Picture)
    except (ValueError, Bad):
        raise OptionError(f"option rectangle: found {text!r}; expected x,y,width,height") from None


# --- the recording as steps ----------------------------------------------------------------------


def _steps(path: Path, tag: str, unknown: Counter[str], on_read: OnRead) -> Iterator[Step]:
    """What happened to pointer, window and picture, in the order of the file."""
    document = 1  # id of the node that scrolls with the page
    for event in _events(path, on_read):
        time = event.timestamp
        if event.type == _SNAPSHOT:
            snapshot = typed(event.data, _Snapshot)
            document = snapshot.node.id
            yield Step(time, "scroll", snapshot.initialOffset.left, snapshot.initialOffset.top)
        elif event.type == _META:
            meta = typed({**typed(event.data, dict[str, Any]), "source": _RESIZE}, _Data)
            yield Step(time, "resize", meta.width, meta.height)
        elif event.type == _CUSTOM and (custom := typed(event.data, _Custom)).tag == tag:
            yield Step(time, None, picture=_picture(custom.payload))
        elif event.type == _INCREMENT:
            yield from _increment(typed(event.data, _Data), time, document, unknown)


def _events(path: Path, on_read: OnRead) -> Iterator[_Event]:
    """Events of an array, of lines, or of `{"events": [...]}`, as rrweb's guide sends them."""
    for value in json_objects(path, on_read):
        events = value.get("events", [value])
        is_plain = isinstance(events, list) and all(isinstance(e, dict) for e in events)
        if "v" in value or not is_plain:
            raise ArchiveError(f"{path}: packed events; expected those that rrweb's `unpack` gives")
        yield from typed(events, list[_Event])


def _picture(payload: Any) -> Picture:
    """A payload that names a picture and where it is, or says that it is gone."""
    found = typed(payload, Picture)
    if found.image_id is not None:
        missing = [side for side in ("x", "y", "width", "height") if side not in payload]
        if missing:
            raise Bad("no-rectangle", f"a picture's event has no {missing[0]!r}; expected a number")
    return found


def _increment(data: _Data, time: float, document: int, unknown: Counter[str]) -> Iterator[Step]:
    if data.source in _MOVES:
        for at in data.positions:
            yield Step(time + at.timeOffset, "move", at.x, at.y, _MOVES[data.source])
    elif data.source == _SCROLL and data.id == document:
        yield Step(time, "scroll", data.x, data.y)
    elif data.source == _SCROLL:
        unknown["scroll of an element inside the page"] += 1
    elif data.source == _RESIZE:
        yield Step(time, "resize", data.width, data.height)
    elif data.source == _INTERACTION and data.type in _PRESSED:
        type, pointer = _PRESSED[data.type]
        if data.pointerType in (0, 1, 2):
            pointer = _POINTERS[data.pointerType]
        yield Step(time, type, data.x, data.y, pointer)
    elif data.source == _INTERACTION:
        unknown[f"MouseInteraction {_NAMES.get(data.type, 'of another type')}"] += 1


# --- steps as views ------------------------------------------------------------------------------


@dataclass
class _Shown:
    """A picture from when it appears until another does, with what happened meanwhile."""

    first: Picture
    window: tuple[float | None, float | None]
    events: list[Event] = field(default_factory=list)


def _views(
    name: str, session: str, steps: Sequence[Step], ids: PictureIds, unknown: Counter[str]
) -> Iterator[tuple[str, View] | RecordError]:
    """Each picture with its events, by time.

    A resize moves the picture nobody knows where: events have no place until the page tells anew.
    """
    start = steps[0].time
    scroll: tuple[float | None, float | None] = (0, 0)
    window: tuple[float | None, float | None] = (None, None)
    box: tuple[float, float, float, float] | None = None  # in the document
    shown: _Shown | None = None
    number = 0
    for step in steps:
        if step.picture is not None:
            if shown and shown.first.image_id != step.picture.image_id:
                yield f"{name}, picture {number + 1}", _view(shown, ids, session, number, start)
                shown, number = None, number + 1
            if step.picture.image_id is None:
                continue
            box = _in_document(step.picture, scroll)
            shown = shown or _Shown(step.picture, window)
            continue
        if step.type == "scroll":
            scroll = step.x, step.y
        elif step.type == "resize":
            box = box if window in ((step.x, step.y), (None, None)) else None
            window = step.x, step.y
        if shown:
            shown.events.append(_event(step, start, box, scroll))
        elif step.type not in ("scroll", "resize"):
            unknown["pointer while no picture was shown"] += 1
    if shown:
        yield f"{name}, picture {number + 1}", _view(shown, ids, session, number, start)


def _in_document(
    picture: Picture, scroll: tuple[float | None, float | None]
) -> tuple[float, float, float, float]:
    left, top = picture.x + (scroll[0] or 0), picture.y + (scroll[1] or 0)
    return left, top, picture.width, picture.height


def _event(
    step: Step,
    start: float,
    box: tuple[float, float, float, float] | None,
    scroll: tuple[float | None, float | None],
) -> Event:
    assert step.type is not None
    x = y = None
    if step.type not in ("scroll", "resize") and box and step.x is not None and step.y is not None:
        x = (step.x + (scroll[0] or 0) - box[0]) / box[2]
        y = (step.y + (scroll[1] or 0) - box[1]) / box[3]
    return Event(type=step.type, t=step.time - start, x=x, y=y, pointer=step.pointer)


def _view(shown: _Shown, ids: PictureIds, session: str, number: int, start: float) -> View:
    first = shown.first
    name = str(first.image_id)
    return View(
        byproducts=1,
        kind="tracing",
        image=Image(id=ids(name), file=first.image_file or name),
        asked=Asked(label=first.label, prompt=first.prompt),
        shown=Shown(x=first.x, y=first.y, width=first.width, height=first.height),
        device=Device(viewport_width=shown.window[0], viewport_height=shown.window[1]),
        session=session,
        page=number,
        annotator=None if first.annotator is None else str(first.annotator),
        epoch=start,
        events=tuple(shown.events),
    )


IMPORTER = Importer(
    name="rrweb",
    title="rrweb",
    kind="tracing",
    files="recordings as JSON: an array, an event a line, or {\"events\": [...]}; a session a file",
    read=read,
    options={
        "tag": "tag of the Custom events that say where the picture is (default: picture)",
        "rectangle": "x,y,width,height of the one picture, px, in the page scrolled to its top",
        "image": "name of that one picture",
    },
    url="https://github.com/rrweb-io/rrweb",
    description="Sessions in a browser, recorded with rrweb, as far as the pointer was concerned"
    " while a picture was shown.",
    limits=(
        ("Thinned out", "Moves are sampled every 50 ms unless the recorder was told otherwise."),
        ("Scrolling", "Scrolls of the page are sampled every 100 ms: while it scrolls, places lag"
         " behind. If the picture is in an element that scrolls by itself, the page must tell its"
         " place anew after each."),
        ("Resized windows", "After a resize no event has a place until the page tells the"
         " picture's anew."),
        ("Presses", "A right click, a double click and the focus of elements are left out."),
    ),
)  # fmt: skip
"""Kind tracing: what the pointer did over a picture."""
