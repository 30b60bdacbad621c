"""A report as Markdown, LaTeX, CSV, JSON and HTML: the same tables and figures in each."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from luab_data.reports.html import embed
from luab_train.metrics.intervals import Estimate
from luab_train.report import words
from luab_train.report.draw import titled_png
from luab_train.report.figures import Planned
from luab_train.report.layouts import RAISED, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is said, whatever it is written as.

    Args:
        title: of the whole.
        paragraphs: what goes before the tables; code stands between backticks.
        tables, figures: in order.
        runs: what JSON has of runs, see `report.of_runs`; empty without any.
    """

    title: str
    paragraphs: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Planned, ...]
    runs: Mapping[str, Any]


# --- Markdown -------------------------------------------------------------------------------------


def to_markdown(report: Report, *, details: bool = True) -> str:
    """Tables under headings.

    Args:
        details: whether lists, figures, and every number with its interval follow each table.
    """
    lines = [f"# {_markdown(report.title)}", ""]
    for text in report.paragraphs:
        lines += [_markdown(text), ""]
    for table in report.tables:
        if table.form == "curves" or (table.form == "list" and not details):
            continue
        lines += [f"## {escaped(table.title)}", "", escaped(table.caption), ""]
        lines += [*_grid(words.wide(table)), ""]
        lines += [f"- {escaped(note)}" for note in words.notes(table)]
        if details and table.form == "wide":
            lines += ["", "<details><summary>Every number with its interval</summary>", ""]
            for grid in words.every_number(table):
                lines += [*_grid(grid), ""]
            lines += ["</details>"]
        lines += [""]
    for figure in report.figures if details else ():
        lines += [f"## {escaped(figure.title)}", "", f"![{escaped(figure.title)}]({figure.file})"]
        lines += ["", escaped(figure.caption), ""]
    return "\n".join(lines).rstrip() + "\n"


