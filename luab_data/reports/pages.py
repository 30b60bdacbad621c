"""What a report asks of a kind of log, and which pages are worth showing: a fixed choice, so that a
report made again shows the same ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Ints
from luab_data.reports.replay import Replay

Values: TypeAlias = Mapping[str, Any]
"""One row of a table, as `to_pylist` gives it."""
Key: TypeAlias = tuple[Any, ...]
"""What names a page of a dataset: (assignment_id, page_idx), or (image_id,)."""

ASKED = "asked for"


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page that was read: its replay, its title, and a few words each of what is in it."""

    replay: Replay
    title: str
    facts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a reader would quote: a measure, and the words after its value.

    Attributes:
        name: of the measure; left out where it has no value.
        text: goes on after the value; in it `{n}` is the sample size.
        beside, beside_text: another measure, or `null` for the null of this one, and the words in
            which `{value}` is its value; left out where it has none.
    """

    name: str
    text: str
    beside: str = ""
    beside_text: str = ""


class PageReader(ABC):
    """How pages of one kind of log are listed, named, read and told of.

    Attributes:
        key_columns: of `events`: those of a Key.
        choice_columns: of `events`: what `facts_of` reads.
        why: words for the largest page, the median one and the one with most taken back.
        lead: what a replay shows and what it cannot.
        legend: kinds of marks that occur, for the legend: `click` or `add`.
        findings: the first three that have a value open the report.
    """

    key_columns: ClassVar[tuple[str, ...]]
    choice_columns: ClassVar[tuple[str, ...]]
    why: ClassVar[tuple[str, str, str]]
    lead: ClassVar[str]
    legend: ClassVar[str]
    findings: ClassVar[tuple[Finding, ...]]

    @abstractmethod
    def facts_of(self, events: pa.Table) -> pa.Table:
        """What the choice goes by, one row a row of `events`.

        Args:
            events: with choice_columns.
        Returns: key_columns, worker_id; `size` of a page, `activity` on it and times something was
            `undone`: int64, summed over the page.
        """

    @abstractmethod
    def named(self, folder: Path, text: str) -> list[Key]:
        """The pages that a user means: by the page's name or the id of an image on it.

        Raises:
            DatasetError: no such page or image; says which are near.
        """

    @abstractmethod
    def read(self, folder: Path, keys: Sequence[Key]) -> list[Page]:
        """The pages of these keys, which are in the dataset, in their order."""

    @abstractmethod
    def on_its_page(self, row: Values, image: Values) -> Replay:
        """One picture alone, in px of its page.

        Args:
            row: of `events`. image: of `default`.
        """

    @abstractmethod
    def in_fractions(self, row: Values, image: Values) -> Replay:
        """The same, in fractions of the picture."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A page to show, and a few words for its heading that say why."""

    key: Key
    why: str


def candidates(reader: PageReader, events: Iterable[pa.Table]) -> pa.Table:
    """One row a page that can be shown, sorted by its key: see PageReader.facts_of.

    Args:
        events: batches with reader.choice_columns.
    """
    keys, sums = [*reader.key_columns, "worker_id"], ("size", "activity", "undone")
    found = [_summed(reader.facts_of(batch), keys, sums) for batch in events]
    if not found:
        return pa.table({name: pa.array([]) for name in (*keys, *sums)})
    pages = _summed(pa.concat_tables(found), keys, sums)
    pages = pages.filter(pc.greater(pages["size"], 0))
    return pages.sort_by([(name, "ascending") for name in keys])


def _summed(facts: pa.Table, keys: list[str], sums: Sequence[str]) -> pa.Table:
    found = facts.group_by(keys).aggregate([(name, "sum") for name in sums])
    return found.rename_columns([name.removesuffix("_sum") for name in found.column_names])


def choose(
    reader: PageReader, pages: pa.Table, number: int, *, flagged: Sequence[str] = ()
) -> tuple[Chosen, ...]:
    """The pages to show if nobody asks for others.

    The largest, the median one, the one with most taken back and the largest of a flagged
    annotator; then more at even steps of size down to the smallest. None is shown twice; ties go to
    the busier page, then to the first by key.

    Args:
        pages: of `candidates`.
        number: at most so many.
        flagged: worker ids that stood out, the worst first.
    """
    if not len(pages) or number < 1:
        return ()
    size, activity, undone = (
        pages[name].to_numpy().astype(np.int64) for name in ("size", "activity", "undone")
    )
    by_size, by_undone = (
        np.lexsort((np.arange(len(pages)), -activity, -values)) for values in (size, undone)
    )
    most, median, taken_back = reader.why
    reasons = {int(by_size[0]): [most]}
    reasons.setdefault(int(by_size[len(by_size) // 2]), []).append(median)
    if undone[by_undone[0]] > 0:
        reasons.setdefault(int(by_undone[0]), []).append(taken_back)
    suspicious = _of_flagged(pages, by_size, flagged)
    if suspicious is not None:
        reasons.setdefault(suspicious, []).append("by a flagged annotator")
    for step in np.linspace(0, len(pages) - 1, number + 2).astype(int)[1:]:
        reasons.setdefault(int(by_size[step]), ["one more"])
    return tuple(
        Chosen(key=tuple(pages[n][row].as_py() for n in reader.key_columns), why=", ".join(why))
        for row, why in [*reasons.items()][:number]
    )


def _of_flagged(pages: pa.Table, by_size: Ints, flagged: Sequence[str]) -> int | None:
    """The largest page of the first flagged worker who has one."""
    workers = pages["worker_id"].take(pa.array(by_size))
    for worker in flagged:
        place = pc.index(workers, worker).as_py()
        if place >= 0:
            return int(by_size[place])
    return None
