"""Finished runs, read back from their folders, and whether they may be compared.     [I/O]

RUN/recipe.json        the resolved recipe
RUN/metrics.jsonl      a line an epoch, a line an evaluation
RUN/environment.json   machine, versions, digests of the dataset and of the initial weights
RUN/model.safetensors  written last: a run that has it is finished
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luab_data.errors import OptionError
from luab_train.metrics.places import is_of_place, learns_place
from luab_train.recipe import Recipe, from_json
from luab_train.settings import differences, flatten

LAST_EPOCH = "last epoch"
"""Name of the result that training itself validated; `luab-train eval` adds others."""

Metrics = Mapping[str, float]

SIZES: Mapping[bool, tuple[str, ...]] = {
    False: ("num_images", "boxed", "off_centre"),
    True: ("num_images", "num_classes"),
}
"""Sizes of a test set, which are the same whatever the model says, where an image has one label and
where it may have several.
"""

# What an arm is, and a label that says nothing which the other keys do not.
_MAY_DIFFER = frozenset({"target", "seed", "name"})
_DATASET = ("digest", "num_train")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One finished run.

    Args:
        path: its folder.
        recipe: what it trained.
        environment: content of environment.json; empty when the file is absent.
        epochs: one line of metrics.jsonl per epoch, in order; a missing number is NaN.
        results: name of a test set -> metrics without the `val_` prefix, NaN where there was
            nothing to count; accuracies are fractions. `LAST_EPOCH` comes first, where the run had
            a validation set. As recorded: `result` leaves out what means nothing.
    """

    path: Path
    recipe: Recipe
    environment: Mapping[str, Any]
    epochs: tuple[Metrics, ...]
    results: Mapping[str, Metrics]

    @property
    def dataset(self) -> Mapping[str, Any]:
        """What environment.json says about its dataset; empty when it says nothing."""
        dataset = self.environment.get("dataset")
        return dataset if isinstance(dataset, Mapping) else {}

    def result(self, name: str) -> Metrics:
        """Metrics of a test set, none if it was not tested there; those of a point that the head
        never learned are NaN.
        """
        found = self.results.get(name, {})
        if learns_place(self.recipe):
            return found
        return {key: math.nan if is_of_place(key) else value for key, value in found.items()}

    @property
    def left_out(self) -> tuple[int, int]:
        """Images that could not be decoded: most of any epoch's training, and of its validation."""
        train, val = (
            max((int(epoch[key]) for epoch in self.epochs if epoch.get(key, 0) > 0), default=0)
            for key in ("train_unreadable", "val_unreadable")
        )
        return train, val

    @property
    def minutes(self) -> float:
        """Time spent on its epochs, validation included; NaN when it was not recorded."""
        return sum(epoch.get("seconds", math.nan) for epoch in self.epochs) / 60


def read_run(path: Path) -> Run:
    """Read one run folder.

    Raises: OptionError when the folder is no run, or one that is unfinished or contradicts itself.
    """
    for name in ("recipe.json", "metrics.jsonl"):
        if not (path / name).is_file():
            raise OptionError(
                f"{path}: no {name}; expected a folder that `luab-train run --out` wrote"
            )
    if not (path / "model.safetensors").is_file():
        raise OptionError(
            f"{path}: not finished, there is no model.safetensors; finish it with the same "
            "`luab-train run` command, or leave it out"
        )
    recipe = from_json(_read_text(path / "recipe.json"), where=str(path / "recipe.json"))
    environment = path / "environment.json"
    epochs, results = _read_metrics(path / "metrics.jsonl")
    if [int(epoch["epoch"]) for epoch in epochs] != list(range(1, recipe.epochs + 1)):
        raise OptionError(
            f"{path / 'metrics.jsonl'}: found {len(epochs)} epochs, expected 1 to {recipe.epochs} "
            "as in recipe.json; the folder was changed by hand. Run it again into another one"
        )
    return Run(
        path=path,
        recipe=recipe,
        environment=(
            _parse_object(_read_text(environment), where=str(environment))
            if environment.is_file()
            else {}
        ),
        epochs=tuple(epochs),
        results=results,
    )


def arm_names(runs: Sequence[Run]) -> list[str]:
    """The arm of each run: its target, after the recipe's name when the runs have several."""
    several = len({run.recipe.name for run in runs}) > 1
    return [
        f"{run.recipe.name} {run.recipe.target}" if several else run.recipe.target for run in runs
    ]


