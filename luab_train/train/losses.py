"""The objective: a label term + lambda_reg * a point term, where there is a point to learn.

`B` images, `C` classes, `K` points an image (1, or one per class), `D` numbers a point (x and y;
one for a time), `T` targets a point (two where images were mixed). Terms are weighted sums: the
mean over an update divides once, by the weight that all processes and all parts of it hold.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from luab_train.data.soft_maps import SoftMap
from luab_train.models.attention import cell_targets
from luab_train.models.classifier import Outputs
from luab_train.models.grounding import Grounding, inside_of
from luab_train.sections import Loss, Model


class Targets(NamedTuple):
    """What a batch is to learn."""

    label: Tensor
    """(B,) int64 classes, or (B, C) float shares of classes: mixed, smoothed or several."""
    label_weight_B: Tensor
    """float32, 0 leaves an image out."""
    point_TBKD: Tensor
    """float32, fractions of the crop; anything where the weight is 0, NaN too."""
    weight_TBK: Tensor
    """float32, 0 where there is nothing to learn."""
    seen: SoftMap | None = None
    """Where to look, of runs with `loss.attention`."""

    def weights(self) -> Tensor:
        """(3,): the divisors of the label term, the point term and that of attention, before they
        are summed over parts.
        """
        points = self.weight_TBK.sum()
        maps = torch.zeros_like(points) if self.seen is None else self.seen.weight_B.sum()
        return torch.stack([self.label_weight_B.sum(), points, maps])


def per_image(weight_TBK: Tensor) -> Tensor:
    """The same weights, but an image's points share the largest of them: a mean over its points."""
    largest = weight_TBK.amax(dim=2, keepdim=True)
    total = weight_TBK.sum(dim=2, keepdim=True)
    return torch.where(total > 0, weight_TBK * largest / total.clamp(min=1e-12), 0)


def label_term(logits_BC: Tensor, targets: Targets, loss: Loss) -> Tensor:
    """Sum of the images' losses by their weights, in float32: cross-entropy, or binary
    cross-entropy as a mean over the classes.
    """
    logits, label, smoothing = logits_BC.float(), targets.label, loss.label_smoothing
    if loss.classification == "bce":
        if not label.is_floating_point():
            label = F.one_hot(label, logits.shape[1]).float()
            label = label * (1 - smoothing) + smoothing / logits.shape[1]
        each_B = F.binary_cross_entropy_with_logits(logits, label, reduction="none").mean(dim=1)
    elif label.is_floating_point():
        each_B = F.cross_entropy(logits, label, reduction="none")
    else:
        each_B = F.cross_entropy(logits, label, reduction="none", label_smoothing=smoothing)
    weight = targets.label_weight_B
    # where, not a product: the loss of a left-out image may be anything.
    return torch.where(weight > 0, each_B * weight, 0).sum()


def point_term(outputs: Outputs, targets: Targets, loss: Loss, model: Model) -> Tensor:
    """Sum of the points' losses by their weights, as the model's head has them."""
    if outputs.attention_BHW is not None:
        return map_term(
            outputs.attention_BHW, targets.point_TBKD, targets.weight_TBK, model.attention_sigma
        )
    if outputs.grounding is not None:
        return grounding_term(
            outputs.grounding, targets.point_TBKD, targets.weight_TBK, loss, model.attention_sigma
        )
    return regression_term(outputs.point_BKD, targets.point_TBKD, targets.weight_TBK, loss)


def regression_term(
    point_BKD: Tensor, target_TBKD: Tensor, weight_TBK: Tensor, loss: Loss
) -> Tensor:
    """Smooth-L1, squared or absolute error, mean over the D numbers of a point, weighted.

    Example (docs/definitions.md#beta): an error of (.2, -.4) costs .05 with smooth-L1 and beta 1,
    .25 with beta .1, .10 squared and .30 absolute.
    """
    # Blank, never multiply by a mask: a NaN target times 0 is still NaN in the gradient. Nor index
    # by one: a GPU would have to say how many there are before it may go on.
    known = (weight_TBK > 0)[..., None]
    found = torch.where(known, point_BKD.float(), 0)
    wanted = torch.where(known, target_TBKD.float(), 0)
    if loss.regression == "smooth_l1":
        each = F.smooth_l1_loss(found, wanted, reduction="none", beta=loss.beta)
    elif loss.regression == "mse":
        each = F.mse_loss(found, wanted, reduction="none")
    else:
        each = F.l1_loss(found, wanted, reduction="none")
    return (each.mean(dim=-1) * weight_TBK.float()).sum()


def map_term(
    attention_BHW: Tensor, target_TBKD: Tensor, weight_TBK: Tensor, sigma: float
) -> Tensor:
    """KL(target map || attention map) of each image in nats, 0 where the two agree, times the
    weight of the image's points.

    The target map is the mixture of Gaussians about the image's points, by their weights.
    """
    image_weight_TB = weight_TBK.sum(dim=2)
    total = attention_BHW.new_zeros((), dtype=torch.float32)
    log_map = attention_BHW.float().flatten(1)
    for point, weight, image in zip(target_TBKD, weight_TBK, image_weight_TB, strict=True):
        target = cell_targets(point, weight, attention_BHW.shape[1:], sigma)
        each = F.kl_div(log_map, target.flatten(1), reduction="none").sum(dim=1)
        total = total + torch.where(image > 0, each * image, 0).sum()
    return total


def grounding_term(
    grounding: Grounding, target_TBK2: Tensor, weight_TBK: Tensor, loss: Loss, sigma: float
) -> Tensor:
    """`map_term` of the choice of cells, and `regression_term` of the place inside the cell that
    holds the point, in the cell's sides.

    A head of one query learns the mixture of an image's points as one map.
    """
    num_queries, rows, columns = grounding.choice_BKHW.shape[1:]
    if num_queries == 1:
        choice_BHW, point, weight = grounding.choice_BKHW[:, 0], target_TBK2, weight_TBK
    else:  # each point is a map of its own, as if it were an image
        choice_BHW = grounding.choice_BKHW.flatten(0, 1)
        point, weight = target_TBK2.flatten(1, 2)[:, :, None], weight_TBK.flatten(1)[:, :, None]
    chosen = map_term(choice_BHW, point, weight, sigma)
    size = target_TBK2.new_tensor((columns, rows))
    at_TBK2 = torch.where((weight_TBK > 0)[..., None], target_TBK2, 0.5) * size
    corner_TBK2 = at_TBK2.floor().clamp(min=0).minimum(size - 1)  # the far borders are inside
    cell_TBK = (corner_TBK2[..., 1] * columns + corner_TBK2[..., 0]).long()
    inside_TBK2 = torch.stack([inside_of(grounding, cell_BK) for cell_BK in cell_TBK])
    return chosen + regression_term(inside_TBK2, at_TBK2 - corner_TBK2, weight_TBK, loss)


def global_mean(local_sum: Tensor, *, global_weight: Tensor, world_size: int) -> Tensor:
    """This process' share of a mean over all processes, ready for a backward pass that averages
    gradients.

    DDP divides the summed gradients by the world size, so each rank multiplies it back in; the
    ranks' results average to sum of sums / sum of weights. A mean of per-rank means would weigh a
    point more on a rank with few. A weight of less than one image divides by 1
    (docs/definitions.md#unknowns).
    """
    return local_sum * world_size / global_weight.clamp(min=1)
