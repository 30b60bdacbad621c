"""Rounds of one page as events in page px and order of time; which pages are chosen."""

from __future__ import annotations

import json
import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luab_data import kinds
from luab_data.reports import candidates, choose
from luab_data.reports.browsing import BrowsingPages
from luab_data.reports.pages import (
    ORDER,
    Event,
    PageReader,
    Picture,
    Replay,
    visits_of,
)
from luab_data.reports.svg import empty_slots, for_player, marks_of, path_of, svg
from luab_data.reports.tagging import TaggingPages
from luab_data.reports.tagging import page_of as page_of_icons
from luab_data.schema import COCO_ACTIONS, IMAGENET_ROUNDS
from luab_data.tools import COCO_CLASSES

START = 1_640_000_000_000


def tagging_page(row: dict[str, Any], image: dict[str, Any] | None = None) -> Replay:
    return page_of_icons(row, image or {}, COCO_CLASSES)


def shown(image_id: str, slot: int, *, at: tuple[float, float], **other: Any) -> dict[str, Any]:
    """One row of `rounds`: a picture of 200 x 100 px; times are ms from START."""
    row: dict[str, Any] = dict.fromkeys(IMAGENET_ROUNDS.schema().names)
    row |= {
        **{"image_id": image_id, "image_idx": slot, "selected": True},
        **{"image_position_x": at[0], "image_position_y": at[1]},
        **{"image_width": 200, "image_height": 100},
        **{"original_image_width": 400, "original_image_height": 200},
        **{"assignment_id": "3A", "page_idx": 0, "worker_id": "w"},
    }
    columns = {"hovered": "hovered_record", "trace": "mouse_tracking", "clicks": "selected_record"}
    for name, column in columns.items():
        records = other.pop(name, [])
        row[f"{column}_time_ms"] = [None if t is None else START + t for t, *_ in records]
        if name == "hovered":
            row["hovered_record_action"] = [action for _, action in records]
        else:
            for axis, place in (("x", 1), ("y", 2)):
                row[f"{column}_{axis}"] = [record[place] for record in records]
    return {**row, **other}


def rows(*found: dict[str, Any]) -> list[dict[str, Any]]:
    return rounds(*found).to_pylist()


def rounds(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), IMAGENET_ROUNDS.schema())


# Two pictures: A at (10, 20), B at (10, 300). The pointer enters A, passes to B, clicks there,
# comes back to A and clicks.
A = shown(
    "a", 0, at=(10, 20),
    hovered=[(0, "enter"), (20, "leave"), (70, "enter"), (90, "leave")],
    trace=[(0, 0.0, 0.5), (10, 0.5, 0.5), (70, 1.0, 0.0), (80, 0.25, 1.0)],
    clicks=[(80, 0.25, 1.0)],
)  # fmt: skip
B = shown(
    "b", 4, at=(10, 300),
    hovered=[(20, "enter"), (60, "leave")],
    trace=[(20, 0.5, 0.0), (40, 0.5, 0.5)],
    clicks=[(40, 0.5, 0.5)],
)  # fmt: skip


def test_events_come_in_order_of_time_and_in_px_of_the_page():
    replay = browsing_page(rows(B, A))
    assert [p.image_id for p in replay.pictures] == ["a", "b"]
    assert [(e.time_ms, e.kind, e.picture) for e in replay.events] == [
        *((0, "enter", 0), (0, "move", 0), (10, "move", 0)),
        *((20, "enter", 1), (20, "move", 1), (20, "leave", 0)),
        *((40, "move", 1), (40, "click", 1), (60, "leave", 1)),
        *((70, "enter", 0), (70, "move", 0), (80, "move", 0), (80, "click", 0), (90, "leave", 0)),
    ]
    points = [(e.x, e.y) for e in replay.events if e.kind == "click"]
    assert points == [(110.0, 350.0), (60.0, 120.0)]
    assert replay.duration_ms == 90
    assert all(math.isnan(e.x) for e in replay.events if e.kind in ("enter", "leave"))


