"""Points against packed masks, and instances files read fast or value by value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools import mask as coco_mask

from luab_data import truth as masks
from luab_data.errors import ArchiveError, ImagesError
from luab_data.raw import json_values
from luab_data.raw.instances import read_instances
from luab_data.truth import TrueImage, contains_many


def packed(picture: np.ndarray) -> bytes:
    return bytes(coco_mask.encode(np.asfortranarray(picture.astype(np.uint8)))["counts"])


def unpacked(mask: bytes, width: int, height: int) -> np.ndarray:
    found: np.ndarray = coco_mask.decode({"size": [height, width], "counts": mask})
    return found.astype(bool)


def drawn(picture: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in picture.split()])


def covered(mask: bytes, width: int, height: int) -> np.ndarray:
    """The mask asked pixel by pixel, all in one call."""
    pixels = np.arange(width * height)
    return masks.are_inside([mask] * len(pixels), pixels).reshape(width, height).T


@st.composite
def pictures(draw: Any) -> np.ndarray:
    """Noise, or a few rectangles in a picture so large that lengths take several characters."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if draw(st.booleans()):
        shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        return rng.random(shape) < draw(st.sampled_from([0, 0.1, 0.5, 0.9, 1]))
    picture = np.zeros((draw(st.integers(1, 300)), draw(st.integers(1, 200))), bool)
    for _ in range(draw(st.integers(0, 5))):
        y0, y1 = sorted(rng.integers(0, picture.shape[0] + 1, 2))
        x0, x1 = sorted(rng.integers(0, picture.shape[1] + 1, 2))
        picture[y0:y1, x0:x1] ^= True
    return picture


# --- one mask ------------------------------------------------------------------------------------


def test_lengths_go_down_the_columns_and_the_first_is_of_zeros():
    picture = drawn("#.# .## ..#")
    assert masks.run_lengths([packed(picture)]).values.tolist() == [0, 1, 3, 1, 1, 3]
    assert np.array_equal(covered(packed(picture), 3, 3), picture)


@given(st.lists(pictures(), max_size=6))
def test_every_pixel_is_as_pycocotools_unpacks_it(found: list[np.ndarray]):
    owners = np.repeat(np.arange(len(found)), [picture.size for picture in found])
    pixels = np.concatenate([np.arange(0), *(np.arange(picture.size) for picture in found)])
    order = np.random.default_rng(0).permutation(len(pixels))[:700]
    each = [packed(picture) for picture in found]
    inside = masks.are_inside([each[i] for i in owners[order]], pixels[order])
    flat = np.concatenate([np.zeros(0, bool), *(picture.ravel("F") for picture in found)])
    assert np.array_equal(inside, flat[order])
    lengths = masks.run_lengths(each)
    assert lengths.bounds[-1] == len(lengths.values) and len(lengths.bounds) == len(found) + 1


def test_a_mask_of_no_characters_covers_nothing_and_does_not_move_its_neighbours():
    full = packed(drawn("## ##"))
    found = masks.are_inside([b"", full, b"", b"", full, b""], np.array([0, 3, 0, 1, 0, 2]))
    assert found.tolist() == [False, True, False, False, True, False]
    assert masks.are_inside([], np.array([], np.int64)).tolist() == []


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_empty_runs_are_joined(lengths: list[int]):
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    if not len(flat):
        return
    mask = masks.from_segmentation({"size": [len(flat), 1], "counts": lengths}, 1, len(flat))
    assert mask == packed(flat[:, None])
    again = {"size": [len(flat), 1], "counts": mask.decode()}
    assert masks.from_segmentation(again, 1, len(flat)) == mask


@given(
    st.lists(
        st.lists(st.floats(-20, 60), min_size=3, max_size=8).map(
            lambda xs: [v for x in xs for v in (x, (x * 7) % 41)]
        ),
        max_size=3,
    )
)
def test_polygons_are_rasterised_by_pycocotools(polygons: list[list[float]]):
    mask = masks.from_segmentation(polygons, 50, 40)
    expected = np.zeros((40, 50), bool)
    for rle in coco_mask.frPyObjects(polygons, 40, 50) if polygons else []:
        expected |= coco_mask.decode(rle).astype(bool)
    assert np.array_equal(unpacked(mask, 50, 40), expected)


