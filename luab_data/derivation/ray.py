"""Shards as tasks of a Ray cluster, for when one machine is not enough (extra `[ray]`).

docs/engines.md says when that is. Each task is derive_shard, so the result is that of one machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from luab_data import errors
from luab_data.columns.icons import Truth
from luab_data.console import install_command
from luab_data.derivation.shard import Job, Written, derive_shard
from luab_data.errors import LuabError, OptionError


def derive_on_ray(job: Job, truth: Truth | None) -> Iterator[Written]:
    """Derive every shard of a job, in any order.

    Raises:
        OptionError: Ray is not installed.
    """
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise OptionError(
            f"--engine ray needs Ray, which is not installed ({error}):"
            f" {install_command('ray')}, or leave --engine out"
        ) from None
    with _cluster(ray):
        task = ray.remote(_answer)
        shared = ray.put(truth)  # sent once to a machine, not once for each shard
        waiting = [task.remote(job, number, shared) for number in range(job.num_shards)]
        while waiting:
            (done,), waiting = ray.wait(waiting, num_returns=1)
            found = ray.get(done)
            if isinstance(found, Written):
                yield found
            else:
                raise getattr(errors, found[0], LuabError)(found[1])


def _answer(job: Job, number: int, truth: Truth | None) -> Written | tuple[str, str]:
    """What was written, or the name and words of our error: no crash that Ray would try again."""
    try:
        return derive_shard(job, number, truth)
    except LuabError as error:
        return type(error).__name__, str(error)


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
