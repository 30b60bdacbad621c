"""The loop: a trained backbone and COCO instances in, a Mask R-CNN and its precision out.  [I/O]"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from luab_data.console import progress
from luab_data.errors import ImagesError, LuabError, OptionError
from luab_train.data.transforms import update_seed
from luab_train.training.checkpoint import append_metrics
from luab_train.training.device import describe, make_accelerator
from luab_train.transfer.average_precision import average_precision, detections, read_truth
from luab_train.transfer.folder import (
    check_out,
    load_checkpoint,
    open_out,
    save_checkpoint,
    save_model,
)
from luab_train.transfer.loader import Scenes, SceneSamples, make_scene_loader
from luab_train.transfer.model import build_mask_rcnn, read_backbone
from luab_train.transfer.objects import Objects, read_objects
from luab_train.transfer.recipe import Transfer, rate

TERMS = (
    "loss_classifier",
    "loss_box_reg",
    "loss_mask",
    "loss_objectness",
    "loss_rpn_box_reg",
)
"""torchvision's; their sum is what is minimised."""


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
    shown: bool | None = None,
) -> TransferResult:
    """Train Mask R-CNN from a trained ResNet. Called again with the same arguments, an interrupted
    transfer goes on after the last finished epoch, as if nothing had happened.

    Args:
        recipe: what to train.
        source: a complete run, or a file of weights, see `read_backbone`.
        images: training images.
        annotations: their COCO instances.
        val: images to evaluate on, all of them.
        val_annotations: their COCO instances.
        out: folder of the results: new, empty, or unfinished with the same recipe.
        shown: progress bars; None shows them on a terminal.
    """
    check_out(out, recipe)  # before anything slow
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
    set_seed(recipe.seed)  # alike in every process
    model: nn.Module = build_mask_rcnn(backbone, recipe, num_classes=len(seen.classes))
    optimizer: torch.optim.Optimizer = make_sgd(model, recipe)
    model, optimizer, loader, val_loader = accelerator.prepare(model, optimizer, loader, val_loader)
    updates = len(loader) // recipe.optim.accumulate
    if recipe.optim.warmup_updates >= recipe.epochs * updates and recipe.optim.warmup_updates > 0:
        raise OptionError(
            f"optim.warmup_updates is {recipe.optim.warmup_updates} of {recipe.epochs * updates}"
            " updates; the full rate would never be reached. Lower it: --set optim.warmup_updates=0"
        )
    environment = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **describe(accelerator),
        "backbone": {"name": backbone.name, "sha256": backbone.sha256()},
        "train": {**_facts(seen), "num_images_used": len(usable)},
        "val": _facts(held_out),
        "classes": list(seen.classes),
    }
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            open_out(out, recipe, environment)
    done = load_checkpoint(accelerator, out, model, optimizer)

    truth = read_truth(val_annotations) if accelerator.is_main_process else None
    for epoch in range(done + 1, recipe.epochs + 1):
        started = time.perf_counter()
        order.epoch = epoch
        set_seed(update_seed(recipe.seed, epoch, 0, accelerator.process_index))
        line: dict[str, Any] = {"event": "epoch", "epoch": epoch}
        line |= train_epoch(
            accelerator, model, loader, optimizer, epoch=epoch, recipe=recipe, shown=shown
        )
        if epoch % recipe.evaluate_every == 0 or epoch == recipe.epochs:
            found = detect(accelerator, model, val_loader, held_out, shown=shown)
            if truth is not None:
                precision = average_precision(truth, found)
                line |= {f"val_{key}": value for key, value in precision.items()}
        line["seconds"] = round(time.perf_counter() - started, 3)
        if accelerator.is_main_process:
            append_metrics(out, line)
        save_checkpoint(accelerator, out, epoch, model, optimizer)
    if accelerator.is_main_process:
        save_model(out, accelerator.unwrap_model(model))
    accelerator.wait_for_everyone()
    last = (out / "metrics.jsonl").read_text().splitlines()[-1]
    return TransferResult(out, json.loads(last))


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
    optimizer: torch.optim.Optimizer,
    *,
    epoch: int,
    recipe: Transfer,
    shown: bool | None = None,
) -> dict[str, float]:
    """One pass over the training images.

    Returns: lr of the last update; train_images seen; train_loss and train_<term> for each of
        TERMS, means over batches and processes.
    """
    model.train()
    accumulate = recipe.optim.accumulate
    updates = len(loader) // accumulate
    sums = np.zeros(len(TERMS))
    num_images, lr = 0, math.nan
    bar = progress(
        loader,
        what=f"epoch {epoch}/{recipe.epochs}",
        total=len(loader),
        unit="batch",
        shown=shown if accelerator.is_main_process else False,
    )
    for step, batch in enumerate(bar):
        if step >= updates * accumulate:
            continue  # too few batches are left for an update
        is_last = step % accumulate == accumulate - 1
        alone = contextlib.nullcontext() if is_last else accelerator.no_sync(model)
        with alone:
            terms = model(scaled(batch.images), batch.targets)
            values = torch.stack([terms[name] for name in TERMS])
            sums += _finite(accelerator, values.detach(), epoch, step // accumulate + 1)
            accelerator.backward(values.sum() / accumulate)
        num_images += len(batch.images) * accelerator.num_processes
        if is_last:
            lr = rate(
                (epoch - 1) * updates + step // accumulate, updates=updates, optim=recipe.optim
            )
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad()
    means = dict(zip(TERMS, (sums / (updates * accumulate)).tolist(), strict=True))
    return {
        "lr": lr,
        "train_images": num_images,
        "train_loss": sum(means.values()),
        **{f"train_{name}": value for name, value in means.items()},
    }


def scaled(images: list[Tensor]) -> list[Tensor]:
    """uint8 -> [0, 1], as torchvision's detectors take them; a quarter of the bytes until here."""
    return [image.float() / 255 for image in images]


def _finite(accelerator: Accelerator, terms: Tensor, epoch: int, update: int) -> np.ndarray:
    """The terms, means over processes; each process learns of a bad one before any weight moves."""
    if accelerator.num_processes > 1:
        terms = accelerator.reduce(terms, reduction="mean")
    values = terms.double().cpu().numpy()
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        kept = f"the checkpoint of epoch {epoch - 1} is kept" if epoch > 1 else "nothing is kept"
        raise LuabError(
            f"{TERMS[bad]} is {values[bad]} at epoch {epoch}, update {update}; {kept}. Lower"
            " optim.lr, raise optim.warmup_updates, or use optim.precision=no"
        )
    return values


@torch.no_grad()
def detect(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader[Scenes],
    objects: Objects,
    *,
    shown: bool | None = None,
) -> list[dict[str, Any]]:
    """What the model finds in all images, in COCO's format of results; alike in every process."""
    model.eval()
    # By image: the last batches of several processes are filled up with images seen before.
    found: dict[int, list[dict[str, Any]]] = {}
    bar = progress(
        loader,
        what="validation",
        total=len(loader),
        unit="batch",
        shown=shown if accelerator.is_main_process else False,
    )
    for batch in bar:
        outputs = model(scaled(batch.images))
        for index, output in zip(batch.index_B.tolist(), outputs, strict=True):
            found[index] = detections(
                output, image_id=int(objects.image_id[index]), category_id=objects.category_id
            )
    if accelerator.num_processes > 1:
        found = dict(gather_object(list(found.items())))
    return [one for _, ones in sorted(found.items()) for one in ones]


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
