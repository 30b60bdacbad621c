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
_Decode = Callable[[str], list[Any]]

RUN_CHARS = 2**17
"""Measured on COCO-AB: runs of 64 to 256 KiB decode 3 times as fast as 1 MiB, which leave the cache
and give their memory back each time."""

_LEAST_CHARS = 2**14
_LONGEST_WAIT = 256
_LONGEST_SEAM = 256
_OPENING = r'\s*\{\s*"[^"\\]*"'


class Differs(Exception):
    """What `convert` raises for a run with a value that typed decoding does not answer for."""


class Plain(NamedTuple):
    """A value read by itself, as json.loads gives it, whatever its type."""

    value: Any


class Runs(Generic[T]):
    """Runs of values of one type, each as what `convert` makes of it.

    Args:
        stream: stands before an array or before the first of the lines.
        type: what msgspec decodes a value to.
        convert: called with the values of each run; raises Differs if they must be read one by one.
    """

    def __init__(
        self,
        stream: JsonStream,
        type: Any,
        convert: Callable[[list[Any]], T],
    ) -> None:
        self._stream = stream
        self._type = type
        self._convert = convert
        self._opening = ""
        self._seam = ""
        self._chars = RUN_CHARS
        self._wait = 0
        self._next_wait = 0

    def array(self) -> Iterator[T | Plain]:
        """The elements of the array that starts here; ArchiveError as from JsonStream.elements."""
        self._opening = rf"\s*,{_OPENING}"
        decode = _array_decoder(self._type)
        self._stream.take("[")
        if self._stream.peek() == "]":
            self._stream.take("]")
            return
        while True:
            yield self._some(decode)
            if self._stream.peek() == "]":
                self._stream.take("]")
                return
            self._stream.take(",")

    def lines(self) -> Iterator[T | Plain]:
        """The values up to the end of the file, parted by white space or by nothing."""
        self._opening = _OPENING
        decode = msgspec.json.Decoder(self._type).decode_lines
        while self._stream.peek():
            yield self._some(decode)

    def _some(self, decode: _Decode) -> T | Plain:
        found = self._run(decode)
        return Plain(self._value()) if found is None else found

    def _value(self) -> Any:
        """The next value without types; what follows it may be the seam to look for."""
        value = self._stream.value()
        opening = re.match(self._opening, self._stream.ahead(_LONGEST_SEAM))
        if opening and isinstance(value, dict):
            self._seam = "}" + opening[0]
        return value

    def _run(self, decode: _Decode) -> T | None:
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
            found = self._convert(decode(text[:end]))
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
        return found


def _array_decoder(type: Any) -> _Decode:
    decoder: Any = msgspec.json.Decoder(GenericAlias(list, (type,)))
    return lambda text: decoder.decode(f"[{text}]")
