"""A digest of values: equal for equal rows, whatever the batches, the encoding or the library.

Parquet bytes differ between versions of pyarrow; the values do not. Each leaf of each column has a
hash of its own, so that rows may come in batches of any size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class ShardDigest:
    """The rows of one shard, given in order and in any batches.

    Attributes:
        num_bytes: of the values and lengths, however they were batched.
    """

    def __init__(self) -> None:
        self.num_bytes = 0
        self._leaves: dict[str, Any] = {}
        self._seen: dict[str, int] = {}

    def update(self, table: pa.Table) -> None:
        """Add rows; every call has the same columns."""
        for name, column in zip(table.column_names, table.columns, strict=True):
            for chunk in column.chunks:
                self._add(name, chunk)

    def hexdigest(self) -> str:
        """SHA-256 over all leaves: the names, types and values of all rows so far."""
        lines = sorted(f"{leaf} {found.hexdigest()}\n" for leaf, found in self._leaves.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _feed(self, leaf: str, values: Any) -> None:
        if leaf not in self._leaves:
            self._leaves[leaf] = hashlib.sha256()
        self._leaves[leaf].update(values)
        self.num_bytes += memoryview(values).nbytes

    def _add(self, path: str, values: pa.Array) -> None:
        type = values.type
        path = path if ":" in path else f"{path}:{_kind(type)}"
        self._add_nulls(path, values)
        if pa.types.is_list(type):
            lengths = pc.fill_null(pc.list_value_length(values), 0)
            self._feed(f"{path}#", _bytes(lengths))
            self._add(f"{path}[]", values.flatten())
        elif pa.types.is_string(type):
            filled = pc.fill_null(values, "") if values.null_count else values
            self._feed(f"{path}#", _bytes(pc.binary_length(filled)))
            self._feed(path, _characters(filled))
        else:
            filled = pc.fill_null(values, False if pa.types.is_boolean(type) else 0)
            self._feed(path, _bytes(filled))

    def _add_nulls(self, path: str, values: pa.Array) -> None:
        """The places of nulls among all rows: nothing where there are none."""
        before = self._seen.get(path, 0)
        self._seen[path] = before + len(values)
        if values.null_count:
            places = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))
            self._feed(f"{path}?", (places + before).astype("<i8"))


def _kind(type: pa.DataType) -> str:
    """A type's name without the inner names of lists, which Parquet changes."""
    return f"list<{_kind(type.value_type)}>" if pa.types.is_list(type) else str(type)


def _bytes(values: pa.Array) -> np.ndarray:
    found = values.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(found.astype(found.dtype.newbyteorder("<"), copy=False))


def _characters(values: pa.StringArray) -> memoryview:
    """The text of a string array without nulls, slices minded."""
    if not len(values):
        return memoryview(b"")
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset :]
    data = values.buffers()[2]
    return memoryview(data)[offsets[0] : offsets[len(values)]] if data else memoryview(b"")


def shard_digest(batches: Iterable[pa.Table]) -> str:
    """Digest of one shard's rows."""
    digest = ShardDigest()
    for batch in batches:
        digest.update(batch)
    return digest.hexdigest()


def content_digest(shards: Mapping[str, Sequence[str]]) -> str:
    """Digest of a dataset: config -> digests of its shards in order."""
    lines = [f"{config} {k} {d}\n" for config, found in shards.items() for k, d in enumerate(found)]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
