"""Numbers, names and tables as text: the one place for terminal, HTML and figures."""

from __future__ import annotations

import difflib
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

MISSING = "–"
_HUGE = 1e12  # longer numbers are no reading: 1.67e+307

_NARROWEST = 24  # of a column that is wrapped


def number(value: float, unit: str) -> str:
    """A value with its unit; "–" if it is missing."""
    if not math.isfinite(value):
        return MISSING
    bare = _bare(value, unit)
    return f"{bare}{_suffix(value, unit)}"


def bare_number(value: float, unit: str) -> str:
    """A value beside one that names the unit; "–" if it is missing."""
    return f"{_bare(value, unit)}{_short_suffix(value, unit)}" if math.isfinite(value) else MISSING


def interval(low: float, high: float, unit: str) -> str:
    """Both ends, beside a value that names the unit; "–" if one is missing."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return MISSING
    if unit == "ms":  # one unit for both
        unit, size = _time_unit(high)
        low, high = low / size, high / size
    return f"{_bare(low, unit)} to {_bare(high, unit)}{_short_suffix(high, unit)}"


def count(value: float) -> str:
    """A sample size; "–" if it is missing."""
    if not math.isfinite(value):
        return MISSING
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def _bare(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.1f}"
    if unit == "difference of shares":
        return _signed(f"{100 * value:+.1f}")
    if unit == "ms":
        unit, size = _time_unit(value)
        return _bare(value / size, unit)
    if unit == "s":
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    if unit == "min":
        return f"{value:,.1f}"
    if unit == "whole ms":
        return f"{value:.0f}"
    if abs(value) >= _HUGE:
        return _signed(f"{value:.2e}")
    if float(value).is_integer() and abs(value) >= 1:
        return _signed(f"{value:,.0f}")
    return _signed(f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}")


def _signed(text: str) -> str:
    zero = text.strip("+-0.,") == ""
    return text.lstrip("+-") if zero else text.replace("-", "−")


def _time_unit(ms: float) -> tuple[str, float]:
    """The unit that a time is told in, and how many ms it has."""
    if abs(ms) >= 120_000:
        return "min", 60_000
    return ("s", 1000) if abs(ms) >= 1000 else ("whole ms", 1)


def _suffix(value: float, unit: str) -> str:
    if unit == "ms":
        unit = _time_unit(value)[0]
    names = {"share": " %", "difference of shares": " points", "whole ms": " ms"}
    return names.get(unit, "" if unit in ("", "correlation") else f" {unit}")


def _short_suffix(value: float, unit: str) -> str:
    return _suffix(value, unit) if unit in ("share", "ms", "s", "min", "whole ms") else ""


def counted(number: int, name: str) -> str:
    """`1 click`, `1,200 clicks`, `no clicks`."""
    amount = f"{number:,}" if number else "no"
    return f"{amount} {name}{'' if number == 1 else 's'}"


def short_count(number: float) -> str:
    """A count in at most five characters: 950, 7.2k, 12k, 1.3M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size * 0.9995:
            scaled = number / size
            return f"{scaled:.1f}{letter}" if scaled < 9.95 else f"{scaled:.0f}{letter}"
    return f"{number:.0f}"


def aligned(
    rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), width: int | None = None
) -> list[str]:
    """Rows of cells as lines with columns side by side; the last column is not padded.

    Args:
        rows: as many cells in each.
        right: columns to align on the right.
        width: of a line, in characters; the last column is wrapped to it. None: it is not.
    """
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = sum(widths[:-1]) + 2 * len(widths[:-1])
    most = max(width - left, _NARROWEST) if width else max(widths[-1], 1)
    lines = []
    for row in rows:
        cells = [
            cell.rjust(wide) if i in right else cell.ljust(wide)
            for i, (cell, wide) in enumerate(zip(row[:-1], widths, strict=False))
        ]
        first, *more = textwrap.wrap(row[-1], most) if len(row[-1]) > most else [row[-1]]
        lines.append("  ".join([*cells, first]).rstrip())
        lines += [" " * left + line for line in more]
    return lines


def near(name: object, known: Iterable[object], *, most: int = 3) -> list[str]:
    """The known names most like one that is not known, for "did you mean"; [] where none is."""
    return difflib.get_close_matches(str(name), [str(k) for k in known], n=most, cutoff=0.5)


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """`; did you mean 'a' or 'b'?`, or the known names where none is like it."""
    names = [str(k) for k in known]
    if found := near(name, names):
        return f"; did you mean {' or '.join(map(repr, found))}?"
    return f"; expected one of {', '.join(names)}" if names else ""


@cache
def imagenet_names() -> Mapping[str, str]:
    """Wnid -> WordNet's lemmas of it, joined by commas, in the order of the labels of ImageNet-1k.

    Source: imagenet_classes.txt, whose head says where it is from.
    """
    text = files("luab_data").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    lines = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return dict(lines)


def in_words(name: str) -> str:
    """`tench`: the first word for a wnid of ImageNet-1k; other classes as they are."""
    names = imagenet_names()
    return names[name].partition(",")[0] if name in names else name


def with_name(wnid: str) -> str:
    """`n01440764 (tench)`: a class with the first word for it; other classes as they are."""
    return f"{wnid} ({in_words(wnid)})" if wnid in imagenet_names() else wnid
