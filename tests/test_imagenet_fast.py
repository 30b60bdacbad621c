"""The fast reader of ImageNet-AB agrees with the slow one on everything, good or bad."""

from __future__ import annotations

import re
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from logs import SHARED, block, xml

import luab_data
from luab_data.errors import RecordError
from luab_data.raw import imagenet, imagenet_fast, imagenet_templates
from luab_data.raw.source import Source
from luab_data.raw.tar import SPARE_BYTES, Run, runs
from luab_data.schema import IMAGENET_IMAGES, IMAGENET_ROUNDS
from luab_data.store.digest import shard_digest


def hashed(worker: str) -> str:
    return worker[::-1]


def run_of(bodies: list[bytes], names: list[str] | None = None) -> Run:
    """Members with something between them, as in a tar."""
    data, starts, ends = b"\n<annotation>\n", [], []
    for body in bodies:
        data += b"\0" * (-len(data) % 512) + b"header" + b"\0" * 506
        starts.append(len(data))
        data += body
        ends.append(len(data))
    array = np.frombuffer(data + bytes(SPARE_BYTES), np.uint8)
    names = names or [f"train_xml/n00000001/n00000001_{i}.xml" for i in range(len(bodies))]
    return Run(array, names, np.array(starts, np.int64), np.array(ends, np.int64), {})


def check_agreement(run: Run) -> imagenet_fast.Read:
    """Fast and slow say the same of every member: values to the bit, errors to the letter."""
    read = imagenet_fast.read_run(run, hashed)
    records, places, errors = [], [], []
    for index, name in enumerate(run.names):
        try:
            records.append(imagenet.parse(name, run.body(index)))
            places.append(index)
        except RecordError as error:
            errors.append((index, str(error)))
    slow = imagenet.to_batch(records, hashed)
    assert [(i, str(e)) for i, e in read.errors] == errors
    assert read.places.tolist() == places
    unknown = [(i, u) for i, r in zip(places, records, strict=True) for u in r.unknown]
    assert read.unknown == unknown
    repaired = [(i, r) for i, record in zip(places, records, strict=True) for r in record.repaired]
    assert read.repaired == repaired
    assert shard_digest([read.batch.images]) == shard_digest([slow.images])
    # Blocks of one image keep their order; images come in any.
    order = pa.array(np.argsort(read.batch.rounds["image_id"].to_pylist(), kind="stable"))
    slow_order = pa.array(np.argsort(slow.rounds["image_id"].to_pylist(), kind="stable"))
    fast_rows, slow_rows = read.batch.rounds.take(order), slow.rounds.take(slow_order)
    assert shard_digest([fast_rows]) == shard_digest([slow_rows])
    assert read.batch.rounds.schema.equals(slow.rounds.schema)
    return read


def test_reversed_boxes_are_read_fast_and_as_published():
    body = xml("n00000001_0", boxes=[(9, 1, 4, 5), (0, 8, 3, 2)])
    read = check_agreement(run_of([body]))
    assert read.num_slow == 0
    assert read.batch.images["boxes"].to_pylist() == [[[9, 1, 4, 5], [0, 8, 3, 2]]]


def drawn(image_id: str) -> bytes:
    """Boxes, two blocks, lists of every length."""
    blocks = [
        block(
            selected=False,
            clicks=[],
            trace=[(5, 0.25, -0.0)],
            hovered=[("enter", 1), ("leave", 2), ("enter", 3)],
            submit=7,
        ),
        block(clicks=[(6, 1e-7, 1.003), (9, 0.5, 0.5)], trace=[(3, 0.1, 0.2), (4, 1 / 3, 0.2)]),
    ]
    return xml(image_id, blocks, boxes=[(1, 2, 3, 4), (5.5, 6, 7, 8)])


def test_the_layout_of_the_release_is_read_without_the_slow_path():
    ids = [f"n00000001_{i}" for i in range(6)]
    bodies = [
        drawn(ids[0]),
        xml(ids[1], [], boxes=[(0, 0, 1, 1)]),
        xml(ids[2], []),
        xml(ids[3], [block(trace=[(i, 0.5, 0.5) for i in range(40)])]),
        drawn(ids[4]).removesuffix(b"\n"),
        re.sub(rb"(  <folder>.*\n)(  <filename>.*\n)", rb"\2\1", drawn(ids[5])),
    ]
    read = check_agreement(run_of(bodies))
    assert read.num_slow == 0 and len(read.places) == 6
    assert str(read.batch.rounds["mouse_tracking_y"][0][0].as_py()) == "-0.0"


