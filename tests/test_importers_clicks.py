"""A row a click, from CSV or from Python, becomes a browsing dataset."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from click.testing import CliRunner
from logs import KEY, SHARED
from PIL import Image

import luab_data
from luab_data.cli import main
from luab_data.conversion import Converted
from luab_data.errors import ArchiveError, ImagesError, LuabError, OptionError, RecordError
from luab_data.store.folder import read_manifest

CASE = SHARED / "data" / "cases" / "own" / "clicks.csv"


def records(*rows: tuple[Any, ...], names: str = "image label x y") -> list[dict[str, Any]]:
    return [dict(zip(names.split(), row, strict=True)) for row in rows]


def convert(rows: Any, out: Path, **options: Any) -> Converted:
    return luab_data.convert_records(rows, out, worker_key=KEY, **options)


def views(out: Path, *columns: str) -> list[dict[str, Any]]:
    return luab_data.read_table(out, "rounds", columns=list(columns)).to_pylist()


def clicks(out: Path) -> np.ndarray:
    """All clicks, in order: (num_clicks, 2)."""
    found = views(out, "selected_record_x", "selected_record_y")
    return np.array([xy for row in found for xy in zip(*row.values(), strict=True)])


def draw(folder: Path, *names: str, size: tuple[int, int] = (500, 375), turn: int = 1) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[274] = turn
        Image.new("RGB", size).save(path, exif=exif)
    return folder


def case_rows() -> list[dict[str, str]]:
    return list(csv.DictReader(CASE.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of the case, in their own folders."""
    folder = tmp_path_factory.mktemp("pictures")
    return draw(folder, *{row["image"] for row in case_rows()}) / "pics"


def test_a_labs_own_csv_becomes_a_dataset(pictures: Path, tmp_path: Path):
    out = tmp_path / "cheese-ab"
    command = [
        "convert",
        "clicks",
        "--csv",
        str(CASE),
        "--images",
        str(pictures),
        "--out",
        str(out),
    ]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "columns taken: image, label `class`, x, y, time `t`, worker, event\n" in done.output
    assert "x and y taken as px: x goes up to 494.5 and y up to 377.6 in 154 places" in done.output
    assert "times taken as epoch ms\n" in done.output
    assert "open as enter (72 rows)" in done.output

    manifest = read_manifest(out)
    assert manifest["dataset"] == "browsing"
    assert manifest["classes"] == ["Käse", "golden retriever", "tabby/cat"]
    assert manifest["num_rows"] == {"default": 36, "rounds": 72, "annotators": 3}
    assert manifest["fidelity"] == {
        **{"num_views": 72, "has_path": 0, "has_time": 72, "has_clock": 72},
        **{"has_layout": 0, "has_annotator": 72},
    }
    assert manifest["reading"]["units"] == "px"

    expected: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for row in case_rows():
        here = expected.setdefault((row["image"], row["worker"]), [])
        if row["event"] == "click":
            here.append((float(row["x"]) / 500, float(row["y"]) / 375, int(row["t"])))
    names = ("image_id_raw", "worker_id", "original_image_width", "hovered_record_action")
    lists = [f"selected_record_{name}" for name in ("x", "y", "time_ms")]
    found = views(out, *names, *lists)
    assert {row["original_image_width"] for row in found} == {500}
    assert all(row["hovered_record_action"] == ["enter", "leave"] for row in found)
    who = {(row["image_id_raw"], row["worker_id"]) for row in found}
    assert len(who) == 72 and len({worker for _, worker in who}) == 3
    told = sorted(sorted(zip(*(row[name] for name in lists), strict=True)) for row in found)
    assert told == sorted(sorted(clicks) for clicks in expected.values())

    for file in out.rglob("*"):
        if file.is_file():
            assert b"example.org" not in file.read_bytes(), file


