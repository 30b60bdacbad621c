"""Runs of `luab-train run` in processes of their own: two at once, killed, or asked to stop.

The processes are forked from a server that has imported torch already, so that one costs a second.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from train_world import TIMES, World, metrics_lines

from luab_train.data.loader import EpochOrder
from luab_train.recipe import Recipe
from luab_train.settings import flatten
from luab_train.train.loop import train

os.environ.setdefault("OMP_NUM_THREADS", "1")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["luab_train.cli", "luab_train.train.loop"])


@dataclass(frozen=True)
class Signal:
    """What a process does to itself before its n-th update, counted from 1."""

    update: int
    number: int = signal.SIGKILL
    rank: int = 0
    group: bool = False
    """All processes of the run, as clusters do it, loader processes too."""


@dataclass(frozen=True)
class Ended:
    codes: list[int]
    text: str
    """stdout and stderr of all ranks."""


def arguments(recipe: Recipe, world: World, out: Path, *more: str, val: bool = True) -> list[str]:
    """The command line of a recipe: every key by --set."""
    settings = [f"--set={key}={_text(value)}" for key, value in flatten(recipe).items()]
    folders = ["--data", world.data, "--images", world.images, "--out", out]
    folders += ["--val", world.val] if val else []
    return ["run", "debug:tiny_vit", *map(str, folders), *settings, *more]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def launch(
    work: list[str] | Callable[[], None],
    log: Path,
    *,
    processes: int = 1,
    signal_at: Signal | None = None,
    seconds: float = 300,
) -> Ended:
    """Run a command line, or a function that can be pickled, in one process or in several over
    gloo; ends when all have.

    Raises: TimeoutError if they have not within `seconds`.
    """
    port = _free_port()
    logs = [log.with_name(f"{log.name}.{rank}.txt") for rank in range(processes)]
    ranks = [
        CONTEXT.Process(target=_main, args=(work, rank, processes, port, logs[rank], signal_at))
        for rank in range(processes)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(seconds)
        # As torchrun: one that ended badly takes the others with it.
        if process.exitcode:
            for other in ranks:
                other.join(10)
                other.kill()
    late = any(process.exitcode is None for process in ranks)
    for process in ranks:
        process.kill()
        process.join()
    text = "".join(path.read_text() for path in logs)
    if late:
        raise TimeoutError(f"not ended within {seconds} s; it said: {text}")
    return Ended([int(process.exitcode or 0) for process in ranks], text)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _main(
    work: list[str] | Callable[[], None],
    rank: int,
    processes: int,
    port: int,
    log: Path,
    signal_at: Signal | None,
) -> None:
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.setpgid(0, 0)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    if processes > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    # Else loader processes would come from one more server, which imports torch anew.
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    if signal_at is not None and signal_at.rank == rank:
        _signal_itself(signal_at)
    if callable(work):
        work()
    else:
        from luab_train.cli import main

        main(work, prog_name="luab-train")


def _signal_itself(signal_at: Signal) -> None:
    from luab_train.train.step import Trainer

    real, count = Trainer.update, 0

    def update(self: Trainer, *args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == signal_at.update:
            send = ["kill", "-s", str(int(signal_at.number)), "--"]
            # By another process, as torch's loader processes leave quietly when their parent asks.
            target = f"-{os.getpgrp()}" if signal_at.group else str(os.getpid())
            subprocess.run([*send, target], start_new_session=True)
        return real(self, *args, **options)

    Trainer.update = update  # type: ignore[method-assign]


def without_seconds(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in metrics_lines(run)]


def same_run(a: Path, b: Path) -> None:
    """Alike bit for bit."""
    assert without_seconds(a) == without_seconds(b)
    one, other = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def close_run(a: Path, b: Path, *, tolerance: float = 1e-5) -> None:
    """Alike but for the order in which float32 numbers were added."""
    lines, others = without_seconds(a), without_seconds(b)
    assert len(lines) == len(others)
    for line, other in zip(lines, others, strict=True):
        assert line.keys() == other.keys()
        for key, value in line.items():
            if isinstance(value, float):
                assert abs(value - other[key]) <= tolerance * max(1, abs(value)), key
            else:
                assert value == other[key], key
    one, two = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=tolerance, atol=tolerance, msg=name)


def environment(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "environment.json").read_text())
    return content


def changed(recipe: Recipe, **groups: dict[str, Any]) -> Recipe:
    """A recipe with fields of its groups replaced: changed(r, optim={"lr": 1.0})."""
    return dataclasses.replace(
        recipe,
        **{
            name: dataclasses.replace(getattr(recipe, name), **fields)
            for name, fields in groups.items()
        },
    )


def run_here(recipe: Recipe, world: World, out: Path, *, val: bool = True) -> Path:
    """The same in this process; quicker, and nothing is printed."""
    found = train(
        recipe,
        data=world.data,
        images=world.images,
        val=world.val if val else None,
        out=out,
        shown=False,
    )
    return found.run


def one_sided(world: World, *, part: int, parts: int = 2, seed: int = 0) -> None:
    """Leave clicks only on the images that go to every `parts`-th run of `part` images in the first
    epoch, and on one more: to one of two processes, or into one of two parts of an update.
    """
    (file,) = (world.data / "data").glob("*.parquet")
    table = pq.read_table(file)
    order = EpochOrder(len(table), seed=seed, shuffle=True)
    order.epoch = 1
    index = np.array([index for _, index, _ in order])
    place = np.empty(len(table), np.int64)
    place[index] = np.arange(len(table))
    keep = (place // part % parts == 0) | (place == part)
    for name in ("selected", "final_click_x", "final_click_y"):
        column = table[name].to_pylist()
        gone = False if name == "selected" else None
        values = [value if kept else gone for value, kept in zip(column, keep, strict=True)]
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), [values])
    pq.write_table(table, file)


def calibrated(world: World, file: Path) -> Path:
    """Reliabilities from 0 to 1 for the images of a world, as `luab-data calibrate` writes them."""
    (data,) = (world.data / "data").glob("*.parquet")
    table = pq.read_table(data, columns=["image_id", "final_click_x", "final_click_y"])
    reliability = np.random.default_rng(0).random(len(table))
    table = table.rename_columns(["image_id", "calibrated_click_x", "calibrated_click_y"])
    pq.write_table(table.append_column("click_reliability", pa.array(reliability)), file)
    return file
