"""luab-train report on evaluated models: tables, paired differences, files, figures, the page."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from coco_scenes import make_coco, model, random_scores
from report_world import (
    WNIDS,
    plain_row,
    write_evaluation,
    write_part,
    write_rows,
    write_si_metadata,
)
from scipy import stats
from test_train_report import write_run

from luab_data.errors import ImagesError, OptionError
from luab_data.figures.style import png
from luab_data.files import files_in
from luab_train.evaluate import stored
from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.predictions import read_predictions, write_predictions
from luab_train.evaluate.run import evaluate_benchmarks
from luab_train.evaluate.settings import Settings
from luab_train.evaluate.wsol.evaluate import wsol_result
from luab_train.metrics.intervals import Estimate, over_seeds, paired_accuracy, t_interval
from luab_train.metrics.ranking import detection_intervals
from luab_train.metrics.robustness import C15, SEVERITIES
from luab_train.metrics.sums import Cell as Cell_
from luab_train.metrics.sums import Table as Table_
from luab_train.metrics.sums import difference, estimates
from luab_train.report import words
from luab_train.report.arms import arms_of
from luab_train.report.draw import draw_bars, draw_differences, looks_of, titled_png
from luab_train.report.factors import (
    curve_by,
    foreground_distance,
    gap_by_distance,
    position_map,
    read_factors,
)
from luab_train.report.figures import severity_curve
from luab_train.report.layouts import (
    BESIDE,
    COCO,
    LAYOUTS,
    MORE,
    ROBUSTNESS,
    Cell,
    Column,
    Table,
    TableRow,
    quoted_rows,
)
from luab_train.report.render import Report, latex, to_csv, to_latex, to_markdown
from luab_train.report.render import escaped as markdown
from luab_train.report.report import make_report, report_files
from luab_train.report.runs import read_run
from luab_train.report.samples import Sample, draw_sample
from luab_train.report.tables import make_tables

IN_1K, GAP = (
    next(c for c in ROBUSTNESS.columns if c.key == key)
    for key in (("in-1k", "accuracy"), ("bgc-gap", "gap"))
)


def run_with(path: Path, rows: list[dict[str, Any]], **recipe: Any) -> Path:
    write_run(path, **recipe)
    write_rows(path / "evaluation", rows)
    return path


def tables_of(*paths: Path, reference: str = "none") -> list[Table]:
    runs = [read_run(p) for p in paths if (p / "recipe.json").exists()]
    folders = [p for p in paths if not (p / "recipe.json").exists()]
    tables = make_tables(arms_of(runs, folders), reference=reference)
    return [t for t in tables if t.key in KEYS]


KEYS = ("robustness", "wsol", "coco", "localisation")


def report_of(*tables: Table) -> Report:
    return Report(title="t", paragraphs=(), tables=tables, figures=(), runs={})


def cell_of(table: Table, row: str, benchmark: str) -> Cell:
    (found,) = [r for r in table.rows if r.name == row]
    return found.cells[[c.benchmark for c in table.columns].index(benchmark)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, and a model that is no run; images of SI-Score's position."""
    folder = tmp_path_factory.mktemp("world")
    names = ("in-1k", "in-a", "in-c", "in-o", "si-loc", "bgc-gap", "bgc-acc", "sketch")
    for target, gain in (("none", 0.0), ("click", 0.1)):
        run = write_run(folder / target, target=target)
        write_evaluation(
            run / "evaluation", names=names, model=target, seed=len(target), gain=gain,
            num_images=200, missing=("sketch",), point=target != "none",
        )  # fmt: skip
    write_evaluation(folder / "other", names=("in-1k",), model="resnet_a&b <x>", num_images=200)
    root = folder / "root"
    si = write_si_metadata(root / "object_location", "location", 441 * 3)
    (si / "foreground_classes.csv").write_text("int,label\n309,bee\n")
    (si / "bee").mkdir()
    (si / "bee" / "0.jpg").touch()
    return folder


# --- the tables ----------------------------------------------------------------------------------


def test_columns_are_the_papers_in_its_order_with_one_arrow_down():
    assert [c.title for c in ROBUSTNESS.columns] == [
        *("IN-1k", "IN-V2", "IN-Real", "IN-A", "IN-C", "IN-O", "Sketch", "IN-R", "Cocc", "ObjNet"),
        *("SI-size", "SI-loc", "SI-rot", "BGC-gap", "BGC-acc"),
    ]
    assert [c.head for c in ROBUSTNESS.columns if c.direction == "down"] == ["BGC-gap ↓"]
    assert [c.head for c in COCO.columns] == [
        *("mAP ↑", "mAP, VOC ↑", "V worst ↓", "V random ↓", "D worst ↓", "D ↓"),
    ]


def test_quoted_numbers_are_marked_and_what_the_sheet_says():
    luab = quoted_rows(ROBUSTNESS)["paper (quoted): R50, LUAB"]
    assert [luab[c.key] for c in ROBUSTNESS.columns] == [
        *("77.5", "65.2", "83.8", "5.1", "44.7", "57.0", "25.7", "38.2", "55.1", "28.5"),
        *("55.6", "33.5", "40.9", "5.6", "27.4"),
    ]
    random = quoted_rows(ROBUSTNESS)["paper (quoted): R50, random points"]
    assert random["in-1k", "accuracy"] == "77.3" and ("in-v2", "accuracy") not in random
    coco = quoted_rows(COCO)
    assert len(coco) == 18
    r50 = [coco[f"paper (quoted): R50, {arm}"] for arm in ("baseline", "random points", "LUAB")]
    assert [n["coco", "map"] for n in r50] == ["73.0", "73.6", "74.2"]
    assert [n["coco", "v_worst"] for n in r50] == ["47.6", "47.3", "47.0"]
    assert [n["coco", "v_random"] for n in r50] == ["25.0", "24.9", "24.5"]
    assert not quoted_rows(BESIDE) and not quoted_rows(MORE)
    printed = [text for layout in LAYOUTS for row in quoted_rows(layout).values() for text in row]
    told = [text for b in BY_NAME.values() for metric in b.quoted.values() for text in metric]
    assert len(printed) == len(told)  # no number of an entry is lost


