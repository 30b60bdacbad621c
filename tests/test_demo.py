"""`luab-train demo`: what it draws and may overwrite, and that its words follow the numbers."""

from __future__ import annotations

import builtins
import gzip
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from luab_data.errors import LuabError, OptionError, OutputError
from luab_train.demo import demo, scenes, verdict
from luab_train.demo.demo import ARMS, FAST, FULL, Sizes, demo_command

pytest.importorskip("sklearn", reason='the demo needs: pip install ".[demo]"')
pytest.importorskip("skimage", reason='the demo needs: pip install ".[demo]"')

TINY = Sizes(num_train=24, num_test=8, epochs=1, batch_size=8)


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
    assert all(r.shape[1] >= 2 * scenes.SIZE for r in regions)


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
        for background in scenes.TEST_SETS
    }
    for same, random, following in zip(*(sets[b] for b in scenes.TEST_SETS), strict=True):
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


# Words: reports as `luab-train report` writes them


def estimate(mean: float | None, half: float, n: int) -> dict[str, Any]:
    bounds = (None, None) if mean is None or n < 2 else (mean - half, mean + half)
    if half == 0:
        bounds = (None, None)
    note = "no interval: all seeds give the same" if bounds[0] is None else ""
    return {"mean": mean, "low": bounds[0], "high": bounds[1], "n": n, "note": note}


def a_report(
    *, click_none: float, click_random: float, pointing: float, half: float = 0.01, n: int = 3
) -> dict[str, Any]:
    """Differences of the click arm as fractions, each +- half; other numbers are made up."""

    def results(accuracy: float, point_error: float | None) -> dict[str, Any]:
        return {
            name: {"accuracy": estimate(value, half, n), "point_error": estimate(point_error, 0, n)}
            for name, value in (("val_same", 0.99), ("last epoch", accuracy), ("val_next", 0.1))
        }

    pairs = {"none": (click_none, None), "random": (click_random, pointing)}
    return {
        "arms": [
            {"name": "none", "results": results(0.55, None)},
            {"name": "random", "results": results(0.5, 0.25)},
            {"name": "click", "results": results(0.5, 0.25 + pointing)},
        ],
        "differences": [
            {
                "arm": "click",
                "versus": versus,
                "results": {
                    "last epoch": {
                        "accuracy": estimate(accuracy, half, n),
                        "point_error": estimate(point, half, n),
                    }
                },
            }
            for versus, (accuracy, point) in pairs.items()
        ],
    }


@pytest.mark.parametrize(
    ("report", "sentences"),
    [
        (
            a_report(click_none=0.04, click_random=0.05, pointing=-0.15),
            [
                "right on 99.0 % of the digits before their class's own texture, and on 55.0 %",
                "are better than random points in pointing at the digit: +15.0 [+14.0, +16.0]",
                "better than random points in accuracy before any texture: +5.0 [+4.0, +6.0]",
                "better than no points in accuracy before any texture: +4.0 [+3.0, +5.0] points",
            ],
        ),
        (
            a_report(click_none=-0.04, click_random=-0.05, pointing=0.15),
            [
                "are worse than random points in pointing at the digit: -15.0 [-16.0, -14.0]",
                "worse than random points in accuracy before any texture: -5.0 [-6.0, -4.0]",
                "worse than no points in accuracy before any texture: -4.0 [-5.0, -3.0]",
            ],
        ),
        (
            a_report(click_none=0.01, click_random=0.0, pointing=-0.005),
            [
                "clicks and random points, no difference seen in pointing at the digit: +0.5",
                # A bound of exactly 0 is no difference seen.
                "Between clicks and no points, no difference seen in accuracy before any texture",
            ],
        ),
        (
            a_report(click_none=0.04, click_random=0.05, pointing=-0.15, n=1),
            ["Clicks against no points, accuracy before any texture: +4.0 points; no verdict"],
        ),
        (a_report(click_none=0.04, click_random=0.05, pointing=-0.15, n=2), ["takes 3 seeds"]),
        (
            a_report(click_none=0.04, click_random=0.05, pointing=-0.15, half=0.0),
            ["texture: +4.0 points; no verdict, no interval: all seeds give the same."],
        ),
    ],
    ids=["better", "worse", "no difference", "one seed", "two seeds", "seeds agree"],
)
def test_the_words_follow_from_the_numbers(report: dict[str, Any], sentences: list[str]):
    text = verdict.verdict(report)
    for sentence in sentences:
        assert sentence in text
    clear = [d for d in report["differences"] if d["results"]["last epoch"]["accuracy"]["n"] > 2]
    assert ("better" in text) == any("better" in sentence for sentence in sentences)
    assert clear or "worse" not in text


