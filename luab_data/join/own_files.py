"""The files of somebody's own pictures: found by the path that the log has, or by class and name.

An id need not be the name of a file, a class may be several folders deep, and the folder at hand
may be a part of what the log names, or hold it. So paths are compared from their ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from os.path import splitext
from typing import NamedTuple
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.boxes import IMAGE_SUFFIXES
from luab_data.join.sources import Images, Rows


def names_files(rows: Rows) -> bool:
    """Whether the files of the rows are found so: each is an image, with the file as logged; or a
    view, where equal names in several folders made ids of paths.
    """
    if "image_file" not in rows.columns:
        return False
    return not rows.has_views or bool(pc.any(pc.match_substring(rows.ids, "/")).as_py())


class _Path(NamedTuple):
    names: tuple[str, ...]  # the last one without its extension
    suffix: str


class Files:
    """Files below a folder, found by what somebody calls them.

    Args:
        places: their paths below the folder.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self._paths = [_path(place) for place in places]
        self._by_name: dict[str, list[int]] = {}
        for number, path in enumerate(self._paths):
            self._by_name.setdefault(path.names[-1], []).append(number)

    def nearest(self, hints: Iterable[str]) -> tuple[list[int], float]:
        """The files that share the most names of folders with one of the hints; how many.

        Args:
            hints: paths that the file may have; an extension may be left out.
        """
        near: dict[int, float] = {}
        for hint in map(_path, hints):
            for number in self._by_name.get(hint.names[-1], ()):
                near[number] = max(near.get(number, 0), _nearness(hint, self._paths[number]))
        most = max(near.values(), default=0)
        return [number for number, score in near.items() if score == most], most


def hints_of(label: str, *names: str) -> list[str]:
    """Paths that a picture of a class may have: a class `cat/tabby` may be a folder cat_tabby."""
    folders = dict.fromkeys((label, label.replace("/", "_").replace("\\", "_")))
    return [f"{folder}/{name}" for folder in folders for name in names]


def by_file(rows: Rows, images: Images) -> Images:
    """The images under the ids of the rows whose files they are; others under their paths.

    A file is that of the row with which it shares the most names of folders. Where several files
    or several rows are as near, it is nobody's; but a picture that was asked about under several
    classes is that of all rows whose log names the same file, and is there once for each.
    """
    places = images.places.to_pylist()
    ids = [*places]
    files = Files(places)
    claims: dict[int, list[tuple[float, str, str | None]]] = {}
    for image_id, file, hints in _hints(rows):
        best, score = files.nearest(hints)
        if len(best) == 1:
            claims.setdefault(best[0], []).append((score, image_id, file))
    for number, found in claims.items():
        most = max(score for score, _, _ in found)
        nearest = [(image_id, file) for score, image_id, file in found if score == most]
        (image_id, file), *others = nearest
        if all(file is not None and other == file for _, other in others):
            ids[number] = image_id
            ids += [other for other, _ in others]
            places += [places[number]] * len(others)
    return replace(images, ids=pa.array(ids, pa.string()), places=pa.array(places, pa.string()))


def _hints(rows: Rows) -> Iterator[tuple[str, str | None, list[str]]]:
    """Each id, the file that the log names, and the paths that it may have; the extension is left
    out where it is unknown.
    """
    columns = [name for name in ("image_id", "wnid", "image_file") if name in rows.columns]
    seen = set[str]()
    for batch in rows.batches(columns):
        for row in batch.select(columns).to_pylist():
            image_id, name = row["image_id"], row.get("wnid")
            if image_id in seen:
                continue  # another view of it
            seen.add(image_id)
            file = row["image_file"] or None
            own = [image_id]
            if name is not None:
                own = hints_of(name, image_id, image_id.removeprefix(f"{name}_"))
            yield image_id, file, [*([file] if file else []), *own]


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
