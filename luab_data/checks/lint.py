"""Lint: what can be odd about the rows of a dataset, and how often it is.

A rule is a row of a table in imagenet.py or coco.py: id, severity, sentence, source and a predicate
over a Window. docs/rules.md is written from them. To add one, add an entry there
and a record that breaks it to the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.errors import OptionError
from luab_data.ragged import Bools, Floats, Ints, Ragged, bounds_of, floats, is_true, ragged
from luab_data.raw.private import addresses, text_columns
from luab_data.words import did_you_mean

if TYPE_CHECKING:
    from luab_data.kinds import Kind

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""error: the row contradicts itself, do not trust what is derived from it; warning: the tool should
not have written it; info: a known habit of the tool, good to know before counting."""

_ROUNDING_PX = 2.0  # a width on a page that is off by no more is rounded

_SIZES = ("image_width", "image_height", "original_image_width", "original_image_height")


class Window:
    """Some images with all their records: what the predicates of a kind of log look at.

    Subclasses have what several rules share; everything is computed once, when first asked for. A
    missing value (null, NaN here) is never odd by itself, but where a rule says so.

    Args:
        images: (num_images,) rows of `default`.
        records: (num_records,) rows of `rounds` or `actions`; those of an image stand side by side,
            by submit time.
        bounds: (num_images + 1,) image i has the records bounds[i]:bounds[i + 1].
    """

    def __init__(self, images: pa.Table, records: pa.Table, bounds: Ints) -> None:
        self.images = images
        self.records = records
        self.bounds = bounds
        self._lists: dict[str, Ragged] = {}

    @cached_property
    def owner(self) -> Ints:
        """(num_records,) row of each record's image."""
        return np.repeat(np.arange(len(self.images)), np.diff(self.bounds))

    def lists(self, name: str) -> Ragged:
        """A list column of the records, one value a record's element."""
        if name not in self._lists:
            self._lists[name] = ragged(self.records[name])
        return self._lists[name]

    def number(self, name: str) -> Floats:
        """(num_records,) a column of numbers of the records."""
        return floats(self.records[name])

    def of_image(self, name: str) -> Floats:
        """(num_records,) a column of numbers of each record's image."""
        return floats(self.images[name])[self.owner]

    def points_outside(self, prefix: str) -> Bools:
        """(num_records,) whether any point of the lists PREFIX_x, PREFIX_y is off the picture."""
        x, y = self.lists(f"{prefix}_x"), self.lists(f"{prefix}_y")
        return x.any(outside(x.values, y.values))

    def any_list(self, names: Iterable[str], odd: Callable[[Ragged], Bools]) -> Bools:
        """(num_records,) whether any of some list columns is odd."""
        found: Bools = np.logical_or.reduce([odd(self.lists(name)) for name in names])
        return found

    @cached_property
    def sizes(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Width and height on the page, then of the file, (num_records,) px as logged."""
        width, height, file_width, file_height = map(self.number, _SIZES)
        return width, height, file_width, file_height

    @cached_property
    def size_missing(self) -> Bools:
        """(num_records,) whether any size as logged is 0, negative or null."""
        there: Bools = np.logical_and.reduce([size > 0 for size in self.sizes])
        return ~there

    @cached_property
    def size_is_known(self) -> Bools:
        """(num_records,) whether a size of the file was logged, and the image has another."""
        logged: Bools = (self.sizes[2] > 0) & (self.sizes[3] > 0)
        return logged & ~np.isnan(self.of_image("width"))

    @cached_property
    def size_agrees(self) -> Bools:
        """(num_records,) whether the logged size of the file is that of the image."""
        return self._file_is("width", "height")

    @cached_property
    def size_is_swapped(self) -> Bools:
        """(num_records,) whether it is that with width and height swapped, and not the same."""
        return self._file_is("height", "width") & ~self.size_agrees

    def copies_height(self, file_width: Floats, file_height: Floats) -> Bools:
        """(num_records,) whether the width on the page is the height, against the file's shape."""
        width, height, _, _ = self.sizes
        far = np.abs(height * file_width / file_height - width) > _ROUNDING_PX
        copied: Bools = far & (width == height) & (width > 0)
        return copied

    def _file_is(self, width: str, height: str) -> Bools:
        same = (self.sizes[2] == self.of_image(width), self.sizes[3] == self.of_image(height))
        both: Bools = np.logical_and(*same)
        return both


def outside(x: Floats, y: Floats) -> Bools:
    """Whether points are off the picture; NaN is not."""
    return (x < 0) | (x > 1) | (y < 0) | (y > 1)


def beyond(number: Floats, count: int) -> Bools:
    """Whether places are none of 0..count - 1; NaN is not."""
    return (number < 0) | (number >= count)


def differs(found: Floats, expected: Floats | Ints) -> Bools:
    """Whether numbers are others than expected; NaN is not."""
    return (found < expected) | (found > expected)


def decreases(times: Ragged) -> Bools:
    """(num_rows,) whether a row's values ever get smaller."""
    return times.any(times.values < times.before(np.iinfo(np.int64).min))


@dataclass(frozen=True)
class Rule:
    """One thing that can be odd about a row.

    Args:
        config: whose rows are looked at: `default`, `rounds` or `actions`.
        id: kebab-case name, unique within a kind of log.
        severity: as in SEVERITIES.
        source: where the expectation comes from, sections of docs/.
        doc: what it means, and what follows.
        find: Window of the kind -> (num_rows,) bool, true where the rule is broken; never null.
    """

    config: str
    id: str
    severity: Severity
    source: str
    doc: str
    find: Callable[[Any], Bools]

    def __call__(self, window: Window) -> Bools:
        """(num_rows,) which rows of `config` break the rule."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.find(window)


class Broken(NamedTuple):
    """A promise that rows break: which, and the first of them."""

    check: str
    found: str
    expected: str
    row: int  # in the table
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class KindChecks:
    """What is checked of the rows of one kind of log: what must hold, and what is odd.

    Args:
        not_null: config -> columns that are never null.
        full: lists, of any config, that hold no null: the readers refuse a record that lacks one.
        of_images: (rows of `default`, classes of the manifest if there are) -> what they break.
        of_records: (all records of some images, those of an image side by side) -> likewise.
        num_records: rows of `default` -> (num_images,) records of each.
        sources: (rows of `default`, all their records, derived columns, classes) -> what the
            registry of these columns wants to know, but for the instances file.
        rules: of the lint, in the order of a report within a severity.
        window: what they look at.
    """

    not_null: Mapping[str, tuple[str, ...]]
    full: tuple[str, ...]
    of_images: Callable[[pa.Table, Sequence[str] | None], Iterator[Broken]]
    of_records: Callable[[pa.Table], Iterator[Broken]]
    num_records: Callable[[pa.Table], Ints]
    sources: Callable[[pa.Table, pa.Table, Sequence[str], Sequence[str] | None], Mapping[str, Any]]
    rules: tuple[Rule, ...]
    window: Callable[[pa.Table, pa.Table, Ints], Window]


def rules_of(kind: Kind) -> tuple[Rule, ...]:
    """Every rule of the lint of a kind: its own, and that of all kinds."""
    of_all = Rule(
        kind.events.config, "e-mail-address", "error", "docs/convert.md#worker-ids",
        "A text of the row looks like an e-mail address, which tells who somebody is: `luab-data"
        " publish` refuses it. Convert again with `--private hash`.",
        _has_address,
    )  # fmt: skip
    return (*kind.checks.rules, of_all)


def _has_address(window: Window) -> Bools:
    found = np.zeros(len(window.records), np.bool_)
    for name, values in text_columns(window.records):
        if (flags := addresses(values)) is not None:
            column = window.records[name]
            bounds = bounds_of(column) if pa.types.is_list(column.type) else None
            odd = is_true(flags)
            found |= odd if bounds is None else Ragged(odd, bounds).any(odd)
    return found


def chosen(rules: Sequence[Rule], only: Iterable[str] = ()) -> tuple[Rule, ...]:
    """Rules, most severe first; all of them, or those named.

    Raises:
        OptionError: a name is none of the rules.
    """
    wanted = set(only)
    names = [rule.id for rule in rules]
    for name in sorted(wanted.difference(names)):
        raise OptionError(f"no lint rule {name!r}{did_you_mean(name, names)}")
    ordered = sorted(rules, key=lambda rule: SEVERITIES.index(rule.severity))
    return tuple(rule for rule in ordered if not wanted or rule.id in wanted)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one rule found.

    Args:
        rule: the rule.
        count: rows that break it.
        rows: rows it looked at.
        examples: the first of them: `image_id`, and `round` or `view` where a row is one.
    """

    rule: Rule
    count: int
    rows: int
    examples: tuple[dict[str, Any], ...]

    @property
    def share(self) -> float | None:
        """Count / rows; None without rows."""
        return self.count / self.rows if self.rows else None


class Lint:
    """Adds up what rules find, window by window.

    Args:
        rules: the rules to apply.
        examples: how many rows to name per rule.
    """

    def __init__(self, rules: Sequence[Rule], examples: int) -> None:
        self.findings = tuple(Finding(rule=rule, count=0, rows=0, examples=()) for rule in rules)
        self.num_images = 0
        self._examples = examples

    def see(self, window: Window) -> None:
        """Apply every rule to the window."""
        self.num_images += len(window.images)
        self.findings = tuple(self._after(finding, window) for finding in self.findings)

    def _after(self, before: Finding, window: Window) -> Finding:
        rule = before.rule
        table = window.images if rule.config == "default" else window.records
        odd = rule(window)
        rows = np.flatnonzero(odd)[: self._examples - len(before.examples)]
        names = [name for name in ("image_id", "round", "view") if name in table.column_names]
        more = table.select(names).take(pa.array(rows)).to_pylist()
        return Finding(
            rule=rule,
            count=before.count + int(odd.sum()),
            rows=before.rows + len(table),
            examples=(*before.examples, *more),
        )
