"""[I/O] Parsing in forked processes: what threads do, without waiting for one another.

Parsing a run is thousands of short NumPy and Arrow calls, and threads queue for the interpreter
between them: two did 1.2 times the work of one, two processes 1.7 times (8 runs, 2 cores).
Forking is for a process of our own, the `luab-data convert` command; a library that is called in
somebody's process uses threads (pipeline.in_order).

Each process has a piece of shared memory of its own, in which a run lies and then its result; pipes
carry only lengths, so that nobody ever waits to be read.
"""

from __future__ import annotations

import mmap
import multiprocessing
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.errors import StoppedError
from luab_data.pipeline import Batch
from luab_data.raw.tar import RUN_BYTES, SPARE_BYTES, Run
from luab_data.raw.worker_ids import WorkerHash

_HEAD_BYTES = 2**20  # names and places of a run's members
_RESULT_BYTES = RUN_BYTES  # columns take about a third of the text they are from


def can_fork() -> bool:
    """Whether this system forks safely: macOS's own libraries do not bear it."""
    return sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()


class _Worker(NamedTuple):
    process: Any
    pipe: Connection
    memory: mmap.mmap


class Forks:
    """Processes that do one piece of work on runs; a context, entered before anything is open.

    Args:
        work: a run -> its batch, worker ids hashed by hash_worker.
        count: processes.
        hash_worker: what it learns of ids in another process comes home.
    """

    def __init__(self, work: Callable[[Run], Batch], count: int, hash_worker: WorkerHash) -> None:
        self._work = work
        self._hash_worker = hash_worker
        self._workers: list[_Worker] = []
        context = multiprocessing.get_context("fork")
        for _ in range(count):
            here, there = context.Pipe()
            memory = mmap.mmap(-1, _HEAD_BYTES + RUN_BYTES + SPARE_BYTES + _RESULT_BYTES)
            # A child has no use for the other ends of pipes; with them it would outlive us.
            ends = [*(worker.pipe for worker in self._workers), here]
            process = context.Process(
                target=_serve, args=(there, ends, memory, work, hash_worker), daemon=True
            )
            process.start()
            there.close()
            self._workers.append(_Worker(process, here, memory))

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.pipe.close()  # the end of its work
        for worker in self._workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []

    def in_order(self, items: Iterable[Run]) -> Iterator[Batch]:
        """The batches of the runs, in their order; as pipeline.in_order."""
        waiting: deque[Batch | _Worker] = deque()  # done, or still with a worker
        source, free = iter(items), list(self._workers)
        failure: Exception | None = None
        while failure is None:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:  # what was read before it comes first
                failure = error
                break
            head = pickle.dumps(item[1:])
            if len(head) > _HEAD_BYTES or len(item.data) > RUN_BYTES + SPARE_BYTES:
                waiting.append(self._work(item))  # a run with a very large member
                while len(waiting) > 2 * len(self._workers):
                    found = waiting.popleft()
                    if isinstance(found, _Worker):
                        free.append(found)
                        found = self._receive(found)
                    yield found
                continue
            done: list[Batch] = []
            while not free:
                found = waiting.popleft()
                if isinstance(found, _Worker):
                    done.append(self._receive(found))
                    free.append(found)
                else:
                    done.append(found)
            worker = free.pop()
            _send(worker, head, item.data)  # before its last result is used: it works meanwhile
            waiting.append(worker)
            yield from done
        for found in waiting:
            yield self._receive(found) if isinstance(found, _Worker) else found
        if failure is not None:
            raise failure

    def _receive(self, worker: _Worker) -> Batch:
        try:
            size, failure = worker.pipe.recv()
            if failure:
                raise RuntimeError(f"a parsing process failed:\n{failure}")
            data = worker.pipe.recv_bytes() if size < 0 else _result(worker.memory)[:size].tobytes()
        except (EOFError, ConnectionError) as error:
            worker.process.join(timeout=5)
            code = worker.process.exitcode
            raise StoppedError(
                f"a parsing process ended with exit code {code}: out of memory, or killed. Nothing"
                " was changed; run the same command again"
            ) from error
        batch, only_release_ids = _unpacked(data)
        self._hash_worker.only_release_ids &= only_release_ids
        return batch


def _send(worker: _Worker, head: bytes, data: np.ndarray) -> None:
    memory = np.frombuffer(worker.memory, np.uint8)
    memory[: len(head)] = np.frombuffer(head, np.uint8)
    memory[_HEAD_BYTES : _HEAD_BYTES + len(data)] = data
    worker.pipe.send((len(head), len(data)))


def _result(memory: mmap.mmap) -> np.ndarray:
    return np.frombuffer(memory, np.uint8)[_HEAD_BYTES + RUN_BYTES + SPARE_BYTES :]


def _serve(
    pipe: Connection,
    ends: list[Connection],
    memory: mmap.mmap,
    work: Callable[[Run], Batch],
    hash_worker: WorkerHash,
) -> None:
    """Work on runs until the pipe is closed, or until the other process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that writes
    for end in ends:
        end.close()
    with suppress(EOFError, OSError):  # the other process has ended the work, or is gone
        while True:
            _serve_one(pipe, memory, work, hash_worker)


def _serve_one(
    pipe: Connection,
    memory: mmap.mmap,
    work: Callable[[Run], Batch],
    hash_worker: WorkerHash,
) -> None:
    head_size, data_size = pipe.recv()
    shared = np.frombuffer(memory, np.uint8)
    try:
        members = pickle.loads(shared[:head_size].tobytes())
        run = Run(shared[_HEAD_BYTES : _HEAD_BYTES + data_size], *members)
        data = _packed(work(run), hash_worker.only_release_ids)
    except Exception:
        pipe.send((0, traceback.format_exc()))
        return
    if len(data) <= _RESULT_BYTES:
        _result(memory)[: len(data)] = np.frombuffer(data, np.uint8)
        pipe.send((len(data), ""))
    else:
        pipe.send((-1, ""))
        pipe.send_bytes(data)


def _packed(batch: Batch, state: bool) -> bytes:
    """A batch as bytes: Arrow's own format for tables, pickle for the rest."""
    rest = pickle.dumps((*batch[2:], state))
    sink = pa.BufferOutputStream()
    sink.write(len(rest).to_bytes(8, "little") + rest)
    for table in batch[:2]:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


def _unpacked(data: bytes) -> tuple[Batch, bool]:
    size = int.from_bytes(data[:8], "little")
    *rest, state = pickle.loads(data[8 : 8 + size])
    source = pa.BufferReader(pa.py_buffer(data))
    source.seek(8 + size)
    images, rows = (pa.ipc.open_stream(source).read_all() for _ in range(2))
    return Batch(images, rows, *rest), state
