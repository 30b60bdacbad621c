"""Somebody's own browsing log through every verb: what is printed is true of own data."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from html import unescape
from pathlib import Path
from typing import Any
from unicodedata import normalize

import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import luab_data
from luab_data.cli import main
from luab_data.columns.own_views import views_as_images
from luab_data.columns.rounds import order_rounds
from luab_data.errors import DatasetError, ImagesError, OptionError
from luab_data.figures.catalogue import OWN_BROWSING_FIGURES
from luab_data.reports.own_browsing import OwnBrowsingPages
from luab_data.statistics.own_browsing import Clicks

CLASSES = ("Käse", "cat/tabby", "dog")
ANNOTATORS = ("ann", "bob", "cid")
CELL, GAP, COLUMNS = 160, 20, 4
View = dict[str, Any]

# --- a small world --------------------------------------------------------------------------------


def views(annotators: Sequence[str] = ANNOTATORS, per_page: int = 6) -> Iterator[View]:
    """Each annotator sees two pages of each class; who selects what is fixed.

    Image 0 is selected by all, 1 by all but the first, 2 by the last alone, 3 by none, and so on.
    """
    for who, annotator in enumerate(annotators):
        for group, name in enumerate(CLASSES):
            for number in range(2 * per_page):
                page, slot = divmod(number, per_page)
                chosen = (0, 1, len(annotators) - 1, len(annotators))[number % 4] <= who
                yield view(annotator, who, group, name, number, page, slot, chosen)


def view(
    annotator: str, who: int, group: int, name: str, number: int, page: int, slot: int, chosen: bool
) -> View:
    """One picture that is entered, gone over, clicked if it is `chosen`, left and submitted."""
    start = 1000 * number + 60_000 * group
    x, y = 0.3 + 0.05 * (number % 5), 0.4 + 0.02 * who
    moves = [
        {"type": "move", "t": start + 20 * k, "x": x * k / 10, "y": y * k / 10} for k in range(10)
    ]
    clicks = [{"type": "click", "t": start + 250 + 10 * who, "x": x, "y": y, "state": True}]
    events = [
        {"type": "load", "t": start},
        {"type": "enter", "t": start},
        *moves,
        *(clicks if chosen else []),
        {"type": "leave", "t": start + 400},
        {"type": "submit", "t": 60_000 * group + 1000 * (6 + 6 * page) + 7000},
    ]
    row, column = divmod(slot, COLUMNS)
    place = {"x": 10 + column * (CELL + GAP), "y": 50 + row * (CELL + GAP)}
    return {
        "byproducts": 1,
        "kind": "browsing",
        "image": {
            "id": f"IMG {number:03}", "width": 640, "height": 480,
            "file": f"{name}/IMG {number:03}.jpg",
        },
        "asked": {"class": name},
        "shown": {**place, "width": CELL, "height": 120},
        "session": f"s{who}{group}", "task": f"t{group}", "page": page, "slot": slot,
        "annotator": f"{annotator}@lab.org", "epoch": 1_700_000_000_000 + 10_000_000 * who,
        "events": events, "selected": chosen,
    }  # fmt: skip


def convert(folder: Path, rows: Sequence[View], name: str = "own", **options: Any) -> Path:
    """The dataset folder of a log of some views."""
    log, out = folder / f"{name}.jsonl", folder / name
    log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    luab_data.convert_browsing(log, out, worker_key=b"k" * 32, shown=False, **options)
    return out


def changed(change: Callable[[View], None], *args: Any) -> list[View]:
    """The views of the world, each changed."""
    rows = [*views(*args)]
    for row in rows:
        change(row)
    return rows


def drop(*names: str) -> Callable[[View], None]:
    return lambda row: [row.pop(name, None) for name in names] and None


def untime(row: View) -> None:
    row.pop("epoch")
    row["events"] = [{k: v for k, v in e.items() if k != "t"} for e in row["events"]]


def without(*types: str) -> Callable[[View], None]:
    return lambda row: row.update(events=[e for e in row["events"] if e["type"] not in types])


# --- what a log may lack --------------------------------------------------------------------------

LACKING: dict[str, list[View]] = {
    "times": changed(untime),
    "clicks": changed(without("click")),
    "events": changed(lambda row: row.update(events=[])),
    "sessions": changed(drop("session", "task", "page", "slot")),
    "annotators": changed(drop("annotator")),
    "clock": changed(drop("epoch")),
    "layout": changed(drop("shown")),
}


@pytest.mark.parametrize("lacking", LACKING)
def test_a_log_may_lack_anything_and_is_whole(tmp_path: Path, lacking: str) -> None:
    report = luab_data.check(convert(tmp_path, LACKING[lacking]), shown=False)
    assert report.whole, report.problems
    odd = {finding.rule.id for finding in report.findings if finding.count}
    assert odd == ({"no-interaction"} if lacking == "events" else set())


# --- every verb -----------------------------------------------------------------------------------

WITH_NAMES = "kcd"
"""First letters of names of pictures that are in one class only."""


def rename(row: View) -> None:
    """A picture with a name and an id of its own, as boxes need it."""
    image, letter = row["image"], WITH_NAMES[CLASSES.index(row["asked"]["class"])]
    image["id"] = f"{letter}_{image['id'][4:]}"
    image["file"] = f"photos/{image['id']}.jpg"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of one name in three classes, no boxes."""
    return convert(tmp_path_factory.mktemp("own"), [*views()], title="My pets", license="mit")


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The box of picture n begins at 100 + 10 n px of 640 and is 200 px wide."""
    folder = tmp_path_factory.mktemp("boxed")
    rows = [
        f"{k}_{n:03}.jpg,{100 + 10 * n},120,{300 + 10 * n},300" for k in "kcd" for n in range(12)
    ]
    boxes = folder / "boxes.csv"
    boxes.write_text("\n".join(["image_id,xmin,ymin,xmax,ymax", *rows]) + "\n", encoding="utf-8")
    return convert(folder, changed(rename), boxes=boxes)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the pictures of `own`: class folders as macOS writes them, capitals at the end."""
    root = tmp_path_factory.mktemp("pictures") / "my photos"
    for name, number in itertools.product(CLASSES, range(12)):
        file = root / "train" / normalize("NFD", name) / f"IMG {number:03}.JPG"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (20 * number, 90, 120)).save(file)
    return root


