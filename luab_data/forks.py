"""[I/O] Parsing in forked processes: what threads do, without waiting for one another.

Parsing a run is thousands of short NumPy and Arrow calls, and threads queue for the interpreter
between them: two did 1.2 times the work of one, two processes 1.7 times (8 runs, 2 cores).
Forking is for a process of our own, the `luab-data convert` command; a library that is called in
somebody's process uses threads (pipeline.in_order).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from luab_data.batches import Batch
from luab_data.errors import StoppedError
from luab_data.pipeline import in_order
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
        global _work
        _work = work, hash_worker  # children have it by the fork, and need not be sent it
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
        try:
            for batch, only_release_ids in in_order(_call, items, self._count, self._pool):
                self._hash_worker.only_release_ids &= only_release_ids
                yield batch
        except BrokenProcessPool as error:
            raise StoppedError(
                "a parsing process was killed, or ran out of memory. Nothing was changed; run the"
                " same command again"
            ) from error


_work: tuple[Callable[[Run], Batch], WorkerHash]


def _begin() -> None:
    """In a child: Ctrl-C is for the process that writes, and nobody outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _call(run: Run) -> tuple[Batch, bool]:
    work, hash_worker = _work
    return work(run), hash_worker.only_release_ids
