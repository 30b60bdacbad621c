"""[I/O] The two sides of a join: rows of byproducts, and images by id; no picture is opened."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.boxes import IMAGE_SUFFIXES
from luab_data.errors import DatasetError, ImagesError
from luab_data.kinds import kind_of, tables_of
from luab_data.schema import COCO_CLASSES, COCO_IMAGES
from luab_data.store.find import ids_of
from luab_data.store.folder import read_columns, read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import did_you_mean

FILES_PER_CHUNK = 65_536


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images by id; image i has ids[i] and is at places[i].

    Args:
        name: what to call them in a message.
        ids: (num_images,) string (ImageNet) or int64 (COCO); null where a name holds no such id.
        places: (num_images,) string, path below `root`, `/` between; or int64, row of `dataset`.
        root: the folder of image files, absolute; None for a dataset.
        dataset: the Hugging Face dataset the images are in; None for files.
    """

    name: str
    ids: pa.Array
    places: pa.Array
    root: Path | None = None
    dataset: Any = None


def find_images(images: Any, id_type: pa.DataType) -> Images:
    """The images of a folder or of a Hugging Face dataset, with ids as `id_type` has them.

    Args:
        images: a folder of image files at any depth (hidden ones are passed over); a folder that
            `Dataset.save_to_disk` wrote; or a `datasets.Dataset` whose images know their paths.
        id_type: string: ids of ImageNet; int64: COCO's.

    Raises:
        ImagesError: no images, or images without paths; says what was found.
    """
    if isinstance(images, (str, os.PathLike)):
        folder = Path(images)
        saved = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
        if not saved:
            return _files(folder, id_type)
        import datasets  # a second to import, and only needed here

        images = datasets.load_from_disk(os.fspath(folder))
        return _rows(images, f"dataset {folder}", id_type)
    datasets = sys.modules.get("datasets")  # who has one has imported it
    if datasets is not None and isinstance(images, datasets.Dataset):
        return _rows(images, f"dataset of {len(images)} rows", id_type)
    found = type(images).__name__
    advice = {
        "DatasetDict": "; take one of its splits, e.g. images['train']",
        "IterableDataset": "; a stream has no rows to point at, load it without streaming",
    }.get(found, "")
    raise ImagesError(
        f"images: found {found}; expected an image folder or a datasets.Dataset{advice}"
    )


# --- files ---------------------------------------------------------------------------------------


def _files(folder: Path, id_type: pa.DataType) -> Images:
    if not folder.is_dir():
        raise ImagesError(f"{folder}: not a folder; expected one with images, at any depth")
    paths = pa.chunked_array(_path_chunks(folder), pa.string()).combine_chunks()
    if not len(paths):
        raise ImagesError(f"{folder}: no image found{_hint(folder)}")
    root = Path(os.path.abspath(folder))
    if not _is_unicode(str(root)):
        raise ImagesError(f"{root}: Arrow cannot hold this path; rename the folder in UTF-8")
    return Images(name=str(folder), ids=ids_of(paths, id_type), places=paths, root=root)


def _path_chunks(folder: Path) -> Iterator[pa.Array]:
    """Paths below the folder as Arrow arrays, a third of what as many Python strings take."""
    paths = image_files(folder)
    while chunk := list(islice(paths, FILES_PER_CHUNK)):
        yield pa.array(chunk, pa.string())


def image_files(folder: Path) -> Iterator[str]:
    """Paths of image files below a folder, `/` between, in the order of the file system.

    Linked files and folders are followed, a folder is entered once however it is reached, and
    hidden names are passed over, as are names that are not Unicode.
    """
    waiting, entered = [""], set[tuple[int, int]]()
    while waiting:
        inside = waiting.pop()
        try:
            status = os.stat(folder / inside)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder / inside) as entries:
                for entry in entries:
                    name = entry.name
                    if name[0] == ".":
                        continue
                    if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                        if entry.is_file() and _is_unicode(name):
                            yield f"{inside}{name}"
                    elif entry.is_dir() and _is_unicode(name):
                        waiting.append(f"{inside}{name}/")
        except OSError as error:
            raise ImagesError(f"{folder / inside}: cannot be read ({error.strerror})") from error


def _is_unicode(name: str) -> bool:
    """Whether Arrow can hold the name; Linux allows others, no image of ours has one."""
    return name.isascii() or name.encode(errors="replace").decode() == name


def _hint(folder: Path) -> str:
    kinds = f"; expected files with one of {', '.join(sorted(IMAGE_SUFFIXES))}"
    if (folder / "dataset_dict.json").is_file():
        return ", but a saved DatasetDict: name the folder of one split, e.g. its train/"
    if any(folder.glob("*.parquet")) or any(folder.glob("data/*.parquet")):
        return ", but Parquet: open it with datasets.load_dataset and give the Dataset"
    if any(folder.glob("*.tar")) or any(folder.glob("*.zip")):
        return f", but archives: unpack them{kinds}"
    return kinds


