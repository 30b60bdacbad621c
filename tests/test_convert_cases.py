"""Archives as they lie on people's disks: the case files of ../shared, each with its right value.

The same ideas on a few records of our own, which always run, are in test_archive, test_raw_imagenet
and test_convert.
"""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageOps
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from logs import KEY, SHARED

import luab_data
from luab_data.cli import main
from luab_data.conversion import Converted

CASES = SHARED / "data" / "cases" / "imagenet-ab"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/data/cases")


def convert(source: Path, out: Path, **options: Any) -> Converted:
    return luab_data.convert_imagenet(source, out, worker_key=KEY, **options)


def case(name: str, tmp_path: Path) -> Converted:
    return convert(CASES / f"{name}.tar.gz", tmp_path / name)


def shards(folder: Path) -> dict[str, bytes]:
    found = folder.rglob("*.parquet")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def test_an_archive_made_on_macos_and_an_extracted_one_give_the_plain_dataset(tmp_path: Path):
    plain, mac = case("mac_plain", tmp_path), case("mac_ad", tmp_path)
    assert mac.left_aside == {"macOS": 201} and plain.left_aside == {}
    assert mac.content_digest == plain.content_digest and mac.version == plain.version
    assert shards(mac.out) == shards(plain.out)
    assert mac.skipped == {} and not (mac.out / "skipped.jsonl").exists()
    with tarfile.open(CASES / "mac_plain.tar.gz") as found:
        found.extractall(tmp_path / "files", filter="data")
    assert convert(tmp_path / "files", tmp_path / "f").content_digest == plain.content_digest


def test_the_command_says_in_one_line_what_was_left_aside(tmp_path: Path):
    (tmp_path / "key").write_bytes(KEY)
    words = ["convert", "imagenet-ab", str(CASES / "mac_ad.tar.gz"), "--out", str(tmp_path / "o")]
    found = CliRunner().invoke(main, [*words, "--worker-key-file", str(tmp_path / "key")])
    assert found.exit_code == 0 and "201 files of macOS left aside\n" in found.output


@pytest.mark.parametrize("name", ["revbox", "minmax_one_of_two"])
def test_a_box_with_swapped_corners_keeps_its_record(tmp_path: Path, name: str):
    done = case(name, tmp_path)
    assert done.skipped == {} and done.repaired == {}
    images = pq.read_table(done.out / "data").to_pylist()
    boxes = [box for image in images for box in image["boxes"]]
    swapped = [box for box in boxes if box[0] > box[2] or box[1] > box[3]]
    assert len(swapped) == 1
    for image in images:
        clicked = image["final_click_x"] is not None
        assert (image["click_in_box"] is not None) == (clicked and image["has_boxes"])
    assert "box-reversed" in CliRunner().invoke(main, ["check", str(done.out)]).output


@pytest.mark.parametrize(("name", "count"), [("folder_percent_s", 1), ("fn_percent_s", 2)])
def test_a_placeholder_for_a_name_is_read_from_the_path(tmp_path: Path, name: str, count: int):
    done, good = case(name, tmp_path), case("ok", tmp_path)
    assert done.repaired == {"name-from-path": count} and done.skipped == {}
    assert done.content_digest == good.content_digest


@pytest.mark.parametrize("name", ["ok", "wholly_outside", "dogname", "real_record"])
def test_what_is_good_stays_so(tmp_path: Path, name: str):
    done = case(name, tmp_path)
    assert (done.skipped, done.repaired, done.unknown) == ({}, {}, {})


def test_a_session_of_the_published_front_end_keeps_all_its_fields(tmp_path: Path):
    done = convert(CASES.parent / "own" / "fe_imagenet_asis.tar.gz", tmp_path / "fe")
    assert (done.skipped, done.repaired, done.unknown) == ({}, {}, {})
    rounds = pq.read_table(done.out / "rounds")
    empty = [n for n in rounds.column_names if rounds[n].null_count == len(rounds)]
    assert len(rounds) == 144 and empty == []


def test_a_session_of_the_tagging_front_end_keeps_all_its_fields(tmp_path: Path):
    log = CASES.parent / "own" / "fe_coco_asis.json"
    done = luab_data.convert_coco(log, tmp_path / "fe", worker_key=KEY)
    assert (done.skipped, done.repaired, done.unknown) == ({}, {}, {})
    actions = pq.read_table(done.out / "actions")
    empty = [n for n in actions.column_names if actions[n].null_count == len(actions)]
    assert len(actions) == 4 and empty == []
    assert actions["time_spent_ms"].to_pylist() == [
        r["timeSpent"] for r in json.loads(log.read_text())
    ]


def test_a_click_on_a_picture_that_exif_turned_is_where_its_annotator_made_it(tmp_path: Path):
    """One file is stored 375 x 500 and shown 500 x 375, its copy is stored as it was shown; both
    were clicked at (0.2, 0.9) of what was shown. The boxes are of the first as stored.
    """
    case = CASES.parent / "own" / "exif"
    done = convert(case / "raw.tar.gz", tmp_path / "ab")
    rows = pq.read_table(done.out / "data").to_pylist()
    assert [(r["final_click_x"], r["final_click_y"], r["click_in_box"]) for r in rows] == [
        (0.2, 0.9, None)
    ] * 2
    out = tmp_path / "keypoints.json"
    luab_data.export(done.out, case / "im", out, format="coco-keypoints")
    stored, as_shown = json.loads(out.read_text())["annotations"]
    # Orientation 6 is shown turned to the right: what is stored at (x, y) is shown at (1 - y, x).
    assert stored["keypoints"] == pytest.approx([0.9 * 375, (1 - 0.2) * 500, 2])
    assert stored["bbox"] == [300, 380, 70, 50]  # which holds the click
    assert as_shown["keypoints"] == pytest.approx([0.2 * 500, 0.9 * 375, 2])
    assert "bbox" not in as_shown
    found = luab_data.clicks(done.out, "n02490219_1")
    drawn = found.svg(case / "im/n02490219/n02490219_1.JPEG")
    data = re.findall('data:image/jpeg;base64,([^"]+)', drawn)
    assert PIL.Image.open(io.BytesIO(base64.b64decode(data[0]))).size == (340, 255)
    assert 'class="box"' not in drawn
    sizes = []
    for row in luab_data.join_images(done.out, case / "im").table.to_pylist():
        with PIL.Image.open(row["image_path"]) as image:
            sizes.append(PIL.ImageOps.exif_transpose(image).size)
    assert sizes == [(500, 375)] * 2  # as docs/load.md says; both points are of these
    (rule,) = luab_data.check(done.out, rules=["size-swapped"]).findings
    assert rule.count == 2
