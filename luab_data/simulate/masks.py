"""COCO instances: which classes an image shows, and on which pixels.                    [I/O]

Masks are rasterised by pycocotools, so the simulation and every later check agree on borders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.errors import ImagesError
from luab_data.schema import COCO_SUPERCLASSES

_MAX_SIDE = 30_000  # px; a larger side is a broken file, and a mask of it would fill the memory
_ICONS = frozenset(name for names in COCO_SUPERCLASSES.values() for name in names)


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One annotated object; `rle` is pycocotools' run-length encoding of its mask."""

    annotation_id: int
    rle: Mapping[str, Any]
    area_px: int

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Pixels of the object at random, with repeats: (count, 2) int64, (x, y)."""
        from pycocotools import mask as coco_mask

        decoded: np.ndarray = coco_mask.decode(self.rle)
        # Masks come column by column; as one row of bool they are searched ten times faster.
        flat = np.flatnonzero(decoded.ravel(order="F").view(bool))
        picks = flat[rng.integers(len(flat), size=count)]
        return np.column_stack(np.divmod(picks, len(decoded)))


def is_on_any(instances: Sequence[Instance], pixel: tuple[int, int]) -> bool:
    """Whether a pixel (x, y) belongs to at least one of the objects of an image."""
    from pycocotools import mask as coco_mask

    if not instances:
        return False
    union = coco_mask.decode(coco_mask.merge([instance.rle for instance in instances]))
    return bool(union[pixel[1], pixel[0]])


@dataclass(frozen=True, kw_only=True)
class CocoImage:
    """One image of an instances file; annotations as they stand in it, crowds included."""

    image_id: int
    width: int
    height: int
    annotations: tuple[Mapping[str, Any], ...]

    def instances(self, names: Mapping[int, str]) -> dict[str, list[Instance]]:
        """Objects by class name, in file order; an object without a single pixel is left out.

        Args:
            names: class name of each category id.
        """
        found: dict[str, list[Instance]] = {}
        for annotation in self.annotations:
            instance = _instance(annotation, self.width, self.height)
            if instance.area_px > 0:
                found.setdefault(names[annotation["category_id"]], []).append(instance)
        return found


def read_instances(path: Path) -> tuple[list[CocoImage], dict[int, str]]:
    """Images in file order, and the class name of each category id.

    Raises:
        ImagesError: not an instances file, or a class that is none of the tool's 80 icons.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ImagesError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise ImagesError(f"{path}: not JSON ({error})") from error
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in keys):
        raise ImagesError(f"{path}: expected a COCO instances object with {', '.join(keys)}")
    try:
        names = _names(path, content["categories"])
        by_image: dict[int, list[Mapping[str, Any]]] = {}
        for index, annotation in enumerate(content["annotations"]):
            if annotation["category_id"] not in names:
                raise ImagesError(
                    f"{path}: annotation {index} has category_id {annotation['category_id']!r}; "
                    "expected an id of its categories"
                )
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        images = [_image(path, image, by_image) for image in content["images"]]
    except (KeyError, TypeError) as error:
        raise ImagesError(f"{path}: an entry lacks or garbles {error}; expected COCO's") from error
    if not images or len({image.image_id for image in images}) < len(images):
        raise ImagesError(f"{path}: found no images, or an image id twice; expected unique images")
    return images, names


def _names(path: Path, categories: list[Any]) -> dict[int, str]:
    names: dict[int, str] = {category["id"]: category["name"] for category in categories}
    unknown = [name for name in names.values() if name not in _ICONS]
    if unknown:
        raise ImagesError(
            f"{path}: found the category {unknown[0]!r}; expected COCO's 80 classes, "
            "which are the icons of the annotation tool"
        )
    return names


def _image(
    path: Path, image: Mapping[str, Any], by_image: Mapping[int, list[Mapping[str, Any]]]
) -> CocoImage:
    image_id, width, height = image["id"], image["width"], image["height"]
    if not all(type(value) is int for value in (image_id, width, height)) or not (
        0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE
    ):
        raise ImagesError(
            f"{path}: image {image_id!r} is {width!r} x {height!r} px; "
            f"expected whole numbers from 1 to {_MAX_SIDE}"
        )
    return CocoImage(
        image_id=image_id,
        width=width,
        height=height,
        annotations=tuple(by_image.get(image_id, ())),
    )


def _instance(annotation: Mapping[str, Any], width: int, height: int) -> Instance:
    """Rasterise polygons, or take the run lengths as they are."""
    from pycocotools import mask as coco_mask

    where = f"annotation {annotation.get('id')!r} of image {annotation.get('image_id')!r}"
    try:
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, dict):
            if list(segmentation["size"]) != [height, width]:
                raise ImagesError(
                    f"{where}: its mask is of size {segmentation['size']}; "
                    f"expected [{height}, {width}]"
                )
            counts = segmentation["counts"]
            runs = _run_lengths(counts) if isinstance(counts, str) else [int(run) for run in counts]
            # Unchecked, pycocotools would show memory that no run has written to.
            if min(runs) < 0 or sum(runs) != width * height:
                raise ValueError(f"run lengths add up to {sum(runs)}, not to {width * height}")
            rle = coco_mask.frPyObjects({**segmentation, "counts": runs}, height, width)
        else:
            polygons = [_polygon(points, width, height) for points in segmentation]
            if not polygons:
                raise ImagesError(f"{where}: has no polygon; expected at least one")
            rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        return Instance(
            annotation_id=int(annotation["id"]), rle=rle, area_px=int(coco_mask.area(rle))
        )
    except ImagesError:
        raise
    except Exception as error:  # pycocotools raises bare Exception
        raise ImagesError(f"{where}: no readable segmentation ({error!r})") from error


def _run_lengths(text: str) -> list[int]:
    """Undo COCO's packing: 5 bits a character, the sixth says more follow, from the third run on
    differences to the last but one (rleFrString of cocoapi).
    """
    runs: list[int] = []
    value = bits = 0
    for character in text.encode("ascii"):
        code = character - 48
        value |= (code & 0x1F) << bits
        bits += 5
        if not code & 0x20:
            if code & 0x10:
                value -= 1 << bits
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    if bits:
        raise ValueError("run lengths end in the middle of a number")
    return runs


def _polygon(points: list[float], width: int, height: int) -> list[float]:
    """Clip x, y, x, y ... to the image; fewer than three points would be taken for a box."""
    xy = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    if len(xy) < 3 or not np.isfinite(xy).all():
        raise ValueError(f"polygon of {len(xy)} points")
    clipped: list[float] = np.clip(xy, 0, (width, height)).ravel().tolist()
    return clipped
