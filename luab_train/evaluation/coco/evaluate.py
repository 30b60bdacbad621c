"""COCO's images and a multi-label model in, mAP, context metrics and localisation out.     [I/O]"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.analysis.estimate import RESAMPLES
from luab_data.schema import COCO_CLASSES
from luab_train.evaluation.coco.average_precision import MeanPrecision, mean_average_precision
from luab_train.evaluation.coco.context import Context, Erasures, context, pairs_of
from luab_train.evaluation.coco.erasing import Eraser
from luab_train.evaluation.coco.leaning import leaning
from luab_train.evaluation.coco.pointing import Pointing, pointing
from luab_train.evaluation.coco.prediction import predict
from luab_train.evaluation.coco.scenes import Scenes, Status, find_scenes
from luab_train.evaluation.coco.storage import NUM_CLASSES, Tables, logits_matrix
from luab_train.evaluation.coco.views import Geometry, View
from luab_train.evaluation.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class CocoResult:
    """Everything measured on COCO with one model and one view.

    Args:
        precision: mAP.
        context: V_rand, V_worst and their difference; None if nothing was erased.
        leaning: which class leans on which, see leaning.SCHEMA; None if nothing was erased.
        pointing: None if the model was not trained to point.
        classes: a row a class, see `class_table`.
        num_images: all of the instances file, those without labels too.
        num_without_labels: they are negatives of every class.
        num_objects: (image, class) pairs by what became of their erasure, names of Status.
        num_outside: (image, class) pairs that the view does not show, not judged by their point.
        mean_overlap: mean over erasures of the largest share that one takes of another class.
        facts: how the rows were made: model, view, eraser.
    """

    precision: MeanPrecision
    context: Context | None
    leaning: pa.Table | None
    pointing: Pointing | None
    classes: pa.Table
    num_images: int
    num_without_labels: int
    num_objects: dict[str, int]
    num_outside: int
    mean_overlap: float
    facts: dict[str, Any]


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
        "eraser": None if eraser is None else asdict(eraser),
    }


def summarise(tables: Tables, *, resamples: int = RESAMPLES, seed: int = 0) -> CocoResult:
    """Every metric from the rows of one model, which storage.read_tables also reads."""
    scores, objects, facts = tables
    image_id = scores["image_id"].to_numpy()
    labels_NC = label_matrix(scores["labels"])
    scores_NC = logits_matrix(scores["logits"])
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    precision = mean_average_precision(scores_NC, labels_NC, **options)
    image_P = np.searchsorted(image_id, objects["image_id"].to_numpy())
    label_P = objects["label"].to_numpy().astype(np.int64)
    status_P = objects["status"].to_numpy()
    covered_PC = _covered_matrix(objects["covered"], labels_NC[image_P])
    found_context, found_leaning, overlap = None, None, np.nan
    if facts["eraser"] is not None:
        is_erased = status_P == Status.ERASED
        erasures = Erasures(
            image_P[is_erased], label_P[is_erased], logits_matrix(objects["logits_erased"])
        )
        pairs = pairs_of(erasures)
        found_context = context(pairs, num_classes=NUM_CLASSES, **options)
        covered_EC = covered_PC[is_erased]
        found_leaning = leaning(
            pairs,
            scores_NC[pairs.image_K, pairs.label_K],
            covered_EC[pairs.erasure_K, pairs.label_K],
            COCO_CLASSES,
        )
        overlap = _largest_overlap(covered_EC, erasures.label_E)
    is_seen = pc.greater(objects["chance"], 0).to_numpy()
    found_pointing = None
    if facts["point_trained"]:
        found_pointing = pointing(
            image_P[is_seen],
            label_P[is_seen],
            _floats(objects["is_point_on_mask"])[is_seen],
            _floats(objects["is_centre_on_mask"])[is_seen],
            _floats(objects["chance"])[is_seen],
            num_classes=NUM_CLASSES,
            **options,
        )
    return CocoResult(
        precision=precision,
        context=found_context,
        leaning=found_leaning,
        pointing=found_pointing,
        classes=class_table(precision, found_context, found_pointing),
        num_images=len(labels_NC),
        num_without_labels=int((~labels_NC.any(axis=1)).sum()),
        num_objects={s.name.lower(): int((status_P == s).sum()) for s in Status},
        num_outside=int((~is_seen).sum()),
        mean_overlap=overlap,
        facts=facts,
    )


def label_matrix(labels: pa.ChunkedArray) -> np.ndarray:
    """Lists of labels as (N, C) bool."""
    lengths = pc.list_value_length(labels).to_numpy()
    matrix = np.zeros((len(labels), NUM_CLASSES), bool)
    flat = pc.list_flatten(labels).to_numpy()
    matrix[np.repeat(np.arange(len(labels)), lengths), flat] = True
    return matrix


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    values: np.ndarray = column.cast(pa.float64()).to_numpy()
    return values


def _covered_matrix(covered: pa.ChunkedArray, labels_PC: np.ndarray) -> np.ndarray:
    """(P, C) float32: share of each class that an erasure takes; NaN for classes not there."""
    matrix = np.full(labels_PC.shape, np.nan, np.float32)
    # Both go row by row, labels ascending.
    matrix[labels_PC] = pc.list_flatten(covered).to_numpy()
    return matrix


def _largest_overlap(covered_EC: np.ndarray, label_E: np.ndarray) -> float:
    others = np.nan_to_num(covered_EC)
    others[np.arange(len(label_E)), label_E] = 0
    return float(others.max(axis=1).mean()) if len(label_E) else float("nan")


def class_table(
    precision: MeanPrecision, found_context: Context | None, found_pointing: Pointing | None
) -> pa.Table:
    """A row a class: ap, v_random, v_worst, difference and on_mask, with their ends and nulls.

    Null where the class has no image to measure it on, or the metric was not taken.
    """
    columns: dict[str, Any] = {
        "label": np.arange(NUM_CLASSES),
        "name": list(COCO_CLASSES),
        "num_positive": precision.num_positive,
    }
    measured = {"ap": precision.classes}
    if found_context is not None:
        columns["num_cases"] = found_context.random.classes.n.astype(np.int64)
        measured["v_random"] = found_context.random.classes
        measured["v_worst"] = found_context.worst.classes
        measured["difference"] = found_context.difference.classes
    if found_pointing is not None:
        columns["num_pointed"] = found_pointing.on_mask.classes.n.astype(np.int64)
        measured["on_mask"] = found_pointing.on_mask.classes
    for name, found in measured.items():
        for suffix, values in zip(
            ("", "_low", "_high", "_null"),
            (found.value, found.low, found.high, found.null),
            strict=True,
        ):
            columns[name + suffix] = pa.array(values, from_pandas=True)
    return pa.table(columns)
