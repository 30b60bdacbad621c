"""Somebody's own browsing log through every verb: what is printed is true of own data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import luab_data

CLASSES = ("Käse", "cat/tabby", "dog")
ANNOTATORS = ("ann", "bob", "cid")
CELL, GAP, COLUMNS = 160, 20, 4
View = dict[str, Any]

# --- a small world --------------------------------------------------------------------------------


def views(annotators: Sequence[str] = ANNOTATORS, per_page: int = 6) -> Iterator[View]:
    """Each annotator sees two pages of each class; who selects what is fixed.

    Image 0 is selected by all, 1 by all but the first, 2 by the last alone, 3 by none, and so on.
    """
    for who, annotator in enumerate(annotators):
        for group, name in enumerate(CLASSES):
            for number in range(2 * per_page):
                page, slot = divmod(number, per_page)
                chosen = (0, 1, len(annotators) - 1, len(annotators))[number % 4] <= who
                yield view(annotator, who, group, name, number, page, slot, chosen)


def view(
    annotator: str, who: int, group: int, name: str, number: int, page: int, slot: int, chosen: bool
) -> View:
    """One picture that is entered, gone over, clicked if it is `chosen`, left and submitted."""
    start = 1000 * number + 60_000 * group
    x, y = 0.3 + 0.05 * (number % 5), 0.4 + 0.02 * who
    moves = [
        {"type": "move", "t": start + 20 * k, "x": x * k / 10, "y": y * k / 10} for k in range(10)
    ]
    clicks = [{"type": "click", "t": start + 250 + 10 * who, "x": x, "y": y, "state": True}]
    events = [
        {"type": "load", "t": start},
        {"type": "enter", "t": start},
        *moves,
        *(clicks if chosen else []),
        {"type": "leave", "t": start + 400},
        {"type": "submit", "t": 60_000 * group + 1000 * (6 + 6 * page) + 7000},
    ]
    row, column = divmod(slot, COLUMNS)
    place = {"x": 10 + column * (CELL + GAP), "y": 50 + row * (CELL + GAP)}
    return {
        "byproducts": 1,
        "kind": "browsing",
        "image": {
            "id": f"IMG {number:03}", "width": 640, "height": 480,
            "file": f"{name}/IMG {number:03}.jpg",
        },
        "asked": {"class": name},
        "shown": {**place, "width": CELL, "height": 120},
        "session": f"s{who}{group}", "task": f"t{group}", "page": page, "slot": slot,
        "annotator": f"{annotator}@lab.org", "epoch": 1_700_000_000_000 + 10_000_000 * who,
        "events": events, "selected": chosen,
    }  # fmt: skip


def convert(folder: Path, rows: Sequence[View], name: str = "own", **options: Any) -> Path:
    """The dataset folder of a log of some views."""
    log, out = folder / f"{name}.jsonl", folder / name
    log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    luab_data.convert_browsing(log, out, worker_key=b"k" * 32, shown=False, **options)
    return out


def changed(change: Callable[[View], None], *args: Any) -> list[View]:
    """The views of the world, each changed."""
    rows = [*views(*args)]
    for row in rows:
        change(row)
    return rows


def drop(*names: str) -> Callable[[View], None]:
    return lambda row: [row.pop(name, None) for name in names] and None


def untime(row: View) -> None:
    row.pop("epoch")
    row["events"] = [{k: v for k, v in e.items() if k != "t"} for e in row["events"]]


def without(*types: str) -> Callable[[View], None]:
    return lambda row: row.update(events=[e for e in row["events"] if e["type"] not in types])


# --- what a log may lack --------------------------------------------------------------------------

LACKING: dict[str, list[View]] = {
    "times": changed(untime),
    "clicks": changed(without("click")),
    "events": changed(lambda row: row.update(events=[])),
    "sessions": changed(drop("session", "task", "page", "slot")),
    "annotators": changed(drop("annotator")),
    "clock": changed(drop("epoch")),
    "layout": changed(drop("shown")),
}


@pytest.mark.parametrize("lacking", LACKING)
def test_a_log_may_lack_anything_and_is_whole(tmp_path: Path, lacking: str) -> None:
    report = luab_data.check(convert(tmp_path, LACKING[lacking]), shown=False)
    assert report.whole, report.problems
    odd = {finding.rule.id for finding in report.findings if finding.count}
    assert odd == ({"no-interaction"} if lacking == "events" else set())
