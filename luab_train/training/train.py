"""The loop: a recipe, a dataset and images in, a complete run folder out.     [I/O]"""

from __future__ import annotations

import datetime
import itertools
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader

from luab_data.console import progress
from luab_data.errors import OptionError
from luab_train.data.crops import EvalCrop, TrainCrop
from luab_train.data.images import Split
from luab_train.data.loader import Batch, EpochOrder, Samples, make_loader
from luab_train.data.training_data import TrainingData, training_data
from luab_train.data.validation_data import validation_split
from luab_train.data.workers import batches
from luab_train.models.classifier import build_recipe_model, foreign_normalisation
from luab_train.models.weights import weights_digest
from luab_train.recipe import Recipe, flatten
from luab_train.training import checkpoint
from luab_train.training.checkpoint import Position
from luab_train.training.device import describe, make_accelerator
from luab_train.training.optim import make_optimizer, make_schedule
from luab_train.training.steps import Trainer
from luab_train.training.stopping import Stop, Terminated
from luab_train.training.tally import Tally
from luab_train.training.validate import Validation, report_unreadable, validate


@dataclass(frozen=True)
class TrainResult:
    """A complete run."""

    run: Path
    """Its folder."""
    metrics: dict[str, Any]
    """The last epoch's line of metrics.jsonl; None for a mean over nothing."""


