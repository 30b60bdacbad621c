"""Rounds of one page as events in page px and order of time; which pages are chosen."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luab_data.errors import OptionError
from luab_data.reports.drawn import drawn, marks, paths, script_json, visits
from luab_data.reports.pages import asked, choose, coco_pages, imagenet_pages
from luab_data.reports.replay import ORDER, Event, coco_replay, imagenet_replay
from luab_data.schema import COCO_ACTIONS, IMAGENET_ROUNDS

START = 1_640_000_000_000


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
    replay = imagenet_replay(rounds(B, A))
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
    trail, jumps = paths(imagenet_replay(rounds(A, B)).events)
    assert trail == "M10 70L110 70M110 300L110 350L110 350M210 20L60 120L60 120"
    assert jumps == "M110 70L110 300M110 350L210 20"
    assert visits(imagenet_replay(rounds(A, B)).events) == ((0, 20), (20, 40), (70, 20))


def test_a_picture_entered_again_starts_a_new_stretch():
    row = shown(
        "a", 0, at=(0, 0), hovered=[(0, "enter"), (5, "leave"), (50, "enter")],
        trace=[(0, 0, 0), (5, 0.5, 0), (50, 1, 1), (60, 0, 1)],
    )  # fmt: skip
    trail, jumps = paths(imagenet_replay(rounds(row)).events)
    assert trail == "M0 0L100 0M200 100L0 100"
    assert jumps == "M100 0L200 100"


def test_a_visit_that_lost_its_leave_ends_with_the_next_one_or_the_page():
    events = [Event(0, "enter", 0), Event(30, "enter", 1), Event(50, "move", 1, 1.0, 1.0)]
    assert visits(events) == ((0, 30), (30, 20))


def test_a_picture_without_a_place_or_size_is_left_out_with_its_events():
    never = shown("c", 7, at=(0, 0), trace=[(5, 0.5, 0.5)], image_width=0, image_height=0)
    nowhere = shown("d", 8, at=(0, 0), clicks=[(6, 0.5, 0.5)], image_position_y=None)
    replay = imagenet_replay(rounds(A, never, B, nowhere))
    assert replay.num_left_out == 2
    assert replay.events == imagenet_replay(rounds(A, B)).events
    assert "2 never loaded" in drawn(replay, title="", why="", sources={}).facts[-1]


def test_a_width_that_copies_the_height_is_mended_by_the_files_shape():
    # raw-formats.md: original 500 x 296, on the page 192 high; the log says 192 wide.
    row = shown(
        "a", 0, at=(0, 0), image_width=192, image_height=192, original_image_width=500,
        original_image_height=296, clicks=[(0, 0.5, 0.5)],
    )  # fmt: skip
    (picture,) = imagenet_replay(rounds(row)).pictures
    assert (picture.w, picture.h) == (pytest.approx(192 * 500 / 296), 192)


def test_records_without_time_or_point_are_left_out_and_empty_traces_are_fine():
    broken = shown(
        "a", 0, at=(0, 0), trace=[(None, 0.1, 0.1), (3, None, 0.1), (4, math.nan, 0.2)],
        hovered=[(None, "enter")], clicks=[(9, 0.5, 0.5)],
    )  # fmt: skip
    replay = imagenet_replay(rounds(broken, shown("b", 1, at=(0, 200), selected=False)))
    assert [(e.time_ms, e.kind) for e in replay.events] == [(0, "click")]
    assert replay.duration_ms == 0
    nothing = imagenet_replay(rounds(shown("b", 1, at=(0, 200))))
    assert nothing.events == ()
    assert nothing.as_dict()["duration"] == 0
    assert imagenet_replay(rounds()).pictures == ()


def test_the_view_holds_all_pictures_and_json_keeps_what_the_page_plays():
    replay = imagenet_replay(rounds(A, B))
    left, top, width, height = replay.view
    assert left < 10 and top < 20 and left + width > 210 and top + height > 400
    found = json.loads(script_json(replay.as_dict()))
    assert found["events"][0] == [0, "enter", 0]
    assert found["events"][1] == [0, "move", 0, 10.0, 70.0]
    assert found["pictures"][1]["image_id"] == "b"


def test_a_hostile_id_ends_no_script():
    hostile = "</script><b>&<!--"
    text = script_json(imagenet_replay(rounds({**A, "image_id": hostile})).as_dict())
    assert not set(text) & set("<>&")
    assert json.loads(text)["pictures"][0]["image_id"] == hostile


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 50), st.floats(-0.1, 1.1), st.floats(-0.1, 1.1)), max_size=8
        ),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_every_record_is_an_event_once_and_time_never_runs_back(traces: list[Any]):
    rows = [shown(str(k), k, at=(0, 300 * k), trace=trace) for k, trace in enumerate(traces)]
    events = imagenet_replay(rounds(*rows)).events
    start = min((t for trace in traces for t, *_ in trace), default=0)
    slow = sorted(
        (t - start, k, round(200 * x, 6), round(300 * k + 100 * y, 6))
        for k, trace in enumerate(traces) for t, x, y in trace
    )  # fmt: skip
    assert sorted((e.time_ms, e.picture, round(e.x, 6), round(e.y, 6)) for e in events) == slow
    keys = [(e.time_ms, ORDER.index(e.kind)) for e in events]
    assert keys == sorted(keys)
    trail, jumps = paths(events)
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


ADD_MOVE_REMOVE = (
    (100, "add", "dog", 0.5, 0.5),
    (300, "move", "dog", 0.25, 0.5),
    (300, "add", "cat", 0.0, 1.0),
    (900, "remove", "dog", None, None),
)


def test_icons_are_added_moved_and_removed_in_px_of_the_page():
    replay = coco_replay(
        actions(
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
    assert [(m.name, m.past) for m in marks(replay.events)] == [
        *(("dog", True), ("dog", True), ("cat", False)),
    ]
    assert script_json(replay.as_dict()).count('[850,"remove",0,null,null,"dog"]') == 1


@pytest.mark.parametrize(
    ("logged", "size", "width"),
    [
        pytest.param((640, 480), None, 600.0, id="as logged"),
        pytest.param((0, 0), (200, 100), 900.0, id="logged as 0, known from the instances"),
        pytest.param((0, 0), (None, None), 450.0, id="unknown: a square"),
        pytest.param((None, None), None, 450.0, id="null"),
    ],
)
def test_the_width_on_the_page_follows_from_the_files_shape(logged: Any, size: Any, width: float):
    table = actions(original_image_width=logged[0], original_image_height=logged[1])
    replay = coco_replay(table, size=size)
    assert (replay.pictures[0].w, replay.pictures[0].h) == (width, 450.0)
    assert replay.events == ()


# --- the choice ----------------------------------------------------------------------------------


def chosen(table: pa.Table, number: int, **other: Any) -> list[tuple[Any, ...]]:
    return [(*c.key, c.why) for c in choose(table, "imagenet-ab", number, **other)]


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
    whole = imagenet_pages([table])
    assert chosen(whole, 4, flagged=["nobody", "v"]) == expected
    assert chosen(whole, 2) == expected[:2]
    assert len(chosen(whole, 9)) <= 5
    assert chosen(whole, 0) == chosen(imagenet_pages([]), 4) == []
    in_pieces = imagenet_pages([table.slice(9), table.slice(0, 4), table.slice(4, 5)])
    assert in_pieces.equals(whole)


def test_a_page_that_is_several_things_is_shown_once():
    (only,) = chosen(imagenet_pages([rounds(*page_of("A", 2))]), 4)
    assert only == ("A", 0, "the most pictures logged, a median page")


def test_pages_whose_pictures_never_loaded_are_not_chosen():
    rows = [*page_of("A", 3, image_width=0), *page_of("B", 1)]
    assert [c[0] for c in chosen(imagenet_pages([rounds(*rows)]), 4)] == ["B"]


def test_images_of_coco_are_chosen_by_their_icon_actions():
    table = pa.concat_tables(
        [actions(image_id=1), actions(*ADD_MOVE_REMOVE[:2], image_id=2),
         actions(*ADD_MOVE_REMOVE, image_id=3), actions(*ADD_MOVE_REMOVE[:1], image_id=4)]
    )  # fmt: skip
    found = choose(coco_pages([table]), "coco-ab", 3)
    assert [c.key for c in found] == [(3,), (2,), (4,)]
    assert found[0].why == "the most icon actions, the most removals"


def test_a_page_is_named_by_assignment_and_number_or_by_image():
    assert [c.key for c in asked(["3A:7", "a:b:0"], "imagenet-ab")] == [("3A", 7), ("a:b", 0)]
    assert [c.key for c in asked(["000009"], "coco-ab")] == [(9,)]
    for page in ("3A", "3A:", ":1", "3A:x", "3A:٣"):
        with pytest.raises(OptionError, match="expected ASSIGNMENT:PAGE"):
            asked([page], "imagenet-ab")
    for page in ("3A:0", "-1", ""):
        with pytest.raises(OptionError, match="expected the number of a COCO image"):
            asked([page], "coco-ab")
