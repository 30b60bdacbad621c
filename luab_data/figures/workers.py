"""Overview of annotators: what partial pooling does to their scores, and where they click.

Functions draw on an Axes and return it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from luab_data.figures.charts import label_points
from luab_data.figures.style import BASELINE, BLUE, GREY, VERMILION, AxesGrid, Estimates, Tables
from luab_data.kinds import KINDS
from luab_data.ragged import Bools, Floats, floats, is_true
from luab_data.workers.annotators import Annotators
from luab_data.workers.suspects import flagged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 6
"""Flagged workers that are named, by the first characters of the hash."""
FARTHEST = 3.0
"""Box sizes; a mean offset beyond is of a broken log, and would hide all others."""
MANY = 300
"""From so many workers on, ordinary ones are small faint dots without a line: a cloud."""


def overview(found: Annotators) -> pa.Table:
    """What the figure of annotators is drawn from, one row a worker.

    Returns: `worker_id`; `raw`, `shrunk`, their own score (of the kind) and that pooled towards the
        crowd; `n`, what it is over; `flag`, whether the worker is suspect; `offset_x`, `offset_y`,
        their mean click from the box's centre, where it is known of this kind.
    """
    score = KINDS[found.dataset].score
    pooled = found.pooled[score]
    columns = {
        "worker_id": pa.array(found.worker_id, pa.string()),
        "raw": pa.array(pooled.raw, from_pandas=True),
        "shrunk": pa.array(pooled.value, from_pandas=True),
        "n": pa.array(found.num_rows[score]),
        "flag": pa.array(flagged(found.suspicion())),
    }
    for name in ("offset_x", "offset_y"):
        if name in found.pooled:
            columns[name] = pa.array(found.pooled[name].value, from_pandas=True)
    return pa.table(columns)


def draw_annotators(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
    """Scores, and below them, where there is room for it, offsets."""
    draw_shrinkage(axes[0, 0], tables["workers"])
    if len(axes) > 1:
        draw_worker_offsets(axes[1, 0], tables["workers"])
    if not is_true(tables["workers"]["flag"]).any():
        for dots in axes[0, 0].collections:  # one kind of dot needs no legend
            dots.set_label("_")


def draw_shrinkage(ax: Axes, workers: pa.Table) -> Axes:
    """Shrunk against raw score: the shorter the line to the diagonal, the less was shrunk.

    Args:
        workers: of `overview`. Rows without raw or shrunk are left out.
    """
    raw, shrunk = (100 * floats(workers[name]) for name in ("raw", "shrunk"))
    seen = np.isfinite(raw) & np.isfinite(shrunk)
    if not seen.any():
        return ax
    flag = is_true(workers["flag"])
    ends = np.concatenate([raw[seen], shrunk[seen]])
    ax.axline((float(ends.min()),) * 2, slope=1, **BASELINE)
    lined = seen & (flag | (seen.sum() < MANY))
    ax.vlines(raw[lined], raw[lined], shrunk[lined], color=GREY, linewidth=0.6, zorder=2)
    ax.margins(0.06)
    ax.set(xlabel="own score, %", ylabel="shrunk towards the crowd, %")
    _dots(ax, workers, raw, shrunk, seen)
    return ax


def draw_worker_offsets(ax: Axes, workers: pa.Table) -> Axes:
    """Mean offset of each worker's clicks from the box's centre, as a line from the centre.

    Args:
        workers: of `overview`, in box widths and heights, y down. Rows without an offset are left
            out; beyond FARTHEST they are at the edge.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator

    x, y = (np.clip(floats(workers[f"offset_{axis}"]), -FARTHEST, FARTHEST) for axis in "xy")
    seen = np.isfinite(x) & np.isfinite(y)
    flag = is_true(workers["flag"])
    reach = 1.15 * float(np.abs(np.concatenate([x[seen], y[seen], [0.05]])).max())
    ax.axhline(0, **BASELINE)
    ax.axvline(0, **BASELINE)
    for colour, which in (
        (BLUE, seen & ~flag & (seen.sum() < MANY)),
        (VERMILION, seen & flag),
    ):
        lines = np.zeros((int(which.sum()), 2, 2))
        lines[:, 1] = np.column_stack([x[which], y[which]])
        ax.add_collection(
            LineCollection([*lines], color=colour, linewidth=0.6, alpha=0.5, zorder=2)
        )
    ax.set(
        xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal",
        xlabel="mean offset, box widths", ylabel="box heights, down",
    )  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, symmetric=True))
    _dots(ax, workers, x, y, seen)
    return ax


def _dots(ax: Axes, workers: pa.Table, x: Floats, y: Floats, seen: Bools) -> None:
    """A dot a worker, its area by how much they did; suspects on top, the busiest named."""
    n, flag = np.nan_to_num(floats(workers["n"])), is_true(workers["flag"])
    many = seen.sum() >= MANY
    area = (1.5 if many else 4) + (6 if many else 36) * np.sqrt(n / max(float(n.max(initial=1)), 1))
    for colour, which, label, alpha in (
        (BLUE, seen & ~flag, "worker", 0.2 if many else 0.75),
        (VERMILION, seen & flag, "suspect", 0.75),
    ):
        if which.any():
            ax.scatter(
                x[which], y[which], s=area[which], color=colour, alpha=alpha, label=label,
                linewidth=0 if many else 0.4, edgecolor="white", zorder=4 + (label == "suspect"),
            )  # fmt: skip
    order = np.argsort(-n, kind="stable")
    named = [int(k) for k in order if flag[k] and seen[k]][:NAMED]
    ids = workers["worker_id"].to_pylist()
    # With thousands of dots no place is free of them: names then stay clear of suspects only.
    avoided = seen & flag if many else seen
    label_points(
        ax, x[named], y[named], [str(ids[k])[:6] for k in named],
        others=np.column_stack([x[avoided], y[avoided]]),
    )  # fmt: skip
