"""Sums of an epoch, and the watch over them: a loss that is no number stops the run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from luab_data.errors import LuabError
from luab_train.data.loader import Batch, Samples, collate
from luab_train.train.step import ROW

# Parts of updates between two looks at the loss: each look waits for the GPU.
_LOOK_EVERY = 20
_LOSS = ROW.index("loss")


class EpochSums:
    """Sums of an epoch. Saved with a checkpoint, so that a resumed epoch reports the whole."""

    def __init__(
        self, accelerator: Accelerator, samples: Samples, run: Path, *, judges: bool = True
    ) -> None:
        """See the class.

        Args:
            samples, run: to save a batch whose loss is no number.
            judges: whether an image has one label, so that a prediction is right or wrong.
        """
        self.accelerator = accelerator
        self.samples = samples
        self.run = run
        self.judges = judges
        self.epoch = 0
        """For errors."""
        self.begin()

    def begin(self) -> None:
        """Forget all."""
        self.sums = torch.zeros(len(ROW), dtype=torch.float64)
        self.updates = 0
        self.unreadable: set[str] = set()
        self._waiting: list[tuple[int, Tensor, Batch]] = []

    def add(self, update: int, rows: list[Tensor], batches: list[Batch]) -> bool:
        """Count the parts of an update of this process; `update` from 0. True if `means` are those
        of all that was added.
        """
        # Pixels are not kept: a sample is made again from its index.
        self._waiting += [
            (update, row, batch._replace(image_BCHW=row))
            for row, batch in zip(rows, batches, strict=True)
        ]
        self.updates += 1
        if len(self._waiting) >= _LOOK_EVERY:
            self.look()
        return not self._waiting

    def look(self) -> None:
        """Wait for the device and take in what was added.

        Raises: LuabError at a loss that is not finite; its batch is saved in the run's folder.
        """
        if not self._waiting:
            return
        rows = torch.stack([row for _, row, _ in self._waiting]).cpu().double()
        valid = torch.stack([batch.valid_B.all() for _, _, batch in self._waiting]).cpu()
        bad = (~rows.isfinite()).any(dim=1).nonzero().flatten().tolist()
        first = self._first_of_all(bad[0] if bad else len(rows))
        if first < len(rows):
            update, _, batch = self._waiting[first]
            self._stop(update, batch, rows[first])
        for (_, _, batch), all_valid in zip(self._waiting, valid.tolist(), strict=True):
            if not all_valid:
                index = batch.index_B[~batch.valid_B].tolist()
                self.unreadable |= {str(self.samples.split.image_id[i]) for i in index}
        self.sums += rows.sum(dim=0)
        self._waiting.clear()

    def _first_of_all(self, part: int) -> int:
        """The least over the processes, so that all stop together and at the same update: a weight
        that is no number is one in all of them by the next.
        """
        if self.accelerator.num_processes == 1:
            return part
        mine = torch.tensor([part], device=self.accelerator.device)
        return int(self.accelerator.gather(mine).min())

    def _stop(self, update: int, batch: Batch, row: Tensor) -> None:
        where = f"at epoch {self.epoch}, update {update + 1}"
        advice = "Lower optim.lr, set optim.clip_grad=1, or use optim.precision=no"
        if row.isfinite().all():
            raise LuabError(f"loss is not finite in another process {where}. {advice}")
        index, view = batch.index_B.tolist(), batch.view_B.tolist()
        keys = [(self.epoch, i, v) for i, v in zip(index, view, strict=True)]
        again = collate([self.samples[key] for key in keys])
        file = self.run / f"bad_batch_{self.accelerator.process_index}.pt"
        content: dict[str, Any] = {
            **again._asdict(),
            "image_id": [str(self.samples.split.image_id[i]) for i in index],
            "epoch": self.epoch,
            "update": update + 1,
            "sums": dict(zip(ROW, row.tolist(), strict=True)),
        }
        torch.save(content, file)
        raise LuabError(
            f"loss is {row[_LOSS].item()} {where}; its batch is in {file}, the last checkpoint is"
            f" kept. {advice}"
        )

    def gather(self) -> None:
        """Bring the sums of all processes together in the first; the others start from 0."""
        self.look()
        accelerator = self.accelerator
        if accelerator.num_processes > 1:
            sums = accelerator.gather(self.sums.to(accelerator.device)[None])
            self.load_state_dict(
                {
                    "sums": sums.cpu().sum(dim=0),
                    "updates": self.updates,
                    "unreadable": gather_object(sorted(self.unreadable)),
                }
            )

    def state_dict(self) -> dict[str, Any]:
        """After `gather`: what the first process holds."""
        return {
            "sums": self.sums,
            "updates": self.updates,
            "unreadable": sorted(self.unreadable),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; only the first process takes the sums."""
        first = self.accelerator.is_main_process
        self.sums = torch.zeros(len(ROW), dtype=torch.float64)
        if first:  # an older version had fewer
            self.sums[: len(state["sums"])] = state["sums"]
        self.updates = state["updates"]
        self.unreadable = set(state.get("unreadable", ())) if first else set()

    def result(self) -> dict[str, float]:
        """The epoch's numbers, alike in the first process only; NaN for a mean over nothing."""
        self.gather()
        return self.means() | self._unreadable()

    def means(self) -> dict[str, float]:
        """Of what was looked at so far, by this process."""
        sums = dict(zip(ROW, self.sums.tolist(), strict=True))
        images, weight = sums["label_weight"], sums["point_weight"]
        found = {
            "train_images": int(images),
            "train_points": int(sums["points"]),
            "train_label_loss": sums["label"] / images if images else math.nan,
            "train_point_loss": sums["point"] / weight if weight else math.nan,
            "train_loss": sums["loss"] / max(self.updates * self.accelerator.num_processes, 1),
        }
        if sums["attention_weight"]:
            found["train_attention_loss"] = sums["attention"] / sums["attention_weight"]
        if self.judges:
            found["train_accuracy"] = sums["correct"] / images if images else math.nan
        return found

    def _unreadable(self) -> dict[str, float]:
        unreadable = int(self.sums[ROW.index("unreadable")])
        return {"train_unreadable": unreadable} if unreadable else {}