def train(
    recipe: Recipe,
    *,
    data: Path,
    images: Path,
    out: Path,
    val: Path | None = None,
    val_boxes: Path | None = None,
    calibrated: Path | None = None,
    resume: bool = True,
    shown: bool | None = None,
) -> TrainResult:
    """Train a recipe. Called again with the same arguments, an interrupted run goes on as if
    nothing had happened.

    Args:
        recipe: what to train.
        data: dataset folder written by `luab-data convert`.
        images: the images of its rows, in any layout of `luab_train.data.sources`.
        out: folder of the run: new, empty, or an unfinished run of the same recipe.
        val: images to validate on after each epoch, `<wnid>/<image>`; None trains without.
        val_boxes: where their boxes are, see `luab_data.boxes.read_boxes`; None looks beside the
            images. Of COCO, the instances_*.json that lists them, with their labels.
        calibrated: what `luab-data calibrate DATASET --out` wrote; for target `calibrated` and for
            `loss.reliability_weights`.
        resume: go on from the last checkpoint; False starts an unfinished run again from nothing.
        shown: progress bars; None shows them on a terminal.

    Raises:
        LuabError: the loss is no number; the batch is in the run's folder.
        StoppedError: SIGTERM came; the run saved itself.
    """
    if val is None and val_boxes is not None:
        raise OptionError("--val-boxes without --val; expected the images that the boxes belong to")
    checkpoint.check_run(out, recipe)  # before anything slow
    found = training_data(recipe, data=data, images=images, calibrated=calibrated)
    val_split = None
    if val is not None:
        val_split = validation_split(recipe, val, found.classes, boxes=val_boxes)
    accelerator = make_accelerator(recipe.optim.precision, engine=recipe.engine, run=out)
    if found.missing and accelerator.is_main_process:
        click.echo(
            f"{found.facts['num_rows_without_image']} rows of {data} have no image in {images} and"
            f" are left out, e.g. {', '.join(found.missing)}",
            err=True,
        )
    note = foreign_normalisation(recipe.model, recipe.data)
    if note is not None and accelerator.is_main_process:
        click.echo(note, err=True)
    part = _batch_per_process(recipe, len(found.split), accelerator.num_processes)
    samples = Samples(
        found.split,
        TrainCrop(recipe.data),
        target=found.points.values,
        weight=found.points.weight,
        seed=recipe.seed,
        corrupt=recipe.data.corrupt_images,
        notebook_labels=recipe.data.notebook_labels,
        cache=recipe.data.cache,
        shown=shown,
    )
    loader, order = _loader(accelerator, recipe, samples, part, train=True)
    updates = len(samples) // recipe.batch_size
    # Alike in every process and every arm.
    set_seed(recipe.seed)
    built = build_recipe_model(recipe, num_classes=len(found.classes))
    initial = weights_digest(built.backbone.state_dict())
    model: nn.Module = built
    if recipe.engine.channels_last:
        model = model.to(memory_format=torch.channels_last)
    ema = None if recipe.optim.ema is None else ModelEmaV3(model, decay=recipe.optim.ema)
    optimizer = make_optimizer(model, recipe.optim)
    schedule = make_schedule(optimizer, recipe.optim, epochs=recipe.epochs, updates=updates)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    trainer = Trainer(accelerator, model, optimizer, recipe, len(found.classes), ema)
    tally = Tally(accelerator, samples, out)
    accelerator.register_for_checkpointing(tally)
    if ema is not None:
        ema.to(accelerator.device)
        accelerator.register_for_checkpointing(ema)
    validation = None
    if val_split is not None:
        crop = EvalCrop(recipe.data)
        val_samples = Samples(
            val_split,
            crop,
            corrupt=recipe.data.corrupt_images,
            cache=recipe.data.cache,
            shown=shown,
        )
        val_loader, _ = _loader(accelerator, recipe, val_samples, part, train=False)
        validation = Validation(val_split, accelerator.prepare(val_loader), crop)
    environment = _environment(accelerator, found, val, val_split) | {"initial_backbone": initial}
    # Only now, when all that can be refused was: a folder is left behind by real runs alone.
    position = _open(accelerator, out, recipe, environment, resume=resume)
    if position > Position():
        checkpoint.load_checkpoint(accelerator, out, position)
    _start_tracker(accelerator, recipe)

    line: dict[str, Any] = {}
    with Stop(accelerator) as stop:
        for epoch in range(position.epoch + 1, recipe.epochs + 1):
            started = time.perf_counter()
            if not position.update:
                tally.begin(epoch)
            tally.epoch = epoch
            line = {"event": "epoch", "epoch": epoch}
            line |= train_epoch(
                trainer,
                loader,
                order,
                schedule,
                tally,
                epoch=epoch,
                updates=updates,
                first=position.update,
                stop=stop,
                shown=shown,
            )
            position = Position(epoch)
            if validation is not None:
                network = model if ema is None else _alike(accelerator, ema)
                line |= validate(accelerator, network, validation, shown=shown)
            line["seconds"] = round(time.perf_counter() - started, 3)
            if accelerator.is_main_process:
                checkpoint.append_metrics(out, line)
            accelerator.log({k: v for k, v in line.items() if k != "event"}, step=epoch)
            checkpoint.save_checkpoint(accelerator, out, position)
            if epoch < recipe.epochs and stop(0):
                raise Terminated(out, position)
    if accelerator.is_main_process:
        network = accelerator.unwrap_model(model, keep_torch_compile=False)
        checkpoint.save_model(network if ema is None else ema.module, out)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    # Else loader processes wait seconds for their end, and the next run of this process for memory.
    accelerator.free_memory()
    line = line or checkpoint.last_metrics(out)
    return TrainResult(out, {key: checkpoint.finite_or_none(value) for key, value in line.items()})


