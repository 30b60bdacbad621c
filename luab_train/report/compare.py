"""Finished runs side by side: arms as mean and interval over seeds, differences paired by seed.

An arm is a target (`none`, `random`, `click`, ...). Runs of one arm differ in their seed alone, and
the same seed means the same initial weights, order and augmentation in every arm; so the difference
of two arms is taken seed by seed, and its interval is that of the differences. Numbers are those of
the last epoch, never of the best.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from luab_train.recipe import TARGETS
from luab_train.report.measures import counts_of, keys_of, learns_place
from luab_train.report.runs import Run, arm_names, check_comparable

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds and its 95 % t interval.

    Args:
        mean: NaN without any value.
        low, high: bounds of the interval; NaN with fewer than two values: the spread is unknown.
        n: number of values.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half of the interval, NaN when there is none."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The runs of one arm.

    Args:
        name: see `luab_train.report.runs.arm_names`.
        target: where its points come from.
        learns_place: whether the points of its heads mean something, see `learns_place`.
        seeds: in ascending order.
        tested: test set -> those of the seeds that have a result there.
        minutes: mean over runs.
        results: test set -> metric -> estimate over seeds; without values for the points of a head
            that learned no place.
        counts: test set -> its sizes, and centre_localisation: of the first run, and the same for
            all unless the report's `different` says otherwise.
        left_out: images that could not be decoded, see `Run.left_out`: most of any run.
    """

    name: str
    target: str
    learns_place: bool
    seeds: tuple[int, ...]
    tested: Mapping[str, tuple[int, ...]]
    minutes: float
    results: Mapping[str, Mapping[str, Estimate]]
    counts: Mapping[str, Mapping[str, float]]
    left_out: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Arm minus another, seed by seed.

    Args:
        arm, versus: names of the arms.
        seeds: those that both have.
        tested: test set -> those of the seeds that have a result there in both.
        results: test set -> metric -> estimate over the differences.
        values: test set -> metric -> the difference of each seed, in the order of `tested`.
    """

    arm: str
    versus: str
    seeds: tuple[int, ...]
    tested: Mapping[str, tuple[int, ...]]
    results: Mapping[str, Mapping[str, Estimate]]
    values: Mapping[str, Mapping[str, tuple[float, ...]]]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All arms and differences.

    Args:
        dataset: of all runs, `imagenet-ab` or `coco-ab`.
        recipes: names, one unless different recipes were compared.
        epochs: number of epochs, one unless the runs differ.
        reference: target that the other arms were compared with; maybe no run has it.
        arms: in the order of `TARGETS`.
        differences: every arm minus the reference, then click minus random.
        different: what the runs differ in beyond target and seed -> the values; empty when they
            are comparable.
    """

    dataset: str
    recipes: tuple[str, ...]
    epochs: tuple[int, ...]
    reference: str
    arms: tuple[Arm, ...]
    differences: tuple[Difference, ...]
    different: Mapping[str, Sequence[str]]

    @property
    def sets(self) -> tuple[str, ...]:
        """Names of the test sets, the last epoch's validation first."""
        return tuple(dict.fromkeys(name for arm in self.arms for name in arm.results))


def t_interval(values: Iterable[float]) -> Estimate:
    """Mean and Student's t interval at 95 %; NaN values are left out.

    >>> t_interval([1.0, 2.0, 3.0]).low  # 2 - 4.303 * 1 / sqrt(3)
    -0.484...
    """
    kept = [value for value in values if math.isfinite(value)]
    n = len(kept)
    mean = math.fsum(kept) / n if n else math.nan
    half = math.nan
    if n > 1:
        from scipy import stats

        variance = math.fsum((value - mean) ** 2 for value in kept) / (n - 1)
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * math.sqrt(variance / n)
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=n)


