"""The loop: a recipe, a dataset and images in, a complete run folder out.     [I/O]"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from luab_data.console import progress
from luab_data.errors import ImagesError, OptionError
from luab_train.data.dataset import of_dataset
from luab_train.printing import is_first_process
from luab_train.recipe import Recipe
from luab_train.settings import flatten
from luab_train.train import checkpoints, run_folder
from luab_train.train.checkpoints import KEEP, Position
from luab_train.train.setup import set_up
from luab_train.train.signals import Asked, Stop, Terminated
from luab_train.train.words import epoch_line, start_line, told

_LOWER_IS_BETTER = ("loss", "error")


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
    data: str | os.PathLike[str],
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    val: str | os.PathLike[str] | float | None = None,
    val_boxes: str | os.PathLike[str] | None = None,
    calibrated: str | os.PathLike[str] | None = None,
    points: str | os.PathLike[str] | None = None,
    resume: bool = True,
    keep: int = KEEP,
    shown: bool | None = None,
) -> TrainResult:
    """Train a recipe. Called again with the same arguments, an interrupted run goes on as if
    nothing had happened, and a complete one is left as it is.

    Args:
        recipe: what to train.
        data: dataset folder written by `luab-data convert`.
        images: the images of its rows, in any layout of `luab_train.data.sources`.
        out: folder of the run: new, empty, or a run of the same recipe.
        val: images to validate on after each epoch, `<class>/<image>`; or the share of the
            dataset's images to hold out for it, above 0 and below 1; None trains without.
        val_boxes: where their boxes are, see `luab_data.boxes.read_boxes`; None looks beside the
            images. Of COCO, the instances_*.json that lists them, with their labels.
        calibrated: what `luab-data calibrate DATASET --out` wrote; for target `calibrated` and for
            `loss.reliability_weights`.
        points: tracing dataset of these images, whose points are to be learned: targets
            `trace_last`, `trace_centroid`, `hull_centre`, `trace`; None takes those of `data`.
        resume: go on from the last checkpoint; False starts an unfinished run again from nothing.
        keep: how many checkpoints stay; with two, the older serves if the newest is damaged.
        shown: False says nothing but warnings; None and True tell of start and epochs, with
            progress bars on a terminal.

    Raises:
        LuabError: the loss is no number; the batch is in the run's folder.
        StoppedError: SIGTERM or Ctrl-C came; the run saved itself.
    """
    out, data = Path(out), Path(data)
    recipe = of_dataset(recipe, data)
    if keep < 1:
        raise OptionError(f"keep is {keep}; expected at least 1 checkpoint to go on from")
    with run_folder.held(out) if is_first_process() else nullcontext(), _advised():
        run_folder.check_run(out, recipe, resume=resume)  # before anything slow
        if run_folder.is_complete(out):
            run_folder.check_dataset(out, data)
            _say(f"{out}: complete already, nothing was trained; delete it to train again", shown)
            return TrainResult(out, run_folder.last_metrics(out))
        task = set_up(
            recipe,
            data=data,
            images=Path(images),
            out=out,
            val=val if val is None or isinstance(val, float | int) else Path(val),
            val_boxes=None if val_boxes is None else Path(val_boxes),
            calibrated=None if calibrated is None else Path(calibrated),
            points=None if points is None else Path(points),
            shown=shown,
        )
        # Only now, when all that can be refused was: a folder is left behind by real runs alone.
        position = open_task(task.accelerator, recipe, task.environment, out, resume=resume)
        _say(start_line(task, out, position), shown)
        fit(task, out, position, keep=keep, keep_best=recipe.engine.keep_best, shown=shown)
        task.accelerator.end_training()
        # Else loader processes wait seconds for their end, and the next run for memory.
        task.accelerator.free_memory()
        return TrainResult(out, run_folder.last_metrics(out))


@contextmanager
def _advised() -> Iterator[None]:
    """What to do about an image that cannot be decoded, behind what is said of it."""
    try:
        yield
    except ImagesError as error:
        if "cannot be decoded" not in str(error):
            raise
        raise ImagesError(
            f"{error}, or train without it: --set data.corrupt_images=skip"
        ) from error


def _say(text: str, shown: bool | None) -> None:
    if shown is not False and is_first_process():
        click.echo(text, err=True)


def open_task(
    accelerator: Accelerator,
    recipe: object,
    environment: Mapping[str, Any],
    out: Path,
    *,
    resume: bool,
    same: Sequence[str] = run_folder.SAME,
) -> Position:
    """How far the run is, and its state then. Rank 0 opens the folder and tells the others.

    Args:
        accelerator: of a task, with all that it saves.
        recipe, environment: of the task.
        out: folder of the run.
        resume: go on from its last checkpoint.
        same: of the environment, what must be as the run began with.
    """
    found = [Position()]
    if accelerator.is_main_process:
        found = [run_folder.open_run(out, recipe, resume=resume)]
        run_folder.record_environment(out, environment, position=found[0], same=same)
    position: Position = broadcast_object_list(found)[0]
    if position > Position():
        checkpoints.load_checkpoint(accelerator, out, position)
    plain = {
        key: value if isinstance(value, (bool, int, float)) else str(value)
        for key, value in flatten(recipe).items()
    }
    accelerator.init_trackers("tracker", config=plain)
    return position


class Task(Protocol):
    """What is trained: all that the loop asks for."""

    accelerator: Accelerator
    epochs: int
    updates: int
    """Of an epoch."""
    batch_size: int
    """Images of an update over all processes."""
    accumulate: int
    """Batches of an update and process."""
    checkpoint_every: int | None
    """Updates between two checkpoints within an epoch."""

    def begin(self, epoch: int, first: int) -> Iterator[Any]:
        """The batches of an epoch, from 1, beginning at update `first`; its sums are forgotten if
        that is 0.
        """

    def update(self, taken: list[Any], *, epoch: int, update: int) -> Mapping[str, float] | None:
        """Train on the batches of an update; how the epoch goes, if that is known."""

    def gather(self) -> None:
        """Make sums and weights ready to be saved."""

    def result(self) -> dict[str, float]:
        """The epoch's numbers, alike in the first process only."""

    def validate(self, epoch: int, stop: Stop) -> dict[str, float]:
        """Numbers to put beside them, perhaps none. Raises: Asked if `stop` says so."""

    def weights(self) -> dict[str, Tensor]:
        """What a complete run keeps. All processes must ask."""


