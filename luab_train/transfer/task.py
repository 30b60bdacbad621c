"""Mask R-CNN as a task of the trainer's loop: a trained backbone and COCO instances in, a run
folder with its average precision out.     [I/O]
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from pycocotools.coco import COCO
from torch import Tensor, nn
from torch.utils.data import DataLoader

from luab_data.console import progress
from luab_data.errors import ImagesError, LuabError, OptionError
from luab_train.data.geometry import update_seed
from luab_train.data.loader import EpochOrder, batches, make_loader
from luab_train.train import run_folder
from luab_train.train.device import describe, make_accelerator
from luab_train.train.loop import TrainResult, fit, open_task
from luab_train.train.setup import images_per_pass
from luab_train.train.signals import Asked, Stop
from luab_train.transfer.average_precision import average_precision, detections
from luab_train.transfer.model import build_mask_rcnn, read_backbone
from luab_train.transfer.objects import Objects, read_objects, read_truth
from luab_train.transfer.recipe import Transfer, rate
from luab_train.transfer.scenes import Scenes, SceneSamples, collate

_LOSSES = ("classifier", "box_reg", "mask", "objectness", "rpn_box_reg")
TERMS = tuple(f"loss_{name}" for name in _LOSSES)
"""torchvision's; their sum is what is minimised."""


def transfer(
    recipe: Transfer,
    *,
    source: str | os.PathLike[str],
    images: str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    val: str | os.PathLike[str],
    val_annotations: str | os.PathLike[str],
    out: str | os.PathLike[str],
    resume: bool = True,
    shown: bool | None = None,
) -> TrainResult:
    """Train Mask R-CNN from a trained ResNet. Called again with the same arguments, an interrupted
    transfer goes on as if nothing had happened, and a complete one is left as it is.

    Args:
        recipe: what to train.
        source: a complete run, or a file of weights, see `read_backbone`.
        images: training images.
        annotations: their COCO instances.
        val: images to evaluate on, all of them.
        val_annotations: their COCO instances.
        out: folder of the results: new, empty, or one with the same recipe.
        resume: go on from the last checkpoint; False starts an unfinished transfer again.
        shown: progress bars; None shows them on a terminal.

    Raises:
        LuabError: a loss is no number.
        StoppedError: SIGTERM or Ctrl-C came; the transfer saved itself.
    """
    run = Path(out)
    is_first = os.environ.get("RANK", "0") == "0"
    with run_folder.held(run) if is_first else contextlib.nullcontext():
        run_folder.check_run(run, recipe, resume=resume)  # before anything slow
        if not run_folder.is_complete(run):
            task = set_up(
                recipe,
                source=Path(source),
                seen=read_objects(Path(annotations), Path(images)),
                held_out=read_objects(Path(val_annotations), Path(val)),
                truth=Path(val_annotations),
                shown=shown,
            )
            about, same = task.environment, ("backbone", *run_folder.SAME)
            position = open_task(task.accelerator, recipe, about, run, resume=resume, same=same)
            fit(task, run, position, keep=1, shown=shown)
            if task.accelerator.is_main_process:
                shutil.rmtree(run / "checkpoint")  # with the momentum of all weights, large
            task.accelerator.wait_for_everyone()
            task.accelerator.free_memory()
        return TrainResult(run, run_folder.last_metrics(run))