def said(folder: Path, *words: str) -> str:
    """What the command line says of a dataset, of which it is no traceback."""
    done = CliRunner().invoke(main, [words[0], str(folder), *words[1:]])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.output


def test_check_finds_own_data_whole_and_nothing_odd(own: Path) -> None:
    report = luab_data.check(own, shown=False)
    assert report.whole and not any(finding.count for finding in report.findings)
    assert "browsing 1.0." in said(own, "check")


def test_statistics_are_of_what_is_in_the_log(own: Path) -> None:
    found = luab_data.stats(own)
    assert (found["num_images"], found["num_rounds"], found["num_seen_again"]) == (36, 108, 36)
    of_pairs = found.estimates["agreement"]
    # All agree on images 0 and 3 of four, one pair of three on the others.
    assert float(of_pairs.value) == pytest.approx((1 + 1 / 3 + 1 / 3 + 1) / 4)
    assert (float(of_pairs.n), float(of_pairs.null)) == (108, 0.5)
    assert found["unanimous_share"] == found["selected_share"] == 0.5
    assert found["selected_share_by_class"].tolist() == [0.5, 0.5, 0.5]
    assert len(found["selected_share_by_slot"]) == 6 and len(found["selected_share_by_page"]) == 2
    assert found["reading_forward"] == 1
    assert found["serpentine_forward"] == pytest.approx(0.8)  # four pictures in a row, then two
    text = said(own, "stats")
    assert "not in this log: accuracy_by_class, click_accuracy" in text and "  -  " not in text


