"""The report as tables: quoted rows, a row an arm, a row a difference.     [I/O]

One Table is written in five ways, by `render`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from luab_train.evaluate.stored import coco_tables
from luab_train.metrics.intervals import Estimate, t_interval
from luab_train.report.arms import VALIDATION, Arm, Model
from luab_train.report.compare import LEAST_SEEDS, arm_cell, difference_cell, pairs_of
from luab_train.report.layouts import (
    LAYOUTS,
    PAPERS,
    VALIDATION_PANELS,
    Cell,
    Column,
    Table,
    TableRow,
    quoted_rows,
    validation_layout,
)
from luab_train.report.runs import LAST_EPOCH

_EMPTY = Cell(status="empty")


def make_tables(arms: Sequence[Arm], *, reference: str = "none") -> list[Table]:
    """Every table in which some arm has a number.

    Args:
        arms: in the order of the rows.
        reference: see `pairs_of`.
    """
    pairs = pairs_of(arms, reference)
    tables = [_validation(layout, arms, pairs) for layout in _validation_layouts(arms)]
    for layout in LAYOUTS:
        told = [c for c in layout.columns if any(m.row(c.key) for a in arms for m in a.models)]
        if told:
            columns = layout.columns if layout in PAPERS else tuple(told)
            tables.append(_benchmarks(replace(layout, columns=columns), arms, pairs))
    return [*tables, *_classes_of_coco(arms), *_setup(arms), *_curves(arms)]


def _filled(layout: Table, arms: Sequence[Arm], rows: Sequence[TableRow]) -> Table:
    notes = () if layout.form == "curves" else tuple(_notes(layout.columns, arms, rows))
    return replace(layout, rows=tuple(rows), notes=notes)


def _ours(columns: Sequence[Column], arms: Sequence[Arm]) -> list[TableRow]:
    return [
        TableRow(arm.name, tuple(arm_cell(arm, c) for c in columns), "ours", arm.seeds)
        for arm in arms
    ]


def _differences(columns: Sequence[Column], pairs: Sequence[tuple[Arm, Arm]]) -> Iterator[TableRow]:
    for a, b in pairs:
        cells = [difference_cell(a, b, c) if c.direction else _EMPTY for c in columns]
        common = tuple(seed for seed in a.seeds if seed in b.seeds)
        yield TableRow(f"{a.name} − {b.name}", tuple(cells), "difference", common)


def _benchmarks(layout: Table, arms: Sequence[Arm], pairs: Sequence[tuple[Arm, Arm]]) -> Table:
    blank = Cell(status="not printed")
    quoted = [
        TableRow(
            name,
            tuple(
                Cell(status="quoted", text=numbers[c.key]) if c.key in numbers else blank
                for c in layout.columns
            ),
            "quoted",
        )
        for name, numbers in quoted_rows(layout).items()
    ]
    compared = [] if layout.form == "curves" else [*_differences(layout.columns, pairs)]
    return _filled(layout, arms, [*quoted, *_ours(layout.columns, arms), *compared])


# --- validation -----------------------------------------------------------------------------------


def _validation_layouts(arms: Sequence[Arm]) -> list[Table]:
    runs = [run for arm in arms for run in arm.runs]
    names = dict.fromkeys(name for run in runs for name in run.results)
    return [
        validation_layout(
            name,
            runs[0].recipe.data.several_labels,
            next(run.results[name] for run in runs if name in run.results),
            "Last epoch, validation" if name == LAST_EPOCH else f"Evaluated on {name}",
        )
        for name in sorted(names, key=lambda name: name != LAST_EPOCH)
    ]


def _validation(layout: Table, arms: Sequence[Arm], pairs: Sequence[tuple[Arm, Arm]]) -> Table:
    arms = [arm for arm in arms if arm.target is not None]
    pairs = [(a, b) for a, b in pairs if a in arms and b in arms]
    rows = [*_ours(layout.columns, arms), *_centre(layout.columns, arms)]
    return _filled(layout, arms, [*rows, *_differences(layout.columns, pairs)])


def _centre(columns: Sequence[Column], arms: Sequence[Arm]) -> list[TableRow]:
    """What answering the image's centre scores: none where the centre is in no box."""
    key = (columns[0].benchmark, "centre_localisation")
    found = [v for arm in arms for m in arm.models if math.isfinite(v := m.value(key))]
    if not found:
        return []
    values = {"localisation": 100 * found[0], "localisation_off_centre": 0.0}
    cells = [
        Cell(status="value", value=values[c.metric]) if c.metric in values else _EMPTY
        for c in columns
    ]
    return [TableRow("always the centre", tuple(cells), "baseline")]


