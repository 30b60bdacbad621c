"""What can be odd about the rows of ImageNet-AB; each function is a mask over rows, see rules.py.

All of them take a table of `rounds` (or `default` where it says images), in which the rounds of an
image stand side by side, ordered by submit time. A missing (null) value is never odd by itself,
but for `zero_size`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.checks.masks import (
    SIZES,
    all_of,
    any_in_row,
    any_of,
    decreases,
    floats,
    original_is,
    original_logged,
    outside,
    points_outside,
    size_missing,
)
from luab_data.columns.clicks import is_true
from luab_data.ragged import Bools, Ints, Ragged, bounds_of, one_array, ragged

_LATEST = np.iinfo(np.int64).max
_EARLIEST = np.iinfo(np.int64).min
CLOCKS = ("hovered_record_time_ms", "mouse_tracking_time_ms", "selected_record_time_ms")

SLOTS, PAGES = 48, 10
MAX_WIDTH, MAX_HEIGHT = 324, 340
"""The largest picture on the page, px: metrics 6.1-6."""
_DAY_S = 86_400
_ROUNDING_PX = 2.0


def _enters(table: pa.Table) -> Bools:
    """(num_hovered,) which hovered records are an `enter`; strings are slow as numpy objects."""
    column = one_array(table["hovered_record_action"])
    return is_true(pc.equal(column.flatten(), "enter"))


def _first_enter(table: pa.Table) -> Ints:
    """(num_rows,) time of the first enter; the latest moment there is where it never came."""
    times = ragged(table["hovered_record_time_ms"])
    first: Ints = times.keep(_enters(table)).reduce(np.minimum, _LATEST)
    return first


def _last_click(table: pa.Table) -> tuple[Bools, Ints]:
    """(num_rows,) whether there is a selecting click, and the index of the last among the flat."""
    bounds = bounds_of(table["selected_record_time_ms"])
    clicked = np.diff(bounds) > 0
    return clicked, bounds[1:] - 1


def click_outside(table: pa.Table) -> Bools:
    """The last selecting click is off the picture."""
    clicked, last = _last_click(table)
    x, y = ragged(table["selected_record_x"]).values, ragged(table["selected_record_y"]).values
    found = np.zeros(len(clicked), np.bool_)
    found[clicked] = outside(x[last[clicked]], y[last[clicked]])
    return found


def trace_outside(table: pa.Table) -> Bools:
    """A trace record is off the picture."""
    return points_outside(table, "mouse_tracking")


def time_backwards(table: pa.Table) -> Bools:
    """Hovered, trace or click times decrease."""
    return any_of(decreases(ragged(table[clock])) for clock in CLOCKS)


def click_without_enter(table: pa.Table) -> Bools:
    """A selecting click comes before any enter."""
    first = ragged(table["selected_record_time_ms"]).reduce(np.minimum, _LATEST)
    clicked, _ = _last_click(table)
    enter = _first_enter(table)
    found: Bools = clicked & ((first < enter) | (enter == _LATEST))
    return found


def trace_without_enter(table: pa.Table) -> Bools:
    """A trace record comes before any enter."""
    trace = ragged(table["mouse_tracking_time_ms"])
    enter = _first_enter(table)
    earlier = (trace.reduce(np.minimum, _LATEST) < enter) | (enter == _LATEST)
    found: Bools = (trace.lengths > 0) & earlier
    return found


def enter_leave_order(table: pa.Table) -> Bools:
    """Enter and leave do not take turns, beginning with enter."""
    bounds = bounds_of(table["hovered_record_action"])
    place = np.arange(bounds[-1]) - np.repeat(bounds[:-1], np.diff(bounds))
    return any_in_row(_enters(table) != (place % 2 == 0), bounds)


def trace_after_click(table: pa.Table) -> Bools:
    """The image ended selected, but its trace goes on after the last selecting click."""
    clicked, last = _last_click(table)
    click = np.full(len(clicked), _LATEST)
    click[clicked] = ragged(table["selected_record_time_ms"]).values[last[clicked]]
    trace = ragged(table["mouse_tracking_time_ms"]).reduce(np.maximum, _EARLIEST)
    found: Bools = is_true(table["selected"]) & clicked & (trace > click)
    return found


def parity(table: pa.Table) -> Bools:
    """`selected` is not what the paper's rule says: an odd number of selecting clicks."""
    odd = np.diff(bounds_of(table["selected_record_time_ms"])) % 2 == 1
    found: Bools = odd != is_true(table["selected"])
    return found


