"""Stored predictions -> scores with intervals, one function a kind of benchmark.     [I/O]

Reads Parquet files and nothing else: without the model and without the images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from luab_train.evaluate.intervals import (
    NOTHING,
    Interval,
    cells_interval,
    gap_interval,
    ranking_intervals,
    wilson,
)
from luab_train.evaluate.mappings import real_labels_of
from luab_train.evaluate.predictions import Predicted, read_pairs, read_predictions
from luab_train.evaluate.scores import (
    ALEXNET_ERROR,
    C15,
    EXTRA,
    SEVERITIES,
    Count,
    auroc,
    average_precision,
    corruption_accuracy,
    count,
    gap,
    is_accepted,
    mean_corruption_error,
    real_correct,
)

_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number of a benchmark, in percent; NaN if it cannot be had, and `note` says why."""

    metric: str
    value: float
    low: float
    high: float
    n: int
    interval: str
    note: str = ""


@dataclass(frozen=True)
class Stored:
    """The files of predictions of a benchmark: folder, and names of the parts in order."""

    folder: Path
    names: Sequence[str]

    def read(self, name: str) -> Predicted:
        """One part."""
        return read_predictions(self.folder / f"{name}.parquet")


def _proportion(metric: str, counted: Count, note: str = "") -> Score:
    low, high = wilson(counted)
    return Score(
        metric=metric,
        value=counted.percent(),
        low=low,
        high=high,
        n=counted.n,
        interval="wilson",
        note=note,
    )


def _bootstrapped(metric: str, value: float, ends: Interval, n: int, note: str = "") -> Score:
    return Score(
        metric=metric, value=value, low=ends.low, high=ends.high, n=n, interval="bootstrap",
        note=note,
    )  # fmt: skip


def _newcombe(metric: str, same: Count, rand: Count) -> Score:
    low, high = gap_interval(same, rand)
    return Score(
        metric=metric,
        value=gap(same, rand),
        low=low,
        high=high,
        n=same.n + rand.n,
        interval="newcombe",
    )


def correct(predicted: Predicted, *, first_only: bool = False) -> np.ndarray:
    """(N,) bool of one part."""
    return is_accepted(predicted.top1, predicted.label, predicted.accepted, first_only=first_only)


def top1(stored: Stored) -> list[Score]:
    """Accuracy of a benchmark of one part."""
    return [_proportion("accuracy", count(correct(stored.read(stored.names[0]))))]


def real(stored: Stored) -> list[Score]:
    """ReaL with both denominators: images that have a label, and all."""
    predicted = stored.read(stored.names[0])
    sets = [real_labels_of(image_id) for image_id in predicted.image_id.tolist()]
    right, labelled = real_correct(predicted.top1, sets)
    return [
        _proportion("accuracy", count(right[labelled])),
        _proportion("accuracy_all", count(right)),
    ]


def occluded(stored: Stored) -> list[Score]:
    """Accuracy with the hole after and before normalisation."""
    return [
        _proportion("accuracy", count(correct(stored.read("after")))),
        _proportion("accuracy_before", count(correct(stored.read("before")))),
    ]


def objectnet(stored: Stored) -> list[Score]:
    """Any of the class's wnids, and its first one only."""
    predicted = stored.read("objectnet")
    return [
        _proportion("accuracy", count(correct(predicted))),
        _proportion("accuracy_first", count(correct(predicted, first_only=True))),
    ]


def outliers(stored: Stored) -> list[Score]:
    """How well minus the maximal probability tells ImageNet-O from ImageNet."""
    score_in, score_out = (-stored.read(name).max_probability for name in ("in", "out"))
    n = len(score_in) + len(score_out)
    rng = np.random.default_rng(_SEED)
    size = min(len(score_in), len(score_out))
    balanced = rng.permutation(score_in)[:size], rng.permutation(score_out)[:size]
    ends = ranking_intervals(score_in, score_out)
    _, balanced_ends = ranking_intervals(*balanced)
    return [
        _bootstrapped("auroc", auroc(score_in, score_out), ends[0], n),
        _bootstrapped("aupr", average_precision(score_in, score_out), ends[1], n),
        _bootstrapped("aupr_balanced", average_precision(*balanced), balanced_ends, 2 * size),
    ]


