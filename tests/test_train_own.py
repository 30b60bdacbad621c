"""Training on anybody's own dataset: its classes, its images, its own share to validate on."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from logs import KEY
from PIL import Image
from train_world import draw, metrics_lines, row, small_recipe, write_dataset

from luab_data import convert_browsing, convert_tagging, convert_tracing
from luab_data.errors import ImagesError, LuabError, OptionError
from luab_data.splits import stratified_fraction
from luab_train.cli import main
from luab_train.data.coco import read_coco
from luab_train.data.dataset import of_dataset, training_data
from luab_train.data.inputs import EvalCrop
from luab_train.data.loader import Samples
from luab_train.data.matching import match_rows
from luab_train.data.points import PointDataset
from luab_train.data.rows import read_annotations
from luab_train.data.sources import open_images
from luab_train.data.splits import evaluation_split, labelled_split, validation_split
from luab_train.data.traces import read_traces
from luab_train.evaluate.folder import evaluate
from luab_train.evaluate.predictor import load_predictor
from luab_train.evaluate.run import evaluate_model
from luab_train.predict import predict, prediction_figure
from luab_train.recipe import Recipe
from luab_train.sections import Loss, Model
from luab_train.train.export import export_backbone
from luab_train.train.loop import train
from luab_train.train.run_folder import load_model

CLASSES = ("Käse", "cat/tabby", "golden retriever")


def picture(path: Path, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9, 90, 200)).save(path)


def own_rows(names: list[tuple[int, str]]) -> list[dict[str, Any]]:
    return [{**row(name, k, box=None), "wnid": CLASSES[k]} for k, name in names]


NAMES = [(0, "IMG 001"), (0, "Käse_IMG 007"), (1, "IMG 007"), (1, "b.2"), (2, "x"), (2, "0012")]
"""Image ids; IMG 007 is a file of two classes, so one of them has its class before it."""


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(
            ["Käse/IMG 001.jpg", "Käse/IMG 007.jpg", "cat/tabby/IMG 007.png", "cat/tabby/b.2.JPG",
             "golden retriever/x.webp", "golden retriever/0012.tif"],
            id="a folder a class",
        ),
        pytest.param(
            ["a/Käse/IMG 001.jpg", "a/Käse/IMG 007.jpg", "a/cat_tabby/IMG 007.png",
             "a/cat_tabby/b.2.JPG", "b/golden retriever/x.webp", "b/golden retriever/0012.tif"],
            id="class folders below, / as _",
        ),
        pytest.param(
            ["IMG 001.jpg", "Käse_IMG 007.jpg", "IMG 007.png", "b.2.JPG", "x.webp", "0012.tif"],
            id="flat",
        ),
        pytest.param(
            ["mon/IMG 001.jpg", "mon/Käse_IMG 007.jpg", "tue/IMG 007.png", "tue/b.2.JPG",
             "tue/x.webp", "wed/0012.tif"],
            id="folders that are no classes",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_images_are_found_by_class_and_name(tmp_path, files, form):
    data = write_dataset(tmp_path / "own", own_rows(NAMES))
    for name in files:
        picture(tmp_path / "pics" / unicodedata.normalize(form, name))
    rows, source = read_annotations(data), open_images(tmp_path / "pics")
    assert rows.classes == CLASSES
    matched = match_rows(rows, source, missing="raise", where=data)
    found = [source.name(index) for index in matched.image.tolist()]
    expected = [str(tmp_path / "pics" / unicodedata.normalize(form, name)) for name in files]
    assert found == expected


def test_an_id_that_is_a_path_finds_its_file(tmp_path):
    names = [(0, "pics/Käse/IMG 1.jpg"), (1, "pics/tabby/IMG 1.jpg"), (2, "pics/dogs/2.jpg")]
    data = write_dataset(tmp_path / "own", own_rows(names))
    for _, name in names:
        picture(tmp_path / name)
    source = open_images(tmp_path / "pics")
    matched = match_rows(read_annotations(data), source, missing="raise", where=data)
    found = [source.name(index) for index in matched.image.tolist()]
    assert found == [str(tmp_path / name) for _, name in names]


def test_an_image_in_the_folder_of_another_class_is_none_of_a_row(tmp_path):
    data = write_dataset(tmp_path / "own", own_rows([(0, "a"), (1, "b"), (2, "c")]))
    for name in ("Käse/a.jpg", "Käse/b.jpg", "golden retriever/c.jpg"):
        picture(tmp_path / "pics" / name)
    with pytest.raises(ImagesError, match=r"has no image for 1 of 3 rows of .*, e\.g\. b;"):
        match_rows(
            read_annotations(data), open_images(tmp_path / "pics"), missing="raise", where=data
        )


def test_a_folder_is_labelled_by_the_names_of_own_classes(tmp_path):
    for name in ("Käse/a.jpg", "cat/tabby/b.jpg", "golden retriever/c.jpg"):
        picture(tmp_path / unicodedata.normalize("NFD", name))
    split = labelled_split(open_images(tmp_path), CLASSES, {})
    assert split.image_id.tolist() == ["a", "b", "c"] and split.label.tolist() == [0, 1, 2]


class Own(NamedTuple):
    data: Path
    images: Path


def write_log(path: Path, views: list[dict[str, Any]]) -> Path:
    lines = (json.dumps({"byproducts": 1, **view}, ensure_ascii=False) for view in views)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Own:
    """10 images of each of 3 own classes, seen by two: the second clicks where the class is."""
    root = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    views = []
    for k, name in enumerate(CLASSES):
        for number in range(10):
            file = root / "pics" / name / f"IMG {number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image, (x0, y0, x1, y1) = draw(rng, k)
            image.save(file)
            place = {"x": (x0 + x1) / 2 / 32, "y": (y0 + y1) / 2 / 32}
            image_of = {"id": file.stem, "width": 32, "height": 32}
            for annotator, where in (("ann", {"x": 0.5, "y": 0.5}), ("bob", place)):
                events = [{"type": "click", "t": 900, "state": True, **where}]
                views.append({"kind": "browsing", "asked": {"class": name}, "image": image_of,
                              "annotator": annotator, "events": events})  # fmt: skip
    log = write_log(root / "log.jsonl", views)
    convert_browsing(log, root / "my-ab", deciding="last", worker_key=KEY, shown=False)
    return Own(root / "my-ab", root / "pics")


def test_a_share_of_the_images_is_held_out_and_said(own, tmp_path, capsys):
    data, images = own
    out = tmp_path / "run"
    train(small_recipe(), data=data, images=images, out=out, val=0.2)
    said = capsys.readouterr().err
    assert "6 of 30 images are held out to validate on, by a hash of their ids" in said
    lines = metrics_lines(out)
    assert [(line["train_images"], line["val_images"]) for line in lines] == [(24, 6)] * 2
    environment = json.loads((out / "environment.json").read_text())
    assert environment["classes"] == list(CLASSES)
    assert json.loads((out / "recipe.json").read_text())["data"]["dataset"] == "browsing"
    assert environment["val"]["name"] == "0.2 held out" and environment["val"]["num_images"] == 6
    assert environment["dataset"]["num_train"] == 24
    # Anybody can work out which, and no seed of a run moves them.
    rows = read_annotations(data)
    table = pa.table({"image_id": rows.image_id, "wnid": np.array(CLASSES)[rows.label]})
    left = rows.image_id[~stratified_fraction(table, 0.8).to_numpy(zero_copy_only=False)]
    found = training_data(small_recipe(seed=5), data=data, images=images, held_out=0.2)
    # What is learned is where the last one clicked, who decides: nobody's centre.
    assert np.isfinite(found.points.values).all() and (found.points.values != 0.5).any(axis=2).all()
    assert found.held_out is not None and found.held_out.image_id.tolist() == left.tolist()
    assert not {*left.tolist()} & {*found.split.image_id.tolist()}


def test_what_nobody_selected_teaches_no_class(tmp_path):
    """One flat picture asked about twice has the class it was selected for, and is found."""
    views = []
    for number in range(12):
        picture(tmp_path / "pics" / f"{number:02}.png", (32, 32))
        for k, name in enumerate(CLASSES):
            click = {"type": "click", "t": 9, "x": 0.25, "y": 0.75, "state": True}
            views.append({"kind": "browsing", "image": {"id": f"{number:02}"},
                          "asked": {"class": name}, "annotator": "ann",
                          "events": [click] * (number % 3 == k)})  # fmt: skip
    log = write_log(tmp_path / "log.jsonl", views)
    convert_browsing(log, tmp_path / "my-ab", worker_key=KEY, shown=False)
    found = training_data(small_recipe(), data=tmp_path / "my-ab", images=tmp_path / "pics")
    names = [found.split.source.name(k) for k in found.split.source_index.tolist()]
    assert {Path(name).stem: int(k) for name, k in zip(names, found.split.label, strict=True)} == {
        f"{number:02}": sorted(CLASSES).index(CLASSES[number % 3]) for number in range(12)
    }
    assert found.facts["num_rows"] == 12 and found.facts["num_unselected"] == 24
    assert found.notes[0].startswith("24 images that were not selected are left out")
    # A log in which nothing was selected says nothing about classes.
    for view in views:
        view["events"] = []
    log = write_log(tmp_path / "log.jsonl", views)
    convert_browsing(log, tmp_path / "none", worker_key=KEY, shown=False)
    rows = read_annotations(tmp_path / "none")
    assert len(rows.image_id) == 36 and not rows.num_unselected
    matched = match_rows(rows, open_images(tmp_path / "pics"), missing="raise", where=tmp_path)
    assert len(matched.image) == 36 and len({*matched.image.tolist()}) == 12
    found = training_data(
        small_recipe(target="none"), data=tmp_path / "none", images=tmp_path / "pics", held_out=0.3
    )
    assert found.held_out is not None
    assert not {*found.held_out.source_index.tolist()} & {*found.split.source_index.tolist()}


def test_a_class_without_images_has_an_output_too(own, tmp_path):
    log = own.data.parent / "log.jsonl"
    names = ["zebra", *CLASSES]
    convert_browsing(log, tmp_path / "my-ab", classes=names, worker_key=KEY, shown=False)
    rows = read_annotations(tmp_path / "my-ab")
    assert rows.classes == tuple(sorted(names)) and sorted({*rows.label.tolist()}) == [0, 1, 2]
    with pytest.raises(OptionError, match=r"--val 1: expected a folder .* or the share"):
        train(small_recipe(), data=own.data, images=own.images, out=tmp_path / "run", val=1)


def flat(images: Path, folder: Path) -> Path:
    """The pictures of `own` in one folder, under their ids."""
    folder.mkdir()
    for file in sorted(images.rglob("*.png")):
        name = file.relative_to(images).parent.as_posix()
        plain = file.name if name == "Käse" else f"{name.replace('/', '_')}_{file.name}"
        shutil.copy(file, folder / plain)
    return folder


def test_a_photo_is_seen_as_it_was_shown(tmp_path):
    """A click in the frame that the browser turned by EXIF falls on what was clicked."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[30:, :10] = 255  # lower left as stored, upper left once turned clockwise
    photo = Image.fromarray(pixels)
    photo.getexif()[274] = 6
    views = []
    for name in ("a", "b"):
        photo.save(tmp_path / f"{name}.png", exif=photo.getexif())
        click = {"type": "click", "t": 1, "x": 0.125, "y": 1 / 12}
        views.append({"kind": "browsing", "image": {"id": name, "width": 40, "height": 60},
                      "asked": {"class": name}, "annotator": "ann", "events": [click]})  # fmt: skip
    log = write_log(tmp_path / "log.jsonl", views)
    convert_browsing(log, tmp_path / "my-ab", worker_key=KEY, shown=False)
    recipe = of_dataset(small_recipe(), tmp_path / "my-ab")
    found = training_data(recipe, data=tmp_path / "my-ab", images=tmp_path)
    samples = Samples(found.split, EvalCrop(recipe.data), target=found.points.values)
    for crop in (samples[0, 0, 0], samples[0, 1, 0]):
        assert crop.size == (40, 60)
    loop = PointDataset(tmp_path / "my-ab", tmp_path)
    x, y = (loop[0]["point"].numpy() * loop[0]["image"].size).astype(int)
    assert loop[0]["image"].size == (40, 60)
    assert loop[0]["image"].getpixel((int(x), int(y))) == (255, 255, 255)
    run = tmp_path / "run"
    train(small_recipe(epochs=1, batch_size=2), data=tmp_path / "my-ab", images=tmp_path,
          out=run, shown=False)  # fmt: skip
    (one,) = predict(run, [tmp_path / "a.png"])
    assert one.size_wh == (40, 60)
    export_backbone(run, tmp_path / "w.safetensors")
    (same,) = predict(tmp_path / "w.safetensors", [tmp_path / "a.png"])
    assert same.size_wh == (40, 60)
    # Validation and `eval --images` see it so, too; a turn by half a circle keeps the size.
    photo.getexif()[274] = 3
    photo.save(tmp_path / "b.png", exif=photo.getexif())
    split = validation_split(recipe, tmp_path, ("a", "b"), boxes=None, data=tmp_path / "my-ab")
    turned = {
        split.image_id[i]: split.load(i, upright=recipe.data.as_shown) for i in range(len(split))
    }
    assert turned["a"].size == (40, 60) and turned["b"].size == (60, 40)
    assert turned["b"].getpixel((55, 5)) == (255, 255, 255)
    seen = Samples(split, EvalCrop(recipe.data))
    for index in range(len(split)):
        whole = turned[split.image_id[index]]
        assert np.array_equal(seen[0, index, 0].image, EvalCrop(recipe.data)(whole).image)
    figure = prediction_figure(predict(run, [tmp_path / "b.png"]), upright=True)
    assert figure.axes[0].images[0].get_array()[5, 55].tolist() == [255, 255, 255]
    assert [a.name for a in same.answers] == [a.name for a in one.answers]


