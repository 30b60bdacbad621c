"""Importers of annotation tools' logs and of points and answers: each one's trap, and its flags.

Every miniature is written here in its publisher's layout, around ONE dot that is far from all
symmetries: x .25, y .1 of its picture. Where axes, origin, units or clock are taken wrongly it
lands elsewhere.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logs import luab

from luab_data.errors import ArchiveError, LuabError, OptionError
from luab_data.importers import MODULES, importer
from luab_data.store.folder import read_manifest
from luab_data.views import EVENTS, FIDELITY, VIEWS, count_fidelity

X, Y = 0.25, 0.1
DOT = pytest.approx((X, Y))

Rows = list[dict[str, Any]]


class Read:
    """What an importer makes of some files."""

    def __init__(self, name: str, *paths: Path, **options: str) -> None:
        self.unknown: Counter[str] = Counter()
        self.bytes: list[int] = []
        readings = [*importer(name).read(paths, self.unknown, self.bytes.append, **options)]
        for reading in readings:
            assert reading.table.schema.equals(VIEWS.schema())
            assert len(reading.names) == len(reading.table)
        self.names = [name for reading in readings for name in reading.names]
        self.errors = [error for reading in readings for error in reading.errors]
        tables = [reading.table for reading in readings]
        self.rows: Rows = [row for table in tables for row in table.to_pylist()]
        self.flags = count_fidelity(tables)

    @property
    def rules(self) -> list[str]:
        return [error.rule for error in self.errors]

    def has(self, *flags: str) -> bool:
        """Whether every view has these flags, and none has another."""
        number = self.flags["num_views"]
        return self.flags == {
            "num_views": number,
            **{flag: number * (flag in flags) for flag in FIDELITY},
        }


def events(row: dict[str, Any]) -> list[str]:
    return [EVENTS[code] for code in row["event"]]


def places(row: dict[str, Any]) -> list[tuple[float, float]]:
    return [*zip(row["event_x"], row["event_y"], strict=True)]


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def as_csv(rows: Rows) -> str:
    """Rows as CSV, RFC 4180; columns in the order of the first row."""
    out = io.StringIO()
    table = csv.DictWriter(out, [*rows[0]], lineterminator="\r\n")
    table.writeheader()
    table.writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize("name", MODULES)
def test_every_importer_says_what_it_is(name: str):
    found = importer(name)
    assert found.name == name and found.title and found.files and found.url and found.description
    assert found.limits and (found.citation or not found.license)


# --- jsPsych -------------------------------------------------------------------------------------

BOX = {"x": 100, "y": 40, "width": 400, "height": 200}
AT = (100 + X * 400, 40 + Y * 200)  # px of the window
RECT = {**BOX, "left": 100, "top": 40, "right": 500, "bottom": 240}


def trial(**other: Any) -> dict[str, Any]:
    """A trial with the picture, as extension 1.2.0 gives it."""
    moves = [(300, 140, 16), (250, 90, 700), (*AT, 1500)]
    return {
        "trial_type": "image-keyboard-response", "trial_index": 3, "time_elapsed": 90_000,
        "rt": 1600, "stimulus": "img/cat_7.png", "response": "c", "correct_response": "c",
        "subject": "someone@example.org",
        "mouse_tracking_data": [{"x": x, "y": y, "t": t, "event": "mousemove"} for x, y, t in moves]
        + [{"x": AT[0], "y": AT[1], "t": 1590, "event": "mousedown"}],
        "mouse_tracking_targets": {"#picture": RECT},
        "extension_type": ["mouse-tracking"], "extension_version": ["1.2.0"], **other,
    }  # fmt: skip


FIXATION = {"trial_type": "html-keyboard-response", "trial_index": 2, "rt": None, "stimulus": "+"}


def jspsych_csv(trials: Rows) -> str:
    """As jsPsych's JSON2CSV: every cell in quotes, lists and null as JSON, what is absent empty."""
    names = list(dict.fromkeys(name for one in trials for name in one))

    def cell(value: Any) -> str:
        is_object = isinstance(value, list | dict) or value is None
        text = json.dumps(value) if is_object else str(value)
        return '"' + text.replace('"', '""') + '"'

    lines = [[cell(name) for name in names]]
    lines += [[cell(one.get(name, "")) for name in names] for one in trials]
    return "".join(",".join(line) + "\r\n" for line in lines)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_jspsych_takes_the_window_s_pixels_to_the_target_s_rectangle(tmp_path: Path, form: str):
    trials = [FIXATION, trial()]
    text = json.dumps(trials) if form == "json" else jspsych_csv(trials)
    found = Read("jspsych", write(tmp_path / f"data.{form}", text))
    (row,) = found.rows
    assert events(row) == ["move", "move", "move", "down", "submit"]
    assert places(row)[:4] == [(0.5, 0.5), (0.375, 0.25), DOT, DOT]
    assert row["event_time_ms"] == [16, 700, 1500, 1590, 1600]  # of the trial's clock
    assert row["event_pointer"] == ["mouse"] * 4 + [None]
    assert (row["image_id"], row["image_file"]) == ("cat_7", "img/cat_7.png")
    assert (row["label"], row["answer"], row["annotator"]) == ("c", "c", "someone@example.org")
    assert [row[f"shown_{side}"] for side in BOX] == [*BOX.values()]
    assert found.has("has_path", "has_time", "has_layout", "has_annotator")
    assert found.unknown == {"trial without mouse_tracking_data": 1}
    assert sum(found.bytes) == (tmp_path / f"data.{form}").stat().st_size


