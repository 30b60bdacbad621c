"""[I/O] Points, boxes and lines of images as other tools draw them: COCO's keypoints, FiftyOne.

A click belongs to the smallest box that holds it, borders included
(docs/definitions.md#points-and-boxes); every other box has no point, and a click in no box has no
box: an image without published boxes gets none that were made up.
Points are fractions of the picture as a browser shows it, turned as its EXIF orientation asks;
boxes are of the picture as stored, and left out where they are of a picture of another shape.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from luab_data.boxes import Frame, read_frame
from luab_data.columns.regions import sort_corners
from luab_data.exports.folders import file_names, place
from luab_data.join import IMAGE_PATH

if TYPE_CHECKING:
    from luab_data.exports import Subset
    from luab_data.kinds import Tagging

SPOOL_BYTES = 64 * 2**20


# --- the kinds -----------------------------------------------------------------------------------

Point = tuple[float, float]
"""(x, y), fractions of the picture, raw values even outside [0, 1]."""


class Marked(NamedTuple):
    """One object that was pointed at, or a box that was not."""

    label: int  # of the dataset
    point: Point | None = None  # of the picture as shown
    box: tuple[float, float, float, float] | None = None  # x0, y0, x1, y1, px as stored


class Line(NamedTuple):
    """A way the pointer or an icon took."""

    label: int
    name: str
    points: tuple[Point, ...]
    closed: bool = False


@dataclass(frozen=True, kw_only=True)
class PointFormat:
    """How one kind of log is drawn.

    Attributes:
        point: what a point is called.
        columns: of `default` that `marks` and `lines` read, with the image's id.
        categories: class names of `label` (or nothing) -> COCO's `categories`, by label.
        marks: a row of `default` and its picture file -> what was marked on the image.
        lines: a row -> its lines.
    """

    point: str
    columns: tuple[str, ...]
    categories: Callable[[Sequence[str]], list[dict[str, Any]]]
    marks: Callable[[Mapping[str, Any], Frame], Iterator[Marked]]
    lines: Callable[[Mapping[str, Any]], Iterator[Line]]


def clicks(row: Mapping[str, Any], frame: Frame) -> Iterator[Marked]:
    """The boxes of an image of ImageNet-AB, and its final click in the smallest that holds it."""
    label = row["label"]
    click = as_point(row["final_click_x"], row["final_click_y"])
    boxes = sort_corners(np.reshape(row["boxes"] or [], (-1, 4)))
    # Boxes are px of the size that the dataset has, which need not be the file's.
    size = (row["width"] or frame.width, row["height"] or frame.height)
    if size != frame[:2]:
        wrong = abs(size[0] * frame.height - size[1] * frame.width)
        turned = abs(size[1] * frame.height - size[0] * frame.width)
        boxes = boxes[:0] if turned < wrong else boxes * (frame[:2] * 2) / (size * 2)
    holder = None
    if click is not None and len(boxes):
        x, y = np.multiply(frame.stored(*click), frame[:2])
        x0, y0, x1, y1 = boxes.T
        holds = (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
        if holds.any():
            holder = int(np.where(holds, (x1 - x0) * (y1 - y0), np.inf).argmin())
    for index, box in enumerate(boxes.tolist()):
        yield Marked(label, click if index == holder else None, tuple(box))
    if click is not None and holder is None:
        yield Marked(label, click)


def approaches(row: Mapping[str, Any]) -> Iterator[Line]:
    """The way to the final click at tenths of its records, and the hull of its last records."""
    for name, closed in (("trace_quantile", False), ("hull", True)):
        points = zip(row[f"{name}_x"] or (), row[f"{name}_y"] or (), strict=True)
        yield Line(row["label"], name, tuple(points), closed)


def icons(row: Mapping[str, Any], frame: Frame) -> Iterator[Marked]:
    """The icons that were on an image at the end."""
    for label, x, y in zip(*(row[name] or () for name in _FINAL), strict=True):
        if (point := as_point(x, y)) is not None:
            yield Marked(label, point)


_FINAL = ("icon_label", "final_x", "final_y")


def moves(row: Mapping[str, Any]) -> Iterator[Line]:
    """From where an icon was last added to where it was left, for icons that were moved."""
    names = (*_FINAL, "last_add_x", "last_add_y")
    for label, x, y, *before in zip(*(row[name] or () for name in names), strict=True):
        start, end = as_point(*before), as_point(x, y)
        if start is not None and end is not None and start != end:
            yield Line(label, "moved", (start, end))


def as_point(x: float | None, y: float | None) -> Point | None:
    """A point; None if it is not known."""
    return None if x is None or y is None else (x, y)


def _asked_classes(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": k + 1, "name": name, "supercategory": ""} for k, name in enumerate(names)]


BROWSING = PointFormat(
    point="final_click",
    columns=(
        *("image_id", "label", "width", "height", "boxes", "final_click_x", "final_click_y"),
        *("trace_quantile_x", "trace_quantile_y", "hull_x", "hull_y"),
    ),
    categories=_asked_classes,
    marks=clicks,
    lines=approaches,
)


def tagging(kind: Tagging) -> PointFormat:
    """Of a tagging log: its vocabulary, in COCO's own numbers if it is COCO's."""
    classes = kind.vocabulary
    categories = [
        {"id": number, "name": name, "supercategory": classes.group_of(name)}
        for number, name in zip(classes.ids, classes.names, strict=True)
    ]
    return PointFormat(
        point="icon",
        columns=("image_id", *_FINAL, "last_add_x", "last_add_y"),
        categories=lambda _: categories,
        marks=icons,
        lines=moves,
    )


# --- coco-keypoints ------------------------------------------------------------------------------


def write_coco(subset: Subset, out: Path, advance: Callable[[int], object]) -> None:
    """Write one JSON file in COCO's format, the clicks or icons as keypoints.

    Points and boxes are in pixels of the image files as they are stored: points are turned back
    where a file asks to be shown turned (EXIF), boxes are scaled where the file has another size
    than the dataset says (resized images). A keypoint is [x, y, v]; v is 2, or 1 (labelled, not
    visible) where it lies outside the picture, which happens: a point is never moved; 0 where a box
    was not pointed at.

    ImageNet-AB: category `label + 1`, named by wnid, keypoint `final_click`; a click in no box is
    an annotation without `bbox` and `area`. COCO-AB: one annotation an icon that was there at the
    end, in COCO's own categories, keypoint `icon`, no bbox; own tagging data likewise, their
    classes numbered from 1. Tracing data: an image and an annotation a view, category `trace`,
    keypoint `last_point`.

    Image ids are COCO's own; ImageNet's are 1 + the row of `default`, the same in every subset,
    and stand beside the `image_id` as text.
    """
    points, root = subset.kind.points, subset.images.root or ""
    categories = points.categories(subset.classes.get("label", ()))
    skeleton = {"keypoints": [points.point], "skeleton": []}
    head = {
        "info": {
            "description": f"{subset.kind.dataset}: points of annotators, exported by luab-data"
            " export --format coco-keypoints; px of the image files, (x, y) from the top left",
            **{name: subset.manifest[name] for name in ("version", "content_digest")},
        },
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
        images = _List(file, b',\n"images": [')
        annotations = _List(later, b',\n"annotations": [')
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
                images.add(msgspec.json.encode({**image, "file_name": name, **size}))
                for marked in points.marks(row, frame):
                    own = {"id": annotations.length + 1, "image_id": image["id"]}
                    own["category_id"] = categories[marked.label]["id"]
                    annotations.add(msgspec.json.encode({**own, **annotation(marked, frame)}))
            advance(len(batch))
        images.end()
        annotations.end()
        later.seek(0)
        shutil.copyfileobj(later, file, 2**20)
        file.write(b"}\n")


class _List:
    """A JSON list that is written one element a line, after `before`, which opens it."""

    def __init__(self, file: IO[bytes], before: bytes) -> None:
        self._file = file
        self.length = 0
        file.write(before)

    def add(self, element: bytes) -> None:
        self._file.write((b",\n" if self.length else b"\n") + element)
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


# --- fiftyone ------------------------------------------------------------------------------------


def write_fiftyone(subset: Subset, out: Path, advance: Callable[[int], object]) -> None:
    """Write points, boxes and ways as labels of a FiftyOne dataset.

        OUT/data/...       the pictures, hard links where the file system allows
        OUT/samples.json   one sample an image: keypoints, detections (boxes), polylines, ids
        OUT/metadata.json  where it came from

        fiftyone.Dataset.from_dir(OUT, dataset_type=fiftyone.types.FiftyOneDataset)

    This is the plain layout of `LegacyFiftyOneDataset`, which every release reads and whose files
    do not depend on one release's database (read with the importers of FiftyOne 1.22.1). All places
    are fractions of the picture as shown. Polylines: ImageNet-AB's way to the final click
    (`trace_quantile`) and `hull`, closed; COCO-AB's icons that were `moved`, from the last add to
    where they were left.
    """
    points = subset.kind.points
    names = [c["name"] for c in points.categories(subset.classes.get("label", ()))]
    wnid = [name for name in ("wnid",) if name in subset.table.schema().names]
    columns = [*points.columns, *wnid, "worker_id"]
    (out / "data").mkdir()
    with (out / "samples.json").open("xb") as file:
        samples = _List(file, b'{"samples": [')
        for batch in subset.batches(columns):
            files = file_names(subset, batch).to_pylist()
            place(out / "data", batch[IMAGE_PATH.name].to_pylist(), files)
            for row, name in zip(batch.to_pylist(), files, strict=True):
                frame = read_frame(Path(row[IMAGE_PATH.name]))
                sample = {
                    "filepath": f"data/{name}",
                    "tags": [],
                    "image_id": str(row["image_id"]),
                    "worker_id": row["worker_id"],
                    **_labels(subset, row, frame, names),
                }
                samples.add(json.dumps(sample).encode())
            advance(len(batch))
        samples.end()
        file.write(b"}\n")
    about = {name: subset.manifest[name] for name in ("version", "content_digest")}
    info = {"dataset": subset.kind.dataset, "written_by": "luab-data export", **about}
    (out / "metadata.json").write_text(json.dumps({"info": info}, indent=1) + "\n", "utf-8")


def _labels(
    subset: Subset, row: Mapping[str, Any], frame: Frame, names: list[str]
) -> dict[str, Any]:
    """FiftyOne's labels of one image, each field under the name of its class."""
    points = subset.kind.points
    marks = [*points.marks(row, frame)]
    found: dict[str, list[dict[str, Any]]] = {
        "keypoints": [
            {"label": names[m.label], "name": points.point, "points": [m.point]}
            for m in marks
            if m.point is not None
        ],
        "detections": [
            {"label": names[m.label], "bounding_box": _relative(m.box, frame)}
            for m in marks
            if m.box is not None
        ],
        "polylines": [
            {
                **{"label": names[line.label], "name": line.name, "points": [line.points]},
                **{"closed": line.closed, "filled": False},
            }
            for line in points.lines(row)
            if len(line.points) > 1
        ],
    }
    return {
        field: {
            "_cls": field.capitalize(),
            field: [{"_cls": field.capitalize().removesuffix("s"), **label} for label in some],
        }
        for field, some in found.items()
    }


def _relative(box: tuple[float, float, float, float], frame: Frame) -> list[float]:
    """[x, y, width, height], fractions of the picture as shown."""
    (xa, ya), (xb, yb) = (
        frame.shown(x / frame.width, y / frame.height) for x, y in (box[:2], box[2:])
    )
    return [min(xa, xb), min(ya, yb), abs(xb - xa), abs(yb - ya)]
