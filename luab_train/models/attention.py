"""A map over the cells of the last feature map: where to look, supervised by points. Our design.

The paper (appendix F) weighs features by attention about the point before it pools them, and says
neither how nor what happens at test time, where there is no point. Here one linear layer scores
every cell, a softmax makes the scores a map that sums to 1, and its mean position is the predicted
point: the same in training and at test. The map learns from Gaussians about the annotator's points.

Cells lie in a grid of `H` rows and `W` columns over the crop, in fractions of which places are
given; the centre of the first is (.5 / W, .5 / H).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from luab_data.errors import OptionError


class AttentionMap(nn.Module):
    """(B, H, W, D) features of cells -> (B, H, W) log-probabilities of cells; uniform at first."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        # The bias adds the same to every cell; a softmax does not see it.
        self.score = nn.Linear(num_features, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, cells_BHWD: Tensor) -> Tensor:
        """See the class."""
        scores = self.score(cells_BHWD).squeeze(-1).float()
        attention_BHW: Tensor = scores.flatten(1).log_softmax(dim=1).view_as(scores)
        return attention_BHW


def mean_position(attention_BHW: Tensor) -> Tensor:
    """(B, 2) x, y: the mean of the cells' centres under the map, fractions of the crop."""
    probability = attention_BHW.exp()
    y, x = centres(attention_BHW.shape[1:], attention_BHW.device)
    return torch.stack([(probability.sum(dim=1) * x).sum(1), (probability.sum(2) * y).sum(1)], 1)


def attended(cells_BHWD: Tensor, attention_BHW: Tensor) -> Tensor:
    """(B, D): the mean of the cells' features under the map."""
    weights = attention_BHW.exp().to(cells_BHWD.dtype)
    return torch.einsum("bhwd,bhw->bd", cells_BHWD, weights)


def cell_targets(
    point_BK2: Tensor, weight_BK: Tensor, grid_hw: tuple[int, int] | torch.Size, sigma: float
) -> Tensor:
    """(B, H, W): Gaussians about the points, mixed by their weights.

    Each image sums to 1, or is 0 throughout where all its weights are.

    Args:
        point_BK2: fractions of the crop; anything where the weight is 0.
        weight_BK: 0 where there is no point.
        grid_hw: rows and columns of cells.
        sigma: standard deviation, fractions of the crop. A Gaussian is read at the cells' centres
            and divided by its sum, so that one narrower than a cell falls on the nearest.
    """
    y, x = centres(grid_hw, point_BK2.device)
    point = torch.where((weight_BK > 0)[..., None], point_BK2.float(), 0.5)
    squared = (point[..., 0, None, None] - x) ** 2 + (point[..., 1, None, None] - y[:, None]) ** 2
    gaussian = (-squared / (2 * sigma**2)).flatten(2).softmax(dim=2)
    total = weight_BK.sum(dim=1, keepdim=True)
    share = torch.where(total > 0, weight_BK / total, 0)
    return (gaussian * share[..., None]).sum(dim=1).view(-1, *grid_hw)


def centres(grid_hw: tuple[int, int] | torch.Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """(H,) y and (W,) x of the cells' centres."""
    rows, columns = grid_hw
    return (
        (torch.arange(rows, device=device) + 0.5) / rows,
        (torch.arange(columns, device=device) + 0.5) / columns,
    )


def cells_of(backbone: Any, features: object, *, head: str = "attention") -> Tensor:
    """(B, H, W, D): what a timm model's `forward_features` gave, cell by cell; views, no copies.

    `head` is for the error.
    """
    width = backbone.num_features
    found = str(tuple(features.shape[1:])) if isinstance(features, Tensor) else "several maps"
    if isinstance(features, Tensor) and features.ndim == 4:
        if features.shape[1] == width:
            return features.permute(0, 2, 3, 1)
        if features.shape[3] == width:
            return features
    elif isinstance(features, Tensor) and features.ndim == 3 and features.shape[2] == width:
        tokens = features[:, num_prefix_tokens(backbone, features) :]
        side = math.isqrt(tokens.shape[1])
        grid = getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
        # Networks that shrink the grid of their patches end in a square one: images are square.
        for rows, columns in (grid or (side, side), (side, side)):
            if rows * columns == tokens.shape[1]:
                return tokens.reshape(len(tokens), rows, columns, width)
    raise OptionError(
        f"model.point_head={head}: {type(backbone).__name__} gives features of shape"
        f" {found}; expected a map of {width} channels or a token a patch."
        " Choose another timm model, or model.point_head=regression"
    )


def as_features(backbone: Any, features: Tensor, pooled_BD: Tensor) -> Tensor:
    """What `forward_head` pools to `pooled_BD`, in the shape of this model's features.

    A map of one cell; for tokens, the pooled vector in every place that a model may pool from.
    """
    if features.ndim == 3:
        count = num_prefix_tokens(backbone, features) + 1
        return pooled_BD[:, None].expand(-1, count, -1)
    if features.shape[1] == backbone.num_features:
        return pooled_BD[:, :, None, None]
    return pooled_BD[:, None, None]


def num_prefix_tokens(backbone: Any, features: Tensor) -> int:
    """Class tokens and registers; of a network that does not say, one if cells alone make no
    square.
    """
    said: int | None = getattr(backbone, "num_prefix_tokens", None)
    count = features.shape[1]
    return int(math.isqrt(count) ** 2 != count) if said is None else said


def attention_layers(backbone: Any) -> list[Any]:
    """Attention of each block of a timm VisionTransformer; empty where it cannot be read."""
    layers = [getattr(block, "attn", None) for block in getattr(backbone, "blocks", [])]
    is_readable = all(hasattr(a, "fused_attn") and hasattr(a, "attn_drop") for a in layers)
    return layers if is_readable else []


@contextlib.contextmanager
def watched(layers: Sequence[Any], see: Callable[[Tensor], object]) -> Iterator[None]:
    """Hand (B, heads, T, T) after the softmax to `see`, layer after layer, while a network runs."""
    fused = [layer.fused_attn for layer in layers]

    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        see(inputs[0])

    handles = [layer.attn_drop.register_forward_pre_hook(hook) for layer in layers]
    try:
        for layer in layers:
            # The fused kernel never writes the attention out.
            layer.fused_attn = False
        yield
    finally:
        for layer, was in zip(layers, fused, strict=True):
            layer.fused_attn = was
        for handle in handles:
            handle.remove()
