from __future__ import annotations

import inspect
import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from luab_train.data.augment import seeded
from luab_train.data.mixing import (
    Draw,
    Mixed,
    draw,
    mix,
    mix_images,
    mix_points,
    random_erase,
    soft_labels,
    under,
)
from luab_train.sections import Mix

NAN = float("nan")
MIXUP = Mix(mixup=0.8)
CUTMIX = Mix(cutmix=1.0)
BOTH = Mix(mixup=0.8, cutmix=1.0)


class Inputs(NamedTuple):
    image_BCHW: Tensor
    label: Tensor
    point_BKD: Tensor
    weight_BK: Tensor
    valid_B: Tensor


def inputs(
    batch: int = 6, *, side: int = 16, classes: int = 5, points: int = 1, several: bool = False
) -> Inputs:
    generator = torch.Generator().manual_seed(batch * 100 + side)
    label = torch.randint(classes, (batch,), generator=generator)
    if several:
        label = (torch.rand(batch, classes, generator=generator) < 0.5).float()
    return Inputs(
        torch.randn(batch, 3, side, side, generator=generator),
        label,
        torch.rand(batch, points, 2, generator=generator),
        torch.rand(batch, points, generator=generator).round(decimals=1),
        torch.ones(batch, dtype=torch.bool),
    )


def mixed(given_: Inputs, how: Mix = BOTH, seed: int = 0, smoothing: float = 0.1) -> Mixed:
    return mix(*given_, settings=how, num_classes=5, label_smoothing=smoothing, seed=seed)


def lam_of(how: Mix, seed: int, height: int = 16) -> Draw:
    with seeded(seed):
        return draw(how, (height, 16))


# --- drawn by hand


def picture(text: str) -> Tensor:
    """Lines of letters -> (1, H, W), the letters' codes."""
    return torch.tensor([[[float(ord(c)) for c in row] for row in text.split()]])


def text(image_CHW: Tensor) -> str:
    return " ".join("".join(chr(int(c)) for c in row) for row in image_CHW[0])


BOX = Draw(1 - 4 / 16, (1, 3, 2, 4))


def test_cutmix_pastes_the_partners_box():
    batch = torch.stack([picture("aaaa aaaa aaaa aaaa"), picture("bcde fghi jklm nopq")])
    first, second = mix_images(batch, BOX)
    assert text(first) == "aaaa aahi aalm aaaa"
    assert text(second) == "bcde fgaa jkaa nopq"
    # The input is left as it was.
    assert text(batch[0]) == "aaaa aaaa aaaa aaaa"


def test_mixup_is_the_weighted_mean():
    batch = torch.stack([picture("aaaa"), picture("eeee")])
    first, second = mix_images(batch, Draw(0.75))
    assert text(first) == "bbbb"
    assert text(second) == "dddd"


@pytest.mark.parametrize(
    ("own", "partner", "weights"),
    [
        # In the picture of 4 x 4 px the box covers x from 2 to 4 and y from 1 to 3.
        ((0.5, 0.5), (0.75, 0.5), [0, 1 / 4]),  # own under the box, partner's in it
        ((0.2, 0.5), (0.75, 0.5), [3 / 4, 1 / 4]),  # own seen, partner's too
        ((0.2, 0.5), (0.2, 0.5), [3 / 4, 0]),  # the same place: only the own is there
        ((0.75, 0.5), (0.2, 0.5), [0, 0]),  # neither
    ],
)
def test_cutmix_keeps_what_can_be_seen(own, partner, weights):
    point = torch.tensor([[own], [partner]])
    targets, weight = mix_points(point, torch.ones(2, 1), BOX, size_wh=(4, 4))
    torch.testing.assert_close(targets[:, 0, 0], torch.tensor([own, partner]))
    torch.testing.assert_close(weight[:, 0, 0], torch.tensor(weights).float())


