"""[I/O] The suite against a bare forward loop over the same images, in one process, in turns.

    .venv/bin/python benchmarks/eval.py                                    # 3 models, 5 pairs
    .venv/bin/python benchmarks/eval.py --models resnet50 --images 512 --pairs 9

The bare loop is what one writes in ten lines: torchvision's Resize, CenterCrop, ToTensor, Normalize
and ImageFolder in a DataLoader, forward, argmax, count. The suite does all it does for a user: it
finds the folder, decodes, predicts, writes Parquet, reads it back, scores, writes results.jsonl.
Both decode the same JPEGs with the same batch size and number of workers. Before anything is timed
the two must agree on the number of right answers, within the images whose two best classes are
within rounding. Ratios are images/s of the suite over those of the loop, pair by pair: median
(min-max). On a machine that others use, the ratio by CPU time of the process says more; it leaves
out loader processes, so it is for `--workers 0`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import measure
import numpy as np
import pyarrow.parquet as pq
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms as tvt

from luab_train.evaluate.predictor import Predictor, imagenet_classes, load_predictor
from luab_train.evaluate.run import evaluate_benchmarks

RESULTS = Path(__file__).resolve().parent / "results" / "eval.jsonl"


def make_images(root: Path, count: int, seed: int = 0) -> Path:
    """`sketch/<wnid>/*.JPEG`: photos' size, smooth with some noise, about 60 KB each."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(int)
        pixels = np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
        # Every class has a folder, as ImageFolder wants it for the right labels.
        wnid = imagenet_classes()[number % 1000]
        (root / "sketch" / wnid).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / f"sketch/{wnid}/{number}.JPEG", quality=85)
    return root


def bare_loop(predictor: Predictor, root: Path, *, batch_size: int, workers: int) -> int:
    """Right answers of the ten lines; `model` is timm's own."""
    data = predictor.data
    transform = tvt.Compose(
        [
            tvt.Resize(data.eval_resize, tvt.InterpolationMode(data.interpolation)),
            tvt.CenterCrop(data.image_size),
            tvt.ToTensor(),
            tvt.Normalize(data.mean, data.std),
        ]
    )
    images = torchvision.datasets.ImageFolder(root / "sketch", transform)
    index = {wnid: i for i, wnid in enumerate(imagenet_classes())}
    label = torch.tensor([index[wnid] for wnid in images.classes])
    model = predictor.model.backbone
    right = 0
    with torch.inference_mode():
        for image, target in DataLoader(images, batch_size=batch_size, num_workers=workers):
            top1 = model(image.to(predictor.device)).argmax(dim=1).cpu()
            right += int((top1 == label[target]).sum())
    return right


def suite(predictor: Predictor, root: Path, out: Path, *, batch_size: int, workers: int) -> int:
    """Right answers of ours, from nothing."""
    shutil.rmtree(out, ignore_errors=True)
    (row,) = evaluate_benchmarks(
        predictor,
        root=root,
        out=out,
        names=["sketch"],
        batch_size=batch_size,
        num_workers=workers,
        shown=False,
    )
    return round(row["value"] * row["n"] / 100)


def ties(out: Path) -> int:
    """Images whose two best classes are within rounding."""
    margin = pq.read_table(out / "sketch/sketch.parquet")["margin"].to_numpy()
    return int((margin < 1e-6).sum())


def spread(values: list[float]) -> str:
    return f"{np.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def compare(name: str, root: Path, out: Path, options: argparse.Namespace) -> dict[str, object]:
    """One model: a row for the results."""
    predictor = load_predictor(name)
    same = {"batch_size": options.batch_size, "workers": options.workers}
    ours, theirs = suite(predictor, root, out, **same), bare_loop(predictor, root, **same)
    if abs(ours - theirs) > ties(out):
        raise SystemExit(f"{name}: {ours} right answers against {theirs}; nothing to compare")
    rates: dict[str, list[float]] = {"suite": [], "loop": [], "suite_cpu": [], "loop_cpu": []}
    for _ in range(options.pairs):
        for arm in ("suite", "loop"):
            wall, cpu = time.perf_counter(), time.process_time()
            if arm == "suite":
                suite(predictor, root, out, **same)
            else:
                bare_loop(predictor, root, **same)
            rates[arm].append(options.images / (time.perf_counter() - wall))
            rates[f"{arm}_cpu"].append(options.images / (time.process_time() - cpu))
    ratio, ratio_cpu = (
        [a / b for a, b in zip(rates[f"suite{kind}"], rates[f"loop{kind}"], strict=True)]
        for kind in ("", "_cpu")
    )
    print(
        f"{name} on {predictor.device.type}, {predictor.data.image_size} px: suite"
        f" {spread(rates['suite'])} images/s, bare loop {spread(rates['loop'])}; ratio"
        f" {spread(ratio)}, by CPU time {spread(ratio_cpu)}",
        flush=True,
    )
    return {
        "what": "eval",
        "model": name,
        "device": predictor.device.type,
        "images": options.images,
        **same,
        "threads": torch.get_num_threads(),
        "images_per_s": rates,
        "ratio": ratio,
        "ratio_cpu": ratio_cpu,
        "date": measure.now(),
        "commit": measure.commit(),
        "machine": measure.machine(),
        "versions": {**measure.versions(), "torch": torch.__version__},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The suite against a bare forward loop.")
    parser.add_argument("--models", default="test_resnet,resnet18,vit_tiny_patch16_224")
    parser.add_argument("--images", type=int, default=256, help="Images a run.")
    parser.add_argument("--pairs", type=int, default=5, help="Runs of each arm.")
    parser.add_argument("--batch-size", type=int, default=64, help="Of both arms.")
    parser.add_argument("--workers", type=int, default=0, help="Loader processes of both arms.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="Rows are added here.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = make_images(Path(folder) / "root", options.images)
        for name in options.models.split(","):
            row = compare(name, root, Path(folder) / "out", options)
            with open(options.results, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
