"""`luab-train eval --benchmarks` as people run it, on miniatures and a run of the trainer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from click.testing import CliRunner
from coco_scenes import make_coco
from miniatures.everything import make_everything
from miniatures.run import make_run
from PIL import Image
from safetensors.torch import save_file

from luab_train.cli import main
from luab_train.evaluate import folder as of_images
from luab_train.evaluate import predictions
from luab_train.evaluate.benchmarks import BENCHMARKS
from luab_train.evaluate.stored import read_rows


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return make_run(folder), make_everything(folder / "benchmarks")


def call(*args, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["eval", *map(str, args)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def copy_of(root: Path, to: Path, *names: str) -> Path:
    for name in names:
        shutil.copytree(root / name, to / name)
    return to


def test_a_process_prints_the_complete_table(world):
    run, root = world
    command = [sys.executable, "-m", "luab_train", "eval", str(run), "--benchmarks", "all"]
    found = subprocess.run(
        [*command, "--root", str(root)],
        capture_output=True, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    head, columns, *lines = found.stdout.splitlines()
    assert head.startswith("run, weights ") and head.endswith("run/evaluation/results.jsonl")
    assert "fed 32 of 32 px, crop, " in head and ", mean 0.485 0.456 0.406, std 0.229 " in head
    assert columns.split()[:2] == ["column", "metric"]
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        benchmark.title for benchmark in BENCHMARKS
    ]
    assert len(lines) == sum(not m.detail for benchmark in BENCHMARKS for m in benchmark.metrics)
    assert "missing" not in found.stdout and found.stderr == ""
    rows = [
        json.loads(line) for line in (run / "evaluation/results.jsonl").read_text().splitlines()
    ]
    assert all(row["status"] == "done" and row["value"] is not None for row in rows)
    # Again, nothing is left to do, and the table is the same.
    before = {p: p.stat().st_mtime_ns for p in run.glob("evaluation/*/*.parquet")}
    assert call(run, "--benchmarks", "all", "--root", root).splitlines()[2:] == lines
    assert {p: p.stat().st_mtime_ns for p in before} == before and len(before) == 119


def test_a_removed_folder_is_missing_in_its_cell_only(world, tmp_path):
    run, root = world
    few = copy_of(root, tmp_path / "few", "imagenet-r", "sketch", "object_size")
    names = "in-r,sketch,si-size"
    before = call(run, "--benchmarks", names, "--root", few, "--out", tmp_path / "a").splitlines()
    shutil.rmtree(few / "sketch")
    after = call(run, "--benchmarks", names, "--root", few, "--out", tmp_path / "b").splitlines()
    assert len(after) == len(before)
    kept = [line.split() for line in before if line.startswith(("IN-R", "SI-size"))]
    assert [line.split() for line in after if line.startswith(("IN-R", "SI-size"))] == kept
    (cell,) = [line for line in after if line.startswith("Sketch")]
    assert cell.endswith(f"missing: put it at {few / 'sketch'}")


def test_a_benchmark_that_fails_ends_no_other(world, tmp_path):
    run, root = world
    few = copy_of(root, tmp_path / "few", "imagenet-r", "sketch", "imagenet")
    for folder in list((few / "sketch").iterdir()):
        for file in folder.iterdir():
            file.rename(few / "sketch" / f"{folder.name}_{file.name}")
        folder.rmdir()
    named = next((few / "imagenet/val").rglob("*.JPEG"))
    named.rename(named.with_name("renamed.JPEG"))
    out = tmp_path / "out"
    said = call(run, "--benchmarks", "all", "--root", few, "--out", out, code=1)
    lines = {line.split()[0]: line for line in said.splitlines() if line[:1].isalpha()}
    assert "found 25 images and no subfolder; expected one subfolder a class" in lines["Sketch"]
    assert "renamed.JPEG: ReaL labels go by the number" in lines["IN-Real"]
    assert "failed" in lines["Sketch"] and "failed" in lines["IN-Real"]
    assert "Error: in-real, sketch failed: " in said
    rows = {row["benchmark"]: row for row in read_rows(out)}
    assert rows["in-1k"]["status"] == rows["in-r"]["status"] == "done"
    assert (rows["sketch"]["status"], rows["sketch"]["value"]) == ("failed", None)
    assert rows["in-a"]["status"] == "missing"


def test_a_wrong_root_takes_no_finished_number_away(world, tmp_path):
    run, root = world
    arguments = [run, "--benchmarks", "sketch,in-r", "--out", tmp_path / "out"]
    call(*arguments, "--root", root)
    before = read_rows(tmp_path / "out")
    (tmp_path / "empty").mkdir()
    said = call(*arguments, "--root", tmp_path / "empty", code=1)
    assert "nothing was measured; sketch: missing: put it at" in said
    assert said.count("missing: put it at") == 3 and "an earlier evaluation stay" in said
    assert read_rows(tmp_path / "out") == before


def test_an_evaluation_that_cannot_be_written_is_printed(world, tmp_path, monkeypatch):
    run, root = world
    out = tmp_path / "out"

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predictions.pq, "write_table", full)
    said = call(run, "--benchmarks", "sketch", "--root", root, "--out", out, code=1)
    monkeypatch.undo()
    done = call(run, "--benchmarks", "sketch", "--root", root, "--out", tmp_path / "b")
    assert [x for x in said.splitlines() if x.startswith("Sketch")] == [
        x for x in done.splitlines() if x.startswith("Sketch")
    ]
    assert "cannot be written (No space left on device)" in said
    monkeypatch.setattr(of_images, "append_metrics", full)
    said = call(run, "--images", root / "imagenet/val", code=1)
    assert "accuracy" in said and "could not be added (No space left" in said


def test_corrupt_images_are_an_error_or_counted(world, tmp_path):
    run, root = world
    few = copy_of(root, tmp_path / "few", "sketch")
    next((few / "sketch").rglob("*.JPEG")).write_bytes(b"\xff\xd8 cut")
    arguments = [run, "--benchmarks", "sketch", "--root", few, "--out", tmp_path / "out"]
    assert "cannot be decoded" in call(*arguments, code=1)
    assert "1 bad images skipped" in call(*arguments, "--on-bad", "skip")
    file = few / "sketch"
    assert "cannot be decoded" in call(run, "--images", file, code=1)
    said = call(run, "--images", file, "--on-bad", "skip", "--precision", "bf16", "--workers", 0)
    assert "unreadable" in said and said.split()[-1] == "1"


def test_a_timm_model_is_evaluated_where_one_says(world, tmp_path, monkeypatch):
    _, root = world
    monkeypatch.chdir(tmp_path)
    benchmarks = ("--benchmarks", "in-v2,bgc-gap", "--root", root)
    assert "--random-weights" in call("test_vit", *benchmarks, code=1)
    said = call("test_vit", *benchmarks, "--random-weights")
    assert said.startswith("test_vit (random weights), weights ")
    assert "stored images resized for this network" in said
    assert (tmp_path / "evaluation/test-vit-random-weights/results.jsonl").exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_result_of_another_precision_is_not_replaced_without_a_word(world, tmp_path):
    run, root = world
    told = "replaces an earlier result"
    arguments = [run, "--benchmarks", "in-v2", "--root", root, "--out", tmp_path / "out"]
    assert told not in call(*arguments) and told not in call(*arguments)
    said = call(*arguments, "--precision", "bf16")
    assert "in-v2: replaces an earlier result in" in said
    assert "precision no, now bf16); to keep both, take another --out" in said


def test_a_folder_of_images_is_evaluated_as_before(world):
    run, root = world
    said = call(run, "--images", root / "imagenet/val", "--name", "v1", "--batch-size", "7")
    assert "localisation_off_centre" in said
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["name"], last["num_images"]) == ("evaluation", "v1", 48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["RUN"],
            "--images is not given; expected --images FOLDER, or --benchmarks all --root DIR",
        ),
        (["RUN", "--benchmarks", "all"], "--root is not given"),
        (["RUN", "--root", "ROOT"], "--benchmarks is not given"),
        (["RUN", "--images", "ROOT", "--root", "ROOT"], "--images and --root do not go together"),
        (["RUN", "--benchmarks", "all", "--root", "ROOT", "--data", "ROOT"], "do not go together"),
        (["RUN", "--benchmarks", "in-2k", "--root", "ROOT"], "unknown benchmark in-2k"),
        (["nope", "--benchmarks", "in-1k", "--root", "ROOT"], "timm has no such model"),
        (["nope", "--images", "ROOT"], "expected the folder of a luab-train run"),
        ([], "no model; expected luab-train eval RUN_OR_MODEL"),
        (["RUN", "--benchmarks", "in-v2", "--root", "ROOT", "--name", "x"], "do not go together"),
        (["RUN", "--images", "ROOT", "--box-convention", "continuous"], "do not go together"),
        (
            ["RUN", "--benchmarks", "in-v2", "--root", "ROOT", "--box-convention", "continuous"],
            "--box-convention is for --benchmarks wsol; leave it out",
        ),
        (
            ["RUN", "--benchmarks", "in-v2,wsol", "--root", "ROOT", "--erase-below", "0.8"],
            "--erase-below is for --benchmarks coco; leave it out",
        ),
        (["RUN", "--images", "ROOT", "--workers", "-1"], "-1 workers; expected 0 or more"),
        (["RUN", "--images", "ROOT", "--batch-size", "0"], "batch size 0; expected at least 1"),
    ],
)
def test_a_call_that_makes_no_sense_says_why(world, arguments, message):
    run, root = world
    known = {"RUN": str(run), "ROOT": str(root)}
    assert message in call(*(known.get(a, a) for a in arguments), code=1)


def test_the_list_names_every_benchmark():
    said = call("--list")
    for benchmark in BENCHMARKS:
        assert f"{benchmark.name} " in said


def test_localisation_is_asked_for_by_name(world, tmp_path):
    run, root = world
    names = sorted((root / "imagenet/val").glob("*/*.JPEG"))[:6]
    wnids = sorted({path.parent.name for path in (root / "imagenet/val").glob("*/*")})
    lines: dict[str, list[str]] = {}
    (tmp_path / "wsol/metadata").mkdir(parents=True)
    for path in names:
        image = f"val/{path.name}"
        (tmp_path / "wsol/images/val").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "wsol/images" / image)
        with Image.open(path) as opened:
            width, height = opened.size
        label = wnids.index(path.parent.name)
        lines.setdefault("image_ids", []).append(image)
        lines.setdefault("class_labels", []).append(f"{image},{label}")
        lines.setdefault("image_sizes", []).append(f"{image},{width},{height}")
        lines.setdefault("localization", []).append(f"{image},0,0,{width},{height}")
    for name, content in lines.items():
        (tmp_path / f"wsol/metadata/{name}.txt").write_text("".join(f"{x}\n" for x in content))
    arguments = [run, "--benchmarks", "wsol,sketch", "--root", tmp_path, "--out", tmp_path / "out"]
    said = call(*arguments)
    assert "missing: put it at" in said  # sketch
    rows = [json.loads(x) for x in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    by_metric = {row["metric"]: row for row in rows if row["benchmark"] == "wsol"}
    # Every box is the whole image, so its centre and every point are in it.
    assert by_metric["centre_in_box"]["value"] == by_metric["point_in_box"]["value"] == 100
    assert by_metric["top1_loc"]["n"] == 6 and by_metric["top1_loc"]["weights"]
    file = tmp_path / "out/wsol/rows.parquet"
    before = file.stat().st_mtime_ns
    assert call(*arguments).splitlines()[1:] == said.splitlines()[1:]
    assert file.stat().st_mtime_ns == before
    call(*arguments, "--box-convention", "continuous")  # another question: done again
    assert file.stat().st_mtime_ns != before
    told = [json.loads(x) for x in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    (row,) = [row for row in told if row["metric"] == "top1_loc"]
    assert "continuous boxes" in row["note"]
    (tmp_path / "wsol/metadata/image_ids.txt").unlink()
    missing = f"missing: put it at {tmp_path / 'wsol/metadata/image_ids.txt'}"
    said = call(*arguments, code=1)
    assert missing in said and "nothing was measured; sketch: missing: put it at" in said


def test_coco_wants_a_model_of_its_classes(world, tmp_path):
    run, root = world
    out = tmp_path / "out"
    said = call(run, "--benchmarks", "in-v2,coco", "--root", root, "--out", out, code=1)
    assert "coco failed: coco: the model has 12 classes (n0" in said
    assert "expected the 80 of COCO, of a run on coco-ab or a file of weights with 80" in said
    told = {row["benchmark"]: (row["status"], row["value"] is None) for row in read_rows(out)}
    assert told == {"in-v2": ("done", False), "coco": ("failed", True)}  # the rest runs


def test_coco_takes_a_file_of_80_outputs(tmp_path):
    coco = make_coco(tmp_path / "made", [[(0, (2, 10, 10, 20)), (1, (20, 12, 30, 24))]] * 2)
    (tmp_path / "coco/annotations").mkdir(parents=True)
    shutil.copytree(coco.images, tmp_path / "coco/val2014")
    shutil.copy(coco.instances, tmp_path / "coco/annotations/instances_val2014.json")
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=80).state_dict(), weights)
    arguments = [weights, "--arch", "test_resnet", "--benchmarks", "coco", "--root", tmp_path]
    said = call(*arguments, "--out", tmp_path / "out", "--workers", "0")
    assert [line.split()[0] for line in said.splitlines() if line.startswith("COCO")] == ["COCO"]
    assert "V worst" in said and "mAP" in said
    both = call(*arguments[:4], "in-v2,coco", *arguments[5:], "--out", tmp_path / "both", code=1)
    assert "in-v2 failed: in-v2: the model has 80 classes (person, bicycle, ...)" in both
    assert [line.split()[0] for line in both.splitlines() if line.startswith("COCO")] == ["COCO"]
    assert (tmp_path / "out/coco/scores.parquet").is_file()
    file = tmp_path / "out/coco/summary.json"
    before = file.stat().st_mtime_ns
    assert call(*arguments, "--out", tmp_path / "out", "--workers", "0") == said
    assert file.stat().st_mtime_ns == before  # nothing is resampled twice
    call(*arguments, "--out", tmp_path / "out", "--erase-below", "0.01")
    assert file.stat().st_mtime_ns != before  # another question
    few = {row["metric"]: row for row in read_rows(tmp_path / "out")}
    assert few["v_worst"]["value"] is None and few["map"]["partial"] == "2 of 40,504 images"
    call(*arguments, "--out", tmp_path / "out", "--erase-dilation", "2")
    rows = [json.loads(x) for x in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    (pixels,) = [row for row in rows if row["metric"] == "mpxap"]
    assert pixels["status"] == "done" and pixels["n"] == 2
    assert "chance" in pixels["note"] and "160 px" in pixels["note"]