def test_the_clicks_of_all_annotators_are_compared_with_boxes(boxed: Path, tmp_path: Path) -> None:
    boxes = {row["image_id"]: row["boxes"] for row in read(boxed, ["image_id", "boxes"])}
    hits: dict[str, list[bool]] = {}
    for row in luab_data.read_table(boxed, "rounds").to_pylist():
        for x, y in zip(row["selected_record_x"], row["selected_record_y"], strict=True):
            ((x0, y0, x1, y1),) = boxes[row["image_id"]]
            hit = x0 <= 640 * x <= x1 and y0 <= 480 * y <= y1
            hits.setdefault(row["worker_id"], []).append(hit)
    right = [hit for some in hits.values() for hit in some]
    assert len(right) == 54 and 0 < sum(right) < 54
    found = luab_data.stats(boxed)
    assert (found["num_with_boxes"], found["num_evaluated"]) == (36, 54)
    assert found["click_accuracy"] == pytest.approx(sum(right) / 54)
    assert found.estimates["click_accuracy"].num_workers == 3
    table = luab_data.read_table(boxed, "annotators").to_pylist()
    wanted = {worker: sum(some) / len(some) for worker, some in hits.items()}
    assert {row["worker_id"]: row["click_accuracy"] for row in table} == pytest.approx(wanted)
    workers = luab_data.annotators(boxed, shown=False)
    traits = dict(zip(workers.worker_id, workers.pooled["click_accuracy"].raw, strict=True))
    assert traits == pytest.approx(wanted)
    held_out = luab_data.calibrate(boxed, out=tmp_path / "points.parquet", shown=False)
    assert (held_out.num_clicks, held_out.num_workers) == (54, 3)
    assert (
        len(luab_data.read_table(boxed)) == pq.read_metadata(tmp_path / "points.parquet").num_rows
    )


def test_what_is_told_of_views_is_what_default_has_of_the_deciding_ones(boxed: Path) -> None:
    images, rounds = luab_data.read_table(boxed), luab_data.read_table(boxed, "rounds")
    names = ["image_id", "label", *Clicks.derived, "hull_area", "num_clicks", "parity_disagrees"]
    told = views_as_images(rounds, images, names)
    ordered = order_rounds(images["image_id"], rounds.drop_columns(["round"]), "majority")
    assert told.take(ordered.deciding).to_pylist() == images.select(names).to_pylist()


