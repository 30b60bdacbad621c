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
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from luab_data.console import progress
from luab_data.errors import LuabError, OptionError
from luab_train.demo.recipe import ARMS, TEST_SETS, Plan, arm_recipe
from luab_train.demo.story import result_name
from luab_train.recipe import Target
from luab_train.report.runs import Run, read_run

Job = tuple[Target, int]
"""Arm and seed of a run."""

_POLL_S = 0.5


def run_folder(out: Path, job: Job) -> Path:
    """Where a run lives."""
    return out / "runs" / f"{job[0]}-{job[1]}"


def is_finished(out: Path, job: Job) -> bool:
    """Whether a run is trained and evaluated on every test set."""
    run = _trained(run_folder(out, job))
    return run is not None and all(result_name(b) in run.results for b in TEST_SETS)


def _trained(folder: Path) -> Run | None:
    """The run, unless it is missing, unfinished or damaged."""
    try:
        return read_run(folder)
    except OptionError:
        return None


def num_workers() -> int:
    """Runs side by side: one per core, at most one per arm."""
    return min(len(ARMS), os.cpu_count() or 1)


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """`num_workers` processes, gone when the block ends, however it ends."""
    others = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")  # a fork after torch was imported may hang
    pool = ProcessPoolExecutor(num_workers(), mp_context=spawn, initializer=_start_worker)
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
    for _ in range(num_workers()):
        pool.submit(_import_training)


def _import_training() -> None:
    import luab_train.evaluate.folder
    import luab_train.train.loop  # noqa: F401


def _start_worker() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers, without noise
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
    schedule = Schedule(out, num_seeds=num_seeds, deadline=deadline, say=say)
    running: dict[Future[float], Job] = {}
    total = num_seeds * len(ARMS) * plan.epochs
    with progress(what="train", total=total, unit="epoch") as bar:
        while True:
            while len(running) < num_workers() and (job := schedule.next_job(len(running))):
                running[pool.submit(train_and_evaluate, out, plan, job)] = job
            if not running:
                break
            for future in wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                schedule.finished(job, _result(future, job))
            bar.n = sum(_epochs_done(run_folder(out, job)) for job in schedule.begun)
            bar.refresh()
    runs = [read_run(run_folder(out, job)) for job in schedule.begun]
    return runs, schedule.is_stopped


class Schedule:
    """Which run to begin next; a seed's runs are begun together or not at all.

    Args:
        out: the demo's folder.
        num_seeds: seeds wanted.
        deadline: on the clock of `time.monotonic`.
        say: takes a line of text.
    """

    def __init__(
        self, out: Path, *, num_seeds: int, deadline: float, say: Callable[[str], object]
    ) -> None:
        self.begun: list[Job] = []  # seed by seed, in the order of ARMS
        self.is_stopped = False
        self._out = out
        self._num_seeds = num_seeds
        self._deadline = deadline
        self._say = say
        self._seed = 0
        # The pace is that of now: other work on the machine comes and goes.
        self._latest_s: deque[float] = deque(maxlen=num_workers())
        self._waiting: deque[Job] = deque()

    def next_job(self, num_running: int) -> Job | None:
        """The run to begin now; None if there is none, or none yet."""
        while not self._waiting and not self.is_stopped and self._seed < self._num_seeds:
            if not self._begin_seed(num_running):
                break
        return self._waiting.popleft() if self._waiting else None

    def finished(self, job: Job, seconds: float) -> None:
        """Note that a run ended, and how long it took."""
        self._latest_s.append(seconds)
        self._say(_run_line(read_run(run_folder(self._out, job)), f"{seconds:.0f} s"))

    def _begin_seed(self, num_running: int) -> bool:
        jobs: list[Job] = [(arm, self._seed) for arm in ARMS]
        kept = [job for job in jobs if is_finished(self._out, job)]
        num_missing = len(jobs) - len(kept)
        left = self._deadline - time.monotonic()
        need = seconds_needed(self._latest_s, num_missing + num_running, num_workers())
        # The first seed always runs: a demo without any result is none.
        if self._seed and num_missing and need > left:
            if num_running:
                return False  # when these end, the pace may have improved
            self._say(
                f"no further seed after {self._seed} of {self._num_seeds}: {max(left, 0):.0f} s "
                f"are left and the next would take about {need:.0f} s (see --minutes)"
            )
            self.is_stopped = True
            return False
        for job in kept:
            run = read_run(run_folder(self._out, job))
            self._latest_s.append(60 * run.minutes)
            self._say(_run_line(run, "kept"))
        self.begun += jobs
        self._waiting.extend(job for job in jobs if job not in kept)
        self._seed += 1
        return True


def seconds_needed(latest_s: Sequence[float], num_runs: int, num_side_by_side: int) -> float:
    """How long `num_runs` take at the mean pace of the latest, some of them side by side.

    Infinite when no run has ended yet: nothing is known of the pace.
    """
    if not latest_s:
        return math.inf
    return math.fsum(latest_s) / len(latest_s) * math.ceil(num_runs / num_side_by_side)


def _result(future: Future[float], job: Job) -> float:
    try:
        return future.result()
    except LuabError:
        raise
    except Exception as error:  # whatever ended another process: a kill, no memory, a bug
        raise LuabError(
            f"demo: the run {job[0]}-{job[1]} ended without a result "
            f"({type(error).__name__}: {error}); the same command goes on from its last epoch"
        ) from error


def _epochs_done(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.read_text().count('"event": "epoch"') if metrics.is_file() else 0


def train_and_evaluate(out: Path, plan: Plan, job: Job) -> float:
    """One run and its three evaluations, whatever is missing of them; seconds it took."""
    from luab_train.evaluate.folder import evaluate
    from luab_train.train.loop import train

    began = time.monotonic()
    arm, seed = job
    folder, images = run_folder(out, job), out / "images"
    run = _trained(folder)
    if run is None:
        if (folder / "model.safetensors").exists() or not (folder / "recipe.json").exists():
            shutil.rmtree(folder, ignore_errors=True)  # damaged, or killed before its first file
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
        if run is None or name not in run.results:
            evaluate(folder, images=images / name, name=name, shown=False)
    return time.monotonic() - began


def _run_line(run: Run, took: str) -> str:
    result = run.results[result_name("random")]
    points = "" if run.recipe.target == "none" else f", point error {result['point_error']:.1%}"
    return (
        f"seed {run.recipe.seed}, {run.recipe.target:<6}: accuracy on random textures "
        f"{result['accuracy']:.1%}{points} ({took})"
    )
