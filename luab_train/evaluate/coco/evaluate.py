"""COCO's images and a multi-label model in, mAP, context metrics and localisation out.     [I/O]

OUT/coco/scores.parquet, objects.parquet    what the model said, see `storage`
OUT/coco/classes.parquet, leaning.parquet   of each class, and which leans on which
OUT/coco/summary.json                       the numbers, and what they were made of
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.errors import OptionError, OutputError
from luab_data.files import write_whole
from luab_data.statistics.estimate import RESAMPLES
from luab_data.statistics.estimate import Estimate as Estimates
from luab_train.data.inputs import EvalCrop
from luab_train.evaluate import processes
from luab_train.evaluate.benchmark import Result
from luab_train.evaluate.benchmarks.localisation import CONTEXT_NOTE, INSTANCES
from luab_train.evaluate.coco.class_pixels import ClassPixels, class_pixels
from luab_train.evaluate.coco.erasing import Eraser
from luab_train.evaluate.coco.prediction import predict
from luab_train.evaluate.coco.scenes import Scenes, find_scenes
from luab_train.evaluate.coco.storage import Tables, write_tables
from luab_train.evaluate.coco.summary import CocoResult, summarise
from luab_train.evaluate.coco.views import Geometry, View
from luab_train.evaluate.predictions import digest_of, write_predictions
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.settings import Settings
from luab_train.metrics.intervals import Estimate
from luab_train.train.run_folder import finite_or_none

NUM_PUBLISHED = 40_504
"""Images of val2014."""


def evaluate_coco(
    predictor: Predictor,
    images: Path,
    instances: Path,
    *,
    geometry: Geometry = "crop",
    eraser: Eraser | None = None,
    erasing: bool = True,
    out: Path | None = None,
    batch_size: int = 128,
    num_workers: int = 4,
    on_bad: str = "raise",
    resamples: int = RESAMPLES,
    seed: int = 0,
    shown: bool | None = None,
) -> CocoResult:
    """Evaluate a multi-label model on COCO's images.

    Args:
        predictor: of 80 classes by ascending category id; logits, points shared or one a class.
        images: folder of the images.
        instances: instances_val2014.json, or another of COCO's.
        geometry: what of an image is resized to the network's square, see views.View.
        eraser: how objects are erased; None takes the default.
        erasing: False skips the context metrics, which take four forwards in five.
        out: folder for scores.parquet and objects.parquet; None keeps no files.
        batch_size, num_workers, on_bad, shown: see prediction.predict.
        resamples, seed: of the bootstrap over images.
    """
    tables = _predicted(
        predictor,
        find_scenes(images, instances),
        facts={"images": images.resolve().name, "instances": instances.name},
        view=View(geometry=geometry, data=predictor.data),
        eraser=(eraser or Eraser()) if erasing else None,
        batch_size=batch_size,
        num_workers=num_workers,
        on_bad=on_bad,
        shown=shown,
    )
    if out is not None:
        write_tables(out, tables)
    return summarise(tables, resamples=resamples, seed=seed)


def _predicted(
    predictor: Predictor,
    found: Scenes,
    *,
    facts: dict[str, Any],
    view: View,
    eraser: Eraser | None,
    **options: Any,
) -> Tables:
    facts = {
        **facts,
        "model": predictor.name,
        "weights": predictor.digest,
        "precision": predictor.precision,
        "point_trained": predictor.point_trained,
        "num_unlisted": found.num_unlisted,
        "geometry": view.geometry,
        **EvalCrop(view.data).describe(),
        "eraser": None if eraser is None else {**asdict(eraser), "colour": list(eraser.colour)},
    }
    return predict(predictor, found.scenes, view=view, eraser=eraser, facts=facts, **options)


def coco_result(predictor: Predictor, root: Path, out: Path, settings: Settings) -> Result:
    """Evaluate ROOT/coco, or read what came of it before."""
    images, instances, folder = root / "val2014", root / INSTANCES, out / "coco"
    about = {
        "weights": predictor.digest,
        "truth": processes.first(lambda: digest_of([instances])),
        "precision": predictor.precision,
        **EvalCrop(predictor.data).describe(),
        "eraser": {**asdict(settings.eraser), "colour": list(settings.eraser.colour)},
        "on_bad": settings.on_bad,
    }
    kept = processes.first(lambda: _read(folder / "summary.json", about))
    if kept is not None:
        return kept
    found = find_scenes(images, instances)
    tables = _predicted(
        predictor,
        found,
        facts={"images": images.resolve().name, "instances": instances.name},
        view=View(data=predictor.data),
        eraser=settings.eraser,
        batch_size=settings.batch_size,
        num_workers=settings.workers,
        on_bad=settings.on_bad,
        shown=settings.shown,
    )
    pixels: ClassPixels | str
    try:
        pixels = class_pixels(
            predictor,
            images,
            instances,
            batch_size=settings.batch_size,
            num_threads=settings.threads,
            on_bad=settings.on_bad,
            shown=settings.shown,
        )
    except OptionError as error:  # a head that no map can be made of
        pixels = str(error)

    def finish() -> Result:
        summary = summarise(tables)
        result = _result(summary, pixels, len(found.scenes))
        try:
            _write(folder, about, tables, summary, result)
        except OutputError as error:
            return result._replace(unwritten=str(error))
        return result

    return processes.first(finish)


def _result(summary: CocoResult, pixels: ClassPixels | str, num_images: int) -> Result:
    view = f"{summary.facts['geometry']} view"
    estimates, notes = {}, {}

    def add(
        name: str, found: Estimates, n: int, *, note: str = view, how: str = "bootstrap"
    ) -> None:
        factor = 1.0 if name == "difference" else 100.0
        value, low, high = (factor * float(v) for v in (found.value, found.low, found.high))
        estimates[name], notes[name] = Estimate(value, low, high, n, how), note

    add("map", summary.precision.mean, summary.num_images)
    envelope = 100 * summary.precision.envelope
    estimates["map_envelope"] = Estimate(envelope, n=summary.num_images)
    notes["map_envelope"] = view
    if (context := summary.context) is not None:
        for name, rate in (("v_random", context.random), ("v_worst", context.worst)):
            add(name, rate.mean, context.num_images, note=f"{view}; {CONTEXT_NOTE}")
        add("difference", context.difference.mean, context.num_images)
    if (pointing := summary.pointing) is not None:
        add("on_mask", pointing.on_mask.mean, pointing.num_images)
        add("centre", pointing.centre.mean, pointing.num_images)
    status = {}
    if isinstance(pixels, str):
        estimates["mpxap"], notes["mpxap"] = Estimate(math.nan), pixels
        status["mpxap"] = "none"
    else:
        chance = f"{100 * float(pixels.mean.null):.1f}"
        note = f"{pixels.method}, {pixels.map_size} maps of {pixels.input_size} px, chance {chance}"
        add("mpxap", pixels.mean, pixels.num_images, note=note, how="jackknife")
    counts = {
        "num_images": num_images,
        "num_published": NUM_PUBLISHED,
        "num_bad": num_images - summary.num_images,
    }
    partial = ""
    if num_images != NUM_PUBLISHED:
        partial = f"{num_images:,} of {NUM_PUBLISHED:,} images"
    return Result(estimates, notes, counts, partial, status)


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
        "partial": result.partial,
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
        kept = (content[key] for key in ("notes", "counts", "partial", "status"))
        return Result(estimates, *kept)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"{file}: cannot be read ({error!r}); delete it and evaluate again"
        ) from error
