"""`luab-data agreement`, `consensus`, `difficulty`: people and models beside one another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from luab_data.cli.numbers import brief
from luab_data.cli.options import FILE, NEW_FILE, as_json, dataset, table


@click.command()
@click.argument("datasets", metavar="DATASET DATASET...", nargs=-1, required=True, type=str)
@click.option("--instances", type=FILE, help="COCO-style annotations: points on objects, too.")
@click.option(
    "--images",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Images to compare at most, drawn by seed.",
)
@as_json("The table as JSON records.")
@table("Write the table to this .csv, .json or .parquet.")
@click.option("--figure", type=NEW_FILE, help="Draw it as a PNG.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of all draws. Default: 0.")
def agreement(
    datasets: tuple[str, ...], as_json: bool, figure: Path | None, **options: Any
) -> None:
    """How well ways of looking at the same images agree: icons, clicks, traces, eyes.

    DATASETs of any kind are joined by the ids of their images. Each line says how well the map of
    one predicts the points of another; the null is what the map of another image does. A source
    with itself is one half of its people against the other.
    """
    import luab_data

    found = luab_data.agreement(datasets, **options)
    if figure is not None:
        found.save_figure(figure, force=options["force"])
    rows = found.to_table().to_pylist()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(f"{found!r}"[1:-1])
    names = [f"{row['predicts']} -> {row['predicted']}" for row in rows]
    width = max(map(len, names), default=0)
    for row, name in zip(rows, names, strict=True):
        value, low, high, null = (brief(_nan(row[k])) for k in ("value", "low", "high", "null"))
        line = f"{row['metric']:<9} {name:<{width}}  {value:>7} [{low}, {high}]"
        click.echo(f"{line:<{width + 40}}  n {row['n']:,.0f}  null {null}")


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


@click.command()
@dataset()
@click.option("--losses", type=FILE, required=True, help="image_id and loss, .csv or .parquet, or"
              " predictions that luab-train eval stored.")  # fmt: skip
@as_json("The table as JSON records.")
@table("Write the table to this .csv, .json or .parquet.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the bootstrap. Default: 0.")
def difficulty(dataset: str, losses: Path, as_json: bool, **options: Any) -> None:
    """Do people take longer over what a model finds hard? Within a worker and a class.

    Rank correlations of a model's loss with what annotators of DATASET did.
    """
    import luab_data

    found = luab_data.difficulty(dataset, losses, **options)
    rows = found.to_table().to_pylist()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(f"views with a loss: {found.num_views:,}; without: {found.num_without_loss:,}")
    for row in rows:
        value, low, high = (brief(_nan(row[key])) for key in ("value", "low", "high"))
        click.echo(f"{row['measure']:<13} {value:>8} [{low}, {high}]  n {row['n']:,.0f}")


@click.command()
@dataset()
@click.option(
    "--behaviour/--no-behaviour", default=True, help="Ask the times that people took. Default: yes."
)
@click.option("--answers", type=NEW_FILE, help="Write task, worker, label, for crowd-kit.")
@table("Write a row a task to this .csv, .json or .parquet.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of all draws. Default: 0.")
def consensus(dataset: str, **options: Any) -> None:
    """What several annotators of an image of DATASET say together, by Dawid and Skene's model.

    With times it asks whether a hurried answer is a worse one.
    """
    import luab_data

    found = luab_data.consensus(dataset, **options)
    click.echo(f"{found!r}"[1:-1])
    click.echo(f"tasks of one answer, left out: {found.num_single:,}")
    click.echo(f"decided against the most frequent answer: {found.num_overruled:,}")
    if found.time_slope is not None and found.gain is not None:
        low, value, high = (float(getattr(found.gain, k)) for k in ("low", "value", "high"))
        click.echo(f"odds that somebody attended, by time: e^{found.time_slope:.2f} a deviation")
        click.echo(f"log probability gained by times: {value:.4f} [{low:.4f}, {high:.4f}]")
