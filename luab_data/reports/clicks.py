"""[I/O] What happened on one image: trace, visits and clicks, as objects and as a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

import pyarrow as pa

from luab_data.errors import OptionError
from luab_data.kinds import kind_of
from luab_data.provenance import trace
from luab_data.reports.html import data_uri, small_jpeg
from luab_data.reports.pages import Event, Replay, visits_of
from luab_data.reports.svg import svg
from luab_data.results import Tabular
from luab_data.words import counted

_SCHEMA = pa.schema(
    {
        **{"event": pa.string(), "round": pa.int16(), "time_ms": pa.int64()},
        **{"x": pa.float64(), "y": pa.float64(), "length_ms": pa.int64(), "name": pa.string()},
    }
)


class TracePoint(NamedTuple):
    """A trace record: ms since the first event of its round; fractions of the image."""

    time_ms: int
    x: float
    y: float
    round: int


class Visit(NamedTuple):
    """Browsing: the pointer was over the image. Tagging: the icons of `name` were shown."""

    time_ms: int
    length_ms: int
    name: str
    round: int


class Click(NamedTuple):
    """Browsing: a selecting `click`. Tagging: an icon, `name`, and `add`, `move` or `remove`.

    A removal has no point: `x`, `y` are NaN.
    """

    time_ms: int
    x: float
    y: float
    event: str
    name: str
    round: int


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ImageEvents(Tabular):
    """What happened on one image, in order; points are fractions of it, times ms.

    Attributes:
        image_id: as in the dataset. title: of the dataset.
        num_rounds: how often it was shown; an image of a tagging log once.
        deciding_round: the one that its label is of, from 1; None if there is none.
        trace, visits, clicks: of all rounds, see their classes. What has no time or no point that
            lies on a screen is left out.
    """

    image_id: str | int
    title: str
    num_rounds: int
    deciding_round: int | None
    trace: tuple[TracePoint, ...]
    visits: tuple[Visit, ...]
    clicks: tuple[Click, ...]
    _replays: tuple[Replay, ...] = field(default=())

    def __repr__(self) -> str:
        """One line."""
        return (
            f"ImageEvents({self.image_id!r} of {self.title}: {counted(self.num_rounds, 'round')},"
            f" {counted(len(self.trace), 'trace record')}, {counted(len(self.visits), 'visit')},"
            f" {counted(len(self.clicks), 'click')})"
        )

    def to_table(self) -> pa.Table:
        """All events in order of time: `event`, `round`, `time_ms`, then what it has of `x`, `y`,
        `length_ms` (of a visit), `name`.
        """
        events: list[dict[str, Any]] = [{"event": "trace", **p._asdict()} for p in self.trace]
        events += [{"event": "visit", **v._asdict()} for v in self.visits]
        events += [c._asdict() for c in self.clicks]
        events = [{k: v for k, v in e.items() if v == v and v != ""} for e in events]
        return pa.Table.from_pylist(
            sorted(events, key=lambda e: (e["round"], e["time_ms"])), _SCHEMA
        )

    def svg(self, image: Any = None, *, round: int | None = None) -> str:
        """The image with its boxes and what was done on it, as an SVG file; "" if never shown.

        Args:
            image: a path or a PIL image; None is a grey box.
            round: from 1; None is the deciding one, else the first.

        Raises:
            OptionError: there is no such round. ImagesError: a file that is no picture.
        """
        if not self._replays:
            return ""
        number = round or self.deciding_round or 1
        if not 1 <= number <= self.num_rounds:
            raise OptionError(f"round={number}; {self.image_id} was shown in {self.num_rounds}")
        replay = self._replays[number - 1]
        sources = {} if image is None else {str(self.image_id): data_uri(small_jpeg(image))}
        return svg(replay, alt=repr(self), sources=sources, standalone=True)

    def _repr_html_(self) -> str:
        """For notebooks: one line of words and the picture."""
        line, drawing = escape(repr(self)), self.svg()
        # An image, since the styles of an element would reach the rest of the notebook.
        uri = data_uri(drawing.encode(), "image/svg+xml")
        picture = f'<img src="{uri}" alt="{line}" style="max-width: 420px">' if drawing else ""
        return f"<p>{line}</p>{picture}"


def clicks(dataset: str | os.PathLike[str], image_id: str | int) -> ImageEvents:
    """What happened on one image.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.
        image_id: the id, or a file name of the image.

    Raises:
        DatasetError: no such dataset, or no such image: then with the ids near it.
    """
    record = trace(dataset, image_id)
    kind = kind_of(record.manifest)
    of_rounds = [kind.pages.alone(row, record.image, in_fractions=True) for row in record.records]
    decision = record.decision or {"round": 1 if of_rounds else None}
    rounds = [*enumerate(of_rounds, 1)]
    return ImageEvents(
        image_id=record.image_id,
        title=kind.title,
        num_rounds=len(of_rounds),
        deciding_round=decision["round"],
        trace=tuple(
            TracePoint(e.time_ms, e.x, e.y, n)
            for n, replay in rounds
            for e in replay.events
            if e.kind == "move"
        ),
        visits=tuple(v for n, replay in rounds for v in _visits(replay, n)),
        clicks=tuple(
            Click(e.time_ms, e.x, e.y, {"shift": "move"}.get(e.kind, e.kind), e.name, n)
            for n, replay in rounds
            for e in replay.events
            if e.kind in ("click", "add", "shift", "remove")
        ),
        _replays=tuple(
            kind.pages.alone(row, record.image, in_fractions=False) for row in record.records
        ),
    )


def _visits(replay: Replay, number: int) -> Iterator[Visit]:
    for start, length in visits_of(replay.events):
        yield Visit(start, length, "", number)
    shown: Sequence[Event] = [e for e in replay.events if e.kind == "category"]
    ends = [*(e.time_ms for e in shown[1:]), replay.duration_ms]
    for event, end in zip(shown, ends, strict=False):
        yield Visit(event.time_ms, end - event.time_ms, event.name, number)
