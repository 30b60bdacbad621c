"""Images in a column of a Hugging Face dataset on disk, read from its Arrow files.     [I/O]

`Dataset.save_to_disk` writes Arrow files, which are mapped into memory as they are. Parquet cannot
be read row by row: `datasets` unpacks it once into its cache (HF_HOME), as much disk again as the
images take. An image is then a slice of a mapped file, with no row of a dataset in between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.errors import ImagesError
from luab_data.join.sources import in_order
from luab_train.data.classes import imagenet_classes
from luab_train.data.inputs import Picture, decode
from luab_train.data.sources import Names, name_images, sorted_names
from luab_train.sections import Backend


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrowImages:
    """Images of a dataset, sorted by (wnid, number, image id); `N` of them."""

    root: Path
    wnid: np.ndarray
    """(N,) text, of the column `wnid`, else what the image's path or the column `label` tells."""
    image_id: np.ndarray
    """(N,) text, of the column `image_id`, else of the image's path."""
    row: np.ndarray
    """(N,) int64, row of the stored table."""
    data: Any
    """The dataset's mapped table; pickled as the paths of its files."""
    starts: np.ndarray
    """First row of each chunk of the table, and its number of rows at the end."""

    def load(self, index: int, *, upright: bool = False, backend: Backend = "pillow") -> Picture:
        """Decode one image to RGB."""
        row = int(self.row[index])
        chunk = int(np.searchsorted(self.starts, row, side="right")) - 1
        value = self.data.table["image"].chunk(chunk)[row - int(self.starts[chunk])].as_py()
        content, path = (value["bytes"], value["path"]) if isinstance(value, dict) else (value, "")
        if content is None and not path:
            raise ImagesError(f"{self.name(index)}: null; expected bytes or a path")
        encoded = Path(path) if content is None else content
        return decode(encoded, self.name(index), upright=upright, backend=backend)

    def name(self, index: int) -> str:
        """Where one image is."""
        return f"{self.root}: image {self.image_id[index]} in row {self.row[index]}"


def open_saved(root: Path) -> ArrowImages:
    """The images of a folder that `Dataset.save_to_disk` wrote."""
    import datasets

    try:
        return _images(root, datasets.load_from_disk(str(root)))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        if isinstance(error, ImagesError):
            raise
        raise ImagesError(f"{root}: cannot be opened as a saved dataset ({error})") from error


def open_parquet(root: Path, files: list[Path]) -> ArrowImages:
    """The images of Parquet files of one split."""
    splits = sorted({file.name.split("-")[0] for file in files if "-of-" in file.name})
    if len(splits) > 1:
        raise ImagesError(
            f"{root}: Parquet files of {', '.join(splits)}; expected those of one split in a folder"
        )
    try:
        names = pq.read_schema(files[0]).names
    except (OSError, pa.ArrowException) as error:
        raise ImagesError(f"{files[0]}: cannot be read ({error})") from error
    _check_column(root, names)
    import datasets

    paths = [str(file) for file in files]
    try:
        dataset = datasets.load_dataset("parquet", data_files={"train": paths}, split="train")
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise ImagesError(f"{root}: its Parquet files cannot be read ({error})") from error
    return _images(root, dataset)


def _check_column(root: Path, names: list[str]) -> None:
    if "image" not in names:
        raise ImagesError(
            f"{root}: a dataset with the columns {', '.join(names)}; expected one called image"
        )


def _images(root: Path, dataset: Any) -> ArrowImages:
    table = dataset.data.table
    _check_column(root, table.column_names)
    column = table["image"]
    has_path = pa.types.is_struct(column.type)
    if has_path and {"bytes", "path"} - {field.name for field in column.type}:
        raise ImagesError(f"{root}: column image is {column.type}; expected bytes and path")
    if not has_path and not (
        pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    ):
        raise ImagesError(f"{root}: column image is {column.type}; expected encoded images")
    names = _names(root, dataset, has_path)
    stored = np.arange(len(table))
    if dataset._indices is not None:
        stored = dataset._indices.column(0).to_numpy().astype(np.int64)
    return ArrowImages(
        root=root,
        wnid=names.wnid,
        image_id=names.image_id,
        row=stored[names.order],
        data=dataset.data,
        starts=np.cumsum([0, *(len(chunk) for chunk in column.chunks)]),
    )


def _names(root: Path, dataset: Any, has_path: bool) -> Names:
    table = dataset.data.table

    def column(values: pa.ChunkedArray, what: str) -> pa.Array:
        if not len(values):
            raise ImagesError(f"{root}: has no row; expected images")
        values = in_order(dataset, values)
        if values.null_count:
            raise ImagesError(
                f"{root}: {what} is null in {values.null_count} of {len(values)} rows; expected an"
                " image id or a path in each, to know which image is whose"
            )
        # text of 2**31 bytes and more does not fit one string array
        return values.cast(pa.large_string()).combine_chunks()

    told = None
    if "label" in table.column_names and pa.types.is_integer(table["label"].type):
        labels = in_order(dataset, table["label"]).fill_null(-1).to_pylist()
        told = _class_of_label(dataset, labels)
    if "image_id" in table.column_names:
        ids = column(table["image_id"], "image_id")
        if "wnid" in table.column_names:
            return sorted_names(column(table["wnid"], "wnid"), ids, root)
        return name_images(ids, root, told=told)
    paths = pc.struct_field(table["image"], "path") if has_path else None
    if told is not None and (paths is None or paths.null_count == len(paths)):
        rows = pa.array(map(str, range(len(told))), pa.string())  # to evaluate on, a class will do
        return sorted_names(pa.array(told, pa.string()), rows, root)
    if paths is None:
        raise ImagesError(
            f"{root}: no column image_id, and the images have no paths; expected one of the two, to"
            " know which image is whose"
        )
    return name_images(column(paths, "image.path"), root, told=told)


def _class_of_label(dataset: Any, labels: list[int]) -> list[str]:
    """Classes by a column of numbers: their wnids, or the numbers where no wnid is known; empty
    where the number is below 0, as in test sets.

    imagenet-1k on the Hub names its 1,000 classes in words, in the order of their wnids.
    """
    names = list(getattr(dataset.features["label"], "names", None) or ())
    if len(names) == len(imagenet_classes()) and not _is_wnid(names[0]):
        names = list(imagenet_classes())
    if not names or not _is_wnid(names[0]):
        names = [f"#{number}" for number in range(max(labels, default=-1) + 1)]
    return [names[label] if 0 <= label < len(names) else "" for label in labels]


def _is_wnid(name: str) -> bool:
    return re.fullmatch(r"n\d{8}", name) is not None
