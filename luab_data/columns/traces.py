"""Mouse traces: how long, how they approached the final click.

A trace concatenates several visits to the picture. What led to the final click is its last visit:
the records from the last `enter` at or before the click up to the click (metrics 4.7). All times
are integers, so quantiles are cut exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.columns.clicks import is_true
from luab_data.ragged import Bools, Floats, Ints, Ragged, bounds_of, list_array, nullable, ragged
from luab_data.schema import LAST_N, QUANTILES

_NEVER = np.iinfo(np.int64).min
_STEPS = len(QUANTILES) - 1


class Approach(NamedTuple):
    """The visit that ends in the final click, for each row; empty where there is no such click."""

    x: Floats  # (num_points,) fractions
    y: Floats  # (num_points,)
    time_ms: Ints  # (num_points,)
    bounds: Ints  # (num_rows + 1,)
    has_click: Bools  # (num_rows,)
    click_x: Floats  # (num_rows,) NaN without click
    click_y: Floats  # (num_rows,)
    click_ms: Ints  # (num_rows,) meaningless without click


def approach(rows: pa.Table) -> Approach:
    """Cut each row's trace to the visit that ends in its final click.

    Args:
        rows: (num_rows,) hovered_record_*, mouse_tracking_*, selected_record_* and selected.
    """
    clicks = ragged(rows["selected_record_time_ms"])
    has_click = is_true(rows["selected"]) & (clicks.lengths > 0)
    last = clicks.bounds[1:][has_click] - 1
    click_ms = np.zeros(len(has_click), np.int64)
    click_ms[has_click] = clicks.values[last]
    click_x, click_y = np.full((2, len(has_click)), np.nan)
    click_x[has_click] = ragged(rows["selected_record_x"]).values[last]
    click_y[has_click] = ragged(rows["selected_record_y"]).values[last]

    hovered = ragged(rows["hovered_record_time_ms"])
    action = ragged(rows["hovered_record_action"]).values
    entered = hovered.keep((action == "enter") & (hovered.values <= click_ms[hovered.rows]))
    # Without an enter (a log that lost it) the visit starts with the trace.
    start_ms = entered.reduce(np.maximum, _NEVER)

    trace = ragged(rows["mouse_tracking_time_ms"])
    row = trace.rows
    mask = has_click[row] & (trace.values >= start_ms[row]) & (trace.values <= click_ms[row])
    kept = trace.keep(mask)
    return Approach(
        x=ragged(rows["mouse_tracking_x"]).values[mask],
        y=ragged(rows["mouse_tracking_y"]).values[mask],
        time_ms=kept.values,
        bounds=kept.bounds,
        has_click=has_click,
        click_x=click_x,
        click_y=click_y,
        click_ms=click_ms,
    )


def _taken(values: Floats, index: Ints, present: Bools) -> pa.ListArray:
    """values[index] as lists: index (num_present, k) for the rows where present is true."""
    lengths = np.where(present, index.shape[1], 0)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return list_array(pa.array(values[index.ravel()]), bounds, null_rows=~present)


def trace_quantile(visit: Approach) -> tuple[pa.ListArray, pa.ListArray]:
    """Position at record floor(q (m - 1)) of the visit's m records, q = 0, .1, ... 1.

    Returns: x and y, (num_rows,) lists of 11 fractions; null without a click or records.
    Source: metrics 4.7, appendix E of the paper.
    """
    length = np.diff(visit.bounds)
    present = length > 0
    step = np.arange(_STEPS + 1)
    index = visit.bounds[:-1][present, None] + step * (length[present, None] - 1) // _STEPS
    return _taken(visit.x, index, present), _taken(visit.y, index, present)


def time_quantile(visit: Approach) -> tuple[pa.ListArray, pa.ListArray]:
    """Position at the visit's last record at or before t0 + q (t_click - t0), q = 0, .1, ... 1.

    t0 is the first record's time. Returns and nulls as trace_quantile. Source: metrics 4.7.
    """
    present = np.diff(visit.bounds) > 0
    first = visit.bounds[:-1][present]
    start_ms = visit.time_ms[first]
    duration = visit.click_ms[present] - start_ms
    starts = Ragged(visit.time_ms, visit.bounds).rows
    compact = np.cumsum(present) - 1  # row -> its place among the present rows
    place = compact[starts]
    elapsed = _STEPS * (visit.time_ms - start_ms[place])
    position = np.arange(len(visit.time_ms))
    index = np.empty((len(first), _STEPS + 1), np.int64)
    for step in range(_STEPS + 1):
        reached = np.where(elapsed <= step * duration[place], position, -1)
        found = Ragged(reached, visit.bounds).reduce(np.maximum, -1)[present]
        index[:, step] = np.where(found >= 0, found, first)
    return _taken(visit.x, index, present), _taken(visit.y, index, present)


class LastN(NamedTuple):
    """The click and the records before it: (num_clicks, LAST_N), NaN where the visit is shorter."""

    x: Floats
    y: Floats
    has_click: Bools  # (num_rows,) which rows the num_clicks rows are


def last_n_points(visit: Approach) -> LastN:
    """The N-th record before the final click in its visit, N = 0..8; N = 0 is the click itself."""
    length = np.diff(visit.bounds)[visit.has_click]
    end = visit.bounds[1:][visit.has_click]
    before = np.arange(LAST_N)
    there = (before >= 1) & (before <= length[:, None])
    index = np.where(there, end[:, None] - before, 0)
    points = []
    for values, click in ((visit.x, visit.click_x), (visit.y, visit.click_y)):
        column = np.full(index.shape, np.nan)
        column[there] = values[index[there]]
        column[:, 0] = click[visit.has_click]
        points.append(column)
    return LastN(points[0], points[1], visit.has_click)


def last_n(points: LastN) -> tuple[pa.ListArray, pa.ListArray]:
    """last_n_points as list columns.

    Returns: two (num_rows,) lists of 9 fractions, null elements where the visit has fewer records;
    the list is null without a final click. Source: metrics 4.7, "Last-N".
    """
    lengths = np.where(points.has_click, LAST_N, 0)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    x, y = (
        list_array(
            pa.array(values.ravel(), mask=np.isnan(values.ravel())),
            bounds,
            null_rows=~points.has_click,
        )
        for values in (points.x, points.y)
    )
    return x, y


def trace_length(record_time: pa.ChunkedArray, selected: pa.ChunkedArray) -> pa.Array:
    """Trace records of the round, all visits, (num_rows,) int32; null without a round."""
    lengths = np.diff(bounds_of(record_time))
    return nullable(lengths, selected.is_valid().to_numpy(), pa.int32())


def dwell_time_ms(rows: pa.Table) -> pa.Array:
    """Time the cursor was over the picture, selected or not, (num_rows,) int64 ms.

    Each `enter` is paired with the `leave` that follows. A visit that lost its leave ends with the
    last trace or click record before the next `enter`, or with the round's last one.
    Returns: null if never entered. Source: hoveredRecord, metrics 6.1-5.
    """
    hovered = ragged(rows["hovered_record_time_ms"])
    action = ragged(rows["hovered_record_action"]).values
    enter = action == "enter"
    row = hovered.rows
    last = np.max(
        [ragged(rows[c]).reduce(np.maximum, _NEVER) for c in _CLOCKS],
        axis=0,
        initial=_NEVER,
    )
    following = np.roll(hovered.values, -1)
    same_row = np.roll(row, -1) == row
    if len(row):
        same_row[-1] = False
    end = np.where(same_row, following, last[row])
    for visit in np.flatnonzero(enter & same_row & np.roll(enter, -1)):  # rare: a leave was lost
        end[visit] = _last_seen(rows, int(row[visit]), hovered.values[visit], end[visit])
    spans = np.where(enter, np.maximum(end - hovered.values, 0), 0)
    total = Ragged(spans, hovered.bounds).reduce(np.add, 0)
    entered = Ragged(enter, hovered.bounds).reduce(np.logical_or, False)
    return nullable(total, entered, pa.int64())


def _last_seen(rows: pa.Table, row: int, start_ms: int, stop_ms: int) -> int:
    """Time of the row's last trace or click record in [start_ms, stop_ms); start_ms without any."""
    moments = [t for c in _CLOCKS[1:] for t in rows[c][row].as_py() if start_ms <= t < stop_ms]
    return max(moments, default=start_ms)


_CLOCKS = ("hovered_record_time_ms", "mouse_tracking_time_ms", "selected_record_time_ms")
