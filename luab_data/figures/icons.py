"""COCO-AB: action sequences, class recall against size, superclasses. Appendix J, K.

Functions draw on an Axes and return it. Shares are drawn in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from luab_data.analysis.estimate import Estimate
from luab_data.figures.bars import draw_bars
from luab_data.figures.labels import label_points
from luab_data.figures.style import BLACK, BLUE, GREEN, GREY, VERMILION, count
from luab_data.ragged import Floats, Ints
from luab_data.schema import COCO_CATEGORIES, COCO_SUPERCLASSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLASS_NAMES = tuple(COCO_CATEGORIES.values())
"""(80,) names of the classes, in the order of `labels`."""


def draw_sequences(ax: Axes, sequences: pa.Table, *, top: int = 8) -> Axes:
    """How often each sequence of actions on an icon occurs, on a logarithmic axis. Fig. J.

    Args:
        sequences: `sequence` (such as add-move-remove) and `count`, one row a sequence.
        top: the most frequent ones that are named; the others are one bar.
    """
    order = sequences.sort_by([("count", "descending"), ("sequence", "ascending")])
    names = [short_sequence(name) for name in order["sequence"].to_pylist()]
    number = order["count"].to_numpy().astype(np.float64)
    if len(names) > top:
        names = [*names[:top], f"{len(names) - top} others"]
        number = np.append(number[:top], number[top:].sum())
    at = np.arange(len(names))
    colours = [GREY if name.endswith(" others") else BLUE for name in names]
    ax.barh(at, number, 0.7, color=colours, linewidth=0)
    total = number.sum()
    for place, value in zip(at, number, strict=True):
        ax.annotate(
            f"{count(value)}, {100 * value / total:.2g} %", (value, float(place)), xytext=(2, 0),
            textcoords="offset points", va="center", fontsize=7,
        )  # fmt: skip
    ax.set_yticks(at, names)
    ax.grid(False, axis="y")
    ax.set(xscale="log", ylim=(max(len(names), 1) - 0.4, -0.6), xlabel="icons")
    ax.set_xlim(0.5, 12 * max(float(number.max(initial=1)), 1))
    return ax


def short_sequence(sequence: str) -> str:
    """A sequence with repeated pairs folded: add-remove-add-remove-add is (add-remove)×2-add."""
    actions = sequence.split("-")
    folded: list[str] = []
    k = 0
    while k < len(actions):
        pair, times = actions[k : k + 2], 1
        while len(pair) == 2 and actions[k + 2 * times : k + 2 * times + 2] == pair:
            times += 1
        if times > 1:
            folded.append(f"({'-'.join(pair)})×{times}")
            k += 2 * times
        else:
            folded.append(actions[k])
            k += 1
    return "-".join(folded)


def draw_class_recall(
    ax: Axes,
    recall: Estimate,
    size: Estimate,
    correlation: Estimate | None = None,
    *,
    names: Sequence[str] = CLASS_NAMES,
    num_named: int = 8,
) -> Axes:
    """Recall of each class against the size of its objects; the farthest off are named. Fig. K.

    Args:
        recall: (num_classes,); NaN classes are left out.
        size: (num_classes,) mean bin of the object's area.
        correlation: () Pearson's r, for the title.
        names: (num_classes,).
        num_named: classes farthest from the regression line, by their own standard error.
    """
    x, y = size.value, 100 * recall.value
    seen = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    ax.scatter(x[seen], y[seen], s=_area(recall.n[seen]), color=BLUE, alpha=0.6, linewidth=0)
    ax.set(xlabel="size of the class, mean bin of area", ylabel="recall, %")
    if correlation is not None and np.isfinite(correlation.value):
        ax.set_title(f"$r$ = {_with_interval(correlation)}")
    ax.margins(0.08)
    if len(seen) < 3 or np.ptp(x[seen]) == 0:
        return ax
    slope, start = np.polyfit(x[seen], y[seen], 1)
    ends = np.array([x[seen].min(), x[seen].max()])
    ax.plot(ends, start + slope * ends, color=VERMILION, linewidth=1.2, zorder=1)
    far = seen[outliers(y[seen] - (start + slope * x[seen]), recall.n[seen])[:num_named]]
    label_points(
        ax, x[far], y[far], [names[k] for k in far], others=np.column_stack([x[seen], y[seen]])
    )
    return ax


def outliers(residual: Floats, n: Floats) -> Ints:
    """Places of the largest residuals first, each in its own standard errors, ~ 1 / sqrt(n).

    Args:
        residual, n: (num_classes,).
    Returns: (num_classes,). A class of three icons strays far by chance and is not first.
    """
    order: Ints = np.argsort(-np.abs(residual) * np.sqrt(n), kind="stable")
    return order


def draw_superclasses(ax: Axes, time: Estimate, visits: Estimate | None = None) -> Axes:
    """Share of a page's time on each superclass, and how often it is visited.

    Args:
        time: (11,) shares, in the order of the tool.
        visits: (11,) mean visits of a page, written at the right.
    """
    draw_bars(ax, [*COCO_SUPERCLASSES], time, colour=GREEN, horizontal=True)
    ax.set_xlabel("share of the page's time, %")
    if visits is not None:
        across = ax.get_yaxis_transform()
        ax.text(1.0, -0.75, "visits", transform=across, ha="right", va="bottom", fontsize=7)
        for place, value in enumerate(visits.value):
            if np.isfinite(value):
                ax.text(
                    1.0, place, f"{value:.2f}", transform=across, ha="right", va="center",
                    fontsize=7, color=BLACK,
                )  # fmt: skip
        ends = 100 * np.where(np.isfinite(time.high), time.high, time.value)
        ax.set_xlim(0, 1.2 * max(float(np.nanmax(ends)) if np.isfinite(ends).any() else 1, 1))
    return ax


def _area(n: Floats) -> Floats:
    """Marker areas, points squared: a class of few instances is small."""
    return 4 + 26 * np.sqrt(n / max(float(n.max(initial=1)), 1))


def _with_interval(estimate: Estimate) -> str:
    text = f"{float(estimate.value):.2f}"
    if np.isfinite(estimate.low):
        text += f" ({float(estimate.low):.2f} to {float(estimate.high):.2f})"
    return text
