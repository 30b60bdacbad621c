"""What an instances file tells, and what it cannot: nothing is judged by what is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from logs import KEY, SHARED, action, coco_log, coco_record

import luab_data
from luab_data.errors import ImagesError
from luab_data.raw.instances import read_instances
from luab_data.store.folder import read_manifest

CASES = SHARED / "data/cases/coco-ab"
SQUARE = [[0, 0, 5, 0, 5, 10, 0, 10]]  # the left half of the picture
NAMES = {17: "cat", 18: "dog", 44: "bottle"}


def instances(path: Path, things: list[tuple[int, Any]], names: dict[int, str] | None) -> Path:
    """(category id, segmentation) of the objects of image 1, 10 x 10 px; its categories."""
    content: dict[str, Any] = {
        "images": [{"id": 1, "width": 10, "height": 10}],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": c, "segmentation": s, "bbox": [0, 0, 5, 10]}
            for k, (c, s) in enumerate(things)
        ],
    }
    if names is not None:
        content["categories"] = [{"id": k, "name": name} for k, name in names.items()]
    path.write_text(json.dumps(content))
    return path


def converted(folder: Path, truth: Path | None, *icons: tuple[str, float]) -> dict[str, Any]:
    """The row of an image with icons (class, x)."""
    actions = [action("add", name, (x, 0.5)) for name, x in icons]
    log = coco_log(folder / "log.json", [coco_record(1, actions)])
    done = luab_data.convert_coco(
        str(log),
        str(folder / "coco-ab"),
        instances=truth and str(truth),
        worker_key=KEY,
        force=True,
    )
    row = pq.read_table(done.out / "data").to_pylist()[0]
    judged = ("is_on_object", "is_last_add_on_object", "num_adds_on_object")
    for name in judged:
        row[name] = dict(zip(row["icon_name"], row[name], strict=True))
    return {**row, "remarks": done.remarks, "about": read_manifest(done.out).get("instances")}


@pytest.mark.parametrize(
    "names",
    [
        {17: "cat", 18: "dog", 44: "bottle"},
        {1: "Dog", 2: "CAT", 3: "Bottle"},
        {0: "objects", 5: "dog ", 6: "_cat_", 9: "bottle"},  # Roboflow has an empty category 0
    ],
)
def test_a_category_is_the_class_of_its_name(tmp_path: Path, names: dict[int, str]):
    number = {name.strip(" _").lower(): k for k, name in names.items()}
    truth = instances(tmp_path / "i.json", [(number["dog"], SQUARE), (number["cat"], [])], names)
    row = converted(tmp_path, truth, ("dog", 0.2), ("bottle", 0.2))
    assert row["labels"] == [15, 16] and row["box_label"] == [16, 15]
    assert row["is_on_object"] == {"dog": True, "bottle": False}


def test_a_class_that_the_categories_lack_is_not_judged(tmp_path: Path):
    truth = instances(tmp_path / "i.json", [(2, SQUARE)], {2: "dog"})
    row = converted(tmp_path, truth, ("dog", 0.9), ("person", 0.2))
    assert row["labels"] == [16]
    assert row["is_on_object"] == row["is_last_add_on_object"] == {"dog": False, "person": None}
    assert row["num_adds_on_object"] == {"dog": 0, "person": None}
    assert len(row["about"]["absent_classes"]) == 79
    assert any("79 of COCO's 80 classes are not in its categories" in r for r in row["remarks"])


def test_ids_without_names_are_cocos_and_it_is_said(tmp_path: Path):
    for names in (None, {}):
        truth = instances(tmp_path / "i.json", [(18, SQUARE)], names)
        row = converted(tmp_path, truth, ("dog", 0.2), ("cat", 0.2))
        assert row["is_on_object"] == {"dog": True, "cat": False}
        assert row["remarks"] == (
            f"{truth}: its categories have no names, so their ids are taken for COCO's",
        )
        assert row["about"]["category_ids"] == "taken for COCO's"


@pytest.mark.parametrize(
    ("used", "names", "message"),
    [
        (5, {5: "unicorn", 18: "dog"}, r"annotation 0: category 5 is 'unicorn'; expected names of"),
        (5, {5: "dogs", 18: "dog"}, r"'dogs' \(is it 'dog'\?\)"),
        (6, {18: "dog"}, "annotation 0: has category_id 6, which its categories do not list"),
        (18, {18: "dog", 19: "Dog"}, "categories 18 and 19 are both 'dog'"),
        (18, {18: 3}, "its categories lack or garble"),
    ],
)
def test_categories_that_are_no_classes_are_refused(
    tmp_path: Path, used: int, names: dict[int, Any], message: str
):
    with pytest.raises(ImagesError, match=message):
        read_instances(instances(tmp_path / "i.json", [(used, SQUARE)], names))


@pytest.mark.parametrize("empty", [[], [[]], None])
def test_a_miss_is_not_wrong_where_an_object_has_no_mask(tmp_path: Path, empty: Any):
    truth = instances(tmp_path / "i.json", [(18, SQUARE), (18, empty), (17, SQUARE)], NAMES)
    assert converted(tmp_path, truth, ("dog", 0.2))["is_on_object"] == {"dog": True}
    row = converted(tmp_path, truth, ("dog", 0.9), ("cat", 0.9), ("bottle", 0.9))
    assert row["is_on_object"] == {"dog": None, "cat": False, "bottle": False}
    assert row["num_adds_on_object"] == {"dog": None, "cat": 0, "bottle": 0}
    assert len(row["boxes"]) == 3 and row["about"]["num_without_mask"] == 1


def test_without_any_mask_nothing_is_judged_but_boxes_and_classes_are_used(tmp_path: Path):
    truth = instances(tmp_path / "i.json", [(18, []), (17, [])], NAMES)
    row = converted(tmp_path, truth, ("dog", 0.2), ("bottle", 0.9))
    assert row["is_on_object"] == {"dog": None, "bottle": None}
    assert row["labels"] == [15, 16] and row["boxes"] == [[0, 0, 5, 10]] * 2
    assert any("no annotation has a mask" in remark for remark in row["remarks"])
    assert luab_data.stats(tmp_path / "coco-ab")["icon_precision"] is None


def test_without_any_annotation_nothing_is_judged(tmp_path: Path):
    row = converted(tmp_path, instances(tmp_path / "i.json", [], NAMES), ("dog", 0.2))
    assert row["is_on_object"] == {"dog": None} and row["labels"] == []
    assert any("it has no annotation" in remark for remark in row["remarks"])


def test_images_numbered_anew_have_the_number_in_their_files_name(tmp_path: Path):
    """As Roboflow's exports do, whose small numbers are those of other pictures."""
    truth = instances(tmp_path / "i.json", [(18, SQUARE)], NAMES)
    content = json.loads(truth.read_text())
    content["images"][0].update(id=0, file_name="000000000001_jpg.rf.0123456789abcdef.jpg")
    content["annotations"][0]["image_id"] = 0
    truth.write_text(json.dumps(content))
    row = converted(tmp_path, truth, ("dog", 0.2))
    assert row["is_on_object"] == {"dog": True} and row["about"]["num_renumbered"] == 1
    assert any("1 images are numbered anew" in remark for remark in row["remarks"])


