from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luab_data.workers.pooling import MAX_Z, between, pool, robust_z, weighted_median

_NUMBERS = st.lists(st.tuples(st.floats(-5, 5), st.floats(0.01, 4)), min_size=2, max_size=12).map(
    lambda pairs: (np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]))
)


def slow_tau2(raw: list[float], variance: list[float]) -> float:
    """The equation of Paule and Mandel by bisection, as it stands in the paper."""

    def excess(tau2: float) -> float:
        weights = [1 / (tau2 + v) for v in variance]
        mean = sum(w * y for w, y in zip(weights, raw, strict=True)) / sum(weights)
        squares = [w * (y - mean) ** 2 for w, y in zip(weights, raw, strict=True)]
        return sum(squares) - (len(raw) - 1)

    if excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return low


@given(_NUMBERS)
def test_the_spread_against_a_slow_reference(numbers: tuple[np.ndarray, np.ndarray]):
    raw, variance = numbers
    mean, tau2 = between(raw, variance)
    slow = slow_tau2(raw.tolist(), variance.tolist())
    assert tau2 == pytest.approx(slow, rel=1e-6, abs=1e-8)
    assert mean == pytest.approx(np.average(raw, weights=1 / (slow + variance)), abs=1e-6)


@given(_NUMBERS)
def test_a_pooled_value_lies_between_the_raw_one_and_the_crowd(
    numbers: tuple[np.ndarray, np.ndarray],
):
    raw, variance = numbers
    found = pool(raw, variance)
    assert (found.value >= np.minimum(raw, found.crowd) - 1e-9).all()
    assert (found.value <= np.maximum(raw, found.crowd) + 1e-9).all()
    assert ((found.weight >= 0) & (found.weight <= 1)).all()
    assert (found.low <= found.value).all() and (found.value <= found.high).all()


@given(_NUMBERS)
def test_more_data_are_shrunk_less(numbers: tuple[np.ndarray, np.ndarray]):
    raw, variance = numbers
    order = np.argsort(variance)
    assert (np.diff(pool(raw, variance).weight[order]) <= 1e-12).all()


@given(st.lists(st.floats(-10, 10), min_size=4, max_size=15), st.floats(0.1, 2))
def test_equal_variances_give_the_formula_of_james_and_stein(raw: list[float], variance: float):
    """1 - (k - 1) variance / sum of squares, its positive part."""
    y = np.array(raw)
    squares = float(((y - y.mean()) ** 2).sum())
    expected = max(0.0, 1 - (len(y) - 1) * variance / squares) if squares else 0.0
    found = pool(y, np.full(len(y), variance))
    np.testing.assert_allclose(found.weight, expected, atol=1e-6)
    np.testing.assert_allclose(found.value, y.mean() + expected * (y - y.mean()), atol=1e-5)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=2, max_size=12),
    st.floats(0.001, 0.3),
)
def test_a_pooled_share_and_its_interval_stay_within_0_and_1(
    counts: list[tuple[int, int]], row: float
):
    n = np.array([size for _, size in counts], float)
    raw = np.minimum([hits for hits, _ in counts], n) / n
    found = pool(raw, row / n, is_share=True)
    assert ((found.low >= 0) & (found.high <= 1)).all()
    assert ((found.low <= found.value) & (found.value <= found.high)).all()


def test_a_share_is_pooled_as_by_the_beta_binomial_model():
    """mean and variance of beta(a + k, b + n - k), for a crowd beta(a, b) of many workers."""
    from scipy.stats import beta

    rng = np.random.default_rng(0)
    a, b, num = 16.0, 4.0, 4000
    n = rng.integers(20, 200, num).astype(float)
    p = rng.beta(a, b, num)
    k = rng.binomial(n.astype(int), p)
    within = a * b / ((a + b) * (a + b + 1))  # mean of p (1 - p)
    found = pool(k / n, within / n, is_share=True)
    np.testing.assert_allclose(found.value, (a + k) / (a + b + n), atol=0.01)
    posterior = beta(a + k, b + n - k)
    width = posterior.ppf(0.975) - posterior.ppf(0.025)
    assert np.median((found.high - found.low) / width) == pytest.approx(1, abs=0.03)
    assert ((found.low <= p) & (p <= found.high)).mean() == pytest.approx(0.95, abs=0.01)


