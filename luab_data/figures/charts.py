"""Bars, curves and names beside points, the same in every figure; the figures of these alone.

Estimates are drawn as values, intervals, the null dashed; shares in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from luab_data.figures.style import (
    BASELINE,
    BLACK,
    BLUE,
    GREY,
    SMALL,
    VERMILION,
    AxesGrid,
    Draw,
    Estimates,
    Tables,
    counts,
    outlined,
)  # fmt: skip
from luab_data.ragged import Floats
from luab_data.statistics.estimate import Estimate
from luab_data.words import short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

PERCENT = 100.0
DEALT = "dealt at random"
"""The null of clicks and traces: the same points, dealt to the images at random."""


def draw_bars(
    ax: Axes,
    names: Sequence[str],
    estimate: Estimate,
    *,
    colour: str = BLUE,
    horizontal: bool = False,
    shift: float = 0.0,
    thickness: float = 0.7,
    label: str | None = None,
    null_label: str | None = None,
) -> Axes:
    """One bar a value, with its interval, and a dashed line where the null is.

    Args:
        names: (num_bars,).
        estimate: (num_bars,).
        horizontal: whether bars lie, the first on top: for long names.
        shift, thickness: of the bars, where 1 is from bar to bar: for groups.
        label, null_label: in the legend; None is not listed.
    """
    at = np.arange(len(names))
    value, low, high, null = (
        PERCENT * values for values in (estimate.value, estimate.low, estimate.high, estimate.null)
    )
    bars: Any = ax.barh if horizontal else ax.bar
    bars(at + shift, value, thickness, color=colour, label=label, linewidth=0)
    seen = np.isfinite(value) & np.isfinite(low) & np.isfinite(high)
    (ax.hlines if horizontal else ax.vlines)(
        (at + shift)[seen], low[seen], high[seen], color=BLACK, linewidth=1.0, zorder=3
    )
    for k in np.flatnonzero(np.isfinite(null)):
        ends = k + shift + np.array([-0.5, 0.5]) * thickness
        line = ([null[k]] * 2, ends) if horizontal else (ends, [null[k]] * 2)
        ax.plot(*line, **{**BASELINE, "zorder": 4}, label=null_label)
        null_label = None
    if horizontal:
        ax.set_yticks(at, names)
        ax.set_ylim(len(names) - 0.4, -0.6)
    else:
        ax.set_xticks(at, names)
    ax.grid(False, axis="y" if horizontal else "x")
    return ax


def draw_curve(
    ax: Axes,
    x: Sequence[float] | Floats,
    estimate: Estimate,
    *,
    label: str | None = None,
    colour: str = BLUE,
    marker: str | None = "o",
    null_label: str | None = None,
) -> Axes:
    """One curve with its 95 % band, and its null model dashed where there is one.

    Args:
        x: (num_points,).
        estimate: (num_points,); NaN values leave a gap.
        label, null_label: in the legend; None is not listed.
    """
    x = np.asarray(x, dtype=np.float64)
    value, low, high, null = (
        PERCENT * values for values in (estimate.value, estimate.low, estimate.high, estimate.null)
    )
    if np.isfinite(null).any():
        ax.plot(x, null, label=null_label, **BASELINE)
    if np.isfinite(low).any():
        ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    ax.plot(x, value, color=colour, linewidth=1.3, marker=marker, markersize=2.5, label=label)
    return ax


def draw_counts(ax: Axes, x: Sequence[float] | Floats, n: Floats) -> Axes:
    """The sample size of each point, as a row of small numbers just inside the lower edge.

    Args:
        x, n: (num_points,); meant for a dozen points at most.
    """
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom - 0.12 * (top - bottom), top)  # room for the numbers under the curve
    across = ax.get_xaxis_transform()
    for at, number in zip(x, n, strict=True):
        ax.text(
            float(at), 0.02, short_count(float(number)),
            transform=across, fontsize=SMALL, color=GREY,
            ha="center", va="bottom",
        )  # fmt: skip
    ax.text(
        0.0, 0.02, "n ", transform=ax.transAxes, fontsize=SMALL, color=GREY, ha="right", va="bottom"
    )
    return ax


def draw_random_clicks(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
    """Accuracy of a random click against the side of the square it falls in. Fig. C right.

    (num_sides,) at sides 0 to 1, evenly spaced; as lines the accuracy of the workers' clicks and of
    the image's centre, where they are known.
    """
    ax, curve = axes[0, 0], found["random_click_curve"]
    draw_curve(ax, np.linspace(0, 1, len(curve.value)), curve, colour=BLACK, marker=None)
    lines = (("click_accuracy", "workers", BLUE), ("centre_accuracy", "centre", VERMILION))
    levels = [
        (found[key], name, colour)
        for key, name, colour in lines
        if key in found and np.isfinite(found[key].value)
    ]
    # Two lines may lie close: the upper one is named above, the lower one below.
    levels.sort(key=lambda entry: -float(entry[0].value))
    for place, (level, name, colour) in enumerate(levels):
        value, low, high = (PERCENT * float(x) for x in (level.value, level.low, level.high))
        if np.isfinite(low):
            ax.axhspan(low, high, color=colour, alpha=0.15, linewidth=0)
        ax.axhline(value, color=colour, linewidth=1.0)
        ax.annotate(
            f"{name} {value:.1f} %", (1.0, value), xycoords=ax.get_yaxis_transform(),
            xytext=(-1, -2 if place else 2), textcoords="offset points", color=colour, fontsize=7,
            ha="right", va="top" if place else "bottom",
        )  # fmt: skip
    ax.set(xlim=(0, 1), xlabel="side $t$ of the centred square", ylabel="in a box, %")
    ax.set_title(counts(curve.n))


def draw_last_n(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
    """Accuracy of the N-th record before the click, N = 0 is the click itself. Fig. E."""
    ax, estimate = axes[0, 0], found["last_n_accuracy"]
    steps = np.arange(len(estimate.value), dtype=np.float64)
    draw_curve(ax, steps, estimate, label="workers' traces", null_label=DEALT)
    draw_counts(ax, steps, estimate.n)
    ax.set(xticks=steps, xlabel="records before the click, $N$", ylabel="in a box, %")


def draw_quantiles(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
    """Accuracy along the visit that ends in the click, from its entry to the click. Fig. E."""
    ax = axes[0, 0]
    for key, name, colour, marker, null_label in (
        ("trace_quantile_accuracy", "by record", BLUE, "o", DEALT),
        ("time_quantile_accuracy", "by time", VERMILION, "s", None),
    ):
        draw_curve(
            ax, np.linspace(0, 1, len(found[key].value)), found[key], label=name, colour=colour,
            marker=marker, null_label=null_label,
        )  # fmt: skip
    ax.set(xlim=(-0.02, 1.02), xlabel="quantile $q$ of the trace", ylabel="in a box, %")
    ax.set_title(counts(found["trace_quantile_accuracy"].n))


def draw_rounds(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
    """Share selected in each round."""
    estimate = found["selected_share_by_round"]
    names = [f"round {k + 1}\n{counts(estimate.n[k : k + 1])}" for k in range(2)]
    draw_bars(axes[0, 0], names, estimate, thickness=0.5)
    axes[0, 0].set(ylabel="selected, %", xlim=(-0.7, 1.7))


def draw_by(position: str, xlabel: str) -> Draw:
    """Shares against the slot on the page or the page of the HIT, numbered from 0 as in the log."""

    def draw(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
        from matplotlib.ticker import MaxNLocator

        for ax, name, ylabel, colour in (
            (axes[0, 0], "selected_share", "selected, %", BLUE),
            (axes[1, 0], "accuracy", "in a box, %", VERMILION),
        ):
            estimate = found[f"{name}_by_{position}"]
            places = np.arange(len(estimate.value), dtype=np.float64)
            marker = "o" if len(places) <= 12 else None
            null = "no effect of the place"
            draw_curve(ax, places, estimate, colour=colour, null_label=null, marker=marker)
            ax.set(xlim=(-0.5, len(places) - 0.5), ylabel=ylabel)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set_title(counts(estimate.n))
        axes[1, 0].set_xlabel(xlabel)

    return draw


def draw_sides(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
    """Sides of the picture by which the pointer enters and leaves."""
    for shift, name, label, colour in (
        (-0.2, "entry_side", "enters", BLUE),
        (0.2, "exit_side", "leaves", VERMILION),
    ):
        draw_bars(
            axes[0, 0], ("left", "right", "top", "bottom"), found[name], colour=colour,
            shift=shift, thickness=0.36, label=label,
            null_label="all sides alike" if name == "exit_side" else None,
        )  # fmt: skip
    axes[0, 0].set(ylabel="share of visits, %")


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
