"""One encoded image becomes RGB; names become image ids.     [I/O]

Every layout of images decodes and names alike, so that a run sees the same picture under the same
id wherever it is stored.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from luab_data.errors import ImagesError
from luab_data.join.images import coco_ids, imagenet_ids

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"})
"""Of image files, lower case."""

_WNID = r"^(?:(?s).*/)?(?P<wnid>n\d{8})(?:/[^/]*|_\d+[^/]*)$"


def decode_rgb(encoded: Path | bytes, name: str) -> Image.Image:
    """A file or its content as RGB; EXIF orientation is ignored, as usual in ImageNet training and
    as COCO's boxes expect.

    Args:
        encoded: where it is, or what it is.
        name: what to call it in an error.
    Raises: ImagesError if it cannot be decoded to its end.
    """
    try:
        file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
        with Image.open(file) as image:
            image.load()
            # Pillow would copy an image that is RGB already: a tenth of the time of a photo.
            rgb: Image.Image = image if image.mode == "RGB" else image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # of damaged files, Pillow's decoders raise whatever they trip over
        raise ImagesError(f"{name}: cannot be decoded ({error}); replace or remove it") from error
    return rgb


class Names(NamedTuple):
    """Images in the order of a source: by class, then by number, then by id."""

    order: np.ndarray
    """(N,) int64: which of the given paths each one is."""
    wnid: np.ndarray
    """(N,) text; empty where the path tells none."""
    image_id: np.ndarray
    """(N,) text, unique within its wnid."""


def name_images(paths: pa.Array, root: Path) -> Names:
    """Ids from paths with `/` between, in a folder, an archive or a column of a dataset.

    `n01440764/a.jpg` is image a of that class, `n01440764_10026.JPEG` and Hugging Face's
    `n01440764_10026_n01440764.JPEG` are n01440764_10026 of n01440764, `000000000009.jpg` and
    `COCO_train2014_000000000009.jpg` are 9 without class; any other name is its own id.

    Raises: ImagesError if two paths are the same image; `root` says where.
    """
    wnid = pc.fill_null(pc.struct_field(pc.extract_regex(paths, _WNID), "wnid"), "")
    number = coco_ids(paths)
    number = pc.if_else(pc.equal(wnid, ""), number, pa.scalar(None, pa.int64()))
    image_id = pc.coalesce(number.cast(pa.string()), imagenet_ids(paths))
    return sorted_names(wnid, image_id, root, number=number, paths=paths)


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
