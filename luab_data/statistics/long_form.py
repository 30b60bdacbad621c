"""Estimates as rows: a number has one, a curve or map one for each of its places."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from luab_data.statistics.estimate import NUMBERS, Estimate
from luab_data.statistics.measure import Measure

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("name", "title", "axis", "place", "axis_2", "place_2")]
    + [(name, pa.float64()) for name in NUMBERS]
    + [("unit", pa.string())]
)
"""Columns of Stats.to_table(). A number has one row; a curve or map has one for each place, `axis`
and `axis_2` say of what. `low` to `high` is the 95 % interval, `n` what the value is taken over,
`null` what it would be without the effect; each is null where there is none."""


def places(measure: Measure, found: Estimate) -> pa.Table:
    """A column an axis, its places as they are; then NUMBERS."""
    labels = [*itertools.product(*(found.labels or labels for _, labels in measure.axes))]
    columns = {axis: [place[k] for place in labels] for k, (axis, _) in enumerate(measure.axes)}
    numbers = {key: pa.array(getattr(found, key).ravel(), from_pandas=True) for key in NUMBERS}
    return pa.table({**columns, **numbers})


def rows(measure: Measure, found: Estimate) -> Iterator[dict[str, Any]]:
    """Rows of SCHEMA."""
    about = {"name": measure.name, "title": measure.title, "unit": measure.unit}
    for place in places(measure, found).to_pylist():
        row = {**about, **{key: place[key] for key in NUMBERS}}
        for (axis, _), suffix in zip(measure.axes, ("", "_2"), strict=False):
            row |= {f"axis{suffix}": axis, f"place{suffix}": str(place[axis])}
        yield row
