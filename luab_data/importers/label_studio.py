"""Exports of Label Studio, JSON: an annotation of a task a view, its regions icons on the picture.

Seen in HumanSignal/label-studio: docs/source/includes/task_format.md and image_units.md, the pages
of the tags KeyPointLabels and RectangleLabels, editor/src/tags/object/Image/Image.js (014c626) and
regions/KeyPointRegion.jsx. `x`, `y`, `width`, `height` are per cent of the picture. Turning the
picture in the editor sets `image_rotation` and moves no region: coordinates are those of the
picture as it is without that. A rectangle with a `rotation` is turned about its corner x, y, in
pixels. `lead_time` is in seconds, and was up to twice too long where drafts were saved, until
pull request 6406 (2024-09).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import replace

from luab_data.errors import ArchiveError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import OnRead, batched, chosen, files, json_objects, typed
from luab_data.importers.pictures import PictureIds
from luab_data.raw.bad_records import Bad
from luab_data.views import Reading
from luab_data.views.log import Event, Image, Size, View

_CANCELLED = "annotation that was cancelled"
_SHAPES = ("keypoint", "rectangle", "ellipse", "polygon", "brush", "vector")
_LABELS, _CHOICES = "labels", "choices"
_UNCHANGED_S = 1.0

Place = tuple[float | None, float | None]
Percent = Annotated[float, Meta(ge=-100, le=200, description="per cent of the picture")]


class _Value(Struct):
    """Where a region is."""

    x: Percent | None = None
    y: Percent | None = None
    width: Percent | None = None
    height: Percent | None = None
    radiusX: Percent | None = None
    rotation: Annotated[float, Meta(ge=-1e6, le=1e6)] | None = None


class _Result(Struct):
    """A region, a choice, or a relation of two, which has no value."""

    type: str
    value: dict[str, Any] = {}
    id: Any = None
    origin: str | None = None
    original_width: Size | None = None
    original_height: Size | None = None


class _Person(Struct):
    id: int | str | None = None
    email: str | None = None


class _Annotation(Struct):
    result: list[_Result] = []
    completed_by: int | str | _Person | None = None
    lead_time: Annotated[float, Meta(ge=0, le=1e9, description="s")] | None = None
    created_at: str = ""
    updated_at: str = ""


def read(
    paths: Sequence[Path], unknown: Counter[str], on_read: OnRead, /, **options: str
) -> Iterator[Reading]:
    """Annotations that were submitted; cancelled ones are left out and counted."""
    boxes = chosen(options, "boxes", ("centre", "none"), "none")
    ids = PictureIds()
    for path in files(paths, ".json"):
        found = _views(path, ids, unknown, on_read, options.get("image"), boxes == "centre")
        yield from batched(found)


def _views(
    path: Path,
    ids: PictureIds,
    unknown: Counter[str],
    on_read: OnRead,
    field: str | None,
    takes_centres: bool,
) -> Iterator[tuple[str, View] | RecordError]:
    for number, task in enumerate(json_objects(path, on_read), start=1):
        annotations = task.get("annotations", task.get("completions"))
        if not isinstance(annotations, list) or not isinstance(task.get("data"), dict):
            raise ArchiveError(
                f"{path}: object {number} has no `data` and `annotations`; expected Label Studio's"
                " export of the name JSON (JSON-MIN, COCO and the others have less)"
            )
        for place, annotation in enumerate(annotations, start=1):
            name = f"task {task.get('id', number)}, annotation {place}"
            if isinstance(annotation, dict) and annotation.get("was_cancelled"):
                unknown[_CANCELLED] += 1
                continue
            try:
                file = _image_file(task["data"], field)
                image = Image(id=ids(file), file=file)
                yield name, _view(image, typed(annotation, _Annotation), takes_centres, unknown)
            except Bad as bad:
                yield RecordError(name, bad.rule, str(bad))


def _view(
    image: Image, annotation: _Annotation, takes_centres: bool, unknown: Counter[str]
) -> View:
    # A shape and its class can be two results with one id.
    results = annotation.result
    classed = [one.id for one in results if one.type == _LABELS]
    results = [one for one in results if one.type not in _SHAPES or one.id not in classed]
    events = [event for one in results for event in _adds(one, takes_centres, unknown)]
    events.sort(key=_has_place)
    if annotation.lead_time:
        submit = Event(type="submit", t=1000 * annotation.lead_time)
        events = [Event(type="load", t=0), *events, submit]
    width = next((one.original_width for one in results if one.original_width), None)
    height = next((one.original_height for one in results if one.original_height), None)
    return View(
        byproducts=1,
        kind="tagging",
        image=replace(image, width=width, height=height),
        annotator=_who(annotation.completed_by),
        answer=_choices(results),
        epoch=_opened(annotation),
        events=tuple(events),
    )


def _image_file(data: Mapping[str, Any], field: str | None) -> str:
    """The picture of a task: of the field that is given, else `image`, else the only text."""
    texts = [name for name, value in data.items() if isinstance(value, str) and value]
    name = field or ("image" if "image" in texts else texts[0] if len(texts) == 1 else None)
    if name is None or name not in texts:
        raise Bad(
            "no-image",
            f"found {', '.join(map(repr, texts)) or 'no text'} in its data; expected one picture."
            " The option `image` names its field",
        )
    found: str = data[name]
    return found


def _adds(result: _Result, takes_centres: bool, unknown: Counter[str]) -> Iterator[Event]:
    """A region as an `add` of each of its classes; without a place where no hand set a point."""
    is_region = result.type == _LABELS or result.type.removesuffix(_LABELS) in _SHAPES
    if not is_region:
        if result.type != _CHOICES:
            unknown[f"result of type {result.type:.30}"] += 1
        return
    x, y = _place(result, takes_centres)
    classes = _names(result.value.get(result.type) or result.value.get(_LABELS))
    for label in classes:
        yield Event(type="add", label=label, x=x, y=y)
    if not classes:
        unknown["region without a class"] += 1


def _names(found: Any) -> list[str]:
    return typed(found or [], list[str])


def _has_place(event: Event) -> bool:
    """Order of regions: the file has none, and the last place of a class is to be a known one."""
    return event.x is not None


def _place(result: _Result, takes_centres: bool) -> Place:
    """Fractions of the picture; none of a region that a model proposed."""
    value = typed(result.value, _Value)
    if result.origin == "prediction" or value.x is None or value.y is None:
        return None, None
    x, y = value.x / 100, value.y / 100
    if value.height is None or value.width is None:
        is_point = value.radiusX is None
        return (x, y) if is_point or takes_centres else (None, None)
    if not takes_centres:
        return None, None
    width, height = value.width / 100, value.height / 100
    turn = math.radians(value.rotation or 0)
    aspect = (result.original_width or 1) / (result.original_height or 1)
    return (
        x + (width * math.cos(turn) - height / aspect * math.sin(turn)) / 2,
        y + (width * aspect * math.sin(turn) + height * math.cos(turn)) / 2,
    )


def _choices(results: Sequence[_Result]) -> str | None:
    """What was chosen for the picture as a whole; choices of one region are not its answer."""
    chosen = [one.value for one in results if one.type == _CHOICES and "x" not in one.value]
    return "; ".join(name for value in chosen for name in _names(value.get(_CHOICES))) or None


def _who(completed_by: int | str | _Person | None) -> str | None:
    """Id of who annotated; of a person with name and e-mail the id, the e-mail only without one."""
    if isinstance(completed_by, _Person):
        completed_by = completed_by.email if completed_by.id is None else completed_by.id
    return None if completed_by is None else str(completed_by)


def _opened(annotation: _Annotation) -> float | None:
    """When the task was opened, epoch ms: known if the annotation was submitted once."""
    try:
        created, updated = map(_epoch_s, (annotation.created_at, annotation.updated_at))
    except ValueError:
        return None
    if annotation.lead_time is None or updated - created >= _UNCHANGED_S:
        return None
    return 1000 * (created - annotation.lead_time)


def _epoch_s(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


IMPORTER = Importer(
    name="label-studio",
    title="Label Studio",
    kind="tagging",
    files="an export of the name JSON",
    read=read,
    options={
        "image": "field of a task's data with the picture (default: image, or the only text)",
        "boxes": "centre: the centre of a rectangle or an ellipse is where its class is; none"
        " (default): its class is there, nobody says where",
    },
    url="https://labelstud.io/guide/export",
    description="Pictures that were annotated in Label Studio: key points and other regions as"
    " classes that were put on the picture, choices as answers.",
    limits=(
        ("No pointer", "Label Studio logs no movement: a key point is where it was in the end, and"
         " there is no order or time of regions."),
        ("Lead time", "`lead_time` includes breaks, and servers before October 2024 counted up to"
         " twice the time where drafts were saved: an upper bound."),
        ("Time of day", "Known only of annotations that were not changed after they were"
         " submitted."),
        ("Regions", "Rectangles, outlines and brushes have no point that somebody set, nor has"
         " what a model proposed; their classes count without a place."),
    ),
)  # fmt: skip
"""Kind tagging: a region of a class is an icon of that class on the picture."""
