"""Evaluations of made-up models: predictions as files, and the results that follow from them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from luab_train.evaluate.benchmark import Benchmark
from luab_train.evaluate.benchmarks import BENCHMARKS, BY_NAME
from luab_train.evaluate.classify import score
from luab_train.evaluate.predictions import (
    PAIRS_SCHEMA,
    SCHEMA,
    read_predictions,
    write_predictions,
)
from luab_train.metrics.robustness import C15, SEVERITIES

WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361")
SKILL = {
    "in-1k": 0.77, "in-v2": 0.65, "in-a": 0.1, "in-r": 0.38, "sketch": 0.25, "objectnet": 0.3,
    "si-size": 0.54, "si-loc": 0.32, "si-rot": 0.4, "bgc-acc": 0.27,
}  # fmt: skip
PARTS = {
    "in-1k": ("val",), "in-real": ("val",),
    "in-c": tuple(f"{c}-{s}" for c in C15 for s in SEVERITIES),
    "in-o": ("in", "out"), "cocc": ("after", "before"), "bgc-gap": ("mixed_same", "mixed_rand"),
    "bgc-acc": ("00_dog", "01_bird"),
}  # fmt: skip
PLACES = tuple((x, y) for x in np.arange(21) / 20 for y in np.arange(21) / 20)
SIZES = tuple(round(0.01 * k, 2) for k in range(1, 101))
ANGLES = tuple(range(1, 361, 20))


def write_evaluation(
    folder: Path,
    *,
    names: Sequence[str] | None = None,
    model: str = "tiny",
    seed: int = 0,
    gain: Mapping[str, float] | float = 0.0,
    num_images: int = 400,
    missing: Sequence[str] = (),
    point: bool = True,
    world: int = 0,
) -> Path:
    """A folder as `luab-train eval --benchmarks` leaves it.

    Args:
        gain: added to how often the model is right, of all benchmarks or by name.
        missing: benchmarks whose folder was not there.
        world: seed of the images; models of one world are told the same images and how hard they
            are, so their answers go together.
    """
    weights = f"{model}-{seed}"
    rows: list[dict[str, Any]] = []
    for benchmark in BENCHMARKS:
        if names is not None and benchmark.name not in names:
            continue
        if benchmark.name in missing:
            rows.append(row(benchmark, "", model, weights))
            continue
        added = gain if isinstance(gain, float) else gain.get(benchmark.name, 0.0)
        size = {"in-c": num_images // 8, "si-loc": 441 * 3, "si-size": 600, "si-rot": 18 * 4 * 8}
        parts: Sequence[str] = PARTS.get(benchmark.name, (benchmark.name,))
        if benchmark.name != "in-real":  # it is scored from the answers of in-1k
            _write(
            folder / benchmark.folder, benchmark.name, weights, seed, added,
            size.get(benchmark.name, num_images), point, world,
        )  # fmt: skip
        files = [folder / benchmark.folder / f"{part}.parquet" for part in parts]
        found, notes = score(benchmark, lambda files=files: map(read_predictions, files))
        told = {name: {**e._asdict(), "note": notes.get(name, "")} for name, e in found.items()}
        rows += [row(benchmark, name, model, weights, e) for name, e in told.items()]
    write_rows(folder, rows)
    return folder


def write_rows(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


def row(
    benchmark: Benchmark, name: str, model: str, weights: str, told: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    known = told is not None
    metric = benchmark.metric(name) or benchmark.metrics[0]
    found = dict(told) if told else {"n": 0, "note": "missing: put it at DIR/x", "method": ""}
    found["interval"] = found.pop("method")
    for key in ("value", "low", "high"):
        value = found.get(key, math.nan)
        found[key] = value if math.isfinite(value) else None
    return {
        **found, "benchmark": benchmark.name, "column": benchmark.title,
        "metric": metric.name, "title": metric.title, "direction": metric.direction,
        "primary": metric is benchmark.metrics[0],
        "status": "done" if known and found["value"] is not None
        else "incomplete" if known else "missing",
        "model": model, "weights": weights, "image_size": 224, "interpolation": "bicubic",
        "precision": "no", "partial": "",
    }  # fmt: skip


def plain_row(
    benchmark: str, metric: str, value: float | None, *, spread: float | None = 1.0, n: int = 100
) -> dict[str, Any]:
    """A row without predictions."""
    known = BY_NAME.get(benchmark)
    found = known.metric(metric) if known else None
    direction = found.direction if found else "up"
    ends = (None, None) if value is None or spread is None else (value - spread, value + spread)
    return {
        "benchmark": benchmark, "metric": metric, "direction": direction, "value": value,
        "low": ends[0], "high": ends[1], "n": n, "note": "", "interval": "wilson", "partial": "",
        "status": "done" if value is not None else "none", "model": "tiny", "weights": "w",
    }  # fmt: skip


def write_part(
    file: Path, image_id: Sequence[str], label: Sequence[str], top1: Sequence[str], *,
    weights: str = "w", margin: Sequence[float] | None = None,
    points: np.ndarray | None = None, probability: Sequence[float] | None = None,
) -> None:  # fmt: skip
    """Predictions of one part, chosen."""
    n = len(image_id)
    sure = np.full(n, 0.6) if probability is None else np.asarray(probability)
    others = [[w for w in WNIDS if w != t][:4] for t in top1]
    table = pa.table(
        {
            "image_id": list(image_id), "label": list(label),
            "top5_class": [[t, *o] for t, o in zip(top1, others, strict=True)],
            "top5_probability": [[float(p), *[float(1 - p) / 4] * 3] for p in sure],
            "margin": sure - (1 - sure) / 4 if margin is None else np.asarray(margin),
            "max_probability": sure, "label_log_probability": np.log(sure),
            "max_logit": sure, "energy": sure,
            "point_x": [None] * n if points is None else points[:, 0],
            "point_y": [None] * n if points is None else points[:, 1],
            "error": pa.nulls(n, pa.string()),
        }
    )  # fmt: skip
    about = {
        "weights": weights, "part": "p", "settings": {}, "model": "tiny",
        "accepted": {w: [w] for w in sorted(set(label))}, "counts": {"num_bad": 0},
    }  # fmt: skip
    write_predictions(file, table.cast(SCHEMA), about)


def write_pairs(
    file: Path, image_id: Sequence[str], robust: Sequence[bool], weights: str = "w"
) -> None:
    n = len(image_id)
    table = pa.table(
        {
            "image_id": list(image_id), "label": ["0"] * n, "is_robust": list(robust),
            "num_tried": [3] * n, "failed_background": ["b"] * n, "failed_class": ["n"] * n,
            "error": pa.nulls(n, pa.string()),
        }
    )  # fmt: skip
    about = {"weights": weights, "counts": {"num_forwards": 3 * n, "num_bad": 0}}
    write_predictions(file, table.cast(PAIRS_SCHEMA), about)


def _write(
    folder: Path, name: str, weights: str, seed: int, gain: float, size: int, point: bool,
    world: int,
) -> None:  # fmt: skip
    parts = PARTS.get(name, (name,))
    for number, part in enumerate(parts):
        shared = np.random.default_rng([world, list(BY_NAME).index(name), number % 5])
        own = np.random.default_rng([world, seed, number, list(BY_NAME).index(name), 7])
        ids, skill = _images(name, part, size, shared)
        # The same images are hard for all models, but not quite as hard.
        hard = 0.8 * shared.random(len(ids)) + 0.2 * own.random(len(ids))
        right = hard < np.clip(skill + gain, 0, 1)
        if name == "bgc-acc":
            write_pairs(folder / f"{part}.parquet", ids, right.tolist(), weights)
            continue
        label = shared.integers(len(WNIDS), size=len(ids))
        answer = np.where(right, label, (label + 1 + own.integers(3, size=len(ids))) % 4)
        sure = np.clip(own.normal(0.6 - 0.15 * (part == "out"), 0.15, len(ids)), 0.3, 0.99)
        write_part(
            folder / f"{part}.parquet", ids, [WNIDS[k] for k in label],
            [WNIDS[k] for k in answer], weights=weights, probability=sure,
            points=own.normal(0.5, 0.12, (len(ids), 2)) if point else None,
        )  # fmt: skip


def _images(
    name: str, part: str, size: int, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
    """Ids, and how likely each is right."""
    at = np.arange(size)
    if name == "in-c":
        corruption, severity = part.rsplit("-", 1)
        level = 0.75 - 0.11 * int(severity) - 0.02 * C15.index(corruption)
        return _ids(size), np.full(size, level)
    if name.startswith("si-"):
        ids = [f"bee/{k}.jpg" for k in at]
        if name == "si-loc":
            x, y = np.array(PLACES)[at % 441].T
            return ids, 0.7 - 0.9 * np.hypot(x - 0.5, y - 0.5)
        if name == "si-size":
            return ids, 0.2 + 0.6 * np.array(SIZES)[at % 100]
        return ids, 0.45 + 0.2 * np.cos(np.radians(np.array(ANGLES)[at % 18]))
    if name == "bgc-gap":
        return _ids(size), np.full(size, 0.84 if part == "mixed_same" else 0.76)
    if name == "bgc-acc":
        return [f"{part}/{k}.JPEG" for k in at], np.full(size, SKILL[name])
    base = {"in-o": 0.5, "cocc": 0.5, "in-real": 0.8}
    return _ids(size), np.full(size, {**base, **SKILL}[name])


def _ids(size: int) -> list[str]:
    return [f"{WNIDS[k % 4]}/ILSVRC2012_val_{k + 1:08d}.JPEG" for k in range(size)]


def write_si_metadata(folder: Path, factor: str, size: int) -> Path:
    """`metadata.csv` as SI-Score's generator writes it, of the images of `write_evaluation`."""
    lines = [
        "image_id,x_coord,y_coord,area,rotation,foreground_class,foreground_instance,background,"
        "bg_resolution_width,bg_resolution_height,pct_inside_image"
    ]
    for k in range(size):
        x, y, area, angle = 0.5, 0.5, 0.2, 0
        if factor == "location":
            x, y = PLACES[k % 441]
        elif factor == "size":
            area = SIZES[k % 100]
        else:
            angle = ANGLES[k % 18]
        lines.append(f"{k},{x},{y},{area},{angle},0,0,0,500,500,1.0")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder
