"""Derived columns recomputed from the raw ones and compared with what the dataset holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from luab_data.checks.lint import Window
from luab_data.columns import coco, imagenet
from luab_data.columns.registry import REGISTRIES
from luab_data.columns.rounds import order_rounds
from luab_data.ragged import one_array


def differing(
    window: Window, dataset: str, classes: Sequence[str] | None
) -> Iterator[tuple[str, int]]:
    """Each derived column that differs from its recomputation, and the first row that does.

    Args:
        window: rows of the dataset, all columns.
        dataset: which. Of COCO-AB what follows from the instances file is not recomputed: that file
            is not part of the dataset.
        classes: the class names of the manifest; None leaves `label` out.
    """
    registry = REGISTRIES[dataset]
    unknown = {"truth"} if classes is not None else {"truth", "wnids"}
    names = [
        name
        for name in registry.names()
        if name in window.images.column_names and not unknown & set(registry.sources([name]))
    ]
    given = _given(window, dataset, names, classes)
    for name, expected in registry.compute(names, given).items():
        found, wanted = one_array(window.images[name]), one_array(expected)
        if not found.equals(wanted):
            yield name, _first_difference(found, wanted)


def _given(
    window: Window, dataset: str, names: Sequence[str], classes: Sequence[str] | None
) -> Mapping[str, Any]:
    """What the registry wants to know for some columns."""
    if dataset == "coco-ab":
        return coco.sources(window.records, None, names)
    blocks = window.records.drop_columns(["round"])
    rounds = order_rounds(window.images["image_id"], blocks)
    return {**imagenet.sources(window.images, rounds, names), "wnids": classes}


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
