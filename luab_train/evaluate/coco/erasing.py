"""Take an object out of an image: which pixels, and what stands there instead. Pure.

Pixels are erased in the original image, before it is resized and cropped. The erased image then
takes the same path to the network as the unedited one, so the erased region follows the geometry
by construction, the resampling filter blends its border as it blends every other edge, and an
inpainter sees what surrounds the object even where the crop does not. `d` of a dilation is
therefore in px of the original.

Images are (H, W, 3) uint8 RGB, masks (H, W) bool.
"""

from __future__ import annotations

import typing
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from luab_data.errors import OptionError
from luab_train.evaluate.wsol.score_maps import opencv

Fill = Literal["mean", "black", "blur", "inpaint"]
FILLS: tuple[str, ...] = typing.get_args(Fill)


@dataclass(frozen=True, kw_only=True)
class Eraser:
    """How objects are erased, and which. Source: docs/definitions.md#reliance-on-context; all of it
    is open in the paper.

    Args:
        fill: `mean`, one colour; `black`; `blur`, what surrounds the object, running out of focus
            into it; `inpaint`, OpenCV's Telea.
        colour: RGB of the fill `mean`; by default ImageNet's mean, which normalises to zero.
        dilation: px of the original by which the mask is grown first, with a disc.
        max_area: share of the image, (0, 1]; a class that covers more, before dilation, is not
            erased. A class that covers nothing never is.
    """

    fill: Fill = "mean"
    colour: tuple[int, int, int] = (124, 116, 104)
    dilation: int = 0
    max_area: float = 1.0

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise OptionError(f"fill {self.fill!r}; expected one of {', '.join(FILLS)}")
        if len(self.colour) != 3 or not all(0 <= value <= 255 for value in self.colour):
            raise OptionError(f"colour {self.colour}; expected red, green, blue from 0 to 255")
        if self.dilation < 0:
            raise OptionError(f"dilation {self.dilation}; expected 0 px or more")
        if not 0 < self.max_area <= 1:
            raise OptionError(f"max_area {self.max_area}; expected a share in (0, 1]")

    def describe(self) -> dict[str, Any]:
        """What decides a number, for results."""
        return {**asdict(self), "colour": list(self.colour)}

    def region(self, mask: np.ndarray) -> np.ndarray:
        """(H, W) bool: what is erased for an object with this mask."""
        return dilated(mask, self.dilation)

    def erase(self, image: np.ndarray, region: np.ndarray) -> np.ndarray:
        """A copy of the image with other content where `region` is true, elsewhere the same."""
        return fill_region(image, region, self.fill, self.colour)


def dilated(mask: np.ndarray, radius: int) -> np.ndarray:
    """Every pixel whose centre is at most `radius` px from the centre of one in the mask."""
    if radius == 0 or not mask.any():
        return mask
    from scipy.ndimage import distance_transform_edt

    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    y, x = max(rows[0] - radius, 0), max(columns[0] - radius, 0)
    window = np.s_[y : rows[-1] + radius + 1, x : columns[-1] + radius + 1]
    grown: np.ndarray = np.zeros_like(mask)
    grown[window] = distance_transform_edt(~mask[window]) <= radius
    return grown


def fill_region(
    image: np.ndarray, region: np.ndarray, fill: str, colour: tuple[int, int, int]
) -> np.ndarray:
    """The image with `region` filled; see `Eraser`."""
    filled: np.ndarray = image.copy()
    if not region.any():
        return filled
    if fill == "mean":
        filled[region] = colour
    elif fill == "black":
        filled[region] = 0
    elif fill == "blur":
        filled[region] = _surroundings(image, region, colour)[region]
    else:
        cv2 = opencv()
        filled[region] = cv2.inpaint(image, region.astype(np.uint8), 3, cv2.INPAINT_TELEA)[region]
    return filled


_SHRINK = 4
"""The blur is computed on an image so many times smaller, where its kernel is too."""


def _surroundings(
    image: np.ndarray, region: np.ndarray, colour: tuple[int, int, int]
) -> np.ndarray:
    """(H, W, 3) uint8: a Gaussian mean over the pixels outside the region, so that nothing of the
    object shows through. Sigma is a sixteenth of the longer side; where nothing is near, `colour`.
    """
    cv2 = opencv()
    height, width = region.shape
    small = max(width // _SHRINK, 1), max(height // _SHRINK, 1)
    outside = (~region).astype(np.float32)[..., None]
    stacked = np.concatenate([image * outside, outside], axis=2)
    stacked = cv2.resize(stacked, small, interpolation=cv2.INTER_AREA)
    stacked = cv2.GaussianBlur(stacked, (0, 0), max(max(small) / 16, 0.5))
    stacked = cv2.resize(stacked, (width, height), interpolation=cv2.INTER_LINEAR)
    weight = stacked[..., 3:]
    near = weight > 1e-3
    mean = np.where(
        near, stacked[..., :3] / np.where(near, weight, 1), np.array(colour, np.float32)
    )
    surroundings: np.ndarray = np.clip(np.rint(mean), 0, 255).astype(np.uint8)
    return surroundings