@pytest.mark.parametrize(
    ("x", "y", "inside"),
    [
        (2, 1, True),  # the upper left corner belongs to the box
        (1.99, 1, False),
        (2, 0.99, False),
        (3.99, 2.99, True),
        (3, 3, False),  # the lower border to the row below
        (4, 2, True),  # the image's own border to its last column, which is in the box
        (4, 3, False),
        (NAN, NAN, False),
        (2.5, NAN, False),
    ],
)
def test_a_point_belongs_to_the_pixel_it_lies_in(x, y, inside):
    point = torch.tensor([[[x / 4, y / 4]]])
    assert under(point, (1, 3, 2, 4), size_wh=(4, 4)).item() is inside


def test_a_box_in_a_picture_that_is_not_square():
    point = torch.tensor([[[0.5, 0.5]], [[0.9, 0.5]]])
    # 10 x 4 px: x = 5 and 9, y = 2.
    assert under(point, (2, 3, 5, 9), size_wh=(10, 4)).flatten().tolist() == [True, False]


def test_an_empty_box_holds_nothing_and_a_full_one_all():
    point = torch.tensor([[[0.0, 0.0]], [[0.5, 0.5]], [[1.0, 1.0]]])
    assert not under(point, (2, 2, 2, 2), size_wh=(4, 4)).any()
    assert under(point, (0, 4, 0, 4), size_wh=(4, 4)).all()


def test_the_worked_example_of_mixup_on_one_predicted_point():
    # docs/definitions.md#augmentation: lam w_i l(z_i) + (1 - lam) w_j l(z_j), with the
    # d of docs/definitions.md#beta: l = .05 at beta 1.
    point = torch.tensor([[[0.3, 0.9]], [[0.5, 0.5]]])
    weight = torch.tensor([[1.0], [0.5]])
    targets, weights = mix_points(point, weight, Draw(0.7), size_wh=(4, 4))
    predicted = torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]])
    each = torch.nn.functional.smooth_l1_loss(
        predicted.expand_as(targets), targets, reduction="none"
    ).mean(-1)
    loss = (weights * each).sum(0).flatten()
    torch.testing.assert_close(each[0, 0, 0], torch.tensor(0.05))
    torch.testing.assert_close(loss, torch.tensor([0.7 * 0.05 * 1 + 0, 0.3 * 0.05 * 1]))
    torch.testing.assert_close(weights[:, 0, 0], torch.tensor([0.7, 0.3 * 0.5]))
    torch.testing.assert_close(weights[:, 1, 0], torch.tensor([0.7 * 0.5, 0.3]))


