"""What kinds of workers there are, one line each, and how a hand moves a mouse.

The numbers are ours unless a source is named.

Sizes of the published behaviour that the mixtures aim at
(docs/definitions.md#byproduct-statistics): 71.8 % selected
in round 1 and 52.8 % of those shown again, clicks in a box 82.9 %, a bias to the top right
(4.8); COCO: class recall 61.9 %, icon precision 92.3 %, sequences add 94 %, add-move 3 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from luab_data.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Habit:
    """One kind of ImageNet worker.

    Attributes:
        share: default share of the workers.
        aim: what a click is placed relative to: one of the boxes, or the whole picture.
        spread: standard deviation of a click, in sizes of what is aimed at.
        shift: (x, y) mean offset from the centre of what is aimed at, same unit; y points down.
        selects: probability that a picture of the class is selected in round 1, in round 2.
        hovers: probability that the cursor passes over a picture that will not be selected.
        revisits: probability that a picture is gone back to before the page is submitted.
        takes_back: probability that a selecting click is undone by another click.
        pace: factor on all durations.
        touch: taps instead of moving a mouse: no hovering, no trace.
    """

    share: float
    aim: Literal["box", "picture"]
    spread: float
    shift: tuple[float, float] = (0.0, 0.0)
    selects: tuple[float, float]
    hovers: float
    revisits: float
    takes_back: float
    pace: float = 1.0
    touch: bool = False


# fmt: off
IMAGENET_HABITS: dict[str, Habit] = {
    "accurate": Habit(share=0.60, aim="box", spread=0.24, selects=(0.76, 0.56),
                      hovers=0.85, revisits=0.08, takes_back=0.02),
    "centre_clicker": Habit(share=0.15, aim="picture", spread=0.06, selects=(0.74, 0.53),
                            hovers=0.80, revisits=0.05, takes_back=0.02, pace=0.9),
    "careless": Habit(share=0.10, aim="picture", spread=0.28, selects=(0.66, 0.44),
                      hovers=0.60, revisits=0.03, takes_back=0.05, pace=0.6),
    "biased": Habit(share=0.10, aim="box", spread=0.20, shift=(0.18, -0.16),
                    selects=(0.74, 0.53), hovers=0.85, revisits=0.08, takes_back=0.02),
    "touch": Habit(share=0.05, aim="box", spread=0.26, selects=(0.73, 0.51),
                   hovers=0.0, revisits=0.03, takes_back=0.03, pace=1.2, touch=True),
}
# fmt: on


@dataclass(frozen=True, kw_only=True)
class IconHabit:
    """One kind of COCO worker.

    Attributes:
        share: default share of the workers.
        finds: probability that a class covering 1 % of the image is found.
        finds_slope: added log-odds for each tenfold area.
        on_object: probability that an icon is aimed at an object of its class at all.
        invents: expected icons of absent classes per image.
        moves: probability that a placed icon is moved well away, to a better place.
        nudges: probability that it is pushed by a few pixels, which the tool takes for a removal.
        misclicks: probability that it is clicked, and so removed, by accident.
        drops: probability that it is removed for good.
        returns: probability of going back one superclass, at each step.
        keyboard: probability that a step between superclasses is made by keyboard.
        pace: factor on all durations.
    """

    share: float
    finds: float
    finds_slope: float = 2.4
    on_object: float
    invents: float
    moves: float
    nudges: float
    misclicks: float
    drops: float
    returns: float
    keyboard: float
    pace: float = 1.0


# fmt: off
COCO_HABITS: dict[str, IconHabit] = {
    "accurate": IconHabit(share=0.65, finds=0.55, on_object=0.99, invents=0.02, moves=0.035,
                          nudges=0.012, misclicks=0.008, drops=0.004, returns=0.03, keyboard=0.10),
    "hasty": IconHabit(share=0.20, finds=0.36, on_object=0.96, invents=0.03, moves=0.015,
                       nudges=0.015, misclicks=0.015, drops=0.005, returns=0.01, keyboard=0.90,
                       pace=0.6),
    "careless": IconHabit(share=0.15, finds=0.45, on_object=0.84, invents=0.10, moves=0.02,
                          nudges=0.02, misclicks=0.02, drops=0.01, returns=0.05, keyboard=0.30,
                          pace=0.8),
}
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One simulated person: a made-up raw id, a style, and a tempo of their own."""

    worker_id: str
    style: str
    pace: float