def test_the_table_has_quoted_rows_then_ours_then_differences(tmp_path: Path):
    a = run_with(tmp_path / "a", [plain_row("in-1k", "accuracy", 70.0)], target="none")
    b = run_with(tmp_path / "b", [plain_row("in-1k", "accuracy", 72.5)], target="click")
    (table,) = tables_of(b, a)
    assert [(row.kind, row.name) for row in table.rows] == [
        ("quoted", "paper (quoted): R50, baseline"),
        ("quoted", "paper (quoted): R50, random points"),
        ("quoted", "paper (quoted): R50, LUAB"),
        ("ours", "none"),
        ("ours", "click"),
        ("difference", "click − none"),
    ]
    ours, difference = cell_of(table, "click", "in-1k"), cell_of(table, "click − none", "in-1k")
    assert (ours.value, ours.low, ours.high, ours.over) == (72.5, 71.5, 73.5, "images")
    assert difference.value == 2.5 and math.isnan(difference.low) and difference.verdict == 0
    assert difference.note.startswith("no interval: predictions were not kept")
    assert cell_of(table, "none", "in-a").status == "missing"
    assert cell_of(table, "click − none", "in-a").status == "missing"


def test_what_the_paper_does_not_have_is_shown_where_it_was_evaluated(tmp_path: Path):
    rows = [plain_row("in-1k", "accuracy", 70.0), plain_row("in-1k-calibration", "nll", 1.23456),
            plain_row("in-c", "mce", 76.0), plain_row("in-x", "pose_error_ratio", 1.5)]  # fmt: skip
    report = make_report([], [write_rows(tmp_path / "x", rows)])
    tables = {table.key: table for table in report.tables}
    assert [*tables] == ["robustness", "beside", "more", "in-x"]
    heads = [[c.head for c in tables[key].columns] for key in ("beside", "more")]
    assert heads == [["IN-C: mCE against AlexNet ↓"], ["IN-1k calibration: log loss, nats ↓"]]
    text = to_markdown(report)
    assert "1.23 [0.23, 2.23]" in text and "1.50 [0.50, 2.50]" in text
    # Every metric of every benchmark has its place.
    shown = {column.key for layout in LAYOUTS for column in layout.columns}
    assert shown >= {(b.name, m.name) for b in BY_NAME.values() for m in b.metrics}


def test_one_run_alone_has_no_differences_and_a_run_that_was_not_evaluated_is_missing(
    tmp_path: Path,
):
    a = run_with(tmp_path / "a", [plain_row("in-1k", "accuracy", 70.0)], target="click")
    (table,) = tables_of(a)
    assert not table.of_kind("difference")
    b = write_run(tmp_path / "b", target="none")
    (table,) = tables_of(a, b)
    assert cell_of(table, "none", "in-1k").status == "missing"
    assert cell_of(table, "click − none", "in-1k").status == "missing"
    assert tables_of(b) == []


def test_three_seeds_are_compared_seed_by_seed_as_scipy_does(tmp_path: Path):
    values = {"none": (70.0, 71.5, 69.0), "click": (72.0, 72.5, 72.25)}
    paths = [
        run_with(tmp_path / f"{t}{seed}", [plain_row("in-1k", "accuracy", v)], target=t, seed=seed)
        for t, of_arm in values.items()
        for seed, v in enumerate(of_arm)
    ]
    (table,) = tables_of(*paths)
    cell = cell_of(table, "click − none", "in-1k")
    test = stats.ttest_rel(values["click"], values["none"])
    ends = test.confidence_interval(0.95)
    assert cell.p_value == pytest.approx(test.pvalue)
    assert (cell.low, cell.high) == pytest.approx((ends.low, ends.high))
    assert (cell.n, cell.over, cell.test) == (3, "seeds", "paired t")
    arm = cell_of(table, "click", "in-1k")
    spread = stats.t.interval(0.95, 2, np.mean(values["click"]), stats.sem(values["click"]))
    assert (arm.low, arm.high) == pytest.approx(spread)
    assert words.short(arm, IN_1K, "ours", table) == "72.2 ± 0.6"


def test_an_arm_says_how_many_of_its_seeds_were_evaluated(tmp_path: Path):
    a = run_with(tmp_path / "a", [plain_row("in-1k", "accuracy", 70.0)], target="click", seed=0)
    b = run_with(tmp_path / "b", [plain_row("in-a", "accuracy", 7.0)], target="click", seed=1)
    (table,) = tables_of(a, b)
    assert cell_of(table, "click", "in-1k").marks == ("1 of 2 seeds",)
    text = to_markdown(report_of(table), details=False)
    assert "70.0ᵃ" in text and "- ᵃ 1 of 2 seeds." in text


def test_why_there_is_no_interval_is_in_every_format(tmp_path: Path):
    flat = plain_row("in-r", "accuracy", 100.0, spread=0.0) | {"interval": "bootstrap"}
    arms = {"none": 5.0, "click": 6.0}
    paths = [
        run_with(tmp_path / f"{name}{s}", [plain_row("in-1k", "accuracy", v)], target=name, seed=s)
        for name, v in arms.items()
        for s in range(3)
    ]
    found = written_as(make_report([*map(read_run, paths)], [write_rows(tmp_path / "x", [flat])]))
    for form, text in found.items():
        assert SEEDS_AGREE in text and IMAGES_AGREE in text, form
    lines = list(csv.DictReader(io.StringIO(found["csv"])))
    told = {
        (line["kind"], line["benchmark"]): line
        for line in lines
        if line["kind"] in ("ours", "difference") and line["value"] in ("5", "1", "100")
    }
    assert told["ours", "in-1k"]["note"] == told["difference", "in-1k"]["note"] == SEEDS_AGREE
    assert told["ours", "in-r"]["note"] == IMAGES_AGREE
    assert all(line["low"] == line["high"] == "" for line in told.values())


def test_two_seeds_have_no_interval_over_seeds(tmp_path: Path):
    rows = [[plain_row("in-1k", "accuracy", v)] for v in (70.0, 72.0)]
    paths = [run_with(tmp_path / f"{k}", r, target="click", seed=k) for k, r in enumerate(rows)]
    (table,) = tables_of(*paths)
    cell = cell_of(table, "click", "in-1k")
    assert cell.value == 71.0 and math.isnan(cell.low)
    assert cell.note == "no interval: of 2 seeds; one over seeds takes 3"


