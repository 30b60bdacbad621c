"""Damaged logs for the fuzzer: valid ones of several layouts, changed a few times."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence

import hypothesis.strategies as st
from fuzz_changes import BYTES, JSON, XML, Change, flip, place
from logs import action, block, coco_record, xml

WORKER = "WORKER7F3A"
"""The worker of every record of the corpus: no error may hold its first six letters."""
IMAGE_ID = "n00000001_1"

# --- tar ----------------------------------------------------------------------------------------

_BLOCK = 512
_HEADER_FIELDS = {  # (start, end): what may stand there
    (0, 100): (b"a/../x.xml", b"/a.xml", b"C:/a.xml", b"\xff.xml", b"x" * 100, b"a\\b.xml", b""),
    (100, 108): (b"", b"7777777", b"\xff" * 8),
    (124, 136): (
        *(b"0", b"-1", b"777777777777", b"00000000010 ", b"        1", b"1 2", b"9", b""),
        *(b"\x80" + bytes(10) + b"\x05", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"0000000001\0\0"),
    ),
    (136, 148): (b"", b"-1", b"\xff" * 12, b"99999999999"),
    (156, 157): tuple(bytes([c]) for c in b"\x00012345678LKSxgXDVMNAZ"),
    (157, 257): (b"/etc/passwd", b"\xff"),
    (257, 265): (b"ustar\x0000", b"ustar  \0", b"", b"\xff" * 8),
    (345, 500): (b"p" * 155, b"..", b"\xff", b""),
}
_FIELDS = tuple(_HEADER_FIELDS)


def _header_of(body: bytes, i: int) -> int:
    places = [at for at in range(0, len(body), _BLOCK) if body[at + 257 : at + 262] == b"ustar"]
    return places[i % len(places)] if places else 0


def _with_checksum(header: bytes) -> bytes:
    blank = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(blank) + header[156:]


def header(body: bytes, i: int, j: int) -> bytes:
    """Another value in a field of a header, whose checksum stays right."""
    at = _header_of(body, i)
    start, end = _FIELDS[j % len(_FIELDS)]
    values = _HEADER_FIELDS[start, end]
    value = values[j // len(_FIELDS) % len(values)].ljust(end - start, b"\0")
    head = body[at : at + _BLOCK]
    return body[:at] + _with_checksum(head[:start] + value + head[end:]) + body[at + _BLOCK :]


def header_byte(body: bytes, i: int, j: int) -> bytes:
    at = _header_of(body, i)
    head = flip(body[at : at + _BLOCK], j // 8, j)
    return body[:at] + _with_checksum(head) + body[at + _BLOCK :]


def move_block(body: bytes, i: int, j: int) -> bytes:
    blocks = [body[at : at + _BLOCK] for at in range(0, len(body), _BLOCK)]
    if blocks:
        blocks.insert(j % len(blocks), blocks.pop(i % len(blocks)))
    return b"".join(blocks)


def copy_block(body: bytes, i: int, j: int) -> bytes:
    at = i * _BLOCK % max(1, len(body))
    to = j * _BLOCK % max(1, len(body))
    return body[:to] + body[at : at + _BLOCK] + body[to:]


def zeros(body: bytes, i: int, j: int) -> bytes:
    at = i * _BLOCK % max(1, len(body))
    return body[:at] + bytes(_BLOCK * (1 + j % 3)) + body[at + _BLOCK * (j // 3 % 2) :]


def cut_blocks(body: bytes, i: int, j: int) -> bytes:
    return body[: i * _BLOCK % max(1, len(body))]


TAR: dict[str, Change] = {
    **BYTES,
    **{
        f.__name__: f for f in (header, header_byte, move_block, copy_block, zeros, cut_blocks)
    },
}  # fmt: skip


def _zip(body: bytes) -> bytes:
    return gzip.compress(body, 1, mtime=0)


def _outer(body: bytes, how: str, i: int, j: int) -> bytes:
    """The file around the tar: plain, gzip, or gzip that is damaged, cut, joined or followed."""
    if how == "plain":
        return body
    zipped = _zip(body)
    if how == "gzip, changed":
        return BYTES[sorted(BYTES)[j % len(BYTES)]](zipped, i, j)
    if how == "gzip, two members":
        return _zip(body[: place(body, i)]) + _zip(body[place(body, i) :])
    if how == "gzip, rubbish behind":
        return zipped + bytes(i % 40) + b"rubbish" * (j % 3)
    return zipped


# --- corpora and strategies ---------------------------------------------------------------------


def _trace(size: int) -> list[tuple[int, float, float]]:
    return [(1_640_000_000_000 + 17 * k, k / 7, 1 - k / 3) for k in range(size)]


def _blocks() -> list[dict[str, object]]:
    full = block(trace=_trace(3), hovered=[("enter", 1), ("leave", 2)], worker=WORKER)
    return [full, block(selected=False, clicks=[], submit=1_640_000_500, worker=WORKER)]


_BARE = xml(IMAGE_ID, blocks=[])
RECORDS = (
    _BARE,  # the simplest one first: failing logs shrink towards it
    xml(IMAGE_ID, _blocks()[:1], [(1, 2, 3.5, 4)]),
    xml(IMAGE_ID, _blocks()),
    xml(IMAGE_ID, _blocks()[1:], [(0, 0, 9, 9), (1, 1, 2, 2)]),
    xml(IMAGE_ID, _blocks()[1:]).replace(
        b"  <folder>n00000001</folder>\n  <filename>n00000001_1</filename>\n",
        b"  <filename>n00000001_1</filename>\n  <folder>n00000001</folder>\n",
    ),
)
"""Valid ImageNet-AB records in both orders of the release, with and without boxes and blocks."""


def _coco_records() -> list[dict[str, object]]:
    steps = [action("add", "dog", (0.25, 1.5), 7), action("move", "dog", (0.5, 0.5), 8)]
    other = [action("add", "traffic light", (0, 0), 1), action("remove", "dog", None, 9)]
    records = [coco_record(k, (steps, other, [])[k % 3], worker_id=WORKER) for k in range(5)]
    keys = ("image_id", *(key for key in records[0] if key != "image_id"))
    ordered = [{key: record[key] for key in keys} for record in records]
    return [*ordered[:3], *records[3:]]  # a log whose keys come in two orders


_RECORDS = _coco_records()
DOCUMENTS = (
    json.dumps(_RECORDS[:2]).encode(),
    json.dumps(_RECORDS).encode(),
    json.dumps(_RECORDS[3:], indent=1).encode(),
    json.dumps(_RECORDS[:2], separators=(",", ":")).encode(),
    "\n".join(json.dumps(record) for record in _RECORDS[:4]).encode(),
    _zip(json.dumps(_RECORDS[:3]).encode()),
)
"""Valid COCO-AB logs: arrays, indented, packed, JSON Lines, gzip."""


def tar_of(
    bodies: Sequence[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT, mtime: float = 0
) -> bytes:
    """A tar of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, body in bodies:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            info.mtime = mtime  # part of a second makes a pax header
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


