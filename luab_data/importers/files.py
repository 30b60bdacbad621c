"""[I/O] Files as importers read them, once and in little memory; views by the thousand."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import pyarrow as pa
from msgspec import Meta
from pyarrow import csv as arrow_csv

from luab_data.errors import ArchiveError, OptionError, RecordError
from luab_data.raw.bad_records import Bad
from luab_data.raw.json_values import JsonStream
from luab_data.raw.source import DAMAGE, Source
from luab_data.views import Reading
from luab_data.views.log import View, to_table
from luab_data.words import did_you_mean

T = TypeVar("T")

Px = Annotated[float, Meta(ge=-1e6, le=1e6, description="px")]
"""Of a window or a picture."""

OnRead = Callable[[int], object]
"""Called with numbers of bytes as they are read."""

BATCH_VIEWS, BATCH_EVENTS = 1024, 2**16
"""Views that become one table, or fewer with so many events."""

_MOST_HEADER = 2**20
_BLOCK_BYTES = 2**22


def batched(found: Iterable[tuple[str, View] | RecordError]) -> Iterator[Reading]:
    """Views with what an error calls each of them, and errors of records, as tables."""
    views: list[View] = []
    names: list[str] = []
    errors: list[RecordError] = []
    num_events = 0
    for one in found:
        if isinstance(one, RecordError):
            errors.append(one)
        else:
            names.append(one[0])
            views.append(one[1])
            num_events += len(one[1].events or ())
        if len(views) + len(errors) >= BATCH_VIEWS or num_events >= BATCH_EVENTS:
            yield Reading(to_table(views), names, errors)
            views, names, errors, num_events = [], [], [], 0
    if views or errors:
        yield Reading(to_table(views), names, errors)


def files(paths: Sequence[Path], *suffixes: str) -> list[Path]:
    """The files themselves, and those of a folder that end in one of the suffixes, sorted.

    Raises:
        ArchiveError: a folder without such a file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [
            Path(root, name)
            for root, _, names in os.walk(path)
            for name in names
            if name.lower().removesuffix(".gz").endswith(suffixes) and not name.startswith(".")
        ]
        if not inside:
            raise ArchiveError(f"{path}: a folder without a file *{' or *'.join(suffixes)}")
        found += sorted(inside)
    return found


def json_objects(path: Path, on_read: OnRead) -> Iterator[dict[str, Any]]:
    """The objects of a JSON array, or of several arrays and objects one after the other.

    Raises:
        ArchiveError: not JSON, cut, empty, or something that is no object.
    """
    with Source(path, on_read) as source:
        stream = JsonStream(source)
        if not stream.peek():
            stream.fail("found an empty file; expected JSON", is_damage=False)
        while begin := stream.peek():
            if begin not in "[{":
                stream.fail(f"found {begin!r}; expected `[` or `{{`, JSON", is_damage=False)
            for value in stream.elements() if begin == "[" else [stream.value()]:
                if not isinstance(value, dict):
                    what = type(value).__name__
                    stream.fail(f"found a {what}; expected objects", is_damage=False)
                yield value


