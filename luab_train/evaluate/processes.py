"""One process, or several of torchrun that share the images and tell one another what they found.

All of them run the same program and hold the same model. Work is dealt by whole batches, so that
each image meets the same others as in one process, and its answer is the same to the bit.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from luab_data.errors import LuabError

T = TypeVar("T")


def join() -> None:
    """Meet the other processes, if torchrun started any; each takes the GPU of its number."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    # Results are exchanged, never gradients; a slow disk may keep one waiting for long.
    dist.init_process_group("gloo", timeout=timedelta(hours=12))
    # Threads of gloo that are alive at the end of the interpreter may abort a process that is done.
    atexit.register(dist.destroy_process_group)


def rank() -> int:
    """Number of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def mine(items: Sequence[T]) -> Sequence[T]:
    """This process's share: every `world`-th."""
    return items[rank() :: world()]


def everyone(work: Callable[[], T]) -> list[T]:
    """What each process's work came to, in every process; an error of one is an error of all."""
    found: tuple[T | None, LuabError | None]
    try:
        found = (work(), None)
    except LuabError as error:
        if world() == 1:
            raise
        found = (None, error)
    every = [found]
    if world() > 1:
        every = [found] * world()
        dist.all_gather_object(every, found)
    for _, failure in every:
        if failure is not None:
            raise failure
    return [value for value, _ in every]  # type: ignore[misc]


def first(work: Callable[[], T]) -> T:
    """Done by one process for all: what it came to, or its error, is every process's."""
    return everyone(lambda: work() if rank() == 0 else None)[0]  # type: ignore[return-value]
