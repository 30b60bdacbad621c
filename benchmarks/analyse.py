"""Measures `luab-data stats` on datasets of any size; writes result rows and README.md's table.

    python benchmarks/analyse.py imagenet-ab coco-ab --runs 3

All statistics, intervals and nulls are taken, as a user takes them: a whole process, start-up and
reading included.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import measure
import table


@click.command()
@click.argument("datasets", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Of each.")
@click.option(
    "--results",
    type=click.Path(dir_okay=False, path_type=Path),
    default=table.ANALYSIS_RESULTS,
    help="JSON Lines file to add rows to. Only the default one changes README.md.",
)
def main(datasets: tuple[Path, ...], runs: int, results: Path) -> None:
    """Take all statistics of DATASETS, converted folders, RUNS times each."""
    for folder in datasets:
        manifest = json.loads((folder / "manifest.json").read_text())
        command = [sys.executable, "-m", "luab_data", "stats", str(folder), "--json"]
        found = [measure.run(command).as_row() for _ in range(runs)]
        row = {
            "what": "analyse",
            "dataset": manifest["dataset"],
            "rows": manifest["num_rows"],
            "version": manifest["version"],
            "date": measure.now(),
            "commit": measure.commit(),
            "machine": measure.machine(),
            "versions": measure.versions(),
            "runs": found,
        }
        results.parent.mkdir(parents=True, exist_ok=True)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        walls = ", ".join(f"{run['wall_s']:.1f} s {run['tree_rss_mib']:.0f} MiB" for run in found)
        click.echo(f"{folder.name}, {row['rows']}: {walls}")
    if results.resolve() == table.ANALYSIS_RESULTS.resolve():
        table.write_readme()


if __name__ == "__main__":
    main()
