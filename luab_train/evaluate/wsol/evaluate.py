"""Localisation as a benchmark: a split and a model in, rows of results out.     [I/O]"""

from __future__ import annotations

import math
from pathlib import Path

from luab_train.data.inputs import EvalCrop
from luab_train.evaluate import processes
from luab_train.evaluate.benchmark import Result
from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.predictions import (
    Predicted,
    digest_of,
    is_current,
    keep,
    of_table,
    read_predictions,
)
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.settings import Settings
from luab_train.evaluate.wsol.localise import localise
from luab_train.evaluate.wsol.metadata import read_metadata
from luab_train.metrics.intervals import Estimate
from luab_train.metrics.sums import estimates, table_of
from luab_train.train.run_folder import finite_or_none


def evaluate_wsol(predictor: Predictor, folder: Path, out: Path, settings: Settings) -> Result:
    """Localise ROOT/wsol, or read what was localised before: OUT/wsol/rows.parquet."""
    file = out / "wsol" / "rows.parquet"
    metadata = read_metadata(folder / "metadata")
    about = {
        "weights": predictor.digest,
        "part": digest_of(sorted((folder / "metadata").glob("*.txt"))),
        "settings": {
            **EvalCrop.squash(predictor.data, interpolation="bilinear").describe(),
            "precision": predictor.precision,
            "box_convention": settings.box_convention,
            "on_bad": settings.on_bad,
        },
        "model": predictor.name,
    }
    unwritten = ""
    if processes.first(lambda: is_current(file, about, ("image_id", "iou"))):
        part = read_predictions(file)
    else:
        found = localise(
            predictor,
            metadata.files(folder / "images"),
            metadata,
            box_convention=settings.box_convention,
            batch_size=settings.batch_size,
            num_threads=settings.threads,
            on_bad=settings.on_bad,
        )
        metrics = {key: finite_or_none(value) for key, value in found.metrics().items()}
        about |= {"metrics": metrics, "counts": {"num_bad": found.num_bad}}
        unwritten = processes.first(lambda: keep(file, found.rows, about))
        part = of_table("rows", found.rows, about)
    return processes.first(lambda: wsol_result(part, len(metadata), unwritten))


def wsol_result(part: Predicted, num_images: int, unwritten: str) -> Result:
    """Values are of all images at once, intervals of the images that have a say."""
    metrics = part.about["metrics"]
    facts = (
        f"{metrics['map_method']}, {metrics['map_size']} maps, {metrics['box_convention']} boxes"
    )
    found, notes = {}, {}
    for metric in BY_NAME["wsol"].metrics:
        cells = table_of(metric.measure, [part])
        estimate = Estimate(math.nan, n=int(metrics["num_images"]))
        if cells.cells:
            estimate = estimates([metric], {metric.measure: cells}.__getitem__)[metric.name]
        value = metrics.get(metric.name)
        found[metric.name] = estimate._replace(value=math.nan if value is None else 100 * value)
        tau = metrics.get(f"{metric.name}_tau")
        notes[metric.name] = facts if tau is None else f"{facts}, τ = {tau:g}"
    status = {name: "none" for name, e in found.items() if not math.isfinite(e.value)}
    counts = {"num_images": num_images, **part.about["counts"]}
    return Result(found, notes, counts, status=status, unwritten=unwritten)
