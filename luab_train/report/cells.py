"""What a table is: columns, and rows of cells, each a number with all that is known of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from luab_train.metrics.intervals import Estimate

Key = tuple[str, str]
"""Benchmark, or test set, and metric."""
Kind = Literal["quoted", "ours", "baseline", "difference"]
KINDS: tuple[Kind, ...] = ("quoted", "ours", "baseline", "difference")
ARROWS = {"up": " ↑", "down": " ↓", "": ""}
RAISED = dict(zip("ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", "abcdefghijklmnoprstuvwxyz", strict=True))
"""Letters as they stand beside a number."""

Status = Literal["value", "missing", "failed", "none", "empty", "not printed", "quoted"]
"""`missing`: not evaluated. `failed`: its evaluation ended with an error. `none`: evaluated, but
there is no such number. `empty`: nothing to evaluate. `quoted`: as printed in the paper. `not
printed`: not in the paper."""


class Column(NamedTuple):
    """One column.

    Args:
        benchmark, metric: of the rows.
        title: its head.
        direction: which way is better; empty where neither is.
        digits: after the point.
        factor: from the rows' unit to the one that is shown.
        by_image: predictions of each image may be kept, which two models are compared on.
    """

    benchmark: str
    metric: str
    title: str
    direction: Literal["up", "down", ""] = "up"
    digits: int = 1
    factor: float = 1.0
    by_image: bool = True

    @property
    def key(self) -> Key:
        """Of the row."""
        return self.benchmark, self.metric

    @property
    def head(self) -> str:
        """Title with its arrow."""
        return self.title + ARROWS[self.direction]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number, in the unit of its column.

    Args:
        status: what it is; but for `value` there is no number of ours.
        value, low, high: NaN where there is none.
        n: images, or seeds, that the interval is over; 0 if unknown.
        over: `images`, `seeds`, or empty: what the interval is over.
        p_value: of a difference; NaN where no test was made.
        test: its name.
        verdict: of a difference: 1 better, -1 worse, 0 when the interval holds 0 or there is none.
        text: in place of a number.
        marks: what nobody may read it without, e.g. `1,000 of 50,000 images`.
        note: what else is known of it.
    """

    status: Status
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    over: str = ""
    p_value: float = math.nan
    test: str = ""
    verdict: int = 0
    text: str = ""
    marks: tuple[str, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, found: Estimate, over: str) -> Cell:
        """An estimate; `none` if it has no value."""
        if not math.isfinite(found.value):
            return cls(status="none")
        over = over if math.isfinite(found.low) else ""
        return cls(status="value", value=found.value, low=found.low, high=found.high, n=found.n,
                   over=over)  # fmt: skip


class TableRow(NamedTuple):
    """A row; `cells` are as many as the table has columns."""

    name: str
    cells: tuple[Cell, ...]
    kind: Kind = "ours"
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table with what must be said below it.

    Args:
        key: of files and labels.
        title, caption: of the table; what the columns are, and in what unit.
        columns: left to right.
        rows: in order, kind by kind; none in a layout, which is yet to be filled.
        notes: sentences.
        form: `wide` tables are read; `list`s are long, and read by those who look something up;
            `curves` are numbers of a figure.
        marks: what marks a cell -> its letter, or its number where there are no more letters.
    """

    key: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...] = ()
    notes: tuple[str, ...] = ()
    form: Literal["wide", "list", "curves"] = "wide"
    marks: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        told = dict.fromkeys(m for row in self.rows for cell in row.cells for m in cell.marks)
        letters = [*RAISED, *(f"({k})" for k in range(len(told)))]
        object.__setattr__(self, "marks", dict(zip(told, letters, strict=False)))

    def of_kind(self, kind: Kind) -> list[TableRow]:
        """Rows in order."""
        return [row for row in self.rows if row.kind == kind]

    @property
    def is_narrow(self) -> bool:
        """Whether there is room for intervals beside the numbers."""
        return len(self.columns) <= 6
