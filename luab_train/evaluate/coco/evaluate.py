"""COCO's images and a multi-label model in, mAP, context metrics and localisation out.     [I/O]"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from luab_data.statistics.estimate import RESAMPLES
from luab_train.evaluate.coco.erasing import Eraser
from luab_train.evaluate.coco.prediction import predict
from luab_train.evaluate.coco.scenes import Scenes, find_scenes
from luab_train.evaluate.coco.summary import CocoResult, summarise
from luab_train.evaluate.coco.views import Geometry, View
from luab_train.evaluate.predictor import Predictor


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
        batch_size, num_workers, shown: see prediction.predict.
        resamples, seed: of the bootstrap over images.
    """
    found = find_scenes(images, instances)
    view = View(geometry=geometry, data=predictor.data)
    chosen = (eraser or Eraser()) if erasing else None
    tables = predict(
        predictor,
        found.scenes,
        view=view,
        eraser=chosen,
        facts=_facts(predictor, found, images, instances, view, chosen),
        out=out,
        batch_size=batch_size,
        num_workers=num_workers,
        shown=shown,
    )
    return summarise(tables, resamples=resamples, seed=seed)


def _facts(
    predictor: Predictor,
    found: Scenes,
    images: Path,
    instances: Path,
    view: View,
    eraser: Eraser | None,
) -> dict[str, Any]:
    return {
        "model": predictor.name,
        "digest": predictor.digest,
        "precision": predictor.precision,
        "point_trained": predictor.point_trained,
        "images": images.resolve().name,
        "instances": instances.name,
        "num_unlisted": found.num_unlisted,
        "geometry": view.geometry,
        "image_size": view.data.image_size,
        "eval_resize": view.data.eval_resize if view.geometry == "crop" else None,
        "interpolation": view.data.interpolation,
        "eraser": None if eraser is None else {**asdict(eraser), "colour": list(eraser.colour)},
    }
