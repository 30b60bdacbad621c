"""Pages of a browsing log of somebody's own: a page is what one session showed at once.

Nothing is known of the tool: pages may have any number of pictures, and where they stood, what a
picture's size was and when something happened need not be logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import DatasetError
from luab_data.own_tables import OWN_BROWSED, OWN_ROUNDS
from luab_data.reports.browsing import Boxes, BrowsingPages, Frame
from luab_data.reports.pages import Finding, Key, Page, Replay, Values, is_on_screen
from luab_data.store.find import not_there, read_image_ids
from luab_data.store.folder import read_manifest
from luab_data.words import counted

_CELL, _ALONE, _GAP, _MOST_COLUMNS = 160, 480, 16, 8
"""px of the plain grid of a page of which no place is known, and of a picture that is alone."""
_SHAPE = 4 / 3
"""Width over height of a picture of unknown size there."""


class OwnBrowsingPages(BrowsingPages):
    """Pages of sessions; a view of which no session is known is a page of one picture.

    A key has the session and the page, or the image and the number of its view.
    """

    images, rounds = OWN_BROWSED, OWN_ROUNDS
    lead = (
        "What was logged of one page of a session, at the place and time it happened; where no"
        " places were logged, in a plain grid, and what has no time is left out. No path is shown"
        " over a picture while it was selected. While playing, pauses of more than 3 s are cut"
        " short."
    )
    positions = (
        "Positions in replays are the logged fractions of a picture times its logged size; where"
        " none was logged, pictures of their own shape stand in a plain grid. Records that lie on"
        " no screen are not shown."
    )
    key_columns = ("assignment_id", "page_idx", "image_id", "round")
    choice_columns: tuple[str, ...] = (
        *BrowsingPages.choice_columns,
        "image_id",
        "round",
    )
    why = ("the largest", "a median one", "the most deselections")
    findings = (
        BrowsingPages.findings[0],
        Finding(
            name="agreement",
            text="of the pairs of views of one image by different annotators ended alike",
        ),
        Finding(name="unanimous_share", text="of the images with several views ended alike in all"),
        Finding(name="selected_share", text="of all images are selected, by the rule that decides"),
        Finding(name="dwell_time_ms", text="is how long the pointer stays on a picture (median)"),
    )

    def facts_of(self, events: pa.Table) -> pa.Table:
        """As of the release; every picture counts, whatever its size."""
        facts = super().facts_of(events)
        known = facts["assignment_id"].is_valid()
        for name, of_session in zip(self.key_columns, (True, True, False, False), strict=True):
            where = known if of_session else pc.invert(known)
            kept = pc.if_else(where, facts[name], pa.scalar(None, facts[name].type))
            facts = facts.set_column(facts.column_names.index(name), name, kept)
        size = pa.array([1] * len(facts), pa.int64())
        return facts.set_column(facts.column_names.index("size"), "size", size)

    def named(self, folder: Path, text: str) -> list[Key]:
        """SESSION, SESSION:PAGE, or every page on which an image was shown."""
        if pages := self._keys(folder, "assignment_id", text):
            return pages
        session, _, number = text.rpartition(":")
        pages = self._keys(folder, "assignment_id", session) if session else []
        if found := [key for key in pages if str(key[1]) == number]:
            return found
        for image_id in read_image_ids(text, self.images):
            if found := self._keys(folder, "image_id", image_id):
                return found
        why = not_there(folder, self.images, image_id, read_manifest(folder))
        near = self._near_it(folder, session, [page for _, page, *_ in pages])
        raise DatasetError(f"{why}. A page can also be named as SESSION:PAGE{near}")

    def _keys(self, folder: Path, column: str, value: str | int) -> list[Key]:
        found = super()._keys(folder, column, value)
        keys = [(s, p, None, None) if s is not None else (None, None, i, n) for s, p, i, n in found]
        return list(dict.fromkeys(keys))

    def read(self, folder: Path, keys: Sequence[Key]) -> list[Page]:
        """The views of each page, with the boxes of their images."""
        of_sessions = iter(super().read(folder, [key[:2] for key in keys if key[2] is None]))
        return [
            next(of_sessions) if image_id is None else self._of_view(folder, image_id, number)
            for _, _, image_id, number in keys
        ]

    def _of_view(self, folder: Path, image_id: str, number: int) -> Page:
        views = self._rounds(folder, "image_id", [image_id])
        views = views.filter(pc.equal(views["round"], number))
        boxes = self._boxes(folder, views)
        return self._page(views.to_pylist(), boxes, f"View {number} of {image_id}")

    def _title(self, session: str, page: int | None) -> str:
        return f"Session {session}" if page is None else f"Page {page} of {session}"

    def page_of(self, rounds: Sequence[Values], boxes: Boxes | None = None) -> Replay:
        """As of the release; one picture alone is shown whole."""
        return replace(super().page_of(rounds, boxes), is_grid=len(rounds) > 1)

    def frames(self, rows: Sequence[Values]) -> list[Frame | None]:
        """As logged; a plain grid, in the order of slots, where no place and size was."""
        found = [_logged(row) for row in rows]
        return found if any(found) else _grid(rows)

    def num_slots(self, rows: Sequence[Values]) -> int:
        """Up to the last slot that is in the log."""
        return 1 + max(
            (row["image_idx"] for row in rows if row["image_idx"] is not None), default=-1
        )

    def facts(self, replay: Replay, rows: Sequence[Values]) -> Iterable[str]:
        """How many pictures, what was done, what the log lacks."""
        yield counted(len(replay.pictures), "picture")
        yield f"{sum(p.selected is True for p in replay.pictures)} selected"
        if replay.events:
            yield counted(replay.count("click"), "click")
            yield counted(replay.count("move"), "trace record")
            yield f"{replay.duration_ms / 1000:.1f} s from first to last event"
        elif any(row["hovered_record_action"] or row["selected_count"] for row in rows):
            yield "times are not in the log"
        if len(rows) > 1 and not any(map(_logged, rows)):
            yield "places are not in the log: a plain grid"
        if replay.num_left_out:
            yield f"{replay.num_left_out} without a place or size, left out"


def _logged(row: Values) -> Frame | None:
    x, y, w, h = (row[f"image_{name}"] for name in ("position_x", "position_y", "width", "height"))
    if not all(map(is_on_screen, (x, y, w, h))) or w <= 0 or h <= 0:
        return None
    return float(x), float(y), float(w), float(h)


def _grid(rows: Sequence[Values]) -> list[Frame | None]:
    columns = min(_MOST_COLUMNS, max(1, round(len(rows) ** 0.5 * 1.2)))
    found: list[Frame | None] = []
    top, cell = 0.0, _CELL if len(rows) > 1 else _ALONE
    for start in range(0, len(rows), columns):
        sizes = [_fitted(row, cell) for row in rows[start : start + columns]]
        highest = max(h for _, h in sizes)
        for column, (w, h) in enumerate(sizes):
            left = column * (cell + _GAP) + (cell - w) / 2
            found.append((left, top + (highest - h) / 2, w, h))
        top += highest + _GAP
    return found


def _fitted(row: Values, cell: int) -> tuple[float, float]:
    """Width and height in a cell of the plain grid."""
    width, height = row["original_image_width"] or 0, row["original_image_height"] or 0
    shape = width / height if min(width, height) > 0 else _SHAPE
    return cell * min(1, shape), cell * min(1, 1 / shape)


PAGES = OwnBrowsingPages()
