"""Figures that need the benchmarks' folders: SI-Score, backgrounds, samples, failures.     [I/O]"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luab_data.figures.maps import add_colour_bar, draw_map
from luab_data.figures.style import PAGE_INCH, drawing, new_figure
from luab_train.evaluate.measures import right as correct
from luab_train.evaluate.report.draw_results import Curve, Look, curves_figure
from luab_train.evaluate.report.draw_samples import Sample, draw_failure, draw_sample
from luab_train.evaluate.report.evaluated import Arm
from luab_train.evaluate.report.factors import (
    GRID,
    SIZE_STEP,
    Factors,
    curve_by,
    foreground_distance,
    gap_by_distance,
    position_map,
    read_factors,
)
from luab_train.evaluate.report.figures import Planned
from luab_train.evaluate.report.samples import folder_of, sample_rows, worst_failures
from luab_train.evaluate.stored import predictions, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Told = Mapping[str, Sequence[tuple[Factors, np.ndarray]]]
"""Arm -> of each model the factors of its images, and which answers are right."""

_HALF_STEP = 0.5 / (GRID - 1)
_MOST_ARMS = 4
"""Arms with a panel or a sheet each."""
_ANGLE_STEP = 20.0
_BANDS = "Bands: the 95 % interval of one run, else from the lowest seed to the highest."


def plan_with_images(
    arms: Sequence[Arm], looks: Mapping[str, Look], root: Path
) -> Iterator[Planned]:
    """Every figure for which predictions were kept and `root` has what it needs."""
    yield from _factors(arms, looks, root)
    yield from _backgrounds(arms, looks, root)
    yield from _samples(arms, root)


def _factors(arms: Sequence[Arm], looks: Mapping[str, Look], root: Path) -> Iterator[Planned]:
    for name, factor, step, label in (
        ("si-size", "area", SIZE_STEP, "object's share of the image"),
        ("si-rot", "rotation", _ANGLE_STEP, "rotation, degrees"),
    ):
        curves = {
            arm: curve_by([getattr(f, factor) for f, _ in kept], [r for _, r in kept], step)
            for arm, kept in _told(arms, name, root).items()
        }
        if curves:
            ticks = range(0, 361, 60) if factor == "rotation" else None
            yield Planned(
                key=name,
                title=f"SI-Score by {factor}",
                caption=_BANDS,
                draw=partial(
                    curves_figure, curves, looks, xlabel=label, ylabel="top-1, %", xticks=ticks
                ),
            )
    told = _told(arms, "si-loc", root)
    if told:
        yield Planned(
            key="si-loc",
            title="SI-Score by position",
            caption="Accuracy by where the object's middle is, 21 x 21 places; hatched: no image."
            " Below, each arm minus the first one.",
            draw=partial(_position_figure, told),
        )


def _told(arms: Sequence[Arm], name: str, root: Path) -> Told:
    folder = folder_of(name, root)
    found: dict[str, list[tuple[Factors, np.ndarray]]] = {}
    if folder is None:
        return found
    for arm in arms:
        for model in arm.models:
            kept = predictions(model.folder, name)
            factors = None if kept is None else read_factors(folder, kept.image_id.tolist())
            if kept is not None and factors is not None:
                found.setdefault(arm.name, []).append((factors, correct(kept)))
    return found


def _position_figure(told: Told) -> Figure:
    names = list(told)[:_MOST_ARMS]
    maps = []
    for name in names:
        hits, n = np.sum([position_map(f, right) for f, right in told[name]], axis=0)
        maps.append(np.divide(hits, n, out=np.full(n.shape, np.nan), where=n > 0))
    rows = 2 if len(maps) > 1 else 1
    width = 1.0 + 1.55 * len(maps) if len(maps) > 1 else 2.6
    figure, axes = new_figure(rows, len(maps), height=0.35 + 1.6 * rows, width=width)
    span = (-_HALF_STEP, 1 + _HALF_STEP)
    limits = (100 * float(np.nanmin(maps)), 100 * float(np.nanmax(maps)))
    with drawing():
        for ax, name, values in zip(axes[0], names, maps, strict=True):
            image = draw_map(ax, values, span=span, limits=limits)
            ax.set_title(name, fontsize=7.5)
            ax.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        add_colour_bar([*axes[0]], image, "top-1, %")
        if rows == 2:
            axes[1, 0].set_axis_off()
            gains = [values - maps[0] for values in maps[1:]]
            largest = max(float(np.nanmax(np.abs(gains))), 1e-3)
            for ax, name, values in zip(axes[1, 1:], names[1:], gains, strict=True):
                image = draw_map(ax, values, span=span, limits=(-100 * largest, 100 * largest))
                image.set_cmap("PuOr")
                ax.set_title(f"{name} − {names[0]}", fontsize=7.5)
                ax.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
            add_colour_bar([*axes[1]], image, "points, purple is better")
    return figure


def _backgrounds(arms: Sequence[Arm], looks: Mapping[str, Look], root: Path) -> Iterator[Planned]:
    folder = folder_of("bgc-gap", root)
    curves: dict[str, Curve] = {}
    if folder is None:
        return
    for arm in arms:
        kept = [t for m in arm.models if (t := table(m.folder, "bgc-gap", "gap")) is not None]
        # Of each variant in turn: how far off the foregrounds are, and which answers are right.
        models = [
            [
                (foreground_distance(folder, cell.image_id.tolist()), cell.value)
                for cell in (t.cells["mixed_same"], t.cells["mixed_rand"])
            ]
            for t in kept
        ]
        curve = gap_by_distance([(*same, *rand) for same, rand in models]) if models else None
        if curve is not None:
            curves[arm.name] = curve
    if curves:
        yield Planned(
            key="bgc-gap",
            title="BGC-gap by how far off the object is",
            caption="Thirds of the foregrounds by the distance of their mask's middle from the"
            f" image's. Lower is better. {_BANDS}",
            draw=partial(
                curves_figure, curves, looks, ylabel="BGC-gap, points",
                xlabel="foreground's distance from the centre, image sides",
            ),
        )  # fmt: skip


def _samples(arms: Sequence[Arm], root: Path) -> Iterator[Planned]:
    rows = sample_rows(arms[: _MOST_ARMS + 2], root)
    if any(sample.pixels is not None for samples in rows.values() for sample in samples):
        yield Planned(
            key="samples",
            title="Where the models look",
            caption="Images drawn at random, named above; below each the answer, green if right."
            " Colour is the class map of the answer, bright where it looks; the cross is the"
            " predicted point. A model that is no run, or has no map, is shown without.",
            draw=partial(_samples_figure, rows),
        )
    for number, arm in enumerate(arms[:_MOST_ARMS], start=1):
        failures = worst_failures(arm.models[0], root)
        if any(sample.pixels is not None for sample in failures):
            yield Planned(
                key=f"failures-{number}",
                title=f"Worst failures of {arm.name}",
                caption="Wrong answers with the largest margin: above what it is, below the answer"
                " with its probability.",
                draw=partial(_failures_figure, failures),
            )


def _samples_figure(rows: Mapping[str, Sequence[Sample]]) -> Figure:
    columns = max(map(len, rows.values()))
    figure, axes = new_figure(len(rows), columns, height=0.15 + 1.3 * len(rows), width=PAGE_INCH)
    with drawing():
        for number, (name, samples) in enumerate(rows.items()):
            for ax, sample in zip(axes[number], samples, strict=False):
                draw_sample(ax, sample, title="" if number else sample.truth)
            for ax in axes[number, len(samples) :]:
                ax.set_axis_off()
            axes[number, 0].set_ylabel(name, fontsize=7.5)
    return figure


def _failures_figure(failures: Sequence[Sample]) -> Figure:
    lines = -(-len(failures) // 6)
    figure, axes = new_figure(lines, 6, height=0.1 + 1.4 * lines, width=PAGE_INCH)
    with drawing():
        for ax, sample in zip(axes.flat, failures, strict=False):
            draw_failure(ax, sample)
        for ax in [*axes.flat][len(failures) :]:
            ax.set_axis_off()
    return figure
