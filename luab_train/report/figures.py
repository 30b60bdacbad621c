"""Training curves of the arms, like Figure 8 of the paper. Functions draw on an Axes, return it.

The first colours are Okabe and Ito's, the others dark ones of Paul Tol's: colour-blind readers tell
them apart. Line styles help in grey. Nothing here touches pyplot, so importing or drawing changes
no global state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from luab_data.figures.style import BASELINE, STYLE, png
from luab_train.recipe import TARGETS
from luab_train.report.measures import Measure, learns_place, measures_of
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
    "first_click": "#882255",
    "hull_centre": "#332288",
    "calibrated": "#D55E00",
    "oracle": "#009E73",
    "trace": "#117733",
    "dwell_time": "#661100",
}
_LINE_STYLES: Sequence[Any] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
# Target -> which of these; the solid lines differ in lightness.
_ARM_LINES = {
    **{"random": 1, "centre": 2, "shuffled": 3},
    **{"first_click": 1, "hull_centre": 2, "calibrated": 3, "trace": 1, "dwell_time": 2},
}
_CENTRE = "image centre"


def curves_figure(runs: Sequence[Run]) -> Figure:
    """Accuracy (COCO-AB: mAP) and localisation on the validation images against the epoch, one line
    an arm.

    A line is the mean over seeds, the band around it spans the lowest and the highest seed. Runs
    that were not validated are left out, and so is a panel for which no run has a number.

    Args:
        runs: of one dataset.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    runs = sorted(runs, key=lambda run: TARGETS.index(run.recipe.target))
    panels = [m for m in measures_of(runs[0].recipe.data.dataset) if m.panel is not None]
    panels = [panel for panel in panels if _has_numbers(runs, panel)] or panels[:1]
    with rc_context(STYLE):
        figure = Figure(figsize=(3.35, 0.55 + 1.55 * len(panels)), dpi=200, layout="constrained")
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for ax, panel in zip(axes, panels, strict=True):
            draw_curves(ax, runs, panel)
            ax.set_title(panel.panel)
        axes[0].set_xlim(left=1 if _longest(runs) > 1 else None)
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        handles: dict[str, Any] = {}
        for ax in axes:
            found, labels = ax.get_legend_handles_labels()
            handles |= dict(zip(labels, found, strict=True))
        handles |= {_CENTRE: handles.pop(_CENTRE)} if _CENTRE in handles else {}  # goes last
        if handles:
            _add_legend(figure, handles)
    return figure


def _add_legend(figure: Figure, handles: dict[str, Any]) -> None:
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper left", frameon=False,
        ncols=max((n for n in (2, 3, 4) if _legend_points(list(handles), n) < 240), default=1),
        handlelength=1.8, handletextpad=0.5, columnspacing=1.0, borderaxespad=0.1,
    )  # fmt: skip


def _legend_points(labels: list[str], columns: int) -> float:
    """About how wide a legend is that is filled column by column, points."""
    size = STYLE["legend.fontsize"]
    length = math.ceil(len(labels) / columns)
    widest = [max(map(len, labels[i : i + length])) for i in range(0, len(labels), length)]
    total: float = sum(size * (0.52 * letters + 3.3) for letters in widest)
    return total


def draw_curves(ax: Axes, runs: Sequence[Run], measure: Measure) -> Axes:
    """One measure, a fraction, as percent against the epoch; with the centre's for localisation.

    Arms whose head learned no place have no line there: it would look like a result.
    """
    names = arm_names(runs)
    drawn: dict[str, int] = {}
    for name in dict.fromkeys(names):
        of_arm = [run for run, arm in zip(runs, names, strict=True) if arm == name]
        target = of_arm[0].recipe.target
        epochs, low, mean, high = _band(of_arm, measure)
        if not epochs:
            continue
        # Several recipes share a colour per target; the line style then tells them apart.
        style = drawn[target] = drawn.get(target, -1) + 1
        look = _LINE_STYLES[(style + _ARM_LINES.get(target, 0)) % len(_LINE_STYLES)]
        colour = ARM_COLOURS[target]
        ax.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(
            epochs, mean, color=colour, linestyle=look, linewidth=1.3, label=name,
            marker="o" if len(epochs) == 1 else None, markersize=3,
        )  # fmt: skip
    if not drawn:
        ax.annotate("no numbers", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center")
    centre = _centre(runs, measure)
    if math.isfinite(centre):
        ax.axhline(100 * centre, label=_CENTRE, **BASELINE)
    ax.margins(x=0.02, y=0.08)
    return ax


def _band(
    runs: Sequence[Run], measure: Measure
) -> tuple[list[float], list[float], list[float], list[float]]:
    """(epochs, lowest, mean, highest) in percent over runs, at epochs where any has a number."""
    values: dict[float, list[float]] = {}
    for run in runs:
        for epoch in run.epochs if _means_something(run, measure) else ():
            value = epoch.get(f"val_{measure.key}", math.nan)
            if math.isfinite(value):
                values.setdefault(epoch["epoch"], []).append(100 * value)
    epochs = sorted(values)
    return (
        epochs,
        [min(values[e]) for e in epochs],
        [math.fsum(values[e]) / len(values[e]) for e in epochs],
        [max(values[e]) for e in epochs],
    )


def _centre(runs: Sequence[Run], measure: Measure) -> float:
    """What answering the image's centre scores: 0 where the centre is in no box, by definition."""
    if measure.key == "localisation_off_centre":
        return 0.0
    if measure.key != "localisation":
        return math.nan
    return next(
        (
            epoch["val_centre_localisation"]
            for run in runs
            for epoch in run.epochs
            if math.isfinite(epoch.get("val_centre_localisation", math.nan))
        ),
        math.nan,
    )


def _means_something(run: Run, measure: Measure) -> bool:
    return learns_place(run.recipe) or not measure.is_of_place


def _has_numbers(runs: Sequence[Run], measure: Measure) -> bool:
    return bool(_band(runs, measure)[0])


def _longest(runs: Sequence[Run]) -> int:
    return max(run.recipe.epochs for run in runs)


def curves_png(runs: Sequence[Run]) -> bytes:
    """`curves_figure` as PNG."""
    return png(curves_figure(runs))
