"""One update of the weights: batches of a loader in, gradients and a row of sums out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from luab_data.errors import LuabError
from luab_train.data.geometry import update_seed
from luab_train.data.loader import Batch
from luab_train.data.mixing import mix, random_erase
from luab_train.data.soft_maps import soft_map
from luab_train.models.classifier import LuabModel, Outputs
from luab_train.recipe import Recipe
from luab_train.sections import OUTLINES
from luab_train.train.guidance import guided
from luab_train.train.losses import Targets, global_mean, label_term, per_image, point_term


@dataclass(frozen=True)
class Trainer:
    """What an update needs, prepared by the accelerator."""

    accelerator: Accelerator
    model: nn.Module
    optimizer: Any
    recipe: Recipe
    num_classes: int
    ema: ModelEmaV3 | None = None

    @cached_property
    def network(self) -> LuabModel:
        """What `model` wraps for processes and precision."""
        network: LuabModel = self.accelerator.unwrap_model(self.model)
        return network

    def update(
        self, batches: Sequence[Batch], *, epoch: int, update: int, done: int = 0
    ) -> list[Tensor]:
        """Train on the parts of one global batch, as if they had come at once.

        Args:
            batches: this process' parts, `optim.accumulate` of them.
            epoch: from 1.
            update: within the epoch, from 0.
            done: updates of the run before this one; an average of weights warms up with them.
        Returns: one row of `ROW` a part, on the device; nothing here waits for it.
        """
        rank = self.accelerator.process_index
        recipe, accelerator = self.recipe, self.accelerator
        torch.manual_seed(update_seed(recipe.seed, epoch, update, rank))
        prepared = [
            self._prepare(batch, update_seed(recipe.seed, epoch, update, rank, part))
            for part, batch in enumerate(batches, 1)
        ]
        weight = torch.stack([targets.weights() for _, targets in prepared]).sum(dim=0)
        # Summed over processes while the first part goes through the network.
        summed = dist.all_reduce(weight, async_op=True) if accelerator.num_processes > 1 else None
        rows = []
        for part, (image_BCHW, targets) in enumerate(prepared):
            last = part == len(prepared) - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                outputs, attention = self._answers(image_BCHW, targets)
                label = label_term(outputs.logits_BC, targets, recipe.loss)
                point = point_term(outputs, targets, recipe.loss, recipe.model)
                world = accelerator.num_processes
                if summed is not None:
                    summed.wait()
                total = global_mean(label, global_weight=weight[0], world_size=world)
                total = total + recipe.loss.lambda_reg * global_mean(
                    point, global_weight=weight[1], world_size=world
                )
                if attention is not None:
                    total = total + recipe.loss.lambda_attention * global_mean(
                        attention, global_weight=weight[2], world_size=world
                    )
                accelerator.backward(total)
            terms = (label, point, total, attention)
            rows.append(_row(terms, targets, outputs.logits_BC, batches[part]))
        if recipe.optim.clip_grad is not None:
            accelerator.clip_grad_norm_(self.model.parameters(), recipe.optim.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.network, step=done + 1)
        return rows

    def judged(self) -> nn.Module:
        """The network that is validated and saved: the average of weights, if there is one.
        Statistics of its batch norms, each process' own, become those of the first: all processes
        must ask.
        """
        if self.ema is None:
            return self.model
        module: nn.Module = self.ema.module
        if self.accelerator.num_processes > 1:
            for own in module.buffers():
                own.copy_(broadcast(own))
        return module

    def check_weights(self) -> None:
        """To be called before they are saved: an update may ruin them after its loss was fine.

        Raises: LuabError if a weight is no number; in all processes, for they hold the same.
        """
        wrong = [
            name for name, value in self.model.named_parameters() if not value.isfinite().all()
        ]
        if wrong:
            raise LuabError(
                f"{len(wrong)} weights are not finite after the last update, e.g. {wrong[0]};"
                " the last checkpoint is kept. Lower optim.lr, set optim.clip_grad=1, or use"
                " optim.precision=no"
            )

    def _answers(self, image_BCHW: Tensor, targets: Targets) -> tuple[Outputs, Tensor | None]:
        """Of the network, and the sum of what its attention costs, if that is asked for."""
        if targets.seen is None:
            return self.model(image_BCHW), None
        half = self.accelerator.mixed_precision == "fp16"
        return guided(
            self.model, self.network, image_BCHW, targets.label, targets.seen,
            loss=self.recipe.loss, scale=1024.0 if half else 1.0,
        )  # fmt: skip

    def _prepare(self, batch: Batch, seed: int) -> tuple[Tensor, Targets]:
        """Erase and mix on the device; without either the image stays uint8."""
        recipe = self.recipe
        image_BCHW = batch.image_BCHW
        if not recipe.engine.channels_last:
            image_BCHW = image_BCHW.contiguous()  # as the loader stacks them, channels are last
        mixing = recipe.mix.on
        if mixing or recipe.data.random_erase:
            image_BCHW = random_erase(
                self.network.normalise(image_BCHW), probability=recipe.data.random_erase, seed=seed
            )
        targets = Targets(
            batch.label, batch.valid_B.float(), batch.point_BKD[None], batch.weight_BK[None]
        )
        if mixing:
            image_BCHW, label, label_weight_B, point_TBKD, weight_TBK = mix(
                image_BCHW,
                batch.label,
                batch.point_BKD,
                batch.weight_BK,
                batch.valid_B,
                settings=recipe.mix,
                num_classes=self.num_classes,
                label_smoothing=recipe.loss.label_smoothing,
                seed=seed,
            )
            targets = Targets(label, label_weight_B, point_TBKD, weight_TBK)
        if recipe.loss.attention is not None and recipe.target != "none":
            is_outline = recipe.target in OUTLINES
            seen = soft_map(
                batch.point_BKD, batch.weight_BK, batch.valid_B, is_outline=is_outline,
                size_hw=image_BCHW.shape[-2:], sigma=recipe.loss.map_sigma,
            )  # fmt: skip
            weight_TBK = targets.weight_TBK * (not is_outline)  # corners are no points
            targets = targets._replace(seen=seen, weight_TBK=weight_TBK)
        if recipe.loss.point_mean == "images":
            targets = targets._replace(weight_TBK=per_image(targets.weight_TBK))
        return image_BCHW, targets


ROW = (
    *("label", "label_weight", "point", "point_weight", "points", "loss"),
    *("unreadable", "correct"),
    *("attention", "attention_weight"),
)
"""Sums over the images of a part: see `_row`."""


def _row(
    terms: tuple[Tensor, Tensor, Tensor, Tensor | None],
    targets: Targets,
    logits_BC: Tensor,
    batch: Batch,
) -> Tensor:
    """(10,) the weighted sum and the weight of the first two terms, targets that count, what is
    minimised, images that could not be decoded, images whose one label is the likeliest, and the
    sum and the weight of the term of attention.
    """
    label, point, total, attention = terms
    weight = targets.weights()
    points = (targets.weight_TBK > 0).sum().float()
    unreadable = (~batch.valid_B).sum().float()
    correct = torch.zeros_like(unreadable)
    if targets.label.ndim == 1:
        correct = ((logits_BC.detach().argmax(dim=1) == batch.label) & batch.valid_B).sum().float()
    return torch.stack(
        [
            *(label.detach(), weight[0], point.detach(), weight[1], points, total.detach()),
            *(unreadable, correct),
            *(torch.zeros_like(total) if attention is None else attention.detach(), weight[2]),
        ]
    )
