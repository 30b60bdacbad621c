from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as tvf
from train_world import dotted, found
from warping import warp

from luab_train.data.augment import TrainCrop
from luab_train.data.geometry import (
    apply,
    compose,
    crop_resize,
    hflip,
    invert,
    place,
    rotate,
    sample_seed,
)
from luab_train.data.inputs import EvalCrop
from luab_train.sections import Data


def crop_of_example(flip: bool) -> np.ndarray:
    # docs/definitions.md#masking: W = 400, H = 200; i = 40, j = 100, h = 100, w = 200.
    matrix = crop_resize((100, 40, 300, 140), (224, 224))
    return compose(matrix, hflip(224)) if flip else matrix


@pytest.mark.parametrize(
    ("point", "plain", "flipped"),
    [((0.5, 0.5), (0.5, 0.6), (0.5, 0.6)), ((0.3, 0.5), (0.1, 0.6), (0.9, 0.6))],
)
def test_points_of_the_worked_example(point, plain, flipped):
    for flip, expected in ((False, plain), (True, flipped)):
        placed, visible = place(crop_of_example(flip), np.array(point), (400, 200), (224, 224))
        np.testing.assert_allclose(placed, expected, atol=1e-12)
        assert visible


@pytest.mark.parametrize("flip", [False, True])
def test_the_point_that_leaves_the_crop_is_masked_and_not_moved(flip):
    placed, visible = place(crop_of_example(flip), np.array([0.2, 0.5]), (400, 200), (224, 224))
    np.testing.assert_allclose(placed, (1.1 if flip else -0.1, 0.6), atol=1e-12)
    assert not visible


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("corner", [(100, 40), (300, 40), (100, 140), (300, 140)])
def test_the_border_of_the_crop_is_inside(flip, corner):
    point = np.array(corner) / (400, 200)
    assert place(crop_of_example(flip), point, (400, 200), (224, 224))[1]


@pytest.mark.parametrize("beyond", [(99.999, 90), (300.001, 90), (200, 39.999), (200, 140.001)])
def test_just_beyond_the_border_is_outside(beyond):
    point = np.array(beyond) / (400, 200)
    assert not place(crop_of_example(False), point, (400, 200), (224, 224))[1]


def test_no_point_stays_no_point():
    placed, visible = place(crop_of_example(True), np.array([np.nan, np.nan]), (4, 2), (224, 224))
    assert np.isnan(placed).all() and not visible


def test_steps_compose_in_the_order_given_and_invert():
    steps = crop_resize((3, 1, 9, 7), (12, 12)), hflip(12), rotate(30, (6, 6))
    points = np.array([[4.0, 5.0], [0, 0]])
    by_hand = points
    for step in steps:
        by_hand = apply(step, by_hand)
    matrix = compose(*steps)
    np.testing.assert_allclose(apply(matrix, points), by_hand)
    np.testing.assert_allclose(apply(invert(matrix), by_hand), points)
    np.testing.assert_allclose(compose(), np.eye(3)[:2])


def test_rotation_is_clockwise_on_the_screen_about_its_centre():
    np.testing.assert_allclose(apply(rotate(90, (5, 5)), np.array([8.0, 5.0])), [5, 8], atol=1e-12)
    np.testing.assert_allclose(apply(rotate(33, (5, 2)), np.array([5.0, 2.0])), [5, 2], atol=1e-12)


def well_inside(point: np.ndarray, size: int, margin: float) -> bool:
    return bool((margin < point).all() and (point < size - margin).all())


_side = st.integers(40, 120)
_fraction = st.floats(0.1, 0.9)


@settings(max_examples=150)
@given(_side, _side, _fraction, _fraction, st.integers(0, 2**40))
def test_a_painted_dot_is_found_at_the_transformed_point_after_crop_and_flip(w, h, x, y, seed):
    point = np.array([x * w, y * h])
    crop = TrainCrop(Data(image_size=96, crop_scale=(0.3, 1.0), interpolation="bilinear"))
    image, matrix, _ = crop(dotted((w, h), (point[0], point[1])), seed)
    moved = apply(matrix, point)
    # The dot must not be cut by the border, or its centre of mass is not its centre.
    assume(well_inside(moved, 96, 6 * max(1.0, abs(matrix[0, 0]), matrix[1, 1])))
    assert np.abs(found(Image.fromarray(image)) - moved).max() < 1


@settings(max_examples=150)
@given(
    _side,
    _side,
    _fraction,
    _fraction,
    st.floats(-180, 180),
    st.floats(0.7, 1.6),
    st.floats(0.7, 1.6),
    st.floats(-0.4, 0.4),
    st.booleans(),
)
def test_a_painted_dot_is_found_after_any_affine_map(w, h, x, y, degrees, sx, sy, shear, flip):
    point = np.array([x * w, y * h])
    matrix = compose(
        rotate(degrees, (w / 2, h / 2)),
        np.array([[sx, shear, -shear * h / 2], [0, sy, 0]]),
        *([hflip(96)] if flip else []),
    )
    moved = apply(matrix, point)
    assume(well_inside(moved, 96, 16))
    # Far enough from the source's border too, where the fill would mix in.
    assume((np.array([10, 10]) < point).all() and (point < np.array([w, h]) - 10).all())
    image = warp(dotted((w, h), (point[0], point[1])), matrix, (96, 96), fill=(0, 0, 0))
    assert np.abs(found(image) - moved).max() < 1


