"""The suite on miniatures: known answers, rows recomputed from files, resumed and broken runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from miniatures import corruptions, imagenet, network, objectnet, si_score
from miniatures.everything import make_everything
from miniatures.palette import BANANA, CLASSES, COLOUR, JEEP, NINE, TENCH

from luab_data.errors import ImagesError, LuabError, OptionError
from luab_train.data.classes import timm_synsets
from luab_train.evaluate import predictions
from luab_train.evaluate.benchmarks import BENCHMARKS, BY_NAME
from luab_train.evaluate.classes import real_labels
from luab_train.evaluate.predictions import read_predictions
from luab_train.evaluate.run import evaluate_benchmarks
from luab_train.evaluate.settings import Settings
from luab_train.evaluate.stored import parts_of, read_rows
from luab_train.evaluate.table import list_benchmarks, to_table
from luab_train.metrics.robustness import ALEXNET_ERROR, C15, EXTRA, SEVERITIES
from luab_train.metrics.sums import estimates, table_of


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_everything(tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture(scope="module")
def of_oracle(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("oracle")
    return out, evaluate_benchmarks(network.oracle(), root=root, out=out)


@pytest.fixture(scope="module")
def of_constant(root, tmp_path_factory):
    return evaluate_benchmarks(network.constant(), root=root, out=tmp_path_factory.mktemp("c"))


def evaluate(predictor, root, out, *names, **options):
    settings = Settings(**options)
    rows = evaluate_benchmarks(
        predictor, root=root, out=out, names=names or None, settings=settings
    )
    if failed := [row["note"] for row in rows if row["status"] == "failed"]:
        raise LuabError(failed[0])
    return rows


def value(rows, benchmark, metric=None):
    metric = metric or BY_NAME[benchmark].metrics[0].name
    (found,) = [r for r in rows if (r["benchmark"], r["metric"]) == (benchmark, metric)]
    return found["value"]


def nearest(colour, classes) -> str:
    """Slow reference of the reader of colours."""
    return min(classes, key=lambda wnid: sum((colour - COLOUR[wnid]) ** 2))


def corruption_truth(names) -> float:
    cells = [corruptions.survivors(c, s) / corruptions.PER_CLASS for c in names for s in SEVERITIES]
    return 100 * sum(cells) / len(cells)


def test_an_oracle_scores_what_was_drawn(of_oracle):
    _, rows = of_oracle
    for name in ("in-1k", "in-v2", "objectnet", "si-size", "si-rot", "bgc-acc", "in-o"):
        assert value(rows, name) == 100, name
    assert value(rows, "bgc-gap") == 0 and value(rows, "bgc-gap", "accuracy_mixed_rand") == 100
    # One of three drawings shows another class; one grey sketch is of no class.
    assert value(rows, "in-r") == pytest.approx(100 * 2 / 3)
    assert value(rows, "sketch") == pytest.approx(100 * 24 / 25)
    # It reads the middle, where the hole is: grey is nearest to one class of twelve.
    assert value(rows, "cocc") == pytest.approx(100 / 12)
    # Half of the vehicles show the second wnid of their class.
    assert value(rows, "objectnet", "accuracy_first") == pytest.approx(100 * 7 / 9)


def test_real_labels_are_counted_both_ways(of_oracle):
    _, rows = of_oracle
    numbers = [int(i.split("_")[-1][:8]) for i in val_ids(of_oracle)]
    labelled = sum(bool(real_labels()[n - 1]) for n in numbers)
    assert (labelled, len(numbers)) == (36, 48)
    assert value(rows, "in-real") == 100
    assert value(rows, "in-real", "accuracy_all") == 75


def val_ids(of_oracle):
    return pq.read_table(of_oracle[0] / "in-1k/val.parquet")["image_id"].to_pylist()


def test_in_a_is_chosen_among_its_200_classes(of_oracle):
    _, rows = of_oracle
    masked = [wnid for wnid in CLASSES if wnid in timm_synsets("imagenet_a_synsets.txt")]
    assert TENCH not in masked and len(masked) == 11
    colours = {wnid: 0.45 * COLOUR[wnid] + 0.55 * COLOUR[TENCH] for wnid in NINE}
    right = [nearest(colour, masked) == wnid for wnid, colour in colours.items()]
    unmasked = [nearest(colour, CLASSES) == wnid for wnid, colour in colours.items()]
    assert sum(right) > sum(unmasked)
    assert value(rows, "in-a") == pytest.approx(100 * sum(right) / 9)


def test_in_c_is_what_the_corruptions_left(of_oracle):
    _, rows = of_oracle
    assert value(rows, "in-c") == pytest.approx(corruption_truth(C15))
    assert value(rows, "in-c", "accuracy_c19") == pytest.approx(corruption_truth((*C15, *EXTRA)))
    mce = [(100 - corruption_truth([name])) / ALEXNET_ERROR[name] for name in C15]
    assert value(rows, "in-c", "mce") == pytest.approx(sum(mce) / 15)
    assert value(rows, "in-c", "fog") == pytest.approx(corruption_truth(["fog"]))
    for severity in SEVERITIES:
        expected = 100 * corruptions.survivors("snow", severity) / corruptions.PER_CLASS
        assert value(rows, "in-c", f"snow-{severity}") == expected


def test_a_hole_is_grey_after_and_black_before_normalisation(of_oracle):
    grey = 255 * np.array(network.DATA.mean)
    for part, colour in (("after", grey), ("before", np.zeros(3))):
        top1 = set(read_predictions(of_oracle[0] / f"cocc/{part}.parquet").top1.tolist())
        assert top1 == {nearest(colour, CLASSES)}


def test_si_location_follows_from_the_masks(of_oracle, tmp_path):
    masks = si_score.make_si(tmp_path, "location")
    middle = [mask[22:26, 22:26].all() for mask in masks.values()]
    assert 0 < sum(middle) < len(middle)
    assert value(of_oracle[1], "si-loc") == pytest.approx(100 * np.mean(middle))


def test_a_reader_of_backgrounds_is_found_out(root, tmp_path):
    rows = evaluate(network.corner(), root, tmp_path, "bgc-gap", "bgc-acc", "si-rot", "cocc")
    assert value(rows, "bgc-gap") == 100 and value(rows, "bgc-acc") == 0
    assert value(rows, "si-rot") == 0
    assert value(rows, "cocc") == 100 and value(rows, "cocc", "accuracy_before") == 100


def test_a_constant_answer_scores_its_share(of_constant):
    rows = of_constant
    assert value(rows, "bgc-acc") == pytest.approx(11.11, abs=0.005)
    assert value(rows, "bgc-gap") == 0
    assert value(rows, "in-1k") == pytest.approx(100 / 12)
    assert value(rows, "in-a") == value(rows, "in-r") == pytest.approx(100 / 9)
    assert value(rows, "in-c") == 50  # of two classes
    assert value(rows, "in-o") == 50
    assert value(rows, "in-o", "aupr") == pytest.approx(100 * 15 / 35)  # the base rate
    assert value(rows, "si-size") == 0
    errors = [100 * 50 / (100 * ALEXNET_ERROR[name]) for name in C15]
    assert value(rows, "in-c", "mce") == pytest.approx(np.mean(errors))


def test_random_answers_score_chance(root, tmp_path):
    rows = evaluate(network.random(), root, tmp_path, "in-1k", "in-c", "in-o", "bgc-acc")
    (in_c,) = [r for r in rows if r["metric"] == "accuracy_c15"]
    assert in_c["low"] < 100 / 12 < in_c["high"]
    (in_o,) = [r for r in rows if r["metric"] == "auroc"]
    assert in_o["low"] < 50 < in_o["high"]
    assert value(rows, "in-1k") < 30 and value(rows, "bgc-acc") == 0


def test_every_printed_number_follows_from_the_files_alone(of_oracle, root):
    out, rows = of_oracle
    for benchmark in BENCHMARKS:
        files = parts_of(out, benchmark.name)
        assert len(files) == {"in-c": 95, "bgc-acc": 9}.get(benchmark.name, len(files))
        parts = [predictions.read_predictions(file) for file in files.values()]
        found = estimates(benchmark.metrics, lambda measure, p=parts: table_of(measure, p))
        for name, estimate in found.items():
            assert value(rows, benchmark.name, name) == pytest.approx(estimate.value)


def test_predictions_can_be_studied(of_oracle):
    table = pq.read_table(of_oracle[0] / "in-1k/val.parquet")
    first = table.slice(0, 1).to_pylist()[0]
    assert first["label"] == CLASSES[0] == first["top5_class"][0]
    assert first["image_id"].startswith(f"{CLASSES[0]}/ILSVRC2012_val_")
    assert len(first["top5_class"]) == len(first["top5_probability"]) == 5
    probability = np.array(table["top5_probability"].to_pylist())
    assert (np.diff(probability, axis=1) <= 0).all() and (probability.sum(axis=1) < 1.001).all()
    margin = table["margin"].to_numpy()
    assert margin == pytest.approx(probability[:, 0] - probability[:, 1])
    assert table["max_probability"].to_numpy() == pytest.approx(probability[:, 0])
    # The point is (.25, .75) of the crop, which is the middle 32/36 of the shorter side.
    x, y = table["point_x"].to_numpy(), table["point_y"].to_numpy()
    assert ((x > 0.27) & (x < 0.5)).all() and ((y > 0.5) & (y < 0.73)).all()
    assert first["error"] is None


def test_points_of_an_untrained_head_are_null(root, tmp_path):
    evaluate(network.random(), root, tmp_path, "in-v2")
    table = pq.read_table(tmp_path / "in-v2/in-v2.parquet")
    assert table["point_x"].null_count == len(table) == table["point_y"].null_count


def test_rows_say_all_that_a_number_needs(of_oracle):
    out, rows = of_oracle
    assert read_rows(out) == rows
    assert {row["benchmark"] for row in rows} == {b.name for b in BENCHMARKS} and len(
        BENCHMARKS
    ) == 15
    (row,) = [r for r in rows if (r["benchmark"], r["metric"]) == ("in-1k", "accuracy")]
    assert (row["n"], row["status"], row["interval"]) == (48, "done", "wilson")
    assert (row["direction"], row["unit"], row["primary"]) == ("up", "percent", True)
    assert row["low"] < row["value"] <= row["high"] <= 100
    assert row["weights"] == network.oracle().digest and row["model"] == "Reader"
    assert row["dataset"] == ["val"] and row["versions"]["torch"] and row["date"]
    assert (row["num_bad"], row["num_left_out"]) == (0, 0)
    assert (row["num_labels"], row["num_labels_used"]) == (12, 12)
    (gap,) = [r for r in rows if r["metric"] == "gap"]
    assert (gap["direction"], gap["interval"]) == ("down", "newcombe")
    (turned,) = [r for r in rows if (r["benchmark"], r["primary"]) == ("objectnet", True)]
    assert turned["num_turned"] == 1


def test_the_table_has_a_line_for_every_column(of_oracle):
    lines = to_table(of_oracle[1]).splitlines()
    for benchmark in BENCHMARKS:
        arrow = "↓" if benchmark.name == "bgc-gap" else "↑"
        assert any(line.split()[:2] == [benchmark.title, arrow] for line in lines)
    assert not any("fog" in line for line in lines)
    listed = list_benchmarks()
    assert all(dataset.place in listed for b in BENCHMARKS for dataset in b.datasets)


def test_a_missing_dataset_is_missing_and_shortens_nothing(root, tmp_path):
    rows = evaluate(network.oracle(), root, tmp_path, "in-a", "in-r")
    shutil.copytree(root / "imagenet-r", tmp_path / "few/imagenet-r")
    few = evaluate(network.oracle(), tmp_path / "few", tmp_path / "out")
    assert len([row for row in few if row["primary"]]) == 15
    assert value(few, "in-r") == value(rows, "in-r")
    (row,) = [r for r in few if r["benchmark"] == "in-a"]
    assert (row["status"], row["value"], row["n"]) == ("missing", None, 0)
    assert row["note"] == f"missing: put it at {tmp_path / 'few/imagenet-a'}"
    assert f"missing: put it at {tmp_path / 'few/imagenet-c'}" in to_table(few)
    shutil.copytree(root / "imagenet-o", tmp_path / "few/imagenet-o")
    (row,) = evaluate(network.oracle(), tmp_path / "few", tmp_path / "out", "in-o")
    assert row["note"] == f"missing: put it at {tmp_path / 'few/imagenet/val'}"


def test_a_missing_corruption_leaves_its_means_empty(tmp_path):
    names = [name for name in C15 if name != "fog"]
    corruptions.make_c(tmp_path, names=names, grouped=True)
    rows = evaluate(network.oracle(), tmp_path, tmp_path / "out", "in-c")
    by_metric = {row["metric"]: row for row in rows}
    for metric in ("accuracy_c15", "accuracy_c19", "mce"):
        assert by_metric[metric]["value"] is None and by_metric[metric]["status"] == "incomplete"
        assert by_metric[metric]["low"] is None
    note, held = by_metric["accuracy_c15"]["note"].split("; ")
    assert note == "missing 5 of 75 parts: fog-1, fog-2, fog-3, ..."
    assert held == (
        "gaussian_noise-1 holds 4 of 50,000 images of the published set"
        " (short as well: 69 other parts)"
    )
    assert by_metric["accuracy_c19"]["note"].startswith("missing 25 of 95 parts: fog-1, fog-2")
    assert by_metric["snow"]["value"] == pytest.approx(corruption_truth(["snow"]))
    assert "missing 5 of 75 parts" in to_table(rows)


def test_fewer_images_than_published_are_said(of_oracle, root, tmp_path):
    published = {
        "in-1k": "val holds 48 of 50,000", "in-v2": "in-v2 holds 36 of 10,000",
        "in-real": "val holds 48 of 50,000", "in-a": "in-a holds 27 of 7,500",
        "in-c": "gaussian_noise-1 holds 4 of 50,000", "in-o": "out holds 15 of 2,000",
        "sketch": "sketch holds 25 of 50,889", "in-r": "in-r holds 27 of 30,000",
        "cocc": "after holds 48 of 50,000", "objectnet": "objectnet holds 9 of 18,574",
        "si-size": "si-size holds 12 of 92,884", "si-loc": "si-loc holds 27 of 541,548",
        "si-rot": "si-rot holds 18 of 39,540", "bgc-gap": "mixed_same holds 18 of 4,050",
        "bgc-acc": "00_dog holds 2 of 450",
    }  # fmt: skip
    for row in of_oracle[1]:
        if row["primary"]:
            assert published[row["benchmark"]] in row["note"]
    # Of how many: the images of the metric itself, as its n.
    partial = {(r["benchmark"], r["metric"]): (r["n"], r["partial"]) for r in of_oracle[1]}
    assert partial["bgc-acc", "accuracy"] == (18, "18 of 4,050 images")
    assert partial["bgc-gap", "gap"] == (36, "36 of 8,100 images")
    assert partial["bgc-gap", "accuracy_mixed_same"] == (18, "18 of 4,050 images")
    assert partial["in-c", "fog-1"] == (4, "4 of 50,000 images")
    assert partial["in-c", "fog"] == (20, "20 of 250,000 images")
    assert partial["cocc", "accuracy"] == (48, "48 of 50,000 images")
    notes = {r["benchmark"]: r["note"] for r in of_oracle[1] if r["primary"]}
    assert notes["bgc-gap"].endswith(" (short as well: 1 other part)")
    assert notes["bgc-acc"].endswith(" (short as well: 8 other parts)")
    # Images that are there but of classes that the model lacks do not count as lacking.
    (row,) = evaluate(network.oracle(NINE[:2]), root, tmp_path, "in-r")
    assert "in-r holds 27 of 30,000" in row["note"] and row["n"] == 6


def test_a_model_of_few_classes_is_judged_on_those(root, tmp_path):
    classes = (JEEP, *NINE[:3])
    rows = evaluate(network.oracle(classes), root, tmp_path / "out")
    (row,) = [r for r in rows if (r["benchmark"], r["metric"]) == ("in-1k", "accuracy")]
    assert (row["n"], row["num_left_out"], row["value"]) == (16, 32, 100)
    assert (row["num_labels"], row["num_labels_used"]) == (12, 4)
    assert "32 images of classes the model lacks left out" in to_table(rows)
    for name in ("in-v2", "objectnet", "bgc-acc"):
        assert value(rows, name) == 100
    shuffled = evaluate(network.oracle(classes[::-1]), root, tmp_path / "other")
    assert [r["value"] for r in shuffled] == [r["value"] for r in rows]
    (only_r,) = evaluate(network.oracle((TENCH, BANANA)), root, tmp_path / "two", "si-size")
    assert (only_r["status"], only_r["value"]) == ("no class", None)
    assert only_r["note"] == "none of its classes is among the model's"


def test_a_killed_run_goes_on_and_ends_the_same(root, tmp_path, monkeypatch):
    whole = evaluate(network.oracle(), root, tmp_path / "whole", "in-c", "bgc-acc")
    written = []
    write = predictions.write_predictions

    def stop_after_seven(file, table, about):
        if len(written) == 7:
            raise KeyboardInterrupt
        written.append(file)
        write(file, table, about)

    monkeypatch.setattr(predictions, "write_predictions", stop_after_seven)
    with pytest.raises(KeyboardInterrupt):
        evaluate(network.oracle(), root, tmp_path / "out", "in-c", "bgc-acc")
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in written}
    partial = tmp_path / "out/in-c/.fog-1.parquet.partial"
    partial.write_bytes(b"half a file")
    rows = evaluate(network.oracle(), root, tmp_path / "out", "in-c", "bgc-acc")
    assert {path: path.stat().st_mtime_ns for path in written} == before
    assert [r["value"] for r in rows] == [r["value"] for r in whole]
    assert not partial.exists()


def test_other_weights_and_other_images_are_predicted_anew(root, tmp_path):
    copied = shutil.copytree(root / "imagenetv2-matched-frequency-format-val", tmp_path / "r/v2")
    copied = copied.rename(tmp_path / "r/imagenetv2-matched-frequency-format-val")
    out, file = tmp_path / "out", tmp_path / "out/in-v2/in-v2.parquet"

    def made(predictor) -> int:
        evaluate(predictor, tmp_path / "r", out, "in-v2")
        return file.stat().st_mtime_ns

    first = made(network.oracle())
    assert made(network.oracle()) == first
    second = made(network.constant())
    assert second != first and value(read_rows(out), "in-v2") < 10
    third = made(network.oracle())
    assert third != second
    next(copied.glob("0/*.jpeg")).unlink()
    fourth = made(network.oracle())
    assert fourth != third
    other = replace(network.oracle(), data=replace(network.DATA, eval_resize=40))
    assert made(other) != fourth


def test_rerunning_one_benchmark_keeps_the_rows_of_others(root, tmp_path):
    evaluate(network.oracle(), root, tmp_path, "in-v2", "in-r")
    evaluate(network.oracle(), root, tmp_path, "in-v2")
    rows = read_rows(tmp_path)
    assert sorted(row["benchmark"] for row in rows) == ["in-r", "in-v2"]


def test_bad_images_are_an_error_or_counted(tmp_path):
    folder = imagenet.make_sketch(tmp_path)
    for wnid in CLASSES[:2]:
        (folder / wnid / "sketch_1.JPEG").write_bytes(b"cut off")
    arguments = (network.oracle(), tmp_path, tmp_path / "out", "sketch")
    with pytest.raises(LuabError, match=r"sketch_1\.JPEG: cannot be decoded.*--on-bad skip"):
        evaluate(*arguments)
    assert not (tmp_path / "out/sketch").exists()
    (row,) = evaluate(*arguments, on_bad="skip")
    assert (row["num_bad"], row["n"]) == (2, 23)
    assert row["value"] == pytest.approx(100 * 22 / 23)
    assert "2 bad images skipped" in to_table([row])
    table = pq.read_table(tmp_path / "out/sketch/sketch.parquet")
    bad = [r for r in table.to_pylist() if r["error"]]
    assert len(bad) == 2 and bad[0]["top5_class"] is None and bad[0]["margin"] is None
    assert str(tmp_path) not in bad[0]["error"]
    # What was skipped once is still an error for those who did not ask to skip.
    with pytest.raises(LuabError, match="cannot be decoded"):
        evaluate(*arguments)


def test_a_folder_of_bad_images_is_an_error_even_when_skipping(tmp_path):
    folder = imagenet.make_r(tmp_path)
    for path in folder.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(LuabError, match="none of its 27 images can be read"):
        evaluate(network.oracle(), tmp_path, tmp_path / "out", "in-r", on_bad="skip")


def test_batches_and_workers_change_nothing(root, tmp_path):
    names = ("in-1k", "bgc-acc", "in-o")
    one = evaluate(network.oracle(), root, tmp_path / "1", *names, batch_size=5, num_workers=2)
    two = evaluate(network.oracle(), root, tmp_path / "2", *names, batch_size=64, num_workers=0)
    assert [r["value"] for r in one] == [r["value"] for r in two]
    for file in ("in-1k/val.parquet", "in-o/in.parquet"):
        a, b = (pq.read_table(tmp_path / side / file) for side in "12")
        assert a["top5_class"].equals(b["top5_class"]) and a["image_id"].equals(b["image_id"])


def test_a_model_that_answers_nan_is_an_error(root, tmp_path):
    predictor = network.oracle()
    predictor.model.colours[:] = float("nan")
    with pytest.raises(LuabError, match="answers NaN or infinity"):
        evaluate(predictor, root, tmp_path, "in-v2")


def test_names_and_options_are_checked_before_anything_is_read(root, tmp_path):
    with pytest.raises(
        OptionError, match="unknown benchmark in-2k; expected all, or some of in-1k"
    ):
        evaluate(network.oracle(), root, tmp_path, "in-2k")
    with pytest.raises(OptionError, match="expected one of raise, skip"):
        evaluate(network.oracle(), root, tmp_path, "in-v2", on_bad="ignore")
    with pytest.raises(ImagesError, match="not a folder"):
        evaluate(network.oracle(), root / "nothing", tmp_path, "in-v2")
    with pytest.raises(OptionError, match="batch size 0"):
        evaluate(network.oracle(), root, tmp_path, "in-v2", batch_size=0)
    assert not list(tmp_path.iterdir())


def test_foreign_files_are_named(tmp_path):
    (tmp_path / "results.jsonl").write_text("{not json\n")
    with pytest.raises(OptionError, match="not JSON lines"):
        read_rows(tmp_path)
    pq.write_table(pq.read_table(_write_plain(tmp_path)), tmp_path / "plain.parquet")
    with pytest.raises(OptionError, match="not written by luab-train eval"):
        read_predictions(tmp_path / "plain.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"])
def test_a_file_of_predictions_that_was_cut_off_is_named(root, tmp_path, content):
    file = tmp_path / "in-v2/in-v2.parquet"
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(LuabError, match=r"in-v2\.parquet: cannot be read .*; delete it and"):
        evaluate(network.oracle(), root, tmp_path, "in-v2")


def _write_plain(folder):
    import pyarrow as pa

    pq.write_table(pa.table({"a": [1]}), folder / "p.parquet")
    return folder / "p.parquet"


def test_objectnet_mappings_that_do_not_fit_are_named(tmp_path):
    folder = objectnet.make_objectnet(tmp_path)
    file = folder / "mappings/objectnet_to_imagenet_1k.json"
    file.write_text(json.dumps({"Vehicle": "hovercraft"}))
    with pytest.raises(LuabError, match="'Vehicle', 'hovercraft', are not in"):
        evaluate(network.oracle(), tmp_path, tmp_path / "out", "objectnet")
