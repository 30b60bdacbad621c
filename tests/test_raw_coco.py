from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from logs import SHARED, action, coco_record

from luab_data.errors import ArchiveError, ImagesError, RecordError
from luab_data.raw import json_values
from luab_data.raw.coco import parse, raw_records, to_table
from luab_data.raw.instances import read_instances
from luab_data.raw.json_values import JsonStream
from luab_data.raw.source import Source

RECORDS = [coco_record(i, [action("add", "dog", (0.25, 0.5), at=i)]) for i in range(5)]


def read(path: Path) -> list[Any]:
    source = Source(path)
    try:
        return list(raw_records(source))
    finally:
        source.close()


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("zipped", [False, True])
def test_arrays_plain_or_gzip_however_they_are_indented(tmp_path: Path, zipped: bool, indent: Any):
    text = json.dumps(RECORDS, indent=indent).encode()
    path = tmp_path / "log.json"
    path.write_bytes(gzip.compress(text) if zipped else text)
    assert read(path) == RECORDS


def test_json_lines_with_bom_blank_lines_and_no_last_newline(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text("\ufeff" + "\r\n\n".join(json.dumps(r) for r in RECORDS), encoding="utf-8")
    assert read(path) == RECORDS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("[", "not JSON, or the file is cut"),
        ('[{"a": 1}, {"b": ', "not JSON, or the file is cut"),
        ('[{"a": 1}', "found ''; expected ','"),
        ('[{"a": 1} {"b": 2}]', "expected ','"),
        ('[{"a": 1}] x', "after the end"),
        ('[{"a": 1},\n]', r"a comma before '\]'"),
        ('{"a": 1},\n{"a": 2}', "found ','|after a line|not JSON"),
        ('{"info": {}, "images": []}', "annotations of COCO, not a log"),
        ('[{"a": -Infinity}]', "no JSON number"),
        ("[" * 200_000, "recursion|nested|cut"),
        ('{"a": 1}\n{"b": ', "cut"),
    ],
)
def test_broken_json_says_where_and_why(tmp_path: Path, text: str, reason: str):
    path = tmp_path / "log.json"
    path.write_text(text)
    with pytest.raises(ArchiveError, match=reason) as caught:
        read(path)
    assert "log.json: at character" in str(caught.value)


def test_bytes_that_are_not_utf8_and_a_cut_gzip(tmp_path: Path):
    path = tmp_path / "log.json"
    path.write_bytes(b'[{"a": "\xff"}]')
    with pytest.raises(ArchiveError, match="0xff is not UTF-8"):
        read(path)
    path.write_bytes(gzip.compress(json.dumps(RECORDS).encode())[:-9])
    with pytest.raises(ArchiveError, match="cut or damaged"):
        read(path)


@pytest.mark.parametrize("chunk", [1, 2, 5, 2**20])
def test_what_lies_before_a_damaged_spot_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
):
    monkeypatch.setattr(json_values, "_CHUNK", chunk)
    path = tmp_path / "log.json"
    path.write_bytes('[{"a": "é"}, {"b": "é'.encode() + b'\xff"}]')
    with Source(path) as source:
        records = raw_records(source)
        assert next(records) == {"a": "é"}
        with pytest.raises(ArchiveError, match="at character 13: byte 0xff is not UTF-8"):
            next(records)
    for byte in (b"\xff", b"\xc3"):
        path.write_bytes(b'{"a": 1} 12' + byte)
        with Source(path) as source:
            records = raw_records(source)
            assert next(records) == {"a": 1}
            with pytest.raises(ArchiveError, match=f"at character 9: byte {byte[0]:#x} is not UTF"):
                next(records)


def test_what_lies_before_the_cut_of_a_gzip_is_read(tmp_path: Path):
    text = json.dumps([{"a": "x" * 1000, "b": i} for i in range(5000)]).encode()
    path = tmp_path / "log.json"
    path.write_bytes(gzip.compress(text)[:-9])
    found = []
    with Source(path) as source, pytest.raises(ArchiveError, match="cut or damaged") as caught:
        for record in raw_records(source):
            found.append(record)
    assert [record["b"] for record in found] == list(range(len(found))) and len(found) > 3000
    assert f"character {len(json.dumps(found)) + 1}:" in str(caught.value)