def test_jspsych_asks_which_of_several_targets_is_the_picture(tmp_path: Path):
    targets = {"#button": {**RECT, "left": 700, "width": 80}, "#picture": RECT}
    file = write(tmp_path / "d.json", [trial(mouse_tracking_targets=targets)])
    with pytest.raises(OptionError, match=r"'#button', '#picture'.*`selector`"):
        Read("jspsych", file)
    assert places(Read("jspsych", file, selector="#picture").rows[0])[2] == DOT
    assert Read("jspsych", file, selector="#x").rules == ["no-target"]


def test_jspsych_refuses_trials_whose_picture_was_nowhere(tmp_path: Path):
    unloaded = {"#picture": {**RECT, "height": 0}}
    trials = [
        trial(mouse_tracking_targets={}),  # none was named, or a Map in JSON
        trial(mouse_tracking_targets=unloaded),
        trial(stimulus="<p>no picture</p>"),
        trial(mouse_tracking_data=[{"x": 1, "y": None, "t": 3}]),
        trial(),
    ]
    found = Read("jspsych", write(tmp_path / "d.json", trials))
    assert found.rules == ["no-target", "empty-target", "no-image", "wrong-type"]
    assert "lost them in writing" in str(found.errors[0]) and "was 400 x 0 px" in str(
        found.errors[1]
    )
    assert len(found.rows) == 1
    assert not any("someone" in str(error) for error in found.errors)


def test_jspsych_finds_the_picture_in_html_and_in_a_named_field(tmp_path: Path):
    html = "<div><img id='picture' src=\"img/dog%201.png\"></div>"
    trials = [trial(stimulus=html), trial(stimulus=html, file="other/x.jpg", kind="dog")]
    file = write(tmp_path / "d.json", trials)
    assert Read("jspsych", file).rows[0]["image_file"] == "img/dog%201.png"
    named = Read("jspsych", file, image="file", label="kind", annotator="rt")
    assert named.rules == ["no-image"]
    assert (named.rows[0]["image_id"], named.rows[0]["label"]) == ("x", "dog")


def test_a_name_in_two_folders_is_two_pictures_and_coco_s_are_their_numbers(tmp_path: Path):
    names = [
        "cat/1.png",
        "dog/1.png",
        "cat/1.png",
        "a/COCO_val2014_000000000042.jpg",
        "000000000042",
    ]
    ids = ["1", "dog/1", "1", "42", "42"]
    trials = [trial(stimulus=name) for name in names]
    found = Read("jspsych", write(tmp_path / "d.json", trials)).rows
    assert [row["image_id"] for row in found] == ids
    tasks = [task(annotation(KEYPOINT), image=f"https://x.org/{name}?v=1") for name in names]
    found = Read("label-studio", write(tmp_path / "e.json", tasks)).rows
    assert [row["image_id"] for row in found] == ids
    local = task(annotation(KEYPOINT), image="/data/local-files/?d=set%2Fa%207.png")
    assert Read("label-studio", write(tmp_path / "e.json", [local])).rows[0]["image_id"] == "a 7"


# --- rrweb ---------------------------------------------------------------------------------------

T0 = 1_700_000_000_000


def rrweb(kind: int, at: int, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "data": data, "timestamp": T0 + at}


def picture_event(at: int, image: str | None, **other: Any) -> dict[str, Any]:
    payload = {"image_id": image, **BOX, **other}
    return rrweb(5, at, {"tag": "picture", "payload": payload})


def moves(at: int, *found: tuple[float, float, int], source: int = 1) -> dict[str, Any]:
    """A batch of moves: each x, y and how long before the batch it was."""
    positions = [{"x": x, "y": y, "id": 9, "timeOffset": -before} for x, y, before in found]
    return rrweb(3, at, {"source": source, "positions": positions})


def opened(left: int = 0, top: int = 0) -> Rows:
    """What stands in front of a recording."""
    return [
        rrweb(4, 0, {"href": "https://x.org", "width": 1200, "height": 800}),
        rrweb(2, 5, {"node": {"type": 0, "id": 1}, "initialOffset": {"left": left, "top": top}}),
    ]


def test_rrweb_takes_batches_apart_and_puts_them_in_time(tmp_path: Path):
    click = {"source": 2, "type": 2, "id": 9, "x": AT[0], "y": AT[1], "pointerType": 0}
    typed = {"source": 5, "id": 4, "text": "my name", "isChecked": False}
    found = Read("rrweb", write(tmp_path / "r.json", [
        *opened(),
        picture_event(100, "img/a.png", label="cat", annotator="w1"),
        rrweb(3, 450, click),
        rrweb(3, 460, typed),
        moves(500, (300, 140, 350), (*AT, 60)),  # both before the click
        picture_event(600, "b"),
        moves(900, (*AT, 350), (300, 140, 10)),  # the first of them was over a.png
        rrweb(3, 950, {"source": 2, "type": 3, "id": 9, "x": 1, "y": 1}),
        moves(990, (*AT, 0), source=6),
    ]))  # fmt: skip
    first, second = found.rows
    assert events(first) == ["move", "move", "click", "move"]
    assert places(first) == [(0.5, 0.5), DOT, DOT, DOT]
    assert first["event_time_ms"] == [150, 440, 450, 550] and first["epoch_ms"] == T0
    assert (events(second), second["event_time_ms"]) == (["move", "move"], [890, 990])
    assert second["event_pointer"] == ["mouse", "touch"]
    assert (first["image_id"], first["image_file"], first["label"]) == ("a", "img/a.png", "cat")
    assert [row["page"] for row in found.rows] == [0, 1]
    assert {row["session"] for row in found.rows} == {"recording-1"}
    assert (first["viewport_width"], first["viewport_height"]) == (1200, 800)
    assert (first["annotator"], second["annotator"]) == ("w1", None)
    assert found.flags["has_layout"] == found.flags["has_clock"] == found.flags["has_path"] == 2
    assert found.unknown == {"MouseInteraction ContextMenu": 1}
    assert "my name" not in str(found.rows)


