"""What a check says: which checks held, every problem with its remedy, what the lint found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from luab_data.checks.lint import Finding
from luab_data.raw.bad_records import REPAIRS
from luab_data.results import Tabular
from luab_data.words import aligned

CHECKS: dict[str, str] = {
    "manifest": "manifest.json is there, readable and complete",
    "files": "every file of the manifest is there, and no other",
    "checksums": "each file has the SHA-256 of the manifest; SHA256SUMS says the same",
    "card": "README.md has the configs, columns, row counts, classes and version of the manifest",
    "shards": "shards are numbered without gaps; shard k holds the same images in every config",
    "pages": "every column of every row group can be read and its page checksums hold",
    "schema": "columns and types are those of the manifest and of luab",
    "rows": "as many rows as the manifest says",
    "values": "parallel lists are equally long, rounds are numbered, nothing required is null",
    "image-ids": "an image is there once",
    "classes": "labels, class names and wnids agree",
    "workers": "worker ids are hashes; annotators are exactly the workers of the rows",
    "derived": "derived columns of one row group equal their recomputation",
    "content": "the rows have the content digest, and the version, of the manifest",
}
"""Every integrity check: id -> what holds when it is passed."""

MAX_PROBLEMS = 20
"""Problems kept of each check; the rest is counted."""

AGAIN = "convert the raw log again or copy the folder again"


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    Args:
        check: id of the check in CHECKS.
        file: path in the dataset folder, and where in it.
        found, expected: what was found and what was expected there.
        advice: what to do.
    """

    check: str
    file: str
    found: str
    expected: str
    advice: str = AGAIN


