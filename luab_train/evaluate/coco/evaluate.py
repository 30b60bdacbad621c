"""COCO's images and a multi-label model in, mAP, context metrics and localisation out.     [I/O]

OUT/coco/scores.parquet, objects.parquet    what the model said, see `storage`
OUT/coco/classes.parquet, leaning.parquet   of each class, and which leans on which
OUT/coco/summary.json                       the numbers, and what they were made of
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.errors import OptionError, OutputError
from luab_data.files import write_whole
from luab_data.statistics.estimate import Estimate as Estimates
from luab_train.data.inputs import EvalCrop
from luab_train.evaluate import processes
from luab_train.evaluate.benchmark import Result
from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.benchmarks.localisation import CONTEXT_NOTE, INSTANCES
from luab_train.evaluate.coco.class_pixels import ClassPixels, class_pixels
from luab_train.evaluate.coco.erasing import Eraser
from luab_train.evaluate.coco.prediction import predict
from luab_train.evaluate.coco.scenes import Scenes, find_scenes
from luab_train.evaluate.coco.storage import Tables, write_tables
from luab_train.evaluate.coco.summary import CocoResult, summarise
from luab_train.evaluate.predictions import digest_of, write_predictions
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.settings import Settings
from luab_train.metrics.intervals import Estimate, unless_flat
from luab_train.train.run_folder import finite_or_none

NUM_PUBLISHED = 40_504
"""Images of val2014."""


def predicted(
    predictor: Predictor, found: Scenes, *, eraser: Eraser | None, settings: Settings
) -> Tables:
    """What a multi-label model says of COCO's images, whole and erased.

    Args:
        predictor: of 80 classes by ascending category id; logits, points shared or one a class.
        found: the images.
        eraser: how objects are erased; None skips it, which takes four forwards in five.
        settings: how; its own eraser is not asked.
    """
    crop = EvalCrop(predictor.data)
    facts = {
        "images": found.images,
        "instances": found.instances,
        "num_images": len(found.scenes),
        "num_unlisted": found.num_unlisted,
        "model": predictor.name,
        "weights": predictor.digest,
        "precision": predictor.precision,
        "point_trained": predictor.point_trained,
        **crop.describe(),
        "eraser": None if eraser is None else eraser.describe(),
    }
    return predict(
        predictor, found.scenes, crop=crop, eraser=eraser, facts=facts, settings=settings
    )


def coco_result(predictor: Predictor, root: Path, out: Path, settings: Settings) -> Result:
    """Evaluate ROOT/coco, or read what came of it before."""
    instances, folder = root / INSTANCES, out / "coco"
    about = {
        "weights": predictor.digest,
        "truth": processes.first(lambda: digest_of([instances])),
        "precision": predictor.precision,
        **EvalCrop(predictor.data).describe(),
        "eraser": settings.eraser.describe(),
        "on_bad": settings.on_bad,
    }
    kept = processes.first(lambda: _read(folder / "summary.json", about))
    if kept is not None:
        return kept
    found = find_scenes(root / "val2014", instances)
    tables = predicted(predictor, found, eraser=settings.eraser, settings=settings)
    pixels: ClassPixels | str
    try:
        pixels = class_pixels(predictor, found.scenes, settings=settings)
    except OptionError as error:  # a head that no map can be made of
        pixels = str(error)

    def finish() -> Result:
        summary = summarise(tables)
        result = _result(summary, pixels)
        try:
            _write(folder, about, tables, summary, result)
        except OutputError as error:
            return result._replace(unwritten=str(error))
        return result

    return processes.first(finish)


def _result(summary: CocoResult, pixels: ClassPixels | str) -> Result:
    view = f"{summary.facts['fit']} view"
    estimates, notes = {}, {}

    def add(
        name: str, found: Estimates, n: int, *, note: str = view, how: str = "bootstrap"
    ) -> None:
        factor = BY_NAME["coco"].factor(name)
        value, low, high = (
            factor * float(v) for v in (found.value, *unless_flat(found.low, found.high))
        )
        estimates[name], notes[name] = Estimate(value, low, high, n, how), note

    add("map", summary.precision.mean, summary.num_images)
    envelope = 100 * summary.precision.envelope
    estimates["map_envelope"] = Estimate(envelope, n=summary.num_images)
    notes["map_envelope"] = view
    for name, rate in summary.rates.items():
        note = f"{view}; {CONTEXT_NOTE}" if name in ("v_random", "v_worst") else view
        add(name, rate.mean, rate.num_images, note=note)
    status = {}
    if isinstance(pixels, str):
        estimates["mpxap"], notes["mpxap"] = Estimate(math.nan), pixels
        status["mpxap"] = "none"
    else:
        chance = f"{100 * float(pixels.mean.null):.1f}"
        note = f"{pixels.method}, {pixels.map_size} maps of {pixels.input_size} px, chance {chance}"
        add("mpxap", pixels.mean, pixels.num_images, note=note, how="jackknife")
    counts = {
        "num_images": (num_images := summary.facts["num_images"]),
        "num_published": NUM_PUBLISHED,
        "num_bad": num_images - summary.num_images,
    }
    partial = ""
    if num_images != NUM_PUBLISHED:
        partial = f"{num_images:,} of {NUM_PUBLISHED:,} images"
    return Result(estimates, notes, counts, dict.fromkeys(estimates, partial), status)


def _write(
    folder: Path, about: dict[str, Any], tables: Tables, summary: CocoResult, result: Result
) -> None:
    """The summary last: what it names is there."""
    write_tables(folder, tables)
    write_predictions(folder / "classes.parquet", summary.classes, about)
    if summary.leaning is not None:
        write_predictions(folder / "leaning.parquet", summary.leaning, about)
    content = {
        "about": about,
        "estimates": {
            name: [finite_or_none(value) for value in found]
            for name, found in result.estimates.items()
        },
        "notes": result.notes,
        "counts": result.counts,
        "partial": result.partial["map"],
        "status": result.status,
    }
    write_whole(folder / "summary.json", (json.dumps(content) + "\n").encode())


def _read(file: Path, about: dict[str, Any]) -> Result | None:
    """What `_write` wrote; None where there is nothing, or something else."""
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["about"] != about:
            return None
        estimates = {
            name: Estimate._make(np.nan if value is None else value for value in found)
            for name, found in content["estimates"].items()
        }
        notes, counts, partial, status = (
            content[key] for key in ("notes", "counts", "partial", "status")
        )
        return Result(estimates, notes, counts, dict.fromkeys(estimates, partial), status)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"{file}: cannot be read ({error!r}); delete it and evaluate again"
        ) from error