@pytest.mark.parametrize("payload_at", [100, 300])
def test_rrweb_follows_the_page_when_it_scrolls(tmp_path: Path, payload_at: int):
    """Whether the picture's place was told before or after the page had scrolled by 30, 500."""
    scroll = rrweb(3, 200, {"source": 3, "id": 1, "x": 30, "y": 500})
    told = picture_event(payload_at, "a")
    if payload_at == 100:
        at = AT[0] - 30, AT[1] - 500
    else:
        at = AT
    log = [*opened(), *sorted([scroll, told], key=lambda e: e["timestamp"]), moves(400, (*at, 0))]
    row = Read("rrweb", write(tmp_path / "r.json", log)).rows[0]
    assert events(row)[-1] == "move" and places(row)[-1] == DOT


def test_rrweb_loses_the_place_with_a_resize_until_it_is_told_again(tmp_path: Path):
    log = [
        *opened(left=7, top=900),
        picture_event(10, "a"),
        moves(20, (*AT, 0)),
        rrweb(3, 30, {"source": 4, "width": 500, "height": 800}),
        moves(40, (*AT, 0)),
        picture_event(50, "a", x=0, y=0, width=100, height=100),
        moves(60, (25, 10, 0)),
        rrweb(3, 70, {"source": 3, "id": 17, "x": 0, "y": 90}),  # of an element
        picture_event(80, None),
        moves(90, (1, 1, 0)),
    ]
    lines = "\n".join(json.dumps(event) for event in log)
    found = Read("rrweb", write(tmp_path / "r.jsonl", lines))
    (row,) = found.rows
    assert events(row) == ["move", "resize", "move", "move"]
    assert places(row) == [DOT, (None, None), (None, None), DOT]
    assert found.unknown == {
        "scroll of an element inside the page": 1, "pointer while no picture was shown": 1
    }  # fmt: skip


def test_rrweb_takes_the_rectangle_of_the_one_picture_as_an_option(tmp_path: Path):
    log = {"events": [*opened(top=500), moves(400, (AT[0], AT[1] - 500, 0))]}
    file = write(tmp_path / "r.json", log)
    with pytest.raises(ArchiveError, match=r"no Custom event 'picture'.*`rectangle`"):
        Read("rrweb", file)
    with pytest.raises(OptionError, match="`image` too"):
        Read("rrweb", file, rectangle="100,40,400,200")
    row = Read("rrweb", file, rectangle="100,40,400,200", image="a.png").rows[0]
    assert places(row)[-1] == DOT and row["image_id"] == "a"


def test_rrweb_says_what_it_cannot_read(tmp_path: Path):
    packed = write(tmp_path / "p.json", [{"v": "v1", "type": 3, "data": {}, "timestamp": 1}])
    with pytest.raises(ArchiveError, match="unpack"):
        Read("rrweb", packed)
    unloaded = write(tmp_path / "u.json", [*opened(), picture_event(9, "a", height=0)])
    found = Read("rrweb", unloaded)  # all of it: the next picture would have its events
    assert found.rules == ["wrong-type"] and "> 0.0 - at `$.height`" in str(found.errors[0])
    unplaced = picture_event(9, "a")
    del unplaced["data"]["payload"]["x"]
    assert Read("rrweb", write(unloaded, [unplaced])).rules == ["no-rectangle"]


# --- Label Studio --------------------------------------------------------------------------------


def region(kind: str, value: dict[str, Any], label: str, **other: Any) -> dict[str, Any]:
    return {
        "id": "r1", "from_name": "tag", "to_name": "img", "type": kind, "origin": "manual",
        "original_width": 600, "original_height": 300, "image_rotation": 0,
        "value": {**value, kind: [label]}, **other,
    }  # fmt: skip


