"""timm's own training loop against ours: the same network, images, batch, optimiser and workers.

    timm  create_dataset, create_loader (its prefetcher normalises), create_optimizer_v2,
          create_scheduler_v2 and the loop of timm's train.py, train_one_epoch: forward, loss,
          backward, step, averages of time and loss, schedule
    ours  train_epoch: points, both terms, point head, sums, the watch over the loss, the schedule

The loop is written after huggingface/pytorch-image-models train.py (commit 004fb5f8, Apache-2.0),
which the wheel does not hold; left out is what is off by default or idle on one process. Both crop
and flip from the same distributions with the same filter, and nothing else. Both read the loss of
updates: timm of each one, ours every 20.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter
from torch import nn
from train_loaders import Disagreement, Setting, tree_cpu_s

from luab_train.data.augment import TrainCrop
from luab_train.data.loader import Samples, make_loader
from luab_train.models.classifier import build_recipe_model
from luab_train.train.device import make_accelerator
from luab_train.train.loop import train_epoch
from luab_train.train.optim import make_optimizer, make_schedule
from luab_train.train.setup import Training
from luab_train.train.signals import Stop
from luab_train.train.step import Trainer
from luab_train.train.sums import EpochSums

ARMS = ("ours", "timm")


def open_ours(setting: Setting, precision: str, scratch: Path) -> Callable[[], int]:
    """Our loop, ready for its epochs; each returns how many images it trained on."""
    recipe, found = setting.recipe, setting.found
    accelerator = make_accelerator(precision)
    samples = Samples(
        found.split,
        TrainCrop(recipe.data),
        target=found.points.values,
        weight=found.points.weight,
        seed=recipe.seed,
    )
    loader, order = make_loader(
        samples,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        train=True,
        num_workers=setting.workers,
        pin_memory=accelerator.device.type == "cuda",
    )
    updates = len(samples) // recipe.batch_size
    torch.manual_seed(0)
    model: Any = build_recipe_model(recipe, num_classes=len(found.classes))
    optimizer: Any = make_optimizer(model, recipe.optim)
    schedule = make_schedule(optimizer, recipe.optim, epochs=recipe.epochs, updates=updates)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    trainer = Trainer(accelerator, model, optimizer, recipe, len(found.classes))
    sums = EpochSums(accelerator, samples, scratch)
    task = Training(
        trainer, loader, order, schedule, sums, updates,
        validation=None, environment={}, num_pointed=0, memory="",
    )  # fmt: skip
    done = 0

    def epoch() -> int:
        nonlocal done
        done += 1
        with Stop(accelerator) as stop:
            line = train_epoch(task, scratch, epoch=done, first=0, keep=1, stop=stop, shown=False)
        return int(line["train_images"])

    return epoch


def open_timm(setting: Setting, precision: str) -> Callable[[], int]:
    """The loop of timm, ready for its epochs; each returns how many images it trained on."""
    recipe, data = setting.recipe, setting.recipe.data
    accelerator = make_accelerator(precision)  # for its device and its autocast alone
    loader = create_loader(
        create_dataset("", root=str(setting.images), is_training=True),
        input_size=(3, data.image_size, data.image_size),
        batch_size=recipe.batch_size,
        is_training=True,
        scale=data.crop_scale,
        ratio=data.crop_ratio,
        hflip=data.flip,
        color_jitter=0.0,
        interpolation=data.interpolation,
        mean=data.mean,
        std=data.std,
        num_workers=setting.workers,
        pin_memory=accelerator.device.type == "cuda",
        device=accelerator.device,
        persistent_workers=setting.workers > 0,
    )
    torch.manual_seed(0)
    model = timm.create_model(recipe.model.name, num_classes=len(setting.found.classes))
    model = model.to(accelerator.device)
    optimizer = create_optimizer_v2(
        model,
        opt=recipe.optim.name,
        lr=recipe.optim.lr,
        weight_decay=recipe.optim.weight_decay,
        momentum=recipe.optim.momentum,
    )
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=recipe.epochs,
        warmup_epochs=0,
        step_on_epochs=False,
        updates_per_epoch=len(loader),
    )
    loss_fn = nn.CrossEntropyLoss().to(accelerator.device)
    done = 0

    def epoch() -> int:
        nonlocal done
        batch_time, losses = AverageMeter(), AverageMeter()
        model.train()
        updates = done * len(loader)
        done += 1
        end = time.time()
        for image, target in loader:
            with accelerator.autocast():
                loss = loss_fn(model(image), target)
            losses.update(loss.item(), image.size(0))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if accelerator.device.type == "cuda":
                torch.cuda.synchronize()
            updates += 1
            batch_time.update(time.time() - end)
            schedule.step_update(num_updates=updates, metric=losses.avg)
            end = time.time()
        return int(losses.count)

    return epoch


def measure_loops(setting: Setting, rounds: int, precision: str, scratch: Path) -> dict[str, Any]:
    """Epochs in turns: images/s of every round, by wall and by CPU time."""
    epochs = {
        "ours": open_ours(setting, precision, scratch),
        "timm": open_timm(setting, precision),
    }
    counts = {arm: epoch() for arm, epoch in epochs.items()}  # starts the workers, too
    if counts["ours"] != counts["timm"]:
        raise Disagreement(f"images an epoch: {counts}; expected as many in both arms")
    rates: dict[str, list[float]] = {f"{arm}{kind}": [] for arm in ARMS for kind in ("", "_cpu")}
    for _ in range(rounds):
        for arm, epoch in epochs.items():
            wall, cpu = time.perf_counter(), tree_cpu_s()
            count = epoch()
            rates[arm].append(count / (time.perf_counter() - wall))
            rates[f"{arm}_cpu"].append(count / (tree_cpu_s() - cpu))
    return {"images": counts["ours"], "images_per_s": rates}
