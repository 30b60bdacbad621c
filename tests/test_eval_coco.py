"""The evaluation on COCO end to end: models that see colours, drawn scenes with known answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from coco_scenes import (
    BACKGROUND,
    COLOURS,
    Coco,
    amounts,
    constant,
    linear,
    make_coco,
    model,
    random_scores,
)
from coco_scenes import evaluate as run
from logs import SHARED
from PIL import Image
from torch import Tensor, nn

from luab_data.errors import DatasetError, ImagesError, OptionError
from luab_data.schema import COCO_CLASSES
from luab_train.data.inputs import EvalCrop
from luab_train.evaluate.coco.class_pixels import ClassPixels, class_pixels
from luab_train.evaluate.coco.erasing import Eraser
from luab_train.evaluate.coco.scenes import Gallery, Status, find_scenes
from luab_train.evaluate.coco.storage import read_tables
from luab_train.evaluate.coco.summary import compare, summarise
from luab_train.evaluate.predictor import Predictor, load_predictor
from luab_train.evaluate.settings import Settings
from luab_train.models.classifier import LuabModel
from luab_train.sections import Data

LEFT, RIGHT, TOP = (2, 10, 10, 20), (20, 12, 30, 24), (6, 1, 24, 7)
PERSON, BICYCLE, CAR, DOG = 0, 1, 2, 16


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Coco:
    """Pairs, a triple, one class alone, none at all."""
    return make_coco(
        tmp_path_factory.mktemp("coco"),
        [
            [(PERSON, LEFT), (BICYCLE, RIGHT)],
            [(PERSON, LEFT), (DOG, RIGHT), (CAR, TOP)],
            [(CAR, TOP)],
            [],
            [(BICYCLE, TOP), (BICYCLE, LEFT), (DOG, RIGHT)],
        ],
    )


def pixels_of(predictor: Predictor, *coco: Path, **options: Any) -> ClassPixels:
    settings = Settings(**{"num_workers": 1, "shown": False, **options})
    return class_pixels(predictor, find_scenes(*coco).scenes, settings=settings)


# --- known answers -------------------------------------------------------------------------------


def test_a_model_that_sees_each_object_by_itself_is_never_fooled(coco: Coco):
    found = run(model(), coco)
    assert found.precision.mean.value == 1 and found.precision.num_excluded == 76
    assert (found.num_images, found.num_without_labels) == (5, 1)
    context = found.rates
    assert (context["v_random"].mean.value, context["v_worst"].mean.value) == (0, 0)
    assert (context["v_worst"].num_images, context["v_worst"].num_cases) == (3, 7)
    # a = 0 and b_o = all pixels of the class: D = - its area.
    areas = {PERSON: 80, BICYCLE: (120 + 108 + 80) / 2, CAR: 108, DOG: 120}
    for label, area in areas.items():
        assert context["difference"].classes.value[label] == pytest.approx(-area)
    assert found.num_objects == {
        **{"erased": 7, "alone": 1, "empty": 0, "too_large": 0, "unchanged": 0}
    }
    assert found.leaning is not None and set(found.leaning["drop"].to_pylist()) == {0.0}
    assert found.mean_overlap == 0 and "on_mask" not in found.rates


def test_a_constant_model_always_violates(coco: Coco):
    found = run(model(constant), coco)
    assert found.num_ties == 10
    rates = found.rates
    assert (rates["v_random"].mean.value, rates["v_worst"].mean.value) == (1, 1)
    assert rates["difference"].mean.value == 0


def test_random_scores_come_to_chance(tmp_path: Path):
    scenes = [[(PERSON, LEFT), (DOG, RIGHT), (CAR, TOP)]] * 60
    found = run(model(random_scores()), make_coco(tmp_path, scenes), resamples=200).rates
    random, worst = found["v_random"], found["v_worst"]
    assert random.mean.null == 0.5 and worst.mean.null == pytest.approx(2 / 3)
    for rate in (random, worst):
        assert rate.mean.low <= rate.mean.null <= rate.mean.high


def test_a_class_seen_only_by_its_neighbour_leans_on_it(coco: Coco):
    """Person is scored by bicycles and dogs: erasing it changes nothing, erasing them does."""
    leaning = linear({(PERSON, BICYCLE): 1, (PERSON, DOG): 1} | {(k, k): 1 for k in (1, 2, 16)})
    found = run(model(leaning), coco)
    assert found.leaning is not None
    # Image 0: a = 120, b = 0. Image 1: a = 120, b without dog 0, without car 120: a tie.
    assert found.rates["v_random"].classes.value[PERSON] == 1
    assert found.num_ties == 1
    assert found.rates["v_worst"].mean.value == pytest.approx(1 / 4)
    rows = {(r["name"], r["other_name"]): r for r in found.leaning.to_pylist()}
    assert rows["person", "dog"]["drop"] == 120 and rows["person", "car"]["drop"] == 0
    assert rows["person", "bicycle"]["own_drop"] == 0
    assert rows["dog", "person"]["drop"] == 0 and rows["dog", "person"]["own_drop"] == 120


@pytest.mark.parametrize(("weight", "violated"), [(0.5, 0.0), (2.0, 1.0)])
def test_half_a_look_at_a_neighbour_is_a_drop_and_a_double_one_a_violation(
    tmp_path: Path, weight: float, violated: float
):
    coco = make_coco(tmp_path, [[(PERSON, (0, 0, 10, 10)), (DOG, (20, 20, 30, 30))]] * 2)
    scores = linear({(PERSON, PERSON): 1, (PERSON, DOG): weight, (DOG, DOG): 1})
    found = run(model(scores), coco)
    assert found.leaning is not None
    assert found.rates["v_random"].classes.value[PERSON] == violated
    rows = {(r["label"], r["other_label"]): r for r in found.leaning.to_pylist()}
    assert rows[PERSON, DOG]["drop"] == 100 * weight and rows[PERSON, DOG]["own_drop"] == 100
    assert rows[PERSON, DOG]["violation_rate"] == violated


# --- what is erased ------------------------------------------------------------------------------


def statuses(coco: Coco, eraser: Eraser, crop: EvalCrop | None = None) -> list[list[str]]:
    scenes = find_scenes(coco.images, coco.instances).scenes
    gallery = Gallery(scenes, crop or EvalCrop(Data(image_size=32, eval_resize=32)), eraser)
    return [[Status(k).name for k in gallery[i].status_P] for i in range(len(gallery))]


def test_an_object_outside_the_crop_is_no_erasure_and_no_pair(tmp_path: Path):
    wide = [[(PERSON, (0, 0, 5, 20)), (DOG, (40, 5, 50, 15)), (CAR, (55, 18, 60, 28))]]
    wide += [[(PERSON, (0, 0, 5, 20)), (DOG, (40, 5, 50, 15))], []]
    coco = make_coco(tmp_path, wide, size_wh=(96, 32))
    pairs = [["UNCHANGED", "ERASED", "ERASED"], ["UNCHANGED", "ALONE"], []]
    assert statuses(coco, Eraser()) == pairs
    squash = EvalCrop.squash(Data(image_size=32))
    assert statuses(coco, Eraser(), squash) == [["ERASED"] * 3, ["ERASED"] * 2, []]
    found = run(model(), coco)
    assert (found.rates["v_worst"].num_images, found.num_outside) == (1, 2)
    assert found.num_objects["unchanged"] == 2 and found.rates["v_worst"].mean.value == 0
    assert found.precision.classes.value[PERSON] == pytest.approx(2 / 3), "nobody sees them"


def test_an_object_that_looks_like_the_fill_is_no_erasure(coco: Coco):
    red = Eraser(colour=COLOURS[PERSON])
    assert statuses(coco, red)[:2] == [["UNCHANGED", "ALONE"], ["UNCHANGED", "ERASED", "ERASED"]]


def test_large_and_empty_objects_are_not_erased(tmp_path: Path):
    scene = [(PERSON, (0, 0, 32, 20)), (DOG, (3, 22, 9, 30)), (CAR, (12, 22, 20, 30))]
    coco = make_coco(tmp_path, [[*scene, (BICYCLE, (4, 4, 4, 9))]])
    assert statuses(coco, Eraser(max_area=0.5)) == [["TOO_LARGE", "EMPTY", "ERASED", "ERASED"]]
    assert statuses(coco, Eraser(max_area=0.04)) == [
        ["TOO_LARGE", "EMPTY", "TOO_LARGE", "TOO_LARGE"][:4]
    ]
    assert statuses(coco, Eraser(max_area=20 / 32)) == [["ERASED", "EMPTY", "ERASED", "ERASED"]]


def test_all_instances_and_the_crowd_of_a_class_are_erased_together(tmp_path: Path):
    coco = make_coco(
        tmp_path,
        [[(BICYCLE, TOP), (BICYCLE, LEFT), (DOG, RIGHT)]],
        crowds=[(100, BICYCLE, (12, 12, 18, 30))],
    )
    scenes = find_scenes(coco.images, coco.instances).scenes
    crop = EvalCrop(Data(image_size=32, eval_resize=32))
    seen = Gallery(scenes, crop, Eraser())[0]
    changed = (seen.erased[0] != seen.square_SS3).any(axis=2)
    expected = np.zeros((32, 32), bool)
    for x0, y0, x1, y1 in (TOP, LEFT, (12, 12, 18, 30)):
        expected[y0:y1, x0:x1] = True
    assert np.array_equal(changed, expected)
    assert (seen.erased[0][expected] == (124, 116, 104)).all()
    # (DOG, RIGHT) is untouched; without BACKGROUND there is nothing else in the image.
    erased = torch.from_numpy(seen.erased[0].copy()).permute(2, 0, 1)[None]
    assert amounts(erased)[0, DOG] == 120
    assert (seen.square_SS3[0, 0] == BACKGROUND).all()


def test_shared_pixels_go_with_either_class_and_are_logged(tmp_path: Path):
    over = [(PERSON, (0, 0, 10, 10)), (DOG, (5, 0, 25, 10))]
    coco = make_coco(tmp_path, [over])
    seen = Gallery(find_scenes(*coco).scenes, EvalCrop(model().data), Eraser())[0]
    assert seen.covered_PP.tolist() == [[1, 0.25], [0.5, 1]]
    assert seen.area_P.tolist() == [100 / 1024, 200 / 1024] == seen.chance_P.tolist()
    found = run(model(), coco)
    assert found.mean_overlap == 0.375 and found.leaning is not None
    # A quarter of the dog goes with the person; the person under the dog was never seen.
    rows = {r["label"]: r for r in found.leaning.to_pylist()}
    assert (rows[DOG]["drop"], rows[PERSON]["drop"]) == (50, 0)
    assert (rows[DOG]["covered"], rows[PERSON]["covered"]) == (0.25, 0.5)
    grown = Gallery(find_scenes(*coco).scenes, EvalCrop(model().data), Eraser(dilation=2))[0]
    assert grown.covered_PP[0, 1] > 0.32


@pytest.mark.parametrize("fill", ["mean", "black", "blur", "inpaint"])
def test_an_object_is_gone_whatever_fills_its_place(coco: Coco, fill: Any):
    found = run(model(), coco, eraser=Eraser(fill=fill, dilation=1)).rates
    assert found["v_worst"].mean.value == 0


# --- points --------------------------------------------------------------------------------------


def test_a_shared_point_is_judged_on_each_class(coco: Coco):
    point = torch.tensor([25 / 32, 18 / 32])  # in RIGHT
    found = run(model(points=point), coco).rates
    assert (found["on_mask"].num_images, found["on_mask"].num_cases) == (4, 8)
    assert found["on_mask"].classes.value[[PERSON, BICYCLE, CAR, DOG]].tolist() == [0, 0.5, 0, 1]
    assert found["on_mask"].mean.value == 0.375 and found["on_mask"].micro.value == 3 / 8
    assert found["on_mask"].classes.null[DOG] == pytest.approx(120 / 1024)
    assert found["centre"].micro.value == 0


def test_each_class_has_its_own_point_and_it_goes_through_the_crop(tmp_path: Path):
    boxes = [(PERSON, (34, 4, 40, 12)), (CAR, (50, 2, 60, 8)), (DOG, (54, 20, 60, 30))]
    coco = make_coco(tmp_path, [boxes], size_wh=(96, 32))
    points = torch.full((80, 2), 0.0)
    points[PERSON] = torch.tensor([(37 - 32) / 32, 8 / 32])
    points[CAR] = torch.tensor([(55 - 32) / 32, 4 / 32])
    points[DOG] = torch.tensor([57 / 96, 25 / 32])  # where it is in the image, not in the crop
    found = run(model(points=points.reshape(-1)), coco, out=tmp_path / "out")
    assert found.rates["on_mask"].classes.value[[PERSON, CAR, DOG]].tolist() == [1, 1, 0]
    row = pq.read_table(tmp_path / "out" / "scores.parquet").to_pylist()[0]
    assert len(row["point_x"]) == 80
    assert row["point_x"][PERSON] == pytest.approx(37 / 96)
    assert row["point_y"][PERSON] == pytest.approx(8 / 32)


def test_a_class_outside_the_crop_is_not_judged_by_its_point(tmp_path: Path):
    wide = [[(PERSON, (0, 0, 5, 20)), (DOG, (40, 5, 50, 15))]]
    coco = make_coco(tmp_path, wide, size_wh=(96, 32))
    found = run(model(points=torch.tensor([0.5, 0.5])), coco)
    assert (found.rates["on_mask"].num_cases, found.num_outside) == (1, 1)
    assert found.classes["num_pointed"].to_pylist()[PERSON] == 0
    assert found.classes["on_mask"].to_pylist()[PERSON] is None


# --- maps ----------------------------------------------------------------------------------------


class Colours(nn.Module):
    """A backbone whose feature maps are the colours of the classes, so that CAM is their mask."""

    global_pool = "avg"

    def __init__(self, flipped: bool = False) -> None:
        super().__init__()
        self.classifier = nn.Linear(80, 80, bias=False)
        self.classifier.weight.data = torch.eye(80) * (-1 if flipped else 1)

    def get_classifier(self) -> nn.Linear:
        return self.classifier

    def forward_features(self, image_B3HW: Tensor) -> Tensor:
        found = torch.zeros(len(image_B3HW), 80, *image_B3HW.shape[2:])
        for label, colour in COLOURS.items():
            wanted = torch.tensor(colour).view(1, 3, 1, 1)
            found[:, label] = ((image_B3HW * 255 - wanted).abs().amax(dim=1) < 4).float()
        return found

    def forward(self, image_B3HW: Tensor) -> Tensor:
        return self.classifier(self.forward_features(image_B3HW).mean(dim=(2, 3)))


def mapped(flipped: bool = False) -> Predictor:
    network = LuabModel(Colours(flipped), mean=(0, 0, 0), std=(1, 1, 1))
    return model(data=Data(image_size=224), **{"model": network})


def test_maps_that_are_the_masks_have_full_pixel_precision_and_flat_ones_that_of_chance(
    tmp_path: Path,
):
    boxes = [(16, 32, 96, 160), (112, 16, 208, 64)]
    scenes = [[(PERSON, boxes[0]), (DOG, boxes[1])], [(DOG, boxes[0])], []]
    coco = make_coco(tmp_path, scenes, size_wh=(224, 224), crowds=[(101, CAR, boxes[1])])
    found = pixels_of(mapped(), *coco)
    assert found.mean.value == 1 and (found.num_images, found.num_pairs) == (2, 3)
    assert found.num_crowds == 1 and found.method == "CAM" and found.map_size == "224x224"
    areas = [80 * 128 / 224**2, 96 * 48 / 224**2]
    assert found.chance[PERSON] == pytest.approx(areas[0])
    assert found.chance[DOG] == pytest.approx(sum(areas) / 2)
    assert np.isnan(found.classes[CAR])
    # Upside down, objects are below everything else: one threshold takes all.
    wrong = pixels_of(mapped(flipped=True), *coco)
    assert wrong.classes[[PERSON, DOG]] == pytest.approx(found.chance[[PERSON, DOG]])


def test_pixels_of_a_crowd_count_neither_way(tmp_path: Path):
    box = (16, 32, 96, 160)
    painted = [[(PERSON, box), (DOG, (112, 16, 208, 64))]]
    coco = make_coco(tmp_path, painted, size_wh=(224, 224))
    content = json.loads(coco.instances.read_text())
    content["annotations"][1]["category_id"] = 1  # a person that looks like a dog ...
    content["annotations"][1]["iscrowd"] = 1
    coco.instances.write_text(json.dumps(content))
    found = pixels_of(mapped(), *coco)
    assert found.classes[PERSON] == 1
    assert found.chance[PERSON] == pytest.approx(80 * 128 / (224**2 - 96 * 48))
    content["annotations"][1]["iscrowd"] = 0  # ... is missed when it is no crowd
    coco.instances.write_text(json.dumps(content))
    assert pixels_of(mapped(), *coco).classes[PERSON] < 0.85


def test_a_class_that_the_map_does_not_see_is_flat_and_scores_its_share(tmp_path: Path):
    box = (16, 32, 96, 160)
    coco = make_coco(tmp_path, [[(PERSON, box), (DOG, box)]], size_wh=(224, 224))
    found = pixels_of(mapped(), *coco)
    assert (found.num_pairs, found.num_flat, found.classes[DOG]) == (2, 1, 1)
    assert found.classes[PERSON] == pytest.approx(80 * 128 / 224**2)
    blind = mapped()
    torch.nn.init.constant_(blind.model.backbone.classifier.weight, torch.nan)
    assert pixels_of(blind, *coco).num_flat == 2


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Coco:
    """Small images, whose borders resizing softens; crowds over, beside and without objects."""
    aside, over = (0, 20, 9, 30), (4, 15, 14, 30)
    return make_coco(
        tmp_path_factory.mktemp("crowded"),
        [
            [(PERSON, LEFT), (BICYCLE, RIGHT)],
            [(PERSON, LEFT), (DOG, RIGHT), (CAR, TOP)],
            [(CAR, TOP)],
            [],
            [(BICYCLE, TOP), (BICYCLE, LEFT), (DOG, RIGHT)],
        ],
        crowds=[(101, BICYCLE, aside), (102, PERSON, aside), (100, PERSON, over)],
    )


@pytest.mark.parametrize("options", [{}, {"batch_size": 2, "num_workers": 2}])
def test_pixels_of_drawn_scenes_keep_their_numbers(crowded: Coco, options: dict[str, int]):
    found = pixels_of(mapped(), *crowded, **options)
    mean = [float(getattr(found.mean, name)) for name in ("value", "low", "high", "null")]
    assert mean == pytest.approx([0.84717570, 0.83843122, 0.85592018, 0.11400861], abs=1e-6)
    classes = [0.83156914, 0.85475801, 0.83569834, 0.86667730]
    assert found.classes[[PERSON, BICYCLE, CAR, DOG]] == pytest.approx(classes, abs=1e-6)
    counts = (found.num_images, found.num_pairs, found.num_flat, found.num_crowds)
    assert counts == (4, 8, 0, 2)


def test_the_interval_of_pixels_is_a_jackknife_over_images(crowded: Coco, tmp_path: Path):
    found = pixels_of(mapped(), *crowded).mean
    content = json.loads(crowded.instances.read_text())
    without = []
    for left_out in (100, 101, 102, 104):
        kept = {
            "images": [one for one in content["images"] if one["id"] != left_out],
            "annotations": [a for a in content["annotations"] if a["image_id"] != left_out],
        }
        path = tmp_path / f"{left_out}.json"
        path.write_text(json.dumps(kept))
        without.append(float(pixels_of(mapped(), crowded.images, path).mean.value))
    error = np.sqrt(3 / 4 * sum((value - np.mean(without)) ** 2 for value in without))
    reach = 3.182446305 * error  # 97.5 % point of Student's t, three degrees of freedom
    assert float(found.high - found.value) == pytest.approx(reach, rel=1e-8)
    assert float(found.value - found.low) == pytest.approx(reach, rel=1e-8)


def test_one_image_and_a_map_of_one_place_are_numbers_without_an_interval(tmp_path: Path):
    import timm

    coco = make_coco(tmp_path, [[(PERSON, LEFT), (BICYCLE, RIGHT)]])
    data = Data(image_size=32, eval_resize=32)
    network = timm.create_model("test_resnet", num_classes=80).eval()
    plain = LuabModel(network, mean=data.mean, std=data.std).eval()
    predictor = replace(mapped(), model=plain, data=data)
    found = pixels_of(predictor, *coco)
    assert (found.map_size, found.num_flat) == ("1x1", 2)
    assert found.mean.value == pytest.approx(float(found.mean.null))  # it says nothing
    assert np.isnan(found.mean.low) and np.isnan(run(predictor, coco).precision.mean.low)


# --- files ---------------------------------------------------------------------------------------


def test_every_number_follows_from_the_files(coco: Coco, tmp_path: Path):
    leaning = linear({(PERSON, BICYCLE): 1, (PERSON, PERSON): 2, (DOG, DOG): 1, (CAR, DOG): 1})
    predictor = model(leaning, points=torch.tensor([0.5, 0.5]))
    found = run(predictor, coco, out=tmp_path / "out", seed=3)
    again = summarise(read_tables(tmp_path / "out"), resamples=20, seed=3)
    in_memory = run(predictor, coco, seed=3)
    for other in (again, in_memory):
        assert other.classes.equals(found.classes)
        assert other.leaning is not None and other.leaning.equals(found.leaning)
        assert other.precision.mean.as_dict() == found.precision.mean.as_dict()
        assert other.facts == found.facts and other.num_objects == found.num_objects
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"scores.parquet", "objects.parquet"}


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 3}, {"num_workers": 2}])
def test_neither_batches_nor_processes_change_a_result(coco: Coco, options: dict[str, Any]):
    one, other = run(model(), coco), run(model(), coco, **options)
    assert one.classes.equals(other.classes)


def test_without_erasing_the_rest_stays_the_same(coco: Coco):
    whole, short = run(model(), coco), run(model(), coco, erasing=False)
    assert not short.rates and short.leaning is None
    assert short.classes["ap"].equals(whole.classes["ap"])
    assert short.num_objects["alone"] == 8 and "v_worst" not in short.classes.column_names


def test_files_of_another_kind_or_of_two_evaluations_are_refused(coco: Coco, tmp_path: Path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_tables(tmp_path)
    for name, predictor in (("a", model()), ("b", model(name="another"))):
        run(predictor, coco, out=tmp_path / name)
    (tmp_path / "a" / "scores.parquet").replace(tmp_path / "b" / "scores.parquet")
    with pytest.raises(DatasetError, match="come from different evaluations"):
        read_tables(tmp_path / "b")
    pq.write_table(
        pq.read_table(tmp_path / "b" / "scores.parquet").select(["image_id"]),
        tmp_path / "b" / "scores.parquet",
    )
    with pytest.raises(DatasetError, match="Evaluate the model again"):
        read_tables(tmp_path / "b")


def test_two_models_are_compared_on_the_same_images(coco: Coco, tmp_path: Path):
    for name, scores in (("look", amounts), ("flat", constant)):
        run(model(scores, name=name), coco, out=tmp_path / name)
    look, flat = (read_tables(tmp_path / name) for name in ("look", "flat"))
    found = compare(look, flat, resamples=50)
    assert found["map"].value > 0
    assert found["v_random"].value == -1 == found["v_worst"].high
    squash = replace(model().data, eval_fit="squash")
    run(model(data=squash), coco, out=tmp_path / "squash")
    with pytest.raises(OptionError, match=r"with fit crop.*with squash"):
        compare(look, read_tables(tmp_path / "squash"))
    other = make_coco(tmp_path / "other", [[(PERSON, LEFT), (DOG, RIGHT)]])
    run(model(), other, out=tmp_path / "fewer")
    with pytest.raises(OptionError, match="expected the same images and instances"):
        compare(look, read_tables(tmp_path / "fewer"))


# --- what is refused -----------------------------------------------------------------------------


def test_images_that_are_not_those_of_the_instances_are_named(tmp_path: Path):
    coco = make_coco(tmp_path, [[(PERSON, LEFT)], [(DOG, RIGHT)], []])
    files = sorted(coco.images.iterdir())
    (coco.images / "COCO_val2014_000000000999.png").write_bytes(files[0].read_bytes())
    (coco.images / "readme.txt").write_text("no image")
    assert find_scenes(*coco).num_unlisted == 1
    files[1].rename(coco.images / "x.png")
    with pytest.raises(ImagesError, match=r"1 of 3 images of .* not found, e\.g\. 101"):
        find_scenes(*coco)
    (coco.images / "x.png").rename(files[1])
    (coco.images / "copy_100.png").write_bytes(files[0].read_bytes())
    with pytest.raises(ImagesError, match="are both image 100"):
        find_scenes(*coco)


def test_a_broken_image_and_one_of_another_size_are_named(tmp_path: Path):
    coco = make_coco(tmp_path, [[(PERSON, LEFT), (DOG, RIGHT)]])
    (file,) = coco.images.iterdir()
    Image.new("RGB", (16, 32)).save(file)
    with pytest.raises(ImagesError, match="16 x 32 px, but its masks are drawn on 32 x 32"):
        run(model(), coco)
    with pytest.raises(ImagesError, match="16 x 32 px, but its masks are drawn on 32 x 32"):
        pixels_of(mapped(), *coco)
    file.write_bytes(b"\x89PNG")
    with pytest.raises(ImagesError, match="cannot be decoded"):
        run(model(), coco)
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_classes_or_without_an_order_is_refused(coco: Coco):
    for classes, message in [
        (COCO_CLASSES[:3], "a model of 3 classes; expected the 80"),
        ((*COCO_CLASSES[1:], "person"), "its class 0 is bicycle; expected person"),
    ]:
        with pytest.raises(OptionError, match=message):
            run(replace(model(), classes=classes), coco)
        with pytest.raises(OptionError, match=message):
            pixels_of(replace(mapped(), classes=classes), *coco)
    with pytest.raises(OptionError, match="gives 7 scores"):
        run(model(lambda image: torch.zeros(len(image), 7)), coco)
    with pytest.raises(OptionError, match="4 coordinates"):
        run(model(points=torch.zeros(4)), coco)
    with pytest.raises(OptionError, match="not finite"):
        run(model(lambda image: constant(image) / 0), coco)
    with pytest.raises(OptionError, match="batch size 0"):
        run(model(), coco, batch_size=0)


# --- weights and real images ---------------------------------------------------------------------


def weights(path: Path, num_classes: int = 80, points: int | None = None) -> Path:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    backbone = timm.create_model("test_resnet", num_classes=num_classes)
    state = backbone.state_dict()
    if points:
        head = nn.Linear(backbone.num_features, points)
        state |= {f"point_head.{name}": value for name, value in head.state_dict().items()}
    save_file(state, path)
    return path


def opened(path: Path) -> Predictor:
    return load_predictor(path, arch="test_resnet", classes=COCO_CLASSES, device="cpu")


@pytest.mark.parametrize("points", [None, 2, 160])
def test_weights_of_a_multi_label_model_are_loaded_with_their_points(
    tmp_path: Path, points: int | None
):
    predictor = opened(weights(tmp_path / "w.safetensors", points=points))
    outputs = predictor(torch.zeros(2, 3, 160, 160, dtype=torch.uint8))
    assert outputs.logits_BC.shape == (2, 80) and outputs.point_BKD.flatten(1).shape == (
        2,
        points or 2,
    )
    assert predictor.point_trained == bool(points)
    assert bool(outputs.point_BKD.isnan().all()) == (points is None)


def test_weights_of_something_else_are_refused(tmp_path: Path):
    ours = weights(tmp_path / "w.safetensors", num_classes=1000)
    with pytest.raises(OptionError, match="its head has 1,000 classes, 80 expected"):
        opened(ours)
    with pytest.raises(OptionError, match="its point head has 6 outputs; expected 2, or 160"):
        opened(weights(tmp_path / "p.safetensors", points=6))


REAL = SHARED / "data" / "coco"


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/coco")
def test_real_images_with_random_weights_come_to_chance(tmp_path: Path):
    predictor = opened(weights(tmp_path / "w.safetensors", points=160))
    data = replace(predictor.data, image_size=96, eval_resize=110)
    predictor = replace(predictor, data=data)
    coco = Coco(REAL / "images" / "val", REAL / "annotations" / "instances_val.json")
    found = run(predictor, coco, resamples=200)
    assert (found.num_images, found.precision.num_excluded) == (50, 21)
    assert found.precision.mean.null < found.precision.mean.value < 0.25
    assert found.rates["v_random"].num_images > 40
    assert found.rates["v_random"].micro.low < 0.5 < found.rates["v_random"].micro.high
    assert sum(found.num_objects.values()) == 151
    assert found.rates["on_mask"].num_cases == 151 - found.num_outside
    pixels = pixels_of(predictor, *coco)
    assert pixels.num_pairs == 151 and pixels.mean.low < pixels.mean.null < pixels.mean.high
