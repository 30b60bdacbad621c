"""Worked examples of docs/definitions.md, drawn cases, every column against a slow reference."""

from __future__ import annotations

from itertools import islice
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from logs import SHARED, block, members, xml
from planted import counted

from luab_data.columns.imagenet import image_table, with_labels
from luab_data.columns.regions import boxes_of, click_in_box, click_offset, clicked_box, in_any_box
from luab_data.columns.registry import ROUNDS, with_derived
from luab_data.columns.rounds import order_rounds
from luab_data.ragged import Ragged
from luab_data.raw.imagenet import parse, to_batch
from luab_data.raw.source import Source
from luab_data.schema import IMAGENET_IMAGES, IMAGENET_ROUNDS, LAST_N, QUANTILES
from luab_data.statistics.imagenet import IMAGENET_STATISTICS

TINY = SHARED / "data" / "raw" / "imagenet_ab_tiny.tar.gz"


def tables(images: dict[str, bytes]) -> tuple[pa.Table, pa.Table]:
    """(default, rounds) of image id -> XML."""
    records = [parse(f"{image_id}.xml", body) for image_id, body in images.items()]
    batch = to_batch(records, lambda worker: worker)
    rounds = order_rounds(batch.images["image_id"], with_derived(batch.rounds, ROUNDS))
    wnids = sorted({i.rpartition("_")[0] for i in images})
    return with_labels(image_table(batch.images, rounds), wnids), rounds.table


def row_of(*blocks: dict[str, Any], **options: Any) -> dict[str, Any]:
    table, _ = tables({"n1_1": xml("n1_1", list(blocks), **options)})
    row: dict[str, Any] = table.to_pylist()[0]
    return row


def test_schemas_are_exactly_the_published_ones():
    table, rounds = tables({"n2_1": xml("n2_1"), "n1_1": xml("n1_1", [])})
    assert table.schema.equals(IMAGENET_IMAGES.schema(), check_metadata=True)
    assert rounds.schema.equals(IMAGENET_ROUNDS.schema(), check_metadata=True)
    assert table["label"].to_pylist() == [1, 0]


def test_click_centre_and_off_centre_accuracy():
    boxes = {
        "A": ((20, 20, 80, 80), (0.5, 0.5)),
        "B": ((0, 0, 40, 40), (0.3, 0.3)),
        "C": ((60, 60, 100, 100), (0.5, 0.9)),
        "D": ((40, 0, 100, 100), (0.2, 0.5)),
    }
    images = {}
    for number, (box, (x, y)) in enumerate(boxes.values()):
        name = f"n1_{number}"
        images[name] = xml(name, [block(clicks=[(1, x, y)])], [box], size=(100, 100))
    images["n1_8"] = xml("n1_8", [block(selected=False)], [(0, 0, 9, 9)])  # not selected: not in S
    images["n1_9"] = xml("n1_9")  # no boxes: not in S
    table, rounds = tables(images)
    assert table["click_in_box"].to_pylist() == [True, True, False, False, None, None]
    found = counted(IMAGENET_STATISTICS, {"default": [table], "rounds": [rounds]})
    assert found["num_evaluated"] == 4
    assert found["click_accuracy"] == 0.5
    assert found["centre_accuracy"] == 0.5
    assert found["off_centre_fraction"] == 0.5
    assert found["off_centre_click_accuracy"] == 0.5


def test_trace_and_time_quantiles():
    trace = [(0, 0.1, 0.0), (10, 0.2, 0.0), (20, 0.3, 0.0), (40, 0.5, 0.0)]
    row = row_of(block(clicks=[(40, 0.5, 0.0)], trace=trace, hovered=[("enter", 0)]))
    half = QUANTILES.index(0.5)
    assert row["trace_quantile_x"][half] == 0.2
    assert row["time_quantile_x"][half] == 0.3
    assert row["trace_quantile_x"][0] == 0.1 and row["trace_quantile_x"][-1] == 0.5
    assert row["last_n_x"] == [0.5, 0.5, 0.3, 0.2, 0.1, None, None, None, None]