def test_arms_without_a_common_seed_are_not_compared(tmp_path: Path):
    def of(target: str, seeds: tuple[int, ...]) -> list[Path]:
        rows = [plain_row("in-1k", "accuracy", 70.0)]
        return [run_with(tmp_path / f"{target}{s}", rows, target=target, seed=s) for s in seeds]

    (table,) = tables_of(*of("none", (0, 1)), *of("click", (2, 3)))
    cell = cell_of(table, "click − none", "in-1k")
    assert (cell.status, cell.note) == ("none", "no seed in common: not compared")


@pytest.mark.parametrize(("gap", "verdict"), [(4.0, 1), (8.0, -1), (6.0, 0)])
def test_lower_is_better_where_the_arrow_points_down(tmp_path: Path, gap: float, verdict: int):
    noise = (0.0, 0.1, -0.1)
    values = {"none": (6.0, 6.0, 6.0), "click": tuple(gap + e for e in noise)}
    paths = [
        run_with(tmp_path / f"{t}{seed}", [plain_row("bgc-gap", "gap", v)], target=t, seed=seed)
        for t, of_arm in values.items()
        for seed, v in enumerate(of_arm)
    ]
    (table,) = tables_of(*paths)
    cell = cell_of(table, "click − none", "bgc-gap")
    assert cell.value == pytest.approx(gap - 6.0) and cell.verdict == verdict
    text = words.number(gap - 6, GAP, signed=True)
    text = {1: f"**{text}**", -1: f"*{text}*", 0: text}[verdict]
    assert f"| {text} |" in re.sub(" +", " ", to_markdown(report_of(table), details=False))


def test_without_the_reference_target_the_first_model_is_the_reference(tmp_path: Path):
    paths = [
        write_rows(tmp_path / name, [plain_row("in-1k", "accuracy", value)])
        for name, value in (("x", 70.0), ("y", 71.0))
    ]
    (table,) = tables_of(*paths)
    # Both are called what the rows say, so the second is numbered.
    assert [row.name for row in table.of_kind("ours")] == ["tiny", "tiny (2)"]
    assert cell_of(table, "tiny (2) − tiny", "in-1k").value == 1.0


def test_a_folder_of_two_models_is_an_error(tmp_path: Path):
    rows = [plain_row("in-1k", "accuracy", 70.0), plain_row("in-a", "accuracy", 7.0)]
    rows[1]["model"] = "another"
    with pytest.raises(OptionError, match="results of tiny and another; expected one model"):
        tables_of(write_rows(tmp_path / "x", rows))


# --- differences over images ---------------------------------------------------------------------


def write_in_1k(folder: Path, right: np.ndarray, *, order: np.ndarray | None = None) -> Path:
    """Predictions of in-1k that are right where told, and the row that follows."""
    at = np.arange(len(right)) if order is None else order
    ids = [f"{WNIDS[0]}/{k}.JPEG" for k in at]
    top1 = [WNIDS[0] if right[k] else WNIDS[1] for k in at]
    write_part(folder / "in-1k/val.parquet", ids, [WNIDS[0]] * len(ids), top1)
    row = plain_row("in-1k", "accuracy", 100 * float(right[at].mean()), n=len(at))
    return write_rows(folder, [row])


def test_two_models_on_the_same_images_get_mcnemars_test_and_a_bootstrap(tmp_path: Path):
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 300)) < [[0.7], [0.6]]
    first = write_in_1k(tmp_path / "a", a)
    second = write_in_1k(tmp_path / "b", b, order=rng.permutation(300))
    (table,) = tables_of(second, first)
    cell = cell_of(table, "tiny (2) − tiny", "in-1k")
    assert cell.value == pytest.approx(100 * (a.mean() - b.mean()))
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    assert cell.p_value == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)
    difference = 100 * (a.astype(float) - b)
    found = stats.bootstrap((difference,), np.mean, method="percentile", rng=1)
    ends = found.confidence_interval
    assert (cell.low, cell.high) == pytest.approx((ends.low, ends.high), abs=1.0)
    assert (cell.n, cell.over, cell.test) == (300, "images", "McNemar")


def test_images_that_only_one_model_has_do_not_count_and_are_told(tmp_path: Path):
    a, b = np.array([1, 1, 0, 1, 1, 0], bool), np.array([1, 0, 0, 1], bool)
    paths = [write_in_1k(tmp_path / "b", b), write_in_1k(tmp_path / "a", a)]
    (table,) = tables_of(*paths)
    cell = cell_of(table, "tiny (2) − tiny", "in-1k")
    assert cell.value == 25.0 and cell.n == 4
    assert cell.note == "over the 4 images that all have; of 6 the difference is +16.67"


def test_predictions_of_other_weights_are_not_taken_for_these(tmp_path: Path):
    right = np.ones(20, bool)
    a, b = write_in_1k(tmp_path / "a", right), write_in_1k(tmp_path / "b", ~right)
    ids = [f"{WNIDS[0]}/{k}.JPEG" for k in range(20)]
    write_part(b / "in-1k/val.parquet", ids, [WNIDS[0]] * 20, [WNIDS[0]] * 20, weights="older")
    (table,) = tables_of(a, b)
    cell = cell_of(table, "tiny (2) − tiny", "in-1k")
    assert cell.value == -100.0 and cell.note.startswith("no interval")


def test_differences_of_means_over_cells_lie_in_their_intervals_and_are_those_of_the_rows(
    world: Path,
):
    (table,) = tables_of(world / "none", world / "click")
    for name in ("in-1k", "in-a", "in-c", "in-o", "si-loc", "bgc-gap", "bgc-acc"):
        a, b = (cell_of(table, arm, name) for arm in ("click", "none"))
        cell = cell_of(table, "click − none", name)
        assert cell.value == pytest.approx(a.value - b.value), name
        assert cell.low <= cell.value <= cell.high, name
        assert cell.over == "images"
        assert (cell.test == "McNemar") == (name not in ("in-c", "in-o", "bgc-gap"))
    assert cell_of(table, "click − none", "in-1k").verdict == 1
    assert cell_of(table, "none", "sketch").note == "missing: put it at DIR/x"


