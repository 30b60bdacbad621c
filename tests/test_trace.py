"""`luab-data trace`: one record, where it lies and why its derived values are what they are."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import KEY, action, archive, block, coco_log, coco_record, luab, tar, xml

import luab_data
from luab_data.columns.traces import approach
from luab_data.errors import DatasetError
from luab_data.files import sha256_of
from luab_data.kinds import KINDS, Browsing
from luab_data.provenance import as_text, trace
from luab_data.schema import COCO_IMAGES, IMAGENET_IMAGES, IMAGENET_ROUNDS
from luab_data.store import shards
from luab_data.store.find import find_rows, read_image_id

T0 = 1_640_000_000_000
LONG = [(T0 + 5000 + 17 * i, i / 64, 0.5) for i in range(60)]
SEVERAL = "n2_300"


def several(image_id: str) -> bytes:
    """Three rounds out of order: the second selects in its second visit, the third does not."""
    visits = [("enter", T0), ("leave", T0 + 900), ("enter", T0 + 5000), ("leave", T0 + 9000)]
    trace = [(T0 + 10, 0.9, 0.9), (T0 + 20, 0.8, 0.8), *LONG, (T0 + 7000, 0.1, 0.1)]
    return xml(
        image_id,
        [
            block(selected=False, clicks=[], submit=300, assignment_id="third"),
            block(
                selected=True,
                clicks=[(T0 + 15, 0.2, 0.2), (T0 + 6500, 0.7, 0.6)],
                trace=trace,
                hovered=visits,
                submit=200,
                worker="SECRETWORKER",
                assignment_id="second",
            ),
            block(selected=True, submit=100, assignment_id="first"),
        ],
        boxes=[(0, 0, 90, 100), (10, 10, 20, 20)],
    )


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 images in two shards and several row groups; one bad member was left out."""
    base = tmp_path_factory.mktemp("trace")
    records = [(f"train_xml/n1/n1_{i}.xml", xml(f"n1_{i}")) for i in range(47)]
    records[30:30] = [(f"train_xml/n2/{SEVERAL}.xml", several(SEVERAL))]
    records += [("train_xml/n2/n2_1.xml", xml("n2_1", []))]
    records += [("train_xml/n2/n2_2.xml", xml("n2_2", [block(selected=False, clicks=[])] * 2))]
    records += [("train_xml/n2/n2_9.xml", b"<annotation>")]
    log = tar(base / "raw.tar.gz", records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "ROWS_PER_GROUP", 28)  # a quarter of it
        patch.setattr(Browsing, "images_per_shard", 20)
        out = base / "imagenet-ab"
        return luab_data.convert_imagenet(log, out, worker_key=KEY, on_bad="skip").out


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("trace")
    history = [
        action("add", "dog", (0.1, 0.1), 10),
        action("add", "cat", (0.2, 0.2), 20),
        action("move", "dog", (0.3, 0.3), 30),
        action("remove", "cat", None, 40),
        action("add", "dog", (0.4, 0.4), 50),
        action("move", "dog", (0.5, 0.5), 60),
    ]
    log = coco_log(base / "raw.json", [coco_record(7, history), coco_record(42, [])])
    return luab_data.convert_coco(log, base / "coco-ab", worker_key=KEY).out


def test_every_row_is_found_where_it_lies(imagenet: Path):
    folder = imagenet
    for table, many in ((IMAGENET_IMAGES, 1), (IMAGENET_ROUNDS, 3)):
        everything = pq.read_table(folder / table.folder)
        for name in set(everything["image_id"].to_pylist()):
            rows, places = find_rows(folder, table, [name], first=1, enough=many)
            expected = everything.filter(pa.compute.equal(everything["image_id"], name))
            assert rows.to_pylist() == expected.to_pylist()
            for row, place in zip(rows.to_pylist(), places, strict=True):
                with pq.ParquetFile(folder / place.file) as file:
                    group = file.read_row_group(place.row_group)
                    assert group.slice(place.row, 1).to_pylist() == [row]
                    assert file.read().slice(place.file_row, 1).to_pylist() == [row]
    assert find_rows(folder, IMAGENET_IMAGES, ["n1_4711"])[1] == []


