"""[I/O] A requester's list of assignments -> what the log of their pages does not tell."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from luab_data.errors import OptionError
from luab_data.words import near

CODES = pa.schema(
    [
        ("assignment_id", pa.string()),
        ("is_recorded", pa.bool_()),  # whether the tool's data base has the assignment
        ("is_code_right", pa.bool_()),  # whether the survey code is the one that the tool gave
        ("num_selections", pa.int64()),  # among all 480 pictures of the HIT
        ("mturk_status", pa.string()),  # AssignmentStatus of MTurk's results file
    ]
)
"""What a requester knows beside the log; null is not known."""

_OWN = tuple(CODES.names[:4])
_MTURK = {"AssignmentId": "assignment_id", "AssignmentStatus": "mturk_status"}
_ANSWER = "Answer."
_STATUSES = ("Submitted", "Approved", "Rejected")
_TRUTHS = {"true": True, "1": True, "false": False, "0": False, "": None}


def read_codes(path: str | os.PathLike[str]) -> pa.Table:
    """CODES from a CSV file with a header, its cells set apart by comma, semicolon or tab.

    Ours has `assignment_id` and some of `is_recorded`, `is_code_right` (true or false, or 1, 0) and
    `num_selections` (a whole number); an empty cell is not known. Of COCO-AB `assignment_id` is the
    `hit_id`. MTurk's own results file is read too: AssignmentId, AssignmentStatus, whether any
    Answer.* is filled (without, the code is wrong; whether a given code is right it cannot tell),
    and columns of ours that were added to it. Nothing else of it is kept. Blanks around names and
    cells do not count.

    Raises:
        OptionError: not such a file; says which line. Cells are not quoted: a worker id could be in
            the wrong column.
    """
    path = Path(path)
    rows: list[dict[str, object]] = []
    lines: dict[object, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            read = partial(csv.reader, delimiter=max(",;\t", key=header.count), strict=True)
            names = [name.strip() for name in next(read([header]), [])]
            _check_header(path, names)
            cells = read(file)
            for row in cells:
                number = cells.line_num + 1
                where = f"{path}, line {number}"
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(names):
                    raise OptionError(f"{where}: has more or fewer cells than the header")
                values = _values(where, dict(zip(names, map(str.strip, row), strict=True)))
                earlier = lines.setdefault(values["assignment_id"], number)
                if earlier != number:
                    raise OptionError(f"{where}: has the assignment of line {earlier} again")
                rows.append(values)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{path}: cannot be read as CSV in UTF-8 ({error})") from error
    if not rows:
        raise OptionError(f"{path}: has a header and no assignment; expected a line for each")
    return pa.Table.from_pylist(rows, CODES)


def _check_header(path: Path, names: Sequence[str]) -> None:
    wanted = f"assignment_id and some of {', '.join(_OWN[1:])}, each once, or MTurk's results file"
    known = [name for name in names if name in _OWN]
    if len(set(names)) < len(names):
        raise OptionError(f"{path}, line 1: names a column twice; expected {wanted}")
    if "AssignmentId" in names and "assignment_id" not in names:
        return
    if "assignment_id" not in names:  # without a header these would be cells: not quoted
        shown = f", among them {', '.join(known)}" if known else ""
        raise OptionError(
            f"{path}, line 1: {len(names)} columns{shown}, and no assignment_id; expected {wanted}"
        )
    unknown = [name for name in names if name not in _OWN]
    if unknown:
        guess = near(unknown[0], _OWN, most=1)
        hint = f"; did you mean {guess[0]}?" if guess else f"; expected {wanted}. Take it out"
        raise OptionError(f"{path}, line 1: unknown column {unknown[0]!r:.40}{hint}")
    if len(known) < 2:
        raise OptionError(f"{path}, line 1: the only column is assignment_id; expected {wanted}")
    if ("is_recorded" in names) != ("is_code_right" in names):
        raise OptionError(
            f"{path}, line 1: is_recorded and is_code_right make one rule; expected both or neither"
        )


def _values(where: str, cells: Mapping[str, str]) -> dict[str, object]:
    """A row of CODES."""
    found = {ours: cells[theirs] for theirs, ours in _MTURK.items() if theirs in cells}
    found |= {name: cells[name] for name in _OWN if name in cells}
    values: dict[str, object] = {"assignment_id": found["assignment_id"]}
    if not found["assignment_id"]:
        raise OptionError(f"{where}: has no assignment_id")
    for name in ("is_recorded", "is_code_right"):
        if (text := found.get(name, "").lower()) not in _TRUTHS:
            raise OptionError(f"{where}: {name} is neither true nor false")
        values[name] = _TRUTHS[text]
    # pandas writes whole numbers as 210.0 where a cell of the column is empty.
    text = re.sub(r"\.0+$", "", found.get("num_selections", ""))
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise OptionError(f"{where}: num_selections is not a whole number")
    values["num_selections"] = int(text) if text else None
    if "AssignmentId" in cells:
        status = found.get("mturk_status", "")
        values["mturk_status"] = status if status in _STATUSES else "other"
        answers = [cell for name, cell in cells.items() if name.startswith(_ANSWER)]
        if answers and not any(answers) and values["is_code_right"] is None:
            values["is_code_right"] = False
    return values
