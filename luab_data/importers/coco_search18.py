"""[I/O] COCO-Search18 (Chen et al., Scientific Reports 2021): eyes that search for an object.

A JSON array of trials {name, subject, task, condition, bbox, X, Y, T, length, correct, RT, split,
fixOnTarget}. Seen in the publisher's readme (as kept in ssaket/visual-search-actr), in its own
plot_scanpath.py (cvlab-stonybrook/Scanpath_Prediction) and in the 4,017 trials of the published
`coco_search18_fixations_TP_validation_split2.json`:

- X, Y are px of a DISPLAY of 1680 x 1050 on which the picture was scaled to fit, centred, with
  black bars ("resized to 1680x1050 with zero padding and aspect ratio kept"); so is `bbox`. The
  copy for training models has all of it scaled to 512 x 320. Which one a file is follows from where
  trials begin: the first fixation is the one on the centre, where the eye was asked to be (median
  (830, 521) of (840, 525), 95 % within 217 px). Points off the picture and the display occur.
- T are durations in ms. When a fixation began is not there: the eye's jumps between them are not
  counted, and T adds up to more or less than RT, the time to the answer.
- No sizes of pictures: without those the bars cannot be taken off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from luab_data.errors import ArchiveError, OptionError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import files, json_objects
from luab_data.importers.pictures import SIZE_OPTIONS, Sizes, picture_id
from luab_data.importers.points import PointViews
from luab_data.ragged import Floats
from luab_data.views import CODE, Reading

DISPLAY = (1680, 1050)
"""px of the display that pictures were shown on."""

_SCALED = (512, 320)
_NEAR = 0.2
"""Of a display's width: no farther from its centre does a trial begin, but for one in ten."""


class _Trial(Struct, gc=False):
    name: str
    subject: int | str
    task: str
    condition: Literal["present", "absent"]
    X: list[float]
    Y: list[float]
    T: list[float]
    correct: int | None = None
    RT: float | None = None
    length: int | None = None
    bbox: Any = None
    split: Any = None
    fixOnTarget: Any = None


def read(
    paths: Sequence[Path],
    unknown: Counter[str],
    on_read: Callable[[int], object],
    /,
    **options: str,
) -> Iterator[Reading]:
    """The trials of some files, target present or absent."""
    sizes = Sizes(options, "the black bars around it are as wide as its shape leaves them")
    collected = PointViews("eye")
    for path in files(paths, ".json"):
        trials = _trials(path, unknown, on_read, collected)
        display = _display(path, [trial for _, trial in trials])
        for name, trial in trials:
            _add(collected, name, trial, display, sizes)
            if collected.is_full:
                yield collected.take()
    yield collected.take()


def _trials(
    path: Path,
    unknown: Counter[str],
    on_read: Callable[[int], object],
    collected: PointViews,
) -> list[tuple[str, _Trial]]:
    """The trials of a file: 300,000 fixations are all there are."""
    found = []
    for number, values in enumerate(json_objects(path, on_read)):
        name = f"{path.name}, trial {number}"
        unknown.update(values.keys() - set(_Trial.__struct_fields__))
        try:
            trial = msgspec.convert(values, _Trial)
            if not len(trial.X) == len(trial.Y) == len(trial.T):
                raise ValueError(f"{len(trial.X)} X, {len(trial.Y)} Y and {len(trial.T)} T")
            found.append((name, trial))
        except ValueError as error:
            collected.errors.append(RecordError(name, "not-a-trial", str(error)))
    if not found:
        raise ArchiveError(
            f"{path}: no trial of COCO-Search18 in it; expected objects with name, subject, task,"
            " condition, X, Y and T, like coco_search18_fixations_TP_train_split1.json"
        )
    return found


def _display(path: Path, trials: Sequence[_Trial]) -> tuple[int, int]:
    """The frame of a file's px: trials begin at its centre."""
    firsts = np.array([(t.X[0], t.Y[0]) for t in trials if t.X] or [(np.nan, np.nan)])
    for frame in (DISPLAY, _SCALED):
        off = np.hypot(*(firsts - np.array(frame) / 2).T)
        if np.mean(off < _NEAR * frame[0]) >= 0.9:
            return frame
    raise ArchiveError(
        f"{path}: trials begin around {np.median(firsts, axis=0).round(1).tolist()}; expected the"
        f" centre of the display, {[side / 2 for side in DISPLAY]}, or {[s / 2 for s in _SCALED]}"
        " if it is scaled: other px, or without the first fixation"
    )


