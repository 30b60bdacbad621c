"""SIGTERM and Ctrl-C ask a run to save itself and leave; clusters send the first before they take a
machine.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import click
import torch
from accelerate import Accelerator
from accelerate.utils import gather

from luab_data.errors import StoppedError
from luab_train.train.checkpoints import Position

# Processes of a run ask one another only now and then: it takes a message and waits for the device.
_ASK_EVERY = 20


class Terminated(StoppedError):
    """The run was asked to stop, and saved itself."""

    def __init__(self, run: Path, position: Position, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(
            f"{run}: asked to stop by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}; saved"
            f" as checkpoint/{position.name}. The same command goes on from there"
        )


class Asked(Exception):
    """The run was asked to stop, at a place that cannot save it."""


class Stop:
    """Whether this run was asked to stop; use as a context, the handlers go with it. A second
    Ctrl-C ends it at once.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.number = 0
        """Of the signal; 0 for none."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        # Only a main thread may; elsewhere the surrounding program answers the signals.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == self.number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
        if number == signal.SIGINT and sys.stderr.isatty():
            click.echo("\nsaving after this update; Ctrl-C again leaves at once", err=True)

    def __call__(self, done: int) -> int:
        """After `done` updates, alike in all processes: the signal that asks to save and leave; 0
        for none.
        """
        if self.accelerator.num_processes == 1:
            return self.number
        if done % _ASK_EVERY:
            return 0
        self.number = int(gather(torch.tensor([self.number], device=self.accelerator.device)).max())
        return self.number
