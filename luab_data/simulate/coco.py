"""Simulated COCO-AB: instance masks -> `coco_ab.json` and its truth.                  [I/O]

A HIT is 20 pages of one image each, answered by one worker; every image is shown once.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.errors import ImagesError
from luab_data.raw.instances import read_instances
from luab_data.schema import COCO_CLASSES
from luab_data.simulate import Simulation, new_simulation, truth_beside
from luab_data.simulate.drag import Board, Placed, shown_width, tag
from luab_data.simulate.workers import COCO_HABITS, Worker, recruit
from luab_data.tools import BOARD_HEIGHT, TAGGING_PAGES
from luab_data.truth import TrueImage

_SIZELESS = 0.01  # share of records whose original size was logged as 0


@dataclass(frozen=True, kw_only=True)
class CocoSimulation(Simulation):
    """Counts of what was written; those of Simulation, and:

    Attributes:
        num_records: records, one an image.
        num_actions: entries of actionHistories.
        num_placed: icons present at the end.
        num_on_object: of those, on a mask of their class.
        num_present: classes in the ground truth, summed over images.
        num_retrieved: of those, with an icon at the end.
    """

    num_records: int
    num_actions: int
    num_placed: int
    num_on_object: int
    num_present: int
    num_retrieved: int


def simulate_coco(
    instances: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    truth: str | os.PathLike[str] | None = None,
    seed: int = 0,
    num_workers: int = 12,
    styles: Mapping[str, float] | None = None,
    force: bool = False,
    on_progress: Callable[[int], object] | None = None,
) -> CocoSimulation:
    """Write a raw log in the byte format of `coco_ab_v1_0.json`, and what really happened.

    Args:
        instances: COCO `instances_*.json`; polygons or run lengths, crowds included.
        out: the `.json` to write: one array, default separators.
        truth: JSON Lines to write, one object an image, gzip if it ends in `.gz`, by default
            `OUT.truth.jsonl.gz`; a log with that beside it is known as simulated. Worker and
            style, the classes present, and for each icon the object meant, its action sequence,
            last add and final place, and whether that is on a mask of its class
            (docs/definitions.md#icon-precision).
        seed: same seed and instances, same bytes.
        num_workers: people who share the HITs.
        styles: weight of each style of `COCO_HABITS`; by default their `share`.
        force: replace an earlier simulation.
        on_progress: called with the number of records written since the last call.

    Raises:
        OptionError: a number or a style that makes no sense.
        ImagesError: `instances` is not such a file, or one of its masks is broken.
        OutputError: a file is not ours to replace, or cannot be written; nothing was changed.
    """
    out = Path(out)
    rng, workers = recruit(seed, num_workers, styles, COCO_HABITS)
    true = read_instances(Path(instances), things=True)
    if not true:
        raise ImagesError(f"{instances}: found no images; expected some")
    images = list(true.items())
    tally: Counter[str] = Counter()
    employed: set[int] = set()
    order = rng.permutation(len(images)).tolist()
    targets = new_simulation(out, Path(truth or truth_beside(out)), force=force)
    with targets as (log, add_truth, target):
        log.write(b"[")
        for start in range(0, len(order), TAGGING_PAGES):
            number = int(rng.integers(len(workers)))
            employed.add(number)
            hit_id = rng.bytes(16).hex()
            for page_id, index in enumerate(order[start : start + TAGGING_PAGES]):
                image_id, image = images[index]
                record, row = _annotate(
                    rng, workers[number], image_id, image, true.category_of, hit_id, page_id
                )
                log.write(b", " if tally["num_records"] else b"")
                log.write(json.dumps(record).encode())
                add_truth(row)
                _count(tally, record, row)
                if on_progress is not None:
                    on_progress(1)
        log.write(b"]")
    return CocoSimulation(
        num_hits=-(-len(order) // TAGGING_PAGES),
        num_workers=len(employed),
        workers_by_style=dict(sorted(Counter(worker.style for worker in workers).items())),
        same=target.same,
        **tally,
    )


def _annotate(
    rng: np.random.Generator,
    worker: Worker,
    image_id: int,
    image: TrueImage,
    category_of: Mapping[int, Any],
    hit_id: str,
    page_id: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One page: its record as the release writes it, and its line of truth."""
    board = Board(shown_width(image.width, image.height))
    placed, time_spent = tag(rng, worker, image, board)
    has_size = bool(rng.random() >= _SIZELESS)
    record = {
        "mouseTracking": board.mouse_tracking,
        "originalImageWidth": image.width if has_size else 0,
        "originalImageHeight": image.height if has_size else 0,
        "page_id": page_id,
        "imageWidth": BOARD_HEIGHT,  # the release writes the height twice
        "imageHeight": BOARD_HEIGHT,
        "hit_id": hit_id,
        "worker_id": worker.worker_id,
        "actionHistories": board.action_histories,
        "timeSpent": int(time_spent),
        "image_id": image_id,
        "categoryHistories": board.category_histories,
    }
    row = {
        "image_id": image_id,
        "width": image.width,
        "height": image.height,
        "hit_id": hit_id,
        "page_id": page_id,
        "worker_id": worker.worker_id,
        "style": worker.style,
        "rendered_width": board.width,
        "rendered_height": BOARD_HEIGHT,
        "present": sorted({thing.category_id for thing in image.things}),
        "icons": [
            {
                "category_id": category_of.get(COCO_CLASSES.index(name)),
                **_truth_icon(name, item, board, image),
            }
            for name, item in placed.items()
        ],
    }
    return record, row


def _truth_icon(name: str, item: Placed, board: Board, image: TrueImage) -> dict[str, Any]:
    actions = [a["actionType"] for a in board.action_histories if a["iconType"] == name]
    offset = board.icons.get(name)
    final = None if offset is None else [*board.fraction(offset).values()]
    return {
        "name": name,
        "annotation_id": item.annotation_id,
        "sequence": "-".join(actions),
        "last_add": [*board.fraction(item.last_add).values()],
        "final": final,
        "on_object": None if final is None else image.contains(COCO_CLASSES.index(name), *final),
    }


def _count(tally: Counter[str], record: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    at_end = [icon for icon in row["icons"] if icon["final"] is not None]
    tally["num_records"] += 1
    tally["num_actions"] += len(record["actionHistories"])
    tally["num_trace_points"] += len(record["mouseTracking"])
    tally["num_placed"] += len(at_end)
    tally["num_on_object"] += sum(icon["on_object"] for icon in at_end)
    tally["num_present"] += len(row["present"])
    tally["num_retrieved"] += sum(icon["category_id"] in row["present"] for icon in at_end)
