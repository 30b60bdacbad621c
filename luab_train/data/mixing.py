"""Random Erasing, Mixup, CutMix and pasting of a batch on its device, and its points.

Images and labels are timm's (`RandomErasing`, `Mixup` in batch mode: an image's partner is the one
at its place in the batch turned round, one lambda a batch, corrected for a box that reaches
outside). Points follow docs/definitions.md#augmentation:

- Random Erasing: kept, also under the noise.
- Mixup: the one predicted point answers for both targets, weighed lambda and 1 - lambda.
- CutMix: weighed likewise, but the own target only outside the pasted box and the partner's only
  inside it.
- `mix.points=unmixed`: none in a batch that was mixed.

`B` images of a batch, `C` classes, `K` points an image of `D` coordinates, `T` targets a point.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from timm.data.mixup import cutmix_bbox_and_lam
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from luab_train.data.augment import seeded
from luab_train.data.pasting import paste_batch
from luab_train.sections import Mix


class Mixed(NamedTuple):
    """A batch to train on. T = 2 where it was mixed and points follow: own, then partner's."""

    image_BCHW: Tensor
    label_BC: Tensor
    """float32, smoothed and mixed."""
    label_weight_B: Tensor
    """float32, 1; 0 where the image or the one mixed into it could not be decoded."""
    point_TBKD: Tensor
    """float32, fractions of the crop; NaN where there is none."""
    weight_TBK: Tensor
    """float32; 0 where there is no target, it is hidden, or the label's weight is 0."""


class Draw(NamedTuple):
    """How a batch is mixed; lam = 1 is not at all."""

    lam: float = 1.0
    """Share of the own image."""
    box: tuple[int, int, int, int] | None = None
    """CutMix: top, bottom, left, right in px, ends excluded; None is Mixup."""


def random_erase(image_BCHW: Tensor, *, probability: float, seed: int) -> Tensor:
    """A rectangle of some images becomes unit normal noise per pixel, as timm and DeiT do it.

    Args:
        image_BCHW: normalised, any float type; not changed.
        probability: per image, `data.random_erase`.
        seed: decides all, given the kind of device that the noise is drawn on.
    Returns: the same shape, type and device.
    """
    if probability == 0:
        return image_BCHW
    erased = image_BCHW.clone()
    device = image_BCHW.device
    generator = torch.default_generator
    if device.type == "cuda":
        generator = torch.cuda.default_generators[image_BCHW.get_device()]
    # Elsewhere noise is drawn on the CPU and copied, for not all devices lend their generator.
    erase = RandomErasing(
        probability, mode="pixel", device=device if device.type == "cuda" else "cpu"
    )
    with seeded(seed, generator):
        erase(erased)
    return erased


def mix(
    image_BCHW: Tensor,
    label: Tensor,
    point_BKD: Tensor,
    weight_BK: Tensor,
    valid_B: Tensor,
    *,
    settings: Mix,
    num_classes: int,
    label_smoothing: float = 0.0,
    seed: int,
) -> Mixed:
    """Mixup or CutMix of a batch with itself turned round, or the batch as it is.

    With an odd number of images the middle one is its own partner and stays as it is.

    Args:
        image_BCHW: normalised, any float type; not changed.
        label: (B,) int64 classes, or (B, C) float of several labels an image.
        point_BKD: fractions of the crop; NaN where there is none. D = 1 is a number, not a place.
        weight_BK: 0 where there is no target or it cannot be seen.
        valid_B: False where the image could not be decoded.
        settings: `mix` of the recipe.
        num_classes: C.
        label_smoothing: see `soft_labels`; the loss must not smooth again.
        seed: decides all; `geometry.update_seed` makes one.
    """
    label_BC = soft_labels(label, num_classes, label_smoothing)
    if settings.paste is not None:
        with seeded(seed):
            *mixed, weight_TBK = paste_batch(
                image_BCHW, label_BC, point_BKD, weight_BK.float(), valid_B, settings=settings
            )
        label_weight_B = valid_B.float()  # nothing is pasted from what could not be decoded
        image_BCHW, label_BC, point_TBKD = mixed
        weight_TBK = weight_TBK * label_weight_B[:, None]
        return Mixed(image_BCHW, label_BC, label_weight_B, point_TBKD, weight_TBK)
    with seeded(seed):
        drawn = draw(settings, image_BCHW.shape[-2:])
    usable_B = valid_B
    point_TBKD, weight_TBK = point_BKD.float()[None], weight_BK.float()[None]
    if drawn.lam < 1:
        image_BCHW = mix_images(image_BCHW, drawn)
        label_BC = label_BC * drawn.lam + label_BC.flip(0) * (1 - drawn.lam)
        usable_B = valid_B & valid_B.flip(0)
        if settings.points == "follow":
            height, width = image_BCHW.shape[-2:]
            point_TBKD, weight_TBK = mix_points(
                point_BKD.float(), weight_BK.float(), drawn, size_wh=(width, height)
            )
        else:
            weight_TBK = torch.zeros_like(weight_TBK)
    label_weight_B = usable_B.float()
    weight_TBK = weight_TBK * label_weight_B[:, None]
    return Mixed(image_BCHW, label_BC, label_weight_B, point_TBKD, weight_TBK)


