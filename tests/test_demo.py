from __future__ import annotations

import builtins
import gzip
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from luab_data.errors import LuabError, OptionError, OutputError
from luab_train.demo import arms, scenes, steps, story
from luab_train.demo.cli import demo_command
from luab_train.demo.recipe import ARMS, FAST, FULL, TEST_SETS, Plan, arm_recipe
from luab_train.report.compare import Estimate, t_interval
from luab_train.report.runs import Run
from luab_train.settings import differences, to_json

pytest.importorskip("sklearn", reason='the demo needs: pip install ".[demo]"')
pytest.importorskip("skimage", reason='the demo needs: pip install ".[demo]"')

TINY = Plan(num_train=24, num_test=8, size=32, epochs=1, batch_size=8)


@pytest.fixture(scope="module")
def material() -> dict[str, scenes.Material]:
    return {part: scenes.load_material(part) for part in ("train", "test")}


# Scenes


def test_digits_and_texture_regions_of_train_and_test_are_disjoint(material):
    from skimage import data
    from sklearn.datasets import load_digits

    scans = load_digits()
    for label in range(scenes.NUM_CLASSES):
        of_part = [material[part].digits[label] for part in ("train", "test")]
        together = np.concatenate(of_part)
        np.testing.assert_array_equal(together * 16, scans.images[scans.target == label])
        # Not only other indices: no scan of the test part is a copy of one to train on.
        assert not {d.tobytes() for d in of_part[0]} & {d.tobytes() for d in of_part[1]}
    regions = [material[part].textures[0] for part in ("train", "test")]
    np.testing.assert_array_equal(np.concatenate(regions, axis=1), data.brick())
    assert all(r.shape[1] >= 2 * FULL.size for r in regions)


def test_the_same_seed_gives_the_same_scene_and_another_seed_another(material):
    def drawn(seed: int, num: int) -> list[scenes.Scene]:
        return list(
            scenes.scenes(material["train"], num=num, background="usual", seed=seed, size=32)
        )

    first, again, longer, other = drawn(3, 8), drawn(3, 8), drawn(3, 12), drawn(4, 8)
    for a, b, c, d in zip(first, again, longer, other, strict=False):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        # A scene does not depend on how many are drawn.
        np.testing.assert_array_equal(a.pixels, c.pixels)
        assert (a.box, a.texture) == (b.box, b.texture) == (c.box, c.texture)
        assert not np.array_equal(a.pixels, d.pixels)


def test_test_sets_show_the_same_objects_on_other_textures(material):
    sets = {
        background: list(
            scenes.scenes(material["test"], num=40, background=background, seed=1, size=32)
        )
        for background in TEST_SETS
    }
    for same, random, following in zip(*(sets[b] for b in TEST_SETS), strict=True):
        assert same.image_id == random.image_id == following.image_id
        assert same.box == random.box == following.box
        assert same.texture == same.label == random.label
        assert following.texture == (same.label + 1) % scenes.NUM_CLASSES
        if random.texture == same.texture:
            np.testing.assert_array_equal(random.pixels, same.pixels)
        assert (following.pixels != same.pixels).mean() > 0.5
    assert {scene.texture for scene in sets["random"]} == set(range(scenes.NUM_CLASSES))


def test_texture_predicts_the_class_95_times_in_100():
    rng = np.random.default_rng(0)
    n = 20_000
    found = [scenes.background_class(2, "usual", 4, rng) for _ in range(n)]
    share = np.bincount(found, minlength=4) / n
    # Four standard errors.
    assert abs(share[2] - 0.95) < 4 * math.sqrt(0.95 * 0.05 / n)
    assert np.abs(np.delete(share, 2) - 0.05 / 3).max() < 4 * math.sqrt(0.017 / n)
    uniform = [scenes.background_class(2, "random", 4, rng) for _ in range(n)]
    shares = np.bincount(uniform, minlength=4) / n
    assert np.abs(shares - 0.25).max() < 4 * math.sqrt(0.1875 / n)


