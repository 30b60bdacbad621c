"""Annotators as rows of a table: what each did, pooled towards the crowd, who to look at first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from luab_data.words import MISSING, count, interval, number
from luab_data.workers.suspects import CLEAR, THRESHOLD, flagged

if TYPE_CHECKING:
    from luab_data.workers.annotators import Annotators
    from luab_data.workers.pooling import Pooled
    from luab_data.workers.traits import Trait

MOST_ROWS = 30
"""Workers that a page lists; a release has thousands."""


def worker_table(found: Annotators) -> dict[str, Any]:
    """The most suspicious workers first, at most MOST_ROWS of them, with some of their traits.

    Returns: for the template, all text: `lead`; `counts` and `traits`, the title and what it is of
        each column; `crowd`, the crowd's traits; `rows`, of one worker each, with `reasons` that
        they are suspected for; `rules`, what these mean.
    """
    order = found.order()[:MOST_ROWS].tolist()
    by_name = {trait.name: trait for trait in found.measures.traits}
    traits = [by_name[name] for name in found.measures.shown]
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
