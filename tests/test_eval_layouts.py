"""Datasets are found under the names and depths people unpack them at, and explained if wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from miniatures.backgrounds import make_backgrounds
from miniatures.objectnet import make_objectnet
from miniatures.si_score import make_si

from luab_data.errors import ImagesError
from luab_train.data.classes import imagenet_classes, timm_synsets
from luab_train.evaluate.benchmarks import BENCHMARKS, BY_NAME
from luab_train.evaluate.classes import (
    in9_accepted,
    real_labels,
    real_labels_of,
    si_score_accepted,
)
from luab_train.evaluate.layouts import Missing, corruption_folders, locate, scan_folders
from luab_train.evaluate.parts import folder_part


def of(name):
    return BY_NAME[name].datasets[0]


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def find(dataset, root: Path):
    found = locate(dataset, root, scan_folders(root))
    return found if isinstance(found, Missing) else found.relative_to(root).as_posix()


@pytest.mark.parametrize(
    ("dataset", "path"),
    [
        (of("in-1k"), "val/n01443537"),
        (of("in-1k"), "imagenet/val/n01443537"),
        (of("in-1k"), "ILSVRC2012/val/n01443537"),
        (of("in-1k"), "data/imagenet-1k/val/n01443537"),
        (of("in-1k"), "Data/CLS-LOC/val/n01443537"),
        (of("in-v2"), "imagenetv2-matched-frequency-format-val/10"),
        (of("in-v2"), "imagenetv2/ImageNetV2-matched-frequency/10"),
        (of("in-a"), "imagenet-a/n01498041"),
        (of("in-a"), "robust/ImageNet-A/imagenet-a/n01498041"),
        (of("in-r"), "imagenet-r/n01443537"),
        (of("in-o"), "imagenet-o/n01443537"),
        (of("sketch"), "sketch/n01443537"),
        (of("sketch"), "ImageNet-Sketch/sketch/n01443537"),
    ],
)
def test_a_dataset_is_found_where_people_put_it(tmp_path, dataset, path):
    touch(tmp_path, f"{path}/image.jpg")
    assert find(dataset, tmp_path) == str(Path(path).parent)


def test_each_is_found_at_the_place_we_ask_for(tmp_path):
    from miniatures.everything import make_everything

    make_everything(tmp_path)
    for benchmark in BENCHMARKS:
        for dataset in benchmark.datasets:
            assert find(dataset, tmp_path) == dataset.place


def test_some_are_told_by_their_content(tmp_path):
    make_objectnet(tmp_path).rename(tmp_path / "on")
    make_backgrounds(tmp_path).rename(tmp_path / "xiao2021")
    assert find(of("objectnet"), tmp_path) == "on"
    assert find(of("bgc-gap"), tmp_path) == find(of("bgc-acc"), tmp_path) == "xiao2021"


def test_what_is_not_there_is_missing(tmp_path):
    assert str(find(of("in-c"), tmp_path)) == f"missing: put it at {tmp_path / 'imagenet-c'}"
    make_si(tmp_path, "size")
    assert isinstance(find(of("si-loc"), tmp_path), Missing)
    (tmp_path / "object_size/foreground_classes.csv").unlink()
    place = tmp_path / "object_size/foreground_classes.csv"
    assert find(of("si-size"), tmp_path) == Missing(place)
    shutil.rmtree(make_backgrounds(tmp_path) / "fg_mask")
    assert find(of("bgc-acc"), tmp_path) == Missing(tmp_path / "bg_challenge/fg_mask/val")
    assert find(of("bgc-gap"), tmp_path) == "bg_challenge"


@pytest.mark.parametrize(
    ("dataset", "paths", "message"),
    [
        (
            of("in-1k"),
            ["imagenet/val/a.JPEG", "imagenet/val/b.JPEG"],
            "found 2 images and no subfolder; expected one subfolder a class, named by its wnid",
        ),
        (of("in-1k"), ["val/goldfish/a.jpg"], "found subfolders goldfish; expected one"),
        (of("in-v2"), ["imagenetv2-matched-frequency/n01443537/a.jpg"], "named 0 to 999"),
        (of("in-a"), ["imagenet-a/n01440764/a.jpg"], "classes n01440764 that are not among"),
        (of("in-c"), ["imagenet-c/foggy/1/n01443537/a.jpg"], "found foggy; expected corruption"),
        (of("in-c"), ["imagenet-c/fog/1/n01443537/a.jpg"], "fog has 1 and lacks 2, 3, 4, ..."),
        (
            of("in-c"),
            [f"imagenet-c/fog/{s}/goldfish/a.jpg" for s in range(1, 6)],
            "fog/1: found subfolders goldfish",
        ),
        (
            of("bgc-gap"),
            [
                "bg_challenge/in_to_in9.json",
                "bg_challenge/mixed_same/val/dog/a.jpg",
                "bg_challenge/mixed_rand/val/00_dog/a.jpg",
            ],
            "mixed_same/val holds dog; expected nine superclasses, 00_dog to 08_fish",
        ),
        (
            of("in-c"),
            [
                *(f"imagenet-c/{c}/{s}/n01443537/a.jpg" for c in ("fog", "snow") for s in range(6)),
                *(f"imagenet-c/snow/{s}/n01440764/a.jpg" for s in range(1, 5)),
            ],
            "snow/5 lacks n01440764; expected the same classes in every cell",
        ),
    ],
)
def test_a_wrong_layout_says_what_was_found_and_expected(tmp_path, dataset, paths, message):
    touch(tmp_path, *paths)
    with pytest.raises(ImagesError) as error:
        find(dataset, tmp_path)
    assert message in str(error.value) and f"not {dataset.name} as its archive" in str(error.value)


def test_two_copies_are_not_chosen_between(tmp_path):
    touch(tmp_path, "a/imagenet-r/n01443537/x.jpg", "b/imagenet-r/n01443537/x.jpg")
    with pytest.raises(ImagesError, match="is there twice, as a/imagenet-r and b/imagenet-r"):
        find(of("in-r"), tmp_path)
    touch(tmp_path, "imagenet-r/n01443537/x.jpg")
    assert find(of("in-r"), tmp_path) == "imagenet-r"


def test_corruptions_may_be_grouped_as_in_the_tars(tmp_path):
    touch(tmp_path, "weather/fog/1/n01443537/x.jpg", "snow/1/n01443537/x.jpg")
    found = {
        name: p.relative_to(tmp_path).as_posix() for name, p in corruption_folders(tmp_path).items()
    }
    assert found == {"fog": "weather/fog", "snow": "snow"}


def test_class_folders_are_not_searched(tmp_path):
    touch(
        tmp_path,
        "val/n01443537/imagenet-a/n01498041/x.jpg",
        *(f"many/{i}x/y/z" for i in range(101)),
    )
    assert "val/n01443537" not in scan_folders(tmp_path)
    assert "many" in scan_folders(tmp_path) and "many/0x" not in scan_folders(tmp_path)


# Labels


def test_a_folder_named_10_is_class_10_though_it_is_sorted_second(tmp_path):
    touch(tmp_path, *(f"{name}/x.jpeg" for name in ("0", "1", "10", "2")))
    classes = imagenet_classes()
    label_of = {name: classes[int(name)] for name in ("0", "1", "10", "2")}
    part = folder_part("v2", tmp_path, {w: (w,) for w in classes}, classes, label_of=label_of)
    of = dict(zip(part.image_id.tolist(), part.label.tolist(), strict=True))
    assert sorted(of)[2] == "10/x.jpeg" and of["10/x.jpeg"] == classes[10]


def test_timms_lists_are_those_of_the_papers():
    classes = imagenet_classes()
    assert len(classes) == 1000 and list(classes) == sorted(classes)
    in_a = [classes.index(wnid) for wnid in timm_synsets("imagenet_a_synsets.txt")]
    in_r = [classes.index(wnid) for wnid in timm_synsets("imagenet_r_synsets.txt")]
    assert in_a[:6] == [6, 11, 13, 15, 17, 22] and len(in_a) == 200
    assert in_r[:6] == [1, 2, 4, 6, 8, 9] and len(in_r) == 200


def test_real_labels_have_the_published_counts():
    labels = real_labels()
    assert len(labels) == 50_000
    assert sum(map(bool, labels)) == 46_837
    assert sum(len(wnids) > 1 for wnids in labels) == 7_443


def test_real_labels_go_by_the_name_of_the_file():
    classes = imagenet_classes()
    assert real_labels_of("n01443537/ILSVRC2012_val_00000002.JPEG") == real_labels()[1]
    assert set(real_labels()[1]) == {classes[970], classes[795]}
    for name, message in (
        ("cat.jpg", "expected ILSVRC2012_val"),
        ("ILSVRC2012_val_00050001", "1 to"),
    ):
        with pytest.raises(ImagesError, match=message):
            real_labels_of(name)


def test_si_score_reads_the_archives_own_list(tmp_path):
    file = tmp_path / "foreground_classes.csv"
    file.write_text("int,label\n954,banana\n340,zebra\n21,kite\n")
    classes = imagenet_classes()
    assert si_score_accepted(file) == {
        "banana": (classes[954],), "zebra": (classes[340],), "kite": (classes[21],)
    }  # fmt: skip
    file.write_text("index;name\n954;banana\n")
    with pytest.raises(ImagesError, match="expected columns int, an ImageNet index, and label"):
        si_score_accepted(file)


def test_superclasses_follow_the_number_of_the_folder(tmp_path):
    file = tmp_path / "in_to_in9.json"
    file.write_text('{"207": 0, "208": 0, "130": 1, "954": -1}')
    classes = imagenet_classes()
    found = in9_accepted(file, ["00_dog", "01_bird", "08_fish"])
    assert found == {
        "00_dog": tuple(sorted((classes[207], classes[208]))), "01_bird": (classes[130],),
        "08_fish": (),
    }  # fmt: skip
    for text, message in (
        ("[", "not JSON"),
        ("[1]", "expected a JSON object"),
        ('{"a": 1}', "or -1"),
    ):
        file.write_text(text)
        with pytest.raises(ImagesError, match=message):
            in9_accepted(file, ["00_dog"])


def test_an_unknown_class_folder_is_named(tmp_path):
    touch(tmp_path, "hovercraft/x.jpg")
    with pytest.raises(
        ImagesError, match="hovercraft: no class of the benchmark; expected one of b"
    ):
        folder_part("si", tmp_path, {"banana": ("n07753592",)}, imagenet_classes())


def test_empty_class_folders_are_an_error(tmp_path):
    touch(tmp_path, "n01443537/notes.txt", "n01443537/.hidden.jpg")
    with pytest.raises(ImagesError, match="n01443537: holds no image; unpack it again"):
        folder_part("val", tmp_path, {"n01443537": ("n01443537",)}, imagenet_classes())


@pytest.mark.parametrize(
    "variant", ["original", "fg_mask", "only_bg_t", "mixed_same", "mixed_rand"]
)
def test_each_variant_of_the_challenge_has_all_nine_superclasses(tmp_path, variant):
    folder = make_backgrounds(tmp_path, per_class=1, backgrounds_per_class=1)
    shutil.rmtree(folder / variant / "val/04_carnivore")
    dataset = of("bgc-gap") if variant.startswith("mixed") else of("bgc-acc")
    with pytest.raises(ImagesError, match=f"{variant}/val holds .*; expected nine superclasses"):
        find(dataset, tmp_path)


def test_a_class_that_the_model_has_may_not_lack_its_folder(tmp_path):
    touch(tmp_path, "chairs/x.png")
    label_of, accepted = {"chairs": "Chair", "bees": "Bee"}, {"Chair": ("a",), "Bee": ("b",)}
    message = "no folder bees, 1 of 2 classes of the benchmark are lacking"
    with pytest.raises(ImagesError, match=message):
        folder_part("on", tmp_path, accepted, ("a", "b"), label_of=label_of)
    assert len(folder_part("on", tmp_path, accepted, ("a", "c"), label_of=label_of)) == 1


def test_one_empty_class_folder_among_others_is_an_error(tmp_path):
    touch(tmp_path, "n01440764/x.jpg", "n01443537/notes.txt")
    accepted = {wnid: (wnid,) for wnid in ("n01440764", "n01443537")}
    with pytest.raises(ImagesError, match="n01443537: holds no image"):
        folder_part("val", tmp_path, accepted, imagenet_classes())