def test_a_run_of_own_classes_evaluates_exports_and_predicts(own, tmp_path):
    data, images = own
    run = tmp_path / "run"
    train(small_recipe(epochs=1), data=data, images=images, out=run, val=0.2, shown=False)
    result = evaluate(run, images=images, shown=False)
    assert result["num_images"] == 30 and result["accuracy"] is not None
    with pytest.raises(ImagesError, match="name no class"):
        evaluate(run, images=flat(images, tmp_path / "flat"), shown=False)
    split = evaluation_split(tmp_path / "flat", tuple(sorted(CLASSES)), data=data)
    assert len({*split.source_index.tolist()}) == 30
    assert split.label.tolist() == [sorted(CLASSES).index(c) for c in CLASSES for _ in range(10)]
    again = evaluate(run, images=tmp_path / "flat", data=data, name="flat", shown=False)
    assert again["accuracy"] == result["accuracy"] and again["num_images"] == 30
    (one,) = predict(run, [images / "Käse" / "IMG 001.png"])
    assert sorted(answer.name for answer in one.answers) == sorted(CLASSES)
    assert {answer.title for answer in one.answers} == {*CLASSES}
    facts = export_backbone(run, tmp_path / "w.safetensors")
    assert facts["classes"] == list(CLASSES) and facts["options"]["num_classes"] == 3
    assert load_predictor(tmp_path / "w.safetensors").classes == CLASSES


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ("1", r"--val 1: expected a folder of images, or the share of the dataset's images"),
        ("0.01", r"a share of 0\.01 of 30 images holds out none to validate on"),
        ("nowhere", r"Directory 'nowhere' does not exist"),
    ],
)
def test_what_is_no_share_is_refused(own, tmp_path, share, message):
    data, images = own
    command = ["run", "debug:tiny", "--data", str(data), "--images", str(images), "--val", share]
    result = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "run")])
    assert result.exit_code != 0
    assert re.search(message, result.output + str(result.exception))


