"""`luab-data accept`: the paper's rules for accepting HITs, and what the HITs cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_EXAMPLES = 10


@click.command()
@click.argument("source", type=str)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, every assignment in it.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one row an assignment to this .csv or .parquet; must not be there.",
)
@click.option(
    "--codes",
    type=_FILE,
    help="CSV of what the log does not tell: assignment_id and is_recorded, is_code_right (the"
    " survey code) or num_selections (of all 480 pictures).",
)
@click.option(
    "--assigned",
    type=click.IntRange(min=1),
    help="Originals of every ImageNet HIT. Default: those logged, and for each missing page as many"
    " as on the fullest one.",
)
@click.option("--reward", type=float, help="USD a HIT. Default: 1.5 for ImageNet-AB, 2 for COCO.")
@click.option("--fee", type=float, default=0.2, show_default=True, help="Share on top of rewards.")
@click.option(
    "--instances", type=_FILE, help="COCO instances_*.json for a raw log: classes and masks."
)
@click.option(
    "--on-bad",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    show_default=True,
    help="Stop at a bad record of a raw log, or leave it out.",
)
def accept(
    source: str,
    as_json: bool,
    out: Path | None,
    codes: Path | None,
    assigned: int | None,
    reward: float | None,
    fee: float,
    instances: Path | None,
    on_bad: Any,
) -> None:
    """Accept or reject each assignment of SOURCE by the paper's rules.

    SOURCE is a dataset folder, a name under $LUAB_DATA_HOME, or a raw log, which is converted to a
    temporary folder ($TMPDIR) first. An assignment is one worker's answer to one HIT. It is
    undecided if no rule rejects it but the log cannot tell.
    """
    from luab_data.acceptance import dataset as library
    from luab_data.exports.table_file import check_table_file, write_table_file

    if out is not None:
        check_table_file(out)
    found = library.accept(
        source,
        instances=instances,
        on_bad=on_bad,
        codes=codes,
        assigned=assigned,
        reward_usd=reward,
        fee=fee,
    )
    if out is not None:
        write_table_file(found.table, out)
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else "\n".join(_lines(found)))


def _lines(found: Any) -> Iterator[str]:
    """The summary; `found` is an Acceptance."""
    cost = found.cost
    yield (
        f"{found.dataset}, {len(found.table):,} assignments: {cost.num_accepted:,} accepted,"
        f" {cost.num_rejected:,} rejected, {cost.num_undecided:,} undecided"
    )
    yield ""
    yield f"{'rejects if':<50}{'rejected':>10}{'undecided':>11}"
    for rule, num_failed, num_unknown, num_not_applied in found.rules:
        title = rule.title if rule.minimum is None else f"{rule.title} < {rule.minimum:g}"
        if num_not_applied == len(found.table):
            yield f"{title:<50}{'not applied':>21}" + ("" if found.codes_given else ": no --codes")
            continue
        rest = f"  not applied to {num_not_applied:,}" if num_not_applied else ""
        yield f"{title:<50}{num_failed:>10,}{num_unknown:>11,}{rest}"
    if found.dataset == "imagenet-ab":
        logged = "those logged, and for each missing page as many as on the fullest one"
        yield f"originals assigned: {found.assigned or logged}"
    for rule, _, num_unknown, _ in found.rules:
        if num_unknown:
            yield f"undecided {rule.name}: {rule.unknown}"
    yield from _left_out(found)
    yield ""
    yield from _cost(cost)
    yield from _examples(found)


def _left_out(found: Any) -> Iterator[str]:
    if found.num_not_in_log:
        yield f"left out: {found.num_not_in_log:,} assignments of --codes that the log lacks"
    if found.num_without_assignment:
        yield f"left out: {found.num_without_assignment:,} images without a HIT"
    if found.num_skipped:
        yield f"left out: {found.num_skipped:,} bad records"
    if "num_without_truth" in found.table.column_names:
        import pyarrow.compute as pc

        missing = pc.sum(found.table["num_without_truth"]).as_py() or 0
        if missing:
            yield f"left out of recall and accuracy: {missing:,} pages without ground truth"


def _cost(cost: Any) -> Iterator[str]:
    yield (
        f"paid: {cost.num_accepted:,} x {cost.reward_usd:.2f} = {cost.rewards_usd:,.2f} USD"
        f" + {cost.fee:.0%} fee {cost.fees_usd:,.2f} = {cost.total_usd:,.2f} USD"
    )
    if cost.num_undecided:
        yield f"undecided: up to {cost.undecided_usd:,.2f} USD more, fee included"
    yield (
        f"rejected: {_percent(cost.rejected_of_submitted)} of the submitted,"
        f" {_percent(cost.rejected_of_accepted)} of the accepted"
    )
    if cost.hourly_wage_usd is not None:
        yield (
            f"median HIT: {cost.median_hit_ms / 60_000:.1f} min ({cost.num_timed:,} timed):"
            f" {cost.hourly_wage_usd:.2f} USD an hour"
        )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _examples(found: Any) -> Iterator[str]:
    rows = found.table.select(["assignment_id", "decision", "reason"])
    rows = rows.filter(rows["reason"].is_valid()).sort_by("decision")
    if len(rows):
        yield ""
    for row in rows.slice(0, _EXAMPLES).to_pylist():
        yield f"{row['assignment_id']}  {row['decision']}: {row['reason']}"
    if len(rows) > _EXAMPLES:
        yield f"and {len(rows) - _EXAMPLES:,} more: --json or --out has them all"
