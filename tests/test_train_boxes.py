from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from luab_train.data.boxes import Boxes, centre_distance, contains, meets, nearest_centre

# docs/definitions.md#click-accuracy, on images of 10 x 10 px.
EXAMPLE = Boxes.of([[[2, 2, 8, 8]], [[0, 0, 4, 4]], [[6, 6, 10, 10]], [[4, 0, 10, 10]]])
CLICKS = np.array([[5, 5], [3, 3], [5, 9], [2, 5]], float)


def test_click_centre_and_off_centre_accuracy_of_the_worked_example():
    centre = contains(EXAMPLE, np.full((4, 2), 5.0))
    assert contains(EXAMPLE, CLICKS).tolist() == [True, True, False, False]
    assert centre.tolist() == [True, False, False, True]
    assert contains(EXAMPLE, CLICKS)[~centre].mean() == 0.5


def test_borders_and_corners_are_inside_and_a_hair_beyond_is_not():
    boxes = Boxes.of([[[2, 3, 8, 9]]] * 4)
    points = np.array([[2, 3], [8, 9], [8.000001, 9], [2, 2.999999]])
    assert contains(boxes, points).tolist() == [True, True, False, False]


def test_images_without_boxes_and_missing_points_hold_nothing():
    boxes = Boxes.of([None, [], [[0, 0, 9, 9]], [[0, 0, 9, 9]]])
    points = np.array([[1, 1], [1, 1], [np.nan, 1], [1, 1]])
    assert contains(boxes, points).tolist() == [False, False, False, True]
    assert boxes.counts.tolist() == [0, 0, 1, 1]


def test_no_images_at_all():
    boxes = Boxes.of([])
    none = np.zeros((0, 2))
    assert contains(boxes, none).shape == (0,)
    assert nearest_centre(boxes, none).shape == (0, 2)
    assert centre_distance(boxes, none, none).shape == (0,)


def test_a_box_meets_the_region_it_touches_and_no_other():
    region = np.array([[2.0, 2, 8, 8]] * 4)
    boxes = Boxes.of([[[0, 0, 2, 2]], [[0, 0, 1.9, 9]], [[4, 4, 4, 4]], None])
    assert meets(boxes, region).tolist() == [True, False, True, False]


def test_distance_is_to_the_nearest_centre_in_fractions_of_each_side():
    boxes = Boxes.of([[[0, 0, 20, 10], [80, 0, 100, 10]], None])
    point = np.array([[70.0, 5], [70, 5]])
    size = np.array([[100.0, 10], [100, 10]])
    got = centre_distance(boxes, point, size)
    assert got[0] == np.hypot(0.2, 0.0)
    assert np.isnan(got[1])


def test_nearest_box_contains_the_point_before_it_has_the_nearest_centre():
    # (9, 5) lies in the wide box, whose centre is farther away than the small one's.
    boxes = Boxes.of([[[0, 0, 10, 10], [11, 4, 13, 6]], [[0, 0, 2, 2], [6, 6, 8, 8]], None])
    got = nearest_centre(boxes, np.array([[9.0, 5], [5, 5], [1, 1]]))
    assert got[:2].tolist() == [[5, 5], [7, 7]]
    assert np.isnan(got[2]).all()


def test_nearest_centre_of_an_absent_point_is_absent():
    assert np.isnan(nearest_centre(Boxes.of([[[0, 0, 2, 2]]]), np.array([[np.nan, 1]]))).all()


_number = st.integers(0, 6).map(float)
_box = st.tuples(_number, _number, _number, _number).map(
    lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])]
)
_images = st.lists(st.lists(_box, max_size=3), min_size=1, max_size=6)


@given(_images, st.data())
def test_agrees_with_a_loop_over_images_and_boxes(images, data):
    boxes = Boxes.of(images)
    points = data.draw(arrays(float, (len(images), 2), elements=_number))
    for i, (own, (x, y)) in enumerate(zip(images, points, strict=True)):
        inside = any(b[0] <= x <= b[2] and b[1] <= y <= b[3] for b in own)
        assert contains(boxes, points)[i] == inside
        centres = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in own]
        nearest = min((np.hypot(cx - x, cy - y) for cx, cy in centres), default=np.nan)
        got = centre_distance(boxes, points, np.ones((len(images), 2)))[i]
        assert np.isclose(got, nearest, equal_nan=True)
        chosen = nearest_centre(boxes, points)[i]
        assert (tuple(chosen) in centres) if own else np.isnan(chosen).all()


@given(_images, st.data())
def test_take_is_indexing_image_by_image(images, data):
    index = data.draw(st.lists(st.integers(0, len(images) - 1), max_size=8))
    taken = Boxes.of(images).take(np.array(index, dtype=np.int64))
    again = Boxes.of([images[i] for i in index])
    np.testing.assert_array_equal(taken.values, again.values)
    np.testing.assert_array_equal(taken.bounds, again.bounds)
