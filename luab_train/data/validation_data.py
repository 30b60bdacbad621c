"""Images to validate or evaluate on, with their labels and boxes.     [I/O]"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from luab_data.boxes import read_boxes
from luab_data.errors import ImagesError, OptionError
from luab_train.data.annotations import read_annotations
from luab_train.data.coco import coco_split
from luab_train.data.images import Split, labelled_split
from luab_train.data.sources import ImageSource, open_images
from luab_train.recipe import Recipe


def validation_split(
    recipe: Recipe, images: Path, classes: tuple[str, ...], *, boxes: Path | None = None
) -> Split:
    """The validation images of a run: of COCO those of an instances file, which is `boxes`."""
    if recipe.data.dataset != "coco-ab":
        return evaluation_split(images, classes, boxes=boxes)
    if boxes is None or not boxes.is_file():
        raise OptionError(
            f"{images}: data.dataset=coco-ab has its labels in a file of instances, not in folders;"
            " expected --val-boxes annotations/instances_val2014.json, of the images in --val"
        )
    return coco_split(images, boxes)


def evaluation_split(
    images: Path, classes: tuple[str, ...], *, boxes: Path | None = None, data: Path | None = None
) -> Split:
    """The images of a folder, labelled by their subfolders, with the boxes found for them."""
    source = open_images(images)
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


def _boxes_of_dataset(data: Path, source: ImageSource) -> dict[str, np.ndarray]:
    annotations = read_annotations(data)
    rows = np.flatnonzero(
        np.isin(annotations.image_id, source.image_id) & (annotations.boxes.counts > 0)
    )
    boxes = annotations.boxes.take(rows)
    per_image = np.split(boxes.values, boxes.bounds[1:-1])
    return dict(zip(annotations.image_id[rows].tolist(), per_image, strict=False))
