from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luab_train.training.losses import global_mean, label_loss, point_loss, point_loss_sum

YES = torch.tensor([True])


def test_a_constant_centre_against_uniform_points_costs_a_twentyfourth():
    # metrics.md 5.1: 0.5 / 12 a coordinate, the plateau of the random arm.
    grid = (torch.arange(200) + 0.5) / 200
    target = torch.cartesian_prod(grid, grid)
    point = torch.full_like(target, 0.5)
    loss = point_loss(point, target, torch.ones(len(target), dtype=torch.bool))
    assert loss.item() == pytest.approx(0.04167, abs=1e-5)


@pytest.mark.parametrize(("beta", "expected"), [(1.0, 0.05), (0.1, 0.25)])
def test_smooth_l1_of_the_worked_example(beta, expected):
    # metrics.md 5.2: d = (.2, -.4).
    loss = point_loss(torch.tensor([[0.7, 0.1]]), torch.tensor([[0.5, 0.5]]), YES, beta=beta)
    assert loss.item() == pytest.approx(expected)


def test_beta_one_is_half_the_squared_error_on_the_unit_square():
    point, target = torch.rand(50, 2), torch.rand(50, 2)
    loss = point_loss(point, target, torch.ones(50, dtype=torch.bool))
    assert loss.item() == pytest.approx(((point - target) ** 2).mean().item() / 2, rel=1e-5)


def test_beta_zero_is_the_absolute_error():
    loss = point_loss(torch.tensor([[0.7, 0.1]]), torch.tensor([[0.5, 0.5]]), YES, beta=0.0)
    assert loss.item() == pytest.approx(0.3)


def test_nothing_visible_costs_zero_with_a_zero_gradient_though_targets_are_nan():
    point = torch.rand(4, 2, requires_grad=True)
    loss = point_loss(point, torch.full((4, 2), torch.nan), torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(point.grad, torch.zeros(4, 2))


def test_masked_rows_change_neither_loss_nor_gradient():
    point = torch.rand(3, 2, requires_grad=True)
    target = torch.tensor([[0.1, 0.2], [torch.nan, torch.nan], [9.0, 9.0]])
    visible = torch.tensor([True, False, False])
    loss = point_loss(point, target, visible)
    loss.backward()
    alone = point_loss(point[:1], target[:1], YES)
    assert loss.item() == alone.item()
    assert torch.isfinite(point.grad).all()
    assert (point.grad[1:] == 0).all() and (point.grad[0] != 0).all()


@pytest.mark.parametrize("beta", [1.0, 0.05])
def test_gradients_agree_with_finite_differences(beta):
    torch.manual_seed(0)
    point = torch.rand(5, 2, dtype=torch.float64, requires_grad=True)
    target = torch.rand(5, 2, dtype=torch.float64)
    visible = torch.tensor([True, True, False, True, False])

    def loss(p: torch.Tensor) -> torch.Tensor:
        # The same formula in float64: the loss itself works in float32.
        d = (p[visible] - target[visible]).abs()
        return torch.where(d < beta, d**2 / 2 / beta, d - beta / 2).mean()

    assert torch.autograd.gradcheck(loss, (point,))
    by_ours = torch.autograd.grad(point_loss(point, target, visible, beta=beta), point)[0]
    by_formula = torch.autograd.grad(loss(point), point)[0]
    torch.testing.assert_close(by_ours, by_formula, rtol=1e-5, atol=1e-7)


def test_half_precision_outputs_are_averaged_in_full_precision():
    point = torch.full((3000, 2), 0.5, dtype=torch.float16)
    visible = torch.ones(3000, dtype=torch.bool)
    loss = point_loss(point, torch.zeros(3000, 2), visible)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.125)


def test_label_loss_is_cross_entropy_with_smoothing():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]]))
    label = torch.tensor([0])
    assert label_loss(logits, label).item() == pytest.approx(-np.log(0.7), rel=1e-5)
    smoothed = -(0.9 + 0.1 / 3) * np.log(0.7) - 0.1 / 3 * (np.log(0.2) + np.log(0.1))
    assert label_loss(logits, label, label_smoothing=0.1).item() == pytest.approx(
        smoothed, rel=1e-5
    )


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4))
def test_the_ranks_shares_average_to_the_loss_of_one_process(visible_of_rank):
    torch.manual_seed(0)
    world = len(visible_of_rank)
    point, target = torch.rand(world, 3, 2), torch.rand(world, 3, 2)
    visible = torch.tensor(visible_of_rank)
    sums = [point_loss_sum(point[r], target[r], visible[r]) for r in range(world)]
    count = torch.stack([n for _, n in sums]).sum()
    shares = [global_mean(s, global_count=count, world_size=world) for s, _ in sums]
    whole = point_loss(point.flatten(0, 1), target.flatten(0, 1), visible.flatten())
    # DDP averages what the ranks' losses give.
    assert torch.stack(shares).mean().item() == pytest.approx(whole.item(), rel=1e-5, abs=1e-8)
