"""Both datasets, simulated on drawn pictures: what notebooks and reports run on in CI."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from luab_data import (
    LabelledImage,
    convert_coco,
    convert_from,
    convert_imagenet,
    simulate_coco,
    simulate_imagenet,
)
from luab_data.schema import COCO_CATEGORIES

CLASSES = ("n00000001", "n00000002", "n00000003")


def imagenet_ab(corner: Path, *, num_images: int = 600, num_workers: int = 16) -> Path:
    """`corner/imagenet-ab`, its pictures in `corner/images/<wnid>/`: a disc on a plain ground."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(num_images):
        wnid = CLASSES[number % len(CLASSES)]
        width, height = (int(v) for v in rng.integers(60, 120, 2))
        radius = int(rng.integers(10, 25))
        x, y = (int(rng.integers(radius, side - radius)) for side in (width, height))
        image = LabelledImage(
            image_id=f"{wnid}_{number}", wnid=wnid, width=width, height=height,
            boxes=[[x - radius, y - radius, x + radius, y + radius]],
        )  # fmt: skip
        images.append(image)
        across, down = np.meshgrid(np.arange(width), np.arange(height))
        disc = (across - x) ** 2 + (down - y) ** 2 <= radius**2
        pixels = np.where(disc[:, :, None], (200, 80, 40), (90, 110, 130)).astype(np.uint8)
        folder = corner / "images" / wnid
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{image.image_id}.JPEG")
    raw = corner / "raw.tar.gz"
    truth = corner / "truth.jsonl"
    simulate_imagenet(images, raw, truth=truth, boxed_fraction=0.8, num_workers=num_workers)
    convert_imagenet(raw, corner / "imagenet-ab")
    return corner / "imagenet-ab"


def coco_ab(corner: Path, *, num_images: int = 200, num_workers: int = 8) -> Path:
    """`corner/coco-ab`, with its instances: rectangles of many sizes and classes."""
    rng = np.random.default_rng(1)
    ids = list(COCO_CATEGORIES)
    width, height = 320, 240
    annotations = []
    for image_id in range(1, num_images + 1):
        chosen = rng.permutation(ids)[: rng.integers(2, 6)].tolist()
        for category in chosen:
            w, h = np.exp(rng.uniform(np.log(8), np.log(200), 2))
            x, y = rng.uniform(0, (width - w, height - h))
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id, "category_id": category,
                    "iscrowd": 0, "area": w * h, "bbox": [x, y, w, h],
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )  # fmt: skip
    instances = corner / "instances.json"
    content = {
        "images": [
            {"id": k, "width": width, "height": height, "file_name": f"{k:012d}.jpg"}
            for k in range(1, num_images + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in COCO_CATEGORIES.items()],
    }
    instances.write_text(json.dumps(content))
    raw = corner / "raw.json"
    simulate_coco(instances, raw, truth=corner / "coco.jsonl", num_workers=num_workers)
    convert_coco(raw, corner / "coco-ab", instances=instances)
    return corner / "coco-ab"


def looks(corner: Path, *, num_images: int = 200) -> tuple[Path, Path]:
    """`corner/narratives` and `corner/salicon`: traces over the objects of `coco_ab`'s images, and
    mouse samples of several people who look at the largest ones and at the middle."""
    rng = np.random.default_rng(2)
    content = json.loads((corner / "instances.json").read_text())
    size = np.array([320, 240])
    boxes: dict[int, list[list[float]]] = {}
    for thing in content["annotations"]:
        boxes.setdefault(thing["image_id"], []).append(thing["bbox"])
    narratives, people = [], []
    for image_id in range(1, num_images + 1):
        corners = np.array(boxes[image_id])
        centre, extent = corners[:, :2] + corners[:, 2:] / 2, corners[:, 2:]
        for annotator in range(2):
            steps = np.linspace(0, 2 * np.pi, 40)
            circle = np.stack([np.cos(steps), np.sin(steps)], axis=1)
            stays = [(c + e / 2 * circle * rng.uniform(0.6, 1.1)) / size
                     for c, e in zip(centre, extent, strict=True)]  # fmt: skip
            traces = [
                [{"x": x, "y": y, "t": stay + 0.05 * k} for k, (x, y) in enumerate(points.tolist())]
                for stay, points in enumerate(stays)
            ]
            narratives.append({
                "dataset_id": "mscoco_train2017", "image_id": str(image_id), "traces": traces,
                "annotator_id": annotator, "caption": "Simulated.", "timed_caption": [],
                "voice_recording": "",
            })  # fmt: skip
        shares = extent.prod(axis=1) ** 0.5
        for worker in range(6):
            chosen = rng.choice(len(centre), 25, p=shares / shares.sum())
            points = centre[chosen] + extent[chosen] * rng.normal(0, 0.2, (25, 2))
            points[rng.random(25) < 0.3] = size / 2 + rng.normal(0, 20, 2)
            column, row = np.clip(np.rint(points), 1, size).astype(int).T
            people.append({
                "id": len(people), "image_id": image_id, "worker_id": worker,
                "fixations": np.stack([row, column], axis=1).tolist(),
            })  # fmt: skip
    log = corner / "narratives.jsonl"
    log.write_text("\n".join(map(json.dumps, narratives)) + "\n")
    mouse = corner / "fixations_train2014.json"
    images = content["images"][:num_images]
    mouse.write_text(json.dumps({"images": images, "annotations": people, "type": "fixations",
                                 "info": {}, "licenses": []}))  # fmt: skip
    convert_from("localized-narratives", log, corner / "narratives")
    convert_from("salicon", mouse, corner / "salicon")
    return corner / "narratives", corner / "salicon"
