"""What is compared: every number of each model, and which models make an arm.     [I/O]

A model is a run, an evaluated folder of another model, or both. What training validated, and what
`luab-train eval --images` added, are rows under `validation/<name>`, in the units of metrics.jsonl;
benchmarks, localisation and COCO have the rows of results.jsonl.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luab_data.errors import OptionError
from luab_train.evaluate.stored import read_rows
from luab_train.metrics.places import is_of_place, learns_place
from luab_train.report.runs import Metrics, Run, arm_names
from luab_train.sections import TARGETS

EVALUATION = "evaluation"
"""Folder of a run's evaluation."""
VALIDATION = "validation/"
"""Goes before the name of a test set of metrics.jsonl, which could be that of a benchmark."""

ARM_WORDS: Mapping[str, str] = {
    "none": "labels alone",
    "random": "a random point, drawn once",
    "centre": "the image's centre",
    "shuffled": "the click of another image of the class",
    "click": "where annotators clicked last",
    "first_click": "where annotators clicked first",
    "hull_centre": "the middle of where the cursor was just before the click",
    "calibrated": "the click without the crowd's bias",
    "oracle": "the centre of the box nearest to the click",
    "trace": "the cursor's path to the click, as a map",
    "dwell_time": "time over the image, which is no place",
    "trace_last": "where the traces of a tracing dataset end",
    "trace_centroid": "the middle of the traces of a tracing dataset",
    "hull": "the area where the cursor was just before the click",
    "box": "the box nearest to the click",
}
"""Target -> what a run learns beside the labels."""

Row = Mapping[str, Any]
"""At least benchmark, metric, status, value, low, high, n, note."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model.

    Args:
        folder: of its evaluation; holds nothing if it was not evaluated.
        run: None if it is no run of ours.
        rows: (benchmark, metric) -> its number.
    """

    folder: Path
    run: Run | None
    rows: Mapping[tuple[str, str], Row]

    @property
    def seed(self) -> int | None:
        """None if it is no run."""
        return None if self.run is None else self.run.recipe.seed

    def row(self, key: tuple[str, str]) -> Row | None:
        """The row; of a missing benchmark the one that says so; None if it was not asked for."""
        return self.rows.get(key)

    def value(self, key: tuple[str, str]) -> float:
        """The number; NaN if there is none."""
        row = self.rows.get(key)
        return math.nan if row is None or row["value"] is None else float(row["value"])


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Models that differ in their seed alone, in its order.

    Args:
        name: in tables and legends.
        target: where the points of its runs come from, None if they are none.
        models: at least one.
    """

    name: str
    target: str | None
    models: tuple[Model, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """Empty if they are none."""
        return tuple(model.run for model in self.models if model.run is not None)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its runs."""
        return tuple(run.recipe.seed for run in self.runs)

    @property
    def learns_place(self) -> bool:
        """Whether the points of all its heads mean something."""
        return all(learns_place(run.recipe) for run in self.runs)

    @property
    def left_out(self) -> tuple[int, int]:
        """Images that could not be decoded, see `Run.left_out`: most of any run."""
        train, val = zip(*((0, 0), *(run.left_out for run in self.runs)), strict=True)
        return max(train), max(val)

    def epochs_that_say(self, metric: str) -> list[tuple[Metrics, ...]]:
        """Epochs of its runs but of those whose validation metric judges a point never learned."""
        runs = (r for r in self.runs if not is_of_place(metric) or learns_place(r.recipe))
        return [run.epochs for run in runs]


def arms_of(runs: Sequence[Run], folders: Sequence[Path] = ()) -> list[Arm]:
    """Arms of runs in the order of `TARGETS`, then a folder each; names are unique."""
    by_name: dict[str, list[Model]] = {}
    for run, name in sorted(zip(runs, arm_names(runs), strict=True), key=_order):
        folder = run.path / EVALUATION
        model = Model(folder=folder, run=run, rows=_validation_rows(run) | _rows(folder))
        by_name.setdefault(name, []).append(model)
    arms = [
        Arm(name=name, target=of_arm[0].run.recipe.target, models=tuple(of_arm))
        for name, of_arm in by_name.items()
        if of_arm[0].run is not None
    ]
    for folder in folders:
        model = Model(folder=folder, run=None, rows=_rows(folder))
        first = _name_of(model)
        names = (first, *(f"{first} ({number})" for number in range(2, 2 + len(arms))))
        name = next(name for name in names if name not in {arm.name for arm in arms})
        arms.append(Arm(name=name, target=None, models=(model,)))
    return arms


def _order(named: tuple[Run, str]) -> tuple[int, str, int]:
    run, name = named
    return TARGETS.index(run.recipe.target), name, run.recipe.seed


_SIZE_OF = {"localisation": "boxed", "localisation_off_centre": "off_centre"}


def _validation_rows(run: Run) -> dict[tuple[str, str], Row]:
    """What metrics.jsonl says of each test set; of a point that was never learned, nothing."""
    rows: dict[tuple[str, str], Row] = {}
    for name, recorded in run.results.items():
        found = run.result(name)
        for metric, value in {**found, "minutes": run.minutes}.items():
            known = math.isfinite(value)
            n = found.get(_SIZE_OF.get(metric, "num_images"), math.nan)
            unlearned = not known and math.isfinite(recorded.get(metric, math.nan))
            rows[VALIDATION + name, metric] = {
                "benchmark": VALIDATION + name,
                "metric": metric,
                "status": "done" if known else "none",
                "value": value if known else None,
                "low": None,
                "high": None,
                "n": int(n) if math.isfinite(n) else 0,
                "note": "the head learned no place" if unlearned else "",
            }
    return rows


def _rows(folder: Path) -> dict[tuple[str, str], Row]:
    return {(row["benchmark"], row["metric"]): row for row in read_rows(folder)}


def _name_of(model: Model) -> str:
    folder = model.folder
    names = list(dict.fromkeys(row["model"] for row in model.rows.values() if "model" in row))
    if len(names) > 1:
        raise OptionError(
            f"{folder}: holds results of {' and '.join(names)}; expected one model a folder,"
            " evaluate them with another --out each"
        )
    # A path names no model better than its last part does.
    return names[0] if names else folder.resolve().name
