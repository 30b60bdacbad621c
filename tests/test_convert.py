from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from logs import KEY, SHARED, action, archive, block, coco_log, coco_record, files, luab, tar, xml

import luab_data
from luab_data.cli import main
from luab_data.conversion import Converted
from luab_data.errors import ArchiveError, DatasetError, ImagesError, OutputError, RecordError
from luab_data.files import new_folder, sha256_of
from luab_data.kinds import KINDS, Browsing
from luab_data.raw.bad_records import SeenIds
from luab_data.raw.worker_ids import WorkerHash
from luab_data.store import folder as store
from luab_data.store import shards
from luab_data.store.shards import ShardWriter

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
RAW = SHARED / "data/raw"


def small(path: Path, count: int = 6, shift: float = 0.0) -> Path:
    """A release archive of two classes, in no useful order."""
    records = {}
    for i in range(count):
        name = f"n0000000{2 - i % 2}_{i}"
        blocks = [block(clicks=[(1, 0.1 * (i % 9) + shift, 0.5)], worker=f"WORKER{i % 3}")]
        records[name] = xml(name, blocks, boxes=[(0, 0, 90, 100)] if i % 2 else None)
    return archive(path, records)


def convert(source: Path, out: Path, **options: Any) -> Converted:
    return luab_data.convert_imagenet(source, out, worker_key=KEY, force=True, **options)


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "luab_data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


# --- what a user gets ----------------------------------------------------------------------------


def test_the_folder_loads_by_name_from_its_parent(tmp_path: Path):
    done = convert(small(tmp_path / "raw.tar.gz"), tmp_path / "imagenet-ab")
    assert done.num_rows == {"default": 6, "rounds": 6, "annotators": 3}
    code = (
        "from datasets import load_dataset as load\n"
        "images = load('imagenet-ab', split='train')\n"
        "rounds = load('imagenet-ab', 'rounds', split='train')\n"
        "workers = load('imagenet-ab', 'annotators', split='train')\n"
        "stream = load('imagenet-ab', split='train', streaming=True)\n"
        "print(len(images), len(rounds), len(workers), images.features['label'].names)\n"
        "print(list(stream)[0] == images[0], images.features['boxes'])\n"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        "6 6 3 ['n00000001', 'n00000002']",
        "True List(List(Value('float64')))",
    ]


def test_features_of_the_card_are_those_of_the_files(tmp_path: Path):
    import datasets

    convert(small(tmp_path / "raw.tar.gz"), tmp_path / "ab")
    coco = coco_log(tmp_path / "raw.json", [coco_record(1, [action("add", "dog", (0.5, 0.5))])])
    luab_data.convert_coco(coco, tmp_path / "coco", worker_key=KEY)
    for name, kind in (("ab", "imagenet-ab"), ("coco", "coco-ab")):
        for table in KINDS[kind].tables:
            found = luab_data.load_dataset(tmp_path / name, table.config, split="train")
            assert found.features.arrow_schema.names == table.schema().names
            for field in table.schema():
                assert found.features.arrow_schema.field(field.name).type == field.type
            for path in store.parquet_files(tmp_path / name, table):
                schema = pq.read_schema(path)
                # `datasets` < 4 cannot read the metadata that >= 4 would leave here.
                assert schema.metadata is None or b"huggingface" not in schema.metadata
                assert schema.equals(table.schema())
                for field in table.schema():
                    stored = schema.field(field.name).metadata
                    assert field.metadata.items() <= stored.items()
    assert isinstance(found, datasets.Dataset)


def test_a_dataset_is_found_by_path_or_under_the_home(tmp_path: Path, monkeypatch: Any):
    convert(small(tmp_path / "raw.tar.gz"), tmp_path / "home" / "imagenet-ab")
    monkeypatch.setenv("LUAB_DATA_HOME", str(tmp_path / "home"))
    assert luab_data.find_dataset("imagenet-ab") == tmp_path / "home" / "imagenet-ab"
    assert luab_data.stats("imagenet-ab")["num_images"] == 6
    with pytest.raises(DatasetError, match="no config 'events'; expected one of default, rounds"):
        luab_data.load_dataset("imagenet-ab", "events")
    with pytest.raises(DatasetError, match="luab-data convert"):
        luab_data.load_dataset("coco-ab")


