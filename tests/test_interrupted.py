"""Killed, cut, full, changed underneath: the next run finishes the job or says why it cannot."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from logs import KEY, action, archive, block, coco_log, coco_record, xml
from test_convert import files

import luab_data
from luab_data.errors import ArchiveError, RecordError
from luab_data.raw.source import Source, begins_with
from luab_data.store import folder as store
from luab_data.store.journal import JOURNAL, Journal

# The converter as a process, with shards of 100 images so that there is something to go on from.
CHILD = (
    f"KEY = {KEY!r}"
    + """
import sys
from pathlib import Path
import luab_data
from luab_data.store import folder as store
from luab_data.raw import archive
store.IMAGES_PER_SHARD.update({"imagenet-ab": 100, "coco-ab": 100})
store.ROWS_PER_GROUP = 64
archive.RUN_BYTES = 2**16
convert = getattr(luab_data, sys.argv[1])
done = convert(Path(sys.argv[2]), Path(sys.argv[3]), worker_key=KEY, on_bad="skip")
print(done.num_resumed)
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


def start(verb: str, log: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, verb, str(log), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def commits(out: Path) -> int:
    path = out.with_name(f".{out.name}.partial") / JOURNAL
    try:
        return len(path.read_text().splitlines()) - 1
    except OSError:
        return 0


@pytest.mark.parametrize(
    ("verb", "make", "suffix"),
    [
        ("convert_imagenet", imagenet_log, "tar.gz"),
        pytest.param("convert_coco", coco_log_of, "json", marks=pytest.mark.slow),
    ],
)
def test_killed_at_ten_moments_the_result_is_the_same_to_the_byte(
    tmp_path: Path, verb: str, make: Any, suffix: str
):
    log = make(tmp_path / f"log.{suffix}")
    whole = start(verb, log, tmp_path / "whole" / "ab")
    began = time.monotonic()
    assert whole.communicate(timeout=60)[0] == "0\n"
    took = time.monotonic() - began
    expected = files(tmp_path / "whole" / "ab")
    assert len([name for name in expected if name.startswith("data/")]) >= 11

    draw = random.Random(3)
    out = tmp_path / "killed" / "ab"
    resumed = []
    for moment in range(10):
        process = start(verb, log, out)
        if moment % 2:  # after a commit, wherever that is
            before = commits(out)
            while process.poll() is None and commits(out) <= before:
                time.sleep(0.001)
        else:
            time.sleep(draw.random() * took)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if out.exists():  # it was quicker than the kill
            assert files(out) == expected
            luab_data.find_dataset(out)
        resumed.append(commits(out))
    last = start(verb, log, out)
    printed = last.communicate(timeout=60)[0]
    assert last.returncode == 0 and files(out) == expected
    assert [p.name for p in out.parent.iterdir()] == ["ab"]
    assert any(resumed), "no kill fell after a commit: nothing was tested"
    # The last shard is not full: 1 image in 111 of the log is broken, or two in all.
    images = sum(len(pq.read_table(path)) for path in (out / "data").glob("*.parquet"))
    assert 1100 < images < 1200 and int(printed) == min(100 * resumed[-1], images)


def small_shards(monkeypatch: Any) -> None:
    monkeypatch.setitem(store.IMAGES_PER_SHARD, "imagenet-ab", 100)
    monkeypatch.setattr("luab_data.raw.archive.RUN_BYTES", 2**16)


def interrupt(
    monkeypatch: Any,
    log: Path,
    out: Path,
    commit: int = 3,
    convert: Any = luab_data.convert_imagenet,
) -> None:
    """Ctrl-C after a commit, in this process."""
    real = Journal.commit

    def stop(self: Journal, *arguments: Any) -> None:
        real(self, *arguments)
        if len(self.commits) == commit:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "commit", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(log, out, worker_key=KEY, on_bad="skip")


def test_what_was_committed_is_taken_over_not_parsed_again(tmp_path: Path, monkeypatch: Any):
    small_shards(monkeypatch)
    log = imagenet_log(tmp_path / "log.tar.gz", 600)
    whole = luab_data.convert_imagenet(log, tmp_path / "w" / "ab", worker_key=KEY, on_bad="skip")
    out = tmp_path / "k" / "ab"
    interrupt(monkeypatch, log, out)
    assert [p.name for p in out.parent.iterdir()] == [".ab.partial"]
    done = luab_data.convert_imagenet(log, out, worker_key=KEY, on_bad="skip")
    assert done.num_resumed == 300
    assert done.skipped == whole.skipped == {"xml-syntax": 6}
    assert files(out) == files(whole.out)


@pytest.mark.parametrize(
    "change", ["log", "shorter", "key", "policy", "shard", "journal", "version"]
)
def test_another_job_never_goes_on_from_this_one(tmp_path: Path, monkeypatch: Any, change: str):
    small_shards(monkeypatch)
    log = imagenet_log(tmp_path / "log.tar.gz", 600)
    out = tmp_path / "ab"
    interrupt(monkeypatch, log, out)
    partial = tmp_path / ".ab.partial"
    options: dict[str, Any] = {"worker_key": KEY, "on_bad": "skip"}
    if change == "log":
        imagenet_log(log, 600, shift=0.125)
    elif change == "shorter":
        imagenet_log(log, 20)
    elif change == "key":
        options["worker_key"] = KEY * 2
    elif change == "policy":
        options["on_bad"] = "raise"
    elif change == "shard":
        (partial / "rounds" / "part-00000.parquet").write_bytes(b"PAR1")
    elif change == "journal":
        (partial / JOURNAL).write_text("not a journal")
    elif change == "version":
        text = (partial / JOURNAL).read_text()
        (partial / JOURNAL).write_text(text.replace('"luab": "', '"luab": "0.'))
    if change == "policy":
        with pytest.raises(RecordError):
            luab_data.convert_imagenet(log, out, **options)
        assert not partial.exists()
        return
    done = luab_data.convert_imagenet(log, out, **options)
    assert done.num_resumed == 0
    whole = luab_data.convert_imagenet(log, tmp_path / "w" / "ab", **options)
    assert files(done.out) == files(whole.out)


def test_a_torn_last_line_of_the_journal_costs_one_shard(tmp_path: Path, monkeypatch: Any):
    small_shards(monkeypatch)
    log = imagenet_log(tmp_path / "log.tar.gz", 600)
    interrupt(monkeypatch, log, tmp_path / "ab")
    journal = tmp_path / ".ab.partial" / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-9])
    done = luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY, on_bad="skip")
    assert done.num_resumed == 200
    whole = luab_data.convert_imagenet(log, tmp_path / "w" / "ab", worker_key=KEY, on_bad="skip")
    assert files(done.out) == files(whole.out)


