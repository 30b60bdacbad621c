"""[I/O] SALICON (Jiang et al., CVPR 2015): the mouse as a gaze, over 20,000 pictures of COCO.

Two layouts with other axes, both 1-based; a pixel's centre is its place.

- JSON in COCO's style: `fixations` are [ROW, COLUMN]. Seen in NUS-VIP/salicon-api: salicon.py
  paints `sal_map[y-1][x-1]` for `y, x in fixations`, and in fixations_train2014examples.json rows
  are 1..480 and columns 1..640 of pictures of 640 x 480; neighbours lie a pixel or so apart, so
  these are samples of the pointer.
- MATLAB, a file a picture: `gaze(i).location` is [X, Y], the samples; `gaze(i).timestamp` is ms;
  `gaze(i).fixations` is [X, Y], found in the samples; `resolution` is [height, width]; `image` has
  the name. Seen in pysaliency (external_datasets/salicon.py: columns 0, 1 minus one are x, y; the
  edition of 2017 has samples off the picture), and in two more readers: one paints
  `zeros(resolution)` at (fixations(:, 2), fixations(:, 1)), one divides counts by timestamp / 1000
  for a rate per second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct

from luab_data.errors import ArchiveError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import chosen, files
from luab_data.importers.matlab import elements, read_mat, rows
from luab_data.importers.pictures import picture_id
from luab_data.importers.points import PointViews
from luab_data.ragged import Floats
from luab_data.raw.json_values import JsonStream, Plain, Runs
from luab_data.raw.source import Source
from luab_data.views import Reading

_EVENT = {"mouse": "move", "fixations": "fixation"}
_LEAST_MS = 100
"""Pictures were shown for 5 s: if no last time of a file reaches this, they are seconds."""


_MOST = 2**31 - 1
_Side = Annotated[int, Meta(ge=1, le=_MOST)]


class _Image(Struct, gc=False, forbid_unknown_fields=True):
    id: int
    file_name: str
    width: _Side
    height: _Side
    license: Any = None
    url: Any = None
    date_captured: Any = None


class _Annotation(Struct, gc=False, forbid_unknown_fields=True):
    image_id: int
    worker_id: int | str
    fixations: list[tuple[float, float]]
    id: int | str | None = None


def read(
    paths: Sequence[Path],
    unknown: Counter[str],
    on_read: Callable[[int], object],
    /,
    **options: str,
) -> Iterator[Reading]:
    """The views of SALICON's files, JSON or MATLAB: one picture seen by one worker."""
    what = chosen(options, "points", tuple(_EVENT), "mouse")
    collected = PointViews("mouse")
    for path in files(paths, ".json", ".mat"):
        if path.suffix.lower() == ".mat":
            _add_mat(collected, path, what, on_read)
            if collected.is_full:
                yield collected.take()
            continue
        for name, added in _annotations(path, unknown, on_read):
            _add_annotation(collected, name, what, *added)
            if collected.is_full:
                yield collected.take()
    yield collected.take()


# --- JSON ----------------------------------------------------------------------------------------


def _annotations(
    path: Path, unknown: Counter[str], on_read: Callable[[int], object]
) -> Iterator[tuple[str, tuple[_Annotation, _Image | None]]]:
    """What an error calls each annotation, itself, and its picture."""
    images: dict[int, _Image] = {}
    with Source(path, on_read) as source:
        stream = JsonStream(source)
        if stream.peek() != "{":
            stream.fail("expected SALICON's object with images and annotations", is_damage=False)
        keys: list[str] = []
        for key in stream.members():
            keys.append(key)
            if key == "images":
                images = {image.id: image for image in _typed(stream, path, _Image, unknown)}
            elif key == "annotations" and images:
                for one in _typed(stream, path, _Annotation, unknown):
                    yield f"{path.name}, annotation {one.id}", (one, images.get(one.image_id))
            elif key == "annotations":
                break
            else:
                stream.value()
    if not images or "annotations" not in keys:
        raise ArchiveError(
            f"{path}: holds {keys}; expected images and then annotations, like"
            " fixations_train2014.json"
        )


def _typed(stream: JsonStream, path: Path, type: Any, unknown: Counter[str]) -> Iterator[Any]:
    """The elements of an array; ArchiveError if one is of another type."""
    for some in Runs(stream, type, list).array():
        if not isinstance(some, Plain):
            yield from some
            continue
        what = type.__name__.strip("_").lower()
        try:
            values = dict(some.value)
            for name in values.keys() - set(type.__struct_fields__):
                unknown[f"{what}s.{name}"] += 1
                del values[name]
            yield msgspec.convert(values, type)
        except (TypeError, ValueError) as error:
            raise ArchiveError(
                f"{path}: one of the {what}s is not as SALICON has them ({error}); expected"
                f" {', '.join(type.__struct_fields__)}"
            ) from error


