from __future__ import annotations

import numpy as np
import pytest
from calibration_world import rows
from hypothesis import given
from hypothesis import strategies as st

from luab_data.calibration.model import (
    BEHAVIOURS,
    ErrorModel,
    behaviours,
    fit_errors,
)
from luab_data.ragged import Floats
from luab_data.statistics.estimate import NOBODY

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
