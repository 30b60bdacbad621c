"""The arithmetic of the benchmarks: worked examples of docs/definitions.md#imagenet-benchmarks,
slow references, sklearn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luab_train.evaluate.backgrounds import compose
from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.predict import answers_of, centre_hole
from luab_train.metrics import intervals, ranking, robustness
from luab_train.metrics.intervals import Count, count
from luab_train.metrics.robustness import C15, EXTRA, SEVERITIES, is_accepted


def accuracy(top1, label, accepted=None, **options) -> float:
    accepted = accepted or {name: (name,) for name in label}
    return count(is_accepted(top1, label, accepted, **options)).percent()


def test_in_1k_counts_images():
    assert accuracy(["3", "3", "7"], ["3", "1", "7"]) == pytest.approx(66.67, abs=0.005)


def test_in_a_is_decided_among_the_masked_classes():
    logits = torch.full((1, 12), -5.0)
    logits[0, [0, 6, 11]] = torch.tensor([9.0, 1.0, 2.0])
    masked, _ = answers_of(logits, torch.tensor([6, 11]))[:2]
    unmasked, _ = answers_of(logits)[:2]
    assert (masked[0, 0].item(), unmasked[0, 0].item()) == (11, 0)
    assert masked.shape == (1, 2)


def of_cells(metric: str, percent) -> float:
    """A metric of IN-C of 100 images a cell, `percent` of them right in a cell."""
    found = BY_NAME["in-c"].metric(metric)
    hits = np.array([[percent(*name.rsplit("-", 1)) for name in found.weights]], float)
    return float(found.of_sums(hits, np.full(hits.shape, 100.0))[0])


def test_in_c_is_the_mean_over_corruptions_of_the_mean_over_severities():
    given = {"fog": [60, 50, 40, 30, 20], "snow": [80, 70, 60, 50, 40]}
    assert of_cells("fog", lambda name, s: given[name][int(s) - 1]) == 40.0
    assert of_cells("snow", lambda name, s: given[name][int(s) - 1]) == 60.0
    fog = of_cells("accuracy_c15", lambda name, s: 60 if name == "fog" else 0)
    assert fog == pytest.approx(60 / 15) and len({*C15, *EXTRA}) == 19


def test_alexnet_itself_has_an_mce_of_100():
    alexnet = robustness.ALEXNET_ERROR
    assert of_cells("mce", lambda name, s: 100 * (1 - alexnet[name])) == pytest.approx(100)
    assert of_cells("mce", lambda name, s: 0) == pytest.approx(robustness.MCE_OFFSET)


def test_mce_of_a_hand_computed_case():
    bright = dict(zip(SEVERITIES, (90, 80, 70, 60, 50), strict=True))
    found = of_cells("mce", lambda name, s: bright[int(s)] if name == "brightness" else 100)
    # 30 % mean error against AlexNet's 56.4592, and nothing in the other 14.
    assert found == pytest.approx(30 / 0.564592 / 15)


def test_in_o_of_five_images():
    score_in, score_out = -np.array([0.8, 0.3, 0.95]), -np.array([0.4, 0.9])
    assert ranking.detection(score_in, score_out) == (50.0, 50.0)
    assert np.isnan(ranking.detection(score_in, score_out[:0])).all()
    assert np.isnan(ranking.detection(score_in[:0], score_out)).all()


@given(st.data())
def test_auroc_and_average_precision_are_those_of_scikit_learn_with_ties(data):
    from sklearn.metrics import average_precision_score, roc_auc_score

    values = st.lists(st.integers(0, 6), min_size=1, max_size=25)
    score_in, score_out = (np.array(data.draw(values), float) for _ in range(2))
    truth = np.r_[np.zeros(len(score_in)), np.ones(len(score_out))]
    both = np.r_[score_in, score_out]
    expected = 100 * roc_auc_score(truth, both), 100 * average_precision_score(truth, both)
    assert ranking.detection(score_in, score_out) == pytest.approx(expected)


def test_occlusion_of_a_small_tensor():
    hollow = centre_hole(torch.ones(1, 1, 4, 4))
    assert hollow.sum() == 12
    assert not hollow[0, 0, 1:3, 1:3].any()


def test_occlusion_at_224_takes_56_to_168():
    ones = torch.ones(1, 3, 224, 224)
    zero = torch.nonzero(centre_hole(ones)[0, 0] == 0)
    assert (zero.min().item(), zero.max().item(), len(zero)) == (56, 167, 112 * 112)
    assert ones.all()


def test_objectnet_takes_any_of_the_set_and_logs_the_first():
    accepted = {"chair": ("423", "559", "765"), "bench": ("703",)}
    top1, label = ["559", "3"], ["chair", "bench"]
    assert accuracy(top1, label, accepted) == 50.0
    assert accuracy(top1, label, accepted, first_only=True) == 0.0
    assert accuracy(["423", "703"], label, accepted, first_only=True) == 100.0


def test_an_accepted_name_is_not_cut_to_the_length_of_the_predicted_ones():
    assert accuracy(["4", "4"], ["a", "b"], {"a": ("423",), "b": ("4",)}) == 50.0


def test_si_score_is_micro():
    accepted = {"banana": ("954",), "zebra": ("340",)}
    top1, label = ["954", "950", "340"], ["banana", "banana", "zebra"]
    assert accuracy(top1, label, accepted) == pytest.approx(66.67, abs=0.005)


def test_bgc_gap_is_signed_points():
    gap = BY_NAME["bgc-gap"].metric("gap")
    found = gap.of_sums(np.array([[3.0, 2.0], [2.0, 3.0]]), np.full((2, 2), 4.0))
    assert found.tolist() == [25.0, -25.0]


def test_pasting_is_exact_for_masks_of_0_and_1():
    rng = np.random.default_rng(0)
    f, b = (torch.from_numpy(rng.integers(0, 256, (n, 3, 5, 5), np.uint8)) for n in (2, 3))
    mask = torch.from_numpy(rng.integers(0, 2, (2, 1, 5, 5), np.uint8))
    pasted = compose(f, mask, b)
    for i, j in itertools.product(range(2), range(3)):
        assert torch.equal(pasted[i, j], torch.where(mask[i] > 0, f[i], b[j]).float())
    assert compose(f, mask * 0.5, b)[0, 0, 0, 0, 0].item() == pytest.approx(
        b[0, 0, 0, 0].item() * (1 - mask[0, 0, 0, 0].item() / 2)
        + f[0, 0, 0, 0].item() * mask[0, 0, 0, 0].item() / 2
    )


def test_nothing_counted_is_nan_and_not_zero():
    assert math.isnan(count(np.zeros(0, bool)).percent())
    assert len(is_accepted([], [], {})) == 0
    assert math.isnan(intervals.wilson(Count(0, 0)).low)
    assert math.isnan(intervals.newcombe(Count(0, 0), Count(1, 2)).low)
    nothing = np.zeros(0, bool)
    assert math.isnan(intervals.paired_accuracy(nothing, nothing).value)


def test_equal_logits_go_to_the_lowest_class():
    index, probability = answers_of(torch.zeros(3, 700))[:2]
    assert index.tolist() == [[0, 1, 2, 3, 4]] * 3
    assert probability == pytest.approx(torch.full((3, 5), 1 / 700))


def test_probabilities_of_large_logits_are_exact_and_ties_stay_ties():
    logits = torch.tensor([[1000.0, 999.5, 998.0, 3.0], [999.5, 3.0, 998.0, 1000.0]])
    _, probability = answers_of(logits)[:2]
    assert torch.equal(probability[0], probability[1])
    total = sum(math.exp(x) for x in (0.0, -0.5, -2.0, -97.0))
    assert probability[0, :3].tolist() == pytest.approx(
        [1 / total, math.exp(-0.5) / total, math.exp(-2) / total], rel=2e-6
    )


@given(st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=6))
def test_top_classes_are_those_of_a_slow_reference(rows):
    columns = [0, 2, 3]
    index, probability = answers_of(torch.tensor(rows).float(), torch.tensor(columns))[:2]
    for row, found, p in zip(rows, index.tolist(), probability.tolist(), strict=True):
        assert found == sorted(columns, key=lambda c: (-row[c], c))
        total = sum(math.exp(row[c]) for c in columns)
        assert p == pytest.approx([math.exp(row[c]) / total for c in found], rel=1e-5)


@given(st.data())
def test_accepted_predictions_are_those_of_a_slow_reference(data):
    names = st.sampled_from("abcdef")
    accepted = {key: tuple(data.draw(st.lists(names, max_size=3))) for key in "xyz"}
    pairs = data.draw(st.lists(st.tuples(names, st.sampled_from("xyz")), max_size=20))
    top1, label = [a for a, _ in pairs], [b for _, b in pairs]
    for first in (False, True):
        expected = [p in (accepted[x][:1] if first else accepted[x]) for p, x in pairs]
        found = is_accepted(top1, label, accepted, first_only=first)
        assert found.tolist() == expected


# Intervals


def test_wilson_is_the_textbook_formula():
    low, high = intervals.wilson(Count(77, 100))
    z, p, n = 1.959963985, 0.77, 100
    middle, half = p + z**2 / 2 / n, z * math.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)
    assert low == pytest.approx(100 * (middle - half) / (1 + z**2 / n))
    assert high == pytest.approx(100 * (middle + half) / (1 + z**2 / n))


def test_the_gap_interval_of_a_published_example():
    # Newcombe 1998, table II, method 10: 56/70 - 48/80 is (0.0524, 0.3339).
    low, high = intervals.newcombe(Count(56, 70), Count(48, 80))
    assert (low, high) == pytest.approx((5.24, 33.39), abs=0.01)


def test_a_gap_between_perfect_models_is_not_certain():
    low, high = intervals.newcombe(Count(18, 18), Count(18, 18))
    assert low < -10 and high > 10


def test_mcnemar_is_the_binomial_sum():
    # 10 images differ, 1 in favour of B: 2 (C(10, 0) + C(10, 1)) / 2^10.
    assert intervals.mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert intervals.mcnemar(0, 0) == 1.0 and intervals.mcnemar(5, 5) == 1.0


def test_two_models_are_compared_image_by_image():
    a = np.array([True] * 60 + [False] * 40)
    b = np.array([True] * 50 + [False] * 50)
    found = intervals.paired_accuracy(a, b)
    assert (found.value, found.n, found.over, found.test) == (10.0, 100, "images", "McNemar")
    assert found.low > 0 and found.p_value == pytest.approx(2 / 1024)
    same = intervals.paired_accuracy(a, a)
    assert (same.value, same.p_value) == (0, 1)
    assert np.isnan([same.low, same.high]).all()  # a difference that never varies has no interval
    # As intervals of their own, these two overlap: pairing is what tells them apart.
    assert intervals.wilson(Count(60, 100)).low < intervals.wilson(Count(50, 100)).high


def test_the_paired_interval_covers_a_planted_difference():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        both = rng.random((200, 2)) < (0.7, 0.6)
        found = intervals.paired_accuracy(both[:, 0], both[:, 1], seed=seed)
        covered += found.low <= 10 <= found.high
    assert covered >= 52


def test_the_paired_bootstrap_agrees_with_the_closed_form():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 400)) < 0.6
    closed = intervals.paired_accuracy(a, b)
    cells = np.stack([a, b], axis=1)
    (drawn,) = intervals.cells_interval(
        cells, np.ones_like(cells), lambda sums, n: 100 * (sums[:, :1] - sums[:, 1:]) / n[:, :1]
    )
    assert drawn == pytest.approx((closed.low, closed.high), abs=1.0)


def test_one_cell_has_the_interval_of_its_proportion():
    correct = np.arange(500)[:, None] < 350
    (found,) = intervals.cells_interval(
        correct, np.ones_like(correct), lambda sums, n: 100 * sums / n
    )
    assert found == pytest.approx(intervals.wilson(Count(350, 500)), abs=0.8)


def test_cells_on_the_same_images_are_not_independent_evidence():
    correct = np.repeat(np.arange(500)[:, None] < 350, 15, axis=1)
    seen = np.ones_like(correct)
    (found,) = intervals.cells_interval(
        correct, seen, lambda sums, n: (100 * sums / n).mean(axis=1, keepdims=True)
    )
    assert found.high - found.low > 6  # as of 500 images, not of 7,500


def test_an_unseen_image_does_not_count_in_its_cell():
    correct = np.repeat(np.arange(300)[:, None] % 10 > 0, 2, axis=1)
    seen = np.ones_like(correct)
    correct[:150, 1] = seen[:150, 1] = False
    found = intervals.cells_interval(correct, seen, lambda sums, n: 100 * sums / n)
    assert all(80 < i.low < 90 < i.high < 99 for i in found)


def test_auroc_of_equal_distributions_has_50_in_its_interval():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 150))
    (low, high), _ = ranking.detection_intervals(a, b)
    assert low < 50 < high and high - low < 20


def test_ranking_intervals_are_those_of_a_slow_bootstrap():
    rng = np.random.default_rng(3)
    score_in, score_out = rng.integers(0, 30, 120) / 30, rng.integers(5, 35, 60) / 30
    found = ranking.detection_intervals(score_in, score_out)
    for which, ends in enumerate(found):
        drawn = [
            ranking.detection(
                rng.choice(score_in, len(score_in)), rng.choice(score_out, len(score_out))
            )[which]
            for _ in range(1000)
        ]
        assert ends == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1.2)
