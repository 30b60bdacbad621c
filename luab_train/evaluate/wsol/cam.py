"""Where a classifier looks: class activation maps, and what stands in for them in transformers.

`B` images, `C` classes, `K` features, `h` x `w` places of the last feature map, `T` tokens, `P`
pairs of an image and a class.

The map of class y is sum_k w_yk F_k, without the bias and without a ReLU
(docs/definitions.md#class-activation-maps). Its mean over places plus the bias is the logit, so it
is defined for heads that average and then are linear; that identity is checked on every batch. A
LayerNorm between the two (ConvNeXt, ViTs with average pooling) is affine once its deviation is
known: with gain g, the map of the weights w g, less their mean over features, is the image's logit
up to scale and shift, which normalising removes.

The paper has no maps of vision transformers. Ours are marked so: `MapMethod.in_paper` is False, and
that travels with every result.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from luab_data.errors import OptionError
from luab_train.evaluate.predictor import Predictor
from luab_train.models.attention import attention_layers, watched


class MapMethod(NamedTuple):
    """How maps are made."""

    name: str
    in_paper: bool

    @property
    def label(self) -> str:
        """For tables."""
        return self.name if self.in_paper else f"{self.name} (not in the paper)"

    def provenance(self, map_size: str, input_size: int) -> dict[str, float | str | bool]:
        """What must travel with a number made from maps: a mark if the paper has no such maps, and
        the resolution, which moves the numbers (docs/definitions.md#class-activation-maps).
        """
        return {
            "map_method": self.label,
            "map_in_paper": self.in_paper,
            "map_size": map_size,
            "input_size": input_size,
        }


CAM = MapMethod("CAM", True)
NORMED_CAM = MapMethod("CAM through the head's LayerNorm", False)
PATCHES = MapMethod("patch tokens x head weights", False)
ROLLOUT = MapMethod("attention rollout, the same for every class", False)


class Forward(NamedTuple):
    """One batch through the network."""

    logits_BC: Tensor
    point_B2: Tensor
    places_BKhw: Tensor
    """Features by place; for attention rollout, one channel with the attention itself."""


@dataclass(frozen=True, kw_only=True)
class Mapper:
    """A predictor that also gives maps. Make it with `Mapper.of`.

    Args:
        predictor: its `model.backbone` is a timm model.
        method: how maps are made.
    """

    predictor: Predictor
    method: MapMethod

    @classmethod
    def of(cls, predictor: Predictor) -> Mapper:
        """Choose the method by the head; OptionError if there is none."""
        backbone = _backbone(predictor)
        pool = getattr(backbone, "global_pool", None)
        if not hasattr(backbone, "num_prefix_tokens"):
            method = CAM if _head_norm(backbone) is None else NORMED_CAM
        elif pool == "avg":
            method = PATCHES
        elif pool == "token":
            method = ROLLOUT
            _attentions(predictor, backbone)
        else:
            raise OptionError(
                f"{predictor.name}: its head pools by {pool!r}; expected average pooling or a class"
                " token. There is no map for this model"
            )
        return cls(predictor=predictor, method=method)

    def __call__(self, image_BCHW: Tensor) -> Forward:
        """uint8 RGB -> logits, points and what maps are made of, float32; one forward pass."""
        backbone = _backbone(self.predictor)
        if self.method is ROLLOUT:
            with _rolled_out(self.predictor, backbone) as rolled:
                outputs = self.predictor(image_BCHW)
            tokens_BT = rolled[0][:, 0, backbone.num_prefix_tokens :]
            return Forward(outputs.logits_BC, outputs.point_B2, self._grid(tokens_BT[:, :, None]))
        with _features_of(backbone) as captured:
            outputs = self.predictor(image_BCHW)
        places = captured[0].float()
        if self.method is PATCHES:
            places = self._grid(places[:, backbone.num_prefix_tokens :])
        elif places.shape[1] != backbone.get_classifier().in_features:
            places = places.movedim(-1, 1)  # Swin: channels last
        return Forward(outputs.logits_BC, outputs.point_B2, places)

    @torch.inference_mode()
    def maps(self, forward: Forward, image_P: Tensor, class_P: Tensor) -> Tensor:
        """(P, h, w) float32: the map of class class_P[i] in image image_P[i] of the batch."""
        image_P, class_P = (
            image_P.to(forward.logits_BC.device),
            class_P.to(forward.logits_BC.device),
        )
        if self.method is ROLLOUT:
            return forward.places_BKhw[image_P, 0]
        backbone = _backbone(self.predictor)
        classifier, norm = backbone.get_classifier(), _head_norm(backbone)
        if forward.places_BKhw.shape[1] != classifier.in_features:
            self._refuse(
                f"{classifier.in_features} features enter its classifier,"
                f" {forward.places_BKhw.shape[1]} leave the last feature map"
            )
        weight_PK = classifier.weight[class_P].detach().float()
        shift_P: Tensor | float = 0.0 if classifier.bias is None else classifier.bias[class_P]
        scale_P: Tensor | float = 1.0
        if norm is not None:
            pooled_BK = forward.places_BKhw.mean(dim=(2, 3))
            variance_B = pooled_BK.var(dim=1, unbiased=False)
            scale_P = (variance_B + norm.eps).rsqrt()[image_P]
            if norm.bias is not None:
                shift_P = shift_P + weight_PK @ norm.bias.float()
            weight_PK = weight_PK * norm.weight.float()
            weight_PK = weight_PK - weight_PK.mean(dim=1, keepdim=True)
        maps = torch.stack(
            [
                torch.tensordot(weight_K, forward.places_BKhw[image], dims=1)
                for weight_K, image in zip(weight_PK, image_P.tolist(), strict=True)
            ]
        )
        self._check(maps.mean(dim=(1, 2)) * scale_P + shift_P, forward.logits_BC[image_P, class_P])
        return maps

    def _check(self, mean_P: Tensor, logit_P: Tensor) -> None:
        """The mean of a map is its logit; half precision is only that good."""
        tolerance = 1e-3 if self.predictor.precision == "no" else 5e-2
        error, scale = (mean_P - logit_P).abs(), 1 + logit_P.abs()
        # A NaN is no sign of another head: its map is NaN too, and becomes an empty one.
        if (error > tolerance * scale).any():
            worst = int((error / scale).nan_to_num(0).argmax())
            self._refuse(
                f"a map's mean plus bias is {mean_P[worst].item():.5g} where the logit is"
                f" {logit_P[worst].item():.5g}"
            )

    def _grid(self, tokens_BTK: Tensor) -> Tensor:
        """(B, T, K) -> (B, K, h, w), h = w."""
        side = math.isqrt(tokens_BTK.shape[1])
        if side * side != tokens_BTK.shape[1]:
            self._refuse(f"{tokens_BTK.shape[1]} patches make no square")
        return tokens_BTK.movedim(1, 2).reshape(len(tokens_BTK), -1, side, side).float()

    def _refuse(self, found: str) -> None:
        raise OptionError(
            f"{self.predictor.name}: {found}; expected average pooling, at most a LayerNorm, and"
            " one linear layer after the last feature map. There is no class activation map for"
            " this model: evaluate another"
        )


def _backbone(predictor: Predictor) -> Any:
    """A timm model; typed Any, for nn.Module knows nothing of what timm models share."""
    backbone: Any = getattr(predictor.model, "backbone", None)
    if not isinstance(getattr(backbone, "get_classifier", lambda: None)(), nn.Linear):
        raise OptionError(
            f"{predictor.name}: {type(predictor.model).__name__} has no timm backbone that ends in"
            " one linear layer; there is no class activation map without"
        )
    return backbone


def _head_norm(backbone: Any) -> Any:
    """The LayerNorm between pooling and classifier, None if there is none."""
    for norm in (
        getattr(backbone, "fc_norm", None),
        getattr(getattr(backbone, "head", None), "norm", None),
    ):
        if isinstance(norm, nn.LayerNorm):
            return norm
    return None


@contextlib.contextmanager
def _features_of(backbone: Any) -> Iterator[list[Tensor]]:
    """Keep what forward_features returns while the predictor runs: one pass gives both."""
    captured: list[Tensor] = []
    original = backbone.forward_features

    def recording(*args: Any, **kwargs: Any) -> Tensor:
        features: Tensor = original(*args, **kwargs)
        captured.append(features)
        return features

    backbone.forward_features = recording
    try:
        yield captured
    finally:
        # The instance's attribute hid the method of its class.
        del backbone.forward_features


def _attentions(predictor: Predictor, backbone: Any) -> list[Any]:
    attentions = attention_layers(backbone)
    if not attentions:
        raise OptionError(
            f"{predictor.name}: the attention of its blocks cannot be read; expected timm's"
            " VisionTransformer. There is no map for this model"
        )
    return attentions


@contextlib.contextmanager
def _rolled_out(predictor: Predictor, backbone: Any) -> Iterator[list[Tensor]]:
    """Keep the attention rollout, (B, T, T), while the predictor runs.

    Heads are averaged, half of each layer is the residual path, layers are multiplied (Abnar and
    Zuidema, ACL 2020). Only the product is kept, whatever the depth.
    """
    rolled: list[Tensor] = []

    def multiply(attention: Tensor) -> None:
        mean_BTT = attention.float().mean(dim=1)
        layer_BTT = (mean_BTT + torch.eye(mean_BTT.shape[1], device=mean_BTT.device)) / 2
        # Autocast would multiply in half precision.
        with torch.autocast(mean_BTT.device.type, enabled=False):
            rolled[:] = [layer_BTT @ rolled[0] if rolled else layer_BTT]

    with watched(_attentions(predictor, backbone), multiply):
        yield rolled
