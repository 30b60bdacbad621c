"""Loader processes that nobody need know of: their errors and their end are those of the run."""

from __future__ import annotations

import functools
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch.utils.data import DataLoader

from luab_data.errors import ImagesError

_B = TypeVar("_B")


def batches(loader: DataLoader[_B]) -> Iterator[_B]:
    """The batches of a loader. An ImagesError says what it said where it was raised: torch puts the
    traceback of the loader process before it.
    """
    try:
        yield from loader
    except ImagesError as error:
        said = re.split(r"^[\w.]*ImagesError: ", str(error), flags=re.MULTILINE)[-1].strip()
        raise ImagesError(said) from error


def worker_setup() -> Callable[[int], None]:
    """The `worker_init_fn` of a loader of this process: one thread each, for there are as many of
    them as there are cores; and they leave at a SIGTERM of this process alone. Clusters send it to
    all processes of a job, and a run could not finish its update if its loader left first.
    """
    return functools.partial(_set_up, os.getpid())


def _set_up(run: int, worker: int) -> None:
    torch.set_num_threads(1)
    # Elsewhere (macOS) a process cannot tell who sent a signal.
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_leave_when_asked_by, args=(run,), daemon=True).start()


def _leave_when_asked_by(run: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != run:
        pass
    os._exit(0)
