"""[I/O] Rows that lack a column yet: `label` needs every class of the log to be known.

They wait on disk as Arrow, a file a shard, like the shards they will become.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from luab_data.store.journal import HIDDEN


class WaitingRows:
    """Shards of a table under a hidden name, written once and read back in order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self._schema: pa.Schema | None = None
        self.num_shards = 0

    def resume(self, num_shards: int) -> None:
        """Go on after shards that an earlier process wrote."""
        self.num_shards = num_shards

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self._folder / f"{HIDDEN}waiting-{shard:05d}.arrow"

    def write(self, table: pa.Table) -> None:
        """Append rows to the shard."""
        if self._writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            path = str(self.path(self.num_shards))
            self._writer = pa.ipc.new_file(path, table.schema, options=options)
        self._writer.write_table(table)

    def end_shard(self) -> Path:
        """Close the file; the next rows begin another one."""
        path = self.path(self.num_shards)
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self.num_shards += 1
        return path

    def close(self) -> None:
        """Close what is open, as after an error."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def read(self, shard: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows of a shard again, in order, a batch at a time."""
        with pa.OSFile(str(self.path(shard))) as file, pa.ipc.open_file(file) as reader:
            for number in range(reader.num_record_batches):
                table = pa.Table.from_batches([reader.get_batch(number)])
                yield table.select(columns) if columns else table
