"""All that a run needs before its first update; what can be refused is refused here.     [I/O]"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader

from luab_data.errors import OptionError
from luab_train.data.augment import TrainCrop
from luab_train.data.dataset import TrainingData, training_data
from luab_train.data.inputs import EvalCrop
from luab_train.data.loader import Batch, EpochOrder, Samples, batches, make_loader
from luab_train.data.splits import Split, validation_split
from luab_train.models.classifier import (
    LuabModel,
    build_recipe_model,
    foreign_normalisation,
)
from luab_train.models.weights import state_dict_for_file, weights_digest
from luab_train.recipe import Recipe
from luab_train.train.device import describe, make_accelerator
from luab_train.train.guidance import check_guidance
from luab_train.train.memory import check_memory, cost_of_an_image, slow_on_cpu
from luab_train.train.optim import make_optimizer, make_schedule
from luab_train.train.signals import Stop
from luab_train.train.step import Trainer
from luab_train.train.sums import EpochSums
from luab_train.train.validate import Validation, report_unreadable, validate


@dataclass
class Training:
    """A run that may begin; what its methods do says `luab_train.train.loop.Task`."""

    trainer: Trainer
    loader: DataLoader[Batch]
    """Of training images."""
    order: EpochOrder
    """Of `loader`."""
    schedule: CosineLRScheduler
    sums: EpochSums
    updates: int
    """Of an epoch."""
    validation: Validation | None
    environment: dict[str, Any]
    """What the run runs on and what it sees: the content of environment.json."""
    num_pointed: int
    """Images that have a point to learn."""
    memory: str
    """What an update needs, in words."""
    shown: bool | None = None
    """Progress of validation."""

    def __post_init__(self) -> None:
        self.accelerator, self.recipe = self.trainer.accelerator, self.trainer.recipe
        self.epochs, self.batch_size = self.recipe.epochs, self.recipe.batch_size
        self.accumulate = self.recipe.optim.accumulate
        self.checkpoint_every = self.recipe.engine.checkpoint_every

    def begin(self, epoch: int, first: int) -> Iterator[Batch]:
        """The batches of an epoch from update `first` on."""
        if not first:
            self.sums.begin()
        self.sums.epoch = epoch
        self.trainer.model.train()
        self.order.epoch, self.order.start = epoch, first * self.recipe.batch_size
        return batches(self.loader)

    def update(self, taken: list[Batch], *, epoch: int, update: int) -> dict[str, float] | None:
        """Train on the batches of one update; the epoch's means, whenever they are known."""
        done = (epoch - 1) * self.updates + update
        self.schedule.step_update(done)
        rows = self.trainer.update(taken, epoch=epoch, update=update, done=done)
        return self.sums.means() if self.sums.add(update, rows, taken) else None

    def gather(self) -> None:
        """Make sums and weights ready to be saved."""
        self.sums.gather()
        self.trainer.check_weights()

    def result(self) -> dict[str, float]:
        """Lr of the last update; train_images and train_points, images and targets that counted;
        train_label_loss, mean over images; train_point_loss, mean over targets, NaN without any;
        train_loss, mean over updates of what was minimised, the other terms unweighted;
        train_attention_loss, mean over images with a map, of runs with `loss.attention`;
        train_accuracy where an image has one label: of the network as it was at each update, on
        augmented images. train_unreadable, images left out, if there were any.
        """
        found = self.sums.result()
        self.trainer.check_weights()
        report_unreadable(f"epoch {self.sums.epoch}", self.sums.unreadable)
        return {"lr": self.trainer.optimizer.param_groups[0]["lr"], **found}

    def validate(self, epoch: int, stop: Stop) -> dict[str, float]:
        """Numbers of the validation images, if there are any."""
        if self.validation is None:
            return {}
        model = self.trainer.judged()
        return validate(self.accelerator, model, self.validation, shown=self.shown, stop=stop)

    def weights(self) -> dict[str, Tensor]:
        """Of the network that is validated."""
        judged = self.trainer.judged()
        is_average = judged is not self.trainer.model
        return state_dict_for_file(judged if is_average else self.trainer.network)


