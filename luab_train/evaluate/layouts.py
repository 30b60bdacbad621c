"""Where the datasets lie under one folder, by name and by content, explained when wrong.    [I/O]

People unpack archives at different depths and under different names. `locate` looks three folders
deep for a name that fits, or for a content that no other dataset has, and checks it before any
image is read: a folder that is there but wrong is an error, one that is not there is `missing`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luab_data.errors import ImagesError
from luab_train.data.classes import timm_synsets
from luab_train.data.folders import image_names, subfolders
from luab_train.metrics.robustness import C15, EXTRA, SEVERITIES

WNID = re.compile(r"n\d{8}")
_DEPTH = 3
# A folder with more subfolders than this is a set of classes, not a place to look further in.
_MANY = 100

Check = Callable[[Path], "str | None"]
"""What is wrong with a folder: what was found, what was expected; None if nothing is."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Where a dataset may lie and how it is recognised.

    Args:
        name: for messages.
        place: where we ask for it, relative to the root.
        pattern: of paths relative to the root where it may be, without regard to case.
        required: what must be in its folder.
        check: what must hold of its content.
        telling: whether a folder with all of `required` is this dataset, whatever its name.
        citation, licence, size: as published; sizes on disk are about, `?` where we do not know.
        origin: required file -> where it comes from, if it is not in the archive.
    """

    name: str
    place: str
    pattern: str
    check: Check
    required: tuple[str, ...] = ()
    telling: bool = False
    citation: str
    licence: str
    size: str
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Missing:
    """A dataset that is not there, and where to put it."""

    place: Path
    origin: str = ""

    def __str__(self) -> str:
        return f"missing: put it at {self.place}" + (
            f"; it is {self.origin}" if self.origin else ""
        )


def scan_folders(root: Path) -> list[str]:
    """Relative paths of the folders under `root`, three deep, class folders left out; sorted."""
    if not root.is_dir():
        raise ImagesError(f"{root}: not a folder; expected the one that holds the benchmarks")
    found = ["."]
    level = [""]
    for _ in range(_DEPTH):
        level = [f"{parent}{name}/" for parent in level for name in _to_look_in(root / parent)]
        found += [path.rstrip("/") for path in level]
    return sorted(found)


def _to_look_in(folder: Path) -> list[str]:
    names = subfolders(folder) if os.access(folder, os.R_OK) else []
    names = [name for name in names if not WNID.fullmatch(name) and not name.isdigit()]
    return names if len(names) <= _MANY else []


def locate(dataset: Dataset, root: Path, folders: Sequence[str]) -> Path | Missing:
    """The folder of a dataset.

    Args:
        dataset: what to look for.
        root: under which folder.
        folders: of `scan_folders(root)`.
    Raises: ImagesError if a folder has its name but not its content, or if there are two of it.
    """
    pattern = re.compile(dataset.pattern, re.IGNORECASE)
    named = [path for path in folders if pattern.search(path)]
    candidates = named if named or not dataset.telling else list(folders)
    whole = [root / p for p in candidates if all((root / p / r).exists() for r in dataset.required)]
    problems = {path: dataset.check(path) for path in whole}
    good = [path for path, problem in problems.items() if problem is None]
    if len(good) > 1 and root / dataset.place in good:
        good = [root / dataset.place]
    if len(good) > 1:
        raise ImagesError(
            f"{root}: {dataset.name} is there twice, as {good[0].relative_to(root)} and"
            f" {good[1].relative_to(root)}; keep one, or name a smaller --root"
        )
    if good:
        return good[0]
    if whole and named:
        raise ImagesError(
            f"{whole[0]}: not {dataset.name} as its archive has it: {problems[whole[0]]}"
        )
    if named:
        lacking = next(r for r in dataset.required if not (root / named[0] / r).exists())
        return Missing(root / named[0] / lacking, dataset.origin.get(lacking, ""))
    return Missing(root / dataset.place)


def wnid_folders(folder: Path, known: frozenset[str] | None = None) -> str | None:
    """Check: every subfolder is a wnid, one of `known` if given."""
    names = subfolders(folder)
    expected = "expected one subfolder a class, named by its wnid, e.g. n01443537"
    if not names:
        return f"found {len(image_names(folder))} images and no subfolder; {expected}"
    odd = [name for name in names if not WNID.fullmatch(name)]
    if odd:
        return f"found subfolders {_some(odd)}; {expected}"
    if known is not None and (odd := [name for name in names if name not in known]):
        return (
            f"found classes {_some(odd)} that are not among its {len(known)}; expected only those"
        )
    return None


def wnids_of(file: str) -> Check:
    """A check for folders that are wnids of one of timm's lists."""
    return lambda folder: wnid_folders(folder, frozenset(timm_synsets(file)))


def index_folders(folder: Path) -> str | None:
    """Check of ImageNet-V2: every subfolder is a class index, 0 to 999."""
    names = subfolders(folder)
    expected = "expected one subfolder a class, named 0 to 999 by its index"
    if not names:
        return f"found {len(image_names(folder))} images and no subfolder; {expected}"
    odd = [name for name in names if not name.isdigit() or int(name) > 999]
    return f"found subfolders {_some(odd)}; {expected}" if odd else None


def corruption_folders(folder: Path) -> dict[str, Path]:
    """ImageNet-C: corruption -> its folder, directly or inside `noise`, `blur`, ... of the tars."""
    known = (*C15, *EXTRA)
    groups = [name for name in subfolders(folder) if name not in known]
    places = [folder, *(folder / name for name in groups)]
    return {name: p / name for name in known for p in places if (p / name).is_dir()}


def corruptions(folder: Path) -> str | None:
    """Check of ImageNet-C: some corruption, each with severities 1 to 5 of the same wnids."""
    found = corruption_folders(folder)
    if not found:
        return f"found {_some(subfolders(folder))}; expected corruptions, e.g. fog/1/n01443537"
    wanted = [str(severity) for severity in SEVERITIES]
    cells: dict[str, list[str]] = {}
    for name, place in found.items():
        if lacking := [s for s in wanted if not (place / s).is_dir()]:
            return (
                f"{name} has {_some(subfolders(place))} and lacks {_some(lacking)};"
                " expected severities 1 to 5"
            )
        for severity in wanted:
            if problem := wnid_folders(place / severity):
                return f"{name}/{severity}: {problem}"
            cells[f"{name}/{severity}"] = subfolders(place / severity)
    classes = set().union(*cells.values())
    for cell, names in cells.items():
        if lacking := sorted(classes.difference(names)):
            return f"{cell} lacks {_some(lacking)}; expected the same classes in every cell"
    return None


def anything(_: Path) -> None:
    """A check for datasets whose own reader says what is wrong."""


def class_folders(*inner: str) -> Check:
    """A check that each of some folders has subfolders; `` is the dataset's own."""

    def check(folder: Path) -> str | None:
        for name in inner:
            if not subfolders(folder / name):
                return f"{name or 'it'} has no subfolder; expected one a class, with its images"
        return None

    return check


def superclass_folders(*variants: str) -> Check:
    """A check that each variant of the Backgrounds Challenge has all of `00_dog` to `08_fish`."""

    def check(folder: Path) -> str | None:
        for variant in variants:
            names = subfolders(folder / variant)
            odd = [name for name in names if not re.fullmatch(r"0[0-8]_.+", name)]
            if odd or [int(name[:2]) for name in names] != list(range(9)):
                return (
                    f"{variant} holds {_some(odd or names)}; expected nine superclasses, 00_dog to"
                    " 08_fish"
                )
        return None

    return check


def _some(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else "nothing"
