"""Dataset folders and image folders, whole and broken."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from train_world import SCHEMA, WNIDS, make_world, row, write_dataset

from luab_data.errors import DatasetError, ImagesError
from luab_train.data.matching import match_rows
from luab_train.data.rows import read_annotations
from luab_train.data.sources import open_images
from luab_train.data.splits import labelled_split

ROWS = [
    row("a_0", 0, box=[0.0, 1, 16, 17]),
    row("a_1", 0, box=None, selected=False),
    row("b_0", 1, box=[2.0, 2, 4, 4]) | {"boxes": [[2.0, 2, 4, 4], [8.0, 8, 16, 32]]},
    row("b_1", 1, box=None),
]


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_columns_come_back_whatever_the_number_of_shards(tmp_path, shards):
    table = read_annotations(write_dataset(tmp_path, ROWS, shards=shards))
    order = np.argsort(table.image_id)
    table = table.take(order)
    assert table.image_id.tolist() == ["a_0", "a_1", "b_0", "b_1"]
    assert table.label.tolist() == [0, 0, 1, 1]
    assert table.classes == WNIDS[:2]
    assert table.size_wh.tolist() == [[32, 32]] * 4
    np.testing.assert_array_equal(
        table.click, [[0.25, 9 / 32], [np.nan] * 2, [3 / 32, 3 / 32], [0.5, 0.5]]
    )
    assert table.boxes.counts.tolist() == [1, 0, 2, 0]
    assert table.boxes.values.tolist() == [[0, 1, 16, 17], [2, 2, 4, 4], [8, 8, 16, 32]]
    assert (table.digest, table.version) == (None, None)


def test_a_click_counts_only_where_the_image_was_selected_in_the_end(tmp_path):
    rows = [
        ROWS[0] | {"selected": False},
        ROWS[2] | {"selected": None},
        ROWS[3] | {"final_click_y": None},
    ]
    assert np.isnan(read_annotations(write_dataset(tmp_path, rows)).click).all()


def test_coordinates_outside_the_image_stay_as_they_are(tmp_path):
    table = read_annotations(write_dataset(tmp_path, [ROWS[0] | {"final_click_x": -0.004}]))
    assert table.click[0, 0] == -0.004


@pytest.mark.parametrize(
    "boxes",
    [
        pa.list_(pa.list_(pa.float64(), 4)),
        pa.list_(pa.list_(pa.int32())),
        pa.large_list(pa.list_(pa.float32())),
    ],
)
def test_boxes_of_any_list_type(tmp_path, boxes):
    schema = SCHEMA.set(SCHEMA.get_field_index("boxes"), pa.field("boxes", boxes))
    rows = [*ROWS, row("b_2", 1, box=None) | {"boxes": None}]
    table = read_annotations(write_dataset(tmp_path, rows, schema=schema))
    assert table.boxes.counts.tolist() == [1, 0, 2, 0, 0]
    assert table.boxes.values[2].tolist() == [8, 8, 16, 32]


def test_a_dataset_without_any_box(tmp_path):
    table = read_annotations(write_dataset(tmp_path, [ROWS[1], ROWS[3]]))
    assert table.boxes.values.shape == (0, 4) and table.boxes.counts.tolist() == [0, 0]


def test_the_manifest_names_content_and_version(tmp_path):
    shard = next((write_dataset(tmp_path, ROWS) / "data").glob("*"))
    files = {f"data/{shard.name}": "0" * 64}
    facts = {"dataset": "imagenet-ab", "content_digest": "sha256:12", "version": "1.0.1"}
    (tmp_path / "manifest.json").write_text(json.dumps({**facts, "files": files}))
    table = read_annotations(tmp_path)
    assert (table.digest, table.version) == ("sha256:12", "1.0.1")
    for text in ("{", "[]"):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(DatasetError, match=r"manifest\.json"):
            read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": "a_0"}, "image_id is not unique"),
        ({"label": 5}, r"labels are \[0, 5\].*expected 0, 1"),
        ({"label": None}, "column label has 1 nulls"),
        ({"wnid": WNIDS[0]}, "a wnid belongs to two labels"),
        ({"label": 0}, r"2 \(label, wnid\) pairs"),
        ({"boxes": [[1.0, 2.0, 3.0]]}, "a box has not four numbers"),
    ],
)
def test_a_table_that_is_not_ours_is_refused(tmp_path, change, message):
    write_dataset(tmp_path, [ROWS[0], ROWS[2] | change])
    with pytest.raises(DatasetError, match=message):
        read_annotations(tmp_path)


def test_a_folder_without_shards_or_with_broken_ones(tmp_path):
    with pytest.raises(DatasetError, match=r"no data/train-\*\.parquet.*luab-data convert"):
        read_annotations(tmp_path)
    shard = write_dataset(tmp_path, ROWS) / "data" / "train-00000-of-00001.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-20])
    with pytest.raises(DatasetError, match="damaged"):
        read_annotations(tmp_path)
    pq.write_table(pa.table({"image_id": ["x"]}), shard)
    with pytest.raises(DatasetError, match=r"has no column .* boxes, .*luab-data derive"):
        read_annotations(tmp_path)


def image(path, mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (4, 3)).save(path)


def test_images_are_listed_by_class_and_id_and_nothing_else_is(tmp_path):
    for name in ("b/2.jpg", "b/1.PNG", "a/x.JPEG", ".cache/1.jpg", "a/.hidden.jpg", "a/deep/1.jpg"):
        image(tmp_path / name)
    (tmp_path / "a" / "a_boxes.txt").write_text("")
    (tmp_path / "readme.jpg").write_text("")
    tree = open_images(tmp_path)
    assert [str(tree.path(i).relative_to(tmp_path)) for i in range(3)] == [
        "a/x.JPEG",
        "b/1.PNG",
        "b/2.jpg",
    ]
    assert len(tree.image_id) == 3


def test_image_folders_that_are_none(tmp_path):
    with pytest.raises(ImagesError, match="not a folder"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(ImagesError, match="no image found"):
        open_images(tmp_path)
    image(tmp_path / "a" / "1.png")
    image(tmp_path / "a" / "1.jpg")
    with pytest.raises(ImagesError, match=r"a/1\.jpg and a/1\.png are the same image"):
        open_images(tmp_path)


def test_rows_meet_their_images_by_class_and_id(tmp_path):
    world = make_world(tmp_path)
    table, tree = read_annotations(world.data), open_images(world.images)
    matched = match_rows(table, tree, missing="raise", where=world.data)
    assert left_over(matched) == (0, 0) and matched.has_image.all()
    for r, t in enumerate(matched.image):
        assert tree.path(t).stem == table.image_id[r]
        assert tree.path(t).parent.name == table.classes[table.label[r]]


def test_missing_and_unused_images_are_counted_and_named(tmp_path):
    world = make_world(tmp_path)
    for number in (3, 4, 5, 6):
        (world.images / WNIDS[0] / f"{WNIDS[0]}_{number}.png").unlink()
    image(world.images / WNIDS[1] / "extra.png")
    table, tree = read_annotations(world.data), open_images(world.images)
    with pytest.raises(ImagesError) as raised:
        match_rows(table, tree, missing="raise", where=world.data)
    assert "no image for 4 of 32 rows" in str(raised.value)
    assert f"e.g. {', '.join(f'{WNIDS[0]}_{n}' for n in (3, 4, 5))};" in str(raised.value)
    assert "--set data.missing_images=skip" in str(raised.value)
    matched = match_rows(table, tree, missing="skip", where=world.data)
    assert left_over(matched) == (4, 1)
    assert matched.has_image.sum() == 28
    assert (tree.image_id[matched.image] == table.image_id[matched.has_image]).all()


def left_over(matched) -> tuple[int, int]:
    return matched.rows_without_image.count, matched.images_without_row.count


@pytest.mark.parametrize("missing", ["raise", "skip"])
def test_none_found_is_an_error_under_any_policy(tmp_path, missing):
    world = make_world(tmp_path)
    table, tree = read_annotations(world.data), open_images(world.val)
    with pytest.raises(ImagesError, match=r"none of its 10 .* Is it the right folder"):
        match_rows(table, tree, missing=missing, where=world.data)


def test_an_image_in_the_folder_of_another_class_is_not_the_rows_image(tmp_path):
    world = make_world(tmp_path)
    name = f"{WNIDS[0]}_0.png"
    (world.images / WNIDS[0] / name).rename(world.images / WNIDS[1] / name)
    table, tree = read_annotations(world.data), open_images(world.images)
    assert left_over(match_rows(table, tree, missing="skip", where=world.data)) == (1, 1)


def test_pictures_of_one_name_in_two_classes_go_to_the_rows_that_convert_made_of_them(tmp_path):
    write_dataset(tmp_path, [row("1", 0, box=None), row(f"{WNIDS[1]}_1", 1, box=None)])
    for wnid in WNIDS[:2]:
        image(tmp_path / "images" / wnid / "1.png")
    tree = open_images(tmp_path / "images")
    matched = match_rows(read_annotations(tmp_path), tree, missing="raise", where=tmp_path)
    assert [tree.wnid[i] for i in matched.image] == list(WNIDS[:2])
    # The other class' picture is no stand-in for one that is lacking.
    (tmp_path / "images" / WNIDS[0] / "1.png").unlink()
    tree = open_images(tmp_path / "images")
    matched = match_rows(read_annotations(tmp_path), tree, missing="skip", where=tmp_path)
    assert matched.has_image.tolist() == [False, True]


def test_labels_of_an_evaluation_folder_are_those_of_the_run(tmp_path):
    for name in ("b/1.png", "c/2.png", "c/3.png"):
        image(tmp_path / name)
    split = labelled_split(
        open_images(tmp_path),
        ("a", "b", "c"),
        {"3": np.array([[0.0, 0, 1, 1]]), "9": np.zeros((1, 4))},
    )
    assert split.label.tolist() == [1, 2, 2]
    assert split.boxes.counts.tolist() == [0, 0, 1]
    with pytest.raises(ImagesError, match=r"1 of its 2 classes are not .* run, e\.g\. c"):
        labelled_split(open_images(tmp_path), ("a", "b"), {})


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_colour_mode_is_decoded_to_rgb(tmp_path, mode):
    image(tmp_path / "a" / ("1.tif" if mode == "CMYK" else "1.png"), mode)
    split = labelled_split(open_images(tmp_path), ("a",), {})
    assert split.load(0).mode == "RGB"


def test_a_broken_image_is_named(tmp_path):
    world = make_world(tmp_path)
    split = labelled_split(open_images(world.val), WNIDS[:2], {})
    path = split.source.path(3)
    for content in (b"", b"not an image", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(ImagesError, match=f"{path.name}: cannot be decoded"):
            split.load(3)


def test_folders_that_are_numbers_are_names_and_not_places_in_an_order(tmp_path):
    for name in ("3", "7"):
        image(tmp_path / name / f"{name}0.png")
    assert labelled_split(open_images(tmp_path), ("7", "3"), {}).label.tolist() == [1, 0]
    with pytest.raises(ImagesError, match="are not classes of the run"):
        labelled_split(open_images(tmp_path), tuple("abcdefgh"), {})
