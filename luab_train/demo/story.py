"""What the demo says: a table, checks of the mechanics, and a paragraph chosen by the numbers.

Pure functions of finished runs. Whether an arm is called better, worse or no different follows from
the paired 95 % interval alone; no sentence is there because we hoped for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from luab_train.demo.recipe import ARMS, TEST_SETS
from luab_train.demo.scenes import NUM_CLASSES
from luab_train.report.compare import Estimate, t_interval
from luab_train.report.report import signed
from luab_train.report.runs import Run

Verdict = Literal["better", "worse", "no difference seen", "too few seeds"]

MIN_SEEDS = 3
"""For a verdict: two seeds have an interval, but whether it is wide or narrow is luck."""

BANNER = (
    "Synthetic annotators, real digits on real textures. This shows that the whole path works and "
    "what it measures; it says nothing about ImageNet or about the paper's results."
)


def result_name(background: str) -> str:
    """Name of the evaluation on the test set with this background."""
    return f"val_{background}"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One column of the table.

    Args:
        title: its head.
        of: value of a run, in the unit of the table; NaN where it has none.
        higher_is_better: how to read a difference.
        needs_points: meaningless for the arm without points, whose head is untrained.
    """

    title: str
    of: Callable[[Run], float]
    higher_is_better: bool = True
    needs_points: bool = False


def _percent(background: str, metric: str) -> Callable[[Run], float]:
    name = result_name(background)
    return lambda run: 100 * run.results.get(name, {}).get(metric, math.nan)


ACCURACY = {
    background: Measure(title=background, of=_percent(background, "accuracy"))
    for background in TEST_SETS
}
GAP = Measure(
    title="gap",
    of=lambda run: ACCURACY["same"].of(run) - ACCURACY["random"].of(run),
    higher_is_better=False,
)
POINT_ERROR = Measure(
    title="point error",
    of=_percent("random", "point_error"),
    higher_is_better=False,
    needs_points=True,
)
LOCALISATION = Measure(
    title="localisation", of=_percent("random", "localisation"), needs_points=True
)
MEASURES = (*ACCURACY.values(), GAP, POINT_ERROR, LOCALISATION)
COMPARISONS = (("random", "none"), ("click", "none"), ("click", "random"))


def arm_estimate(runs: Sequence[Run], arm: str, measure: Measure) -> Estimate:
    """Mean and interval of a measure over the seeds of an arm; empty where it means nothing."""
    if arm == "none" and measure.needs_points:
        return t_interval([])
    return t_interval(measure.of(run) for run in runs if run.recipe.target == arm)


def paired(runs: Sequence[Run], arm: str, versus: str, measure: Measure) -> Estimate:
    """Mean and interval of arm - versus over the seeds that both have."""
    if "none" in (arm, versus) and measure.needs_points:
        return t_interval([])
    of = {
        name: {run.recipe.seed: measure.of(run) for run in runs if run.recipe.target == name}
        for name in (arm, versus)
    }
    return t_interval(of[arm][seed] - of[versus][seed] for seed in of[arm] if seed in of[versus])


def verdict(difference: Estimate, *, higher_is_better: bool = True) -> Verdict:
    """One word for a paired difference; a bound of exactly 0 is no difference seen."""
    if difference.n < MIN_SEEDS:
        return "too few seeds"
    low, high = difference.low, difference.high
    if not higher_is_better:
        low, high = -high, -low
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "no difference seen"


def table(runs: Sequence[Run]) -> str:
    """Arms and paired differences, a column a measure; Markdown that lines up in a terminal."""
    seeds = {arm: sum(run.recipe.target == arm for run in runs) for arm in ARMS}
    head = ["arm", "seeds", *(measure.title for measure in MEASURES)]
    rows = [
        [arm, str(seeds[arm]), *(_value(arm_estimate(runs, arm, m)) for m in MEASURES)]
        for arm in ARMS
    ]
    for arm, versus in COMPARISONS:
        estimates = [paired(runs, arm, versus, measure) for measure in MEASURES]
        num = str(estimates[0].n)
        rows.append([f"{arm} - {versus}", num, *(_difference(e) for e in estimates)])
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(head), line(rule), *(line(row) for row in rows)])


TABLE_NOTES = (
    "same / random / next: accuracy, %, on held-out digits before their own class's texture, any "
    f"of the {NUM_CLASSES}, or the next class's (held-out regions). Guessing scores "
    f"{100 / NUM_CLASSES:.0f}; the texture alone scores 100 / {100 / NUM_CLASSES:.0f} / 0. "
    "gap = same - random, smaller is better. point error: distance from the predicted point to the "
    "digit's centre, % of the side; localisation: point in the digit's box, %; both on random "
    "textures, and empty for the arm whose point head was never trained. Mean ± half of the 95 % t "
    "interval over seeds; differences are paired by seed, with their interval. It covers the noise "
    "of the seeds, not the choice of scenes, and one in twenty such intervals misses."
)


