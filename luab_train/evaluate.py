"""A model and a folder of images in, a dictionary of metrics out.     [I/O]"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from luab_data.boxes import read_boxes
from luab_data.console import progress
from luab_data.errors import ImagesError, OptionError
from luab_train.annotations import read_annotations
from luab_train.checkpoint import (
    append_metrics,
    finite_or_none,
    load_model,
    read_environment,
    read_recipe,
)
from luab_train.data import Batch, Samples, make_loader
from luab_train.device import make_accelerator
from luab_train.images import ImageTree, Split, labelled_split, scan_images
from luab_train.metrics import Predictions, score
from luab_train.transforms import EvalCrop


def evaluate(
    run: Path,
    *,
    images: Path,
    data: Path | None = None,
    boxes: Path | None = None,
    name: str = "val",
    batch_size: int = 256,
    num_workers: int | None = None,
    shown: bool | None = None,
) -> dict[str, float | int | None]:
    """Evaluate a complete run on `<wnid>/<image>`; the result is added to RUN/metrics.jsonl.

    Args:
        run: folder of a complete run.
        images: one subfolder a class; the classes must be among those of the run.
        data: dataset folder whose `boxes` column has the boxes, by image id. Not with `boxes`.
        boxes: where the boxes are, anything `luab_data.boxes.read_boxes` takes; None looks beside
            the images.
        name: what to call this test set in metrics.jsonl and in reports.
        batch_size: images at a time, per process; no effect on the result but for rounding.
        num_workers: loader processes; None takes the recipe's.
        shown: progress bar; None shows it on a terminal.
    Returns: the keys of `luab_train.metrics.score`, None for a mean over nothing.
    """
    if data is not None and boxes is not None:
        raise OptionError("--data and --boxes both name boxes; expected one of them")
    if batch_size < 1:
        raise OptionError(f"batch size {batch_size}; expected at least 1")
    recipe, classes = read_recipe(run), tuple(read_environment(run)["classes"])
    model = load_model(run)
    split = evaluation_split(images, classes, boxes=boxes, data=data)
    crop = EvalCrop(recipe.data)
    accelerator = make_accelerator(recipe.optim.precision)
    loader, _ = make_loader(
        # A single pass gains nothing from keeping decoded images.
        Samples(split, crop, cache="none"),
        batch_size=batch_size,
        seed=0,
        train=False,
        num_workers=recipe.data.num_workers if num_workers is None else num_workers,
        pin_memory=accelerator.device.type == "cuda",
    )
    prepared, loader = accelerator.prepare(model, loader)
    predictions = predict(accelerator, prepared, loader, crop, what=name, shown=shown)
    result = score(predictions, label=split.label, boxes=split.boxes)
    if accelerator.is_main_process:
        append_metrics(
            run, {"event": "evaluation", "name": name, "images": images.resolve().name, **result}
        )
    return {key: finite_or_none(value) for key, value in result.items()}


def evaluation_split(
    images: Path, classes: tuple[str, ...], *, boxes: Path | None = None, data: Path | None = None
) -> Split:
    """The images of a folder, labelled by their subfolders, with the boxes found for them."""
    tree = scan_images(images)
    if data is not None:
        found, where = _boxes_of_dataset(data, tree), data
    else:
        where = images if boxes is None else boxes
        found = read_boxes(where)
    split = labelled_split(tree, classes, found)
    if found and not split.boxes.counts.any() and where != images:
        raise ImagesError(
            f"{where}: has boxes of {len(found)} images, e.g. {next(iter(found))}, but of none in"
            f" {images}, e.g. {split.image_id[0]}; expected boxes of these images"
        )
    return split


def _boxes_of_dataset(data: Path, tree: ImageTree) -> dict[str, np.ndarray]:
    annotations = read_annotations(data)
    rows = np.flatnonzero(
        np.isin(annotations.image_id, tree.image_id) & (annotations.boxes.counts > 0)
    )
    boxes = annotations.boxes.take(rows)
    per_image = np.split(boxes.values, boxes.bounds[1:-1])
    return dict(zip(annotations.image_id[rows].tolist(), per_image, strict=False))


@torch.inference_mode()
def predict(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader[Batch],
    crop: EvalCrop,
    *,
    what: str,
    shown: bool | None = None,
) -> Predictions:
    """Run a prepared model over a prepared loader; every process gets the predictions of all."""
    was_training = model.training
    model.eval()
    parts = []
    bar = progress(
        loader, what=what, unit="batch", shown=shown if accelerator.is_main_process else False
    )
    for batch in bar:
        logits_BC, point_B2 = model(batch.image_BCHW)
        loss_B = F.cross_entropy(logits_BC.float(), batch.label_B, reduction="none")
        row = (logits_BC.argmax(dim=1), loss_B, point_B2, batch.size_B2)
        parts.append([value.cpu() for value in accelerator.gather_for_metrics(row)])
    model.train(was_training)
    label, loss, point, size = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    region = crop.regions(size)
    low, high = region[:, :2], region[:, 2:]
    return Predictions(label, loss.astype(np.float64), low + point * (high - low), size, region)
