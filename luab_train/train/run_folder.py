"""A run's folder: what is in it, when it is complete, and whether it may be gone on with.     [I/O]

    RUN/recipe.json         the resolved recipe
    RUN/environment.json    versions, machine, dataset, class names
    RUN/metrics.jsonl       one line an epoch, one line an evaluation
    RUN/checkpoint/         see `checkpoints`
    RUN/best.safetensors    weights after the best epoch, with `engine.keep_best` alone
    RUN/model.safetensors   weights after the last epoch; written last: the run is complete

Every file appears under its name in one rename: a reader never sees half of one. A transfer to
Mask R-CNN has the same folder, with a recipe of its own kind and without the last checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from safetensors import safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from luab_data.errors import LuabError, OptionError, OutputError
from luab_data.files import locked, write_whole
from luab_train.data.rows import read_manifest
from luab_train.models.classifier import LuabModel, build_recipe_model
from luab_train.models.weight_files import read_weights
from luab_train.models.weights import load_state_from_file
from luab_train.recipe import Recipe, from_json
from luab_train.settings import differences, parse_json, to_json
from luab_train.train.checkpoints import Position, choose_position, positions

SAME = ("dataset", "val", "classes")
"""Of environment.json: what a run that goes on must see as it began."""
_OF_THE_START = {"initial_backbone"}


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Keep other processes from training into `run`; the lock goes with this process.

    Raises: OutputError if one is at it, or if the folder cannot be there.
    """
    made = [parent for parent in run.parents if not parent.exists()]
    with ExitStack() as stack:
        try:
            with writing(run):
                run.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(run))
        except NotImplementedError:
            pass  # a file system of a cluster that knows no locks
        try:
            yield
        finally:
            stack.close()
            for parent in made:
                with suppress(OSError):  # not empty: there is a run in it
                    parent.rmdir()


def is_complete(run: Path) -> bool:
    """Whether all epochs are done and the weights are there."""
    return (run / "model.safetensors").exists()


def check_run(run: Path, recipe: object, *, resume: bool = True) -> bool:
    """Whether `run` is a run of `recipe`, of any kind; False if it is yet to be made.

    Raises: OptionError if it is one of another recipe, but for an unfinished one that has no
        progress to lose or is to begin again; or a complete one that is to begin again.
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
    if is_complete(run) and (changed or not resume):
        raise OptionError(
            f"{run}: already complete{f', with another recipe ({listed})' if changed else ''};"
            " choose another --out, or delete the folder to train again"
        )
    if changed and resume and positions(run):
        raise OptionError(
            f"{run}: an unfinished run of another recipe ({listed}); choose another --out, or lose"
            " what it has and start again with --no-resume"
        )
    return True


def _is_partial(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".partial")


def open_run(run: Path, recipe: object, *, resume: bool) -> Position:
    """Make `run` ready for `recipe`; how far it is already.

    Raises: as `check_run`, and OutputError if the folder cannot be made.
    """
    if check_run(run, recipe, resume=resume) and resume and positions(run):
        position, damaged = choose_position(run)
        if damaged:
            click.echo(
                f"{run}: checkpoint {damaged[-1].name} is damaged; going on from {position.name}",
                err=True,
            )
        keep_metrics(run, position.epoch)
    else:
        position = Position()
        with writing(run):
            run.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(run / "checkpoint", ignore_errors=True)
            for name in ("metrics.jsonl", "environment.json", "best.safetensors"):
                (run / name).unlink(missing_ok=True)
    # Where it was there too: keys that change no result may be others now.
    write_whole(run / "recipe.json", to_json(recipe).encode())
    return position


@contextmanager
def writing(run: Path) -> Iterator[None]:
    """What the disk refuses, in one sentence."""
    try:
        yield
    except OSError as error:
        if isinstance(error, LuabError):
            raise
        in_the_way = isinstance(error, (FileExistsError, NotADirectoryError))
        reason = "a file is in the way" if in_the_way else error.strerror or error
        raise OutputError(f"{run}: cannot be written ({reason})") from error


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
    same: Sequence[str] = SAME,
) -> None:
    """Write environment.json. After `position`, what `same` lists must be as the run began with."""
    resumed: list[list[int]] = []
    if position > Position():
        before = read_environment(run)
        for key in same:
            if others := _others(before.get(key), content[key]):
                raise OptionError(
                    f"{run}: it is at {position.name} and saw another {key} ({others}); resume with"
                    " what it began with, or choose another --out"
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


def check_dataset(run: Path, data: Path) -> None:
    """Raise OptionError if a complete run saw another dataset than the one in the folder `data`, as
    far as their digests tell.
    """
    seen = read_environment(run).get("dataset", {}).get("digest")
    now = read_manifest(data).get("content_digest")
    if seen is not None and now is not None and seen != now:
        raise OptionError(
            f"{run}: already complete, of a dataset with the digest {seen}; {data} has {now}."
            " Choose another --out, or delete the folder to train again"
        )


def _others(before: Any, now: Any) -> str:
    """In what two facts differ; "" if in nothing. What has the same digest may have another name,
    and what an older version did not write down is not compared.
    """
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return "" if before == now else f"{_short(before)} there, {_short(now)} now"
    same_content = before.get("digest") is not None and before.get("digest") == now.get("digest")
    keys = [key for key in now if key in before and not (key == "name" and same_content)]
    return ", ".join(
        f"{key}: {_short(before[key])} there, {_short(now[key])} now"
        for key in keys
        if before[key] != now[key]
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        raise OptionError(f"{path}: not found; expected the folder of a luab-train run") from None


def append_metrics(run: Path, line: Mapping[str, Any]) -> None:
    """Add one line to metrics.jsonl; NaN and infinity become null."""
    text = json.dumps({key: finite_or_none(value) for key, value in line.items()}, allow_nan=False)
    with writing(run / "metrics.jsonl"):
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


def save_weights(
    weights: Mapping[str, Tensor],
    run: Path,
    *,
    name: str = "model",
    facts: Mapping[str, object] | None = None,
) -> None:
    """Write `<name>.safetensors`; with the model's weights the run is complete.

    Args:
        facts: kept in the file's metadata, as text.
    """
    content = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    metadata = {"format": "pt", **{key: str(value) for key, value in (facts or {}).items()}}
    write_whole(run / f"{name}.safetensors", save_tensors(content, metadata=metadata))


def best_so_far(run: Path, key: str) -> float | None:
    """The value of `key` that `best.safetensors` has; None if there is no such file."""
    if not (run / "best.safetensors").exists():
        return None
    with safe_open(run / "best.safetensors", framework="pt") as file:
        return float(file.metadata()[key])


def load_model(run: str | os.PathLike[str]) -> LuabModel:
    """The model of a complete run, on the CPU, in evaluation mode; it takes uint8 RGB batches.

    For a plain timm model instead, drop the head: `split_state_dict(load_file(file))[0]`.
    """
    run = Path(run)
    if not is_complete(run):
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