def test_each_file_of_predictions_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of IN-C 75 an arm here, for three metrics and every pair of arms."""
    asked: list[Path] = []

    def reading(file: Path) -> Any:
        asked.append(file)
        return read_predictions(file)

    monkeypatch.setattr(stored, "read_predictions", reading)
    runs = []
    for target in ("none", "click", "random"):
        run = write_run(tmp_path / target, target=target)
        write_evaluation(run / "evaluation", names=("in-c",), model=target, seed=len(target),
                         num_images=9)  # fmt: skip
        runs.append(read_run(run))
    make_report(runs)
    assert len(asked) == len({*asked}) == 3 * 75


def test_two_seeds_an_arm_are_compared_over_images_by_their_mean(tmp_path: Path):
    rng = np.random.default_rng(0)
    right = rng.random((4, 120)) < 0.5
    paths = []
    for k, (target, seed) in enumerate((t, s) for t in ("none", "click") for s in (0, 1)):
        run = write_run(tmp_path / f"{k}", target=target, seed=seed)
        write_in_1k(run / "evaluation", right[k])
        paths.append(run)
    (table,) = tables_of(*paths)
    cell = cell_of(table, "click − none", "in-1k")
    difference = 100 * (right[2:].mean(axis=0) - right[:2].mean(axis=0))
    assert cell.value == pytest.approx(difference.mean())
    half = 1.98 * difference.std(ddof=1) / math.sqrt(120)
    ends = (cell.value - half, cell.value + half)
    assert (cell.low, cell.high) == pytest.approx(ends, abs=1.0)
    assert math.isnan(cell.p_value)


def test_over_images_is_the_same_where_some_cells_lack_images(world: Path):
    metric = BY_NAME["in-c"].metric("accuracy_c15")
    a, b = (stored.table(world / name / "evaluation", "in-c", "accuracy_c15")
            for name in ("click", "none"))  # fmt: skip
    whole = difference(metric, [a], [b])
    name, cell = next(iter(a.cells.items()))
    cut = Table_({**a.cells, name: Cell_(name, cell.image_id[1:], cell.value[1:])})
    part = difference(metric, [cut], [b])
    assert whole is not None and part is not None
    assert part.value == pytest.approx(whole.value, abs=0.1) and part.value != whole.value
    assert (part.low, part.high) == pytest.approx((whole.low, whole.high), abs=0.5)


SEEDS_AGREE = "no interval: all seeds give the same"
IMAGES_AGREE = "no interval: too few images, or the same in every resample"


@pytest.mark.parametrize(
    ("found", "value", "why"),
    [
        (over_seeds([2.0, 2.0, 2.0], [1.0, 1.0, 1.0]), 1.0, SEEDS_AGREE),
        (over_seeds([0.3, 0.4], [0.2, 0.3]), 0.1, SEEDS_AGREE),  # but for rounding
        (over_seeds([0.3], [0.2]), 0.1, "no interval: of one seed"),
        (t_interval([0.1] * 3), 0.1, SEEDS_AGREE),
        (paired_accuracy(np.ones(9, bool), np.ones(9, bool)), 0, IMAGES_AGREE),
        (paired_accuracy(np.ones(9, bool), np.zeros(9, bool)), 100, IMAGES_AGREE),
        (paired_accuracy(np.ones(1, bool), np.zeros(1, bool)), 100, "no interval: of one image"),
    ],
)
def test_values_that_never_differ_have_no_interval_but_a_reason(found: Any, value: float, why: str):
    assert found.value == pytest.approx(value) and found.why_none == why
    assert math.isnan(found.low) and math.isnan(found.high)
    assert why != SEEDS_AGREE or math.isnan(getattr(found, "p_value", math.nan))


def test_an_interval_that_has_a_width_or_was_never_taken_needs_no_reason():
    assert Estimate(1.0, 0.0, 2.0, 9, "bootstrap").why_none == ""
    assert Estimate(1.0, n=9).why_none == Estimate(math.nan, n=9, method="bootstrap").why_none == ""


def test_a_ranking_and_a_mean_over_cells_that_never_fail_have_no_interval():
    assert [math.isnan(e.low) for e in detection_intervals(np.zeros(5), np.ones(5))] == [True] * 2
    ids = np.array([*"abc"])
    made = Table_({c: Cell_(c, ids, np.ones(3, bool)) for c in "xy"})
    metric = replace(BY_NAME["in-c"].metrics[0], weights={"x": 0.5, "y": 0.5}, measure=list)
    found = estimates([metric], lambda _: made)[metric.name]
    assert math.isnan(found.low) and found.why_none == IMAGES_AGREE


# --- formats -------------------------------------------------------------------------------------

HOSTILE = r"a_b & 50% $x^2$ #1 {~} \input{/etc/passwd} | <script>alert(1)</script> `[x](y)`*b*"


def hostile_tables(tmp_path: Path) -> list[Table]:
    rows = [plain_row("in-1k", "accuracy", 70.0), plain_row("bgc-gap", "gap", None)]
    for row in rows:
        row["model"] = HOSTILE
        row["note"] = "=cmd | </td>"
    return tables_of(write_rows(tmp_path / "x", rows), write_rows(tmp_path / "y", rows))


def test_a_hostile_name_stays_text_in_markdown(tmp_path: Path):
    text = to_markdown(report_of(*hostile_tables(tmp_path)))
    assert "<script" not in text.replace("\\<script", "")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = {
        len(re.split(r"(?<!\\)\|", line)) for line in lines if "IN\\-1k" in line or "70" in line
    }
    assert len(cells) <= 3  # the wide table, and the two long ones
    assert markdown("a|b\nc") == r"a\|b c"


def test_latex_is_balanced_and_has_as_many_cells_in_every_row(tmp_path: Path):
    text = to_latex(report_of(*hostile_tables(tmp_path)))
    assert "\\input" not in text and r"\textbackslash{}input" in text
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 1
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 2
    plain = re.sub(r"\\[\\{}$&#%_]", "", text)
    depth = 0
    for letter in plain:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0 and plain.count("$") % 2 == 0
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 3 + 2 + 1
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {15}
    assert body.count(r"\midrule") == 3
    assert all(character.isascii() for character in text)


def test_latex_escapes_are_what_it_sets():
    assert latex("a_b & 5%") == r"a\_b \& 5\%"
    assert latex("−0.3 ± 1, τ ↓ –") == r"$-$0.3 $\pm$ 1, $\tau$ $\downarrow$ --"
    assert latex("x\x00\n漢") == "x? ?"


def test_csv_has_a_line_a_cell_and_no_formula(tmp_path: Path):
    tables = hostile_tables(tmp_path)
    lines = list(csv.DictReader(io.StringIO(to_csv(tables))))
    assert len(lines) == sum(len(row.cells) for table in tables for row in table.rows)
    quoted = [line for line in lines if line["kind"] == "quoted"]
    assert {line["status"] for line in quoted} == {"quoted", "not printed"}
    ours = [line for line in lines if line["kind"] == "ours" and line["benchmark"] == "in-1k"]
    assert ours[0]["value"] == "70" and ours[0]["note"] == "'=cmd | </td>"
    assert {line["status"] for line in lines if line["benchmark"] == "in-a"} >= {"missing"}


def test_numbers_round_without_a_minus_zero():
    assert words.number(-0.04, IN_1K, signed=True) == "+0.0"
    assert words.number(-0.06, IN_1K, signed=True) == "−0.1"
    assert words.number(math.nan, IN_1K) == "–"
    assert words.number(-0.125, COCO.columns[5], signed=True) == "−0.12"
    assert words.p_value(Cell(status="value", p_value=1e-9, test="McNemar")) == "< 0.001 (McNemar)"


# --- localisation and COCO -----------------------------------------------------------------------


def test_rows_of_localisation_and_coco_fill_their_own_tables(tmp_path: Path):
    rows = [
        plain_row("wsol", "top1_loc", 46.0), plain_row("wsol", "point_in_box", None),
        plain_row("coco", "map", 70.0), plain_row("coco", "difference", -1.25),
    ]  # fmt: skip
    tables = {t.key: t for t in tables_of(write_rows(tmp_path / "x", rows))}
    assert list(tables) == ["wsol", "coco", "localisation"]
    wsol = tables["wsol"].of_kind("ours")[0].cells
    assert [c.status for c in wsol] == ["value", *["missing"] * 4]
    assert tables["localisation"].of_kind("ours")[0].cells[0].status == "none"
    coco = tables["coco"].of_kind("ours")[0].cells
    assert words.short(coco[5], COCO.columns[5], "ours", tables["coco"]) == "−1.25 [−2.25, −0.25]"


def write_wsol(evaluation: Path, iou: np.ndarray, points: list[bool | None]) -> Path:
    """Localisation of images whose class is right: only the overlap decides."""
    n = len(iou)
    rows = pa.table(
        {
            "image_id": [f"{k}.JPEG" for k in range(n)], "label": [1] * n, "predicted": [1] * n,
            "iou": iou, "iou_fixed": iou, "peak_in_box": pa.array([True] * n),
            "point_in_box": pa.array(points, pa.bool_()),
        }
    )  # fmt: skip
    # fmt: off
    metrics = {"map_method": "CAM", "map_size": "7x7", "box_convention": "wsolevaluation",
               "num_images": n, "top1_loc": float((iou >= 0.5).mean()), "top1_loc_tau": 0.1}
    # fmt: on
    about = {"weights": "w", "model": evaluation.name, "metrics": metrics, "counts": {"num_bad": 0}}
    file = evaluation / "wsol" / "rows.parquet"
    write_predictions(file, rows, about)
    result = wsol_result(read_predictions(file), n, "")
    rows = [
        plain_row("wsol", name, e.value if math.isfinite(e.value) else None, n=e.n)
        | {"note": result.notes[name], "low": e.low, "high": e.high}
        for name, e in result.estimates.items()
    ]
    return write_rows(evaluation, [{**r, "model": evaluation.name} for r in rows])


def test_localisation_that_was_kept_is_scored_and_paired_by_image(tmp_path: Path):
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 60))
    first = write_wsol(tmp_path / "a", a, [True] * 60)
    second = write_wsol(tmp_path / "b", b, [None] * 60)
    tables = {t.key: t for t in tables_of(second, first)}
    cell = cell_of(tables["wsol"], "a", "wsol")
    assert cell.value == pytest.approx(100 * (a >= 0.5).mean()) and cell.n == 60
    assert cell.note == "CAM, 7x7 maps, wsolevaluation boxes, τ = 0.1"
    difference = cell_of(tables["wsol"], "a − b", "wsol")
    right, other = a >= 0.5, b >= 0.5
    only = int((right & ~other).sum()), int((~right & other).sum())
    assert difference.p_value == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue)
    # No point was predicted by b: there is no such number, and no comparison.
    assert cell_of(tables["localisation"], "b", "wsol").status == "none"
    assert cell_of(tables["localisation"], "a − b", "wsol").status == "none"


def evaluated_coco(tmp_path: Path, *names: str) -> list[Path]:
    """Folders of models that `eval` evaluated on three images of three of COCO's classes."""
    spots = [[(k, (2 + 9 * k, 4, 9 + 9 * k, 12)) for k in (0, 1, 2)]] * 3
    coco = make_coco(tmp_path / "made", spots)
    (tmp_path / "coco/annotations").mkdir(parents=True)
    shutil.copytree(coco.images, tmp_path / "coco/val2014")
    shutil.copy(coco.instances, tmp_path / "coco/annotations/instances_val2014.json")
    for seed, name in enumerate(names, start=1):
        evaluate_benchmarks(
            model(random_scores(seed), name=name), root=tmp_path, out=tmp_path / name,
            names=["coco"], settings=Settings(num_workers=0, shown=False),
        )  # fmt: skip
    return [tmp_path / name for name in names]


