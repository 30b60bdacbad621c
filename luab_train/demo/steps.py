"""The steps before training: scenes, raw log, dataset, and the comparison with the truth.     [I/O]

A step leaves its result under its final name when it is done, so a demo that was killed goes on
where it stopped. What a demo of other sizes left is removed with --force only.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from luab_data import convert_imagenet, load_dataset, read_boxes, read_labelled_images
from luab_data.console import progress
from luab_data.errors import OutputError
from luab_data.simulate.imagenet import simulate_imagenet
from luab_train.demo.figure import Picture
from luab_train.demo.recipe import TEST_SETS, Plan, recipe
from luab_train.demo.scenes import WNIDS, Background, Part, Scene, load_material, scenes
from luab_train.demo.story import result_name

Say = Callable[[str], object]

MARKER = "demo.json"
_OURS = (
    MARKER, "images", "images.partial", "raw.tar.gz", "truth.jsonl.gz", "imagenet-ab", "cache",
    "runs", "results.json", "demo.png",
)  # fmt: skip
# The workers are simulated: a published key keeps the dataset's bytes the same on every machine.
_WORKER_KEY = b"luab demo: nobody to protect"
_TEST_SEED = 1  # added to the plan's: test scenes are other scenes of other digits


def open_folder(out: Path, plan: Plan, say: Say, *, force: bool = False) -> None:
    """Make `out` this plan's folder: keep what an equal demo left.

    Args:
        force: remove what a demo of other sizes left there.

    Raises: OutputError when it holds anything that is not a demo's, or another demo.
    """
    wanted = json.dumps({"plan": asdict(plan), "recipe": asdict(recipe(plan))}, indent=2) + "\n"
    try:
        names = {path.name for path in out.iterdir()} if out.exists() else set()
        if names - {MARKER} and MARKER not in names:
            raise OutputError(
                f"{out}: not empty and no demo of ours ({', '.join(sorted(names)[:3])}); choose a "
                "new folder with --out"
            )
        if names and (out / MARKER).read_text(encoding="utf-8") != wanted:
            if not force:
                raise OutputError(
                    f"{out}: holds a demo of other sizes; replace it with --force, or choose"
                    " another --out"
                )
            say(f"{out}: holds a demo of other sizes; making it again")
            remove_demo(out)
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).write_text(wanted, encoding="utf-8")
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise OutputError(f"{out}: cannot be the demo's folder ({error.strerror})") from error


def remove_demo(out: Path) -> None:
    """Remove what a demo wrote into `out`, and nothing else; the marker last."""
    for path in sorted(out.iterdir(), key=lambda path: path.name == MARKER):
        if path.name in _OURS or _is_leftover(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _is_leftover(path: Path) -> bool:
    """Whether this is the hidden, unfinished form of one of our files, left by a kill."""
    return any(path.name.startswith(f".{name}.") for name in _OURS)


def make_images(folder: Path, plan: Plan) -> str:
    """Write training and test scenes and their boxes; says what is there."""
    if not folder.is_dir():
        partial = folder.with_name("images.partial")
        shutil.rmtree(partial, ignore_errors=True)
        total = plan.num_train + len(TEST_SETS) * plan.num_test
        with progress(what="scenes", total=total, unit="image") as bar:
            for name, drawn in _image_sets(plan):
                write_tree(partial / name, drawn, bar.update)
        partial.rename(folder)
    return (
        f"{plan.num_train:,} to train on, {plan.num_test:,} on each of {len(TEST_SETS)} backgrounds"
    )


def _image_sets(plan: Plan) -> Iterator[tuple[str, Iterable[Scene]]]:
    parts: list[tuple[str, Part, Background, int, int]] = [
        ("train", "train", "usual", plan.num_train, plan.seed)
    ]
    # One seed for all: the test sets show the same objects at the same places.
    seed = plan.seed + _TEST_SEED
    parts += [(result_name(b), "test", b, plan.num_test, seed) for b in TEST_SETS]
    for name, part, background, num, scenes_seed in parts:
        yield (
            name,
            scenes(
                load_material(part),
                num=num,
                background=background,
                seed=scenes_seed,
                size=plan.size,
            ),
        )


def write_tree(
    tree: Path, drawn: Iterable[Scene], on_progress: Callable[[int], object] = lambda _: None
) -> None:
    """Write `<wnid>/<image_id>.png`, `<wnid>/<wnid>_boxes.txt` (file, xmin, ymin, xmax, ymax)."""
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
    if not (raw.is_file() and truth.is_file()):
        for path in [raw, truth, *out.glob(".raw.tar.gz.*"), *out.glob(".truth.*")]:
            path.unlink(missing_ok=True)
        images = read_labelled_images(out / "images" / "train")
        with progress(what="annotators", total=len(images), unit="image") as bar:
            simulate_imagenet(images, raw, truth=truth, seed=plan.seed, on_progress=bar.update)
    size = raw.stat().st_size / 1e6
    return f"{raw.name}: {size:.1f} MB in the byte format of the public release"


def convert(out: Path) -> None:
    """Write the dataset folder, unless it is there as a whole."""
    if not (out / "imagenet-ab" / "manifest.json").is_file():
        convert_imagenet(out / "raw.tar.gz", out / "imagenet-ab", worker_key=_WORKER_KEY)


def read_dataset(out: Path, columns: list[str] | None = None) -> Any:
    """The demo's dataset through Hugging Face `datasets`, its cache inside the demo's folder."""
    options: dict[str, Any] = {} if columns is None else {"columns": columns}
    with _quiet_datasets():
        return load_dataset(
            out / "imagenet-ab", split="train", cache_dir=str(out / "cache"), **options
        )


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """No progress bars of `datasets`: ours say what is going on."""
    import datasets

    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not shown:
            datasets.enable_progress_bars()


def compare_with_truth(out: Path) -> tuple[int, list[str]]:
    """Number of images in the truth, and ids of those whose derived click is not exactly its own.

    Compared are whether the image was selected in the end and both coordinates of the final click;
    an image that is missing from the dataset counts as different, and so does one too many.
    """
    names = ["image_id", "selected", "final_click_x", "final_click_y"]
    columns = read_dataset(out, names).to_dict()
    found = {key: rest for key, *rest in zip(*(columns[name] for name in names), strict=True)}
    expected: dict[str, list[Any]] = {}
    with gzip.open(out / "truth.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            click = row["final_click"] or {"x": None, "y": None}
            expected[row["image_id"]] = [row["selected"], click["x"], click["y"]]
    different = sorted(
        key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)
    )
    return len(expected), different


def describe_dataset(out: Path) -> str:
    """Rows and features of the dataset as Hugging Face `datasets` sees it."""
    dataset = read_dataset(out)
    shown = ("image_id", "label", "boxes", "selected", "final_click_x", "final_click_y")
    lines = [f"{len(dataset):,} rows, {len(dataset.features)} features, among them"]
    lines += [f"  {name}: {dataset.features[name]}" for name in shown]
    selected = np.mean(dataset["selected"][:])
    lines += [f"{selected:.1%} of the images were selected in the end and have a click"]
    return "\n".join(lines)


def pictures(out: Path) -> tuple[list[Picture], list[Picture], float]:
    """Scenes for the figure, and the point error of the image's centre on the test objects, %.

    Returns: two annotated training scenes a class, in the order of two rows of four; one test
        object on its three backgrounds; and the error.
    """
    images = out / "images"
    names = ["image_id", "wnid", "final_click_x", "final_click_y"]
    columns = read_dataset(out, names).to_dict()
    of_class: dict[str, list[tuple[str, tuple[float, float]]]] = {wnid: [] for wnid in WNIDS}
    for image_id, wnid, x, y in sorted(zip(*(columns[name] for name in names), strict=True)):
        if x is not None:
            of_class[wnid].append((image_id, (x, y)))
    boxes = read_boxes(images / "train")
    training = [
        Picture(
            pixels=_pixels(images / "train" / wnid / f"{image_id}.png"),
            title=f"train: {label}",
            box=boxes[image_id][0].tolist(),
            click=click,
        )
        for row in range(2)
        for label, wnid in enumerate(WNIDS)
        for image_id, click in of_class[wnid][row : row + 1]
    ]
    name = f"{WNIDS[0]}/{WNIDS[0]}_0.png"
    test = [
        Picture(pixels=_pixels(images / result_name(b) / name), title=f"test: {b}")
        for b in TEST_SETS
    ]
    return training, test, _centre_error(images / result_name("random"))


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def _centre_error(tree: Path) -> float:
    """Mean distance from the image's centre to the object's, % of the side."""
    images = read_labelled_images(tree)
    offsets = [
        (image.boxes[0, :2] + image.boxes[0, 2:]) / 2 / (image.width, image.height) - 0.5
        for image in images
    ]
    return float(100 * np.hypot(*np.transpose(offsets)).mean())
