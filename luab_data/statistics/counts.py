"""The plain numbers of `luab-data stats`: what the measures were taken over, or found.

A count has no definition of its own: it reads the estimate of a measure, taken without resamples. A
fraction of an empty group is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from luab_data.statistics.estimate import Estimate
from luab_data.statistics.measure import Measure, Read, Source, take
from luab_data.statistics.paper import Printed


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


def count(counts: Mapping[str, Count], sources: tuple[Source, ...], read: Read) -> dict[str, Any]:
    """All the counts, in one quick pass: name -> count, fraction or None."""
    measures = {c.measure.name: c.measure for c in counts.values()}
    found = take([*measures.values()], sources, read, resamples=0)
    return {name: c.read(found[c.measure.name]) for name, c in counts.items()}


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All numbers of one kind of log.

    Attributes:
        counts: by name.
        measures: with intervals, in the order of tables.
        sources: where their rows come from, in the order of reading.
        printed: what the paper prints of them.
        labelled: measures by labels, which have no places before they are taken.
    """

    counts: Mapping[str, Count]
    measures: tuple[Measure, ...]
    sources: tuple[Source, ...]
    printed: Printed
    labelled: tuple[Measure, ...] = ()

    @property
    def names(self) -> dict[str, None]:
        """Of counts and measures, in order, each once."""
        return dict.fromkeys([*self.counts, *(m.name for m in self.measures)])
