"""Ways of looking at the same images: maps against slow references, and planted worlds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

import luab_data
from luab_data.attention.points import image_keys
from luab_data.attention.saliency import CELLS, blurred, cells_of, compare, counts_of
from luab_data.cli import main
from luab_data.errors import OptionError
from luab_data.ragged import Ragged

KEY = b"a key of sixteen bytes"
NSS, AUC, CC, KL = range(4)


def maps_of(points: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Counts and map of one image."""
    x, y = np.array(points).T
    counts = counts_of(Ragged(cells_of(x, y), np.array([0, len(points)])))
    return counts, blurred(counts)


def test_a_point_stands_in_its_row_and_column():
    counts, _ = maps_of([(0.9, 0.1)])
    row, column = np.argwhere(counts[0])[0]
    assert (row, column) == (int(0.1 * CELLS), int(0.9 * CELLS))
    assert cells_of(np.array([1.0, 1.01, np.nan]), np.array([1.0, 0.5, 0.5])).tolist() == [
        CELLS**2 - 1, -1, -1,
    ]  # fmt: skip


def slow(predicted: np.ndarray, counts: np.ndarray, wanted: np.ndarray) -> list[float]:
    """The four measures of one image, cell by cell, as Bylinskii et al. write them."""
    p, c, q = (values.ravel().tolist() for values in (predicted, counts, wanted))
    mean = sum(p) / len(p)
    spread = (sum((v - mean) ** 2 for v in p) / len(p)) ** 0.5
    nss = sum(k * (v - mean) / spread for v, k in zip(p, c, strict=True)) / sum(c)
    hits = [v for v, k in zip(p, c, strict=True) if k]
    misses = [v for v, k in zip(p, c, strict=True) if not k]
    above = sum((a > b) + (a == b) / 2 for a in hits for b in misses)
    mean_q = sum(q) / len(q)
    covariance = sum((a - mean) * (b - mean_q) for a, b in zip(p, q, strict=True))
    norm = (sum((a - mean) ** 2 for a in p) * sum((b - mean_q) ** 2 for b in q)) ** 0.5
    eps = np.finfo(float).eps
    kl = sum(b * np.log(eps + b / (a + eps)) for a, b in zip(p, q, strict=True))
    return [nss, above / len(hits) / len(misses), covariance / norm, kl]


def test_the_measures_are_those_of_a_slow_reference():
    rng = np.random.default_rng(0)
    one = maps_of([*map(tuple, rng.random((5, 2)).tolist())])
    other = maps_of([*map(tuple, rng.random((9, 2)).tolist())])
    found = compare(one[1], other[0], other[1])[0]
    assert found == pytest.approx(slow(one[1], other[0], other[1]), rel=1e-9)


def test_what_is_not_defined_is_not_a_number():
    counts, even = maps_of([(0.5, 0.5)])
    nobody = blurred(np.zeros_like(counts))
    assert np.isnan(compare(nobody, counts, even)).all()
    flat = np.full_like(even, 1 / CELLS**2)
    found = compare(flat, counts, even)[0]
    assert np.isnan(found[[NSS, CC]]).all() and found[AUC] == 0.5


def test_an_image_has_one_key_however_it_is_written():
    ids = pa.chunked_array([["000000000009", "9", "0", "IMG 007", "Ka\u0308se", "n01_9"]])
    assert image_keys(ids).to_pylist() == ["9", "9", "0", "IMG 007", "Käse", "n01_9"]
    assert image_keys(pa.chunked_array([pa.array([9], pa.int64())])).to_pylist() == ["9"]


# --- whole datasets ------------------------------------------------------------------------------

Place = Callable[[int, int], tuple[float, float]]


def write(folder: Path, name: str, place: Place, images: int = 24, people: int = 4) -> Path:
    """A dataset in which each person clicks once on each image, at `place(image, person)`."""
    views = []
    for image in range(images):
        for person in range(people):
            x, y = place(image, person)
            views.append(
                {
                    "byproducts": 1, "kind": "browsing", "image": {"id": f"{image:012d}"},
                    "asked": {"class": "thing"}, "annotator": f"{name} {person}",
                    "events": [{"type": "click", "t": 5, "x": x, "y": y}],
                }
            )  # fmt: skip
    log = folder / f"{name}.jsonl"
    log.write_text("\n".join(map(json.dumps, views)))
    luab_data.convert_browsing(log, folder / name, worker_key=KEY, shown=False)
    return folder / name


