"""The files of somebody's own pictures: found by the path that the log has, or by class and name.

An id need not be the name of a file, a class may be several folders deep, and the folder at hand
may be a part of what the log names, or hold it. So paths are compared from their ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from os.path import splitext
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from luab_data.boxes import IMAGE_SUFFIXES
from luab_data.join.sources import Images, Rows

COLUMNS = ("image_id", "wnid", "image_file")
"""Of rows whose files are found so."""


class _Path(NamedTuple):
    names: tuple[str, ...]  # the last one without its extension
    suffix: str


def by_file(rows: Rows, images: Images) -> Images:
    """The images under the ids of the rows whose files they are; others under their paths.

    A file is that of the row with which it shares the most names of folders. Where several files
    or several rows are as near, it is nobody's.
    """
    paths = [_path(place) for place in images.places.to_pylist()]
    by_name: dict[str, list[int]] = {}
    for number, path in enumerate(paths):
        by_name.setdefault(path.names[-1], []).append(number)
    claims: dict[int, list[tuple[float, str]]] = {}
    for image_id, hints in _hints(rows):
        near: dict[int, float] = {}
        for hint in map(_path, hints):
            for number in by_name.get(hint.names[-1], ()):
                near[number] = max(near.get(number, 0), _nearness(hint, paths[number]))
        best = [number for number, score in near.items() if score == max(near.values())]
        if len(best) == 1:
            claims.setdefault(best[0], []).append((near[best[0]], image_id))
    ids = images.places.to_pylist()
    for number, found in claims.items():
        (score, image_id), *others = sorted(found, reverse=True)
        if not others or others[0][0] < score:
            ids[number] = image_id
    return replace(images, ids=pa.array(ids, pa.string()))


def _hints(rows: Rows) -> Iterator[tuple[str, list[str]]]:
    """Each id, and the paths that its file may have, the extension left out where it is unknown."""
    for batch in rows.batches(COLUMNS):
        for row in batch.select(COLUMNS).to_pylist():
            image_id, name = row["image_id"], row["wnid"]
            file = [row["image_file"]] if row["image_file"] else []
            own = image_id.removeprefix(f"{name}_")
            yield image_id, [*file, f"{name}/{image_id}", f"{name}/{own}"]


def _path(text: str) -> _Path:
    if "://" in text:
        text = unquote(urlsplit(text).path)
    names = normalize("NFC", text.replace("\\", "/")).strip("/").split("/")
    stem, suffix = splitext(names[-1])
    if suffix.lower() not in IMAGE_SUFFIXES:
        stem, suffix = names[-1], ""
    return _Path((*names[:-1], stem), suffix.lower())


def _nearness(one: _Path, other: _Path) -> float:
    """How many names the ends of two paths share, and a half more for the same extension."""
    shared = 0
    for mine, theirs in zip(reversed(one.names), reversed(other.names), strict=False):
        if mine != theirs:
            break
        shared += 1
    return shared + (one.suffix == other.suffix) / 2
