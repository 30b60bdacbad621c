"""A tagging log of somebody's own, with labels of its own: through every stage, and its vocabulary.

Three people saw each picture of 100 x 50 px; a Käse fills its left half, a dog its right one. ann
puts both icons into the left half, bob each into its own, cid moves Käse to the right and adds sky.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import luab_data
from luab_data.errors import DatasetError, ImagesError, OptionError
from luab_data.kinds import OwnTagging, kind_of
from luab_data.pipeline import tagging_batch
from luab_data.provenance import as_text
from luab_data.raw.instances import read_instances
from luab_data.store.folder import read_manifest
from luab_data.store.load import read_table
from luab_data.tools import COCO, Vocabulary
from luab_data.views.convert import convert_tagging

GROUPS = {"food": ["Käse", "cup"], "beasts": ["dog", "cat", "ネコ"], "out": ["sky", "tree"]}
NAMES = ("Käse", "cup", "dog", "cat", "ネコ", "sky", "tree")
IDS = [f"IMG {k}" for k in range(4)]
KEY = b"k" * 32
LEFT, RIGHT = (0.25, 0.5), (0.75, 0.5)
DONE = {
    "ann": [("add", "Käse", LEFT), ("add", "dog", LEFT)],
    "bob": [("add", "Käse", LEFT), ("add", "dog", RIGHT)],
    "cid": [("add", "Käse", LEFT), ("move-label", "Käse", RIGHT), ("add", "sky", (0.5, 0.1))],
}


def view(image_id: str, annotator: str, page: int, *, timed: bool = True) -> dict[str, Any]:
    events: list[dict[str, Any]] = [
        {"type": "load", "t": 0},
        {"type": "category", "t": 100, "label": "beasts", "pointer": "keyboard"},
        {"type": "move", "t": 150, "x": 0.1, "y": 0.2},
        {"type": "move", "t": 160, "x": 0.2, "y": 0.3},
    ]
    place: dict[str, tuple[float, float]] = {}
    for number, (kind, label, at) in enumerate(DONE[annotator]):
        event = {"type": kind, "t": 200 + 100 * number, "label": label, "x": at[0], "y": at[1]}
        if label in place:
            event |= dict(zip(("from_x", "from_y"), place[label], strict=True))
        place[label] = at
        events.append(event)
    events.append({"type": "submit", "t": 1000})
    if not timed:
        for event in events:
            del event["t"]
    return {
        **{"byproducts": 1, "kind": "tagging", "asked": {"classes": [*NAMES]}},
        "image": {"id": image_id, "width": 100, "height": 50},
        "shown": {"x": 0, "y": 0, "width": 200, "height": 100},
        **{"session": f"s-{annotator}", "page": page, "annotator": annotator, "events": events},
    }


def write_log(path: Path, **options: Any) -> Path:
    lines = [view(i, who, page, **options) for who in DONE for page, i in enumerate(IDS)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_instances(path: Path, ids: dict[str, int]) -> Path:
    """Of every picture a Käse and a dog, of the first a zebra too."""
    annotations = []
    for number in range(len(IDS)):
        objects = [("Käse", 0), ("dog", 50), *([("zebra", 20)] if number == 0 else [])]
        for name, x in objects:
            corners = [x, 0, x + 50, 0, x + 50, 50, x, 50]
            annotations.append(
                {"id": len(annotations), "image_id": 90 - number, "category_id": ids[name],
                 "bbox": [x, 0, 50, 50], "segmentation": [corners]}
            )  # fmt: skip
    content = {
        "images": [
            {"id": 90 - k, "file_name": f"pics/{image_id}.png", "width": 100, "height": 50}
            for k, image_id in enumerate(IDS)
        ],
        # macOS writes ä as two characters.
        "categories": [{"id": k, "name": n.replace("ä", "a\u0308")} for n, k in ids.items()],
        "annotations": annotations,
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    write_log(root / "log.jsonl")
    write_instances(root / "instances.json", {"dog": 3, "Käse": 30, "zebra": 5, "cup": 1})
    (root / "classes.json").write_text(json.dumps(GROUPS))
    (root / "pictures").mkdir()
    for image_id in IDS:
        Image.new("RGB", (100, 50)).save(root / "pictures" / f"{image_id}.png")
    done = convert_tagging(
        root / "log.jsonl", root / "my-ab", classes=root / "classes.json",
        instances=root / "instances.json", worker_key=KEY, title="Käse und Katzen",
    )  # fmt: skip
    some = done.remarks
    assert any("4 of the 7 classes are not in its categories (cat, ネコ, sky" in r for r in some)
    assert any(
        "left out with their annotations, since their names are no class here: zebra (1)" in remark
        for remark in some
    )
    return root


def test_the_view_that_decides_gives_the_icons_and_masks_go_by_the_names_of_categories(
    world: Path, tmp_path: Path
):
    images = read_table(world / "my-ab").to_pylist()
    assert [(row["image_id"], row["num_views"], row["view"]) for row in images] == [
        (image_id, 3, 2) for image_id in IDS
    ]
    first = images[0]
    assert (first["icon_label"], first["icon_name"]) == ([0, 2], ["Käse", "dog"])
    assert (first["labels"], first["box_label"]) == ([0, 2], [0, 2])  # no zebra, though it is there
    assert first["boxes"] == [[0, 0, 50, 50], [50, 0, 100, 50]]
    assert first["is_on_object"] == [True, True]
    last = tmp_path / "last"
    convert_tagging(
        world / "log.jsonl", last, classes=GROUPS, instances=world / "instances.json",
        deciding="last", worker_key=KEY,
    )  # fmt: skip
    row = read_table(last).to_pylist()[0]
    assert (row["view"], row["icon_name"]) == (3, ["Käse", "sky"])
    assert row["is_on_object"] == [False, None]  # the file knows of no sky
    assert (row["is_last_add_on_object"], row["num_adds_on_object"]) == ([True, None], [1, None])
    found = luab_data.stats(last).counts
    assert (found["icon_precision"], found["recall"]) == (0.0, 0.5)


def test_every_view_counts_in_annotators_and_only_deciding_ones_are_judged(world: Path):
    table = read_table(world / "my-ab", "annotators").to_pylist()
    told = sorted((r["num_images"], r["num_placed"], r["num_evaluated"]) for r in table)
    assert told == [(4, 8, 0), (4, 8, 0), (4, 8, 8)]
    found = luab_data.annotators(world / "my-ab").to_table().to_pylist()
    assert sorted(r["icon_precision"] or 0 for r in found) == [0, 0, 1]
    assert {r["keyboard_share"] for r in found} == {1.0}


def test_statistics_and_figures_have_the_places_of_the_vocabulary(world: Path):
    found = luab_data.stats(world / "my-ab", resamples=20)
    assert (found["icon_precision"], found["recall"]) == (1.0, 1.0)
    curve = found.curve("class_recall").to_pylist()
    assert [row["class"] for row in curve] == [*NAMES]
    assert [row["value"] == 1 for row in curve] == [True, False, True, *[False] * 4]
    shares = {r["superclass"]: r["value"] for r in found.curve("superclass_time_share").to_pylist()}
    assert shares == pytest.approx({"food": 0.1, "beasts": 0.9, "out": 0})
    assert found.counts["num_records"] == 4 and "recall_hit_mean" not in found
    assert float(found.estimates["time_page_ms"].n) == 12  # all views
    for name in ("class_recall", "superclasses", "sequences", "annotators"):
        luab_data.draw(name, world / "my-ab")
    labels = luab_data.draw("superclasses", world / "my-ab").get_yticklabels()
    assert [t.get_text() for t in labels] == [*GROUPS]


def test_check_finds_nothing_and_lint_knows_no_layout(world: Path, tmp_path: Path):
    report = luab_data.check(world / "my-ab", shown=False)
    assert report.whole and not any(finding.count for finding in report.findings)
    rules = {finding.rule.id for finding in report.findings}
    layout = {"page-height", "page-range", "beyond-border", "category-jump", "icons-on-one-point"}
    assert not rules & layout and {"double-add", "unknown-name", "category-name"} <= rules
    for key, value in (("superclasses", {"food": ["Käse"]}), ("classes", [*NAMES[:6], "Käse"])):
        copied = tmp_path / key
        shutil.copytree(world / "my-ab", copied)
        manifest = json.loads((copied / "manifest.json").read_text())
        (copied / "manifest.json").write_text(json.dumps({**manifest, key: value}))
        damaged = luab_data.check(copied, shown=False)
        assert damaged.statuses["manifest"] == "failed" and damaged.statuses["values"] == "ok"


def test_one_image_is_explained_with_all_its_views(world: Path):
    text = as_text(luab_data.trace(world / "my-ab", "pics/IMG 1.png"))
    assert "deciding view   view 2 of 3: the one whose classes agree most" in text
    assert "dog   1" in text and "actions: view 3 of 3" in text
    found = luab_data.clicks(world / "my-ab", "IMG 1")
    assert (found.num_rounds, found.deciding_round) == (3, 2)
    (moved,) = [click for click in found.clicks if click.event == "move"]
    assert (moved.name, moved.x, moved.round) == ("Käse", 0.75, 3)
    assert found.svg(round=2).count("missed") < found.svg(round=3).count("missed")  # no dog there


def test_report_card_and_loaders_say_its_names(world: Path, tmp_path: Path):
    report = luab_data.report(world / "my-ab", tmp_path / "report", images=world / "pictures")
    page = report.page.read_text()
    assert "Käse und Katzen" in page and ">sky<" in page and ", view " in page
    assert "a HIT" not in page and "PersonAccessory" not in page
    card = (world / "my-ab" / "README.md").read_text()
    assert "'4': ネコ" in card and "Käse und Katzen" in card
    features = luab_data.load_dataset(world / "my-ab", split="train").features
    assert features["icon_label"].feature.names == [*NAMES]


def test_exports_have_its_categories(world: Path, tmp_path: Path):
    for name in ("imagefolder", "webdataset", "fiftyone"):
        done = luab_data.export(world / "my-ab", world / "pictures", tmp_path / name, format=name)
        assert done.num_images == 4
    out = tmp_path / "icons.json"
    luab_data.export(
        world / "my-ab", world / "pictures", out, format="coco-keypoints", classes=["Käse"]
    )
    content = json.loads(out.read_text())
    kinds = [(c["id"], c["name"], c["supercategory"]) for c in content["categories"]]
    group_of = {name: group for group, names in GROUPS.items() for name in names}
    assert kinds == [(k, name, group_of[name]) for k, name in enumerate(NAMES, 1)]
    assert [a["category_id"] for a in content["annotations"]] == [1, 3] * 4
    assert content["annotations"][1]["keypoints"] == [75.0, 25.0, 2]
    with pytest.raises(OptionError, match=r"'person': not one of the 7 of the dataset"):
        luab_data.export(
            world / "my-ab", world / "pictures", tmp_path / "x", format="imagefolder",
            classes=["person"],
        )  # fmt: skip


def test_derive_gives_the_same_whatever_numbers_the_categories_have(world: Path, tmp_path: Path):
    renumbered = write_instances(tmp_path / "i.json", {"zebra": 1, "cup": 2, "Käse": 4, "dog": 3})
    for number, given in enumerate((None, world / "instances.json", renumbered)):
        done = luab_data.derive(world / "my-ab", out=tmp_path / str(number), instances=given)
        assert not done.changed
    manifest = read_manifest(tmp_path / "2")
    assert manifest["superclasses"] == GROUPS and manifest["classes"] == [*NAMES]
    assert manifest["instances"]["left_out_categories"] == {"zebra": 1}


def test_no_rule_of_the_paper_accepts_or_calibrates(world: Path, tmp_path: Path):
    with pytest.raises(OptionError, match="no rule accepts or rejects work on Käse und Katzen"):
        luab_data.accept(world / "my-ab")
    codes = tmp_path / "codes.csv"
    codes.write_text(
        "assignment_id,is_code_right,is_recorded\ns-ann,true,true\ns-bob,false,false\n"
    )
    decided = luab_data.accept(world / "my-ab", codes=codes).table.to_pylist()
    assert [(r["assignment_id"], r["decision"], r["num_pages"]) for r in decided] == [
        ("s-ann", "accepted", 4), ("s-bob", "rejected", 4), ("s-cid", "accepted", 4),
    ]  # fmt: skip
    with pytest.raises(DatasetError, match="no final click"):
        luab_data.calibrate(world / "my-ab")


def test_without_superclasses_nothing_is_told_of_them_and_without_times_nothing_is_lost(
    tmp_path: Path,
):
    log = write_log(tmp_path / "log.jsonl", timed=False)
    convert_tagging(log, tmp_path / "plain", worker_key=KEY)
    kind = kind_of(read_manifest(tmp_path / "plain"))
    assert isinstance(kind, OwnTagging) and kind.vocabulary == Vocabulary(NAMES)
    names = {m.name for m in kind.statistics.measures}
    assert "class_recall" in names and not any("superclass" in n or "step" in n for n in names)
    assert "superclasses" not in kind.figures
    lacking = {m.name for m in luab_data.stats(tmp_path / "plain", resamples=5).lacking}
    assert {"icon_precision", "class_recall", "time_page_ms"} <= lacking
    assert "sequence_violation_share" not in lacking
    assert "keyboard_share" not in {t.name for t in kind.workers.traits}
    report = luab_data.check(tmp_path / "plain", shown=False)
    assert report.whole and not any(finding.count for finding in report.findings)
    luab_data.report(tmp_path / "plain", tmp_path / "report")
    found = luab_data.clicks(tmp_path / "plain", "IMG 0")
    assert {click.time_ms for click in found.clicks} == {0} and len(found.clicks) == 7
    images = read_table(tmp_path / "plain").to_pylist()
    assert images[0]["time_spent_ms"] is None and images[0]["final_x"] == [0.25, 0.75]


def test_labels_beyond_255_are_kept(tmp_path: Path):
    vocabulary = Vocabulary(tuple(f"thing {k}" for k in range(300)))
    square = [[10, 10, 30, 10, 30, 30, 10, 30]]
    content = {
        "images": [{"id": 1, "width": 40, "height": 40}],  # no file name: known by the id
        "categories": [{"id": k, "name": f"Thing_{k}"} for k in range(300)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 299, "segmentation": square,
                         "bbox": [10, 10, 20, 20]}],
    }  # fmt: skip
    (tmp_path / "i.json").write_text(json.dumps(content))
    truth = read_instances(tmp_path / "i.json", vocabulary=vocabulary, by_file=True)
    kind = kind_of({"dataset": "tagging", "classes": vocabulary.names})
    row: dict[str, Any] = dict.fromkeys(kind.events.schema().names)
    row |= {name: [] for name in row if "histories" in name or "tracking" in name}
    row |= {f"action_histories_{n}": [v] for n, v in (
        ("action_type", "add"), ("icon_type", "thing 299"), ("point_from_x", None),
        ("point_from_y", None), ("point_to_x", 0.5), ("point_to_y", 0.5), ("time_at_ms", None),
    )}  # fmt: skip
    views = pa.Table.from_pylist([{**row, "image_id": "1", "view": 1}], kind.events.schema())
    raw = views.drop_columns(["page_width", "page_height"])
    batch = tagging_batch(kind, raw, np.array([0, 1]), truth)
    (image,) = batch.images.to_pylist()
    assert image["box_label"] == image["icon_label"] == image["labels"] == [299]
    assert image["is_on_object"] == [True]


def test_categories_without_names_or_of_other_things_are_refused(tmp_path: Path):
    def read(categories: list[dict[str, Any]]) -> None:
        content = {"images": [], "annotations": [], "categories": categories}
        (tmp_path / "i.json").write_text(json.dumps(content))
        read_instances(tmp_path / "i.json", vocabulary=Vocabulary(NAMES), by_file=True)

    with pytest.raises(ImagesError, match="have no names; expected those of the 7 classes"):
        read([{"id": 1}])
    with pytest.raises(
        ImagesError, match=r"category 1 is 'dogs' \(is it 'dog'\?\); .*the 7 classes"
    ):
        read([{"id": 1, "name": "dogs"}])


@pytest.mark.parametrize(
    ("names", "groups", "words"),
    [
        (("a", "b", "a"), {}, "classes: found 'a' 2 times; expected each class once"),
        (("é", "e\u0301"), {}, "classes: found 'é' 2 times"),
        (("a", " "), {}, "classes: found a blank name"),
        (("a", "b"), {"one": ("a",)}, "superclasses: 'b' is in 0 of them; expected every class"),
        (("a",), {"one": ("a",), "two": ("a",)}, "superclasses: 'a' is in 2 of them"),
        (("a",), {"one": ("a", "c")}, "superclasses: 'c' is none of the 1 classes; add it"),
    ],
)
def test_a_vocabulary_that_contradicts_itself_is_refused(names: Any, groups: Any, words: str):
    with pytest.raises(OptionError, match=words):
        Vocabulary(names, groups)


def test_the_vocabulary_of_coco_is_the_tools():
    assert (len(COCO.names), len(COCO.superclasses), COCO.ids[79]) == (80, 11, 90)
    assert COCO.group_of("dog") == "Animal" and str(COCO) == "COCO's 80 classes"


def test_pictures_and_instances_are_found_by_the_file_that_the_log_names(
    world: Path, tmp_path: Path
):
    """Ids may be anything: a number, a name with its extension, a path out of the folder."""
    named = {"17": "site/pics/IMG 0.png", "IMG 1.png": None, "../IMG 2": "IMG 2.png", "x": None}
    lines = [view(image_id, "bob", 0) for image_id in named]
    for line, file in zip(lines, named.values(), strict=True):
        line["image"] |= {"file": file} if file else {}
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    convert_tagging(
        log, tmp_path / "ab", classes=GROUPS, instances=world / "instances.json", worker_key=KEY
    )
    rows = read_table(tmp_path / "ab").to_pylist()
    assert [row["image_file"] for row in rows] == [*named.values()]
    assert [row["labels"] for row in rows] == [[0, 2]] * 3 + [None]
    joined = luab_data.join_images(tmp_path / "ab", world / "pictures").table.to_pylist()
    found = {row["image_id"]: Path(row["image_path"]).stem for row in joined}
    assert found == {"17": "IMG 0", "IMG 1.png": "IMG 1", "../IMG 2": "IMG 2"}
    luab_data.export(tmp_path / "ab", world / "pictures", tmp_path / "out", format="imagefolder")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [
        *("..%2FIMG 2.png", "17.png", "IMG 1.png.png"),
    ]


def test_the_last_view_is_the_last_by_the_clock_where_every_view_of_an_image_has_one(
    tmp_path: Path,
):
    lines = [view(image_id, who, 0) for image_id in ("a", "b") for who in DONE]
    for number, line in enumerate(lines):
        if number < 5:  # the last one of `b` does not say when it was
            line["epoch"] = 1_700_000_000_000 - 60_000 * number
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    convert_tagging(log, tmp_path / "ab", deciding="last", worker_key=KEY)
    rows = read_table(tmp_path / "ab").to_pylist()
    assert [row["hit_id"] for row in rows] == ["s-ann", "s-cid"]
    views = read_table(tmp_path / "ab", "actions").to_pylist()
    assert [(r["hit_id"], r["view"]) for r in views[:3]] == [
        ("s-cid", 1),
        ("s-bob", 2),
        ("s-ann", 3),
    ]
