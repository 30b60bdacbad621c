from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import timm.data.auto_augment as timm_augment
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_train
from train_world import dotted, found
from warping import warp

from luab_data.errors import OptionError
from luab_train.data.augment import MATRICES, Augmented, RandAugment, seeded, with_steps
from luab_train.data.geometry import (
    apply,
    compose,
    crop_resize,
    hflip,
    invert,
    rotate,
    seen_throughout,
)

MEAN = (0.485, 0.456, 0.406)
DEIT = "rand-m9-mstd0.5-inc1"


def noise(width: int = 48, height: int = 40, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def well_inside(point: np.ndarray, size_wh: tuple[int, int], margin: float = 8) -> bool:
    return bool((margin < point).all() and (point < np.array(size_wh) - margin).all())


def op(name: str, magnitude: float, interpolation: int = Image.Resampling.BICUBIC):
    hparams = {"img_mean": (0, 0, 0), "interpolation": interpolation, "translate_const": 20}
    return timm_augment.AugmentOp(name, prob=1.0, magnitude=magnitude, hparams=hparams)


# --- pictures are timm's


def posterize_of_old_pillow(image: Image.Image, bits: int, **_: object) -> Image.Image:
    if bits >= 8:
        return image
    return image.point([value & ~(2 ** (8 - bits) - 1) for value in range(256)] * 3)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "config",
    [
        DEIT,
        "rand",
        "rand-m12-mmax15-n4-p1.0",
        "rand-m9-mstd101-n3",
        "rand-tweights-n3-p0.9",
        "rand-t3a",
        "rand-t3aw-m5",
    ],
)
def test_pictures_equal_those_of_timms_own_pipeline_bit_for_bit(config, interpolation, monkeypatch):
    monkeypatch.setitem(timm_augment.NAME_TO_OP, "Posterize", posterize_of_old_pillow)
    monkeypatch.setitem(timm_augment.NAME_TO_OP, "PosterizeIncreasing", posterize_of_old_pillow)
    _, theirs, _ = transforms_imagenet_train(
        48,
        auto_augment=config,
        color_jitter=None,
        mean=MEAN,
        interpolation=interpolation,
        separate=True,
    )
    monkeypatch.undo()
    ours = RandAugment(config, 48, MEAN, interpolation=interpolation)
    image, moved, changed = noise(), 0, 0
    for seed in range(40):
        with seeded(seed):
            expected = theirs(image)
        with seeded(seed):
            augmented = ours(image)
        np.testing.assert_array_equal(np.asarray(augmented.image), np.asarray(expected))
        moved += bool(augmented.steps)
        changed += not np.array_equal(np.asarray(expected), np.asarray(image))
    assert changed > 15
    assert bool(moved) == (config != "rand-t3a")


def test_no_bits_to_keep_is_black_as_it_was_before_pillow_refused_it():
    for name, magnitude in (("Posterize", 0), ("PosterizeIncreasing", 10)):
        image, steps = with_steps(op(name, magnitude))(Augmented(noise()))
        assert not np.asarray(image).any() and image.mode == "RGB" and steps == ()


def test_deits_setting_runs_for_seeds_that_ask_for_no_bits():
    augment, black = RandAugment("rand-m10-n4-p1.0-inc1", 16, MEAN), 0
    for seed in range(60):
        with seeded(seed):
            black += np.ptp(np.asarray(augment(noise(16, 16)).image)) == 0
    assert black > 5


def test_stale_points_get_the_same_picture_and_no_steps():
    follow, stale = (RandAugment(DEIT, 48, MEAN, points=p) for p in ("follow", "stale"))
    steps = 0
    for seed in range(30):
        with seeded(seed):
            moved = follow(noise())
        with seeded(seed):
            left = stale(noise())
        np.testing.assert_array_equal(np.asarray(moved.image), np.asarray(left.image))
        assert left.steps == ()
        steps += len(moved.steps)
    assert steps > 5


def test_wrapping_an_operation_leaves_timms_alone_and_survives_a_worker_process():
    original = op("Rotate", 9)
    function = original.aug_fn
    wrapped = pickle.loads(pickle.dumps(with_steps(original)))
    assert original.aug_fn is function
    with seeded(1):
        expected = original(noise())
    with seeded(1):
        augmented = wrapped(Augmented(noise()))
    np.testing.assert_array_equal(np.asarray(augmented.image), np.asarray(expected))
    assert len(augmented.steps) == 1
    pickle.loads(pickle.dumps(RandAugment(DEIT, 48, MEAN)))(noise())


