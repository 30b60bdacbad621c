"""A file of weights of a multi-label model on COCO, ready to be evaluated.     [I/O]"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import timm
from torch import nn

from luab_data.errors import OptionError
from luab_data.schema import COCO_CLASSES
from luab_train.data.inputs import timm_data
from luab_train.evaluate.predictor import PlainClassifier, Predictor
from luab_train.models.classifier import build_model
from luab_train.models.weights import (
    load_state_from_file,
    read_weights,
    split_state_dict,
    weights_digest,
)
from luab_train.recipe import Data, Model

_COORDINATES = (2, 2 * len(COCO_CLASSES))


def load_multi_label(
    path: Path,
    arch: str,
    *,
    data: Data | None = None,
    device: str = "auto",
    precision: str = "no",
) -> Predictor:
    """A timm model with 80 outputs in the order of COCO's category ids.

    Args:
        path: .safetensors or torch file of timm's weights, with or without a `point_head` of 2
            outputs, a point for all classes, or of 160: x and y of each class in turn. Its outputs
            pass a sigmoid.
        arch: the timm model.
        data: input size, resize and normalisation; None takes timm's, with a crop of 7/8.
        device: `auto`, or a torch device.
        precision: no, fp16 or bf16.

    Raises:
        OptionError: the weights are of another model, or of another number of classes.
    """
    weights = read_weights(path)
    _, head = split_state_dict(weights)
    # A name that timm does not know is build_model's to refuse.
    data = data or (timm_data(arch) if timm.is_model(arch) else Data())
    built = build_model(Model(name=arch), data, num_classes=len(COCO_CLASSES))
    if head:
        num_coordinates = len(head.get("point_head.weight", ()))
        if num_coordinates not in _COORDINATES:
            raise OptionError(
                f"{path}: its point head has {num_coordinates} outputs; expected {_COORDINATES[0]},"
                f" or {_COORDINATES[1]} for a point a class"
            )
        built = build_model(
            Model(name=arch),
            data,
            num_classes=len(COCO_CLASSES),
            num_points=num_coordinates // 2,
        )
    model: nn.Module = built
    try:
        if head:
            load_state_from_file(built, weights)
        else:
            built.backbone.load_state_dict(weights)
            model = PlainClassifier(built.backbone, mean=data.mean, std=data.std)
    except RuntimeError as error:
        raise OptionError(
            f"{path}: not weights of {arch} for {len(COCO_CLASSES)} classes ({error})"
        ) from error
    predictor = Predictor(
        model=model.eval(),
        classes=COCO_CLASSES,
        data=data,
        point_trained=bool(head),
        name=path.stem,
        digest=weights_digest(model.state_dict()),
    )
    return replace(predictor.to(device), precision=precision)
