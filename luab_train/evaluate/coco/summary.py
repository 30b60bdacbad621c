"""Rows of one model become its results on COCO; rows of two become differences. Pure.

`N` images, `C` classes, `P` classes in images, `E` erasures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import OptionError
from luab_data.schema import COCO_CLASSES
from luab_data.statistics.estimate import RESAMPLES, Estimate
from luab_train.evaluate.coco.context import Erasures, cases_of, context, pairs_of
from luab_train.evaluate.coco.leaning import leaning
from luab_train.evaluate.coco.rates import Rate, rates
from luab_train.evaluate.coco.scenes import Status
from luab_train.evaluate.coco.storage import NUM_CLASSES, Tables, logits_matrix, read_tables
from luab_train.metrics.intervals import unless_flat
from luab_train.metrics.ranking import MeanPrecision, map_difference, mean_average_precision


@dataclass(frozen=True, kw_only=True)
class CocoResult:
    """Everything measured on COCO with one model.

    Args:
        precision: mAP.
        rates: v_random, v_worst and difference, see `context`, if anything was erased; on_mask, the
            share of predicted points on a mask of their class, and centre, that of the view's
            centre, if the model was trained to point. Their null is a point drawn uniformly from
            what the network sees.
        leaning: which class leans on which, see leaning.SCHEMA; None if nothing was erased.
        classes: a row a class, see `class_table`.
        num_images: all that have scores, those without labels too.
        num_without_labels: they are negatives of every class.
        num_objects: (image, class) pairs by what became of their erasure, names of Status.
        num_ties: pairs of classes with equal scores; they count as violations.
        num_outside: (image, class) pairs that the view does not show, not judged by their point.
        mean_overlap: mean over erasures of the largest share that one takes of another class.
        facts: how the rows were made: model, view, eraser.
    """

    precision: MeanPrecision
    rates: Mapping[str, Rate]
    leaning: pa.Table | None
    classes: pa.Table
    num_images: int
    num_without_labels: int
    num_objects: dict[str, int]
    num_ties: int
    num_outside: int
    mean_overlap: float
    facts: dict[str, Any]


class _Rows(NamedTuple):
    """The tables as arrays."""

    scores_NC: np.ndarray
    labels_NC: np.ndarray
    image_P: np.ndarray
    label_P: np.ndarray
    status_P: np.ndarray
    covered_PC: np.ndarray
    erasures: Erasures


def _rows(tables: Tables) -> _Rows:
    scores, objects, _ = tables
    labels_NC = label_matrix(scores["labels"])
    image_P = np.searchsorted(scores["image_id"].to_numpy(), objects["image_id"].to_numpy())
    label_P = objects["label"].to_numpy().astype(np.int64)
    status_P = objects["status"].to_numpy()
    is_erased = status_P == Status.ERASED
    return _Rows(
        scores_NC=logits_matrix(scores["logits"]),
        labels_NC=labels_NC,
        image_P=image_P,
        label_P=label_P,
        status_P=status_P,
        covered_PC=_covered_matrix(objects["covered"], labels_NC[image_P]),
        erasures=Erasures(
            image_P[is_erased], label_P[is_erased], logits_matrix(objects["logits_erased"])
        ),
    )


def summarise(tables: Tables, *, resamples: int = RESAMPLES, seed: int = 0) -> CocoResult:
    """Every metric from the rows of one model, which storage.read_tables also reads."""
    rows, objects, facts = _rows(tables), tables.objects, tables.facts
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    precision = mean_average_precision(rows.scores_NC, rows.labels_NC, **options)
    found: dict[str, Rate] = {}
    found_leaning, overlap, num_ties = None, np.nan, 0
    if facts["eraser"] is not None:
        pairs = pairs_of(rows.erasures)
        found |= context(cases_of(pairs), num_classes=NUM_CLASSES, **options)
        covered_EC = rows.covered_PC[rows.status_P == Status.ERASED]
        found_leaning = leaning(
            pairs,
            rows.scores_NC[pairs.image_K, pairs.label_K],
            covered_EC[pairs.erasure_K, pairs.label_K],
            COCO_CLASSES,
        )
        overlap = _largest_overlap(covered_EC, rows.erasures.label_E)
        num_ties = int((pairs.without_itself_K == pairs.without_other_K).sum())
    is_seen = pc.greater(objects["chance"], 0).to_numpy()
    if facts["point_trained"]:
        found |= _pointing(rows, objects, is_seen, options)
    return CocoResult(
        precision=precision,
        rates=found,
        leaning=found_leaning,
        classes=class_table(precision, found),
        num_images=len(rows.labels_NC),
        num_without_labels=int((~rows.labels_NC.any(axis=1)).sum()),
        num_objects={s.name.lower(): int((rows.status_P == s).sum()) for s in Status},
        num_ties=num_ties,
        num_outside=int((~is_seen).sum()),
        mean_overlap=overlap,
        facts=facts,
    )


def _pointing(
    rows: _Rows, objects: pa.Table, is_seen: np.ndarray, options: Mapping[str, Any]
) -> dict[str, Rate]:
    """Shares of points on masks, over (image, class) of which the view shows some pixel.

    Source: docs/definitions.md#pointing-accuracy.
    """
    image, label = rows.image_P[is_seen], rows.label_P[is_seen]
    chance = _floats(objects["chance"])[is_seen]
    values = {
        name: (_floats(objects[column])[is_seen], chance)
        for name, column in (("on_mask", "is_point_on_mask"), ("centre", "is_centre_on_mask"))
    }
    return rates(image, label, values, num_classes=NUM_CLASSES, **options)


def compare(
    tables: Tables, other: Tables, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Metric -> that of one model minus that of another, for instance the run without byproducts,
    with intervals of images drawn together: `map`, and what was taken of erasures.
    """
    for key in ("fit", "eraser"):
        if tables.facts[key] != other.facts[key]:
            raise OptionError(
                f"{tables.facts['model']} was evaluated with {key} {tables.facts[key]}, "
                f"{other.facts['model']} with {other.facts[key]}; expected the same for both"
            )
    for column in ("image_id", "labels"):
        if not tables.scores[column].equals(other.scores[column]):
            raise OptionError(
                f"{tables.facts['model']} and {other.facts['model']} were evaluated on images with"
                f" other {column}; expected the same images and instances for both"
            )
    rows, others = _rows(tables), _rows(other)
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    found = {"map": map_difference(rows.scores_NC, others.scores_NC, rows.labels_NC, **options)}
    if tables.facts["eraser"] is not None:
        cases, less = (cases_of(pairs_of(r.erasures)) for r in (rows, others))
        differences = context(cases, less, num_classes=NUM_CLASSES, **options)
        found |= {name: rate.mean for name, rate in differences.items()}
    return found


