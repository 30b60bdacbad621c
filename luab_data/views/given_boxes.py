"""[I/O] Boxes that were given beside a browsing log, for its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pyarrow as pa

from luab_data.boxes import box_files, read_boxes
from luab_data.errors import ImagesError
from luab_data.store.find import ids_of


class GivenBoxes:
    """Boxes by the names of picture files, as read_boxes reads them.

    Args:
        path: folder or file.

    Attributes:
        files: that they are in.

    Raises:
        ImagesError: there is no such place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise ImagesError(f"{path}: no such file or folder; expected boxes")
        self.files = [*box_files(path)] if path.is_dir() else [path]
        self._used: dict[str, str] = {}  # name of a picture -> class of the image that it is

    @cached_property
    def _boxes(self) -> Mapping[str, np.ndarray]:
        return {normalize("NFC", name): boxes for name, boxes in read_boxes(self.path).items()}

    def of_images(
        self,
        ids: Sequence[str],
        files: Sequence[str | None],
        classes: Sequence[str],
        all_classes: Sequence[str] = (),
    ) -> pa.Array:
        """(num_images,) lists of [xmin, ymin, xmax, ymax], px; empty without boxes.

        A picture that was shown among those of another class has boxes of its own class alone: that
        whose name is a folder of its file.

        Args:
            ids, files, classes: of the images, as the log has them.
            all_classes: of the log.

        Raises:
            ImagesError: boxes may be those of two images, since files name no class.
        """
        names = ids_of(pa.array([f or i for f, i in zip(files, ids, strict=True)]), pa.string())
        found = []
        told = zip(ids, names.to_pylist(), files, classes, strict=True)
        for image_id, name, file, label in told:
            known = next((n for n in (name, image_id) if n in self._boxes), None)
            folders = normalize("NFC", f"/{file or ''}").rpartition("/")[0] + "/"
            own = [one for one in all_classes if f"/{one}/" in folders]
            if own and label not in own:
                known = None
            if known is not None and self._used.setdefault(known, label) != label:
                raise ImagesError(
                    f"{self.path}: the boxes of {known!r} may be of the class"
                    f" {self._used[known]!r} or of {label!r}, which both have such a picture;"
                    " expected boxes of pictures whose names are in one class only, or pictures in"
                    " folders called as their class"
                )
            found.append([] if known is None else self._boxes[known].tolist())
        return pa.array(found, pa.list_(pa.list_(pa.float64())))

    def about(self, source: str) -> dict[str, Any]:
        """What a manifest says of them.

        Raises:
            ImagesError: they are of none of the images.
        """
        if not self._used:
            example = next(iter(self._boxes), "none")
            raise ImagesError(
                f"{self.path}: has boxes of {len(self._boxes)} pictures, e.g. {example}, and none"
                f" of them is in {source}; expected boxes of its images, by the names of files"
            )
        return {"name": self.path.name, "num_images": len(self._used)}