def test_a_table_of_clicks_takes_boxes_too(tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,xmin,ymin,xmax,ymax\na.jpg,10,10,50,40\n", encoding="utf-8")
    rows = [
        {"image": f"pics/{name}.jpg", "label": "dog", "x": x, "y": 0.5, "width": 100, "height": 60}
        for name, x in (("a", 0.3), ("b", 0.3), ("a", 0.9))
    ]
    for row, worker in zip(rows, ("ann", "ann", "bob"), strict=True):
        row["worker"] = worker
    options: Any = {"boxes": boxes, "units": "fraction", "worker_key": b"k" * 32, "shown": False}
    luab_data.convert_records(rows, tmp_path / "out", **options)
    found = luab_data.stats(tmp_path / "out")
    assert (found["num_evaluated"], found["click_accuracy"]) == (2, 0.5)


def test_boxes_of_no_image_or_of_two_are_refused(tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    for name, reason in (
        ("IMG 001", "expected boxes of pictures whose names"),
        ("x", "none of them"),
    ):
        boxes.write_text(f"image_id,xmin,ymin,xmax,ymax\n{name}.jpg,1,2,30,40\n", encoding="utf-8")
        with pytest.raises(ImagesError, match=reason):
            convert(tmp_path, [*views()], boxes=boxes)
    with pytest.raises(ImagesError, match="no such file"):
        convert(tmp_path, [*views()], boxes=tmp_path / "nowhere")


def test_annotators_agree_with_others_as_counted_one_by_one(own: Path) -> None:
    rows = luab_data.read_table(own, "rounds", columns=["image_id", "worker_id", "selected"])
    views_of = rows.to_pylist()
    wanted = {}
    for worker in {row["worker_id"] for row in views_of}:
        shares = []
        for row in (r for r in views_of if r["worker_id"] == worker):
            others = [
                r["selected"] == row["selected"]
                for r in views_of
                if r["image_id"] == row["image_id"] and r["worker_id"] != worker
            ]
            shares.append(sum(others) / len(others))
        wanted[worker] = sum(shares) / len(shares)
    table = luab_data.read_table(own, "annotators").to_pylist()
    assert {row["worker_id"]: row["agreement"] for row in table} == pytest.approx(wanted)
    assert [row["num_compared"] for row in table] == [36, 36, 36]
    found = luab_data.annotators(own, shown=False)
    assert dict(zip(found.worker_id, found.pooled["agreement"].raw, strict=True)) == pytest.approx(
        wanted
    )
    assert "agreement" in found.shown and "click_accuracy" not in found.shown
    assert said(own, "annotators").count("(0.") >= 3


def test_no_rule_of_the_paper_accepts_or_rejects_own_work(own: Path, tmp_path: Path) -> None:
    assert "no rule accepts or rejects work on My pets" in said(own, "accept")
    codes = tmp_path / "codes.csv"
    codes.write_text(
        "assignment_id,is_recorded,is_code_right\ns00,true,true\ns01,false,false\n",
        encoding="utf-8",
    )
    found = luab_data.accept(own, codes=codes, shown=False)
    decided = {row["assignment_id"]: row["decision"] for row in found.to_table().to_pylist()}
    assert decided["s00"] == "accepted" and decided["s01"] == "rejected" and len(decided) == 9
    assert "; --reward says what that costs" in said(own, "accept", "--codes", str(codes))


def test_calibration_asks_for_boxes(own: Path) -> None:
    assert "own data: --boxes" in said(own, "calibrate")


def test_derived_columns_stay_what_they_are(own: Path, tmp_path: Path) -> None:
    done = luab_data.derive(own, out=tmp_path / "again", shown=False)
    assert not done.changed and luab_data.check(tmp_path / "again", shown=False).whole


def test_publishing_needs_nothing_of_the_releases(own: Path) -> None:
    assert "would go to" in said(own, "publish", "--repo-id", "a/b", "--dry-run")
    assert said(own, "where").strip() == str(own)


def test_pictures_are_found_by_class_and_name_or_by_the_file_that_is_logged(
    own: Path, pictures: Path, tmp_path: Path
) -> None:
    joined = luab_data.join_images(own, pictures)
    assert len(joined.table) == 36 and joined.images_without_row.count == 0
    for row in joined.table.select(["image_id", "wnid", "image_path"]).to_pylist():
        name = row["image_id"].removeprefix(f"{row['wnid']}_")
        assert normalize("NFC", row["image_path"]).endswith(f"/{row['wnid']}/{name}.JPG")
    table = luab_data.read_table(own, columns=["image_id", "wnid", "image_file"])
    assert len(luab_data.join_images(table, pictures / "train").table) == 36

    def number(row: View) -> None:
        row["image"]["file"] = f"https://lab.org/a%20b/{row['image']['file']}?v=1"
        row["image"]["id"] = f"{CLASSES.index(row['asked']['class'])}{row['image']['id'][4:]}"

    by_file = luab_data.join_images(convert(tmp_path, changed(number)), pictures)
    assert len(by_file.table) == 36
    assert by_file.table["image_path"][0].as_py().endswith("IMG 000.JPG")


def test_a_file_as_near_to_two_rows_is_nobodys(own: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures / "train" / "dog", tmp_path / "flat")
    with pytest.raises(ImagesError, match="none of its 12 images"):
        luab_data.join_images(own, tmp_path / "flat")


@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "coco-keypoints", "fiftyone"])
def test_exports_name_classes_with_slashes(
    own: Path, pictures: Path, tmp_path: Path, form: str
) -> None:
    done = luab_data.export(
        own, pictures, tmp_path / "out", format=form, classes=["cat/tabby"], shown=False
    )
    is_labelled = form in ("imagefolder", "webdataset")
    table = luab_data.read_table(own, columns=["wnid", "selected"]).to_pylist()
    selected = sum(row["selected"] for row in table if row["wnid"] == "cat/tabby")
    assert 0 < selected < 12
    assert done.num_images == (selected if is_labelled else 12)
    assert done.num_unselected == (12 - selected if is_labelled else 0)
    assert done.rows_without_image.count == 0
    if form == "imagefolder":
        assert len([*(tmp_path / "out" / "cat%2Ftabby").glob("*.JPG")]) == selected
    if form == "coco-keypoints":
        written = json.loads(done.out.read_text(encoding="utf-8"))
        assert [c["name"] for c in written["categories"]] == [*CLASSES]


