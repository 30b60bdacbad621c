"""A complete run of the trainer on drawn images of the miniatures' classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from train_world import row, small_recipe, write_dataset

from luab_train.sections import Optim
from luab_train.settings import override
from luab_train.train.loop import train
from miniatures.palette import CLASSES, COLOUR, SIZE, flat, save


def make_run(
    root: Path, *, classes: tuple[str, ...] = CLASSES, per_class: int = 2, changes=None
) -> Path:
    """One epoch of the smallest network; `root/run`."""
    rng = np.random.default_rng(0)
    rows = []
    for label, wnid in enumerate(classes):
        for number in range(per_class):
            save(flat(COLOUR[wnid], rng), root / "train" / wnid / f"{wnid}_{number}.png")
            drawn = row(f"{wnid}_{number}", 0, box=[4.0, 4.0, 20.0, 20.0])
            rows.append({**drawn, "wnid": wnid, "label": label, "width": SIZE, "height": SIZE})
    data = write_dataset(root / "imagenet-ab", rows)
    optim = Optim(name="adamw", lr=2e-3, weight_decay=0.05, warmup_epochs=0, precision="no")
    recipe = override(small_recipe(epochs=1, optim=optim), changes or {})
    train(recipe, data=data, images=root / "train", out=root / "run", shown=False)
    return root / "run"
