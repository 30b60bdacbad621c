"""[I/O] What people did in a study -> the open log, session by session: memory does not grow."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import pyarrow as pa
import sqlalchemy as sa

from luab_data.collect import tables as db
from luab_data.collect.pictures import Picture
from luab_data.collect.plan import Page, Task
from luab_data.collect.serve import Opened
from luab_data.collect.spent import spent_on
from luab_data.errors import OptionError
from luab_data.files import new_file
from luab_data.views import EVENTS
from luab_data.views.log import MOST_FRACTION, Asked, Device, Event, Image, Shown, View

_OF_VIEW = frozenset(EVENTS)


class Exported(NamedTuple):
    """What an export wrote.

    Args:
        views: lines.
        sessions: of how many sessions.
        same: the same file was there already.
        verb: of `luab-data convert` that reads it.
        remarks: what it cannot hold.
    """

    views: int
    sessions: int
    same: bool
    verb: str
    remarks: tuple[str, ...] = ()


def export(study: Opened, out: Path, *, finished: bool = False, force: bool = False) -> Exported:
    """Write a study as an open log.

    Args:
        study: open.
        out: the file: .jsonl, .jsonl.gz or .jsonl.zst.
        finished: leave out sessions that are not finished.
        force: replace an earlier file.

    Raises:
        OptionError: another suffix. OutputError: the file cannot be written.
    """
    num_views = num_sessions = 0
    with (
        new_file(out, mark=_mark(out), force=force) as target,
        _writing(target.path, out) as file,
    ):
        for lines in sessions(study, finished):
            num_sessions += 1
            for view in lines:
                file.write(msgspec.json.encode(view) + b"\n")
                num_views += 1
    return Exported(num_views, num_sessions, target.same, study.study.task)


def _mark(out: Path) -> bytes:
    """How a file of ours begins."""
    marks = {".jsonl": b'{"byproducts":1,', ".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
    if out.suffix not in marks:
        raise OptionError(
            f"{out}: ends in {out.suffix!r}; expected .jsonl, .jsonl.gz or .jsonl.zst"
        )
    return marks[out.suffix]


@contextmanager
def _writing(path: Path, out: Path) -> Iterator[IO[bytes] | Any]:
    with path.open("wb") as file:
        if out.suffix == ".gz":
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
                yield packed
        elif out.suffix == ".zst":
            with pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), "zstd") as packed:
                yield packed
        else:
            yield file


def sessions(study: Opened, finished: bool, *, others: bool = True) -> Iterator[Iterator[View]]:
    """The views of each session, in the order in which they were begun, all as of one moment.

    Args:
        study: open.
        finished: leave out sessions that are not finished.
        others: with the pictures that are not known to be of the class that was asked for.
    """
    query = sa.select(db.sessions, db.participants.c.person, db.participants.c.arm).join(
        db.participants
    )
    if finished:
        query = query.where(db.sessions.c.finished_ms.is_not(None))
    with study.store.reading(snapshot=True) as connection:
        for row in connection.execute(query.order_by(db.sessions.c.id)).all():
            batches = connection.scalars(
                sa.select(db.batches.c.events)
                .where(db.batches.c.session == row.id)
                .order_by(db.batches.c.sequence)
            )
            events = [event for batch in batches for event in msgspec.json.decode(batch)]
            rows_of_pages = connection.execute(
                sa.select(db.answers.c.page, db.answers.c.answer)
                .where(db.answers.c.session == row.id)
            )  # fmt: skip
            answers = {page: answer for page, answer in rows_of_pages}
            yield _views(study, row, study.people.tasks[row.task], events, answers, others)


def _views(
    study: Opened,
    row: Any,
    task: Task,
    events: list[dict[str, Any]],
    answers: dict[int, str],
    others: bool,
) -> Iterator[View]:
    """A view for each picture of the pages that were answered."""
    by_page: dict[int, list[dict[str, Any]]] = {}
    for event in sorted(
        events, key=lambda event: event["t"]
    ):  # stable: equal times keep their order
        by_page.setdefault(event["page"], []).append(event)
    for number in sorted(answers):
        page, answer = task.pages[number], msgspec.json.decode(answers[number])
        seen = by_page.get(number, [])
        events_of, spent = _by_slot(seen, len(page.slots)), spent_on(seen)
        layout = next((e for e in reversed(seen) if e.get("layout") and e.get("viewport")), None)
        for place, slot in enumerate(page.slots):
            if page.label is not None and not (others or slot.known):
                continue
            yield View(
                byproducts=1,
                kind=study.study.task,
                image=_image(study.pictures[slot.picture]),
                asked=_asked(study, page),
                shown=_shown(layout, place),
                device=_device(layout),
                session=f"s{row.id}",
                task=f"t{row.task}",
                page=number,
                slot=place,
                arm=row.arm,
                spent=spent,
                annotator=row.person,
                epoch=row.begun_ms,
                selected=place in answer["selected"] if "selected" in answer else None,
                answer=_in_words(answer),
                events=tuple(events_of[place]),
            )


def _image(picture: Picture) -> Image:
    return Image(id=picture.image_id, file=picture.path, width=picture.width, height=picture.height)


def _asked(study: Opened, page: Page) -> Asked:
    if page.label is not None:
        return Asked(label=page.label)
    return Asked(classes=tuple(label.name for label in study.study.classes))


def _shown(layout: dict[str, Any] | None, place: int) -> Shown:
    if layout is None or place >= len(layout["layout"]):
        return Shown()
    x, y, width, height = layout["layout"][place]
    return Shown(x=x, y=y, width=width, height=height)


def _device(layout: dict[str, Any] | None) -> Device:
    if layout is None:
        return Device()
    width, height = layout["viewport"]
    return Device(viewport_width=width, viewport_height=height, pixel_ratio=layout["ratio"])


def _in_words(answer: dict[str, Any]) -> str | None:
    """What of a tagging answer no event says."""
    said = [word for word in ("nothing", "unsure") if answer.get(word)]
    return ", ".join(said) or None


def _by_slot(seen: list[dict[str, Any]], num_slots: int) -> list[list[Event]]:
    """Events of each picture, with those of the whole page among them."""
    found: list[list[Event]] = [[] for _ in range(num_slots)]
    for event in seen:
        of_page = event.get("slot") is None
        if event["type"] not in _OF_VIEW or (of_page and event["type"] in ("move", "down", "up")):
            continue
        x, y = _near(None if of_page else (event.get("fx"), event.get("fy")))
        from_x, from_y = _near(event.get("from"))
        told = Event(
            type=event["type"],
            t=event["t"],
            x=x,
            y=y,
            from_x=from_x,
            from_y=from_y,
            label=event.get("label"),
            state=event.get("state"),
            pointer=event.get("pointer") or None,
        )
        for place in range(num_slots) if of_page else (event["slot"],):
            if place < num_slots:
                found[place].append(told)
    return found


def _near(place: Sequence[float | None] | None) -> tuple[float | None, float | None]:
    """A place that the log may hold; a pointer that left fast is further off than ten pictures."""
    x, y = place or (None, None)
    if x is None or y is None or max(abs(x), abs(y)) > MOST_FRACTION:
        return None, None
    return x, y
