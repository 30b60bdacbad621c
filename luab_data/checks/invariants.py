"""What must hold in every row of a table, as pure functions: nothing here touches a file.

These are promises of the schema (lists side by side, ids, hashes), so a broken one is a problem of
the dataset. What is merely odd about a worker or the tool is in the lint rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.clicks import is_true
from luab_data.ragged import Bools, bounds_of, one_array
from luab_data.raw.worker_ids import PUBLISHED_ID
from luab_data.schema import COCO_CLASSES, LAST_N, QUANTILES

_BOXES = ("boxes", "box_name", "box_pose", "box_truncated", "box_difficult")
_ICONS = (
    *("icon_label", "icon_name", "last_add_x", "last_add_y", "final_x", "final_y"),
    *("is_present_at_end", "is_on_object", "is_last_add_on_object", "action_sequence"),
    *("num_actions", "num_adds", "num_adds_on_object"),
    *("notebook_point_x", "notebook_point_y"),
)
_ACTIONS = (
    *("action_histories_action_type", "action_histories_icon_type"),
    *("action_histories_point_from_x", "action_histories_point_from_y"),
    *("action_histories_point_to_x", "action_histories_point_to_y", "action_histories_time_at_ms"),
)
_CATEGORIES = (
    *("category_histories_category_index", "category_histories_category_name"),
    *("category_histories_time_at_ms", "category_histories_using_keyboard"),
)

PARALLEL: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    ("imagenet-ab", "default"): (
        _BOXES,
        ("trace_quantile_x", "trace_quantile_y"),
        ("time_quantile_x", "time_quantile_y"),
        ("last_n_x", "last_n_y"),
        ("hull_x", "hull_y"),
    ),
    ("imagenet-ab", "rounds"): (
        ("hovered_record_action", "hovered_record_time_ms"),
        ("mouse_tracking_time_ms", "mouse_tracking_x", "mouse_tracking_y"),
        ("selected_record_time_ms", "selected_record_x", "selected_record_y"),
    ),
    ("coco-ab", "default"): (_ICONS, ("boxes", "box_label")),
    ("coco-ab", "actions"): (
        _ACTIONS,
        _CATEGORIES,
        ("mouse_tracking_x", "mouse_tracking_y", "mouse_tracking_time_at_ms"),
    ),
}
"""(dataset, config) -> groups of lists that run side by side, optional columns included."""

FIXED = {
    **dict.fromkeys(("trace_quantile_x", "time_quantile_x"), len(QUANTILES)),
    "last_n_x": LAST_N,
}
"""Lists that have one length wherever they are not null."""

NOT_NULL: dict[tuple[str, str], tuple[str, ...]] = {
    ("imagenet-ab", "default"): (
        *("image_id", "wnid", "label", "num_rounds", "selected", "has_boxes", "has_interaction"),
    ),
    ("imagenet-ab", "rounds"): (*("image_id", "wnid", "round", "assignment_id", "selected"),),
    ("imagenet-ab", "annotators"): ("worker_id",),
    ("coco-ab", "default"): ("image_id", "worker_id"),
    ("coco-ab", "actions"): ("image_id", "worker_id"),
    ("coco-ab", "annotators"): ("worker_id",),
}
"""Columns that are never null."""

# Lists of raw numbers and names that hold no null: the readers refuse a record that lacks one.
_WHOLE_LISTS = (
    *("hovered_record_action", "hovered_record_time_ms", "mouse_tracking_time_ms"),
    *("selected_record_time_ms", "selected_record_x", "selected_record_y"),
    *("action_histories_action_type", "action_histories_icon_type", "action_histories_time_at_ms"),
    *(*_CATEGORIES, "mouse_tracking_time_at_ms", "boxes", "icon_label", "icon_name"),
)


class Broken(NamedTuple):
    """A promise that rows break: which, and the first of them."""

    check: str
    found: str
    expected: str
    row: int  # in the table
    num_rows: int


def broken_values(table: pa.Table, dataset: str, config: str) -> Iterator[Broken]:
    """Nulls, list lengths, box corners, round numbers: what the `values` check looks at.

    Args:
        table: (num_rows,) rows of one config, all of the schema's columns.
        dataset, config: which.
    """
    for name in NOT_NULL[dataset, config]:
        yield from _first(table[name].is_null(), "values", f"{name} is null", "a value")
    for group in PARALLEL.get((dataset, config), ()):
        names = [name for name in group if name in table.column_names]
        first, *others = (np.diff(bounds_of(table[name])) for name in names)
        for name, lengths in zip(names[1:], others, strict=True):
            found = f"{name} is not as long as {group[0]}"
            yield from _first(lengths != first, "values", found, "lists side by side")
    for name, length in FIXED.items():
        if name in table.column_names:
            there = pc.fill_null(pc.not_equal(pc.list_value_length(table[name]), length), False)
            yield from _first(there, "values", f"{name} of another length", f"{length} elements")
    for name in set(_WHOLE_LISTS) & set(table.column_names):
        lists = one_array(table[name])
        nulls = lists.flatten().is_null().to_numpy(zero_copy_only=False)
        rows = np.repeat(np.arange(len(table)), np.diff(bounds_of(lists)))
        odd = np.zeros(len(table), np.bool_)
        odd[rows[nulls]] = True
        yield from _first(odd, "values", f"{name} holds a null", "a value in every element")
    if (dataset, config) == ("imagenet-ab", "default"):
        yield from _broken_boxes(table)


def _broken_boxes(table: pa.Table) -> Iterator[Broken]:
    boxes = one_array(table["boxes"])
    bounds = bounds_of(boxes)
    lengths = pc.fill_null(pc.list_value_length(boxes.flatten()), 0).to_numpy()
    rows = np.repeat(np.arange(len(table)), np.diff(bounds))
    odd = np.zeros(len(table), np.bool_)
    odd[rows[lengths != 4]] = True
    yield from _first(odd, "values", "a box that is not four numbers", "[x0, y0, x1, y1]")
    flags = is_true(table["has_boxes"]) != (np.diff(bounds) > 0)
    yield from _first(flags, "values", "has_boxes is not what boxes say", "true if there are any")


def broken_rounds(rounds: pa.Table) -> Iterator[Broken]:
    """Round numbers that do not count 1, 2, ... by submit time.

    Args:
        rounds: (num_rounds,) all rounds of some images, those of an image side by side.
    """
    same = np.zeros(len(rounds), np.bool_)
    earlier = np.zeros(len(rounds), np.bool_)
    number = rounds["round"].to_numpy().astype(np.int64)
    if len(rounds) > 1:
        ids, submitted = rounds["image_id"], rounds["hit_submit_time"].to_numpy()
        same[1:] = is_true(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)))
        earlier[1:] = submitted[1:] < submitted[:-1]
        image = np.cumsum(~same)  # where a round has no time, the log's order counts
        earlier &= ~np.isin(image, image[np.isnan(submitted.astype(float))])
    wrong = number != np.where(same, np.roll(number, 1) + 1, 1)
    yield from _first(wrong, "values", "rounds are not numbered in order", "1, 2, ...")
    found = "a round was submitted before the round in front of it"
    yield from _first(same & earlier, "values", found, "rounds by hit_submit_time")


def broken_workers(table: pa.Table) -> Iterator[Broken]:
    """Worker ids that do not look like hashes; the id itself is never shown."""
    hashed = pc.match_substring_regex(table["worker_id"], f"^(?:{PUBLISHED_ID})$")
    odd = pc.and_(table["worker_id"].is_valid(), pc.invert(hashed))
    yield from _first(odd, "workers", "a worker_id that is no hash", "16 hex digits")


def broken_classes(table: pa.Table, dataset: str, classes: list[str] | None) -> Iterator[Broken]:
    """Labels of `default` that are not the position of their name.

    Args:
        table: (num_images,) `default`.
        dataset: which.
        classes: the wnids of the manifest; None if it has none, then labels are not compared.
    """
    if dataset == "imagenet-ab":
        if classes is not None:
            position = pc.index_in(table["wnid"], value_set=pa.array(classes, pa.string()))
            wrong = ~is_true(pc.equal(position, table["label"]))
            yield from _first(
                wrong, "classes", "label is not its wnid's", "its position in classes"
            )
        return
    label, name = (one_array(table[c]) for c in ("icon_label", "icon_name"))
    position = pc.index_in(name.flatten(), value_set=pa.array(COCO_CLASSES))
    wrong = ~is_true(pc.equal(position, label.flatten()))
    rows = np.repeat(np.arange(len(table)), np.diff(bounds_of(label)))
    odd = np.zeros(len(table), np.bool_)
    odd[rows[wrong]] = True
    yield from _first(odd, "classes", "icon_label is not its name's", "its position in COCO's 80")
    labels = one_array(table["labels"])
    values = labels.flatten().to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(table)), np.diff(bounds_of(labels)))
    odd = np.zeros(len(table), np.bool_)
    odd[rows[~((values >= 0) & (values < len(COCO_CLASSES)))]] = True
    yield from _first(odd, "classes", "labels outside the classes", "0..79")


def _first(
    odd: Bools | pa.Array | pa.ChunkedArray, check: str, found: str, expected: str
) -> Iterator[Broken]:
    flags = odd if isinstance(odd, np.ndarray) else is_true(odd)
    count = int(flags.sum())
    if count:
        yield Broken(check, found, expected, int(np.argmax(flags)), count)
