"""PointDataset: the point goes where the image goes, whoever's transform moves it."""

from __future__ import annotations

import importlib.util
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from timm.data.auto_augment import AugmentOp, AutoAugment, RandAugment
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch.utils.data import DataLoader
from torchvision import transforms as tvt
from torchvision.transforms import v2
from train_world import SIZE, WNIDS, make_world, row, write_dataset

import luab_train
from luab_data.errors import ImagesError, OptionError
from luab_train.data.augment import TrainCrop
from luab_train.data.inputs import EvalCrop
from luab_train.data.points import PointDataset, transformed
from luab_train.sections import Data

DOCS = Path(__file__).parent.parent / "docs"
DATA = Data(image_size=96, eval_resize=110, crop_scale=(0.4, 1.0), color_jitter=0.2)


def ops(*names: str) -> list[AugmentOp]:
    return [
        AugmentOp(name, prob=0.8, magnitude=6, hparams={"translate_const": 20}) for name in names
    ]


TRANSFORMS = {
    "none": None,
    "train": TrainCrop(DATA),
    "eval": EvalCrop(DATA),
    "v2": v2.Compose(
        [v2.RandomResizedCrop(96, (0.4, 1)), v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(),
         v2.ColorJitter(0.2), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    ),
    "v2 affine": v2.Compose([v2.RandomAffine(40, (0.1, 0.1), (0.8, 1.2), 10), v2.Pad(5)]),
    "v2 flip": v2.RandomHorizontalFlip(1.0),
    "timm train": timm.data.create_transform((3, 96, 96), is_training=True, color_jitter=0.2),
    "timm eval": timm.data.create_transform((3, 96, 96), crop_pct=0.9),
    "timm prefetched": timm.data.create_transform(96, is_training=True, use_prefetcher=True),
    "timm RandAugment": tvt.Compose(
        [RandomResizedCropAndInterpolation(96, (0.4, 1.0), interpolation="random"),
         RandAugment(ops("Rotate", "ShearX", "TranslateYRel", "TranslateX"), 3), tvt.ToTensor()]
    ),
    "timm AutoAugment": tvt.Compose([AutoAugment([ops("Rotate", "ShearY"), ops("TranslateX")])]),
    "v1": tvt.Compose(
        [tvt.Resize(110), tvt.Compose([tvt.CenterCrop((100, 96)), tvt.RandomVerticalFlip()]),
         tvt.RandomResizedCrop(96, (0.4, 1.0)), tvt.RandomHorizontalFlip(), tvt.ToTensor(),
         tvt.Normalize((0.5,) * 3, (0.5,) * 3)]
    ),
    "v1 padded": tvt.CenterCrop((180, 131)),
}  # fmt: skip


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def dotted(size_wh: tuple[int, int], point_px: np.ndarray) -> Image.Image:
    """Grey, with a soft white dot whose centre of mass is the point."""
    x, y = np.meshgrid(np.arange(size_wh[0]) + 0.5, np.arange(size_wh[1]) + 0.5)
    dot = np.exp(-((x - point_px[0]) ** 2 + (y - point_px[1]) ** 2) / (2 * 2.5**2))
    return Image.fromarray((60 + 190 * dot).round().astype(np.uint8)).convert("RGB")


def pixels(image) -> np.ndarray:
    """(H, W) of whatever a transform made."""
    if isinstance(image, Image.Image):
        return np.asarray(image).astype(float).mean(axis=2)
    return np.asarray(image).astype(float).mean(axis=0)


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_a_painted_dot_is_found_where_the_point_went(name):
    transform, size = TRANSFORMS[name], (140, 120)
    rng = np.random.default_rng(0)
    found = 0
    for number in range(40):
        point = rng.uniform(0.25, 0.75, 2)
        seed(number)
        with_dot, placed, mask = transformed(transform, dotted(size, point * size), point[None])
        seed(number)
        without, _, _ = transformed(transform, dotted(size, np.array([-99, -99])), point[None])
        dot = np.abs(pixels(with_dot) - pixels(without))
        dot[dot < 0.15 * dot.max()] = 0
        height, width = dot.shape
        px = placed[0] * (width, height)
        if not ((14 < px) & (px < np.array([width, height]) - 14)).all():
            continue
        if not mask[0]:  # it was cut off in between and came back
            continue
        y, x = np.indices(dot.shape) + 0.5
        centre = np.array([(x * dot).sum(), (y * dot).sum()]) / dot.sum()
        assert np.abs(centre - px).max() < 0.75, (name, number)
        found += 1
    assert found >= 10  # and all in sight


def test_a_flip_is_exact_to_the_pixel_under_every_librarys_hand():
    image, points = Image.new("RGB", (40, 20)), np.array([[0.25, 0.5], [np.nan, np.nan]])
    for flip in (v2.RandomHorizontalFlip(1.0), tvt.RandomHorizontalFlip(1.0)):
        _, placed, mask = transformed(flip, image, points)
        np.testing.assert_allclose(placed, [[0.75, 0.5], [np.nan, np.nan]], atol=1e-12)
        assert mask.tolist() == [True, False]


@pytest.mark.parametrize("crop", [v2.CenterCrop(10), tvt.CenterCrop(10)])
def test_a_point_that_is_cut_off_keeps_its_place_outside_and_is_masked(crop):
    points = np.array([[0.125, 0.5], [0.5, 0.5]])  # px (5, 10) of 40 x 20: 10 left of the crop
    _, placed, mask = transformed(crop, Image.new("RGB", (40, 20)), points)
    np.testing.assert_allclose(placed, [[-1, 0.5], [0.5, 0.5]])
    assert mask.tolist() == [False, True]


def test_a_point_that_was_out_of_sight_in_between_stays_out():
    out = AugmentOp("TranslateX", prob=1.0, magnitude=10, hparams={"translate_const": 60})
    steps = tvt.Compose([AutoAugment([[out]])])
    for number in range(8):
        seed(number)
        _, placed, mask = transformed(steps, Image.new("RGB", (100, 20)), np.array([[0.5, 0.5]]))
        assert mask[0] == (0 <= placed[0, 0] <= 1)


@pytest.mark.parametrize(
    "step",
    [
        tvt.RandomRotation(10),
        tvt.RandAugment(),
        tvt.Lambda(lambda image: image),
        lambda image: image,
    ],
)
def test_a_transform_that_is_not_known_is_refused_by_name(world, step):
    for transform in (step, tvt.Compose([tvt.Resize(9), step])):
        with pytest.raises(
            OptionError, match=rf"transform: [\w.]+\.{type(step).__name__} may move"
        ):
            PointDataset(world.data, world.images, transform=transform)
    dataset = PointDataset(world.data, world.images, transform=v2.RandAugment())
    with pytest.raises(OptionError, match="does not say where its points go"):
        dataset[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def test_a_sample_has_image_label_point_and_mask(world):
    dataset = luab_train.PointDataset(str(world.data), str(world.images))
    assert len(dataset) == 32 and dataset.classes == WNIDS[:2]
    sample = dataset[17]
    assert isinstance(sample["image"], Image.Image) and sample["image"].size == (SIZE, SIZE)
    assert sample["label"].item() == 1 and sample["label"].dtype == torch.int64
    assert sample["point"].dtype == torch.float32 and sample["point"].shape == (2,)
    assert sample["mask"].dtype == torch.bool and sample["mask"].item()
    # The middle of the bright square.
    y, x = np.nonzero(np.asarray(sample["image"])[..., 1] == 250)
    np.testing.assert_allclose(sample["point"], np.array([x.mean() + 0.5, y.mean() + 0.5]) / SIZE)
    # Not selected in the end.
    assert dataset[7]["point"].isnan().all() and not dataset[7]["mask"]


@pytest.mark.parametrize("name", ["train", "timm train", "v2", "v1"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_batches_come_out_of_loader_processes(world, name):
    dataset = PointDataset(world.data, world.images, transform=TRANSFORMS[name])
    batches = list(DataLoader(dataset, batch_size=8, shuffle=True, num_workers=2))
    assert sum(len(batch["label"]) for batch in batches) == 32
    batch = batches[0]
    assert batch["image"].shape == (8, 3, 96, 96)
    assert batch["point"].shape == (8, 2) and batch["mask"].shape == (8,)
    assert batch["point"][batch["mask"]].isfinite().all()


def test_arms_and_rows_without_image_are_as_in_a_run(world, tmp_path):
    centre = PointDataset(world.data, world.images, target="centre")
    assert centre[0]["point"].tolist() == [0.5, 0.5] and not centre[7]["mask"]
    dealt = [PointDataset(world.data, world.images, target="shuffled", seed=k) for k in (0, 0, 1)]
    assert np.array_equal(dealt[0].target, dealt[1].target, equal_nan=True)
    assert not np.array_equal(dealt[0].target, dealt[2].target, equal_nan=True)
    write_dataset(tmp_path, [row(f"{WNIDS[0]}_{k}", 0, box=[0, 0, 8, 8]) for k in range(20)])
    with pytest.raises(ImagesError, match="no image for 4 of 20 rows"):
        PointDataset(tmp_path, world.images)
    assert len(PointDataset(tmp_path, world.images, missing_images="skip")) == 16
    with pytest.raises(OptionError, match="dwell_time: is a number"):
        PointDataset(with_dwell_time(tmp_path / "more"), world.images, target="dwell_time")


def with_dwell_time(folder: Path) -> Path:
    rows = [row(f"{WNIDS[0]}_{k}", 0, box=[0, 0, 8, 8]) | {"dwell_time_ms": 5} for k in range(4)]
    write_dataset(folder, rows)
    pq.write_table(pa.Table.from_pylist(rows), next((folder / "data").glob("*.parquet")))
    return folder


# --- the page ------------------------------------------------------------------------------------


def script(heading: str) -> str:
    text = (DOCS / "own-loop.md").read_text().split(f"## {heading}")[1]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def run(text: str, folder: Path, *args) -> str:
    (folder / "script.py").write_text(text)
    found = subprocess.run(
        [sys.executable, "script.py", *map(str, args)],
        capture_output=True, text=True, cwd=folder, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_page_shows_a_loop_with_timm_that_runs_and_is_short(world, tmp_path):
    text = script("With timm")
    assert len([line for line in text.splitlines() if line]) <= 30
    printed = run(text, tmp_path, world.data, world.images, "test_resnet")
    first, last = map(float, re.findall(r"loss ([\d.]+)", printed))
    assert last < 10 * first and (tmp_path / "model.pt").is_file()


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
def test_the_page_shows_hugging_faces_trainer_and_it_runs(world, tmp_path):
    run(script("With Hugging Face Trainer"), tmp_path, world.data, world.images)


def test_coco_has_a_label_a_point_and_a_mask_for_each_class(tmp_path):
    from test_train_coco_data import ACTIONS, CAR, DOG, PERSON, TRUTH, convert

    folder = convert(tmp_path, ACTIONS, TRUTH)
    (tmp_path / "images").mkdir()
    for number in ACTIONS:
        name = f"COCO_train2014_{number:012d}.jpg"
        Image.new("RGB", (20, 10)).save(tmp_path / "images" / name)
    dataset = PointDataset(folder, tmp_path / "images", transform=v2.RandomHorizontalFlip(1.0))
    sample = dataset[dataset.split.image_id.tolist().index("7")]
    assert sample["label"].shape == (80,) and sample["label"].nonzero().flatten().tolist() == [
        PERSON, CAR, DOG,
    ]  # fmt: skip
    assert sample["point"].shape == (80, 2) and sample["mask"].shape == (80,)
    torch.testing.assert_close(sample["point"][DOG], torch.tensor([0.8, 0.2]))
    assert sample["mask"].nonzero().flatten().tolist() == [PERSON, DOG]  # the car has no icon
    assert sample["point"][CAR].isnan().all() and len(dataset.classes) == 80


def test_a_trace_is_eleven_points(world, tmp_path):
    rows = [
        row(f"{WNIDS[0]}_{k}", 0, box=[0, 0, 8, 8])
        | {f"time_quantile_{axis}": [n / 10 for n in range(11)] for axis in "xy"}
        for k in range(4)
    ]
    write_dataset(tmp_path, rows)
    pq.write_table(pa.Table.from_pylist(rows), next((tmp_path / "data").glob("*.parquet")))
    sample = PointDataset(tmp_path, world.images, target="trace", transform=v2.CenterCrop(16))[0]
    # The middle half of 32 px: 0 to 1 become -.5 to 1.5.
    expected = torch.arange(11) / 10 * 2 - 0.5
    torch.testing.assert_close(sample["point"], torch.stack([expected, expected], 1))
    assert sample["mask"].tolist() == [False] * 3 + [True] * 5 + [False] * 3
