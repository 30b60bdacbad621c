"""The loop: a recipe, a dataset and images in, a complete run folder out.     [I/O]"""

from __future__ import annotations

import datetime
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader

from luab_data.console import progress
from luab_data.errors import LuabError, OptionError
from luab_train.data.annotations import Annotations
from luab_train.data.images import Split, training_split
from luab_train.data.loader import Batch, EpochOrder, Samples, make_loader
from luab_train.data.targets import make_target
from luab_train.data.transforms import EvalCrop, TrainCrop, epoch_seed
from luab_train.models.classifier import build_model
from luab_train.recipe import Recipe
from luab_train.training import checkpoint
from luab_train.training.device import describe, make_accelerator
from luab_train.training.losses import global_mean, label_loss, point_loss_sum
from luab_train.training.metrics import score
from luab_train.training.optim import make_optimizer, make_schedule
from luab_train.training.validate import evaluation_split, predict

# Steps between two looks at the loss: each look waits for the GPU.
_LOOK_EVERY = 20


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
    resume: bool = True,
    shown: bool | None = None,
) -> TrainResult:
    """Train a recipe. Called again with the same arguments, an interrupted run goes on as if
    nothing had happened.

    Args:
        recipe: what to train.
        data: dataset folder written by `luab-data convert imagenet-ab`.
        images: the images of its rows, `<wnid>/<image_id>.<ext>`.
        out: folder of the run: new, empty, or an unfinished run of the same recipe.
        val: images to validate on after each epoch, `<wnid>/<image>`; None trains without.
        val_boxes: where their boxes are, see `luab_data.boxes.read_boxes`; None looks beside the
            images.
        resume: go on from the last finished epoch; False starts an unfinished run again from
            nothing.
        shown: progress bars; None shows them on a terminal.
    """
    if val is None and val_boxes is not None:
        raise OptionError("--val-boxes without --val; expected the images that the boxes belong to")
    checkpoint.check_run(out, recipe)  # before anything slow
    annotations, split, facts = training_split(data, images, missing=recipe.data.missing_images)
    val_split = None if val is None else evaluation_split(val, annotations.classes, boxes=val_boxes)
    accelerator = make_accelerator(recipe.optim.precision)
    per_process = _batch_per_process(recipe, len(split), accelerator.num_processes)
    target = make_target(
        recipe.target,
        seed=recipe.seed,
        image_id=annotations.image_id,
        label=annotations.label,
        click=annotations.click,
        size_wh=annotations.size_wh,
        boxes=annotations.boxes,
    )
    samples = Samples(
        split,
        TrainCrop(recipe.data),
        target=target,
        seed=recipe.seed,
        cache=recipe.data.cache,
        shown=shown,
    )
    loader, order = _loader(accelerator, recipe, samples, per_process, train=True)
    # Alike in every process and every arm.
    set_seed(recipe.seed)
    model = build_model(recipe.model, recipe.data, num_classes=len(annotations.classes))
    optimizer = make_optimizer(model, recipe.optim)
    schedule = make_schedule(
        optimizer, recipe.optim, epochs=recipe.epochs, updates=len(samples) // recipe.batch_size
    )
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    validation = None
    if val_split is not None:
        crop = EvalCrop(recipe.data)
        val_samples = Samples(val_split, crop, cache=recipe.data.cache, shown=shown)
        val_loader, _ = _loader(accelerator, recipe, val_samples, per_process, train=False)
        validation = _Validation(val_split, accelerator.prepare(val_loader), crop)
    environment = _environment(accelerator, annotations, facts, val, val_split)
    # Only now, when all that can be refused was: a folder is left behind by real runs alone.
    done = _open(accelerator, out, recipe, environment, resume=resume)
    if done:
        checkpoint.load_checkpoint(accelerator, out, done)

    line: dict[str, Any] = {}
    for epoch in range(done + 1, recipe.epochs + 1):
        started = time.perf_counter()
        order.epoch = epoch
        set_seed(epoch_seed(recipe.seed, epoch, accelerator.process_index))
        line = {"event": "epoch", "epoch": epoch}
        line |= train_epoch(
            accelerator,
            model,
            loader,
            optimizer,
            schedule,
            epoch=epoch,
            recipe=recipe,
            shown=shown,
        )
        if validation is not None:
            line |= validate(accelerator, model, validation, shown=shown)
        line["seconds"] = round(time.perf_counter() - started, 3)
        if accelerator.is_main_process:
            checkpoint.append_metrics(out, line)
        checkpoint.save_checkpoint(accelerator, out, epoch)
    if accelerator.is_main_process:
        checkpoint.save_model(accelerator.unwrap_model(model), out)
    accelerator.wait_for_everyone()
    line = line or checkpoint.last_metrics(out)
    return TrainResult(out, {key: checkpoint.finite_or_none(value) for key, value in line.items()})


