"""What luab-train answers today, written down, so that a change of any of it shows as a diff.

    python tests/train_goldens.py --compare [NAME...]   # prints a unified diff, exits 1 if any
    python tests/train_goldens.py --write [NAME...]     # a difference that is meant

NAME is one of `GOLDENS` below; none is all. Everything is asked of the command line, in this
process: `$PYTHONPATH` decides which tree answers. Weights are sha256 of their bytes, which hold for
one torch on one kind of CPU (`goldens/train-made-with.json`); elsewhere `test_train_goldens` skips.
Seconds and rates are left out, and what says where and when something ran.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import chdir
from importlib.metadata import version
from pathlib import Path
from typing import Any

import goldens
import numpy as np
import pyarrow.parquet as pq
import timm
import torch
from click.testing import CliRunner
from coco_scenes import make_coco
from miniatures.everything import make_everything
from miniatures.palette import CLASSES, COLOUR, SIZE, flat, save
from safetensors.torch import load_file, save_file
from train_world import make_world, row, write_dataset

from luab_train.cli import main as luab_train

MADE_WITH = goldens.GOLDENS / "train-made-with.json"
SMALL = (
    *("data.image_size=32", "data.eval_resize=32", "data.num_workers=0", "data.cache=none"),
    *("optim.warmup_epochs=0.5", "optim.precision=no", "engine.channels_last=false"),
)
"""Two epochs in a second; every other key is the recipe's."""
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "none": ("target=none",),
    "click": ("target=click",),
    "random": ("target=random",),
    "oracle-mse": ("target=oracle", "loss.regression=mse"),
    "attentive": (
        *("target=click", "model.attentive_pooling=true", "model.point_head=attention"),
        *("data.image_size=64", "data.eval_resize=64"),
    ),
    "mixed-smooth": ("target=click", "mix.mixup=0.4", "mix.cutmix=1.0", "loss.label_smoothing=0.1"),
    "bce-adamp-ema": (
        *("target=click", "loss.classification=bce", "optim.name=adamp", "optim.ema=0.5"),
    ),
    "accumulated": ("target=click", "optim.accumulate=2", "data.repeats=2", "optim.clip_grad=1.0"),
}  # fmt: skip
NETWORKS = {"resnet": "debug:tiny", "vit": "debug:tiny_vit"}


def call(*arguments: object, code: int = 0) -> str:
    """What `luab-train ARGUMENTS` prints."""
    result = CliRunner().invoke(luab_train, [*map(str, arguments)], env={"COLUMNS": "80"})
    if result.exit_code != code:
        raise SystemExit(f"luab-train {arguments}: {result.exit_code}\n{result.output}") from (
            result.exception
        )
    return result.stdout


class World:
    """A temporary folder; what several goldens need is made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, Path] = {}

    def once(self, name: str, make: Callable[[Path], object]) -> Path:
        if name not in self._made:
            self._made[name] = self.folder / name
            make(self._made[name])
        return self._made[name]

    def run(self, network: str, objective: str, seed: int = 1) -> Path:
        """A run of two epochs on drawn squares."""
        root = self.once("world", make_world)
        keys = dict(key.split("=") for key in (*SMALL, *OBJECTIVES[objective]))
        target = keys.pop("target")
        settings = [f"--set={key}={value}" for key, value in keys.items()]

        def train(out: Path) -> None:
            call(
                *("run", NETWORKS[network], "--data", root / "imagenet-ab"),
                *("--images", root / "train", "--val", root / "val", "--out", out),
                *(
                    "--epochs",
                    2,
                    "--batch-size",
                    8,
                    "--lr",
                    2e-3,
                    "--seed",
                    seed,
                    "--target",
                    target,
                ),
                *settings,
            )

        return self.once(f"{network}-{objective}-{seed}", train)

    def run_of_benchmarks(self) -> Path:
        """A run on the colours of the miniatures' classes."""
        rng = np.random.default_rng(0)

        def train(out: Path) -> None:
            rows = []
            for label, wnid in enumerate(CLASSES):
                for number in range(4):
                    name = f"{wnid}_{number}"
                    save(flat(COLOUR[wnid], rng), self.folder / "colours" / wnid / f"{name}.png")
                    drawn = row(name, 0, box=[4.0, 4.0, 20.0, 20.0])
                    found = {"wnid": wnid, "label": label, "width": SIZE, "height": SIZE}
                    rows.append({**drawn, **found})
            data = write_dataset(self.folder / "colours-ab", rows)
            call(
                *("run", "debug:tiny", "--data", data, "--images", self.folder / "colours"),
                *("--out", out, "--epochs", 4, "--batch-size", 8, "--lr", 5e-3, "--seed", 1),
                *(f"--set={key}" for key in SMALL),
            )

        return self.once("colours-run", train)


