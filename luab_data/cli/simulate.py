"""`simulate imagenet-ab | coco-ab`: shells around simulate_imagenet, simulate_coco.    [I/O]"""

from __future__ import annotations

from pathlib import Path

import click

from luab_data.console import LuabGroup, progress

_EXISTING = click.Path(exists=True, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)

_TRUTH = click.option(
    "--truth", type=_FILE, help="Truth to write, JSON Lines. Default: OUT.truth.jsonl.gz."
)
_SEED = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Same seed, same bytes.",
)
_FORCE = click.option("--force", is_flag=True, help="Replace an earlier simulation.")


@click.group(cls=LuabGroup)
def simulate() -> None:
    """Write a raw log in a release's byte format, and the truth behind it, from real images."""


@simulate.command("imagenet-ab")
@click.argument("images", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--boxes",
    type=_EXISTING,
    help="Published boxes: a folder of XML or _boxes.txt, or one CSV. Default: inside IMAGES.",
)
@click.option("--out", type=_FILE, required=True, help="Log to write, a .tar.gz.")
@_TRUTH
@_SEED
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="People who share the HITs.",
)
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
def imagenet_ab(
    images: Path,
    boxes: Path | None,
    out: Path,
    truth: Path | None,
    seed: int,
    workers: int,
    boxed_fraction: float,
    limit: int | None,
    force: bool,
) -> None:
    """Simulate ImageNet-AB on the images IMAGES/<wnid>/*."""
    import numpy as np

    from luab_data.boxes import read_labelled_images
    from luab_data.files import ALREADY
    from luab_data.simulate.imagenet import simulate_imagenet
    from luab_data.simulate.writer import truth_beside

    labelled = read_labelled_images(images, boxes)
    if limit is not None and limit < len(labelled):
        # Sorted by class, so equal steps take the same share of every class.
        steps = np.linspace(0, len(labelled), limit, endpoint=False).astype(int)
        labelled = [labelled[step] for step in steps.tolist()]
    truth = truth or truth_beside(out)
    with progress(what="simulate", total=len(labelled), unit="image") as bar:
        counts = simulate_imagenet(
            labelled,
            out,
            truth=truth,
            seed=seed,
            boxed_fraction=boxed_fraction,
            num_workers=workers,
            force=force,
            on_progress=bar.update,
        )
    click.echo(
        f"{counts.num_images} images ({counts.num_boxed} with boxes), {counts.num_rounds} rounds, "
        f"{counts.num_selected} selected, {counts.num_hits} HITs of {counts.num_workers} workers, "
        f"{counts.num_trace_points} trace points -> {out}, {truth}"
    )
    if counts.same:
        click.echo(f"{out} {ALREADY}")


@simulate.command("coco-ab")
@click.argument("instances", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=_FILE, required=True, help="Log to write, a .json.")
@_TRUTH
@_SEED
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="People who share the HITs.",
)
@_FORCE
def coco_ab(
    instances: Path, out: Path, truth: Path | None, seed: int, workers: int, force: bool
) -> None:
    """Simulate COCO-AB on the images of a COCO instances file."""
    from luab_data.files import ALREADY
    from luab_data.simulate.coco import simulate_coco
    from luab_data.simulate.writer import truth_beside

    truth = truth or truth_beside(out)
    with progress(what="simulate", unit="image") as bar:
        counts = simulate_coco(
            instances,
            out,
            truth=truth,
            seed=seed,
            num_workers=workers,
            force=force,
            on_progress=bar.update,
        )
    click.echo(
        f"{counts.num_records} images, {counts.num_placed} icons ({counts.num_on_object} on their "
        f"object), {counts.num_retrieved} of {counts.num_present} classes found, "
        f"{counts.num_hits} HITs of {counts.num_workers} workers, "
        f"{counts.num_trace_points} trace points -> {out}, {truth}"
    )
    if counts.same:
        click.echo(f"{out} {ALREADY}")
