from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logs import (
    KEY,
    SHARED,
    action,
    archive,
    block,
    coco_log,
    coco_record,
    files,
    luab,
    number_of,
    picture,
    xml,
)
from PIL import Image

import luab_data
from luab_data.boxes import Frame
from luab_data.errors import ImagesError, OptionError, OutputError
from luab_data.exports import FORMATS, export
from luab_data.exports import keypoints as points
from luab_data.exports.folders import survey
from luab_data.kinds import TAGGING

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
FOLDERS = ("imagefolder", "webdataset")
STREAMED = [
    pytest.param(f"{how} streaming", marks=pytest.mark.slow) for how in ("folder", "builder")
]
HOW = pytest.mark.parametrize("how", ["folder", "builder", *STREAMED])  # a stream imports torch
WORKER = "5ECRET0ID0"


def image_ids(count: int) -> list[str]:
    return [f"n0000000{1 + i % 3}_{i}" for i in range(count)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images of three classes, 59 with a picture; the first ones have no boxes and no click."""
    folder = tmp_path_factory.mktemp("world")
    records = {}
    for i, name in enumerate(image_ids(60)):
        trace = [(t, 0.01 * t, 0.5) for t in range(1, 5)]
        one = block(clicks=[(5, 0.015 * i, 0.5)], trace=trace, worker=WORKER)
        none = block(selected=False, clicks=[], worker=WORKER)
        blocks = [none if i < 12 or i % 7 == 0 else one] if i else []
        boxes = [(20, 10, 160, 90), (0, 0, 200, 100)] if i >= 8 and i % 2 else None
        records[name] = xml(name, blocks, boxes=boxes)
        if i != 59:
            picture(folder / "pictures/train" / name[:9] / f"{name}.JPEG", i)
    picture(folder / "pictures/n00000009_9.jpg", 0)
    source = archive(folder / "raw.tar.gz", records)
    luab_data.convert_imagenet(source, folder / "imagenet-ab", worker_key=KEY)
    return folder


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    records = []
    for i in range(1, 13):
        steps = [action("add", "dog", (0.25, 0.5), 1), action("add", "kite", (1.01, 0.5), 2)]
        if i % 3 == 0:
            steps.append(action("remove", "dog", None, 3))
        records.append(coco_record(i, steps[: i % 4], worker_id=WORKER))
        picture(folder / "pictures" / f"COCO_train2014_{i:012d}.jpg", i)
    source = coco_log(folder / "raw.json", records)
    luab_data.convert_coco(source, folder / "coco-ab", worker_key=KEY)
    return folder


def rows_of(dataset: Path) -> list[dict[str, Any]]:
    paths = sorted((dataset / "data").glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def load(*arguments: str, cache: Path, **options: Any) -> Any:
    import datasets

    return datasets.load_dataset(*arguments, split="train", cache_dir=str(cache), **options)


run = partial(luab, "export")


# --- imagefolder ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["imagenet-ab", "coco-ab"])
@HOW
def test_imagefolder_loads_with_every_column_and_picture(
    world: Path, coco: Path, tmp_path: Path, how: str, name: str
):
    folder, out = world if name == "imagenet-ab" else coco, tmp_path / "out"
    done = export(folder / name, folder / "pictures", out, format="imagefolder")
    without = done.rows_without_image.examples
    assert without == (("n00000003_59",) if folder == world else ())
    named = {"data_dir": str(out)} if "builder" in how else {}
    arguments = ["imagefolder" if "builder" in how else str(out)]
    dataset = load(*arguments, cache=tmp_path / "c", streaming="streaming" in how, **named)
    found = list(dataset)
    expected = [row for row in rows_of(folder / name) if row["image_id"] not in without]
    assert len(found) == done.num_images == (59 if folder == world else 12)
    for row, original in zip(found, expected, strict=True):
        number = str(original["image_id"]).rpartition("_")[2]
        assert number_of(row.pop("image")) == int(number)
        assert row == original
    for field in pq.read_schema(next((folder / name / "data").glob("*.parquet"))):
        assert dataset.features.arrow_schema.field(field.name).type == field.type
    if folder == world:
        assert dataset.features["label"].names == ["n00000001", "n00000002", "n00000003"]
        return
    assert (out / "000000000007.jpg").is_file()
    assert dataset.features["icon_label"].feature.int2str(found[0]["icon_label"][0]) == "dog"


def test_files_are_links_where_that_works_else_copies(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = "n00000002_13.JPEG"
    original = world / "pictures/train/n00000002" / name
    linked = tmp_path / "pictures/n00000002"
    linked.mkdir(parents=True)
    (linked / name).symlink_to(os.path.relpath(original, linked))
    export(world / "imagenet-ab", tmp_path / "pictures", tmp_path / "a", format="imagefolder")
    assert os.path.samefile(tmp_path / "a/n00000002" / name, original)
    assert not (tmp_path / "a/n00000002" / name).is_symlink()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    export(world / "imagenet-ab", tmp_path / "pictures", tmp_path / "b", format="imagefolder")
    assert not os.path.samefile(tmp_path / "b/n00000002" / name, original)
    assert (tmp_path / "b/n00000002" / name).read_bytes() == original.read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # timm leaves the files open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_timm_reads_the_folder_with_clicks(world: Path, tmp_path: Path, monkeypatch: Any):
    create_dataset = pytest.importorskip("timm.data").create_dataset
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "c"))
    out = (tmp_path / "out").resolve()
    export(world / "imagenet-ab", world / "pictures", out, format="imagefolder", limit=20)
    extra = ["final_click_x", "selected"]
    dataset = create_dataset(f"hfds/{out}", None, split="train", additional_features=extra)
    assert dataset.reader.class_to_idx == {f"n0000000{i + 1}": i for i in range(3)}
    wanted = [
        (r["label"], r["final_click_x"], r["selected"]) for r in rows_of(world / "imagenet-ab")
    ]
    assert [dataset[i][1:] for i in range(20)] == wanted[:20]


def test_an_export_made_anew_is_not_served_from_a_cache(world: Path, tmp_path: Path):
    import shutil

    out = tmp_path / "out"
    for format in FOLDERS:
        for name in ("n00000001", "n00000002"):
            export(
                *(world / "imagenet-ab", world / "pictures", out),
                **{"format": format, "classes": [name], "limit": 5},
            )
            found = load(str(out), cache=tmp_path / "c")
            assert len(found) == 5
            for row in found:
                assert (row.get("json") or row)["wnid"] == name
            shutil.rmtree(out)


# --- webdataset ----------------------------------------------------------------------------------


def members(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        return [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]


def test_a_shard_holds_pictures_and_rows_as_they_are(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("luab_data.exports.folders.SAMPLES_PER_SHARD", 25)
    export(world / "imagenet-ab", world / "pictures", tmp_path / "a", format="webdataset")
    export(world / "imagenet-ab", world / "pictures", tmp_path / "b", format="webdataset")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    shards = [f"train-{i:06d}.tar" for i in range(3)]
    info = json.loads((tmp_path / "a/_info.json").read_text())["splits"]["train"]
    assert info["filenames"] == shards
    assert (info["shard_lengths"], info["num_samples"]) == ([25, 25, 9], 59)
    assert info["alt_label"] == "label"
    found = [m for shard in shards for m in members(tmp_path / "a" / shard)]
    rows = {row["image_id"]: row for row in rows_of(world / "imagenet-ab")}
    order = []
    for (image_name, body), (row_name, row) in zip(found[::2], found[1::2], strict=True):
        key = image_name.removesuffix(".jpg")
        assert row_name == f"{key}.json"
        assert body == (world / f"pictures/train/{key[:9]}/{key}.JPEG").read_bytes()
        assert json.loads(row) == rows[key]
        order.append(key)
    # But for the five in front, the dataset's order.
    assert order[5:] == [n for n in rows if n in set(order[5:])] and len(set(order)) == 59


@pytest.mark.parametrize("name", ["imagenet-ab", "coco-ab"])
@HOW
def test_webdataset_loads_though_the_first_rows_are_half_empty(
    world: Path, coco: Path, tmp_path: Path, how: str, name: str
):
    """`datasets` infers types from five samples and cannot cast others that have more."""
    folder, out = world if name == "imagenet-ab" else coco, tmp_path / "out"
    export(folder / name, folder / "pictures", out, format="webdataset")
    named = {"data_files": str(out / "*.tar")} if "builder" in how else {}
    arguments = ["webdataset" if "builder" in how else str(out)]
    dataset = load(*arguments, cache=tmp_path / "c", streaming="streaming" in how, **named)
    key = str if folder == world else "{:012d}".format
    rows = {key(row["image_id"]): row for row in rows_of(folder / name)}
    seen = []
    for sample in dataset:
        assert sample["json"] == rows[sample["__key__"]]
        assert number_of(sample["jpg"]) == int(sample["__key__"].rpartition("_")[2])
        seen.append(sample["__key__"])
    assert len(set(seen)) == len(seen) == (59 if folder == world else 12)
    if "folder" in how and folder == world:
        assert dataset.features["json"]["label"].names == ["n00000001", "n00000002", "n00000003"]


def test_the_samples_in_front_agree_on_what_is_there():
    table = pa.table(
        {
            "image_id": list("abcdefgh"),
            "x": [None, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            "boxes": pa.array([[[1.0]], [], [[]], [[None]], [[2.0]], [[3.0]], [[4.0]], [[5.0]]]),
            "names": [["u"], ["u"], ["u"], ["u"], ["u"], [None], ["u", None], ["u"]],
            "image_path": ["p/a.JPEG", *(f"p/{c}.jpeg" for c in "bcdefg"), "p.x/h.png"],
        }
    )
    leading, suffixes = survey(iter([table.slice(0, 5), table.slice(5)]))
    assert suffixes == ["jpg", "png"]
    # Only e, g, h are complete; b, c, d lack boxes alike but are not five either.
    assert leading["image_id"].to_pylist() == ["e", "g", "h"]
    many = pa.concat_tables([table.slice(0, 4), *[table.slice(1, 1)] * 4])
    leading, _ = survey(iter([many]))
    assert leading["image_id"].to_pylist() == ["b", "c", "d", "b", "b"]


def test_a_key_with_a_dot_is_refused(tmp_path: Path):
    source = archive(tmp_path / "raw.tar.gz", {"n00000001_1.5": xml("n00000001_1.5")})
    luab_data.convert_imagenet(source, tmp_path / "ab", worker_key=KEY)
    picture(tmp_path / "p/n00000001_1.5.JPEG", 1)
    with pytest.raises(ImagesError, match="an image id with a dot"):
        export(tmp_path / "ab", tmp_path / "p", tmp_path / "out", format="webdataset")
    export(tmp_path / "ab", tmp_path / "p", tmp_path / "out", format="imagefolder")
    assert len(load(str(tmp_path / "out"), cache=tmp_path / "c")) == 1


# --- coco-keypoints ------------------------------------------------------------------------------


def opened(path: Path) -> Any:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def annotate(click: tuple[Any, Any], boxes: Any, size: tuple[int, int] = (200, 100)) -> Any:
    row = {
        **{"label": 4, "width": 200, "height": 100, "boxes": boxes},
        **{"final_click_x": click[0], "final_click_y": click[1]},
    }
    frame = Frame(*size)
    return [{"label": m.label, **points.annotation(m, frame)} for m in points.clicks(row, frame)]


def test_a_click_belongs_to_the_smallest_box_that_holds_it():
    big, small, far = [0, 0, 200, 100], [80, 40, 120, 60], [150, 0, 200, 20]
    found = annotate((0.5, 0.5), [big, small, far])
    assert [a["keypoints"] for a in found] == [[0, 0, 0], [100.0, 50.0, 2], [0, 0, 0]]
    assert [a["num_keypoints"] for a in found] == [0, 1, 0]
    assert [a["bbox"] for a in found] == [[0, 0, 200, 100], [80, 40, 40, 20], [150, 0, 50, 20]]
    assert [a["area"] for a in found] == [20_000, 800, 1_000]
    assert {a["label"] for a in found} == {4}


def test_a_click_on_a_border_is_inside_and_one_in_no_box_stands_alone():
    assert annotate((0.4, 0.4), [[80, 40, 120, 60]])[0]["keypoints"] == [80.0, 40.0, 2]
    beside = annotate((0.1, 0.1), [[80, 40, 120, 60]])
    assert [a["num_keypoints"] for a in beside] == [0, 1]
    assert "bbox" not in beside[1] and beside[1]["keypoints"] == [20.0, 10.0, 2]
    assert annotate((0.1, 0.1), []) == annotate((0.1, 0.1), None)
    assert annotate((None, None), []) == []
    assert [a["num_keypoints"] for a in annotate((None, None), [[1, 1, 2, 2]])] == [0]


def test_points_outside_the_picture_stay_where_they_are_and_say_so():
    assert annotate((1.01, 0.5), [])[0]["keypoints"] == [202.0, 50.0, 1]
    assert annotate((1.0, 0.0), [])[0]["keypoints"] == [200.0, 0.0, 2]


def test_points_and_boxes_follow_a_picture_of_another_size():
    (found,) = annotate((0.5, 0.5), [[80, 40, 120, 60]], size=(400, 100))
    assert found["keypoints"] == [200.0, 50.0, 2]
    assert found["bbox"] == [160.0, 40.0, 80.0, 20.0]


def test_points_are_turned_back_where_a_file_asks_to_be_shown_turned():
    """The case of a JPEG stored 375 x 500 that EXIF turns by 90 degrees."""
    row = {
        **{"label": 0, "width": 375, "height": 500, "boxes": [[300, 380, 370, 430]]},
        **{"final_click_x": 0.2, "final_click_y": 0.9},
    }
    (found,) = points.clicks(row, Frame(375, 500, 6))
    assert points.annotation(found, Frame(375, 500, 6))["keypoints"] == pytest.approx(
        [337.5, 400, 2]
    )
    assert found.box == (300, 380, 370, 430)
    # The same picture stored as shown: the boxes are of another picture, the click is not.
    (found,) = points.clicks(row, Frame(500, 375))
    assert found.box is None
    assert points.annotation(found, Frame(500, 375))["keypoints"] == [100.0, 337.5, 2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_point_is_where_pillow_turns_it(orientation: int):
    """One asymmetric dot, shown by the library that viewers use."""
    from PIL import ImageOps

    image = Image.new("L", (8, 6))
    image.putpixel((5, 1), 255)
    exif = image.getexif()
    exif[274] = orientation
    stream = io.BytesIO()
    image.save(stream, "png", exif=exif)
    turned = ImageOps.exif_transpose(Image.open(stream))
    ((y,), (x,)) = np.nonzero(np.asarray(turned))
    frame = Frame(8, 6, orientation)
    shown = frame.shown(5.5 / 8, 1.5 / 6)
    assert shown == pytest.approx(((x + 0.5) / turned.width, (y + 0.5) / turned.height))
    assert frame.stored(*shown) == pytest.approx((5.5 / 8, 1.5 / 6))


def test_icons_keep_the_category_ids_of_coco():
    row = {"icon_label": [16, 33, 79], "final_x": [0.5, None, 0.25], "final_y": [0.5, None, 1.0]}
    marks = [*points.icons(row, Frame(20, 10))]
    categories = TAGGING.points.categories(())
    # Dog, toothbrush: never 17 and 80.
    assert [categories[m.label]["id"] for m in marks] == [18, 90]
    found = [points.annotation(m, Frame(20, 10)) for m in marks]
    assert [a["keypoints"] for a in found] == [[10.0, 5.0, 2], [5.0, 10.0, 2]]


def test_pycocotools_opens_the_clicks(world: Path, tmp_path: Path):
    out = tmp_path / "clicks.json"
    export(world / "imagenet-ab", world / "pictures", out, format="coco-keypoints")
    coco = opened(out)
    rows = rows_of(world / "imagenet-ab")
    assert len(coco.imgs) == 59
    assert [c["name"] for c in coco.loadCats([1, 2, 3])] == [f"n0000000{i}" for i in (1, 2, 3)]
    for number, image in coco.imgs.items():
        row = rows[number - 1]
        assert image["image_id"] == row["image_id"]
        # The files are 20 x 10, a tenth of what the log says.
        assert (image["width"], image["height"]) == (20, 10)
        assert (world / "pictures" / image["file_name"]).is_file()
        found = coco.loadAnns(coco.getAnnIds(number))
        assert len(found) == (len(row["boxes"]) or (1 if row["final_click_x"] is not None else 0))
        if row["boxes"]:
            assert [a["bbox"] for a in found] == [[2.0, 1.0, 14.0, 8.0], [0.0, 0.0, 20.0, 10.0]]
        points = [a["keypoints"] for a in found if a["num_keypoints"]]
        if row["final_click_x"] is not None:
            assert points == [[row["final_click_x"] * 20, 5.0, 2]]
    # Numbers of images do not depend on the subset.
    few = tmp_path / "few.json"
    export(
        *(world / "imagenet-ab", world / "pictures", few),
        **{"format": "coco-keypoints", "classes": ["n00000002"], "limit": 4},
    )
    assert all(coco.imgs[number] == image for number, image in opened(few).imgs.items())
    assert len(opened(few).imgs) == 4


def test_pycocotools_opens_the_icons(coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "icons.json"
    export(coco / "coco-ab", coco / "pictures", out, format="coco-keypoints")
    found = opened(out)
    assert len(found.cats) == 80 and found.cats[90]["name"] == "toothbrush"
    assert sorted(found.imgs) == list(range(1, 13))
    dogs = {a["image_id"] for a in found.loadAnns(found.getAnnIds(catIds=[18]))}
    # Image i took the first i % 4 of: add a dog, add a kite, and remove the dog where 3 divides i.
    assert dogs == {i for i in range(1, 13) if i % 4 and not (i % 3 == 0 and i % 4 == 3)}
    kites = found.loadAnns(found.getAnnIds(catIds=[38]))
    assert {tuple(a["keypoints"]) for a in kites} == {(1.01 * 20, 5.0, 1)}
    whole = out.read_bytes()
    monkeypatch.setattr("luab_data.exports.keypoints.SPOOL_BYTES", 10)
    export(coco / "coco-ab", coco / "pictures", tmp_path / "b.json", format="coco-keypoints")
    assert (tmp_path / "b.json").read_bytes() == whole


# --- fiftyone ------------------------------------------------------------------------------------


def test_fiftyone_has_points_boxes_and_ways_as_fractions(world: Path, tmp_path: Path):
    out = tmp_path / "out"
    export(world / "imagenet-ab", world / "pictures", out, format="fiftyone")
    samples = json.loads((out / "samples.json").read_text())["samples"]
    rows = {row["image_id"]: row for row in rows_of(world / "imagenet-ab")}
    assert len(samples) == 59
    for sample in samples:
        row = rows[sample["image_id"]]
        assert number_of(Image.open(out / sample["filepath"])) == int(row["image_id"][10:])
        boxes = [d["bounding_box"] for d in sample["detections"]["detections"]]
        assert np.allclose(boxes, [[0.1, 0.1, 0.7, 0.8], [0, 0, 1, 1]] if row["boxes"] else [])
        places = [k["points"] for k in sample["keypoints"]["keypoints"]]
        lines = {line["name"]: line for line in sample["polylines"]["polylines"]}
        if row["final_click_x"] is None:
            assert places == [] and lines == {}
            continue
        assert places == [[[row["final_click_x"], row["final_click_y"]]]]
        (way,) = lines["trace_quantile"]["points"]
        assert [x for x, _ in way] == row["trace_quantile_x"]
        assert lines["trace_quantile"]["closed"] is False
        assert lines.get("hull", {"closed": True})["closed"]
    assert "version" not in json.loads((out / "metadata.json").read_text())  # FiftyOne's own word


def test_fiftyone_shows_where_icons_were_moved():
    row = {
        "icon_label": [16, 33, 79],
        **{"last_add_x": [0.5, 0.1, None], "last_add_y": [0.5, 0.1, None]},
        **{"final_x": [0.5, 0.2, 0.3], "final_y": [0.5, 0.1, 0.3]},
    }
    assert [*points.moves(row)] == [points.Line(33, "moved", ((0.1, 0.1), (0.2, 0.1)))]


# --- which rows ----------------------------------------------------------------------------------


def exported_ids(world: Path, out: Path, **options: Any) -> list[str]:
    export(world / "imagenet-ab", world / "pictures", out, format="imagefolder", **options)
    return pq.read_table(out / "metadata.parquet")["image_id"].to_pylist()


def test_classes_fraction_and_limit_choose_rows(world: Path, tmp_path: Path):
    every = exported_ids(world, tmp_path / "all")
    one = exported_ids(world, tmp_path / "one", classes=["n00000002"])
    assert one == [name for name in every if name.startswith("n00000002")] and len(one) == 20
    assert exported_ids(world, tmp_path / "five", classes=["n00000002"], limit=5) == one[:5]
    small = exported_ids(world, tmp_path / "small", fraction=0.5)
    large = exported_ids(world, tmp_path / "large", fraction=0.8)
    assert set(small) < set(large) < set(every)
    counts = [sum(name.startswith(f"n0000000{k}") for name in large) for k in (1, 2, 3)]
    assert sorted(counts) in ([16, 16, 16], [15, 16, 16])  # one picture is missing
    few = exported_ids(world, tmp_path / "few", fraction=0.5, classes=["n00000001"])
    assert few == [name for name in small if name.startswith("n00000001")]


def test_classes_of_coco_are_icons(coco: Path, tmp_path: Path):
    export(
        *(coco / "coco-ab", coco / "pictures", tmp_path / "kite"),
        **{"format": "imagefolder", "classes": ["kite"]},
    )
    found = pq.read_table(tmp_path / "kite/metadata.parquet")["image_id"].to_pylist()
    assert found == [i for i in range(1, 13) if i % 4 >= 2]
    export(
        *(coco / "coco-ab", coco / "pictures", tmp_path / "half"),
        **{"format": "imagefolder", "fraction": 0.5},
    )
    assert pq.read_table(tmp_path / "half/metadata.parquet").num_rows == 6


def test_row_groups_of_any_size_give_the_same_export(
    world: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from luab_data.join import sources

    real = sources.read_columns

    def small(*arguments: Any) -> Any:
        for table in real(*arguments):
            for start in range(0, len(table), 7):
                yield table.slice(start, 7)

    def export_all(out: Path) -> dict[str, Any]:
        for name, dataset in (("i", world / "imagenet-ab"), ("c", coco / "coco-ab")):
            chosen = {"classes": ["n00000003" if name == "i" else "kite"], "limit": 17}
            for options in ({}, chosen):
                for format in FORMATS:
                    target = out / f"{name}-{format}-{len(options)}"
                    export(dataset, dataset.parent / "pictures", target, format=format, **options)
        metadata = {n: pq.read_table(out / n) for n in files(out) if n.endswith(".parquet")}
        return {**files(out), **metadata}

    whole = export_all(tmp_path / "whole")
    monkeypatch.setattr(sources, "read_columns", small)
    pieces = export_all(tmp_path / "pieces")
    assert whole.keys() == pieces.keys()
    differ = [name for name in whole if whole[name] != pieces[name]]
    assert {Path(name).name for name in differ} <= {".luab.json"}  # the hash of metadata.parquet


def test_what_cannot_be_chosen_says_why(world: Path, tmp_path: Path):
    source = (world / "imagenet-ab", world / "pictures", tmp_path / "deep/out")
    with pytest.raises(OptionError, match="did you mean 'n00000001' or"):
        export(*source, format="imagefolder", classes=["n00000011"])
    with pytest.raises(OptionError, match="expected one of imagefolder, webdataset, coco-k"):
        export(*source, format="zip")
    with pytest.raises(OptionError, match="limit 0"):
        export(*source, format="imagefolder", limit=0)
    picture(tmp_path / "one/n00000002_58.JPEG", 0)
    picture(tmp_path / "one/n00000002_1.JPEG", 0)
    with pytest.raises(OptionError, match="nothing to export: of 60 rows 20 are asked for"):
        export(source[0], tmp_path / "one", source[2], format="webdataset", classes=["n00000001"])
    assert not (tmp_path / "deep").exists()


# --- whole or not there --------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["imagefolder", "coco-keypoints"])
def test_only_an_export_of_ours_is_replaced_and_only_with_force(
    world: Path, tmp_path: Path, format: str
):
    source, out = (world / "imagenet-ab", world / "pictures"), tmp_path / "out"
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", world / "imagenet-ab"):
        with pytest.raises(OutputError):
            export(*source, place, format=format, force=True)
    assert files(tmp_path) == {"file": b"x"}
    done = [export(*source, out, format=format, limit=2).same for _ in range(2)]
    assert done == [False, True]
    with pytest.raises(OutputError, match="--force"):
        export(*source, out, format=format, limit=3)
    assert export(*source, out, format=format, limit=3, force=True).num_images == 3


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_that_cannot_be_read_leaves_nothing_behind(
    world: Path, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
):
    gone = tmp_path / "pictures/n00000001_57.JPEG"
    picture(gone, 1)
    picture(tmp_path / "pictures/n00000001_3.JPEG", 1)

    def vanish(*_: Any) -> Any:
        gone.unlink()
        return False

    # After the walk, before the files are opened.
    monkeypatch.setattr("luab_data.exports._check_classes", vanish)
    with pytest.raises(ImagesError, match=r"n00000001_57.JPEG: (cannot be read|not a readable)"):
        export(
            *(world / "imagenet-ab", tmp_path / "pictures", tmp_path / "a/out"),
            **{"format": format, "classes": ["n00000001"]},
        )
    assert {path.name for path in tmp_path.iterdir()} == {"pictures"}


def test_a_full_disk_is_one_clear_error(world: Path, tmp_path: Path, monkeypatch: Any):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    source = (world / "imagenet-ab", world / "pictures", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("tarfile.TarFile.addfile", full)
        with pytest.raises(OutputError, match=r"out: cannot be written \(No space left"):
            export(*source, format="webdataset")
    with monkeypatch.context() as patch:
        patch.setattr("os.link", full)
        patch.setattr("shutil.copyfileobj", full)
        with pytest.raises(OutputError, match=r"cannot be copied \(No space left"):
            export(*source, format="imagefolder")
    assert list(tmp_path.iterdir()) == []


# --- what must not get out -----------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_exports_hold_no_raw_worker_and_no_local_path(world: Path, tmp_path: Path, format: str):
    export(world / "imagenet-ab", world / "pictures", tmp_path / "out", format=format)
    out = tmp_path / "out"
    found = {"": out.read_bytes()} if out.is_file() else files(out)
    for name, body in found.items():
        text = body
        if name.endswith(".parquet"):
            text = json.dumps(pq.read_table(out / name).to_pylist()).encode()
            text += str(pq.read_schema(out / name).metadata).encode()
        for secret in (WORKER, str(world)):
            assert secret.encode() not in text, name
    if format == "imagefolder":
        workers = pq.read_table(out / "metadata.parquet")["worker_id"].unique().to_pylist()
        assert len(workers) == 2 and None in workers  # one image has no round


# --- the command ---------------------------------------------------------------------------------


def test_the_command_exports_and_reports(world: Path, tmp_path: Path):
    source = (world / "imagenet-ab", "--images", world / "pictures")
    found = run(*source, "--format", "imagefolder", "--out", tmp_path / "a")
    assert found.exit_code == 0, found.output
    assert found.output.splitlines() == [
        f"{tmp_path / 'a'}: 59 images",
        "rows without image, left out: 1, e.g. n00000003_59",
    ]
    again = run(*source, "--format", "imagefolder", "--out", tmp_path / "a")
    assert again.exit_code == 0 and "nothing was written" in again.output
    options = ("--class", "n00000001", "--class", "n00000002", "--fraction", 0.5, "--limit", 7)
    found = run(*source, "--format", "webdataset", "--out", tmp_path / "b", *options)
    assert (found.exit_code, found.output) == (0, f"{tmp_path / 'b'}: 7 images\n")
    found = run(*source, "--format", "coco-keypoints", "--out", tmp_path / "a")
    assert found.exit_code == 1
    assert found.output == (
        f"Error: {tmp_path / 'a'}: is a folder; expected the name of a file to write\n"
    )
    assert run(*source, "--format", "imagefolder").exit_code == 2
    wrong = ("--out", tmp_path / "c", "--fraction", 0)
    assert run(*source, "--format", "imagefolder", *wrong).exit_code == 2


# --- the shared sets -----------------------------------------------------------------------------


@needs_shared
@pytest.mark.slow
def test_the_shared_sets_are_exported_whole(tiny: Path, tmp_path: Path):
    shared = SHARED / "data"
    luab_data.convert_coco(shared / "raw/coco_ab_tiny.json", tmp_path / "c", worker_key=KEY)
    for dataset, pictures, part, count in (
        (tiny, shared / "tiny-imagenet/train", 2_000, 10_000),
        (tmp_path / "c", shared / "coco/images/train", 19, 97),
    ):
        for format in FOLDERS:
            out = tmp_path / f"{dataset.name}-{format}"
            export(dataset, pictures, out, format=format, fraction=0.2)
            assert len(load(str(out), cache=tmp_path / "cache")) == part
        export(dataset, pictures, tmp_path / f"{part}.json", format="coco-keypoints")
        assert len(opened(tmp_path / f"{part}.json").imgs) == count
    # The clicks in a box of the file are those that the column counts.
    clicks = opened(tmp_path / "2000.json")
    inside = [a for a in clicks.anns.values() if a["num_keypoints"] and "bbox" in a]
    assert len(inside) == sum(row["click_in_box"] is True for row in rows_of(tiny))
    x, y = np.array([a["keypoints"][:2] for a in inside]).T
    boxes = np.array([a["bbox"] for a in inside])
    assert (x >= boxes[:, 0]).all() and (x <= boxes[:, 0] + boxes[:, 2]).all()
    assert (y >= boxes[:, 1]).all() and (y <= boxes[:, 1] + boxes[:, 3]).all()
