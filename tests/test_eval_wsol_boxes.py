from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from wsol_reference import (
    ReferenceEvaluator,
    flooded_contours,
    reference_best_iou,
    reference_iou,
    reference_truth,
)

from luab_data.errors import OptionError
from luab_train.evaluate.settings import Settings
from luab_train.evaluate.wsol.boxes import (
    DELTAS,
    BoxSums,
    box_compute,
    box_update,
    iou,
    map_overlap,
    true_boxes,
)
from luab_train.evaluate.wsol.contours import LevelBoxes, _of_polygons, _of_runs, level_boxes
from luab_train.evaluate.wsol.score_maps import (
    levels_of,
    normalise,
    peak,
    quantise,
    score_map,
    thresholds,
)

CONVENTIONS = ("wsolevaluation", "continuous")
TAUS = thresholds(0.01)


def drawn(picture: str) -> np.ndarray:
    """Digits are tenths, `X` is 1, `.` is 0."""
    values = {".": 0.0, "X": 1.0, **{str(i): i / 10 for i in range(10)}}
    return np.array([[values[c] for c in row] for row in picture.split()])


def boxes_at(scores: np.ndarray, tau: float) -> list[list[int]]:
    levels = level_boxes(quantise(scores), levels_of(np.array([tau]), int(quantise(scores).max())))
    return levels.boxes.tolist()


def smooth_map(rng: np.random.Generator, places: int, size: int = 224) -> np.ndarray:
    activation = rng.normal(size=(places, places))
    y, x = np.mgrid[:places, :places] - places * rng.uniform(0.3, 0.7, (2, 1, 1))
    blob = 4 * np.exp(-(x**2 + y**2) / (2 * (places * 0.22) ** 2))
    return score_map(activation + blob, size=size)


def random_truth(rng: np.random.Generator, wh: tuple[int, int], count: int) -> list[list[float]]:
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * wh
    return np.floor(corners.reshape(count, 4)).tolist()


# Worked examples of docs/definitions.md#localisation-examples.


def test_a_perfect_map_overlaps_by_half_for_its_far_corner_is_one_pixel_too_far():
    scores = np.zeros((5, 5))
    scores[1:4, 1:3] = 1
    truth = np.array([[1.0, 1, 2, 3]])
    found = level_boxes(quantise(scores), np.array([0]))
    assert np.minimum(found.boxes, [5, 5, 4, 4]).tolist() == [[1, 1, 3, 4]]
    assert map_overlap(scores, truth, TAUS).at(TAUS).tolist() == [[0.5] * len(TAUS)] * 2
    # In continuous px the same object spans [1, 3] x [1, 4], and the map is perfect.
    exact = np.array([[1.0, 1, 3, 4]])
    assert map_overlap(scores, exact, TAUS, "continuous").at(TAUS).tolist() == [[1.0] * 100] * 2


def test_the_overlap_of_two_boxes_under_both_conventions():
    a, b = np.array([[0, 0, 9, 9]]), np.array([[5, 0, 14, 9]])
    assert iou(a, b, "wsolevaluation").item() == 50 / 150
    assert iou(a, b, "continuous").item() == 36 / 126


def test_top_1_localisation_wants_class_and_box_gt_known_only_the_box():
    overlap = np.array([0.6, 0.4, 0.9])
    # Whatever other contours do, the largest decides.
    both = np.stack([overlap, np.full(3, 0.95)], axis=1)
    iou_N2T = np.broadcast_to(both[:, :, None], (3, 2, len(TAUS)))
    metrics = box_compute(box_update(iou_N2T, np.array([True, True, False]), taus=TAUS))
    assert metrics["top1_loc"] == metrics["top1_loc_fixed"] == 1 / 3
    assert metrics["max_box_acc"] == metrics["gt_known_fixed"] == 2 / 3
    assert metrics["accuracy"] == 2 / 3


# The box of every step, drawn by hand.


def test_a_threshold_is_strict_and_a_share_of_the_highest_value():
    scores = drawn("....\n.58.\n....") / 2
    # Highest grey 102, so tau = .6 is level 61; .25 is grey 63, .4 is 102.
    assert boxes_at(scores, 0.6) == [[1, 1, 3, 2]]
    assert boxes_at(scores, 0.63) == [[2, 1, 3, 2]]
    assert boxes_at(scores, 0.999) == [[2, 1, 3, 2]]


def test_parts_that_touch_at_a_corner_are_one_and_holes_that_do_are_two():
    assert boxes_at(drawn("X..\n.X.\n..X"), 0.0) == [[0, 0, 3, 3]]
    found = boxes_at(drawn("XXXX\nX.XX\nXX.X\nXXXX"), 0.0)
    assert sorted(found) == [[0, 0, 3, 3], [0, 0, 4, 4], [1, 1, 4, 4]]