def test_three_columns_and_a_class_are_enough(tmp_path: Path):
    done = convert(records(("a.jpg", "cat", 0.25, 0.75)), tmp_path / "d")
    assert done.num_rows == {"default": 1, "rounds": 1, "annotators": 0}
    row = luab_data.read_table(done.out).to_pylist()[0]
    assert (row["image_id"], row["wnid"], row["selected"]) == ("a", "cat", True)
    assert (row["final_click_x"], row["final_click_y"]) == (0.25, 0.75)
    assert views(done.out, "selected_record_time_ms")[0]["selected_record_time_ms"] == [None]
    again = convert(records(("a.jpg", "cat", 0.25, 0.75)), tmp_path / "d")
    assert again.is_same and again.remarks == done.remarks


def test_one_dataset_comes_of_every_dialect(tmp_path: Path):
    rows = [
        ("image", "label", "x", "y", "worker", "note, or so"),
        ("Käse 1.jpg", "Käse", "0.25", "0.75", "ann", "a"),
        ("Käse 2.jpg", "Käse", "0.5", "0.125", "", ""),
        ("t;1.jpg", "tabby, cat", "1", "0.5", "bob", 'b "c"'),
    ]

    def text(delimiter: str, end: str = "\n", comma: str = ".") -> str:
        cells = [
            [c if "." not in c or ".j" in c else c.replace(".", comma) for c in r] for r in rows
        ]
        lines = (delimiter.join('"' + c.replace('"', '""') + '"' for c in row) for row in cells)
        return end.join(lines) + end

    files = {
        "plain.csv": text(",").encode(),
        "bom.csv": b"\xef\xbb\xbf" + text(",", "\r\n").encode(),
        "semicolon.csv": text(";").encode(),
        "tab.tsv": text("\t").encode(),
        "comma.csv": text(";", comma=",").encode(),
        "quoted.csv": text(",", comma=",").encode(),
        "gzip.csv.gz": gzip.compress(text(",").encode()),
    }
    found = {}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        done = luab_data.convert_clicks(tmp_path / name, tmp_path / f"{name}.ab", worker_key=KEY)
        found[name] = (done.content_digest, done.remarks, done.unknown)
    (one,) = {str(said) for said in found.values()}
    assert "'note, or so': 3" in one
    as_dicts = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    numbers = [{**row, "x": float(row["x"]), "y": float(row["y"])} for row in as_dicts]
    table = pa.Table.from_pylist(numbers)
    forms: dict[str, Any] = {
        "dicts": as_dicts, "numbers": iter(numbers), "arrow": table, "batches": table.to_reader(),
        "pandas": pandas.DataFrame(numbers), "polars": polars.DataFrame(numbers),
    }  # fmt: skip
    done = [convert(form, tmp_path / name) for name, form in forms.items()]
    assert {one.content_digest for one in done} == {found["plain.csv"][0]}
    assert done[0].remarks[0] == found["plain.csv"][1][0]


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_dot_is_where_the_annotator_saw_it(turn: int, tmp_path: Path):
    """The trap: axes, origin, units, and pictures that EXIF turns. One dot, lower left."""
    images = draw(tmp_path / "im", "cat/a.jpg", size=(400, 200), turn=turn)
    width, height = (200, 400) if turn > 4 else (400, 200)
    dot = ("a.jpg", "cat", 0.1 * width, 0.9 * height)
    done = convert(records(dot), tmp_path / "d", images=images)
    assert clicks(done.out) == pytest.approx(np.array([(0.1, 0.9)]))
    assert views(done.out, "original_image_width", "original_image_height") == [
        {"original_image_width": width, "original_image_height": height}
    ]


# --- units ---------------------------------------------------------------------------------------


def spread(width: float, height: float, num: int = 30) -> Iterator[tuple[str, str, float, float]]:
    """Places all over."""
    for k in range(num):
        yield "a.jpg", "cat", width * (0.05 + 0.9 * k / num), height * (0.95 - 0.9 * k / num)


