"""What a run runs on: the accelerator of a recipe, and a description of machine and versions."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration

from luab_data.errors import OptionError

_PACKAGES = ("luab", "torch", "torchvision", "timm", "accelerate", "numpy", "pyarrow", "pillow")


def make_accelerator(precision: str) -> Accelerator:
    """The accelerator for `precision`, one of auto, no, fp16, bf16.

    `auto` is bf16 on a CUDA device that computes in it natively, fp16 on another one, and full
    precision elsewhere.
    """
    if precision == "auto":
        precision = "no"
        if torch.cuda.is_available():
            native = torch.cuda.get_device_capability()[0] >= 8
            precision = "bf16" if native else "fp16"
    try:
        return Accelerator(
            mixed_precision=precision,
            dataloader_config=DataLoaderConfiguration(non_blocking=torch.cuda.is_available()),
        )
    except ValueError as error:
        raise OptionError(f"optim.precision={precision}: not possible here: {error}") from error


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