# --- several labels an image ----------------------------------------------------------------------

VOCABULARY = ("Zebra", "Käse", "cat/tabby", "bus", "塔", "cup", "nothing")
"""In the order of the page, which is not theirs; no image has the last one."""


@pytest.fixture(scope="module")
def tagged(tmp_path_factory) -> Own:
    """30 images with squares of 3 colours; who sees an image last takes an icon off again."""
    root = tmp_path_factory.mktemp("tagged")
    rng = np.random.default_rng(0)
    views = []
    (root / "pics").mkdir()
    for number in range(30):
        pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        icons = []
        for colour in range(3):
            if rng.random() < 0.5:
                x, y = rng.integers(0, 22, 2).tolist()
                pixels[y : y + 10, x : x + 10, colour] = 250
                icons.append({"type": "add", "label": VOCABULARY[2 * colour],
                              "x": (x + 5) / 32, "y": (y + 5) / 32})  # fmt: skip
        Image.fromarray(pixels).save(root / "pics" / f"{number:03}.png")
        wrong = {"type": "add", "label": "bus", "x": 0.1, "y": 0.2}
        removed = [wrong, {**wrong, "type": "remove"}]
        for annotator, events in (("ann", [wrong]), ("bob", [*removed, *icons])):
            image = {"id": f"{number:03}", "width": 32, "height": 32}
            views.append({"kind": "tagging", "image": image, "asked": {"classes": VOCABULARY},
                          "annotator": annotator, "events": events})  # fmt: skip
    log = write_log(root / "log.jsonl", views)
    convert_tagging(log, root / "my-ab", deciding="last", worker_key=KEY, shown=False)
    return Own(root / "my-ab", root / "pics")


