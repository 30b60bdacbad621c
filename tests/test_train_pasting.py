"""Click-guided mixing: which pixels, which label, which point, and that the gradient sees it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from train_world import make_world

from luab_data.errors import OptionError
from luab_train.data.mixing import Mixed, mix
from luab_train.data.pasting import paste
from luab_train.recipes import find_recipe
from luab_train.report.runs import read_run
from luab_train.sections import Mix
from luab_train.settings import override
from luab_train.train.loop import train

NAN = float("nan")


def pair(height: int = 8, width: int = 10) -> Tensor:
    """Two images whose pixels say which image, row and column they are."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    base = (rows * 100 + columns).float()
    return torch.stack([base, base + 10_000])[:, None]


def slow(image: Tensor, own: tuple[int, int], partner: tuple[int, int], onto: tuple[int, int]):
    """Pixel by pixel: image 0 with the 4 x 4 square about the partner's pixel (x, y)."""
    result = image[0, 0].clone()
    height, width = result.shape
    for y in range(height):
        for x in range(width):
            dx, dy = x - onto[0], y - onto[1]
            sx, sy = partner[0] + dx, partner[1] + dy
            if -2 <= dx < 2 and -2 <= dy < 2 and 0 <= sx < width and 0 <= sy < height:
                result[y, x] = image[1, 0, sy, sx]
    return result


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize(
    ("own", "partner"), [((2, 3), (6, 4)), ((0, 0), (9, 7)), ((9, 7), (0, 0)), ((5, 4), (5, 0))]
)
def test_the_square_about_the_partners_point_is_pasted_pixel_for_pixel(own, partner, shift):
    image = pair(8, 8)
    own, partner = (min(own[0], 7), own[1]), (min(partner[0], 7), partner[1])
    point = (torch.tensor([own, partner]) + 0.5) / torch.tensor([8.0, 8.0])
    wanted = torch.tensor([True, False])
    found = paste(image, point, wanted, size=0.5, shift=shift)
    onto = own if shift else partner
    expected = slow(image, own, partner, onto)
    assert torch.equal(found.image_BCHW[0, 0], expected)
    assert torch.equal(found.mask_BHW[0], expected >= 10_000)
    assert torch.equal(found.image_BCHW[1], image[1]) and not found.mask_BHW[1].any()
    placed = (torch.tensor(onto) + 0.5) / 8
    assert torch.allclose(found.partner_point_B2[0], placed)


def test_width_and_height_are_not_exchanged():
    point = torch.tensor([[0.05, 0.9], [0.75, 0.3]])  # pixels (0, 7) and (7, 2) of 10 x 8
    found = paste(pair(), point, torch.tensor([True, False]), size=0.5, shift=False)
    y, x = found.mask_BHW[0].nonzero().T
    assert (x.min(), x.max(), y.min(), y.max()) == (5, 9, 0, 3)  # 5 wide: 7 - 2 ... 7 + 2


def mixed(
    how: Mix, *, point: list[list[float]], seed: int = 0, valid: tuple[bool, ...] = (True, True)
) -> Mixed:
    points = torch.tensor(point)[:, None]
    weight = points.isfinite().all(-1).float()
    return mix(
        pair(8, 8), torch.tensor([0, 1]), points, weight, torch.tensor(valid),
        settings=how, num_classes=2, seed=seed,
    )  # fmt: skip


CORNERS = [[0.3, 0.3], [0.7, 0.7]]


@pytest.mark.parametrize(("labels", "share"), [("area", 0.25), ("equal", 0.5), ("fixed", 0.9)])
def test_labels_are_weighed_by_name(labels, share):
    how = Mix(paste="in_place", paste_labels=labels, paste_share=0.9)
    label = mixed(how, point=CORNERS).label_BC
    assert torch.allclose(label, torch.tensor([[1 - share, share], [share, 1 - share]]))