def made_up_runs(root: Path, losses: dict[str, tuple[float, float]]) -> list[Path]:
    for name, values in losses.items():
        (root / name).mkdir(parents=True)
        lines = [{"event": "epoch", "train_loss": value} for value in values]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (root / name / "metrics.jsonl").write_text(text)
    return [root / name for name in losses]


def test_each_mechanism_can_fail_and_none_asks_who_is_more_accurate(tmp_path: Path):
    falling = {f"{arm}-0": (2.0, 1.0) for arm in ARMS}
    runs = made_up_runs(tmp_path / "falling", falling)
    stuck = made_up_runs(tmp_path / "stuck", {**falling, "random-0": (1.0, math.nan)})
    pointing = a_report(click_none=-0.4, click_random=-0.3, pointing=-0.15)

    def failed(report: Any = pointing, runs: list[Path] = runs, **options: Any) -> list[str]:
        found = {"num_images": 9, "different": [], **options}
        checks = verdict.mechanics(report, runs, **found)
        return [f"{check.name}: {check.found}" for check in checks if not check.holds]

    assert failed() == []
    (truth,) = failed(different=["n1_5"])
    assert "truth" in truth and "8 of 9 images, not e.g. n1_5" in truth
    assert len(failed(num_images=0)) == 1
    (loss,) = failed(runs=stuck)
    assert "2 of 3 runs, not random-0" in loss
    (points,) = failed(a_report(click_none=0.4, click_random=0.3, pointing=0.0))
    assert "point error 25.0 % against 25.0 %" in points


