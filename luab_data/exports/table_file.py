"""[I/O] One table in one new file, CSV or Parquet by its name: --out of the analyses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import DatasetError, OptionError, OutputError
from luab_data.exports.target import new_target
from luab_data.store.folder import read_manifest


def check_table_file(out: Path, suffixes: Sequence[str] = (".csv", ".parquet")) -> None:
    """Refuse a name that cannot be written, before the work is done.

    Raises:
        OptionError: it ends in none of the suffixes.
        OutputError: it is there, or lies inside a dataset.
    """
    if out.suffix not in suffixes:
        raise OptionError(f"{out}: ends in {out.suffix!r}; expected {' or '.join(suffixes)}")
    if os.path.lexists(out):
        raise OutputError(f"{out}: is there, and is not replaced; choose another --out")
    for parent in out.absolute().parents:
        with suppress(DatasetError):
            read_manifest(parent)
            raise OutputError(f"{out}: lies inside the dataset {parent}; choose another --out")


def write_table_file(table: pa.Table, out: Path) -> None:
    """Write a table to a new file, whole or not at all.

    Args:
        table: in CSV its lists of strings are joined by `; `.
        out: ends in `.csv` or `.parquet`.

    Raises:
        OptionError, OutputError: see check_table_file; or the disk refuses.
    """
    check_table_file(out)
    with new_target(out) as partial:
        if out.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, partial)
            return
        from pyarrow import csv

        for place, field in enumerate(table.schema):
            if pa.types.is_list(field.type):
                joined = pc.binary_join(table[place].combine_chunks(), "; ")
                table = table.set_column(place, field.name, joined)
        csv.write_csv(table, partial)
