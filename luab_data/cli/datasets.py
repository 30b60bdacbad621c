"""Verbs that look into a dataset folder, or make something of it."""

from __future__ import annotations

import json
from typing import Any

import click

from luab_data.cli.options import FILE, NEW, as_json, dataset, force, images, listed
from luab_data.console import terminal_width
from luab_data.words import counted

_COLOURS = {"ok": "green", "partly": "yellow", "FAILED": "red", "error": "red", "warning": "yellow"}


@click.command()
@dataset("DIR")
@as_json()
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="ID",
    help="Lint by this rule only; give it several times for several. docs/rules.md lists them.",
)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Rows to name for each lint rule.",
)
@click.pass_context
def check(context: click.Context, /, dataset: str, as_json: bool, **options: Any) -> None:
    """Verify every file and row of DIR, and lint the behaviour in it.

    DIR is a dataset folder or a name under $LUAB_DATA_HOME. Exits with 1 if DIR is not whole. Lint
    findings are information about workers and tool: they alone exit with 0.
    """
    import luab_data

    report = luab_data.check(dataset, **options)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        lines = report.as_text(terminal_width()).split("\n")
        click.echo("\n".join(map(_coloured, lines)))
    if not report.whole:
        context.exit(1)


def _coloured(line: str) -> str:
    """The line with its first word in colour if that is a status; off a terminal echo drops it."""
    word = line.partition(" ")[0]
    return click.style(word, fg=_COLOURS[word]) + line[len(word) :] if word in _COLOURS else line


@click.command()
@dataset("DIR")
@click.argument("image_id", type=str)
@as_json("One JSON object with every list in full.")
def trace(dataset: str, image_id: str, as_json: bool) -> None:
    """Print IMAGE_ID of DIR: raw and derived values, and how the ones follow from the others.

    DIR is a dataset folder or a name under $LUAB_DATA_HOME; IMAGE_ID may be a file name. Says which
    log and row it came from, which round decided and why, and which lint rules its rows break.
    """
    from luab_data.provenance import as_text, trace

    record = trace(dataset, image_id)
    click.echo(json.dumps(record.as_dict(), indent=2) if as_json else as_text(record))


@click.command()
@dataset()
def where(dataset: str) -> None:
    """Print the folder of DATASET, a path or a name under $LUAB_DATA_HOME, if it is whole.

    Exits with 1 and says where it looked if there is none, or what is missing of it.
    """
    import luab_data

    click.echo(luab_data.find_dataset(dataset).absolute())


@click.command()
@dataset("DIR")
@click.option(
    "--columns",
    metavar="A,B,...",
    help="Derived columns to compute; optional ones are added. Default: all that DIR has.",
)
@click.option(
    "--out", type=str, help="Folder or URL to write. Default: replace DIR, once all is written."
)
@force("Replace another dataset of luab at OUT.")
@click.option(
    "--instances",
    type=FILE,
    help="COCO instances_*.json: also compute the columns that need it, else kept as they are.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Processors of this machine, or of a Ray cluster (docs/engines.md).",
)
def derive(dataset: str, columns: str | None, **options: Any) -> None:
    """Compute derived columns of DIR from its own raw columns.

    DIR is a dataset folder, a name under $LUAB_DATA_HOME, or a URL of any filesystem that pyarrow
    or fsspec knows. The result is a whole dataset; its version changes only if its content does.
    """
    import luab_data
    from luab_data.files import ALREADY

    names = None if columns is None else [name for name in listed(columns) or () if name]
    done = luab_data.derive(dataset, columns=names, **options)
    if done.is_same:
        click.echo(f"{done.out}: {ALREADY}")
    state = "new content" if done.changed and not done.is_same else "content as before"
    click.echo(f"{done.out}: version {done.version}, {state}, {done.num_rows['default']:,} images")
    click.echo(f"computed: {', '.join(done.columns)}")
    if done.kept:
        click.echo(f"kept as they were: {', '.join(done.kept)}")


