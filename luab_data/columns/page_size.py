"""How large a picture was on the page, by the tools' own rules: the logs' width copies the height.

A tool writes the places of the mouse as whole pixels over the picture's size on the page, so a size
is right only if it makes every logged fraction a whole number of pixels again.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import ArrowColumn, Bools, Floats, Ragged, floats, nullable, ragged
from luab_data.tools import BOARD_HEIGHT, CELL_HEIGHT, CELL_WIDTH, MAX_BOARD_WIDTH

_TOLERANCE_PX = 1e-3


def browsing(
    original_image_width: ArrowColumn,
    original_image_height: ArrowColumn,
    image_height: ArrowColumn,
    *points: ArrowColumn,
) -> tuple[pa.Array, pa.Array]:
    """Size of the picture on the page of the browsing tool: shrunk to fit its cell, never enlarged.

    Args:
        original_image_width, original_image_height: (num_rounds,) px of the file, as logged.
        image_height: (num_rounds,) px on the page, as logged.
        points: (num_rounds,) lists of fractions of the picture; x and y take turns.
    Returns: width and height, (num_rounds,) int32 px.
    Null without an original size, where the logged height is another one, or where a point is no
    whole number of these pixels: then the page was not laid out by that rule.
    Source: docs/formats.md#imagenet-width
    """
    width, height = floats(original_image_width), floats(original_image_height)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.minimum(1, np.minimum(CELL_WIDTH / width, CELL_HEIGHT / height))
    return _checked(width * scale, height * scale, floats(image_height), points)


def tagging(
    original_image_width: ArrowColumn,
    original_image_height: ArrowColumn,
    image_height: ArrowColumn,
    *points: ArrowColumn,
) -> tuple[pa.Array, pa.Array]:
    """Size of the picture on the page of the tagging tool: of one height, squeezed if too wide.

    Args: as browsing.
    Returns: width and height, (num_images,) int32 px.
    Null as browsing.
    Source: docs/formats.md#coco-width; docs/formats.md#page-height
    """
    width, height = floats(original_image_width), floats(original_image_height)
    with np.errstate(divide="ignore", invalid="ignore"):
        wide = np.where(height > 0, BOARD_HEIGHT * width / height, np.nan)
    high = np.where(np.isnan(wide), np.nan, BOARD_HEIGHT)
    return _checked(np.minimum(wide, MAX_BOARD_WIDTH), high, floats(image_height), points)


def as_logged(
    image_width: ArrowColumn, image_height: ArrowColumn
) -> tuple[ArrowColumn, ArrowColumn]:
    """Size of the picture on a page of which no rule is known: as logged.

    Args:
        image_width, image_height: (num_views,) int32 px.
    Returns: width and height, (num_views,) int32 px, each more than 0.
    Null where it was not logged, or is not above 0.
    Source: docs/log-format.md.
    """
    wide, high = (
        pc.if_else(pc.greater(size, 0), size, pa.scalar(None, pa.int32()))
        for size in (image_width, image_height)
    )
    return wide, high


def _checked(
    width: Floats, height: Floats, logged_height: Floats, points: tuple[ArrowColumn, ...]
) -> tuple[pa.Array, pa.Array]:
    """Sizes in whole pixels; a browser rounds to the nearest, or to the other side."""
    found: list[Floats] = []
    for size, columns in ((width, points[0::2]), (height, points[1::2])):
        fractions = [ragged(column) for column in columns]
        whole = np.full(len(size), np.nan)
        for candidate in (np.floor(size + 0.5), np.floor(size), np.ceil(size)):
            rows = np.flatnonzero(np.isnan(whole) & (candidate > 0))
            for lists in fractions:
                rows = rows[_are_pixels(candidate[rows], lists.only(rows))]
            whole[rows] = candidate[rows]
        found.append(whole)
    with np.errstate(invalid="ignore"):
        contradicted = (logged_height > 0) & ~(np.abs(logged_height - found[1]) <= 1)
    there = ~contradicted & ~np.isnan(found[0] + found[1])
    wide, high = (np.where(there, size, 0).astype(np.int32) for size in found)
    return nullable(wide, there, pa.int32()), nullable(high, there, pa.int32())


def _are_pixels(size: Floats, fractions: Ragged) -> Bools:
    """(num_rows,) whether all fractions of a row are whole numbers of pixels of its size."""
    with np.errstate(invalid="ignore", over="ignore"):
        px = fractions.values * np.repeat(size, fractions.lengths)
        off = np.abs(px - np.rint(px)) > _TOLERANCE_PX
    return ~fractions.any(off | np.isinf(px))
