"""Workers who differ by nature, and a few who are careless or click the centre, as slim rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.workers.annotators import Annotators, of_rows
from luab_data.workers.imagenet import WORKERS, completed
from luab_data.workers.observations import Collector, Observations
from luab_data.workers.pooling import flagged

PER_HIT = 60

ORDINARY: dict[str, float] = {
    **{"follows": 0.9, "spread": 0.08, "pace": 1.0, "hovers": 0.8, "revisits": 0.1},
    **{"selects": 0.75},
}
STYLES: dict[str, dict[str, float]] = {
    "ordinary": {},
    "centre_clicker": {"follows": 0.0, "spread": 0.04},
    "careless": {"follows": 0.0, "spread": 0.25, "pace": 0.4, "hovers": 0.4, "selects": 0.5},
}


def person(rng: np.random.Generator, style: str, *, alike: bool) -> dict[str, float]:
    """What one worker is like: everybody has a tempo, a steadiness and habits of their own."""
    mean = {**ORDINARY, **STYLES[style]}
    if alike:
        return mean
    one, two, three, four, five, six = rng.normal(0, 1, 6).tolist()
    return {
        "follows": mean["follows"] + 0.07 * one,
        "spread": mean["spread"] * np.exp(0.15 * two),
        "pace": mean["pace"] * np.exp(0.25 * three),
        "hovers": float(np.clip(mean["hovers"] + 0.07 * four, 0, 1)),
        "revisits": float(np.clip(mean["revisits"] + 0.03 * five, 0, 1)),
        "selects": float(np.clip(mean["selects"] + 0.05 * six, 0, 1)),
    }


def rows_of(
    rng: np.random.Generator, who: Mapping[str, float], num_hits: int, num: int | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """HIT numbers, and the columns of `rounds` and `images`, of one worker's pictures."""
    hit = np.repeat(np.arange(num_hits), PER_HIT)[:num]
    n = len(hit)
    page, slot = np.arange(n) % PER_HIT // 6, np.arange(n) % 6 * 8.0
    size = rng.uniform(0.25, 0.6, (n, 2))
    # Objects of one class are alike in where they are.
    centre = 0.5 + rng.normal(0, 0.04, (num_hits, 2))[hit] + rng.normal(0, 0.13, (n, 2))
    click = 0.5 + who["follows"] * (centre - 0.5) + who["spread"] * rng.normal(0, 1, (n, 2))
    selected = rng.random(n) < who["selects"]
    entered = selected | (rng.random(n) < who["hovers"])
    enters = entered * (1 + (rng.random(n) < who["revisits"]))
    times = who["pace"] * rng.lognormal(0, 0.4, (3, n)) * np.array([[400], [900], [1500]])
    end = np.cumsum(times[2])
    click[~selected] = np.nan
    offset = (click - centre) / size
    right = np.where(selected, (np.abs(offset) <= 0.5).all(axis=1), np.nan)
    central = (np.abs(centre - 0.5) <= size / 2).all(axis=1)
    x, y = click.T
    rounds = {
        **{"page": page.astype(float), "slot": slot, "selected": selected.astype(float)},
        **{"enters": enters.astype(float), "x": x, "y": y},
        "estimate_ms": np.where(entered, times[1], np.nan),
        "approach_ms": np.where(selected, times[0], np.nan),
        **{"first_ms": end - times[2], "last_ms": end},
    }
    images = {
        **{"page": page.astype(float), "x": x, "y": y, "dwell_ms": rounds["estimate_ms"]},
        "gap": np.where(selected, 0.01 * rng.random(n), np.nan),
        **{"right": right, "right_off_centre": np.where(central, np.nan, right)},
        **{"offset_x": offset[:, 0], "offset_y": offset[:, 1]},
        **{"centre_x": centre[:, 0], "centre_y": centre[:, 1]},
    }
    return hit, rounds, images


def collected(
    workers: Mapping[str, tuple[Any, Any, Any]],
) -> tuple[list[str], dict[str, Observations]]:
    """Observations of workers by name."""
    found = Collector()
    for name, (hit, rounds, images) in workers.items():
        who = pa.array([name] * len(hit), pa.string())
        of = pa.array([f"{name}-{k}" for k in hit], pa.string())
        enters = rounds["enters"]
        follows = {
            "revisited": np.where(enters > 0, enters > 1, np.nan),
            "centre_distance": np.hypot(rounds["x"] - 0.5, rounds["y"] - 0.5),
        }
        found.add("rounds", who, {**rounds, **follows}, of)
        found.add("images", who, images, of)
    names, rows = found.collected()
    return names, completed(rows)


def judged(workers: Mapping[str, tuple[Any, Any, Any]]) -> Annotators:
    return of_rows("imagenet-ab", *collected(workers), WORKERS)


def flags(found: Annotators, key: str) -> dict[str, bool]:
    """Worker id -> whether one suspicion flags it."""
    return dict(zip(found.worker_id, flagged(found.scores[key]).tolist(), strict=True))


def first(found: Annotators, sort: str | None) -> int:
    """Place of the worker who tops a list."""
    return int(replace(found, sort=sort).order()[0])


def world(
    seed: int, styles: Mapping[str, int], *, num_tiny: int = 0, alike: bool = False
) -> tuple[dict[str, tuple[Any, Any, Any]], dict[str, str]]:
    """Workers by name, and the style of each.

    Args:
        styles: number of workers of each style, with 2 to 8 HITs each.
        num_tiny: ordinary workers with four pictures each, besides.
        alike: whether workers of a style are all the same.
    """
    rng = np.random.default_rng(seed)
    workers, style_of = {}, {}
    for style, number in styles.items():
        for k in range(number):
            name = f"{style}-{k:03d}"
            who = person(rng, style, alike=alike)
            workers[name] = rows_of(rng, who, int(rng.integers(2, 9)))
            style_of[name] = style
    for k in range(num_tiny):
        name = f"tiny-{k:03d}"
        workers[name] = rows_of(rng, person(rng, "ordinary", alike=alike), 1, 4)
        style_of[name] = "ordinary"
    return workers, style_of
