"""What happened on a page, and how a kind of log has it read.

Events: enter and leave (the pointer over a picture), move (a trace record), click (one that
selected; deselecting clicks are not logged), add, shift and remove (of an icon), category (another
superclass of icons is shown). A record without a time or a point, or with a point that lies on no
screen, cannot be shown and is left out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from luab_data.columns.regions import sort_corners

Values: TypeAlias = Mapping[str, Any]
"""One row of a table, as `to_pylist` gives it."""
Key: TypeAlias = tuple[Any, ...]
"""What names a page of a dataset: (assignment_id, page_idx), or (image_id,)."""
ORDER = ("category", "enter", "move", "click", "add", "shift", "remove", "leave")
"""What comes first at one time: a trace ends in its click, a visit in its leave."""

ICON_EVENTS = ("add", "shift", "remove")

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
        slot: its place in the grid, from 0; None if not logged; 0 of a page of one picture.
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
        num_slots: places of the page, where their frames are to be shown too.
    """

    pictures: tuple[Picture, ...]
    events: tuple[Event, ...]
    is_grid: bool
    num_left_out: int = 0
    num_slots: int = 0

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


def boxes_of(
    image: Values,
    size: tuple[float | None, float | None],
    row: Values,
    names: Iterable[tuple[Any, ...]] = repeat(()),
) -> tuple[Box, ...]:
    """The boxes of a row of `default`, sorted; none without a size, or of a picture shown turned.

    Args:
        size: width and height that they are px of.
        row: the image's row of the log.
        names: name and `is_missed` of each, where there are several classes.
    """
    width, height = size
    if not (width and height) or is_turned(row, size):
        return ()
    boxes = sort_corners(np.reshape(image.get("boxes") or (), (-1, 4)))
    boxes = (boxes / (width, height, width, height)).tolist()
    return tuple(Box(*box, *name) for box, name in zip(boxes, names, strict=False))


def is_turned(row: Values, size: tuple[float | None, float | None]) -> bool:
    """Whether a browser turned the picture, as columns.regions.is_turned says."""
    logged = row.get("original_image_width"), row.get("original_image_height")
    return logged == size[::-1] and size[0] != size[1]


def in_order(events: Iterable[Event]) -> tuple[Event, ...]:
    """By time, then in ORDER; actions on icons at one time stay as logged. Starts at 0 ms."""
    rank = {kind: ORDER.index("add" if kind in ICON_EVENTS else kind) for kind in ORDER}
    found = sorted(events, key=lambda e: (e.time_ms, rank[e.kind]))
    return tuple(e._replace(time_ms=e.time_ms - found[0].time_ms) for e in found)


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


def visits_of(events: Sequence[Event]) -> tuple[tuple[int, int], ...]:
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


# --- what a kind of log has ----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page that was read: its replay, its title, and a few words each of what is in it."""

    replay: Replay
    title: str
    facts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a reader would quote: a measure, and the words after its value.

    Attributes:
        name: of the measure; left out where it has no value.
        text: goes on after the value; in it `{n}` is the sample size.
        beside, beside_text: another measure, or `null` for the null of this one, and the words in
            which `{value}` is its value; left out where it has none.
    """

    name: str
    text: str
    beside: str = ""
    beside_text: str = ""


class PageReader(ABC):
    """How pages of one kind of log are listed, named, read and told of.

    Attributes:
        key_columns: of `events`: those of a Key.
        choice_columns: of `events`: what `facts_of` reads.
        why: words for the largest page, the median one and the one with most taken back.
        lead: what a replay shows and what it cannot.
        positions: where pictures and points of a replay are from.
        legend: kinds of marks that occur, for the legend: `click` or `add`.
        findings: the first three that have a value open the report.
    """

    key_columns: tuple[str, ...]
    choice_columns: tuple[str, ...]
    why: ClassVar[tuple[str, str, str]]
    lead: ClassVar[str]
    positions: ClassVar[str] = (
        "Positions in replays are the logged fractions of a picture times its logged size; where"
        " the log's width is a copy of its height, the file's shape gives the width. Records that"
        " lie on no screen are not shown."
    )
    legend: ClassVar[str]
    findings: ClassVar[tuple[Finding, ...]]

    @abstractmethod
    def facts_of(self, events: pa.Table) -> pa.Table:
        """What the choice goes by, one row a row of `events`.

        Args:
            events: with choice_columns.
        Returns: key_columns, worker_id; `size` of a page, `activity` on it and times something was
            `undone`: int64, summed over the page.
        """

    @abstractmethod
    def named(self, folder: Path, text: str) -> list[Key]:
        """The pages that a user means: by the page's name or the id of an image on it.

        Raises:
            DatasetError: no such page or image; says which are near.
        """

    @abstractmethod
    def read(self, folder: Path, keys: Sequence[Key]) -> list[Page]:
        """The pages of these keys, which are in the dataset, in their order."""

    @abstractmethod
    def alone(self, row: Values, image: Values, *, in_fractions: bool) -> Replay:
        """One picture alone, in px of its page, or in fractions of the picture without its boxes.

        Args:
            row: of `events`. image: of `default`.
        """
