"""[I/O] From batches of records in the order of the log to committed shards.

Shared by both converters. Threads may make batches in any order; `in_order` gives them back in
theirs. `Build` applies the policy for bad records, drops duplicates, cuts shards that hold the same
images in both configs, and commits each to the journal.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from luab_data.errors import RecordError
from luab_data.ragged import Bools, Ints
from luab_data.raw.policy import BadRecords, SeenIds
from luab_data.raw.source import Source
from luab_data.raw.workers import WorkerHash
from luab_data.store.folder import IMAGES_PER_SHARD, Shard, ShardWriter
from luab_data.store.journal import Journal
from luab_data.store.waiting import WaitingRows

T = TypeVar("T")
R = TypeVar("R")

MAX_THREADS = 4
"""One reader keeps up with about this many."""

MAX_WRITES = 2
"""Batches that wait for the thread that encodes Parquet."""


def num_threads() -> int:
    """Processors this process may use, at most MAX_THREADS."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return min(len(affinity(0)) if affinity else os.cpu_count() or 1, MAX_THREADS)


def in_order(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """map() with threads: results in the order of the items, few of them ahead of the reader.

    If `items` raises, the results of the items before come first.
    """
    source = iter(items)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception:
                    while waiting:
                        yield waiting.popleft().result()
                    raise
                waiting.append(pool.submit(work, item))
                del item  # a run is large: only its worker holds it
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Batch(NamedTuple):
    """Some images in the order of the log. A place is the index of a record in the log."""

    images: pa.Table  # (num_images,) rows of `default`
    rows: pa.Table  # (num_rows,) rows of `rounds` or `actions`, in the order of the images
    bounds: Ints  # (num_images + 1,) image i has the rows bounds[i]:bounds[i + 1]
    places: Ints  # (num_images,)
    names: list[str]  # (num_images,) what errors call each record
    errors: list[tuple[int, RecordError]]  # by place, ascending
    unknown: list[tuple[int, str]]  # what the schema does not know, by place

    def split(self, count: int) -> tuple[Batch, Batch]:
        """The first `count` images with all that came before the next one's place, and the rest."""
        last = self.places[count - 1]
        row = int(self.bounds[count])
        head = Batch(
            self.images.slice(0, count),
            self.rows.slice(0, row),
            self.bounds[: count + 1],
            self.places[:count],
            self.names[:count],
            [entry for entry in self.errors if entry[0] <= last],
            [entry for entry in self.unknown if entry[0] <= last],
        )
        tail = Batch(
            self.images.slice(count),
            self.rows.slice(row),
            self.bounds[count:] - row,
            self.places[count:],
            self.names[count:],
            [entry for entry in self.errors if entry[0] > last],
            [entry for entry in self.unknown if entry[0] > last],
        )
        return head, tail

    def without(self, duplicate: Bools) -> Batch:
        """Without the flagged images (num_images,), which become errors."""
        if not duplicate.any():
            return self
        ids = self.images["image_id"].to_pylist()
        errors = [
            (int(self.places[i]), duplicate_error(self.names[i], ids[i]))
            for i in np.flatnonzero(duplicate).tolist()
        ]
        counts = np.diff(self.bounds)
        keep = pa.array(~duplicate)
        return Batch(
            self.images.filter(keep),
            self.rows.filter(pa.array(np.repeat(~duplicate, counts))),
            np.concatenate([[0], np.cumsum(counts[~duplicate])]),
            self.places[~duplicate],
            [name for name, twice in zip(self.names, duplicate, strict=True) if not twice],
            sorted([*self.errors, *errors], key=lambda entry: entry[0]),
            self.unknown,
        )


def duplicate_error(where: str, image_id: object) -> RecordError:
    """A record of an image that had one before."""
    return RecordError(where, "duplicate", f"image {image_id} was there before; the first holds")


class Build:
    """Takes batches and writes shards of two configs that hold the same images.

    A context: a thread of its own does the writing, so that reading goes on meanwhile.

    Args:
        dataset: its name.
        journal: of the staging folder; its commits are taken over.
        images, rows: writers of the two configs; the images may have to wait for a column.
        bad: the policy; what it listed before the interruption is taken over.
        log: where the records come from.
        hash_worker: what it learnt of the ids before the interruption is taken over.

    `next_place` is the first record that nothing of is written yet; it never runs ahead of the rows
    and errors that were written. `log.num_read` does: records wait to be parsed.
    """

    def __init__(
        self,
        dataset: str,
        journal: Journal,
        images: ShardWriter | WaitingRows,
        rows: ShardWriter,
        bad: BadRecords,
        log: Source,
        hash_worker: WorkerHash,
    ) -> None:
        self._size = IMAGES_PER_SHARD[dataset]
        self._journal = journal
        self._images = images
        self._rows = rows
        self._bad = bad
        self._log = log
        self._hash_worker = hash_worker
        self._seen = SeenIds()
        self._in_shard = 0
        self.num_images = 0
        self.num_resumed = 0
        self.next_place = 0
        self.unknown: Counter[str] = Counter()
        self._thread = ThreadPoolExecutor(1)
        self._writes: deque[Future[None]] = deque()
        if journal.commits:
            self._resume()

    def __enter__(self) -> Build:
        return self

    def __exit__(self, *error: object) -> None:
        # Nothing is written any more once the block has ended, well or not.
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _resume(self) -> None:
        last = self._journal.commits[-1]
        self.next_place = last["next_place"]
        self.unknown = Counter(last["unknown"])
        self.num_images = self.num_resumed = last["num_images"]
        self._bad.resume(last["skipped"])
        self._hash_worker.only_release_ids &= last["only_release_ids"]
        self._rows.resume([Shard(**commit["rows"]) for commit in self._journal.commits])
        count = len(self._journal.commits)
        if isinstance(self._images, WaitingRows):
            self._images.resume(count)
            tables = (t for k in range(count) for t in self._images.read(k, ["image_id"]))
        else:
            self._images.resume([Shard(**commit["images"]) for commit in self._journal.commits])
            tables = (pq.read_table(path, columns=["image_id"]) for path in self._images.paths())
        for table in tables:
            for image_id in table["image_id"].to_pylist():
                self._seen.add(image_id)

    def take(self, batch: Batch) -> None:
        """Write a batch; the next one begins where it ends."""
        ids = batch.images["image_id"].to_pylist()
        batch = batch.without(~np.array([self._seen.add(i) for i in ids], bool))
        while self._in_shard + len(batch.images) >= self._size:
            head, batch = batch.split(self._size - self._in_shard)
            self._write(head)
            self._commit()
        self._write(batch)

    def _write(self, batch: Batch) -> None:
        for _, error in batch.errors:
            self._bad(error)
        self.unknown.update(path for _, path in batch.unknown)
        if len(batch.images):
            self._writes.append(self._thread.submit(self._store, batch.images, batch.rows))
            self._settle(MAX_WRITES)
            self._in_shard += len(batch.images)
            self.num_images += len(batch.images)
        places = [p for p, _ in (*batch.errors, *batch.unknown)]
        self.next_place = max([self.next_place - 1, *batch.places[-1:].tolist(), *places]) + 1

    def _store(self, images: pa.Table, rows: pa.Table) -> None:
        self._images.write(images)
        self._rows.write(rows)

    def _settle(self, allowed: int = 0) -> None:
        """Wait until at most so many writes are left; raises what a write raised."""
        while len(self._writes) > allowed:
            self._writes.popleft().result()

    def _commit(self) -> None:
        self._settle()
        files = [self._images.end_shard(), self._rows.end_shard()]
        if self._bad.report.exists():
            files.append(self._bad.report)
        state: dict[str, Any] = {
            "next_place": self.next_place,
            "num_images": self.num_images,
            "rows": asdict(self._rows.shards[-1]),
            "skipped": dict(self._bad.tally),
            "unknown": dict(self.unknown),
            "only_release_ids": self._hash_worker.only_release_ids,
            "source": [self._log.num_read, self._log.sha256],
        }
        if isinstance(self._images, ShardWriter):
            state["images"] = asdict(self._images.shards[-1])
        self._journal.commit(files, state)
        self._in_shard = 0

    def end(self) -> None:
        """Commit the last shard."""
        if self._in_shard:
            self._commit()
