"""Where images are: a folder of whatever layout, opened as one kind of thing.     [I/O]

    ImageFiles   <class>/<image_id>.<ext>, a folder a class (ImageNet; cat/tabby where cat has no
                 image of its own), or <image_id>.<ext> in one folder (COCO, with or without
                 COCO_train2014_; ImageNet under Hugging Face's names)
    TarShards    *.tar, WebDataset shards
    ArrowImages  dataset_info.json or *.parquet, a Hugging Face dataset with a column `image`

A source lists names and never opens an image before it is asked for. All kinds can be sent to
loader processes, and give the same images in the same order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import ImagesError
from luab_data.store.find import coco_ids, imagenet_ids
from luab_train.data.folders import SUFFIXES, file_names, image_names, subfolders
from luab_train.data.inputs import Picture, decode
from luab_train.sections import Backend


class Named(Protocol):
    """`N` images by name."""

    @property
    def root(self) -> Path:
        """The folder."""

    @property
    def wnid(self) -> np.ndarray:
        """(N,) text, class of each image: its name, in NFC, or `#3` where a column `label` or a
        member `.cls` tells its number alone; empty where nothing tells. Of files in a folder, its
        path below `root`.
        """

    @property
    def image_id(self) -> np.ndarray:
        """(N,) text, unique within its wnid; COCO's without leading zeros."""


class ImageSource(Named, Protocol):
    """`N` images, sorted by (wnid, number, image id)."""

    def load(self, index: int, *, upright: bool = False, backend: Backend = "pillow") -> Picture:
        """Decode one image to RGB, turned as EXIF says if asked. ImagesError names a bad one."""

    def name(self, index: int) -> str:
        """Where one image is, for messages."""


class ImageFiles(NamedTuple):
    """Image files of one folder, or of its class folders."""

    root: Path
    wnid: np.ndarray
    image_id: np.ndarray
    file: np.ndarray
    """(N,) text, path below `root`."""

    def path(self, index: int) -> Path:
        """File of one image."""
        return self.root / str(self.file[index])

    def load(self, index: int, *, upright: bool = False, backend: Backend = "pillow") -> Picture:
        """Decode one image to RGB."""
        return decode(self.path(index), self.name(index), upright=upright, backend=backend)

    def name(self, index: int) -> str:
        """Path of one image."""
        return str(self.path(index))


def open_images(root: Path) -> ImageSource:
    """The images of a folder, whose layout is known by what it holds.

    Raises: ImagesError if it is none of the three; says what was expected.
    """
    from luab_train.data.arrow import open_parquet, open_saved
    from luab_train.data.tars import scan_shards

    if not root.is_dir():
        raise ImagesError(f"{root}: not a folder; expected one with images: {_LAYOUTS}")
    if (root / "dataset_dict.json").is_file():
        raise ImagesError(
            f"{root}: a saved DatasetDict; expected the folder of one split, e.g. its train/"
        )
    if (root / "state.json").is_file() and (root / "dataset_info.json").is_file():
        return open_saved(root)
    names = sorted(file_names(root))
    if shards := [name for name in names if name.endswith(".tar")]:
        return scan_shards(root, shards)
    # metadata.parquet lies beside the images of an imagefolder
    if in_folders := [path for f in subfolders(root) for path in _images_below(root, f, set())]:
        paths = pa.array(in_folders, pa.string())
        folder = pc.struct_field(pc.extract_regex(paths, r"^(?P<folder>(?s).*)/"), "folder")
        folder = pc.utf8_normalize(folder, "NFC")
        return _files(root, sorted_names(folder, image_ids(paths), root, paths=paths), in_folders)
    if images := image_names(root):
        return _files(root, name_images(pa.array(images), root), images)
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


def _files(root: Path, names: Names, paths: Sequence[str]) -> ImageFiles:
    return ImageFiles(root, names.wnid, names.image_id, np.array(paths, dtype=str)[names.order])


def _images_below(root: Path, folder: str, entered: set[str]) -> Iterator[str]:
    """Paths below `root` of the images in a folder of it, or if it has none, of those below."""
    names = image_names(root / folder)
    yield from (f"{folder}/{name}" for name in names)
    if not names and (place := os.path.realpath(root / folder)) not in entered:
        for inside in subfolders(root / folder):
            yield from _images_below(root, f"{folder}/{inside}", {*entered, place})


# --- names become ids ----------------------------------------------------------------------------

_WNID = (
    r"^(?:(?s).*/)?(?:(?P<folder>n\d{8})/[^/]*|(?P<first>n\d{8})_\d+[^/]*"
    r"|ILSVRC2012_[a-z]+_\d+_(?P<last>n\d{8})\.[^./]+)$"
)


