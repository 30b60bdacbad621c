"""Fuzz the readers of raw logs for a while: `python tests/fuzz_parsers.py --seconds 60`.

Every target runs in a process of its own, so that a crash, a hang or too much memory is a finding
like any other. The smallest log that breaks a property is printed and kept;
`--replay FILE` runs it again.
"""

from __future__ import annotations

import faulthandler
import hashlib
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import fuzz_mutations
import fuzz_properties
import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

MEMORY_BYTES = 6 * 2**30  # address space; the damaged logs are below 400 kB
PATIENCE_S = 120  # beyond its time a target only shrinks what it found
SLOW_S = 10.0  # CPU seconds for one small log
_ROUND = 200
_SHOWN = 4000


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is fuzzed: damaged logs, the property, and its share of the time."""

    cases: Callable[[], st.SearchStrategy[bytes]]
    check: Callable[[Path], None]
    share: float


TARGETS = {
    "imagenet": Target(
        cases=fuzz_mutations.imagenet_logs, check=fuzz_properties.imagenet_log, share=1 / 3
    ),
    "archive": Target(
        cases=fuzz_mutations.archives, check=fuzz_properties.archive_file, share=1 / 6
    ),
    "coco": Target(cases=fuzz_mutations.coco_logs, check=fuzz_properties.coco_log, share=1 / 2),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one target went: logs tried, seconds, and the smallest log that failed, with why."""

    cases: int
    seconds: float
    failing: bytes | None = None
    why: str = ""


class TooSlow(AssertionError):
    """One small log took very long."""


def check(target: Target, path: Path) -> None:
    """Check one log; raises whatever is wrong."""
    before = time.process_time()
    target.check(path)
    took = time.process_time() - before
    if took > SLOW_S:
        raise TooSlow(f"{took:.1f} s of CPU time for {path.stat().st_size} bytes")


def fuzz(target: Target, *, seconds: float, seed: int, path: Path) -> Outcome:
    """Try damaged logs until the time is up or one fails, which is then made small.

    Args:
        target: what to fuzz.
        seconds: stop after that long; a failure may be shrunk beyond it.
        seed: same seed, same logs in the same order.
        path: file that each log is written to; holds the last one if the process dies.
    """
    start = time.monotonic()
    count = 0
    failed: list[tuple[bytes, str]] = []

    def attempt(case: bytes) -> None:
        nonlocal count
        if not failed and time.monotonic() - start > seconds:
            return
        path.write_bytes(case)
        count += 1
        try:
            check(target, path)
        except Exception:
            failed.append((case, traceback.format_exc()))
            raise

    settings = hypothesis.settings(
        max_examples=_ROUND,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    number = 0
    while time.monotonic() - start < seconds and not failed:
        test = settings(hypothesis.given(target.cases())(attempt))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HypothesisWarning)  # of the size of our logs
            try:
                hypothesis.seed(seed * 1_000_003 + number)(test)()
            except Exception:
                if not failed:  # not ours: Hypothesis itself
                    raise
        number += 1
    took = time.monotonic() - start
    if failed:
        case, why = failed[-1]  # Hypothesis ends with the smallest one
        return Outcome(cases=count, seconds=took, failing=case, why=why)
    return Outcome(cases=count, seconds=took)


def keep(name: str, case: bytes, out: Path) -> Path:
    """Save a failing log; its name says its target, for --replay."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}-{hashlib.sha256(case).hexdigest()[:12]}.bin"
    path.write_bytes(case)
    return path


def _report(name: str, case: bytes, why: str, out: Path) -> None:
    path = keep(name, case, out)
    shown = re.sub(rb"\x00{9,}", b" (zeros) ", case)
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + b" ..."
    click.echo(f"{name}: FAILED\n{why.rstrip()}\nlog ({len(case)} bytes): {shown!r}")
    click.echo(f"again: {sys.executable} {__file__} --replay {path}")


def _run_here(name: str, seconds: float, seed: int, path: Path, out: Path) -> bool:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    faulthandler.enable()
    outcome = fuzz(TARGETS[name], seconds=seconds, seed=seed, path=path)
    rate = outcome.cases / outcome.seconds
    click.echo(
        f"{name}: {outcome.cases} logs in {outcome.seconds:.0f} s ({rate:.0f}/s), seed {seed}"
    )
    if outcome.failing is not None:
        _report(name, outcome.failing, outcome.why, out)
    return outcome.failing is None


def _run_apart(name: str, seconds: float, seed: int, out: Path) -> bool:
    """A target in its own process; False if it failed, crashed or hung."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        words = [__file__, "--apart", str(path), "--target", name, "--seconds", str(seconds)]
        words += ["--seed", str(seed), "--out", str(out)]
        try:
            code = subprocess.run([sys.executable, *words], timeout=seconds + PATIENCE_S).returncode
            why = f"the process ended with {code}"
        except subprocess.TimeoutExpired:
            code, why = -1, f"no end {PATIENCE_S} s after its time"
        if code not in (0, 1) and path.is_file():
            _report(name, path.read_bytes(), why, out)
        return code == 0


@click.command()
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Of all targets.")
@click.option("--seed", type=int, help="Same seed, same logs. Default: another one each time.")
@click.option(
    "--target", type=click.Choice(list(TARGETS)), multiple=True, help="Default: all of them."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(__file__).resolve().parents[1] / "build" / "fuzz",
    help="Folder for logs that fail. Default: build/fuzz.",
)
@click.option(
    "--replay", type=click.Path(exists=True, path_type=Path), help="Check one kept log again."
)
@click.option("--apart", type=click.Path(path_type=Path), hidden=True)
def main(
    seconds: float,
    seed: int | None,
    target: tuple[str, ...],
    out: Path,
    replay: Path | None,
    apart: Path | None,
) -> None:
    """Fuzz the readers of raw logs; exit code 1 if any property broke."""
    if replay:
        check(TARGETS[replay.name.partition("-")[0]], replay)
        click.echo(f"{replay}: holds")
        return
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    names = target or tuple(TARGETS)
    if apart:
        raise SystemExit(0 if _run_here(names[0], seconds, seed, apart, out) else 1)
    whole = sum(TARGETS[name].share for name in names)
    fine = [_run_apart(n, seconds * TARGETS[n].share / whole, seed, out) for n in names]
    raise SystemExit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
