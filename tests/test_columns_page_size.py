"""The size of a picture on the page, by the tools' rules and by the places of the mouse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from logs import KEY, SHARED, action, block, coco_log, coco_record, tar, xml

import luab_data
from luab_data.columns.page_size import browsing, tagging

CASES = SHARED / "data" / "cases"


def sizes(function: Any, rows: list[dict[str, Any]]) -> list[tuple[int | None, int | None]]:
    """Of rows with `original`, `height` as logged, and points; through slices and chunks too."""
    ints = {
        "w": [row["original"][0] for row in rows],
        "h": [row["original"][1] for row in rows],
        "logged": [row.get("height") for row in rows],
    }
    columns = [pa.array(values, pa.int32()) for values in ints.values()]
    for axis in (0, 1):
        points = [[p[axis] for p in row.get("points", [])] for row in rows]
        columns.append(pa.array(points, pa.list_(pa.float64())))
    found = list(zip(*(size.to_pylist() for size in function(*columns)), strict=True))
    chunked = [pa.chunked_array([c.slice(0, 1), c.slice(1)]) for c in columns]
    assert found == list(zip(*(size.to_pylist() for size in function(*chunked)), strict=True))
    sliced = [pa.concat_arrays([c, c]).slice(len(rows)) for c in columns]
    assert found == list(zip(*(size.to_pylist() for size in function(*sliced)), strict=True))
    return found


@pytest.mark.parametrize(
    ("original", "size"),
    [
        ((640, 480), (324, 243)),
        ((900, 150), (324, 54)),
        ((200, 900), (76, 340)),
        ((20, 20), (20, 20)),
        ((500, 375), (324, 243)),
        ((0, 0), (None, None)),
        ((None, 300), (None, None)),
    ],
)
def test_the_browsing_tool_shrinks_a_picture_into_its_cell(original: Any, size: Any):
    """The sizes that were seen when the tool was driven in a browser."""
    assert sizes(browsing, [{"original": original}]) == [size]


@pytest.mark.parametrize(
    ("original", "size"),
    [
        ((640, 480), (600, 450)),
        ((640, 428), (673, 450)),
        ((64, 64), (450, 450)),
        ((900, 150), (880, 450)),
        ((640, 0), (None, None)),
    ],
)
def test_the_tagging_tool_gives_each_picture_one_height(original: Any, size: Any):
    assert sizes(tagging, [{"original": original}]) == [size]


def test_every_point_has_to_be_on_a_whole_pixel():
    fit = [(1 / 324, 153 / 243), (-2 / 324, 1.0), (None, 0.0)]
    rows = [
        {"original": (500, 375), "height": 243, "points": fit},
        {"original": (500, 375), "height": 243, "points": [*fit, (0.5001, 0)]},
        {"original": (500, 375), "height": 243, "points": [*fit, (0.5, 0.3337)]},
        {"original": (500, 375), "height": 243, "points": [(1e308, 1e308)]},
        {"original": (500, 375), "height": 400, "points": fit},
        {"original": (500, 375), "height": None, "points": []},
        # 75.56 px were shown as 75: the browser rounds by where the picture lies.
        {"original": (200, 900), "height": 340, "points": [(7 / 75, 0.5)]},
    ]
    nothing = (None, None)
    assert sizes(browsing, rows) == [
        *((324, 243), nothing, nothing, nothing, nothing, (324, 243), (75, 340)),
    ]
    assert sizes(browsing, []) == []


@given(st.integers(1, 4000), st.integers(1, 4000), st.lists(st.tuples(*[st.integers(-3, 330)] * 2)))
def test_places_in_whole_pixels_give_the_size_back(width: int, height: int, places: Any):
    scale = min(1, 324 / width, 340 / height)
    shown = [math.floor(side * scale + 0.5) for side in (width, height)]
    if min(shown) < 1:
        return
    points = [(x / shown[0], y / shown[1]) for x, y in places]
    row = {"original": (width, height), "height": shown[1], "points": points}
    assert sizes(browsing, [row]) == [tuple(shown)]


def test_both_conversions_have_it(tmp_path: Path):
    shown = block(clicks=[(9, 162 / 324, 81 / 162)], trace=[(5, 0, 161 / 162)], imageHeight=162)
    log = tar(tmp_path / "log.tar", {"t/n00000001/n00000001_1.xml": xml("n00000001_1", [shown])})
    # 200 x 100, which is smaller than the cell, cannot have been 162 px high.
    for size, expected in (((1000, 500), (324, 162)), ((200, 100), (None, None))):
        body = xml("n00000001_1", [shown])
        for side, px in zip(("Width", "Height"), size, strict=True):
            old = f"<originalImage{side}>{200 if side == 'Width' else 100}<"
            body = body.replace(old.encode(), f"<originalImage{side}>{px}<".encode())
        tar(log, {"t/n00000001/n00000001_1.xml": body})
        done = luab_data.convert_imagenet(log, tmp_path / "out", worker_key=KEY, force=True)
        (row,) = pq.read_table(done.out / "rounds").to_pylist()
        assert (row["page_width"], row["page_height"]) == expected

    actions = [action("add", "cat", (450 / 900, 0.5)), action("move", "cat", (0.25, 0.25))]
    trace = [{"timeAt": 5, "x": 0.25, "y": 452 / 450}]
    record = coco_record(7, actions, mouseTracking=trace)
    for place, expected in ((0.1, (880, 450)), (0.1001, (None, None))):
        for point in actions:
            point["pointTo"] = {"x": place, "y": 0.5}
            if point["pointFrom"]:
                point["pointFrom"] = {"x": place, "y": 0.5}
        raw = coco_log(tmp_path / "log.json", [record])
        done = luab_data.convert_coco(raw, tmp_path / "coco", worker_key=KEY, force=True)
        (row,) = pq.read_table(done.out / "actions").to_pylist()
        assert (row["page_width"], row["page_height"]) == expected


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/data/cases")
def test_genuine_records_and_those_of_the_front_ends_have_their_true_width(tmp_path: Path):
    def rows(kind: str, log: str, config: str) -> list[dict[str, Any]]:
        convert = getattr(luab_data, f"convert_{kind}")
        done = convert(CASES / log, tmp_path / Path(log).name, worker_key=KEY)
        return pq.read_table(done.out / config).to_pylist()

    (row,) = rows("imagenet", "imagenet-ab/real_record.tar.gz", "rounds")
    assert (row["image_width"], row["page_width"], row["page_height"]) == (243, 324, 243)
    for found in (
        rows("imagenet", "own/fe_imagenet_asis.tar.gz", "rounds"),
        rows("coco", "own/fe_coco_asis.json", "actions"),
    ):
        for row in found:
            logged = (row["image_width"] or None, row["image_height"] or None)
            assert (row["page_width"], row["page_height"]) == logged
