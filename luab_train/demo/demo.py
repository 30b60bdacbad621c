"""`luab-train demo`: the commands that a user would type, on digits before textures.     [I/O]

    DIR/demo.json           sizes; a folder without it is foreign
    DIR/images/             train/<wnid>/*.png and val_{same,random,next}/..., boxes beside them
    DIR/raw.tar.gz          the simulated raw log; what really happened lies beside it
    DIR/imagenet-ab/        the dataset
    DIR/runs/<arm>-<seed>/  the runs
    DIR/report/             arms and their differences

Each command is printed as it can be typed. What is finished is not done again, so a demo that was
killed goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import click
from tqdm import tqdm

from luab_data.console import progress
from luab_data.errors import LuabError, OutputError
from luab_train.demo.scenes import TEST_SETS, write_images
from luab_train.demo.verdict import Check, compare_with_truth, lines_of, mechanics, verdict

ARMS = ("none", "random", "click")
"""`none` is what the others are compared with."""
RECIPE = "debug:digits"
_BANNER = (
    "Synthetic annotators, real digits on real textures. This shows that the whole path works and "
    "what it measures; it says nothing about ImageNet or about the paper's results."
)
_MARKER = "demo.json"
_OURS = (
    _MARKER,
    "images",
    "images.partial",
    "worker.key",
    "imagenet-ab",
    "cache",
    "runs",
    "report",
)
_LAST_SECONDS = 10.0  # of the budget, for the report


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of one demo: training scenes, scenes of each test set, epochs and batch size of a run."""

    num_train: int
    num_test: int
    epochs: int
    batch_size: int


FULL = Sizes(num_train=2000, num_test=600, epochs=6, batch_size=32)
FAST = Sizes(num_train=600, num_test=150, epochs=4, batch_size=16)


@click.command("demo")
@click.option("--fast", is_flag=True, help="One seed of less data, under a minute: for CI.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default="demo", show_default=True,
    help="Folder for everything the demo makes; a killed demo goes on there.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a demo of other sizes at OUT.")
@click.option(
    "--seeds", type=click.IntRange(min=1), help="Seeds an arm.  [default: 5; 1 with --fast]"
)
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=6.0, show_default=True,
    help="Wall time; no seed is begun that would probably end later.",
)  # fmt: skip
def demo_command(fast: bool, out: Path, force: bool, seeds: int | None, minutes: float) -> None:
    """Run the whole path on built-in data: raw logs, dataset, three arms, a report and a verdict.

    Real digits on real textures, simulated annotators, no network. It fails when a mechanism fails
    (exit code 1), never because of which arm is more accurate.
    """
    began = time.monotonic()
    wanted = seeds or (1 if fast else 5)
    say(textwrap.fill(_BANNER, 100))
    checks, num_seeds = run_demo(
        out, FAST if fast else FULL, num_seeds=wanted, ends=began + 60 * minutes, force=force
    )
    for check in checks:
        say(f"{'ok    ' if check.holds else 'FAILED'} {check.name}: {check.found}")
    say(f"\n{time.monotonic() - began:.0f} s, {num_seeds} of {wanted} seeds")
    say(f"{out / 'report' / 'report.html'}")
    if failed := [f"{check.name} ({check.found})" for check in checks if not check.holds]:
        raise LuabError(f"demo: a mechanism failed: {'; '.join(failed)}")