def test_a_number_that_is_no_place_is_weighed_by_area_under_cutmix():
    seconds = torch.tensor([[[0.9]], [[0.1]]])
    targets, weight = mix_points(seconds, torch.ones(2, 1), BOX, size_wh=(4, 4))
    torch.testing.assert_close(weight[:, 0, 0], torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(targets[:, 0, 0, 0], torch.tensor([0.9, 0.1]))


# --- timm


@pytest.mark.parametrize(
    "how",
    [MIXUP, CUTMIX, BOTH, Mix(mixup=0.2, cutmix=0.3, prob=0.5, switch=0.8), Mix(cutmix=1, prob=0)],
    ids=["mixup", "cutmix", "both", "half", "never"],
)
@pytest.mark.parametrize("several", [False, True], ids=["class", "labels"])
def test_images_and_labels_equal_those_of_timms_mixup(how, several):
    options = {"multi_label": True} if several else {}
    if several and "multi_label" not in inspect.signature(Mixup).parameters:
        pytest.skip("this timm mixes single labels only")
    timm_mixup = Mixup(
        mixup_alpha=how.mixup,
        cutmix_alpha=how.cutmix,
        prob=how.prob,
        switch_prob=how.switch,
        label_smoothing=0.1,
        num_classes=5,
        **options,
    )
    batch, changed = inputs(6, several=several), 0
    for seed in range(40):
        with seeded(seed):
            image, label = timm_mixup(batch.image_BCHW.clone(), batch.label)
        ours = mixed(batch, how, seed)
        assert torch.equal(ours.image_BCHW, image)
        torch.testing.assert_close(ours.label_BC, label, rtol=0, atol=1e-6)
        changed += not torch.equal(image, batch.image_BCHW)
    assert (changed > 15) == (how.prob > 0)


def test_smoothed_labels_of_a_batch_that_is_not_mixed_are_timms():
    label_BC = mixed(inputs(2), Mix(), smoothing=0.1).label_BC
    expected = torch.full((2, 5), 0.02)
    expected[[0, 1], inputs(2).label] = 0.92
    torch.testing.assert_close(label_BC, expected)
    several = soft_labels(torch.tensor([[1, 0, 1]]), 3, 0.1)
    torch.testing.assert_close(several, torch.tensor([[0.95, 0.05, 0.95]]))
    assert torch.equal(soft_labels(torch.tensor([2]), 3, 0), torch.tensor([[0.0, 0, 1]]))


def test_erased_pictures_equal_timms():
    image = inputs(12).image_BCHW
    for seed in range(5):
        expected = image.clone()
        with seeded(seed, torch.default_generator):
            RandomErasing(0.5, mode="pixel", device="cpu")(expected)
        assert torch.equal(random_erase(image, probability=0.5, seed=seed), expected)
        assert not torch.equal(image, expected)


# --- properties


def slow(batch: Inputs, drawn: Draw) -> list[list[tuple[list[float], float]]]:
    """Per image and point: [(target, weight)] of own and partner, one image after another."""
    result = []
    height, width = batch.image_BCHW.shape[-2:]
    for i in range(len(batch.label)):
        j = len(batch.label) - 1 - i
        usable = bool(batch.valid_B[i]) and bool(batch.valid_B[j])
        for k in range(batch.point_BKD.shape[1]):
            pair = []
            for owner, share, pasted_in in ((i, drawn.lam, False), (j, 1 - drawn.lam, True)):
                point = batch.point_BKD[owner, k]
                weight = share * float(batch.weight_BK[owner, k])
                if drawn.box is not None:
                    top, bottom, left, right = drawn.box
                    pasted = torch.zeros(height, width, dtype=torch.bool)
                    pasted[top:bottom, left:right] = True
                    hit = False
                    if not point.isnan().any():
                        x = min(int(point[0] * width), width - 1)
                        y = min(int(point[1] * height), height - 1)
                        hit = bool(pasted[y, x])
                    weight *= hit == pasted_in
                pair.append((point.tolist(), weight if usable else 0.0))
            result.append(pair)
    return result


_weight = st.sampled_from([0.0, 0.3, 1.0])
_coordinate = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0, NAN]), st.floats(0, 1, width=32))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**32), st.booleans())
def test_points_and_weights_equal_a_slow_reference(data, batch, points, seed, cut):
    how = CUTMIX if cut else MIXUP
    count = batch * points
    point = data.draw(st.lists(_coordinate, min_size=2 * count, max_size=2 * count))
    weight = data.draw(st.lists(_weight, min_size=count, max_size=count))
    valid = data.draw(st.lists(st.booleans(), min_size=batch, max_size=batch))
    given_ = inputs(batch)._replace(
        image_BCHW=inputs(batch).image_BCHW[:, :, :10],  # not square, to tell x from y
        point_BKD=torch.tensor(point).view(batch, points, 2),
        weight_BK=torch.tensor(weight).view(batch, points),
        valid_B=torch.tensor(valid),
    )
    drawn, ours = lam_of(how, seed, height=10), mixed(given_, how, seed)
    if drawn.lam == 1:
        assert ours.point_TBKD.shape[0] == 1
        return
    reference = slow(given_, drawn)
    targets = torch.tensor([[target for target, _ in pair] for pair in reference])
    weights = torch.tensor([[weight for _, weight in pair] for pair in reference])
    torch.testing.assert_close(
        ours.point_TBKD.flatten(1, 2).transpose(0, 1), targets, equal_nan=True
    )
    torch.testing.assert_close(ours.weight_TBK.flatten(1).T, weights)
    # What an image asks of its one predicted point never exceeds what one target may ask.
    assert (ours.weight_TBK.sum(0) <= 1 + 1e-6).all() and (ours.weight_TBK >= 0).all()
    assert torch.equal(ours.label_weight_B > 0, given_.valid_B & given_.valid_B.flip(0))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32))