@cache
def compared(a: Path, b: Path) -> tuple[dict[str, Estimate], int]:
    """The same of what two evaluations kept in their folders; and how many images."""
    tables, other = read_tables(a), read_tables(b)
    return compare(tables, other), len(tables.scores)


def label_matrix(labels: pa.ChunkedArray) -> np.ndarray:
    """Lists of labels as (N, C) bool."""
    lengths = pc.list_value_length(labels).to_numpy()
    matrix = np.zeros((len(labels), NUM_CLASSES), bool)
    flat = pc.list_flatten(labels).to_numpy()
    matrix[np.repeat(np.arange(len(labels)), lengths), flat] = True
    return matrix


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    values: np.ndarray = column.cast(pa.float64()).to_numpy()
    return values


def _covered_matrix(covered: pa.ChunkedArray, labels_PC: np.ndarray) -> np.ndarray:
    """(P, C) float32: share of each class that an erasure takes; NaN for classes not there."""
    matrix = np.full(labels_PC.shape, np.nan, np.float32)
    # Both go row by row, labels ascending.
    matrix[labels_PC] = pc.list_flatten(covered).to_numpy()
    return matrix


def _largest_overlap(covered_EC: np.ndarray, label_E: np.ndarray) -> float:
    others = np.nan_to_num(covered_EC)
    others[np.arange(len(label_E)), label_E] = 0
    return float(others.max(axis=1).mean()) if len(label_E) else float("nan")


def class_table(precision: MeanPrecision, found: Mapping[str, Rate]) -> pa.Table:
    """A row a class: ap, v_random, v_worst, difference and on_mask, with their ends and nulls.

    Null where the class has no image to measure it on, or the metric was not taken.
    """
    columns: dict[str, Any] = {
        "label": np.arange(NUM_CLASSES),
        "name": list(COCO_CLASSES),
        "num_positive": precision.num_positive,
    }
    measured = {"ap": precision.classes}
    for name in ("v_random", "v_worst", "difference", "on_mask"):
        if name in found:
            measured[name] = found[name].classes
            counted = "num_pointed" if name == "on_mask" else "num_cases"
            columns[counted] = measured[name].n.astype(np.int64)
    for name, estimate in measured.items():
        low, high = unless_flat(estimate.low, estimate.high)
        for suffix, values in (
            ("", estimate.value),
            ("_low", low),
            ("_high", high),
            ("_null", estimate.null),
        ):
            columns[name + suffix] = pa.array(values, from_pandas=True)
    return pa.table(columns)
