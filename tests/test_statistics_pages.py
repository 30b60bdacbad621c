from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from planted import batch, taken

from luab_data.schema import IMAGENET_ROUNDS
from luab_data.statistics import imagenet_pages as pages
from luab_data.statistics.estimate import Estimate, Terms
from luab_data.statistics.imagenet import IMAGENET_STATISTICS
from luab_data.statistics.imagenet_pages import (
    RoundBatch,
    grid_columns,
    hit_spans,
    page_spans,
    serpentine_place,
    slim_rounds,
)


def shown(
    slot: int = 0, *, page: int | None = 0, hit: str = "A", worker: str = "w", **more: Any
) -> dict[str, Any]:
    """One picture shown to one worker."""
    row: dict[str, Any] = {name: None for name in RoundBatch.columns}
    lists = {f.name: [] for f in IMAGENET_ROUNDS.schema() if pa.types.is_list(f.type)}
    row |= {name: [] for name in RoundBatch.columns if name in lists}
    row |= {"worker_id": worker, "assignment_id": hit, "page_idx": page, "image_idx": slot}
    row |= {"round": 1, "selected": False, "hit_submit_time": 100, "estimate_time_ms": 0}
    return {**row, **more}


def entered(slot: int, at: int, **more: Any) -> dict[str, Any]:
    """A picture that the cursor came over at some ms."""
    return shown(slot, hovered_record_action=["enter"], hovered_record_time_ms=[at], **more)


def rows(*given: dict[str, Any]) -> RoundBatch:
    fields = {f.name: f for f in IMAGENET_ROUNDS.schema()}
    return RoundBatch(
        pa.table({n: pa.array([r[n] for r in given], fields[n].type) for n in RoundBatch.columns})
    )


def traced(
    xs: list[float], ys: list[float], *, selected: bool = False, left: bool = True
) -> dict[str, Any]:
    actions = ["enter", "leave"] if left else ["enter"]
    return shown(
        selected=selected,
        mouse_tracking_x=xs,
        mouse_tracking_y=ys,
        mouse_tracking_time_ms=list(range(len(xs))),
        hovered_record_action=actions,
        hovered_record_time_ms=list(range(len(actions))),
    )


def mean(terms: Terms, num_cells: int = 1) -> list[float]:
    cell = np.zeros(len(terms.row), int) if terms.cell is None else terms.cell
    part, whole = (np.bincount(cell, v, num_cells) for v in (terms.part, terms.whole))
    return (part / whole).tolist()


def measured(found: RoundBatch, *names: str) -> dict[str, Estimate]:
    return taken(IMAGENET_STATISTICS, {"rounds": [found.table]}, *names)


def whole(*batches: RoundBatch) -> pa.Table:
    return pa.concat_tables(map(slim_rounds, batches)).unify_dictionaries()


def test_selection_is_counted_by_round_over_the_pictures_shown():
    found = rows(
        shown(selected=True), shown(), shown(round=2, selected=True), shown(round=3, selected=True)
    )
    by_round = measured(found, "selected_share_by_round", "selected_second_less_first")
    # A third showing is in neither.
    assert by_round["selected_share_by_round"].value.tolist() == [0.5, 1.0]
    assert by_round["selected_second_less_first"].value == 0.5


def test_shares_of_all_images_by_deciding_round_add_up_to_the_selected():
    """As the paper's 71.8 + 14.9 = 86.7."""
    images = batch(
        selected=[True, True, False, True],
        selected_round=[1, 2, None, 1],
        has_interaction=[True, True, True, False],
    )
    names = ("decided_by_round", "selected_share", "coverage")
    found = taken(IMAGENET_STATISTICS, {"default": [images.table]}, *names)
    assert found["decided_by_round"].value.tolist() == [0.5, 0.25]
    assert found["selected_share"].value == found["coverage"].value == 0.75


