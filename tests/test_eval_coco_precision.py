"""Average precision: the worked example, two libraries, slow references, intervals that hold."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from luab_data.errors import OptionError
from luab_train.metrics import ranking as ap
from luab_train.metrics.ranking import (
    average_precision,
    map_difference,
    mean_average_precision,
)


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties or none, labels rare or common, some images without any."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    scores = rng.random(shape)
    if draw(st.booleans()):
        scores = np.round(scores, 1)
    return scores, rng.random(shape) < draw(st.sampled_from([0.02, 0.2, 0.5, 1.0]))


def envelope_slowly(scores: np.ndarray, labels: np.ndarray) -> float:
    """VOC: at each recall step the best precision of any threshold that recalls as much or more."""
    points = []
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = scores >= threshold
        points.append((labels[taken].sum() / labels.sum(), labels[taken].mean()))
    area, before = 0.0, 0.0
    for recall, _ in points:
        area += (recall - before) * max(p for r, p in points if r >= recall)
        before = recall
    return area


def test_the_worked_example_of_metrics_3_1():
    scores, labels = column(0.9, 0.8, 0.7, 0.6), column(1, 0, 1, 0).astype(bool)
    assert 100 * average_precision(scores, labels)[0] == pytest.approx(83.33, abs=0.005)


def test_a_positive_below_all_negatives_gains_little_and_a_tie_is_one_threshold():
    labels = column(0, 0, 1).astype(bool)
    assert average_precision(column(3, 2, 1), labels).tolist() == [pytest.approx(1 / 3)]
    assert average_precision(column(5, 5, 5), labels).tolist() == [pytest.approx(1 / 3)]
    assert average_precision(column(1, 2, 3), labels).tolist() == [1.0]


@given(scored())
def test_scikit_learn_says_the_same(case: tuple[np.ndarray, np.ndarray]):
    from sklearn.metrics import average_precision_score

    scores, labels = case
    for c, found in enumerate(average_precision(scores, labels)):
        if not labels[:, c].any():
            assert np.isnan(found)
        else:
            expected = average_precision_score(labels[:, c], scores[:, c])
            assert found == pytest.approx(expected, abs=1e-12)


def test_torchmetrics_says_the_same():
    import torch
    from torchmetrics.classification import MultilabelAveragePrecision

    rng = np.random.default_rng(0)
    labels = rng.random((300, 80)) < rng.uniform(0.01, 0.3, 80)
    scores = np.round(rng.random((300, 80)) * 0.5 + labels * 0.2, 3).astype(np.float32)
    metric = MultilabelAveragePrecision(num_labels=80, average=None)
    expected = metric(torch.from_numpy(scores), torch.from_numpy(labels).int()).numpy()
    found = average_precision(scores, labels)
    seen = labels.any(axis=0)
    assert found[seen] == pytest.approx(expected[seen], abs=1e-5)


@given(scored())
def test_the_envelope_is_never_below_and_is_as_its_definition_says(
    case: tuple[np.ndarray, np.ndarray],
):
    scores, labels = case
    plain, envelope = (average_precision(scores, labels, envelope=e) for e in (False, True))
    for c in np.flatnonzero(labels.any(axis=0)):
        assert envelope[c] == pytest.approx(envelope_slowly(scores[:, c], labels[:, c]))
        assert envelope[c] >= plain[c] - 1e-12


@given(scored(), st.integers(0, 2**16))
@settings(max_examples=40)
def test_a_resample_is_the_precision_of_the_images_it_drew(
    case: tuple[np.ndarray, np.ndarray], seed: int
):
    scores, labels = case
    drawn = ap.draw_workers(len(scores), resamples=5, seed=seed).astype(int)
    found = ap._replicates(scores, labels, 5, seed)
    for r, counts in enumerate(drawn):
        rows = np.repeat(np.arange(len(scores)), counts)
        expected = average_precision(scores[rows], labels[rows])
        assert found[r] == pytest.approx(expected, nan_ok=True, abs=1e-6)


def test_resamples_are_the_same_however_many_are_taken_at_once(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    scores, labels = rng.random((30, 3)), rng.random((30, 3)) < 0.3
    whole = ap._replicates(scores, labels, 20, 0)
    monkeypatch.setattr(ap, "_AT_ONCE", 7)
    assert np.array_equal(ap._replicates(scores, labels, 20, 0), whole, equal_nan=True)


def test_classes_without_positives_are_left_out_and_counted_and_empty_images_stay():
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.5, 0.2], [0.7, 0.5, 0.3]])
    labels = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], bool)
    found = mean_average_precision(scores, labels, resamples=20)
    assert found.num_positive.tolist() == [1, 0, 1] and found.num_excluded == 1
    # The image without labels has the highest score of the first class: 1/2, not 1.
    assert found.classes.value == pytest.approx([0.5, np.nan, 1.0], nan_ok=True)
    assert found.mean.value == pytest.approx(0.75) and found.mean.n == 3
    assert found.classes.null == pytest.approx([1 / 3, np.nan, 1 / 3], nan_ok=True)
    assert np.isnan(found.classes.low).all(), "one positive says nothing about the spread"


def test_only_the_order_of_scores_counts():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(50, 4)) * 3, rng.random((50, 4)) < 0.4
    probabilities = 1 / (1 + np.exp(-logits))
    assert np.array_equal(
        average_precision(logits, labels), average_precision(probabilities, labels)
    )


def draw(rng: np.random.Generator, num: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.random((num, 5)) < np.array([0.02, 0.05, 0.1, 0.2, 0.3])
    return rng.normal(size=(num, 5)) + shift * labels, labels


def test_the_interval_holds_what_as_many_images_give_on_average():
    rng = np.random.default_rng(2)
    expected = np.mean([np.nanmean(average_precision(*draw(rng, 200, 1.2))) for _ in range(400)])
    held = 0
    for _ in range(40):
        found = mean_average_precision(*draw(rng, 200, 1.2), resamples=200)
        held += bool(found.mean.low <= expected <= found.mean.high)
        assert found.mean.low < found.mean.value < found.mean.high
    assert 34 <= held


def test_an_interval_is_about_its_value_however_few_the_positives_are():
    rng = np.random.default_rng(5)
    offset = []
    for _ in range(20):
        found = mean_average_precision(*draw(rng, 50, 1.2), resamples=200).mean
        offset.append(((found.low + found.high) / 2 - found.value) / (found.high - found.low))
    # The resamples themselves lie a seventh of the interval's width higher.
    assert abs(np.mean(offset)) < 0.1


def test_permuted_labels_find_nothing():
    rng = np.random.default_rng(3)
    scores, labels = draw(rng, 2000, 1.5)
    found = mean_average_precision(scores, rng.permutation(labels), resamples=200)
    assert found.mean.low <= found.mean.null * 1.15
    assert mean_average_precision(scores, labels, resamples=200).mean.low > 2 * found.mean.null


def test_a_difference_is_zero_to_itself_and_surer_than_two_intervals():
    rng = np.random.default_rng(4)
    scores, labels = draw(rng, 400, 1.2)
    same = map_difference(scores, scores, labels, resamples=100)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = scores + 0.6 * labels
    found = map_difference(better, scores, labels, resamples=300)
    alone = [mean_average_precision(s, labels, resamples=300).mean for s in (better, scores)]
    assert found.value == pytest.approx(alone[0].value - alone[1].value)
    assert 0 < found.low < found.high
    assert found.high - found.low < max(a.high - a.low for a in alone)


def test_scores_without_an_order_and_of_another_shape_are_refused():
    labels = np.ones((3, 2), bool)
    with pytest.raises(OptionError, match="1 of 3 images have a score that is no number"):
        mean_average_precision(np.array([[1, 2], [np.nan, 3], [1, 1.0]]), labels)
    with pytest.raises(OptionError, match="one score for each image and class"):
        mean_average_precision(np.zeros((3, 3)), labels)


def test_no_image_is_no_number():
    found = mean_average_precision(np.zeros((0, 3)), np.zeros((0, 3), bool), resamples=10)
    assert np.isnan(found.mean.value) and found.num_excluded == 3 and np.isnan(found.envelope)
