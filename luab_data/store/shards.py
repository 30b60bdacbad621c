"""[I/O] Tables -> the Parquet files of a config."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from luab_data.schema import Table
from luab_data.store.digest import ShardDigest, hashes_of

ROWS_PER_GROUP = 16_384
"""At most; a group ends where `begins` says from a quarter of it on."""

CHUNKS = {"min_chunk_size": 2**18, "max_chunk_size": 2**20, "norm_level": 0}
"""Bytes of a page, as `datasets` has them."""


@dataclass(frozen=True)
class Shard:
    """What the manifest says of a shard: rows, bytes in memory, digest of the values."""

    num_rows: int
    num_bytes: int
    digest: str


def _parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How a config's columns are stored, chosen by size on disk.

    Pages end where the values say, so that those after an inserted row stay the same bytes, which
    the Hub need not send again; `datasets` and the Hub's client find pages by their index.
    Times ascend in steps of some 16 ms, so their differences are stored; everything else has few
    distinct values: fractions of a picture's pixels, ids of pages.
    """
    leaves = {_leaf(field): field for field in schema}
    times = [leaf for leaf, field in leaves.items() if _is_time(field)]
    return {
        "compression": "zstd",
        "compression_level": 3,
        "write_page_checksum": True,
        "write_page_index": True,
        "use_content_defined_chunking": CHUNKS,
        "use_dictionary": [leaf for leaf in leaves if leaf not in times],
        "column_encoding": dict.fromkeys(times, "DELTA_BINARY_PACKED"),
    }


def _leaf(field: pa.Field) -> str:
    """The path of a column's values in Parquet."""
    path, type = field.name, field.type
    while pa.types.is_list(type):
        path, type = f"{path}.list.element", type.value_type
    return str(path)


def _is_time(field: pa.Field) -> bool:
    type = field.type.value_type if pa.types.is_list(field.type) else field.type
    unit = (field.metadata or {}).get(b"unit", b"")
    return bool(pa.types.is_int64(type) and unit in (b"ms", b"epoch ms", b"epoch s"))


def begins(ids: pa.Array | pa.ChunkedArray, every: int) -> np.ndarray:
    """Where a row group or a shard may begin: before about one row in `every`.

    The id of the row tells, nothing else: rows inserted before it move no beginning, so what was
    written after them stays the same bytes.

    Args:
        ids: (num_rows,) of images or workers.
        every: below 64 any row will do: pieces that small end by their count.
    Returns: (num_rows,) bool.
    """
    if every < 64:
        return np.ones(len(ids), bool)
    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    hashes = np.concatenate([np.zeros(0, np.uint64), *map(hashes_of, chunks)])
    found: np.ndarray = hashes % np.uint64(every) == 0
    return found


