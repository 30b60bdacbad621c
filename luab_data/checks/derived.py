"""Derived columns recomputed from the raw ones and compared with what the dataset holds."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from luab_data.checks.lint import Window
from luab_data.columns import coco as coco_columns
from luab_data.columns import imagenet as imagenet_columns
from luab_data.columns.rounds import order_rounds
from luab_data.ragged import one_array
from luab_data.schema import DATASETS, IMAGENET_IMAGES

# The log does not say these: they come from the instances file, which is not part of the dataset.
_OF_TRUTH = ("width", "height", "labels", "is_on_object")


def differing(window: Window, dataset: str) -> Iterator[tuple[str, int]]:
    """Each derived column that differs from its recomputation, and the first row that does.

    Args:
        window: rows of the dataset.
        dataset: which. Of ImageNet-AB `label` is left to the `classes` check; of COCO-AB what
            follows from the instances file is not recomputed.
    """
    expected = _recomputed(window, dataset)
    for column in DATASETS[dataset][0].columns:
        if column.name in expected.column_names and column.name in window.images.column_names:
            found = one_array(window.images[column.name])
            wanted = one_array(expected[column.name])
            if not found.equals(wanted):
                yield column.name, _first_difference(found, wanted)


def _recomputed(window: Window, dataset: str) -> pa.Table:
    if dataset == "coco-ab":
        table = coco_columns.image_table(window.records, None)
        return table.drop_columns([name for name in _OF_TRUTH if name in table.column_names])
    raw = [column.name for column in IMAGENET_IMAGES.columns if column.raw]
    rounds = order_rounds(window.images["image_id"], window.records.drop_columns(["round"]))
    return imagenet_columns.image_table(window.images.select(raw), rounds)


def _first_difference(found: pa.Array, wanted: pa.Array) -> int:
    """The first row that differs, found by halving: nested columns have no elementwise equal."""
    start, stop = 0, len(found)
    while stop - start > 1:
        middle = (start + stop) // 2
        halves = (values.slice(start, middle - start) for values in (found, wanted))
        if next(halves).equals(next(halves)):
            start = middle
        else:
            stop = middle
    return start
