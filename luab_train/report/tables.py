"""The report as tables: quoted rows, a row an arm, a row a difference.     [I/O]

One Table is written in five ways: Markdown, LaTeX, CSV and JSON by `render`, HTML by `page`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from luab_train.evaluate.stored import coco_tables
from luab_train.metrics.intervals import t_interval
from luab_train.report.arms import VALIDATION, Arm, Model, runs_that_say
from luab_train.report.compare import (
    LEAST_SEEDS,
    Cell,
    arm_cell,
    difference_cell,
    pairs_of,
)
from luab_train.report.layouts import (
    LAYOUTS,
    VALIDATION_PANELS,
    Column,
    Layout,
    quoted_rows,
    validation_layout,
)
from luab_train.report.runs import LAST_EPOCH

Kind = Literal["quoted", "ours", "baseline", "difference"]
KINDS: tuple[Kind, ...] = ("quoted", "ours", "baseline", "difference")


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row; `cells` are as many as the table has columns."""

    name: str
    kind: Kind
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table with what must be said below it.

    Args:
        key, title, caption, columns: see Layout.
        rows: in order, kind by kind.
        notes: sentences.
        form: `wide` tables are read; `list`s are long, and read by those who look something up;
            `curves` are numbers of a figure.
    """

    key: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    form: Literal["wide", "list", "curves"] = "wide"
    marks: Mapping[str, str] = field(init=False)
    """What marks a cell -> its letter."""

    def __post_init__(self) -> None:
        told = dict.fromkeys(m for row in self.rows for cell in row.cells for m in cell.marks)
        object.__setattr__(self, "marks", {text: _letters(k) for k, text in enumerate(told)})

    def of_kind(self, kind: Kind) -> list[TableRow]:
        """Rows in order."""
        return [row for row in self.rows if row.kind == kind]

    @property
    def is_narrow(self) -> bool:
        """Whether there is room for intervals beside the numbers."""
        return len(self.columns) <= 6


def _letters(number: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    more, last = divmod(number, 26)
    return (_letters(more - 1) if more else "") + chr(ord("a") + last)


def make_tables(arms: Sequence[Arm], *, reference: str = "none") -> list[Table]:
    """Every table in which some arm has a number.

    Args:
        arms: in the order of the rows.
        reference: see `pairs_of`.
    """
    pairs = pairs_of(arms, reference)
    layouts = [*_validation_layouts(arms), *LAYOUTS]
    tables = [
        _table(layout, arms, pairs)
        for layout in layouts
        if any(model.row(c.key) for a in arms for model in a.models for c in layout.columns)
    ]
    return [*tables, *_class_tables(arms), *_setup(arms), *_curves(arms)]


def _validation_layouts(arms: Sequence[Arm]) -> list[Layout]:
    runs = [model.run for arm in arms for model in arm.models if model.run is not None]
    names = dict.fromkeys(name for run in runs for name in run.results)
    names = dict.fromkeys([*(n for n in names if n == LAST_EPOCH), *names])
    return [
        validation_layout(
            name,
            runs[0].recipe.data.dataset,
            next(run.results[name] for run in runs if name in run.results),
            "Last epoch, validation" if name == LAST_EPOCH else f"Evaluated on {name}",
        )
        for name in names
    ]


def _table(layout: Layout, arms: Sequence[Arm], pairs: Sequence[tuple[Arm, Arm]]) -> Table:
    columns, is_validation = layout.columns, layout.key.startswith("validation-")
    quoted = [
        TableRow(
            name=name,
            kind="quoted",
            cells=tuple(
                Cell(status="quoted", text=numbers[c.key])
                if c.key in numbers
                else Cell(status="not printed")
                for c in columns
            ),
        )
        for name, numbers in quoted_rows(layout).items()
    ]
    ours = [
        TableRow(
            name=arm.name,
            kind="ours",
            seeds=arm.seeds,
            cells=tuple(arm_cell(arm, c) for c in columns),
        )
        for arm in arms
        if arm.target is not None or not is_validation
    ]
    differences = [
        TableRow(
            name=f"{a.name} − {b.name}",
            kind="difference",
            seeds=tuple(seed for seed in a.seeds if seed in b.seeds),
            cells=tuple(
                difference_cell(a, b, c) if c.direction else Cell(status="empty") for c in columns
            ),
        )
        for a, b in pairs
        if not layout.is_curve and not (is_validation and None in (a.target, b.target))
    ]
    baseline = _centre(columns, arms) if is_validation else []
    rows = (*quoted, *ours, *baseline, *differences)
    return Table(
        key=layout.key,
        title=layout.title,
        caption=layout.caption,
        columns=columns,
        rows=rows,
        notes=() if layout.is_curve else tuple(_notes(columns, arms, rows)),
        form="curves" if layout.is_curve else "wide",
    )


def _centre(columns: Sequence[Column], arms: Sequence[Arm]) -> list[TableRow]:
    """What answering the image's centre scores: none where the centre is in no box."""
    key = (columns[0].benchmark, "centre_localisation")
    found = [v for arm in arms for m in arm.models if math.isfinite(v := m.value(key))]
    if not found:
        return []
    values = {"localisation": 100 * found[0], "localisation_off_centre": 0.0}
    cells = tuple(
        Cell(status="value", value=values[c.metric]) if c.metric in values else Cell(status="empty")
        for c in columns
    )
    return [TableRow(name="always the centre", kind="baseline", cells=cells)]


