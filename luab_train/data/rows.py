"""The image table of a dataset folder, read once into NumPy columns.     [I/O]

Only the columns that training needs, with pyarrow: a sample then costs an array index, not a row of
a dataset library. `N` images, `K` points of `D` numbers each; NaN where an image has none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from luab_data.columns.regions import sort_corners
from luab_data.errors import DatasetError, ImagesError
from luab_data.files import MANIFEST
from luab_data.kinds import Browsing, kind_of
from luab_data.ragged import bounds_of, floats, is_true, one_array, ragged
from luab_data.store import folder as store
from luab_data.store.folder import check_files
from luab_data.table import Table
from luab_train.data.boxes import Boxes
from luab_train.data.sources import ImageSource

_COLUMNS = (
    *("image_id", "wnid", "label", "width", "height", "boxes"),
    *("selected", "final_click_x", "final_click_y"),
)
BYPRODUCTS = {
    "first_click": ("first_click_x", "first_click_y"),
    "hull_centre": ("hull_x", "hull_y"),
    "hull": ("hull_x", "hull_y"),
    "trace": ("time_quantile_x", "time_quantile_y"),
    "dwell_time": ("dwell_time_ms",),
    "trace_last": ("last_point_x", "last_point_y"),
    "trace_centroid": ("centroid_x", "centroid_y"),
}
"""Target -> more columns that it is made of; `trace_last` and `trace_centroid` are of traces
alone.
"""


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The image table of a folder like ImageNet-AB's, column by column."""

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
    """Name of label 0, 1, ..., a wnid of ImageNet; of some there may be no image."""
    digest: str | None
    """`content_digest` of the folder's manifest; None if it has no manifest."""
    version: str | None
    """`version` of the folder's manifest."""
    byproduct: np.ndarray | None = None
    """(N, K, D) float64, what a target other than the click is made of; NaN where there is none."""
    reliability: np.ndarray | None = None
    """(N,) float64 in [0, 1], how far a click is to be trusted; NaN where not known."""
    traces: dict[str, Any] | None = None
    """Where the points are from, if from a tracing dataset; then `click` is the end of a trace."""
    num_unselected: int = 0
    """Rows left out: who was asked did not find their class in them."""

    def take(self, index: np.ndarray) -> Annotations:
        """The rows `index`, in that order; the classes stay."""
        columns = ("image_id", "label", "size_wh", "click", "byproduct", "reliability")
        values = {name: getattr(self, name) for name in columns}
        taken: dict[str, Any] = {
            name: None if column is None else column[index] for name, column in values.items()
        }
        return replace(self, boxes=self.boxes.take(index), **taken)

    @property
    def strata(self) -> np.ndarray:
        """(N,) int64: a fraction of the rows is taken of each."""
        return self.label

    @property
    def facts(self) -> dict[str, Any]:
        """What there is to learn, for a run's record."""
        pointed = int(np.isfinite(self.click).all(axis=1).sum())
        found: dict[str, Any] = {"num_unselected": self.num_unselected}
        found = {key: value for key, value in found.items() if value}
        if self.traces is not None:
            return {"traces": {**self.traces, "num_train": pointed}, **found}
        return {"num_clicks": pointed, **found}


