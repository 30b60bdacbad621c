"""Trials of jsPsych with its mouse-tracking extension: JSON or CSV, a trial a view.

Seen in jspsych/jsPsych at 04db97d (extension 1.2.0): index.ts and its history, docs, JSON2CSV.
`x`, `y` are clientX, clientY: px of the window's inside. `t` is whole ms since the trial was
loaded. The rectangle of a target is measured once, when it appears in the document: before its
picture is loaded its height may be 0. Targets are `{}` where the experiment named none, where none
appeared, and in copies of the extension from before its release (0e0d884 to 664e702, October 2021),
which had moves without `event`, and returned a Map, of which JSON makes `{}`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from luab_data.errors import OptionError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import (
    OnRead,
    Px,
    batched,
    cell,
    csv_rows,
    files,
    json_objects,
    typed,
)
from luab_data.importers.pictures import PictureIds
from luab_data.raw.bad_records import Bad
from luab_data.views import EventType, Reading
from luab_data.views.log import Asked, Event, Image, Milliseconds, Shown, View

_TRACK, _TARGETS = "mouse_tracking_data", "mouse_tracking_targets"
_LEFT_OUT = f"trial without {_TRACK}"
_EVENTS: Mapping[str, EventType] = {"mousemove": "move", "mousedown": "down", "mouseup": "up"}


class _Sample(Struct):
    x: Px
    y: Px
    t: Milliseconds
    event: Literal["mousemove", "mousedown", "mouseup"] = "mousemove"  # first it had no name


class _Target(Struct):
    left: Px
    top: Px
    width: Px
    height: Px


class _Tracked(Struct, rename={"samples": _TRACK, "targets": _TARGETS}):
    """What of a trial must have its types; `rt` of some plugins is no number."""

    samples: list[_Sample]
    targets: dict[str, _Target] | None = None
    rt: Any = None


_SRC = re.compile(r"""<img\b[^>]*?\bsrc\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE).search
_TYPED = (_TRACK, _TARGETS, "rt", "trial_index")


def read(
    paths: Sequence[Path], unknown: Counter[str], on_read: OnRead, /, **options: str
) -> Iterator[Reading]:
    """Trials that tracked the mouse; others are left out and counted."""
    ids = PictureIds()
    for path in files(paths, ".json", ".csv", ".txt"):
        yield from batched(_views(path, ids, unknown, on_read, options))


def _views(
    path: Path,
    ids: PictureIds,
    unknown: Counter[str],
    on_read: OnRead,
    options: Mapping[str, str],
) -> Iterator[tuple[str, View] | RecordError]:
    for number, trial in enumerate(_trials(path, on_read)):
        name = f"{path.name}, trial {trial.get('trial_index', number)}"
        if not isinstance(trial.get(_TRACK), list):
            unknown[_LEFT_OUT] += 1
            continue
        try:
            yield name, _view(trial, ids, options)
        except Bad as bad:
            yield RecordError(name, bad.rule, str(bad))


def _trials(path: Path, on_read: OnRead) -> Iterator[dict[str, Any]]:
    if ".csv" not in path.suffixes:
        yield from json_objects(path, on_read)
        return
    for _, row in csv_rows(path, on_read, [_TRACK, _TARGETS]):
        yield {
            name: cell(text) if name in _TYPED or text == "null" else text or None
            for name, text in row.items()
        }


def _view(trial: Mapping[str, Any], ids: PictureIds, options: Mapping[str, str]) -> View:
    tracked = typed(trial, _Tracked)
    box = _rectangle(tracked.targets or {}, options)
    file = _image_file(trial, options.get("image", "stimulus"))
    events = [
        Event(
            type=_EVENTS[sample.event],
            t=sample.t,
            x=(sample.x - box.left) / box.width,
            y=(sample.y - box.top) / box.height,
            pointer="mouse",
        )
        for sample in tracked.samples
    ]
    if isinstance(tracked.rt, int | float):
        events.append(Event(type="submit", t=typed(tracked.rt, Milliseconds)))
    label = trial.get(options.get("label", "correct_response"))
    return View(
        byproducts=1,
        kind="tracing",
        image=Image(id=ids(file), file=file),
        asked=Asked(label=_text(label), prompt=_text(trial.get("prompt"))),
        shown=Shown(x=box.left, y=box.top, width=box.width, height=box.height),
        annotator=_text(trial.get(options.get("annotator", "subject"))),
        answer=_text(trial.get("response")),
        events=tuple(sorted(events, key=lambda event: event.t or 0)),
    )


def _rectangle(targets: Mapping[str, _Target], options: Mapping[str, str]) -> _Target:
    """Where the picture is, px of the window's inside."""
    if not targets:
        raise Bad(
            "no-target",
            f"{_TRACK} without a rectangle in {_TARGETS}, so that nobody can tell where the picture"
            " was; expected `targets: ['#picture']` among the parameters of the extension. Copies"
            " of it from before its release lost them in writing",
        )
    selector = options.get("selector", next(iter(targets)))
    if "selector" not in options and len(targets) > 1:
        raise OptionError(
            f"several targets were measured: {', '.join(map(repr, targets))}; expected the option"
            " `selector`, which says what of them the picture is"
        )
    if selector not in targets:
        raise Bad("no-target", f"no target {selector!r}; found {', '.join(map(repr, targets))}")
    box = targets[selector]
    if box.width <= 0 or box.height <= 0:
        raise Bad(
            "empty-target",
            f"{selector!r} was {box.width:g} x {box.height:g} px when it was measured: its picture"
            " was not loaded yet. Expected a width and a height; preload pictures, or give their"
            " size in the page's style",
        )
    return box


def _image_file(trial: Mapping[str, Any], field: str) -> str:
    """The picture of a trial: a path, or the first one in a piece of HTML."""
    found = trial.get(field)
    if isinstance(found, str) and "<" in found:
        image = _SRC(found)
        found = image and image[1]
    if not isinstance(found, str) or not found:
        raise Bad(
            "no-image",
            f"found no picture in {field!r}; expected a path, or HTML with <img src=...>. The"
            " option `image` names another field",
        )
    return found


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    return json.dumps(value, ensure_ascii=False)


IMPORTER = Importer(
    name="jspsych",
    title="jsPsych, extension mouse-tracking",
    kind="tracing",
    files="the experiment's data, JSON or CSV: one file, or a folder of them",
    read=read,
    options={
        "selector": "target that is the picture, e.g. '#jspsych-image-keyboard-response-stimulus';"
        " needed where several were measured",
        "image": "field that names the picture (default: stimulus; HTML is searched for <img>)",
        "label": "field with the class of the picture (default: correct_response)",
        "annotator": "field that tells who it was (default: subject)",
    },
    url="https://www.jspsych.org/latest/extensions/mouse-tracking/",
    description="Trials of an experiment in jsPsych (de Leeuw, 2015, doi:10.3758/s13428-014-0458-y)"
    " whose extension mouse-tracking logged where the mouse was.",
    limits=(
        ("Measured once", "Where the picture was is measured when it appears: a resize or a scroll"
         " during a trial shifts all later points, and nothing in the file tells."),
        ("No touch", "Fingers and pens are not recorded, and where the mouse was before it first"
         " moved is not known."),
        ("The trial's clock", "Times begin with the trial; the time of day is not in the file."),
        ("Sampling", "`minimum_sample_time` of the experiment thins moves out; the file does not"
         " say whether it was set."),
    ),
)  # fmt: skip
"""Kind tracing: a picture is looked at with the mouse, and answered."""
