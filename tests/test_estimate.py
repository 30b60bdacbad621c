from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luab_data.ragged import Ints
from luab_data.statistics.estimate import (
    NOBODY,
    Estimate,
    Terms,
    Workers,
    WorkerSums,
    by_place,
    draw_workers,
    grid_terms,
    interval,
    less,
    mean_of,
    median_estimate,
    share,
)


def hits(values: list[float]) -> Terms:
    part = np.array(values)
    return Terms(row=np.arange(len(part)), part=part, whole=np.ones(len(part)))


def estimate(
    terms: Terms,
    worker: Ints,
    *,
    num_cells: int = 1,
    resamples: int = 1000,
    seed: int = 0,
    **options: Any,
) -> Estimate:
    sums = WorkerSums(num_cells)
    sums.add(terms, worker)
    weights = draw_workers(int(worker.max(initial=-1)) + 1, resamples=resamples, seed=seed)
    return sums.estimate(weights, **options)


def test_the_value_is_the_mean_and_n_the_number_of_trials():
    found = estimate(hits([1, 0, 1, 1]), np.array([0, 0, 1, 1]))
    assert (found.value, found.n, found.num_workers) == (0.75, 4, 2)
    assert np.isnan(found.null)


def test_resampled_workers_against_a_slow_reference():
    rng = np.random.default_rng(0)
    worker = rng.integers(0, 5, 200)
    values = (rng.random(200) < 0.3).astype(float)
    weights = draw_workers(5, resamples=300, seed=4)
    slow = []
    for row in weights:
        rows = [np.flatnonzero(worker == w) for w in range(5) for _ in range(int(row[w]))]
        slow.append(values[np.concatenate(rows)].mean())
    found = estimate(hits(values.tolist()), worker, resamples=300, seed=4)
    low, high = interval(np.array(slow), 5)
    assert found.low == pytest.approx(float(low))
    assert found.high == pytest.approx(float(high))


def test_every_resample_draws_as_many_workers_as_there_are():
    weights = draw_workers(7, resamples=50)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()


def test_batches_add_up_to_the_whole():
    rng = np.random.default_rng(1)
    values, worker = rng.random(90), rng.integers(0, 9, 90)
    whole = estimate(hits(values.tolist()), worker)
    sums = WorkerSums()
    for start in range(0, 90, 40):  # later batches bring workers that earlier ones did not have
        piece = slice(start, start + 40)
        sums.add(hits(values[piece].tolist()), worker[piece])
    terms = sums.estimate(draw_workers(9))
    assert terms.value == pytest.approx(whole.value)
    assert terms.low == pytest.approx(whole.low)
    assert terms.n == 90


def test_rows_without_a_worker_count_in_the_value_and_never_vary():
    only = estimate(hits([1, 0]), np.array([NOBODY, NOBODY]))
    assert only.value == 0.5
    assert np.isnan(only.low)
    mixed = estimate(hits([1, 0, 0]), np.array([NOBODY, 0, 1]))
    assert mixed.value == pytest.approx(1 / 3)
    assert mixed.low == mixed.high == pytest.approx(1 / 3)  # both workers are alike


def test_nothing_seen_is_nan_never_0():
    found = estimate(hits([]), np.zeros(0, np.int64))
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.n == 0
    assert found.as_dict()["value"] is None


def test_an_empty_cell_of_a_map_is_nan_beside_full_ones():
    terms = Terms(np.arange(3), np.ones(3), np.ones(3), cell=np.array([0, 0, 2]))
    found = estimate(terms, np.array([0, 1, 1]), num_cells=3, shape=(3,))
    np.testing.assert_array_equal(found.value, [1, np.nan, 1])
    np.testing.assert_array_equal(found.n, [2, 0, 1])
    assert np.isnan(found.low[1])


def test_shares_sum_to_1():
    terms = Terms(np.arange(4), np.ones(4), np.ones(4), cell=np.array([0, 1, 1, 3]))
    found = estimate(terms, np.arange(4) % 2, num_cells=4, shape=(2, 2), finish=share)
    np.testing.assert_allclose(found.value, [[0.25, 0.5], [0, 0.25]])
    assert (found.n == 4).all()  # each is divided by all, not by its own cell


def test_a_null_comes_from_the_parts_or_is_known_beforehand():
    terms = hits([1, 1])._replace(null=np.array([0.5, 0.0]))
    assert estimate(terms, np.array([0, 1])).null == 0.25
    assert estimate(hits([1, 1]), np.array([0, 1]), null=0.5).null == 0.5


def test_grid_terms_keep_rows_and_cells():
    terms = grid_terms(np.array([[1.0, 0.0], [0.0, 1.0]]), np.ones((2, 2)))
    assert terms.row.tolist() == [0, 0, 1, 1]
    assert terms.cell is not None
    assert terms.cell.tolist() == [0, 1, 0, 1]


