"""What numbers of a place and of a time are in, from the numbers themselves. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import numpy as np

from luab_data.errors import OptionError
from luab_data.ragged import Floats
from luab_data.words import counted, did_you_mean

Units = Literal["px", "fraction", "percent"]
TimeUnits = Literal["ms", "s"]

_IN_WORDS = {"px": "pixels", "fraction": "fractions", "percent": "per cent"}
_BORDER = 0.02
"""Tools log a little beside the picture; share of it."""
_MOST_ON = 0.95
"""Share of places that must be on the picture for a unit to be possible."""
_FAR, _SOME = 0.3, 0.05
"""A unit is likely if this share of places is further than that from the upper left corner."""
_ENOUGH = 20
"""Places from which on a habit of all of them is no chance."""


@dataclass
class Places:
    """What is seen of places while they go by."""

    num: int = 0
    num_sized: int = 0
    num_whole: int = 0
    on: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_IN_WORDS, 0))
    far: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_IN_WORDS, 0))
    num_on_if_swapped: int = 0
    most: tuple[float, float] = (-np.inf, -np.inf)
    sizes: tuple[float, float, float, float] = (np.inf, np.inf, -np.inf, -np.inf)

    def add(self, x: Floats, y: Floats, width: Floats, height: Floats) -> None:
        """(num_places,) places and the sizes of their pictures in px, NaN where not known."""
        if not len(x):
            return
        self.num += len(x)
        self.num_whole += int(((x % 1 == 0) & (y % 1 == 0)).sum())
        self.most = (max(self.most[0], float(x.max())), max(self.most[1], float(y.max())))
        is_sized = ~np.isnan(width) & ~np.isnan(height)
        if is_sized.any():
            self.num_sized += int(is_sized.sum())
            w, h = width[is_sized], height[is_sized]
            old = self.sizes
            self.sizes = (
                *(min(old[0], float(w.min())), min(old[1], float(h.min()))),
                *(max(old[2], float(w.max())), max(old[3], float(h.max()))),
            )
            self.num_on_if_swapped += int(_on(x[is_sized] / h, y[is_sized] / w).sum())
        divided = {"px": (x / width, y / height), "fraction": (x, y), "percent": (x / 100, y / 100)}
        for unit, (left, top) in divided.items():
            self.on[unit] += int(_on(left, top).sum())
            self.far[unit] += int((np.fmax(left, top) > _FAR).sum())

    def is_possible(self, unit: str) -> bool:
        """Whether nearly all places are on their pictures then."""
        num = self.num_sized if unit == "px" else self.num
        return num > 0 and self.on[unit] >= _MOST_ON * num

    def is_likely(self, unit: str) -> bool:
        """Whether they are not all in the upper left corner either."""
        num = self.num_sized if unit == "px" else self.num
        return self.is_possible(unit) and self.far[unit] > _SOME * num

    @property
    def seen(self) -> str:
        """The largest numbers and the sizes of the pictures, in words."""
        x, y = self.most
        said = f"x goes up to {x:g} and y up to {y:g} in {counted(self.num, 'place')}"
        if not self.num_sized:
            return f"{said}, and no size of a picture is known"
        w0, h0, w1, h1 = self.sizes
        size = f"{w0:g} x {h0:g}"
        if (w0, h0) != (w1, h1):
            size = f"{size} to {w1:g} x {h1:g}"
        return f"{said}; the pictures have {size} px"


def _on(x: Floats, y: Floats) -> Any:
    """Whether fractions are on the picture or its border; NaN is not."""
    low, high = -_BORDER, 1 + _BORDER
    return (low <= x) & (x <= high) & (low <= y) & (y <= high)


def units_of(name: str, places: Places, given: str | None) -> Units:
    """The unit of x and y.

    Args:
        name: what to call the rows in a message.
        places: all of them.
        given: the unit that the user says, which must be possible; None: the only one that fits.

    Raises:
        OptionError: none fits, or two do; says what was seen.
    """
    if given is not None and given not in get_args(Units):
        raise OptionError(f"units {given!r}{did_you_mean(given, get_args(Units))}")
    if not places.num:
        return cast(Units, given or "fraction")
    likely: list[Units] = [unit for unit in get_args(Units) if places.is_likely(unit)]
    if given == "px" and places.num_sized == 0:
        raise OptionError(f"{name}: {places.seen}; {_SIZES}")
    if given is not None:
        is_fraction = "fraction" in likely and places.num_whole < places.num
        if not places.is_possible(given) or (given != "fraction" and is_fraction):
            raise OptionError(f"{name}: {places.seen}: not {_IN_WORDS[given]}{_rather(places)}")
        return cast(Units, given)
    if likely == ["fraction"] and places.num_whole == places.num:
        raise OptionError(f"{name}: {places.seen}, all 0 or 1; expected places. {_SAY}")
    if likely == ["percent"] and places.num_sized < places.num:
        also = "percent of the pictures, or pixels of small ones"
        raise OptionError(f"{name}: {places.seen}: {also}. {_SAY}, or give --images FOLDER")
    if likely == ["percent"] and places.num < _ENOUGH:
        raise OptionError(f"{name}: {places.seen}: too few to tell per cent from pixels. {_SAY}")
    if len(likely) == 1:
        return likely[0]
    if likely:
        fit = " and ".join(_IN_WORDS[unit] for unit in likely)
        raise OptionError(f"{name}: {places.seen}: {fit} both fit. {_SAY}")
    if not places.num_sized and max(places.most) > 1 + _BORDER:
        raise OptionError(f"{name}: {places.seen}: pixels, so {_SIZES}")
    raise OptionError(
        f"{name}: {places.seen}: neither pixels nor fractions nor per cent fit{_rather(places)}"
    )


_SAY = "Say which with --units px, fraction or percent"
_SIZES = "pixels need the sizes of the pictures: give --images FOLDER, or columns width and height"


def _rather(places: Places) -> str:
    """What else the places could be."""
    for unit in get_args(Units):
        if places.is_likely(unit):
            return f", but they could be {_IN_WORDS[unit]}: --units {unit}"
    if places.num_sized and places.num_on_if_swapped >= _MOST_ON * places.num_sized:
        return ", but with x and y swapped pixels would: --x and --y name the columns"
    if places.num_sized and max(places.most) > 1 + _BORDER:
        return "; pixels of the page, or of a copy in another size, are not those of these files"
    return ""


# --- times ---------------------------------------------------------------------------------------

_EPOCHS = {"epoch s": (9e8, 1000.0), "epoch ms": (9e11, 1.0), "epoch us": (9e14, 1e-3),
           "epoch ns": (9e17, 1e-6)}  # fmt: skip
"""Unit -> (the least that it is read for, July 1998; ms of one)."""
_SHORT, _LONG = 60, 500
"""A view takes less than so many s, or more than so many ms."""


@dataclass(frozen=True)
class Clock:
    """What times are in.

    Args:
        unit: in words.
        ms: of one unit.
        tells_day: whether they count from 1970.
    """

    unit: str
    ms: float
    tells_day: bool


def clock_of(name: str, least: float, most: float, spans: Floats, given: str | None) -> Clock:
    """The clock of times, from the least and the greatest of them.

    Args:
        name: what to call the rows in a message.
        least, most: NaN if there is no time.
        spans: (num_views,) of some views, from the first time to the last; that time itself where
            there is one. NaN where there is none.
        given: the unit of a clock that does not tell the time of day; None: found.

    Raises:
        OptionError: no clock, or two, go with the times; says what was seen.
    """
    if given is not None and given not in get_args(TimeUnits):
        raise OptionError(f"time units {given!r}{did_you_mean(given, get_args(TimeUnits))}")
    seen = f"{name}: times go from {least:.15g} to {most:.15g}"
    for unit, (first, ms) in _EPOCHS.items():
        if first <= least and most < first * 100:
            return Clock(unit, ms, True)
    if most >= _EPOCHS["epoch s"][0]:
        raise OptionError(
            f"{seen}: two clocks; expected all since 1970 (s, ms, us or ns), or all since the"
            " session began"
        )
    if given is not None or np.isnan(most):
        return Clock(given or "ms", 1000.0 if given == "s" else 1.0, False)
    span = float(np.nanmedian(spans))
    if not _SHORT <= span <= _LONG:
        return Clock("s", 1000.0, False) if span < _SHORT else Clock("ms", 1.0, False)
    raise OptionError(
        f"{seen}, and a view takes {span:g}: seconds or milliseconds. Say which with --time-units s"
        " or ms"
    )
