"""[I/O] Which images are there: ids from file names and paths, no picture is opened.

An id is the file's name without folder and extension. Two habits are undone: Hugging Face's
imagenet-1k names its images `<image_id>_<wnid>.JPEG`, and COCO 2014 says `COCO_train2014_` before
the number.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.boxes import IMAGE_SUFFIXES
from luab_data.errors import ImagesError

FILES_PER_CHUNK = 65_536

_SUFFIX = rf"(?i)({'|'.join(re.escape(suffix) for suffix in sorted(IMAGE_SUFFIXES))})$"


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images by id; image i has ids[i] and is at places[i].

    Args:
        name: what to call them in a message.
        ids: (num_images,) string (ImageNet) or int64 (COCO); null where a name holds no such id.
        places: (num_images,) string, path below `root`, `/` between; or int64, row of `dataset`.
        root: the folder of image files, absolute; None for a dataset.
        dataset: the Hugging Face dataset the images are in; None for files.
    """

    name: str
    ids: pa.Array
    places: pa.Array
    root: Path | None = None
    dataset: Any = None


def find_images(images: Any, id_type: pa.DataType) -> Images:
    """The images of a folder or of a Hugging Face dataset, with ids as `id_type` has them.

    Args:
        images: a folder of image files at any depth (hidden ones are passed over); a folder that
            `Dataset.save_to_disk` wrote; or a `datasets.Dataset` whose images know their paths.
        id_type: string: ids of ImageNet; int64: COCO's.

    Raises:
        ImagesError: no images, or images without paths; says what was found.
    """
    if isinstance(images, (str, os.PathLike)):
        folder = Path(images)
        saved = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
        if not saved:
            return _files(folder, id_type)
        import datasets  # a second to import, and only needed here

        images = datasets.load_from_disk(os.fspath(folder))
        return _rows(images, f"dataset {folder}", id_type)
    datasets = sys.modules.get("datasets")  # who has one has imported it
    if datasets is not None and isinstance(images, datasets.Dataset):
        return _rows(images, f"dataset of {len(images)} rows", id_type)
    found = type(images).__name__
    advice = {
        "DatasetDict": "; take one of its splits, e.g. images['train']",
        "IterableDataset": "; a stream has no rows to point at, load it without streaming",
    }.get(found, "")
    raise ImagesError(
        f"images: found {found}; expected an image folder or a datasets.Dataset{advice}"
    )