def test_the_path_breaks_between_pictures_and_the_timeline_shows_the_visits():
    events = browsing_page(rows(A, B)).events
    _, trail, jumps = path_of(events)
    assert trail == "M10 70L110 70M110 300L110 350L110 350M210 20L60 120L60 120"
    assert jumps == "M110 70L110 300M110 350L210 20"
    assert visits_of(events) == ((0, 20), (20, 40), (70, 20))


def test_a_picture_entered_again_starts_a_new_stretch():
    row = shown(
        "a", 0, at=(0, 0), hovered=[(0, "enter"), (5, "leave"), (50, "enter")],
        trace=[(0, 0, 0), (5, 0.5, 0), (50, 1, 1), (60, 0, 1)],
    )  # fmt: skip
    replay = browsing_page(rows(row))
    assert path_of(replay.events)[1:] == ("M0 0L100 0M200 100L0 100", "M100 0L200 100")
    played = json.loads(for_player(replay))["events"]
    assert [event[-1] for event in played if event[1] == "move"] == [1, 0, 1, 0]


def test_a_visit_that_lost_its_leave_ends_with_the_next_one_or_the_page():
    events = [Event(0, "enter", 0), Event(30, "enter", 1), Event(50, "move", 1, 1.0, 1.0)]
    replay = Replay(pictures=(), events=tuple(events), is_grid=True)
    assert visits_of(replay.events) == ((0, 30), (30, 20))


def test_a_picture_without_a_place_or_size_is_left_out_with_its_events():
    never = shown("c", 7, at=(0, 0), trace=[(5, 0.5, 0.5)], image_width=0, image_height=0)
    nowhere = shown("d", 8, at=(0, 0), clicks=[(6, 0.5, 0.5)], image_position_y=None)
    replay = browsing_page(rows(A, never, B, nowhere))
    assert replay.num_left_out == 2
    assert replay.events == browsing_page(rows(A, B)).events


def test_a_width_that_copies_the_height_is_mended_by_the_files_shape():
    # As released: original 500 x 296, on the page 192 high; the log says 192 wide.
    row = shown(
        "a", 0, at=(0, 0), image_width=192, image_height=192, original_image_width=500,
        original_image_height=296, clicks=[(0, 0.5, 0.5)],
    )  # fmt: skip
    (picture,) = browsing_page(rows(row)).pictures
    assert (picture.w, picture.h) == (pytest.approx(192 * 500 / 296), 192)


def test_records_without_time_or_point_are_left_out_and_empty_traces_are_fine():
    broken = shown(
        "a", 0, at=(0, 0), trace=[(None, 0.1, 0.1), (3, None, 0.1), (4, math.nan, 0.2)],
        hovered=[(None, "enter")], clicks=[(9, 0.5, 0.5)],
    )  # fmt: skip
    replay = browsing_page(rows(broken, shown("b", 1, at=(0, 200), selected=False)))
    assert [(e.time_ms, e.kind) for e in replay.events] == [(0, "click")]
    assert replay.duration_ms == 0
    nothing = browsing_page(rows(shown("b", 1, at=(0, 200))))
    assert nothing.events == ()
    assert json.loads(for_player(nothing))["duration"] == 0
    assert browsing_page(rows()).pictures == ()


def test_the_view_holds_all_pictures_and_json_keeps_what_the_page_plays():
    replay = browsing_page(rows(A, B))
    left, top, width, height = replay.view
    assert left < 10 and top < 20 and left + width > 210 and top + height > 400
    found = json.loads(for_player(replay))
    assert found["events"][0] == [0, "enter", 0, None, None, "", 0]
    assert found["events"][1] == [0, "move", 0, 10.0, 70.0, "", 1]
    assert found["selected"] == [True, True] and found["grid"]


HOSTILE = "</script><b>&<!--'\""


