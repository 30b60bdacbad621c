"""[I/O] ClickMe 2 (Serre lab): click what tells an object, while a machine tries to recognise it.

Seen in serre-lab/human_clickme_data_processing (src/utils.py process_clickme_data and
process_clickmap_files, src/python_utils.py): dumps are .npz of equally long arrays `file_pointer`,
`clickmap_x` and `clickmap_y` (object arrays of lists), `user_id`, `user_catch_trial` (a score; they
keep 0.95 and more), `is_mobile` (bool, or a list of one or none), or CSV with `image_path`,
`clicks` (text `{"(12,34)","(13,35)"}`) and `user_id`. Clicks are whole px counted from 0
(`heatmap[y, x]`), in order, without times: of the picture's own size where they know it (ImageNet),
else of 256 x 256 (CO3D, image_shape of their configurations).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from luab_data.errors import ArchiveError, OptionError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import csv_rows, files
from luab_data.importers.npz import read_arrays
from luab_data.importers.pictures import SIZE_OPTIONS, Sizes, picture_id
from luab_data.importers.points import PointViews
from luab_data.views import Reading

_NO_CLASS = ("", "train", "val", "test")
"""Folders that say nothing of what is in their pictures."""


class _Map(NamedTuple):
    """The clicks of one person on one picture."""

    file: str
    x: Any
    y: Any
    user: Any
    catch: float | None = None
    is_mobile: bool | None = None


def read(
    paths: Sequence[Path],
    unknown: Counter[str],
    on_read: Callable[[int], object],
    /,
    **options: str,
) -> Iterator[Reading]:
    """The click maps of some dumps."""
    frame = _frame(options)
    sizes = None
    if frame is None:
        sizes = Sizes(options, "clicks are px; those of CO3D are of 256 x 256 (--frame 256x256)")
    least = _least(options)
    collected = PointViews()
    for path in files(paths, ".npz", ".csv"):
        found = _npz(path, unknown, on_read)
        if path.suffix.lower() != ".npz":
            found = _csv(path, unknown, on_read)
        for name, clicks in found:
            if "catch" in options and clicks.catch is None:
                raise OptionError(f"{name}: has no score in catch trials; leave out --catch")
            if "catch" in options and not (clicks.catch or 0.0) >= least:
                unknown["score in catch trials below --catch"] += 1
                continue
            size = sizes(clicks.file) if sizes else frame
            _add(collected, name, clicks, size, is_own_size=frame is None)
            if collected.is_full:
                yield collected.take()
    yield collected.take()


def _add(
    collected: PointViews,
    name: str,
    clicks: _Map,
    size: tuple[int, int] | None,
    *,
    is_own_size: bool,
) -> None:
    if size is None:
        reason = f"{clicks.file} is not among the pictures given, so its size is not known"
        collected.errors.append(RecordError(name, "no-size", reason))
        return
    try:
        x, y = np.asarray(clicks.x, np.float64), np.asarray(clicks.y, np.float64)
        if x.ndim != 1 or x.shape != y.shape:
            raise ValueError(f"{x.shape} x and {y.shape} y; expected as many of both")
    except (TypeError, ValueError) as error:
        collected.errors.append(RecordError(name, "not-a-click-map", str(error)))
        return
    folder = PurePosixPath(clicks.file).parent.name
    collected.add(
        name,
        "click",
        (x + 0.5) / size[0],
        (y + 0.5) / size[1],
        pointer=None if clicks.is_mobile is None else "touch" if clicks.is_mobile else "mouse",
        image_id=picture_id(clicks.file, "clickme"),
        image_file=clicks.file,
        width=size[0] if is_own_size else None,
        height=size[1] if is_own_size else None,
        label=None if folder in _NO_CLASS else folder,
        annotator=str(clicks.user),
    )


def _frame(options: Mapping[str, str]) -> tuple[int, int] | None:
    if "frame" not in options:
        return None
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", options["frame"])
    if not found:
        raise OptionError(f"option frame: found {options['frame']!r}; expected e.g. 256x256")
    return int(found[1]), int(found[2])


def _least(options: Mapping[str, str]) -> float:
    try:
        return float(options.get("catch", "-inf"))
    except ValueError as error:
        raise OptionError(
            f"option catch: found {options['catch']!r}; expected a number, e.g. 0.95"
        ) from error


# --- CSV -----------------------------------------------------------------------------------------

_COLUMNS = ("image_path", "clicks", "user_id")
_PAIRS = re.compile(r"\(\s*([^,()]+),\s*([^,()]+)\)").findall


def _csv(
    path: Path, unknown: Counter[str], on_read: Callable[[int], object]
) -> Iterator[tuple[str, _Map]]:
    for line, row in csv_rows(path, on_read, _COLUMNS):
        unknown.update(row.keys() - set(_COLUMNS))
        pairs = _PAIRS(row["clicks"])
        x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        yield f"{path.name}, line {line}", _Map(row["image_path"], x, y, row["user_id"])


# --- .npz ----------------------------------------------------------------------------------------

_ARRAYS = ("file_pointer", "clickmap_x", "clickmap_y", "user_id")
_OPTIONAL = ("user_catch_trial", "is_mobile")


def _npz(
    path: Path, unknown: Counter[str], on_read: Callable[[int], object]
) -> Iterator[tuple[str, _Map]]:
    arrays = read_arrays(path, (*_ARRAYS, *_OPTIONAL), unknown)
    on_read(path.stat().st_size)
    if missing := [name for name in _ARRAYS if name not in arrays]:
        raise ArchiveError(
            f"{path}: has no {', '.join(missing)}, but {sorted(arrays)}; expected a dump of ClickMe"
            f" with {', '.join(_ARRAYS)}"
        )
    arrays = {name: np.atleast_1d(array) for name, array in arrays.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len({n for name, n in lengths.items() if name in _ARRAYS or n}) > 1:
        raise ArchiveError(f"{path}: its arrays have {lengths} elements; expected equally many")
    for k in range(lengths["file_pointer"]):
        catch, mobile = (arrays[n][k] if lengths.get(n) else None for n in _OPTIONAL)
        if isinstance(mobile, (list, np.ndarray)):
            mobile = mobile[0] if len(mobile) else None
        yield (
            f"{path.name}, element {k}",
            _Map(
                str(arrays["file_pointer"][k]),
                arrays["clickmap_x"][k],
                arrays["clickmap_y"][k],
                arrays["user_id"][k],
                None if catch is None else _score(catch),
                None if mobile is None else bool(mobile),
            ),
        )


def _score(value: Any) -> float:
    """Of catch trials; NaN, which reaches no least score, of what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


IMPORTER = Importer(
    name="clickme",
    title="ClickMe 2",
    kind="tracing",
    files="dumps as .npz or .csv",
    read=read,
    options={
        **SIZE_OPTIONS,
        "frame": "what clicks are px of, if not of each picture's own size: 256x256 of CO3D",
        "catch": "least score in catch trials of those who are kept, e.g. 0.95; all if not given",
    },
    citation="""@inproceedings{linsley2019learning,
  author    = {Drew Linsley and Dan Shiebler and Sven Eberhardt and Thomas Serre},
  title     = {Learning what and where to attend},
  booktitle = {ICLR},
  year      = {2019}
}""",
    url="https://github.com/serre-lab/human_clickme_data_processing",
    description=(
        "Players of a game clicked on those parts of a picture that tell its object, which a"
        " machine was shown alone. Pictures are of ImageNet and of CO3D."
    ),
    limits=(
        ("Order, no times", "Clicks are in order, without times."),
        ("No licence", "The repository licenses its code; for the dumps it states no licence."),
    ),
)
