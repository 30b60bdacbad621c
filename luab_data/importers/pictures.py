"""[I/O] The pictures that a record of attention names: their ids, and sizes where it has none.

One rule for ids, so that sources on the same pictures join: a picture of COCO has its number,
without leading zeros (`000000400966.jpg` is `400966`, as in COCO-AB), and only COCO's have bare
numbers; any other picture is called as its file, without the extension.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from luab_data.boxes import IMAGE_SUFFIXES, read_frame
from luab_data.errors import ImagesError, OptionError
from luab_data.importers.files import image_name, image_path
from luab_data.raw.instances import read_instances
from luab_data.truth import coco_id

SIZE_OPTIONS = {
    "images": "folder with the pictures, for their sizes",
    "instances": "COCO's instances_*.json of the pictures, for their sizes; several by commas",
}
"""Of importers whose records do not say how large a picture is."""


def picture_id(file: str, collection: str = "") -> str:
    """The id of a picture, by its file.

    Args:
        collection: what names that are bare numbers begin with, if they are not COCO's; empty for
            somebody's own pictures, which keep their names.
    """
    number = coco_id(file)
    if number is not None:
        return str(number)
    name = image_name(file)
    return f"{collection}_{name}" if collection and name.isdecimal() else name


class PictureIds:
    """Ids of pictures as they go by, equal for one file alone.

    A file that has the name of another one, from another folder, is called by its path.
    """

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}

    def __call__(self, file: str) -> str:
        """The id of a picture."""
        name, path = picture_id(file), image_path(file)
        is_of_coco = coco_id(file) is not None  # whichever copy of it
        return name if is_of_coco or self._paths.setdefault(name, path) == path else path


class Sizes:
    """Width and height of pictures as they are shown, by the name of their file.

    Args:
        options: of an importer, SIZE_OPTIONS among them.
        why: what the sizes are needed for, for the refusal.

    Raises:
        OptionError: there are neither pictures nor instances.
        ImagesError: no folder, or no COCO instances.
    """

    def __init__(self, options: Mapping[str, str], why: str) -> None:
        if not options.keys() & SIZE_OPTIONS.keys():
            raise OptionError(
                f"the sizes of the pictures are needed: {why}. Give the folder of the pictures"
                " (--images FOLDER) or COCO's own file (--instances FILE)"
            )
        self._of_id: dict[int, tuple[int, int]] = {}
        for file in filter(None, options.get("instances", "").split(",")):
            found = read_instances(Path(file), outlines=False, vocabulary=None)
            self._of_id.update({n: (image.width, image.height) for n, image in found.items()})
        self._files = _picture_files(Path(options["images"])) if "images" in options else {}
        self._of_file: dict[str, tuple[int, int]] = {}

    def __call__(self, file: str) -> tuple[int, int] | None:
        """(width, height) in px; None if the picture is not among those given.

        Raises:
            ImagesError: it is, but cannot be read.
        """
        number = coco_id(file)
        if number is not None and number in self._of_id:
            return self._of_id[number]
        name = image_name(file)
        if name in self._files and name not in self._of_file:
            self._of_file[name] = size_of(self._files[name])
        return self._of_file.get(name)


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of a picture file in px, turned as EXIF says."""
    frame = read_frame(path)
    turned = frame.orientation >= 5
    return (frame.height, frame.width) if turned else (frame.width, frame.height)


def _picture_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ImagesError(f"{folder}: not a folder; expected one with the pictures")
    found: dict[str, Path] = {}
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(tuple(IMAGE_SUFFIXES)) and not name.startswith("."):
                found.setdefault(image_name(name), Path(root, name))
    return found
