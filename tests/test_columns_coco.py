from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from logs import action, coco_record
from planted import counted
from pycocotools import mask

from luab_data.columns.coco import Tagged
from luab_data.columns.registry import COCO
from luab_data.errors import ImagesError
from luab_data.kinds import TAGGING
from luab_data.raw.coco import ACTIONS, parse, to_table
from luab_data.raw.instances import read_instances
from luab_data.schema import COCO_CATEGORIES, COCO_CLASSES, COCO_IMAGES, COCO_SUPERCLASSES
from luab_data.truth import TrueImage


def image_table(actions: pa.Table, truth: dict[int, TrueImage] | None) -> pa.Table:
    return Tagged(COCO, COCO_CLASSES).image_table(actions, np.arange(len(actions) + 1), truth)


def rows(
    records: list[dict[str, Any]], truth: dict[int, TrueImage] | None = None
) -> list[dict[str, Any]]:
    actions = to_table([parse(i, r) for i, r in enumerate(records)], lambda worker: worker)
    table = image_table(actions, truth)
    assert table.schema.equals(COCO_IMAGES.schema(), check_metadata=True)
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def icons(*actions: dict[str, Any]) -> dict[str, Any]:
    return rows([coco_record(9, list(actions))])[0]


def test_the_eighty_names_are_the_same_in_both_orders():
    shown = [name for names in COCO_SUPERCLASSES.values() for name in names]
    assert sorted(shown) == sorted(COCO_CLASSES) and len(shown) == len(set(shown)) == 80
    assert len(COCO_SUPERCLASSES) == 11 and max(COCO_CATEGORIES) == 90


def test_last_add_and_final_point_differ_after_a_move():
    found = icons(action("add", "dog", (0.2, 0.2)), action("move", "dog", (0.6, 0.6)))
    assert (found["last_add_x"], found["final_x"]) == ([0.2], [0.6])
    assert found["action_sequence"] == ["add-move"] and found["num_actions"] == [2]


def test_a_removed_icon_keeps_its_last_add_but_ends_nowhere():
    found = icons(action("add", "dog", (0.2, 0.3)), action("remove", "dog", None))
    assert (found["last_add_x"], found["last_add_y"]) == ([0.2], [0.3])
    assert (found["final_x"], found["is_present_at_end"]) == ([None], [False])


def test_the_longest_sequence_of_the_paper():
    kinds = ["add", "remove", "add", "move", *["remove", "add"] * 7, "move", "move"]
    kinds += ["remove", "add"] * 2
    steps = [
        action(kind, "cup", None if kind == "remove" else (i / 100, 0.5))
        for i, kind in enumerate(kinds)
    ]
    found = icons(*steps)
    assert found["num_actions"] == [24]
    assert found["action_sequence"] == ["-".join(kinds)]
    assert found["final_x"] == found["last_add_x"] == [0.23]


def test_histories_of_classes_interleave_and_come_out_by_label():
    found = icons(
        action("add", "dog", (0.2, 0.2)),
        action("add", "person", (0.3, 0.3)),
        action("move", "dog", (0.4, 0.4)),
        action("remove", "person", None),
    )
    assert found["icon_name"] == ["person", "dog"]
    assert found["icon_label"] == [0, 16]
    assert found["action_sequence"] == ["add-remove", "add-move"]


def test_an_add_after_an_add_is_counted_not_fatal():
    found = icons(action("add", "dog", (0.2, 0.2)), action("add", "dog", (0.7, 0.7)))
    assert found["action_sequence"] == ["add-add"] and found["final_x"] == [0.7]


def test_a_coordinate_lost_to_a_division_by_zero_is_null():
    broken = action("add", "dog", (0.2, 0.2))
    broken["pointTo"] = {"x": None, "y": None}
    found = icons(broken)
    assert (found["final_x"], found["is_present_at_end"]) == ([None], [True])


