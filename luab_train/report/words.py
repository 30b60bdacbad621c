"""Numbers of tables as text, the same in Markdown, LaTeX and HTML."""

from __future__ import annotations

import math
from collections.abc import Callable

from luab_train.report.compare import Cell
from luab_train.report.layouts import Column
from luab_train.report.tables import Kind, Table, TableRow

MINUS = "−"
LETTERS = dict(zip("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", strict=True))
"""Letter of a mark -> as it stands beside a number."""
TEXT = {1: "better", -1: "worse", 0: ""}
"""Of a verdict: whether an interval leaves out 0, and on which side."""


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
    return _unmarked(cell, column, kind, table.is_narrow) + "".join(
        "".join(LETTERS[letter] for letter in table.marks[mark]) for mark in cell.marks
    )


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


def hints(cell: Cell, column: Column, kind: Kind) -> list[str]:
    """What else there is to say of a cell: interval, what it is over, test, marks, note."""
    p = p_value(cell)
    parts = (span(cell, column, kind), over(cell), p and f"p {p}", *cell.marks, cell.note)
    return [part for part in parts if part]


def seeds(row: TableRow) -> str:
    """How many, and which: `3 (0 1 2)`."""
    return f"{len(row.seeds)} ({' '.join(map(str, row.seeds))})" if row.seeds else ""


def notes(table: Table) -> list[str]:
    """What stands below a table: its marks, then its sentences."""
    marks = [
        f"{''.join(LETTERS[x] for x in letter)} {mark}." for mark, letter in table.marks.items()
    ]
    return [*marks, *table.notes]


def every_number(table: Table, kind: Kind) -> tuple[list[str], list[list[str]]]:
    """Head and lines of a table with a line a cell; those of a column together.

    They are compared. Empty without rows of the kind.
    """
    is_difference = kind == "difference"
    head = ["column", "difference" if is_difference else "model", "value", "95 % interval", "over"]
    head += ["p", "reading"] if is_difference else []
    lines = []
    for k, column in enumerate(table.columns):
        for row in table.of_kind(kind):
            cell = row.cells[k]
            line = [
                column.head, row.name, value(cell, column, kind, table), span(cell, column, kind),
                over(cell),
            ]  # fmt: skip
            if is_difference:
                line += [p_value(cell), TEXT[cell.verdict]]
            lines.append([*line, "; ".join(filter(None, (*cell.marks, cell.note)))])
    return [*head, "notes"], lines


def with_code(text: str, plain: Callable[[str], str], code: Callable[[str], str]) -> str:
    """Text in which what stands between backticks is set as code."""
    return "".join((code if k % 2 else plain)(piece) for k, piece in enumerate(text.split("`")))