def _notes(columns: Sequence[Column], arms: Sequence[Arm], rows: Sequence[TableRow]) -> list[str]:
    """What the reader must know, as sentences."""
    notes = []
    if any(row.kind == "quoted" for row in rows):
        notes.append(
            "Rows marked “paper (quoted)” are numbers printed in the paper, of its own runs,"
            " without seeds or intervals. None was measured here; nothing is compared with them."
        )
    cells = [cell for row in rows if row.kind in ("ours", "difference") for cell in row.cells]
    if any(cell.status == "missing" for cell in cells):
        notes.append("“missing” was not evaluated; no mean over columns is taken.")
    if any(cell.status == "failed" for cell in cells):
        notes.append("“failed” ended with the error that its note tells.")
    if any(cell.status == "none" for cell in cells):
        notes.append("“–” was evaluated, but there is no such number.")
    ours = [cell for row in rows if row.kind == "ours" for cell in row.cells]
    if any(cell.over == "seeds" for cell in ours):
        notes.append("Mean ± half of the 95 % t interval over seeds.")
    if any(row.kind == "ours" and len(row.seeds) == 1 for row in rows):
        notes.append("One seed has no interval over seeds: run more before believing a difference.")
    differences = [row for row in rows if row.kind == "difference"]
    over = {cell.over for row in differences for cell in row.cells}
    if over - {""}:
        notes.append(
            "Differences are paired. Bold is better and italic worse, where the 95 % interval"
            " leaves out 0; without any effect about one column in twenty does."
        )
    if "images" in over:
        notes.append(
            f"With fewer than {LEAST_SEEDS} seeds an arm, intervals and McNemar's test are over"
            " images: they say that these models differ, not that training again would."
        )
    if "seeds" in over:
        notes.append("Intervals and t tests over seeds take the difference seed by seed.")
    told = {tuple(settings.items()) for arm in arms for m in arm.models for c in columns
            if (settings := _settings(m, c.benchmark, _VIEW))}  # fmt: skip
    if len(told) > 1:
        notes.append("The models were not evaluated alike, see the last table.")
    return notes


def _curves(arms: Sequence[Arm]) -> list[Table]:
    """Validation by epoch: the numbers of the training curves."""
    runs = [model.run for arm in arms for model in arm.models if model.run is not None]
    epochs = range(1, 1 + max((run.recipe.epochs for run in runs), default=0))
    found = []
    for metric, title in VALIDATION_PANELS.items():
        columns = tuple(
            Column(f"epoch {epoch}", metric, f"epoch {epoch}", by_image=False) for epoch in epochs
        )
        rows = tuple(
            TableRow(name=arm.name, kind="ours", seeds=arm.seeds, cells=cells)
            for arm, cells in ((arm, _of_epochs(arm, metric, epochs)) for arm in arms)
            if any(cell.status == "value" for cell in cells)
        )
        if rows:
            found.append(Table(key=f"curves-{metric}", title=title, caption="By epoch.",
                               columns=columns, rows=rows, form="curves"))  # fmt: skip
    return found


def _of_epochs(arm: Arm, metric: str, epochs: Sequence[int]) -> tuple[Cell, ...]:
    cells = []
    for number in epochs:
        told = [run.epochs[number - 1] for run in runs_that_say(arm, metric)
                if number <= len(run.epochs)]  # fmt: skip
        f = t_interval(100 * epoch.get(f"val_{metric}", math.nan) for epoch in told)
        cells.append(
            Cell(status="value", value=f.value, low=f.low, high=f.high, n=f.n, over="seeds")
            if f.n
            else Cell(status="none")
        )
    return tuple(cells)


# --- COCO class by class --------------------------------------------------------------------------

_MOST_PAIRS = 20


def _class_tables(arms: Sequence[Arm]) -> list[Table]:
    found = []
    for arm in arms:
        for model in arm.models:
            tables = coco_tables(model.folder)
            name = arm.name if len(arm.models) == 1 else f"{arm.name}, seed {model.seed}"
            if tables is not None:
                found += _of_classes(tables[0], name) + _of_pairs(tables[1], name)
    return found