def several(**changes: Any) -> Recipe:
    """A recipe of COCO-AB's kind."""
    small = small_recipe(loss=Loss(classification="bce"), **changes)
    return replace(small, data=replace(small.data, dataset="coco-ab"))


def test_labels_are_the_icons_that_are_there_at_the_end(tagged):
    rows = read_coco(tagged.data, target="first_click")
    assert rows.classes == VOCABULARY and rows.is_by_icons.all()
    used = rows.label_NC.any(axis=0)
    assert used.tolist() == [True, False, True, False, True, False, False]
    assert rows.facts["num_labelled_by_icons"] == 30
    # An icon that was taken off is no label; the first view, where it stays, is not asked.
    assert {*rows.pair_label.tolist()} == {0, 2, 4}
    assert len(rows.pair_row) == rows.label_NC.sum()
    np.testing.assert_allclose(rows.first_P2, rows.click_P2)


def test_own_labels_train_as_many_outputs_and_points(tagged, tmp_path, capsys):
    data, images = tagged
    out = tmp_path / "run"
    train(several(), data=data, images=images, out=out, val=0.2)
    said = capsys.readouterr().err
    assert "labels of 24 of 24 images are the icons that are there at the end" in said
    assert "6 of 30 images are held out to validate on" in said
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["data"]["dataset"] == "tagging"
    for line in metrics_lines(out):
        assert (line["train_images"], line["val_images"]) == (24, 6)
        assert 1 <= line["val_num_classes"] <= 3 and 0 < line["val_map"] <= 1
        assert line["train_points"] > 10
    model = load_model(out)
    assert model.backbone.num_classes == model.num_points == len(VOCABULARY)
    (one,) = predict(out, [images / "000.png"], top=7)
    assert {answer.name for answer in one.answers} == {*VOCABULARY}
    assert one.point is None and all(answer.point for answer in one.answers)
    assert sum(answer.probability for answer in one.answers) != pytest.approx(1)
    facts = export_backbone(out, tmp_path / "w.safetensors")
    assert facts["classes"] == list(VOCABULARY)
    assert load_predictor(tmp_path / "w.safetensors").multi_label
    assert not load_predictor("test_vit", random_weights=True).multi_label
    rows, _ = evaluate_model(out, root=tmp_path, names=["coco", "in-1k"])
    assert {row["benchmark"]: row["status"] for row in rows} == dict.fromkeys(
        ("coco", "in-1k"), "failed"
    )
    assert all("the model has 7 classes" in row["note"] for row in rows)


