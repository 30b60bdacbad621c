"""Simulated ImageNet-AB: images with boxes -> `imagenet_ab.tar.gz` and its truth.     [I/O]

As in the real task, a HIT is 10 pages of 48 pictures of which 12 are the class asked for; round 1
shows every image, round 2 those nobody selected. The other 36 slots of a page are images of other
classes of the list, as far as it has any: they shape layout and timing and are logged nowhere.

One class is in memory at a time; its records are written as soon as both rounds are over.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.boxes import LabelledImage
from luab_data.errors import ImagesError, OptionError
from luab_data.simulate import Simulation, new_simulation, tar_gz, truth_beside
from luab_data.simulate.browse import browse, open_browser
from luab_data.simulate.page import Hit, Shown, annotation
from luab_data.simulate.workers import IMAGENET_HABITS, Worker, recruit
from luab_data.tools import BROWSING_PAGES, SLOTS

MEMBERS_PER_PAGE = 12  # 120 of the 480 pictures of a HIT: docs/definitions.md#acceptance
_EPOCH_MS = 1_640_905_000_000  # the release's HITs are of the days around 2021-12-31
_ALPHABET = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
_MEMBER_NAME = re.compile(r"[^./\\\x00-\x1f\x7f\ud800-\udfff][^/\\\x00-\x1f\x7f\ud800-\udfff]*")


@dataclass(frozen=True, kw_only=True)
class ImagenetSimulation(Simulation):
    """Counts of what was written; those of Simulation, and:

    Attributes:
        num_images: records, one an image.
        num_boxed: of those, with the box part.
        num_rounds: metadata blocks.
        num_with_interaction: images with any hovered, tracking or selected record.
        num_selected: images selected in a round.
        num_selected_round1: of those, in round 1.
    """

    num_images: int
    num_boxed: int
    num_rounds: int
    num_with_interaction: int
    num_selected: int
    num_selected_round1: int


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
    rng, workers = recruit(seed, num_workers, styles, IMAGENET_HABITS)
    crowd = Crowd(rng, images, workers)
    boxed, unshown, overlooked = _draw_roles(rng, images, boxed_fraction, skipped_fraction)
    tally: Counter[str] = Counter()
    targets = new_simulation(out, Path(truth or truth_beside(out)), force=force)
    with targets as (log, add_truth, target), tar_gz(log) as add_member:
        for wnid in rng.permutation(sorted(crowd.members)).tolist():
            history = annotate_class(crowd, wnid, unshown, overlooked)
            for index in rng.permutation(crowd.members[wnid]).tolist():
                image, rounds, has_box_part = images[index], history[index], index in boxed
                # The release's order is not always that of time.
                swapped = len(rounds) == 2 and rng.random() < 0.5
                logged = rounds[::-1] if swapped else rounds
                text = annotation(image, logged, has_box_part=has_box_part)
                add_member(f"train_xml/{wnid}/{image.image_id}.xml", text.encode())
                row = _truth_row(image, rounds, has_box_part)
                add_truth(row)
                _count(tally, row)
                if on_progress is not None:
                    on_progress(1)
    return ImagenetSimulation(
        num_images=len(images),
        num_boxed=len(boxed),
        num_hits=crowd.num_hits,
        num_workers=len(crowd.employed),
        workers_by_style=dict(sorted(Counter(worker.style for worker in workers).items())),
        same=target.same,
        **tally,
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


def _truth_row(image: LabelledImage, rounds: list[Shown], has_box_part: bool) -> dict[str, Any]:
    """What a converter should find, and what it cannot know."""
    chosen = [number for number, item in enumerate(rounds) if item.picture.selected]
    deciding = chosen[-1] if chosen else len(rounds) - 1
    final = rounds[deciding].picture.selected_record[-1] if chosen else None
    return {
        "image_id": image.image_id,
        "wnid": image.wnid,
        "width": image.width,
        "height": image.height,
        "boxes": image.boxes.tolist(),
        "has_box_part": has_box_part,
        "has_interaction": any(item.picture.has_interaction for item in rounds),
        "selected": bool(chosen),
        "deciding_round": deciding + 1 if rounds else None,
        "final_click": None if final is None else {"time": final[0], "x": final[1], "y": final[2]},
        "rounds": [_truth_round(item) for item in rounds],
    }


def _truth_round(item: Shown) -> dict[str, Any]:
    hit, picture = item.hit, item.picture
    return {
        "worker_id": hit.worker.worker_id,
        "style": hit.worker.style,
        "assignment_id": hit.assignment_id,
        "hit_submit_time": hit.submit_time,
        "page_idx": item.page_idx,
        "image_idx": item.slot,
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
    tally["num_rounds"] += len(row["rounds"])
    tally["num_with_interaction"] += row["has_interaction"]
    tally["num_selected"] += row["selected"]
    tally["num_selected_round1"] += row["selected"] and row["deciding_round"] == 1
    tally["num_trace_points"] += sum(item["num_trace_points"] for item in row["rounds"])


# --- the workers, their clocks, and the HITs they answer -----------------------------------------


class Crowd:
    """The workers, their clocks, and the HITs they answer."""

    def __init__(
        self, rng: np.random.Generator, images: Sequence[LabelledImage], workers: list[Worker]
    ) -> None:
        self.rng = rng
        self.images = images
        self.workers = workers
        self.sizes = np.array([(image.width, image.height) for image in images])
        self.members: dict[str, list[int]] = {}
        for index, image in enumerate(images):
            self.members.setdefault(image.wnid, []).append(index)
        self.by_class = np.concatenate([np.array(group) for group in self.members.values()])
        starts = np.cumsum([0, *map(len, self.members.values())]).tolist()
        self.span = dict(zip(self.members, pairwise(starts), strict=True))
        self.free_at = _EPOCH_MS + 3.6e6 * rng.random(len(workers))
        self.num_hits = 0
        self.employed: set[int] = set()

    def answer(
        self, wnid: str, shown: list[Shown], *, round_number: int, not_before: float
    ) -> None:
        """One HIT: one worker, ten pages; fills in what `shown` had not before."""
        rng = self.rng
        number = int(rng.integers(len(self.workers)))
        self.employed.add(number)
        self.num_hits += 1
        worker = self.workers[number]
        browser = open_browser(rng)
        t = max(self.free_at[number], not_before) + 1000.0 * float(rng.exponential(60.0))
        bounds = np.linspace(0, len(shown), BROWSING_PAGES + 1).round().astype(int).tolist()
        for page_idx, (start, stop) in enumerate(pairwise(bounds)):
            members = shown[start:stop]
            sizes = self._fill_page(wnid, members)
            t += 700.0 + 1000.0 * float(rng.exponential())  # the page loads
            if len(sizes):
                t = browse(
                    rng, worker, members, sizes, browser, round_number=round_number, t_start=t
                )
            for item in members:
                item.page_idx = page_idx
        self.free_at[number] = t
        hit = Hit(
            assignment_id=_amt_id(rng),
            hit_id=_amt_id(rng),
            imagenet_hit_id=rng.bytes(16).hex(),
            submit_time=math.ceil(t / 1000),
            worker=worker,
        )
        for item in shown:
            item.hit = hit
            item.is_loaded = not (item.overlooked and rng.random() < 0.1)

    def _fill_page(self, wnid: str, members: list[Shown]) -> np.ndarray:
        """Give the members random slots among other classes' images; (S, 2) natural sizes."""
        start, stop = self.span[wnid]
        num_others = len(self.images) - (stop - start)
        num_fillers = min(SLOTS - len(members), num_others)
        others = self.rng.choice(num_others, size=num_fillers, replace=False, shuffle=False)
        others = self.by_class[np.where(others < start, others, others + (stop - start))]
        slots = self.rng.permutation(len(members) + num_fillers)
        sizes = np.empty((len(slots), 2), dtype=np.int64)
        sizes[slots[len(members) :]] = self.sizes[others]
        for item, slot in zip(members, slots.tolist(), strict=False):
            item.slot = slot
            sizes[slot] = item.image.width, item.image.height
        return sizes