@pytest.mark.parametrize(
    ("places", "size", "given", "found"),
    [
        ((1, 1), None, None, "fraction"),
        ((1, 1), (500, 300), None, "fraction"),
        ((1, 1), (500, 300), "fraction", "fraction"),
        ((1, 1), (500, 300), "px", "not pixels, but they could be fractions: --units fraction"),
        ((1, 1), None, "percent", "not per cent, but they could be fractions"),
        ((100, 100), (500, 400), None, "percent"),
        ((100, 100), None, None, "or pixels of small ones. Say which with --units"),
        ((100, 100), None, "percent", "percent"),
        ((100, 100), (64, 64), None, "percent"),
        ((100, 100), (150, 150), None, "pixels and per cent both fit. Say which"),
        ((100, 100), (150, 150), "px", "px"),
        ((100, 100), (500, 400), "fraction", "not fractions, but they could be per cent"),
        ((64, 64), (64, 64), "px", "px"),
        ((500, 300), (500, 300), None, "px"),
        ((500, 300), (500, 300), "percent", "not per cent, but they could be pixels: --units px"),
        ((500, 300), None, None, "no size of a picture is known: pixels, so pixels need the sizes"),
        ((500, 300), None, "px", "pixels need the sizes of the pictures: give --images FOLDER"),
        ((500, 300), (300, 500), None, "with x and y swapped pixels would"),
        ((900, 700), (400, 300), None, "pixels of the page, or of a copy in another size"),
    ],
)
def test_units_are_found_or_refused(
    places: tuple[float, float],
    size: tuple[int, int] | None,
    given: str,
    found: str,
    tmp_path: Path,
):
    rows = records(*spread(*places))
    if size:
        rows = [{**row, "width": size[0], "height": size[1]} for row in rows]
    if found in ("px", "percent", "fraction"):
        done = convert(rows, tmp_path / "d", units=given)
        divisor = {"px": size or (1, 1), "percent": (100, 100), "fraction": (1, 1)}[found]
        expected = [(row["x"] / divisor[0], row["y"] / divisor[1]) for row in rows]
        assert clicks(done.out) == pytest.approx(np.array(expected))
        assert read_manifest(done.out)["reading"]["units"] == found
        return
    with pytest.raises(OptionError) as refused:
        convert(rows, tmp_path / "d", units=given)
    assert found in str(refused.value) and "x goes up to " in str(refused.value)
    assert not (tmp_path / "d").exists()


def test_few_places_say_little(tmp_path: Path):
    rows = [{**r, "width": 500, "height": 400} for r in records(*spread(100, 100, 5))]
    with pytest.raises(OptionError, match="too few to tell per cent from pixels"):
        convert(rows, tmp_path / "d")
    zeros = records(*((f"{k}.jpg", "cat", k % 2, 1) for k in range(9)))
    with pytest.raises(OptionError, match="all 0 or 1; expected places"):
        convert(zeros, tmp_path / "d")


def test_pictures_are_found_in_a_layout_of_ones_own(tmp_path: Path):
    """Two of a name in a class, composed and decomposed letters, a class with a slash."""
    images = draw(
        tmp_path / "pics", "Ka\u0308se/IMG 1.jpg", "tabby_cat/a/IMG 1.jpg", "tabby_cat/b/IMG 1.jpg"
    )
    draw(images, "dog/IMG 1.jpg", size=(375, 500))
    rows = records(
        ("IMG 1.jpg", "K\u00e4se", 250, 300),
        ("C:\\all\\tabby_cat\\a\\IMG 1.jpg", "tabby/cat", 250, 300),
        ("http://lab.example/tabby_cat/b/IMG%201.jpg?v=2", "tabby/cat", 250, 75),
        ("IMG 1", "dog", 375, 75),
    )
    rows[2]["image"] = "tabby_cat/b/IMG 1.JPG"
    done = convert(rows, tmp_path / "d", images=images)
    ids = {row["image_id"] for row in views(done.out, "image_id")}
    assert ids == {"IMG 1", "tabby_cat/a/IMG 1", "tabby_cat/b/IMG 1", "dog_IMG 1"}
    assert clicks(done.out) == pytest.approx(
        np.array([(0.5, 0.8), (0.5, 0.8), (0.5, 0.2), (1, 0.15)])
    )
    for missing, said in {
        "other.jpg": "'other.jpg' is not in",
        "IMG 1.jpg": "'IMG 1.jpg' may be any of 4 files",
    }.items():
        lost = records((missing, "bird", 300, 300))
        with pytest.raises(RecordError, match=said):
            convert(rows + lost, tmp_path / "e", images=images)
        skipped = convert(rows + lost, tmp_path / missing, images=images, on_bad="skip")
        assert skipped.skipped == {"no-size": 1}
        assert skipped.content_digest == done.content_digest
    with pytest.raises(ImagesError, match="no image found"):
        convert(rows, tmp_path / "f", images=tmp_path / "d")


