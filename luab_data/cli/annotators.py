"""`luab-data annotators`: one row a worker, pooled towards the crowd, and whom to look at."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from luab_data.workers.annotators import Annotators

_HASH = 8  # digits of a worker's hash that are shown
_COUNTS, _TRAIT = 29, 16  # columns of the terminal: before the traits, and of each
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
    help="Write every worker and trait to this .csv, .json or .parquet.",
)
@click.option("--force", is_flag=True, help="Replace an earlier --out with other content.")
@click.pass_context
def annotators(
    context: click.Context,
    dataset: str,
    as_json: bool,
    sort: str | None,
    limit: int,
    out: Path | None,
    force: bool,
) -> None:
    """One row for each worker of DATASET, and whom to look at.

    DATASET is a folder or a name under $LUAB_DATA_HOME. A worker's line has traits pooled towards
    the crowd, as many as the terminal is wide; the line below, their own numbers and the weight of
    these: 1 is all their own, 0 is all the crowd's. A flag is a reason to look at a worker, not
    proof: it says that they are far from the ordinary ones.
    """
    import luab_data

    found = luab_data.annotators(dataset, sort=sort, out=out, force=force)
    if as_json:
        everything = found.as_dict()
        if context.get_parameter_source("limit") != click.core.ParameterSource.DEFAULT:
            del everything["workers"][limit:]
        click.echo(json.dumps(everything, indent=2))
        return
    for line in _lines(found, limit, max(_COUNTS + _TRAIT, shutil.get_terminal_size().columns)):
        click.echo(line)


def _lines(found: Annotators, limit: int, width: int) -> Iterator[str]:
    from luab_data.workers.suspects import CLEAR, THRESHOLD, flagged

    shown = found.measures.shown[: (width - _COUNTS) // _TRAIT]
    num = len(found.worker_id)
    yield f"{found.dataset}, {num:,} workers; flagged from a score of {THRESHOLD} on:"
    for s in found.measures.suspicions:
        yield _wrapped(f"{flagged(found.scores[s.key]).sum():>6,} {s.key}: {s.doc}", 7, width)
    yield ""
    main, rows = [*found.counts][:2]
    yield _row("worker", _title(main), _title(rows), "score", [f"{name:>15}" for name in shown])
    crowd = [f"{_number(found.pooled[name].crowd):>15}" for name in shown]
    yield _row("crowd", "", "", "", crowd)
    highest, reasons = found.suspicion(), found.reasons()
    order = found.order()[:limit].tolist()
    for k in order:
        done, over = (f"{found.counts[name][k]:,}" for name in (main, rows))
        pooled = [_pooled(found, name, k, CLEAR) for name in shown]
        yield _row(found.worker_id[k][:_HASH], done, over, f"{highest[k]:.1f}", pooled)
        own = "".join(f" {_own(found, name, k):>15}" for name in shown)
        yield f"{'own (weight)':>{_COUNTS}}{own}"
        for reason in reasons[k]:
            yield _wrapped(f"{'':<{_HASH}} {reason}", _HASH + 3, width)
    if num > len(order):
        yield f"and {num - len(order):,} more: --limit, --json or --out has them"


def _row(worker: str, main: str, rows: str, score: str, traits: Iterable[str]) -> str:
    start = f"{worker:<{_HASH}} {main:>5} {rows:>7} {score:>6}"
    return (start + "".join(f" {trait}" for trait in traits)).rstrip()


def _wrapped(text: str, indent: int, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent=" " * indent)


def _title(count: str) -> str:
    return _TITLES.get(count, count.removeprefix("num_"))


def _pooled(found: Annotators, name: str, k: int, clear: float) -> str:
    """The pooled number, bold on a terminal if it is far from ordinary workers'."""
    text = f"{_number(float(found.pooled[name].value[k])):>15}"
    return click.style(text, bold=True) if abs(found.pooled[name].z[k]) >= clear else text


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