def _curves(arms: Sequence[Arm]) -> Iterator[Table]:
    """Validation by epoch: the numbers of the training curves."""
    runs = [run for arm in arms for run in arm.runs]
    epochs = range(1, 1 + max((run.recipe.epochs for run in runs), default=0))
    for metric, title in VALIDATION_PANELS.items():
        columns = tuple(Column(f"epoch {epoch}", metric, f"epoch {epoch}") for epoch in epochs)
        rows = []
        for arm in arms:
            told = arm.epochs_that_say(metric)
            cells = [
                Cell.of(
                    t_interval(100 * of_run[e - 1].get(f"val_{metric}", math.nan)
                               for of_run in told if e <= len(of_run)), "seeds",
                )
                for e in epochs
            ]  # fmt: skip
            if any(cell.status == "value" for cell in cells):
                rows.append(TableRow(arm.name, tuple(cells), "ours", arm.seeds))
        if rows:
            yield Table(f"curves-{metric}", title, "By epoch.", columns, tuple(rows), form="curves")


# --- COCO class by class --------------------------------------------------------------------------

_MOST_PAIRS = 20
_PER_CLASS = (
    Column("coco", "ap", "AP", factor=100),
    Column("coco", "v_worst", "V worst", "down", factor=100),
    Column("coco", "v_random", "V random", "down", factor=100),
    Column("coco", "difference", "D", "down", digits=2),
    Column("coco", "on_mask", "point on the mask", factor=100),
)
_COUNTS = {"ap": "num_positive", "on_mask": "num_pointed"}
_PER_PAIR = (
    Column("coco", "drop", "drop", "", digits=2),
    Column("coco", "own_drop", "own drop", "", digits=2),
    Column("coco", "violation", "violations, %", "", factor=100),
    Column("coco", "covered", "covered, %", "", factor=100),
    Column("coco", "q_value", "q", "", digits=3),
)


def _classes_of_coco(arms: Sequence[Arm]) -> Iterator[Table]:
    for arm in arms:
        for model in arm.models:
            found = coco_tables(model.folder)
            name = arm.name if len(arm.models) == 1 else f"{arm.name}, seed {model.seed}"
            if found is not None:
                yield _of_classes(found[0], name)
                if len(found[1]):
                    yield _of_pairs(found[1], name)


def _of_classes(table: pa.Table, name: str) -> Table:
    columns = tuple(c for c in _PER_CLASS if c.metric in table.column_names)
    rows = [
        TableRow(
            row["name"], tuple(_cell(row, c, _COUNTS.get(c.metric, "num_cases")) for c in columns)
        )
        for row in table.to_pylist()
        if row["num_positive"]
    ]
    caption = (
        "Percent, D in logits, of the images that have the class; V and D of those that have"
        " another class too."
    )
    title = f"COCO class by class: {name}"
    return Table(f"coco-classes-{name}", title, caption, columns, tuple(rows), form="list")


def _of_pairs(table: pa.Table, name: str) -> Table:
    rows = []
    for row in table.slice(0, _MOST_PAIRS).to_pylist():
        row |= {"violation": row["violation_rate"]}
        cells = tuple(_cell(row, c, "num_images") for c in _PER_PAIR)
        rows.append(TableRow(f"{row['name']} on {row['other_name']}", cells))
    caption = (
        f"The {len(rows)} surest of {len(table):,} ordered pairs of classes: how many logits a"
        " class falls when the other is erased (with its t interval), and when it is erased"
        " itself; in how many images it violates (Wilson's interval); how much of it the other's"
        " erasure takes along; q of a drop that is not 0, over all pairs (Benjamini and Hochberg)."
    )
    title = f"Which class leans on which: {name}"
    return Table(f"coco-leaning-{name}", title, caption, _PER_PAIR, tuple(rows), form="list")


