"""Small datasets of several shards, with every kind of trace and icon, for the derive tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from logs import KEY, action, archive, block, coco_log, coco_record, xml

import luab_data
from luab_data.schema import COCO_CLASSES, Table
from luab_data.store import folder as store
from luab_data.store.shards import ShardWriter

IMAGES_PER_SHARD = 16


def imagenet_dataset(folder: Path, name: str = "imagenet-ab") -> Path:
    """Fifty images of four classes with zero to three rounds: four shards."""
    rng = np.random.default_rng(3)
    records = {}
    for i in range(50):
        image_id = f"n0000000{i % 4}_{i}"
        blocks = [a_block(rng, round) for round in range(rng.integers(0, 4))]
        boxes = [(5, 5, 120, 90), (150, 20, 190, 60)][: rng.integers(0, 3)]
        records[image_id] = xml(image_id, blocks, boxes)
    raw = archive(folder / "raw.tar.gz", records)
    luab_data.convert_imagenet(raw, folder / name, worker_key=KEY)
    return folder / name


def a_block(rng: np.random.Generator, round: int) -> dict[str, Any]:
    times = np.sort(rng.integers(0, 2000, rng.integers(0, 30))).tolist()
    trace = [(1000 + t, x, y) for t, x, y in zip(times, *rng.random((2, len(times))), strict=True)]
    clicks = [(1500 + 400 * k, *rng.random(2)) for k in range(rng.integers(0, 3))]
    hovered = [("enter", 1000), ("leave", 1800), ("enter", 1850), ("leave", 3000)]
    return block(
        selected=bool(rng.random() < 0.7),
        clicks=[(t, round_to(x), round_to(y)) for t, x, y in clicks],
        trace=[(t, round_to(x), round_to(y)) for t, x, y in trace],
        hovered=hovered[: rng.integers(0, 5)],
        submit=100 + round,
        worker=f"WORKER{rng.integers(0, 5)}",
    )


def round_to(value: float) -> float:
    return float(np.round(value * 324) / 324)


def coco_dataset(folder: Path, instances: Path | None, name: str = "coco-ab") -> Path:
    """Forty images with up to five icons: three shards."""
    rng = np.random.default_rng(4)
    records = []
    for i in range(40):
        steps = []
        for icon in rng.choice(COCO_CLASSES[:6], rng.integers(0, 6)):
            kind = str(rng.choice(["add", "move", "remove"], p=[0.6, 0.2, 0.2]))
            to = None if kind == "remove" else tuple(rng.random(2).tolist())
            steps.append(action(kind, str(icon), to))
        size = {"originalImageWidth": 20 * (i % 3), "originalImageHeight": 10}
        worker = f"WORKER{i % 3}"
        records.append(coco_record(100 + i, steps, worker_id=worker, hit_id=f"H{i % 5}", **size))
    raw = coco_log(folder / "raw.json", records)
    luab_data.convert_coco(raw, folder / name, instances=instances, worker_key=KEY)
    return folder / name


def instances_file(path: Path) -> Path:
    """Ground truth of all but the last five images: each has the left half as person."""
    ids = range(100, 135)
    images = [{"id": i, "width": 20, "height": 10} for i in ids]
    left = [[0, 0, 10, 0, 10, 10, 0, 10]]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1 + i % 2, "segmentation": left, "iscrowd": 0}
        for i in ids
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return path


def spoil(folder: Path, table: Table, names: list[str]) -> None:
    """Write wrong values (those of the row before) into columns of every shard, sums not minded."""
    for path in store.parquet_files(folder, table):
        rows = pq.read_table(path)
        order = pa.array(np.roll(np.arange(len(rows)), 1))
        for name in names:
            wrong = rows[name].take(order).combine_chunks()
            rows = rows.set_column(rows.column_names.index(name), rows.field(name), wrong)
        path.unlink()
        work = path.with_name("work")
        work.mkdir()
        writer = ShardWriter(work, table)
        writer.write(rows.cast(table.schema()))
        writer.end_shard().rename(path)
        (work / table.folder).rmdir()
        work.rmdir()
