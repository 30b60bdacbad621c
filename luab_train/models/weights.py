"""Weights of a network: fitted to it, split from the point head, named for a file, told apart."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luab_data.errors import OptionError
from luab_train.models.weight_files import HEAD, read_weights

FED = ("image_size", "eval_resize", "eval_fit", "interpolation", "mean", "std")
"""Of a recipe's `data`, how an image is fed to a trained network; exported files say it."""


def load_backbone(backbone: nn.Module, path: Path) -> None:
    """Start from weights in a file: plain timm's, one of our models, or a checkpoint of others.

    A classifier of another size keeps its fresh weights; any other difference is an OptionError.
    """
    weights, _ = split_state_dict(read_weights(path, names=backbone.state_dict()))
    fit_weights(backbone, weights, where=str(path), new_head=True)


def fit_weights(
    backbone: Any, weights: Mapping[str, Tensor], *, where: str, new_head: bool = False
) -> None:
    """Load the weights of a timm model, strictly; names of a network's authors are translated.

    Args:
        backbone: a timm model.
        weights: of it.
        where: what to call them in an error.
        new_head: heads of another number of classes keep what they have, else they are an error.
    """
    own = backbone.state_dict()
    if _differences(own, weights)[0]:
        weights = _translated(backbone, weights)
    found = head_classes(own, weights, backbone.num_classes)
    if found is not None and new_head:
        weights = {
            n: own[n] if n in own and own[n].shape != v.shape else v for n, v in weights.items()
        }
    elif found is not None:
        raise OptionError(
            f"{where}: its head has {found:,} classes, {backbone.num_classes:,} expected; to train"
            " on from such weights: luab-train run --set model.checkpoint=FILE"
        )
    differences, text = _differences(own, weights)
    if differences:
        raise OptionError(f"{where}: not weights of this model: {text}")
    backbone.load_state_dict(weights)


def _differences(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> tuple[int, str]:
    wrong = [n for n in own if n in weights and weights[n].shape != own[n].shape]
    missing, extra = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    return len(wrong) + len(missing) + len(extra), (
        f"{len(missing)} missing {missing[:3]}, {len(extra)} unknown {extra[:3]},"
        f" {len(wrong)} of another shape {wrong[:3]}"
    )


def _translated(backbone: Any, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights under timm's names, by timm's own function for the files of a network's authors;
    as they are where it has none, or the file is none of these.
    """
    translate = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if translate is None:
        return weights
    try:
        translated: Mapping[str, Tensor] = translate(dict(weights), backbone)
    # It is written for one kind of file and may stumble over any other.
    except Exception:
        return weights
    resampled = [
        n for n, v in translated.items() if n in weights and weights[n].numel() != v.numel()
    ]
    return weights if resampled else translated


def head_classes(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], num_classes: int
) -> int | None:
    """How many classes a file's head has if it is of another number than the network's, else None.

    Whatever the heads are called and however many there are: all that differs in shape does so in
    its first dimension, which is `num_classes` in the network and one other number in the file.
    """
    pairs = [(own[n].shape, weights[n].shape) for n in own if n in weights]
    differing = [(ours, theirs) for ours, theirs in pairs if ours != theirs]
    sizes = {theirs[:1] for _, theirs in differing}
    of_heads = all(
        ours[:1] == (num_classes,) and ours[1:] == theirs[1:] for ours, theirs in differing
    )
    if len(sizes) != 1 or not of_heads:
        return None
    (size,) = sizes
    return size[0] if size else None


def state_dict_for_file(model: nn.Module) -> dict[str, Tensor]:
    """Backbone weights under timm's own names, and `point_head.*`; contiguous, on the CPU."""
    named = {name.removeprefix("backbone."): tensor for name, tensor in model.state_dict().items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}


def load_state_from_file(model: Any, weights: Mapping[str, Tensor]) -> None:
    """The way back of `state_dict_for_file`, strictly."""
    backbone, head = split_state_dict(weights)
    model.backbone.load_state_dict(backbone)
    model.point_head.load_state_dict(
        {name.removeprefix(HEAD): tensor for name, tensor in head.items()}
    )


def split_state_dict(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(backbone, head) of a `model.safetensors`; timm loads the first strictly."""
    head = {name: tensor for name, tensor in weights.items() if name.startswith(HEAD)}
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
