"""COCO-AB: precision, recall, sizes, places and sequences of icons."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from statistics import mean, stdev
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from coco_world import SEQUENCES, icon, image, image_table, page, permuted_icons, world
from coco_world import action_table as actions_of
from hypothesis import given, settings
from planted import counted, taken

from luab_data.kinds import TAGGING
from luab_data.schema import COCO_ACTIONS, COCO_CLASSES, COCO_IMAGES
from luab_data.statistics.coco_icons import (
    MIN_OCCURRENCES,
    IconBatch,
    follows_grammar,
    sequence_table,
    size_bin,
    size_correlation,
    size_outliers,
)
from luab_data.statistics.coco_pages import BrowsingBatch
from luab_data.statistics.estimate import Estimate
from luab_data.statistics.take import take

CLASS = {name: label for label, name in enumerate(COCO_CLASSES)}
A, B, C = 0, 1, 2


def measure(
    images: list[pa.Table], *names: str, actions: list[pa.Table] | None = None, **options: Any
) -> dict[str, Estimate]:
    return taken(
        TAGGING.statistics, {"default": images, "actions": actions or ()}, *names, **options
    )


def sequence_shares(*images: pa.Table) -> pa.Table:
    found = take(TAGGING.statistics.labelled, TAGGING.statistics.sources, lambda *_: images)
    return sequence_table(found["action_sequences"])


def value(images: list[pa.Table], name: str) -> Any:
    return measure(images, name, resamples=20)[name].value.tolist()


# --- worked examples -----------------------------------------------------------------------------


def two_images() -> pa.Table:
    return image_table(
        [
            image([icon(A, True)], [A, B]),
            image([icon(A, True), icon(C, False)], [A]),
        ]
    )


def test_a_hit_of_two_images():
    table = two_images()
    assert value([table], "recall_hit_mean") == value([table], "recall_image_mean") == 0.75
    assert value([table], "recall") == pytest.approx(2 / 3)
    assert value([table], "icon_precision") == pytest.approx(2 / 3)
    assert value([table], "precision_hit_mean") == pytest.approx(2 / 3)


def test_final_point_last_add_and_all_adds_differ():
    table = image_table(
        [
            image([icon(A, True, sequence="add-move", last=False, adds=(1, 0))], [A]),
            image([icon(A, False, sequence="add-move", last=True, adds=(1, 1))], [A]),
            image([icon(A, True, sequence="add-remove-add", last=True, adds=(2, 1))], [A]),
            image([icon(A, sequence="add-remove", last=True, adds=(1, 1))], [A]),
        ]
    )
    assert value([table], "icon_precision") == pytest.approx(2 / 3)  # the removed one is no icon
    assert value([table], "icon_precision_last_add") == pytest.approx(3 / 4)
    assert value([table], "icon_precision_all_adds") == pytest.approx(3 / 5)


def test_images_without_a_hit_are_in_no_mean_over_hits():
    table = image_table(
        [image([icon(0, True)], [0], hit="h"), image([], [0], hit=None), image([], [0], hit=None)]
    )
    found = counted(TAGGING.statistics, {"default": [table]})
    assert (found["recall_hit_mean"], found["recall"]) == (1, pytest.approx(1 / 3))
    assert json.loads(json.dumps(found)) == found


def test_images_without_ground_truth_count_in_no_precision_and_no_recall():
    known = two_images()
    unknown = image_table([image([icon(A), icon(B)], None)])
    for name in ("icon_precision", "recall", "recall_image_mean", "recall_hit_mean",
                 "precision_hit_mean", "class_recall", "class_size", "icon_offset"):  # fmt: skip
        assert np.array_equal(value([known, unknown], name), value([known], name), equal_nan=True)
        assert np.isnan(value([unknown], name)).all()
    found = measure([unknown], "icon_precision_last_add", "icon_precision_all_adds")
    assert all(np.isnan(e.value) and e.n == 0 for e in found.values())


THE_LONGEST = "-".join(
    ["add", "remove", "add", "move", *["remove", "add"] * 7, "move", "move", *["remove", "add"] * 2]
)


def test_the_longest_sequence_of_the_paper_has_24_actions_and_is_valid():
    assert len(THE_LONGEST.split("-")) == 24
    assert follows_grammar(pa.array([THE_LONGEST])).tolist() == [True]


@pytest.mark.parametrize(
    "name", ["add-add", "move", "remove", "remove-add", "add-remove-move", "add-remove-remove", "",
             "adds", "add-", "add-move-add"]
)  # fmt: skip
def test_a_sequence_the_tool_does_not_allow_is_a_violation(name: str):
    assert follows_grammar(pa.array([name])).tolist() == [False]


@given(st.lists(st.sampled_from(["add", "move", "remove"]), min_size=1, max_size=8))
def test_the_grammar_equals_the_slow_reference(actions: list[str]):
    after = {
        None: {"add"},
        "add": {"move", "remove"},
        "move": {"move", "remove"},
        "remove": {"add"},
    }
    allowed, before = True, None
    for action in actions:
        allowed &= action in after[before]
        before = action
    assert follows_grammar(pa.array(["-".join(actions)])).tolist() == [allowed]


def test_sequences_are_counted_for_icons_present_at_the_end():
    names = ["add", "add", "add-move", "add-add", "add-remove", THE_LONGEST, "add"]
    tables = [
        image_table([image([icon(k, sequence=n)], worker=f"w{k % 3}")]) for k, n in enumerate(names)
    ]
    found = sequence_shares(*tables)
    assert found["sequence"].to_pylist() == ["add", "add-add", "add-move", THE_LONGEST]
    assert found["count"].to_pylist() == [3, 1, 1, 1]
    assert found["share"].to_pylist() == pytest.approx([3 / 6, 1 / 6, 1 / 6, 1 / 6])
    assert found["is_valid"].to_pylist() == [True, False, True, True]
    for row in found.to_pylist():
        assert row["low"] <= row["share"] <= row["high"]
    assert value(tables, "sequence_violation_share") == pytest.approx(1 / 6)


def test_sequences_of_nothing_are_an_empty_table():
    assert sequence_shares().num_rows == 0
    assert sequence_shares(image_table([image()])).num_rows == 0
    lone = sequence_shares(image_table([image([icon(A)], worker=None)]))
    assert (lone["count"].to_pylist(), lone["low"].to_pylist()) == ([1], [None])


# --- places and sizes ----------------------------------------------------------------------------


def test_sizes_are_ten_bins_of_the_logarithm_of_the_area():
    edges = 10 ** (-4 + 0.4 * np.arange(11))
    assert size_bin(edges).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert size_bin(edges * 0.99).tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert size_bin(np.array([0.0, 1e-9, 2.0])).tolist() == [0, 0, 9]


def test_recall_by_size_takes_the_largest_box_and_class_size_all():
    whole, speck = (0, 0, 100, 50), (10, 10, 10.5, 10.5)  # 1 and 5e-5 of the image
    table = image_table(
        [
            image([icon(A, True)], [A, B], [(A, speck), (A, whole), (B, speck)]),
            image([], [A, C], [(A, whole)]),  # of C there are only crowds
        ]
    )
    sizes = value([table], "class_size")
    assert sizes[:2] == [6.0, 0.0] and np.isnan(sizes[2:]).all()
    by_size = measure([table], "recall_by_size")["recall_by_size"]
    assert by_size.n.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (by_size.value[0], by_size.value[9]) == (0, 0.5) and np.isnan(by_size.value[1:9]).all()


def test_the_box_is_the_one_that_holds_the_icon_else_the_nearest_of_its_class():
    big, small = (0, 0, 60, 40), (40, 10, 50, 20)  # of 100 x 50 px
    near, far = (70, 20, 80, 30), (0, 20, 10, 30)

    def offset(at: tuple[float, float], *boxes: tuple[int, tuple[float, ...]]) -> list[float]:
        return value([image_table([image([icon(A, at=at)], [A, B], boxes)])], "icon_offset")

    assert offset((0.3, 0.2), (A, big)) == pytest.approx([0.0, -10 / 40])
    assert offset((0.45, 0.3), (A, big), (A, small)) == pytest.approx([0.0, 0.0])  # nearer centre
    assert offset((0.2, 0.1), (A, big), (A, small)) == pytest.approx([-10 / 60, -15 / 40])
    # In the big one only, though the small one's centre is nearer.
    assert offset((0.52, 0.3), (A, big), (A, small)) == pytest.approx([22 / 60, -5 / 40])
    assert offset((0.9, 0.5), (A, near), (A, far)) == pytest.approx([1.5, 0.0])
    assert offset((0.6, 0.4), (B, big), (A, far)) == pytest.approx(
        [5.5, -0.5]
    )  # B is not its class
    assert np.isnan(offset((0.5, 0.5), (B, big))).all()
    assert np.isnan(offset((0.5, 0.5), (A, (50, 25, 50, 25)))).all()  # a box without size


def test_the_density_of_offsets_is_of_icons_in_the_window():
    box = (A, (0, 0, 10, 10))
    table = image_table(
        [
            image([icon(A, at=(0.05, 0.1))], [A], [box]),  # in the middle
            image([icon(A, at=(0.05, 0.2))], [A], [box]),  # half a box below
            image([icon(A, at=(0.9, 0.9))], [A], [box]),  # far away
        ]
    )
    density = measure([table], "icon_offset_density")["icon_offset_density"]
    assert density.value.sum() == pytest.approx(1) and (density.n == 2).all()
    assert density.value[10, 10] == density.value[15, 10] == 0.5
    inside = measure([table], "icon_offset_inside")["icon_offset_inside"]
    assert inside.value.tolist() == pytest.approx([0, 0.25]) and inside.n.tolist() == [2, 2]


def test_box_centres_are_counted_on_eleven_by_eleven_cells():
    boxes = [(A, (49, 24, 51, 26)), (B, (0, 0, 2, 2)), (B, (98, 48, 100, 50))]
    table = image_table([image([], [A, B], boxes), image([], [A], [boxes[0]], size=None)])
    found = measure([table], "box_centre_density", "central_cell_share")
    density, central = found["box_centre_density"].value, found["central_cell_share"]
    assert density[5, 5] == density[0, 0] == density[10, 10] == pytest.approx(1 / 3)
    assert (central.value, central.null, central.n) == (pytest.approx(1 / 3), 1 / 121, 3)


def test_the_spread_over_hits_is_a_standard_deviation_beside_that_of_chance():
    hits = {"a": ([1, 1], 1.0), "b": ([1, 0], 0.5), "c": ([0, 0], 0.0)}
    rows = [
        image([icon(A, True)] if got else [], [A], hit=hit, worker=hit)
        for hit, (placed, _) in hits.items()
        for got in placed
    ]
    found = measure([image_table(rows)], "recall_hit_sd")["recall_hit_sd"]
    assert found.value == pytest.approx(stdev([1.0, 0.5, 0.0])) and found.n == 3
    assert found.null == pytest.approx(np.sqrt(0.25 / 2))  # two trials a HIT at one half
    lone = measure([two_images()], "recall_hit_sd", "precision_hit_sd")
    assert all(np.isnan(e.value) for e in lone.values())


def test_the_time_of_a_hit_is_that_of_all_its_pages():
    rows = [image(hit="a", ms=1000), image(hit="b", ms=10), image(hit="a", ms=500),
            image(hit=None, ms=99999), image(hit="c", ms=None), image(hit="c", ms=7)]  # fmt: skip
    found = measure([image_table(rows[:2]), image_table(rows[2:])], "time_hit_ms", "time_page_ms")
    assert (found["time_hit_ms"].value, found["time_hit_ms"].n) == (755, 2)
    assert (found["time_page_ms"].value, found["time_page_ms"].n) == (500, 5)


def of_classes(values: list[float], n: list[float]) -> Estimate:
    full = np.full(80, np.nan)
    full[: len(values)] = values
    counts = np.zeros(80)
    counts[: len(n)] = n
    return Estimate(value=full, low=full, high=full, n=counts, null=full, num_workers=9)


def test_outliers_are_named_by_their_studentised_residual():
    size = [1.0, 2, 3, 4, 5, 6, 7, 8]
    recall = [0.31, 0.39, 0.51, 0.9, 0.69, 0.81, 0.9, 0.2]
    n = [50.0, 50, 50, 50, 50, 50, 50, MIN_OCCURRENCES - 1]
    found = size_outliers(of_classes(recall, n), of_classes(size, n), num=3)
    assert next(iter(found)) == 3 and len(found) == 3
    assert 7 not in found  # too few images have it
    # Leave one out and ask the line of the others, the textbook's other definition.
    x, y = np.array(size[:7]), np.array(recall[:7])
    for k, residual in found.items():
        others = np.arange(7) != k
        slope, start = np.polyfit(x[others], y[others], 1)
        error = y[others] - start - slope * x[others]
        variance = (error @ error) / (6 - 2)
        spread = ((x[others] - x[others].mean()) ** 2).sum()
        factor = 1 + 1 / 6 + (x[k] - x[others].mean()) ** 2 / spread
        assert residual == pytest.approx((y[k] - start - slope * x[k]) / np.sqrt(variance * factor))


def test_rare_classes_and_those_without_a_box_are_in_no_correlation():
    n = np.full(80, MIN_OCCURRENCES, float)
    recall, size = np.linspace(0.1, 0.9, 80), np.linspace(1, 9, 80)
    n[3], recall[3] = MIN_OCCURRENCES - 1, 1.0
    boxes = n.copy()
    boxes[5], recall[5] = 0, 1.0
    part = np.append(0, np.stack([recall * n, size * boxes], axis=1))
    whole = np.append(1, np.stack([n, boxes], axis=1))
    assert size_correlation(part, whole) == pytest.approx(1)


def test_outliers_of_too_few_classes_or_one_size_are_none():
    n = [50.0] * 6
    assert size_outliers(of_classes([0.1, 0.2], n[:2]), of_classes([1, 2], n[:2])) == {}
    assert size_outliers(of_classes([0.1] * 6, n), of_classes([4] * 6, n)) == {}
    straight = size_outliers(of_classes([0.5] * 6, n), of_classes([1, 2, 3, 4, 5, 6], n))
    assert set(straight.values()) == {0.0}


# --- the slow reference ---------------------------------------------------------------------------

corner = st.integers(0, 60)
box = st.tuples(st.integers(0, 3), corner, corner, st.integers(0, 40), st.integers(0, 40))
one_icon = st.tuples(
    st.integers(0, 3), st.sampled_from([True, False, None]), corner, corner,
    st.sampled_from(["add", "add-move", "add-remove", "add-remove-add", "add-add"]),
)  # fmt: skip
one_image = st.tuples(
    st.lists(one_icon, max_size=3, unique_by=lambda i: i[0]),
    st.one_of(st.none(), st.lists(box, max_size=4)),
    st.sampled_from(["u", "v", None]),
    st.sampled_from(["h0", "h1", "h2", None]),
)


def as_row(drawn: Any) -> dict[str, Any]:
    icons, boxes, worker, hit = drawn
    known = boxes is not None
    return image(
        [
            icon(label, right if known else None, (x / 60, y / 60), sequence=names,
                 last=right if known else None,
                 adds=(names.count("add"), int(right is True) if known else None))
            for label, right, x, y, names in icons
        ],
        sorted({b[0] for b in boxes}) if known else None,
        [(b[0], (b[1], b[2], b[1] + b[3], b[2] + b[4])) for b in boxes or ()],
        worker=worker, hit=hit, size=(60, 60),
    )  # fmt: skip


def slow(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Every number by loops over lists."""
    right, last, adds, recalled, images, offsets = [], [], [], [], [], []
    by_class, sizes, by_size = defaultdict(list), defaultdict(list), defaultdict(list)
    hits: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"right": [], "recall": []})
    for row in rows:
        hit = hits[row["hit_id"]] if row["hit_id"] is not None else {"right": [], "recall": []}
        placed = set()
        for k, label in enumerate(row["icon_label"]):
            if row["is_present_at_end"][k]:
                placed.add(label)
            if row["is_on_object"][k] is not None:
                right.append(row["is_on_object"][k])
                hit["right"].append(row["is_on_object"][k])
            if row["is_last_add_on_object"][k] is not None:
                last.append(row["is_last_add_on_object"][k])
            if row["num_adds_on_object"][k] is not None:
                adds.append((row["num_adds_on_object"][k], row["num_adds"][k]))
        if row["labels"] is None:
            continue
        boxes = [*zip(row["box_label"], row["boxes"], strict=True)]
        area = {}
        for label, (x0, y0, x1, y1) in boxes:
            size = (x1 - x0) * (y1 - y0) / 3600
            sizes[label].append(bin_of(size))
            area[label] = max(area.get(label, 0), size)
        for label in row["labels"]:
            recalled.append(label in placed)
            by_class[label].append(label in placed)
            by_size[bin_of(area[label])].append(label in placed)
        if row["labels"]:
            images.append(mean(float(label in placed) for label in row["labels"]))
            hit["recall"].append(images[-1])
        for k, label in enumerate(row["icon_label"]):
            best = None
            for own, (x0, y0, x1, y1) in boxes:
                if own != label or row["final_x"][k] is None or x0 == x1 or y0 == y1:
                    continue
                dx, dy = (
                    row["final_x"][k] * 60 - (x0 + x1) / 2,
                    row["final_y"][k] * 60 - (y0 + y1) / 2,
                )
                outside = 2 * abs(dx) > x1 - x0 or 2 * abs(dy) > y1 - y0
                trial = (outside, dx**2 + dy**2, (dx / (x1 - x0), dy / (y1 - y0)))
                best = trial if best is None or trial[:2] < best[:2] else best
            if best:
                offsets.append(best[2])
    of_hits = [(mean(map(float, h["right"])) if h["right"] else None,
                mean(h["recall"]) if h["recall"] else None) for h in hits.values()]  # fmt: skip
    precisions = [p for p, _ in of_hits if p is not None]
    recalls = [r for _, r in of_hits if r is not None]
    return {
        "icon_precision": _mean(right),
        "icon_precision_last_add": _mean(last),
        "icon_precision_all_adds": (
            sum(a for a, _ in adds) / sum(b for _, b in adds) if adds else None
        ),
        "recall": _mean(recalled),
        "recall_image_mean": _mean(images),
        "precision_hit_mean": _mean(precisions),
        "precision_hit_sd": stdev(precisions) if len(precisions) > 1 else None,
        "recall_hit_mean": _mean(recalls),
        "recall_hit_sd": stdev(recalls) if len(recalls) > 1 else None,
        "class_recall": [_mean(by_class[k]) for k in range(80)],
        "class_size": [_mean(sizes[k]) for k in range(80)],
        "recall_by_size": [_mean(by_size[k]) for k in range(10)],
        "icon_offset": [_mean([o[k] for o in offsets]) for k in (0, 1)],
    }  # fmt: skip