def test_coco_is_compared_from_its_kept_scores(tmp_path: Path):
    first, second = evaluated_coco(tmp_path, "a", "b")
    (table,) = [t for t in tables_of(second, first) if t.key == "coco"]
    a, b, difference = (table.rows[k].cells for k in (-3, -2, -1))
    for k in range(6):
        assert difference[k].value == pytest.approx(b[k].value - a[k].value)
        if k != 1:  # the envelope has no interval
            assert difference[k].over == "images" and difference[k].n == 3
    assert a[1].value >= a[0].value  # nor is the envelope ever below the precision
    assert a[2].value >= a[3].value  # the worst class is never better than a random one
    assert a[0].marks == ("3 of 40,504 images",)


def test_class_by_class_numbers_of_coco_are_in_every_format(tmp_path: Path):
    report = make_report([], evaluated_coco(tmp_path, "a"))
    tables = {table.key: table for table in report.tables}
    classes, pairs = tables["coco-classes-a"], tables["coco-leaning-a"]
    assert [row.name for row in classes.rows] == ["person", "bicycle", "car"]
    assert classes.rows[0].cells[0].value == 100.0  # it is in every image
    assert len(pairs.rows) == 6 and "person on car" in {row.name for row in pairs.rows}
    drop = pairs.rows[0].cells[0]
    assert drop.n == 3 and drop.low <= drop.value <= drop.high
    for form, text in written_as(report).items():
        assert "person on car" in text and "mAP, VOC" in text, form
        if form != "csv":
            told = " ".join(text.split())
            assert "the score of a class when the class itself is removed" in told, form