def instances(file: Path, names: list[str]) -> Path:
    """Of the 30 pictures; those of even number have what `names` says, by ids of its own."""
    file.write_text(json.dumps({
        "images": [{"id": 500 - k, "width": 32, "height": 32, "file_name": f"x/{k:03}.png"}
                   for k in range(30)],
        "annotations": [{"id": k, "image_id": 500 - k, "category_id": 40 + k % 4 // 2,
                         "bbox": [1, 1, 5, 5], "segmentation": [[1, 1, 6, 1, 6, 6, 1, 6]]}
                        for k in range(0, 30, 2)],
        "categories": [{"id": 41 - k, "name": name} for k, name in enumerate(names)],
    }))  # fmt: skip
    return file


def test_labels_are_the_ground_truth_where_there_is_one(tagged, tmp_path):
    """Image 2, 6, ... has the first class of the file's, 0, 4, ... the second; others are unknown
    to it and are told by the icons, as classes are that the file does not list.
    """
    file = instances(tmp_path / "i.json", ["cup", "塔"])
    truth = json.loads(file.read_text())
    truth["images"] = [one for one in truth["images"] if one["id"] % 2 == 0]
    file.write_text(json.dumps(truth))
    convert_tagging(
        tagged.data.parent / "log.jsonl", tmp_path / "my-ab",
        deciding="last", instances=file, worker_key=KEY, shown=False,
    )  # fmt: skip
    rows, icons = read_coco(tmp_path / "my-ab"), read_coco(tagged.data)
    assert rows.is_by_icons.tolist() == [False, True] * 15
    assert np.array_equal(rows.label_NC[1::2], icons.label_NC[1::2])
    assert rows.label_NC[2::4, 5].all() and not rows.label_NC[::4, 5].any()
    assert rows.label_NC[::4, 4].all() and not rows.label_NC[2::4, 4].any()
    assert np.array_equal(rows.label_NC[:, [0, 2]], icons.label_NC[:, [0, 2]])
    assert rows.facts["num_labelled_by_icons"] == 15


