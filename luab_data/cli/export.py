"""`luab-data export`: images with their byproducts, in formats of other tools."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("dataset", type=str)
@click.option(
    "--format",
    type=click.Choice(["imagefolder", "webdataset", "coco-keypoints", "fiftyone"]),
    required=True,
    help="What to write: class folders and metadata.parquet, tar shards, one COCO JSON file, or a"
    " FiftyOne dataset.",
)
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of the image files, at any depth.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to make (coco-keypoints: JSON file).",
)
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
@click.option("--force", is_flag=True, help="Replace an earlier export with other content.")
def export(
    dataset: str,
    format: str,
    images: Path,
    out: Path,
    classes: tuple[str, ...],
    fraction: float | None,
    limit: int | None,
    force: bool,
) -> None:
    """Write images of DATASET, a folder or a name under $LUAB_DATA_HOME, with their byproducts."""
    from luab_data.exports.run import export
    from luab_data.files import ALREADY

    done = export(
        dataset,
        images,
        out,
        format=format,
        classes=classes,
        fraction=fraction,
        limit=limit,
        force=force,
    )
    click.echo(f"{done.out}: {done.num_images:,} images")
    if done.same:
        click.echo(f"{done.out} {ALREADY}")
    if done.rows_without_image.count:
        click.echo(f"rows without image, left out: {done.rows_without_image}")
