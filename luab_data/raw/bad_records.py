"""What happens to a bad record: raise, or leave it out and say so; which ids were seen before.

What a reader mends in a log instead of refusing a record is a repair: `repaired` of the manifest
counts them, `{id: count}`. Converted has the same mapping, and `luab-data check` prints it with the
sentences here as lint of the log.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from luab_data.errors import RecordError

OnBad = Literal["raise", "skip"]

REPAIRS: dict[str, str] = {
    "trace-point-dropped": "A trace point without a coordinate or time was left out.",
    "name-from-path": "A class or a name that says `%s`, or contradicts the path of its file"
    " in the log, was taken from the path.",
    "worker-id-padded": "Blanks around a worker id were cut off.",
    "worker-id-empty": "An empty worker id was read as no worker id.",
}
"""Every repair: id -> what was done, one sentence."""


class BadRecords:
    """Raises each RecordError it is called with, or lists it in a file and counts it by rule.

    Args:
        on_bad: `raise` or `skip`.
        report: JSON Lines file for skipped records (where, rule, reason); created with the first.
    """

    def __init__(self, on_bad: OnBad, report: Path) -> None:
        self.on_bad = on_bad
        self.report = report
        self.tally: Counter[str] = Counter()
        self.first: RecordError | None = None

    def __call__(self, error: RecordError) -> None:
        """Apply the policy to one bad record."""
        if self.on_bad == "raise":
            raise RecordError(
                error.where,
                error.rule,
                f"{error.reason}. Nothing was written; --on-bad skip leaves such records out"
                " and lists them",
            ) from error
        row = {"where": error.where, "rule": error.rule, "reason": error.reason}
        # Appended and closed each time: bad records are rare.
        with self.report.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=True) + "\n")
        self.tally[error.rule] += 1
        self.first = self.first or error

    @property
    def total(self) -> int:
        """Records left out so far."""
        return self.tally.total()


class Bad(Exception):
    """Something in a record is wrong; whoever reads the record makes a RecordError of it."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


def without_ids(text: str, worker_ids: Iterable[object]) -> str:
    """A message without the worker ids of its record, in whichever field they stood."""
    for worker_id in worker_ids:
        if isinstance(worker_id, str) and len(worker_id) >= _SHORTEST_ID:
            # Messages quote at most the first characters of a value.
            for size in range(len(worker_id), _SHORTEST_ID - 1, -1):
                text = text.replace(worker_id[:size], "(worker id)")
    return text


_SHORTEST_ID = 6


class SeenIds:
    """Exact memory of image ids, small enough for a million: a bit for each `<class>_<number>`."""

    _MAX_DIGITS = 6

    def __init__(self) -> None:
        self._bits: dict[str, bytearray] = {}
        self._others: set[str | int] = set()
        self._classes: dict[str | int, str] = {}  # of those ids that do not tell it themselves

    def own_id(self, image_id: str | int, wnid: str = "") -> str | int | None:
        """The id that an image gets; None if the image was there before.

        Of images with one name in several classes the first keeps it, the others get
        `<class>_<name>`: an id stands for one image.

        Args:
            image_id: name of the image; wnid: its class, for kinds of logs whose images have one.
        """
        told, _, number = image_id.rpartition("_") if isinstance(image_id, str) else ("", "", "")
        if self._add(image_id, told, number):
            if told != wnid:
                self._classes[image_id] = wnid
            return image_id
        if self._classes.get(image_id, told) == wnid:
            return None
        other = f"{wnid}_{image_id}"
        prefix, _, number = other.rpartition("_")
        return other if self._add(other, prefix, number) else None

    def _add(self, image_id: str | int, prefix: str, number: str) -> bool:
        """Remember an id, whose last _ parts prefix and number; False if it was there before."""
        is_canonical = number[:1] != "0" and number.isdecimal() and number.isascii()
        if not prefix or not is_canonical or len(number) > self._MAX_DIGITS:
            size = len(self._others)
            self._others.add(image_id)
            return len(self._others) > size
        place = int(number)
        byte, bit = place >> 3, 1 << (place & 7)
        bits = self._bits.get(prefix)
        if bits is None:
            bits = self._bits[prefix] = bytearray()
        if byte >= len(bits):
            bits.extend(bytes(max(byte + 1, 2 * len(bits)) - len(bits)))
        if bits[byte] & bit:
            return False
        bits[byte] |= bit
        return True
