"""luab-data report: the page holds what the library found, needs nothing else, and plays."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html import escape, unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browser import chromium as chromium
from browser import needs_browser
from logs import KEY, SHARED, action, archive, block, coco_log, coco_record, luab, picture, xml
from matplotlib.figure import Figure
from PIL import Image

import luab_data
from luab_data.errors import DatasetError, ImagesError, LuabError, OptionError, OutputError
from luab_data.figures import TAGGING_FIGURES
from luab_data.kinds import KINDS
from luab_data.reports import _cards, page_svg, report
from luab_data.reports.browsing import BrowsingPages
from luab_data.reports.html import embed, page_html, player, small_jpeg
from luab_data.reports.pages import Event, Finding, Page, Picture, Replay
from luab_data.reports.tables import quotes, rows_of
from luab_data.reports.tagging import TaggingPages
from luab_data.statistics.estimate import Estimate
from luab_data.statistics.measure import Measure
from luab_data.store.load import read_table
from luab_data.words import MISSING, count, counted, imagenet_names, interval, number, with_name

BIN = Path(sys.executable).parent
START = 1_640_000_000_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet-AB: three assignments of one page of four pictures, of which the first is boxed;
    one picture of the first page has no file, one was deselected."""
    folder = tmp_path_factory.mktemp("world")
    records = {}
    for page in range(3):
        for slot in range(4):
            name = f"n0000000{1 + page}_{slot}"
            at = START + 1000 * slot
            trace = [(at + 20 * k, 0.1 * k, 0.5) for k in range(5)]
            undone = page == 1 and slot == 3
            values = block(
                selected=not undone, clicks=[(at + 90, 0.45, 0.5)], trace=trace,
                hovered=[("enter", at), ("leave", at + 100)], worker=f"00AA3B5E8{page}",
                assignment_id=f"3A{page}", hit_id=f"3H{page}", page_idx=page, image_idx=slot,
                imagePosition={"x": 10 + 340 * (slot % 2), "y": 20 + 260 * (slot // 2)},
                imageWidth=324, imageHeight=162,
            )  # fmt: skip
            records[name] = xml(name, [values], boxes=[(20, 10, 160, 90)] if slot == 0 else None)
            if (page, slot) != (0, 2):
                picture(folder / "pictures" / name[:9] / f"{name}.JPEG")
    source = archive(folder / "raw.tar.gz", records)
    luab_data.convert_imagenet(source, folder / "imagenet-ab", worker_key=KEY)
    return folder


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO-AB: seven images, of which the first has the most actions and the second no file."""
    folder = tmp_path_factory.mktemp("coco")
    steps = [
        *(action("add", "dog", (0.25, 0.5), 500), action("add", "cat", (0.75, 0.5), 700)),
        *(action("move", "dog", (0.5, 0.5), 900), action("remove", "cat", None, 1500)),
    ]
    trace = [{"timeAt": 100 * k, "x": 0.1 * k, "y": 0.2} for k in range(5)]
    records = [
        coco_record(k, steps[: 4 if k == 1 else k % 4], worker_id=f"00AA3B5E8{k % 3}",
                    mouseTracking=trace if k < 5 else [], hit_id=f"{k % 3}" * 32)
        for k in range(1, 8)
    ]  # fmt: skip
    for k in (1, *range(3, 8)):
        picture(folder / "pictures" / f"{k:012d}.jpg")
    source = coco_log(folder / "raw.json", records)
    luab_data.convert_coco(source, folder / "coco-ab", worker_key=KEY)
    return folder


run = partial(luab, "report")


def text_of(page: Path) -> str:
    """The page's text without its markup, style and scripts."""
    html = re.sub(r"<(style|script).*?</\1>", "", page.read_text(), flags=re.DOTALL)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)))


# --- numbers as text -----------------------------------------------------------------------------


