"""[I/O] The COCO-AB log -> Arrow tables, a batch at a time and at the speed of msgspec."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.errors import ArchiveError, RecordError
from luab_data.ragged import Ints, list_array
from luab_data.raw.coco import parse
from luab_data.raw.coco_typed import LISTS, SCALARS, Leaf, Part, Record, from_typed, from_values
from luab_data.raw.json_runs import Plain, Runs
from luab_data.raw.json_stream import JsonStream
from luab_data.raw.source import Source
from luab_data.schema import COCO_ACTIONS

BATCH = 2048
"""Records of a batch: about 4 MB of table."""

_SCHEMA = COCO_ACTIONS.schema()


class CocoBatch(NamedTuple):
    """Consecutive records of the log. A place is a record's index in the file, from 0.

    Args:
        table: (num_rows,) COCO_ACTIONS, a row for each good record, worker ids hashed.
        places: (num_rows,) int64, ascending.
        errors: (place, what is wrong) of the other records, ascending.
        unknown: (place, key) of keys of good records that the schema does not know.
    """

    table: pa.Table
    places: Ints
    errors: list[tuple[int, RecordError]]
    unknown: list[tuple[int, str]]


def batches(
    log: Source, hash_worker: Callable[[str], str], *, size: int = BATCH
) -> Iterator[CocoBatch]:
    """The log as tables, in file order; the k-th ends with record `size` k - 1 of the file.

    Args:
        log: a JSON array or JSON Lines, plain or gzip.
        hash_worker: worker id -> published id; raw ids are kept nowhere.
        size: records of a batch, bad ones included.

    Raises:
        ArchiveError: not JSON, or cut, after the batches of all records before: what follows a
            broken spot in an array cannot be trusted.
    """
    rows = _Rows(0)
    try:
        for found in _parts(JsonStream(log)):
            left: Part | Plain | None = found
            while left is not None:
                left = rows.add(left, size - rows.next_place % size)
                if rows.next_place % size == 0:
                    yield rows.batch(hash_worker)
                    rows = _Rows(rows.next_place)
    except ArchiveError:
        if rows:
            yield rows.batch(hash_worker)
        raise
    if rows:
        yield rows.batch(hash_worker)


def _parts(stream: JsonStream) -> Iterator[Part | Plain]:
    """The records, in runs or one by one."""
    runs = Runs(stream, Record, from_typed)
    first = stream.peek()
    if not first:
        stream.fail("the file is empty; expected a JSON array or JSON Lines")
    yield from runs.array() if first == "[" else runs.lines()
    stream.end()


class _Rows:
    """A batch in the making."""

    def __init__(self, first: int) -> None:
        self.next_place = first
        self._first = first
        self._parts: list[Part] = []
        self._errors: list[tuple[int, RecordError]] = []
        self._unknown: list[tuple[int, str]] = []

    def __bool__(self) -> bool:
        return self.next_place > self._first

    def add(self, found: Part | Plain, room: int) -> Part | None:
        """Append at most `room` records, at least one; what is left, if anything."""
        if isinstance(found, Plain):
            self._parse(found.value)
            self.next_place += 1
            return None
        part, rest = found.split(room) if found.num_rows > room else (found, None)
        self._parts.append(part)
        self.next_place += part.num_rows
        return rest

    def _parse(self, value: Any) -> None:
        try:
            values, unknown = parse(self.next_place, value)
        except RecordError as error:
            self._errors.append((self.next_place, error))
        else:
            self._unknown += [(self.next_place, key) for key in unknown]
            self._parts.append(from_values(values))

    def batch(self, hash_worker: Callable[[str], str]) -> CocoBatch:
        """What was added."""
        columns: dict[str, pa.Array] = {}
        for number, (key, column) in enumerate(SCALARS.items()):
            values: Iterable[Any] = chain.from_iterable(p.scalars[number] for p in self._parts)
            hashed = map(hash_worker, values) if key == "worker_id" else values
            columns[column.name] = pa.array(list(hashed), column.type)
        for number, leaves in enumerate(LISTS.values()):
            lengths = list(chain.from_iterable(part.lengths[number] for part in self._parts))
            bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            for place, leaf in enumerate(leaves):
                flat = _joined([part.leaves[number][place] for part in self._parts], leaf)
                columns[leaf.column.name] = list_array(flat, bounds)
        table = pa.table([columns[name] for name in _SCHEMA.names], _SCHEMA)
        is_good = np.ones(self.next_place - self._first, bool)
        is_good[[place - self._first for place, _ in self._errors]] = False
        places = self._first + np.flatnonzero(is_good)
        return CocoBatch(table, places, self._errors, self._unknown)


def _joined(parts: list[Any], leaf: Leaf) -> pa.Array:
    type_ = leaf.column.type.value_type
    if leaf.dtype is None:
        return pa.array(list(chain.from_iterable(parts)), type_)
    values = np.concatenate(parts) if parts else np.empty(0, leaf.dtype)
    missing = np.isnan(values) if leaf.dtype == np.float64 else np.zeros(0, bool)
    return pa.array(values, type_, mask=missing if missing.any() else None)
