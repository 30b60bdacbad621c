"""Rows of results.jsonl: how they are kept, and what each says about its origin.     [I/O]"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luab_data.errors import OptionError, OutputError
from luab_data.files import write_whole
from luab_train.evaluate.predictor import Predictor
from luab_train.train.device import versions

Row = dict[str, Any]
"""One line of results.jsonl; None is a number that does not exist, and `status` says why."""


def provenance(predictor: Predictor) -> Row:
    """Model, input, versions and date, for every row."""
    return {
        "model": predictor.name,
        "weights": predictor.digest,
        "image_size": predictor.data.image_size,
        "interpolation": predictor.data.interpolation,
        "precision": predictor.precision,
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def replace_rows(file: Path, name: str, rows: Sequence[Row]) -> None:
    """Write results.jsonl anew with the rows of one benchmark replaced."""
    kept = [row for row in read_results(file) if row.get("benchmark") != name]
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in [*kept, *rows])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{file.parent}: cannot be made ({error.strerror})") from error
    write_whole(file, text.encode())


def read_results(file: Path) -> list[Row]:
    """The rows of a results.jsonl; none if there is no such file."""
    if not file.exists():
        return []
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise OptionError(
            f"{file}: not JSON lines ({error}); expected what luab-train eval wrote, delete it and"
            " evaluate again"
        ) from error
