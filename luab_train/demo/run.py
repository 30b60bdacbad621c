"""The demo from end to end, in one folder.     [I/O]

DIR/demo.json            plan and recipe; a folder without it is not ours
DIR/images/              train/<wnid>/*.png and val_{same,random,next}/..., boxes beside them
DIR/raw.tar.gz           the simulated raw log; DIR/truth.jsonl.gz is what really happened
DIR/imagenet-ab/         the dataset
DIR/runs/<arm>-<seed>/   the runs
DIR/results.json         every number; DIR/demo.png the figure
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luab_data.files import write_whole
from luab_train.demo import steps, story
from luab_train.demo.arms import is_finished, train_seeds, warm_up, workers
from luab_train.demo.figure import demo_png
from luab_train.demo.recipe import ARMS, Plan, recipe
from luab_train.demo.steps import Say
from luab_train.report.report import null_for_nan
from luab_train.report.runs import Run

_LAST_SECONDS = 10.0  # of the budget, for table and figure


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the steps produced.

    Args:
        runs: finished and evaluated, seed by seed.
        num_compared: images whose click was compared with the truth.
        mismatches: ids of those where it differs.
        seconds: step -> wall time of this call; next to nothing for a step that was reused.
        stopped_by_budget: whether seeds that were asked for did not run.
    """

    runs: tuple[Run, ...]
    num_compared: int
    mismatches: tuple[str, ...]
    seconds: dict[str, float]
    stopped_by_budget: bool

    @property
    def num_seeds(self) -> int:
        """Seeds that every arm ran."""
        return len({run.recipe.seed for run in self.runs})


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What the demo says, see `luab_train.demo.story`."""

    table: str
    paragraph: str
    checks: tuple[story.Check, ...]


def run_demo(
    out: Path, plan: Plan, *, num_seeds: int, budget_s: float, say: Say, force: bool = False
) -> Outcome:
    """Do, or finish, everything up to the evaluated runs.

    Args:
        out: new, empty, or a demo's folder.
        plan: sizes.
        num_seeds: seeds wanted, 0, 1, ...; each is one run per arm.
        budget_s: wall time; no further seed is begun that would probably not end within it.
        say: takes a line of text.
        force: remove what a demo of other sizes left in `out`.
    """
    began = time.monotonic()
    seconds: dict[str, float] = {}
    steps.open_folder(out, plan, say, force=force)
    with workers() as pool:
        if not all(is_finished(out, (arm, seed)) for seed in range(num_seeds) for arm in ARMS):
            warm_up(pool)
        with _step(seconds, say, 1, "scenes: digits on textures"):
            say(steps.make_images(out / "images", plan))
        with _step(seconds, say, 2, "simulated annotators write a raw log"):
            say(steps.simulate(out, plan))
        with _step(seconds, say, 3, "convert the log, compare the clicks with the truth"):
            steps.convert(out)
            compared, mismatches = steps.compare_with_truth(out)
            num_equal = compared - len(mismatches)
            say(f"final clicks equal to the truth: {num_equal:,} of {compared:,} images")
        with _step(seconds, say, 4, 'load_dataset("imagenet-ab")'):
            say(steps.describe_dataset(out))
        with _step(seconds, say, 5, f"train and evaluate {', '.join(ARMS)}, seeds: {num_seeds}"):
            deadline = began + budget_s - _LAST_SECONDS
            runs, stopped = train_seeds(
                pool, out, plan, num_seeds=num_seeds, deadline=deadline, say=say
            )
    return Outcome(
        runs=tuple(runs),
        num_compared=compared,
        mismatches=tuple(mismatches),
        seconds=seconds,
        stopped_by_budget=stopped,
    )


@contextmanager
def _step(seconds: dict[str, float], say: Say, number: int, what: str) -> Iterator[None]:
    began = time.monotonic()
    say(f"[{number}/6] {what}")
    yield
    seconds[what] = round(time.monotonic() - began, 2)


def tell(out: Path, plan: Plan, outcome: Outcome, *, num_seeds: int, say: Say) -> Telling:
    """Table, words and checks; writes DIR/demo.png and DIR/results.json.

    Args:
        out: the demo's folder.
        plan: sizes.
        outcome: of `run_demo`.
        num_seeds: seeds that were asked for.
        say: takes a line of text.
    """
    say("[6/6] table and figure")
    runs = outcome.runs
    telling = Telling(
        table=story.table(runs),
        paragraph=story.paragraph(runs),
        checks=tuple(
            story.mechanics(runs, num_images=outcome.num_compared, mismatches=outcome.mismatches)
        ),
    )
    training, test, centre_error = steps.pictures(out)
    write_whole(out / "demo.png", demo_png(training, test, runs, centre_error))
    content = {
        "note": story.BANNER,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": runs[0].environment,
        "plan": asdict(plan),
        "recipe": asdict(recipe(plan)),
        "seeds_wanted": num_seeds,
        "seeds_run": outcome.num_seeds,
        "stopped_by_budget": outcome.stopped_by_budget,
        "seconds": outcome.seconds,
        "centre_point_error": centre_error,
        **_numbers(runs),
        "table": telling.table,
        "table_notes": story.TABLE_NOTES,
        "paragraph": telling.paragraph,
        "checks": [asdict(check) for check in telling.checks],
    }
    text = json.dumps(null_for_nan(content), indent=2, allow_nan=False) + "\n"
    write_whole(out / "results.json", text.encode())
    return telling


def _numbers(runs: Sequence[Run]) -> dict[str, Any]:
    """Estimates of the arms and of their differences, and every run, in the units of the table."""
    arms = {
        arm: {m.title: asdict(story.arm_estimate(runs, arm, m)) for m in story.MEASURES}
        for arm in ARMS
    }
    differences = {
        f"{arm} - {versus}": {m.title: _difference(runs, arm, versus, m) for m in story.MEASURES}
        for arm, versus in story.COMPARISONS
    }
    rows = [
        {
            "arm": run.recipe.target,
            "seed": run.recipe.seed,
            "minutes": run.minutes,
            "epochs": run.epochs,
            "results": run.results,
        }
        for run in runs
    ]
    return {"arms": arms, "differences": differences, "runs": rows}


def _difference(
    runs: Sequence[Run], arm: str, versus: str, measure: story.Measure
) -> dict[str, Any]:
    estimate = story.paired(runs, arm, versus, measure)
    word = story.verdict(estimate, higher_is_better=measure.higher_is_better)
    return {**asdict(estimate), "verdict": word if estimate.n else None}
