"""Tracing datasets: columns by hand, what must hold, and every verb."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import shapely
import tracing_world as world
from tracing_world import view

import luab_data
from luab_data.batches import TimesShown
from luab_data.columns.hulls import hulls_of
from luab_data.columns.traced import TRACING
from luab_data.reports.tracing import PAGES
from luab_data.schema_views import TRACING_TRACES, TRACING_VIEWS
from luab_data.store.load import read_table
from luab_data.views import VIEWS, views
from luab_data.views.tracing import TRACING as FROM_VIEWS

LOG = [
    view(
        "a",
        [("enter", 0, 0.0, 0.5), ("move", 10, 0.1, 0.1), ("move", 20, 0.5, 0.5),
         ("move", 40, 1.2, 0.1), ("leave", 50, 1.0, 0.5)],
        annotator="x",
    ),
    view("b"),
    view("a", [("fixation", 5, 0.3, 0.3, 30)], annotator="y@example.org", label="cat"),
    view(
        "c",
        [("click", None, 0.2, 0.9), ("down", 6, 0.9, 0.9), ("move", 7, 0.4, 0.8)],
        annotator="  ",
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = world.write(tmp_path_factory.mktemp("hand"), LOG)
    return read_table(folder).to_pylist()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write(tmp_path_factory.mktemp("world"))


# --- columns --------------------------------------------------------------------------------------


def test_views_of_one_image_are_rows_of_their_own_numbered_in_the_order_of_the_log(by_hand):
    assert [(row["image_id"], row["view"]) for row in by_hand] == [
        ("a", 1), ("b", 1), ("a", 2), ("c", 1),
    ]  # fmt: skip


def test_what_follows_from_a_trace_by_hand(by_hand):
    """The worked example of docs/definitions.md#asked-for-traces."""
    row = by_hand[0]
    assert row["trace_length"] == 3 and row["num_clicks"] is None
    assert (row["first_point_x"], row["first_point_y"]) == (0.1, 0.1)
    assert (row["last_point_x"], row["last_point_y"]) == (1.2, 0.1)
    assert row["centroid_x"] == pytest.approx(0.6)
    assert row["centroid_y"] == pytest.approx(0.7 / 3)
    assert row["outside_share"] == pytest.approx(1 / 3)
    assert row["path_length"] == pytest.approx(0.4 * 2**0.5 + (0.7**2 + 0.4**2) ** 0.5)
    assert row["duration_ms"] == 50
    assert row["trace_quantile_x"] == [0.1] * 5 + [0.5] * 5 + [1.2]
    # Of 30 ms from 10 on, the second point is reached at 10 ms (q = .34) and the third at the end.
    assert row["time_quantile_x"] == [0.1] * 4 + [0.5] * 6 + [1.2]
    assert row["hull_area"] == pytest.approx(1.1 * 0.4 / 2)
    assert row["hull_x"] == [0.1, 0.5, 1.2]  # up is the lower y: counter-clockwise on screen


def test_a_view_without_points_has_nulls_and_no_clicks(by_hand):
    row = by_hand[1]
    assert (row["trace_length"], row["num_clicks"]) == (0, 0)
    derived = [n for d in TRACING.derived for n in d.names]
    assert {n for n in derived if row[n] is not None} == {"trace_length", "num_clicks"}


def test_a_duration_ends_with_the_last_fixation(by_hand):
    assert by_hand[2]["duration_ms"] == 30
    assert by_hand[2]["hull_x"] == [0.3] and by_hand[2]["path_length"] == 0.0


def test_without_a_time_of_every_point_there_are_no_time_quantiles(by_hand):
    row = by_hand[3]
    assert (row["trace_length"], row["num_clicks"]) == (2, 1)  # a down is no point
    assert row["trace_quantile_x"] == [0.2] * 10 + [0.4]
    assert row["time_quantile_x"] is None and row["duration_ms"] == 1


def test_people_are_hashed_and_nobody_is_nobody(by_hand):
    workers = [row["worker_id"] for row in by_hand]
    assert workers[1] is workers[3] is None and len({*workers}) == 3
    assert all(len(w) == 16 for w in workers if w)


def test_the_traces_hold_all_that_the_log_says():
    left_out = {"annotator"} ^ {"view", "worker_id"}
    assert {*TRACING_TRACES.schema().names} ^ {*VIEWS.schema().names} == left_out