def _cell(row: Mapping[str, Any], column: Column, counted: str) -> Cell:
    value, low, high = (
        math.nan if (v := row.get(f"{column.metric}{end}")) is None else column.factor * v
        for end in ("", "_low", "_high")
    )
    how = "bootstrap" if f"{column.metric}_low" in row else ""
    return Cell.of(Estimate(value, low, high, row[counted] or 0, how), "images")


# --- how the models were evaluated ----------------------------------------------------------------

_VIEW = ("image_size", "resize", "fit", "interpolation", "mean", "std", "precision")
_HEADS = {"image_size": "input, px", "resize": "resized to, px"}


def _settings(model: Model, benchmark: str, keys: Sequence[str]) -> dict[str, str]:
    """What the rows of a benchmark say of how they were made."""
    rows = [r for (name, _), r in model.rows.items() if name == benchmark]
    row = next((r for r in rows if r["value"] is not None), {})
    return {key: _setting(row[key]) for key in keys if row.get(key) is not None}


def _setting(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(_setting, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _setup(arms: Sequence[Arm]) -> Iterator[Table]:
    """A row for each way in which a model was evaluated."""
    found: dict[str, Mapping[str, str]] = {}
    for arm, model in [(a, m) for a in arms for m in a.models]:
        ways: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for name in dict.fromkeys(n for n, _ in model.rows if not n.startswith(VALIDATION)):
            if told := _settings(model, name, (*_VIEW, "weights")):
                ways.setdefault(tuple(told.items()), []).append(name)
        seed = f", seed {model.seed}" if len(arm.models) > 1 else ""
        for way, names in ways.items():
            where = f": {', '.join(names)}" if len(ways) > 1 else ""
            found[arm.name + seed + where] = dict(way)
    keys = [key for key in (*_VIEW, "weights") if any(key in told for told in found.values())]
    rows = [
        TableRow(name, tuple(Cell(status="value", text=told[key][:48]) if key in told
                             else Cell(status="none") for key in keys))
        for name, told in found.items()
    ]  # fmt: skip
    if any(key in _VIEW for key in keys):
        caption = "As results.jsonl has it; mean and std in fractions of white."
        columns = tuple(Column("setup", key, _HEADS.get(key, key), "") for key in keys)
        title = "How the models were evaluated"
        yield Table("setup", title, caption, columns, tuple(rows), form="list")


def _notes(columns: Sequence[Column], arms: Sequence[Arm], rows: Sequence[TableRow]) -> list[str]:
    """What the reader must know, as sentences."""
    ours, differences = (
        [row for row in rows if row.kind == kind] for kind in ("ours", "difference")
    )
    statuses = {cell.status for row in (*ours, *differences) for cell in row.cells}
    over_ours = {cell.over for row in ours for cell in row.cells}
    over = {cell.over for row in differences for cell in row.cells}
    ways = {
        tuple(told.items())
        for arm in arms for model in arm.models for c in columns
        if (told := _settings(model, c.benchmark, _VIEW))
    }  # fmt: skip
    notes = {
        "Rows marked “paper (quoted)” are numbers printed in the paper, of its own runs, without"
        " seeds or intervals. None was measured here; nothing is compared with them.": any(
            row.kind == "quoted" for row in rows
        ),
        "“missing” was not evaluated; no mean over columns is taken.": "missing" in statuses,
        "“failed” ended with the error that its note tells.": "failed" in statuses,
        "“–” was evaluated, but there is no such number.": "none" in statuses,
        "Mean ± half of the 95 % t interval over seeds.": "seeds" in over_ours,
        "One seed has no interval over seeds: run more before believing a difference.": any(
            len(row.seeds) == 1 for row in ours
        ),
        "Differences are paired. Bold is better and italic worse, where the 95 % interval leaves"
        " out 0; without any effect about one column in twenty does.": bool(over - {""}),
        f"With fewer than {LEAST_SEEDS} seeds an arm, intervals and McNemar's test are over images:"
        " they say that these models differ, not that training again would.": "images" in over,
        "Intervals and t tests over seeds take the difference seed by seed.": "seeds" in over,
        "The models were not evaluated alike, see “How the models were evaluated”.": len(ways) > 1,
    }
    return [note for note, holds in notes.items() if holds]