def recipes(_: World) -> Any:
    """Every recipe: the keys in which it differs from the first one."""
    listed = re.findall(r"\b(?:imagenet_ab|coco_ab|finetune|debug):\w+", call("recipes"))
    found = {name: _flat(json.loads(call("recipes", name))) for name in dict.fromkeys(listed)}
    base = found[listed[0]]
    return {
        name: {k: keys.get(k) for k in sorted({*keys, *base}) if keys.get(k) != base.get(k)}
        if name != listed[0]
        else base
        for name, keys in found.items()
    }


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        k: v
        for key, inner in value.items()
        for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()
    }


def cli(_: World) -> Any:
    """The help of every command."""
    return {
        name: call(*name.split(), "--help").splitlines()
        for name in ("", *luab_train.list_commands(None))  # type: ignore[arg-type]
    }


def runs(world: World) -> Any:
    """Weights and metrics of each network with each objective; what an export holds."""
    return {
        f"{network}-{objective}": _run(world.run(network, objective))
        for network in NETWORKS
        for objective in OBJECTIVES
    }


LEFT_OUT = re.compile(r"seconds|_per_second|wait")


def _run(run: Path) -> Any:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    out = run / "exported.safetensors"
    call("export", run, "--out", out)
    return {
        "weights": _digest(run / "model.safetensors"),
        "initial": json.loads((run / "environment.json").read_text())["initial_backbone"],
        "exported": _digest(out),
        "metrics": [{k: v for k, v in line.items() if not LEFT_OUT.search(k)} for line in lines],
    }


def _digest(file: Path) -> str:
    told = hashlib.sha256()
    for name, value in sorted(load_file(file).items()):
        told.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        told.update(value.contiguous().numpy().tobytes())
    return told.hexdigest()


def folder(world: World) -> Any:
    """`eval --images` of two runs."""
    found = {}
    for network in NETWORKS:
        run = world.run(network, "click", 3)  # not one of those that `report` shows
        call("eval", run, "--images", world.once("world", make_world) / "val", "--name", "again")
        found[network] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return {
        n: {k: v for k, v in line.items() if not LEFT_OUT.search(k)} for n, line in found.items()
    }


PROVENANCE = re.compile(r"date|commit|version|torch|machine|device|weights|model|luab|timm|host")


def benchmarks(world: World) -> Any:
    """Rows and predictions of all miniatures."""
    run = world.run_of_benchmarks()
    root = world.once("benchmarks", make_everything)
    printed = call("eval", run, "--benchmarks", "all", "--root", root, "--workers", 0)
    out = run / "evaluation"
    return {
        "printed": re.sub(r"weights \w+", "weights W", printed.replace(str(world.folder), "DIR"))
        .rstrip()
        .splitlines(),
        "rows": _rows(out / "results.jsonl"),
        "predictions": {
            str(file.relative_to(out)): _columns(file) for file in sorted(out.rglob("*.parquet"))
        },
    }


