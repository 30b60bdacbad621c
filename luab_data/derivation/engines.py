"""Where shards are derived: threads of this process, or tasks of a Ray cluster.

Both run derive_shard on every pair of shards and differ in nothing else, so their results are
equal. Ray (extra `[ray]`) pays when one machine is not enough; docs/engines.md says when that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from typing import Any, Literal

import pyarrow as pa

from luab_data.columns.icons import Truth
from luab_data.console import install_command, progress
from luab_data.derivation.shard import Job, Written, derive_shard
from luab_data.errors import LuabError, OptionError
from luab_data.pipeline import in_order, num_threads
from luab_data.store.shards import Shard

Engine = Literal["local", "ray"]


def run(job: Job, truth: Truth | None, engine: Engine, *, shown: bool | None) -> list[Written]:
    """Derive every shard of a job.

    Args:
        truth: the instances file; None if no column of the job needs it.
        engine: `local` or `ray`.
        shown: a progress bar; None shows it on a terminal.
    Returns: what was written, in order of the shards.

    Raises:
        OptionError: Ray is asked for and not installed.
    """
    done = _local(job, truth) if engine == "local" else _ray(job, truth)
    bar = progress(done, what="derive", total=job.num_shards, unit="shard", shown=shown)
    return sorted(bar, key=lambda written: written.number)


def _local(job: Job, truth: Truth | None) -> Iterator[Written]:
    numbers = range(job.num_shards)
    yield from in_order(lambda number: derive_shard(job, number, truth), numbers, num_threads())


class _DeriveShards:
    """A worker of Ray Data: numbers of shards in, what was written out."""

    def __init__(self, job: Job, truth: Any) -> None:
        self._job = job
        self._truth = _fetched(truth)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = []
        for number in batch["number"].to_pylist():
            try:
                written = derive_shard(self._job, number, self._truth)
                rows.append({**asdict(written.shard), "sha256": written.sha256, "error": ""})
            except LuabError as error:  # an answer, not a crash that Ray would try again
                empty = {"num_rows": 0, "num_bytes": 0, "digest": "", "sha256": ""}
                rows.append({**empty, "error": f"{type(error).__name__}:{error}"})
            rows[-1]["number"] = number
        return pa.Table.from_pylist(rows)


def _fetched(truth: Any) -> Truth | None:
    """The ground truth out of Ray's object store: once a worker, not once a shard."""
    if truth is None:
        return None
    found: Truth = import_module("ray").get(truth)
    return found


def _ray(job: Job, truth: Truth | None) -> Iterator[Written]:
    try:
        data, ray = import_module("ray.data"), import_module("ray")
    except ImportError as error:
        raise OptionError(
            f"--engine ray needs Ray, which is not installed ({error}):"
            f" {install_command('ray')}, or leave --engine out"
        ) from None
    with _cluster(ray):
        shared = None if truth is None else ray.put(truth)
        cores = int(ray.cluster_resources().get("CPU", 1))
        rows = (
            data.from_items(
                [{"number": number} for number in range(job.num_shards)],
                override_num_blocks=job.num_shards,
            )
            .map_batches(
                _DeriveShards,
                fn_constructor_args=(job, shared),
                batch_format="pyarrow",
                batch_size=1,
                compute=data.ActorPoolStrategy(
                    min_size=1, max_size=max(1, min(cores, job.num_shards))
                ),
            )
            .iter_rows()
        )
        yield from _written(rows)


def _written(rows: Iterable[dict[str, Any]]) -> Iterator[Written]:
    for row in rows:
        if row["error"]:
            raise _same_error(row["error"])
        shard = Shard(row["num_rows"], row["num_bytes"], row["digest"])
        yield Written(row["number"], shard, row["sha256"])


def _same_error(text: str) -> LuabError:
    """A worker's error as the class it was: its fields would not survive the way here."""
    from luab_data import errors

    name, _, message = text.partition(":")
    found = getattr(errors, name, LuabError)
    try:
        same: LuabError = found(message)
        return same
    except TypeError:  # a class that wants more than a message
        return LuabError(message)


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """The cluster this process is in, else the one of $RAY_ADDRESS, else one of this machine."""
    if ray.is_initialized():
        yield
        return
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()
