"""`luab-data stats`: the numbers of a dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from luab_data.statistics.estimate import Estimate
    from luab_data.statistics.measure import Measure

_LONGEST = 21  # longer curves and maps are for --json and `luab-data report`


@click.command()
@click.argument("dataset", type=str)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the bootstrap. Default: 0.")
def stats(dataset: str, as_json: bool, seed: int) -> None:
    """Counts of DATASET, and every statistic with interval, sample size and null.

    DATASET is a folder or a name under $LUAB_DATA_HOME. Intervals are 95 %, from a bootstrap over
    workers; a null is what the number would be without the effect. --json also has the maps.
    """
    from luab_data.statistics.dataset import measured, measures_of
    from luab_data.statistics.dataset import stats as count

    counts = count(dataset)
    measures, found = measures_of(dataset), measured(dataset, seed=seed)
    if as_json:
        statistics = {m.name: {**found[m.name].as_dict(), **_about(m)} for m in measures}
        click.echo(json.dumps({**counts, "statistics": statistics}, indent=2))
        return
    width = max(len(name) for name in counts)
    for name, value in counts.items():
        if isinstance(value, dict):
            for key, count_ in value.items():
                click.echo(f"{name:<{width}}  {key}: {count_:,}")
        else:
            click.echo(f"{name:<{width}}  {_shown(value)}")
    click.echo("\nstatistic                      value     95 % interval           n      null")
    for m in measures:
        for line in _lines(m, found[m.name]):
            click.echo(line)
    click.echo(
        "\nShares are of 1, times in ms, offsets in box sizes. n counts what a value is"
        "\ntaken over (docs/statistics.md); - is what these data cannot tell."
    )


def _about(measure: Measure) -> dict[str, Any]:
    return {
        "unit": measure.unit,
        "doc": measure.doc,
        "source": measure.source,
        "null_doc": measure.null_doc or None,
        "axes": [[name, list(labels)] for name, labels in measure.axes],
    }


def _lines(measure: Measure, found: Estimate) -> Iterator[str]:
    if found.value.ndim == 0:
        yield _line(measure.name, found, ())
    elif found.value.ndim == 1 and len(found.value) <= _LONGEST:
        ((axis, labels),) = measure.axes
        yield f"{measure.name}, by {axis}"
        for place, label in enumerate(labels):
            yield _line(f"  {label}", found, place)


def _line(name: str, found: Estimate, place: Any) -> str:
    value, low, high, n, null = (
        float(getattr(found, key)[place]) for key in ("value", "low", "high", "n", "null")
    )
    between = f"[{_number(low)}, {_number(high)}]"
    end = "" if null != null else _number(null)
    return f"{name:<28} {_number(value):>8}  {between:<21} {n:>9,.0f} {end:>8}".rstrip()


def _number(value: float) -> str:
    if value != value:
        return "-"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"


def _shown(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
