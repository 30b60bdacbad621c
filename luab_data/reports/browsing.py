"""Pages of a browsing log: a grid of pictures, entered and left, clicked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import DatasetError
from luab_data.ragged import bounds_of
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
    is_on_screen,
    points,
)
from luab_data.schema import IMAGENET_IMAGES, IMAGENET_ROUNDS, Table
from luab_data.store.find import find_rows, not_there, read_image_ids
from luab_data.store.folder import read_columns, read_manifest
from luab_data.tools import SLOTS
from luab_data.words import counted, near, with_name

COLUMNS = (
    *("image_id", "image_idx", "selected", "image_position_x", "image_position_y"),
    *("image_width", "image_height", "original_image_width", "original_image_height"),
    *("hovered_record_action", "hovered_record_time_ms"),
    *("mouse_tracking_time_ms", "mouse_tracking_x", "mouse_tracking_y"),
    *("selected_record_time_ms", "selected_record_x", "selected_record_y"),
)
"""Columns of `rounds` that a replay needs."""

Boxes = Mapping[str, tuple[Box, ...]]
Frame = tuple[float, float, float, float]
"""Left, top, width and height of a picture, px of the page."""


class BrowsingPages(PageReader):
    """A page is what one assignment was shown at once: 48 pictures.

    Attributes:
        images, rounds: the tables.
    """

    images: ClassVar[Table] = IMAGENET_IMAGES
    rounds: ClassVar[Table] = IMAGENET_ROUNDS
    key_columns: tuple[str, ...] = ("assignment_id", "page_idx")
    choice_columns: tuple[str, ...] = (
        *("assignment_id", "page_idx", "worker_id", "image_width", "image_height"),
        *("hovered_record_time_ms", "selected", "selected_record_time_ms"),
    )
    why = ("the most pictures logged", "a median page", "the most deselections")
    lead = (
        "What the tool logged of one page, at the place and time it happened. Of a page's pictures"
        " only those of the class asked for were logged, and no path over a picture while it was"
        " selected. Deselecting clicks are not logged; a later record proves one. While playing,"
        " pauses of more than 3 s are cut short."
    )
    legend = "click"
    findings = (
        Finding(
            name="click_accuracy",
            text="of the final clicks lie in a box of their class",
            beside="centre_accuracy",
            beside_text="; a click on the centre of the same images would score {value}",
        ),
        Finding(
            name="off_centre_click_accuracy",
            text="of the final clicks find the object where the image's centre misses it",
        ),
        Finding(
            name="selected_share",
            text="of all images ended selected as their class in one of their rounds",
        ),
        Finding(name="dwell_time_ms", text="is how long the pointer stays on a picture (median)"),
        Finding(name="coverage", text="of the images have any interaction"),
    )

    def facts_of(self, events: pa.Table) -> pa.Table:
        """Pictures that have a size, times one was entered, deselections that the clicks prove."""
        clicks = np.diff(bounds_of(events["selected_record_time_ms"]))
        kept = pc.fill_null(events["selected"], False).to_numpy().astype(np.int64)
        width, height = (
            pc.fill_null(events[f"image_{side}"], 0).to_numpy() > 0 for side in ("width", "height")
        )
        return pa.table(
            {
                **{name: events[name] for name in (*self.key_columns, "worker_id")},
                "size": pa.array((width & height).astype(np.int64)),
                "activity": pa.array(np.diff(bounds_of(events["hovered_record_time_ms"]))),
                "undone": pa.array(np.maximum(clicks - kept, 0)),
            }
        )

    def named(self, folder: Path, text: str) -> list[Key]:
        """ASSIGNMENT:PAGE, or every page on which an image was shown."""
        assignment, colon, number = text.rpartition(":")
        if colon and assignment and number.isascii() and number.isdigit():
            pages = self._keys(folder, "assignment_id", assignment)
            if (assignment, int(number)) in pages:
                return [(assignment, int(number))]
            raise DatasetError(
                f"{folder}: no page {text}; expected an assignment_id and a page_idx of its rounds,"
                f" or an image id{self._near_it(folder, assignment, [page for _, page in pages])}"
            )
        for image_id in read_image_ids(text, self.images):
            if pages := self._keys(folder, "image_id", image_id):
                return pages
        why = not_there(folder, self.images, image_id, read_manifest(folder))
        raise DatasetError(f"{why}. A page can also be named as ASSIGNMENT:PAGE")

    def _keys(self, folder: Path, column: str, value: str | int) -> list[Key]:
        found = find_rows(folder, self.rounds, [value], self.key_columns, key=column)[0]
        keys = {tuple(row[c] for c in self.key_columns) for row in found.to_pylist()}
        return sorted(keys, key=lambda key: [(part is not None, part or 0) for part in key])

    def _near_it(self, folder: Path, assignment: str, pages: Sequence[int]) -> str:
        if pages:
            return f"; its pages are {', '.join(map(str, pages))}"
        batches = read_columns(folder, self.rounds, ["assignment_id"])
        known = {name for b in batches for name in pc.unique(b["assignment_id"]).to_pylist()}
        found = near(assignment, sorted(known - {None}))
        return f"; did you mean {' or '.join(found)}?" if found else ""

    def read(self, folder: Path, keys: Sequence[Key]) -> list[Page]:
        """The rounds of each page, with the boxes of their images."""
        rounds = self._rounds(folder, "assignment_id", {assignment for assignment, _ in keys})
        boxes = self._boxes(folder, rounds)
        found = []
        for assignment, page in keys:
            number = rounds["page_idx"]
            on_page = number.is_null() if page is None else pc.equal(number, page)
            shown = rounds.filter(pc.and_(pc.equal(rounds["assignment_id"], assignment), on_page))
            found.append(self._page(shown.to_pylist(), boxes, self._title(assignment, page)))
        return found

    def _rounds(self, folder: Path, column: str, values: Collection[str]) -> pa.Table:
        columns = [*COLUMNS, "selected_count", "wnid", "worker_id", "page_idx", "round"]
        return find_rows(folder, self.rounds, values, columns, key=column)[0]

    def _boxes(self, folder: Path, rounds: pa.Table) -> Boxes:
        """Those of the images of some rounds."""
        image_ids, sized = set(rounds["image_id"].to_pylist()), ["width", "height", "boxes"]
        images = find_rows(folder, self.images, image_ids, sized)[0].to_pylist()
        logged = {row["image_id"]: row for row in rounds.to_pylist()}
        return {image["image_id"]: _boxes(image, logged[image["image_id"]]) for image in images}

    def _page(self, rows: Sequence[Values], boxes: Boxes, title: str) -> Page:
        wnids = sorted({str(row["wnid"]) for row in rows})
        facts = (
            f"class {', '.join(map(with_name, wnids))}",
            f"annotator {rows[0]['worker_id'] or 'unknown'}",
        )
        replay = self.page_of(rows, boxes)
        return Page(replay=replay, title=title, facts=(*self.facts(replay, rows), *facts))

    def _title(self, assignment: str, page: int | None) -> str:
        return f"Page {page} of {assignment}"

    def alone(self, row: Values, image: Values, *, in_fractions: bool) -> Replay:
        """One picture of a page, with its boxes; or at (0, 0), 1 x 1."""
        if not in_fractions:
            return self.page_of([row], {image["image_id"]: _boxes(image, row)})
        corner = {"image_position_x": 0, "image_position_y": 0}
        size = {"image_width": 1, "image_height": 1, "original_image_width": None}
        return self.page_of([{**row, **corner, **size}])

    def frames(self, rows: Sequence[Values]) -> list[Frame | None]:
        """Where each picture was; None if a place is missing or the size is 0 (never loaded)."""
        return [_frame(row) for row in rows]

    def num_slots(self, rows: Sequence[Values]) -> int:
        """Slots of the page of some rows."""
        return SLOTS

    def page_of(self, rounds: Sequence[Values], boxes: Boxes | None = None) -> Replay:
        """The replay of one page: the rounds of one (assignment_id, page_idx).

        Args:
            rounds: its rows, with COLUMNS, in any order.
            boxes: image_id -> its boxes.
        """
        rows = sorted(rounds, key=lambda row: (row["image_idx"] or 0, str(row["image_id"])))
        pictures: list[Picture] = []
        events: list[Event] = []
        for row, frame in zip(rows, self.frames(rows), strict=True):
            if frame is None:
                continue
            x, y, w, h = frame
            image_id = str(row["image_id"])
            picture = Picture(
                slot=row["image_idx"], x=x, y=y, w=w, h=h, image_id=image_id,
                selected=bool(row["selected"]), boxes=(boxes or {}).get(image_id, ()),
            )  # fmt: skip
            events += _hovers(row, len(pictures))
            for kind, record in (("move", "mouse_tracking"), ("click", "selected_record")):
                columns = (f"{record}_time_ms", f"{record}_x", f"{record}_y")
                events += points(row, columns, kind, picture, len(pictures))
            pictures.append(picture)
        return Replay(
            pictures=tuple(pictures), events=in_order(events), is_grid=True,
            num_left_out=len(rows) - len(pictures), num_slots=self.num_slots(rows),
        )  # fmt: skip

    def facts(self, replay: Replay, rows: Sequence[Values]) -> Iterable[str]:
        """A few words each of what is on a page, that `replay` was made of these rows."""
        selected = sum(p.selected is True for p in replay.pictures)
        yield f"{len(replay.pictures)} of {SLOTS} pictures logged"
        yield f"{selected} selected"
        yield counted(replay.count("click"), "click")
        yield counted(replay.count("move"), "trace record")
        yield f"{replay.duration_ms / 1000:.1f} s from first to last event"
        if replay.num_left_out:
            yield f"{replay.num_left_out} never loaded, left out"


def _boxes(image: Values, row: Values) -> tuple[Box, ...]:
    return boxes_of(image, (image["width"], image["height"]), row)


def _frame(row: Values) -> Frame | None:
    """Left, top, width, height; None if one is missing or the size is 0 (never loaded)."""
    x, y, w, h = (row[f"image_{name}"] for name in ("position_x", "position_y", "width", "height"))
    if not all(map(is_on_screen, (x, y, w, h))) or w <= 0 or h <= 0:
        return None
    original = row["original_image_width"] or 0, row["original_image_height"] or 0
    # imageWidth is a copy of imageHeight (docs/formats.md#imagenet-width): the file's shape tells.
    if w == h and min(original) > 0:
        w = h * original[0] / original[1]
    return float(x), float(y), float(w), float(h)


def _hovers(row: Values, picture: int) -> Iterator[Event]:
    actions, times = row["hovered_record_action"] or (), row["hovered_record_time_ms"] or ()
    for action, time in zip(actions, times, strict=False):
        if time is not None and action in ("enter", "leave"):
            yield Event(time, action, picture)


PAGES = BrowsingPages()
