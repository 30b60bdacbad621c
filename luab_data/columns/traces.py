"""Mouse traces: how long, how they approached the final click.

A trace concatenates several visits to the picture. What led to the final click is its last visit:
the records from the last `enter` at or before the click up to the click
(docs/definitions.md#trace-curves). All times are integers, so quantiles are cut exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.columns.events import final_click, is_enter, is_place, is_timed, times
from luab_data.ragged import (
    ArrowColumn,
    Bools,
    Floats,
    Ints,
    Ragged,
    bounds_of,
    floats,
    list_array,
    nullable,
    ragged,
)
from luab_data.schema import LAST_N, QUANTILES

_NEVER = np.iinfo(np.int64).min
STEPS = len(QUANTILES) - 1


class Approach(NamedTuple):
    """The visit that ends in the final click, for each row.

    Empty where there is no such click, or where it cannot be told: then there is no click here.
    """

    x: Floats  # (num_points,) fractions
    y: Floats  # (num_points,)
    time_ms: Ints  # (num_points,)
    bounds: Ints  # (num_rows + 1,)
    has_click: Bools  # (num_rows,)
    click_x: Floats  # (num_rows,) NaN without click
    click_y: Floats  # (num_rows,)
    click_ms: Ints  # (num_rows,) meaningless without click


def approach(
    hovered_record_action: ArrowColumn,
    hovered_record_time_ms: ArrowColumn,
    mouse_tracking_time_ms: ArrowColumn,
    mouse_tracking_x: ArrowColumn,
    mouse_tracking_y: ArrowColumn,
    selected_record_time_ms: ArrowColumn,
    selected_record_x: ArrowColumn,
    selected_record_y: ArrowColumn,
    selected: ArrowColumn,
) -> Approach:
    """Cut each row's trace to the visit that ends in its final click.

    Args:
        hovered_record_action, ..., selected_record_y: (num_rows,) lists of the deciding round.
        selected: (num_rows,) bool.
    Source: docs/definitions.md#trace-curves, "segment".
    """
    click_x, click_y = map(floats, final_click(selected_record_x, selected_record_y, selected))
    has_click = ~np.isnan(click_x)
    trace = times(mouse_tracking_time_ms)
    clocks = (hovered_record_time_ms, mouse_tracking_time_ms, selected_record_time_ms)
    # Which part of a trace is the last visit cannot be told without times.
    has_click &= is_timed(*clocks) | (trace.lengths == 0)
    clicks = times(selected_record_time_ms)
    click_ms = np.zeros(len(has_click), np.int64)
    click_ms[has_click] = clicks.values[clicks.bounds[1:][has_click] - 1]

    hovered = times(hovered_record_time_ms)
    enter = is_enter(hovered_record_action)
    entered = hovered.keep(enter & (hovered.values <= click_ms[hovered.rows]))
    # Without an enter (a log that lost it) the visit starts with the trace.
    start_ms = entered.reduce(np.maximum, _NEVER)

    row = trace.rows
    mask = has_click[row] & (trace.values >= start_ms[row]) & (trace.values <= click_ms[row])
    mask &= is_place(ragged(mouse_tracking_x).values, ragged(mouse_tracking_y).values)
    kept = trace.keep(mask)
    return Approach(
        x=ragged(mouse_tracking_x).values[mask],
        y=ragged(mouse_tracking_y).values[mask],
        time_ms=kept.values,
        bounds=kept.bounds,
        has_click=has_click,
        click_x=click_x,
        click_y=click_y,
        click_ms=click_ms,
    )


def taken(values: Floats, index: Ints, present: Bools) -> pa.ListArray:
    """values[index] as lists: index (num_present, k) for the rows where present is true."""
    lengths = np.where(present, index.shape[1], 0)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return list_array(pa.array(values[index.ravel()]), bounds, null_rows=~present)


def trace_quantile(visit: Approach) -> tuple[pa.ListArray, pa.ListArray]:
    """Position at record floor(q (m - 1)) of the visit's m records, q = 0, .1, ... 1.

    Returns: x and y, (num_rows,) lists of 11 float64, fractions of the picture.
    Null without a final click, or without a record in the visit that ends in it.
    Source: docs/definitions.md#trace-curves, appendix E of the paper.
    """
    length = np.diff(visit.bounds)
    present = length > 0
    step = np.arange(STEPS + 1)
    index = visit.bounds[:-1][present, None] + step * (length[present, None] - 1) // STEPS
    return taken(visit.x, index, present), taken(visit.y, index, present)


def time_quantile(visit: Approach) -> tuple[pa.ListArray, pa.ListArray]:
    """Position at the visit's last record at or before t0 + q (t_click - t0), q = 0, .1, ... 1.

    t0 is the first record's time.

    Returns: x and y, (num_rows,) lists of 11 float64, fractions of the picture.
    Null where trace_quantile is.
    Source: docs/definitions.md#trace-curves, appendix E of the paper.
    """
    present = np.diff(visit.bounds) > 0
    first = visit.bounds[:-1][present]
    start_ms = visit.time_ms[first]
    length = np.diff(visit.bounds)[present]
    place = np.repeat(np.arange(len(first)), length)
    duration = visit.click_ms[present] - start_ms
    reached = _first_step(visit.time_ms - start_ms[place], duration[place])
    # The last record that each step is the first to reach; of one step the last one stays.
    index = np.repeat(first[:, None], STEPS + 1, axis=1)
    index[place, reached] = np.arange(len(place))
    np.maximum.accumulate(index, axis=1, out=index)
    return taken(visit.x, index, present), taken(visit.y, index, present)


def _first_step(elapsed: Ints, duration: Ints) -> Ints:
    """The least k = 0, 1, ... with elapsed <= k duration / 10; elapsed is at most duration."""
    step = np.zeros(len(elapsed), np.int64)
    later = elapsed > 0
    elapsed, duration = elapsed[later], duration[later]
    # Ten times a duration must not overflow: no log has such times, but a parser lets them in.
    huge = np.int64(2**59)
    exact = object if (duration > huge).any() else np.int64
    step[later] = -(-STEPS * elapsed.astype(exact) // duration.astype(exact))
    return step


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
    """The click and the up to 8 trace records before it in its visit, nearest first.

    Returns: x and y, (num_rows,) lists of 9 float64, fractions of the picture.
    Null elements where the visit has fewer records; a null list without a final click.
    Source: docs/definitions.md#trace-curves, "Last-N".
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


