"""Losses on where a network looks, with a soft map of a click, trace, hull or box for a mask.

All were published with masks or maps that people drew; here the map comes through one door,
`luab_train.data.soft_maps`, and is 1 where the network shall look. Each is a number an image, the
formula of its paper on that image; the label term beside it is that of any run.

    rrr         Ross, Hughes, Doshi-Velez, IJCAI 2017 (arXiv 1703.03717), eq. 1: the gradient of
                the sum of the log-probabilities, squared and summed outside the map
    gradmask    Simpson, Dutil, Bengio, Cohen 2019 (arXiv 1904.07478): the Euclidean norm of the
                gradient of the label's score outside the map
    harmonizer  Fel et al., NeurIPS 2022 (arXiv 2211.04533), as in serre-lab/Harmonization: the
                gradient of the label's score, mean over channels, and the map, both standardised
                and cut off at 0, the map at the gradient's height; mean squared difference over
                five levels of a pyramid
    robustvit   Chefer, Schwartz, Wolf, NeurIPS 2022 (arXiv 2206.01161), as in
                hila-chefer/RobustViT: mean squared relevance outside the map (weight 2) and its
                distance from 1 inside (.3). Their third term, confidence in the network's own
                answer, is not here: the label term is, as in their ablation with true labels

`B` images, `C` channels, `H` x `W` px, `L` classes, `T` tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from luab_data.errors import OptionError
from luab_train.data.soft_maps import SoftMap
from luab_train.models.attention import attention_layers, num_prefix_tokens, watched
from luab_train.models.classifier import LuabModel, Outputs
from luab_train.sections import Loss

BACKGROUND, FOREGROUND = 2.0, 0.3
"""Weights of RobustViT's two terms."""
LEVELS = 5
"""Of Harmonizer's pyramid, the map itself among them."""


def guided(
    model: nn.Module, network: LuabModel, image_BCHW: Tensor, label_B: Tensor, seen: SoftMap,
    *, loss: Loss, scale: float = 1.0,
) -> tuple[Outputs, Tensor]:  # fmt: skip
    """The network's answers, and the sum of the images' losses by the weights of their maps.

    Args:
        model: what is called, `network` with what wraps it.
        network: for normalisation and for its layers.
        image_BCHW: uint8, or float and normalised.
        label_B: int64.
        seen: a map an image, of the image's size.
        loss: of the recipe, with `attention`.
        scale: of what gradients are taken of; more than 1 where half precision would lose them.
    """
    image_BCHW = network.normalise(image_BCHW) if not image_BCHW.is_floating_point() else image_BCHW
    if loss.attention == "robustvit":
        with attention_maps(network.backbone) as attention:
            outputs: Outputs = model(image_BCHW)
        score = outputs.logits_BC.float().gather(1, label_B[:, None]).sum() * scale
        # The authors' code has no second derivative here either.
        slopes = torch.autograd.grad(score, attention, retain_graph=True)
        relevance_BHW = relevance(
            attention, [slope / scale for slope in slopes], network.backbone, seen.map_BHW.shape[1:]
        )
        each_B = robustvit(relevance_BHW, seen.map_BHW)
    else:
        image_BCHW = image_BCHW.detach().requires_grad_()
        # Only the plain kernel has a second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            outputs = model(image_BCHW)
        logits_BL = outputs.logits_BC.float()
        if loss.attention == "rrr":
            bce = loss.classification == "bce"
            score = (F.logsigmoid(logits_BL) if bce else logits_BL.log_softmax(dim=1)).sum()
        else:
            score = logits_BL.gather(1, label_B[:, None]).sum()
        (slope_BCHW,) = torch.autograd.grad(score * scale, image_BCHW, create_graph=True)
        each_B = ON_GRADIENT[str(loss.attention)](slope_BCHW.float() / scale, seen.map_BHW)
    # where, not a product: the loss of an image without a map may be anything.
    return outputs, torch.where(seen.weight_B > 0, each_B * seen.weight_B, 0).sum()


def rrr(slope_BCHW: Tensor, map_BHW: Tensor) -> Tensor:
    """(B,): sum over the pixels of ((1 - map) * slope)^2."""
    return ((1 - map_BHW[:, None]) * slope_BCHW).square().flatten(1).sum(dim=1)


def gradmask(slope_BCHW: Tensor, map_BHW: Tensor) -> Tensor:
    """(B,): Euclidean norm of (1 - map) * slope; where it is 0, so is its gradient."""
    squared_B = rrr(slope_BCHW, map_BHW)
    norm_B = torch.where(squared_B > 0, squared_B, 1).sqrt()
    return torch.where(squared_B > 0, norm_B, 0)


def harmonizer(slope_BCHW: Tensor, map_BHW: Tensor) -> Tensor:
    """(B,): mean squared difference of the two, standardised and cut off, over a pyramid."""
    found_BHW = _standardised(slope_BCHW.mean(dim=1))
    wanted_BHW = _standardised(map_BHW)
    height_B11 = found_BHW.detach().amax(dim=(1, 2), keepdim=True) + 1e-6
    wanted_BHW = wanted_BHW / (wanted_BHW.amax(dim=(1, 2), keepdim=True) + 1e-6) * height_B11
    # The pyramid is linear: that of the difference is the difference of the two.
    level = (found_BHW - wanted_BHW)[:, None]
    levels = [level.square().flatten(1).mean(dim=1)]
    for _ in range(LEVELS - 1):
        level = _halved(level)
        levels.append(level.square().flatten(1).mean(dim=1))
    return torch.stack(levels).mean(dim=0)


