"""All that a run needs before its first update; what can be refused is refused here.     [I/O]"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader

from luab_data.errors import OptionError
from luab_train.data.dataset import Split, TrainingData, training_data, validation_split
from luab_train.data.inputs import EvalCrop, TrainCrop
from luab_train.data.loader import Batch, EpochOrder, Samples, make_loader
from luab_train.models.classifier import (
    LuabModel,
    build_recipe_model,
    foreign_normalisation,
)
from luab_train.models.weights import weights_digest
from luab_train.recipe import Recipe
from luab_train.train.device import describe, make_accelerator
from luab_train.train.optim import make_optimizer, make_schedule
from luab_train.train.step import Trainer
from luab_train.train.sums import Tally
from luab_train.train.validate import Validation


@dataclass(frozen=True)
class Setup:
    """A run that may begin."""

    trainer: Trainer
    loader: DataLoader[Batch]
    """Of training images."""
    order: EpochOrder
    """Of `loader`."""
    schedule: CosineLRScheduler
    tally: Tally
    updates: int
    """Of an epoch."""
    validation: Validation | None
    environment: dict[str, Any]
    """What the run runs on and what it sees: the content of environment.json."""


def set_up(
    recipe: Recipe,
    *,
    data: Path,
    images: Path,
    out: Path,
    val: Path | None = None,
    val_boxes: Path | None = None,
    calibrated: Path | None = None,
    shown: bool | None = None,
) -> Setup:
    """Read the data and build the network; nothing is written. Arguments are those of `train`."""
    if val is None and val_boxes is not None:
        raise OptionError("--val-boxes without --val; expected the images that the boxes belong to")
    found = training_data(recipe, data=data, images=images, calibrated=calibrated)
    val_split = None
    if val is not None:
        val_split = validation_split(recipe, val, found.classes, boxes=val_boxes)
    accelerator = make_accelerator(recipe.optim.precision, engine=recipe.engine, run=out)
    if accelerator.is_main_process:
        _tell(recipe, found, data, images)
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
    set_seed(recipe.seed)  # alike in every process and every arm
    model = build_recipe_model(recipe, num_classes=len(found.classes))
    environment = _environment(accelerator, found, val, val_split)
    environment["initial_backbone"] = weights_digest(model.backbone.state_dict())
    updates = len(samples) // recipe.batch_size
    trainer, loader, schedule = _prepare(accelerator, recipe, model, loader, updates)
    tally = Tally(accelerator, samples, out)
    accelerator.register_for_checkpointing(tally)
    if trainer.ema is not None:
        accelerator.register_for_checkpointing(trainer.ema)
    validation = None
    if val_split is not None:
        validation = _validation(accelerator, recipe, val_split, part, shown=shown)
    return Setup(trainer, loader, order, schedule, tally, updates, validation, environment)


def _tell(recipe: Recipe, found: TrainingData, data: Path, images: Path) -> None:
    if found.missing:
        click.echo(
            f"{found.facts['num_rows_without_image']} rows of {data} have no image in {images} and"
            f" are left out, e.g. {', '.join(found.missing)}",
            err=True,
        )
    note = foreign_normalisation(recipe.model, recipe.data)
    if note is not None:
        click.echo(note, err=True)


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


def _prepare(
    accelerator: Accelerator,
    recipe: Recipe,
    network: LuabModel,
    loader: DataLoader[Batch],
    updates: int,
) -> tuple[Trainer, DataLoader[Batch], CosineLRScheduler]:
    """Optimiser, schedule and average of a network, and all of them on the device."""
    model: nn.Module = network
    if recipe.engine.channels_last:
        model = model.to(memory_format=torch.channels_last)
    ema = None if recipe.optim.ema is None else ModelEmaV3(model, decay=recipe.optim.ema)
    optimizer = make_optimizer(model, recipe.optim, fused=accelerator.device.type == "cuda")
    schedule = make_schedule(optimizer, recipe.optim, epochs=recipe.epochs, updates=updates)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    if ema is not None:
        ema.to(accelerator.device)
    num_classes = network.backbone.num_classes
    return Trainer(accelerator, model, optimizer, recipe, num_classes, ema), loader, schedule


def _validation(
    accelerator: Accelerator, recipe: Recipe, split: Split, batch_size: int, *, shown: bool | None
) -> Validation:
    crop = EvalCrop(recipe.data)
    samples = Samples(
        split, crop, corrupt=recipe.data.corrupt_images, cache=recipe.data.cache, shown=shown
    )
    loader, _ = _loader(accelerator, recipe, samples, batch_size, train=False)
    return Validation(split, accelerator.prepare(loader), crop)


def _environment(
    accelerator: Accelerator,
    found: TrainingData,
    val: Path | None,
    val_split: Split | None,
) -> dict[str, Any]:
    validation = None
    if val is not None and val_split is not None:
        validation = {
            "name": val.resolve().name,
            "num_images": len(val_split),
            "num_with_boxes": int((val_split.boxes.counts > 0).sum()),
        }
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **describe(accelerator),
        "dataset": found.facts,
        "val": validation,
        "classes": list(found.classes),
    }
