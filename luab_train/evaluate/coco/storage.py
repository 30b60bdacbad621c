"""What a model said, as Parquet: every metric can be taken again without the model.     [I/O]

OUT/scores.parquet     a row an image: its labels, its scores, its points
OUT/objects.parquet    a row for each class in an image: its masks, its erasure
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from luab_data.errors import DatasetError, OutputError
from luab_data.schema import COCO_CLASSES

NUM_CLASSES = len(COCO_CLASSES)
_LOGITS = pa.list_(pa.float32(), NUM_CLASSES)
_KEY = b"luab_evaluation"

SCORES = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("labels", pa.list_(pa.uint8()), nullable=False),
        pa.field("logits", _LOGITS, nullable=False),
        pa.field("point_x", pa.list_(pa.float32())),
        pa.field("point_y", pa.list_(pa.float32())),
    ]
)
"""points: one for all classes or one for each, fractions of the original image; null from a model
that was not trained to point."""

OBJECTS = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("label", pa.uint8(), nullable=False),
        pa.field("status", pa.uint8(), nullable=False),
        pa.field("area", pa.float32(), nullable=False),
        pa.field("visible", pa.float32()),
        pa.field("chance", pa.float32(), nullable=False),
        pa.field("is_centre_on_mask", pa.bool_(), nullable=False),
        pa.field("is_point_on_mask", pa.bool_()),
        pa.field("covered", pa.list_(pa.float32()), nullable=False),
        pa.field("logits_erased", _LOGITS),
    ]
)
"""status: see scenes.Status; area, visible, chance: see scenes.Seen; covered: of each class of the
image, in the order of its labels, the share of its pixels that erasing this one takes;
logits_erased: scores of all classes without this one, null unless it was erased."""


class Tables(NamedTuple):
    """The two tables of one model, rows of both by ascending image id."""

    scores: pa.Table
    objects: pa.Table
    facts: dict[str, Any]
    """How they were made."""


class RowWriter:
    """Rows that come in small batches, in one Parquet file that appears when it is complete.

    Args:
        path: the file; None keeps the rows in memory.
        schema: of the rows.
        facts: kept in the file's metadata, as JSON.
        row_group: rows to hold before they are written.
    """

    def __init__(
        self,
        path: Path | None,
        schema: pa.Schema,
        facts: Mapping[str, Any],
        *,
        row_group: int = 4096,
    ) -> None:
        self.path = path
        self.schema = schema.with_metadata({_KEY: json.dumps(facts).encode()})
        self._row_group = row_group
        self._held: list[pa.Table] = []
        self._num_held = 0
        self._partial = None if path is None else path.with_name(f".{path.name}.partial")
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> RowWriter:
        if self._partial is not None:
            try:
                self._partial.parent.mkdir(parents=True, exist_ok=True)
                self._writer = pq.ParquetWriter(self._partial, self.schema, compression="zstd")
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
        return self

    def add(self, columns: Mapping[str, Any]) -> None:
        """Append rows.

        Args:
            columns: one value a field of the schema, each an Arrow array or what makes one.
        """
        arrays = [
            c if isinstance(c, pa.Array) else pa.array(c, field.type)
            for field, c in ((field, columns[field.name]) for field in self.schema)
        ]
        self._held.append(pa.Table.from_arrays(arrays, schema=self.schema))
        self._num_held += len(self._held[-1])
        if self._writer is not None and self._num_held >= self._row_group:
            self._flush()

    def _flush(self) -> None:
        assert self._writer is not None and self.path is not None
        if self._held:
            try:
                self._writer.write_table(pa.concat_tables(self._held).combine_chunks())
            except OSError as error:
                raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._held, self._num_held = [], 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is None or self._partial is None or self.path is None:
            return
        try:
            if kind is None:
                self._flush()
            self._writer.close()
            if kind is None:
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)

    def table(self) -> pa.Table:
        """All rows, read back from the file if there is one; after the `with` block."""
        if self.path is not None:
            return pq.read_table(self.path)
        return pa.concat_tables(self._held) if self._held else self.schema.empty_table()


def logits_array(logits_NC: np.ndarray, there_N: np.ndarray | None = None) -> pa.Array:
    """(N, C) float32 as a column; rows where `there_N` is false are null."""
    values = pa.array(np.ascontiguousarray(logits_NC, dtype=np.float32).ravel())
    mask = None if there_N is None else pa.array(~there_N)
    return pa.FixedSizeListArray.from_arrays(values, type=_LOGITS, mask=mask)


def logits_matrix(column: pa.ChunkedArray) -> np.ndarray:
    """The column as (N, C) float32, without its null rows."""
    values = column.drop_null().combine_chunks().flatten()
    matrix: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(-1, NUM_CLASSES)
    return matrix


def read_tables(out: Path) -> Tables:
    """The tables that `evaluate_coco` wrote."""
    tables = []
    for name, schema in (("scores", SCORES), ("objects", OBJECTS)):
        path = out / f"{name}.parquet"
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise DatasetError(
                f"{path}: cannot be read ({error}); expected a folder that the evaluation on COCO"
                " wrote to its end"
            ) from error
        if not table.schema.equals(schema) or _KEY not in (table.schema.metadata or {}):
            raise DatasetError(
                f"{path}: holds {table.schema.names}; expected {schema.names} as this version of"
                " luab writes them. Evaluate the model again"
            )
        tables.append(table)
    facts = [json.loads(table.schema.metadata[_KEY]) for table in tables]
    if facts[0] != facts[1]:
        raise DatasetError(
            f"{out}: scores.parquet and objects.parquet come from different evaluations; evaluate"
            " the model again"
        )
    return Tables(tables[0], tables[1], facts[0])