@pytest.mark.parametrize(
    "segmentation",
    [
        [[0, 0, 1e9, 1, 0, 1]],
        [[0, 0, float("inf"), 1, 0, 1]],
        [[0, 0, True, 1, 0, 1]],
        [[0, 0, 1, 1, 0, 1], [0, 0, 1, 1]],
        {"size": [4, 4], "counts": [15]},
        {"size": [4, 4], "counts": [17, -1]},
        {"size": [4, 4], "counts": [8.0, 8]},
        {"size": [4, 4], "counts": [True] * 16},
        {"size": [4, 4], "counts": "@"},
        {"size": [4, 4], "counts": "0\x7f"},
        {"size": [4, 4], "counts": "P"},  # more should follow
        {"size": [4, 4], "counts": "P" * 20 + "0"},
        {"size": [4, 4], "counts": "é"},
    ],
)
def test_what_would_leave_the_memory_of_pycocotools_is_refused(segmentation: Any):
    with pytest.raises(ValueError):
        masks.from_segmentation(segmentation, 4, 4)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=115), max_size=12))
def test_any_characters_give_a_mask_or_a_value_error(text: str):
    try:
        mask = masks.from_segmentation({"size": [3, 5], "counts": text}, 5, 3)
    except ValueError:
        return
    assert np.array_equal(covered(mask, 5, 3), unpacked(mask, 5, 3))


# --- points --------------------------------------------------------------------------------------


def contains_slow(image: TrueImage, label: int, x: float, y: float) -> bool:
    """The definition (docs/definitions.md#icon-precision), on the whole mask."""
    if label not in image.masks or not (0 <= x <= 1 and 0 <= y <= 1):
        return False
    column = min(int(x * image.width), image.width - 1)
    row = min(int(y * image.height), image.height - 1)
    return bool(unpacked(image.masks[label], image.width, image.height)[row, column])


fractions = (
    st.floats(0, 1) | st.floats(-0.1, 1.1) | st.sampled_from([0.0, 1.0, -0.0, np.nan, 1e300])
)


@given(
    st.lists(st.tuples(pictures(), st.integers(0, 2)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), fractions, fractions), max_size=20),
)
def test_many_points_are_where_the_definition_says(
    found: list[tuple[np.ndarray, int]], points: list[tuple[int, int, float, float]]
):
    images = [TrueImage(p.shape[1], p.shape[0], {label: packed(p)}) for p, label in found]
    asked = [(images[i % len(images)], label, x, y) for i, label, x, y in points]
    answers = contains_many(
        [image for image, *_ in asked],
        np.array([label for _, label, *_ in asked], np.int64),
        np.array([x for *_, x, _ in asked], float),
        np.array([y for *_, y in asked], float),
    )
    assert answers.dtype == bool
    assert answers.tolist() == [contains_slow(*point) for point in asked]
    assert answers.tolist() == [image.contains(*rest) for image, *rest in asked]


# --- instances files -----------------------------------------------------------------------------


def document(count: int = 6) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(np.eye(8, dtype=np.uint8)))
    kinds = [
        [[0, 0, 4, 0, 4, 4, 0, 4]],
        [[1.5, 1.5, 7.25, 2, 7, 7], [0, 5, 2, 5, 2, 7]],
        {"size": [8, 8], "counts": [20, 10, 34]},
        {"size": [8, 8], "counts": rle["counts"].decode()},
        [],
    ]
    return {
        "info": {"description": "drawn"},
        "images": [
            {"license": 5, "height": 8, "width": 8, "id": i, "file_name": f"{i}.jpg"}
            for i in range(count)
        ],
        "annotations": [
            {
                "segmentation": kinds[i % len(kinds)],
                "area": 7.5,
                "iscrowd": 0,
                "image_id": i * 5 % count,
                "category_id": (1, 18)[i % 2],
                "id": 100 + i,
            }
            for i in range(4 * count)
        ],
        "categories": [],
    }


def read(path: Path, data: bytes) -> dict[int, TrueImage] | str:
    path.write_bytes(data)
    try:
        return read_instances(path)
    except (ArchiveError, ImagesError) as error:
        return str(error)


def read_slowly(path: Path, data: bytes) -> dict[int, TrueImage] | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values.Runs, "_run", lambda self, decode: None)
        return read(path, data)


