"""[I/O] Sizes of the pictures that rows of somebody's file name, from the headers in a folder."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath

from luab_data.boxes import read_frame
from luab_data.errors import ImagesError
from luab_data.importers.files import image_name
from luab_data.join.sources import image_files

Size = tuple[int, int]


class PictureSizes:
    """Pictures below a folder, found by what a row calls them.

    A picture is the file of that name whose folders are most like those of the row's path, then
    that in the folder of the row's class.

    Args:
        folder: of image files, at any depth.

    Raises:
        ImagesError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, list[str]] = {}
        for file in image_files(folder):
            self._files.setdefault(_name(file), []).append(file)
        if not self._files:
            raise ImagesError(f"{folder}: no image found; expected the pictures that were shown")
        self._found: dict[tuple[str, str], tuple[Size | None, str]] = {}

    def size(self, image: str, label: str) -> tuple[Size | None, str]:
        """(width, height) in px as a browser shows the picture, and its file; else what is wrong.

        Args:
            image: its name or path, as a row has it.
            label: its class.
        """
        if (image, label) not in self._found:
            self._found[image, label] = self._read(image, label)
        return self._found[image, label]

    def _read(self, image: str, label: str) -> tuple[Size | None, str]:
        candidates = self._files.get(_name(image), [])
        if not candidates:
            return None, f"is not in {self.folder}"
        ranks = [(_likeness(file, image, label), file) for file in candidates]
        best, file = max(ranks)
        if sum(rank == best for rank, _ in ranks) > 1:
            return None, f"may be any of {len(candidates)} files in {self.folder}"
        try:
            frame = read_frame(self.folder / file)
        except ImagesError:
            return None, f"is no readable picture in {self.folder}"
        is_turned = frame.orientation > 4
        size = (frame.height, frame.width) if is_turned else (frame.width, frame.height)
        return size, file


def _name(file: str) -> str:
    return unicodedata.normalize("NFC", image_name(file))


def _likeness(file: str, image: str, label: str) -> tuple[int, bool, bool]:
    """How many names of folders are those of the row's path, its end on; of the class; the name."""
    own = PurePosixPath(unicodedata.normalize("NFC", file)).parts
    asked = PurePosixPath(unicodedata.normalize("NFC", image).replace("\\", "/")).parts
    same = 0
    for mine, theirs in zip(own[-2::-1], asked[-2::-1], strict=False):
        if mine != theirs:
            break
        same += 1
    kind = unicodedata.normalize("NFC", label).replace("\\", "/")
    in_class = "/".join(own[:-1]).endswith(kind) or own[-2:-1] == (kind.replace("/", "_"),)
    return same, in_class, own[-1:] == asked[-1:]
