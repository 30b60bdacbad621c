"""Images with their labels, boxes and points: what a run trains on.     [I/O]"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.errors import OptionError
from luab_data.files import sha256_of
from luab_data.kinds import Kind, kind_of
from luab_data.splits import stratified_fraction
from luab_train.data.coco import CocoAnnotations, read_coco
from luab_train.data.matching import match_rows
from luab_train.data.rows import Annotations, read_annotations, read_folders, read_manifest
from luab_train.data.sources import ImageSource, open_images
from luab_train.data.splits import Split
from luab_train.data.targets import TrainingPoints, share_of_each_class, training_points
from luab_train.data.traces import with_traces
from luab_train.recipe import Recipe
from luab_train.sections import TRACE_TARGETS
from luab_train.settings import override


def of_dataset(recipe: Recipe, data: Path) -> Recipe:
    """The recipe with `data.dataset` as a dataset folder says; without a manifest, as it is.

    Raises:
        OptionError: an image has one label in the one and may have several in the other.
    """
    manifest = read_manifest(data)
    if "dataset" not in manifest:
        return recipe
    kind = kind_of(manifest)
    if kind.several_labels == recipe.data.several_labels:
        return override(recipe, {"data.dataset": kind.dataset})
    words, fitting = ("one label", "several labels"), ("imagenet_ab", "coco_ab")
    raise OptionError(
        f"{data}: holds {kind.dataset}, where an image has {words[kind.several_labels]}, and"
        f" {recipe.name} is for {words[recipe.data.several_labels]} an image"
        f" (data.dataset={recipe.data.dataset}); expected a recipe like those of"
        f" {fitting[kind.several_labels]}"
    )


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
    held_out: Split | None = None
    """Images to validate on, if a share of the rows was asked for."""

    @property
    def notes(self) -> list[str]:
        """What was made of the dataset that its owner may not expect, a sentence each."""
        found, num_train = [], len(self.split)
        if num := self.facts.get("num_unselected", 0):
            found.append(
                f"{num} images that were not selected are left out: they are not of the class that"
                " was asked for"
            )
        if self.held_out is not None:
            found.append(
                f"{len(self.held_out)} of {num_train + len(self.held_out)} images are held out to"
                " validate on, by a hash of their ids: the same for every seed and arm"
            )
        if num := self.facts.get("num_labelled_by_icons", 0):
            found.append(
                f"labels of {num} of {num_train} images are the icons that are there at the end: no"
                " ground truth says what is in them"
            )
        return found


def training_data(
    recipe: Recipe,
    *,
    data: Path,
    images: Path,
    calibrated: Path | None = None,
    points: Path | None = None,
    held_out: float = 0.0,
) -> TrainingData:
    """The rows of a dataset folder that have an image, with what each is to teach.

    Args:
        recipe: its arm, fraction, noise and policies.
        data: dataset folder.
        images: the images of its rows.
        calibrated: output of `luab-data calibrate --out`, for target `calibrated` and for
            reliability weights.
        points: tracing dataset of these images, whose points are to be learned; None takes those of
            `data`.
        held_out: share of the rows of each class (of all, where an image has several labels) to
            leave for validation, see `luab_data.splits.stratified_fraction`; of seed 0 whatever the
            run's, so that runs are validated on the same images.
    """
    wanted = recipe.target == "calibrated" or recipe.loss.reliability_weights
    if calibrated is not None and not wanted:
        raise OptionError(
            f"--calibrated with target {recipe.target}: nothing would use it; expected --target"
            " calibrated or --set loss.reliability_weights=true"
        )
    source = open_images(images)
    rows = read_rows(
        data,
        target=recipe.target,
        several_labels=recipe.data.several_labels,
        calibrated=calibrated,
        weighted=recipe.loss.reliability_weights,
        points=points,
        source=source,
    )
    matched = match_rows(rows, source, missing=recipe.data.missing_images, where=data)
    num_rows = len(rows.image_id)
    missing = rows.image_id[~matched.has_image][:3].tolist()
    is_kept = _kept(rows, held_out)[matched.has_image]
    _, first, picture = np.unique(matched.image, return_index=True, return_inverse=True)
    is_kept = is_kept[first][picture]  # no picture is on both sides
    rows, source_index = rows.take(np.flatnonzero(matched.has_image)), matched.image
    validation = None
    if held_out:
        left = np.flatnonzero(~is_kept)
        validation = _split(rows.take(left), source, source_index[left])
        rows, source_index = rows.take(np.flatnonzero(is_kept)), source_index[is_kept]
        if not len(validation):
            raise OptionError(
                f"{data}: a share of {held_out:g} of {len(rows.image_id)} images holds out none to"
                " validate on; expected a larger one"
            )
    if recipe.data.fraction < 1:
        kept = share_of_each_class(rows.image_id, rows.strata, recipe.data.fraction)
        rows, source_index = rows.take(kept), source_index[kept]
    learned = training_points(
        rows,
        target=recipe.target,
        seed=recipe.seed,
        point_noise=recipe.data.point_noise,
        weighted=recipe.loss.reliability_weights,
    )
    facts = {
        "name": data.resolve().name,
        "digest": rows.digest,
        "version": rows.version,
        "num_rows": num_rows,
        "num_train": len(rows.image_id),
        "num_rows_without_image": matched.rows_without_image.count,
        "num_images_without_row": matched.images_without_row.count,
        **rows.facts,
        "num_points": int(np.isfinite(learned.values).all(axis=2).sum()),
    }
    if isinstance(rows, Annotations):
        facts["calibrated_sha256"] = sha256_of(calibrated) if calibrated else None
    return TrainingData(
        split=_split(rows, source, source_index),
        classes=rows.classes,
        points=learned,
        facts=facts,
        missing=missing,
        held_out=validation,
    )


def _kept(rows: Annotations | CocoAnnotations, held_out: float) -> np.ndarray:
    """(N,) bool, False for the rows to validate on."""
    if not held_out:
        return np.ones(len(rows.image_id), bool)
    table = pa.table({"image_id": rows.image_id, "stratum": rows.strata})
    kept: np.ndarray = stratified_fraction(table, 1 - held_out, strata="stratum").to_numpy(
        zero_copy_only=False
    )
    return kept


def _split(
    rows: Annotations | CocoAnnotations, source: ImageSource, source_index: np.ndarray
) -> Split:
    return Split(
        source=source,
        source_index=source_index,
        image_id=rows.image_id,
        label=rows.label,
        boxes=rows.boxes,
    )


def kind_of_folder(data: Path) -> Kind:
    """What a dataset folder holds; without a manifest, what ImageNet-AB is."""
    return kind_of({"dataset": "imagenet-ab", **read_manifest(data)})


def read_rows(
    data: Path,
    *,
    target: str,
    several_labels: bool | None = None,
    calibrated: Path | None = None,
    weighted: bool = False,
    points: Path | None = None,
    source: ImageSource | None = None,
) -> Annotations | CocoAnnotations:
    """What a dataset folder says of its images; a tracing dataset, of those of the class folders.

    Args:
        data: dataset folder.
        target: the arm; some need more columns.
        several_labels: whether an image may have several; None asks the manifest.
        calibrated: output of `luab-data calibrate --out`; needed by target `calibrated`.
        weighted: whether clicks are to be weighed by their reliability, which needs it too.
        points: tracing dataset whose points take the place of those of `data`.
        source: the images; their folders are the classes of a tracing dataset, which has none.
    """
    manifest = read_manifest(data)
    kind = kind_of_folder(data)
    if kind.has_view_rows:
        if source is None:
            raise OptionError(f"{data}: traces have no classes; expected a dataset with labels")
        of_folders = replace(
            read_folders(source),
            digest=manifest.get("content_digest"),
            version=manifest.get("version"),
        )
        return with_traces(of_folders, points or data, target=target)
    several_labels = kind.several_labels if several_labels is None else several_labels
    if points is not None:
        return with_traces(
            read_rows(data, target="none", several_labels=several_labels), points, target=target
        )
    if target in TRACE_TARGETS and (several_labels or target not in ("trace", "hull_centre")):
        raise OptionError(
            f"target {target}: {data} has no traces; expected --points DATASET, as `luab-data"
            " convert tracing` writes it"
        )
    if several_labels:
        return read_coco(data, target=target)
    if calibrated is None and (weighted or target == "calibrated"):
        raise OptionError(
            f"target {target}, loss.reliability_weights={weighted}: needs calibrated clicks;"
            " expected --calibrated FILE from `luab-data calibrate DATASET --out FILE`"
        )
    return read_annotations(data, target=target, calibrated=calibrated)
