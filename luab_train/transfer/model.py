"""The weights of a trained ResNet under torchvision's Mask R-CNN.

timm and torchvision give the layers of a plain ResNet the same names and shapes; both are compared
in full, so that nothing is left at its random start without a word.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from luab_data.errors import OptionError
from luab_train.models.weight_files import read_weights
from luab_train.models.weights import split_state_dict, weights_digest
from luab_train.train.run_folder import load_model, read_recipe
from luab_train.transfer.recipe import Transfer

PLAIN_RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
"""The same network under the same name in timm and torchvision."""


class Backbone(NamedTuple):
    """A trained ResNet without its classifier."""

    name: str
    """One of PLAIN_RESNETS."""
    weights: dict[str, Tensor]
    """Name in torchvision -> tensor; batch norm's statistics among them."""

    def sha256(self) -> str:
        """Of all weights: which model a transfer began with, wherever its file lay."""
        return weights_digest(self.weights)


def read_backbone(source: Path, recipe: Transfer) -> Backbone:
    """The backbone of a complete run, or of a .safetensors or .pth file of ours, timm's or
    torchvision's. Point head and classifier are dropped.

    Which ResNet it is follows from names and shapes. They do not show a variant without weights of
    its own, such as another pooling; of a file, that is the user's to know.
    """
    if not source.is_dir():
        weights, _ = split_state_dict(read_weights(source))
        return match_backbone(weights, where=str(source))
    run = read_recipe(source)
    name = run.model.name.partition(".")[0]
    if name not in PLAIN_RESNETS:
        raise OptionError(
            f"{source}: a run of {run.model.name}; Mask R-CNN is made of torchvision's ResNets:"
            f" {', '.join(PLAIN_RESNETS)}"
        )
    if run.model.output_stride not in (None, 32):
        raise OptionError(
            f"{source}: trained with model.output_stride={run.model.output_stride}, and the"
            " feature pyramid needs 32; to use its weights all the same, give"
            f" {source / 'model.safetensors'}"
        )
    for key in ("mean", "std"):
        theirs, ours = getattr(run.data, key), getattr(recipe.data, key)
        if theirs != ours:
            text = ",".join(map(str, theirs))
            raise OptionError(
                f"{source}: trained with data.{key}={text}, asked {ours}; --set data.{key}={text}"
            )
    return match_backbone(load_model(source).backbone.state_dict(), where=str(source))


def match_backbone(weights: dict[str, Tensor], *, where: str) -> Backbone:
    """The ResNet that has exactly these weights, the classifier `fc` aside.

    Raises: OptionError if there is none: it says what the nearest one has otherwise.
    """
    kept = {
        name: tensor
        for name, tensor in weights.items()
        if not name.startswith("fc.") and not name.endswith(".num_batches_tracked")
    }
    found = {name: tuple(tensor.shape) for name, tensor in kept.items()}
    nearest = min(PLAIN_RESNETS, key=lambda name: len(_shapes(name).items() ^ found.items()))
    wanted = _shapes(nearest)
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    wrong = [name for name in wanted if name in found and wanted[name] != found[name]]
    if missing or extra or wrong:
        raise OptionError(
            f"{where}: not weights of a plain ResNet; of {nearest}, {len(missing)} are missing"
            f" {missing[:3]}, {len(extra)} unknown {extra[:3]}, {len(wrong)} of another shape"
            f" {wrong[:3]}. Mask R-CNN is made of {', '.join(PLAIN_RESNETS)}"
        )
    return Backbone(nearest, {name: tensor.detach() for name, tensor in kept.items()})


@functools.cache
def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        body = resnet_fpn_backbone(backbone_name=name, weights=None, trainable_layers=3).body
    return {key: tuple(value.shape) for key, value in body.state_dict().items()}


def build_mask_rcnn(backbone: Backbone, recipe: Transfer, *, num_classes: int) -> MaskRCNN:
    """Mask R-CNN on the backbone; new layers draw from torch's global generator.

    Batch norm is torchvision's FrozenBatchNorm2d: statistics and scale stay the backbone's. Anchors
    and the rest are torchvision's.

    Args:
        backbone: of `read_backbone`.
        recipe: sizes, normalisation, numbers of boxes, how many stages are trained.
        num_classes: without the background.
    """
    pyramid = resnet_fpn_backbone(
        backbone_name=backbone.name, weights=None, trainable_layers=recipe.model.trainable_layers
    )
    pyramid.body.load_state_dict(backbone.weights, strict=True)
    return MaskRCNN(
        pyramid,
        num_classes=num_classes + 1,
        min_size=recipe.data.min_size,
        max_size=recipe.data.max_size,
        image_mean=list(recipe.data.mean),
        image_std=list(recipe.data.std),
        rpn_post_nms_top_n_train=recipe.model.proposals[0],
        rpn_post_nms_top_n_test=recipe.model.proposals[1],
        box_batch_size_per_image=recipe.model.sampled_boxes,
        box_detections_per_img=recipe.model.detections,
    )