def test_changed_rows_are_served_though_the_cache_knows_the_folder(tmp_path: Path):
    """`datasets` caches a local folder by its card: the version has to move with the content."""
    import shutil

    out = tmp_path / "imagenet-ab"

    def first_click() -> float:
        images = luab_data.load_dataset(out, split="train", cache_dir=str(tmp_path / "cache"))
        return float(images["final_click_x"][1])

    first = convert(small(tmp_path / "a.tar.gz"), out).version
    before = first_click()
    assert convert(small(tmp_path / "a.tar.gz"), out).version == first
    assert convert(small(tmp_path / "b.tar.gz", shift=0.05), out).version != first
    assert first_click() == pytest.approx(before + 0.05)
    shutil.rmtree(out)
    convert(small(tmp_path / "c.tar.gz", shift=0.1), out)
    assert first_click() == pytest.approx(before + 0.1)


def test_equal_input_gives_equal_bytes_and_checksums_hold(tmp_path: Path):
    raw = small(tmp_path / "raw.tar.gz", count=30)
    first, second = (convert(raw, tmp_path / name / "imagenet-ab") for name in "ab")
    assert first.content_digest == second.content_digest
    assert files(first.out) == files(second.out)
    sums = (first.out / "SHA256SUMS").read_text().splitlines()
    for line in sums:
        digest, name = line.split("  ")
        assert sha256_of(first.out / name) == digest
    manifest = store.read_manifest(first.out)
    assert {line.split("  ")[1] for line in sums} == set(manifest["files"])
    assert manifest["num_rows"]["default"] == 30


def test_batches_and_shards_do_not_show_in_the_rows(tmp_path: Path, monkeypatch: Any):
    raw = small(tmp_path / "raw.tar.gz", count=40)
    whole = convert(raw, tmp_path / "whole").out
    monkeypatch.setattr("luab_data.raw.tar.RUN_BYTES", 7 * 4096)
    monkeypatch.setattr(shards, "ROWS_PER_GROUP", 20)
    monkeypatch.setattr(Browsing, "images_per_shard", 10)
    parts = convert(raw, tmp_path / "parts").out
    names = sorted(p.name for p in (parts / "data").iterdir())
    assert names == [f"train-{i:05d}-of-00004.parquet" for i in range(4)]
    for config in ("data", "rounds", "annotators"):
        assert pq.read_table(whole / config).equals(pq.read_table(parts / config))
    for images in sorted((parts / "data").iterdir()):
        ids = pq.read_table(images)["image_id"].to_pylist()
        rounds = pq.read_table(parts / "rounds" / images.name)["image_id"].to_pylist()
        assert sorted(set(rounds)) == sorted(ids) and len(ids) == 10


def test_no_worker_id_of_the_log_is_anywhere_in_the_dataset(tmp_path: Path):
    raw = archive(
        tmp_path / "raw.tar.gz",
        {
            "n1_1": xml("n1_1", [block(worker="SECRETWORKER")]),
            "n1_2": xml("n1_2", [block(worker="SECRETWORKER", page_idx="x")]),
        },
    )
    out = convert(raw, tmp_path / "ab", on_bad="skip").out
    assert len(list(out.rglob("*.parquet"))) == 3
    for name, data in files(out).items():
        assert b"SECRETWORKER" not in data, name
    for config in ("data", "rounds", "annotators"):
        assert "SECRETWORKER" not in str(pq.read_table(out / config).to_pylist())
    other = luab_data.convert_imagenet(raw, tmp_path / "c", worker_key=KEY * 2, on_bad="skip").out
    ids = [pq.read_table(o / "annotators")["worker_id"][0].as_py() for o in (out, other)]
    assert ids[0] != ids[1] and all(len(i) == 16 for i in ids)


# --- bad input -----------------------------------------------------------------------------------


def dirty(path: Path) -> Path:
    good = xml("n1_1")
    return tar(
        path,
        [
            ("train_xml/n1/n1_1.xml", good),
            ("train_xml/n1/n1_2.xml", b"<annotation>"),
            ("train_xml/n1/n1_1.xml", good),
            ("train_xml/../../escape.xml", good),
            ("train_xml/n1/n1_3.xml", xml("n1_3")),
        ],
    )