def selected_without_click(table: pa.Table) -> Bools:
    """The image ended selected without any selecting click."""
    clicked, _ = _last_click(table)
    return is_true(table["selected"]) & ~clicked


def click_count(table: pa.Table) -> Bools:
    """`selected_count` is not the number of selecting clicks."""
    logged = pa.array(np.diff(bounds_of(table["selected_record_time_ms"])))
    return is_true(pc.not_equal(table["selected_count"], logged))


def hover_count(table: pa.Table) -> Bools:
    """`hovered_count` is not the number of enters."""
    bounds = bounds_of(table["hovered_record_action"])
    enters = Ragged(_enters(table).astype(np.int64), bounds).reduce(np.add, 0)
    return is_true(pc.not_equal(table["hovered_count"], pa.array(enters)))


def zero_size(table: pa.Table) -> Bools:
    """A size is 0, negative or missing."""
    return size_missing(table)


def size_swapped(table: pa.Table) -> Bools:
    """The tool's original size is that of the boxes with width and height swapped."""
    swapped = original_is(table, "image.height", "image.width")
    return _sized(table) & swapped & ~original_is(table, "image.width", "image.height")


def size_disagrees(table: pa.Table) -> Bools:
    """The tool's original size is not that of the boxes, nor that swapped."""
    same = original_is(table, "image.width", "image.height")
    return _sized(table) & ~same & ~original_is(table, "image.height", "image.width")


def _sized(table: pa.Table) -> Bools:
    """Whether the boxes have a size of their own, and the tool logged one."""
    return is_true(table["image.has_boxes"]) & original_logged(table)


def size_on_page(table: pa.Table) -> Bools:
    """The picture on the page is larger than its file, or than the tool's cell."""
    larger = [
        is_true(pc.greater(table[shown], table[original]))
        for shown, original in zip(SIZES[:2], SIZES[2:], strict=True)
    ]
    limits = zip(SIZES[:2], (MAX_WIDTH, MAX_HEIGHT), strict=True)
    over = [is_true(pc.greater(table[shown], limit)) for shown, limit in limits]
    return ~size_missing(table) & any_of([*larger, *over])


def width_copies_height(table: pa.Table) -> Bools:
    """The width on the page equals the height though the file is not square."""
    width, height, full_width, full_height = (floats(table[size]) for size in SIZES)
    with np.errstate(divide="ignore", invalid="ignore"):
        true_width = height * full_width / full_height
    found: Bools = (width == height) & (np.abs(true_width - width) > _ROUNDING_PX)
    return found & ~size_missing(table)


def click_without_trace(table: pa.Table) -> Bools:
    """There are selecting clicks, but the trace is empty."""
    clicked, _ = _last_click(table)
    found: Bools = clicked & (np.diff(bounds_of(table["mouse_tracking_time_ms"])) == 0)
    return found


def no_interaction(table: pa.Table) -> Bools:
    """Nothing was logged at all: no hovered, trace or click record."""
    return all_of(np.diff(bounds_of(table[clock])) == 0 for clock in CLOCKS)


def negative_estimate(table: pa.Table) -> Bools:
    """The tool's estimate of the time over the image is negative."""
    return is_true(pc.less(table["estimate_time_ms"], 0))


def _span(table: pa.Table) -> tuple[Ints, Ints]:
    """(num_rows,) first and last moment that a round logged; last < first without any."""
    clocks = [ragged(table[clock]) for clock in CLOCKS]
    first = np.minimum.reduce([clock.reduce(np.minimum, _LATEST) for clock in clocks])
    last = np.maximum.reduce([clock.reduce(np.maximum, _EARLIEST) for clock in clocks])
    return first, last