def test_objects_are_often_off_the_centre(material):
    drawn = list(scenes.scenes(material["train"], num=400, background="usual", seed=0, size=32))
    centred = [s.box[0] <= 16 <= s.box[2] and s.box[1] <= 16 <= s.box[3] for s in drawn]
    assert 0.2 < np.mean(centred) < 0.6


def test_a_drawn_digit_is_boxed_tightly():
    #  column   0    1    2    3
    opacity = np.array(
        [
            [0.0, 0.1, 0.0, 0.0],
            [0.0, 1.0, 0.5, 0.0],
            [0.0, 0.0, 0.9, 0.0],
        ]
    )
    pixels, box = scenes.paste(np.full((10, 10), 100.0), opacity, x=4, y=6)
    assert box == (5, 7, 7, 9)  # width 2, height 2: xmax - xmin, never + 1
    assert pixels[7, 5] == 250 and pixels[7, 6] == 175 and pixels[6, 5] == 115
    untouched = pixels.copy()
    untouched[6:9, 4:8] = 100
    np.testing.assert_array_equal(untouched, np.full((10, 10), 100))


@given(st.integers(0, 2**32), st.integers(16, 48))
def test_the_object_lies_inside_and_its_box_holds_the_ink(seed, size):
    digit = np.zeros((8, 8))
    digit[1:7, 3:5] = 1
    rng = np.random.default_rng(seed)
    opacity = scenes.digit_opacity(digit, size=size, rng=rng)
    x, y = scenes.place(opacity.shape, size=size, rng=rng)
    pixels, (xmin, ymin, xmax, ymax) = scenes.paste(np.zeros((size, size)), opacity, x=x, y=y)
    assert 0 <= xmin < xmax <= size and 0 <= ymin < ymax <= size
    outside = pixels.astype(float)
    outside[ymin:ymax, xmin:xmax] = 0
    assert outside.max() < 0.3 * 250 + 1
    assert pixels[ymin:ymax, xmin:xmax].max() > 200


def test_patches_are_as_bright_as_each_other():
    rng = np.random.default_rng(0)
    for texture in (rng.normal(30, 2, (64, 64)), rng.normal(200, 20, (64, 64))):
        patch = scenes.texture_patch(texture, size=16, rng=rng)
        assert patch.shape == (16, 16)
        assert patch.mean() == pytest.approx(110) and patch.std() == pytest.approx(35)
    flat = scenes.texture_patch(np.full((32, 32), 7.0), size=16, rng=rng)
    assert np.isfinite(flat).all()


def test_without_scikit_image_the_error_names_the_install(monkeypatch):
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "skimage":
            raise ImportError("No module named 'skimage'", name="skimage")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(OptionError, match=r"`skimage`.*pip install .*\[demo\]"):
        scenes.load_material("train")


# Recipe


def test_arms_differ_in_the_target_only():
    first, *others = [arm_recipe(FULL, arm=arm, seed=2) for arm in ARMS]
    assert all(set(differences(first, other)) == {"target"} for other in others)
    assert set(differences(first, arm_recipe(FULL, arm=ARMS[0], seed=3))) == {"seed"}


# Story: made-up runs


