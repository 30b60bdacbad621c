"""Put the finished runs to the test images, in seven variants each.     [I/O]

    python results/tiny-imagenet/probe_runs.py --work WORK [--only 'arms-*']

Adds a line per run to probes.jsonl, and WORK/probes/<key>.npz with its answer to every picture.
Runs of the tuning are left out: no test image has a part in it. Several processes share the work,
as in run.py. All runs see the same pictures.
"""

from __future__ import annotations

import fnmatch
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from run import append_row, claimed, read_rows, set_of

from luab_train.data.splits import evaluation_split
from luab_train.data.targets import share_of_each_class
from luab_train.evaluate.probes.probe import probe, rows_of
from luab_train.train.run_folder import load_model, read_environment, read_recipe

ROWS = Path(__file__).with_name("probes.jsonl")
SHARE = 0.4
"""Of the test images of each class; all, 23 s of CPU a run, were more than the hours had."""


def finished_runs(work: Path, pattern: str) -> list[Path]:
    """Folders of complete runs, but for the tuning's, in alphabetical order."""
    found = sorted((work / "runs").glob("*/model.safetensors"))
    return [
        file.parent
        for file in found
        if fnmatch.fnmatch(file.parent.name, pattern) and not file.parent.name.startswith("tune-")
    ]


def probe_run(run: Path, images: Path, out: Path) -> dict[str, Any]:
    """Probe one run on a folder of images with boxes; its row."""
    recipe, classes = read_recipe(run), tuple(read_environment(run)["classes"])
    split = evaluation_split(images, classes)
    kept = share_of_each_class(split.image_id, split.label, SHARE)
    split = replace(
        split,
        source_index=split.source_index[kept],
        image_id=split.image_id[kept],
        label=split.label[kept],
        boxes=split.boxes.take(kept),
    )
    probed = probe(load_model(run), split, recipe)
    out.mkdir(exist_ok=True)
    partial = out / f".{run.name}.npz"
    probed.save(partial)
    partial.replace(out / f"{run.name}.npz")
    found: dict[str, dict[str, Any]] = {}
    for row in rows_of(probed):
        value = row["value"] if row["value"] is None else round(row["value"], 6)
        found.setdefault(row["probe"], {})[row["metric"]] = {"value": value, "n": row["n"]}
    return {"key": run.name, "probes": found}


@click.command()
@click.option(
    "--work",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Folder that prepare.py made and run.py filled.",
)
@click.option("--only", default="*", help="Pattern of the keys to probe, e.g. 'arms-cnn-*'.")
@click.option("--rehearse", is_flag=True, help="Probe the runs of `run.py --rehearse`.")
def main(work: Path, only: str, rehearse: bool) -> None:
    """Probe what is finished and not probed yet."""
    torch.set_num_threads(1)
    out = work / "rehearsal" if rehearse else work
    rows = out / "probes.jsonl" if rehearse else ROWS
    for run in finished_runs(out, only):
        with claimed(out / "claims" / f"probe-{run.name}") as mine:
            if mine and run.name not in {row["key"] for row in read_rows(rows)}:
                images = set_of(run.name.partition("-")[0], work) / "test"
                append_row(rows, probe_run(run, images, out / "probes"))


if __name__ == "__main__":
    main()