class Notes:
    """What the checks note on their way through a folder."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.num_problems: Counter[str] = Counter()
        self.num_rows: dict[str, int] = {}
        self.not_linted = 0
        self.statuses = dict.fromkeys(CHECKS, "not run")

    def ran(self, *checks: str) -> None:
        """These checks were made, and are ok unless a problem is found."""
        self.statuses |= {c: "ok" for c in checks if self.statuses[c] == "not run"}

    def partly(self, *checks: str) -> None:
        """These checks could not look at every row, since some cannot be relied on."""
        self.statuses |= {c: "partly" for c in checks if self.statuses[c] == "ok"}

    def problem(
        self, check: str, file: str, found: str, expected: str, advice: str = AGAIN
    ) -> None:
        """A problem; the check counts as made."""
        self.statuses[check] = "failed"
        self.num_problems[check] += 1
        if self.num_problems[check] <= MAX_PROBLEMS:
            self.problems.append(Problem(check, file, found, expected, advice))


_COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in ("kind", "id", "status", "config")),
        *(("count", pa.int64()), ("rows", pa.int64()), ("share", pa.float64())),
        ("meaning", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Report(Tabular):
    """Everything that `check` found out about a folder.

    Args:
        folder: the folder.
        dataset: `imagenet-ab` or `coco-ab`.
        version: as the manifest has it.
        num_rows: config -> rows in the Parquet files.
        statuses: check of CHECKS -> `ok`, `failed`, `partly` (ok as far as it could look) or `not
            run` (for want of what it needs).
        num_problems: check -> problems, those not kept included.
        problems: the first MAX_PROBLEMS of each check.
        findings: of the lint, most severe first; rules without a finding included.
        not_linted: images that the lint could not look at, since something there is damaged.
        repaired: repair of REPAIRS -> values that the reader of the log mended.
    """

    folder: Path
    dataset: str
    version: str | None
    num_rows: Mapping[str, int]
    statuses: Mapping[str, str]
    num_problems: Mapping[str, int]
    problems: tuple[Problem, ...]
    findings: tuple[Finding, ...]
    not_linted: int
    repaired: Mapping[str, int]

    @property
    def whole(self) -> bool:
        """Whether every check was made and none found a problem; the lint does not count."""
        return set(self.statuses.values()) == {"ok"}

    def __repr__(self) -> str:
        failed = [check for check, status in self.statuses.items() if status == "failed"]
        state = "whole" if self.whole else f"not whole ({', '.join(failed) or 'unreadable'})"
        odd = sum(finding.count > 0 for finding in self.findings)
        rules = f"{odd} of {len(self.findings)} lint rules found something"
        return f"Report({self.dataset} {self.version or '?'}: {state}; {rules})"

    def to_table(self) -> pa.Table:
        """A row a check and a row a lint rule; `status` of a rule is its severity."""
        rows: list[dict[str, Any]] = [
            {"kind": "check", "id": check, "status": status, "meaning": CHECKS[check]}
            | {"count": self.num_problems[check]}
            for check, status in self.statuses.items()
        ]
        rows += [
            {"kind": "lint", "id": f.rule.id, "status": f.rule.severity, "meaning": f.rule.doc}
            | {"config": f.rule.config, "count": f.count, "rows": f.rows, "share": f.share}
            for f in self.findings
        ]
        return pa.Table.from_pylist(rows, _COLUMNS)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        num = self.num_problems
        return {
            "folder": str(self.folder),
            "dataset": self.dataset,
            "version": self.version,
            "whole": self.whole,
            "num_rows": dict(self.num_rows),
            "checks": [
                {"check": c, "status": s, "num_problems": num[c], "meaning": CHECKS[c]}
                for c, s in self.statuses.items()
            ],
            "problems": [asdict(problem) for problem in self.problems],
            "repaired": dict(self.repaired),
            "lint": [
                {
                    "rule": f.rule.id,
                    "severity": f.rule.severity,
                    "config": f.rule.config,
                    "meaning": f.rule.doc,
                    "source": f.rule.source,
                    "count": f.count,
                    "rows": f.rows,
                    "share": f.share,
                    "examples": list(f.examples),
                }
                for f in self.findings
            ],
            "num_images_not_linted": self.not_linted,
        }

    def as_text(self, width: int | None = None) -> str:
        """Checks, problems with their remedies, what was mended, what the lint found.

        Args:
            width: of a line; longer sentences are wrapped. None: they are not.
        """
        parts = (self._checks(width), self._problems(width), self._lint(width))
        return "\n".join(line for part in parts for line in part)

    def _checks(self, width: int | None) -> Iterator[str]:
        rows = ", ".join(f"{config} {count:,}" for config, count in self.num_rows.items())
        version = f" {self.version}" if self.version else ""
        yield f"{self.folder}: {self.dataset}{version}, rows: {rows or 'none'}"
        yield ""
        yield from aligned(
            [
                (f"FAILED ({self.num_problems[c]})" if s == "failed" else s, c, CHECKS[c])
                for c, s in self.statuses.items()
            ],
            width=width,
        )

    def _problems(self, width: int | None) -> Iterator[str]:
        for p in self.problems:
            yield ""
            yield f"{p.check}: {p.file}"
            said = ("found", p.found), ("expected", p.expected), ("to do", p.advice)
            yield from aligned([(f"  {what}", text) for what, text in said], width=width)
        if more := sum(self.num_problems.values()) - len(self.problems):
            yield f"\nand {more:,} more problems of the same kinds"

    def _lint(self, width: int | None) -> Iterator[str]:
        if self.repaired:
            yield "\nmended while the log was read"
            mended = [(r, f"{n:,}", REPAIRS.get(r, "")) for r, n in self.repaired.items()]
            yield from aligned(mended, right=(1,), width=width)
        yield ""
        if self.not_linted:
            yield f"lint: {self.not_linted:,} images could not be looked at"
        found = [finding for finding in self.findings if finding.count]
        if found:
            yield "lint: rows worth a look; none of this makes the dataset bad"
            head = ("", "rule", "rows", "share", "of", "meaning")
            yield from aligned([head, *map(_cells, found)], right=(2, 3), width=width)
        if named := [(f"  {f.rule.id}", _examples(f)) for f in found if f.examples]:
            yield ""
            yield "first examples (luab-data trace DIR IMAGE_ID shows one)"
            yield from aligned(named, width=width)
        if clean := [finding.rule.id for finding in self.findings if not finding.count]:
            yield ""
            yield from aligned([(f"found nothing: {', '.join(clean)}",)], width=width)


def _cells(finding: Finding) -> tuple[str, ...]:
    share = "-" if finding.share is None else f"{100 * finding.share:.3g} %"
    rule = finding.rule
    return rule.severity, rule.id, f"{finding.count:,}", share, rule.config, rule.doc


def _examples(finding: Finding) -> str:
    rounds = (f" round {e['round']}" if "round" in e else "" for e in finding.examples)
    ids = (e["image_id"] for e in finding.examples)
    return ", ".join(f"{i}{number}" for i, number in zip(ids, rounds, strict=True))
