"""[I/O] Rows of anybody's table -> views: which columns they are in, what their cells say."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.boxes import IMAGE_SUFFIXES
from luab_data.errors import RecordError
from luab_data.importers.cells import event_of, number_of, text_of, time_of
from luab_data.importers.files import image_name
from luab_data.importers.picture_sizes import PictureSizes
from luab_data.importers.tables import BATCH_ROWS
from luab_data.importers.units import Clock, Places, Units, clock_of, units_of
from luab_data.ragged import Floats, Ints, Ragged, floats, kept_bounds, list_array
from luab_data.raw.bad_records import Bad, BadRecords, OnBad, without_ids
from luab_data.views import EVENTS, Reading, views
from luab_data.views.grouping import Grouped
from luab_data.words import counted

_TEXTS = ("image", "label", "worker", "session", "event")

BY_VIEW = ("label", "image", "worker", "session")
"""Columns that rows of one view have equal."""

_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in (*BY_VIEW, "file", "where", "no_size")),
        *((name, pa.float64()) for name in ("x", "y", "time", "width", "height")),
        ("event", pa.int8()),
        ("state", pa.bool_()),
    ]
)
_MOST_PICTURES_OFF = 10


@dataclass(frozen=True)
class Scales:
    """What numbers are in."""

    units: Units
    clock: Clock

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return {"units": self.units, "times": self.clock.unit}


class Records:
    """Rows on their way to views.

    Args:
        columns: of find_columns.
        sizes: of the pictures; None: rows have them, or they are not known.
        on_bad: what happens to a bad row.

    Attributes:
        num_rows: read so far.
        errors: bad rows that are left out.
    """

    def __init__(
        self, columns: Mapping[str, str], sizes: PictureSizes | None, on_bad: OnBad
    ) -> None:
        self.num_rows = 0
        self.errors: list[RecordError] = []
        self._columns, self._sizes, self._on_bad = columns, sizes, on_bad
        self._places = Places()
        self._times = (math.nan, math.nan)
        self._events = Counter[tuple[str, str]]()
        self._files: dict[tuple[str, str], str | None] = {}
        self._sha256 = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Digest of all that was taken of the rows so far."""
        return self._sha256.hexdigest()

    def tables(self, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[pa.Table]:
        """Good rows, columns of _SCHEMA, some at a time.

        Args:
            rows: what an error calls each, e.g. `line 17`, and its cells.

        Raises:
            RecordError: a row is bad, and none may be.
        """
        waiting = iter(rows)
        while some := list(islice(waiting, BATCH_ROWS)):
            found: list[dict[str, Any]] = []
            for where, row in some:
                self.num_rows += 1
                try:
                    found.append({"where": where, **self._read(row)})
                except Bad as bad:
                    who = row.get(self._columns.get("worker", ""))
                    self._refuse(RecordError(where, bad.rule, without_ids(str(bad), [who])))
            columns = {name: [row.get(name) for row in found] for name in _SCHEMA.names}
            table = pa.table(columns, _SCHEMA)
            for chunk in table.to_batches():
                self._sha256.update(chunk.serialize())
            self._see(table)
            yield table

    def _refuse(self, error: RecordError) -> None:
        if self._on_bad == "raise":
            BadRecords("raise", Path())(error)
        self.errors.append(error)

    def _read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The cells of a row that are taken, as _SCHEMA has them."""
        cells = {role: row.get(column) for role, column in self._columns.items()}
        found: dict[str, Any] = {role: text_of(cells.get(role), role) for role in _TEXTS}
        for role in ("x", "y", "width", "height"):
            found[role] = number_of(cells.get(role), role)
        found["time"] = time_of(cells.get("time"))
        for role in ("image", "label"):
            if found[role] is None:
                raise Bad("missing", f"has no {role}; expected one in {self._columns[role]!r}")
        if (found["x"] is None) != (found["y"] is None):
            raise Bad("half-a-place", "has one of x and y; expected both or neither")
        said = found["event"]
        found["event"], found["state"] = event_of(said, found["x"] is not None)
        if said is not None:
            self._events[said, EVENTS[found["event"]]] += 1
        found["file"] = found["image"]
        if self._sizes is not None:
            size, what = self._sizes.size(found["image"], found["label"])
            if size is None:
                found["no_size"] = f"the picture {found['image']!r:.80} {what}"
            else:
                found["width"], found["height"], found["file"] = *size, what
        for role in ("width", "height"):
            if found[role] is not None and not 1 <= found[role] < 2**31:
                raise Bad("size", f"has a {role} of {found[role]:g}; expected px, at least 1")
        self._name(found["label"], found["file"])
        return found

    def _name(self, label: str, file: str) -> None:
        """Remember that a class has a picture of that name, in one file or in several."""
        key = (label, name_of(file))
        if self._files.setdefault(key, file) != file:
            self._files[key] = None

    def _see(self, table: pa.Table) -> None:
        """Count places, and how far times go."""
        there = table.filter(table["x"].is_valid())
        self._places.add(*(floats(there[name]) for name in ("x", "y", "width", "height")))
        ends = pc.min_max(table["time"]).as_py()
        if ends["min"] is not None:
            least, most = self._times
            self._times = min(ends["min"], least), max(ends["max"], most)

    def scales(
        self, name: str, first: Grouped | None, units: str | None, time_units: str | None
    ) -> Scales:
        """What x, y and times are in, once all rows were read.

        Args:
            name: what to call the rows in a message.
            first: some views.
            units, time_units: that the user says.

        Raises:
            OptionError: they cannot be what the user says, or may be two things.
        """
        spans = np.array([math.nan])
        if first is not None:
            time = Ragged(floats(first.table["time"]), first.bounds)
            least, most = (time.reduce(f, math.nan) for f in (np.fmin, np.fmax))
            spans = np.where(most > least, most - least, most)
        clock = clock_of(name, *self._times, spans, time_units)
        return Scales(units_of(name, self._places, units), clock)

    def no_views(self) -> pa.Table:
        """An empty table of VIEWS."""
        return views({"image_id": []})

    def reading(self, group: Grouped, scales: Scales) -> Reading:
        """The views of some rows.

        Args:
            group: rows of a view side by side.
            scales: what their numbers are in.
        """
        table, bounds = in_time(group, floats(group.table["time"]))
        first = table.take(pa.array(bounds[:-1]))
        sides = [floats(first[name]) for name in ("width", "height")]
        is_px = scales.units == "px"
        divisor = {"px": sides, "percent": [np.array(100.0)] * 2, "fraction": [np.array(1.0)] * 2}
        rows = Ragged(np.zeros(len(table)), bounds).rows
        x, y = (
            floats(table[name]) / (by[rows] if is_px else by)
            for name, by in zip("xy", divisor[scales.units], strict=True)
        )
        has_place = np.asarray(table["x"].is_valid())
        is_lost = has_place & ~((abs(x) <= _MOST_PICTURES_OFF) & (abs(y) <= _MOST_PICTURES_OFF))
        lost = np.flatnonzero(is_lost)
        bad, at = np.unique(rows[lost], return_index=True)  # the first of each view
        errors = [_lost(row, is_px) for row in table.take(pa.array(lost[at])).to_pylist()]
        is_event = np.asarray(table["event"].is_valid())
        kept = kept_bounds(bounds, is_event)
        time = floats(table["time"]) * scales.clock.ms
        epoch = np.full(len(first), math.nan)
        if scales.clock.tells_day:
            epoch = np.floor(Ragged(time, bounds).reduce(np.fmin, math.nan))
            time = time - epoch[rows]

        def events(values: Any, kind: pa.DataType) -> pa.ListArray:
            flat = pa.array(values, kind, from_pandas=True)
            return list_array(flat.filter(pa.array(is_event)), kept)

        def whole(values: Floats, kind: pa.DataType) -> pa.Array:
            return pa.array(np.round(values), from_pandas=True).cast(kind)

        found = views(
            {
                "image_id": self._ids(first),
                "image_file": first["image"],
                "width": whole(sides[0], pa.int32()),
                "height": whole(sides[1], pa.int32()),
                "label": first["label"],
                "session": first["session"],
                "annotator": first["worker"],
                "epoch_ms": whole(epoch, pa.int64()),
                "event": list_array(
                    table["event"].combine_chunks().filter(pa.array(is_event)), kept
                ),
                "event_time_ms": list_array(
                    whole(time, pa.int64()).filter(pa.array(is_event)), kept
                ),
                "event_x": events(x, pa.float64()),
                "event_y": events(y, pa.float64()),
                "event_state": list_array(
                    table["state"].combine_chunks().filter(pa.array(is_event)), kept
                ),
            }
        )
        names = first["where"].to_pylist()
        good = np.setdiff1d(np.arange(len(first)), bad)
        return Reading(found.take(pa.array(good)), [names[row] for row in good], errors)

    def _ids(self, first: pa.Table) -> list[str]:
        """The name of each view's picture, with folders where its class has two of that name."""
        files = zip(first["label"].to_pylist(), first["file"].to_pylist(), strict=True)
        return [
            name_of(file) if self._files[label, name_of(file)] else _without_suffix(file)
            for label, file in files
        ]

    def remarks(self, name: str, scales: Scales) -> tuple[str, ...]:
        """Which columns were taken and as what, a sentence each."""
        taken = ", ".join(r if r == c else f"{r} `{c}`" for r, c in self._columns.items())
        said = [f"columns taken: {taken}"]
        if self._places.num:
            said.append(f"x and y taken as {scales.units}: {self._places.seen}")
        if not math.isnan(self._times[0]):
            since = "" if scales.clock.tells_day else " of the session's clock"
            said.append(f"times taken as {scales.clock.unit}{since}")
        if self._events:
            words = ", ".join(
                f"{word} as {kind} ({counted(num, 'row')})"
                for (word, kind), num in sorted(self._events.items())
            )
            said.append(f"events taken: {words}")
        return tuple(said)


def in_time(group: Grouped, time: Floats) -> tuple[pa.Table, Ints]:
    """The rows of each view by time, and its bounds; in the file's order where one has no time."""
    by_view = Ragged(time, group.bounds)
    is_timed = ~by_view.any(np.isnan(time))[by_view.rows]
    order = np.lexsort((np.where(is_timed, time, 0), by_view.rows))  # stable
    return group.table.take(pa.array(order)).combine_chunks(), group.bounds


def _lost(row: Mapping[str, Any], is_px: bool) -> RecordError:
    """A row whose place cannot be told as a fraction of its picture, or is no place on it."""
    if is_px and (row["width"] is None or row["height"] is None):
        what = row["no_size"] or "the size of its picture is not known"
        return RecordError(row["where"], "no-size", f"{what}; pixels need it")
    reason = f"x {row['x']:g}, y {row['y']:g}: more than {_MOST_PICTURES_OFF} pictures away"
    return RecordError(row["where"], "place-range", f"{reason}; expected places on the picture")


def name_of(file: str) -> str:
    """`IMG 1` of `pics/IMG 1.jpg`, as join_images calls that file."""
    if "://" in file:
        return image_name(file)
    return _without_suffix(file.replace("\\", "/").rpartition("/")[2])


def _without_suffix(file: str) -> str:
    stem, dot, suffix = file.rpartition(".")
    return stem if stem and dot + suffix.lower() in IMAGE_SUFFIXES else file