class ShardWriter:
    """One config's rows as `part-NNNNN.parquet`, later `train-NNNNN-of-NNNNN.parquet`.

    Args:
        folder: of the dataset.
        table: the config.
        schema: of the rows, if it has more columns than the table.
        first: number of the first shard.

    Shards are ended by the caller, so that those of two configs can hold the same images.
    """

    def __init__(
        self, folder: Path, table: Table, schema: pa.Schema | None = None, *, first: int = 0
    ) -> None:
        self._folder = folder / table.folder
        self._schema = schema or table.schema()
        self._first = first
        self._rows_per_group = table.rows_per_group
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []
        self._num_pending = 0
        self._in_shard = 0
        self._digest = ShardDigest()
        self.shards: list[Shard] = []

    def write(self, table: pa.Table) -> None:
        """Append rows to the shard; the schema must be the config's own."""
        if not table.schema.equals(self._schema):
            raise ValueError(f"schema differs from {self._folder.name}: {table.schema}")
        self._in_shard += len(table)
        most = min(self._rows_per_group or ROWS_PER_GROUP, ROWS_PER_GROUP)
        least = max(most // 4, 1)
        places = np.flatnonzero(begins(table.column(0), max(most // 2, 1)))
        start = -self._num_pending  # of the group, counted from this table's first row
        # Whatever the batches were, groups end at the same rows: equal rows give equal files.
        while True:
            later = places[np.searchsorted(places, start + least) :]
            end = min(int(later[0]) if len(later) else len(table) + 1, start + most)
            if end > len(table):
                break
            self._pending.append(table.slice(max(start, 0), end - max(start, 0)))
            self._write_group()
            start = end
        self._pending.append(table.slice(max(start, 0)))
        self._num_pending = len(table) - start

    def _write_group(self) -> None:
        """Write what is pending, possibly nothing, as a group of rows."""
        group = pa.concat_tables(self._pending or [self._schema.empty_table()])
        self._pending = []  # not needed beside its copy
        group = group.combine_chunks()
        if self._writer is None:
            self._folder.mkdir(exist_ok=True)
            self._writer = pq.ParquetWriter(
                self._path(), self._schema, **_parquet_options(self._schema)
            )
        self._digest.update(group)
        self._writer.write_table(group, row_group_size=max(len(group), 1))
        del group
        pa.default_memory_pool().release_unused()  # which keeps a quarter of what it ever had

    def _path(self) -> Path:
        return self._folder / f"part-{self._first + len(self.shards):05d}.parquet"

    def end_shard(self) -> Path:
        """Write what is left and close the file; the next rows begin another one."""
        path = self._path()
        if self._num_pending or self._writer is None:
            self._write_group()
        if self._writer is not None:
            # `datasets` and the Hub know such files by this key.
            self._writer.add_key_value_metadata({"content_defined_chunking": json.dumps(CHUNKS)})
            self._writer.close()
        digest = self._digest
        self.shards.append(Shard(self._in_shard, digest.num_bytes, digest.hexdigest()))
        self._writer, self._num_pending = None, 0
        self._in_shard, self._digest = 0, ShardDigest()
        return path

    def close(self) -> None:
        """End the last shard, if any rows are in it, and give all shards their final names."""
        if self._in_shard or not self.shards:
            self.end_shard()
        name_shards(self._folder)

    @property
    def num_rows(self) -> int:
        """Rows of all ended shards."""
        return sum(shard.num_rows for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Bytes of those rows in memory."""
        return sum(shard.num_bytes for shard in self.shards)


def name_shards(folder: Path) -> None:
    """Give all parts in a config's folder their final names, which say how many there are."""
    parts = sorted(folder.glob("part-*.parquet"))
    for path in parts:
        number = path.stem.removeprefix("part-")
        path.rename(path.with_name(f"train-{number}-of-{len(parts):05d}.parquet"))


class Unlabelled:
    """Shards of `default` that wait on disk for `label`: it needs every class of the log.

    Args:
        folder: to write to, an Arrow file for each shard that they will become; made here.

    Attributes:
        num_shards: ended, or begun.
        wnids: classes of all rows so far.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self.num_shards = 0
        self.wnids: set[str] = set()

    def _path(self, shard: int) -> Path:
        return self._folder / f"{shard:05d}.arrow"

    def write(self, table: pa.Table) -> None:
        """Append rows to the shard."""
        if self._writer is None:
            self._folder.mkdir(exist_ok=True)
            # Not compressed: .8 kB an image for some seconds, and 3 % of a conversion's time.
            self._writer = pa.ipc.new_file(str(self._path(self.num_shards)), table.schema)
            self.num_shards += 1
        self._writer.write_table(table)
        self.wnids.update(table["wnid"].unique().to_pylist())

    def end_shard(self) -> None:
        """Close the file; the next rows begin another one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def read(self, shard: int) -> Iterator[pa.Table]:
        """The rows of a shard again, in order, a batch at a time."""
        with pa.OSFile(str(self._path(shard))) as file, pa.ipc.open_file(file) as reader:
            for number in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(number)])

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder)
