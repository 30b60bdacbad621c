"""A timm classifier and a point head on its penultimate features.

`B` images of a batch, `C` classes, `D` features.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from luab_data.errors import OptionError
from luab_train.models.attention import (
    AttentionMap,
    as_features,
    attended,
    cells_of,
    mean_position,
)
from luab_train.models.weights import load_backbone
from luab_train.recipe import Data, Model, Recipe


class Outputs(NamedTuple):
    """What the network says about a batch; `K` points an image, `D` numbers a point."""

    logits_BC: Tensor
    point_BKD: Tensor
    """float32. Places are fractions of the crop, inside it if the head ends in a sigmoid or is a
    map.
    """
    attention_BHW: Tensor | None = None
    """Log-probabilities over the cells of the last feature map, if the head is a map."""

    @property
    def point_B2(self) -> Tensor:
        """The place, of a model with one point an image."""
        return self.point_BKD.squeeze(1)


class LuabModel(nn.Module):
    """`backbone` answers the label, `point_head` the point and can be dropped without a trace.

    Takes uint8 RGB and normalises it on the device: a quarter of the bytes to move from the loader.
    Only attentive pooling needs the head for the label too.
    """

    mean: Tensor
    std: Tensor

    backbone: Any
    point_head: AttentionMap | nn.Linear

    def __init__(
        self,
        backbone: nn.Module,
        *,
        head: AttentionMap | nn.Linear,
        num_points: int = 1,
        sigmoid: bool = True,
        attentive_pooling: bool = False,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.point_head = head
        self.num_points = num_points
        self.sigmoid = sigmoid
        self.attentive_pooling = attentive_pooling
        # Not persistent: a saved model stays what timm would save, plus the head.
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def no_weight_decay(self) -> set[str]:
        """Parameters that timm's optimisers spare beside biases and norms: a ViT's position
        embedding and class token.
        """
        spared: set[str] = getattr(self.backbone, "no_weight_decay", set)()
        return {f"backbone.{name}" for name in spared}

    def forward(self, image_BCHW: Tensor) -> Outputs:
        """uint8 RGB, 0 to 255, or float RGB that is normalised already -> Outputs."""
        if image_BCHW.is_floating_point():
            return self.forward_normalised(image_BCHW)
        return self.forward_normalised(self.normalise(image_BCHW))

    def normalise(self, image_BCHW: Tensor) -> Tensor:
        """uint8 RGB -> float32 of mean 0 and deviation 1 over ImageNet, channel by channel."""
        return (image_BCHW.float() - self.mean) / self.std

    def forward_normalised(self, image_BCHW: Tensor) -> Outputs:
        """The same from RGB that is normalised already, e.g. with a part set to the mean."""
        features = self.backbone.forward_features(image_BCHW)
        if isinstance(self.point_head, AttentionMap):
            cells = cells_of(self.backbone, features)
            attention_BHW = self.point_head(cells)
            if self.attentive_pooling:
                features = as_features(self.backbone, features, attended(cells, attention_BHW))
            logits_BC = self._classify(self._pool(features))
            return Outputs(logits_BC, mean_position(attention_BHW)[:, None], attention_BHW)
        feature_BD = self._pool(features)
        point_BKD = self.point_head(feature_BD).float().unflatten(1, (self.num_points, -1))
        return Outputs(
            self._classify(feature_BD), point_BKD.sigmoid() if self.sigmoid else point_BKD
        )

    def _pool(self, features: Tensor) -> Tensor:
        feature_BD: Tensor = self.backbone.forward_head(features, pre_logits=True)
        return feature_BD

    def _classify(self, feature_BD: Tensor) -> Tensor:
        # The classifier by itself: a second forward_head would draw its dropout anew.
        logits_BC: Tensor = self.backbone.get_classifier()(feature_BD)
        return logits_BC


def build_recipe_model(recipe: Recipe, *, num_classes: int) -> LuabModel:
    """The network of a recipe, with as many points as its dataset and target have."""
    return build_model(
        recipe.model,
        recipe.data,
        num_classes=num_classes,
        num_points=num_classes if recipe.data.dataset == "coco-ab" else 1,
        num_coordinates=1 if recipe.target == "dwell_time" else 2,
    )


def build_model(
    model: Model, data: Data, *, num_classes: int, num_points: int = 1, num_coordinates: int = 2
) -> LuabModel:
    """The network of a recipe; weights come from torch's global generator or from a file.

    Every arm has the head, so that all arms draw the same initial weights from the same seed.

    Args:
        model: the recipe's.
        data: the recipe's, for size, mean and deviation of images.
        num_classes: outputs of the classifier.
        num_points: points an image: one, or one per class.
        num_coordinates: 2, or 1 for a target that is no place; then the head ends linear.
    """
    backbone = _create(model, data, num_classes)
    classifier = backbone.get_classifier()
    # Where the two differ (MobileNetV3), the first is the width after the head's own convolution.
    num_features = getattr(backbone, "head_hidden_size", None) or backbone.num_features
    if not isinstance(classifier, nn.Linear) or classifier.in_features != num_features:
        raise OptionError(
            f"model.name={model.name}: its classifier is {type(classifier).__name__}, expected one"
            f" linear layer on {num_features} features; the point head has no place. Choose"
            " another timm model"
        )
    if model.checkpoint is not None:
        load_backbone(backbone, Path(model.checkpoint))
    sigmoid = model.point_output == "sigmoid" and num_coordinates == 2
    head: AttentionMap | nn.Linear
    if model.point_head == "attention":
        head = AttentionMap(backbone.num_features)
    else:
        head = nn.Linear(num_features, num_points * num_coordinates)
        # Starts at the image's centre with a small slope, whatever the scale of the features.
        nn.init.normal_(head.weight, std=0.01)
        nn.init.constant_(head.bias, 0.0 if sigmoid or num_coordinates == 1 else 0.5)
    return LuabModel(
        backbone,
        head=head,
        num_points=num_points,
        sigmoid=sigmoid,
        attentive_pooling=model.attentive_pooling,
        mean=data.mean,
        std=data.std,
    )


def _create(model: Model, data: Data, num_classes: int) -> Any:
    """A timm model; typed Any, for nn.Module knows nothing of what timm models share."""
    if not timm.is_model(model.name):
        close = difflib.get_close_matches(model.name, timm.list_models(), n=4) or ["resnet50"]
        raise OptionError(
            f"model.name={model.name}: timm has no such model; did you mean {', '.join(close)}?"
        )
    options = model_options(model, data)
    try:
        return timm.create_model(
            model.name,
            num_classes=num_classes,
            pretrained=model.pretrained,
            drop_rate=model.drop_rate,
            **options,
        )
    except (TypeError, RuntimeError, OSError, AssertionError) as error:
        raise OptionError(
            f"model.name={model.name}: timm could not make it with {options or 'its defaults'},"
            f" image_size {data.image_size}, pretrained={model.pretrained}: {error}"
        ) from error


def model_options(model: Model, data: Data) -> dict[str, Any]:
    """What `timm.create_model` needs to know beside the name, the classes and dropout."""
    config = timm.get_pretrained_cfg(model.name)
    options: dict[str, Any] = {}
    if config is not None and config.fixed_input_size:
        options["img_size"] = data.image_size
    if model.drop_path_rate:
        options["drop_path_rate"] = model.drop_path_rate
    if model.patch_size is not None:
        options["patch_size"] = model.patch_size
    if model.output_stride is not None:
        options["output_stride"] = model.output_stride
    return options


def foreign_normalisation(model: Model, data: Data) -> str | None:
    """What to tell a user whose images will not look as those that timm's weights learned from."""
    config = timm.get_pretrained_cfg(model.name) if model.pretrained else None
    if config is None or (tuple(config.mean), tuple(config.std)) == (data.mean, data.std):
        return None
    mean, std = (
        ",".join(f"{value:g}" for value in numbers) for numbers in (config.mean, config.std)
    )
    return (
        f"the weights of {model.name} were trained on images of mean {mean} and deviation {std},"
        f" and yours are normalised otherwise. To follow them: --set data.mean={mean} --set"
        f" data.std={std}"
    )
