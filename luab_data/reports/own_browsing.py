"""Pages of a browsing log of somebody's own: a page is what one session showed at once.

Nothing is known of the tool: pages may have any number of pictures, and where they stood, what a
picture's size was and when something happened need not be logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from luab_data.errors import DatasetError
from luab_data.own_tables import OWN_BROWSED, OWN_ROUNDS
from luab_data.reports.browsing import BrowsingPages, Frame
from luab_data.reports.pages import Finding, Key, Replay, Values, is_on_screen
from luab_data.words import counted

if TYPE_CHECKING:
    pass

_CELL, _GAP, _MOST_COLUMNS = 160, 16, 8
"""px of the plain grid of a page of which no place is known."""
_SHAPE = 4 / 3
"""Width over height of a picture of unknown size there."""


class OwnBrowsingPages(BrowsingPages):
    """Pages of sessions; without sessions there are none."""

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
    no_pages = "No page can be replayed: the log names no session."
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
        """As of the release; every picture of a known session counts, whatever its size."""
        facts = super().facts_of(events)
        place = facts.column_names.index("size")
        facts = facts.set_column(place, "size", pa.array([1] * len(facts), pa.int64()))
        return facts.filter(facts["assignment_id"].is_valid())

    def named(self, folder: Path, text: str) -> list[Key]:
        """SESSION, SESSION:PAGE, or every page on which an image was shown."""
        if pages := self._keys(folder, "assignment_id", text):
            return pages
        found = [key for key in super().named(folder, text) if key[0] is not None]
        if not found:
            raise DatasetError(
                f"{folder}: the log names no session that showed {text}, so what else was on its"
                " page is not known; `luab_data.clicks` shows the image alone"
            )
        return found

    def _title(self, session: str, page: int | None) -> str:
        return f"Session {session}" if page is None else f"Page {page} of {session}"

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
        if rows and not any(map(_logged, rows)):
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
    top = 0.0
    for start in range(0, len(rows), columns):
        sizes = [_fitted(row) for row in rows[start : start + columns]]
        highest = max(h for _, h in sizes)
        for column, (w, h) in enumerate(sizes):
            left = column * (_CELL + _GAP) + (_CELL - w) / 2
            found.append((left, top + (highest - h) / 2, w, h))
        top += highest + _GAP
    return found


def _fitted(row: Values) -> tuple[float, float]:
    """Width and height in a cell of the plain grid."""
    width, height = row["original_image_width"] or 0, row["original_image_height"] or 0
    shape = width / height if min(width, height) > 0 else _SHAPE
    return _CELL * min(1, shape), _CELL * min(1, 1 / shape)


PAGES = OwnBrowsingPages()
