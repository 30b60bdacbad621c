"""The two terms of Eq. 1, one pure function each. `B` images of a batch, `C` classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def label_loss(logits_BC: Tensor, label_B: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy, mean over the batch, in float32 whatever the logits are."""
    return F.cross_entropy(logits_BC.float(), label_B, label_smoothing=label_smoothing)


def point_loss_sum(
    point_B2: Tensor, target_B2: Tensor, visible_B: Tensor, *, beta: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(sum, count): smooth-L1, mean over x and y, summed over the images whose target is visible.

    Args:
        point_B2: predictions, fractions of the crop.
        target_B2: fractions of the crop; may be NaN where not visible.
        visible_B: bool, True where there is a target and it lies inside the crop.
        beta: where smooth-L1 turns linear; 0 is plain L1. On [0, 1] coordinates beta = 1 is MSE /
            2.
    Returns: scalars; the sum is 0 with a zero gradient where nothing is visible.
    """
    # Index, never multiply by a mask: a NaN target times 0 is still NaN in the gradient.
    total = F.smooth_l1_loss(
        point_B2[visible_B].float(), target_B2[visible_B].float(), reduction="sum", beta=beta
    )
    return total / 2, visible_B.sum()


def point_loss(
    point_B2: Tensor, target_B2: Tensor, visible_B: Tensor, *, beta: float = 1.0
) -> Tensor:
    """Mean over the visible points of one process; 0 with a zero gradient if there is none."""
    total, count = point_loss_sum(point_B2, target_B2, visible_B, beta=beta)
    return total / count.clamp(min=1)


def global_mean(local_sum: Tensor, *, global_count: Tensor, world_size: int) -> Tensor:
    """This process' share of a mean over all processes, ready for a backward pass that averages
    gradients.

    DDP divides the summed gradients by the world size, so each rank multiplies it back in; the
    ranks' results average to sum of sums / sum of counts. A mean of per-rank means would weigh a
    point more on a rank with few.
    """
    return local_sum * world_size / global_count.clamp(min=1)
