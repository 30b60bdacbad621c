"""`luab-train transfer`: parse, run, print."""

from __future__ import annotations

import os
from pathlib import Path

import click

from luab_train.settings import override, read_settings
from luab_train.transfer.recipe import Transfer

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("transfer")
@click.argument("source", metavar="RUN_OR_WEIGHTS", type=click.Path(exists=True, path_type=Path))
@click.option("--images", type=_FOLDER, required=True, help="Training images of COCO.")
@click.option("--annotations", type=_FILE, required=True, help="Their instances_*.json.")
@click.option("--val", type=_FOLDER, required=True, help="Images to evaluate on.")
@click.option("--val-annotations", type=_FILE, required=True, help="Their instances_*.json.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the results."
)
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Go on with an unfinished one."
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="A key of the recipe, e.g. optim.lr=0.01; repeatable.",
)
def transfer_command(
    source: Path,
    images: Path,
    annotations: Path,
    val: Path,
    val_annotations: Path,
    out: Path,
    resume: bool,
    settings: tuple[str, ...],
) -> None:
    """Train Mask R-CNN (FPN, 1x) on COCO from a trained ResNet; print its average precision.

    RUN_OR_WEIGHTS is a complete RUN, or a .safetensors or .pth file of ResNet weights. Interrupted,
    the same command goes on where it stopped. On several GPUs:
    torchrun --nproc-per-node 8 -m luab_train transfer ...
    """
    recipe = override(Transfer(), read_settings(settings))

    from luab_train.transfer.task import transfer

    result = transfer(
        recipe,
        source=source,
        images=images,
        annotations=annotations,
        val=val,
        val_annotations=val_annotations,
        out=out,
        resume=resume,
    )
    if os.environ.get("RANK", "0") != "0":
        return
    line = result.metrics
    click.echo(
        f"{out}: Mask R-CNN, {line['epoch']} epochs, lr {recipe.optim.lr:g} for"
        f" {recipe.batch_size} images, seed {recipe.seed}"
    )
    for kind in ("bbox", "segm"):
        named = {k.removeprefix(f"val_{kind}_"): v for k, v in line.items() if f"_{kind}_" in k}
        cells = [f"{name} {'-' if v is None else f'{100 * v:.1f}'}" for name, v in named.items()]
        click.echo(f"{kind}  {'  '.join(cells)}")
