"""[I/O] Two arms as processes in turns, on the same terms, until there is a result row.

Before a comparison both arms convert the first 200 records of the log, and every raw column of the
two results must be equal; after every run the results' totals must be equal. Removing what a run
wrote is not timed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inputs
import measure

HERE = Path(__file__).resolve().parent
SAMPLE = 200
BASELINES = {
    "imagenet-ab/hf": ("hf", "HF datasets: webdataset, map(num_proc=2), to_parquet"),
    "imagenet-ab/reference": ("reference", "tar xzf, ElementTree per file, pandas, to_parquet"),
    "imagenet-ab/limit": ("limit", "igzip readinto, nothing else"),
    "coco-ab/json": ("json", "json.load, loop, pandas, to_parquet"),
}
COMPARISONS = (*BASELINES, "imagenet-ab/scaling")


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log to measure on: its data set, file, and name, bytes and sha256 for the row."""

    dataset: str
    path: Path
    described: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a comparison.

    Args:
        name: for the table.
        command: (log, folder to write to) -> command line.
        writes: `ours`, `baseline`, or empty for an arm that writes nothing.
    """

    name: str
    command: Callable[[Path, Path], list[str]]
    writes: str


Figures = dict[str, float]
Totals = dict[str, Any]
"""What agree.py counted in a result; empty for an arm that writes nothing."""


class Disagreement(Exception):
    """Ours and a baseline say different things: a ratio of the two would mean nothing."""


def our_arm(dataset: str) -> Arm:
    """The command a user types, with everything it does by default."""

    def command(log: Path, out: Path) -> list[str]:
        words = ["-m", "luab_data", "convert", dataset, str(log), "--out", str(out / "ours")]
        return [sys.executable, *words]

    return Arm(name=f"luab-data convert {dataset}", command=command, writes="ours")


def baseline_arm(comparison: str) -> Arm:
    """What is done without us: see baselines.py."""
    arm, name = BASELINES[comparison]

    def command(log: Path, out: Path) -> list[str]:
        return [sys.executable, str(HERE / "baselines.py"), arm, str(log), str(out)]

    return Arm(name=name, command=command, writes="" if arm == "limit" else "baseline")


def helper(script: str, *words: str | Path) -> str:
    """Run one of our scripts that need pyarrow, so that this process stays small."""
    command = [sys.executable, str(HERE / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Disagreement(f"{script}: {done.stdout.strip()}\n{done.stderr[-2000:]}".strip())
    return done.stdout


class Bench:
    """Runs arms in a folder of its own, on the same terms.

    Args:
        work: folder for made logs and for what the runs write; the latter is removed.
        pairs: runs of each arm.
    """

    def __init__(self, work: Path, pairs: int) -> None:
        self.work = work.resolve()
        self.pairs = pairs
        self._out = self.work / "run"
        # Ours makes its worker key on first use: here, not in the user's configuration.
        self._environment = {"XDG_CONFIG_HOME": str(self.work / "config")}

    def run(self, arm: Arm, log: Log, source: Path | None = None) -> tuple[Figures, Totals]:
        """One run of an arm in an empty folder: its figures, and the totals of what it wrote."""
        self._clear()
        figures = measure.run(arm.command(source or log.path, self._out), self._environment)
        totals: Totals = {}
        if arm.writes:
            folder = self._out / "ours" if arm.writes == "ours" else self._out
            totals = json.loads(helper("agree.py", "totals", log.dataset, arm.writes, folder))
        self._clear()
        return figures.as_row(), totals

    def _clear(self) -> None:
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir(parents=True)
        if hasattr(os, "sync"):
            os.sync()  # one run's writes must not be the next one's wait

    def sample(self, log: Log) -> Path:
        """The log's first records as a log."""
        self._clear()
        out = self.work / f"sample{inputs.SUFFIXES[log.dataset]}"
        helper("inputs.py", "head", log.dataset, log.path, str(SAMPLE), out)
        return out

    def check_agreement(self, ours: Arm, baseline: Arm, log: Log) -> dict[str, int]:
        """Both arms on the first records: (rows, columns) that were compared and are equal.

        Raises:
            Disagreement: what differs first.
        """
        sample = self.sample(log)
        self._clear()
        for arm in (ours, baseline):
            measure.run(arm.command(sample, self._out), self._environment)
        folders = (self._out / "ours", self._out)
        found: dict[str, int] = json.loads(helper("agree.py", "rows", log.dataset, *folders))
        return found

    def compare(self, comparison: str, log: Log) -> dict[str, Any]:
        """Baseline, ours, baseline, ours, ... on one log: a result row."""
        ours, baseline = our_arm(log.dataset), baseline_arm(comparison)
        checked = self.check_agreement(ours, baseline, log) if baseline.writes else None
        pairs: list[dict[str, Figures]] = []
        ours_totals: Totals = {}
        theirs: Totals = {}
        for number in range(self.pairs):
            pair: dict[str, Figures] = {}
            pair["baseline"], theirs = self.run(baseline, log)
            pair["ours"], ours_totals = self.run(ours, log)
            _check_totals(ours_totals, theirs)
            pairs.append(pair)
            ratio = pair["baseline"]["wall_s"] / pair["ours"]["wall_s"]
            _say(comparison, number, pair, f"baseline / ours {ratio:.2f}")
        records = ours_totals["records"]
        return {
            **_row(comparison, log, records),
            "agreement": checked,
            "arms": {
                "baseline": {"name": baseline.name, "records": records},
                "ours": {"name": ours.name, "records": records},
            },
            "out_bytes": {
                "ours": ours_totals["out_bytes"],
                **({"baseline": theirs["out_bytes"]} if theirs else {}),
            },
            "pairs": pairs,
        }

    def scaling(self, smaller: Log, larger: Log) -> dict[str, Any]:
        """Ours on few records (start-up), on the smaller and on the larger log, in turns."""
        ours = our_arm(larger.dataset)
        sample = self.sample(smaller)
        self.run(ours, smaller, sample)
        pairs: list[dict[str, Figures]] = []
        totals: dict[str, Totals] = {}
        arms = {"start": (smaller, sample), "smaller": (smaller, None), "ours": (larger, None)}
        for number in range(self.pairs):
            pair: dict[str, Figures] = {}
            for arm, (log, source) in arms.items():
                pair[arm], totals[arm] = self.run(ours, log, source)
            pairs.append(pair)
            _say("imagenet-ab/scaling", number, pair, "")
        return {
            **_row(f"{larger.dataset}/scaling", larger, totals["ours"]["records"]),
            "smaller": {**smaller.described, "records": totals["smaller"]["records"]},
            "arms": {
                arm: {
                    "name": f"{ours.name} (start-up)" if arm == "start" else ours.name,
                    "records": totals[arm]["records"],
                }
                for arm in arms
            },
            "out_bytes": {"ours": totals["ours"]["out_bytes"]},
            "pairs": pairs,
        }

    def profile(self, log: Log, folder: Path) -> Path:
        """Where the time of ours goes, as a text file beside the results."""
        self._clear()
        os.environ.update(self._environment)
        text = helper("stages.py", log.dataset, log.path, self._out / "ours")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"profile-{_stem(log)}.txt"
        about = {"date": measure.now(), "commit": measure.commit(), "log": log.described}
        about |= {"machine": measure.machine(), "versions": measure.versions()}
        path.write_text(f"{json.dumps(about)}\n\n{text}", encoding="utf-8")
        self._clear()
        return path


def _check_totals(ours: Totals, theirs: Totals) -> None:
    for name in ("rows", "trace_records", "mean_x") if theirs else ():
        # Counts are equal; a mean over rows in another order differs in its last digits.
        if abs(ours[name] - theirs[name]) > 1e-6:
            raise Disagreement(f"{name}: {ours[name]} in ours, {theirs[name]} in the baseline")


def _row(comparison: str, log: Log, records: int) -> dict[str, Any]:
    return {
        "what": "convert",
        "comparison": comparison,
        "date": measure.now(),
        "commit": measure.commit(),
        "machine": measure.machine(),
        "versions": measure.versions(),
        "input": {**log.described, "records": records},
    }


def _say(comparison: str, number: int, pair: dict[str, Figures], note: str) -> None:
    runs = ", ".join(
        f"{arm} {run['wall_s']:.2f} s {run['tree_rss_mib']:.0f} MiB" for arm, run in pair.items()
    )
    print(f"{comparison} pair {number + 1}: {runs}; {note}".rstrip("; "), flush=True)


def _stem(log: Log) -> str:
    return log.path.name.partition(".")[0]
