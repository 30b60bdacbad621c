from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import (
    KEY,
    SHARED,
    action,
    archive,
    block,
    coco_log,
    coco_record,
    number_of,
    picture,
    tar,
    xml,
)
from PIL import Image

import luab_data
from luab_data.errors import DatasetError, ImagesError
from luab_data.join import join_images
from luab_data.join.sources import find_images, image_files
from luab_data.store.find import coco_ids, imagenet_ids

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")

IDS = [f"n0000000{1 + i % 2}_{i}" for i in range(8)]


@pytest.fixture(scope="module")
def ab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of two classes; the last one has no round."""
    folder = tmp_path_factory.mktemp("ab")
    records = {
        name: xml(
            name,
            [block(clicks=[(1, 0.1 * i, 0.5)], worker=f"W{i % 3}")] if i < 7 else [],
            boxes=[(0, 0, 9, 9)] if i % 2 else None,
        )
        for i, name in enumerate(IDS)
    }
    source = archive(folder / "raw.tar.gz", dict(reversed(records.items())))
    luab_data.convert_imagenet(source, folder / "imagenet-ab", worker_key=KEY)
    return folder / "imagenet-ab"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of all but the first of the eight, and two more."""
    root = tmp_path_factory.mktemp("tree")
    for i, name in list(enumerate(IDS))[1:]:
        picture(root / name[:9] / f"{name}.JPEG", i)
    picture(root / "n00000001/n00000001_77.JPEG")
    picture(root / "n00000003/n00000003_1.jpg")
    return root


# --- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("n01440764/n01440764_10026.JPEG", "n01440764_10026"),
        ("n01440764_10026_n01440764.JPEG", "n01440764_10026"),
        ("/a/b.c/n01440764_10026_n01440764.JPEG", "n01440764_10026"),
        ("C:\\x\\n01440764_1.jpg", "n01440764_1"),
        ("n01440764_1", "n01440764_1"),
        ("x/n01440764_1.PNG", "n01440764_1"),
        ("ILSVRC2012_val_00000293_n01440764.JPEG", "ILSVRC2012_val_00000293"),
        ("val_12.JPEG", "val_12"),
        ("a.b.jpg", "a.b"),
        ("two\nlines/n01440764_1.jpg", "n01440764_1"),
        (None, None),
    ],
)
def test_imagenet_ids(path: str | None, expected: str | None):
    assert imagenet_ids(pa.array([path], pa.string())).to_pylist() == [expected]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("000000123456.jpg", 123456),
        ("train2014/COCO_train2014_000000123456.jpg", 123456),
        ("COCO_val2014_000000000042.jpg", 42),
        ("9.jpg", 9),
        ("000000123456_1.jpg", None),
        ("photo.jpg", None),
        ("COCO_train_000000123456.jpg", None),
        ("99999999999999999999.jpg", None),
        (None, None),
    ],
)
def test_coco_ids(path: str | None, expected: int | None):
    assert coco_ids(pa.array([path], pa.string())).to_pylist() == [expected]


# --- files ---------------------------------------------------------------------------------------


def test_the_walk_finds_pictures_at_any_depth_once(tmp_path: Path):
    for name in ("a.jpg", "x/b.JPEG", "x/y/z/c.png", "x/.hidden.jpg", ".h/d.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path, tmp_path / "x/loop")
    os.symlink(tmp_path / "x", tmp_path / "again")
    os.symlink(tmp_path / "a.jpg", tmp_path / "link.jpg")
    os.symlink(tmp_path / "gone", tmp_path / "dangling.jpg")
    found = sorted(image_files(tmp_path))
    assert {Path(name).name for name in found} == {"a.jpg", "b.JPEG", "c.png", "link.jpg"}
    assert len(found) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are no Unicode")
def test_names_that_are_no_unicode_are_passed_over(tmp_path: Path):
    (tmp_path / "é.jpg").touch()
    with open(os.fsencode(tmp_path) + b"/\xff\xfe.jpg", "wb"):
        pass
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    assert list(image_files(tmp_path)) == ["é.jpg"]
    (tmp_path / "n00000001_1.jpg").touch()
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    (odd / "n00000001_1.jpg").touch()
    with pytest.raises(ImagesError, match="rename the folder"):
        find_images(odd, pa.string())


def test_chunks_of_the_walk_change_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch):
    whole = find_images(tree, pa.string())
    monkeypatch.setattr("luab_data.join.sources.FILES_PER_CHUNK", 2)
    small = find_images(tree, pa.string())
    assert whole.ids.equals(small.ids) and whole.places.equals(small.places)
    assert len(small.ids) == 9


