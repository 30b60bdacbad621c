"""A run and a folder of images in, one line of its metrics.jsonl out.     [I/O]"""

from __future__ import annotations

import os
from pathlib import Path

from luab_data.errors import OptionError, OutputError
from luab_train.data.inputs import EvalCrop
from luab_train.data.loader import Samples, make_loader
from luab_train.data.splits import validation_split
from luab_train.evaluate.settings import Settings
from luab_train.train.device import make_accelerator
from luab_train.train.run_folder import (
    append_metrics,
    finite_or_none,
    load_model,
    read_environment,
    read_recipe,
)
from luab_train.train.validate import Validation, scored


class Unwritten(OutputError):
    """A result that the disk refused; `result` has it."""

    def __init__(self, message: str, result: dict[str, float | int | None]) -> None:
        super().__init__(message)
        self.result = result


def evaluate(
    run: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    boxes: str | os.PathLike[str] | None = None,
    name: str = "val",
    batch_size: int = 256,
    num_workers: int | None = None,
    precision: str | None = None,
    on_bad: str = "raise",
    shown: bool | None = None,
) -> dict[str, float | int | None]:
    """Evaluate a complete run on `<class>/<image>`; the result is added to RUN/metrics.jsonl.

    Args:
        run: folder of a complete run.
        images: one subfolder a class; the classes must be among those of the run. Where an image
            may have several labels, any layout.
        data: dataset folder whose `boxes` column has the boxes, by image id; or the labels, where
            an image may have several. Not with `boxes`.
        boxes: where the boxes are, anything `luab_data.boxes.read_boxes` takes; None looks beside
            the images. Where an image may have several labels, the instances file with these.
        name: what to call this test set in metrics.jsonl and in reports.
        batch_size: images at a time, per process; no effect on the result but for rounding.
        num_workers: loader processes; None takes the recipe's.
        precision: of the forward pass, no, fp16 or bf16; None takes the recipe's.
        on_bad: `raise` at an image that cannot be decoded, or `skip` it; `unreadable` counts them.
        shown: progress bar; None shows it on a terminal.

    Returns: the keys of `luab_train.metrics.places.score`, or where an image may have several
    labels of `train.multi_label.score_labels`; None for a mean over nothing.

    Raises: Unwritten, which has the result, if only metrics.jsonl could not be written.
    """
    if data is not None and boxes is not None:
        raise OptionError("--data and --boxes both name boxes; expected one of them")
    run, images = Path(run), Path(images)
    data, boxes = (None if path is None else Path(path) for path in (data, boxes))
    settings = Settings(batch_size=batch_size, num_workers=num_workers, on_bad=on_bad)
    recipe, classes = read_recipe(run), tuple(read_environment(run)["classes"])
    model = load_model(run)
    split = validation_split(recipe, images, classes, boxes=boxes, data=data)
    crop = EvalCrop(recipe.data)
    accelerator = make_accelerator(precision or recipe.optim.precision)
    loader, _ = make_loader(
        # A single pass gains nothing from keeping decoded images.
        Samples(split, crop, cache="none", corrupt=settings.on_bad),
        batch_size=settings.batch_size,
        seed=0,
        train=False,
        num_workers=recipe.data.num_workers if num_workers is None else num_workers,
        pin_memory=accelerator.device.type == "cuda",
    )
    prepared, loader = accelerator.prepare(model, loader)
    rows, found = scored(accelerator, prepared, Validation(split, loader, crop), name, shown=shown)
    result = {key: finite_or_none(value) for key, value in found.items()}
    if len(rows) < len(split):
        result["unreadable"] = len(split) - len(rows)
    if accelerator.is_main_process:
        facts = {"event": "evaluation", "name": name, "images": images.resolve().name}
        try:
            append_metrics(run, {**facts, **result})
        except OSError as error:
            raise Unwritten(
                f"{run / 'metrics.jsonl'}: the result could not be added"
                f" ({error.strerror or error}); it is printed here only",
                result,
            ) from error
    return result
