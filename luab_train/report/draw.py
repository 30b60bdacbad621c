"""How numbers are drawn: arms as bars, dots and curves, each function on an Axes that it returns.

The first colours are Okabe and Ito's, the others dark ones of Paul Tol's: colour-blind readers tell
them apart. Line styles help in grey. Nothing touches pyplot.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from luab_data.figures.style import (
    BASELINE,
    BLACK,
    COLOURS,
    COLUMN_INCH,
    GREY,
    PAGE_INCH,
    SMALL,
    STYLE,
    drawing,
    new_figure,
    png,
)
from luab_train.report.arms import Arm
from luab_train.report.layouts import Cell, Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARM_COLOURS = {
    "none": "#000000",
    "random": "#E69F00",
    "centre": "#56B4E9",
    "shuffled": "#CC79A7",
    "click": "#0072B2",
    "first_click": "#882255",
    "hull_centre": "#332288",
    "calibrated": "#D55E00",
    "oracle": "#009E73",
    "trace": "#117733",
    "dwell_time": "#661100",
    "trace_last": "#44AA99",
    "trace_centroid": "#999933",
    "hull": "#AA4499",
    "box": "#0F7173",
}
_LINES: Sequence[Any] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
# Target -> which of these; the solid lines differ in lightness.
_ARM_LINES = {
    **{"random": 1, "centre": 2, "shuffled": 3},
    **{"first_click": 1, "hull_centre": 2, "calibrated": 3, "trace": 1, "dwell_time": 2},
    **{"trace_last": 2, "trace_centroid": 3, "hull": 1, "box": 2},
}
CENTRE = "image centre"
_FEW_COLUMNS = 6
"""So many heads stand side by side; more are turned."""
_THIN_PT = 6.0
"""A word on a bar of less runs into the next bar's."""
_HATCH = "///"


