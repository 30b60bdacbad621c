"""Predictions of one part as a Parquet file: every metric follows from them.     [I/O]

A file appears under its name in one rename, so one that exists is complete. Its metadata say which
weights, images and settings made it; `is_current` asks whether they are still the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.errors import OptionError, OutputError
from luab_data.files import flush
from luab_train.evaluate.classes import Accepted

SCHEMA = pa.schema(
    {
        "image_id": pa.string(),  # path in the benchmark's folder
        "label": pa.string(),
        "top5_class": pa.list_(pa.string()),  # wnids, most probable first, ties by class order
        "top5_probability": pa.list_(pa.float32()),  # softmax over the classes of the part's mask
        "margin": pa.float32(),  # first minus second probability
        "max_probability": pa.float32(),
        "label_log_probability": pa.float32(),  # natural, of all classes that are right together
        "max_logit": pa.float32(),  # highest logit of these classes
        "energy": pa.float32(),  # logarithm of the sum of their exponentials
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

KEY = b"luab"
"""Of what a file was told, in its metadata."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions of one part, read back; `N` images that have one.

    Args:
        name: of the part.
        table: columns of SCHEMA, PAIRS_SCHEMA or `wsol.localise`, of the N images.
        about: what `write_predictions` was told.
        num_bad: images without a prediction; they are not in the table.
    """

    name: str
    table: pa.Table
    about: Mapping[str, Any]
    num_bad: int = 0

    @cached_property
    def image_id(self) -> np.ndarray:
        """(N,) text."""
        return _text(self.table["image_id"])

    @cached_property
    def label(self) -> np.ndarray:
        """(N,) text."""
        return _text(self.table["label"])

    @cached_property
    def top1(self) -> np.ndarray:
        """(N,) text, the predicted wnid."""
        if not len(self.table):
            return np.empty(0, str)
        return _text(pc.list_element(self.table["top5_class"], 0))

    def numbers(self, column: str) -> np.ndarray:
        """(N,) float64 of a column; NaN where it is null."""
        values: np.ndarray = self.table[column].to_numpy().astype(np.float64)
        return values

    @property
    def max_probability(self) -> np.ndarray:
        """(N,) float64."""
        return self.numbers("max_probability")

    @property
    def accepted(self) -> Accepted:
        """Label -> wnids that are right."""
        return {key: tuple(wnids) for key, wnids in self.about["accepted"].items()}


def write_predictions(file: Path, table: pa.Table, about: Mapping[str, Any]) -> None:
    """Write a table of SCHEMA or PAIRS_SCHEMA atomically.

    Args:
        file: where.
        table: the rows.
        about: weights digest, part digest, settings, accepted labels, counts; as JSON in the file.
    """
    # Two processes may evaluate the same model: each has a file of its own until it is complete.
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    text = json.dumps(dict(about), sort_keys=True).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata({KEY: text}), partial, compression="zstd")
        flush(partial)
        partial.replace(file)
        for left in file.parent.glob(f".{file.name}*.partial"):  # of a process that was killed
            left.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and file.exists():
            return  # another process was done a moment earlier, and took ours for a leftover
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OutputError(f"{file}: cannot be written ({error.strerror or error})") from error


def keep(file: Path, table: pa.Table, about: Mapping[str, Any]) -> str:
    """Write predictions; why they could not be, or nothing. They were made, so they count."""
    try:
        write_predictions(file, table, about)
    except OutputError as error:
        return str(error)
    return ""


def digest_of(files: Iterable[Path]) -> str:
    """sha256 of the names and contents of files that hold labels, boxes or masks."""
    told = hashlib.sha256()
    for file in files:
        told.update(f"{file.name} {file.stat().st_size}\n".encode())
        told.update(file.read_bytes())
    return told.hexdigest()


def is_current(file: Path, about: Mapping[str, Any], columns: Iterable[str]) -> bool:
    """Whether `file` was made by the weights, images and settings that `about` names, and holds
    these columns.
    """
    if not file.exists():
        return False
    schema = _schema(file)
    found = _about(schema, file)
    same = all(found.get(key) == about[key] for key in ("weights", "part", "settings"))
    return same and set(columns) <= set(schema.names)


def read_predictions(file: Path) -> Predicted:
    """Read one part back; images with an error are counted and left out."""
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error
    return of_table(file.stem, table, _about(table.schema, file))


def of_table(name: str, table: pa.Table, about: Mapping[str, Any]) -> Predicted:
    """Predictions that were not written yet, as they will be read back."""
    there = table.filter(pc.is_null(table["error"])) if "error" in table.column_names else table
    return Predicted(name, there, about, len(table) - len(there))


def read_about(file: Path) -> dict[str, Any]:
    """What a file was told, without its rows."""
    return _about(_schema(file), file)


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> OptionError:
    return OptionError(f"{file}: cannot be read ({error}); delete it and evaluate again")


def _about(schema: pa.Schema, file: Path) -> dict[str, Any]:
    text = (schema.metadata or {}).get(KEY)
    if text is None:
        raise OptionError(f"{file}: not written by luab-train eval; delete it and evaluate again")
    content: dict[str, Any] = json.loads(text)
    return content


def _text(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=str)
