"""The training benchmark's arms do the same work, and its tables say what the rows say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from logs import archive, block, xml
from PIL import Image

from luab_train.data.inputs import decode_rgb
from luab_train.sections import Data, Model, Optim

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import table
import train_inputs
import train_loaders
import train_loops
import train_steps
import train_table

CLICK = (0.25, 0.75)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> train_inputs.Inputs:
    """24 images of two classes; every fourth was not selected."""
    root = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(0)
    records = {}
    (root / "shared/data/raw").mkdir(parents=True)
    for wnid in ("n00000001", "n00000002"):
        folder = root / "shared/data/tiny-imagenet/train" / wnid
        folder.mkdir(parents=True)
        for number in range(14):
            name = f"{wnid}_{number}"
            pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}.JPEG")
            selected = number % 4 != 3
            blocks = [block(selected=selected, clicks=[(1000, *CLICK)] if selected else [])]
            records[name] = xml(name, blocks)
    archive(root / "shared/data/raw/imagenet_ab_tiny.tar.gz", records)
    return train_inputs.make_inputs(root / "shared", root / "work", 24)


def setting_of(inputs: train_inputs.Inputs, **data: Any) -> train_loaders.Setting:
    settings: dict[str, Any] = {"image_size": 32, "eval_resize": 32, "missing_images": "skip"}
    recipe = train_loaders.recipe_of(
        model=Model(name="test_resnet"),
        data=Data(**{**settings, **data}),
        optim=Optim(name="momentum", lr=0.01, weight_decay=0.0, warmup_epochs=0.0, precision="no"),
        batch_size=8,
    )
    return train_loaders.open_setting(inputs.thumbs, inputs.xml, inputs.dataset, recipe, 0)


# --- inputs ---------------------------------------------------------------------------------------


def test_inputs_are_the_same_images_in_two_sizes_with_their_xml(inputs: train_inputs.Inputs):
    names = {
        folder: sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.glob("*/*.*"))
        for folder in (inputs.photos, inputs.thumbs, inputs.xml)
    }
    assert names[inputs.photos] == names[inputs.thumbs] == names[inputs.xml]
    assert len(names[inputs.xml]) == 24
    photos = [decode_rgb(path, path.name) for path in sorted(inputs.photos.glob("*/*"))]
    assert {photo.size for photo in photos} == {(500, 375)}
    assert (np.asarray(photos[0]) != np.asarray(photos[1])).any()


def test_absent_inputs_are_named(tmp_path: Path):
    with pytest.raises(train_inputs.NoInput, match="--shared"):
        train_inputs.make_inputs(tmp_path, tmp_path / "work", 4)


# --- loaders --------------------------------------------------------------------------------------


def test_the_notebook_takes_the_mean_of_first_clicks_of_selected_blocks(tmp_path: Path):
    def point(*blocks: dict[str, Any]) -> tuple[float, float] | None:
        path = tmp_path / "a.xml"
        path.write_bytes(xml("n00000001_1", list(blocks)))
        return train_loaders.point_of(path)

    twice = block(clicks=[(1, 0.2, 0.4), (2, 0.9, 0.9)])
    assert point(twice) == (0.2, 0.4)
    assert point(twice, block(clicks=[(1, 0.4, 0.8)])) == pytest.approx((0.3, 0.6))
    assert point(block(selected=False, clicks=[(1, 0.5, 0.5)])) is None
    assert point(block(selected=False, clicks=[]), twice) == (0.2, 0.4)
    assert point() is None


@pytest.mark.parametrize(("flip", "x"), [(0.0, 0.25), (1.0, 0.75)])
def test_all_arms_see_the_whole_image_alike_and_both_points_agree(
    inputs: train_inputs.Inputs, flip: float, x: float
):
    whole: dict[str, Any] = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
    whole |= {"flip": flip, "backend": "pillow"}  # torchvision's own pixels
    setting = setting_of(inputs, **whole)
    found: dict[str, dict[int, Any]] = {}
    for arm in train_loaders.ARMS:
        batch = next(iter(train_loaders.open_loader(arm, setting)()))
        image = batch[0] if arm != "notebook" else (batch[0] * 255).round().to(torch.uint8)
        assert image.shape == (8, 3, 32, 32)
        assert batch[0].dtype == (torch.float32 if arm == "notebook" else torch.uint8)
        found[arm] = {int(pixels.sum()): pixels for pixels in image}
        if arm == "ours":
            has, point = batch.weight_BK[:, 0] > 0, batch.point_BKD[:, 0]
        elif arm == "notebook":
            has, point = batch[3] > 0, batch[2]
        else:
            continue
        assert 0 < int(has.sum()) <= 8
        torch.testing.assert_close(
            point[has].float(), torch.tensor([[x, 0.75]]).expand(int(has.sum()), 2)
        )
    shared = set(found["plain"]) & set(found["ours"])
    assert len(shared) >= 1
    for total in shared:
        assert torch.equal(found["plain"][total], found["ours"][total])


def test_loaders_take_turns_over_as_many_images(inputs: train_inputs.Inputs):
    setting = setting_of(inputs)
    assert train_loaders.check_points(setting) == 18
    found = train_loaders.measure_loaders(setting, rounds=2)
    assert (found["images"], found["turn"]) == (24, "batches")
    assert {len(rates) for rates in found["images_per_s"].values()} == {2 * 24 // 8}
    assert min(min(rates) for rates in found["images_per_s"].values()) > 0
    found = train_loaders.measure_loaders(setting._replace(workers=1), rounds=2)
    assert (found["images"], found["turn"]) == (24, "epochs")
    assert {len(rates) for rates in found["images_per_s"].values()} == {2}


def test_xml_files_without_the_points_of_our_columns_stop_a_comparison(
    inputs: train_inputs.Inputs, tmp_path: Path
):
    setting = setting_of(inputs)
    for path in inputs.xml.glob("*/*.xml"):
        other = tmp_path / path.parent.name / path.name
        other.parent.mkdir(exist_ok=True)
        other.write_bytes(path.read_bytes().replace(b">True<", b">False<"))
    with pytest.raises(train_loaders.Disagreement, match=r"0 images have a point .* 18 in"):
        train_loaders.check_points(setting._replace(xml=tmp_path))


def test_the_profile_gives_the_time_of_an_image_to_stages(inputs: train_inputs.Inputs):
    setting = setting_of(inputs)._replace(images=inputs.photos)
    text, stages = train_loaders.profile_loader("notebook", setting)
    assert text.startswith("notebook: 24 images")
    assert stages["decode"] > 0 and stages["all"] > stages["decode"]
    assert sum(stages.values()) == pytest.approx(2 * stages["all"])


# --- updates and loops ----------------------------------------------------------------------------


def test_both_updates_start_from_the_same_loss_and_take_turns():
    case = train_steps.Case("test_resnet", 4, "momentum", 32)
    found = train_steps.measure_steps(case, 2, "cpu")["seconds"]
    assert {arm: len(values) for arm, values in found.items()} == {
        **{"ours": 2, "plain": 2},
        **{"ours_cpu": 2, "plain_cpu": 2},
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="VmHWM is Linux's")
def test_the_memory_of_an_arm_is_not_that_of_the_process_that_asks():
    held = bytearray(3000 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    assert train_steps.peak_mib() > 3000
    found = train_steps.measure_memory(train_steps.CASES["test_resnet"], "cpu")
    del held
    assert {arm: len(values) for arm, values in found.items()} == {"ours": 1, "plain": 1}
    assert 100 < found["plain"][0] < 3000


# timm leaves the files that it reads open.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_both_loops_train_on_as_many_images(inputs: train_inputs.Inputs, tmp_path: Path):
    found = train_loops.measure_loops(setting_of(inputs), 1, "no", tmp_path)
    assert found["images"] == 24
    assert min(found["images_per_s"]["ours"] + found["images_per_s"]["timm"]) > 0


# --- the tables -----------------------------------------------------------------------------------

FACTS: dict[str, Any] = {
    **{"date": "2026-11-24T00:00:00+00:00", "commit": "abc", "device": "cpu", "threads": 2},
    **{"machine": {"cpu": "C", "cores": 2}, "versions": {"torch": "2"}, "load": 0.5},
}


def loader_row(ours: list[float], plain: list[float], notebook: list[float]) -> dict[str, Any]:
    rates = {"ours": ours, "plain": plain, "notebook": notebook}
    rates |= {f"{arm}_cpu": values for arm, values in rates.items()}
    row = {"part": "loader", "source": "64 x 64 px", "workers": 0, "images": 9, **FACTS}
    return {**row, "images_per_s": rates}


def step_row(ours: list[float], plain: list[float], model: str = "resnet50") -> dict[str, Any]:
    seconds = {"ours": ours, "plain": plain, "ours_cpu": ours, "plain_cpu": plain}
    row = {"part": "step", "model": model, "image_size": 224, "batch_size": 8, **FACTS}
    return {**row, "seconds": seconds}


@pytest.mark.parametrize(
    ("found", "limit", "aim", "larger", "verdict"),
    [
        (0.98, 0.95, 0.98, True, "aim met"),
        (0.96, 0.95, 0.98, True, "met"),
        (0.90, 0.95, 0.98, True, "**missed by 5.3%**"),
        (1.01, 1.02, 1.005, False, "met"),
        (1.071, 1.02, None, False, "**missed by 5.0%**"),
    ],
)
def test_verdicts(found: float, limit: float, aim: float | None, larger: bool, verdict: str):
    assert train_table.verdict([found] * 3, limit=limit, aim=aim, larger=larger) == verdict


def test_a_median_that_noise_could_have_made_is_no_verdict():
    noisy = [0.84, 0.9, 0.92, 0.93, 0.95, 0.97, 1.0, 1.04, 1.08, 1.14]
    assert train_table.verdict(noisy, limit=1.02, aim=1.005, larger=False) == (
        "not resolved (median: aim met)"
    )
    steady = [1.0, 1.001, 1.002, 1.003, 1.3]
    assert train_table.verdict([*steady, *steady[:4]], limit=1.02, aim=None, larger=False) == "met"


def test_the_interval_of_a_median_is_made_of_order_statistics():
    # P(fewer than k of n coins are heads) <= 5 %: k = 1 of 5 (3.1 %), 2 of 10 (1.1 %; 3: 5.5 %).
    assert train_table.interval([5, 1, 2, 3, 4]) == (1, 5)
    assert train_table.interval(list(range(1, 11))) == (2, 9)
    assert train_table.interval([3, 1]) == (1, 3)
    assert train_table.interval([7]) == (7, 7)
    rng = np.random.default_rng(0)
    ends = [train_table.interval(list(row)) for row in rng.normal(size=(400, 25))]
    assert np.mean([low <= 0 <= high for low, high in ends]) > 0.88


def test_ratios_of_loaders_are_taken_pair_by_pair_and_misses_are_named():
    text = train_table.training_text([loader_row([9, 10, 8], [10, 10, 10], [5, 5, 5])])
    assert "| the same without points | 0.900 [0.800, 1.000] | 0.900 [0.800, 1.000] | 3 |" in text
    assert "1.800 [1.600, 2.000]" in text
    misses = text.split("### Missed or not resolved")[1]
    assert (
        "64 x 64 px, 0 workers, the same without points: not resolved (median: missed by 5.3%)"
        in misses
    )
    assert "notebook" not in misses


def test_a_loader_is_judged_against_itself_before_by_cpu_time():
    wall, cpu = {"ours": [9.0], "before": [9.0], "plain": [9.0]}, {"ours_cpu": [18.0]}
    row = loader_row([], [], []) | {"part": "checkouts", "before": "def", "color_jitter": 0.4}
    row["images_per_s"] = {**wall, **cpu, "before_cpu": [10.0], "plain_cpu": [12.0]}
    before, plain = train_table.checkouts_line(row).splitlines()
    assert "64 x 64 px, 0 workers, jitter 0.4 | ours of def | 1.000 [1.000, 1.000]" in before
    assert "| 1.800 [1.800, 1.800] | 1 | 1.70 | met |" in before
    assert "| 1.500 [1.500, 1.500] | 1 | 1.60 | **missed by 6.2%** |" in plain


@pytest.mark.slow
def test_checkouts_take_turns_in_processes_of_their_own(inputs: train_inputs.Inputs):
    case = train_loaders.Case(inputs.thumbs, inputs.xml, inputs.dataset, 0, 0.4, 8)
    found = train_loaders.measure_checkouts(case, 2, train_loaders.ROOT)
    assert found["images"] == 24
    assert {arm: len(rates) for arm, rates in found["images_per_s"].items()} == dict.fromkeys(
        ("before", "before_cpu", "ours", "ours_cpu", "plain", "plain_cpu"), 2
    )


def test_what_a_head_adds_is_told_in_percent_and_small_networks_have_no_target():
    text = train_table.training_text(
        [step_row([1.01, 1.01], [1.0, 1.0]), step_row([3, 3], [1, 1], "test_resnet")]
    )
    assert "| +1.00 % [+1.00, +1.00] |" in text and "| +2 %, +0.5 % | met |" in text
    assert "None of the targets above." in text
    assert "| none |  |" in text


def test_the_last_row_of_a_kind_counts():
    text = train_table.training_text([step_row([2], [1]), step_row([1], [1])])
    assert "+100.00 %" not in text and "| aim met |" in text
    assert train_table.training_text([]) == "Nothing was measured yet.\n"


def test_the_readme_holds_the_latest_results_of_training():
    expected = train_table.training_text(table.read_rows(table.TRAIN_RESULTS))
    text = table.README.read_text()
    assert table.with_results(text, expected, part="training") == text
