"""[I/O] `coco-keypoints`: one JSON file in COCO's format, the clicks or icons as keypoints.

Points and boxes are in pixels of the image files as they are stored: points are turned back where
a file asks to be shown turned (EXIF), boxes are scaled where the file has another size than the
dataset says (resized images). A keypoint is [x, y, v]; v is 2, or 1 (labelled, not visible) where
it lies outside the picture, which happens: a point is never moved; 0 where a box was not pointed
at.

ImageNet-AB: category `label + 1`, named by wnid, keypoint `final_click`; a click in no box is an
annotation without `bbox` and `area`. COCO-AB: one annotation an icon that was there at the end, in
COCO's own categories, keypoint `icon`, no bbox.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from luab_data.boxes import Frame, read_frame
from luab_data.exports.points import Marked
from luab_data.exports.select import Subset
from luab_data.join.joined import IMAGE_PATH

SPOOL_BYTES = 64 * 2**20


def write(subset: Subset, out: Path, advance: Callable[[int], object]) -> None:
    """Write the file.

    Image ids are COCO's own; ImageNet's are 1 + the row of `default`, the same in every subset,
    and stand beside the `image_id` as text.
    """
    points, root = subset.kind.points, subset.matched.images.root or ""
    categories = points.categories(subset.classes.get("label", ()))
    skeleton = {"keypoints": [points.point], "skeleton": []}
    head = {
        "info": _info(subset),
        "licenses": [],
        "categories": [{**category, **skeleton} for category in categories],
    }
    numbers = iter((subset.numbers + 1).tolist())
    # The format wants two lists, one after the other, and both grow with every image.
    with (
        out.open("xb") as file,
        tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(out.parent)) as later,
    ):
        file.write(msgspec.json.encode(head)[:-1])
        images = _List(file, "images")
        annotations = _List(later, "annotations")
        for batch in subset.batches(points.columns):
            for row in batch.to_pylist():
                path = Path(row[IMAGE_PATH.name])
                frame = read_frame(path)
                number, image_id = next(numbers), row["image_id"]
                image = {"id": image_id}
                if isinstance(image_id, str):
                    image = {"id": number, "image_id": image_id}
                name = path.relative_to(root).as_posix()
                size = {"width": frame.width, "height": frame.height}
                images.add({**image, "file_name": name, **size})
                for marked in points.marks(row, frame):
                    own = {"id": annotations.length + 1, "image_id": image["id"]}
                    own["category_id"] = categories[marked.label]["id"]
                    annotations.add({**own, **annotation(marked, frame)})
            advance(len(batch))
        images.end()
        annotations.end()
        later.seek(0)
        shutil.copyfileobj(later, file, 2**20)
        file.write(b"}\n")


class _List:
    """A member of a JSON object that is a list, written one element a line."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self.length = 0
        file.write(b',\n"' + name.encode() + b'": [')

    def add(self, element: dict[str, Any]) -> None:
        self._file.write(b",\n" if self.length else b"\n")
        self._file.write(msgspec.json.encode(element))
        self.length += 1

    def end(self) -> None:
        self._file.write(b"\n]")


def annotation(marked: Marked, frame: Frame) -> dict[str, Any]:
    """Keypoint and box of COCO's format, px of the file as stored."""
    keypoint: list[float] = [0, 0, 0]  # COCO's "not labelled"
    if marked.point is not None:
        x, y = frame.stored(*marked.point)
        inside = 0 <= x <= 1 and 0 <= y <= 1
        keypoint = [x * frame.width, y * frame.height, 2 if inside else 1]
    found: dict[str, Any] = {
        "keypoints": keypoint,
        "num_keypoints": int(marked.point is not None),
        "iscrowd": 0,
    }
    if marked.box is not None:
        x0, y0, x1, y1 = marked.box
        found |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
    return found


def _info(subset: Subset) -> dict[str, Any]:
    return {
        "description": f"{subset.kind.dataset}: points of annotators, exported by luab-data export"
        " --format coco-keypoints; px of the image files, (x, y) from the top left",
        "version": subset.manifest["version"],
        "content_digest": subset.manifest["content_digest"],
    }