def test_a_hostile_name_ends_no_script_and_no_attribute():
    text = for_player(tagging_page(action_row((0, "add", HOSTILE, 0.5, 0.5))))
    assert not set(text) & set("<>&")
    assert json.loads(text)["events"][0][5] == HOSTILE
    drawing = svg(browsing_page(rows({**A, "image_id": HOSTILE})), alt=HOSTILE)
    assert ElementTree.fromstring(drawing).get("aria-label") == HOSTILE and "<b>" not in drawing


def test_a_file_of_its_own_brings_size_and_colours():
    drawing = svg(browsing_page(rows(A, B)), alt="", standalone=True)
    root = ElementTree.fromstring(drawing)
    style = root.find("{*}style")
    assert style is not None and style.text and "var(" not in style.text
    assert (root.get("width"), root.get("height")) == ("248", "428")
    assert len(root.findall(".//{*}g[@class='picture selected']")) == 2
    clicks = [g.get("transform") for g in root.findall(".//{*}g[@class='mark click']")]
    assert clicks == ["translate(110 350)", "translate(60 120)"]


@pytest.mark.parametrize("far", [1e308, -1e9, math.inf])
def test_what_lies_on_no_screen_is_left_out(far: float):
    row = shown("a", 0, at=(0, 0), trace=[(0, far, 0.5), (5, 0.5, 0.5)], clicks=[(9, 0.5, far)])
    lost = shown("b", 1, at=(far, 0), trace=[(2, 0.5, 0.5)])
    replay = browsing_page(rows(row, lost))
    assert [(e.time_ms, e.kind) for e in replay.events] == [(0, "move")]
    assert replay.num_left_out == 1
    for_player(replay)
    icons = tagging_page(action_row((0, "add", "dog", far, 0.5), (5, "add", "cat", 0.5, 0.5)))
    assert [e.name for e in icons.events] == ["cat"]


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 50), st.floats(-0.1, 1.1), st.floats(-0.1, 1.1)), max_size=8
        ),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_every_record_is_an_event_once_and_time_never_runs_back(traces: list[Any]):
    found_rows = [shown(str(k), k, at=(0, 300 * k), trace=trace) for k, trace in enumerate(traces)]
    events = browsing_page(rows(*found_rows)).events
    start = min((t for trace in traces for t, *_ in trace), default=0)
    slow = sorted(
        (t - start, k, round(200 * x, 6), round(300 * k + 100 * y, 6))
        for k, trace in enumerate(traces) for t, x, y in trace
    )  # fmt: skip
    assert sorted((e.time_ms, e.picture, round(e.x, 6), round(e.y, 6)) for e in events) == slow
    keys = [(e.time_ms, ORDER.index(e.kind)) for e in events]
    assert keys == sorted(keys)
    _, trail, jumps = path_of(events)
    assert trail.count("M") + trail.count("L") == len(events)
    assert jumps.count("M") == max(trail.count("M") - 1, 0)


# --- COCO ----------------------------------------------------------------------------------------


def actions(*steps: tuple[int, str, str, float | None, float | None], **other: Any) -> pa.Table:
    """One row of `actions`: an image of 640 x 480 px."""
    row: dict[str, Any] = dict.fromkeys(COCO_ACTIONS.schema().names)
    row |= {
        **{"image_id": 9, "original_image_width": 640, "original_image_height": 480},
        **{"image_width": 450, "image_height": 450, "worker_id": "w"},
    }
    names = ("time_at_ms", "action_type", "icon_type", "point_to_x", "point_to_y")
    for place, name in enumerate(names):
        row[f"action_histories_{name}"] = [step[place] for step in steps]
    return pa.Table.from_pylist([{**row, **other}], COCO_ACTIONS.schema())


def action_row(*steps: Any, **other: Any) -> dict[str, Any]:
    (row,) = actions(*steps, **other).to_pylist()
    return row


ADD_MOVE_REMOVE = (
    (100, "add", "dog", 0.5, 0.5),
    (300, "move", "dog", 0.25, 0.5),
    (300, "add", "cat", 0.0, 1.0),
    (900, "remove", "dog", None, None),
)


