"""Worked examples of docs/definitions.md#imagenet-notebook and docs/definitions.md#coco-notebook,
and both notebooks by plain Python.
"""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from logs import action, block, coco_record, xml

from luab_data.columns import imagenet as imagenet_columns
from luab_data.columns.coco import Tagged
from luab_data.columns.registry import COCO, IMAGENET
from luab_data.columns.rounds import order_rounds
from luab_data.raw import coco as raw_coco
from luab_data.raw.imagenet import parse, to_batch
from luab_data.schema import COCO_CLASSES
from luab_data.truth import TrueImage

POINT = ("notebook_point_x", "notebook_point_y")
DOG, CUP = COCO_CLASSES.index("dog"), COCO_CLASSES.index("cup")


def present(*labels: int) -> TrueImage:
    """Ground truth that knows the classes of an image and no masks."""
    return TrueImage(40, 20, unjudged=frozenset(labels), masks=dict.fromkeys(labels, b""))


def imagenet_points(*images: list[dict[str, Any]]) -> list[tuple[float | None, float | None]]:
    names = [f"n1_{i}" for i in range(len(images))]
    records = [parse(f"{n}.xml", xml(n, blocks)) for n, blocks in zip(names, images, strict=True)]
    batch = to_batch(records, lambda worker: worker)
    rounds = order_rounds(batch.images["image_id"], batch.rounds)
    sources = imagenet_columns.sources(batch.images, rounds, POINT)
    found = IMAGENET.compute(POINT, sources)
    return list(zip(*(found[name].to_pylist() for name in POINT), strict=True))


def coco_points(
    *actions: dict[str, Any], truth: dict[int, Any] | None = None, **record: Any
) -> dict[str, tuple[int | None, int | None]]:
    """Class -> point of one image, 20 x 10 px unless told otherwise."""
    parsed = raw_coco.parse(0, coco_record(9, list(actions), **record))
    actions = raw_coco.to_table([parsed], lambda worker: worker)
    names = ("icon_name", *POINT)
    found = COCO.compute(
        names, Tagged(COCO, COCO_CLASSES).sources(actions, np.arange(2), truth, names)
    )
    icons, *point = (found[name].to_pylist()[0] for name in names)
    return dict(zip(icons, zip(*point, strict=True), strict=True))


def test_two_rounds_on_two_objects_average_to_the_background():
    rounds = [block(clicks=[(1, 0.1, 0.5)]), block(submit=2, clicks=[(1, 0.9, 0.7)])]
    assert imagenet_points(rounds) == [(0.5, pytest.approx(0.6))]


def test_the_first_selected_record_counts_not_the_last():
    rounds = [block(clicks=[(1, 0.25, 0.5), (9, 0.75, 0.5)])]
    assert imagenet_points(rounds) == [(0.25, 0.5)]


def test_a_selected_round_without_a_click_has_no_point():
    fine, broken = block(clicks=[(1, 0.2, 0.2)]), block(submit=3, clicks=[])
    assert imagenet_points([fine, broken], [fine], [broken]) == [
        (None, None),
        (0.2, 0.2),
        (None, None),
    ]


def test_rounds_that_were_not_selected_do_not_count():
    no = block(submit=1, selected=False, clicks=[(1, 0.9, 0.9)])
    assert imagenet_points([no, block(clicks=[(1, 0.5, 0.25)])], [no], []) == [
        (0.5, 0.25),
        (None, None),
        (None, None),
    ]


clicks = st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1), st.floats(0, 1)), max_size=2)
a_block = st.builds(block, selected=st.booleans(), clicks=clicks, submit=st.integers(1, 3))


@given(st.lists(st.lists(a_block, max_size=3), min_size=1, max_size=4))
def test_imagenet_points_are_those_of_the_notebook(images: list[list[dict[str, Any]]]):
    expected = []
    for blocks in images:
        points = []
        stops = False
        for found in blocks:
            if found["selected"]:
                if found["selectedRecord"]:
                    points.append(found["selectedRecord"][0])
                else:
                    stops = True
        ok = points and not stops
        mean = [sum(p[axis] for p in points) / len(points) if ok else None for axis in ("x", "y")]
        expected.append(tuple(None if m is None else pytest.approx(m) for m in mean))
    assert imagenet_points(*images) == expected


def test_a_moved_icon_keeps_the_point_of_its_last_add():
    moved = coco_points(action("add", "dog", (0.2, 0.2)), action("move", "dog", (0.6, 0.6)))
    assert moved == {"dog": (4, 2)}


def test_a_removed_icon_keeps_a_point():
    removed = coco_points(action("add", "dog", (0.2, 0.2)), action("remove", "dog", None))
    assert removed == {"dog": (4, 2)}


def test_points_are_cut_to_whole_pixels_towards_zero():
    found = coco_points(action("add", "dog", (0.99, 0.19)), action("add", "cup", (-0.004, -0.2)))
    assert found == {"dog": (19, 1), "cup": (0, -2)}


def test_a_logged_size_of_zero_puts_every_point_at_the_corner():
    size = {"originalImageWidth": 0, "originalImageHeight": 0}
    truth = {9: present(DOG)}
    assert coco_points(action("add", "dog", (0.5, 0.5)), truth=truth, **size) == {"dog": (0, 0)}


def test_classes_that_are_not_in_the_ground_truth_are_ignored():
    adds = [action("add", name, (0.5, 0.5)) for name in ("dog", "cup")]
    truth = {9: present(DOG)}
    assert coco_points(*adds, truth=truth) == {"dog": (10, 5), "cup": (None, None)}
    assert coco_points(*adds) == {"dog": (10, 5), "cup": (10, 5)}  # not known without the file


def test_an_icon_that_was_never_added_has_no_point():
    assert coco_points(action("move", "dog", (0.6, 0.6))) == {"dog": (None, None)}


def test_no_icons_have_no_points():
    assert coco_points() == {}


point = st.tuples(st.floats(-0.005, 1.005), st.floats(-0.005, 1.005))
an_action = st.builds(
    lambda kind, icon, to: action(kind, icon, None if kind == "remove" else to),
    st.sampled_from(["add", "move", "remove"]),
    st.sampled_from(["dog", "cup", "person"]),
    point,
)


@given(st.lists(an_action, max_size=8), st.integers(0, 700), st.sets(st.sampled_from([DOG, CUP])))
def test_coco_points_are_those_of_the_notebook(
    actions: list[dict[str, Any]], width: int, there: set[int]
):
    expected: dict[str, tuple[int | None, int | None]] = {}
    for found in actions:
        name = found["iconType"]
        expected.setdefault(name, (None, None))
        if found["actionType"] == "add" and COCO_CLASSES.index(name) in there:
            to = found["pointTo"]
            expected[name] = (int(to["x"] * width), int(to["y"] * 10))
    truth = {9: present(*sorted(there))}
    assert coco_points(*actions, truth=truth, originalImageWidth=width) == expected
