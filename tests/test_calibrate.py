"""A calibration: its bias, its expected errors, what it does to clicks."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from calibration_world import biased, clicked, rows
from hypothesis import given
from hypothesis import strategies as st

from luab_data.calibration import calibrate
from luab_data.calibration.model import (
    BEHAVIOURS,
    ErrorModel,
    behaviours,
    boxed_clicks,
    fit_bias,
    fit_errors,
    moved,
)
from luab_data.errors import DatasetError
from luab_data.ragged import Floats
from luab_data.statistics.estimate import NOBODY
from luab_data.workers.pooling import pool

# --- the bias of clicks --------------------------------------------------------------------------

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
def test_means_and_their_variances_are_pooled(seed: int):
    rng = np.random.default_rng(seed)
    num_workers = int(rng.integers(2, 9))
    worker = rng.permutation(np.r_[np.arange(num_workers), rng.integers(0, num_workers, 60)])
    offset = rng.normal(0, 0.1, (len(worker), 2)) + rng.normal(0, 0.05, (num_workers, 2))[worker]
    found = fit_bias(offset, worker, num_workers)
    for axis in (0, 1):
        groups = [offset[worker == k, axis].tolist() for k in range(num_workers)]
        expected = pool(*slow_means(groups))
        np.testing.assert_allclose(found.value[:, axis], expected.value, rtol=1e-9)
        assert found.crowd[axis] == pytest.approx(expected.crowd)
        assert found.spread[axis] == pytest.approx(expected.spread)


def slow_means(groups: list[list[float]]) -> tuple[Floats, Floats]:
    """Mean of each worker, and its variance: the worker's own rows and everybody's as ten."""
    means = [math.fsum(group) / len(group) for group in groups]
    squares = [math.fsum((v - m) ** 2 for v in g) for g, m in zip(groups, means, strict=True)]
    common = math.fsum(squares) / (sum(map(len, groups)) - len(groups))
    variances = [
        (10 * common + s) / (10 + len(g) - 1) / len(g) for g, s in zip(groups, squares, strict=True)
    ]
    return np.array(means), np.array(variances)


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


# --- expected errors and reliabilities -----------------------------------------------------------

FLAT = np.zeros((0, len(BEHAVIOURS)))


def offsets(rng: np.random.Generator, error: Floats) -> Floats:
    """(n, 2) offsets with these expected squared lengths."""
    return rng.normal(size=(len(error), 2)) * np.sqrt(error / 2)[:, None]


def columns(rng: np.random.Generator, num: int) -> Floats:
    return rng.normal(size=(num, len(BEHAVIOURS)))


def test_behaviours_are_logarithms_and_nan_where_not_logged():
    images = rows(
        final_click_x=[0.5, 0.5, None],
        final_click_y=[0.5, 0.5, None],
        dwell_time_ms=[950, None, None],
        estimate_time_ms=[0, -1, None],
        last_n_x=[[0.5, 0.47] + [None] * 7, [0.5] + [None] * 8, None],
        last_n_y=[[0.5, 0.46] + [None] * 7, [0.5] + [None] * 8, None],
        hull_area=[0.0, None, None],
        num_clicks=[3, 1, 0],
    )
    found = np.exp(behaviours(images))
    np.testing.assert_allclose(found[0], [1000, 50, 0.06, 1e-4, 3])
    np.testing.assert_allclose(found[1], [np.nan, 50, np.nan, np.nan, 1])
    np.testing.assert_allclose(found[2], [np.nan, np.nan, np.nan, np.nan, 1])
    sliced = behaviours(images.slice(1))
    np.testing.assert_array_equal(sliced, np.log(found[1:]))


def test_a_planted_line_and_planted_workers_are_recovered():
    rng = np.random.default_rng(0)
    behaviour, worker = columns(rng, 20_000), rng.integers(0, 40, 20_000)
    factor = rng.lognormal(0, 0.5, 40)
    slope = np.array([0.4, -0.3, 0.0, 0.2, 0.0])
    error = 0.01 * factor[worker] * np.exp(np.clip(behaviour, -2.3, 2.3) @ slope)
    model = fit_errors(behaviour, offsets(rng, error), worker, 40)
    np.testing.assert_allclose(model.slope / model.scale, slope, atol=0.04)
    found = model.error(behaviour, worker)
    np.testing.assert_allclose(np.log(found / error), 0, atol=0.35)
    assert np.log(found / error).std() < 0.1


def test_a_typical_click_has_a_reliability_of_one_half():
    rng = np.random.default_rng(3)
    behaviour, worker = columns(rng, 501), rng.integers(0, 9, 501)
    model = fit_errors(behaviour, offsets(rng, rng.lognormal(-4, 1, 501)), worker, 9)
    assert np.median(model.reliability(model.error(behaviour, worker))) == pytest.approx(0.5)


def test_behaviour_that_means_nothing_has_no_slope():
    rng = np.random.default_rng(1)
    behaviour, error = columns(rng, 5000), np.full(5000, 0.01)
    model = fit_errors(behaviour, offsets(rng, error), rng.integers(0, 20, 5000), 20)
    assert (np.abs(model.slope) < 0.05).all()
    np.testing.assert_allclose(model.worker, model.crowd, atol=0.15)


def test_the_line_agrees_with_a_slow_reference():
    rng = np.random.default_rng(2)
    behaviour, squares_of = columns(rng, 300), rng.lognormal(-4, 1, 300)
    behaviour[rng.random(behaviour.shape) < 0.1] = np.nan
    offset = offsets(rng, squares_of)
    model = fit_errors(behaviour, offset, np.full(300, NOBODY), 0)
    z = (np.clip(behaviour, model.low, model.high) - model.mean) / model.scale
    gone = np.isnan(behaviour)
    design = np.column_stack([np.ones(300), np.where(gone, 0, z), gone])
    line = fisher_scoring(design, (offset**2).sum(1))
    np.testing.assert_allclose(
        [model.intercept, *model.slope, *model.missing], line, rtol=0.01, atol=2e-3
    )


def fisher_scoring(design: Floats, squares: Floats) -> Floats:
    """Gamma regression with log link by iterated least squares, ridge on all but the intercept."""
    ridge = 1e-3 * len(squares) * np.eye(design.shape[1])
    ridge[0, 0] = 0
    line = np.zeros(design.shape[1])
    line[0] = np.log(squares.mean())
    for _ in range(100):
        log_error = design @ line
        target = log_error + squares / np.exp(log_error) - 1
        line = np.linalg.solve(design.T @ design + ridge, design.T @ target)
    return line


def test_a_worker_with_three_clicks_has_nearly_the_factor_of_the_crowd():
    rng = np.random.default_rng(3)
    worker = np.r_[np.repeat(np.arange(20), 200), [20] * 3, [21] * 400]
    factor = np.r_[rng.lognormal(0, 0.3, 20), 4.0, 4.0]
    behaviour = np.zeros((len(worker), len(BEHAVIOURS)))
    offset = offsets(rng, 0.01 * factor[worker])
    model = fit_errors(behaviour, offset, worker, 22)
    squares = (offset**2).sum(1)
    for number, low, high in ((20, 0.0, 0.6), (21, 0.8, 1.0)):
        raw = squares[worker == number].mean() / squares.mean()
        assert low < (model.worker[number] - model.crowd) / (raw - model.crowd) < high


def test_touch_without_a_trace_has_an_error_of_its_own():
    rng = np.random.default_rng(4)
    behaviour, touch = columns(rng, 4000), rng.random(4000) < 0.2
    behaviour[touch, 2] = np.nan
    error = np.where(touch, 0.04, 0.01)
    model = fit_errors(behaviour, offsets(rng, error), np.full(4000, NOBODY), 0)
    found = model.error(np.full((1, len(BEHAVIOURS)), np.nan), np.array([NOBODY]))
    assert np.isfinite(found).all()
    assert model.missing[2] == pytest.approx(np.log(4), abs=0.2)


def test_behaviour_out_of_the_range_seen_counts_as_the_end_of_it():
    rng = np.random.default_rng(5)
    behaviour = columns(rng, 500)
    model = fit_errors(behaviour, offsets(rng, np.exp(behaviour[:, 0])), np.zeros(500, int), 1)
    far, end = np.zeros((2, 1, len(BEHAVIOURS)))
    far[0, 0], end[0, 0] = 1e6, model.high[0]
    assert model.error(far, np.array([0])) == model.error(end, np.array([0]))


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=9), st.floats(1e-6, 10))
def test_a_reliability_is_in_0_to_1_and_falls_as_the_error_grows(
    errors: list[float], typical: float
):
    nothing = np.zeros(0)
    model = ErrorModel(
        low=nothing, high=nothing, mean=nothing, scale=nothing, intercept=0.0, slope=nothing,
        missing=nothing, worker=nothing, crowd=1.0, typical=typical,
    )  # fmt: skip
    found = model.reliability(np.sort(errors))
    assert (found > 0).all()
    assert (found <= 1).all()
    assert (np.diff(found) <= 0).all()
    assert model.reliability(np.array([typical])) == pytest.approx(0.5)


def test_clicks_in_the_very_centre_are_wholly_reliable():
    behaviour = np.zeros((4, len(BEHAVIOURS)))
    model = fit_errors(behaviour, np.zeros((4, 2)), np.array([0, 0, 1, 1]), 2)
    worker = np.array([0, NOBODY])
    assert model.reliability(model.error(behaviour[:2], worker)).tolist() == [1, 1]


# --- a calibration, fitted and applied -----------------------------------------------------------

MADE = ("calibrated_click_x", "calibrated_click_y", "click_reliability")


@pytest.fixture(scope="module")
def calibration() -> calibrate.Calibration:
    return calibrate.fit(biased(0, bias=(0.1, -0.05), spread=0.02, num_workers=5)[0])


def test_images_without_boxes_are_calibrated_by_their_worker(calibration: calibrate.Calibration):
    images = rows(final_click_x=[0.5, 0.5], final_click_y=[0.5, 0.5], worker_id=["w001", "new"])
    found = calibrate.apply(calibration, images.drop_columns(["boxes", "width", "height"]))
    own = calibration.bias.value[calibration.worker_id.index("w001")]
    assert found["calibrated_click_x"].to_pylist() == pytest.approx(
        [0.5 - own[0], 0.5 - calibration.bias.crowd[0]]
    )
    assert found["calibrated_click_y"].to_pylist() == pytest.approx(
        [0.5 - own[1], 0.5 - calibration.bias.crowd[1]]
    )


def test_calibrated_points_are_null_where_there_is_no_click(calibration: calibrate.Calibration):
    images = rows(final_click_x=[0.5, None], final_click_y=[0.5, None], worker_id=["w001", None])
    found = calibrate.apply(calibration, images)
    for name in MADE:
        assert found.schema.field(name).type == pa.float64()
        assert found[name].is_valid().to_pylist() == [True, False]
        assert not pc.any(pc.is_nan(found[name])).as_py()


def test_a_click_of_nobody_gets_the_shift_of_the_crowd(calibration: calibrate.Calibration):
    images = rows(final_click_x=[0.5], final_click_y=[0.5], worker_id=[None])
    found = calibrate.apply(calibration, images)["calibrated_click_x"].to_pylist()
    assert found == pytest.approx([0.5 - calibration.bias.crowd[0]])


def test_an_empty_table_gets_empty_columns(calibration: calibrate.Calibration):
    found = calibrate.apply(calibration, rows(final_click_x=[]))
    assert len(found) == 0
    assert set(MADE) < set(found.column_names)


def test_other_columns_stay_and_applying_twice_is_applying_once(
    calibration: calibrate.Calibration,
):
    images, _ = biased(1, num_images=20)
    once = calibrate.apply(calibration, images)
    assert once.column_names == [*images.column_names, *MADE]
    assert calibrate.apply(calibration, once).equals(once)


def test_slices_chunks_and_dictionaries_are_calibrated_alike(calibration: calibrate.Calibration):
    images, _ = biased(2, num_images=50)
    whole = calibrate.apply(calibration, images).slice(10)
    parts = pa.concat_tables([images.slice(10, 7), images.slice(17)])
    place = parts.column_names.index("worker_id")
    coded = parts.set_column(place, "worker_id", parts["worker_id"].dictionary_encode())
    for name in MADE:
        assert calibrate.apply(calibration, coded)[name].equals(whole[name])


def test_the_order_of_rows_does_not_matter():
    images, _ = biased(3, spread=0.03, num_images=300)
    order = np.random.default_rng(0).permutation(len(images))
    one, other = calibrate.fit(images), calibrate.fit(images.take(pa.array(order)))
    assert one.worker_id == other.worker_id
    np.testing.assert_allclose(one.bias.value, other.bias.value)
    np.testing.assert_allclose(one.errors.worker, other.errors.worker, rtol=1e-4)


def test_nothing_can_be_learned_without_boxes():
    images = rows(final_click_x=[0.5], final_click_y=[0.5], width=[10], height=[10])
    for table in (images, images.slice(0, 0)):
        with pytest.raises(DatasetError, match="no click is on an image with boxes"):
            calibrate.fit(table)
        with pytest.raises(DatasetError, match="no click is on an image with boxes"):
            calibrate.evaluate(table)


def test_a_missing_column_is_named(calibration: calibrate.Calibration):
    images = rows(final_click_x=[0.5], final_click_y=[0.5])
    with pytest.raises(DatasetError, match="no column 'hull_area'"):
        calibrate.apply(calibration, images.drop_columns(["hull_area"]))
    with pytest.raises(DatasetError, match="no column 'boxes'"):
        calibrate.fit(images.drop_columns(["boxes"]))