def test_sizes_of_zero_are_null_unless_the_ground_truth_knows_better():
    record = coco_record(9, [], originalImageWidth=0, originalImageHeight=0)
    assert (rows([record])[0]["width"], rows([record])[0]["labels"]) == (None, None)
    found = rows([record], {9: TrueImage(30, 40)})[0]
    assert (found["width"], found["height"], found["labels"]) == (30, 40, [])


@pytest.fixture
def truth(tmp_path: Path) -> dict[int, TrueImage]:
    """Image 1: a dog on the left half; image 2: a dog, a cat and a crowd of people."""
    left = {"segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]], "iscrowd": 0}
    crowd = {"segmentation": {"size": [10, 20], "counts": [100, 100]}, "iscrowd": 1}
    file = tmp_path / "instances.json"
    document = {
        "info": {},
        "images": [{"id": i, "width": 20, "height": 10} for i in (1, 2)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 18, **left},
            {"id": 2, "image_id": 2, "category_id": 18, **left},
            {"id": 3, "image_id": 2, "category_id": 17, **left},
            {"id": 4, "image_id": 2, "category_id": 1, **crowd},
        ],
        "categories": [],
    }
    file.write_text(json.dumps(document))
    return read_instances(file)


def test_an_icon_is_right_on_any_mask_of_its_class(truth: dict[int, TrueImage]):
    found = rows(
        [
            coco_record(1, [action("add", "dog", (0.25, 0.5)), action("add", "cat", (0.25, 0.5))]),
            coco_record(
                2,
                [action("add", "dog", (0.75, 0.5)), action("add", "person", (0.75, 0.5)),
                 action("add", "cat", (0.2, 0.2)), action("remove", "cat", None)],
            ),
            coco_record(3, [action("add", "dog", (0.25, 0.5))]),
        ],
        truth,
    )  # fmt: skip
    assert found[0]["labels"] == [16] and found[1]["labels"] == [0, 15, 16]
    assert found[0]["is_on_object"] == [False, True]  # cat is absent from the ground truth: wrong
    assert found[1]["is_on_object"] == [True, None, False]  # a crowd counts; removed is null
    assert found[2]["is_on_object"] == [None]  # not in the ground truth


def test_a_point_on_the_far_border_is_in_the_last_pixel_and_beyond_it_nowhere():
    full = dict(mask.encode(np.asfortranarray(np.ones((10, 20), np.uint8))))
    image = TrueImage(20, 10, {0: full["counts"]})
    assert image.contains(0, 1.0, 1.0) and image.contains(0, 0.0, 0.0)
    assert not image.contains(0, 1.0001, 0.5) and not image.contains(0, 0.5, -1e-9)
    assert not image.contains(1, 0.5, 0.5) and not image.contains(0, float("nan"), 0.5)


def test_a_picture_that_the_browser_turned_says_nothing_of_its_masks(truth: dict[int, TrueImage]):
    """Masks are of the picture as stored, points of the picture as shown."""
    dog = action("add", "dog", (0.5, 0.5))
    sizes = [(20, 10), (10, 20), (0, 0)]  # as stored, turned, not logged
    logged = ({"originalImageWidth": w, "originalImageHeight": h} for w, h in sizes)
    stored = [rows([coco_record(1, [dog], **size)], truth)[0] for size in logged]
    told = [row["is_on_object"][0] is not None for row in stored]
    assert (truth[1].width, truth[1].height) == (20, 10) and told == [True, False, True]
    assert [row["num_adds_on_object"][0] is not None for row in stored] == told
    assert len({str(row["labels"]) for row in stored}) == 1