def _value(estimate: Estimate) -> str:
    if not estimate.n:
        return "-"
    spread = f" ± {estimate.half_width:.1f}" if estimate.n > 1 else ""
    return f"{estimate.mean:.1f}{spread}"


def _difference(estimate: Estimate) -> str:
    if not estimate.n:
        return "-"
    spread = f" [{signed(estimate.low)}, {signed(estimate.high)}]" if estimate.n > 1 else ""
    return f"{signed(estimate.mean)}{spread}"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One mechanical fact that must hold whatever the arms score."""

    name: str
    holds: bool
    found: str


def mechanics(runs: Sequence[Run], *, num_images: int, mismatches: Sequence[str]) -> list[Check]:
    """What the exit code of the demo depends on.

    Args:
        runs: all that were trained, evaluated.
        num_images: images whose derived click was compared with the simulator's truth.
        mismatches: ids of those where they are not exactly equal.
    """
    stuck = [
        f"{run.recipe.target}-{run.recipe.seed}"
        for run in runs
        if not _loss(run, -1) < _loss(run, 0)
    ]
    click, random = (arm_estimate(runs, arm, POINT_ERROR).mean for arm in ("click", "random"))
    return [
        Check(
            name="the derived clicks are exactly those of the simulator's truth file",
            holds=num_images > 0 and not mismatches,
            found=f"{num_images - len(mismatches):,} of {num_images:,} images"
            + (f", not e.g. {', '.join(mismatches[:3])}" if mismatches else ""),
        ),
        Check(
            name="the training loss falls in every run",
            holds=bool(runs) and not stuck,
            found=f"{len(runs) - len(stuck)} of {len(runs)} runs"
            + (f", not {', '.join(stuck)}" if stuck else ""),
        ),
        Check(
            name="the click arm points better than the random arm",
            holds=click < random,  # false for NaN
            found=f"point error {click:.1f} % against {random:.1f} % of the side",
        ),
    ]


def _loss(run: Run, epoch: int) -> float:
    return run.epochs[epoch].get("train_loss", math.nan)


def paragraph(runs: Sequence[Run]) -> str:
    """The result in words; each sentence depends on the numbers it names and on nothing else."""
    versus_none = paired(runs, "click", "none", ACCURACY["random"])
    versus_random = paired(runs, "click", "random", ACCURACY["random"])
    gap = paired(runs, "click", "none", GAP)
    sentences = [
        _shortcut(arm_estimate(runs, "none", GAP)),
        _pointing(paired(runs, "click", "random", POINT_ERROR)),
        _comparison("accuracy on random textures", "no points", versus_none),
        _comparison("accuracy on random textures", "random points", versus_random),
        _comparison("the gap between same and random textures", "no points", gap, higher=False),
        _resolution(versus_none),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _shortcut(gap: Estimate) -> str:
    if gap.n < MIN_SEEDS:
        return f"Without points the network loses {_value(gap)} points on random textures."
    if gap.low > 0:
        return (
            "Without points the network takes the shortcut: it loses "
            f"{gap.mean:.1f} [{gap.low:.1f}, {gap.high:.1f}] points when the texture tells nothing."
        )
    return (
        "Without points no reliance on the texture was seen "
        f"(gap {_difference(gap)}): there is nothing to repair."
    )


def _pointing(difference: Estimate) -> str:
    amount = f"{abs(difference.mean):.1f} % of the side"
    match verdict(difference, higher_is_better=False):
        case "better":
            return (
                "Clicks teach where the digit is: the predicted point is nearer to it than with "
                f"random points, by {amount}."
            )
        case "worse":
            return f"With clicks the point is farther off than with random points, by {amount}."
        case "no difference seen":
            return "Between clicks and random points, no difference seen in where the point lies."
        case "too few seeds":
            where = "nearer" if difference.mean < 0 else "farther off"
            return f"With clicks the point is {where} than with random points, by {amount}."


def _comparison(what: str, versus: str, difference: Estimate, *, higher: bool = True) -> str:
    numbers = _difference(difference)
    match verdict(difference, higher_is_better=higher):
        case "better":
            return f"Clicks are better than {versus} in {what}: {numbers} points."
        case "worse":
            return f"Clicks are worse than {versus} in {what}: {numbers} points."
        case "no difference seen":
            return f"Between clicks and {versus}, no difference seen in {what}: {numbers} points."
        case "too few seeds":
            return f"Clicks against {versus}, {what}: {numbers} points."


def _resolution(difference: Estimate) -> str:
    if difference.n < MIN_SEEDS:
        num = "one seed" if difference.n == 1 else f"{difference.n} seeds"
        return (
            f"That is {num}: too few for a verdict, which takes {MIN_SEEDS} (--seeds, --minutes)."
        )
    return (
        f"With {difference.n} seeds the interval of click - none reaches "
        f"{difference.half_width:.1f} points to either side: a smaller effect looks like none."
    )
