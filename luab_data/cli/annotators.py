"""`luab-data annotators`: one row a worker, pooled towards the crowd, and whom to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from luab_data.annotators import Annotators

_SHOWN = {
    "imagenet-ab": ("picture_time_ms", "centre_distance", "click_accuracy", "box_following"),
    "coco-ab": ("page_time_ms", "icons_per_page", "icon_precision", "recall"),
}
"""Traits of the table; --json and --out have all."""

_HASH = 8  # digits of a worker's hash that are shown


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

    DATASET is a folder or a name under $LUAB_DATA_HOME. Each trait is shown as the worker's own
    number > the pooled one (shrinkage: 1 is all their own, 0 is all the crowd's). A flag is a
    reason to look at a worker, not proof: it says that they are far from the ordinary ones.
    """
    from luab_data import annotators as library

    if out is not None:
        library.check_out(out)
    found = library.annotators(dataset)
    order = found.order(sort)
    if out is not None:
        library.write_annotators(found.table().take(order), out)
    if as_json:
        whole = found.as_dict()
        given = context.get_parameter_source("limit") != click.core.ParameterSource.DEFAULT
        chosen = order[:limit] if given else order
        whole["workers"] = [whole["workers"][k] for k in chosen]
        click.echo(json.dumps(whole, indent=2))
        return
    click.echo("\n".join(_lines(found, order[:limit].tolist())))


def _lines(found: Annotators, order: list[int]) -> Iterator[str]:
    from luab_data.analysis.workers.suspects import THRESHOLD, flagged

    shown = _SHOWN[found.dataset]
    num = len(found.worker_id)
    yield f"{found.dataset}, {num:,} workers"
    for key, suspicion in found.suspicions.items():
        yield f"{flagged(found.scores[key]).sum():>6,} {key}: {suspicion.doc}"
    yield f"       (flagged from a score of {THRESHOLD} on)"
    yield ""
    main, rows = [*found.counts][:2]
    cells = "".join(f"  {name:<26}" for name in shown)
    yield f"{'worker':<{_HASH}} {_title(main):>11} {_title(rows):>9} {'score':>7}{cells}".rstrip()
    crowd = "".join(f"  {_number(found.pooled[name].crowd):>17}{'':<9}" for name in shown)
    yield f"{'crowd':<{_HASH}} {'':>11} {'':>9} {'':>7}{crowd}".rstrip()
    highest, reasons = found.suspicion(), found.reasons()
    for k in order:
        cells = "".join(f"  {_cell(found, name, k):<26}" for name in shown)
        counts = f"{found.counts[main][k]:>11,} {found.counts[rows][k]:>9,}"
        line = f"{found.worker_id[k][:_HASH]:<{_HASH}} {counts} {highest[k]:>7.1f}{cells}"
        yield line.rstrip()
        for reason in reasons[k]:
            yield f"{'':<{_HASH}} {reason}"
    if num > len(order):
        yield f"and {num - len(order):,} more: --limit, --json or --out has them"


def _title(count: str) -> str:
    return count.removeprefix("num_")


def _cell(found: Annotators, name: str, k: int) -> str:
    """Own number > pooled one (weight)."""
    pooled = found.pooled[name]
    if pooled.raw[k] != pooled.raw[k]:
        return f"{'-':>8}"
    own, value = _number(float(pooled.raw[k])), _number(float(pooled.value[k]))
    return f"{own:>8} >{value:>8} ({pooled.weight[k]:.2f})"


def _number(value: float) -> str:
    if value != value:
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