class Shown(NamedTuple):
    """Where a picture was on the display, px."""

    x: int
    y: int
    width: int
    height: int


def shown(width: int, height: int) -> Shown:
    """A picture scaled to fit DISPLAY, centred; whole px, as the publisher's plot_scanpath.py."""
    across, down = DISPLAY
    if width * down > across * height:
        size = across, int(across * height / width)
    else:
        size = int(down * width / height), down
    return Shown((across - size[0]) // 2, (down - size[1]) // 2, *size)


def _add(
    collected: PointViews, name: str, trial: _Trial, display: tuple[int, int], sizes: Sizes
) -> None:
    size = sizes(trial.name)
    if size is None:
        reason = f"{trial.name} is not among the pictures given, so the bars are not known"
        collected.errors.append(RecordError(name, "no-size", reason))
        return
    if size in (DISPLAY, _SCALED):
        raise OptionError(
            f"{trial.name} among the pictures given is {size[0]} x {size[1]}: with its bars, as"
            " COCO-Search18 ships them. Give COCO's own pictures, or COCO's instances file"
        )
    at = shown(*size)
    scale = DISPLAY[0] / display[0]
    x: Floats = (scale * np.array(trial.X) - at.x) / at.width
    y: Floats = (scale * np.array(trial.Y) - at.y) / at.height
    event = np.full(len(x), CODE["fixation"], np.int8)
    event[:1] = CODE["enter"]
    events: list[Any] = [event, x, y, np.full(len(x), np.nan), np.array(trial.T, np.float64)]
    if trial.RT is not None:  # the clock of the trial runs from the picture to the answer
        load = (CODE["load"], np.nan, np.nan, 0, np.nan)
        submit = (CODE["submit"], np.nan, np.nan, trial.RT, np.nan)
        events = [np.array([a, *v, b]) for a, v, b in zip(load, events, submit, strict=True)]
    answered = {"present": "absent", "absent": "present"}
    collected.add(
        name,
        *events,
        image_id=picture_id(trial.name, "coco_search18"),
        image_file=trial.name,
        width=size[0],
        height=size[1],
        label=trial.task,
        prompt=f"Is there a {trial.task}?",
        answer=None
        if trial.correct is None
        else (trial.condition if trial.correct else answered[trial.condition]),
        arm=trial.condition,
        annotator=str(trial.subject),
        shown_x=float(at.x),
        shown_y=float(at.y),
        shown_width=float(at.width),
        shown_height=float(at.height),
        viewport_width=float(DISPLAY[0]),
        viewport_height=float(DISPLAY[1]),
    )


IMPORTER = Importer(
    name="coco-search18",
    title="COCO-Search18",
    kind="tracing",
    files="coco_search18_fixations_*.json, target present or absent, or a folder of them",
    read=read,
    options=SIZE_OPTIONS,
    citation="""@article{chen2021coco,
  author    = {Yupei Chen and Zhibo Yang and Seoyoung Ahn and Dimitris Samaras and Minh Hoai
               and Gregory Zelinsky},
  title     = {COCO-Search18 fixation dataset for predicting goal-directed attention control},
  journal   = {Scientific Reports},
  volume    = {11},
  number    = {1},
  pages     = {1--11},
  year      = {2021}
}""",
    url="https://sites.google.com/view/cocosearch/home",
    description=(
        "Ten people, watched by an eye tracker, said whether a picture of COCO has an object of one"
        " of 18 classes: 6,202 pictures, some 300,000 fixations."
    ),
    limits=(
        ("Durations, no times", "Fixations have durations but no time at which they began."),
        (
            "First fixation",
            "The first fixation is the one on the centre that was asked for; it is kept as the"
            " event `enter` and is no point of the trace.",
        ),
        ("Test set", "The fixations of the test pictures are withheld by the publisher."),
        ("No licence", "The readme of the download states none of the data, and asks to be cited."),
    ),
)
