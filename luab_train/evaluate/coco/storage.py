"""What a model said, as Parquet: every metric can be taken again without the model.     [I/O]

OUT/scores.parquet     a row an image: its labels, its scores, its points
OUT/objects.parquet    a row for each class in an image: its masks, its erasure
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from luab_data.errors import DatasetError
from luab_data.schema import COCO_CLASSES
from luab_train.evaluate.predictions import KEY, write_predictions

NUM_CLASSES = len(COCO_CLASSES)
_LOGITS = pa.list_(pa.float32(), NUM_CLASSES)

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


def write_tables(out: Path, tables: Tables) -> None:
    """Write both files."""
    for name, table in (("scores", tables.scores), ("objects", tables.objects)):
        write_predictions(out / f"{name}.parquet", table, tables.facts)


def read_tables(out: Path) -> Tables:
    """The tables that `write_tables` wrote."""
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
        if not table.schema.equals(schema) or KEY not in (table.schema.metadata or {}):
            raise DatasetError(
                f"{path}: holds {table.schema.names}; expected {schema.names} as this version of"
                " luab writes them. Evaluate the model again"
            )
        tables.append(table)
    facts = [json.loads(table.schema.metadata[KEY]) for table in tables]
    if facts[0] != facts[1]:
        raise DatasetError(
            f"{out}: scores.parquet and objects.parquet come from different evaluations; evaluate"
            " the model again"
        )
    return Tables(tables[0], tables[1], facts[0])
