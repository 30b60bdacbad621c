"""Train and test the table of experiments, the most important first.     [I/O]

    python results/tiny-imagenet/run.py --work WORK [--only 'arms-cnn-*'] [--minutes 60]

A finished run is one line of runs.jsonl, and is skipped from then on; an interrupted one goes on
where it stopped. Any number of these processes may work on one WORK: each takes the next experiment
that no other is at. Each computes with one thread.
"""

from __future__ import annotations

import fcntl
import fnmatch
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import torch
from experiments import Experiment, in_order
from prepare import CALIBRATED, OFF_MIDDLE

from luab_train.report.runs import read_run
from luab_train.settings import flatten, override
from luab_train.train.device import versions
from luab_train.train.loop import train

ROWS = Path(__file__).with_name("runs.jsonl")
_WAIT_S = 15


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The finished runs."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def append_row(file: Path, row: dict[str, Any]) -> None:
    """Add one line in one write, so that no other process' line can fall into it."""
    line = (json.dumps(row, allow_nan=False) + "\n").encode()
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


@contextmanager
def claimed(file: Path) -> Iterator[bool]:
    """Whether this process got the file's lock; the system lets go of a dead process' locks."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def set_of(group: str, work: Path) -> Path:
    """The folder of the pictures that runs of a group train on and are put to."""
    return work / OFF_MIDDLE if group == "off" else work


def make(experiment: Experiment, work: Path, out: Path) -> dict[str, Any]:
    """Train and test one experiment on what is in `work`; its row. The run is kept in `out`."""
    run = out / "runs" / experiment.key
    target = experiment.recipe.target
    extra: dict[str, Any] = {"calibrated": work / CALIBRATED} if target == "calibrated" else {}
    if not (run / "model.safetensors").exists():
        pictures = set_of(experiment.group, work)
        train(
            experiment.recipe,
            data=pictures / "imagenet-ab",
            images=pictures / "train",
            val=pictures / "val",
            out=run,
            **extra,
        )
    return row_of(experiment, run)


def row_of(experiment: Experiment, run: Path) -> dict[str, Any]:
    """What is kept of a finished run; metrics on `val` are those of the last epoch."""
    finished = read_run(run)
    last = finished.epochs[-1]
    return {
        "key": experiment.key,
        "group": experiment.group,
        "model": experiment.model,
        "target": experiment.recipe.target,
        "seed": experiment.recipe.seed,
        **{
            key: _rounded(value)
            for key, value in last.items()
            if key.startswith(("val_", "train_"))
        },
        "minutes": round(finished.minutes, 2),
        "recipe": flatten(experiment.recipe),
        "dataset": finished.dataset.get("digest"),
        "machine": finished.environment["machine"],
        "versions": versions(),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 6) if value == value else None


def _commit() -> str | None:
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def rehearsed(experiment: Experiment) -> Experiment:
    """The same in one epoch."""
    changes = {"epochs": 1, "optim.warmup_epochs": 0.0}
    return replace(experiment, recipe=override(experiment.recipe, changes))


def make_next(pattern: str, work: Path, out: Path, rows: Path, *, rehearse: bool) -> bool | None:
    """Make the first experiment that is neither done nor claimed by another process.

    Returns: True if one was made, False if others are at all that is left, None if nothing is left.
    """
    experiments = in_order(read_rows(rows))
    wanted = [e for e in experiments if fnmatch.fnmatch(e.key, pattern)]
    left = [e for e in wanted if e.key not in _done(rows)]
    for experiment in left:
        with claimed(out / "claims" / experiment.key) as mine:
            # Another process may have finished it between the look and the lock.
            if mine and experiment.key not in _done(rows):
                chosen = rehearsed(experiment) if rehearse else experiment
                append_row(rows, make(chosen, work, out))
                return True
    return False if left else None


def _done(rows: Path) -> set[str]:
    return {row["key"] for row in read_rows(rows)}


@click.command()
@click.option(
    "--work",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Folder that prepare.py made.",
)
@click.option("--only", default="*", help="Pattern of the keys to run, e.g. 'arms-cnn-*'.")
@click.option("--minutes", type=float, default=float("inf"), help="Start no run after so long.")
@click.option("--list", "listed", is_flag=True, help="List what is done and to do, and stop.")
@click.option(
    "--rehearse",
    is_flag=True,
    help="One epoch a run; all goes to WORK/rehearsal, nothing beside this file.",
)
def main(work: Path, only: str, minutes: float, listed: bool, rehearse: bool) -> None:
    """Run what is left to do. What depends on tuning appears when tuning is done."""
    torch.set_num_threads(1)
    started = time.monotonic()
    out = work / "rehearsal" if rehearse else work
    rows = out / "runs.jsonl" if rehearse else ROWS
    out.mkdir(exist_ok=True)
    if listed:
        done = _done(rows)
        for e in in_order(read_rows(rows)):
            if fnmatch.fnmatch(e.key, only):
                click.echo(f"{'done' if e.key in done else '    '}  {e.key}")
        return
    while time.monotonic() - started < 60 * minutes:
        made = make_next(only, work, out, rows, rehearse=rehearse)
        if made is None:
            return
        if not made:
            time.sleep(_WAIT_S)  # what comes next depends on what another process is at


if __name__ == "__main__":
    main()