# --- figures -------------------------------------------------------------------------------------


def axes() -> Any:
    from matplotlib.figure import Figure

    return Figure().subplots()


def test_bars_have_the_values_and_missing_is_written():
    columns = ROBUSTNESS.columns[:2]
    cells = {"a": [Cell(status="value", value=70.0, low=69.0, high=72.0), Cell(status="missing")]}
    looks = looks_of([type("Arm", (), {"name": "a", "target": None})()])
    ax = draw_bars(axes(), columns, cells, looks)
    assert next(bar.get_height() for bar in ax.patches) == 70.0
    assert [t.get_text() for t in ax.texts] == ["missing"]
    ends = [s[:, 1].tolist() for c in ax.collections for s in c.get_segments()]
    assert ends == [[69.0, 72.0]] * 2


def test_words_on_bars_never_run_into_one_another():
    for arms in (2, 4, 7, 12):
        columns = ROBUSTNESS.columns
        names = [f"arm {k}" for k in range(arms)]
        cells = {name: [Cell(status="missing")] * len(columns) for name in names}
        looks = looks_of([type("Arm", (), {"name": n, "target": None})() for n in names])
        ax = axes()
        ax.figure.set_size_inches(6.9, 2.7)
        draw_bars(ax, columns, cells, looks)
        ax.figure.draw_without_rendering()
        boxes = sorted((t.get_window_extent() for t in ax.texts), key=lambda box: box.x0)
        assert len(boxes) == arms * len(columns)
        overlaps = [a.x1 - b.x0 for a, b in itertools.pairwise(boxes)]
        assert max(overlaps) < 1, arms  # px


def test_differences_are_turned_where_lower_is_better_and_full_where_0_is_left_out():
    cells = {
        "x": [Cell(status="value", value=1.0, low=0.5, high=1.5, verdict=1),
              Cell(status="value", value=-2.0, low=-4.0, high=1.0)]
    }  # fmt: skip
    ax = draw_differences(axes(), (IN_1K, GAP), cells, {"x": "#000000"})
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in dots] == [1.0, 2.0]
    assert [line.get_markerfacecolor() for line in dots] == ["#000000", "white"]
    spans = [s[:, 0].tolist() for c in ax.collections for s in c.get_segments()]
    assert spans == [[0.5, 1.5], [-1.0, 4.0]]


def test_severity_curves_are_means_over_corruptions_and_need_all(tmp_path: Path):
    rows = [plain_row("in-c", f"{c}-{s}", 100.0 - 10 * s + k % 2)
            for k, c in enumerate(C15) for s in SEVERITIES]  # fmt: skip
    (arm,) = arms_of([], [write_rows(tmp_path / "x", rows)])
    curve = severity_curve(arm, C15)
    assert curve is not None
    assert curve.mean == pytest.approx([100 - 10 * s + 7 / 15 for s in SEVERITIES])
    assert np.isnan(curve.low).all()
    (arm,) = arms_of([], [write_rows(tmp_path / "y", rows[1:])])
    assert severity_curve(arm, C15) is None and severity_curve(arm, C15[1:]) is not None


def test_si_score_factors_come_from_its_metadata_and_bins_hold_their_upper_edge(tmp_path: Path):
    folder = write_si_metadata(tmp_path / "object_size", "size", 100)
    ids = [f"bee/{k}.jpg" for k in range(100)] + ["bee/unknown.jpg"]
    found = read_factors(folder, ids)
    assert found is not None and found.area[:3].tolist() == [0.01, 0.02, 0.03]
    assert np.isnan(found.area[-1])
    right = np.append(np.arange(100) < 10, False)
    curve = curve_by([found.area], [right], 0.05)
    assert curve.x == pytest.approx(np.arange(0.03, 1, 0.05))
    assert curve.mean.tolist() == [100.0, 100.0, *[0.0] * 18]
    assert (curve.low <= curve.mean).all() and (curve.mean <= curve.high).all()
    assert read_factors(tmp_path, ids) is None
    (folder / "metadata.csv").write_text("image_id,area\n1,2\n")
    with pytest.raises(ImagesError, match="expected lines with image_id, x_coord"):
        read_factors(folder, ids)


def test_the_position_map_has_rows_downwards(tmp_path: Path):
    folder = write_si_metadata(tmp_path / "object_location", "location", 441)
    found = read_factors(folder, [f"bee/{k}.jpg" for k in range(441)])
    assert found is not None
    right = (found.x > 0.99) & (found.y < 0.01)
    hits, n = position_map(found, right)
    assert n.shape == (21, 21) and (n == 1).all()
    assert hits[0, 20] == 1 and hits.sum() == 1


def test_foregrounds_are_as_far_off_as_the_middle_of_their_mask(tmp_path: Path):
    folder = tmp_path / "fg_mask/val/00_dog"
    folder.mkdir(parents=True)
    mask = np.zeros((10, 20), np.uint8)
    mask[0:2, 18:20] = 1  # middle at x .95, y .1
    np.save(folder / "n1_1.npy", mask)
    ids = ["00_dog/n1_1.JPEG", "00_dog/fg_n1_1_bg_n2_5.JPEG", "00_dog/none.JPEG"]
    found = foreground_distance(tmp_path, ids)
    assert found[:2] == pytest.approx([math.hypot(0.45, 0.4)] * 2) and np.isnan(found[2])


def test_the_gap_by_distance_is_taken_in_thirds():
    distance = np.repeat([0.1, 0.2, 0.3], 10)
    same, rand = np.ones(30, bool), np.repeat([True, True, False], 10)
    curve = gap_by_distance([(distance, same, distance, rand)])
    assert curve is not None
    assert curve.mean.tolist() == [0.0, 0.0, 100.0] and curve.x == pytest.approx([0.1, 0.2, 0.3])
    assert gap_by_distance([(distance * 0, same, distance * 0, rand)]) is None


