"""Frozen dataclasses of settings, whatever they set: flattened, changed, compared, kept as JSON.

A group of settings is a dataclass inside another; `optim.lr` is the dotted key of a field in one.
`Recipe` and the transfer's `Transfer` are both such. msgspec converts and checks the values by
their annotations; bounds stand there too, `Annotated[float, Meta(ge=0)]`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from luab_data.errors import OptionError
from luab_data.words import did_you_mean, near

_R = typing.TypeVar("_R")  # a dataclass of settings

Share = Annotated[float, Meta(ge=0, le=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]


def flatten(settings: object) -> dict[str, Any]:
    """Dotted key -> value of every field, e.g. {"optim.lr": 0.1}, in declaration order."""
    return {key: value for key, (_, value) in _fields(settings).items()}


def check_fields(settings: object) -> None:
    """Raise where a field is not of its type or out of its bounds: a dataclass checks nothing."""
    for key, (hint, value) in _fields(settings).items():
        if converted(key, hint, value, strict=True) != value:  # a list where a tuple belongs
            raise _not_fitting(key, hint, value)


def converted(key: str, hint: Any, value: Any, *, strict: bool) -> Any:
    """`value` as `hint` has it: lists become tuples, 1 becomes 1.0.

    Args:
        key: for the error.
        hint: int, float, str, bool, Literal, a tuple of fixed length, any of them with bounds or
            `| None`.
        value: of Python or JSON, or a text of the command line.
        strict: False reads numbers, lists and `none` from text.
    """
    given = value
    if isinstance(value, str) and not strict:
        inner = _without_none(hint)
        if inner is not hint and value.lower() in ("none", "null", ""):
            return None
        if typing.get_origin(inner) is tuple:
            value = [part.strip() for part in value.strip("()[] ").split(",")]
        elif inner is bool:
            value = {"yes": "true", "no": "false"}.get(value.lower(), value)
    try:
        value = msgspec.convert(value, hint, strict=strict)
    except msgspec.ValidationError:
        raise _not_fitting(key, hint, given) from None
    numbers = value if isinstance(value, tuple) else (value,)
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        raise _not_fitting(key, hint, given)
    return value


def _not_fitting(key: str, hint: Any, value: Any) -> OptionError:
    return OptionError(f"{key} is {value!r}; expected {described(hint)}")


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint


def described(hint: Any) -> str:
    """The values that a field takes, in words: `a finite number, from 0 to 1`."""
    inner = _without_none(hint)
    if inner is not hint:
        return f"{described(inner)}, or none"
    origin, args = typing.get_origin(inner), typing.get_args(inner)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is tuple:
        return f"{len(args)} numbers, e.g. {','.join(['0.5'] * len(args))}"
    if origin is Annotated:
        low, high = args[1].ge, args[1].le
        bounds = f"at least {low:g}" if high is None else f"from {low} to {high}"
        return f"{described(args[0])}, {bounds}"
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}
    return words[inner]


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


def override(settings: _R, changes: Mapping[str, Any]) -> _R:
    """A copy of `settings` with some fields changed.

    Args:
        settings: what to start from.
        changes: dotted key -> value. Text is converted to the field's type ("0.05", "true", "none",
            "0.25,1"); other values must have the type already.
    """
    known = _fields(settings)
    groups: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        if key not in known:
            raise OptionError(f"unknown key {key!r}{_meant(key, known)}")
        group, _, name = key.rpartition(".")
        value = converted(key, known[key][0], value, strict=not isinstance(value, str))
        groups.setdefault(group, {})[name] = value
    top = groups.pop("", {})
    for group, values in groups.items():
        top[group] = dataclasses.replace(getattr(settings, group), **values)
    changed: _R = dataclasses.replace(typing.cast(Any, settings), **top)
    return changed


def _meant(key: str, known: Collection[str]) -> str:
    """The keys of a group; or those that end like one that is not known, in whatever group."""
    if group := [name for name in known if name.startswith(f"{key}.")]:
        return f"; expected one of {', '.join(group)}"
    by_end: dict[str, list[str]] = {}
    for name in known:
        by_end.setdefault(name.rpartition(".")[2], []).append(name)
    alike = [name for end in near(key.rpartition(".")[2], by_end) for name in by_end[end]]
    if alike:
        return f"; did you mean {' or '.join(map(repr, alike[:3]))}?"
    of_group = [name for name in known if name.startswith(key.partition(".")[0] + ".")]
    return did_you_mean(key, of_group or known)


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


def to_json(settings: object) -> str:
    """Readable JSON, nested as the dataclasses are; `parse_json` reads equal settings back."""
    return json.dumps(dataclasses.asdict(typing.cast(Any, settings)), indent=2) + "\n"


def parse_json(
    cls: type[_R], text: str, *, where: str, absent: Mapping[str, Any] | None = None
) -> _R:
    """Read what `to_json` wrote of a `cls`. Fields that are absent (an older run) take their
    default; unknown ones raise.

    Args:
        where: what to call the text in an error.
        absent: dotted key of a field -> its value where it is absent, if not its default.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise OptionError(f"{where}: not JSON ({error}); expected what luab-train wrote") from error
    return typing.cast(_R, _build(cls, content, where=where, prefix="", absent=absent or {}))


def _build(cls: type, content: Any, *, where: str, prefix: str, absent: Mapping[str, Any]) -> Any:
    hints = field_types(cls)
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
        name: _build(hints[name], value, where=where, prefix=f"{prefix}{name}.", absent=absent)
        if dataclasses.is_dataclass(hints[name])
        else converted(prefix + name, hints[name], value, strict=True)
        for name, value in {**_under(prefix, absent), **content}.items()
    }
    try:
        return cls(**values)
    except TypeError as error:
        raise OptionError(f"{where}: {error}") from error


def _under(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of dotted keys that are directly below a prefix, by name."""
    names = {key: key.removeprefix(prefix) for key in values if key.startswith(prefix)}
    return {name: values[key] for key, name in names.items() if "." not in name}


@functools.cache
def field_types(cls: Any) -> dict[str, Any]:
    """Field -> its annotation, bounds and all."""
    # Evaluating the annotations takes 0.1 ms a class, and a recipe asks often.
    return typing.get_type_hints(cls, include_extras=True)


def _fields(value: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (type hint, value)."""
    found: dict[str, tuple[Any, Any]] = {}
    cls: Any = type(value)
    hints = field_types(cls)
    for f in dataclasses.fields(value):
        inner = getattr(value, f.name)
        if dataclasses.is_dataclass(inner):
            found |= _fields(inner, f"{prefix}{f.name}.")
        else:
            found[prefix + f.name] = (hints[f.name], inner)
    return found
