"""Predictions of one part as a Parquet file: every metric follows from them.     [I/O]

A file appears under its name in one rename, so one that exists is complete. Its metadata say which
weights, images and settings made it; `is_current` asks whether they are still the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.errors import OptionError, OutputError
from luab_train.evaluate.mappings import Accepted

SCHEMA = pa.schema(
    {
        "image_id": pa.string(),  # path in the benchmark's folder
        "label": pa.string(),
        "top5_class": pa.list_(pa.string()),  # wnids, most probable first, ties by class order
        "top5_probability": pa.list_(pa.float32()),  # softmax over the classes of the part's mask
        "margin": pa.float32(),  # first minus second probability
        "max_probability": pa.float32(),
        "point_x": pa.float32(),  # fractions of the original image, null without a trained head
        "point_y": pa.float32(),
        "error": pa.string(),  # why the image has no prediction, null if it has one
    }
)
"""One row per image."""

PAIRS_SCHEMA = pa.schema(
    {
        "image_id": pa.string(),  # of the foreground
        "label": pa.string(),
        "is_robust": pa.bool_(),  # right on every background; null with an error
        "num_tried": pa.int64(),  # backgrounds tried before it was decided
        "failed_background": pa.string(),  # the first that fooled the model, null if none did
        "failed_class": pa.string(),  # wnid predicted there
        "error": pa.string(),
    }
)
"""One row per foreground of the Backgrounds Challenge."""

_KEY = b"luab"


class Predicted(NamedTuple):
    """Predictions of one part, read back; N images that have one."""

    image_id: np.ndarray
    """(N,) text."""
    label: np.ndarray
    """(N,) text."""
    top1: np.ndarray
    """(N,) text, the predicted wnid."""
    max_probability: np.ndarray
    """(N,) float64."""
    accepted: Accepted
    about: Mapping[str, Any]
    """What `write_predictions` was told."""
    num_bad: int
    """Images without a prediction; they are in no other field."""
    table: pa.Table
    """All columns of the N images."""


def write_predictions(file: Path, table: pa.Table, about: Mapping[str, Any]) -> None:
    """Write a table of SCHEMA or PAIRS_SCHEMA atomically.

    Args:
        file: where.
        table: the rows.
        about: weights digest, part digest, settings, accepted labels, counts; as JSON in the file.
    """
    partial = file.with_name(f".{file.name}.partial")
    text = json.dumps(dict(about), sort_keys=True).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata({_KEY: text}), partial, compression="zstd")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{file}: cannot be written ({error})") from error


def is_current(file: Path, about: Mapping[str, Any]) -> bool:
    """Whether `file` was made by the weights, images and settings that `about` names."""
    keys = ("weights", "part", "settings")
    found = read_about(file) if file.exists() else {}
    return all(key in found and found[key] == about[key] for key in keys)


def read_predictions(file: Path) -> Predicted:
    """Read one part back; images with an error are counted and left out."""
    table = _read(file)
    about = _about(table.schema, file)
    there = table.filter(pc.is_null(table["error"]))
    return Predicted(
        image_id=_text(there["image_id"]),
        label=_text(there["label"]),
        top1=_text(pc.list_element(there["top5_class"], 0)) if len(there) else np.empty(0, str),
        max_probability=there["max_probability"].to_numpy().astype(np.float64),
        accepted={key: tuple(wnids) for key, wnids in about["accepted"].items()},
        about=about,
        num_bad=len(table) - len(there),
        table=there,
    )


def read_pairs(file: Path) -> tuple[pa.Table, Mapping[str, Any]]:
    """Rows of a PAIRS_SCHEMA file, with errors, and what it was told."""
    table = _read(file)
    return table, _about(table.schema, file)


def read_about(file: Path) -> dict[str, Any]:
    """What a file was told, without its rows."""
    try:
        schema = pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error
    return _about(schema, file)


def _read(file: Path) -> pa.Table:
    try:
        return pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> OptionError:
    return OptionError(f"{file}: cannot be read ({error}); delete it and evaluate again")


def _about(schema: pa.Schema, file: Path) -> dict[str, Any]:
    text = (schema.metadata or {}).get(_KEY)
    if text is None:
        raise OptionError(f"{file}: not written by luab-train eval; delete it and evaluate again")
    content: dict[str, Any] = json.loads(text)
    return content


def _text(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=str)
