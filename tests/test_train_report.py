from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from train_world import make_world

from luab_data.errors import LuabError, OptionError, OutputError
from luab_data.files import files_in
from luab_train.metrics.intervals import t_interval
from luab_train.metrics.places import learns_place
from luab_train.recipes import find_recipe
from luab_train.report.arms import ARM_WORDS, arms_of
from luab_train.report.draw import ARM_COLOURS
from luab_train.report.figures import plan
from luab_train.report.render import null_for_nan, to_markdown
from luab_train.report.render import to_json as report_json
from luab_train.report.report import make_report, report_command, write_report
from luab_train.report.runs import LAST_EPOCH, Run, read_run
from luab_train.sections import OUTLINES, TARGETS
from luab_train.settings import override, to_json

# 97.5 % quantiles of Student's t, from a printed table: degrees of freedom -> value.
T_TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262}

VALIDATION = {
    "images": 1000, "label_loss": 1.0, "accuracy": 0.5, "boxed": 900, "localisation": 0.8,
    "off_centre": 200, "localisation_off_centre": 0.1, "centre_localisation": 0.8125,
    "point_error": 0.2,
}  # fmt: skip
COCO = {"data.dataset": "coco-ab", "loss.classification": "bce"}
COCO_VALIDATION = {"images": 1000, "label_loss": 0.25, "map": 0.5, "num_classes": 80}


def epoch_line(epoch: int, validation: Mapping[str, float | None] | None) -> dict[str, Any]:
    return {
        "event": "epoch",
        "epoch": epoch,
        "lr": 0.1,
        "seconds": 30.0,
        "train_images": 64,
        "train_points": 0,
        "train_label_loss": 2.0 / epoch,
        "train_point_loss": None,
        "train_loss": 2.0 / epoch,
        **{f"val_{key}": value for key, value in (validation or {}).items()},
    }


def write_run(
    path: Path,
    *,
    target: str = "click",
    seed: int = 0,
    validation: Mapping[str, float | None] | None = VALIDATION,
    evaluations: Mapping[str, Mapping[str, float | None]] = {},
    digest: str = "sha256:ab",
    epochs: int = 2,
    unreadable: int = 0,
    begun: str | None = None,
    **changes: Any,
) -> Path:
    """A finished run's folder, written by hand as the format says, not by our code."""
    path.mkdir(parents=True)
    keys = {"target": target, "seed": seed, "epochs": epochs, "name": "debug:tiny"}
    fixed = {"optim.lr": 0.25, "loss.lambda_reg": 10.0}
    recipe = override(find_recipe("debug:tiny"), {**keys, **fixed, **changes})
    (path / "recipe.json").write_text(to_json(recipe))
    environment: dict[str, Any] = {"dataset": {"digest": digest, "num_train": 64}}
    environment |= {} if begun is None else {"initial_backbone": begun}
    (path / "environment.json").write_text(json.dumps(environment))
    lines = [epoch_line(epoch, validation) for epoch in range(1, epochs + 1)]
    if unreadable:
        lines[0]["train_unreadable"] = unreadable
    lines += [{"event": "evaluation", "name": k, **v} for k, v in evaluations.items()]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "model.safetensors").touch()
    return path


def coco_run_of(path: Path, value: float | None, **options: Any) -> Run:
    return read_run(
        write_run(path, validation={**COCO_VALIDATION, "map": value}, **COCO, **options)
    )


def run_of(path: Path, accuracy: float, **options: Any) -> Run:
    return read_run(write_run(path, validation={**VALIDATION, "accuracy": accuracy}, **options))


@pytest.fixture
def three_arms(tmp_path: Path) -> list[Path]:
    """Nine runs; the accuracy of click minus none is .03, .01 and .05."""
    accuracy = {
        "none": (0.50, 0.52, 0.54),
        "random": (0.49, 0.51, 0.53),
        "click": (0.53, 0.53, 0.59),
    }
    off = {"none": 0.0, "random": 0.01, "click": 0.4}
    return [
        write_run(
            tmp_path / f"{arm}-{seed}",
            target=arm,
            seed=seed,
            validation={**VALIDATION, "accuracy": value, "localisation_off_centre": off[arm]},
        )
        for arm, values in accuracy.items()
        for seed, value in enumerate(values)
    ]


def compare(runs: list[Run], **options: Any) -> dict[str, Any]:
    """The report as JSON."""
    return json.loads(report_json(make_report(runs, **options)))


