"""One XML file of ImageNet-AB -> plain values, checked; many of them -> Arrow tables.

`parse` reads by name, never by position, and is strict about what it finds: a value that is not
what the schema says makes the record bad. It is the slow, complete reader that any faster one has
to agree with.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pyarrow as pa

from luab_data.errors import RecordError
from luab_data.raw.bad_records import Bad, without_ids
from luab_data.schema import IMAGENET_IMAGES, IMAGENET_ROUNDS

Values = dict[str, Any]

_INTEGER = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?").fullmatch
IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)
_EMPTY = ("", "None")
_NO_NUMBER = ("", "none", "null", "nan")
PLACEHOLDER = "%s"
"""What ILSVRC's own XML files have for some names."""
WNID = re.compile(r"n[0-9]{8}")
_IMAGE_ID = re.compile(r"n[0-9]{8}_[0-9]+")
_WORKER_IDS = re.compile(rb"<worker_id>\s*([^<]*?)\s*</").findall
MAX_ROUNDS = 2**15 - 1
"""Metadata blocks of one image: what `round` and `num_rounds` can count."""


class ImagenetRecord(NamedTuple):
    """One image: the values of its header and of each metadata block, keyed by column name."""

    image: Values
    rounds: list[Values]
    unknown: list[str]  # paths of elements that the schema does not know
    repaired: list[str]  # ids of REPAIRS, one for each value that was mended


def parse(name: str, body: bytes) -> ImagenetRecord:
    """One member of the archive as values; what a person would understand is mended: REPAIRS.

    Args:
        name: the member's path `.../<wnid>/<image id>.xml`, which holds where the record says
            something else; its stem is the record's filename, or an id of ImageNet.
        body: UTF-8 XML without DTD or entities.

    Raises:
        RecordError: what is wrong, with the member's name and a rule id.
    """
    try:
        return _annotation(_root(body), PurePosixPath(name))
    except Bad as bad:
        ids = [found.decode("utf-8", "replace") for found in _WORKER_IDS(body)]
        raise RecordError(name, bad.rule, without_ids(str(bad), ids)) from None


def _root(body: bytes) -> Element:
    if not body.strip():
        raise Bad("empty", "the file is empty; expected an <annotation>")
    try:
        # Text, not bytes: an encoding declaration then cannot hide a DTD from the check below.
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Bad("not-utf8", f"byte {error.start} is not UTF-8") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Bad("dtd", "declares a DTD or entities, which are refused; expected plain XML")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise Bad("xml-syntax", f"not well-formed XML: {error}") from None
    if root.tag != "annotation":
        raise Bad("not-annotation", f"root is <{root.tag[:40]}>; expected <annotation>")
    return root


def _text(element: Element) -> str:
    if len(element):
        raise Bad("nested", f"<{element.tag}> holds <{element[0].tag[:40]}>; expected text")
    return (element.text or "").strip()


def _string(text: str, tag: str) -> str:
    return text


def _integer(text: str, tag: str) -> int:
    found = _INTEGER(text)
    if not found:
        raise Bad("not-an-integer", f"<{tag}> is {text[:40]!r}; expected an integer")
    return int(found[1])


def _number(text: str, tag: str) -> float:
    try:
        # float() takes 1_0, inf and digits of every script, which no browser ever wrote.
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Bad("not-a-number", f"<{tag}> is {text[:40]!r}; expected a finite number")
    return value