def annotation(*result: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {
        "id": 1001, "completed_by": 10, "result": [*result], "was_cancelled": False,
        "ground_truth": False, "created_at": "2024-11-09T22:16:08.728353Z",
        "updated_at": "2024-11-09T22:16:08.728378Z", "lead_time": 4.288, "task": 1, **other,
    }  # fmt: skip


def task(*annotations: dict[str, Any], **data: str) -> dict[str, Any]:
    return {
        "id": 1, "project": 83, "predictions": [], "annotations": [*annotations],
        "data": {"image": "https://x.org/studio/0a1b-eye%207.jpg", **data},
    }  # fmt: skip


KEYPOINT = region("keypointlabels", {"x": 100 * X, "y": 100 * Y, "width": 0.6}, "eye")
CHOICES = {"type": "choices", "value": {"choices": ["sharp", "close"]}}


def test_label_studio_takes_per_cent_and_seconds(tmp_path: Path):
    person = {"id": 7, "email": "who@example.org", "first_name": "Who"}
    found = Read("label-studio", write(tmp_path / "e.json", [
        task(annotation(KEYPOINT, CHOICES), annotation(was_cancelled=True)),
        task(annotation(KEYPOINT, completed_by=person, updated_at="2024-11-10T00:00:00Z")),
    ]))  # fmt: skip
    first, second = found.rows
    assert events(first) == ["load", "add", "submit"] and places(first)[1] == DOT
    assert first["event_label"] == [None, "eye", None]
    assert first["event_time_ms"] == [0, None, 4288]
    assert first["epoch_ms"] == 1_731_190_568_728 - 4288  # opened, not submitted
    assert (first["image_id"], first["width"], first["height"]) == ("0a1b-eye 7", 600, 300)
    assert (first["annotator"], first["answer"]) == ("10", "sharp; close")
    assert (second["annotator"], second["epoch_ms"]) == ("7", None)  # changed since
    assert "example.org" not in str(second["annotator"]) and "Who" not in str(second)
    assert found.unknown == {"annotation that was cancelled": 1}
    assert found.flags["has_annotator"] == 2 and found.flags["has_clock"] == 1
    assert found.flags["has_time"] == found.flags["has_path"] == found.flags["has_layout"] == 0


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_label_studio_leaves_points_where_they_are_when_the_view_is_turned(
    tmp_path: Path, turned: int
):
    """The editor turns the view; coordinates stay those of the picture."""
    file = write(tmp_path / "e.json", [task(annotation({**KEYPOINT, "image_rotation": turned}))])
    row = Read("label-studio", file).rows[0]
    assert places(row)[1] == DOT and (row["width"], row["height"]) == (600, 300)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        # On 600 x 300 px the dot is at 150, 30.
        ("rectanglelabels", {"x": 20, "y": 0, "width": 10, "height": 20, "rotation": 0}),
        # Turned by 90 degrees about its corner at 180, 0: 60 px wide go down, 60 px high go left.
        ("rectanglelabels", {"x": 30, "y": 0, "width": 10, "height": 20, "rotation": 90}),
        ("ellipselabels", {"x": 25, "y": 10, "radiusX": 3, "radiusY": 9}),
    ],
)
def test_label_studio_takes_a_centre_only_if_it_is_asked_to(
    tmp_path: Path, kind: str, value: dict[str, Any]
):
    file = write(tmp_path / "e.json", [task(annotation(region(kind, value, "eye")))])
    assert places(Read("label-studio", file).rows[0])[1] == (None, None)
    row = Read("label-studio", file, boxes="centre").rows[0]
    assert places(row)[1] == DOT and row["event_label"][1] == "eye"
    with pytest.raises(OptionError, match="did you mean 'centre'"):
        Read("label-studio", file, boxes="center")


def test_label_studio_knows_no_place_that_a_model_chose_or_that_is_an_outline(tmp_path: Path):
    outline = region("polygonlabels", {"points": [[1, 2], [3, 4], [5, 6]]}, "eye")
    point = {**KEYPOINT["value"], "labels": ["eye"]}
    parted = [{**KEYPOINT, "type": "keypoint"}, {**KEYPOINT, "type": "labels", "value": point}]
    text = {"type": "textarea", "value": {"text": ["call me: 555"]}}
    found = Read("label-studio", write(tmp_path / "e.json", [
        task(annotation({**KEYPOINT, "origin": "prediction"}, outline)),
        task(annotation(*parted, text)),
    ]))  # fmt: skip
    assert places(found.rows[0])[1:3] == [(None, None)] * 2
    assert found.rows[0]["event_label"] == [None, "eye", "eye", None]
    assert events(found.rows[1]) == ["load", "add", "submit"] and places(found.rows[1])[1] == DOT
    assert found.unknown == {"result of type textarea": 1} and "555" not in str(found.rows)


def test_label_studio_says_what_it_cannot_read(tmp_path: Path):
    least = write(tmp_path / "min.json", [{"id": 1, "image": "a.jpg", "tag": [KEYPOINT["value"]]}])
    with pytest.raises(ArchiveError, match="JSON-MIN"):
        Read("label-studio", least)
    pixels = region("keypointlabels", {"x": 450, "y": 30, "width": 1}, "eye")
    bare = {**task(annotation(KEYPOINT)), "data": {"a": "1.jpg", "b": "2.jpg"}}
    file = write(tmp_path / "e.json", [task(annotation(pixels)), bare])
    found = Read("label-studio", file)
    assert found.rules == ["wrong-type", "no-image"]
    assert "'a', 'b'" in str(found.errors[1])
    assert Read("label-studio", file, image="b").rows[0]["image_id"] == "2"


# --- CVAT ----------------------------------------------------------------------------------------

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>42</id><name>eyes</name><mode>annotation</mode>
    <labels><label><name>eye</name></label><label><name>ear</name></label></labels>
    <owner><username>olga</username><email>olga@example.org</email></owner>
  </task></meta>
  <image id="0" name="set/a.png" width="600" height="300">
    <points label="eye" source="manual" points="150.00,30.00;300.00,150.00" z_order="0">
      <attribute name="side">left</attribute>
    </points>
    <box label="ear" source="manual" xtl="120.00" ytl="0.00" xbr="180.00" ybr="60.00"></box>
    <points label="eye" source="auto" points="1.00,2.00"></points>
    <tag label="ear" source="manual"></tag>
  </image>
  <image id="1" name="set/b.png" width="64" height="48"></image>
  <image id="2" name="set/c.png" width="600" height="300">
    <points label="eye" points="150.00;30.00"></points>
  </image>