def say(text: str) -> None:
    """Print, above a progress bar if there is one."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def run_demo(
    out: Path, sizes: Sizes, *, num_seeds: int, ends: float, force: bool = False
) -> tuple[list[Check], int]:
    """Do, or finish, everything; the verdict is printed.

    Args:
        out: new, empty, or a demo's folder.
        sizes: how much of everything.
        num_seeds: seeds wanted, 0, 1, ...; each is one run an arm.
        ends: on the clock of `time.monotonic`; no seed is begun that would probably end later.
        force: remove what a demo of other sizes left in `out`.
    Returns: what must hold whatever the arms score, and how many seeds ran.
    """
    open_folder(out, sizes, force=force)
    with _workers() as pool:
        pool.submit(_train_and_evaluate)  # imports torch meanwhile
        make_dataset(out, sizes)
        say("\n[3/5] the derived clicks beside what the simulated annotators did")
        compared, different = compare_with_truth(out)
        say(f"final clicks equal to the truth: {compared - len(different):,} of {compared:,}")
        say(f"\n[4/5] train and evaluate {', '.join(ARMS)}, seeds: {num_seeds}")
        done = _train_seeds(pool, out, sizes, num_seeds, ends - _LAST_SECONDS)
    say("\n[5/5] report")
    runs = [_run_folder(out, arm, seed) for seed in range(done) for arm in ARMS]
    _luab("luab-train", "report", *runs, "--out", out / "report", "--force", quiet=True)
    report = json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))
    say(_table(out / "report" / "report.md"))
    say(textwrap.fill(verdict(report), 100) + "\n")
    return mechanics(report, runs, num_images=compared, different=different), done


def open_folder(out: Path, sizes: Sizes, *, force: bool = False) -> None:
    """Make `out` the folder of a demo of these sizes: keep what an equal one left.

    Args:
        force: remove what a demo of other sizes left there, and nothing else.

    Raises: OutputError when it holds anything that is not a demo's, or another demo.
    """
    wanted = json.dumps(asdict(sizes)) + "\n"
    try:
        names = {path.name for path in out.iterdir()} if out.exists() else set()
        if names - {_MARKER} and _MARKER not in names:
            raise OutputError(
                f"{out}: not empty and no demo of ours ({', '.join(sorted(names)[:3])}); choose a "
                "new folder with --out"
            )
        if names and (out / _MARKER).read_text(encoding="utf-8") != wanted:
            if not force:
                raise OutputError(
                    f"{out}: holds a demo of other sizes; replace it with --force, or choose"
                    " another --out"
                )
            raw = (name for name in names if name.startswith("raw.tar.gz"))
            for path in (out / name for name in (*raw, *_OURS)):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        out.mkdir(parents=True, exist_ok=True)
        (out / _MARKER).write_text(wanted, encoding="utf-8")
    except OSError as error:
        if isinstance(error, LuabError):
            raise
        raise OutputError(f"{out}: cannot be the demo's folder ({error.strerror})") from error


def make_dataset(out: Path, sizes: Sizes) -> None:
    """Scenes, raw log and dataset, whatever is missing of them."""
    say("\n[1/5] scenes: digits on textures")
    images, raw, key = out / "images", out / "raw.tar.gz", out / "worker.key"
    write_images(images, sizes.num_train, sizes.num_test)
    num = f"{sizes.num_train:,} to train on, {sizes.num_test:,} on each of {len(TEST_SETS)}"
    say(f"{images}: {num} backgrounds")
    say("\n[2/5] simulated annotators write a raw log; it becomes a dataset")
    _luab("luab-data", "simulate", "imagenet-ab", images / "train", "--out", raw)
    # The workers are simulated: a published key keeps the dataset the same on every machine.
    key.write_text("luab demo: there is nobody to protect\n")
    arguments = (raw, "--out", out / "imagenet-ab", "--worker-key-file", key)
    _luab("luab-data", "convert", "imagenet-ab", *arguments)


# --- the arms: a run per process, each with one thread -------------------------------------------
# Two runs side by side then take as long as one, on busy cores too, where the spinning threads of
# one run were seen to cost ten times its time; and numbers do not depend on the number of cores.


def _luab(program: str, *arguments: object, quiet: bool = False) -> None:
    """Print a command as it can be typed, and do what it does."""
    words = [str(argument) for argument in arguments]
    say(f"$ {shlex.join([program, *words])}")
    with contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext():
        _call(program, words)


def _call(program: str, words: list[str]) -> None:
    command = import_module(f"{program.replace('-', '_')}.cli").main
    command.main(words, prog_name=program, standalone_mode=False)


def _table(report: Path) -> str:
    """The first table of a report: of the random textures, which the runs are validated on."""
    section = report.read_text(encoding="utf-8").split("\n## ")[1].partition("\n")[2]
    return section.partition("<details>")[0]


def _run_folder(out: Path, arm: str, seed: int) -> Path:
    return out / "runs" / f"{arm}-{seed}"


def _commands(out: Path, sizes: Sizes, arm: str, seed: int) -> list[list[str]]:
    """What trains one run, and what evaluates it on each test set."""
    run, images = _run_folder(out, arm, seed), out / "images"
    train: list[object] = ["run", RECIPE, "--data", out / "imagenet-ab"]
    train += ["--images", images / "train", "--val", images / "val_random", "--out", run]
    train += ["--target", arm, "--seed", seed, "--epochs", sizes.epochs]
    train += ["--batch-size", sizes.batch_size]
    evaluate: list[list[object]] = [
        ["eval", run, "--images", images / name, "--name", name]
        for name in ("val_same", "val_next")  # on val_random it is validated
    ]
    return [[str(word) for word in words] for words in (train, *evaluate)]


def _train_seeds(
    pool: ProcessPoolExecutor, out: Path, sizes: Sizes, num_seeds: int, ends: float
) -> int:
    """All arms of seeds 0, 1, ...; returns how many seeds there was time for."""
    for words in _commands(out, sizes, "click", 0):
        say(f"$ luab-train {shlex.join(words)}")
    say("... and the same for the other arms and seeds")
    seconds = 0.0
    for seed in range(num_seeds):
        began = time.monotonic()
        # The first seed always runs: a demo without any result is none.
        if seed and began + seconds > ends:
            say(
                f"no further seed after {seed} of {num_seeds}: {max(ends - began, 0):.0f} s are"
                f" left and the next would take about {seconds:.0f} s (see --minutes)"
            )
            return seed
        jobs = {pool.submit(_train_and_evaluate, out, sizes, arm, seed): arm for arm in ARMS}
        with progress(what=f"seed {seed}", total=len(jobs), unit="run") as bar:
            for job in as_completed(jobs):
                say(f"seed {seed}, {jobs[job]:<6}: {_result(job, jobs[job], seed)}")
                bar.update()
        seconds = max(seconds, time.monotonic() - began)
    return num_seeds


def _result(job: Future[str], arm: str, seed: int) -> str:
    try:
        return job.result()
    except LuabError:
        raise
    except Exception as error:  # whatever ended another process: a kill, no memory, a bug
        raise LuabError(
            f"demo: the run {arm}-{seed} ended without a result ({type(error).__name__}: {error});"
            " the same command goes on from its last epoch"
        ) from error


def _train_and_evaluate(
    out: Path | None = None, sizes: Sizes = FAST, arm: str = "", seed: int = 0
) -> str:
    """One run and its evaluations, whatever is missing of them; its result in words."""
    import luab_train.evaluate.folder
    import luab_train.train.loop  # noqa: F401

    if out is None:
        return ""
    run = _run_folder(out, arm, seed)
    train, *evaluations = _commands(out, sizes, arm, seed)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if not (run / "model.safetensors").is_file():
            _call("luab-train", train)
        for words in evaluations:
            if words[-1] not in {line["name"] for line in lines_of(run, "evaluation")}:
                _call("luab-train", words)
    last = lines_of(run, "epoch")[-1]
    points = "" if arm == "none" else f", point error {last['val_point_error']:.1%} of the side"
    return f"accuracy on random textures {last['val_accuracy']:.1%}{points}"


@contextlib.contextmanager
def _workers() -> Iterator[ProcessPoolExecutor]:
    """A process a core, at most one an arm; gone when the block ends, however it ends."""
    others = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")  # a fork after torch was imported may hang
    number = min(len(ARMS), os.cpu_count() or 1)
    pool = ProcessPoolExecutor(number, mp_context=spawn, initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


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
