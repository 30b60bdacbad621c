"""Where people looked, as a soft map over the pixels of a crop: what stands in for a mask.

One door for every target that has a place. A target is a shape, points or an outline, and the map
is a Gaussian of the distance to it: 1 on the shape, falling off about it. So a click is a Gaussian,
a trace the union of those about its points, and the hull of the last records or a box is filled and
soft at the border.

`B` images, `K` points an image, `H` x `W` px. Distances are fractions of the crop, which is square.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from luab_train.models.attention import centres


class SoftMap(NamedTuple):
    """A map an image, and how much it counts."""

    map_BHW: Tensor
    """float32 in [0, 1]; 0 throughout where there is none."""
    weight_B: Tensor
    """float32, 0 where there is none in sight."""


def soft_map(
    point_BK2: Tensor,
    weight_BK: Tensor,
    valid_B: Tensor,
    *,
    is_outline: bool,
    size_hw: tuple[int, int] | torch.Size,
    sigma: float,
) -> SoftMap:
    """The map of each image's points, or of the outline that they are the corners of, in order.

    Args:
        point_BK2: fractions of the crop; NaN where there is none.
        weight_BK: 0 where a point is not in sight. An outline counts whole, as long as some of it
            is in sight, wherever its corners are.
        valid_B: False where the image could not be decoded.
        is_outline: see above; corners may be there twice.
        size_hw: of the map.
        sigma: standard deviation, fractions of the crop.
    """
    y_H1, x_W = centres(size_hw, point_BK2.device)
    y_H1 = y_H1[:, None]
    point_BK2 = point_BK2.float()
    if is_outline:
        known_B = point_BK2.isfinite().flatten(1).all(dim=1) & valid_B
        corner_BK2 = torch.where(known_B[:, None, None], point_BK2, 0.5)
        squared_BHW = _to_outline(corner_BK2, y_H1, x_W)
    else:
        known_BK = weight_BK > 0
        known_B = known_BK.any(dim=1) & valid_B
        squared_BHW = point_BK2.new_full((len(point_BK2), len(y_H1), len(x_W)), torch.inf)
        for point_B2, known in zip(point_BK2.unbind(1), known_BK.unbind(1), strict=True):
            each_B2 = torch.where(known[:, None], point_B2, torch.inf)
            squared_BHW = squared_BHW.minimum(_squared(each_B2, y_H1, x_W))
    map_BHW = torch.where(known_B[:, None, None], (-squared_BHW / (2 * sigma**2)).exp(), 0.0)
    if is_outline:  # the inside of it, or its edge, is in the crop
        weight_B = (map_BHW.flatten(1).amax(dim=1) > 0.5).float()
    else:
        weight_B = weight_BK.float().amax(dim=1) * known_B
    return SoftMap(torch.where((weight_B > 0)[:, None, None], map_BHW, 0.0), weight_B)


def _squared(point_B2: Tensor, y_H1: Tensor, x_W: Tensor) -> Tensor:
    x_B11, y_B11 = point_B2[:, 0, None, None], point_B2[:, 1, None, None]
    return (x_B11 - x_W) ** 2 + (y_B11 - y_H1) ** 2


def _to_outline(corner_BK2: Tensor, y_H1: Tensor, x_W: Tensor) -> Tensor:
    """(B, H, W) squared distance to the closed outline, 0 inside it (even-odd rule)."""
    start_BK2 = corner_BK2.roll(1, dims=1)
    squared_BHW = corner_BK2.new_full((len(corner_BK2), len(y_H1), len(x_W)), torch.inf)
    inside_BHW = torch.zeros_like(squared_BHW, dtype=torch.bool)
    for from_B2, to_B2 in zip(start_BK2.unbind(1), corner_BK2.unbind(1), strict=True):
        x0, y0, x1, y1 = (
            each_B[:, None, None] for each_B in torch.cat([from_B2, to_B2], dim=1).unbind(1)
        )
        dx, dy = x1 - x0, y1 - y0
        # The nearest place of this edge; of one without length, its end.
        length = (dx**2 + dy**2).clamp(min=1e-12)
        along = (((x_W - x0) * dx + (y_H1 - y0) * dy) / length).clamp(0, 1)
        away = (x_W - x0 - along * dx) ** 2 + (y_H1 - y0 - along * dy) ** 2
        squared_BHW = squared_BHW.minimum(away)
        crosses = (y0 > y_H1) != (y1 > y_H1)
        # No division by a height of 0: such an edge crosses nothing.
        left = x_W < x0 + (y_H1 - y0) * dx / torch.where(dy == 0, 1.0, dy)
        inside_BHW = inside_BHW ^ (crosses & left)
    return torch.where(inside_BHW, 0.0, squared_BHW)
