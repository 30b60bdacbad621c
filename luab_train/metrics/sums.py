"""A metric is a weighted sum of means over images; all that is said of it follows from one table.

A table holds a number an image and cell: right or wrong in each part of a benchmark, say. Its sums
over images give the value; drawn anew they give the interval; and with the sums of another model on
the same images the difference. Pure. `N` images, `c` cells, `R` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from luab_train.metrics.intervals import (
    NOTHING,
    Count,
    Difference,
    Estimate,
    cells_interval,
    count,
    mean_interval,
    newcombe,
    paired_accuracy,
    wilson,
)
from luab_train.metrics.ranking import detection, detection_difference, detection_intervals

Direction = Literal["up", "down"]
Ranking = Literal["auroc", "aupr", "aupr_balanced"]
ALL = "*"
"""The cell of all parts together."""


class Cell(NamedTuple):
    """What one part says: a number of some of its images."""

    name: str
    image_id: np.ndarray
    """(N,) text."""
    value: np.ndarray
    """(N,) bool or float64."""


Measure = Callable[[Any], Iterable[Cell]]
"""Predictions of one part -> its cells."""
Finish = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(R, c) sums and (R, c) numbers of images -> (R,) values of the metric."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number of a benchmark.

    Args:
        name: its key.
        title: how it is called.
        measure: what it takes of the predictions.
        direction: which way is better.
        weights: cell -> weight of the mean over its images. The metric is `offset`, and `scale`
            times the weighted sum of means over `per`.
        finish: the metric from the sums of the cells of `weights`, where it is no such sum.
        ranking: it tells the images of the first cell from those of the second instead.
        independent: the cells are of different images, so its interval is Newcombe's.
        unit: percent, or of the scores.
        own_cells: each model sorts its images into cells itself, e.g. by how sure it is.
        detail: only in results.jsonl, and only if all of its cells are there.
    """

    name: str
    title: str
    measure: Measure
    direction: Direction = "up"
    weights: Mapping[str, float] = field(default_factory=lambda: {ALL: 1.0})
    per: float = 1.0
    scale: float = 100.0
    offset: float = 0.0
    finish: Finish | None = None
    ranking: Ranking | None = None
    independent: bool = False
    own_cells: bool = False
    unit: str = "percent"
    detail: bool = False

    def of_sums(self, sums: np.ndarray, n: np.ndarray) -> np.ndarray:
        """(R,) its value, from (R, c) sums and numbers of images of the cells of `weights`."""
        if self.finish is not None:
            return self.finish(sums, n)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.scale * sums / n
        weight = np.array([*self.weights.values()])
        if len(weight) == 1:
            return np.asarray(self.offset + mean[:, 0] * weight[0] / self.per)
        return np.asarray(self.offset + (mean * weight).sum(axis=-1) / self.per)


class Table(NamedTuple):
    """What a measure says of all parts of one model's predictions."""

    cells: Mapping[str, Cell]

    def pick(self, names: Iterable[str]) -> list[Cell] | None:
        """Cells by name; None if one is not there."""
        if ALL in names:
            every = list(self.cells.values())
            if not every:
                return None
            ids = np.concatenate([cell.image_id for cell in every])
            return [Cell(ALL, ids, np.concatenate([cell.value for cell in every]))]
        found = [self.cells[name] for name in names if name in self.cells]
        return found if len(found) == len([*names]) else None


def table_of(measure: Measure, parts: Iterable[Any]) -> Table:
    """The table of a measure; parts are read one at a time.

    Names that the cell before has too are kept once: 95 lists of 50,000 are a gigabyte.
    """
    cells: dict[str, Cell] = {}
    last = np.empty(0, str)
    for part in parts:
        for cell in measure(part):
            if np.array_equal(cell.image_id, last):
                cell = cell._replace(image_id=last)
            last = cell.image_id
            cells[cell.name] = cell
    return Table(cells)


