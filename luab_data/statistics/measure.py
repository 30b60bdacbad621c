"""What a statistic is, and how many of them are taken in one pass over batches of rows.

A Measure names a pure function from a batch to Terms, or to values of which the median is taken, or
to labels that are counted. Batches are small objects over Arrow tables, so memory does not grow
with the dataset; where rows of one thing are spread over the log, a Source keeps slim rows of them.
A Count is a plain number read off the estimate of a measure, taken without resamples; a fraction of
an empty group is None, never 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from luab_data.columns.regions import boxes_of
from luab_data.ragged import ArrowColumn, Floats, Ints, Ragged, floats, one_array
from luab_data.statistics.estimate import (
    Estimate,
    Finish,
    Terms,
    ratio,
)


class Batch(Protocol):
    """Rows whose workers are known."""

    @property
    def worker_id(self) -> ArrowColumn:
        """(num_rows,) the worker of each; null if there is none."""


class TableBatch:
    """Some rows of one config of a dataset; a subclass adds what its statistics share.

    Args:
        table: (num_rows,) with the `columns`.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return len(self.table)

    @property
    def worker_id(self) -> ArrowColumn:
        """(num_rows,) the worker of each; null if there is none."""
        return self.table["worker_id"]

    def floats(self, name: str) -> Floats:
        """(num_rows,) a column, NaN for null."""
        return floats(self.table[name])

    def elements(self, name: str) -> Floats:
        """(num_elements,) the elements of a column of lists, NaN for null."""
        return floats(one_array(self.table[name]).flatten())


class BoxedBatch(TableBatch, ABC):
    """Rows of pictures that have boxes, in the columns `width`, `height`, `boxes`."""

    @cached_property
    def size(self) -> tuple[Floats, Floats]:
        """Width and height, px."""
        return self.floats("width"), self.floats("height")

    @cached_property
    def boxes(self) -> tuple[Floats, Ragged]:
        """(num_boxes, 4) xyxy px and their numbers by row."""
        return boxes_of(self.table["boxes"])

    @cached_property
    def fractions(self) -> Floats:
        """(num_boxes, 4) the boxes in fractions of the picture; NaN without its size."""
        boxes, rows = self.boxes
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(boxes / np.stack(self.size * 2, axis=1)[rows.rows])

    @cached_property
    @abstractmethod
    def offsets(self) -> tuple[Ints, Floats]:
        """Row of each point that annotators gave, and its offset from its box's centre.

        The offset is (num_points, 2) in box widths and heights, y down: at most .5 on both axes is
        inside. Its box is the one that holds it, else the one with the nearest centre; of several
        that hold it the one with the nearest centre. Points without a box are left out.
        """


@dataclass(frozen=True)
class Measure:
    """One statistic.

    Attributes:
        name: key in JSON, snake_case.
        title: a few words, for tables.
        doc: one sentence: what over what.
        source: where the definition is.
        terms: batch -> Terms. Of `terms`, `values` and `labels` exactly one is given.
        over: the source of rows it reads: `images`, `rounds`, `pages`, ...
        unit: `share` (in [0, 1]), `ms`, `box sizes`, `correlation`, ... of the value.
        null_doc: what the null is; empty where there is none.
        axes: of a curve or map: for each axis its name and the labels of its places.
        values: batch -> (num_rows,) values whose median is the statistic.
        labels: batch -> (row, label) of what is counted; the share of each label is the statistic.
        num_cells: cells of the sums; by default as many as the shape has.
        finish: sums -> statistic; by default sum(part) / sum(whole).
        null: the null where it is known beforehand; None takes it from the terms.
    """

    name: str
    title: str
    doc: str
    source: str
    terms: Callable[[Any], Terms] | None = None
    over: str = field(kw_only=True)
    unit: str = field(default="share", kw_only=True)
    null_doc: str = field(default="", kw_only=True)
    axes: tuple[tuple[str, tuple[Any, ...]], ...] = field(default=(), kw_only=True)
    values: Callable[[Any], Floats] | None = field(default=None, kw_only=True)
    labels: Callable[[Any], tuple[Ints, pa.Array]] | None = field(default=None, kw_only=True)
    num_cells: int | None = field(default=None, kw_only=True)
    finish: Finish = field(default=ratio, kw_only=True)
    null: float | None = field(default=None, kw_only=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """() for one number; else of the curve or map."""
        return tuple(len(labels) for _, labels in self.axes)


@dataclass(frozen=True)
class Source:
    """Rows that measures are over.

    Attributes:
        name: as in Measure.over.
        config: of the dataset, that is streamed.
        batch: makes a batch of some rows of it.
        counted: columns that the counts need; the others are read for intervals only.
        slim: what is kept of each batch until all were read.
        whole: name of another source -> what makes it of all that was kept.
        beside: columns of `default`, all rows of which a batch is given too.
    """

    name: str
    config: str
    batch: type[TableBatch]
    counted: tuple[str, ...]
    slim: Callable[[Any], pa.Table] | None = None
    whole: Mapping[str, Callable[[pa.Table], Batch]] = field(default_factory=dict)
    beside: tuple[str, ...] = ()


Read = Callable[[str, Sequence[str]], Iterable[pa.Table]]
"""(config, columns) -> its rows in batches."""


Printed = Mapping[tuple[str, object], str]
"""(measure, place on its axis or None) -> as the paper prints it."""


class Count(NamedTuple):
    """One plain number.

    Args:
        title: what it counts, or of what it is a share.
        measure: what it is read from.
        read: its estimate -> the number.
    """

    title: str
    measure: Measure
    read: Callable[[Estimate], Any]


def trials(found: Estimate) -> int:
    """What the measure was taken over."""
    return int(found.n.ravel()[0])


def hits(found: Estimate) -> int:
    """The sum over what it was taken over, of the first place of a curve."""
    n = found.n.ravel()[0]
    return round(float(found.value.ravel()[0] * n)) if n else 0


def workers(found: Estimate) -> int:
    """Who contributed."""
    return found.num_workers


def labelled(found: Estimate) -> dict[str, int]:
    """Label -> how many, the most frequent first."""
    counts = np.rint(found.value * found.n).astype(int).tolist()
    pairs = zip(found.labels, counts, strict=True)
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def fraction(title: str, measure: Measure) -> Count:
    """The value of a measure; None where nothing was seen."""

    def value(found: Estimate) -> float | None:
        return float(found.value) if found.n else None

    return Count(title, measure, value)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All numbers of one kind of log.

    Attributes:
        counts: by name.
        measures: with intervals, in the order of tables.
        sources: where their rows come from, in the order of reading.
        printed: what the paper prints of them.
        labelled: measures by labels, which have no places before they are taken.
        may_lack: whether a log need not have what every measure is over; those without a value are
            then named, not listed.
    """

    counts: Mapping[str, Count]
    measures: tuple[Measure, ...]
    sources: tuple[Source, ...]
    printed: Printed
    labelled: tuple[Measure, ...] = ()
    may_lack: bool = False

    @property
    def names(self) -> dict[str, None]:
        """Of counts and measures, in order, each once."""
        return dict.fromkeys([*self.counts, *(m.name for m in self.measures)])
