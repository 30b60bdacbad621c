"""What can be odd about the rows of COCO-AB; each function is a mask over rows, see rules.py.

All of them take a table of `actions`, a row an image. A missing (null) value is never odd by
itself, but where the function says so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.checks.masks import (
    any_in_row,
    any_of,
    decreases,
    floats,
    original_is,
    original_logged,
    points_outside,
    size_missing,
)
from luab_data.columns.clicks import is_true
from luab_data.ragged import Bools, Ints, Ragged, bounds_of, one_array, ragged
from luab_data.raw.coco import ACTIONS
from luab_data.schema import COCO_CLASSES, COCO_SUPERCLASSES

CLOCKS = (
    *("action_histories_time_at_ms", "category_histories_time_at_ms"),
    "mouse_tracking_time_at_ms",
)
POINTS = ("action_histories_point_from", "action_histories_point_to")
PAGES = 20
MIN_CATEGORY_RECORDS = len(COCO_SUPERCLASSES) - 1
BOARD_HEIGHT = 450
_BORDER_PX = 2
_LEFT_OPEN_MS = 30 * 60 * 1000
_ROUNDING_PX = 2.0
_ROUNDING = 1e-9
_ADD, _MOVE, _REMOVE = range(len(ACTIONS))
_SUPERCLASSES = tuple(COCO_SUPERCLASSES)
_SHOWN_WITH = {
    name: index for index, names in enumerate(COCO_SUPERCLASSES.values()) for name in names
}


def _codes(column: pa.ChunkedArray, known: tuple[str, ...]) -> Ragged:
    """A list column of names as their positions in `known`; -1 for any other name."""
    lists = one_array(column)
    codes = pc.fill_null(pc.index_in(lists.flatten(), value_set=pa.array(known)), -1)
    return Ragged(codes.to_numpy(zero_copy_only=False).astype(np.int64), bounds_of(lists))


class _Histories(NamedTuple):
    """Actions (num_actions,) grouped by image and class, in logged order within an icon."""

    row: Ints
    action: Ints  # position in ACTIONS, -1 if unknown
    order: Ints  # where each action stands among the logged ones
    first: Bools  # the icon's first action
    present: Bools  # whether the icon was on the image just before


def _histories(table: pa.Table) -> _Histories:
    types = _codes(table["action_histories_action_type"], ACTIONS)
    label = _codes(table["action_histories_icon_type"], COCO_CLASSES).values
    order = np.lexsort((label, types.rows))  # stable: logged order within an icon
    row, label, action = types.rows[order], label[order], types.values[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (row[1:] != row[:-1]) | (label[1:] != label[:-1])
    present = np.zeros(len(order), np.bool_)
    present[1:] = ~first[1:] & (action[:-1] != _REMOVE)
    return _Histories(row, action, order, first, present)


def _of_rows(flags: Bools, row: Ints, num_rows: int) -> Bools:
    found = np.zeros(num_rows, np.bool_)
    found[row[flags]] = True
    return found


def _grammar(table: pa.Table, action: int, present: bool) -> Bools:
    """Rows with an action on an icon that was (or was not) on the image."""
    icon = _histories(table)
    odd = (icon.action == action) & (icon.present == present)
    return _of_rows(odd, icon.row, len(table))


def move_without_add(table: pa.Table) -> Bools:
    """An icon is moved that is not on the image."""
    return _grammar(table, _MOVE, False)


def remove_without_add(table: pa.Table) -> Bools:
    """An icon is removed that is not on the image."""
    return _grammar(table, _REMOVE, False)


def double_add(table: pa.Table) -> Bools:
    """An icon is added that is on the image already."""
    return _grammar(table, _ADD, True)


def moved_from_elsewhere(table: pa.Table) -> Bools:
    """A move or remove starts where the icon was not."""
    icon = _histories(table)
    away = np.zeros(len(icon.order), np.bool_)
    for axis in ("x", "y"):
        start = ragged(table[f"{POINTS[0]}_{axis}"]).values[icon.order]
        end = ragged(table[f"{POINTS[1]}_{axis}"]).values[icon.order]
        away[1:] |= np.abs(start[1:] - end[:-1]) > _ROUNDING  # NaN, not logged, is not away
    return _of_rows(away & icon.present & (icon.action != _ADD), icon.row, len(table))


def icons_on_one_point(table: pa.Table) -> Bools:
    """Two icons end on the very same point."""
    icon = _histories(table)
    last = np.append(icon.first[1:], True)[: len(icon.first)]
    there = last & (icon.action != _REMOVE)
    x, y = (ragged(table[f"{POINTS[1]}_{axis}"]).values[icon.order][there] for axis in "xy")
    row = icon.row[there]
    order = np.lexsort((y, x, row))
    row, x, y = row[order], x[order], y[order]
    same = np.zeros(len(row), np.bool_)
    same[1:] = (row[1:] == row[:-1]) & (x[1:] == x[:-1]) & (y[1:] == y[:-1])
    return _of_rows(same, row, len(table))


def unknown_name(table: pa.Table) -> Bools:
    """An icon is none of the 80 classes, or an action none of add, move, remove."""
    icons = _codes(table["action_histories_icon_type"], COCO_CLASSES)
    types = _codes(table["action_histories_action_type"], ACTIONS)
    return any_in_row(icons.values < 0, icons.bounds) | any_in_row(types.values < 0, types.bounds)


def missing_point(table: pa.Table) -> Bools:
    """An add or move without a point: a coordinate was divided by zero in the browser."""
    types = _codes(table["action_histories_action_type"], ACTIONS)
    to_x, to_y = (ragged(table[f"{POINTS[1]}_{axis}"]).values for axis in "xy")
    lost = (types.values != _REMOVE) & (np.isnan(to_x) | np.isnan(to_y))
    return any_in_row(lost, types.bounds)


def unexpected_point(table: pa.Table) -> Bools:
    """An add that comes from a point, or a remove that goes to one."""
    types = _codes(table["action_histories_action_type"], ACTIONS)
    start, end = (~np.isnan(ragged(table[f"{point}_x"]).values) for point in POINTS)
    odd = ((types.values == _ADD) & start) | ((types.values == _REMOVE) & end)
    return any_in_row(odd, types.bounds)


def point_outside(table: pa.Table) -> Bools:
    """An icon was put off the picture, be it by its 2 px border."""
    return points_outside(table, POINTS[1])


def trace_outside(table: pa.Table) -> Bools:
    """A trace record is off the picture, be it by its 2 px border."""
    return points_outside(table, "mouse_tracking")


def beyond_border(table: pa.Table) -> Bools:
    """An icon or a trace record lies beyond the 2 px border, where the tool hears nothing."""
    height = floats(table["image_height"])
    height = np.where(height > 0, height, BOARD_HEIGHT)
    with np.errstate(divide="ignore", invalid="ignore"):
        width = height * floats(table["image.width"]) / floats(table["image.height"])
    width = np.where(np.isfinite(width) & (width > 0), width, BOARD_HEIGHT)
    found = np.zeros(len(table), np.bool_)
    for prefix in (POINTS[1], "mouse_tracking"):
        for axis, size in (("x", width), ("y", height)):
            values = ragged(table[f"{prefix}_{axis}"])
            margin = (_BORDER_PX / size + _ROUNDING)[values.rows]
            found |= any_in_row(
                (values.values < -margin) | (values.values > 1 + margin), values.bounds
            )
    return found


def time_backwards(table: pa.Table) -> Bools:
    """Action, category or trace times decrease."""
    return any_of(decreases(ragged(table[clock])) for clock in CLOCKS)


def time_before_page(table: pa.Table) -> Bools:
    """Something was logged before the page began."""
    clocks = [ragged(table[clock]) for clock in CLOCKS]
    return any_of(any_in_row(clock.values < 0, clock.bounds) for clock in clocks)


def time_after_page(table: pa.Table) -> Bools:
    """Something was logged later than the time spent on the page."""
    spent = pc.fill_null(table["time_spent_ms"], np.iinfo(np.int64).max)
    limit = spent.to_numpy(zero_copy_only=False)
    clocks = [ragged(table[clock]) for clock in CLOCKS]
    late = [any_in_row(clock.values > limit[clock.rows], clock.bounds) for clock in clocks]
    return any_of(late)


def page_left_open(table: pa.Table) -> Bools:
    """More than half an hour on one page."""
    return is_true(pc.greater(table["time_spent_ms"], _LEFT_OPEN_MS))


def zero_size(table: pa.Table) -> Bools:
    """A size as logged is 0, negative or missing."""
    return size_missing(table)


def size_swapped(table: pa.Table) -> Bools:
    """The original size as logged is that of COCO with width and height swapped."""
    swapped = original_is(table, "image.height", "image.width")
    return _sized(table) & swapped & ~original_is(table, "image.width", "image.height")


def size_disagrees(table: pa.Table) -> Bools:
    """The original size as logged is not that of COCO, nor that swapped."""
    same = original_is(table, "image.width", "image.height")
    return _sized(table) & ~same & ~original_is(table, "image.height", "image.width")


def _sized(table: pa.Table) -> Bools:
    """Whether a size was logged, and another one is known."""
    known: Bools = table["image.width"].is_valid().to_numpy()
    return original_logged(table) & known


def width_copies_height(table: pa.Table) -> Bools:
    """The width on the page equals the height though the picture is not square."""
    width, height = floats(table["image_width"]), floats(table["image_height"])
    with np.errstate(divide="ignore", invalid="ignore"):
        true_width = height * floats(table["image.width"]) / floats(table["image.height"])
    found: Bools = (width == height) & (width > 0) & (np.abs(true_width - width) > _ROUNDING_PX)
    return found


def page_height(table: pa.Table) -> Bools:
    """The height on the page is neither 450 nor, of a zoomed browser, 449 or 451."""
    height = table["image_height"]
    odd = pc.greater(pc.abs(pc.subtract(height.cast(pa.int64()), BOARD_HEIGHT)), 1)
    return is_true(pc.and_(odd, pc.greater(height, 0)))


def short_category_history(table: pa.Table) -> Bools:
    """Fewer category records than it takes to see every superclass."""
    bounds = bounds_of(table["category_histories_category_index"])
    found: Bools = np.diff(bounds) < MIN_CATEGORY_RECORDS
    return found


def last_category_unseen(table: pa.Table) -> Bools:
    """The last superclass was never shown, without which the tool does not submit."""
    index = ragged(table["category_histories_category_index"])
    return ~any_in_row(index.values == len(_SUPERCLASSES) - 1, index.bounds)


def category_jump(table: pa.Table) -> Bools:
    """The superclass shown did not change by one, counted from the first one."""
    index = ragged(table["category_histories_category_index"])
    values = index.values.astype(np.int64)
    before = np.roll(values, 1)
    before[index.bounds[:-1][index.lengths > 0]] = 0
    return any_in_row(np.abs(values - before) != 1, index.bounds)


def category_name(table: pa.Table) -> Bools:
    """A category record's name is not that of its index."""
    index = ragged(table["category_histories_category_index"])
    names = _codes(table["category_histories_category_name"], _SUPERCLASSES)
    return any_in_row((names.values < 0) | (names.values != index.values), index.bounds)