def test_broken_json_is_refused_where_it_breaks_not_at_the_limit(tmp_path: Path):
    path = tmp_path / "log.json"
    path.write_text('[{"a": 1}, {"b": ]}' + " " * 10**7)
    read: list[int] = []
    with Source(path, read.append) as source:
        with pytest.raises(ArchiveError, match=r"at character 11: .*value, 6 characters further"):
            list(raw_records(source))
    assert sum(read) < 3 * 2**20


def test_a_value_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_values, "MAX_VALUE_CHARS", 1000)
    monkeypatch.setattr(json_values, "_CHUNK", 100)
    path = tmp_path / "log.json"
    path.write_text(json.dumps(["x" * 5000]))
    with pytest.raises(ArchiveError, match="more than 1000 characters"):
        read(path)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(any_json, max_size=6), st.integers(1, 7), st.sampled_from([None, 1]))
def test_chunks_may_end_anywhere(tmp_path_factory: Any, values: list[Any], chunk: int, indent: Any):
    path = tmp_path_factory.mktemp("json") / "log.json"
    path.write_text(json.dumps(values, ensure_ascii=False, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "_CHUNK", chunk)
        source = Source(path)
        stream = JsonStream(source)
        assert list(stream.elements()) == values
        stream.end()
        source.close()


def test_every_raw_field_arrives_typed_and_under_its_name():
    steps = [action("add", "dog", (0.25, 1.5), at=7), action("remove", "dog", None, at=9)]
    row = to_table([parse(0, coco_record(42, steps))], lambda worker: "hashed").to_pylist()[0]
    assert row["image_id"] == 42 and row["worker_id"] == "hashed"
    assert row["action_histories_action_type"] == ["add", "remove"]
    assert row["action_histories_point_to_x"] == [0.25, None]
    assert row["action_histories_point_from_x"] == [None, 0.1]
    assert row["action_histories_time_at_ms"] == [7, 9]
    assert row["category_histories_using_keyboard"] == [False]
    assert row["mouse_tracking_y"] == [1.002]
    assert (row["page_id"], row["time_spent_ms"]) == (0, 12000)


def test_both_spellings_and_absent_keys_of_the_sources():
    record = coco_record(1, [])
    record["page_idx"] = record.pop("page_id")
    record["assignment_id"] = record.pop("hit_id")
    values = parse(0, record).values
    assert (values["page_id"], values["hit_id"]) == (0, "a" * 32)
    del record["page_idx"], record["mouseTracking"], record["timeSpent"]
    values = parse(0, record).values
    assert values.get("page_id") is None and values["mouse_tracking_x"] == []
    with pytest.raises(RecordError, match="other spelling"):
        parse(0, {**record, "hit_id": "b", "assignment_id": "c"})
    for both in ({"hit_id": "b", "assignment_id": None}, {"assignment_id": "b", "hit_id": "b"}):
        assert parse(0, {**record, **both}).values["hit_id"] == "b"


def test_the_words_of_the_front_end_are_the_releases():
    sent = edit(timeSpend=7, imageURL="https://host/train2014/COCO_train2014_000000000042.jpg?v=3")
    del sent["timeSpent"], sent["image_id"]
    found = parse(0, sent)
    assert (found.values["image_id"], found.values["time_spent_ms"]) == (42, 7)
    assert found.unknown == []
    both = parse(0, {**sent, "image_id": "43"})
    assert both.values["image_id"] == 43 and both.unknown == ["imageURL"]
    with pytest.raises(RecordError, match="has no image_id"):
        parse(0, {**sent, "imageURL": "https://host/a.jpg"})


def test_what_a_person_would_read_is_read():
    values = parse(0, edit(image_id=" 42 ", page_id=3.0, hit_id=7, worker_id=" W1 ")).values
    assert [values[n] for n in ("image_id", "page_id", "hit_id", "worker_id")] == [42, 3, "7", "W1"]
    shown = {"categoryIndex": 1, "categoryName": "a", "timeAt": 7, "usingKeyboard": "true"}
    assert parse(0, edit(categoryHistories=[shown])).values[
        "category_histories_using_keyboard"
    ] == [True]


@pytest.mark.parametrize(
    ("worker", "published", "repaired"),
    [
        ("W1", "W1", []),
        (" W1\n", "W1", ["worker-id-padded"]),
        ("", None, ["worker-id-empty"]),
        (" ", None, ["worker-id-empty"]),
        ("None", None, ["worker-id-empty"]),
        (None, None, []),
    ],
)
def test_padded_and_empty_worker_ids(worker: Any, published: Any, repaired: list[str]):
    record = parse(0, edit(worker_id=worker))
    assert record.repaired == repaired
    assert to_table([record], lambda worker: worker)["worker_id"].to_pylist() == [published]


def test_a_point_of_the_trace_without_a_coordinate_or_time_is_left_out_and_counted():
    points = [
        {"timeAt": 1, "x": 0.5, "y": None},
        {"timeAt": 2, "x": 0.5, "y": 1},
        {"timeAt": 3},
        {"timeAt": None, "x": 0.5, "y": 1},
        {"timeAt": 4, "x": math.nan, "y": 1},
        None,
    ]
    found = parse(0, edit(mouseTracking=points))
    assert found.values["mouse_tracking_time_at_ms"] == [2] and found.repaired == [DROPPED] * 5


def test_nan_is_a_gap_of_the_trace_and_refused_elsewhere(tmp_path: Path):
    path = tmp_path / "log.json"
    point = {"timeAt": 1, "x": math.nan, "y": 0.5}
    path.write_text(json.dumps([edit(mouseTracking=[point]), edit(timeSpent=math.nan)]))
    first, second = read(path)
    assert parse(0, first).repaired == [DROPPED]
    with pytest.raises(RecordError, match="timeSpent is nan; expected an integer"):
        parse(1, second)
    with pytest.raises(RecordError, match="x is NaN, which is no JSON number"):
        parse(0, edit(actionHistories=[action("add", "dog", (math.nan, 0.5))]))


@pytest.mark.parametrize(
    "text", ['{"data": [%s]}', '{"7": %s, "8": %s}', '{ "a": {"zoom": 1, "image_id": 3}}']
)
def test_an_object_of_records_is_told_how_to_become_an_array(tmp_path: Path, text: str):
    path = tmp_path / "log.json"
    path.write_text(text.replace("%s", json.dumps(coco_record(7, []))))
    with pytest.raises(ArchiveError, match=r"one object with the records in it.*jq"):
        read(path)


def test_unknown_keys_are_reported_not_fatal():
    assert parse(0, coco_record(1, [], zoom=2)).unknown == ["zoom"]
    assert parse(0, coco_record(1, [], **{"\ud800": 1})).unknown == ["\\ud800"]


DROPPED = "trace-point-dropped"


def edit(**values: Any) -> dict[str, Any]:
    return {**coco_record(1, []), **values}


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (7, "not-an-object"),
        (None, "not-an-object"),
        (edit(image_id=None), "missing"),
        (edit(image_id="7"), None),
        (edit(image_id="7x"), "not-an-integer"),
        (edit(image_id="9" * 19), "out-of-range"),
        (edit(timeSpent="7"), "not-an-integer"),
        (edit(image_id=True), "not-an-integer"),
        (edit(image_id=1.5), "not-an-integer"),
        (edit(image_id=2**70), "out-of-range"),
        (edit(page_id=70000), "out-of-range"),
        ({k: v for k, v in edit().items() if k != "worker_id"}, "missing"),
        (edit(worker_id=["x"]), "not-a-string"),
        (edit(worker_id="\ud800"), "not-utf8"),
        (edit(mouseTracking={}), None),
        (edit(mouseTracking={"x": 1}), "not-a-list"),
        (edit(mouseTracking=[3]), "not-an-object"),
        (edit(mouseTracking=[{"x": "1", "y": 0, "timeAt": 0}]), "not-a-number"),
        (edit(mouseTracking=[{"x": 10**400, "y": 0, "timeAt": 0}]), "not-a-number"),
        (edit(mouseTracking=[{"x": 1, "y": 0}]), None),
        (edit(actionHistories=[action("drop", "dog", (0, 0))]), "unknown-action"),
        (edit(actionHistories=[action("add", "unicorn", (0, 0))]), "unknown-icon"),
        (edit(actionHistories=[action("move", "dog", None)]), "missing-point"),
        (edit(actionHistories=[{**action("add", "dog", (0, 0)), "pointTo": 3}]), "missing-point"),
        (edit(actionHistories=[{**action("add", "dog", (0, 0)), "pointFrom": 3}]), "not-an-object"),
        (edit(categoryHistories=[{"categoryIndex": 1}]), "missing"),
    ],
)
def test_what_is_wrong_is_told_by_rule(record: Any, rule: str | None):
    if rule is None:
        parse(17, record)
        return
    with pytest.raises(RecordError) as caught:
        parse(17, record)
    assert caught.value.rule == rule
    assert str(caught.value).startswith("record 17")
    assert "00AA3B5E80" not in str(caught.value)