def test_recall_and_precision():
    truth = {1: TrueImage(10, 10), 2: TrueImage(10, 10)}
    left = np.zeros((10, 10), np.uint8)
    left[:, :5] = 1
    rle = dict(mask.encode(np.asfortranarray(left)))
    truth[1].masks = {0: rle["counts"], 1: rle["counts"]}  # person, bicycle
    truth[2].masks = {0: rle["counts"]}
    actions = to_table(
        [
            parse(0, coco_record(1, [action("add", "person", (0.2, 0.5))])),
            parse(1, coco_record(2, [action("add", "person", (0.2, 0.5)),
                                     action("add", "car", (0.2, 0.5))])),
        ],
        lambda worker: worker,
    )  # fmt: skip
    found = counted(TAGGING.statistics, {"default": [image_table(actions, truth)]})
    assert (found["num_records"], found["num_placed"], found["num_present"]) == (2, 3, 3)
    assert found["recall_hit_mean"] == 0.75
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["icon_precision"] == pytest.approx(2 / 3)
    assert found["action_sequences"] == {"add": 3}


def test_an_empty_group_is_null_not_zero():
    actions = to_table([parse(0, coco_record(1, []))], lambda worker: worker)
    found = counted(TAGGING.statistics, {"default": [image_table(actions, None)]})
    assert (found["icon_precision"], found["recall"], found["recall_hit_mean"]) == (None,) * 3


step = st.tuples(
    st.sampled_from(ACTIONS), st.sampled_from(["dog", "person", "tv"]), st.integers(0, 9)
)


@given(st.lists(st.lists(step, max_size=12), min_size=1, max_size=4))
def test_replay_equals_the_slow_reference(images: list[list[tuple[str, str, int]]]):
    records = []
    for number, steps in enumerate(images):
        actions = [action(k, c, None if k == "remove" else (v / 10, 0.5)) for k, c, v in steps]
        records.append(coco_record(number, actions))
    for found, steps in zip(rows(records), images, strict=True):
        state: dict[str, dict[str, Any]] = {}
        for kind, name, value in steps:
            icon = state.setdefault(name, {"add": None, "end": None, "kinds": []})
            icon["kinds"].append(kind)
            icon["end"] = None if kind == "remove" else value / 10
            if kind == "add":
                icon["add"] = value / 10
        names = sorted(state, key=COCO_CLASSES.index)
        assert found["icon_name"] == names
        assert found["last_add_x"] == [state[n]["add"] for n in names]
        assert found["final_x"] == [state[n]["end"] for n in names]
        assert found["is_present_at_end"] == [state[n]["end"] is not None for n in names]
        assert found["action_sequence"] == ["-".join(state[n]["kinds"]) for n in names]
        assert found["num_adds"] == [state[n]["kinds"].count("add") for n in names]


HALVES = {0: (0, 5), 16: (5, 10), 62: (2, 4)}
"""Label -> the columns of a 10 x 10 image that a class covers."""


def half_covered() -> TrueImage:
    image = TrueImage(10, 10)
    for label, (start, stop) in HALVES.items():
        pixels = np.zeros((10, 10), np.uint8)
        pixels[:, start:stop] = 1
        image.masks[label] = dict(mask.encode(np.asfortranarray(pixels)))["counts"]
    return image


@given(st.lists(st.lists(step, max_size=12), min_size=1, max_size=4), st.integers(0, 3))
def test_points_against_masks_equal_the_slow_reference(
    images: list[list[tuple[str, str, int]]], num_known: int
):
    records = []
    for number, steps in enumerate(images):
        actions = [action(k, c, None if k == "remove" else (v / 10, 0.5)) for k, c, v in steps]
        records.append(coco_record(number, actions))
    truth = {number: half_covered() for number in range(num_known)}
    for number, (found, steps) in enumerate(zip(rows(records, truth), images, strict=True)):
        last: dict[str, bool | None] = {}
        right: dict[str, int | None] = {}
        for kind, name, value in steps:
            start, stop = HALVES.get(COCO_CLASSES.index(name), (0, 0))
            last.setdefault(name, None)
            right.setdefault(name, 0 if number < num_known else None)
            if kind == "add" and number < num_known:
                last[name] = start <= value < stop
                right[name] += start <= value < stop
        names = sorted(last, key=COCO_CLASSES.index)
        assert found["is_last_add_on_object"] == [last[n] for n in names]
        assert found["num_adds_on_object"] == [right[n] for n in names]


