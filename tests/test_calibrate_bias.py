from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from calibration_world import biased, clicked, rows
from hypothesis import given
from hypothesis import strategies as st

from luab_data.calibration import calibrate
from luab_data.calibration.model import boxed_clicks, fit_bias, moved
from luab_data.statistics.estimate import NOBODY

BOX = np.array([[0.2, 0.2, 0.6, 0.6]])  # centre (.4, .4)


def test_the_bias_of_one_worker_is_the_mean_offset():
    click = np.array([[0.5, 0.2], [0.7, 0.4]])
    found = calibrate.fit(clicked(click, BOX.repeat(2, 0), [0, 0])).bias
    np.testing.assert_allclose(found.value, [[0.2, -0.1]])
    np.testing.assert_allclose(found.crowd, [0.2, -0.1])


def test_planted_biases_of_crowd_and_workers_are_found():
    images, own = biased(1, bias=(0.06, -0.04), spread=0.03, num_workers=60)
    found = calibrate.fit(images).bias
    np.testing.assert_allclose(found.crowd, own.mean(axis=0), atol=0.003)
    np.testing.assert_allclose(found.value, own, atol=0.04)
    np.testing.assert_allclose(found.spread, 0.03, rtol=0.3)


def test_pooled_biases_are_nearer_the_truth_than_raw_ones():
    images, own = biased(2, spread=0.02, noise=0.1, num_images=400)
    found = calibrate.fit(images)
    worker = calibrate.codes(images["worker_id"], found.worker_id)
    offset = boxed_clicks(images, worker).offset
    raw = np.array([offset[worker == k].mean(axis=0) for k in range(len(own))])
    assert ((found.bias.value - own) ** 2).mean() < 0.8 * ((raw - own) ** 2).mean()


def test_a_worker_with_three_clicks_gets_nearly_the_shift_of_the_crowd():
    rng = np.random.default_rng(3)
    worker = np.r_[np.repeat(np.arange(20), 100), [20] * 3, [21] * 300]
    own = np.r_[rng.normal(0, 0.02, (20, 2)), [[0.1, 0.1]] * 2]
    offset = own[worker] + rng.normal(0, 0.1, (len(worker), 2))
    found = fit_bias(offset, worker, 22)
    raw = np.array([offset[worker == k].mean(axis=0) for k in range(22)])
    pulled = np.abs(found.value - found.crowd) / np.abs(raw - found.crowd)
    assert (pulled[20] < 0.4).all()
    assert (pulled[21] > 0.85).all()


def test_offsets_dealt_to_other_workers_leave_no_worker_apart():
    rng = np.random.default_rng(4)
    images, _ = biased(4, bias=(0.05, 0.0), spread=0.04)
    clicks = boxed_clicks(images, worker := rng.integers(0, 30, len(images)))
    found = fit_bias(clicks.offset, worker, 30)
    assert (found.spread < 0.01).all()
    assert (np.abs(found.value - found.crowd) < 0.01).all()


def test_centres_dealt_to_other_images_leave_no_bias():
    rng = np.random.default_rng(5)
    images, _ = biased(5, spread=0.0)
    clicks = boxed_clicks(images, np.zeros(len(images), np.int64))
    worker = rng.integers(0, 30, len(images))
    found = fit_bias(clicks.point - rng.permutation(clicks.centre), worker, 30)
    assert (np.abs(found.crowd) < 0.02).all()


@pytest.mark.parametrize("seed", range(6))
def test_pooling_agrees_with_a_slow_reference(seed: int):
    rng = np.random.default_rng(seed)
    num_workers = int(rng.integers(2, 9))
    worker = rng.permutation(np.r_[np.arange(num_workers), rng.integers(0, num_workers, 60)])
    offset = rng.normal(0, 0.1, (len(worker), 2)) + rng.normal(0, 0.05, (num_workers, 2))[worker]
    found = fit_bias(offset, worker, num_workers)
    for axis in (0, 1):
        groups = [offset[worker == k, axis].tolist() for k in range(num_workers)]
        value, crowd, tau = slow_pooling(groups)
        np.testing.assert_allclose(found.value[:, axis], value, rtol=1e-5, atol=1e-8)
        assert found.crowd[axis] == pytest.approx(crowd, rel=1e-5)
        assert found.spread[axis] == pytest.approx(tau, rel=1e-4, abs=1e-8)