def draw(settings: Mix, size_hw: tuple[int, int] | torch.Size) -> Draw:
    """The numbers timm's `Mixup` would draw from `numpy.random` for one batch, in its order."""
    if not (settings.mixup or settings.cutmix) or np.random.rand() >= settings.prob:
        return Draw()
    cutmix = settings.cutmix > 0
    if settings.mixup and settings.cutmix:
        cutmix = np.random.rand() < settings.switch
    alpha = settings.cutmix if cutmix else settings.mixup
    lam = float(np.random.beta(alpha, alpha))
    if not cutmix:
        return Draw(lam)
    box, lam = cutmix_bbox_and_lam(tuple(size_hw), lam)
    top, bottom, left, right = map(int, box)
    return Draw(float(lam), (top, bottom, left, right))


def soft_labels(label: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """(B,) int64 or (B, C) float -> (B, C) float32: what timm makes of labels before it mixes them.

    Smoothing moves a class towards 1 / C, and each of several labels towards 1 / 2.
    """
    if label.ndim == 2:
        return label.float() * (1 - smoothing) + smoothing / 2
    return F.one_hot(label, num_classes).float() * (1 - smoothing) + smoothing / num_classes


def mix_images(image_BCHW: Tensor, drawn: Draw) -> Tensor:
    """Weighted mean with the batch turned round, or its box pasted in."""
    if drawn.box is None:
        return image_BCHW.mul(drawn.lam).add_(image_BCHW.flip(0).mul_(1 - drawn.lam))
    top, bottom, left, right = drawn.box
    mixed = image_BCHW.clone()
    mixed[:, :, top:bottom, left:right] = image_BCHW[:, :, top:bottom, left:right].flip(0)
    return mixed


def mix_points(
    point_BKD: Tensor, weight_BK: Tensor, drawn: Draw, *, size_wh: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """((2, B, K, D) targets, (2, B, K) weights): own and partner's, see the top of the file.

    A number that is no place (D = 1) is weighed as under Mixup also where a box is pasted.
    """
    own, partner = torch.ones_like(weight_BK), torch.ones_like(weight_BK)
    if drawn.box is not None and point_BKD.shape[-1] == 2:
        hidden_BK = under(point_BKD, drawn.box, size_wh=size_wh)
        own, partner = (~hidden_BK).float(), hidden_BK.float()
    weights = torch.stack(
        [drawn.lam * own * weight_BK, ((1 - drawn.lam) * partner * weight_BK).flip(0)]
    )
    return torch.stack([point_BKD, point_BKD.flip(0)]), weights


def under(point_BK2: Tensor, box: tuple[int, int, int, int], *, size_wh: tuple[int, int]) -> Tensor:
    """(B, K) bool: the pixel that the point lies in is inside the box; False where there is none.

    A point between two pixels belongs to the right and lower one, so that left <= x < right and top
    <= y < bottom; on the far border of the image it belongs to the last pixel. Hence a box and the
    rest of the image never claim the same point, nor neither of them.

    Args:
        point_BK2: fractions of the crop; NaN where there is none.
        box: top, bottom, left, right in px, ends excluded.
        size_wh: px of the crop.
    """
    top, bottom, left, right = box
    size = point_BK2.new_tensor(size_wh)
    pixel = torch.minimum((point_BK2 * size).floor().clamp(min=0), size - 1)
    low, high = point_BK2.new_tensor((left, top)), point_BK2.new_tensor((right, bottom))
    return ((pixel >= low) & (pixel < high)).all(-1)
