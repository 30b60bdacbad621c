"""A replay as the template draws it: its final state in SVG, and the JSON that replay.js plays.

replay.js draws the same for any time; at the end of a page the two agree, and a test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luab_data.figures.page import SLOTS, empty_slots
from luab_data.reports.replay import Event, Replay

MOST_VISIBLE_RATIO = 1.2
"""Pages taller than this many widths are shown in a window that scrolls, beside a map."""

_LARGEST_ID, _GLYPH = 19.0, 0.62
"""Font size of an id in an empty frame, px, and the width of a character in font sizes."""

_VERBS = {
    "click": "click",
    "add": "icon added",
    "shift": "icon moved",
    "remove": "icon removed",
}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A click, or an icon where it was put.

    Attributes:
        event: number of its event. name: of the icon. past: whether it was moved or removed later.
    """

    event: int
    kind: str
    x: float
    y: float
    name: str
    past: bool


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What the template needs of one page; all coordinates are px of the page, times ms.

    Attributes:
        facts: what is in it, a few words each.
        alt: the same as one sentence.
        empty: frames of slots that were not logged.
        trail, jumps: SVG paths: where the pointer was, and from where to where it was not logged.
        spans: start and length of each visit of a picture. ticks: time and kind of clicks, icons.
        json: the replay, safe inside a script element.
    """

    kind: str
    title: str
    why: str
    facts: tuple[str, ...]
    alt: str
    view: tuple[float, ...]
    pictures: tuple[dict[str, Any], ...]
    empty: tuple[tuple[float, ...], ...]
    trail: str
    jumps: str
    marks: tuple[Mark, ...]
    spans: tuple[tuple[int, int], ...]
    ticks: tuple[tuple[int, str], ...]
    duration: int
    end: str
    scrolls: bool
    json: str


def drawn(
    replay: Replay,
    *,
    title: str,
    why: str,
    sources: Mapping[str, str],
    extra: Sequence[str] = (),
) -> Drawn:
    """The page, drawn.

    Args:
        replay: the page.
        title, why: its heading: what it is, why it is shown.
        sources: image_id -> data URI of its picture; others are drawn as boxes with the id.
        extra: more facts.
    """
    trail, jumps = paths(replay.events)
    facts = (*_facts(replay), *extra)
    plain = replay.as_dict()
    view = plain["view"]
    return Drawn(
        kind=replay.kind,
        title=title,
        why=why,
        facts=facts,
        alt=f"{title}: {', '.join(facts)}",
        view=tuple(view),
        pictures=_pictures(replay, plain, sources),
        empty=_empty(replay),
        trail=trail,
        jumps=jumps,
        marks=marks(replay.events),
        spans=visits(replay.events),
        ticks=tuple((e.time_ms, e.kind) for e in replay.events if e.kind in _VERBS),
        duration=replay.duration_ms,
        end=f"{replay.duration_ms / 1000:.2f} s",
        scrolls=view[3] > MOST_VISIBLE_RATIO * view[2],
        json=script_json(plain),
    )


def script_json(value: Any) -> str:
    """JSON that ends no script element and opens no comment in one, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def paths(events: Sequence[Event]) -> tuple[str, str]:
    """SVG paths of the pointer: where it was logged, and straight lines where it was not.

    A new stretch starts in another picture and when one is entered again. An icon is carried
    without a record (metrics 6.2-6), so a stretch ends there too.
    """
    trail: list[str] = []
    jumps: list[str] = []
    last: Event | None = None
    entered = True
    for event in events:
        if event.kind in ("move", "click"):
            point = f"{_px(event.x)} {_px(event.y)}"
            starts = last is None or entered or last.picture != event.picture
            if starts and last is not None:
                jumps.append(f"M{_px(last.x)} {_px(last.y)}L{point}")
            trail.append(("M" if starts else "L") + point)
            entered = False
        else:
            entered |= event.kind in ("enter", "category", "add", "shift")
        if event.x == event.x:
            last = event
    return "".join(trail), "".join(jumps)


def marks(events: Sequence[Event]) -> tuple[Mark, ...]:
    """Every click, and every place an icon was put; those it left are past."""
    found: list[Mark] = []
    latest = {
        e.name: place for place, e in enumerate(events) if e.kind in ("add", "shift", "remove")
    }
    for place, event in enumerate(events):
        if event.kind in ("click", "add", "shift"):
            past = event.kind != "click" and latest[event.name] != place
            found.append(
                Mark(
                    event=place, kind=event.kind, x=round(event.x, 1), y=round(event.y, 1),
                    name=event.name, past=past,
                )
            )  # fmt: skip
    return tuple(found)


def visits(events: Sequence[Event]) -> tuple[tuple[int, int], ...]:
    """Start and length of the time that the pointer was over each picture, ms.

    A visit without a leave ends when the next picture is entered, or with the page.
    """
    found: list[tuple[int, int]] = []
    inside: Event | None = None
    for event in events:
        if event.kind not in ("enter", "leave"):
            continue
        if inside and (event.kind == "enter" or event.picture == inside.picture):
            found.append((inside.time_ms, event.time_ms - inside.time_ms))
            inside = None
        if event.kind == "enter":
            inside = event
    if inside:
        found.append((inside.time_ms, events[-1].time_ms - inside.time_ms))
    return tuple(found)


def _px(value: float) -> str:
    return f"{round(value, 1):g}" if abs(value) < 1e5 else f"{value:.1f}"


def _pictures(
    replay: Replay, plain: Mapping[str, Any], sources: Mapping[str, str]
) -> tuple[dict[str, Any], ...]:
    found = []
    for picture, shown in zip(replay.pictures, plain["pictures"], strict=True):
        boxes = [
            [
                round(picture.x + x0 * picture.w, 1), round(picture.y + y0 * picture.h, 1),
                round((x1 - x0) * picture.w, 1), round((y1 - y0) * picture.h, 1),
            ]
            for x0, y0, x1, y1 in picture.boxes
        ]  # fmt: skip
        font = min(_LARGEST_ID, picture.w / (_GLYPH * max(len(picture.image_id), 1)))
        source = sources.get(picture.image_id)
        found.append({**shown, "boxes": boxes, "src": source, "font": round(font, 1)})
    return tuple(found)


def _empty(replay: Replay) -> tuple[tuple[float, ...], ...]:
    frames = empty_slots(replay.pictures)
    return tuple(tuple(round(float(v), 1) for v in row) for row in frames)


def _facts(replay: Replay) -> tuple[str, ...]:
    number, moves = len(replay.pictures), replay.count("move")
    seconds = f"{replay.duration_ms / 1000:.1f} s from first to last event"
    if replay.kind == "coco-ab":
        done = [_some(replay.count(k), f"{name}") for k, name in _VERBS.items() if k != "click"]
        return (
            *(text for text in done if text),
            _some(moves, "trace record") or "no trace",
            seconds,
        )
    selected = sum(p.selected is True for p in replay.pictures)
    left_out = (f"{replay.num_left_out} never loaded, left out",) if replay.num_left_out else ()
    return (
        f"{number} of {SLOTS} pictures logged",
        f"{selected} selected",
        _some(replay.count("click"), "click") or "no clicks",
        _some(moves, "trace record") or "no trace",
        seconds,
        *left_out,
    )


def _some(number: int, name: str) -> str:
    if not number:
        return ""
    if name.startswith("icon "):
        return f"{number} {'icon' if number == 1 else 'icons'} {name.removeprefix('icon ')}"
    return f"{number:,} {name}{'' if number == 1 else 's'}"