@click.command()
@dataset()
@click.option(
    "--format",
    type=click.Choice(["imagefolder", "webdataset", "coco-keypoints", "fiftyone"]),
    required=True,
    help="What to write: class folders and metadata.parquet, tar shards, one COCO JSON file, or a"
    " FiftyOne dataset.",
)
@images("", required=True)
@click.option("--out", type=NEW, required=True, help="Folder to make (coco-keypoints: JSON file).")
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="Only images of this wnid (COCO: with an icon of this class). Can be given again.",
)
@click.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True),
    help="Only this fraction of every class (COCO: of all images); nested: 0.8 is inside 0.9.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="Only the first so many images of what is left."
)
@force("Replace an earlier export with other content.")
def export(dataset: str, **options: Any) -> None:
    """Write images of DATASET, a folder or a name under $LUAB_DATA_HOME, with their byproducts."""
    import luab_data
    from luab_data.files import ALREADY

    done = luab_data.export(dataset, **options)
    click.echo(f"{done.out}: {done.num_images:,} images")
    if done.same:
        click.echo(f"{done.out} {ALREADY}")
    if done.num_unselected:
        click.echo(
            f"not selected, so not of the class asked for, left out: {done.num_unselected:,}"
        )
    if done.rows_without_image.count:
        click.echo(f"rows without image, left out: {done.rows_without_image}")


@click.command()
@dataset()
@click.option(
    "--out",
    type=NEW,
    required=True,
    help="Folder to make; another report there is replaced with --force only.",
)
@images(" Default: grey boxes with the image's id.")
@click.option(
    "--page",
    multiple=True,
    metavar="PAGE",
    help="Replay this page: ASSIGNMENT:PAGE, or the id or file name of an image. Can be given"
    " again.",
)
@click.option(
    "--pages",
    type=click.IntRange(0, 100),
    help="How many other pages to choose and replay. Default: 4, or none with --page.",
)
@force("Replace another report.")
def report(dataset: str, **options: Any) -> None:
    """Write OUT/index.html: findings, statistics, figures, replays and annotators of DATASET.

    DATASET is a folder or a name under $LUAB_DATA_HOME. The page needs nothing else and loads
    nothing: open it in any browser, mail it, print it.
    """
    import luab_data
    from luab_data.files import ALREADY

    done = luab_data.report(dataset, **options)
    if done.same:
        click.echo(f"{done.page}: {ALREADY}")
        return
    number = counted(done.num_replays or 0, "page")
    click.echo(f"{done.page}: {done.num_bytes / 1e6:.1f} MB, {number} to replay")
    if options["images"] is not None and done.num_without_picture:
        click.echo(f"pictures without a file, shown as boxes: {done.num_without_picture}")


@click.command()
@dataset()
@click.option("--repo-id", required=True, metavar="OWNER/NAME", help="Where it goes on the Hub.")
@click.option("--private", is_flag=True, help="Make the repository private.")
@click.option("--dry-run", is_flag=True, help="Only list what would go; no network, no login.")
@click.option(
    "--license",
    metavar="ID",
    help="Licence of data that name none: an id of the Hub or of SPDX, e.g. cc-by-4.0.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="COLUMN",
    help="Publish its values though they look like e-mail addresses or hold a worker's id: look at"
    " them first. Can be given again.",
)
def publish(dataset: str, repo_id: str, **options: Any) -> None:
    """Upload DATASET, a folder or a name under $LUAB_DATA_HOME, with card and Croissant file.

    Refused unless the folder is whole, its worker ids are hashed with a key, no other text of it
    looks like an e-mail address or holds a worker's id, and it has a licence.
    """
    import luab_data

    done = luab_data.publish(dataset, repo_id, **options)
    total = sum(item.size for item in done.items)
    size = f"{len(done.items)} files, {total:,} bytes"
    if done.sent:
        click.echo(f"{done.url}: version {done.version}, {size}")
        return
    for item in done.items:
        click.echo(f"{item.sha256}  {item.size:>15,}  {item.path}")
    kind = "private" if done.private else "public"
    click.echo(f"{size} would go to {done.url} ({kind}), version {done.version}")
    click.echo(f"and replace there whatever else is in {', '.join(done.replaced)}")
