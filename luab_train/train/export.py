"""A run without its head: weights that timm loads as its own.     [I/O]"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import save

from luab_data.errors import OptionError
from luab_data.files import new_file
from luab_train.models.classifier import model_options
from luab_train.models.weights import FED, split_state_dict, state_dict_for_file
from luab_train.train.run_folder import (
    load_model,
    read_environment,
    read_recipe,
)


def export_backbone(
    run: str | PathLike[str], out: str | PathLike[str], *, force: bool = False
) -> dict[str, Any]:
    """Write the backbone of a complete run as a plain timm state dict, safetensors.

    Args:
        run: its folder.
        out: the file; other exported weights there are replaced with `force` only.

    Returns: what the file says of itself, and `is_same`, True where it was there already: `model`,
        `options`: `timm.create_model(model, **options)` loads the file strictly; `classes`, in the
        order of its outputs; `dataset`, the kind of log, where an image may be of several of them
        or is turned as EXIF says; `image_size`, `eval_resize`, `eval_fit`, `interpolation`, `mean`
        and `std`, as in the recipe, how an image is fed to it; `same_labels`, False where the run's
        classifier saw features pooled by its attention map, which a plain timm model does not have.

    Raises:
        OptionError: no complete run, or a file of another kind.
        OutputError: as files.new_file.
    """
    run, out = Path(run), Path(out)
    if out.suffix != ".safetensors":
        raise OptionError(
            f"{out}: weights are written as .safetensors; expected --out"
            f" {out.with_suffix('.safetensors').name}"
        )
    model, recipe = load_model(run), read_recipe(run)
    weights, _ = split_state_dict(state_dict_for_file(model))
    classes = read_environment(run)["classes"]
    options = model_options(recipe.model, recipe.data)
    options.pop("drop_path_rate", None)  # of training alone
    differs = recipe.data.several_labels or recipe.data.as_shown
    kind = {"dataset": recipe.data.dataset} if differs else {}
    facts: dict[str, Any] = {
        "model": recipe.model.name,
        "options": {"num_classes": len(classes), **options},
        "classes": classes,
        **kind,
        **{key: getattr(recipe.data, key) for key in FED},
        "same_labels": not recipe.model.attentive_pooling,
    }
    # What is written is what a stranger's timm will load: try it.
    stranger = timm.create_model(facts["model"], **facts["options"])
    stranger.load_state_dict(weights, strict=True)
    # safetensors' metadata holds text alone; "format" is what timm and transformers look for.
    metadata = {"format": "pt", "luab": json.dumps(facts)}
    with new_file(out, mark=b'"luab":', force=force) as target:
        target.path.write_bytes(_in_order(save(weights, metadata=metadata)))
    return {**facts, "is_same": target.same}


def _in_order(content: bytes) -> bytes:
    """The same file with its metadata in order of keys: safetensors shuffles them."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[8 + size :]
