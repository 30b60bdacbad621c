"""[I/O] Parsing in forked processes: what threads do, without waiting for one another.

Parsing a run is thousands of short NumPy and Arrow calls, and threads queue for the interpreter
between them: two did 1.2 times the work of one, two processes 1.7 times (8 runs, 2 cores).
Forking is for a process of our own, the `luab-data convert` command; a library that is called in
somebody's process uses threads (pipeline.in_order).

A run of 12 MB and the tables made of it lie in memory that the processes share, and pipes carry the
rest: through a pipe each byte is copied six times, a tenth of a conversion's time.
"""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.ma  # pyarrow looks for masked arrays: imported here once, not in every process
import pyarrow as pa

from luab_data.errors import StoppedError
from luab_data.pipeline import Batch, in_order
from luab_data.raw import tar
from luab_data.raw.tar import Run
from luab_data.raw.worker_ids import WorkerHash

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def can_fork() -> bool:
    """Whether this system forks safely: macOS's own libraries do not bear it."""
    return sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()


class Forks:
    """Processes that do one piece of work on runs; a context, entered before anything is open.

    Args:
        work: a run -> its batch, worker ids hashed by hash_worker.
        count: processes.
        hash_worker: what it learns of ids in another process comes home.
    """

    def __init__(self, work: Callable[[Run], Batch], count: int, hash_worker: WorkerHash) -> None:
        global _inherited
        # As many as in_order has under way, and twice the run's size: a table has a third of it.
        size = 2 * (tar.RUN_BYTES + tar.SPARE_BYTES)
        self._rooms = [mmap.mmap(-1, size) for _ in range(count + 1)]
        _inherited = _Inherited(work, hash_worker, self._rooms)
        self._hash_worker = hash_worker
        self._count = count
        self._pool = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _begin)
        self._pool.submit(int).result()  # all fork now

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, and give back what their messages took."""
        self._pool.shutdown(cancel_futures=True)
        with suppress(AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)

    def in_order(self, items: Iterable[Run]) -> Iterator[Batch]:
        """The batches of the runs, in their order; as pipeline.in_order."""
        sent = (self._send(number % len(self._rooms), run) for number, run in enumerate(items))
        try:
            for done in in_order(_call, sent, self._count, self._pool):
                self._hash_worker.only_release_ids &= done.only_release_ids
                yield self._receive(done)
        except BrokenProcessPool as error:
            raise StoppedError(
                "a parsing process was killed, or ran out of memory. Nothing was changed; run the"
                " same command again"
            ) from error

    def _send(self, room: int, run: Run) -> _Sent:
        size = len(run.data)
        if 2 * size > len(self._rooms[room]):  # a run with a very large member
            return _Sent(room, 0, run)
        np.frombuffer(self._rooms[room], np.uint8)[:size] = run.data
        return _Sent(room, size, run._replace(data=_NO_DATA))

    def _receive(self, done: _Done) -> Batch:
        if not done.size:
            return Batch(*done.batch)
        start = len(self._rooms[done.room]) // 2
        # A copy, since the next run but few will lie there.
        source = pa.BufferReader(self._rooms[done.room][start : start + done.size])
        tables = (pa.ipc.open_stream(source).read_all() for _ in range(2))
        return Batch(*tables, *done.batch)


class _Inherited(NamedTuple):
    """What children have by the fork, and need not be sent."""

    work: Callable[[Run], Batch]
    hash_worker: WorkerHash
    rooms: list[mmap.mmap]


class _Sent(NamedTuple):
    room: int
    size: int  # of the run's data at the start of the room; 0 if it is in the run
    run: Run


class _Done(NamedTuple):
    room: int
    size: int  # of the tables in the second half of the room; 0 if they are in the batch
    batch: tuple[Any, ...]
    only_release_ids: bool


_NO_DATA = np.zeros(0, np.uint8)
_inherited: _Inherited


def _begin() -> None:
    """In a child: Ctrl-C is for the process that writes, and nobody outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _call(sent: _Sent) -> _Done:
    room, run = _inherited.rooms[sent.room], sent.run
    if sent.size:
        run = run._replace(data=np.frombuffer(room, np.uint8)[: sent.size])
    batch = _inherited.work(run)
    size, rest = _stored(batch, room)
    return _Done(sent.room, size, rest, _inherited.hash_worker.only_release_ids)


def _stored(batch: Batch, room: mmap.mmap) -> tuple[int, tuple[Any, ...]]:
    """The size of the batch's tables in the room, and what is left to send."""
    sink = pa.FixedSizeBufferWriter(pa.py_buffer(memoryview(room)[len(room) // 2 :]))
    try:
        for table in batch[:2]:
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
    except OSError:  # no room
        return 0, batch
    return sink.tell(), batch[2:]
