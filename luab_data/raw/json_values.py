"""[I/O] A JSON file as values, one by one or in runs: any length in the memory of a few elements.

`JsonStream` reads values one after the other, as json.loads would, and alone words the errors.

`Runs` decodes many at once, with types, by msgspec. A run is the text up to a seam: characters like
`}, {"image_id"`, learned from the file itself, that seem to part two values. Nothing relies on the
guess: a run starts where a value starts, and it is taken only if all of it decodes as whole values
of the expected type. A cut inside a value leaves a bracket or a string open, so it never does. What
the decoder refuses (a wrong cut, another key, another type, broken text) is read value by value.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable, Iterator
from types import GenericAlias
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

import msgspec

from luab_data.errors import ArchiveError
from luab_data.raw.source import DAMAGE, Source

T = TypeVar("T")
_Decode = Callable[[str], list[Any]]

MAX_VALUE_CHARS = 64 * 2**20
"""A COCO-AB record has about 5 kB, the largest array element of COCO instances less than 1 MB."""

_CHUNK = 2**20
_NUMBER_GOES_ON = "0123456789.eE+-"
_SPACE = re.compile(r"[ \t\n\r]*")
_LONGEST_TOKEN = 16
"""No literal and no escape is longer, so a chunk that ends in one hides nothing before it."""


class _NoNumber(ValueError):
    """NaN or Infinity; unlike other errors, nothing that follows can heal it."""


def _refuse_constant(text: str) -> NoReturn:
    raise _NoNumber(
        f"{text} is no JSON number, though Python and pandas write it for one that is not there;"
        " write null instead"
    )


def _nan(text: str) -> float:
    return math.nan if text == "NaN" else _refuse_constant(text)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_NAN_DECODER = json.JSONDecoder(parse_constant=_nan)


class JsonStream:
    """Reads values one after the other from UTF-8 JSON text, plain or gzip.

    Args:
        source: the file; its name and a character position are in every error.
        takes_nan: read NaN, as Python writes it, for the caller to judge; else it is refused.
    """

    def __init__(self, source: Source, *, takes_nan: bool = False) -> None:
        self._decoder = _NAN_DECODER if takes_nan else _DECODER
        self._path = source.path
        self._file = source.content()
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text = ""
        self._at = 0
        self._dropped = 0
        self._ended = False
        self._broken = ""

    @property
    def position(self) -> int:
        """Characters read so far, for error messages."""
        return self._dropped + self._at

    def fail(self, reason: str, *, is_damage: bool = True) -> NoReturn:
        """Raise ArchiveError at the current position; damage has the advice to get it again."""
        advice = "; get the file again and compare its checksum" if is_damage else ""
        raise ArchiveError(
            f"{self._path}: at character {self.position}: {reason}. Nothing was written{advice}"
        )

    def _more(self) -> bool:
        """Read on, doubling what is not yet decoded; False at the end of the file."""
        if self._broken:
            self.fail(self._broken)
        before = len(self._text) - self._at
        while not self._ended and len(self._text) - self._at < max(before + 1, 2 * before):
            self._read()
        if self._broken and len(self._text) - self._at == before:
            self.fail(self._broken)
        return len(self._text) - self._at > before

    def _read(self) -> None:
        """Add a chunk. Damage ends the text there; what lies before it is still good.

        Chunks are always of the same size, so that the text before a damaged spot does not depend
        on how it is decoded.
        """
        try:
            data = self._file.read(_CHUNK)
            self._ended = not data
            text = self._decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            self._ended = True
            self._broken = f"byte {error.object[error.start]:#04x} is not UTF-8"
            text = error.object[: error.start].decode()
        except (OSError, *DAMAGE) as error:
            self._ended = True
            self._broken = f"the file is cut or damaged ({error})"
            text = ""
        self._dropped += self._at
        self._text = self._text[self._at :] + text
        self._at = 0

    def ahead(self, size: int) -> str:
        """The next `size` characters without stepping over them; fewer at the end of the file."""
        while not self._ended and len(self._text) - self._at < size:
            self._read()
        return self._text[self._at : self._at + size]

    def step(self, count: int) -> None:
        """Step over characters that ahead() has shown."""
        self._at += count

    def peek(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, expected: str) -> None:
        """Step over one punctuation character."""
        found = self.peek()
        if found != expected:
            self.fail(f"found {found!r}; expected {expected!r}")
        self._at += 1

    def value(self) -> Any:
        """Decode the next value, whatever it is, as json.loads would.

        Raises:
            ArchiveError: not JSON, cut, NaN or Infinity, nested too deeply, or over the size limit.
        """
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                # A number may go on in the next chunk: `1`, `1.` and `1e` are all read as 1.
                number = isinstance(value, (int, float))
                rest = self._text[end : end + 1]
                is_whole = rest not in _NUMBER_GOES_ON if rest else self._ended and not self._broken
                if not number or is_whole:
                    self._at = end
                    return value
                reason, hopeless = "a number without end", False
            except json.JSONDecodeError as error:
                reason = f"{error.msg}, {error.pos - self._at} characters further on"
                # The position of an open string is its start, however long it is.
                is_near = len(self._text) - error.pos <= _LONGEST_TOKEN
                hopeless = not is_near and not error.msg.startswith("Unterminated")
            except _NoNumber as error:
                self.fail(str(error), is_damage=False)
            except RecursionError as error:
                reason, hopeless = str(error), True
            except ValueError as error:  # more digits than Python takes for an integer
                reason, hopeless = str(error), False
            if len(self._text) - self._at > MAX_VALUE_CHARS:
                self.fail(f"a value of more than {MAX_VALUE_CHARS} characters ({reason})")
            if hopeless or (self._ended and not self._broken):
                self.fail(f"not JSON, or the file is cut: {reason}")
            self._more()

    def elements(self) -> Iterator[Any]:
        """The elements of the array that starts here."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.peek() == "]":
                self.take("]")
                return
            self.comma("]")

    def comma(self, bracket: str) -> None:
        """Step over a comma that something follows, before the closing bracket."""
        self.take(",")
        if self.peek() == bracket:
            self.fail(f"a comma before {bracket!r}, which JSON does not have", is_damage=False)

    def members(self) -> Iterator[str]:
        """The keys of the object that starts here; the caller reads each value."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                self.fail(f"found key {key!r}; expected a string")
            self.take(":")
            yield key
            if self.peek() == "}":
                self.take("}")
                return
            self.comma("}")

    def end(self) -> None:
        """Check that nothing but white space is left."""
        if self.peek():
            self.fail(f"found {self.peek()!r} after the end; expected nothing")


# --- runs ----------------------------------------------------------------------------------------

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
            self._stream.comma("]")

    def lines(self) -> Iterator[T | Plain]:
        """The values up to the end of the file, parted by white space or by nothing."""
        self._opening = _OPENING
        decode = msgspec.json.Decoder(self._type).decode_lines
        while self._stream.peek():
            yield self._some(decode)
            if self._stream.peek() == ",":
                self._stream.fail(
                    "a comma after a line; expected none, or `[` and `]` around it all",
                    is_damage=False,
                )

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
