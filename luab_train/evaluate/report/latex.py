"""Tables as LaTeX with booktabs: quoted rows, ours and differences are kept apart by rules."""

from __future__ import annotations

import re
from collections.abc import Sequence

from luab_train.evaluate.report import words
from luab_train.evaluate.report.layout import ARROWS, Column
from luab_train.evaluate.report.tables import Cell, Kind, Table

_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "−": "$-$", "–": "--", "±": r"$\pm$", "τ": r"$\tau$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "“": "``", "”": "''", "†": r"\textdagger{}",
}  # fmt: skip
_KINDS: tuple[Kind, ...] = ("quoted", "ours", "difference")


def to_latex(tables: Sequence[Table]) -> str:
    r"""All tables, each a `table*` with a label `tab:<key>`.

    Needs \usepackage{booktabs,graphicx} and pdflatex with UTF-8, lualatex or xelatex.
    """
    head = r"% Written by luab-train report. Needs \usepackage{booktabs,graphicx}." + "\n"
    return head + "".join("\n" + _table(table) for table in tables)


def _table(table: Table) -> str:
    columns = table.layout.columns
    heads = [escaped(column.title) + _arrow(column) for column in columns]
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{escaped(_caption(table))}}}",
        rf"\label{{tab:{table.layout.key}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *heads]) + r" \\",
    ]
    for kind in _KINDS:
        rows = table.of_kind(kind)
        lines += [r"\midrule"] if rows else []
        for row in rows:
            cells = [_cell(c, column, kind) for c, column in zip(row.cells, columns, strict=True)]
            name = escaped(row.name)
            lines.append(" & ".join([rf"\textit{{{name}}}" if kind == "quoted" else name, *cells])
                         + r" \\")  # fmt: skip
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table*}", ""]
    return "\n".join(lines)


def _caption(table: Table) -> str:
    parts = [f"{table.layout.title}. {table.layout.caption}", *table.notes]
    return " ".join(parts)


def _arrow(column: Column) -> str:
    return "~" + _ESCAPES[ARROWS[column.direction]]


def _cell(cell: Cell, column: Column, kind: Kind) -> str:
    text = escaped(words.short(cell, column, kind))
    return {1: rf"\textbf{{{text}}}", -1: rf"\textit{{{text}}}", 0: text}[cell.verdict]


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is; what is not Latin is `?`."""
    plain = " ".join(text.split())
    found = "".join(_ESCAPES.get(c, c if ord(c) < 0x250 else "?") for c in plain)
    return re.sub(r"[\x00-\x1f\x7f]", "?", found)
