"""Pictures cut so that their object lies off the middle, and the clicks of what is left. Pure.

A window of SIDE px is laid into each picture of Tiny ImageNet (64 px). It keeps at least KEEP of
the most that such a window can show of the box, and all of that up to SMALL of its own area. Of the
windows that do, those whose middle is farthest from the centre of what is shown of the box, up to
NEAR of the farthest, are candidates, and a hash of the image's id draws one. Clicks have no part in
it, so test images are cut as training images are. A box that fills the picture covers the middle of
any window; how many do is measured, not set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_train.data.targets import uniform

FULL, SIDE = 64, 48
"""px, sides of the original and of the window: what the networks see (`experiments.base`), so that
nothing is resampled in evaluation.
"""
KEEP, SMALL, NEAR = 0.5, 0.25, 0.9


def windows(boxes: Mapping[str, np.ndarray]) -> dict[str, tuple[int, int]]:
    """Left and top of each picture's window, px.

    Args:
        boxes: image id -> (K, 4) xyxy px, last pixel included; the first counts.
    """
    draw = uniform(np.array(list(boxes)), 0, stream="off middle")
    return {
        name: window(box[0], u) for (name, box), u in zip(boxes.items(), draw.tolist(), strict=True)
    }


def window(box: np.ndarray, draw: float) -> tuple[int, int]:
    """Left and top of one window, px; `draw` in [0, 1) picks among the candidates."""
    at = np.arange(FULL - SIDE + 1)
    first = np.maximum(box[:2, None], at)  # (2, P): x and y of each place along a side
    last = np.minimum(box[2:, None] + 1, at + SIDE)
    shown = np.clip(last - first, 0, None)
    off = (first + last) / 2 - (at + SIDE / 2)
    area_YX = shown[1][:, None] * shown[0]
    off_YX = np.hypot(off[1][:, None], off[0])
    least = max(KEEP * area_YX.max(), min(area_YX.max(), SMALL * SIDE**2))
    off_YX = np.where(area_YX >= least, off_YX, -1.0)
    candidates = np.argwhere(off_YX >= NEAR * off_YX.max())
    top, left = candidates[int(draw * len(candidates))].tolist()
    return left, top


def cut_box(box: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """(4,) xyxy px of what is left of a box, in the window's frame, last pixel included."""
    return np.clip(box - np.tile(corner, 2), 0, SIDE - 1)


def moved_clicks(table: pa.Table, corners: Mapping[str, tuple[int, int]]) -> pa.Table:
    """The image table with its clicks in fractions of the windows, null where they were cut off.

    Other byproducts with a place are left out: no arm of this set looks at them.
    """
    corner = np.array([corners[name] for name in table["image_id"].to_pylist()]).reshape(-1, 2)
    for point in ("final_click", "first_click"):
        old = np.stack([table[f"{point}_{axis}"].to_numpy() for axis in "xy"], axis=1)
        new = (old * FULL - corner) / SIDE
        lost = ~((new >= 0) & (new <= 1)).all(axis=1)
        for at, axis in enumerate("xy"):
            table = _with(table, f"{point}_{axis}", pa.array(new[:, at], mask=lost))
    side = pa.array(np.full(len(table), SIDE, np.int32))
    table = _with(_with(table, "width", side), "height", side)
    gone = ("trace_quantile", "time_quantile", "last_n", "hull")
    return table.drop_columns([name for name in table.column_names if name.startswith(gone)])


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), column)


def middles(boxes: Mapping[str, np.ndarray], side: int) -> float:
    """Share of pictures of `side` px whose middle lies in their first box, borders included."""
    box = np.stack([found[0] for found in boxes.values()])
    return float(((box[:, :2] <= side / 2) & (box[:, 2:] >= side / 2)).all(axis=1).mean())


def clicks(table: pa.Table) -> dict[str, Any]:
    """How many images have a final click, and the share of those that lie in the first box."""
    table = table.filter(pc.is_valid(table["final_click_x"]))
    size = np.stack([table["width"].to_numpy(), table["height"].to_numpy()], axis=1)
    at = np.stack([table[f"final_click_{axis}"].to_numpy() for axis in "xy"], axis=1) * size
    box = np.array([found[0] for found in table["boxes"].to_pylist()]).reshape(-1, 4)
    inside = ((box[:, :2] <= at) & (at <= box[:, 2:])).all(axis=1)
    return {"clicks": len(table), "click_in_box": round(float(inside.mean()), 4)}