def test_numbers_read_as_people_write_them_and_a_missing_one_is_a_dash():
    assert number(0.93512, "share") == "93.5 %"
    assert number(-0.0004, "difference of shares") == "0.0 points"
    assert number(0.125, "difference of shares") == "+12.5 points"
    assert number(-0.1134, "box sizes") == "−0.113 box sizes"
    assert [number(ms, "ms") for ms in (426.4, 1234.0, 254_361.0)] == [
        "426 ms",
        "1.23 s",
        "4.2 min",
    ]
    assert interval(0.905, 0.953, "share") == "90.5 to 95.3 %"
    assert interval(950.0, 1234.0, "ms") == "0.95 to 1.23 s"
    assert count(1_281_167) == "1,281,167"
    assert [counted(n, "click") for n in (0, 1, 1200)] == ["no clicks", "1 click", "1,200 clicks"]
    assert number(1.5e307, "box sizes") == "1.50e+307 box sizes"
    assert number(math.nan, "ms") == interval(0.1, math.nan, "share") == count(math.nan) == MISSING


def measure(shape: tuple[int, ...] = (), labels: tuple[Any, ...] = ()) -> Measure:
    axes = (("q", labels or tuple(range(shape[0]))),) if shape else ()
    return Measure(name="m", title="t", doc="d", source="s", over="images", axes=axes,
                   terms=lambda batch: batch)  # fmt: skip


def estimate(value: Any, **other: Any) -> Estimate:
    array = np.asarray(value, np.float64)
    fields = {name: array for name in ("value", "low", "high")}
    nothing = np.full(array.shape, np.nan)
    return Estimate(**{**fields, "n": np.ones(array.shape), "null": nothing, "num_workers": 2,
                       **other})  # fmt: skip


def test_a_short_curve_is_rows_and_a_long_one_a_picture_that_breaks_where_nothing_was_seen():
    parts = rows_of(measure((2,), ("x", "y")), estimate([0.1, math.nan]))
    assert [(row.part, row.value, row.doc) for row in parts] == [
        *(("x", "10.0 %", "d"), ("y", MISSING, "")),
    ]
    (row,) = rows_of(measure((6,)), estimate([0, 0.5, math.nan, 0.5, 1, 1]))
    assert row.value == row.null == "" and len(row.points) == 6  # no one number, no "a to b"
    assert row.curve and [len(line.split()) for line in row.curve.line] == [2, 3]
    assert row.curve.line[0] == "2.0,22.0 21.2,12.0"
    assert row.points[2].value == MISSING
    nothing = estimate(np.full(6, math.nan), n=np.full(6, math.nan))
    (row,) = rows_of(measure((6,)), nothing)
    assert (row.value, row.n, row.null) == ("", MISSING, "")
    assert {point.value for point in row.points} == {MISSING} and not row.curve.line


def test_places_without_an_order_are_bars_from_zero():
    (row,) = rows_of(measure((5,), tuple("abcde")), estimate([0.5, 1, math.nan, 0, 0.5]))
    assert row.curve and not row.curve.line
    assert row.curve.bars.startswith("M2.0 22.0V12.0M26.0 22.0V2.0M74.0 22.0V22.0")


def test_findings_are_sentences_with_a_value_an_interval_and_n():
    found = {
        "m": estimate(0.935, low=np.array(0.905), high=np.array(0.953), n=np.array(3941.0)),
        "other": estimate(0.81),
        "nothing": estimate(math.nan),
    }
    measures = [replace(measure(), name=name) for name in found]
    planned = [
        Finding(name="nothing", text="is unknown"),
        Finding(name="m", text="hit", beside="other", beside_text="; else {value}"),
        Finding(name="other", text="hit", beside="nothing", beside_text="; else {value}"),
    ]
    first, second = quotes(planned, measures, found)
    assert (first["value"], first["interval"], first["n"]) == ("93.5 %", "90.5 to 95.3 %", "3,941")
    assert (first["text"], second["text"]) == ("hit; else 81.0 %", "hit")
    assert len(quotes(planned[2:] * 5, measures, found)) == 3