def bin_of(area: float) -> int:
    edges = [10 ** (-4 + 0.4 * k) for k in range(1, 10)]
    return sum(area >= edge * (1 - 1e-12) for edge in edges)


def _mean(values: list[Any]) -> float | None:
    return sum(map(float, values)) / len(values) if values else None


@settings(max_examples=40, deadline=None)
@given(st.lists(one_image, min_size=1, max_size=8), st.integers(0, 8))
def test_every_statistic_equals_the_slow_reference_on_batches_and_slices(drawn: Any, cut: int):
    rows = [as_row(one) for one in drawn]
    expected = slow(rows)
    padded = image_table([as_row(drawn[0]), *rows]).slice(1)
    chunked = pa.concat_tables([padded.slice(0, cut), padded.slice(cut)])
    for tables in ([padded], [padded.slice(0, cut), padded.slice(cut)], [chunked]):
        found = measure(tables, *expected, resamples=2)
        for name, numbers in expected.items():
            wanted = np.array(numbers, dtype=np.float64)
            np.testing.assert_allclose(found[name].value, wanted, atol=1e-7, err_msg=name)


def test_nothing_in_nothing_out():
    empty = image_table([])
    for images, actions in (([], []), ([empty], [actions_of([])])):
        found = measure(images, actions=actions, resamples=2)
        assert [*found] == [m.name for m in TAGGING.statistics.measures]
        assert all(np.isnan(e.value).all() for e in found.values())


