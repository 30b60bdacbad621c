"""Rows that a calibration reads, with planted bias, noise and behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from planted import draw_boxes

from luab_data.calibration.calibrate import COLUMNS
from luab_data.ragged import Floats, Ints
from luab_data.schema import IMAGENET_IMAGES

SIDE = 1000  # px of every picture


def rows(**columns: Any) -> pa.Table:
    """Images with the columns that matter to a test; the others are null, `worker_id` is "w"."""
    num = len(next(iter(columns.values())))
    fields = {field.name: field for field in IMAGENET_IMAGES.schema()}
    given = {
        "image_id": [f"n1_{k}" for k in range(num)],
        "worker_id": ["w"] * num,
        "boxes": [[]] * num,
        **columns,
    }
    clicks = zip(given.get("final_click_x", [None] * num), given["boxes"], strict=True)
    # Whether it is in the box is not asked; null is where the two cannot be compared.
    given.setdefault("click_in_box", [True if x is not None and b else None for x, b in clicks])
    names = ("image_id", *COLUMNS)
    return pa.table({n: pa.array(given.get(n, [None] * num), fields[n].type) for n in names})


def clicked(click: Floats, boxes: Floats, worker: Ints | Sequence[int], **more: Any) -> pa.Table:
    """Images of SIDE x SIDE px with one box each, in fractions; worker k is "wk"."""
    return rows(
        final_click_x=click[:, 0].tolist(),
        final_click_y=click[:, 1].tolist(),
        boxes=(SIDE * boxes[:, None]).tolist(),
        width=[SIDE] * len(click),
        height=[SIDE] * len(click),
        worker_id=[f"w{k:03}" for k in worker],
        **more,
    )


def centres(boxes: Floats) -> Floats:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def biased(
    seed: int,
    *,
    bias: tuple[float, float] = (0.0, 0.0),
    spread: float = 0.0,
    noise: float = 0.05,
    num_images: int = 3000,
    num_workers: int = 30,
) -> tuple[pa.Table, Floats]:
    """Clicks at the box centre + bias of their worker + noise; and (num_workers, 2) the biases.

    Args:
        bias: mean over the workers there could be, fractions of the picture.
        spread: standard deviation of workers around it; noise: of clicks around their worker.
    """
    rng = np.random.default_rng(seed)
    own = np.array(bias) + rng.normal(0, spread, (num_workers, 2))
    boxes = draw_boxes(rng, num_images)
    worker = rng.integers(0, num_workers, num_images)
    click = centres(boxes) + own[worker] + rng.normal(0, noise, (num_images, 2))
    return clicked(click, boxes, worker), own
