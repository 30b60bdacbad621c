"""[I/O] Views of one image side by side, however far apart they are in the log."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.ragged import Ints

VIEWS_AT_ONCE = 4096
"""Views that are looked at together, or those of one image if they are more."""


class Grouped(NamedTuple):
    """Some images with all their views, in the order in which the log first has the images."""

    table: pa.Table  # (num_views,) views of an image side by side, in the order of the log
    bounds: Ints  # (num_images + 1,) image i has the views bounds[i]:bounds[i + 1]


def grouped(
    tables: Iterable[pa.Table], names: tuple[str, ...], file: Path
) -> Generator[Grouped, None, None]:
    """The rows of tables of one schema, those of one image together.

    Args:
        tables: in the order of the log; read to their end before the first group comes.
        names: columns of text that together name an image; null is a value.
        file: where the rows wait, made and removed here.
    """
    ranks: dict[tuple[str | None, ...], int] = {}
    found: list[Ints] = []
    starts = [0]
    writer: pa.ipc.RecordBatchFileWriter | None = None
    try:
        for table in tables:
            if not len(table):
                continue
            if writer is None:
                writer = pa.ipc.new_file(str(file), table.schema)
            (batch,) = table.combine_chunks().to_batches()
            writer.write_batch(batch)
            keys = zip(*(batch[name].to_pylist() for name in names), strict=True)
            found.append(np.array([ranks.setdefault(key, len(ranks)) for key in keys]))
            starts.append(starts[-1] + len(batch))
        if writer is None:
            return
        writer.close()
        yield from _read(file, np.concatenate(found), np.array(starts), len(ranks))
    finally:
        file.unlink(missing_ok=True)


def _read(file: Path, ranks: Ints, starts: Ints, num_images: int) -> Iterator[Grouped]:
    """The rows of the file by the rank (num_views,) of their image; batches begin at `starts`."""
    order = np.argsort(ranks, kind="stable")
    ends = np.cumsum(np.bincount(ranks, minlength=num_images))
    # Mapped, not read: what is taken is copied, the rest stays on the disk.
    with pa.memory_map(str(file)) as mapped, pa.ipc.open_file(mapped) as reader:
        first = 0
        while first < num_images:
            start = int(ends[first - 1]) if first else 0
            last = max(int(np.searchsorted(ends, start + VIEWS_AT_ONCE, "right")), first + 1)
            rows = order[start : int(ends[last - 1])]
            bounds = np.concatenate([[0], ends[first:last] - start])
            yield Grouped(_taken(reader, rows, starts), bounds)
            first = last


def _taken(reader: pa.ipc.RecordBatchFileReader, rows: Ints, starts: Ints) -> pa.Table:
    """Some rows of a file by their number, in that order."""
    batch = np.searchsorted(starts, rows, "right") - 1
    by_batch = np.argsort(batch, kind="stable")
    some = [
        reader.get_batch(number).take(pa.array(rows[batch == number] - starts[number]))
        for number in np.unique(batch).tolist()
    ]
    table = pa.Table.from_batches(some)
    if (np.diff(by_batch) > 0).all():
        return table
    back = np.empty(len(rows), np.int64)
    back[by_batch] = np.arange(len(rows))
    return table.take(pa.array(back)).combine_chunks()