</annotations>"""  # fmt: skip


def test_cvat_takes_pixels_of_each_image(tmp_path: Path):
    file = write(tmp_path / "annotations.xml", CVAT)
    found = Read("cvat", file)
    first, second = found.rows
    assert places(first) == [(None, None), (None, None), (None, None), DOT, (0.5, 0.5)]
    assert first["event_label"] == ["ear", "eye", "ear", "eye", "eye"]
    assert set(events(first)) == {"add"} and first["labels"] == ["eye", "ear"]
    assert (first["image_id"], first["image_file"]) == ("a", "set/a.png")
    assert (first["width"], first["height"]) == (600, 300) and second["event"] == []
    assert found.rules == ["points"] and "image 2" in str(found.errors[0])
    assert places(Read("cvat", file, boxes="centre").rows[0])[-1] == DOT
    assert "olga" not in str(found.rows)
    assert found.flags["has_annotator"] == found.flags["has_clock"] == 0


def test_cvat_says_what_it_cannot_read(tmp_path: Path):
    for text, match in [
        (CVAT.replace("<image", "<track").replace("</image", "</track"), "tracks of a video"),
        (CVAT[:700], "or cut"),
        ("<annotation/>", "starts with <annotation>"),
    ]:
        with pytest.raises(ArchiveError, match=match):
            Read("cvat", write(tmp_path / "a.xml", text))


CVAT_COLUMNS = (
    *("scope", "obj_name", "obj_id", "obj_val", "source", "timestamp", "count", "duration"),
    *("project_id", "task_id", "job_id", "user_id", "user_name", "user_email", "org_id"),
    *("org_slug", "payload"),
)


def cvat_event(at: float, scope: str, payload: dict[str, int] | None = None, **other: Any):
    """A row of CVAT's CSV, `at` seconds after 10:00 UTC."""
    row = {
        "scope": scope, "source": "client", "duration": 0, "task_id": 42, "job_id": 7,
        "timestamp": f"2024-05-01 10:00:{at:06.3f}+00:00", "user_id": 3, "user_name": "olga",
        "user_email": "olga@example.org", "payload": json.dumps(payload or {}), **other,
    }  # fmt: skip
    return {name: row.get(name, "") for name in CVAT_COLUMNS}


def cvat_log() -> Rows:
    return [
        cvat_event(0, "load:job"),
        cvat_event(2, "draw:object", duration=900),
        # From frame 0 over 1 to 2: one event, which took 1.5 s until frame 2 was there.
        cvat_event(5, "change:frame", {"from": 0, "to": 2, "step": 1}, duration=1500, count=2),
        cvat_event(8, "draw:object"),
        cvat_event(9, "delete:object", obj_val="olga@example.org"),
        cvat_event(9.5, "click:element", obj_name="olga", obj_val="olga@example.org"),
        cvat_event(10, "send:working_time", source="server"),
    ]


