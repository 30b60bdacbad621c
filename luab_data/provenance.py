"""[I/O] One image of a dataset, explained: raw values, derived ones, how they follow, as text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.checks.lint import KindChecks, Rule, chosen, rules_of
from luab_data.checks.rows import broken_values
from luab_data.errors import DatasetError
from luab_data.kinds import kind_of, tables_of
from luab_data.schema import Table
from luab_data.store.find import RowPlace, find_rows, not_there, read_image_ids
from luab_data.store.folder import read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import aligned, counted

Values = dict[str, Any]

_SHOWN = 24
"""Records of a list that are printed; of a longer one the middle is left out."""
_WIDE = 96


@dataclass(frozen=True, kw_only=True, repr=False)
class Record:
    """Everything a dataset knows about one image.

    Args:
        folder: the dataset.
        manifest: its manifest.
        image_id: the image.
        image: its row of `default`: derived values, and raw ones of the image; of a tracing dataset
            that of its first view.
        records: its rows of `rounds` (in order) or of `actions`, raw values.
        places: where these rows lie, the one of `default` first.
        odd: lint rules that its rows break.
        decision: which round, or view of own tagging data, decided, and why.
        visit: of a browsing log: which part of the trace led to the final click; None without one.
        icons: of a tagging log: which action `last_add` and `final` of each icon come from.
        views: of a tracing dataset: the row of `default` of each view.
    """

    folder: Path
    manifest: Mapping[str, Any]
    image_id: str | int
    image: Values
    records: list[Values]
    places: list[RowPlace]
    odd: list[Rule]
    decision: Values | None = None
    visit: Values | None = None
    icons: list[Values] = field(default_factory=list)
    views: list[Values] = field(default_factory=list)

    def __repr__(self) -> str:
        """One line; as_dict() is all of it."""
        dataset, version = self.manifest["dataset"], self.manifest["version"]
        events = f"{counted(len(self.records), 'row')} of {kind_of(self.manifest).events.config}"
        odd = ", ".join(rule.id for rule in self.odd) or "no lint"
        return f"Record({self.image_id!r} of {dataset} {version}: {events}, {odd})"

    def as_dict(self) -> Values:
        """For JSON."""
        return {
            "image_id": self.image_id,
            "dataset": self.manifest["dataset"],
            "version": self.manifest["version"],
            "source": self.manifest.get("source"),
            "instances": self.manifest.get("instances"),
            "places": [asdict(place) for place in self.places],
            "decision": self.decision,
            "visit": self.visit,
            "icons": self.icons,
            "default": self.views or self.image,
            kind_of(self.manifest).events.config: self.records,
            "lint": [{"rule": rule.id, "meaning": rule.doc} for rule in self.odd],
        }


def trace(dataset: str | os.PathLike[str], image_id: str | int) -> Record:
    """Find one image and say how its derived values follow from the log.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.
        image_id: the id, or a file name of the image.

    Raises:
        DatasetError: no such dataset, or no such image: then with the ids near it.
    """
    folder = find_dataset(dataset)
    manifest = read_manifest(folder)
    kind = kind_of(manifest)
    images, table, _ = tables_of(manifest)
    enough = None if kind.has_view_rows else 1
    for wanted in read_image_ids(image_id, images):
        rows, places = find_rows(folder, images, [wanted], enough=enough)
        if places:
            break
    if not places:
        raise DatasetError(not_there(folder, images, wanted, manifest))
    image = rows if kind.has_view_rows else rows.slice(0, 1)
    counts = [name for name in ("num_rounds", "num_views") if name in image.column_names]
    count = image[counts[0]][0].as_py() if counts else len(image)
    number = int(places[0].file.rpartition("/")[2].split("-")[1])
    records, others = find_rows(folder, table, [wanted], first=number, enough=max(count or 0, 1))
    for config, checked in ((images, image), (table, records)):
        _check_sound(folder, kind.checks, config, checked)
    bounds = np.arange(len(image) + 1) if kind.has_view_rows else np.array([0, len(records)])
    window = kind.checks.window(image, records, bounds)
    return Record(
        folder=folder,
        manifest=manifest,
        image_id=wanted,
        image=image.to_pylist()[0],
        records=records.to_pylist(),
        places=[*places[: len(image)], *others],
        **kind.explain(image, records),
        odd=[rule for rule in chosen(rules_of(kind)) if rule(window).any()],
    )


def _check_sound(folder: Path, checks: KindChecks, table: Table, rows: pa.Table) -> None:
    """Rows that break a promise of the schema cannot be explained: DatasetError."""
    for odd in broken_values(rows, checks, table):
        raise DatasetError(
            f"{folder}: {table.config} of this image is damaged: {odd.found}; expected"
            f" {odd.expected}. `luab-data check` says what else is; convert the raw log again"
        )


# --- as text -------------------------------------------------------------------------------------


def as_text(record: Record) -> str:
    """Where the record came from, what was decided, derived values, then all raw values."""
    images, table, _ = tables_of(record.manifest)
    lines = [*_origin(record), *_decided(record)]
    for row in record.views or [record.image]:
        lines += ["", f"default: {images.row}", *_values(images, row)]
    for number, row in enumerate(record.records, 1):
        title = f"{table.config}: {_word(record)} {number} of {len(record.records)}"
        lines += ["", title if record.decision else table.config, *_values(table, row)]
    lines += ["", "lint" if record.odd else "lint: nothing odd"]
    lines += aligned([("", rule.severity, rule.id, rule.doc) for rule in record.odd])
    return "\n".join(lines)


def _origin(record: Record) -> Iterator[str]:
    manifest = record.manifest
    yield f"{record.image_id} of {manifest['dataset']} {manifest['version']} in {record.folder}"
    yield ""
    source = manifest.get("source") or {}
    rows = [("  source", f"{source.get('name')}, sha256 {source.get('sha256')}")]
    if member := kind_of(manifest).member:
        rows.append(("  member", member.format(**record.image)))
    if instances := manifest.get("instances"):
        rows.append(("  instances", f"{instances['name']}, sha256 {instances['sha256']}"))
    for place in record.places:
        where = f"{place.file}, row group {place.row_group}, row {place.row}"
        rows.append((f"  {place.config}", f"{where} (row {place.file_row} of the file)"))
    yield from aligned(rows)


def _decided(record: Record) -> Iterator[str]:
    yield ""
    if record.decision is not None:
        number, word = record.decision["round"], _word(record)
        of = f"{word} {number} of {record.decision['of']}: " if number else ""
        yield f"{f'deciding {word}':<14}  {of}{record.decision['why']}"
        if word == "round":
            yield f"visit           {_visit_in_words(record.visit)}"
            return
    if record.views:
        names = ("view", "worker_id", "trace_length", "duration_ms", "label", "prompt")
        cells = [("", *(_cell(row[name]) for name in names)) for row in record.views]
        yield from aligned([("", *names), *cells])
        return
    yield "icons (numbers are actions of the log, from 0)"
    head = ("", "icon", "actions", "last_add from", "final from")
    rows = [
        (
            "",
            icon["icon"],
            " ".join(map(str, icon["actions"])),
            _cell(icon["last_add"]),
            "removed" if icon["final"] is None else str(icon["final"]),
        )
        for icon in record.icons
    ]
    yield from aligned([head, *rows])


def _word(record: Record) -> str:
    """What a record of an image is called."""
    return "view" if "view" in record.image else "round"


def _visit_in_words(visit: Values | None) -> str:
    """Which part of the trace the quantiles are of, in words."""
    if visit is None:
        return "none: no final click"
    if visit["click_ms"] is None:
        return "not known: not every record has a time"
    if visit["enter_ms"] is None:
        which = "no enter before the final click, so from the start of the trace"
    else:
        which = f"visit {visit['visit']} of {visit['num_visits']}, entered at {visit['enter_ms']}"
    used = f"trace records {visit['first_record']} to {visit['last_record']}"
    used = used if visit["num_records"] else "no trace records, so no quantiles"
    return f"{which}; click at {visit['click_ms']}; {used}"


def _values(table: Table, row: Values) -> Iterator[str]:
    """Flat columns first, then lists, parallel ones as one small table."""
    units = {column.name: column.unit for column in table.columns}
    lists = {name: value for name, value in row.items() if isinstance(value, list)}
    flat = [(f"  {n}", f"{_cell(v)} {units.get(n, '')}") for n, v in row.items() if n not in lists]
    yield from aligned(flat)
    for names in _groups(lists, table):
        yield from _table(names, [lists[name] for name in names])


def _groups(names: Iterable[str], table: Table) -> list[tuple[str, ...]]:
    """List columns that are shown side by side, since they are parallel; others stand alone."""
    left = list(names)
    groups: list[tuple[str, ...]] = []
    for name in left:
        group = next((g for g in table.parallel() if name in g), (name,))
        if group not in groups:
            groups.append(group)
    return [tuple(name for name in group if name in left) for group in groups]


def _table(names: Sequence[str], columns: Sequence[list[Any]]) -> Iterator[str]:
    length = max(map(len, columns))
    prefix = _shared_words(names) if len(names) > 1 else ""
    yield f"  {prefix or ', '.join(names)}: {length}"
    if not length:
        return
    cut = length > _SHOWN
    half = _SHOWN // 2
    numbers = [*range(half), *range(length - half, length)] if cut else range(length)
    rows = [
        ("    ", str(n), *(_cell(column[n]) if n < len(column) else "" for column in columns))
        for n in numbers
    ]
    head = ("    ", "", *(name.removeprefix(f"{prefix}_") for name in names))
    first, *lines = aligned([head, *rows])
    if len(names) > 1:
        yield first
    yield from lines[:half] if cut else lines
    if cut:
        yield f"      ... {length - _SHOWN} more, all with --json"
        yield from lines[half:]


def _shared_words(names: Sequence[str]) -> str:
    """The words that all names begin with, e.g. `mouse_tracking`."""
    words = zip(*(name.split("_") for name in names), strict=False)
    return "_".join(word[0] for word in takewhile(lambda word: len(set(word)) == 1, words))


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 3]}..."