def test_points_follow_the_pixels_that_show_them():
    apart = mixed(Mix(paste="in_place", paste_size=0.25), point=CORNERS)
    assert torch.allclose(apart.weight_TBK[:, 0, 0], torch.tensor([15 / 16, 1 / 16]))
    assert torch.allclose(apart.point_TBKD[:, 0, 0], torch.tensor(CORNERS))
    over = mixed(Mix(paste="shift", paste_size=0.25), point=CORNERS)
    assert torch.allclose(over.weight_TBK[:, 0, 0], torch.tensor([0, 1 / 16]))  # own is under it
    unmixed = mixed(Mix(paste="shift", points="unmixed"), point=CORNERS)
    assert not unmixed.weight_TBK.any()


@pytest.mark.parametrize(
    ("how", "point", "valid", "changed"),
    [
        ("in_place", [[0.3, 0.3], [NAN, NAN]], (True, True), (False, True)),
        ("shift", [[0.3, 0.3], [NAN, NAN]], (True, True), (False, False)),
        ("in_place", CORNERS, (True, False), (False, False)),
    ],
)
def test_an_image_stays_as_it_is_where_a_point_or_an_image_is_missing(how, point, valid, changed):
    result = mixed(Mix(paste=how), point=point, valid=valid)
    for index, image in enumerate(pair(8, 8)):
        assert torch.equal(result.image_BCHW[index], image) != changed[index]
        assert (result.label_BC[index, index] < 1) == changed[index]
    assert result.label_weight_B.tolist() == [float(v) for v in valid]


def test_the_probability_is_of_each_image_and_the_seed_decides_alone():
    state = np.random.get_state()[1].tolist()
    none = mixed(Mix(paste="in_place", prob=0.0), point=CORNERS)
    assert torch.equal(none.image_BCHW, pair(8, 8)) and none.weight_TBK[0].eq(1).all()
    how = Mix(paste="in_place", prob=0.5)
    seen = {
        tuple((mixed(how, point=CORNERS, seed=s).label_BC.diag() < 1).tolist()) for s in range(20)
    }
    assert len(seen) == 4
    one, other = (mixed(how, point=CORNERS, seed=3).image_BCHW for _ in range(2))
    assert torch.equal(one, other) and np.random.get_state()[1].tolist() == state


def test_the_gradient_reaches_the_pasted_pixels_by_way_of_their_own_image():
    image = pair(8, 8).requires_grad_()
    found = paste(image, torch.tensor(CORNERS), torch.tensor([True, False]), size=0.5, shift=True)
    found.image_BCHW[0].sum().backward()
    assert image.grad is not None
    assert image.grad[0].sum() == 64 - 16 and image.grad[1].sum() == 16
    assert image.grad[1, 0, 3:7, 3:7].eq(1).all()  # about pixel (5, 5)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_the_recipe_builds_and_updates_once(name, tmp_path):
    world = make_world(tmp_path / "world")
    vit = {"model.name": "test_vit", "model.patch_size": 8} if name == "vit" else {}
    recipe = override(
        find_recipe("debug:tiny_paste"),
        {"epochs": 1, "batch_size": 16, "data.image_size": 32, "data.eval_resize": 32,
         "data.fraction": 0.5, "optim.warmup_epochs": 0.0, "optim.precision": "no", **vit},
    )  # fmt: skip
    out = tmp_path / "run"
    train(recipe, data=world.data, images=world.images, val=world.val, out=out)
    finished = read_run(out)
    assert finished.recipe.mix.paste == "shift" and len(finished.epochs) == 1


@pytest.mark.parametrize("target", ["none", "trace", "dwell_time"])
def test_a_target_that_is_no_place_is_refused(target):
    base = override(find_recipe("debug:tiny"), {"mix.paste": "shift"})
    with pytest.raises(OptionError, match=r"mix\.paste needs one place|expected model\.point_head"):
        override(base, {"target": target})
    with pytest.raises(OptionError, match=r"mix\.paste is a way of mixing of its own"):
        override(base, {"mix.cutmix": 1.0})
