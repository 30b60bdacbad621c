"""`stats --by arm`: arms side by side, and how they differ."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from logs import luab
from test_own_browsing import convert

import luab_data
from luab_data.errors import OptionError
from luab_data.statistics.estimate import draw_workers, interval

IMAGES = 10
HITS = {"ann": 9, "bob": 10, "cid": 8, "dan": 6, "eve": 5, "fay": 7}
"""Annotator -> how many of their clicks are in the box; the first three are of the arm `dot`."""
ARMS = ("dot", "plain")


def arm_of(number: int) -> str:
    return ARMS[number // 3]


def views(arms: bool = True) -> list[dict[str, Any]]:
    """Six people click on each of ten pictures, once, in the box or in a corner."""
    return [
        {
            "byproducts": 1, "kind": "browsing", "asked": {"class": "dog"}, "selected": True,
            "image": {"id": f"i{image}", "width": 100, "height": 100},
            "session": f"s{number}", "page": 0, "slot": image, "annotator": name,
            "events": [{"type": "click", "t": 100 * image, "state": True,
                        "x": 0.5 if image < HITS[name] else 0.05, "y": 0.5}],
            **({"arm": arm_of(number)} if arms else {}),
        }
        for number, name in enumerate(HITS)
        for image in range(IMAGES)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    corner = tmp_path_factory.mktemp("arms")
    lines = ["image_id,xmin,ymin,xmax,ymax", *(f"i{k},25,25,75,75" for k in range(IMAGES))]
    (corner / "boxes.csv").write_text("\n".join(lines))
    return convert(corner, views(), boxes=corner / "boxes.csv")


def test_the_arm_is_a_column_of_the_views(folder: Path):
    rows = luab_data.read_table(folder, "rounds", columns=["image_id", "arm"]).to_pylist()
    assert [row["arm"] for row in rows[:6]] == ["dot"] * 3 + ["plain"] * 3
    assert luab_data.check(folder).whole


def test_each_arm_and_their_difference_are_those_of_a_slow_bootstrap(folder: Path):
    found = luab_data.stats(folder, ["click_accuracy"], by="arm", resamples=200)
    (estimates,) = found.estimates.values()
    assert [*estimates] == ["dot", "plain", "dot less plain"]
    hits = np.array([*HITS.values()])
    is_dot = np.array([arm_of(k) == "dot" for k in range(len(hits))])
    draws = {"dot": [], "plain": [], "dot less plain": []}  # type: ignore[var-annotated]
    for weights in draw_workers(len(hits), resamples=200, seed=0):
        of = []
        for mask in (is_dot, ~is_dot):
            trials = IMAGES * (weights * mask).sum()
            of.append((weights * mask * hits).sum() / trials if trials else np.nan)
        for name, value in zip(draws, (*of, of[0] - of[1]), strict=True):
            draws[name].append(value)
    expected = {"dot": (0.9, 30), "plain": (0.6, 30), "dot less plain": (0.3, 60)}
    for name, (value, n) in expected.items():
        got = estimates[name]
        assert (float(got.value), float(got.n), got.num_workers) == (pytest.approx(value), n, 3)
        assert [got.low, got.high] == pytest.approx(interval(np.array(draws[name]), 3), rel=1e-9)
    alone = luab_data.stats(folder, ["click_accuracy"])
    assert alone["click_accuracy"] == pytest.approx(0.75)


def test_statistics_of_an_image_that_both_arms_saw_are_told_of_no_arm(folder: Path):
    found = luab_data.stats(folder, by="arm", resamples=20)
    names = {m.name for m in found.measures}
    assert {"click_accuracy", "agreement", "selected_share_of_views", "click_density"} <= names
    assert not {"coverage", "unanimous_share"} & names
    assert repr(found).endswith(f"{len(names)} statistics by arm: dot, plain)")
    # Within an arm all three selected all.
    assert found.estimates["agreement"]["dot"].n == 30


def test_the_long_form_has_a_row_an_arm_and_one_for_the_difference(folder: Path, tmp_path: Path):
    only = ["--by", "arm", "--only", "click_accuracy,click_density"]
    for name in ("n.csv", "n.json", "n.parquet"):
        assert luab("stats", folder, *only, "--out", tmp_path / name).exit_code == 0
    frame = luab_data.stats(folder, ["click_accuracy", "click_density"], by="arm").to_frame()
    assert len(frame) == 3 * (1 + 121)
    first = frame.iloc[0]
    assert (first["name"], first["group"], first["value"]) == ("click_accuracy", "dot", 0.9)
    assert frame["unit"].tolist()[:3] == ["share", "share", "difference of shares"]
    assert frame["null"].tolist()[2] == 0
    told = [
        [row[key] for key in ("name", "group")]
        for row in json.loads((tmp_path / "n.json").read_text())
    ]
    with (tmp_path / "n.csv").open() as file:
        assert [[row["name"], row["group"]] for row in csv.DictReader(file)] == told
    assert pq.read_table(tmp_path / "n.parquet")["group"].to_pylist() == [
        group for _, group in told
    ]


def test_the_command_prints_the_arms_below_each_other(folder: Path):
    text = luab("stats", folder, "--by", "arm", columns=100).stdout
    lines = text.partition("\nclick_accuracy\n")[2].splitlines()[:3]
    assert [line.split("  ")[1] for line in lines] == ["dot", "plain", "dot less plain"]
    assert lines[2].split()[3] == "0.3000"
    said = json.loads(luab("stats", folder, "--by", "arm", "--json").stdout)
    assert said["groups"] == ["dot", "plain"]
    assert said["statistics"]["click_accuracy"]["groups"]["plain"]["num_workers"] == 3


def test_what_cannot_be_compared_is_said_in_a_sentence(folder: Path, tmp_path: Path):
    from simulated import coco_ab

    without = convert(tmp_path, views(arms=False))
    with pytest.raises(OptionError, match=r"arm has no values; expected 2 to 12.*without arms"):
        luab_data.stats(without, by="arm")
    with pytest.raises(OptionError, match="has no 'colour' to group by; expected arm or wnid"):
        luab_data.stats(folder, by="colour")
    with pytest.raises(OptionError, match="wnid has 1 value; expected 2"):
        luab_data.stats(folder, by="wnid")
    with pytest.raises(OptionError, match="coverage: cannot be told by arm"):
        luab_data.stats(folder, ["coverage"], by="arm")
    with pytest.raises(OptionError, match="a dataset of a study with arms"):
        luab_data.stats(coco_ab(tmp_path, num_images=20), by="arm")