def _of_classes(table: pa.Table, name: str) -> list[Table]:
    heads = {"ap": "AP", "v_worst": "V worst", "v_random": "V random", "difference": "D",
             "on_mask": "point on the mask"}  # fmt: skip
    down = ("v_worst", "v_random", "difference")
    columns = [
        Column("coco", metric, title, "down" if metric in down else "up",
               digits=2 if metric == "difference" else 1)
        for metric, title in heads.items() if metric in table.column_names
    ]  # fmt: skip
    counted = {"ap": "num_positive", "on_mask": "num_pointed"}
    rows = [
        TableRow(
            name=row["name"],
            kind="ours",
            cells=tuple(
                _cell(row, c.metric, 1 if c.metric == "difference" else 100,
                      row[counted.get(c.metric, "num_cases")])
                for c in columns
            ),
        )
        for row in table.to_pylist()
        if row["num_positive"]
    ]  # fmt: skip
    return [
        Table(
            key=f"coco-classes-{name}",
            title=f"COCO class by class: {name}",
            caption="Percent, D in logits, of the images that have the class; V and D of those that"
            " have another class too.",
            columns=tuple(columns),
            rows=tuple(rows),
            form="list",
        )
    ]


def _of_pairs(table: pa.Table | None, name: str) -> list[Table]:
    if table is None or not len(table):
        return []
    columns = (
        Column("coco", "drop", "drop", "", digits=2),
        Column("coco", "own_drop", "own drop", "", digits=2),
        Column("coco", "violation", "violations, %", ""),
        Column("coco", "covered", "covered, %", ""),
        Column("coco", "q_value", "q", "", digits=3),
    )
    rows = []
    for row in table.slice(0, _MOST_PAIRS).to_pylist():
        row |= {"violation": row["violation_rate"]}
        factors = {"violation": 100, "covered": 100}
        cells = tuple(_cell(row, c.metric, factors.get(c.metric, 1), row["num_images"])
                      for c in columns)  # fmt: skip
        rows.append(
            TableRow(name=f"{row['name']} on {row['other_name']}", kind="ours", cells=cells)
        )
    return [
        Table(
            key=f"coco-leaning-{name}",
            title=f"Which class leans on which: {name}",
            caption=f"The {len(rows)} surest of {len(table):,} ordered pairs of classes: how many"
            " logits a class falls when the other is erased (with its t interval), and when it is"
            " erased itself; in how many images it violates (Wilson's interval); how much of it the"
            " other's erasure takes along; q of a drop that is not 0, over all pairs (Benjamini and"
            " Hochberg).",
            columns=columns,
            rows=tuple(rows),
            form="list",
        )
    ]


def _cell(row: Mapping[str, Any], metric: str, factor: float, n: int | None) -> Cell:
    if row[metric] is None:
        return Cell(status="none")
    ends = [row.get(f"{metric}_{end}") for end in ("low", "high")]
    low, high = (math.nan if end is None else factor * end for end in ends)
    over = "images" if math.isfinite(low) else ""
    return Cell(status="value", value=factor * row[metric], low=low, high=high, n=n or 0, over=over)


# --- how the models were evaluated ----------------------------------------------------------------

_VIEW = ("image_size", "resize", "fit", "interpolation", "mean", "std", "precision")
_HEADS = {"image_size": "input, px", "resize": "resized to, px"}


def _settings(model: Model, benchmark: str, keys: Sequence[str]) -> dict[str, str]:
    """What a row of results says of how it was made."""
    rows = [r for (name, _), r in model.rows.items() if name == benchmark]
    row = next((r for r in rows if r["value"] is not None), {})
    return {key: _setting(row[key]) for key in keys if row.get(key) is not None}


def _setting(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(_setting, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _setup(arms: Sequence[Arm]) -> list[Table]:
    """A row for each way in which a model was evaluated."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for arm in arms:
        for model in arm.models:
            ways: dict[tuple[tuple[str, str], ...], list[str]] = {}
            for name in dict.fromkeys(n for n, _ in model.rows if not n.startswith(VALIDATION)):
                told = _settings(model, name, (*_VIEW, "weights"))
                if told:
                    ways.setdefault(tuple(told.items()), []).append(name)
            seed = f", seed {model.seed}" if len(arm.models) > 1 else ""
            for way, names in ways.items():
                where = f": {', '.join(names)}" if len(ways) > 1 else ""
                found[arm.name + seed + where,] = dict(way)
    keys = [k for k in (*_VIEW, "weights") if any(k in told for told in found.values())]
    if not any(k in _VIEW for k in keys):
        return []
    rows = [
        TableRow(
            name=name,
            kind="ours",
            cells=tuple(
                Cell(status="value", text=told[key][:12] if key == "weights" else told[key])
                if key in told
                else Cell(status="none")
                for key in keys
            ),
        )
        for (name,), told in found.items()
    ]
    columns = tuple(Column("setup", key, _HEADS.get(key, key), "") for key in keys)
    return [
        Table(
            key="setup",
            title="How the models were evaluated",
            caption="As results.jsonl has it; mean and std in fractions of white.",
            columns=columns,
            rows=tuple(rows),
            form="list",
        )
    ]