def set_up(
    recipe: Transfer,
    *,
    source: Path,
    seen: Objects,
    held_out: Objects,
    truth: Path,
    shown: bool | None = None,
) -> Detection:
    """Build the network and its loaders; what can be refused is refused here, before a folder is
    made.
    """
    backbone = read_backbone(source, recipe)
    ours = dict(zip(seen.category_id.tolist(), seen.classes, strict=True))
    theirs = dict(zip(held_out.category_id.tolist(), held_out.classes, strict=True))
    if ours != theirs:
        odd = sorted(ours.items() ^ theirs.items())[:3]
        raise ImagesError(
            f"{truth}: its categories differ from those of the training images, e.g. {odd}"
        )
    accelerator = make_accelerator(recipe.optim.precision)
    usable = seen.with_objects()
    per_pass = images_per_pass(
        recipe.batch_size,
        accumulate=recipe.optim.accumulate,
        num_images=len(usable),
        num_processes=accelerator.num_processes,
    )
    updates = len(usable) // recipe.batch_size
    if 0 < recipe.optim.warmup_updates >= recipe.epochs * updates:
        raise OptionError(
            f"optim.warmup_updates is {recipe.optim.warmup_updates} of {recipe.epochs * updates}"
            " updates; the full rate would never be reached. Lower it: --set optim.warmup_updates=0"
        )
    samples = SceneSamples(seen, usable, train=True, seed=recipe.seed, flip=recipe.data.flip)
    every = SceneSamples(held_out, np.arange(len(held_out)), train=False)
    loaders = [
        make_loader(
            images,
            batch_size=size,
            seed=recipe.seed,
            train=images.train,
            num_workers=recipe.data.num_workers,
            pin_memory=accelerator.device.type == "cuda",
            collate_fn=collate,
        )
        # Masks of the size of the image, 100 an image: no more than a few images at a time.
        for images, size in ((samples, per_pass), (every, min(per_pass, 2)))
    ]
    set_seed(recipe.seed)  # alike in every process
    model: nn.Module = build_mask_rcnn(backbone, recipe, num_classes=len(seen.classes))
    optimizer: torch.optim.Optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=recipe.optim.lr,
        momentum=recipe.optim.momentum,
        weight_decay=recipe.optim.weight_decay,
    )
    model, optimizer, loader, val_loader = accelerator.prepare(
        model, optimizer, loaders[0][0], loaders[1][0]
    )
    task = Detection(
        accelerator=accelerator,
        recipe=recipe,
        model=model,
        optimizer=optimizer,
        loader=loader,
        order=loaders[0][1],
        updates=updates,
        val_loader=val_loader,
        held_out=held_out,
        truth=read_truth(truth) if accelerator.is_main_process else None,
        environment={
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **describe(accelerator),
            "backbone": {"name": backbone.name, "sha256": backbone.sha256()},
            "dataset": {**_facts(seen), "num_images_used": len(usable)},
            "val": _facts(held_out),
            "classes": list(seen.classes),
        },
        shown=shown,
    )
    accelerator.register_for_checkpointing(task)
    return task


def _facts(objects: Objects) -> dict[str, Any]:
    return {
        "num_images": len(objects),
        "num_objects": len(objects.label),
        "num_crowds": objects.num_crowds,
        "sha256": objects.sha256,
    }