def read_annotations(
    folder: Path, *, target: str = "click", calibrated: Path | None = None
) -> Annotations:
    """Read `folder/data/train-*.parquet`, as `luab-data convert` writes it of a browsing log.

    Of somebody's own data, images that were not selected are left out: that they are of the class
    that was asked for is what the annotators denied. Where nothing was ever selected, all stay.

    Args:
        folder: dataset folder.
        target: the arm; some need more columns.
        calibrated: what `luab-data calibrate --out` wrote; needed by `calibrated` and by weights.
    """
    table = read_columns(folder, "data", [*_COLUMNS, *BYPRODUCTS.get(target, ())])
    manifest = read_manifest(folder)
    num_rows, selected = len(table), is_true(table["selected"])
    kind = kind_of({"dataset": "imagenet-ab", **manifest})
    if isinstance(kind, Browsing) and not kind.label_is_known and selected.any():
        table = table.filter(pa.array(selected))
    image_id = unique_ids(table, folder)
    if nulls := table["label"].null_count:
        raise DatasetError(f"{folder}: column label has {nulls} nulls; expected none")
    label = table["label"].to_numpy().astype(np.int64)
    clicks = points_of(table, "final_click_x", "final_click_y")
    clicked = is_true(table["selected"]) & np.isfinite(clicks).all(axis=1)
    values = byproduct(table, target)
    reliability = None
    if calibrated is not None:
        point, reliability = _read_calibrated(calibrated, image_id)
        values = point[:, None] if target == "calibrated" else values
    return Annotations(
        image_id=image_id,
        label=label,
        size_wh=points_of(table, "width", "height"),
        click=np.where(clicked[:, None], clicks, np.nan),
        boxes=_boxes(table["boxes"], folder),
        classes=_class_names(label, table["wnid"], manifest.get("classes") or (), folder),
        digest=manifest.get("content_digest"),
        version=manifest.get("version"),
        byproduct=values,
        reliability=reliability,
        num_unselected=num_rows - len(table),
    )


def read_folders(source: ImageSource) -> Annotations:
    """All images of class folders, of the classes that these are; without clicks and boxes.

    Raises: ImagesError at an image that names no class.
    """
    if nameless := int((source.wnid == "").sum()):
        raise ImagesError(
            f"{source.root}: {nameless} of {len(source.wnid)} images name no class, e.g."
            f" {source.image_id[source.wnid == ''][0]}, and traces name none; expected"
            " <class>/<image_id>.<ext>, or --data DATASET with labels and --points, the traces"
        )
    classes, label = np.unique(source.wnid, return_inverse=True)
    _, first, count = np.unique(source.image_id, return_inverse=True, return_counts=True)
    longer = np.char.add(np.char.add(source.wnid, "/"), source.image_id)
    nothing = np.full((len(label), 2), np.nan)
    return Annotations(
        image_id=np.where(count[first] > 1, longer, source.image_id),
        label=label.astype(np.int64),
        size_wh=nothing,
        click=nothing,
        boxes=Boxes.of([None] * len(label)),
        classes=tuple(classes.tolist()),
        digest=None,
        version=None,
    )


def unique_ids(table: pa.Table, folder: Path) -> np.ndarray:
    """(N,) text of the column image_id; DatasetError if one is there twice."""
    image_id: np.ndarray = table["image_id"].cast(pa.string()).to_numpy().astype(str)
    if len(np.unique(image_id)) != len(image_id):
        raise DatasetError(f"{folder}: image_id is not unique; expected one row an image")
    return image_id


def points_of(table: pa.Table, *names: str) -> np.ndarray:
    """(N, D) float64 of some columns; null is NaN."""
    return np.stack([floats(table[name]) for name in names], axis=1)


def _class_names(
    label: np.ndarray, wnid: pa.ChunkedArray, known: Sequence[str], folder: Path
) -> tuple[str, ...]:
    """Names by label: those that the manifest has, else those of the rows."""
    first = np.unique(label, return_index=True)
    if known and first[0].max(initial=0) < len(known):
        if wnid.combine_chunks() != pa.array(known, wnid.type).take(pa.array(label)):
            raise DatasetError(
                f"{folder}: labels and wnids do not fit the classes of the manifest; convert the"
                " log again"
            )
        return tuple(known)
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


def _boxes(column: pa.ChunkedArray, folder: Path) -> Boxes:
    """Lists of [xmin, ymin, xmax, ymax] of any number type; a null row has none."""
    inner = one_array(column).flatten()
    if inner.null_count or (np.diff(bounds_of(inner)) != 4).any():
        raise DatasetError(
            f"{folder}: a box has not four numbers; expected [xmin, ymin, xmax, ymax] in px"
        )
    values = floats(inner.flatten()).reshape(-1, 4)
    return Boxes(sort_corners(values), bounds_of(column))


# --- byproducts of their own ---------------------------------------------------------------------