# The folder and the steps before training


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(OutputError, match=r"thesis\.tex.*--out"):
        demo.open_folder(tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_equal_demo_is_kept_and_another_is_removed_but_for_foreign_files(tmp_path: Path):
    demo.open_folder(tmp_path, TINY)
    (tmp_path / "images").mkdir()
    (tmp_path / "raw.tar.gz.truth.jsonl.gz").touch()
    (tmp_path / "notes.txt").write_text("mine")
    demo.open_folder(tmp_path, TINY)
    assert (tmp_path / "images").is_dir()
    with pytest.raises(OutputError, match="demo of other sizes; replace it with --force"):
        demo.open_folder(tmp_path, replace(TINY, epochs=2))
    assert (tmp_path / "images").is_dir()
    demo.open_folder(tmp_path, replace(TINY, epochs=2), force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.json", "notes.txt"]


def test_a_file_where_the_folder_should_be(tmp_path: Path):
    (tmp_path / "demo").touch()
    with pytest.raises(OutputError, match="cannot be the demo's folder"):
        demo.open_folder(tmp_path / "demo", TINY)
    if Path("/proc/self").exists():
        with pytest.raises(OutputError, match=r"/proc/x: cannot be the demo's folder"):
            demo.open_folder(Path("/proc/x"), TINY)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo's folder as it is before training."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    demo.open_folder(out, TINY)
    demo.make_dataset(out, TINY)
    return out


def test_images_and_boxes_read_back(prepared: Path, material):
    from luab_data import read_labelled_images

    for name, num in [("train", 24), ("val_same", 8), ("val_random", 8), ("val_next", 8)]:
        images = read_labelled_images(prepared / "images" / name)
        assert len(images) == num
        assert all(len(image.boxes) == 1 and image.width == 32 for image in images)
    drawn = scenes.scenes(material["train"], num=24, background="usual", seed=0, size=32)
    boxes = {scene.image_id: list(scene.box) for scene in drawn}
    read = read_labelled_images(prepared / "images" / "train")
    assert {image.image_id: image.boxes[0].tolist() for image in read} == boxes


def test_finished_steps_are_reused(prepared: Path):
    def times() -> dict[str, int]:
        names = ("images", "raw.tar.gz", "imagenet-ab/manifest.json")
        return {name: (prepared / name).stat().st_mtime_ns for name in names}

    before = times()
    demo.make_dataset(prepared, TINY)
    assert times() == before


def test_the_clicks_are_those_of_the_truth_and_a_changed_truth_is_noticed(prepared: Path, tmp_path):
    assert verdict.compare_with_truth(prepared) == (24, [])
    truth = "raw.tar.gz.truth.jsonl.gz"
    with gzip.open(prepared / truth, "rt") as file:
        rows = [json.loads(line) for line in file]
    moved = next(row for row in rows if row["final_click"])
    moved["final_click"]["x"] = float(np.nextafter(moved["final_click"]["x"], 1))
    dropped = next(row for row in rows if row is not moved and row["final_click"])
    dropped["final_click"], dropped["selected"] = None, False
    missing = rows.pop() if rows[-1] not in (moved, dropped) else rows.pop(0)
    (tmp_path / "imagenet-ab").symlink_to(prepared / "imagenet-ab")
    with gzip.open(tmp_path / truth, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    num, different = verdict.compare_with_truth(tmp_path)
    assert num == 23
    assert different == sorted(row["image_id"] for row in (moved, dropped, missing))


# The command


def test_help_says_what_decides_the_exit_code():
    found = CliRunner().invoke(demo_command, ["--help"])
    assert found.exit_code == 0
    assert "never because of which arm" in " ".join(found.stdout.split())


def test_it_fails_when_a_mechanism_fails_and_says_the_rest_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checks = [verdict.Check("one thing", True, "1 of 1"), verdict.Check("another", False, "0 of 1")]
    monkeypatch.setattr(demo, "run_demo", lambda *args, **kwargs: (checks, 3))
    found = CliRunner().invoke(demo_command, ["--out", str(tmp_path), "--seeds", "5"])
    assert isinstance(found.exception, LuabError)
    assert str(found.exception) == "demo: a mechanism failed: another (0 of 1)"
    assert "3 of 5 seeds" in found.stdout and "says nothing about ImageNet" in found.stdout


def test_the_first_seed_runs_whatever_the_budget_and_no_other(tmp_path, monkeypatch, capsys):
    class Now:
        def submit(self, function, *args):
            from concurrent.futures import Future

            future: Future[str] = Future()
            future.set_result("done")
            return future

    monkeypatch.setattr(demo.time, "monotonic", iter(range(0, 1000, 30)).__next__)
    assert demo._train_seeds(Now(), tmp_path, TINY, 5, ends=-5.0) == 1
    assert "no further seed after 1 of 5: 0 s are left" in capsys.readouterr().out
    monkeypatch.setattr(demo.time, "monotonic", iter(range(0, 1000, 30)).__next__)
    # A seed takes 30 s by this clock: the third would end at 150 s.
    assert demo._train_seeds(Now(), tmp_path, TINY, 5, ends=140.0) == 2


def test_the_fast_demo_is_smaller_in_everything():
    assert FAST.num_train < FULL.num_train and FAST.num_test < FULL.num_test
    assert FAST.epochs < FULL.epochs


@pytest.mark.slow
def test_the_fast_demo_runs_from_nothing_and_again_from_what_is_there(tmp_path: Path):
    out = tmp_path / "demo"
    found = CliRunner().invoke(demo_command, ["--fast", "--out", str(out)], catch_exceptions=False)
    assert found.exit_code == 0
    assert found.stdout.count("ok     ") == 3 and "1 of 1 seeds" in found.stdout
    assert Path(found.stdout.splitlines()[-1]).is_file()
    first = json.loads((out / "report" / "report.json").read_text())
    # A run that lost its last steps is finished again; its numbers are the same.
    (out / "runs" / "click-0" / "model.safetensors").unlink()
    again = CliRunner().invoke(demo_command, ["--fast", "--out", str(out)], catch_exceptions=False)
    assert again.exit_code == 0
    second = json.loads((out / "report" / "report.json").read_text())
    results = [[arm["results"] for arm in report["arms"]] for report in (first, second)]
    assert results[0] == results[1]
    for command in re.findall(r"^\$ (.*)", found.stdout, re.MULTILINE):
        assert command.split()[0] in ("luab-data", "luab-train")