def test_the_largest_contour_is_by_polygon_area_so_a_long_line_loses():
    scores = drawn("XXXXXXX\n.......\n..XX...\n..XX...")
    found = level_boxes(quantise(scores), np.array([0]))
    assert found.boxes[found.largest].tolist() == [[2, 2, 4, 4]]


def test_equal_areas_go_to_the_contour_that_opencv_lists_first():
    scores = drawn("XX...XX\nXX...XX\n.......\nX..XX..\n...XX..")
    contours = cv2.findContours(quantise(scores), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    x, y, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
    found = level_boxes(quantise(scores), np.array([0]))
    assert found.boxes[found.largest].tolist() == [[x, y, x + w, y + h]]


def test_a_far_corner_at_the_border_is_not_moved_beyond_it():
    scores = np.zeros((4, 4))
    scores[2:, 2:] = 1
    assert map_overlap(scores, np.array([[2.0, 2, 3, 3]]), TAUS).at(TAUS).min() == 1


def test_a_map_of_zeros_predicts_the_first_pixel_or_nothing():
    zeros, at_corner = np.zeros((5, 5)), np.array([[0.0, 0, 0, 0]])
    assert map_overlap(zeros, at_corner, TAUS).at(TAUS).min() == 1
    assert map_overlap(zeros, at_corner, TAUS, "continuous").at(TAUS).max() == 0


def test_a_constant_map_is_not_empty_at_threshold_zero_alone():
    # Not normalised: grey 127 everywhere, level int(.999 * 127) = 126, so all pixels are above.
    found = map_overlap(np.full((4, 4), 0.5), np.array([[0.0, 0, 3, 3]]), TAUS)
    assert found.at(TAUS).min() == 1


def test_true_boxes_are_truncated_after_scaling_or_kept():
    box, size = np.array([[1.0, 2, 4, 3]]), np.array([10, 20])
    assert true_boxes(box, size, (35, 10)).tolist() == [[3, 1, 14, 1]]
    assert true_boxes(box, size, (35, 10), "continuous").tolist() == [[3.5, 1, 14, 1.5]]


def test_the_fixed_threshold_is_one_of_the_grid():
    for interval in (0.001, 0.01):
        taus = thresholds(interval)
        assert np.isclose(taus, 0.2).sum() == 1
        assert levels_of(taus[np.isclose(taus, 0.2)], 255).tolist() == [51]


def test_there_are_at_most_255_levels_whatever_the_interval():
    levels = levels_of(thresholds(0.001), 255)
    assert sorted(set(levels.tolist())) == list(range(255))


# Against two independent ways.


GREYS = arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 3, 9])
)


@given(GREYS)
@example(np.zeros((3, 3), np.uint8))
@example(np.full((3, 3), 255, np.uint8))
@settings(deadline=None, max_examples=50)
def test_boxes_and_areas_are_those_of_flooded_pixels(grey):
    levels = np.array([0, 1, 3, 8, 9])
    found = level_boxes(grey, levels)
    for i, level in enumerate(levels):
        expected = flooded_contours((grey > level).tolist())
        boxes = found.boxes[found.bounds[i] : found.bounds[i + 1]].tolist()
        assert sorted(boxes) == sorted(list(box) for box, _ in expected)
        if not expected:
            assert found.largest[i] == -1
            continue
        largest = max(area for _, area in expected)
        rivals = [list(box) for box, area in expected if area == largest]
        assert found.boxes[found.largest[i]].tolist() in rivals


SCORES = arrays(
    np.float64,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.one_of(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.floats(0, 1)),
)


BINARY = arrays(np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.booleans())


@given(BINARY)
@settings(deadline=None, max_examples=150)
def test_linked_runs_have_the_boxes_and_areas_of_traced_borders(binary):
    binary = binary.astype(np.uint8)
    assert_runs_measure_like_polygons(binary)


@pytest.mark.parametrize("share", [0.4, 0.6, 0.75, 0.9])
def test_linked_runs_have_the_boxes_and_areas_of_traced_borders_on_large_noise(share):
    assert_runs_measure_like_polygons(
        (np.random.default_rng(0).random((224, 224)) < share).astype(np.uint8)
    )


def assert_runs_measure_like_polygons(binary: np.ndarray) -> None:
    traced = list(cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0])
    if not traced:
        return
    expected = sorted((*cv2.boundingRect(c), 2 * cv2.contourArea(c)) for c in traced)
    for measure, contours in (
        (_of_polygons, traced),
        (_of_runs, list(cv2.findContoursLinkRuns(binary)[0])),
    ):
        boxes, areas = measure(contours)
        boxes[:, 2:] -= boxes[:, :2]
        assert sorted((*b, a) for b, a in zip(boxes.tolist(), areas, strict=True)) == expected