def test_a_run_of_own_labels_is_evaluated_on_instances_or_on_a_dataset(tagged, tmp_path):
    file = instances(tmp_path / "i.json", ["cup", "塔"])
    data, images = tagged
    run = tmp_path / "run"
    train(several(epochs=1), data=data, images=images, out=run, val=images, val_boxes=file,
          shown=False)  # fmt: skip
    (line,) = metrics_lines(run)
    assert line["val_images"] == 30 and line["val_num_classes"] == 2
    found = evaluate(run, images=images, boxes=file, shown=False)
    assert found["map"] == line["val_map"] and found["num_images"] == 30
    found = evaluate(run, images=images, data=data, name="icons", shown=False)
    assert found["num_classes"] == 3 and 0 < found["map"] < 1
    with pytest.raises(OptionError, match=r"expected --val-boxes .*--boxes"):
        evaluate(run, images=images, shown=False)


def test_a_recipe_for_another_number_of_labels_is_refused(own, tagged, tmp_path):
    for recipe, (data, images), said in (
        (several(), own, "holds browsing, where an image has one label"),
        (small_recipe(), tagged, "holds tagging, where an image has several labels"),
    ):
        with pytest.raises(OptionError, match=said):
            train(recipe, data=data, images=images, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- points of traces -----------------------------------------------------------------------------


def view(image_id: str, *places: tuple[float, float], timed: bool = True) -> dict[str, Any]:
    events = [{"type": "move", "x": x, "y": y, **({"t": 100 * k} if timed else {})}
              for k, (x, y) in enumerate(places)]  # fmt: skip
    return {"kind": "tracing", "image": {"id": image_id}, "annotator": "ann", "events": events}


def write_traces(folder: Path, views: list[dict[str, Any]]) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = write_log(folder.with_suffix(".jsonl"), views)
    convert_tracing(log, folder, worker_key=KEY, shown=False)
    return folder


VIEWS = [
    view("a", (0.1, 0.2), (0.3, 0.2), (0.3, 0.8)),
    view("b", (0.9, 0.1)),
    view("a", (0.5, 0.4), (0.7, 0.6), timed=False),
    view("d"),
]


def test_a_trace_is_its_end_its_middle_or_its_path(tmp_path):
    folder = write_traces(tmp_path / "traces", VIEWS)
    last = read_traces(folder, target="trace_last")
    assert last.image_id.tolist() == ["a", "b", "d"] and last.values is not None
    nan = np.nan
    np.testing.assert_allclose(last.values[:, 0], [[0.5, 0.7], [0.9, 0.1], [nan, nan]])
    np.testing.assert_allclose(last.last, last.values[:, 0])
    middle = read_traces(folder, target="trace_centroid").values
    np.testing.assert_allclose(middle[:2, 0], [[(0.7 / 3 + 0.6) / 2, (0.4 + 0.5) / 2], [0.9, 0.1]])
    hull = read_traces(folder, target="hull_centre").values
    np.testing.assert_allclose(hull[0, 0], [(0.7 / 3 + 0.6) / 2, (0.4 + 0.5) / 2])  # a triangle
    path = read_traces(folder, target="trace").values
    assert path.shape == (3, 22, 2)
    first = [(0.1, 0.2)] * 5 + [(0.3, 0.2)] * 5 + [(0.3, 0.8)]
    np.testing.assert_allclose(path[0, :11], first)
    np.testing.assert_allclose(path[0, 11:], [(0.5, 0.4)] * 10 + [(0.7, 0.6)])  # it has no times
    np.testing.assert_allclose(path[1, :11], [(0.9, 0.1)] * 11)
    assert np.isnan(path[1, 11:]).all() and np.isnan(path[2]).all()


@pytest.fixture(scope="module")
def traced(own, tmp_path_factory) -> Path:
    """A trace over half of the images of `own`, which ends at its square; ids are paths."""
    squares = read_annotations(own.data)
    views = []
    for k in range(0, 30, 2):
        wnid = squares.classes[squares.label[k]]
        plain = squares.image_id[k].removeprefix(f"{wnid}_")
        place = tuple(squares.click[k].tolist())
        views.append(view(f"pics/{wnid.replace('/', '_')}/{plain}.png", (0.5, 0.5), place))
    return write_traces(tmp_path_factory.mktemp("traces") / "traces", views)


def test_labelled_images_take_their_points_from_traces(own, traced):
    clicks = read_annotations(own.data).click
    found = training_data(
        small_recipe(target="trace_last"), data=own.data, images=own.images, points=traced
    )
    np.testing.assert_allclose(found.points.values[::2, 0], clicks[::2])
    assert np.isnan(found.points.values[1::2]).all()
    facts = found.facts["traces"]
    assert facts["name"] == "traces" and facts["digest"] != found.facts["digest"]
    assert [facts[key] for key in ("num_images", "num_rows", "num_train")] == [15, 15, 15]
    assert "num_clicks" not in found.facts and found.facts["num_points"] == 15
    # Controls are drawn for exactly the images that have a trace.
    for target in ("random", "centre", "shuffled"):
        recipe = small_recipe(target=target)
        other = training_data(recipe, data=own.data, images=own.images, points=traced).points
        assert np.array_equal(np.isnan(other.values), np.isnan(found.points.values))
    loop = PointDataset(own.data, own.images, target="trace", points=traced)
    assert loop[0]["point"].shape == (11, 2) and loop[0]["mask"].all()
    assert not loop[1]["mask"].any()


def test_class_folders_alone_learn_from_traces(own, traced):
    recipe = of_dataset(small_recipe(target="trace_centroid"), traced)
    assert recipe.data.dataset == "tracing"
    found = training_data(recipe, data=traced, images=own.images, held_out=0.2)
    assert found.classes == tuple(sorted(CLASSES)) and found.facts["num_rows"] == 30
    assert len(found.split) == 24 and found.held_out is not None
    num = np.isfinite(found.points.values).all(axis=2).sum()
    assert 8 <= num <= 15 and found.facts["num_points"] == num
    clicks = read_annotations(own.data)
    squares = dict(zip(clicks.image_id.tolist(), clicks.click, strict=True))
    for name, (point,) in zip(found.split.image_id, found.points.values, strict=True):
        wnid, _, plain = str(name).partition("/IMG")
        square = squares.get(f"IMG{plain}" if wnid == "Käse" else f"{wnid}_IMG{plain}")
        if np.isfinite(point).all():
            np.testing.assert_allclose(point, (square + 0.5) / 2)


def test_traces_supervise_the_attention_head(own, tmp_path):
    """Everybody looked to the upper right, so that is where the head looks."""
    names = read_annotations(own.data).image_id.tolist()
    points = write_traces(tmp_path / "t", [view(name, (0.8, 0.2), (0.9, 0.1)) for name in names])
    recipe = small_recipe(
        target="trace",
        data=replace(small_recipe().data, image_size=64, eval_resize=64, flip=0.0),
        model=Model(name="test_resnet", point_head="attention"),
        optim=replace(small_recipe().optim, lr=1e-2),
        epochs=6,
    )
    run = tmp_path / "run"
    train(recipe, data=own.data, images=own.images, points=points, out=run, shown=False)
    lines = metrics_lines(run)
    assert lines[-1]["train_point_loss"] < 0.5 * lines[0]["train_point_loss"]
    (one,) = predict(run, [own.images / "Käse" / "IMG 000.png"])
    assert one.point is not None and one.point[0] > 0.65 and one.point[1] < 0.35


def test_images_of_several_labels_have_one_map(tagged, tmp_path):
    views = [view(f"{number:03}", (0.2, 0.3), (0.6, 0.7)) for number in range(0, 30, 2)]
    points = write_traces(tmp_path / "traces", views)
    recipe = several(target="trace", model=Model(name="test_vit", point_head="attention"), epochs=1)
    found = training_data(
        of_dataset(recipe, tagged.data), data=tagged.data, images=tagged.images, points=points
    )
    assert found.points.values.shape == (30, 11, 2) and found.split.label.shape == (30, 7)
    assert found.facts["num_points"] == 15 * 11
    run = tmp_path / "run"
    train(recipe, data=tagged.data, images=tagged.images, points=points, out=run, shown=False)
    assert load_model(run).num_points == 1
    (one,) = predict(run, [tagged.images / "000.png"])
    assert one.point is not None and one.answers[0].point is None


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("trace_last", {}, r"my-ab has no traces; expected --points DATASET"),
        (
            "click",
            {"points": True},
            r"target click: is not of the traces of .*; expected one",
        ),
        ("trace_last", {"points": "my-ab"}, r"holds browsing; expected a dataset of traces"),
        ("trace_last", {"points": "other"}, r"none of its 1 images is one of the 30 of"),
    ],
)
def test_points_that_no_trace_gives_are_refused(own, traced, tmp_path, target, options, message):
    other = write_traces(tmp_path / "other", [view("nowhere", (0.1, 0.1))])
    points = {True: traced, "my-ab": own.data, "other": other}.get(options.get("points"))
    with pytest.raises(LuabError, match=message):
        training_data(small_recipe(target=target), data=own.data, images=own.images, points=points)
