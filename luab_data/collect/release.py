"""[I/O] What people did in a study as the releases have it: XML files in a tar, or a JSON array.

The raw columns are those that `luab-data convert` makes of the open log, and their keys stand in
the schema; what the formats have no place for is left out and told. docs/formats.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple
from xml.sax.saxutils import escape

import pyarrow as pa

from luab_data.collect.export import Exported, sessions
from luab_data.collect.serve import Opened
from luab_data.errors import OptionError
from luab_data.files import new_file
from luab_data.kinds import OWN_KINDS
from luab_data.own_tables import OWN_ACTIONS
from luab_data.schema import COCO_ACTIONS, IMAGENET_ROUNDS
from luab_data.simulate import tar_gz
from luab_data.simulate.page import element
from luab_data.table import Table
from luab_data.tools import COCO_CLASSES, Vocabulary
from luab_data.views.browsing import rounds
from luab_data.views.grouping import grouped
from luab_data.views.log import to_table
from luab_data.views.tagging import actions


class _Release(NamedTuple):
    """How one of the formats is written.

    Args:
        suffix: of the file.
        mark: how a file of ours begins.
        verb: of `luab-data convert` that reads it.
        lacks: what it cannot hold.
        write: (file, views, study, file that waits) -> remarks.
    """

    suffix: str
    mark: bytes
    verb: str
    lacks: str
    write: Callable[[IO[bytes], Iterator[pa.Table], Opened, Path], list[str]]


def export_release(
    study: Opened, out: Path, *, finished: bool = False, force: bool = False
) -> Exported:
    """Write a study in the release's format; arguments as of `export`.

    Raises:
        OptionError: another suffix, or the format cannot name the classes or pictures.
        OutputError: the file cannot be written.
    """
    format = _FORMATS[OWN_KINDS[study.study.task].several_labels]
    if not out.name.endswith(format.suffix):
        raise OptionError(f"{out}: as the release it is {format.suffix}; expected such a name")
    views = 0
    num_sessions = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal views, num_sessions
        for found in map(list, sessions(study, finished, others=False)):
            num_sessions += 1
            views += len(found)
            table = to_table(found)
            names = ["worker_id" if n == "annotator" else n for n in table.column_names]
            yield table.rename_columns(names)

    with new_file(out, mark=format.mark, force=force) as target, target.path.open("wb") as file:
        waiting = target.path.with_name(f"{target.path.name}.views")
        remarks = format.write(file, tables(), study, waiting)
    lacks = f"the format has no place for {format.lacks}: they are not in the file"
    return Exported(views, num_sessions, target.same, format.verb, (lacks, *remarks))


def _write_xml(
    file: IO[bytes], tables: Iterator[pa.Table], study: Opened, waiting: Path
) -> list[str]:
    with tar_gz(file) as add:
        for group in grouped(tables, ("label", "image_id"), waiting):
            blocks = [*_records(IMAGENET_ROUNDS, rounds(group.table), ("image_id", "wnid"))]
            first = group.table.take(pa.array(group.bounds[:-1])).select(["label", "image_id"])
            for place, image in enumerate(first.to_pylist()):
                folder = escape(image["label"])
                name = image["image_id"].replace("/", "_")
                shown = blocks[group.bounds[place] : group.bounds[place + 1]]
                metadata = [{k: _text(v) for k, v in sorted(one.items())} for one in shown]
                record = {"filename": escape(name), "folder": folder, "metadata": metadata}
                path = f"train_xml/{image['label'].replace('/', '%2F')}/{name}.xml"
                add(path, element("annotation", record, "").encode())
    return []


def _text(value: Any) -> Any:
    """A value as the release writes it: nothing is the word None."""
    if isinstance(value, dict):
        return {key: _text(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_text(one) for one in value] or None
    return escape(value) if isinstance(value, str) else value


def _write_json(
    file: IO[bytes], tables: Iterator[pa.Table], study: Opened, waiting: Path
) -> list[str]:
    names = tuple(label.name for label in study.study.classes)
    if strange := [name for name in names if name not in COCO_CLASSES]:
        raise OptionError(
            f"class {strange[0]!r}: the JSON of COCO-AB knows COCO's 80 classes alone; expected"
            " those, or export the open log"
        )
    groups: dict[str, list[str]] = {}
    for label in study.study.classes:
        groups.setdefault(label.group, []).append(label.name)
    superclasses = {name: tuple(some) for name, some in groups.items() if name}
    vocabulary = Vocabulary(names, superclasses)
    seen: dict[int, str] = {}
    left_out = 0
    file.write(b"[")
    for group in grouped(tables, ("image_id",), waiting):
        last = group.table.take(pa.array(group.bounds[1:] - 1))
        left_out += len(group.table) - len(last)
        raw = actions(last, vocabulary, OWN_ACTIONS.schema())
        for record in _records(COCO_ACTIONS, raw):
            name = record["image_id"]
            number = re.search(r"\d{1,18}$", name)
            if number is None or seen.setdefault(int(number[0]), name) != name:
                raise OptionError(
                    f"picture {name!r}: the JSON of COCO-AB knows pictures by the number that their"
                    " name ends in; expected one, each once, or export the open log"
                )
            record["image_id"] = int(number[0])
            file.write(b", " if len(seen) > 1 else b"")
            file.write(json.dumps(record, ensure_ascii=False).encode())
    file.write(b"]")
    return [f"{left_out:,} views of pictures that somebody saw later too"] if left_out else []


def _records(table: Table, raw: pa.Table, without: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Rows as nested keys of the log: a list of objects where columns are parallel lists."""
    paths = [
        (column.raw.split("/"), column.name)
        for column in table.columns
        if column.raw and column.name in raw.column_names and column.name not in without
    ]
    for row in raw.to_pylist():
        record: dict[str, Any] = {}
        for (key, *inside), name in paths:
            value = row[name]
            if isinstance(value, list):
                entries = record.setdefault(key, [{} for _ in value])
                for entry, one in zip(entries, value, strict=True):
                    _put(entry, inside, one)
            else:
                _put(record, [key, *inside], value)
        yield record


def _put(record: dict[str, Any], path: Iterable[str], value: Any) -> None:
    """A value at a path of keys; a point of which nothing is known is null."""
    *above, last = path
    for key in above:
        if value is None and not record.get(key):
            record[key] = None
            return
        record = record.setdefault(key, {})
    record[last] = value


_FORMATS: Mapping[bool, _Release] = {
    False: _Release(
        ".tar.gz", b"\x1f\x8b", "imagenet-ab",
        "pictures of other classes, clicks that take a selection back or are made by key, the path"
        " while a picture is selected, arms, and what happened on the page", _write_xml,
    ),
    True: _Release(
        ".json", b'[{"', "coco-ab",
        "arms, \"nothing here\" and \"unsure\", pointers, and what happened on the page",
        _write_json,
    ),
}  # fmt: skip
"""By whether a picture has several labels."""
