"""Values of dataclass fields: from text, from JSON, and checked against their type hints.

Knows int, float, str, bool, Literal, `X | None` and tuples of fixed length; messages name the key.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from luab_data.errors import OptionError


def parse(key: str, hint: Any, text: str) -> Any:
    """Text of the command line -> value of type `hint`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is str:
        return text
    if origin is Literal:
        return next((choice for choice in args if str(choice) == text), text)
    if origin in (types.UnionType, typing.Union):
        if text.lower() in ("none", "null", ""):
            return None
        return parse(key, next(a for a in args if a is not type(None)), text)
    if origin is tuple:
        return tuple(
            parse(key, a, t) for a, t in _zip_tuple(key, args, text.strip("()[] ").split(","))
        )
    if hint is bool:
        choices = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in choices:
            raise OptionError(f"{key}={text}: expected true or false")
        return choices[text.lower()]
    try:
        return hint(text)
    except ValueError:
        raise OptionError(f"{key}={text}: expected {_describe(hint)}") from None


def read_settings(
    settings: Iterable[str], named: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`--set KEY=VALUE` texts and the options that are keys too, as key -> value; a key given twice
    is an error.
    """
    changes: dict[str, Any] = dict(named or {})
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise OptionError(f"--set {setting}: expected KEY=VALUE, e.g. optim.weight_decay=1e-4")
        if key in changes:
            raise OptionError(f"--set {setting}: {key} is given twice")
        changes[key] = value
    return changes


def from_json_value(key: str, hint: Any, value: Any) -> Any:
    """JSON or Python value -> value of type `hint`: lists become tuples, 1 becomes 1.0."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return from_json_value(key, next(a for a in args if a is not type(None)), value)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(from_json_value(key, a, v) for a, v in _zip_tuple(key, args, value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    check(key, hint, value)
    return value


def _zip_tuple(key: str, args: tuple[Any, ...], items: Any) -> list[tuple[Any, Any]]:
    if len(items) != len(args):
        raise OptionError(f"{key}: found {len(items)} values, expected {len(args)}, e.g. 0.25,1")
    return list(zip(args, items, strict=True))


def check(key: str, hint: Any, value: Any) -> None:
    """Raise unless `value` is of type `hint`; a dataclass itself checks nothing."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        fits = value in args
    elif origin in (types.UnionType, typing.Union):
        if value is None:
            return
        return check(key, next(a for a in args if a is not type(None)), value)
    elif origin is tuple:
        if not isinstance(value, tuple):
            raise OptionError(f"{key} is {value!r}; expected {_describe(hint)}")
        for inner, item in _zip_tuple(key, args, value):
            check(key, inner, item)
        return
    elif hint is float:
        fits = (
            isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        )
    elif hint is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, hint)
    if not fits:
        raise OptionError(f"{key} is {value!r}; expected {_describe(hint)}")


def check_range(key: str, value: Any, low: float, high: float | None) -> None:
    """Raise unless `value` is None or within the bounds, both inclusive; a high of None is open."""
    if value is not None and (value < low or (high is not None and value > high)):
        bounds = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        raise OptionError(f"{key} is {value}; expected {bounds}")


def _describe(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is tuple:
        return f"{len(args)} numbers"
    return {
        int: "a whole number",
        float: "a finite number",
        str: "text",
        bool: "true or false",
    }.get(hint, str(hint))
