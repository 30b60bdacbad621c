"""[I/O] A dataset folder -> its statistics, and beside them what the paper prints.

Source: Han et al., "Neglected Free Lunch", ICCV 2023, arXiv 2303.17595.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
import pyarrow as pa

from luab_data.console import progress
from luab_data.errors import DatasetError, OptionError
from luab_data.kinds import Kind, kind_of
from luab_data.results import Tabular, new_table
from luab_data.statistics import long_form
from luab_data.statistics.by_group import MOST_GROUPS, GroupedStats
from luab_data.statistics.estimate import RESAMPLES, Estimate
from luab_data.statistics.measure import Measure, Read
from luab_data.statistics.take import count, take, take_by
from luab_data.store.folder import read_columns, read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import MISSING, counted, did_you_mean, interval, number

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False, repr=False)
class Stats(Tabular, Mapping[str, Any]):
    """The numbers of a dataset: read when they are first asked for, then kept.

    `stats["click_accuracy"]` is the bare number (an array for a curve), whichever is quicker to
    know; `counts` are quick, `estimates` take a pass over everything.

    Attributes:
        folder: of the dataset.
        kind: of log.
        only: names that were asked for; None for all.
        seed, resamples: of the bootstrap over workers; equal ones give equal intervals.
    """

    folder: Path
    kind: Kind
    only: tuple[str, ...] | None = None
    seed: int = 0
    resamples: int = RESAMPLES

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The statistics: names, meanings, definitions, nulls."""
        return tuple(m for m in self.kind.statistics.measures if self._asked(m.name))

    @property
    def lacking(self) -> tuple[Measure, ...]:
        """Statistics of what this log does not have, if its kind's logs may lack something."""
        if not self.kind.statistics.may_lack:
            return ()
        return tuple(m for m in self.measures if not self.estimates[m.name].n.any())

    @cached_property
    def counts(self) -> dict[str, Any]:
        """Name -> count, fraction in [0, 1], or None where a group is empty."""
        counts = self.kind.statistics.counts
        wanted = {name: c for name, c in counts.items() if self._asked(name)}
        return self._read(lambda read: count(wanted, self.kind.statistics.sources, read))

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """Name -> value, interval, sample size and null, in the order of `measures`.

        After them stands what has no places beforehand: the sequences of actions on icons. Batches
        are streamed; only a slim row of each picture shown is held.
        """
        measures, sources = (*self.measures, *self._labelled), self.kind.statistics.sources
        take_them = partial(take, measures, sources, resamples=self.resamples, seed=self.seed)
        return self._read(partial(take_them, watched=partial(progress, what="intervals")))

    def curve(self, name: str) -> pa.Table:
        """A curve or map in long form: a column an axis, its places as they are; then NUMBERS."""
        measures = {m.name: m for m in (*self.measures, *self._labelled)}
        if name not in measures:
            raise OptionError(f"no statistic {name!r}{did_you_mean(name, measures)}")
        return long_form.places(measures[name], self.estimates[name])

    def to_table(self) -> pa.Table:
        """Counts, then estimates; see long_form.SCHEMA."""
        rows: list[dict[str, Any]] = [
            {"name": name, "title": self.kind.statistics.counts[name].title, "value": value,
             "unit": "count" if isinstance(value, int) else "share"}
            for name, value in self.counts.items()
            if not isinstance(value, dict) and name not in self.estimates
        ]  # fmt: skip
        for m in (*self.measures, *self._labelled):
            rows += long_form.rows(m, self.estimates[m.name])
        return pa.Table.from_pylist(rows, long_form.SCHEMA)

    def grouped(self, by: str) -> GroupedStats:
        """The same statistics of each group of rows, and how each two groups differ.

        Args:
            by: the column that has the group: `arm`, or that of the class; rows where it is null
                are left out. Of tagging data an image is of the arm of its deciding view.

        Raises:
            OptionError: there is no such column, one group or none in it, or more than MOST_GROUPS;
                or of what is asked nothing can be told by it.
        """
        schemas = read_manifest(self.folder)["schemas"]
        columns = [c for c in ("arm", self.kind.class_columns[1])
                   if "string" in (schema.get(c) for schema in schemas.values())]  # fmt: skip
        if by not in columns:
            raise OptionError(
                f"{self.folder}: has no {by!r} to group by; expected"
                f" {' or '.join(columns) or 'a dataset of a study with arms'}"
                " (docs/collect.md#arms; an older luab kept no arm: convert the log again)"
            )
        sources = [s for s in self.kind.statistics.sources if by in schemas[s.config]]
        over = {name for s in sources for name in (s.name, *s.whole)}
        measures = tuple(m for m in self.measures if m.over in over)
        if not measures:
            raise OptionError(f"{', '.join(self)}: cannot be told by {by}; leave --only away")

        def values(read: Read) -> list[str]:
            batches = (t for config in {s.config for s in sources} for t in read(config, [by]))
            return sorted({v for t in batches for v in t[by].unique().to_pylist()} - {None})

        groups = self._read(values)
        if not 2 <= len(groups) <= MOST_GROUPS:
            raise OptionError(
                f"{self.folder}: {by} has {counted(len(groups), 'value')}; expected 2 to"
                f" {MOST_GROUPS} to compare (a study without arms has none)"
            )
        estimates = self._read(
            lambda read: take_by(
                measures, sources, read, by, groups, resamples=self.resamples, seed=self.seed,
                watched=partial(progress, what="intervals"),
            )
        )  # fmt: skip
        return GroupedStats(
            folder=self.folder, by=by, groups=tuple(groups), measures=measures, estimates=estimates
        )

    def __repr__(self) -> str:
        """One line; measures nothing."""
        return (
            f"Stats({str(self.folder)!r}: {self.kind.title},"
            f" {len([*filter(self._asked, self.kind.statistics.counts)])} counts,"
            f" {len(self.measures)} statistics)"
        )

    def __getitem__(self, name: str) -> Any:
        """A count, or the value of a statistic."""
        if name not in self:
            raise KeyError(f"{name!r}{did_you_mean(name, self)}")
        if name in self.kind.statistics.counts:
            return self.counts[name]
        value = self.estimates[name].value
        return value if value.ndim else float(value)

    def __iter__(self) -> Iterator[str]:
        """Names of the counts, then of the other statistics."""
        return filter(self._asked, self.kind.statistics.names)

    def __len__(self) -> int:
        """How many names there are."""
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a count or statistic; measures nothing."""
        return name in self.kind.statistics.names and self._asked(name)

    def _asked(self, name: object) -> bool:
        return self.only is None or name in self.only

    @property
    def _labelled(self) -> tuple[Measure, ...]:
        return tuple(m for m in self.kind.statistics.labelled if self._asked(m.name))

    def _read(self, work: Callable[[Read], _T]) -> _T:
        manifest = read_manifest(self.folder)
        rows = sum(n for config, n in manifest["num_rows"].items() if config != "annotators")
        with progress(what="stats", total=rows, unit=" rows", unit_scale=True) as bar:

            def read(config: str, columns: Sequence[str]) -> Iterator[pa.Table]:
                missing = [name for name in columns if name not in manifest["schemas"][config]]
                if missing:
                    raise DatasetError(
                        f"{self.folder}: config {config!r} has no {', '.join(missing)}; an older"
                        " luab wrote it: convert the raw log again, or run `luab-data derive`"
                        " (COCO-AB: with --instances)"
                    )
                table = next(t for t in self.kind.tables if t.config == config)
                for batch in read_columns(self.folder, table, list(columns)):
                    yield batch
                    bar.update(len(batch))

            return work(read)


@overload
def stats(
    dataset: str | os.PathLike[str],
    only: Sequence[str] | None = None,
    *,
    by: None = None,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Stats: ...


@overload
def stats(
    dataset: str | os.PathLike[str],
    only: Sequence[str] | None = None,
    *,
    by: str,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> GroupedStats: ...


def stats(
    dataset: str | os.PathLike[str],
    only: Sequence[str] | None = None,
    *,
    by: str | None = None,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Stats | GroupedStats:
    """The counts of a dataset, and every statistic with interval, sample size and null.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.
        only: names of counts and statistics; None is all.
        by: a column whose values are groups, `arm` or that of the class: the statistics of each
            group side by side, and how each two differ; see Stats.grouped.
        out: where to write the table, a .csv, .json or .parquet; see Stats.to_table.
        force: replace an earlier `out` with other content.
        seed, resamples: of the bootstrap over workers; equal ones give equal intervals.

    Raises:
        DatasetError: no dataset. OptionError: no such name or group, or `out` ends otherwise.
        OutputError: `out` is not ours to replace, or cannot be written.
    """
    if only is not None and (isinstance(only, str) or not only):
        raise OptionError(f"only={only!r}; expected a list of names, or None for all")
    folder = find_dataset(dataset)
    kind = kind_of(read_manifest(folder))
    for name in only or ():
        if name not in kind.statistics.names:
            raise OptionError(f"no statistic {name!r}{did_you_mean(name, kind.statistics.names)}")
    found: Stats | GroupedStats
    found = Stats(folder, kind, None if only is None else tuple(only), seed, resamples)
    if by is not None:
        found = found.grouped(by)
    if out is not None:
        with new_table(out, verb="luab-data stats", first="name", force=force) as write:
            write(found.to_table())
    return found


class Compared(NamedTuple):
    """One row of the table that ends each notebook."""

    statistic: str
    paper: str
    this_dataset: str
    how_computed: str


def compare(found: Stats, names: Sequence[str] | None = None) -> list[Compared]:
    """What the paper prints beside what was measured here.

    Args:
        found: of luab_data.stats.
        names: only these measures; None is all that the paper has a number of.
    """
    of_name = {measure.name: measure for measure in found.measures}
    rows = []
    for (name, label), text in found.kind.statistics.printed.items():
        if name not in (of_name if names is None else names):
            continue
        measure = of_name[name]
        place: tuple[int, ...] = ()
        title = measure.title
        if label is not None:
            ((axis, labels),) = measure.axes
            place, title = (labels.index(label),), f"{title}, {axis} {label}"
        here = in_words(measure, found.estimates[name], place)
        rows.append(Compared(title, text, here, f"{measure.doc} ({measure.source})"))
    return rows


def in_words(measure: Measure, found: Estimate, place: tuple[int, ...] = ()) -> str:
    """`93.5 % [90.5 to 95.3 %]`, in the unit that the paper uses; "not measurable here" for NaN."""
    value, low, high = (float(v[place]) for v in (found.value, found.low, found.high))
    if np.isnan(value):
        return "not measurable here"
    ends = interval(low, high, measure.unit)
    return number(value, measure.unit) + ("" if ends == MISSING else f" [{ends}]")
