"""The numbers of `luab-data stats`: sums over batches of columns first, divisions last.

A fraction of an empty group is null in JSON, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.regions import boxes_of, floats, in_any_box
from luab_data.ragged import ragged
from luab_data.statistics.coco.icons import retrieved_classes

Statistics = dict[str, Any]

IMAGENET_COLUMNS = {
    "default": [
        *("has_interaction", "has_boxes", "selected", "final_click_x", "final_click_y"),
        *("width", "height", "boxes", "click_in_box"),
    ],
    "rounds": ["round", "selected", "worker_id", "mouse_tracking_time_ms"],
}
COCO_COLUMNS = {
    "default": [
        *("image_id", "hit_id", "labels", "icon_label"),
        *("is_present_at_end", "is_on_object", "action_sequence"),
    ]
}


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def imagenet_statistics(images: Iterable[pa.Table], rounds: Iterable[pa.Table]) -> Statistics:
    """Counts and accuracies of an ImageNet-AB dataset.

    Args:
        images: batches of `default` with IMAGENET_COLUMNS.
        rounds: batches of `rounds` likewise.

    Returns: the keys of decisions.md. Accuracies are over S, the selected images with boxes
    (metrics 4.3): click, centre, and the clicks of those whose boxes miss the centre.
    """
    total: Counter[str] = Counter()
    for table in images:
        total["num_images"] += len(table)
        for name in ("has_interaction", "has_boxes", "selected"):
            total[name] += pc.sum(table[name]).as_py() or 0
        total.update(_evaluated(table))
    workers: set[str] = set()
    for table in rounds:
        total["num_rounds"] += len(table)
        first = pc.and_(pc.equal(table["round"], 1), table["selected"])
        total["num_selected_round1"] += pc.sum(first).as_py() or 0
        lengths = pc.list_value_length(table["mouse_tracking_time_ms"])
        total["num_trace_points"] += pc.sum(lengths).as_py() or 0
        workers.update(pc.unique(table["worker_id"]).to_pylist())
    evaluated, off_centre = total["evaluated"], total["off_centre"]
    return {
        "num_images": total["num_images"],
        "num_rounds": total["num_rounds"],
        "num_with_interaction": total["has_interaction"],
        "num_with_boxes": total["has_boxes"],
        "num_selected": total["selected"],
        "num_selected_round1": total["num_selected_round1"],
        "num_evaluated": evaluated,
        "click_accuracy": _share(total["click_right"], evaluated),
        "centre_accuracy": _share(evaluated - off_centre, evaluated),
        "off_centre_fraction": _share(off_centre, evaluated),
        "off_centre_click_accuracy": _share(total["off_centre_click_right"], off_centre),
        "num_workers": len(workers),
        "num_trace_points": total["num_trace_points"],
    }


def _evaluated(table: pa.Table) -> dict[str, int]:
    """Sums over the images of S in one batch."""
    known = table["click_in_box"].is_valid().to_numpy()
    right = pc.fill_null(table["click_in_box"], False).to_numpy()
    boxes, rows = boxes_of(table["boxes"])
    middle = np.full(len(table), 0.5)
    size = floats(table["width"]), floats(table["height"])
    off_centre = known & ~in_any_box(middle, middle, *size, boxes, rows)
    return {
        "evaluated": int(known.sum()),
        "click_right": int(right.sum()),
        "off_centre": int(off_centre.sum()),
        "off_centre_click_right": int((off_centre & right).sum()),
    }


def coco_statistics(images: Iterable[pa.Table]) -> Statistics:
    """Counts, icon precision and class recall of a COCO-AB dataset.

    Args:
        images: batches of `default` with COCO_COLUMNS.

    Returns: the keys of decisions.md. `recall` is micro over (image, class); `recall_hit_mean` is
    the mean over HITs of the mean over their images (metrics 4.10); images without any class in
    the ground truth, or without a HIT, count in neither of these two means.
    """
    total: Counter[str] = Counter()
    sequences: Counter[str] = Counter()
    recalls: dict[str, list[float]] = {}
    for table in images:
        total["num_records"] += len(table)
        here = ragged(table["is_present_at_end"], null=False).values.astype(bool)
        on_object = table["is_on_object"].combine_chunks().flatten()
        total["num_placed"] += int(here.sum())
        total["judged"] += len(on_object) - on_object.null_count
        total["right"] += pc.sum(on_object).as_py() or 0
        names = ragged(table["action_sequence"]).values[here]
        sequences.update(dict(zip(*np.unique(names.astype(str), return_counts=True), strict=True)))
        retrieved, present = retrieved_classes(table)
        total["retrieved"] += int(retrieved.sum())
        total["num_present"] += int(present.sum())
        for hit, found, there in zip(table["hit_id"].to_pylist(), retrieved, present, strict=True):
            if there and hit is not None:
                recalls.setdefault(hit, []).append(found / there)
    hit_means = [sum(values) / len(values) for values in recalls.values()]
    return {
        "num_records": total["num_records"],
        "num_placed": total["num_placed"],
        "num_present": total["num_present"],
        "icon_precision": _share(total["right"], total["judged"]),
        "recall": _share(total["retrieved"], total["num_present"]),
        "recall_hit_mean": _share(float(sum(hit_means)), len(hit_means)),
        "action_sequences": {str(k): int(v) for k, v in sequences.most_common()},
    }
