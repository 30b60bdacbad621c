"""Validation of every epoch of every run: gathered once, drawn as curves.     [I/O]

    python results/tiny-imagenet/curves.py --work WORK

writes curves.csv, a line a run and epoch; validation is on `val`, 50 images a class.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from experiments import ARMS, MODELS

from luab_data.figures.style import legend_below, new_figure, png
from luab_train.report.draw import ARM_COLOURS
from luab_train.report.runs import read_run

CURVES = Path(__file__).with_name("curves.csv")
PANELS = {
    "val_accuracy": "validation accuracy, %",
    "val_localisation_off_centre": "point in box, off centre, %",
    "train_label_loss": "training label loss, nats",
}
_SCALE = {"train_label_loss": 1.0}


def gather_curves(runs: Path, out: Path) -> int:
    """Write the epochs of all finished runs; how many lines."""
    lines: list[dict[str, Any]] = []
    for file in sorted(runs.glob("*/model.safetensors")):
        for epoch in read_run(file.parent).epochs:
            numbers = {name: f"{epoch[name]:.5g}" for name in PANELS if name in epoch}
            lines.append({"key": file.parent.name, "epoch": int(epoch["epoch"]), **numbers})
    with open(out, "w", newline="") as handle:
        writer = csv.DictWriter(handle, ["key", "epoch", *PANELS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return len(lines)


def read_curves(file: Path) -> dict[str, dict[str, np.ndarray]]:
    """Key of a run -> name of a panel -> (epochs,) numbers, NaN where there is none."""
    lines: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    with open(file, newline="") as handle:
        for line in csv.DictReader(handle):
            lines[line["key"]].append(line)
    return {
        key: {name: np.array([float(e[name] or "nan") for e in epochs]) for name in PANELS}
        for key, epochs in lines.items()
    }


def draw_curves(file: Path) -> bytes:
    """One panel a metric and model; a line is the mean over seeds, its band lowest to highest."""
    curves = read_curves(file)
    models = [m for m in MODELS if any(key.startswith(f"arms-{m}-") for key in curves)]
    figure, axes = new_figure(len(PANELS), len(models), height=5.2, width=3.4 * len(models))
    for (name, title), line in zip(PANELS.items(), axes, strict=True):
        for model, ax in zip(models, line, strict=True):
            for arm in ARMS:
                of_arm = [
                    c[name] for k, c in curves.items() if k.startswith(f"arms-{model}-{arm}-")
                ]
                if not of_arm or (arm == "none" and "localisation" in name):
                    continue  # the head of `none` is untrained
                values = _SCALE.get(name, 100.0) * np.stack(of_arm)
                epochs = np.arange(1, values.shape[1] + 1)
                colour = ARM_COLOURS.get(arm, "#D55E00")
                ax.fill_between(
                    epochs, values.min(0), values.max(0), color=colour, alpha=0.12, lw=0
                )
                ax.plot(epochs, values.mean(0), color=colour, label=arm, linewidth=1.1)
            ax.set_title(f"{model}: {title}")
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    legend_below(figure, axes[0, 0], columns=7 if len(models) > 1 else 4)
    return png(figure)


@click.command()
@click.option(
    "--work",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Folder that run.py filled.",
)
@click.option("--out", type=click.Path(path_type=Path), default=CURVES.parent, help="Where to.")
def main(work: Path, out: Path) -> None:
    """Gather the epochs of all finished runs."""
    click.echo(f"{gather_curves(work / 'runs', out / CURVES.name)} epochs")


if __name__ == "__main__":
    main()
