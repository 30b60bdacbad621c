from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from luab_train.models.attention import cell_targets
from luab_train.models.classifier import Outputs
from luab_train.sections import Loss, Model
from luab_train.train.losses import (
    Targets,
    global_mean,
    label_term,
    map_term,
    per_image,
    point_term,
    regression_term,
)


def point_loss(point, target, weight, **changes) -> torch.Tensor:
    """Mean over the points (B, 2) of one process: what a run with one point an image minimises."""
    weight = torch.as_tensor(weight, dtype=torch.float32)[None, :, None]
    total = regression_term(point[:, None], target[None, :, None], weight, Loss(**changes))
    return global_mean(total, global_weight=weight.sum(), world_size=1)


def labelled(label, weight=None) -> Targets:
    weight = torch.ones(len(label)) if weight is None else torch.tensor(weight)
    nothing = torch.zeros(1, len(label), 1)
    return Targets(label, weight, torch.zeros(1, len(label), 1, 2), nothing)


def test_a_constant_centre_against_uniform_points_costs_a_twentyfourth():
    # docs/definitions.md#objective: 0.5 / 12 a coordinate, the plateau of the random arm.
    grid = (torch.arange(200) + 0.5) / 200
    target = torch.cartesian_prod(grid, grid)
    loss = point_loss(torch.full_like(target, 0.5), target, torch.ones(len(target)))
    assert loss.item() == pytest.approx(0.04167, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"beta": 1.0}, 0.05), ({"beta": 0.1}, 0.25), ({"regression": "mse"}, 0.10),
     ({"regression": "l1"}, 0.30), ({"beta": 0.0}, 0.30)],
)  # fmt: skip
def test_the_losses_of_the_worked_example(changes, expected):
    # docs/definitions.md#beta: d = (.2, -.4).
    loss = point_loss(torch.tensor([[0.7, 0.1]]), torch.tensor([[0.5, 0.5]]), [1], **changes)
    assert loss.item() == pytest.approx(expected)


def test_beta_one_is_half_the_squared_error_on_the_unit_square():
    point, target = torch.rand(50, 2), torch.rand(50, 2)
    smooth, squared = (
        point_loss(point, target, torch.ones(50), regression=kind) for kind in ("smooth_l1", "mse")
    )
    assert smooth.item() == pytest.approx(squared.item() / 2, rel=1e-5)


def test_nothing_to_learn_costs_zero_with_a_zero_gradient_though_targets_are_nan():
    point = torch.rand(4, 2, requires_grad=True)
    loss = point_loss(point, torch.full((4, 2), torch.nan), torch.zeros(4))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(point.grad, torch.zeros(4, 2))


def test_rows_without_weight_change_neither_loss_nor_gradient():
    point = torch.rand(3, 2, requires_grad=True)
    target = torch.tensor([[0.1, 0.2], [torch.nan, torch.nan], [9.0, 9.0]])
    loss = point_loss(point, target, [1, 0, 0])
    loss.backward()
    assert loss.item() == point_loss(point[:1], target[:1], [1]).item()
    assert torch.isfinite(point.grad).all()
    assert (point.grad[1:] == 0).all() and (point.grad[0] != 0).all()


def test_a_weight_counts_a_point_as_often_as_it_says():
    point, target = torch.rand(3, 2), torch.rand(3, 2)
    weighted = point_loss(point, target, [2.0, 1.0, 0.0])
    repeated = point_loss(point[[0, 0, 1]], target[[0, 0, 1]], [1, 1, 1])
    assert weighted.item() == pytest.approx(repeated.item(), rel=1e-5)


def test_less_than_one_image_in_all_is_not_blown_up():
    # docs/definitions.md#unknowns: sum / max(1, number).
    whole = point_loss(torch.tensor([[0.7, 0.1]]), torch.tensor([[0.5, 0.5]]), [1.0])
    half = point_loss(torch.tensor([[0.7, 0.1]]), torch.tensor([[0.5, 0.5]]), [0.5])
    assert half.item() == pytest.approx(whole.item() / 2)