# --- matrices are what the pictures do


@pytest.mark.parametrize("interpolation", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("magnitude", range(11))
@pytest.mark.parametrize("name", sorted(MATRICES))
def test_a_dot_lands_where_the_matrix_of_the_operation_says(name, magnitude, interpolation):
    size = (110, 80)
    wrapped = with_steps(op(name, magnitude, interpolation))
    directions, checked = set(), 0
    for seed in range(4):
        for point in np.array([[55.3, 40.2], [30.0, 25.7], [84.5, 52.1]]):
            with seeded(seed):
                image, (step,) = wrapped(Augmented(dotted(size, point)))
            moved = apply(step, point)
            directions.add(tuple(np.sign(moved - point)))
            if well_inside(moved, size):
                checked += 1
                assert np.abs(found(image) - moved).max() < 0.15
    assert checked >= 4
    assert len(directions) >= (2 if magnitude else 1)


@pytest.mark.parametrize(
    ("name", "level", "point", "expected"),
    [
        # 30 degrees counter-clockwise about (50, 40): right of the centre goes up.
        ("Rotate", 30, (60, 40), (50 + 10 * np.cos(np.pi / 6), 35)),
        ("ShearX", 0.3, (60, 40), (48, 40)),
        ("ShearY", -0.3, (60, 40), (60, 58)),
        ("TranslateX", 7, (60, 40), (53, 40)),
        ("TranslateY", -7, (60, 40), (60, 47)),
        ("TranslateXRel", 0.45, (60, 40), (15, 40)),
        ("TranslateYRel", 0.25, (60, 40), (60, 20)),
    ],
)
def test_matrices_of_operations_by_hand(name, level, point, expected):
    np.testing.assert_allclose(apply(MATRICES[name](level, 100, 80), np.array(point)), expected)


@pytest.mark.parametrize("name", sorted(timm_augment.NAME_TO_OP))
def test_exactly_the_operations_with_a_matrix_move_pixels(name):
    # A picture that equals its mirror images still does so after an operation on colours.
    quarter = np.asarray(noise(24, 20)).astype(float)
    picture = np.concatenate([quarter, quarter[:, ::-1]], axis=1)
    picture = np.concatenate([picture, picture[::-1]], axis=0).astype(np.uint8)
    with seeded(0):
        after = np.asarray(op(name, 7)(Image.fromarray(picture))).astype(int)
    asymmetry = max(np.abs(after - after[::-1]).max(), np.abs(after - after[:, ::-1]).max())
    assert (asymmetry > 50) if name in MATRICES else (asymmetry <= 1)


def geometric(num_layers: int, interpolation: int = Image.Resampling.BICUBIC):
    ops = [
        with_steps(op(name, magnitude, interpolation))
        for name in sorted(MATRICES)
        for magnitude in (2, 5)
    ]
    return timm_augment.RandAugment(ops, num_layers)


_fraction = st.floats(0.2, 0.8)
_seed = st.integers(0, 2**63 - 1)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(_fraction, _fraction),
    st.tuples(st.integers(80, 120), st.integers(80, 120)),
    st.tuples(st.floats(0, 30), st.floats(0, 30), st.floats(50, 80), st.floats(50, 80)),
    st.booleans(),
    _seed,
    st.integers(0, 3),
)
def test_a_dot_lands_where_the_composed_steps_say_after_crop_flip_and_operations(
    fraction, size, box, flip, seed, num_layers
):
    point = np.multiply(fraction, size)
    left, top, width, height = box
    crop = crop_resize((left, top, left + width, top + height), (96, 96))
    crop = compose(crop, hflip(96)) if flip else crop
    cropped = warp(dotted(size, point), crop, (96, 96), fill=(0, 0, 0))
    with seeded(seed):
        augmented = geometric(num_layers)(Augmented(cropped))
    assert len(augmented.steps) == num_layers
    places = [apply(crop, point)]
    for step in augmented.steps:
        places.append(apply(step, places[-1]))
    # The dot must not be cut by a border, or its centre of mass is not its centre.
    assume(all(well_inside(place, (96, 96), 14) for place in places))
    whole = compose(crop, *augmented.steps)
    np.testing.assert_allclose(apply(whole, point), places[-1], atol=1e-9)
    np.testing.assert_allclose(apply(invert(whole), places[-1]), point, atol=1e-9)
    assert np.abs(found(augmented.image) - places[-1]).max() < 0.5
    assert seen_throughout(augmented.steps, places[0], (96, 96))