def recruit(
    seed: int,
    num_workers: int,
    styles: Mapping[str, float] | None,
    habits: Mapping[str, Habit] | Mapping[str, IconHabit],
) -> tuple[np.random.Generator, list[Worker]]:
    """All randomness of a simulation, and workers whose styles follow the shares as exactly as
    whole persons can.

    Args:
        seed: of the generator, which first shuffles the styles, draws ids and tempos.
        num_workers: at least 1.
        styles: weight of each style, need not sum to 1; None: the habits' shares.
        habits: every known style.
    """
    if seed < 0:
        raise OptionError(f"seed is {seed}; expected 0 or more")
    rng = np.random.default_rng(seed)
    if num_workers < 1:
        raise OptionError(f"num_workers is {num_workers}; expected at least 1")
    shares = {name: habit.share for name, habit in habits.items()} if styles is None else styles
    unknown = sorted(shares.keys() - habits.keys())
    if unknown:
        raise OptionError(f"unknown style {unknown[0]!r}; expected some of {', '.join(habits)}")
    total = math.fsum(shares.values())
    if not all(0 <= share < math.inf for share in shares.values()) or not 0 < total < math.inf:
        raise OptionError(
            f"styles are {dict(shares)}; expected weights that are not negative and not all 0"
        )
    exact = {style: num_workers * share / total for style, share in shares.items()}
    counts = {style: int(number) for style, number in exact.items()}
    by_remainder = sorted(exact, key=lambda style: counts[style] - exact[style])
    for style in by_remainder[: num_workers - sum(counts.values())]:
        counts[style] += 1
    of_workers = [style for style, count in counts.items() for _ in range(count)]
    rng.shuffle(of_workers)
    ids: dict[str, None] = {}
    while len(ids) < num_workers:  # two equal draws of 40 bits must not become one person
        ids[f"{int(rng.integers(2**40)):010X}"] = None
    tempos = rng.lognormal(0.0, 0.15, num_workers)
    return rng, [
        Worker(worker_id=worker_id, style=style, pace=habits[style].pace * float(tempo))
        for worker_id, style, tempo in zip(ids, of_workers, tempos, strict=True)
    ]


# --- the hand ------------------------------------------------------------------------------------

FRAME_MS = 1000 / 60
"""A browser hands mouse moves out once per frame of the screen, with a little jitter, and only when
the cursor has reached another pixel."""
_JITTER_MS = 1.5


class Path(NamedTuple):
    """Mouse events of one movement, in order; none if it never leaves its pixel.

    Attributes:
        t: (N,) ms since the epoch, increasing.
        xy: (N, 2) page px, whole numbers as float64.
        t_end: ms when the hand has come to rest; at or after the last event.
    """

    t: np.ndarray
    xy: np.ndarray
    t_end: float


def stroke_ms(distance_px: float, target_px: float, pace: float) -> float:
    """Duration of an aimed stroke by Fitts's law; 160 ms + 145 ms per bit is a casual hand."""
    return pace * (160.0 + 145.0 * math.log2(distance_px / max(target_px, 4.0) + 1.0))


def move(
    rng: np.random.Generator,
    start: tuple[float, float],
    end: tuple[float, float],
    t_start: float,
    *,
    target_px: float,
    settle_ms: float,
    pace: float,
) -> Path:
    """The mouse events of a movement from `start` to `end`, both in page px.

    The stroke follows a minimum-jerk profile along a slightly bowed line and lands near the end;
    a second, slower sub-movement of `settle_ms` corrects the rest and starts before the stroke is
    over. The last position is the pixel of `end`.
    """
    dx, dy = end[0] - start[0], end[1] - start[1]
    distance = math.hypot(dx, dy)
    stroke = stroke_ms(distance, target_px, pace)
    total = 0.8 * stroke + max(settle_ms, 0.3 * stroke)
    bow, miss_x, miss_y, tempo = rng.standard_normal(4).tolist()
    stroke, total = stroke * math.exp(0.2 * tempo), total * math.exp(0.2 * tempo)
    miss = 0.04 * distance + 2.0
    steps = max(int(total / FRAME_MS), 2)
    t = np.arange(steps) * FRAME_MS + _JITTER_MS * rng.random(steps)
    t[-1] = total
    aimed = _minimum_jerk(t / stroke)
    corrected = _minimum_jerk((t - 0.8 * stroke) / (total - 0.8 * stroke))
    bowed = (0.06 * bow) * np.sin(np.pi * aimed)
    xy = np.empty((steps, 2))
    xy[:, 0] = start[0] + (dx + miss * miss_x) * aimed - miss * miss_x * corrected - dy * bowed
    xy[:, 1] = start[1] + (dy + miss * miss_y) * aimed - miss * miss_y * corrected + dx * bowed
    np.floor(xy, out=xy)
    before = np.empty_like(xy)
    before[0] = math.floor(start[0]), math.floor(start[1])
    before[1:] = xy[:-1]
    moved = np.any(xy != before, axis=1)
    return Path(t_start + t[moved], xy[moved], t_start + total)


def _minimum_jerk(phase: np.ndarray) -> np.ndarray:
    """Progress 0..1 of a smooth movement at phase 0..1 (Flash and Hogan, 1985)."""
    s = np.clip(phase, 0.0, 1.0)
    progress: np.ndarray = s * s * s * (10.0 + s * (6.0 * s - 15.0))
    return progress
