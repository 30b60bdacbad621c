"""What lies in a folder of images, without opening any: names alone.     [I/O]"""

from __future__ import annotations

import os
from pathlib import Path

from luab_data.errors import ImagesError

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"})
"""Of image files, lower case."""


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; hidden ones are ignored."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def image_names(folder: Path) -> list[str]:
    """Names of the images in a folder, sorted; hidden and other files are ignored.

    Raises: ImagesError at a name that is no text, before anything is computed of it.
    """
    names = sorted(
        name
        for name in file_names(folder)
        if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")
    )
    for name in names:
        if not name.isascii() and name.encode(errors="replace").decode() != name:
            raise ImagesError(
                f"{folder}: the file name {os.fsencode(name)!r} is not UTF-8, and no table can hold"
                " it; rename the file, e.g. with convmv"
            )
    return names


def file_names(folder: Path) -> list[str]:
    """Names of the files in a folder."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_file()]
