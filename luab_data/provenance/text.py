"""A record as aligned text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

from luab_data.kinds import tables_of
from luab_data.provenance.explain import Values
from luab_data.provenance.record import Record
from luab_data.schema import Table
from luab_data.words import aligned

_SHOWN = 24
"""Records of a list that are printed; of a longer one the middle is left out."""
_WIDE = 96


def as_text(record: Record) -> str:
    """Where the record came from, what was decided, derived values, then all raw values."""
    images, table, _ = tables_of(record.manifest)
    lines = [*_origin(record), *_decided(record)]
    lines += ["", f"default: {images.row}", *_values(images, record.image)]
    for number, row in enumerate(record.records, 1):
        title = f"{table.config}: round {number} of {len(record.records)}"
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
    if "wnid" in record.image:
        rows.append(("  member", f"{record.image['wnid']}/{record.image_id}.xml"))
    if instances := manifest.get("instances"):
        rows.append(("  instances", f"{instances['name']}, sha256 {instances['sha256']}"))
    for place in record.places:
        where = f"{place.file}, row group {place.row_group}, row {place.row}"
        rows.append((f"  {place.config}", f"{where} (row {place.file_row} of the file)"))
    yield from aligned(rows)


def _decided(record: Record) -> Iterator[str]:
    yield ""
    if record.decision is not None:
        number = record.decision["round"]
        of = f"round {number} of {record.decision['of']}: " if number else ""
        yield f"deciding round  {of}{record.decision['why']}"
        yield f"visit           {_visit(record.visit)}"
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


def _visit(visit: Values | None) -> str:
    """Which part of the trace the quantiles are of, in words."""
    if visit is None:
        return "none: no final click"
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
