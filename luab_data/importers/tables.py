"""[I/O] Rows of anybody's table, and which of its columns are for what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from luab_data.errors import OptionError
from luab_data.words import did_you_mean

BATCH_ROWS = 16_384
"""Rows that are looked at together."""

ROLES: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "image_id", "file", "filename", "file_name", "path"),
    "label": ("label", "class", "category", "wnid"),
    "x": ("x",),
    "y": ("y",),
    "time": ("time", "t", "timestamp", "time_ms"),
    "worker": ("worker", "worker_id", "annotator", "participant", "user"),
    "event": ("event", "event_type", "action"),
    "session": ("session", "session_id"),
    "width": ("width", "image_width"),
    "height": ("height", "image_height"),
}
"""What a column may be for -> names by which it is found, those before others first."""

_NEEDED = ("image", "label", "x", "y")


def find_columns(name: str, columns: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """What each column is for: role of ROLES -> its name.

    Args:
        name: what to call the rows in a message.
        columns: that there are.
        given: role -> name of its column, as the user says.

    Raises:
        OptionError: a column is not there, or one that is needed is none of those expected.
    """
    plain = {column.strip().casefold(): column for column in reversed(columns)}
    found = {}
    for role, obvious in ROLES.items():
        if role in given:
            if given[role] not in columns:
                near = did_you_mean(given[role], columns)
                raise OptionError(f"{name}: no column {given[role]!r}{near}")
            found[role] = given[role]
        elif there := [plain[word] for word in obvious if word in plain]:
            found[role] = there[0]
        elif role in _NEEDED:
            have = ", ".join(map(repr, columns[:30])) or "none"
            raise OptionError(
                f"{name}: no column is called {' or '.join(obvious)}; its columns are {have}. Say"
                f" which is the {role} with --{role}"
            )
    for role, column in found.items():
        if columns.count(column) > 1:
            times = columns.count(column)
            raise OptionError(
                f"{name}: {times} columns are called {column!r}, the {role}; rename one"
            )
    return found


def batches_of(records: Any) -> Iterator[list[dict[str, Any]]]:
    """Rows as dictionaries, some at a time.

    Args:
        records: an iterable of mappings, or a table of any library that Arrow can read.

    Raises:
        OptionError: neither.
    """
    if hasattr(records, "__arrow_c_stream__"):
        records = pa.RecordBatchReader.from_stream(records)
    elif hasattr(records, "columns") and hasattr(records, "iloc"):  # pandas before 2.2
        records = pa.Table.from_pandas(records, preserve_index=False).to_reader()
    if isinstance(records, pa.RecordBatchReader):
        for batch in records:
            for start in range(0, len(batch), BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS).to_pylist()
        return
    if isinstance(records, (str, bytes, Mapping)) or not isinstance(records, Iterable):
        what = type(records).__name__
        raise OptionError(f"records: found {what}; expected dictionaries, a row each, or a table")
    rows = iter(records)
    while some := list(islice(rows, BATCH_ROWS)):
        if odd := [row for row in some if not isinstance(row, Mapping)]:
            what = type(odd[0]).__name__
            raise OptionError(f"records: found a {what}; expected dictionaries, a row each")
        yield some
