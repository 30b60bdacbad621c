"""The figures of the folder: arms, sweeps, curves.     [I/O]

Whiskers are 95 % intervals over seeds and images, see `paired`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from curves import CURVES, draw_curves
from experiments import ARMS, FRACTIONS, LAMBDAS, MODELS, NOISES
from hits import Hits
from measures import BY_NAME, Measure, difference, level, seeds_of
from paired import Estimate

from luab_data.figures.style import (
    BASELINE,
    BLUE,
    VERMILION,
    drawing,
    legend_below,
    new_figure,
    png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"cnn": BLUE, "vit": VERMILION}
MARKERS = {"cnn": "o", "vit": "s"}
ARM_PANELS = ("accuracy", "other", "gap", "masked", "centre", "off_centre")
SWEEP_PANELS = ("accuracy", "other", "off_centre")


def draw_all(hits: Hits, folder: Path) -> None:
    """Write every figure that there are runs for."""
    with drawing():
        for name, drawn in _figures(hits):
            (folder / f"{name}.png").write_bytes(drawn)
        if (folder / CURVES.name).exists():
            (folder / "curves.png").write_bytes(draw_curves(folder / CURVES.name))


def _figures(hits: Hits, model: str = "cnn") -> Iterator[tuple[str, bytes]]:
    if seeds_of(hits, f"arms-{model}-none"):
        yield "arms", draw_arms(hits)
    weights = [(w, f"lambda-{model}-click-{w:g}") for w in LAMBDAS] + [
        (100.0, f"arms-{model}-click")
    ]
    if seeds_of(hits, weights[0][1]):
        random = f"arms-{model}-random"
        yield "lambda", draw_sweep(hits, sorted(weights), model, random, "lambda", log=True)
    clicked = f"arms-{model}-click"
    noise = [(0.0, clicked), *((n, f"noise-{model}-click-{n:g}") for n in NOISES)]
    if seeds_of(hits, noise[-1][1]):
        label = "noise, deviation in image sides"
        yield "noise", draw_sweep(hits, noise, model, f"arms-{model}-random", label, log=False)
    if seeds_of(hits, f"fraction-{model}-none-0.5"):
        yield "fraction", draw_fraction(hits, model)


def draw_arms(hits: Hits) -> bytes:
    """A panel a measure: each arm less the arm without points, points in a box as they are."""
    figure, axes = new_figure(2, 3, height=4.2, width=6.9, sharey=True)
    arms = [arm for arm in ARMS if arm != "none"]
    for ax, name in zip(axes.flat, ARM_PANELS, strict=True):
        measure = BY_NAME[name]
        for shift, model in zip((-0.14, 0.14), MODELS, strict=True):
            found = [_of_arm(hits, model, arm, measure) for arm in arms]
            _whiskers(ax, np.arange(len(arms)) + shift, found, model, across=True)
        if not measure.points:
            ax.axvline(0, **BASELINE)
        ax.set_title(f"{measure.title}{'' if measure.points else ' *'}")
        ax.set_yticks(range(len(arms)), arms)
        ax.set_xlabel("%" if measure.points else "* points, arm less none")
    axes[0, 0].invert_yaxis()
    legend_below(figure, axes[0, 0])
    return png(figure)


def _of_arm(hits: Hits, model: str, arm: str, measure: Measure) -> Estimate:
    name = f"arms-{model}-{arm}"
    if measure.points:
        return level(hits, name, measure)
    return difference(hits, name, f"arms-{model}-none", measure)


def _whiskers(
    ax: Axes, at: np.ndarray, found: Sequence[Estimate], label: str, *, across: bool = False
) -> None:
    """Means with their intervals, in percent; without an interval a mean stands alone."""
    values = 100 * np.array([[e.mean, e.mean - e.low, e.high - e.mean] for e in found]).T
    there = np.isfinite(values[0])
    if not there.any():
        return
    mean, error = values[0, there], np.nan_to_num(values[1:, there])
    colour, marker = COLOURS.get(label, BLUE), MARKERS.get(label, "o")
    look: dict[str, Any] = {
        "fmt": marker,
        "color": colour,
        "markersize": 3.5,
        "linewidth": 1.0,
        "label": label,
    }
    if across:
        ax.errorbar(mean, at[there], xerr=error, **look)
    else:
        ax.errorbar(at[there], mean, yerr=error, **look)


def draw_sweep(
    hits: Hits,
    points: Sequence[tuple[float, str]],
    model: str,
    random: str,
    label: str,
    *,
    log: bool,
) -> bytes:
    """A panel a measure against the swept number; dashed is no gain, dotted the runs `random`."""
    figure, axes = new_figure(1, len(SWEEP_PANELS), height=2.2, width=6.9)
    none = f"arms-{model}-none"
    for ax, name in zip(axes[0], SWEEP_PANELS, strict=True):
        measure = BY_NAME[name]

        def of(run: str, measure: Measure = measure) -> Estimate:
            if measure.points:
                return level(hits, run, measure)
            return difference(hits, run, none, measure)

        _whiskers(ax, np.array([x for x, _ in points]), [of(run) for _, run in points], model)
        if not measure.points:
            ax.axhline(0, **BASELINE)
        if seeds_of(hits, random):
            ax.axhline(100 * of(random).mean, color="#E69F00", linewidth=1, linestyle=":")
        if log:
            ax.set_xscale("log")
        ax.set_title(measure.title if measure.points else f"{measure.title} *")
        ax.set_xlabel(label)
        ax.set_ylabel("%" if measure.points else "* points, click less none")
    return png(figure)


def draw_fraction(hits: Hits, model: str) -> bytes:
    """Against the share of the training images: accuracy of both arms, their difference on as many
    images, and where the click arm points.
    """
    accuracy, pointed = BY_NAME["accuracy"], BY_NAME["off_centre"]
    runs = {
        arm: {1.0: f"arms-{model}-{arm}"}
        | {share: f"fraction-{model}-{arm}-{share:g}" for share in shares}
        for arm, shares in FRACTIONS.items()
    }
    shares = np.array(sorted(runs["click"]))
    figure, axes = new_figure(1, 3, height=2.4, width=6.9)
    levels, gain, place = axes[0]
    for arm, (colour, line) in {"click": (BLUE, "-"), "none": ("#000000", "--")}.items():
        found = [100 * level(hits, runs[arm][share], accuracy).mean for share in shares]
        levels.plot(
            shares, found, line, color=colour, marker="o", markersize=3, linewidth=1, label=arm
        )
    levels.set_title("accuracy, %")
    less = [difference(hits, runs["click"][s], runs["none"][s], accuracy) for s in shares]
    _whiskers(gain, shares, less, model)
    gain.axhline(0, **BASELINE)
    gain.set_title("accuracy *")
    gain.set_ylabel("* points, click less none")
    _whiskers(place, shares, [level(hits, runs["click"][s], pointed) for s in shares], model)
    place.set_title(f"click: {pointed.title}, %")
    for ax in axes[0]:
        ax.set_xlabel("share of the training images")
        ax.set_xticks(shares)
    legend_below(figure, levels)
    return png(figure)
