from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import batch, boxed, taken, world
from shapely import box as rectangle
from shapely import union_all

from luab_data.ragged import Ragged
from luab_data.schema import QUANTILES
from luab_data.statistics.estimate import Estimate, ratio, share
from luab_data.statistics.imagenet import IMAGENET_STATISTICS
from luab_data.statistics.imagenet_clicks import SIDES, ImageBatch, random_click_curve
from luab_data.statistics.maps import centred_share, mode_offset

A, B, C, D = (0.2, 0.2, 0.8, 0.8), (0, 0, 0.4, 0.4), (0.6, 0.6, 1, 1), (0.4, 0, 1, 1)


def measure(name: str, images: ImageBatch) -> Estimate:
    return taken(IMAGENET_STATISTICS, {"default": [images.table]}, name)[name]


@pytest.fixture
def example() -> ImageBatch:
    """The example of docs/definitions.md#click-accuracy"""
    return boxed([(0.5, 0.5), (0.3, 0.3), (0.5, 0.9), (0.2, 0.5)], [[A], [B], [C], [D]])


def test_the_worked_example_of_click_accuracy(example: ImageBatch):
    for name in ("click_accuracy", "centre_accuracy", "on_centre_click_accuracy"):
        assert measure(name, example).value == 0.5
    off = measure("off_centre_click_accuracy", example)
    assert (off.value, off.n) == (0.5, 2)  # B and C


def test_click_accuracy_is_the_mean_of_both_parts_weighted_by_their_size():
    """The law of the paper's numbers: .829 = .161 x .565 + .839 x implied."""
    images = world(3, num_images=500)
    off, on = (measure(f"{side}_centre_click_accuracy", images) for side in ("off", "on"))
    both = (off.value * off.n + on.value * on.n) / (off.n + on.n)
    assert both == pytest.approx(float(measure("click_accuracy", images).value))
    assert (0.829 - 0.161 * 0.565) / 0.839 == pytest.approx(0.880, abs=5e-4)


def test_click_less_centre_is_paired(example: ImageBatch):
    assert measure("click_less_centre", example).value == 0


def test_images_outside_s_do_not_count():
    images = batch(
        click_in_box=[None, True],
        has_boxes=[False, True],
        width=[100, 100],
        height=[100, 100],
        boxes=[[], [[0, 0, 100, 100]]],
        final_click_x=[0.5, 0.5],
        final_click_y=[0.5, 0.5],
    )
    assert [measure(name, images).n for name in ("click_accuracy", "centre_accuracy")] == [1, 1]
    assert (measure("click_density", images).n == 2).all()


def test_the_worked_examples_of_the_random_click_curve():
    images = boxed([(0.5, 0.5)], [[(0.25, 0.25, 0.75, 0.75)]])
    curve = dict(zip(SIDES, measure("random_click_curve", images).value, strict=True))
    assert [curve[0.0], curve[0.5], curve[1.0]] == pytest.approx([1, 1, 0.25])
    corner = boxed([(0.6, 0.6)], [[(0.5, 0.5, 1, 1)]])
    curve = dict(zip(SIDES, measure("random_click_curve", corner).value, strict=True))
    assert curve[0.0] == 1  # borders count
    assert [curve[0.05], curve[1.0]] == pytest.approx([0.25, 0.25])


def test_the_random_click_curve_is_counted_for_the_workers_of_s():
    terms = random_click_curve(boxed([(0.5, 0.5)] * 3, [[], [A], [B]]))
    assert terms.row.tolist() == [1] * len(SIDES) + [2] * len(SIDES)


def test_the_random_click_curve_ends_at_the_mean_area_of_the_union():
    images = boxed([(0.1, 0.1)] * 2, [[(0, 0, 0.5, 1), (0.25, 0, 0.75, 1)], [(0, 0, 0.1, 0.1)]])
    assert measure("random_click_curve", images).value[-1] == pytest.approx((0.75 + 0.01) / 2)


_EDGE = st.integers(0, 12).map(lambda k: k / 12)
_BOX = st.tuples(_EDGE, _EDGE, _EDGE, _EDGE).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


