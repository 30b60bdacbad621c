"""Cells of somebody's table as what they say: texts, numbers, times, names of events. Pure."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from os import PathLike

from luab_data.raw.bad_records import Bad
from luab_data.views import CODE, EVENTS
from luab_data.words import did_you_mean

_WORDS: Mapping[str, tuple[str, bool | None]] = {
    **{name: (name, None) for name in EVENTS},
    **{f"mouse{name}": (name, None) for name in ("move", "down", "up", "enter", "leave")},
    **{f"pointer{name}": (name, None) for name in ("move", "down", "up", "enter", "leave")},
    **dict.fromkeys(("open", "mouseover", "pointerover", "show", "shown"), ("enter", None)),
    **dict.fromkeys(("close", "mouseout", "pointerout", "hide"), ("leave", None)),
    **dict.fromkeys(("tap", "mouseclick"), ("click", None)),
    "select": ("click", True),
    **dict.fromkeys(("deselect", "unselect"), ("click", False)),
}
"""Word for what happened -> type of event, and whether the picture is selected after it."""

_BLANK = {"", "na", "nan", "null", "none", "nat"}
_PLAIN = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
_PLAIN_WORD = re.compile(r"[A-Za-z _-]{1,24}")


def _is_blank(value: object) -> bool:
    if value is None or type(value).__name__ == "NAType":  # that of pandas, which is no boolean
        return True
    if isinstance(value, (float, datetime)):
        return value != value  # NaN, NaT
    return isinstance(value, str) and value.strip().casefold() in _BLANK


def _plain(value: object) -> object:
    """A number of NumPy as one of Python; anything else as it is."""
    return value.item() if hasattr(value, "item") and not getattr(value, "ndim", 1) else value


def text_of(value: object, role: str) -> str | None:
    """A cell as text; null if it is blank. Numbers that pandas made of integers lose their `.0`."""
    value = _plain(value)
    if isinstance(value, (str, PathLike)):
        text = str(value).strip()
    elif _is_blank(value):
        return None
    elif isinstance(value, float) and value.is_integer():
        text = str(int(value))
    elif isinstance(value, (bool, int, float)):
        text = str(value)
    else:
        raise Bad("cell", f"{role} is a {type(value).__name__}; expected text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Bad("cell", f"{role} is no Unicode text: half a character is in it") from None
    return unicodedata.normalize("NFC", text) or None


def number_of(value: object, role: str) -> float | None:
    """A cell as a number, also with a comma for a point; null if it is blank."""
    value = _plain(value)
    if isinstance(value, str):
        text = value.strip()
        if _PLAIN.fullmatch(text):
            value = float(text.replace(",", "."))
        elif _is_blank(text):
            return None
        else:
            raise Bad("cell", f"{role} is text; expected a number, e.g. 249.7")
    elif _is_blank(value):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise Bad("cell", f"{role} is a {type(value).__name__}; expected a number") from None
    if not math.isfinite(number):
        raise Bad("cell", f"{role} is infinite; expected a number")
    return number


def time_of(value: object) -> float | None:
    """A cell as a number; a date as epoch ms, of UTC if it says nothing else."""
    if isinstance(value, str) and not _PLAIN.fullmatch(value.strip()) and not _is_blank(value):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            reason = "time is text; expected a number, or a date such as 2026-05-01T12:00:00.250Z"
            raise Bad("cell", reason) from None
    if isinstance(value, datetime) and not _is_blank(value):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.timestamp() * 1000
    return number_of(value, "time")


def event_of(word: str | None, has_place: bool) -> tuple[int | None, bool | None]:
    """Code of a type of event, and the state it led to; null if nothing happened."""
    if word is None:
        return (CODE["click"] if has_place else None), None
    known = _WORDS.get(word.casefold())
    if known is None:
        said = f"event {word!r}" if _PLAIN_WORD.fullmatch(word) else "a text as event"
        near = did_you_mean(word, _WORDS) if _PLAIN_WORD.fullmatch(word) else ""
        raise Bad("unknown-event", f"{said}{near or '; expected e.g. click'}")
    return CODE[known[0]], known[1]
