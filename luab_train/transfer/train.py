"""The loop: a trained backbone and COCO instances in, a Mask R-CNN and its precision out.  [I/O]"""

from __future__ import annotations

import datetime
import itertools
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader

from luab_data.console import progress
from luab_data.errors import ImagesError, OptionError
from luab_train.data.geometry import update_seed
from luab_train.data.loader import EpochOrder, batches
from luab_train.train import checkpoints, run_folder
from luab_train.train.checkpoints import Position
from luab_train.train.device import describe, make_accelerator
from luab_train.train.signals import Stop, Terminated
from luab_train.transfer.average_precision import average_precision
from luab_train.transfer.loader import Scenes, SceneSamples, make_scene_loader
from luab_train.transfer.model import build_mask_rcnn, read_backbone
from luab_train.transfer.objects import Objects, read_objects, read_truth
from luab_train.transfer.recipe import Transfer, rate
from luab_train.transfer.steps import Sums, detect, train_part


@dataclass(frozen=True)
class TransferResult:
    """A complete transfer."""

    out: Path
    """Its folder."""
    metrics: dict[str, Any]
    """The last epoch's line of metrics.jsonl; None for a mean over nothing."""


def transfer(
    recipe: Transfer,
    *,
    source: Path,
    images: Path,
    annotations: Path,
    val: Path,
    val_annotations: Path,
    out: Path,
    resume: bool = True,
    shown: bool | None = None,
) -> TransferResult:
    """Train Mask R-CNN from a trained ResNet. Called again with the same arguments, an interrupted
    transfer goes on as if nothing had happened.

    Args:
        recipe: what to train.
        source: a complete run, or a file of weights, see `read_backbone`.
        images: training images.
        annotations: their COCO instances.
        val: images to evaluate on, all of them.
        val_annotations: their COCO instances.
        out: folder of the results: new, empty, or unfinished with the same recipe.
        resume: go on from the last checkpoint; False starts an unfinished transfer again.
        shown: progress bars; None shows them on a terminal.

    Raises:
        LuabError: a loss is no number.
        StoppedError: SIGTERM came; the transfer saved itself.
    """
    run_folder.check_run(out, recipe, resume=resume)  # before anything slow
    if run_folder.is_complete(out):
        return TransferResult(out, run_folder.last_metrics(out))
    backbone = read_backbone(source, recipe)
    seen, held_out = read_objects(annotations, images), read_objects(val_annotations, val)
    _check_classes(seen, held_out, annotations, val_annotations)
    accelerator = make_accelerator(recipe.optim.precision)
    usable = seen.with_objects()
    per_pass = _images_per_pass(recipe, len(usable), accelerator.num_processes)
    samples = SceneSamples(seen, usable, train=True, seed=recipe.seed, flip=recipe.data.flip)
    loader, order = _loader(accelerator, recipe, samples, per_pass)
    val_samples = SceneSamples(held_out, np.arange(len(held_out)), train=False)
    # Masks of the size of the image, 100 an image: no more than a few images at a time.
    val_loader, _ = _loader(accelerator, recipe, val_samples, min(per_pass, 2))
    updates = len(samples) // recipe.batch_size
    if recipe.optim.warmup_updates >= recipe.epochs * updates and recipe.optim.warmup_updates > 0:
        raise OptionError(
            f"optim.warmup_updates is {recipe.optim.warmup_updates} of {recipe.epochs * updates}"
            " updates; the full rate would never be reached. Lower it: --set optim.warmup_updates=0"
        )
    set_seed(recipe.seed)  # alike in every process
    model: nn.Module = build_mask_rcnn(backbone, recipe, num_classes=len(seen.classes))
    optimizer: torch.optim.Optimizer = make_sgd(model, recipe)
    model, optimizer, loader, val_loader = accelerator.prepare(model, optimizer, loader, val_loader)
    sums = Sums()
    accelerator.register_for_checkpointing(sums)
    environment = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **describe(accelerator),
        "backbone": {"name": backbone.name, "sha256": backbone.sha256()},
        "train": {**_facts(seen), "num_images_used": len(usable)},
        "val": _facts(held_out),
        "classes": list(seen.classes),
    }
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            position = run_folder.open_run(out, recipe, resume=resume)
            same = ("backbone", "train", "val", "classes")
            run_folder.record_environment(out, environment, position=position, same=same)
    position = checkpoints.last_position(out)
    if position > Position():
        checkpoints.load_checkpoint(accelerator, out, position)

    truth = read_truth(val_annotations) if accelerator.is_main_process else None
    with Stop(accelerator) as stop:
        for epoch in range(position.epoch + 1, recipe.epochs + 1):
            started = time.perf_counter()
            if not position.update:
                sums.begin()
            line: dict[str, Any] = {"event": "epoch", "epoch": epoch}
            line |= train_epoch(
                accelerator,
                model,
                loader,
                order,
                optimizer,
                sums,
                out=out,
                epoch=epoch,
                updates=updates,
                first=position.update,
                recipe=recipe,
                stop=stop,
                shown=shown,
            )
            position = Position(epoch)
            if epoch % recipe.evaluate_every == 0 or epoch == recipe.epochs:
                found = detect(accelerator, model, val_loader, held_out, shown=shown)
                if truth is not None:
                    precision = average_precision(truth, found)
                    line |= {f"val_{key}": value for key, value in precision.items()}
            line["seconds"] = round(time.perf_counter() - started, 3)
            if accelerator.is_main_process:
                run_folder.append_metrics(out, line)
            checkpoints.save_checkpoint(accelerator, out, position)
            if epoch < recipe.epochs and stop(0):
                raise Terminated(out, position, stop.number)
    if accelerator.is_main_process:
        run_folder.save_weights(accelerator.unwrap_model(model).state_dict(), out)
        shutil.rmtree(out / "checkpoint")  # with the momentum of all weights, large
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    return TransferResult(out, run_folder.last_metrics(out))