def test_values_that_are_not_known_or_have_no_place_are_no_trial():
    terms = mean_of([1, np.nan, 0, 1], where=np.array([True, True, True, False]))
    assert (terms.row.tolist(), terms.part.tolist()) == ([0, 2], [1, 0])
    given = mean_of(np.array([True, False]), row=np.array([7, 7]), cell=np.array([2, 3]))
    assert (given.row.tolist(), given.cell.tolist()) == ([7, 7], [2, 3])  # type: ignore[union-attr]
    placed = by_place([1, 1, 1, 1], np.array([0, 2, -1, np.nan]), 2)
    assert (placed.row.tolist(), placed.cell.tolist()) == ([0], [0])  # type: ignore[union-attr]


def test_a_difference_is_of_two_means():
    assert less(1, 0)(np.array([1.0, 1.0]), np.array([2.0, 1.0])) == 0.5


def test_without_resamples_there_is_a_value_and_no_interval():
    found = estimate(hits([1, 0]), np.array([0, 1]), resamples=0)
    assert (found.value, np.isnan(found.low)) == (0.5, True)


def test_one_worker_has_no_interval():
    found = estimate(hits([1, 0, 1]), np.zeros(3, np.int64))
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_few_workers_get_a_wider_interval_than_the_plain_percentiles():
    replicates = np.linspace(0, 1, 1001)
    few, many = interval(replicates, 5), interval(replicates, 10_000)
    assert few[0] < many[0] == pytest.approx(0.025, abs=1e-3)
    assert few[1] > many[1]


def test_the_interval_of_five_workers_is_cut_where_hesterberg_says():
    """Phi(-sqrt(5/4) t) with t = 2.776, Student's 97.5 % point with 4 degrees of freedom."""
    low, high = interval(np.linspace(0, 1, 10_001), 5)
    assert low == pytest.approx(0.00095, abs=1e-5)
    assert high == pytest.approx(1 - 0.00095, abs=1e-5)


def test_only_workers_who_contribute_make_an_interval():
    sums = WorkerSums()
    sums.add(Terms(row=np.array([0, 1]), part=np.ones(2), whole=np.ones(2)), np.array([2, 2]))
    found = sums.estimate(draw_workers(5))
    assert found.num_workers == 1
    assert np.isnan(found.low)


def test_workers_keep_their_codes_over_batches_nulls_and_dictionaries():
    workers = Workers()
    assert workers.codes(pa.chunked_array([["b", None], ["a"]])).tolist() == [0, NOBODY, 1]
    assert workers.codes(pa.array(["a", "c"]).dictionary_encode()).tolist() == [1, 2]
    assert workers.codes(pa.array([], pa.string())).tolist() == []
    assert workers.codes(pa.array(["x", "a", "b"]).slice(1)).tolist() == [1, 0]
    assert "x" not in workers.names
    assert workers.names == ["b", "a", "c"]


def test_intervals_cover_the_truth_as_often_as_they_say():
    """200 worlds of 15 unlike workers: 95 % would be 190; 178 is 3.9 standard errors below."""
    covered = narrow = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        of_worker = rng.normal(0.7, 0.1, 15)
        worker = rng.integers(0, 15, 600)
        values = rng.random(600) < of_worker[worker]
        found = estimate(hits(values.astype(float).tolist()), worker, resamples=300, seed=seed)
        covered += bool(found.low <= 0.7 <= found.high)
        spread = 1.96 * (0.7 * 0.3 / 600) ** 0.5  # as if clicks were independent
        narrow += bool(abs(found.value - 0.7) <= spread)
    assert covered >= 178
    assert narrow < 160  # so clustering mattered


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(2, 6))
def test_medians_are_those_of_numpy_also_when_resampled(values: list[int], num_workers: int):
    numbers = np.array(values, np.float64)
    worker = np.arange(len(values)) % num_workers
    weights = draw_workers(num_workers, resamples=20, seed=1)
    found = median_estimate(numbers, worker, weights)
    assert found.value == np.median(numbers)
    slow = np.full(20, np.nan)
    for place, row in enumerate(weights.astype(int)):
        drawn = np.repeat(numbers, row[worker])
        slow[place] = np.median(drawn) if len(drawn) else np.nan
    there = min(num_workers, len(values))
    low, high = interval(slow, there)
    np.testing.assert_allclose([found.low, found.high], [low, high])


def test_a_median_of_nothing_is_nan():
    found = median_estimate(np.array([np.nan]), np.array([0]), draw_workers(1))
    assert np.isnan(found.value)
    assert found.n == 0
