"""A replay as the SVG of what is where at the end of its page, and as the JSON of replay.js.

The player shows that SVG; replay.js only hides what had not happened yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import NamedTuple

import numpy as np

from luab_data.ragged import Floats, Ints
from luab_data.reports.pages import ICON_EVENTS, Event, Picture, Replay
from luab_data.tools import SLOTS

_LARGEST_ID, _GLYPH = 19.0, 0.62
"""Font size of an id in an empty frame, px, and the width of a character in font sizes."""
_TOLERANCE_PX = 3.0


class Mark(NamedTuple):
    """A click, or an icon where it was put.

    `event` is the number of its event, `until` that of the one that moved or removed the icon.
    """

    event: int
    until: int | None
    kind: str
    x: float
    y: float
    name: str


class Path(NamedTuple):
    """Where the pointer went, px of the page.

    `starts` has for each event whether the path starts anew with it; `trail` and `jumps` are SVG
    paths: where the pointer was, and from where to where it was not logged.
    """

    starts: tuple[bool, ...]
    trail: str
    jumps: str


def path_of(events: Sequence[Event]) -> Path:
    """The path of the pointer.

    A new stretch of it starts in another picture and when one is entered again. An icon is carried
    without a record (docs/formats.md#drags), so a stretch ends there too.
    """
    trail: list[str] = []
    jumps: list[str] = []
    starts: list[bool] = []
    last: Event | None = None
    entered = True
    for event in events:
        is_on_path = event.kind in ("move", "click")
        starts.append(is_on_path and (last is None or entered or last.picture != event.picture))
        if is_on_path:
            point = f"{_px(event.x)} {_px(event.y)}"
            if starts[-1] and last is not None:
                jumps.append(f"M{_px(last.x)} {_px(last.y)}L{point}")
            trail.append(("M" if starts[-1] else "L") + point)
            entered = False
        else:
            entered |= event.kind in ("enter", "category", "add", "shift")
        if event.x == event.x:
            last = event
    return Path(tuple(starts), "".join(trail), "".join(jumps))


def for_player(replay: Replay) -> str:
    """What replay.js needs, as JSON that ends no script element and opens no comment in one.

    An event is [ms, kind, picture, x, y, name, whether the path starts anew].
    """
    value = {
        "grid": replay.is_grid,
        "view": [round(edge, 1) for edge in replay.view],
        "duration": replay.duration_ms,
        "selected": [p.selected is True for p in replay.pictures],
        "events": [
            [e.time_ms, e.kind, e.picture, *_at(e), e.name, int(start)]
            for e, start in zip(replay.events, path_of(replay.events).starts, strict=True)
        ],
    }
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _at(event: Event) -> tuple[float | None, float | None]:
    known = event.x == event.x
    return (round(event.x, 1), round(event.y, 1)) if known else (None, None)


def _px(value: float) -> str:
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def marks_of(events: Sequence[Event]) -> tuple[Mark, ...]:
    """Every click, and every place an icon was put."""
    found: list[Mark] = []
    on_picture: dict[str, int] = {}  # icon -> its latest mark
    for number, event in enumerate(events):
        if event.kind in ICON_EVENTS and event.name in on_picture:
            earlier = on_picture.pop(event.name)
            found[earlier] = found[earlier]._replace(until=number)
        if event.kind in ("add", "shift"):
            on_picture[event.name] = len(found)
        if event.kind in ("click", "add", "shift"):
            x, y = round(event.x, 1), round(event.y, 1)
            found.append(Mark(number, None, event.kind, x, y, event.name))
    return tuple(found)


# --- slots that were not logged ------------------------------------------------------------------


def empty_slots(pictures: Sequence[Picture], num_slots: int = SLOTS) -> Floats:
    """Frames of the slots that were not logged, if the pictures lie on one clear grid.

    Args:
        pictures: that were logged.
        num_slots: of the page.
    Returns: (num_empty, 4) left, top, width, height, px, of the median size; none if rows and
        columns of the logged pictures do not fix the grid (unequal columns, or too few pictures).
    """
    logged = [p for p in pictures if p.slot is not None and p.slot >= 0]
    slot = np.array([p.slot for p in logged], np.int64)
    frame = np.array([(p.x, p.y, p.w, p.h) for p in logged], np.float64).reshape(-1, 4)
    fits = []
    for num_columns in range(2, 9):
        across = _spacing(slot % num_columns, frame[:, 0])
        down = _spacing(slot // num_columns, frame[:, 1])
        if across and down:
            fits.append((num_columns, np.array([across, down])))
    if len(slot) < 4 or len(fits) != 1:
        return np.zeros((0, 4))
    num_columns, spacing = fits[0]
    missing = np.setdiff1d(np.arange(num_slots), slot)
    index = np.column_stack([missing % num_columns, missing // num_columns])
    corner = spacing[:, 0] + index * spacing[:, 1]
    # Pictures differ in size; neighbours should stay apart.
    size = np.minimum(np.median(frame[:, 2:], axis=0), 0.85 * spacing[:, 1])
    return np.column_stack([corner, np.broadcast_to(size, corner.shape)])


def _spacing(index: Ints, edge: Floats) -> tuple[float, float] | None:
    """Where column (row) 0 starts, and from one to the next; None if the pictures disagree."""
    if len(np.unique(index)) < 2:
        return None
    step, start = np.polyfit(index, edge, 1)
    agrees = np.abs(start + step * index - edge).max() <= _TOLERANCE_PX
    return (float(start), float(step)) if agrees and step > 0 else None


# --- SVG -----------------------------------------------------------------------------------------


def svg(
    replay: Replay,
    *,
    alt: str,
    sources: Mapping[str, str] | None = None,
    name: str = "",
    standalone: bool = False,
) -> str:
    """The page as it was at its end, as an SVG element; everything that came from data is escaped.

    Args:
        alt: what it shows, for those who cannot see it.
        sources: image_id -> data URI of its picture; others are drawn as boxes with the id.
        name: of the group of pictures, for `use`.
        standalone: whether it brings its own size and (light) colours, to be a file.
    """
    view, path = replay.view, path_of(replay.events)
    box = " ".join(map(_px, view))
    head = f'<svg class="page" viewBox="{box}" role="img" aria-label="{escape(alt)}"'
    style = ""
    if standalone:
        head += f' xmlns="http://www.w3.org/2000/svg" width="{view[2]:.0f}" height="{view[3]:.0f}"'
        style = f"<style>{_own_style()}</style>"
    pictures = "".join(
        _picture(p, number, (sources or {}).get(p.image_id))
        for number, p in enumerate(replay.pictures)
    )
    slots = empty_slots(replay.pictures, replay.num_slots)
    empty = "".join(f'<rect class="empty" {_frame(*frame)} rx="6"/>' for frame in slots)
    marks = "".join(map(_mark, marks_of(replay.events)))
    group = f'<g id="{escape(name)}">' if name else "<g>"
    pointer = (
        "" if standalone else '<g class="pointer" visibility="hidden"><circle r="30"/>'
        '<path d="M0 0 0 26 6.5 20.5 11 30 15 28 10.6 18.9 19 18.5Z"/></g>'
    )  # fmt: skip
    return (
        f'{head}>{style}{group}{empty}{pictures}</g><path class="jumps" d="{path.jumps}"/>'
        f'<path class="halo" d="{path.trail}"/><path class="trail" d="{path.trail}"/>'
        f'<path class="recent" d=""/><g class="marks">{marks}</g>{pointer}</svg>'
    )


def _frame(x: float, y: float, w: float, h: float) -> str:
    return f'x="{_px(x)}" y="{_px(y)}" width="{_px(w)}" height="{_px(h)}"'


def _picture(p: Picture, number: int, source: str | None) -> str:
    frame, title = _frame(p.x, p.y, p.w, p.h), escape(p.image_id)
    selected = ", selected" if p.selected else ""
    inside = f'<image {frame} preserveAspectRatio="none" href="{source}"/>'
    if source is None:
        font = min(_LARGEST_ID, p.w / (_GLYPH * max(len(p.image_id), 1)))
        at = f'x="{_px(p.x + p.w / 2)}" y="{_px(p.y + p.h / 2)}"'
        inside = f'<text class="id" {at} font-size="{font:.1f}">{title}</text>'
    for b in p.boxes:
        corner = p.x + b.x0 * p.w, p.y + b.y0 * p.h
        size = (b.x1 - b.x0) * p.w, (b.y1 - b.y0) * p.h
        look, named = " missed" if b.is_missed else "", escape(b.name)
        named = f"<title>{named}{', missed' if b.is_missed else ''}</title>" if named else ""
        inside += f'<rect class="box{look}" {_frame(*corner, *size)}>{named}</rect>'
    return (
        f'<g class="picture{" selected" if p.selected else ""}" data-picture="{number}">'
        f'<title>{title}{selected}</title><rect class="frame" {frame}/>{inside}'
        f'<rect class="edge" {frame}/></g>'
    )


def _mark(mark: Mark) -> str:
    past = "" if mark.until is None else f' data-until="{mark.until}"'
    name = f'<text y="-14">{escape(mark.name)}</text>' if mark.name else ""
    return (
        f'<g class="mark {mark.kind}{" past" if past else ""}" data-event="{mark.event}"{past}'
        f' transform="translate({_px(mark.x)} {_px(mark.y)})">{name}<circle r="9"/>'
        '<circle class="dot" r="3"/></g>'
    )


def _own_style() -> str:
    """The rules of a page's picture with the values of the light colours put in, for any viewer."""
    here = files("luab_data.reports")
    light = (here / "style.css").read_text(encoding="utf-8").partition("}")[0]
    colours = dict(re.findall(r"--([\w-]+): ([^;]+);", light))
    rules = (here / "replay.css").read_text()
    return re.sub(r"var\(--([\w-]+)\)", lambda m: colours[m[1]], rules)