def test_an_opencv_without_linked_runs_gives_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    maps = [smooth_map(rng, 14), rng.integers(0, 4, (40, 40)) / 3, np.zeros((5, 5))]
    levels = np.arange(256)
    linked = [level_boxes(quantise(scores), levels) for scores in maps]
    monkeypatch.delattr(cv2, "findContoursLinkRuns")
    for scores, a in zip(maps, linked, strict=True):
        b = level_boxes(quantise(scores), levels)
        assert a.bounds.tolist() == b.bounds.tolist()
        for i in range(256):
            boxes = [x.boxes[x.bounds[i] : x.bounds[i + 1]].tolist() for x in (a, b)]
            assert sorted(boxes[0]) == sorted(boxes[1])
        some = a.largest >= 0
        assert a.boxes[a.largest[some]].tolist() == b.boxes[b.largest[some]].tolist()


@given(SCORES, st.integers(0, 2**32 - 1), st.sampled_from(CONVENTIONS))
@settings(deadline=None)
def test_overlaps_are_those_of_the_reference_on_any_map(scores, seed, convention):
    rng, (height, width) = np.random.default_rng(seed), scores.shape
    truth = random_truth(rng, (width, height), int(rng.integers(1, 4)))
    assert_same_as_reference(scores, truth, convention)


def assert_same_as_reference(scores: np.ndarray, truth: list, convention: str) -> None:
    found = map_overlap(scores, np.array(truth, float), TAUS, convention).at(TAUS)
    for row, all_contours in enumerate((False, True)):
        expected = reference_best_iou(
            scores,
            truth,
            TAUS,
            all_contours=all_contours,
            continuous=convention == "continuous",
        )
        np.testing.assert_array_equal(found[row], expected)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("places", [1, 2, 7, 14, 28])
def test_overlaps_are_those_of_the_reference_on_smooth_maps(places, convention):
    rng = np.random.default_rng(places)
    scores = smooth_map(rng, places)
    assert_same_as_reference(scores, random_truth(rng, (224, 224), 3), convention)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("kind", ["zeros", "noise", "plateaus", "ridges", "one pixel", "nested"])
def test_overlaps_are_those_of_the_reference_on_awkward_maps(kind, convention):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :64]
    scores = {
        "zeros": np.zeros((64, 64)),
        "noise": rng.random((64, 64)),
        "plateaus": rng.integers(0, 4, (8, 8)).repeat(8, 0).repeat(8, 1) / 3,
        "ridges": normalise(np.sin(x / 3.0) + 0.0 * y),
        "one pixel": (x == 5) * (y == 63) * 1.0,
        "nested": normalise(np.cos(np.hypot(x - 30, y - 34) / 3)),
    }[kind]
    assert_same_as_reference(scores, random_truth(rng, (64, 64), 2), convention)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_accuracies_of_a_split_are_those_of_the_reference_evaluator(convention):
    rng = np.random.default_rng(5)
    options = {"continuous": convention == "continuous"}
    single = ReferenceEvaluator(TAUS, all_contours=False, **options)
    multiple = ReferenceEvaluator(TAUS, all_contours=True, **options)
    sums, right = BoxSums.empty(TAUS), 0
    for places in [7] * 12 + [14] * 3:
        size = rng.integers(60, 500, 2)
        boxes = random_truth(rng, tuple(size), int(rng.integers(1, 3)))
        truth = reference_truth(boxes, tuple(size), (224, 224), **options)
        scores, ok = smooth_map(rng, places), rng.random() < 0.7
        single.accumulate(scores, truth)
        multiple.accumulate(scores, truth)
        ours = true_boxes(np.array(boxes), size, (224, 224), convention)
        overlap = map_overlap(scores, ours, TAUS, convention).at(TAUS)
        sums += box_update(overlap[None], np.array([ok]), taus=TAUS)
        right += ok
    metrics = box_compute(sums)
    expected = multiple.compute()
    assert 0 < metrics["max_box_acc"] == single.compute()[0.5]
    assert metrics["max_box_acc_v2"] == pytest.approx(np.mean(list(expected.values())), abs=1e-15)
    for delta in DELTAS:
        assert metrics[f"max_box_acc_v2_{round(100 * delta)}"] == expected[delta]
    assert metrics["accuracy"] == right / 15