def test_traces_use_only_the_visit_that_ends_in_the_click():
    first = [(t, 0.9, 0.9) for t in (0, 17, 34)]
    second = [(5900, 0.2, 0.1), (5917, 0.3, 0.2)]
    after = [(7000, 0.8, 0.8)]
    hovered = [("enter", 0), ("leave", 40), ("enter", 5890), ("leave", 6000), ("enter", 6990)]
    row = row_of(block(clicks=[(5930, 0.31, 0.2)], trace=first + second + after, hovered=hovered))
    assert row["trace_length"] == 6
    assert row["trace_quantile_x"] == [0.2] * 10 + [0.3]
    assert row["last_n_x"][:4] == [0.31, 0.3, 0.2, None]
    assert row["dwell_time_ms"] == 40 + 110 + 10  # the last visit was open: it ends with the trace


def test_a_log_without_enter_starts_the_visit_with_the_trace():
    row = row_of(block(clicks=[(40, 0.5, 0.5)], trace=[(0, 0.1, 0.1), (50, 0.2, 0.2)]))
    assert row["trace_quantile_x"] == [0.1] * 11
    assert row["dwell_time_ms"] is None


def test_a_touch_click_has_a_point_but_no_trace():
    row = row_of(block(clicks=[(40, 0.25, 0.75)]))
    assert (row["final_click_x"], row["final_click_y"]) == (0.25, 0.75)
    assert row["trace_quantile_x"] is None and row["time_quantile_y"] is None
    assert row["last_n_x"] == [0.25] + [None] * 8
    assert (row["hull_x"], row["hull_y"], row["hull_area"]) == ([0.25], [0.75], 0)


@pytest.mark.parametrize(
    ("selected", "num_records", "num_clicks", "disagrees"),
    [
        (True, 1, 1, False),
        (False, 1, 2, True),  # select, deselect: the paper's parity rule says selected
        (True, 2, 3, True),  # select, deselect, select
        (False, 0, 0, False),
        (True, 0, None, True),  # impossible in the tool; kept, counted, no click
        (False, 2, 4, False),
    ],
)
def test_deselecting_clicks_are_not_logged(
    selected: bool, num_records: int, num_clicks: int | None, disagrees: bool
):
    clicks = [(i, 0.1 * i, 0.5) for i in range(1, num_records + 1)]
    row = row_of(block(selected=selected, clicks=clicks))
    assert row["selected"] is selected
    assert row["num_clicks"] == num_clicks
    assert row["parity_disagrees"] is disagrees
    known = selected and num_records > 0
    assert row["final_click_x"] == (0.1 * num_records if known else None)
    assert row["first_click_x"] == (0.1 if known else None)
    assert (row["hull_area"] is None) is not known


def test_the_deciding_round_is_the_last_that_selected_by_submit_time_not_by_file_order():
    late = block(submit=300, selected=False, clicks=[], worker="late")
    early = block(submit=100, clicks=[(1, 0.1, 0.1)], worker="early")
    middle = block(submit=200, clicks=[(1, 0.2, 0.2)], worker="middle")
    row = row_of(late, early, middle)
    assert (row["num_rounds"], row["selected_round"], row["worker_id"]) == (3, 2, "middle")
    assert row["final_click_x"] == 0.2
    row = row_of(late, block(submit=50, selected=False, clicks=[(1, 0.9, 0.9)], worker="never"))
    assert (row["selected"], row["selected_round"], row["worker_id"]) == (False, None, "late")
    assert row["final_click_x"] is None


def test_an_image_without_rounds_has_nulls_and_false():
    row = row_of()
    assert row["num_rounds"] == 0
    assert row["selected"] is False and row["has_interaction"] is False
    nulls = [c.name for c in IMAGENET_IMAGES.columns if row[c.name] is None]
    assert {"worker_id", "trace_length", "parity_disagrees", "num_clicks", "width"} <= set(nulls)


def test_interaction_is_a_record_in_any_round_not_the_existence_of_a_file():
    nothing = block(selected=False, clicks=[])
    assert row_of(nothing)["has_interaction"] is False
    hovered = block(selected=False, clicks=[], hovered=[("enter", 1)], submit=1)
    assert row_of(nothing, hovered)["has_interaction"] is True


