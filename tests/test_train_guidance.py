"""Losses on where a network looks: the maps, the published formulas, and the update they enter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
import torch
import torch.nn.functional as F
from test_train_byproducts import points, with_columns, world  # noqa: F401
from torch import nn
from train_world import make_world, metrics_lines, small_recipe

from luab_data.errors import OptionError
from luab_train.data.loader import Batch
from luab_train.data.soft_maps import SoftMap, soft_map
from luab_train.models.classifier import build_model, build_recipe_model
from luab_train.recipe import Recipe
from luab_train.recipes import find_recipe
from luab_train.sections import Data, Loss, Model
from luab_train.settings import override
from luab_train.train import guidance
from luab_train.train.device import make_accelerator
from luab_train.train.guidance import (
    attention_maps,
    check_guidance,
    gradmask,
    guided,
    harmonizer,
    relevance,
    robustvit,
    rrr,
)
from luab_train.train.loop import train
from luab_train.train.step import ROW, Trainer

NAN = math.nan
LOSSES = ("rrr", "gradmask", "harmonizer", "robustvit")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the door ------------------------------------------------------------------------------------


def mapped(point, weight=None, *, outline=False, size=(5, 7), sigma=0.2, valid=None) -> SoftMap:
    point = torch.tensor(point)
    weight = torch.ones(point.shape[:2]) if weight is None else torch.tensor(weight)
    valid = torch.ones(len(point), dtype=torch.bool) if valid is None else torch.tensor(valid)
    return soft_map(point, weight, valid, is_outline=outline, size_hw=size, sigma=sigma)


def distances(shape, size=(5, 7)) -> np.ndarray:
    """(H, W) from the middle of each pixel, by GEOS."""
    y, x = (np.mgrid[: size[0], : size[1]] + 0.5) / np.array(size)[:, None, None]
    return shapely.distance(shapely.points(x, y), shape)


def test_a_click_is_a_gaussian_and_a_trace_the_union_of_those_about_its_points():
    found = mapped([[[0.3, 0.8], [NAN, NAN]], [[0.3, 0.8], [0.9, 0.1]]], [[1.0, 0.0], [0.5, 1.0]])
    one, other = (distances(shapely.Point(at)) for at in ((0.3, 0.8), (0.9, 0.1)))
    expected = [np.exp(-(d**2) / 2 / 0.2**2) for d in (one, np.minimum(one, other))]
    np.testing.assert_allclose(found.map_BHW, expected, rtol=1e-5)
    assert found.weight_B.tolist() == [1, 1]


@pytest.mark.parametrize(
    "corners",
    [
        [[0.2, 0.1], [0.8, 0.1], [0.8, 0.9], [0.2, 0.9]],  # a box
        [[0.2, 0.1], [0.8, 0.3], [0.5, 0.9], [0.5, 0.9]],  # a triangle, its last corner twice
        [[0.1, 0.1], [0.9, 0.1], [0.3, 0.3], [0.1, 0.9]],  # one that is not convex
        [[-0.5, 0.2], [0.4, 0.2], [0.4, 2.0], [-0.5, 2.0]],  # one that reaches outside
        [[0.2, 0.4], [0.7, 0.4], [0.7, 0.4], [0.7, 0.4]],  # a line
        [[0.6, 0.4]] * 4,  # a point
    ],
)
def test_an_outline_is_filled_and_soft_at_its_border(corners):
    found = mapped([corners], outline=True)
    shape = shapely.Polygon(corners) if len(set(map(tuple, corners))) > 2 else (
        shapely.MultiPoint(corners).convex_hull
    )  # fmt: skip
    np.testing.assert_allclose(
        found.map_BHW[0], np.exp(-(distances(shape) ** 2) / 2 / 0.2**2), rtol=1e-4, atol=1e-6
    )
    assert found.weight_B.tolist() == [1]


def test_what_cannot_be_seen_has_no_map_and_no_weight():
    found = mapped([[[0.3, 0.8]], [[NAN, NAN]], [[3.0, 0.1]], [[0.5, 0.5]]],
                   [[0.25], [0.0], [0.0], [1.0]], valid=[True, True, True, False])  # fmt: skip
    assert found.weight_B.tolist() == [0.25, 0, 0, 0] and found.map_BHW[1:].eq(0).all()
    box = [[2.0, 2.0], [3.0, 2.0], [3.0, 3.0], [2.0, 3.0]]
    found = mapped([box, [[NAN, NAN]] * 4], outline=True, sigma=0.1)
    assert found.weight_B.tolist() == [0, 0] and found.map_BHW.eq(0).all()


def test_the_corners_of_hulls_and_boxes_are_those_of_the_dataset(with_columns):  # noqa: F811
    hull = points(with_columns, "hull", **{"loss.attention": "rrr", "loss.lambda_reg": 0.0})
    np.testing.assert_allclose(hull[0], [[0, 0], [0.6, 0], [0, 0.3]], atol=1e-7)
    assert np.isnan(hull[[3, 5]]).all()  # never selected; without a hull
    box = points(with_columns, "box", **{"loss.attention": "rrr", "loss.lambda_reg": 0.0})
    side = 10 / 32
    np.testing.assert_allclose(box[0], [[0, 0], [side, 0], [side, side], [0, side]])


# --- the formulas --------------------------------------------------------------------------------


class Linear(nn.Module):
    """A network whose gradients are known: its logits are products of pixels and weights."""

    def __init__(self, classes: int = 3, size: tuple[int, int] = (4, 6)) -> None:
        super().__init__()
        self.backbone = nn.Identity()
        self.weight = nn.Parameter(torch.randn((classes, 3, *size), generator=generator(2)))

    def normalise(self, image):
        return image.float()

    def forward(self, image):
        logits = torch.einsum("bchw,lchw->bl", image, self.weight)
        return guidance.Outputs(logits, logits.new_zeros(len(logits), 1, 2))


IMAGE = torch.randn((2, 3, 4, 6), generator=generator(1)) / 4
LABEL = torch.tensor([2, 0])
SEEN = SoftMap(torch.rand((2, 4, 6), generator=generator(3)), torch.tensor([1.0, 0.5]))


def cost(attention: str, network=None, seen: SoftMap = SEEN) -> torch.Tensor:
    network = network or Linear()
    return guided(network, network, IMAGE, LABEL, seen, loss=Loss(attention=attention))[1]


def test_rrr_is_its_formula_worked_by_hand():
    weight, expected = Linear().weight.detach().double().numpy(), 0.0
    for image, seen, share in zip(IMAGE.double().numpy(), SEEN.map_BHW.numpy(), (1, 0.5),
                                  strict=True):  # fmt: skip
        scores = np.array([(image * w).sum() for w in weight])
        chance = np.exp(scores) / np.exp(scores).sum()
        # d/dx sum_k (s_k - log sum_j exp s_j) = sum_k w_k - K sum_j p_j w_j.
        slope = weight.sum(axis=0) - 3 * np.tensordot(chance, weight, 1)
        expected += share * (((1 - seen) * slope) ** 2).sum()
    assert cost("rrr").item() == pytest.approx(expected, rel=1e-5)


def test_gradmask_is_its_formula_worked_by_hand():
    weight = Linear().weight.detach().double().numpy()
    expected = sum(
        share * math.sqrt((((1 - seen) * weight[label]) ** 2).sum())
        for seen, label, share in zip(SEEN.map_BHW.numpy(), LABEL, (1, 0.5), strict=True)
    )
    assert cost("gradmask").item() == pytest.approx(expected, rel=1e-5)


def slow_pyramid(image: np.ndarray) -> list[np.ndarray]:
    levels = [image]
    kernel = np.outer((1, 4, 6, 4, 1), (1, 4, 6, 4, 1)) / 256
    for _ in range(4):
        high, wide = image.shape
        before = [max((-(-n // 2) - 1) * 2 + 5 - n, 0) // 2 for n in (high, wide)]
        halved = np.zeros((-(-high // 2), -(-wide // 2)))
        for row, column in np.ndindex(*halved.shape):
            for i, j in np.ndindex(5, 5):
                y, x = 2 * row + i - before[0], 2 * column + j - before[1]
                if 0 <= y < high and 0 <= x < wide:
                    halved[row, column] += kernel[i, j] * image[y, x]
        image = halved
        levels.append(image)
    return levels


def test_harmonizer_is_its_formula_written_out():
    weight, expected = Linear().weight.detach().double().numpy(), 0.0
    for seen, label, share in zip(SEEN.map_BHW.double().numpy(), LABEL, (1, 0.5), strict=True):
        two = []
        for values in (weight[label].mean(axis=0), seen):
            two.append(np.maximum((values - values.mean()) / (values.std() + 1e-5), 0))
        found, wanted = two
        wanted = wanted / (wanted.max() + 1e-6) * (found.max() + 1e-6)
        pairs = zip(slow_pyramid(found), slow_pyramid(wanted), strict=True)
        expected += share * np.mean([((a - b) ** 2).mean() for a, b in pairs])
    assert cost("harmonizer").item() == pytest.approx(expected, rel=1e-4)


def slow_relevance(attention: np.ndarray, slopes: np.ndarray, prefix: int) -> np.ndarray:
    """(T,) of one image, from (layers, heads, T, T) of both."""
    tokens = attention.shape[-1]
    total = np.eye(tokens)
    for layer, slope in zip(attention, slopes, strict=True):
        step = np.zeros((tokens, tokens))
        for a, g in zip(layer, slope, strict=True):
            step += np.maximum(a * g, 0) / len(layer)
        total = total + step @ total
    return total[0, prefix:]


def vit(seed: int = 0, **changes):
    torch.manual_seed(seed)
    model = Model(name="test_vit", patch_size=8)
    data = Data(image_size=24, eval_resize=24)
    return build_model(model, data, num_classes=3, **changes).eval()


def test_robustvit_is_its_formula_written_out():
    network, image = vit(), torch.randn((2, 3, 24, 24), generator=generator(1))
    seen = SoftMap(torch.rand((2, 24, 24), generator=generator(3)), torch.tensor([1.0, 0.5]))
    with attention_maps(network.backbone) as kept:
        logits = network(image).logits_BC
    assert [tuple(layer.shape) for layer in kept] == [(2, 2, 10, 10)] * 6 or len(kept) == 6
    assert all(torch.allclose(layer.sum(-1), torch.ones(())) for layer in kept)
    slopes = torch.autograd.grad(logits[[0, 1], LABEL].sum(), kept)
    expected = 0.0
    for index, share in enumerate((1, 0.5)):
        cells = slow_relevance(
            np.stack([layer[index].detach().double() for layer in kept]),
            np.stack([slope[index].double() for slope in slopes]),
            prefix=1,
        )
        grown = F.interpolate(
            torch.from_numpy(cells).view(1, 1, 3, 3), size=(24, 24), mode="bilinear"
        )[0, 0].numpy()
        grown = (grown - grown.min()) / (grown.max() - grown.min())
        here = seen.map_BHW[index].double().numpy()
        expected += share * (
            2 * ((grown * (1 - here)) ** 2).mean() + 0.3 * ((grown * here - here) ** 2).mean()
        )
    loss = Loss(attention="robustvit")
    outputs, found = guided(network, network, image, LABEL, seen, loss=loss)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(outputs.logits_BC, network(image).logits_BC)  # fused again


@pytest.mark.parametrize("formula", [rrr, gradmask, harmonizer])
def test_an_even_gradient_or_none_makes_no_number_that_is_none(formula):
    for slope in (torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)):
        slope.requires_grad_()
        found = formula(slope, torch.zeros(1, 8, 8))
        (gradient,) = torch.autograd.grad(found.sum(), slope)
        assert found.isfinite().all() and gradient.isfinite().all()
    nothing = formula(torch.randn(1, 3, 8, 8), torch.ones(1, 8, 8))
    assert formula is harmonizer or nothing.item() == 0


class Curved(Linear):
    """The same behind a bend, so that gradients depend on weights and pixels alike."""

    def forward(self, image):
        outputs = super().forward(image.tanh())
        return outputs._replace(logits_BC=outputs.logits_BC.tanh() * 2)


@pytest.mark.parametrize("attention", ["rrr", "gradmask", "harmonizer"])
def test_gradients_agree_with_finite_differences(attention):
    network, seen = Curved(), SEEN
    if attention == "harmonizer":  # the map's height is none of its slopes; an even map has none
        seen = SEEN._replace(map_BHW=torch.ones_like(SEEN.map_BHW))
    with torch.no_grad():
        network.weight /= 5
    (gradient,) = torch.autograd.grad(cost(attention, network, seen), network.weight)
    for seed in range(3):
        direction = torch.randn(gradient.shape, generator=generator(seed))
        step = 1e-3
        with torch.no_grad():
            network.weight += step * direction
        up = cost(attention, network, seen).item()
        with torch.no_grad():
            network.weight -= 2 * step * direction
        down = cost(attention, network, seen).item()
        with torch.no_grad():
            network.weight += step * direction
        slope = (gradient * direction).sum().item()
        assert slope == pytest.approx((up - down) / (2 * step), rel=2e-2, abs=2e-2)


def test_gradients_of_relevance_agree_with_finite_differences_at_slopes_that_stay():
    network = vit()
    size = torch.Size((24, 24))
    attention = [torch.rand((1, 2, 10, 10), generator=generator(i)).double() for i in range(2)]
    slopes = [torch.rand((1, 2, 10, 10), generator=generator(9 + i)).double() for i in range(2)]
    seen = torch.rand((1, 24, 24), generator=generator(5))

    def loss(first: torch.Tensor) -> torch.Tensor:
        found = relevance([first, attention[1]], slopes, network.backbone, size)
        return robustvit(found, seen).sum()

    first = attention[0].requires_grad_()
    (gradient,) = torch.autograd.grad(loss(first), first)
    direction = torch.randn(first.shape, generator=generator(7)).double()
    with torch.no_grad():
        up, down = loss(first + 3e-3 * direction), loss(first - 3e-3 * direction)
    slope = (gradient * direction).sum().item()
    assert slope == pytest.approx((up - down).item() / 6e-3, rel=3e-2)


# --- the update ----------------------------------------------------------------------------------


def recipe_of(attention: str, **changes) -> Recipe:
    return override(
        small_recipe(model=Model(name="test_vit", patch_size=8)),
        {"loss.attention": attention, "loss.lambda_reg": 0.0, "target": "click",
         "optim.name": "sgd", "optim.lr": 0.05, **changes},
    )  # fmt: skip


def batch(images: int = 8, pointed: int = 6) -> Batch:
    point = torch.rand((images, 1, 2), generator=generator(2))
    weight = (torch.arange(images) < pointed).float()[:, None]
    return Batch(
        torch.randint(0, 256, (images, 3, 32, 32), generator=generator(1), dtype=torch.uint8),
        torch.arange(images) % 3,
        torch.ones(images, dtype=torch.bool),
        torch.arange(images),
        torch.zeros(images, dtype=torch.int64),
        torch.where(weight[..., None] > 0, point, NAN),
        weight,
        torch.full((images, 2), 32),
    )


def updated(recipe: Recipe, parts: int = 1, precision: str = "no"):
    """Rows of one update and the weights after it."""
    torch.manual_seed(0)
    model = build_recipe_model(recipe, num_classes=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    accelerator = make_accelerator(precision)
    model, optimizer = accelerator.prepare(model, optimizer)
    trainer = Trainer(accelerator, model.train(), optimizer, recipe, 3)
    whole = batch()
    taken = [Batch(*columns) for columns in zip(*(c.chunk(parts) for c in whole), strict=True)]
    rows = torch.stack(trainer.update(taken, epoch=1, update=0))
    return dict(zip(ROW, rows.sum(dim=0).tolist(), strict=True)), list(model.parameters())


@pytest.mark.parametrize("attention", LOSSES)
def test_an_update_in_parts_is_one_in_all_and_the_term_reaches_the_weights(attention):
    recipe = recipe_of(attention)
    recipe = override(recipe, {"model.drop_rate": 0.0})
    row, whole = updated(recipe)
    assert row["attention"] > 0 and row["attention_weight"] == 6 and row["point_weight"] == 6
    parts, split = updated(override(recipe, {"optim.accumulate": 2}), parts=2)
    assert parts["attention"] == pytest.approx(row["attention"], rel=1e-4)
    for a, b in zip(whole, split, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    _, without = updated(override(recipe, {"loss.lambda_attention": 0.0}))
    assert any(not torch.equal(a, b) for a, b in zip(whole, without, strict=True))
    row, none = updated(override(recipe, {"target": "none"}))
    assert row["attention"] == row["attention_weight"] == 0
    for a, b in zip(without, none, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("attention", LOSSES)
def test_half_precision_gives_nearly_the_same(attention):
    recipe = recipe_of(attention)
    full, _ = updated(recipe)
    half, weights = updated(recipe, precision="bf16")
    assert half["attention"] == pytest.approx(full["attention"], rel=0.15)
    assert all(weight.isfinite().all() for weight in weights)


def test_gradients_are_taken_of_scaled_scores_and_scaled_back():
    network = Curved()
    plain = cost("gradmask", network)
    loss = Loss(attention="gradmask")
    scaled = guided(network, network, IMAGE, LABEL, SEEN, loss=loss, scale=1024.0)[1]
    assert scaled.item() == pytest.approx(plain.item(), rel=1e-5)
    kept, image = vit(), torch.randn((2, 3, 24, 24), generator=generator(1))
    seen = SoftMap(torch.rand((2, 24, 24), generator=generator(3)), torch.ones(2))
    one, other = (
        guided(kept, kept, image, LABEL, seen, loss=Loss(attention="robustvit"), scale=s)[1]
        for s in (1.0, 1024.0)
    )
    assert one.item() == pytest.approx(other.item(), rel=1e-5)


@pytest.mark.parametrize("attention", ["rrr", "robustvit"])
def test_the_recipe_trains_and_says_what_attention_costs(attention, tmp_path):
    made = make_world(tmp_path / "world", num_val=2, per_class=8)
    recipe = override(
        find_recipe(f"debug:tiny_{attention}"),
        {"epochs": 1, "batch_size": 12, "data.image_size": 32, "data.eval_resize": 32,
         "optim.warmup_epochs": 0.0, "optim.precision": "no",
         "target": "box" if attention == "rrr" else "click"},
    )  # fmt: skip
    run = tmp_path / "run"
    train(recipe, data=made.data, images=made.images, val=made.val, out=run, shown=False)
    (line,) = metrics_lines(run)
    assert line["train_attention_loss"] > 0
    assert (line["train_points"] == 0) == (attention == "rrr")  # corners are no points


def test_gradients_leave_what_is_off_the_map():
    network = vit().train()
    image, label = torch.randn((8, 3, 24, 24), generator=generator(1)), torch.arange(8) % 3
    half = torch.zeros(8, 24, 24)
    half[:, :12] = 1
    seen, loss = SoftMap(half, torch.ones(8)), Loss(attention="gradmask")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    costs = []
    for _ in range(10):
        outputs, total = guided(network, network, image, label, seen, loss=loss)
        (F.cross_entropy(outputs.logits_BC, label) + 10 * total / 8).backward()
        optimizer.step()
        optimizer.zero_grad()
        costs.append(total.item())
    assert costs[-1] < 0.5 * costs[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "box"}, r"target box is an area.*expected loss\.attention, and loss\.lambda"),
        ({"loss.attention": "rrr", "target": "hull"}, "target hull is an area"),
        ({"loss.attention": "rrr", "target": "dwell_time"}, "asks for a place or an area"),
        ({"loss.attention": "rrr", "mix.mixup": "0.2"}, "has no map of mixed images"),
        ({"loss.attention": "rrr", "engine.compile": "true"}, "which torch.compile does not"),
        ({"loss.attention": "rrr", "data.dataset": "coco-ab", "loss.classification": "bce"},
         "of one label an image"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        override(small_recipe(), changes)


def test_a_network_without_what_a_loss_needs_is_refused():
    torch.manual_seed(0)
    data = Data(image_size=64, eval_resize=64)
    cnn = build_model(Model(name="test_resnet"), data, num_classes=3)
    with pytest.raises(OptionError, match=r"robustvit: ResNet has no relevance .* gradmask or har"):
        check_guidance(cnn, Loss(attention="robustvit"), 64)
    before = [weight.clone() for weight in cnn.state_dict().values()]
    check_guidance(cnn, Loss(attention="rrr"), 64)
    for a, b in zip(before, cnn.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert cnn.training

    class Slope(torch.autograd.Function):
        @staticmethod
        def forward(ctx, slope):
            return slope.clone()

        @staticmethod
        def backward(ctx, _):
            raise NotImplementedError("derivative of it is not implemented")

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.relu()

        @staticmethod
        def backward(ctx, slope):
            return Slope.apply(slope)

    class Act(nn.Module):
        def forward(self, x):
            return Once.apply(x)

    cnn.backbone.act1 = Act()
    with pytest.raises(OptionError, match=r"gradients of its own \(derivative of it is not"):
        check_guidance(cnn, Loss(attention="rrr"), 64)
