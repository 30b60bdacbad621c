"""`luab-data stats`: the numbers of a dataset."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from luab_data.statistics.dataset import Stats
    from luab_data.statistics.estimate import Estimate
    from luab_data.statistics.measure import Measure

_LONGEST = 21  # longer curves and maps are for --json, --out and `luab-data report`
_NAME_WIDTH, _LEAST_DOC = 28, 30
_COLUMNS = {  # heading, and cells of the same width
    "value": ("   value ", " {:>8}"),
    "interval": ("    95 % interval      ", "  {:<21}"),
    "n": ("     n    ", " {:>9}"),
    "null": ("  null   ", " {:>8}"),
}


@click.command()
@click.argument("dataset", type=str)
@click.option("--only", metavar="NAME[,NAME]", help="These counts and statistics alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all numbers, curves and maps a row a place, to this .csv, .json or .parquet.",
)
@click.option("--force", is_flag=True, help="Replace an earlier --out with other content.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the bootstrap. Default: 0.")
def stats(
    dataset: str, only: str | None, as_json: bool, out: Path | None, force: bool, seed: int
) -> None:
    """Counts of DATASET, and every statistic with interval, sample size and null.

    DATASET is a folder or a name under $LUAB_DATA_HOME. Intervals are 95 %, from a bootstrap over
    workers; a null is what the number would be without the effect. --json also has the maps.
    """
    import luab_data

    names = None if only is None else [name.strip() for name in only.split(",")]
    found = luab_data.stats(dataset, names, out=out, force=force, seed=seed)
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
            "unit": m.unit,
            "doc": m.doc,
            "source": m.source,
            "null_doc": m.null_doc or None,
            "axes": [[name, list(labels)] for name, labels in m.axes],
        }
        for m in found.measures
    }
    return {**found.counts, "statistics": statistics}


def _counts(found: Stats) -> Iterator[str]:
    width = max(map(len, found.counts), default=0)
    for name, value in found.counts.items():
        if isinstance(value, dict):
            yield from (f"{name:<{width}}  {key}: {number:,}" for key, number in value.items())
        else:
            yield f"{name:<{width}}  {_number(value)}"


def _table(found: Stats) -> Iterator[str]:
    """As wide as the terminal: a narrow one loses columns from the right, a wide one has words."""
    if not found.measures:
        return
    room = shutil.get_terminal_size().columns - _NAME_WIDTH
    columns = [*_COLUMNS]
    while len(columns) > 1 and sum(len(_COLUMNS[c][0]) for c in columns) > room:
        columns.pop()
    spare = room - sum(len(_COLUMNS[c][0]) for c in columns) - 2
    headings = "".join(_COLUMNS[c][0] for c in columns)
    yield ("\n" if found.counts else "") + click.style(
        f"{'statistic':<{_NAME_WIDTH}}{headings}".rstrip(), bold=True
    )
    for m in found.measures:
        doc = textwrap.shorten(m.doc, spare, placeholder=" ...") if spare >= _LEAST_DOC else ""
        doc = f"  {click.style(doc, dim=True)}" if doc else ""
        for line in _lines(m, found.estimates[m.name], columns, doc):
            yield line.rstrip()
    yield (
        "\nShares are of 1, times in ms, offsets in box sizes. n counts what a value is"
        "\ntaken over (docs/statistics.md); - is what these data cannot tell."
    )


def _lines(m: Measure, found: Estimate, columns: list[str], doc: str) -> Iterator[str]:
    if not m.shape:
        yield _line(m.name, found, (), columns) + doc
    elif len(m.shape) == 1 and len(found.value) <= _LONGEST:
        ((axis, labels),) = m.axes
        yield f"{m.name}, by {axis}"
        for place, label in enumerate(labels):
            yield _line(f"  {label}", found, place, columns)


def _line(name: str, found: Estimate, place: Any, columns: list[str]) -> str:
    value, low, high, n, null = (
        float(getattr(found, key)[place]) for key in ("value", "low", "high", "n", "null")
    )
    cells = {
        "value": _number(value),
        "interval": f"[{_number(low)}, {_number(high)}]",
        "n": f"{n:,.0f}",
        "null": "" if null != null else _number(null),
    }
    shown = {c: _COLUMNS[c][1].format(cells[c]) for c in columns}
    if null < low or high < null:  # there is an effect
        shown["value"] = click.style(shown["value"], fg="green")
    return f"{name:<{_NAME_WIDTH}}{''.join(shown.values())}"


def _number(value: float | int | None) -> str:
    if value is None or value != value:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"