def test_icons_are_added_moved_and_removed_in_px_of_the_page():
    replay = tagging_page(
        action_row(
            *ADD_MOVE_REMOVE,
            mouse_tracking_x=[0.0, 1.0], mouse_tracking_y=[0.0, 0.5],
            mouse_tracking_time_at_ms=[50, 950],
            category_histories_category_name=["Animal"], category_histories_time_at_ms=[60],
        )
    )  # fmt: skip
    assert [(e.time_ms, e.kind, e.name) for e in replay.events] == [
        *((0, "move", ""), (10, "category", "Animal"), (50, "add", "dog"), (250, "shift", "dog")),
        *((250, "add", "cat"), (850, "remove", "dog"), (900, "move", "")),
    ]
    assert [(e.x, e.y) for e in replay.events if e.name and e.x == e.x] == [
        *((300.0, 225.0), (150.0, 225.0), (0.0, 450.0)),
    ]
    assert [(m.name, m.event, m.until) for m in marks_of(replay.events)] == [
        *(("dog", 2, 3), ("dog", 3, 5), ("cat", 4, None)),
    ]
    text = for_player(replay)
    assert text.count('[850,"remove",0,null,null,"dog",0]') == 1


def test_boxes_are_shown_sorted_and_those_of_classes_without_an_icon_are_missed():
    image = {
        "width": 640, "height": 480, "boxes": [[320, 240, 0, 0], [64, 48, 128, 96]],
        "box_label": [16, 15],
    }  # fmt: skip
    replay = tagging_page(action_row(*ADD_MOVE_REMOVE), image)
    assert [(b.name, b.is_missed) for b in replay.pictures[0].boxes] == [
        *(("dog", True), ("cat", False)),  # the dog was removed at the end
    ]
    assert replay.pictures[0].boxes[0][:4] == (0, 0, 0.5, 0.5)
    assert svg(replay, alt="").count("box missed") == 1
    turned = actions(*ADD_MOVE_REMOVE, original_image_width=480, original_image_height=640)
    (other,) = tagging_page(*turned.to_pylist(), image).pictures
    assert other.boxes == ()  # of the picture as stored, which nobody saw


@pytest.mark.parametrize(
    ("logged", "size", "width"),
    [
        pytest.param((640, 480), None, 600.0, id="as logged"),
        pytest.param((0, 0), (200, 100), 900.0, id="logged as 0, known from the instances"),
        pytest.param((480, 640), (640, 480), 337.5, id="turned by the browser: as it was shown"),
        pytest.param((0, 0), (None, None), 450.0, id="unknown: a square"),
        pytest.param((None, None), None, 450.0, id="null"),
    ],
)
def test_the_width_on_the_page_follows_from_the_files_shape(logged: Any, size: Any, width: float):
    table = actions(original_image_width=logged[0], original_image_height=logged[1])
    image = dict(zip(("width", "height"), size, strict=True)) if size else None
    replay = tagging_page(*table.to_pylist(), image)
    assert (replay.pictures[0].w, replay.pictures[0].h) == (width, 450.0)
    assert replay.events == ()


# --- the choice ----------------------------------------------------------------------------------


BROWSING: PageReader = BrowsingPages()
TAGGING: PageReader = TaggingPages(kinds.TAGGING)
browsing_page = BrowsingPages().page_of


def chosen(table: pa.Table, number: int, **other: Any) -> list[tuple[Any, ...]]:
    return [(*key, why) for key, why in choose(BROWSING, table, number, **other).items()]


def page_of(name: str, pictures: int, *, worker: str = "w", **other: Any) -> list[dict[str, Any]]:
    facts = {"assignment_id": name, "worker_id": worker, **other}
    return [shown(f"{name}{k}", k, at=(0, 300 * k), **facts) for k in range(pictures)]