# --- times, views, events ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "given", "expected"),
    [
        ([1_700_000_000_100, 1_700_000_000_350], None, "epoch ms"),
        ([1_700_000_000.1, 1_700_000_000.35], None, "epoch s"),
        ([1_700_000_000_100_000, 1_700_000_000_350_000], None, "epoch us"),
        (["2023-11-14T22:13:20.100Z", "2023-11-14T23:13:20.350+01:00"], None, "epoch ms"),
        ([datetime(2023, 11, 14, 22, 13, 20, 100_000, UTC), None], None, "epoch ms"),
        ([1000, 2500], None, "ms"),
        ([1, 2.5], None, "s"),
        ([1000, 2500], "s", "s"),
        ([100, 300], None, "seconds or milliseconds. Say which with --time-units"),
        ([1, 1_700_000_000], None, "two clocks"),
    ],
)
def test_the_clock_is_found_or_refused(
    times: list[Any], given: str | None, expected: str, tmp_path: Path
):
    rows = [{"image": "a", "label": "c", "x": 0.1, "y": 0.9, "t": t} for t in times]
    if len(expected) > len("epoch ms"):
        with pytest.raises(OptionError, match=expected):
            convert(rows, tmp_path / "d", time_units=given)
        return
    done = convert(rows, tmp_path / "d", time_units=given)
    assert f"times taken as {expected}" in done.remarks[2]
    found = views(done.out, "selected_record_time_ms")[0]["selected_record_time_ms"]
    if expected.startswith("epoch"):
        assert found[0] == 1_700_000_000_100 and found[1:] in ([1_700_000_000_350], [None])
    else:
        factor = 1000 if expected == "s" else 1
        assert found == [t * factor for t in times]
    assert read_manifest(done.out)["fidelity"]["has_clock"] == expected.startswith("epoch")


def test_rows_of_a_view_come_together_in_the_order_of_their_times(tmp_path: Path):
    """Against a slow reference: views in the order of the file, rows by time where all have one."""
    rows = [
        {
            "image": f"{k % 5}.jpg", "label": "cd"[k % 5 % 2], "x": k / 1000, "y": 1 - k / 1000,
            "worker": f"worker-{k % 3}", "session": f"s{k % 2}",
            "time": None if k % 5 == 4 and k % 7 == 0 else (k * 7919) % 997 + 1000,
        }
        for k in range(400)
    ]  # fmt: skip
    done = convert(rows, tmp_path / "d", time_units="ms")
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["label"], row["image"], row["worker"], row["session"]), []).append(
            row
        )
    expected = {}
    for (_, image, _, session), some in groups.items():
        if all(row["time"] is not None for row in some):
            some = sorted(some, key=lambda row: row["time"])
        expected.setdefault((image, session), []).append([row["x"] for row in some])
    names = ("image_id_raw", "assignment_id", "selected_record_x")
    found: dict[Any, list[Any]] = {}
    for row in views(done.out, *names):
        key = (row["image_id_raw"], row["assignment_id"])
        found.setdefault(key, []).append(row["selected_record_x"])
    assert found == expected