def _grid(grid: words.Grid) -> list[str]:
    """A Markdown table whose columns also line up in a terminal."""
    marks = {"better": "**", "worse": "*", "foreign": "*", "": ""}
    rows = [
        [f"{marks[t.style]}{escaped(t.text)}{marks[t.style]}" if t.text else "" for t in row]
        for _, group in grid.groups
        for row in group
    ]
    head = [escaped(text) for text in grid.head]
    widths = [max(3, *(len(row[i]) for row in [head, *rows])) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(w) if i < grid.left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * w if i < grid.left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [line(head), line(rule), *(line(row) for row in rows)]


def _markdown(text: str) -> str:
    return words.with_code(text, escaped, lambda code: f"`{code}`")


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line of a table."""
    plain = re.sub(r"\s+", " ", text)
    return re.sub(r"([\\`*<>|~#$]|(?<!\w)_|_(?!\w)|[\[\]!](?=[\[(]))", r"\\\1", plain)


# --- LaTeX ----------------------------------------------------------------------------------------

_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "−": "$-$", "–": "--", "±": r"$\pm$", "τ": r"$\tau$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "“": "``", "”": "''", "†": r"\textdagger{}", "×": r"$\times$",
    **{raised: rf"\textsuperscript{{{letter}}}" for raised, letter in RAISED.items()},
}  # fmt: skip
_PACKAGES = r"\usepackage{booktabs,graphicx,longtable}"


def latex(text: str) -> str:
    """Text that LaTeX sets as it is; what is not Latin is `?`."""
    plain = re.sub(r"\s+", " ", text)
    found = "".join(_ESCAPES.get(c, c if ord(c) < 0x250 else "?") for c in plain)
    return re.sub(r"[\x00-\x1f\x7f]", "?", found)


def to_latex(report: Report) -> str:
    """Each table a `table*` with the label `tab:<key>`, figures, then `longtable`s of every number.

    Needs booktabs, graphicx and longtable, and pdflatex with UTF-8, lualatex or xelatex.
    """
    parts = [f"% Written by luab-train report. Needs {_PACKAGES}.", ""]
    for text in report.paragraphs:
        code = words.with_code(text, latex, lambda code: rf"\texttt{{{latex(code)}}}")
        parts += [code, ""]
    long: list[str] = []
    for table in report.tables:
        caption = " ".join([f"{table.title}. {table.caption}", *words.notes(table)])
        if table.form == "list":
            long += _long(words.wide(table), caption)
        elif table.form == "wide":
            parts += _tabular(words.wide(table), caption)
            for grid in words.every_number(table):
                long += _long(grid, f"{table.title}: every {grid.head[1]}.")
    for figure in report.figures:
        parts += [
            r"\begin{figure}[p]", r"\centering",
            rf"\includegraphics[width=\linewidth]{{{figure.file}}}",
            rf"\caption{{{latex(f'{figure.title}. {figure.caption}')}}}",
            rf"\label{{fig:{latex(figure.key)}}}", r"\end{figure}", "",
        ]  # fmt: skip
    return "\n".join([*parts, r"\onecolumn % which longtable wants", "", *long])


def _tabular(grid: words.Grid, caption: str) -> list[str]:
    return [
        r"\begin{table*}[t]", r"\centering", rf"\caption{{{latex(caption)}}}",
        rf"\label{{tab:{latex(grid.key)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(grid.head) - 1)}}}", r"\toprule",
        _line(grid.head), *_body(grid), r"\bottomrule", r"\end{tabular}}", r"\end{table*}", "",
    ]  # fmt: skip


def _long(grid: words.Grid, caption: str) -> list[str]:
    return [
        rf"{{\footnotesize\begin{{longtable}}{{{'l' * len(grid.head)}}}",
        rf"\caption{{{latex(caption)}}}\label{{tab:{latex(grid.key)}}}\\", r"\toprule",
        _line(grid.head), r"\endhead", *_body(grid), r"\bottomrule", r"\end{longtable}}", "",
    ]  # fmt: skip


def _body(grid: words.Grid) -> list[str]:
    commands = {"better": r"\textbf{%s}", "worse": r"\textit{%s}", "foreign": r"\textit{%s}"}
    lines = []
    for _, rows in grid.groups:
        lines.append(r"\midrule")
        for row in rows:
            lines.append(" & ".join(commands.get(t.style, "%s") % latex(t.text) for t in row))
            lines[-1] += r" \\"
    return lines


def _line(texts: Sequence[str]) -> str:
    return " & ".join(map(latex, texts)) + r" \\"


# --- CSV and JSON ---------------------------------------------------------------------------------

FIELDS = (
    *("table", "kind", "row", "seeds", "benchmark", "metric", "column", "direction", "status"),
    *("value", "low", "high", "n", "over", "p_value", "test", "verdict", "note", "marks"),
)


def to_csv(tables: Sequence[Table]) -> str:
    """A line a cell, with all that is known of it; a number that does not exist is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                numbers = [_number(v) for v in (cell.value, cell.low, cell.high)]
                if cell.text:
                    numbers[0] = _plain(cell.text)
                writer.writerow(
                    [
                        table.key, row.kind, _plain(row.name), " ".join(map(str, row.seeds)),
                        *column.key, column.title, column.direction, cell.status, *numbers,
                        cell.n or "", cell.over, _number(cell.p_value), cell.test,
                        words.VERDICTS[cell.verdict], _plain(cell.note),
                        _plain("; ".join(cell.marks)),
                    ]
                )  # fmt: skip
    return text.getvalue()


def _number(value: float) -> str:
    return f"{value:.10g}" if math.isfinite(value) else ""


def _plain(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def to_json(report: Report) -> str:
    """Everything, in the units of the tables, of runs in those of metrics.jsonl; NaN is null."""
    content = {
        **report.runs,
        "paragraphs": report.paragraphs,
        "tables": [_json_table(table) for table in report.tables],
        "figures": [
            {"file": f.file, "title": f.title, "caption": f.caption} for f in report.figures
        ],
    }
    return json.dumps(null_for_nan(content), indent=2, allow_nan=False) + "\n"


def _json_table(table: Table) -> dict[str, Any]:
    names = ("benchmark", "metric", "title", "direction")
    return {
        **{name: getattr(table, name) for name in ("key", "title", "caption", "form", "notes")},
        "columns": [{name: getattr(c, name) for name in names} for c in table.columns],
        "rows": [row._asdict() | {"cells": [*map(asdict, row.cells)]} for row in table.rows],
    }


def mean_json(found: Estimate) -> dict[str, float | str]:
    """A mean over seeds; `note` says why it has no interval."""
    ends = {"low": found.low, "high": found.high}
    return {"mean": found.value, **ends, "n": found.n, "note": found.why_none}


def null_for_nan(value: Any) -> Any:
    """The same nested value with None for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: null_for_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [null_for_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- HTML -----------------------------------------------------------------------------------------

GENERATOR = "luab-train report"


class Drawn:
    """Figures, each drawn once and laid out once for both of its formats."""

    def __init__(self) -> None:
        self._figures: dict[str, Figure] = {}

    def _figure(self, planned: Planned) -> Figure:
        if planned.key not in self._figures:
            figure = self._figures[planned.key] = planned.draw()
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        return self._figures[planned.key]

    def png(self, planned: Planned) -> bytes:
        """As a file, with its title."""
        return titled_png(self._figure(planned), planned.title)

    def embedded(self, planned: Planned) -> Mapping[str, Any]:
        """In the page, which has its title as text."""
        return embed(planned.key, planned.title, planned.caption, self._figure(planned))


def page_html(report: Report, drawn: Drawn) -> str:
    """The whole page; everything that came from files is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = files("luab_train.report")
    style = (files("luab_data.reports") / "style.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["with_code"] = lambda text: Markup(
        words.with_code(text, _html, lambda code: f"<code>{_html(code)}</code>")
    )
    template = environment.from_string((here / "page.html").read_text(encoding="utf-8"))
    return template.render(
        generator=f"{GENERATOR} {version('luab')}",
        style=Markup(style),
        own_style=Markup((here / "page.css").read_text(encoding="utf-8")),
        report=report,
        cards=_cards(report),
        tables=[table for table in report.tables if table.form != "curves"],
        words=words,
        figures=[drawn.embedded(figure) for figure in report.figures],
    )


def _html(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))


def _cards(report: Report) -> dict[str, int]:
    rows = [row for t in report.tables if t.form == "wide" for row in t.of_kind("ours")]
    statuses = [cell.status for row in rows for cell in row.cells]
    return {
        "arms": len(dict.fromkeys(row.name for row in rows)),
        "runs": len(report.runs.get("runs", ())),
        "numbers measured": statuses.count("value"),
        "missing": statuses.count("missing"),
    }
