"""[I/O] The COCO-AB log -> Arrow tables, a batch at a time and at the speed of msgspec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.errors import ArchiveError, RecordError
from luab_data.ragged import Ints, list_array
from luab_data.raw.coco import SCHEMA, WORKER, is_array, parse
from luab_data.raw.coco_typed import LISTS, SCALARS, Leaf, Part, Record, from_record, from_typed
from luab_data.raw.json_values import JsonStream, Plain, Runs
from luab_data.raw.source import Source

BATCH = 2048
"""Records of a batch: about 4 MB of table."""


class CocoBatch(NamedTuple):
    """Consecutive records of the log. A place is a record's index in the file, from 0.

    Args:
        table: (num_rows,) raw columns of COCO_ACTIONS, a row for each good record, ids hashed.
        places: (num_rows,) int64, ascending.
        errors: (place, what is wrong) of the other records, ascending.
        unknown: (place, key) of keys of good records that the schema does not know.
        repaired: id of repairs.REPAIRS -> values that were mended.
    """

    table: pa.Table
    places: Ints
    errors: list[tuple[int, RecordError]]
    unknown: list[tuple[int, str]]
    repaired: Counter[str]


def batches(
    log: Source, hash_worker: Callable[[str], str], *, size: int = BATCH
) -> Iterator[CocoBatch]:
    """The log as tables, in file order.

    Args:
        log: a JSON array or JSON Lines, plain or gzip.
        hash_worker: worker id -> published id; raw ids are kept nowhere.
        size: least number of records of a batch but the last, bad ones included.

    Raises:
        ArchiveError: not JSON, or cut, after the batches of all records before: what follows a
            broken spot in an array cannot be trusted.
    """
    growing = _Growing(0)
    try:
        for found in _records(JsonStream(log, takes_nan=True)):
            growing.add(found)
            if len(growing) >= size:
                yield growing.batch(hash_worker)
                growing = _Growing(growing.end)
    except ArchiveError:
        if growing:
            yield growing.batch(hash_worker)
        raise
    if growing:
        yield growing.batch(hash_worker)


def _records(stream: JsonStream) -> Iterator[Part | Plain]:
    """The records, in runs or one by one."""
    runs = Runs(stream, Record, from_typed)
    yield from runs.array() if is_array(stream) else runs.lines()
    stream.end()


class _Growing:
    """A batch in the making: the records from place `start` on, up to `end`."""

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self._parts: list[Part] = []
        self._errors: list[tuple[int, RecordError]] = []
        self._unknown: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return self.end - self.start

    def add(self, found: Part | Plain) -> None:
        """Append records."""
        if isinstance(found, Part):
            self._parts.append(found)
            self.end += found.num_rows
            return
        try:
            record = parse(self.end, found.value)
        except RecordError as error:
            self._errors.append((self.end, error))
        else:
            self._unknown += [(self.end, key) for key in record.unknown]
            self._parts.append(from_record(record))
        self.end += 1

    def batch(self, hash_worker: Callable[[str], str]) -> CocoBatch:
        """What was added."""
        columns: dict[str, pa.Array] = {}
        for number, (key, column) in enumerate(SCALARS.items()):
            values = list(chain.from_iterable(part.scalars[number] for part in self._parts))
            if key == WORKER:
                values = [None if worker is None else hash_worker(worker) for worker in values]
            columns[column.name] = pa.array(values, column.type)
        for number, leaves in enumerate(LISTS.values()):
            lengths = list(chain.from_iterable(part.lengths[number] for part in self._parts))
            bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            for place, leaf in enumerate(leaves):
                flat = _joined([part.leaves[number][place] for part in self._parts], leaf)
                columns[leaf.column.name] = list_array(flat, bounds)
        table = pa.table([columns[name] for name in SCHEMA.names], SCHEMA)
        is_good = np.ones(len(self), bool)
        is_good[[place - self.start for place, _ in self._errors]] = False
        places = self.start + np.flatnonzero(is_good)
        repaired = Counter(chain.from_iterable(part.repaired for part in self._parts))
        return CocoBatch(table, places, self._errors, self._unknown, repaired)


def _joined(parts: list[Any], leaf: Leaf) -> pa.Array:
    type_ = leaf.column.type.value_type
    if leaf.dtype is None:
        return pa.array(list(chain.from_iterable(parts)), type_)
    values = np.concatenate(parts) if parts else np.empty(0, leaf.dtype)
    missing = np.isnan(values) if leaf.dtype == np.float64 else np.zeros(0, bool)
    return pa.array(values, type_, mask=missing if missing.any() else None)
