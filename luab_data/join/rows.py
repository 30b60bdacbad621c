"""[I/O] The byproducts' side of a join: `default` of a dataset, wherever it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.errors import DatasetError
from luab_data.kinds import KINDS, tables_of
from luab_data.schema import COCO_CLASSES
from luab_data.store.folder import read_columns, read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import did_you_mean

Batches = Callable[[Sequence[str] | None], Iterator[pa.Table]]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of `default`.

    Args:
        name: what to call them in a message.
        ids: (num_rows,) string or int64, no nulls; not checked for duplicates.
        classes: column of labels -> names by number.
        batches: some columns (None: all) of all rows, a piece of the table at a time, in order.
            Can be called again.
    """

    name: str
    ids: pa.ChunkedArray
    classes: dict[str, tuple[str, ...]]
    batches: Batches


def find_rows(ab: Any) -> Rows:
    """The rows of a dataset folder (or its name), of an Arrow table or a Hugging Face dataset.

    Raises:
        DatasetError: none of these, or no usable `image_id`.
    """
    if isinstance(ab, (str, os.PathLike)):
        return dataset_rows(find_dataset(ab))
    if isinstance(ab, pa.Table):
        return _table_rows("table", ab, {})
    datasets = sys.modules.get("datasets")  # who has one has imported it
    if datasets is not None and isinstance(ab, datasets.Dataset):
        table = ab.data.table
        if ab._indices is not None:
            table = table.take(ab._indices.column(0))
        named = {name: _names(feature) for name, feature in ab.features.items()}
        return _table_rows("dataset", table, {name: n for name, n in named.items() if n})
    raise DatasetError(
        f"byproducts: found {type(ab).__name__}; expected a dataset folder or its name, a"
        " pyarrow.Table or a datasets.Dataset of the config `default`"
    )


def dataset_rows(folder: Path) -> Rows:
    """The rows of a dataset folder, read a row group at a time."""
    name, manifest = os.fspath(folder), read_manifest(folder)
    table = tables_of(manifest)[0]
    columns = [column.name for column in table.columns]
    ids = pa.chunked_array(
        [
            c
            for batch in read_columns(folder, table, ["image_id"])
            for c in batch["image_id"].chunks
        ],
        table["image_id"].type,
    )
    _check_not_null(name, ids)
    if not len(ids):
        raise DatasetError(f"{name}: holds no rows; expected an image each")

    def batches(wanted: Sequence[str] | None) -> Iterator[pa.Table]:
        return read_columns(folder, table, _known(name, columns, wanted))

    classes = _classes_of(columns, dict(enumerate(manifest["classes"])))
    return Rows(name=name, ids=ids, classes=classes, batches=batches)


def _table_rows(name: str, table: pa.Table, classes: dict[str, tuple[str, ...]]) -> Rows:
    ids = table.select(_known(name, table.column_names, ["image_id"]))["image_id"]
    kind = pa.int64() if pa.types.is_integer(ids.type) else pa.string()
    try:
        ids = ids.cast(kind)
    except pa.ArrowException as error:
        raise DatasetError(
            f"{name}: image_id is {ids.type}; expected strings or whole numbers ({error})"
        ) from error
    _check_not_null(name, ids)
    has_wnids = {"label", "wnid"} <= set(table.column_names)
    found = _classes_of(table.column_names, _wnid_of_label(table) if has_wnids else {})

    def batches(columns: Sequence[str] | None) -> Iterator[pa.Table]:
        yield table.select(_known(name, table.column_names, columns))

    return Rows(name=name, ids=ids, classes={**found, **classes}, batches=batches)


def _known(name: str, found: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    if wanted is None:
        return list(found)
    if unknown := [column for column in wanted if column not in found]:
        raise DatasetError(f"{name}: no column {unknown[0]!r}{did_you_mean(unknown[0], found)}")
    return list(wanted)


def _check_not_null(name: str, ids: pa.ChunkedArray) -> None:
    if ids.null_count:
        raise DatasetError(
            f"{name}: image_id is null in {ids.null_count} rows; expected an id each"
        )


def _names(feature: Any) -> tuple[str, ...]:
    """Class names of a ClassLabel, or of a list of them, as the versions of `datasets` have it."""
    while isinstance(feature, list) or hasattr(feature, "feature"):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    return tuple(getattr(feature, "names", None) or ())


def _classes_of(columns: Sequence[str], wnids: dict[int, str]) -> dict[str, tuple[str, ...]]:
    """Column -> class names by number, for the columns that hold numbers of classes.

    Args:
        columns: of the table.
        wnids: label -> wnid of its rows. Without every number from 0 on, as in a table that was
            filtered, the names are not all known and `label` gets none.
    """
    known = (column for kind in KINDS.values() for column in kind.images.columns)
    coco = {column.name for column in known if column.classes == "coco"}
    classes = {name: COCO_CLASSES for name in columns if name in coco}
    if wnids and sorted(wnids) == list(range(len(wnids))):
        classes["label"] = tuple(wnids[label] for label in range(len(wnids)))
    return classes


def _wnid_of_label(table: pa.Table) -> dict[int, str]:
    """The wnid of each label, that of its first row."""
    rows = table.select(["label", "wnid"]).drop_null()
    labels, first = np.unique(rows["label"].to_numpy(), return_index=True)
    return dict(zip(labels.tolist(), rows["wnid"].take(pa.array(first)).to_pylist(), strict=True))