def slow_pooling(groups: list[list[float]]) -> tuple[list[float], float, float]:
    """Value of each worker, mean and standard deviation of the crowd, by loops and bisection."""
    means = [math.fsum(group) / len(group) for group in groups]
    squares = [math.fsum((v - m) ** 2 for v in g) for g, m in zip(groups, means, strict=True)]
    common = math.fsum(squares) / (sum(map(len, groups)) - len(groups))
    variances = [
        (10 * common + s) / (10 + len(g) - 1) / len(g) for g, s in zip(groups, squares, strict=True)
    ]

    def crowd(tau2: float) -> tuple[float, float]:
        weights = [1 / (tau2 + v) for v in variances]
        mean = math.fsum(w * m for w, m in zip(weights, means, strict=True)) / math.fsum(weights)
        spread = math.fsum(w * (m - mean) ** 2 for w, m in zip(weights, means, strict=True))
        return mean, spread - (len(groups) - 1)

    low, high = 0.0, 100.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if crowd(middle)[1] > 0 else (low, middle)
    tau2 = high if crowd(0.0)[1] > 0 else 0.0
    mean = crowd(tau2)[0]
    value = [mean + tau2 / (tau2 + v) * (m - mean) for v, m in zip(variances, means, strict=True)]
    return value, mean, math.sqrt(tau2)


def test_clicks_of_nobody_are_left_out_and_get_the_bias_of_the_crowd():
    offset = np.array([[0.1, 0.0], [0.1, 0.0], [0.9, 0.9]])
    found = fit_bias(offset, np.array([0, 0, NOBODY]), 2)
    np.testing.assert_allclose(found.crowd, [0.1, 0.0], atol=1e-12)
    of = found.of(np.array([NOBODY, 0, 1]))  # 1 has no clicks
    np.testing.assert_allclose(of, [[0.1, 0.0]] * 3, atol=1e-12)


def test_clicks_of_nobody_alone_have_their_mean():
    found = fit_bias(np.array([[0.1, 0.0], [0.3, 0.2]]), np.array([NOBODY] * 2), 0)
    np.testing.assert_allclose(found.crowd, [0.2, 0.1])


def test_one_click_each_still_has_a_crowd():
    found = fit_bias(np.array([[0.1, 0.0], [0.3, 0.2]]), np.array([0, 1]), 2)
    np.testing.assert_allclose(found.value, [[0.2, 0.1]] * 2)


def test_the_centre_is_that_of_the_box_which_holds_the_click_in_fractions_of_each_side():
    images = rows(
        final_click_x=[0.5, 0.5, None, 0.5],
        final_click_y=[0.5, 0.5, None, 0.5],
        width=[200, 200, 200, None],
        height=[100, 100, 100, 100],
        # The centre of the second box is nearer, but only the first one holds the click.
        boxes=[[[20, 10, 180, 52], [101, 51, 103, 53]], [], [[0, 0, 9, 9]], [[0, 0, 9, 9]]],
    )
    found = boxed_clicks(images, np.arange(4))
    assert found.row.tolist() == [0]
    np.testing.assert_allclose(found.centre, [[0.5, 0.31]])
    np.testing.assert_allclose(found.size, [[0.8, 0.42]])


def test_slices_and_chunks_of_a_table_give_the_same_clicks():
    images, _ = biased(6, num_images=60)
    whole = boxed_clicks(images.slice(20), np.zeros(40, np.int64))
    chunked = pa.concat_tables([images.slice(20, 5), images.slice(25, 0), images.slice(25)])
    parts = boxed_clicks(chunked, np.zeros(40, np.int64))
    np.testing.assert_array_equal(parts.offset, whole.offset)


@pytest.mark.parametrize(
    ("x", "by", "expected"),
    [
        (0.5, 0.1, 0.6),
        (0.05, -0.1, 0.0),  # to the border and no farther
        (0.95, 0.1, 1.0),
        (-0.01, -0.1, -0.01),  # outside as it was logged
        (-0.01, 0.1, 0.09),
        (1.02, 0.1, 1.02),
        (1.02, -0.01, 1.01),
    ],
)
def test_points_move_at_most_to_the_border(x: float, by: float, expected: float):
    assert moved(np.array([[x, x]]), np.array([by, by])).tolist() == [
        pytest.approx([expected, expected])
    ]


@given(st.floats(-0.1, 1.1), st.floats(-2, 2))
def test_no_point_ends_farther_outside_than_it_was(x: float, by: float):
    (found,) = moved(np.array([[x, 0.5]]), np.array([by, 0.0]))
    assert min(x, 0) <= found[0] <= max(x, 1)
    assert found[1] == 0.5
    assert found[0] - x == pytest.approx(by) or found[0] in (0.0, 1.0, x)
