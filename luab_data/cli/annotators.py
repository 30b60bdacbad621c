"""`luab-data annotators`: one row a worker, pooled towards the crowd, and whom to look at."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from luab_data.workers.dataset import Annotators

_SHOWN = {
    "imagenet-ab": ("picture_time_ms", "centre_distance", "click_accuracy"),
    "coco-ab": ("page_time_ms", "icon_precision", "recall"),
}
"""Traits of the table: as many as 80 columns hold. --json and --out have all."""

_WIDTH = 80
_HASH = 8  # digits of a worker's hash that are shown
_COUNTS = 29  # columns before the traits
_TITLES = {"num_assignments": "hits"}  # one worker's assignments are to as many HITs


@click.command()
@click.argument("dataset", type=str)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, every trait in it.")
@click.option(
    "--sort",
    "sort",
    help="A count, a trait (by |z|) or a score instead of the most suspicious first.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Workers of the table and, if given, of --json.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every worker and trait to this .csv or .parquet; must not be there.",
)
@click.pass_context
def annotators(
    context: click.Context,
    dataset: str,
    as_json: bool,
    sort: str | None,
    limit: int,
    out: Path | None,
) -> None:
    """One row for each worker of DATASET, and whom to look at.

    DATASET is a folder or a name under $LUAB_DATA_HOME. A worker's line has traits pooled towards
    the crowd; the line below, their own numbers and the weight of these: 1 is all their own, 0 is
    all the crowd's. A flag is a reason to look at a worker, not proof: it says that they are far
    from the ordinary ones.
    """
    from luab_data.exports.table_file import check_table_file, write_table_file
    from luab_data.workers import dataset as library

    if out is not None:
        check_table_file(out)
    found = library.annotators(dataset)
    order = found.order(sort)
    if out is not None:
        write_table_file(found.table().take(order), out)
    if as_json:
        whole = found.as_dict()
        given = context.get_parameter_source("limit") != click.core.ParameterSource.DEFAULT
        chosen = order[:limit] if given else order
        whole["workers"] = [whole["workers"][k] for k in chosen]
        click.echo(json.dumps(whole, indent=2))
        return
    click.echo("\n".join(_lines(found, order[:limit].tolist())))


def _lines(found: Annotators, order: list[int]) -> Iterator[str]:
    from luab_data.workers.suspects import THRESHOLD, flagged

    shown = _SHOWN[found.dataset]
    num = len(found.worker_id)
    yield f"{found.dataset}, {num:,} workers; flagged from a score of {THRESHOLD} on:"
    for key, suspicion in found.suspicions.items():
        yield _wrapped(f"{flagged(found.scores[key]).sum():>6,} {key}: {suspicion.doc}", 7)
    yield ""
    main, rows = [*found.counts][:2]
    yield _row("worker", _title(main), _title(rows), "score", shown)
    yield _row("crowd", "", "", "", [_number(found.pooled[name].crowd) for name in shown])
    highest, reasons = found.suspicion(), found.reasons()
    for k in order:
        done, over = (f"{found.counts[name][k]:,}" for name in (main, rows))
        pooled = [_number(float(found.pooled[name].value[k])) for name in shown]
        yield _row(found.worker_id[k][:_HASH], done, over, f"{highest[k]:.1f}", pooled)
        own = "".join(f" {_own(found, name, k):>15}" for name in shown)
        yield f"{'own (weight)':>{_COUNTS}}{own}"
        for reason in reasons[k]:
            yield _wrapped(f"{'':<{_HASH}} {reason}", _HASH + 3)
    if num > len(order):
        yield f"and {num - len(order):,} more: --limit, --json or --out has them"


def _row(worker: str, main: str, rows: str, score: str, traits: Iterable[str]) -> str:
    start = f"{worker:<{_HASH}} {main:>5} {rows:>7} {score:>6}"
    return (start + "".join(f" {trait:>15}" for trait in traits)).rstrip()


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=" " * indent)


def _title(count: str) -> str:
    return _TITLES.get(count, count.removeprefix("num_"))


def _own(found: Annotators, name: str, k: int) -> str:
    """The worker's own number and its weight; nothing where they have none."""
    pooled = found.pooled[name]
    if pooled.raw[k] != pooled.raw[k]:
        return "-"
    return f"{_number(float(pooled.raw[k]))} ({pooled.weight[k]:.2f})"


def _number(value: float) -> str:
    if value != value:
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
