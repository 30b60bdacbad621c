"""Frozen dataclasses of settings, whatever they set: flattened, changed, compared, kept as JSON.

A group of settings is a dataclass inside another; `optim.lr` is the dotted key of a field in one.
`Recipe` and the transfer's `Transfer` are both such; `fields` knows single values.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from luab_data.errors import OptionError
from luab_train import fields

_R = typing.TypeVar("_R")  # a dataclass of settings


def flatten(recipe: object) -> dict[str, Any]:
    """Dotted key -> value of every field, e.g. {"optim.lr": 0.1}, in declaration order."""
    return {key: value for key, (_, value) in _fields(recipe).items()}


def check_fields(recipe: object, ranges: Iterable[tuple[str, float, float | None]]) -> None:
    """Raise where a field is not of its type or outside its (key, low, high)."""
    flat = _fields(recipe)
    for key, (hint, value) in flat.items():
        fields.check(key, hint, value)
    for key, low, high in ranges:
        fields.check_range(key, flat[key][1], low, high)


def override(recipe: _R, changes: Mapping[str, Any]) -> _R:
    """A copy of `recipe` with some fields changed.

    Args:
        recipe: what to start from.
        changes: dotted key -> value. Text is converted to the field's type ("0.05", "true", "none",
            "0.25,1"); other values must have the type already.
    """
    known = _fields(recipe)
    groups: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        if key not in known:
            raise OptionError(f"unknown key {key!r}; known keys: {', '.join(known)}")
        hint = known[key][0]
        group, _, name = key.rpartition(".")
        groups.setdefault(group, {})[name] = (
            fields.parse(key, hint, value)
            if isinstance(value, str)
            else fields.from_json_value(key, hint, value)
        )
    top = groups.pop("", {})
    for group, values in groups.items():
        top[group] = dataclasses.replace(getattr(recipe, group), **values)
    changed: _R = dataclasses.replace(typing.cast(Any, recipe), **top)
    return changed


def differences(a: _R, b: _R) -> dict[str, tuple[Any, Any]]:
    """Key -> (value in a, value in b) where they differ in a field that can change a result: in
    none of the class's `RESULT_NEUTRAL`.
    """
    neutral: frozenset[str] = getattr(type(a), "RESULT_NEUTRAL", frozenset())
    flat_b = flatten(b)
    return {
        key: (value, flat_b[key])
        for key, value in flatten(a).items()
        if value != flat_b[key] and key not in neutral
    }


def to_json(recipe: object) -> str:
    """Readable JSON, nested as the dataclasses are; `from_json` reads an equal recipe back."""
    return json.dumps(dataclasses.asdict(typing.cast(Any, recipe)), indent=2) + "\n"


def parse_json(cls: type[_R], text: str, *, where: str) -> _R:
    """Read what `to_json` wrote of a `cls`. Fields that are absent (an older run) take their
    default; unknown ones raise.

    Args:
        where: what to call the text in an error.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise OptionError(f"{where}: not JSON ({error}); expected what luab-train wrote") from error
    return typing.cast(_R, _build(cls, content, where=where, prefix=""))


def _build(cls: type, content: Any, *, where: str, prefix: str) -> Any:
    hints = _hints(cls)
    if not isinstance(content, dict):
        raise OptionError(
            f"{where}: {prefix or 'top level'} is {type(content).__name__}, expected an object"
        )
    if unknown := sorted(set(content) - set(hints)):
        raise OptionError(
            f"{where}: unknown keys {', '.join(prefix + k for k in unknown)}; written by another"
            " command (`run` and `transfer` have recipes of their own) or by a newer version"
        )
    values = {
        name: _build(hints[name], value, where=where, prefix=f"{prefix}{name}.")
        if dataclasses.is_dataclass(hints[name])
        else fields.from_json_value(prefix + name, hints[name], value)
        for name, value in content.items()
    }
    try:
        return cls(**values)
    except TypeError as error:
        raise OptionError(f"{where}: {error}") from error


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    # Evaluating the annotations takes 0.1 ms a class, and a recipe asks often.
    return typing.get_type_hints(cls)


def _fields(value: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (type hint, value)."""
    found: dict[str, tuple[Any, Any]] = {}
    cls: Any = type(value)
    hints = _hints(cls)
    for f in dataclasses.fields(value):
        inner = getattr(value, f.name)
        if dataclasses.is_dataclass(inner):
            found |= _fields(inner, f"{prefix}{f.name}.")
        else:
            found[prefix + f.name] = (hints[f.name], inner)
    return found
