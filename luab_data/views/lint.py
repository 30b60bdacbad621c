"""What in views is worth a look, though they are read. Pure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Bools, Floats, Ragged, floats, one_array
from luab_data.views import CODE

_BORDER = 0.02
_LEAST_EPOCH = 9e11  # July 1998 in ms; seconds are far below
_QUICK_EVENTS, _QUICK_MS = 10, 100


def _values(table: pa.Table, name: str) -> Floats:
    """(num_events,) of a list of numbers that every view has; NaN is null."""
    return floats(one_array(table[f"event_{name}"]).flatten())


def _times_decrease(table: pa.Table, event: Ragged) -> Bools:
    time = Ragged(_values(table, "time_ms"), event.bounds)
    return event.any(time.values < time.before(-np.inf))


def _off_picture(table: pa.Table, event: Ragged) -> Bools:
    acts = np.isin(event.values, [CODE[name] for name in ("click", "add", "move-label")])
    x, y = _values(table, "x"), _values(table, "y")
    far = np.fmax(np.fmax(-x, x - 1), np.fmax(-y, y - 1))
    return event.any(acts & (far > _BORDER))


def _half_a_place(table: pa.Table, event: Ragged) -> Bools:
    return event.any(np.isnan(_values(table, "x")) != np.isnan(_values(table, "y")))


def _too_quick(table: pa.Table, event: Ragged) -> Bools:
    time = Ragged(_values(table, "time_ms"), event.bounds)
    span = time.reduce(np.fmax, np.nan) - time.reduce(np.fmin, np.nan)
    return np.asarray((event.lengths >= _QUICK_EVENTS) & (span < _QUICK_MS))


def _epoch_in_seconds(table: pa.Table, event: Ragged) -> Bools:
    return np.asarray(pc.fill_null(pc.less(table["epoch_ms"], _LEAST_EPOCH), False))


def _lacks(*names: str) -> Callable[[pa.Table, Ragged], Bools]:
    def lacks(table: pa.Table, event: Ragged) -> Bools:
        found: Bools = np.logical_or.reduce([np.asarray(table[n].is_null()) for n in names])
        return found

    return lacks


def _selected_differs(table: pa.Table, event: Ragged) -> Bools:
    """The last click says another state than the view."""
    is_click = event.values == CODE["click"]
    last = Ragged(np.where(is_click, np.arange(len(is_click)), -1), event.bounds)
    place = last.reduce(np.maximum, -1)
    states = one_array(table["event_state"])
    is_there = np.repeat(np.asarray(states.is_valid()), event.lengths)
    flat = np.full(len(event.values), -1)
    flat[is_there] = np.asarray(pc.fill_null(states.flatten().cast(pa.int8()), -1))
    said = floats(table["selected"].cast(pa.int8()))
    found = np.where(place >= 0, flat[place] if len(flat) else -1, -1)
    return np.asarray((found >= 0) & ~np.isnan(said) & (found != said))


WARNINGS: tuple[tuple[str, str, Callable[[pa.Table, Ragged], Bools]], ...] = (
    ("times-decrease", "Times go back from one event to the next.", _times_decrease),
    ("off-picture", "A click or a label lies off the picture.", _off_picture),
    ("half-a-place", "An event has one of x and y.", _half_a_place),
    ("too-quick", f"{_QUICK_EVENTS} events or more within {_QUICK_MS} ms: are these times seconds?",
     _too_quick),
    ("epoch-in-seconds", "`epoch` is before July 1998: is it in seconds?", _epoch_in_seconds),
    ("selected-differs", "`selected` says other than the state after the last click.",
     _selected_differs),
    ("no-page-size", "How large the picture was on the page is not said, so no path has a length in"
     " px of the screen.", _lacks("shown_width", "shown_height")),
    ("no-image-size", "The size of the picture is not said, so nothing can be told in its px.",
     _lacks("width", "height")),
)  # fmt: skip
"""(rule, meaning, (VIEWS, events) -> (num_views,) whether it is so)."""