@pytest.mark.parametrize("zone", ["+00:00", ""])
def test_cvat_events_are_times_of_pictures_without_names(
    tmp_path: Path, zone: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    rows = [{**row, "timestamp": row["timestamp"].replace("+00:00", zone)} for row in cvat_log()]
    found = Read("cvat-events", write(tmp_path / "events.csv", as_csv(rows)))
    first, second = found.rows
    assert events(first) == ["add", "submit"] and first["event_time_ms"] == [2000, 5000]
    assert events(second) == ["load", "add", "remove"]
    assert second["event_time_ms"] == [6500, 8000, 9000]  # frame 2 was there 1.5 s later
    assert first["epoch_ms"] == 1_714_557_600_000  # 10:00 UTC, wherever this runs
    assert [row["image_id"] for row in found.rows] == ["task-42-frame-0", "task-42-frame-2"]
    assert {row["annotator"] for row in found.rows} == {"3"}
    assert found.unknown == {
        "event click:element": 1, "event of the server, or of no job": 1
    }  # fmt: skip
    assert "olga" not in str(found.rows) + str(found.unknown) + str(found.names)
    assert found.has("has_time", "has_clock", "has_annotator")


def test_cvat_events_begin_a_session_when_the_job_is_opened_again(tmp_path: Path):
    """The night in between was not spent on the last picture."""
    rows = [
        cvat_event(0, "load:job"),
        cvat_event(5, "change:frame", {"from": 0, "to": 1, "step": 1}),
        cvat_event(6, "draw:object"),
        cvat_event(30, "load:job"),
        cvat_event(31, "draw:object"),
        cvat_event(40, "change:frame", {"from": 1, "to": 2, "step": 1}),
    ]
    found = Read("cvat-events", write(tmp_path / "events.csv", as_csv(rows)))
    frames = [row["image_id"][-1] for row in found.rows]
    assert frames == ["0", "1", "1", "2"]
    assert [row["session"] for row in found.rows] == ["7-1", "7-1", "7-2", "7-2"]
    assert [row["event_time_ms"] for row in found.rows] == [
        [5000], [5000, 6000], [1000, 10_000], [10_000]
    ]  # fmt: skip


def test_cvat_events_get_their_pictures_from_the_annotations(tmp_path: Path):
    xml = write(tmp_path / "annotations.xml", CVAT)
    log = write(tmp_path / "events.csv", as_csv(cvat_log()))
    first, second = Read("cvat-events", log, annotations=str(xml)).rows
    assert (first["image_id"], first["width"], second["image_id"]) == ("a", 600, "c")


def test_cvat_events_say_what_is_wrong_without_anybody_s_name(tmp_path: Path):
    rows = [cvat_event(1, "change:frame", {"from": 0}), cvat_event(2, "x", timestamp="olga")]
    found = Read("cvat-events", write(tmp_path / "e.csv", as_csv(rows)))
    assert found.rules == ["frames", "timestamp"] and "olga" not in str(found.errors)
    for text, match in [("a,b\r\n", "no column 'scope'"), (as_csv(rows) + "olga\r\n", "1 cells")]:
        with pytest.raises(ArchiveError, match=match) as caught:
            Read("cvat-events", write(tmp_path / "e.csv", text))
        assert "olga" not in str(caught.value)


# --- PixMo ---------------------------------------------------------------------------------------

POINTS = pa.list_(pa.struct([("x", pa.float64()), ("y", pa.float64())]))
LISTS = pa.struct([("x", pa.list_(pa.float32())), ("y", pa.list_(pa.float32()))])
SIZE = (640, 480)


def pixmo(
    path: Path, points: list[Any], type: pa.DataType = POINTS, counts: list[int] | None = None
) -> Path:
    """A Parquet file of PixMo-Points, or with LISTS of PixMo-Count."""
    number = len(points)
    lengths = [len(p["x"] if isinstance(p, dict) else p or ()) for p in points]
    table = {
        "image_url": [f"https://x.org/p/{i}.jpg" for i in range(number)],
        "image_sha256": [f"{i:064x}" for i in range(number)],
        "points": pa.array(points, type),
        "count": counts or lengths,
        "label": ["the left eye"] * number,
    }
    if type is POINTS:
        table["collection_method"] = ["pointing"] * number
    pq.write_table(pa.table(table), path)
    return path


def many(scale_x: float, scale_y: float, number: int = 200) -> Rows:
    """Points all over a picture, seeded."""
    rng = random.Random(7)
    return [{"x": rng.random() * scale_x, "y": rng.random() * scale_y} for _ in range(number)]


def sizes_csv(path: Path, numbers: Sequence[int], size: tuple[int, int] = SIZE) -> Path:
    rows = [{"image": f"{i:064x}", "width": size[0], "height": size[1]} for i in numbers]
    return write(path, as_csv(rows))


def test_pixmo_points_are_per_cent_whatever_their_card_says(tmp_path: Path):
    file = pixmo(tmp_path / "a.parquet", [[{"x": 100 * X, "y": 100 * Y}], [], many(100, 100)])
    found = Read("pixmo-points", file)
    dot, empty, _ = found.rows
    assert places(dot) == [DOT] and events(dot) == ["click"] and dot["event_time_ms"] == [None]
    assert (dot["label"], dot["prompt"], dot["answer"]) == ("the left eye", "pointing", "1")
    assert (dot["image_id"], dot["image_file"]) == ("0" * 64, "https://x.org/p/0.jpg")
    assert (empty["event"], empty["answer"]) == ([], "0")
    assert found.flags["has_time"] == 1 and found.flags["has_path"] == 0  # 1: has no point
    assert sum(found.bytes) == file.stat().st_size


def test_pixmo_count_is_pixels_of_pictures_whose_size_is_told(tmp_path: Path):
    everywhere = many(*SIZE)
    points = [{"x": [X * 640], "y": [Y * 480]}, {key: [p[key] for p in everywhere] for key in "xy"}]
    file = pixmo(tmp_path / "c.parquet", points, LISTS)
    with pytest.raises(OptionError, match=r"633\.\d+ .*pixels need the sizes"):
        Read("pixmo-points", file)
    told = Read("pixmo-points", file, sizes=str(sizes_csv(tmp_path / "s.csv", [0, 1])))
    assert places(told.rows[0]) == [DOT]
    assert (told.rows[0]["width"], told.rows[0]["height"]) == SIZE
    half = Read("pixmo-points", file, sizes=str(sizes_csv(tmp_path / "h.csv", [1])))
    assert half.rules == ["no-size"] and len(half.rows) == 1
    with pytest.raises(OptionError, match="copy in another size"):
        Read("pixmo-points", file, sizes=str(sizes_csv(tmp_path / "w.csv", [0, 1], (480, 360))))


@pytest.mark.parametrize(
    ("points", "type"),
    [
        ([[{"x": 45, "y": 10}]], POINTS),  # a few small numbers may be either
        ([many(60, 60)], POINTS),
        ([{"x": [45.0], "y": [10.0]}], LISTS),
    ],
)
def test_pixmo_refuses_numbers_that_may_be_either(tmp_path: Path, points: list[Any], type: Any):
    file = pixmo(tmp_path / "a.parquet", points, type)
    with pytest.raises(OptionError, match=r"or pixels of small ones.*--units"):
        Read("pixmo-points", file)
    percent = Read("pixmo-points", file, units="percent")
    assert places(percent.rows[0])[0][0] == pytest.approx(
        (points[0]["x"][0] if type is LISTS else points[0][0]["x"]) / 100
    )


def test_pixmo_knows_per_cent_by_points_that_as_pixels_would_lie_outside(tmp_path: Path):
    """Of pictures 64 px wide, points up to 100 are no pixels, however few they are."""
    few = [[{"x": 25, "y": 10}, *many(88, 70, 30)]]
    file = pixmo(tmp_path / "a.parquet", few)
    size = sizes_csv(tmp_path / "s.csv", [0], (64, 48))
    row = Read("pixmo-points", file, sizes=str(size)).rows[0]
    assert places(row)[0] == DOT and (row["width"], row["height"]) == (64, 48)


def test_pixmo_reads_sizes_of_pictures_as_they_are_shown(tmp_path: Path):
    from PIL import Image

    (tmp_path / "p").mkdir()
    turned = Image.new("RGB", (480, 640))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "p" / "0.jpg", exif=exif)  # shown 640 x 480
    (tmp_path / "p" / "1.jpg").write_text("404 not found")  # as a failed download leaves it
    points = [{"x": [X * 640, 600.0], "y": [Y * 480, 1.0]}, {"x": [3.0], "y": [4.0]}]
    file = pixmo(tmp_path / "c.parquet", points, LISTS)
    found = Read("pixmo-points", file, images=str(tmp_path / "p"))
    assert places(found.rows[0])[0] == DOT and found.rules == ["no-size"]
    assert (found.rows[0]["width"], found.rows[0]["height"]) == SIZE