def test_annotations_are_united_by_image_and_class(tmp_path: Path):
    data = document()
    expected: dict[tuple[int, int], np.ndarray] = {}
    for annotation in data["annotations"]:
        label = {1: 0, 18: 16}[annotation["category_id"]]
        mask = masks.from_segmentation(annotation["segmentation"], 8, 8)
        union = expected.setdefault((annotation["image_id"], label), np.zeros((8, 8), bool))
        union |= unpacked(mask, 8, 8)
    found = read(tmp_path / "i.json", json.dumps(data).encode())
    assert isinstance(found, dict) and list(found) == list(range(6))
    got = {(i, k): unpacked(m, 8, 8) for i, image in found.items() for k, m in image.masks.items()}
    assert got.keys() == expected.keys()
    assert all(np.array_equal(got[key], expected[key]) for key in got)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_what_covers_a_class_without_its_crowd_is_kept_in_any_order(
    tmp_path: Path, order: list[int]
):
    data = document(1)
    crowd, thing, other = (
        {"image_id": 0, "category_id": category, "iscrowd": flag, "id": flag, "segmentation": s}
        for category, flag, s in [
            (1, 1, {"size": [8, 8], "counts": [0, 16, 48]}),
            (1, 0, [[1, 1, 4, 1, 4, 4, 1, 4]]),
            (18, 1, {"size": [8, 8], "counts": [60, 4]}),
        ]
    )
    data["annotations"] = [[crowd, thing, other][k] for k in order]
    for keys in (("images", "annotations"), ("annotations", "images")):
        text = json.dumps({key: data[key] for key in keys}).encode()
        found = read(tmp_path / "i.json", text)
        assert isinstance(found, dict) and found[0].labels == [0, 16]
        alone = masks.from_segmentation(thing["segmentation"], 8, 8)
        assert found[0].uncrowded == {0: alone, 16: None}
        both = unpacked(found[0].masks[0], 8, 8)
        assert both[:, :2].all() and both.sum() == 16 + (unpacked(alone, 8, 8)[:, 2:]).sum()


def test_the_usual_file_is_read_in_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain: list[Any] = []
    value = json_values.JsonStream.value
    monkeypatch.setattr(
        json_values.JsonStream, "value", lambda self: plain.append(0) or value(self)
    )
    found = read(tmp_path / "i.json", json.dumps(document(200)).encode())
    assert isinstance(found, dict) and len(found) == 200
    assert len(plain) < 15  # the keys, the first and the last element of both lists


def test_annotations_may_come_first_and_are_not_held_in_memory(tmp_path: Path):
    data = document()
    first = {key: data[key] for key in ("annotations", "images", "info")}
    expected = read(tmp_path / "i.json", json.dumps(data).encode())
    assert read(tmp_path / "i.json", json.dumps(first).encode()) == expected
    for bad in ({**first, "annotations": [{"image_id": 77}]}, {"annotations": []}):
        assert isinstance(read(tmp_path / "i.json", json.dumps(bad).encode()), str)


@pytest.mark.parametrize(
    "image",
    [{"width": 0}, {"width": 10**9}, {"height": -1}, {"id": None}, {"width": 1e300}, {"id": []}],
)
def test_a_size_that_no_image_has_is_refused(tmp_path: Path, image: dict[str, Any]):
    data = document()
    data["images"][3] |= image
    found = read(tmp_path / "i.json", json.dumps(data).encode())
    assert isinstance(found, str) and "expected id, width and height" in found


ODD = [1.0, "2", None, True, 2**70, -1, [], {}, [[]], [[1, 2, 3, 4, 5, 6]], "é", 1e300]
ODD += [{"size": [8, 8], "counts": [64]}, {"size": [8, 8], "counts": "@0"}, {"size": 3}]


@st.composite
def damaged(draw: Any) -> bytes:
    data = document(draw(st.integers(1, 12)))
    for _ in range(draw(st.integers(0, 2))):
        element = draw(st.sampled_from(data["images"] + data["annotations"]))
        if isinstance(element, dict) and element:
            key = draw(st.sampled_from(sorted(element)))
            element[key] = draw(st.sampled_from(ODD))
            if draw(st.booleans()):
                del element[key]
    data = {key: data[key] for key in draw(st.permutations(sorted(data)))}
    text = json.dumps(data, indent=draw(st.sampled_from([None, None, 1]))).encode()
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.binary(max_size=3)) + text[at + draw(st.integers(0, 3)) :]
    return text


@settings(max_examples=150)
@given(damaged(), st.sampled_from([1, 60, 300, 2**17]), st.sampled_from([3, 100, 2**20]))
def test_any_file_gives_the_same_images_or_the_same_refusal_however_it_is_read(
    tmp_path_factory: Any, data: bytes, chars: int, chunk: int
):
    path = tmp_path_factory.mktemp("instances") / "i.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "RUN_CHARS", chars)
        patch.setattr(json_values, "_LEAST_CHARS", min(chars, 50))
        patch.setattr(json_values, "_CHUNK", chunk)
        assert read(path, data) == read_slowly(path, data)
