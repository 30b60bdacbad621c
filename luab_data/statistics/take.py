"""Many statistics in one pass over a dataset: of all its rows, or of each group of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Floats, Ints
from luab_data.statistics.estimate import (
    RESAMPLES,
    Estimate,
    Terms,
    Workers,
    WorkerSums,
    draw_workers,
    interval,
    median_estimate,
    share,
)
from luab_data.statistics.measure import Batch, Count, Measure, Read, Source


class _Taken:
    """What is kept of one measure while batches pass."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.sums = WorkerSums(math.prod(measure.shape) if measure.num_cells is None
                           else measure.num_cells)  # fmt: skip
        self.worker, self.values = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
        self.labels = Workers()

    def add(self, batch: Batch, worker: Ints) -> None:
        m = self.measure
        if m.terms:
            self.sums.add(m.terms(batch), worker)
            return
        if m.values:
            values = m.values(batch)
            row = np.flatnonzero(~np.isnan(values))
            self.values.append(values[row].astype(np.float32))
        elif m.labels:
            row, names = m.labels(batch)
            self.values.append(self.labels.codes(names).astype(np.float32))
        self.worker.append(worker[row].astype(np.int32))

    def estimate(self, weights: Floats) -> Estimate:
        m = self.measure
        if m.terms:
            labels = m.axes[0][1] if len(m.axes) == 1 else ()
            named = labels if all(isinstance(label, str) for label in labels) else ()
            return self.sums.estimate(
                weights, shape=m.shape, finish=m.finish, null=m.null, labels=named
            )
        values = np.concatenate(self.values).astype(np.float64)
        worker = np.concatenate(self.worker).astype(np.int64)
        if m.values:
            return median_estimate(values, worker, weights)
        sums, ones = WorkerSums(len(self.labels)), np.ones(len(values))
        sums.add(Terms(np.arange(len(values)), ones, ones, values.astype(np.int64)), worker)
        names = tuple(self.labels.names)
        return sums.estimate(weights, shape=(len(names),), finish=share, labels=names)


def take(
    measures: Sequence[Measure],
    sources: Sequence[Source],
    read: Read,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    watched: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[str, Estimate]:
    """All the measures, each source read once.

    Args:
        measures: what to take; names must differ.
        sources: where their rows come from; those that no measure is over are not read.
        read: of the dataset.
        resamples, seed: of the bootstrap; all measures are taken on the same resamples. With 0
            resamples there are no intervals, and only the columns that counts need are read.
        watched: sees how resampling gets on: it is given what is resampled, one a measure.
    Returns: name of the measure -> its estimate, in the order of `measures`.
    """
    workers = Workers()
    taken = _gathered(measures, sources, read, workers, quick=not resamples)[None]
    weights = draw_workers(len(workers), resamples=resamples, seed=seed)
    return {t.measure.name: replace(t.estimate(weights), replicates=None) for t in watched(taken)}


def take_by(
    measures: Sequence[Measure],
    sources: Sequence[Source],
    read: Read,
    column: str,
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    watched: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[str, dict[str, Estimate]]:
    """All the measures of the rows of each group, then what each less each later one is.

    Args:
        measures, sources, read, resamples, seed, watched: as of `take`.
        column: of the configs of these sources: the group of each row, text.
        groups: values of it; other rows are left out.
    Returns: name of the measure -> group, or `one less other` -> estimate.
    """
    workers = Workers()
    by_group = _gathered(measures, sources, read, workers, column, groups)
    weights = draw_workers(len(workers), resamples=resamples, seed=seed)
    found = {}
    for each in watched([*zip(*by_group.values(), strict=True)]):
        of = {group: t.estimate(weights) for group, t in zip(by_group, each, strict=True)}
        less = {f"{one} less {other}": difference(of[one], of[other])
                for one, other in combinations(of, 2)}  # fmt: skip
        alone = {group: replace(estimate, replicates=None) for group, estimate in of.items()}
        found[each[0].measure.name] = alone | less
    return found


def _gathered(
    measures: Sequence[Measure],
    sources: Sequence[Source],
    read: Read,
    workers: Workers,
    column: str | None = None,
    groups: Sequence[str | None] = (None,),
    *,
    quick: bool = False,
) -> dict[Any, list[_Taken]]:
    """Sums of all the measures in each group of rows, each source read once.

    Args:
        workers: numbered here.
        column: whose values are the groups; None has all rows in one, None.
        quick: read only the columns that counts need.
    """
    by_group = {group: [_Taken(m) for m in measures] for group in groups}
    asked = {m.over for m in measures}

    def add(group: str | None, over: str, batch: Batch) -> None:
        if wanted := [t for t in by_group[group] if t.measure.over == over]:
            code = workers.codes(batch.worker_id)
            for each in wanted:
                each.add(batch, code)

    for source in sources:
        kept: dict[str | None, list[pa.Table]] = {group: [] for group in groups}
        if asked.isdisjoint({source.name, *source.whole}):
            continue
        beside = [pa.concat_tables(read("default", source.beside))] if source.beside else []
        names = source.counted if quick else source.batch.columns
        for table in read(source.config, names if column is None else (*{*names, column},)):
            for group in groups:
                rows = table if column is None else table.filter(pc.equal(table[column], group))
                if column is not None and not len(rows):
                    continue
                batch = source.batch(rows, *beside)
                add(group, source.name, batch)
                if source.slim and not asked.isdisjoint(source.whole):
                    kept[group].append(source.slim(batch))
        for group, some in kept.items():
            if some:
                whole = pa.concat_tables(some).unify_dictionaries()
                for name in source.whole:
                    if name in asked:
                        add(group, name, source.whole[name](whole))
    return by_group


def difference(one: Estimate, other: Estimate) -> Estimate:
    """One statistic of two groups of rows: that of the one less that of the other.

    Both are taken on the same resamples of workers, so workers who are in both groups are compared
    with themselves. Its interval is widened as for the group of fewer workers; `n` counts both; the
    null is 0, that the groups are alike.
    """
    assert one.replicates is not None and other.replicates is not None
    num_workers = min(one.num_workers, other.num_workers)
    low, high = interval(one.replicates - other.replicates, num_workers)
    return Estimate(
        value=one.value - other.value,
        low=low,
        high=high,
        n=one.n + other.n,
        null=np.zeros_like(one.value),
        num_workers=num_workers,
        labels=one.labels,
    )


def count(counts: Mapping[str, Count], sources: tuple[Source, ...], read: Read) -> dict[str, Any]:
    """All the counts, in one quick pass: name -> count, fraction or None."""
    measures = {c.measure.name: c.measure for c in counts.values()}
    found = take([*measures.values()], sources, read, resamples=0)
    return {name: c.read(found[c.measure.name]) for name, c in counts.items()}