def test_the_templates_name_every_raw_column_once():
    parts = [
        value
        for name, value in vars(imagenet_templates).items()
        if isinstance(value, imagenet_templates.Part) and name != "OBJECT"
    ]
    rounds = {c.name for c in IMAGENET_ROUNDS.columns if c.raw} - {"image_id", "wnid"}
    images = {c.name for c in IMAGENET_IMAGES.columns if c.raw}
    images -= {"boxes", "image_id", "wnid"}
    boxes = {*imagenet_templates.OBJECT.columns} - set(imagenet_templates.BOX_EDGES)
    found = [column for part in parts for column in part.columns]
    assert sorted([*found, *boxes]) == sorted(rounds | images)


def test_one_odd_member_does_not_slow_the_others_down():
    bodies = [drawn(f"n00000001_{i}") for i in range(9)]
    bodies[4] = bodies[4].replace(b"<page_idx>2<", b"<page_idx> 2<")
    bodies[6] = bodies[6].replace(b"<page_idx>2<", b"<page_idx>x<")
    read = check_agreement(run_of(bodies))
    assert read.num_slow == 2 and [i for i, _ in read.errors] == [6]


def test_a_name_that_is_no_utf8_is_one_bad_record():
    bodies = [drawn(f"n00000001_{i}") for i in range(3)]
    for index, tag in enumerate((b"<folder>", b"<filename>")):
        bodies[index] = re.sub(tag + b".", tag + b"\x80", bodies[index])
    read = check_agreement(run_of(bodies))
    assert [i for i, _ in read.errors] == [0, 1]


VALUES = [
    *("341.0", "341.", "341.5", "-7.00", "TRUE", "fALSE", "null", "%s", "AC..  "),
    *("", "None", "none", " 7 ", "7\t", "+5", "-0", "-0.0", "007", "0x10", "0X1f", "1_0", "1e3"),
    *("1E-3", "1.", ".5", "-.5", "1e999", "-1e999", "5e-324", "1e", "e1", "--1", "1 2", "nan"),
    *("NaN", "inf", "-Infinity", "infinity", "True", "False", "true", "enter", "leave", "٣", "７"),
    *("99999", "-40000", str(2**31), str(2**63), "9" * 18, "9" * 19, "0" * 30, "1e17", "ü", "a b"),
    *("&amp;", "&lt;", "&#49;", "a&b", "a>b", "]]>", "<b/>", "<![CDATA[5]]>", "<!-- c -->5"),
    *("\x01", "\x7f", "n00000001", "0.30000000000000004", "4.35", "123456789012345678901234567890"),
]


def mutations() -> st.SearchStrategy[tuple[str, int, str, int]]:
    kinds = ["value", "drop", "twice", "indent", "join", "attribute", "comment", "unknown"]
    kinds += ["swap", "crlf", "close", "split", "byte"]
    return st.tuples(
        st.sampled_from(kinds), st.integers(0, 10**6), st.sampled_from(VALUES), st.integers(0, 255)
    )


