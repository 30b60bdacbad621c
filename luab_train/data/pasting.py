"""Click-guided mixing: the neighbourhood of the partner's point is pasted onto an image.

CutMix (Yun et al., ICCV 2019, arXiv 1905.04899) cuts a box anywhere; SaliencyMix (Uddin et al.,
ICLR 2021, arXiv 2006.01791) cuts it about the most salient pixel of the partner. Here the partner's
point takes the place of a saliency map. Which point that is, `target` says, so the controls of a
comparison (random, centre, shuffled, oracle) are the arms of any other run, with the same draws.

As in `mixing`, an image's partner is the one at its place in the batch turned round. `B` images of
a batch, `C` classes, `H` x `W` px.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from luab_train.sections import Mix


class Pasted(NamedTuple):
    """A batch with squares pasted in; an image without one is as it was."""

    image_BCHW: Tensor
    mask_BHW: Tensor
    """bool, the pixels that are the partner's."""
    partner_point_B2: Tensor
    """float32, where the partner's point is now; fractions of the crop."""


def drawn_images(num_images: int, probability: float) -> np.ndarray:
    """(B,) bool: which images shall get a square; draws B numbers from `numpy.random`."""
    drawn: np.ndarray = np.random.rand(num_images) < probability
    return drawn


def paste(
    image_BCHW: Tensor, point_B2: Tensor, wanted_B: Tensor, *, size: float, shift: bool
) -> Pasted:
    """Paste the square about the partner's point where the partner has it, or onto the own point.

    The square is cut off where it would reach outside the partner or outside the image.

    Args:
        image_BCHW: any float type; not changed.
        point_B2: fractions of the crop; anything, NaN too, where no partner is wanted.
        wanted_B: False leaves an image as it is.
        size: side of the square, share of the crop's sides; one pixel at least.
        shift: the partner's point comes to lie on the pixel of the own point.
    """
    height, width = image_BCHW.shape[-2:]
    size_wh = point_B2.new_tensor((width, height))
    pixel_B2 = torch.minimum((point_B2.nan_to_num(0.5) * size_wh).floor().clamp(min=0), size_wh - 1)
    pixel_B2 = pixel_B2.long()
    source_B2 = pixel_B2.flip(0)
    onto_B2 = pixel_B2 if shift else source_B2
    x_BW, x_in_BW = _along(source_B2[:, 0], onto_B2[:, 0], width, size)
    y_BH, y_in_BH = _along(source_B2[:, 1], onto_B2[:, 1], height, size)
    mask_BHW = y_in_BH[:, :, None] & x_in_BW[:, None, :] & wanted_B[:, None, None]
    partner = image_BCHW.flip(0)
    rows = y_BH[:, None, :, None].expand(*partner.shape)
    columns = x_BW[:, None, None, :].expand(*partner.shape)
    moved = partner.gather(2, rows).gather(3, columns)
    offset_B2 = (onto_B2 - source_B2) / size_wh
    return Pasted(
        torch.where(mask_BHW[:, None], moved, image_BCHW), mask_BHW, point_B2.flip(0) + offset_B2
    )


def _along(source_B: Tensor, onto_B: Tensor, length: int, size: float) -> tuple[Tensor, Tensor]:
    """For each pixel along a side: (B, L) int64, the partner's pixel that may come there, and (B,
    L) bool, whether the square covers it and that pixel exists.
    """
    side = max(1, round(size * length))
    from_point = torch.arange(length, device=source_B.device) - onto_B[:, None]
    pixel = source_B[:, None] + from_point
    inside = (from_point >= -(side // 2)) & (from_point < side - side // 2)
    return pixel.clamp(0, length - 1), inside & (pixel >= 0) & (pixel < length)


def paste_batch(
    image_BCHW: Tensor,
    label_BC: Tensor,
    point_BK2: Tensor,
    weight_BK: Tensor,
    valid_B: Tensor,
    *,
    settings: Mix,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, labels, and points with weights of two targets, where squares were pasted.

    An image is left as it is where it was not drawn, where its partner's point is unknown or
    outside the partner's crop (with `shift`, also its own), or where either could not be decoded.
    Draws from `numpy.random`; use inside `seeded`.

    Args:
        image_BCHW: normalised, any float type; not changed.
        label_BC: float32, smoothed.
        point_BK2: fractions of the crop; K = 1.
        weight_BK: float32, 0 where there is no point to see.
        valid_B: False where the image could not be decoded.
        settings: `mix` of the recipe, with `paste`.
    Returns: image_BCHW; label_BC; (2, B, K, 2) points, own and partner's; (2, B, K) weights.
    """
    shift = settings.paste == "shift"
    drawn_B = torch.from_numpy(drawn_images(len(label_BC), settings.prob)).to(valid_B.device)
    has_point_B = (weight_BK[:, 0] > 0) & valid_B
    wanted_B = drawn_B & has_point_B.flip(0) & valid_B
    if shift:
        wanted_B = wanted_B & has_point_B
    pasted = paste(
        image_BCHW, point_BK2[:, 0].float(), wanted_B, size=settings.paste_size, shift=shift
    )
    share_B = partner_share(pasted.mask_BHW, settings)
    label_BC = torch.lerp(label_BC, label_BC.flip(0), share_B[:, None])
    point_TBKD = torch.stack([point_BK2.float(), pasted.partner_point_B2[:, None]])
    if settings.points == "unmixed":
        own_B, partner_B = (~wanted_B).float(), torch.zeros_like(share_B)
    else:
        own_B = (1 - share_B) * (~_covered(pasted.mask_BHW, point_BK2[:, 0])).float()
        partner_B = share_B
    weights = torch.stack([own_B[:, None] * weight_BK, partner_B[:, None] * weight_BK.flip(0)])
    return pasted.image_BCHW, label_BC, point_TBKD, weights


def partner_share(mask_BHW: Tensor, settings: Mix) -> Tensor:
    """(B,) float32: how much of an image's label is its partner's, by `mix.paste_labels`."""
    area_B = mask_BHW.float().mean(dim=(1, 2))
    if settings.paste_labels == "area":
        return area_B
    share = 0.5 if settings.paste_labels == "equal" else settings.paste_share
    return (area_B > 0).float() * share


def _covered(mask_BHW: Tensor, point_B2: Tensor) -> Tensor:
    """(B,) bool: whether the pixel of the point is the partner's; False where there is none."""
    height, width = mask_BHW.shape[-2:]
    size_wh = point_B2.new_tensor((width, height))
    pixel = torch.minimum((point_B2.nan_to_num(0.5) * size_wh).floor().clamp(min=0), size_wh - 1)
    x_B, y_B = pixel.long().unbind(dim=1)
    covered = mask_BHW[torch.arange(len(mask_BHW), device=mask_BHW.device), y_B, x_B]
    return covered & point_B2.isfinite().all(dim=1)
