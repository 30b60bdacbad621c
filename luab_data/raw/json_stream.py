"""[I/O] A JSON file as a stream of values: arrays of any length in the memory of one element."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from luab_data.errors import ArchiveError
from luab_data.raw.archive import DAMAGE, Source

MAX_VALUE_CHARS = 64 * 2**20
"""A COCO-AB record has about 5 kB, the largest array element of COCO instances less than 1 MB."""

_CHUNK = 2**20
_NUMBER_GOES_ON = ("", *"0123456789.eE+-")
_SPACE = re.compile(r"[ \t\n\r]*")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


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
        if self._ended:
            return False
        try:
            data = self._file.read(max(_CHUNK, len(self._text) - self._at))
            self._ended = not data
            text = self._decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            self.fail(f"byte {error.object[error.start]:#04x} is not UTF-8")
        except (OSError, *DAMAGE) as error:
            self.fail(f"the file is cut or damaged ({error})")
        self._dropped += self._at
        self._text = self._text[self._at :] + text
        self._at = 0
        return True

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
            reason = ""
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                # A number may go on in the next chunk: `1`, `1.` and `1e` are all read as 1.
                number = isinstance(value, (int, float))
                if not number or self._ended or self._text[end : end + 1] not in _NUMBER_GOES_ON:
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                reason = error.msg
            except (ValueError, RecursionError) as error:
                reason = str(error)
            if len(self._text) - self._at > MAX_VALUE_CHARS:
                self.fail(f"a value of more than {MAX_VALUE_CHARS} characters ({reason})")
            if not self._more():
                self.fail(f"not JSON, or the file is cut: {reason}")

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
