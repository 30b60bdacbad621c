"""Boxes of Open Images (V6 and later): four clicks on the extremes of an object a view.

Seen: the head of oidv6-train-annotations-bbox.csv, and the description of its columns by Open
Images ("normalized image coordinates (as XMin, etc.) of the four extreme points of the object ...
Dummy values of -1 in the case of activemil boxes"). Columns are four X, then four Y. `Source` is
`xclick` where somebody clicked; other boxes were drawn by a model and verified, or have no clicks.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import RecordError
from luab_data.importers import Importer
from luab_data.importers.files import OnRead, csv_tables, files
from luab_data.importers.points import event_lists
from luab_data.ragged import Floats, floats
from luab_data.views import CODE, Reading, views

_CLICKS = 4
_X, _Y = ([f"XClick{n}{axis}" for n in range(1, _CLICKS + 1)] for axis in "XY")
_TEXTS = ("ImageID", "Source", "LabelName")
_BY_CLICK = "xclick"


def read(
    paths: Sequence[Path], unknown: Counter[str], on_read: OnRead, /, **options: str
) -> Iterator[Reading]:
    """Boxes that were clicked, in the order of the file; others are left out and counted."""
    names = _class_names(Path(options["classes"])) if "classes" in options else {}
    types = {**dict.fromkeys(_TEXTS, pa.string()), **dict.fromkeys((*_X, *_Y), pa.float64())}
    for path in files(paths, "bbox.csv"):
        line = 2
        for table in csv_tables(path, on_read, types):
            yield _reading(table, line, names, unknown)
            line += len(table)


def _class_names(path: Path) -> dict[str, str]:
    """`/m/01g317` -> `Person`, of class-descriptions-boxable.csv, with a header or without."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {row[0]: row[1] for row in csv.reader(file) if len(row) == 2}


def _reading(boxes: pa.Table, line: int, names: dict[str, str], unknown: Counter[str]) -> Reading:
    by_click = np.asarray(pc.equal(boxes["Source"], _BY_CLICK).fill_null(False))
    for pair in boxes["Source"].filter(pa.array(~by_click)).value_counts():
        unknown[f"box of Source {pair['values'].as_py()}"] += pair["counts"].as_py()
    x, y = _coordinates(boxes, _X), _coordinates(boxes, _Y)
    inside = ((x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)).all(axis=1)
    good = by_click & inside
    lines = np.arange(line, line + len(boxes))
    errors = [
        RecordError(
            f"line {number}",
            "no-clicks",
            f"its Source is {_BY_CLICK}, and its clicks are not four points of fractions 0 to 1;"
            " validation and test have none, so leave such files out",
        )
        for number in lines[by_click & ~inside].tolist()
    ]
    table = _views(boxes.filter(pa.array(good)), x[good], y[good], names)
    return Reading(table, [f"line {number}" for number in lines[good].tolist()], errors)


def _coordinates(boxes: pa.Table, names: Sequence[str]) -> Floats:
    """(num_boxes, 4); NaN where the file has nothing."""
    return np.stack([floats(boxes[name]) for name in names], axis=1)


def _views(boxes: pa.Table, x: Floats, y: Floats, names: dict[str, str]) -> pa.Table:
    number = len(boxes)
    bounds = np.arange(0, _CLICKS * number + 1, _CLICKS)
    label = boxes["LabelName"]
    if names:
        known = pa.array([names.get(mid) for mid in label.to_pylist()], pa.string())
        label = pc.coalesce(known, label.combine_chunks())
    events = np.full(x.size, CODE["click"], np.int8)
    lists = event_lists(bounds, events, x.ravel(), y.ravel(), np.full(x.size, np.nan))
    return views({"image_id": boxes["ImageID"], "label": label, **lists})


IMPORTER = Importer(
    name="open-images",
    title="Open Images, extreme clicks",
    kind="tracing",
    files="oidv6-train-annotations-bbox.csv (the first with clicks), or a folder with *bbox.csv",
    read=read,
    options={"classes": "class-descriptions-boxable.csv: names in the place of ids like /m/01g317"},
    license="cc-by-4.0",
    citation="""@article{kuznetsova2020open,
  title   = {The Open Images Dataset {V4}: Unified Image Classification, Object Detection, and
             Visual Relationship Detection at Scale},
  author  = {Kuznetsova, Alina and Rom, Hassan and Alldrin, Neil and Uijlings, Jasper and
             Krasin, Ivan and Pont-Tuset, Jordi and Kamali, Shahab and Popov, Stefan and
             Malloci, Matteo and Kolesnikov, Alexander and Duerig, Tom and Ferrari, Vittorio},
  journal = {International Journal of Computer Vision},
  volume  = {128},
  pages   = {1956--1981},
  year    = {2020}
}
@inproceedings{papadopoulos2017extreme,
  title     = {Extreme Clicking for Efficient Object Annotation},
  author    = {Papadopoulos, Dim P. and Uijlings, Jasper R. R. and Keller, Frank and
               Ferrari, Vittorio},
  booktitle = {Proceedings of the IEEE International Conference on Computer Vision (ICCV)},
  year      = {2017}
}""",
    url="https://storage.googleapis.com/openimages/web/index.html",
    description="The four clicks by which annotators of Open Images drew each box: on the top, the"
    " leftmost, the bottom and the rightmost point of an object. A view is a box.",
    limits=(
        ("No time, no order", "Clicks have no time. The file has them as top, left, bottom, right"
         " in the rows that were seen, which need not be the order in which they were made."),
        ("No annotator", "Who drew a box, and which boxes were drawn by one person, is not told."),
        ("Train alone", "Boxes of validation and test have no clicks, nor have those that a model"
         " drew."),
    ),
)  # fmt: skip
"""Kind tracing: clicks on an object that was asked for."""