def test_size_is_that_of_the_boxes_else_as_logged_and_zero_is_null():
    row = row_of(block(), boxes=[(1, 1, 2, 2)], size=(7, 8))
    assert (row["width"], row["height"]) == (7, 8)
    row = row_of(block())
    assert (row["width"], row["height"]) == (200, 100)
    row = row_of(block(originalImageWidth=0, originalImageHeight=0))
    assert (row["width"], row["height"]) == (None, None)


def test_a_size_of_zero_in_the_boxes_falls_back_to_the_logged_one():
    row = row_of(block(), boxes=[(1, 1, 2, 2)], size=(0, 0))
    assert (row["width"], row["height"]) == (200, 100)


def test_a_visit_that_lost_its_leave_ends_with_what_was_last_seen_of_it():
    hovered = [("enter", 1000), ("enter", 61000), ("leave", 61500)]
    trace = [(1000, 0.5, 0.5), (1500, 0.5, 0.5), (61200, 0.5, 0.5)]
    assert row_of(block(hovered=hovered, trace=trace, clicks=[]))["dwell_time_ms"] == 1000


def test_borders_belong_to_a_box():
    boxes = np.array([[10.0, 20, 30, 40]])
    rows = Ragged(np.zeros(5, int), np.arange(6))
    x = np.array([0.1, 0.3, 0.2, 0.0999, np.nan])
    y = np.array([0.2, 0.4, 0.4001, 0.3, 0.3])
    size = np.full(5, 100.0)
    assert in_any_box(x, y, size, size, boxes, rows).tolist() == [True, True, False, False, False]


def test_a_hull_is_drawn_once_round_and_its_area_is_right():
    trace = [(1, 0.0, 0.0), (2, 0.4, 0.0), (3, 0.4, 0.5), (4, 0.1, 0.1)]
    row = row_of(block(clicks=[(9, 0.0, 0.5)], trace=trace, hovered=[("enter", 0)]))
    assert row["hull_area"] == pytest.approx(0.2)
    corners = list(zip(row["hull_x"], row["hull_y"], strict=True))
    # Counter-clockwise as seen with y down, from the leftmost (then topmost) corner.
    assert corners == [(0.0, 0.0), (0.0, 0.5), (0.4, 0.5), (0.4, 0.0)]
    line = row_of(block(clicks=[(9, 0.2, 0.2)], trace=[(1, 0.0, 0.0), (2, 0.1, 0.1)]))
    assert (line["hull_x"], line["hull_area"]) == ([0.0, 0.2], 0)


def test_the_offset_is_taken_from_the_box_that_holds_the_click():
    # The click lies in the large box, though the small one's centre is nearer.
    boxes = [(0, 0, 100, 100), (72, 72, 74, 74)]
    table, _ = tables({"n1_1": xml("n1_1", [block(clicks=[(1, 0.7, 0.7)])], boxes, (100, 100))})
    x, y = click_offset(table)
    assert (x[0], y[0]) == (pytest.approx(0.2), pytest.approx(0.2))
    outside = xml(
        "n1_1", [block(clicks=[(1, 0.5, 0.5)])], [(60, 0, 80, 100), (0, 0, 9, 9)], (100, 100)
    )
    x, y = click_offset(tables({"n1_1": outside})[0])
    assert (x[0], y[0]) == (pytest.approx(-1.0), pytest.approx(0.0))


