"""The demo's steps, in order, in one folder.     [I/O]

    DIR/demo.json            plan and recipe; written first, a folder without it is not ours
    DIR/images/              train/<wnid>/*.png and val_{same,random,next}/..., boxes beside them
    DIR/raw.tar.gz           the simulated raw log; DIR/truth.jsonl.gz what really happened
    DIR/imagenet-ab/         the dataset
    DIR/runs/<arm>-<seed>/   runs
    DIR/results.json         every number; DIR/demo.png the figure

A step leaves its result under its final name when it is done, so a demo that was killed goes on
where it stopped. Results of another plan or recipe are removed and made again.
"""

from __future__ import annotations

import gzip
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from luab_data import convert_imagenet, load_dataset, read_labelled_images
from luab_data.console import progress
from luab_data.errors import OutputError
from luab_data.simulate.imagenet import simulate_imagenet
from luab_train.demo.arms import is_finished, train_seeds, warm_up, workers
from luab_train.demo.recipe import ARMS, TEST_SETS, Plan, recipe
from luab_train.demo.scenes import WNIDS, Material, Part, Scene, load_material, scenes
from luab_train.demo.story import result_name
from luab_train.runs import Run

Say = Callable[[str], object]

_OURS = (
    "demo.json", "images", "images.partial", "raw.tar.gz", "truth.jsonl.gz", "imagenet-ab", "cache",
    "runs", "results.json", "demo.png",
)  # fmt: skip
# The workers are simulated: a published key keeps the dataset's bytes the same on every machine.
_WORKER_KEY = b"luab demo: nobody to protect"
_LAST_SECONDS = 10.0  # table and figure
_TEST_SEED = 1  # added to the plan's: test scenes are other scenes of other digits


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the steps produced.

    Args:
        runs: finished and evaluated, seed by seed.
        num_compared: images whose click was compared with the truth.
        mismatches: ids of those where it differs.
        seconds: step -> wall time of this call; next to nothing for a step that was reused.
        stopped_by_budget: whether seeds that were asked for did not run.
    """

    runs: tuple[Run, ...]
    num_compared: int
    mismatches: tuple[str, ...]
    seconds: dict[str, float]
    stopped_by_budget: bool


def run_demo(out: Path, plan: Plan, *, num_seeds: int, budget_s: float, say: Say) -> Outcome:
    """Do, or finish, the whole demo in the folder `out`.

    Args:
        out: new, empty, or a demo's folder.
        plan: sizes.
        num_seeds: seeds wanted, 0, 1, ...; each is one run per arm.
        budget_s: wall time; no further seed is begun that would probably not end within it.
        say: takes a line of text.
    """
    began = time.monotonic()
    seconds: dict[str, float] = {}
    open_folder(out, plan, say)
    with workers() as pool:
        if not all(is_finished(out, (arm, seed)) for seed in range(num_seeds) for arm in ARMS):
            warm_up(pool)
        with _step(seconds, say, 1, "scenes: digits on textures"):
            say(make_images(out / "images", plan))
        with _step(seconds, say, 2, "simulated annotators write a raw log"):
            say(simulate(out, plan))
        with _step(seconds, say, 3, "convert the log, compare the clicks with the truth"):
            convert(out)
            compared, mismatches = compare_with_truth(out)
            num_equal = compared - len(mismatches)
            say(f"final clicks equal to the truth: {num_equal:,} of {compared:,} images")
        with _step(seconds, say, 4, 'load_dataset("imagenet-ab")'):
            say(describe_dataset(out))
        with _step(seconds, say, 5, f"train and evaluate {', '.join(ARMS)}, {num_seeds} seeds"):
            deadline = began + budget_s - _LAST_SECONDS
            runs, stopped = train_seeds(
                pool, out, plan, num_seeds=num_seeds, deadline=deadline, say=say
            )
    return Outcome(
        runs=tuple(runs),
        num_compared=compared,
        mismatches=tuple(mismatches),
        seconds=seconds,
        stopped_by_budget=stopped,
    )


@contextmanager
def _step(seconds: dict[str, float], say: Say, number: int, what: str) -> Iterator[None]:
    began = time.monotonic()
    say(f"[{number}/6] {what}")
    yield
    seconds[what] = round(time.monotonic() - began, 2)


def open_folder(out: Path, plan: Plan, say: Say) -> None:
    """Make `out` this plan's folder: keep what an equal demo left, remove what another one did.

    Raises: OutputError when it holds anything that is not a demo's.
    """
    marker = out / "demo.json"
    wanted = json.dumps({"plan": asdict(plan), "recipe": asdict(recipe(plan))}, indent=2) + "\n"
    try:
        names = {path.name for path in out.iterdir()} if out.exists() else set()
        if names and "demo.json" not in names:
            raise OutputError(
                f"{out}: not empty and no demo of ours ({', '.join(sorted(names)[:3])}); choose a new "
                "folder with --out"
            )
        if names and marker.read_text(encoding="utf-8") != wanted:
            say(f"{out}: holds a demo of other sizes; making it again")
            remove_demo(out)
        out.mkdir(parents=True, exist_ok=True)
        marker.write_text(wanted, encoding="utf-8")
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise OutputError(f"{out}: cannot be the demo's folder ({error.strerror})") from error


def remove_demo(out: Path) -> None:
    """Remove what a demo wrote into `out`, and nothing else; the marker last."""
    for name in reversed(_OURS):
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def make_images(folder: Path, plan: Plan) -> str:
    """Write training and test scenes and their boxes; says what is there."""
    sets: list[tuple[str, Part, str, int, int]] = [("train", "train", "usual", plan.num_train, 0)]
    sets += [
        (result_name(background), "test", background, plan.num_test, _TEST_SEED)
        for background in TEST_SETS
    ]
    if not folder.is_dir():
        partial = folder.with_name("images.partial")
        shutil.rmtree(partial, ignore_errors=True)
        material: dict[Part, Material] = {part: load_material(part) for part in ("train", "test")}
        total = sum(num for *_, num, _ in sets)
        with progress(what="scenes", total=total, unit="image") as bar:
            for name, part, background, num, seed in sets:
                drawn = scenes(
                    material[part],
                    num=num,
                    background=background,  # type: ignore[arg-type]
                    seed=plan.seed + seed,
                    size=plan.size,
                )
                write_tree(partial / name, drawn, bar.update)
        partial.rename(folder)
    return f"{plan.num_train:,} to train on, {plan.num_test:,} on each of {len(TEST_SETS)} backgrounds"


def write_tree(tree: Path, drawn: Iterator[Scene], on_progress: Callable[[int], object]) -> None:
    """Write `<wnid>/<image_id>.png` and `<wnid>/<wnid>_boxes.txt` (file, xmin, ymin, xmax, ymax)."""
    boxes: dict[str, list[str]] = {}
    for wnid in WNIDS:
        (tree / wnid).mkdir(parents=True)
    for scene in drawn:
        wnid, name = WNIDS[scene.label], f"{scene.image_id}.png"
        Image.fromarray(scene.pixels).save(tree / wnid / name)
        boxes.setdefault(wnid, []).append("\t".join([name, *map(str, scene.box)]))
        on_progress(1)
    for wnid, lines in boxes.items():
        (tree / wnid / f"{wnid}_boxes.txt").write_text("\n".join(lines) + "\n")


def simulate(out: Path, plan: Plan) -> str:
    """Write the raw log and the truth; says how they look."""
    raw, truth = out / "raw.tar.gz", out / "truth.jsonl.gz"
    # The truth is complete before the log is, so the log alone says that both are.
    if not raw.is_file():
        truth.unlink(missing_ok=True)
        images = read_labelled_images(out / "images" / "train")
        with progress(what="annotators", total=len(images), unit="image") as bar:
            simulate_imagenet(images, raw, truth=truth, seed=plan.seed, on_progress=bar.update)
    return f"{raw.name}: {raw.stat().st_size / 1e6:.1f} MB, in the byte format of the public release"


def convert(out: Path) -> None:
    """Write the dataset folder, unless it is there as a whole."""
    if not (out / "imagenet-ab" / "manifest.json").is_file():
        convert_imagenet(out / "raw.tar.gz", out / "imagenet-ab", worker_key=_WORKER_KEY)


def compare_with_truth(out: Path) -> tuple[int, list[str]]:
    """Number of images in the truth, and ids of those whose derived click is not exactly its own.

    Compared are whether the image was selected in the end and both coordinates of the final click;
    an image that is missing from the dataset counts as different, and so does one too many.
    """
    rows = load_dataset(
        out / "imagenet-ab",
        split="train",
        columns=["image_id", "selected", "final_click_x", "final_click_y"],
        cache_dir=str(out / "cache"),
    ).to_dict()
    found = {
        key: (selected, x, y)
        for key, selected, x, y in zip(
            rows["image_id"], rows["selected"], rows["final_click_x"], rows["final_click_y"],
            strict=True,
        )
    }  # fmt: skip
    expected: dict[str, tuple[bool, float | None, float | None]] = {}
    with gzip.open(out / "truth.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            click = row["final_click"] or {"x": None, "y": None}
            expected[row["image_id"]] = (row["selected"], click["x"], click["y"])
    different = sorted(
        key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)
    )
    return len(expected), different


def describe_dataset(out: Path) -> str:
    """Rows and features of the dataset as Hugging Face `datasets` sees it."""
    dataset = load_dataset(out / "imagenet-ab", split="train", cache_dir=str(out / "cache"))
    features = dataset.features
    shown = ("image_id", "label", "boxes", "selected", "final_click_x", "final_click_y")
    lines = [f"{len(dataset):,} rows, {len(features)} features, among them:"]
    lines += [f"  {name}: {features[name]}" for name in shown]
    selected = np.asarray(dataset["selected"])
    lines += [f"{selected.mean():.1%} of the images were selected in the end and have a click"]
    return "\n".join(lines)
