"""`luab-data report`: a dataset as one page to look at."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("dataset", type=str)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to make; another report there is replaced with --force only.",
)
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the image files, at any depth. Default: grey boxes with the image's id.",
)
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
@click.option("--force", is_flag=True, help="Replace another report.")
def report(
    dataset: str,
    out: Path,
    images: Path | None,
    page: tuple[str, ...],
    pages: int | None,
    force: bool,
) -> None:
    """Write OUT/index.html: findings, statistics, figures, replays and annotators of DATASET.

    DATASET is a folder or a name under $LUAB_DATA_HOME. The page needs nothing else and loads
    nothing: open it in any browser, mail it, print it.
    """
    from luab_data.files import ALREADY
    from luab_data.reports import run
    from luab_data.words import counted

    done = run.report(dataset, out, images=images, page=page, pages=pages, force=force)
    if done.same:
        click.echo(f"{done.page}: {ALREADY}")
        return
    number = counted(done.num_replays or 0, "page")
    click.echo(f"{done.page}: {done.num_bytes / 1e6:.1f} MB, {number} to replay")
    if images is not None and done.num_without_picture:
        click.echo(f"pictures without a file, shown as boxes: {done.num_without_picture}")
