"""[I/O] A dataset folder -> its workers: what they did, pooled, and whom to look at."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.console import progress
from luab_data.errors import OptionError
from luab_data.kinds import kind_of
from luab_data.ragged import Floats, Ints
from luab_data.results import Tabular, new_table
from luab_data.schema import Table
from luab_data.store.folder import read_columns, read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import did_you_mean
from luab_data.workers.observations import Observations
from luab_data.workers.pooling import Pooled, flagged
from luab_data.workers.traits import WorkerMeasures


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Annotators(Tabular):
    """The workers of a dataset; arrays are (num_workers,), in the order of `worker_id`.

    Attributes:
        dataset: name of the kind of log.
        worker_id: as published, sorted.
        measures: what is told of workers of this kind.
        counts: name -> how much each did.
        pooled: trait -> its pooled numbers.
        num_rows: trait -> rows it was taken over.
        scores: suspicion -> scores, flagged from pooling.THRESHOLD on; NaN where it cannot be
            told.
        sort: what `order` goes by: None for the most suspicious first; see `annotators`.
    """

    dataset: str
    worker_id: list[str]
    measures: WorkerMeasures
    counts: dict[str, Ints]
    pooled: dict[str, Pooled]
    num_rows: dict[str, Ints]
    scores: dict[str, Floats]
    sort: str | None = None

    def __repr__(self) -> str:
        num_flagged = int(flagged(self.suspicion()).sum())
        return f"Annotators({self.dataset}: {len(self.worker_id):,} workers, {num_flagged} flagged)"

    @property
    def shown(self) -> tuple[str, ...]:
        """Traits in the order of their importance, but for those that nobody has."""
        return tuple(
            name for name in self.measures.shown if np.isfinite(self.pooled[name].raw).any()
        )

    def reasons(self) -> list[list[str]]:
        """For each worker the suspicions that flag it, each with its clear signs."""
        found: list[list[str]] = [[] for _ in self.worker_id]
        for suspicion in self.measures.suspicions:
            signs = suspicion.reasons(self.pooled)
            for index in np.flatnonzero(flagged(self.scores[suspicion.key])):
                found[index].append(f"{suspicion.key}: {', '.join(signs[index])}")
        return found

    def suspicion(self) -> Floats:
        """(num_workers,) the highest of each worker's scores; -inf without any."""
        scores = [np.nan_to_num(score, nan=-np.inf) for score in self.scores.values()]
        highest: Floats = np.max(scores, axis=0)
        return highest

    def order(self) -> Ints:
        """(num_workers,) the first ones by `sort`: places in `worker_id`."""
        far = {name: np.abs(pooled.z) for name, pooled in self.pooled.items()}
        keys: dict[str, Any] = {**self.counts, **self.scores, **far}
        key = self.suspicion() if self.sort is None else keys[self.sort].astype(np.float64)
        return np.argsort(-np.nan_to_num(key, nan=-np.inf), kind="stable")

    def to_table(self) -> pa.Table:
        """One row a worker, in `order`: counts, then of each trait `t` the columns `t` (the
        worker's own number), `t_pooled`, `t_low`, `t_high`, `t_weight`, `t_z`, `t_n`, then scores
        and flags.
        """
        columns: dict[str, pa.Array] = {"worker_id": pa.array(self.worker_id, pa.string())}
        columns |= {name: pa.array(values) for name, values in self.counts.items()}
        for name, pooled in self.pooled.items():
            numbers = {"": pooled.raw, "_pooled": pooled.value, "_low": pooled.low}
            numbers |= {"_high": pooled.high, "_weight": pooled.weight, "_z": pooled.z}
            columns |= {f"{name}{end}": _array(values) for end, values in numbers.items()}
            columns[f"{name}_n"] = pa.array(self.num_rows[name])
        columns |= {f"{key}_score": _array(values) for key, values in self.scores.items()}
        columns |= {key: pa.array(flagged(values)) for key, values in self.scores.items()}
        columns["reasons"] = pa.array(self.reasons(), pa.list_(pa.string()))
        return pa.table(columns).take(self.order())

    def shown_table(self) -> pa.Table:
        """For notebooks: counts, pooled traits, the highest score and the reasons."""
        table = self.to_table()
        traits = [f"{name}_pooled" for name in self.shown]
        score = _array(self.suspicion()[self.order()])
        chosen = table.select(["worker_id", *self.counts, *traits])
        return chosen.append_column("score", score).append_column("reasons", table["reasons"])

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the crowd, the meaning of every column, and the workers."""
        return {
            "dataset": self.dataset,
            "traits": {
                trait.name: {
                    **{"doc": trait.doc, "unit": trait.unit, "scale": trait.scale},
                    **{"has_truth": trait.has_truth},
                    "crowd": _finite(self.pooled[trait.name].crowd),
                    "spread": _finite(self.pooled[trait.name].spread),
                }
                for trait in self.measures.traits
            },
            "flags": {suspicion.key: suspicion.doc for suspicion in self.measures.suspicions},
            "workers": self.to_table().to_pylist(),
        }


def _array(values: Floats) -> pa.Array:
    return pa.array(values, mask=~np.isfinite(values))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def annotators(
    dataset: str | os.PathLike[str],
    *,
    sort: str | None = None,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    shown: bool | None = None,
) -> Annotators:
    """One row a worker, partially pooled, and whom to look at.

    Traces are streamed; a slim row of each picture shown is held.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.
        sort: a count (largest first), a score (highest first) or a trait: by |z|, which is small
            for workers of whom little is known. None: the most suspicious first.
        out: a .csv, .json or .parquet file to write the whole table to.
        force: replace an earlier such file with other content.
        shown: False for no progress.

    Raises:
        DatasetError: no dataset, or not whole.
        OptionError: no column `sort`, or an unknown suffix. OutputError: `out` cannot be written.
    """
    with new_table(out, verb="luab-data annotators", first="worker_id", force=force) as write:
        folder = find_dataset(dataset)
        kind = kind_of(read_manifest(folder))
        measures = kind.workers
        with progress(what="annotators", unit=" batches", shown=shown) as bar:

            def batches(table: Table, columns: tuple[str, ...]) -> Iterator[pa.Table]:
                for batch in read_columns(folder, table, list(columns)):
                    bar.update()
                    yield batch

            names, rows = measures.collect(
                batches(kind.images, measures.image_columns),
                batches(kind.events, measures.event_columns),
            )
        found = of_rows(kind.dataset, names, rows, measures, sort=sort)
        write(found.to_table())
        return found


def of_rows(
    dataset: str,
    worker_id: list[str],
    rows: Mapping[str, Observations],
    measures: WorkerMeasures,
    *,
    sort: str | None = None,
) -> Annotators:
    """Traits and suspicions of workers from their rows, see WorkerMeasures.collect; no I/O.

    Raises:
        OptionError: no column `sort`.
    """
    found = {trait.name: trait.pooled(rows[trait.over]) for trait in measures.traits}
    counts, keys = measures.counts(rows), [suspicion.key for suspicion in measures.suspicions]
    if sort is not None and sort not in (known := [*counts, *found, *keys]):
        raise OptionError(f"no column {sort!r} to sort by{did_you_mean(sort, known)}")
    pooled = {name: pooled for name, (pooled, _) in found.items()}
    return Annotators(
        dataset=dataset,
        worker_id=worker_id,
        measures=measures,
        counts=counts,
        pooled=pooled,
        num_rows={name: n for name, (_, n) in found.items()},
        scores={suspicion.key: suspicion.scores(pooled) for suspicion in measures.suspicions},
        sort=sort,
    )
