"""A model and images in, a dictionary of metrics out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import click
import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from luab_data.console import progress
from luab_train.data.inputs import EvalCrop
from luab_train.data.loader import Batch, batches
from luab_train.data.splits import Split
from luab_train.metrics.places import Predictions, score
from luab_train.models.classifier import Outputs
from luab_train.train.multi_label import Scores, score_labels
from luab_train.train.signals import Asked, Stop


@dataclass(frozen=True)
class Validation:
    """What a run is validated on after each epoch."""

    split: Split
    loader: DataLoader[Batch]
    crop: EvalCrop


def validate(
    accelerator: Accelerator,
    model: nn.Module,
    validation: Validation,
    *,
    shown: bool | None = None,
    stop: Stop | None = None,
) -> dict[str, float]:
    """The metrics of the validation images, as val_*: those of `metrics.score`, or where an image
    has several labels of `multi_label.score_labels`; over the images that could be decoded, and
    val_unreadable, how many could not, if there were any.

    Raises: Asked as soon as `stop` says so.
    """
    split = validation.split
    rows, result = scored(accelerator, model, validation, "validation", shown=shown, stop=stop)
    result = {"images": result.pop("num_images"), **result}
    if len(rows) < len(split):
        result["unreadable"] = len(split) - len(rows)
        if accelerator.is_main_process:
            left_out = np.setdiff1d(np.arange(len(split)), rows)
            report_unreadable("validation", {str(split.image_id[i]) for i in left_out})
    return {f"val_{key}": value for key, value in result.items()}


def scored(
    accelerator: Accelerator,
    model: nn.Module,
    validation: Validation,
    what: str,
    *,
    shown: bool | None = None,
    stop: Stop | None = None,
) -> tuple[np.ndarray, dict[str, float]]:
    """Which images of the split could be decoded, and the metrics over these."""
    split, loader = validation.split, validation.loader
    if split.label.ndim == 2:
        scores = predict_scores(accelerator, model, loader, what=what, shown=shown, stop=stop)
        rows = np.flatnonzero(np.broadcast_to(scores.valid, len(split)))
        scores = Scores(*_rows(scores, rows, len(split)))
        return rows, score_labels(scores, label_NC=split.label[rows])
    found = predict(accelerator, model, loader, validation.crop, what=what, shown=shown, stop=stop)
    rows = np.flatnonzero(np.broadcast_to(found.valid, len(split)))
    found = Predictions(*_rows(found, rows, len(split)))
    return rows, score(found, label=split.label[rows], boxes=split.boxes.take(rows))


def _rows(columns: Iterable[np.ndarray], rows: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """Some rows of columns of `length` rows, or of one for all."""
    for column in columns:
        yield np.broadcast_to(column, (length, *column.shape[1:]))[rows]


def report_unreadable(when: str, image_ids: set[str]) -> None:
    """Name images that could not be decoded on the error stream; nothing where all could."""
    if image_ids:
        some = ", ".join(sorted(image_ids)[:10]) + (", ..." if len(image_ids) > 10 else "")
        click.echo(
            f"{when}: {len(image_ids)} images could not be decoded and were left out: {some}",
            err=True,
        )


def predict(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader[Batch],
    crop: EvalCrop,
    *,
    what: str,
    shown: bool | None = None,
    stop: Stop | None = None,
) -> Predictions:
    """Run a prepared model over a prepared loader; every process gets the predictions of all."""

    def row(outputs: Outputs, batch: Batch) -> tuple[Tensor, ...]:
        logits_BC, point_BKD = outputs.logits_BC, outputs.point_BKD
        if point_BKD.shape[1:] != (1, 2):  # no place, or many
            point_BKD = point_BKD.new_full((len(point_BKD), 1, 2), torch.nan)
        loss_B = F.cross_entropy(logits_BC.float(), batch.label, reduction="none")
        return logits_BC.argmax(dim=1), loss_B, point_BKD[:, 0], batch.size_B2, batch.valid_B

    found = _over_all(accelerator, model, loader, row, what=what, shown=shown, stop=stop)
    label, loss, point, size, valid = found
    region = crop.regions(size)
    low, high = region[:, :2], region[:, 2:]
    place = low + point * (high - low)
    return Predictions(label, loss.astype(np.float64), place, size, region, valid)


def predict_scores(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader[Batch],
    *,
    what: str,
    shown: bool | None = None,
    stop: Stop | None = None,
) -> Scores:
    """The same where an image has several labels."""

    def row(outputs: Outputs, batch: Batch) -> tuple[Tensor, ...]:
        logits_BC = outputs.logits_BC.float()
        loss_BC = F.binary_cross_entropy_with_logits(logits_BC, batch.label, reduction="none")
        return logits_BC, loss_BC.mean(dim=1), batch.valid_B

    logits, loss, valid = _over_all(
        accelerator, model, loader, row, what=what, shown=shown, stop=stop
    )
    return Scores(logits, loss.astype(np.float64), valid)


@torch.inference_mode()
def _over_all(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader[Batch],
    row: Callable[[Outputs, Batch], tuple[Tensor, ...]],
    *,
    what: str,
    shown: bool | None,
    stop: Stop | None,
) -> list[np.ndarray]:
    """What `row` makes of each batch, gathered from all processes and concatenated; the padding of
    the last batch is dropped.
    """
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
    for number, batch in enumerate(bar, 1):
        gathered = accelerator.gather_for_metrics(row(model(batch.image_BCHW), batch))
        parts.append([value.cpu() for value in gathered])
        if stop is not None and stop(number):
            raise Asked
    model.train(was_training)
    return [torch.cat(column).numpy() for column in zip(*parts, strict=True)]
