"""Two processes that torchrun starts evaluate every benchmark as one does."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from click.testing import CliRunner
from coco_scenes import make_coco
from miniatures.everything import make_everything
from miniatures.run import make_run
from PIL import Image
from safetensors.torch import save_file

from luab_train.cli import main
from luab_train.evaluate.stored import read_rows, replace_rows


def make_wsol(root: Path) -> None:
    """The validation images as a split of wsolevaluation; every box is the middle of its image."""
    files = sorted((root / "imagenet/val").glob("*/*.JPEG"))
    wnids = sorted({file.parent.name for file in files})
    lines: dict[str, list[str]] = {}
    (root / "wsol/metadata").mkdir(parents=True)
    (root / "wsol/images").mkdir()
    for file in files:
        shutil.copy(file, root / "wsol/images")
        with Image.open(file) as image:
            width, height = image.size
        box = f"{width // 4},{height // 4},{3 * width // 4},{3 * height // 4}"
        lines.setdefault("image_ids", []).append(file.name)
        lines.setdefault("class_labels", []).append(f"{file.name},{wnids.index(file.parent.name)}")
        lines.setdefault("image_sizes", []).append(f"{file.name},{width},{height}")
        lines.setdefault("localization", []).append(f"{file.name},{box}")
    for name, content in lines.items():
        (root / f"wsol/metadata/{name}.txt").write_text("".join(f"{x}\n" for x in content))


def by_one(*arguments: object) -> str:
    """Evaluated here, which saves a process that loads torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        found = CliRunner().invoke(main, ["eval", *map(str, arguments)])
    assert found.exit_code == 0, found.output
    return found.stdout


def by_two(*arguments: object) -> str:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    found = subprocess.run(
        [*start, "-m", "luab_train", "eval", *map(str, arguments)], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout


def same_results(one: Path, two: Path) -> int:
    """Compares rows and every file of predictions; how many files."""
    when = ("date", "versions")
    rows = [[{k: v for k, v in row.items() if k not in when} for row in read_rows(out)]
            for out in (one, two)]  # fmt: skip
    assert rows[0] == rows[1] and rows[0]
    files = sorted(path.relative_to(one) for path in one.rglob("*.parquet"))
    assert files == sorted(path.relative_to(two) for path in two.rglob("*.parquet"))
    for file in files:
        assert pq.read_table(one / file).equals(pq.read_table(two / file)), file
    return len(files)


def test_two_processes_find_what_one_finds(tmp_path: Path):
    model, root = make_run(tmp_path), make_everything(tmp_path / "root")
    make_wsol(root)
    # Two corruptions are dealt as nineteen are; each file is a loader of its own in each process.
    for folder in (root / "imagenet-c").iterdir():
        if folder.name not in ("fog", "snow"):
            shutil.rmtree(folder)
    options = ["--benchmarks", "all,wsol", "--root", root, "--batch-size", 5, "--workers", 0]
    one = by_one(model, *options, "--out", tmp_path / "one")
    two = by_two(model, *options, "--out", tmp_path / "two")
    assert two.splitlines()[1:] == one.splitlines()[1:]
    assert same_results(tmp_path / "one", tmp_path / "two") == 35


def test_two_processes_find_what_one_finds_on_coco(tmp_path: Path):
    rng = np.random.default_rng(0)
    spots = ((2, 10, 10, 20), (20, 12, 30, 24), (6, 1, 24, 7))
    drawn = [rng.permutation((0, 1, 2, 16)).tolist() for _ in range(21)]
    scenes = [[*zip(labels, spots, strict=False)] for labels in drawn]
    coco = make_coco(tmp_path / "made", scenes)
    (tmp_path / "coco/annotations").mkdir(parents=True)
    shutil.copytree(coco.images, tmp_path / "coco/val2014")
    shutil.copy(coco.instances, tmp_path / "coco/annotations/instances_val2014.json")
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=80).state_dict(), weights)
    options = [weights, "--arch", "test_resnet", "--benchmarks", "coco", "--root", tmp_path]
    options += ["--batch-size", 8, "--workers", 0]
    by_one(*options, "--out", tmp_path / "one")
    by_two(*options, "--out", tmp_path / "two")
    values = [[(row["metric"], row["n"], row["status"]) for row in read_rows(tmp_path / name)]
              for name in ("one", "two")]  # fmt: skip
    assert values[0] == values[1] and len(values[0]) == 7
    # Batches hold other images, so numbers are equal but for rounding.
    for name in ("value", "low", "high"):
        one, two = ([row[name] for row in read_rows(tmp_path / d)] for d in ("one", "two"))
        assert two == pytest.approx(one, abs=1e-4)


def _add_row(arguments: tuple[Path, str]) -> None:
    folder, name = arguments
    row = {"benchmark": name, "metric": "accuracy", "status": "done", "text": "x" * 2000}
    replace_rows(folder, name, [row])


def test_processes_that_write_one_results_file_lose_no_row(tmp_path: Path):
    names = [f"b{k}" for k in range(12)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch is loaded once for all
    with context.Pool(3) as pool:
        pool.map(_add_row, [(tmp_path, name) for name in names], chunksize=1)
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert sorted(row["benchmark"] for row in rows) == sorted(names)