def test_class_names_are_words_and_unknown_classes_stay():
    names = imagenet_names()
    assert len(names) == len(set(names)) == 1000 and [*names] == sorted(names)
    assert with_name("n01440764") == "n01440764 (tench)"
    assert with_name("n00000001") == "n00000001"


# --- pictures ------------------------------------------------------------------------------------


def test_thumbnails_are_small_and_turned_as_a_browser_turns_them(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    path = picture(tmp_path / "a.jpg", 50, (800, 400), exif=exif)
    with Image.open(io.BytesIO(small_jpeg(path))) as small:
        assert small.size == (170, 340)
    with Image.open(io.BytesIO(small_jpeg(picture(tmp_path / "b.jpg", 50, (30, 20))))) as small:
        assert small.size == (30, 20)


def test_a_file_that_is_no_picture_ends_the_report_and_leaves_nothing(world: Path, tmp_path: Path):
    broken = tmp_path / "pictures" / "n00000001_0.JPEG"
    broken.parent.mkdir()
    broken.write_bytes(b"no picture")
    with pytest.raises(ImagesError, match=r"n00000001_0\.JPEG: cannot be read as a picture"):
        report(world / "imagenet-ab", tmp_path / "out", images=broken.parent)
    assert {path.name for path in tmp_path.iterdir()} == {"pictures"}


def test_a_folder_of_other_images_is_refused_as_join_does(world: Path, coco: Path, tmp_path: Path):
    picture(tmp_path / "pictures" / "holiday.jpg")
    with pytest.raises(ImagesError, match="none of its 1 images is one of the 12 of"):
        report(world / "imagenet-ab", tmp_path / "out", images=tmp_path / "pictures")
    with pytest.raises(ImagesError, match="Is it the right folder"):
        report(coco / "coco-ab", tmp_path / "out", images=world / "pictures")


# --- the page ------------------------------------------------------------------------------------


# A report takes seconds, most of them for its figures: these are made once and only read.


@pytest.fixture(scope="module")
def page(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, named = tmp_path_factory.mktemp("page") / "report", ["3A2:2", "3A2:2"]
    done = report(world / "imagenet-ab", out, images=world / "pictures", page=named, pages=2)
    assert (done.page, done.num_replays, done.num_without_picture) == (out / "index.html", 3, 1)
    assert done.num_bytes == done.page.stat().st_size < 5_000_000
    return done.page


@pytest.fixture(scope="module")
def coco_page(coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report"
    return report(coco / "coco-ab", out, images=coco / "pictures").page


Written = tuple[Path, "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def written(coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """What `coco_page` is, by the command in a process of its own, over another report."""
    out = tmp_path_factory.mktemp("written") / "report"
    report(coco / "coco-ab", out, pages=0)
    arguments = [BIN / "luab-data", "report", coco / "coco-ab", "--out", out, "--force"]
    arguments += ["--images", coco / "pictures"]
    return out, subprocess.run(arguments, capture_output=True, text=True, timeout=120)


def test_every_statistic_that_was_taken_is_on_the_page(world: Path, page: Path):
    text, stats = text_of(page), luab_data.stats(world / "imagenet-ab")
    estimates = stats.estimates
    for m in stats.measures:
        assert f"{m.title} " in text or f"{m.title}, " in text, m.name
        if not m.shape:
            found = estimates[m.name]
            low, high = float(found.low), float(found.high)
            row = " ".join((number(float(found.value), m.unit), interval(low, high, m.unit)))
            assert f"{row} {count(float(found.n))}" in text, m.name
    assert "12 images" in text and MISSING in text


def test_the_page_shows_the_annotators_and_says_how(world: Path, page: Path):
    text = text_of(page)
    for worker in read_table(world / "imagenet-ab", "annotators")["worker_id"].to_pylist():
        assert worker in text
    assert "All 3 annotators" in text and "bootstrap" in text


def test_the_figure_of_sequences_has_the_intervals_that_its_caption_promises(
    coco: Path, coco_page: Path
):
    found = luab_data.stats(coco / "coco-ab", ["action_sequences"]).estimates
    assert np.isfinite(found["action_sequences"].low).any()
    planned = TAGGING_FIGURES["sequences"]
    shown = embed("", planned.title, planned.caption, planned.draw(found))
    assert "95 % intervals" in shown["caption"] and shown["src"] in unescape(coco_page.read_text())


def test_the_page_opens_with_three_findings(page: Path, coco_page: Path):
    for path, sentence in ((page, "of the final clicks lie in a box of their class"),
                           (coco_page, "is the time spent on an image (median)")):  # fmt: skip
        head, statistics = text_of(path).split("Each value with its 95 % interval", 1)
        assert sentence in head
        assert 1 <= len(re.findall(r" % of | is the time", head)) <= 3
        assert statistics


def test_the_same_report_again_is_nothing_to_do_and_another_needs_force(
    coco: Path, coco_page: Path, written: Written
):
    out, _ = written
    before = coco_page.read_bytes()
    assert (out / "index.html").read_bytes() == before
    assert sorted(os.listdir(out)) == [".luab.json", "index.html"]
    assert str(coco) not in (out / ".luab.json").read_text()  # it may be sent to others
    again = run(coco / "coco-ab", "--out", out, "--images", coco / "pictures")
    assert again.exit_code == 0 and "is there already" in again.output
    with pytest.raises(OutputError, match="--force"):
        report(coco / "coco-ab", out, images=coco / "pictures", pages=1)
    assert (out / "index.html").read_bytes() == before


def titles(page: Path) -> list[str]:
    return re.findall(r"<h3 id=[^>]*>(.*?) <span", page.read_text())


def test_a_page_is_named_by_itself_or_by_an_image_on_it(world: Path, coco: Path):
    for name in ("n00000002_1", "n00000002/n00000002_1", "n00000002_1.JPEG", "n00000002_1.xml",
                 "3A1:1"):  # fmt: skip
        assert BrowsingPages().named(world / "imagenet-ab", name) == [("3A1", 1)]
    for name in ("3", "000000000003", "000000000003.jpg", "train/000000000003.jpg"):
        assert TaggingPages(KINDS["coco-ab"]).named(coco / "coco-ab", name) == [(3,)]


def test_a_page_that_is_not_there_is_named_with_those_near_it(
    world: Path, coco: Path, tmp_path: Path
):
    for dataset, name, near in (
        (world / "imagenet-ab", "3A0:9", "no page 3A0:9.*its pages are 0"),
        (world / "imagenet-ab", "3A9:0", "no page 3A9:0.*did you mean 3A"),
        (world / "imagenet-ab", "n00000002_7", "near it n00000002_.* named as ASSIGNMENT:PAGE"),
        (coco / "coco-ab", "99", "no image 99.*near it 7, 6, 5"),
    ):
        with pytest.raises(DatasetError, match=near):
            report(dataset, tmp_path / "report", page=[name])
    assert not list(tmp_path.iterdir())


def hostile_page(name: str) -> str:
    shown = Replay(
        pictures=(Picture(slot=0, x=0, y=0, w=100, h=50, image_id=name, selected=True),),
        events=(Event(0, "enter", 0), Event(5, "move", 0, 10.0, 10.0), Event(9, "click", 0, 5, 5)),
        is_grid=True,
    )
    page = player(Page(replay=shown, title=name, facts=(name,)), name, {}, 1)
    manifest = {"version": name, "content_digest": name, "source": {"name": name}}
    return page_html(
        {
            "title": name, "manifest": manifest, "cards": [(name, name)], "findings": (),
            "reader": BrowsingPages(), "groups": (), "figures": (), "annotators": None,
            "replays": [page],
        }
    )  # fmt: skip


HOSTILE = "</script><b onclick='x'>\"&<!--<script>{{ 7 * 6 }}"


def test_a_coordinate_of_no_screen_ends_no_report(tmp_path: Path):
    records = {}
    for slot in range(8):
        name, far = f"n00000001_{slot}", 1e308 if slot % 4 == 0 else 0.45
        trace = [(START + 20 * k, far if k == 2 else 0.1 * k, -far) for k in range(5)]
        values = block(
            clicks=[(START + 90, far, 0.5)], trace=trace, hovered=[("enter", START)],
            worker=f"00AA3B5E8{slot % 2}", assignment_id=f"3A{slot % 2}", page_idx=0,
            image_idx=slot, imagePosition={"x": far if slot == 4 else 10, "y": 20},
            imageWidth=324, imageHeight=162,
        )  # fmt: skip
        records[name] = xml(name, [values], boxes=[(20, 10, 160, 90)])
    source = archive(tmp_path / "raw.tar.gz", records)
    luab_data.convert_imagenet(source, tmp_path / "imagenet-ab", worker_key=KEY)
    text = text_of(report(tmp_path / "imagenet-ab", tmp_path / "report").page)
    assert "1 never loaded, left out" in text
    assert max(map(len, text.split())) < 60


def test_hostile_names_are_text():
    html = hostile_page(HOSTILE)
    assert "<b " not in html and "{{ 7" in html and "<!--" not in html
    assert html.count("<script") == html.count("</script>") == 2


def test_the_page_forbids_itself_to_load_anything_and_holds_its_pictures(page: Path):
    html = page.read_text()
    assert "default-src 'none'; img-src data:;" in html
    links = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert {link.partition(":")[0] for link in links if not link.startswith("#")} == {"data"}
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|https?://(?!www\.w3\.org)", html)
    jpegs = re.findall(r'href="data:image/jpeg;base64,([^"]+)"', html)
    assert len(jpegs) == 11  # 12 pictures, one without a file
    with Image.open(io.BytesIO(base64.b64decode(jpegs[0]))) as first:
        assert first.size == (20, 10)


# --- the command ---------------------------------------------------------------------------------


def test_the_command_works_as_a_process_and_says_what_it_wrote(written: Written):
    out, found = written
    assert found.returncode == 0, found.stderr  # on a busy machine progress is told there
    first, *rest = found.stdout.splitlines()
    assert re.fullmatch(rf"{out}/index\.html: 0\.\d MB, 4 pages to replay", first)
    assert rest == ["pictures without a file, shown as boxes: 1"]


def test_named_pages_come_first_and_once(page: Path):
    titles = re.findall(r"Page (\d) of (3A\d) ", text_of(page))
    assert titles[0] == ("2", "3A2") and len(titles) == len(set(titles)) == 3


def test_four_pages_are_shown_if_nobody_says_which_and_named_ones_alone(
    coco: Path, coco_page: Path, tmp_path: Path
):
    assert len(set(titles(coco_page))) == 4
    found = run(coco / "coco-ab", "--out", tmp_path / "r", "--page", "7", "--page", "1")
    assert found.exit_code == 0 and "2 pages to replay" in found.output
    assert titles(tmp_path / "r" / "index.html") == ["Image 7", "Image 1"]


def test_missing_libraries_are_one_line_that_says_what_to_install(world: Path, tmp_path: Path):
    code = """if True:
        import sys
        sys.modules.update(matplotlib=None, jinja2=None, PIL=None)
        from luab_data.cli import main
        main()"""
    arguments = ["report", str(world / "imagenet-ab"), "--out", str(tmp_path / "r")]
    found = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )
    assert (found.returncode, found.stderr.count("\n")) == (1, 1)
    for name in ("matplotlib", "jinja2", "pillow", "[report]"):
        assert name in found.stderr
    assert not list(tmp_path.iterdir())


# --- in a browser --------------------------------------------------------------------------------

Open = Callable[..., Any]


@pytest.fixture
def opened(chromium: Any) -> Open:
    """Opens a page with a clean log: path, and CSS media features."""

    def open_page(path: Path, **features: str) -> Any:
        chromium.get("about:blank")
        media = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        chromium.get_log("browser")
        chromium.get_log("performance")
        chromium.get(path.as_uri())
        return chromium

    return open_page


def requests(driver: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [m for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [m["params"]["request"]["url"] for m in sent]


def script(driver: Any, code: str, *arguments: Any) -> Any:
    helpers = """
      const article = document.querySelector("article.replay");
      const one = (selector) => article.querySelector(selector);
      const slider = one("input[type=range]");
      const seek = (time) => { slider.value = time; slider.dispatchEvent(new Event("input")); };
      const press = (key, on = ".viewport") =>
        one(on).dispatchEvent(new KeyboardEvent("keydown", { key }));
      const pointer = () => one(".pointer").getAttribute("transform");
      const trail = () => one(".page .trail").getAttribute("d");
      const now = () => Number(slider.value);
    """
    return driver.execute_script(helpers + code, *arguments)


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@needs_browser
@pytest.mark.parametrize("name", ["page", "coco_page"])
def test_the_page_opens_without_a_word_in_the_console_and_asks_for_nothing(
    name: str, opened: Open, request: pytest.FixtureRequest
):
    path: Path = request.getfixturevalue(name)
    driver = opened(path)
    number_of = "return document.querySelectorAll('article.replay').length"
    assert driver.execute_script(number_of) == (3 if name == "page" else 4)
    script(driver, "one('.play').click()")
    time.sleep(0.2)
    assert [entry for entry in driver.get_log("browser") if entry["level"] != "INFO"] == []
    asked = [url for url in requests(driver) if not url.startswith("data:")]
    assert asked == [path.as_uri()]
    broken = "return [...document.images].filter((i) => !i.complete || !i.naturalWidth).length"
    assert driver.execute_script(broken) == 0


@needs_browser
def test_play_advances_the_time_and_pause_holds_it(page: Path, opened: Open):
    driver = opened(page)
    end = script(driver, "return now()")
    assert end == 3100
    script(driver, "one('.play').click()")
    wait_until(lambda: 200 < script(driver, "return now()") < end)
    assert script(driver, "return one('.play').ariaLabel") == "Pause"
    script(driver, "one('.play').click()")
    held = script(driver, "return [now(), one('.time').textContent]")
    time.sleep(0.1)
    assert script(driver, "return [now(), one('.time').textContent]") == held
    shown, end_shown = (float(part.removesuffix(" s")) for part in held[1].split(" / "))
    assert abs(shown - held[0] / 1000) < 0.011 and end_shown == end / 1000
    script(driver, "seek(2500); one('.speed select').value = '4'; one('.play').click()")
    wait_until(lambda: script(driver, "return one('.play').ariaLabel") == "Play")
    assert script(driver, "return now()") == end


@needs_browser
def test_scrubbing_shows_the_page_as_it_was(page: Path, opened: Open):
    driver = opened(page)
    final = script(driver, "return trail()")
    # The first picture is at (10, 20) and 324 x 162 px: record 2 is at (0.2, 0.5) of it.
    assert script(driver, "seek(45); return [pointer(), trail()]") == [
        *("translate(74.8 101)", "M10 101L42.4 101L74.8 101"),
    ]
    selected = "return article.querySelectorAll('.page .picture.selected').length"
    shown = (
        "return [...article.querySelectorAll('.mark')].filter((m) => !m.matches('.future')).length"
    )
    assert [script(driver, f"seek({t}); {selected}") for t in (45, 90, 1089, 1090)] == [0, 1, 1, 2]
    assert [script(driver, f"seek({t}); {shown}") for t in (45, 90, 1090)] == [0, 1, 2]
    assert script(driver, "seek(150); return one('.pointer').matches('.away')") is True
    assert script(driver, "seek(3100); return trail()") == final
    assert final.count("M") == 4
    assert script(driver, selected) == 4


@needs_browser
def test_a_deselection_shows_at_the_end(page: Path, opened: Open):
    driver = opened(page)
    found = driver.execute_script("""
      const article = [...document.querySelectorAll("article.replay")].find(
        (a) => a.querySelector("h3").textContent.includes("deselections"));
      return article.querySelectorAll(".page .picture.selected").length""")
    assert found == 3


@needs_browser
def test_icons_come_move_and_go(coco_page: Path, opened: Open):
    driver = opened(coco_page)
    names = """return [...article.querySelectorAll('.mark:not(.future):not(.past) text')]
      .map((t) => t.textContent).sort()"""
    times = (0, 500, 700, 900, 1499, 1500)
    found = [script(driver, f"seek({t}); {names}") for t in times]
    both = ["cat", "dog"]
    assert found == [[], ["dog"], both, both, both, ["dog"]]
    assert script(driver, "seek(1000); return one('.shown').textContent").endswith("moved dog")
    assert script(driver, "seek(900); return pointer()") == "translate(450 225)"
    assert script(driver, "seek(1500); return article.querySelectorAll('.mark.past').length") == 2


@needs_browser
def test_keys_play_step_and_jump(page: Path, opened: Open):
    driver = opened(page)
    moves = [("Home", 0), ("ArrowRight", 200), (".", 1000), (".", 1090), (",", 1000),
             ("ArrowLeft", 800), ("End", 3100)]  # fmt: skip
    for on in (".viewport", "input[type=range]"):
        for key, expected in moves:
            found = script(driver, "press(...arguments); return now()", key, on)
            assert found == expected, (on, key)
    told = script(driver, "return document.getElementById(slider.ariaDescribedByElements?.[0]?.id"
                  " ?? slider.getAttribute('aria-describedby')).textContent")  # fmt: skip
    assert "space play, pause" in told
    script(driver, "press(' ')")
    wait_until(lambda: 0 < script(driver, "return now()") < 3100)
    script(driver, "press(' ')")
    assert script(driver, "return one('.play').ariaLabel") == "Play"


@needs_browser
def test_who_wants_less_motion_gets_steps_from_event_to_event(page: Path, opened: Open):
    driver = opened(page, prefers_reduced_motion="reduce")
    driver.execute_script("document.querySelector('.speed select').value = '4'")
    script(driver, "one('.play').click()")
    seen: set[int] = set()

    def several() -> bool:
        seen.add(script(driver, "return now()"))
        return len(seen) > 3

    wait_until(several)
    script(driver, "one('.play').click()")
    assert seen <= {0, 90, 1000, 1090, 2000, 2090, 3000, 3090, 3100}


CUT = """
return [...document.querySelectorAll("main *, header *")].filter((e) => {
  const box = e.getBoundingClientRect();
  return !e.closest("svg") && box.width && (box.right > innerWidth + 1 || box.left < -1);
}).map((e) => e.outerHTML.slice(0, 80));
"""


@needs_browser
def test_the_page_fits_a_phone_in_both_colours(page: Path, opened: Open):
    driver = opened(page)
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for scheme in ("light", "dark"):
            media = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
            assert driver.execute_script("return document.documentElement.scrollWidth") == 390
            assert driver.execute_script(CUT) == []
            ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@needs_browser
def test_hostile_names_harm_nothing(opened: Open, tmp_path: Path):
    path = tmp_path / "index.html"
    path.write_text(hostile_page(HOSTILE), encoding="utf-8")
    driver = opened(path)
    assert driver.execute_script("return document.querySelectorAll('b').length") == 0
    assert script(driver, "return one('.page text.id').textContent") == HOSTILE
    assert script(driver, "seek(5); return pointer()") == "translate(10 10)"
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_a_real_log_and_its_pictures_make_a_light_page(tmp_path: Path):
    source = SHARED / "data/raw/coco_ab_tiny.json"
    luab_data.convert_coco(source, tmp_path / "coco-ab", worker_key=KEY)
    images = SHARED / "data/coco/images/train"
    done = report(tmp_path / "coco-ab", tmp_path / "report", images=images)
    assert (done.num_replays, done.num_without_picture) == (4, 0)
    assert done.num_bytes < 5_000_000


# --- in Python -----------------------------------------------------------------------------------


def test_a_page_is_an_svg_file_of_its_own(world: Path, coco: Path):
    drawing = page_svg(world / "imagenet-ab", "n00000001_0", images=world / "pictures")
    assert drawing.startswith("<svg") and drawing.count("data:image/jpeg") == 3
    assert 'aria-label="Page 0 of 3A0: 4 of 48 pictures logged' in drawing
    assert "dog" in page_svg(str(coco / "coco-ab"), 1)


def test_any_figure_is_drawn_into_the_axes_of_the_user(world: Path, coco: Path):
    figure = Figure()
    axes = figure.subplots(2, 2)
    ax = axes[0, 0]
    assert luab_data.draw("sequences", coco / "coco-ab", ax) is ax and ax.patches
    assert luab_data.draw("rounds", str(world / "imagenet-ab")).get_ylabel() == "selected, %"
    pair = luab_data.draw("pages", world / "imagenet-ab", axes[1])
    assert pair is axes[1] or list(pair) == list(axes[1])
    assert all(ax.lines for ax in axes[1])
    assert luab_data.draw("pages", world / "imagenet-ab").shape == (2, 1)
    for name, given, message in (
        ("round", None, "no figure 'round' of ImageNet-AB; did you mean 'rounds'"),
        ("sequences", None, "no figure 'sequences' of ImageNet-AB"),
        ("pages", ax, r"has 2 x 1 panels, found 1 Axes; give those of plt.subplots\(2, 1, layout="),
    ):
        with pytest.raises(OptionError, match=message):
            luab_data.draw(name, world / "imagenet-ab", given)


def test_a_figure_without_matplotlib_says_what_to_install(
    world: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(LuabError, match=r"figures need matplotlib, .*: pip install .*\[report\]"):
        luab_data.draw("rounds", world / "imagenet-ab")


def test_cards_are_counts_and_not_the_fractions_that_are_null():
    kind = KINDS["imagenet-ab"]
    found = SimpleNamespace(kind=kind, counts={"num_images": 7, "off_centre_fraction": None})
    assert _cards(found) == [("7", "images")]


def test_what_happened_on_an_image_of_a_browsing_log(world: Path):
    found = luab_data.clicks(world / "imagenet-ab", "n00000002_3.JPEG")
    assert repr(found) == (
        "ImageEvents('n00000002_3' of ImageNet-AB: 1 round, 5 trace records, 1 visit, 1 click)"
    )
    assert found.trace[2] == (40, 0.2, 0.5, 1) and found.trace[2].x == 0.1 * 2
    assert found.visits == ((0, 100, "", 1),)
    assert found.clicks == ((90, 0.45, 0.5, "click", "", 1),)
    frame = found.to_frame()
    assert [*frame["event"]] == ["trace", "visit", *["trace"] * 4, "click"]
    assert frame["time_ms"].is_monotonic_increasing
    html = found._repr_html_()
    assert html.startswith(f"<p>{escape(repr(found))}</p><img src=")
    assert "data:image/jpeg" in found.svg(world / "pictures" / "n00000002" / "n00000002_3.JPEG")
    assert "data:image/jpeg" in found.svg(Image.new("L", (4, 2)))
    with pytest.raises(OptionError, match="round=2; n00000002_3 was shown in 1"):
        found.svg(round=2)
    with pytest.raises(DatasetError, match="near it n00000002_"):
        luab_data.clicks(world / "imagenet-ab", "n00000002_9")


def test_what_happened_on_an_image_of_a_tagging_log(coco: Path):
    found = luab_data.clicks(str(coco / "coco-ab"), 1)
    assert [(c.time_ms, c.event, c.name) for c in found.clicks] == [
        *((500, "add", "dog"), (700, "add", "cat"), (900, "move", "dog"), (1500, "remove", "cat")),
    ]
    assert (found.clicks[0].x, found.clicks[0].y) == (0.25, 0.5)
    assert math.isnan(found.clicks[3].x)
    assert len(found.trace) == 5 and "dog" in found.svg()
    assert luab_data.clicks(coco / "coco-ab", "000000000001.jpg").clicks[:3] == found.clicks[:3]