def _add_annotation(
    collected: PointViews, name: str, what: str, one: _Annotation, image: _Image | None
) -> None:
    if image is None:
        collected.errors.append(
            RecordError(name, "unknown-image", f"image_id {one.image_id} is not in images")
        )
        return
    flat = np.fromiter(chain.from_iterable(one.fixations), np.float64)
    row, column = flat[::2], flat[1::2]
    collected.add(
        name,
        _EVENT[what],
        (column - 0.5) / image.width,
        (row - 0.5) / image.height,
        image_id=picture_id(image.file_name, "salicon"),
        image_file=image.file_name,
        width=image.width,
        height=image.height,
        annotator=str(one.worker_id),
    )


# --- MATLAB --------------------------------------------------------------------------------------


def _add_mat(
    collected: PointViews, path: Path, what: str, on_read: Callable[[int], object]
) -> None:
    found = read_mat(path, on_read)
    if missing := [key for key in ("gaze", "resolution") if key not in found]:
        raise ArchiveError(
            f"{path}: has no {' and no '.join(missing)}, but {sorted(found)}; expected a file of"
            " fixations.zip, like COCO_train2014_000000000009.mat"
        )
    height, width = _sides(path, found["resolution"])
    file = f"{found.get('image') or path.stem}"
    longest = 0.0
    for number, gaze in enumerate(elements(found["gaze"]), start=1):
        name = f"{path.name}, gaze {number}"
        try:
            x, y, time_ms = _trace(gaze, what)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            collected.errors.append(RecordError(name, "not-a-gaze", f"{error!r}"))
            continue
        longest = max(longest, float(np.nanmax(time_ms, initial=0)))
        collected.add(
            name,
            _EVENT[what],
            (x - 0.5) / width,
            (y - 0.5) / height,
            time_ms,
            image_id=picture_id(file, "salicon"),
            image_file=file,
            width=width,
            height=height,
            annotator=None,
        )
    if 0 < longest < _LEAST_MS:
        raise ArchiveError(
            f"{path}: its last timestamp is {longest:g}; expected ms of views of some 5,000 ms"
        )


def _sides(path: Path, resolution: Any) -> tuple[int, int]:
    """(height, width) in px."""
    try:
        height, width = (int(side) for side in np.ravel(resolution))
        if min(height, width) > 0 and max(height, width) <= _MOST:
            return height, width
    except (OverflowError, TypeError, ValueError):
        pass
    raise ArchiveError(f"{path}: its resolution is {resolution!r:.60}; expected height and width")


def _trace(gaze: Mapping[str, Any], what: str) -> tuple[Floats, Floats, Floats]:
    """x, y (px, 1-based) and ms of the samples or of the fixations, which have no time."""
    points = rows(gaze["location" if what == "mouse" else "fixations"], 2)
    time_ms = np.full(len(points), np.nan)
    if what == "mouse":
        logged = np.asarray(gaze.get("timestamp", ()), np.float64).ravel()
        if len(logged) == len(points):
            time_ms = logged
    return points[:, 0], points[:, 1], time_ms


IMPORTER = Importer(
    name="salicon",
    title="SALICON",
    kind="tracing",
    files="fixations_*.json, or .mat files of the picture each, or a folder of them",
    read=read,
    options={"points": "mouse (the samples, the default) or fixations (found in them)"},
    citation="""@inproceedings{jiang2015salicon,
  author    = {Ming Jiang and Shengsheng Huang and Juanyong Duan and Qi Zhao},
  title     = {SALICON: Saliency in Context},
  booktitle = {CVPR},
  year      = {2015}
}""",
    url="http://salicon.net/",
    description=(
        "Workers of Mechanical Turk looked around a picture of COCO with the mouse: it was sharp"
        " where the pointer was, blurred elsewhere, for 5 s. 10,000 training and 5,000 validation"
        " pictures of the 2014 release, some 60 workers each."
    ),
    limits=(
        ("Mouse, not eyes", "A pointer stood for the gaze; it is slower than eyes are."),
        ("JSON without time", "The JSON files have the points in order, without times."),
        (
            "MATLAB without workers",
            "In the .mat files workers have no ids; the place in the array is not one.",
        ),
        ("Off the picture", "The edition of 2017 has samples beyond the picture; they are kept."),
        (
            "No licence",
            "The page of downloads states none; pictures are Flickr's, under theirs.",
        ),
    ),
)