def test_skipped_records_are_listed_by_name_and_reason(tmp_path: Path):
    done = convert(dirty(tmp_path / "raw.tar.gz"), tmp_path / "in" / "ab", on_bad="skip")
    assert done.num_rows["default"] == 2
    assert done.skipped == {"duplicate": 1, "unsafe-path": 1, "xml-syntax": 1}
    rows = [json.loads(line) for line in (done.out / "skipped.jsonl").read_text().splitlines()]
    assert [(row["where"], row["rule"]) for row in rows] == [
        ("train_xml/n1/n1_2.xml", "xml-syntax"),
        ("train_xml/n1/n1_1.xml", "duplicate"),
        ("train_xml/../../escape.xml", "unsafe-path"),
    ]
    assert all(row["reason"] for row in rows)
    assert not list(tmp_path.rglob("escape.xml"))
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == ["ab"]


def test_a_bad_record_stops_the_conversion_and_leaves_nothing(tmp_path: Path):
    found = luab("convert", "imagenet-ab", dirty(tmp_path / "raw.tar.gz"), "--out", tmp_path / "ab")
    assert found.exit_code == 1
    assert "train_xml/n1/n1_2.xml" in found.stderr and "--on-bad skip" in found.stderr
    assert "Traceback" not in found.stderr and len(found.stderr.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["raw.tar.gz"]
    with pytest.raises(DatasetError):
        luab_data.load_dataset(tmp_path / "ab")


def test_a_failed_conversion_leaves_the_old_dataset_alone(tmp_path: Path):
    out = convert(small(tmp_path / "good.tar.gz"), tmp_path / "ab").out
    before = files(out)
    with pytest.raises(RecordError):
        convert(dirty(tmp_path / "bad.tar.gz"), out)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes((tmp_path / "good.tar.gz").read_bytes()[:-20])
    with pytest.raises(ArchiveError):
        convert(cut, out)
    assert files(out) == before


def test_a_log_of_the_other_kind_is_sent_to_its_command(tmp_path: Path):
    tagging = coco_log(tmp_path / "log.json", [coco_record(1, [])])
    browsing = small(tmp_path / "raw.tar.gz")
    plain = tar(tmp_path / "raw.tar", {"train_xml/n1/n1_1.xml": xml("n1_1")})
    with pytest.raises(ArchiveError, match=r"log of COCO-AB .* `luab-data convert coco-ab` reads"):
        convert(tagging, tmp_path / "ab")
    for log in (browsing, plain):
        with pytest.raises(ArchiveError, match=r"log of ImageNet-AB .*`luab-data convert imagenet"):
            luab_data.convert_coco(log, tmp_path / "ab", worker_key=KEY)
    with pytest.raises(ArchiveError, match="is a folder; expected a file: JSON"):
        luab_data.convert_coco(tmp_path, tmp_path / "ab", worker_key=KEY)
    assert not (tmp_path / "ab").exists()


def test_an_archive_without_any_record_is_no_dataset(tmp_path: Path):
    raw = tar(tmp_path / "raw.tar.gz", {"README.txt": b"hello"})
    with pytest.raises(ArchiveError, match=r"no usable record among 1 \({'not-xml': 1}\)"):
        convert(raw, tmp_path / "ab", on_bad="skip")


def test_coco_duplicates_and_bad_records(tmp_path: Path):
    records = [coco_record(1, []), coco_record(1, []), {"image_id": 3}, coco_record(2, [])]
    raw = coco_log(tmp_path / "raw.json", records)
    with pytest.raises(RecordError, match="record 1: image 1 was there before"):
        luab_data.convert_coco(raw, tmp_path / "ab", worker_key=KEY)
    done = luab_data.convert_coco(raw, tmp_path / "ab", worker_key=KEY, on_bad="skip")
    assert done.num_rows["default"] == 2 and done.skipped == {"duplicate": 1, "missing": 1}


@pytest.mark.parametrize("worker", [1234567890, ["1234567890"], {"1234567890": 1}, 1234567890.5])
def test_a_worker_id_of_a_wrong_type_is_in_no_report(tmp_path: Path, worker: Any):
    records = [coco_record(1, []), coco_record(2, [], worker_id=worker)]
    raw = coco_log(tmp_path / "raw.json", records)
    done = luab_data.convert_coco(raw, tmp_path / "ab", worker_key=KEY, on_bad="skip")
    assert done.skipped == {"not-a-string": 1}
    assert "1234567890" not in (done.out / "skipped.jsonl").read_text()


def test_an_instances_file_of_other_images_is_noticed(tmp_path: Path):
    raw = coco_log(tmp_path / "raw.json", [coco_record(1, []), coco_record(2, [])])
    for known, missing in (([7], None), ([1], 1), ([1, 2], 0)):
        images = [{"id": i, "width": 4, "height": 4} for i in known]
        truth = tmp_path / "instances.json"
        truth.write_text(json.dumps({"images": images, "annotations": []}))
        options: dict[str, Any] = {"instances": truth, "worker_key": KEY, "force": True}
        if missing is None:
            with pytest.raises(ImagesError, match="has none of the 2 images"):
                luab_data.convert_coco(raw, tmp_path / "ab", **options)
        else:
            done = luab_data.convert_coco(raw, tmp_path / "ab", **options)
            assert done.num_without_truth == missing


def test_missing_and_damaged_files_are_noticed(tmp_path: Path):
    out = convert(small(tmp_path / "raw.tar.gz"), tmp_path / "ab").out
    (path,) = (out / "data").iterdir()
    good = path.read_bytes()
    path.write_bytes(good[:200] + bytes([good[200] ^ 255]) + good[201:])
    with pytest.raises(DatasetError, match="is not what the manifest says"):
        luab_data.load_dataset(out)
    luab_data.load_dataset(out, "rounds")
    path.write_bytes(good[:-100])
    with pytest.raises(DatasetError, match="damaged"):
        luab_data.read_table(out)
    path.unlink()
    with pytest.raises(DatasetError, match="is missing though the manifest lists it"):
        luab_data.stats(out)


def test_all_bytes_of_a_long_key_count():
    head = b"-----BEGIN OPENSSH PRIVATE KEY-----" + b"A" * 64
    assert WorkerHash(head + b"1")("x") != WorkerHash(head + b"2")("x")
    assert WorkerHash(head + b"1")("x") == WorkerHash(head + b"1")("x")


def test_seen_ids_are_exact():
    seen = SeenIds()
    ids = ["n1_1", "n1_01", "n1_9", "n1_1000000", "n1_-1", "1", "", "n2_1", "n1_1_1", "n1_²", 1, 2]
    assert [seen.own_id(i) for i in ids] == ids
    assert [seen.own_id(i) for i in ids] == [None] * len(ids)


# --- the target ----------------------------------------------------------------------------------


def test_what_luab_did_not_write_is_never_replaced(tmp_path: Path):
    raw = small(tmp_path / "raw.tar.gz")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    with pytest.raises(OutputError, match=r"no manifest\.json"):
        convert(raw, mine)
    out = convert(raw, tmp_path / "ab").out
    (out / "notes.txt").write_text("x")
    with pytest.raises(OutputError, match=r"luab did not write: notes\.txt"):
        convert(raw, out)
    with pytest.raises(OutputError, match="is a file"):
        convert(raw, raw)


def test_the_same_job_is_known_without_doing_it(tmp_path: Path, monkeypatch: Any):
    raw = small(tmp_path / "raw.tar.gz")
    log = coco_log(tmp_path / "raw.json", [coco_record(1, [])])
    truth = tmp_path / "instances.json"
    truth.write_text(
        json.dumps({"images": [{"id": 1, "width": 4, "height": 4}], "annotations": []})
    )
    coco: dict[str, Any] = {"worker_key": KEY, "instances": truth}
    convert(raw, tmp_path / "in")
    luab_data.convert_coco(log, tmp_path / "co", **coco)
    before = files(tmp_path)
    monkeypatch.setattr("luab_data.pipeline.write_shards", lambda *_: 1 / 0)
    assert luab_data.convert_imagenet(raw, tmp_path / "in", worker_key=KEY).is_same
    done = luab_data.convert_coco(log, tmp_path / "co", **coco)
    assert done.is_same and done.num_rows["default"] == 1
    for other in ({"worker_key": KEY * 2}, {"instances": None}, {"on_bad": "skip"}):
        with pytest.raises(OutputError, match="with other content; replace it with --force"):
            luab_data.convert_coco(log, tmp_path / "co", **{**coco, **other})
    assert files(tmp_path) == before
    (tmp_path / "in" / "data" / "train-00000-of-00001.parquet").write_bytes(b"damaged")
    with pytest.raises(OutputError, match="with other content"):
        luab_data.convert_imagenet(raw, tmp_path / "in", worker_key=KEY)


def test_another_dataset_is_replaced_with_force_only_and_the_same_is_left_alone(tmp_path: Path):
    log, other = small(tmp_path / "a.tar.gz"), small(tmp_path / "b.tar.gz", shift=0.05)
    out = convert(log, tmp_path / "ab").out
    (out / ".DS_Store").write_text("x")
    before = files(tmp_path)
    command = ["convert", "imagenet-ab", str(log), "--out", str(out), "--worker-key-file"]
    (tmp_path / "key").write_bytes(KEY)
    done = CliRunner().invoke(main, [*command, str(tmp_path / "key")])
    assert done.exit_code == 0 and "is there already, with the same content" in done.output
    assert luab_data.convert_imagenet(log, out, worker_key=KEY).is_same
    with pytest.raises(OutputError, match="other content; replace it with --force"):
        luab_data.convert_imagenet(other, out, worker_key=KEY)
    (tmp_path / "key").unlink()
    assert files(tmp_path) == before
    assert not luab_data.convert_imagenet(other, out, worker_key=KEY, force=True).is_same


def test_a_full_disk_is_one_clear_error_and_nothing_is_left(tmp_path: Path, monkeypatch: Any):
    raw = small(tmp_path / "raw.tar.gz")
    out = convert(raw, tmp_path / "ab").out
    before = files(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ShardWriter, "_write_group", refuse)
    with pytest.raises(OutputError, match="No space left on device"):
        convert(raw, out)
    assert files(tmp_path) == before


def test_a_failed_swap_puts_the_old_dataset_back(tmp_path: Path, monkeypatch: Any):
    out = convert(small(tmp_path / "raw.tar.gz"), tmp_path / "ab").out
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == ".ab.partial":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    other = small(tmp_path / "raw.tar.gz", shift=0.05)
    before = files(tmp_path)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="No space left"):
        convert(other, out)
    assert files(tmp_path) == before