def estimate_too_long(table: pa.Table) -> Bools:
    """The tool's estimate is longer than from the round's first moment to its last."""
    first, last = _span(table)
    logged = first <= last
    spans = np.where(logged, last - np.where(logged, first, last), _LATEST)
    return is_true(pc.greater(table["estimate_time_ms"], pa.array(spans)))


def submit_before_activity(table: pa.Table) -> Bools:
    """Something was logged after the HIT was submitted (whole seconds)."""
    first, last = _span(table)
    found: Bools = (first <= last) & (last // 1000 > _submitted(table))
    return found


def time_far_from_submit(table: pa.Table) -> Bools:
    """Something was logged more than a day away from the submission: another clock or unit."""
    first, last = _span(table)
    submitted = _submitted(table)
    far = (submitted - first // 1000 > _DAY_S) | (last // 1000 - submitted > _DAY_S)
    found: Bools = (first <= last) & far
    return found


def _submitted(table: pa.Table) -> Ints:
    seconds: Ints = table["hit_submit_time"].to_numpy()
    return seconds


def _follows(table: pa.Table, column: str) -> Bools:
    """(num_rows,) whether the row before is of the same image with the same value of a column."""
    found = np.zeros(len(table), np.bool_)
    if len(table) > 1:
        before, after = table.slice(0, len(table) - 1), table.slice(1)
        found[1:] = all_of(
            is_true(pc.equal(before[name], after[name])) for name in ("image_id", column)
        )
    return found


def equal_submit_times(table: pa.Table) -> Bools:
    """Another round of the image has the same submit time: which one decides is by file order."""
    follows = _follows(table, "hit_submit_time")
    found: Bools = follows | np.append(follows[1:], False)
    return found


def duplicate_assignment(table: pa.Table) -> Bools:
    """Another round of the image is of the same assignment."""
    image = np.cumsum(~_follows(table, "image_id"))
    codes = pc.dictionary_encode(one_array(table["assignment_id"]))
    key = image * max(len(codes.dictionary), 1) + codes.indices.to_numpy(zero_copy_only=False)
    _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
    found: Bools = counts[inverse] > 1
    return found


def shown_after_selected(table: pa.Table) -> Bools:
    """The image was shown again though the round before had selected it."""
    selected = is_true(table["selected"])
    found: Bools = _follows(table, "image_id") & np.append(False, selected[:-1])[: len(table)]
    return found


def slot_range(table: pa.Table) -> Bools:
    """Page or slot do not exist."""
    return _beyond(table["page_idx"], PAGES) | _beyond(table["image_idx"], SLOTS)


def _beyond(column: pa.ChunkedArray, count: int) -> Bools:
    return is_true(pc.or_(pc.less(column, 0), pc.greater_equal(column, count)))


def image_id_differs(table: pa.Table) -> Bools:
    """The tool's own id is not wnid/image_id of the file that holds the round."""
    expected = pc.binary_join_element_wise(table["wnid"], table["image_id"], "/")
    return is_true(pc.not_equal(table["image_id_raw"], expected))


def wnid_differs(table: pa.Table) -> Bools:
    """Images: the id does not begin with the class that was asked for."""
    stem = pc.replace_substring_regex(table["image_id"], r"_[^_]*$", "")
    return is_true(pc.not_equal(stem, table["wnid"]))


def not_shown(table: pa.Table) -> Bools:
    """Images: no round at all."""
    return ~is_true(pc.greater(table["num_rounds"], 0))


def box_outside_image(table: pa.Table) -> Bools:
    """Images: a box reaches beyond the picture."""
    boxes = one_array(table["boxes"])
    bounds = bounds_of(boxes)
    edges = ragged(boxes.flatten()).values.reshape(-1, 4)
    row = np.repeat(np.arange(len(table)), np.diff(bounds))
    width, height = floats(table["width"])[row], floats(table["height"])[row]
    low, right, bottom = edges[:, :2].min(axis=1, initial=np.inf), edges[:, 2], edges[:, 3]
    return any_in_row((low < 0) | (right > width) | (bottom > height), bounds)
