"""A run without its head: weights that timm loads as its own.     [I/O]"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import save

from luab_data.errors import OutputError
from luab_train.models.classifier import model_options
from luab_train.models.weights import split_state_dict, state_dict_for_file
from luab_train.training.checkpoint import (
    load_model,
    read_environment,
    read_recipe,
    write_atomically,
)


def export_backbone(run: Path, out: Path) -> dict[str, Any]:
    """Write the backbone of a complete run as a plain timm state dict, safetensors.

    Returns: `model`, `options`: `timm.create_model(model, **options)` loads the file strictly;
        `classes`, in the order of its outputs; `mean`, `std`, `image_size`; and
        `same_labels`, False where the run's classifier saw features pooled by its attention map,
        which a plain timm model does not have.

    Raises:
        OptionError: no complete run.
        OutputError: the file is there already, or cannot be written.
    """
    model, recipe = load_model(run), read_recipe(run)
    if out.exists():
        raise OutputError(f"{out}: is there already; choose another --out")
    weights, _ = split_state_dict(state_dict_for_file(model))
    classes = read_environment(run)["classes"]
    options = model_options(recipe.model, recipe.data)
    options.pop("drop_path_rate", None)  # of training alone
    facts: dict[str, Any] = {
        "model": recipe.model.name,
        "options": {"num_classes": len(classes), **options},
        "classes": classes,
        "mean": list(recipe.data.mean),
        "std": list(recipe.data.std),
        "image_size": recipe.data.image_size,
        "same_labels": not recipe.model.attentive_pooling,
    }
    # What is written is what a stranger's timm will load: try it.
    stranger = timm.create_model(facts["model"], **facts["options"])
    stranger.load_state_dict(weights, strict=True)
    # safetensors' metadata holds text alone; "format" is what timm and transformers look for.
    metadata = {"format": "pt", "luab": json.dumps(facts)}
    write_atomically(out, save(weights, metadata=metadata))
    return facts
