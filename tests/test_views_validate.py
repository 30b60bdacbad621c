"""What `validate` says of a log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_views_log import view, written

import luab_data
from luab_data.cli import main


def events(*some: tuple[Any, ...], names: str = "type t x y") -> list[dict[str, Any]]:
    return [dict(zip(names.split(), one, strict=False)) for one in some]


GOOD = {
    "image": {"id": "a", "width": 640, "height": 480},
    "asked": {"class": "cat"},
    "shown": {"x": 1, "y": 2, "width": 320, "height": 240},
    "session": "s1",
    "annotator": "ann@lab.example",
    "epoch": 1_700_000_000_000,
    "events": events(("move", 1, 0.1, 0.2), ("move", 30, 0.2, 0.3), ("click", 500, 0.3, 0.3)),
}


def found(path: Path, **options: Any) -> dict[tuple[str, str], tuple[int, tuple[int, ...]]]:
    result = luab_data.validate(path, **options)
    return {(f.severity, f.id): (f.count, f.lines) for f in result.findings}


def test_a_good_log_is_valid_and_counted(tmp_path: Path):
    other = {**GOOD, "session": "s2", "annotator": "bob", "image": {**GOOD["image"], "id": "b"}}
    tags = {**GOOD, "session": "s3", "events": events(("add", 1, 0.5, 0.5, "cat"),
            names="type t x y label"), "asked": {}}  # fmt: skip
    path = written(tmp_path, view(**GOOD), view(**other), view(**{**tags, "kind": "tagging"}))
    result = luab_data.validate(path)
    assert result.valid and result.findings == ()
    assert (result.num_views, result.num_images) == (3, 3)  # an id is one of its class
    assert (result.num_sessions, result.num_annotators) == (3, 2)
    assert result.kinds == {"browsing": 2, "tagging": 1}
    assert result.fidelity == {
        "has_path": 2, "has_time": 3, "has_clock": 3, "has_layout": 3, "has_annotator": 3,
    }  # fmt: skip
    assert repr(result) == (
        "Validation(log.jsonl: valid; 3 views of 3 images in 3 sessions by 2 annotators)"
    )
    assert result.to_frame()["id"].tolist() == [*result.fidelity]
    assert "<td>has_path</td>" in result._repr_html_()


ODD: dict[str, dict[str, Any]] = {
    "times-decrease": {"events": events(("move", 5, 0, 0), ("move", 4.4, 0, 0))},
    "off-picture": {"events": events(("move", 5, 3, 3), ("click", 9, 1.03, 0.5))},
    "half-a-place": {"events": [{"type": "move", "t": 1, "x": 0.5}]},
    "too-quick": {"events": [{"type": "move", "t": k / 100, "x": 0, "y": 0} for k in range(10)]},
    "epoch-in-seconds": {"epoch": 1_700_000_000},
    "selected-differs": {
        "selected": True,
        "events": [{"type": "click", "t": 1, "state": True}, {"type": "click", "state": False}],
    },
    "no-page-size": {"shown": {"x": 1, "y": 2, "width": 3}},
    "no-image-size": {"image": {"id": "a", "width": 640}},
    "two-sizes": {"image": {"id": "a", "width": 641, "height": 480}},
    "two-files": {"image": {**GOOD["image"], "file": "other/a.jpg"}},
    "two-annotators": {"annotator": "bob"},
    "twice": {"slot": 0},
}


@pytest.mark.parametrize("rule", ODD)
def test_each_warning_finds_its_lines_and_no_others(rule: str, tmp_path: Path):
    first = view(**{**GOOD, "image": {**GOOD["image"], "file": "a.jpg"}, "slot": 0})
    fine = view(**{**GOOD, "image": {**GOOD["image"], "file": "a.jpg"}, "slot": 1})
    odd = view(**{**GOOD, "slot": 2, **ODD[rule]})
    path = written(tmp_path, first, b"", fine, odd)
    assert found(path) == {("warning", rule): (1, (4,))}
    assert luab_data.validate(path).valid
    assert CliRunner().invoke(main, ["validate", str(path)]).exit_code == 0


def test_errors_are_counted_by_what_is_wrong(tmp_path: Path):
    """One line of the report for one mistake, in whichever event and byte it is."""
    good = view(**GOOD)
    wrong = [
        {**good, "events": events(*[("move", 1, 0, 0)] * k, ("move", 1, 412, 0))} for k in (0, 1, 2)
    ]
    broken = [b"{" + b" " * k + b"x" for k in range(3)]
    asked = {**good, "asked": {}}
    path = written(tmp_path, good, *wrong, *broken, asked, {**asked, "kind": "tracing"})
    result = luab_data.validate(path, examples=2)
    assert not result.valid
    assert [(f.id, f.count, f.lines) for f in result.findings if f.severity == "error"] == [
        ("not-a-view", 3, (2, 3)),
        ("json-syntax", 3, (5, 6)),
        ("missing", 1, (8,)),
    ]
    assert result.kinds == {"browsing": 1, "tracing": 1}
    text = result.as_text()
    assert "log.jsonl: not valid: 7 bad lines; 2 views of" in text
    assert "`events[].x`: Expected `float` <= 10.0: a fraction of the picture, no pixels" in text
    assert "Says of no class what it is about, which a view of a browsing task must." in text
    assert "Lines 2, 3 and more." in text
    with pytest.raises(luab_data.LuabError, match=r"line 2: `events\[0\].x`"):
        luab_data.convert_browsing(path, tmp_path / "d", worker_key=b"k" * 16)


def test_unknown_fields_say_what_they_could_be(tmp_path: Path):
    odd = view(
        **{**GOOD, "annotater": "x", "events": [{"type": "move", "tiem": 1, "pointr": "pen"}]}
    )
    result = luab_data.validate(written(tmp_path, odd, odd))
    said = {f.id: (f.count, f.meaning) for f in result.findings if f.severity == "unknown"}
    assert result.valid and said == {
        "annotater": (2, "left out; did you mean `annotator`?"),
        "events.tiem": (2, "left out; did you mean `events.t`?"),
        "events.pointr": (2, "left out; did you mean `events.pointer`?"),
    }


def test_the_command_says_the_same_as_data(tmp_path: Path):
    path = written(tmp_path, view(**GOOD), view(kind="x"), view(**{**GOOD, "annotator": "mallory"}))
    shown = CliRunner().invoke(main, ["validate", str(path), "--json"])
    assert shown.exit_code == 1
    said = json.loads(shown.output)
    assert (said["valid"], said["num_views"], said["log"]) == (False, 2, "log.jsonl")
    assert [f["id"] for f in said["findings"]] == ["not-a-view", "two-annotators"]
    plain = CliRunner().invoke(main, ["validate", str(path)])
    assert plain.exit_code == 1 and "two-annotators" in plain.output
    for text in (shown.output, plain.output):
        assert "lab.example" not in text and "mallory" not in text
    assert CliRunner().invoke(main, ["validate"]).exit_code == 2


def test_an_empty_log_has_nothing(tmp_path: Path):
    result = luab_data.validate(written(tmp_path))
    assert result.valid and result.num_views == 0 and "empty: no line" in result.as_text()
    assert len(result.to_table()) == 5
