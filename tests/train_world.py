"""A small world to train in: a bright square on noise, its box, and a click in its middle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from luab_train.recipe import Recipe
from luab_train.sections import Data, Loss, Model, Optim

WNIDS = ("n00000001", "n00000002", "n00000003")
SIZE = 32
TIMES = {"seconds", "images_per_second", "data_wait"}
"""Keys of a line of metrics that no two runs share."""


class World(NamedTuple):
    data: Path
    images: Path
    val: Path


def make_world(
    root: Path, *, per_class: int = 16, num_val: int = 5, num_classes: int = 2, seed: int = 0
) -> World:
    """Dataset folder, its images, and validation images with `<wnid>_boxes.txt` beside them."""
    rng = np.random.default_rng(seed)
    rows = []
    for label, wnid in enumerate(WNIDS[:num_classes]):
        (root / "train" / wnid).mkdir(parents=True)
        (root / "val" / wnid).mkdir(parents=True)
        for number in range(per_class):
            image, box = draw(rng, label)
            image.save(root / "train" / wnid / f"{wnid}_{number}.png")
            selected = number % 8 != 7
            rows.append(row(f"{wnid}_{number}", label, box=box, selected=selected))
        lines = []
        for number in range(num_val):
            image, box = draw(rng, label)
            image.save(root / "val" / wnid / f"val_{label}_{number}.png")
            lines.append("\t".join(map(str, [f"val_{label}_{number}.png", *map(int, box)])) + "\n")
        (root / "val" / wnid / f"{wnid}_boxes.txt").write_text("".join(lines))
    write_dataset(root / "imagenet-ab", rows)
    return World(root / "imagenet-ab", root / "train", root / "val")


def draw(rng: np.random.Generator, label: int) -> tuple[Image.Image, list[float]]:
    pixels = rng.integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
    x, y = rng.integers(0, SIZE - 10, 2)
    pixels[y : y + 10, x : x + 10, label] = 250
    return Image.fromarray(pixels), [float(x), float(y), float(x + 10), float(y + 10)]


def row(
    image_id: str, label: int, *, box: list[float] | None, selected: bool = True
) -> dict[str, Any]:
    click = ((box[0] + box[2]) / 2 / SIZE, (box[1] + box[3]) / 2 / SIZE) if box else (0.5, 0.5)
    return {
        "image_id": image_id,
        "wnid": WNIDS[label],
        "label": label,
        "width": SIZE,
        "height": SIZE,
        "boxes": [box] if box else [],
        "has_boxes": bool(box),
        "selected": selected,
        "final_click_x": click[0] if selected else None,
        "final_click_y": click[1] if selected else None,
    }


SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "wnid": pa.string(),
        "label": pa.int64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "boxes": pa.list_(pa.list_(pa.float64())),
        "has_boxes": pa.bool_(),
        "selected": pa.bool_(),
        "final_click_x": pa.float64(),
        "final_click_y": pa.float64(),
    }
)


def write_dataset(
    folder: Path, rows: list[dict[str, Any]], *, shards: int = 1, schema: pa.Schema = SCHEMA
) -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        table = pa.Table.from_pylist(rows[shard::shards], schema=schema)
        pq.write_table(table, folder / "data" / f"train-{shard:05d}-of-{shards:05d}.parquet")
    return folder


def small_recipe(**changes: Any) -> Recipe:
    """Two epochs of the smallest network timm has, full precision, all drawn by seed."""
    recipe = Recipe(
        name="small",
        data=Data(
            image_size=SIZE,
            eval_resize=SIZE,
            interpolation="bilinear",
            crop_scale=(0.5, 1.0),
            color_jitter=0.2,
            num_workers=0,
        ),
        # Dropout, so that a random state that is not restored shows.
        model=Model(name="test_vit", drop_rate=0.1),
        loss=Loss(lambda_reg=10.0),
        optim=Optim(name="adamw", lr=2e-3, weight_decay=0.05, warmup_epochs=0.5, precision="no"),
        epochs=2,
        batch_size=8,
    )
    return replace(recipe, **changes)


def metrics_lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def dotted(size_wh: tuple[int, int], point_px: tuple[float, float]) -> Image.Image:
    """Black, with a soft white dot of sigma 2 px whose centre of mass is the point."""
    w, h = size_wh
    x, y = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
    value = np.exp(-((x - point_px[0]) ** 2 + (y - point_px[1]) ** 2) / (2 * 2.0**2))
    return Image.fromarray((255 * value).round().astype(np.uint8)).convert("RGB")


def found(image: Image.Image) -> np.ndarray:
    """Centre of mass of an image with one dot, px."""
    value = np.asarray(image).astype(float).mean(axis=2)
    value = np.where(value > 20, value, 0)
    y, x = np.indices(value.shape) + 0.5
    return np.array([(x * value).sum(), (y * value).sum()]) / value.sum()
