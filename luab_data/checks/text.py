"""A report as aligned text."""

from __future__ import annotations

from collections.abc import Iterator

from luab_data.checks.report import CHECKS, Finding, Report
from luab_data.words import aligned


def as_text(report: Report) -> str:
    """The whole report: checks, problems with their remedies, what the lint found."""
    return "\n".join([*_head(report), *_checks(report), *_problems(report), *_lint(report)])


def _head(report: Report) -> Iterator[str]:
    rows = ", ".join(f"{config} {count:,}" for config, count in report.num_rows.items())
    version = f" {report.version}" if report.version else ""
    yield f"{report.folder}: {report.dataset}{version}, rows: {rows or 'none'}"


def _checks(report: Report) -> Iterator[str]:
    yield ""
    rows = []
    for check, meaning in CHECKS.items():
        status = report.status(check)
        count = report.num_problems(check)
        shown = f"FAILED ({count})" if status == "failed" else status
        rows.append((shown, check, meaning))
    yield from aligned(rows)


def _problems(report: Report) -> Iterator[str]:
    for problem in report.problems:
        yield ""
        yield f"{problem.check}: {problem.file}"
        yield from aligned(
            [
                ("  found", problem.found),
                ("  expected", problem.expected),
                ("  to do", problem.advice),
            ]
        )
    if report.problems and (more := report.num_problems() - len(report.problems)):
        yield f"\nand {more:,} more problems of the same kinds"


def _lint(report: Report) -> Iterator[str]:
    found = [finding for finding in report.findings if finding.count]
    clean = [finding.rule.id for finding in report.findings if not finding.count]
    yield ""
    if report.not_linted:
        yield f"lint: {report.not_linted:,} images could not be looked at"
    if found:
        yield "lint: rows worth a look; none of this makes the dataset bad"
        head = ("", "rule", "rows", "share", "of", "meaning")
        yield from aligned([head, *map(_row, found)], right=(2, 3))
        named = [(f"  {f.rule.id}", _examples(f)) for f in found if f.examples]
        if named:
            yield ""
            yield "first examples (luab-data trace DIR IMAGE_ID shows one)"
            yield from aligned(named)
    if clean:
        yield ""
        yield f"found nothing: {', '.join(clean)}"


def _row(finding: Finding) -> tuple[str, ...]:
    share = "-" if finding.share is None else f"{100 * finding.share:.3g} %"
    rule = finding.rule
    return rule.severity, rule.id, f"{finding.count:,}", share, rule.config, rule.doc


def _examples(finding: Finding) -> str:
    names = []
    for example in finding.examples:
        number = f" round {example['round']}" if "round" in example else ""
        names.append(f"{example['image_id']}{number}")
    return ", ".join(names)
