"""Killed, cut, full: the old folder stays whole, and the next run ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from logs import KEY, action, archive, block, coco_log, coco_record, files, xml

import luab_data
from luab_data.errors import ArchiveError, RecordError
from luab_data.kinds import Browsing

# The converter as a process, with shards of 100 images so that a kill falls between two.
CHILD = (
    f"KEY = {KEY!r}"
    + """
import sys
import luab_data
from luab_data.kinds import Browsing, Tagging
from luab_data.store import shards
from luab_data.raw import tar
Browsing.images_per_shard = Tagging.images_per_shard = 100
shards.ROWS_PER_GROUP = 64
tar.RUN_BYTES = 2**16
convert = getattr(luab_data, sys.argv[1])
convert(sys.argv[2], sys.argv[3], worker_key=KEY, on_bad="skip", force=True)
"""
)


def imagenet_log(path: Path, count: int = 1200, shift: float = 0.0) -> Path:
    records = {}
    for i in range(count):
        name = f"n0000000{i * 7 % 3}_{i}"
        trace = [(j, 0.25 + shift, j / 10) for j in range(i % 9)]
        blocks = [block(trace=trace, worker=f"{i % 17:010X}")]
        records[name] = b"<broken" if i % 111 == 5 else xml(name, blocks)
    return archive(path, records)


def coco_log_of(path: Path, count: int = 1200) -> Path:
    actions = [action("add", "dog", (0.5, 0.5)), action("move", "dog", (0.25, 0.5), 5)]
    records: list[Any] = [coco_record(i, actions[: 1 + i % 2]) for i in range(count)]
    records[77] = {"image_id": 77}
    records[300] = coco_record(5, actions)
    return coco_log(path, records)


def start(verb: str, log: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, verb, str(log), str(out)]
    return subprocess.Popen(command)


def num_parts(out: Path) -> int:
    """Shards of a conversion that is going on."""
    return len(list(out.with_name(f".{out.name}.partial").glob("*/part-*")))


@pytest.mark.parametrize(
    ("verb", "make", "suffix"),
    [
        ("convert_imagenet", imagenet_log, "tar.gz"),
        pytest.param("convert_coco", coco_log_of, "json", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment_the_old_folder_is_whole_and_the_next_run_ends_the_same(
    tmp_path: Path, verb: str, make: Any, suffix: str
):
    log = make(tmp_path / f"log.{suffix}")
    before = make(tmp_path / f"before.{suffix}", 130)
    began = time.monotonic()
    assert start(verb, log, tmp_path / "whole" / "ab").wait(timeout=60) == 0
    took = time.monotonic() - began
    expected = files(tmp_path / "whole" / "ab")
    assert len([name for name in expected if name.startswith("data/")]) >= 11

    draw = random.Random(3)
    out = tmp_path / "killed" / "ab"
    assert start(verb, before, out).wait(timeout=60) == 0
    old = files(out)
    killed_amid = 0
    for moment in range(4):
        process = start(verb, log, out)
        if moment % 2:  # between two shards, wherever that is
            while process.poll() is None and num_parts(out) < 2 + moment:
                time.sleep(0.001)
        else:
            time.sleep(draw.random() * took)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_amid += num_parts(out) > 0
        waiting = out.with_name(".ab.old")  # between the two renames of the swap
        assert files(out if out.exists() else waiting) in (old, expected)
    assert killed_amid, "no kill fell between two shards: nothing was tested"
    assert start(verb, log, out).wait(timeout=60) == 0
    assert files(out) == expected
    assert [p.name for p in out.parent.iterdir()] == ["ab"]


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: Any):
    log = imagenet_log(tmp_path / "log.tar.gz", 300)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("luab_data.conversion.imagenet_columns.with_labels", stop)
    with pytest.raises(KeyboardInterrupt):
        luab_data.convert_imagenet(log, tmp_path / "new" / "ab", worker_key=KEY, on_bad="skip")
    assert [p.name for p in tmp_path.iterdir()] == ["log.tar.gz"]


def test_a_cut_log_says_where_and_keeps_nothing(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(Browsing, "images_per_shard", 100)
    monkeypatch.setattr("luab_data.raw.tar.RUN_BYTES", 2**16)
    log = imagenet_log(tmp_path / "log.tar.gz", 600)
    out = luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY, on_bad="skip").out
    before = files(out)
    log.write_bytes(log.read_bytes()[: log.stat().st_size * 2 // 3])
    with pytest.raises(ArchiveError, match=r"cut or damaged after member train_xml/n0000000\d/n"):
        luab_data.convert_imagenet(log, out, worker_key=KEY, on_bad="skip", force=True)
    assert files(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ab", "log.tar.gz"]


def test_a_bad_record_before_the_cut_is_told_first(tmp_path: Path):
    log = imagenet_log(tmp_path / "log.tar.gz", 600)
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    with pytest.raises(RecordError, match=r"n0000000\d_5\.xml"):
        luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY)


def test_a_full_disk_in_the_middle_of_a_shard_leaves_the_old_dataset(
    tmp_path: Path, monkeypatch: Any
):
    """A real full disk where root may mount one; else a file size limit, which fails alike."""
    import resource

    log = imagenet_log(tmp_path / "log.tar.gz", 600)
    out = luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY, on_bad="skip").out
    before = files(out)
    limit = 20_000
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from luab_data.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    assert max(len(data) for data in before.values()) > limit
    key = tmp_path / "key"
    key.write_bytes(KEY)
    command = [sys.executable, "-c", code, "convert", "imagenet-ab", str(log), "--out", str(out)]
    command += ["--on-bad", "skip", "--worker-key-file", str(key), "--force"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1 and len(found.stderr.splitlines()) == 1, found.stderr
    assert "cannot be written" in found.stderr and "Nothing was changed" in found.stderr
    assert files(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ab", "key", "log.tar.gz"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit and os.name == "posix"