def train_epoch(
    trainer: Trainer,
    loader: DataLoader[Batch],
    order: EpochOrder,
    schedule: CosineLRScheduler,
    tally: Tally,
    *,
    epoch: int,
    updates: int,
    first: int = 0,
    stop: Stop,
    shown: bool | None = None,
) -> dict[str, float]:
    """One pass over the training images, or the rest of one from update `first` on.

    Returns: lr of the last update; train_images and train_points, images and targets that counted;
        train_label_loss, mean over images; train_point_loss, mean over targets, NaN without any;
        train_loss, mean over updates of what was minimised. The terms are unweighted.
        train_unreadable, images left out, if there were any.
    """
    accelerator, recipe = trainer.accelerator, trainer.recipe
    trainer.model.train()
    order.epoch, order.start = epoch, first * recipe.batch_size
    lr = math.nan
    bar = progress(
        what=f"epoch {epoch}/{recipe.epochs}",
        total=updates - first,
        unit="batch",
        shown=shown if accelerator.is_main_process else False,
    )
    parts = batches(loader)
    with bar:
        for update in range(first, updates):
            taken = list(itertools.islice(parts, recipe.optim.accumulate))
            schedule.step_update((epoch - 1) * updates + update)
            lr = trainer.optimizer.param_groups[0]["lr"]
            tally.add(update, trainer.update(taken, epoch=epoch, update=update), taken)
            bar.update()
            done, stopping = update + 1, stop(update + 1)
            every = recipe.engine.checkpoint_every
            if done < updates and (stopping or (every is not None and done % every == 0)):
                tally.gather()
                trainer.check_weights()
                position = Position(epoch - 1, done)
                checkpoint.save_checkpoint(accelerator, tally.run, position)
                if stopping:
                    raise Terminated(tally.run, position)
    result = tally.result()
    trainer.check_weights()
    report_unreadable(f"epoch {epoch}", tally.unreadable)
    return {"lr": lr, **result}


def _alike(accelerator: Accelerator, ema: ModelEmaV3) -> nn.Module:
    """The averaged network; statistics of batch norms, each process' own, are those of the first,
    which are the ones that are saved.
    """
    module: nn.Module = ema.module
    if accelerator.num_processes > 1:
        for own in module.buffers():
            own.copy_(broadcast(own))
    return module


def _start_tracker(accelerator: Accelerator, recipe: Recipe) -> None:
    plain = {
        key: value if isinstance(value, (bool, int, float)) else str(value)
        for key, value in flatten(recipe).items()
    }
    accelerator.init_trackers("tracker", config=plain)


def _batch_per_process(recipe: Recipe, num_images: int, num_processes: int) -> int:
    if recipe.batch_size % (num_processes * recipe.optim.accumulate):
        raise OptionError(
            f"batch_size {recipe.batch_size} over {num_processes} processes in"
            f" optim.accumulate={recipe.optim.accumulate} parts; expected a multiple"
        )
    if recipe.batch_size > num_images:
        raise OptionError(
            f"batch_size is {recipe.batch_size} and there are {num_images} training images; an"
            " epoch would have no update. Lower it: --batch-size"
        )
    return recipe.batch_size // num_processes // recipe.optim.accumulate


def _open(
    accelerator: Accelerator,
    out: Path,
    recipe: Recipe,
    environment: dict[str, Any],
    *,
    resume: bool,
) -> Position:
    """How far the run is. Rank 0 opens the folder, the others look at it when it is ready."""
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            position = checkpoint.open_run(out, recipe, resume=resume)
            checkpoint.record_environment(out, environment, position=position)
    return checkpoint.last_position(out)


def _environment(
    accelerator: Accelerator,
    found: TrainingData,
    val: Path | None,
    val_split: Split | None,
) -> dict[str, Any]:
    """What a run ran on and what it saw: the content of environment.json."""
    validation = None
    if val is not None and val_split is not None:
        validation = {
            "name": val.resolve().name,
            "num_images": len(val_split),
            "num_with_boxes": int((val_split.boxes.counts > 0).sum()),
        }
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **describe(accelerator),
        "dataset": found.facts,
        "val": validation,
        "classes": list(found.classes),
    }


def _loader(
    accelerator: Accelerator, recipe: Recipe, samples: Samples, batch_size: int, *, train: bool
) -> tuple[DataLoader[Batch], EpochOrder]:
    return make_loader(
        samples,
        batch_size=batch_size,
        seed=recipe.seed,
        train=train,
        num_workers=recipe.data.num_workers,
        pin_memory=accelerator.device.type == "cuda",
        repeats=recipe.data.repeats if train else 1,
        update=recipe.batch_size,
    )