def test_hits_are_read_whole_even_if_nothing_is_measured_over_images():
    tables = [two_images(), image_table([image([], [A], hit="h1", worker="w1")])]
    alone = measure(tables, "recall_hit_mean")["recall_hit_mean"]
    assert alone.value == 0.375 and alone.n == 2 and alone.num_workers == 2


# --- planted behaviour ----------------------------------------------------------------------------


def inside(estimate: Estimate, planted: Any) -> Any:
    return (estimate.low <= planted) & (np.asarray(planted) <= estimate.high)


@pytest.fixture(scope="module")
def planted() -> tuple[Any, dict[str, Estimate]]:
    made = world(4)
    return made, measure([made.table.slice(0, 500), made.table.slice(500)])


def test_planted_precision_recall_and_offset_are_in_their_intervals(planted: Any):
    made, found = planted
    assert inside(found["icon_precision"], made.precision)
    assert inside(found["precision_hit_mean"], made.precision)
    assert inside(found["icon_precision_last_add"], made.last_add)
    for name in ("recall", "recall_image_mean", "recall_hit_mean"):
        assert inside(found[name], made.recall), name
    assert inside(found["icon_offset"], made.offset).all()
    assert (found["icon_offset"].low[0] > 0) and (found["icon_offset"].high[1] < 0)
    assert inside(found["time_page_ms"], made.page_ms)
    # Twenty intervals of 95 % each: one is expected to miss.
    classes = slice(0, len(made.class_recall))
    right = inside(found["class_recall"], np.append(made.class_recall, np.full(60, np.nan)))
    assert right[classes].sum() >= 17
    assert found["class_size"].value[classes] == pytest.approx(made.class_size)


