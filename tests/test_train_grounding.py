"""The choice of a cell: what it says, what it learns from, and that it goes wherever points go."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from train_world import make_world, metrics_lines, small_recipe

from luab_data.errors import OptionError
from luab_train.models.classifier import Outputs, build_model
from luab_train.models.grounding import Grounding, chosen_point, inside_of
from luab_train.predict import predict
from luab_train.recipes import find_recipe
from luab_train.sections import Data, Loss, Model
from luab_train.settings import override
from luab_train.train.export import export_backbone
from luab_train.train.loop import train
from luab_train.train.losses import Targets, grounding_term, point_term

DATA = Data(image_size=64, eval_resize=64)
IMAGES = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8,
                       generator=torch.Generator().manual_seed(0))  # fmt: skip
NAN = math.nan


def said(images: int, queries: int, rows: int, columns: int) -> Grounding:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn((images, queries, rows * columns), generator=generator)
    inside = torch.randn((images, queries, rows, columns, 2), generator=generator)
    return Grounding(scores.log_softmax(2).view(images, queries, rows, columns), inside)


def by_hand(found: Grounding, point, weight, sigma: float, loss: Loss) -> float:
    """The loss in NumPy, image by image and cell by cell, of one target."""
    total, (rows, columns) = 0.0, found.choice_BKHW.shape[2:]
    for image, points in enumerate(point):
        known = [k for k, w in enumerate(weight[image]) if w > 0]
        groups = [known] if found.choice_BKHW.shape[1] == 1 else [[k] for k in known]
        for group in groups:
            query = 0 if found.choice_BKHW.shape[1] == 1 else group[0]
            log_map = found.choice_BKHW[image, query].double().numpy()
            target, mass = np.zeros((rows, columns)), sum(weight[image][k] for k in group)
            for k in group:
                y, x = np.mgrid[:rows, :columns] + 0.5
                away = (x / columns - points[k][0]) ** 2 + (y / rows - points[k][1]) ** 2
                each = np.exp(-away / 2 / sigma**2)
                target += weight[image][k] / mass * each / each.sum()
            total += mass * (target * (np.log(target) - log_map)).sum()
            for k in group:
                at = np.array(points[k]) * (columns, rows)
                column, row = np.minimum(np.floor(at), (columns - 1, rows - 1)).astype(int)
                logits = found.inside_BKHW2[image, query, row, column].numpy()
                error = at - (column, row) - 1 / (1 + np.exp(-logits))
                away = np.abs(error)
                each = np.where(away < loss.beta, away**2 / 2 / loss.beta, away - loss.beta / 2)
                total += weight[image][k] * each.mean()
    return float(total)


def test_the_point_lies_in_the_likeliest_cell_where_that_cell_says():
    choice = torch.full((1, 2, 2, 4), 0.1).log()
    choice[0, 0, 1, 2], choice[0, 1, 0, 0] = 0.0, 0.0
    inside = torch.zeros((1, 2, 2, 4, 2))
    inside[0, 0, 1, 2] = torch.tensor([-math.log(3), torch.inf])  # a quarter, and all the way
    found = chosen_point(Grounding(choice, inside))
    torch.testing.assert_close(found, torch.tensor([[[2.25 / 4, 2.0 / 2], [0.5 / 4, 0.5 / 2]]]))


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("beta", [1.0, 0.05])
def test_the_loss_is_the_formula_written_out(queries, beta):
    found = said(2, queries, 3, 4)
    # A far corner belongs to the last cell; what has no weight may be anything.
    point = [[[0.1, 0.7], [1.0, 1.0], [0.5, 0.5]], [[0.9, 0.2], [NAN, NAN], [7.0, -3.0]]]
    weight = [[1.0, 0.5, 0.25], [2.0, 0.0, 0.0]]
    loss = Loss(beta=beta)
    term = grounding_term(found, torch.tensor(point)[None], torch.tensor(weight)[None], loss, 0.2)
    assert term.item() == pytest.approx(by_hand(found, point, weight, 0.2, loss), rel=1e-5)
    # Two targets of one image, as mixing makes them, cost what they cost alone.
    twice = torch.tensor([point, point])
    both = grounding_term(found, twice, torch.tensor([weight, weight]) / 2, loss, 0.2)
    assert both.item() == pytest.approx(term.item(), rel=1e-5)


def test_gradients_agree_with_finite_differences():
    found = said(2, 1, 2, 3)
    scores, inside = found.choice_BKHW.clone(), found.inside_BKHW2.clone()
    point = torch.tensor([[[[0.3, 0.9]], [[NAN, NAN]]]])
    weight = torch.tensor([[[1.0], [0.0]]])

    def loss(scores: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        choice = scores.flatten(2).log_softmax(2).view_as(scores)
        return grounding_term(Grounding(choice, inside), point, weight, Loss(beta=0.1), 0.2)

    scores.requires_grad_(), inside.requires_grad_()
    for value, slope in zip(
        (scores, inside), torch.autograd.grad(loss(scores, inside), (scores, inside)), strict=True
    ):
        for index in np.ndindex(*value.shape):
            step = torch.zeros_like(value)
            step[index] = 1e-2
            with torch.no_grad():
                up = loss(scores + step, inside) if value is scores else loss(scores, inside + step)
                down = (
                    loss(scores - step, inside) if value is scores else loss(scores, inside - step)
                )
            assert slope[index].item() == pytest.approx(
                (up - down).item() / 2e-2, rel=2e-2, abs=2e-3
            )
            assert index[0] == 0 or slope[index] == 0


def test_no_term_makes_a_gpu_wait_for_what_its_numbers_are():
    with torch.device("meta"):
        found = Grounding(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2, 2))
        targets = Targets(torch.zeros(1, dtype=torch.int64), torch.ones(1),
                          torch.zeros(2, 1, 3, 2), torch.ones(2, 1, 3))  # fmt: skip
        outputs = Outputs(torch.zeros(1, 4), chosen_point(found), grounding=found)
        term = point_term(outputs, targets, Loss(), Model(name="x", point_head="grounding"))
    assert term.is_meta and outputs.point_BKD.shape == (1, 3, 2)


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_convnext", "mobilenetv3_small_050", "test_vit3"]
)
def test_labels_are_timms_and_every_weight_learns(name):
    torch.manual_seed(0)
    model = build_model(Model(name=name, point_head="grounding"), DATA, num_classes=5, num_points=2)
    model.eval()
    with torch.inference_mode():
        outputs, expected = model(IMAGES), model.backbone(model.normalise(IMAGES))
    torch.testing.assert_close(outputs.logits_BC, expected)
    assert outputs.point_BKD.shape == (3, 2, 2) and outputs.attention_BHW is None
    assert ((outputs.point_BKD > 0) & (outputs.point_BKD < 1)).all()
    outputs = model.train()(IMAGES)
    targets = Targets(torch.zeros(3, dtype=torch.int64), torch.ones(3),
                      torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2))  # fmt: skip
    # DDP waits for every weight, also where no image has a point.
    term = point_term(outputs, targets, Loss(), Model(name=name, point_head="grounding"))
    (outputs.logits_BC.sum() + term).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_it_points_at_what_lies_off_the_middle():
    model = build_model(
        Model(name="test_resnet", point_head="grounding", output_stride=8), DATA, num_classes=5
    ).train()
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(15):
        images = torch.zeros(16, 3, 64, 64, dtype=torch.uint8)
        at = torch.randint(0, 48, (16, 2), generator=generator)
        for image, (x, y) in zip(images, at.tolist(), strict=True):
            image[:, y : y + 16, x : x + 16] = 255
        point = ((at + 8) / 64)[None, :, None]
        found = model(images).grounding
        optimizer.zero_grad()
        grounding_term(found, point, torch.ones(1, 16, 1), Loss(), 0.1).backward()
        optimizer.step()
    away = (chosen_point(found) - point[0]).norm(dim=2)
    assert away.mean() < 0.15  # the centre would be .27 away
    assert inside_of(found, torch.zeros(16, 4, dtype=torch.int64)).shape == (16, 4, 2)


@pytest.mark.parametrize("network", ["resnet", "vit"])
def test_the_recipe_trains_and_its_run_points_everywhere(network, tmp_path):
    world = make_world(tmp_path / "world", num_val=3)
    vit = {"model.name": "test_vit", "model.patch_size": 8, "model.output_stride": None}
    recipe = override(
        find_recipe("debug:tiny_grounding"),
        {"epochs": 1, "batch_size": 16, "data.image_size": 32, "data.eval_resize": 32,
         "data.fraction": 0.5, "optim.warmup_epochs": 0.0, "optim.precision": "no",
         **(vit if network == "vit" else {})},
    )  # fmt: skip
    run = tmp_path / "run"
    train(recipe, data=world.data, images=world.images, val=world.val, out=run, shown=False)
    (line,) = metrics_lines(run)
    assert line["train_point_loss"] > 0 and 0 <= line["val_localisation"] <= 1
    image = next(world.val.rglob("*.png"))
    (one,) = predict(run, [image])
    assert one.point is not None and all(0 < value < 1 for value in one.point)
    (again,) = predict(run, [image])
    assert again.point == one.point
    export_backbone(run, tmp_path / "plain.safetensors")


def test_a_point_a_class_and_a_map_of_a_trace_are_both_learned():
    several = {"data.dataset": "coco-ab", "loss.classification": "bce"}
    base = override(small_recipe(), {"model.point_head": "grounding", **several})
    assert base.point_per_class and override(base, {"target": "trace"}).target == "trace"
    with pytest.raises(OptionError, match=r"dwell_time is a number.*point_head=regression"):
        override(small_recipe(), {"model.point_head": "grounding", "target": "dwell_time"})


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("coat_tiny", 64, r"point_head=grounding: CoaT gives features of shape several maps"),
        ("test_resnet", 32, r"point_head=grounding: .* single cell .*image_size=32"),
    ],
)
def test_a_model_without_cells_is_refused_before_it_is_trained(name, size, message):
    model = Model(name=name, point_head="grounding")
    with pytest.raises(OptionError, match=message):
        build_model(model, Data(image_size=size, eval_resize=size), num_classes=5)
