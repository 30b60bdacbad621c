"""[I/O] A few rows of a large table: only row groups that hold one of them are read whole."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.errors import DatasetError
from luab_data.schema import Table
from luab_data.store.folder import parquet_files


def rows_with(
    folder: Path, table: Table, columns: Sequence[str], key: str, values: Collection[Any]
) -> pa.Table:
    """The rows of a config whose `key` is one of the values.

    Pictures of a page are of one class and lie close together, so this reads far less than a pass
    over the traces of all.

    Raises:
        DatasetError: a file is damaged; says which.
    """
    schema = table.schema()
    wanted = pa.array(sorted(values), schema.field(key).type)
    names = list(dict.fromkeys([*columns, key]))
    parts = [part.select(names) for part in _parts(folder, table, names, key, wanted)]
    return (
        pa.concat_tables(parts) if parts else pa.schema([*map(schema.field, names)]).empty_table()
    )


def _parts(
    folder: Path, table: Table, names: list[str], key: str, wanted: pa.Array
) -> Iterator[pa.Table]:
    for path in parquet_files(folder, table):
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for group in range(file.num_row_groups):
                    keys = file.read_row_group(group, columns=[key])[key]
                    mask = pc.is_in(keys, value_set=wanted)
                    if pc.any(mask).as_py():
                        yield file.read_row_group(group, columns=names).filter(mask)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{path}: damaged ({error}); convert again") from error
