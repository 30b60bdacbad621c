"""`luab-data convert`: a raw log -> a dataset folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUT = click.Path(path_type=Path)


@click.group()
def convert() -> None:
    """Convert a raw log to a dataset folder that load_dataset opens."""


def _common(command: Any) -> Any:
    """Options that both converters share."""
    options = (
        click.option("--out", type=_OUT, required=True, help="Dataset folder to write."),
        click.option("--force", is_flag=True, help="Replace another dataset of luab at OUT."),
        click.option(
            "--on-bad",
            type=click.Choice(["raise", "skip"]),
            default="raise",
            show_default=True,
            help="Stop at a bad record, or leave it out and list it in skipped.jsonl.",
        ),
        click.option(
            "--worker-key-file",
            type=_FILE,
            help="File with the secret that worker ids are hashed with."
            " Default: $LUAB_WORKER_KEY_FILE, else one made for you on first use.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@convert.command("imagenet-ab")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@_common
def convert_imagenet(
    source: Path, out: Path, force: bool, on_bad: Any, worker_key_file: Path | None
) -> None:
    """Convert SOURCE, the tar.gz (or a folder) of XML files of ImageNet-AB."""
    from luab_data import convert as converter
    from luab_data.raw.worker_ids import read_key

    key = read_key(worker_key_file)
    done = converter.convert_imagenet(
        source, out, on_bad=on_bad, worker_key=key, force=force, fork=True
    )
    _summary(done)


@convert.command("coco-ab")
@click.argument("source", type=_FILE)
@click.option(
    "--instances", type=_FILE, help="COCO instances_*.json of the images: sizes, classes, masks."
)
@_common
def convert_coco(
    source: Path,
    instances: Path | None,
    out: Path,
    force: bool,
    on_bad: Any,
    worker_key_file: Path | None,
) -> None:
    """Convert SOURCE, the JSON array (or JSON Lines) of COCO-AB, plain or gzip."""
    from luab_data import convert as converter
    from luab_data.raw.worker_ids import read_key

    key = read_key(worker_key_file)
    _summary(
        converter.convert_coco(
            source, out, instances=instances, on_bad=on_bad, worker_key=key, force=force
        )
    )


def _summary(done: Any) -> None:
    from luab_data.files import ALREADY

    if done.is_same:
        click.echo(f"{done.out}: {ALREADY}")
    rows = ", ".join(f"{config} {count:,}" for config, count in done.num_rows.items())
    click.echo(f"{done.out}: version {done.version}, rows: {rows}")
    if done.skipped:
        tally = ", ".join(f"{rule} {count}" for rule, count in done.skipped.items())
        total = sum(done.skipped.values())
        click.echo(f"{total} bad records left out ({tally}): {done.out / 'skipped.jsonl'}")
    if done.repaired:
        tally = ", ".join(f"{repair} {count:,}" for repair, count in done.repaired.items())
        click.echo(f"values that were read as they were meant: {tally}")
    for system, count in done.left_aside.items():
        click.echo(f"{count:,} files of {system} left aside")
    if done.num_without_truth:
        click.echo(f"{done.num_without_truth} images are not in the instances file")
    for remark in done.remarks:
        click.echo(remark)
    if done.unknown:
        names = ", ".join(f"{name} {count}" for name, count in done.unknown.items())
        click.echo(f"left out, since the schema does not know them: {names}")