def test_cutmix_drops_exactly_the_points_whose_pixels_it_pasted_over(batch, seed):
    given_ = inputs(batch)._replace(weight_BK=torch.ones(batch, 1))
    ours, drawn = mixed(given_, CUTMIX, seed), lam_of(CUTMIX, seed)
    # Which pixels were pasted is read from a picture that is 0 in front and 1 behind.
    flags = torch.arange(2.0).view(2, 1, 1, 1).expand(2, 1, 16, 16)
    pasted = mix_images(flags, drawn)[0, 0] == 1 if drawn.lam < 1 else torch.zeros(16, 16) == 1
    assert pasted.float().mean().item() == pytest.approx(1 - drawn.lam)
    column, row = (given_.point_BKD[:, 0] * 16).long().clamp(max=15).unbind(-1)
    assert torch.equal(ours.weight_TBK[0, :, 0] == 0, pasted[row, column])
    if drawn.lam < 1:
        assert torch.equal(ours.weight_TBK[1, :, 0] > 0, pasted[row, column].flip(0))


def test_lambda_is_the_share_of_pixels_that_stayed_also_where_a_box_is_clipped():
    clipped = 0
    for seed in range(60):
        drawn = lam_of(CUTMIX, seed)
        with seeded(seed):
            np.random.rand()
            wanted = np.random.beta(1, 1)
        clipped += abs(drawn.lam - wanted) > 0.1
        if drawn.box is not None:
            top, bottom, left, right = drawn.box
            assert drawn.lam == pytest.approx(1 - (bottom - top) * (right - left) / 256)
    assert clipped > 5


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), st.integers(0, 2**32), st.floats(0, 0.5))
def test_labels_of_a_class_sum_to_one_whatever_is_mixed(batch, seed, smoothing):
    label_BC = mixed(inputs(batch), BOTH, seed, smoothing).label_BC
    torch.testing.assert_close(label_BC.sum(1), torch.ones(batch))


@pytest.mark.parametrize("how", [MIXUP, CUTMIX])
def test_the_middle_of_an_odd_batch_stays_as_it_is(how):
    batch = inputs(5)
    for seed in range(10):
        ours = mixed(batch, how, seed)
        torch.testing.assert_close(ours.image_BCHW[2], batch.image_BCHW[2])
        torch.testing.assert_close(ours.label_BC[2], soft_labels(batch.label, 5, 0.1)[2])
        assert ours.weight_TBK[:, 2].sum() <= batch.weight_BK[2].sum() + 1e-6


# --- policies


@pytest.mark.parametrize("how", [MIXUP, CUTMIX, BOTH])
def test_unmixed_regresses_no_point_of_a_mixed_batch_but_mixes_the_same(how):
    quiet = Mix(mixup=how.mixup, cutmix=how.cutmix, points="unmixed")
    for seed in range(10):
        ours, follow = mixed(inputs(), quiet, seed), mixed(inputs(), how, seed)
        assert lam_of(how, seed).lam < 1
        assert not ours.weight_TBK.any()
        assert torch.equal(ours.image_BCHW, follow.image_BCHW)
        assert torch.equal(ours.label_BC, follow.label_BC)


@pytest.mark.parametrize("points", ["follow", "unmixed"])
@pytest.mark.parametrize("prob", [0.0, 1.0])
def test_a_batch_that_is_not_mixed_keeps_its_points_under_either_policy(points, prob):
    how = Mix(mixup=0.8 * (prob == 0), prob=prob, points=points)
    batch = inputs()
    ours = mixed(batch, how)
    assert torch.equal(ours.image_BCHW, batch.image_BCHW)
    assert torch.equal(ours.point_TBKD, batch.point_BKD[None])
    assert torch.equal(ours.weight_TBK, batch.weight_BK[None])
    assert ours.label_weight_B.tolist() == [1] * 6