def test_numbers_written_as_text_are_numbers(tmp_path: Path):
    truth = instances(tmp_path / "i.json", [(18, SQUARE)], {18: "dog"})
    content = json.loads(truth.read_text())
    for things, keys in {
        "images": ("id", "width", "height"),
        "annotations": ("image_id", "category_id"),
        "categories": ("id",),
    }.items():
        for key in keys:
            content[things][0][key] = str(content[things][0][key])
    truth.write_text(json.dumps(content))
    assert converted(tmp_path, truth, ("dog", 0.2))["is_on_object"] == {"dog": True}


def test_without_instances_it_is_said_what_is_null(tmp_path: Path):
    row = converted(tmp_path, None, ("dog", 0.2))
    assert row["labels"] is None and row["is_on_object"] == {"dog": None}
    assert len(row["remarks"]) == 1 and "without --instances" in row["remarks"][0]


def test_what_is_ordinary_is_not_remarked(tmp_path: Path):
    from luab_data.schema import COCO_CATEGORIES

    truth = instances(tmp_path / "i.json", [(18, SQUARE)], COCO_CATEGORIES)
    row = converted(tmp_path, truth, ("dog", 0.2))
    assert row["remarks"] == ()
    assert set(row["about"]) == {"name", "sha256", "num_images_missing"}


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/data/cases")
def test_the_cases(tmp_path: Path):
    found = {}
    for name in ("ok", "cats_permuted", "cats_subset_renumbered", "all_empty_seg"):
        luab_data.convert_coco(
            CASES / "raw40.json",
            tmp_path / name,
            instances=CASES / f"instances_{name}.json",
            worker_key=KEY,
        )
        counts = luab_data.stats(tmp_path / name)
        digest = read_manifest(tmp_path / name)["content_digest"]
        evaluated = sum(pq.read_table(tmp_path / name / "annotators")["num_evaluated"].to_pylist())
        found[name] = (counts["icon_precision"], evaluated, counts["recall"], digest)
    assert found["ok"][:2] == (pytest.approx(0.85), 60)
    assert found["cats_permuted"] == found["ok"]
    # Twelve icons of the five classes that the file has; only those are judged.
    assert found["cats_subset_renumbered"][:2] == (pytest.approx(11 / 12), 12)
    assert found["cats_subset_renumbered"][2] == pytest.approx(12 / 26)
    assert found["all_empty_seg"][:3] == (None, 0, found["ok"][2])


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/data/cases")
def test_sessions_of_the_front_end_lose_no_field(tmp_path: Path):
    records = json.loads((SHARED / "data/cases/own/fe_coco_asis.json").read_text())
    sent = [
        {
            **{k: v for k, v in record.items() if k not in ("timeSpent", "image_id")},
            "timeSpend": record["timeSpent"],
            "imageURL": f"https://host/val2014/COCO_val2014_{record['image_id']:012}.jpg",
        }
        for record in records
    ]
    digests = set()
    for name, found in (("a", records), ("b", sent)):
        done = luab_data.convert_coco(
            coco_log(tmp_path / f"{name}.json", found), tmp_path / name, worker_key=KEY
        )
        assert done.unknown == done.skipped == done.repaired == {}
        digests.add(done.content_digest)
    assert len(digests) == 1
    times = pq.read_table(tmp_path / "b" / "data")["time_spent_ms"].to_pylist()
    assert times == [record["timeSpent"] for record in records]


def test_classes_of_the_file_whatever_they_are_and_things_with_box_area_and_crowd(tmp_path):
    square = [[1, 1, 4, 1, 4, 3, 1, 3]]
    path = tmp_path / "own.json"
    content = {
        "images": [{"id": 5, "width": 8, "height": 6, "file_name": "a/dog.png"}],
        "categories": [{"id": 900 - k, "name": f"thing {900 - k}"} for k in range(300)],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 900, "segmentation": square, "area": 5.5,
             "bbox": [1, 1, 3, 2]},
            {"id": 2, "image_id": 5, "category_id": 601, "segmentation": square, "iscrowd": 1},
        ],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    found = read_instances(path, things=True, vocabulary=None)
    assert found.classes[0] == "thing 601" and found.classes[-1] == "thing 900"
    assert found.category_of[299] == 900 and found.remarks() == []
    first, second = found[5].things
    assert (first.label, first.box_xyxy, first.area, first.is_crowd) == (
        299,
        (1, 1, 4, 3),
        5.5,
        False,
    )
    assert (second.label, second.box_xyxy, second.area, second.is_crowd) == (
        0,
        (1, 1, 4, 3),
        6,
        True,
    )
    assert found[5].file_name == "a/dog.png"
