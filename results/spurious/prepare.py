"""Real cut-outs before textures that lie: the shortcut is known, as in Waterbirds.     [I/O]

    WORK/train/<wnid>            images whose texture is their class's own in OWN of them
    WORK/val/<wnid>              every cut-out's texture is drawn anew, either one
    WORK/test/<group>/<wnid>     a group is a class before a texture, e.g. `person-grass`; those of
                                 a class show the same cut-outs at the same places
    WORK/imagenet-ab             dataset of WORK/train, all boxes logged, clicks simulated from them

`<wnid>_boxes.txt` lies beside the images. People stand before brick and animals before grass; all
are cut out of the pictures of shared/data/coco along their polygons, so nothing of their own
background is left but what annotators included. A picture's cut-outs are all in one part, and parts
show different regions of a texture. Objects lie anywhere, uniformly. Classes: `CLASSES`.

    python results/spurious/prepare.py --work WORK [--data ../shared/data]

Source: Sagawa et al., Distributionally robust neural networks for group shifts, ICLR 2020
(arXiv 1911.08731), which made Waterbirds of birds cut out and pasted onto places.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from PIL import Image, ImageDraw

from luab_data import convert_imagenet, simulate_imagenet
from luab_data.boxes import read_labelled_images
from luab_train.data.targets import uniform
from luab_train.demo.scenes import place, texture_patch

DATA = Path(__file__).parents[3] / "shared" / "data"


class Class(NamedTuple):
    """What is told apart."""

    name: str
    texture: str
    """Its own; a function of skimage.data."""
    categories: Sequence[str]
    """COCO's."""


_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
CLASSES = {
    "n00000001": Class("person", "brick", ("person",)),
    "n00000002": Class("animal", "grass", _ANIMALS),
}
"""Folder -> class; labels in this order."""
GROUPS = {
    f"{of.name}-{before.texture}": (of is before)
    for of in CLASSES.values()
    for before in CLASSES.values()
}
"""Group -> whether the texture is the class's own."""
SIZE = 64
LARGEST = (0.4, 0.7)
"""Longer side of an object, share of SIZE."""
SMALLEST_PX = 40
"""Shorter side of a box in COCO from which an object is cut out."""
PARTS = {"train": (0.0, 0.55), "val": (0.55, 0.75), "test": (0.75, 1.0)}
"""Share of the pictures, by a hash of their ids."""
NUM = {"train": 2000, "val": 400, "test": 600}
SEEDS = {"train": 0, "val": 1, "test": 2}
"""One for both textures of the test objects, so that they lie at the same places."""
OWN = 0.8
KEY = b"results/spurious"


class Composite(NamedTuple):
    """An object before a texture; both numbers are places in CLASSES."""

    label: int
    texture: int
    image: Image.Image
    box: tuple[int, int, int, int]
    """px, last pixel included."""


def cut_outs(coco: Path) -> dict[tuple[str, str], list[Image.Image]]:
    """(part, wnid) -> RGBA cut-outs, in the order of the annotations."""
    wnid_of = {name: wnid for wnid, each in CLASSES.items() for name in each.categories}
    found: dict[tuple[str, str], list[Image.Image]] = defaultdict(list)
    for split in ("train", "val"):
        known = json.loads((coco / "annotations" / f"instances_{split}.json").read_text())
        names = {category["id"]: category["name"] for category in known["categories"]}
        files = {image["id"]: image["file_name"] for image in known["images"]}
        of_picture = dict(zip(files, uniform(np.array([*files.values()]), 0, stream="part"),
                              strict=True))  # fmt: skip
        for annotation in known["annotations"]:
            wnid = wnid_of.get(names[annotation["category_id"]])
            if wnid and not annotation["iscrowd"] and min(annotation["bbox"][2:]) >= SMALLEST_PX:
                draw = of_picture[annotation["image_id"]]
                part = next(name for name, (low, high) in PARTS.items() if low <= draw < high)
                with Image.open(coco / "images" / split / files[annotation["image_id"]]) as image:
                    found[part, wnid].append(cut_out(image, annotation["segmentation"]))
    return found


def cut_out(image: Image.Image, polygons: Sequence[Sequence[float]]) -> Image.Image:
    """What lies in the polygons, px, with alpha 0 around it."""
    mask = Image.new("L", image.size)
    for polygon in polygons:
        ImageDraw.Draw(mask).polygon(list(polygon), fill=255)
    made = image.convert("RGB")
    made.putalpha(mask)
    return made.crop(mask.getbbox())


