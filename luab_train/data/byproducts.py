"""Targets that are a byproduct of their own: first click, hull, trace, time, calibrated click.

`N` images, `K` points of `D` numbers each; NaN where an image has none.     [I/O]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from luab_data.errors import DatasetError
from luab_train.data.columns import floats, read_columns

# More columns that a target is made of.
BYPRODUCTS = {
    "first_click": ("first_click_x", "first_click_y"),
    "hull_centre": ("hull_x", "hull_y"),
    "trace": ("time_quantile_x", "time_quantile_y"),
    "dwell_time": ("dwell_time_ms",),
}


def byproduct(table: pa.Table, target: str) -> np.ndarray | None:
    """(N, K, D) numbers of a target that is a byproduct of its own."""
    if target == "first_click":
        return np.stack([floats(table, "first_click_x"), floats(table, "first_click_y")], 1)[
            :, None
        ]
    if target == "dwell_time":
        return np.log1p(floats(table, "dwell_time_ms") / 1000)[:, None, None]
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


def read_calibrated(file: Path, image_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    x, y, weight = (np.where(found, floats(table, name)[rows], np.nan) for name in names)
    return np.stack([x, y], axis=1), weight