def test_only_one_row_group_is_read_in_full(imagenet: Path, monkeypatch: Any):
    read: list[Any] = []
    whole = pq.ParquetFile.read_row_group

    def counted(self: Any, group: int, columns: Any = None, **options: Any) -> Any:
        read.append(columns)
        return whole(self, group, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    find_rows(imagenet, IMAGENET_IMAGES, ["n1_46"], enough=1)
    assert read.count(None) == 1
    assert all(columns == ["image_id"] for columns in read if columns is not None)
    read.clear()
    # Statistics say that no row group can hold it, so none is opened.
    find_rows(imagenet, IMAGENET_IMAGES, ["n9_1"], enough=1)
    assert read == []


def test_a_record_says_which_round_decided_and_which_visit_was_used(imagenet: Path):
    record = trace(imagenet, SEVERAL)
    assert [row["assignment_id"] for row in record.records] == ["first", "second", "third"]
    assert record.decision == {
        "round": 2,
        "of": 3,
        "why": "the last one, by hit_submit_time, that ended with the image selected",
    }
    assert record.image["assignment_id"] == "second" and record.image["selected_round"] == 2
    assert record.visit == {
        "enter_ms": T0 + 5000,
        "visit": 2,
        "num_visits": 2,
        "click_ms": T0 + 6500,
        "first_record": 2,
        "last_record": 61,
        "num_records": 60,
    }
    x = record.records[1]["mouse_tracking_x"]
    assert record.image["trace_quantile_x"][0] == x[2]
    assert record.image["trace_quantile_x"][-1] == x[61]
    assert record.image["last_n_x"][:2] == [0.7, x[61]]
    assert [place.config for place in record.places] == ["default", *["rounds"] * 3]
    assert {place.file.rpartition("/")[2] for place in record.places} == {
        "train-00001-of-00003.parquet"
    }
    source = record.as_dict()["source"]
    assert source["name"] == "raw.tar.gz"
    assert source["sha256"] == sha256_of(imagenet.parent / "raw.tar.gz")
    assert "time-far-from-submit" in {rule.id for rule in record.odd}


def test_why_the_other_cases_decided_as_they_did(imagenet: Path):
    assert trace(imagenet, "n1_0").decision == {"round": 1, "of": 1, "why": "the only one"}
    never = trace(imagenet, "n2_1")
    assert never.decision == {"round": None, "why": "no round: the image was never shown"}
    assert never.visit is None and never.records == []
    assert "not-shown" in {rule.id for rule in never.odd}
    neither = trace(imagenet, "n2_2")
    assert neither.decision is not None and neither.decision["round"] == 2
    assert neither.decision["why"] == (
        "no round ended with the image selected, so the last one by hit_submit_time; rounds with"
        " equal submit times stand in the order of the file"
    )
    assert neither.visit is None


MOMENTS = st.lists(st.integers(0, 9), max_size=6).map(sorted)


@given(MOMENTS, MOMENTS, st.lists(st.sampled_from(["enter", "leave"]), max_size=6))
def test_the_visit_named_is_the_one_that_quantiles_are_taken_of(
    trace: list[int], clicks: list[int], hovered: list[str]
):
    from luab_data.explanations import _visit

    row = {
        "selected": True,
        "hovered_record_action": hovered,
        "hovered_record_time_ms": list(range(0, 2 * len(hovered), 2)),
        "mouse_tracking_time_ms": trace,
        "mouse_tracking_x": [float(i) for i in range(len(trace))],
        "mouse_tracking_y": [0.0] * len(trace),
        "selected_record_time_ms": clicks,
        "selected_record_x": [0.5] * len(clicks),
        "selected_record_y": [0.5] * len(clicks),
    }
    fields = [IMAGENET_ROUNDS[name].field for name in row]
    table = pa.Table.from_pylist([row], pa.schema(fields))
    used = approach(**{name: table[name] for name in row})
    visit = _visit([row], {"round": 1})
    if not clicks:
        assert visit is None
        return
    assert visit is not None
    assert visit["num_records"] == len(used.x)
    if visit["num_records"]:
        numbers = np.arange(visit["first_record"], visit["last_record"] + 1)
        np.testing.assert_array_equal(used.x, numbers)


def test_icons_say_which_action_each_point_comes_from(coco: Path):
    record = trace(coco, "7")
    assert record.icons == [
        {"icon": "dog", "actions": [0, 2, 4, 5], "last_add": 4, "final": 5},
        {"icon": "cat", "actions": [1, 3], "last_add": 1, "final": None},
    ]
    actions = record.records[0]
    for icon in record.icons:
        place = record.image["icon_name"].index(icon["icon"])
        for name, of in (("last_add_x", "last_add"), ("final_x", "final")):
            number = icon[of]
            x = None if number is None else actions["action_histories_point_to_x"][number]
            assert record.image[name][place] == x
    assert record.decision is None and record.visit is None
    assert "double-add" in {rule.id for rule in record.odd}
    assert trace(coco, "42").icons == []
    assert repr(trace(coco, "42")).startswith("Record(42 of coco-ab 1.0.")


def test_file_names_stand_for_ids():
    """Of records too; which names hold which ids is in test_join.py."""
    images = {name: kind.images for name, kind in KINDS.items()}
    assert read_image_id("train_xml/n1/n1_5.xml", images["imagenet-ab"]) == "n1_5"
    assert read_image_id(9, images["coco-ab"]) == read_image_id("x/9.jpg", images["coco-ab"]) == 9


def test_what_is_no_coco_id_is_refused(coco: Path):
    for text in ("dog", "", "9" * 40, "-9", "1.5e3.4"):
        with pytest.raises(DatasetError, match=r"is no image id of this .*; expected a number"):
            trace(coco, text)


def test_an_image_that_is_not_there_is_answered_with_near_ones(imagenet: Path, coco: Path):
    with pytest.raises(DatasetError, match=r"no image 'n1_47' among 50; near it n1_\d+, n1"):
        trace(imagenet, "n1_47")
    with pytest.raises(DatasetError, match="near it n2_300"):
        trace(imagenet, "n3_300")
    with pytest.raises(DatasetError, match="near it n2_300"):
        trace(imagenet, "2_300")
    with pytest.raises(DatasetError, match="no image 41 among 2; near it 42, 7"):
        trace(coco, "41")
    with pytest.raises(DatasetError) as none:
        trace(imagenet, "zebra")
    assert "near it" not in str(none.value)
    assert "see skipped.jsonl" in str(none.value)


def test_a_record_that_was_left_out_is_explained(imagenet: Path):
    with pytest.raises(DatasetError, match=r"left it out as a bad record: .*\[xml-syntax\]"):
        trace(imagenet, "n2_9")


def test_a_damaged_shard_is_named(imagenet: Path, tmp_path: Path):
    folder = Path(shutil.copytree(imagenet, tmp_path / "damaged"))
    path = sorted((folder / "data").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=rf"{path.name}: damaged .*luab-data check"):
        trace(folder, "n1_0")
    with pytest.raises(DatasetError, match="no dataset"):
        trace(tmp_path / "nothing", "n1_0")


# --- the command ---------------------------------------------------------------------------------


run = partial(luab, "trace")


def test_the_text_holds_every_value_and_where_it_came_from(imagenet: Path):
    found = run(imagenet, SEVERAL)
    assert found.exit_code == 0, found.output
    record = trace(imagenet, SEVERAL)
    assert found.output == as_text(record) + "\n"
    for name in (*record.image, *record.records[0]):
        cuts = (name[:k] in found.output and name[k + 1 :] in found.output for k in range(4, 99))
        assert name in found.output or any(cuts), name
    for piece in (
        "raw.tar.gz, sha256 ",
        f"n2/{SEVERAL}.xml",
        "data/train-00001-of-00003.parquet, row group 1, row 3",
        "deciding round  round 2 of 3: the last one, by hit_submit_time,",
        f"visit 2 of 2, entered at {T0 + 5000}; click at {T0 + 6500}; trace records 2 to 61",
        "rounds: round 3 of 3",
        "estimate_time_ms       120 ms",
        "... 39 more, all with --json",
    ):
        assert piece in found.output, piece
    assert "SECRETWORKER" not in found.output
    assert all(line == line.rstrip() for line in found.output.splitlines())


def test_json_holds_every_list_in_full(imagenet: Path, coco: Path):
    found = json.loads(run(imagenet, SEVERAL, "--json").stdout)
    assert len(found["rounds"][1]["mouse_tracking_x"]) == 63
    assert found["default"]["boxes"] == [[0, 0, 90, 100], [10, 10, 20, 20]]
    assert found["decision"]["round"] == 2 and found["visit"]["num_records"] == 60
    assert found["places"][0]["config"] == "default"
    record = json.loads(run(coco, "7", "--json").stdout)
    assert record["icons"][0]["final"] == 5
    assert len(record["actions"]) == 1
    assert record["default"]["image_id"] == 7


def test_the_text_of_a_coco_record_shows_icons_and_actions(coco: Path):
    text = run(coco, "COCO_train2014_000000000007.jpg").output
    assert "dog   0 2 4 5  4              5" in text
    assert "cat   1 3      1              removed" in text
    assert "action_histories: 6" in text
    rows = pq.read_table(coco / COCO_IMAGES.folder)
    assert str(rows["worker_id"][0]) in text


def test_an_archive_of_one_image_can_be_traced(tmp_path: Path):
    log = archive(tmp_path / "raw.tar.gz", {"n1_1": xml("n1_1", [block(trace=[])])})
    out = luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY).out
    record = trace(out, "n1_1")
    assert record.visit is not None and record.visit["enter_ms"] is None
    text = as_text(record)
    assert "no enter before the final click, so from the start of the trace" in text
    assert "no trace records, so no quantiles" in text


