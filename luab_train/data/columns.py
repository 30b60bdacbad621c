"""Columns of Parquet files as NumPy arrays; null is NaN.     [I/O]"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.errors import DatasetError


def read_columns(files: list[Path], columns: list[str]) -> pa.Table:
    """Some columns of Parquet files, one after another, checked against their checksums."""
    tables = []
    for file in files:
        try:
            with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                missing = sorted(set(columns) - set(parquet.schema_arrow.names))
                tables.append(parquet.read(columns=columns))
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{file}: cannot be read ({error}); convert the raw log again"
            ) from error
        if missing:
            raise DatasetError(
                f"{file}: columns {', '.join(missing)} are absent; expected the table that"
                " luab-data writes, see docs/columns.md"
            )
    # promote: one shard may hold null columns only, or large_string beside string.
    return pa.concat_tables(tables, promote_options="permissive")


def floats(table: pa.Table, name: str) -> np.ndarray:
    """(N,) float64; null is NaN."""
    values: np.ndarray = pc.fill_null(pc.cast(table[name], pa.float64()), math.nan).to_numpy()
    return values
