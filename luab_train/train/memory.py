"""What an update needs, found out before it is tried: memory, and time on a machine without a GPU.

A copy of the network without content (torch's device `meta`) sees one batch: no number is computed,
but what autograd would keep for the backward pass is known, and so are the operations. On ResNets
and ViTs this was within a tenth of what they really took.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode

from luab_data.errors import OptionError
from luab_data.words import counted
from luab_train.models.classifier import LuabModel
from luab_train.recipe import Recipe

_GPU_RECIPE_FLOPS = 0.5e9  # of a forward pass of one image: ResNet-18 at 224 px has 3.6e9
_CPU_FLOPS_PER_S = 30e9  # of one thread, measured on ResNet-50 and ViT-S; good to a factor of 2
KEPT_TIMES = {None: 1.0, "robustvit": 1.4}
"""Of `loss.attention`, how many times the activations are kept; 2.2 where a second derivative is
taken (1.9 to 2.2 on ResNets and ViTs).
"""
_SEEN = 2  # images of the batch that is looked at


class Cost(NamedTuple):
    """Of one image in a training step."""

    activations: float
    """Bytes in float32 that are kept from the forward to the backward pass."""
    flops: float
    """Operations of the forward pass."""


def cost_of_an_image(network: LuabModel, image_size: int) -> Cost | None:
    """None where a network cannot run without content."""
    kept: dict[int, tuple[int, torch.UntypedStorage]] = {}
    try:
        empty = copy.deepcopy(network).to("meta").train()
        known = {t.untyped_storage()._cdata for t in (*empty.parameters(), *empty.buffers())}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in known:
                # Held, so that no other takes its address.
                kept[storage._cdata] = (storage.nbytes(), storage)
            return tensor

        images = torch.zeros((_SEEN, 3, image_size, image_size), dtype=torch.uint8, device="meta")
        counter = FlopCounterMode(display=False)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), counter:
            empty(images)
    except Exception:  # whatever a network of others does that needs numbers
        return None
    size = sum(nbytes for nbytes, _ in kept.values())
    return Cost(size / _SEEN, counter.get_total_flops() / _SEEN)


def check_memory(
    accelerator: Accelerator, recipe: Recipe, network: LuabModel, cost: Cost | None, *, batch: int
) -> str:
    """What an update needs, in words.

    Args:
        batch: images of one backward pass of one process.

    Raises: OptionError if the device has less.
    """
    device = accelerator.device
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    # Weights, gradients, and what the optimiser keeps of them: Adam and its kin two moments.
    copies = 2 + (2 if "adam" in recipe.optim.name or recipe.optim.name == "lamb" else 1)
    fixed = weights * (copies + (recipe.optim.ema is not None))
    pixels = 3 * recipe.data.image_size**2
    half = accelerator.mixed_precision in ("fp16", "bf16")
    # Pixels as they come and normalised.
    times = KEPT_TIMES.get(recipe.loss.attention, 2.2)
    image = 5 * pixels + (times * cost.activations / (1 + half) if cost is not None else 0)
    told = (
        f"memory of an update about {_gib(fixed + batch * image)} GiB (weights, gradients and"
        f" optimiser {_gib(fixed)}, {batch} images {_gib(batch * image)})"
    )
    if cost is None:
        told += " and what the network keeps for the backward pass, which is not known"
    free = free_memory(device)
    if free is not None and fixed + batch * image > free:
        fits = [
            d for d in range(2, batch + 1) if not batch % d and fixed + batch / d * image < free
        ]
        advice = "no batch fits: expected a smaller model.name, or data.image_size"
        if fits:
            advice = (
                f"expected less: --set optim.accumulate={recipe.optim.accumulate * fits[0]} trains"
                f" on {batch // fits[0]} images at a time and changes nothing but batch-norm"
                " statistics; or a smaller --batch-size or data.image_size"
            )
        raise OptionError(f"{recipe.name}: {told}, and {_gib(free)} GiB are free; {advice}")
    return told


def slow_on_cpu(
    accelerator: Accelerator, recipe: Recipe, cost: Cost | None, num_images: int
) -> str | None:
    """What to tell somebody who trains a recipe for GPUs on a machine without one."""
    if accelerator.device.type != "cpu" or cost is None or cost.flops < _GPU_RECIPE_FLOPS:
        return None
    threads = torch.get_num_threads() * accelerator.num_processes
    seconds = 3 * cost.flops * num_images / (threads * _CPU_FLOPS_PER_S)
    size, unit = next(
        (size, unit)
        for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
        if seconds >= 2 * size or unit == "seconds"
    )
    return (
        f"{recipe.name} is a recipe for GPUs and torch sees none here: an epoch of {num_images:,}"
        f" images takes about {seconds / size:.0f} {unit} on"
        f" {counted(threads, 'thread')}. To try it:"
        " --set data.image_size=64 --set data.eval_resize=64 --set data.fraction=0.01; or take"
        " debug:tiny, which is made for CPUs"
    )


def free_memory(device: torch.device) -> int | None:
    """Bytes that a process can still get on a device; None if the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu" or not Path("/proc/meminfo").exists():
        return None
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        free = min(free, int((group / "memory.max").read_text()) - _used(group))
    except (OSError, ValueError):  # no group, or one without a limit
        pass
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _used(group: Path) -> int:
    lines = (group / "memory.stat").read_text().splitlines()
    stat = {key: int(value) for key, value in map(str.split, lines)}
    # Cached files go when room is needed.
    return int((group / "memory.current").read_text()) - stat.get("inactive_file", 0)


def _gib(size: float) -> str:
    return f"{size / 2**30:.2g}" if size < 2**30 else f"{size / 2**30:.1f}"
