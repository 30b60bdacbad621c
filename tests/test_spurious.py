"""results/spurious: cut-outs, what their place follows from, and the worst group."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from luab_data import read_boxes
from luab_train.metrics.robustness import worst_group

FOLDER = Path(__file__).parents[1] / "results" / "spurious"


def _module(name: str, file: str):
    """A script of the folder; `prepare` is also the name of another folder's."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made():
    return _module("spurious_prepare", "prepare.py")


@pytest.fixture
def groups(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "prepare", made)
    return _module("spurious_groups", "groups.py")


RED = Image.new("RGBA", (40, 20), (255, 0, 0, 255))
BLUE = Image.new("RGBA", (20, 20), (0, 0, 255, 255))


def drawn(made, own: float, num: int = 200):
    """Red people and blue animals before dark brick and light grass."""
    light = [np.tile([0.0, 40.0], (160, 80)), np.tile([200.0] * 4 + [0.0] * 4, (160, 20))]
    return [*made.composites([[RED], [BLUE]], light, num=num, own=own, seed=0)]


def test_a_cut_out_keeps_what_lies_in_its_polygon(made):
    image = Image.new("RGB", (30, 20), (9, 8, 7))
    cut = made.cut_out(image, [[4, 5, 10, 5, 10, 8, 4, 8]])
    assert cut.size == (7, 4)  # Pillow draws the border
    assert cut.getpixel((3, 2)) == (9, 8, 7, 255)
    corner = made.cut_out(image, [[4, 5, 14, 5, 4, 15]])
    assert corner.getpixel((9, 9))[3] == 0 and corner.getpixel((1, 1))[3] == 255


def test_an_object_keeps_its_place_before_another_texture(made):
    own, other = drawn(made, 1.0), drawn(made, 0.0)
    assert [e.box for e in own] == [e.box for e in other]
    assert all(e.texture == e.label for e in own) and all(e.texture != e.label for e in other)
    for each in own[:20]:
        pixels = np.asarray(each.image).astype(int)
        colour = [(255, 0, 0), (0, 0, 255)][each.label]
        rows, columns = np.nonzero((pixels == colour).all(axis=2))
        found = columns.min(), rows.min(), columns.max(), rows.max()
        assert found == each.box


def test_objects_lie_anywhere_and_one_texture_in_five_is_the_other(made):
    found = drawn(made, 0.8, 1000)
    middle = [(e.box[0] + e.box[2]) / 2 / made.SIZE for e in found]
    assert min(middle) < 0.3 and max(middle) > 0.7 and 0.47 < np.mean(middle) < 0.53
    share = np.mean([e.texture == e.label for e in found])
    assert 0.77 < share < 0.83


def test_groups_lie_in_folders_of_their_own_with_their_boxes(made, tmp_path):
    made.write_tree(tmp_path, iter(drawn(made, 1.0, 6)), grouped=True)
    counts = made.write_tree(tmp_path, iter(drawn(made, 0.0, 6)), grouped=True)
    assert counts == {"person-brick": 0, "person-grass": 3, "animal-brick": 3, "animal-grass": 0}
    files = Counter(path.parent.parent.name for path in tmp_path.glob("*/*/*.png"))
    assert files == dict.fromkeys(made.GROUPS, 3)
    assert len(read_boxes(tmp_path / "person-grass")) == 3
    assert [*made.GROUPS.values()] == [True, False, False, True]


def test_the_worst_group_and_the_gap_worked_by_hand(groups):
    hits = {"person-brick": 9, "person-grass": 3, "animal-brick": 1, "animal-grass": 4}
    num = {"person-brick": 10, "person-grass": 10, "animal-brick": 2, "animal-grass": 4}
    found = groups.measures(hits, num)
    assert found == pytest.approx(
        {"worst_group": 30.0, "mean_group": 67.5, "background_gap": (90 + 100 - 30 - 50) / 2}
    )


def test_a_group_that_was_not_seen_is_not_the_worst():
    np.testing.assert_array_equal(
        worst_group(np.array([[3, 0, 1], [0, 0, 0]]), np.array([[4, 0, 4], [0, 0, 0]])),
        [25.0, np.nan],
    )


def test_the_cut_outs_of_a_picture_are_in_one_part(made):
    coco = Path(__file__).parents[2] / "shared" / "data" / "coco"
    if not coco.is_dir():
        pytest.skip(f"{coco} is not there")
    found = made.cut_outs(coco)
    assert {part for part, _ in found} == set(made.PARTS)
    assert all(len(found[part, wnid]) >= 10 for part in made.PARTS for wnid in made.CLASSES)
    seen = {
        part: {c.tobytes() for wnid in made.CLASSES for c in found[part, wnid]}
        for part in made.PARTS
    }
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["val"]