def test_pixmo_says_what_it_cannot_read(tmp_path: Path):
    pq.write_table(pa.table({"image": [1]}), tmp_path / "x.parquet")
    with pytest.raises(ArchiveError, match="no column 'image_url'; found image"):
        Read("pixmo-points", tmp_path / "x.parquet")
    with pytest.raises(ArchiveError, match="no Parquet file"):
        Read("pixmo-points", write(tmp_path / "y.parquet", "nothing"))
    missing = [[{"x": None, "y": 3.0}], many(100, 100)]
    assert Read("pixmo-points", pixmo(tmp_path / "z.parquet", missing)).rules == ["no-number"]


# --- Open Images ---------------------------------------------------------------------------------

CLICKS = [(X, Y), (0.2, 0.3), (0.31, 0.62), (0.4, 0.35)]  # top, left, bottom, right


def boxes(rows: list[tuple[str, str, list[tuple[float, float]]]]) -> str:
    """oidv6-train-annotations-bbox.csv: four X, then four Y."""
    found = []
    for image, source, clicks in rows:
        x, y = [p[0] for p in clicks], [p[1] for p in clicks]
        box = {"XMin": min(x), "XMax": max(x), "YMin": min(y), "YMax": max(y)}
        rest = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
        found.append({
            "ImageID": image, "Source": source, "LabelName": "/m/01g317", "Confidence": 1, **box,
            **dict.fromkeys(rest, 0),
            **{f"XClick{n}X": v for n, v in enumerate(x, 1)},
            **{f"XClick{n}Y": v for n, v in enumerate(y, 1)},
        })  # fmt: skip
    return as_csv(found)


def test_open_images_has_four_x_then_four_y(tmp_path: Path):
    none = [(-1.0, -1.0)] * 4
    rows = [("00a", "activemil", none), ("00b", "xclick", CLICKS), ("00c", "xclick", none)]
    file = write(tmp_path / "oidv6-train-annotations-bbox.csv", boxes(rows))
    found = Read("open-images", tmp_path)
    (row,) = found.rows
    assert places(row) == [pytest.approx(p) for p in CLICKS] and places(row)[0] == DOT
    assert events(row) == ["click"] * 4 and row["event_time_ms"] == [None] * 4
    assert (row["image_id"], row["label"], found.names) == ("00b", "/m/01g317", ["line 3"])
    assert found.unknown == {"box of Source activemil": 1}
    assert found.rules == ["no-clicks"] and found.errors[0].where == "line 4"
    assert found.has() and sum(found.bytes) >= file.stat().st_size
    names = write(tmp_path / "class-descriptions-boxable.csv", "/m/01g317,Person\n/m/x,Hat\n")
    assert Read("open-images", file, classes=str(names)).rows[0]["label"] == "Person"


def test_open_images_says_which_versions_have_clicks(tmp_path: Path):
    file = write(tmp_path / "b.csv", "ImageID,Source,LabelName,Confidence\n1,xclick,/m/0,1\n")
    with pytest.raises(ArchiveError, match="no column 'XClick1X'"):
        Read("open-images", file)
    bad = boxes([("00b", "xclick", CLICKS)]).replace("0.25", "a name")
    with pytest.raises(ArchiveError, match="not as in the rows before") as caught:
        Read("open-images", write(file, bad))
    assert "a name" not in str(caught.value)


# --- CIFAR-10H -----------------------------------------------------------------------------------


def cifar_row(annotator: int, index: int, **other: Any) -> dict[str, Any]:
    return {
        "annotator_id": annotator, "trial_index": index, "is_attn_check": 0,
        "true_category": "cat", "chosen_category": "dog", "true_label": 3, "chosen_label": 5,
        "correct_guess": 0, "cifar10_test_test_idx": 7000 + index,
        "image_filename": "tabby_s_000007.png", "subcategory": "tabby", "reaction_time": 1234.4,
        "time_elapsed": 91_234.4, **other,
    }  # fmt: skip


@pytest.mark.parametrize("column", ["cifar10_test_test_idx", "cifar10_test_set_idx"])
def test_cifar10h_is_answers_and_reaction_times(tmp_path: Path, column: str):
    check = {"is_attn_check": 1, "cifar10_test_test_idx": -99999}
    rows = [cifar_row(0, 4), cifar_row(0, 5, **check), cifar_row(1, 6, reaction_time=-3)]
    text = as_csv(rows).replace("cifar10_test_test_idx", column)
    found = Read("cifar10h", write(tmp_path / "cifar10h-raw.csv", text))
    first, second = found.rows
    assert (first["image_id"], first["image_file"]) == ("cifar10-test_7004", "tabby_s_000007.png")
    assert (first["label"], first["answer"], first["page"]) == ("cat", "dog", 4)
    assert (first["annotator"], second["annotator"]) == ("0", "1")
    assert events(first) == ["load", "submit"] and first["event_time_ms"] == [0, 1234]
    assert second["event_time_ms"] == [0, None]  # not measured
    assert places(first) == [(None, None)] * 2 and len(first["labels"]) == 10
    assert found.unknown == {"attention check": 1} and found.names == ["line 2", "line 4"]
    assert found.has("has_time", "has_annotator")