def byproduct(table: pa.Table, target: str) -> np.ndarray | None:
    """(N, K, D) numbers of a target that is a byproduct of its own; None for the others."""
    columns = BYPRODUCTS.get(target, ())
    if target in ("first_click", "trace_last", "trace_centroid"):
        return points_of(table, *columns)[:, None]
    if target == "dwell_time":
        return np.log1p(points_of(table, *columns) / 1000)[:, None]
    if target == "trace":
        return np.stack([fixed_lists(table, name) for name in columns], axis=2)
    if target == "hull_centre":
        return _hull_centres(table)[:, None]
    if target == "hull":
        return _hull_corners(table)
    return None


def fixed_lists(table: pa.Table, name: str) -> np.ndarray:
    """(N, K) float64 of a column of lists that all have K numbers; a null or empty row is NaN."""
    lists = ragged(table[name])
    width = int(lists.lengths.max(initial=1))
    if wrong := set(np.unique(lists.lengths).tolist()) - {0, width}:
        raise DatasetError(f"column {name}: lists of {sorted(wrong)} and {width}; expected one")
    result = np.full((len(table), width), np.nan)
    result[lists.lengths > 0] = lists.values.reshape(-1, width)
    return result


def _hull_centres(table: pa.Table) -> np.ndarray:
    """(N, 2): centroid of each hull's area; of its line or point where it has none."""
    x, y = ragged(table["hull_x"]), ragged(table["hull_y"])
    result = np.full((len(table), 2), np.nan)
    has = x.lengths > 0
    if has.any():
        owner = np.repeat(np.arange(has.sum()), x.lengths[has])
        points = np.stack([x.values, y.values], axis=1).astype(np.float64)
        centre = shapely.centroid(shapely.convex_hull(shapely.multipoints(points, indices=owner)))
        result[has] = np.stack([shapely.get_x(centre), shapely.get_y(centre)], axis=1)
    return result


def _hull_corners(table: pa.Table) -> np.ndarray:
    """(N, K, 2): the corners of each hull in order, the last of them as often as K asks for."""
    x, y = ragged(table["hull_x"]), ragged(table["hull_y"])
    place = np.arange(x.lengths.max(initial=1))
    has = x.lengths > 0
    at = x.bounds[:-1, None] + np.minimum(place, x.lengths[:, None] - 1)
    result = np.full((len(table), len(place), 2), np.nan)
    result[has] = np.stack([x.values, y.values], axis=1)[at[has]]
    return result


def _read_calibrated(file: Path, image_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) calibrated clicks and (N,) reliabilities of these images, NaN if not there."""
    names = ["calibrated_click_x", "calibrated_click_y", "click_reliability"]
    try:
        table = pq.read_table(file, columns=["image_id", *names])
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{file}: cannot be read ({error}); calibrate again") from error
    known = pc.index_in(pa.array(image_id), value_set=table["image_id"].combine_chunks())
    found = known.is_valid().to_numpy(zero_copy_only=False)
    if not found.any():
        raise DatasetError(
            f"{file}: has none of the dataset's images; expected the output of `luab-data calibrate"
            " DATASET --out FILE`"
        )
    values = points_of(table, *names)[known.fill_null(0).to_numpy()]
    values[~found] = np.nan
    return values[:, :2], values[:, 2]


# --- files ---------------------------------------------------------------------------------------


def read_columns(folder: Path, config: str, columns: list[str]) -> pa.Table:
    """Some columns of the Parquet files in `folder/<config>`, in order.

    Raises:
        DatasetError: there are none, one is damaged or lacks a column, or one is there that the
            manifest does not list.
    """
    if (folder / MANIFEST).is_file():
        check_files(folder)
    parts = list(
        store.read_columns(
            folder, Table(config="default", folder=config, row="", columns=()), columns
        )
    )
    if not parts:
        raise DatasetError(
            f"{folder}: no {config}/train-*.parquet; expected the folder that `luab-data convert`"
            " writes"
        )
    # promote: one shard may hold null columns only, or large_string beside string.
    return pa.concat_tables(parts, promote_options="permissive")


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