def textures(part: str) -> list[np.ndarray]:
    """The part's region of each class's texture, float grey values."""
    from skimage import data

    low, high = PARTS[part]
    found = [np.asarray(getattr(data, c.texture)(), np.float64) for c in CLASSES.values()]
    # A validation strip would be too narrow for a patch; it shares the test's region.
    low, high = (low, high) if part == "train" else (PARTS["train"][1], 1.0)
    return [t[:, round(low * t.shape[1]) : round(high * t.shape[1])] for t in found]


def composites(
    objects: Sequence[Sequence[Image.Image]],
    backgrounds: Sequence[np.ndarray],
    *,
    num: int,
    own: float,
    seed: int,
) -> Iterator[Composite]:
    """Composites, classes in turn.

    Object, size and place follow from (seed, index) alone, not from the background.

    Args:
        objects: of each class, RGBA.
        backgrounds: of each class, grey values.
        num: how many.
        own: probability that the texture is the class's own; otherwise it is any other's.
        seed: of all draws.
    """
    for index in range(num):
        label = index % len(objects)
        of_object, of_texture, of_patch = (
            np.random.default_rng((seed, index, stream)) for stream in range(3)
        )
        others = int(of_texture.random() >= own) * of_texture.integers(1, len(backgrounds))
        texture = int(label + others) % len(backgrounds)
        patch = texture_patch(backgrounds[texture], size=SIZE, rng=of_patch)
        image = Image.fromarray(np.clip(np.rint(patch), 0, 255).astype(np.uint8)).convert("RGB")
        cut = objects[label][of_object.integers(len(objects[label]))]
        scale = SIZE * of_object.uniform(*LARGEST) / max(cut.size)
        cut = cut.resize([max(1, round(side * scale)) for side in cut.size])
        if of_object.random() < 0.5:
            cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x, y = place(cut.size[::-1], size=SIZE, rng=of_object)
        image.paste(cut, (x, y), cut)
        box = x, y, x + cut.width - 1, y + cut.height - 1
        yield Composite(label, texture, image, box)


def write_tree(tree: Path, made: Iterator[Composite], *, grouped: bool) -> dict[str, int]:
    """Write images and boxes, in a folder a group if `grouped`; how many there are of each."""
    wnids, groups = list(CLASSES), np.array([*GROUPS]).reshape(len(CLASSES), -1)
    counts, lines = dict.fromkeys(GROUPS, 0), defaultdict(list)
    for index, each in enumerate(made):
        group, wnid = str(groups[each.label, each.texture]), wnids[each.label]
        folder = tree / group / wnid if grouped else tree / wnid
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{wnid}_{index}.png"
        each.image.save(folder / name)
        lines[folder].append("\t".join([name, *map(str, each.box)]) + "\n")
        counts[group] += 1
    for folder, of_class in lines.items():
        (folder / f"{folder.name}_boxes.txt").write_text("".join(of_class))
    return counts


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="New folder to make.")
@click.option("--data", type=click.Path(path_type=Path, exists=True), default=DATA,
              help="Folder that holds coco.")  # fmt: skip
@click.option("--share", type=float, default=1.0, help="For a rehearsal: of the usual numbers.")
def main(work: Path, data: Path, share: float) -> None:
    """Make WORK from scratch."""
    work.mkdir(parents=True)
    objects = cut_outs(data / "coco")
    for part, own in (("train", OWN), ("val", 0.5), ("test", 1.0), ("test", 0.0)):
        cuts = [objects[part, wnid] for wnid in CLASSES]
        num = round(share * NUM[part])
        made = composites(cuts, textures(part), num=num, own=own, seed=SEEDS[part])
        counts = write_tree(work / part, made, grouped=part == "test")
        click.echo(f"{part}, own {own:g}: {[*map(len, cuts)]} cut-outs, images {counts}")
    labelled = read_labelled_images(work / "train")
    simulate_imagenet(labelled, work / "raw.tar.gz", boxed_fraction=1.0)
    convert_imagenet(work / "raw.tar.gz", work / "imagenet-ab", worker_key=KEY)


if __name__ == "__main__":
    main()