def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path):
    with pytest.raises(ImagesError, match="not a folder"):
        find_images(tmp_path / "gone", pa.string())
    with pytest.raises(ImagesError, match=r"no image found; expected files with one of .bmp"):
        find_images(tmp_path, pa.string())
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train-00000.parquet").touch()
    with pytest.raises(ImagesError, match=r"but Parquet: open it with datasets.load_dataset"):
        find_images(tmp_path, pa.string())
    (tmp_path / "dataset_dict.json").touch()
    with pytest.raises(ImagesError, match="a saved DatasetDict"):
        find_images(tmp_path, pa.string())


@pytest.mark.parametrize("odd", [7, None, ["a.jpg"], b"x"])
def test_images_of_another_kind_are_refused(ab: Path, odd: Any):
    with pytest.raises(ImagesError, match=r"expected an image folder or a datasets.Dataset"):
        join_images(ab, odd)
    with pytest.raises(DatasetError, match="expected a dataset folder or its name"):
        join_images(odd, odd)


# --- the join ------------------------------------------------------------------------------------


def test_rows_and_pictures_find_one_another(ab: Path, tree: Path):
    joined = join_images(ab, tree)
    order = luab_data.load_dataset(ab, split="train")["image_id"]
    assert joined.table["image_id"].to_pylist() == [name for name in order if name != IDS[0]]
    for row in joined.table.to_pylist():
        path = Path(row["image_path"])
        assert path.is_absolute() and path.stem == row["image_id"]
        assert number_of(Image.open(path)) == IDS.index(row["image_id"])
        if row["image_id"] != IDS[7]:
            assert row["final_click_x"] == 0.1 * IDS.index(row["image_id"])
    assert (joined.rows_without_image.count, joined.rows_without_image.examples) == (1, (IDS[0],))
    assert joined.images_without_row.examples == ("n00000001_77", "n00000003_1")
    assert joined.images_without_id.count == 0
    assert str(joined) == (
        "7 rows with image; rows without image: 1, e.g. n00000001_0; images without row: 2, e.g."
        " n00000001_77, n00000003_1; images without id: 0"
    )
    assert repr(joined) == f"JoinedImages({joined})"


def test_the_byproducts_may_be_a_folder_a_table_or_a_dataset(ab: Path, tree: Path):
    table = luab_data.load_dataset(ab, split="train").with_format("arrow")[:]
    shuffled = luab_data.load_dataset(ab, split="train").shuffle(seed=3)
    assert shuffled["image_id"] != table["image_id"].to_pylist()
    whole = join_images(ab, tree)
    for source in (table, shuffled, pa.concat_tables([table.slice(0, 3), table.slice(3)])):
        joined = join_images(source, tree)
        assert joined.table.num_rows == 7
        expected = [name for name in _ids(source) if name != IDS[0]]
        assert joined.table["image_id"].to_pylist() == expected
        rows = sorted(joined.table.to_pylist(), key=lambda row: row["image_id"])
        assert rows == sorted(whole.table.to_pylist(), key=lambda row: row["image_id"])
        assert joined.classes == {"label": ("n00000001", "n00000002")}
    # What was joined before can be joined again, with the pictures where they are now.
    again = join_images(whole.table, tree)
    assert again.table.equals(whole.table)


def _ids(source: Any) -> list[str]:
    column = source["image_id"]
    return column.to_pylist() if isinstance(source, pa.Table) else list(column)


