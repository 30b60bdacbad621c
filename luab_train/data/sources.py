"""Where images are: a folder of whatever layout, opened as one kind of thing.     [I/O]

    ImageTree    <wnid>/<image_id>.<ext>, a folder a class (ImageNet)
    FlatFolder   <image_id>.<ext>, one folder (COCO, with or without COCO_train2014_)
    TarShards    *.tar, WebDataset shards
    ArrowImages  dataset_info.json or *.parquet, a Hugging Face dataset with a column `image`

A source lists names and never opens an image before it is asked for. All kinds can be sent to
loader processes, and give the same images in the same order.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from PIL import Image

from luab_data.errors import ImagesError
from luab_train.data.arrow_images import open_parquet, open_saved
from luab_train.data.decode import SUFFIXES, decode_rgb, name_images
from luab_train.data.tar_shards import scan_shards


class ImageSource(Protocol):
    """`N` images, sorted by (wnid, number, image id)."""

    @property
    def root(self) -> Path:
        """The folder."""

    @property
    def wnid(self) -> np.ndarray:
        """(N,) text, class of each image; empty where its name tells none."""

    @property
    def image_id(self) -> np.ndarray:
        """(N,) text, unique within its wnid; COCO's without leading zeros."""

    def load(self, index: int) -> Image.Image:
        """Decode one image to RGB; EXIF orientation is ignored. ImagesError names a bad one."""

    def name(self, index: int) -> str:
        """Where one image is, for messages."""


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

    def load(self, index: int) -> Image.Image:
        """Decode one image to RGB."""
        path = self.path(index)
        return decode_rgb(path, str(path))

    def name(self, index: int) -> str:
        """Path of one image."""
        return str(self.path(index))


class FlatFolder(NamedTuple):
    """Images found in one folder, sorted by (wnid, number, image id)."""

    root: Path
    wnid: np.ndarray
    """(N,) text; empty where the name tells none."""
    image_id: np.ndarray
    """(N,) text."""
    file: np.ndarray
    """(N,) text, file names."""

    def load(self, index: int) -> Image.Image:
        """Decode one image to RGB."""
        path = self.root / str(self.file[index])
        return decode_rgb(path, str(path))

    def name(self, index: int) -> str:
        """Path of one image."""
        return str(self.root / str(self.file[index]))


def open_images(root: Path) -> ImageSource:
    """The images of a folder, whose layout is known by what it holds.

    Raises: ImagesError if it is none of the four; says what was expected.
    """
    if not root.is_dir():
        raise ImagesError(f"{root}: not a folder; expected one with images: {_LAYOUTS}")
    if (root / "dataset_dict.json").is_file():
        raise ImagesError(
            f"{root}: a saved DatasetDict; expected the folder of one split, e.g. its train/"
        )
    if (root / "state.json").is_file() and (root / "dataset_info.json").is_file():
        return open_saved(root)
    names = sorted(_file_names(root))
    if shards := [name for name in names if name.endswith(".tar")]:
        return scan_shards(root, shards)
    # metadata.parquet lies beside the images of an imagefolder
    if tree := _scan_tree(root):
        return tree
    if images := [name for name in names if _is_image(name)]:
        order, wnid, image_id = name_images(pa.array(images), root)
        return FlatFolder(root, wnid, image_id, np.array(images, dtype=str)[order])
    if files := sorted([*root.glob("*.parquet"), *root.glob("data/*.parquet")]):
        return open_parquet(root, files)
    packed = [name for name in names if name.endswith((".tar.gz", ".tgz", ".zip"))]
    advice = f". Unpack {packed[0]}" if packed else ""
    raise ImagesError(f"{root}: no image found; expected {_LAYOUTS}{advice}")


_LAYOUTS = (
    "<wnid>/<image_id>.<ext>, <image_id>.<ext> as in COCO, WebDataset shards *.tar, or a Hugging"
    " Face dataset (save_to_disk, or Parquet with a column image); <ext> is one of"
    f" {', '.join(sorted(SUFFIXES))}"
)


def scan_images(root: Path) -> ImageTree:
    """List a folder tree of images; other files, hidden files and deeper folders are ignored."""
    if not root.is_dir():
        raise ImagesError(
            f"{root}: not a folder; expected one with a subfolder of images per class"
        )
    if tree := _scan_tree(root):
        return tree
    kinds = ", ".join(sorted(SUFFIXES))
    raise ImagesError(f"{root}: no image found; expected <wnid>/<image id> with one of {kinds}")


def _scan_tree(root: Path) -> ImageTree | None:
    found = [
        (folder.name, *os.path.splitext(name))
        for folder in root.iterdir()
        if folder.is_dir() and not folder.name.startswith(".")
        for name in _file_names(folder)
        if _is_image(name)
    ]
    if not found:
        return None
    found.sort()
    for a, b in itertools.pairwise(found):
        if a[:2] == b[:2]:
            raise ImagesError(
                f"{root}: {a[0]}/{a[1]} exists as {a[2]} and {b[2]}; expected one file an image"
            )
    columns = [np.array(column, dtype=str) for column in zip(*found, strict=True)]
    return ImageTree(root, *columns)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def _file_names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_file()]
