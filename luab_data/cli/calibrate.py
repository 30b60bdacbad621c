"""`luab-data calibrate`: whether taking off the bias of clicks helps, and the points if wanted."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from luab_data.calibration.held_out_report import HeldOut
    from luab_data.statistics.estimate import Estimate

_WIDTH = 80


@click.command()
@click.argument("dataset", type=str)
@click.option(
    "--split",
    type=click.Choice(["worker", "image"]),
    default="worker",
    show_default=True,
    help="Hold out workers, who get the crowd's bias, or images, whose workers get their own.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write image_id, calibrated_click_x, calibrated_click_y and click_reliability of all"
    " images, learned from all clicks, to this .parquet; must not be there.",
)
def calibrate(dataset: str, split: Any, as_json: bool, out: Path | None) -> None:
    """Compare calibrated clicks of DATASET with the clicks and two baselines, held out.

    DATASET is a folder of ImageNet-AB or a name under $LUAB_DATA_HOME. Clicks on images with boxes
    are dealt into five folds, fewer if there are fewer workers; each is calibrated by the others.
    Intervals are 95 %, from a bootstrap over workers.
    """
    from luab_data.calibration import dataset as library
    from luab_data.exports.table_file import check_table_file, write_table_file

    if out is not None:
        check_table_file(out, [".parquet"])
    images = library.read_images(dataset)
    report = library.evaluate(images, split_by=split)
    if out is not None:
        write_table_file(library.points_of(library.apply(library.fit(images), images)), out)
    click.echo(json.dumps(report.as_dict(), indent=2) if as_json else "\n".join(_lines(report)))


def _lines(report: HeldOut) -> Iterator[str]:
    from luab_data.calibration.held_out import ARMS, OUTCOMES

    yield (
        f"{report.num_clicks:,} clicks of {report.num_workers:,} workers on images with boxes,"
        f" {report.folds} folds by {report.split_by}"
    )
    heads = [arm.rpartition("_") for arm in ARMS]  # two lines: global_shift, pull_to_centre
    yield _row("", [first.replace("_", " ") for first, _, _ in heads])
    yield _row("held out", [last for _, _, last in heads])
    unit = ""
    for outcome in OUTCOMES:
        if outcome.unit != unit:
            unit = outcome.unit
            yield {"fraction": "(fractions of the picture)"}.get(unit, f"({unit})")
        yield _row(outcome.title, _numbers(report.values[outcome.name]))
    yield ""
    yield _row("quarter of reliability", ["least", "second", "third", "most"])
    yield _row("clicks in any box (share)", _numbers(report.ranking["quarter_accuracy"]))
    yield ""
    for sentence in report.words:
        yield textwrap.fill(sentence, _WIDTH, subsequent_indent="  ")


def _row(title: str, cells: list[str]) -> str:
    widths = (8, 12, 10, 10)
    cells = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
    return (f"{title:<39}" + "".join(cells)).rstrip()


def _numbers(found: Estimate) -> list[str]:
    return [f"{value:.4f}" for value in found.value]
