"""`luab-data where`: the folder that a name stands for."""

from __future__ import annotations

import click


@click.command()
@click.argument("dataset", type=str)
def where(dataset: str) -> None:
    """Print the folder of DATASET, a path or a name under $LUAB_DATA_HOME, if it is whole.

    Exits with 1 and says where it looked if there is none, or what is missing of it.
    """
    from luab_data.store.load import find_dataset

    click.echo(find_dataset(dataset).absolute())
