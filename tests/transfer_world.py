"""A small COCO to detect in: bright rectangles and triangles on noise, and a run to start from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from train_world import SIZE, WNIDS, small_recipe

from luab_train.models.classifier import build_model
from luab_train.models.weights import state_dict_for_file
from luab_train.recipe import Recipe
from luab_train.sections import Model
from luab_train.settings import to_json
from luab_train.train.run_folder import save_weights
from luab_train.transfer.recipe import DetectionData, DetectionModel, DetectionOptim, Transfer

CATEGORIES = [{"id": 7, "name": "triangle"}, {"id": 3, "name": "rectangle"}]
WIDTH, HEIGHT = 80, 64


class Scenery(NamedTuple):
    images: Path
    annotations: Path


def rectangle(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def triangle(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x, y + h]]


def annotation(
    number: int, image: int, category: int, box: tuple[float, ...], **other: Any
) -> dict[str, Any]:
    outline = (rectangle if category == 3 else triangle)(*box)
    area = box[2] * box[3] * (1 if category == 3 else 0.5)
    return {
        "id": number, "image_id": image, "category_id": category, "bbox": list(box),
        "segmentation": outline, "area": area, "iscrowd": 0, **other,
    }  # fmt: skip


def crowd(number: int, image: int, category: int) -> dict[str, Any]:
    """The upper half of an image, as COCO writes crowds: runs of pixels, column by column."""
    half = HEIGHT // 2
    counts = [0] + [half] * (2 * WIDTH)
    return annotation(
        number, image, category, (0, 0, WIDTH, half), iscrowd=1,
        segmentation={"size": [HEIGHT, WIDTH], "counts": counts},
    )  # fmt: skip


def document(num_images: int, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    images = [
        {"id": n, "file_name": f"{n:012d}.png", "width": WIDTH, "height": HEIGHT}
        for n in range(num_images, 0, -1)  # not in order
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write_scenery(root: Path, content: dict[str, Any], seed: int = 0) -> Scenery:
    """The images of a document, objects drawn in, and its file beside them."""
    rng = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    for image in content["images"]:
        pixels = rng.integers(0, 60, (image["height"], image["width"], 3), dtype=np.uint8)
        for one in content["annotations"]:
            if one["image_id"] == image["id"] and not one["iscrowd"]:
                x, y, w, h = map(int, one["bbox"])
                pixels[y : y + h, x : x + w, 0 if one["category_id"] == 3 else 1] = 250
        Image.fromarray(pixels).save(root / "images" / image["file_name"])
    (root / "instances.json").write_text(json.dumps(content))
    return Scenery(root / "images", root / "instances.json")


def make_scenery(root: Path, *, num_images: int = 4, seed: int = 0) -> Scenery:
    """A rectangle and a triangle an image; image 1 is empty, image 2 has a crowd alone."""
    rng = np.random.default_rng(seed)
    annotations = [crowd(99, 2, 3)]
    for image in range(3, num_images + 1):
        for category, left in ((3, 0), (7, WIDTH // 2)):
            w, h = rng.integers(20, 32, 2).tolist()
            x, y = left + int(rng.integers(0, 8)), int(rng.integers(0, HEIGHT - h))
            annotations.append(annotation(len(annotations), image, category, (x, y, w, h)))
    return write_scenery(root, document(num_images, annotations), seed)


def make_run(root: Path, name: str = "resnet18", **model: Any) -> Path:
    """A complete run as `luab-train run` leaves it, its batch norms no longer at their start."""
    recipe: Recipe = replace(small_recipe(), model=Model(name=name, **model))
    torch.manual_seed(0)
    network = build_model(recipe.model, recipe.data, num_classes=len(WNIDS))
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randint(0, 255, (4, 3, SIZE, SIZE), dtype=torch.uint8))
    root.mkdir(parents=True)
    (root / "recipe.json").write_text(to_json(recipe))
    (root / "environment.json").write_text(json.dumps({"classes": list(WNIDS)}))
    save_weights(state_dict_for_file(network), root)
    return root


def small_transfer(**changes: Any) -> Transfer:
    """Two epochs of few boxes on small images."""
    recipe = Transfer(
        model=DetectionModel(proposals=(20, 10), sampled_boxes=4, detections=2),
        data=DetectionData(min_size=64, max_size=96, num_workers=0),
        optim=DetectionOptim(lr=0.002, warmup_updates=2, steps=(1, 2)),
        epochs=2,
        batch_size=1,
        evaluate_every=2,
    )
    return replace(recipe, **changes)
