"""The paper's tables with our rows: quoted rows, one row an arm, one row a difference.     [I/O]

Reads the predictions of models that are compared. How a table is written is of `markdown`, `latex`,
`listing` and `page`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from luab_train.evaluate.report.evaluated import Arm, Evaluated
from luab_train.evaluate.report.layout import LAYOUTS, Column, Layout
from luab_train.evaluate.report.quoted import QUOTED
from luab_train.evaluate.stored import difference
from luab_train.metrics.intervals import Difference, over_seeds
from luab_train.report.compare import t_interval

LEAST_SEEDS = 3
"""Fewer say too little of how much seeds differ; then the interval is over images."""

Status = Literal["value", "missing", "none", "absent", "text"]
"""`missing`: not evaluated. `none`: evaluated, but there is no such number. `absent`: the paper has
no number we know of. `text`: as printed in the paper."""
Kind = Literal["quoted", "ours", "difference"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number.

    Args:
        status: what it is; but for `value` there is no number of ours.
        value, low, high: NaN where there is none.
        n: images, or seeds, that the interval is over; 0 if unknown.
        over: `images`, `seeds`, or empty: what the interval is over.
        p_value: of a difference; NaN where no test was made.
        test: its name.
        verdict: of a difference: 1 better, -1 worse, 0 when the interval holds 0 or there is none.
        text: as printed in the paper.
        note: what must be known of it.
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
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row; `cells` are as many as the layout has columns."""

    name: str
    kind: Kind
    seeds: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table with what must be said below it."""

    layout: Layout
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]

    def of_kind(self, kind: Kind) -> list[TableRow]:
        """Rows in order."""
        return [row for row in self.rows if row.kind == kind]


MISSING = Cell(status="missing")


def make_tables(arms: Sequence[Arm], *, reference: str = "none") -> list[Table]:
    """Every table in which some arm has a number.

    Args:
        arms: in the order of the rows.
        reference: target of the arm that the others are compared with; if no arm has it, the first
            arm is.
    """
    pairs = pairs_of(arms, reference)
    return [
        _table(layout, arms, pairs)
        for layout in LAYOUTS
        if any(model.row(*c.key) for a in arms for model in a.models for c in layout.columns)
    ]


def pairs_of(arms: Sequence[Arm], reference: str) -> list[tuple[Arm, Arm]]:
    """(arm, versus): every arm against the reference, then click against random."""
    references = [arm for arm in arms if arm.target == reference] or list(arms[:1])
    found = [(a, b) for b in references for a in arms if a is not b and a not in references]
    found += [
        (a, b)
        for b in arms
        for a in arms
        if (a.target, b.target) == ("click", "random") and (a, b) not in found
    ]
    return found


def _table(layout: Layout, arms: Sequence[Arm], pairs: Sequence[tuple[Arm, Arm]]) -> Table:
    quoted = [
        TableRow(
            name=row.name,
            kind="quoted",
            seeds="",
            cells=tuple(
                Cell(status="text", text=row.numbers[c.key])
                if c.key in row.numbers
                else Cell(status="absent")
                for c in layout.columns
            ),
        )
        for row in QUOTED
        if row.table == layout.key
    ]
    ours = [
        TableRow(
            name=arm.name,
            kind="ours",
            seeds=arm.seeds,
            cells=tuple(arm_cell(arm, c) for c in layout.columns),
        )
        for arm in arms
    ]
    differences = [
        TableRow(
            name=f"{a.name} − {b.name}",
            kind="difference",
            seeds=_common_seeds(a, b),
            cells=tuple(difference_cell(a, b, c) for c in layout.columns),
        )
        for a, b in pairs
    ]
    rows = (*quoted, *ours, *differences)
    return Table(layout=layout, rows=rows, notes=tuple(_notes(layout, arms, rows)))


def arm_cell(arm: Arm, column: Column) -> Cell:
    """The mean over an arm's models.

    With three seeds or more the interval is over seeds; with one it is the model's, over images.
    """
    rows = [row for model in arm.models if (row := model.row(*column.key))]
    values = [row["value"] for row in rows if row["value"] is not None]
    if not values:
        done = [row for row in rows if row["status"] != "missing"]
        # Said by the metric's own row, or by the missing benchmark's, which is its first metric's.
        note = next((row["note"] for row in done or rows if row.get("note")), "")
        return Cell(status="none" if done else "missing", note=note)
    mean = math.fsum(values) / len(values)
    note = "; ".join(dict.fromkeys(row["note"] for row in rows if row.get("note")))
    if len(values) < len(arm.models):
        note = f"{len(values)} of {len(arm.models)} seeds evaluated" + (f"; {note}" if note else "")
    if len(values) >= LEAST_SEEDS:
        found = t_interval(values)
        return Cell(
            status="value", value=mean, low=found.low, high=found.high, n=found.n, over="seeds",
            note=note,
        )  # fmt: skip
    (row, *more) = [row for row in rows if row["value"] is not None]
    if more or row["low"] is None or row["high"] is None:
        return Cell(status="value", value=mean, n=row["n"], note=note)
    return Cell(
        status="value", value=mean, low=row["low"], high=row["high"], n=row["n"], over="images",
        note=note,
    )  # fmt: skip


def difference_cell(a: Arm, b: Arm, column: Column) -> Cell:
    """One arm minus another in one column."""
    models, others = _models(a, b, column)
    if not (models and others):
        cells = [arm_cell(arm, column) for arm in (a, b)]
        if all(cell.status == "value" for cell in cells):
            return Cell(status="none", note="no seed in common: not compared")
        return MISSING if any(cell.status == "missing" for cell in cells) else Cell(status="none")
    first, second = ([_value(m, column) or 0.0 for m in of] for of in (models, others))
    mean = math.fsum(first) / len(first) - math.fsum(second) / len(second)
    note = ""
    if len(models) == len(others) >= LEAST_SEEDS:
        found: Difference | None = over_seeds(first, second)
    else:
        found = _over_images(models, others, column)
    if found is None:
        return Cell(status="value", value=mean, note=_why_none(models, others, column))
    if found.over == "images":
        sizes = [row["n"] for m in (*models, *others) if (row := m.row(*column.key))]
        if abs(found.value - mean) > 1e-6:
            note = (
                f"over the {found.n:,} images that all have; of {max(sizes):,} the difference is"
                f" {mean:+.2f}"
            )
    verdict = 0
    if found.low > 0 or found.high < 0:
        verdict = 1 if column.is_better(found.value) else -1
    return Cell(
        status="value", value=found.value, low=found.low, high=found.high, n=found.n,
        over=found.over, p_value=found.p_value, test=found.test, verdict=verdict, note=note,
    )  # fmt: skip


def _value(model: Evaluated, column: Column) -> float | None:
    row = model.row(*column.key)
    return None if row is None or row["value"] is None else float(row["value"])


def _models(a: Arm, b: Arm, column: Column) -> tuple[list[Evaluated], list[Evaluated]]:
    """Models to compare: by seed if both are runs, else all of one arm with all of the other.

    Arms of one model each are compared whatever their seeds.
    """
    first, second = ([m for m in arm.models if _value(m, column) is not None] for arm in (a, b))
    is_one_each = len(first) == len(second) == 1
    if not (first and second) or is_one_each or None in (a.target, b.target):
        return first, second
    of_seed = {model.seed: model for model in second}
    pairs = [(model, of_seed[model.seed]) for model in first if model.seed in of_seed]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _common_seeds(a: Arm, b: Arm) -> str:
    seeds = {model.seed for model in b.models}
    return " ".join(str(m.seed) for m in a.models if m.seed is not None and m.seed in seeds)


def _over_images(
    a: Sequence[Evaluated], b: Sequence[Evaluated], column: Column
) -> Difference | None:
    return difference([m.folder for m in a], [m.folder for m in b], *column.key)


def _why_none(a: Sequence[Evaluated], b: Sequence[Evaluated], column: Column) -> str:
    if column.benchmark in ("in-o", "coco") and not len(a) == len(b) == 1:
        return "no interval: this metric has one over images for one model against one"
    return "no interval: predictions were not kept, or do not tell it"


def _notes(layout: Layout, arms: Sequence[Arm], rows: Sequence[TableRow]) -> list[str]:
    """What the reader must know, as sentences."""
    notes = []
    if any(row.kind == "quoted" for row in rows):
        notes.append(
            "Rows marked “paper (quoted)” are numbers printed in the paper, of its own runs,"
            " without seeds or intervals. None was measured here; nothing is compared with them."
        )
    cells = [cell for row in rows if row.kind != "quoted" for cell in row.cells]
    if any(cell.status == "missing" for cell in cells):
        notes.append("“missing” was not evaluated; no mean over columns is taken.")
    if any(cell.status == "none" for cell in cells):
        notes.append("“–” was evaluated, but there is no such number.")
    differences = [row for row in rows if row.kind == "difference"]
    if differences:
        notes.append(
            "Differences are paired. Bold is better and italic worse, where the 95 % interval"
            " leaves out 0; without any effect about one column in twenty does."
        )
        over = {cell.over for row in differences for cell in row.cells}
        if "images" in over:
            notes.append(
                f"With fewer than {LEAST_SEEDS} seeds an arm, intervals and McNemar's test are over"
                " images: they say that these models differ, not that training again would."
            )
        if "seeds" in over:
            notes.append("Intervals and t tests over seeds take the difference seed by seed.")
    settings = {
        tuple(row.get(key) for key in ("image_size", "interpolation", "precision"))
        for arm in arms
        for model in arm.models
        for c in layout.columns
        if (row := model.row(*c.key)) and row["value"] is not None and "image_size" in row
    }
    if len(settings) > 1:
        listed = ", ".join(sorted(" ".join(map(str, one)) for one in settings))
        notes.append(f"The models were not evaluated alike: {listed}.")
    return notes
