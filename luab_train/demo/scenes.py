"""Scenes: a real handwritten digit (the object, the label) on a real texture (the shortcut).

Digits come with scikit-learn (1,797 scans of 8x8), textures with scikit-image; both lie inside the
wheels, so nothing is downloaded. The digit decides the class; in training its texture agrees with
it 95 % of the time. Test scenes use other digits and other regions of the textures than training
scenes do.

Everything but `load_material` and `write_images` is pure: arrays and a seed in, scenes out.   [I/O]
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from luab_data.console import install_command, progress
from luab_data.errors import OptionError

Part = Literal["train", "test"]
Background = Literal["usual", "same", "random", "next"]

TEXTURES = ("brick", "grass", "gravel", "immunohistochemistry")
"""Functions of skimage.data; these four are in the wheel and look alike all over."""
NUM_CLASSES = len(TEXTURES)
WNIDS = tuple(f"n{index + 1:08d}" for index in range(NUM_CLASSES))
SIZE = 32
"""Side of a scene, px."""
TEST_SETS: tuple[Background, ...] = ("same", "random", "next")
"""Backgrounds of the test scenes, see `background_class`."""
P_USUAL = 0.95

_TRAIN_SHARE = 2 / 3  # of the digits of a class, and of the width of a texture
_PATCH_MEAN, _PATCH_STD = 110.0, 35.0  # of all: the shortcut is texture, not brightness
_INK = 250.0
_VISIBLE = 0.3  # opacity from which a pixel belongs to the digit's box


@dataclass(frozen=True, kw_only=True)
class Material:
    """What scenes of one part are made of; index c of both tuples belongs to class c.

    Args:
        digits: per class, (num_digits, 8, 8) float opacity in [0, 1].
        textures: per class, (height, width) float grey values in [0, 255]; regions of the two
            parts are disjoint.
    """

    digits: tuple[NDArray[np.float64], ...]
    textures: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One image and what is known about it.

    Args:
        image_id: `<wnid>_<index>`, the same for one object on different backgrounds.
        label: class of the digit, 0-based; index into `WNIDS`.
        texture: class whose texture is behind it; index into `TEXTURES`.
        pixels: (size, size) uint8 grey values.
        box: the digit, [xmin, ymin, xmax, ymax] in continuous px, width = xmax - xmin.
    """

    image_id: str
    label: int
    texture: int
    pixels: NDArray[np.uint8]
    box: tuple[int, int, int, int]


def load_material(part: Part) -> Material:
    """Digits and texture regions of one part, read from the installed wheels; no network.

    Raises: OptionError when scikit-learn or scikit-image is not installed.
    """
    try:
        from skimage import data
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise OptionError(
            f"the demo needs scikit-learn and scikit-image, and `{error.name}` cannot be imported; "
            f"install them with: {install_command('demo')}"
        ) from error
    scans = load_digits()
    digits = tuple(scans.images[scans.target == digit] / 16 for digit in range(NUM_CLASSES))
    textures = tuple(
        np.asarray(Image.fromarray(getattr(data, function)()).convert("L"), np.float64)
        for function in TEXTURES
    )
    return Material(
        digits=tuple(_share(of_class, part, axis=0) for of_class in digits),
        textures=tuple(_share(texture, part, axis=1) for texture in textures),
    )


def _share(array: NDArray[np.float64], part: Part, *, axis: int) -> NDArray[np.float64]:
    """The first two thirds along `axis` for training, the rest for tests."""
    train, test = np.split(array, [round(array.shape[axis] * _TRAIN_SHARE)], axis=axis)
    return train if part == "train" else test


def scenes(
    material: Material, *, num: int, background: Background, seed: int, size: int
) -> Iterator[Scene]:
    """`num` scenes, classes in turn, each drawn from (seed, its index) alone.

    Object, place and size do not depend on `background`: the same seed gives the same objects on
    other textures.
    """
    for index in range(num):
        label = index % len(material.digits)
        of_object, of_texture, of_patch = (
            np.random.default_rng((seed, index, stream)) for stream in range(3)
        )
        texture = background_class(label, background, len(material.textures), of_texture)
        patch = texture_patch(material.textures[texture], size=size, rng=of_patch)
        digits = material.digits[label]
        opacity = digit_opacity(digits[of_object.integers(len(digits))], size=size, rng=of_object)
        x, y = place(opacity.shape, size=size, rng=of_object)
        pixels, box = paste(patch, opacity, x=x, y=y)
        yield Scene(
            image_id=f"{WNIDS[label]}_{index}", label=label, texture=texture, pixels=pixels, box=box
        )


