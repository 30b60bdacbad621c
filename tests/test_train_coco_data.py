"""COCO-AB as a run sees it: labels of the ground truth, a point for some classes, every arm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logs import KEY, SHARED, action, coco_log, coco_record
from PIL import Image

from luab_data.convert import convert_coco
from luab_data.errors import DatasetError, ImagesError, LuabError, OptionError
from luab_data.schema import COCO_CATEGORIES, COCO_CLASSES
from luab_train.data.coco import CocoAnnotations, notebook_labels, read_coco, read_truth
from luab_train.data.dataset import of_dataset
from luab_train.data.geometry import crop_resize, place
from luab_train.data.splits import coco_split
from luab_train.data.targets import make_coco_target
from luab_train.recipes import find_recipe
from luab_train.sections import COCO_TARGETS

PERSON, CAR, DOG, CUP = (COCO_CLASSES.index(name) for name in ("person", "car", "dog", "cup"))
NUMBER = {label: number for label, number in enumerate(COCO_CATEGORIES)}


def instances(path: Path, images: dict[int, list[tuple]], size=(20, 10)) -> Path:
    """Image id -> (label, x, y, width, height[, crowd]) of its annotations."""
    content = {"images": [], "annotations": [], "categories": []}
    for image_id, found in images.items():
        content["images"].append({"id": image_id, "width": size[0], "height": size[1]})
        for label, x, y, w, h, *crowd in found:
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            content["annotations"].append(
                {
                    **{"id": len(content["annotations"]), "image_id": image_id},
                    **{"category_id": NUMBER[label], "bbox": [x, y, w, h]},
                    **{"segmentation": [outline], "iscrowd": int(bool(crowd))},
                }
            )
    path.write_text(json.dumps(content))
    return path


def convert(root: Path, actions: dict[int, list], truth: dict[int, list] | None, **size) -> Path:
    log = coco_log(root / "log.json", [coco_record(i, a) for i, a in actions.items()])
    given = None if truth is None else instances(root / "instances.json", truth, **size)
    convert_coco(log, root / "coco-ab", instances=given, worker_key=KEY, shown=False)
    return root / "coco-ab"


def add(icon: str, *to: float) -> dict:
    return action("add", icon, to)


ACTIONS = {
    7: [
        add("dog", 0.2, 0.2),
        action("move", "dog", (0.6, 0.6)),
        add("person", 0.1, 0.1),
        action("remove", "person", None),
        add("cup", 0.9, 0.9),
    ],
    3: [
        add("dog", 0.3, 0.5),
        action("remove", "dog", None),
        add("dog", 0.9, 0.4),
        add("car", -0.004, 0.5),
    ],
    12: [],
    5: [],
}
TRUTH = {
    3: [(DOG, 0, 0, 4, 4), (DOG, 10, 0, 10, 10), (CAR, 0, 0, 2, 2), (CUP, 1, 1, 2, 2)],
    5: [],
    7: [(PERSON, 0, 0, 2, 2), (DOG, 0, 0, 20, 10, "crowd"), (CAR, 1, 1, 2, 2)],
    12: [(CUP, 0, 0, 1, 1)],
    99: [(CUP, 0, 0, 1, 1)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return convert(tmp_path_factory.mktemp("coco"), ACTIONS, TRUTH)


@pytest.fixture(scope="module")
def coco(folder) -> CocoAnnotations:
    return read_coco(folder, target="first_click")


def row(coco: CocoAnnotations, image_id: int) -> int:
    return coco.image_id.tolist().index(str(image_id))


def pairs(coco: CocoAnnotations) -> list[tuple[str, int]]:
    return list(zip(coco.image_id[coco.pair_row].tolist(), coco.pair_label.tolist(), strict=True))


def test_labels_are_those_of_the_ground_truth_whatever_the_icons(coco):
    present = {i: np.flatnonzero(coco.label_NC[row(coco, i)]).tolist() for i in (3, 5, 7, 12)}
    assert present == {3: [CAR, DOG, CUP], 5: [], 7: [PERSON, CAR, DOG], 12: [CUP]}
    assert coco.label_NC.dtype == np.float32 and coco.label_NC.shape == (4, 80)
    assert coco.size_wh.tolist() == [[20, 10]] * 4


def test_a_point_is_the_last_add_and_counts_for_classes_that_are_there(coco):
    target = make_coco_target("click", seed=0, coco=coco)
    assert target.shape == (4, 80, 2) and target.dtype == np.float64
    assert target[row(coco, 7), DOG].tolist() == [0.2, 0.2]  # 6.4d: the move is ignored
    assert target[row(coco, 7), PERSON].tolist() == [0.1, 0.1]  # 6.4d: so is the remove
    assert np.isnan(target[row(coco, 7), CUP]).all()  # no cup in the ground truth
    assert target[row(coco, 3), DOG].tolist() == [0.9, 0.4]
    assert target[row(coco, 3), CAR].tolist() == [-0.004, 0.5]  # raw values are kept
    assert np.isfinite(target).all(axis=2).sum() == 4


def test_the_first_add_is_another_arm(folder, coco):
    target = make_coco_target("first_click", seed=0, coco=coco)
    assert target[row(coco, 3), DOG].tolist() == [0.3, 0.5]
    assert target[row(coco, 7), DOG].tolist() == [0.2, 0.2]
    assert np.isfinite(target).all(axis=2).sum() == 4
    with pytest.raises(ValueError, match="first adds were not read"):
        make_coco_target("first_click", seed=0, coco=read_coco(folder))


def test_the_oracle_is_the_nearest_box_of_the_class_without_crowds(coco):
    target = make_coco_target("oracle", seed=0, coco=coco)
    # (.9, .4) of 20 x 10 px is (18, 4): in the second dog
    assert target[row(coco, 3), DOG].tolist() == [15 / 20, 5 / 10]
    assert target[row(coco, 3), CAR].tolist() == [1 / 20, 1 / 10]
    assert target[row(coco, 7), PERSON].tolist() == [1 / 20, 1 / 10]
    assert np.isnan(target[row(coco, 7), DOG]).all()  # all dogs there are a crowd
    assert np.isfinite(target).all(axis=2).sum() == 3


@pytest.mark.parametrize("kind", sorted(set(COCO_TARGETS) - {"none", "oracle"}))
def test_every_arm_has_points_for_exactly_the_same_pairs(coco, kind):
    click = np.isfinite(make_coco_target("click", seed=3, coco=coco))
    assert np.array_equal(np.isfinite(make_coco_target(kind, seed=3, coco=coco)), click)


def drawn(num_images: int = 300, seed: int = 0) -> CocoAnnotations:
    """Many images with icons anywhere, straight from the columns."""
    from luab_train.data.boxes import Boxes

    rng = np.random.default_rng(seed)
    has = rng.random((num_images, 80)) < 0.05
    pair_row, pair_label = np.nonzero(has)
    return CocoAnnotations(
        image_id=rng.choice(10**6, num_images, replace=False).astype(str),
        classes=COCO_CLASSES,
        is_by_icons=np.zeros(num_images, bool),
        size_wh=np.full((num_images, 2), 100.0),
        label_NC=has.astype(np.float32),
        pair_row=pair_row,
        pair_label=pair_label,
        click_P2=rng.random((len(pair_row), 2)),
        first_P2=None,
        pair_boxes=Boxes.of([None] * len(pair_row)),
        digest=None,
        version=None,
    )


def test_drawn_points_follow_from_seed_image_and_class_alone():
    coco = drawn()
    one = make_coco_target("random", seed=1, coco=coco)
    some = np.arange(0, 300, 3)
    part = make_coco_target("random", seed=1, coco=coco.take(some))
    assert np.array_equal(part, one[some], equal_nan=True)
    assert np.array_equal(one, make_coco_target("random", seed=1, coco=coco), equal_nan=True)
    other = make_coco_target("random", seed=2, coco=coco)
    points, others = one[np.isfinite(one)], other[np.isfinite(other)]
    assert points.shape == others.shape and (points != others).all()
    assert len(np.unique(points)) == len(points)
    assert ((points >= 0) & (points < 1)).all() and abs(points.mean() - 0.5) < 0.02


def test_the_centre_is_the_centre():
    target = make_coco_target("centre", seed=1, coco=drawn())
    assert (target[np.isfinite(target)] == 0.5).all()


def test_shuffling_deals_the_icons_of_a_class_among_its_images():
    coco = drawn()
    click = make_coco_target("click", seed=0, coco=coco)
    shuffled = make_coco_target("shuffled", seed=0, coco=coco)
    for label in range(80):
        before, after = (
            t[:, label][np.isfinite(t[:, label]).all(axis=1)] for t in (click, shuffled)
        )
        assert sorted(before.tolist()) == sorted(after.tolist())
    moved = (click != shuffled)[np.isfinite(click)].mean()
    assert 0.85 < moved < 1


def test_taking_images_takes_their_pairs_along(coco):
    rows = np.array(sorted([row(coco, 3), row(coco, 12)]))
    part = coco.take(rows)
    assert sorted(part.image_id.tolist()) == ["12", "3"]
    assert pairs(part) == [pair for pair in pairs(coco) if pair[0] in ("3", "12")]
    for kind in ("click", "first_click", "oracle"):
        whole = make_coco_target(kind, seed=0, coco=coco)[rows]
        assert np.array_equal(make_coco_target(kind, seed=0, coco=part), whole, equal_nan=True)
    assert coco.take(np.array([], np.int64)).label_NC.shape == (0, 80)


def test_of_several_icons_of_a_class_the_last_with_a_place_counts(folder, tmp_path):
    table = pq.read_table(folder / "data" / "train-00000-of-00001.parquet")
    rows = table.to_pylist()
    three = next(r for r in rows if r["image_id"] == 3)
    three["icon_label"] = [DOG, DOG, DOG, CAR]
    three["last_add_x"] = [0.1, 0.2, None, 0.3]
    three["last_add_y"] = [0.5, 0.6, 0.7, None]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, table.schema), tmp_path / "data" / "train-0.parquet")
    coco = read_coco(tmp_path)
    target = make_coco_target("click", seed=0, coco=coco)[row(coco, 3)]
    assert target[DOG].tolist() == [0.2, 0.6]
    assert np.isnan(target[CAR]).all()


def test_a_dataset_without_ground_truth_cannot_be_trained_on(tmp_path):
    folder = convert(tmp_path, ACTIONS, None)
    with pytest.raises(DatasetError, match=r"labels of 4 of 4 images are unknown.*--instances"):
        read_coco(folder)
    (tmp_path / "b").mkdir()
    folder = convert(tmp_path / "b", ACTIONS, {k: v for k, v in TRUTH.items() if k != 12})
    with pytest.raises(DatasetError, match="labels of 1 of 4 images are unknown"):
        read_coco(folder)


def test_another_dataset_is_refused_by_name(folder, tmp_path):
    (tmp_path / "manifest.json").write_text('{"dataset": "imagenet-ab"}')
    several = find_recipe("coco_ab:resnet50")
    with pytest.raises(OptionError, match=r"holds imagenet-ab.* one label.*data\.dataset=coco-ab"):
        of_dataset(several, tmp_path)
    with pytest.raises(OptionError, match=r"holds coco-ab, where an image has several labels"):
        of_dataset(find_recipe("debug:tiny"), folder)
    assert of_dataset(several, tmp_path / "nowhere") == several
    assert of_dataset(several, folder) == several
    with pytest.raises(DatasetError, match=r"no data/train-\*\.parquet"):
        read_coco(tmp_path / "nowhere")
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "data").mkdir()
    for name in (folder / "data").iterdir():
        (tmp_path / "data" / name.name).write_bytes(name.read_bytes())
    assert len(read_coco(tmp_path).image_id) == 4
    with pytest.raises(DatasetError, match=r"no actions/train-\*\.parquet"):
        read_coco(tmp_path, target="first_click")


# --- docs/definitions.md#masking and docs/definitions.md#coco-notebook ----------


def test_the_notebook_drops_a_label_whose_icon_the_crop_loses():
    label = np.zeros(80, np.float32)
    label[[DOG, CAR]] = 1  # two dogs; the car has no icon
    point = np.full((80, 2), np.nan)
    point[DOG] = [0.1, 0.5]
    matrix = crop_resize((40, 0, 100, 100), (60, 100))  # x in [.4, 1] of 100 x 100
    placed, inside = place(matrix, point, (100, 100), (60, 100))
    assert not inside[DOG]  # here the point is masked, and the label stays
    found = notebook_labels(label, placed, inside)
    assert found[DOG] == 0 and found[CAR] == 1 and found.sum() == 1
    assert found.dtype == np.float32 and label[DOG] == 1
    placed, inside = place(matrix, np.where(np.isnan(point), np.nan, 0.5), (100, 100), (60, 100))
    assert notebook_labels(label, placed, inside)[DOG] == 1


def test_points_of_many_classes_move_with_the_crop():
    point = np.full((80, 2), np.nan)
    point[0], point[1], point[2] = (0.5, 0.5), (0.3, 0.5), (0.2, 0.5)
    placed, inside = place(
        crop_resize((100, 40, 300, 140), (200, 100)), point, (400, 200), (200, 100)
    )
    np.testing.assert_allclose(placed[:3], [[0.5, 0.6], [0.1, 0.6], [-0.1, 0.6]])
    assert inside[:3].tolist() == [True, True, False] and not inside[3:].any()


def test_labels_of_a_class_without_icon_stay_whatever_the_crop_shows():
    rng = np.random.default_rng(0)
    for _ in range(20):
        label = (rng.random(80) < 0.3).astype(np.float32)
        point = rng.random((80, 2))
        point[rng.random(80) < 0.5] = np.nan
        inside = (rng.random(80) < 0.5) & np.isfinite(point).all(axis=1)
        expected = [
            0.0 if np.isfinite(p[0]) and not i else float(value)
            for value, p, i in zip(label, point, inside, strict=True)
        ]
        assert notebook_labels(label, point, inside).tolist() == expected


# --- instances -----------------------------------------------------------------------------------


def test_classes_of_an_instances_file_count_crowds_and_empty_images(tmp_path):
    image_id, label_NC = read_truth(instances(tmp_path / "i.json", TRUTH))
    assert image_id.tolist() == ["3", "5", "7", "12", "99"]
    assert label_NC.dtype == np.float32
    assert [np.flatnonzero(labels).tolist() for labels in label_NC] == [
        [CAR, DOG, CUP],
        [],
        [PERSON, CAR, DOG],
        [CUP],
        [CUP],
    ]


SIZED = {"id": 1, "width": 4, "height": 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "has no images"),
        ({"images": [SIZED, SIZED]}, "image 1 is there twice"),
        ({"annotations": [{"image_id": 1, "category_id": 12}]}, "12 is missing or unknown"),
        ({"annotations": [{"image_id": 2, "category_id": 1}]}, "2 is missing or unknown"),
        ({"annotations": [{"image_id": 1}]}, "'category_id' is missing or unknown"),
        ({"annotations": None}, "expected"),
    ],
)
def test_files_that_are_no_instances_are_refused(tmp_path, change, message):
    file = tmp_path / "i.json"
    file.write_text(json.dumps({"images": [SIZED], "annotations": [], **change}))
    with pytest.raises(LuabError, match=message):
        read_truth(file)


def test_categories_go_by_their_names(tmp_path):
    file = tmp_path / "i.json"
    content = {
        "images": [SIZED],
        "annotations": [{"image_id": 1, "category_id": 2}],
        "categories": [{"id": 2, "name": "Traffic_Light"}],
    }
    file.write_text(json.dumps(content))
    assert np.flatnonzero(read_truth(file)[1][0]).tolist() == [9]


def test_validation_images_are_exactly_those_of_the_instances_file(tmp_path):
    file = instances(tmp_path / "i.json", TRUTH)
    for number in (3, 5, 7, 12, 1000):
        path = tmp_path / "val" / f"COCO_val2014_{number:012}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (number, 1)).save(path)
    with pytest.raises(ImagesError, match=r"1 of 5 images .* not found, e\.g\. 99; an mAP over"):
        coco_split(tmp_path / "val", file)
    Image.new("RGB", (99, 1)).save(tmp_path / "val" / "COCO_val2014_000000000099.png")
    split = coco_split(tmp_path / "val", file)
    assert [split.load(i).size[0] for i in range(len(split))] == [3, 5, 7, 12, 99]
    assert split.label.shape == (5, 80) and split.label[4, CUP] == 1


# --- the shared data -----------------------------------------------------------------------------


@pytest.mark.skipif(not (SHARED / "data/coco").is_dir(), reason="needs ../shared/data")
def test_real_images_and_the_labels_of_the_data_package_agree(tmp_path):
    root = SHARED / "data/coco"
    convert_coco(
        SHARED / "data/raw/coco_ab_tiny.json",
        tmp_path / "coco-ab",
        instances=root / "annotations/instances_train.json",
        worker_key=KEY,
        shown=False,
    )
    coco = read_coco(tmp_path / "coco-ab", target="first_click")
    image_id, label_NC = read_truth(root / "annotations/instances_train.json")
    order = {name: i for i, name in enumerate(image_id.tolist())}
    same = label_NC[[order[name] for name in coco.image_id.tolist()]]
    assert np.array_equal(coco.label_NC, same)
    click = make_coco_target("click", seed=0, coco=coco)
    table = pq.read_table(tmp_path / "coco-ab/data").to_pylist()
    for number, record in enumerate(table):
        expected = {
            label: [x, y]
            for label, x, y in zip(
                record["icon_label"], record["last_add_x"], record["last_add_y"], strict=True
            )
            if x is not None and label in record["labels"]
        }
        there = np.flatnonzero(np.isfinite(click[number]).all(axis=1)).tolist()
        assert {label: click[number, label].tolist() for label in there} == expected
    split = coco_split(root / "images/val", root / "annotations/instances_val.json")
    assert len(split) == 50 and split.load(0).size == (640, 426)


def test_a_copy_of_a_shard_is_refused(folder, tmp_path):
    copied = Path(shutil.copytree(folder, tmp_path / "coco-ab"))
    (shard,) = (copied / "data").iterdir()
    shutil.copy(shard, shard.with_name(f"{shard.stem} copy.parquet"))
    shutil.copy(shard, shard.with_name(f"._{shard.name}"))  # a twin of macOS is noise
    with pytest.raises(DatasetError, match=r"copy\.parquet: .* counted twice"):
        read_coco(copied)
