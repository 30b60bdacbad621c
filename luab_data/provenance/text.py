"""A record as aligned text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from luab_data.checks.text import aligned
from luab_data.provenance.record import Record, Values
from luab_data.schema import DATASETS, Table

_SHOWN = 24
"""Records of a list that are printed; of a longer one the middle is left out."""
_WIDE = 96


def as_text(record: Record) -> str:
    """Where the record came from, what was decided, derived values, then all raw values."""
    images, table, _ = DATASETS[record.manifest["dataset"]]
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
    if manifest["dataset"] == "imagenet-ab":
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
    """Flat columns first, then lists that share a prefix as one small table each."""
    units = {column.name: column.unit for column in table.columns}
    lists = {name: value for name, value in row.items() if isinstance(value, list)}
    flat = [(f"  {n}", f"{_cell(v)} {units.get(n, '')}") for n, v in row.items() if n not in lists]
    yield from aligned(flat)
    for names in _groups(table, list(lists)):
        yield from _table(names, [lists[name] for name in names])


def _groups(table: Table, names: Sequence[str]) -> list[list[str]]:
    """List columns that are shown side by side: of one key of the log, or of one derived point."""
    raw = {column.name: column.raw for column in table.columns}
    groups: dict[str, list[str]] = {}
    for name in names:
        key = (raw.get(name) or "").partition("/")[0] or name.removesuffix("_x").removesuffix("_y")
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def _table(names: Sequence[str], columns: Sequence[list[Any]]) -> Iterator[str]:
    length = max(map(len, columns))
    yield f"  {', '.join(names)}: {length}"
    half = _SHOWN // 2
    shown = range(length)
    cut = length > _SHOWN
    numbers = [*shown[:half], *shown[length - half :]] if cut else list(shown)
    rows = [
        ("    ", str(n), *(_cell(column[n]) if n < len(column) else "" for column in columns))
        for n in numbers
    ]
    lines = aligned(rows)
    yield from lines[:half] if cut else lines
    if cut:
        yield f"      ... {length - _SHOWN} more, all with --json"
        yield from lines[half:]


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 3]}..."