def mutated(body: bytes, mutation: tuple[str, int, str, int]) -> bytes:
    kind, where, value, byte = mutation
    if kind == "byte" and body:
        at = where % len(body)
        return body[:at] + bytes([byte]) + body[at + 1 :]
    text = body.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    at = where % len(lines)
    line = lines[at]
    if kind == "value":
        lines[at] = re.sub(r">[^<]*</", lambda _: f">{value}</", line, count=1)
    elif kind == "drop":
        del lines[at]
    elif kind == "twice":
        lines.insert(at, line)
    elif kind == "indent":
        lines[at] = " " * (byte % 9) + line.lstrip()
    elif kind == "join" and at:
        lines[at - 1 : at + 1] = [lines[at - 1] + line.strip()]
    elif kind == "attribute":
        lines[at] = line.replace(">", ' a="1">', 1)
    elif kind == "comment":
        lines.insert(at, "<!-- <x>1</x> -->")
    elif kind == "unknown":
        lines.insert(at, f"<zoom>{value}</zoom>")
    elif kind == "swap":
        other = byte % len(lines)
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "crlf":
        lines[at] = line + "\r"
    elif kind == "close":
        lines[at] = line.replace("</", "</x", 1)
    elif kind == "split":
        lines[at] = line.replace("><", ">\n<").replace("</", "\n</", 1)
    return "\n".join(lines).encode("utf-8", "surrogateescape")


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.lists(mutations(), max_size=3), min_size=1, max_size=3))
def test_any_other_layout_is_read_alike_or_refused_alike(all_mutations):
    bodies = []
    for index, some in enumerate(all_mutations):
        body = drawn(f"n00000001_{index}")
        for mutation in some:
            body = mutated(body, mutation)
        bodies.append(body)
    check_agreement(run_of(bodies))


@pytest.mark.parametrize(
    "tag",
    [
        *("x", "time", "action", "worker_id", "image_idx", "selected", "hit_submit_time", "xmin"),
        *("width", "database", "name", "imageID", "filename", "estimateTime", "truncated"),
    ],
)
def test_every_odd_value_in_every_kind_of_field(tag: str):
    bodies = []
    for index, value in enumerate(VALUES):
        text = drawn(f"n00000001_{index}").decode()
        assert f"<{tag}>" in text
        new = f"<{tag}>{value}</"
        text = re.sub(rf"<{tag}>[^<]*</", lambda _, new=new: new, text, count=1)
        bodies.append(text.encode("utf-8", "surrogateescape"))
    for body in bodies:  # one by one: a plain value is not read slowly for its neighbour's sake
        check_agreement(run_of([body]))
    check_agreement(run_of(bodies))


LINE_EDITS = {
    "drop": lambda line: [],
    "twice": lambda line: [line, line],
    "comment": lambda line: ["  <!-- c -->", line],
    "unknown": lambda line: ["  <zoom>1</zoom>", line],
    "empty": lambda line: ["", line],
    "indent": lambda line: [" " + line],
    "flush": lambda line: [line.lstrip()],
    "trailing": lambda line: [line + " "],
    "crlf": lambda line: [line + "\r"],
    "other-tag": lambda line: [line.replace("<", "<a", 1)],
    "other-end": lambda line: [line.replace(">", "a>", 1)],
    "text": lambda line: [line + "x"],
}


@pytest.mark.parametrize("edit", LINE_EDITS)
def test_every_line_of_a_record_counts(edit: str):
    lines = drawn("n00000001_ID").decode().split("\n")
    bodies = []
    for at, line in enumerate(lines):
        edited = [*lines[:at], *LINE_EDITS[edit](line), *lines[at + 1 :]]
        bodies.append("\n".join(edited).replace("_ID", f"_{at}").encode())
    read = check_agreement(run_of(bodies))
    # An edit of any line but the empty one after the last newline leaves the layout; at the very
    # end some do not.
    assert read.num_slow >= len(lines) - 3


def test_every_two_lines_swapped():
    lines = drawn("n00000001_ID").decode().split("\n")
    bodies = []
    for at in range(len(lines) - 1):
        swapped = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
        bodies.append("\n".join(swapped).replace("_ID", f"_{at}").encode())
    check_agreement(run_of(bodies))


number = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 5e-324, 1e22])
moment = st.integers(-(10**15), 10**15)
hover = st.tuples(st.sampled_from(["enter", "leave"]), moment)
points = st.lists(st.tuples(moment, number, number), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.builds(
                block,
                selected=st.booleans(),
                clicks=points,
                trace=points,
                hovered=st.lists(
                    st.tuples(st.sampled_from(["enter", "leave"]), moment), max_size=3
                ),
                submit=moment,
                worker=st.text("0123456789ABCDEF", min_size=1, max_size=12),
            ),
            max_size=3,
        ),
        max_size=4,
    )
)
def test_all_numbers_arrive_to_the_bit_and_nothing_is_slow(images):
    bodies = [xml(f"n00000001_{i}", blocks) for i, blocks in enumerate(images)]
    assert check_agreement(run_of(bodies)).num_slow == 0


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"\n\n\n", b"<annotation>\n</annotation>", b"\0" * 90]
)
def test_bodies_that_are_hardly_there(body: bytes):
    check_agreement(run_of([body]))
    check_agreement(run_of([drawn("n00000001_0"), body, drawn("n00000001_2")]))


