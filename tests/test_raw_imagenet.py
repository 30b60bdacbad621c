from __future__ import annotations

import string
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from logs import SHARED, block, xml

from luab_data.errors import RecordError
from luab_data.raw.imagenet import parse, to_batch
from luab_data.schema import IMAGENET_ROUNDS

NAME = "train_xml/n00000001/n00000001_1.xml"


def rule_of(body: bytes, name: str = NAME) -> str:
    with pytest.raises(RecordError) as caught:
        parse(name, body)
    assert name in str(caught.value)
    return caught.value.rule


def test_every_raw_field_arrives_typed_and_under_its_name():
    blocks = [
        block(
            selected=False,
            clicks=[(1640000000123, 0.25, -0.01)],
            trace=[(1640000000100, 0.1, 1.003), (1640000000117, 1e-3, 0.5)],
            hovered=[("enter", 1640000000090), ("leave", 1640000000400)],
        )
    ]
    record = parse(NAME, xml(blocks=blocks, boxes=[(1, 2, 3, 4), (5, 6, 7.5, 8)]))
    image, values = record.image, record.rounds[0]
    assert image["image_id"] == "n00000001_1" and image["wnid"] == "n00000001"
    assert image["boxes"] == [[1, 2, 3, 4], [5, 6, 7.5, 8]]
    assert (image["width"], image["height"], image["depth"]) == (200, 100, 3)
    assert image["database"] == "ILSVRC_2012" and image["box_truncated"] == [0, 0]
    assert values["selected"] is False
    assert values["selected_record_time_ms"] == [1640000000123]
    assert values["selected_record_x"] == [0.25] and values["selected_record_y"] == [-0.01]
    assert values["mouse_tracking_x"] == [0.1, 0.001]
    assert values["hovered_record_action"] == ["enter", "leave"]
    assert (values["image_position_x"], values["image_position_y"]) == (10, 20.5)
    assert values["image_id_raw"] == "n00000001/n00000001_1"
    assert set(values) == {c.name for c in IMAGENET_ROUNDS.columns if c.raw}
    assert record.unknown == []


def test_no_boxes_no_rounds_and_none_lists_are_empty_not_missing():
    record = parse(NAME, xml(blocks=[]))
    assert record.rounds == [] and record.image["boxes"] == []
    values = parse(NAME, xml(blocks=[block(clicks=[], selected=False)])).rounds[0]
    assert values["selected_record_x"] == [] and values["mouse_tracking_time_ms"] == []


def test_order_indent_comments_and_cdata_do_not_matter():
    body = (
        b"<?xml version='1.0' encoding='utf-8'?><annotation><!-- c --><metadata><worker_id>W"
        b"</worker_id><selected> True </selected><hit_submit_time>7</hit_submit_time>"
        b"<selectedRecord><y>0.2</y><x><![CDATA[0.1]]></x><time>5</time></selectedRecord>"
        b"<selectedRecord/><assignment_id>A</assignment_id></metadata>"
        b"<filename>n00000001_1.JPEG</filename><folder>n00000001</folder></annotation>"
    )
    record = parse(NAME, body)
    assert record.image["image_id"] == "n00000001_1"
    assert record.rounds[0]["selected_record_x"] == [0.1]
    assert record.rounds[0]["selected"] is True
    assert record.rounds[0].get("page_idx") is None


@pytest.mark.parametrize(
    "name",
    [
        "n00000001_1.xml",
        "./train_xml/n00000001/n00000001_1.xml",
        "train xml/ü/n00000001_1.XML",
    ],
)
def test_odd_member_names_are_fine_as_long_as_the_stem_is_the_id(name: str):
    assert parse(name, xml()).image["image_id"] == "n00000001_1"


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("<x>0.5</x>", "<x>NaN</x>", "not-a-number"),
        ("<x>0.5</x>", "<x>inf</x>", "not-a-number"),
        ("<x>0.5</x>", "<x>1_0</x>", "not-a-number"),
        ("<x>0.5</x>", "<x>٠</x>", "not-a-number"),
        ("<x>0.5</x>", "<x></x>", "not-a-number"),
        ("<x>0.5</x>", "", "missing"),
        ("<x>0.5</x>", "<x>0.5</x><x>0.6</x>", "repeated"),
        ("<time>1000</time>", "<time>1e3</time>", "not-an-integer"),
        ("<time>1000</time>", f"<time>{10**30}</time>", "not-an-integer"),
        ("<image_idx>3<", "<image_idx>70000<", "out-of-range"),
        ("<selected>True<", "<selected>1<", "not-a-boolean"),
        ("<selected>True<", "<selected>None<", "missing"),
        ("<worker_id>00AA3B5E80</worker_id>", "", "missing"),
        ("<selected>True</selected>", "<selected>True</selected><selected>True</selected>",
         "repeated"),
        ("<hoveredRecord>None<", "<hoveredRecord>Some<", "not-a-record"),
        ("<page_idx>2<", "<page_idx><b>2</b><", "nested"),
        ("<filename>n00000001_1</filename>", "", "missing"),
        ("<annotation>", "<!DOCTYPE a><annotation>", "dtd"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>', "dtd"),
        ("</annotation>", "</annotation", "xml-syntax"),
        ("</metadata>", "</meta>", "xml-syntax"),
        ("annotation>", "other>", "not-annotation"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_rule(old: str, new: str, rule: str):
    text = xml().decode()
    assert old in text
    assert rule_of(text.replace(old, new).encode()) == rule


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (b"\xff\xfe<\0a\0>\0", "not-utf8"),
        ("<!DOCTYPE a><annotation/>".encode("utf-16"), "not-utf8"),
        (b"\0" * 100, "xml-syntax"),
        (b"<?xml version='1.0' encoding='utf-7'?><annotation/>", "missing"),
        (b"<a>" * 50_000, "xml-syntax"),
    ],
)
def test_bytes_that_are_no_record(body: bytes, rule: str):
    assert rule_of(body) == rule


