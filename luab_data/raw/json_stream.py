"""[I/O] A JSON file as a stream of values: arrays of any length in the memory of one element."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from luab_data.errors import ArchiveError
from luab_data.raw.source import DAMAGE, Source

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
    raise _NoNumber(f"{text} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class JsonStream:
    """Reads values one after the other from UTF-8 JSON text, plain or gzip.

    Args:
        source: the file; its name and a character position are in every error.
    """

    def __init__(self, source: Source) -> None:
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

    def fail(self, reason: str) -> NoReturn:
        """Raise ArchiveError at the current position."""
        raise ArchiveError(
            f"{self._path}: at character {self.position}: {reason}. Nothing was written; get the"
            " file again and compare its checksum"
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
                value, end = _DECODER.raw_decode(self._text, self._at)
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
            except (_NoNumber, RecursionError) as error:
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
            self.take(",")

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
            self.take(",")

    def end(self) -> None:
        """Check that nothing but white space is left."""
        if self.peek():
            self.fail(f"found {self.peek()!r} after the end; expected nothing")
