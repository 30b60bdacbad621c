"""Any classifier as one value: a finished run, a timm model, or a file of weights.     [I/O]

`B` images, `C` classes, `H` x `W` px.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import timm
import torch
from torch import Tensor, nn

from luab_data.errors import OptionError
from luab_train.data.classes import imagenet_classes
from luab_train.data.inputs import timm_data
from luab_train.models.classifier import LuabModel, Outputs, build_model
from luab_train.models.weights import (
    load_backbone,
    load_state_from_file,
    read_weights,
    split_state_dict,
    weights_digest,
)
from luab_train.recipe import Data, Model
from luab_train.train.run_folder import load_model, read_environment, read_recipe


@runtime_checkable
class Network(Protocol):
    """What a predictor asks of its `model`, an nn.Module in evaluation mode."""

    def __call__(self, image_BCHW: Tensor) -> Outputs:
        """uint8 RGB, 0 to 255 -> logits (B, C) and points (B, 2), fractions of the input."""
        ...

    def forward_normalised(self, image_BCHW: Tensor) -> Outputs:
        """The same from float32 RGB whose mean is taken off and whose deviation is divided out."""
        ...


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A model that is ready to be evaluated.

    Args:
        model: see `Network`; `LuabModel` and `PlainClassifier` also have `backbone`, timm's model.
        classes: (C,) wnids in label order.
        data: input size, resize, interpolation, mean and deviation.
        point_trained: whether the points mean anything; if not, they are NaN or never learnt.
        name: for tables.
        digest: sha256 of the weights, hexadecimal.
        device: where the model is.
        precision: of the forward pass: `no` is float32.
    """

    model: nn.Module
    classes: tuple[str, ...]
    data: Data
    point_trained: bool
    name: str
    digest: str
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "no"

    def __call__(self, image_BCHW: Tensor) -> Outputs:
        """uint8 RGB on any device -> Outputs, float32, on the model's device."""
        return self._run(self.model, image_BCHW)

    def forward_normalised(self, image_BCHW: Tensor) -> Outputs:
        """Float RGB, already normalised, on any device -> Outputs, float32."""
        assert isinstance(self.model, Network)
        return self._run(self.model.forward_normalised, image_BCHW)

    def _run(self, function: object, image_BCHW: Tensor) -> Outputs:
        assert callable(function)
        image_BCHW = image_BCHW.to(self.device, non_blocking=True)
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None),
        ):
            outputs = function(image_BCHW)
        return Outputs(outputs.logits_BC.float(), outputs.point_BKD.float())

    def to(self, device: str | torch.device) -> Predictor:
        """The same predictor with its model moved; `auto` is the GPU where there is one."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        moved = torch.device(device)
        return replace(self, model=self.model.to(moved), device=moved)


class PlainClassifier(nn.Module):
    """A timm model without a point head; its points are NaN. Takes what `LuabModel` takes."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, *, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, image_BCHW: Tensor) -> Outputs:
        """uint8 RGB -> Outputs."""
        return self.forward_normalised((image_BCHW.float() - self.mean) / self.std)

    def forward_normalised(self, image_BCHW: Tensor) -> Outputs:
        """Normalised RGB -> Outputs."""
        logits_BC = self.backbone(image_BCHW)
        return Outputs(logits_BC, logits_BC.new_full((len(logits_BC), 1, 2), torch.nan))


def load_predictor(
    source: str | Path,
    *,
    arch: str | None = None,
    pretrained: bool = False,
    preprocessing: str = "paper",
    device: str = "auto",
    precision: str = "no",
) -> Predictor:
    """A predictor from whatever `source` names.

    Args:
        source: folder of a complete run; a .safetensors or .pth file, with `arch`; or a timm model.
        arch: the timm model that a file's weights belong to.
        pretrained: load timm's own weights, from its cache or the network.
        preprocessing: `paper`, or `timm`, see `luab_train.data.inputs.timm_data`; a run is fed as
            its recipe says.
        device: `auto`, or a torch device.
        precision: no, fp16 or bf16.
    """
    path = Path(source)
    if path.is_dir():
        _refuse(source, "a run's folder", arch=arch, pretrained=pretrained)
        if preprocessing != "paper":
            raise OptionError(
                f"{source}: is a run's folder, whose recipe says what the network is fed;"
                f" --preprocessing {preprocessing} is for timm models and files of weights"
            )
        predictor = _from_run(path)
    elif path.is_file():
        if arch is None:
            raise OptionError(
                f"{path}: a file of weights does not say what network it is of; expected --arch"
                " NAME, a timm model"
            )
        _refuse(source, "a file of weights", arch=None, pretrained=pretrained)
        predictor = _from_file(path, arch, preprocessing)
    else:
        _refuse(source, "a timm model", arch=arch, pretrained=False)
        predictor = _from_timm(str(source), pretrained, preprocessing)
    return replace(predictor.to(device), precision=precision)


