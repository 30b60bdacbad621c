"""Erasing: which pixels, what stands there instead, and that the view follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import SHARED
from PIL import Image

from luab_data.errors import OptionError
from luab_train.data.inputs import EvalCrop
from luab_train.evaluate.coco.erasing import FILLS, Eraser, dilated
from luab_train.evaluate.coco.scenes import covered, decode, find_scenes, load_rgb
from luab_train.sections import Data

MEAN = (124, 116, 104)


def drawn(picture: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in picture.split()])


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


# --- which pixels --------------------------------------------------------------------------------


def test_a_mask_grows_by_a_disc():
    grown = dilated(drawn("..... ..... ..#.. ..... ....."), 2)
    assert np.array_equal(grown, drawn("..#.. .###. ##### .###. ..#.."))


@given(st.integers(0, 2**32), st.integers(0, 4))
@settings(max_examples=30)
def test_growing_is_as_slow_distances_say(seed: int, radius: int):
    rng = np.random.default_rng(seed)
    mask = rng.random(tuple(rng.integers(1, 15, 2))) < 0.08
    expected = np.zeros_like(mask)
    ys, xs = np.nonzero(mask)
    for y, x in np.ndindex(*mask.shape):
        expected[y, x] = ((ys - y) ** 2 + (xs - x) ** 2 <= radius**2).any()
    assert np.array_equal(dilated(mask, radius), expected)


# --- what stands there instead -------------------------------------------------------------------


@pytest.mark.parametrize("fill", FILLS)
def test_only_the_region_changes_and_nothing_of_the_object_shows_through(fill: Any):
    image = noise(40, 50)
    mask = np.zeros((40, 50), bool)
    mask[10:25, 12:30] = True
    mask[20:30, 20:40] = True
    other = np.where(mask[..., None], 255 - image, image)
    eraser = Eraser(fill=fill)
    erased = eraser.erase(image, eraser.region(mask))
    assert erased.dtype == np.uint8 and np.array_equal(erased[~mask], image[~mask])
    assert np.array_equal(eraser.erase(other, mask), erased), "the object does not matter"
    assert np.array_equal(image, noise(40, 50)), "the original is left alone"


def test_mean_and_black_are_one_colour_each():
    image, mask = noise(6, 6), drawn("...... .##... .##... ...... ...... ......")
    assert (Eraser().erase(image, mask)[mask] == MEAN).all()
    assert (Eraser(colour=(1, 2, 3)).erase(image, mask)[mask] == (1, 2, 3)).all()
    assert not Eraser(fill="black").erase(image, mask)[mask].any()


@pytest.mark.parametrize("fill", ["blur", "inpaint"])
def test_what_surrounds_an_object_is_carried_into_it(fill: Any):
    image = np.full((48, 64, 3), (10, 200, 90), np.uint8)
    mask = np.zeros((48, 64), bool)
    mask[16:32, 20:40] = True
    image[mask] = 255
    erased = Eraser(fill=fill).erase(image, mask)
    # Telea's method rounds at every ring it fills.
    assert np.abs(erased.astype(int) - (10, 200, 90)).max() <= (4 if fill == "inpaint" else 1)


def test_a_blur_has_nothing_to_take_where_all_is_erased():
    image = noise(20, 20)
    assert (Eraser(fill="blur").erase(image, np.ones((20, 20), bool)) == MEAN).all()


def test_inpainting_without_opencv_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(OptionError, match=r"pip install .*\[eval\]"):
        Eraser(fill="inpaint").erase(noise(4, 4), np.ones((4, 4), bool))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fill": "noise"}, "expected one of mean, black, blur, inpaint"),
        ({"dilation": -1}, "expected 0 px or more"),
        ({"max_area": 0.0}, r"a share in \(0, 1\]"),
        ({"max_area": 1.5}, r"a share in \(0, 1\]"),
        ({"colour": (0, 0, 256)}, "from 0 to 255"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(OptionError, match=message):
        Eraser(**changes)


# --- the view follows ----------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", ["crop", "squash"])
@pytest.mark.parametrize("size", [(90, 60), (50, 120), (64, 64)])
def test_erasing_before_the_crop_agrees_with_a_mask_moved_by_the_same_matrix(
    geometry: Any, size: tuple[int, int]
):
    """The second way: resize the mask like the image, and paint over what it covers."""
    data = Data(image_size=28, eval_resize=32, interpolation="bilinear")
    crop = EvalCrop(data) if geometry == "crop" else EvalCrop.squash(data)

    def see(image: np.ndarray) -> np.ndarray:
        return crop(Image.fromarray(image)).image

    width, height = size
    image = noise(height, width)
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height // 2, width // 3 : width // 2 + 8] = True
    found = see(Eraser().erase(image, mask)).astype(int)
    soft = see(np.repeat(np.uint8(255) * mask[..., None], 3, axis=2))[..., 0]
    whole = see(image).astype(int)
    assert (soft == 255).sum() > 10 and (soft == 0).sum() > 100
    assert (np.abs(found[soft == 255] - MEAN) <= 1).all()
    # PIL rounds its first pass, so a share below 1/255 may still move a value by one.
    assert (np.abs(found[soft == 0] - whole[soft == 0]) <= 1).all()
    border = (soft > 0) & (soft < 255)
    assert border.sum() < 0.15 * soft.size, "only the edge is a blend of both"


@pytest.mark.parametrize(
    ("geometry", "size", "expected"),
    [
        ("crop", (100, 50), (slice(3, 47), slice(28, 72))),
        ("crop", (32, 64), (slice(18, 46), slice(2, 30))),
        ("squash", (100, 50), (slice(0, 50), slice(0, 100))),
    ],
)
def test_pixels_are_seen_when_their_centre_is(
    geometry: Any, size: tuple[int, int], expected: tuple[slice, slice]
):
    data = Data(image_size=28, eval_resize=32)
    crop = EvalCrop(data) if geometry == "crop" else EvalCrop.squash(data)
    assert covered(crop, size) == expected


# --- real masks ----------------------------------------------------------------------------------

VAL = SHARED / "data" / "coco" / "images" / "val"
INSTANCES = SHARED / "data" / "coco" / "annotations" / "instances_val.json"


@pytest.mark.skipif(not INSTANCES.is_file(), reason="needs ../shared/data/coco")
def test_erased_pixels_are_those_that_pycocotools_decodes(capsys: pytest.CaptureFixture[str]):
    from pycocotools.coco import COCO

    from luab_data.schema import COCO_CATEGORIES

    coco = COCO(str(INSTANCES))
    categories = list(COCO_CATEGORIES)
    num_masks = 0
    for scene in find_scenes(VAL, INSTANCES).scenes[:12]:
        image = load_rgb(scene)
        for label in scene.truth.labels:
            ids = coco.getAnnIds(imgIds=[scene.image_id], catIds=[categories[label]])
            expected = np.logical_or.reduce([coco.annToMask(a) > 0 for a in coco.loadAnns(ids)])
            region = Eraser().region(decode(scene.truth.masks[label], scene.truth))
            assert np.array_equal(region, expected)
            changed = (Eraser(colour=(1, 2, 3)).erase(image, region) != image).any(axis=2)
            assert not changed[~expected].any() and changed[expected].mean() > 0.99
            num_masks += 1
    assert num_masks > 20
    assert "index created" in capsys.readouterr().out


def test_a_path_that_is_no_folder_or_file_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="not a folder; expected the images of"):
        find_scenes(tmp_path / "none", tmp_path / "i.json")
    with pytest.raises(ValueError, match="no such file; expected COCO's instances"):
        find_scenes(tmp_path, tmp_path / "i.json")