def markdown(runs: list[Run], **options: Any) -> str:
    return to_markdown(make_report(runs, **options), details=False)


def curves_of(runs: list[Run]) -> Any:
    """The figure of the training curves, as the report draws it; None if it draws none."""
    arms = arms_of(runs)
    planned = [figure for figure in plan(arms, ()) if figure.key == "curves"]
    return planned[0].draw() if planned else None


# The interval


def test_interval_of_three_seeds_by_hand():
    # Mean 2, standard deviation 1: half = 4.303 / sqrt(3).
    found = t_interval([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.high - found.value == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)


@pytest.mark.parametrize("dof", sorted(T_TABLE))
def test_interval_follows_the_printed_table(dof: int):
    # Half of the values at -1, half at +1 (and one 0 if odd) has a known variance.
    n = dof + 1
    values = [-1.0, 1.0] * (n // 2) + [0.0] * (n % 2)
    sd = math.sqrt((n - n % 2) / dof)
    assert t_interval(values).high == pytest.approx(T_TABLE[dof] * sd / math.sqrt(n), rel=1e-3)


def test_one_seed_has_no_interval_and_no_seed_has_no_mean():
    one = t_interval([3.0])
    assert (one.value, one.n) == (3.0, 1)
    assert math.isnan(one.low) and math.isnan(one.high)
    none = t_interval([math.nan])
    assert none.n == 0 and math.isnan(none.value)


@given(
    st.lists(st.integers(-9000, 9000), min_size=2, max_size=8, unique=True),
    st.floats(-100, 100),
    st.randoms(),
)
def test_interval_holds_its_mean_ignores_order_and_moves_with_the_values(values, shift, rng):
    found = t_interval(values)
    assert found.low <= found.value <= found.high
    shuffled = list(values)
    rng.shuffle(shuffled)
    again = t_interval(shuffled)
    assert again.high - again.value == pytest.approx((found.high - found.value), abs=1e-9)
    moved = t_interval([value + shift for value in values])
    assert moved.value == pytest.approx(found.value + shift, abs=1e-6)
    assert moved.high - moved.value == pytest.approx((found.high - found.value), abs=1e-6)


# Reading a run


def test_a_run_is_read_as_it_was_written(tmp_path: Path):
    evaluation = {"num_images": 10, "accuracy": 0.25, "point_error": None}
    run = read_run(write_run(tmp_path / "r", seed=3, evaluations={"v2": evaluation}))
    assert (run.recipe.target, run.recipe.seed, len(run.epochs)) == ("click", 3, 2)
    assert run.minutes == 1.0
    assert list(run.results) == [LAST_EPOCH, "v2"]
    assert run.results[LAST_EPOCH]["num_images"] == 1000
    assert run.results["v2"]["accuracy"] == 0.25
    assert math.isnan(run.results["v2"]["point_error"])
    assert math.isnan(run.epochs[0]["train_point_loss"])


def test_a_later_evaluation_of_the_same_name_replaces_the_earlier_one(tmp_path: Path):
    path = write_run(tmp_path / "r", evaluations={"v2": {"accuracy": 0.25}})
    with open(path / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"event": "evaluation", "name": "v2", "accuracy": 0.75}) + "\n")
    assert read_run(path).results["v2"]["accuracy"] == 0.75


def test_a_run_without_validation_has_no_last_epoch_result(tmp_path: Path):
    assert read_run(write_run(tmp_path / "r", validation=None)).results == {}