_step = st.one_of(
    st.builds(rotate, st.floats(-180, 180), st.tuples(st.floats(0, 90), st.floats(0, 90))),
    st.builds(hflip, st.floats(1, 300)),
    st.builds(
        lambda x, y, w, h, out: crop_resize((x, y, x + w, y + h), out),
        *[st.floats(0, 100), st.floats(0, 100), st.floats(5, 200), st.floats(5, 200)],
        st.tuples(st.integers(8, 256), st.integers(8, 256)),
    ),
    st.builds(
        lambda name, level: MATRICES[name](level, 90, 70),
        st.sampled_from(sorted(MATRICES)),
        st.floats(-0.45, 0.45),
    ),
)


@settings(max_examples=200)
@given(st.lists(_step, max_size=5), st.integers(0, 5))
def test_steps_compose_in_parts_and_invert_for_any_geometry(steps, cut):
    points = np.array([[0.0, 0.0], [31.5, 7.25], [90, 70]])
    whole = compose(*steps)
    parts = compose(compose(*steps[:cut]), compose(*steps[cut:]))
    one_by_one = points
    for step in steps:
        one_by_one = apply(step, one_by_one)
    scale = 1 + np.abs(one_by_one).max()
    np.testing.assert_allclose(apply(whole, points), one_by_one, atol=1e-9 * scale)
    np.testing.assert_allclose(apply(parts, points), one_by_one, atol=1e-9 * scale)
    back = compose(*[invert(step) for step in reversed(steps)])
    np.testing.assert_allclose(apply(compose(whole, back), points), points, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(compose(invert(whole), whole), np.eye(3)[:2], atol=1e-6)


@pytest.mark.parametrize(
    "matrix",
    [
        hflip(90),
        np.array([[1.0, 0, 0], [0, -1, 70]]),
        crop_resize((10, 5, 80, 65), (90, 70)),
        crop_resize((-10, -5, 70, 65), (90, 70)),
        compose(crop_resize((12.25, 8.5, 81, 62), (90, 70)), hflip(90)),
        rotate(90, (45, 35)),
        rotate(-17, (45, 35)),
    ],
    ids=["hflip", "vflip", "crop", "crop beyond", "crop and flip", "quarter", "rotate"],
)
def test_warp_puts_a_dot_where_each_matrix_says(matrix):
    for point in np.array([[45.0, 35.0], [37.25, 40.5], [52, 29.75]]):
        image = warp(dotted((90, 70), point), matrix, (90, 70), fill=(0, 0, 0))
        assert np.abs(found(image) - apply(matrix, point)).max() < 0.1


# --- what is still seen


def test_a_point_that_left_and_came_back_is_not_seen():
    there, back = MATRICES["TranslateX"](30, 100, 80), MATRICES["TranslateX"](-30, 100, 80)
    points = np.array([[20.0, 40], [40, 40], [90, 40], [np.nan, np.nan], [110, 40]])
    seen = seen_throughout((there, back), points, (100, 80))
    assert seen.tolist() == [False, True, True, False, False]
    # The place that the crop left out is moved in as fill.
    assert not seen_throughout((there,), np.array([110.0, 40]), (100, 80))
    # What the picture says: white there, then the fill.
    white = Image.new("RGB", (100, 80), (255, 255, 255))
    moved = warp(warp(white, there, (100, 80)), back, (100, 80))
    assert np.asarray(moved)[40, 20].tolist() == [124, 116, 104]
    assert np.asarray(moved)[40, 40].tolist() == [255, 255, 255]


def test_without_steps_a_point_is_seen_inside_the_crop_and_on_its_border():
    points = np.array([[[0.0, 0], [100, 80]], [[-1e-6, 5], [5, 80.001]]])
    assert seen_throughout((), points, (100, 80)).tolist() == [[True, True], [False, False]]


def test_a_point_is_seen_where_a_picture_of_white_was_never_cut():
    # White moves with fill black: a pixel that is white in the end was in the picture throughout.
    augment, cut = geometric(3, Image.Resampling.BILINEAR), 0
    y, x = np.indices((96, 96)) + 0.5
    for seed in range(25):
        with seeded(seed):
            augmented = augment(Augmented(Image.new("RGB", (96, 96), (255, 255, 255))))
        value = np.asarray(augmented.image)[..., 0]
        ends = np.stack([x, y], axis=-1)
        starts = apply(invert(compose(*augmented.steps)), ends)
        seen = seen_throughout(augmented.steps, starts, (96, 96))
        clear = np.isin(value, (0, 255))
        # A pixel on a cut may be on either side.
        assert (seen[clear] != (value[clear] == 255)).sum() <= 4
        assert clear.mean() > 0.9
        by_end = seen_throughout((), starts, (96, 96))
        cut += int((by_end & ~seen).sum())
    # Where a point begins and ends is not enough.
    assert cut > 1000


# --- draws


def test_everything_drawn_follows_from_the_seed_alone():
    augment = RandAugment(DEIT, 48, MEAN)
    pictures = []
    for start in (1, 2):
        random.seed(start)
        np.random.seed(start)
        with seeded(7):
            pictures.append(np.asarray(augment(noise()).image))
    np.testing.assert_array_equal(*pictures)


def test_a_lent_seed_is_given_back_even_after_an_error():
    generator = torch.Generator().manual_seed(3)

    def draws() -> list[float]:
        # gauss and randn keep a spare number, which is part of the state.
        return [
            random.gauss(0, 1),
            random.random(),
            np.random.randn(),
            np.random.rand(),
            torch.rand((), generator=generator).item(),
        ]

    draws()
    states = random.getstate(), np.random.get_state(), generator.get_state()
    expected = draws()
    random.setstate(states[0])
    np.random.set_state(states[1])
    generator.set_state(states[2])
    with pytest.raises(KeyError), seeded(1, generator):
        inside = draws()
        raise KeyError
    assert draws() == expected
    with seeded(1, generator):
        assert draws() == inside
    with seeded(2, generator):
        assert not set(draws()) & set(inside)


def test_the_two_generators_of_a_seed_are_not_the_same_numbers():
    # From equal seeds they would be: both are the same Mersenne twister.
    for seed in (0, 1, 2**32, 2**63 - 1):
        with seeded(seed):
            pairs = [(random.random(), np.random.rand()) for _ in range(50)]
        assert not {a for a, _ in pairs} & {b for _, b in pairs}


def test_seeds_that_share_a_half_differ():
    firsts = set()
    for seed in (0, 1, 2**32, 2**32 + 1, 2**62):
        with seeded(seed):
            firsts.add((random.random(), np.random.rand()))
    assert len({a for a, _ in firsts}) == len({b for _, b in firsts}) == 5


# --- configurations


@pytest.mark.parametrize(
    "config",
    [
        "",
        "augmix-m3",
        "v0",
        "3a",
        "rand9",
        "rand-",
        "rand-m9.5",
        "rand-m",
        "rand-x3",
        "rand-inc",
        "rand-inc2",
        "rand-mstdinf",
        "rand-p1.5",
        "rand-p.5",
        "rand-n0",
        "rand-tweight",
        "rand-m9-m8",
        "rand-m9_mstd0.5",
        "RAND-m9",
        "rand-m9\n",
    ],
)
def test_a_config_that_is_not_timms_is_refused_and_the_error_shows_one_that_is(config):
    with pytest.raises(OptionError, match=r"expected.*-mstd0\.5.*e\.g\. rand-m9-mstd0\.5-inc1"):
        RandAugment(config, 48, MEAN)


def test_more_operations_than_a_weighted_set_has_are_refused():
    with pytest.raises(OptionError, match="draws 20 of 15 operations"):
        RandAugment("rand-tweights-n20", 48, MEAN)


def test_an_operation_that_a_new_timm_brings_is_refused_until_its_geometry_is_known(monkeypatch):
    monkeypatch.setitem(timm_augment.NAME_TO_OP, "Perspective", timm_augment.invert)
    monkeypatch.setitem(timm_augment.LEVEL_TO_ARG, "Perspective", None)
    monkeypatch.setattr(timm_augment, "_RAND_3A", ["Desaturate", "Perspective"])
    with pytest.raises(OptionError, match="Perspective"):
        RandAugment("rand-t3a", 48, MEAN)