@pytest.mark.parametrize("flip", [False, True])
def test_crops_agree_with_torchvision(flip):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (50, 70, 3), dtype=np.uint8))
    matrix = crop_resize((11, 7, 51, 37), (32, 32))
    ours = warp(image, compose(matrix, hflip(32)) if flip else matrix, (32, 32))
    theirs = tvf.resized_crop(image, 7, 11, 30, 40, [32, 32])
    theirs = tvf.hflip(theirs) if flip else theirs
    # Theirs stops at the crop's edge, ours lets the filter see one pixel beyond it.
    difference = np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int))
    assert difference[2:-2, 2:-2].max() <= 1


def test_both_samplers_agree_where_nothing_is_shrunk():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (30, 30, 3), dtype=np.uint8))
    matrix = compose(crop_resize((4.25, 3.5, 20.75, 22), (40, 40)), hflip(40))
    by_resize = np.asarray(warp(image, matrix, (40, 40))).astype(int)
    turned = matrix + np.array([[0, 1e-9, 0], [0, 0, 0]])
    by_affine = np.asarray(warp(image, turned, (40, 40))).astype(int)
    assert np.abs(by_resize - by_affine)[1:-1, 1:-1].max() <= 2


def test_a_crop_beyond_the_image_is_filled():
    image = Image.new("RGB", (20, 20), (255, 255, 255))
    pixels = np.asarray(
        warp(image, crop_resize((-20, 0, 20, 20), (40, 20)), (40, 20), fill=(1, 2, 3))
    )
    assert (pixels[:, :19] == (1, 2, 3)).all()
    assert (pixels[:, 21:] == 255).all()


def test_a_vertical_flip_goes_the_quick_way_too():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    upside_down = warp(image, np.array([[1.0, 0, 0], [0, -1, 8]]), (8, 8))
    np.testing.assert_array_equal(np.asarray(upside_down), np.asarray(image)[::-1])


def test_everything_drawn_follows_from_the_seed_alone():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    crop = TrainCrop(Data(image_size=24, eval_resize=24, color_jitter=0.4))
    torch.manual_seed(5)
    first = crop(image, 1)
    after = torch.rand(1)
    torch.manual_seed(6)
    again, other = crop(image, 1), crop(image, 2)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert not np.array_equal(first.matrix, other.matrix)
    # The caller's own random numbers go on as if nothing had been drawn.
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))


def test_the_seeds_of_samples_differ_by_run_epoch_and_index():
    seeds = {sample_seed(s, e, i) for s in range(3) for e in range(3) for i in range(200)}
    assert len(seeds) == 3 * 3 * 200
    assert all(0 <= s < 2**63 for s in seeds)


def test_flips_happen_as_often_as_asked():
    image = Image.new("RGB", (16, 16))
    for share in (0.0, 0.5, 1.0):
        crop = TrainCrop(Data(image_size=16, eval_resize=16, flip=share))
        flips = np.mean([crop(image, seed).matrix[0, 0] < 0 for seed in range(400)])
        assert abs(flips - share) < (0.08 if share == 0.5 else 1e-9)


def test_the_evaluation_crop_is_resize_then_centre_crop():
    data = Data(image_size=224, eval_resize=256)
    region = EvalCrop(data).regions(np.array([[512, 256], [100, 400]]))
    np.testing.assert_allclose(region, [[144, 16, 368, 240], [6.25, 156.25, 93.75, 243.75]])
    # A smooth picture, so that the two orders of resampling can be compared.
    x, y = np.meshgrid(np.linspace(0, 255, 512), np.linspace(0, 255, 256))
    image = Image.fromarray(np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8))
    ours = EvalCrop(data)(image)
    theirs = tvf.center_crop(tvf.resize(image, 256), [224, 224])
    assert np.abs(ours.image.astype(int) - np.asarray(theirs).astype(int)).max() <= 2
    np.testing.assert_allclose(apply(ours.matrix, region[0].reshape(2, 2)), [[0, 0], [224, 224]])


@settings(max_examples=60)
@given(_side, _side, st.integers(0, 2**40), st.sampled_from(["bilinear", "bicubic"]))
def test_a_crop_is_the_image_that_its_matrix_makes_bit_for_bit(w, h, seed, interpolation):
    pixels = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    crop = TrainCrop(Data(image_size=48, interpolation=interpolation, crop_scale=(0.05, 1.0)))
    found, matrix, _ = crop(Image.fromarray(pixels), seed)
    expected = warp(Image.fromarray(pixels), matrix, (48, 48), interpolation=interpolation)
    np.testing.assert_array_equal(found, np.asarray(expected))