def test_the_choice_is_the_largest_the_median_the_undone_and_a_flagged_one():
    undone = shown("x", 9, at=(0, 0), assignment_id="B", selected=False,
                   clicks=[(0, 0.5, 0.5), (5, 0.5, 0.5)])  # fmt: skip
    rows = [
        *page_of("A", 5), *page_of("B", 1), undone, *page_of("C", 3), *page_of("D", 1, worker="v"),
        *page_of("E", 4),
    ]  # fmt: skip
    expected = [
        ("A", 0, "the most pictures logged"), ("C", 0, "a median page"),
        ("B", 0, "the most deselections"), ("D", 0, "by a flagged annotator"),
    ]  # fmt: skip
    table = rounds(*rows)
    whole = candidates(BROWSING, [table])
    assert chosen(whole, 4, flagged=["nobody", "v"]) == expected
    assert chosen(whole, 2) == expected[:2]
    assert len(chosen(whole, 9)) <= 5
    assert chosen(whole, 0) == chosen(candidates(BROWSING, []), 4) == []
    in_pieces = candidates(BROWSING, [table.slice(9), table.slice(0, 4), table.slice(4, 5)])
    assert in_pieces.equals(whole)


def test_a_page_that_is_several_things_is_shown_once():
    (only,) = chosen(candidates(BROWSING, [rounds(*page_of("A", 2))]), 4)
    assert only == ("A", 0, "the most pictures logged, a median page")


def test_pages_whose_pictures_never_loaded_are_not_chosen():
    rows = [*page_of("A", 3, image_width=0), *page_of("B", 1)]
    assert [c[0] for c in chosen(candidates(BROWSING, [rounds(*rows)]), 4)] == ["B"]


def test_images_of_coco_are_chosen_by_their_icon_actions():
    table = pa.concat_tables(
        [actions(image_id=1), actions(*ADD_MOVE_REMOVE[:2], image_id=2),
         actions(*ADD_MOVE_REMOVE, image_id=3), actions(*ADD_MOVE_REMOVE[:1], image_id=4)]
    )  # fmt: skip
    found = choose(TAGGING, candidates(TAGGING, [table]), 3)
    assert [*found] == [(3,), (2,), (4,)]
    assert found[3,] == "the most icon actions, the most removals"


# --- slots that were not logged -------------------------------------------------------------------


def pictures_at(slot: Any, frame: Any) -> list[Picture]:
    """Pictures of a page by their slots, (n,), and left, top, width, height, (n, 4)."""
    return [
        Picture(slot=int(k), x=x, y=y, w=w, h=h, image_id=f"n1_{k}")
        for k, (x, y, w, h) in zip(slot, np.asarray(frame, float).tolist(), strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.sets(st.integers(0, 47), min_size=1, max_size=30), st.randoms())
def test_slots_that_were_not_logged_are_where_they_would_be(
    num_columns: int, logged: set[int], rng: Any
):
    slot = np.array(sorted(logged))
    at = np.column_stack([80 + 340 * (slot % num_columns), 400.5 + 260 * (slot // num_columns)])
    size = np.array([[rng.randint(150, 340), rng.randint(150, 340)] for _ in slot])
    found = empty_slots(pictures_at(slot, np.column_stack([at, size])))
    if len(found):
        missing = np.setdiff1d(np.arange(48), slot)
        expected = [80 + 340 * (missing % num_columns), 400.5 + 260 * (missing // num_columns)]
        np.testing.assert_allclose(found[:, :2], np.column_stack(expected), atol=1e-6)
        assert (found[:, 2] <= 340).all() and (found[:, 3] <= 260).all()
    if {0, num_columns + 1, 2 * num_columns, 3 * num_columns + 1, 12, 17, 31} <= logged:
        assert len(found)


def test_a_clear_grid_is_filled_and_an_unclear_one_is_not():
    slot = np.array([0, 1, 2, 3, 9, 14, 20, 39, 47])
    frame = np.column_stack([80 + 340.0 * (slot % 4), 260.0 * (slot // 4), *np.full((2, 9), 200)])
    assert len(empty_slots(pictures_at(slot, frame))) == 39
    assert not len(empty_slots(pictures_at(slot[:3], frame[:3])))  # one row: any number of columns
    frame[4, 0] += 25  # the page was laid out anew while pictures came in
    assert not len(empty_slots(pictures_at(slot, frame)))
