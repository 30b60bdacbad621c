"""The report as one page that needs nothing else: tables, every number, figures.

The style is that of the data's report, `luab_data.reports`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from luab_train.evaluate.report import words
from luab_train.evaluate.report.evaluated import Arm
from luab_train.evaluate.report.layout import Column
from luab_train.evaluate.report.tables import Cell, Kind, Table, TableRow

GENERATOR = "luab-train report"
_KINDS: tuple[Kind, ...] = ("quoted", "ours", "difference")


def page_html(
    arms: Sequence[Arm], tables: Sequence[Table], figures: Sequence[Mapping[str, Any]]
) -> str:
    """The whole page; everything that came from files is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = files("luab_train.evaluate.report")
    style = (files("luab_data.reports") / "style.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((here / "page.html").read_text(encoding="utf-8"))
    return template.render(
        generator=f"{GENERATOR} {version('luab')}",
        style=Markup(style),
        own_style=Markup((here / "page.css").read_text(encoding="utf-8")),
        title=", ".join(arm.name for arm in arms),
        cards=_cards(arms, tables),
        tables=[_table(table) for table in tables],
        figures=figures,
    )


def _cards(arms: Sequence[Arm], tables: Sequence[Table]) -> list[dict[str, str]]:
    models = [model for arm in arms for model in arm.models]
    cells = [cell for t in tables for row in t.of_kind("ours") for cell in row.cells]
    counts = {
        "arms": len(arms),
        "models": len(models),
        "numbers measured": sum(cell.status == "value" for cell in cells),
        "missing": sum(cell.status == "missing" for cell in cells),
    }
    return [{"title": title, "value": f"{value:,}"} for title, value in counts.items()]


def _table(table: Table) -> dict[str, Any]:
    columns = table.layout.columns
    groups = [
        {
            "kind": kind,
            "rows": [_row(row, columns) for row in table.of_kind(kind)],
            "lines": [
                _line(column, row, row.cells[k])
                for k, column in enumerate(columns)
                for row in table.of_kind(kind)
            ],
        }
        for kind in _KINDS
        if table.of_kind(kind)
    ]
    return {
        "key": table.layout.key,
        "title": table.layout.title,
        "caption": table.layout.caption,
        "heads": [column.head for column in columns],
        "groups": groups,
        "notes": table.notes,
    }


def _row(row: TableRow, columns: Sequence[Column]) -> dict[str, Any]:
    cells = [
        {
            "text": words.short(cell, column, row.kind),
            "status": cell.status,
            "verdict": words.verdict(cell),
            "hint": _hint(cell, column, row.kind),
        }
        for cell, column in zip(row.cells, columns, strict=True)
    ]
    return {"name": row.name, "seeds": row.seeds, "cells": cells}


def _line(column: Column, row: TableRow, cell: Cell) -> dict[str, str]:
    signed = row.kind == "difference"
    value = words.short(cell, column, row.kind)
    if cell.status == "value":
        value = words.number(cell.value, column, signed=signed, more=1)
    return {
        "head": column.head,
        "name": row.name,
        "value": value,
        "span": words.span(cell, column, row.kind),
        "over": words.over(cell),
        "p": words.p_value(cell),
        "verdict": words.verdict(cell),
        "note": cell.note,
    }


def _hint(cell: Cell, column: Column, kind: Kind) -> str:
    """What a pointer over the cell is told."""
    p_value = words.p_value(cell)
    parts = (
        words.span(cell, column, kind), words.over(cell), p_value and f"p {p_value}", cell.note
    )  # fmt: skip
    return "; ".join(part for part in parts if part)
