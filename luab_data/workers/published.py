"""One row a worker: what they did, how long they took, where they clicked, whether it was right."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.regions import click_offset, floats
from luab_data.ragged import Floats, Ints, bounds_of, nullable, ragged
from luab_data.schema import COCO_ANNOTATORS, IMAGENET_ANNOTATORS
from luab_data.statistics.coco.icons import retrieved_classes


def round_facts(rounds: pa.Table) -> pa.Table:
    """What annotators are judged by of each metadata block: a slim table that memory can hold.

    What nobody is known to have done is left out, here and below.
    """
    facts = pa.table(
        {
            "worker_id": rounds["worker_id"].dictionary_encode(),
            "assignment_id": rounds["assignment_id"].dictionary_encode(),
            "selected": rounds["selected"],
            "estimate_time_ms": rounds["estimate_time_ms"],
            "trace_length": pa.array(np.diff(bounds_of(rounds["mouse_tracking_time_ms"]))),
        }
    )
    return facts.filter(rounds["worker_id"].is_valid())


def click_facts(images: pa.Table) -> pa.Table:
    """What annotators are judged by of each final click; images without one are left out."""
    offset_x, offset_y = click_offset(images)
    facts = pa.table(
        {
            "worker_id": images["worker_id"].dictionary_encode(),
            "x": images["final_click_x"],
            "y": images["final_click_y"],
            "in_box": images["click_in_box"],
            "offset_x": nullable(offset_x, ~np.isnan(offset_x), pa.float64()),
            "offset_y": nullable(offset_y, ~np.isnan(offset_y), pa.float64()),
        }
    )
    judged = pc.and_(images["final_click_x"].is_valid(), images["worker_id"].is_valid())
    return facts.filter(judged)


def icon_facts(images: pa.Table) -> pa.Table:
    """What annotators are judged by of each COCO image."""
    placed = ragged(images["is_present_at_end"], null=False)
    right = ragged(images["is_on_object"].combine_chunks(), null=False)
    judged = images["is_on_object"].combine_chunks().flatten().is_valid().to_numpy(False)
    retrieved, present = retrieved_classes(images)
    facts = pa.table(
        {
            "worker_id": images["worker_id"],
            "hit_id": images["hit_id"],
            "time_spent_ms": images["time_spent_ms"],
            "num_placed": pa.array(
                placed._replace(values=placed.values.astype(int)).reduce(np.add, 0)
            ),
            "num_evaluated": pa.array(right._replace(values=judged.astype(int)).reduce(np.add, 0)),
            "num_on_object": pa.array(
                right._replace(values=right.values.astype(int)).reduce(np.add, 0)
            ),
            "num_retrieved": pa.array(retrieved),
            "num_present": pa.array(present),
        }
    )
    return facts.filter(images["worker_id"].is_valid())


def _encoded(column: pa.ChunkedArray) -> tuple[np.ndarray, Ints]:
    """Distinct values of a column without nulls and the index of each row's among them.

    Dictionaries keep a million rows at 4 bytes each.
    """
    keys = column.unify_dictionaries().combine_chunks()
    if isinstance(keys, pa.ChunkedArray):  # no rows, no chunks
        keys = pa.array([], pa.string())
    if not pa.types.is_dictionary(keys.type):
        keys = keys.dictionary_encode()
    index: Ints = keys.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return keys.dictionary.to_numpy(zero_copy_only=False), index


class _Groups:
    """Rows grouped by worker; every result has one entry a worker, in the order of `names`."""

    def __init__(self, names: np.ndarray, worker: pa.ChunkedArray) -> None:
        self.size = len(names)
        found, index = _encoded(worker)
        self.code = np.searchsorted(names, found.astype(str))[index]

    def sum(self, values: Floats) -> Floats:
        there = ~np.isnan(values)
        total: Floats = np.bincount(self.code[there], values[there], self.size).astype(np.float64)
        return total

    def count(self, values: Floats) -> Ints:
        return np.bincount(self.code[~np.isnan(values)], minlength=self.size)

    def mean(self, values: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.sum(values) / self.count(values)

    def median(self, values: Floats) -> Floats:
        there = ~np.isnan(values)
        code, kept = self.code[there], values[there]
        order = np.lexsort((kept, code))
        count = np.bincount(code, minlength=self.size)
        start = np.concatenate([[0], np.cumsum(count)])[:-1]
        out = np.full(self.size, np.nan)
        some = count > 0
        low, high = start[some] + (count[some] - 1) // 2, start[some] + count[some] // 2
        out[some] = (kept[order[low]] + kept[order[high]]) / 2
        return out

    def distinct(self, column: pa.ChunkedArray) -> Ints:
        there = column.is_valid().to_numpy()
        keys, index = _encoded(column.filter(pa.array(there)))
        pairs = np.unique(self.code[there] * max(len(keys), 1) + index)
        return np.bincount(pairs // max(len(keys), 1), minlength=self.size)


def _table(columns: dict[str, np.ndarray], schema: pa.Schema) -> pa.Table:
    arrays = []
    for field in schema:
        values = columns[field.name]
        empty = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
        arrays.append(pa.array(values, mask=empty).cast(field.type))
    return pa.table(arrays, schema)


def imagenet_annotators(rounds: pa.Table, clicks: pa.Table) -> pa.Table:
    """IMAGENET_ANNOTATORS, sorted by worker_id.

    Args:
        rounds: round_facts of every metadata block.
        clicks: click_facts of every image.
    """
    names = np.unique(_encoded(rounds["worker_id"])[0].astype(str))
    shown, clicked = _Groups(names, rounds["worker_id"]), _Groups(names, clicks["worker_id"])
    ones = np.ones(len(rounds))
    in_box = floats(clicks["in_box"].cast("int8"))
    evaluated = clicked.count(in_box)
    hits = clicked.sum(in_box)
    with np.errstate(invalid="ignore"):
        accuracy = hits / np.where(evaluated > 0, evaluated, np.nan)
    columns = {
        "worker_id": names,
        "num_assignments": shown.distinct(rounds["assignment_id"]),
        "num_rounds": shown.count(ones),
        "num_selected": shown.sum(floats(rounds["selected"].cast("int8"))).astype(np.int64),
        "median_estimate_time_ms": shown.median(floats(rounds["estimate_time_ms"])),
        "median_trace_length": shown.median(floats(rounds["trace_length"])),
        "mean_click_x": clicked.mean(floats(clicks["x"])),
        "mean_click_y": clicked.mean(floats(clicks["y"])),
        "num_evaluated": evaluated,
        "num_in_box": hits.astype(np.int64),
        "click_accuracy": accuracy,
        "click_bias_x": clicked.mean(floats(clicks["offset_x"])),
        "click_bias_y": clicked.mean(floats(clicks["offset_y"])),
    }
    return _table(columns, IMAGENET_ANNOTATORS.schema())


def coco_annotators(facts: pa.Table) -> pa.Table:
    """COCO_ANNOTATORS, sorted by worker_id.

    Args:
        facts: icon_facts of every image.
    """
    names = np.unique(_encoded(facts["worker_id"])[0].astype(str))
    group = _Groups(names, facts["worker_id"])
    total = {
        name: group.sum(floats(facts[name])).astype(np.int64)
        for name in facts.column_names
        if name.startswith("num_")
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = total["num_on_object"] / total["num_evaluated"]
        recall = total["num_retrieved"] / total["num_present"]
    columns = {
        "worker_id": names,
        "num_hits": group.distinct(facts["hit_id"]),
        "num_images": group.count(np.ones(len(facts))),
        "median_time_spent_ms": group.median(floats(facts["time_spent_ms"])),
        **total,
        "icon_precision": precision,
        "recall": recall,
    }
    return _table(columns, COCO_ANNOTATORS.schema())
