"""Numbers as text: what a reader would quote, statistics and annotators as rows of tables.

A number that is missing reads "–"; none is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from luab_data.ragged import Floats
from luab_data.reports.pages import Finding
from luab_data.statistics.estimate import Estimate
from luab_data.statistics.measure import Measure
from luab_data.words import MISSING, bare_number, count, interval, number
from luab_data.workers.pooling import CLEAR, THRESHOLD, flagged

if TYPE_CHECKING:
    from luab_data.workers.annotators import Annotators
    from luab_data.workers.pooling import Pooled
    from luab_data.workers.traits import Trait

MOST_ROWS = 4
"""Curves of up to so many values are rows of the table; longer ones are small pictures."""
MOST_FINDINGS = 3

GROUPS = {
    "images": "Images",
    "rounds": "Pictures shown",
    "pages": "Pages",
    "clicks": "Clicks, of all views",
    "hits": "HITs",
    "steps": "Steps from picture to picture",
    "icons": "Icons",
    "actions": "Actions",
}
"""Source of a measure -> heading of its group; others go by their own name."""


def quotes(
    findings: Sequence[Finding], measures: Sequence[Measure], estimates: Mapping[str, Estimate]
) -> list[dict[str, str]]:
    """The first MOST_FINDINGS of the findings that have a value: `text`, the sentence that `value`
    begins, and how sure it is, `interval` and `n`.
    """
    known = {m.name: m for m in measures}
    found = []
    for finding in findings:
        if finding.name in estimates and np.isfinite(estimates[finding.name].value).all():
            unit, estimate = known[finding.name].unit, estimates[finding.name]
            text = finding.text
            if beside := estimates.get(finding.beside):
                value = number(float(beside.value), known[finding.beside].unit)
                text += finding.beside_text.format(value=value) if value != MISSING else ""
            found.append(
                {
                    "value": number(float(estimate.value), unit), "text": text,
                    "interval": interval(float(estimate.low), float(estimate.high), unit),
                    "n": count(float(estimate.n)),
                }
            )  # fmt: skip
    return found[:MOST_FINDINGS]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; text, ready to show.

    Attributes:
        part: which value of a short curve this is; empty for one number.
        whisker: of a share: [value, low, high, null] in [0, 1], None where missing; else empty.
        curve: of a long curve: its small picture; else None.
        heat: of a map: rows of shades in [0, 1], None where nothing was seen; else empty.
        points: of a long curve: a Row of each value. Its own value is no one number, so empty.
        null_doc: what the null is; empty where there is none.
    """

    name: str
    title: str
    doc: str
    part: str = ""
    value: str = ""
    interval: str = ""
    n: str = MISSING
    null: str = ""
    null_doc: str = ""
    num_workers: str = MISSING
    whisker: tuple[float | None, ...] = ()
    curve: Curve | None = None
    heat: tuple[tuple[float | None, ...], ...] = ()
    points: tuple[Row, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A curve in a box 100 wide and 24 high, y down: points of SVG polylines.

    Attributes:
        line: stretches of the value. band: outlines of its interval. null: stretches of the null.
        bars: of values without an order, such as classes: an SVG path instead of the others.
    """

    line: tuple[str, ...] = ()
    band: tuple[str, ...] = ()
    null: tuple[str, ...] = ()
    bars: str = ""


def groups(measures: Sequence[Measure], estimates: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    """The table: `title` and `rows` of each kind of thing that the measures are over, in order."""
    found: dict[str, list[Row]] = {}
    for measure in measures:
        if measure.name in estimates:
            found.setdefault(measure.over, []).extend(rows_of(measure, estimates[measure.name]))
    return [
        {"title": GROUPS.get(over, over.replace("_", " ").capitalize()), "rows": rows}
        for over, rows in found.items()
    ]


def rows_of(measure: Measure, estimate: Estimate) -> Iterable[Row]:
    """One row, or one a value of a short curve."""
    shape = estimate.value.shape
    common: dict[str, Any] = {
        **{"name": measure.name, "title": measure.title, "doc": measure.doc},
        **{"null_doc": measure.null_doc, "num_workers": count(estimate.num_workers)},
    }
    if len(shape) == 2:
        return [Row(**common, n=_extent(estimate.n), heat=_shades(estimate.value))]
    values = [Row(**common, **_texts(measure, estimate, at)) for at in np.ndindex(shape)]
    if not shape or shape[0] <= MOST_ROWS:
        return [values[0], *(replace(row, doc="") for row in values[1:])]
    curve = _curve(estimate, has_order=_has_order(measure))
    return [Row(**common, n=_extent(estimate.n), curve=curve, points=tuple(values))]


def _texts(measure: Measure, estimate: Estimate, at: tuple[int, ...]) -> Mapping[str, Any]:
    value, low, high, null, n = (
        float(np.broadcast_to(getattr(estimate, name), estimate.value.shape)[at])
        for name in ("value", "low", "high", "null", "n")
    )
    shares = (value, low, high, null) if measure.unit == "share" else ()
    return {
        "part": ", ".join(_label(measure, axis, index) for axis, index in enumerate(at)),
        "value": number(value, measure.unit),
        "interval": interval(low, high, measure.unit),
        "n": count(n),
        "null": bare_number(null, measure.unit),
        "whisker": tuple(None if math.isnan(share) else share for share in shares),
    }


def _label(measure: Measure, axis: int, index: int) -> str:
    if axis >= len(measure.axes):
        return str(index)
    name, labels = measure.axes[axis]
    label = labels[index]
    return str(label) if isinstance(label, str) else f"{name} {label:g}"


def _extent(n: Floats) -> str:
    """The denominators of a curve or a map: one number, or from the least to the largest."""
    known = n[np.isfinite(n)]
    if not known.size:
        return MISSING
    low, high = count(float(known.min())), count(float(known.max()))
    return low if low == high else f"{low}–{high}"


# --- small pictures ------------------------------------------------------------------------------


def _shades(value: Floats) -> tuple[tuple[float | None, ...], ...]:
    known = value[np.isfinite(value)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    shades = (value - low) / (high - low) if high > low else np.where(np.isnan(value), np.nan, 0.5)
    return tuple(
        tuple(None if math.isnan(shade) else round(float(shade), 2) for shade in line)
        for line in shades
    )


def _has_order(measure: Measure) -> bool:
    return not any(isinstance(label, str) for _, labels in measure.axes for label in labels)


def _curve(estimate: Estimate, *, has_order: bool) -> Curve:
    shape = estimate.value.shape
    value, low, high, null = (
        np.broadcast_to(getattr(estimate, name), shape) for name in ("value", "low", "high", "null")
    )
    seen = np.concatenate([value, low, high, null] if has_order else [value, [0.0]])
    seen = seen[np.isfinite(seen)]
    floor, top = (seen.min(), seen.max()) if len(seen) else (0.0, 1.0)
    x = np.linspace(2, 98, len(value))

    def y(values: Floats) -> Floats:
        return 22 - 20 * (values - floor) / (top - floor or 1.0)

    if not has_order:
        zero = float(y(np.zeros(1))[0])
        known = np.flatnonzero(np.isfinite(value))
        return Curve(bars="".join(f"M{x[k]:.1f} {zero:.1f}V{y(value)[k]:.1f}" for k in known))
    return Curve(
        line=tuple(_polyline(x[k], y(value[k])) for k in _stretches(value)),
        band=tuple(
            f"{_polyline(x[k], y(high[k]))} {_polyline(x[k][::-1], y(low[k])[::-1])}"
            for k in _stretches(low + high)
        ),
        null=tuple(_polyline(x[k], y(null[k])) for k in _stretches(null)),
    )


def _stretches(values: Floats) -> Iterator[slice]:
    """Without a missing value."""
    known = np.concatenate([[False], np.isfinite(values), [False]])
    edges = np.flatnonzero(known[1:] != known[:-1])
    return (slice(int(a), int(b)) for a, b in edges.reshape(-1, 2))


def _polyline(x: Floats, y: Floats) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


# --- annotators ----------------------------------------------------------------------------------

MOST_WORKERS = 30
"""Workers that a page lists; a release has thousands."""


def worker_table(found: Annotators) -> dict[str, Any]:
    """The most suspicious workers first, at most MOST_WORKERS of them, with some of their traits.

    Returns: for the template, all text: `lead`; `counts` and `traits`, the title and what it is of
        each column; `crowd`, the crowd's traits; `rows`, of one worker each, with `reasons` that
        they are suspected for; `rules`, what these mean.
    """
    order = found.order()[:MOST_WORKERS].tolist()
    by_name = {trait.name: trait for trait in found.measures.traits}
    traits = [by_name[name] for name in found.shown]
    counts = dict([*found.counts.items()][:2])  # how much was done; the others are traits' n
    scores, reasons = found.suspicion(), found.reasons()
    return {
        "lead": _lead(found, len(order)),
        "counts": [{"title": _title(name), "doc": "how many"} for name in counts],
        "traits": [{"title": _title(trait.name), "doc": _doc(trait)} for trait in traits],
        "crowd": [number(found.pooled[trait.name].crowd, _unit(trait)) for trait in traits],
        "rows": [
            {
                "worker_id": found.worker_id[k],
                "score": _score(float(scores[k])),
                "counts": [count(int(values[k])) for values in counts.values()],
                "traits": [_cell(found.pooled[trait.name], _unit(trait), k) for trait in traits],
                "reasons": [_plain(reason) for reason in reasons[k]],
            }
            for k in order
        ],
        "rules": [f"{_plain(s.key)}: {s.doc}" for s in found.measures.suspicions],
    }


def flagged_workers(found: Annotators) -> list[str]:
    """Ids of the workers that any suspicion flags, the worst first."""
    is_flagged = flagged(found.suspicion())
    return [found.worker_id[k] for k in found.order().tolist() if is_flagged[k]]


def _cell(pooled: Pooled, unit: str, k: int) -> dict[str, Any]:
    """A trait of a worker: `pooled` between their `own` and the crowd's, its 95 % `interval`, and
    whether it `is_far` from ordinary workers'.
    """
    own = float(pooled.raw[k])
    if not np.isfinite(own):
        return {"pooled": MISSING, "own": "", "interval": "", "is_far": False}
    return {
        "pooled": number(float(pooled.value[k]), unit),
        "own": number(own, unit),
        "interval": interval(float(pooled.low[k]), float(pooled.high[k]), unit),
        "is_far": bool(abs(pooled.z[k]) >= CLEAR),
    }


def _score(value: float) -> str:
    rounded = round(value, 1) + 0.0  # no -0.0
    return f"{rounded:.1f}".replace("-", "−") if np.isfinite(value) else MISSING


def _unit(trait: Trait) -> str:
    if trait.scale == "share":
        return "share"
    return "ms" if trait.unit == "ms" else ""


def _doc(trait: Trait) -> str:
    """What a trait is, with the unit that its numbers lack in the table."""
    return trait.doc if _unit(trait) or not trait.unit else f"{trait.doc} ({trait.unit})"


def _title(name: str) -> str:
    return name.removeprefix("num_").removesuffix("_ms").replace("_", " ")


def _plain(text: str) -> str:
    return text.replace("_", " ")


def _lead(found: Annotators, shown: int) -> str:
    total = len(found.worker_id)
    which = f"All {total}" if shown == total else f"{shown} of {total:,}"
    num_flagged = len(flagged_workers(found))
    stood_out = f"{num_flagged:,} stood out" if num_flagged else "None stood out"
    return (
        f"{which} annotators, the most unusual first; ids are keyed hashes. {stood_out}: a score of"
        f" {THRESHOLD:g} or more is a reason to look, not proof. The large number is pooled towards"
        " the crowd, more so for an annotator who did little; the small one below is their own."
        " Coloured numbers are far from the ordinary ones."
    )