def test_revisits_and_passing_over_follow_from_enters():
    twice = shown(
        hovered_record_action=["enter", "leave", "enter"], hovered_record_time_ms=[1, 2, 3]
    )
    found = rows(twice, entered(1, 5), shown(2), shown(3, selected=True))
    assert found.enters.tolist() == [2, 1, 0, 0]
    shares = measured(found, "revisited_share", "passed_over_share")
    assert shares["revisited_share"].value == 0.5
    assert shares["passed_over_share"].value == pytest.approx(2 / 3)


def test_times_of_0_are_none():
    found = rows({**entered(0, 1), "estimate_time_ms": 70}, shown(1, estimate_time_ms=0))
    assert measured(found, "estimate_time_ms")["estimate_time_ms"].n == 1


def test_sides_are_the_nearest_of_first_and_last_record():
    found = rows(
        traced([0.1, 0.9], [0.5, 0.6]),  # in by the left, out by the right
        traced([0.5, 0.5], [0.02, 0.9]),  # in by the top, out by the bottom
        traced([0.5, 0.4], [0.9, 0.4], selected=True),  # in by the bottom; how it left is unknown
        traced([0.95, 0.4], [0.5, 0.4], left=False),  # in by the right; never left
    )
    into, out = pages.entry_side(found), pages.exit_side(found)
    assert into.cell is not None
    assert out.cell is not None
    assert [pages.SIDES_OF_PICTURE[c] for c in into.cell] == ["left", "top", "bottom", "right"]
    assert [pages.SIDES_OF_PICTURE[c] for c in out.cell] == ["right", "bottom"]
    assert out.row.tolist() == [0, 1]


def test_slots_and_pages_beyond_the_tools_are_left_out():
    found = rows(shown(47, page=9, selected=True), shown(48, page=10))
    for name in ("selected_share_by_slot", "selected_share_by_page"):
        n = measured(found, name)[name].n
        assert (n[-1], n.sum()) == (1, 1)


def test_serpentine_places_turn_around_in_every_second_row():
    assert serpentine_place(np.arange(9)).tolist() == [0, 1, 2, 5, 4, 3, 6, 7, 8]


def order(*slots: int) -> pages.Steps:
    """The steps of one page on which these slots are entered one after the other."""
    given = [entered(slot, 10 * place) for place, slot in enumerate(slots)]
    return pages.steps(whole(rows(*given[1::2]), rows(*given[::2])))


def test_a_serpentine_path_goes_forward_in_serpentines_and_left_in_odd_rows():
    steps = order(0, 1, 2, 5, 4, 3, 6, 7, 8)
    assert mean(pages.serpentine_forward(steps)) == [1.0]
    assert mean(steps.forward(steps.start, steps.end)) == [0.75]  # 5 -> 4 -> 3 go back
    assert mean(pages.leftward_by_row(steps), 2) == [1.0, 0.0]


def test_a_reading_path_goes_forward_in_reading_order_alone():
    steps = order(0, 1, 2, 3, 4, 5)
    assert mean(steps.forward(steps.start, steps.end)) == [1.0]
    assert mean(pages.serpentine_forward(steps)) == [0.6]
    assert mean(pages.leftward_by_row(steps), 2) == [0.0, 0.0]


def test_steps_do_not_cross_pages_hits_or_pictures_never_entered():
    shown_once = whole(
        rows(
            entered(0, 10),
            entered(1, 20),
            entered(2, 30, page=1),
            entered(3, 40, hit="B"),
            shown(4),
        )
    )
    steps = pages.steps(shown_once)
    assert (steps.start.tolist(), steps.end.tolist()) == ([0], [1])


def test_steps_do_not_go_from_the_page_of_one_hit_to_the_same_page_of_another():
    shown_once = whole(rows(entered(0, 10), entered(1, 20, hit="B"), entered(2, 30, hit="B")))
    steps = pages.steps(shown_once)
    assert (steps.start.tolist(), steps.end.tolist()) == ([1], [2])


