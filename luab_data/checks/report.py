"""What a check says: which checks held, every problem with its remedy, what the lint found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from luab_data.checks.rule import Rule

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


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one lint rule found.

    Args:
        rule: the rule.
        count: rows that break it.
        rows: rows it looked at.
        examples: the first of them: `image_id`, and `round` where a row is a round.
    """

    rule: Rule
    count: int
    rows: int
    examples: tuple[dict[str, Any], ...]

    @property
    def share(self) -> float | None:
        """Count / rows; None without rows."""
        return self.count / self.rows if self.rows else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rule": self.rule.id,
            "severity": self.rule.severity,
            "config": self.rule.config,
            "meaning": self.rule.doc,
            "source": self.rule.source,
            "count": self.count,
            "rows": self.rows,
            "share": self.share,
            "examples": list(self.examples),
        }


@dataclass(kw_only=True)
class Report:
    """Everything `luab-data check` found out about a folder.

    Args:
        folder: the folder.
        dataset: `imagenet-ab` or `coco-ab`; None if that could not be told.
        version: as the manifest has it.
        num_rows: config -> rows in the Parquet files.
        findings: of the lint, most severe first; rules without a finding included.
        not_linted: images that the lint could not look at, since something there is damaged.
    """

    folder: Path
    dataset: str | None = None
    version: str | None = None
    num_rows: dict[str, int] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    not_linted: int = 0
    problems: list[Problem] = field(default_factory=list)
    _ran: set[str] = field(default_factory=set)
    _partly: set[str] = field(default_factory=set)
    _tally: Counter[str] = field(default_factory=Counter)

    def ran(self, *checks: str) -> None:
        """Note that these checks were made."""
        self._ran.update(checks)

    def partly(self, *checks: str) -> None:
        """Note that these checks could not look at every row, since some cannot be relied on."""
        self._partly.update(checks)

    def problem(
        self, check: str, file: str, found: str, expected: str, advice: str = AGAIN
    ) -> None:
        """Note a problem; the check counts as made."""
        self._ran.add(check)
        self._tally[check] += 1
        if self._tally[check] <= MAX_PROBLEMS:
            self.problems.append(
                Problem(check=check, file=file, found=found, expected=expected, advice=advice)
            )

    def num_problems(self, check: str | None = None) -> int:
        """Problems of one check, or of all, those not kept included."""
        return self._tally.total() if check is None else self._tally[check]

    def status(self, check: str) -> str:
        """`ok`, `failed`, or for want of what it needs `partly` (ok so far) or `not run`."""
        if self._tally[check]:
            return "failed"
        if check in self._partly & self._ran:
            return "partly"
        return "ok" if check in self._ran else "not run"

    @property
    def whole(self) -> bool:
        """Whether every check was made and none found a problem; the lint does not count."""
        return all(self.status(check) == "ok" for check in CHECKS)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "folder": str(self.folder),
            "dataset": self.dataset,
            "version": self.version,
            "whole": self.whole,
            "num_rows": self.num_rows,
            "checks": [
                {
                    "check": check,
                    "status": self.status(check),
                    "num_problems": self.num_problems(check),
                    "meaning": meaning,
                }
                for check, meaning in CHECKS.items()
            ],
            "problems": [asdict(problem) for problem in self.problems],
            "lint": [finding.as_dict() for finding in self.findings],
            "num_images_not_linted": self.not_linted,
        }
