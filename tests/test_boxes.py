"""luab_data.boxes: every format, drawn by hand, and what each one refuses."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luab_data.boxes import LabelledImage, read_boxes, read_labelled_images
from luab_data.errors import ImagesError

SHARED = Path(__file__).parents[1].parent / "shared"

VOC = """<annotation>
  <folder>n01443537</folder>
  <filename>{filename}</filename>
  <size><width>500</width><height>375</height><depth>3</depth></size>
  {objects}
</annotation>
"""
OBJECT = """<object><name>n01443537</name><part><bndbox><xmin>9</xmin></bndbox></part>
  <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


def voc(path: Path, filename: str, *boxes: tuple[object, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(OBJECT.format(*box) for box in boxes)
    path.write_text(VOC.format(filename=filename, objects=objects), encoding="utf-8")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def image(path: Path, size: tuple[int, int]) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def as_lists(boxes: dict[str, np.ndarray]) -> dict[str, list[list[float]]]:
    assert all(b.dtype == np.float64 and b.ndim == 2 and b.shape[1] == 4 for b in boxes.values())
    return {name: b.tolist() for name, b in boxes.items()}


def test_tiny_imagenet_tree_tabs_and_spaces_and_several_boxes(tmp_path: Path) -> None:
    write(tmp_path / "n1/n1_boxes.txt", "n1_0.JPEG\t0\t10\t63\t58\nn1_0.JPEG\t1\t2\t3\t4\n")
    write(tmp_path / "n2/n2_boxes.txt", "\nn2_7.JPEG 5 6.5 7 8\r\n")
    assert as_lists(read_boxes(tmp_path)) == {
        "n1_0": [[0, 10, 63, 58], [1, 2, 3, 4]],
        "n2_7": [[5, 6.5, 7, 8]],
    }
    assert as_lists(read_boxes(str(tmp_path / "n2/n2_boxes.txt"))) == {"n2_7": [[5, 6.5, 7, 8]]}


def test_voc_folder_nested_with_and_without_extension_and_placeholder(tmp_path: Path) -> None:
    voc(tmp_path / "a/n1_1.xml", "n1_1", (1, 2, 3, 4), (5, 6, 7, 8))
    voc(tmp_path / "b/c/n1_2.xml", "n1_2.JPEG", (0, 0, 9.5, 9))
    voc(tmp_path / "n1_3.xml", "%s", (1, 1, 2, 2))
    voc(tmp_path / "n1_4.xml", "n1_4")  # no object: no boxes, so absent
    write(tmp_path / "._n1_5.xml", "\x00\x05not xml")
    assert as_lists(read_boxes(tmp_path)) == {
        "n1_3": [[1, 1, 2, 2]],
        "n1_1": [[1, 2, 3, 4], [5, 6, 7, 8]],
        "n1_2": [[0, 0, 9.5, 9]],
    }


@pytest.mark.parametrize("column", ["image_id", "file", "filename"])
def test_csv_with_named_columns_in_any_order(tmp_path: Path, column: str) -> None:
    path = write(
        tmp_path / "boxes.csv",
        f"\ufeffymax,label,{column},xmin,ymin,xmax\n"
        "4,fish,n1_0.JPEG,1,2,3\n8,fish,n1/n1_0.JPEG,5,6,7\n\n1,cat,n2_1,0,0,1\n",
    )
    assert as_lists(read_boxes(path)) == {
        "n1_0": [[1, 2, 3, 4], [5, 6, 7, 8]],
        "n2_1": [[0, 0, 1, 1]],
    }


def test_kaggle_csv_groups_of_five(tmp_path: Path) -> None:
    path = write(
        tmp_path / "LOC_val_solution.csv",
        "ImageId,PredictionString\n"
        "ILSVRC2012_val_00048981,n03995372 85 1 499 272 \n"
        "ILSVRC2012_val_00000002,n1 1 2 3 4 n1 5 6 7 8 \n"
        "ILSVRC2012_val_00000003,\n",
    )
    assert as_lists(read_boxes(path)) == {
        "ILSVRC2012_val_00048981": [[85, 1, 499, 272]],
        "ILSVRC2012_val_00000002": [[1, 2, 3, 4], [5, 6, 7, 8]],
    }


def test_numbers_stay_as_they_stand_even_swapped_or_outside(tmp_path: Path) -> None:
    path = write(tmp_path / "x_boxes.txt", "a.JPEG -3 9 1 4e1\n")
    assert as_lists(read_boxes(path)) == {"a": [[-3, 9, 1, 40]]}


def test_tree_with_neither_is_empty(tmp_path: Path) -> None:
    write(tmp_path / "n1/readme.txt", "words")
    write(tmp_path / "boxes.csv", "not read from a folder")
    assert read_boxes(tmp_path) == {}


def test_clash_across_files_even_with_equal_numbers(tmp_path: Path) -> None:
    voc(tmp_path / "a/n1_1.xml", "n1_1", (1, 2, 3, 4))
    voc(tmp_path / "b/n1_1.xml", "n1_1", (1, 2, 3, 4))
    with pytest.raises(ImagesError, match=r"b.n1_1\.xml: boxes of image 'n1_1' were already"):
        read_boxes(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x_boxes.txt", "a.JPEG 0 0 1 1\na.JPEG 0 0 1\n", r"line 2: found 4 fields; expected 5"),
        ("x_boxes.txt", "a.JPEG\tn1\t0\t0\t1\t1\n", r"line 1: found 6 fields; expected 5"),
        ("x_boxes.txt", "a.JPEG 0 nan 1 1\n", r"line 1: ymin is 'nan'; expected a number"),
        ("x_boxes.txt", "a.JPEG 0 0 1_0 1\n", r"line 1: xmax is '1_0'"),
        ("x_boxes.txt", "a.JPEG 0 0 1 1e999\n", r"line 1: ymax is '1e999'"),
        ("x_boxes.txt", ".JPEG/\t0\t0\t1\t1\n", r"line 1: found no image name"),
        ("b.csv", "", r"line 1: found the columns \(none\)"),
        ("b.csv", "name,xmin,ymin,xmax,ymax\n", r"line 1: found the columns name, xmin"),
        ("b.csv", "file,xmin,ymin,xmax\n", r"expected one of image_id, file, filename and xmin"),
        ("b.csv", "file,xmin,ymin,xmax,ymax\na,1,2,3\n", r"line 2: found 4 fields; expected 5"),
        ("b.csv", "file,xmin,ymin,xmax,ymax\na,1,2,,4\n", r"line 2: xmax is ''"),
        ("b.csv", 'file,xmin,ymin,xmax,ymax\n"a,1,2,3,4\n', r"line 2: not CSV"),
        ("b.csv", "ImageId,PredictionString\na,n1 1 2 3\n", r"line 2: PredictionString has 4"),
        ("b.json", "{}", r"found a \.json file; expected boxes as \.csv"),
        ("b.xml", "<annotation>", r"not well-formed XML"),
        ("b.xml", "<a><b/></a>", r"found <a> as the root; expected <annotation>"),
        ("b.xml", "<annotation><object/></annotation>", r"object 0: found no complete bndbox"),
        ("b.xml", VOC.format(filename="a", objects=OBJECT.format("x", 1, 2, 3)), r"xmin is 'x'"),
        (
            "b.xml",
            '<!DOCTYPE a [<!ENTITY x "y">]><annotation/>',
            r"found a DTD or an entity declaration",
        ),
    ],
)
def test_bad_files_say_where_found_expected(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(ImagesError, match=message) as caught:
        read_boxes(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-16-be"])
def test_a_dtd_cannot_hide_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>'
    (tmp_path / "a.xml").write_bytes(bomb.encode(encoding))
    with pytest.raises(ImagesError):
        read_boxes(tmp_path)


def test_missing_source(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="no such file or folder"):
        read_boxes(tmp_path / "nowhere")


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60), suffix=st.sampled_from(["_boxes.txt", ".csv", ".xml"]))
def test_any_bytes_are_boxes_or_an_images_error(
    data: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(data)
    try:
        boxes = read_boxes(path)
    except ImagesError:
        return
    assert all(np.isfinite(b).all() and b.shape[1:] == (4,) and len(b) for b in boxes.values())


def test_labelled_images_sorted_with_sizes_and_empty_boxes(tmp_path: Path) -> None:
    image(tmp_path / "n2/n2_0.png", (7, 5))
    image(tmp_path / "n1/n1_9.JPEG", (40, 30))
    image(tmp_path / "n1/n1_10.webp", (3, 4))
    image(tmp_path / "n1/n1_8.bmp", (2, 2))
    write(tmp_path / "n1/n1_boxes.txt", "n1_9.JPEG\t0\t1\t39\t29\nelsewhere.JPEG\t0\t0\t1\t1\n")
    write(tmp_path / "classes.tsv", "n1\tfish\n")
    images = read_labelled_images(str(tmp_path))
    assert [(i.image_id, i.wnid, i.width, i.height) for i in images] == [
        ("n1_10", "n1", 3, 4),
        ("n1_8", "n1", 2, 2),
        ("n1_9", "n1", 40, 30),
        ("n2_0", "n2", 7, 5),
    ]
    assert [i.boxes.shape for i in images] == [(0, 4), (0, 4), (1, 4), (0, 4)]
    assert images[2].boxes.tolist() == [[0, 1, 39, 29]]
    assert all(isinstance(i, LabelledImage) for i in images)


def test_labelled_images_with_boxes_from_elsewhere(tmp_path: Path) -> None:
    image(tmp_path / "tree/n1/n1_0.png", (7, 5))
    voc(tmp_path / "xml/n1_0.xml", "n1_0", (1, 1, 2, 2))
    (only,) = read_labelled_images(tmp_path / "tree", tmp_path / "xml")
    assert only.boxes.tolist() == [[1, 1, 2, 2]]
    other = write(tmp_path / "o_boxes.txt", "n9_9.JPEG 0 0 1 1\n")
    with pytest.raises(ImagesError, match="none of its 1 images is in"):
        read_labelled_images(tmp_path / "tree", other)


def test_labelled_images_refuses_what_is_no_tree_of_images(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="not a folder"):
        read_labelled_images(tmp_path / "nowhere")
    (tmp_path / "n1").mkdir()
    with pytest.raises(ImagesError, match="found no image"):
        read_labelled_images(tmp_path)
    write(tmp_path / "n1/n1_0.JPEG", "no image at all")
    with pytest.raises(ImagesError, match=r"n1_0\.JPEG: not a readable image"):
        read_labelled_images(tmp_path)


@pytest.mark.parametrize("twin", ["n1/n1_0.jpg", "n2/n1_0.png"])
def test_labelled_images_refuses_one_id_twice(tmp_path: Path, twin: str) -> None:
    image(tmp_path / "n1/n1_0.png", (2, 2))
    image(tmp_path / twin, (2, 2))
    with pytest.raises(ImagesError, match="'n1_0' is also that of"):
        read_labelled_images(tmp_path)


def test_real_boxes_of_tiny_imagenet() -> None:
    tree = SHARED / "data/tiny-imagenet/val"
    if not tree.is_dir():
        pytest.skip(f"{tree} is absent: the shared folder is not part of the project")
    images = read_labelled_images(tree)
    assert len(images) == 1000 and {i.wnid for i in images} == {
        p.name for p in tree.iterdir() if p.is_dir()
    }
    one = random.Random(0).choice(images)
    text = (tree / one.wnid / f"{one.wnid}_boxes.txt").read_text()
    assert f"{one.image_id}.JPEG\t" + "\t".join(f"{v:g}" for v in one.boxes[0]) in text
    assert all((i.width, i.height) == (64, 64) and len(i.boxes) == 1 for i in images)
