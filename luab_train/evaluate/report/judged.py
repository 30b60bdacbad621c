"""Stored predictions as right and wrong by image, which two models are compared on.     [I/O]"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.mappings import real_labels_of
from luab_train.evaluate.predictions import (
    Predicted,
    read_about,
    read_pairs,
    read_predictions,
)
from luab_train.evaluate.report.evaluated import Evaluated
from luab_train.evaluate.report.outcomes import WSOL, read_localised, wsol_correct
from luab_train.evaluate.scores import ALEXNET_ERROR, C15, EXTRA, SEVERITIES, real_correct
from luab_train.evaluate.scoring import correct


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """A metric of one model as a weighted sum of accuracies: of one, or e.g. of 15 x 5 cells.

    Args:
        cells: names of the cells, (c,).
        image_id: of each cell, (N_c,) text, unique.
        right: of each cell, (N_c,) bool.
        weight: (c,); the metric is their sum over accuracies, but for a constant.
    """

    cells: tuple[str, ...]
    image_id: tuple[np.ndarray, ...]
    right: tuple[np.ndarray, ...]
    weight: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Outliers:
    """Scores of ImageNet-O, higher for what looks out of distribution.

    Args:
        id_in, id_out: (N,) text. score_in, score_out: (N,) float64.
    """

    id_in: np.ndarray
    score_in: np.ndarray
    id_out: np.ndarray
    score_out: np.ndarray


_ONE_FILE = {
    ("in-real", "accuracy"), ("objectnet", "accuracy"),
    *((name, "accuracy") for name in ("in-1k", "in-v2", "in-a", "in-r", "sketch")),
    *((f"si-{factor}", "accuracy") for factor in ("size", "loc", "rot")),
}  # fmt: skip


def judged(model: Evaluated, benchmark: str, metric: str) -> Judged | None:
    """By image what the metric is made of; None where predictions were not kept or do not say.

    Raises: OptionError for a file that cannot be read.
    """
    if benchmark == WSOL:
        return _wsol(model, metric)
    if benchmark not in BY_NAME:
        return None
    files = prediction_files(model, benchmark)
    if not files:
        return None
    if (benchmark, metric) in _ONE_FILE and len(files) == 1:
        return _one(benchmark, next(iter(files.values())))
    if (benchmark, metric) == ("bgc-acc", "accuracy"):
        return _pairs(list(files.values()))
    weights = _weights(benchmark, metric)
    if not weights or not set(weights) <= set(files):
        return None
    return _cells([files[name] for name in weights], weights)


def outliers(model: Evaluated) -> Outliers | None:
    """Scores of ImageNet-O; None where they were not kept."""
    files = prediction_files(model, "in-o")
    if not {"in", "out"} <= set(files):
        return None
    inside, outside = (read_predictions(files[name]) for name in ("in", "out"))
    return Outliers(
        id_in=inside.image_id,
        score_in=-inside.max_probability,
        id_out=outside.image_id,
        score_out=-outside.max_probability,
    )


def predictions(model: Evaluated, benchmark: str) -> Predicted | None:
    """The predictions of a benchmark of one part; None where they were not kept."""
    files = prediction_files(model, benchmark)
    return read_predictions(next(iter(files.values()))) if len(files) == 1 else None


def prediction_files(model: Evaluated, benchmark: str) -> dict[str, Path]:
    """Part -> file, of the weights that the rows are of; others are left from another time."""
    weights = {
        row.get("weights")
        for (name, _), row in model.rows.items()
        if name == benchmark and row["status"] in ("done", "incomplete")
    }
    folder = model.folder / BY_NAME[benchmark].folder
    if not weights or not folder.is_dir():
        return {}
    return {
        file.stem: file
        for file in sorted(folder.glob("*.parquet"))
        if not file.name.startswith(".") and read_about(file).get("weights") in weights
    }


def _one(benchmark: str, file: Path) -> Judged:
    part = read_predictions(file)
    if benchmark != "in-real":
        return _single(part.image_id, correct(part))
    sets = [real_labels_of(image_id) for image_id in part.image_id.tolist()]
    right, labelled = real_correct(part.top1, sets)
    return _single(part.image_id[labelled], right[labelled])


def _cells(files: Sequence[Path], weights: Mapping[str, float]) -> Judged:
    """One file at a time: 75 lists of the same 50,000 names would be half a gigabyte."""
    ids: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for file in files:
        part = read_predictions(file)
        same = next((known for known in ids[-1:] if np.array_equal(known, part.image_id)), None)
        ids.append(part.image_id if same is None else same)
        right.append(correct(part))
    return Judged(
        cells=tuple(weights),
        image_id=tuple(ids),
        right=tuple(right),
        weight=np.array(list(weights.values())),
    )


def _pairs(files: Sequence[Path]) -> Judged:
    """Foregrounds that no background fooled, over the files of all classes."""
    ids: list[str] = []
    right: list[bool] = []
    for file in files:
        table, _ = read_pairs(file)
        good = table.filter(pc.is_null(table["error"]))
        ids += good["image_id"].to_pylist()
        right += good["is_robust"].to_pylist()
    return _single(np.array(ids, dtype=str), np.array(right, dtype=bool))


def _wsol(model: Evaluated, metric: str) -> Judged | None:
    found = read_localised(model.folder)
    kept = None if found is None else wsol_correct(found[0], metric)
    if found is None or kept is None:
        return None
    right, seen = kept
    image_id = np.array(found[0]["image_id"].to_pylist(), dtype=str)
    return _single(image_id[seen], right[seen]) if seen.any() else None


def _single(image_id: np.ndarray, right: np.ndarray) -> Judged:
    return Judged(cells=("",), image_id=(image_id,), right=(right,), weight=np.ones(1))


def _weights(benchmark: str, metric: str) -> dict[str, float]:
    """Part -> its weight in the metric; empty for a metric that is no sum of accuracies."""
    if benchmark == "in-c":
        of_metric = {"accuracy_c15": C15, "accuracy_c19": (*C15, *EXTRA), "mce": C15}
        names = of_metric.get(metric, ())
        unit = {
            name: -1 / ALEXNET_ERROR[name] if metric == "mce" else 1.0 for name in names
        }  # fmt: skip
        size = len(names) * len(SEVERITIES)
        return {f"{name}-{s}": unit[name] / size for name in names for s in SEVERITIES}
    known = {
        ("bgc-gap", "gap"): {"mixed_same": 1.0, "mixed_rand": -1.0},
        ("bgc-gap", "accuracy_mixed_same"): {"mixed_same": 1.0},
        ("bgc-gap", "accuracy_mixed_rand"): {"mixed_rand": 1.0},
        ("cocc", "accuracy"): {"after": 1.0},
        ("cocc", "accuracy_before"): {"before": 1.0},
    }
    return known.get((benchmark, metric), {})
