"""What an evaluation left in its folder, and all that follows from it.     [I/O]

    FOLDER/results.jsonl                 rows: benchmark, metric, status, value, low, high, n, ...
    FOLDER/<benchmark>/<part>.parquet    predictions, see `predictions`
    FOLDER/wsol/rows.parquet             a row an image, see `wsol.localise`
    FOLDER/coco/*.parquet                scores, objects; classes and leaning for people

The only door of a report to an evaluation, without a model and without images:
`read_rows(folder)` are its rows, of wsol and coco too; `difference(...)` compares two models or
arms on any metric of any benchmark; `parts_of(folder, benchmark)` are the stored predictions
themselves, `measures.right(part)` says which are right; `coco_tables(folder)` has a row a class.
Metrics, their titles and directions, and what the paper prints are in `benchmarks.BY_NAME`.

Every row says what it is over: `status` is done, incomplete (a part is lacking), missing (the
images are), failed (`note` says why), no class (the model has none of its classes) or none (there
is no such number); `partial` says in words which part of the published set it is of, e.g. "1,000 of
50,000 images", and is empty for all of it; `num_images` and `num_published` are the two numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from luab_data.errors import OptionError, OutputError
from luab_data.files import write_whole
from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.predictions import Predicted, read_about, read_predictions
from luab_train.metrics.intervals import Difference, unless_flat
from luab_train.metrics.sums import Measure, Table, table_of
from luab_train.metrics.sums import difference as table_difference

Row = dict[str, Any]
"""One line of results.jsonl; None is a number that does not exist, and `status` says why."""

RESULTS = "results.jsonl"
_FINISHED = ("done", "incomplete", "no class", "none")


def read_rows(folder: Path) -> list[Row]:
    """The rows of an evaluation; none if there are no results."""
    file = folder / RESULTS
    if not file.exists():
        return []
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise OptionError(
            f"{file}: not JSON lines ({error}); expected what luab-train eval wrote, delete it and"
            " evaluate again"
        ) from error
    for row in rows:
        if not isinstance(row, dict) or not {"benchmark", "metric"} <= set(row):
            raise OptionError(
                f"{file}: a line has no benchmark or metric; expected what luab-train eval wrote,"
                " evaluate again"
            )
    return rows


def replace_rows(folder: Path, benchmark: str, rows: Sequence[Row]) -> bool:
    """Write results.jsonl anew with the rows of one benchmark replaced; processes wait in turn.

    What was finished stays where there is no new number: a wrong --root takes nothing away.

    Returns: whether the rows were written.
    """
    file = folder / RESULTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{RESULTS}.lock"):
            found = read_rows(folder)
            old = [row for row in found if row["benchmark"] == benchmark]
            is_finished = any(row["status"] in _FINISHED for row in old)
            if is_finished and not any(row["status"] in _FINISHED for row in rows):
                return False
            kept = [row for row in found if row["benchmark"] != benchmark]
            text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in [*kept, *rows])
            write_whole(file, text.encode())
    except OSError as error:
        raise OutputError(f"{file}: cannot be written ({error.strerror or error})") from error
    return True


def parts_of(folder: Path, benchmark: str) -> dict[str, Path]:
    """Part -> file of predictions, of the weights that the rows are of; others are left from
    another time.
    """
    weights = {
        row.get("weights")
        for row in read_rows(folder)
        if row["benchmark"] == benchmark and row["status"] in ("done", "incomplete")
    }
    place = folder / BY_NAME[benchmark].folder if benchmark in BY_NAME else folder
    if not weights or place == folder or not place.is_dir() or benchmark == "coco":
        return {}
    return {
        file.stem: file
        for file in sorted(place.glob("*.parquet"))
        if not file.name.startswith(".") and read_about(file).get("weights") in weights
    }


def predictions(folder: Path, benchmark: str) -> Predicted | None:
    """The predictions of a benchmark of one part; None where they were not kept."""
    files = parts_of(folder, benchmark)
    return read_predictions(next(iter(files.values()))) if len(files) == 1 else None


def table(folder: Path, benchmark: str, metric: str) -> Table | None:
    """By image and cell what a metric is made of; None where it was not kept or does not say."""
    entry = BY_NAME.get(benchmark)
    found = None if entry is None else entry.metric(metric)
    files = parts_of(folder, benchmark) if found is not None else {}
    if found is None or not files:
        return None
    made = _table(found.measure, tuple((f, f.stat().st_mtime_ns) for f in files.values()))
    return made if made.cells and made.pick(found.weights) is not None else None


@lru_cache(maxsize=16)
def _table(measure: Measure, files: tuple[tuple[Path, int], ...]) -> Table:
    """Kept, for a report asks for one metric after another of the same files, 95 of IN-C."""
    return table_of(measure, (read_predictions(file) for file, _ in files))


def difference(
    models: Sequence[Path], others: Sequence[Path], benchmark: str, metric: str
) -> Difference | None:
    """Mean of some models minus that of others, over the images that all have; percent, or the
    metric's unit. None where it cannot be had from what was kept.

    Args:
        models, others: folders of evaluations, at least one each; a ranking (IN-O) and COCO are
            compared one by one.
    """
    if benchmark == "coco":
        return _coco_difference(models, others, metric)
    entry = BY_NAME.get(benchmark)
    found = None if entry is None else entry.metric(metric)
    if found is None:
        return None
    made = [[table(folder, benchmark, metric) for folder in of] for of in (models, others)]
    first, second = ([t for t in of if t is not None] for of in made)
    if len(first) < len(models) or len(second) < len(others):
        return None
    return table_difference(found, first, second)


def _coco_difference(
    models: Sequence[Path], others: Sequence[Path], metric: str
) -> Difference | None:
    folders = [folder / "coco" for folder in (*models, *others)]
    there = all((folder / "scores.parquet").is_file() for folder in folders)
    if len(models) != 1 or len(others) != 1 or not there:
        return None
    from luab_train.evaluate.coco.summary import compared

    found, num_images = compared(*folders)
    if metric not in found:
        return None
    estimate = found[metric]
    factor = BY_NAME["coco"].factor(metric)
    ends = unless_flat(estimate.low, estimate.high)
    value, low, high = (factor * float(v) for v in (estimate.value, *ends))
    return Difference(value, low, high, math.nan, num_images, "images")


def coco_tables(folder: Path) -> tuple[pa.Table, pa.Table] | None:
    """A row a class with its metrics, and which class leans on which: `coco.summary.class_table`
    and `coco.leaning.SCHEMA`; None without them.
    """
    files = [folder / "coco" / f"{name}.parquet" for name in ("classes", "leaning")]
    if not all(file.is_file() for file in files):
        return None
    classes, leaning = (pq.read_table(file) for file in files)
    return classes, leaning
