"""`luab-data trace`: one record of a dataset and where it came from."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("dataset", metavar="DIR", type=str)
@click.argument("image_id", type=str)
@click.option("--json", "as_json", is_flag=True, help="One JSON object with every list in full.")
def trace(dataset: str, image_id: str, as_json: bool) -> None:
    """Print IMAGE_ID of DIR: raw and derived values, and how the ones follow from the others.

    DIR is a dataset folder or a name under $LUAB_DATA_HOME; IMAGE_ID may be a file name. Says which
    log and row it came from, which round decided and why, and which lint rules its rows break.
    """
    from luab_data.provenance.record import as_text, trace

    record = trace(dataset, image_id)
    click.echo(json.dumps(record.as_dict(), indent=2) if as_json else as_text(record))