def test_adds_count_though_the_icon_was_moved_off_or_removed(
    truth: dict[int, TrueImage],
):
    steps = [action("add", "dog", (0.75, 0.5)), action("remove", "dog", None),
             action("add", "dog", (0.25, 0.5)), action("move", "dog", (0.9, 0.5))]  # fmt: skip
    moved, removed, lost = rows(
        [
            coco_record(1, steps),
            coco_record(2, steps[:2]),
            coco_record(2, [action("move", "dog", (0.25, 0.5))]),
        ],
        truth,
    )
    assert (moved["is_on_object"], moved["is_last_add_on_object"]) == ([False], [True])
    assert (moved["num_adds"], moved["num_adds_on_object"]) == ([2], [1])
    assert (removed["is_on_object"], removed["is_last_add_on_object"]) == ([None], [False])
    assert (removed["num_adds"], removed["num_adds_on_object"]) == ([1], [0])
    assert (lost["is_on_object"], lost["is_last_add_on_object"]) == ([True], [None])
    assert (lost["num_adds"], lost["num_adds_on_object"]) == ([0], [0])


def instances(path: Path, annotations: list[dict[str, Any]], *, swapped: bool = False) -> Path:
    images = [{"id": i, "width": 20, "height": 10} for i in (1, 2)]
    parts = {"images": images, "annotations": [{"id": 7, **a} for a in annotations]}
    path.write_text(json.dumps(dict(reversed(parts.items())) if swapped else parts))
    return path


def annotation(image_id: int, category_id: int, **other: Any) -> dict[str, Any]:
    square = [[4, 2, 8, 2, 8, 8, 4, 8]]
    return {"image_id": image_id, "category_id": category_id, "segmentation": square, **other}


@pytest.mark.parametrize("swapped", [False, True])
def test_boxes_are_the_files_as_corners_without_crowds(tmp_path: Path, swapped: bool):
    whole = {"segmentation": {"size": [10, 20], "counts": [0, 200]}, "iscrowd": 1}
    file = instances(
        tmp_path / "instances.json",
        [
            annotation(2, 18, bbox=[4.25, 2, 3.5, 6.5], iscrowd=0),
            annotation(2, 1, **whole, bbox=[0, 0, 20, 10]),
            annotation(2, 1, bbox=[1, 2, 0, 3]),
            annotation(2, 18),  # no bbox: that of its pixels
        ],
        swapped=swapped,
    )
    found = rows([coco_record(i, []) for i in (1, 2, 3)], read_instances(file))
    assert [row["boxes"] for row in found] == [
        [],
        [[4.25, 2.0, 7.75, 8.5], [1.0, 2.0, 1.0, 5.0], [4.0, 2.0, 8.0, 8.0]],
        None,
    ]
    assert [row["box_label"] for row in found] == [[], [16, 0, 16], None]
    assert found[1]["labels"] == [0, 16]


@pytest.mark.parametrize(
    "bbox", [[1, 2, 3], [1, 2, -3, 4], [1, 2, "x", 4], [1e308, 0, 1e308, 1], 5]
)
def test_a_bbox_that_is_none_is_named(tmp_path: Path, bbox: Any):
    file = instances(tmp_path / "instances.json", [annotation(1, 1, bbox=bbox)])
    with pytest.raises(ImagesError, match=r"annotation 7: .*\[x, y, width, height\] as bbox"):
        read_instances(file)


def test_without_an_instances_file_all_of_it_is_null():
    found = rows([coco_record(1, [action("add", "dog", (0.5, 0.5))])])[0]
    assert (found["boxes"], found["box_label"], found["num_adds"]) == (None, None, [1])
    assert (found["is_last_add_on_object"], found["num_adds_on_object"]) == ([None], [None])