@given(st.lists(st.lists(_BOX, max_size=5), min_size=1, max_size=5), st.sampled_from(SIDES[1:]))
def test_areas_of_unions_are_those_of_geos(images: list[list[tuple[float, ...]]], side: float):
    lengths = [len(own) for own in images]
    boxes = np.array([b for own in images for b in own]).reshape(-1, 4)
    rows = Ragged(np.arange(len(boxes)), np.concatenate([[0], np.cumsum(lengths)]))
    found = centred_share(boxes, rows, np.array([side]))[:, 0]
    square = rectangle(0.5 - side / 2, 0.5 - side / 2, 0.5 + side / 2, 0.5 + side / 2)
    slow = [
        union_all([rectangle(*b) for b in own]).intersection(square).area / side**2
        for own in images
    ]
    np.testing.assert_allclose(found, slow, atol=1e-9)


def test_cells_of_the_maps_are_drawn_as_on_screen():
    images = boxed([(0.05, 0.95)], [[(0.9, 0, 1, 0.1)]])
    by_click = measure("click_density", images).value
    assert np.argwhere(by_click == 1).tolist() == [[10, 0]]  # bottom row, left column
    by_box = measure("box_centre_density", images).value
    assert np.argwhere(by_box == 1).tolist() == [[0, 10]]


def test_maps_count_a_box_once_and_a_click_once():
    images = boxed([(0.05, 0.05)], [[(0, 0, 0.1, 0.1), (0.9, 0.9, 1, 1)]])
    by_box = measure("accuracy_by_box_centre", images)
    assert by_box.n.sum() == 2
    assert by_box.value[10, 10] == 1  # the image's click is right, though not in this box
    assert measure("accuracy_by_click", images).n.sum() == 1
    assert np.isnan(by_box.value[5, 5])


def test_the_central_cell_is_one_of_121():
    images = boxed([(0.5, 0.5)] * 2, [[(0.45, 0.45, 0.55, 0.55)], [(0, 0, 0.2, 0.2)]])
    found = measure("central_cell_share", images)
    assert found.value == 0.5
    assert found.null == pytest.approx(0.00826, abs=1e-5)


def test_clicks_outside_the_picture_go_to_the_border_cells():
    images = boxed([(-0.01, 1.02)], [[A]])
    assert measure("click_density", images).value[10, 0] == 1


def test_offsets_are_in_box_sizes_and_the_mode_cell_is_where_most_clicks_are():
    images = boxed([(0.6, 0.4), (0.6, 0.4), (0.5, 0.5)], [[A]] * 3)
    offset = measure("click_offset", images)
    np.testing.assert_allclose(offset.value, [1 / 9, -1 / 9])
    assert mode_offset(measure("click_offset_density", images).value) == (0.2, -0.2)


def test_a_far_click_moves_the_mean_offset_but_not_that_of_clicks_inside():
    images = boxed([(0.5, 0.5), (0.9, 0.9), (0.5, 0.555)], [[(0.45, 0.45, 0.55, 0.55)]] * 3)
    assert measure("click_offset", images).value[0] == pytest.approx(4 / 3)
    inside = measure("click_offset_inside", images)
    np.testing.assert_allclose(inside.value, 0, atol=1e-9)
    assert inside.n.tolist() == [1, 1]  # 0.55 box heights below the centre is outside


def test_boxes_of_an_image_without_a_size_are_no_trial():
    images = batch(boxes=[[[0, 0, 0, 0]], [[10, 10, 90, 90]]], has_boxes=[True, True],
                   width=[None, 100], height=[None, 100])  # fmt: skip
    found = measure("boxed_centre_accuracy", images)
    assert (found.value, found.n) == (1, 1)


def test_shorter_visits_are_left_out_of_last_n():
    xs = [[0.5, 0.5, *[None] * 7], [0.5] * 9]
    images = boxed([(0.5, 0.5)] * 2, [[A], [A]], last_n_x=xs, last_n_y=xs)
    found = measure("last_n_accuracy", images)
    assert found.n.tolist() == [2, 2, *[1] * 7]
    assert (found.value == 1).all()


def test_the_dealt_null_is_over_points_that_are_there():
    xs = [[0.5, *[None] * 8], [0.5] * 9, [0.5] * 9]
    images = boxed([(0.5, 0.5)] * 3, [[(0, 0, 1, 1)]] * 2 + [[]], last_n_x=xs, last_n_y=xs)
    found = measure("last_n_accuracy", images)
    assert found.n.tolist() == [2] + [1] * 8
    np.testing.assert_array_equal(found.null, 1)


