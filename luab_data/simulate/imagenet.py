"""Simulated ImageNet-AB: images with boxes -> `imagenet_ab.tar.gz` and its truth.     [I/O]

One class is in memory at a time; its records are written as soon as both rounds are over.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.boxes import LabelledImage
from luab_data.errors import ImagesError, OptionError
from luab_data.simulate.crowd import Crowd, Round, annotate_class
from luab_data.simulate.habits import IMAGENET_HABITS, recruit
from luab_data.simulate.imagenet_xml import annotation
from luab_data.simulate.writer import new_simulation, tar_gz, truth_beside

_MEMBER_NAME = re.compile(r"[^./\\\x00-\x1f\x7f\ud800-\udfff][^/\\\x00-\x1f\x7f\ud800-\udfff]*")


@dataclass(frozen=True, kw_only=True)
class ImagenetSimulation:
    """Counts of what was written.

    Attributes:
        num_images: records, one an image.
        num_boxed: of those, with the box part.
        num_rounds: metadata blocks.
        num_hits: HITs answered.
        num_with_interaction: images with any hovered, tracking or selected record.
        num_selected: images selected in a round.
        num_selected_round1: of those, in round 1.
        num_trace_points: mouseTracking records.
        num_workers: workers who answered at least one HIT.
        workers_by_style: number of workers of each style, whether or not they got a HIT.
        same: the same log was there already; nothing was written.
    """

    num_images: int
    num_boxed: int
    num_rounds: int
    num_hits: int
    num_with_interaction: int
    num_selected: int
    num_selected_round1: int
    num_trace_points: int
    num_workers: int
    workers_by_style: dict[str, int]
    same: bool = False


def simulate_imagenet(
    images: Sequence[LabelledImage],
    out: str | os.PathLike[str],
    *,
    truth: str | os.PathLike[str] | None = None,
    seed: int = 0,
    boxed_fraction: float = 0.42,
    num_workers: int = 24,
    styles: Mapping[str, float] | None = None,
    skipped_fraction: float = 0.007,
    force: bool = False,
    on_progress: Callable[[int], object] | None = None,
) -> ImagenetSimulation:
    """Write a raw log in the byte format of `imagenet_ab_v1_0.tar.gz`, and what really happened.

    Args:
        images: image ids must be unique. Boxes steer the clicks even where they are not logged.
        out: the `.tar.gz` to write.
        truth: JSON Lines to write, one object an image, gzip if it ends in `.gz`, by default
            `OUT.truth.jsonl.gz`; a log with that beside it is known as simulated. Boxes; the
            rounds with worker, style, box meant, every click (deselecting ones too); the final
            click of the deciding round.
        seed: same seed and images, same bytes.
        boxed_fraction: share of the images that carry the box part; capped by those with boxes.
        num_workers: people who share the HITs.
        styles: weight of each style of `IMAGENET_HABITS`; by default their `share`.
        skipped_fraction: share of the images without any interaction: half of them have no
            metadata at all, the others were shown and overlooked.
        force: replace an earlier simulation.
        on_progress: called with the number of images written since the last call.

    Raises:
        OptionError: a fraction, a number or a style that makes no sense.
        ImagesError: no images, or an image id twice.
        OutputError: a file is not ours to replace, or cannot be written; nothing was changed.
    """
    out = Path(out)
    _check_images(images)
    for name, value in (("boxed_fraction", boxed_fraction), ("skipped_fraction", skipped_fraction)):
        if not 0 <= value <= 1:
            raise OptionError(f"{name} is {value}; expected 0 to 1")
    if seed < 0:
        raise OptionError(f"seed is {seed}; expected 0 or more")
    rng = np.random.default_rng(seed)
    shares = {name: habit.share for name, habit in IMAGENET_HABITS.items()}
    paces = {name: habit.pace for name, habit in IMAGENET_HABITS.items()}
    workers = recruit(rng, num_workers, shares if styles is None else styles, paces)
    crowd = Crowd(rng, images, workers)
    boxed, unshown, overlooked = _draw_roles(rng, images, boxed_fraction, skipped_fraction)
    tally: Counter[str] = Counter()
    targets = new_simulation(out, Path(truth or truth_beside(out)), force=force)
    with targets as (log, add_truth, target), tar_gz(log) as add_member:
        for wnid in rng.permutation(sorted(crowd.members)).tolist():
            history = annotate_class(crowd, wnid, unshown, overlooked)
            for index in rng.permutation(crowd.members[wnid]).tolist():
                image, rounds, has_box_part = images[index], history[index], index in boxed
                blocks = [item.block for item in rounds]
                if len(blocks) == 2 and rng.random() < 0.5:
                    blocks.reverse()  # the release's order is not always that of time
                text = annotation(image, blocks, has_box_part=has_box_part)
                add_member(f"train_xml/{wnid}/{image.image_id}.xml", text.encode())
                row = _truth_row(image, rounds, has_box_part)
                add_truth(row)
                _count(tally, row)
                if on_progress is not None:
                    on_progress(1)
    return ImagenetSimulation(
        num_images=len(images),
        num_boxed=len(boxed),
        num_rounds=tally["rounds"],
        num_hits=crowd.num_hits,
        num_with_interaction=tally["interaction"],
        num_selected=tally["selected"],
        num_selected_round1=tally["selected_round1"],
        num_trace_points=tally["points"],
        num_workers=len(crowd.employed),
        workers_by_style=dict(sorted(Counter(worker.style for worker in workers).items())),
        same=target.same,
    )


def _check_images(images: Sequence[LabelledImage]) -> None:
    if not images:
        raise ImagesError("no images to simulate; expected at least one")
    seen: set[str] = set()
    for image in images:
        if image.image_id in seen:
            raise ImagesError(f"image id {image.image_id!r} is there twice; expected unique ids")
        if min(image.width, image.height) < 1:
            raise ImagesError(
                f"image {image.image_id!r} is {image.width} x {image.height} px; expected a size"
            )
        for name in (image.image_id, image.wnid):
            if not _MEMBER_NAME.fullmatch(name):
                raise ImagesError(
                    f"image {image.image_id!r} of class {image.wnid!r}: {name!r} cannot name a "
                    "file of the archive; expected no slash, no control character, no leading dot"
                )
        seen.add(image.image_id)


def _draw_roles(
    rng: np.random.Generator,
    images: Sequence[LabelledImage],
    boxed_fraction: float,
    skipped_fraction: float,
) -> tuple[set[int], set[int], set[int]]:
    """Indices of the images with a box part, without metadata, and shown but overlooked."""
    with_boxes = [index for index, image in enumerate(images) if len(image.boxes)]
    boxed = rng.permutation(with_boxes)[: round(boxed_fraction * len(images))]
    skipped = rng.permutation(len(images))[: round(skipped_fraction * len(images))].tolist()
    half = len(skipped) // 2
    return {int(index) for index in boxed}, set(skipped[:half]), set(skipped[half:])


def _truth_row(image: LabelledImage, rounds: list[Round], has_box_part: bool) -> dict[str, Any]:
    """What a converter should find, and what it cannot know."""
    chosen = [number for number, item in enumerate(rounds) if item.block.picture.selected]
    deciding = chosen[-1] if chosen else len(rounds) - 1
    final = rounds[deciding].block.picture.selected_record[-1] if chosen else None
    return {
        "image_id": image.image_id,
        "wnid": image.wnid,
        "width": image.width,
        "height": image.height,
        "boxes": image.boxes.tolist(),
        "has_box_part": has_box_part,
        "has_interaction": any(item.block.picture.has_interaction for item in rounds),
        "selected": bool(chosen),
        "deciding_round": deciding + 1 if rounds else None,
        "final_click": None if final is None else {"time": final[0], "x": final[1], "y": final[2]},
        "rounds": [_truth_round(item) for item in rounds],
    }


def _truth_round(item: Round) -> dict[str, Any]:
    block, picture = item.block, item.block.picture
    return {
        "worker_id": item.worker.worker_id,
        "style": item.worker.style,
        "assignment_id": block.hit.assignment_id,
        "hit_submit_time": block.hit.submit_time,
        "page_idx": block.page_idx,
        "image_idx": block.image_idx,
        "rendered_width": picture.width,
        "rendered_height": picture.height,
        "target_box": item.target_box,
        "selected": picture.selected,
        "clicks": [
            {"time": time, "x": x, "y": y, "selects": selects}
            for time, x, y, selects in picture.clicks
        ],
        "num_trace_points": len(picture.mouse_tracking),
        "estimate_time": picture.estimate_time,
    }


def _count(tally: Counter[str], row: dict[str, Any]) -> None:
    tally["rounds"] += len(row["rounds"])
    tally["interaction"] += row["has_interaction"]
    tally["selected"] += row["selected"]
    tally["selected_round1"] += row["selected"] and row["deciding_round"] == 1
    tally["points"] += sum(item["num_trace_points"] for item in row["rounds"])