# --- rows of a Hugging Face dataset --------------------------------------------------------------


def _rows(dataset: Any, name: str, id_type: pa.DataType) -> Images:
    column = image_column(dataset, name)
    ids = _ids_of_rows(dataset, name, column, id_type)
    return Images(
        name=name,
        ids=ids.combine_chunks(),
        places=pa.array(np.arange(len(dataset))),
        dataset=dataset,
    )


def image_column(dataset: Any, name: str) -> str:
    """The column that holds the images: `image`, else the only one of that feature."""
    import datasets

    found = [key for key, kind in dataset.features.items() if isinstance(kind, datasets.Image)]
    if "image" in found:
        return "image"
    if len(found) != 1:
        raise ImagesError(
            f"{name}: has the columns {', '.join(dataset.features)}, {len(found)} of them images;"
            " expected one, or one called image"
        )
    return str(found[0])


def _ids_of_rows(dataset: Any, name: str, column: str, id_type: pa.DataType) -> pa.ChunkedArray:
    # Of a memory-mapped file this reads the paths alone, not the pictures stored beside them.
    paths = in_order(dataset, pc.struct_field(dataset.data.table[column], "path"))
    if paths.null_count < len(paths):
        return ids_of(paths, id_type)
    if "image_id" in dataset.features:
        # COCO on the Hub: pictures without a name, their number beside them.
        try:
            return in_order(dataset, dataset.data.table["image_id"]).cast(id_type)
        except pa.ArrowException as error:
            raise ImagesError(f"{name}: image_id is not of type {id_type} ({error})") from error
    raise ImagesError(
        f"{name}: no image knows its path ({column}.path is null in all {len(paths)} rows), and no"
        " column image_id says which is which; expected paths like"
        " n01440764_10026_n01440764.JPEG. Join with the image files instead"
    )


def in_order(dataset: Any, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A stored column in the order of the dataset's rows, which select or shuffle may have changed.

    Only `_indices` tells them: the public ways copy the pictures too.
    """
    return values if dataset._indices is None else values.take(dataset._indices.column(0))


# --- byproducts ----------------------------------------------------------------------------------

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
        has_views: whether a row is a view, so that an image may have several.
        columns: names of all columns.
    """

    name: str
    ids: pa.ChunkedArray
    classes: dict[str, tuple[str, ...]]
    batches: Batches
    has_views: bool = False
    columns: Sequence[str] = ()


def open_rows(ab: Any) -> Rows:
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
    batched = (batch["image_id"] for batch in read_columns(folder, table, ["image_id"]))
    chunks = [chunk for column in batched for chunk in column.chunks]
    ids = pa.chunked_array(chunks, table["image_id"].type)
    _check_not_null(name, ids)
    if not len(ids):
        raise DatasetError(f"{name}: holds no rows; expected an image each")

    def batches(wanted: Sequence[str] | None) -> Iterator[pa.Table]:
        return read_columns(folder, table, _known(name, columns, wanted))

    named = {column.name: column.class_names(manifest["classes"]) for column in table.columns}
    classes = {name: tuple(names) for name, names in named.items() if names}
    return Rows(
        name=name,
        ids=ids,
        classes=classes,
        batches=batches,
        has_views=kind_of(manifest).has_view_rows,
        columns=columns,
    )


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
    wnids = _wnid_of_label(table) if has_wnids else {}
    found = _classes_of(table.column_names, wnids, is_coco=pa.types.is_integer(kind))

    def batches(columns: Sequence[str] | None) -> Iterator[pa.Table]:
        yield table.select(_known(name, table.column_names, columns))

    return Rows(
        name=name,
        ids=ids,
        classes={**found, **classes},
        batches=batches,
        has_views="view" in table.column_names,
        columns=table.column_names,
    )


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


def _classes_of(
    columns: Sequence[str], wnids: dict[int, str], *, is_coco: bool
) -> dict[str, tuple[str, ...]]:
    """Column -> class names by number, for the columns that hold numbers of classes.

    Args:
        columns: of the table.
        is_coco: whether its ids are COCO's; what labels of own data mean, no table alone says.
        wnids: label -> wnid of its rows. Without every number from 0 on, as in a table that was
            filtered, the names are not all known and `label` gets none.
    """
    coco = {column.name for column in COCO_IMAGES.columns if column.classes and is_coco}
    classes = {name: COCO_CLASSES for name in columns if name in coco}
    if wnids and sorted(wnids) == list(range(len(wnids))):
        classes["label"] = tuple(wnids[label] for label in range(len(wnids)))
    return classes


def _wnid_of_label(table: pa.Table) -> dict[int, str]:
    """The wnid of each label, that of its first row."""
    rows = table.select(["label", "wnid"]).drop_null()
    labels, first = np.unique(rows["label"].to_numpy(), return_index=True)
    return dict(zip(labels.tolist(), rows["wnid"].take(pa.array(first)).to_pylist(), strict=True))
