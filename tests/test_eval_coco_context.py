"""Violation rates: worked examples, a slow reference, planted leaning, and chance."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from luab_data.errors import OptionError
from luab_train.evaluate.coco.context import (
    Erasures,
    Pairs,
    cases_of,
    context,
    pairs_of,
)
from luab_train.evaluate.coco.leaning import SCHEMA, leaning
from luab_train.evaluate.coco.rates import Rate
from luab_train.metrics.intervals import wilson_ends

NUM = 80
NAMES = tuple(f"class {k}" for k in range(NUM))
Image = dict[int, dict[int, float]]
"""Erased class -> class -> its score then."""


def erasures(*images: Image) -> Erasures:
    image, label, rows = [], [], []
    for number, scores in enumerate(images):
        for erased in sorted(scores):
            image.append(number)
            label.append(erased)
            row = np.zeros(NUM, np.float32)
            row[list(scores[erased])] = list(scores[erased].values())
            rows.append(row)
    logits = np.array(rows, np.float32).reshape(-1, NUM)
    return Erasures(np.array(image, np.int64), np.array(label, np.int64), logits)


def measured(*images: Image, resamples: int = 20) -> dict[str, Rate]:
    return context(cases_of(pairs_of(erasures(*images))), num_classes=NUM, resamples=resamples)


def slowly(images: list[Image]) -> dict[str, float]:
    """Metrics 3.2 word by word."""
    per_class: dict[int, list[tuple[float, float, float]]] = {}
    for scores in images:
        for c in scores:
            a = scores[c][c]
            b = [scores[o][c] for o in scores if o != c]
            if b:
                case = (np.mean([a >= x for x in b]), float(a >= min(b)), a - np.mean(b))
                per_class.setdefault(c, []).append(case)
    means = np.array([np.mean(cases, axis=0) for cases in per_class.values()])
    flat = np.array([case for cases in per_class.values() for case in cases])
    return {
        **dict(zip(("random", "worst", "difference"), means.mean(axis=0), strict=True)),
        **dict(zip(("random micro", "worst micro", "d micro"), flat.mean(axis=0), strict=True)),
    }


WORKED: Image = {
    1: {1: 0.30, 2: 0.6, 3: 9},
    2: {1: 0.25, 2: 0.1, 3: 9},
    3: {1: 0.80, 2: 0.7, 3: -9},
}
"""Metrics 3.2: a and b of classes 1 and 2; class 3 is never violated."""


def test_the_worked_example_of_metrics_3_2():
    cases = cases_of(pairs_of(erasures(WORKED)))
    assert cases.label_T.tolist() == [1, 2, 3] and cases.others_T.tolist() == [2, 2, 2]
    assert (100 * cases.random_T).tolist() == [50, 0, 0]
    assert (100 * cases.worst_T).tolist() == [100, 0, 0]
    assert cases.difference_T[0] == pytest.approx(-0.225)
    assert cases.difference_worst_T[:2] == pytest.approx([0.30 - 0.25, 0.1 - 0.6])
    # The example averages the first two pairs.
    assert 100 * cases.random_T[:2].mean() == 25 and 100 * cases.worst_T[:2].mean() == 50
    found = measured(WORKED)
    assert found["v_random"].micro.value == pytest.approx(0.5 / 3)
    assert (found["v_worst"].num_images, found["v_worst"].num_cases) == (1, 3)


def test_a_mean_over_classes_is_not_a_mean_over_cases():
    violated: Image = {0: {0: 2, 1: 5}, 1: {0: 1, 1: 0}}
    fine: Image = {0: {0: 0, 2: 5}, 2: {0: 1, 2: 0}}
    found = measured(violated, fine, fine)
    assert found["v_random"].classes.value[:4] == pytest.approx([1 / 3, 0, 0, np.nan], nan_ok=True)
    assert found["v_random"].mean.value == pytest.approx(1 / 9)
    assert found["v_random"].micro.value == pytest.approx(1 / 6)
    assert found["v_random"].classes.n[:3].tolist() == [3, 1, 2]


def test_equal_scores_are_violations():
    found = measured({4: {4: 1, 7: 3}, 7: {4: 1, 7: 2}})
    assert (found["v_random"].mean.value, found["v_worst"].mean.value) == (0.5, 0.5)


def test_a_single_erasure_has_nothing_to_compare_with():
    found = measured({4: {4: 1}}, WORKED)
    assert (found["v_worst"].num_cases, found["v_worst"].num_images) == (3, 1)


@st.composite
def images(draw: st.DrawFn) -> list[Image]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.integers(0, draw(st.sampled_from([2, 100])), 10_000).tolist()
    found = []
    for _ in range(draw(st.integers(1, 6))):
        present = rng.choice(6, rng.integers(2, 6), replace=False).tolist()
        found.append({o: {c: float(values.pop()) for c in present} for o in present})
    return found


@given(images())
@settings(max_examples=60)
def test_the_slow_reference_says_the_same(found: list[Image]):
    expected, got = slowly(found), measured(*found, resamples=2)
    assert got["v_random"].mean.value == pytest.approx(expected["random"])
    assert got["v_worst"].mean.value == pytest.approx(expected["worst"])
    assert got["difference"].mean.value == pytest.approx(expected["difference"])
    assert got["v_random"].micro.value == pytest.approx(expected["random micro"])
    assert got["v_worst"].micro.value == pytest.approx(expected["worst micro"])
    assert got["difference"].micro.value == pytest.approx(expected["d micro"])
    assert (got["v_worst"].classes.value >= got["v_random"].classes.value)[
        got["v_random"].classes.n > 0
    ].all()


def scored(
    num_images: int, present: int, seed: int, look: float = 0.0, among: int = NUM
) -> Erasures:
    """Noise, less `look` for a class that is erased; each image has `present` classes of some."""
    rng = np.random.default_rng(seed)
    label = np.concatenate(
        [np.sort(rng.choice(among, present, replace=False)) for _ in range(num_images)]
    )
    logits = rng.normal(size=(len(label), NUM)).astype(np.float32)
    logits[np.arange(len(label)), label] -= look
    return Erasures(np.repeat(np.arange(num_images), present), label, logits)


@pytest.mark.parametrize("others", [1, 2, 4])
def test_random_scores_give_one_half_and_k_of_k_plus_one(others: int):
    found = context(
        cases_of(pairs_of(scored(2500, others + 1, others))), num_classes=NUM, resamples=200
    )
    for rate, expected in ((found["v_random"], 0.5), (found["v_worst"], others / (others + 1))):
        for estimate in (rate.mean, rate.micro):
            assert estimate.null == pytest.approx(expected)
            assert estimate.low <= expected <= estimate.high
            assert estimate.high - estimate.low < 0.06
    assert found["difference"].mean.low <= 0 <= found["difference"].mean.high


def test_the_null_follows_the_number_of_other_classes():
    mixed = measured({0: {0: 1, 1: 1}, 1: {0: 1, 1: 1}}, WORKED)
    assert mixed["v_worst"].micro.null == pytest.approx((2 * 1 / 2 + 3 * 2 / 3) / 5)


def test_a_classifier_that_looks_is_below_chance_and_a_constant_one_always_violates():
    cases = cases_of(pairs_of(scored(500, 3, 0, look=2.0)))
    found = context(cases, num_classes=NUM, resamples=200)
    assert (
        found["v_random"].mean.high < 0.15
        and found["v_worst"].mean.high < found["v_worst"].mean.null
    )
    assert found["difference"].mean.high < -1.5
    flat = scored(50, 3, 0)._replace(logits_EC=np.zeros((150, NUM), np.float32))
    same = context(cases_of(pairs_of(flat)), num_classes=NUM, resamples=20)
    assert (same["v_random"].mean.value, same["v_worst"].mean.value) == (1, 1)


def test_a_difference_of_models_is_image_by_image():
    looking, noise = scored(400, 3, 0, look=1.0), scored(400, 3, 0)
    cases, other = cases_of(pairs_of(looking)), cases_of(pairs_of(noise))
    found = context(cases, other, num_classes=NUM, resamples=200)
    assert found["v_random"].mean.high < 0 and found["v_worst"].mean.high < 0
    whole = [context(cases_of(pairs_of(e)), num_classes=NUM, resamples=2) for e in (looking, noise)]
    assert found["v_random"].mean.value == pytest.approx(
        whole[0]["v_random"].mean.value - whole[1]["v_random"].mean.value
    )
    same = context(cases, cases, num_classes=NUM, resamples=20)["v_worst"].mean
    assert (same.low, same.value, same.high) == (0, 0, 0)
    with pytest.raises(OptionError, match="expected the same images, view and eraser"):
        context(cases, cases_of(pairs_of(scored(10, 3, 0))), num_classes=NUM)


def test_nothing_erased_is_no_number_and_no_number_is_refused():
    found = measured()
    assert found["v_worst"].num_cases == 0 and np.isnan(found["v_random"].mean.value)
    assert len(leaning(pairs_of(erasures()), np.zeros(0), np.zeros(0), NAMES)) == 0
    with pytest.raises(OptionError, match="1 of 3 erased images have a score that is no number"):
        measured({**WORKED, 2: {1: np.nan}})


# --- which class leans on which ------------------------------------------------------------------


def leaned(pairs: Pairs, unedited: np.ndarray) -> dict[tuple[int, int], dict[str, float]]:
    rows = leaning(pairs, unedited, np.zeros(len(unedited)), NAMES).to_pylist()
    return {(row["label"], row["other_label"]): row for row in rows}


def test_drops_and_violations_of_a_drawn_pair():
    one: Image = {0: {0: 1, 1: 4}, 1: {0: 3, 1: 2}}
    two: Image = {0: {0: 5, 1: 4}, 1: {0: 4, 1: 4}}
    pairs = pairs_of(erasures(one, two))
    table = leaning(pairs, np.full(4, 6.0), np.array([0.5, 0, 0, 0]), NAMES)
    assert table.schema.equals(SCHEMA)
    row = next(r for r in table.to_pylist() if (r["label"], r["other_label"]) == (0, 1))
    assert row["name"] == "class 0" and row["other_name"] == "class 1"
    assert row["num_images"] == 2 and row["drop"] == 2.5 and row["own_drop"] == 3
    assert row["violation_rate"] == 0.5 and row["covered"] == 0.25
    # Drops of 3 and 2: 2.5 -+ 12.706 x 0.5.
    assert row["drop_low"] == pytest.approx(2.5 - 6.3531, abs=1e-3)
    # The drops of class 1 without class 0 are 0 and 0: no interval, and last.
    assert table["drop_low"].to_pylist() == [row["drop_low"], None]


def test_intervals_and_p_values_are_those_of_scipy():
    from scipy.stats import binomtest, false_discovery_control, ttest_1samp

    pairs = pairs_of(scored(40, 4, 5, among=8))
    unedited = np.random.default_rng(0).normal(size=len(pairs.label_K)) + 0.3
    found = leaned(pairs, unedited)
    assert len(found) == 8 * 7
    tested = []
    for key, row in found.items():
        mine = (pairs.label_K == key[0]) & (pairs.other_K == key[1])
        drop = unedited[mine] - pairs.without_other_K[mine]
        trial = binomtest(int(pairs.violated_K[mine].sum()), int(mine.sum()))
        ends = trial.proportion_ci(method="wilson")
        assert (row["violation_low"], row["violation_high"]) == pytest.approx((ends.low, ends.high))
        if len(drop) < 2:
            assert row["drop_low"] is None and row["q_value"] is None
            continue
        tested.append((row["q_value"], ttest_1samp(drop, 0)))
        ends = tested[-1][1].confidence_interval(0.95)
        assert (row["drop_low"], row["drop_high"]) == pytest.approx((ends.low, ends.high))
    expected = false_discovery_control([test.pvalue for _, test in tested])
    assert [q for q, _ in tested] == pytest.approx(expected)


def test_planted_leaning_is_found_and_noise_is_not():
    pairs = pairs_of(scored(300, 4, 7, among=8))
    num = len(pairs.label_K)
    unedited = np.random.default_rng(1).normal(size=num)
    noise = leaning(pairs, unedited, np.zeros(num), NAMES)
    assert min(noise["q_value"].to_pylist()) > 0.05
    # Class 3 loses 1 whenever class 6 goes.
    is_planted = (pairs.label_K == 3) & (pairs.other_K == 6)
    planted = pairs._replace(without_other_K=pairs.without_other_K - is_planted)
    first, second, *_ = leaning(planted, unedited, np.zeros(num), NAMES).to_pylist()
    assert (first["label"], first["other_label"]) == (3, 6)
    assert first["q_value"] < 0.001 and first["drop_low"] < 1 < first["drop_high"]
    assert second["q_value"] > 0.05


def test_wilson_ends_are_exact_at_none_and_all():
    low, high = wilson_ends(np.array([0, 10, 0]), np.array([10, 10, 0]))
    assert low[0] == 0 and high[1] == 1 and np.isnan(low[2]) and np.isnan(high[2])
