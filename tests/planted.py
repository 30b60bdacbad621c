"""ImageNet-AB tables with planted behaviour, so that statistics have a known answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.ragged import Bools, Floats
from luab_data.schema import IMAGENET_IMAGES, LAST_N, QUANTILES
from luab_data.statistics.estimate import Estimate
from luab_data.statistics.imagenet_clicks import ImageBatch
from luab_data.statistics.measure import Statistics
from luab_data.statistics.take import count, take

WIDTH, HEIGHT = 400.0, 200.0


def batch(**columns: object) -> ImageBatch:
    """A batch of the columns that matter to a test; the others are null, `worker_id` is "w"."""
    num = len(next(iter(columns.values())))  # type: ignore[arg-type]
    fields = {f.name: f for f in IMAGENET_IMAGES.schema()}
    given = {"worker_id": ["w"] * num, **columns}
    return ImageBatch(
        pa.table(
            {
                name: pa.array(given.get(name, [None] * num), fields[name].type)
                for name in ImageBatch.columns
            }
        )
    )


def boxed(
    clicks: Sequence[tuple[float, float]], boxes: Sequence[object], **more: object
) -> ImageBatch:
    """Selected images of 100 x 100 px with clicks, and boxes in fractions (a list of them each)."""
    from luab_data.columns.regions import click_in_box

    num = len(clicks)
    x, y = (pa.array([p[axis] for p in clicks], pa.float64()) for axis in (0, 1))
    px = pa.array(
        [[[100 * edge for edge in box] for box in of_image] for of_image in boxes],
        pa.list_(pa.list_(pa.float64())),
    )
    size = pa.array([100] * num, pa.int32())
    return batch(
        final_click_x=x.to_pylist(),
        final_click_y=y.to_pylist(),
        boxes=px.to_pylist(),
        width=size.to_pylist(),
        height=size.to_pylist(),
        has_boxes=[bool(b) for b in boxes],
        selected=[True] * num,
        click_in_box=click_in_box(x, y, size, size, px, size, size).to_pylist(),
        **more,
    )


def draw_boxes(
    rng: np.random.Generator, num: int, *, low: float = 0.2, high: float = 0.5
) -> Floats:
    """(num, 4) one box an image, fractions."""
    size = rng.uniform(low, high, (num, 2))
    corner = rng.random((num, 2)) * (1 - size)
    return np.concatenate([corner, corner + size], axis=1)


def draw_points(rng: np.random.Generator, boxes: Floats, inside: Bools) -> Floats:
    """(num, 2) a point in or outside each image's box, uniform there; fractions."""
    points = boxes[:, :2] + rng.random((len(boxes), 2)) * (boxes[:, 2:] - boxes[:, :2])
    todo = np.flatnonzero(~inside)
    while len(todo):
        points[todo] = rng.random((len(todo), 2))
        own = boxes[todo]
        hit = ((own[:, :2] <= points[todo]) & (points[todo] <= own[:, 2:])).all(axis=1)
        todo = todo[hit]
    return points


def world(
    seed: int,
    *,
    num_images: int = 3000,
    num_workers: int = 30,
    accuracy: float = 0.8,
    spread: float = 0.1,
    curve: Sequence[float] = (),
    offset: tuple[float, float] | None = None,
) -> ImageBatch:
    """Images clicked by workers who differ.

    Args:
        accuracy: mean over workers of the share of their clicks in the box.
        spread: its standard deviation over workers.
        curve: share of trace points in the box at each quantile, for time and trace alike.
        offset: instead of an accuracy: mean offset of a click from the box centre, in box sizes;
            workers differ from it by .1, clicks by .2.
    """
    rng = np.random.default_rng(seed)
    boxes = draw_boxes(rng, num_images)
    worker = rng.integers(0, num_workers, num_images)
    if offset is None:
        of_worker = np.clip(rng.normal(accuracy, spread, num_workers), 0, 1)
        click = draw_points(rng, boxes, rng.random(num_images) < of_worker[worker])
    else:
        u = np.array(offset) + rng.normal(0, 0.1, (num_workers, 2))[worker]
        u = u + rng.normal(0, 0.2, (num_images, 2))
        click = (boxes[:, :2] + boxes[:, 2:]) / 2 + u * (boxes[:, 2:] - boxes[:, :2])
    more: dict[str, object] = {}
    if curve:
        noise = rng.normal(0, 0.05, num_workers)[worker]
        steps = [
            draw_points(rng, boxes, rng.random(num_images) < np.clip(p + noise, 0, 1))
            for p in curve
        ]
        for axis, name in enumerate("xy"):
            for kind in ("trace_quantile", "time_quantile"):
                more[f"{kind}_{name}"] = np.stack([s[:, axis] for s in steps], axis=1).tolist()
    return boxed(
        click.tolist(),
        boxes[:, None].tolist(),
        worker_id=[f"w{k}" for k in worker],
        **more,
    )


def taken(
    numbers: Statistics, configs: Mapping[str, Iterable[pa.Table]], *names: str, **options: Any
) -> dict[str, Estimate]:
    """Measures of these names, or all, of tables by config."""
    chosen = [m for m in numbers.measures if m.name in names or not names]
    assert len(chosen) == len(names) or not names
    return take(chosen, numbers.sources, lambda config, _: configs.get(config, ()), **options)


def counted(numbers: Statistics, configs: Mapping[str, Iterable[pa.Table]]) -> dict[str, Any]:
    """All counts of tables by config."""
    return count(numbers.counts, numbers.sources, lambda config, _: configs.get(config, ()))


__all__ = ["LAST_N", "QUANTILES", "batch", "boxed", "draw_boxes", "draw_points", "world"]
