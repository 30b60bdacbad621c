"""A run's folder: what is in it, when it is complete, and how it is resumed.     [I/O]

    RUN/recipe.json         the resolved recipe
    RUN/environment.json    versions, machine, dataset, class names
    RUN/metrics.jsonl       one line an epoch, one line an evaluation
    RUN/checkpoint/epoch-N  everything needed to go on after epoch N, or `epoch-N-update-M` within
                            the next; the last one is kept
    RUN/model.safetensors   weights after the last epoch; written last: the run is complete

Every file appears under its name in one rename: a reader never sees half of one. A transfer to
Mask R-CNN has the same folder, with a recipe of its own kind and without the last checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator
from safetensors.torch import save as save_tensors
from torch import Tensor

from luab_data.errors import OptionError, OutputError
from luab_data.files import write_whole
from luab_train.models.classifier import LuabModel, build_recipe_model
from luab_train.models.weights import (
    load_state_from_file,
    read_weights,
    state_dict_for_file,
)
from luab_train.recipe import Recipe, from_json
from luab_train.settings import differences, parse_json, to_json

_OF_THE_START = {"initial_backbone"}
_NAME = re.compile(r"epoch-(\d+)(?:-update-(\d+))?")


class Position(NamedTuple):
    """How far a run is."""

    epoch: int = 0
    """Epochs done."""
    update: int = 0
    """Updates done of the next one."""

    @property
    def name(self) -> str:
        """Of its checkpoint's folder."""
        return f"epoch-{self.epoch}" + (f"-update-{self.update}" if self.update else "")


def check_run(run: Path, recipe: object) -> bool:
    """Whether `run` is an unfinished run of `recipe`, of any kind; False if it is yet to be made.

    Raises: OptionError if it is a complete run, or an unfinished one of another recipe;
        OutputError if it is something else.
    """
    if not (run / "recipe.json").exists():
        try:
            # A run killed in its first moment leaves nothing but a partial recipe.
            if run.exists() and any(not _is_partial(path) for path in run.iterdir()):
                raise OutputError(
                    f"{run}: not empty and no run of ours; choose a new folder for --out"
                )
        except (NotADirectoryError, PermissionError) as error:
            raise OutputError(f"{run}: cannot be a run's folder ({error.strerror})") from error
        return False
    where = run / "recipe.json"
    changed = differences(parse_json(type(recipe), _read(where), where=str(where)), recipe)
    listed = ", ".join(f"{k}: {old} there, {new} asked" for k, (old, new) in changed.items())
    if (run / "model.safetensors").exists():
        raise OptionError(
            f"{run}: already complete{f', with another recipe ({listed})' if changed else ''};"
            " choose another --out, or delete the folder to train again"
        )
    if changed:
        raise OptionError(
            f"{run}: an unfinished run of another recipe ({listed}); choose another --out"
        )
    return True


def _is_partial(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".partial")


def open_run(run: Path, recipe: object, *, resume: bool) -> Position:
    """Make `run` ready for `recipe`; how far it is already.

    Raises: as `check_run`, and OutputError if the folder cannot be made.
    """
    if check_run(run, recipe):
        if not resume:
            _forget(run)
        position = last_position(run)
        keep_metrics(run, position.epoch)
        return position
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run}: cannot be made ({error.strerror})") from error
    write_whole(run / "recipe.json", to_json(recipe).encode())
    return Position()


def _forget(run: Path) -> None:
    shutil.rmtree(run / "checkpoint", ignore_errors=True)
    for name in ("metrics.jsonl", "environment.json"):
        (run / name).unlink(missing_ok=True)


def read_recipe(run: Path) -> Recipe:
    """The recipe a run was made with."""
    return from_json(_read(run / "recipe.json"), where=str(run / "recipe.json"))


def read_environment(run: Path) -> dict[str, Any]:
    """Content of environment.json."""
    content = json.loads(_read(run / "environment.json"))
    if not isinstance(content, dict) or not isinstance(content.get("classes"), list):
        raise OptionError(
            f"{run / 'environment.json'}: holds no class names; not written by luab-train run"
        )
    return content


def record_environment(
    run: Path,
    content: Mapping[str, Any],
    *,
    position: Position,
    same: Sequence[str] = ("dataset", "val", "classes"),
) -> None:
    """Write environment.json. After `position`, what `same` lists must be as the run began with."""
    resumed: list[list[int]] = []
    if position > Position():
        before = read_environment(run)
        for key in same:
            if before.get(key) != content[key]:
                raise OptionError(
                    f"{run}: it is at {position.name} and saw another {key}: {before.get(key)}, now"
                    f" {content[key]}; resume with what it began with, or choose another --out"
                )
        for key in ("num_processes", "mixed_precision"):
            old, new = before["machine"].get(key), content["machine"][key]
            if old != new:
                raise OptionError(
                    f"{run}: it is at {position.name} and began with {key} {old}, now {new}; draws"
                    " and rounding would be neither's. Resume on as many processes and in the same"
                    " precision, or start again with --no-resume"
                )
        resumed = [*before.get("resumed_after", []), list(position)]
        # What a run begins with is drawn or read once; another version may draw otherwise.
        content = {**content, **{key: before[key] for key in _OF_THE_START & set(before)}}
    text = json.dumps({**content, "resumed_after": resumed}, indent=2)
    write_whole(run / "environment.json", (text + "\n").encode())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        raise OptionError(f"{path}: not found; expected the folder of a luab-train run") from None


def append_metrics(run: Path, line: Mapping[str, Any]) -> None:
    """Add one line to metrics.jsonl; NaN and infinity become null."""
    text = json.dumps({key: finite_or_none(value) for key, value in line.items()}, allow_nan=False)
    with open(run / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(text + "\n")


def finite_or_none(value: Any) -> Any:
    """The value as JSON can hold it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def last_metrics(run: Path) -> dict[str, Any]:
    """The last epoch's line of metrics.jsonl."""
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    return max((line for line in lines if line["event"] == "epoch"), key=lambda line: line["epoch"])


def keep_metrics(run: Path, epoch: int) -> None:
    """Drop lines of epochs that will be trained again, and a line that was cut off."""
    path = run / "metrics.jsonl"
    kept = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line.get("event") != "epoch" or line["epoch"] <= epoch:
            kept.append(text + "\n")
    write_whole(path, "".join(kept).encode())


def last_position(run: Path) -> Position:
    """Where the run can go on; the beginning if it has to start afresh."""
    folder = run / "checkpoint"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    found = [match for match in map(_NAME.fullmatch, names) if match]
    return max((Position(int(m[1]), int(m[2] or 0)) for m in found), default=Position())


def save_checkpoint(accelerator: Accelerator, run: Path, position: Position) -> None:
    """Save weights, optimiser, scaler, sums and random states at `position`, then delete older
    ones.
    """
    final = run / "checkpoint" / position.name
    partial = final.with_name(f"partial-{position.name}")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if final.exists():  # saved there already: the same state
            shutil.rmtree(partial)
        else:
            partial.rename(final)
        for path in (run / "checkpoint").iterdir():
            if path != final:
                shutil.rmtree(path, ignore_errors=True)
    accelerator.wait_for_everyone()


def load_checkpoint(accelerator: Accelerator, run: Path, position: Position) -> None:
    """Go back to the state at `position`, in objects prepared in the same order."""
    accelerator.load_state(str(run / "checkpoint" / position.name))


def save_model(model: LuabModel, run: Path) -> None:
    """Write model.safetensors: the run is complete from here on."""
    save_weights(state_dict_for_file(model), run)


def save_weights(weights: Mapping[str, Tensor], run: Path) -> None:
    """`save_model` of any network, from its state dict."""
    content = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_whole(run / "model.safetensors", save_tensors(content, metadata={"format": "pt"}))


def load_model(run: Path) -> LuabModel:
    """The model of a complete run, on the CPU, in evaluation mode; it takes uint8 RGB batches.

    For a plain timm model instead, drop the head: `split_state_dict(load_file(file))[0]`.
    """
    if not (run / "model.safetensors").exists():
        raise OptionError(
            f"{run}: no model.safetensors; expected a complete run, rerun luab-train run to finish"
            " it"
        )
    recipe, classes = read_recipe(run), read_environment(run)["classes"]
    # The run's own weights replace whatever it started from.
    spec = dataclasses.replace(recipe.model, pretrained=False, checkpoint=None)
    model = build_recipe_model(dataclasses.replace(recipe, model=spec), num_classes=len(classes))
    load_state_from_file(model, read_weights(run / "model.safetensors"))
    return model.eval()
