"""The image table of a dataset folder, read once into NumPy columns.     [I/O]

Only the columns that training needs, with pyarrow: a sample then costs an array index, not a row of
a dataset library.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from luab_data.errors import DatasetError
from luab_train.data.boxes import Boxes

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
# More columns that a target is made of.
_BYPRODUCTS = {
    "first_click": ("first_click_x", "first_click_y"),
    "hull_centre": ("hull_x", "hull_y"),
    "trace": ("time_quantile_x", "time_quantile_y"),
    "dwell_time": ("dwell_time_ms",),
}


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
    files = sorted((folder / "data").glob("train-*.parquet"))
    if not files:
        raise DatasetError(
            f"{folder}: no data/train-*.parquet; expected the folder that `luab-data convert"
            " imagenet-ab` writes"
        )
    table = read_columns(files, [*_COLUMNS, *_BYPRODUCTS.get(target, ())])
    image_id = table["image_id"].to_numpy().astype(str)
    if len(np.unique(image_id)) != len(image_id):
        raise DatasetError(f"{folder}: image_id is not unique; expected one row an image")
    label = _required(table, "label", folder).astype(np.int64)
    clicks = np.stack([_floats(table, "final_click_x"), _floats(table, "final_click_y")], axis=1)
    selected = pc.fill_null(table["selected"], False).to_numpy().astype(bool)
    manifest = read_manifest(folder)
    byproduct = _byproduct(table, target)
    reliability = None
    if calibrated is not None:
        point, reliability = _read_calibrated(calibrated, image_id)
        byproduct = point[:, None] if target == "calibrated" else byproduct
    return Annotations(
        image_id=image_id,
        label=label,
        size_wh=np.stack([_floats(table, "width"), _floats(table, "height")], axis=1),
        click=np.where((selected & np.isfinite(clicks).all(axis=1))[:, None], clicks, np.nan),
        boxes=_read_boxes_column(table["boxes"], folder),
        classes=_class_names(label, table["wnid"], folder),
        digest=manifest.get("content_digest"),
        version=manifest.get("version"),
        byproduct=byproduct,
        reliability=reliability,
    )


def read_columns(files: list[Path], columns: list[str]) -> pa.Table:
    """Some columns of Parquet files, one after another, checked against their checksums."""
    tables = []
    for file in files:
        try:
            with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                missing = sorted(set(columns) - set(parquet.schema_arrow.names))
                tables.append(parquet.read(columns=columns))
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{file}: cannot be read ({error}); convert the raw log again"
            ) from error
        if missing:
            raise DatasetError(
                f"{file}: columns {', '.join(missing)} are absent; expected the table that"
                " luab-data writes, see docs/columns.md"
            )
    # promote: one shard may hold null columns only, or large_string beside string.
    return pa.concat_tables(tables, promote_options="permissive")


def _byproduct(table: pa.Table, target: str) -> np.ndarray | None:
    """(N, K, D) numbers of a target that is a byproduct of its own."""
    if target == "first_click":
        return np.stack([_floats(table, "first_click_x"), _floats(table, "first_click_y")], 1)[
            :, None
        ]
    if target == "dwell_time":
        return np.log1p(_floats(table, "dwell_time_ms") / 1000)[:, None, None]
    if target == "trace":
        return np.stack([_fixed_lists(table, f"time_quantile_{axis}") for axis in "xy"], axis=2)
    if target == "hull_centre":
        return _hull_centres(table)[:, None]
    return None


def _fixed_lists(table: pa.Table, name: str) -> np.ndarray:
    """(N, K) float64 of a column of lists that all have K numbers; a null or empty row is NaN."""
    column = table[name].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    width = int(lengths.max(initial=1))
    if wrong := set(np.unique(lengths).tolist()) - {0, width}:
        raise DatasetError(f"column {name}: lists of {sorted(wrong)} and {width}; expected one")
    result = np.full((len(column), width), np.nan)
    flat = pc.cast(column.flatten(), pa.float64()).to_numpy(zero_copy_only=False)
    result[lengths > 0] = flat.reshape(-1, width)
    return result


def _hull_centres(table: pa.Table) -> np.ndarray:
    """(N, 2): centroid of each hull's area; of its line or point where it has none."""
    hulls = table["hull_x"].combine_chunks(), table["hull_y"].combine_chunks()
    counts = pc.fill_null(pc.list_value_length(hulls[0]), 0).to_numpy(zero_copy_only=False)
    points = np.stack(
        [pc.cast(hull.flatten(), pa.float64()).to_numpy(zero_copy_only=False) for hull in hulls], 1
    )
    result = np.full((len(counts), 2), np.nan)
    has = counts > 0
    if has.any():
        owner = np.repeat(np.arange(has.sum()), counts[has])
        hull = shapely.convex_hull(shapely.multipoints(points, indices=owner))
        centre = shapely.centroid(hull)
        result[has] = np.stack([shapely.get_x(centre), shapely.get_y(centre)], axis=1)
    return result


def _read_calibrated(file: Path, image_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) calibrated clicks and (N,) reliabilities of these images, NaN if not there."""
    names = ["calibrated_click_x", "calibrated_click_y", "click_reliability"]
    table = read_columns([file], ["image_id", *names])
    known = pc.index_in(pa.array(image_id), value_set=table["image_id"].combine_chunks())
    rows = known.fill_null(0).to_numpy()
    found = known.is_valid().to_numpy(zero_copy_only=False)
    if not found.any():
        raise DatasetError(
            f"{file}: has none of the dataset's images; expected the output of `luab-data calibrate"
            " DATASET --out FILE`"
        )
    x, y, weight = (np.where(found, _floats(table, name)[rows], np.nan) for name in names)
    return np.stack([x, y], axis=1), weight


def _required(table: pa.Table, name: str, folder: Path) -> np.ndarray:
    if table[name].null_count:
        raise DatasetError(
            f"{folder}: column {name} has {table[name].null_count} nulls; expected none"
        )
    values: np.ndarray = table[name].to_numpy()
    return values


def _floats(table: pa.Table, name: str) -> np.ndarray:
    values: np.ndarray = pc.fill_null(pc.cast(table[name], pa.float64()), math.nan).to_numpy()
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
    return Boxes(np.asarray(values, float).reshape(-1, 4), bounds)


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