def background_class(
    label: int, background: Background, num_classes: int, rng: np.random.Generator
) -> int:
    """The class whose texture goes behind an object of class `label`.

    `usual`: its own with probability `P_USUAL`, else any other; `same`: its own; `random`: any,
    its own included; `next`: the following class's, so never its own.
    """
    if background == "same":
        return label
    if background == "next":
        return (label + 1) % num_classes
    if background == "random":
        return int(rng.integers(num_classes))
    if rng.random() < P_USUAL:
        return label
    return int((label + rng.integers(1, num_classes)) % num_classes)


def texture_patch(
    texture: NDArray[np.float64], *, size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A random, perhaps mirrored window of the texture, (size, size), brightness evened out.

    The window is 2 size x 2 size and halved, so that a patch shows more than two bricks.
    """
    height, width = texture.shape
    x, y = rng.integers(width - 2 * size + 1), rng.integers(height - 2 * size + 1)
    window = texture[y : y + 2 * size, x : x + 2 * size]
    patch = window.reshape(size, 2, size, 2).mean(axis=(1, 3))
    if rng.random() < 0.5:
        patch = patch[:, ::-1]
    evened: NDArray[np.float64] = (patch - patch.mean()) / max(patch.std(), 1.0)
    return evened * _PATCH_STD + _PATCH_MEAN


def digit_opacity(
    digit: NDArray[np.float64], *, size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """An (8, 8) digit enlarged to a side of 0.34 to 0.5 of `size`, opacity in [0, 1]."""
    side = int(rng.integers(round(0.34 * size), round(0.5 * size) + 1))
    enlarged = Image.fromarray(digit.astype(np.float32)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(enlarged, np.float64), 0, 1)


def place(shape: tuple[int, ...], *, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top-left corner (x, y), uniform over all places where the object lies inside the image."""
    height, width = shape
    return int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))


def paste(
    patch: NDArray[np.float64], opacity: NDArray[np.float64], *, x: int, y: int
) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """Ink on a background: `Scene.pixels`, and the tight box of what is visible, `Scene.box`."""
    height, width = opacity.shape
    canvas = patch.copy()
    under = canvas[y : y + height, x : x + width]
    canvas[y : y + height, x : x + width] = under + opacity * (_INK - under)
    rows, columns = np.nonzero(opacity >= _VISIBLE)
    box = (
        x + int(columns.min()),
        y + int(rows.min()),
        x + int(columns.max()) + 1,
        y + int(rows.max()) + 1,
    )
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), box


def write_images(folder: Path, num_train: int, num_test: int) -> None:
    """Training scenes and test scenes on three backgrounds, with boxes; nothing if they are there.

    `train`, `val_same`, `val_random`, `val_next`, each `<wnid>/<image_id>.png` and
    `<wnid>/<wnid>_boxes.txt`: file, xmin, ymin, xmax, ymax.
    """
    if folder.is_dir():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with progress(what="scenes", total=num_train + len(TEST_SETS) * num_test, unit="image") as bar:
        drawn = scenes(load_material("train"), num=num_train, background="usual", seed=0, size=SIZE)
        _write_tree(partial / "train", drawn, bar)
        test = load_material("test")
        for background in TEST_SETS:  # one seed: the same objects at the same places
            drawn = scenes(test, num=num_test, background=background, seed=1, size=SIZE)
            _write_tree(partial / f"val_{background}", drawn, bar)
    partial.rename(folder)


def _write_tree(tree: Path, drawn: Iterator[Scene], bar: Any) -> None:
    boxes: dict[str, list[str]] = {wnid: [] for wnid in WNIDS}
    for wnid in WNIDS:
        (tree / wnid).mkdir(parents=True)
    for scene in drawn:
        wnid, name = WNIDS[scene.label], f"{scene.image_id}.png"
        Image.fromarray(scene.pixels).save(tree / wnid / name)
        boxes[wnid].append("\t".join([name, *map(str, scene.box)]))
        bar.update()
    for wnid, lines in boxes.items():
        (tree / wnid / f"{wnid}_boxes.txt").write_text("\n".join(lines) + "\n")
