"""SIGTERM asks a run to save itself and leave: what clusters send before they take a machine."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

from luab_data.errors import StoppedError
from luab_train.train.run_folder import Position

# Processes of a run ask one another only now and then: it takes a message and waits for the device.
_ASK_EVERY = 20


class Terminated(StoppedError):
    """The run was asked to stop, and saved itself."""

    exit_code = 128 + signal.SIGTERM

    def __init__(self, run: Path, position: Position) -> None:
        super().__init__(
            f"{run}: asked to stop by SIGTERM; saved as checkpoint/{position.name}. The same"
            " command goes on from there"
        )


class Stop:
    """Whether this run was asked to stop; use as a context, the handler goes with it."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Stop:
        # Only a main thread may; elsewhere the surrounding program answers the signal.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __call__(self, update: int) -> bool:
        """After `update`, alike in all processes: is it time to save and leave?"""
        if self.accelerator.num_processes == 1:
            return self.asked
        if update % _ASK_EVERY:
            return False
        asked = torch.tensor([int(self.asked)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked).item())