def corruptions(stored: Stored) -> list[Score]:
    """C15, C19, mCE, then each corruption, then each at each severity.

    A missing corruption makes a mean NaN: a mean over fewer is another number.
    """
    keys = [(name.rsplit("-", 1)[0], int(name.rsplit("-", 1)[1])) for name in stored.names]
    right, seen = _aligned(stored.read(name) for name in stored.names)
    cells = {key: count(right[seen[:, k], k]) for k, key in enumerate(keys)}
    present = [name for name in (*C15, *EXTRA) if all((name, s) in cells for s in SEVERITIES)]
    means = {"accuracy_c15": C15, "accuracy_c19": (*C15, *EXTRA), "mce": C15}
    means.update({name: (name,) for name in present})
    ends = _mean_intervals(means, keys, right, seen)
    scores = []
    for metric, names in means.items():
        mce = metric == "mce"
        value = mean_corruption_error(cells) if mce else corruption_accuracy(cells, names)
        n = sum(cells[name, s].n for name in names for s in SEVERITIES if (name, s) in cells)
        lacking = [name for name in names if name not in present]
        scores.append(_bootstrapped(metric, value, ends[metric], n, _lacking_note(lacking, names)))
    return scores + [_proportion(f"{name}-{s}", counted) for (name, s), counted in cells.items()]


def _lacking_note(lacking: Sequence[str], names: Sequence[str]) -> str:
    if not lacking:
        return ""
    more = ", ..." if len(lacking) > 3 else ""
    listed = ", ".join(lacking[:3])
    return f"missing {len(lacking)} of {len(names)} corruptions: {listed}{more}"


def _mean_intervals(
    means: dict[str, tuple[str, ...]],
    cells: Sequence[tuple[str, int]],
    right: np.ndarray,
    seen: np.ndarray,
) -> dict[str, Interval]:
    """One bootstrap over images for all means over cells; none where a cell is missing."""
    weight = np.zeros((len(cells), len(means)))
    offset = np.zeros(len(means))
    for k, (metric, names) in enumerate(means.items()):
        for name in names:
            chosen = [c for c, cell in enumerate(cells) if cell[0] == name]
            if metric == "mce":
                unit = ALEXNET_ERROR[name] * len(names)
                weight[chosen, k] = -1 / (unit * len(SEVERITIES))
                offset[k] += 100 / unit
            else:
                weight[chosen, k] = 1 / (len(names) * len(SEVERITIES))
    ends = cells_interval(right, seen, lambda accuracy: accuracy @ weight + offset)
    wanted = {
        metric: {(name, s) for name in names for s in SEVERITIES} for metric, names in means.items()
    }
    return {
        metric: ends[k] if ends and wanted[metric] <= set(cells) else NOTHING
        for k, (metric, names) in enumerate(means.items())
    }


def _aligned(cells: Iterable[Predicted]) -> tuple[np.ndarray, np.ndarray]:
    """(N, num_cells) bool correct and seen, over the union of the cells' images.

    Cells are read one at a time and their names dropped: 95 lists of 50,000 are a gigabyte.
    """
    place: dict[str, int] = {}
    columns: list[tuple[np.ndarray, np.ndarray]] = []
    last, at = np.empty(0, str), np.empty(0, np.int32)
    for predicted in cells:
        if not np.array_equal(predicted.image_id, last):
            last = predicted.image_id
            at = np.array([place.setdefault(i, len(place)) for i in last.tolist()], np.int32)
        columns.append((at, correct(predicted)))
    right = np.zeros((len(place), len(columns)), dtype=bool)
    seen = np.zeros_like(right)
    for cell, (at, correct_N) in enumerate(columns):
        right[at, cell], seen[at, cell] = correct_N, True
    return right, seen


def background_gap(stored: Stored) -> list[Score]:
    """How much accuracy is lost when the background is of another superclass."""
    same, rand = (count(correct(stored.read(name))) for name in ("mixed_same", "mixed_rand"))
    return [
        _newcombe("gap", same, rand),
        _proportion("accuracy_mixed_same", same),
        _proportion("accuracy_mixed_rand", rand),
    ]


def robust_foregrounds(stored: Stored) -> list[Score]:
    """Share of the foregrounds that no background fools."""
    hits = n = forwards = 0
    for name in stored.names:
        table, about = read_pairs(stored.folder / f"{name}.parquet")
        good = table.filter(pc.is_null(table["error"]))
        hits += pc.sum(good["is_robust"]).as_py() or 0
        n += len(good)
        forwards += about["counts"]["num_forwards"]
    return [_proportion("accuracy", Count(hits, n), note=f"{forwards:,} forward passes")]
