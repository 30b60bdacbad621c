"""Which wnids are right for a label of a benchmark, from timm's files and the archives' own.  [I/O]

Everything goes through wnids, never through positions: a model of few classes, or with its classes
in another order, is judged by the same mapping.
"""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luab_data.errors import ImagesError
from luab_train.data.classes import imagenet_classes, timm_file

Accepted = Mapping[str, tuple[str, ...]]
"""Label of an image -> the wnids that are right for it, in the order of the mapping file."""

IN9_FILE = "in_to_in9.json"
IN9_ORIGIN = {
    IN9_FILE: "not in the archive but in the repository of its code,"
    " https://github.com/MadryLab/backgrounds_challenge/blob/master/in_to_in9.json"
}
"""The repository names no licence, so the file is not ours to ship."""
_VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})")


@functools.cache
def real_labels() -> tuple[tuple[str, ...], ...]:
    """ReaL labels of the 50,000 validation images in file order: wnids, empty for 3,163 of them."""
    classes, labels = imagenet_classes(), json.loads(timm_file("imagenet_real_labels.json"))
    return tuple(tuple(classes[i] for i in indices) for indices in labels)


def real_labels_of(image_id: str) -> tuple[str, ...]:
    """ReaL labels of one validation image, by its file's name and not by its place in a listing."""
    match = _VAL_NAME.search(image_id)
    if match is None:
        raise ImagesError(
            f"{image_id}: ReaL labels go by the number in the file's name; expected"
            " ILSVRC2012_val_<8 digits>, keep the original names"
        )
    number = int(match[1])
    if not 1 <= number <= len(real_labels()):
        raise ImagesError(f"{image_id}: number {number}; expected 1 to {len(real_labels())}")
    return real_labels()[number - 1]


def objectnet_accepted(mappings: Path) -> tuple[dict[str, str], Accepted]:
    """ObjectNet's mapping: (folder -> ObjectNet label, label -> wnids) of the 113 shared classes.

    Args:
        mappings: folder with the four files of the archive.
    """
    folder_label = _read_json(mappings / "folder_to_objectnet_label.json")
    names = _read_json(mappings / "objectnet_to_imagenet_1k.json")
    line_of_index = _read_json(mappings / "pytorch_to_imagenet_2012_id.json")
    lines = _read_text(mappings / "imagenet_to_label_2012_v2").splitlines()
    line_of_name = {text.strip(): line for line, text in enumerate(lines)}
    index_of_line = {int(line): int(index) for index, line in line_of_index.items()}
    classes = imagenet_classes()
    accepted = {}
    for label, text in names.items():
        try:
            found = [index_of_line[line_of_name[name]] for name in text.split("; ")]
            accepted[label] = tuple(classes[index] for index in found)
        except (KeyError, IndexError) as error:
            raise ImagesError(
                f"{mappings}: the ImageNet classes of {label!r}, {text!r}, are not in"
                f" imagenet_to_label_2012_v2 and pytorch_to_imagenet_2012_id.json ({error});"
                " expected the files of one ObjectNet archive, unpack it again"
            ) from error
    shared = {folder: label for folder, label in folder_label.items() if label in accepted}
    return shared, accepted


def si_score_accepted(file: Path) -> Accepted:
    """SI-Score's foreground_classes.csv: class folder -> its one wnid."""
    classes = imagenet_classes()
    rows = list(csv.DictReader(_read_text(file).splitlines()))
    try:
        return {row["label"]: (classes[int(row["int"])],) for row in rows}
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ImagesError(
            f"{file}: found columns {', '.join(rows[0]) if rows else 'nothing'} ({error});"
            " expected columns int, an ImageNet index, and label, a class folder"
        ) from error


def in9_accepted(file: Path, folders: list[str]) -> Accepted:
    """Backgrounds Challenge's in_to_in9.json: superclass folder, `00_dog` -> its wnids."""
    classes = imagenet_classes()
    content = _read_json(file)
    groups: dict[int, list[str]] = {}
    try:
        for index, group in content.items():
            groups.setdefault(int(group), []).append(classes[int(index)])
    except (ValueError, IndexError, TypeError) as error:
        raise ImagesError(
            f"{file}: {error}; expected ImageNet index -> 0 to 8, or -1 for no superclass"
        ) from error
    return {folder: tuple(sorted(groups.get(int(folder[:2]), ()))) for folder in folders}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(file))
    except ValueError as error:
        raise ImagesError(f"{file}: not JSON ({error}); unpack the archive again") from error
    if not isinstance(content, dict):
        raise ImagesError(f"{file}: found {type(content).__name__}, expected a JSON object")
    return content


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ImagesError(
            f"{file}: cannot be read ({error}); it comes with the benchmark, see"
            " `luab-train eval --list`"
        ) from error
