"""`luab-data stats` and `annotators`: numbers of a dataset, and of its workers."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from luab_data.cli.options import as_json, dataset, listed, table

if TYPE_CHECKING:
    from luab_data.statistics.by_group import GroupedStats
    from luab_data.statistics.dataset import Stats
    from luab_data.statistics.estimate import Estimate
    from luab_data.statistics.measure import Measure
    from luab_data.workers.annotators import Annotators

_LONGEST = 21  # longer curves and maps are for --json, --out and `luab-data report`
_NAME_WIDTH, _LEAST_DOC = 28, 30
_COLUMNS = {  # heading, and cells of the same width
    "value": ("   value ", " {:>8}"),
    "interval": ("    95 % interval      ", "  {:<21}"),
    "n": ("     n    ", " {:>9}"),
    "null": ("  null   ", " {:>8}"),
}


@click.command()
@dataset()
@click.option("--only", metavar="NAME[,NAME]", help="These counts and statistics alone.")
@click.option("--by", metavar="COLUMN", help="Of each `arm` of a study, or each class, and how they"
              " differ.")  # fmt: skip
@as_json()
@table("Write all numbers, curves and maps a row a place, to this .csv, .json or .parquet.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the bootstrap. Default: 0.")
def stats(dataset: str, only: str | None, by: str | None, as_json: bool, **options: Any) -> None:
    """Counts of DATASET, and every statistic with interval, sample size and null.

    DATASET is a folder or a name under $LUAB_DATA_HOME. Intervals are 95 %, from a bootstrap over
    workers; a null is what the number would be without the effect. --json also has the maps.
    """
    import luab_data
    from luab_data.statistics.by_group import GroupedStats

    found = luab_data.stats(dataset, listed(only), by=by, **options)
    if isinstance(found, GroupedStats):
        click.echo(json.dumps(_grouped(found), indent=2) if as_json else _by_group(found))
        return
    if as_json:
        click.echo(json.dumps(as_dict(found), indent=2))
        return
    for line in (*_counts(found), *_table(found)):
        click.echo(line)


def as_dict(found: Stats) -> dict[str, Any]:
    """What --json prints: the counts, then `statistics`."""
    statistics = {
        m.name: {
            **found.estimates[m.name].as_dict(),
            **_about(m),
            "null_doc": m.null_doc or None,
            "axes": [[name, list(labels)] for name, labels in m.axes],
        }
        for m in found.measures
    }
    return {**found.counts, "statistics": statistics}


def _about(m: Measure) -> dict[str, str]:
    return {"unit": m.unit, "doc": m.doc, "source": m.source}


def _grouped(found: GroupedStats) -> dict[str, Any]:
    """What --by --json prints."""
    statistics = {
        m.name: {
            **_about(m),
            "axes": [[name, list(labels)] for name, labels in m.axes],
            "groups": {group: estimate.as_dict() for group, (_, estimate) in found.of(m).items()},
        }
        for m in found.measures
    }
    return {"by": found.by, "groups": found.groups, "statistics": statistics}


def _by_group(found: GroupedStats) -> str:
    """Numbers of each group, below them how the groups differ; curves are for --json and --out."""
    columns = _columns(shutil.get_terminal_size().columns - _NAME_WIDTH)
    lines = [_headings(columns)]
    for m in found.measures:
        told = found.of(m)
        if not m.shape and any(estimate.n.any() for _, estimate in told.values()):
            lines.append(m.name)
            lines += [_row(f"  {group}", e, (), columns).rstrip() for group, (_, e) in told.items()]
    return "\n".join([*lines, _LEGEND])


def _counts(found: Stats) -> Iterator[str]:
    width = max(map(len, found.counts), default=0)
    for name, value in found.counts.items():
        if isinstance(value, dict):
            yield from (f"{name:<{width}}  {key}: {number:,}" for key, number in value.items())
        elif value is not None or not found.kind.statistics.may_lack:
            yield f"{name:<{width}}  {brief(value)}"


def _table(found: Stats) -> Iterator[str]:
    """As wide as the terminal: a narrow one loses columns from the right, a wide one has words."""
    if not found.measures:
        return
    room = shutil.get_terminal_size().columns - _NAME_WIDTH
    columns = _columns(room)
    spare = room - sum(len(_COLUMNS[c][0]) for c in columns) - 2
    yield ("\n" if found.counts else "") + _headings(columns)
    lacking = [m.name for m in found.lacking]
    for m in found.measures:
        if m.name in lacking:
            continue
        doc = textwrap.shorten(m.doc, spare, placeholder=" ...") if spare >= _LEAST_DOC else ""
        doc = f"  {click.style(doc, dim=True)}" if doc else ""
        for line in _rows(m, found.estimates[m.name], columns, doc):
            yield line.rstrip()
    if lacking:
        yield "\n" + textwrap.fill(f"not in this log: {', '.join(lacking)}", max(room, 60) + 20)
    yield _LEGEND


_LEGEND = (
    "\nShares are of 1, times in ms, offsets in box sizes. n counts what a value is"
    "\ntaken over (docs/statistics.md); - is what these data cannot tell."
)


def _columns(room: int) -> list[str]:
    """Those of _COLUMNS that fit."""
    columns = [*_COLUMNS]
    while len(columns) > 1 and sum(len(_COLUMNS[c][0]) for c in columns) > room:
        columns.pop()
    return columns


def _headings(columns: list[str]) -> str:
    headings = "".join(_COLUMNS[c][0] for c in columns)
    return click.style(f"{'statistic':<{_NAME_WIDTH}}{headings}".rstrip(), bold=True)


def _rows(m: Measure, found: Estimate, columns: list[str], doc: str) -> Iterator[str]:
    if not m.shape:
        yield _row(m.name, found, (), columns) + doc
    elif len(m.shape) == 1 and len(found.value) <= _LONGEST:
        ((axis, labels),) = m.axes
        yield f"{m.name}, by {axis}"
        for place, label in enumerate(labels):
            yield _row(f"  {label}", found, place, columns)


def _row(name: str, found: Estimate, place: Any, columns: list[str]) -> str:
    value, low, high, n, null = (
        float(getattr(found, key)[place]) for key in ("value", "low", "high", "n", "null")
    )
    cells = {
        "value": brief(value),
        "interval": f"[{brief(low)}, {brief(high)}]",
        "n": f"{n:,.0f}",
        "null": "" if null != null else brief(null),
    }
    shown = {c: _COLUMNS[c][1].format(cells[c]) for c in columns}
    if null < low or high < null:  # there is an effect
        shown["value"] = click.style(shown["value"], fg="green")
    return f"{name:<{_NAME_WIDTH}}{''.join(shown.values())}"


def brief(value: float | int | None) -> str:
    """A number in few digits; - for none."""
    if value is None or value != value:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"


# --- annotators ----------------------------------------------------------------------------------

_HASH = 8  # digits of a worker's hash that are shown
_BEFORE, _TRAIT = 29, 16  # columns of the terminal: before the traits, and of each
_TITLES = {"num_assignments": "hits"}  # one worker's assignments are to as many HITs


@click.command()
@dataset()
@as_json("One JSON object, every trait in it.")
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
@table("Write every worker and trait to this .csv, .json or .parquet.")
@click.pass_context
def annotators(
    context: click.Context, /, dataset: str, as_json: bool, limit: int, **options: Any
) -> None:
    """One row for each worker of DATASET, and whom to look at.

    DATASET is a folder or a name under $LUAB_DATA_HOME. A worker's line has traits pooled towards
    the crowd, as many as the terminal is wide; the line below, their own numbers and the weight of
    these: 1 is all their own, 0 is all the crowd's. A flag is a reason to look at a worker, not
    proof: it says that they are far from the ordinary ones.
    """
    import luab_data

    found = luab_data.annotators(dataset, **options)
    if as_json:
        everything = found.as_dict()
        if context.get_parameter_source("limit") != click.core.ParameterSource.DEFAULT:
            del everything["workers"][limit:]
        click.echo(json.dumps(everything, indent=2))
        return
    width = max(_BEFORE + _TRAIT, shutil.get_terminal_size().columns)
    for line in _workers(found, limit, width):
        click.echo(line)


def _workers(found: Annotators, limit: int, width: int) -> Iterator[str]:
    from luab_data.workers.pooling import CLEAR, THRESHOLD, flagged

    shown = found.shown[: (width - _BEFORE) // _TRAIT]
    num = len(found.worker_id)
    yield f"{found.dataset}, {num:,} workers; flagged from a score of {THRESHOLD} on:"
    for s in found.measures.suspicions:
        yield _wrapped(f"{flagged(found.scores[s.key]).sum():>6,} {s.key}: {s.doc}", 7, width)
    yield ""
    main, rows = [*found.counts][:2]
    yield _worker_row(
        "worker", _count_title(main), _count_title(rows), "score", [f"{name:>15}" for name in shown]
    )
    crowd = [f"{_traitnumber(found.pooled[name].crowd):>15}" for name in shown]
    yield _worker_row("crowd", "", "", "", crowd)
    highest, reasons = found.suspicion(), found.reasons()
    order = found.order()[:limit].tolist()
    for k in order:
        done, over = (f"{found.counts[name][k]:,}" for name in (main, rows))
        pooled = [_pooled(found, name, k, CLEAR) for name in shown]
        yield _worker_row(found.worker_id[k][:_HASH], done, over, f"{highest[k]:.1f}", pooled)
        own = "".join(f" {_own(found, name, k):>15}" for name in shown)
        yield f"{'own (weight)':>{_BEFORE}}{own}"
        for reason in reasons[k]:
            yield _wrapped(f"{'':<{_HASH}} {reason}", _HASH + 3, width)
    if num > len(order):
        yield f"and {num - len(order):,} more: --limit, --json or --out has them"


def _worker_row(worker: str, main: str, rows: str, score: str, traits: Iterable[str]) -> str:
    start = f"{worker:<{_HASH}} {main:>5} {rows:>7} {score:>6}"
    return (start + "".join(f" {trait}" for trait in traits)).rstrip()


def _wrapped(text: str, indent: int, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent=" " * indent)


def _count_title(count: str) -> str:
    return _TITLES.get(count, count.removeprefix("num_"))


def _pooled(found: Annotators, name: str, k: int, clear: float) -> str:
    """The pooled number, bold on a terminal if it is far from ordinary workers'."""
    text = f"{_traitnumber(float(found.pooled[name].value[k])):>15}"
    return click.style(text, bold=True) if abs(found.pooled[name].z[k]) >= clear else text


def _own(found: Annotators, name: str, k: int) -> str:
    """The worker's own number and its weight; nothing where they have none."""
    pooled = found.pooled[name]
    if pooled.raw[k] != pooled.raw[k]:
        return "-"
    return f"{_traitnumber(float(pooled.raw[k]))} ({pooled.weight[k]:.2f})"


def _traitnumber(value: float) -> str:
    if value != value:
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
