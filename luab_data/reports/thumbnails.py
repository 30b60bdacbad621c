"""[I/O] Pictures of a folder, made small, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import ImagesError
from luab_data.join.images import find_images

LONGEST_SIDE = 340
"""px; the tools show a picture no larger than about this."""
QUALITY = 80


def thumbnails(folder: Path, image_ids: Iterable[str], id_type: pa.DataType) -> dict[str, str]:
    """image_id -> data URI of its picture; ids without a file are left out.

    Args:
        folder: image files at any depth, named by id as find_images has it.
        image_ids: those to show.
        id_type: string (ImageNet) or int64 (COCO).

    Raises:
        ImagesError: no such folder, no image in it, or a file that is no picture.
    """
    wanted = pa.array(sorted(set(image_ids)), pa.string()).cast(id_type)
    images = find_images(folder, id_type)
    if images.root is None:
        raise ImagesError(f"{folder}: a saved dataset; expected a folder of image files")
    kept = pc.is_in(images.ids, value_set=wanted)
    ids, places = (column.filter(kept).to_pylist() for column in (images.ids, images.places))
    first = {
        str(name): place for name, place in sorted(zip(ids, places, strict=True), reverse=True)
    }
    return {name: as_data_uri(small_jpeg(images.root / place)) for name, place in first.items()}


def small_jpeg(path: Path) -> bytes:
    """The picture as JPEG, no side longer than LONGEST_SIDE, turned as a browser turns it."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            picture: Any = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImagesError(
            f"{path}: cannot be read as a picture ({error}); mend or remove the file, or leave out"
            " --images"
        ) from error
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def as_data_uri(data: bytes, kind: str = "image/jpeg") -> str:
    """The bytes as a URI that a page can hold."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
