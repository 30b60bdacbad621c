"""`luab-data convert`: a log or other record of attention -> a dataset folder; and `validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from luab_data.cli.options import (
    FILE,
    NEW,
    Decorator,
    as_json,
    force,
    images,
    with_options,
)
from luab_data.console import terminal_width


class _Convert(click.Group):
    """The commands of this module, and one for each importer."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from luab_data.importers import MODULES

        return [*self.commands, *sorted(MODULES)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from luab_data.importers import MODULES

        return _importing(name) if name in MODULES else super().get_command(ctx, name)


@click.group(cls=_Convert)
def convert() -> None:
    """Convert a raw log to a dataset folder that load_dataset opens."""


_OF_CONVERT = with_options(
    click.option("--out", type=NEW, required=True, help="Dataset folder to write."),
    force("Replace another dataset of luab at OUT."),
    click.option(
        "--on-bad",
        type=click.Choice(["raise", "skip"]),
        default="raise",
        show_default=True,
        help="Stop at a bad record, or leave it out and list it in skipped.jsonl.",
    ),
    click.option(
        "--worker-key-file",
        type=FILE,
        help="File with the secret that worker ids are hashed with."
        " Default: $LUAB_WORKER_KEY_FILE, else one made for you on first use.",
    ),
    click.option(
        "--private",
        type=click.Choice(["keep", "hash"]),
        default="keep",
        show_default=True,
        help="Other values that look like e-mail addresses or hold a worker's id: count them, and"
        " `publish` refuses them; or put hashes in their place.",
    ),
)


@convert.command("imagenet-ab")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@_OF_CONVERT
def convert_imagenet(source: Path, worker_key_file: Path | None, **options: Any) -> None:
    """Convert SOURCE, the tar.gz (or a folder) of XML files of ImageNet-AB."""
    from luab_data.convert import convert_imagenet
    from luab_data.raw.worker_ids import read_key

    key = read_key(worker_key_file)
    _summary(convert_imagenet(source, worker_key=key, fork=True, **options))


@convert.command("coco-ab")
@click.argument("source", type=FILE)
@click.option(
    "--instances", type=FILE, help="COCO instances_*.json of the images: sizes, classes, masks."
)
@_OF_CONVERT
def convert_coco(source: Path, worker_key_file: Path | None, **options: Any) -> None:
    """Convert SOURCE, the JSON array (or JSON Lines) of COCO-AB, plain or gzip."""
    from luab_data.convert import convert_coco
    from luab_data.raw.worker_ids import read_key

    _summary(convert_coco(source, worker_key=read_key(worker_key_file), **options))


# --- everybody's own ------------------------------------------------------------------------------

_OF_COLLECTION = with_options(
    click.option("--title", help="What the data are called."),
    click.option("--name", help="The same in one word. Default: the folder's name."),
    click.option("--license", help="Id of the Hub, e.g. cc-by-4.0."),
    click.option("--collected-by", help="Who collected them."),
    click.option("--description", help="What they are, one paragraph."),
    click.option("--url", help="Where they are described."),
    click.option("--citation", type=FILE, help="File of the BibTeX entry to cite."),
)
_CLASSES = click.option(
    "--classes",
    type=FILE,
    help="All classes: a name a line, or JSON, a list or superclass -> list. Default: the log's.",
)


_BOXES = click.option(
    "--boxes",
    type=click.Path(exists=True, path_type=Path),
    help="Boxes of the class that was asked for: a folder of XML (Pascal VOC) or _boxes.txt, or one"
    " CSV (image_id, xmin, ymin, xmax, ymax). They say whether clicks hit.",
)


def _deciding(*rules: str) -> Decorator:
    return click.option(
        "--deciding",
        type=click.Choice(rules),
        default="majority",
        show_default=True,
        help="Which view of an image counts that several people saw.",
    )


def _of_collection(
    worker_key_file: Path | None, citation: Path | None, **options: Any
) -> dict[str, Any]:
    """Options of the command line as those of the function."""
    from luab_data.raw.worker_ids import read_key

    options["worker_key"] = read_key(worker_key_file)
    options["citation"] = citation and citation.read_text(encoding="utf-8")
    return {name: value for name, value in options.items() if value is not None}


@convert.command("browsing")
@click.argument("log", type=FILE)
@_CLASSES
@_BOXES
@_deciding("last", "majority", "all", "any")
@_OF_COLLECTION
@_OF_CONVERT
def convert_browsing(log: Path, **options: Any) -> None:
    """Convert LOG, an open log of pictures selected on pages, like ImageNet-AB."""
    from luab_data.views.convert import convert_browsing

    _summary(convert_browsing(log, **_of_collection(**options)))


@convert.command("tagging")
@click.argument("log", type=FILE)
@_CLASSES
@click.option(
    "--instances", type=FILE, help="COCO-style annotations of the images, by names of classes."
)
@_deciding("last", "majority")
@_OF_COLLECTION
@_OF_CONVERT
def convert_tagging(log: Path, **options: Any) -> None:
    """Convert LOG, an open log of labels placed on pictures, like COCO-AB."""
    from luab_data.views.convert import convert_tagging

    _summary(convert_tagging(log, **_of_collection(**options)))


@convert.command("tracing")
@click.argument("log", type=FILE)
@_OF_COLLECTION
@_OF_CONVERT
def convert_tracing(log: Path, **options: Any) -> None:
    """Convert LOG, an open log of traces or points that were asked for; a row a view."""
    from luab_data.views.convert import convert_tracing

    _summary(convert_tracing(log, **_of_collection(**options)))


@convert.command("clicks")
@click.option("--csv", type=FILE, required=True, help="A row a click, columns named.")
@with_options(
    *(
        click.option(f"--{role}", metavar="COLUMN", help=f"Column of {what}.")
        for role, what in {
            "image": "the picture's file or name. Default: one called image, file and the like",
            "label": "its class. Default: label, class",
            "x": "x. Default: x",
            "y": "y. Default: y",
            "time": "times, since 1970 or the session began. Default: time, t",
            "worker": "people, hashed on the way in. Default: worker, annotator",
            "event": "what happened: open, click, close. Default: event, action",
            "session": "the session of a worker. Default: session",
            "width": "the picture's width in px. Default: width",
            "height": "its height. Default: height",
        }.items()
    )
)
@click.option(
    "--units",
    type=click.Choice(["px", "fraction", "percent"]),
    help="Of x and y. Default: found from the data, or refused.",
)
@click.option(
    "--time-units",
    type=click.Choice(["ms", "s"]),
    help="Of a session's clock. Default: found, or refused. Times since 1970 are known as such.",
)
@images(" Pixels need their sizes: headers are read, turned as shown.")
@_CLASSES
@_BOXES
@_deciding("last", "majority", "all", "any")
@_OF_COLLECTION
@_OF_CONVERT
def convert_clicks(csv: Path, **options: Any) -> None:
    """Convert a CSV of clicks, a row each: columns of image, class, x and y are enough."""
    from luab_data.importers.clicks import convert_clicks

    _summary(convert_clicks(csv, **_of_collection(**options)))


def _importing(source: str) -> click.Command:
    """The command of an importer."""
    from luab_data.importers import importer

    found = importer(source)
    own = {name.replace("-", "_"): name for name in found.options}

    @click.argument("paths", metavar="FILE...", type=click.Path(exists=True, path_type=Path),
                    nargs=-1, required=True)  # fmt: skip
    @with_options(*(click.option(f"--{n}", help=text) for n, text in found.options.items()))
    @_OF_COLLECTION
    @_OF_CONVERT
    def convert(paths: tuple[Path, ...], **options: Any) -> None:
        from luab_data.importers.convert import convert_from

        given = {name: options.pop(key) for key, name in own.items()}
        reading = {name: value for name, value in given.items() if value is not None}
        _summary(convert_from(source, paths, reading=reading, **_of_collection(**options)))

    text = f"Convert FILE..., {found.files}, to a dataset folder."
    return click.command(source, help=text)(convert)


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
    if done.private:
        tally = ", ".join(f"{column} {count:,}" for column, count in done.private.items())
        click.echo(
            "values that look like e-mail addresses or hold a worker's id, which publish refuses"
            f" (--private hash replaces them): {tally}"
        )
    if done.hashed:
        tally = ", ".join(f"{column} {count:,}" for column, count in done.hashed.items())
        click.echo(f"hashed, since they look like e-mail addresses or hold a worker's id: {tally}")
    for system, count in done.left_aside.items():
        click.echo(f"{count:,} files of {system} left aside")
    if done.num_without_truth:
        click.echo(f"{done.num_without_truth} images are not in the instances file")
    for remark in done.remarks:
        click.echo(remark)
    if done.unknown:
        names = [f"{name} {count}" for name, count in done.unknown.items()]
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        click.echo(f"left out, not known or not asked for: {', '.join(names[:_NAMED])}{more}")


_NAMED = 20


@click.command()
@click.argument("log", type=FILE, required=False)
@as_json()
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Lines to name of each finding.",
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a line instead.")
@click.pass_context
def validate(
    context: click.Context, /, log: Path | None, as_json: bool, examples: int, schema: bool
) -> None:
    """Check every line of LOG, an open log: what is wrong, what is odd, what it has.

    The log is JSON Lines, plain, gzip or Zstandard; docs/log-format.md. Exits with 1 if convert
    would refuse a line. Warnings and unknown fields alone exit with 0.
    """
    if schema:
        from luab_data.views.log import json_schema

        click.echo(json.dumps(json_schema(), indent=2))
        return
    if log is None:
        raise click.UsageError("Missing argument 'LOG'.")
    import luab_data

    found = luab_data.validate(log, examples=examples)
    click.echo(
        json.dumps(found.as_dict(), indent=2) if as_json else found.as_text(terminal_width())
    )
    if not found.valid:
        context.exit(1)
