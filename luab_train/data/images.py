"""Folders of images `<wnid>/<image_id>.<ext>`: what is in them, whose rows they are.     [I/O]"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from luab_data.errors import ImagesError
from luab_train.data.annotations import Annotations
from luab_train.data.boxes import Boxes

_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"})


class ImageTree(NamedTuple):
    """Images found in a folder `<wnid>/<image_id>.<ext>`, sorted by (wnid, image id)."""

    root: Path
    wnid: np.ndarray
    """(N,) text."""
    image_id: np.ndarray
    """(N,) text, the file's name without its extension."""
    suffix: np.ndarray
    """(N,) text, with the dot."""

    def path(self, index: int) -> Path:
        """File of one image."""
        name = f"{self.image_id[index]}{self.suffix[index]}"
        return self.root / str(self.wnid[index]) / name


def scan_images(root: Path) -> ImageTree:
    """List a folder tree of images; other files, hidden files and deeper folders are ignored."""
    if not root.is_dir():
        raise ImagesError(
            f"{root}: not a folder; expected one with a subfolder of images per class"
        )
    found = [
        (folder.name, file.stem, file.suffix)
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith(".")
        for file in map(Path, _file_names(folder))
        if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
    ]
    if not found:
        kinds = ", ".join(sorted(_SUFFIXES))
        raise ImagesError(f"{root}: no image found; expected <wnid>/<image id> with one of {kinds}")
    found.sort()
    for a, b in itertools.pairwise(found):
        if a[:2] == b[:2]:
            raise ImagesError(
                f"{root}: {a[0]}/{a[1]} exists as {a[2]} and {b[2]}; expected one file an image"
            )
    columns = [np.array(column, dtype=str) for column in zip(*found, strict=True)]
    return ImageTree(root, *columns)


def _file_names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_file()]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images with their labels and boxes, ready to be loaded."""

    tree: ImageTree
    tree_index: np.ndarray
    """(N,) int64: which image of the tree each one is."""
    image_id: np.ndarray
    """(N,) text."""
    label: np.ndarray
    """(N,) int64."""
    boxes: Boxes
    """px of the original image."""

    def __len__(self) -> int:
        return len(self.label)

    def load(self, index: int) -> Image.Image:
        """Decode one image to RGB; EXIF orientation is ignored, as usual in ImageNet training."""
        path = self.tree.path(int(self.tree_index[index]))
        try:
            with Image.open(path) as image:
                rgb: Image.Image = image.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImagesError(
                f"{path}: cannot be decoded ({error}); replace or remove it"
            ) from error
        return rgb


class Matched(NamedTuple):
    """Rows of a dataset with their images."""

    rows: np.ndarray
    """(n,) int64: rows that have an image, ascending."""
    tree_index: np.ndarray
    """(n,) int64: their images."""
    num_missing: int
    """Rows without an image."""
    num_unused: int
    """Images without a row."""


def match_images(
    annotations: Annotations, tree: ImageTree, *, missing: str, where: Path
) -> Matched:
    """Find each row's image as `<wnid>/<image_id>.*`.

    Args:
        annotations: rows to find.
        tree: where to look.
        missing: `raise` if any row has no image, or `skip`: leave those rows out.
        where: the dataset folder, for the message.
    """
    wnid = np.array(annotations.classes, dtype=str)[annotations.label]
    wanted = pa.array(_joined(wnid, annotations.image_id))
    index = pc.index_in(wanted, value_set=pa.array(_joined(tree.wnid, tree.image_id)))
    found = pc.is_valid(index).to_numpy(zero_copy_only=False)
    num_missing = int((~found).sum())
    if not found.any() or (num_missing and missing == "raise"):
        examples = ", ".join(wanted.filter(pa.array(~found))[:3].to_pylist())
        advice = (
            "expected <wnid>/<image_id>.<ext>, is it the right folder?"
            if not found.any()
            else "to train on the others: --set data.missing_images=skip"
        )
        raise ImagesError(
            f"{tree.root}: {num_missing} of {len(found)} images of {where} not found, e.g."
            f" {examples}; {advice}"
        )
    rows = np.flatnonzero(found)
    tree_index = index.drop_null().to_numpy().astype(np.int64)
    return Matched(rows, tree_index, num_missing, len(tree.image_id) - len(rows))


def _joined(wnid: np.ndarray, image_id: np.ndarray) -> np.ndarray:
    return np.char.add(np.char.add(wnid, "/"), image_id)


def labelled_split(
    tree: ImageTree, classes: tuple[str, ...], boxes: Mapping[str, np.ndarray]
) -> Split:
    """All images of a tree, labelled by their folders, with the boxes known by their ids."""
    order = {name: i for i, name in enumerate(classes)}
    if unknown := sorted(set(tree.wnid.tolist()) - set(order)):
        raise ImagesError(
            f"{tree.root}: {len(unknown)} folders are not classes of the run, e.g."
            f" {', '.join(unknown[:3])}; expected some of {', '.join(classes[:3])}..."
        )
    return Split(
        tree=tree,
        tree_index=np.arange(len(tree.image_id)),
        image_id=tree.image_id,
        label=np.array([order[name] for name in tree.wnid.tolist()], dtype=np.int64),
        boxes=Boxes.of(boxes.get(name) for name in tree.image_id.tolist()),
    )