@given(any_json)
def test_no_value_makes_anything_but_a_record_or_a_record_error(value: Any):
    for candidate in (value, edit(actionHistories=value), edit(mouseTracking=[value])):
        try:
            to_table([parse(0, candidate)], lambda worker: worker)
        except RecordError:
            pass


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared, the real excerpts")
def test_the_real_records_are_read():
    records = read(SHARED / "data/release-excerpts/coco_ab_rows.json")
    first, second = (parse(i, r) for i, r in enumerate(records))
    assert first.unknown == second.unknown == []
    assert first.values["action_histories_action_type"] == ["add", "move"]
    assert second.values.get("hit_id") is None
    assert second.values["action_histories_point_from_x"] == [None, None]


@pytest.mark.parametrize(
    ("document", "error", "match"),
    [
        ([], ArchiveError, "instances object"),
        ({"images": []}, ImagesError, "expected images and annotations"),
        ({"images": [{"id": 1}], "annotations": []}, ImagesError, "expected id, width and height"),
        (
            {"images": [], "annotations": [{"id": 3, "image_id": 9, "category_id": 1}]},
            ImagesError,
            "annotation 3: 9 is missing or unknown",
        ),
        (
            {
                "images": [{"id": 1, "width": 4, "height": 4}],
                "annotations": [
                    {
                        "id": 3,
                        "image_id": 1,
                        "category_id": 12,
                        "segmentation": [[0, 0, 1, 1, 0, 1]],
                    }
                ],
            },
            ImagesError,
            "12 is missing or unknown",
        ),
    ],
)
def test_what_is_no_instances_file_is_said_to_be_none(
    tmp_path: Path, document: Any, error: type[Exception], match: str
):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    with pytest.raises(error, match=match):
        read_instances(path)


