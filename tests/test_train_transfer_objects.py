"""COCO instances as columns, and scenes as torchvision's detector takes them."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from logs import SHARED
from transfer_world import HEIGHT, WIDTH, annotation, crowd, document, write_scenery

from luab_data.errors import ImagesError
from luab_train.data.loader import make_loader
from luab_train.transfer.objects import Objects, read_objects, read_truth
from luab_train.transfer.scenes import SceneSamples, collate, flip

COCO = SHARED / "data" / "coco"
DRAWN = document(
    5,
    [
        annotation(1, 3, 7, (10, 20, 30, 20)),
        annotation(2, 1, 3, (70, 50, 20, 20)),  # leaves the image at the right and below
        crowd(3, 1, 7),
        annotation(4, 3, 3, (0, 0, 4, 2)),
        annotation(5, 4, 3, (5, 5, 0, 9)),  # no area
        annotation(6, 5, 3, (5, 5, 1, 9)),  # one pixel wide
        annotation(7, 2, 3, (8, 4, 2, 2), segmentation={
            "size": [HEIGHT, WIDTH], "counts": [8 * HEIGHT + 4, 2, HEIGHT - 2, 2, 70 * HEIGHT + 58],
        }),
    ],
)  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Objects:
    scenery = write_scenery(tmp_path_factory.mktemp("drawn"), DRAWN)
    return read_objects(scenery.annotations, scenery.images)


def test_objects_stand_by_image_and_crowds_and_boxes_without_area_are_left_out(drawn):
    assert drawn.image_id.tolist() == [1, 2, 3, 4, 5]
    assert drawn.file_name[0] == "000000000001.png"
    assert drawn.bounds.tolist() == [0, 1, 2, 4, 4, 5]
    assert drawn.box_xyxy.tolist() == [
        [70, 50, 80, 64], [8, 4, 10, 6], [10, 20, 40, 40], [0, 0, 4, 2], [5, 5, 6, 14],
    ]  # fmt: skip
    assert drawn.label.tolist() == [1, 1, 2, 1, 1]
    assert drawn.category_id.tolist() == [3, 7] and drawn.classes == ("rectangle", "triangle")
    assert drawn.num_crowds == 1


def test_images_without_an_object_above_one_pixel_are_not_trained_on(drawn):
    assert drawn.with_objects().tolist() == [0, 1, 2]


def test_masks_are_what_is_drawn(drawn):
    (small,) = drawn.masks(1)
    assert small.shape == (HEIGHT, WIDTH) and small.dtype == np.uint8
    assert small.sum() == 4 and small[4:6, 8:10].all()
    assert drawn.masks(3).shape == (0, HEIGHT, WIDTH)
    slope, rectangle = drawn.masks(2)
    assert rectangle.sum() == 8 and rectangle[:2, :4].all()
    assert slope.sum() == pytest.approx(300, rel=0.1)
    assert slope[21, 11] and not slope[39, 39]


@pytest.mark.skipif(not COCO.exists(), reason="no COCO images here")
def test_boxes_and_masks_of_real_images_are_those_of_pycocotools():
    instances = COCO / "annotations" / "instances_val.json"
    objects = read_objects(instances, COCO / "images" / "val")
    truth = read_truth(instances)
    assert len(objects) == 50
    for index in range(0, 50, 7):
        image_id = int(objects.image_id[index])
        wanted = truth.loadAnns(truth.getAnnIds(imgIds=image_id, iscrowd=False))
        own = slice(*objects.bounds[index : index + 2])
        assert objects.category_id[objects.label[own] - 1].tolist() == [
            one["category_id"] for one in wanted
        ]
        for mask, box, one in zip(objects.masks(index), objects.box_xyxy[own], wanted, strict=True):
            assert np.array_equal(mask, truth.annToMask(one))
            x, y, w, h = one["bbox"]
            np.testing.assert_allclose(box, [x, y, x + w, y + h])


def test_a_flip_moves_boxes_and_masks_with_the_image(drawn):
    samples = SceneSamples(drawn, np.arange(3), train=True)
    image, target, _ = samples[0, 2]
    mirrored, moved = flip(image, target)
    assert moved["boxes"].tolist() == [[40, 20, 70, 40], [76, 0, 80, 2]]
    assert torch.equal(mirrored, image.flip(-1))
    columns = moved["masks"][1].any(dim=0).nonzero().flatten().tolist()
    assert columns == [76, 77, 78, 79]
    back, again = flip(mirrored, moved)
    assert torch.equal(back, image)
    assert all(torch.equal(again[key], target[key]) for key in target)


def test_a_sample_follows_from_seed_epoch_and_image_alone(drawn):
    samples = SceneSamples(drawn, np.array([2, 0]), train=True, seed=3, flip=0.5)
    flipped = [bool(samples[epoch, 0][1]["boxes"][1, 0] > 0) for epoch in range(40)]
    assert 8 < sum(flipped) < 32
    # The same image at another place of another list.
    other = SceneSamples(drawn, np.array([0, 1, 2]), train=True, seed=3, flip=0.5)
    for epoch in range(5):
        assert torch.equal(other[epoch, 2][0], samples[epoch, 0][0])
    always = SceneSamples(drawn, np.array([2]), train=True, flip=1.0)
    assert all(always[epoch, 0][1]["boxes"][1, 0] > 0 for epoch in range(5))


def loader_of(samples: SceneSamples):
    return make_loader(
        samples, batch_size=2, seed=0, train=samples.train, num_workers=0, pin_memory=False,
        collate_fn=collate,
    )  # fmt: skip


def test_batches_of_evaluation_hold_all_images_in_order_and_no_target(drawn):
    samples = SceneSamples(drawn, np.arange(5), train=False)
    loader, _ = loader_of(samples)
    batches = list(loader)
    assert [batch.index_B.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert batches[0].targets == [{}, {}]
    assert batches[0].images[0].shape == (3, HEIGHT, WIDTH)
    assert batches[0].images[0].dtype == torch.uint8


def test_batches_of_training_are_shuffled_anew_each_epoch_and_of_equal_size(drawn):
    samples = SceneSamples(drawn, np.arange(5), train=True)
    loader, order = loader_of(samples)
    seen = []
    for epoch in (1, 2, 1):
        order.epoch = epoch
        seen.append([batch.index_B.tolist() for batch in loader])
    assert seen[0] == seen[2] != seen[1]
    assert all(len(batch) == 2 for batch in seen[0]) and len(seen[0]) == 2


def broken(change) -> dict:
    content = copy.deepcopy(DRAWN)
    change(content)
    return content


@pytest.mark.parametrize(("change", "message"), [
    (lambda d: d.pop("categories"), "no images or no named categories"),
    (lambda d: d["annotations"][0].update(image_id=77), "annotation 1: 77 is missing or unknown"),
    (lambda d: d["annotations"][0].update(category_id=1), "category_id 1, which its categories"),
    (lambda d: d["annotations"][0].update(segmentation=[[1, 2, 3, 4]]), "annotation 1: .*polygons"),
    (lambda d: d["annotations"][0].update(segmentation=[]), "1 of 7 annotations have no segmentat"),
    (lambda d: d["images"].append(d["images"][0]), "image 5 is there twice"),
    (lambda d: d["images"][0].update(file_name="gone.png"), r"1 of 5 images .* e.g. gone.png"),
    (lambda d: [d["images"].clear(), d["annotations"].clear()], "no images or no named categories"),
])  # fmt: skip
def test_what_is_not_coco_is_refused_by_name(tmp_path, drawn, change, message):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(broken(change)))
    with pytest.raises(ImagesError, match=message):
        read_objects(path, drawn.root)


def test_ids_and_areas_of_annotations_are_not_needed(tmp_path, drawn):
    """pycocotools would take id 0 for no match, and count two of one id as one."""
    path = tmp_path / "instances.json"
    ids = iter((0, 0, 1, 1, 2, 2, 2))
    path.write_text(
        json.dumps(broken(lambda d: [a.update(id=next(ids)) for a in d["annotations"]]))
    )
    truth = read_truth(path)
    assert sorted(truth.anns) == list(range(1, 8))
    assert sum(one["iscrowd"] for one in truth.anns.values()) == 1
    path.write_text(json.dumps(broken(lambda d: [a.pop("area") for a in d["annotations"]])))
    areas = {one["category_id"]: one["area"] for one in read_truth(path).imgToAnns[3]}
    assert areas == {7: pytest.approx(300, rel=0.1), 3: 8}
    assert np.array_equal(read_objects(path, drawn.root).box_xyxy, drawn.box_xyxy)


def test_an_image_of_another_size_than_its_masks_is_refused(tmp_path, drawn):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(broken(lambda d: d["images"][2].update(width=90))))
    samples = SceneSamples(read_objects(path, drawn.root), np.arange(5), train=False)
    with pytest.raises(ImagesError, match="80 x 64 px, but its masks are drawn on 90 x 64"):
        samples[1, 2]