def test_an_image_with_many_points_counts_as_one_with_few():
    # Three points of cost 1, 1, 4 in one image, one of cost 3 in another.
    point = torch.zeros(2, 3, 1)
    target = torch.tensor([[1.0, 1.0, 2.0], [3.0**0.5, torch.nan, torch.nan]])[None, ..., None]
    weight = torch.tensor([[[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]])
    for each, expected in ((per_image(weight), (2 + 3) / 2), (weight, (1 + 1 + 4 + 3) / 4)):
        total = regression_term(point, target, each, Loss(regression="mse"))
        mean = global_mean(total, global_weight=each.sum(), world_size=1)
        assert mean.item() == pytest.approx(expected)


def test_the_mean_of_an_image_keeps_its_reliability():
    weight = torch.tensor([[[0.4, 0.2, 0.2], [0.0, 0.0, 0.0]]])
    torch.testing.assert_close(per_image(weight).sum(dim=2), torch.tensor([[0.4, 0.0]]))
    alone = torch.tensor([[[0.3], [1.0]]])
    assert torch.equal(per_image(alone), alone)


@pytest.mark.parametrize("changes", [{"beta": 1.0}, {"beta": 0.05}, {"regression": "mse"},
                                     {"regression": "l1"}])  # fmt: skip
def test_gradients_of_a_regression_agree_with_finite_differences(changes):
    torch.manual_seed(0)
    point = torch.rand(5, 2, dtype=torch.float64, requires_grad=True)
    target = torch.rand(5, 2, dtype=torch.float64)
    weight = torch.tensor([1.0, 0.5, 0, 1, 0], dtype=torch.float64)
    beta = changes.get("beta", 1.0)

    def loss(p: torch.Tensor) -> torch.Tensor:
        # The same formula in float64: the loss itself works in float32.
        d = (p - target).abs()
        each = {"mse": d**2, "l1": d}.get(
            changes.get("regression", ""), torch.where(d < beta, d**2 / 2 / beta, d - beta / 2)
        )
        return (each.mean(dim=1) * weight).sum() / weight.sum()

    assert torch.autograd.gradcheck(loss, (point,))
    by_ours = torch.autograd.grad(point_loss(point, target, weight, **changes), point)[0]
    by_formula = torch.autograd.grad(loss(point), point)[0]
    torch.testing.assert_close(by_ours, by_formula, rtol=1e-5, atol=1e-7)


def numbers(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["ce", "ce-soft", "bce", "bce-soft", "map"])
def test_gradients_of_the_other_losses_agree_with_finite_differences(kind):
    """Central differences of the loss itself, in float32: what autograd says, to 1 %."""
    logits = numbers((4, 3)).float().requires_grad_()
    label = torch.tensor([0, 2, 1, 1])
    soft = numbers((4, 3), seed=1).softmax(1).float()
    targets = labelled(soft if kind.endswith("soft") else label, [1.0, 0.0, 1.0, 0.3])

    def loss(x: torch.Tensor) -> torch.Tensor:
        if kind == "map":
            point = torch.tensor([[[0.2, 0.9]], [[0.5, 0.5]], [[1.0, 0.0]], [[0.3, 0.3]]])
            weight = torch.tensor([[[1.0], [0.0], [0.5], [1.0]]])
            attention = torch.cat([x, x], dim=1).view(4, 2, 3).flatten(1).log_softmax(1)
            return map_term(attention.view(4, 2, 3), point[None], weight, 0.2)
        return label_term(
            x, targets, Loss(classification=kind[:3].rstrip("-"), label_smoothing=0.1)
        )

    (gradient,) = torch.autograd.grad(loss(logits), logits)
    for i in range(4):
        for j in range(3):
            step = torch.zeros_like(logits)
            step[i, j] = 1e-2
            slope = (loss(logits + step) - loss(logits - step)) / 2e-2
            assert gradient[i, j].item() == pytest.approx(slope.item(), rel=1e-2, abs=1e-3)


def test_half_precision_outputs_are_averaged_in_full_precision():
    point = torch.full((3000, 2), 0.5, dtype=torch.float16)
    loss = point_loss(point, torch.zeros(3000, 2), torch.ones(3000))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.125)


def test_label_term_is_cross_entropy_with_smoothing():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]]))
    targets = labelled(torch.tensor([0]))
    assert label_term(logits, targets, Loss()).item() == pytest.approx(-np.log(0.7), rel=1e-5)
    smoothed = -(0.9 + 0.1 / 3) * np.log(0.7) - 0.1 / 3 * (np.log(0.2) + np.log(0.1))
    found = label_term(logits, targets, Loss(label_smoothing=0.1))
    assert found.item() == pytest.approx(smoothed, rel=1e-5)
    # Mixed labels come smoothed already.
    soft = torch.tensor([[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]])
    again = label_term(logits, labelled(soft), Loss(label_smoothing=0.1))
    assert again.item() == pytest.approx(smoothed, rel=1e-5)


def test_binary_cross_entropy_is_a_mean_over_classes():
    logits, label = numbers((5, 7)).float(), torch.tensor([0, 3, 6, 2, 2])
    loss = Loss(classification="bce")
    expected = F.binary_cross_entropy_with_logits(logits, F.one_hot(label, 7).float())
    assert label_term(logits, labelled(label), loss).item() / 5 == pytest.approx(expected.item())
    several = (numbers((5, 7), seed=2) > 0).float()
    expected = F.binary_cross_entropy_with_logits(logits, several)
    assert label_term(logits, labelled(several), loss).item() / 5 == pytest.approx(expected.item())