def test_cifar10h_says_what_it_cannot_read(tmp_path: Path):
    with pytest.raises(ArchiveError, match=r"cifar10h-raw\.zip"):
        Read("cifar10h", write(tmp_path / "a.csv", "annotator_id,trial_index\n"))


# --- all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "file"), [
    ("jspsych", "a.json"), ("jspsych", "a.csv"), ("rrweb", "a.json"), ("label-studio", "a.json"),
    ("cvat", "a.xml"), ("cvat-events", "a.csv"), ("pixmo-points", "a.parquet"),
    ("open-images", "a.csv"), ("cifar10h", "a.csv"),
])  # fmt: skip
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"PK\x03\x04", b"<!DOCTYPE html>", b"[1"]
)
def test_what_is_no_such_file_ends_in_a_sentence(
    tmp_path: Path, name: str, file: str, content: bytes
):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(LuabError, match=file.replace(".", r"\.")):
        Read(name, tmp_path / file)


ODD = (None, "", "x", 0, -1, 1e300, 10**30, True, [], [1], {}, {"a": 1}, "2024", -5.5)


def changed(value: Any, rng: random.Random) -> Any:
    """JSON in which one piece is missing or of another type."""
    found = copy.deepcopy(value)
    pieces: list[tuple[Any, Any]] = []

    def walk(piece: Any) -> None:
        keys = piece if isinstance(piece, dict) else range(len(piece))
        for key in keys:
            pieces.append((piece, key))
            if isinstance(piece[key], dict | list):
                walk(piece[key])

    walk(found)
    inside, key = rng.choice(pieces)
    if isinstance(inside, dict) and rng.random() < 0.25:
        del inside[key]
    else:
        inside[key] = rng.choice(ODD)
    return found


@pytest.mark.parametrize("name", ["jspsych", "rrweb", "label-studio"])
def test_no_piece_of_another_type_ends_in_a_traceback(tmp_path: Path, name: str):
    rng, values = random.Random(15), {
        "jspsych": [trial(), FIXATION],
        "rrweb": [*opened(), picture_event(9, "a"), moves(99, (*AT, 60)), picture_event(200, "b")],
        "label-studio": [task(annotation(KEYPOINT, CHOICES))],
    }  # fmt: skip
    refused = 0
    for _ in range(150):
        try:
            found = Read(name, write(tmp_path / "a.json", changed(values[name], rng)))
            refused += len(found.errors)
        except LuabError:
            refused += 1
    assert refused > 15


def test_one_dot_is_far_from_every_symmetry():
    others = [(Y, X), (1 - X, Y), (X, 1 - Y), (1 - X, 1 - Y), (Y, 1 - X), (1 - Y, X)]
    assert min(np.hypot(X - x, Y - y) for x, y in others) > 0.2


def mini(name: str, folder: Path) -> list[object]:
    """Words of the command that reads a miniature of each source."""
    percent = [[{"x": 100 * X, "y": 100 * Y}], many(100, 100)]
    rows = [cifar_row(0, 4), cifar_row(1, 6, reaction_time=-3)]
    clicks = boxes([("00b", "xclick", CLICKS), ("00b", "xclick", CLICKS)])
    recording = [*opened(), picture_event(100, "a", annotator="olga"), moves(500, (*AT, 60))]
    found: dict[str, Any] = {
        "jspsych": lambda: [write(folder / "a.json", [trial(subject="olga@x.org"), FIXATION])],
        "rrweb": lambda: [write(folder / "a.json", recording)],
        "label-studio": lambda: [
            write(folder / "a.json", [task(annotation(KEYPOINT, completed_by="olga@x.org"))])
        ],
        "cvat": lambda: [write(folder / "a.xml", CVAT.replace("150.00;30.00", "150.00,30.00"))],
        "cvat-events": lambda: [write(folder / "a.csv", as_csv(cvat_log()))],
        "pixmo-points": lambda: [pixmo(folder / "a.parquet", percent)],
        "open-images": lambda: [write(folder / "a.csv", clicks)],
        "cifar10h": lambda: [write(folder / "a.csv", as_csv(rows))],
    }  # fmt: skip
    words: list[object] = found[name]()
    return words


NAMES = (
    *("jspsych", "rrweb", "label-studio", "cvat", "cvat-events", "pixmo-points", "open-images"),
    "cifar10h",
)


@pytest.mark.parametrize("name", NAMES)
def test_every_source_becomes_a_dataset_that_is_sound(tmp_path: Path, name: str):
    words = ["convert", name, *mini(name, tmp_path), "--out", tmp_path / "out"]
    (tmp_path / "key").write_bytes(b"k" * 32)
    done = luab(*words, "--worker-key-file", tmp_path / "key")
    assert done.exit_code == 0, done.output
    manifest = read_manifest(tmp_path / "out")
    assert manifest["collection"]["source"] == name and manifest["fidelity"]["num_views"]
    checked = luab("check", tmp_path / "out")
    assert checked.exit_code == 0, checked.output
    texts = [f.read_text() for f in (tmp_path / "out").iterdir() if f.is_file()]
    tables = [str(pq.read_table(f).to_pylist()) for f in (tmp_path / "out").rglob("*.parquet")]
    assert len(tables) == 3 and not any("olga" in text for text in texts + tables)
