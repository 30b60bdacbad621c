"""Views of a tracing dataset: one picture, the way over it, what was pointed at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.tracing import is_point
from luab_data.errors import DatasetError
from luab_data.ragged import Ragged, bounds_of
from luab_data.reports.pages import (
    Event,
    Finding,
    Key,
    Page,
    PageReader,
    Picture,
    Replay,
    Values,
    in_order,
    on_page,
)
from luab_data.schema_views import TRACING_TRACES, TRACING_VIEWS
from luab_data.store.find import find_rows, not_there, read_image_id
from luab_data.store.folder import read_manifest
from luab_data.tools import BOARD_HEIGHT
from luab_data.words import counted

COLUMNS = (
    *("image_id", "view", "width", "height", "shown_width", "shown_height", "event"),
    *("event_time_ms", "event_x", "event_y", "event_label"),
)
"""Columns of `traces` that a replay needs."""

_KINDS = {"enter": "enter", "leave": "leave", "move": "move", "fixation": "move",
          "click": "click", "add": "click"}  # fmt: skip
_STEP_MS = 100
"""From event to event where the log has no time of any."""


class TracingPages(PageReader):
    """A page is one view of an image."""

    key_columns = ("image_id", "view")
    choice_columns = ("image_id", "view", "worker_id", "event")
    why = ("the longest trace", "a median trace", "the most taken back")
    lead = (
        "What the log has of one view, at the place and time it happened: the way of the pointer or"
        " the gaze, and rings where something was clicked or put. A log without times is shown in"
        " its order, ten events a second. While playing, pauses of more than 3 s are cut short."
    )
    legend = "click"
    findings = (
        Finding(name="time_view_ms", text="is the duration of a view (median)"),
        Finding(name="points_per_view", text="has a trace (median)"),
        Finding(name="outside_share", text="of the points are off the picture"),
        Finding(
            name="central_cell_share",
            text="of a view's points are in the central of 11 x 11 cells",
            beside="null", beside_text="{value} if they were spread evenly",
        ),
        Finding(name="traced_share", text="of the views have a trace"),
    )  # fmt: skip

    def facts_of(self, events: pa.Table) -> pa.Table:
        """Points, events; nothing is taken back."""
        bounds = bounds_of(events["event"])
        points = Ragged(is_point(events["event"]).astype(np.int64), bounds).reduce(np.add, 0)
        return pa.table(
            {
                **{name: events[name] for name in (*self.key_columns, "worker_id")},
                "size": pa.array(points),
                "activity": pa.array(np.diff(bounds)),
                "undone": pa.array(np.zeros(len(events), np.int64)),
            }
        )

    def named(self, folder: Path, text: str) -> list[Key]:
        """Every view of the image of this id or file name; `IMAGE:VIEW` is one of them."""
        whole, number = self._views(folder, text), re.fullmatch(r"(.+):(\d+)", text)
        if not whole and number:
            view = int(number[2])
            whole = [key for key in self._views(folder, number[1]) if key[1] == view]
        if not whole:
            image_id = read_image_id(text, TRACING_VIEWS)
            raise DatasetError(not_there(folder, TRACING_VIEWS, image_id, read_manifest(folder)))
        return whole

    def _views(self, folder: Path, text: str) -> list[Key]:
        image_id = read_image_id(text, TRACING_VIEWS)
        rows = find_rows(folder, TRACING_VIEWS, [image_id], ["view"])[0]
        return [(image_id, view) for view in sorted(rows["view"].to_pylist())]

    def read(self, folder: Path, keys: Sequence[Key]) -> list[Page]:
        """What was logged of each view."""
        columns = [*COLUMNS, "worker_id", "label", "prompt"]
        traces = find_rows(folder, TRACING_TRACES, {key[0] for key in keys}, columns)[0]
        found = []
        for image_id, view in keys:
            mask = pc.and_(pc.equal(traces["image_id"], image_id), pc.equal(traces["view"], view))
            (row, *_) = traces.filter(mask).to_pylist()
            replay = self.alone(row, {}, in_fractions=False)
            asked = row["prompt"] or row["label"]
            facts = (
                *((f"asked: {asked}",) if asked else ()),
                *_facts(replay),
                f"annotator {row['worker_id'] or 'unknown'}",
            )
            found.append(Page(replay=replay, title=f"Image {image_id}, view {view}", facts=facts))
        return found

    def alone(self, row: Values, image: Values, *, in_fractions: bool) -> Replay:
        """The page is the picture; or it is 1 x 1."""
        w, h = (1.0, 1.0) if in_fractions else _size(row)
        picture = Picture(slot=0, x=0, y=0, w=w, h=h, image_id=str(row["image_id"]))
        return Replay(pictures=(picture,), events=in_order(_events(row, picture)), is_grid=False)


def _size(row: Values) -> tuple[float, float]:
    """Width and height on the page; where they are not known, of the file, of a usual height."""
    if row["shown_width"] and row["shown_height"]:
        return row["shown_width"], row["shown_height"]
    known = row["width"] and row["height"]
    return BOARD_HEIGHT * row["width"] / row["height"] if known else BOARD_HEIGHT, BOARD_HEIGHT


def _events(row: Values, picture: Picture) -> Iterator[Event]:
    times = row["event_time_ms"]
    if all(time is None for time in times):
        times = [_STEP_MS * k for k in range(len(times))]
    labels = row["event_label"] or [None] * len(times)
    lists = (row["event"], times, row["event_x"], row["event_y"], labels)
    for name, time, x, y, label in zip(*lists, strict=True):
        kind, at = _KINDS.get(name), on_page(picture, x, y)
        if kind is None or time is None:
            continue
        if kind in ("enter", "leave"):
            yield Event(time, kind, 0)
        elif at:
            yield Event(time, kind, 0, *at, (label or "") if kind == "click" else "")


def _facts(replay: Replay) -> Iterator[str]:
    if clicks := replay.count("click"):
        yield counted(clicks, "click")
    yield counted(replay.count("move"), "trace record")
    yield f"{replay.duration_ms / 1000:.1f} s from first to last event"


PAGES = TracingPages()
