from __future__ import annotations

import pytest

from luab_data.errors import ImagesError
from luab_train.evaluate.wsol.metadata import read_metadata

FILES = {
    "image_ids.txt": "val/a.JPEG\nval/b.JPEG\n",
    "class_labels.txt": "val/b.JPEG,7\nval/a.JPEG,3\n",
    "image_sizes.txt": "val/a.JPEG,500,375\nval/b.JPEG,333,500\n",
    "localization.txt": "val/b.JPEG,1,2,3,4\nval/a.JPEG,111,108,441,193\nval/b.JPEG,0,0,9,9\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_files_in_any_order_become_rows_in_the_order_of_the_ids(folder):
    metadata = read_metadata(folder)
    assert metadata.image_id == ("val/a.JPEG", "val/b.JPEG")
    assert metadata.label.tolist() == [3, 7]
    assert metadata.size_wh.tolist() == [[500, 375], [333, 500]]
    assert metadata.boxes.bounds.tolist() == [0, 1, 3]
    assert metadata.boxes.values.tolist() == [[111, 108, 441, 193], [1, 2, 3, 4], [0, 0, 9, 9]]
    assert metadata.files(folder)[1] == ("val/b.JPEG", folder / "val/b.JPEG")
    assert len(metadata) == 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("image_ids.txt", "val/a.JPEG\nval/a.JPEG\n", "listed twice.*number 2"),
        ("image_ids.txt", "\n", "is empty; expected lines id"),
        ("class_labels.txt", "val/a.JPEG,3\n", r"1 images.*'val/b.JPEG' has 0; expected one"),
        ("class_labels.txt", "val/a.JPEG,3\nval/b.JPEG,7\nval/a.JPEG,3\n", "'val/a.JPEG' has 2"),
        ("class_labels.txt", "val/a.JPEG,dog\n", "line 1: 'dog'; expected whole numbers label"),
        ("class_labels.txt", "val/a.JPEG,3,4\n", "line 1: 3 fields.*expected 2: id,label"),
        ("image_sizes.txt", "val/a.JPEG,500,375\nval/b.JPEG,0,500\n", "without area.*'val/b.JPEG'"),
        ("localization.txt", "val/a.JPEG,1,2,3,4\n", "'val/b.JPEG' has 0; expected at least one"),
        ("localization.txt", "val/c.JPEG,1,2,3,4\n", "'val/c.JPEG' is not in image_ids.txt"),
        ("localization.txt", "val/a.JPEG,5,2,3,4\nval/b.JPEG,1,2,3,4\n", "not x0,y0,x1,y1"),
        ("localization.txt", "val/a.JPEG,-1,2,3,4\nval/b.JPEG,1,2,3,4\n", "expected 0 <= x0"),
        ("localization.txt", "val/a.JPEG,1.5,2,3,4\n", "line 1: .*expected whole numbers"),
        ("localization.txt", "val/a.JPEG,m.png,i.png\n", "look like mask files"),
    ],
)
def test_a_wrong_file_says_where_and_what_was_found(folder, name, text, said):
    (folder / name).write_text(text)
    with pytest.raises(ImagesError, match=said) as error:
        read_metadata(folder)
    assert str(folder / name) in str(error.value)


def test_a_missing_file_says_what_a_folder_holds(folder):
    (folder / "image_sizes.txt").unlink()
    with pytest.raises(ImagesError, match=r"image_sizes.txt: cannot be read.*localization.txt"):
        read_metadata(folder)
