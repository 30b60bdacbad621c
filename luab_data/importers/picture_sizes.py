"""[I/O] Sizes of the pictures that rows of somebody's file name, from the headers in a folder."""

from __future__ import annotations

from pathlib import Path

from luab_data.boxes import read_frame
from luab_data.errors import ImagesError
from luab_data.importers.files import image_name
from luab_data.join.own_files import Files, hints_of
from luab_data.join.sources import image_files

Size = tuple[int, int]


class PictureSizes:
    """Pictures below a folder, found by what a row calls them, else by class and name.

    Args:
        folder: of image files, at any depth.

    Raises:
        ImagesError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places = sorted(image_files(folder))
        if not self._places:
            raise ImagesError(f"{folder}: no image found; expected the pictures that were shown")
        self._files = Files(self._places)
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
        best, _ = self._files.nearest([image, *hints_of(label, image_name(image))])
        if not best:
            return None, f"is not in {self.folder}"
        if len(best) > 1:
            return None, f"may be any of {len(best)} files in {self.folder}"
        file = self._places[best[0]]
        try:
            frame = read_frame(self.folder / file)
        except ImagesError:
            return None, f"is no readable picture in {self.folder}"
        is_turned = frame.orientation > 4
        size = (frame.height, frame.width) if is_turned else (frame.width, frame.height)
        return size, file
