"""Estimates as rows of a table: text of every number, small pictures of curves and maps.

A number that is missing reads "–"; none is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luab_data.ragged import Floats
from luab_data.statistics.estimate import Estimate
from luab_data.statistics.measure import Measure
from luab_data.words import MISSING, bare_number, count, interval, number

MOST_PARTS = 4
"""Curves of up to so many places are rows of the table; longer ones are small pictures."""

GROUPS = {
    "images": "Images",
    "rounds": "Pictures shown",
    "pages": "Pages",
    "hits": "HITs",
    "steps": "Steps from picture to picture",
    "icons": "Icons",
    "actions": "Actions",
}
"""Source of a measure -> heading of its group; others go by their own name."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; text, ready to show.

    Attributes:
        part: which place of a short curve this is; empty for one number.
        whisker: of a share: [value, low, high, null] in [0, 1], None where missing; else empty.
        curve: of a long curve: its small picture; else None.
        heat: of a map: rows of shades in [0, 1], None where nothing was seen; else empty.
        places: of a long curve: Rows of its places.
        null_doc: what the null is; empty where there is none.
    """

    name: str
    title: str
    doc: str
    part: str = ""
    value: str = MISSING
    interval: str = MISSING
    n: str = MISSING
    null: str = MISSING
    null_doc: str = ""
    num_workers: str = MISSING
    whisker: tuple[float | None, ...] = ()
    curve: Curve | None = None
    heat: tuple[tuple[float | None, ...], ...] = ()
    places: tuple[Row, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A curve in a box 100 wide and 24 high, y down: points of SVG polylines.

    Attributes:
        line: runs of the value. band: outlines of its interval. null: runs of the null.
        bars: of places without an order, such as classes: an SVG path instead of the others.
    """

    line: tuple[str, ...]
    band: tuple[str, ...]
    null: tuple[str, ...]
    bars: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows about one kind of thing."""

    title: str
    rows: tuple[Row, ...]


def groups(measures: Sequence[Measure], estimates: Mapping[str, Estimate]) -> tuple[Group, ...]:
    """The table: each measure that was taken, in the order of `measures`, by what it is over."""
    found: dict[str, list[Row]] = {}
    for measure in measures:
        if measure.name in estimates:
            rows = found.setdefault(measure.over, [])
            rows += rows_of(measure, estimates[measure.name])
    return tuple(
        Group(title=GROUPS.get(over, over.replace("_", " ").capitalize()), rows=tuple(rows))
        for over, rows in found.items()
    )


def rows_of(measure: Measure, estimate: Estimate) -> Iterable[Row]:
    """One row, or one a place of a short curve."""
    shape = estimate.value.shape
    if not shape:
        return [_row(measure, estimate, ())]
    if len(shape) == 1 and shape[0] <= MOST_PARTS:
        first, *others = (_row(measure, estimate, (place,)) for place in range(shape[0]))
        return [first, *(replace(row, doc="") for row in others)]
    if len(shape) == 1:
        return [_curve_row(measure, estimate)]
    return [_map_row(measure, estimate)]


def _row(measure: Measure, estimate: Estimate, place: tuple[int, ...]) -> Row:
    value, low, high, null = (
        _at(getattr(estimate, name), place) for name in ("value", "low", "high", "null")
    )
    shares = (value, low, high, null) if measure.unit == "share" else ()
    labels = [_label(measure, axis, at) for axis, at in enumerate(place)]
    return Row(
        name=measure.name,
        title=measure.title,
        doc=measure.doc,
        part=", ".join(labels),
        value=number(value, measure.unit),
        interval=interval(low, high, measure.unit),
        n=count(_at(estimate.n, place)),
        null=bare_number(null, measure.unit),
        null_doc=measure.null_doc,
        num_workers=count(estimate.num_workers),
        whisker=tuple(None if math.isnan(share) else share for share in shares),
    )


def _curve_row(measure: Measure, estimate: Estimate) -> Row:
    size = estimate.value.shape[0]
    return Row(
        name=measure.name,
        title=measure.title,
        doc=measure.doc,
        value=_span(estimate.value, measure.unit),
        n=_span(estimate.n, "count"),
        null=_span(_full(estimate.null, (size,)), measure.unit),
        null_doc=measure.null_doc,
        num_workers=count(estimate.num_workers),
        curve=_drawn(estimate, has_order=_has_order(measure)),
        places=tuple(_row(measure, estimate, (place,)) for place in range(size)),
    )


def _map_row(measure: Measure, estimate: Estimate) -> Row:
    value = estimate.value.reshape(-1, estimate.value.shape[-1])
    known = value[np.isfinite(value)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    shades = (value - low) / (high - low) if high > low else np.where(np.isnan(value), np.nan, 0.5)
    return Row(
        name=measure.name,
        title=measure.title,
        doc=measure.doc,
        value=_span(estimate.value, measure.unit),
        n=count(float(np.nansum(estimate.n))),
        null_doc=measure.null_doc,
        num_workers=count(estimate.num_workers),
        heat=tuple(
            tuple(None if math.isnan(shade) else round(float(shade), 2) for shade in line)
            for line in shades
        ),
    )


def _label(measure: Measure, axis: int, place: int) -> str:
    if axis >= len(measure.axes):
        return str(place)
    name, labels = measure.axes[axis]
    label = labels[place]
    return str(label) if isinstance(label, str) else f"{name} {label:g}"


def _full(values: Floats, shape: tuple[int, ...]) -> Floats:
    return np.broadcast_to(np.asarray(values, np.float64), shape)


def _at(values: Floats, place: tuple[int, ...]) -> float:
    array = np.asarray(values, np.float64)
    return float(array[place] if array.ndim else array)


# --- small pictures ------------------------------------------------------------------------------


def _has_order(measure: Measure) -> bool:
    return not any(isinstance(label, str) for _, labels in measure.axes for label in labels)


def _drawn(estimate: Estimate, *, has_order: bool) -> Curve:
    shape = estimate.value.shape
    value, low, high, null = (
        _full(getattr(estimate, name), shape) for name in ("value", "low", "high", "null")
    )
    seen = np.concatenate([value, low, high, null] if has_order else [value, [0.0]])
    seen = seen[np.isfinite(seen)]
    floor, top = (seen.min(), seen.max()) if len(seen) else (0.0, 1.0)
    span = top - floor or 1.0
    x = np.linspace(2, 98, len(value))

    def y(values: Floats) -> Floats:
        return 22 - 20 * (values - floor) / span

    if not has_order:
        known = np.flatnonzero(np.isfinite(value))
        zero = float(y(np.zeros(1))[0])
        bars = "".join(f"M{x[k]:.1f} {zero:.1f}V{y(value)[k]:.1f}" for k in known)
        return Curve(line=(), band=(), null=(), bars=bars)
    bands = [_points(x[run], y(high[run])) + " " + _points(x[run][::-1], y(low[run])[::-1])
             for run in _runs(low + high)]  # fmt: skip
    return Curve(
        line=tuple(_points(x[run], y(value[run])) for run in _runs(value)),
        band=tuple(bands),
        null=tuple(_points(x[run], y(null[run])) for run in _runs(null)),
    )


def _runs(values: Floats) -> list[slice]:
    """Stretches without a missing value."""
    known = np.concatenate([[False], np.isfinite(values), [False]])
    edges = np.flatnonzero(known[1:] != known[:-1])
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _points(x: Floats, y: Floats) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _span(values: Any, unit: str) -> str:
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return MISSING
    low, high = float(known.min()), float(known.max())
    if unit == "count":
        return count(low) if low == high else f"{count(low)} to {count(high)}"
    return number(low, unit) if low == high else interval(low, high, unit)
