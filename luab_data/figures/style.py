"""One look for all figures: settings, colours, sizes. Nothing touches pyplot.

Lines are Okabe and Ito's colours, maps cividis or one hue: colour-blind readers tell them apart.
`drawing` sets matplotlib's rcParams while a figure is drawn and puts them back.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from luab_data.console import install_command
from luab_data.errors import LuabError
from luab_data.words import short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_INCH = 3.35
"""Width of a column of a two-column paper; text of 6.5 pt and up is legible there."""
PAGE_INCH = 6.9
"""Width of both columns."""
SMALL = 6.5
"""Smallest font of any figure, points."""

BLACK, GREY, LIGHT = "#000000", "#7F7F7F", "#E6E6E6"
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"

COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""Of the lines of one axes, in order. Okabe and Ito, "Color Universal Design", 2008."""
SEQUENTIAL = "cividis"
"""Of maps and traces: its lightness grows evenly. Nunez et al., PLOS ONE 13(7), 2018."""
DENSITY = "Blues"
"""Of densities: white is nothing."""

BASELINE: dict[str, Any] = {
    "color": GREY,
    "linewidth": 1.0,
    "linestyle": (0, (3, 3)),
    "zorder": 1,
}
"""Line of a null model or a baseline."""

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT,
    "grid.linewidth": 0.5,
}
"""matplotlib settings of all figures: readable at a column's width."""

AxesGrid = npt.NDArray[Any]
"""(rows, columns) of Axes, as `Figure.subplots` and `plt.subplots` give them."""
Found: TypeAlias = Mapping[str, Any]
"""Name of a measure -> its estimate; `workers` -> the table of scatter.overview."""
Draw: TypeAlias = Callable[[Any, Found], object]
"""Draws one figure of the catalogue on its Axes, or on its AxesGrid where it has several panels,
from what the figure needs and uses."""


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with STYLE inside, with the caller's settings outside."""
    try:
        from matplotlib import rc_context
    except ModuleNotFoundError as error:
        hint = install_command("report")
        raise LuabError(f"figures need matplotlib, not installed here: {hint}") from error

    with rc_context(STYLE):
        yield


def new_figure(
    rows: int = 1, columns: int = 1, *, height: float = 2.2, width: float = COLUMN_INCH, **axes: Any
) -> tuple[Figure, AxesGrid]:
    """A figure in STYLE that belongs to no window, and its axes.

    Args:
        rows, columns: of axes.
        height, width: of the whole figure, inch.
        axes: as of `Figure.subplots`, e.g. sharex.
    Returns: the figure, and an array of its Axes, (rows, columns).
    """
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(width, height), dpi=200, layout="constrained")
        grid: AxesGrid = figure.subplots(rows, columns, squeeze=False, **axes)
        for ax in grid.flat:
            # Ticks are made when first drawn, which is after STYLE is gone.
            ax.tick_params(labelsize=STYLE["xtick.labelsize"], width=0.6, length=2.5)
    return figure, grid


def legend_below(figure: Figure, ax: Axes, *, columns: int = 2) -> None:
    """Put the legend of `ax` under the axes of the figure, where it covers nothing."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower left", ncols=columns, frameon=False,
            handlelength=1.8, handletextpad=0.5, columnspacing=1.0, borderaxespad=0.1,
        )  # fmt: skip


def outlined(width: float = 2.0, colour: str = "white") -> list[Any]:
    """Path effects that keep a line or a text readable on any picture.

    Args:
        width: how much wider than the line the outline is, points.
    """
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width, foreground=colour), Normal()]


def counts(n: npt.NDArray[np.float64]) -> str:
    """`n = 7.2k`, or `n = 950 to 1.2k` where it varies."""
    seen = n[np.isfinite(n)]
    if not seen.size:
        return "n = 0"
    low, high = short_count(float(seen.min())), short_count(float(seen.max()))
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def png(figure: Figure, *, by: str | None = None) -> bytes:
    """The figure as PNG; the same figure gives the same bytes.

    Args:
        by: verb that draws it, named in the file, so that the verb knows it again.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": by})
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """The figure as SVG with text as outlines; the same figure gives the same text."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "luab", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