def test_raw_columns_and_registry_are_exactly_the_schema():
    raw = {c.name for c in TRACING_VIEWS.columns if c.raw}
    assert raw == {"image_id", "view"}
    assert raw | {*TRACING.names()} == {*TRACING_VIEWS.schema().names}
    known = {c.name for c in TRACING_TRACES.columns}
    assert {s.partition(".")[2] for s in TRACING.sources(TRACING.names())} <= known


def test_times_that_decrease_count_as_the_latest_one_before(tmp_path: Path):
    moves = [("move", t, x, 0.5) for t, x in ((100, 0.0), (90, 0.1), (300, 0.2), (200, 0.3))]
    other = [("move", t, x, 0.5) for t, x in ((0, 0.6), (10, 0.7))]
    rows = read_table(world.write(tmp_path, [view("a", moves), view("b", other)])).to_pylist()
    assert rows[0]["time_quantile_x"] == [0.1] * 10 + [0.3]
    assert rows[1]["time_quantile_x"] == [0.6] * 10 + [0.7]


def test_a_place_that_overflowed_is_no_point(tmp_path: Path):
    moves = [("move", 0, 0.1, 0.1), ("move", 5, 9.0, 0.1), ("move", 9, 0.2, 0.3)]
    table = views({name: [row[name]] for row in [view("a", moves)] for name in row
                   if row[name] is not None})  # fmt: skip
    far = table.set_column(
        table.column_names.index("event_x"), table.schema.field("event_x"), [[[0.1, 9e6, 0.2]]]
    )
    worker = pa.nulls(1, pa.string())
    far = far.set_column(far.column_names.index("annotator"), "worker_id", worker)
    (batch,) = FROM_VIEWS.batches(iter([far]), None)
    assert batch.images["trace_length"].to_pylist() == [2]
    assert batch.images["last_point_x"].to_pylist() == [0.2]


def test_hulls_of_many_points_are_those_of_shapely():
    rng = np.random.default_rng(1)
    lengths = np.array([1, 0, 3, 1, 200, 2, 57])
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    x, y = rng.random((2, int(bounds[-1])))
    found = hulls_of(x, y, bounds)
    ends = np.concatenate([[0], np.cumsum(found.counts)])
    for k, row in enumerate(np.flatnonzero(lengths)):
        points = np.stack([x, y], axis=1)[bounds[row] : bounds[row + 1]]
        hull = shapely.convex_hull(shapely.multipoints(points))
        assert found.area[k] == pytest.approx(hull.area)
        corners = {
            *zip(found.x[ends[k] : ends[k + 1]], found.y[ends[k] : ends[k + 1]], strict=True)
        }
        assert corners == {*map(tuple, shapely.get_coordinates(hull).tolist())}


def test_batches_of_any_size_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "small").mkdir()
    whole = world.write(tmp_path)
    monkeypatch.setattr("luab_data.views.lines.BATCH_BYTES", 100)
    small = world.write(tmp_path / "small")
    names = [p.relative_to(whole) for p in whole.rglob("*.parquet")]
    assert len(names) == 3
    assert all((whole / name).read_bytes() == (small / name).read_bytes() for name in names)


def test_views_are_counted_over_batches():
    rng = np.random.default_rng(3)
    ids = [f"image {k}" for k in rng.integers(0, 50, 600).tolist()]
    shown, found, seen = TimesShown(), [], Counter()
    expected = []
    for name in ids:
        seen[name] += 1
        expected.append(seen[name])
    for start, end in pairwise([0, 1, 7, 300, 300, 599, 600]):
        found += shown.count(pa.array(ids[start:end], pa.string())).tolist()
    assert found == expected


def test_row_groups_of_traces_are_small():
    assert TRACING_TRACES.rows_per_group == 512


# --- whole and odd --------------------------------------------------------------------------------


def test_a_converted_dataset_is_whole(dataset: Path):
    report = luab_data.check(dataset)
    assert report.whole and not report.problems
    assert {f.rule.id: f.count for f in report.findings if f.count} == {"empty-trace": 1}


def _moves(count: int, place: tuple[float, float] = (0.5, 0.5), step: int = 10):
    return [("move", step * k, place[0] + 0.01 * k, place[1]) for k in range(count)]


