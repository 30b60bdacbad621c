"""Numbers of tables as text, the same in Markdown, LaTeX and HTML."""

from __future__ import annotations

import math

from luab_train.evaluate.report.layout import Column
from luab_train.evaluate.report.tables import Cell, Kind

MINUS = "−"
_DIGITS = {("coco", "difference"): 2}


def number(value: float, column: Column, *, signed: bool = False, more: int = 0) -> str:
    """`77.5`, or `+0.3`; what rounds to zero has no minus. NaN is `–`.

    Args:
        more: digits beyond those of the wide table.
    """
    if not math.isfinite(value):
        return "–"
    digits = _DIGITS.get(column.key, 1) + more
    rounded = round(value, digits) + 0.0
    return format(rounded, f"{'+' if signed else ''}.{digits}f").replace("-", MINUS)


def short(cell: Cell, column: Column, kind: Kind) -> str:
    """A cell of the wide table: `77.5`, `77.5 ± 0.2` over seeds, `+0.3`, `missing`."""
    if cell.status == "value":
        text = number(cell.value, column, signed=kind == "difference")
        if kind == "ours" and cell.over == "seeds" and math.isfinite(cell.high):
            text += f" ± {number((cell.high - cell.low) / 2, column)}"
        return text
    return {"text": cell.text, "missing": "missing", "none": "–", "absent": ""}[cell.status]


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
    value = f"{cell.p_value:.2g}" if cell.p_value >= 1e-3 else "< 0.001"
    return f"{value} ({cell.test})"


def verdict(cell: Cell) -> str:
    """Whether an interval leaves out 0, and on which side."""
    return {1: "better", -1: "worse", 0: ""}[cell.verdict]