def estimates(metrics: Sequence[Metric], read: Callable[[Measure], Table]) -> dict[str, Estimate]:
    """Name -> value and interval of each metric; NaN where a cell is not there.

    Args:
        metrics: of one benchmark.
        read: the table of a measure.
    """
    found: dict[str, Estimate] = {}
    tables = {m.measure: read(m.measure) for m in metrics}
    drawn: dict[Measure, list[Metric]] = {}
    for metric in metrics:
        table = tables[metric.measure]
        cells = table.pick(metric.weights)
        if cells is None:
            there = [table.cells[name] for name in metric.weights if name in table.cells]
            n = sum(len(cell.value) for cell in there)
            found[metric.name] = Estimate(math.nan, n=n, method="bootstrap")
        elif metric.ranking is not None:
            found[metric.name] = _ranking(metric.ranking, *(cell.value for cell in cells))
        elif metric.finish is None and all(cell.value.dtype == bool for cell in cells):
            counts = [count(cell.value) for cell in cells]
            if metric.independent or len(cells) == 1:
                found[metric.name] = _of_counts(metric, counts)
        if metric.name not in found:
            drawn.setdefault(metric.measure, []).append(metric)
    for measure, together in drawn.items():
        found |= _bootstrapped(together, tables[measure])
    return {metric.name: found[metric.name] for metric in metrics}


def lacking(metric: Metric, table: Table) -> list[str]:
    """Cells of the metric that the table has not."""
    return [name for name in metric.weights if name != ALL and name not in table.cells]


def _of_counts(metric: Metric, counts: Sequence[Count]) -> Estimate:
    sums, n = np.array([list(zip(*counts, strict=True))], np.float64).transpose(1, 0, 2)
    value, total = float(metric.of_sums(sums, n)[0]), sum(c.n for c in counts)
    if len(counts) == 1:
        return Estimate(value, *wilson(counts[0]), total, "wilson")
    return Estimate(value, *newcombe(*counts), total, "newcombe")


def _ranking(kind: Ranking, score_in: np.ndarray, score_out: np.ndarray) -> Estimate:
    if kind == "aupr_balanced":
        rng, size = np.random.default_rng(0), min(len(score_in), len(score_out))
        score_in, score_out = (rng.permutation(s)[:size] for s in (score_in, score_out))
    which = 0 if kind == "auroc" else 1
    ends = detection_intervals(score_in, score_out)[which]
    n = len(score_in) + len(score_out)
    return Estimate(detection(score_in, score_out)[which], *ends, n, "bootstrap")


def _bootstrapped(metrics: Sequence[Metric], table: Table) -> dict[str, Estimate]:
    """One bootstrap over images for all metrics of a table."""
    pooled = metrics[0].weights if ALL in metrics[0].weights else table.cells
    cells = table.pick(pooled) or []
    value, seen = aligned([cells])
    index = {cell.name: k for k, cell in enumerate(cells)}
    places = [[index[name] for name in metric.weights] for metric in metrics]

    def statistics(sums: np.ndarray, n: np.ndarray) -> np.ndarray:
        values = [m.of_sums(sums[:, p], n[:, p]) for m, p in zip(metrics, places, strict=True)]
        return np.stack(values, axis=1)

    sums, n = (value * seen).sum(axis=0, dtype=np.float64), seen.sum(axis=0)
    values = statistics(sums[None], n[None])[0]
    ends = cells_interval(value, seen, statistics) or [NOTHING] * len(metrics)
    return {
        metric.name: Estimate(float(v), *e, int(n[p].sum()), "bootstrap")
        for metric, v, e, p in zip(metrics, values, ends, places, strict=True)
    }