def _refuse(source: str | Path, what: str, *, arch: str | None, pretrained: bool) -> None:
    option = "--arch" if arch is not None else "--pretrained" if pretrained else None
    if option is not None:
        raise OptionError(f"{source}: is {what}, where {option} has no meaning; leave it out")


def _from_run(run: Path) -> Predictor:
    model, recipe = load_model(run), read_recipe(run)
    return Predictor(
        model=model,
        classes=tuple(read_environment(run)["classes"]),
        data=recipe.data,
        point_trained=recipe.target not in ("none", "dwell_time"),
        name=run.resolve().name,
        digest=weights_digest(model.state_dict()),
    )


def _from_file(path: Path, arch: str, preprocessing: str) -> Predictor:
    _check_model(arch)
    weights = read_weights(path)
    backbone_weights, head = split_state_dict(weights)
    data = timm_data(arch, preprocessing=preprocessing)
    classes = imagenet_classes()
    # The classifier's size follows from the weights; timm names it in its config.
    config = timm.get_pretrained_cfg(arch)
    name = f"{getattr(config, 'classifier', None)}.weight"
    num_found = len(backbone_weights.get(name, classes))
    if num_found != len(classes):
        raise OptionError(
            f"{path}: weights for {num_found} classes; expected the {len(classes)} of ImageNet-1k,"
            " for a file holds no class names. Evaluate its run's folder instead"
        )
    model: nn.Module
    if head:
        model = build_model(Model(name=arch), data, num_classes=len(classes))
        assert isinstance(model, LuabModel)
        load_state_from_file(model, weights)
    else:
        backbone = _create(arch, pretrained=False)
        load_backbone(backbone, path)
        model = PlainClassifier(backbone, mean=data.mean, std=data.std)
    return Predictor(
        model=model.eval(),
        classes=classes,
        data=data,
        point_trained=bool(head),
        name=path.stem,
        digest=weights_digest(model.state_dict()),
    )


def _from_timm(name: str, pretrained: bool, preprocessing: str) -> Predictor:
    _check_model(name)
    data = timm_data(name, preprocessing=preprocessing)
    backbone = _create(name, pretrained=pretrained)
    model = PlainClassifier(backbone, mean=data.mean, std=data.std)
    return Predictor(
        model=model.eval(),
        classes=imagenet_classes(),
        data=data,
        point_trained=False,
        name=name if pretrained else f"{name} (random weights)",
        digest=weights_digest(model.state_dict()),
    )


def _check_model(name: str) -> None:
    if timm.is_model(name):
        return
    close = difflib.get_close_matches(name, timm.list_models(), n=3)
    advice = f" Did you mean {', '.join(close)}?" if close else ""
    raise OptionError(
        f"{name}: found no such folder or file, and timm has no such model; expected the folder of"
        f" a run, a .safetensors or .pth file with --arch, or a timm model.{advice}"
    )


def _create(name: str, *, pretrained: bool) -> nn.Module:
    # Random weights follow from the seed, so that their digest is the same every time.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=1000)
        # huggingface_hub, requests and torch each raise their own kinds.
        except Exception as error:
            if not pretrained:
                raise OptionError(f"{name}: timm could not make it: {error}") from error
            raise OptionError(
                f"{name}: its pretrained weights could not be loaded"
                f" ({type(error).__name__}: {error}). Offline, download them where there is a"
                " network, and give the file with --arch"
            ) from error
    return model
