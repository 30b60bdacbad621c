"""What must hold in the rows of a tracing dataset, and what can be odd about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from luab_data.checks.lint import (
    Broken,
    KindChecks,
    Rule,
    Severity,
    Window,
    decreases,
    outside,
)
from luab_data.checks.rows import first
from luab_data.columns.traced import TRACING
from luab_data.columns.traces import Approach
from luab_data.columns.tracing import is_point, trace
from luab_data.ragged import Bools, Floats, Ints, Ragged, bounds_of, floats, one_array

_LEFT_OPEN_MS = 30 * 60 * 1000
_FAR, _MANY = 1.0, 10
_SOURCE = "docs/definitions.md#asked-for-traces"


class Traces(Window):
    """Views, and all that was logged of each."""

    def lists(self, name: str) -> Ragged:
        """A list of numbers of each record, NaN for null."""
        if name not in self._lists:
            values = floats(one_array(self.records[name]).flatten())
            self._lists[name] = Ragged(values, bounds_of(self.records[name]))
        return self._lists[name]

    @cached_property
    def points(self) -> Approach:
        """The points of each view."""
        names = ("event", "event_time_ms", "event_x", "event_y")
        return trace(*(self.records[name] for name in names))

    @cached_property
    def time(self) -> Ragged:
        """Times of all events that have one, by view."""
        times = self.lists("event_time_ms")
        return times.keep(~np.isnan(times.values))

    def any_point(self, flags: Bools) -> Bools:
        """(num_records,) whether any of a view's points is flagged (num_points,)."""
        return Ragged(flags, self.points.bounds).any(flags)


def _unplaced(t: Traces) -> Bools:
    event = one_array(t.records["event"])
    lost = np.isnan(t.lists("event_x").values + t.lists("event_y").values)
    return Ragged(lost, bounds_of(event)).any(lost & is_point(event))


def _spread(t: Traces) -> Floats:
    """(num_records,) the larger side of the box around each view's points; 0 without any."""
    rows = [Ragged(v, t.points.bounds) for v in (t.points.x, t.points.y)]
    sides = [v.reduce(np.maximum, 0.0) - v.reduce(np.minimum, 0.0) for v in rows]
    return np.asarray(np.max(sides, axis=0))


def _length(t: Traces) -> Ints:
    return np.diff(t.points.bounds)


def _repeated(t: Traces) -> Bools:
    """A view with the trace of an earlier one of the same image and annotator."""
    codes = [_codes(t.records[name]) for name in ("image_id", "worker_id")]
    names = ("trace_length", "centroid_x", "centroid_y", "path_length", "duration_ms")
    key = np.stack([*codes, *(np.nan_to_num(t.of_image(n), nan=-1) for n in names)], axis=1)
    found = np.ones(len(key), np.bool_)
    found[np.unique(key, axis=0, return_index=True)[1]] = False
    return found & (_length(t) > 1)


def _codes(column: pa.ChunkedArray) -> Floats:
    return floats(one_array(column).dictionary_encode().indices)


_RULES: tuple[tuple[str, Severity, str, Callable[[Traces], Bools]], ...] = (
    ("time-backwards", "error",
     "Times of events decrease: they are not in their order, or the clock was set.",
     lambda t: decreases(t.time)),
    ("missing-point", "error",
     "A move, fixation, click or add has no place.",
     _unplaced),
    ("negative-duration", "error",
     "A fixation or a word takes less than no time.",
     lambda t: t.lists("event_duration_ms").any(t.lists("event_duration_ms").values < 0)),
    ("far-outside", "warning",
     "A point lies more than a picture's size off the picture. Is its unit what it was taken for?",
     lambda t: t.any_point((np.abs(t.points.x - 0.5) > 0.5 + _FAR)
                           | (np.abs(t.points.y - 0.5) > 0.5 + _FAR))),
    ("mostly-outside", "warning",
     "More than half of the points are off the picture. Was it where the log says?",
     lambda t: t.of_image("outside_share") > 0.5),
    ("no-time-passes", "warning",
     "Two points or more, and all events at one time.",
     lambda t: (_length(t) > 1) & (t.of_image("duration_ms") == 0)),
    ("pointer-at-rest", "warning",
     f"{_MANY} points or more, all on one place.",
     lambda t: (_length(t) >= _MANY) & (_spread(t) == 0)),
    ("repeated-trace", "warning",
     "The same annotator left the same trace on the image before, in the same shard: the record"
     " may be in the log twice.",
     _repeated),
    ("trace-outside", "info",
     "A point is off the picture.",
     lambda t: t.any_point(outside(t.points.x, t.points.y))),
    ("empty-trace", "info",
     "No point at all: nothing was pointed at, or nothing was logged.",
     lambda t: _length(t) == 0),
    ("view-left-open", "info",
     "More than half an hour on one picture. Use medians.",
     lambda t: t.of_image("duration_ms") > _LEFT_OPEN_MS),
    ("size-missing", "info",
     "The size of the picture is not known, so fractions cannot be told in pixels.",
     lambda t: np.isnan(t.of_image("width") + t.of_image("height"))),
)  # fmt: skip


def _views(table: pa.Table, classes: Sequence[str] | None) -> Iterator[Broken]:
    """Views count from 1, shares are shares."""
    yield from first(floats(table["view"]) < 1, "values", "view is below 1", "1, 2, ...")
    share = floats(table["outside_share"])
    odd = (share < 0) | (share > 1)
    yield from first(odd, "values", "outside_share is no share", "a number from 0 to 1")


CHECKS = KindChecks(
    not_null={
        "default": ("image_id", "view", "trace_length"),
        "traces": ("image_id", "view", "event", "event_time_ms", "event_x", "event_y"),
        "annotators": ("worker_id",),
    },
    full=("event", "hull_x", "hull_y", "trace_quantile_x", "trace_quantile_y"),
    of_images=_views,
    of_records=lambda traces: iter(()),
    num_records=lambda views: np.ones(len(views), np.int64),
    sources=lambda views, traces, names, classes: TRACING.logged(names, traces),
    rules=tuple(
        Rule("traces", name, severity, _SOURCE, doc, find) for name, severity, doc, find in _RULES
    ),
    window=Traces,
)