def icon_not_shown(table: pa.Table) -> Bools:
    """An icon was added while another superclass was shown."""
    icons = _codes(table["action_histories_icon_type"], COCO_CLASSES)
    added = _codes(table["action_histories_action_type"], ACTIONS).values == _ADD
    group = np.array([_SHOWN_WITH[name] for name in COCO_CLASSES] + [-1])[icons.values]
    times = ragged(table["action_histories_time_at_ms"]).values
    # In the millisecond of a change either superclass will do.
    shown = [_shown_at(table, icons.rows, times, ties=ties) for ties in (False, True)]
    odd = added & (group >= 0) & (group != shown[0]) & (group != shown[1])
    return any_in_row(odd, icons.bounds)


def _shown_at(table: pa.Table, rows: Ints, times: Ints, *, ties: bool) -> Ints:
    """Superclass (num_actions,) on show just before (or after, with ties) each moment."""
    changes = ragged(table["category_histories_time_at_ms"])
    index = ragged(table["category_histories_category_index"]).values.astype(np.int64)
    # Per image: its start (superclass 0), its changes and its actions, in the order of time.
    num_rows = len(changes.bounds) - 1
    row = np.concatenate([np.arange(num_rows), changes.rows, rows])
    time = np.concatenate([np.full(num_rows, np.iinfo(np.int64).min), changes.values, times])
    rank = np.repeat([0, 1, 2 if ties else 0], [num_rows, len(index), len(times)])
    order = np.lexsort((rank, time, row))
    value = np.concatenate([np.zeros(num_rows, np.int64), index])
    is_change = order < len(value)
    latest = np.maximum.accumulate(np.where(is_change, np.arange(len(order)), -1))
    shown = np.empty(len(order), np.int64)
    shown[order] = value[order[latest]]
    return shown[len(value) :]


def trace_missing(table: pa.Table) -> Bools:
    """There are actions, but the trace is empty."""
    acted = np.diff(bounds_of(table["action_histories_action_type"])) > 0
    found: Bools = acted & (np.diff(bounds_of(table["mouse_tracking_x"])) == 0)
    return found


def no_actions(table: pa.Table) -> Bools:
    """No icon was ever put on the image."""
    found: Bools = np.diff(bounds_of(table["action_histories_action_type"])) == 0
    return found


def page_range(table: pa.Table) -> Bools:
    """The page does not exist."""
    page = table["page_id"]
    return is_true(pc.or_(pc.less(page, 0), pc.greater_equal(page, PAGES)))
