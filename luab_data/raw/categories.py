"""Which class each category of an instances file is: the one of its name, whatever its number.

Exports of other tools number categories anew, or hold some of the classes only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from unicodedata import normalize

from luab_data.errors import ImagesError
from luab_data.tools import Vocabulary


def number(value: Any) -> Any:
    """A number, also where an export writes numbers as text."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def category_names(path: Path, categories: Any) -> dict[Any, str]:
    """Category id -> name, of the categories that have one.

    Args:
        path: of the file, for errors.
        categories: as the file has them.

    Raises:
        ImagesError: one has no id, or a name that is no text.
    """
    try:
        named = {number(c["id"]): c["name"] for c in categories if c.get("name") is not None}
        for name in named.values():
            if not isinstance(name, str):
                raise TypeError(f"{name!r:.40}, which is no text")
    except (KeyError, TypeError, AttributeError) as error:
        raise ImagesError(
            f"{path}: its categories lack or garble {error}; expected"
            ' [{"id": 1, "name": "person"}, ...]'
        ) from error
    return named


def category_labels(path: Path, names: Mapping[Any, str], vocabulary: Vocabulary) -> dict[Any, int]:
    """Category id -> label, of the categories that are classes.

    A name is a class if it is that class's own (NFC-normalised), else if its letters and digits
    are those of one class alone: `Traffic_Light` is `traffic light`.

    Raises:
        ImagesError: no category is a class, or two are the same one.
    """
    exact = {name: label for label, name in enumerate(vocabulary.names)}
    spelled: dict[str, list[int]] = {}
    for name, label in exact.items():
        spelled.setdefault(_letters(name), []).append(label)
    alike = {letters: some[0] for letters, some in spelled.items() if letters and len(some) == 1}
    labels: dict[Any, int] = {}
    first: dict[int, Any] = {}
    for category, name in names.items():
        found = exact.get(normalize("NFC", name), alike.get(_letters(name)))
        if found is None:
            continue
        if found in first:
            raise ImagesError(
                f"{path}: categories {first[found]!r} and {category!r} are both"
                f" {vocabulary.names[found]!r}; expected each class once"
            )
        first[found], labels[category] = category, found
    if not labels:
        raise ImagesError(f"{path}: {no_class(next(iter(names)), names, vocabulary)}")
    return labels


def no_class(category: Any, names: Mapping[Any, str], vocabulary: Vocabulary) -> str:
    """Why a category is none of the classes, in words."""
    if not names:
        return f"{category} is missing or unknown; expected one of COCO's 80 category ids"
    if category not in names:
        return f"has category_id {category!r}, which its categories do not list"
    close = get_close_matches(str(names[category]).lower(), vocabulary.names, 1)
    hint = f" (is it {close[0]!r}?)" if close else ""
    return (
        f"category {category!r} is {names[category]!r:.40}{hint}; expected names of {vocabulary},"
        " the icons of the annotation tool. Rename the category, or leave it out"
    )


def _letters(name: str) -> str:
    """What is equal for all spellings of a class."""
    return re.sub(r"[\W_]+", "", normalize("NFC", name).lower())
