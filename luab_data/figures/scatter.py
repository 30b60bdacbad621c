"""Points with names: classes by size and recall, and what pooling does to annotators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from luab_data.figures.style import (
    BASELINE,
    BLACK,
    BLUE,
    GREY,
    SKY,
    SMALL,
    VERMILION,
    AxesGrid,
    Found,
    outlined,
)
from luab_data.ragged import Bools, Floats, floats, is_true
from luab_data.statistics.coco_icons import MIN_OCCURRENCES, size_outliers
from luab_data.statistics.estimate import Estimate
from luab_data.workers.annotators import Annotators
from luab_data.workers.pooling import flagged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

_DIRECTIONS = np.array(
    [(1, 0), (0.7, 0.7), (0.7, -0.7), (0, 1), (0, -1), (-0.7, 0.7), (-0.7, -0.7), (-1, 0)]
)
_REACH = np.array([5.0, 10.0, 16.0, 24.0, 34.0])
_POINT = 2.5
_OUTSIDE = 50.0


def label_points(
    ax: Axes,
    x: Sequence[float] | Floats,
    y: Sequence[float] | Floats,
    names: Sequence[str],
    *,
    others: Floats | None = None,
) -> list[Annotation]:
    """Write each name near its point, joined by a thin line where it is not beside it.

    Call it last: names are placed for the limits and the layout the axes then have.

    Args:
        x, y: (num_names,) data coordinates.
        others: (num_others, 2) more points that names should not cover.
    """
    if not len(names):
        return []
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.draw_without_rendering()  # the layout moves axes
    scale = 72 / (figure.dpi if figure is not None else 72)
    points = np.column_stack([x, y]).astype(np.float64)
    every = points if others is None else np.concatenate([points, others])
    at, avoided = (scale * ax.transData.transform(p) for p in (points, every))
    frame = scale * np.array(ax.get_window_extent().extents)
    taken = np.column_stack([avoided - _POINT, avoided + _POINT])
    labels = []
    for name, point, xy in zip(names, at, points, strict=True):
        box, far = _place(point, _extent(name) / 2, taken, frame)
        taken = np.concatenate([taken, box[None]])
        labels.append(
            ax.annotate(
                name, tuple(xy), xytext=tuple((box[:2] + box[2:]) / 2 - point),
                textcoords="offset points", ha="center", va="center", fontsize=SMALL, color=BLACK,
                zorder=9, path_effects=outlined(1.6),
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0,
                            "shrinkB": 2} if far else None,
            )
        )  # fmt: skip
    return labels


def _place(point: Floats, half: Floats, taken: Floats, frame: Floats) -> tuple[Floats, bool]:
    """The nearest free box (x0, y0, x1, y1), points, else the one that covers least; is it far?"""
    middle = (point + _DIRECTIONS * (_REACH[:, None, None] + half)).reshape(-1, 2)
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    low = np.maximum(boxes[:, None, :2], taken[:, :2])
    high = np.minimum(boxes[:, None, 2:], taken[:, 2:])
    covered = np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
    beyond = np.maximum(frame[:2] - boxes[:, :2], 0) + np.maximum(boxes[:, 2:] - frame[2:], 0)
    best = int(np.argmin(np.round(covered + _OUTSIDE * beyond.sum(axis=1), 9)))
    return boxes[best], best >= len(_DIRECTIONS)


def _extent(text: str) -> Floats:
    """Width and height of a line of text, points."""
    from matplotlib.textpath import TextPath

    width = TextPath((0, 0), text, size=SMALL).get_extents().width + 3.0 if text.strip() else 0.0
    return np.array([width, 1.15 * SMALL])


# --- classes -------------------------------------------------------------------------------------

NUM_NAMED = 8
"""Classes of size_outliers that are named."""


def draw_class_recall(ax: Axes, found: Found) -> None:
    """Recall of each class against the size of its objects; the farthest off are named. Fig. K.

    (num_classes,) recalls, NaN classes are left out, those in few images are hollow; (num_classes,)
    mean bins of the object's area; Pearson's r over the classes of MIN_OCCURRENCES images, if
    known, is the title.
    """
    recall, size = found["class_recall"], found["class_size"]
    correlation = found.get("recall_size_correlation")
    x, y = size.value, 100 * recall.value
    seen = np.isfinite(x) & np.isfinite(y)
    enough = np.flatnonzero(seen & (recall.n >= MIN_OCCURRENCES))
    few = np.flatnonzero(seen & (recall.n < MIN_OCCURRENCES))
    area = 4 + 26 * np.sqrt(recall.n / max(float(recall.n.max(initial=1)), 1))
    ax.scatter(x[enough], y[enough], s=area[enough], color=BLUE, alpha=0.7, linewidth=0)
    ax.scatter(x[few], y[few], s=area[few], facecolor="none", edgecolor=SKY, linewidth=0.6)
    ax.set(xlabel="size of the class, mean bin of box area", ylabel="recall, %")
    ax.margins(0.08)
    if correlation is not None:
        known = np.isfinite(correlation.value)
        ax.set_title(
            f"$r$ = {_with_interval(correlation)}" if known
            else f"$r$ unknown: too few classes in {MIN_OCCURRENCES} images or more"
        )  # fmt: skip
    if len(enough) < 3 or np.ptp(x[enough]) == 0:
        return
    slope, start = np.polyfit(x[enough], y[enough], 1)
    ends = np.array([x[enough].min(), x[enough].max()])
    ax.plot(ends, start + slope * ends, color=VERMILION, linewidth=1.2, zorder=1)
    far = [*size_outliers(recall, size, num=NUM_NAMED)]
    names = [recall.labels[label] for label in far]
    label_points(ax, x[far], y[far], names, others=np.column_stack([x[seen], y[seen]]))


def _with_interval(estimate: Estimate) -> str:
    text = f"{float(estimate.value):.2f}"
    if np.isfinite(estimate.low):
        text += f" ({float(estimate.low):.2f} to {float(estimate.high):.2f})"
    return text


# --- annotators ----------------------------------------------------------------------------------

SUSPECTS_NAMED = 6
"""Flagged workers that are named, by the first characters of the hash."""
FARTHEST = 3.0
"""Box sizes; a mean offset beyond is of a broken log, and would hide all others."""
MANY = 300
"""From so many workers on, ordinary ones are small faint dots without a line: a cloud."""


def overview(found: Annotators, score: str) -> pa.Table:
    """What the figure of annotators is drawn from, one row a worker.

    Args:
        found: the workers.
        score: trait of the kind that the figure is about.
    Returns: `worker_id`; `raw`, `shrunk`, their own score (of the kind) and that pooled towards the
        crowd; `n`, what it is over; `flag`, whether the worker is suspect; `offset_x`, `offset_y`,
        their mean click from the box's centre, where it is known of this kind.
    """
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


def draw_annotators(axes: Axes | AxesGrid, found: Found) -> None:
    """Scores, and below them, where there is room for it, offsets."""
    top, *below = np.ravel(np.array(axes, dtype=object))
    draw_shrinkage(top, found["workers"])
    for ax in below:
        draw_worker_offsets(ax, found["workers"])
    if not is_true(found["workers"]["flag"]).any():
        for dots in top.collections:  # one kind of dot needs no legend
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
    named = [int(k) for k in order if flag[k] and seen[k]][:SUSPECTS_NAMED]
    ids = workers["worker_id"].to_pylist()
    # With thousands of dots no place is free of them: names then stay clear of suspects only.
    avoided = seen & flag if many else seen
    label_points(
        ax, x[named], y[named], [str(ids[k])[:6] for k in named],
        others=np.column_stack([x[avoided], y[avoided]]),
    )  # fmt: skip
