"""[I/O] Where a conversion's time goes, as text: `python stages.py DATASET SOURCE OUT`.

A sampler looks at every Python thread every 5 ms and gives the CPU time that the thread took since
the last look to the function it is in now. So a thread that waits costs nothing, and a call into
Arrow or isal is the cost of the function that made it. Threads inside Arrow have no Python frame;
their CPU time is the remainder, told as such. Processes that the conversion starts are told as a
sum.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import FrameType

_PACKAGES = ("luab_data", "luab_train")
INTERVAL_S = 0.005
_SHOWN = 15
_SWITCH_S = 1e-4  # Python's own 5 ms would show most of them at the next call that frees the lock
_PER_THREAD_CLOCK = 6  # Linux: CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED


def thread_cpu_s(native_id: int) -> float:
    """CPU time of a thread of this process; 0 where the system does not tell or it has ended."""
    try:
        # What pthread_getcpuclockid makes of a thread, but an error instead of a crash if it ended.
        return time.clock_gettime((~native_id << 3) | _PER_THREAD_CLOCK)
    except OSError:
        return 0.0


def _where(frame: FrameType) -> str:
    parts = Path(frame.f_code.co_filename).parts
    start = next((parts.index(name) for name in _PACKAGES if name in parts), -2)
    return f"{'/'.join(parts[start:])}:{frame.f_code.co_name}"


class Sampler(threading.Thread):
    """Adds up CPU seconds by thread and function until `stop`."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="sampler")
        self._ended = threading.Event()
        self.own: dict[tuple[str, str], float] = defaultdict(float)  # (thread, function): CPU s
        self.under: dict[tuple[str, str], float] = defaultdict(float)  # with what they call
        self.cpu_s: dict[str, float] = defaultdict(float)
        self.looks: Counter[str] = Counter()

    def run(self) -> None:
        """What threads did before the first look is not counted."""
        before = {i: thread_cpu_s(i) for t in threading.enumerate() if (i := t.native_id)}
        while not self._ended.is_set():
            threads = {t.ident: t for t in threading.enumerate() if t is not self}
            for ident, frame in sys._current_frames().items():
                thread = threads.get(ident)
                if thread is None or thread.native_id is None:
                    continue
                now = thread_cpu_s(thread.native_id)
                spent = max(0.0, now - before.get(thread.native_id, 0.0))
                before[thread.native_id] = now
                self._add(_kind(thread.name), frame, spent)
            self._ended.wait(INTERVAL_S)

    def _add(self, thread: str, frame: FrameType, spent: float) -> None:
        self.looks[thread] += 1
        self.cpu_s[thread] += spent
        self.own[thread, _where(frame)] += spent
        seen = set()
        at: FrameType | None = frame
        while at is not None:
            seen.add(_where(at))
            at = at.f_back
        for function in seen:
            if function.split("/")[0] in _PACKAGES:
                self.under[thread, function] += spent

    def stop(self) -> None:
        """End sampling; then the sums are final."""
        self._ended.set()
        self.join()


def _kind(name: str) -> str:
    """Threads of one pool are one line: `ThreadPoolExecutor-0_1` is `ThreadPoolExecutor-0`."""
    head, _, tail = name.rpartition("_")
    return head if head and tail.isdigit() else name


def report(sampler: Sampler, *, wall_s: float, cpu_s: float, children_s: float) -> str:
    """The profile as text: threads, then the functions of each."""
    python = sum(sampler.cpu_s.values())
    lines = [
        f"wall {wall_s:.2f} s, CPU of this process {cpu_s:.2f} s (threads inside Arrow and the"
        f" sampler {max(0.0, cpu_s - python):.2f} s), of processes it started {children_s:.2f} s",
        "",
        f"{'CPU s':>8} {'of wall':>8}  thread",
    ]
    for thread, spent in sorted(sampler.cpu_s.items(), key=lambda item: -item[1]):
        lines.append(f"{spent:8.2f} {spent / wall_s:8.0%}  {thread}")
    for title, costs in (
        ("own time of functions", sampler.own),
        ("functions of ours with what they call", sampler.under),
    ):
        for thread, total in sorted(sampler.cpu_s.items(), key=lambda item: -item[1]):
            if total < 0.01 * wall_s:
                continue
            lines += ["", f"{thread}: {title}", f"{'CPU s':>8} {'share':>8}  function"]
            found = [(s, f) for (t, f), s in costs.items() if t == thread and s > 0]
            for spent, function in sorted(found, reverse=True)[:_SHOWN]:
                lines.append(f"{spent:8.2f} {spent / total:8.0%}  {function}")
    return "\n".join(lines) + "\n"


def profile(dataset: str, source: Path, out: Path) -> str:
    """Convert a log and tell where the time went. Importing the package is not part of it."""
    from luab_data import convert_coco, convert_imagenet

    convert = {"imagenet-ab": convert_imagenet, "coco-ab": convert_coco}[dataset]
    sampler = Sampler()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    cpu, start = time.process_time(), time.perf_counter()
    sampler.start()
    try:
        convert(source, out, worker_key=b"a key for benchmarks", shown=False)
        wall = time.perf_counter() - start
    finally:
        sampler.stop()
        sys.setswitchinterval(interval)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return report(
        sampler,
        wall_s=wall,
        cpu_s=time.process_time() - cpu,
        children_s=children.ru_utime + children.ru_stime,
    )


if __name__ == "__main__":
    os.environ.setdefault("XDG_CONFIG_HOME", tempfile.mkdtemp())
    print(profile(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])), end="")