def set_up(
    recipe: Recipe,
    *,
    data: Path,
    images: Path,
    out: Path,
    val: Path | float | None = None,
    val_boxes: Path | None = None,
    calibrated: Path | None = None,
    points: Path | None = None,
    shown: bool | None = None,
) -> Training:
    """Read the data and build the network; nothing is written. Arguments are those of `train`."""
    if not isinstance(val, Path) and val_boxes is not None:
        raise OptionError("--val-boxes without --val; expected the images that the boxes belong to")
    held_out = 0.0 if val is None or isinstance(val, Path) else val
    if val is not None and not isinstance(val, Path) and not 0 < val < 1:
        raise OptionError(
            f"--val {val:g}: expected a folder of images, or the share of the dataset's images to"
            " hold out, above 0 and below 1"
        )
    found = training_data(
        recipe, data=data, images=images, calibrated=calibrated, points=points, held_out=held_out
    )
    num_pointed = _check_points(recipe, found, data)
    val_split = found.held_out
    if isinstance(val, Path):
        val_split = validation_split(recipe, val, found.classes, boxes=val_boxes)
    _check_best(recipe, val_split)
    accelerator = make_accelerator(recipe.optim.precision, engine=recipe.engine, run=out)
    batch = images_per_pass(
        recipe.batch_size,
        accumulate=recipe.optim.accumulate,
        num_images=len(found.split),
        num_processes=accelerator.num_processes,
    )
    set_seed(recipe.seed)  # alike in every process and every arm
    model = build_recipe_model(recipe, num_classes=len(found.classes))
    if recipe.loss.attention is not None:
        check_guidance(model, recipe.loss, recipe.data.image_size)
    cost = cost_of_an_image(model, recipe.data.image_size)
    memory = check_memory(accelerator, recipe, model, cost, batch=batch)
    if accelerator.is_main_process:
        _warn(recipe, found, data, images, slow_on_cpu(accelerator, recipe, cost, len(found.split)))
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
    loader, order = _loader(accelerator, recipe, samples, batch, train=True)
    environment = _environment(accelerator, found, val, val_split)
    environment["initial_backbone"] = weights_digest(model.backbone.state_dict())
    updates = len(samples) // recipe.batch_size
    trainer, loader, schedule = _prepare(accelerator, recipe, model, loader, updates)
    one_label = found.split.label.ndim == 1 and not recipe.mix.on
    sums = EpochSums(accelerator, samples, out, judges=one_label)
    accelerator.register_for_checkpointing(sums)
    if trainer.ema is not None:
        accelerator.register_for_checkpointing(trainer.ema)
    validation = None
    if val_split is not None:
        validation = _validation(accelerator, recipe, val_split, batch, shown=shown)
    return Training(
        trainer, loader, order, schedule, sums, updates, validation, environment, num_pointed,
        memory, shown,
    )  # fmt: skip


def _check_points(recipe: Recipe, found: TrainingData, data: Path) -> int:
    """Images that have a point to learn; OptionError if points are to be learned and none is."""
    values, weight = found.points.values, found.points.weight
    pointed = int((np.isfinite(values).all(axis=2).any(axis=1) & (weight > 0)).sum())
    if recipe.target != "none" and not pointed:
        raise OptionError(
            f"{data}: target {recipe.target}: none of the {len(values)} images has a point to"
            " learn, so it would be a run on labels alone; expected a dataset with them (clicks of"
            " selected images, boxes for oracle), or --target none"
        )
    return pointed


def _check_best(recipe: Recipe, split: Split | None) -> None:
    key = recipe.engine.keep_best
    if key is None:
        return
    if split is None:
        raise OptionError(f"engine.keep_best={key} without --val; expected images to judge by")
    several = split.label.ndim == 2
    if (key == "val_map" and not several) or (several and key not in ("val_map", "val_label_loss")):
        raise OptionError(
            f"engine.keep_best={key}: not of {recipe.data.dataset}; expected"
            f" {'val_map' if several else 'val_accuracy'} or val_label_loss"
        )


def _warn(recipe: Recipe, found: TrainingData, data: Path, images: Path, slow: str | None) -> None:
    left_out = None
    if found.missing:
        left_out = (
            f"{found.facts['num_rows_without_image']} rows of {data} have no image in {images} and"
            f" are left out, e.g. {', '.join(found.missing)}"
        )
    foreign = foreign_normalisation(recipe.model, recipe.data)
    for note in (left_out, *found.notes, foreign, slow):
        if note is not None:
            click.echo(note, err=True)


def images_per_pass(
    batch_size: int, *, accumulate: int, num_images: int, num_processes: int
) -> int:
    """Images of one forward pass of one process; OptionError if they do not come out even, or if
    there are fewer to train on than an update takes.
    """
    if batch_size % (num_processes * accumulate):
        raise OptionError(
            f"batch_size {batch_size} over {num_processes} processes in"
            f" optim.accumulate={accumulate} parts; expected a multiple"
        )
    if batch_size > num_images:
        raise OptionError(
            f"batch_size is {batch_size} and there are {num_images} training images; an epoch would"
            " have no update. Lower it: --set batch_size=..., and optim.lr with it"
        )
    return batch_size // num_processes // accumulate


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
    ema = None
    if recipe.optim.ema is not None:
        ema = ModelEmaV3(model, decay=recipe.optim.ema, use_warmup=True)
    optimizer = make_optimizer(model, recipe.optim, fused=accelerator.device.type == "cuda")
    schedule = make_schedule(optimizer, recipe.optim, epochs=recipe.epochs, updates=updates)
    if recipe.engine.compile:
        network.compile()  # in place, before processes wrap it
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
    val: Path | float | None,
    val_split: Split | None,
) -> dict[str, Any]:
    validation = None
    if val is not None and val_split is not None:
        validation = {
            "name": val.resolve().name if isinstance(val, Path) else f"{val:g} held out",
            "digest": _digest_of(val_split),
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


def _digest_of(split: Split) -> str:
    """Of which images there are, not of their pixels."""
    return hashlib.sha256("\n".join(sorted(split.image_id.tolist())).encode()).hexdigest()
