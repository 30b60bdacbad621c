"""Accuracy of each group and of the worst, of finished runs.     [I/O]

    luab-train run debug:tiny --target none --seed 0 --data WORK/imagenet-ab --images WORK/train
        --val WORK/val --out WORK/runs/none-s0
    python results/spurious/groups.py --work WORK >> groups.jsonl

A line a run: hits and images of each group, the worst group's accuracy, the mean over groups, and
the gap between own and other textures, in percent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from prepare import GROUPS

from luab_train import evaluate
from luab_train.metrics.robustness import worst_group


def measures(hits: Mapping[str, int], num: Mapping[str, int]) -> dict[str, float]:
    """Percent, from right answers and images of every group."""
    sums, n = (np.array([[each[group] for group in GROUPS]], float) for each in (hits, num))
    own = np.array([*GROUPS.values()])
    share = 100 * sums[0] / n[0]
    return {
        "worst_group": float(worst_group(sums, n)[0]),
        "mean_group": float(share.mean()),
        "background_gap": float(share[own].mean() - share[~own].mean()),
    }


def row_of(run: Path, work: Path) -> dict[str, Any]:
    """Put one run to all groups."""
    hits, num = {}, {}
    for group in GROUPS:
        found = evaluate(run, images=work / "test" / group, name=group)
        num[group] = int(found["num_images"])
        hits[group] = round(found["accuracy"] * num[group])
    return {"key": run.name, "hits": hits, "images": num, **measures(hits, num)}


@click.command()
@click.option("--work", type=click.Path(path_type=Path, exists=True), required=True,
              help="Folder that prepare.py made, with runs in WORK/runs.")  # fmt: skip
def main(work: Path) -> None:
    """Print a line a run."""
    for run in sorted(path.parent for path in (work / "runs").glob("*/model.safetensors")):
        click.echo(json.dumps(row_of(run, work)))


if __name__ == "__main__":
    main()