def test_a_duplicate_of_a_committed_record_is_still_one(tmp_path: Path, monkeypatch: Any):
    from logs import tar

    small_shards(monkeypatch)
    bodies = [(f"train_xml/n1/n1_{i}.xml", xml(f"n1_{i}")) for i in range(400)]
    log = tar(tmp_path / "log.tar.gz", [*bodies, bodies[7]])
    interrupt(monkeypatch, log, tmp_path / "ab")
    done = luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY, on_bad="skip")
    assert done.num_resumed == 300 and done.skipped == {"duplicate": 1}
    assert done.num_rows["default"] == 400


def test_a_cut_log_says_where_and_keeps_nothing(tmp_path: Path, monkeypatch: Any):
    small_shards(monkeypatch)
    log = imagenet_log(tmp_path / "log.tar.gz", 600)
    out = luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY, on_bad="skip").out
    before = files(out)
    log.write_bytes(log.read_bytes()[: log.stat().st_size * 2 // 3])
    with pytest.raises(ArchiveError, match=r"cut or damaged after member train_xml/n0000000\d/n"):
        luab_data.convert_imagenet(log, out, worker_key=KEY, on_bad="skip")
    assert files(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ab", "log.tar.gz"]


def test_a_bad_record_before_the_cut_is_told_first(tmp_path: Path):
    log = imagenet_log(tmp_path / "log.tar.gz", 600)
    log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    with pytest.raises(RecordError, match=r"n0000000\d_5\.xml"):
        luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY)


def test_a_log_is_known_by_how_it_begins(tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * 1000)
    source = Source(path)
    source.read(400)
    mark = (source.num_read, source.sha256)
    source.close()
    assert begins_with(path, *mark)
    for content in (b"x" * 399 + b"y" * 9, b"x" * 399, b""):
        path.write_bytes(content)
        assert not begins_with(path, *mark)


def imagenet_log_with_a_bad_end(path: Path) -> Path:
    from logs import tar

    bodies = [(f"train_xml/n1/n1_{i}.xml", xml(f"n1_{i}")) for i in range(250)]
    ids = xml("n1_7", [block(worker="amt@mail.example")])
    bodies[7] = ("train_xml/n1/n1_7.xml", ids)
    return tar(path, [*bodies, ("train_xml/n1/n1_998.xml", b""), ("train_xml/n1/n1_999.xml", b"<")])


def coco_log_with_a_bad_end(path: Path) -> Path:
    records: list[Any] = [coco_record(i, [], zoom=1) for i in range(250)]
    records[7]["worker_id"] = "amt@mail.example"
    return coco_log(path, [*records, {"image_id": 998}, 7])


@pytest.mark.parametrize(
    ("make", "name"),
    [(imagenet_log_with_a_bad_end, "log.tar.gz"), (coco_log_with_a_bad_end, "log.json")],
)
def test_what_was_told_before_the_interruption_is_told_once(
    tmp_path: Path, monkeypatch: Any, make: Any, name: str
):
    """Bad records after the last image, unknown keys, the form of ids: all in the journal."""
    small_shards(monkeypatch)
    monkeypatch.setitem(store.IMAGES_PER_SHARD, "coco-ab", 100)
    log = make(tmp_path / name)
    convert = luab_data.convert_coco if name == "log.json" else luab_data.convert_imagenet
    whole = convert(log, tmp_path / "w" / "ab", worker_key=KEY, on_bad="skip")
    assert sum(whole.skipped.values()) == 2
    for commit in (1, 3):
        out = tmp_path / str(commit) / "ab"
        interrupt(monkeypatch, log, out, commit, convert)
        done = convert(log, out, worker_key=KEY, on_bad="skip")
        assert done.num_resumed == (100 if commit == 1 else 250)
        assert files(done.out) == files(whole.out)


def test_a_log_that_grew_after_its_end_was_reached_is_read_anew(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setitem(store.IMAGES_PER_SHARD, "coco-ab", 100)
    lines = [json.dumps(coco_record(i, [])) + "\n" for i in range(230)]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(lines[:150]))
    with monkeypatch.context() as patch:
        patch.setattr("luab_data.job.complete", lambda *_, **__: 1 / 0)
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # as if it had been killed
        with pytest.raises(ZeroDivisionError):
            luab_data.convert_coco(log, tmp_path / "ab", worker_key=KEY)
    log.write_text("".join(lines))
    done = luab_data.convert_coco(log, tmp_path / "ab", worker_key=KEY)
    whole = luab_data.convert_coco(log, tmp_path / "w" / "ab", worker_key=KEY)
    assert done.num_resumed == 0 and files(done.out) == files(whole.out)


def test_the_journal_keeps_only_what_it_lists(tmp_path: Path):
    journal = Journal(tmp_path, {"job": 1})
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").write_bytes(b"12345")
    journal.commit([tmp_path / "a" / "kept"], {"n": 1})
    (tmp_path / "a" / "kept").write_bytes(b"1234567")  # grew after the commit
    (tmp_path / "a" / "half").write_bytes(b"1")
    (tmp_path / "b").mkdir()
    again = Journal(tmp_path, {"job": 1})
    assert [c["n"] for c in again.commits] == [1]
    assert {n for n in files(tmp_path) if n != JOURNAL} == {"a/kept"}
    assert (tmp_path / "a" / "kept").read_bytes() == b"12345" and not (tmp_path / "b").exists()
    assert Journal(tmp_path, {"job": 2}).commits == []
    assert set(files(tmp_path)) == {JOURNAL}
    assert json.loads((tmp_path / JOURNAL).read_text()) == {"job": 2}


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
    command += ["--on-bad", "skip", "--worker-key-file", str(key)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1 and len(found.stderr.splitlines()) == 1, found.stderr
    assert "cannot be written" in found.stderr and "Nothing was changed" in found.stderr
    assert files(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ab", "key", "log.tar.gz"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit and os.name == "posix"
