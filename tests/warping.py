"""An image moved by a matrix, pixel by pixel: what the points that move along are held against."""

from __future__ import annotations

import numpy as np
from PIL import Image

from luab_train.data.geometry import apply, invert
from luab_train.data.inputs import RESAMPLE


def warp(
    image: Image.Image,
    matrix: np.ndarray,
    out_wh: tuple[int, int],
    *,
    interpolation: str = "bilinear",
    fill: tuple[int, int, int] = (124, 116, 104),
) -> Image.Image:
    """The image moved by `matrix`, out_wh px; outside the source it is `fill`, ImageNet's mean.

    A crop, resize and flip goes through PIL's antialiased resize with a fractional box. Anything
    else, and a crop that reaches outside the image, goes through PIL's affine sampler, which does
    not antialias.
    """
    box = _source_box(matrix, out_wh, image.size)
    if box is not None:
        image = image.resize(out_wh, RESAMPLE[interpolation], box=box)
        if matrix[0, 0] < 0:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if matrix[1, 1] < 0:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        return image
    return image.transform(
        out_wh,
        Image.Transform.AFFINE,
        tuple(invert(matrix).ravel()),
        RESAMPLE[interpolation],
        fillcolor=fill,
    )


def _source_box(
    matrix: np.ndarray, out_wh: tuple[int, int], size_wh: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """The upright box of the source, px, that fills the output; None if the image has none."""
    if matrix[0, 1] or matrix[1, 0]:
        return None
    corners = apply(invert(matrix), np.array([(0.0, 0.0), out_wh]))
    low, high = np.maximum(corners.min(axis=0), 0), np.minimum(corners.max(axis=0), size_wh)
    # What was cut off here must be rounding; a crop that really reaches outside needs filling.
    if max((low - corners.min(axis=0)).max(), (corners.max(axis=0) - high).max()) > 1e-6:
        return None
    return low[0], low[1], high[0], high[1]
