"""[I/O] A dataset folder -> its workers: what they did, pooled, and whom to look at."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.errors import OptionError
from luab_data.ragged import Floats, Ints
from luab_data.schema import DATASETS
from luab_data.store.folder import read_columns, read_manifest
from luab_data.store.load import find_dataset
from luab_data.workers import coco as icon_behaviour
from luab_data.workers import imagenet as behaviour
from luab_data.workers.pooling import Pooled
from luab_data.workers.sheets import Sheet, Trait
from luab_data.workers.suspects import (
    COCO_SUSPICIONS,
    IMAGENET_SUSPICIONS,
    Suspicion,
    flagged,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotators:
    """The workers of a dataset; arrays are (num_workers,), in the order of `worker_id`.

    Attributes:
        dataset: `imagenet-ab` or `coco-ab`.
        worker_id: as published, sorted.
        counts: name -> how much each did.
        traits: what is told of each, by name; see `pooled`.
        pooled: trait -> its pooled numbers.
        num_rows: trait -> rows it was taken over.
        suspicions: what they may be suspected of, by key; see `scores`.
        scores: key -> scores, flagged from suspects.THRESHOLD on; NaN where it cannot be told.
    """

    dataset: str
    worker_id: list[str]
    counts: dict[str, Ints]
    traits: dict[str, Trait]
    pooled: dict[str, Pooled]
    num_rows: dict[str, Ints]
    suspicions: dict[str, Suspicion]
    scores: dict[str, Floats]

    def flags(self, key: str) -> dict[str, bool]:
        """Worker id -> whether one suspicion flags it."""
        return dict(zip(self.worker_id, flagged(self.scores[key]).tolist(), strict=True))

    def reasons(self) -> list[list[str]]:
        """For each worker the suspicions that flag it, each with its clear signs."""
        found: list[list[str]] = [[] for _ in self.worker_id]
        for key, suspicion in self.suspicions.items():
            signs = suspicion.reasons(self.pooled)
            for index in np.flatnonzero(flagged(self.scores[key])):
                found[index].append(f"{key}: {', '.join(signs[index])}")
        return found

    def suspicion(self) -> Floats:
        """(num_workers,) the highest of each worker's scores; -inf without any."""
        scores = [np.nan_to_num(score, nan=-np.inf) for score in self.scores.values()]
        highest: Floats = np.max(scores, axis=0)
        return highest

    def order(self, by: str | None = None) -> Ints:
        """(num_workers,) the most suspicious first, or the most unusual in a column.

        Args:
            by: a count (largest first), a score (highest first) or a trait: by |z|, which is small
                for workers of whom little is known.

        Raises:
            OptionError: no such column; names them.
        """
        if by is None:
            key = self.suspicion()
        elif by in self.counts:
            key = self.counts[by].astype(np.float64)
        elif by in self.scores:
            key = self.scores[by]
        elif by in self.pooled:
            key = np.abs(self.pooled[by].z)
        else:
            known = ", ".join((*self.counts, *self.pooled, *self.scores))
            raise OptionError(f"no column {by!r} to sort by; expected one of {known}")
        found: Ints = np.argsort(-np.nan_to_num(key, nan=-np.inf), kind="stable")
        return found

    def table(self) -> pa.Table:
        """One row a worker: counts, then of each trait `t` the columns `t` (the worker's own
        number), `t_pooled`, `t_low`, `t_high`, `t_weight`, `t_z`, `t_n`, then scores and flags.
        """
        columns: dict[str, pa.Array] = {"worker_id": pa.array(self.worker_id, pa.string())}
        columns |= {name: pa.array(values) for name, values in self.counts.items()}
        for name, pooled in self.pooled.items():
            parts = {"": pooled.raw, "_pooled": pooled.value, "_low": pooled.low}
            parts |= {"_high": pooled.high, "_weight": pooled.weight, "_z": pooled.z}
            columns |= {f"{name}{end}": _array(values) for end, values in parts.items()}
            columns[f"{name}_n"] = pa.array(self.num_rows[name])
        columns |= {f"{key}_score": _array(values) for key, values in self.scores.items()}
        columns |= {key: pa.array(flagged(values)) for key, values in self.scores.items()}
        columns["reasons"] = pa.array(self.reasons(), pa.list_(pa.string()))
        return pa.table(columns)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the crowd, the meaning of every column, and the workers."""
        return {
            "dataset": self.dataset,
            "traits": {
                name: {
                    **{"doc": trait.doc, "unit": trait.unit, "scale": trait.scale},
                    **{"has_truth": trait.has_truth, "crowd": _finite(self.pooled[name].crowd)},
                    "spread": _finite(self.pooled[name].spread),
                }
                for name, trait in self.traits.items()
            },
            "flags": {key: suspicion.doc for key, suspicion in self.suspicions.items()},
            "workers": self.table().to_pylist(),
        }


def _array(values: Floats) -> pa.Array:
    return pa.array(values, mask=~np.isfinite(values))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def annotators(dataset: str | os.PathLike[str]) -> Annotators:
    """One row a worker, partially pooled.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.

    Traces are streamed; a slim row of each picture shown is held.
    """
    folder = find_dataset(dataset)
    kind = read_manifest(folder)["dataset"]
    if kind == "imagenet-ab":
        names, sheets = behaviour.imagenet_sheets(
            _batches(folder, kind, "rounds", behaviour.ROUND_COLUMNS),
            _batches(folder, kind, "default", behaviour.IMAGE_COLUMNS),
        )
        counts = behaviour.imagenet_counts(sheets)
        return judge(kind, names, sheets, counts, behaviour.IMAGENET_TRAITS, IMAGENET_SUSPICIONS)
    names, sheets = icon_behaviour.coco_sheets(
        _batches(folder, kind, "default", icon_behaviour.IMAGE_COLUMNS),
        _batches(folder, kind, "actions", icon_behaviour.ACTION_COLUMNS),
    )
    counts = icon_behaviour.coco_counts(sheets)
    return judge(kind, names, sheets, counts, icon_behaviour.COCO_TRAITS, COCO_SUSPICIONS)


def judge(
    dataset: str,
    worker_id: list[str],
    sheets: dict[str, Sheet],
    counts: dict[str, Ints],
    traits: tuple[Trait, ...],
    suspicions: tuple[Suspicion, ...],
) -> Annotators:
    """Traits and suspicions of the workers of some sheets; no I/O."""
    taken = {trait.name: trait.pooled(sheets[trait.over]) for trait in traits}
    pooled = {name: found for name, (found, _) in taken.items()}
    return Annotators(
        dataset=dataset,
        worker_id=worker_id,
        counts=counts,
        traits={trait.name: trait for trait in traits},
        pooled=pooled,
        num_rows={name: n for name, (_, n) in taken.items()},
        suspicions={suspicion.key: suspicion for suspicion in suspicions},
        scores={suspicion.key: suspicion.scores(pooled) for suspicion in suspicions},
    )


def _batches(folder: Path, kind: str, config: str, columns: tuple[str, ...]) -> Iterator[pa.Table]:
    table = next(t for t in DATASETS[kind] if t.config == config)
    return read_columns(folder, table, [*columns])
