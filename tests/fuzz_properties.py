"""What holds for every log, however damaged: the fuzzer's properties, each a function of a file.

Only records or a LuabError come out; what was read can be written and read again; the fast readers
say what the slow ones say; no error holds a worker id.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.compute as pc
from fuzz_mutations import WORKER

from luab_data.errors import ArchiveError, RecordError
from luab_data.raw import (
    coco,
    coco_fast,
    imagenet,
    imagenet_fast,
    json_values,
    tar,
)
from luab_data.raw.source import Source, system_of
from luab_data.schema import IMAGENET_IMAGES, IMAGENET_ROUNDS

MARK = WORKER[:6]
GZIP = b"\x1f\x8b"
_RUN_BYTES = 2**17  # a window of megabytes would be most of the time, for logs of some kB


class Broken(AssertionError):
    """A property does not hold."""


def hashed(worker_id: str) -> str:
    """Stands in for the keyed hash: equal for equal ids, and never the id."""
    return f"h{sum(worker_id.encode()):x}-{len(worker_id)}"


def must(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


def must_equal(found: Any, expected: Any, what: str) -> None:
    if found != expected:
        raise Broken(f"{what}: {found!r:.600} != {expected!r:.600}")


def must_be_silent(texts: Iterable[str], raw: bytes, fields: re.Pattern[bytes]) -> None:
    """No text holds a worker id, as far as the ids are where ids belong.

    An id that damage has moved to another field (or out of any) cannot be known for one.
    """
    if MARK.encode() in fields.sub(b"", raw):
        return
    for text in texts:
        must(MARK not in text, f"a worker id is in: {text:.300}")


_XML_FIELD = re.compile(rb"<worker_id>[^<]*")
_JSON_FIELD = re.compile(rb'"worker_id"\s*:\s*"[^"]*"')


# --- ImageNet-AB --------------------------------------------------------------------------------


def _refusal(error: RecordError) -> tuple[str, str, str]:
    must(bool(re.fullmatch(r"[a-z0-9-]+", error.rule)), f"odd rule {error.rule!r}")
    must(str(error).startswith(error.where), "an error without its place")
    return error.where, error.rule, error.reason


def _tag(tag: str, text: Any) -> str:
    return f"<{tag}>{escape(str(text), {chr(13): '&#13;'})}</{tag}>"


def written(record: imagenet.ImagenetRecord) -> bytes:
    """A record as XML again; None is left out."""
    parts: dict[str, list[str]] = {"source": [], "size": []}
    lines = []
    for column in IMAGENET_IMAGES.columns:
        value = record.image.get(column.name)
        if not column.raw or value is None or isinstance(value, list):
            continue
        parent, _, child = column.raw.rpartition("/")
        parts[parent].append(_tag(child, value)) if parent else lines.append(_tag(child, value))
    lines += [f"<{tag}>{''.join(inside)}</{tag}>" for tag, inside in parts.items() if inside]
    for k, box in enumerate(record.image["boxes"]):
        edges = zip(("xmin", "ymin", "xmax", "ymax"), map(repr, box), strict=True)
        inside = f"<bndbox>{''.join(_tag(*edge) for edge in edges)}</bndbox>"
        for column in IMAGENET_IMAGES.columns:
            if column.raw and column.raw.startswith("object/") and column.name != "boxes":
                value = record.image[column.name][k]
                inside += "" if value is None else _tag(column.raw.partition("/")[2], value)
        lines.append(f"<object>{inside}</object>")
    lines += [_written_block(values) for values in record.rounds]
    return f"<annotation>{''.join(lines)}</annotation>".encode()


def _written_block(values: imagenet.Values) -> str:
    lines: list[str] = []
    entries: dict[str, list[list[str]]] = {}
    for column in IMAGENET_ROUNDS.columns:
        value = values.get(column.name)
        if not column.raw or column.name in ("image_id", "wnid") or value is None:
            continue
        tag, _, child = column.raw.partition("/")
        if not child:
            lines.append(_tag(tag, value))
        elif isinstance(value, list):
            rows = entries.setdefault(tag, [[] for _ in value])
            for row, item in zip(rows, value, strict=True):
                row.append(_tag(child, item))
        else:
            entries.setdefault(tag, [[]])[0].append(_tag(child, value))
    for tag, rows in entries.items():
        lines += [f"<{tag}>{''.join(row)}</{tag}>" for row in rows] or [_tag(tag, "None")]
    return f"<metadata>{''.join(lines)}</metadata>"


def _stable(name: str, body: bytes, record: imagenet.ImagenetRecord) -> None:
    must_equal(imagenet.parse(name, body), record, "parsed twice")
    again = imagenet.parse(name, written(record))
    for found, expected in zip(
        (again.image, *again.rounds), (record.image, *record.rounds), strict=True
    ):
        must_equal(_there(found), _there(expected), "written and parsed again")


def _there(values: imagenet.Values) -> dict[str, str]:
    """The values that are not null, as text: 0.0 equals -0.0."""
    return {name: repr(value) for name, value in values.items() if value is not None}


def _tables_equal(found: pa.Table, expected: pa.Table, what: str) -> None:
    must_equal(found.schema, expected.schema, f"schema of {what}")
    for name in expected.column_names:
        # repr, since 0.0 equals -0.0.
        must_equal(
            repr(found[name].to_pylist()), repr(expected[name].to_pylist()), f"{what}.{name}"
        )


def _body(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    return file.read() if file else b""


def imagenet_log(path: Path) -> None:
    """A tar whose members, intact or not, are records of ImageNet-AB."""
    with tarfile.open(path) as log:
        bodies = [(info.name, _body(log, info)) for info in log]
    records, refused, unknown = [], [], []
    for index, (name, body) in enumerate(bodies):
        try:
            record = imagenet.parse(name, body)
        except RecordError as error:
            refused.append((index, _refusal(error)))
            must_be_silent([str(error)], body, _XML_FIELD)
        else:
            _stable(name, body, record)
            must_be_silent(record.unknown, body, _XML_FIELD)
            records.append((index, record))
            unknown += [(index, element) for element in record.unknown]
    expected = imagenet.to_batch([record for _, record in records], hashed)

    source = Source(path)
    reads, first = [], []
    total = 0
    for run in tar.runs(source, run_bytes=_RUN_BYTES):
        reads.append(imagenet_fast.read_run(run, hashed))
        first.append(total)
        total += len(run.names)
    source.close()
    numbered = list(zip(first, reads, strict=True))
    errors = [(k + i, _refusal(error)) for k, read in numbered for i, error in read.errors]
    must_equal(errors, refused, "refused by the fast reader")
    places = [k + place for k, read in numbered for place in read.places.tolist()]
    must_equal(places, [index for index, _ in records], "places")
    found = [(k + i, element) for k, read in numbered for i, element in read.unknown]
    must_equal(sorted(found), sorted(unknown), "unknown elements")
    _tables_equal(pa.concat_tables(read.batch.images for read in reads), expected.images, "images")
    rounds = pa.concat_tables(read.batch.rounds for read in reads)
    # Blocks of one image stay in their order; those of different images need not.
    must_equal(
        Counter(map(repr, rounds.to_pylist())),
        Counter(map(repr, expected.rounds.to_pylist())),
        "rounds",
    )
    must(
        not pc.any(pc.match_substring(expected.rounds["worker_id"], MARK)).as_py(), "raw worker id"
    )


# --- COCO-AB ------------------------------------------------------------------------------------


class Coco(NamedTuple):
    """A log as one of the two readers sees it; the fields are those of CocoBatch, all batches."""

    rows: pa.Table
    places: list[int]
    refused: list[tuple[int, tuple[str, str, str]]]
    unknown: list[tuple[int, str]]
    end: str  # why the rest of the file cannot be read

    def texts(self) -> list[str]:
        """All that may be shown to somebody."""
        return [*(r[2] for _, r in self.refused), *(key for _, key in self.unknown), self.end]


def _slow_coco(path: Path) -> Coco:
    """One record after the other, each from generic JSON."""
    records: list[tuple[int, coco.CocoRecord]] = []
    refused, end = [], ""
    source = Source(path)
    try:
        for index, found in enumerate(coco.raw_records(source)):
            try:
                records.append((index, coco.parse(index, found)))
            except RecordError as error:
                refused.append((index, _refusal(error)))
            else:
                must_equal(coco.parse(index, found), records[-1][1], "parsed twice")
    except ArchiveError as error:
        end = str(error)
    finally:
        source.close()
    return Coco(
        rows=coco.to_table([record for _, record in records], hashed),
        places=[index for index, _ in records],
        refused=refused,
        unknown=[(index, key) for index, record in records for key in record.unknown],
        end=end,
    )


def _fast_coco(path: Path, size: int) -> Coco:
    found, end = [], ""
    source = Source(path)
    try:
        for batch in coco_fast.batches(source, hashed, size=size):
            found.append(batch)
    except ArchiveError as error:
        end = str(error)
    finally:
        source.close()
    return Coco(
        rows=pa.concat_tables([coco.SCHEMA.empty_table(), *(b.table for b in found)]),
        places=[place for batch in found for place in batch.places.tolist()],
        refused=[(place, _refusal(error)) for batch in found for place, error in batch.errors],
        unknown=[item for batch in found for item in batch.unknown],
        end=end,
    )


def _strict_json(path: Path) -> list[Any] | str | None:
    """The array that the file is by the standard library, or why it is none; None: cannot say."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == GZIP else data
        text = data.decode("utf-8-sig")
        found = json.loads(text, parse_constant=json_values._refuse_constant)
    except (OSError, EOFError, ValueError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        return str(error) or "damaged"
    except RecursionError:
        return None
    return found if isinstance(found, list) else None


def _raw_coco(path: Path) -> tuple[list[Any], str]:
    source, found = Source(path), []
    try:
        for value in coco.raw_records(source):
            found.append(value)
    except ArchiveError as error:
        return found, str(error)
    finally:
        source.close()
    return found, ""


def coco_log(path: Path) -> None:
    """A file that is, or was, a COCO-AB log."""
    data = path.read_bytes()
    values, end = _raw_coco(path)
    expected = _strict_json(path)
    if isinstance(expected, list) and not (end and "recursion" in end):
        must_equal((repr(values), end), (repr(expected), ""), "values, against json.loads")
    elif isinstance(expected, str) and data.lstrip()[:1] == b"[":
        must(bool(end), f"read a broken array as whole; json.loads: {expected}")

    # Tiny chunks and runs, so that every seam and every end of a chunk occurs in small files.
    tiny = mock.patch.multiple(json_values, RUN_CHARS=1500, _LEAST_CHARS=100)
    chunks = mock.patch.object(json_values, "_CHUNK", 97)
    slow = _slow_coco(path)
    must_be_silent(slow.texts(), data, _JSON_FIELD)
    _same_coco(_fast_coco(path, size=3), slow)
    with tiny, chunks:
        _same_coco(_fast_coco(path, size=2), _slow_coco(path))


def _same_coco(fast: Coco, slow: Coco) -> None:
    must_equal(fast.end, slow.end, "end of the file")
    must_equal(fast.places, slow.places, "places")
    must_equal(fast.refused, slow.refused, "refused")
    must_equal(sorted(fast.unknown), sorted(slow.unknown), "unknown keys")
    _tables_equal(fast.rows, slow.rows, "actions")


# --- tar ----------------------------------------------------------------------------------------

_LIMIT = 2**16


def _members(path: Path, run_bytes: int) -> tuple[list[tuple[str, bytes, str]], str]:
    found: list[tuple[str, bytes, str]] = []
    source = Source(path)
    try:
        for run in tar.runs(source, max_member_bytes=_LIMIT, run_bytes=run_bytes):
            for index, name in enumerate(run.names):
                problem = run.problems.get(index)
                must(not problem or not run.body(index), "the bytes of a bad member")
                found.append((name, run.body(index), _refusal(problem)[1] if problem else ""))
    except ArchiveError as error:
        return found, str(error)
    finally:
        source.close()
    return found, ""


def _by_tarfile(path: Path) -> list[tuple[str, bytes | None]]:
    """What the standard library finds, up to its end or its first error."""
    found: list[tuple[str, bytes | None]] = []
    try:
        data = path.read_bytes()
        if data[:2] == GZIP:
            data = gzip.decompress(data)
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errors="surrogateescape") as log:
            for info in log:
                if not info.isdir() and not system_of(info.name):
                    plain = info.isreg() and not info.issparse() and info.size <= _LIMIT
                    file = log.extractfile(info) if plain else None
                    found.append((info.name, file.read() if file else None))
    except Exception:  # tarfile raises nearly anything on odd headers; what it read before counts
        pass
    return found


