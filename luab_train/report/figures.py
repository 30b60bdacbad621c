"""Training curves of the arms, like Figure 8 of the paper. Functions draw on an Axes, return it.

Colours are Okabe and Ito's, told apart by colour-blind readers; line styles tell them apart in
grey. Nothing here touches pyplot, so importing or drawing changes no global state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from luab_data.figures.style import BASELINE, STYLE, png
from luab_train.recipe import TARGETS
from luab_train.report.runs import Run, arm_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARM_COLOURS = {
    "none": "#000000",
    "random": "#E69F00",
    "centre": "#56B4E9",
    "shuffled": "#CC79A7",
    "click": "#0072B2",
    "oracle": "#009E73",
}
_LINE_STYLES: Sequence[Any] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_CENTRE = "image centre"

PANELS = (
    ("val_accuracy", "validation accuracy, %"),
    ("val_localisation", "validation localisation, %: all boxes"),
    ("val_localisation_off_centre", "validation localisation, %: boxes off the centre"),
)
"""Key of an epoch's metrics -> title of its panel, top to bottom."""


def curves_figure(runs: Sequence[Run]) -> Figure:
    """Accuracy and localisation on the validation images against the epoch, one line an arm.

    A line is the mean over seeds, the band around it spans the lowest and the highest seed. Runs
    that were not validated are left out, and so is a panel for which no run has a number.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    runs = sorted(runs, key=lambda run: TARGETS.index(run.recipe.target))
    keys = [panel for panel in PANELS if _has_numbers(runs, panel[0])]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.35, 0.55 + 1.55 * len(keys)), dpi=200, layout="constrained")
        axes = figure.subplots(len(keys), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (key, title) in zip(axes, keys, strict=True):
            draw_curves(ax, runs, key)
            ax.set_title(title)
        axes[0].set_xlim(left=1 if _longest(runs) > 1 else None)
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        handles: dict[str, Any] = {}
        for ax in axes:
            found, labels = ax.get_legend_handles_labels()
            handles |= dict(zip(labels, found, strict=True))
        handles |= {_CENTRE: handles.pop(_CENTRE)} if _CENTRE in handles else {}  # goes last
        longest = max(map(len, handles))
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper left", frameon=False,
            ncols=4 if longest <= 12 else 2 if longest <= 24 else 1,
            handlelength=1.8, handletextpad=0.5, columnspacing=1.0, borderaxespad=0.1,
        )  # fmt: skip
    return figure


def draw_curves(ax: Axes, runs: Sequence[Run], key: str) -> Axes:
    """One metric, a fraction, as percent against the epoch; with the centre's for localisation."""
    names = arm_names(runs)
    drawn: dict[str, int] = {}
    for name in dict.fromkeys(names):
        of_arm = [run for run, arm in zip(runs, names, strict=True) if arm == name]
        target = of_arm[0].recipe.target
        if target == "none" and key != "val_accuracy":
            continue  # its head is untrained: a line would look like a result
        epochs, low, mean, high = _band(of_arm, key)
        if not epochs:
            continue
        # Several recipes share a colour per target; the line style then tells them apart.
        style = drawn[target] = drawn.get(target, -1) + 1
        look = _LINE_STYLES[(style + (target == "random")) % len(_LINE_STYLES)]
        colour = ARM_COLOURS[target]
        ax.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(
            epochs, mean, color=colour, linestyle=look, linewidth=1.3, label=name,
            marker="o" if len(epochs) == 1 else None, markersize=3,
        )  # fmt: skip
    if key != "val_accuracy":
        centre = _centre(runs, key)
        if math.isfinite(centre):
            ax.axhline(100 * centre, label=_CENTRE, **BASELINE)
    ax.margins(x=0.02, y=0.08)
    return ax


def _band(
    runs: Sequence[Run], key: str
) -> tuple[list[float], list[float], list[float], list[float]]:
    """(epochs, lowest, mean, highest) in percent over runs, at epochs where any has a number."""
    values: dict[float, list[float]] = {}
    for run in runs:
        for epoch in run.epochs:
            value = epoch.get(key, math.nan)
            if math.isfinite(value):
                values.setdefault(epoch["epoch"], []).append(100 * value)
    epochs = sorted(values)
    return (
        epochs,
        [min(values[e]) for e in epochs],
        [math.fsum(values[e]) / len(values[e]) for e in epochs],
        [max(values[e]) for e in epochs],
    )


def _centre(runs: Sequence[Run], key: str) -> float:
    """What answering the image's centre scores: 0 where the centre is in no box, by definition."""
    if key == "val_localisation_off_centre":
        return 0.0
    return next(
        (
            epoch["val_centre_localisation"]
            for run in runs
            for epoch in run.epochs
            if math.isfinite(epoch.get("val_centre_localisation", math.nan))
        ),
        math.nan,
    )


def _has_numbers(runs: Sequence[Run], key: str) -> bool:
    return any(math.isfinite(epoch.get(key, math.nan)) for run in runs for epoch in run.epochs)


def _longest(runs: Sequence[Run]) -> int:
    return max(run.recipe.epochs for run in runs)


def curves_png(runs: Sequence[Run]) -> bytes:
    """`curves_figure` as PNG."""
    return png(curves_figure(runs))
