"""The report of evaluated models as files: Markdown, CSV, LaTeX, HTML, figures.     [I/O]"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from luab_train.evaluation.report.evaluated import Arm, arms_of
from luab_train.evaluation.report.latex import to_latex
from luab_train.evaluation.report.listing import to_csv
from luab_train.evaluation.report.markdown import to_markdown
from luab_train.evaluation.report.tables import Table, make_tables
from luab_train.runs import Run


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
    contents: dict[str, Callable[[], bytes]] = {
        "tables.csv": lambda: to_csv(report.tables).encode(),
        "tables.tex": lambda: to_latex(report.tables).encode(),
    }
    return contents