ODD = {
    "time-backwards": view("a", [("move", 20, 0.1, 0.1), ("leave", 10, 0.2, 0.2)]),
    "missing-point": view("a", [("move", 20, 0.1, 0.1), ("click", 30, None, None)]),
    "negative-duration": view("a", [("fixation", 20, 0.1, 0.1, -5)]),
    "far-outside": view("a", [*_moves(3), ("move", 90, 2.5, 0.5)]),
    "mostly-outside": view("a", _moves(4, (1.1, 0.5))),
    "no-time-passes": view("a", _moves(3, step=0)),
    "pointer-at-rest": view("a", [("move", 10 * k, 0.5, 0.5) for k in range(10)]),
    "trace-outside": view("a", [*_moves(3), ("move", 90, 1.2, 0.5)]),
    "empty-trace": view("a", [("load", 0, None, None)]),
    "view-left-open": view("a", [*_moves(2), ("submit", 2_000_000, None, None)]),
    "size-missing": view("a", _moves(3)) | {"width": None},
}
SIZE = {"width": 64, "height": 48}
IMPLIED = {
    "far-outside": {"trace-outside"},
    "mostly-outside": {"trace-outside"},
}


@pytest.mark.parametrize("rule", ODD)
def test_what_is_odd_is_found_and_nothing_else(rule: str, tmp_path: Path):
    good = view("b", _moves(5), **SIZE)
    report = luab_data.check(world.write(tmp_path, [{**SIZE, **ODD[rule]}, good]))
    assert report.whole
    found = {f.rule.id: f for f in report.findings if f.count}
    assert {*found} == {rule} | IMPLIED.get(rule, set())
    assert found[rule].count == 1 and found[rule].examples[0]["image_id"] == "a"


def test_a_trace_that_is_there_twice_is_found(tmp_path: Path):
    same = view("a", _moves(5), annotator="x", **SIZE)
    others = [same | {"annotator": "y"}, same | {"image_id": "b"}]
    report = luab_data.check(world.write(tmp_path, [same, *others, same]))
    assert {f.rule.id: f.count for f in report.findings if f.count} == {"repeated-trace": 1}
    assert luab_data.check(tmp_path / "traced", rules=["repeated-trace"]).findings[0].examples == (
        {"image_id": "a", "view": 3},
    )