@pytest.mark.parametrize(
    "segmentation",
    [
        [[], []],
        [[1, 1, 2, 2]],
        [[0, 0, 1, 1, 2]],
        [["a"] * 6],
        {"size": [4, 5], "counts": "01"},
        3,
        {},
    ],
)
def test_odd_segmentations_name_the_annotation(tmp_path: Path, segmentation: Any):
    annotation = {"id": 5, "image_id": 1, "category_id": 1, "segmentation": segmentation}
    document = {"images": [{"id": 1, "width": 4, "height": 4}], "annotations": [annotation]}
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ImagesError, match="annotation 5"):
        read_instances(path)


def test_annotations_before_images_and_string_counts(tmp_path: Path):
    import numpy as np
    from pycocotools import mask

    rle = mask.encode(np.asfortranarray(np.eye(4, dtype=np.uint8)))
    segmentation = {"size": rle["size"], "counts": rle["counts"].decode()}
    annotation = {"id": 1, "image_id": 1, "category_id": 90, "segmentation": segmentation}
    document = {"annotations": [annotation], "images": [{"id": 1, "width": 4, "height": 4}]}
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    image = read_instances(path)[1]
    assert image.labels == [79]
    assert image.contains(79, 0.1, 0.1) and not image.contains(79, 0.9, 0.1)
