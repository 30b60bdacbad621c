"""`luab-train run`: parse, train, print."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from luab_train.printing import is_first_process, numbers_table
from luab_train.recipes import find_recipe
from luab_train.sections import TARGETS
from luab_train.settings import override, read_settings

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def _folder_or_share(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> Path | float | None:
    """A number that is no folder's name is a share."""
    if value is None:
        return None
    if not Path(value).exists():
        with suppress(ValueError):
            return float(value)
    return Path(_FOLDER.convert(value, param, ctx))


@click.command("run")
@click.argument("recipe", metavar="RECIPE")
@click.option("--data", type=_FOLDER, required=True, help="Dataset folder of luab-data convert.")
@click.option(
    "--images",
    type=_FOLDER,
    required=True,
    help="Its images: a tree, a COCO folder, tar shards or a Hugging Face dataset.",
)
@click.option(
    "--val",
    callback=_folder_or_share,
    metavar="DIRECTORY|SHARE",
    help="Validation images, likewise; or the share of the dataset's to hold out, e.g. 0.2.",
)
@click.option(
    "--val-boxes",
    type=click.Path(exists=True, path_type=Path),
    help="Their boxes, if not beside them, or instances.",
)
@click.option(
    "--calibrated",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Output of luab-data calibrate --out, for --target calibrated.",
)
@click.option(
    "--points",
    type=_FOLDER,
    help="Tracing dataset that the points are of.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--target",
    metavar="ARM",
    type=click.Choice(TARGETS),
    help=f"Where the points come from: {', '.join(TARGETS)}.",
)
@click.option("--epochs", type=int, help="Passes over the training images.")
@click.option("--batch-size", type=int, help="Images per update, over all processes.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option("--seed", type=int, help="Weights, order, augmentation, drawn points.")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Go on with an unfinished run."
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Checkpoints that stay; an older one serves if the newest is damaged.",
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any other key of the recipe; repeatable.",
)
def run_command(
    recipe: str,
    data: Path,
    images: Path,
    val: Path | float | None,
    val_boxes: Path | None,
    calibrated: Path | None,
    points: Path | None,
    out: Path,
    target: str | None,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    seed: int | None,
    resume: bool,
    keep: int,
    settings: tuple[str, ...],
) -> None:
    """Train RECIPE, e.g. debug:tiny; an interrupted run goes on where it stopped.

    RECIPE is module:function, ours (see `luab-train recipes`) or yours. On several GPUs:
    torchrun --nproc-per-node 8 -m luab_train run ...
    """
    named = {
        "target": target,
        "epochs": epochs,
        "batch_size": batch_size,
        "optim.lr": lr,
        "seed": seed,
    }
    given = {key: value for key, value in named.items() if value is not None}
    changes = read_settings(settings, given)
    resolved = override(find_recipe(recipe), changes)

    from luab_train.metrics.places import is_of_place, learns_place
    from luab_train.train.loop import train

    result = train(
        resolved,
        data=data,
        images=images,
        out=out,
        val=val,
        val_boxes=val_boxes,
        calibrated=calibrated,
        points=points,
        resume=resume,
        keep=keep,
    )
    if is_first_process():
        line = result.metrics
        click.echo(
            f"{out}: {resolved.name}, target {resolved.target}, seed {resolved.seed},"
            f" {line['epoch']} epochs"
        )
        prefix = "val_" if val is not None else "train_"
        shown = {k.removeprefix(prefix): v for k, v in line.items() if k.startswith(prefix)}
        placeless = {} if learns_place(resolved) else dict.fromkeys(filter(is_of_place, shown))
        click.echo(numbers_table(shown | placeless))