@pytest.mark.parametrize("name", ["recipe.json", "metrics.jsonl", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused_by_name(tmp_path: Path, name: str):
    path = write_run(tmp_path / "r")
    (path / name).unlink()
    with pytest.raises(OptionError, match=name) as error:
        read_run(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3: not JSON"),
        ("[]", "line 3: found list"),
        ('{"event": "party"}', "line 3: found event 'party'"),
        ('{"event": "epoch", "epoch": "two"}', "line 3: found event 'epoch'"),
        ('{"event": "epoch", "epoch": 7}', "found 3 epochs, expected 1 to 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str):
    path = write_run(tmp_path / "r")
    with open(path / "metrics.jsonl", "a") as file:
        file.write(line + "\n")
    with pytest.raises(OptionError, match=message):
        read_run(path)


def test_metrics_that_are_no_text_are_refused(tmp_path: Path):
    path = write_run(tmp_path / "r")
    (path / "metrics.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OptionError, match="cannot be read"):
        read_run(path)


# Which runs may be compared


def test_the_same_arm_and_seed_twice_is_refused(tmp_path: Path):
    runs = [read_run(write_run(tmp_path / name)) for name in "ab"]
    with pytest.raises(OptionError, match="both arm 'click' with seed 0") as error:
        compare(runs)
    assert str(tmp_path / "a") in str(error.value) and str(tmp_path / "b") in str(error.value)
    with pytest.raises(OptionError):
        compare(runs, allow_different=True)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"optim.lr": 0.5}, "optim.lr: 0.25 / 0.5"),
        ({"epochs": 3}, "epochs: 2 / 3"),
        ({"loss.lambda_reg": 1.0}, "loss.lambda_reg: 10.0 / 1.0"),
        ({"digest": "sha256:cd"}, "dataset digest: sha256:ab / sha256:cd"),
        ({"validation": {**VALIDATION, "images": 999}}, "num_images of last epoch: 1000 / 999"),
    ],
)
def test_any_other_difference_is_refused_unless_allowed(tmp_path: Path, changes: Any, key: str):
    runs = [
        read_run(write_run(tmp_path / "a", target="none")),
        read_run(write_run(tmp_path / "b", target="click", **changes)),
    ]
    with pytest.raises(OptionError, match="--allow-different") as error:
        compare(runs)
    assert key in str(error.value)
    different = compare(runs, allow_different=True)["different"]
    assert key in [f"{name}: {' / '.join(values)}" for name, values in different.items()]
    name, values = key.split(": ", 1)
    assert f"`{name}`: {values}" in markdown(runs, allow_different=True)


def test_what_changes_no_number_may_differ(tmp_path: Path):
    runs = [
        read_run(write_run(tmp_path / "a", target="none")),
        read_run(write_run(tmp_path / "b", **{"data.num_workers": 4, "data.cache": "none"})),
    ]
    assert compare(runs)["different"] == {}


def test_no_runs_is_refused():
    with pytest.raises(OptionError, match="no runs"):
        compare([])


# Comparing


def test_differences_are_paired_by_seed(three_arms: list[Path]):
    report = compare([read_run(path) for path in reversed(three_arms)])
    assert [arm["name"] for arm in report["arms"]] == ["none", "random", "click"]
    assert all(arm["seeds"] == [0, 1, 2] for arm in report["arms"])
    assert [(d["arm"], d["versus"]) for d in report["differences"]] == [
        ("random", "none"),
        ("click", "none"),
        ("click", "random"),
    ]
    click_none = report["differences"][1]
    assert click_none["values"][LAST_EPOCH]["accuracy"] == pytest.approx((0.03, 0.01, 0.05))
    found = click_none["results"][LAST_EPOCH]["accuracy"]
    # Standard deviation .02: unpaired, the seeds' own spread would make it wider.
    assert found["mean"] == pytest.approx(0.03)
    assert found["high"] - found["mean"] == pytest.approx(4.303 * 0.02 / math.sqrt(3), rel=1e-3)
    random_none = report["differences"][0]["results"][LAST_EPOCH]["accuracy"]
    assert random_none["mean"] == pytest.approx(-0.01)
    assert random_none["high"] is random_none["low"] is None
    assert random_none["note"] == "no interval: all seeds give the same"


def test_seeds_that_only_one_arm_has_are_left_out_of_the_pair(tmp_path: Path):
    runs = [
        run_of(tmp_path / "n0", 0.5, target="none", seed=0),
        run_of(tmp_path / "n1", 0.9, target="none", seed=1),
        run_of(tmp_path / "c0", 0.6, target="click", seed=0),
        run_of(tmp_path / "c2", 0.1, target="click", seed=2),
    ]
    (difference,) = compare(runs)["differences"]
    assert difference["seeds"] == [0]
    assert difference["results"][LAST_EPOCH]["accuracy"]["mean"] == pytest.approx(0.1)


def test_arms_without_a_common_seed_are_said_to_be_not_compared(tmp_path: Path):
    runs = [
        run_of(tmp_path / "n", 0.5, target="none", seed=0),
        run_of(tmp_path / "c", 0.6, target="click", seed=1),
    ]
    assert compare(runs)["differences"][0]["results"] == {}
    assert "click and none have no seed in common" in markdown(runs)


def test_another_reference(three_arms: list[Path]):
    runs = [read_run(path) for path in three_arms]
    pairs = [(d["arm"], d["versus"]) for d in compare(runs, reference="random")["differences"]]
    assert pairs == [("none", "random"), ("click", "random")]
    absent = compare(runs, reference="oracle")["differences"]
    assert [(d["arm"], d["versus"]) for d in absent] == [
        ("random", "none"), ("click", "none"), ("click", "random"),
    ]  # fmt: skip
    text = markdown(runs, reference="oracle")
    assert "No run has target oracle, so the first, none, takes its place" in text


def test_several_recipes_are_named_in_the_arms(tmp_path: Path):
    runs = [read_run(write_run(tmp_path / "a", target="none"))]
    runs += [read_run(write_run(tmp_path / "b", target="click", name="mine"))]
    assert [arm["name"] for arm in compare(runs)["arms"]] == ["debug:tiny none", "mine click"]


# Showing


def cells(markdown: str, first: str) -> list[str]:
    """Cells of the first row of a table that begins with `first`."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    return next(row for row in rows if row[0] == first)


def test_markdown_has_the_numbers(three_arms: list[Path]):
    text = markdown([read_run(path) for path in three_arms])
    assert cells(text, "click") == [
        "click", "3 (0 1 2)", "55.0 ± 8.6", "80.0", "40.0", "20.0", "1.000", "1.0",
    ]  # fmt: skip
    # 4.303 * .0346 / sqrt(3) = .086
    assert cells(text, "")[2:5] == [
        "accuracy (n = 1,000) ↑", "localisation (n = 900) ↑", "off-centre (n = 200) ↑",
    ]  # fmt: skip
    assert cells(text, "*always the centre*")[3:5] == ["81.2", "0.0"]
    assert cells(text, "click − none")[2] == "+3.0 [−2.0, +8.0]"
    assert cells(text, "click − random")[4] == "+39.0"
    assert len({len(line) for line in text.splitlines() if line.startswith("| ")}) == 1


def test_the_untrained_head_of_the_arm_without_points_has_no_numbers(three_arms: list[Path]):
    runs = [read_run(path) for path in three_arms]
    text = markdown(runs)
    assert cells(text, "none")[2:6] == ["52.0 ± 5.0", "–", "–", "–"]
    assert cells(text, "click − none")[3:6] == ["–", "–", "–"]
    assert "Heads of none learned no place" in text
    content = compare(runs)
    assert content["runs"][0]["results"][LAST_EPOCH]["localisation"] is None
    assert content["runs"][0]["results"][LAST_EPOCH]["accuracy"] == 0.5
    # What was recorded stays readable.
    assert runs[0].results[LAST_EPOCH]["localisation"] == 0.8


ATTENTION = {"model.point_head": "attention"}
POOLING = {**ATTENTION, "model.attentive_pooling": True}


@pytest.mark.parametrize(
    ("changes", "learns"),
    [
        ({"target": "none"}, False),
        ({"target": "dwell_time"}, False),
        ({"target": "click", "loss.lambda_reg": 0.0}, False),
        ({"target": "none", **ATTENTION}, False),
        ({"target": "none", **POOLING}, True),  # the labels train the map
        ({"target": "trace", **ATTENTION}, True),
        *(({"target": t}, True) for t in ("random", "first_click", "hull_centre", "calibrated")),
    ],
)
def test_only_a_head_that_learns_a_place_is_judged_by_it(tmp_path: Path, changes, learns: bool):
    run = read_run(write_run(tmp_path / "r", **changes))
    assert learns_place(run.recipe) is learns
    text = markdown([run])
    dash = [cell == "–" for cell in cells(text, run.recipe.target)[3:6]]
    assert dash == [not learns] * 3
    assert ("learned no place" in text) is not learns


def test_every_target_has_words_a_place_and_a_colour_of_its_own():
    assert set(ARM_WORDS) == set(ARM_COLOURS) == set(TARGETS)
    assert len(set(ARM_COLOURS.values())) == len(TARGETS)


def test_all_arms_are_explained_in_order_and_drawn_inside_the_figure(tmp_path: Path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    outline = {"loss.attention": "rrr", "loss.lambda_reg": 0.0}
    head = {"trace": ATTENTION, "hull": outline, "box": outline}
    runs = [
        read_run(write_run(tmp_path / t, target=t, **head.get(t, {}))) for t in reversed(TARGETS)
    ]
    text = markdown(runs, allow_different=True)
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row in TARGETS] == list(TARGETS)
    assert "`first_click` where annotators clicked first" in text
    figure = curves_of(runs)
    FigureCanvasAgg(figure).draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    _, everything, _ = figure.axes
    labels = [line.get_label() for line in everything.lines]
    # The heads of the others learned no place.
    drawn = [t for t in TARGETS if t not in ("none", "dwell_time", *OUTLINES)]
    assert labels == [*drawn, "image centre"]


def test_one_seed_says_so(tmp_path: Path):
    runs = [
        run_of(tmp_path / "n", 0.5, target="none"),
        run_of(tmp_path / "c", 0.625, target="click"),
    ]
    text = markdown(runs)
    assert cells(text, "click")[1:3] == ["1 (0)", "62.5"]
    assert cells(text, "click − none")[1:3] == ["1 (0)", "+12.5"]
    assert "One seed has no interval over seeds" in text


def test_an_empty_group_is_a_dash_and_null_never_zero(tmp_path: Path):
    nothing = {"boxed": 0, "off_centre": 0}
    for name in ("localisation", "localisation_off_centre", "centre_localisation", "point_error"):
        nothing[name] = None
    run = read_run(write_run(tmp_path / "r", validation={**VALIDATION, **nothing}))
    assert cells(markdown([run]), "click")[3:6] == ["–", "–", "–"]
    content = compare([run])
    assert content["arms"][0]["results"][LAST_EPOCH]["localisation"]["mean"] is None
    assert content["runs"][0]["results"][LAST_EPOCH]["localisation"] is None


def test_evaluations_get_tables_of_their_own(tmp_path: Path):
    v2 = {**VALIDATION, "num_images": 77, "accuracy": 0.375}
    del v2["images"]
    runs = [
        read_run(write_run(tmp_path / arm, target=arm, evaluations={"imagenet_v2": v2}))
        for arm in ("none", "click")
    ]
    text = markdown(runs)
    v2_part = text[text.index("## Evaluated on imagenet_v2") :]
    assert "accuracy (n = 77)" in v2_part
    assert cells(v2_part, "click")[2].startswith("37.5")


def test_an_arm_that_was_not_tested_everywhere_says_so(tmp_path: Path):
    v2 = {"v2": {**VALIDATION, "num_images": 77, "accuracy": 0.375}}
    seeds = [
        read_run(write_run(tmp_path / f"{arm}{seed}", target=arm, seed=seed, evaluations=found))
        for arm in ("none", "click")
        for seed, found in enumerate([v2, v2, {} if arm == "click" else v2])
    ]
    text = markdown(seeds)
    v2_part = text[text.index("## Evaluated on v2") :]
    assert cells(v2_part, "click")[1:3] == ["3 (0 1 2)", "37.5ᵃ"]
    assert cells(v2_part, "click − none")[1:3] == ["3 (0 1 2)", "+0.0ᵃ"]
    assert "- ᵃ 2 of 3 seeds." in v2_part
    assert cells(v2_part, "none")[2] == "37.5"
    assert "ᵃ" not in text[: text.index("## Evaluated on v2")]


# COCO-AB


def test_runs_on_coco_are_compared_by_map(tmp_path: Path):
    runs = [
        coco_run_of(tmp_path / f"{arm}{seed}", 0.5 + gain + 0.1 * seed, target=arm, seed=seed)
        for arm, gain in (("none", 0.0), ("random", -0.125), ("click", 0.25))
        for seed in (0, 1)
    ]
    text = markdown(runs)
    head = ["", "seeds", "mAP (n = 1,000, 80 classes) ↑", "label loss ↓", "minutes"]
    assert cells(text, "") == head
    # Two seeds .1 apart: 12.706 * .0707 / sqrt(2) = .635.
    assert cells(text, "click")[:3] == ["click", "2 (0 1)", "80.0 ± 63.5"]
    assert cells(text, "click − none")[:3] == [
        "click − none",
        "2 (0 1)",
        "+25.0",
    ]
    assert cells(text, "click − random")[2] == "+37.5"
    for word in ("accuracy", "localisation", "centre", "learned no place"):
        assert word not in text
    assert "--benchmarks coco" in text
    content = compare(runs)
    assert content["arms"][0]["results"][LAST_EPOCH]["map"]["mean"] == pytest.approx(0.55)
    assert set(content["arms"][0]["results"][LAST_EPOCH]) == {"map", "label_loss"}


def test_curves_of_coco_are_one_panel_of_map(tmp_path: Path):
    runs = [coco_run_of(tmp_path / arm, 0.25, target=arm) for arm in ("none", "click")]
    figure = curves_of(runs)
    (ax,) = figure.axes
    assert ax.get_title(loc="left") == "validation mAP, %"
    assert [line.get_label() for line in ax.lines] == ["none", "click"]
    assert list(ax.lines[0].get_ydata()) == [25.0, 25.0]


@pytest.mark.parametrize("allow", [False, True])
def test_runs_of_two_datasets_are_refused_by_name(tmp_path: Path, allow: bool):
    runs = [run_of(tmp_path / "a", 0.5), coco_run_of(tmp_path / "b", 0.5, target="none")]
    with pytest.raises(OptionError, match="runs of two datasets") as error:
        compare(runs, allow_different=allow)
    for part in (f"{tmp_path / 'a'} on imagenet-ab", f"{tmp_path / 'b'} on coco-ab"):
        assert part in str(error.value)


def test_runs_of_one_seed_that_began_with_other_weights_are_refused(tmp_path: Path):
    first = [run_of(tmp_path / f"a{s}", 0.5, seed=s, begun=f"of seed {s}") for s in (0, 1)]
    alike = run_of(tmp_path / "b", 0.5, target="none", begun="of seed 0")
    assert compare([*first, alike])["different"] == {}
    other = run_of(tmp_path / "c", 0.5, target="none", begun="of another file")
    with pytest.raises(OptionError, match="weights of seed 0: of seed 0 / of another file"):
        compare([*first, other])


def test_another_number_of_classes_is_another_test_set(tmp_path: Path):
    few = {**COCO_VALIDATION, "num_classes": 3}
    runs = [coco_run_of(tmp_path / "a", 0.5, target="none")]
    runs += [read_run(write_run(tmp_path / "b", validation=few, **COCO))]
    with pytest.raises(OptionError, match="num_classes of last epoch: 80 / 3"):
        compare(runs)


def test_a_run_without_a_number_does_not_vanish_in_the_mean(tmp_path: Path):
    runs = [
        coco_run_of(tmp_path / str(seed), value, seed=seed)
        for seed, value in enumerate((0.25, 0.75, None))
    ]
    text = markdown(runs)
    assert cells(text, "click")[1:3] == ["3 (0 1 2)", "50.0 ± 317.7ᵃ"]
    assert "- ᵃ 2 of 3 seeds." in text
    assert cells(markdown(runs[2:]), "click")[2] == "–"
    assert curves_of(runs[2:]) is None  # nothing empty is drawn


def test_images_left_out_are_counted_in_words(tmp_path: Path):
    val = {**COCO_VALIDATION, "images": 998, "unreadable": 2}
    runs = [
        read_run(write_run(tmp_path / arm, target=arm, validation=val, unreadable=left, **COCO))
        for arm, left in (("none", 0), ("click", 1234))
    ]
    text = markdown(runs)
    why = "because they could not be decoded, most in an epoch"
    assert f"left out of training {why}: click 1,234." in text
    assert f"left out of validation {why}: none 2, click 2." in text
    whole = markdown([coco_run_of(tmp_path / "whole", 0.5)])
    assert "left out" not in whole


@given(
    st.recursive(
        st.none() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_json_never_holds_nan(value):
    json.loads(json.dumps(null_for_nan(value), allow_nan=False))


def test_unwritable_target_is_an_output_error(tmp_path: Path, three_arms: list[Path]):
    runs = [read_run(path) for path in three_arms]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="choose another --out"):
        write_report(make_report(runs), tmp_path / "file" / "report")


# The figure


def test_curves_have_a_line_an_arm_and_the_centre(three_arms: list[Path]):
    figure = curves_of([read_run(path) for path in three_arms])
    accuracy, everything, off_centre = figure.axes
    assert [line.get_label() for line in accuracy.lines] == ["none", "random", "click"]
    # The arm without points has an untrained head: no curve that looks like a result.
    for ax, centre in ((everything, 81.25), (off_centre, 0.0)):
        assert [line.get_label() for line in ax.lines] == ["random", "click", "image centre"]
        assert list(ax.lines[-1].get_ydata()) == [centre, centre]
    click = accuracy.lines[2]
    assert list(click.get_xdata()) == [1, 2]
    assert click.get_ydata()[-1] == pytest.approx(55.0)
    band = accuracy.collections[2].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((53.0, 59.0))
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["none", "random", "click", "image centre"]


def test_the_legend_stays_inside_a_column(three_arms: list[Path], tmp_path: Path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    long_name = "my_package.my_recipes:resnet50_with_clicks"
    others = [write_run(tmp_path / "l", target="click", seed=0, name=long_name)]
    for paths in (three_arms, three_arms[:1] + others):
        figure = curves_of([read_run(path) for path in paths])
        FigureCanvasAgg(figure).draw()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_a_figure_of_one_epoch_shows_points(tmp_path: Path):
    figure = curves_of([read_run(write_run(tmp_path / "r", epochs=2))])
    assert figure.axes[0].lines[0].get_marker() == "None"
    one = write_run(tmp_path / "one", epochs=1, **{"optim.warmup_epochs": 0})
    assert curves_of([read_run(one)]).axes[0].lines[0].get_marker() == "o"


# The command


def test_command_prints_and_writes(three_arms: list[Path], tmp_path: Path):
    out = tmp_path / "out"
    found = CliRunner().invoke(
        report_command, [*map(str, three_arms), "--out", str(out)], catch_exceptions=False
    )
    assert found.exit_code == 0
    assert "+3.0 [−2.0, +8.0]" in found.stdout and "<details>" not in found.stdout
    content = json.loads((out / "report.json").read_text())
    assert len(content["runs"]) == 9
    difference = content["differences"][1]
    assert difference["values"][LAST_EPOCH]["accuracy"] == pytest.approx([0.03, 0.01, 0.05])
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert files_in(out) == [
        *(".luab.json", "curves.png", "report.html", "report.json", "report.md"),
        *("tables.csv", "tables.tex"),
    ]
    command = [*map(str, three_arms), "--out", str(out)]
    assert "is there already, with the same" in CliRunner().invoke(report_command, command).stdout
    other = CliRunner().invoke(report_command, [*command[:3], *command[-2:]])
    assert isinstance(other.exception, OutputError) and "--force" in str(other.exception)
    assert CliRunner().invoke(report_command, [*command[:3], *command[-2:], "--force"]).output


def test_command_without_validation_writes_no_figure(tmp_path: Path):
    path = write_run(tmp_path / "r", validation=None)
    out = tmp_path / "out"
    found = CliRunner().invoke(report_command, [str(path), "--out", str(out)])
    assert found.exit_code == 0
    assert "nothing to compare" in found.stdout
    assert not (out / "curves.png").exists()


def test_command_refuses_an_unfinished_run_and_writes_nothing(tmp_path: Path):
    path = write_run(tmp_path / "r")
    (path / "model.safetensors").unlink()
    out = tmp_path / "out"
    found = CliRunner().invoke(report_command, [str(path), "--out", str(out)])
    assert isinstance(found.exception, LuabError)
    assert "not finished" in str(found.exception)
    assert not out.exists()


@pytest.mark.parametrize(("target", "dash"), [("none", True), ("click", False)])
def test_a_run_ends_with_its_numbers_but_none_of_an_unlearned_point(
    tmp_path: Path, target: str, dash: bool
):
    from luab_train.cli import main

    world = make_world(tmp_path / "world", per_class=2, num_val=2)
    command = ["run", "debug:tiny", "--data", world.data, "--images", world.images]
    command += ["--val", world.val, "--out", tmp_path / "run", "--target", target]
    command += ["--epochs", "1", "--batch-size", "4", "--set", "optim.warmup_epochs=0"]
    command += ["--set", "data.num_workers=0"]
    found = CliRunner().invoke(main, list(map(str, command)), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    head, numbers = (line.split() for line in found.stdout.splitlines()[-2:])
    shown = dict(zip(head, numbers, strict=True))
    assert shown["images"] == "4" and "accuracy" in shown
    for key in ("localisation", "localisation_off_centre", "point_error"):
        assert (shown[key] == "-") is dash


def test_the_module_imports_neither_matplotlib_nor_scipy_nor_torch():
    code = (
        "import sys, luab_train.report.report, luab_train.report.figures; "
        "print([m for m in ('matplotlib', 'scipy', 'torch', 'pandas') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