@pytest.mark.parametrize("loss", [Loss(), Loss(classification="bce")])
def test_an_image_left_out_counts_for_nothing_though_its_scores_are_nan(loss):
    logits = numbers((3, 4)).float()
    logits[1] = torch.nan
    label = torch.tensor([0, 1, 3])
    found = label_term(logits, labelled(label, [1.0, 0.0, 1.0]), loss)
    kept = label_term(logits[[0, 2]], labelled(label[[0, 2]]), loss)
    assert found.item() == pytest.approx(kept.item())


def test_a_map_that_is_the_target_costs_nothing_and_any_other_costs_more():
    outputs = numbers((1, 4, 5)).float().flatten(1).log_softmax(1).view(1, 4, 5)
    point, weight = torch.tensor([[[[0.3, 0.6]]]]), torch.ones(1, 1, 1)
    perfect = cell_targets(point[0], weight[0], (4, 5), 0.2).log()
    assert map_term(perfect, point, weight, 0.2).item() == pytest.approx(0, abs=1e-6)
    assert map_term(outputs, point, weight, 0.2).item() > 0.1


def test_the_head_decides_which_term_it_is():
    targets = Targets(torch.tensor([0]), torch.ones(1), torch.full((1, 1, 1, 2), 0.5),
                      torch.ones(1, 1, 1))  # fmt: skip
    point = torch.full((1, 1, 2), 0.7)
    uniform = torch.full((1, 2, 2), np.log(1 / 4))
    by_point = point_term(Outputs(torch.zeros(1, 2), point), targets, Loss(), Model(name="x"))
    assert by_point.item() == pytest.approx(0.02)
    # The point in the middle of 2 x 2 cells is as near to each: a uniform map is right.
    by_map = point_term(
        Outputs(torch.zeros(1, 2), point, uniform), targets, Loss(), Model(name="x")
    )
    assert by_map.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("attention", [None, (1, 4, 5)])
def test_no_term_makes_a_gpu_wait_for_what_its_numbers_are(attention):
    # Tensors without content answer every question about shapes and none about numbers.
    with torch.device("meta"):
        targets = Targets(torch.zeros(1, dtype=torch.int64), torch.ones(1),
                          torch.zeros(2, 1, 3, 2), torch.ones(2, 1, 3))  # fmt: skip
        outputs = Outputs(torch.zeros(1, 4), torch.zeros(1, 3, 2),
                          None if attention is None else torch.zeros(attention))  # fmt: skip
        loss = Loss()
        terms = [label_term(outputs.logits_BC, targets, loss)]
        terms += [point_term(outputs, targets, loss, Model(name="x"))]
        terms += [targets.weights(), per_image(targets.weight_TBK)]
    assert all(term.is_meta for term in terms)


def test_an_image_without_points_has_no_map_to_learn():
    outputs = numbers((2, 4, 5)).float().flatten(1).log_softmax(1).view(2, 4, 5)
    outputs[1] = torch.nan
    outputs.requires_grad_()
    point, weight = torch.full((1, 2, 1, 2), 0.3), torch.tensor([[[1.0], [0.0]]])
    point[:, 1] = torch.nan
    cost = map_term(outputs, point, weight, 0.2)
    assert cost.item() == map_term(outputs[:1], point[:, :1], weight[:, :1], 0.2).item()
    cost.backward()
    assert (outputs.grad[1] == 0).all() and (outputs.grad[0] != 0).any()
    assert torch.equal(cell_targets(point[0], weight[0], (4, 5), 0.2)[1], torch.zeros(4, 5))


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4))
def test_the_ranks_shares_average_to_the_loss_of_one_process(visible_of_rank):
    torch.manual_seed(0)
    world = len(visible_of_rank)
    point, target = torch.rand(world, 3, 2), torch.rand(world, 3, 2)
    weight = torch.tensor(visible_of_rank).float()
    sums = [
        regression_term(point[r][:, None], target[r][None, :, None], weight[r][None, :, None],
                        Loss())
        for r in range(world)
    ]  # fmt: skip
    shares = [global_mean(s, global_weight=weight.sum(), world_size=world) for s in sums]
    whole = point_loss(point.flatten(0, 1), target.flatten(0, 1), weight.flatten())
    # DDP averages what the ranks' losses give.
    assert torch.stack(shares).mean().item() == pytest.approx(whole.item(), rel=1e-5, abs=1e-8)