class Names(NamedTuple):
    """Images in the order of a source: by class, then by number, then by id."""

    order: np.ndarray
    """(N,) int64: which of the given paths each one is."""
    wnid: np.ndarray
    """(N,) text; empty where the path tells none."""
    image_id: np.ndarray
    """(N,) text, unique within its wnid."""


def name_images(paths: pa.Array, root: Path, *, told: Sequence[str] | None = None) -> Names:
    """Ids from paths with `/` between, in a folder, an archive or a column of a dataset.

    `n01440764/a.jpg` is image a of that class, `n01440764_10026.JPEG` and Hugging Face's
    `n01440764_10026_n01440764.JPEG` are n01440764_10026 of n01440764,
    `ILSVRC2012_val_00000001_n01751748.JPEG` is ILSVRC2012_val_00000001 of n01751748,
    `000000000009.jpg` and `COCO_train2014_000000000009.jpg` are 9 without class; any other name is
    its own id.

    Args:
        paths: (N,) string.
        root: where they are, for the error.
        told: (N,) class of each image where its name tells none; empty where nothing tells.
    Raises: ImagesError if two paths are the same image.
    """
    found = pc.extract_regex(paths, _WNID)
    parts = [pc.struct_field(found, name) for name in ("folder", "first", "last")]
    wnid = pc.fill_null(pc.coalesce(*(pc.if_else(pc.equal(p, ""), None, p) for p in parts)), "")
    number = coco_ids(_plain(paths))
    number = pc.if_else(pc.equal(wnid, ""), number, pa.scalar(None, pa.int64()))
    image_id = pc.coalesce(number.cast(pa.string()), image_ids(paths))
    if told is not None:
        wnid = pc.if_else(pc.equal(wnid, ""), pa.array(told, pa.string()), wnid)
    return sorted_names(wnid, image_id, root, number=number, paths=paths)


def image_ids(paths: pa.Array | Sequence[str]) -> pa.Array:
    """(N,) string: names without folder and extension, in NFC, see `find.imagenet_ids`."""
    return imagenet_ids(_plain(pa.array(paths, pa.string())))


def numbered(names: pa.Array) -> pa.Array:
    """(N,) string: a name that is a number, like COCO's, without leading zeros; others stay."""
    return pc.coalesce(coco_ids(names).cast(pa.string()), names)


def as_folder(classes: np.ndarray) -> np.ndarray:
    """(N,) text: classes as folders may be called, in NFC: `cat/tabby` as one is `cat_tabby`."""
    names = pc.utf8_normalize(pa.array(classes, pa.string()), "NFC")
    return _text(pa.chunked_array([pc.replace_substring(names, "/", "_")]))


def _plain(paths: pa.Array) -> pa.Array:
    """Paths under a suffix that luab_data strips, too."""
    return pc.replace_substring_regex(paths, r"(?i)\.(ppm|tiff?)$", ".png")


def sorted_names(
    wnid: pa.Array,
    image_id: pa.Array,
    root: Path,
    *,
    number: pa.Array | None = None,
    paths: pa.Array | None = None,
) -> Names:
    """Known ids in the order of a source.

    Args:
        wnid, image_id: (N,) string, no nulls.
        root: where the images are, for the error.
        number: (N,) int64, what to sort by before the id; null where there is none.
        paths: (N,) what to show in the error instead of the id.
    Raises: ImagesError if two images have the same wnid and id.
    """
    columns = {"wnid": wnid, "image_id": image_id}
    by = [("wnid", "ascending"), ("image_id", "ascending")]
    if number is not None:
        columns["number"] = number
        by.insert(1, ("number", "ascending"))
    table = pa.table(columns)
    order = pc.sort_indices(table, sort_keys=by)
    ids = table.take(order)
    names = Names(order.to_numpy().astype(np.int64), _text(ids["wnid"]), _text(ids["image_id"]))
    same = (names.wnid[1:] == names.wnid[:-1]) & (names.image_id[1:] == names.image_id[:-1])
    if same.any():
        pair = names.order[np.flatnonzero(same)[0] :][:2]
        shown = (image_id if paths is None else paths).take(pa.array(pair)).to_pylist()
        raise ImagesError(
            f"{root}: {shown[0]} and {shown[1]} are the same image; expected one file an image"
        )
    return names


def _text(column: pa.ChunkedArray) -> np.ndarray:
    values: np.ndarray = column.to_numpy().astype(str)
    return values
