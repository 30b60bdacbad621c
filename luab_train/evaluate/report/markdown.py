"""Tables as Markdown: one as wide as the paper's, and below it every number with its interval."""

from __future__ import annotations

import re
from collections.abc import Sequence

from luab_train.evaluate.report import words
from luab_train.evaluate.report.layout import Column
from luab_train.evaluate.report.tables import Cell, Kind, Table, TableRow


def to_markdown(tables: Sequence[Table], *, details: bool = True) -> str:
    """All tables, each under a heading; ends with a line break, empty without tables.

    Args:
        details: whether every number follows with its interval, a line each.
    """
    lines: list[str] = []
    for table in tables:
        lines += [f"## {table.layout.title}", "", table.layout.caption, ""]
        lines += [*_wide(table), ""]
        for note in table.notes:
            lines += [f"- {note}"]
        if not details:
            lines += [""]
            continue
        lines += ["", "<details><summary>Every number with its interval</summary>", ""]
        lines += [*_long(table, "ours"), ""]
        if table.of_kind("difference"):
            lines += [*_long(table, "difference"), ""]
        lines += ["</details>", ""]
    return "\n".join(lines)


def _wide(table: Table) -> list[str]:
    columns = table.layout.columns
    head = ["", "seeds", *(column.head for column in columns)]
    rows = [
        [escaped(row.name), row.seeds, *(_cell(cell, c, row.kind) for cell, c in _of(row, columns))]
        for row in table.rows
    ]
    return aligned(head, rows, left=2)


def _cell(cell: Cell, column: Column, kind: Kind) -> str:
    text = words.short(cell, column, kind)
    return {1: f"**{text}**", -1: f"*{text}*", 0: text}[cell.verdict]


def _long(table: Table, kind: Kind) -> list[str]:
    """A line a column and row; those of a column together, for they are compared."""
    columns = table.layout.columns
    is_difference = kind == "difference"
    head = ["column", "difference" if is_difference else "model", "value", "95 % interval", "over"]
    head += ["p", "reading"] if is_difference else []
    rows = []
    for k, column in enumerate(columns):
        for row in table.of_kind(kind):
            cell = row.cells[k]
            line = [
                escaped(column.head), escaped(row.name), _value(cell, column, kind),
                words.span(cell, column, kind), words.over(cell),
            ]  # fmt: skip
            if is_difference:
                line += [words.p_value(cell), words.verdict(cell)]
            rows.append([*line, escaped(cell.note)])
    return aligned([*head, "notes"], rows, left=2)


def _value(cell: Cell, column: Column, kind: Kind) -> str:
    if cell.status != "value":
        return words.short(cell, column, kind)
    return words.number(cell.value, column, signed=kind == "difference", more=1)


def _of(row: TableRow, columns: Sequence[Column]) -> list[tuple[Cell, Column]]:
    return list(zip(row.cells, columns, strict=True))


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line of a table."""
    return re.sub(r"([\\`*_\[\]<>|~#$!])", r"\\\1", " ".join(text.split()))


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """A Markdown table whose columns line up in a terminal too.

    Args:
        left: how many columns are text; the others are numbers, set to the right.
    """
    widths = [max(3, *(len(row[i]) for row in [head, *rows])) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(w) if i < left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [line(head), line(rule), *(line(row) for row in rows)]
