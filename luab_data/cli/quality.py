"""`luab-data accept` and `calibrate`: whose work to accept, whether clicks get better unbiased."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from luab_data.cli.options import FILE, as_json, dataset, table

if TYPE_CHECKING:
    from luab_data.acceptance.accept import Acceptance, CodesInLog, Cost
    from luab_data.calibration.held_out import HeldOut

_EXAMPLES = 10


@click.command()
@dataset()
@as_json("One JSON object, every assignment in it.")
@table("Write one row an assignment to this .csv, .json or .parquet.")
@click.option(
    "--codes",
    type=FILE,
    help="CSV of what the log does not tell: assignment_id and is_recorded, is_code_right (the"
    " survey code) or num_selections (of all 480 pictures); or the results file of MTurk.",
)
@click.option(
    "--assigned",
    type=click.IntRange(min=1),
    help="Originals of every ImageNet HIT. Default: those logged, and for each missing page as many"
    " as on the fullest one.",
)
@click.option("--reward", type=float, help="USD a HIT. Default: 1.5 for ImageNet-AB, 2 for COCO.")
@click.option("--fee", type=float, default=0.2, show_default=True, help="Share on top of rewards.")
def accept(dataset: str, as_json: bool, **options: Any) -> None:
    """Accept or reject each assignment of DATASET by the paper's rules.

    DATASET is a folder or a name under $LUAB_DATA_HOME; convert a raw log first. An assignment is
    one worker's answer to one HIT. It is undecided if no rule rejects it but the log cannot tell.
    """
    import luab_data

    found = luab_data.accept(dataset, **options)
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else "\n".join(_decisions(found)))


def _decisions(found: Acceptance) -> Iterator[str]:
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
            yield f"{title:<50}{'not applied':>21}" + ("" if found.codes else ": no --codes")
            continue
        rest = f"  not applied to {num_not_applied:,}" if num_not_applied else ""
        yield f"{title:<50}{num_failed:>10,}{num_unknown:>11,}{rest}"
    if found.has_originals:
        logged = "those logged, and for each missing page as many as on the fullest one"
        yield f"originals assigned: {found.assigned or logged}"
    for rule, _, num_unknown, _ in found.rules:
        if num_unknown:
            yield f"undecided {rule.name}: {rule.unknown}"
    if found.codes is not None:
        yield from _codes(found.codes)
    yield from _left_out(found)
    yield ""
    yield from _cost(cost)
    yield from _examples(found)


def _codes(codes: CodesInLog) -> Iterator[str]:
    if codes.num_in_log < codes.num_listed:
        share = codes.num_in_log / codes.num_listed
        yield (
            f"of the {codes.num_listed:,} assignments of --codes {codes.num_in_log:,} ({share:.1%})"
            " are in the log"
        )
    if codes.num_left_out:
        yield f"left out: {codes.num_left_out:,} assignments of --codes that the log lacks"
    if codes.num_but_for_case:
        yield f"  {codes.num_but_for_case:,} of --codes would be in it with other capitals"


def _left_out(found: Acceptance) -> Iterator[str]:
    names = found.table.column_names
    if found.num_without_assignment:
        yield f"left out: {found.num_without_assignment:,} images without a HIT"
    if "num_without_truth" in names:
        missing = sum(n or 0 for n in found.table["num_without_truth"].to_pylist())
        if missing:
            yield f"left out of recall and accuracy: {missing:,} pages without ground truth"
    if "mturk_status" in names:
        rows = found.table.select(["mturk_status", "decision"]).to_pylist()
        told = Counter((row["mturk_status"], row["decision"]) for row in rows)
        for (status, decision), num in sorted(told.items(), key=str):
            if status is not None:
                yield f"{status} on MTurk, {decision} here: {num:,}"


def _cost(cost: Cost) -> Iterator[str]:
    numbers = cost.as_dict()
    if not cost.reward_usd:
        yield f"to be paid: {cost.num_accepted:,}; --reward says what that costs"
    else:
        yield from _paid(cost)
    yield (
        f"rejected: {_percent(numbers['rejected_of_submitted'])} of the submitted,"
        f" {_percent(numbers['rejected_of_accepted'])} of the accepted"
    )
    if cost.reward_usd and cost.hourly_wage_usd is not None and cost.median_hit_ms is not None:
        yield (
            f"median HIT: {cost.median_hit_ms / 60_000:.1f} min ({cost.num_timed:,} timed):"
            f" {cost.hourly_wage_usd:.2f} USD an hour"
        )


def _paid(cost: Cost) -> Iterator[str]:
    numbers = cost.as_dict()
    yield (
        f"paid: {cost.num_accepted:,} x {cost.reward_usd:.2f} = {numbers['rewards_usd']:,.2f} USD"
        f" + {cost.fee:.0%} fee {numbers['fees_usd']:,.2f} = {cost.total_usd:,.2f} USD"
    )
    if cost.num_undecided:
        yield f"undecided: up to {numbers['undecided_usd']:,.2f} USD more, fee included"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _examples(found: Acceptance) -> Iterator[str]:
    rows = found.table.select(["assignment_id", "decision", "reason"])
    rows = rows.filter(rows["reason"].is_valid()).sort_by("decision")
    if len(rows):
        yield ""
    for row in rows.slice(0, _EXAMPLES).to_pylist():
        yield f"{row['assignment_id']}  {row['decision']}: {row['reason']}"
    if len(rows) > _EXAMPLES:
        yield f"and {len(rows) - _EXAMPLES:,} more: --json or --out has them all"


# --- calibrate -----------------------------------------------------------------------------------


@click.command()
@dataset()
@click.option(
    "--split",
    type=click.Choice(["worker", "image"]),
    default="worker",
    show_default=True,
    help="Hold out workers, who get the crowd's bias, or images, whose workers get their own.",
)
@as_json()
@table(
    "Write image_id, calibrated_click_x, calibrated_click_y and click_reliability of all"
    " images, learned from all clicks, to this .parquet."
)
def calibrate(dataset: str, as_json: bool, **options: Any) -> None:
    """Compare calibrated clicks of DATASET with the clicks and two baselines, held out.

    DATASET is a folder of ImageNet-AB, or of your own browsing data with boxes, or a name under
    $LUAB_DATA_HOME. Clicks on images with boxes are dealt into five folds, fewer if there are fewer
    workers; each is calibrated by the others. Intervals are 95 %, from a bootstrap over workers.
    """
    import luab_data

    found = luab_data.calibrate(dataset, **options)
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else "\n".join(_held_out(found)))


def _held_out(found: HeldOut) -> Iterator[str]:
    from luab_data.calibration import ARMS, CRITERIA

    yield (
        f"{found.num_clicks:,} clicks of {found.num_workers:,} workers on images with boxes,"
        f" {found.folds} folds by {found.split_by}"
    )
    heads = [arm.rpartition("_") for arm in ARMS]  # two lines: global_shift, pull_to_centre
    yield _arms("", [first.replace("_", " ") for first, _, _ in heads])
    yield _arms("held out", [last for _, _, last in heads])
    unit = ""
    for criterion in CRITERIA:
        if criterion.unit != unit:
            unit = criterion.unit
            yield {"fraction": "(fractions of the picture)"}.get(unit, f"({unit})")
        yield _arms(criterion.title, _numbers(found.values[criterion.name].value))
    yield ""
    yield _arms("quarter of reliability", ["least", "second", "third", "most"])
    yield _arms("clicks in any box (share)", _numbers(found.ranking["quarter_accuracy"].value))
    yield ""
    width = max(40, shutil.get_terminal_size().columns)
    for sentence in found.sentences:
        yield textwrap.fill(sentence, width, subsequent_indent="  ")


def _arms(title: str, cells: list[str]) -> str:
    widths = (8, 12, 10, 10)
    cells = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
    return (f"{title:<39}" + "".join(cells)).rstrip()


def _numbers(values: Any) -> list[str]:
    return [f"{value:.4f}" for value in values]
