"""[I/O] One command as a process: wall and CPU time, memory of its whole tree; and on what machine.

This module stays light (no pyarrow): the kernel counts the memory of the process that starts a
command into the command's `ru_maxrss`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
INTERVAL_S = 0.02
_PATIENCE = 60  # a look at new children or PSS is repeated after 60 times what the last one took
_MIB = 2**20
_CODE = ("luab_data", "luab_train")
_PACKAGES = (
    *("luab", "numpy", "pyarrow", "shapely", "isal", "msgspec"),
    *("datasets", "pandas", "psutil"),
)


class CommandFailed(Exception):
    """A measured command ended with an error; the message holds the end of what it wrote."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one run took.

    Args:
        wall_s: from just before the start of the process to its end, start-up included.
        cpu_s: user and system time of the process and its children.
        tree_rss_mib: largest sum of the resident memory of all processes of the tree at one moment,
            sampled every 20 ms (new processes join about every 100 ms); pages shared by two of
            them count twice, so it is never too low for want of sharing.
        tree_pss_mib: the same with shared pages divided among their users, sampled a few times a
            second (a look costs 4 ms a process), so it can miss a peak; 0 where the system does
            not tell.
        largest_process_mib: `ru_maxrss` of wait4: the exact peak of the largest single process.
        load: load average of the last minute just before the start.
        sampler_s: CPU time that sampling took, on the same machine at the same time.
    """

    wall_s: float
    cpu_s: float
    tree_rss_mib: float
    tree_pss_mib: float
    largest_process_mib: float
    load: float
    sampler_s: float

    def as_row(self) -> dict[str, float]:
        """For a result row: rounded to what a noisy machine can tell."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


class _TreeMemory(threading.Thread):
    """Samples the memory of a process and its descendants until `stop`."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self.rss = 0
        self.pss = 0
        self.cpu_s = 0.0

    def run(self) -> None:
        """Resident memory at every look; children and PSS only as often as they cost little."""
        tree = [self._root]
        next_tree = next_pss = 0.0
        while not self._ended.is_set():
            now = time.perf_counter()
            if now >= next_tree:
                tree = [self._root, *_or(self._root.children, [], recursive=True)]
                next_tree = now + _PATIENCE * (time.perf_counter() - now)
            self.rss = max(self.rss, sum(_rss(process) for process in tree))
            now = time.perf_counter()
            if now >= next_pss:
                self.pss = max(self.pss, sum(_pss(process) for process in tree))
                next_pss = now + _PATIENCE * (time.perf_counter() - now)
            self._ended.wait(INTERVAL_S)
        self.cpu_s = time.thread_time()

    def stop(self) -> None:
        """End sampling; then the figures are final."""
        self._ended.set()
        self.join()


def _or(function: Any, default: Any, **options: Any) -> Any:
    """The function's value; the default for a process that has just ended."""
    try:
        return function(**options)
    except psutil.Error:
        return default


def _rss(process: psutil.Process) -> int:
    info = _or(process.memory_info, None)
    return info.rss if info else 0


def _pss(process: psutil.Process) -> int:
    return getattr(_or(process.memory_full_info, None), "pss", 0)


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Figures:
    """Run a command to its end and measure it.

    Raises:
        CommandFailed: it ended with another exit code than 0.
    """
    with tempfile.TemporaryFile() as output:
        load = os.getloadavg()[0]
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            memory = _TreeMemory(process.pid)
            memory.start()
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            kill_tree(process.pid)
            raise
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        memory.stop()
        if process.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace")[-2000:]
            raise CommandFailed(f"{' '.join(command)}: exit code {process.returncode}\n{text}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Figures(
        wall_s=wall,
        cpu_s=usage.ru_utime + usage.ru_stime,
        tree_rss_mib=memory.rss / _MIB,
        tree_pss_mib=memory.pss / _MIB,
        largest_process_mib=usage.ru_maxrss * unit / _MIB,
        load=load,
        sampler_s=memory.cpu_s,
    )


def kill_tree(pid: int) -> None:
    """End a process and its descendants: an interrupted benchmark leaves nothing running."""
    root = _or(lambda: psutil.Process(pid), None)
    if root is None:
        return
    for process in [*_or(root.children, [], recursive=True), root]:
        _or(process.kill, None)


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """CPU, cores this process may use, memory, system."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _cpu_model(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Python and the packages that any arm uses."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit(root: Path = ROOT) -> str:
    """Short commit of the checkout, `+` if tracked files differ from it; empty outside of git."""

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *_CODE)
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
