"""A report as Markdown, LaTeX, CSV and JSON: the same tables and figures in each."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from luab_train.metrics.intervals import Estimate
from luab_train.report import words
from luab_train.report.figures import Planned
from luab_train.report.tables import KINDS, Table


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
        lines += [words.with_code(text, escaped, lambda code: f"`{code}`"), ""]
    for table in report.tables:
        if table.form == "wide" or (details and table.form == "list"):
            lines += _section(table, details=details)
    for figure in report.figures if details else ():
        lines += [f"## {_markdown(figure.title)}", "", f"![{escaped(figure.title)}]({figure.file})"]
        lines += ["", escaped(figure.caption), ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(table: Table, *, details: bool) -> list[str]:
    lines = [f"## {_markdown(table.title)}", "", escaped(table.caption), "", *_wide(table), ""]
    lines += [f"- {escaped(note)}" for note in words.notes(table)]
    if not details or table.form == "list":
        return [*lines, ""]
    lines += ["", "<details><summary>Every number with its interval</summary>", ""]
    for kind in ("ours", "baseline", "difference"):
        head, rows = words.every_number(table, kind)
        if rows:
            lines += [*aligned(head, [list(map(escaped, row)) for row in rows], left=2), ""]
    return [*lines, "</details>", ""]


def _wide(table: Table) -> list[str]:
    has_seeds = any(row.seeds for row in table.rows)
    head = ["", *(["seeds"] if has_seeds else []), *(escaped(c.head) for c in table.columns)]
    rows = []
    for row in table.rows:
        cells = []
        for cell, column in zip(row.cells, table.columns, strict=True):
            text = escaped(words.short(cell, column, row.kind, table))
            cells.append({1: f"**{text}**", -1: f"*{text}*", 0: text}[cell.verdict])
        name = f"*{escaped(row.name)}*" if row.kind == "baseline" else escaped(row.name)
        rows.append([name, *([words.seeds(row)] if has_seeds else []), *cells])
    return aligned(head, rows, left=2 if has_seeds else 1)


def _markdown(text: str) -> str:
    return words.with_code(text, escaped, lambda code: f"`{code}`")


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line of a table."""
    plain = re.sub(r"\s+", " ", text)
    return re.sub(r"([\\`*<>|~#$]|(?<!\w)_|_(?!\w)|[\[\]!](?=[\[(]))", r"\\\1", plain)


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


# --- LaTeX ----------------------------------------------------------------------------------------

_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "−": "$-$", "–": "--", "±": r"$\pm$", "τ": r"$\tau$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "“": "``", "”": "''", "†": r"\textdagger{}", "×": r"$\times$",
    **{raised: rf"\textsuperscript{{{letter}}}" for letter, raised in words.LETTERS.items()},
}  # fmt: skip
_PACKAGES = r"\usepackage{booktabs,graphicx,longtable}"


def latex(text: str) -> str:
    """Text that LaTeX sets as it is; what is not Latin is `?`."""
    plain = re.sub(r"\s+", " ", text)
    found = "".join(_ESCAPES.get(c, c if ord(c) < 0x250 else "?") for c in plain)
    return re.sub(r"[\x00-\x1f\x7f]", "?", found)


def to_latex(report: Report) -> str:
    """Each table a `table*` with the label `tab:<key>`, then a `longtable` of every number.

    Needs booktabs, graphicx and longtable, and pdflatex with UTF-8, lualatex or xelatex.
    """
    parts = [f"% Written by luab-train report. Needs {_PACKAGES}.", ""]
    parts += [_paragraph(text) + "\n" for text in report.paragraphs]
    for table in report.tables:
        if table.form == "wide":
            parts += [_wide_latex(table), *_every_number_latex(table)]
        elif table.form == "list":
            head = ["", *(c.head for c in table.columns)]
            rows = [
                [row.name, *(words.short(cell, c, row.kind, table)
                             for cell, c in zip(row.cells, table.columns, strict=True))]
                for row in table.rows
            ]  # fmt: skip
            parts.append(_long_latex(table.key, f"{table.title}. {table.caption}", head, rows))
    for figure in report.figures:
        parts += [
            r"\begin{figure}[p]", r"\centering",
            rf"\includegraphics[width=\linewidth]{{{figure.file}}}",
            rf"\caption{{{latex(f'{figure.title}. {figure.caption}')}}}",
            rf"\label{{fig:{latex(figure.key)}}}", r"\end{figure}", "",
        ]  # fmt: skip
    return "\n".join(parts)


def _paragraph(text: str) -> str:
    return words.with_code(text, latex, lambda code: rf"\texttt{{{latex(code)}}}")


def _wide_latex(table: Table) -> str:
    has_seeds = any(row.seeds for row in table.rows)
    heads = ["", *(["seeds"] if has_seeds else []), *(c.head for c in table.columns)]
    caption = " ".join([f"{table.title}. {table.caption}", *words.notes(table)])
    lines = [
        r"\begin{table*}[t]", r"\centering", rf"\caption{{{latex(caption)}}}",
        rf"\label{{tab:{latex(table.key)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule",
        " & ".join(map(latex, heads)) + r" \\",
    ]  # fmt: skip
    for kind in KINDS:
        rows = table.of_kind(kind)
        lines += [r"\midrule"] if rows else []
        for row in rows:
            cells = [latex(words.seeds(row))] if has_seeds else []
            for cell, column in zip(row.cells, table.columns, strict=True):
                text = latex(words.short(cell, column, kind, table))
                cells.append(
                    {1: rf"\textbf{{{text}}}", -1: rf"\textit{{{text}}}", 0: text}[cell.verdict]
                )
            name = latex(row.name)
            name = rf"\textit{{{name}}}" if kind in ("quoted", "baseline") else name
            lines.append(" & ".join([name, *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table*}", ""])


def _every_number_latex(table: Table) -> list[str]:
    parts = []
    for kind in ("ours", "difference"):
        head, rows = words.every_number(table, kind)
        if rows:
            caption = f"{table.title}: every {'difference' if kind == 'difference' else 'number'}."
            parts.append(_long_latex(f"{table.key}-{kind}", caption, head, rows))
    return parts


def _long_latex(key: str, caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        rf"{{\footnotesize\begin{{longtable}}{{{'l' * len(head)}}}",
        rf"\caption{{{latex(caption)}}}\label{{tab:{latex(key)}}}\\", r"\toprule",
        " & ".join(map(latex, head)) + r" \\", r"\midrule", r"\endhead",
        *(" & ".join(map(latex, row)) + r" \\" for row in rows),
        r"\bottomrule", r"\end{longtable}}", "",
    ]  # fmt: skip
    return "\n".join(lines)


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
                        words.TEXT[cell.verdict], _plain(cell.note), _plain("; ".join(cell.marks)),
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
        "rows": [asdict(row) for row in table.rows],
    }


def mean_json(found: Estimate) -> dict[str, float]:
    """A mean over seeds."""
    return {"mean": found.value, "low": found.low, "high": found.high, "n": found.n}


def null_for_nan(value: Any) -> Any:
    """The same nested value with None for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: null_for_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [null_for_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