def test_a_sample_shows_its_point_in_px_and_its_answer():
    sample = Sample(
        pixels=np.zeros((10, 40, 3), np.uint8), truth="dog", answer="cat", is_right=False,
        probability=0.5, point=(0.25, 0.5), cam=np.eye(2),
    )  # fmt: skip
    ax = draw_sample(axes(), sample, title="dog")
    (point,) = ax.lines
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (10.0, 5.0)
    assert ax.get_xlabel() == "cat 50 %" and len(ax.images) == 2
    empty = Sample(pixels=None, truth="a", answer="b", is_right=True, probability=1.0)
    assert [t.get_text() for t in draw_sample(axes(), empty).texts] == ["no such file"]


def test_figures_are_planned_by_what_was_kept(world: Path):
    runs = [read_run(world / name) for name in ("none", "click")]
    keys = [figure.key for figure in make_report(runs).figures]
    assert keys == [
        *("curves", "robustness-bars", "robustness-differences"),
        *("in-c-severity", "in-c-corruptions"),
    ]
    with_images = make_report(runs, root=world / "root").figures
    assert [figure.key for figure in with_images] == [*keys, "si-loc"]


def test_nothing_empty_is_drawn_and_captions_say_what_is(tmp_path: Path):
    rows = [plain_row("in-1k", "accuracy", 70.0), plain_row("in-a", "accuracy", None)]
    nothing = [plain_row("wsol", "top1_loc", None), plain_row("coco", "map", None)]
    report = make_report([], [write_rows(tmp_path / "x", rows + nothing)])
    (bars,) = report.figures
    assert bars.key == "robustness-bars"
    assert "Columns without a number are left out" in bars.caption
    for word in ("missing", "Hatched", "seeds"):
        assert word not in bars.caption
    (ax,) = bars.draw().axes
    assert [text.get_text() for text in ax.get_xticklabels()] == ["IN-1k ↑"]
    assert make_report([], [write_rows(tmp_path / "y", nothing)]).figures == ()
    coco = [plain_row(*column.key, 50.0) for column in COCO.columns]
    (bars,) = make_report([], [write_rows(tmp_path / "z", coco)]).figures
    assert "left out" not in bars.caption  # D is in logits, and has its place in the table


def test_a_saved_figure_carries_its_title_above_what_the_page_shows(tmp_path: Path):
    from matplotlib.image import imread

    rows = [plain_row("in-1k", "accuracy", 70.0)]
    (bars,) = make_report([], [write_rows(tmp_path / "x", rows)]).figures
    figure = bars.draw()
    saved = imread(io.BytesIO(titled_png(figure, "What is drawn")))
    plain = imread(io.BytesIO(png(figure)))
    strip = round(0.26 * figure.dpi)
    assert saved.shape == (plain.shape[0] + strip, *plain.shape[1:])
    assert (saved[:strip, :, :3] < 0.5).any() and not (saved[strip:] != plain).any()
    assert not figure.texts


# --- files, the command, the page ----------------------------------------------------------------


