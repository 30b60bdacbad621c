"""The loop: a recipe, a dataset and images in, a complete run folder out.     [I/O]"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast
from torch import nn

from luab_data.console import progress
from luab_train.data.loader import batches
from luab_train.recipe import Recipe
from luab_train.settings import flatten
from luab_train.train import run_folder
from luab_train.train.run_folder import Position
from luab_train.train.setup import Setup, set_up
from luab_train.train.signals import Stop, Terminated
from luab_train.train.step import Trainer
from luab_train.train.validate import report_unreadable, validate


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
    run_folder.check_run(out, recipe)  # before anything slow
    run = set_up(
        recipe,
        data=data,
        images=images,
        out=out,
        val=val,
        val_boxes=val_boxes,
        calibrated=calibrated,
        shown=shown,
    )
    accelerator = run.trainer.accelerator
    # Only now, when all that can be refused was: a folder is left behind by real runs alone.
    position = _open(run, out, recipe, resume=resume)

    line: dict[str, Any] = {}
    with Stop(accelerator) as stop:
        for epoch in range(position.epoch + 1, recipe.epochs + 1):
            started = time.perf_counter()
            if not position.update:
                run.tally.begin(epoch)
            run.tally.epoch = epoch
            line = {"event": "epoch", "epoch": epoch}
            line |= train_epoch(run, epoch=epoch, first=position.update, stop=stop, shown=shown)
            position = Position(epoch)
            if run.validation is not None:
                line |= validate(accelerator, _judged(run.trainer), run.validation, shown=shown)
            line["seconds"] = round(time.perf_counter() - started, 3)
            if accelerator.is_main_process:
                run_folder.append_metrics(out, line)
            accelerator.log({k: v for k, v in line.items() if k != "event"}, step=epoch)
            run_folder.save_checkpoint(accelerator, out, position)
            if epoch < recipe.epochs and stop(0):
                raise Terminated(out, position)
    network = accelerator.unwrap_model(_judged(run.trainer), keep_torch_compile=False)
    if accelerator.is_main_process:
        run_folder.save_model(network, out)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    # Else loader processes wait seconds for their end, and the next run of this process for memory.
    accelerator.free_memory()
    line = line or run_folder.last_metrics(out)
    return TrainResult(out, {key: run_folder.finite_or_none(value) for key, value in line.items()})


def train_epoch(
    run: Setup, *, epoch: int, first: int = 0, stop: Stop, shown: bool | None = None
) -> dict[str, float]:
    """One pass over the training images, or the rest of one from update `first` on.

    Returns: lr of the last update; train_images and train_points, images and targets that counted;
        train_label_loss, mean over images; train_point_loss, mean over targets, NaN without any;
        train_loss, mean over updates of what was minimised. The terms are unweighted.
        train_unreadable, images left out, if there were any.
    """
    trainer, tally, updates = run.trainer, run.tally, run.updates
    accelerator, recipe = trainer.accelerator, trainer.recipe
    trainer.model.train()
    run.order.epoch, run.order.start = epoch, first * recipe.batch_size
    lr = math.nan
    bar = progress(
        what=f"epoch {epoch}/{recipe.epochs}",
        total=updates - first,
        unit="batch",
        shown=shown if accelerator.is_main_process else False,
    )
    parts = batches(run.loader)
    with bar:
        for update in range(first, updates):
            taken = list(itertools.islice(parts, recipe.optim.accumulate))
            run.schedule.step_update((epoch - 1) * updates + update)
            lr = trainer.optimizer.param_groups[0]["lr"]
            tally.add(update, trainer.update(taken, epoch=epoch, update=update), taken)
            bar.update()
            done, stopping = update + 1, stop(update + 1)
            every = recipe.engine.checkpoint_every
            if done < updates and (stopping or (every is not None and done % every == 0)):
                tally.gather()
                trainer.check_weights()
                position = Position(epoch - 1, done)
                run_folder.save_checkpoint(accelerator, tally.run, position)
                if stopping:
                    raise Terminated(tally.run, position)
    result = tally.result()
    trainer.check_weights()
    report_unreadable(f"epoch {epoch}", tally.unreadable)
    return {"lr": lr, **result}


def _judged(trainer: Trainer) -> nn.Module:
    """The network that is validated and saved: the average of weights, if there is one. Statistics
    of its batch norms, each process' own, become those of the first: all processes must ask.
    """
    if trainer.ema is None:
        return trainer.model
    module: nn.Module = trainer.ema.module
    if trainer.accelerator.num_processes > 1:
        for own in module.buffers():
            own.copy_(broadcast(own))
    return module


def _open(run: Setup, out: Path, recipe: Recipe, *, resume: bool) -> Position:
    """How far the run is, and its state then. Rank 0 opens the folder, the others look at it when
    it is ready.
    """
    accelerator = run.trainer.accelerator
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            position = run_folder.open_run(out, recipe, resume=resume)
            run_folder.record_environment(out, run.environment, position=position)
    position = run_folder.last_position(out)
    if position > Position():
        run_folder.load_checkpoint(accelerator, out, position)
    plain = {
        key: value if isinstance(value, (bool, int, float)) else str(value)
        for key, value in flatten(recipe).items()
    }
    accelerator.init_trackers("tracker", config=plain)
    return position