def test_a_linked_folder_stays_a_link(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for shift in (0.0, 0.05):
        convert(small(tmp_path / "raw.tar.gz", shift=shift), tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert luab_data.stats(tmp_path / "real")["num_images"] == 6
    assert {p.name for p in tmp_path.iterdir()} == {"real", "link", "raw.tar.gz"}


def test_a_failed_conversion_leaves_no_new_folders(tmp_path: Path):
    with pytest.raises(RecordError):
        convert(dirty(tmp_path / "raw.tar.gz"), tmp_path / "a" / "b" / "ab")
    assert [p.name for p in tmp_path.iterdir()] == ["raw.tar.gz"]


@pytest.mark.parametrize("target", ["/", "."])
def test_a_folder_that_cannot_be_swapped_is_refused(target: str, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="cannot be replaced as a whole"):
        convert(small(tmp_path / "raw.tar.gz"), Path(target))


def test_two_writers_of_one_folder_do_not_mix(tmp_path: Path):
    with (
        new_folder(tmp_path / "ab", by="dataset"),
        pytest.raises(OutputError, match="another process"),
    ):
        convert(small(tmp_path / "raw.tar.gz"), tmp_path / "ab")


def test_a_kill_between_the_two_renames_is_mended_by_the_next_run(tmp_path: Path):
    out = convert(small(tmp_path / "a.tar.gz"), tmp_path / "ab").out
    out.rename(tmp_path / ".ab.old")
    with pytest.raises(RecordError):
        convert(dirty(tmp_path / "bad.tar.gz"), out)
    assert luab_data.stats(out)["num_images"] == 6
    assert not (tmp_path / ".ab.old").exists()


def test_a_read_only_parent_is_one_clear_error(tmp_path: Path):
    if os.geteuid() == 0:
        target = Path("/proc/luab/ab")  # root may write anywhere but here
    else:
        target = tmp_path / "closed" / "ab"
        target.parent.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        convert(small(tmp_path / "raw.tar.gz"), target)


# --- the command ---------------------------------------------------------------------------------


def test_convert_and_stats_as_processes(tmp_path: Path):
    found = run("convert", "imagenet-ab", small(tmp_path / "r.tar.gz"), "--out", "ab", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert re.fullmatch(
        r"ab: version 1\.0\.\d+, rows: default 6, rounds 6, annotators 3\n", found.stdout
    )
    assert found.stderr == ""  # no terminal, no progress bar
    numbers = json.loads(run("stats", "ab", "--json", cwd=tmp_path).stdout)
    assert numbers["num_evaluated"] == 3 and numbers["click_accuracy"] == pytest.approx(2 / 3)
    assert "click_accuracy             0.6667" in run("stats", "ab", cwd=tmp_path).stdout


@pytest.mark.parametrize("key", [b"", b"short", None])
def test_a_bad_key_file_says_how_to_make_one(tmp_path: Path, key: bytes | None, monkeypatch: Any):
    file = tmp_path / "key"
    if key is not None:
        file.write_bytes(key)
    monkeypatch.setenv("LUAB_WORKER_KEY_FILE", str(file))
    command = ["convert", "imagenet-ab", str(small(tmp_path / "r.tar.gz")), "--out", "x"]
    found = CliRunner().invoke(main, command)
    assert found.exit_code == 1 and str(file) in found.output


def test_the_first_use_makes_a_secret_key_that_stays(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    raw = small(tmp_path / "r.tar.gz")
    outs = [luab_data.convert_imagenet(raw, tmp_path / name).out for name in "ab"]
    key = tmp_path / "config" / "luab" / "worker.key"
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_text().strip()) == 64
    assert [p.name for p in key.parent.iterdir()] == ["worker.key"]
    assert files(outs[0]) == files(outs[1]) or outs[0].name != outs[1].name
    ids = [pq.read_table(out / "annotators")["worker_id"].to_pylist() for out in outs]
    assert ids[0] == ids[1]


# --- the shared archives -------------------------------------------------------------------------


@needs_shared
def test_the_tiny_archive_has_the_known_counts(tiny: Path):
    manifest = store.read_manifest(tiny)
    assert manifest["num_rows"]["default"] == 10_000 and manifest["num_rows"]["rounds"] == 11_821
    assert len(manifest["classes"]) == 20
    numbers = luab_data.stats(tiny)
    assert numbers["num_selected"] == 9_514 and numbers["num_selected_round1"] == 8_039
    assert numbers["num_with_boxes"] == 4_137 and numbers["num_trace_points"] == 213_353
    assert numbers["num_workers"] == 24


@needs_shared
def test_the_dirty_archive_is_told_apart(tmp_path: Path):
    done = convert(RAW / "imagenet_ab_dirty.tar.gz", tmp_path / "ab", on_bad="skip")
    assert done.num_rows["default"] == 1_189 and sum(done.skipped.values()) == 15
    rules = "dtd duplicate empty not-an-integer not-utf8 not-xml unsafe-path xml-syntax"
    assert set(done.skipped) == set(rules.split())


@needs_shared
def test_the_tiny_coco_log_has_the_known_counts(tmp_path: Path):
    truth = SHARED / "data/coco/annotations/instances_train.json"
    raw = RAW / "coco_ab_tiny.json"
    luab_data.convert_coco(raw, tmp_path / "coco-ab", instances=truth, worker_key=KEY)
    numbers = luab_data.stats(tmp_path / "coco-ab")
    assert numbers["num_records"] == 97
    assert numbers["num_placed"] == 157 and numbers["num_present"] == 287


def test_what_a_person_would_understand_is_converted(tmp_path: Path, monkeypatch: Any):
    """Reversed boxes, an unknown worker, no submit time, one name in two classes, `%s`."""
    clicked = block(clicks=[(1000, 0.5, 0.5)], trace=[(900, 0.1, 0.1)], hovered=[("enter", 800)])
    records = {
        "t/n00000001/n00000001_1.xml": xml("n00000001_1", [clicked], boxes=[(150, 90, 50, 10)]),
        "t/n00000001/n00000001_2.xml": xml("n00000001_2", [{**clicked, "worker_id": ""}]),
        "t/n00000001/n00000001_3.xml": xml(
            "n00000001_3", [{**clicked, "worker_id": "00AA3B5E80 "}]
        ),
        "t/n00000001/n00000001_4.xml": xml(
            "n00000001_4", [block(submit=9), block(selected=False, clicks=[])]
        ).replace(b"    <hit_submit_time>1640000000</hit_submit_time>\n", b""),
        "t/n00000001/n00000001_5.xml": xml("n00000001_5").replace(b">n00000001<", b">%s<"),
    }
    for wnid, name in (("cat", "7"), ("dog", "7"), ("dog", "8")):
        body = xml(f"{wnid}_{name}").replace(f"<filename>{wnid}_".encode(), b"<filename>")
        records[f"t/{wnid}/{name}.xml"] = body
    log = tar(tmp_path / "log.tar.gz", records)
    done = convert(log, tmp_path / "out")
    assert done.skipped == {}
    assert done.repaired == {"name-from-path": 1, "worker-id-empty": 1, "worker-id-padded": 1}
    assert json.loads((done.out / "manifest.json").read_text())["repaired"] == done.repaired
    images = pq.read_table(done.out / "data").to_pylist()
    assert [(i["wnid"], i["image_id"]) for i in images] == [
        *(("n00000001", f"n00000001_{k}") for k in range(1, 6)),
        *(("cat", "7"), ("dog", "dog_7"), ("dog", "8")),
    ]
    assert images[0]["boxes"] == [[150, 90, 50, 10]] and images[0]["click_in_box"] is True
    assert images[1]["worker_id"] is None and images[2]["worker_id"] == images[0]["worker_id"]
    assert images[3]["selected_round"] == 1 and images[3]["num_rounds"] == 2
    rounds = pq.read_table(done.out / "rounds").to_pylist()
    assert [r["hit_submit_time"] for r in rounds if r["image_id"] == "n00000001_4"] == [9, None]
    assert len(pq.read_table(done.out / "annotators")) == 1
    # The same however far apart the twins are, and a third one is a duplicate.
    monkeypatch.setattr("luab_data.raw.tar.RUN_BYTES", 4096)
    again = convert(log, tmp_path / "again")
    assert again.content_digest == done.content_digest
    twice = tar(log, [*records.items(), ("t/dog/7.xml", records["t/dog/7.xml"])])
    assert convert(twice, tmp_path / "twice", on_bad="skip").skipped == {"duplicate": 1}
    for folder in (done.out, again.out):
        found = CliRunner().invoke(main, ["check", str(folder)])
        assert found.exit_code == 0, found.output


def test_a_folder_of_xml_files_gives_the_dataset_of_their_archive(tmp_path: Path):
    log = small(tmp_path / "raw.tar.gz", count=40)
    with tarfile.open(log) as found:
        found.extractall(tmp_path / "raw", filter="data")
    names = sorted(p.relative_to(tmp_path / "raw") for p in (tmp_path / "raw").rglob("*.xml"))
    (tmp_path / "raw" / "train_xml" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "raw" / "train_xml" / "._n1").write_bytes(b"x")
    ordered = tar(
        tmp_path / "ordered.tar",
        [(name.as_posix(), (tmp_path / "raw" / name).read_bytes()) for name in names],
    )
    whole, folder = convert(ordered, tmp_path / "a"), convert(tmp_path / "raw", tmp_path / "b")
    shuffled = convert(log, tmp_path / "shuffled")  # the release's members are in no order
    assert shuffled.content_digest == folder.content_digest == whole.content_digest
    assert folder.left_aside == {"macOS": 2}
    assert files(tmp_path / "a" / "data") == files(tmp_path / "b" / "data")
    one = convert(tmp_path / "raw" / names[3], tmp_path / "c")
    assert pq.read_table(one.out / "data")["image_id"].to_pylist() == [names[3].stem]


def test_an_empty_worker_id_of_either_log_is_nobody(tmp_path: Path):
    records = [coco_record(i, [], worker_id=w) for i, w in enumerate(["A1", " ", "A1 "])]
    done = luab_data.convert_coco(
        coco_log(tmp_path / "log.json", records), tmp_path / "out", worker_key=KEY
    )
    workers = pq.read_table(done.out / "data")["worker_id"].to_pylist()
    assert workers[1] is None and workers[0] == workers[2] is not None
    assert pq.read_table(done.out / "annotators")["num_images"].to_pylist() == [2]
    assert CliRunner().invoke(main, ["check", str(done.out)]).exit_code == 0
