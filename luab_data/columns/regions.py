"""Points against boxes, and the hull of points: plane geometry in fractions and pixels."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely

from luab_data.columns.traces import LastN
from luab_data.ragged import Bools, Floats, Ragged, bounds_of, list_array, nullable


def boxes_of(column: pa.ChunkedArray) -> tuple[Floats, Ragged]:
    """A `boxes` column as (num_boxes, 4) px and a Ragged of box numbers per row."""
    bounds = bounds_of(column)
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    boxes = flat.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)
    return boxes, Ragged(np.arange(len(boxes)), bounds)


def in_any_box(
    x: Floats, y: Floats, width: Floats, height: Floats, boxes: Floats, rows: Ragged
) -> Bools:
    """Whether each row's point lies in any of its boxes, borders included.

    Args:
        x, y: (num_rows,) fractions of the picture; NaN lies nowhere.
        width, height: (num_rows,) px of the picture the boxes are drawn on.
        boxes: (num_boxes, 4) xyxy px; rows: which of them belong to which row.
    Returns: (num_rows,) bool, False without boxes. Source: decisions.md, metrics 4.3.
    """
    row = rows.rows
    x_px, y_px = (x * width)[row], (y * height)[row]
    xmin, ymin, xmax, ymax = boxes[rows.values].T
    with np.errstate(invalid="ignore"):
        inside = (xmin <= x_px) & (x_px <= xmax) & (ymin <= y_px) & (y_px <= ymax)
    hit: Bools = Ragged(inside, rows.bounds).reduce(np.logical_or, False)
    return hit


def click_in_box(table: pa.Table) -> pa.Array:
    """Whether the final click lies in any box, (num_rows,) bool.

    Args:
        table: final_click_x, final_click_y, width, height, boxes.
    Returns: null without a click, boxes or a size.
    """
    x, y, width, height = (floats(table[c]) for c in _CLICK_AND_SIZE)
    boxes, rows = boxes_of(table["boxes"])
    known = ~np.isnan(x + y + width + height) & (rows.lengths > 0)
    return nullable(in_any_box(x, y, width, height, boxes, rows), known, pa.bool_())


_CLICK_AND_SIZE = ("final_click_x", "final_click_y", "width", "height")


def floats(column: pa.ChunkedArray | pa.Array) -> Floats:
    """A numeric column as float64 with NaN for null."""
    values: Floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.array(values, dtype=np.float64)


def hulls(points: LastN) -> tuple[pa.ListArray, pa.ListArray, pa.Array]:
    """Convex hull of each click and the trace records just before it.

    Returns: hull_x, hull_y, (num_rows,) lists of fractions, counter-clockwise as seen on screen
    (y down) from the leftmost vertex, not closed; and hull_area (num_rows,) in fractions of the
    picture's area. One or two vertices and area 0 where all points coincide or are collinear.
    Null without a final click.
    """
    there = ~np.isnan(points.x)
    sizes = there.sum(1)
    shapes = _hull_shapes(np.stack([points.x[there], points.y[there]], axis=1), sizes)
    xy, owner = shapely.get_coordinates(shapes, return_index=True)
    counts = np.bincount(owner, minlength=len(shapes)).astype(np.int64)
    ends = np.cumsum(counts)
    closed = shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON
    keep = np.ones(len(xy), bool)
    keep[ends[closed] - 1] = False  # a ring repeats its first vertex
    counts = counts - closed

    lengths = np.zeros(len(points.has_click), np.int64)
    lengths[points.has_click] = counts
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    area = np.full(len(points.has_click), np.nan)
    area[points.has_click] = shapely.area(shapes)
    missing = ~points.has_click
    return (
        list_array(pa.array(xy[keep, 0]), bounds, null_rows=missing),
        list_array(pa.array(xy[keep, 1]), bounds, null_rows=missing),
        nullable(area, points.has_click, pa.float64()),
    )


def _hull_shapes(xy: Floats, sizes: np.ndarray) -> np.ndarray:
    """(num_rows,) normalised hull geometries of rows of `sizes` points each."""
    if not len(sizes):
        return np.array([], dtype=object)
    offsets = (np.concatenate([[0], np.cumsum(sizes)]), np.arange(len(sizes) + 1))
    multipoints = shapely.from_ragged_array(shapely.GeometryType.MULTIPOINT, xy, offsets[:1])
    # normalize: rings start at their least vertex and run one way round, whatever GEOS returned.
    hull: np.ndarray = shapely.normalize(shapely.convex_hull(multipoints))
    return hull


def click_offset(table: pa.Table) -> tuple[Floats, Floats]:
    """Offset of the final click from the centre of its box, in box widths and heights, y down.

    Its box is the one that holds it, else the one with the nearest centre; of several that hold it
    the one with the nearest centre. |offset| <= .5 is inside.

    Args:
        table: final_click_x, final_click_y, width, height, boxes.
    Returns: two (num_rows,) arrays; NaN without a click, boxes or a size, or if that box is empty.
    Source: metrics 4.8.
    """
    x, y, width, height = (floats(table[c]) for c in _CLICK_AND_SIZE)
    boxes, rows = boxes_of(table["boxes"])
    row = rows.rows
    dx = (x * width)[row] - (boxes[:, 0] + boxes[:, 2]) / 2
    dy = (y * height)[row] - (boxes[:, 1] + boxes[:, 3]) / 2
    sizes = boxes[:, 2:] - boxes[:, :2]
    with np.errstate(invalid="ignore"):
        holds = (2 * np.abs(dx) <= sizes[:, 0]) & (2 * np.abs(dy) <= sizes[:, 1])
    order = np.lexsort((dx**2 + dy**2, ~holds, row))
    found, first = np.unique(row[order], return_index=True)
    chosen = order[first]
    out = np.full((2, len(x)), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        for axis, distance in enumerate((dx, dy)):
            offset = distance[chosen] / sizes[chosen, axis]
            out[axis, found] = np.where(np.isfinite(offset), offset, np.nan)
    return out[0], out[1]
