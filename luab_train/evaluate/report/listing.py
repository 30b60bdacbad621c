"""Tables as CSV: one line a cell, with all that is known of it, for other programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from luab_train.evaluate.report.tables import Table

FIELDS = (
    *("table", "kind", "row", "seeds", "benchmark", "metric", "column", "direction", "status"),
    *("value", "low", "high", "n", "over", "p_value", "test", "verdict", "note"),
)
_STATUS = {"text": "quoted", "absent": "not printed"}


def to_csv(tables: Sequence[Table]) -> str:
    """All cells of all tables; a number that does not exist is empty, and `status` says why."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.layout.columns, row.cells, strict=True):
                numbers = [_number(v) for v in (cell.value, cell.low, cell.high)]
                if cell.status == "text":
                    numbers[0] = cell.text
                writer.writerow(
                    [
                        table.layout.key, row.kind, _plain(row.name), row.seeds, *column.key,
                        column.title, column.direction, _STATUS.get(cell.status, cell.status),
                        *numbers, cell.n or "", cell.over, _number(cell.p_value), cell.test,
                        {1: "better", -1: "worse", 0: ""}[cell.verdict], _plain(cell.note),
                    ]
                )  # fmt: skip
    return text.getvalue()


def _number(value: float) -> str:
    return f"{value:.10g}" if math.isfinite(value) else ""


def _plain(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
