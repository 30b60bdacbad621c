"""Evaluated models: what `luab-train eval --benchmarks` left in their folders, by arm.     [I/O]"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from luab_data.errors import OptionError
from luab_train.evaluate.stored import RESULTS as RESULTS
from luab_train.evaluate.stored import Row, read_rows
from luab_train.recipe import TARGETS
from luab_train.report.runs import Run, arm_names

EVALUATION = "evaluation"
"""Folder of a run's evaluation."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One model.

    Args:
        folder: of its evaluation; holds nothing if it was not evaluated.
        arm: models of one arm differ in their seed alone.
        target: where its points came from; None if it is no run.
        seed: None if it is no run.
        rows: (benchmark, metric) -> row of results.
    """

    folder: Path
    arm: str
    target: str | None
    seed: int | None
    rows: Mapping[tuple[str, str], Row]

    def row(self, benchmark: str, metric: str) -> Row | None:
        """The row; of a missing benchmark the one that says so; None if it was not asked for."""
        return self.rows.get((benchmark, metric))


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Models side by side with others; in the order of their seeds.

    Args:
        name: in tables and legends.
        target: of its runs, None if they are none.
        models: at least one.
    """

    name: str
    target: str | None
    models: tuple[Evaluated, ...]

    @property
    def seeds(self) -> str:
        """In tables; empty if it is no run."""
        return " ".join(str(model.seed) for model in self.models if model.seed is not None)


def of_run(run: Run, arm: str) -> Evaluated:
    """A run with what it was evaluated on."""
    folder = run.path / EVALUATION
    return Evaluated(
        folder=folder,
        arm=arm,
        target=run.recipe.target,
        seed=run.recipe.seed,
        rows=_rows(folder),
    )


def of_folder(folder: Path) -> Evaluated:
    """A model that is no run of ours, by the folder that its evaluation was written to."""
    rows = _rows(folder)
    names = dict.fromkeys(row["model"] for row in rows.values() if "model" in row)
    if len(names) > 1:
        raise OptionError(
            f"{folder}: holds results of {' and '.join(names)}; expected one model a folder,"
            " evaluate them with another --out each"
        )
    # A path names no model better than its last part does.
    name = next(iter(names), None) or folder.resolve().name
    return Evaluated(folder=folder, arm=name, target=None, seed=None, rows=rows)


def arms_of(runs: Sequence[Run], folders: Sequence[Path]) -> list[Arm]:
    """Arms of runs in the order of `TARGETS`, then a folder each; names are unique."""
    by_name: dict[str, list[Evaluated]] = {}
    named = zip(runs, arm_names(runs), strict=True)
    for run, name in sorted(named, key=lambda pair: TARGETS.index(pair[0].recipe.target)):
        by_name.setdefault(name, []).append(of_run(run, name))
    for folder in folders:
        model = of_folder(folder)
        name, number = model.arm, 2
        while name in by_name:
            name, number = f"{model.arm} ({number})", number + 1
        by_name[name] = [model]
    return [
        Arm(
            name=name,
            target=models[0].target,
            models=tuple(sorted(models, key=lambda model: model.seed or 0)),
        )
        for name, models in by_name.items()
    ]


def _rows(folder: Path) -> dict[tuple[str, str], Row]:
    """Rows by benchmark and metric."""
    return {(row["benchmark"], row["metric"]): row for row in read_rows(folder)}
