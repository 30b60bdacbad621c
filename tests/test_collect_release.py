"""A study in the formats of the releases, read back by our own converters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from collect_world import Person, draw_pictures, make_study
from test_collect import KEY, LAYOUT, click, move, take_part

import luab_data
from luab_data.cli import main
from luab_data.collect.serve import opened
from luab_data.collect.study import init, read_study
from luab_data.errors import OptionError


def command(*words: object) -> str:
    done = CliRunner().invoke(main, ["collect", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


def rows(folder: Path, config: str, *columns: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = luab_data.read_table(
        folder, config, columns=[*columns]
    ).to_pylist()
    return found


def test_browsing_as_xml_has_the_same_clicks_as_the_log(tmp_path: Path):
    folder = make_study(tmp_path, "browsing")
    with opened(folder) as study:
        path = {key: picture.path for key, picture in study.pictures.items()}
        ann = Person(study)
        slots = ann.state["slots"]
        own = next(s["slot"] for s in slots
                   if path[s["picture"]].startswith(ann.state["class"]["name"]))  # fmt: skip
        enter = {**move(own, 3, 0, 0.5), "type": "enter"}
        ann.do(
            {**LAYOUT, "t": 1}, enter, move(own, 5, 0.125, 0.5),
            click(own, 20, True), click(own, 30, False), {**click(own, 40, True), "fx": 1 / 3},
            {"type": "submit", "page": 0, "t": 60},
        )  # fmt: skip
        ann.submit(0, {"selected": [own], "failed": []})
        take_part(study, lambda state, s: path[s["picture"]].startswith(state["class"]["name"]))
    said = command("export", folder, "--out", tmp_path / "r.tar.gz", "--format", "release")
    assert "the format has no place for pictures of other classes, clicks that take" in said
    assert f"next: luab-data convert imagenet-ab {tmp_path}/r.tar.gz" in said
    luab_data.convert_imagenet(tmp_path / "r.tar.gz", tmp_path / "ab", worker_key=KEY, shown=False)
    luab_data.collect_export(folder, tmp_path / "log.jsonl")
    luab_data.convert_browsing(tmp_path / "log.jsonl", tmp_path / "own", worker_key=KEY,
                               shown=False)  # fmt: skip
    columns = ("image_id_raw", "wnid", "worker_id", "assignment_id", "selected",
               "selected_record_x", "selected_record_time_ms", "mouse_tracking_x",
               "hovered_record_time_ms",
               "hit_submit_time", "image_idx", "image_position_x")  # fmt: skip
    of_class = [row for row in rows(tmp_path / "own", "rounds", *columns)
                if row["image_id_raw"].startswith(row["wnid"])]  # fmt: skip
    found = rows(tmp_path / "ab", "rounds", *columns)
    clicks = [x for row in found for x in row["selected_record_x"]]
    assert {*clicks} == {0.25, 1 / 3} and clicks.count(1 / 3) == 1
    by_image = {(row["image_id_raw"], row["assignment_id"]): row for row in of_class}
    for row in found:
        assert by_image.pop((row["image_id_raw"], row["assignment_id"])) == row
    assert not by_image and luab_data.check(tmp_path / "ab").whole


def tagging(tmp_path: Path, classes: list[str]) -> Path:
    pictures = draw_pictures(tmp_path / "pictures", each=1)
    (pictures / "dog" / "IMG 000.png").rename(pictures / "dog" / "COCO_000000000042.png")
    (pictures / "Käse" / "IMG 000.png").rename(pictures / "dog" / "COCO_000000000007.png")
    init(tmp_path / "study", images=pictures, task="tagging", classes=classes)
    return tmp_path / "study"


def test_tagging_as_json_has_the_same_icons_as_the_log(tmp_path: Path):
    folder = tagging(tmp_path, ["dog", "cat"])
    with opened(folder) as study:
        ann = Person(study)
        for page in range(2):
            add = {"type": "add", "slot": 0, "page": page, "t": 9, "label": "dog", "fx": 0.2,
                   "fy": 1 / 3}  # fmt: skip
            moved = {**add, "type": "move-label", "t": 12, "fx": 0.6, "from": [0.2, 1 / 3]}
            gone = {**add, "type": "remove", "t": 20, "fx": 0.6}
            ann.do({**move(0, 3, 0.5, 0.5), "page": page}, add, moved, *([gone] * page))
            ann.submit(page, {"labels": ["dog"], "nothing": False, "unsure": True})
    done = luab_data.collect_export(folder, tmp_path / "r.json", format="release")
    assert (done.views, done.sessions, done.verb) == (2, 1, "coco-ab") and len(done.remarks) == 1
    luab_data.convert_coco(tmp_path / "r.json", tmp_path / "ab", worker_key=KEY, shown=False)
    luab_data.collect_export(folder, tmp_path / "log.jsonl")
    luab_data.convert_tagging(tmp_path / "log.jsonl", tmp_path / "own", worker_key=KEY,
                              shown=False)  # fmt: skip
    columns = ("image_id", "icon_name", "final_x", "final_y", "last_add_x", "last_add_y",
               "time_spent_ms", "page_id")  # fmt: skip
    own = {int(row.pop("image_id")[-2:]): row for row in rows(tmp_path / "own", "default",
                                                              *columns)}  # fmt: skip
    found = {row.pop("image_id"): row for row in rows(tmp_path / "ab", "default", *columns)}
    assert found == own and {*found} == {7, 42}
    record, _ = json.loads((tmp_path / "r.json").read_text())
    assert record["actionHistories"][0] == {
        "actionType": "add", "iconType": "dog", "pointFrom": None,
        "pointTo": {"x": 0.2, "y": 1 / 3}, "timeAt": 9,
    }  # fmt: skip


def test_what_the_release_cannot_name_is_said_and_nothing_is_written(tmp_path: Path):
    folder = tagging(tmp_path, ["dog", "Käse"])
    with pytest.raises(OptionError, match="class 'Käse': the JSON of COCO-AB knows COCO's 80"):
        luab_data.collect_export(folder, tmp_path / "r.json", format="release")
    with pytest.raises(OptionError, match=r"r\.xml: as the release it is \.json"):
        luab_data.collect_export(folder, tmp_path / "r.xml", format="release")
    assert not [*tmp_path.glob("r.*")]


def test_a_study_that_nobody_answered_is_not_to_be_converted(tmp_path: Path):
    folder = make_study(tmp_path, "browsing")
    said = command("export", folder, "--out", tmp_path / "log.jsonl")
    assert "no views of no sessions" in said and "no page is answered yet" in said
    assert "convert" not in said.replace("nothing to convert", "")


def test_the_verbs_are_functions_of_a_folder(tmp_path: Path):
    folder = make_study(tmp_path, "browsing", changes={'kinds = ["open"]': 'kinds = ["link"]'})
    links = luab_data.collect_invite(folder, 2, address="https://x.org/")
    assert [link.partition("-")[0] for link in links] == [
        f"https://x.org/?invite={k}" for k in (1, 2)
    ]
    assert luab_data.collect_status(folder)["sessions finished"] == 0
    with pytest.raises(OptionError, match="round 1 is not finished"):
        luab_data.collect_next_round(folder)
    assert luab_data.collect_demo(tmp_path / "demo") == tmp_path / "demo"
    with pytest.raises(OptionError, match="format='xml'; expected log or release"):
        luab_data.collect_export(folder, tmp_path / "x", format="xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["..", ".", "a\\u0008"])
def test_a_class_that_no_file_can_be_called_after_is_refused(tmp_path: Path, name: str):
    changed = {'name = "dog"': f'name = "{name}", folder = "dog"'}
    with pytest.raises(OptionError, match=r"classes: found the name .* expected a word"):
        read_study(make_study(tmp_path, "browsing", changes=changed))