def test_events_say_more_than_clicks(tmp_path: Path):
    names = "image label x y event time"
    rows = records(
        ("a", "cat", None, None, "open", 1000),
        ("a", "cat", 0.2, 0.3, "mousemove", 1100),
        ("a", "cat", 0.3, 0.3, "Click", 1200),
        ("a", "cat", 0.4, 0.3, "move", 1300),
        ("a", "cat", 0.5, 0.4, "deselect", 1400),
        ("a", "cat", "", "", "close", 1500),
        ("b", "cat", None, None, None, 1600),
        names=names,
    )
    done = convert(rows, tmp_path / "d", time_units="ms")
    first, second = views(
        done.out, "selected", "selected_record_x", "mouse_tracking_x", "hovered_record_time_ms"
    )
    assert first == {
        "selected": False,
        "selected_record_x": [0.3],
        "mouse_tracking_x": [0.2],
        "hovered_record_time_ms": [1000, 1500],
    }
    assert second == {
        "selected": False,
        "selected_record_x": [],
        "mouse_tracking_x": [],
        "hovered_record_time_ms": [],
    }
    assert done.remarks[-1].startswith("events taken: Click as click (1 row), close as leave")


# --- what is refused -----------------------------------------------------------------------------

GOOD = ("a.jpg", "cat", 0.25, 0.75, 5000, "ann@lab.example", "click")
NAMES = "image label x y time worker event"


@pytest.mark.parametrize(
    ("change", "rule", "said"),
    [
        ({"image": " "}, "missing", "record 2: has no image; expected one in 'image'"),
        ({"label": None}, "missing", "has no label"),
        ({"x": None}, "half-a-place", "has one of x and y"),
        ({"x": "ann@lab.example"}, "cell", "x is text; expected a number"),
        ({"y": math.inf}, "cell", "y is infinite"),
        ({"y": "1.234,5"}, "cell", "y is text"),
        ({"x": 10**400}, "cell", "x is a int; expected a number"),
        ({"x": [1]}, "cell", "x is a list"),
        ({"image": b"a.jpg"}, "cell", "image is a bytes; expected text"),
        ({"label": "\ud800"}, "cell", "label is no Unicode text"),
        ({"time": "yesterday"}, "cell", "time is text; expected a number, or a date such as"),
        ({"event": "clik"}, "unknown-event", "event 'clik'; did you mean 'click'"),
        ({"event": "ann@lab.example"}, "unknown-event", "a text as event; expected e.g. click"),
        ({"x": 10.5, "y": -10.5}, "place-range", "more than 10 pictures away"),
    ],
)
def test_a_bad_row_is_named_and_can_be_left_out(
    change: dict[str, Any], rule: str, said: str, tmp_path: Path
):
    good = [{**dict(zip(NAMES.split(), GOOD, strict=True)), "image": f"{k}"} for k in range(30)]
    rows = [good[0], {**good[1], **change}, *good[2:]]
    with pytest.raises(RecordError) as refused:
        convert(rows, tmp_path / "d")
    assert refused.value.rule == rule and said in str(refused.value)
    assert "ann@lab" not in str(refused.value) and not (tmp_path / "d").exists()
    done = convert(rows, tmp_path / "d", on_bad="skip")
    assert done.skipped == {rule: 1} and done.num_rows["rounds"] == 29
    listed = json.loads((tmp_path / "d" / "skipped.jsonl").read_text())
    assert listed["where"] == "record 2" and "ann@lab" not in str(listed)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", OptionError, "no column is called image or image_id or .*its columns are none"),
        ("image,lbl,x,y\n", OptionError, "its columns are 'image', 'lbl', 'x', 'y'. Say which is"),
        ("image,label,x,y\n", ArchiveError, "f.csv: empty; expected a log with some"),
        ("image,label,x,x,y\na,c,1,2,3\n", OptionError, "2 columns are called 'x', the x; rename"),
        ("image,label,x,y\na,c,249,7,138\n", ArchiveError, "line 2: found 5 cells; expected 4"),
        (
            "image,label,x,y\n\xe4,c,0.1,0.2\n",
            ArchiveError,
            "not UTF-8, which Excel calls `CSV UTF",
        ),
        ("image,label,x,y\na,c,,\n", None, ""),
        ("<html>image,x", ArchiveError, "an HTML page, not the file"),
        ("PK\x03\x04", ArchiveError, "a zip archive; unpack it"),
    ],
)
def test_files_that_are_no_clicks(text: str, error: Any, said: str, tmp_path: Path):
    (tmp_path / "f.csv").write_bytes(text.encode("latin-1"))
    if error is None:
        luab_data.convert_clicks(tmp_path / "f.csv", tmp_path / "d", worker_key=KEY)
        return
    with pytest.raises(error, match=said):
        luab_data.convert_clicks(tmp_path / "f.csv", tmp_path / "d", worker_key=KEY)


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ("a.csv", {}, "found str; expected dictionaries"),
        (7, {}, "found int; expected dictionaries"),
        ([("a", "b")], {}, "found a tuple; expected dictionaries"),
        (records(GOOD[:4]), {"lable": "x"}, "no option 'lable'; did you mean 'label'"),
        (records(GOOD[:4]), {"label": "klass"}, "no column 'klass'"),
        (records(GOOD[:4]), {"units": "pixel"}, "units 'pixel'"),
        (records(GOOD[:4]), {"time_units": "h"}, "time units 'h'"),
    ],
)
def test_options_that_make_no_sense(rows: Any, options: Any, said: str, tmp_path: Path):
    with pytest.raises(OptionError, match=said):
        convert(rows, tmp_path / "d", **options)


