"""`luab-data calibrate`: whether taking off the bias of clicks helps, and the points if wanted."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from luab_data.calibration.held_out import HeldOut


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
    " images, learned from all clicks, to this .parquet.",
)
@click.option("--force", is_flag=True, help="Replace an earlier --out with other content.")
def calibrate(dataset: str, split: Any, as_json: bool, out: Path | None, force: bool) -> None:
    """Compare calibrated clicks of DATASET with the clicks and two baselines, held out.

    DATASET is a folder of ImageNet-AB or a name under $LUAB_DATA_HOME. Clicks on images with boxes
    are dealt into five folds, fewer if there are fewer workers; each is calibrated by the others.
    Intervals are 95 %, from a bootstrap over workers.
    """
    import luab_data

    found = luab_data.calibrate(dataset, split=split, out=out, force=force)
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else "\n".join(_lines(found)))


def _lines(found: HeldOut) -> Iterator[str]:
    from luab_data.calibration import ARMS, CRITERIA

    yield (
        f"{found.num_clicks:,} clicks of {found.num_workers:,} workers on images with boxes,"
        f" {found.folds} folds by {found.split_by}"
    )
    heads = [arm.rpartition("_") for arm in ARMS]  # two lines: global_shift, pull_to_centre
    yield _row("", [first.replace("_", " ") for first, _, _ in heads])
    yield _row("held out", [last for _, _, last in heads])
    unit = ""
    for criterion in CRITERIA:
        if criterion.unit != unit:
            unit = criterion.unit
            yield {"fraction": "(fractions of the picture)"}.get(unit, f"({unit})")
        yield _row(criterion.title, _numbers(found.values[criterion.name].value))
    yield ""
    yield _row("quarter of reliability", ["least", "second", "third", "most"])
    yield _row("clicks in any box (share)", _numbers(found.ranking["quarter_accuracy"].value))
    yield ""
    width = max(40, shutil.get_terminal_size().columns)
    for sentence in found.sentences:
        yield textwrap.fill(sentence, width, subsequent_indent="  ")


def _row(title: str, cells: list[str]) -> str:
    widths = (8, 12, 10, 10)
    cells = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
    return (f"{title:<39}" + "".join(cells)).rstrip()


def _numbers(values: Any) -> list[str]:
    return [f"{value:.4f}" for value in values]