@pytest.fixture(scope="module")
def written(world: Path) -> Path:
    """The command, as people run it."""
    out = world / "report"
    command = [
        sys.executable, "-m", "luab_train", "report", *(str(world / n) for n in
        ("none", "click", "other")), "--out", str(out), "--root", str(world / "root"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "## Classification and robustness" in done.stdout
    assert "<details>" not in done.stdout
    return out


def test_the_command_writes_every_format(written: Path):
    files = {str(p.relative_to(written)) for p in written.rglob("*") if p.is_file()}
    assert files >= {
        *("report.md", "report.json", "curves.png", "tables.csv", "tables.tex", "report.html"),
        *("figures/robustness-bars.png", "figures/si-loc.png"),
    }
    assert not [name for name in files if "partial" in name]
    text = (written / "report.md").read_text()
    assert text.startswith("# `debug:tiny`") and "McNemar" in text
    page = (written / "report.html").read_text()
    assert "resnet_a&amp;b &lt;x&gt;" in page and "<x>" not in page
    assert json.loads((written / "report.json").read_text())


def test_a_folder_of_another_model_alone_is_a_report_too(world: Path, tmp_path: Path):
    from click.testing import CliRunner

    from luab_train.report.report import report_command

    done = CliRunner().invoke(report_command, [str(world / "other"), "--out", str(tmp_path / "o")])
    assert done.exit_code == 0, done.output
    assert files_in(tmp_path / "o") == [
        *(".luab.json", "figures/robustness-bars.png", "report.html", "report.json", "report.md"),
        *("tables.csv", "tables.tex"),
    ]
    content = json.loads((tmp_path / "o" / "report.json").read_text())
    assert [table["key"] for table in content["tables"]] == ["robustness", "setup"]


def written_as(report: Report) -> dict[str, str]:
    """Format -> text."""
    files = report_files(report)
    names = ("report.md", "report.html", "tables.tex", "tables.csv", "report.json")
    return {name.split(".")[1]: files[name]().decode() for name in names}


def test_each_format_has_all_tables_and_all_figures(world: Path):
    report = make_report([read_run(world / name) for name in ("none", "click")], [world / "other"])
    found = written_as(report)
    lines = list(csv.DictReader(io.StringIO(found["csv"])))
    assert {line["table"] for line in lines} == {table.key for table in report.tables}
    assert len(lines) == sum(len(row.cells) for table in report.tables for row in table.rows)
    listed = json.loads(found["json"])
    assert [table["key"] for table in listed["tables"]] == [table.key for table in report.tables]
    assert [f["file"] for f in listed["figures"]] == [f.file for f in report.figures]
    keys = {table.key for table in report.tables}
    assert keys >= {"validation-last-epoch", "robustness", "beside", "in-c", "curves-accuracy"}
    for table in report.tables:
        for form in ("md", "html", "tex") if table.form != "curves" else ():
            escape = {"md": markdown, "html": str, "tex": latex}[form]
            assert escape(table.title) in found[form], (table.key, form)
    for figure in report.figures:
        assert f"]({figure.file})" in found["md"] and f"{{{figure.file}}}" in found["tex"]
        assert f'id="figure-{figure.key}"' in found["html"]
    # The page's curves are the numbers of the CSV.
    curve = [
        line for line in lines if line["table"] == "curves-accuracy" and line["row"] == "click"
    ]
    assert [(line["column"], line["value"]) for line in curve] == [
        ("epoch 1", "50"),
        ("epoch 2", "50"),
    ]


def test_part_of_a_set_is_marked_in_every_format_and_never_stands_beside_a_quoted_number_unmarked(
    tmp_path: Path,
):
    few = "1,000 of 50,000 images, 20 of 1,000 classes"
    rows = [
        plain_row("in-1k", "accuracy", 70.0) | {"partial": few},
        plain_row("in-a", "accuracy", 7.0) | {"num_bad": 3},
        plain_row("in-r", "accuracy", 37.0),
        plain_row("in-c", "accuracy_c15", 44.0) | {"partial": "1,000 of 50,000 images"},
    ]  # fmt: skip
    report = make_report([], [write_rows(tmp_path / "x", rows)])
    (table, *_) = report.tables
    assert table.of_kind("quoted") and cell_of(table, "tiny", "in-r").marks == ()
    marks = [
        few, "without 3 images that cannot be read", "1,000 of 50,000 images",
    ]  # fmt: skip
    assert list(table.marks.items()) == list(zip(marks, "ᵃᵇᶜ", strict=True))
    found = written_as(report)
    for text in ("70.0ᵃ", "7.0ᵇ", "44.0ᶜ", f"ᵃ {marks[0]}."):
        assert text in found["md"] and text in found["html"]
    for text in (r"70.0\textsuperscript{a}", rf"\textsuperscript{{c}} {marks[2]}."):
        assert text in found["tex"]
    lines = list(csv.DictReader(io.StringIO(found["csv"])))
    (line,) = [x for x in lines if (x["benchmark"], x["kind"]) == ("in-1k", "ours")]
    assert line["marks"] == marks[0]
    assert all(json.dumps(mark) in found["json"] for mark in marks)
    bars = next(f for f in report.figures if f.key == "robustness-bars")
    assert "Hatched bars are of a part" in bars.caption
    assert [bar.get_hatch() for bar in bars.draw().axes[0].patches] == ["///"] * 3 + [None]


def test_any_number_of_marks_has_a_sign_of_its_own_in_every_format():
    cells = [Cell(status="value", value=1.0, marks=(f"mark {k}",)) for k in range(40)]
    rows = tuple(TableRow(f"row {k}", (cell,)) for k, cell in enumerate(cells))
    table = Table("t", "t", "t", (Column("b", "m", "m"),), rows)
    assert len(set(table.marks.values())) == 40
    assert all(letter.isascii() for letter in map(latex, table.marks.values()))
    assert "1.0(3)" in to_markdown(report_of(table)) and r"1.0\textsuperscript{z}" in to_latex(
        report_of(table)
    )


def test_an_older_evaluation_that_does_not_say_of_how_much_it_is_is_marked(tmp_path: Path):
    row = plain_row("in-1k", "accuracy", 70.0)
    del row["partial"]
    (table,) = tables_of(write_rows(tmp_path / "x", [row]))
    (mark,) = cell_of(table, "tiny", "in-1k").marks
    assert "older evaluation" in mark


def test_a_benchmark_that_failed_says_so_and_why(tmp_path: Path):
    rows = [plain_row("in-1k", "accuracy", 70.0), plain_row("in-a", "accuracy", None)]
    rows[1] |= {"status": "failed", "note": "x.JPEG: no picture"}
    (table,) = tables_of(write_rows(tmp_path / "x", rows))
    cell = cell_of(table, "tiny", "in-a")
    assert (cell.status, cell.note) == ("failed", "x.JPEG: no picture")
    assert "failed" in to_markdown(report_of(table))


def test_how_a_model_was_evaluated_is_shown_and_two_ways_are_told_apart(tmp_path: Path):
    view = {"image_size": 224, "interpolation": "bicubic", "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225], "resize": 256, "fit": "crop"}  # fmt: skip
    rows = [[plain_row("in-1k", "accuracy", 70.0) | view | {"resize": size}]
            for size in (256, 248)]  # fmt: skip
    report = make_report([], [write_rows(tmp_path / str(k), r) for k, r in enumerate(rows)])
    (setup,) = [table for table in report.tables if table.key == "setup"]
    shown = {row.name: [cell.text for cell in row.cells] for row in setup.rows}
    heads = [column.title for column in setup.columns]
    assert heads == [
        "input, px",
        "resized to, px",
        "fit",
        "interpolation",
        "mean",
        "std",
        "weights",
    ]
    assert shown["tiny"][:4] == ["224", "256", "crop", "bicubic"]
    assert shown["tiny"][4:] == ["0.485 0.456 0.406", "0.229 0.224 0.225", "w"]
    assert shown["tiny (2)"][1] == "248"
    for form, text in written_as(report).items():
        assert "0.485 0.456 0.406" in text, form
    (table,) = [table for table in report.tables if table.key == "robustness"]
    assert "The models were not evaluated alike" in " ".join(table.notes)


_BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
_DRIVER = shutil.which("chromedriver")


@pytest.mark.skipif(not (_BROWSER and _DRIVER), reason="no chromium or chromedriver")
def test_the_page_opens_without_a_word_in_the_console_and_asks_for_nothing(
    written: Path, tmp_path: Path
):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(_BROWSER)
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(_DRIVER)))
    try:
        driver.set_window_size(900, 900)
        driver.get((written / "report.html").as_uri())
        assert driver.get_log("browser") == []
        messages = [json.loads(e["message"])["message"] for e in driver.get_log("performance")]
        sent = [m for m in messages if m["method"] == "Network.requestWillBeSent"]
        urls = [m["params"]["request"]["url"] for m in sent]
        assert all(url.startswith(("file:", "data:", "chrome:", "about:")) for url in urls)
        loaded = driver.execute_script(
            "return [...document.images].map((i) => i.complete && i.naturalWidth > 0)"
        )
        assert loaded and all(loaded)
        # The wide table scrolls in its own box, on a phone too.
        assert driver.execute_script("return document.body.scrollWidth <= innerWidth")
        size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert driver.execute_script("return document.documentElement.scrollWidth") == 390
    finally:
        driver.quit()