def imagenet_ids(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """String, (num_paths,): `x/n01440764_10026.JPEG`, `n01440764_10026_n01440764.JPEG` -> id;
    `ILSVRC2012_val_00000001_n01751748.JPEG` -> ILSVRC2012_val_00000001.

    Never null but where the path is: any other name is its own id, without folder and extension.
    """
    stems = _stems(paths)
    return pc.replace_substring_regex(stems, r"^((?:n\d{8}|ILSVRC2012_[a-z]+)_\d+)_n\d{8}$", r"\1")


def coco_ids(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """int64, (num_paths,): `000000000009.jpg`, `COCO_train2014_000000000009.jpg` -> 9.

    Null where the name is another one.
    """
    pattern = r"^(?:COCO_[a-z]+\d{4}_)?(?P<id>\d{1,18})$"
    return pc.struct_field(pc.extract_regex(_stems(paths), pattern), "id").cast(pa.int64())


def _stems(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    # Paths inside Hugging Face datasets may come from Windows.
    names = pc.replace_substring_regex(paths, r"^(?s).*[/\\]", "")
    names = pc.utf8_normalize(names, "NFC")  # macOS writes ä as two characters, logs as one
    return pc.replace_substring_regex(names, _SUFFIX, "")


def ids_of(paths: pa.Array | pa.ChunkedArray, id_type: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """The ids that file names hold, as `id_type` has them: see imagenet_ids and coco_ids."""
    return coco_ids(paths) if pa.types.is_integer(id_type) else imagenet_ids(paths)


# --- files ---------------------------------------------------------------------------------------


def _files(folder: Path, id_type: pa.DataType) -> Images:
    if not folder.is_dir():
        raise ImagesError(f"{folder}: not a folder; expected one with images, at any depth")
    paths = pa.chunked_array(_path_chunks(folder), pa.string()).combine_chunks()
    if not len(paths):
        raise ImagesError(f"{folder}: no image found{_hint(folder)}")
    root = Path(os.path.abspath(folder))
    if not _is_unicode(str(root)):
        raise ImagesError(f"{root}: Arrow cannot hold this path; rename the folder in UTF-8")
    return Images(name=str(folder), ids=ids_of(paths, id_type), places=paths, root=root)


def _path_chunks(folder: Path) -> Iterator[pa.Array]:
    """Paths below the folder as Arrow arrays, a third of what as many Python strings take."""
    paths = image_files(folder)
    while chunk := list(islice(paths, FILES_PER_CHUNK)):
        yield pa.array(chunk, pa.string())


def image_files(folder: Path) -> Iterator[str]:
    """Paths of image files below a folder, `/` between, in the order of the file system.

    Linked files and folders are followed, a folder is entered once however it is reached, and
    hidden names are passed over, as are names that are not Unicode.
    """
    waiting, entered = [""], set[tuple[int, int]]()
    while waiting:
        inside = waiting.pop()
        try:
            status = os.stat(folder / inside)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder / inside) as entries:
                for entry in entries:
                    name = entry.name
                    if name[0] == ".":
                        continue
                    if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                        if entry.is_file() and _is_unicode(name):
                            yield f"{inside}{name}"
                    elif entry.is_dir() and _is_unicode(name):
                        waiting.append(f"{inside}{name}/")
        except OSError as error:
            raise ImagesError(f"{folder / inside}: cannot be read ({error.strerror})") from error


def _is_unicode(name: str) -> bool:
    """Whether Arrow can hold the name; Linux allows others, no image of ours has one."""
    return name.isascii() or name.encode(errors="replace").decode() == name


def _hint(folder: Path) -> str:
    kinds = f"; expected files with one of {', '.join(sorted(IMAGE_SUFFIXES))}"
    if (folder / "dataset_dict.json").is_file():
        return ", but a saved DatasetDict: name the folder of one split, e.g. its train/"
    if any(folder.glob("*.parquet")) or any(folder.glob("data/*.parquet")):
        return ", but Parquet: open it with datasets.load_dataset and give the Dataset"
    if any(folder.glob("*.tar")) or any(folder.glob("*.zip")):
        return f", but archives: unpack them{kinds}"
    return kinds


# --- rows of a Hugging Face dataset --------------------------------------------------------------


def _rows(dataset: Any, name: str, id_type: pa.DataType) -> Images:
    column = image_column(dataset, name)
    ids = _ids_of_rows(dataset, name, column, id_type)
    return Images(
        name=name,
        ids=ids.combine_chunks(),
        places=pa.array(np.arange(len(dataset))),
        dataset=dataset,
    )


def image_column(dataset: Any, name: str) -> str:
    """The column that holds the images: `image`, else the only one of that feature."""
    import datasets

    found = [key for key, kind in dataset.features.items() if isinstance(kind, datasets.Image)]
    if "image" in found:
        return "image"
    if len(found) != 1:
        raise ImagesError(
            f"{name}: has the columns {', '.join(dataset.features)}, {len(found)} of them images;"
            " expected one, or one called image"
        )
    return str(found[0])


def _ids_of_rows(dataset: Any, name: str, column: str, id_type: pa.DataType) -> pa.ChunkedArray:
    # Of a memory-mapped file this reads the paths alone, not the pictures stored beside them.
    paths = in_order(dataset, pc.struct_field(dataset.data.table[column], "path"))
    if paths.null_count < len(paths):
        return ids_of(paths, id_type)
    if "image_id" in dataset.features:
        # COCO on the Hub: pictures without a name, their number beside them.
        try:
            return in_order(dataset, dataset.data.table["image_id"]).cast(id_type)
        except pa.ArrowException as error:
            raise ImagesError(f"{name}: image_id is not of type {id_type} ({error})") from error
    raise ImagesError(
        f"{name}: no image knows its path ({column}.path is null in all {len(paths)} rows), and no"
        " column image_id says which is which; expected paths like"
        " n01440764_10026_n01440764.JPEG. Join with the image files instead"
    )


def in_order(dataset: Any, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A stored column in the order of the dataset's rows, which select or shuffle may have changed.

    Only `_indices` tells them: the public ways copy the pictures too.
    """
    return values if dataset._indices is None else values.take(dataset._indices.column(0))
