"""[I/O] Clicks as a row each, from a CSV or from Python -> a browsing dataset: three columns do.

Rows of one image, class, worker and session are one view, in the order of their times, else of the
file. A row with a place selects the picture, unless a column of events says what else it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack, cast

from luab_data.columns.rounds import Deciding
from luab_data.conversion import AnyPath, Converted
from luab_data.errors import OptionError
from luab_data.importers.files import csv_header, csv_rows
from luab_data.importers.picture_sizes import PictureSizes
from luab_data.importers.records import BY_VIEW, Records
from luab_data.importers.tables import ROLES, batches_of, find_columns
from luab_data.importers.units import TimeUnits, Units
from luab_data.views import Reading
from luab_data.views.convert import Classes, Options, Origin, ViewsJob, origin_of, read_classes
from luab_data.views.grouping import grouped
from luab_data.words import did_you_mean


class ClickOptions(Options, total=False):
    """What convert_clicks and convert_records take.

    Attributes:
        image, label, x, y, time, worker, event, session, width, height: names of columns; those
            not given are found where they have an obvious name, e.g. `class` or `t`. Image, label,
            x and y are needed.
        units: of x and y: `px` of the picture's file as it is shown, `fraction` or `percent` of it;
            found from the data if not given, or refused where they allow two.
        time_units: `ms` or `s` of a clock that does not tell the time of day; likewise.
        images: folder of the pictures, whose sizes pixels are divided by: only headers are read.
        classes: all classes there are, or a file of them; those of the rows if not given.
        boxes, deciding: as of convert_browsing; `majority` decides if not given.
    """

    image: str
    label: str
    x: str
    y: str
    time: str
    worker: str
    event: str
    session: str
    width: str
    height: str
    units: Units
    time_units: TimeUnits
    images: AnyPath
    classes: Classes | AnyPath
    boxes: AnyPath
    deciding: Deciding


def convert_clicks(csv: AnyPath, out: AnyPath, **options: Unpack[ClickOptions]) -> Converted:
    """Convert a CSV of clicks to a dataset folder, like ImageNet-AB's; docs/own-data.md.

    Args:
        csv: a row a click, or any other event, under named columns; plain, gzip or Zstandard;
            commas, semicolons or tabs between.
        out: the dataset folder.
        options: see ClickOptions and Options.

    Returns: what was written; its remarks say which columns and units were taken.

    Raises:
        RecordError, ArchiveError, ImagesError, OutputError, OptionError: nothing was changed then.
    """
    path = Path(csv)
    rows = ((f"line {number}", row) for number, row in csv_rows(path, lambda _: None))
    return _convert(path.name, rows, csv_header(path), origin_of([path]), out, options)


def convert_records(records: Any, out: AnyPath, **options: Unpack[ClickOptions]) -> Converted:
    """Convert clicks that are in memory, or come one by one, as convert_clicks does a file's.

    Args:
        records: an iterable of dictionaries, or a table of pyarrow, pandas, polars, duckdb.
        out: the dataset folder.
        options: see ClickOptions and Options.

    Raises:
        RecordError, ArchiveError, ImagesError, OutputError, OptionError: nothing was changed then.
    """
    batches = batches_of(records)
    first = next(batches, [])
    names = [*dict.fromkeys(str(name) for row in first for name in row)]
    rows = (
        (f"record {number}", row)
        for number, row in enumerate(chain.from_iterable(chain([first], batches)), start=1)
    )
    return _convert("records", rows, names, None, out, options)


def _convert(
    name: str,
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    columns: Sequence[str],
    origin: Origin | None,
    out: AnyPath,
    options: ClickOptions,
) -> Converted:
    """Rows with what an error calls them; without an origin they are their own."""
    known = ClickOptions.__annotations__ | Options.__annotations__
    for option in set(options) - {*known}:
        raise OptionError(f"no option {option!r}{did_you_mean(option, known)}")
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    chosen = {role: given[role] for role in ROLES if role in given}
    of_dataset = {key: value for key, value in given.items() if key in Options.__annotations__}
    found = find_columns(name, columns, chosen)
    sizes = PictureSizes(Path(given["images"])) if "images" in given else None
    records = Records(found, sizes, on_bad=given.get("on_bad", "raise"))
    deciding: Deciding = given.get("deciding", "majority")
    with TemporaryDirectory(prefix="luab-") as folder:
        waiting = Path(folder, "records.arrow")
        with closing(grouped(records.tables(rows), BY_VIEW, waiting)) as groups:
            first = next(groups, None)  # all rows were read then
            scales = records.scales(name, first, given.get("units"), given.get("time_units"))
            job = ViewsJob(
                "browsing",
                read_classes(given.get("classes")),
                {"deciding": deciding, "reading": {"columns": found, **scales.as_dict()}},
                boxes=Path(given["boxes"]) if "boxes" in given else None,
            )

            def read(unknown: Any, on_read: Any) -> Iterator[Reading]:
                unknown.update(dict.fromkeys(set(columns) - {*found.values()}, records.num_rows))
                yield Reading(records.no_views(), [], records.errors)
                for group in chain([first] if first else [], groups):
                    yield records.reading(group, scales)

            whole = origin or Origin(name, records.sha256, None)
            done = job.convert(read, whole, out, cast(Options, of_dataset))
    return replace(done, remarks=(*records.remarks(name, scales), *done.remarks))
