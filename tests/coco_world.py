"""COCO-AB tables for tests of statistics: written by hand, or made with known behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.ragged import list_array
from luab_data.schema import COCO_ACTIONS, COCO_IMAGES
from luab_data.statistics.coco_icons import IconBatch
from luab_data.statistics.coco_pages import BrowsingBatch


def icon(
    label: int,
    right: bool | None = None,
    at: tuple[float, float] | None = (0.5, 0.5),
    *,
    sequence: str = "add",
    last: bool | None = None,
    adds: tuple[int, int | None] = (1, None),
) -> dict[str, Any]:
    """One icon; it ended removed if its sequence ends so."""
    present = not sequence.endswith("remove")
    x, y = at if present and at else (None, None)
    return {
        "icon_label": label, "is_present_at_end": present, "final_x": x, "final_y": y,
        "is_on_object": right if present else None, "is_last_add_on_object": last,
        "action_sequence": sequence, "num_adds": adds[0], "num_adds_on_object": adds[1],
    }  # fmt: skip


def image(
    icons: Sequence[dict[str, Any]] = (),
    labels: Sequence[int] | None = None,
    boxes: Sequence[tuple[int, Sequence[float]]] = (),
    *,
    worker: str | None = "w0",
    hit: str | None = "h0",
    ms: int | None = 1000,
    size: tuple[int, int] | None = (100, 50),
) -> dict[str, Any]:
    """One row of `default`; labels None is an image without ground truth."""
    width, height = size or (None, None)
    known = labels is not None
    names = icon(0)
    return {
        **{name: [one[name] for one in sorted(icons, key=lambda i: i["icon_label"])]
           for name in names},
        "worker_id": worker, "hit_id": hit, "time_spent_ms": ms, "width": width, "height": height,
        "labels": sorted(labels) if known else None,
        "boxes": [[*map(float, box)] for _, box in boxes] if known else None,
        "box_label": [label for label, _ in boxes] if known else None,
    }  # fmt: skip


def image_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    schema = pa.schema([COCO_IMAGES[name].field for name in IconBatch.columns])
    return pa.Table.from_pylist([*rows], schema)


def page(
    steps: Sequence[tuple[int, int, bool]] = (), ms: int | None = 1000, worker: str = "w0"
) -> dict[str, Any]:
    """One row of `actions`: (superclass, when, by keyboard) of each record."""
    index, times, keyboard = map(list, zip(*steps, strict=True)) if steps else ([], [], [])
    return {
        "worker_id": worker, "time_spent_ms": ms, "category_histories_category_index": index,
        "category_histories_time_at_ms": times, "category_histories_using_keyboard": keyboard,
    }  # fmt: skip


def action_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    schema = pa.schema([COCO_ACTIONS[name].field for name in BrowsingBatch.columns])
    return pa.Table.from_pylist([*rows], schema)


# --- planted behaviour ----------------------------------------------------------------------------

SEQUENCES = {"add": 0.9, "add-move": 0.06, "add-remove-add": 0.03, "add-add": 0.01}
"""Action sequence -> its share; the last one breaks the grammar."""


class World(NamedTuple):
    """Images of known workers, and what they were told to do.

    Args:
        table: of `default`.
        recall: of all classes and workers.
        precision, last_add: chance that the final point, the last add is on its object.
        offset: of the icon from its box's centre, in box sizes.
        class_recall, class_size: (num_classes,) of the first classes.
        page_ms: median time of a page.
    """

    table: pa.Table
    recall: float
    precision: float
    last_add: float
    offset: tuple[float, float]
    class_recall: np.ndarray
    class_size: np.ndarray
    page_ms: float


def world(
    seed: int,
    *,
    num_workers: int = 60,
    hits: int = 2,
    pages: int = 10,
    num_classes: int = 20,
    per_image: int = 3,
    worker_sd: float = 0.1,
    size_matters: bool = True,
    offset: tuple[float, float] = (0.08, -0.05),
) -> World:
    """Workers differ in recall by worker_sd, classes in recall by their size."""
    rng = np.random.default_rng(seed)
    n = num_workers * hits * pages
    worker = np.repeat(np.arange(num_workers), hits * pages)
    hit = np.repeat(np.arange(num_workers * hits), pages)
    classes = np.sort(np.argsort(rng.random((n, num_classes)), axis=1)[:, :per_image], axis=1)

    # One box a class: half a bin above the lower edge of its size, a little to each side of that.
    class_size = np.arange(num_classes) * 10 // num_classes
    effect = (class_size - class_size.mean()) * 0.04 if size_matters else np.zeros(num_classes)
    effect = effect + rng.permutation(np.resize([-0.08, 0.08], num_classes))
    class_recall = 0.6 + effect - effect.mean()
    row, label = np.repeat(np.arange(n), per_image), classes.ravel()
    area = 10 ** (-4 + 0.4 * (class_size[label] + rng.uniform(0.2, 0.8, len(label))))
    side = np.sqrt(area) * 1000
    corner = rng.uniform(0, 1000 - side[:, None], (len(label), 2))
    boxes = np.concatenate([corner, corner + side[:, None]], axis=1)

    shift = rng.uniform(-np.sqrt(3) * worker_sd, np.sqrt(3) * worker_sd, num_workers)
    there = rng.random(len(row)) < class_recall[label] + shift[worker[row]]
    row_of, label_of = row[there], label[there]
    moved = rng.normal(offset, 0.1, (len(row_of), 2))
    centre = (boxes[there, :2] + boxes[there, 2:]) / 2
    point = (centre + moved * side[there, None]) / 1000
    names = rng.choice([*SEQUENCES], len(row_of), p=[*SEQUENCES.values()])
    adds = np.char.count(names, "add")
    last = rng.random(len(row_of)) < 0.88
    right = np.where(names == "add-move", rng.random(len(row_of)) < 0.95, last)
    bounds = np.searchsorted(row_of, np.arange(n + 1))
    occurrences = np.arange(n + 1) * per_image

    def of_icons(values: np.ndarray, type: pa.DataType | None = None) -> pa.Array:
        return list_array(pa.array(values, type), bounds)

    columns = {
        "worker_id": pa.array(np.char.add("w", worker.astype(str))),
        "hit_id": pa.array(np.char.add("h", hit.astype(str))),
        "time_spent_ms": pa.array(np.exp(rng.normal(np.log(9000), 0.5, n)).astype(np.int64)),
        "width": pa.array(np.full(n, 1000), pa.int32()),
        "height": pa.array(np.full(n, 1000), pa.int32()),
        "labels": list_array(pa.array(label), occurrences),
        "boxes": list_array(
            list_array(pa.array(boxes.ravel()), np.arange(0, 4 * len(boxes) + 1, 4)), occurrences
        ),
        "box_label": list_array(pa.array(label), occurrences),
        "icon_label": of_icons(label_of),
        "final_x": of_icons(point[:, 0]),
        "final_y": of_icons(point[:, 1]),
        "is_present_at_end": of_icons(np.ones(len(row_of), bool)),
        "is_on_object": of_icons(right),
        "is_last_add_on_object": of_icons(last),
        "num_adds": of_icons(adds, pa.int32()),
        "num_adds_on_object": of_icons(last + (adds - 1), pa.int32()),
        "action_sequence": of_icons(names),
    }
    return World(
        table=pa.table({name: columns[name] for name in IconBatch.columns}),
        recall=0.6,
        precision=0.94 * 0.88 + 0.06 * 0.95,
        last_add=0.88,
        offset=offset,
        class_recall=class_recall,
        class_size=class_size,
        page_ms=9000.0,
    )


def permuted_icons(table: pa.Table, seed: int) -> pa.Table:
    """Deal the icons out anew: each class of each image gets one with the same chance."""
    rng = np.random.default_rng(seed)
    label = np.asarray(table["labels"].combine_chunks().flatten())
    per_image = len(label) // len(table)
    total = len(table["icon_label"].combine_chunks().flatten())
    there = rng.permutation(np.arange(len(label)) < total)
    bounds = np.concatenate([[0], np.cumsum(there)])[:: per_image or 1]
    columns = {"icon_label": pa.array(label[there])}
    for name in ("final_x", "final_y", "is_present_at_end", "is_on_object", "action_sequence",
                 "is_last_add_on_object", "num_adds", "num_adds_on_object"):  # fmt: skip
        columns[name] = table[name].combine_chunks().flatten()
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, list_array(values, bounds))
    return table
