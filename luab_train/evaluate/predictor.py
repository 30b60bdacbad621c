"""Any classifier as one value: a finished run, a timm model, or a file of weights.     [I/O]

`B` images, `C` classes, `H` x `W` px.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import timm
import torch
from torch import Tensor, nn

from luab_data.errors import OptionError
from luab_data.tools import COCO
from luab_data.words import did_you_mean, near
from luab_train.data.classes import imagenet_classes
from luab_train.data.inputs import timm_data
from luab_train.models.classifier import (
    LuabModel,
    Outputs,
    add_point_head,
    create_backbone,
    has_source,
    model_options,
    timm_config,
)
from luab_train.models.weight_files import read_facts, read_weights
from luab_train.models.weights import (
    FED,
    fit_weights,
    load_state_from_file,
    split_state_dict,
    weights_digest,
)
from luab_train.sections import Data, Model
from luab_train.settings import override
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
        model: see `Network`; a `LuabModel` also has `backbone`, timm's model.
        classes: (C,) names in label order, wnids of ImageNet.
        data: input size, resize, interpolation, mean and deviation.
        point_trained: whether the points mean anything; if not, they are NaN or never learnt.
        name: for tables.
        digest: sha256 of the weights, hexadecimal.
        device: where the model is.
        precision: of the forward pass: `no` is float32.
        notes: what had to be assumed, a sentence each, for the user to see.
    """

    model: nn.Module
    classes: tuple[str, ...]
    data: Data
    point_trained: bool
    name: str
    digest: str
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "no"
    notes: tuple[str, ...] = ()

    @property
    def multi_label(self) -> bool:
        """Whether an image may be of several classes, each with a probability of its own."""
        return self.data.several_labels or self.classes == COCO.names

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
            outputs: Outputs = function(image_BCHW)
        return outputs._replace(
            logits_BC=outputs.logits_BC.float(), point_BKD=outputs.point_BKD.float()
        )

    def to(self, device: str | torch.device) -> Predictor:
        """The same predictor with its model moved; `auto` is the GPU where there is one."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        moved = torch.device(device)
        return replace(self, model=self.model.to(moved), device=moved)


def load_predictor(
    source: str | os.PathLike[str],
    *,
    arch: str | None = None,
    pretrained: bool = False,
    random_weights: bool = False,
    weights_key: str | None = None,
    preprocessing: str = "paper",
    classes: Sequence[str] | None = None,
    device: str = "auto",
    precision: str = "no",
) -> Predictor:
    """A predictor from whatever `source` names: the one way a model is opened.

    Args:
        source: folder of a complete run, or the weights in it; a file of weights, .safetensors or
            torch's; or a timm model, also `hf-hub:OWNER/NAME`.
        arch: the timm model that a file's weights belong to; a file of `luab-train export` says so
            itself.
        pretrained: load timm's own weights, from its cache or the network.
        random_weights: a timm model as it begins, to try things out.
        weights_key: which weights of a checkpoint, see `weights.read_weights`: `ema`, or its key.
        preprocessing: of timm's models and files, see `inputs.timm_data`; runs and their exported
            files say themselves.
        classes: of a file that does not say, in order of its outputs; None is ImageNet-1k's.
        device: `auto`, or a torch device.
        precision: no, fp16 or bf16.

    Raises: OptionError: there is no such model, its head is of other classes, or an option has no
        meaning for it.
    """
    path, name = Path(source), os.fspath(source)
    asked = {
        "--arch": arch is not None,
        "--weights-key": weights_key is not None,
        "--pretrained": pretrained,
        "--random-weights": random_weights,
        "--preprocessing": preprocessing != "paper",
    }
    if path.is_dir():
        _refuse(name, "a run's folder", asked)
        predictor = _from_run(path)
    elif path.suffix == ".safetensors" and path.with_name("recipe.json").is_file():
        # The file alone does not say how its network was fed; the folder does.
        _refuse(name, "of a run", asked)
        predictor = _from_run(path.parent, path)
    elif path.is_file():
        _refuse(name, "a file of weights", asked, "--arch", "--weights-key", "--preprocessing")
        predictor = _from_file(path, arch, weights_key, preprocessing, classes)
    else:
        options = ("--pretrained", "--random-weights", "--preprocessing")
        _refuse(name, "a timm model", asked, *options)
        _check_model(name)
        if pretrained == random_weights:
            raise OptionError(
                f"{name}: which weights? expected --pretrained, timm's own, or --random-weights; a"
                " file of weights takes this name as its --arch"
            )
        predictor = _from_timm(name, pretrained, preprocessing)
    return replace(predictor.to(device), precision=precision)


def _refuse(source: str, what: str, asked: Mapping[str, bool], *meant: str) -> None:
    for option, is_given in asked.items():
        if is_given and option not in meant:
            raise OptionError(f"{source}: is {what}, where {option} has no meaning; leave it out")


def _from_run(run: Path, weights: Path | None = None) -> Predictor:
    """A run as it ended, or with other weights of its folder: its best epoch's."""
    model, recipe, name = load_model(run), read_recipe(run), run.resolve().name
    if weights is not None and weights.name != "model.safetensors":
        load_state_from_file(model, read_weights(weights))
        name = f"{name} ({weights.stem})"
    return Predictor(
        model=model,
        classes=tuple(read_environment(run)["classes"]),
        data=recipe.data,
        point_trained=recipe.target not in ("none", "dwell_time"),
        name=name,
        digest=weights_digest(model.state_dict()),
    )