def csv_rows(
    path: Path, on_read: OnRead, expected: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file by the names of its header, each with the number of its last line.

    Commas, semicolons or tabs are between cells: what the header has most of.

    Args:
        expected: columns that must be there.

    Raises:
        ArchiveError: no CSV, cut, not UTF-8, without one of the columns, or a row of other length.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a trial's mouse is one cell
    with Source(path, on_read) as source:
        try:
            text = io.TextIOWrapper(source.content(), encoding="utf-8-sig", newline="")
            first = text.readline()
            rows = csv.reader(chain([first], text), strict=True, delimiter=_delimiter(first))
            header = next(rows, [])
            _check_header(path, header, expected)
            for row in rows:
                if len(row) != len(header) and any(row):
                    raise ArchiveError(
                        f"{path}, line {rows.line_num}: found {len(row)} cells; expected"
                        f" {len(header)}, as the header has. A comma within a cell needs quotes"
                    )
                if any(row):
                    yield rows.line_num, dict(zip(header, row, strict=True))
        except (OSError, UnicodeDecodeError, csv.Error, *DAMAGE) as error:
            raise _no_csv(path, error) from error


def csv_header(path: Path) -> list[str]:
    """The names of the columns of a CSV file."""
    with Source(path) as source:
        try:
            head = source.content().readline(_MOST_HEADER).decode("utf-8-sig", "replace")
            return next(csv.reader([head], delimiter=_delimiter(head)), [])
        except (OSError, csv.Error, *DAMAGE) as error:
            raise _no_csv(path, error) from error


def csv_tables(path: Path, on_read: OnRead, types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """Some columns of a large CSV file, with their types, some MB at a time.

    Raises:
        ArchiveError: no CSV, cut, without one of the columns, or a cell of another type.
    """
    _check_header(path, csv_header(path), tuple(types))
    with Source(path, on_read) as source:
        try:
            reader = arrow_csv.open_csv(
                source.content(),
                read_options=arrow_csv.ReadOptions(block_size=_BLOCK_BYTES),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=list(types), column_types=dict(types)
                ),
            )
            for batch in reader:
                yield pa.Table.from_batches([batch])
        except (OSError, csv.Error, pa.ArrowInvalid, *DAMAGE) as error:
            raise _no_csv(path, error) from error


def _delimiter(text: str) -> str:
    """What is between the cells of the first line."""
    header = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    return max(",;\t", key=header.count)


def _check_header(path: Path, header: Sequence[str], expected: Sequence[str]) -> None:
    for name in expected:
        if name not in header:
            raise ArchiveError(
                f"{path}: has no column {name!r}; its first line has"
                f" {', '.join(map(repr, header[:30]))[:600] or 'nothing'}"
            )


def _no_csv(path: Path, error: Exception) -> ArchiveError:
    """Cells are not quoted: somebody's name or e-mail could be in one."""
    what = "it is cut or damaged" if isinstance(error, DAMAGE) else "not CSV in UTF-8"
    if isinstance(error, UnicodeDecodeError):
        what = "not UTF-8, which Excel calls `CSV UTF-8`"
    if isinstance(error, pa.ArrowInvalid):
        what = "a row or a cell is not as in the rows before"
    return ArchiveError(f"{path}: cannot be read ({what}); expected the CSV file as it was written")


def image_path(file: str) -> str:
    """`train/n01_7` of `https://host/train/n01_7.JPEG?x=1`: a picture without host and extension.

    Servers that give files by a query (`/data/local-files/?d=train/n01_7.JPEG`) have it there.
    """
    if "://" in file or file.startswith("/"):
        url = urlsplit(file)
        file = unquote(url.path)
        if not PurePosixPath(file).suffix and "." in url.query:
            file = unquote(url.query.rpartition("=")[2])
    path = PurePosixPath(file.replace("\\", "/"))
    return path.with_name(path.stem).as_posix().lstrip("/") if path.name else file


def image_name(file: str) -> str:
    """`n01_7`: the last part of image_path."""
    return image_path(file).rpartition("/")[2] or file


def chosen(options: Mapping[str, str], name: str, known: Sequence[str], default: str) -> str:
    """An option that is one of some words.

    Raises:
        OptionError: it is none of them.
    """
    value = options.get(name, default)
    if value not in known and value != default:
        raise OptionError(f"option {name}: found {value!r}{did_you_mean(value, known)}")
    return value


def typed(value: Any, type: type[T]) -> T:
    """A piece of JSON as what the publisher says that it is; other fields are passed over.

    Raises:
        Bad: it is something else; says where inside and what was expected, and quotes nothing.
    """
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise Bad("wrong-type", f"{error}, as the format has it") from None


def cell(text: str) -> Any:
    """A cell as the value that it was before it became CSV; text where it is no JSON."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
