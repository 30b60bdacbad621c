"""luab-train: parse, call one library function, print.     [I/O]

torch is imported by the commands that need it, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from luab_data.console import LuabGroup, install_command
from luab_data.errors import OptionError
from luab_train.recipe import TARGETS, Recipe
from luab_train.recipes import find_recipe
from luab_train.settings import override, read_settings, to_json

# Commands of other modules: attached when asked for, so that `--help` stays quick.
_ELSEWHERE = {
    "report": ("luab_train.report.report", "report_command"),
    "transfer": ("luab_train.transfer.cli", "transfer_command"),
    "demo": ("luab_train.demo.demo", "demo_command"),
}


# Of the extra `train`; luab without it has this command all the same.
_NEEDED = frozenset(
    (
        "torch",
        "torchvision",
        "timm",
        "accelerate",
        "torchmetrics",
        "safetensors",
        "PIL",
        "matplotlib",
    )
)


class _TrainGroup(LuabGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if error.name not in _NEEDED:
                raise
            raise click.ClickException(
                f"luab-train needs {error.name}, not installed here: {install_command('train')}"
            ) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            module, name = _ELSEWHERE[cmd_name]
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(cls=_TrainGroup)
@click.version_option(package_name="luab")
def main() -> None:
    """Train and evaluate models with annotation byproducts."""


@main.command()
@click.argument("recipe", metavar="RECIPE")
@click.option("--data", type=_FOLDER, required=True, help="Dataset folder of luab-data convert.")
@click.option(
    "--images",
    type=_FOLDER,
    required=True,
    help="Its images: a tree, a COCO folder, tar shards or a Hugging Face dataset.",
)
@click.option("--val", type=_FOLDER, help="Validation images, likewise.")
@click.option(
    "--val-boxes",
    type=click.Path(exists=True, path_type=Path),
    help="Their boxes, if not beside them, or their COCO instances.",
)
@click.option(
    "--calibrated",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Output of luab-data calibrate --out, for --target calibrated.",
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
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any other key of the recipe; repeatable.",
)
def run(
    recipe: str,
    data: Path,
    images: Path,
    val: Path | None,
    val_boxes: Path | None,
    calibrated: Path | None,
    out: Path,
    target: str | None,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    seed: int | None,
    resume: bool,
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
    resolved = override(_find(recipe), changes)

    from luab_train.report.runs import is_of_place, learns_place
    from luab_train.train.loop import train

    result = train(
        resolved,
        data=data,
        images=images,
        out=out,
        val=val,
        val_boxes=val_boxes,
        calibrated=calibrated,
        resume=resume,
    )
    if _is_main_process():
        line = result.metrics
        click.echo(
            f"{out}: {resolved.name}, target {resolved.target}, seed {resolved.seed},"
            f" {line['epoch']} epochs"
        )
        prefix = "val_" if val is not None else "train_"
        shown = {k.removeprefix(prefix): v for k, v in line.items() if k.startswith(prefix)}
        placeless = {} if learns_place(resolved) else dict.fromkeys(filter(is_of_place, shown))
        click.echo(_table(shown | placeless))


@main.command("eval")
@click.argument("model", metavar="RUN_OR_MODEL", required=False)
@click.option("--images", type=_FOLDER, help="Images, <wnid>/<image>; the model is a RUN.")
@click.option("--data", type=_FOLDER, help="With --images: dataset folder with their boxes.")
@click.option(
    "--boxes",
    type=click.Path(exists=True, path_type=Path),
    help="With --images: their boxes, if not beside them.",
)
@click.option(
    "--name",
    default="val",
    show_default=True,
    help="With --images: name of the result in metrics.jsonl.",
)
@click.option("--benchmarks", metavar="NAMES", help="all, or names with commas between.")
@click.option("--root", type=_FOLDER, help="With --benchmarks: the folder that holds them.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --benchmarks: folder of the results.  [default: RUN/evaluation]",
)
@click.option("--arch", help="With --benchmarks: the timm model that a file of weights is of.")
@click.option("--pretrained", is_flag=True, help="With --benchmarks: load a timm model's weights.")
@click.option(
    "--on-bad",
    type=click.Choice(["raise", "skip"]),
    default="raise",
    show_default=True,
    help="An image that cannot be read: an error, or left out and counted.",
)
@click.option(
    "--precision",
    type=click.Choice(["no", "fp16", "bf16"]),
    help="Of the forward pass; no is float32.  [default: no; the recipe's with --images]",
)
@click.option(
    "--preprocessing",
    type=click.Choice(["paper", "timm"]),
    default="paper",
    show_default=True,
    help="With --benchmarks: the crop of a timm model, 224 of 256 px, or as timm's validate.py.",
)
@click.option(
    "--box-convention",
    type=click.Choice(["wsolevaluation", "continuous"]),
    help="With --benchmarks wsol: pixels as the reference evaluator counts them, or areas."
    "  [default: wsolevaluation]",
)
@click.option(
    "--erase-below",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="With --benchmarks coco: erase objects up to this share of the image.  [default: 1]",
)
@click.option(
    "--erase-dilation",
    type=click.IntRange(0),
    metavar="PX",
    help="With --benchmarks coco: px by which a mask grows before it is erased.  [default: 0]",
)
@click.option("--batch-size", type=int, default=256, show_default=True, help="Images at a time.")
@click.option("--workers", type=int, help="Loader processes.  [default: by the machine]")
@click.option(
    "--list", "list_them", is_flag=True, help="Show the benchmarks and where they belong."
)
def evaluate_command(
    model: str | None,
    images: Path | None,
    data: Path | None,
    boxes: Path | None,
    name: str,
    benchmarks: str | None,
    root: Path | None,
    out: Path | None,
    arch: str | None,
    pretrained: bool,
    on_bad: str,
    precision: str | None,
    preprocessing: str,
    box_convention: Any,
    erase_below: float | None,
    erase_dilation: int | None,
    batch_size: int,
    workers: int | None,
    list_them: bool,
) -> None:
    """Evaluate a model on a folder of images, or on public benchmarks.

    --images FOLDER: a RUN on a folder; adds one line to its metrics.jsonl.

    --benchmarks all --root DIR: RUN_OR_MODEL, which is a RUN, a timm model, or a .safetensors or
    .pth file with --arch, on benchmarks; predictions and results.jsonl go to --out. What is
    finished is not done again.
    """
    if list_them:
        from luab_train.evaluate.table import list_benchmarks

        click.echo(list_benchmarks())
        return
    if model is None:
        raise OptionError("no model; expected luab-train eval RUN_OR_MODEL, see --help")
    of_folder: dict[str, Any] = {"--images": images, "--data": data, "--boxes": boxes}
    of_folder["--name"] = None if name == "val" else name
    of_suite: dict[str, Any] = {"--benchmarks": benchmarks, "--root": root, "--out": out}
    of_suite |= {"--arch": arch, "--pretrained": pretrained or None}
    of_suite |= {"--preprocessing": None if preprocessing == "paper" else preprocessing}
    erasing = {"--erase-below": erase_below, "--erase-dilation": erase_dilation}
    of_suite |= {"--box-convention": box_convention, **erasing}
    _check_mode(of_folder, of_suite)
    if images is not None:
        from luab_train.evaluate.folder import Unwritten, evaluate

        try:
            result = evaluate(
                Path(model),
                images=images,
                data=data,
                boxes=boxes,
                name=name,
                batch_size=batch_size,
                num_workers=workers,
                precision=precision,
                on_bad=on_bad,
            )
        except Unwritten as error:
            click.echo(_table(error.result))
            raise
        if _is_main_process():
            click.echo(_table(result))
        return
    assert benchmarks is not None and root is not None
    names = [part.strip() for part in benchmarks.split(",")]
    for benchmark, options in (("wsol", {"--box-convention": box_convention}), ("coco", erasing)):
        given = [key for key, value in options.items() if value is not None]
        if given and benchmark not in names:
            raise OptionError(f"{given[0]} is for --benchmarks {benchmark}; leave it out")
    from luab_train.evaluate.coco.erasing import Eraser
    from luab_train.evaluate.run import evaluate_model
    from luab_train.evaluate.settings import Settings
    from luab_train.evaluate.table import report_rows

    settings = Settings(
        on_bad=on_bad,
        batch_size=batch_size,
        num_workers=workers,
        box_convention=box_convention or "wsolevaluation",
        eraser=Eraser(dilation=erase_dilation or 0, max_area=erase_below or 1.0),
    )
    rows, folder = evaluate_model(
        model,
        names=names,
        root=root,
        out=out,
        arch=arch,
        pretrained=pretrained,
        precision=precision or "no",
        preprocessing=preprocessing,
        settings=settings,
    )
    text, problem = report_rows(rows, folder)
    if _is_main_process():
        click.echo(text)
        if problem is not None:
            raise OptionError(problem)


def _check_mode(of_folder: Mapping[str, Any], of_suite: Mapping[str, Any]) -> None:
    """Either a folder or the suite is evaluated; an option of the other one is an error."""
    folder = [key for key, value in of_folder.items() if value is not None]
    suite = [key for key, value in of_suite.items() if value is not None]
    if folder and suite:
        raise OptionError(
            f"{folder[0]} and {suite[0]} do not go together; expected --images FOLDER, or"
            " --benchmarks all --root DIR"
        )
    needed = ("--benchmarks", "--root") if suite else ("--images",)
    lacking = [key for key in needed if {**of_folder, **of_suite}[key] is None]
    if lacking:
        raise OptionError(
            f"{lacking[0]} is not given; expected --images FOLDER, or --benchmarks all --root DIR"
        )


@main.command("export")
@click.argument("run_folder", metavar="RUN", type=_FOLDER)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write, .safetensors.",
)
@click.option("--force", is_flag=True, help="Replace other exported weights at OUT.")
def export_command(run_folder: Path, out: Path, force: bool) -> None:
    """Write a RUN's weights without the point head, as timm names them."""
    from luab_data.files import ALREADY
    from luab_train.train.export import export_backbone

    facts = export_backbone(run_folder, out, force=force)
    if facts["is_same"]:
        click.echo(f"{out}: {ALREADY}")
    options = "".join(f", {key}={value}" for key, value in facts["options"].items())
    click.echo(f'{out}: timm.create_model("{facts["model"]}"{options}) loads it strictly')
    if not facts["same_labels"]:
        click.echo(
            "this run pools by its attention map, which stays behind: for its own labels use"
            " luab_train.load_model"
        )


@main.command("recipes")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--diff", is_flag=True, help="Show NAME beside what the paper says of such a run.")
def recipes_command(name: str | None, diff: bool) -> None:
    """List our recipes, or show all keys of one."""
    from luab_train.recipes.listing import describe_difference, list_recipes

    if name is None:
        if diff:
            raise OptionError("--diff needs a recipe; expected luab-train recipes NAME --diff")
        click.echo(list_recipes())
    elif diff:
        click.echo(describe_difference(name, _find(name)))
    else:
        click.echo(to_json(_find(name)), nl=False)


def _find(name: str) -> Recipe:
    """A recipe by name; as with `python -m`, modules of the current folder are found too."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return find_recipe(name)


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _table(values: Mapping[str, Any]) -> str:
    """Two aligned rows: keys and numbers; a mean over nothing is a dash."""
    cells = {key: _cell(value) for key, value in values.items()}
    widths = {key: max(len(key), len(cell)) for key, cell in cells.items()}
    head = "  ".join(key.rjust(width) for key, width in widths.items())
    return head + "\n" + "  ".join(cells[key].rjust(width) for key, width in widths.items())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
