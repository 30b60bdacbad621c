"""[I/O] A dataset folder -> its statistics."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyarrow as pa

from luab_data.analysis import statistics
from luab_data.publish.load import find_dataset
from luab_data.publish.store import read_columns, read_manifest
from luab_data.schema import DATASETS


def stats(dataset: str | os.PathLike[str]) -> statistics.Statistics:
    """The numbers of `luab-data stats`.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.

    Returns: name -> count, fraction in [0, 1] or None where a group is empty; names as decided in
    docs/decisions.md, 3.
    """
    folder = find_dataset(dataset)
    kind = read_manifest(folder)["dataset"]

    def batches(config: str, columns: list[str]) -> Iterator[pa.Table]:
        table = next(t for t in DATASETS[kind] if t.config == config)
        return read_columns(folder, table, columns)

    if kind == "imagenet-ab":
        wanted = statistics.IMAGENET_COLUMNS
        return statistics.imagenet_statistics(*(batches(c, names) for c, names in wanted.items()))
    return statistics.coco_statistics(batches("default", statistics.COCO_COLUMNS["default"]))
