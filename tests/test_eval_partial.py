"""Predictions to scores where something is lacking, and at a size where memory matters."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.classify import score
from luab_train.evaluate.measures import correct
from luab_train.evaluate.predictions import SCHEMA, read_predictions, write_predictions
from luab_train.metrics.robustness import ALEXNET_ERROR, C15, SEVERITIES
from luab_train.metrics.sums import aligned, table_of

LABELS = ("n01440764", "n01443537")
CELLS = [(name, s) for name in C15 for s in SEVERITIES]


def keep(file, image_id, right, *, error=None):
    """A file of predictions of images of the first label, right or not."""
    size = len(image_id)
    bad = np.zeros(size, bool) if error is None else error
    top1 = [[LABELS[0] if r else LABELS[1]] for r in right]
    probability = np.full(size, 0.5, np.float32)
    columns = {
        "image_id": pa.array(image_id, pa.string()),
        "label": pa.array([LABELS[0]] * size, pa.string()),
        "top5_class": pa.array(top1, mask=bad),
        "top5_probability": pa.array([[0.5]] * size, SCHEMA.field("top5_probability").type),
        "margin": pa.array(probability, mask=bad),
        "max_probability": pa.array(probability, mask=bad),
        "label_log_probability": pa.array(probability, mask=bad),
        "max_logit": pa.array(probability, mask=bad),
        "energy": pa.array(probability, mask=bad),
        "point_x": pa.nulls(size, pa.float32()),
        "point_y": pa.nulls(size, pa.float32()),
        "error": pa.array(["bad" if b else None for b in bad], pa.string()),
    }
    about = {"accepted": {LABELS[0]: [LABELS[0]]}, "counts": {"num_bad": int(bad.sum())}}
    write_predictions(file, pa.table(columns, schema=SCHEMA), about)


def scored(folder, benchmark, names):
    """(metric -> estimate, metric -> note) of files of predictions."""

    def parts():
        return [read_predictions(folder / f"{name}.parquet") for name in names]

    return score(BY_NAME[benchmark], parts)


def test_cells_of_other_images_are_those_of_a_slow_reference(tmp_path):
    """Each cell has lost other images, and lists the rest in another order."""
    rng = np.random.default_rng(0)
    names = np.array([f"{LABELS[0]}/{i:03d}.JPEG" for i in range(40)])
    truth = {}
    for cell in CELLS:
        order = rng.permutation(40)
        right, bad = rng.random(40) < 0.6, rng.random(40) < 0.1
        keep(
            tmp_path / f"{cell[0]}-{cell[1]}.parquet", names[order], right[order], error=bad[order]
        )
        truth[cell] = 100 * right[~bad].mean()
    found, _ = scored(tmp_path, "in-c", [f"{c}-{s}" for c, s in CELLS])
    for name, s in CELLS:
        assert found[f"{name}-{s}"].value == pytest.approx(truth[name, s])
    c15 = found["accuracy_c15"]
    assert c15.value == pytest.approx(np.mean(list(truth.values())))
    assert c15.low < c15.value < c15.high


def test_a_missing_severity_leaves_the_means_and_their_intervals_empty(tmp_path):
    names = [f"{LABELS[0]}/{i}.JPEG" for i in range(9)]
    cells = [cell for cell in CELLS if cell != ("fog", 4)]
    for name, s in cells:
        keep(tmp_path / f"{name}-{s}.parquet", names, np.arange(9) % 3 > 0)
    found, notes = scored(tmp_path, "in-c", [f"{c}-{s}" for c, s in cells])
    for metric in ("accuracy_c15", "accuracy_c19", "mce"):
        score = found[metric]
        assert all(map(math.isnan, (score.value, score.low, score.high))), metric
    assert notes["accuracy_c15"] == "missing 1 of 75 parts: fog-4"
    assert "fog" not in found and found["snow"].value == pytest.approx(100 * 6 / 9)
    assert found["fog-3"].value == pytest.approx(100 * 6 / 9)


def test_a_hole_after_and_before_normalisation_are_two_numbers(tmp_path):
    names = [f"{LABELS[0]}/{i}.JPEG" for i in range(4)]
    for name, hits in (("after", 3), ("before", 1)):
        keep(tmp_path / f"{name}.parquet", names, np.arange(4) < hits)
    found, _ = scored(tmp_path, "cocc", ["after", "before"])
    assert (found["accuracy"].value, found["accuracy_before"].value) == (75.0, 25.0)


def test_image_names_are_held_of_one_cell_at_a_time(tmp_path):
    size = 4000
    names = [f"{LABELS[0]}/ILSVRC2012_val_{i:08d}.JPEG" for i in range(size)]
    listed = [f"{c}-{s}" for c, s in CELLS[:40]]
    keep(tmp_path / f"{listed[0]}.parquet", names, np.arange(size) % 2 > 0)
    for name in listed[1:]:
        (tmp_path / f"{name}.parquet").hardlink_to(tmp_path / f"{listed[0]}.parquet")
    tracemalloc.start()
    parts = (read_predictions(tmp_path / f"{name}.parquet") for name in listed)
    right, seen = aligned([[*table_of(correct, parts).cells.values()]])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert right.shape == (size, 40) and seen.all()
    one_list = 4 * len(names[0]) * size
    assert peak < 10 * one_list  # 40 lists would be 40


@pytest.mark.parametrize("num_right", [0, 2, 5])
def test_the_interval_of_mce_lies_about_its_value_and_is_none_where_nothing_varies(
    tmp_path, num_right
):
    names = [f"{LABELS[0]}/{i}.JPEG" for i in range(5)]
    for name, s in CELLS:
        keep(tmp_path / f"{name}-{s}.parquet", names, np.arange(5) < num_right)
    score = scored(tmp_path, "in-c", [f"{c}-{s}" for c, s in CELLS])[0]["mce"]
    error = 1 - num_right / 5
    expected = error * np.mean([100 / ALEXNET_ERROR[name] for name in C15])
    assert score.value == pytest.approx(expected, abs=1e-9)
    if num_right == 2:
        assert score.low < score.value < score.high
    else:
        assert np.isnan([score.low, score.high]).all()