def test_a_changed_value_is_a_problem(dataset: Path, tmp_path: Path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    (file,) = (copy / "data").glob("*.parquet")
    table = pq.read_table(file)
    for column, value, check in (("path_length", 9.0, "derived"), ("view", 1, "image-ids")):
        place = table.column_names.index(column)
        changed = pa.array([value] * len(table), table.schema.field(column).type)
        pq.write_table(table.set_column(place, table.schema.field(column), changed), file)
        assert check in {problem.check for problem in luab_data.check(copy).problems}


def test_a_manifest_names_what_the_log_has(dataset: Path):
    manifest = json.loads((dataset / "manifest.json").read_text())
    assert manifest["dataset"] == "tracing" and manifest["classes"] == []
    assert manifest["fidelity"]["num_views"] == 36 and manifest["fidelity"]["has_path"] == 35


# --- workers --------------------------------------------------------------------------------------


def test_annotators_are_told_apart(dataset: Path):
    table = read_table(dataset, "annotators").to_pylist()
    assert [row["num_views"] for row in table] == [12] * 3
    assert sorted(row["num_traced"] for row in table) == [11, 12, 12]
    assert {row["num_sessions"] for row in table} == {2}
    # Moves 20 ms apart from 40 on, entered 10 ms before, left 20 ms after: 30, 40, 50 of them.
    assert sorted(row["median_duration_ms"] for row in table) == [610, 810, 1010]
    assert sorted(row["median_trace_length"] for row in table) == [30, 40, 50]
    found = luab_data.annotators(dataset)
    assert sorted(round(v) for v in found.pooled["points_per_view"].raw) == [30, 40, 50]


def test_what_a_worker_did_by_hand(tmp_path: Path):
    walk = [("move", 0, 0.2, 0.5), ("move", 500, 0.2, 0.9), ("move", 2000, 0.8, 0.9)]
    rows = [view("a", walk, annotator="x"), view("b", annotator="x"),
            view("c", _moves(2), annotator="x")]  # fmt: skip
    folder = world.write(tmp_path, rows)
    (row,) = read_table(folder, "annotators").to_pylist()
    assert (row["num_views"], row["num_traced"], row["num_sessions"]) == (3, 2, 0)
    assert row["median_trace_length"] == 2  # of 3, 0 and 2 points
    assert row["mean_offset_x"] == pytest.approx(((0.4 - 0.5) + (0.505 - 0.5)) / 2)
    assert row["mean_offset_y"] == pytest.approx(((2.3 / 3 - 0.5) + 0.0) / 2)
    found = luab_data.annotators(folder)
    assert found.pooled["speed"].raw[0] == pytest.approx((1.0 / 2 + 0.01 / 0.01) / 2)
    assert found.pooled["empty_share"].raw[0] == pytest.approx(1 / 3)


def test_a_log_without_people_has_no_annotators(tmp_path: Path):
    folder = world.write(tmp_path, [view("a", _moves(3)), view("b", _moves(2))])
    assert len(read_table(folder, "annotators")) == 0
    assert luab_data.check(folder).whole
    assert luab_data.annotators(folder).worker_id == []


# --- numbers and figures --------------------------------------------------------------------------


def test_statistics_by_hand(tmp_path: Path):
    rows = [
        # A square walk of 4 points over 3 s, a corner off the picture, by x.
        view("a", [("move", 0, 0.5, 0.5), ("move", 1000, 0.5, 0.1), ("move", 2000, -0.1, 0.1),
                   ("click", 3000, -0.1, 0.5)], annotator="x"),
        view("a", [("move", 0, 0.5, 0.5), ("move", 1000, 0.7, 0.5)], annotator="y"),
        view("b", annotator="y"),
    ]  # fmt: skip
    found = luab_data.stats(world.write(tmp_path, rows))
    assert found.counts == {
        "num_views": 3, "num_images": 2, "num_workers": 2, "num_traced": 2, "num_points": 6,
        "outside_share": pytest.approx(2 / 6),
    }  # fmt: skip
    assert found["traced_share"] == pytest.approx(2 / 3)
    assert found["time_view_ms"] == 2000 and found["points_per_view"] == 3
    assert found["clicks_per_view"] == 1 and found["point_rate"] == 1
    assert found["path_length"] == pytest.approx((1.4 + 0.2) / 2)
    assert found["speed"] == pytest.approx((1.4 / 3 + 0.2) / 2)
    assert found["hull_area"] == pytest.approx(0.6 * 0.4 / 2)
    assert found["centroid_offset"] == pytest.approx([(-0.3 + 0.1) / 2, (-0.2 + 0) / 2])
    assert found["last_point_offset"] == pytest.approx([(-0.6 + 0.2) / 2, 0.0])
    assert found["centre_distance"][[0, -1]] == pytest.approx([0.0, (0.6 + 0.2) / 2])
    assert found["views_per_image"] == 1.5
    times = dict(zip(found.measures[2].axes[0][1], found["time_distribution"], strict=True))
    assert {span: share for span, share in times.items() if share} == {"1 to 2": 0.5, "2 to 4": 0.5}
    density = found["point_density"]
    assert density.shape == (11, 11) and density.sum() == pytest.approx(1)
    assert density[5, 5] == pytest.approx((1 / 4 + 1 / 2) / 2)  # views count alike
    assert density[1, 0] == pytest.approx(1 / 4 / 2)  # off the picture: in the border's cell
    assert found["central_cell_share"] == pytest.approx((1 / 4 + 1 / 2) / 2)


def test_points_spread_evenly_have_the_nulls_of_the_statistics(tmp_path: Path):
    rng = np.random.default_rng(2)
    moves = [("move", k, *p) for k, p in enumerate(rng.random((20_000, 2)).tolist())]
    estimates = luab_data.stats(world.write(tmp_path, [view("a", moves)])).estimates
    for name in ("central_cell_share",):
        assert estimates[name].value == pytest.approx(float(estimates[name].null), abs=0.003)
    xy = rng.random((100_000, 2)) - 0.5
    null = estimates["centre_distance"].null[0]
    assert null == pytest.approx(np.hypot(*xy.T).mean(), abs=0.002)


def test_every_figure_is_drawn(dataset: Path):
    pytest.importorskip("matplotlib")
    for name in ("points", "times", "along", "annotators"):
        assert luab_data.draw(name, dataset) is not None
    (image,) = luab_data.draw("points", dataset).images
    density = luab_data.stats(dataset, ["point_density"])["point_density"]
    assert np.allclose(image.get_array(), 100 * density)


# --- one image, one page, other tools -------------------------------------------------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("images")
    for number in range(6):
        image.new("RGB", (64, 48), (40 * number, 90, 120)).save(folder / f"picture{number}.png")
    return folder


def test_an_image_is_told_with_all_of_its_views(dataset: Path):
    record = luab_data.trace(dataset, "picture5.png")
    assert [row["view"] for row in record.views] == [1, 2, 3, 4, 5, 6]
    assert [row["view"] for row in record.records] == [1, 2, 3, 4, 5, 6]
    assert [rule.id for rule in record.odd] == ["empty-trace"]
    assert len(record.as_dict()["default"]) == 6 and len(record.places) == 12


def test_clicks_are_told_by_view(dataset: Path):
    found = luab_data.clicks(dataset, "picture3")
    rows = [r for r in read_table(dataset).to_pylist() if r["image_id"] == "picture3"]
    assert found.num_rounds == 6
    assert [sum(p.round == n for p in found.trace) for n in range(1, 7)] == [
        row["trace_length"] - 1 for row in rows
    ]
    last = {c.round: (c.x, c.y) for c in found.clicks}
    for row in rows:
        at = (row["last_point_x"], row["last_point_y"])
        assert last[row["view"]] == pytest.approx(at)
    assert found.svg().startswith("<svg")


def test_a_report_shows_traces(dataset: Path, images: Path, tmp_path: Path):
    pytest.importorskip("jinja2")
    made = luab_data.report(dataset, tmp_path / "report", images=images, page="picture2:4")
    text = made.page.read_text()
    assert made.num_replays == 1 and made.num_without_picture == 0
    assert "Image picture2, view 4" in text and "asked: Describe what you see" in text
    assert luab_data.report(dataset, tmp_path / "chosen", pages=3).num_replays == 3
    with pytest.raises(luab_data.LuabError, match=r"no image 'picture2:9'"):
        luab_data.report(dataset, tmp_path / "none", page="picture2:9")


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_bare_points_and_empty_views_go_through_statistics_and_report(tmp_path: Path):
    pytest.importorskip("jinja2")
    bare = [view(f"p{k}", [("click", None, 0.1 * k, 0.5)] * (k % 3)) for k in range(6)]
    for name, rows in (("bare", bare), ("empty", [view("a"), view("b", annotator="x")])):
        (tmp_path / name).mkdir()
        folder = world.write(tmp_path / name, rows)
        found = luab_data.stats(folder)
        assert np.isnan(found["time_view_ms"]) and found.counts["num_views"] == len(rows)
        made = luab_data.report(folder, tmp_path / name / "report")
        assert made.num_replays == (4 if name == "bare" else 0)


def test_a_log_without_times_is_replayed_in_its_order(tmp_path: Path):
    clicks = [("click", None, 0.1, 0.2), ("click", None, 0.3, 0.4)]
    found = luab_data.clicks(world.write(tmp_path, [view("a", clicks)]), "a")
    assert [(c.time_ms, c.x, c.y) for c in found.clicks] == [(0, 0.1, 0.2), (100, 0.3, 0.4)]


def test_a_replay_has_the_size_that_was_shown_and_every_fixation(tmp_path: Path):
    fixations = [("fixation", 0, 0.5, 0.25, 200), ("fixation", 300, 0.75, 0.5, 200)]
    sizes = ({"shown_width": 200.0, "shown_height": 100.0}, {"width": 90, "height": 45}, {})
    rows = [view(f"p{k}", fixations, **size) for k, size in enumerate(sizes)]
    folder = world.write(tmp_path, rows)
    for k, (w, h) in enumerate([(200, 100), (900, 450), (450, 450)]):
        (page,) = PAGES.read(folder, PAGES.named(folder, f"p{k}"))
        (picture,) = page.replay.pictures
        assert (picture.w, picture.h) == (w, h)
        events = [(e.kind, e.x, e.y) for e in page.replay.events]
        assert events == [("move", w / 2, h / 4), ("move", w * 3 / 4, h / 2)]


def test_every_view_has_its_image(dataset: Path, images: Path):
    joined = luab_data.join_images(dataset, images, columns=["view"])
    assert len(joined.table) == 36 and str(joined.rows_without_image) == "0"
    names = [Path(path).stem for path in joined.table["image_path"].to_pylist()]
    assert names == joined.table["image_id"].to_pylist()


@pytest.mark.parametrize("format", ["imagefolder", "webdataset", "fiftyone"])
def test_every_view_is_exported(format: str, dataset: Path, images: Path, tmp_path: Path):
    made = luab_data.export(dataset, images, tmp_path / "out", format=format)
    assert made.num_images == 36
    if format == "imagefolder":
        rows = pq.read_table(tmp_path / "out" / "metadata.parquet").to_pylist()
        names = [row["file_name"] for row in rows]
        assert names[0] == "picture0.png" and names[6] == "picture0-view2.png"
        assert len({*names}) == 36 and all((tmp_path / "out" / name).is_file() for name in names)


def test_keypoints_are_the_last_points_in_pixels(dataset: Path, images: Path, tmp_path: Path):
    out = tmp_path / "points.json"
    luab_data.export(dataset, images, out, format="coco-keypoints", classes=["cat"])
    found = json.loads(out.read_text())
    rows = [r for r in read_table(dataset).to_pylist() if r["label"] == "cat"]
    assert len(found["images"]) == len(rows) == 18
    assert len(found["annotations"]) == 17  # one view has no trace
    x, y, _ = found["annotations"][0]["keypoints"]
    assert (x / 64, y / 48) == pytest.approx((rows[0]["last_point_x"], rows[0]["last_point_y"]))


def test_a_fraction_takes_all_views_of_an_image(dataset: Path, images: Path, tmp_path: Path):
    out = tmp_path / "points.json"
    made = luab_data.export(dataset, images, out, format="coco-keypoints", fraction=0.5)
    counts: dict[str, int] = {}
    for image in json.loads(out.read_text())["images"]:
        counts[image["image_id"]] = counts.get(image["image_id"], 0) + 1
    assert made.num_images == 18 and set(counts.values()) == {6}


def test_where_people_looked_is_the_points_of_traces_alone(dataset: Path, tmp_path: Path):
    other = world.write(tmp_path, [view("picture1", [("fixation", 1, 0.3, 0.7, 200)])])
    found = luab_data.join_attention([dataset, other.rename(tmp_path / "eyes")])
    rows = [row for row in read_table(dataset).to_pylist() if row["image_id"] == "picture1"]
    tables = {n: found.table.filter(pc.equal(found.table["source"], n)) for n in found.sources}
    assert [len(x) for x in tables["traced"]["x"].to_pylist()] == [r["trace_length"] for r in rows]
    assert tables["eyes"]["x"].to_pylist() == [[0.3]]


# --- verbs that change or refuse ------------------------------------------------------------------


def test_columns_are_derived_again_as_they_were(tmp_path: Path):
    folder = world.write(tmp_path)
    before = {p.name: p.read_bytes() for p in (folder / "data").glob("*.parquet")}
    luab_data.derive(folder, columns=["hull_area", "path_length", "time_quantile_x"])
    assert {p.name: p.read_bytes() for p in (folder / "data").glob("*.parquet")} == before
    assert luab_data.check(folder).whole


def test_traces_of_other_views_are_refused(tmp_path: Path):
    folder = world.write(tmp_path)
    (file,) = (folder / "traces").glob("*.parquet")
    table = pq.read_table(file)
    order = [6, *range(1, 6), 0, *range(7, 36)]  # two views of one image change places
    pq.write_table(table.take(pa.array(order)), file)
    with pytest.raises(luab_data.LuabError, match="its images are not those of the shard"):
        luab_data.derive(folder, columns=["hull_area"])
    found = {problem.check: problem.found for problem in luab_data.check(folder).problems}
    assert "picture0, view 2" in found["shards"]


def test_what_does_not_apply_says_so_in_one_sentence(dataset: Path):
    with pytest.raises(luab_data.LuabError, match="accept or reject no assignment of this kind"):
        luab_data.accept(dataset)
    with pytest.raises(luab_data.LuabError, match="no final click; expected a browsing log"):
        luab_data.calibrate(dataset)


def test_a_dataset_loads(dataset: Path):
    pytest.importorskip("datasets")
    for config, rows in (("default", 36), ("traces", 36), ("annotators", 3)):
        assert luab_data.load_dataset(dataset, config)["train"].num_rows == rows


def test_a_dataset_can_be_published(dataset: Path):
    found = luab_data.publish(dataset, "me/traced", dry_run=True, license="cc-by-4.0")
    assert found
