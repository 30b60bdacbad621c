"""Whole runs of ImageNet-AB members straight to Arrow columns, where they have the known layout.

The release was written by one program, so nearly every member has one layout, that of the
templates (docs/formats.md#imagenet-ab-log). A member that has another one, or a value that is not
plain, goes through `imagenet.parse`, which decides alone what is good and what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import RecordError
from luab_data.ragged import Bools, Ints, list_array
from luab_data.raw import imagenet
from luab_data.raw.imagenet import (
    IMAGE_SCHEMA,
    IMAGE_SUFFIX,
    MAX_ROUNDS,
    PLACEHOLDER,
    ROUND_SCHEMA,
    WNID,
    ImagenetBatch,
)
from luab_data.raw.imagenet_templates import (
    ANSWER,
    BLOCK_END,
    BLOCK_START,
    BOX_EDGES,
    HOVERED,
    NAMES,
    OBJECT,
    PICTURE,
    SELECTED,
    SIZE,
    TRACKING,
    Deviates,
    Found,
    Members,
    Spans,
    Text,
    word,
)
from luab_data.raw.plain_values import one_of, plain_values
from luab_data.raw.tar import Run


class Read(NamedTuple):
    """What a run holds: its good records as columns, its bad ones as errors."""

    batch: ImagenetBatch
    places: Ints  # (num_images,) index in the run of each image
    errors: list[tuple[int, RecordError]]  # with the index in the run, ascending
    unknown: list[tuple[int, str]]  # paths of unknown elements, with the index in the run
    repaired: list[tuple[int, str]]  # ids of REPAIRS, with the index in the run
    num_slow: int  # members that went through `imagenet.parse`


def read_run(run: Run, hash_worker: Callable[[str], str]) -> Read:
    """All members of a run in the order of the archive; worker ids are hashed here.

    Equal to `imagenet.parse` and `to_batch` of each member, and refuses what they refuse.
    """
    known = np.ones(len(run.names), bool)
    known[list(run.problems)] = False
    fast = imagenet.to_batch([], hash_worker)
    while known.any():
        try:
            fast = _read_known(run, np.flatnonzero(known), hash_worker)
            break
        except Deviates as others:
            known[others.members] = False
    records: list[imagenet.ImagenetRecord] = []
    places: list[int] = []
    errors: list[tuple[int, RecordError]] = []
    for index in np.flatnonzero(~known).tolist():
        problem = run.problems.get(index)
        try:
            if problem:
                raise problem
            records.append(imagenet.parse(run.names[index], run.body(index)))
            places.append(index)
        except RecordError as error:
            errors.append((index, error))
    slow = list(zip(places, records, strict=True))
    unknown = [(i, path) for i, record in slow for path in record.unknown]
    repaired = [(i, repair) for i, record in slow for repair in record.repaired]
    batch, where = fast, np.flatnonzero(known)
    if records:
        rest = imagenet.to_batch(records, hash_worker)
        where = np.concatenate([where, np.asarray(places, np.int64)])
        order = np.argsort(where)
        images = pa.concat_tables([fast.images, rest.images]).take(pa.array(order))
        batch = ImagenetBatch(images, pa.concat_tables([fast.rounds, rest.rounds]))
        where = where[order]
    num_slow = len(records) + len(errors) - len(run.problems)
    return Read(batch, where, errors, unknown, repaired, num_slow)


def _read_known(run: Run, chosen: Ints, hash_worker: Callable[[str], str]) -> ImagenetBatch:
    """The chosen members as columns; raises Deviates if some are not in the layout."""
    text = Text.of(run.data)
    starts, ends = run.starts[chosen], run.ends[chosen]
    if len(text.newlines) < 2 or (ends <= starts).any():
        raise Deviates(chosen if len(text.newlines) < 2 else chosen[ends <= starts])
    members = Members(text, starts, ends)
    try:
        members.check()
        blocks = _blocks(members)
        header = _header(members, blocks)
        found = _block_parts(members, blocks)
        members.check()
        images = _image_columns(members, header)
        _check_names(members, images, [run.names[i] for i in chosen.tolist()])
        return ImagenetBatch(
            pa.table([images[f.name] for f in IMAGE_SCHEMA], IMAGE_SCHEMA),
            _round_table(members, found, blocks, images, hash_worker),
        )
    except Deviates as others:
        raise Deviates(chosen[others.members]) from None


class _Blocks(NamedTuple):
    """Lines of all metadata blocks; every member has its blocks side by side."""

    member: Ints  # (num_blocks,)
    open: Ints  # <metadata>
    height: Ints  # <imageHeight>
    original: Ints  # <originalImageHeight>
    worker: Ints  # <worker_id>
    end: Ints  # the line after </metadata>


_OPEN, _IMAGE, _ORIGINAL, _WORKER = map(word, ("  <metad", "    <ima", "    <ori", "    <wor"))
_HEIGHT, _GINAL = word("geHeight"), word("ginalIma")


def _blocks(members: Members) -> _Blocks:
    """Find the blocks by lines that each has once; a member where that fails deviates."""
    text = members.text
    begins = text.newlines[:-1] + 1  # of line 1, 2, ...
    words = text.words(begins)
    image = np.flatnonzero(words == _IMAGE)
    image = image[text.words(begins[image] + 8) == _HEIGHT]
    original = np.flatnonzero(words == _ORIGINAL)
    second, third = (text.words(begins[original] + shift) for shift in (8, 16))
    original = original[(second == _GINAL) & (third == _HEIGHT)]
    landmarks = (np.flatnonzero(words == _OPEN), image, original, np.flatnonzero(words == _WORKER))
    lines, owners, counts = [], [], []
    for found in landmarks:
        line = found + 1
        owner = np.searchsorted(members.first, line, side="right") - 1
        inside = (owner >= 0) & (line < members.close[owner])
        lines.append(line[inside])
        owners.append(owner[inside])
        counts.append(np.bincount(owner[inside], minlength=len(members.first)))
    members.must(np.logical_and.reduce([count == counts[0] for count in counts[1:]]))
    members.must(counts[0] <= MAX_ROUNDS)
    members.check()
    opened, height, original, worker = lines
    end = worker + BLOCK_END.template.num_lines
    return _Blocks(owners[0], opened, height, original, worker, end)


def _header(members: Members, blocks: _Blocks) -> list[Found]:
    """Names, sizes and boxes; also checks that header and blocks leave no line between them."""
    text, every = members.text, np.arange(len(members.first))
    begin = members.first + 1
    folder_first = text.has(text.starts_of(begin), b"  <folder>")
    found = []
    for part, chosen in zip(NAMES, (folder_first, ~folder_first), strict=True):
        found.append(members.match(part, begin[chosen], every[chosen]))

    # A member's header ends where its first block opens, else at </annotation>.
    end = members.close.copy()
    end[blocks.member[::-1]] = blocks.open[::-1]  # the first one is written last
    following = np.append(blocks.open[1:], 0)
    last = np.append(blocks.member[1:] != blocks.member[:-1], True)[: len(blocks.open)]
    next_line = np.where(last, members.close[blocks.member], following)
    members.must(blocks.end == next_line, blocks.member)

    begin = begin + NAMES[0].template.num_lines
    boxed = np.flatnonzero(text.has(text.starts_of(begin), b"  <source>"))
    members.must((begin == end) | np.isin(every, boxed))
    found.append(members.match(SIZE, begin[boxed], boxed))
    begin = begin[boxed] + SIZE.template.num_lines
    lines = end[boxed] - begin
    members.must((lines >= 0) & (lines % OBJECT.template.num_lines == 0), boxed)
    counts = lines // OBJECT.template.num_lines
    found.append(members.match_repeated(OBJECT, begin, counts, boxed))
    return found


def _block_parts(members: Members, blocks: _Blocks) -> list[Found]:
    """Everything inside the blocks."""
    owner = blocks.member
    hovered = blocks.open + BLOCK_START.template.num_lines
    tracking = blocks.height + PICTURE.template.num_lines
    selected = blocks.original + ANSWER.template.num_lines
    return [
        members.match(BLOCK_START, blocks.open, owner),
        members.match_list(HOVERED, "hoveredRecord", hovered, blocks.height, owner),
        members.match(PICTURE, blocks.height, owner),
        members.match_list(TRACKING, "mouseTracking", tracking, blocks.original, owner),
        members.match(ANSWER, blocks.original, owner),
        members.match_list(SELECTED, "selectedRecord", selected, blocks.worker, owner),
        members.match(BLOCK_END, blocks.worker, owner),
    ]


_TYPES: dict[str, pa.DataType] = {
    **{field.name: field.type for field in (*IMAGE_SCHEMA, *ROUND_SCHEMA)},
    **dict.fromkeys(BOX_EDGES, pa.float64()),
}
_NEEDED = ("image_id", "wnid", "assignment_id", "worker_id")


def _values(members: Members, column: str, spans: Spans, owner: Ints) -> pa.Array:
    """One column of plain values; what is not plain makes its member deviate."""
    type = _TYPES[column]
    type = type.value_type if pa.types.is_list(type) else type
    if column == "hovered_record_action":
        found, odd = one_of(spans, ("leave", "enter"))
    else:
        found, odd = plain_values(spans, type)
    if pa.types.is_string(type):
        is_none = pc.equal(found, "None")
        if column in _NEEDED:
            odd |= is_none.to_numpy(zero_copy_only=False)
        elif pc.any(is_none).as_py():
            found = pc.if_else(is_none, pa.scalar(None, pa.string()), found)
    members.must(~odd, owner)
    return found


def _check_names(members: Members, images: dict[str, pa.Array], paths: list[str]) -> None:
    """Names that are not those of the path deviate: imagenet.parse says which of the two holds."""
    ids, wnids = images["image_id"], images["wnid"]
    files = pc.binary_join_element_wise(ids, ".xml", "")
    # As bytes: what a member says need not be UTF-8.
    expected = pc.binary_join_element_wise("", wnids, files, "/").cast(pa.binary()).to_pylist()
    pairs = zip(paths, expected, strict=True)
    told = np.array([f"/{path}".encode().endswith(end) for path, end in pairs], np.bool_)
    for index in np.flatnonzero(~told).tolist():
        # A folder that is no class may have any name; every path ends in .xml.
        folder, _, stem = paths[index][:-4].rpartition("/")
        is_class = WNID.fullmatch(folder.rpartition("/")[2])
        told[index] = not is_class and ids[index].cast(pa.binary()).as_py() == stem.encode()
    members.must(told)
    members.must(~_flags(pc.match_substring_regex(ids, IMAGE_SUFFIX.pattern, ignore_case=True)))
    members.must(_flags(pc.and_(pc.not_equal(wnids, PLACEHOLDER), pc.not_equal(ids, PLACEHOLDER))))
    members.check()


def _flags(column: pa.Array) -> Bools:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.bool_)


def _round_table(
    members: Members,
    found: Sequence[Found],
    blocks: _Blocks,
    images: dict[str, pa.Array],
    hash_worker: Callable[[str], str],
) -> pa.Table:
    """The blocks' spans as columns."""
    rounds: dict[str, pa.Array] = {}
    for part, spans, owner, bounds in found:
        for column, span in zip(part.columns, spans, strict=True):
            values = _values(members, column, span, owner)
            rounds[column] = list_array(values, bounds) if len(bounds) else values
    members.check()
    of_member = pa.array(blocks.member)
    rounds["image_id"] = images["image_id"].take(of_member)
    rounds["wnid"] = images["wnid"].take(of_member)
    workers = rounds["worker_id"].dictionary_encode()
    hashes = pa.array([hash_worker(w) for w in workers.dictionary.to_pylist()], pa.string())
    rounds["worker_id"] = hashes.take(workers.indices)
    return pa.table([rounds[f.name] for f in ROUND_SCHEMA], ROUND_SCHEMA)


