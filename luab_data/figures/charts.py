"""Bars and curves, the same in every figure, and the figures of these alone.

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
    GREEN,
    GREY,
    SMALL,
    VERMILION,
    AxesGrid,
    Draw,
    Found,
    counts,
)
from luab_data.ragged import Floats, floats
from luab_data.statistics.coco_icons import SMALLEST, sequence_table
from luab_data.statistics.estimate import Estimate
from luab_data.words import short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENT = 100.0
DEALT = "dealt at random"
"""The null of clicks and traces: the same points, dealt to the images at random."""


def _percent(estimate: Estimate) -> tuple[Floats, Floats, Floats, Floats]:
    value, low, high, null = estimate.value, estimate.low, estimate.high, estimate.null
    return PERCENT * value, PERCENT * low, PERCENT * high, PERCENT * null


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
    value, low, high, null = _percent(estimate)
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
    value, low, high, null = _percent(estimate)
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


# --- browsing logs -------------------------------------------------------------------------------


def draw_random_clicks(ax: Axes, found: Found) -> None:
    """Accuracy of a random click against the side of the square it falls in. Fig. C right.

    (num_sides,) at sides 0 to 1, evenly spaced; as lines the accuracy of the workers' clicks and of
    the image's centre, where they are known.
    """
    curve = found["random_click_curve"]
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


def draw_last_n(ax: Axes, found: Found) -> None:
    """Accuracy of the N-th record before the click, N = 0 is the click itself. Fig. E."""
    estimate = found["last_n_accuracy"]
    steps = np.arange(len(estimate.value), dtype=np.float64)
    draw_curve(ax, steps, estimate, label="workers' traces", null_label=DEALT)
    draw_counts(ax, steps, estimate.n)
    ax.set(xticks=steps, xlabel="records before the click, $N$", ylabel="in a box, %")


def draw_quantiles(ax: Axes, found: Found) -> None:
    """Accuracy along the visit that ends in the click, from its entry to the click. Fig. E."""
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


def draw_rounds(ax: Axes, found: Found) -> None:
    """Share selected in each round."""
    estimate = found["selected_share_by_round"]
    names = [f"round {k + 1}\n{counts(estimate.n[k : k + 1])}" for k in range(2)]
    draw_bars(ax, names, estimate, thickness=0.5)
    ax.set(ylabel="selected, %", xlim=(-0.7, 1.7))


def draw_by(position: str, xlabel: str) -> Draw:
    """Shares against the slot on the page or the page of the HIT, numbered from 0 as in the log."""

    def draw(axes: AxesGrid, found: Found) -> None:
        for ax, name, ylabel, colour in (
            (axes[0, 0], "selected_share", "selected, %", BLUE),
            (axes[1, 0], "accuracy", "in a box, %", VERMILION),
        ):
            _draw_places(ax, found[f"{name}_by_{position}"], ylabel, colour)
        axes[1, 0].set_xlabel(xlabel)

    return draw


def draw_selected_by(position: str, xlabel: str) -> Draw:
    """Shares selected alone, as the upper panel of draw_by."""

    def draw(ax: Axes, found: Found) -> None:
        _draw_places(ax, found[f"selected_share_by_{position}"], "selected, %", BLUE)
        ax.set_xlabel(xlabel)

    return draw


def _draw_places(ax: Axes, estimate: Estimate, ylabel: str, colour: str) -> None:
    from matplotlib.ticker import MaxNLocator

    places = np.arange(len(estimate.value), dtype=np.float64)
    marker = "o" if len(places) <= 12 else None
    null = "no effect of the place"
    draw_curve(ax, places, estimate, colour=colour, null_label=null, marker=marker)
    ax.set(xlim=(-0.5, len(places) - 0.5), ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(counts(estimate.n))


def draw_sides(ax: Axes, found: Found) -> None:
    """Sides of the picture by which the pointer enters and leaves."""
    for shift, name, label, colour in (
        (-0.2, "entry_side", "enters", BLUE),
        (0.2, "exit_side", "leaves", VERMILION),
    ):
        draw_bars(
            ax, ("left", "right", "top", "bottom"), found[name], colour=colour,
            shift=shift, thickness=0.36, label=label,
            null_label="all sides alike" if name == "exit_side" else None,
        )  # fmt: skip
    ax.set(ylabel="share of visits, %")


# --- tagging logs --------------------------------------------------------------------------------

MOST_SEQUENCES = 8
"""The most frequent ones that are named; the others are one bar."""
_LONGEST_NAME = 26
_LEAST = 0.5  # left end of a logarithmic axis of counts


def draw_sequences(ax: Axes, found: Found) -> None:
    """How often each sequence of actions on an icon occurs, on a logarithmic axis. Fig. J."""
    table = sequence_table(found["action_sequences"])
    number = floats(table["count"])
    total, top = number.sum(), MOST_SEQUENCES
    shown = min(top, len(number))
    names = [_cut(short_sequence(name)) for name in table["sequence"].to_pylist()[:shown]]
    colours = [BLUE if valid else VERMILION for valid in table["is_valid"].to_pylist()[:shown]]
    if len(number) > top:
        names, colours = [*names, f"{len(number) - top} others"], [*colours, GREY]
        number = np.append(number[:top], number[top:].sum())
    ax.barh(np.arange(len(names)), number, 0.7, color=colours, linewidth=0)
    ends = number.copy()
    low, high = (total * floats(table[name])[:shown] for name in ("low", "high"))
    ends[:shown] = np.fmax(ends[:shown], high)
    ax.hlines(np.arange(shown), np.maximum(low, _LEAST), high, color=BLACK, linewidth=1.0)
    for place, (value, end) in enumerate(zip(number, ends, strict=True)):
        ax.annotate(
            f"{short_count(value)} ({100 * value / total:.2g} %)", (end, place), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize=7,
        )  # fmt: skip
    ax.set_yticks(np.arange(len(names)), names)
    ax.grid(False, axis="y")
    ax.set(xscale="log", ylim=(max(len(names), 1) - 0.4, -0.6), xlabel="icons")
    # Bars take the left 58 % of the logarithmic axis, numbers the rest.
    longest = max(float(ends.max(initial=1)), 1) / _LEAST
    ax.set_xlim(_LEAST, _LEAST * longest ** (1 / 0.58))


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


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


def draw_recall_by_size(ax: Axes, found: Found) -> None:
    """Recall of icons against the size of the object, in bins of its share of the image.

    (num_bins,) logarithmic bins of the area from SMALLEST to 1.
    """
    estimate = found["recall_by_size"]
    edges = np.geomspace(SMALLEST, 1, len(estimate.value) + 1)
    middle = np.sqrt(edges[:-1] * edges[1:])
    draw_curve(ax, middle, estimate, colour=GREEN)
    draw_counts(ax, middle, estimate.n)
    ax.set(
        xscale="log", xlim=(SMALLEST, 1), xlabel="largest box of the class, share of the image",
        ylabel="recall, %",
    )  # fmt: skip


def draw_superclasses(ax: Axes, found: Found) -> None:
    """Share of a page's time on each superclass, and how often it is visited.

    (num_superclasses,) shares, in the order of the tool; (num_superclasses,) mean visits of a page,
    if known, at the right.
    """
    time, visits = found["superclass_time_share"], found.get("superclass_visits")
    draw_bars(ax, [*time.labels], time, colour=GREEN, horizontal=True)
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
