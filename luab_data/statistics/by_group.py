"""Statistics of a dataset by group: of each arm of an experiment, and how the arms differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from luab_data.results import Tabular
from luab_data.statistics.estimate import Estimate
from luab_data.statistics.long_form import SCHEMA, rows
from luab_data.statistics.measure import Measure

MOST_GROUPS = 12
"""More of them nobody can compare."""
_OF_DIFFERENCE = {"share": "difference of shares"}


@dataclass(frozen=True, kw_only=True, repr=False)
class GroupedStats(Tabular):
    """Statistics of the rows of each group side by side, and of each two their difference.

    Attributes:
        folder: of the dataset.
        by: the column whose values are the groups.
        groups: their names, sorted.
        measures: what can be told of a group: names, meanings, definitions.
        estimates: name -> group, or `one less other` -> value, interval, sample size and null. All
            are taken on the same resamples of workers.
    """

    folder: Path
    by: str
    groups: tuple[str, ...]
    measures: tuple[Measure, ...]
    estimates: Mapping[str, Mapping[str, Estimate]]

    def __repr__(self) -> str:
        """One line."""
        return (
            f"GroupedStats({str(self.folder)!r}: {len(self.measures)} statistics by {self.by}:"
            f" {', '.join(self.groups)})"
        )

    def of(self, measure: Measure) -> dict[str, tuple[Measure, Estimate]]:
        """Group, or `one less other` -> what a measure is of it, in its unit."""
        less = replace(measure, unit=_OF_DIFFERENCE.get(measure.unit, measure.unit))
        return {
            group: (measure if group in self.groups else less, found)
            for group, found in self.estimates[measure.name].items()
        }

    def to_table(self) -> pa.Table:
        """The rows of Stats.to_table(), `group` behind `title`: a group, or `one less other`."""
        schema = SCHEMA.insert(2, pa.field("group", pa.string()))
        found: list[dict[str, Any]] = [
            {**row, "group": group}
            for measure in self.measures
            for group, (told, estimate) in self.of(measure).items()
            for row in rows(told, estimate)
        ]
        return pa.Table.from_pylist(found, schema)
