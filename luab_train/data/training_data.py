"""A recipe, a dataset folder and its images in; what a run trains on out.     [I/O]"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.errors import OptionError
from luab_data.schema import COCO_CLASSES
from luab_train.data.annotations import read_annotations
from luab_train.data.boxes import Boxes
from luab_train.data.coco import make_coco_target, read_coco
from luab_train.data.images import Split, match_ids, match_images
from luab_train.data.sources import open_images
from luab_train.data.targets import TrainingPoints, noise, share_of_each_class, training_points
from luab_train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Images, labels and points of a run, row for row."""

    split: Split
    classes: tuple[str, ...]
    """Name of class 0, 1, ..."""
    points: TrainingPoints
    facts: dict[str, Any]
    """Where it comes from and how much there is, for the run's record."""
    missing: list[str]
    """Image ids of the first rows that have no image, if there are any."""


def training_data(
    recipe: Recipe, *, data: Path, images: Path, calibrated: Path | None = None
) -> TrainingData:
    """The rows of a dataset folder that have an image, with what each is to teach.

    Args:
        recipe: its arm, fraction, noise and policies.
        data: dataset folder.
        images: the images of its rows.
        calibrated: output of `luab-data calibrate --out`, for target `calibrated` and for
            reliability weights.
    """
    wanted = recipe.target == "calibrated" or recipe.loss.reliability_weights
    if calibrated is not None and not wanted:
        raise OptionError(
            f"--calibrated with target {recipe.target}: nothing would use it; expected --target"
            " calibrated or --set loss.reliability_weights=true"
        )
    if recipe.data.dataset == "coco-ab":
        return _coco_data(recipe, data=data, images=images)
    if wanted and calibrated is None:
        raise OptionError(
            f"target {recipe.target}, loss.reliability_weights={recipe.loss.reliability_weights}:"
            " needs calibrated clicks; expected --calibrated FILE from `luab-data calibrate DATASET"
            " --out FILE`"
        )
    annotations = read_annotations(
        data, target=recipe.target, calibrated=calibrated if wanted else None
    )
    source = open_images(images)
    matched = match_images(annotations, source, missing=recipe.data.missing_images, where=data)
    num_rows = len(annotations.label)
    missing = _first_missing(annotations.image_id, matched.rows)
    annotations, source_index = annotations.take(matched.rows), matched.source_index
    if recipe.data.fraction < 1:
        kept = share_of_each_class(annotations.image_id, annotations.label, recipe.data.fraction)
        annotations, source_index = annotations.take(kept), source_index[kept]
    points = training_points(recipe, annotations)
    facts = {
        "name": data.resolve().name,
        "digest": annotations.digest,
        "version": annotations.version,
        "num_rows": num_rows,
        "num_train": len(annotations.label),
        "num_rows_without_image": matched.num_missing,
        "num_images_without_row": matched.num_unused,
        "num_clicks": int(np.isfinite(annotations.click).all(axis=1).sum()),
        "num_points": int(np.isfinite(points.values).all(axis=2).sum()),
        "calibrated_sha256": _sha256(calibrated) if wanted and calibrated else None,
    }
    split = Split(
        source=source,
        source_index=source_index,
        image_id=annotations.image_id,
        label=annotations.label,
        boxes=annotations.boxes,
    )
    return TrainingData(
        split=split, classes=annotations.classes, points=points, facts=facts, missing=missing
    )


def _coco_data(recipe: Recipe, *, data: Path, images: Path) -> TrainingData:
    """`training_data` of COCO-AB: K is one point a class, and a fraction is of all images."""
    coco, source = read_coco(data, target=recipe.target), open_images(images)
    matched = match_ids(coco.image_id, source, missing=recipe.data.missing_images, where=data)
    num_rows = len(coco.image_id)
    missing = _first_missing(coco.image_id, matched.rows)
    coco, source_index = coco.take(matched.rows), matched.source_index
    if recipe.data.fraction < 1:
        one_class = np.zeros(len(coco.image_id), np.int64)
        kept = share_of_each_class(coco.image_id, one_class, recipe.data.fraction)
        coco, source_index = coco.take(kept), source_index[kept]
    values = make_coco_target(recipe.target, seed=recipe.seed, coco=coco)
    if recipe.data.point_noise:
        values = values + recipe.data.point_noise * noise(
            coco.image_id, recipe.seed, values.shape[1:]
        )
    facts = {
        "name": data.resolve().name,
        "digest": coco.digest,
        "version": coco.version,
        "num_rows": num_rows,
        "num_train": len(coco.image_id),
        "num_rows_without_image": matched.num_missing,
        "num_images_without_row": matched.num_unused,
        "num_labels": int(coco.label_NC.sum()),
        "num_clicks": len(coco.pair_row),
        "num_points": int(np.isfinite(values).all(axis=2).sum()),
    }
    split = Split(
        source=source,
        source_index=source_index,
        image_id=coco.image_id,
        label=coco.label_NC,
        boxes=Boxes.of([None] * len(coco.image_id)),
    )
    points = TrainingPoints(values, np.ones(len(coco.image_id)))
    return TrainingData(
        split=split, classes=COCO_CLASSES, points=points, facts=facts, missing=missing
    )


def _first_missing(image_id: np.ndarray, rows: np.ndarray) -> list[str]:
    left_out = np.setdiff1d(np.arange(len(image_id)), rows)[:3]
    return [str(name) for name in image_id[left_out]]


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
