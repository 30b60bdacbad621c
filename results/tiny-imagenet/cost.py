"""What a step of each use of clicks costs over a step without points, on one core.     [I/O]

    python results/tiny-imagenet/cost.py --work WORK [--steps 60]

Writes cost.csv. A step is what training does for a batch: crops, forward, backward and update; the
images are in memory. The arms take turns, the time is of the processor, and the ratio is taken turn
by turn, so that what else the machine does falls on all. WORK is what prepare.py made.
"""

from __future__ import annotations

import csv
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from experiments import MODELS, in_order
from run import ROWS, read_rows, set_of

from luab_data.statistics.estimate import LEVEL
from luab_train.recipe import Recipe
from luab_train.settings import override
from luab_train.train.setup import set_up

COST = Path(__file__).with_name("cost.csv")
TIMED = (
    "off-{}-none-s0",  # the denominator
    "off-{}-cutmix-s0",
    "off-{}-shift-click-s0",
    "off-{}-crop-click-s0",
    "off-{}-eq1-click-s0",
    "ground-{}-ground-click-s0",
)
SHARE = 0.2
"""Of the training images: all are in memory after FIRST steps."""
FIRST = 16
"""Steps that warm up and are not counted."""


def steps(recipe: Recipe, pictures: Path) -> Iterator[float]:
    """Seconds of processor time of one step after another, without end."""
    task = set_up(
        override(recipe, {"data.fraction": SHARE}),
        data=pictures / "imagenet-ab",
        images=pictures / "train",
        out=pictures / "nothing-is-written",
        shown=False,
    )
    for epoch in itertools.count(1):
        batches = iter(task.begin(epoch, 0))
        for update in range(task.updates):
            began = time.process_time()
            task.update([next(batches)], epoch=epoch, update=update)
            yield time.process_time() - began


def turn(timed: Sequence[Iterator[float]], *, backwards: bool) -> list[float]:
    """A step of each arm; from the last to the first in every other turn, for what ran before has
    emptied or warmed the caches.
    """
    order = range(len(timed))
    taken = {at: next(timed[at]) for at in (reversed(order) if backwards else order)}
    return [taken[at] for at in order]


def ratios(seconds_AT: np.ndarray, *, resamples: int = 2000) -> Iterator[dict[str, float]]:
    """Of each arm: milliseconds a step, and the median ratio to the first arm's same turn.

    Args:
        seconds_AT: of A arms in T turns.
        resamples: of the turns, for the 95 % interval of the median.
    """
    drawn = np.random.default_rng(0).integers(
        seconds_AT.shape[1], size=(resamples, seconds_AT.shape[1])
    )
    for of_arm in seconds_AT:
        ratio = of_arm / seconds_AT[0]
        ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        low, high = np.quantile(np.median(ratio[drawn], axis=1), ends)
        yield {
            "ms": 1000 * float(np.median(of_arm)),
            "ratio": float(np.median(ratio)),
            "low": float(low),
            "high": float(high),
        }


@click.command()
@click.option("--work", type=click.Path(path_type=Path, exists=True), required=True,
              help="Folder that prepare.py made.")  # fmt: skip
@click.option("--steps", "num_steps", type=int, default=60, help="Of each arm.")
def main(work: Path, num_steps: int) -> None:
    """Time all arms, network by network."""
    torch.set_num_threads(1)
    experiments = {e.key: e for e in in_order(read_rows(ROWS))}
    rows: list[dict[str, Any]] = []
    for model in MODELS:
        keys = [name.format(model) for name in TIMED]
        # The same pictures for all, so that crops cost the same.
        pictures = set_of("off", work)
        timed = [steps(experiments[key].recipe, pictures) for key in keys]
        turns = [turn(timed, backwards=at % 2 == 1) for at in range(FIRST + num_steps)]
        found = ratios(np.array(turns[FIRST:]).T)
        for key, numbers in zip(keys, found, strict=True):
            rounded = {name: round(value, 4) for name, value in numbers.items()}
            rows.append({"model": model, "run": key, "steps": num_steps, **rounded})
    with COST.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