def made_up(arm: str, seed: int, same: float, random: float, error: float) -> Run:
    """A run with these results, in percent; its loss falls."""
    results = {
        "val_same": {"accuracy": same / 100},
        "val_random": {
            "accuracy": random / 100,
            "point_error": error / 100,
            "localisation": 0.5,
        },
        "val_next": {"accuracy": 0.3},
    }
    return Run(
        path=Path(f"{arm}-{seed}"),
        recipe=arm_recipe(replace(FULL, epochs=2), arm=arm, seed=seed),  # type: ignore[arg-type]
        environment={},
        epochs=({"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0}),
        results=results,
    )


def three_seeds(
    none: Callable[[int], tuple[float, float, float]],
    random: Callable[[int], tuple[float, float, float]],
    click: Callable[[int], tuple[float, float, float]],
) -> list[Run]:
    by_arm = {"none": none, "random": random, "click": click}
    return [made_up(arm, seed, *of(seed)) for seed in range(3) for arm, of in by_arm.items()]


# Seeds differ by 5 points each way, arms of a seed by little: only pairing sees the arms.
CLICK_BETTER = three_seeds(
    lambda s: (99, 50 + 5 * s, 40),
    lambda s: (99, 49 + 5 * s, 25),
    lambda s: (99, 54 + 5 * s + 0.1 * (s % 2), 10),
)
CLICK_WORSE = three_seeds(
    lambda s: (99, 50 + 5 * s, 40),
    lambda s: (99, 50 + 5 * s, 10),
    lambda s: (99, 40 + 5 * s + 0.1 * (s % 2), 25),
)
NO_DIFFERENCE = three_seeds(
    lambda s: (99, 50 + 5 * s, 40),
    lambda s: (99, 51 + 5 * s, 20 + s),
    lambda s: (99, 50 + 5 * s + (2, -3, 1)[s], 20 + s + (1, -1, 0.5)[s]),
)
NO_SHORTCUT = three_seeds(
    lambda s: (60 + (1, -1, 0)[s], 60, 40), lambda s: (60, 60, 25), lambda s: (60, 60, 10)
)
ONE_SEED = CLICK_BETTER[:3]


def test_verdict_follows_the_interval_alone():
    def of(low: float, high: float, n: int = 3) -> Estimate:
        return Estimate(mean=(low + high) / 2, low=low, high=high, n=n)

    assert story.verdict(of(0.1, 2)) == "better"
    assert story.verdict(of(-2, -0.1)) == "worse"
    assert story.verdict(of(-0.1, 2)) == "no difference seen"
    assert story.verdict(of(0.0, 2)) == "no difference seen"
    assert story.verdict(of(-2, 0.0)) == "no difference seen"
    assert story.verdict(of(0.1, 2), higher_is_better=False) == "worse"
    assert story.verdict(of(-2, -0.1), higher_is_better=False) == "better"
    assert story.verdict(of(0.1, 2, n=2)) == "too few seeds"
    assert story.verdict(t_interval([5.0])) == "too few seeds"
    assert story.verdict(t_interval([])) == "too few seeds"


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_turning_the_difference_round_turns_the_verdict_round(mean, half):
    there = Estimate(mean=mean, low=mean - half, high=mean + half, n=3)
    back = Estimate(mean=-mean, low=-mean - half, high=-mean + half, n=3)
    opposite = {"better": "worse", "worse": "better"}
    word = story.verdict(there)
    assert story.verdict(back) == opposite.get(word, word)
    assert story.verdict(back, higher_is_better=False) == word


@pytest.mark.parametrize(
    ("runs", "sentences"),
    [
        (
            CLICK_BETTER,
            [
                "takes the shortcut: it loses 44.0 [31.6, 56.4] points",
                "the predicted point is nearer to it than with random points, by 15.0 %",
                "better than no points in accuracy on random textures: +4.0 [+3.9, +4.2]",
                "Clicks are better than random points in accuracy on random textures: +5.0",
                "better than no points in the gap between same and random textures: -4.0",
            ],
        ),
        (
            CLICK_WORSE,
            [
                "With clicks the point is farther off than with random points, by 15.0 %",
                "Clicks are worse than no points in accuracy on random textures: -10.0",
                "Clicks are worse than random points in accuracy on random textures: -10.0",
                "worse than no points in the gap between same and random textures: +10.0",
            ],
        ),
        (
            NO_DIFFERENCE,
            [
                "no difference seen in where the point lies",
                "clicks and no points, no difference seen in accuracy on random textures: +0.0",
                "Between clicks and random points, no difference seen in accuracy",
                "no difference seen in the gap between same and random textures",
                "With 3 seeds the interval of click - none reaches 6.6 points",
            ],
        ),
        (NO_SHORTCUT, ["no reliance on the texture was seen (gap +0.0 [-2.5, +2.5])"]),
        (
            ONE_SEED,
            [
                "Without points the network loses 49.0 points on random textures.",
                "the point is nearer than with random points, by 15.0 % of the side",
                "Clicks against no points, accuracy on random textures: +4.0 points.",
                "That is one seed: too few for a verdict",
            ],
        ),
        (
            CLICK_BETTER[:6],
            [
                "Clicks against no points, accuracy on random textures: +4.0 [+3.4, +4.7] points.",
                "That is 2 seeds: too few for a verdict",
            ],
        ),
    ],
    ids=["better", "worse", "no difference", "no shortcut", "one seed", "two seeds"],
)
def test_the_words_follow_from_the_numbers(runs: list[Run], sentences: list[str]):
    text = story.paragraph(runs)
    for sentence in sentences:
        assert sentence in text


@pytest.mark.parametrize("runs", [NO_DIFFERENCE, ONE_SEED, CLICK_BETTER[:6], CLICK_WORSE])
def test_nothing_is_called_better_without_the_interval(runs: list[Run]):
    assert "better" not in story.paragraph(runs)


def test_one_seed_of_the_pair_farther_off():
    runs = [made_up("random", 0, 99, 50, 10), made_up("click", 0, 99, 50, 12)]
    runs += [made_up("none", 0, 99, 50, 40)]
    assert "With clicks the point is farther off than with random points, by 2.0 %" in (
        story.paragraph(runs)
    )


def test_table_by_hand():
    lines = story.table(CLICK_BETTER).splitlines()
    rows = {row[0]: row[1:] for row in ([c.strip() for c in x.split("|")[1:-1]] for x in lines)}
    assert rows["arm"] == [
        "seeds", "same", "random", "next", "gap", "point error", "localisation",
    ]  # fmt: skip
    # 50, 55, 60: sd 5, 4.303 * 5 / sqrt(3) = 12.4
    assert rows["none"] == [
        "3", "99.0 ± 0.0", "55.0 ± 12.4", "30.0 ± 0.0", "44.0 ± 12.4", "-", "-",
    ]  # fmt: skip
    assert rows["click"][5] == "10.0 ± 0.0"
    assert rows["click - none"][2] == "+4.0 [+3.9, +4.2]"
    assert rows["click - none"][5:] == ["-", "-"]
    assert rows["click - random"][5] == "-15.0 [-15.0, -15.0]"
    assert len({len(line) for line in lines}) == 1
    assert "±" not in story.table(ONE_SEED) and "[" not in story.table(ONE_SEED)


def test_mechanics_hold_whoever_is_more_accurate():
    for runs in (CLICK_BETTER, NO_SHORTCUT, ONE_SEED):
        assert all(check.holds for check in story.mechanics(runs, num_images=9, mismatches=[]))
    worse_but_pointing = [
        made_up("none", 0, 99, 90, 40),
        made_up("random", 0, 99, 80, 25),
        made_up("click", 0, 99, 10, 9),
    ]
    checks = story.mechanics(worse_but_pointing, num_images=9, mismatches=[])
    assert all(check.holds for check in checks)


def test_each_mechanism_can_fail():
    def failed(runs: list[Run], num_images: int = 9, mismatches: tuple[str, ...] = ()) -> list[str]:
        checks = story.mechanics(runs, num_images=num_images, mismatches=mismatches)
        return [f"{check.name}: {check.found}" for check in checks if not check.holds]

    (truth,) = failed(ONE_SEED, mismatches=("n1_5",))
    assert "truth" in truth and "8 of 9 images, not e.g. n1_5" in truth
    assert len(failed(ONE_SEED, num_images=0)) == 1
    epochs = tuple(reversed(ONE_SEED[1].epochs))
    (loss,) = failed([ONE_SEED[0], replace(ONE_SEED[1], epochs=epochs), ONE_SEED[2]])
    assert "2 of 3 runs, not random-0" in loss
    nan = ({"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": math.nan})
    assert len(failed([replace(ONE_SEED[0], epochs=nan), *ONE_SEED[1:]])) == 1
    (pointing,) = failed(CLICK_WORSE)
    assert "point error 25.0 % against 10.0 %" in pointing
    assert len(failed([made_up("click", 0, 9, 9, math.nan), *ONE_SEED[:2]])) == 1


# The budget


def schedule(
    out: Path, monkeypatch: pytest.MonkeyPatch, *, left_s: float, kept: set[arms.Job] = frozenset()
) -> tuple[arms.Schedule, list[str]]:
    said: list[str] = []
    monkeypatch.setattr(arms, "num_workers", lambda: 2)
    monkeypatch.setattr(arms, "is_finished", lambda out, job: job in kept)
    monkeypatch.setattr(arms, "read_run", lambda folder: made_up(*_job(folder.name), 99, 50, 10))
    deadline = time.monotonic() + left_s
    return arms.Schedule(out, num_seeds=3, deadline=deadline, say=said.append), said


def _job(name: str) -> arms.Job:
    arm, _, seed = name.partition("-")
    return arm, int(seed)  # type: ignore[return-value]


def test_a_seed_begins_when_it_fits(tmp_path, monkeypatch):
    plan, said = schedule(tmp_path, monkeypatch, left_s=1000)
    assert [plan.next_job(n) for n in (0, 1)] == [("none", 0), ("random", 0)]
    plan.finished(("none", 0), 100)
    assert plan.next_job(1) == ("click", 0)
    plan.finished(("random", 0), 100)
    # One still runs and three are missing: two rounds of 100 s.
    assert plan.next_job(1) == ("none", 1)
    assert not plan.is_stopped and len(said) == 2


def test_the_first_seed_runs_whatever_the_budget(tmp_path, monkeypatch):
    plan, said = schedule(tmp_path, monkeypatch, left_s=-5)
    assert [plan.next_job(n) for n in (0, 1)] == [("none", 0), ("random", 0)]
    plan.finished(("none", 0), 1)
    assert plan.next_job(1) == ("click", 0)
    for job in plan.begun[1:]:
        plan.finished(job, 1)
    assert plan.next_job(0) is None
    assert plan.is_stopped
    assert said[-1].startswith("no further seed after 1 of 3: 0 s are left")


def test_a_seed_that_does_not_fit_waits_for_the_pace_to_improve(tmp_path, monkeypatch):
    plan, _ = schedule(tmp_path, monkeypatch, left_s=100)
    jobs = [plan.next_job(n) for n in (0, 1)]
    plan.finished(jobs[0], 60)
    assert plan.next_job(1) == ("click", 0)
    plan.finished(jobs[1], 60)
    assert plan.next_job(1) is None and not plan.is_stopped  # 2 rounds of 60 s > 100 s
    plan.finished(("click", 0), 20)
    assert plan.next_job(0) == ("none", 1)  # 2 rounds of (60 + 20) / 2


def test_finished_runs_are_kept_and_cost_nothing(tmp_path, monkeypatch):
    kept = {(arm, seed) for arm in ARMS for seed in range(3)} - {("click", 2)}
    plan, said = schedule(tmp_path, monkeypatch, left_s=1000, kept=kept)
    assert plan.next_job(0) == ("click", 2)
    assert plan.next_job(1) is None
    assert len(plan.begun) == 9
    assert sum("(kept)" in line for line in said) == 8


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 3))
def test_seconds_needed_is_at_least_the_work_shared(latest, runs, side_by_side):
    need = arms.seconds_needed(latest, runs, side_by_side)
    mean = sum(latest) / len(latest)
    assert need >= mean * runs / side_by_side - 1e-6
    assert need < mean * (runs / side_by_side + 1) + 1e-6
    assert arms.seconds_needed([], runs, side_by_side) == math.inf


