"""Images with their labels and boxes: what a run is judged on.     [I/O]"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luab_data.boxes import read_boxes
from luab_data.errors import ImagesError, OptionError
from luab_data.kinds import TAGGING, Kind, Tagging, kind_of
from luab_train.data.boxes import Boxes
from luab_train.data.coco import read_coco, read_truth
from luab_train.data.inputs import Picture
from luab_train.data.matching import Listed, match_rows
from luab_train.data.rows import read_annotations
from luab_train.data.sources import ImageSource, as_folder, open_images
from luab_train.recipe import Recipe
from luab_train.sections import Backend


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images with their labels and boxes, ready to be loaded."""

    source: ImageSource
    source_index: np.ndarray
    """(N,) int64: which image of the source each one is."""
    image_id: np.ndarray
    """(N,) text."""
    label: np.ndarray
    """(N,) int64, or (N, C) float32 where an image has several."""
    boxes: Boxes
    """px of the original image."""

    def __len__(self) -> int:
        return len(self.label)

    def load(self, index: int, *, upright: bool = False, backend: Backend = "pillow") -> Picture:
        """Decode one image to RGB; ImagesError names an image that cannot be."""
        return self.source.load(int(self.source_index[index]), upright=upright, backend=backend)


def validation_split(
    recipe: Recipe,
    images: Path,
    classes: tuple[str, ...],
    *,
    boxes: Path | None = None,
    data: Path | None = None,
) -> Split:
    """The validation images of a run: where an image has several labels those of an instances file,
    which is `boxes`, or of a dataset folder.
    """
    if not recipe.data.several_labels:
        return evaluation_split(images, classes, boxes=boxes, data=data)
    if data is not None:
        return tagged_split(images, data, classes)
    if boxes is None or not boxes.is_file():
        raise OptionError(
            f"{images}: data.dataset={recipe.data.dataset} has its labels in a file of instances,"
            " not in folders; expected --val-boxes annotations/instances_val2014.json (of eval:"
            " --boxes), of these images"
        )
    return coco_split(images, boxes, kind_of({"dataset": recipe.data.dataset, "classes": classes}))


def evaluation_split(
    images: Path, classes: tuple[str, ...], *, boxes: Path | None = None, data: Path | None = None
) -> Split:
    """The images of a folder, labelled by what they name, with the boxes found for them.

    Args:
        data: dataset folder with their boxes; with their labels too, if they name no class.
    """
    source = open_images(images)
    if data is not None and (source.wnid == "").all():
        return labelled_by_rows(source, data, classes)
    if data is not None:
        found, where = _boxes_of_dataset(data, source), data
    else:
        where = images if boxes is None else boxes
        found = read_boxes(where)
    split = labelled_split(source, classes, found)
    if found and not split.boxes.counts.any() and where != images:
        raise ImagesError(
            f"{where}: has boxes of {len(found)} images, e.g. {next(iter(found))}, but of none in"
            f" {images}, e.g. {split.image_id[0]}; expected boxes of these images"
        )
    return split


def labelled_by_rows(source: ImageSource, data: Path, classes: tuple[str, ...]) -> Split:
    """The images that a dataset has rows of, labelled by these.

    Raises: ImagesError if a row's image is not there, or its class is none of the run.
    """
    rows = read_annotations(data)
    matched = match_rows(rows, source, missing="raise", where=data)
    order = {name: label for label, name in enumerate(classes)}
    if unknown := [name for name in rows.classes if name not in order]:
        raise ImagesError(
            f"{data}: {len(unknown)} of its {len(rows.classes)} classes are not classes of the run,"
            f" e.g. {', '.join(unknown[:3])}; expected some of {', '.join(classes[:3])}..."
            f" ({len(classes)} in all)"
        )
    return Split(
        source=source,
        source_index=matched.image,
        image_id=rows.image_id,
        label=np.array([order[name] for name in rows.classes])[rows.label],
        boxes=rows.boxes,
    )


def labelled_split(
    source: ImageSource, classes: tuple[str, ...], boxes: Mapping[str, np.ndarray]
) -> Split:
    """All images of a source, labelled by the classes they name, with the boxes known by their
    ids. A class that is told as a number is the run's class of that number.
    """
    order = {name: i for i, name in enumerate(as_folder(np.array(classes, dtype=str)).tolist())}
    order |= {f"#{i}": i for i in range(len(classes))}
    told = as_folder(source.wnid)
    if nameless := int((source.wnid == "").sum()):
        raise ImagesError(
            f"{source.root}: {nameless} of {len(source.wnid)} images name no class, e.g."
            f" {source.image_id[source.wnid == ''][0]}; expected <wnid>/<image_id>.<ext>, or a"
            " column wnid or label"
        )
    named = np.unique(told).tolist()
    if unknown := sorted(set(named) - set(order)):
        raise ImagesError(
            f"{source.root}: {len(unknown)} of its {len(named)} classes are not classes of the run,"
            f" e.g. {', '.join(unknown[:3])}; expected some of {', '.join(classes[:3])}..."
            f" ({len(classes)} in all)"
        )
    return Split(
        source=source,
        source_index=np.arange(len(source.image_id)),
        image_id=source.image_id,
        label=np.array([order[name] for name in told.tolist()], dtype=np.int64),
        boxes=Boxes.of(boxes.get(name) for name in source.image_id.tolist()),
    )


def coco_split(images: Path, instances: Path, kind: Kind = TAGGING) -> Split:
    """All images of an instances file, for evaluation; other images of the folder are left out.

    Args:
        kind: of log, whose classes the file has.
    Raises: ImagesError if one has no image: an mAP over fewer images is another number.
    """
    assert isinstance(kind, Tagging)
    (image_id, label_NC), source = read_truth(instances, kind), open_images(images)
    matched = match_rows(Listed(image_id), source, missing="skip", where=instances)
    if not matched.has_image.all():
        lacking = image_id[~matched.has_image]
        raise ImagesError(
            f"{images}: {len(lacking)} of {len(image_id)} images of {instances} not found, e.g."
            f" {', '.join(lacking[:3])}; an mAP over fewer images is another number: use an"
            " instances file of the images you have"
        )
    return Split(
        source=source,
        source_index=matched.image,
        image_id=image_id,
        label=label_NC,
        boxes=Boxes.of([None] * len(image_id)),
    )


def tagged_split(images: Path, data: Path, classes: tuple[str, ...]) -> Split:
    """The images of a tagging dataset, with its labels.

    Raises:
        OptionError: it has other classes. ImagesError: one has no image.
    """
    rows, source = read_coco(data, target="none"), open_images(images)
    if rows.classes != classes:
        raise OptionError(
            f"{data}: has {len(rows.classes)} classes, {', '.join(rows.classes[:3])}..., the run"
            f" {len(classes)}, {', '.join(classes[:3])}...; expected the same in the same order"
        )
    matched = match_rows(rows, source, missing="raise", where=data)
    return Split(
        source=source,
        source_index=matched.image,
        image_id=rows.image_id,
        label=rows.label,
        boxes=rows.boxes,
    )


def _boxes_of_dataset(data: Path, source: ImageSource) -> dict[str, np.ndarray]:
    annotations = read_annotations(data)
    rows = np.flatnonzero(
        np.isin(annotations.image_id, source.image_id) & (annotations.boxes.counts > 0)
    )
    boxes = annotations.boxes.take(rows)
    per_image = np.split(boxes.values, boxes.bounds[1:-1])
    return dict(zip(annotations.image_id[rows].tolist(), per_image, strict=False))
