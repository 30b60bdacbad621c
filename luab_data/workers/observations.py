"""Numbers observed of workers, collected from batches: slim, so that memory holds a release's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.ragged import ArrowColumn, Bools, Floats, Ints
from luab_data.statistics.estimate import NOBODY, Workers, ratio

Columns = Mapping[str, Floats]


class Observations:
    """Columns of numbers, and whose row each is, and of which HIT. NaN values count nowhere.

    Args:
        worker: (num_rows,) codes 0 .. num_workers - 1.
        hit: (num_rows,) codes; -1 for none.
        num_workers: workers in all.
        columns: name -> (num_rows,).
    """

    def __init__(
        self, worker: Ints, hit: Ints, num_workers: int, columns: Columns | None = None
    ) -> None:
        self.worker = worker
        self.hit = hit
        self.num_workers = num_workers
        self._columns = columns or {}

    def __len__(self) -> int:
        return len(self.worker)

    def __getitem__(self, name: str) -> Floats:
        """A column."""
        return self._columns[name]

    def adding(self, columns: Columns) -> Observations:
        """The same rows with more columns."""
        return Observations(self.worker, self.hit, self.num_workers, {**self._columns, **columns})

    def where(self, which: Ints | Bools, columns: Columns | None = None) -> Observations:
        """Some of the rows, with their columns or others."""
        if columns is None:
            columns = {name: values[which] for name, values in self._columns.items()}
        return Observations(self.worker[which], self.hit[which], self.num_workers, columns)

    def count(self, values: Floats | None = None) -> Ints:
        """(num_workers,) rows of each worker, or those of values (num_rows,) that are there."""
        worker = self.worker if values is None else self.worker[~np.isnan(values)]
        return np.bincount(worker, minlength=self.num_workers)

    def sum(self, values: Floats) -> Floats:
        """(num_workers,) of values (num_rows,), the same to the bit in any order of the rows."""
        order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # NaN comes last
        total = np.bincount(self.worker[order], values[order], self.num_workers)
        return np.asarray(total, np.float64)

    def mean(self, values: Floats) -> Floats:
        """(num_workers,) NaN without values."""
        return ratio(self.sum(values), self.count(values))

    def median(self, values: Floats) -> Floats:
        """(num_workers,) NaN without values."""
        there = ~np.isnan(values)
        worker, kept = self.worker[there], values[there]
        order = np.lexsort((kept, worker))
        count = np.bincount(worker, minlength=self.num_workers)
        start = np.cumsum(count) - count
        found = np.full(self.num_workers, np.nan)
        some = count > 0
        ends = (start + (count - 1) // 2, start + count // 2)
        low, high = (kept[order[end[some]]] for end in ends)
        found[some] = (low + high) / 2
        return found

    def num_hits(self) -> Ints:
        """(num_workers,) different HITs of each worker."""
        owner = np.unique(self._keys()[self.hit >= 0]) // self._span()
        return np.bincount(owner, minlength=self.num_workers)

    @cached_property
    def groups(self) -> tuple[Ints, Ints]:
        """The HIT of each row, numbered anew (num_rows,), and whose it is (num_groups,)."""
        keys, group = np.unique(self._keys(), return_inverse=True)
        return group.reshape(-1), keys // self._span()

    def _span(self) -> int:
        return int(self.hit.max(initial=-1)) + 2

    def _keys(self) -> Ints:
        return self.worker * self._span() + self.hit + 1


class Collector:
    """Batches of rows of several names, all of the same workers."""

    def __init__(self) -> None:
        self._workers, self._hits = Workers(), Workers()
        self._batches: dict[str, list[tuple[Ints, Ints, dict[str, Floats]]]] = {}

    def add(
        self, name: str, worker_id: ArrowColumn, columns: Columns, hit: ArrowColumn | None = None
    ) -> None:
        """Keep some rows; those without a worker are left out.

        Args:
            name: of these rows.
            worker_id, hit: (num_rows,) ids, null for none.
            columns: (num_rows,) each.
        """
        worker = self._workers.codes(worker_id)
        known = worker != NOBODY
        hits = np.full(len(worker), NOBODY) if hit is None else self._hits.codes(hit)
        kept = {column: values[known] for column, values in columns.items()}
        self._batches.setdefault(name, []).append((worker[known], hits[known], kept))

    def collected(self) -> tuple[list[str], dict[str, Observations]]:
        """Worker ids, sorted, and the rows by name; batches are given up."""
        ids = np.array(self._workers.names, dtype=str)
        order = np.argsort(ids)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        found = {}
        for name in tuple(self._batches):
            batches = self._batches.pop(name)
            worker, hit = (np.concatenate([batch[k] for batch in batches]) for k in (0, 1))
            columns = {
                column: np.concatenate([batch[2].pop(column) for batch in batches])
                for column in tuple(batches[0][2])
            }
            found[name] = Observations(place[worker], hit, len(ids), columns)
        return [str(name) for name in ids[order]], found


def owner_table(names: list[str], numbers: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """One row an owner of rows.

    Args:
        names: ids, the first column of the schema.
        numbers: (num_names,) of each other column; NaN becomes null.
    """
    given = {schema.names[0]: names, **numbers}
    arrays = [pa.array(given[f.name], from_pandas=True).cast(f.type) for f in schema]
    return pa.table(arrays, schema)