def _boolean(text: str, tag: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise Bad("not-a-boolean", f"<{tag}> is {text[:40]!r}; expected True or False")
    return text.lower() == "true"


def _action(text: str, tag: str) -> str:
    if text not in ("enter", "leave"):
        raise Bad("unknown-action", f"<{tag}> is {text[:40]!r}; expected enter or leave")
    return text


Convert = Callable[[str, str], Any]


def _converter(type: pa.DataType) -> Convert:
    if pa.types.is_list(type):
        return _converter(type.value_type)
    if pa.types.is_integer(type):
        limit = 2 ** (type.bit_width - 1)

        def bounded(text: str, tag: str) -> int:
            value = _integer(text, tag)
            if not -limit <= value < limit:
                raise Bad("out-of-range", f"<{tag}> is {value}; expected a {type}")
            return value

        return bounded
    if pa.types.is_floating(type):
        return _number
    return _boolean if pa.types.is_boolean(type) else _string


Fields = dict[str, tuple[str, Convert]]
"""Tag -> (column, converter of its text)."""


def _fields() -> tuple[Fields, dict[str, Fields]]:
    """The schema's raw keys: those of scalars, and those inside each list element."""
    scalars: Fields = {}
    nested: dict[str, Fields] = {}
    for column in IMAGENET_ROUNDS.columns:
        if column.raw is None or column.name in ("image_id", "wnid"):
            continue
        tag, _, child = column.raw.partition("/")
        convert = _action if child == "action" else _converter(column.type)
        if child:
            nested.setdefault(tag, {})[child] = (column.name, convert)
        else:
            scalars[tag] = (column.name, convert)
    return scalars, nested


_SCALARS, _NESTED = _fields()
_POSITION = _NESTED.pop("imagePosition")
_LISTS = tuple(column for fields in _NESTED.values() for column, _ in fields.values())
_TRACE, _WORKER = "mouseTracking", "worker_id"


def _once(values: Values, column: str, value: Any, tag: str) -> None:
    if column in values:
        raise Bad("repeated", f"<{tag}> appears twice; expected it once")
    values[column] = value


def _scalar(
    values: Values, fields: Fields, key: str, child: Element, unknown: list[str], at: str = ""
) -> None:
    """Take the text of an element that `key` names in `fields`; it lies in annotation/`at`."""
    if key not in fields:
        unknown.append(f"annotation/{at}{key}")
        return
    column, convert = fields[key]
    text = _text(child)
    _once(values, column, None if text in _EMPTY else convert(text, key), key)


def _block(block: Element, unknown: list[str], repaired: list[str]) -> Values:
    values: Values = {column: [] for column in _LISTS}
    for element in block:
        tag = element.tag
        if tag in _NESTED:
            try:
                entry = _entry(element, _NESTED[tag], unknown)
            except Bad:
                if tag != _TRACE or not _lacks_a_number(element):
                    raise
                repaired.append("trace-point-dropped")
                continue
            for column, value in entry.items():
                values[column].append(value)
        elif tag == "imagePosition":
            for column, value in _entry(element, _POSITION, unknown).items():
                _once(values, column, value, tag)
        else:
            _scalar(values, _SCALARS, tag, element, unknown, "metadata/")
            if tag == _WORKER and not values[tag]:
                repaired.append("worker-id-empty")
            elif tag == _WORKER and values[tag] != element.text:
                repaired.append("worker-id-padded")
    for column in ("assignment_id", "selected", _WORKER):
        if column not in values or (values[column] is None and column != _WORKER):
            raise Bad("missing", f"a metadata block has no <{column}>")
    return values


def _lacks_a_number(point: Element) -> bool:
    """Whether a child of a trace point is not there, or says that it has no value."""
    texts = {c.tag: "nested" if len(c) else (c.text or "").strip().lower() for c in point}
    return any(texts.get(tag, "") in _NO_NUMBER for tag in _NESTED[_TRACE])


def _entry(element: Element, fields: Fields, unknown: list[str]) -> Values:
    """The children of one list entry or position; empty for the tool's `None`."""
    values: Values = {}
    if not len(element):
        if _text(element) not in _EMPTY:
            raise Bad("not-a-record", f"<{element.tag}> is {_text(element)[:40]!r}")
        return values
    for child in element:
        if child.tag not in fields:
            unknown.append(f"annotation/metadata/{element.tag}/{child.tag}")
            continue
        column, convert = fields[child.tag]
        _once(values, column, convert(_text(child), f"{element.tag}/{child.tag}"), child.tag)
    for tag, (column, _) in fields.items():
        if column not in values:
            raise Bad("missing", f"a <{element.tag}> has no <{tag}>")
    return values


_IMAGE_SCALARS: Fields = {
    column.raw: (column.name, _converter(column.type))
    for column in IMAGENET_IMAGES.columns
    if column.raw and not pa.types.is_list(column.type)
}
_BOX_SCALARS: Fields = {
    column.raw.partition("/")[2]: (column.name, _converter(column.type))
    for column in IMAGENET_IMAGES.columns
    if column.raw and column.raw.startswith("object/") and column.name != "boxes"
}
_BOX_EDGES = ("xmin", "ymin", "xmax", "ymax")


def _annotation(root: Element, path: PurePosixPath) -> ImagenetRecord:
    unknown: list[str] = []
    repaired: list[str] = []
    rounds: list[Values] = []
    image: Values = {"boxes": [], **{column: [] for column, _ in _BOX_SCALARS.values()}}
    for element in root:
        if element.tag == "metadata":
            rounds.append(_block(element, unknown, repaired))
        elif element.tag == "object":
            _object(image, element, unknown)
        elif element.tag in ("source", "size"):
            for child in element:
                _scalar(image, _IMAGE_SCALARS, f"{element.tag}/{child.tag}", child, unknown)
        else:
            _scalar(image, _IMAGE_SCALARS, element.tag, element, unknown)
    for column, tag in (("image_id", "filename"), ("wnid", "folder")):
        if not image.get(column):
            raise Bad("missing", f"the record has no <{tag}>")
    if (count := len(rounds)) > MAX_ROUNDS:
        raise Bad("too-many-rounds", f"{count} metadata blocks; expected {MAX_ROUNDS} at most")
    _name(image, path, repaired)
    for values in rounds:
        values["image_id"], values["wnid"] = image["image_id"], image["wnid"]
    return ImagenetRecord(image, rounds, unknown, repaired)


def _name(image: Values, path: PurePosixPath, repaired: list[str]) -> None:
    """Class and id: those of the path where the record has a placeholder or contradicts it."""
    image["image_id"] = IMAGE_SUFFIX.sub("", image["image_id"])
    stem = IMAGE_SUFFIX.sub("", path.stem)
    for column, known, is_proper in (
        ("wnid", path.parent.name, WNID.fullmatch(path.parent.name)),
        ("image_id", stem, _IMAGE_ID.fullmatch(stem)),
    ):
        found = image[column]
        if found != known and (is_proper or (known and found == PLACEHOLDER)):
            image[column] = known
            repaired.append("name-from-path")
        elif found == PLACEHOLDER:
            raise Bad("missing", f"the {column} is {found!r}, and the path tells none")
    if image["image_id"] != stem:
        raise Bad("name-mismatch", f"filename is {image['image_id']!r}; expected {stem!r}")


def _object(image: Values, element: Element, unknown: list[str]) -> None:
    values: Values = {}
    for child in element:
        if child.tag == "bndbox":
            edges = {edge.tag: _number(_text(edge), f"bndbox/{edge.tag}") for edge in child}
            if set(edges) != set(_BOX_EDGES) or len(child) != len(_BOX_EDGES):
                raise Bad("bad-box", f"<bndbox> holds {sorted(edges)}; expected {_BOX_EDGES}")
            box = [edges[edge] for edge in _BOX_EDGES]
            _once(values, "boxes", box, "bndbox")
        else:
            _scalar(values, _BOX_SCALARS, child.tag, child, unknown, "object/")
    if "boxes" not in values:
        raise Bad("bad-box", "an <object> has no <bndbox>")
    for column in ("boxes", *(column for column, _ in _BOX_SCALARS.values())):
        image[column].append(values.get(column))


class ImagenetBatch(NamedTuple):
    """Some images in archive order: their headers and their metadata blocks.

    `images` has the raw columns of IMAGENET_IMAGES, `rounds` those of IMAGENET_ROUNDS, blocks of
    one image side by side, in file order.
    """

    images: pa.Table
    rounds: pa.Table


IMAGE_SCHEMA = pa.schema([c.field for c in IMAGENET_IMAGES.columns if c.raw])
ROUND_SCHEMA = pa.schema([c.field for c in IMAGENET_ROUNDS.columns if c.raw])


def to_batch(records: Iterable[ImagenetRecord], hash_worker: Callable[[str], str]) -> ImagenetBatch:
    """Records as columns; worker ids are hashed here and nowhere kept."""
    images, rounds = [], []
    for record in records:
        images.append(record.image)
        for values in record.rounds:
            worker = values["worker_id"]
            rounds.append({**values, "worker_id": worker and hash_worker(worker)})
    table = pa.Table.from_pylist
    return ImagenetBatch(table(images, IMAGE_SCHEMA), table(rounds, ROUND_SCHEMA))
