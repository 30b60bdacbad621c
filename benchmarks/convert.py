"""Measures conversion against what people do today; writes result rows and README.md's tables.

    python benchmarks/convert.py --records 60000 --coco-records 10000   # what `make bench` runs
    python benchmarks/convert.py --imagenet F.tar.gz --coco F.json      # logs that are there
    python benchmarks/convert.py --records 60000 --records 400000 --profile

A comparison runs baseline, ours, baseline, ours, ... as whole processes and takes the ratio pair by
pair, since a noisy machine is equally noisy for both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import inputs
import measure
import table
from bench import BASELINES, COMPARISONS, HERE, Bench, Disagreement, Log


def _logs(
    dataset: str, given: Sequence[Path], sizes: Sequence[int], work: Path, tools: Path | None
) -> list[Log]:
    """Given and made logs, smallest first."""
    paths = [*given, *(inputs.log_of(dataset, size, work, tools) for size in sizes)]
    logs = [Log(dataset=dataset, path=p.resolve(), described=inputs.describe(p)) for p in paths]
    return sorted(logs, key=lambda log: log.described["bytes"])


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--records", type=int, multiple=True, help="Make an ImageNet-AB log of this size.")
@click.option("--coco-records", type=int, multiple=True, help="Make a COCO-AB log of this size.")
@click.option("--imagenet", type=_FILE, multiple=True, help="An ImageNet-AB log that is there.")
@click.option("--coco", type=_FILE, multiple=True, help="A COCO-AB log that is there.")
@click.option(
    "--tools",
    type=_FOLDER,
    default=HERE.parents[1] / "shared" / "tools",
    help="Folder of the log generators. Default: ../shared/tools, else luab's simulator.",
)
@click.option("--pairs", type=click.IntRange(1), default=3, show_default=True, help="Runs an arm.")
@click.option(
    "--only", type=click.Choice(COMPARISONS), multiple=True, help="Comparisons. Default: all."
)
@click.option(
    "--work",
    type=_FOLDER,
    default=HERE.parent / "build" / "bench",
    help="Scratch folder; made logs stay there. Default: build/bench.",
)
@click.option(
    "--results",
    type=click.Path(dir_okay=False, path_type=Path),
    default=table.RESULTS,
    help="JSON Lines file to add rows to. Only the default one changes README.md.",
)
@click.option("--profile", is_flag=True, help="Also write where the time of ours goes, as text.")
def main(
    records: tuple[int, ...],
    coco_records: tuple[int, ...],
    imagenet: tuple[Path, ...],
    coco: tuple[Path, ...],
    tools: Path,
    pairs: int,
    only: tuple[str, ...],
    work: Path,
    results: Path,
    profile: bool,
) -> None:
    """Measure conversion against the baselines; without sizes and logs, 60k and 400k records."""
    if not (records or coco_records or imagenet or coco):
        records, coco_records = (60_000, 400_000), (82_765,)
    bench = Bench(work, pairs)
    wanted = only or COMPARISONS
    try:
        logs = _logs("imagenet-ab", imagenet, records, work, tools)
        coco_logs = _logs("coco-ab", coco, coco_records, work, tools)
        jobs: list[Callable[[], dict[str, Any]]] = [
            partial(bench.compare, name, log)
            for log in (*logs, *coco_logs)
            for name in BASELINES
            if name in wanted and name.startswith(log.dataset)
        ]
        if "imagenet-ab/scaling" in wanted:
            jobs += [partial(bench.scaling, logs[0], larger) for larger in logs[1:]]
        results.parent.mkdir(parents=True, exist_ok=True)
        for job in jobs:
            row = json.dumps(job())
            with results.open("a", encoding="utf-8") as file:
                file.write(row + "\n")
        for log in (*logs, *coco_logs) if profile else ():
            click.echo(f"profile: {bench.profile(log, results.parent)}")
    except (inputs.NoInput, Disagreement, measure.CommandFailed) as error:
        raise click.ClickException(str(error)) from error
    if results.resolve() == table.RESULTS.resolve():
        table.write_readme()
    click.echo(table.results_text(table.read_rows(results)))


if __name__ == "__main__":
    main()
