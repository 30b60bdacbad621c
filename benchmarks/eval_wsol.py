"""[I/O] Box evaluation of score maps: ours against the reference way, on the same maps.

    .venv/bin/python benchmarks/eval_wsol.py                 # 5 pairs of 24 maps, both intervals
    .venv/bin/python benchmarks/eval_wsol.py --pairs 9 --maps 48

The reference way (`tests/wsol_reference.py`) is clovaai/wsolevaluation's: for every threshold one
binary map and its contours with OpenCV, then one table of overlaps. It evaluates one contour mode a
run, so MaxBoxAcc and MaxBoxAccV2 take it two; ours gives both from one. Both ratios are printed.
Every overlap of every map is compared before anything is timed. One thread, the arms in turns, the
ratio taken pair by pair: median (min-max).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import measure
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from wsol_reference import ReferenceEvaluator, reference_best_iou

from luab_train.evaluate.wsol.boxes import BoxSums, box_compute, box_update, map_overlap
from luab_train.evaluate.wsol.score_maps import score_map, thresholds

RESULTS = Path(__file__).resolve().parent / "results" / "wsol.jsonl"
KINDS = {
    "7x7, ResNet-50": 7,
    "14x14, stride 16": 14,
    "28x28, large feature map": 28,
}


def make_maps(places: int, count: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Smooth maps, one blob and noise correlated over places, and one to three true boxes each."""
    rng = np.random.default_rng(seed)
    maps, truths = [], []
    for _ in range(count):
        noise = cv2.GaussianBlur(rng.normal(size=(places, places)), (0, 0), places / 14)
        y, x = np.mgrid[:places, :places] - places * rng.uniform(0.3, 0.7, (2, 1, 1))
        blob = 4 * np.exp(-(x**2 + y**2) / (2 * (places * rng.uniform(0.12, 0.3)) ** 2))
        maps.append(score_map(noise + blob))
        corners = np.sort(rng.uniform(0, 224, (rng.integers(1, 4), 2, 2)), axis=1)
        truths.append(np.floor(corners.reshape(-1, 4)))
    return maps, truths


def ours(maps: list[np.ndarray], truths: list[np.ndarray], taus: np.ndarray) -> dict[str, float]:
    sums = BoxSums.empty(taus)
    for scores, truth in zip(maps, truths, strict=True):
        overlap = map_overlap(scores, truth, taus).at(taus)
        sums += box_update(overlap[None], np.array([True]), taus=taus)
    return box_compute(sums)


def reference(
    maps: list[np.ndarray], truths: list[np.ndarray], taus: np.ndarray, *, all_contours: bool
) -> dict[float, float]:
    evaluator = ReferenceEvaluator(taus, all_contours=all_contours)
    for scores, truth in zip(maps, truths, strict=True):
        evaluator.accumulate(scores, truth)
    return evaluator.compute()


def disagreements(maps: list[np.ndarray], truths: list[np.ndarray], taus: np.ndarray) -> int:
    """Overlaps that differ, of 2 x thresholds x maps."""
    count = 0
    for scores, truth in zip(maps, truths, strict=True):
        found = map_overlap(scores, truth, taus).at(taus)
        for row, all_contours in enumerate((False, True)):
            expected = reference_best_iou(scores, truth, taus, all_contours=all_contours)
            count += int((found[row] != expected).sum())
    return count


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(values: list[float]) -> str:
    return f"{np.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Box evaluation, ours against the reference way.")
    parser.add_argument("--pairs", type=int, default=5, help="Runs of each arm.")
    parser.add_argument("--maps", type=int, default=24, help="Maps a run.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON Lines to add rows to.")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"OpenCV {cv2.__version__}, NumPy {np.__version__}, one thread, {options.maps} maps of")
    print(f"224 x 224 px, {options.pairs} pairs; ratios are reference / ours, median (min-max)")
    for interval in (0.001, 0.01):
        taus = thresholds(interval)
        for name, places in KINDS.items():
            maps, truths = make_maps(places, options.maps, seed=places)
            wrong = disagreements(maps, truths, taus)
            rates, both, single = [], [], []
            for _ in range(options.pairs):
                mine = seconds(lambda: ours(maps, truths, taus))  # noqa: B023
                one = seconds(lambda: reference(maps, truths, taus, all_contours=False))  # noqa: B023
                all_ = seconds(lambda: reference(maps, truths, taus, all_contours=True))  # noqa: B023
                rates.append(options.maps / mine)
                both.append((one + all_) / mine)
                single.append(one / mine)
            print(
                f"{len(taus)} thresholds, {name}: {wrong} of {2 * len(taus) * options.maps}"
                f" overlaps differ; ours {spread(rates)} images/s;"
                f" MaxBoxAcc and V2 {spread(both)}x; against MaxBoxAcc alone {spread(single)}x"
            )
            row = {
                "what": "wsol",
                "map": name,
                "thresholds": len(taus),
                "maps": options.maps,
                "disagreements": wrong,
                "images_per_s": rates,
                "ratio": both,
                "ratio_max_box_acc": single,
                "date": measure.now(),
                "commit": measure.commit(),
                "machine": measure.machine(),
                "versions": {**measure.versions(), "opencv": cv2.__version__},
            }
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