def _amt_id(rng: np.random.Generator) -> str:
    """30 characters, as MTurk's assignment and HIT ids."""
    return "3" + "".join(_ALPHABET[rng.integers(len(_ALPHABET), size=29)].tolist())


def annotate_class(
    crowd: Crowd, wnid: str, unshown: set[int], overlooked: set[int]
) -> dict[int, list[Shown]]:
    """Both rounds of a class: image index -> its rounds in order of time."""
    history: dict[int, list[Shown]] = {index: [] for index in crowd.members[wnid]}
    todo = [index for index in crowd.members[wnid] if index not in unshown]
    not_before = 0.0
    for round_number in (1, 2):
        order = crowd.rng.permutation(todo).tolist()
        per_hit = BROWSING_PAGES * MEMBERS_PER_PAGE
        for start in range(0, len(order), per_hit):
            indices = order[start : start + per_hit]
            shown = [
                Shown(
                    image=crowd.images[index],
                    overlooked=index in overlooked,
                    must_hover=any(not item.picture.has_interaction for item in history[index]),
                )
                for index in indices
            ]
            crowd.answer(wnid, shown, round_number=round_number, not_before=not_before)
            for index, item in zip(indices, shown, strict=True):
                history[index].append(item)
        done = [rounds[-1] for rounds in history.values() if rounds]
        not_before = max((1000.0 * item.hit.submit_time for item in done), default=0.0)
        todo = [index for index in todo if not history[index][-1].picture.selected]
    return history
