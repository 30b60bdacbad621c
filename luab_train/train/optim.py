"""A recipe's optimiser and learning-rate schedule, both timm's."""

from __future__ import annotations

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import nn

from luab_data.errors import OptionError
from luab_train.sections import Optim

_FUSED = ("sgd", "momentum", "adam", "adamw")
"""Names of timm's that are torch's own, with one kernel for all weights."""


def make_optimizer(model: nn.Module, optim: Optim, *, fused: bool = False) -> torch.optim.Optimizer:
    """A timm optimiser by name; biases and norms are decayed only with `decay_all`.

    Args:
        fused: one kernel updates all weights, where torch has one: for a GPU, where many small
            kernels cost more than what they compute.
    """
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            model,
            opt=optim.name,
            lr=optim.lr,
            weight_decay=optim.weight_decay,
            momentum=optim.momentum,
            filter_bias_and_bn=not optim.decay_all,
            **({"fused": True} if fused and optim.name in _FUSED else {}),
        )
    except (ValueError, AssertionError, TypeError) as error:
        raise OptionError(f"optim.name={optim.name}: timm cannot make it: {error}") from error
    return optimizer


def make_schedule(
    optimizer: torch.optim.Optimizer, optim: Optim, *, epochs: int, updates: int
) -> CosineLRScheduler:
    """Linear warm-up, then cosine; `updates` an epoch. A function of the update, so never saved."""
    warmup = round(optim.warmup_epochs * updates)
    return CosineLRScheduler(
        optimizer,
        t_initial=epochs * updates,
        lr_min=optim.min_lr,
        warmup_t=warmup,
        warmup_lr_init=optim.warmup_lr if warmup else optim.lr,
        t_in_epochs=False,
    )
