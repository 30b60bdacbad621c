"""[I/O] What points cost in training, and how our training compares with timm's; writes README.md.

    .venv/bin/python benchmarks/train.py --only loader,step,loop    # 20 minutes of a quiet machine
    .venv/bin/python benchmarks/train.py --only memory,profile      # may be busy
    .venv/bin/python benchmarks/train.py --only step,loop --device auto     # on a GPU

    loader   images/s of our loader, of the same pipeline without points, of the notebook's way
    step     seconds of an update with point head and loss, and of the same model without
    loop     images/s of our training loop and of timm's
    memory   what an update takes with the head and without, a process each
    checkouts  images/s of our loader, of another checkout's (--before) and of torchvision's
    profile  where the CPU time of the loaders goes

All arms of a comparison run in one process (memory excepted) and in turns; ratios are taken pair by
pair: their median, and the interval that holds it. CPU times leave out waiting for a core that
others use. Inputs are made once and kept in --work.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import measure
import table
import torch
import train_loaders
import train_loops
import train_steps
import train_table
from train_inputs import NoInput, make_inputs

from luab_train.sections import Data, Model, Optim
from luab_train.train.device import versions

PARTS = ("loader", "step", "loop", "memory", "profile")
ASKED_FOR = (*PARTS, "checkouts")
PROFILE = "train-loader-profile.txt"
_SOURCES = {"photos": "500 x 375 px", "thumbs": "64 x 64 px"}
# Network, side of its input, images: the first is bound by computing, the second by loading.
_LOOPS = (("resnet18", 128, 128), ("test_resnet", 224, 512))
_LOOP_BATCH = 32


def _settings(options: argparse.Namespace) -> Iterator[tuple[str, train_loaders.Setting]]:
    """Both sizes of images, with what the loaders of a comparison share."""
    inputs = make_inputs(options.shared, options.work, options.images)
    recipe = train_loaders.recipe_of(batch_size=options.batch_size)
    for name, size in _SOURCES.items():
        yield (
            size,
            train_loaders.open_setting(
                getattr(inputs, name), inputs.xml, inputs.dataset, recipe, 0
            ),
        )


def loader_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for size, setting in _settings(options):
        points = train_loaders.check_points(setting)
        for workers in options.workers:
            row = {
                "part": "loader",
                "source": size,
                "workers": workers,
                "batch_size": options.batch_size,
                "points": points,
                **train_loaders.measure_loaders(setting._replace(workers=workers), options.rounds),
            }
            rows.append(_told(train_table.loader_line, row))
    return rows


_CASES = (("photos", 2, 0.0), ("photos", 0, 0.0), ("photos", 0, 0.4), ("thumbs", 0, 0.0))
"""Images, loader processes and strength of colour jitter."""


def checkout_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if options.before is None:
        raise SystemExit("checkouts: expected --before FOLDER, a checkout to compare with")
    inputs = make_inputs(options.shared, options.work, options.images)
    for name, workers, jitter in _CASES:
        folders = getattr(inputs, name), inputs.xml, inputs.dataset
        case = train_loaders.Case(*folders, workers, jitter, options.batch_size)
        row = {
            "part": "checkouts",
            "source": _SOURCES[name],
            "workers": workers,
            "color_jitter": jitter,
            "batch_size": options.batch_size,
            "before": measure.commit(options.before),
            **train_loaders.measure_checkouts(case, options.rounds, options.before),
        }
        yield _told(train_table.checkouts_line, row)


def profile_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows, texts = [], [json.dumps(_facts())]
    for size, setting in _settings(options):
        found = {arm: train_loaders.profile_loader(arm, setting) for arm in train_loaders.ARMS}
        texts += [f"# {size}\n\n{text}" for text, _ in found.values()]
        stages = {arm: named for arm, (_, named) in found.items()}
        row = {"part": "profile", "source": size, "stages_ms": stages}
        rows.append(_told(train_table.stages_line, row))
    (options.results.parent / PROFILE).write_text("\n".join(texts))
    return rows


def step_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for name in options.models.split(","):
        case = train_steps.CASES[name]
        # A small update is measured more often: it costs nothing.
        pairs = options.pairs * (3 if name == "test_resnet" else 1)
        row = {
            "part": "step",
            **case._asdict(),
            **train_steps.measure_steps(case, pairs, options.device),
        }
        rows.append(_told(train_table.step_line, row))
    return rows


def memory_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for name in options.models.split(","):
        case = train_steps.CASES[name]
        row = {
            "part": "memory",
            **case._asdict(),
            "mib": train_steps.measure_memory(case, options.device, options.memory_runs),
        }
        rows.append(_told(train_table.memory_line, row))
    return rows


def loop_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for model, size, images in _LOOPS:
        inputs = make_inputs(options.shared, options.work, min(images, options.images))
        recipe = train_loaders.recipe_of(
            model=Model(name=model),
            data=Data(image_size=size, eval_resize=size, missing_images="skip", num_workers=0),
            optim=Optim(name="momentum", lr=0.01, weight_decay=1e-4, warmup_epochs=0.0),
            batch_size=_LOOP_BATCH,
        )
        setting = train_loaders.open_setting(
            inputs.photos, inputs.xml, inputs.dataset, recipe, options.loop_workers
        )
        with tempfile.TemporaryDirectory() as scratch:
            precision = train_steps.precision(options.device)
            found = train_loops.measure_loops(
                setting, options.loop_rounds, precision, Path(scratch)
            )
        row = {
            "part": "loop",
            "model": model,
            "image_size": size,
            "batch_size": _LOOP_BATCH,
            "workers": options.loop_workers,
            **found,
        }
        rows.append(_told(train_table.loop_line, row))
    return rows


def _told(line: Callable[[dict[str, Any]], str], row: dict[str, Any]) -> dict[str, Any]:
    """The row with where and when it was measured; its line is printed."""
    row = {**row, **_facts()}
    print(line(row), flush=True)
    return row


@functools.cache
def _commit() -> str:
    # Asked once, at the start: others may commit while this runs.
    return measure.commit()


def _facts() -> dict[str, Any]:
    cuda = torch.cuda.is_available() and "ACCELERATE_USE_CPU" not in os.environ
    return {
        "date": measure.now(),
        "commit": _commit(),
        "machine": measure.machine(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "versions": versions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What points cost in training; our loop, timm's.")
    parser.add_argument(
        "--only", default=",".join(PARTS), help="Some of these, with commas; checkouts is another."
    )
    parser.add_argument("--before", type=Path, help="Of checkouts: the folder of another one.")
    parser.add_argument("--rounds", type=int, default=15, help="Epochs of each loader.")
    parser.add_argument("--loop-rounds", type=int, default=6, help="Epochs of each loop.")
    parser.add_argument("--pairs", type=int, default=200, help="Updates of each arm.")
    parser.add_argument("--memory-runs", type=int, default=3, help="Processes of each arm.")
    parser.add_argument("--images", type=int, default=1000, help="Images an epoch of a loader.")
    parser.add_argument("--batch-size", type=int, default=128, help="Of loaders.")
    parser.add_argument("--workers", default="0,2", help="Loader processes, with commas.")
    parser.add_argument("--loop-workers", type=int, default=2, help="Loader processes of loops.")
    parser.add_argument("--models", default=",".join(train_steps.CASES), help="Of step, memory.")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="Of step, loop.")
    parser.add_argument("--shared", type=Path, default=measure.ROOT.parent / "shared")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "luab-bench")
    parser.add_argument("--results", type=Path, default=table.TRAIN_RESULTS, help="Rows go here.")
    options = parser.parse_args()
    options.workers = [int(number) for number in options.workers.split(",")]
    only = options.only.split(",")
    if unknown := sorted(set(only) - set(ASKED_FOR)):
        parser.error(f"--only {', '.join(unknown)}: expected some of {', '.join(ASKED_FOR)}")
    if options.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    options.results.parent.mkdir(parents=True, exist_ok=True)
    makers = {
        "loader": loader_rows,
        "step": step_rows,
        "loop": loop_rows,
        "memory": memory_rows,
        "profile": profile_rows,
        "checkouts": checkout_rows,
    }
    _commit()
    for part in only:
        try:
            for row in makers[part](options):
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
        except (NoInput, train_loaders.Disagreement) as error:
            raise SystemExit(str(error)) from error
    if options.results.resolve() == table.TRAIN_RESULTS.resolve():
        table.write_readme()


if __name__ == "__main__":
    main()