def check_comparable(runs: Sequence[Run], *, allow_different: bool = False) -> dict[str, list[str]]:
    """What differs between runs beyond the arm and the seed: key -> the values found, as text.

    Checked: every recipe key that can change a result, the dataset, the weights that runs of one
    seed began with (sha256 without the point head), and the sizes of the test sets.

    Raises: OptionError for runs of two datasets, for two runs of one arm with one seed, and, unless
        `allow_different`, for any difference.
    """
    if not runs:
        raise OptionError("no runs given; expected at least one folder that `luab-train run` wrote")
    _check_one_dataset(runs)
    seen: dict[tuple[str, int], Path] = {}
    for run, arm in zip(runs, arm_names(runs), strict=True):
        other = seen.setdefault((arm, run.recipe.seed), run.path)
        if other is not run.path:
            raise OptionError(
                f"{other} and {run.path} are both arm {arm!r} with seed {run.recipe.seed}; "
                "a seed counts once an arm, leave one out"
            )
    found = _different(runs)
    if found and not allow_different:
        listed = "; ".join(f"{key}: {' / '.join(values)}" for key, values in found.items())
        raise OptionError(
            f"these runs differ in more than target and seed: {listed}. Their differences would "
            "not be the arm's doing; compare runs of one recipe and dataset, or --allow-different"
        )
    return found


def _check_one_dataset(runs: Sequence[Run]) -> None:
    first: dict[str, Path] = {}
    for run in runs:
        first.setdefault(run.recipe.data.dataset, run.path)
    if len(first) > 1:
        listed = " and ".join(f"{path} on {dataset}" for dataset, path in first.items())
        raise OptionError(
            f"runs of two datasets: {listed}. Accuracy and mAP are no numbers to compare; report"
            " the runs of each dataset by themselves"
        )


def _different(runs: Sequence[Run]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}

    def compare(key: str, values: Sequence[Any]) -> None:
        texts = list(dict.fromkeys("absent" if value is None else str(value) for value in values))
        if len(texts) > 1:
            found[key] = texts

    keys = {key for run in runs for key in differences(runs[0].recipe, run.recipe)} - _MAY_DIFFER
    for key in sorted(keys):
        compare(key, [flatten(run.recipe)[key] for run in runs])
    for key in _DATASET:
        compare(f"dataset {key}", [run.dataset.get(key) for run in runs])
    for seed in sorted({run.recipe.seed for run in runs}):
        of_seed = [run for run in runs if run.recipe.seed == seed]
        begun = [run.environment.get("initial_backbone") for run in of_seed]
        compare(f"initial weights of seed {seed}", begun)
    for name in dict.fromkeys(name for run in runs for name in run.results):
        for size in SIZES[runs[0].recipe.data.several_labels]:
            present = [run.results[name].get(size) for run in runs if name in run.results]
            compare(f"{size} of {name}", present)
    return found


def _read_metrics(path: Path) -> tuple[list[Metrics], dict[str, Metrics]]:
    """Epochs in order, and results by name; of two lines for the same thing the later counts."""
    epochs: dict[int, Metrics] = {}
    results: dict[str, Metrics] = {}
    for number, text in enumerate(_read_text(path).splitlines(), start=1):
        where = f"{path}, line {number}"
        line = _parse_object(text, where=where)
        event = line.get("event")
        if event == "epoch" and isinstance(line.get("epoch"), int):
            epochs[line["epoch"]] = _numbers(line)
        elif event == "evaluation" and isinstance(line.get("name"), str):
            results[line["name"]] = _numbers(line)
        else:
            raise OptionError(
                f"{where}: found event {event!r}, expected an epoch with its number or an "
                "evaluation with its name"
            )
    ordered = [epochs[epoch] for epoch in sorted(epochs)]
    last = ordered[-1] if ordered else {}
    validation = {
        key.removeprefix("val_"): value for key, value in last.items() if key.startswith("val_")
    }
    if "images" in validation:
        validation["num_images"] = validation.pop("images")  # as an evaluation calls it
    if validation:
        results = {LAST_EPOCH: validation, **results}
    return ordered, results


def _numbers(line: Mapping[str, Any]) -> Metrics:
    """The numbers of a line; null is NaN, text is left out."""
    return {
        key: math.nan if value is None else value
        for key, value in line.items()
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    }


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: cannot be read ({error}); expected a text file") from error


def _parse_object(text: str, *, where: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise OptionError(f"{where}: not JSON ({error}); expected what luab-train wrote") from error
    if not isinstance(content, dict):
        raise OptionError(f"{where}: found {type(content).__name__}, expected a JSON object")
    return content
