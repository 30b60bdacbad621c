"""Byproducts as targets: what is read, what is made of it, and for which images."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from train_world import make_world, row, small_recipe, write_dataset

from luab_data.errors import DatasetError, OptionError
from luab_train.data.dataset import training_data
from luab_train.data.rows import byproduct, read_annotations
from luab_train.data.targets import share_of_each_class, training_points
from luab_train.recipe import Recipe
from luab_train.settings import override

NAN = float("nan")


def recipe(target: str, **changes) -> Recipe:
    head = {"model.point_head": "attention"} if target == "trace" else {}
    return override(small_recipe(), {"target": target, **head, **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def with_columns(world, tmp_path_factory):
    """The world's dataset with every byproduct; the fourth image was never selected."""
    folder = tmp_path_factory.mktemp("more") / "imagenet-ab"
    names = [f"{wnid}_{n}" for wnid in ("n00000001", "n00000002") for n in range(16)]
    rows = []
    for i, name in enumerate(names):
        rows.append(
            row(name, i // 16, box=[0, 0, 10, 10], selected=i != 3)
            | {"first_click_x": 0.25 + i / 100, "first_click_y": 0.75, "dwell_time_ms": 1000 * i,
               "hull_x": [0.0, 0.6, 0.0], "hull_y": [0.0, 0.0, 0.3],
               "time_quantile_x": [k / 10 for k in range(11)],
               "time_quantile_y": [0.5] * 11}
        )  # fmt: skip
    rows[5] |= dict.fromkeys(("first_click_x", "first_click_y", "dwell_time_ms"))
    rows[5] |= dict.fromkeys(("hull_x", "hull_y", "time_quantile_x", "time_quantile_y"))
    write_dataset(folder, rows)
    file = next((folder / "data").glob("*.parquet"))
    pq.write_table(pa.Table.from_pylist(rows), file)
    return folder


def points(folder, target, **changes):
    chosen = recipe(target, **changes)
    rows = read_annotations(folder, target=target)
    return training_points(
        rows, target=target, seed=chosen.seed, point_noise=chosen.data.point_noise
    ).values


def test_the_first_click_is_the_point(with_columns):
    values = points(with_columns, "first_click")
    assert values.shape == (32, 1, 2)
    np.testing.assert_allclose(values[4, 0], [0.29, 0.75])
    # Not selected in the end, and not known.
    assert np.flatnonzero(np.isnan(values[:, 0, 0])).tolist() == [3, 5]


def test_the_centre_of_a_hull_is_that_of_its_area(with_columns):
    values = points(with_columns, "hull_centre")
    np.testing.assert_allclose(values[0, 0], [0.2, 0.1])
    assert np.flatnonzero(np.isnan(values[:, 0, 0])).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("xs", "ys", "centre"),
    [
        ([0.1], [0.9], [0.1, 0.9]),
        ([0.0, 0.4], [0.2, 0.2], [0.2, 0.2]),
        ([0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.5, 0.5], [0.5, 0.25]),
        ([], [], [NAN, NAN]),
        (None, None, [NAN, NAN]),
    ],
)
def test_hulls_that_are_points_lines_or_nothing(xs, ys, centre):
    kind = pa.list_(pa.float64())
    table = pa.table({"hull_x": pa.array([xs, [0.5]], kind), "hull_y": pa.array([ys, [0.5]], kind)})
    np.testing.assert_allclose(byproduct(table, "hull_centre")[0, 0], centre)


def test_a_trace_is_eleven_points(with_columns):
    values = points(with_columns, "trace")
    assert values.shape == (32, 11, 2)
    np.testing.assert_allclose(values[0, :, 0], np.arange(11) / 10)
    assert (values[0, :, 1] == 0.5).all() and np.isnan(values[[3, 5]]).all()


def test_the_dwell_time_is_standardised_over_the_images_that_train(with_columns):
    values = points(with_columns, "dwell_time")
    assert values.shape == (32, 1, 1)
    known = [i for i in range(32) if i not in (3, 5)]
    logs = np.log1p(np.array(known, float))
    np.testing.assert_allclose(values[known, 0, 0], (logs - logs.mean()) / logs.std())
    assert np.isnan(values[[3, 5]]).all()


