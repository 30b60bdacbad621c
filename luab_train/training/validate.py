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
from luab_train.data.annotations import read_annotations
from luab_train.data.coco import coco_split
from luab_train.data.crops import EvalCrop
from luab_train.data.images import Split, labelled_split
from luab_train.data.loader import Batch
from luab_train.data.sources import ImageSource, open_images
from luab_train.recipe import Recipe
from luab_train.training.batches import batches
from luab_train.training.metrics import Predictions


def validation_split(
    recipe: Recipe, images: Path, classes: tuple[str, ...], *, boxes: Path | None = None
) -> Split:
    """The validation images of a run: of COCO those of an instances file, which is `boxes`."""
    if recipe.data.dataset != "coco-ab":
        return evaluation_split(images, classes, boxes=boxes)
    if boxes is None or not boxes.is_file():
        raise OptionError(
            f"{images}: data.dataset=coco-ab has its labels in a file of instances, not in folders;"
            " expected --val-boxes annotations/instances_val2014.json, of the images in --val"
        )
    return coco_split(images, boxes)


def evaluation_split(
    images: Path, classes: tuple[str, ...], *, boxes: Path | None = None, data: Path | None = None
) -> Split:
    """The images of a folder, labelled by their subfolders, with the boxes found for them."""
    source = open_images(images)
    if data is not None:
        found, where = _boxes_of_dataset(data, source), data
    else:
        where = images if boxes is None else boxes
        found = read_boxes(where)
    split = labelled_split(source, classes, found)
    if found and not split.boxes.counts.any() and where != images:
        raise ImagesError(
            f"{where}: has boxes of {len(found)} images, e.g. {next(iter(found))}, but of none in"
            f" {images}, e.g. {split.image_id[0]}; expected boxes of these images"
        )
    return split


def _boxes_of_dataset(data: Path, source: ImageSource) -> dict[str, np.ndarray]:
    annotations = read_annotations(data)
    rows = np.flatnonzero(
        np.isin(annotations.image_id, source.image_id) & (annotations.boxes.counts > 0)
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
        batches(loader),
        what=what,
        total=len(loader),
        unit="batch",
        shown=shown if accelerator.is_main_process else False,
    )
    for batch in bar:
        outputs = model(batch.image_BCHW)
        logits_BC, point_BKD = outputs.logits_BC, outputs.point_BKD
        if point_BKD.shape[1:] != (1, 2):  # no place, or many
            point_BKD = point_BKD.new_full((len(point_BKD), 1, 2), torch.nan)
        loss_B = F.cross_entropy(logits_BC.float(), batch.label, reduction="none")
        row = (logits_BC.argmax(dim=1), loss_B, point_BKD[:, 0], batch.size_B2, batch.valid_B)
        parts.append([value.cpu() for value in accelerator.gather_for_metrics(row)])
    model.train(was_training)
    columns = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    label, loss, point, size, valid = columns
    region = crop.regions(size)
    low, high = region[:, :2], region[:, 2:]
    place = low + point * (high - low)
    return Predictions(label, loss.astype(np.float64), place, size, region, valid)
