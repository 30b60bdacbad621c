"""luab_data.simulate, ImageNet-AB: byte format, habits of the tool, truth, statistics."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import re
import tarfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luab_data.boxes import LabelledImage
from luab_data.cli.simulate import simulate
from luab_data.errors import ImagesError, OptionError, OutputError
from luab_data.simulate import is_simulated
from luab_data.simulate.imagenet import ImagenetSimulation, simulate_imagenet
from luab_data.simulate.page import (
    Hit,
    Picture,
    Shown,
    annotation,
    positions,
    rendered_sizes,
    serpentine,
)
from luab_data.simulate.workers import IMAGENET_HABITS, Worker, move

EXCERPTS = Path(__file__).parents[1].parent / "shared/data/release-excerpts"
KEYS = (
    *("assignment_id", "estimateTime", "hit_id", "hit_submit_time", "hoveredCount"),
    *("hoveredRecord", "imageHeight", "imageID", "imagePosition", "imageWidth", "image_idx"),
    *("imagenet_hit_id", "mouseTracking", "originalImageHeight", "originalImageWidth"),
    *("page_idx", "selected", "selectedCount", "selectedRecord", "worker_id"),
)


def some_images(number: int, classes: int = 4, seed: int = 0) -> list[LabelledImage]:
    """Images of the release's sizes, one or two boxes each, every tenth without."""
    rng = np.random.default_rng(seed)
    sizes = [(500, 375), (375, 500), (500, 333), (64, 64), (1200, 800)]
    images = []
    for index in range(number):
        width, height = sizes[int(rng.integers(len(sizes)))]
        corners = np.sort(rng.random((1 + index % 7 // 6, 2, 2)), axis=1).reshape(-1, 4)
        boxes = np.floor(corners * (width, height, width, height))
        wnid = f"n0000000{index % classes}"
        images.append(
            LabelledImage(
                image_id=f"{wnid}_{index}", wnid=wnid, width=width, height=height,
                boxes=boxes if index % 10 else np.empty((0, 4)),
            )
        )  # fmt: skip
    return images


class Log:
    """A written log, read back by nothing but ElementTree and json."""

    def __init__(self, images: list[LabelledImage], folder: Path, **options: Any) -> None:
        self.images = {image.image_id: image for image in images}
        self.out, self.truth_path = folder / "log.tar.gz", folder / "truth.jsonl"
        self.counts: ImagenetSimulation = simulate_imagenet(
            images, self.out, truth=self.truth_path, **options
        )
        with tarfile.open(self.out) as tar:
            self.members = tar.getmembers()
            files = [tar.extractfile(member) for member in self.members]
            self.texts = {
                Path(m.name).stem: f.read().decode()
                for m, f in zip(self.members, files, strict=True)
                if f is not None
            }
        self.roots = {name: ElementTree.fromstring(text) for name, text in self.texts.items()}
        lines = self.truth_path.read_text().splitlines()
        self.truth = {row["image_id"]: row for row in map(json.loads, lines)}

    def blocks(self) -> list[tuple[dict[str, Any], dict[str, Any], LabelledImage]]:
        """(parsed block, its truth, its image), blocks in order of time."""
        result = []
        for name, root in self.roots.items():
            parsed = sorted(map(parse, root.findall("metadata")), key=lambda b: b["submit"])
            rounds = self.truth[name]["rounds"]
            assert len(parsed) == len(rounds)
            result.extend((p, r, self.images[name]) for p, r in zip(parsed, rounds, strict=True))
        return result


def parse(block: ElementTree.Element) -> dict[str, Any]:
    def records(key: str) -> list[ElementTree.Element]:
        found = block.findall(key)
        return [] if [e.text for e in found] == ["None"] else found

    def points(key: str) -> list[tuple[int, float, float]]:
        return [
            (int(e.findtext("time", "")), float(e.findtext("x", "")), float(e.findtext("y", "")))
            for e in records(key)
        ]

    return {
        **{key: block.findtext(key) for key in KEYS},
        "submit": int(block.findtext("hit_submit_time", "")),
        "hovered": [
            (e.findtext("action"), int(e.findtext("time", ""))) for e in records("hoveredRecord")
        ],
        "tracking": points("mouseTracking"),
        "selections": points("selectedRecord"),
        "selected": {"True": True, "False": False}[block.findtext("selected", "")],
    }


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    images = some_images(700)
    return Log(images, tmp_path_factory.mktemp("log"), seed=3, skipped_fraction=0.02)


# ---------------------------------------------------------------- the byte format


def test_a_drawn_record_with_boxes_is_written_to_the_letter() -> None:
    image = LabelledImage(
        image_id="n1_7",
        wnid="n1",
        width=500,
        height=375,
        boxes=np.array([[36.0, 0.0, 319.5, 346.0]]),
    )
    picture = Picture(324, 243)
    picture.enter(1000.9)
    picture.moves([1001.2], [[81.0, 0.0]])
    picture.click(1050.0, (162, 243))
    hit = Hit(
        assignment_id="3A", hit_id="3B", imagenet_hit_id="0c", submit_time=2,
        worker=Worker(worker_id="00FF", style="accurate", pace=1.0),
    )  # fmt: skip
    block = Shown(image=image, page_idx=1, slot=29, position=(857, 1678))
    untouched = Shown(image=image, page_idx=9, position=(5, 6))
    absent = Shown(image=image, page_idx=9, position=(5, 6), is_loaded=False)
    for shown, logged in ((block, picture), (untouched, Picture(324, 243)), (absent, picture)):
        shown.hit, shown.picture = hit, logged
    text = annotation(image, [block, untouched, absent], has_box_part=True)
    first, second, third = text.split("  <metadata>\n")[1:]
    assert text.split("  <metadata>\n")[0] == (
        "<annotation>\n  <folder>n1</folder>\n  <filename>n1_7</filename>\n"
        "  <source>\n    <database>ILSVRC_2012</database>\n  </source>\n"
        "  <size>\n    <width>500</width>\n    <height>375</height>\n    <depth>3</depth>\n"
        "  </size>\n  <segmented>0</segmented>\n"
        "  <object>\n    <name>n1</name>\n    <pose>Unspecified</pose>\n"
        "    <truncated>0</truncated>\n    <difficult>0</difficult>\n    <bndbox>\n"
        "      <xmin>36</xmin>\n      <ymin>0</ymin>\n"
        "      <xmax>319.5</xmax>\n      <ymax>346</ymax>\n    </bndbox>\n  </object>\n"
    )
    assert first == (
        "    <assignment_id>3A</assignment_id>\n    <estimateTime>49</estimateTime>\n"
        "    <hit_id>3B</hit_id>\n    <hit_submit_time>2</hit_submit_time>\n"
        "    <hoveredCount>1</hoveredCount>\n    <hoveredRecord>\n      <action>enter</action>\n"
        "      <time>1000</time>\n    </hoveredRecord>\n    <imageHeight>243</imageHeight>\n"
        "    <imageID>n1/n1_7</imageID>\n    <imagePosition>\n      <x>857</x>\n"
        "      <y>1678</y>\n    </imagePosition>\n    <imageWidth>243</imageWidth>\n"
        "    <image_idx>29</image_idx>\n    <imagenet_hit_id>0c</imagenet_hit_id>\n"
        "    <mouseTracking>\n      <time>1001</time>\n      <x>0.25</x>\n      <y>0.0</y>\n"
        "    </mouseTracking>\n    <originalImageHeight>375</originalImageHeight>\n"
        "    <originalImageWidth>500</originalImageWidth>\n    <page_idx>1</page_idx>\n"
        "    <selected>True</selected>\n    <selectedCount>1</selectedCount>\n"
        "    <selectedRecord>\n      <time>1050</time>\n      <x>0.5</x>\n      <y>1.0</y>\n"
        "    </selectedRecord>\n    <worker_id>00FF</worker_id>\n  </metadata>\n"
    )
    for name in ("hoveredRecord", "mouseTracking", "selectedRecord"):
        assert second.count(f"    <{name}>None</{name}>\n") == 1
    assert "<selected>False</selected>" in second and "<imageHeight>243<" in second
    assert "<imageHeight>0<" in third and "<originalImageWidth>0<" in third
    assert "<x>0</x>\n      <y>0</y>" in third
    assert text.endswith("  </metadata>\n</annotation>\n")


def test_without_boxes_filename_comes_before_folder_and_text_is_escaped() -> None:
    image = LabelledImage(image_id="a&b", wnid="n<1", width=1, height=1, boxes=np.empty((0, 4)))
    assert annotation(image, [], has_box_part=False) == (
        "<annotation>\n  <filename>a&amp;b</filename>\n  <folder>n&lt;1</folder>\n</annotation>\n"
    )


def skeleton(text: str) -> list[str]:
    """Lines with their values blanked: indent and tags remain."""
    return [re.sub(r">[^<>\n]+</", ">.</", line) for line in text.splitlines()]


def test_real_excerpts_hold_no_line_order_that_we_do_not_write(log: Log) -> None:
    if not EXCERPTS.is_dir():
        pytest.skip(f"{EXCERPTS} is absent: the shared folder is not part of the project")
    ours = {pair for text in log.texts.values() for pair in itertools.pairwise(skeleton(text))}
    openings = {tuple(skeleton(text)[:3]) for text in log.texts.values()}
    for path in sorted(EXCERPTS.glob("*.xml.part")):
        lines = skeleton(path.read_text())[:-1]  # the last line is cut
        assert tuple(lines[:3]) in openings
        assert set(itertools.pairwise(lines)) <= ours, path.name


def test_element_order_and_ids(log: Log) -> None:
    boxed_order = ["folder", "filename", "source", "size", "segmented", "object", "metadata"]
    heads = set()
    for name, root in log.roots.items():
        assert log.texts[name].startswith("<annotation>\n  <f")
        heads.add(tuple(dict.fromkeys(child.tag for child in root if child.tag != "metadata")))
        for block in root.findall("metadata"):
            assert tuple(dict.fromkeys(child.tag for child in block)) == KEYS
            assert re.fullmatch("[0-9A-F]{10}", block.findtext("worker_id", ""))
            assert re.fullmatch("3[0-9A-Z]{29}", block.findtext("assignment_id", ""))
            assert re.fullmatch("3[0-9A-Z]{29}", block.findtext("hit_id", ""))
            assert re.fullmatch("[0-9a-f]{32}", block.findtext("imagenet_hit_id", ""))
            assert block.findtext("imageID") == f"{root.findtext('folder')}/{name}"
    assert heads == {("filename", "folder"), tuple(boxed_order[:-1])}


def test_archive_names_and_owners(log: Log) -> None:
    names = [member.name for member in log.members]
    assert sorted(names) == sorted(
        f"train_xml/{i.wnid}/{i.image_id}.xml" for i in log.images.values()
    )
    assert names != sorted(names), "the release is in no useful order"
    assert {(m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in log.members} == {
        (0, 0, "", "", 0o644, tarfile.REGTYPE)
    }
    assert len({m.mtime for m in log.members}) == 1
    head = log.out.read_bytes()[:10]
    assert head[3] == 0 and head[4:8] == bytes(4), "no file name, no time in the gzip header"
    with gzip.open(log.out) as stream:
        assert len(stream.read()) % tarfile.RECORDSIZE == 0


# ---------------------------------------------------------------- truth and counts


def naive_final_click(root: ElementTree.Element) -> tuple[int, float, float] | None:
    """Last selecting click of the last selected block by hit_submit_time."""
    chosen = [b for b in map(parse, root.findall("metadata")) if b["selected"]]
    return max(chosen, key=lambda b: b["submit"])["selections"][-1] if chosen else None


def check_truth(log: Log) -> None:
    assert log.truth.keys() == log.roots.keys() == log.images.keys()
    for name, root in log.roots.items():
        row, image, final = log.truth[name], log.images[name], naive_final_click(root)
        click = row["final_click"]
        assert final == (click and (click["time"], click["x"], click["y"]))
        assert row["selected"] == (final is not None)
        assert row["boxes"] == image.boxes.tolist()
        written = [[float(e.text or "") for e in box] for box in root.findall("object/bndbox")]
        assert written == (row["boxes"] if row["has_box_part"] else [])
        blocks = [parse(block) for block in root.findall("metadata")]
        seen = any(b["hovered"] or b["tracking"] or b["selections"] for b in blocks)
        assert row["has_interaction"] == seen
    for block, truth, image in log.blocks():
        clicks = [(c["time"], c["x"], c["y"]) for c in truth["clicks"] if c["selects"]]
        assert clicks == block["selections"]
        assert truth["selected"] == block["selected"] == (len(truth["clicks"]) % 2 == 1)
        assert [c["selects"] for c in truth["clicks"]] == [
            index % 2 == 0 for index in range(len(truth["clicks"]))
        ]
        assert truth["num_trace_points"] == len(block["tracking"])
        assert truth["worker_id"] == block["worker_id"]
        assert truth["assignment_id"] == block["assignment_id"]
        assert str(truth["page_idx"]) == block["page_idx"]
        assert str(truth["image_idx"]) == block["image_idx"]
        if truth["target_box"] is not None:
            assert 0 <= truth["target_box"] < len(image.boxes)
            assert IMAGENET_HABITS[truth["style"]].aim == "box"


def check_counts(log: Log) -> None:
    rows, blocks, counts = log.truth.values(), log.blocks(), log.counts
    assert counts.num_images == len(log.roots)
    assert counts.num_rounds == len(blocks)
    assert counts.num_boxed == sum(root.find("object") is not None for root in log.roots.values())
    assert counts.num_selected == sum(row["selected"] for row in rows)
    assert counts.num_selected_round1 == sum(
        bool(r["rounds"]) and r["rounds"][0]["selected"] for r in rows
    )
    assert counts.num_with_interaction == sum(row["has_interaction"] for row in rows)
    assert counts.num_trace_points == sum(len(block["tracking"]) for block, _, _ in blocks)
    assert counts.num_workers == len({block["worker_id"] for block, _, _ in blocks}) or not blocks


def test_truth_and_counts_equal_a_naive_reading_of_the_log(log: Log) -> None:
    check_truth(log)
    check_counts(log)


def test_shares_that_the_caller_chose(log: Log) -> None:
    assert log.counts.num_boxed == round(0.42 * 700)
    without = [row for row in log.truth.values() if not row["rounds"]]
    assert len(without) == 7  # half of the 2 % skipped
    untouched = [r for r in log.truth.values() if r["rounds"] and not r["has_interaction"]]
    assert len(untouched) >= 7
    assert all(not row["selected"] for row in [*without, *untouched])


def test_rounds_follow_from_the_time_not_from_the_order(log: Log) -> None:
    reversed_ = []
    for root in log.roots.values():
        blocks = [parse(block) for block in root.findall("metadata")]
        if len(blocks) == 2:
            reversed_.append(blocks[0]["submit"] > blocks[1]["submit"])
            first, second = sorted(blocks, key=lambda b: b["submit"])
            assert first["submit"] < second["submit"] and not first["selected"]
            start = min((t for _, t in second["hovered"]), default=math.inf)
            assert start > 1000 * first["submit"], "round 2 begins when round 1 is submitted"
        else:
            assert not blocks or blocks[0]["selected"]
    assert 0.3 < np.mean(reversed_) < 0.7 and len(reversed_) > 100


def test_pages_and_hits(log: Log) -> None:
    slots: dict[tuple[str, str], list[int]] = {}
    hits: dict[str, set[tuple[Any, ...]]] = {}
    for block, _, image in log.blocks():
        slots.setdefault((block["assignment_id"], block["page_idx"]), []).append(
            int(block["image_idx"])
        )
        same = (block["hit_id"], block["imagenet_hit_id"], block["worker_id"], block["submit"])
        hits.setdefault(block["assignment_id"], set()).add((*same, image.wnid))
    assert all(len(set(page)) == len(page) <= 12 for page in slots.values())
    assert {slot for page in slots.values() for slot in page} == set(range(48))
    assert {page for _, page in slots} == {str(page) for page in range(10)}
    assert all(len(answers) == 1 for answers in hits.values()), "one worker, one class a HIT"
    assert len(hits) == log.counts.num_hits


# ---------------------------------------------------------------- habits of the tool


def test_hovering_alternates_and_holds_the_trace(log: Log) -> None:
    open_at_the_end = 0
    for block, truth, _ in log.blocks():
        actions = [action for action, _ in block["hovered"]]
        assert actions == ["enter", "leave"] * (len(actions) // 2) + ["enter"] * (len(actions) % 2)
        open_at_the_end += len(actions) % 2
        assert int(block["hoveredCount"]) == actions.count("enter")
        assert int(block["selectedCount"]) == len(block["selections"])
        times = [time for _, time in block["hovered"]]
        visits = list(zip(times[::2], [*times[1::2], math.inf], strict=False))
        for time, _, _ in block["tracking"]:
            assert any(start <= time <= end for start, end in visits)
        for series in (
            times,
            [p[0] for p in block["tracking"]],
            [c[0] for c in block["selections"]],
        ):
            assert series == sorted(series)
            assert all(time < 1000 * block["submit"] for time in series)
        if truth["style"] != "touch":
            for click in truth["clicks"]:
                assert any(start <= click["time"] <= end for start, end in visits)
    assert open_at_the_end > 0, "a leave is sometimes missing at submission"


def test_no_trace_while_selected_and_at_most_one_move_in_16_ms(log: Log) -> None:
    resumed = 0
    for block, truth, _ in log.blocks():
        times = [time for time, _, _ in block["tracking"]]
        toggles = [click["time"] for click in truth["clicks"]]
        for on, off in zip(toggles[::2], [*toggles[1::2], math.inf], strict=False):
            assert not [time for time in times if on < time < off]
        resumed += any(time > toggles[0] for time in times) if toggles else 0
        for before, after in itertools.pairwise(times):
            toggled = any(before <= toggle <= after for toggle in toggles)
            assert after - before >= 16 or toggled
    assert resumed > 0, "a deselected picture is traced again"


def test_every_click_pattern_is_there(log: Log) -> None:
    patterns = {(len(block["selections"]), block["selected"]) for block, _, _ in log.blocks()}
    assert {(0, False), (1, True), (1, False), (2, True)} <= patterns
    visits = {len(block["hovered"]) // 2 for block, _, _ in log.blocks()}
    assert {0, 1, 2} <= visits


def test_estimate_time_is_the_closed_spans_over_the_unselected_picture(log: Log) -> None:
    """Replayed from hover, first move and all clicks, independently of the tool's code."""
    positive = 0
    for block, truth, _ in log.blocks():
        events = [(time, action) for action, time in block["hovered"]]
        events += [(click["time"], "click") for click in truth["clicks"]]
        if block["tracking"]:
            events.append((block["tracking"][0][0], "move"))
        rank = {"enter": 0, "move": 1, "click": 2, "leave": 3}
        total, since, hovered, selected, moved = 0, None, False, False, False
        for time, what in sorted(events, key=lambda event: (event[0], rank[event[1]])):
            hovered = {"enter": True, "leave": False}.get(what, hovered)
            selected ^= what == "click"
            moved |= what == "move"
            if moved and hovered and not selected:
                since = time if since is None else since
            elif since is not None:
                total, since = total + time - since, None
        assert int(block["estimateTime"]) == total
        positive += total > 0
    assert positive > 300


def test_coordinates_are_pixels_of_the_rendered_picture(log: Log) -> None:
    outside = 0
    for block, truth, image in log.blocks():
        width, height = truth["rendered_width"], truth["rendered_height"]
        assert [[width, height]] == rendered_sizes(np.array([[image.width, image.height]])).tolist()
        assert block["imageWidth"] == block["imageHeight"], "the release copies the height"
        loaded = block["imageHeight"] != "0"
        assert int(block["imageHeight"]) == (height if loaded else 0)
        assert int(block["originalImageWidth"]) == (image.width if loaded else 0)
        for _, x, y in block["tracking"] + block["selections"]:
            px, py = round(x * width), round(y * height)
            assert (x, y) == (px / width, py / height)
            assert -1 <= px <= width and -1 <= py <= height
            outside += not (0 <= x < 1 and 0 <= y < 1)
    assert outside > 0, "a zoomed browser gives offsets just outside"


def test_layout_by_hand() -> None:
    sizes = np.array([[500, 375], [500, 296], [200, 150], [375, 500], [64, 64], [3000, 2]])
    assert rendered_sizes(sizes).tolist() == [
        *([324, 243], [324, 192], [200, 150], [255, 340], [64, 64], [324, 1])
    ]
    assert serpentine(8) == [0, 1, 2, 5, 4, 3, 6, 7]
    rendered = np.array([[324, 200], [100, 100], [324, 50], [324, 300]])
    all_loaded, first_row_late = np.array([[True] * 4, [False, False, False, True]])
    xy = positions(rendered, np.stack([all_loaded, first_row_late]), left=10, top=1000)
    # columns are 344 apart; a narrow picture is centred; row 1 is 200 + 20 below row 0
    assert xy[0].tolist() == [[18, 1008], [474, 1058], [706, 1083], [18, 1228]]
    assert xy[1, 3].tolist() == [18, 1028], "rows above without height yet"


def test_the_tool_forgets_deselecting_clicks_and_throttles() -> None:
    picture = Picture(100, 50)
    picture.enter(1000.0)
    picture.moves([1000.0, 1008.0, 1015.9, 1016.0, 1031.0], [[10, 10]] * 5)
    assert [time for time, _, _ in picture.mouse_tracking] == [1000, 1016]
    picture.click(1040.0, (50, 25))
    picture.moves([1050.0, 1080.0], [[1, 1]] * 2)
    picture.click(1100.0, (20, 10))
    picture.moves([1100.5, 1101.0], [[2, 2], [3, 3]])  # the throttle starts anew
    picture.leave(1150.0)
    picture.enter(1300.0)
    picture.leave(1310.0)
    picture.enter(1400.0)  # never left: this span is not counted
    assert picture.selected_record == [(1040, 0.5, 0.5)] and not picture.selected
    assert picture.clicks == [(1040, 0.5, 0.5, True), (1100, 0.2, 0.2, False)]
    assert [time for time, _, _ in picture.mouse_tracking] == [1000, 1016, 1100]
    assert picture.estimate_time == 40 + 50 + 10
    assert picture.hovered_count == 3


@settings(max_examples=100, deadline=None)
@given(
    start=st.tuples(st.floats(-500, 2000), st.floats(-500, 2000)),
    end=st.tuples(st.integers(-500, 2000), st.integers(-500, 2000)),
    target=st.floats(0, 400),
    settle=st.floats(0, 600),
    pace=st.floats(0.3, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_movement_ends_where_it_should(
    start: tuple[float, float],
    end: tuple[int, int],
    target: float,
    settle: float,
    pace: float,
    seed: int,
) -> None:
    path = move(
        np.random.default_rng(seed),
        start,
        (end[0] + 0.5, end[1] + 0.5),
        5000.0,
        target_px=target,
        settle_ms=settle,
        pace=pace,
    )
    places = [[math.floor(start[0]), math.floor(start[1])], *path.xy.tolist()]
    assert places[-1] == list(end)
    assert all(a != b for a, b in itertools.pairwise(places)), "only another pixel is an event"
    times = [5000.0, *path.t.tolist(), path.t_end]
    assert times == sorted(times) and len(set(path.t.tolist())) == len(path.t)


# ---------------------------------------------------------------- determinism


def written(folder: Path, seed: int) -> tuple[bytes, bytes]:
    folder.mkdir()
    out, truth = folder / "a.tar.gz", folder / "t.jsonl.gz"
    simulate_imagenet(some_images(60), out, truth=truth, seed=seed)
    return out.read_bytes(), truth.read_bytes()


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    first = written(tmp_path / "first", 7)
    assert first == written(tmp_path / "second", 7)
    other = written(tmp_path / "third", 8)
    assert first[0] != other[0] and first[1] != other[1]
    assert first[1][:2] == b"\x1f\x8b" and first[1][3:8] == bytes(5)


# ---------------------------------------------------------------- what the styles mean


def offsets(folder: Path, style: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Click accuracy, clicks (N, 2) as fractions, and offsets (N, 2) in sizes of the box."""
    rng = np.random.default_rng(1)
    images = []
    for index in range(250):
        x0, y0 = rng.uniform(0, 0.5, 2)
        box = np.array([[x0, y0, x0 + 0.4, y0 + 0.4]]) * (500, 375, 500, 375)
        images.append(
            LabelledImage(image_id=f"i{index}", wnid="n1", width=500, height=375, boxes=box)
        )
    folder.mkdir()
    log = Log(images, folder, styles={style: 1.0}, num_workers=3, seed=5)
    assert log.counts.workers_by_style == {style: 3}
    if style == "touch":  # clicks and nothing else
        assert log.counts.num_trace_points == 0 < log.counts.num_selected
        assert all(b["estimateTime"] == "0" and not b["hovered"] for b, _, _ in log.blocks())
    clicks, inside, relative = [], [], []
    for row in log.truth.values():
        if row["final_click"]:
            click = np.array([row["final_click"]["x"], row["final_click"]["y"]])
            x0, y0, x1, y1 = np.array(row["boxes"][0]) / (500, 375, 500, 375)
            clicks.append(click)
            inside.append(x0 <= click[0] <= x1 and y0 <= click[1] <= y1)
            relative.append((click - ((x0 + x1) / 2, (y0 + y1) / 2)) / (x1 - x0, y1 - y0))
    return float(np.mean(inside)), np.array(clicks), np.array(relative)


def test_styles_move_the_statistics_the_right_way(tmp_path: Path) -> None:
    of = {style: offsets(tmp_path / style, style) for style in IMAGENET_HABITS}
    accuracy = {style: result[0] for style, result in of.items()}
    assert accuracy["accurate"] > 0.85 > accuracy["careless"] + 0.3
    assert accuracy["touch"] > accuracy["careless"] + 0.2
    distance = {s: np.linalg.norm(of[s][1] - 0.5, axis=1).mean() for s in of}
    assert distance["centre_clicker"] < 0.1 < distance["accurate"]
    bias = {style: of[style][2].mean(axis=0) for style in of}
    assert bias["biased"][0] > 0.12 and bias["biased"][1] < -0.1  # right, and up
    assert abs(bias["accurate"]).max() < 0.06


def test_whole_crowd_is_near_the_published_shares(tmp_path: Path) -> None:
    log = Log(some_images(1200), tmp_path, seed=1)
    share1 = log.counts.num_selected_round1 / 1200
    assert 0.66 < share1 < 0.79 and 0.80 < log.counts.num_selected / 1200 < 0.92
    assert 12 < log.counts.num_trace_points / log.counts.num_rounds < 24
    assert sum(log.counts.workers_by_style.values()) == 24
    assert log.counts.workers_by_style.keys() == IMAGENET_HABITS.keys()
    lag = [
        block["selections"][-1][1:] == block["tracking"][-1][1:]
        for block, _, _ in log.blocks()
        if block["selected"] and block["tracking"]
    ]
    assert np.mean(lag) > 0.8, "the last traced point usually equals the click"


# ---------------------------------------------------------------- any list of images


@st.composite
def image_lists(draw: st.DrawFn) -> list[LabelledImage]:
    images = []
    for index in range(draw(st.integers(1, 25))):
        width, height = draw(st.integers(1, 1500)), draw(st.integers(1, 1500))
        corner = st.floats(-20, 1600, allow_nan=False)
        boxes = draw(st.lists(st.tuples(corner, corner, corner, corner), max_size=3))
        images.append(
            LabelledImage(
                image_id=f"i{index}",
                wnid=f"n{draw(st.integers(0, 3))}",
                width=width,
                height=height,
                boxes=np.array(boxes, dtype=float).reshape(-1, 4),
            )
        )
    return images


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    images=image_lists(),
    options=st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**31), "num_workers": st.integers(1, 5),
            "boxed_fraction": st.floats(0, 1), "skipped_fraction": st.floats(0, 1),
        }
    ),
)  # fmt: skip
def test_any_images_give_a_log_that_agrees_with_its_truth(
    images: list[LabelledImage],
    options: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    log = Log(images, tmp_path_factory.mktemp("any"), **options)
    check_truth(log)
    check_counts(log)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxed_fraction": 1.5}, "boxed_fraction is 1.5; expected 0 to 1"),
        ({"skipped_fraction": math.nan}, "skipped_fraction is nan; expected 0 to 1"),
        ({"num_workers": 0}, "num_workers is 0; expected at least 1"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        ({"styles": {"lazy": 1.0}}, "unknown style 'lazy'; expected some of accurate"),
        ({"styles": {"accurate": 0.0}}, "expected weights that are not negative and not all 0"),
        ({"styles": {"accurate": 1.0, "touch": -1.0}}, "expected weights that are not negative"),
        ({"styles": {}}, "expected weights that are not negative and not all 0"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        simulate_imagenet(
            some_images(5), tmp_path / "a.tar.gz", truth=tmp_path / "t.jsonl", **options
        )
    assert list(tmp_path.iterdir()) == []


def test_names_that_would_leave_the_archive_are_refused(tmp_path: Path) -> None:
    for name in ("../up", "a/b", ".hidden", "", "new\nline", "\udc80", "a\\b"):
        for names in ({"image_id": name, "wnid": "n1"}, {"image_id": "i", "wnid": name}):
            image = LabelledImage(**names, width=9, height=9, boxes=np.empty((0, 4)))
            with pytest.raises(ImagesError, match="cannot name a file of the archive"):
                simulate_imagenet([image], tmp_path / "a.tar.gz", truth=tmp_path / "t.jsonl")


def test_lists_that_are_no_images(tmp_path: Path) -> None:
    targets = {"out": tmp_path / "a.tar.gz", "truth": tmp_path / "t.jsonl"}
    with pytest.raises(ImagesError, match="no images to simulate"):
        simulate_imagenet([], **targets)
    with pytest.raises(ImagesError, match="'n00000000_0' is there twice"):
        simulate_imagenet([*some_images(1), *some_images(1)], **targets)
    with pytest.raises(OptionError, match="expected two files"):
        simulate_imagenet(some_images(1), targets["out"], truth=targets["out"])


def test_a_simulation_is_known_and_replaced_with_force_only(tmp_path: Path) -> None:
    out = tmp_path / "raw.tar.gz"
    assert not simulate_imagenet(some_images(3), out).same
    first = out.read_bytes()
    assert is_simulated(out)
    assert simulate_imagenet(some_images(3), out).same
    with pytest.raises(OutputError, match="already, with other content"):
        simulate_imagenet(some_images(3), out, seed=1)
    assert out.read_bytes() == first and is_simulated(out)
    simulate_imagenet(some_images(3), out, seed=1, force=True)
    assert out.read_bytes() != first and is_simulated(out)
    out.write_bytes(first)  # a log that is not the one the truth was written with
    assert not is_simulated(out)
    with pytest.raises(OutputError):
        simulate_imagenet(some_images(3), out, seed=1, force=True)
    assert out.read_bytes() == first


def test_nothing_half_written_stays_and_the_old_file_survives(tmp_path: Path) -> None:
    out, truth = tmp_path / "a.tar.gz", tmp_path / "t.jsonl"
    out.write_bytes(b"old")

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_imagenet(some_images(3), out, truth=truth, on_progress=stop)
    assert out.read_bytes() == b"old" and list(tmp_path.iterdir()) == [out]


# ---------------------------------------------------------------- command line


def tree(folder: Path) -> Path:
    from PIL import Image

    for wnid in ("n1", "n2"):
        (folder / wnid).mkdir(parents=True)
        lines = []
        for index in range(6):
            Image.new("RGB", (40 + index, 30)).save(folder / wnid / f"{wnid}_{index}.png")
            lines.append(f"{wnid}_{index}.png\t1\t2\t30\t{20 + index}\n")
        (folder / wnid / f"{wnid}_boxes.txt").write_text("".join(lines))
    return folder


def test_command_writes_log_and_truth_and_one_line(tmp_path: Path) -> None:
    out = tmp_path / "raw.tar.gz"
    arguments = ["imagenet-ab", str(tree(tmp_path / "images")), "--out", str(out), "--limit", "8"]
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 0, result.output
    assert re.search(r"^8 images \(3 with boxes\), \d+ rounds, \d+ selected, ", result.output)
    assert len(result.output.splitlines()) == 1
    truth = tmp_path / "raw.tar.gz.truth.jsonl.gz"
    with gzip.open(truth, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    assert sorted(row["wnid"] for row in rows) == ["n1"] * 4 + ["n2"] * 4
    assert rows[0]["boxes"] and out.is_file()
