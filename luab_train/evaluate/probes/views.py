"""Pictures whose object or background was taken away, one by one.     [I/O]

    original           the centre crop, as in evaluation
    same_background    the object before the background of another image of its class
    other_background   the object before the background of an image of another class
    object_masked      the object's box in the mean colour; what the background alone gives away
    elsewhere_masked   as much masked elsewhere, where there is room
    centre_masked      the central square of half the side in the mean colour
    object_only        all but the object's box in the mean colour

What the last step before the network sees is changed, never the file. Only boxes are needed, and a
box is no mask: its corners show the image's own background. `other_background` therefore
understates, and `object_masked` hides some background too. Compare within a pair, `same_background`
with `other_background` and `object_masked` with `elsewhere_masked`: both of a pair have the same
seams and the same hidden area, so their difference does not come from these.

Objects that fill more than MAX_SHARE of the crop take part in `original` and `centre_masked` alone,
for they leave no background to speak of; so do those under MIN_SHARE, for with so few pixels a
composite is a picture of the donor. Backgrounds come from images whose object is within MAX_SHARE:
at least a seventh of the picture is then there to tile the place of the object with. Where a data
set boxes one object an image, as Tiny ImageNet does, backgrounds hold unboxed ones too, so a gap is
what context and other instances together give away.

Which image lends its background to which is drawn by a hash of (seed, image id): all runs see the
same composites, whatever their order, and their answers can be paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from luab_train.data.inputs import EvalCrop
from luab_train.data.splits import Split
from luab_train.data.targets import uniform
from luab_train.evaluate.probes import pictures
from luab_train.evaluate.probes.pictures import (
    NOWHERE,
    Region,
    centre_region,
    elsewhere,
    object_regions,
)

NONE = -1


class Donors(NamedTuple):
    """(N,) int64 each: the image whose background is borrowed; NONE where there is no such."""

    same: np.ndarray
    """Another image of the same class."""
    other: np.ndarray
    """An image of another class, each image as probable as any."""


def draw_donors(
    image_id: np.ndarray, label: np.ndarray, may_give: np.ndarray, *, seed: int
) -> Donors:
    """One donor of each kind for every image.

    Args:
        image_id: (N,) text, unique.
        label: (N,) int64.
        may_give: (N,) bool, images whose background can be lent.
        seed: of the draw.
    """
    order = np.lexsort((image_id, label))
    givers = order[may_give[order]]
    first = np.searchsorted(label[givers], label, side="left")
    count = np.searchsorted(label[givers], label, side="right") - first
    rank = np.full(len(label), len(givers))
    rank[givers] = np.arange(len(givers))
    # Positions among the givers, with oneself or one's class taken out of the line.
    same = first + (uniform(image_id, seed, stream="same") * (count - may_give)).astype(np.int64)
    same += may_give & (same >= rank)
    other = (uniform(image_id, seed, stream="other") * (len(givers) - count)).astype(np.int64)
    other += np.where(other >= first, count, 0)
    return Donors(
        _at(givers, same, count - may_give > 0), _at(givers, other, len(givers) - count > 0)
    )


def _at(givers: np.ndarray, position: np.ndarray, there: np.ndarray) -> np.ndarray:
    result = np.full(len(position), NONE, dtype=np.int64)
    result[there] = givers[position[there]]
    return result


VARIANTS = (
    "original",
    "same_background",
    "other_background",
    "object_masked",
    "elsewhere_masked",
    "centre_masked",
    "object_only",
)
PAIRS = (("same_background", "other_background"), ("elsewhere_masked", "object_masked"))
"""First less second is what leaning on the background costs, and what hiding the object costs."""
MIN_SHARE, MAX_SHARE = 0.05, 0.5


class Sizes(Dataset):  # type: ignore[type-arg]
    """(2,) int64 width and height of each image, px: where its box lies in the crop needs them."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.array(self.split.load(index).size)


class Views(Dataset):  # type: ignore[type-arg]
    """All variants of an image, (V, S, S, 3) uint8, and which of them it has, (V,) bool."""

    def __init__(self, split: Split, crop: EvalCrop, size_wh: np.ndarray, *, seed: int = 0) -> None:
        """See the class.

        Args:
            split: the images and their boxes.
            crop: what the network sees of an image.
            size_wh: (N, 2) px of the originals.
            seed: of donors and places.
        """
        side = crop.data.image_size
        self.split = split
        self.crop = crop
        self.region = object_regions(split.boxes, crop.regions(size_wh), side)
        width_height = self.region[:, 2:] - self.region[:, :2]
        area = width_height.prod(axis=1)
        may_give = (area > 0) & (area <= MAX_SHARE * side**2)
        self.fits = may_give & (area >= MIN_SHARE * side**2)
        self.donors = draw_donors(split.image_id, split.label, may_give, seed=seed)
        self.place = uniform(split.image_id, seed, stream="elsewhere")
        self.colour = np.round(255 * np.array(crop.data.mean)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        original = self._seen(index)
        found = {"original": original} | dict(self._variants(index, original))
        blank = np.zeros_like(original)
        return (
            np.stack([found.get(name, blank) for name in VARIANTS]),
            np.array([name in found for name in VARIANTS]),
        )

    def _variants(self, index: int, original: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        side = len(original)
        yield "centre_masked", pictures.filled(original, centre_region(side), self.colour)
        if not self.fits[index]:
            return
        region = self._region(index)
        yield "object_masked", pictures.filled(original, region, self.colour)
        yield "object_only", pictures.alone(original, region, self.colour)
        if (place := elsewhere(region, side, self.place[index])) != NOWHERE:
            yield "elsewhere_masked", pictures.filled(original, place, self.colour)
        for name, donors in (("same_background", self.donors.same),
                             ("other_background", self.donors.other)):  # fmt: skip
            donor = int(donors[index])
            if donor != NONE:
                lent = self._seen(donor), self._region(donor)
                yield name, pictures.on_background(original, region, *lent)

    def _seen(self, index: int) -> np.ndarray:
        return self.crop(self.split.load(index, upright=self.crop.data.as_shown)).image

    def _region(self, index: int) -> Region:
        return Region(*(int(v) for v in self.region[index]))
