"""[I/O] The lines of an open log as views, or as what is wrong with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import IO, Any, NamedTuple, get_args

import msgspec

from luab_data.errors import ArchiveError, RecordError
from luab_data.raw.bad_records import without_ids
from luab_data.raw.source import DAMAGE, Source
from luab_data.views import EVENTS, Reading
from luab_data.views.log import PARTS, Kind, Pointer, View, to_table
from luab_data.words import did_you_mean

BATCH_BYTES = 2**22
"""Length of the lines that become one table."""
MAX_LINE = 2**26
"""Bytes of the longest line that is read: a million events."""

_DECODER = msgspec.json.Decoder(View)


class Lines(NamedTuple):
    """Some lines of a log: views, and errors of the others."""

    views: list[View]
    numbers: list[int]  # (num_views,) of their lines, from 1
    errors: list[RecordError]
    error_numbers: list[int]  # (num_errors,) likewise


def log_file(log: str | PathLike[str]) -> Path:
    """The file of a log.

    Raises:
        ArchiveError: a folder.
    """
    path = Path(log)
    if path.is_dir():
        raise ArchiveError(f"{path}: is a folder; expected a log: JSON Lines, a view a line")
    return path


def verb_of(kind: Kind) -> str:
    """What `luab-data convert` calls the way in for views of a kind of task."""
    return "tracing" if kind == "pointing" else kind


def read(
    path: Path, unknown: Counter[str], on_read: Callable[[int], object], kinds: Collection[Kind]
) -> Iterator[Reading]:
    """The views of an open log, in its order, and what was wrong with other lines.

    Args:
        path: JSON Lines, plain, gzip or Zstandard; empty lines are passed over.
        unknown: field that version 1 does not know -> how often it was there; added to.
        on_read: called with numbers of bytes as they are read.
        kinds: of the views that are asked for; others are errors.

    Raises:
        ArchiveError: no JSON Lines, or damaged; says what it is.
    """
    for lines in read_lines(path, unknown, on_read):
        rows = [row for row, view in enumerate(lines.views) if view.kind in kinds]
        names = [f"line {number}" for number in lines.numbers]
        others = [
            _other_kind(name, view.kind, kinds)
            for name, view in zip(names, lines.views, strict=True)
            if view.kind not in kinds
        ]
        table = to_table([lines.views[row] for row in rows])
        yield Reading(table, [names[row] for row in rows], [*lines.errors, *others])


def read_lines(
    path: Path, unknown: Counter[str], on_read: Callable[[int], object]
) -> Iterator[Lines]:
    """The lines of an open log, some MB at a time; arguments and errors as of `read`."""
    with Source(path, on_read) as source:
        number = 0
        try:
            log = source.content()
            _check_head(path, source.head)
            for batch in _batches(log):
                yield _parsed(batch, number, unknown)
                number += len(batch)
        except (OSError, *DAMAGE) as error:
            raise ArchiveError(
                f"{path}: cannot be read behind line {number:,}: cut or damaged; copy or download"
                " it again"
            ) from error


_FOREIGN = {
    rb".{257}ustar|\s*<(\?xml|annotation)": "XML files, as ImageNet-AB has them;"
    " `luab-data convert imagenet-ab` reads that",
    rb"\s*\[?\s*\{.{,4000}\"(actionHistories|mouseTracking)\"": "the JSON of COCO-AB;"
    " `luab-data convert coco-ab` reads that",
    rb"\s*\[": "a JSON array; expected an object a line: `jq -c '.[]' FILE` gives that",
    rb"\s*\{\s*\n": "JSON over several lines; expected an object a line: `jq -c . FILE` gives that",
}
"""How other files than JSON Lines begin, decompressed -> what they are, and what to do."""
_BOM = b"\xef\xbb\xbf"


def _check_head(path: Path, head: bytes) -> None:
    for beginning, what in _FOREIGN.items():
        if re.match(beginning, head.removeprefix(_BOM), re.DOTALL):
            raise ArchiveError(f"{path}: {what}")


def _batches(log: IO[bytes]) -> Iterator[list[bytes | None]]:
    """Lines some MB at a time; None for one that is too long."""
    batch: list[bytes | None] = []
    size = 0
    while line := log.readline(MAX_LINE):
        if is_long := len(line) == MAX_LINE and not line.endswith(b"\n"):
            while (rest := log.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
        batch.append(None if is_long else line)
        size += len(line)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _parsed(batch: Sequence[bytes | None], before: int, unknown: Counter[str]) -> Lines:
    """Lines, of which the first is number `before` + 1."""
    found = Lines([], [], [], [])
    for number, line in enumerate(batch, start=before + 1):
        if line is not None and not line.strip(_BLANK):
            continue
        try:
            if line is None:
                raise _TooLong
            found.views.append(decode(line.removeprefix(_BOM) if number == 1 else line, unknown))
            found.numbers.append(number)
        except (msgspec.DecodeError, RecursionError, UnicodeError, _TooLong) as error:
            found.errors.append(_refused(f"line {number}", line or b"", error))
            found.error_numbers.append(number)
    return found


_BLANK = b" \t\r\n" + _BOM


class _TooLong(Exception):
    """A line is longer than MAX_LINE."""


def decode(line: bytes, unknown: Counter[str]) -> View:
    """One line of a log.

    Raises:
        msgspec.DecodeError, RecursionError: it is not JSON, or not a view.
    """
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError as error:
        if not str(error).startswith("Object contains unknown field"):
            raise
    known, more = _known(msgspec.json.decode(line), View)
    view = msgspec.convert(known, View)
    who = view.annotator
    unknown.update(_NO_NAME if who and who in name else name for name in more)
    return view


def _known(value: Any, type: Any) -> tuple[Any, list[str]]:
    """The value without fields that the struct does not have, here and below; their names."""
    fields = {f.encode_name for f in msgspec.structs.fields(type)}
    known, unknown = {}, []
    for name, inner in value.items():
        if name not in fields:
            unknown.append(_shown(name))
            continue
        part, more = PARTS.get(name), list[str]()
        known[name] = inner
        if part and isinstance(inner, dict):
            known[name], more = _known(inner, part)
        elif part and isinstance(inner, list):
            some = [_known(one, part) if isinstance(one, dict) else (one, []) for one in inner]
            known[name], more = [one for one, _ in some], [n for _, names in some for n in names]
        unknown += [f"{name}.{one}" for one in more]
    return known, unknown


def _shown(name: str) -> str:
    """A word that somebody wrote, if it is one and no id of a person."""
    return name if _WORD.fullmatch(name) else _NO_NAME


_NO_NAME = "(no plain name)"
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{,39}")


# --- what is wrong -------------------------------------------------------------------------------

_ANNOTATOR = re.compile(rb'"annotator"\s*:\s*("(?:[^"\\]|\\.)*")').findall
_AT = re.compile(r" - at `\$\.?(?P<place>.*)`$")
_ENUM = re.compile(r"Invalid enum value '(?P<value>.*)'", re.DOTALL)
_NAMES = {"type": EVENTS, "kind": get_args(Kind), "pointer": get_args(Pointer)}


def _refused(where: str, line: bytes, error: Exception) -> RecordError:
    if isinstance(error, _TooLong):
        reason = f"longer than {MAX_LINE // 2**20} MiB; expected one view"
        return RecordError(where, "too-long", reason)
    if isinstance(error, RecursionError):
        return RecordError(where, "json-syntax", "brackets within brackets without end")
    if not isinstance(error, msgspec.ValidationError):
        return RecordError(where, "json-syntax", f"{error}; expected one JSON object")
    reason = without_ids(reason_of(str(error)), map(_text, _ANNOTATOR(line)))
    return RecordError(where, "not-a-view", reason)


def reason_of(message: str) -> str:
    """What msgspec says of a line, as a sentence of ours: where, what was found, expected."""
    at = _AT.search(message)
    place = at["place"] if at else ""
    what = message[: at.start()] if at else message
    name = place.rpartition(".")[2]
    if enum := _ENUM.match(what):
        value, known = enum["value"], _NAMES.get(name, ())
        what = (
            f"found {_shown(value)!r}{did_you_mean(value, known) if _WORD.fullmatch(value) else ''}"
        )
    elif name == "byproducts":
        what = f"{what.replace('Invalid enum value', 'found')}; expected 1, the version of the log"
    elif name in ("x", "y", "from_x", "from_y") and "float" in what and "got" not in what:
        what = f"{what}: a fraction of the picture, no pixels, no per cent"
    return f"`{place}`: {what}" if place else what


def _text(found: bytes) -> object:
    try:
        return msgspec.json.decode(found)
    except (msgspec.DecodeError, UnicodeError):
        return found[1:-1].decode("utf-8", "replace")


def _other_kind(where: str, kind: Kind, kinds: Collection[Kind]) -> RecordError:
    reason = f"is a view of a {kind} task; expected {' or '.join(sorted(kinds))}."
    return RecordError(
        where, "other-kind", f"{reason} `luab-data convert {verb_of(kind)}` reads it"
    )
