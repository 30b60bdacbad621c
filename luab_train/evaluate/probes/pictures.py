"""What is done to a picture: an object hidden, left alone, or set before another background.

Pure functions of (S, S, 3) uint8 pictures and regions in px; none changes its argument.
"""

from __future__ import annotations

import numpy as np

from luab_train.evaluate.probes.regions import Region, beside


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