def test_columns_can_be_few(ab: Path, tree: Path):
    joined = join_images(ab, tree, columns=["label", "boxes", "label"])
    assert joined.table.column_names == ["image_id", "label", "boxes", "image_path"]
    assert joined.table.to_pylist()[0].keys() == {"image_id", "label", "boxes", "image_path"}
    assert joined.to_dataset().column_names == ["image_id", "label", "boxes", "image"]
    with pytest.raises(DatasetError, match="no column 'lable'; did you mean 'label'"):
        join_images(ab, tree, columns=["lable"])


@given(
    st.lists(st.integers(0, 30), unique=True, min_size=1),
    st.lists(st.integers(0, 40), unique=True, min_size=1),
    st.integers(0, 30),
)
def test_the_match_equals_a_dictionary(rows: list[int], pictures: list[int], cut: int):
    import datasets

    table = pa.table({"image_id": pa.array(rows), "trace": [[float(i)] * (i % 3) for i in rows]})
    table = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    paths = [f"{i:012d}.jpg" for i in pictures] + ["cover.jpg"]
    image = pa.array([{"bytes": b"never decoded", "path": path} for path in paths])
    images = datasets.Dataset.from_dict({"n": list(range(len(paths)))}).add_column(
        "image", image.to_pylist()
    )
    images = images.cast_column("image", datasets.Image())
    where = {number: row for row, number in enumerate(pictures)}
    expected = [(number, where[number]) for number in rows if number in where]
    if not expected:
        with pytest.raises(ImagesError, match="none of its"):
            join_images(table, images)
        return
    joined = join_images(table, images)
    columns = (joined.table[name].to_pylist() for name in ("image_id", "image_row"))
    assert list(zip(*columns, strict=True)) == expected
    assert joined.table["trace"].to_pylist() == [[float(i)] * (i % 3) for i, _ in expected]
    assert joined.rows_without_image.count == len(set(rows) - set(pictures))
    lonely = sorted(set(pictures) - set(rows))
    assert joined.images_without_row.count == len(lonely)
    assert joined.images_without_row.examples == tuple(map(str, lonely[:5]))
    assert joined.images_without_id.count == 1
    assert joined.images_without_id.examples == (str(len(paths) - 1),)


def test_an_id_that_is_there_twice_is_an_error(ab: Path, tree: Path, tmp_path: Path):
    for folder in ("a", "b"):
        picture(tmp_path / folder / f"{IDS[2]}.JPEG")
    with pytest.raises(ImagesError, match=rf"1 image ids .* e.g. {IDS[2]} as .*/{IDS[2]}.JPEG and"):
        join_images(ab, tmp_path)
    table = luab_data.load_dataset(ab, split="train").with_format("arrow")[:]
    with pytest.raises(DatasetError, match=rf"8 image ids .* once, e.g. {IDS[0]}"):
        join_images(pa.concat_tables([table, table]), tree)
    missing = table.set_column(0, "image_id", pa.array([None, *table["image_id"].to_pylist()[1:]]))
    with pytest.raises(DatasetError, match="image_id is null in 1 rows"):
        join_images(missing, tree)
    with pytest.raises(DatasetError, match="no column 'image_id'"):
        join_images(table.drop_columns(["image_id"]), tree)


def test_pictures_of_one_name_in_two_class_folders_find_their_rows(tmp_path: Path):
    records = {
        f"t/{wnid}/7.xml": xml(f"{wnid}_7").replace(f"<filename>{wnid}_".encode(), b"<filename>")
        for wnid in ("cat", "dog")
    }
    log = tar(tmp_path / "log.tar.gz", [*records.items()])
    luab_data.convert_imagenet(log, tmp_path / "ab", worker_key=KEY)
    for number, wnid in enumerate(("dog", "cat"), 1):
        picture(tmp_path / "pictures" / wnid / "7.jpg", number)
    found = join_images(tmp_path / "ab", tmp_path / "pictures", columns=["wnid"]).table.to_pylist()
    assert [(row["image_id"], row["wnid"]) for row in found] == [("7", "cat"), ("dog_7", "dog")]
    assert all(Path(row["image_path"]).parent.name == row["wnid"] for row in found)


