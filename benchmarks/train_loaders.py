"""Loaders of the same images: ours with points, torchvision's without, and the notebook's way.

    ours      Samples and make_loader: clicks from NumPy columns, moved with the crop
    plain     torchvision: ImageFolder, RandomResizedCrop, RandomHorizontalFlip, PILToTensor
    notebook  the way of the released notebook: one XML file parsed per sample, ToTensor
    before    ours of another checkout, in a process of its own, as `measure_checkouts` has all

All draw crops and flips from the same distributions, use the same filter, batch size, workers and
images, shuffle, and drop the last smaller batch. `ours` and `plain` yield uint8, which is turned
into numbers on the device; the notebook yields float32. No arm normalises here.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import psutil
import torch
from stages import Sampler, report
from torch.utils.data import DataLoader
from torchvision import transforms as tvt
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as tvf

from luab_train.data.augment import TrainCrop
from luab_train.data.dataset import TrainingData, training_data
from luab_train.data.loader import Samples, make_loader
from luab_train.recipe import Recipe
from luab_train.sections import Data, Model, Optim

ARMS = ("ours", "plain", "notebook")
_BICUBIC = tvt.InterpolationMode.BICUBIC
ROOT = Path(__file__).resolve().parents[1]


class Disagreement(Exception):
    """Two arms load different things: a ratio of the two would mean nothing."""


class NotebookImages(ImageFolder):
    """As the cell that loads ImageNet-AB in `imagenet_dataloader.ipynb` does it
    (docs/definitions.md#imagenet-notebook): the mean over blocks of the first selectedRecord,
    target (-1, -1) and weight 0 without one.
    """

    def __init__(self, images: Path, xml: Path, data: Data) -> None:
        super().__init__(str(images))
        self.xml = xml
        self.data = data

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, torch.Tensor, float]:
        path, label = self.samples[index]
        image = self.loader(path)
        width, height = image.size
        file = Path(path)
        point = point_of(self.xml / file.parent.name / f"{file.stem}.xml")
        y, x, h, w = tvt.RandomResizedCrop.get_params(
            image, list(self.data.crop_scale), list(self.data.crop_ratio)
        )
        image = tvf.resized_crop(image, y, x, h, w, [self.data.image_size] * 2, _BICUBIC)
        flip = torch.rand(1) < self.data.flip
        if flip:
            image = tvf.hflip(image)
        target, weight = torch.tensor([-1.0, -1.0]), 0.0
        if point is not None:
            moved = (point[0] * width - x) / w, (point[1] * height - y) / h
            if 0 <= moved[0] <= 1 and 0 <= moved[1] <= 1:
                target = torch.tensor([1 - moved[0] if flip else moved[0], moved[1]])
                weight = 1.0
        return tvf.to_tensor(image), label, target, weight


def point_of(xml: Path) -> tuple[float, float] | None:
    """Mean over the selected blocks of an XML file of their first selectedRecord."""
    points = []
    for block in ElementTree.parse(xml).getroot().findall("metadata"):
        if block.findtext("selected") == "True":
            record = block.find("selectedRecord")
            if record is not None and record.find("x") is not None:
                points.append((float(record.findtext("x")), float(record.findtext("y"))))
    return (
        (sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points))
        if (points)
        else None
    )


def recipe_of(**changes: Any) -> Recipe:
    """Crop, flip and resize alone, clicks as targets: what all arms can do."""
    settings = {
        "name": "benchmark",
        "model": Model(name="resnet18"),
        "data": Data(missing_images="skip", num_workers=0),
        "optim": Optim(lr=0.1, weight_decay=1e-4, warmup_epochs=0.0, precision="no"),
        "epochs": 100,
        "batch_size": 128,
    }
    return Recipe(**{**settings, **changes})


class Setting(NamedTuple):
    """What the loaders of one comparison share."""

    images: Path
    xml: Path
    found: TrainingData
    recipe: Recipe
    workers: int


def open_setting(images: Path, xml: Path, dataset: Path, recipe: Recipe, workers: int) -> Setting:
    """Read the dataset's columns, untimed: once per run, however many epochs."""
    return Setting(images, xml, training_data(recipe, data=dataset, images=images), recipe, workers)


def check_points(setting: Setting) -> int:
    """Images with a point, if the columns and the XML files have them for the same images.

    Where they are is the same only for one block and one click: ours is the last click, the
    notebook's a mean of first ones.

    Raises:
        Disagreement: some image has a point in one arm only, or no image has the same one.
    """
    split, values = setting.found.split, setting.found.points.values[:, 0]
    wnid = np.array(setting.found.classes)[split.label]
    theirs = [
        point_of(setting.xml / name / f"{image_id}.xml")
        for name, image_id in zip(wnid.tolist(), split.image_id.tolist(), strict=True)
    ]
    has = np.array([point is not None for point in theirs])
    ours = np.isfinite(values).all(axis=1)
    same = sum(
        point is not None and np.allclose(point, value)
        for point, value in zip(theirs, values, strict=True)
    )
    if not np.array_equal(has, ours) or same < 0.5 * has.sum():
        raise Disagreement(
            f"{setting.images}: {has.sum()} images have a point in their XML file, {ours.sum()} in"
            f" the columns, {same} the same one; expected the same images, and mostly the same ones"
        )
    return int(ours.sum())


def open_loader(arm: str, setting: Setting) -> Callable[[], Iterable[Any]]:
    """An arm's loader, as a function that starts its next epoch."""
    recipe, workers = setting.recipe, setting.workers
    if arm == "ours":
        points = setting.found.points
        samples = Samples(
            setting.found.split, TrainCrop(recipe.data), target=points.values, weight=points.weight
        )
        loader, order = make_loader(
            samples,
            batch_size=recipe.batch_size,
            seed=0,
            train=True,
            num_workers=workers,
            pin_memory=False,
        )

        def epoch() -> Iterable[Any]:
            order.epoch += 1
            return loader

        return epoch
    dataset: Any = NotebookImages(setting.images, setting.xml, recipe.data)
    if arm == "plain":
        data = recipe.data
        crop = tvt.RandomResizedCrop(
            data.image_size, data.crop_scale, data.crop_ratio, interpolation=_BICUBIC
        )
        steps = [crop, tvt.RandomHorizontalFlip(data.flip)]
        if data.color_jitter:
            steps.append(tvt.ColorJitter(*[data.color_jitter] * 3))
        dataset = ImageFolder(str(setting.images), tvt.Compose([*steps, tvt.PILToTensor()]))
    theirs: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=recipe.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return lambda: theirs


def consume(batches: Iterable[Any]) -> int:
    """Take all batches of an epoch; how many images they held."""
    return sum(len(batch[0]) for batch in batches)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Of torch, for a while."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def tree_cpu_s() -> float:
    """CPU time of this process, and of its living children to 10 ms."""
    times = [child.cpu_times() for child in psutil.Process().children()]
    return time.process_time() + sum(t.user + t.system for t in times)


def measure_loaders(setting: Setting, rounds: int) -> dict[str, Any]:
    """All arms in turns: images/s of every turn, by wall and by CPU time.

    Without loader processes a turn is one batch, so that the turns of a pair are less than a second
    apart; with them it is an epoch, for they would work ahead in the others' turns.
    """
    # As in a loader's processes; threads that wait for one another would cost the baselines most.
    with one_thread():
        epochs = {arm: open_loader(arm, setting) for arm in ARMS}
        counts = {arm: consume(start()) for arm, start in epochs.items()}  # starts the workers, too
        if len(set(counts.values())) != 1:
            raise Disagreement(f"images an epoch: {counts}; expected as many in all arms")
        turns = _epochs if setting.workers else _batches
        rates: dict[str, list[float]] = {f"{a}{kind}": [] for a in ARMS for kind in ("", "_cpu")}
        for round_ in range(rounds):
            # Each arm comes first in turn: a machine that slows down slows all alike.
            order = [ARMS[(k + round_) % len(ARMS)] for k in range(len(ARMS))]
            for turn in turns({arm: epochs[arm]() for arm in order}):
                for arm, batches in turn.items():
                    wall, cpu = time.perf_counter(), tree_cpu_s()
                    count = consume(batches)
                    rates[arm].append(count / (time.perf_counter() - wall))
                    rates[f"{arm}_cpu"].append(count / (tree_cpu_s() - cpu))
    return {"images": counts["ours"], "turn": turns.__name__[1:], "images_per_s": rates}


class Case(NamedTuple):
    """What the processes of a comparison of checkouts are told."""

    images: Path
    xml: Path
    dataset: Path
    workers: int
    color_jitter: float
    batch_size: int


def measure_checkouts(case: Case, rounds: int, before: Path) -> dict[str, Any]:
    """Ours, ours of another checkout and the plain one, a process each, an epoch in turn: images/s
    by wall and by CPU time.
    """
    arms = {"before": ("ours", before), "ours": ("ours", ROOT), "plain": ("plain", ROOT)}
    with contextlib.ExitStack() as stack:
        children = {}
        for name, (arm, checkout) in arms.items():
            child = subprocess.Popen(
                [sys.executable, __file__, arm, *map(str, case)],
                env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(child.terminate)
            children[name] = child
        rates: dict[str, list[float]] = {f"{a}{kind}": [] for a in arms for kind in ("", "_cpu")}
        counts = {name: _epoch_of(child)["images"] for name, child in children.items()}
        if len(set(counts.values())) != 1:
            raise Disagreement(f"images an epoch: {counts}; expected as many in all arms")
        names = list(arms)
        for round_ in range(rounds):
            for k in range(len(names)):
                name = names[(k + round_) % len(names)]
                found = _epoch_of(children[name])
                rates[name].append(found["images"] / found["wall_s"])
                rates[f"{name}_cpu"].append(found["images"] / found["cpu_s"])
    return {"images": counts["ours"], "turn": "epochs", "images_per_s": rates}


def _epoch_of(child: subprocess.Popen[str]) -> dict[str, float]:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    answer: dict[str, float] = json.loads(child.stdout.readline())
    return answer


def _serve_epochs() -> None:
    """The process of an arm: an epoch for each line that it is given."""
    arm, images, xml, dataset, workers, jitter, batch_size = sys.argv[1:]
    recipe = recipe_of(
        data=Data(missing_images="skip", num_workers=0, color_jitter=float(jitter)),
        batch_size=int(batch_size),
    )
    setting = open_setting(Path(images), Path(xml), Path(dataset), recipe, int(workers))
    torch.set_num_threads(1)
    start = open_loader(arm, setting)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), tree_cpu_s()
        found = {"images": consume(start())}
        found |= {"wall_s": time.perf_counter() - wall, "cpu_s": tree_cpu_s() - cpu}
        print(json.dumps(found), flush=True)


Batches = Iterable[Any]


def _epochs(loaders: dict[str, Batches]) -> Iterator[dict[str, Batches]]:
    yield loaders


def _batches(loaders: dict[str, Batches]) -> Iterator[dict[str, Batches]]:
    """As many turns as there are batches; each loads its one when it is consumed."""
    started = {arm: iter(loader) for arm, loader in loaders.items()}
    for _ in range(min(len(loader) for loader in loaders.values())):  # type: ignore[arg-type]
        yield {arm: itertools.islice(batches, 1) for arm, batches in started.items()}


# Stage -> functions whose own time it is, by the end of `file:function`. What is left is `rest`.
_STAGES = {
    "decode": (
        *("Image.py:open", "ImageFile.py:load", "JpegImagePlugin.py:load_read", "Image.py:copy"),
        *("JpegImagePlugin.py:_open", "folder.py:pil_loader", "decode.py:decode_rgb"),
        *("ImageFile.py:load_prepare", "ImageFile.py:_safe_read", "Image.py:convert"),
    ),
    "resize": ("Image.py:resize", "Image.py:_crop", "Image.py:transpose"),
    "draw": ("transforms.py:get_params", "transforms.py:forward"),
    "xml": ("ElementTree.py:parse", "ElementTree.py:iterfind", "ElementPath.py:find"),
    "tensor": (
        *("functional.py:pil_to_tensor", "functional.py:to_tensor", "Image.py:tobytes"),
        *("Image.py:__array_interface__", "collate.py:collate_tensor_fn", "shape_base.py:stack"),
        "loader.py:collate",
    ),
    "points": ("data/transforms.py:place", "data/transforms.py:apply", "data/crops.py:place"),
}


def profile_loader(arm: str, setting: Setting) -> tuple[str, dict[str, float]]:
    """Where one epoch's CPU time goes, without loader processes: as text, and ms an image."""
    start = open_loader(arm, setting._replace(workers=0))
    consume(start())
    sampler = Sampler()
    wall, cpu = time.perf_counter(), time.process_time()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # else looks come where a function lets others run, see stages.py
    sampler.start()
    with one_thread():
        count = consume(start())
    sampler.stop()
    sys.setswitchinterval(interval)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    text = f"{arm}: {count} images\n" + report(sampler, wall_s=wall, cpu_s=cpu, children_s=0.0)
    own = {function: spent for (_, function), spent in sampler.own.items()}
    stages = {
        stage: 1000 * sum(s for f, s in own.items() if f.endswith(functions)) / max(count, 1)
        for stage, functions in _STAGES.items()
    }
    total = 1000 * sum(own.values()) / max(count, 1)
    return text, {**stages, "rest": total - sum(stages.values()), "all": total}


if __name__ == "__main__":
    _serve_epochs()
