"""Loader processes that nobody need know of: their errors and their end are those of the run."""

from __future__ import annotations

import functools
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator

from torch.utils.data import DataLoader

from luab_data.errors import ImagesError
from luab_train.data.loader import Batch


def batches(loader: DataLoader[Batch]) -> Iterator[Batch]:
    """The batches of a loader. An ImagesError says what it said where it was raised: torch puts the
    traceback of the loader process before it.
    """
    try:
        yield from loader
    except ImagesError as error:
        said = re.split(r"^[\w.]*ImagesError: ", str(error), flags=re.MULTILINE)[-1].strip()
        raise ImagesError(said) from error


def obey_the_run_alone(loader: DataLoader[Batch]) -> None:
    """Make the loader's processes leave at a SIGTERM of the run alone. Clusters send it to all
    processes of a job, and the run could not finish its update if its loader left first.
    """
    # Elsewhere (macOS) a process cannot tell who sent a signal.
    if loader.num_workers and hasattr(signal, "sigwaitinfo"):
        loader.worker_init_fn = functools.partial(_obey_alone, os.getpid(), loader.worker_init_fn)


def _obey_alone(run: int, then: Callable[[int], None] | None, worker: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_leave_when_asked_by, args=(run,), daemon=True).start()
    if then is not None:
        then(worker)


def _leave_when_asked_by(run: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != run:
        pass
    os._exit(0)
