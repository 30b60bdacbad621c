"""[I/O] BubbleView (Kim et al., TOCHI 2017): click to sharpen a spot of a blurred picture.

The published .mat files were opened (cvzoya/bubbleview; MATLAB 5): `bubble(i)` has `filename`,
`impath` and `userdata(j).fixations` with `enc`, N x [X, Y] px of the picture from its top left
corner (halves and thirds occur, 0 too, so they are no indices of pixels), and `enc_time`, N texts
`2016-02-04 00:34:18`: the time of day to the second, of a zone that is not said. Some of experiment
1.2 have more times than points, so those of such a view cannot be told. Files `*MM*` hold mouse
movements, the others clicks (the README's table). `userdata(j)` is no worker: it counts anew in
each picture. `descriptions` with type `final` are what was written. The repository also has what
clicks were compared with (`*_eyetrack`, `*_gt`, `*-official`): data of others, in other units.

The live tool (turkeyes/bubbleview, js/bubbleview.js) passes {image, timestamp, cx, cy, radius,
blur} of each click to its caller: px of the CANVAS, at whose top left corner the picture is drawn,
made smaller (never larger) to fit in; timestamp is epoch ms.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.errors import ArchiveError, OptionError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import files, json_objects
from luab_data.importers.matlab import elements, read_mat, rows
from luab_data.importers.pictures import SIZE_OPTIONS, Sizes, picture_id, size_of
from luab_data.importers.points import PointViews
from luab_data.ragged import Floats
from luab_data.views import Reading

_COMPARED = ("_eyetrack", "_gt", "-official")
_IS_MOUSE = re.compile(r"MM\d+$").search
_IS_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d").fullmatch
_WHY = "the log has px, and views are of fractions of the picture"


def read(
    paths: Sequence[Path],
    unknown: Counter[str],
    on_read: Callable[[int], object],
    /,
    **options: str,
) -> Iterator[Reading]:
    """The views of the published .mat files, or of logs of the live tool."""
    sizes = Sizes(options, _WHY) if options.keys() & SIZE_OPTIONS.keys() else None
    collected = PointViews("mouse")
    for path in _files(paths):
        if path.suffix.lower() == ".mat":
            pieces = _published(collected, path, sizes, on_read)
        else:
            if sizes is None:
                sizes = Sizes(options, _WHY)
            pieces = _live(collected, path, sizes, options, unknown, on_read)
        for _ in pieces:
            if collected.is_full:
                yield collected.take()
    yield collected.take()


def _files(paths: Sequence[Path]) -> list[Path]:
    """Without the data that a clone of the repository has for comparison."""
    named = {path for path in paths if path.is_file()}
    found = files(paths, ".mat", ".json")
    return [path for path in found if path in named or not path.stem.endswith(_COMPARED)]


def _add(
    collected: PointViews,
    name: str,
    event: str,
    points: Floats,
    time_ms: Floats,
    *,
    frame: tuple[float, float],
    size: tuple[int, int],
    **of_view: Any,
) -> None:
    """Collect a view of which the points (N, 2) are px of a frame."""
    columns = dict.fromkeys(("arm", "answer", "epoch_ms")) | of_view
    x, y = points.T / np.array([frame]).T
    width, height = size
    collected.add(name, event, x, y, time_ms, width=width, height=height, **columns)


# --- the published files -------------------------------------------------------------------------


def _published(
    collected: PointViews, path: Path, sizes: Sizes | None, on_read: Callable[[int], object]
) -> Iterator[None]:
    found = read_mat(path, on_read)
    if "bubble" not in found:
        raise ArchiveError(
            f"{path}: holds {sorted(found)}; expected `bubble`, like salicon30x30.mat"
        )
    event = "move" if _IS_MOUSE(path.stem) else "click"
    for bubble in elements(found["bubble"]):
        if not isinstance(bubble, dict) or not {"filename", "impath", "userdata"} <= bubble.keys():
            raise ArchiveError(
                f"{path}: an element of `bubble` has no filename, impath and userdata; expected a"
                " file like salicon30x30.mat"
            )
        file = str(bubble["filename"])
        size = _size(path, bubble, sizes)
        for number, user in enumerate(elements(bubble["userdata"]), start=1):
            name = f"{path.name}, {file}, user {number}"
            try:
                (fixations,) = user["fixations"]
                points, times = rows(fixations["enc"], 2), elements(fixations["enc_time"])
                answer = _answer(user.get("descriptions", []))
                is_theirs = bool(times) and not _IS_TIME(str(times[0]))
                time_ms = None if is_theirs else _since_first(times, len(points))
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                collected.errors.append(RecordError(name, "not-a-view", f"{error!r}"))
                continue
            if time_ms is None:
                raise ArchiveError(
                    f"{path}: its times are like {times[0]!r}, so these are no clicks of BubbleView"
                    " but what they were compared with; expected a file like salicon30x30.mat"
                )
            if size is None:
                reason = f"{file} is not among the pictures given, so its size is not known"
                collected.errors.append(RecordError(name, "no-size", reason))
                continue
            _add(
                collected,
                name,
                event,
                points,
                time_ms,
                frame=size,
                size=size,
                image_id=picture_id(file, re.split(r"[^a-z]", path.stem)[0] or "bubbleview"),
                image_file=file,
                arm=path.stem,
                answer=answer,
            )
        yield


def _size(path: Path, bubble: Mapping[str, Any], sizes: Sizes | None) -> tuple[int, int] | None:
    """Of the picture beside the file, as in the repository, if no others were given."""
    beside = path.parent / str(bubble["impath"])
    if sizes is None and beside.is_file():
        return size_of(beside)
    return (sizes or Sizes({}, _WHY))(str(bubble["filename"]))


def _since_first(times: Sequence[Any], num_points: int) -> Floats:
    """(num_points,) ms since the first one, by the second; NaN if they are not one a point."""
    if len(times) != num_points or not num_points:
        return np.full(num_points, np.nan)
    texts = [str(time) for time in times]
    if odd := next((text for text in texts if not _IS_TIME(text)), ""):
        raise ValueError(f"a time {odd!r:.40}; expected one like 2016-02-04 00:34:18")
    stamps = np.array([text.replace(" ", "T") for text in texts], "datetime64[ms]")
    since: Floats = (stamps - stamps[0]).astype(np.float64)
    return since


def _answer(descriptions: Any) -> str | None:
    """The final description of the picture, if one was asked for."""
    found = [
        str(text)
        for some in elements(descriptions)
        for type, text in zip(elements(some["type"]), elements(some["text"]), strict=True)
        if type == "final"
    ]
    return found[-1] if found else None


# --- logs of the live tool -----------------------------------------------------------------------


def _live(
    collected: PointViews,
    path: Path,
    sizes: Sizes,
    options: Mapping[str, str],
    unknown: Counter[str],
    on_read: Callable[[int], object],
) -> Iterator[None]:
    canvas = _canvas(options)
    clicks = json_objects(path, on_read)
    start = 0
    for file, some in groupby(clicks, lambda click: _file_of(click, options, path)):
        found = list(some)
        name = f"{path.name}, clicks {start + 1} to {start + len(found)}"
        start += len(found)
        for click in found:
            unknown.update(click.keys() - set(_CLICK))
        size = sizes(file)
        try:
            if size is None:
                raise ValueError(f"{file} is not among the pictures given")
            points = np.array([(click["cx"], click["cy"]) for click in found], np.float64)
            epoch = np.array([click["timestamp"] for click in found], np.float64)
            if not (np.isfinite(points).all() and np.isfinite(epoch).all()):
                raise ValueError("a place or a time that is no number")
        except (KeyError, TypeError, ValueError) as error:
            collected.errors.append(RecordError(name, "not-a-view", f"{error!r}"))
            continue
        shrunk = min(canvas[0] / size[0], canvas[1] / size[1], 1.0)
        _add(
            collected,
            name,
            "click",
            points,
            epoch - epoch[0],
            frame=(size[0] * shrunk, size[1] * shrunk),
            size=size,
            image_id=picture_id(file, "bubbleview"),
            image_file=file,
            epoch_ms=round(epoch[0]),
        )
        yield


_CLICK = ("image", "timestamp", "cx", "cy", "radius", "blur")


def _canvas(options: Mapping[str, str]) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", options.get("canvas", ""))
    if not found:
        raise OptionError(
            f"option canvas: found {options.get('canvas', '')!r}; expected the width and height of"
            " the tool's canvas in px, e.g. 800x600: larger pictures were shrunk to fit it"
        )
    return int(found[1]), int(found[2])


def _file_of(click: Mapping[str, Any], options: Mapping[str, str], path: Path) -> str:
    """The picture of a click; the tool's own `image` is an element of the page, `{}` in JSON."""
    image = click.get("image") or options.get("image")
    if not isinstance(image, str):
        raise ArchiveError(
            f"{path}: a click without the name of its picture in `image`; name it (--image FILE) if"
            " all are of one"
        )
    return image