_LONG = "a/" + "b" * 120 + "/n1_1.xml"
ARCHIVES = (
    tar_of([(f"t/n1/n1_{k}.xml", _BARE * k) for k in range(4)]),
    tar_of([(_LONG, b"long"), ("t/ü.xml", b"x" * 700), ("t/c.txt", b"")], tarfile.GNU_FORMAT),
    tar_of([(_LONG, b"long"), ("t/ü.xml", b"x" * 513), ("t/e.xml", b"")], tarfile.PAX_FORMAT),
    tar_of([(n, _BARE) for n in ("t/._a.xml", "t/a.xml", "t/b.xml")], tarfile.PAX_FORMAT, 0.5),
)

_numbers = st.integers(0, 2**16 - 1)


def changed(
    bases: Sequence[bytes], changes: Mapping[str, Change], most: int
) -> st.SearchStrategy[bytes]:
    """Some of the bases after up to `most` changes; sometimes any bytes at all."""
    change = st.tuples(st.sampled_from(sorted(changes)), _numbers, _numbers)

    def apply(base: bytes, chosen: list[tuple[str, int, int]]) -> bytes:
        for kind, i, j in chosen:
            base = changes[kind](base, i, j)[:400_000]
        return base

    damaged = st.builds(apply, st.sampled_from(bases), st.lists(change, max_size=most))
    inserted = st.builds(
        lambda base, at, new: base[: at % len(base)] + new + base[at % len(base) :],
        st.sampled_from(bases),
        _numbers,
        st.binary(max_size=30),
    )
    return damaged | damaged | damaged | inserted | st.binary(max_size=200)


def imagenet_logs() -> st.SearchStrategy[bytes]:
    """A tar of a few records, intact and damaged ones side by side."""
    name = f"train_xml/n00000001/{IMAGE_ID}.xml"
    body = st.sampled_from(RECORDS) | changed(RECORDS, XML, 3)
    return st.lists(body, min_size=1, max_size=16).map(
        lambda bodies: tar_of([(name, body) for body in bodies])
    )


def coco_logs() -> st.SearchStrategy[bytes]:
    """A JSON log, damaged."""
    return changed(DOCUMENTS, JSON, 4)


def archives() -> st.SearchStrategy[bytes]:
    """A tar or tar.gz, damaged inside or outside."""
    outers = (
        "plain",
        "plain",
        "gzip",
        "gzip, changed",
        "gzip, two members",
        "gzip, rubbish behind",
    )
    inner = changed(ARCHIVES, TAR, 4)
    return st.builds(_outer, inner, st.sampled_from(outers), _numbers, _numbers)
