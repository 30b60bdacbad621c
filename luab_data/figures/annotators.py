"""Overview of annotators: what partial pooling does to their scores, and where they click.

Functions draw on an Axes and return it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from luab_data.columns.clicks import is_true
from luab_data.columns.regions import floats
from luab_data.figures.labels import label_points
from luab_data.figures.style import BASELINE, BLUE, GREY, VERMILION
from luab_data.ragged import Bools, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 6
"""Flagged workers that are named, by the first characters of the hash."""


def draw_shrinkage(ax: Axes, workers: pa.Table, *, scale: float = 100.0) -> Axes:
    """Shrunk against raw score: the shorter the line to the diagonal, the less was shrunk.

    Args:
        workers: one row a worker: `worker_id`; `raw` and `shrunk`, shares; `n`, what raw is over;
            `flag`, whether the worker is suspect. Rows without raw or shrunk are left out.
    """
    raw, shrunk = (scale * floats(workers[name]) for name in ("raw", "shrunk"))
    seen = np.isfinite(raw) & np.isfinite(shrunk)
    n, flag = np.nan_to_num(floats(workers["n"])), is_true(workers["flag"])
    ends = np.concatenate([raw[seen], shrunk[seen]])
    if not len(ends):
        return ax
    ax.axline((float(ends.min()),) * 2, slope=1, **BASELINE)
    ax.vlines(raw[seen], raw[seen], shrunk[seen], color=GREY, linewidth=0.6, zorder=2)
    _dots(ax, raw, shrunk, n, flag, seen)
    _name(ax, workers, raw, shrunk, flag & seen, seen)
    ax.margins(0.06)
    ax.set(xlabel="own score, %", ylabel="shrunk towards the crowd, %")
    return ax


def draw_worker_offsets(ax: Axes, workers: pa.Table) -> Axes:
    """Mean offset of each worker's clicks from the box's centre, as an arrow from the centre.

    Args:
        workers: one row a worker: `worker_id`; `offset_x`, `offset_y` in box widths and heights,
            y down; `n`, clicks; `flag`. Rows without an offset are left out.
    """
    from matplotlib.collections import LineCollection

    x, y = (floats(workers[f"offset_{axis}"]) for axis in "xy")
    seen = np.isfinite(x) & np.isfinite(y)
    n, flag = np.nan_to_num(floats(workers["n"])), is_true(workers["flag"])
    reach = 1.15 * max(float(np.abs(np.concatenate([x[seen], y[seen], [0.05]])).max()), 0.05)
    ax.axhline(0, **BASELINE)
    ax.axvline(0, **BASELINE)
    for colour, which in ((BLUE, seen & ~flag), (VERMILION, seen & flag)):
        lines = np.zeros((int(which.sum()), 2, 2))
        lines[:, 1] = np.column_stack([x[which], y[which]])
        ax.add_collection(
            LineCollection([*lines], color=colour, linewidth=0.6, alpha=0.5, zorder=2)
        )
    _dots(ax, x, y, n, flag, seen)
    ax.set(
        xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal",
        xlabel="mean offset, box widths", ylabel="box heights, down",
    )  # fmt: skip
    _name(ax, workers, x, y, flag & seen, seen)
    return ax


def _dots(ax: Axes, x: Floats, y: Floats, n: Floats, flag: Bools, seen: Bools) -> None:
    area = 4 + 36 * np.sqrt(n / max(float(n.max(initial=1)), 1))
    for colour, which, label in (
        (BLUE, seen & ~flag, "worker"),
        (VERMILION, seen & flag, "suspect"),
    ):
        if which.any():
            ax.scatter(
                x[which], y[which], s=area[which], color=colour, alpha=0.75, linewidth=0.4,
                edgecolor="white", zorder=4, label=label,
            )  # fmt: skip


def _name(ax: Axes, workers: pa.Table, x: Floats, y: Floats, named: Bools, seen: Bools) -> None:
    """Name the flagged worker of most clicks first, at most NAMED."""
    order = np.argsort(-np.nan_to_num(floats(workers["n"])), kind="stable")
    chosen = [int(k) for k in order if named[k]][:NAMED]
    ids = workers["worker_id"].to_pylist()
    label_points(
        ax, x[chosen], y[chosen], [str(ids[k])[:6] for k in chosen],
        others=np.column_stack([x[seen], y[seen]]),
    )  # fmt: skip
