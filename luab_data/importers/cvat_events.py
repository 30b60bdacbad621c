"""Events of CVAT, the CSV of its analytics: a picture in front of an annotator a view, with times.

Seen in cvat-ai/cvat: apps/events/export.py (`SELECT * FROM events`, by time), serializers.py,
components/analytics/clickhouse/000-initial.cmf, cvat-core/src/event.ts and logger-storage.ts, and
where cvat-ui logs `change:frame` and `draw:object`. There are no coordinates. `change:frame` has
`from` and `to`, numbers of frames in the task, in its payload. Several of one step without another
event in between are one: `timestamp` is when the first began, `duration` (ms) how long until the
last frame was there. `user_name` and `user_email` are in clear beside `user_id`; they and what was
clicked on (`obj_name`, `obj_val`) are not read. `timestamp` is UTC, also where it does not say so.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from luab_data.errors import RecordError
from luab_data.importers import Importer
from luab_data.importers.cvat import images
from luab_data.importers.files import OnRead, batched, csv_rows, files
from luab_data.importers.pictures import PictureIds
from luab_data.raw.bad_records import Bad
from luab_data.views import EventType, Reading
from luab_data.views.log import Event, Image, View

_COLUMNS = (
    *("scope", "source", "timestamp", "duration", "task_id", "job_id", "user_id", "payload"),
)
_OPEN, _FRAME = "load:job", "change:frame"
_EVENTS: Mapping[str, EventType] = {
    "draw:object": "add",
    "paste:object": "add",
    "drag:object": "move-label",
    "resize:object": "move-label",
    "change:label": "category",
    "delete:object": "remove",
}
_LARGEST_PAGE = 2**15 - 1

Names = Mapping[tuple[str, int], Image]
"""(id of a task, number of a frame) -> its picture."""


def read(
    paths: Sequence[Path], unknown: Counter[str], on_read: OnRead, /, **options: str
) -> Iterator[Reading]:
    """What each annotator did in each job, picture by picture; scopes that are not kept count."""
    names = _names(Path(options["annotations"])) if "annotations" in options else {}
    for path in files(paths, ".csv"):
        yield from batched(_views(path, names, unknown, on_read))


def _names(file: Path) -> Names:
    found: dict[tuple[str, int], Image] = {}
    ids = PictureIds()
    for image, _, task in images(file, lambda _: None):
        name, number = image.get("name") or "", int(image.get("id", "0"))
        width, height = int(image.get("width", "0")), int(image.get("height", "0"))
        found[task, number] = Image(
            id=ids(name), file=name, width=width or None, height=height or None
        )
    return found


@dataclass
class _Job:
    """An annotator in a job, from opening it until opening it again: the picture in front."""

    session: str
    start: float  # epoch ms of the first event
    frame: int | None = None
    events: list[Event] = field(default_factory=list)


def _views(
    path: Path, names: Names, unknown: Counter[str], on_read: OnRead
) -> Iterator[tuple[str, View] | RecordError]:
    jobs: dict[tuple[str, str, str], _Job] = {}  # by task, job, annotator
    num_sessions = 0
    for number, row in csv_rows(path, on_read, _COLUMNS):
        key = row["task_id"], row["job_id"], row["user_id"]
        if row["source"] != "client" or not all(key):
            unknown["event of the server, or of no job"] += 1
            continue
        name = f"{path.name}, line {number}"
        try:
            time = _epoch_ms(row["timestamp"])
            if row["scope"] == _OPEN and key in jobs:
                yield from _end(name, jobs.pop(key), key, names, unknown)
            if key not in jobs:
                num_sessions += 1
                jobs[key] = _Job(f"{key[1]}-{num_sessions}", time)
            job = jobs[key]
            if row["scope"] != _FRAME:
                _happens(job, row["scope"], time, unknown)
                continue
            before, after = _frames(row["payload"])
            there = time + _duration(row["duration"]) - job.start
        except Bad as bad:
            yield RecordError(name, bad.rule, str(bad))
            continue
        job.frame = before if job.frame is None else job.frame
        job.events.append(Event(type="submit", t=time - job.start))
        yield name, _view(job, key, names)
        job.frame, job.events = after, [Event(type="load", t=there)]
    for key, job in jobs.items():
        yield from _end(path.name, job, key, names, unknown)


def _end(
    name: str, job: _Job, key: tuple[str, str, str], names: Names, unknown: Counter[str]
) -> Iterator[tuple[str, View]]:
    """The last picture of a session, which nobody says when was left."""
    if job.frame is not None:
        yield f"{name}, the end of a session of job {key[1]}", _view(job, key, names)
    elif job.events:
        unknown["event in a job without a change of frames: nobody says of which"] += 1


def _happens(job: _Job, scope: str, time: float, unknown: Counter[str]) -> None:
    if scope in _EVENTS:
        job.events.append(Event(type=_EVENTS[scope], t=time - job.start))
    elif scope != _OPEN:
        unknown[f"event {scope:.40}"] += 1


def _frames(payload: str) -> tuple[int, int]:
    """The frame that was left, and the one that came."""
    try:
        found = json.loads(payload)
        return int(found["from"]), int(found["to"])
    except (ValueError, KeyError, TypeError):
        raise Bad(
            "frames", f"{_FRAME} without `from` and `to` in its payload; expected two numbers"
        ) from None


def _duration(text: str) -> int:
    if not re.fullmatch("[0-9]{0,10}", text):
        raise Bad("duration", "has a duration that is no number; expected whole ms")
    return int(text or 0)


def _epoch_ms(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Bad("timestamp", "has no time of day; expected 2024-05-01 10:00:00.123") from None
    return 1000 * (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _view(job: _Job, key: tuple[str, str, str], names: Names) -> View:
    assert job.frame is not None
    task, _, annotator = key
    unnamed = Image(id=f"task-{task}-frame-{job.frame}")
    return View(
        byproducts=1,
        kind="tracing",
        image=names.get((task, job.frame), unnamed),
        session=job.session,
        page=job.frame if job.frame <= _LARGEST_PAGE else None,
        annotator=annotator,
        epoch=job.start,
        events=tuple(job.events),
    )


IMPORTER = Importer(
    name="cvat-events",
    title="CVAT, events of its analytics",
    kind="tracing",
    files="CSV of CVAT's events (`POST /api/events/export`)",
    read=read,
    options={
        "annotations": "annotations.xml of the same tasks (`CVAT for images 1.1`): names and sizes"
        " of their pictures; without it they are called task-7-frame-12",
    },
    url="https://docs.cvat.ai/docs/administration/advanced/analytics/",
    description="When pictures were in front of annotators in CVAT, and when objects were drawn,"
    " moved and deleted on them.",
    limits=(
        ("No places", "CVAT logs what was done and when, not where the pointer was."),
        ("Breaks", "A picture that is left open while its annotator is away counts as looked at."),
        ("Leafing", "CVAT joins changes of frames in a row into one: pictures that were only passed"
         " over are missing."),
        ("Tails", "Events are sent every 90 seconds and on saving, not on closing the tab: the last"
         " ones of a session can be missing."),
    ),
)  # fmt: skip
"""Kind tracing: times of looking, without places."""
