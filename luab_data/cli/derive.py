"""`luab-data derive`: derived columns of a dataset folder again, without the raw log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("dataset", metavar="DIR", type=str)
@click.option(
    "--columns",
    metavar="A,B,...",
    help="Derived columns to compute; optional ones are added. Default: all that DIR has.",
)
@click.option(
    "--out", type=str, help="Folder or URL to write. Default: replace DIR, once all is written."
)
@click.option("--force", is_flag=True, help="Replace another dataset of luab at OUT.")
@click.option(
    "--instances",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="COCO instances_*.json: also compute the columns that need it, else kept as they are.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Processors of this machine, or of a Ray cluster (docs/engines.md).",
)
def derive(
    dataset: str,
    columns: str | None,
    out: str | None,
    force: bool,
    instances: Path | None,
    engine: Any,
) -> None:
    """Compute derived columns of DIR from its own raw columns.

    DIR is a dataset folder, a name under $LUAB_DATA_HOME, or a URL of any filesystem that pyarrow
    or fsspec knows. The result is a whole dataset; its version changes only if its content does.
    """
    from luab_data.derivation.derive import derive as compute
    from luab_data.files import ALREADY

    names = (
        None if columns is None else [name.strip() for name in columns.split(",") if name.strip()]
    )
    done = compute(dataset, columns=names, out=out, instances=instances, engine=engine, force=force)
    if done.is_same:
        click.echo(f"{done.out}: {ALREADY}")
    state = "new content" if done.changed and not done.is_same else "content as before"
    click.echo(f"{done.out}: version {done.version}, {state}, {done.num_rows['default']:,} images")
    click.echo(f"computed: {', '.join(done.columns)}")
    if done.kept:
        click.echo(f"kept as they were: {', '.join(done.kept)}")
