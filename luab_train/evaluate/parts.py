"""The images of a benchmark as a list with labels; one part is one Parquet file.     [I/O]

A part is what a killed evaluation repeats: a whole small benchmark, one corruption at one severity,
one class of foregrounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from luab_data.errors import ImagesError
from luab_train.data.folders import image_names, subfolders
from luab_train.evaluate.classes import IN9_FILE, Accepted, in9_accepted

if TYPE_CHECKING:
    from luab_train.data.inputs import Preparation

View = Literal["plain", "hole-after", "hole-before"]
"""What is done to a prepared batch: nothing, or a hole after or before it is normalised."""
Edit = Callable[[np.ndarray], np.ndarray]
"""What is done to one prepared image, (S, S, 3) uint8; a function of a module, for loaders."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Images to predict.

    Args:
        name: of the file of predictions.
        root: folder that the image ids are relative to.
        image_id: (N,) text, path with its extension.
        label: (N,) text.
        accepted: label -> wnids that are right; only labels with at least one class of the model.
        mask: wnids that the prediction is chosen among; None for all classes of the model.
        prepared: how an image becomes the network's input.
        view: what is done to the input.
        edit: what is done to the image before, None for nothing.
        num_left_out: images whose label no class of the model is right for.
        num_labels: labels of the whole benchmark, with those that are left out.
        num_published: images of the published set, 0 where we do not know.
    """

    name: str
    root: Path
    image_id: np.ndarray
    label: np.ndarray
    accepted: Accepted
    mask: tuple[str, ...] | None = None
    prepared: Preparation = "p0"
    view: View = "plain"
    edit: Edit | None = None
    num_left_out: int = 0
    num_labels: int = 0
    num_published: int = 0

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def digest(self) -> str:
        """sha256 of what decides the predictions, but for the pixels and the weights."""
        told = hashlib.sha256(repr((self.mask, self.prepared, self.view)).encode())
        told.update(b"" if self.edit is None else self.edit.__qualname__.encode())
        told.update(repr(sorted(self.accepted.items())).encode())
        told.update("\n".join(self.image_id.tolist()).encode() + b"\0")
        told.update("\n".join(self.label.tolist()).encode())
        return told.hexdigest()


def folder_part(
    name: str,
    root: Path,
    accepted: Accepted,
    classes: Iterable[str],
    *,
    label_of: dict[str, str] | None = None,
    mask: tuple[str, ...] | None = None,
    prepared: Preparation = "p0",
    view: View = "plain",
    num_published: int = 0,
) -> Part:
    """The images of `<root>/<folder>/*`, sorted by path.

    Args:
        name, mask, prepared, view, num_published: see `Part`.
        root: one subfolder a label.
        accepted: label -> wnids that are right.
        classes: wnids of the model; images it has no right class for are counted and left out.
        label_of: folder -> label; other folders are no part of the benchmark. None: the folder's
            name is the label, and one that is not in `accepted` is an error.
    Raises: ImagesError for a class folder without images, and for a folder of `label_of` that is
        not there but whose class the model has: fewer classes are another benchmark.
    """
    known = set(classes)
    image_id: list[str] = []
    label: list[str] = []
    num_left_out = 0
    labels = set()
    folders = subfolders(root)
    wanted = label_of or {}
    lacking = sorted(f for f in set(wanted).difference(folders) if known & {*accepted[wanted[f]]})
    if lacking:
        raise ImagesError(
            f"{root}: no folder {', '.join(lacking[:3])}, {len(lacking)} of {len(wanted)} classes"
            " of the benchmark are lacking; unpack it again"
        )
    for folder in folders:
        if label_of is not None and folder not in label_of:
            continue
        of_folder = folder if label_of is None else label_of[folder]
        if of_folder not in accepted:
            raise ImagesError(
                f"{root / folder}: no class of the benchmark; expected one of"
                f" {', '.join(sorted(accepted)[:3])}... ({len(accepted)} in all)"
            )
        labels.add(of_folder)
        names = image_names(root / folder)
        if not names:
            raise ImagesError(f"{root / folder}: holds no image; unpack it again")
        if known.isdisjoint(accepted[of_folder]):
            num_left_out += len(names)
            continue
        image_id += [f"{folder}/{name}" for name in names]
        label += [of_folder] * len(names)
    if not labels:
        raise ImagesError(f"{root}: found no class folder; unpack it again")
    present = set(label)
    return Part(
        name=name,
        root=root,
        image_id=np.array(image_id, dtype=str),
        label=np.array(label, dtype=str),
        accepted={key: tuple(value) for key, value in accepted.items() if key in present},
        mask=mask,
        prepared=prepared,
        view=view,
        num_left_out=num_left_out,
        num_labels=len(labels),
        num_published=num_published,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ForegroundPart(Part):
    """Foregrounds of one superclass, and every background.

    `image_id` are the originals, relative to `root`, the folder of the challenge.

    Args:
        mask_id: (F,) text, their masks.
        background_id: (B,) text.
    """

    mask_id: np.ndarray = field(kw_only=True)
    background_id: np.ndarray = field(kw_only=True)

    @property
    def digest(self) -> str:
        """As of a part, and the backgrounds."""
        return f"{super().digest} {hash_names(self.background_id)}"


def hash_names(names: np.ndarray) -> str:
    """sha256 of a list of names."""
    return hashlib.sha256("\n".join(names.tolist()).encode()).hexdigest()


def foreground_parts(root: Path, classes: Iterable[str]) -> list[ForegroundPart]:
    """One part a superclass: `original/val`, `fg_mask/val` and `only_bg_t/val` of the challenge."""
    known = set(classes)
    folders = subfolders(root / "fg_mask/val")
    accepted = in9_accepted(root / IN9_FILE, folders)
    backgrounds = [
        f"only_bg_t/val/{folder}/{name}"
        for folder in subfolders(root / "only_bg_t/val")
        for name in image_names(root / "only_bg_t/val" / folder)
    ]
    if not backgrounds:
        raise ImagesError(f"{root / 'only_bg_t/val'}: no image found; expected backgrounds")
    return [
        _foreground_part(root, folder, accepted, known, np.array(backgrounds), len(folders))
        for folder in folders
    ]


def _foreground_part(
    root: Path,
    folder: str,
    accepted: Accepted,
    known: set[str],
    backgrounds: np.ndarray,
    num_labels: int,
) -> ForegroundPart:
    original = root / "original/val" / folder
    stems = {Path(name).stem: name for name in (image_names(original) if original.is_dir() else [])}
    masks = sorted(path.name for path in (root / "fg_mask/val" / folder).glob("*.npy"))
    if alone := [name for name in masks if Path(name).stem not in stems]:
        raise ImagesError(
            f"{root / 'fg_mask/val' / folder / alone[0]}: no image {Path(alone[0]).stem} in"
            f" {original}; expected one for each of {len(masks)} masks, {len(alone)} have none"
        )
    kept = [] if known.isdisjoint(accepted[folder]) else masks
    return ForegroundPart(
        name=folder,
        root=root,
        image_id=np.array([f"original/val/{folder}/{stems[Path(m).stem]}" for m in kept], str),
        label=np.array([folder] * len(kept), str),
        accepted={folder: accepted[folder]} if kept else {},
        prepared="stored",
        num_left_out=len(masks) - len(kept),
        num_labels=num_labels,
        num_published=450,
        mask_id=np.array([f"fg_mask/val/{folder}/{name}" for name in kept], str),
        background_id=backgrounds,
    )