def test_a_picture_that_the_browser_turned_says_nothing_of_its_boxes():
    """A click in the turned picture, boxes of the picture as stored: which way it was turned is
    not in the log."""
    table = pa.table({"x": [0.2] * 3, "y": [0.9] * 3})
    width, height = (pa.array([side] * 3, pa.int32()) for side in (375, 500))
    boxes = pa.array([[[0.0, 0.0, 375.0, 500.0]]] * 3)
    logged = pa.array([500, 375, 0], pa.int32()), pa.array([375, 500, 0], pa.int32())
    found = click_in_box(table["x"], table["y"], width, height, boxes, *logged)
    assert found.to_pylist() == [None, True, True]
    names = ("final_click_x", "final_click_y", "width", "height", "boxes", "click_in_box")
    columns = (table["x"], table["y"], width, height, boxes, found)
    judged = pa.table(dict(zip(names, columns, strict=True)))
    # Nor has the click an offset from a box, of which statistics, annotators and calibration are.
    assert np.isnan(click_offset(judged)[0]).tolist() == [True, False, False]
    assert np.isnan(clicked_box(judged)[:, 0]).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "box", [(10, 20, 50, 80), (50, 20, 10, 80), (10, 80, 50, 20), (50, 80, 10, 20)]
)
def test_a_box_published_with_its_corners_swapped_is_the_same_box(box: tuple[int, ...]):
    far = [90.0, 90.0, 99.0, 99.0]
    table = pa.table(
        {
            "final_click_x": [0.2, 0.6, None],
            "final_click_y": [0.3, 0.3, None],
            "width": pa.array([100, 100, 100], pa.int32()),
            "height": pa.array([100, 100, 100], pa.int32()),
            "boxes": [[[float(v) for v in box], far]] * 3,
        }
    )
    columns = (table[name] for name in table.column_names)
    size = (table["width"], table["height"])
    assert click_in_box(*columns, *size).to_pylist() == [True, False, None]
    table = table.append_column("click_in_box", pa.array([True, False, None]))
    assert clicked_box(table)[:2].tolist() == [[10.0, 20.0, 50.0, 80.0]] * 2
    assert np.allclose(
        click_offset(table), [[-0.25, 0.75, np.nan], [-1 / 3] * 2 + [np.nan]], equal_nan=True
    )
    boxes, _ = boxes_of(table["boxes"])
    assert np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).tolist() == [2400.0, 81.0] * 3


def test_a_click_on_a_box_without_area_has_no_offset_on_either_axis():
    flat = xml("n1_1", [block(clicks=[(1, 0.5, 0.0)])], [(40, 0, 80, 0)], (100, 100))
    table, _ = tables({"n1_1": flat})
    assert table["click_in_box"].to_pylist() == [True]
    assert np.isnan(click_offset(table)).all()


# --- every derived column against the slow, obvious way -------------------------------------------