@pytest.mark.parametrize(
    ("old", "new", "column", "value"),
    [
        ("<page_idx>2<", "<page_idx>2.0<", "page_idx", 2),
        ("<time>1000<", "<time>1000.00<", "selected_record_time_ms", [1000]),
        ("<selected>True<", "<selected>true<", "selected", True),
        ("<selected>True<", "<selected>FALSE<", "selected", False),
        ("<hit_submit_time>1640000000</hit_submit_time>", "", "hit_submit_time", None),
        ("<hit_submit_time>1640000000<", "<hit_submit_time>None<", "hit_submit_time", None),
    ],
)
def test_what_a_person_would_read_is_read(old: str, new: str, column: str, value: Any):
    text = xml().decode()
    assert old in text
    record = parse(NAME, text.replace(old, new).encode())
    assert record.rounds[0].get(column) == value and record.repaired == []


@pytest.mark.parametrize("value", ["NaN", "nan", "null", "None", ""])
@pytest.mark.parametrize("key", ["x", "y", "time"])
def test_a_trace_point_without_a_number_is_dropped(key: str, value: str):
    trace = [(1, 0.1, 0.2), (2, 0.3, 0.4), (3, 0.5, 0.6)]
    text = xml(blocks=[block(clicks=[], trace=trace)]).decode()
    old = {"x": "<x>0.3<", "y": "<y>0.4<", "time": "<time>2<"}[key]
    for new in (f"<{key}>{value}<", None):  # None: without the element
        changed = text.replace(f"{old}/{key}>", "") if new is None else text.replace(old, new)
        assert changed != text
        record = parse(NAME, changed.encode())
        assert record.repaired == ["trace-point-dropped"]
        assert record.rounds[0]["mouse_tracking_time_ms"] == [1, 3]
        assert record.rounds[0]["mouse_tracking_x"] == [0.1, 0.5]
        assert record.rounds[0]["mouse_tracking_y"] == [0.2, 0.6]


@pytest.mark.parametrize("value", ["inf", "0.3x", "1,5"])
def test_a_trace_point_that_says_something_else_is_bad(value: str):
    text = xml(blocks=[block(clicks=[], trace=[(2, 0.3, 0.4)])]).decode()
    assert rule_of(text.replace("<x>0.3<", f"<x>{value}<").encode()) == "not-a-number"


@pytest.mark.parametrize(
    ("worker", "published", "repaired"),
    [
        ("AC..", "..CA", []),
        ("AC.. ", "..CA", ["worker-id-padded"]),
        ("\n AC..", "..CA", ["worker-id-padded"]),
        ("", None, ["worker-id-empty"]),
        ("  ", None, ["worker-id-empty"]),
        ("None", None, ["worker-id-empty"]),
    ],
)
def test_padded_and_empty_worker_ids(worker: str, published: str | None, repaired: list[str]):
    record = parse(NAME, xml(blocks=[block(worker=worker)]))
    assert record.repaired == repaired
    rows = to_batch([record], lambda worker: worker[::-1]).rounds
    assert rows["worker_id"].to_pylist() == [published]


