"""What a statistic is, and how many of them are taken in one pass over batches of rows.

A Measure names a pure function from a batch to Parts (or to values, of which the median is taken).
Batches are small objects over Arrow tables, so memory does not grow with the dataset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from luab_data.ragged import ArrowColumn, Floats, Ints
from luab_data.statistics.estimate import (
    RESAMPLES,
    Estimate,
    Finish,
    Parts,
    Tally,
    Workers,
    draw_workers,
    median_estimate,
    ratio,
)


class Batch(Protocol):
    """Some rows of a source."""

    @property
    def worker_id(self) -> ArrowColumn:
        """(num_rows,) the worker of each; null if there is none."""


class TableBatch:
    """Some rows of one config of a dataset; a subclass adds what its statistics share.

    Args:
        table: (num_rows,) with the `columns`.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    @property
    def worker_id(self) -> ArrowColumn:
        """(num_rows,) the worker of each; null if there is none."""
        return self.table["worker_id"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One statistic.

    Attributes:
        name: key in JSON, snake_case.
        title: a few words, for tables.
        doc: one sentence: what over what.
        source: where the definition comes from.
        over: the source of rows it reads: `images`, `rounds`, `pages`, ...
        unit: `share` (in [0, 1]), `ms`, `box sizes`, `correlation`, ... of the value.
        null_doc: what the null is; empty where there is none.
        shape: () for one number; else of the curve or map.
        axes: for each axis of the shape its name and the labels of its places.
        parts: batch -> Parts. Of `parts` and `values` exactly one is given.
        values: batch -> (num_rows,) values whose median is the statistic.
        num_cells: cells of the sums; by default as many as the shape has.
        finish: sums -> statistic; by default sum(part) / sum(whole).
        null: the null where it is known beforehand; None takes it from the parts.
    """

    name: str
    title: str
    doc: str
    source: str
    over: str
    unit: str = "share"
    null_doc: str = ""
    shape: tuple[int, ...] = ()
    axes: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    parts: Callable[[Any], Parts] | None = None
    values: Callable[[Any], Floats] | None = None
    num_cells: int | None = None
    finish: Finish = ratio
    null: float | None = None

    def __post_init__(self) -> None:
        assert (self.parts is None) != (self.values is None), self.name
        assert self.shape == tuple(len(labels) for _, labels in self.axes), self.name

    @property
    def cells(self) -> int:
        """Cells of the sums."""
        return math.prod(self.shape) if self.num_cells is None else self.num_cells


class _Values:
    """Values and their workers, kept for a median."""

    def __init__(self) -> None:
        self._values: list[Floats] = []
        self._worker: list[Ints] = []

    def add(self, values: Floats, worker: Ints) -> None:
        there = ~np.isnan(values)
        self._values.append(values[there].astype(np.float32))
        self._worker.append(worker[there].astype(np.int32))

    def estimate(self, weights: Floats) -> Estimate:
        values = np.concatenate([*self._values, np.zeros(0, np.float32)]).astype(np.float64)
        worker = np.concatenate([*self._worker, np.zeros(0, np.int32)]).astype(np.int64)
        return median_estimate(values, worker, weights)


def take(
    measures: Sequence[Measure],
    sources: Mapping[str, Iterable[Batch]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """All the measures, each source read once.

    Args:
        measures: what to take; names must differ.
        sources: name -> its batches; those that no measure is over are not read.
        resamples, seed: of the bootstrap; all measures are taken on the same resamples.
    Returns: name of the measure -> its estimate, in the order of `measures`.
    """
    workers = Workers()
    tallies = {m.name: Tally(m.cells) for m in measures if m.parts}
    kept = {m.name: _Values() for m in measures if m.values}
    for source, batches in sources.items():
        wanted = [m for m in measures if m.over == source]
        for batch in batches if wanted else ():
            code = workers.codes(batch.worker_id)
            for m in wanted:
                if m.parts:
                    tallies[m.name].add(m.parts(batch), code)
                elif m.values:
                    kept[m.name].add(m.values(batch), code)
    weights = draw_workers(len(workers), resamples=resamples, seed=seed)
    return {
        m.name: tallies[m.name].estimate(weights, shape=m.shape, finish=m.finish, null=m.null)
        if m.parts
        else kept[m.name].estimate(weights)
        for m in measures
    }
