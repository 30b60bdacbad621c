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
    help="Folder to make; one with an earlier report and nothing else is written anew.",
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
    help="Replay this page: ASSIGNMENT:PAGE, or an image id of COCO. Can be given again.",
)
@click.option(
    "--pages",
    type=click.IntRange(0, 100),
    help="How many other pages to choose and replay. Default: 4, or none with --page.",
)
def report(
    dataset: str, out: Path, images: Path | None, page: tuple[str, ...], pages: int | None
) -> None:
    """Write OUT/index.html: statistics, figures, annotators and replays of pages of DATASET.

    DATASET is a folder or a name under $LUAB_DATA_HOME. The page needs nothing else and loads
    nothing: open it in any browser, mail it, print it.
    """
    from luab_data.reports import run

    done = run.report(dataset, out, images=images, page=page, pages=pages)
    click.echo(f"{done.page}: {done.num_bytes / 1e6:.1f} MB, {_pages(done.num_replays)} to replay")
    if images is not None and done.num_without_picture:
        click.echo(f"pictures without a file, shown as boxes: {done.num_without_picture}")


def _pages(number: int) -> str:
    return f"{number} page" if number == 1 else f"{number} pages"