def test_a_class_with_a_slash_has_a_folder_with_an_underscore(tmp_path: Path):
    """And macOS writes the folder in decomposed letters."""
    names = {"Käse": "Ka\u0308se", "cat/tabby": "cat_tabby", "dog": "dog"}
    rows = [{"image": "7.jpg", "label": label, "x": 0.5, "y": 0.5} for label in names]
    done = luab_data.convert_records(rows, tmp_path / "ab", worker_key=KEY)
    for number, folder in enumerate(names.values()):
        picture(tmp_path / "pictures" / folder / "7.jpg", number)
    found = join_images(done.out, tmp_path / "pictures", columns=["wnid"]).table.to_pylist()
    assert {row["wnid"]: Path(row["image_path"]).parent.name for row in found} == names


def test_pictures_of_something_else_are_an_error(ab: Path, tmp_path: Path):
    picture(tmp_path / "000000000009.jpg")
    with pytest.raises(ImagesError) as error:
        join_images(ab, tmp_path)
    text = str(error.value)
    assert "000000000009" in text and IDS[0] in text and "Is it the right folder?" in text


# --- Hugging Face --------------------------------------------------------------------------------


def test_files_become_a_dataset_that_decodes_when_asked(ab: Path, tree: Path):
    dataset = join_images(ab, tree).to_dataset()
    assert dataset.features["label"].names == ["n00000001", "n00000002"]
    assert "image_path" not in dataset.column_names
    for row in dataset:
        assert number_of(row["image"]) == IDS.index(row["image_id"])
        assert dataset.features["label"].int2str(row["label"]) == row["wnid"]
    batch = dataset.select_columns(["image", "final_click_x"]).shuffle(seed=0)[:3]
    assert [number_of(image) for image in batch["image"]] == [
        round(x * 10) if x is not None else 7 for x in batch["final_click_x"]
    ]


def hugging_face(folder: Path, *, keep_path: bool = True, name: str = "image") -> Any:
    """Like imagenet-1k: pictures in Parquet, `<image_id>_<wnid>.JPEG` as path, other labels."""
    import datasets

    rows = []
    for i, image_id in enumerate(IDS):
        body = picture(folder / "one.jpg", i).read_bytes()
        path = f"{image_id}_{image_id[:9]}.JPEG" if keep_path else None
        rows.append({"bytes": body, "path": path})
    features = datasets.Features(
        {
            name: datasets.Image(),
            "label": datasets.ClassLabel(names=["n00000000", "n00000001", "n00000002"]),
        }
    )
    labels = [int(image_id[8]) for image_id in IDS]
    return datasets.Dataset.from_dict({name: rows, "label": labels}, features=features)


@pytest.mark.parametrize("name", ["image", "img"])
@pytest.mark.parametrize("how", ["memory", "disk", "shuffled", "selected"])
def test_rows_of_imagenet_1k_are_joined_by_their_paths(
    ab: Path, tmp_path: Path, how: str, name: str
):
    images = hugging_face(tmp_path, name=name)
    if how == "disk":
        images.save_to_disk(str(tmp_path / "saved"))
        images = tmp_path / "saved"
    elif how == "shuffled":
        images = images.shuffle(seed=1)
    elif how == "selected":
        images = images.select([6, 1, 4])
    joined = join_images(ab, images)
    assert joined.table.num_rows == (3 if how == "selected" else 8)
    if how in ("shuffled", "selected"):
        for row in joined.table.to_pylist():
            assert number_of(images[row["image_row"]][name]) == IDS.index(row["image_id"])
    dataset = joined.to_dataset()
    assert list(dataset["image_id"]) == joined.table["image_id"].to_pylist()
    assert dataset.features["label"].names == ["n00000001", "n00000002"]
    for row in dataset:
        assert number_of(row["image"]) == IDS.index(row["image_id"])
        assert (row["label"], row["image_label"]) == (row["label"], row["label"] + 1)
        if row["image_id"] != IDS[7]:
            assert row["final_click_x"] == 0.1 * IDS.index(row["image_id"])
    assert "image_row" not in dataset.column_names


