"""[I/O] One update with the point head and its loss against the same timm model without them.

    ours   Trainer.update of a LuabModel: both terms, point head, seeding, sums for the log
    plain  the bare loop: normalise, forward, cross-entropy, backward, step, zero_grad

Same initial weights, batch, optimiser and precision. Images are noise: costs do not depend on
what they show. Updates alternate, and the ratio is taken pair by pair. `python train_steps.py MODEL
ARM DEVICE` is one arm alone in a process of its own, for its memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F

from luab_train.data.loader import Batch
from luab_train.models.classifier import build_recipe_model
from luab_train.recipe import Recipe
from luab_train.sections import Data, Model, Optim
from luab_train.train.device import make_accelerator
from luab_train.train.optim import make_optimizer
from luab_train.train.step import Trainer

CLASSES = 1000
_MIB = 2**20
_ALONE = 3  # updates of a process that is measured for its memory


class Case(NamedTuple):
    """A network, how large its batch is, and what it is trained with."""

    model: str
    batch_size: int
    optimizer: str
    image_size: int = 224


CASES = {
    case.model: case
    for case in (
        # Small batches: pairs are close in time and many, and what an update costs whatever its
        # size weighs the most, so that what is added is an upper bound.
        Case("resnet50", 2, "momentum"),
        Case("vit_small_patch16_224", 2, "adamw"),
        # So small that what an update costs whatever the model is shows.
        Case("test_resnet", 8, "momentum", 32),
    )
}


def recipe_of(case: Case) -> Recipe:
    """Clicks and labels alone; nothing is mixed or erased, which the bare loop does not do."""
    return Recipe(
        name="benchmark",
        model=Model(name=case.model),
        data=Data(image_size=case.image_size, eval_resize=case.image_size),
        optim=Optim(name=case.optimizer, lr=1e-3, weight_decay=1e-4),
        epochs=10,
        batch_size=case.batch_size,
    )


def make_batch(case: Case) -> Batch:
    """Noise, with a point in three images of four, as about in ImageNet-AB under a crop."""
    generator = torch.Generator().manual_seed(0)
    count, size = case.batch_size, case.image_size
    has = torch.arange(count) % 4 != 3
    point = torch.rand(count, 1, 2, generator=generator)
    return Batch(
        torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator),
        torch.randint(0, CLASSES, (count,), generator=generator),
        torch.ones(count, dtype=torch.bool),
        torch.arange(count),
        torch.zeros(count, dtype=torch.int64),
        torch.where(has[:, None, None], point, torch.nan),
        has[:, None].float(),
        torch.tensor([[size, size]] * count),
    )


def precision(device: str) -> str:
    """Of both arms."""
    return "no" if device == "cpu" or not torch.cuda.is_available() else "auto"


class Update(NamedTuple):
    """An arm."""

    run: Callable[[int], torch.Tensor]
    """Number of an update -> its label loss, on the device."""
    wait: Callable[[], None]
    """For the device."""


def open_arm(arm: str, case: Case, device: str) -> Update:
    """Build a network and its optimiser; both arms' backbones draw the same weights."""
    recipe = recipe_of(case)
    accelerator = make_accelerator(precision(device))
    batch = Batch(*(tensor.to(accelerator.device) for tensor in make_batch(case)))
    cuda = accelerator.device.type == "cuda"
    wait = torch.cuda.synchronize if cuda else lambda: None
    torch.manual_seed(0)
    if arm == "ours":
        model = build_recipe_model(recipe, num_classes=CLASSES)
        optimizer = make_optimizer(model, recipe.optim)
        model, optimizer = accelerator.prepare(model, optimizer)
        model.train()
        trainer = Trainer(accelerator, model, optimizer, recipe, CLASSES)

        def ours(number: int) -> torch.Tensor:
            (row,) = trainer.update([batch], epoch=1, update=number)
            return row[0] / row[1]

        return Update(ours, wait)
    data = recipe.data
    plain = timm.create_model(case.model, num_classes=CLASSES).to(accelerator.device).train()
    optimizer = make_optimizer(plain, recipe.optim)
    mean, std = (
        255 * torch.tensor(value, device=accelerator.device).view(1, -1, 1, 1)
        for value in (data.mean, data.std)
    )

    def bare(number: int) -> torch.Tensor:
        with accelerator.autocast():
            loss = F.cross_entropy(plain((batch.image_BCHW.float() - mean) / std), batch.label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return Update(bare, wait)


def measure_steps(case: Case, pairs: int, device: str) -> dict[str, Any]:
    """Updates in turns: seconds of each, by wall and CPU time, of an update and of the process.

    Raises:
        SystemExit: the first label losses differ, so the arms do not train the same thing.
    """
    arms = {arm: open_arm(arm, case, device) for arm in ("ours", "plain")}
    first = {arm: float(update.run(0)) for arm, update in arms.items()}
    if abs(first["ours"] - first["plain"]) > 1e-4 * abs(first["plain"]) + 1e-5:
        raise SystemExit(f"{case.model}: first label losses are {first}; expected the same")
    for update in arms.values():
        update.run(1)
    seconds: dict[str, list[float]] = {f"{a}{kind}": [] for a in arms for kind in ("", "_cpu")}
    for number in range(2, 2 + pairs):
        # Each arm comes first in every other pair: a machine that slows down slows both alike.
        for arm in ("ours", "plain") if number % 2 == 0 else ("plain", "ours"):
            update = arms[arm]
            update.wait()
            wall, cpu = time.perf_counter(), time.process_time()
            update.run(number)
            update.wait()
            seconds[arm].append(time.perf_counter() - wall)
            seconds[f"{arm}_cpu"].append(time.process_time() - cpu)
    return {"seconds": seconds}


def measure_memory(case: Case, device: str, runs: int = 1) -> dict[str, list[float]]:
    """MiB that each arm alone takes at most, in turns: of the process, or of the GPU's allocator.

    A process holds Python, torch and our package in both arms.
    """
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(runs):
        for arm, values in found.items():
            words = [sys.executable, __file__, case.model, arm, device]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{' '.join(words)}: {done.stderr[-2000:]}")
            values.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def peak_mib(*, cuda: bool = False) -> float:
    """The most that this process, or its GPU, held at once.

    Not `ru_maxrss`: in a process that was started it begins with the memory of the starter.
    """
    if cuda:
        return torch.cuda.max_memory_allocated() / _MIB
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _alone(model: str, arm: str, device: str) -> None:
    update = open_arm(arm, CASES[model], device)
    for number in range(_ALONE):
        update.run(number)
    update.wait()
    print(json.dumps(peak_mib(cuda=precision(device) != "no")))


if __name__ == "__main__":
    _alone(*sys.argv[1:])