def test_planted_sequence_shares_are_in_their_intervals(planted: Any):
    made, found = planted
    shares = sequence_shares(made.table).to_pylist()
    assert [row["sequence"] for row in shares] == [*SEQUENCES]
    for row in shares:
        assert row["low"] <= SEQUENCES[row["sequence"]] <= row["high"], row
    assert inside(found["sequence_violation_share"], SEQUENCES["add-add"])


def test_planted_workers_and_sizes_are_found(planted: Any):
    made, found = planted
    r = found["recall_size_correlation"]
    true = np.corrcoef(made.class_recall, made.class_size)[0, 1]
    assert inside(r, true) and r.low > 0.5
    assert found["recall_hit_sd"].low > found["recall_hit_sd"].null
    by_size = found["recall_by_size"].value
    assert np.all(np.diff(by_size[[0, 3, 6, 9]]) > 0)


def test_a_planted_outlier_is_named_first():
    made = world(5)
    found = measure([made.table], "class_recall", "class_size", resamples=2)
    recall = found["class_recall"].value.copy()
    recall[7] += 0.45
    spoilt = of_classes([*recall[:20]], [*found["class_recall"].n[:20]])
    named = size_outliers(spoilt, found["class_size"])
    assert next(iter(named)) == 7 and named[7] > 3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_icons_dealt_out_at_random_neither_size_nor_worker_matters(seed: int):
    table = permuted_icons(world(seed).table, seed)
    names = ("recall_size_correlation", "recall_hit_sd", "precision_hit_sd")
    found = measure([table], *names)
    for name, estimate in found.items():
        assert inside(estimate, estimate.null), (name, estimate)


