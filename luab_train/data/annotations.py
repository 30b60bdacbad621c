"""The image table of a dataset folder, read once into NumPy columns.     [I/O]

Only the columns that training needs, with pyarrow: a sample then costs an array index, not a row of
a dataset library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.regions import sort_corners
from luab_data.errors import DatasetError
from luab_train.data.boxes import Boxes
from luab_train.data.byproducts import BYPRODUCTS, byproduct, read_calibrated
from luab_train.data.columns import floats, read_columns

_COLUMNS = (
    "image_id",
    "wnid",
    "label",
    "width",
    "height",
    "boxes",
    "selected",
    "final_click_x",
    "final_click_y",
)


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The image table of an ImageNet-AB folder, column by column."""

    image_id: np.ndarray
    """(N,) text, unique."""
    label: np.ndarray
    """(N,) int64, index into `classes`."""
    size_wh: np.ndarray
    """(N, 2) float64, px of the original image."""
    click: np.ndarray
    """(N, 2) float64, fractions of the original image; NaN unless selected in the end."""
    boxes: Boxes
    """px of the original image."""
    classes: tuple[str, ...]
    """wnid of label 0, 1, ..."""
    digest: str | None
    """`content_digest` of the folder's manifest; None if it has no manifest."""
    version: str | None
    """`version` of the folder's manifest."""
    byproduct: np.ndarray | None = None
    """(N, K, D) float64, what a target other than the click is made of; NaN where there is none."""
    reliability: np.ndarray | None = None
    """(N,) float64 in [0, 1], how far a click is to be trusted; NaN where not known."""

    def take(self, index: np.ndarray) -> Annotations:
        """The rows `index`, in that order; the classes stay."""
        return Annotations(
            image_id=self.image_id[index],
            label=self.label[index],
            size_wh=self.size_wh[index],
            click=self.click[index],
            boxes=self.boxes.take(index),
            classes=self.classes,
            digest=self.digest,
            version=self.version,
            byproduct=None if self.byproduct is None else self.byproduct[index],
            reliability=None if self.reliability is None else self.reliability[index],
        )


def read_annotations(
    folder: Path, *, target: str = "click", calibrated: Path | None = None
) -> Annotations:
    """Read `folder/data/train-*.parquet`, as `luab-data convert imagenet-ab` writes it.

    Args:
        folder: dataset folder.
        target: the arm; some need more columns.
        calibrated: what `luab-data calibrate --out` wrote; needed by `calibrated` and by weights.
    """
    files = shards(folder, "data")
    table = read_columns(files, [*_COLUMNS, *BYPRODUCTS.get(target, ())])
    image_id = table["image_id"].to_numpy().astype(str)
    if len(np.unique(image_id)) != len(image_id):
        raise DatasetError(f"{folder}: image_id is not unique; expected one row an image")
    label = _required(table, "label", folder).astype(np.int64)
    clicks = np.stack([floats(table, "final_click_x"), floats(table, "final_click_y")], axis=1)
    selected = pc.fill_null(table["selected"], False).to_numpy().astype(bool)
    manifest = read_manifest(folder)
    values = byproduct(table, target)
    reliability = None
    if calibrated is not None:
        point, reliability = read_calibrated(calibrated, image_id)
        values = point[:, None] if target == "calibrated" else values
    return Annotations(
        image_id=image_id,
        label=label,
        size_wh=np.stack([floats(table, "width"), floats(table, "height")], axis=1),
        click=np.where((selected & np.isfinite(clicks).all(axis=1))[:, None], clicks, np.nan),
        boxes=_read_boxes_column(table["boxes"], folder),
        classes=_class_names(label, table["wnid"], folder),
        digest=manifest.get("content_digest"),
        version=manifest.get("version"),
        byproduct=values,
        reliability=reliability,
    )


def _required(table: pa.Table, name: str, folder: Path) -> np.ndarray:
    if table[name].null_count:
        raise DatasetError(
            f"{folder}: column {name} has {table[name].null_count} nulls; expected none"
        )
    values: np.ndarray = table[name].to_numpy()
    return values


def _class_names(label: np.ndarray, wnid: pa.ChunkedArray, folder: Path) -> tuple[str, ...]:
    first = np.unique(label, return_index=True)
    pairs = pa.table({"label": label, "wnid": wnid}).group_by(["label", "wnid"]).aggregate([])
    if not np.array_equal(first[0], np.arange(len(first[0]))) or len(pairs) != len(first[0]):
        raise DatasetError(
            f"{folder}: labels are {first[0][:5].tolist()}... with {len(pairs)} (label, wnid)"
            " pairs; expected 0, 1, ... without a gap, each with one wnid"
        )
    names = tuple(wnid.take(pa.array(first[1])).to_pylist())
    if len(set(names)) != len(names) or None in names:
        raise DatasetError(
            f"{folder}: a wnid belongs to two labels or is null; expected one label each"
        )
    return names


def _read_boxes_column(column: pa.ChunkedArray, folder: Path) -> Boxes:
    """list<list<double>> or list<fixed_size_list<double>[4]> -> Boxes; a null row has none."""
    lists = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    inner = lists.flatten()
    widths = pc.list_value_length(inner)
    if len(inner) and (inner.null_count or pc.any(pc.not_equal(widths, 4)).as_py()):
        raise DatasetError(
            f"{folder}: a box has not four numbers; expected [xmin, ymin, xmax, ymax] in px"
        )
    values = (
        pc.cast(inner.flatten(), pa.float64()).to_numpy(zero_copy_only=False) if len(inner) else []
    )
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Boxes(sort_corners(np.asarray(values, float).reshape(-1, 4)), bounds)


def shards(folder: Path, config: str) -> list[Path]:
    """The Parquet files of a config's folder, in order: those of the manifest, if there is one.

    Raises:
        DatasetError: there are none, or one that the manifest does not list.
    """
    files = sorted(path for path in (folder / config).glob("*.parquet") if path.name[0] != ".")
    listed = read_manifest(folder).get("files")
    strangers = [p for p in files if listed and f"{config}/{p.name}" not in listed]
    if strangers:
        raise DatasetError(
            f"{strangers[0]}: is not one of the dataset's files, and what is in it would be"
            " counted twice; move it elsewhere"
        )
    if not files:
        raise DatasetError(
            f"{folder}: no {config}/train-*.parquet; expected the folder that `luab-data convert`"
            " writes"
        )
    return files


def read_manifest(folder: Path) -> dict[str, Any]:
    """Content of a dataset folder's manifest.json; empty if it has none."""
    path = folder / "manifest.json"
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON ({error}); convert the raw log again") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: {type(content).__name__}; expected an object")
    return content
