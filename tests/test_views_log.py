"""The open log: lines to views and back, what is wrong with others, and the page that says so."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from logs import SHARED
from test_docs import ROOT, blocks

import luab_data
from luab_data.cli import main
from luab_data.errors import ArchiveError
from luab_data.views import EVENTS, OPTIONAL_LISTS, VIEWS, Reading
from luab_data.views import lines as lines_module
from luab_data.views.lines import decode, read
from luab_data.views.log import (
    PARTS,
    Asked,
    Device,
    Event,
    Image,
    Kind,
    Pointer,
    Shown,
    View,
    json_schema,
    to_lines,
    to_table,
)

PAGE = ROOT / "docs" / "log-format.md"
SCHEMA = ROOT / "docs" / "static" / "byproducts-1.schema.json"
KINDS = get_args(Kind)


def view(**fields: Any) -> dict[str, Any]:
    """The least that a line must have, and more."""
    return {"byproducts": 1, "kind": "browsing", "image": {"id": "a"}, **fields}


def written(folder: Path, *lines: bytes | dict[str, Any], end: bytes = b"\n") -> Path:
    path = folder / "log.jsonl"
    parts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"".join(part + end for part in parts))
    return path


def readings(path: Path, *kinds: Kind) -> tuple[pa.Table, list[str], list[str], Counter[str]]:
    """All views, what they are called, all errors, unknown fields."""
    unknown = Counter[str]()
    found: list[Reading] = list(read(path, unknown, lambda _: None, kinds or KINDS))
    table = pa.concat_tables([r.table for r in found]) if found else VIEWS.schema().empty_table()
    errors = [f"{e.where}: {e.reason} [{e.rule}]" for r in found for e in r.errors]
    return table, [name for r in found for name in r.names], errors, unknown


def _fields(struct: Any) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(struct)]


# --- there and back ------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
WHOLE = st.integers(-(2**53), 2**53).map(float)
FRACTION = st.floats(-10, 10)
PX = st.floats(0, 1e6)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


EVENT = st.builds(
    Event,
    type=st.sampled_from(EVENTS),
    t=maybe(WHOLE),
    **{name: maybe(FRACTION) for name in ("x", "y", "from_x", "from_y")},
    label=maybe(WORDS),
    state=maybe(st.booleans()),
    duration=maybe(WHOLE),
    pointer=maybe(st.sampled_from(get_args(Pointer))),
)
VIEW = st.builds(
    View,
    byproducts=st.just(1),
    kind=st.just("tracing"),
    image=st.builds(
        Image,
        id=WORDS,
        file=maybe(WORDS),
        width=maybe(st.integers(1, 2**31 - 1)),
        height=maybe(st.integers(1, 2**31 - 1)),
    ),
    asked=maybe(
        st.builds(
            Asked,
            label=maybe(WORDS),
            classes=maybe(st.lists(WORDS, max_size=3).map(tuple)),
            prompt=maybe(WORDS),
        )
    ),
    shown=maybe(st.builds(Shown, x=maybe(st.floats(-1e6, 1e6)), y=maybe(PX), width=maybe(PX))),
    device=maybe(st.builds(Device, viewport_width=maybe(PX), pixel_ratio=maybe(PX))),
    **{name: maybe(WORDS) for name in ("session", "task", "arm", "annotator", "answer")},
    **{name: maybe(st.integers(0, 2**15 - 1)) for name in ("page", "slot")},
    epoch=maybe(WHOLE),
    selected=maybe(st.booleans()),
    events=maybe(st.lists(EVENT, max_size=4).map(tuple)),
)


@given(st.lists(VIEW, max_size=4))
def test_views_come_back_as_they_were_written(views: list[View]):
    table = to_table(views)
    assert table.schema.equals(VIEWS.schema())
    for name in OPTIONAL_LISTS:  # null where no event has a value, and only there
        lists = table[name].to_pylist()
        assert all(some is None or any(one is not None for one in some) for some in lists)
    unknown = Counter[str]()
    lines = to_lines(table, "tracing").splitlines()
    back = [decode(line, unknown) for line in lines]
    assert to_table(back).equals(table) and not unknown
    for line in lines:
        jsonschema.validate(json.loads(line), json_schema())


def test_null_is_as_good_as_absent(tmp_path: Path):
    names = [f.encode_name for f in msgspec.structs.fields(View)][3:]
    inside = {name: dict.fromkeys(_fields(part)) for name, part in PARTS.items()}
    event, image = {**inside["events"], "type": "move"}, {**inside["image"], "id": "a"}
    full = view(**dict.fromkeys(names))
    deep = view(**{**inside, "image": image, "events": [event]})
    table, _, errors, _ = readings(written(tmp_path, view(), full, deep, view(events=[])))
    assert not errors
    rows = table.to_pylist()
    assert rows[0] == rows[1] == rows[3] and rows[2]["event"] == [EVENTS.index("move")]


def test_unknown_fields_are_counted_and_left_out(tmp_path: Path):
    odd = view(
        image={"id": "a", "widht": 3},
        events=[{"type": "move", "t": 1, "time": 2}, {"type": "move", "foo": {"bar": 1}}],
        **{"selectd": True, "ann@lab.example": 1, "x" * 41: 1},
    )
    table, names, errors, unknown = readings(written(tmp_path, odd, view(), odd))
    assert not errors and names == ["line 1", "line 2", "line 3"]
    assert unknown == {
        **{"image.widht": 2, "events.time": 2, "events.foo": 2, "selectd": 2},
        "(no plain name)": 4,
    }
    assert table.to_pylist()[0]["event_time_ms"] == [1, None]


def test_lines_are_told_apart_from_what_is_around_them(tmp_path: Path):
    """A byte order mark, CRLF, blank lines, no end of the last line, a piece of 4 MiB between."""
    long = view(events=[{"type": "move", "t": k} for k in range(200_000)])
    content = [b"\xef\xbb\xbf" + json.dumps(view()).encode(), b"", b"  \t", long, b"{", view()]
    path = written(tmp_path, *content, end=b"\r\n")
    path.write_bytes(path.read_bytes().removesuffix(b"\r\n"))
    table, names, errors, _ = readings(path)
    assert names == ["line 1", "line 4", "line 6"] and len(table) == 3
    assert [error[:7] for error in errors] == ["line 5:"]
    plain = readings(path)[0]
    for name, packed in {
        "log.gz": gzip.compress(path.read_bytes()),
        "log.zst": pa.compress(path.read_bytes(), "zstd", asbytes=True),
    }.items():
        (tmp_path / name).write_bytes(packed)
        assert readings(tmp_path / name)[0].equals(plain)
    for empty in (b"", b"\n\n", b"\xef\xbb\xbf"):
        path.write_bytes(empty)
        assert readings(path)[0].num_rows == 0 and not readings(path)[2]


# --- what is wrong -------------------------------------------------------------------------------

BASE = b'{"byproducts":1,"kind":"browsing","image":{"id":"a"}%s}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"3", "Expected `object`, got `int` [not-a-view]"),
        (b"null", "got `null` [not-a-view]"),
        (b'{"kind":"browsing"}', "Object missing required field `byproducts`"),
        (b'{"byproducts":2}', "`byproducts`: found 2; expected 1, the version of the log"),
        (BASE % b',"kind":"browsin"', "`kind`: found 'browsin'; did you mean 'browsing'?"),
        (BASE % b',"kind":"\\u0061nn@lab.example"', "`kind`: found '(no plain name)' ["),
        (BASE % b',"events":[{"type":"mouse-move"}]', "; did you mean 'remove' or 'move'?"),
        (BASE % b',"events":[{"t":1}]', "`events[0]`: Object missing required field `type`"),
        (
            BASE % b',"events":[{"type":"move","x":412}]',
            "`events[0].x`: Expected `float` <= 10.0: a",
        ),
        (BASE % b',"events":[{"type":"move","x":"0.5"}]', "Expected `float | null`, got `str`"),
        (BASE % b',"events":{}', "`events`: Expected `array | null`, got `object`"),
        (BASE % b',"page":-1', "`page`: Expected `int` >= 0"),
        (BASE % b',"image":{"id":""}', "`image.id`: Expected `str` of length >= 1"),
        (BASE % b',"image":{"id":7}', "`image.id`: Expected `str`, got `int`"),
        (BASE % b',"image":{"id":"a","width":640.5}', "Expected `int | null`, got `float`"),
        (BASE % (b',"epoch":' + b"9" * 400), "`epoch`: Number out of range"),
        (BASE % b',"epoch":1e400', "`epoch`: Number out of range"),
        (BASE % b',"epoch":1e300', "`epoch`: Expected `float` <= 9007199254740992"),
        (BASE % b',"epoch":NaN', "JSON is malformed: invalid character (byte 61)"),
        (BASE % b',"epoch":-Infinity', "JSON is malformed"),
        (BASE % b',"answer":"\\ud800"', "expected one JSON object [json-syntax]"),
        (BASE % b',"answer":"\xff"', "Invalid UTF-8 encoded string"),
        (BASE % b',"unknown":"\xff"', "Invalid UTF-8 encoded string"),
        (BASE % (b',"unknown":' + b"[" * 99_999 + b"]" * 99_999), "brackets within brackets"),
        (BASE % (b',"answer":' + b"[" * 99_999), "Expected `str | null`, got `array`"),
        (BASE % b"" + b"\0", "JSON is malformed: trailing characters"),
        (BASE % b"" + b" " + BASE % b"", "JSON is malformed: trailing characters"),
        (b"{" * 99_999, "JSON is malformed"),
        (b"\x89PNG\x1a", "JSON is malformed"),
    ],
)
def test_a_bad_line_says_where_it_is_wrong(line: bytes, said: str, tmp_path: Path):
    table, names, errors, _ = readings(written(tmp_path, view(), line, view()))
    assert names == ["line 1", "line 3"] and len(table) == 2
    (error,) = errors
    assert error.startswith("line 2: ") and said in error and len(error) < 200, error


def test_a_line_without_end_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lines_module, "MAX_LINE", 2000)
    ends = [b" " * (1999 - len(BASE % b"")), b" " * 5000, b"," * 1999]
    path = written(tmp_path, *(BASE % b"" + end for end in ends), view())
    _, names, errors, _ = readings(path)
    assert names == ["line 1", "line 4"]
    assert errors[0].startswith("line 2: longer than ") and errors[0].endswith("[too-long]")
    assert errors[1].startswith("line 3: longer than ")


@pytest.mark.parametrize(
    "who", ["ann-the-beta", 'ann"the\\beta', "änn-the-beta", "ann@beta.example"]
)
@pytest.mark.parametrize("escape", [True, False])
def test_no_error_has_the_annotators_id(who: str, escape: bool, tmp_path: Path):
    """Wherever it stands, quoted or escaped."""
    for place in (
        {"kind": who}, {"events": [{"type": who}]}, {"events": [{"type": "key", "pointer": who}]},
        {"session": 7, "kind": who}, {who: 1, "kind": "x"}, {who: {who: who}},
    ):  # fmt: skip
        line = json.dumps(view(**{"annotator": who, **place}), ensure_ascii=escape).encode()
        _, _, errors, unknown = readings(written(tmp_path, line))
        said = f"{errors} {unknown}".casefold()
        assert len(errors) + len(unknown) == 1
        assert "beta" not in said and "nn-" not in said and "ann@" not in said, said


def test_views_of_another_kind_name_the_way_in(tmp_path: Path):
    path = written(tmp_path, *(view(kind=kind) for kind in KINDS))
    _, names, errors, _ = readings(path, "tracing", "pointing")
    assert names == ["line 3", "line 4"]
    assert errors[0] == (
        "line 1: is a view of a browsing task; expected pointing or tracing."
        " `luab-data convert browsing` reads it [other-kind]"
    )
    assert "`luab-data convert tracing` reads it" in readings(path, "browsing")[2][-1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[\n{"byproducts": 1}\n]', "a JSON array; expected an object a line: `jq -c '.\\[\\]'"),
        (b'{\n  "byproducts": 1\n}', "JSON over several lines; .* `jq -c . FILE`"),
        (b'\xef\xbb\xbf[{"image_id": 9, "actionHistories": []}]', "`luab-data convert coco-ab`"),
        (b"<annotation>\n", "`luab-data convert imagenet-ab` reads that"),
        (b"<html>", "an HTML page"),
        (gzip.compress(json.dumps(view()).encode() * 9999)[:-9], "cut or damaged"),
        (b"\x1f\x8b" + b"x" * 99, "cut or damaged"),
        (pa.compress(json.dumps(view()).encode() * 9999, "zstd", asbytes=True)[:-9], "cut or dam"),
        (b"PAR1", "a Parquet file"),
        ('{"byproducts": 1}'.encode("utf-16"), "UTF-16"),
    ],
)
def test_files_that_are_no_log_say_what_they_are(content: bytes, said: str, tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(content)
    for call in (readings, luab_data.validate):
        with pytest.raises(ArchiveError, match=said):
            call(path)


def test_the_releases_logs_are_known(tmp_path: Path):
    raw = SHARED / "data" / "raw"
    for name, verb in (
        ("imagenet_ab_tiny.tar.gz", "imagenet-ab"),
        ("coco_ab_tiny.json", "coco-ab"),
    ):
        with pytest.raises(ArchiveError, match=f"`luab-data convert {verb}` reads that"):
            readings(next(raw.glob(f"{name}*")))
    with pytest.raises(ArchiveError, match="is a folder; expected a log"):
        luab_data.validate(tmp_path)


NAMES = sorted({"byproducts", "x", *(n for part in (View, *PARTS.values()) for n in _fields(part))})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from([*EVENTS, *KINDS, 1, 0.5, "ann"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5), max_size=3))
def test_whatever_json_holds_is_a_view_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, Any]]
):
    path = tmp_path_factory.mktemp("any") / "log"
    lines = [json.dumps({**view(), **change}).encode() for change in changes]
    path.write_bytes(b"\n".join([json.dumps(view()).encode(), *lines]))
    table, names, errors, _ = readings(path)
    assert len(table) + len(errors) == len(names) + len(errors) == 1 + len(changes)
    result = luab_data.validate(path)
    bad = sum(f.count for f in result.findings if f.severity == "error")
    assert result.num_views + bad == 1 + len(changes)


@given(st.binary(max_size=200))
def test_whatever_a_file_holds_ends_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
):
    path = tmp_path_factory.mktemp("any") / "log"
    path.write_bytes(content)
    try:
        luab_data.validate(path)
    except ArchiveError as error:
        assert str(error).startswith(str(path))


# --- the page ------------------------------------------------------------------------------------


def table_of(heading: str) -> dict[str, str]:
    """First column -> second, of the first table below a heading of the page."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n{heading}\n")[1]
    rows = re.search(r"^\|---.*?\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert rows
    return dict(re.findall(r"^\| `([\w-]+)` \| (.+?) \|", rows[1], re.MULTILINE))


def in_words(field: Any) -> str:
    """What the page calls the type of a field."""
    info: Any = msgspec.inspect.type_info(field.type)
    if isinstance(info, msgspec.inspect.UnionType):
        (info,) = (t for t in info.types if not isinstance(t, msgspec.inspect.NoneType))
    if isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    if isinstance(info, msgspec.inspect.LiteralType):
        return "1" if info.values == (1,) else "text"
    if isinstance(info, msgspec.inspect.VarTupleType):
        return "list of texts" if isinstance(info.item_type, msgspec.inspect.StrType) else "list"
    return {
        "StrType": "text", "FloatType": "number", "IntType": "whole number",
        "BoolType": "true or false", "StructType": "object",
    }[info.__class__.__name__]  # fmt: skip


@pytest.mark.parametrize(
    ("heading", "struct"),
    [("## A view", View), *((f"### {name}", PARTS[name]) for name in PARTS if name != "events"),
     ("## Events", Event)],
)  # fmt: skip
def test_the_page_has_every_field_with_its_type(heading: str, struct: Any):
    fields = {field.encode_name: in_words(field) for field in msgspec.structs.fields(struct)}
    assert table_of(heading) == fields


def test_the_page_has_every_type_of_event():
    text = PAGE.read_text(encoding="utf-8").split("| type | what happened |")[1]
    assert re.findall(r"^\| `([\w-]+)` \|", text.split("\n## ")[0], re.MULTILINE) == [*EVENTS]


def test_the_example_of_the_page_becomes_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(PAGE, "json")
    Path("log.jsonl").write_text(example, encoding="utf-8")
    for line in example.splitlines():
        jsonschema.validate(json.loads(line), json_schema())
    for command in blocks(PAGE, "console")[0].splitlines():
        program, *words = shlex.split(command)
        assert program == "luab-data"
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
    assert len(luab_data.read_table("cheese-ab", "annotators")) == 2
    (row,) = luab_data.read_table("cheese-ab").to_pylist()
    assert (row["image_id"], row["wnid"], row["selected"]) == ("IMG 1", "Käse", False)
    first, second = luab_data.read_table("cheese-ab", "rounds").to_pylist()
    assert (first["selected"], first["selected_record_x"]) == (True, [0.25])
    assert first["mouse_tracking_time_ms"] == [1100, 1200] and second["mouse_tracking_x"] == []
    manifest = json.loads(Path("cheese-ab", "manifest.json").read_text())
    assert manifest["collection"]["title"] == "Is it cheese?"


def test_the_schema_ships_as_the_types_say():
    said = CliRunner().invoke(main, ["validate", "--schema"])
    assert said.exit_code == 0
    assert json.loads(SCHEMA.read_text()) == json.loads(said.output) == json_schema()
    jsonschema.Draft202012Validator.check_schema(json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(view(selectd=True), json_schema())
