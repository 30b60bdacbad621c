"""luab_data.simulate, COCO-AB: byte format, grammar of actions, truth, statistics."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from luab_data.cli.simulate import simulate
from luab_data.errors import ArchiveError, ImagesError, OptionError
from luab_data.raw.instances import read_instances
from luab_data.schema import COCO_CATEGORIES, COCO_SUPERCLASSES
from luab_data.simulate import coco as coco_module
from luab_data.simulate.coco import CocoSimulation, simulate_coco
from luab_data.simulate.drag import Board, objects_of, shown_width
from luab_data.simulate.workers import COCO_HABITS

SHARED = Path(__file__).parents[1].parent / "shared/data"
SUPERCLASSES = list(COCO_SUPERCLASSES)
WIDTH, HEIGHT = 320, 240
KEYS = (
    *("mouseTracking", "originalImageWidth", "originalImageHeight", "page_id", "imageWidth"),
    *("imageHeight", "hit_id", "worker_id", "actionHistories", "timeSpent", "image_id"),
    "categoryHistories",
)
CATEGORIES = [{"id": number, "name": name} for number, name in COCO_CATEGORIES.items()]


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def instances_file(path: Path, annotations: list[dict[str, Any]], number: int = 1) -> Path:
    images = [{"id": 7 + i, "width": WIDTH, "height": HEIGHT} for i in range(number)]
    rows = [{"id": 100 + i, "image_id": 7, **a} for i, a in enumerate(annotations)]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": CATEGORIES}))
    return path


def some_instances(path: Path, number: int) -> Path:
    """Per image three large, two middling and two tiny rectangles of different classes."""
    rng = np.random.default_rng(4)
    ids = list(COCO_CATEGORIES)
    annotations = []
    for index in range(number):
        classes = rng.permutation(ids)[:7].tolist()
        for category, side in zip(classes, (120, 110, 100, 40, 30, 8, 6), strict=True):
            x, y = rng.uniform(0, (WIDTH - side, HEIGHT - side)).tolist()
            annotations.append(
                {
                    "image_id": 7 + index,
                    "category_id": category,
                    "segmentation": rectangle(x, y, x + side, y + side),
                    "iscrowd": 0,
                }
            )
    return instances_file(path, annotations, number)


class Log:
    """A written log, read back by nothing but json and pycocotools."""

    def __init__(self, instances: Path, folder: Path, **options: Any) -> None:
        self.out, truth = folder / "log.json", folder / "truth.jsonl"
        self.counts: CocoSimulation = simulate_coco(instances, self.out, truth=truth, **options)
        self.text = self.out.read_text()
        self.records: list[dict[str, Any]] = json.loads(self.text)
        self.truth = {r["image_id"]: r for r in map(json.loads, truth.read_text().splitlines())}
        content = json.loads(instances.read_text())
        self.sizes = {i["id"]: (i["width"], i["height"]) for i in content["images"]}
        self.annotations: dict[int, list[dict[str, Any]]] = {i: [] for i in self.sizes}
        for annotation in content["annotations"]:
            self.annotations[annotation["image_id"]].append(annotation)

    def is_on(self, image_id: int, category_id: int, x: float, y: float) -> bool:
        """Pixel min(floor(x W), W - 1) against the decoded masks of a class."""
        width, height = self.sizes[image_id]
        column, row = min(math.floor(x * width), width - 1), min(math.floor(y * height), height - 1)
        if min(column, row) < 0 or max(x, y) > 1:
            return False
        for annotation in self.annotations[image_id]:
            if annotation["category_id"] == category_id:
                rles = coco_mask.frPyObjects(annotation["segmentation"], height, width)
                rle = coco_mask.merge(rles) if isinstance(rles, list) else rles
                if coco_mask.decode(rle)[row, column]:
                    return True
        return False


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    folder = tmp_path_factory.mktemp("coco")
    return Log(some_instances(folder / "instances.json", 130), folder, seed=2)


# ---------------------------------------------------------------- the byte format


def test_one_array_with_default_separators(log: Log) -> None:
    assert log.text == json.dumps(log.records)
    assert "NaN" not in log.text and "Infinity" not in log.text


def key_orders(records: list[dict[str, Any]]) -> dict[str, set[tuple[str, ...]]]:
    orders: dict[str, set[tuple[str, ...]]] = {"record": {tuple(r) for r in records}}
    for key in ("mouseTracking", "actionHistories", "categoryHistories"):
        orders[key] = {tuple(entry) for record in records for entry in record[key]}
    points = [a[p] for r in records for a in r["actionHistories"] for p in ("pointFrom", "pointTo")]
    orders["point"] = {tuple(point) for point in points if point}
    return orders


def test_keys_and_their_order(log: Log) -> None:
    assert key_orders(log.records) == {
        "record": {KEYS},
        "mouseTracking": {("timeAt", "x", "y")},
        "actionHistories": {("actionType", "iconType", "pointFrom", "pointTo", "timeAt")},
        "categoryHistories": {("categoryIndex", "categoryName", "timeAt", "usingKeyboard")},
        "point": {("x", "y")},
    }


@pytest.mark.parametrize("name", ["raw/coco_ab_tiny.json", "release-excerpts/coco_ab_rows.json"])
def test_key_orders_are_those_of_the_shared_logs(log: Log, name: str) -> None:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is absent: the shared folder is not part of the project")
    records = json.loads(path.read_text())
    if "excerpts" in name:
        records = records[:1]  # the second one is the tool's README, with fewer keys
    theirs, ours = key_orders(records), key_orders(log.records)
    assert all(theirs[key] <= ours[key] for key in ours), "every order of theirs is one of ours"


def test_ids_sizes_and_types(log: Log) -> None:
    for record in log.records:
        assert re.fullmatch("[0-9a-f]{32}", record["hit_id"])
        assert re.fullmatch("[0-9A-F]{10}", record["worker_id"])
        assert record["imageWidth"] == record["imageHeight"] == 450, "the release's defect"
        sizes = (record["originalImageWidth"], record["originalImageHeight"])
        assert sizes in ((WIDTH, HEIGHT), (0, 0))
        assert type(record["timeSpent"]) is int
        assert all(type(c["usingKeyboard"]) is bool for c in record["categoryHistories"])


def test_some_sizes_are_logged_as_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_module, "_SIZELESS", 0.5)
    log = Log(some_instances(tmp_path / "i.json", 40), tmp_path)
    zero = [record["originalImageWidth"] == 0 for record in log.records]
    assert 0.2 < np.mean(zero) < 0.8
    assert all(row["width"] == WIDTH for row in log.truth.values())


def test_hits_of_twenty_pages(log: Log) -> None:
    pages: dict[str, list[int]] = {}
    workers: dict[str, set[str]] = {}
    for record in log.records:
        pages.setdefault(record["hit_id"], []).append(record["page_id"])
        workers.setdefault(record["hit_id"], set()).add(record["worker_id"])
    assert sorted(map(len, pages.values())) == [10, 20, 20, 20, 20, 20, 20]
    assert all(page == list(range(len(page))) for page in pages.values())
    assert all(len(people) == 1 for people in workers.values())
    assert sorted(r["image_id"] for r in log.records) == sorted(log.sizes)
    assert [r["image_id"] for r in log.records] != sorted(log.sizes)


# ---------------------------------------------------------------- grammar


def test_actions_of_an_icon_are_add_move_remove_add(log: Log) -> None:
    for record in log.records:
        where: dict[str, dict[str, float] | None] = {}
        times = [action["timeAt"] for action in record["actionHistories"]]
        assert times == sorted(times) and all(t <= record["timeSpent"] for t in times)
        for action in record["actionHistories"]:
            before = where.get(action["iconType"])
            assert action["actionType"] in (("move", "remove") if before else ("add",))
            assert action["pointFrom"] == before
            assert (action["pointTo"] is None) == (action["actionType"] == "remove")
            where[action["iconType"]] = action["pointTo"]


def test_superclasses_go_by_one_and_end_at_the_last(log: Log) -> None:
    returned = by_keyboard = 0
    for record in log.records:
        steps = record["categoryHistories"]
        indices = [0, *[step["categoryIndex"] for step in steps]]  # index 0 comes unlogged
        assert {abs(b - a) for a, b in itertools.pairwise(indices)} == {1}
        assert indices[-1] == 10 and len(steps) >= 10
        assert all(s["categoryName"] == SUPERCLASSES[s["categoryIndex"]] for s in steps)
        times = [step["timeAt"] for step in steps]
        assert times == sorted(times) and times[-1] <= record["timeSpent"]
        returned += len(steps) > 10
        by_keyboard += any(step["usingKeyboard"] for step in steps)
    assert 0 < returned < len(log.records) / 2 and 0 < by_keyboard < len(log.records)


def test_icons_are_placed_while_their_superclass_is_shown(log: Log) -> None:
    superclass = {name: i for i, names in enumerate(COCO_SUPERCLASSES.values()) for name in names}
    for record in log.records:
        for action in record["actionHistories"]:
            before = [c for c in record["categoryHistories"] if c["timeAt"] <= action["timeAt"]]
            shown = before[-1]["categoryIndex"] if before else 0
            assert superclass[action["iconType"]] == shown


def test_points_are_pixels_as_shown_and_may_lie_on_the_border(log: Log) -> None:
    width = shown_width(WIDTH, HEIGHT)
    assert width == 600
    for record in log.records:
        points = [a["pointTo"] for a in record["actionHistories"] if a["pointTo"]]
        for point in points + record["mouseTracking"]:
            px, py = round(point["x"] * width), round(point["y"] * 450)
            assert (point["x"], point["y"]) == (px / width, py / 450)
            assert -2 <= px <= width + 1 and -2 <= py <= 451


def test_trace_runs_forward_and_never_over_a_placed_icon(log: Log) -> None:
    covered = 0
    for record in log.records:
        times = [point["timeAt"] for point in record["mouseTracking"]]
        assert times == sorted(times) and all(0 <= t <= record["timeSpent"] for t in times)
        events = [(a["timeAt"], 0, a) for a in record["actionHistories"]]
        events += [(p["timeAt"], 1, p) for p in record["mouseTracking"]]
        icons: dict[str, dict[str, float] | None] = {}
        for _, kind, event in sorted(events, key=lambda e: e[:2]):
            if kind == 0:
                icons[event["iconType"]] = event["pointTo"]
                continue
            covered += any(
                abs(event["x"] - p["x"]) * 600 <= 17 and abs(event["y"] - p["y"]) * 450 <= 17
                for p in icons.values()
                if p
            )
    assert covered == 0


def test_a_drag_leaves_no_trace(log: Log) -> None:
    """Nothing is tracked in the last 200 ms before an icon first lands: the button is held."""
    for record in log.records:
        times = np.array([point["timeAt"] for point in record["mouseTracking"]])
        for action in record["actionHistories"]:
            if action["actionType"] == "add":
                before = times[(times > action["timeAt"] - 200) & (times <= action["timeAt"])]
                assert len(before) == 0


# ---------------------------------------------------------------- truth and counts


def check_truth(log: Log) -> None:
    assert log.truth.keys() == {record["image_id"] for record in log.records} == log.sizes.keys()
    for record in log.records:
        row = log.truth[record["image_id"]]
        annotated = {a["category_id"] for a in log.annotations[record["image_id"]]}
        assert row["present"] == sorted(annotated)
        assert {key: record[key] for key in ("hit_id", "page_id", "worker_id")} == {
            key: row[key] for key in ("hit_id", "page_id", "worker_id")
        }
        by_icon: dict[str, list[dict[str, Any]]] = {}
        for action in record["actionHistories"]:
            by_icon.setdefault(action["iconType"], []).append(action)
        assert [icon["name"] for icon in row["icons"]] == list(by_icon)
        for icon in row["icons"]:
            actions = by_icon[icon["name"]]
            assert icon["sequence"] == "-".join(a["actionType"] for a in actions)
            adds = [a["pointTo"] for a in actions if a["actionType"] == "add"]
            assert icon["last_add"] == [adds[-1]["x"], adds[-1]["y"]]
            final = actions[-1]["pointTo"]
            assert icon["final"] == (final and [final["x"], final["y"]])
            assert COCO_CATEGORIES[icon["category_id"]] == icon["name"]
            meant = [
                a for a in log.annotations[row["image_id"]] if a["id"] == icon["annotation_id"]
            ]
            assert all(a["category_id"] == icon["category_id"] for a in meant)
            assert len(meant) == (icon["annotation_id"] is not None)
            assert icon["on_object"] == (
                final and log.is_on(row["image_id"], icon["category_id"], final["x"], final["y"])
            )


def check_counts(log: Log) -> None:
    rows, counts = log.truth.values(), log.counts
    at_end = [(row, icon) for row in rows for icon in row["icons"] if icon["final"]]
    assert counts.num_records == len(log.records)
    assert counts.num_hits == len({record["hit_id"] for record in log.records})
    assert counts.num_workers == len({record["worker_id"] for record in log.records})
    assert counts.num_actions == sum(len(record["actionHistories"]) for record in log.records)
    assert counts.num_trace_points == sum(len(record["mouseTracking"]) for record in log.records)
    assert counts.num_placed == len(at_end)
    assert counts.num_on_object == sum(icon["on_object"] for _, icon in at_end)
    assert counts.num_present == sum(len(row["present"]) for row in rows)
    assert counts.num_retrieved == sum(i["category_id"] in r["present"] for r, i in at_end)


def test_truth_and_counts_equal_a_naive_replay_of_the_log(log: Log) -> None:
    check_truth(log)
    check_counts(log)


def test_large_objects_are_found_more_often(log: Log) -> None:
    found: dict[bool, list[bool]] = {True: [], False: []}
    for image_id, row in log.truth.items():
        icons = {icon["category_id"] for icon in row["icons"] if icon["final"]}
        for annotation in log.annotations[image_id]:
            x0, x1 = annotation["segmentation"][0][0], annotation["segmentation"][0][2]
            found[x1 - x0 > 50].append(annotation["category_id"] in icons)
    assert np.mean(found[True]) > 0.85 > 0.35 > np.mean(found[False])


def test_styles_move_the_statistics_the_right_way(tmp_path: Path) -> None:
    instances = some_instances(tmp_path / "i.json", 100)
    precision, keyboard = {}, {}
    for style in COCO_HABITS:
        (tmp_path / style).mkdir()
        log = Log(instances, tmp_path / style, styles={style: 1.0}, num_workers=2)
        assert log.counts.workers_by_style == {style: 2}
        precision[style] = log.counts.num_on_object / log.counts.num_placed
        steps = [s["usingKeyboard"] for r in log.records for s in r["categoryHistories"]]
        keyboard[style] = np.mean(steps)
    assert precision["accurate"] > 0.93 > precision["careless"] + 0.05
    assert keyboard["hasty"] > 0.8 > 0.2 > keyboard["accurate"]


def test_sequences_are_mostly_single_adds(tmp_path: Path) -> None:
    log = Log(some_instances(tmp_path / "i.json", 200), tmp_path, seed=1)
    sequences = Counter(i["sequence"] for row in log.truth.values() for i in row["icons"])
    total = sum(sequences.values())
    assert 0.88 < sequences["add"] / total < 0.97
    assert {"add-move", "add-remove-add", "add-remove"} <= sequences.keys()


def test_real_masks_give_the_published_shares(tmp_path: Path) -> None:
    instances = SHARED / "coco/annotations/instances_train.json"
    if not instances.is_file():
        pytest.skip(f"{instances} is absent: the shared folder is not part of the project")
    log = Log(instances, tmp_path, seed=1)
    check_truth(log)
    assert log.counts.num_records == 100
    assert 0.50 < log.counts.num_retrieved / log.counts.num_present < 0.74  # published: 0.619
    assert 0.84 < log.counts.num_on_object / log.counts.num_placed < 0.99  # published: 0.923


# ---------------------------------------------------------------- the tool, by hand


def test_a_small_push_deletes_the_icon() -> None:
    board = Board(600)
    assert board.drop("dog", (300, 225), 10.9)
    assert not board.drop("dog", (310, 230), 20.0)  # onto itself
    assert board.icons == {}
    assert board.drop("dog", (310, 230), 30.0)
    assert board.drop("dog", (360, 230), 40.0)
    assert not board.drop("cat", (345, 240), 50.0), "a new icon on another one is lost unlogged"
    assert not board.drop("dog", (360, 500), 60.0), "off the image"
    board.delete("cat", 70.0)  # not placed: nothing happens
    points = [(a["actionType"], a["pointFrom"], a["pointTo"]) for a in board.action_histories]
    first, second = {"x": 0.5, "y": 0.5}, {"x": 310 / 600, "y": 230 / 450}
    third = {"x": 0.6, "y": 230 / 450}
    assert points == [
        ("add", None, first),
        ("remove", first, None),
        ("add", None, second),
        ("move", second, third),
        ("remove", third, None),
    ]
    assert [a["timeAt"] for a in board.action_histories] == [10, 20, 30, 40, 60]


def test_moves_count_on_the_bare_image_and_its_border_only() -> None:
    board = Board(600)
    board.drop("dog", (300, 225), 0.0)
    offsets = [[-3, 10], [-2, 10], [601, 451], [602, 10], [317, 242], [318, 225]]
    board.mouse_move([1.0, 2.0, 3.0, 4.0, 5.0, 6.5], [list(map(float, o)) for o in offsets])
    assert board.mouse_tracking == [
        {"timeAt": 2, "x": -2 / 600, "y": 10 / 450},
        {"timeAt": 3, "x": 601 / 600, "y": 451 / 450},
        {"timeAt": 6, "x": 318 / 600, "y": 225 / 450},
    ]


def test_stepping_past_the_ends_is_not_logged() -> None:
    board = Board(600)
    board.step(-1, 1.0, by_keyboard=True)
    board.step(1, 2.0, by_keyboard=True)
    board.step(-1, 3.0, by_keyboard=False)
    assert board.category_histories == [
        {"categoryIndex": 1, "categoryName": "Animal", "timeAt": 2, "usingKeyboard": True},
        {
            "categoryIndex": 0,
            "categoryName": "PersonAccessory",
            "timeAt": 3,
            "usingKeyboard": False,
        },
    ]


@pytest.mark.parametrize(
    ("size", "width"), [((480, 360), 600), ((640, 428), 673), ((640, 100), 1100), ((1, 4000), 1)]
)
def test_width_on_the_page(size: tuple[int, int], width: int) -> None:
    assert shown_width(*size) == width


# ---------------------------------------------------------------- masks


def test_polygon_run_lengths_and_crowds_are_read_alike(tmp_path: Path) -> None:
    drawn = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    drawn[50:100, 20:60] = 1
    packed = coco_mask.encode(np.asfortranarray(drawn))
    counts, value = [], 0
    for bit, run in itertools.groupby(drawn.ravel(order="F").tolist()):
        length = len(list(run))
        counts.extend([length] if bit == value else [0, length])
        value = 1 - bit
    size = [HEIGHT, WIDTH]
    path = instances_file(
        tmp_path / "i.json",
        [
            {"category_id": 18, "segmentation": rectangle(20, 50, 60, 100), "iscrowd": 0},
            {"category_id": 18, "segmentation": {"size": size, "counts": counts}, "iscrowd": 1},
            {
                "category_id": 90,
                "segmentation": {"size": size, "counts": packed["counts"].decode()},
            },
            {"category_id": 1, "segmentation": rectangle(5, 5, 5, 5)},  # not one pixel
        ],
    )
    (image,) = read_instances(path, things=True).values()
    objects = objects_of(image)
    assert objects.keys() == {"dog", "toothbrush"}
    assert [i.area_px for i in (*objects["dog"], *objects["toothbrush"])] == [2000] * 3
    for instance in (*objects["dog"], *objects["toothbrush"]):
        x, y = instance.sample(np.random.default_rng(0), 500).T
        assert drawn[y, x].all() and x.min() == 20 and y.max() == 99


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4]], "a polygon of 4 numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [10]}, "run lengths of 10 pixels"),
    ],
)
def test_broken_masks_name_the_annotation(tmp_path: Path, segmentation: Any, message: str) -> None:
    path = instances_file(tmp_path / "i.json", [{"category_id": 1, "segmentation": segmentation}])
    targets = {"out": tmp_path / "o.json", "truth": tmp_path / "t.jsonl"}
    with pytest.raises(ImagesError, match=f"annotation 100: .*{message}"):
        simulate_coco(path, **targets)
    assert list(tmp_path.iterdir()) == [path]


def test_objects_without_a_mask_are_there_but_nobody_drags_an_icon_onto_them(
    tmp_path: Path,
) -> None:
    box = {"category_id": 18, "segmentation": [], "bbox": [1, 1, 50, 50]}
    log = Log(instances_file(tmp_path / "i.json", [box]), tmp_path)
    assert log.truth[7]["present"] == [18]
    assert all(not icon["on_object"] for icon in log.truth[7]["icons"])


# ---------------------------------------------------------------- any scene, any seed


@st.composite
def scenes(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Annotations of one image: polygons anywhere, of any size, also outside it."""
    number = st.floats(-50, 400, allow_nan=False)
    points = st.lists(st.tuples(number, number), min_size=3, max_size=5)
    polygon = points.map(lambda p: [value for point in p for value in point])
    return [
        {
            "category_id": draw(st.sampled_from(sorted(COCO_CATEGORIES))),
            "segmentation": draw(st.lists(polygon, min_size=1, max_size=2)),
        }
        for _ in range(draw(st.integers(0, 6)))
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(annotations=scenes(), seed=st.integers(0, 2**31), style=st.sampled_from(list(COCO_HABITS)))
def test_any_scene_gives_a_log_that_agrees_with_its_truth(
    annotations: list[dict[str, Any]],
    seed: int,
    style: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = instances_file(folder / "i.json", annotations, number=3)
    log = Log(path, folder, seed=seed, styles={style: 1}, num_workers=1)
    check_truth(log)
    check_counts(log)


def test_refusals(tmp_path: Path) -> None:
    instances = some_instances(tmp_path / "i.json", 3)
    out, truth = tmp_path / "o.json", tmp_path / "t.jsonl"
    with pytest.raises(OptionError, match="expected two files"):
        simulate_coco(instances, out, truth=out)
    with pytest.raises(OptionError, match="unknown style 'touch'; expected some of accurate"):
        simulate_coco(instances, out, truth=truth, styles={"touch": 1})
    with pytest.raises(ArchiveError, match="cannot be opened"):
        simulate_coco(tmp_path / "none.json", out, truth=truth)
    (tmp_path / "none.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(ImagesError, match="found no images"):
        simulate_coco(tmp_path / "none.json", out, truth=truth)
    assert not out.exists() and not truth.exists()


def test_command_writes_log_and_truth_and_one_line(tmp_path: Path) -> None:
    instances = some_instances(tmp_path / "i.json", 5)
    out = tmp_path / "raw.json"
    result = CliRunner().invoke(simulate, ["coco-ab", str(instances), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert re.search(r"^5 images, \d+ icons \(\d+ on their object\), ", result.output)
    assert len(result.output.splitlines()) == 1
    assert len(json.loads(out.read_text())) == 5
    assert (tmp_path / "raw.json.truth.jsonl.gz").is_file()
