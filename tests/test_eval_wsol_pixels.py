from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from luab_data.errors import OptionError
from luab_train.data.boxes import Boxes
from luab_train.evaluate.wsol.pixels import (
    PixelSums,
    foreground_share,
    pixel_compute,
    px_ap,
    target_mask,
)
from luab_train.metrics.places import add_points, no_points, point_compute, point_update


def sums_of(scores: list, mask: list, *, interval: float) -> PixelSums:
    sums = PixelSums.empty(interval)
    sums.add_map(np.array([scores], float), np.array([mask], np.uint8))
    return sums


def reference_px_ap(foreground: np.ndarray, background: np.ndarray, interval: float) -> float:
    """Count the pixels at or above every edge, from the highest down, and add up the area."""
    area, recall = 0.0, 0.0
    for edge in [2.0, 1.0, *np.arange(0, 1, interval)[::-1]]:
        hits, false = int((foreground >= edge).sum()), int((background >= edge).sum())
        if hits + false:
            area += hits / (hits + false) * (hits / len(foreground) - recall)
            recall = hits / len(foreground)
    return area


# PxAP.


def test_px_ap_of_the_worked_example():
    sums = sums_of([1.0, 0.3, 0.6, 0.0], [1, 1, 0, 0], interval=0.25)
    assert sums.edges.tolist() == [0, 0.25, 0.5, 0.75, 1, 2, 3]
    assert px_ap(sums).item() == pytest.approx(0.5 * 1 + 0.5 * 2 / 3, abs=1e-15)
    assert round(100 * px_ap(sums).item(), 2) == 83.33


@given(
    arrays(np.float64, 60, elements=st.one_of(st.sampled_from([0.0, 0.2, 1.0]), st.floats(0, 1))),
    arrays(np.uint8, 60, elements=st.sampled_from([0, 1, 255])),
    st.sampled_from([0.001, 0.01, 0.25, 0.3]),
)
@settings(deadline=None)
def test_px_ap_is_that_of_pooled_histograms(scores, mask, interval):
    got = px_ap(sums_of(scores, mask, interval=interval)).item()
    if not (mask == 1).any():
        assert math.isnan(got)
        return
    expected = reference_px_ap(scores[mask == 1], scores[mask == 0], interval)
    assert got == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("interval", [0.001, 0.01, 0.3, 1 / 49])
def test_scores_on_and_beside_every_edge_fall_on_its_right_side(interval):
    sums = PixelSums.empty(interval)
    inner = sums.edges[1:-2]
    on, below = inner[None], np.nextafter(inner, 0)[None]
    for scores, first in ((on, 1), (below, 0)):
        sums = PixelSums.empty(interval)
        sums.add_map(scores, np.ones_like(scores, np.uint8))
        counts = np.zeros(len(sums.edges) - 1)
        counts[first : first + len(inner)] = 1
        assert sums.foreground[0].tolist() == counts.tolist()


def test_a_perfect_map_has_one_and_ignored_pixels_do_not_matter():
    assert px_ap(sums_of([1, 1, 0, 1], [1, 1, 0, 255], interval=0.01)).item() == 1
    assert px_ap(sums_of([1, 1, 0, 0], [1, 1, 0, 255], interval=0.01)).item() == 1


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_map_that_says_nothing_scores_the_share_of_foreground(value):
    sums = sums_of([value] * 8, [1, 1, 0, 0, 0, 0, 0, 255], interval=0.01)
    assert px_ap(sums).item() == foreground_share(sums).item() == 2 / 7