def fit(
    task: Task,
    run: Path,
    position: Position,
    *,
    keep: int = KEEP,
    keep_best: str | None = None,
    shown: bool | None = None,
) -> None:
    """Train all epochs after `position`, with a line of metrics and a checkpoint each.

    Args:
        keep_best: key of a line of metrics; the weights of its best epoch are kept too.

    Raises: Terminated if a signal asked to stop; the run saved itself.
    """
    accelerator = task.accelerator

    def save(at: Position) -> None:
        checkpoints.save_checkpoint(accelerator, run, at, keep=keep)

    with Stop(accelerator) as stop:
        for epoch in range(position.epoch + 1, task.epochs + 1):
            started = time.perf_counter()
            line = {"event": "epoch", "epoch": epoch}
            line |= train_epoch(
                task, run, epoch=epoch, first=position.update, keep=keep, stop=stop, shown=shown
            )
            try:
                line |= task.validate(epoch, stop)
            except Asked:
                position = Position(epoch - 1, task.updates)
                save(position)
                raise Terminated(run, position, stop.number) from None
            line["seconds"] = round(time.perf_counter() - started, 3)
            if keep_best is not None:
                _keep_if_best(task, run, line, keep_best)
            if accelerator.is_main_process:
                run_folder.append_metrics(run, line)
            accelerator.log({k: v for k, v in line.items() if k != "event"}, step=epoch)
            position = Position(epoch)
            save(position)
            _say(epoch_line(line, task.epochs), shown)
            if epoch < task.epochs and stop(0):
                raise Terminated(run, position, stop.number)
    weights = task.weights()
    if accelerator.is_main_process:
        run_folder.save_weights(weights, run)
    accelerator.wait_for_everyone()


def train_epoch(
    task: Task, run: Path, *, epoch: int, first: int, keep: int, stop: Stop, shown: bool | None
) -> dict[str, float]:
    """One pass over the training images, or the rest of one from update `first` on: the task's
    numbers, images_per_second of all processes, and data_wait, the share of the time in which the
    first one had no images to train on. Both are of this call.
    """
    started, waited = time.perf_counter(), 0.0
    bar = progress(
        what=f"epoch {epoch}/{task.epochs}",
        total=task.updates - first,
        unit="batch",
        shown=shown if task.accelerator.is_main_process else False,
    )
    found: dict[str, float] = {}
    parts = task.begin(epoch, first)
    with bar:
        for update in range(first, task.updates):
            asked = time.perf_counter()
            taken = list(itertools.islice(parts, task.accumulate))
            waited += time.perf_counter() - asked
            known = task.update(taken, epoch=epoch, update=update)
            done, stopping = update + 1, stop(update + 1)
            seconds = time.perf_counter() - started
            rate = (done - first) * task.batch_size / seconds
            found = {"images_per_second": round(rate, 2), "data_wait": round(waited / seconds, 4)}
            if known is not None:
                bar.set_postfix_str(told({**known, **found}), refresh=False)
            bar.update()
            every = task.checkpoint_every
            if done < task.updates and (stopping or (every is not None and done % every == 0)):
                task.gather()
                position = Position(epoch - 1, done)
                checkpoints.save_checkpoint(task.accelerator, run, position, keep=keep)
                if stopping:
                    raise Terminated(run, position, stopping)
    return {**task.result(), **found}


def _keep_if_best(task: Task, run: Path, line: Mapping[str, Any], key: str) -> None:
    """Write best.safetensors if no epoch before was as good; a number that is missing is not."""
    value = line.get(key)
    weights = task.weights()
    if value is None or value != value or not task.accelerator.is_main_process:
        return
    before = run_folder.best_so_far(run, key)
    sign = -1 if key.endswith(_LOWER_IS_BETTER) else 1
    if before is None or sign * value > sign * before:
        facts = {key: value, "epoch": line["epoch"]}
        run_folder.save_weights(weights, run, name="best", facts=facts)
