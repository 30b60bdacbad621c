"""What a run says of itself: a line at its start, one after each epoch, and the end of its bar."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luab_data.words import counted
from luab_train.train.checkpoints import Position

if TYPE_CHECKING:
    from luab_train.train.setup import Training

_SHOWN = {
    "train_loss": "loss {:.4g}",
    "train_label_loss": "label loss {:.4g}",
    "train_accuracy": "accuracy {:.1%}",
    "val_loss": "validation: loss {:.4g}",
    "val_label_loss": "validation: label loss {:.4g}",
    "val_accuracy": "accuracy {:.1%}",
    "val_map": "mAP {:.1%}",
    "val_localisation": "localisation {:.1%}",
    "images_per_second": "{:.4g} images/s",
    "data_wait": "{:.0%} waiting for images",
    "seconds": "{:.4g} s",
}
"""Key of a line of metrics -> how it is told."""


def told(line: Mapping[str, Any], *, among: Mapping[str, str] = _SHOWN) -> str:
    """The numbers of a line of metrics that people look at; a mean over nothing is left out."""
    return ", ".join(
        text.format(line[key])
        for key, text in among.items()
        if line.get(key) is not None and line[key] == line[key]  # not NaN
    )


def epoch_line(line: Mapping[str, Any], epochs: int) -> str:
    """`epoch 3/15: loss 2.310, ...`."""
    return f"epoch {line['epoch']}/{epochs}: {told(line)}"


def start_line(task: Training, run: Path, position: Position) -> str:
    """What is trained, on what, and where it goes."""
    recipe, facts = task.recipe, task.environment["dataset"]
    machine = task.environment["machine"]
    images, pointed = facts["num_train"], task.num_pointed
    points = ""
    if recipe.target != "none":
        points = f", {pointed:,} with a point ({pointed / images:.1%})"
    precision = {"no": "float32"}.get(machine["mixed_precision"], machine["mixed_precision"])
    processes = machine["num_processes"]
    where = machine["device"] + (f", {processes} processes" if processes > 1 else "")
    begun = f", going on after {position.name}" if position > Position() else ""
    return (
        f"{recipe.name}, target {recipe.target}, seed {recipe.seed}: {counted(images, 'image')} of"
        f" {len(task.environment['classes']):,} classes{points}; {where}, {precision};"
        f" {counted(recipe.epochs, 'epoch')} of {counted(task.updates, 'update')} of"
        f" {counted(recipe.batch_size, 'image')}; {task.memory}; to {run}{begun}"
    )
