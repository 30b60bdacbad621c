"""[I/O] A requester's list of assignments -> what the log of their pages does not tell."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa

from luab_data.errors import OptionError

CODES = pa.schema(
    [
        ("assignment_id", pa.string()),
        ("is_recorded", pa.bool_()),  # whether the tool's data base has the assignment
        ("is_code_right", pa.bool_()),  # whether the survey code is the one that the tool gave
        ("num_selections", pa.int64()),  # among all 480 pictures of the HIT
    ]
)
"""What a requester knows beside the log; null is not known."""

_TRUTHS = {"true": True, "1": True, "false": False, "0": False, "": None}


def read_codes(path: Path) -> pa.Table:
    """CODES from a CSV with a header: `assignment_id` and some of the other columns.

    `is_recorded` and `is_code_right` are true or false (or 1, 0), `num_selections` a whole number;
    an empty cell is not known. Of COCO-AB `assignment_id` is the `hit_id`.

    Raises:
        OptionError: not such a file; says which line. Cells are not quoted: a worker id could be in
            the wrong column.
    """
    columns: dict[str, list[Any]] = {name: [] for name in CODES.names}
    lines: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            _check_header(path, rows.fieldnames)
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                values = _code_row(where, row)
                earlier = lines.setdefault(values["assignment_id"], rows.line_num)
                if earlier != rows.line_num:
                    raise OptionError(f"{where}: has the assignment of line {earlier} again")
                for name, column in columns.items():
                    column.append(values.get(name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{path}: cannot be read as CSV in UTF-8 ({error})") from error
    return pa.table(columns, CODES)


def _check_header(path: Path, names: Any) -> None:
    found = list(names or [])
    wanted = f"assignment_id and some of {', '.join(CODES.names[1:])}"
    unknown = sorted(set(found) - set(CODES.names))
    if unknown or "assignment_id" not in found or len(set(found)) < len(found) or len(found) < 2:
        shown = f"{', '.join(found) or 'nothing'}"
        what = f"unknown column {unknown[0]!r:.40}" if unknown else f"the columns are {shown}"
        raise OptionError(f"{path}, line 1: {what}; expected {wanted}, each once")
    if ("is_recorded" in found) != ("is_code_right" in found):
        raise OptionError(
            f"{path}, line 1: is_recorded and is_code_right make one rule; expected both or neither"
        )


def _code_row(where: str, row: dict[str, Any]) -> dict[str, Any]:
    if None in row or None in row.values():
        raise OptionError(f"{where}: has more or fewer cells than the header")
    values: dict[str, Any] = {"assignment_id": row["assignment_id"].strip()}
    if not values["assignment_id"]:
        raise OptionError(f"{where}: has no assignment_id")
    for name in ("is_recorded", "is_code_right"):
        text = row.get(name, "").strip().lower()
        if text not in _TRUTHS:
            raise OptionError(f"{where}: {name} is neither true nor false")
        values[name] = _TRUTHS[text]
    text = row.get("num_selections", "").strip()
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise OptionError(f"{where}: num_selections is not a whole number")
    values["num_selections"] = int(text) if text else None
    return values