def compare(
    runs: Sequence[Run], *, reference: str = "none", allow_different: bool = False
) -> Report:
    """Compare runs.

    Args:
        runs: finished; at most one per arm and seed.
        reference: target that every other arm is compared with; if no run has it, with none.
        allow_different: compare runs that differ in more than target and seed; the report then
            says in what.
    Raises: OptionError, see `check_comparable`.
    """
    different = check_comparable(runs, allow_different=allow_different)
    by_arm: dict[str, list[Run]] = {}
    for run, name in sorted(zip(runs, arm_names(runs), strict=True), key=_arm_order):
        by_arm.setdefault(name, []).append(run)
    return Report(
        dataset=runs[0].recipe.data.dataset,
        recipes=tuple(dict.fromkeys(run.recipe.name for run in runs)),
        reference=reference,
        epochs=tuple(sorted({run.recipe.epochs for run in runs})),
        arms=tuple(_arm(name, of_arm) for name, of_arm in by_arm.items()),
        differences=tuple(
            _difference(arm, by_arm[arm], versus, by_arm[versus])
            for arm, versus in _pairs(by_arm, reference)
        ),
        different=different,
    )


def _arm_order(named: tuple[Run, str]) -> tuple[int, str, int]:
    run, name = named
    return TARGETS.index(run.recipe.target), name, run.recipe.seed


def _pairs(by_arm: Mapping[str, Sequence[Run]], reference: str) -> list[tuple[str, str]]:
    """(arm, versus): every arm against those of the reference target, then click against random."""
    target = {name: runs[0].recipe.target for name, runs in by_arm.items()}
    pairs = [(a, b) for b in by_arm for a in by_arm if a != b and target[b] == reference]
    pairs += [
        (a, b) for b in by_arm for a in by_arm if (target[a], target[b]) == ("click", "random")
    ]
    return list(dict.fromkeys(pairs))


def _arm(name: str, runs: Sequence[Run]) -> Arm:
    dataset = runs[0].recipe.data.dataset
    tested = {
        key: [run for run in runs if key in run.results]
        for key in dict.fromkeys(key for run in runs for key in run.results)
    }
    train, val = zip(*(run.left_out for run in runs), strict=True)
    return Arm(
        name=name,
        target=runs[0].recipe.target,
        learns_place=all(learns_place(run.recipe) for run in runs),
        seeds=tuple(run.recipe.seed for run in runs),
        tested={key: tuple(run.recipe.seed for run in of_set) for key, of_set in tested.items()},
        minutes=t_interval(run.minutes for run in runs).mean,
        results={
            key: {
                metric: t_interval(_metric(run, key, metric) for run in of_set)
                for metric in keys_of(dataset)
            }
            for key, of_set in tested.items()
        },
        counts={
            key: {
                size: of_set[0].results[key].get(size, math.nan)
                for size in (*counts_of(dataset), "centre_localisation")
            }
            for key, of_set in tested.items()
        },
        left_out=(max(train), max(val)),
    )


def _difference(arm: str, runs: Sequence[Run], versus: str, others: Sequence[Run]) -> Difference:
    of_seed = {run.recipe.seed: run for run in others}
    pairs = [(run, of_seed[run.recipe.seed]) for run in runs if run.recipe.seed in of_seed]
    tested = {
        key: [(a, b) for a, b in pairs if key in a.results and key in b.results]
        for key in dict.fromkeys(key for a, b in pairs for key in a.results if key in b.results)
    }
    values = {
        key: {
            metric: tuple(_metric(a, key, metric) - _metric(b, key, metric) for a, b in of_set)
            for metric in keys_of(runs[0].recipe.data.dataset)
        }
        for key, of_set in tested.items()
    }
    return Difference(
        arm=arm,
        versus=versus,
        seeds=tuple(a.recipe.seed for a, _ in pairs),
        tested={key: tuple(a.recipe.seed for a, _ in of_set) for key, of_set in tested.items()},
        results={
            key: {m: t_interval(v) for m, v in of_set.items()} for key, of_set in values.items()
        },
        values=values,
    )


def _metric(run: Run, key: str, metric: str) -> float:
    return run.result(key).get(metric, math.nan)
