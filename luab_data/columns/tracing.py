"""Traces that were asked for: where a view's points begin, end and lie, how far and how long.

The points of a view are its events that put the pointer, the gaze or a mark somewhere: `move`,
`fixation`, `click` and `add`, in the order of the log, off the picture or not. A `down` or `up`
repeats a click, an `enter` or `leave` is on the border.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns import traces
from luab_data.columns.events import is_place
from luab_data.columns.hulls import hulls_of
from luab_data.columns.regions import hull_columns
from luab_data.columns.traces import Approach
from luab_data.ragged import (
    ArrowColumn,
    Bools,
    Floats,
    Ints,
    Ragged,
    bounds_of,
    is_true,
    nullable,
    one_array,
    ragged,
)

POINTS = ("move", "fixation", "click", "add")
"""Types of events that are points of a trace."""

CLICKS = ("click", "add")
"""Those that somebody set on purpose."""

NEVER = np.iinfo(np.int64).min
"""Time of a point that has none."""


def is_point(event: ArrowColumn, types: tuple[str, ...] = POINTS) -> Bools:
    """(num_events,) whether each event is of such a type."""
    return is_true(pc.is_in(one_array(event).flatten(), value_set=pa.array(types)))


def trace(
    event: ArrowColumn, event_time_ms: ArrowColumn, event_x: ArrowColumn, event_y: ArrowColumn
) -> Approach:
    """The points of each view, as the approach to its last one.

    Args:
        event, ..., event_y: (num_rows,) lists of TRACING_TRACES.
    Returns: times are NEVER where there is none, `has_click` is whether there is any point.
    """
    x, y = ragged(event_x), ragged(event_y).values
    mask = is_point(event) & is_place(x.values, y)
    kept = x.keep(mask)
    y, time_ms = y[mask], ragged(event_time_ms, null=NEVER).values[mask]
    there, last = kept.lengths > 0, kept.bounds[1:] - 1
    end = [np.full(len(there), empty) for empty in (np.nan, np.nan, NEVER)]
    for found, values in zip(end, (kept.values, y, time_ms), strict=True):
        found[there] = values[last[there]]
    return Approach(kept.values, y, time_ms, kept.bounds, there, end[0], end[1], end[2])


def trace_length(visit: Approach) -> pa.Array:
    """Points of the view.

    Returns: (num_rows,) int32, a count.
    Null never.
    Source: docs/definitions.md#asked-for-traces
    """
    return pa.array(np.diff(visit.bounds), pa.int32())


def num_clicks(event: ArrowColumn, visit: Approach) -> pa.Array:
    """Clicks and adds of the view.

    Returns: (num_rows,) int32, a count.
    Null where there are points but no such event: the tool need not log them.
    Source: docs/definitions.md#asked-for-traces
    """
    flags = is_point(event, CLICKS)
    count = Ragged(flags.astype(np.int64), bounds_of(event)).reduce(np.add, 0)
    return nullable(count, (count > 0) | ~visit.has_click, pa.int32())


def first_point(visit: Approach) -> tuple[pa.Array, pa.Array]:
    """The first point.

    Returns: x and y, (num_rows,) float64, fractions of the picture.
    Null without any.
    Source: docs/definitions.md#asked-for-traces
    """
    return _at(visit, visit.bounds[:-1])


def last_point(visit: Approach) -> tuple[pa.Array, pa.Array]:
    """The last point.

    Returns: x and y, (num_rows,) float64, fractions of the picture.
    Null without any.
    Source: docs/definitions.md#asked-for-traces
    """
    return _at(visit, visit.bounds[1:] - 1)


def _at(visit: Approach, index: Ints) -> tuple[pa.Array, pa.Array]:
    return _points(visit, *(v[index[visit.has_click]] for v in (visit.x, visit.y)))


def _points(visit: Approach, x: Floats, y: Floats) -> tuple[pa.Array, pa.Array]:
    """A point for each row that has any, (num_present,), null elsewhere."""
    both = []
    for values in (x, y):
        column = np.zeros(len(visit.has_click))
        column[visit.has_click] = values
        both.append(nullable(column, visit.has_click, pa.float64()))
    return both[0], both[1]


def _mean(visit: Approach, values: Floats) -> Floats:
    """(num_present,) mean over the points of each row that has any."""
    length = np.diff(visit.bounds)[visit.has_click]
    total = Ragged(values, visit.bounds).reduce(np.add, 0.0)[visit.has_click]
    return np.asarray(total / length)


def centroid(visit: Approach) -> tuple[pa.Array, pa.Array]:
    """Mean of the points, each counted once, however long it took.

    Returns: x and y, (num_rows,) float64, fractions of the picture.
    Null without any.
    Source: docs/definitions.md#asked-for-traces
    """
    return _points(visit, _mean(visit, visit.x), _mean(visit, visit.y))


def outside_share(visit: Approach) -> pa.Array:
    """Points off the picture over points.

    Returns: (num_rows,) float64 in [0, 1].
    Null without any.
    Source: docs/definitions.md#asked-for-traces
    """
    x, y = visit.x, visit.y
    outside = (x < 0) | (x > 1) | (y < 0) | (y > 1)
    return _points(visit, *[_mean(visit, outside.astype(np.float64))] * 2)[0]


def path_length(visit: Approach) -> pa.Array:
    """Sum of the steps from each point to the next.

    Returns: (num_rows,) float64; x in widths and y in heights of the picture; 0 of one point.
    Null without any.
    Source: docs/definitions.md#asked-for-traces
    """
    step = np.hypot(np.diff(visit.x, prepend=0), np.diff(visit.y, prepend=0))
    step[visit.bounds[:-1][visit.has_click]] = 0
    total = Ragged(step, visit.bounds).reduce(np.add, 0.0)
    return nullable(total, visit.has_click, pa.float64())


def duration_ms(event_time_ms: ArrowColumn, event_duration_ms: ArrowColumn) -> pa.Array:
    """From the first event to the end of the last one, fixations and words included.

    Returns: (num_rows,) int64, ms.
    Null if no event has a time.
    Source: docs/definitions.md#asked-for-traces
    """
    start = ragged(event_time_ms, null=NEVER)
    there = start.values > NEVER
    own = ragged(event_duration_ms, null=0)
    end = start.values.copy()
    end[np.repeat(own.lengths > 0, start.lengths)] += own.values
    kept = start.keep(there)
    first = kept.reduce(np.minimum, 0)
    last = kept._replace(values=end[there]).reduce(np.maximum, 0)
    return nullable(last - first, kept.lengths > 0, pa.int64())


def by_time(visit: Approach) -> tuple[pa.ListArray, pa.ListArray]:
    """Last point at or before t0 + q (t1 - t0), q = 0, .1, ... 1; t0 of the first, t1 of the last.

    Times that decrease count as the latest one before.

    Returns: x and y, (num_rows,) lists of 11 float64, fractions of the picture.
    Null without a point, or where one has no time.
    Source: docs/definitions.md#asked-for-traces
    """
    points = Ragged(visit.time_ms, visit.bounds)
    timed = visit.has_click & ~points.any(visit.time_ms == NEVER)
    mask = np.repeat(timed, points.lengths)
    kept = points.keep(mask)
    begin, end = kept.bounds[:-1][timed], kept.bounds[1:][timed] - 1
    elapsed = np.maximum(kept.values - np.repeat(kept.values[begin], kept.lengths[timed]), 0)
    # Rows laid end to end: the running maximum of all is that of each, and one search finds all.
    span = np.append(0, np.cumsum(kept._replace(values=elapsed).reduce(np.maximum, 0)))
    clock = np.maximum.accumulate(np.repeat(span[:-1], kept.lengths) + elapsed)
    start, duration = span[:-1][timed, None], np.diff(span)[timed, None]
    reached = start + np.arange(traces.STEPS + 1) * duration // traces.STEPS
    index = np.searchsorted(clock, reached, "right") - 1
    np.minimum(index, end[:, None], out=index)  # the next row begins at the time this one ends
    x, y = visit.x[mask], visit.y[mask]
    return traces.taken(x, index, timed), traces.taken(y, index, timed)


def hulls(visit: Approach) -> tuple[pa.ListArray, pa.ListArray, pa.Array]:
    """Convex hull of the points.

    Returns: hull_x, hull_y, (num_rows,) lists of fractions, counter-clockwise as seen on screen
    (y down) from the leftmost vertex, not closed; and hull_area (num_rows,) in fractions of the
    picture's area. One or two vertices and area 0 where all points coincide or are collinear.
    Null without any.
    Source: docs/definitions.md#hull
    """
    return hull_columns(hulls_of(visit.x, visit.y, visit.bounds), visit.has_click)