def _rows(file: Path) -> list[list[Any]]:
    """[benchmark, metric, value, low, high, n, note] of every row."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    keys = ("benchmark", "metric", "value", "low", "high", "n", "status", "note")
    return [[line.get(key) for key in keys] for line in lines]


def _columns(file: Path) -> dict[str, str]:
    """Column -> type and the start of the sha256 of its values."""
    table = pq.read_table(file)
    return {
        name: f"{table.schema.field(name).type} "
        + hashlib.sha256(repr(table[name].to_pylist()).encode()).hexdigest()[:12]
        for name in table.column_names
    }


_TIMES = re.compile(r'"(seconds|images_per_second|data_wait)": [^,}]+')


def report(world: World) -> Any:
    """Every text file of a report on two arms with two seeds each, but for its pictures."""
    out, chosen = world.folder / "report", []
    for name, seed in ((name, seed) for name in ("none", "click") for seed in (1, 2)):
        # Times are no numbers to compare.
        run = world.folder / "timeless" / f"{name}-{seed}"
        shutil.copytree(world.run("resnet", name, seed), run)
        lines = (run / "metrics.jsonl").read_text()
        (run / "metrics.jsonl").write_text(_TIMES.sub(r'"\1": 60.0', lines))
        chosen.append(run)
    call("report", *chosen, "--out", out)
    found = {}
    for file in sorted(path for path in out.rglob("*") if not path.name.startswith(".")):
        text = file.read_text(errors="replace") if file.suffix in TEXT else ""
        text = text.replace(str(world.folder), "DIR")
        name = str(file.relative_to(out))
        if file.suffix == ".json":
            found[name] = json.loads(text)
        elif file.suffix == ".csv":
            found[name] = [list(line) for line in csv.reader(text.splitlines())]
        elif text:
            found[name] = text.splitlines()
    return found


TEXT = {".json", ".csv", ".md", ".tex", ".txt"}


def coco(world: World) -> Any:
    """A multi-label run on drawn scenes, its rows, scores and map."""
    boxes = ((2, 10, 10, 20), (20, 12, 30, 24), (6, 1, 24, 7))
    scenes = [[(0, boxes[0]), (1, boxes[1])], [(0, boxes[0]), (16, boxes[1]), (2, boxes[2])]] * 4

    def make(root: Path) -> None:
        made = make_coco(root / "coco", scenes)
        target = root / "coco" / "annotations" / "instances_val2014.json"
        target.parent.mkdir()
        content = json.loads(made.instances.read_text())
        target.write_text(json.dumps(content))

    root = world.once("coco", make)
    torch.manual_seed(0)
    weights = world.folder / "coco.safetensors"
    network = timm.create_model("test_resnet", num_classes=80)
    save_file(network.state_dict(), weights)
    out = world.folder / "coco-out"
    call(
        *("eval", weights, "--arch", "test_resnet", "--benchmarks", "coco", "--root", root),
        *("--out", out, "--workers", 0),
    )
    return {
        "rows": _rows(out / "results.jsonl"),
        "files": {
            str(file.relative_to(out)): _columns(file) for file in sorted(out.rglob("*.parquet"))
        },
    }


GOLDENS: dict[str, Callable[[World], Any]] = {
    "recipes": recipes,
    "cli": cli,
    "runs": runs,
    "folder": folder,
    "benchmarks": benchmarks,
    "coco": coco,
    "report": report,
}


def record(names: Sequence[str]) -> dict[str, str]:
    """Golden -> its text by the code of today."""
    torch.set_num_threads(1)
    os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    with tempfile.TemporaryDirectory(prefix="luab-goldens-") as name, chdir(name):
        world = World(Path(name).resolve())
        return {name: goldens.as_text(GOLDENS[name](world)) for name in names}


def differences(names: Sequence[str]) -> dict[str, str]:
    """Golden -> unified diff, of those that differ."""
    found = {}
    for name, now in record(names).items():
        before = path.read_text() if (path := _path(name)).exists() else ""
        lines = difflib.unified_diff(
            before.splitlines(), now.splitlines(), f"goldens/{path.name}", "now", lineterm=""
        )
        if now != before:
            found[name] = "\n".join(lines)
    return found


def _path(name: str) -> Path:
    return goldens.GOLDENS / f"train-{name}.json"


def made_with() -> dict[str, str]:
    """What the bits of weights can depend on."""
    names = ("torch", "torchvision", "timm", "numpy", "pillow", "click", "accelerate")
    cpu = torch.backends.cpu.get_cpu_capability()
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": f"{platform.machine()} {cpu} {model[1] if model else ''}".strip(),
        **{name: version(name) for name in names},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--compare", nargs="*", metavar="NAME", help="print a diff; exit 1 if any")
    mode.add_argument("--write", nargs="*", metavar="NAME", help="write the goldens anew")
    given = parser.parse_args()
    names = (given.write if given.compare is None else given.compare) or list(GOLDENS)
    if given.write is not None:
        for name, text in record(names).items():
            _path(name).write_text(text)
        MADE_WITH.write_text(goldens.as_text(made_with()))
        return 0
    found = differences(names)
    print("\n".join(found.values()) if found else f"{len(names)} goldens are equal")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