@pytest.mark.parametrize(
    ("folder", "filename", "name", "found"),
    [
        ("%s", "n00000001_1", NAME, ("n00000001", "n00000001_1", 1)),
        ("n00000001", "%s", NAME, ("n00000001", "n00000001_1", 1)),
        ("%s", "%s", NAME, ("n00000001", "n00000001_1", 2)),
        ("n00000002", "n00000001_2", NAME, ("n00000001", "n00000001_1", 2)),
        ("%s", "%s", "cat/7.xml", ("cat", "7", 2)),
        ("cat", "7.JPEG", "x/cat/7.JPEG.xml", ("cat", "7", 0)),
        ("dog", "7", "cat/7.xml", ("dog", "7", 0)),
        ("%s", "7", "7.xml", "missing"),
        ("cat", "8", "cat/7.xml", "name-mismatch"),
    ],
)
def test_class_and_id_are_those_of_the_path(folder: str, filename: str, name: str, found: Any):
    text = xml(blocks=[block()]).decode().replace("<folder>n00000001<", f"<folder>{folder}<")
    body = text.replace("<filename>n00000001_1<", f"<filename>{filename}<").encode()
    if isinstance(found, str):
        assert rule_of(body, name) == found
        return
    record = parse(name, body)
    assert (record.image["wnid"], record.image["image_id"], len(record.repaired)) == found
    assert record.rounds[0]["image_id"] == found[1] and record.rounds[0]["wnid"] == found[0]
    assert set(record.repaired) <= {"name-from-path"}


def test_a_box_with_its_edges_swapped_keeps_its_numbers():
    assert parse(NAME, xml(boxes=[(5, 1, 4, 9)])).image["boxes"] == [[5, 1, 4, 9]]


def test_a_worker_id_is_in_no_error():
    text = xml(blocks=[block(worker="SECRETWORKER")]).decode()
    for old, new in [("<page_idx>2<", "<page_idx>x<"), ("<x>0.5</x>", "<x>no</x>")]:
        with pytest.raises(RecordError) as caught:
            parse(NAME, text.replace(old, new).encode())
        assert "SECRETWORKER" not in str(caught.value)


def test_unknown_elements_are_reported_not_fatal():
    text = xml(boxes=[(1, 1, 2, 2)]).decode()
    text = text.replace("<depth>3</depth>", "<depth>3</depth><alpha>1</alpha>")
    text = text.replace("<page_idx>", "<zoom>2</zoom><page_idx>")
    assert parse(NAME, text.encode()).unknown == [
        "annotation/size/alpha",
        "annotation/metadata/zoom",
    ]


@given(st.binary(max_size=300))
def test_no_bytes_make_anything_but_a_record_or_a_record_error(body: bytes):
    for candidate in (body, b"<annotation>" + body + b"</annotation>"):
        with pytest.raises(RecordError):
            parse(NAME, candidate)


@given(st.data())
def test_a_damaged_record_never_crashes_the_parser(data: st.DataObject):
    good = xml(blocks=[block(trace=[(1, 0.5, 0.5)])], boxes=[(1, 2, 3, 4)])
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, min(len(good), start + 40)))
    middle = data.draw(st.binary(max_size=20) | st.text(string.printable).map(str.encode))
    try:
        parse(NAME, good[:start] + middle + good[stop:])
    except RecordError:
        pass


fraction = st.floats(-2, 2, allow_nan=False) | st.sampled_from([-0.0, 1e-17, 5e-324, 1 / 3])
moment = st.integers(-(10**15), 10**15)
point = st.tuples(moment, fraction, fraction)


@given(
    st.lists(
        st.builds(
            block,
            selected=st.booleans(),
            clicks=st.lists(point, max_size=3),
            trace=st.lists(point, max_size=4),
            hovered=st.lists(st.tuples(st.sampled_from(["enter", "leave"]), moment), max_size=3),
            submit=moment,
        ),
        max_size=3,
    )
)
def test_what_was_written_is_read_back_exactly(blocks: list[dict[str, Any]]):
    record = parse(NAME, xml(blocks=blocks))
    table = to_batch([record], lambda worker: worker[::-1]).rounds.to_pylist()
    for row, written in zip(table, blocks, strict=True):
        assert row["selected"] is written["selected"]
        assert row["hit_submit_time"] == written["hit_submit_time"]
        assert row["worker_id"] == written["worker_id"][::-1]
        for tag, column in [
            ("selectedRecord", "selected_record"),
            ("mouseTracking", "mouse_tracking"),
        ]:
            for key, suffix in [("x", "_x"), ("y", "_y"), ("time", "_time_ms")]:
                assert row[column + suffix] == [entry[key] for entry in written[tag]]
                assert str(row[column + suffix]) == str([entry[key] for entry in written[tag]])


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared, the real excerpts")
def test_the_real_excerpts_hold_no_element_that_the_schema_does_not_know():
    import re

    known = {c.raw for c in IMAGENET_ROUNDS.columns if c.raw}
    known |= {raw.partition("/")[0] for raw in known} | {raw.rpartition("/")[2] for raw in known}
    boxes = "annotation source database size width height depth segmented object name pose"
    known |= set(f"{boxes} truncated difficult bndbox xmin ymin xmax ymax metadata".split())
    files = sorted((SHARED / "data/release-excerpts").glob("*.xml.part"))
    assert len(files) == 4
    for file in files:
        assert set(re.findall(r"<(\w+)>", file.read_text())) <= known
