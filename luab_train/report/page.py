"""The report as one page that needs nothing else: tables, every number, figures.

The style is that of the data's report, `luab_data.reports`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from luab_data.reports.html import embed
from luab_train.report import words
from luab_train.report.draw import titled_png
from luab_train.report.figures import Planned
from luab_train.report.render import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
