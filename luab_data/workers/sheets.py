"""Slim rows of every worker, collected from batches, and what a trait of a worker is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from luab_data.ragged import ArrowColumn, Bools, Floats, Ints
from luab_data.statistics.estimate import Workers
from luab_data.workers.pooling import Pooled, pool
from luab_data.workers.traits import Raw, Rows

Columns = dict[str, Floats]


class Sheet:
    """Rows with columns of numbers.

    Args:
        rows: whose they are.
        columns: name -> (num_rows,), NaN for nothing.
    """

    def __init__(self, rows: Rows, columns: Columns) -> None:
        self.rows = rows
        self._columns = columns

    def __getitem__(self, name: str) -> Floats:
        """A column."""
        return self._columns[name]

    def where(self, mask: Bools) -> Sheet:
        """Some of the rows."""
        columns = {name: values[mask] for name, values in self._columns.items()}
        return Sheet(self.rows.where(mask), columns)

    def take(self, index: Ints, columns: Columns) -> Sheet:
        """Other columns, of the owners of some of the rows."""
        rows = self.rows
        return Sheet(Rows(rows.worker[index], rows.hit[index], rows.num_workers), columns)


class Collector:
    """Batches of several sheets of the same workers; rows without a worker are left out."""

    def __init__(self) -> None:
        self._workers, self._hits = Workers(), Workers()
        self._batches: dict[str, list[tuple[Ints, Ints, Columns]]] = {}

    def add(
        self, sheet: str, worker_id: ArrowColumn, hit_id: ArrowColumn, columns: Columns
    ) -> None:
        """Keep some rows.

        Args:
            sheet: its name.
            worker_id, hit_id: (num_rows,) null for none.
            columns: (num_rows,) each.
        """
        worker = self._workers.codes(worker_id)
        known = worker >= 0
        kept = {name: values[known] for name, values in columns.items()}
        batch = (worker[known], self._hits.codes(hit_id)[known], kept)
        self._batches.setdefault(sheet, []).append(batch)

    def sheets(self, expected: Sequence[str]) -> tuple[list[str], dict[str, Sheet]]:
        """Worker ids, sorted, and the sheets by name; batches are given up."""
        names = np.array(self._workers.names, dtype=str)
        order = np.argsort(names)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        found = {}
        for name in expected:
            batches = self._batches.pop(name, [])
            if not batches:
                raise ValueError(f"no {name}: expected at least one batch")
            worker, hit = (np.concatenate([batch[k] for batch in batches]) for k in (0, 1))
            columns = {
                key: np.concatenate([batch[2].pop(key) for batch in batches])
                for key in tuple(batches[0][2])
            }
            found[name] = Sheet(Rows(place[worker], hit, len(names)), columns)
        return [str(name) for name in names[order]], found


_SHOWN: dict[str, Callable[[Floats], Floats]] = {
    "share": np.asarray,
    "mean": np.asarray,
    "log": np.exp,
    "square": lambda values: np.sqrt(np.maximum(values, 0.0)),
}
"""From the scale of pooling to that of the number."""


@dataclass(frozen=True, kw_only=True)
class Trait:
    """One number of each worker.

    Attributes:
        name: key, snake_case.
        over: the sheet it is taken over.
        scale: `share` in [0, 1], `mean` of anything; `log` and `square` are numbers above 0 whose
            logarithm or square is pooled.
        doc: what it is.
        take: sheet -> number and sampling variance of each worker.
        unit: of the number; empty for shares and slopes.
        has_truth: whether it judges by ground truth.
    """

    name: str
    over: str
    scale: Literal["share", "mean", "log", "square"]
    doc: str
    take: Callable[[Sheet], Raw]
    unit: str = ""
    has_truth: bool = False

    def pooled(self, sheet: Sheet) -> tuple[Pooled, Ints]:
        """The trait of all workers, pooled; and the rows it was taken over, (num_workers,)."""
        raw = self.take(sheet)
        found = pool(raw.value, raw.variance, is_share=self.scale == "share")
        if raw.own is not None:
            found = replace(found, raw=np.where(np.isnan(found.raw), np.nan, raw.own))
        return found.mapped(_SHOWN[self.scale]), raw.n