IMPORTER = Importer(
    name="bubbleview",
    title="BubbleView",
    kind="tracing",
    files="the published .mat files or a clone of their repository, or JSON of the live tool",
    read=read,
    options={
        **SIZE_OPTIONS,
        "canvas": "size of the live tool's canvas in px, e.g. 800x600",
        "image": "the picture, if clicks of the live tool do not name theirs",
    },
    citation="""@article{kim2017bubbleview,
  author    = {Nam Wook Kim and Zoya Bylinskii and Michelle A. Borkin and Krzysztof Z. Gajos
               and Aude Oliva and Fredo Durand and Hanspeter Pfister},
  title     = {BubbleView: An Interface for Crowdsourcing Image Importance Maps and Tracking
               Visual Attention},
  journal   = {ACM Transactions on Computer-Human Interaction},
  volume    = {24},
  number    = {5},
  pages     = {36},
  year      = {2017}
}""",
    url="https://github.com/cvzoya/bubbleview",
    description=(
        "People clicked on a blurred picture to sharpen a spot of it (some files: moved a sharp"
        " spot over it), to describe it or just to look: visualisations, natural pictures, web"
        " pages and designs, some 51 pictures an experiment."
    ),
    limits=(
        ("Blurred", "The picture was blurred but for a spot of 16 to 70 px around each click."),
        ("No workers", "Users have no ids; the place in a picture's list is not one."),
        ("Time by the second", "Times are those of a clock that counts seconds, zone unknown."),
        ("No licence", "The repository asks to be cited and states no licence of the data."),
    ),
)
