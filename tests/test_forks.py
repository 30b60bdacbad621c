"""Parsing in forked processes: the same bytes, every failure told, nothing left running."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from logs import KEY, archive, block, files, tar, xml
from test_convert import dirty
from test_interrupted import imagenet_log

import luab_data
from luab_data import convert, forks, pipeline
from luab_data.conversion import Converted
from luab_data.errors import ArchiveError, RecordError
from luab_data.kinds import Browsing
from luab_data.raw import tar as raw_tar
from luab_data.store import folder as store

pytestmark = pytest.mark.skipif(not forks.can_fork(), reason="needs fork")


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: Any) -> None:
    monkeypatch.setattr(raw_tar, "RUN_BYTES", 2**16)
    monkeypatch.setattr(Browsing, "images_per_shard", 100)


def no_process_is_left() -> bool:
    """But the one that Python's spawn keeps for a whole process, of another test perhaps."""
    return all("resource_tracker" in " ".join(p.cmdline()) for p in psutil.Process().children())


def converted(log: Path, out: Path, **options: Any) -> Converted:
    return luab_data.convert_imagenet(log, out, worker_key=KEY, **options)


def test_processes_and_threads_write_the_same_bytes(tmp_path: Path):
    log = imagenet_log(tmp_path / "log.tar.gz", 700)
    threads = converted(log, tmp_path / "a" / "ab", on_bad="skip")
    processes = converted(log, tmp_path / "b" / "ab", on_bad="skip", fork=True)
    assert files(threads.out) == files(processes.out)
    assert threads.skipped == processes.skipped == {"xml-syntax": 7}
    assert no_process_is_left()


def test_the_first_bad_record_of_the_log_is_told_and_no_process_is_left(tmp_path: Path):
    with pytest.raises(RecordError, match=r"n1_2\.xml"):
        converted(dirty(tmp_path / "raw.tar.gz"), tmp_path / "ab", fork=True)
    log = imagenet_log(tmp_path / "log.tar.gz", 600)
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    with pytest.raises(RecordError, match=r"_5\.xml"):
        converted(log, tmp_path / "ab", fork=True)
    with pytest.raises(ArchiveError, match="cut or damaged"):
        converted(log, tmp_path / "ab", fork=True, on_bad="skip")
    assert no_process_is_left()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.tar.gz", "raw.tar.gz"]


def test_what_a_process_learns_of_worker_ids_comes_home(tmp_path: Path):
    for worker, source in (("00AA3B5E80", "release ids"), ("A1B2C3D4E5F6G7", "of another kind")):
        log = archive(tmp_path / "log.tar.gz", {"n1_1": xml("n1_1", [block(worker=worker)])})
        out = converted(log, tmp_path / "ab", fork=True, force=True).out
        assert source in store.read_manifest(out)["worker_ids"]["source"]


def test_a_process_that_dies_is_one_clear_error(tmp_path: Path, monkeypatch: Any):
    log = imagenet_log(tmp_path / "log.tar.gz", 400)
    real = pipeline.imagenet_batch
    me = os.getpid()

    def die(run: Any, **options: Any) -> Any:
        if any(name.endswith("_250.xml") for name in run.names) and os.getpid() != me:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(run, **options)

    monkeypatch.setattr(pipeline, "imagenet_batch", die)
    with pytest.raises(luab_data.LuabError, match="a parsing process was killed"):
        converted(log, tmp_path / "ab", fork=True, on_bad="skip")
    assert no_process_is_left()
    assert [p.name for p in tmp_path.iterdir()] == ["log.tar.gz"]
    monkeypatch.setattr(pipeline, "imagenet_batch", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        converted(log, tmp_path / "ab", fork=True, on_bad="skip")
    assert no_process_is_left()


def test_processes_end_when_the_one_that_writes_is_killed(tmp_path: Path):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:  # a process with workers, killed without a word
        found = forks.Forks(lambda run: None, 2, convert.WorkerHash(KEY))  # type: ignore[arg-type]
        os.write(writer, " ".join(str(pid) for pid in found._pool._processes).encode())
        time.sleep(60)
        os._exit(0)
    workers = [int(pid) for pid in os.read(reader, 100).split()]
    os.close(reader)
    os.close(writer)
    assert len(workers) == 2
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) and _runs(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def test_a_duplicate_in_another_process_is_found(tmp_path: Path):
    bodies = [(f"train_xml/n1/n1_{i}.xml", xml(f"n1_{i}")) for i in range(200)]
    log = tar(tmp_path / "log.tar.gz", [*bodies, bodies[3]])
    done = converted(log, tmp_path / "ab", fork=True, on_bad="skip")
    assert done.skipped == {"duplicate": 1} and done.num_rows["default"] == 200


@pytest.mark.parametrize("what", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stop_from_outside_makes_no_noise(tmp_path: Path, what: signal.Signals):
    import subprocess
    import sys

    log = imagenet_log(tmp_path / "log.tar.gz", 3000)
    key = tmp_path / "key"
    key.write_bytes(KEY)
    out = tmp_path / "ab"
    code = (
        "import signal, time\n"
        # A shell starts what runs in its background with Ctrl-C ignored, and so this test maybe.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from luab_data.raw import imagenet_fast, tar\n"
        "tar.RUN_BYTES, read_run = 2**16, imagenet_fast.read_run\n"
        # Some seconds of work on any machine, so that the signal comes in the middle.
        "imagenet_fast.read_run = lambda *a: time.sleep(0.05) or read_run(*a)\n"
        "from luab_data.cli import run; run()"
    )
    command = [sys.executable, "-c", code, "convert", "imagenet-ab", str(log), "--out", str(out)]
    command += ["--on-bad", "skip", "--worker-key-file", str(key)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not (tmp_path / ".ab.partial").exists():
        time.sleep(0.005)
    time.sleep(0.2)
    assert process.poll() is None, "it was quicker than the signal"
    if what == signal.SIGINT:
        os.killpg(process.pid, what)  # as a terminal does
    else:
        process.send_signal(what)
    told = process.communicate(timeout=30)[1]
    name, code = {signal.SIGINT: ("Ctrl-C", 130), signal.SIGTERM: ("SIGTERM", 143)}.get(
        what, ("", -signal.SIGKILL)
    )
    assert process.returncode == code
    if name:
        assert told == f"Error: stopped by {name}; what was not finished is not there\n"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["key", "log.tar.gz"]
    else:
        assert told == ""
