"""Weights of a network in a file: read, split from the point head, written, told apart.     [I/O]

A file of ours holds the backbone under timm's own names, and the head under `point_head.*`. Files
of others hold more: optimiser states, arguments, two sets of weights, names of what was wrapped
around the network. Nothing in a file is ever run: torch reads it with `weights_only`, and foreign
objects become empty stand-ins.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from pickle import PickleError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from luab_data.errors import OptionError

FED = ("image_size", "eval_resize", "eval_fit", "interpolation", "mean", "std")
"""Of a recipe's `data`, how an image is fed to a trained network; exported files say it."""
_HEAD = "point_head."
_WRAPPERS = frozenset(
    ("_orig_mod", "module", "model", "backbone", "_fsdp_wrapped_module", "net", "network")
)
"""torch.compile, DDP and torch's averages, Lightning, LuabModel, FSDP; any order, any depth."""
_RAW_KEYS = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "weights")
_EMA_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "model_ema_state")
_NUMPY = ("dtype", "ndarray", "core.multiarray.scalar", "core.multiarray._reconstruct")
_FOREIGN = (
    "argparse.Namespace",
    "collections.defaultdict",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",
    *(f"numpy.{prefix}{name}" for name in _NUMPY for prefix in ("", "_")),
)
"""What checkpoints hold beside weights, for a format that cannot be asked."""
"""Where timm, DeiT, torchvision, Lightning and others keep weights and their moving average."""


class _Number:
    """Stands for NumPy's numbers and types in a file; built from anything, holds nothing."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class _Dictionary:
    """Stands for any other object in a file: arguments, settings, enums; none of them is made."""

    def __new__(cls, *_: object) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()


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


def read_weights(
    path: Path, *, key: str | None = None, names: Collection[str] = ()
) -> dict[str, Tensor]:
    """A state dict from a safetensors or torch file, under the names of the network itself.

    Args:
        path: the file.
        key: which weights where a checkpoint holds several: a name in it, or `ema` for the moving
            average, whatever it is called there. None takes the raw ones; the average of a file
            that holds nothing else.
        names: of the network. What lies beside a wrapped network (a loss's weights) is left aside
            unless it is one of these.
    """
    return unwrapped(_choose(_load(path), key, path), names, path)


def read_facts(path: Path) -> str | None:
    """JSON that `luab-train export` wrote into a safetensors file; None of any other file."""
    if not _is_safetensors(path):
        return None
    with safe_open(path, "pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
    return metadata.get("luab")


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _load(path: Path) -> Any:
    try:
        if _is_safetensors(path):
            return load_file(path)
        try:
            foreign = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        except ValueError:  # the format of torch before 1.6 does not list them
            foreign = list(_FOREIGN)
        stand_ins: list[Any] = [
            (_Number if name.startswith("numpy") else _Dictionary, name) for name in foreign
        ]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except PickleError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"objects of {found[1]}" if found else "no plain weights"
        raise OptionError(
            f"{path}: cannot be read as weights: it holds {what}; save model.state_dict() instead"
        ) from error
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise OptionError(f"{path}: cannot be read as weights ({first_line(error)})") from error


def first_line(error: Exception) -> str:
    """What a library says, without its pages of advice."""
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _choose(content: Any, key: str | None, path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, see `read_weights`."""
    content = {str(name): value for name, value in _items(content)}
    sets = {name: value for name, value in content.items() if _holds_tensors(value)}
    plain = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    averaged = {n: value for n, value in plain.items() if n.partition(".")[0] in _EMA_KEYS}
    if key == "ema" and averaged:
        return {name.partition(".")[2]: value for name, value in averaged.items()}
    asked = _EMA_KEYS if key == "ema" else (key,) if key else (*_RAW_KEYS, *_EMA_KEYS)
    for name in asked:
        if name in sets:
            return _choose(sets[name], None, path)
    if key is not None:
        for name in _RAW_KEYS:  # Lightning keeps an average within its state dict
            if name in sets and any(n.partition(".")[0] in _EMA_KEYS for n in sets[name]):
                return _choose(sets[name], key, path)
        raise OptionError(
            f"{path}: holds no weights called {key}; found {', '.join(sets) or 'one state dict'}"
        )
    if len(plain) == len(averaged):
        raise OptionError(
            f"{path}: holds no state dict; expected name -> tensor, as model.state_dict() gives"
        )
    return {name: value for name, value in plain.items() if name not in averaged}


def _items(content: Any) -> Iterable[tuple[Any, Any]]:
    return content.items() if isinstance(content, Mapping) else ()


def _holds_tensors(value: Any) -> bool:
    """A state dict, or a checkpoint with one; an optimiser's state has numbers for names."""
    return any(
        isinstance(name, str) and (isinstance(inner, Tensor) or _holds_tensors(inner))
        for name, inner in _items(value)
    )


def unwrapped(
    weights: Mapping[str, Tensor], names: Collection[str], path: Path
) -> dict[str, Tensor]:
    """Without the names of wrappers, see `read_weights`."""
    while True:
        outer = {
            name
            for name in weights
            if name not in names and name.partition(".")[0] in _WRAPPERS and "." in name
        }
        if not outer:
            return dict(weights)
        inner = {
            name.partition(".")[2] if name in outer else name: value
            for name, value in weights.items()
            if name in outer or name in names or name.startswith(_HEAD)
        }
        if len(inner) < len(outer):
            raise OptionError(
                f"{path}: holds one name under two wrappers"
                f" ({', '.join(sorted({name.partition('.')[0] for name in outer}))}); expected the"
                " weights of one network"
            )
        weights = inner


def state_dict_for_file(model: nn.Module) -> dict[str, Tensor]:
    """Backbone weights under timm's own names, and `point_head.*`; contiguous, on the CPU."""
    named = {name.removeprefix("backbone."): tensor for name, tensor in model.state_dict().items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}


def load_state_from_file(model: Any, weights: Mapping[str, Tensor]) -> None:
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
