"""Benchmarks that need no new images: calibration, ImageNet-X, ImageNet-W, other OOD scores."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from miniatures import network
from miniatures.imagenet import make_o, make_val
from miniatures.palette import CLASSES

from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.benchmarks import imagenet_x as in_x
from luab_train.evaluate.run import evaluate_benchmarks
from luab_train.evaluate.settings import Settings
from luab_train.evaluate.stored import difference
from luab_train.evaluate.table import to_table


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    make_val(root)
    make_o(root)
    return root


def evaluate(predictor, root, out, *names):
    settings = Settings(num_workers=0, shown=False)
    rows = evaluate_benchmarks(predictor, root=root, out=out, names=names, settings=settings)
    return {row["metric"]: row for row in rows}


def slow_calibration_error(confidence, right) -> float:
    """As imagenet-x and Guo et al. write it, bin by bin."""
    edges, total = np.linspace(0, 1, 16), 0.0
    for low, high in itertools.pairwise(edges):
        there = (confidence > low) & (confidence <= high)
        if there.any():
            total += there.mean() * abs(confidence[there].mean() - right[there].mean())
    return 100 * total


def test_calibration_follows_from_what_was_stored_for_the_accuracy(root, tmp_path: Path):
    evaluate(network.random(), root, tmp_path, "in-1k")
    file = tmp_path / "in-1k/val.parquet"
    before = file.stat().st_mtime_ns
    found = evaluate(network.random(), root, tmp_path, "in-1k-calibration")
    assert file.stat().st_mtime_ns == before
    table = pq.read_table(file)
    top = np.array([names[0] for names in table["top5_class"].to_pylist()])
    right = top == np.array(table["label"].to_pylist())
    confidence = table["max_probability"].to_numpy().astype(float)
    assert found["ece"]["value"] == pytest.approx(slow_calibration_error(confidence, right))
    assert found["ece"]["low"] <= found["ece"]["value"] and found["ece"]["direction"] == "down"
    likely = table["label_log_probability"].to_numpy().astype(float)
    assert likely[right] == pytest.approx(np.log(confidence[right]), abs=1e-4)
    assert found["nll"]["value"] == pytest.approx(-likely.mean())
    assert (found["nll"]["unit"], found["nll"]["n"]) == ("nats", 48)
    assert "log loss, nats" in to_table(list(found.values()))


def test_calibration_is_of_every_column_that_is_one_accuracy():
    names = [name.removesuffix("-calibration") for name in BY_NAME if name.endswith("-calibration")]
    assert names == [
        *("in-1k", "in-v2", "in-a", "sketch", "in-r", "objectnet", "si-size", "si-loc", "si-rot"),
    ]


def test_an_oracle_that_says_how_sure_it_may_be_is_calibrated(root, tmp_path: Path):
    found = evaluate(network.constant(), root, tmp_path, "in-1k-calibration")
    # One logit of 1 among eleven of 0, and right one time in twelve.
    sure = math.e / (math.e + 11)
    assert found["ece"]["value"] == pytest.approx(100 * (sure - 1 / 12), abs=1e-4)
    expected = (math.log(math.e + 11) * 12 - 1) / 12
    assert found["nll"]["value"] == pytest.approx(expected, abs=1e-5)


def test_two_models_are_compared_on_calibration_though_they_are_not_equally_sure(root, tmp_path):
    models = [tmp_path / name for name in ("random", "constant")]
    rows = [
        evaluate(getattr(network, out.name)(), root, out, "in-1k-calibration") for out in models
    ]
    for name in ("ece", "nll"):
        found = difference([models[0]], [models[1]], "in-1k-calibration", name)
        assert found.n == 48 and found.low <= found.value <= found.high
        assert found.value == pytest.approx(rows[0][name]["value"] - rows[1][name]["value"])


def test_outliers_are_told_by_the_highest_logit_and_the_energy_too(root, tmp_path: Path):
    from sklearn.metrics import roc_auc_score

    found = evaluate(network.random(), root, tmp_path, "in-o")
    tables = [pq.read_table(tmp_path / f"in-o/{name}.parquet") for name in ("in", "out")]
    truth = np.repeat([0, 1], [len(table) for table in tables])
    for metric, column in (("auroc", "max_probability"), ("auroc_logit", "max_logit"),
                           ("auroc_energy", "energy")):  # fmt: skip
        score = -np.concatenate([table[column].to_numpy() for table in tables])
        assert found[metric]["value"] == pytest.approx(100 * roc_auc_score(truth, score)), metric
    assert found["auroc_energy"]["value"] != found["auroc"]["value"]
    assert found["auroc_energy"]["low"] < found["auroc_energy"]["high"]
    # exp(energy) is the sum whose largest term is exp(max_logit): their ratio is the probability.
    for table in tables:
        sure = np.exp(table["max_logit"].to_numpy() - table["energy"].to_numpy())
        assert sure == pytest.approx(table["max_probability"].to_numpy(), rel=1e-4)


def test_imagenet_x_is_read_where_its_package_is(root, tmp_path: Path, monkeypatch):
    rows = evaluate(network.constant(), root, tmp_path / "without", "in-x")
    if in_x._needed() is not None:  # not installed here
        assert "pip install imagenet-x" in rows["accuracy"]["note"]
        assert rows["accuracy"]["status"] == "missing"
    names = sorted(path.name for path in (root / "imagenet/val").rglob("*.JPEG"))
    labels = {path.name: path.parent.name for path in (root / "imagenet/val").rglob("*.JPEG")}
    folder = tmp_path / "site/imagenet_x/annotations"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('never imported')")
    lines = [{"file_name": name, **dict.fromkeys(in_x.FACTORS, 0)} for name in names]
    for line, factor in zip(lines, np.resize(in_x.FACTORS[:5], len(lines)), strict=True):
        line[factor] = 1
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "imagenet_x_val_top_factor.jsonl").write_text(text)
    (folder / "prototypical_paths.csv").write_text("file_name\n" + "\n".join(names[:8]) + "\n")
    monkeypatch.syspath_prepend(folder.parent.parent)
    in_x.factors_of.cache_clear()
    found = evaluate(network.constant(), root, tmp_path / "with", "in-x")
    in_x.factors_of.cache_clear()
    # The constant answer is right on one class.
    table = pq.read_table(tmp_path / "with/in-1k/val.parquet")
    (answer,) = {names[0] for names in table["top5_class"].to_pylist()}
    kept = [(line, labels[line["file_name"]] == answer) for line in lines[8:]]
    error = 1 - np.mean([is_right for _, is_right in kept])
    assert found["accuracy"]["value"] == pytest.approx(100 * (1 - error))
    accuracies = {}
    for factor in in_x.FACTORS[:5]:
        of = [is_right for line, is_right in kept if line[factor]]
        accuracies[factor] = np.mean(of)
        assert found[factor]["value"] == pytest.approx(100 * np.mean(of))
        assert found[factor]["n"] == len(of)
        ratio = found[f"{factor}_error_ratio"]
        assert ratio["value"] == pytest.approx((1 - np.mean(of)) / error)
    assert found["worst_factor"]["value"] == pytest.approx(100 * min(accuracies.values()))
    assert found["texture"]["value"] is None and found["texture"]["n"] == 0


WATERMARK = """
class AddWatermark:
    def __init__(self, size):
        self.size = size

    def __call__(self, image):
        assert image.size == (self.size, self.size)
        image = image.copy()
        image.paste((255, 255, 255), (0, 0, self.size, self.size // 2 + 4))
        return image
"""


def test_imagenet_w_draws_the_packages_watermark_on_the_crop(root, tmp_path: Path, monkeypatch):
    (tmp_path / "site/imagenet_w").mkdir(parents=True)
    (tmp_path / "site/imagenet_w/watermark_transform.py").write_text(WATERMARK)
    text = "from .watermark_transform import AddWatermark"
    (tmp_path / "site/imagenet_w/__init__.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = evaluate(network.oracle(), root, tmp_path / "out", "in-w")
    assert found["accuracy_plain"]["value"] == 100
    covered = found["accuracy_watermarked"]["value"]
    assert covered < 100 and found["gap"]["value"] == pytest.approx(covered - 100)
    assert found["gap"]["low"] <= found["gap"]["value"] <= found["gap"]["high"]
    assert found["carton_gap"]["n"] == 0 and found["carton_gap"]["value"] is None
    assert len(pq.read_table(tmp_path / "out/in-w/watermarked.parquet")) == 4 * len(CLASSES)
