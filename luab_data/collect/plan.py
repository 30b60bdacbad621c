"""What is shown to whom: pure, by seed.

A task is some pages that one person answers in a session; a page is some slots. Of a browsing page
a part is known to be of the class (pictures from the class's own folder), the others are from
elsewhere; who answers is not told which.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from unicodedata import normalize

from msgspec import Struct

from luab_data.collect.pictures import Picture
from luab_data.collect.study import Study
from luab_data.errors import ImagesError
from luab_data.kinds import OWN_KINDS


class Slot(Struct, frozen=True):
    """A picture on a page; `known` if it is known to be of the class that is asked for."""

    picture: str
    known: bool = False


class Page(Struct, frozen=True):
    """Slots in their order; `label` is the class that is asked for, if one is."""

    slots: tuple[Slot, ...]
    label: str | None = None


class Task(Struct, frozen=True):
    """Pages that one person answers; `round` counts from 1."""

    pages: tuple[Page, ...]
    round: int = 1


def make_tasks(
    study: Study,
    pictures: Mapping[str, Picture],
    *,
    only: Sequence[str] | None = None,
    round: int = 1,
) -> list[Task]:
    """All tasks of a study: every picture of a class is on one page that asks for it.

    Args:
        study: says how many slots and pages, and the mix.
        pictures: by key.
        only: keys of the pictures that are asked about; None is all. A second round has those that
            nobody selected.
        round: of the tasks.

    Raises:
        ImagesError: a class has no pictures of its own.
    """
    kept = {*set_aside(study, pictures).values()}
    pictures = {key: picture for key, picture in pictures.items() if key not in kept}
    rng = random.Random(f"{study.seed}/{round}")
    asked = [*pictures] if only is None else [key for key in pictures if key in {*only}]
    make = _tagging if OWN_KINDS[study.task].several_labels else _browsing
    pages = make(study, pictures, asked, rng)
    count = study.grid.pages
    tasks = [
        Task(tuple(some[k : k + count]), round)
        for some in pages
        for k in range(0, len(some), count)
    ]
    rng.shuffle(tasks)
    return tasks


def set_aside(study: Study, pictures: Mapping[str, Picture]) -> dict[str, str]:
    """Path of each picture that is an example or the icon of a class -> its key.

    Raises:
        ImagesError: there is no such picture.
    """
    keys = {normalize("NFC", picture.path): key for key, picture in pictures.items()}
    paths = [path for label in study.classes for path in (*label.examples, label.icon) if path]
    found = {path: keys.get(normalize("NFC", path)) for path in paths}
    for path, key in found.items():
        if key is None:
            raise ImagesError(
                f"{path}: no picture of the study; expected examples and icons of classes by their"
                f" paths below {study.images}"
            )
    return {path: key for path, key in found.items() if key is not None}


def _browsing(
    study: Study, pictures: Mapping[str, Picture], asked: Sequence[str], rng: random.Random
) -> list[list[Page]]:
    """Pages of each class: pictures of its folder among pictures of others, in turn."""
    slots = study.grid.rows * study.grid.columns
    num_known = max(1, round(slots * study.mix.known / (study.mix.known + study.mix.others)))
    found = []
    for label in study.classes:
        own = {
            key for key, picture in pictures.items() if picture.is_in(label.folder or label.name)
        }
        known = [key for key in asked if key in own]
        others = [key for key in pictures if key not in own]
        if not own:
            raise ImagesError(
                f"class {label.name!r} has no pictures: expected them in a folder of that name"
            )
        rng.shuffle(known)
        pages = []
        for start in range(0, len(known), num_known):
            some = known[start : start + num_known]
            rest = rng.sample(others, min(len(others), slots - num_known))
            mixed = [*(Slot(key, known=True) for key in some), *(Slot(key) for key in rest)]
            rng.shuffle(mixed)
            pages.append(Page(tuple(mixed), label.name))
        found.append(pages)
    return found


def _tagging(
    study: Study, pictures: Mapping[str, Picture], asked: Sequence[str], rng: random.Random
) -> list[list[Page]]:
    """A picture a page."""
    keys = [*asked]
    rng.shuffle(keys)
    return [[Page((Slot(key),)) for key in keys]]


def next_task(taken: Mapping[int, int], mine: Sequence[int], overlap: int) -> int | None:
    """The task for a person: the one that fewest people have, of those that need more.

    Args:
        taken: task -> sessions of it that are finished, or begun and not expired.
        mine: tasks that the person had.
        overlap: people who are to answer each.
    """
    open_tasks = [t for t, count in taken.items() if count < overlap and t not in mine]
    return min(open_tasks, key=lambda task: (taken[task], task), default=None)


def arm_of(study: Study, person: str, taken: Mapping[str | None, int]) -> str | None:
    """Arm of the experiment for a new person: of those that fewest are in, one by the seed.

    Args:
        study: says which arms there are.
        person: the hash.
        taken: arm -> people in it.

    Returns: None where there are no arms.
    """
    if not study.arms:
        return None
    least = min(taken.get(arm, 0) for arm in study.arms)
    fewest = [arm for arm in sorted(study.arms) if taken.get(arm, 0) == least]
    return random.Random(f"{study.seed}/{person}").choice(fewest)