def test_a_page_lasts_from_its_first_to_its_last_record_and_a_hit_to_its_submission():
    clicked = shown(
        1, selected_record_time_ms=[61_500], hovered_record_action=["enter"],
        hovered_record_time_ms=[61_000],
    )  # fmt: skip
    shown_once = whole(rows(entered(0, 60_000), clicked, entered(0, 90_000, page=1), shown(2)))
    np.testing.assert_array_equal(page_spans(shown_once).floats("time_ms"), [1500, np.nan])
    np.testing.assert_array_equal(hit_spans(shown_once).floats("time_ms"), [40_000])
    assert page_spans(shown_once).worker_id.to_pylist() == ["w", "w"]


def test_pictures_whose_page_is_not_logged_are_no_page_together():
    shown_once = whole(rows(*(entered(0, 1000 * k, page=None) for k in (1, 2, 9))))
    assert len(page_spans(shown_once).floats("time_ms")) == 0
    np.testing.assert_array_equal(hit_spans(shown_once).floats("time_ms"), [99_000])


@pytest.mark.parametrize("number", [2, 3, 5, 8])
def test_the_number_of_columns_follows_from_where_pictures_lie(number: int):
    rng = np.random.default_rng(number)
    hit = np.repeat(np.arange(6), 40)
    slot = rng.integers(0, 48, len(hit))
    left = rng.uniform(0, 500, 6)[hit]
    x = left + 340 * (slot % number) + rng.normal(0, 15, len(hit))
    assert grid_columns(hit, slot.astype(float), x) == number


def test_without_clear_positions_the_page_has_the_tools_columns():
    slot = np.arange(48.0)
    nowhere = np.full(48, np.nan)
    assert grid_columns(np.zeros(48, int), slot, nowhere) == 3
    scattered = np.random.default_rng(0).uniform(0, 1000, 48)
    assert grid_columns(np.zeros(48, int), slot, scattered) == 3
    assert grid_columns(np.zeros(1, int), slot[:1], np.zeros(1)) == 3


def test_steps_of_a_random_order_go_forward_half_of_the_time():
    rng = np.random.default_rng(0)
    given = [
        entered(int(slot), 10 * place, hit=f"H{hit}", worker=f"w{hit % 20}")
        for hit in range(200)
        for place, slot in enumerate(rng.permutation(48)[:12])
    ]
    found = measured(rows(*given))
    for name in ("serpentine_forward", "reading_forward", "leftward_odd_less_even"):
        assert found[name].low <= found[name].null <= found[name].high, name
    assert found["page_time_ms"].value == 110


def test_empty_rounds_give_nan_for_everything():
    found = measured(rows())
    assert [*found] == [m.name for m in IMAGENET_STATISTICS.measures]
    for name, estimate in found.items():
        assert np.isnan(estimate.value).all(), name


@pytest.mark.parametrize("seed", range(5))
def test_pages_against_a_slow_reference(seed: int):
    rng = np.random.default_rng(seed)
    given = [
        entered(int(rng.integers(48)), int(rng.integers(500)), hit=f"H{rng.integers(4)}",
                page=int(rng.integers(3)))
        for _ in range(60)
    ]  # fmt: skip
    of_page: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for row in given:
        place = (row["assignment_id"], row["page_idx"])
        of_page.setdefault(place, []).append((row["hovered_record_time_ms"][0], row["image_idx"]))
    slow, times = [], []
    for seen in of_page.values():
        seen.sort(key=lambda item: item[0])
        slow += [(a[1], b[1]) for a, b in pairwise(seen) if a[0] < b[0]]
        times.append(seen[-1][0] - seen[0][0] or np.nan)
    shown_once = whole(rows(*given[:35]), rows(*given[35:]))
    steps = pages.steps(shown_once)
    assert sorted(zip(steps.start.tolist(), steps.end.tolist(), strict=True)) == sorted(slow)
    np.testing.assert_array_equal(np.sort(page_spans(shown_once).floats("time_ms")), np.sort(times))
