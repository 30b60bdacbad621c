"""What the network sees of an image: the centre square, or all of it squashed into a square. Pure.

A centre crop loses objects at the border, a squash distorts; the paper does not say which it used
(docs/definitions.md#mean-average-precision).
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from PIL import Image

from luab_data.errors import OptionError
from luab_train.data.inputs import EvalCrop
from luab_train.recipe import Data

Geometry = Literal["crop", "squash"]
GEOMETRIES: tuple[str, ...] = typing.get_args(Geometry)


@dataclass(frozen=True, kw_only=True)
class View:
    """One way from an image of any size to the network's square.

    Args:
        geometry: `crop` resizes the shorter side to `data.eval_resize` and takes the centre;
            `squash` resizes both sides.
        data: side, resize and interpolation.
    """

    geometry: Geometry = "crop"
    data: Data = field(default_factory=Data)

    def __post_init__(self) -> None:
        if self.geometry not in GEOMETRIES:
            raise OptionError(
                f"geometry {self.geometry!r}; expected one of {', '.join(GEOMETRIES)}"
            )

    def regions(self, size_N2: np.ndarray) -> np.ndarray:
        """(N, 2) width and height, px -> (N, 4) xyxy px: the part of each image that is seen."""
        return self._crop.regions(size_N2)

    @property
    def _crop(self) -> EvalCrop:
        return EvalCrop(self.data) if self.geometry == "crop" else EvalCrop.squash(self.data)

    def see(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (S, S, 3) uint8."""
        return self._crop(Image.fromarray(image)).image

    def covered(self, size_wh: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the pixels whose centres are seen."""
        x0, y0, x1, y1 = self.regions(np.array([size_wh]))[0].tolist()
        return _inside(y0, y1), _inside(x0, x1)


def _inside(low: float, high: float) -> slice:
    """Pixels k with low <= k + .5 <= high."""
    return slice(max(int(np.ceil(low - 0.5)), 0), max(int(np.floor(high - 0.5)) + 1, 0))
