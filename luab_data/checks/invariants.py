"""What must hold in every row of a table, as pure functions: nothing here touches a file.

These are promises of the schema (lists side by side, ids, hashes), so a broken one is a problem of
the dataset. What is merely odd about a worker or the tool is in the lint rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns import coco, imagenet
from luab_data.ragged import Bools, Ints, Ragged, bounds_of, is_true, one_array
from luab_data.raw.worker_ids import PUBLISHED_ID
from luab_data.schema import LAST_N, QUANTILES, Table
from luab_data.tools import COCO_CLASSES


class Broken(NamedTuple):
    """A promise that rows break: which, and the first of them."""

    check: str
    found: str
    expected: str
    row: int  # in the table
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class Promises:
    """What holds in every dataset of a kind.

    Args:
        not_null: config -> columns that are never null.
        full: lists, of any config, that hold no null: the readers refuse a record that lacks one.
        of_images: (rows of `default`, classes of the manifest if there are) -> what they break.
        of_records: (all records of some images, those of an image side by side) -> likewise.
        num_records: rows of `default` -> (num_images,) records of each.
        sources: (rows of `default`, all their records, derived columns, classes) -> what the
            registry of these columns wants to know, but for the instances file.
    """

    not_null: Mapping[str, tuple[str, ...]]
    full: tuple[str, ...]
    of_images: Callable[[pa.Table, Sequence[str] | None], Iterator[Broken]]
    of_records: Callable[[pa.Table], Iterator[Broken]]
    num_records: Callable[[pa.Table], Ints]
    sources: Callable[[pa.Table, pa.Table, Sequence[str], Sequence[str] | None], Mapping[str, Any]]


_FIXED = {
    **dict.fromkeys(("trace_quantile_x", "time_quantile_x"), len(QUANTILES)),
    "last_n_x": LAST_N,
}
"""Lists that have one length wherever they are not null."""


def broken_values(rows: pa.Table, promises: Promises, table: Table) -> Iterator[Broken]:
    """Nulls and list lengths: what the `values` check looks at.

    Args:
        rows: (num_rows,) of one config, all of the schema's columns.
        promises, table: of the kind, and which config.
    """
    for name in promises.not_null[table.config]:
        yield from _first(rows[name].is_null(), "values", f"{name} is null", "a value")
    for group in table.parallel():
        names = [name for name in group if name in rows.column_names]
        lengths = [np.diff(bounds_of(rows[name])) for name in names]
        for name, length in zip(names[1:], lengths[1:], strict=True):
            found = f"{name} is not as long as {group[0]}"
            yield from _first(length != lengths[0], "values", found, "lists side by side")
    for name in _FIXED.keys() & set(rows.column_names):
        odd = pc.not_equal(pc.list_value_length(rows[name]), _FIXED[name])
        found = f"{name} of another length"
        yield from _first(odd, "values", found, f"{_FIXED[name]} elements")
    for name in promises.full:
        if name in rows.column_names:
            nulls = one_array(rows[name]).flatten().is_null()
            found = f"{name} holds a null"
            yield from _any(rows[name], nulls, "values", found, "a value in every element")


def broken_workers(table: pa.Table) -> Iterator[Broken]:
    """Worker ids that do not look like hashes; the id itself is never shown."""
    hashed = pc.match_substring_regex(table["worker_id"], f"^(?:{PUBLISHED_ID})$")
    odd = pc.and_(table["worker_id"].is_valid(), pc.invert(hashed))
    yield from _first(odd, "workers", "a worker_id that is no hash", "16 hex digits")


def _browsing_images(table: pa.Table, classes: Sequence[str] | None) -> Iterator[Broken]:
    """Boxes are four numbers, and labels the places of their wnids."""
    boxes = one_array(table["boxes"])
    lengths = pc.fill_null(pc.list_value_length(boxes.flatten()), 0)
    odd = pc.not_equal(lengths, 4)
    yield from _any(boxes, odd, "values", "a box that is not four numbers", "[x0, y0, x1, y1]")
    flags = is_true(table["has_boxes"]) != (np.diff(bounds_of(boxes)) > 0)
    yield from _first(flags, "values", "has_boxes is not what boxes say", "true if there are any")
    if classes is not None:
        place = pc.index_in(table["wnid"], value_set=pa.array(classes, pa.string()))
        odd = ~is_true(pc.equal(place, table["label"]))
        yield from _first(odd, "classes", "label is not its wnid's", "its position in classes")


def _browsing_records(rounds: pa.Table) -> Iterator[Broken]:
    """Rounds are numbered 1, 2, ... by submit time."""
    same = np.zeros(len(rounds), np.bool_)
    earlier = np.zeros(len(rounds), np.bool_)
    number = rounds["round"].to_numpy().astype(np.int64)
    if len(rounds) > 1:
        ids, submitted = rounds["image_id"], rounds["hit_submit_time"].to_numpy()
        same[1:] = is_true(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)))
        earlier[1:] = submitted[1:] < submitted[:-1]
        image = np.cumsum(~same)  # where a round has no time, the log's order counts
        earlier &= ~np.isin(image, image[np.isnan(submitted.astype(float))])
        image = np.cumsum(~same)  # where a round has no time, the log's order counts
        earlier &= ~np.isin(image, image[np.isnan(submitted.astype(float))])
    wrong = number != np.where(same, np.roll(number, 1) + 1, 1)
    yield from _first(wrong, "values", "rounds are not numbered in order", "1, 2, ...")
    found = "a round was submitted before the round in front of it"
    yield from _first(same & earlier, "values", found, "rounds by hit_submit_time")


def _tagging_images(table: pa.Table, classes: Sequence[str] | None) -> Iterator[Broken]:
    """Labels are classes, those of icons the places of their names."""
    label, name = (one_array(table[c]) for c in ("icon_label", "icon_name"))
    place = pc.index_in(name.flatten(), value_set=pa.array(COCO_CLASSES))
    odd = ~is_true(pc.equal(place, label.flatten()))
    expected = "its position in COCO's 80"
    yield from _any(label, odd, "classes", "icon_label is not its name's", expected)
    labels = one_array(table["labels"])
    values = labels.flatten().to_numpy(zero_copy_only=False)
    odd = ~((values >= 0) & (values < len(COCO_CLASSES)))
    yield from _any(labels, odd, "classes", "labels outside the classes", "0..79")


def _first(
    odd: Bools | pa.Array | pa.ChunkedArray, check: str, found: str, expected: str
) -> Iterator[Broken]:
    """The first of the odd rows (num_rows,), and how many; nothing if there are none."""
    flags = odd if isinstance(odd, np.ndarray) else is_true(odd)
    if count := int(flags.sum()):
        yield Broken(check, found, expected, int(np.argmax(flags)), count)


def _any(
    lists: pa.Array | pa.ChunkedArray, odd: Bools | pa.Array, check: str, found: str, expected: str
) -> Iterator[Broken]:
    """As _first, of rows with an odd element; odd is (num_values,) of a list column."""
    flags = odd if isinstance(odd, np.ndarray) else is_true(odd)
    yield from _first(Ragged(flags, bounds_of(lists)).any(flags), check, found, expected)


BROWSING = Promises(
    not_null={
        "default": (
            *("image_id", "wnid", "label", "num_rounds", "selected", "has_boxes"),
            "has_interaction",
        ),
        "rounds": ("image_id", "wnid", "round", "assignment_id", "selected"),
        "annotators": ("worker_id",),
    },
    full=(
        *("hovered_record_action", "hovered_record_time_ms", "mouse_tracking_time_ms"),
        *("selected_record_time_ms", "selected_record_x", "selected_record_y", "boxes"),
    ),
    of_images=_browsing_images,
    of_records=_browsing_records,
    num_records=lambda images: np.maximum(images["num_rounds"].to_numpy().astype(np.int64), 0),
    sources=imagenet.stored_sources,
)
TAGGING = Promises(
    not_null={
        **dict.fromkeys(("default", "actions"), ("image_id",)),
        "annotators": ("worker_id",),
    },
    full=(
        *("action_histories_action_type", "action_histories_icon_type"),
        *("action_histories_time_at_ms", "category_histories_category_index"),
        *("category_histories_category_name", "category_histories_time_at_ms"),
        *("category_histories_using_keyboard", "mouse_tracking_time_at_ms"),
        *("boxes", "icon_label", "icon_name"),
    ),
    of_images=_tagging_images,
    of_records=lambda actions: iter(()),
    num_records=lambda images: np.ones(len(images), np.int64),
    sources=lambda images, actions, names, classes: coco.sources(actions, None, names),
)