def test_a_fraction_is_taken_of_every_own_class(own: Path) -> None:
    table = luab_data.read_table(own, columns=["image_id", "wnid"])
    kept = table.filter(luab_data.splits.stratified_fraction(table, 0.5))
    assert sorted(kept["wnid"].to_pylist()) == sorted(CLASSES * 6)


def test_own_data_load_with_their_class_names(own: Path) -> None:
    loaded = luab_data.load_dataset(own, split="train")
    assert loaded.features["label"].names == [*CLASSES]
    assert "Käse" in (own / "README.md").read_text(encoding="utf-8")


def test_a_report_shows_pages_of_sessions(own: Path, pictures: Path, tmp_path: Path) -> None:
    done = luab_data.report(own, tmp_path / "out", images=pictures, page=["s00:1"], shown=False)
    page = done.page.read_text(encoding="utf-8")
    assert done.num_replays == 1 and done.num_without_picture == 0
    assert "<title>My pets: what the byproducts say</title>" in page
    assert "of the pairs of views of one image by different annotators ended alike" in page
    assert "Page 1 of s00" in page and "6 pictures · 1 selected" in page
    assert "Not in this log: click accuracy by class" in page
    for word in ("48", "ILSVRC", "HIT", "paper"):
        assert word not in re.sub(r"<svg.*?</svg>|Definitions are[^<]*", "", text_of(page)), word


def text_of(page: str) -> str:
    """What people read of a page."""
    return unescape(re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL))


@pytest.mark.parametrize("name", [*OWN_BROWSING_FIGURES])
def test_every_figure_is_drawn_or_says_what_it_lacks(own: Path, boxed: Path, name: str) -> None:
    assert luab_data.draw(name, boxed) is not None
    if {"slots", "pages", "sides", "annotators"} & {name}:
        assert luab_data.draw(name, own) is not None
    else:
        with pytest.raises(OptionError, match="holds no such values"):
            luab_data.draw(name, own)
    plt.close("all")


# --- which view decides ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deciding", "selected"),
    [("any", "IMG 001"), ("majority", "IMG 001"), ("all", "IMG 000"), ("last", "IMG 002")],
)
def test_the_rule_decides_and_trace_tells_it(tmp_path: Path, deciding: Any, selected: str) -> None:
    made = convert(tmp_path, [*views()], deciding=deciding)
    rows = {row["image_id"]: row for row in read(made, ["image_id", "selected", "num_selected"])}
    ended = [rows[f"IMG {n:03}"]["selected"] for n in range(4)]
    assert ended == {
        "any": [True, True, True, False], "majority": [True, True, False, False],
        "all": [True, False, False, False], "last": [True, True, True, False],
    }[deciding]  # fmt: skip
    assert [rows[f"IMG {n:03}"]["num_selected"] for n in range(4)] == [3, 2, 1, 0]
    assert luab_data.check(made, shown=False).whole
    record = luab_data.trace(made, f"my photos/Käse/{selected}.JPG")
    assert record.image["selected"] and record.decision is not None
    assert deciding == "any" or f"by the rule `{deciding}` it is selected" in record.decision["why"]
    assert ".xml" not in said(made, "trace", selected)


def test_clicks_of_an_image_are_of_its_views(own: Path) -> None:
    found = luab_data.clicks(own, "cat/tabby/IMG 001.jpg")
    assert found.image_id == "cat/tabby_IMG 001" and found.num_rounds == 3
    assert [(c.round, round(c.x, 2), round(c.y, 2)) for c in found.clicks] == [
        (2, 0.35, 0.42), (3, 0.35, 0.44),
    ]  # fmt: skip
    assert found.title == "My pets" and "<svg" in found.svg()


# --- what clicks may be ---------------------------------------------------------------------------


def by_key(row: View) -> None:
    for event in row["events"]:
        if event["type"] == "click":
            del event["x"], event["y"]


def taken_back_and_again(row: View) -> None:
    for at, event in enumerate(row["events"]):
        if event["type"] == "click":
            again = [{**event, "state": False}, {**event, "x": 0.9}]
            row["events"][at + 1 : at + 1] = again
            return


def test_a_selection_by_key_has_no_place_but_is_one(tmp_path: Path) -> None:
    rows = read(convert(tmp_path, changed(by_key)), None)
    chosen = [row for row in rows if row["selected"]]
    assert len(chosen) == 18
    for row in chosen:
        assert row["num_clicks"] == 1 and row["final_click_x"] is None and row["has_interaction"]
        assert row["parity_disagrees"] is False and row["click_in_box"] is None


