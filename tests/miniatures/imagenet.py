"""ImageNet-1k val, V2, A, R, O and Sketch: `<class>/<image>`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from luab_train.evaluate.classes import real_labels
from miniatures.palette import CLASSES, COLOUR, INDEX, NINE, TENCH, flat, photo_size, save

OUT_CLASSES = NINE[:5]  # of ImageNet-O


def make_val(root: Path, *, per_class: int = 4, seed: int = 0) -> Path:
    """`imagenet/val`. Of each class, the ReaL labels of most images agree; one has none."""
    rng = np.random.default_rng(seed)
    agreeing: dict[str, list[int]] = {wnid: [] for wnid in CLASSES}
    empty = []
    for number, wnids in enumerate(real_labels(), start=1):
        if not wnids:
            empty.append(number)
        for wnid in wnids:
            if wnid in agreeing:
                agreeing[wnid].append(number)
    for wnid in CLASSES:
        numbers = [*agreeing[wnid][: per_class - 1], empty.pop()]
        for number in numbers:
            pixels = flat(COLOUR[wnid], rng, photo_size(rng))
            name = f"ILSVRC2012_val_{number:08d}.JPEG"
            save(pixels, root / "imagenet/val" / wnid / name)
    return root / "imagenet/val"


def make_v2(root: Path, *, per_class: int = 3, seed: int = 1) -> Path:
    """Folders are class indices, whose order as text is not their order as numbers."""
    rng = np.random.default_rng(seed)
    folder = root / "imagenetv2-matched-frequency-format-val"
    for wnid in CLASSES:
        for number in range(per_class):
            pixels = flat(COLOUR[wnid], rng, photo_size(rng))
            save(pixels, folder / str(INDEX[wnid]) / f"{number:040x}.jpeg")
    return folder


def make_a(root: Path, *, per_class: int = 3, seed: int = 2) -> Path:
    """Half of each colour is tench's, which is no class of ImageNet-A: only the mask helps."""
    rng = np.random.default_rng(seed)
    for wnid in NINE:
        for number in range(per_class):
            colour = 0.45 * COLOUR[wnid] + 0.55 * COLOUR[TENCH]
            pixels = flat(colour, rng, photo_size(rng))
            save(pixels, root / "imagenet-a" / wnid / f"0.00{number}_toucan _ hook_0.9.jpg")
    return root / "imagenet-a"


def make_r(root: Path, *, per_class: int = 3, seed: int = 3) -> Path:
    """One image of each class is drawn in the next class's colour."""
    rng = np.random.default_rng(seed)
    for i, wnid in enumerate(NINE):
        for number in range(per_class):
            shown = wnid if number else NINE[(i + 1) % len(NINE)]
            pixels = flat(COLOUR[shown], rng, photo_size(rng))
            save(pixels, root / "imagenet-r" / wnid / f"art_{number}.jpg")
    return root / "imagenet-r"


def make_o(root: Path, *, per_class: int = 3, seed: int = 4) -> Path:
    """Colours half way between two classes: a reader of colours is unsure of each."""
    rng = np.random.default_rng(seed)
    for i, wnid in enumerate(OUT_CLASSES):
        other = OUT_CLASSES[(i + 1) % len(OUT_CLASSES)]
        for number in range(per_class):
            pixels = flat((COLOUR[wnid] + COLOUR[other]) / 2, rng, photo_size(rng))
            save(pixels, root / "imagenet-o" / wnid / f"n0{number}.JPEG")
    return root / "imagenet-o"


def make_sketch(root: Path, *, per_class: int = 2, seed: int = 5) -> Path:
    """Some files are greyscale, as in some copies: they are read as RGB, and are no class's."""
    rng = np.random.default_rng(seed)
    for wnid in CLASSES:
        for number in range(per_class):
            pixels = flat(COLOUR[wnid], rng, photo_size(rng))
            save(pixels, root / "sketch" / wnid / f"sketch_{number}.JPEG")
    grey = flat(np.array([128, 128, 128]), rng)[..., 0]
    save(grey, root / "sketch" / CLASSES[0] / "sketch_grey.JPEG", subsampling=-1)
    return root / "sketch"