def test_rows_that_break_a_promise_are_not_explained(imagenet: Path, tmp_path: Path):
    folder = Path(shutil.copytree(imagenet, tmp_path / "odd"))
    path = sorted((folder / "rounds").iterdir())[0]
    table = pq.read_table(path)
    place = table.column_names.index("selected_record_x")
    longer = pa.array([[0.5, 0.5]] * len(table), pa.list_(pa.float64()))
    pq.write_table(table.set_column(place, "selected_record_x", longer), path)
    with pytest.raises(DatasetError, match="rounds of this image is damaged: selected_record_x"):
        trace(folder, "n1_0")
    pq.write_table(table.drop_columns(["image_id"]), path)
    with pytest.raises(DatasetError, match=f"{path.name}: damaged"):
        trace(folder, "n1_0")


def test_equal_names_in_two_class_folders_are_two_images(tmp_path: Path):
    members = {}
    for wnid in ("n00000001", "n00000002"):
        body = xml(f"{wnid}_0", [block(assignment_id=wnid)])
        members[f"{wnid}/img_0.xml"] = body.replace(f"{wnid}_0".encode(), b"img_0")
    log = tar(tmp_path / "log.tar", members)
    out = luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY).out
    for wnid in ("n00000001", "n00000002"):
        found = trace(out, f"{wnid}/img_0.JPEG")
        assert found.image["wnid"] == wnid
        assert [row["assignment_id"] for row in found.records] == [wnid]
