"""Views that are mostly points: flat arrays -> a table of VIEWS, without an object a point."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from luab_data.errors import RecordError
from luab_data.ragged import Bools, Floats, Ints, list_array
from luab_data.views import CODE, Reading, views

Codes = npt.NDArray[np.int8]

_NEVER_MS = 2.0**53
"""No time is as late, and whole ms beyond are not told apart: such ones are not known."""

EVENTS_AT_ONCE = 2**18
"""Events that become one table."""


def event_lists(
    bounds: Ints,
    event: Codes,
    x: Floats,
    y: Floats,
    time_ms: Floats,
    duration_ms: Floats | None = None,
    label: pa.StringArray | None = None,
    pointer: Sequence[str | None] = (),
) -> dict[str, pa.ListArray]:
    """The lists of VIEWS; NaN is null. View i has the events bounds[i]:bounds[i + 1].

    Args:
        bounds: (num_views + 1,).
        event: (num_events,) positions in EVENTS; x, y, time_ms, duration_ms, label likewise.
        pointer: (num_views,) of every event with a place of each view, or nothing.
    """
    flat = {
        "event": pa.array(event, pa.int8()),
        "event_time_ms": _whole(time_ms),
        "event_x": pa.array(x, from_pandas=True),
        "event_y": pa.array(y, from_pandas=True),
    }
    lists = {name: list_array(values, bounds) for name, values in flat.items()}
    if duration_ms is not None:
        has = ~np.isnan(duration_ms)
        lists["event_duration_ms"] = _optional(_whole(duration_ms), bounds, has)
    if label is not None:
        lists["event_label"] = _optional(label, bounds, np.asarray(label.is_valid()))
    if pointer:
        view = np.repeat(np.arange(len(pointer)), np.diff(bounds))
        pointers = pa.array(pointer, pa.string()).take(pa.array(view, mask=np.isnan(x)))
        lists["event_pointer"] = _optional(pointers, bounds, np.asarray(pointers.is_valid()))
    return lists


def _whole(values: Floats) -> pa.Array:
    missing = ~(np.abs(values) < _NEVER_MS)  # NaN too
    whole = np.rint(np.where(missing, 0, values)).astype(np.int64)
    return pa.array(whole, mask=missing if missing.any() else None)


def _optional(values: pa.Array, bounds: Ints, has: Bools) -> pa.ListArray:
    """A list that is null in a view where no event has a value."""
    counts = np.concatenate([[0], np.cumsum(has)])[bounds]
    is_null = np.diff(counts) == 0
    if not is_null.any():
        return list_array(values, bounds)
    lengths = np.where(is_null, 0, np.diff(bounds))
    kept = values.filter(pa.array(np.repeat(~is_null, np.diff(bounds))))
    return list_array(kept, np.concatenate([[0], np.cumsum(lengths)]), null_rows=is_null)


class PointViews:
    """Views collected one by one.

    Args:
        pointer: what points, of every event with a place, unless a view says something else.
    """

    def __init__(self, pointer: str | None = None) -> None:
        self._pointer = pointer
        self._begin()

    def _begin(self) -> None:
        self.errors: list[RecordError] = []
        self._names: list[str] = []
        self._of_view: dict[str, list[Any]] = defaultdict(list)
        self._flat: dict[str, list[Any]] = defaultdict(list)
        self._lengths: list[int] = []
        self._pointers: list[str | None] = []
        self._num_events = 0

    @property
    def is_full(self) -> bool:
        """Whether enough was collected for a table."""
        return self._num_events >= EVENTS_AT_ONCE or len(self.errors) >= EVENTS_AT_ONCE // 16

    def add(
        self,
        name: str,
        event: str | Codes,
        x: Floats,
        y: Floats,
        time_ms: Floats | None = None,
        duration_ms: Floats | None = None,
        pointer: str | None = None,
        **of_view: Any,
    ) -> None:
        """Collect a view.

        Args:
            name: what an error calls it.
            event: name of the type of all events, or the positions in EVENTS of each.
            x, y: (num_events,) fractions; NaN without a place.
            time_ms, duration_ms: (num_events,); NaN or none if not known.
            pointer: what pointed in this view.
            of_view: other columns of VIEWS; the same ones for every view of a reader.
        """
        size = len(x)
        codes = np.full(size, CODE[event], np.int8) if isinstance(event, str) else event
        unknown = np.full(size, np.nan)
        self._names.append(name)
        self._lengths.append(size)
        self._pointers.append(pointer or self._pointer)
        self._num_events += size
        for key, values in (("event", codes), ("x", x), ("y", y)):
            self._flat[key].append(values)
        self._flat["time_ms"].append(unknown if time_ms is None else time_ms)
        self._flat["duration_ms"].append(unknown if duration_ms is None else duration_ms)
        for key, value in of_view.items():
            self._of_view[key].append(value)

    def take(self) -> Reading:
        """What was collected, as a table; collecting begins anew."""
        bounds = np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)])
        flat: Mapping[str, Any] = {
            key: np.concatenate(values) for key, values in self._flat.items()
        } or dict.fromkeys(("event", "x", "y", "time_ms", "duration_ms"), np.zeros(0))
        lists = event_lists(
            bounds,
            flat["event"].astype(np.int8),
            flat["x"].astype(np.float64),
            flat["y"].astype(np.float64),
            flat["time_ms"].astype(np.float64),
            flat["duration_ms"].astype(np.float64),
            pointer=self._pointers,
        )
        columns = {"image_id": [], **self._of_view, **lists}
        reading = Reading(views(columns), self._names, self.errors)
        self._begin()
        return reading
