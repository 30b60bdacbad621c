"""How an evaluation is to be run; every driver takes all of it or refuses it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import get_args

from luab_data.errors import OptionError
from luab_train.evaluate.coco.erasing import Eraser
from luab_train.evaluate.wsol.boxes import BoxConvention

ON_BAD = ("raise", "skip")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of an evaluation.

    Args:
        on_bad: an image that cannot be read is an error, or skipped and counted.
        batch_size: images at a time; changes no result but for rounding.
        num_workers: loader processes, or threads where there are only these; None is by the
            machine.
        box_convention: how localisation counts pixels, see `wsol.overlap`.
        eraser: how COCO's objects are erased, and which.
        shown: progress bars; None shows them on a terminal.
    """

    on_bad: str = "raise"
    batch_size: int = 256
    num_workers: int | None = None
    box_convention: BoxConvention = "wsolevaluation"
    eraser: Eraser = field(default_factory=Eraser)
    shown: bool | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("on_bad", self.on_bad, ON_BAD),
            ("box convention", self.box_convention, get_args(BoxConvention)),
        ):
            if value not in known:
                raise OptionError(f"{name} is {value!r}; expected one of {', '.join(known)}")
        if self.batch_size < 1:
            raise OptionError(f"batch size {self.batch_size}; expected at least 1")
        if self.num_workers is not None and self.num_workers < 0:
            raise OptionError(f"{self.num_workers} workers; expected 0 or more")

    @property
    def workers(self) -> int:
        """Loader processes; one a core and at most 16 where the user names no number."""
        if self.num_workers is not None:
            return self.num_workers
        found = cores()
        return min(16, found) if found > 2 else 0

    @property
    def threads(self) -> int:
        """Threads that decode and score; decoding and OpenCV free the interpreter."""
        return self.num_workers or min(8, cores())


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