def test_clicks_that_take_a_selection_back_are_counted_and_are_no_final_clicks(
    tmp_path: Path,
) -> None:
    rows = read(convert(tmp_path, changed(taken_back_and_again)), None)
    assert {row["num_clicks"] for row in rows if row["selected"]} == {3}
    assert {row["final_click_x"] for row in rows if row["selected"]} == {0.9}
    assert all(row["first_click_x"] < 0.9 for row in rows if row["selected"])


def test_what_needs_times_is_null_without_them(tmp_path: Path) -> None:
    made = convert(tmp_path, changed(untime))
    for row in read(made, None):
        assert (row["final_click_x"] is not None) == row["selected"]
        assert row["trace_length"] == 10 and row["num_selected"] <= 3
        for name in (
            "dwell_time_ms",
            "trace_quantile_x",
            "time_quantile_x",
            "last_n_x",
            "hull_area",
        ):
            assert row[name] is None, name
    rounds = luab_data.read_table(made, "rounds").to_pylist()
    assert {t for row in rounds for t in row["mouse_tracking_time_ms"]} == {None}
    assert "not known: not every record has a time" in said(made, "trace", "IMG 000")
    assert luab_data.clicks(made, "IMG 000").clicks == ()


def test_one_annotator_seeing_an_image_twice_is_told(tmp_path: Path) -> None:
    again = [{**row, "session": f"{row['session']}-again"} for row in views(("ann",))]
    report = luab_data.check(convert(tmp_path, [*views(("ann",)), *again]), shown=False)
    assert {f.rule.id: f.count for f in report.findings if f.count} == {"same-annotator": 72}
    assert np.isnan(luab_data.stats(tmp_path / "own")["agreement"])


# --- pages that are not those of the release's tool -----------------------------------------------


def test_a_page_without_places_is_a_plain_grid(tmp_path: Path) -> None:
    made = convert(tmp_path, changed(drop("shown", "page")))
    (page,) = OwnBrowsingPages().read(made, OwnBrowsingPages().named(made, "s21"))
    assert page.title == "Session s21" and "places are not in the log: a plain grid" in page.facts
    frames = [(p.x, p.y, p.w, p.h) for p in page.replay.pictures]
    assert len(set(frames)) == 12 and {frame[2:] for frame in frames} == {(160, 120)}
    assert page.replay.count("click") == 9


def test_without_sessions_a_view_is_a_page_of_one_picture(tmp_path: Path) -> None:
    made = convert(tmp_path, LACKING["sessions"])
    keys = OwnBrowsingPages().named(made, "IMG 001.jpg")
    assert keys == [(None, None, "IMG 001", number) for number in (1, 2, 3)]
    _, second, _ = OwnBrowsingPages().read(made, keys)
    assert second.title == "View 2 of IMG 001" and second.replay.count("click") == 1
    done = luab_data.report(made, tmp_path / "out", shown=False)
    assert done.num_replays == 4
    assert luab_data.stats(made)["num_workers"] == 3
    for name in ("page_time_ms", "hit_time_ms", "reading_forward", "serpentine_forward"):
        assert np.isnan(luab_data.stats(made, [name])[name])


def test_pages_are_named_by_session_and_image(own: Path) -> None:
    pages = OwnBrowsingPages()
    assert pages.named(own, "s00") == [("s00", 0, None, None), ("s00", 1, None, None)]
    assert pages.named(own, "s00:1") == pages.named(own, "IMG 007")[:1] == [("s00", 1, None, None)]
    assert [key[0] for key in pages.named(own, "dog/IMG 000.jpg")] == ["s02", "s12", "s22"]
    with pytest.raises(DatasetError, match="SESSION:PAGE; its pages are 0, 1"):
        pages.named(own, "s00:7")
    with pytest.raises(DatasetError, match="did you mean"):
        pages.named(own, "s0:7")


def read(folder: Path, columns: list[str] | None) -> list[View]:
    """Rows of `default`."""
    found: list[View] = luab_data.read_table(folder, columns=columns).to_pylist()
    return found
