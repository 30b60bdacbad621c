"""[I/O] A dataset folder -> a report: is it whole, and what is odd about the behaviour in it.

Start reading here: first the files, then the rows. A broken part is reported and the rest is
checked all the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from luab_data.checks.folder import check_card, check_files, check_manifest
from luab_data.checks.lint import Lint, chosen
from luab_data.checks.report import CHECKS, Notes, Report
from luab_data.checks.tables import check_tables
from luab_data.errors import OptionError
from luab_data.kinds import kind_of
from luab_data.store.load import find_dataset

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
        shown: False for no progress.

    Returns: the report; `whole` is false if any check of integrity failed. Lint never counts.

    Raises:
        DatasetError: the folder is not there or holds nothing of luab.
        OptionError: no such rule, or a negative number of examples.
    """
    if examples < 0:
        raise OptionError(f"examples is {examples}; expected 0 or more")
    folder, notes = Path(dataset).expanduser(), Notes()
    if not folder.exists():
        folder = find_dataset(dataset, whole=False)
    manifest = check_manifest(folder, notes)
    kind = kind_of(manifest)
    lint = Lint(chosen(kind.lint.rules, rules), examples)
    check_files(folder, manifest, notes, shown=shown)
    check_card(folder, manifest, notes)
    check_tables(folder, manifest, notes, lint, shown=shown)
    return Report(
        folder=folder,
        dataset=kind.dataset,
        version=manifest.get("version"),
        num_rows=notes.num_rows,
        statuses={check: notes.status(check) for check in CHECKS},
        num_problems=notes.num_problems,
        problems=tuple(notes.problems),
        findings=lint.findings,
        not_linted=notes.not_linted,
        repaired=manifest.get("repaired", {}),
    )