def test_no_picture_is_decoded_by_a_join(ab: Path, tmp_path: Path, monkeypatch: Any):
    images = hugging_face(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr("datasets.Image.decode_example", fail)
    dataset = join_images(ab, images.shuffle(seed=0)).to_dataset()
    assert len(dataset.remove_columns("image")[:]["image_id"]) == 8
    with pytest.raises(AssertionError, match="was decoded"):
        dataset[0]


def test_pictures_without_paths_are_an_error_or_have_a_number_beside_them(ab: Path, tmp_path: Path):
    images = hugging_face(tmp_path, keep_path=False)
    with pytest.raises(ImagesError, match=r"image.path is null in all 8 rows.*image files instead"):
        join_images(ab, images)
    with pytest.raises(ImagesError, match="0 of them images"):
        join_images(ab, images.remove_columns("image"))
    joined = join_images(ab, images.add_column("image_id", IDS))
    assert joined.table["image_row"].to_pylist() == [
        IDS.index(name) for name in joined.table["image_id"].to_pylist()
    ]
    assert set(joined.to_dataset().column_names) >= {"image_id", "image_image_id"}
    coco = pa.table({"image_id": [3, 1]})
    with pytest.raises(ImagesError, match="image_id is not of type int64"):
        join_images(coco, images.add_column("image_id", IDS))


def test_splits_and_streams_are_refused_with_advice(ab: Path, tmp_path: Path):
    import datasets

    images = hugging_face(tmp_path)
    with pytest.raises(ImagesError, match=r"take one of its splits, e.g. images\['train'\]"):
        join_images(ab, datasets.DatasetDict({"train": images}))
    with pytest.raises(ImagesError, match="load it without streaming"):
        join_images(ab, type("IterableDataset", (), {})())  # a real one imports torch


# --- COCO ----------------------------------------------------------------------------------------


def test_coco_pictures_old_and_new_names(tmp_path: Path):
    records = [coco_record(i, [action("add", "dog", (0.5, 0.5))]) for i in (9, 25, 30)]
    source = coco_log(tmp_path / "raw.json", records)
    luab_data.convert_coco(source, tmp_path / "coco-ab", worker_key=KEY)
    picture(tmp_path / "images/train2017/000000000009.jpg", 1)
    picture(tmp_path / "images/train2014/COCO_train2014_000000000030.jpg", 2)
    picture(tmp_path / "images/cover.jpg")
    joined = join_images(tmp_path / "coco-ab", tmp_path / "images")
    assert joined.table["image_id"].to_pylist() == [9, 30]
    assert joined.rows_without_image.examples == ("25",)
    assert joined.images_without_id.examples == ("cover.jpg",)
    dataset = joined.to_dataset()
    assert [number_of(row["image"]) for row in dataset] == [1, 2]
    label = dataset.features["icon_label"].feature
    assert label.int2str(dataset[0]["icon_label"][0]) == "dog"


@needs_shared
@pytest.mark.slow
def test_the_shared_sets_join(tmp_path: Path):
    raw, images = SHARED / "data/raw", SHARED / "data"
    luab_data.convert_imagenet(raw / "imagenet_ab_tiny.tar.gz", tmp_path / "i", worker_key=KEY)
    joined = join_images(tmp_path / "i", images / "tiny-imagenet", columns=["wnid", "width"])
    assert (joined.table.num_rows, joined.rows_without_image.count) == (10_000, 0)
    assert joined.images_without_row.count == 1_000
    folders = [Path(path).parent.name for path in joined.table["image_path"].to_pylist()]
    assert folders == joined.table["wnid"].to_pylist()
    rows = np.arange(0, 10_000, 997)
    assert {image.size for image in joined.to_dataset().select(rows)["image"]} == {(64, 64)}
    luab_data.convert_coco(raw / "coco_ab_tiny.json", tmp_path / "c", worker_key=KEY)
    joined = join_images(tmp_path / "c", images / "coco/images/train")
    assert (joined.table.num_rows, joined.images_without_row.count) == (97, 3)