@dataclass(frozen=True, kw_only=True)
class Look:
    """How an arm is drawn in every figure."""

    colour: str
    line: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One arm against something; NaN where nothing was seen.

    Args:
        x: (K,) where. mean: (K,) over models. low, high: (K,) the band, see `band_of`.
    """

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def looks_of(arms: Sequence[Arm]) -> dict[str, Look]:
    """Arm -> look; runs have the colour of their target, a line style each where it repeats."""
    taken: dict[str, int] = {}
    spare = [c for c in COLOURS if c not in {ARM_COLOURS.get(a.target or "") for a in arms}]
    looks = {}
    for arm in arms:
        target = arm.target or ""
        number = taken[target] = taken.get(target, -1) + 1
        colour = ARM_COLOURS.get(target) or (spare or COLOURS)[number % len(spare or COLOURS)]
        line = number + (_ARM_LINES.get(target, 0) if target else 1)
        looks[arm.name] = Look(colour=colour, line=_LINES[line % len(_LINES)])
    return looks


def draw_bars(
    ax: Axes,
    columns: Sequence[Column],
    cells: Mapping[str, Sequence[Cell]],
    looks: Mapping[str, Look],
) -> Axes:
    """One group a column, one bar an arm, with its interval; what is missing is written, or is a
    cross where bars are too thin for words.

    Args:
        cells: arm -> one cell a column.
    """
    width = 0.84 / max(len(cells), 1)
    bar_pt = 72 * ax.bbox.width / ax.figure.dpi * width / len(columns)
    missing = "missing" if bar_pt > _THIN_PT else "×"
    for k, (name, of_arm) in enumerate(cells.items()):
        at = np.arange(len(columns)) + (k - (len(cells) - 1) / 2) * width
        value, low, high = (
            np.array([getattr(cell, end) for cell in of_arm]) for end in ("value", "low", "high")
        )
        bars = ax.bar(at, value, 0.92 * width, color=looks[name].colour, label=name, linewidth=0)
        for bar, cell in zip(bars, of_arm, strict=True):
            if cell.marks:
                bar.set(hatch=_HATCH, edgecolor="#FFFFFFA0")
        known = np.isfinite(low) & np.isfinite(high)
        ax.vlines(at[known], low[known], high[known], color="white", linewidth=1.6, zorder=3)
        ax.vlines(at[known], low[known], high[known], color=BLACK, linewidth=0.7, zorder=4)
        for x, cell in zip(at, of_arm, strict=True):
            if cell.status != "value":
                ax.annotate(
                    "–" if cell.status == "none" else missing, (x, 0), xytext=(0, 2),
                    textcoords="offset points", rotation=90, ha="center", va="bottom",
                    fontsize=min(SMALL, 0.8 * bar_pt), color=GREY,
                )  # fmt: skip
    if len(columns) > _FEW_COLUMNS:
        ax.set_xticks(range(len(columns)), [c.head for c in columns], rotation=35, ha="right")
    else:
        ax.set_xticks(range(len(columns)), [fill(c.head, 12) for c in columns])
    ax.tick_params(axis="x", pad=2, length=0)
    ax.set_xlim(-0.6, len(columns) - 0.4)
    ax.set_ylabel("%")
    ax.grid(False, axis="x")
    return ax


def draw_differences(
    ax: Axes,
    columns: Sequence[Column],
    cells: Mapping[str, Sequence[Cell]],
    colours: Mapping[str, str],
) -> Axes:
    """Differences with intervals, a line a column; to the right is better in every column.

    Full dots are those whose interval leaves out 0.

    Args:
        cells: name of a difference -> one cell a column.
        colours: name of a difference -> colour.
    """
    step = 0.7 / max(len(cells), 1)
    for k, (name, of_pair) in enumerate(cells.items()):
        label: str | None = name
        for row, (column, cell) in enumerate(zip(columns, of_pair, strict=True)):
            y = row + (k - (len(cells) - 1) / 2) * step
            if not math.isfinite(cell.value):
                ax.annotate(
                    "–" if cell.status == "none" else cell.status, (0, y), xytext=(3, 0),
                    textcoords="offset points", va="center", fontsize=SMALL - 1, color=GREY,
                )  # fmt: skip
                continue
            sign = -1 if column.direction == "down" else 1
            ends = sorted((sign * cell.low, sign * cell.high))
            if all(map(math.isfinite, ends)):
                ax.hlines(y, ends[0], ends[1], color=colours[name], linewidth=1.2)
            ax.plot(
                sign * cell.value, y, "o", markersize=3.6, color=colours[name],
                markerfacecolor=colours[name] if cell.verdict else "white",
                markeredgewidth=0.9, label=label, zorder=3,
            )  # fmt: skip
            label = None
    ax.axvline(0, **{**BASELINE, "linestyle": "-", "linewidth": 0.8, "color": BLACK})
    heads = [f"{c.title} (turned)" if c.direction == "down" else c.title for c in columns]
    ax.set_yticks(range(len(columns)), heads)
    ax.set_ylim(len(columns) - 0.4, -0.6)
    for row in range(0, len(columns), 2):
        ax.axhspan(row - 0.5, row + 0.5, color="#F5F6F8", linewidth=0, zorder=0)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("difference, points; to the right is better")
    return ax


def band_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(models, K) -> mean, lowest and highest of the models, (K,) each; no band with one model."""
    band = values if len(values) > 1 else np.full_like(values, np.nan)
    return values.mean(axis=0), band.min(axis=0), band.max(axis=0)


def draw_curves(
    ax: Axes, curves: Mapping[str, Curve], looks: Mapping[str, Look], *, marks: bool = True
) -> Axes:
    """One line an arm with its band.

    Args:
        marks: whether each value has a dot; the only one always has.
    """
    for name, curve in curves.items():
        look = looks[name]
        ax.fill_between(curve.x, curve.low, curve.high, color=look.colour, alpha=0.16, linewidth=0)
        ax.plot(
            curve.x, curve.mean, color=look.colour, linestyle=look.line, linewidth=1.2, label=name,
            marker="o" if marks or len(curve.x) == 1 else None, markersize=2.4,
        )  # fmt: skip
    ax.margins(x=0.03)
    return ax