def test_icons_on_either_side_alike_have_no_offset():
    found = measure([world(6, offset=(0.0, 0.0)).table], "icon_offset", "icon_offset_inside")
    for estimate in found.values():
        assert inside(estimate, estimate.null).all()


def test_intervals_hold_the_planted_value_about_as_often_as_they_say():
    """With workers as different as these, intervals over images alone hold it less often."""
    held, images_alone = Counter(), 0
    for seed in range(60):
        made = world(seed, num_workers=25, hits=1, pages=6, worker_sd=0.2, size_matters=False)
        found = measure([made.table], "recall", "recall_hit_mean", "icon_precision", resamples=200)
        held["recall"] += bool(inside(found["recall"], made.recall))
        each = pa.array([f"w{k}" for k in range(len(made.table))])
        alone = measure([made.table.set_column(0, "worker_id", each)], "recall", resamples=200)
        images_alone += bool(inside(alone["recall"], made.recall))
        held["recall_hit_mean"] += bool(inside(found["recall_hit_mean"], made.recall))
        held["icon_precision"] += bool(inside(found["icon_precision"], made.precision))
    assert all(54 <= count <= 60 for count in held.values()), held
    assert images_alone < 52


# --- the definitions ------------------------------------------------------------------------------


def test_batches_name_columns_of_the_schema_and_need_no_others():
    for batch, table in ((IconBatch, COCO_IMAGES), (BrowsingBatch, COCO_ACTIONS)):
        assert set(batch.columns) <= {column.name for column in table.columns}
    row = image([icon(A, True)], [A], [(A, (0, 0, 9, 9))])
    found = measure([image_table([row])], actions=[actions_of([page([(1, 5, True)])])])
    assert [*found] == [m.name for m in TAGGING.statistics.measures] and len(found) == len({*found})
    json.dumps({name: estimate.as_dict() for name, estimate in found.items()}, allow_nan=False)
