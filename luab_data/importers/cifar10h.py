"""CIFAR-10H, `cifar10h-raw.csv`: who chose which class for a picture, and how fast; no pointer.

Seen in jcpeterson/cifar-10h at 48da312: README.md, LICENSE.txt. The column that its README calls
`cifar10_test_set_idx` is `cifar10_test_test_idx` in the file, as the code of all shows who read
it; both are understood. `reaction_time` is in ms; some are 0 or less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import ArchiveError
from luab_data.importers import Importer
from luab_data.importers.files import OnRead, csv_header, csv_tables, files
from luab_data.importers.points import event_lists
from luab_data.ragged import above_0, floats
from luab_data.views import CODE, Reading, views

_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
_INDEX = ("cifar10_test_test_idx", "cifar10_test_set_idx")
_TEST = "cifar10-test"
_SIDE = 32  # px
_CHECK = "attention check"


def read(
    paths: Sequence[Path], unknown: Counter[str], on_read: OnRead, /, **options: str
) -> Iterator[Reading]:
    """Every trial that is no attention check; those are left out and counted."""
    for path in files(paths, "raw.csv"):
        index = _index(path)
        types = {
            "annotator_id": pa.string(),
            "trial_index": pa.int16(),
            "is_attn_check": pa.int64(),
            "true_category": pa.string(),
            "chosen_category": pa.string(),
            index: pa.int64(),
            "image_filename": pa.string(),
            "reaction_time": pa.float64(),
        }
        line = 2
        for table in csv_tables(path, on_read, types):
            is_check = np.asarray(table["is_attn_check"]) != 0
            if is_check.any():
                unknown[_CHECK] += int(is_check.sum())
            names = [f"line {line + i}" for i in np.flatnonzero(~is_check).tolist()]
            line += len(table)
            yield Reading(_views(table.filter(pa.array(~is_check)), index), names)


def _index(path: Path) -> str:
    header = csv_header(path)
    for name in _INDEX:
        if name in header:
            return name
    raise ArchiveError(
        f"{path}: has no column {_INDEX[0]!r}; expected cifar10h-raw.csv, from cifar10h-raw.zip."
        " The .npy files have no annotators"
    )


def _views(trials: pa.Table, index: str) -> pa.Table:
    """A view a trial: the picture appears at 0, the answer comes after the reaction time."""
    number = len(trials)
    times = np.zeros(2 * number)
    times[1::2] = above_0(floats(trials["reaction_time"]))
    nowhere = np.full(2 * number, np.nan)
    codes = np.tile(np.array([CODE["load"], CODE["submit"]], np.int8), number)
    side = pa.array(np.full(number, _SIDE), pa.int32())
    return views({
        # A bare number would be a picture of COCO.
        "image_id": pc.binary_join_element_wise(_TEST, trials[index].cast(pa.string()), "_"),
        "image_file": trials["image_filename"],
        "width": side,
        "height": side,
        "label": trials["true_category"],
        "labels": pa.array([_CLASSES] * number, pa.list_(pa.string())),
        "answer": trials["chosen_category"],
        "page": trials["trial_index"],
        "annotator": trials["annotator_id"],
        **event_lists(np.arange(0, 2 * number + 1, 2), codes, nowhere, nowhere, times),
    })  # fmt: skip


IMPORTER = Importer(
    name="cifar10h",
    title="CIFAR-10H",
    kind="tracing",
    files="cifar10h-raw.csv, out of cifar10h-raw.zip, or the folder with it",
    read=read,
    license="cc-by-nc-sa-4.0",
    citation="""@inproceedings{peterson2019human,
  title     = {Human Uncertainty Makes Classification More Robust},
  author    = {Peterson, Joshua C. and Battleday, Ruairidh M. and Griffiths, Thomas L. and
               Russakovsky, Olga},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2019}
}""",
    url="https://github.com/jcpeterson/cifar-10h",
    description="The class of each of the 10,000 test pictures of CIFAR-10 as about 50 people each"
    " saw it: 2,571 annotators, 200 pictures each, with the time each took.",
    limits=(
        ("No pointer", "There is no click and no movement: what is left is who chose what, and how"
         " fast."),
        ("Attention checks", "The 10 attention checks of each annotator are left out; their"
         " pictures are not told."),
        ("Reaction times", "Times of 0 or less were not measured and are null; the longest are"
         " breaks. The time of day is not in the file."),
    ),
)  # fmt: skip
"""Kind tracing: a picture is looked at and answered, without a point."""
