"""`luab-data stats`: the numbers of a dataset."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("dataset", type=str)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def stats(dataset: str, as_json: bool) -> None:
    """Counts and accuracies of DATASET, a folder or a name under $LUAB_DATA_HOME."""
    from luab_data.stats import stats as compute

    numbers = compute(dataset)
    if as_json:
        click.echo(json.dumps(numbers, indent=2))
        return
    width = max(len(name) for name in numbers)
    for name, value in numbers.items():
        if isinstance(value, dict):
            for key, count in value.items():
                click.echo(f"{name:<{width}}  {key}: {count:,}")
        else:
            click.echo(f"{name:<{width}}  {_shown(value)}")


def _shown(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
