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
from typing import Any

from luab_data.errors import ArchiveError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import OnRead, batched, chosen, files, image_name, json_objects
from luab_data.raw.bad_records import Bad
from luab_data.views import Reading
from luab_data.views.log import Event, Image, View

_CANCELLED = "annotation that was cancelled"
_SHAPES = ("keypoint", "rectangle", "ellipse", "polygon", "brush", "vector")
_LABELS = "labels"
_UNCHANGED_S = 1.0

Place = tuple[float | None, float | None]


def read(
    paths: Sequence[Path], unknown: Counter[str], on_read: OnRead, /, **options: str
) -> Iterator[Reading]:
    """Annotations that were submitted; cancelled ones are left out and counted."""
    boxes = chosen(options, "boxes", ("centre", "none"), "none")
    for path in files(paths, ".json"):
        yield from batched(_views(path, unknown, on_read, options.get("image"), boxes == "centre"))


def _views(
    path: Path, unknown: Counter[str], on_read: OnRead, field: str | None, takes_centres: bool
) -> Iterator[tuple[str, View] | RecordError]:
    for number, task in enumerate(json_objects(path, on_read), start=1):
        annotations = task.get("annotations", task.get("completions"))
        if not isinstance(annotations, list) or not isinstance(task.get("data"), dict):
            raise ArchiveError(
                f"{path}: object {number} has no `data` and `annotations`; expected Label Studio's"
                " export of the name JSON (JSON-MIN, COCO and the others have less)"
            )
        for annotation in annotations:
            name = f"task {task.get('id', number)}, annotation {annotation.get('id')}"
            if annotation.get("was_cancelled"):
                unknown[_CANCELLED] += 1
                continue
            try:
                yield name, _view(task["data"], annotation, field, takes_centres, unknown)
            except Bad as bad:
                yield RecordError(name, bad.rule, str(bad))


def _view(
    data: Mapping[str, Any],
    annotation: Mapping[str, Any],
    field: str | None,
    takes_centres: bool,
    unknown: Counter[str],
) -> View:
    file = _image_file(data, field)
    results = [one for one in annotation.get("result") or () if isinstance(one, dict)]
    # A shape and its class can be two results with one id.
    classed = {one.get("id") for one in results if one.get("type") == _LABELS}
    results = [r for r in results if r.get("type") not in _SHAPES or r.get("id") not in classed]
    events = [event for one in results for event in _adds(one, takes_centres, unknown)]
    events.sort(key=_has_place)
    lead_time = annotation.get("lead_time")
    if isinstance(lead_time, int | float) and lead_time > 0:
        events = [Event(type="load", t=0), *events, Event(type="submit", t=1000 * lead_time)]
    size = next((one for one in results if one.get("original_width")), {})
    return View(
        byproducts=1,
        kind="tagging",
        image=Image(
            id=image_name(file),
            file=file,
            width=size.get("original_width"),
            height=size.get("original_height"),
        ),
        annotator=_who(annotation.get("completed_by")),
        answer=_choices(results),
        epoch=_opened(annotation, lead_time),
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


def _adds(result: Mapping[str, Any], takes_centres: bool, unknown: Counter[str]) -> Iterator[Event]:
    """A region as an `add` of each of its classes; without a place where no hand set a point."""
    kind, value = str(result.get("type")), result.get("value")
    is_region = kind == _LABELS or kind.removesuffix(_LABELS) in _SHAPES
    if not is_region or not isinstance(value, dict):
        if kind != "choices":
            unknown[f"result of type {kind:.30}"] += 1
        return
    x, y = _place(result, value, takes_centres)
    classes = value.get(kind) or value.get(_LABELS) or []
    for label in classes:
        yield Event(type="add", label=str(label), x=x, y=y)
    if not classes:
        unknown["region without a class"] += 1


def _has_place(event: Event) -> bool:
    """Order of regions: the file has none, and the last place of a class is to be a known one."""
    return event.x is not None


def _place(result: Mapping[str, Any], value: Mapping[str, Any], takes_centres: bool) -> Place:
    """Fractions of the picture; none of a region that a model proposed."""
    if result.get("origin", "manual") == "prediction" or "x" not in value or "y" not in value:
        return None, None
    x, y = _number(value, "x") / 100, _number(value, "y") / 100
    if "height" not in value:
        is_point = "radiusX" not in value
        return (x, y) if is_point or takes_centres else (None, None)
    if not takes_centres:
        return None, None
    width, height = _number(value, "width") / 100, _number(value, "height") / 100
    turn = math.radians(value.get("rotation") or 0)
    aspect = result.get("original_width", 1) / (result.get("original_height") or 1)
    return (
        x + (width * math.cos(turn) - height / aspect * math.sin(turn)) / 2,
        y + (width * aspect * math.sin(turn) + height * math.cos(turn)) / 2,
    )


def _number(value: Mapping[str, Any], name: str) -> float:
    found = value[name] if name in value else None
    if not isinstance(found, int | float) or not -100 <= found <= 200:
        raise Bad(
            "no-percent",
            f"{name!r} of a region is no number of per cent; expected 0 to 100: Label Studio gives"
            " per cent of the picture, whatever its size",
        )
    return float(found)


def _choices(results: Sequence[Mapping[str, Any]]) -> str | None:
    """What was chosen for the picture as a whole; choices of one region are not its answer."""
    found = [
        str(choice)
        for one in results
        if one.get("type") == "choices" and isinstance(value := one.get("value"), dict)
        if "x" not in value
        for choice in value.get("choices") or ()
    ]
    return "; ".join(found) or None


def _who(completed_by: Any) -> str | None:
    """Id of who annotated; of an object with name and e-mail the id alone."""
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("id", completed_by.get("email"))
    return None if completed_by is None else str(completed_by)


def _opened(annotation: Mapping[str, Any], lead_time: Any) -> float | None:
    """When the task was opened, epoch ms: known if the annotation was submitted once."""
    try:
        created, updated = (
            _epoch_s(str(annotation[name])) for name in ("created_at", "updated_at")
        )
        return 1000 * (created - lead_time) if updated - created < _UNCHANGED_S else None
    except (KeyError, TypeError, ValueError):
        return None


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