def test_intervals_hold_the_true_values():
    rng = np.random.default_rng(1)
    variance = rng.uniform(0.1, 3, 4000)
    true = rng.normal(2.0, 0.8, 4000)
    found = pool(true + rng.normal(0, np.sqrt(variance)), variance)
    assert found.crowd == pytest.approx(2, abs=0.05)
    assert found.spread == pytest.approx(0.8, abs=0.06)
    assert ((found.low <= true) & (true <= found.high)).mean() == pytest.approx(0.95, abs=0.01)
    assert ((found.value - true) ** 2).mean() < 0.6 * variance.mean()  # what pooling is for


def test_workers_who_do_not_differ_are_all_the_crowd():
    found = pool(np.array([0.9, 1.0, 1.1]), np.ones(3))
    assert found.weight.tolist() == [0, 0, 0]
    np.testing.assert_allclose(found.value, 1.0)
    assert found.z.tolist() == [0, 0, 0]
    # What is left is how well the crowd is known: 1.96 sqrt(1 / 3).
    np.testing.assert_allclose(found.high - found.value, 1.959964 / math.sqrt(3), rtol=1e-6)


def test_who_has_no_data_stays_without_a_number():
    found = pool(np.array([np.nan, 1.0, 5.0, 3.0]), np.array([np.nan, 0.01, 0.01, np.inf]))
    for values in (found.raw, found.value, found.low, found.high, found.weight, found.z):
        assert np.isnan(values[0])
    # Of the last one it is not known how sure the 3 is: the crowd stands in.
    assert found.weight[3] == 0 and found.value[3] == pytest.approx(found.crowd)
    assert found.high[3] - found.value[3] > 1.9 * found.spread


@pytest.mark.parametrize("raw", [[], [np.nan], [0.5]])
def test_nobody_and_one_worker(raw: list[float]):
    found = pool(np.array(raw), np.full(len(raw), 0.1))
    assert len(found.value) == len(raw)
    if raw == [0.5]:
        assert (found.value[0], found.weight[0], found.z[0]) == (0.5, 0, 0)


def test_z_is_standard_normal_for_ordinary_workers_and_small_for_unknown_ones():
    rng = np.random.default_rng(2)
    variance = np.repeat([0.01, 9.0], 2000)
    raw = rng.normal(0, np.sqrt(1 + variance))
    z = pool(raw, variance).z
    assert z[:2000].std() == pytest.approx(1, abs=0.05)
    assert z[2000:].std() == pytest.approx(math.sqrt(1 / 10), abs=0.03)  # sqrt of the weight


def test_bad_workers_do_not_move_the_yardstick():
    """A fifth of them is far away; the others' z stay as they were."""
    rng = np.random.default_rng(3)
    raw, variance = rng.normal(0, 1, 400), np.full(400, 0.1)
    bad = raw.copy()
    bad[:80] += 50
    before, after = pool(raw, variance), pool(bad, variance)
    assert np.abs(after.z[80:]).max() < 1.1 * np.abs(before.z).max()
    assert after.z[:80].min() > 20
    assert after.spread > 10  # while the crowd's mean and spread do move


def test_z_ends_somewhere_when_half_of_the_workers_are_exactly_equal():
    z = robust_z(np.array([1.0, 1, 1, 2]), np.zeros(4), np.ones(4), 1.25)
    assert z.tolist() == [0, 0, 0, MAX_Z]


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=9))
def test_the_weighted_median_is_that_of_repeated_values(pairs: list[tuple[int, int]]):
    values, weights = (np.array(column, float) for column in zip(*pairs, strict=True))
    repeated = sorted(v for v, times in pairs for _ in range(times))
    assert weighted_median(values, weights) == repeated[(len(repeated) - 1) // 2]