def make_sgd(model: nn.Module, recipe: Transfer) -> torch.optim.SGD:
    """The optimiser of what is not frozen."""
    return torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=recipe.optim.lr,
        momentum=recipe.optim.momentum,
        weight_decay=recipe.optim.weight_decay,
    )


def train_epoch(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader[Scenes],
    order: EpochOrder,
    optimizer: torch.optim.Optimizer,
    sums: Sums,
    *,
    out: Path,
    epoch: int,
    updates: int,
    first: int = 0,
    recipe: Transfer,
    stop: Stop,
    shown: bool | None = None,
) -> dict[str, float]:
    """One pass over the training images, or the rest of one from update `first` on.

    Returns: lr of the last update; train_images seen; train_loss and train_<term> for each of
        steps.TERMS, means over batches and processes.
    """
    model.train()
    accumulate, lr = recipe.optim.accumulate, math.nan
    order.epoch, order.start = epoch, first * recipe.batch_size
    bar = progress(
        what=f"epoch {epoch}/{recipe.epochs}",
        total=updates - first,
        unit="batch",
        shown=shown if accelerator.is_main_process else False,
    )
    parts = batches(loader)
    with bar:
        for update in range(first, updates):
            # Boxes are sampled at random: no update depends on how many came before it.
            set_seed(update_seed(recipe.seed, epoch, update, accelerator.process_index))
            lr = rate((epoch - 1) * updates + update, updates=updates, optim=recipe.optim)
            for group in optimizer.param_groups:
                group["lr"] = lr
            for part, batch in enumerate(itertools.islice(parts, accumulate), 1):
                where = f"epoch {epoch}, update {update + 1}"
                sums.add(
                    train_part(
                        accelerator, model, batch, of=accumulate, last=part == accumulate, at=where
                    ),
                    num_images=len(batch.images) * accelerator.num_processes,
                )
            optimizer.step()
            optimizer.zero_grad()
            bar.update()
            done, stopping = update + 1, stop(update + 1)
            every = recipe.checkpoint_every
            if done < updates and (stopping or (every is not None and done % every == 0)):
                position = Position(epoch - 1, done)
                checkpoints.save_checkpoint(accelerator, out, position)
                if stopping:
                    raise Terminated(out, position, stop.number)
    return {"lr": lr, **sums.result()}


def _images_per_pass(recipe: Transfer, num_images: int, num_processes: int) -> int:
    """Images of one forward pass of one process."""
    parts = num_processes * recipe.optim.accumulate
    if recipe.batch_size % parts:
        raise OptionError(
            f"batch_size {recipe.batch_size} over {num_processes} processes and"
            f" optim.accumulate={recipe.optim.accumulate}; expected a multiple of {parts}"
        )
    if recipe.batch_size > num_images:
        raise OptionError(
            f"batch_size is {recipe.batch_size} and there are {num_images} training images with"
            " objects; an epoch would have no update. Lower it: --set batch_size=..., and optim.lr"
            " with it"
        )
    return recipe.batch_size // parts


def _check_classes(seen: Objects, held_out: Objects, train: Path, val: Path) -> None:
    ours = dict(zip(seen.category_id.tolist(), seen.classes, strict=True))
    theirs = dict(zip(held_out.category_id.tolist(), held_out.classes, strict=True))
    if ours != theirs:
        odd = sorted(ours.items() ^ theirs.items())[:3]
        raise ImagesError(f"{train} and {val} differ in categories, e.g. {odd}; expected the same")


def _facts(objects: Objects) -> dict[str, Any]:
    return {
        "num_images": len(objects),
        "num_objects": len(objects.label),
        "num_crowds": objects.num_crowds,
        "sha256": objects.sha256,
    }


def _loader(
    accelerator: Accelerator, recipe: Transfer, samples: SceneSamples, batch_size: int
) -> Any:
    return make_scene_loader(
        samples,
        batch_size=batch_size,
        seed=recipe.seed,
        num_workers=recipe.data.num_workers,
        pin_memory=accelerator.device.type == "cuda",
    )
