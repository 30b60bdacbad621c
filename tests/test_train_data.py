from __future__ import annotations

import numpy as np
import pytest
import torch
from train_world import SIZE, make_world, small_recipe

from luab_data.errors import OptionError
from luab_train.data import loader as data_module
from luab_train.data.augment import TrainCrop
from luab_train.data.dataset import training_data
from luab_train.data.inputs import EvalCrop
from luab_train.data.loader import EpochOrder, Samples, collate, make_loader
from luab_train.sections import Data

OPTIONS = Data(image_size=SIZE, eval_resize=SIZE, crop_scale=(0.2, 1.0), color_jitter=0.3)


@pytest.fixture(scope="module")
def split_and_click(tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("world"))
    found = training_data(small_recipe(), data=world.data, images=world.images)
    return found.split, found.points.values


def samples_of(split_and_click, **changes) -> Samples:
    split, click = split_and_click
    return Samples(split, TrainCrop(OPTIONS), target=click, seed=3, **changes)


def test_the_square_is_found_under_its_target(split_and_click):
    samples = samples_of(split_and_click)
    seen = 0
    for index in range(len(samples)):
        sample = samples[(1, index, 0)]
        assert sample.row == index and sample.size == (SIZE, SIZE) and sample.valid
        assert (np.isnan(sample.point).all()) == (index % 8 == 7)
        if sample.weight[0]:
            assert sample.weight[0] == 1
            x, y = np.minimum((sample.point[0] * SIZE).astype(int), SIZE - 1)
            pixel = sample.image[y, x]
            assert pixel[sample.label] > 120 and pixel[1 - sample.label] < 110
            seen += 1
    assert seen > 15


def test_a_sample_depends_on_seed_epoch_and_index_only(split_and_click):
    first, again = samples_of(split_and_click), samples_of(split_and_click, cache="memory")
    again[(5, 1, 0)]
    for index in (0, 9):
        np.testing.assert_array_equal(first[(1, index, 0)][0], again[(1, index, 0)][0])
    assert not np.array_equal(first[(1, 0, 0)][0], first[(2, 0, 0)][0])
    other_seed = Samples(split_and_click[0], TrainCrop(OPTIONS), seed=4)
    assert not np.array_equal(first[(1, 0, 0)][0], other_seed[(1, 0, 0)][0])


def test_arms_see_the_same_pixels(split_and_click):
    split, click = split_and_click
    without = Samples(split, TrainCrop(OPTIONS), target=None, seed=3)
    clicked = Samples(split, TrainCrop(OPTIONS), target=click, seed=3)
    np.testing.assert_array_equal(without[(1, 4, 0)].image, clicked[(1, 4, 0)].image)
    assert without[(1, 4, 0)].weight == 0


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_change_nothing(split_and_click, num_workers):
    def epochs(workers: int) -> list[list[torch.Tensor]]:
        loader, order = make_loader(
            samples_of(split_and_click),
            batch_size=10,
            seed=3,
            train=True,
            num_workers=workers,
            pin_memory=False,
        )
        seen = []
        for epoch in (1, 2):
            order.epoch = epoch
            seen += [list(batch) for batch in loader]
        return seen

    for ours, plain in zip(epochs(num_workers), epochs(0), strict=True):
        for a, b in zip(ours, plain, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_training_drops_the_last_batch_and_evaluation_does_not(split_and_click):
    def sizes(train: bool) -> list[int]:
        loader, _ = make_loader(
            samples_of(split_and_click),
            batch_size=10,
            seed=0,
            train=train,
            num_workers=0,
            pin_memory=False,
        )
        return [len(batch.label) for batch in loader]

    assert sizes(True) == [10, 10, 10]
    assert sizes(False) == [10, 10, 10, 2]


def test_every_epoch_is_another_permutation_and_a_rerun_the_same():
    order = EpochOrder(50, seed=1, shuffle=True)
    seen = []
    for epoch in (1, 2, 3):
        order.epoch = epoch
        keys = list(order)
        assert [e for e, _, _ in keys] == [epoch] * 50
        assert sorted(i for _, i, _ in keys) == list(range(50))
        seen.append(tuple(keys))
    assert len({tuple(i for _, i, _ in keys) for keys in seen}) == 3
    order.epoch = 2
    assert tuple(order) == seen[1]
    other = EpochOrder(50, seed=2, shuffle=True)
    other.epoch = 2
    assert tuple(other) != seen[1]
    assert [i for _, i, _ in EpochOrder(5, seed=1, shuffle=False)] == [0, 1, 2, 3, 4]


def test_views_of_an_image_fall_in_one_update_and_as_far_apart_as_can_be():
    order = EpochOrder(24, seed=1, shuffle=True, repeats=3, update=12)
    order.epoch = 1
    keys = list(order)
    images = [i for _, i, _ in keys]
    # 8 images three times; an update of two processes of 6 has four images, each process all four.
    assert len(set(images)) == 8 and len(keys) == 24
    for update in (keys[:12], keys[12:]):
        assert sorted(update) == sorted({(1, i, v) for _, i, _ in update for v in range(3)})
        for process in (update[:6], update[6:]):
            assert len({i for _, i, _ in process}) == 4
    order.start = 12
    assert list(order) == keys[12:]
    uneven = EpochOrder(10, seed=1, shuffle=True, repeats=3, update=4)
    assert len(set(uneven)) == len(list(uneven)) == 10


def test_another_image_stands_in_for_one_that_cannot_be_decoded(split_and_click):
    samples = samples_of(split_and_click)
    rows = [samples[(1, i, 0)] for i in range(3)]
    bad = rows[1]._replace(valid=False, image=np.zeros_like(rows[1].image))
    batch = collate([rows[0], bad, rows[2]])
    assert batch.valid_B.tolist() == [True, False, True]
    assert torch.equal(batch.image_BCHW[1], batch.image_BCHW[0])
    black = collate([bad, bad])
    assert not black.image_BCHW.any() and not black.valid_B.any()


def test_a_batch_has_the_shapes_and_types_it_promises(split_and_click):
    samples = samples_of(split_and_click)
    batch = collate([samples[(1, i, 0)] for i in range(8)])
    assert batch.image_BCHW.shape == (8, 3, SIZE, SIZE)
    kinds = [t.dtype for t in batch]
    whole, real = torch.int64, torch.float32
    assert kinds == [torch.uint8, whole, torch.bool, whole, whole, real, real, whole]
    assert batch.point_BKD.shape == (8, 1, 2) and batch.weight_BK.shape == (8, 1)
    assert torch.isnan(batch.point_BKD[7]).all() and batch.weight_BK[7] == 0


def test_evaluation_crops_are_the_same_every_epoch(split_and_click):
    samples = Samples(split_and_click[0], EvalCrop(OPTIONS))
    np.testing.assert_array_equal(samples[(0, 3, 0)][0], samples[(7, 3, 0)][0])
    np.testing.assert_array_equal(samples[(0, 3, 0)][0], np.asarray(split_and_click[0].load(3)))


def test_the_cache_refuses_what_would_fill_the_memory(split_and_click, monkeypatch):
    monkeypatch.setattr(data_module, "_CACHE_LIMIT", 5 * SIZE * SIZE * 4)
    with pytest.raises(OptionError, match=r"6 of 32 images already fill .* data\.cache=none"):
        samples_of(split_and_click, cache="memory")
