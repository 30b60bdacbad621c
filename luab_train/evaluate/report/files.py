"""The report of evaluated models as files: Markdown, CSV, LaTeX, HTML, figures.     [I/O]"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luab_data.figures.style import png
from luab_data.reports.html import embed
from luab_train.evaluate.report.evaluated import Arm, arms_of
from luab_train.evaluate.report.figures import Planned, plan
from luab_train.evaluate.report.latex import to_latex
from luab_train.evaluate.report.listing import to_csv
from luab_train.evaluate.report.markdown import to_markdown
from luab_train.evaluate.report.page import page_html
from luab_train.evaluate.report.tables import Table, make_tables
from luab_train.report.figures import curves_figure
from luab_train.report.runs import LAST_EPOCH, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVES = ("curves", "Training curves", "Mean over seeds; bands go from the lowest to the highest.")


@dataclass(frozen=True, kw_only=True)
class BenchmarkReport:
    """Arms and their tables."""

    arms: tuple[Arm, ...]
    tables: tuple[Table, ...]

    def markdown(self, *, details: bool) -> str:
        """See `to_markdown`."""
        return to_markdown(self.tables, details=details)


def benchmark_report(
    runs: Sequence[Run], folders: Sequence[Path], *, reference: str = "none"
) -> BenchmarkReport:
    """Compare evaluated models.

    Args:
        runs: evaluated or not; those that were not are `missing` everywhere.
        folders: evaluations of models that are no runs.
        reference: see `make_tables`.
    """
    arms = arms_of(runs, folders)
    tables = make_tables(arms, reference=reference)
    return BenchmarkReport(arms=tuple(arms), tables=tuple(tables))


def benchmark_files(
    report: BenchmarkReport, runs: Sequence[Run], *, root: Path | None = None
) -> dict[str, Callable[[], bytes]]:
    """File name -> what makes its content: tables.csv, tables.tex, report.html, figures/*.png."""
    planned = plan(report.arms, report.tables, root=root)
    drawn: dict[str, Figure] = {}

    def figure_of(figure: Planned) -> Figure:
        if figure.key not in drawn:
            drawn[figure.key] = figure.draw()
            # The layout is solved once, not for every format.
            drawn[figure.key].draw_without_rendering()
            drawn[figure.key].set_layout_engine("none")
        return drawn[figure.key]

    def page() -> bytes:
        pictures = [embed(f.key, f.title, f.caption, figure_of(f)) for f in planned]
        if any(LAST_EPOCH in run.results for run in runs):
            pictures.append(embed(*_CURVES, curves_figure(runs)))
        return page_html(report.arms, report.tables, pictures).encode()

    return {
        "tables.csv": lambda: to_csv(report.tables).encode(),
        "tables.tex": lambda: to_latex(report.tables).encode(),
        **{f"figures/{f.key}.png": lambda f=f: png(figure_of(f)) for f in planned},  # type: ignore[misc]
        "report.html": page,
    }
