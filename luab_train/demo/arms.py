"""Trains and evaluates the arms, a run per worker process, seed after seed until the budget ends.

Every worker computes with one thread. Two runs side by side then take as long as one, on busy cores
too, where the spinning threads of a single run were seen to cost ten times its time; and the
numbers do not depend on how many cores there are.                                           [I/O]
"""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from luab_data.console import progress
from luab_data.errors import LuabError
from luab_train.demo.recipe import ARMS, TEST_SETS, Plan, arm_recipe
from luab_train.demo.story import result_name
from luab_train.recipe import Target
from luab_train.runs import Run, read_run

Job = tuple[Target, int]
"""Arm and seed of a run."""

_POLL_S = 0.5


def run_folder(out: Path, job: Job) -> Path:
    """Where a run lives."""
    return out / "runs" / f"{job[0]}-{job[1]}"


def is_finished(out: Path, job: Job) -> bool:
    """Whether a run is trained and evaluated on every test set."""
    folder = run_folder(out, job)
    if not (folder / "model.safetensors").is_file():
        return False
    return all(result_name(background) in read_run(folder).results for background in TEST_SETS)


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """One process per core, at most one per arm; gone when the block ends, however it ends."""
    num = min(len(ARMS), os.cpu_count() or 1)
    others = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")  # a fork after torch was imported may hang
    pool = ProcessPoolExecutor(num, mp_context=spawn, initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def warm_up(pool: ProcessPoolExecutor) -> None:
    """Let the workers import torch while this process has other things to do."""
    for _ in range(min(len(ARMS), os.cpu_count() or 1)):
        pool.submit(_import_training)


def _import_training() -> None:
    import luab_train.evaluate
    import luab_train.train  # noqa: F401


def _start_worker() -> None:
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A killed parent closes nothing: without this its workers would train on, into folders that
    # the next demo has taken over.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def train_seeds(
    pool: ProcessPoolExecutor,
    out: Path,
    plan: Plan,
    *,
    num_seeds: int,
    deadline: float,
    say: Callable[[str], object],
) -> tuple[list[Run], bool]:
    """All arms of seeds 0, 1, ...; what is finished already is kept.

    Args:
        pool: see `workers`.
        out: the demo's folder, with images and dataset.
        plan: sizes.
        num_seeds: seeds wanted.
        deadline: on the clock of `time.monotonic`; no seed is begun that would probably miss it.
        say: takes a line of text.
    Returns: the runs, seed by seed, and whether the budget ended them before `num_seeds`.
    """
    num_workers = min(len(ARMS), os.cpu_count() or 1)
    waiting: deque[Job] = deque()
    running: dict[Future[float], Job] = {}
    slowest = 0.0
    admitted = 0
    stopped = False
    total = num_seeds * len(ARMS) * plan.epochs
    with progress(what="train", total=total, unit="epoch") as bar:
        while True:
            while not waiting and len(running) < num_workers and admitted < num_seeds and not stopped:
                missing = [(a, admitted) for a in ARMS if not is_finished(out, (a, admitted))]
                if running and not slowest:
                    break  # nothing is known of the pace yet
                left = deadline - time.monotonic()
                if fits(left, slowest, len(missing), len(running), num_workers, seed=admitted):
                    for job in [(a, admitted) for a in ARMS if (a, admitted) not in missing]:
                        run = read_run(run_folder(out, job))
                        slowest = max(slowest, 60 * run.minutes)
                        say(_run_line(run, "reused"))
                    waiting.extend(missing)
                    admitted += 1
                else:
                    say(
                        f"no further seed after {admitted} of {num_seeds}: {max(left, 0):.0f} s are "
                        f"left, the next would take about {slowest * len(missing) / num_workers:.0f} s"
                    )
                    stopped = True
            while waiting and len(running) < num_workers:
                job = waiting.popleft()
                running[pool.submit(train_and_evaluate, out, plan, job)] = job
            if not running:
                break
            for future in wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                seconds = _result(future, job)
                slowest = max(slowest, seconds)
                say(_run_line(read_run(run_folder(out, job)), f"{seconds:.0f} s"))
            bar.n = sum(_epochs_done(run_folder(out, (a, s))) for s in range(admitted) for a in ARMS)
            bar.refresh()
    runs = [read_run(run_folder(out, (arm, seed))) for seed in range(admitted) for arm in ARMS]
    return runs, stopped


def fits(
    left_s: float,
    slowest_s: float,
    num_missing: int,
    num_running: int,
    num_workers: int,
    *,
    seed: int,
) -> bool:
    """Whether to begin a seed: its missing runs, at the pace of the slowest so far, end in time.

    Args:
        left_s: until the deadline.
        slowest_s: longest run so far.
        num_missing: runs that the seed still needs.
        num_running: runs of earlier seeds that are not done.
        num_workers: runs side by side.
        seed: the first one always runs: a demo without any result is none.
    """
    rounds = math.ceil((num_missing + num_running) / num_workers)
    return seed == 0 or num_missing == 0 or slowest_s * rounds <= left_s


def _result(future: Future[float], job: Job) -> float:
    try:
        return future.result()
    except LuabError:
        raise
    except Exception as error:
        raise LuabError(
            f"demo: the run {job[0]}-{job[1]} ended without a result ({type(error).__name__}: {error}); "
            "run the same command again to go on from its last epoch"
        ) from error


def _epochs_done(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.read_text().count('"event": "epoch"') if metrics.is_file() else 0


def train_and_evaluate(out: Path, plan: Plan, job: Job) -> float:
    """One run and its three evaluations, whatever is missing of them; seconds it took."""
    from luab_train.evaluate import evaluate
    from luab_train.train import train

    began = time.monotonic()
    arm, seed = job
    folder, images = run_folder(out, job), out / "images"
    if not (folder / "recipe.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)  # killed before its first file
    if not (folder / "model.safetensors").is_file():
        train(
            arm_recipe(plan, arm=arm, seed=seed),
            data=out / "imagenet-ab",
            images=images / "train",
            val=images / result_name("random"),
            out=folder,
            shown=False,
        )
    for background in TEST_SETS:
        name = result_name(background)
        if name not in read_run(folder).results:
            evaluate(folder, images=images / name, name=name, shown=False)
    return time.monotonic() - began


def _run_line(run: Run, took: str) -> str:
    result = run.results[result_name("random")]
    points = "" if run.recipe.target == "none" else f", point error {result['point_error']:.1%}"
    return (
        f"seed {run.recipe.seed}, {run.recipe.target:<6}: accuracy on random textures "
        f"{result['accuracy']:.1%}{points} ({took})"
    )
