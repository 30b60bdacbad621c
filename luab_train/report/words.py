"""Tables as text: what each cell says, the same in Markdown, LaTeX and HTML."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from luab_train.report.layouts import KINDS, Cell, Column, Kind, Table, TableRow

MINUS = "−"
VERDICTS: dict[int, Literal["", "better", "worse"]] = {1: "better", -1: "worse", 0: ""}
"""Whether an interval leaves out 0, and on which side."""


def number(value: float, column: Column, *, signed: bool = False, more: int = 0) -> str:
    """`77.5`, or `+0.3`; what rounds to zero has no minus. NaN is `–`.

    Args:
        more: digits beyond those of the column.
    """
    if not math.isfinite(value):
        return "–"
    digits = column.digits + more
    rounded = round(value, digits) + 0.0
    return format(rounded, f"{'+' if signed else ''}.{digits}f").replace("-", MINUS)


def short(cell: Cell, column: Column, kind: Kind, table: Table) -> str:
    """A cell of a wide table: `77.5`, `77.5 ± 0.2` over seeds, `+0.3`, `missing`; with its marks.

    Where the table is narrow, an interval of any other kind stands beside the number too.
    """
    marks = "".join(table.marks[mark] for mark in cell.marks)
    return _unmarked(cell, column, kind, table.is_narrow) + marks


def _unmarked(cell: Cell, column: Column, kind: Kind, is_narrow: bool) -> str:
    if cell.text or cell.status in ("empty", "not printed"):
        return cell.text
    if cell.status != "value":
        return "–" if cell.status == "none" else cell.status
    signed = kind == "difference"
    text = number(cell.value, column, signed=signed)
    if not (math.isfinite(cell.low) and math.isfinite(cell.high)):
        return text
    if kind == "ours" and cell.over == "seeds":
        return f"{text} ± {number((cell.high - cell.low) / 2, column)}"
    low, high = (number(end, column, signed=signed) for end in (cell.low, cell.high))
    return f"{text} [{low}, {high}]" if is_narrow else text


def value(cell: Cell, column: Column, kind: Kind, table: Table) -> str:
    """A cell by itself, with one digit more than in a wide table."""
    if cell.status != "value" or cell.text:
        return short(cell, column, kind, table)
    return number(cell.value, column, signed=kind == "difference", more=1)


def span(cell: Cell, column: Column, kind: Kind) -> str:
    """`77.1 to 77.9`, empty where there is no interval."""
    if not (math.isfinite(cell.low) and math.isfinite(cell.high)):
        return ""
    signed = kind == "difference"
    low, high = (number(v, column, signed=signed, more=1) for v in (cell.low, cell.high))
    return f"{low} to {high}"


def over(cell: Cell) -> str:
    """`50,000 images`, `3 seeds`; empty where it is unknown."""
    if not cell.n:
        return ""
    what = cell.over or "images"
    return f"{cell.n:,} {what if cell.n != 1 else what.removesuffix('s')}"


def p_value(cell: Cell) -> str:
    """`0.03 (McNemar)`, empty without a test."""
    if not math.isfinite(cell.p_value):
        return ""
    text = f"{cell.p_value:.2g}" if cell.p_value >= 1e-3 else "< 0.001"
    return f"{text} ({cell.test})"


def seeds(row: TableRow) -> str:
    """How many, and which: `3 (0 1 2)`."""
    return f"{len(row.seeds)} ({' '.join(map(str, row.seeds))})" if row.seeds else ""


def notes(table: Table) -> list[str]:
    """What stands below a table: its marks, then its sentences."""
    return [*(f"{letter} {mark}." for mark, letter in table.marks.items()), *table.notes]


class Text(NamedTuple):
    """What a cell says, how it is set, and what else there is to say of it."""

    text: str
    style: Literal["", "better", "worse", "foreign"] = ""
    hint: str = ""


class Grid(NamedTuple):
    """A table as text.

    Args:
        key: of its label.
        head: of the columns.
        groups: kind of the rows, and the rows; rules go between them.
        left: how many columns are text; the others are numbers.
    """

    key: str
    head: list[str]
    groups: list[tuple[Kind, list[list[Text]]]]
    left: int


def wide(table: Table) -> Grid:
    """A line a row; rows that are not measured here are set apart."""
    has_seeds = any(row.seeds for row in table.rows)
    head = ["", *(["seeds"] if has_seeds else []), *(c.head for c in table.columns)]
    groups = []
    for kind in KINDS:
        rows = []
        for row in table.of_kind(kind):
            name = Text(row.name, "foreign" if kind in ("quoted", "baseline") else "")
            line = [name, *([Text(seeds(row))] if has_seeds else [])]
            for cell, column in zip(row.cells, table.columns, strict=True):
                p = p_value(cell)
                parts = (
                    span(cell, column, kind),
                    over(cell),
                    p and f"p {p}",
                    *cell.marks,
                    cell.note,
                )
                line.append(Text(short(cell, column, kind, table), VERDICTS[cell.verdict],
                                 "; ".join(filter(None, parts))))  # fmt: skip
            rows.append(line)
        if rows:
            groups.append((kind, rows))
    return Grid(table.key, head, groups, 2 if has_seeds else 1)


def every_number(table: Table) -> list[Grid]:
    """Of our rows, and of differences, a line a cell; those of a column together, to compare."""
    grids = []
    kinds: dict[Kind, str] = {"ours": "model", "difference": "difference"}
    for kind, what in kinds.items():
        head = ["column", what, "value", "95 % interval", "over"]
        head += ["p", "reading", "notes"] if kind == "difference" else ["notes"]
        lines = []
        for k, column in enumerate(table.columns):
            for row in table.of_kind(kind):
                cell = row.cells[k]
                said = [column.head, row.name, value(cell, column, kind, table),
                        span(cell, column, kind), over(cell)]  # fmt: skip
                line = [*map(Text, said)]
                if kind == "difference":
                    reading = VERDICTS[cell.verdict]
                    line += [Text(p_value(cell)), Text(reading, reading)]
                lines.append([*line, Text("; ".join(filter(None, (*cell.marks, cell.note))))])
        if lines:
            grids.append(Grid(f"{table.key}-{kind}", head, [(kind, lines)], 2))
    return grids


def with_code(text: str, plain: Callable[[str], str], code: Callable[[str], str]) -> str:
    """Text in which what stands between backticks is set as code."""
    return "".join((code if k % 2 else plain)(piece) for k, piece in enumerate(text.split("`")))
