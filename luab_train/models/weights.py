"""Weights of a network in a file: read, split from the point head, written, told apart.     [I/O]

A file holds the backbone under timm's own names, and the head under `point_head.*`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from pickle import PickleError
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from luab_data.errors import OptionError

if TYPE_CHECKING:
    from luab_train.models.classifier import LuabModel

_HEAD = "point_head."


def load_backbone(backbone: Any, path: Path) -> None:
    """Start from weights in a file: plain timm's, one of our models, or a training checkpoint.

    A classifier of another size keeps its fresh weights; any other difference is an OptionError.
    """
    weights, _ = split_state_dict(read_weights(path))
    own = backbone.state_dict()
    parameters = {p.data_ptr() for p in backbone.get_classifier().parameters()}
    for name in {n for n, value in own.items() if value.data_ptr() in parameters} & set(weights):
        if weights[name].shape != own[name].shape:
            weights[name] = own[name]
    wrong = [n for n in own if n in weights and weights[n].shape != own[n].shape]
    missing, extra = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    if wrong or missing or extra:
        raise OptionError(
            f"{path}: not weights of this model: {len(missing)} missing {missing[:3]},"
            f" {len(extra)} unknown {extra[:3]}, {len(wrong)} of another shape {wrong[:3]}"
        )
    backbone.load_state_dict(weights)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from a safetensors or torch file, without `state_dict` and `module.` around."""
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, PickleError) as error:
        raise OptionError(f"{path}: cannot be read as weights ({error})") from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise OptionError(f"{path}: holds no state dict; expected name -> tensor")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def state_dict_for_file(model: LuabModel) -> dict[str, Tensor]:
    """Backbone weights under timm's own names, and `point_head.*`; contiguous, on the CPU."""
    named = {name.removeprefix("backbone."): tensor for name, tensor in model.state_dict().items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}


def load_state_from_file(model: LuabModel, weights: Mapping[str, Tensor]) -> None:
    """The way back of `state_dict_for_file`, strictly."""
    backbone, head = split_state_dict(weights)
    model.backbone.load_state_dict(backbone)
    model.point_head.load_state_dict(
        {name.removeprefix(_HEAD): tensor for name, tensor in head.items()}
    )


def split_state_dict(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(backbone, head) of a `model.safetensors`; timm loads the first strictly."""
    head = {name: tensor for name, tensor in weights.items() if name.startswith(_HEAD)}
    return {name: tensor for name, tensor in weights.items() if name not in head}, head


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """sha256 of names, types, shapes and values; the same for a run and a file of its weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        # A wrapper's prefix is no part of the weights.
        label = name.removeprefix("backbone.")
        digest.update(f"{label} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
