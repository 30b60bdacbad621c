"""Views of a browsing log -> `rounds`: one row a view, the raw columns that the release has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.batches import Batch, own_ids, with_ids
from luab_data.columns import imagenet as imagenet_columns
from luab_data.columns.registry import with_derived
from luab_data.columns.rounds import order_rounds
from luab_data.ragged import (
    Bools,
    Ints,
    Ragged,
    bounds_of,
    kept_bounds,
    list_array,
    one_array,
    ragged,
)
from luab_data.raw.bad_records import SeenIds
from luab_data.raw.imagenet import IMAGE_SCHEMA, ROUND_SCHEMA
from luab_data.views import CODE, KEPT, Conversion, FromViews
from luab_data.views.grouping import Grouped, grouped

if TYPE_CHECKING:
    from luab_data.kinds import OwnBrowsing


def _batches(tables: Iterator[pa.Table], conversion: Conversion) -> Iterator[Batch]:
    """All views of an image side by side, as rows of `rounds` and of `default`.

    Args:
        tables: (num_views,) VIEWS with `worker_id` in the place of `annotator`; of every view the
            class is known.
    """
    waiting = conversion.folder / "views.arrow"
    for group in grouped(tables, ("label", "image_id"), waiting):
        yield _batch(group, conversion)


def _batch(group: Grouped, conversion: Conversion) -> Batch:
    derivation = conversion.kind.derivation
    first = group.table.take(pa.array(group.bounds[:-1]))
    known = {"image_id": first["image_id"], "wnid": first["label"]}
    boxes = pa.array([[]] * len(first), IMAGE_SCHEMA.field("boxes").type)
    if conversion.boxes is not None:
        ids, files, labels = (
            first[name].to_pylist() for name in ("image_id", "image_file", "label")
        )
        classes = cast("OwnBrowsing", conversion.kind).class_names
        boxes = conversion.boxes.of_images(ids, files, labels, classes)
    bounds = bounds_of(boxes)
    lists = {  # of boxes no more is known than where they are
        f.name: list_array(pa.nulls(int(bounds[-1]), f.type.value_type), bounds)
        for f in IMAGE_SCHEMA
        if pa.types.is_list(f.type)
    } | {"boxes": boxes}
    images = pa.table(
        [{**known, **lists}.get(f.name, pa.nulls(len(first), f.type)) for f in IMAGE_SCHEMA],
        IMAGE_SCHEMA,
    )
    own, _ = own_ids(images, SeenIds())
    logged = rounds(group.table)
    for name in KEPT:
        logged = logged.append_column(name, group.table[name])
    images, blocks = with_ids(images, logged, own)
    ordered = order_rounds(
        images["image_id"],
        with_derived(blocks, derivation.events),
        derivation.deciding,
        derivation.events.table,
    )
    return Batch(
        images=imagenet_columns.image_table(images, ordered, derivation.registry),
        events=ordered.table,
        bounds=ordered.bounds,
        places=np.arange(len(images)),
        names=[f"image {name}" for name in images["image_id"].to_pylist()],
        errors=[],
        unknown=[],
        repaired={},
    )


def rounds(views: pa.Table) -> pa.Table:
    """The raw columns of `rounds`.

    A click without a state is one that selected the picture. As in the release, `mouse_tracking_*`
    are the moves while the picture was not selected, and `selected_record_*` the clicks that
    selected it; one made by key has no place and is in `selected_count` alone. Times are epoch ms
    where the log knows the time of day, else ms of the session's clock.

    Args:
        views: (num_views,) VIEWS with `worker_id` in the place of `annotator`.
    Source: docs/log-format.md#browsing.
    """
    event = ragged(views["event"])
    is_click = event.values == CODE["click"]
    selects = is_click & _states(views, event)
    is_trace = (event.values == CODE["move"]) & ~_selected_before(event, is_click, selects)
    is_hover = np.isin(event.values, [CODE["enter"], CODE["leave"]])
    lists = {name: one_array(views[f"event_{name}"]).flatten() for name in ("x", "y")}
    times = pc.add(
        one_array(views["event_time_ms"]).flatten(),
        pc.fill_null(one_array(views["epoch_ms"]), 0).take(pa.array(event.rows)),
    )
    has_place = np.asarray(pc.and_(lists["x"].is_valid(), lists["y"].is_valid()))

    def some(values: pa.Array, mask: Bools) -> pa.ListArray:
        return list_array(values.filter(pa.array(mask)), kept_bounds(event.bounds, mask))

    actions = pa.array(["enter", "leave"]).take(pa.array((event.values == CODE["leave"]) * 1))
    trace, record = is_trace & has_place, selects & has_place
    submitted = Ragged(event.values == CODE["submit"], event.bounds)
    found: dict[str, Any] = {
        "image_id": views["image_id"],
        "wnid": views["label"],
        "assignment_id": views["session"],
        "hit_id": views["task"],
        "hit_submit_time": _submit_time(submitted, times, views["epoch_ms"]),
        "hovered_count": _count(event, event.values == CODE["enter"]),
        "hovered_record_action": some(actions, is_hover),
        "hovered_record_time_ms": some(times, is_hover),
        "image_height": _whole(views["shown_height"]),
        "image_width": _whole(views["shown_width"]),
        "image_id_raw": views["image_file"],
        "image_position_x": views["shown_x"],
        "image_position_y": views["shown_y"],
        "image_idx": views["slot"],
        "mouse_tracking_time_ms": some(times, trace),
        "mouse_tracking_x": some(lists["x"], trace),
        "mouse_tracking_y": some(lists["y"], trace),
        "original_image_height": views["height"],
        "original_image_width": views["width"],
        "page_idx": views["page"],
        "selected": pc.coalesce(views["selected"], pa.array(_at_end(event, is_click, selects))),
        "selected_count": _count(event, selects),
        "selected_record_time_ms": some(times, record),
        "selected_record_x": some(lists["x"], record),
        "selected_record_y": some(lists["y"], record),
        "worker_id": views["worker_id"],
    }
    columns = [found.get(f.name, pa.nulls(len(views), f.type)) for f in ROUND_SCHEMA]
    return pa.table(columns, ROUND_SCHEMA)


def _states(views: pa.Table, event: Ragged) -> Bools:
    """(num_events,) whether the picture was selected after each event, where that is logged."""
    states = one_array(views["event_state"])
    is_logged = np.repeat(np.asarray(states.is_valid()), event.lengths)
    found = np.ones(len(event.values), np.bool_)
    found[is_logged] = np.asarray(pc.fill_null(states.flatten(), True))
    return found


def _last_click(event: Ragged, is_click: Bools) -> Ints:
    """(num_events,) place of the last click up to each event of its view; -1 before the first."""
    position = np.where(is_click, np.arange(len(is_click)), -1)
    last = np.maximum.accumulate(position) if len(position) else position
    return np.where(last >= event.bounds[:-1][event.rows], last, -1)


def _selected_before(event: Ragged, is_click: Bools, selects: Bools) -> Bools:
    """(num_events,) whether the picture was selected when each event came."""
    last = _last_click(event, is_click)
    found: Bools = (last >= 0) & selects[last] & ~is_click
    return found


def _at_end(event: Ragged, is_click: Bools, selects: Bools) -> Bools:
    """(num_views,) whether each picture ended selected, by its last click."""
    last = Ragged(np.where(is_click, np.arange(len(is_click)), -1), event.bounds)
    places = last.reduce(np.maximum, -1)
    found: Bools = (places >= 0) & (selects[places] if len(selects) else False)
    return found


def _count(event: Ragged, flags: Bools) -> pa.Array:
    counts = Ragged(flags.astype(np.int32), event.bounds).reduce(np.add, 0)
    return pa.array(counts, pa.int32())


def _whole(size: pa.ChunkedArray) -> pa.ChunkedArray:
    """A size on the page in whole px; null if it is not known."""
    return pc.round(size).cast(pa.int32())


def _submit_time(submitted: Ragged, times: pa.Array, epoch_ms: pa.ChunkedArray) -> pa.Array:
    """(num_views,) epoch s of each view's submit; null without one, or without the time of day."""
    places = Ragged(
        np.where(submitted.values, np.arange(len(submitted.values)), -1), submitted.bounds
    )
    last = places.reduce(np.maximum, -1)
    known = pa.array(last, mask=(last < 0) | np.asarray(epoch_ms.is_null()))
    return pc.divide(times.take(known), 1000)


def _class_names(views: pa.Table) -> tuple[Ints, pa.Array]:
    return np.arange(len(views)), one_array(views["label"])


BROWSING = FromViews(_class_names, _batches)
