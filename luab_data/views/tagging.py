"""Views of a tagging log -> `actions`: one row a view, the raw columns that the release has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.pipeline import Batch, tagging_batch
from luab_data.ragged import Bools, Ints, Ragged, floats, kept_bounds, list_array, one_array, ragged
from luab_data.raw.coco import ACTIONS
from luab_data.tools import Vocabulary
from luab_data.views import CODE, KEPT, Conversion, FromViews
from luab_data.views.grouping import Grouped, grouped

if TYPE_CHECKING:
    from luab_data.kinds import OwnTagging

_EVENTS = tuple(CODE[name] for name in ("add", "move-label", "remove"))
"""What the log calls the actions of ACTIONS."""


def actions(views: pa.Table, vocabulary: Vocabulary, schema: pa.Schema) -> pa.Table:
    """The raw columns of `actions`.

    Times count from the event `load` where the log has one, else as the session's clock does.

    Args:
        views: (num_views,) VIEWS with `worker_id` in the place of `annotator`.
        vocabulary: its superclasses give `category_histories_category_index`.
        schema: of `actions` of somebody's own log.
    Source: docs/log-format.md#tagging.
    """
    event = ragged(views["event"])
    is_action = np.isin(event.values, _EVENTS)
    is_category = event.values == CODE["category"]
    x, y, time = (one_array(views[f"event_{name}"]).flatten() for name in ("x", "y", "time_ms"))
    is_trace = (event.values == CODE["move"]) & np.asarray(pc.and_(x.is_valid(), y.is_valid()))
    loaded = _time_of(event, time, CODE["load"])
    time = pc.subtract(time, pc.fill_null(loaded, 0).take(pa.array(event.rows)))
    label = _values(views, "event_label", event)
    by = _values(views, "event_pointer", event)
    from_x, from_y = (_values(views, f"event_from_{axis}", event) for axis in "xy")
    is_removed = pa.array(event.values == CODE["remove"])

    def some(values: pa.Array, mask: Bools) -> pa.ListArray:
        return list_array(values.filter(pa.array(mask)), kept_bounds(event.bounds, mask))

    groups = pa.array([*vocabulary.superclasses], pa.string())
    found: dict[str, Any] = {
        "image_id": views["image_id"],
        "image_file": views["image_file"],
        **{name: views[name] for name in KEPT},
        "original_image_width": views["width"],
        "original_image_height": views["height"],
        "image_width": pc.round(views["shown_width"]).cast(pa.int32()),
        "image_height": pc.round(views["shown_height"]).cast(pa.int32()),
        "time_spent_ms": pc.subtract(_time_of(event, time, CODE["submit"]), _zero_if(loaded)),
        "action_histories_action_type": some(_action_names(event), is_action),
        "action_histories_icon_type": some(label, is_action),
        # Where a label was removed the event says where it was.
        "action_histories_point_from_x": some(pc.if_else(is_removed, x, from_x), is_action),
        "action_histories_point_from_y": some(pc.if_else(is_removed, y, from_y), is_action),
        "action_histories_point_to_x": some(pc.if_else(is_removed, None, x), is_action),
        "action_histories_point_to_y": some(pc.if_else(is_removed, None, y), is_action),
        "action_histories_time_at_ms": some(time, is_action),
        "category_histories_category_index": some(
            pc.index_in(label, value_set=groups).cast(pa.int16()), is_category
        ),
        "category_histories_category_name": some(label, is_category),
        "category_histories_time_at_ms": some(time, is_category),
        "category_histories_using_keyboard": some(pc.equal(by, "keyboard"), is_category),
        "mouse_tracking_x": some(x, is_trace),
        "mouse_tracking_y": some(y, is_trace),
        "mouse_tracking_time_at_ms": some(time, is_trace),
        "page_id": views["page"],
        "hit_id": pc.coalesce(views["session"], views["task"]),
        "worker_id": views["worker_id"],
    }
    named = [field for field in schema if field.name in found]
    return pa.table([found[field.name] for field in named], pa.schema(named))


def _values(views: pa.Table, name: str, event: Ragged) -> pa.Array:
    """(num_events,) values of a list column, null where the list is."""
    lists = one_array(views[name])
    if not lists.null_count:
        return lists.flatten()
    is_there = np.repeat(np.asarray(lists.is_valid()), event.lengths)
    places = pa.array(np.cumsum(is_there) - 1, mask=~is_there)
    return lists.flatten().take(places)


def _action_names(event: Ragged) -> pa.Array:
    """(num_events,) names of actions; null for other events."""
    place = pc.index_in(pa.array(event.values), value_set=pa.array(_EVENTS, pa.int8()))
    return pa.array(ACTIONS).take(place)


def _time_of(event: Ragged, time: pa.Array, code: int) -> pa.Array:
    """(num_views,) time of the last event of that type; null without one."""
    place = np.where(event.values == code, np.arange(len(event.values)), -1)
    last = Ragged(place, event.bounds).reduce(np.maximum, -1)
    return time.take(pa.array(last, mask=last < 0))


def _zero_if(times: pa.Array) -> pa.Array:
    """0 where there is a time, else null."""
    return pc.multiply(times, 0)


def _batches(tables: Iterator[pa.Table], conversion: Conversion) -> Iterator[Batch]:
    waiting = conversion.folder / "views.arrow"
    for group in grouped(tables, ("image_id",), waiting):
        kind = cast("OwnTagging", conversion.kind)
        number = np.arange(len(group.table)) - np.repeat(group.bounds[:-1], np.diff(group.bounds))
        raw = actions(_by_clock(group), kind.vocabulary, kind.events.schema())
        raw = raw.append_column("view", pa.array(number + 1, pa.int16()))
        yield tagging_batch(kind, raw, group.bounds, conversion.truth)


def _by_clock(group: Grouped) -> pa.Table:
    """The views of each image by the time of day of their submit, if all of the image have one."""
    event = ragged(group.table["event"])
    time = one_array(group.table["event_time_ms"]).flatten()
    submitted = floats(pc.add(group.table["epoch_ms"], _time_of(event, time, CODE["submit"])))
    image = np.repeat(np.arange(len(group.bounds) - 1), np.diff(group.bounds))
    untimed = np.isin(image, image[np.isnan(submitted)])
    order = np.lexsort((np.where(untimed, 0, submitted), image))
    if (np.diff(order) == 1).all():
        return group.table
    return group.table.take(pa.array(order))


def _class_names(views: pa.Table) -> tuple[Ints, pa.Array]:
    event = ragged(views["event"])
    places = np.flatnonzero(np.isin(event.values, _EVENTS))
    return event.rows[places], _values(views, "event_label", event).take(pa.array(places))


TAGGING = FromViews(_class_names, _batches)
