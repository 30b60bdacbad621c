"""A timm classifier and a point head beside it.

`B` images of a batch, `C` classes, `D` features, `K` points an image.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.models import PretrainedCfg
from torch import Tensor, nn

from luab_data.errors import OptionError
from luab_data.words import did_you_mean, near
from luab_train.models.attention import (
    AttentionMap,
    as_features,
    attended,
    cells_of,
    mean_position,
)
from luab_train.models.grounding import Grounding, GroundingHead, chosen_point
from luab_train.models.weight_files import first_line
from luab_train.models.weights import load_backbone
from luab_train.recipe import Recipe
from luab_train.sections import Data, Model

PointHead = AttentionMap | GroundingHead | nn.Linear


class Outputs(NamedTuple):
    """What the network says about a batch."""

    logits_BC: Tensor
    point_BKD: Tensor
    """float32, `D` numbers a point. Places are fractions of the crop, inside it if the head ends in
    a sigmoid or is a map; (B, 1, 2) NaN of a network without a point head.
    """
    attention_BHW: Tensor | None = None
    """Log-probabilities over the cells of the last feature map, if the head is a map."""
    grounding: Grounding | None = None
    """What the head says of each of those cells, if it chooses one."""

    @property
    def point_B2(self) -> Tensor:
        """The place, of a model with one point an image."""
        return self.point_BKD.squeeze(1)


class LuabModel(nn.Module):
    """`backbone` answers the label, `point_head` the point and can be dropped without a trace.

    The label is what timm's own forward says, of every network. A linear point head sees what
    enters the linear layers that make the logits: side by side where there are several (a distilled
    network has two). Takes uint8 RGB and normalises it on the device: a quarter of the bytes to
    move from the loader. Only attentive pooling needs the head for the label too.
    """

    mean: Tensor
    std: Tensor

    backbone: Any
    point_head: PointHead | None

    def __init__(
        self,
        backbone: nn.Module,
        *,
        head: PointHead | None = None,
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
        self._entering: list[Tensor] = []
        if isinstance(head, nn.Linear):
            for layer in linear_layers(backbone):
                # A bound method: a copy of the model (its moving average) keeps its own features.
                layer.register_forward_pre_hook(self._keep_features)

    def _keep_features(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._entering.append(inputs[0].flatten(1))

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
        if isinstance(self.point_head, AttentionMap):
            features = self.backbone.forward_features(image_BCHW)
            cells = cells_of(self.backbone, features)
            attention_BHW = self.point_head(cells)
            if self.attentive_pooling:
                features = as_features(self.backbone, features, attended(cells, attention_BHW))
            logits_BC = self.backbone.forward_head(features)
            return Outputs(logits_BC, mean_position(attention_BHW)[:, None], attention_BHW)
        if isinstance(self.point_head, GroundingHead):
            features = self.backbone.forward_features(image_BCHW)
            grounding = self.point_head(cells_of(self.backbone, features, head="grounding"))
            logits_BC = self.backbone.forward_head(features)
            return Outputs(logits_BC, chosen_point(grounding), grounding=grounding)
        self._entering = []
        logits_BC = self.backbone(image_BCHW)
        if self.point_head is None:
            return Outputs(logits_BC, logits_BC.new_full((len(logits_BC), 1, 2), torch.nan))
        feature_BD = torch.cat(self._entering, dim=1)
        self._entering = []
        point_BKD = self.point_head(feature_BD).float().unflatten(1, (self.num_points, -1))
        return Outputs(logits_BC, point_BKD.sigmoid() if self.sigmoid else point_BKD)


def linear_layers(backbone: Any) -> list[Any]:
    """The layers of a timm model that make its logits; empty if it has none such.

    A head is one, or has one behind a norm; convolutions of 1 x 1 are such layers too.
    """
    found = backbone.get_classifier()
    heads = found if isinstance(found, (tuple, list, nn.ModuleList)) else [found]
    layers: list[Any] = []
    for head in heads:
        in_head = [layer for layer in head.modules() if _outputs(layer) == backbone.num_classes]
        layers += in_head[-1:]
    return layers if len(layers) == len(heads) else []


def _outputs(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
        return layer.out_channels
    return None


def build_recipe_model(recipe: Recipe, *, num_classes: int) -> LuabModel:
    """The network of a recipe, with as many points as its dataset and target have."""
    return build_model(
        recipe.model,
        recipe.data,
        num_classes=num_classes,
        num_points=num_classes if recipe.point_per_class else 1,
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
    backbone = create_backbone(
        model.name,
        num_classes=num_classes,
        pretrained=model.pretrained,
        drop_rate=model.drop_rate,
        **model_options(model, data),
    )
    if model.checkpoint is not None:
        load_backbone(backbone, Path(model.checkpoint))
    return add_point_head(
        backbone, model, data, num_points=num_points, num_coordinates=num_coordinates
    )


def add_point_head(
    backbone: Any, model: Model, data: Data, *, num_points: int = 1, num_coordinates: int = 2
) -> LuabModel:
    """The network of a timm model and a fresh head; arguments are those of `build_model`."""
    sigmoid = model.point_output == "sigmoid" and num_coordinates == 2
    head: PointHead
    if model.point_head == "attention":
        head = AttentionMap(backbone.num_features)
    elif model.point_head == "grounding":
        head = GroundingHead(backbone.num_features, num_points)
    else:
        num_features = sum(layer.weight.shape[1] for layer in linear_layers(backbone))
        if not num_features:
            raise OptionError(
                f"model.name={model.name}: its classifier is"
                f" {type(backbone.get_classifier()).__name__} without a linear layer of"
                f" {backbone.num_classes} outputs; a point head of regression has no place. Choose"
                " another timm model"
            )
        head = nn.Linear(num_features, num_points * num_coordinates)
        # Starts at the image's centre with a small slope, whatever the scale of the features.
        nn.init.normal_(head.weight, std=0.01)
        nn.init.constant_(head.bias, 0.0 if sigmoid or num_coordinates == 1 else 0.5)
    network = LuabModel(
        backbone,
        head=head,
        num_points=num_points,
        sigmoid=sigmoid,
        attentive_pooling=model.attentive_pooling,
        mean=data.mean,
        std=data.std,
    )
    _try(network, model, data.image_size)
    return network


def _try(network: LuabModel, model: Model, size: int) -> None:
    """Refuse a network that cannot answer one image, before anything is read or written."""
    was_training = network.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = network.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    # How torch and timm say that an image is too small, or no map that they can pool; anything else
    # is a mistake of the code, not of the options.
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        if isinstance(error, (OptionError, torch.OutOfMemoryError)):
            raise
        how = ", attentive_pooling" if model.attentive_pooling else ""
        raise OptionError(
            f"model.name={model.name}: cannot answer an image of data.image_size={size} with"
            f" point_head={model.point_head}{how} ({first_line(error)}); choose another size, head"
            " or timm model"
        ) from error
    network.train(was_training)
    logits_shape = tuple(outputs.logits_BC.shape)
    if logits_shape != (1, network.backbone.num_classes):
        raise OptionError(
            f"model.name={model.name}: answers with shape {logits_shape}, expected"
            f" {(1, network.backbone.num_classes)}; choose another timm model"
        )
    cells = outputs.attention_BHW
    if outputs.grounding is not None:
        cells = outputs.grounding.choice_BKHW[:, 0]
    if cells is not None and cells.numel() == 1:
        raise OptionError(
            f"model.point_head={model.point_head}: the last feature map of {model.name} is a single"
            f" cell at data.image_size={size}, which leaves nothing to choose from; expected a"
            " finer map: --set model.output_stride=8 or 16 (CNNs), a smaller model.patch_size, or"
            " larger images"
        )


def create_backbone(name: str, **options: Any) -> Any:
    """`timm.create_model`; typed Any, for nn.Module knows nothing of what timm models share.

    Raises: OptionError: no such model, or it cannot be made so.
    """
    if not has_source(name) and not timm.is_model(name):
        raise OptionError(
            f"model.name={name}: timm has no such"
            f" model{did_you_mean(name, near(name, timm.list_models()))}"
        )
    try:
        return timm.create_model(name, **options)
    # huggingface_hub and requests raise their own kinds, timm many others.
    except Exception as error:
        shown = ", ".join(f"{key}={value}" for key, value in options.items() if value)
        offline = (
            ". Offline, download it where there is a network"
            if has_source(name) or options.get("pretrained")
            else ""
        )
        raise OptionError(
            f"model.name={name}: timm could not make it with {shown}"
            f" ({type(error).__name__}: {first_line(error)}){offline}"
        ) from error


def has_source(name: str) -> bool:
    """Whether a timm name says where its network is described: `hf-hub:timm/resnet18.a1_in1k`."""
    return name.startswith(("hf-hub:", "hf_hub:", "local-dir:"))


@functools.cache
def timm_config(name: str) -> PretrainedCfg | None:
    """What timm knows about a network beside its layers: size, mean, deviation of its images."""
    if not has_source(name):
        return timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    with torch.device("meta"):
        return PretrainedCfg(**create_backbone(name).pretrained_cfg)


def model_options(model: Model, data: Data) -> dict[str, Any]:
    """What `timm.create_model` needs to know beside the name, the classes and dropout."""
    config = timm_config(model.name)
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
    config = timm_config(model.name) if model.pretrained else None
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
