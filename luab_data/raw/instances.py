"""[I/O] COCO's ground truth: sizes, classes and class masks of images, from an instances file.

Read as a stream; kept is one compressed mask per image and class, about 0.1 kB each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from luab_data.errors import ImagesError
from luab_data.raw.archive import Source
from luab_data.raw.json_stream import JsonStream
from luab_data.schema import COCO_CATEGORIES

_LABELS = {category: label for label, category in enumerate(COCO_CATEGORIES)}
Rle = dict[str, Any]


@dataclass
class TrueImage:
    """One image of the ground truth: its size and a mask for each class that is there."""

    width: int
    height: int
    masks: dict[int, list[Rle]] = field(default_factory=dict)

    def contains(self, label: int, x: float, y: float) -> bool:
        """Whether the point lies on the union of the class's masks, crowds included.

        Args:
            label: contiguous, 0..79.
            x, y: fractions of the image; outside [0, 1] lies on nothing.
        Source: metrics 4.9; the pixel is min(floor(x W), W - 1).
        """
        if label not in self.masks or not (0 <= x <= 1 and 0 <= y <= 1):
            return False
        rles = self.masks[label]
        if len(rles) > 1:
            rles = self.masks[label] = [coco_mask.merge(rles)]
        column = min(int(x * self.width), self.width - 1)
        row = min(int(y * self.height), self.height - 1)
        return bool(coco_mask.decode(rles[0])[row, column])

    @property
    def labels(self) -> list[int]:
        """Classes with any annotation, ascending."""
        return sorted(self.masks)


def read_instances(
    path: Path, on_read: Callable[[int], object] | None = None
) -> dict[int, TrueImage]:
    """An instances_*.json as image id -> TrueImage, images without annotations included.

    Raises:
        ArchiveError: not JSON, or cut.
        ImagesError: not COCO instances: names what is missing or unknown.
    """
    images: dict[int, TrueImage] = {}
    with Source(path, on_read) as source:
        seen = _read_document(path, JsonStream(source), images)
    if not {"images", "annotations"} <= seen:
        raise ImagesError(
            f"{path}: holds {sorted(seen)}; expected images and annotations, like"
            " instances_train2014.json"
        )
    return images


def _read_document(path: Path, stream: JsonStream, images: dict[int, TrueImage]) -> set[str]:
    """Fill `images` from the document; the keys it has."""
    waiting: list[Any] = []
    seen: set[str] = set()
    if stream.peek() != "{":
        stream.fail("expected a COCO instances object, like instances_train2014.json")
    for key in stream.members():
        seen.add(key)
        if key == "images":
            for image in stream.elements():
                _add_image(path, images, image)
        elif key == "annotations":
            for annotation in stream.elements():
                # COCO puts images first; a file that does not is held back until they are known.
                if "images" in seen:
                    _add_annotation(path, images, annotation)
                else:
                    waiting.append(annotation)
        else:
            stream.value()
    stream.end()
    for annotation in waiting:
        _add_annotation(path, images, annotation)
    return seen


def _add_image(path: Path, images: dict[int, TrueImage], image: Any) -> None:
    try:
        images[int(image["id"])] = TrueImage(int(image["width"]), int(image["height"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ImagesError(
            f"{path}: image {image!r:.80}: expected id, width and height ({error!r})"
        ) from None


def _add_annotation(path: Path, images: dict[int, TrueImage], annotation: Any) -> None:
    where = f"{path}: annotation {annotation.get('id') if isinstance(annotation, dict) else '?'}"
    try:
        image = images[annotation["image_id"]]
        label = _LABELS[annotation["category_id"]]
        rle = _to_rle(annotation["segmentation"], image.height, image.width)
    except KeyError as error:
        raise ImagesError(
            f"{where}: {error} is missing or unknown; expected a listed image_id, one of COCO's 80"
            " category ids and a segmentation"
        ) from None
    except (TypeError, ValueError, IndexError) as error:
        raise ImagesError(
            f"{where}: expected polygons or an RLE as segmentation ({error})"
        ) from None
    image.masks.setdefault(label, []).append(rle)


def _to_rle(segmentation: Any, height: int, width: int) -> Rle:
    if isinstance(segmentation, list):
        if not segmentation:
            return dict(coco_mask.encode(np.zeros((height, width), np.uint8, order="F")))
        # pycocotools takes four numbers for a box and raises bare Exceptions.
        for polygon in segmentation:
            if len(polygon) < 6 or len(polygon) % 2:
                raise ValueError(f"a polygon of {len(polygon)} numbers")
            if not all(isinstance(v, (int, float)) for v in polygon):
                raise ValueError("a polygon of something else than numbers")
        return dict(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"an RLE of {segmentation['size']} in an image of {[height, width]}")
    if isinstance(segmentation["counts"], list):
        return dict(coco_mask.frPyObjects(segmentation, height, width))
    return {"size": segmentation["size"], "counts": segmentation["counts"]}
