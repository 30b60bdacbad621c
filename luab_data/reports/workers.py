"""Annotators as rows of a table: what each did, pooled towards the crowd, who to look at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from luab_data.words import MISSING, count, interval, number
from luab_data.workers.suspects import CLEAR, THRESHOLD, flagged

if TYPE_CHECKING:
    from luab_data.workers.dataset import Annotators

MOST_ROWS = 30
"""Workers that a page lists; a release has thousands."""

SHOWN = {
    "imagenet-ab": (
        *("picture_time_ms", "selected_rate", "hover_rate", "revisit_rate", "centre_distance"),
        *("click_spread", "click_accuracy", "box_following", "offset_x", "offset_y"),
    ),
    "coco-ab": (
        *("page_time_ms", "icons_per_page", "removed_share", "keyboard_share", "icon_precision"),
        "recall",
    ),
}
"""Traits of the table; `luab-data annotators --json` has all."""

SCORE = {"imagenet-ab": "click_accuracy", "coco-ab": "icon_precision"}
"""Trait of the overview's axes."""


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A column: its heading, and what it is."""

    title: str
    doc: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A trait of one worker.

    Attributes:
        pooled: between the worker's own number and the crowd's. own: the worker's own.
        interval: of the true value, 95 %. is_far: whether it is far from ordinary workers'.
    """

    pooled: str = MISSING
    own: str = ""
    interval: str = ""
    is_far: bool = False


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """One worker: counts and traits in the order of the columns, and what they are suspected of."""

    worker_id: str
    score: str
    counts: tuple[str, ...]
    traits: tuple[Cell, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WorkerTable:
    """What is shown of the annotators; `crowd` are the crowd's traits."""

    lead: str
    counts: tuple[Heading, ...]
    traits: tuple[Heading, ...]
    crowd: tuple[str, ...]
    rows: tuple[WorkerRow, ...]
    rules: tuple[str, ...]


def worker_table(found: Annotators, *, most: int = MOST_ROWS) -> WorkerTable:
    """The most suspicious workers first, at most `most` of them."""
    order = found.order()[:most].tolist()
    names = [name for name in SHOWN[found.dataset] if name in found.pooled]
    counts = dict([*found.counts.items()][:2])  # how much was done; the others are traits' n
    scores, reasons = found.suspicion(), found.reasons()
    return WorkerTable(
        lead=_lead(found, len(order)),
        counts=tuple(Heading(title=_title(n), doc="how many") for n in counts),
        traits=tuple(Heading(title=_title(n), doc=_doc(found, n)) for n in names),
        crowd=tuple(number(found.pooled[n].crowd, _unit(found, n)) for n in names),
        rows=tuple(
            WorkerRow(
                worker_id=found.worker_id[k],
                score=_score(float(scores[k])),
                counts=tuple(count(int(values[k])) for values in counts.values()),
                traits=tuple(_cell(found, name, k) for name in names),
                reasons=tuple(_plain(reason) for reason in reasons[k]),
            )
            for k in order
        ),
        rules=tuple(f"{_plain(key)}: {s.doc}" for key, s in found.suspicions.items()),
    )


def flagged_workers(found: Annotators) -> list[str]:
    """Ids of the workers that any suspicion flags, the worst first."""
    is_flagged = flagged(found.suspicion())
    return [found.worker_id[k] for k in found.order().tolist() if is_flagged[k]]


def overview(found: Annotators) -> pa.Table:
    """The table `workers` of luab_data.figures: own and pooled score, and the mean offset."""
    score = found.pooled[SCORE[found.dataset]]
    columns = {
        "worker_id": pa.array(found.worker_id, pa.string()),
        "raw": pa.array(score.raw, from_pandas=True),
        "shrunk": pa.array(score.value, from_pandas=True),
        "n": pa.array(found.num_rows[SCORE[found.dataset]]),
        "flag": pa.array(flagged(found.suspicion())),
    }
    for name in ("offset_x", "offset_y"):
        if name in found.pooled:
            columns[name] = pa.array(found.pooled[name].value, from_pandas=True)
    return pa.table(columns)


def _cell(found: Annotators, name: str, k: int) -> Cell:
    pooled, unit = found.pooled[name], _unit(found, name)
    own = float(pooled.raw[k])
    if not np.isfinite(own):
        return Cell()
    return Cell(
        pooled=number(float(pooled.value[k]), unit),
        own=number(own, unit),
        interval=interval(float(pooled.low[k]), float(pooled.high[k]), unit),
        is_far=bool(abs(pooled.z[k]) >= CLEAR),
    )


def _score(value: float) -> str:
    return f"{value:.1f}".replace("-", "−") if np.isfinite(value) else MISSING


def _unit(found: Annotators, name: str) -> str:
    trait = found.traits[name]
    if trait.scale == "share":
        return "share"
    return "ms" if trait.unit == "ms" else ""


def _doc(found: Annotators, name: str) -> str:
    """What a trait is, with the unit that its numbers lack in the table."""
    trait = found.traits[name]
    return trait.doc if _unit(found, name) or not trait.unit else f"{trait.doc} ({trait.unit})"


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
