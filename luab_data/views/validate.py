"""[I/O] validate: is a file an open log, what does it have, and what in it is worth a look?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa

from luab_data.console import progress
from luab_data.conversion import AnyPath
from luab_data.kinds import OWN_KINDS
from luab_data.ragged import ragged
from luab_data.results import Tabular
from luab_data.views import FIDELITY, fidelity
from luab_data.views.lines import log_file, read_lines, verb_of
from luab_data.views.lint import WARNINGS
from luab_data.views.log import PARTS, Kind, View, to_table
from luab_data.words import aligned, counted, near

EXAMPLES = 5
"""Lines that are named of each finding; the rest is counted."""


@dataclass(frozen=True)
class LogFinding:
    """What is wrong or odd in a log.

    Args:
        severity: `error`: convert refuses the line; `warning`: worth a look; `unknown`: a field
            that this version does not know, left out.
        id: short name of the rule, or the field.
        count: lines; for fields how often.
        lines: numbers of the first lines, from 1.
        meaning: one sentence.
    """

    severity: Literal["error", "warning", "unknown"]
    id: str
    count: int
    lines: tuple[int, ...]
    meaning: str


_COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in ("severity", "id")),
        ("count", pa.int64()),
        ("share", pa.float64()),
        ("lines", pa.list_(pa.int64())),
        ("meaning", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Validation(Tabular):
    """What a log has, and what is wrong with it.

    Args:
        log: the file.
        kinds: kind of task -> views.
        num_views, num_images, num_sessions, num_annotators: in lines without an error; images by
            class and id.
        fidelity: flag of FIDELITY -> views that have it.
        findings: errors, warnings, unknown fields, the most frequent first.
    """

    log: Path
    kinds: Mapping[str, int]
    num_views: int
    num_images: int
    num_sessions: int
    num_annotators: int
    fidelity: Mapping[str, int]
    findings: tuple[LogFinding, ...]

    @property
    def valid(self) -> bool:
        """Whether convert reads every line."""
        return not self._of("error")

    def _of(self, severity: str) -> list[LogFinding]:
        return [finding for finding in self.findings if finding.severity == severity]

    def __repr__(self) -> str:
        bad = sum(finding.count for finding in self._of("error"))
        state = "valid" if self.valid else f"not valid: {counted(bad, 'bad line')}"
        if not (self.num_views or self.findings):
            return f"Validation({self.log.name}: empty: no line holds a view)"
        return (
            f"Validation({self.log.name}: {state}; {counted(self.num_views, 'view')} of"
            f" {counted(self.num_images, 'image')} in {counted(self.num_sessions, 'session')} by"
            f" {counted(self.num_annotators, 'annotator')})"
        )

    def to_table(self) -> pa.Table:
        """A row a finding, then a row a flag of FIDELITY (`severity` is `has`)."""
        rows = [
            {**asdict(f), "share": f.count / self.num_views if f.severity == "warning" else None}
            for f in self.findings
        ]
        rows += [
            {"severity": "has", "id": flag, "count": count, "share": self._share(count),
             "lines": None, "meaning": FIDELITY[flag]}
            for flag, count in self.fidelity.items()
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, _COLUMNS)

    def _share(self, count: int) -> float | None:
        return count / self.num_views if self.num_views else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "log": self.log.name, "valid": self.valid}

    def as_text(self, width: int | None = None) -> str:
        """For a terminal, `width` characters wide."""
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.kinds.items())
        lines = [repr(self)[len("Validation(") : -1], f"kinds: {kinds or 'none'}", ""]
        flags = [
            [flag, f"{100 * count / self.num_views:.3g} %", f"views with {FIDELITY[flag]}"]
            for flag, count in self.fidelity.items()
            if self.num_views
        ]
        lines += aligned(flags, right=[1], width=width)
        for severity in ("error", "warning", "unknown"):
            rows = [[severity, f.id, f"{f.count:,}", _said(f)] for f in self._of(severity)]
            lines += ["", *aligned(rows, right=[2], width=width)] if rows else []
        return "\n".join(lines)


def _said(finding: LogFinding) -> str:
    numbers = ", ".join(map(str, finding.lines))
    more = " and more" if finding.count > len(finding.lines) else ""
    return finding.meaning + (f" Lines {numbers}{more}." if numbers else "")


def validate(log: AnyPath, *, examples: int = EXAMPLES, shown: bool | None = None) -> Validation:
    """Check every line of an open log; docs/log-format.md.

    Args:
        log: JSON Lines, plain, gzip or Zstandard.
        examples: lines to name of each finding.
        shown: a progress bar; None shows it on a terminal.

    Raises:
        ArchiveError: the file is no JSON Lines, or damaged.
    """
    path = log_file(log)
    tally = _Tally(examples)
    with progress(
        what="validate", total=path.stat().st_size, unit="B", unit_scale=True, shown=shown
    ) as bar:
        for lines in read_lines(path, tally.unknown, bar.update):
            for number, error in zip(lines.error_numbers, lines.errors, strict=True):
                tally.note("error", error.rule, _ANY_NUMBER.sub("", error.reason), [number])
            tally.add(lines.views, lines.numbers)
    return Validation(
        log=path,
        kinds=dict(tally.kinds.most_common()),
        num_views=tally.kinds.total(),
        num_images=len(tally.images),
        num_sessions=len(tally.sessions),
        num_annotators=len(tally.annotators),
        fidelity={flag: tally.fidelity[flag] for flag in FIDELITY},
        findings=tuple(tally.findings()),
    )


_ANY_NUMBER = re.compile(r"(?<=\[)\d+(?=\])| \(byte \d+\)")


class _Tally:
    """What was seen of a log so far."""

    def __init__(self, examples: int) -> None:
        self.unknown = Counter[str]()
        self.kinds = Counter[str]()
        self.fidelity = Counter[str]()
        # Hashes: a log may have millions of images, and of places on pages.
        self.images: dict[int, tuple[tuple[int | None, int | None], int | None]] = {}
        self.sessions: dict[str, str | None] = {}
        self.annotators = set[str]()
        self._places = set[int]()
        self._examples = examples
        self._found: dict[tuple[str, str, str], tuple[int, list[int]]] = {}

    def note(self, severity: str, rule: str, meaning: str, numbers: Sequence[int]) -> None:
        """Something was found in lines."""
        count, first = self._found.get((severity, rule, meaning), (0, []))
        first = [*first, *numbers[: max(self._examples - len(first), 0)]]
        if numbers:
            self._found[severity, rule, meaning] = (count + len(numbers), first)

    def add(self, views: Sequence[View], numbers: Sequence[int]) -> None:
        """Views and the numbers of their lines."""
        for kind in dict.fromkeys(view.kind for view in views):
            some = [row for row, view in enumerate(views) if view.kind == kind]
            self._add(kind, [views[row] for row in some], np.array(numbers)[some])

    def _add(self, kind: Kind, views: Sequence[View], numbers: np.ndarray) -> None:
        table = to_table(views)
        rows, names = OWN_KINDS[verb_of(kind)].from_views.class_names(table)
        lacking = np.unique(rows[np.asarray(names.is_null())])
        self.note("error", "missing", _NO_CLASS.format(kind), numbers[lacking].tolist())
        good = np.setdiff1d(np.arange(len(views)), lacking)
        table, numbers = table.take(pa.array(good)), numbers[good]
        self.kinds[kind] += len(table)
        for flag, flags in fidelity(table).items():
            self.fidelity[flag] += int(flags.sum())
        event = ragged(table["event"])
        for rule, meaning, odd in WARNINGS:
            self.note("warning", rule, meaning, numbers[odd(table, event)].tolist())
        for row, number in zip(good.tolist(), numbers.tolist(), strict=True):
            for rule in self._odd_with_others(views[row]):
                self.note("warning", rule, _WITH_OTHERS[rule], [number])

    def _odd_with_others(self, view: View) -> Iterator[str]:
        """Rules that a view breaks with the views before it."""
        image, label = view.image, view.asked.label if view.asked else None
        size, file = (image.width, image.height), hash(image.file) if image.file else None
        before = self.images.setdefault(hash((label, image.id)), (size, file))
        if size != before[0] and None not in (*size, *before[0]):
            yield "two-sizes"
        if file != before[1] and None not in (file, before[1]):
            yield "two-files"
        if view.annotator is not None:
            self.annotators.add(view.annotator)
        if view.session is None:
            return
        if self.sessions.setdefault(view.session, view.annotator) != view.annotator:
            yield "two-annotators"
        place = hash((view.session, view.annotator, label, image.id, view.page, view.slot))
        if place in self._places:
            yield "twice"
        self._places.add(place)

    def findings(self) -> Iterator[LogFinding]:
        """Errors, then warnings, then unknown fields, the most frequent first."""
        found = sorted(self._found.items(), key=lambda item: (item[0][0], -item[1][0]))
        for (severity, rule, meaning), (count, numbers) in found:
            yield LogFinding(severity, rule, count, tuple(numbers), meaning)  # type: ignore[arg-type]
        for name, count in self.unknown.most_common():
            like = near(name, _fields(), most=1)
            meaning = f"left out; did you mean `{like[0]}`?" if like else "not known, left out."
            yield LogFinding("unknown", name, count, (), meaning)


def _fields() -> list[str]:
    """All fields of a view, those within others behind a dot."""
    inside: list[tuple[str, Any]] = [("", View), *((f"{n}.", part) for n, part in PARTS.items())]
    return [
        f"{before}{field.encode_name}"
        for before, struct in inside
        for field in msgspec.structs.fields(struct)
    ]


_NO_CLASS = "Says of no class what it is about, which a view of a {} task must."

_WITH_OTHERS = {
    "two-annotators": "Its session has another annotator in a line before; one session is one"
    " annotator's answer to one task.",
    "two-sizes": "The picture had another size in a line before.",
    "two-files": "An id names one picture of its class, but its file was another one before.",
    "twice": "The same picture at the same place of the same session was there before.",
}
