"""Crops that keep the point: always where asked, of the same size, and as before where not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from luab_data.errors import OptionError
from luab_train.data.augment import TrainCrop
from luab_train.data.geometry import apply, invert
from luab_train.recipes import find_recipe
from luab_train.sections import Data
from luab_train.settings import override

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
POINT = (0.8, 0.25)


def crops(keep: float, point=POINT, seeds: int = 60):
    cut = TrainCrop(Data(image_size=32, crop_scale=(0.1, 0.6), crop_keep=keep))
    return [cut(IMAGE, seed, point) for seed in range(seeds)]


def side_of(crop) -> np.ndarray:
    """(2, 2) px of the image: the crop's lower and higher corner."""
    return np.sort(apply(invert(crop.matrix), np.array([[0.0, 0.0], [32.0, 32.0]])), axis=0)


def seen(crop) -> bool:
    return bool(crop.place(np.array([POINT]), IMAGE.size)[1][0])


def test_a_crop_holds_the_point_has_the_size_it_had_and_lies_in_the_image():
    usual, kept = crops(0.0), crops(1.0)
    assert 0 < sum(map(seen, usual)) < 30 and all(map(seen, kept))
    for before, after in zip(usual, kept, strict=True):
        low, high = side_of(after)
        size = np.diff(side_of(before), axis=0)[0]
        assert np.allclose(high - low, size) and (low > -1e-6).all()
        assert before.matrix[0, 0] == after.matrix[0, 0]  # mirrored alike
        assert (high <= np.array(IMAGE.size) + 1e-6).all()
        if seen(before):
            assert np.allclose(side_of(before), side_of(after))


def test_the_probability_is_of_each_crop():
    found = np.mean([seen(crop) for crop in crops(0.5, seeds=200)])
    usual = np.mean([seen(crop) for crop in crops(0.0, seeds=200)])
    assert abs(found - (0.5 + 0.5 * usual)) < 0.1


@pytest.mark.parametrize("point", [None, (float("nan"), float("nan"))])
def test_without_a_point_or_at_probability_0_crops_stay_where_they_were(point):
    cut = TrainCrop(Data(image_size=32, crop_scale=(0.1, 0.6)))
    for seed, (kept, off) in enumerate(zip(crops(1.0, point), crops(0.0), strict=True)):
        plain = cut(IMAGE, seed)
        assert np.array_equal(plain.image, off.image) and np.array_equal(plain.image, kept.image)


@pytest.mark.parametrize("target", ["none", "dwell_time"])
def test_a_target_that_is_no_place_is_refused(target):
    with pytest.raises(OptionError, match=r"data\.crop_keep needs one place"):
        override(find_recipe("debug:tiny"), {"data.crop_keep": 1.0, "target": target})
