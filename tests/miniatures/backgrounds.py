"""Backgrounds Challenge: foregrounds with masks, on backgrounds of the same and other classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from miniatures.palette import COLOUR, INDEX, NINE, SIZE, flat, save

FOLDERS = (
    *("00_dog", "01_bird", "02_vehicle", "03_reptile", "04_carnivore"),
    *("05_insect", "06_instrument", "07_primate", "08_fish"),
)


def middle_mask() -> np.ndarray:
    """(SIZE, SIZE) uint8 of 0 and 1: the middle half of each side."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = 1
    return mask


def make_backgrounds(
    root: Path, *, per_class: int = 2, backgrounds_per_class: int = 2, seed: int = 9
) -> Path:
    """`bg_challenge`; each foreground is the middle square of its class's colour."""
    rng = np.random.default_rng(seed)
    folder = root / "bg_challenge"
    mask = middle_mask()

    def paste(foreground: str, background: str) -> np.ndarray:
        inside, outside = flat(COLOUR[foreground], rng), flat(COLOUR[background], rng)
        return np.where(mask[..., None] > 0, inside, outside)

    for i, (name, wnid) in enumerate(zip(FOLDERS, NINE, strict=True)):
        other = NINE[(i + 1 + int(rng.integers(8))) % 9]
        for number in range(per_class):
            stem = f"{wnid}_{number}"
            save(paste(wnid, wnid), folder / "mixed_same/val" / name / f"{stem}.JPEG")
            save(paste(wnid, other), folder / "mixed_rand/val" / name / f"{stem}.JPEG")
            save(paste(wnid, wnid), folder / "original/val" / name / f"{stem}.JPEG")
            (folder / "fg_mask/val" / name).mkdir(parents=True, exist_ok=True)
            np.save(folder / "fg_mask/val" / name / f"{stem}.npy", mask)
        for number in range(backgrounds_per_class):
            pixels = flat(COLOUR[wnid], rng)
            save(pixels, folder / "only_bg_t/val" / name / f"{wnid}_{number}.JPEG")
    group = {INDEX[wnid]: i for i, wnid in enumerate(NINE)}
    content = {str(index): group.get(index, -1) for index in range(1000)}
    (folder / "in_to_in9.json").write_text(json.dumps(content))
    return folder
