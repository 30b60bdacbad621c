"""luab-train: parse, call one library function, print.     [I/O]

torch is imported by the commands that need it, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from luab_data.console import LuabGroup, install_command
from luab_data.errors import OptionError
from luab_train.printing import is_first_process, numbers_table

_ELSEWHERE = {
    "run": (
        "luab_train.train.cli:run_command",
        "Train RECIPE, e.g. debug:tiny; an interrupted run goes on where it stopped.",
    ),
    "predict": (
        "luab_train.predict:predict_command",
        "What MODEL says of IMAGEs: classes with probabilities, and where it points.",
    ),
    "report": (
        "luab_train.report.report:report_command",
        "Compare finished RUNs: arms side by side, differences paired by seed, training curves.",
    ),
    "transfer": (
        "luab_train.transfer.cli:transfer_command",
        "Train Mask R-CNN (FPN, 1x) on COCO from a trained ResNet; print its average precision.",
    ),
    "demo": (
        "luab_train.demo.demo:demo_command",
        "Run the whole path on built-in data: raw logs, dataset, three arms, a report and a"
        " verdict.",
    ),
}
"""Commands of other modules and their summaries: imported when called, so that `--help` is quick,
and is there without the extras.
"""

_TRAIN = (
    *("torch", "torchvision", "timm", "accelerate", "safetensors", "PIL", "simplejpeg"),
    "matplotlib",
)
_EXTRA_OF = dict.fromkeys(_TRAIN, "train") | {
    "sklearn": "eval",
    "cv2": "eval",
    "skimage": "demo",
    "jinja2": "report",
}
"""Package -> the extra of luab that brings it; without one this command is there all the same."""


class _TrainGroup(LuabGroup):
    """Commands whose modules may need packages of an extra; one that is missing is told with the
    command that installs it from where the user is.
    """

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        except ModuleNotFoundError as error:  # also of a command's module, for its help
            package = (error.name or "").partition(".")[0]
            if package not in _EXTRA_OF:
                raise
            click.echo(
                f"Error: luab-train needs {package}, not installed here:"
                f" {install_command(_EXTRA_OF[package])}",
                err=True,
            )
            raise SystemExit(1) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            module, name = _ELSEWHERE[cmd_name][0].split(":")
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        summaries = {name: click.Command(name, help=said) for name, (_, said) in _ELSEWHERE.items()}
        click.Group(commands={**self.commands, **summaries}).format_commands(ctx, formatter)


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(cls=_TrainGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="luab")
def main() -> None:
    """Train and evaluate models with annotation byproducts."""


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
@click.option(
    "--weights-key",
    help="With --benchmarks: which weights of a checkpoint: ema, or its own name for them.",
)
@click.option("--pretrained", is_flag=True, help="With --benchmarks: load a timm model's weights.")
@click.option(
    "--random-weights", is_flag=True, help="With --benchmarks: a timm model as it begins."
)
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
    help="With --benchmarks: a timm model sees .875 of the resized side, e.g. 224 of 256 px, or"
    " what timm's validate.py shows it.",
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
    weights_key: str | None,
    pretrained: bool,
    random_weights: bool,
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
    of_suite |= {"--weights-key": weights_key, "--random-weights": random_weights or None}
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
            click.echo(numbers_table(error.result))
            raise
        if is_first_process():
            click.echo(numbers_table(result))
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
        weights_key=weights_key,
        pretrained=pretrained,
        random_weights=random_weights,
        precision=precision or "no",
        preprocessing=preprocessing,
        settings=settings,
    )
    text, problem = report_rows(rows, folder)
    if is_first_process():
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
    from luab_train.recipes import find_recipe
    from luab_train.recipes.listing import describe_difference, list_recipes
    from luab_train.settings import to_json

    if name is None:
        if diff:
            raise OptionError("--diff needs a recipe; expected luab-train recipes NAME --diff")
        click.echo(list_recipes())
    elif diff:
        click.echo(describe_difference(name, find_recipe(name)))
    else:
        click.echo(to_json(find_recipe(name)), nl=False)
