"""Pages of a tagging log: one picture, icons dragged onto its objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from luab_data.errors import DatasetError
from luab_data.ragged import ragged
from luab_data.reports.pages import (
    Box,
    Event,
    Finding,
    Key,
    Page,
    PageReader,
    Picture,
    Replay,
    Values,
    boxes_of,
    in_order,
    is_turned,
    on_page,
    points,
)
from luab_data.store.find import find_rows, not_there, read_image_id
from luab_data.store.folder import read_manifest
from luab_data.tools import BOARD_HEIGHT
from luab_data.words import counted

if TYPE_CHECKING:
    from luab_data.kinds import Tagging

COLUMNS = (
    *("image_id", "original_image_width", "original_image_height", "image_height"),
    *(f"action_histories_{name}" for name in ("action_type", "icon_type", "time_at_ms")),
    *(f"action_histories_point_to_{axis}" for axis in "xy"),
    *("category_histories_category_name", "category_histories_time_at_ms"),
    *("mouse_tracking_time_at_ms", "mouse_tracking_x", "mouse_tracking_y"),
)
"""Columns of `actions` that a replay needs."""

IMAGE_COLUMNS = ("width", "height", "boxes", "box_label")
"""Columns of `default` that a replay takes if they are there."""

_ICON_EVENTS = {"add": "add", "move": "shift", "remove": "remove"}
_DONE = {"add": "added", "shift": "moved", "remove": "removed"}


class TaggingPages(PageReader):
    """A page is one image; where several annotators saw it, one of its views.

    Args:
        kind: of log.
    """

    why = ("the most icon actions", "a median image", "the most removals")
    lead = (
        "What the tool logged of one image, at the place and time it happened. The pointer is not"
        " logged while an icon is dragged. Icons that were moved or removed later stay as faint"
        " rings; boxes of classes that got no icon are dotted. While playing, pauses of more than"
        " 3 s are cut short."
    )
    legend = "add"
    findings = (
        Finding(
            name="icon_precision", text="of the icons lie on an object of their class at the end"
        ),
        Finding(name="recall", text="of the classes in an image got an icon"),
        Finding(name="time_page_ms", text="is the time spent on an image (median)"),
        Finding(name="keyboard_share", text="of the steps between superclasses are by keyboard"),
        Finding(name="superclass_revisit_share", text="of the pages go back to a superclass"),
    )

    def __init__(self, kind: Tagging) -> None:
        self._kind = kind
        self.key_columns = kind.view_key
        self.choice_columns = (
            *(*self.key_columns, "worker_id"),
            *("action_histories_action_type", "mouse_tracking_time_at_ms"),
        )

    def facts_of(self, events: pa.Table) -> pa.Table:
        """Actions on icons, trace records, removals."""
        kinds = ragged(events["action_histories_action_type"], null="")
        removed = kinds._replace(values=(kinds.values == "remove").astype(np.int64))
        return pa.table(
            {
                **{name: events[name] for name in (*self.key_columns, "worker_id")},
                "size": pa.array(kinds.lengths),
                "activity": pa.array(ragged(events["mouse_tracking_time_at_ms"]).lengths),
                "undone": pa.array(removed.reduce(np.add, 0)),
            }
        )

    def named(self, folder: Path, text: str) -> list[Key]:
        """The image with this id, or with this file name: all its views."""
        image_id = read_image_id(text, self._kind.images)
        rows = find_rows(folder, self._kind.events, [image_id], self.key_columns)[0]
        if not len(rows):
            raise DatasetError(
                not_there(folder, self._kind.images, image_id, read_manifest(folder))
            )
        return [tuple(row.values()) for row in rows.to_pylist()]

    def read(self, folder: Path, keys: Sequence[Key]) -> list[Page]:
        """The actions on each image, with its boxes where they are known."""
        ids = {key[0] for key in keys}
        columns = [*dict.fromkeys([*self.key_columns, *COLUMNS, "worker_id", "time_spent_ms"])]
        actions = find_rows(folder, self._kind.events, ids, columns)[0].to_pylist()
        views = {tuple(row[name] for name in self.key_columns): row for row in actions}
        known = read_manifest(folder)["schemas"]["default"]
        wanted = [name for name in IMAGE_COLUMNS if name in known]
        rows = find_rows(folder, self._kind.images, ids, wanted)[0].to_pylist()
        images = {row["image_id"]: row for row in rows}
        found = []
        for key in keys:
            row, image_id = views[key], key[0]
            spent, worker = row["time_spent_ms"], row["worker_id"]
            replay = self._page(row, images.get(image_id, {}))
            facts = (
                *_facts(replay),
                *((f"{spent / 1000:.1f} s on the page",) if spent else ()),
                f"annotator {worker or 'unknown'}",
            )
            title = ", ".join([f"Image {image_id}", *(f"view {number}" for number in key[1:])])
            found.append(Page(replay=replay, title=title, facts=facts))
        return found

    def alone(self, row: Values, image: Values, *, in_fractions: bool) -> Replay:
        """The page is the picture; or it is 1 x 1."""
        if in_fractions:
            return self._page({**row, "image_height": 1}, {"width": 1, "height": 1})
        return self._page(row, image)

    def _page(self, row: Values, image: Values) -> Replay:
        return page_of(row, image, self._kind.vocabulary.names)


class OwnTaggingPages(TaggingPages):
    """Pages of anybody's tool. Where it logged no times at all, all is at 0, in its order."""

    lead = (
        "What was logged of one image, at the place and time it happened. Icons that were moved or"
        " removed later stay as faint rings; boxes of classes that got no icon are dotted. While"
        " playing, pauses of more than 3 s are cut short."
    )

    def _page(self, row: Values, image: Values) -> Replay:
        times = {name: row[name] or () for name in COLUMNS if name.endswith("time_at_ms")}
        if all(time is None for some in times.values() for time in some):
            row = {**row, **{name: [0] * len(some) for name, some in times.items()}}
        return super()._page(row, image)


