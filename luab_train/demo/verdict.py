"""What the demo says of its report: checks of the mechanics, and words chosen by the numbers.

Whether an arm is called better, worse or no different follows from the paired 95 % interval alone.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import luab_data
from luab_train.demo.scenes import NUM_CLASSES

MIN_SEEDS = 3
"""For a verdict: two seeds have an interval, but whether it is wide or narrow is luck."""


def compare_with_truth(out: Path) -> tuple[int, list[str]]:
    """Number of images in the truth, and ids of those whose derived click is not exactly its own.

    Compared are whether the image was selected in the end and both coordinates of the final click;
    an image that is missing from the dataset counts as different, and so does one too many.
    """
    names = ["image_id", "selected", "final_click_x", "final_click_y"]
    columns = luab_data.read_table(out / "imagenet-ab", columns=names).to_pydict()
    found = {key: rest for key, *rest in zip(*(columns[name] for name in names), strict=True)}
    expected: dict[str, list[object]] = {}
    with gzip.open(out / "raw.tar.gz.truth.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            at = row["final_click"] or {"x": None, "y": None}
            expected[row["image_id"]] = [row["selected"], at["x"], at["y"]]
    different = sorted(
        key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)
    )
    return len(expected), different


class Check(NamedTuple):
    """One mechanical fact that must hold whatever the arms score."""

    name: str
    holds: bool
    found: str


def mechanics(
    report: Mapping[str, Any], runs: list[Path], *, num_images: int, different: list[str]
) -> list[Check]:
    """What the exit code of the demo depends on.

    Args:
        report: report.json of `luab-train report`.
        runs: the folders it is of.
        num_images, different: of `compare_with_truth`.
    """
    losses = {run.name: [line["train_loss"] for line in lines_of(run, "epoch")] for run in runs}
    stuck = [name for name, values in losses.items() if not values[-1] < values[0]]
    click, random = (_percent(report, arm, "random", "point_error") for arm in ("click", "random"))
    return [
        Check(
            "the derived clicks are exactly those of the simulator's truth file",
            num_images > 0 and not different,
            f"{num_images - len(different):,} of {num_images:,} images"
            + (f", not e.g. {', '.join(different[:3])}" if different else ""),
        ),
        Check(
            "the training loss falls in every run",
            bool(runs) and not stuck,
            f"{len(runs) - len(stuck)} of {len(runs)} runs"
            + (f", not {', '.join(stuck)}" if stuck else ""),
        ),
        Check(
            "the click arm points better than the random arm",
            click < random,  # false for NaN
            f"point error {click:.1f} % against {random:.1f} % of the side",
        ),
    ]


_RESULT = {"same": "val_same", "random": "last epoch", "next": "val_next"}
"""Textures of the test scenes -> what the report calls their results."""


def _percent(report: Mapping[str, Any], arm: str, background: str, metric: str) -> float:
    """Mean over the seeds of an arm, %; NaN where there is none."""
    of_arm = next(found for found in report["arms"] if found["name"] == arm)
    mean = of_arm["results"][_RESULT[background]][metric]["mean"]
    return math.nan if mean is None else 100 * float(mean)


def verdict(report: Mapping[str, Any]) -> str:
    """The result in words; better, worse or no difference follows from the paired interval alone.

    Args:
        report: report.json of `luab-train report`.
    """
    same, random = (_percent(report, "none", b, "accuracy") for b in ("same", "random"))
    sentences = [
        f"Without points the network is right on {same:.1f} % of the digits before their class's"
        f" own texture, and on {random:.1f} % before any texture: guessing by texture scores"
        f" 100 and {100 / NUM_CLASSES:.0f}."
    ]
    sentences += [
        _compared(report, "random", "point_error", "pointing at the digit", higher=False),
        _compared(report, "random", "accuracy", "accuracy before any texture"),
        _compared(report, "none", "accuracy", "accuracy before any texture"),
    ]
    return " ".join(sentences)


def _compared(
    report: Mapping[str, Any], versus: str, metric: str, what: str, *, higher: bool = True
) -> str:
    pair = next(d for d in report["differences"] if (d["arm"], d["versus"]) == ("click", versus))
    found = pair["results"][_RESULT["random"]][metric]
    other = "random points" if versus == "random" else "no points"
    sign = 1 if higher else -1
    by = f"{100 * sign * found['mean']:+.1f}"
    if found["n"] < MIN_SEEDS:
        return (
            f"Clicks against {other}, {what}: {by} points; no verdict, which takes {MIN_SEEDS}"
            " seeds (--seeds, --minutes)."
        )
    if found["low"] is None:
        return f"Clicks against {other}, {what}: {by} points; no verdict, {found['note']}."
    low, high = sorted(100 * sign * found[k] for k in ("low", "high"))
    numbers = f"{what}: {by} [{low:+.1f}, {high:+.1f}] points."
    if low <= 0 <= high:
        return f"Between clicks and {other}, no difference seen in {numbers}"
    return f"Clicks are {'better' if low > 0 else 'worse'} than {other} in {numbers}"


def lines_of(run: Path, event: str) -> list[dict[str, Any]]:
    """Lines of a run's metrics.jsonl: of each `epoch`, or of each `evaluation`."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == event]