def test_pooling_is_over_pixels_and_the_mean_is_over_classes():
    rng = np.random.default_rng(0)
    sums = PixelSums.empty(0.01, num_classes=4)
    kept: dict[int, list] = {0: [], 2: []}
    for label in (0, 2, 0, 2, 0):
        scores, mask = rng.random((9, 9)), (rng.random((9, 9)) < 0.3).astype(np.uint8)
        sums.add_map(scores, mask, label)
        kept[label].append((scores, mask))
    # A class seen without a foreground pixel is left out like one never seen.
    sums.add_map(rng.random((9, 9)), np.zeros((9, 9), np.uint8), 3)
    expected = []
    for pairs in kept.values():
        scores, mask = (np.stack(values) for values in zip(*pairs, strict=True))
        expected.append(reference_px_ap(scores[mask == 1], scores[mask == 0], 0.01))
    metrics = pixel_compute(sums)
    assert metrics["m_px_ap"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert metrics["num_classes"] == metrics["num_without_pixels"] == 2
    shares = [np.mean([m for _, m in pairs]) for pairs in kept.values()]
    assert metrics["chance"] == pytest.approx(np.mean(shares), abs=1e-12)


def test_histograms_of_parts_add_up():
    rng = np.random.default_rng(1)
    whole, parts = PixelSums.empty(0.01), [PixelSums.empty(0.01) for _ in range(2)]
    for i in range(4):
        scores, mask = rng.random((5, 5)), rng.integers(0, 2, (5, 5)).astype(np.uint8)
        whole.add_map(scores, mask)
        parts[i % 2].add_map(scores, mask)
    assert pixel_compute(parts[0] + parts[1]) == pixel_compute(whole)
    with pytest.raises(OptionError, match="do not add up"):
        _ = whole + PixelSums.empty(0.001)


def test_nothing_seen_is_nan():
    metrics = pixel_compute(PixelSums.empty(0.01, num_classes=3))
    assert math.isnan(metrics["m_px_ap"])
    assert math.isnan(metrics["chance"])
    assert metrics["num_without_pixels"] == 3


def test_random_scores_are_at_chance():
    rng = np.random.default_rng(2)
    sums = PixelSums.empty(0.001)
    sums.add_map(rng.random((400, 400)), (rng.random((400, 400)) < 0.2).astype(np.uint8))
    assert px_ap(sums).item() == pytest.approx(0.2, abs=0.01)


def test_wrong_maps_say_what_was_found():
    sums = PixelSums.empty(0.01)
    with pytest.raises(OptionError, match="expected the same size"):
        sums.add_map(np.zeros((4, 4)), np.zeros((4, 5), np.uint8))
    with pytest.raises(OptionError, match="expected 0 to 1"):
        sums.add_map(np.full((4, 4), np.nan), np.zeros((4, 4), np.uint8))


# Masks.


def test_instances_are_joined_and_ignored_pixels_lose_to_them():
    left, right = np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.uint8)
    left[:, 0], right[0, 1] = 255, 255
    ignore = np.ones((2, 4), bool)
    ignore[:, 3] = False
    mask = target_mask([left > 0, right > 0], ignore, size=4)
    assert mask.tolist() == [[1, 1, 255, 0]] * 2 + [[1, 255, 255, 0]] * 2


def test_masks_are_resized_by_nearest():
    rng = np.random.default_rng(0)
    instance = rng.random((37, 61)) < 0.5
    expected = cv2.resize(instance.astype("f4"), (224, 224), interpolation=cv2.INTER_NEAREST)
    assert (target_mask([instance]) == (expected > 0.5)).all()


def test_an_image_without_instances_is_refused():
    with pytest.raises(OptionError, match="at least one"):
        target_mask([])


# Points.

BOXES = Boxes.of([[[0, 0, 50, 50], [60, 60, 100, 100]], [[10, 10, 20, 20]], None])
SIZE = np.array([[100, 100], [100, 200], [100, 100]])
NOWHERE = np.full((3, 2), np.nan)


def test_points_are_fractions_of_the_image_and_borders_are_inside():
    peak = np.array([[0.5, 0.5], [0.2, 0.1000001], [0.5, 0.5]])
    metrics = point_compute(point_update(BOXES, SIZE, peak=peak, point=peak, click=NOWHERE))
    assert (metrics["peak_in_box"], metrics["peak_in_box_n"]) == (0.5, 2)
    assert (metrics["point_in_box"], metrics["point_in_box_n"]) == (0.5, 2)
    assert metrics["centre_in_box"] == 0.5
    assert metrics["peak_to_click_n"] == metrics["click_in_box_n"] == 0
    assert math.isnan(metrics["peak_to_click"])


def test_a_flat_map_misses_but_an_untrained_point_does_not_count():
    metrics = point_compute(point_update(BOXES, SIZE, peak=NOWHERE, point=NOWHERE, click=NOWHERE))
    assert (metrics["peak_in_box"], metrics["peak_in_box_n"]) == (0, 2)
    assert metrics["point_in_box_n"] == 0
    assert math.isnan(metrics["point_in_box"])


def test_a_peak_must_lie_in_a_box_that_holds_the_click_too():
    click = np.array([[0.1, 0.1], [0.15, 0.05], [0.3, 0.3]])
    together = np.array([[0.4, 0.5], [0.15, 0.06], [0.3, 0.7]])
    apart = np.array([[0.9, 0.9], [0.15, 0.9], [0.3, 0.3]])
    for peak, expected in ((together, 1.0), (apart, 0.0)):
        metrics = point_compute(point_update(BOXES, SIZE, peak=peak, point=peak, click=click))
        assert (metrics["peak_with_click"], metrics["peak_with_click_n"]) == (expected, 2)
        assert metrics["point_with_click"] == expected
        assert metrics["click_in_box"] == 1
    assert metrics["peak_to_click"] == pytest.approx((np.hypot(0.8, 0.8) + 0.85 + 0) / 3)


def test_point_sums_of_batches_add_up():
    rng = np.random.default_rng(0)
    points = {name: rng.random((3, 2)) for name in ("peak", "point", "click")}
    whole = point_compute(point_update(BOXES, SIZE, **points))
    total = no_points()
    for i in range(3):
        part = {name: value[i : i + 1] for name, value in points.items()}
        total = add_points(total, point_update(BOXES.take(np.array([i])), SIZE[i : i + 1], **part))
    assert point_compute(total) == pytest.approx(whole, nan_ok=True)