def reference(image: dict[str, Any], rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of `default` by plain Python from its image row and its `rounds` rows."""
    chosen = [r for r in rounds if r["selected"]] or rounds
    row = chosen[-1] if chosen else None
    out: dict[str, Any] = {"num_rounds": len(rounds), "selected": bool(row and row["selected"])}
    out["has_interaction"] = any(
        r["hovered_record_action"] or r["mouse_tracking_x"] or r["selected_record_x"]
        for r in rounds
    )
    if row is None:
        return out
    out["trace_length"] = len(row["mouse_tracking_x"])
    clicks = list(zip(*(row[f"selected_record_{c}"] for c in ("time_ms", "x", "y")), strict=True))
    hovers = list(zip(row["hovered_record_action"], row["hovered_record_time_ms"], strict=True))
    moments = [t for _, t in hovers] + row["mouse_tracking_time_ms"] + [c[0] for c in clicks]
    dwell = None
    for i, (action, time) in enumerate(hovers):
        if action == "enter":
            if i + 1 == len(hovers):
                end = max(moments)
            elif hovers[i + 1][0] == "leave":
                end = hovers[i + 1][1]
            else:
                times = row["mouse_tracking_time_ms"] + [c[0] for c in clicks]
                end = max([t for t in times if time <= t < hovers[i + 1][1]], default=time)
            dwell = (dwell or 0) + max(0, end - time)
    out["dwell_time_ms"] = dwell
    if not (row["selected"] and clicks):
        empty = (
            "final_click_x",
            "first_click_y",
            "trace_quantile_x",
            "time_quantile_y",
            "last_n_x",
        )
        return {**out, **dict.fromkeys(empty)}
    click_ms, x, _ = clicks[-1]
    out["final_click_x"], out["first_click_y"] = x, clicks[0][2]
    enters = [t for a, t in hovers if a == "enter" and t <= click_ms]
    start = max(enters) if enters else -(10**18)
    names = ("time_ms", "x", "y")
    trace = list(zip(*(row[f"mouse_tracking_{c}"] for c in names), strict=True))
    visit = [r for r in trace if start <= r[0] <= click_ms]
    m = len(visit)
    before = [r[1] for r in reversed(visit)][: LAST_N - 1]
    out["last_n_x"] = [x, *before] + [None] * (LAST_N - 1 - len(before))
    out["trace_quantile_x"] = out["time_quantile_y"] = None
    if m:
        out["trace_quantile_x"] = [visit[k * (m - 1) // 10][1] for k in range(11)]
        t0 = visit[0][0]
        picked = []
        for k in range(11):
            reached = [r for r in visit if 10 * (r[0] - t0) <= k * (click_ms - t0)]
            picked.append((reached[-1] if reached else visit[0])[2])
        out["time_quantile_y"] = picked
    return out


fraction = st.floats(-0.1, 1.1)
moment = st.integers(0, 60)
point = st.tuples(moment, fraction, fraction)
a_block = st.builds(
    block,
    selected=st.booleans(),
    clicks=st.lists(point, max_size=3),
    trace=st.lists(point, max_size=14) | st.lists(point, max_size=14).map(sorted),
    hovered=st.lists(st.tuples(st.sampled_from(["enter", "leave"]), moment), max_size=4),
    submit=st.integers(1, 3),
)


@given(st.lists(st.lists(a_block, max_size=3), min_size=1, max_size=4))
def test_every_column_equals_the_slow_reference(images: list[list[dict[str, Any]]]):
    logs = {f"n1_{i}": xml(f"n1_{i}", blocks) for i, blocks in enumerate(images)}
    table, rounds = tables(logs)
    by_image: dict[str, list[dict[str, Any]]] = {name: [] for name in logs}
    for row in rounds.to_pylist():
        by_image[row["image_id"]].append(row)
    for row in table.to_pylist():
        own = by_image[row["image_id"]]
        assert [r["round"] for r in own] == list(range(1, len(own) + 1))
        assert [r["hit_submit_time"] for r in own] == sorted(r["hit_submit_time"] for r in own)
        for name, value in reference(row, own).items():
            assert row[name] == value, name


@given(st.lists(st.lists(a_block, max_size=2), min_size=2, max_size=5), st.integers(1, 4))
def test_an_image_does_not_depend_on_its_neighbours(images: list[list[dict[str, Any]]], cut: int):
    logs = {f"n1_{i}": xml(f"n1_{i}", blocks) for i, blocks in enumerate(images)}
    whole = tables(logs)[0].to_pylist()
    names = list(logs)
    apart = [
        row
        for part in (names[:cut], names[cut:])
        if part
        for row in tables({n: logs[n] for n in part})[0].to_pylist()
    ]
    assert apart == whole


def test_times_as_large_as_a_parser_lets_in_do_not_overflow():
    most = 10**18 - 1
    trace = [(-most, 0.1, 0.1), (0, 0.2, 0.2), (most // 2, 0.3, 0.3)]
    row = row_of(block(clicks=[(most, 0.5, 0.5)], trace=trace))
    assert row["time_quantile_x"] == [0.1] * 5 + [0.2] * 3 + [0.3] * 3


def test_every_visit_may_have_lost_its_leave():
    hovered = [("enter", 100 * i) for i in range(5)]
    trace = [(0, 0.1, 0.1), (30, 0.1, 0.1), (210, 0.1, 0.1), (299, 0.1, 0.1), (300, 0.1, 0.1)]
    found = row_of(block(hovered=hovered, trace=trace, clicks=[(130, 0.1, 0.1), (420, 0.1, 0.1)]))
    assert found["dwell_time_ms"] == 30 + 30 + 99 + 0 + 20


@pytest.mark.skipif(not TINY.is_file(), reason="needs ../shared/data")
def test_every_column_of_a_simulated_release_equals_the_slow_reference():
    with Source(TINY) as source:
        records = [parse(m.name, m.body) for m in islice(members(source), 400)]
    batch = to_batch(records, lambda worker: worker)
    rounds = order_rounds(batch.images["image_id"], batch.rounds)
    by_image: dict[str, list[dict[str, Any]]] = {}
    for row in rounds.table.to_pylist():
        by_image.setdefault(row["image_id"], []).append(row)
    table = image_table(batch.images, rounds).to_pylist()
    assert len(table) == len(records)
    for row in table:
        for name, value in reference(row, by_image.get(row["image_id"], [])).items():
            assert row[name] == value, name