def test_columns_are_found_by_their_obvious_names(tmp_path: Path):
    row = {"File": "a", "CLASS": "c", " X ": 0.25, "y": 0.75, "category": "other", "dx": 1}
    done = convert([row], tmp_path / "d")
    assert done.remarks[0] == "columns taken: image `File`, label `CLASS`, x ` X `, y"
    assert done.unknown == {"category": 1, "dx": 1}
    other = convert([row], tmp_path / "e", label="category")
    assert read_manifest(other.out)["classes"] == ["other"]


def test_values_of_numpy_and_pandas_are_what_they_say(tmp_path: Path):
    plain = {"image": "7", "label": "3", "x": 0.25, "y": 0.5, "worker": None, "time": 1500}
    odd = {
        "image": np.int64(7), "label": np.str_("3"), "x": np.float32(0.25), "y": np.array(0.5),
        "worker": pandas.NA, "time": np.int16(1500),
    }  # fmt: skip
    paths = {**plain, "image": Path("pics/7.jpg"), "worker": math.nan, "label": 3.0}
    times = {**plain, "time": pandas.Timestamp("2023-11-14T22:13:20Z")}
    digests = {
        convert([row], tmp_path / name).content_digest for name, row in (("a", plain), ("b", odd))
    }
    assert len(digests) == 1
    assert views(convert([paths], tmp_path / "c").out, "image_id", "wnid", "worker_id") == [
        {"image_id": "7", "wnid": "3", "worker_id": None}
    ]
    frame = pandas.DataFrame([times, {**times, "time": pandas.NaT}])
    for name, form in (("d", frame), ("e", frame.to_dict("records"))):
        found = views(convert(form, tmp_path / name).out, "selected_record_time_ms")
        assert found == [{"selected_record_time_ms": [1_700_000_000_000, None]}]


def test_a_wide_header_is_read_whole(tmp_path: Path):
    names = [*(f"column {k}" for k in range(2000)), "image", "label", "x", "y"]
    cells = [*("1" for _ in range(2000)), "a", "c", "0.5", "0.25"]
    (tmp_path / "wide.csv").write_text(f"{','.join(names)}\n{','.join(cells)}\n")
    done = luab_data.convert_clicks(tmp_path / "wide.csv", tmp_path / "d", worker_key=KEY)
    assert clicks(done.out).tolist() == [[0.5, 0.25]] and len(done.unknown) == 2000


def test_nothing_but_errors_of_ours_leaves_whatever_a_cell_holds(tmp_path: Path):
    odd = [
        None,
        "",
        " ",
        "NA",
        -1,
        0.5,
        1e308,
        math.nan,
        True,
        "0,5",
        "x",
        [],
        {},
        b"",
        "\0",
        2**70,
    ]
    for number, (one, two) in enumerate(itertools.product(odd, odd[::3])):
        row = {"image": "a", "label": two, "x": one, "y": 0.5, "time": one, "worker": two}
        try:
            convert([row], tmp_path / str(number), on_bad="skip")
        except LuabError:
            pass