def _from_file(
    path: Path,
    arch: str | None,
    weights_key: str | None,
    preprocessing: str,
    classes: Sequence[str] | None,
) -> Predictor:
    facts = _facts(path)
    if arch is not None and facts.get("model", arch) != arch:
        raise OptionError(
            f"{path}: exported from a run of {facts['model']}; --arch {arch} is another network:"
            " leave it out"
        )
    arch = arch or facts.get("model")
    if arch is None:
        raise OptionError(
            f"{path}: a file of weights does not say what network it is of; expected --arch NAME, a"
            " timm model"
        )
    _check_model(arch)
    data, assumed = _preprocessing(path, arch, facts, preprocessing)
    data = replace(data, dataset=facts.get("dataset", data.dataset))
    if "classes" not in facts and classes is None:
        assumed.append("the classes of ImageNet-1k in their usual order")
    names = tuple(facts.get("classes") or classes or imagenet_classes())
    options = facts.get("options") or model_options(Model(name=arch), data)
    backbone = create_backbone(arch, **{**options, "num_classes": len(names)})
    weights = read_weights(path, key=weights_key, names=backbone.state_dict())
    backbone_weights, head = split_state_dict(weights)
    fit_weights(backbone, backbone_weights, where=str(path))
    model = LuabModel(backbone, mean=data.mean, std=data.std)
    if head:
        model = _with_head(path, backbone, arch, data, head)
        assumed.append("that its points pass a sigmoid")
    notes = []
    if assumed:
        notes.append(f"{path}: does not say how its network was fed; assumed {'; '.join(assumed)}")
    if not facts.get("same_labels", True):
        notes.append(
            f"{path}: its run pooled by an attention map, which was left behind; its labels are not"
            " the run's: evaluate the run's folder for those"
        )
    return Predictor(
        model=model.eval(),
        classes=names,
        data=data,
        point_trained=bool(head) and len(head.get("point_head.weight", "xy")) > 1,
        name=path.stem,
        digest=weights_digest(model.state_dict()),
        notes=tuple(notes),
    )


def _facts(path: Path) -> dict[str, Any]:
    """What an exported file says of its network, see `export.export_backbone`."""
    text = read_facts(path)
    facts = {} if text is None else json.loads(text)
    return facts if isinstance(facts, dict) else {}


def _preprocessing(
    path: Path, arch: str, facts: Mapping[str, Any], preprocessing: str
) -> tuple[Data, list[str]]:
    """How images are fed to a file's network, and what of that is not in the file."""
    told = {key: facts[key] for key in FED if key in facts}
    if told and preprocessing != "paper":
        raise OptionError(
            f"{path}: says itself how its network is fed; leave out --preprocessing {preprocessing}"
        )
    data = timm_data(arch, config=timm_config(arch), preprocessing=preprocessing)
    if "image_size" in told:
        data = replace(
            data, eval_resize=int(data.eval_resize * told["image_size"] / data.image_size)
        )
    data = override(data, told)
    assumed = [f"{key} {getattr(data, key)}" for key in FED if key not in told]
    return data, [", ".join(assumed).replace("(", "").replace(")", "")] if assumed else []


def _with_head(
    path: Path, backbone: Any, arch: str, data: Data, head: Mapping[str, Tensor]
) -> LuabModel:
    """A file's network with its point head: a map, a number, a point, or a point a class."""
    outputs = len(head.get("point_head.weight", ()))
    possible = (1, 2, 2 * backbone.num_classes)
    kind: Literal["regression", "attention", "grounding"] = "regression"
    if "point_head.score.weight" in head:
        kind = "attention"
    elif "point_head.cell.weight" in head:
        kind, outputs = "grounding", 2 * len(head["point_head.cell.weight"]) // 3
    elif outputs not in possible:
        raise OptionError(
            f"{path}: its point head has {outputs} outputs; expected {possible[1]}, or"
            f" {possible[2]} for a point a class"
        )
    model = add_point_head(
        backbone,
        Model(name=arch, point_head=kind),
        data,
        num_points=max(outputs // 2, 1),
        num_coordinates=1 if outputs == 1 else 2,
    )
    assert model.point_head is not None
    model.point_head.load_state_dict({k.removeprefix("point_head."): v for k, v in head.items()})
    return model


def _from_timm(name: str, pretrained: bool, preprocessing: str) -> Predictor:
    config, classes = timm_config(name), imagenet_classes()
    if pretrained and config is not None and config.num_classes != len(classes):
        same = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        others = [n for n in same if timm.get_pretrained_cfg(n).num_classes == len(classes)]
        raise OptionError(
            f"{name}: its head has {config.num_classes:,} classes, {len(classes):,} expected;"
            f" choose weights trained on ImageNet-1k{', e.g. ' if others else ''}"
            + ", ".join(others[:3])
        )
    data = timm_data(name, config=config, preprocessing=preprocessing)
    # Random weights follow from the seed, so that their digest is the same every time.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = create_backbone(
            name,
            num_classes=len(classes),
            pretrained=pretrained,
            **model_options(Model(name=name), data),
        )
    model = LuabModel(backbone, mean=data.mean, std=data.std)
    return Predictor(
        model=model.eval(),
        classes=classes,
        data=data,
        point_trained=False,
        name=name if pretrained else f"{name} (random weights)",
        digest=weights_digest(model.state_dict()),
    )


def _check_model(name: str) -> None:
    if has_source(name) or timm.is_model(name):
        return
    raise OptionError(
        f"{name}: found no such folder or file, and timm has no such model; expected the folder of"
        " a run, a .safetensors or .pth file with --arch, or a timm"
        f" model{did_you_mean(name, near(name, timm.list_models()))}"
    )
