"""Where the object is in what the network sees, and what is done to it. Pure NumPy.

A region is xyxy in px of the crop, x0 and y0 inside, x1 and y1 just outside: as array slices have
it. A region without area is no region. `N` images, crops of S x S px.

A picture, (S, S, 3) uint8, has its object hidden, left alone or set before another background; no
function changes its argument.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from luab_train.data.boxes import Boxes


class Region(NamedTuple):
    """Pixels x0 to x1 - 1 of the rows y0 to y1 - 1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def area(self) -> int:
        """Number of pixels; 0 is no region."""
        return max(self.x1 - self.x0, 0) * max(self.y1 - self.y0, 0)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Of the rows and columns of an image."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


NOWHERE = Region(0, 0, 0, 0)


def object_regions(boxes: Boxes, seen_px: np.ndarray, side: int) -> np.ndarray:
    """(N, 4) int64: every pixel of the crop that the object may reach; zeros where it has none.

    The smallest rectangle about all boxes of an image. Published boxes name their last pixel, so
    xmin to xmax covers [xmin, xmax + 1]; a pixel that this meets only in part belongs to it.

    Args:
        boxes: px of the original images.
        seen_px: (N, 4) xyxy px of the original images: what the crop shows.
        side: S.
    """
    has_box = boxes.counts > 0
    low = np.full((len(has_box), 2), np.inf)
    high = np.full((len(has_box), 2), -np.inf)
    np.minimum.at(low, boxes.rows, boxes.values[:, :2])
    np.maximum.at(high, boxes.rows, boxes.values[:, 2:] + 1)
    low[~has_box], high[~has_box] = 0, 0
    scale = side / (seen_px[:, 2:] - seen_px[:, :2])
    # Rounded first: 3 * (8 / 24) may come out a hair above 1.
    first = np.floor(np.round((low - seen_px[:, :2]) * scale, 6)).clip(0, side)
    last = np.ceil(np.round((high - seen_px[:, :2]) * scale, 6)).clip(0, side)
    there = has_box & (last > first).all(axis=1)
    return np.where(there[:, None], np.concatenate([first, last], axis=1), 0).astype(np.int64)


def centre_region(side: int) -> Region:
    """The central square of half the side, a quarter of the picture."""
    return Region(side // 4, side // 4, side // 4 + side // 2, side // 4 + side // 2)


def beside(region: Region, side: int) -> Region:
    """The largest of the four rectangles left, right, above and below the region; the first of
    equals. Without area if the region fills the picture.
    """
    x0, y0, x1, y1 = region
    strips = (
        Region(0, 0, x0, side),
        Region(x1, 0, side, side),
        Region(0, 0, side, y0),
        Region(0, y1, side, side),
    )
    return max(strips, key=lambda strip: strip.area)


def elsewhere(region: Region, side: int, draw: float) -> Region:
    """A region of the same width and height that shares no pixel with this one; NOWHERE if the
    picture has no room for it.

    Args:
        region: of the object.
        side: S.
        draw: in [0, 1), which of all such places, row by row.
    """
    width, height = region.x1 - region.x0, region.y1 - region.y0
    x, y = np.arange(side - width + 1), np.arange(side - height + 1)
    free_x = (x + width <= region.x0) | (x >= region.x1)
    free_y = (y + height <= region.y0) | (y >= region.y1)
    places = np.argwhere(free_y[:, None] | free_x[None, :])
    if not len(places) or not region.area:
        return NOWHERE
    at_y, at_x = (int(v) for v in places[int(draw * len(places))])
    return Region(at_x, at_y, at_x + width, at_y + height)


def filled(picture: np.ndarray, region: Region, colour: np.ndarray) -> np.ndarray:
    """The region in one colour, (3,) uint8."""
    result: np.ndarray = picture.copy()
    result[region.slices] = colour
    return result


def alone(picture: np.ndarray, region: Region, colour: np.ndarray) -> np.ndarray:
    """Everything but the region in one colour, (3,) uint8."""
    result: np.ndarray = np.broadcast_to(colour, picture.shape).copy()
    result[region.slices] = picture[region.slices]
    return result


def background(picture: np.ndarray, region: Region) -> np.ndarray:
    """The picture without its object: the region is tiled with the largest rectangle beside it.

    As in the ONLY-BG-T set of the Backgrounds Challenge, so the region shows no flat patch.
    Source: Xiao et al., Noise or Signal, 2021 (arXiv 2006.09994), section 2.
    """
    result: np.ndarray = picture.copy()
    tile = picture[beside(region, len(picture)).slices]
    height, width = tile.shape[:2]
    y = np.arange(region.y1 - region.y0) % height
    x = np.arange(region.x1 - region.x0) % width
    result[region.slices] = tile[y[:, None], x]
    return result


def on_background(
    picture: np.ndarray, region: Region, donor: np.ndarray, donor_region: Region
) -> np.ndarray:
    """The region of the picture at its place before the background of the donor.

    A box is no mask: what the region shows of the picture's own background comes along.
    """
    result: np.ndarray = background(donor, donor_region)
    result[region.slices] = picture[region.slices]
    return result