@given(st.integers(0, 2**32 - 1), st.sampled_from(CONVENTIONS))
def test_overlaps_of_boxes_are_those_of_the_reference(seed, convention):
    rng = np.random.default_rng(seed)
    a, b = (np.array(random_truth(rng, (9, 9), 4)) for _ in range(2))
    expected = reference_iou(a, b, continuous=convention == "continuous")
    np.testing.assert_array_equal(iou(a, b, convention), expected)


# Sums.


def test_sums_of_batches_are_the_sums_of_the_split():
    rng = np.random.default_rng(0)
    overlap, right = rng.random((7, 2, len(TAUS))), rng.random(7) < 0.5
    whole = box_update(overlap, right, taus=TAUS)
    parts = [box_update(overlap[i : i + 3], right[i : i + 3], taus=TAUS) for i in (0, 3, 6)]
    assert box_compute(parts[0] + parts[1] + parts[2]) == box_compute(whole)
    assert box_compute(BoxSums.empty(TAUS) + whole) == box_compute(whole)


def test_the_best_threshold_is_of_the_split_and_each_delta_has_its_own():
    taus = np.array([0.1, 0.2, 0.3])
    overlap = np.array([[[0.5, 0.0, 0.4]] * 2, [[0.5, 0.0, 0.0]] * 2, [[0.0, 0.0, 0.75]] * 2])
    metrics = box_compute(box_update(overlap, np.array([False, False, True]), taus=taus))
    assert (metrics["max_box_acc"], metrics["max_box_acc_tau"]) == (2 / 3, 0.1)
    assert (metrics["top1_loc"], metrics["top1_loc_tau"]) == (1 / 3, 0.3)
    assert (metrics["gt_known_fixed"], metrics["top1_loc_fixed"]) == (0, 0)
    assert metrics["max_box_acc_v2_30"] == metrics["max_box_acc_v2_50"] == 2 / 3
    assert metrics["max_box_acc_v2_70"] == 1 / 3


def test_nothing_seen_is_nan_and_not_zero():
    metrics = box_compute(BoxSums.empty(TAUS))
    assert metrics.pop("num_images") == 0
    assert metrics.pop("fixed_tau") == 0.2
    assert all(math.isnan(value) for value in metrics.values())


def test_sums_over_other_thresholds_do_not_add_up():
    with pytest.raises(OptionError, match="100 thresholds"):
        BoxSums.empty(TAUS) + BoxSums.empty(thresholds(0.001))


def test_options_that_make_no_sense_say_so():
    with pytest.raises(OptionError, match="expected one of wsolevaluation, continuous"):
        Settings(box_convention="inclusive")
    with pytest.raises(OptionError, match=r"interval 0"):
        thresholds(0)
    with pytest.raises(OptionError, match="expected thresholds with"):
        box_compute(BoxSums.empty(thresholds(0.3)))


# Score maps.


def test_maps_without_a_finite_range_become_zeros():
    for bad in (np.nan, np.inf, -np.inf):
        activation = np.arange(9.0).reshape(3, 3)
        activation[1, 1] = bad
        assert not score_map(activation).any()
    assert not score_map(np.full((3, 3), 7.0)).any()
    assert not normalise(np.array([[-1.7e308, 1.7e308]])).any()
    assert np.isnan(peak(np.zeros((4, 4)))).all()


def test_a_map_spans_zero_to_one_and_is_resized_by_opencv():
    activation = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    expected = cv2.resize(activation.astype(float), (224, 224), interpolation=cv2.INTER_CUBIC)
    expected -= expected.min()
    expected /= expected.max()
    np.testing.assert_array_equal(score_map(activation), expected)


def test_the_peak_is_the_centre_of_the_highest_pixel_as_a_fraction():
    scores = np.zeros((4, 8))
    scores[3, 2] = 1
    assert peak(scores).tolist() == [2.5 / 8, 3.5 / 4]


@pytest.mark.parametrize("scores", [[[1.5]], [[-0.1]], [[math.nan]]])
def test_scores_outside_zero_to_one_are_refused(scores):
    with pytest.raises(OptionError, match="expected 0 to 1"):
        quantise(np.array(scores))


def test_levels_in_any_order_and_repeated_get_their_own_boxes():
    grey = np.array([[0, 5, 0], [0, 9, 9], [7, 0, 0]], np.uint8)
    levels = np.array([200, 5, 0, 5, 8, 255])
    found = level_boxes(grey, levels)
    for i, level in enumerate(levels):
        alone = level_boxes(grey, np.array([level]))
        got = found.boxes[found.bounds[i] : found.bounds[i + 1]]
        assert got.tolist() == alone.boxes.tolist()
        expected = found.largest[i] - found.bounds[i] if len(got) else found.largest[i]
        assert expected == alone.largest[0]
    assert isinstance(found, LevelBoxes)
