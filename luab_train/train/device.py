"""What a run runs on: the accelerator of a recipe, and a description of machine and versions."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import (
    DataLoaderConfiguration,
    DistributedDataParallelKwargs,
    LoggerType,
)

from luab_data.errors import OptionError
from luab_train.sections import Engine

_PACKAGES = ("luab", "torch", "torchvision", "timm", "accelerate", "numpy", "pyarrow", "pillow")


def make_accelerator(
    precision: str, *, engine: Engine | None = None, run: Path | None = None
) -> Accelerator:
    """The accelerator for `precision`, one of auto, no, fp16, bf16.

    `auto` is bf16 on a CUDA device that computes in it natively, fp16 on another one, and full
    precision elsewhere. With an engine it sends numbers to a tracker; those that write files write
    them into `run`.
    """
    if precision == "auto":
        precision = "no"
        if torch.cuda.is_available():
            native = torch.cuda.get_device_capability()[0] >= 8
            precision = "bf16" if native else "fp16"
    benchmark = engine is not None
    engine = engine or Engine()
    if engine.deterministic:
        # cuBLAS wants to know before its first use.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(engine.deterministic)
    # Pays where sizes stay the same: in runs of a recipe.
    torch.backends.cudnn.benchmark = benchmark and not engine.deterministic
    # accelerate keeps the precision that a process asked for first; a process may train and
    # evaluate several recipes.
    AcceleratorState._reset_state()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    tracker = _tracker(engine.tracker)
    try:
        accelerator = Accelerator(
            # Without a GPU, processes of torchrun find one another only if told to use CPUs.
            cpu=world > 1 and not torch.cuda.is_available(),
            mixed_precision=precision,
            dataloader_config=DataLoaderConfiguration(non_blocking=torch.cuda.is_available()),
            kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
            log_with=tracker,
            project_dir=None if run is None else str(run),
        )
    except ValueError as error:
        raise OptionError(f"optim.precision={precision}: not possible here: {error}") from error
    if accelerator.num_processes != world:
        raise OptionError(
            f"{world} processes were started and {accelerator.num_processes} found one another;"
            " each would write the same run. Start them with torchrun or accelerate launch"
        )
    return accelerator


def _tracker(name: str | None) -> str | None:
    if name is None:
        return None
    known = [str(tracker.value) for tracker in LoggerType if tracker != LoggerType.ALL]
    if name not in known:
        raise OptionError(f"engine.tracker={name}: expected one of {', '.join(known)}")
    if name not in {str(tracker.value) for tracker in get_available_trackers()}:
        raise OptionError(f"engine.tracker={name}: it is not installed; pip install {name}")
    return name


def describe(accelerator: Accelerator) -> dict[str, Any]:
    """Versions and hardware that a number may depend on; no user's or host's name."""
    device = accelerator.device
    return {
        "versions": versions(),
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "cpu_count": os.cpu_count(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "num_processes": accelerator.num_processes,
            "torch_threads": torch.get_num_threads(),
            "mixed_precision": accelerator.mixed_precision,
        },
    }


def versions() -> dict[str, str | None]:
    """Of Python and of the packages that a number may depend on; None if one is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


@functools.cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
