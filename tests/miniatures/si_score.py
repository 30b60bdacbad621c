"""SI-Score: a square of the class's colour, pasted with its mask on a background."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np

from miniatures.palette import COLOUR, INDEX, NINE, flat, save

NAMES = {"ambulance": NINE[2], "bee": NINE[5], "flamingo": NINE[1]}
SIDE = 48
BACKGROUND = NINE[0]
SHARES = (0.05, 0.2, 0.5, 1.0)  # of the area
PLACES = tuple(itertools.product((0.25, 0.5, 0.75), repeat=2))  # centres, fractions
ANGLES = (1, 21, 41)


def square_mask(centre_xy: tuple[float, float], share: float) -> np.ndarray:
    """(SIDE, SIDE) bool."""
    half = np.sqrt(share) / 2
    at = (np.arange(SIDE) + 0.5) / SIDE
    inside_x = np.abs(at - centre_xy[0]) <= half
    inside_y = np.abs(at - centre_xy[1]) <= half
    return inside_y[:, None] & inside_x[None]


def rotated_mask(degrees: float, share: float) -> np.ndarray:
    """(SIDE, SIDE) bool, about the middle."""
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE - 0.5
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    half = np.sqrt(share) / 2
    return (np.abs(c * x + s * y) <= half) & (np.abs(c * y - s * x) <= half)


def make_si(root: Path, factor: str, *, seed: int = 8) -> dict[str, np.ndarray]:
    """`object_<factor>`; relative path -> mask."""
    rng = np.random.default_rng(seed)
    folder = root / f"object_{factor}"
    masks = {
        "size": {f"{s}": square_mask((0.5, 0.5), s) for s in SHARES},
        "location": {f"{x}_{y}": square_mask((x, y), 0.2) for x, y in PLACES},
        "rotation": {f"{a}_{s}": rotated_mask(a, s) for a in ANGLES for s in (0.2, 0.5)},
    }[factor]
    drawn = {}
    for name, wnid in NAMES.items():
        for number, (told, mask) in enumerate(masks.items()):
            pixels = np.where(
                mask[..., None],
                flat(COLOUR[wnid], rng, (SIDE, SIDE)),
                flat(COLOUR[BACKGROUND], rng, (SIDE, SIDE)),
            )
            path = f"{name}/{told}_{number}.jpg"
            save(pixels, folder / path)
            drawn[path] = mask
    with open(folder / "foreground_classes.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["int", "label"])
        writer.writerows([INDEX[wnid], name] for name, wnid in NAMES.items())
    return drawn