def train_epoch(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader[Batch],
    optimizer: torch.optim.Optimizer,
    schedule: CosineLRScheduler,
    *,
    epoch: int,
    recipe: Recipe,
    shown: bool | None = None,
) -> dict[str, float]:
    """One pass over the training images.

    Returns: lr of the last update; train_images and train_points, images and visible points seen;
        train_label_loss, mean over images; train_point_loss, mean over points, NaN without any;
        train_loss, mean over updates of what was minimised. The terms are unweighted.
    """
    model.train()
    loss = recipe.loss
    tally = _Tally(epoch, accelerator)
    updates = len(loader)
    lr = math.nan
    bar = progress(
        loader,
        what=f"epoch {epoch}/{recipe.epochs}",
        total=updates,
        unit="batch",
        shown=shown if accelerator.is_main_process else False,
    )
    for step, batch in enumerate(bar):
        schedule.step_update((epoch - 1) * updates + step)
        lr = optimizer.param_groups[0]["lr"]
        outputs = model(batch.image_BCHW)
        label_term = label_loss(
            outputs.logits_BC, batch.label_B, label_smoothing=loss.label_smoothing
        )
        point_sum, count = point_loss_sum(
            outputs.point_B2, batch.point_B2, batch.visible_B, beta=loss.beta
        )
        total_count = accelerator.reduce(count) if accelerator.num_processes > 1 else count
        point_term = global_mean(
            point_sum, global_count=total_count, world_size=accelerator.num_processes
        )
        total = label_term + loss.lambda_reg * point_term
        accelerator.backward(total)
        if recipe.optim.clip_grad is not None:
            accelerator.clip_grad_norm_(model.parameters(), recipe.optim.clip_grad)
        optimizer.step()
        optimizer.zero_grad()
        tally.add(len(batch.label_B), label_term, point_sum, count, total)
    return {"lr": lr, **tally.result()}


class _Tally:
    """Sums of an epoch; looks at the numbers now and then, since each look waits for the device."""

    def __init__(self, epoch: int, accelerator: Accelerator) -> None:
        self.epoch = epoch
        self.accelerator = accelerator
        self.sums = torch.zeros(5, dtype=torch.float64)
        self.steps = 0
        self.waiting: list[Tensor] = []

    def add(
        self, images: int, label_term: Tensor, point_sum: Tensor, count: Tensor, total: Tensor
    ) -> None:
        row = [label_term.detach() * images, point_sum.detach(), count.float(), total.detach()]
        self.waiting.append(torch.stack([*row, torch.full_like(row[0], images)]))
        if len(self.waiting) == _LOOK_EVERY:
            self.look()

    def look(self) -> None:
        if not self.waiting:
            return
        rows = torch.stack(self.waiting).cpu().double()
        bad = (~rows.isfinite()).any(dim=1).nonzero()
        if len(bad):
            step = self.steps + int(bad[0]) + 1
            raise LuabError(
                f"loss is {rows[int(bad[0]), 3].item()} at epoch {self.epoch}, step {step}; the"
                f" checkpoint of epoch {self.epoch - 1} is kept. Lower optim.lr, set"
                " optim.clip_grad=1, or use optim.precision=no"
            )
        self.sums += rows.sum(dim=0)
        self.steps += len(rows)
        self.waiting.clear()

    def result(self) -> dict[str, float]:
        self.look()
        device = self.accelerator.device
        parts = torch.cat([self.sums, torch.tensor([float(self.steps)], dtype=torch.float64)])
        if self.accelerator.num_processes > 1:
            parts = self.accelerator.reduce(parts.to(device)).cpu()
        label, point, count, total, images, steps = parts.tolist()
        return {
            "train_images": int(images),
            "train_points": int(count),
            "train_label_loss": label / images,
            "train_point_loss": point / count if count else math.nan,
            "train_loss": total / steps,
        }


@dataclass(frozen=True)
class _Validation:
    split: Split
    loader: DataLoader[Batch]
    crop: EvalCrop


def validate(
    accelerator: Accelerator,
    model: nn.Module,
    validation: _Validation,
    *,
    shown: bool | None = None,
) -> dict[str, float]:
    """The metrics of `luab_train.training.metrics.score` on the validation images, as val_*."""
    predictions = predict(
        accelerator, model, validation.loader, validation.crop, what="validation", shown=shown
    )
    result = score(predictions, label=validation.split.label, boxes=validation.split.boxes)
    result = {"images": result.pop("num_images"), **result}
    return {f"val_{key}": value for key, value in result.items()}


def _batch_per_process(recipe: Recipe, num_images: int, num_processes: int) -> int:
    if recipe.batch_size % num_processes:
        raise OptionError(
            f"batch_size {recipe.batch_size} over {num_processes} processes; expected a multiple"
        )
    if recipe.batch_size > num_images:
        raise OptionError(
            f"batch_size is {recipe.batch_size} and there are {num_images} training images; an"
            " epoch would have no update. Lower it: --batch-size"
        )
    return recipe.batch_size // num_processes


def _open(
    accelerator: Accelerator,
    out: Path,
    recipe: Recipe,
    environment: dict[str, Any],
    *,
    resume: bool,
) -> int:
    """Epochs already done. Rank 0 opens the folder, the others look at it when it is ready."""
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            done = checkpoint.open_run(out, recipe, resume=resume)
            checkpoint.record_environment(out, environment, done=done)
    return checkpoint.last_epoch(out)


def _environment(
    accelerator: Accelerator,
    annotations: Annotations,
    facts: dict[str, Any],
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
        "dataset": facts,
        "val": validation,
        "classes": list(annotations.classes),
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
    )
