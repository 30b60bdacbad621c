"""A run and a folder of images in, one line of its metrics.jsonl out.     [I/O]"""

from __future__ import annotations

from pathlib import Path

from luab_data.errors import OptionError
from luab_train.data.dataset import evaluation_split
from luab_train.data.inputs import EvalCrop
from luab_train.data.loader import Samples, make_loader
from luab_train.train.device import make_accelerator
from luab_train.train.metrics import score
from luab_train.train.run_folder import (
    append_metrics,
    finite_or_none,
    load_model,
    read_environment,
    read_recipe,
)
from luab_train.train.validate import predict


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
    Returns: the keys of `luab_train.train.metrics.score`, None for a mean over nothing.
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
