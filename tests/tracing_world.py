"""A small tracing dataset: three people who traced, pointed at and looked over six pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.views import CODE, views
from luab_data.views.convert import convert_tracing
from luab_data.views.log import to_lines

KEY = b"a key of twenty bytes"


def view(image_id: str, events: Sequence[tuple[Any, ...]] = (), **of_view: Any) -> dict[str, Any]:
    """A view; an event is (type, time, x, y), and possibly a duration."""
    found = [(*event, None)[:5] if len(event) == 4 else event for event in events]
    lists: list[Any] = [*zip(*found, strict=True)] if found else [()] * 5
    durations = [*lists[4]] if any(d is not None for d in lists[4]) else None
    return {
        "image_id": image_id,
        "event": [CODE[name] for name in lists[0]],
        **dict(zip(("event_time_ms", "event_x", "event_y"), map(list, lists[1:4]), strict=True)),
        "event_duration_ms": durations,
        **of_view,
    }


def log_of(rows: Sequence[dict[str, Any]]) -> bytes:
    """The open log of some views."""
    names = dict.fromkeys(name for row in rows for name in row)
    return to_lines(views({name: [row.get(name) for row in rows] for name in names}), "tracing")


def a_walk(
    rng: np.random.Generator, count: int, centre: tuple[float, float], start_ms: int = 40
) -> list[tuple[Any, ...]]:
    """Moves around a place, 20 ms apart."""
    xy = np.array(centre) + np.cumsum(rng.normal(0, 0.02, (count, 2)), axis=0)
    return [("move", start_ms + 20 * k, *point) for k, point in enumerate(xy.round(4).tolist())]


def some_views(seed: int = 0) -> list[dict[str, Any]]:
    """36 views: every picture by every person twice, some without a trace, clock or size."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(36):
        image, person = number % 6, number // 6 % 3
        walk = a_walk(rng, 30 + 10 * person, (0.3 + 0.1 * image, 0.4 + 0.05 * person))
        events = [("enter", 30, 0.0, 0.4), *walk, ("leave", walk[-1][1] + 20, 1.0, 0.6)]
        if number % 3 == 0:
            events.insert(-1, ("click", walk[-1][1] + 5, walk[-1][2], walk[-1][3]))
        if number == 35:
            events = []
        found.append(
            view(
                f"picture{image}", events, annotator=f"person {person}",
                session=f"session {person}-{number // 18}", page=number % 6,
                label="cat" if image % 2 else "dog", prompt="Describe what you see", width=64,
                height=48, image_file=f"picture{image}.png", epoch_ms=1_700_000_000_000 + number,
            )
        )  # fmt: skip
    return found


def write(folder: Path, rows: Sequence[dict[str, Any]] | None = None, **options: Any) -> Path:
    """A dataset folder of some views."""
    log = folder / "traces.jsonl"
    log.write_bytes(log_of(some_views() if rows is None else rows))
    convert_tracing(log, folder / "traced", worker_key=KEY, **options)
    return folder / "traced"