def calibrated_file(path, names, xs):
    pq.write_table(
        pa.table({"image_id": names, "calibrated_click_x": xs, "calibrated_click_y": xs,
                  "click_reliability": [0.25] * len(names)}),
        path,
    )  # fmt: skip
    return path


def test_calibrated_clicks_and_their_weights_are_found_by_image(world, tmp_path):
    file = calibrated_file(tmp_path / "c.parquet", ["n00000002_1", "n00000001_0"], [0.9, 0.1])
    found = training_data(
        recipe("calibrated"), data=world.data, images=world.images, calibrated=file
    )
    values = found.points.values
    np.testing.assert_allclose(values[[0, 17], 0], [[0.1, 0.1], [0.9, 0.9]])
    assert np.isfinite(values[:, 0, 0]).sum() == 2 and (found.points.weight == 1).all()
    assert found.facts["num_points"] == 2 and len(found.facts["calibrated_sha256"]) == 64
    weighed = training_data(
        recipe("click", **{"loss.reliability_weights": True}),
        data=world.data, images=world.images, calibrated=file,
    ).points  # fmt: skip
    assert weighed.weight[[0, 1, 17]].tolist() == [0.25, 0, 0.25]
    assert np.isfinite(weighed.values[:, 0, 0]).sum() == 28


def test_calibrated_clicks_must_be_given_and_be_of_these_images(world, tmp_path):
    with pytest.raises(OptionError, match="expected --calibrated FILE"):
        training_data(recipe("calibrated"), data=world.data, images=world.images)
    file = calibrated_file(tmp_path / "c.parquet", ["other"], [0.9])
    with pytest.raises(DatasetError, match="none of the dataset's images"):
        training_data(recipe("calibrated"), data=world.data, images=world.images, calibrated=file)


def test_a_dataset_without_the_columns_says_which(world):
    with pytest.raises(DatasetError, match="has no column first_click_x, first_click_y"):
        read_annotations(world.data, target="first_click")
    assert read_annotations(world.data, target="click").byproduct is None


def test_noise_has_the_deviation_asked_for_and_is_drawn_once_an_image(world, tmp_path):
    rows = [row(f"n00000001_{i}", 0, box=[10, 10, 20, 20]) for i in range(4000)]
    write_dataset(tmp_path / "big", rows)
    clean = points(tmp_path / "big", "click")
    noisy, again = (points(tmp_path / "big", "click", **{"data.point_noise": 0.2}) for _ in "ab")
    np.testing.assert_array_equal(noisy, again)
    error = (noisy - clean)[:, 0]
    # 4 standard errors of a standard deviation of 4,000 draws.
    assert error.std(axis=0) == pytest.approx([0.2, 0.2], abs=4 * 0.2 / math.sqrt(8000))
    assert abs(np.corrcoef(error.T)[0, 1]) < 4 / math.sqrt(4000)
    assert not np.array_equal(
        noisy, points(tmp_path / "big", "click", **{"data.point_noise": 0.2, "seed": 1})
    )


def test_a_share_of_each_class_is_nested_and_stratified():
    names = np.array([f"i{n}" for n in range(110)])
    label = np.array([0] * 100 + [1] * 10)
    previous = set(range(110))
    for fraction in (0.95, 0.8, 0.5, 0.01):
        kept = share_of_each_class(names, label, fraction)
        assert (np.diff(kept) > 0).all() and set(kept.tolist()) <= previous
        expected = [max(round(n * fraction), 1) for n in (100, 10)]
        assert np.bincount(label[kept]).tolist() == expected
        previous = set(kept.tolist())
    order = np.random.default_rng(0).permutation(110)
    again = share_of_each_class(names[order], label[order], 0.5)
    assert set(names[order][again]) == set(names[share_of_each_class(names, label, 0.5)])


def test_a_fraction_trains_on_fewer_images_and_says_how_many(world):
    found = training_data(
        recipe("click", **{"data.fraction": 0.5}), data=world.data, images=world.images
    )
    assert len(found.split) == 16 and np.bincount(found.split.label).tolist() == [8, 8]
    assert len(found.points.values) == 16 and found.facts["num_train"] == 16
    for i in (0, 9, 15):
        wnid, name = found.classes[found.split.label[i]], found.split.image_id[i]
        with Image.open(world.images / wnid / f"{name}.png") as image:
            np.testing.assert_array_equal(np.asarray(found.split.load(i)), np.asarray(image))