# The folder and the steps before training


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(OutputError, match=r"thesis\.tex.*--out"):
        steps.open_folder(tmp_path, TINY, print)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_equal_demo_is_kept_and_another_is_removed_but_for_foreign_files(tmp_path: Path):
    said: list[str] = []
    steps.open_folder(tmp_path, TINY, said.append)
    (tmp_path / "images").mkdir()
    (tmp_path / ".raw.tar.gz.x1").touch()
    (tmp_path / "notes.txt").write_text("mine")
    steps.open_folder(tmp_path, TINY, said.append)
    assert (tmp_path / "images").is_dir() and not said
    with pytest.raises(OutputError, match="demo of other sizes; replace it with --force"):
        steps.open_folder(tmp_path, replace(TINY, epochs=2), said.append)
    assert (tmp_path / "images").is_dir()
    steps.open_folder(tmp_path, replace(TINY, epochs=2), said.append, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.json", "notes.txt"]
    assert "making it again" in said[0]


def test_a_file_where_the_folder_should_be(tmp_path: Path):
    (tmp_path / "demo").touch()
    with pytest.raises(OutputError, match="cannot be the demo's folder"):
        steps.open_folder(tmp_path / "demo", TINY, print)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo's folder as it is before training."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    steps.open_folder(out, TINY, print)
    steps.make_images(out / "images", TINY)
    steps.simulate(out, TINY)
    steps.convert(out)
    return out


def test_images_and_boxes_read_back(prepared: Path, material):
    from luab_data import read_labelled_images

    for name, num in [("train", 24), ("val_same", 8), ("val_random", 8), ("val_next", 8)]:
        images = read_labelled_images(prepared / "images" / name)
        assert len(images) == num
        assert all(len(image.boxes) == 1 and image.width == 32 for image in images)
    drawn = scenes.scenes(material["train"], num=24, background="usual", seed=TINY.seed, size=32)
    boxes = {scene.image_id: list(scene.box) for scene in drawn}
    read = read_labelled_images(prepared / "images" / "train")
    assert {image.image_id: image.boxes[0].tolist() for image in read} == boxes


def test_finished_steps_are_reused(prepared: Path):
    def times() -> dict[str, int]:
        names = ("images", "raw.tar.gz", "imagenet-ab/manifest.json")
        return {name: (prepared / name).stat().st_mtime_ns for name in names}

    before = times()
    steps.open_folder(prepared, TINY, print)
    steps.make_images(prepared / "images", TINY)
    steps.simulate(prepared, TINY)
    steps.convert(prepared)
    assert times() == before


def test_the_clicks_are_those_of_the_truth_and_a_changed_truth_is_noticed(prepared: Path, tmp_path):
    assert steps.compare_with_truth(prepared) == (24, [])
    with gzip.open(prepared / "truth.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    moved = next(row for row in rows if row["final_click"])
    moved["final_click"]["x"] = float(np.nextafter(moved["final_click"]["x"], 1))
    dropped = next(row for row in rows if row is not moved and row["final_click"])
    dropped["final_click"], dropped["selected"] = None, False
    missing = rows.pop() if rows[-1] not in (moved, dropped) else rows.pop(0)
    (tmp_path / "imagenet-ab").symlink_to(prepared / "imagenet-ab")
    with gzip.open(tmp_path / "truth.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    num, different = steps.compare_with_truth(tmp_path)
    assert num == 23
    assert different == sorted(row["image_id"] for row in (moved, dropped, missing))


def test_the_dataset_is_described(prepared: Path):
    text = steps.describe_dataset(prepared)
    assert text.startswith("24 rows") and "final_click_x: Value('float64')" in text
    assert "n00000004" in text


def test_the_figure_shows_what_there_is(prepared: Path):
    from luab_train.demo.figure import demo_figure, demo_png

    training, test, centre_error = steps.pictures(prepared)
    assert [picture.title for picture in test] == ["test: same", "test: random", "test: next"]
    assert 4 <= len(training) <= 8 and all(picture.click for picture in training)
    assert 5 < centre_error < 45
    figure = demo_figure(training, test, CLICK_BETTER, centre_error)
    accuracy, error = [ax for part in figure.subfigs for ax in part.axes][-2:]
    assert [tick.get_text() for tick in accuracy.get_xticklabels()] == list(TEST_SETS)
    assert [tick.get_text() for tick in error.get_xticklabels()] == ["random", "click"]
    low, high = error.get_ylim()
    assert low == 0 and high > max(25, centre_error)
    for runs in (CLICK_BETTER, ONE_SEED):
        assert demo_png(training, test, runs, centre_error).startswith(b"\x89PNG")


def test_the_test_object_of_the_figure_is_the_same_on_three_backgrounds(prepared: Path):
    _, test, _ = steps.pictures(prepared)
    same, _, following = (picture.pixels for picture in test)
    assert not np.array_equal(same, following)


# Runs on disk


def test_a_damaged_run_counts_as_unfinished(tmp_path: Path):
    folder = arms.run_folder(tmp_path, ("click", 0))
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(to_json(arm_recipe(TINY, arm="click", seed=0)))
    (folder / "model.safetensors").touch()
    lines = [{"event": "epoch", "epoch": 1, "val_accuracy": 0.5, "seconds": 1.0}]
    lines += [{"event": "evaluation", "name": f"val_{b}", "accuracy": 0.5} for b in TEST_SETS]
    metrics = folder / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert arms.is_finished(tmp_path, ("click", 0))
    metrics.write_text(metrics.read_text()[:-5])
    assert not arms.is_finished(tmp_path, ("click", 0))
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    assert not arms.is_finished(tmp_path, ("click", 0))


# The command


def test_command_fails_when_a_mechanism_fails(tmp_path: Path, monkeypatch):
    from luab_train.demo import run

    outcome = run.Outcome(
        runs=tuple(CLICK_WORSE), num_compared=9, mismatches=(), seconds={}, stopped_by_budget=True
    )
    monkeypatch.setattr(run, "run_demo", lambda *args, **kwargs: outcome)
    monkeypatch.setattr(steps, "pictures", lambda out: ([], [], 24.0))
    found = CliRunner().invoke(demo_command, ["--out", str(tmp_path), "--seeds", "5"])
    assert isinstance(found.exception, LuabError)
    assert "a mechanism failed: the click arm points better" in str(found.exception)
    # What it found is there all the same.
    assert "3 of 5 seeds" in found.stdout and "says nothing about ImageNet" in found.stdout
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["differences"]["click - none"]["random"]["verdict"] == "worse"
    assert content["differences"]["click - none"]["point error"]["verdict"] is None
    assert [check["holds"] for check in content["checks"]] == [True, True, False]
    assert (content["seeds_wanted"], content["seeds_run"]) == (5, 3)


def test_help_says_what_decides_the_exit_code():
    found = CliRunner().invoke(demo_command, ["--help"])
    assert found.exit_code == 0
    options = ("--fast", "--out", "--seeds", "--minutes")
    assert all(option in found.stdout for option in options)
    assert "never because of which arm" in " ".join(found.stdout.split())


def test_the_fast_demo_is_smaller_in_everything():
    assert FAST.num_train < FULL.num_train and FAST.num_test < FULL.num_test
    assert FAST.epochs < FULL.epochs


@pytest.mark.slow
def test_the_fast_demo_runs_from_nothing_and_again_from_what_is_there(tmp_path: Path):
    out = tmp_path / "demo"
    found = CliRunner().invoke(demo_command, ["--fast", "--out", str(out)], catch_exceptions=False)
    assert found.exit_code == 0
    assert found.stdout.count("ok     ") == 3 and "1 of 1 seeds" in found.stdout
    first = json.loads((out / "results.json").read_text())
    assert all(check["holds"] for check in first["checks"])
    assert (out / "demo.png").is_file()
    # A run that lost its last steps is finished again; its numbers are the same.
    (out / "runs" / "click-0" / "model.safetensors").unlink()
    again = CliRunner().invoke(demo_command, ["--fast", "--out", str(out)], catch_exceptions=False)
    assert again.exit_code == 0
    assert again.stdout.count("(kept)") == 2
    second = json.loads((out / "results.json").read_text())
    assert second["arms"] == first["arms"]
