"""Logs made to hurt: each is told apart in bounded time and memory, and the rest is converted."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from logs import KEY, action, archive, block, coco_record, xml

import luab_data
from luab_data.acceptance.accept import accept
from luab_data.checks.check import check
from luab_data.statistics.dataset import stats
from luab_data.workers.annotators import annotators

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + i, (b"&%c;" % (97 + i)) * 30) for i in range(12))
    + b"]><annotation><filename>&m;</filename></annotation>"
)
OUTSIDE = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'


def edited(image_id: str, old: str, new: str) -> bytes:
    text = xml(image_id, [block(trace=[(5, 0.25, 0.75)])]).decode()
    assert old in text
    return text.replace(old, new, 1).encode("utf-8", "surrogateescape")


def hostile(path: Path) -> dict[str, str]:
    """An archive of hostile members and three good ones; member -> rule."""
    deep = 99_999
    cases: list[tuple[str, bytes, str]] = [
        ("n1_1", xml("n1_1"), ""),
        ("n1_10", BOMB, "dtd"),
        ("n1_11", OUTSIDE, "dtd"),
        (
            "n1_12",
            b"<annotation>" + b"<a>" * deep + b"</a>" * deep + b"</annotation>",
            "missing",
        ),
        ("n1_13", edited("n1_13", "<x>0.5<", "<x>NaN<"), "not-a-number"),
        ("n1_14", edited("n1_14", "<x>0.5<", "<x>-Infinity<"), "not-a-number"),
        ("n1_15", edited("n1_15", "<time>5<", f"<time>{'9' * 5000}<"), "not-an-integer"),
        ("n1_16", edited("n1_16", "<page_idx>2<", "<page_idx>two<"), "not-an-integer"),
        ("n1_17", edited("n1_17", "<page_idx>2<", "<page_idx>2\udcff<"), "not-utf8"),
        ("n1_18", edited("n1_18", "<hit_id>3H<", "<hit_id>\x00<"), "xml-syntax"),
        ("n1_19", b"\x1f\x8b" * 4000, "not-utf8"),
        ("n1_1", xml("n1_1"), "duplicate"),
        ("n1_2", xml("n1_2"), ""),
        ("../../n1_20", xml("n1_20"), "unsafe-path"),
        ("n1_21", b" " * (16 * 2**20 + 1), "too-large"),
        ("n1_3", edited("n1_3", "<page_idx>2</page_idx>", "<z/>" * 10**6), ""),
    ]
    with tarfile.open(path, "w:gz", compresslevel=1) as out:
        for name, body, _ in cases:
            info = tarfile.TarInfo(f"train_xml/n1/{name}.xml")
            info.size = len(body)
            out.addfile(info, io.BytesIO(body))
        for name, kind in (("link", tarfile.SYMTYPE), ("device", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(f"train_xml/n1/{name}.xml")
            info.type, info.linkname = kind, "/etc/passwd"
            out.addfile(info)
    found = {f"train_xml/n1/{name}.xml": rule for name, _, rule in cases if rule}
    return {
        **found,
        "train_xml/n1/link.xml": "not-a-file",
        "train_xml/n1/device.xml": "not-a-file",
    }


def test_every_hostile_member_is_told_apart_in_bounded_memory(tmp_path: Path):
    expected = hostile(tmp_path / "raw.tar.gz")
    key = tmp_path / "key"
    key.write_bytes(KEY)
    code = (
        "import sys\nfrom pathlib import Path\nfrom luab_data.cli import main\n"
        "try:\n    main(sys.argv[1:], standalone_mode=False)\n"
        # Not ru_maxrss, which begins with the memory of the process that started this one.
        "finally:\n    status = Path('/proc/self/status').read_text()\n"
        "    print(status.partition('VmHWM:')[2].split()[0])\n"
    )
    command = [sys.executable, "-c", code, "convert", "imagenet-ab", str(tmp_path / "raw.tar.gz")]
    command += ["--out", str(tmp_path / "in" / "ab"), "--on-bad", "skip"]
    command += ["--worker-key-file", str(key)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    rows = [
        json.loads(line) for line in (tmp_path / "in/ab/skipped.jsonl").read_text().splitlines()
    ]
    assert {row["where"]: row["rule"] for row in rows} == expected
    assert "default 3, rounds 3" in found.stdout and "annotation/metadata/z 1000000" in found.stdout
    assert int(found.stdout.split()[-1]) < 1.6 * 2**20, "more than 1.6 GiB"
    assert "root:" not in (tmp_path / "in/ab/skipped.jsonl").read_text()
    assert [p.name for p in (tmp_path / "in").iterdir()] == ["ab"]
    assert not list(tmp_path.rglob("n1_20*"))


POINT = '"pointTo": {"x": 0.5, "y": 0.5}'
GOOD = json.dumps(coco_record(1, [action("add", "dog", (0.5, 0.5))]))


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (POINT, '"pointTo": {"x": 1e999, "y": 0.5}', "not-a-number"),
        (POINT, '"pointTo": {"x": "0.5", "y": 0.5}', "not-a-number"),
        (POINT, '"pointTo": null', "missing-point"),
        ('"timeSpent": 12000', f'"timeSpent": {10**40}', "out-of-range"),
        ('"timeSpent": 12000', '"timeSpent": [[[]]]', "not-an-integer"),
        ('"iconType": "dog"', '"iconType": "dragon"', "unknown-icon"),
        ('"image_id": 1', '"image_id": null', "missing"),
        ('"00AA3B5E80"', '"\\ud800"', "not-utf8"),
        ('"actionHistories": [', '"actionHistories": [7, ', "not-an-object"),
    ],
)
def test_a_hostile_coco_record_is_left_out_by_name(tmp_path: Path, old: str, new: str, rule: str):
    assert old in GOOD
    other = GOOD.replace('"image_id": 1', '"image_id": 2')
    path = tmp_path / "raw.json"
    path.write_text(f"[{GOOD.replace(old, new)}, {other}]")
    done = luab_data.convert_coco(path, tmp_path / "ab", worker_key=KEY, on_bad="skip")
    assert done.skipped == {rule: 1} and done.num_rows["default"] == 1
    assert "00AA3B5E80" not in (done.out / "skipped.jsonl").read_text()


def test_times_that_no_float_holds_are_counted_by_every_command(tmp_path: Path):
    time = 2**62 + 1
    text = GOOD.replace('"timeSpent": 12000', f'"timeSpent": {time}')
    text = text.replace('"timeAt": 7', f'"timeAt": {time}')
    (tmp_path / "raw.json").write_text(f"[{text}]")
    folder = luab_data.convert_coco(tmp_path / "raw.json", tmp_path / "ab", worker_key=KEY).out
    log = archive(tmp_path / "raw.tar.gz", {"n1_1": xml("n1_1", [block(estimateTime=10**17 + 1)])})
    other = luab_data.convert_imagenet(log, tmp_path / "in", worker_key=KEY).out
    assert stats(folder)["time_page_ms"] == 2**62
    assert stats(other).estimates["hit_time_ms"].n == 1
    for dataset in (folder, other):
        assert len(accept(dataset).table) == len(annotators(dataset).worker_id) == 1
        assert check(dataset).whole


@pytest.mark.parametrize("far", [1e308, -1e200, 1e7])
def test_coordinates_that_overflow_are_no_place(tmp_path: Path, far: float):
    """No number, warning or traceback comes of them; raw columns keep what was logged."""
    clicks = [(0.5, 0.5), (far, 0.5), (0.5, far), (0.1, 0.1)]
    files = {
        f"n1_{k}": xml(
            f"n1_{k}",
            [block(clicks=[(30, x, y)], trace=[(1, 0.4, 0.5), (2, far, far), (28, 0.5, 0.5)])],
            [(50, 25, 150, 75)],
        )
        for k, (x, y) in enumerate(clicks)
    }
    log = archive(tmp_path / "raw.tar.gz", files)
    folder = luab_data.convert_imagenet(log, tmp_path / "in", worker_key=KEY).out
    found = stats(folder)
    assert found.counts["num_selected"] == 4 and found.counts["num_evaluated"] == 2
    assert found["click_accuracy"] == 0.5
    assert found.estimates["last_n_accuracy"].n[:3].tolist() == [2, 2, 2]  # the far record is none
    assert check(folder).whole and len(annotators(folder).worker_id) == 1
    shown = luab_data.read_table(folder, "rounds", columns=["selected_record_x"])
    assert [far] in shown["selected_record_x"].to_pylist()
    text = GOOD.replace(POINT, f'"pointTo": {{"x": {far}, "y": 0.5}}')
    (tmp_path / "raw.json").write_text(f"[{text}]")
    icons = luab_data.convert_coco(tmp_path / "raw.json", tmp_path / "ab", worker_key=KEY).out
    assert stats(icons)["num_placed"] == 1 and np.isnan(stats(icons)["icon_offset"]).all()


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("0.5", "NaN"),
        GOOD.replace("0.5", "Infinity"),
        "[" * 100_000 + "]" * 100_000,
        '[{"image_id": ' + "9" * 6000 + "}",
        "[" + GOOD + ", " + GOOD[:90],
        "[" + GOOD + "] x",
        "\ufeff" + "[" + GOOD + ",]",
    ],
)
def test_broken_json_is_never_skipped(tmp_path: Path, text: str):
    path = tmp_path / "raw.json"
    path.write_text(text if text.startswith(("[", "\ufeff")) else f"[{text}]")
    with pytest.raises(luab_data.LuabError, match=r"raw\.json: at character|no usable record"):
        luab_data.convert_coco(path, tmp_path / "ab", worker_key=KEY, on_bad="skip")
    assert [p.name for p in tmp_path.iterdir()] == ["raw.json"]


@pytest.mark.parametrize("tag", ["estimateTime", "page_idx", "selected", "imageWidth", "worker_id"])
def test_a_worker_id_in_the_wrong_field_is_in_no_error(tmp_path: Path, tag: str):
    worker = "A1REALMTURKID9"
    text = xml("n1_1", [block(worker=worker)]).decode()
    start = text.index(f"<{tag}>") + len(tag) + 2
    text = text[:start] + f"<b>{worker}</b>" * (tag == "worker_id") + worker + text[start:]
    log = archive(tmp_path / "raw.tar.gz", {"n1_1": text.encode(), "n1_2": xml("n1_2")})
    done = luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY, on_bad="skip")
    (line,) = (done.out / "skipped.jsonl").read_text().splitlines()
    assert worker[:6] not in line and json.loads(line)["where"].endswith("n1_1.xml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"timeSpent": 12000', '"timeSpent": "W"'),
        ('"image_id": 1,', '"image_id": "W",'),
        ('"iconType": "dog"', '"iconType": "W"'),
        ('"page_id": 0', '"page_id": "W"'),
    ],
)
def test_a_worker_id_in_the_wrong_key_is_in_no_error(tmp_path: Path, old: str, new: str):
    worker = "A1REALMTURKID9"
    assert old in GOOD
    bad = GOOD.replace("00AA3B5E80", worker).replace(old, new.replace("W", worker))
    other = GOOD.replace('"image_id": 1', '"image_id": 2')
    path = tmp_path / "raw.json"
    path.write_text(f"[{bad}, {other}]")
    done = luab_data.convert_coco(path, tmp_path / "ab", worker_key=KEY, on_bad="skip")
    assert sum(done.skipped.values()) == 1
    assert worker[:6] not in (done.out / "skipped.jsonl").read_text()
