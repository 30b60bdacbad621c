"""[I/O] `coco-keypoints`: one JSON file in COCO's format, the clicks or icons as keypoints.

Points and boxes are in pixels of the image files as they are: points are fractions of the file's
size, boxes are scaled where the file has another size than the dataset says (resized images). A
keypoint is [x, y, v]; v is 2, or 1 (labelled, not visible) where it lies outside the picture, which
happens: a point is never moved.

ImageNet-AB: category `label + 1`, named by wnid, keypoint `final_click`. The click belongs to the
smallest box that holds it, borders included; every other box is an annotation without keypoint
(v 0), and a click in no box is an annotation without `bbox` and `area`: an image without published
boxes gets none that were made up.
COCO-AB: one annotation an icon that was there at the end, in COCO's own categories, keypoint
`icon`, no bbox.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from luab_data.boxes import image_size
from luab_data.columns.regions import sort_corners
from luab_data.exports.select import Subset
from luab_data.join.joined import IMAGE_PATH
from luab_data.schema import COCO_CATEGORIES, COCO_SUPERCLASSES
from luab_data.store.folder import flush

SPOOL_BYTES = 64 * 2**20

_COLUMNS = {
    "imagenet-ab": (
        *("image_id", "label", "width", "height", "boxes", "final_click_x", "final_click_y"),
    ),
    "coco-ab": ("image_id", "icon_label", "final_x", "final_y"),
}
_CATEGORY_OF_LABEL = tuple(COCO_CATEGORIES)

Annotation = dict[str, Any]


def write(subset: Subset, out: Path, advance: Callable[[int], object]) -> None:
    """Write the file.

    Image ids are COCO's own; ImageNet's are 1 + the row of `default`, the same in every subset,
    and stand beside the `image_id` as text.
    """
    is_imagenet = subset.dataset == "imagenet-ab"
    annotate = imagenet_annotations if is_imagenet else coco_annotations
    head = {"info": _info(subset), "licenses": [], "categories": _categories(subset)}
    numbers = iter((subset.numbers + 1).tolist())
    # The format wants two lists, one after the other, and both grow with every image.
    with (
        out.open("xb") as file,
        tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(out.parent)) as later,
    ):
        file.write(msgspec.json.encode(head)[:-1])
        images = _List(file, "images")
        annotations = _List(later, "annotations")
        for batch in subset.batches(_COLUMNS[subset.dataset]):
            for row in batch.to_pylist():
                path = Path(row[IMAGE_PATH.name])
                width, height = image_size(path)
                own = {"id": next(numbers), "image_id": row["image_id"]}
                image = own if is_imagenet else {"id": row["image_id"]}
                name = path.relative_to(subset.root).as_posix()
                images.add({**image, "file_name": name, "width": width, "height": height})
                for annotation in annotate(row, (width, height)):
                    own = {"id": annotations.length + 1, "image_id": image["id"]}
                    annotations.add({**own, **annotation})
            advance(len(batch))
        images.end()
        annotations.end()
        later.seek(0)
        shutil.copyfileobj(later, file, 2**20)
        file.write(b"}\n")
    flush(out)


class _List:
    """A member of a JSON object that is a list, written one element a line."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self.length = 0
        file.write(b',\n"' + name.encode() + b'": [')

    def add(self, element: Annotation) -> None:
        self._file.write(b",\n" if self.length else b"\n")
        self._file.write(msgspec.json.encode(element))
        self.length += 1

    def end(self) -> None:
        self._file.write(b"\n]")


def imagenet_annotations(row: Mapping[str, Any], size: tuple[int, int]) -> Iterator[Annotation]:
    """The boxes of an image, and its final click in the smallest box that holds it.

    Args:
        row: label, width, height, boxes, final_click_x, final_click_y of `default`.
        size: (width, height) of the file, px.
    """
    category = {"category_id": row["label"] + 1}
    # Boxes are pixels of the size that the dataset has.
    frame = (row["width"] or size[0], row["height"] or size[1])
    click = (row["final_click_x"], row["final_click_y"])
    clicked = None not in click
    boxes = sort_corners(np.reshape(row["boxes"] or [], (-1, 4))).tolist()
    holder = _smallest_holder(boxes, click, frame) if clicked else None
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        x0, x1 = (x * size[0] / frame[0] for x in (x0, x1))
        y0, y1 = (y * size[1] / frame[1] for y in (y0, y1))
        box = [x0, y0, x1 - x0, y1 - y0]
        shape = {"bbox": box, "area": box[2] * box[3]}
        yield {**category, **_keypoint(click if index == holder else None, size), **shape}
    if clicked and holder is None:
        yield {**category, **_keypoint(click, size)}


def coco_annotations(row: Mapping[str, Any], size: tuple[int, int]) -> Iterator[Annotation]:
    """The icons that were on an image at the end.

    Args:
        row: icon_label, final_x, final_y of `default`.
        size: (width, height) of the file, px.
    """
    icons = (row["icon_label"] or [], row["final_x"] or [], row["final_y"] or [])
    for label, x, y in zip(*icons, strict=True):
        if x is not None and y is not None:
            yield {"category_id": _CATEGORY_OF_LABEL[label], **_keypoint((x, y), size)}


def _smallest_holder(
    boxes: list[list[float]], click: tuple[float, float], frame: tuple[int, int]
) -> int | None:
    """Which box holds the click, borders included: of several the smallest, then the first.

    Source: docs/decisions.md, 3; metrics 4.9.
    """
    x, y = click[0] * frame[0], click[1] * frame[1]
    areas = [
        ((x1 - x0) * (y1 - y0), index)
        for index, (x0, y0, x1, y1) in enumerate(boxes)
        if x0 <= x <= x1 and y0 <= y <= y1
    ]
    return min(areas)[1] if areas else None


def _keypoint(point: tuple[float, float] | None, size: tuple[int, int]) -> Annotation:
    """One keypoint of a fraction of the image; None is COCO's "not labelled"."""
    if point is None:
        return {"keypoints": [0, 0, 0], "num_keypoints": 0, "iscrowd": 0}
    inside = 0 <= point[0] <= 1 and 0 <= point[1] <= 1
    x, y = point[0] * size[0], point[1] * size[1]
    return {"keypoints": [x, y, 2 if inside else 1], "num_keypoints": 1, "iscrowd": 0}


def _categories(subset: Subset) -> list[Annotation]:
    if subset.dataset == "imagenet-ab":
        point: Annotation = {"supercategory": "", "keypoints": ["final_click"], "skeleton": []}
        names = subset.classes["label"]
        return [{"id": label + 1, "name": name, **point} for label, name in enumerate(names)]
    above = {name: group for group, names in COCO_SUPERCLASSES.items() for name in names}
    point = {"keypoints": ["icon"], "skeleton": []}
    return [
        {"id": number, "name": name, "supercategory": above[name], **point}
        for number, name in COCO_CATEGORIES.items()
    ]


def _info(subset: Subset) -> Annotation:
    return {
        "description": f"{subset.dataset}: points of annotators, exported by luab-data export"
        " --format coco-keypoints; px of the image files, (x, y) from the top left",
        "version": subset.version,
        "content_digest": subset.digest,
    }