def near(image: int, person: int) -> tuple[float, float]:
    """On an object that is elsewhere in each image; people miss it by a little."""
    angle = image * 2.4
    return 0.5 + 0.35 * np.cos(angle) + 0.01 * person, 0.5 + 0.3 * np.sin(angle)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agreement")
    rng = np.random.default_rng(1)
    write(folder, "good", near)
    write(
        folder,
        "same",
        lambda image, person: (near(image, person)[0], near(image, person)[1] + 0.02),
    )
    write(folder, "turned", lambda image, person: near(image, person)[::-1])
    write(folder, "random", lambda image, person: (rng.random(), rng.random()))
    return folder


def test_planted_agreement_is_found_and_chance_is_chance(world: Path):
    found = luab_data.agreement([world / name for name in ("good", "same", "random")], shown=False)
    cc = {key[1:]: float(e.value) for key, e in found.estimates.items() if key[0] == "cc"}
    assert cc["good", "same"] > 0.8 and abs(cc["good", "random"]) < 0.15
    assert cc["good", "good"] > 0.9 and abs(cc["random", "random"]) < 0.15
    for key, estimate in found.estimates.items():
        assert estimate.low <= estimate.value <= estimate.high and estimate.n == 24
        if key[0] == "auc_judd":
            assert 0.35 < estimate.null < 0.65, key


def test_axes_that_are_exchanged_do_not_agree(world: Path):
    found = luab_data.agreement([world / "good", world / "turned"], shown=False)
    assert found.estimates["cc", "good", "turned"].value < 0.5


def test_images_are_drawn_by_seed_and_an_object_is_a_mask_of_any_class(world: Path, tmp_path: Path):
    images = [
        {"id": k, "width": 100, "height": 80, "file_name": f"{k:012d}.jpg"} for k in range(24)
    ]
    half = [[0, 0, 50, 0, 50, 80, 0, 80]]
    things = [
        {"id": k + 1, "image_id": k, "category_id": 7, "segmentation": half, "iscrowd": 0,
         "bbox": [0, 0, 50, 80], "area": 4000}
        for k in range(24)
    ]  # fmt: skip
    instances = tmp_path / "instances.json"
    instances.write_text(json.dumps(
        {"images": images, "annotations": things, "categories": [{"id": 7, "name": "thing"}]}
    ))  # fmt: skip
    pair = [world / "good", world / "random"]
    found = luab_data.agreement(pair, instances=instances, images=10, shown=False)
    again = luab_data.join_attention(pair, images=10, shown=False)
    assert found.attention.images == again.images and len(again.images) == 10
    on_object = found.estimates["on_object", "good", "good"]
    left = [near(int(k), p)[0] < 0.5 for k in again.images for p in range(4)]
    assert on_object.value == pytest.approx(np.mean(left)) and on_object.null == 0.5


def test_sources_without_an_image_in_common_are_refused(world: Path, tmp_path: Path):
    write(tmp_path, "other", near, images=1)
    log = tmp_path / "other.jsonl"
    log.write_text(log.read_text().replace("000000000000", "elsewhere"))
    luab_data.convert_browsing(log, tmp_path / "far", worker_key=KEY, shown=False)
    with pytest.raises(OptionError, match=r"an image in common.*good: 0, 1; far: elsewhere"):
        luab_data.agreement([world / "good", tmp_path / "far"], shown=False)
    with pytest.raises(OptionError, match="found good; expected two datasets"):
        luab_data.agreement([world / "good"], shown=False)


def test_the_command_prints_writes_and_draws(world: Path, tmp_path: Path):
    out, figure = tmp_path / "a.csv", tmp_path / "a.png"
    given = ["agreement", str(world / "good"), str(world / "same"), "--out", str(out)]
    done = CliRunner().invoke(main, [*given, "--figure", str(figure)])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("Agreement of good, same on 24 images\nnss       good -> good")
    assert out.read_text().splitlines()[0] == (
        '"metric","predicts","predicted","value","low","high","n","null"'
    )
    assert figure.read_bytes().startswith(b"\x89PNG")
    again = CliRunner().invoke(main, [*given, "--figure", str(figure)])
    assert again.exit_code == 0, again.output