def _image_columns(members: Members, header: Sequence[Found]) -> dict[str, pa.Array]:
    num_images = len(members.first)
    folder_first, filename_first, size, objects = header
    images: dict[str, pa.Array] = {}
    split = (folder_first, filename_first)
    order = np.argsort(np.concatenate([part.owner for part in split]))
    for column in ("image_id", "wnid"):
        pieces = [
            _values(members, column, f.spans[f.part.columns.index(column)], f.owner) for f in split
        ]
        images[column] = pa.concat_arrays(pieces).take(pa.array(order))
    place = np.full(num_images, -1)
    place[size.owner] = np.arange(len(size.owner))
    index = pa.array(place, mask=place < 0)
    for column, span in zip(size.part.columns, size.spans, strict=True):
        images[column] = _values(members, column, span, size.owner).take(index)

    counts = np.zeros(num_images, np.int64)
    counts[size.owner] = np.diff(objects.bounds)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    values = {
        column: _values(members, column, span, objects.owner)
        for column, span in zip(objects.part.columns, objects.spans, strict=True)
    }
    edges = np.stack([values.pop(edge).to_numpy(zero_copy_only=False) for edge in BOX_EDGES], 1)
    boxes = list_array(pa.array(edges.ravel()), np.arange(len(edges) + 1) * len(BOX_EDGES))
    images["boxes"] = list_array(boxes, bounds)
    for column, array in values.items():
        images[column] = list_array(array, bounds)
    return images
