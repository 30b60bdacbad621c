"""The workers of the ImageNet task, their clocks, and the HITs they answer.

As in the real task, a HIT is 10 pages of 48 pictures of which 12 are the class asked for; round 1
shows every image, round 2 those nobody selected. The other 36 slots of a page are images of other
classes of the list, as far as it has any: they shape layout and timing and are logged nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from luab_data.boxes import LabelledImage
from luab_data.simulate.browse import Shown, browse
from luab_data.simulate.habits import Worker
from luab_data.simulate.hand import open_browser
from luab_data.simulate.imagenet_xml import Block, Hit
from luab_data.tools import BROWSING_PAGES, SLOTS

MEMBERS_PER_PAGE = 12  # 120 of the 480 pictures of a HIT: docs/definitions.md#acceptance
_EPOCH_MS = 1_640_905_000_000  # the release's HITs are of the days around 2021-12-31
_ALPHABET = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """One showing of an image: what is logged, and what only the simulation knows."""

    block: Block
    worker: Worker
    target_box: int | None


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
    ) -> Iterator[Round]:
        """One HIT: one worker, ten pages; yields the rounds of `shown` in that order."""
        rng = self.rng
        number = int(rng.integers(len(self.workers)))
        self.employed.add(number)
        self.num_hits += 1
        worker = self.workers[number]
        browser = open_browser(rng)
        t = max(self.free_at[number], not_before) + 1000.0 * float(rng.exponential(60.0))
        rounds: list[tuple[Shown, int]] = []
        bounds = np.linspace(0, len(shown), BROWSING_PAGES + 1).round().astype(int).tolist()
        for page_idx, (start, stop) in enumerate(pairwise(bounds)):
            members = shown[start:stop]
            sizes = self._fill_page(wnid, members)
            t += 700.0 + 1000.0 * float(rng.exponential())  # the page loads
            if len(sizes):
                t = browse(
                    rng, worker, members, sizes, browser, round_number=round_number, t_start=t
                )
            rounds.extend((item, page_idx) for item in members)
        self.free_at[number] = t
        hit = Hit(
            assignment_id=_amt_id(rng),
            hit_id=_amt_id(rng),
            imagenet_hit_id=rng.bytes(16).hex(),
            submit_time=math.ceil(t / 1000),
            worker_id=worker.worker_id,
        )
        for item, page_idx in rounds:
            block = Block(
                hit=hit,
                page_idx=page_idx,
                image_idx=item.slot,
                position=item.position,
                picture=item.picture,
                is_loaded=not (item.overlooked and rng.random() < 0.1),
            )
            yield Round(block=block, worker=worker, target_box=item.target_box)

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
) -> dict[int, list[Round]]:
    """Both rounds of a class: image index -> its rounds in order of time."""
    history: dict[int, list[Round]] = {index: [] for index in crowd.members[wnid]}
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
                    slot=0,
                    overlooked=index in overlooked,
                    must_hover=any(not r.block.picture.has_interaction for r in history[index]),
                )
                for index in indices
            ]
            answers = crowd.answer(wnid, shown, round_number=round_number, not_before=not_before)
            for index, answer in zip(indices, answers, strict=True):
                history[index].append(answer)
        done = [rounds[-1] for rounds in history.values() if rounds]
        not_before = max((1000.0 * item.block.hit.submit_time for item in done), default=0.0)
        todo = [index for index in todo if not history[index][-1].block.picture.selected]
    return history