def test_a_line_of_one_member_never_counts_for_another():
    """The end of one member cut off, and the start of the next: together they would fit."""
    whole = drawn("n00000001_0")
    cut = whole.index(b"    <mouseTracking>")
    check_agreement(run_of([whole[:cut], whole[cut:], drawn("n00000001_2")]))


def test_the_name_of_the_member_counts():
    names = ["n00000001_0.xml", "a/n00000002/n00000001_7.xml", "n00000001_2.XML", "a/b.xml"]
    read = check_agreement(run_of([drawn(f"n00000001_{i}") for i in range(4)], names))
    assert [i for i, _ in read.errors] == [3]
    assert read.repaired == [(1, "name-from-path")] * 2
    assert read.batch.images["wnid"].to_pylist() == ["n00000001", "n00000002", "n00000001"]
    assert read.batch.images["image_id"].to_pylist()[1] == "n00000001_7"


@pytest.mark.parametrize("folder", ["n00000001", "%s", "cat"])
@pytest.mark.parametrize("filename", ["n00000001_0", "%s", "n00000001_9"])
@pytest.mark.parametrize("name", ["t/n00000001/n00000001_0.xml", "cat/n00000001_0.xml", "1.xml"])
def test_names_in_the_record_and_in_the_path(folder: str, filename: str, name: str):
    body = drawn("n00000001_0").replace(b"<folder>n00000001<", f"<folder>{folder}<".encode())
    body = body.replace(b"<filename>n00000001_0<", f"<filename>{filename}<".encode())
    read = check_agreement(run_of([body], [name]))
    assert read.num_slow == (read.repaired != [] or read.errors != [])


def test_an_id_that_ends_like_a_picture_is_no_id():
    body = drawn("n00000001_1").replace(b"<filename>n00000001_1<", b"<filename>n00000001_1.JPEG<")
    for name in ("x/n00000001_1.xml", "x/n00000001_1.JPEG.xml", "x/n00000001_1.jpeg.xml"):
        check_agreement(run_of([body], [name]))


def test_more_blocks_than_can_be_counted_are_refused(monkeypatch):
    for module in (imagenet, imagenet_fast):
        monkeypatch.setattr(module, "MAX_ROUNDS", 2)
    bodies = [xml(f"n00000001_{i}", [block(submit=k) for k in range(i)]) for i in range(5)]
    assert [i for i, _ in check_agreement(run_of(bodies)).errors] == [3, 4]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("name", ["tiny", "dirty"])
def test_the_shared_archives(name: str):
    source = Source(SHARED / f"data/raw/imagenet_ab_{name}.tar.gz")
    slow = 0
    for number, run in enumerate(runs(source, run_bytes=2**21)):
        found = [i for i in range(len(run.names)) if i not in run.problems]
        if number % 8 == 0:
            found_run = run.only(np.array(found))
            ids = [Path(n).stem for n in found_run.names]
            _, once = np.unique(ids, return_index=True)  # agreement is per record, not per log
            slow += check_agreement(found_run.only(np.sort(once))).num_slow
    source.close()
    assert (slow > 0) == (name == "dirty")


def test_the_simulator_writes_the_layout(tmp_path: Path):
    image = {"wnid": "n00000001", "width": 64, "height": 64, "boxes": [[8.0, 8.0, 40.0, 40.0]]}
    images = [luab_data.LabelledImage(image_id=f"n00000001_{i}", **image) for i in range(40)]
    luab_data.simulate_imagenet(images, tmp_path / "raw.tar.gz", truth=tmp_path / "truth.jsonl")
    source = Source(tmp_path / "raw.tar.gz")
    (run,) = runs(source)
    source.close()
    assert check_agreement(run).num_slow == 0