@dataclass(kw_only=True)
class Detection:
    """A transfer that may begin; what its methods do says `luab_train.train.loop.Task`."""

    accelerator: Accelerator
    recipe: Transfer
    model: nn.Module
    optimizer: torch.optim.Optimizer
    loader: DataLoader[Scenes]
    """Of training images."""
    order: EpochOrder
    """Of `loader`."""
    updates: int
    """Of an epoch."""
    val_loader: DataLoader[Scenes]
    held_out: Objects
    """Images of `val_loader`."""
    truth: COCO | None
    """Their instances, in the first process."""
    environment: dict[str, Any]
    """What the run runs on and what it sees: the content of environment.json."""
    shown: bool | None = None
    """Progress of validation."""
    lr: float = field(default=math.nan, init=False)
    """Of the last update."""
    sums: Tensor = field(default_factory=lambda: torch.zeros(len(TERMS) + 2, dtype=torch.float64))
    """Of an epoch: TERMS, passes, images of all processes; alike in all of them."""

    def __post_init__(self) -> None:
        self.epochs = self.recipe.epochs
        self.batch_size = self.recipe.batch_size
        self.accumulate = self.recipe.optim.accumulate
        self.checkpoint_every = self.recipe.checkpoint_every

    def begin(self, epoch: int, first: int) -> Iterator[Scenes]:
        """The batches of an epoch from update `first` on."""
        if not first:
            self.sums.zero_()
        self.model.train()
        self.order.epoch, self.order.start = epoch, first * self.batch_size
        return batches(self.loader)

    def update(self, taken: list[Scenes], *, epoch: int, update: int) -> dict[str, float]:
        """Train on the batches of one update; the epoch's means.

        Raises: LuabError in every process, before any weight moves, if a loss is no number.
        """
        # Boxes are sampled at random: no update depends on how many came before it.
        set_seed(update_seed(self.recipe.seed, epoch, update, self.accelerator.process_index))
        done = (epoch - 1) * self.updates + update
        self.lr = rate(done, updates=self.updates, optim=self.recipe.optim)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        for part, batch in enumerate(taken, 1):
            terms = self._pass(batch, last=part == len(taken))
            if not np.isfinite(terms).all():
                bad = int(np.flatnonzero(~np.isfinite(terms))[0])
                raise LuabError(
                    f"{TERMS[bad]} is {terms[bad]} at epoch {epoch}, update {update + 1}; the last"
                    " checkpoint is kept. Lower optim.lr, raise optim.warmup_updates, or use"
                    " optim.precision=no"
                )
            num_images = len(batch.images) * self.accelerator.num_processes
            self.sums += torch.tensor([*terms, 1, num_images], dtype=torch.float64)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self.means()

    def _pass(self, batch: Scenes, *, last: bool) -> np.ndarray:
        """Gradients of one of an update's passes; processes exchange them with the last one.

        Returns: (len(TERMS),) float64, means over processes. Nothing is done if one is no number.
        """
        accelerator = self.accelerator
        with contextlib.nullcontext() if last else accelerator.no_sync(self.model):
            losses = self.model(_scaled(batch.images), batch.targets)
            values = torch.stack([losses[name] for name in TERMS])
            means = values.detach()
            if accelerator.num_processes > 1:
                means = accelerator.reduce(means, reduction="mean")
            found: np.ndarray = means.double().cpu().numpy()
            if np.isfinite(found).all():
                accelerator.backward(values.sum() / self.accumulate)
        return found

    def gather(self) -> None:
        """Sums are alike in all processes, and losses that are no numbers move no weight."""

    def result(self) -> dict[str, float]:
        """The rate of the last update and the means of the epoch."""
        return {"lr": self.lr, **self.means()}

    def means(self) -> dict[str, float]:
        """train_images; train_loss and train_<term> for each of TERMS, means over passes."""
        *terms, passes, num_images = self.sums.tolist()
        means = {name: value / passes for name, value in zip(TERMS, terms, strict=True)}
        return {
            "train_images": int(num_images),
            "train_loss": sum(means.values()),
            **{f"train_{name}": value for name, value in means.items()},
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Saved with a checkpoint, so that a resumed epoch reports the whole."""
        return {"sums": self.sums}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a state."""
        self.sums = state["sums"]

    def validate(self, epoch: int, stop: Stop) -> dict[str, float]:
        """Average precision on the held-out images, every `evaluate_every` epochs."""
        if epoch % self.recipe.evaluate_every and epoch < self.epochs:
            return {}
        found = self.detect(stop)
        if self.truth is None:
            return {}
        precision = average_precision(self.truth, found)
        return {f"val_{key}": value for key, value in precision.items()}

    @torch.no_grad()
    def detect(self, stop: Stop) -> list[dict[str, Any]]:
        """What the model finds in all held-out images, in COCO's format of results; alike in every
        process.
        """
        self.model.eval()
        # By image: the last batches of several processes are filled up with images seen before.
        found: dict[int, list[dict[str, Any]]] = {}
        bar = progress(
            batches(self.val_loader),
            what="validation",
            total=len(self.val_loader),
            unit="batch",
            shown=self.shown if self.accelerator.is_main_process else False,
        )
        for number, batch in enumerate(bar, 1):
            outputs = self.model(_scaled(batch.images))
            for index, output in zip(batch.index_B.tolist(), outputs, strict=True):
                found[index] = detections(
                    output,
                    image_id=int(self.held_out.image_id[index]),
                    category_id=self.held_out.category_id,
                )
            if stop(number):
                raise Asked
        if self.accelerator.num_processes > 1:
            found = dict(gather_object(list(found.items())))
        return [one for _, ones in sorted(found.items()) for one in ones]

    def weights(self) -> dict[str, Tensor]:
        """Of the whole detector, as torchvision names them."""
        weights: dict[str, Tensor] = self.accelerator.unwrap_model(self.model).state_dict()
        return weights


def _scaled(images: list[Tensor]) -> list[Tensor]:
    """uint8 -> [0, 1], as torchvision's detectors take them; a quarter of the bytes until here."""
    return [image.float() / 255 for image in images]