ON_GRADIENT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rrr": rrr,
    "gradmask": gradmask,
    "harmonizer": harmonizer,
}
"""Losses on the gradient at the pixels."""


def _standardised(values_BHW: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over an image, then what is above 0."""
    centred = values_BHW - values_BHW.mean(dim=(1, 2), keepdim=True)
    variance = centred.square().mean(dim=(1, 2), keepdim=True)
    # A root has no slope at 0, which an even map has.
    deviation = torch.where(variance > 0, variance, 1).sqrt()
    return (centred / (torch.where(variance > 0, deviation, 0) + 1e-5)).relu()


def _halved(image_B1HW: Tensor) -> Tensor:
    """Smoothed by (1, 4, 6, 4, 1) / 16 along both sides, every second pixel kept; zeros lie about
    the image, as many more on the far side as TensorFlow's `SAME` puts there.
    """
    weights = image_B1HW.new_tensor((1, 4, 6, 4, 1)) / 16
    padding = []
    for length in (image_B1HW.shape[3], image_B1HW.shape[2]):
        total = max((-(-length // 2) - 1) * 2 + 5 - length, 0)
        padding += [total // 2, total - total // 2]
    kernel = torch.outer(weights, weights)[None, None]
    return F.conv2d(F.pad(image_B1HW, padding), kernel, stride=2)


def robustvit(relevance_BHW: Tensor, map_BHW: Tensor) -> Tensor:
    """(B,): 2 mean (relevance (1 - map))^2 + .3 mean (relevance map - map)^2."""
    outside = (relevance_BHW * (1 - map_BHW)).square().flatten(1).mean(dim=1)
    inside = (relevance_BHW * map_BHW - map_BHW).square().flatten(1).mean(dim=1)
    return BACKGROUND * outside + FOREGROUND * inside


def relevance(
    attention: list[Tensor], slopes: list[Tensor], backbone: Any, size_hw: torch.Size
) -> Tensor:
    """(B, H, W) in [0, 1]: how much the class token owes to each place (Chefer, Gur, Wolf, ICCV
    2021, eq. 5 and 6), between the image's least and most.

    Args:
        attention: (B, heads, T, T) of each layer, from the first on.
        slopes: of the label's score at these.
        backbone: a timm VisionTransformer.
        size_hw: px of the image.
    """
    with torch.autocast(attention[0].device.type, enabled=False):
        size = attention[0].shape[-1]
        total_BTT = torch.eye(size, device=attention[0].device).expand(len(attention[0]), -1, -1)
        for layer, slope in zip(attention, slopes, strict=True):
            mean_BTT = (layer.float() * slope.float()).clamp(min=0).mean(dim=1)
            total_BTT = total_BTT + mean_BTT @ total_BTT
        rows, columns = backbone.patch_embed.grid_size
        cells_BHW = total_BTT[:, 0, num_prefix_tokens(backbone, total_BTT) :]
        cells_BHW = cells_BHW.reshape(-1, 1, rows, columns)
        found_BHW = F.interpolate(cells_BHW, size=tuple(size_hw), mode="bilinear")[:, 0]
        low = found_BHW.amin(dim=(1, 2), keepdim=True)
        high = found_BHW.amax(dim=(1, 2), keepdim=True)
        return (found_BHW - low) / (high - low).clamp(min=1e-12)


@contextlib.contextmanager
def attention_maps(backbone: Any) -> Iterator[list[Tensor]]:
    """Keep each layer's attention, (B, heads, T, T) after the softmax, while a network runs."""
    kept: list[Tensor] = []
    with watched(class_token_layers(backbone), kept.append):
        yield kept


def class_token_layers(backbone: Any) -> list[Any]:
    """Attention of each block of a timm VisionTransformer that answers by its class token.

    Raises: OptionError: of any other network.
    """
    layers = attention_layers(backbone)
    if not layers or getattr(backbone, "global_pool", None) != "token":
        raise OptionError(
            f"loss.attention=robustvit: {type(backbone).__name__} has no relevance of patches for a"
            " class token; expected timm's VisionTransformer that answers by its class token, or"
            " loss.attention=rrr, gradmask or harmonizer"
        )
    return layers


def check_guidance(network: LuabModel, loss: Loss, image_size: int) -> None:
    """Take one loss and its gradients on noise: not every layer has the derivatives.

    Raises: OptionError: the network cannot be trained so.
    """
    if loss.attention == "robustvit":
        class_token_layers(network.backbone)
    was_training = network.training
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        image = torch.randn(1, 3, image_size, image_size)
        half = torch.zeros(1, image_size, image_size)
        half[:, : image_size // 2] = 1
        label = torch.zeros(1, dtype=torch.int64)
        try:
            _, total = guided(
                network.eval(), network, image, label, SoftMap(half, torch.ones(1)), loss=loss
            )
            weights = [p for p in network.parameters() if p.requires_grad]
            torch.autograd.grad(total, weights, allow_unused=True)
        except RuntimeError as error:  # torch says so of operations without a second derivative
            raise OptionError(
                f"loss.attention={loss.attention}: {type(network.backbone).__name__} cannot be"
                f" trained on gradients of its own ({str(error).splitlines()[0]}); choose another"
                " timm model, or loss.attention=none"
            ) from error
    network.train(was_training)