def test_an_image_that_could_not_be_decoded_drops_itself_and_its_partner():
    batch = inputs(6)._replace(
        valid_B=torch.tensor([1, 0, 1, 1, 1, 1]).bool(), weight_BK=torch.ones(6, 1)
    )
    ours = mixed(batch, MIXUP)
    assert ours.label_weight_B.tolist() == [1, 0, 1, 1, 0, 1]
    assert ours.weight_TBK.sum(0).flatten().tolist() == pytest.approx([1, 0, 1, 1, 0, 1])
    unmixed = mixed(batch, Mix())
    assert unmixed.label_weight_B.tolist() == [1, 0, 1, 1, 1, 1]
    assert unmixed.weight_TBK.flatten().tolist() == [1, 0, 1, 1, 1, 1]


def test_mixing_follows_from_the_seed_alone_and_gives_the_generators_back():
    batch = inputs()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first = mixed(batch, BOTH, 3)
    erased = random_erase(batch.image_BCHW, probability=0.5, seed=3)
    after = random.random(), np.random.rand(), torch.rand(()).item()
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    again = mixed(batch, BOTH, 3)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(erased, random_erase(batch.image_BCHW, probability=0.5, seed=3))
    assert not torch.equal(erased, random_erase(batch.image_BCHW, probability=0.5, seed=4))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert after == (random.random(), np.random.rand(), torch.rand(()).item())
    assert len({lam_of(BOTH, seed).lam for seed in range(20)}) == 20


@pytest.mark.parametrize("how", [MIXUP, CUTMIX])
def test_types_are_kept_and_inputs_left_alone(how):
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        batch = inputs()._replace(image_BCHW=inputs().image_BCHW.to(dtype))
        erased = random_erase(batch.image_BCHW, probability=1.0, seed=1)
        ours = mixed(batch._replace(image_BCHW=erased), how)
        assert erased.dtype == ours.image_BCHW.dtype == dtype
        assert {t.dtype for t in ours[1:]} == {torch.float32}
        for kept, fresh in zip(batch[1:], inputs()[1:], strict=True):
            assert torch.equal(kept, fresh)
        assert torch.equal(batch.image_BCHW, inputs().image_BCHW.to(dtype))


def test_channels_last_is_kept():
    image = inputs().image_BCHW.contiguous(memory_format=torch.channels_last)
    erased = random_erase(image, probability=1.0, seed=1)
    for how in (MIXUP, CUTMIX):
        ours = mixed(inputs()._replace(image_BCHW=erased), how)
        assert ours.image_BCHW.is_contiguous(memory_format=torch.channels_last)


# --- erasing


def test_erasing_is_one_rectangle_of_noise_in_as_many_images_as_asked():
    image = torch.full((400, 3, 24, 24), 9.0)
    erased = random_erase(image, probability=0.25, seed=0)
    changed = (erased != image).any(dim=1)
    touched = changed.flatten(1).any(dim=1)
    assert abs(touched.float().mean().item() - 0.25) < 0.06
    for mask in changed[touched]:
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        # The rows and columns span a full rectangle.
        assert mask.sum() == rows.sum() * columns.sum()
        assert 0.01 < mask.float().mean() < 0.4
    noise = erased[(erased != image)]
    assert abs(noise.mean().item()) < 0.05 and abs(noise.std().item() - 1) < 0.05
    assert len(noise.unique()) > 0.99 * len(noise)


def test_no_erasing_touches_nothing():
    image = inputs().image_BCHW
    assert random_erase(image, probability=0.0, seed=0) is image


@pytest.mark.gpu
@pytest.mark.parametrize("how", [MIXUP, CUTMIX])
def test_a_gpu_mixes_as_a_cpu_and_keeps_its_generator(how):
    batch = inputs()
    there = Inputs(*[tensor.cuda() for tensor in batch])
    torch.cuda.manual_seed(1)
    ours = mixed(there, how, 3)
    erased = random_erase(there.image_BCHW, probability=1.0, seed=3)
    assert torch.equal(erased, random_erase(there.image_BCHW, probability=1.0, seed=3))
    after = torch.rand((), device="cuda")
    torch.cuda.manual_seed(1)
    assert torch.equal(after, torch.rand((), device="cuda"))
    for a, b in zip(ours, mixed(batch, how, 3), strict=True):
        assert a.device.type == "cuda"
        torch.testing.assert_close(a.cpu(), b)
