"""[I/O] A dataset folder -> a report: is it whole, and what is odd about the behaviour in it.

Start reading here: first the files, then the rows. A broken part is reported and the
rest is checked all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from luab_data.checks.files import check_card, check_files, check_manifest
from luab_data.checks.lint import Lint
from luab_data.checks.report import Report
from luab_data.checks.rules import rules_of
from luab_data.checks.tables import check_tables
from luab_data.errors import OptionError
from luab_data.files import MANIFEST
from luab_data.store.load import HOME_VARIABLE

EXAMPLES = 3


def check(
    dataset: str | os.PathLike[str],
    *,
    rules: Iterable[str] = (),
    examples: int = EXAMPLES,
    shown: bool | None = None,
) -> Report:
    """Verify all of a dataset folder and lint the behaviour in it.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.
        rules: ids of the lint rules to apply; none means all of the dataset's.
        examples: how many rows to name per rule.
        shown: progress bars; None shows them on a terminal.

    Returns: the report; `whole` is false if any check of integrity failed. Lint never counts.

    Raises:
        DatasetError: the folder is not there or holds nothing of luab.
        OptionError: no such rule, or a negative number of examples.
    """
    if examples < 0:
        raise OptionError(f"examples is {examples}; expected 0 or more")
    report = Report(folder=_folder(dataset))
    manifest = check_manifest(report.folder, report)
    report.dataset, report.version = manifest["dataset"], manifest.get("version")
    lint = Lint(rules_of(manifest["dataset"], rules), examples)
    check_files(report.folder, manifest, report, shown=shown)
    check_card(report.folder, manifest, report)
    check_tables(report.folder, manifest, report, lint, shown=shown)
    report.findings = lint.findings
    return report


def _folder(dataset: str | os.PathLike[str]) -> Path:
    """As find_dataset, but without asking for whole files: that is for the report to say."""
    folder = Path(dataset).expanduser()
    home = os.environ.get(HOME_VARIABLE)
    if home and not folder.exists():
        named = Path(home).expanduser() / dataset
        return named if (named / MANIFEST).is_file() else folder
    return folder