def panels_figure(
    panels: Mapping[str, Mapping[str, Curve]],
    looks: Mapping[str, Look],
    *,
    xlabel: str,
    ylabel: str = "",
    columns: int = 1,
    xticks: Sequence[float] | None = None,
    centre: Mapping[str, float] | None = None,
) -> Figure:
    """The curves of all arms, panel by panel; side by side, the panels have one scale.

    Args:
        panels: title -> arm -> curve. Without xticks, curves of one point have a dot.
        centre: title -> what answering the image's centre scores.
    """
    from matplotlib.ticker import MaxNLocator

    rows, side_by_side = -(-len(panels) // columns), columns > 1
    width, height = (
        (PAGE_INCH, 0.5 + 1.1 * rows) if side_by_side else (COLUMN_INCH, 0.6 + 1.6 * rows)
    )
    figure, axes = new_figure(
        rows, columns, width=width, height=height, sharex=True, sharey=side_by_side
    )
    with drawing():
        for ax, (title, curves) in zip(axes.flat, panels.items(), strict=False):
            draw_curves(ax, curves, looks, marks=len(panels) == 1 or xticks is not None)
            ax.set_title(title, fontsize=7 if side_by_side else None, pad=2)
            if xticks is None and len(panels) > 1:
                ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            elif xticks is not None:
                ax.set_xticks(xticks)
            if centre and title in centre:
                ax.axhline(centre[title], label=CENTRE, **BASELINE)
        for ax in [*axes.flat][len(panels) :]:
            ax.set_axis_off()
        if side_by_side:
            axes[0, 0].set_ylim(bottom=0)
        figure.supxlabel(xlabel, fontsize=8)
        figure.supylabel(ylabel, fontsize=8)
        legend_above(figure)
    return figure


def legend_above(figure: Figure) -> None:
    """All that has a label, above the axes, in as many columns as fit; the centre goes last."""
    handles: dict[str, Any] = {}
    for ax in figure.axes:
        found, labels = ax.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    handles |= {CENTRE: handles.pop(CENTRE)} if CENTRE in handles else {}
    if handles:
        most = 72 * figure.get_figwidth()
        fitting = [n for n in (2, 3, 4, 5, 6) if _legend_points(list(handles), n) < most]
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper left", frameon=False,
            ncols=min(max(fitting, default=1), len(handles)), handlelength=1.8, handletextpad=0.5,
            columnspacing=1.0, borderaxespad=0.1,
        )  # fmt: skip


def _legend_points(labels: list[str], columns: int) -> float:
    """About how wide a legend is that is filled column by column, points."""
    size = STYLE["legend.fontsize"]
    length = math.ceil(len(labels) / columns)
    widest = [max(map(len, labels[i : i + length])) for i in range(0, len(labels), length)]
    total: float = sum(size * (0.52 * letters + 3.3) for letters in widest)
    return total


def titled_png(figure: Figure, title: str) -> bytes:
    """The figure as PNG with its title above it; the same figure gives the same bytes."""
    from matplotlib.figure import Figure
    from PIL import Image

    # A strip of its own: a legend outside of the axes would move up into a title of the figure.
    width = figure.get_figwidth()
    strip = Figure(figsize=(width, 0.26), dpi=figure.dpi)
    strip.text(0.06 / width, 0.5, title, fontsize=9, fontweight="bold", va="center")
    above, below = (Image.open(io.BytesIO(png(part))) for part in (strip, figure))
    whole = Image.new("RGBA", (below.width, above.height + below.height))
    whole.paste(above)
    whole.paste(below, (0, above.height))
    buffer = io.BytesIO()
    whole.save(buffer, "png")
    return buffer.getvalue()
