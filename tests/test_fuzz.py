"""The fuzzer itself: its logs are what they claim, and each property fails when it is broken."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_mutations as mutations
import fuzz_parsers
import fuzz_properties as properties
import pyarrow as pa
import pytest
from fuzz_parsers import TARGETS, Target, fuzz
from fuzz_properties import Broken

from luab_data.errors import RecordError
from luab_data.raw import coco_fast, imagenet, imagenet_fast, tar
from luab_data.raw.source import Source
from luab_data.raw.worker_ids import WorkerHash

NAME = f"train_xml/n00000001/{mutations.IMAGE_ID}.xml"


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return written(tmp_path / "log", mutations.tar_of([(NAME, body) for body in mutations.RECORDS]))


@pytest.fixture
def document(tmp_path: Path) -> Path:
    return written(tmp_path / "log", mutations.DOCUMENTS[0])


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_readers_hold_for_a_moment(tmp_path: Path, name: str):
    found = fuzz(TARGETS[name], seconds=1.5, seed=1, path=tmp_path / "log")
    assert found.failing is None, found.why
    assert found.cases >= 3


def test_the_corpus_is_of_the_layout_that_the_fast_reader_knows(records: Path):
    source = Source(records)
    (run,) = tar.runs(source)
    source.close()
    read = imagenet_fast.read_run(run, WorkerHash(b"0" * 16))
    assert (read.num_slow, len(read.errors)) == (0, 0)
    assert read.places.tolist() == list(range(len(mutations.RECORDS)))


@pytest.mark.parametrize("number", range(len(mutations.DOCUMENTS)))
def test_the_documents_of_the_corpus_are_whole(tmp_path: Path, number: int):
    path = written(tmp_path / "log", mutations.DOCUMENTS[number])
    source = Source(path)
    batches = list(coco_fast.batches(source, WorkerHash(b"0" * 16)))
    source.close()
    assert sum(len(batch.table) for batch in batches) >= 2
    assert not any(batch.errors for batch in batches)
    properties.coco_log(path)


@pytest.mark.parametrize("data", mutations.ARCHIVES)
def test_the_archives_of_the_corpus_are_whole(tmp_path: Path, data: bytes):
    path = written(tmp_path / "log", data)
    assert not properties._members(path, 2**20)[1]
    properties.archive_file(path)


@pytest.mark.parametrize(
    ("kind", "change", "base"),
    [
        (kind, change, base)
        for changes, base in (
            (mutations.XML, mutations.RECORDS[1]),
            (mutations.JSON, mutations.DOCUMENTS[0]),
            (mutations.TAR, mutations.ARCHIVES[0]),
        )
        for kind, change in changes.items()
    ],
)
def test_every_kind_of_change_changes_something(kind: str, change: Any, base: bytes):
    found = {change(base, i, j) for i in range(0, 900, 83) for j in range(0, 90, 7)}
    assert len(found - {base}) >= 5, kind
    assert all(isinstance(change(b"", i, j), bytes) for i in range(3) for j in range(3))


def test_what_fails_is_found_made_small_and_kept(tmp_path: Path):
    def check(path: Path) -> None:
        if b"CDATA" in path.read_bytes():
            raise KeyError("planted")

    target = Target(
        cases=lambda: mutations.changed(mutations.RECORDS, mutations.XML, 3), check=check, share=1
    )
    found = fuzz(target, seconds=60, seed=0, path=tmp_path / "log")
    assert found.failing is not None and "planted" in found.why
    assert len(found.failing) <= len(mutations.RECORDS[0]) + len(b"<![CDATA[x]]>")
    kept = fuzz_parsers.keep("imagenet", found.failing, tmp_path / "kept")
    assert kept.read_bytes() == found.failing and kept.name.startswith("imagenet-")


def test_the_same_seed_gives_the_same_logs(tmp_path: Path):
    seen: list[list[bytes]] = []
    for _ in range(2):
        logs: list[bytes] = []
        target = Target(
            cases=mutations.coco_logs, check=lambda p, to=logs: to.append(p.read_bytes()), share=1
        )
        fuzz(target, seconds=1.0, seed=5, path=tmp_path / "log")
        seen.append(logs)
    size = min(map(len, seen))
    assert size > 5 and seen[0][:size] == seen[1][:size]


def test_a_slow_log_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz_parsers, "SLOW_S", -1.0)
    path = written(tmp_path / "log", b"")
    with pytest.raises(fuzz_parsers.TooSlow):
        fuzz_parsers.check(Target(cases=mutations.archives, check=lambda p: None, share=1), path)


def wrong_read(change: Callable[[Any], Any]) -> Any:
    real = imagenet_fast.read_run
    return lambda run, hash_worker: change(real(run, hash_worker))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda read: read._replace(places=read.places[::-1]), "places"),
        (lambda read: read._replace(errors=[(0, RecordError(NAME, "x", "y"))]), "refused"),
        (lambda read: read._replace(unknown=[(0, "annotation/x")]), "unknown"),
        (
            lambda read: read._replace(
                batch=read.batch._replace(images=read.batch.images.take(pa.array([1, 0, 2, 3, 4])))
            ),
            "images",
        ),
        (
            lambda read: read._replace(
                batch=read.batch._replace(rounds=read.batch.rounds.slice(1))
            ),
            "rounds",
        ),
    ],
)
def test_a_fast_reader_that_says_something_else_is_noticed(
    records: Path, monkeypatch: pytest.MonkeyPatch, change: Any, match: str
):
    properties.imagenet_log(records)
    monkeypatch.setattr(imagenet_fast, "read_run", wrong_read(change))
    with pytest.raises(Broken, match=match):
        properties.imagenet_log(records)


def test_a_worker_id_in_an_error_is_noticed(records: Path, monkeypatch: pytest.MonkeyPatch):
    def parse(name: str, body: bytes) -> None:
        raise RecordError(name, "planted", f"of {mutations.WORKER}")

    monkeypatch.setattr(imagenet, "parse", parse)
    with pytest.raises(Broken, match="worker id"):
        properties.imagenet_log(records)


def test_a_value_that_changes_when_it_is_written_is_noticed(
    records: Path, monkeypatch: pytest.MonkeyPatch
):
    real = properties.written
    monkeypatch.setattr(properties, "written", lambda r: real(r).replace(b"0.5<", b"0.25<"))
    with pytest.raises(Broken, match="written and parsed again"):
        properties.imagenet_log(records)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda batch: batch._replace(places=batch.places + 1), "places"),
        (lambda batch: batch._replace(table=batch.table.slice(1)), "actions"),
        (lambda batch: batch._replace(unknown=[(0, "x")]), "unknown"),
        (lambda batch: batch._replace(errors=[(0, RecordError("r", "x", "y"))]), "refused"),
    ],
)
def test_batches_of_coco_that_say_something_else_are_noticed(
    document: Path, monkeypatch: pytest.MonkeyPatch, change: Any, match: str
):
    real = coco_fast.batches
    monkeypatch.setattr(coco_fast, "batches", lambda *a, **k: map(change, real(*a, **k)))
    with pytest.raises(Broken, match=match):
        properties.coco_log(document)


def test_a_broken_array_that_is_read_as_whole_is_noticed(
    document: Path, monkeypatch: pytest.MonkeyPatch
):
    document.write_bytes(document.read_bytes()[:-1])
    properties.coco_log(document)
    monkeypatch.setattr(properties, "_raw_coco", lambda path: ([], ""))
    with pytest.raises(Broken, match="broken array"):
        properties.coco_log(document)


def test_a_body_that_is_not_the_members_is_noticed(tmp_path: Path, monkeypatch: Any):
    path = written(tmp_path / "log", mutations.ARCHIVES[0])
    real = tar.Run.body
    monkeypatch.setattr(tar.Run, "body", lambda run, index: real(run, index)[1:])
    with pytest.raises(Broken, match="body of"):
        properties.archive_file(path)


def test_the_damage_to_headers_keeps_them_readable():
    """Else every changed header would only test the checksum."""
    data = mutations.header(mutations.ARCHIVES[0], 1, 0)
    with tarfile.open(fileobj=io.BytesIO(data)) as log:
        assert len(log.getnames()) == 4
        assert "a/../x.xml" in log.getnames()


def test_a_process_that_dies_leaves_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    script = tmp_path / "dies.py"
    script.write_text("import os, sys\nopen(sys.argv[2], 'wb').write(b'last')\nos.abort()\n")
    monkeypatch.setattr(fuzz_parsers, "__file__", str(script))
    assert not fuzz_parsers._run_apart("coco", 1.0, 0, tmp_path / "kept")
    assert [path.read_bytes() for path in (tmp_path / "kept").iterdir()] == [b"last"]
    assert "coco: FAILED" in capsys.readouterr().out


def test_the_command_fuzzes_and_replays(tmp_path: Path):
    script = Path(__file__).with_name("fuzz_parsers.py")
    words = [sys.executable, str(script), "--seconds", "0.5", "--seed", "3", "--target", "archive"]
    found = subprocess.run([*words, "--out", str(tmp_path)], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "archive: " in found.stdout and "seed 3" in found.stdout
    log = written(tmp_path / "archive-0.bin", mutations.ARCHIVES[1])
    found = subprocess.run([sys.executable, str(script), "--replay", str(log)], capture_output=True)
    assert found.returncode == 0 and b"holds" in found.stdout


@pytest.mark.parametrize(
    "damage",
    [
        # The last member ends in the line that the fast reader counts its lists from.
        lambda body: re.sub(rb"(<originalImageHeight)>.*?(    <selectedRecord>)", rb"\1\2", body,
                            flags=re.DOTALL),
    ],
)  # fmt: skip
def test_what_was_found_before_stays_mended(tmp_path: Path, damage: Callable[[bytes], bytes]):
    for body in mutations.RECORDS[1:]:
        damaged = damage(body)
        assert damaged != body
        for bodies in ([damaged], [damaged, body], [body, damaged]):
            log = mutations.tar_of([(NAME, body) for body in bodies])
            properties.imagenet_log(written(tmp_path / "log", log))
