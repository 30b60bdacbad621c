"""Annotations of CVAT, "CVAT for images 1.1" (XML): an image a view, its points icons on it.

Seen in cvat-ai/cvat: apps/dataset_manager/formats/cvat.py (dump_as_cvat_annotation), and
docs.cvat.ai/docs/other/xml_format. `<image id name width height>` holds shapes and tags; `points`
is `x,y;x,y`, boxes are xtl, ytl, xbr, ybr: pixels with two decimals. Names and e-mails of owner and
assignee stand in `<meta>` and are not read. Who drew what, and when, is not in the file: see
cvat_events.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, iterparse

from luab_data.errors import ArchiveError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import OnRead, batched, chosen, files
from luab_data.importers.pictures import PictureIds
from luab_data.raw.bad_records import Bad
from luab_data.views import Reading
from luab_data.views.log import Asked, Event, Image, View

_BY_HAND = ("manual", None)
_NOT_A_CLASS = ("attribute",)


def read(
    paths: Sequence[Path], unknown: Counter[str], on_read: OnRead, /, **options: str
) -> Iterator[Reading]:
    """Every image of the export, also those without a shape."""
    takes_centres = chosen(options, "boxes", ("centre", "none"), "none") == "centre"
    ids = PictureIds()
    for path in files(paths, ".xml"):
        yield from batched(_views(path, ids, on_read, takes_centres))


def images(path: Path, on_read: OnRead) -> Iterator[tuple[Element, list[str], str]]:
    """The <image> elements of a file, with the labels of its task and the id of the task.

    Raises:
        ArchiveError: no XML, cut, or of CVAT's format for videos.
    """
    labels: list[str] = []
    open_tags: list[str] = []
    root, task, read_before = Element(""), "", 0
    try:
        with path.open("rb") as file:
            for event, element in iterparse(file, ("start", "end")):
                if event == "start":
                    root = root if open_tags else element
                    open_tags.append(element.tag)
                    if root.tag != "annotations":
                        raise ArchiveError(f"{path}: starts with <{root.tag}>; {_EXPECTED}")
                    continue
                open_tags.pop()
                if element.tag == "name" and open_tags[-1:] == ["label"]:
                    labels.append(element.text or "")
                elif element.tag == "id" and open_tags[-1:] in (["task"], ["job"]):
                    task = task or element.text or ""
                elif element.tag == "track":
                    raise ArchiveError(f"{path}: has tracks of a video; {_EXPECTED}")
                elif element.tag == "image":
                    yield element, labels, element.get("task_id", task)
                    root.clear()
                    on_read(file.tell() - read_before)
                    read_before = file.tell()
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be opened ({error.strerror})") from error
    except (ParseError, LookupError) as error:
        raise ArchiveError(f"{path}: not XML, or cut ({error}); {_EXPECTED}") from error


_EXPECTED = "expected an export of CVAT in the format `CVAT for images 1.1`"


def _views(
    path: Path, ids: PictureIds, on_read: OnRead, takes_centres: bool
) -> Iterator[tuple[str, View] | RecordError]:
    for image, labels, _ in images(path, on_read):
        name = f"{path.name}, image {image.get('id')}"
        try:
            yield name, _view(image, ids, labels, takes_centres)
        except Bad as bad:
            yield RecordError(name, bad.rule, str(bad))


def _view(image: Element, ids: PictureIds, labels: Sequence[str], takes_centres: bool) -> View:
    file = image.get("name")
    if not file:
        raise Bad("no-image", "has no name; expected that of its file")
    width, height = (int(_number(image.attrib, side)) for side in ("width", "height"))
    if min(width, height) < 1:
        raise Bad("image-size", f"is {width} x {height} px; expected a size")
    events = [
        Event(type="add", label=shape.get("label"), x=x, y=y)
        for shape in image
        if shape.tag not in _NOT_A_CLASS
        for x, y in _places(shape, width, height, takes_centres)
    ]
    return View(
        byproducts=1,
        kind="tagging",
        image=Image(id=ids(file), file=file, width=width, height=height),
        asked=Asked(classes=tuple(labels) or None),
        # The file has no order; the last place of a class is to be a known one.
        events=tuple(sorted(events, key=lambda event: event.x is not None)),
    )


def _places(
    shape: Element, width: int, height: int, takes_centres: bool
) -> list[tuple[float | None, float | None]]:
    """Where the class of a shape was put, fractions: each of its points; else nowhere known."""
    if shape.get("source") in _BY_HAND and shape.tag == "points":
        try:
            pairs = (pair.split(",") for pair in shape.get("points", "").split(";"))
            return [(float(x) / width, float(y) / height) for x, y in pairs]
        except ValueError:
            raise Bad("points", "has points that are no x,y;x,y; expected numbers of px") from None
    if shape.get("source") in _BY_HAND and shape.tag == "box" and takes_centres:
        left, top, right, bottom = (_number(shape.attrib, c) for c in ("xtl", "ytl", "xbr", "ybr"))
        return [((left + right) / 2 / width, (top + bottom) / 2 / height)]
    return [(None, None)]


def _number(attributes: Mapping[str, str], name: str) -> float:
    try:
        found = float(attributes[name])
    except (KeyError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise Bad("no-number", f"has no number {name!r}; expected px")
    return found


IMPORTER = Importer(
    name="cvat",
    title="CVAT",
    kind="tagging",
    files="annotations.xml of an export in the format `CVAT for images 1.1`, unpacked",
    read=read,
    options={
        "boxes": "centre: the centre of a box is where its class is; none (default): its class is"
        " there, nobody says where",
    },
    url="https://docs.cvat.ai/docs/other/xml_format",
    description="Pictures that were annotated in CVAT: points as classes that were put on the"
    " picture; other shapes and tags as classes without a place.",
    limits=(
        ("No time", "An export has no time, no order and no annotator: a point is where it was in"
         " the end."),
        ("Shapes", "Boxes, outlines and masks have no point that somebody set, nor has what was"
         " drawn by a model (source other than manual); their classes count without a place."),
    ),
)  # fmt: skip
"""Kind tagging: a point of a class is an icon of that class on the picture."""
