"""Measures `luab-data convert localized-narratives` on a generated file; rows, README.md's table.

    python benchmarks/narratives.py --lines 40000 --runs 1

Two files are converted, a small and a larger one; the difference is what a narrative costs,
start-up left out, and 873,107 of them are all that are published. How many points one has is
assumed, since no file could be fetched here: some 36 words take some 30 s, a browser reports a
moving pointer up to 60 times a second, and it often rests: 600 points, 27 kB a line.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import click
import measure
import numpy as np

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results" / "narratives.jsonl"
BUILD = FOLDER.parent / "build" / "bench"

PUBLISHED = 873_107
"""Narratives of all files together, by the publisher's page."""

POINTS = 600
WORDS = 36
SECONDS, MIB = 300, 500
"""Limits of all narratives together, on two cores."""

BUSY = 1.5
"""Load average before a run: above it, others had the cores, and no wall time is judged."""

Row = dict[str, Any]


def narrative(number: int, rng: np.random.Generator, points: int = POINTS) -> dict[str, Any]:
    """One line as the publisher writes it: four decimals, ms, one to four stays."""
    size = int(rng.integers(points // 3, 5 * points // 3))
    steps = rng.normal(0, 0.012, (2, size))
    x, y = 0.5 + 0.5 * np.sin(np.cumsum(steps, axis=1) + rng.uniform(-1, 1, (2, 1))) * 1.1
    t = np.cumsum(np.where(rng.random(size) < 0.9, 0.017, rng.exponential(0.3, size)))
    trace = [
        {"x": round(a, 4), "y": round(b, 4), "t": round(c, 3)}
        for a, b, c in zip(x.tolist(), y.tolist(), t.tolist(), strict=True)
    ]
    cuts = sorted({0, size, *rng.integers(1, size, int(rng.integers(0, 4))).tolist()})
    said = np.sort(rng.uniform(0, t[-1], int(rng.integers(WORDS // 2, 3 * WORDS // 2))))
    return {
        "dataset_id": "mscoco_train2017",
        "image_id": str(number),
        "annotator_id": int(rng.integers(1, 160)),
        "caption": " ".join(f"word{k % 90}" for k in range(len(said))),
        "timed_caption": [
            {"utterance": f"word{k % 90}", "start_time": round(s, 1), "end_time": round(s + 0.4, 1)}
            for k, s in enumerate(said.tolist())
        ],
        "traces": [trace[a:b] for a, b in pairwise(cuts)],
        "voice_recording": f"coco_train/coco_train_{number}_1.ogg",
    }


def generated(path: Path, lines: int) -> Path:
    """A file of narratives, the same each time; kept."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(lines)
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            for number in range(lines):
                file.write(json.dumps(narrative(number, rng)) + "\n")
        part.rename(path)
    return path


def per_line(row: Row, key: str) -> float:
    """Seconds of wall or CPU time that a narrative takes, start-up left out."""
    small, large = (median(run[key] for run in row[size]) for size in ("small", "large"))
    return float(large - small) / (row["lines"]["large"] - row["lines"]["small"])


def narratives_text(rows: Iterable[Row]) -> str:
    """The table between its marks: the last row."""
    found = [*rows]
    if not found:
        return "Nothing was measured yet.\n"
    row = found[-1]
    wall, cpu = (per_line(row, key) for key in ("wall_s", "cpu_s"))
    peak = max(run["tree_rss_mib"] for run in row["large"])
    least = cpu * PUBLISHED / 2
    load = max(run["load"] for run in row["large"])
    verdict = "met" if wall * PUBLISHED <= SECONDS and peak <= MIB else "**missed**"
    if load > BUSY:
        verdict = f"time not judged, busy; memory {'met' if peak <= MIB else '**missed**'}"
    machine = f"{row['machine']['cpu']}, {row['machine']['cores']} cores"
    cells = [
        f"{row['lines']['large']:,}",
        f"{row['points']:.0f}",
        f"{1e3 * wall:.3f}",
        f"{1e3 * cpu:.3f}",
        f"{1e9 * cpu / row['points']:.0f}",
        f"{wall * PUBLISHED:.0f} s ({least:.0f} s)",
        f"{peak:.0f}",
        f"≤ {SECONDS} s, {MIB} MiB",
        verdict,
        f"{load:.1f}",
        f"{row['date'][:10]}, commit {row['commit'] or 'unknown'}, {machine}",
    ]
    return "\n".join(
        [
            "| narratives | points of one | wall ms of one | CPU ms of one | CPU ns of a point |"
            " all 873,107 (if two cores were free: CPU / 2) | tree RSS MiB, largest | limit |"
            " verdict | load before | when |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            f"| {' | '.join(cells)} |",
            "",
        ]
    )


@click.command()
@click.option("--lines", type=click.IntRange(1000), default=40_000, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Of each file.")
@click.option("--build", type=click.Path(path_type=Path), default=BUILD, help="For the files.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS)
def main(lines: int, runs: int, build: Path, results: Path) -> None:
    """Convert LINES generated narratives, and a tenth of them, RUNS times each."""
    sizes = {"small": lines // 10, "large": lines}
    row: Row = {"what": "narratives", "lines": sizes}
    num_points = 0
    for size, count in sizes.items():
        path = generated(build / f"narratives-{count}.jsonl", count)
        found = []
        for _ in range(runs):
            out = build / "narratives"
            command = [sys.executable, "-m", "luab_data", "convert", "localized-narratives"]
            shutil.rmtree(out, ignore_errors=True)
            found.append(measure.run([*command, str(path), "--out", str(out)]).as_row())
        row[size] = found
        if size == "large":
            with path.open("rb") as file:
                num_points = sum(line.count(b'"x":') for line in file)
            row["bytes"] = path.stat().st_size
    row |= {
        "points": num_points / lines,
        "date": measure.now(),
        "commit": measure.commit(),
        "machine": measure.machine(),
        "versions": measure.versions(),
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    click.echo(narratives_text([row]))
    if results.resolve() == RESULTS.resolve():
        import table  # here, since it takes narratives_text from this module

        table.write_readme()


if __name__ == "__main__":
    main()