def page_of(row: Values, image: Values, classes: Sequence[str]) -> Replay:
    """The replay of one image's page: one row of `actions`.

    Args:
        row: with COLUMNS.
        classes: names by label.
        image: its row of `default` with IMAGE_COLUMNS, as far as they are there: the file's size
            (else that of the log, which can be 0, and whose imageWidth copies imageHeight; without
            any the picture is a square) and the boxes of its objects.
    """
    width, height = image.get("width"), image.get("height")
    if not (width and height):
        width, height = row["original_image_width"], row["original_image_height"]
    h = float(row["image_height"] or BOARD_HEIGHT)
    shown = (height, width) if is_turned(row, (width, height)) else (width, height)
    w = h * shown[0] / shown[1] if width and height else h
    picture = Picture(
        slot=0, x=0, y=0, w=w, h=h, image_id=str(row["image_id"]),
        boxes=_boxes(row, image, (width, height), classes),
    )  # fmt: skip
    trace = ("mouse_tracking_time_at_ms", "mouse_tracking_x", "mouse_tracking_y")
    moves = points(row, trace, "move", picture, 0)
    events = in_order([*_categories(row), *_icons(row, picture), *moves])
    return Replay(pictures=(picture,), events=events, is_grid=False)


def _boxes(
    row: Values, image: Values, size: tuple[float | None, float | None], classes: Sequence[str]
) -> tuple[Box, ...]:
    """The image's boxes, and whether an icon of their class stayed on it in this view."""
    history = (row[f"action_histories_{name}"] or () for name in ("icon_type", "action_type"))
    last = dict(zip(*history, strict=False))
    tagged = {name for name, action in last.items() if action != "remove"}
    names = [classes[label] for label in image.get("box_label") or ()]
    return boxes_of(image, size, row, [(name, name not in tagged) for name in names])


def _categories(row: Values) -> Iterator[Event]:
    names = row["category_histories_category_name"] or ()
    times = row["category_histories_time_at_ms"] or ()
    for name, time in zip(names, times, strict=False):
        if time is not None and name:
            yield Event(time, "category", 0, name=name)


def _icons(row: Values, picture: Picture) -> Iterator[Event]:
    names = ("action_type", "icon_type", "time_at_ms", "point_to_x", "point_to_y")
    lists = (row[f"action_histories_{name}"] or () for name in names)
    for action, icon, time, x, y in zip(*lists, strict=False):
        if time is None or action not in _ICON_EVENTS:
            continue
        kind = _ICON_EVENTS[action]
        if kind == "remove":
            yield Event(time, kind, 0, name=icon or "")
        elif at := on_page(picture, x, y):
            yield Event(time, kind, 0, *at, icon or "")


def _facts(replay: Replay) -> Iterator[str]:
    for kind, done in _DONE.items():
        if number := replay.count(kind):
            yield f"{counted(number, 'icon')} {done}"
    yield counted(replay.count("move"), "trace record")
    yield f"{replay.duration_ms / 1000:.1f} s from first to last event"