def archive_file(path: Path) -> None:
    """A file that is, or was, a tar or tar.gz."""
    found, end = _members(path, 2**20)
    for name, body, rule in found:
        name.encode()  # any terminal and JSON can hold it
        must(len(body) <= _LIMIT and (not rule or not body), "an unusable member")
        must(rule == "unsafe-path" or ".." not in name.split("/"), f"climbs: {name!r}")
    # However the window moves over the file, the same members.
    small, small_end = _members(path, 2048)
    if end and (path.read_bytes()[:2] == GZIP or "too-large" in {m[2] for m in small}):
        # isal drops what it decompressed in the call that meets the damage, and a member that is
        # too large is told before the file turns out to end in it: so the places of the end may
        # differ, but no window makes such a file whole, or its members others.
        size = min(len(small), len(found))
        must_equal((small[:size], bool(small_end)), (found[:size], True), "in small runs")
    else:
        must_equal((small, small_end), (found, end), "in small runs")
    known = _by_tarfile(path)
    # tarfile also stops at odd values of fields that nobody needs, like the time or the owner.
    must(bool(end) or len(known) <= len(found), f"{len(found)} members, tarfile: {len(known)}")
    size = min(len(known), len(found))
    for (name, body, rule), (their_name, their_body) in zip(
        found[:size], known[:size], strict=True
    ):
        if not rule and their_body is not None:
            must_equal(body, their_body, f"body of {name}")
        if their_name.isascii() and "\\" not in their_name:
            must_equal(name, their_name, "name")