def difference(
    metric: Metric, a: Sequence[Table], b: Sequence[Table], *, seed: int = 0
) -> Difference | None:
    """Mean of some models minus that of others, image by image; None without an image in common.

    An image counts in a cell where all models have a prediction of it. One model against one with
    one accuracy is McNemar's case; otherwise there is an interval and no test.
    """
    picked = [table.pick(metric.weights) for table in (*a, *b)]
    models = [cells for cells in picked if cells is not None]
    if len(models) < len(picked):
        return None
    if metric.ranking is not None:
        return _ranking_difference(metric.ranking, models, seed) if len(models) == 2 else None
    value, seen = aligned(models, own_cells=metric.own_cells)
    plain = metric.finish is None
    if not (seen.any(axis=0).all() if plain else seen.any()):
        return None
    if plain and value.dtype == bool and value.shape[1] == 2 and metric.scale == 100:
        both = seen.all(axis=1)
        return paired_accuracy(value[both, 0], value[both, 1], seed=seed)
    signs = [1 / len(a)] * len(a) + [-1 / len(b)] * len(b)
    size = len(metric.weights)

    def statistic(sums: np.ndarray, n: np.ndarray) -> np.ndarray:
        each = [metric.of_sums(sums[:, at : at + size], n[:, at : at + size])
                for at in range(0, sums.shape[1], size)]  # fmt: skip
        return np.asarray(sum(sign * v for sign, v in zip(signs, each, strict=True)))[:, None]

    sums = (value * seen).sum(axis=0, dtype=np.float64)
    found = float(statistic(sums[None], seen.sum(axis=0)[None])[0, 0])
    if seen.all() and plain:
        weight = np.array([*metric.weights.values()]) * metric.scale / metric.per
        low, high = mean_interval(value @ np.concatenate([s * weight for s in signs]), seed=seed)
    else:
        ((low, high),) = cells_interval(value, seen, statistic, seed=seed)
    return Difference(found, low, high, math.nan, len(seen), "images")


def _ranking_difference(
    kind: Ranking, models: Sequence[Sequence[Cell]], seed: int
) -> Difference | None:
    """Of two models; the balanced average precision has none, for it is of other images."""
    if kind == "aupr_balanced":
        return None
    inside, outside = (_common(*pair) for pair in zip(*models, strict=True))
    return detection_difference(inside, outside, 0 if kind == "auroc" else 1, seed=seed)


def _common(a: Cell, b: Cell) -> np.ndarray:
    """(N, 2): both models' numbers of the images that both have."""
    _, at_a, at_b = np.intersect1d(a.image_id, b.image_id, return_indices=True)
    return np.stack([a.value[at_a], b.value[at_b]], axis=1)


def aligned(
    models: Sequence[Sequence[Cell]], *, own_cells: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(N, models x c) values and bool seen; an image is seen in a cell by all models or by none.

    Args:
        models: the same cells of each.
        own_cells: an image is seen by all models or by none, each in cells of its own.
    """
    # Most cells are of the same images, which are looked up once.
    lists: list[np.ndarray] = []
    which = [[_position(cell.image_id, lists) for cell in cells] for cells in models]
    images = np.unique(np.concatenate(lists))
    places = [np.searchsorted(images, ids) for ids in lists]
    shape = (len(images), len(models), len(models[0]))
    kind = bool if all(cell.value.dtype == bool for cells in models for cell in cells) else float
    value, seen = np.zeros(shape, kind), np.zeros(shape, bool)
    for m, cells in enumerate(models):
        for c, cell in enumerate(cells):
            at = places[which[m][c]]
            value[at, m, c], seen[at, m, c] = cell.value, True
    everywhere = np.asarray(seen.any(axis=2, keepdims=True)) if own_cells else seen
    seen &= np.asarray(everywhere.all(axis=1, keepdims=True))
    some = seen.any(axis=(1, 2))
    return value[some].reshape(some.sum(), -1), seen[some].reshape(some.sum(), -1)


def _position(ids: np.ndarray, lists: list[np.ndarray]) -> int:
    """Where among the lists one is the same; it is added if none is."""
    for k, known in enumerate(lists):
        if known is ids or np.array_equal(known, ids):
            return k
    lists.append(ids)
    return len(lists) - 1
