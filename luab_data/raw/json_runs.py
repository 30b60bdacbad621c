"""[I/O] A JSON array or JSON Lines as runs of values decoded at once, with types, by msgspec.

A run is the text up to a seam: characters like `}, {"image_id"`, learned from the file itself, that
seem to part two values. Nothing relies on the guess: a run starts where a value starts, and it is
taken only if all of it decodes as whole values of the expected type. A cut inside a value leaves a
bracket or a string open, so it never does. What the decoder refuses (a wrong cut, another key,
another type, broken text) is read value by value by JsonStream, which alone words the errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import GenericAlias
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from luab_data.raw.json_stream import JsonStream

T = TypeVar("T")

RUN_CHARS = 2**17
"""Measured on COCO-AB: runs of 64 to 256 KiB decode 3 times as fast as 1 MiB, which leave the cache
and give their memory back each time."""

_LEAST_CHARS = 2**14
_LONGEST_WAIT = 256
_LONGEST_SEAM = 256
_OPENING = r'\s*\{\s*"[^"\\]*"'


class Differs(Exception):
    """What a check raises for a run with a value that typed decoding does not answer for."""


class Plain(NamedTuple):
    """A value read by itself, as json.loads gives it, whatever its type."""

    value: Any


class Passed(NamedTuple):
    """A number of values that were passed over."""

    count: int


class Runs(Generic[T]):
    """Runs of values of one type.

    Args:
        stream: stands before an array or before the first of the lines.
        type: what msgspec decodes a value to.
        check: called with the values of each run; raises Differs if they must be read one by one.
        skip: number of values to pass over before the first run; they are only checked to be JSON.
    """

    def __init__(
        self,
        stream: JsonStream,
        type: type[T],
        *,
        check: Callable[[list[T]], object] = len,
        skip: int = 0,
    ) -> None:
        self._stream = stream
        self._type = type
        self._check = check
        self._left_to_skip = skip
        self._opening = ""
        self._seam = ""
        self._chars = RUN_CHARS
        self._wait = 0
        self._next_wait = 0

    def array(self) -> Iterator[list[T] | Plain | Passed]:
        """The elements of the array that starts here; ArchiveError as from JsonStream.elements."""
        self._opening = rf"\s*,{_OPENING}"
        typed, raw = _array_decoder(self._type), _array_decoder(msgspec.Raw)
        self._stream.take("[")
        if self._stream.peek() == "]":
            self._stream.take("]")
            return
        while True:
            yield self._some(typed, raw)
            if self._stream.peek() == "]":
                self._stream.take("]")
                return
            self._stream.take(",")

    def lines(self) -> Iterator[list[T] | Plain | Passed]:
        """The values up to the end of the file, parted by white space or by nothing."""
        self._opening = _OPENING
        typed = msgspec.json.Decoder(self._type).decode_lines
        raw = msgspec.json.Decoder(msgspec.Raw).decode_lines
        while self._stream.peek():
            yield self._some(typed, raw)

    def _some(
        self, typed: Callable[[str], list[T]], raw: Callable[[str], list[Any]]
    ) -> list[T] | Plain | Passed:
        if not self._left_to_skip:
            values = self._run(typed, self._check)
            return Plain(self._value()) if values is None else values
        passed = self._run(raw, self._check_skip)
        if passed is None:
            self._value()
        count = 1 if passed is None else len(passed)
        self._left_to_skip -= count
        return Passed(count)

    def _check_skip(self, values: list[Any]) -> None:
        if len(values) > self._left_to_skip:
            raise Differs

    def _value(self) -> Any:
        """The next value without types; what follows it may be the seam to look for."""
        value = self._stream.value()
        opening = re.match(self._opening, self._stream.ahead(_LONGEST_SEAM))
        if opening and isinstance(value, dict):
            self._seam = "}" + opening[0]
        return value

    def _run(
        self, decode: Callable[[str], list[Any]], check: Callable[[list[Any]], object]
    ) -> list[Any] | None:
        """The values up to the last seam in reach; None if the next one must be read by itself."""
        if self._wait or not self._seam:
            self._wait = max(0, self._wait - 1)
            return None
        text = self._stream.ahead(self._chars)
        end = text.rfind(self._seam) + 1
        if not end:
            self._chars = min(2 * self._chars, RUN_CHARS)
            return None
        try:
            values = decode(text[:end])
            check(values)
        except (msgspec.MsgspecError, Differs, RecursionError):
            # Shorter runs leave a single odd value behind soon; a file of odd values is soon read
            # without trying.
            self._chars = max(self._chars // 2, _LEAST_CHARS)
            self._wait = self._next_wait
            self._next_wait = min(2 * self._wait + 1, _LONGEST_WAIT)
            return None
        self._stream.step(end)
        self._chars = min(2 * self._chars, RUN_CHARS)
        self._next_wait = 0
        return values


def _array_decoder(type: Any) -> Callable[[str], list[Any]]:
    decoder: Any = msgspec.json.Decoder(GenericAlias(list, (type,)))
    return lambda text: decoder.decode(f"[{text}]")  # type: ignore[no-any-return]