def trace_length(mouse_tracking_time_ms: ArrowColumn, selected: ArrowColumn) -> pa.Array:
    """Trace records of the deciding round, all visits.

    Returns: (num_rows,) int32, a count.
    Null without a round.
    Source: docs/formats.md#throttle.
    """
    lengths = np.diff(bounds_of(mouse_tracking_time_ms))
    there = selected.is_valid().to_numpy(zero_copy_only=False)
    return nullable(lengths, there, pa.int32())


def dwell_time_ms(
    hovered_record_action: ArrowColumn,
    hovered_record_time_ms: ArrowColumn,
    mouse_tracking_time_ms: ArrowColumn,
    selected_record_time_ms: ArrowColumn,
) -> pa.Array:
    """Time the cursor was over the picture, selected or not.

    Each `enter` is paired with the `leave` that follows. A visit that lost its leave ends with the
    last trace or click record before the next `enter`, or with the round's last one.

    Returns: (num_rows,) int64, ms.
    Null if never entered, or if a record has no time.
    Source: hoveredRecord, docs/formats.md#visits.
    """
    hovered = times(hovered_record_time_ms)
    enter = is_enter(hovered_record_action)
    row = hovered.rows
    seen = [times(mouse_tracking_time_ms), times(selected_record_time_ms)]
    last = np.max([clock.reduce(np.maximum, _NEVER) for clock in (hovered, *seen)], axis=0)
    following = np.roll(hovered.values, -1)
    same_row = np.roll(row, -1) == row
    if len(row):
        same_row[-1] = False
    end = np.where(same_row, following, last[row])
    lost = np.flatnonzero(enter & same_row & np.roll(enter, -1))
    if len(lost):
        end[lost] = _last_seen(seen, row[lost], hovered.values[lost], end[lost])
    timed = is_timed(hovered_record_time_ms, mouse_tracking_time_ms, selected_record_time_ms)
    spans = np.where(enter & timed[row], np.maximum(end - hovered.values, 0), 0)
    total = Ragged(spans, hovered.bounds).reduce(np.add, 0)
    entered = Ragged(enter, hovered.bounds).reduce(np.logical_or, False)
    return nullable(total, entered & timed, pa.int64())


def _last_seen(clocks: list[Ragged], row: Ints, start_ms: Ints, stop_ms: Ints) -> Ints:
    """Time of the last record in [start_ms, stop_ms) of some rows.

    Args:
        clocks: times of records, (num_rows,) each.
        row, start_ms, stop_ms: (num_visits,).
    Returns: (num_visits,); start_ms where there is no such record.
    """
    wanted = np.zeros(len(clocks[0].lengths), bool)
    wanted[row] = True
    owners, moments = [row], [stop_ms]
    for clock in clocks:
        chosen = wanted[clock.rows]
        owners.append(clock.rows[chosen])
        moments.append(clock.values[chosen])
    owner, moment = np.concatenate(owners), np.concatenate(moments)
    is_record = np.arange(len(owner)) >= len(row)
    # In order of row and time, a visit's end stands right after the last record before it.
    order = np.lexsort((is_record, moment, owner))
    place = np.where(is_record[order], np.arange(len(order)), -1)
    before = np.empty(len(order), np.int64)
    before[order] = np.maximum.accumulate(place)
    before = before[: len(row)]
    found = order[before]  # -1 takes any one; the test below drops it
    seen = (before >= 0) & (owner[found] == row) & (moment[found] >= start_ms)
    return np.where(seen, moment[found], start_ms)