def test_rows_without_a_trace_are_left_out_of_the_curves():
    images = boxed([(0.5, 0.5)] * 2, [[A], [A]], trace_quantile_x=[None, [0.5] * 11],
                   trace_quantile_y=[None, [0.1] * 11])  # fmt: skip
    found = measure("trace_quantile_accuracy", images)
    assert (found.n == 1).all()
    assert (found.value == 0).all()


def test_all_measures_of_images_stand_an_empty_batch_and_a_sliced_one():
    images = world(0, num_images=40, num_workers=3)
    for m in IMAGENET_STATISTICS.measures:
        if m.over != "images" or not m.terms:
            continue
        empty = ImageBatch(images.table.slice(0, 0))
        assert not len(m.terms(empty).row), m.name
        whole, tail = m.terms(images), m.terms(ImageBatch(images.table.slice(25)))
        kept = whole.row >= 25
        np.testing.assert_array_equal(whole.row[kept] - 25, tail.row)
        np.testing.assert_allclose(whole.part[kept], tail.part)


# Planted behaviour


def test_planted_accuracy_is_recovered_inside_its_interval():
    inside = 0
    for seed in range(20):
        found = measure("click_accuracy", world(seed, num_images=800, accuracy=0.8))
        inside += bool(found.low <= 0.8 <= found.high)
    assert inside >= 16


def test_a_planted_bias_vector_is_recovered_and_the_null_of_none_is_not_rejected():
    biased = measure("click_offset", world(5, offset=(0.15, -0.1)))
    assert (biased.low <= [0.15, -0.1]).all()
    assert (biased.high >= [0.15, -0.1]).all()
    assert biased.low[0] > 0 > biased.high[1]
    even = measure("click_offset", world(6, offset=(0.0, 0.0)))
    assert (even.low <= 0).all()
    assert (even.high >= 0).all()


@pytest.mark.parametrize("name", ["trace_quantile_accuracy", "time_quantile_accuracy"])
def test_planted_quantile_curves_are_recovered(name: str):
    curve = np.linspace(0.3, 0.9, len(QUANTILES))
    found = measure(name, world(7, curve=curve.tolist()))
    inside = (found.low <= curve) & (curve <= found.high)
    assert inside.sum() >= 10  # of 11 pointwise 95 % intervals


def test_with_clicks_dealt_out_at_random_nothing_is_found():
    images = world(8, accuracy=0.9)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    x, y = (images.floats(f"final_click_{axis}")[order] for axis in "xy")
    dealt = boxed(
        list(zip(x, y, strict=True)),
        (images.fractions[:, None]).tolist(),
        worker_id=images.worker_id.to_pylist(),
    )
    found = measure("click_accuracy", dealt)
    assert found.low <= found.null <= found.high
    seen = measure("click_accuracy", images)
    assert seen.low > seen.null + 0.3


def test_the_null_is_what_dealing_out_gives_on_average():
    images = world(9, num_images=300)
    found = measure("click_accuracy", images)
    x, y = (images.floats(f"final_click_{axis}") for axis in "xy")
    boxes = images.fractions
    inside = (
        (boxes[:, 0] <= x[:, None]) & (x[:, None] <= boxes[:, 2])
        & (boxes[:, 1] <= y[:, None]) & (y[:, None] <= boxes[:, 3])
    )  # fmt: skip
    assert found.null == pytest.approx(inside.mean(), abs=0.03)


def test_centres_that_spread_evenly_have_the_central_share_of_the_null():
    inside = 0
    for seed in range(12):
        centre = np.random.default_rng(seed).random((4000, 2))
        boxes = np.concatenate([centre, centre], axis=1)[:, None].tolist()
        images = boxed(centre.tolist(), boxes, worker_id=[f"w{k % 20}" for k in range(4000)])
        found = measure("central_cell_share", images)
        inside += bool(found.low <= found.null <= found.high)
    assert inside >= 9


def test_finishes_divide_last():
    assert np.isnan(ratio(np.zeros(1), np.zeros(1)))[0]
    np.testing.assert_allclose(share(np.array([1.0, 3.0]), np.array([1.0, 3.0])), [0.25, 0.75])
