"""Annotators as rows of a table: text of every number, those that stood out first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from luab_data.columns.regions import floats
from luab_data.report.tables import MISSING, count, number
from luab_data.schema import Column

MOST_ROWS = 30
"""Workers that a page lists; a release has thousands."""

_SHARES = ("_accuracy", "_precision", "recall", "_share", "_rate")


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A column: its heading, and what it is."""

    title: str
    doc: str


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """One worker: text of each column, and why they stood out; empty if they did not."""

    cells: tuple[str, ...]
    flagged: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkerTable:
    """What is shown of the annotators."""

    lead: str
    columns: tuple[Heading, ...]
    rows: tuple[WorkerRow, ...]


def worker_table(
    workers: pa.Table, columns: Sequence[Column], flagged: Mapping[str, str], *, size: str
) -> WorkerTable:
    """The flagged workers in the order of `flagged`, then the busiest, at most MOST_ROWS.

    Args:
        workers: one row a worker: worker_id and the columns.
        columns: those to show, with their meanings; the first is worker_id.
        flagged: worker_id -> why, the worst first.
        size: column of how much each did.
    """
    ids = workers["worker_id"].to_pylist()
    place = {name: rank for rank, name in enumerate(flagged)}
    rank = np.array([place.get(name, len(place)) for name in ids])
    busy = np.nan_to_num(floats(workers[size]))
    order = np.lexsort((np.array([str(name) for name in ids]), -busy, rank))[:MOST_ROWS]
    texts = [_texts(workers[c.name].take(pa.array(order)), c) for c in columns]
    rows = tuple(
        WorkerRow(cells=cells, flagged=flagged.get(ids[row], ""))
        for row, cells in zip(order, zip(*texts, strict=True), strict=True)
    )
    return WorkerTable(
        lead=_lead(len(ids), len(rows), len(flagged)),
        columns=tuple(Heading(title=_title(c.name), doc=c.doc) for c in columns),
        rows=rows,
    )


def _texts(values: pa.ChunkedArray, column: Column) -> list[str]:
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        return [MISSING if value is None else str(value) for value in values.to_pylist()]
    if pa.types.is_boolean(kind):
        return [{True: "yes", False: "no"}.get(value, MISSING) for value in values.to_pylist()]
    return [_text(value, column) for value in floats(values).tolist()]


def _text(value: float, column: Column) -> str:
    if column.name.endswith("_ms"):
        return number(value, "ms")
    if column.name.endswith(_SHARES):
        return number(value, "share")
    if pa.types.is_integer(column.type):
        return count(value)
    return number(value, "")


def _title(name: str) -> str:
    return name.removeprefix("num_").removesuffix("_id").removesuffix("_ms").replace("_", " ")


def _lead(total: int, shown: int, flagged: int) -> str:
    which = f"All {total}" if shown == total else f"{shown} of {total:,}"
    people = f"{which} {'annotator' if total == 1 else 'annotators'}"
    if flagged:
        return f"{people}: {flagged:,} stood out and come first, then the busiest."
    return f"{people}, the busiest first; ids are keyed hashes."
