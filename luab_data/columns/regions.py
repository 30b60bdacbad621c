"""What is in a picture: its class, its boxes, points against boxes, and the hull of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.hulls import Hulls, convex_hulls
from luab_data.columns.traces import LastN
from luab_data.ragged import (
    ArrowColumn,
    Bools,
    Floats,
    Ints,
    Ragged,
    bounds_of,
    floats,
    list_array,
    nullable,
    one_array,
)

if TYPE_CHECKING:
    from luab_data.truth import TrueImage


def sort_corners(boxes: Floats) -> Floats:
    """Boxes (num_boxes, 4) as published -> xyxy with xmin <= xmax and ymin <= ymax; NaN stays NaN.

    ILSVRC publishes a few boxes with their corners swapped. Tables keep the numbers as they are;
    whatever is computed of a box goes through here.
    """
    low = np.minimum(boxes[:, :2], boxes[:, 2:])
    return np.concatenate([low, np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


def boxes_of(column: ArrowColumn) -> tuple[Floats, Ragged]:
    """A `boxes` column as (num_boxes, 4) xyxy px, corners sorted, and a Ragged of box numbers."""
    bounds = bounds_of(column)
    boxes = one_array(column).flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)
    return sort_corners(boxes), Ragged(np.arange(len(boxes)), bounds)


def in_any_box(
    x: Floats, y: Floats, width: Floats, height: Floats, boxes: Floats, rows: Ragged
) -> Bools:
    """Whether each row's point lies in any of its boxes, borders included.

    Args:
        x, y: (num_rows,) fractions of the picture; NaN lies nowhere.
        width, height: (num_rows,) px of the picture the boxes are drawn on.
        boxes: (num_boxes, 4) xyxy px, of sort_corners; rows: which of them belong to which row.
    Returns: (num_rows,) bool, False without boxes.
    Source: docs/definitions.md#click-accuracy.
    """
    row = rows.rows
    with np.errstate(over="ignore"):  # what overflows is outside
        x_px, y_px = (x * width)[row], (y * height)[row]
    xmin, ymin, xmax, ymax = boxes[rows.values].T
    with np.errstate(invalid="ignore"):
        inside = (xmin <= x_px) & (x_px <= xmax) & (ymin <= y_px) & (y_px <= ymax)
    hit: Bools = Ragged(inside, rows.bounds).reduce(np.logical_or, False)
    return hit


def label(wnid: ArrowColumn, wnids: Sequence[str]) -> ArrowColumn:
    """Index of the image's class over the sorted wnids of the dataset.

    Args:
        wnid: (num_rows,) string.
        wnids: every class of the dataset, sorted: so it waits until every class is known.
    Returns: (num_rows,) int64.
    Null where the class is not among them.
    Source: docs/decisions.md, 3.
    """
    return pc.index_in(wnid, value_set=pa.array(wnids, pa.string())).cast(pa.int64())


def has_boxes(boxes: ArrowColumn) -> pa.Array:
    """Whether ILSVRC published boxes of the image.

    Returns: (num_rows,) bool.
    Null never.
    Source: docs/formats.md#boxes of the release's XML.
    """
    return pa.array(np.diff(bounds_of(boxes)) > 0)


def size(
    width: ArrowColumn,
    height: ArrowColumn,
    original_image_width: ArrowColumn,
    original_image_height: ArrowColumn,
) -> tuple[ArrowColumn, ArrowColumn]:
    """Size of the original picture: that of its boxes, else the one the deciding round logged.

    Args:
        width, height: (num_rows,) int32 px, of the boxes.
        original_image_width, original_image_height: (num_rows,) int32 px, as logged.
    Returns: width and height, (num_rows,) int32 px, each more than 0.
    Null if neither is there: an image that never loaded is logged as 0 x 0.
    Source: docs/definitions.md#points-and-boxes; docs/formats.md#image-position.
    """
    sizes = ((width, original_image_width), (height, original_image_height))
    wide, high = (pc.coalesce(_positive(own), _positive(logged)) for own, logged in sizes)
    return wide, high


def _positive(size: ArrowColumn) -> ArrowColumn:
    return pc.if_else(pc.greater(size, 0), size, pa.scalar(None, size.type))


def is_turned(
    width: Floats,
    height: Floats,
    original_image_width: ArrowColumn,
    original_image_height: ArrowColumn,
) -> Bools:
    """Whether each picture was shown turned: its size as logged is its size, swapped.

    Args:
        width, height: (num_rows,) px of the picture as stored; NaN is not turned.
        original_image_width, original_image_height: (num_rows,) int32 px, as logged.
    Source: docs/formats.md#exif-orientation.
    """
    swapped = (floats(original_image_width) == height) & (floats(original_image_height) == width)
    found: Bools = swapped & (width != height)
    return found


def as_shown(
    known: Sequence[TrueImage | None],
    original_image_width: ArrowColumn,
    original_image_height: ArrowColumn,
) -> list[TrueImage | None]:
    """(num_images,) the ground truth of images that were not shown turned, else None.

    Masks are of pictures as stored, points of pictures as shown; see is_turned.
    """
    width, height = (
        np.array([np.nan if image is None else getattr(image, side) for image in known])
        for side in ("width", "height")
    )
    turned = is_turned(width, height, original_image_width, original_image_height)
    return [None if flag else image for image, flag in zip(known, turned.tolist(), strict=True)]


def click_in_box(
    final_click_x: ArrowColumn,
    final_click_y: ArrowColumn,
    width: ArrowColumn,
    height: ArrowColumn,
    boxes: ArrowColumn,
    original_image_width: ArrowColumn,
    original_image_height: ArrowColumn,
) -> pa.Array:
    """Whether the final click lies in any box, borders included.

    Args:
        final_click_x, final_click_y: (num_rows,) fractions; width, height: (num_rows,) px.
        boxes: (num_rows,) lists of [xmin, ymin, xmax, ymax] px.
        original_image_width, original_image_height: (num_rows,) int32 px, as logged.
    Returns: (num_rows,) bool.
    Null without a click, boxes or a size, and where the log's size is that of the boxes with width
    and height swapped: a browser turned the picture as its EXIF orientation asks, the boxes are of
    the picture as stored, and the log does not say which way it was turned.
    Source: docs/definitions.md#click-accuracy.
    """
    columns = (final_click_x, final_click_y, width, height)
    x, y, width_px, height_px = (floats(column) for column in columns)
    xyxy, rows = boxes_of(boxes)
    turned = is_turned(width_px, height_px, original_image_width, original_image_height)
    known = ~np.isnan(x + y + width_px + height_px) & (rows.lengths > 0) & ~turned
    return nullable(in_any_box(x, y, width_px, height_px, xyxy, rows), known, pa.bool_())


_CLICK_AND_SIZE = ("final_click_x", "final_click_y", "width", "height")


def hulls(points: LastN) -> tuple[pa.ListArray, pa.ListArray, pa.Array]:
    """Convex hull of each click and the trace records just before it.

    Returns: hull_x, hull_y, (num_rows,) lists of fractions, counter-clockwise as seen on screen
    (y down) from the leftmost vertex, not closed; and hull_area (num_rows,) in fractions of the
    picture's area. One or two vertices and area 0 where all points coincide or are collinear.
    Null without a final click.
    Source: docs/definitions.md#hull; the points are those of last_n.
    """
    return hull_columns(convex_hulls(points.x, points.y), points.has_click)


def hull_columns(found: Hulls, present: Bools) -> tuple[pa.ListArray, pa.ListArray, pa.Array]:
    """The hulls of the rows that are present, as columns (num_rows,), null elsewhere."""
    lengths = np.zeros(len(present), np.int64)
    lengths[present] = found.counts
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    area = np.full(len(present), np.nan)
    area[present] = found.area
    return (
        list_array(pa.array(found.x), bounds, null_rows=~present),
        list_array(pa.array(found.y), bounds, null_rows=~present),
        nullable(area, present, pa.float64()),
    )


def click_offset(table: pa.Table) -> tuple[Floats, Floats]:
    """Offset of the final click from the centre of its box, in box widths and heights, y down.

    |offset| <= .5 is inside. Its box: see own_box.

    Args:
        table: final_click_x, final_click_y, width, height, boxes, click_in_box.
    Returns: two (num_rows,) arrays; both are NaN where click_in_box is null, or if that box has no
        area.
    Source: docs/definitions.md#click-offset
    """
    x, y, width, height = (floats(table[c]) for c in _CLICK_AND_SIZE)
    box = clicked_box(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        from_centre = np.stack([x * width, y * height], axis=1) - (box[:, :2] + box[:, 2:]) / 2
        offset = from_centre / (box[:, 2:] - box[:, :2])
    offset[~np.isfinite(offset).all(axis=1)] = np.nan
    return offset[:, 0], offset[:, 1]


def clicked_box(table: pa.Table) -> Floats:
    """The box that each final click is judged by; see own_box.

    Args:
        table: final_click_x, final_click_y, width, height, boxes, click_in_box.
    Returns: (num_rows, 4) xyxy px; NaN where click_in_box is null.
    """
    x, y, width, height = (floats(table[c]) for c in _CLICK_AND_SIZE)
    boxes, rows = boxes_of(table["boxes"])
    point = np.stack([x * width, y * height], axis=1)[rows.rows]
    chosen = own_box(rows.rows, point, boxes)
    out = np.full((len(x), 4), np.nan)
    out[rows.rows[chosen]] = boxes[chosen]
    # Of a picture that was shown turned, click and boxes are in two frames.
    out[np.asarray(table["click_in_box"].is_null())] = np.nan
    return out


def own_box(number: Ints, point: Floats, boxes: Floats) -> Ints:
    """The box that each point is judged by, among several that come into question.

    It is the one that holds the point, else the one with the nearest centre; of several that hold
    it the one with the nearest centre.

    Args:
        number: (num_pairs,) of a point, that a pair of a point and a box is of.
        point: (num_pairs, 2), boxes: (num_pairs, 4) of each pair, px.
    Returns: (num_points,) places of the chosen pairs, by number.
    Source: docs/definitions.md#click-offset
    """
    from_centre = point - (boxes[:, :2] + boxes[:, 2:]) / 2
    with np.errstate(invalid="ignore", over="ignore"):
        holds = (2 * np.abs(from_centre) <= boxes[:, 2:] - boxes[:, :2]).all(axis=1)
        order = np.lexsort(((from_centre**2).sum(axis=1), ~holds, number))
    _, first = np.unique(number[order], return_index=True)
    return np.asarray(order[first])
