"""`luab-data simulate`: pictures -> a raw log in a release's byte format, and its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from luab_data.cli.options import FILE, FOLDER, NEW_FILE, Decorator, force, with_options
from luab_data.console import LuabGroup, progress


@click.group(cls=LuabGroup)
def simulate() -> None:
    """Write a raw log in a release's byte format, and the truth behind it, from real images."""


_TRUTH_AND_SEED = with_options(
    click.option(
        "--truth", type=NEW_FILE, help="Truth to write, JSON Lines. Default: OUT.truth.jsonl.gz."
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Same seed, same bytes.",
    ),
)
_FORCE = force("Replace an earlier simulation.")


def _workers(default: int) -> Decorator:
    return click.option(
        "--workers",
        "num_workers",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help="People who share the HITs.",
    )


@simulate.command("imagenet-ab")
@click.argument("images", type=FOLDER)
@click.option(
    "--boxes",
    type=click.Path(exists=True, path_type=Path),
    help="Published boxes: a folder of XML or _boxes.txt, or one CSV. Default: inside IMAGES.",
)
@click.option("--out", type=NEW_FILE, required=True, help="Log to write, a .tar.gz.")
@_TRUTH_AND_SEED
@_workers(24)
@click.option(
    "--boxed-fraction",
    type=click.FloatRange(0, 1),
    default=0.42,
    show_default=True,
    help="Share of the images whose boxes are in the log.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="At most this many images, evenly from all classes."
)
@_FORCE
def simulate_imagenet(images: Path, boxes: Path | None, limit: int | None, **options: Any) -> None:
    """Simulate ImageNet-AB on the images IMAGES/<wnid>/*."""
    import numpy as np

    from luab_data.boxes import read_labelled_images
    from luab_data.simulate.imagenet import simulate_imagenet

    labelled = read_labelled_images(images, boxes)
    if limit is not None and limit < len(labelled):
        # Sorted by class, so equal steps take the same share of every class.
        steps = np.linspace(0, len(labelled), limit, endpoint=False).astype(int)
        labelled = [labelled[step] for step in steps.tolist()]
    with progress(what="simulate", total=len(labelled), unit="image") as bar:
        found = simulate_imagenet(labelled, on_progress=bar.update, **options)
    _tell(
        found, options,
        f"{found.num_images} images ({found.num_boxed} with boxes), {found.num_rounds} rounds, "
        f"{found.num_selected} selected",
    )  # fmt: skip


@simulate.command("coco-ab")
@click.argument("instances", type=FILE)
@click.option("--out", type=NEW_FILE, required=True, help="Log to write, a .json.")
@_TRUTH_AND_SEED
@_workers(12)
@_FORCE
def simulate_coco(instances: Path, **options: Any) -> None:
    """Simulate COCO-AB on the images of a COCO instances file."""
    from luab_data.simulate.coco import simulate_coco

    with progress(what="simulate", unit="image") as bar:
        found = simulate_coco(instances, on_progress=bar.update, **options)
    _tell(
        found, options,
        f"{found.num_records} images, {found.num_placed} icons ({found.num_on_object} on their "
        f"object), {found.num_retrieved} of {found.num_present} classes found",
    )  # fmt: skip


def _tell(found: Any, options: dict[str, Any], counts: str) -> None:
    from luab_data.files import ALREADY
    from luab_data.simulate import truth_beside

    out = options["out"]
    click.echo(
        f"{counts}, {found.num_hits} HITs of {found.num_workers} workers, "
        f"{found.num_trace_points} trace points -> {out}, {options['truth'] or truth_beside(out)}"
    )
    if found.same:
        click.echo(f"{out} {ALREADY}")
