"""luab-collect in Chromium: a scripted annotator keeps a list of what they did; the log has it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from browser import chromium as chromium
from browser import needs_browser
from collect_world import make_study, served

import luab_data
from luab_data.collect import spent
from luab_data.collect import tables as db
from luab_data.collect.export import export
from luab_data.collect.serve import Opened
from luab_data.errors import OutputError

pytestmark = needs_browser
KEY = b"a key of sixteen bytes"
TOLERANCE_PX = 1.0


class Annotator:
    """Somebody with a mouse, who writes down what they do.

    Args:
        driver: the browser.
        study: open, served at `address`.
    """

    def __init__(self, driver: Any, study: Opened, address: str) -> None:
        self.driver, self.study, self.address = driver, study, address
        self.did: list[dict[str, Any]] = []

    def open(self) -> None:
        """Consent, and wait for the first page."""
        self.driver.get(self.address)
        self.wait("button.main").click()
        self.ready()

    def wait(self, css: str) -> Any:
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 15, 0.02).until(
            lambda driver: next(iter(driver.find_elements(By.CSS_SELECTOR, css)), None)
        )

    def until(self, script: str, value: Any) -> None:
        """Wait until a script returns a value."""
        found = None
        for _ in range(750):
            found = self.driver.execute_script(script)
            if found == value:
                return
            time.sleep(0.02)
        raise AssertionError(f"{script}: {found!r}; expected {value!r}")

    def ready(self) -> None:
        """Every picture is there: the page may be submitted."""
        self.wait("[data-slot]")
        self.wait("main > button.main:not([disabled])")

    def box(self, css: str) -> dict[str, float]:
        """Where an element is in the window."""
        found: dict[str, float] = self.driver.execute_script(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect();"
            "return {left: b.left, top: b.top, width: b.width, height: b.height}", css,
        )  # fmt: skip
        return found

    def mouse(self, type: str, x: float, y: float, **more: Any) -> None:
        self.driver.execute_cdp_cmd(
            "Input.dispatchMouseEvent",
            {"type": type, "x": x, "y": y, "button": "left", "clickCount": 1, **more},
        )

    def point(self, css: str, fx: float, fy: float) -> tuple[float, float, float, float]:
        """Whole pixels near a fraction of an element, and which fraction they are."""
        box = self.box(css)
        x, y = round(box["left"] + fx * box["width"]), round(box["top"] + fy * box["height"])
        return x, y, (x - box["left"]) / box["width"], (y - box["top"]) / box["height"]

    def click(self, slot: int, fx: float, fy: float) -> None:
        x, y, fx, fy = self.point(f'[data-slot="{slot}"]', fx, fy)
        self.mouse("mouseMoved", x, y, buttons=0)
        self.mouse("mousePressed", x, y, buttons=1)
        self.mouse("mouseReleased", x, y, buttons=0)
        self.did.append({"type": "click", "slot": slot, "x": fx, "y": fy})

    def tap(self, slot: int, fx: float, fy: float) -> None:
        x, y, fx, fy = self.point(f'[data-slot="{slot}"]', fx, fy)
        for type, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
            self.driver.execute_cdp_cmd(
                "Input.dispatchTouchEvent", {"type": type, "touchPoints": points}
            )
        self.did.append({"type": "click", "slot": slot, "x": fx, "y": fy})

    def key(self, slot: int, key: str) -> None:
        self.driver.execute_script("document.querySelectorAll('.cell')[arguments[0]].focus()", slot)
        for type in ("keyDown", "keyUp"):
            self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": type, "key": key})
        self.did.append({"type": "click", "slot": slot, "x": None, "y": None})

    def path(self, slot: int, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Move over a picture; the places, as fractions."""
        seen = []
        for fx, fy in points:
            x, y, fx, fy = self.point(f'[data-slot="{slot}"]', fx, fy)
            self.mouse("mouseMoved", x, y, buttons=0)
            time.sleep(0.02)
            seen.append((fx, fy))
        return seen

    def drag(self, css: str, slot: int | None, fx: float, fy: float) -> tuple[float, float]:
        """Drag an element to a place on the picture, or off it."""
        x, y, *_ = self.point(css, 0.5, 0.5)
        target = '[data-slot="0"]'
        self.mouse("mouseMoved", x, y, buttons=0)
        self.mouse("mousePressed", x, y, buttons=1)
        to_x, to_y, fx, fy = self.point(target, fx, fy) if slot == 0 else (3, 3, fx, fy)
        for share in (0.5, 1.0):
            self.mouse("mouseMoved", x + share * (to_x - x), y + share * (to_y - y), buttons=1)
        self.mouse("mouseReleased", to_x, to_y, buttons=0)
        return fx, fy

    def submit(self) -> None:
        page = self.driver.execute_script("return document.getElementById('progress').textContent")
        self.driver.execute_script("document.querySelector('main > button.main').click()")
        for _ in range(500):
            shown = self.driver.execute_script(
                "return document.getElementById('progress').textContent"
            )
            if shown != page:
                return
            time.sleep(0.02)
        raise AssertionError(f"the page after {page} did not come")

    def log(self, out: Path) -> list[dict[str, Any]]:
        """Views of the exported log."""
        export(self.study, out, force=True)
        return [json.loads(line) for line in out.read_text().splitlines()]

    @property
    def complaints(self) -> list[str]:
        """What the browser's console says of scripts and of the content security policy."""
        entries = self.driver.get_log("browser")
        return [e["message"] for e in entries if "favicon" not in e["message"]]


@pytest.fixture(params=["browsing", "tagging"])
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def annotator(chromium: Any, tmp_path: Path, task: str) -> Iterator[Annotator]:
    chromium.set_window_size(1400, 1000)
    with served(make_study(tmp_path, task)) as (study, address):
        chromium.get("about:blank")
        chromium.get_log("browser")
        yield Annotator(chromium, study, address)
        chromium.get("about:blank")


def happened(views: list[dict[str, Any]], *types: str) -> list[dict[str, Any]]:
    """Events of some types of all views, in the order of their times, with their slot."""
    events = [
        {**event, "slot": view["slot"], "page": view["page"]}
        for view in views for event in view["events"] if event["type"] in types
    ]  # fmt: skip
    return sorted(events, key=lambda event: (event["page"], event["t"]))


def assert_same_places(found: list[dict[str, Any]], did: list[dict[str, Any]], views: Any) -> None:
    """Order exact, places within a pixel, nothing twice."""
    assert [e["slot"] for e in found] == [e["slot"] for e in did]
    for event, own in zip(found, did, strict=True):
        shown = views[own["slot"]]["shown"]
        for axis, side in (("x", "width"), ("y", "height")):
            if own[axis] is None:
                assert axis not in event
            else:
                assert abs(event[axis] - own[axis]) * shown[side] <= TOLERANCE_PX


@pytest.mark.parametrize("task", ["browsing"], indirect=True)
def test_clicks_keys_taps_and_paths_are_in_the_log_as_they_were(
    annotator: Annotator, tmp_path: Path
):
    annotator.open()
    annotator.click(0, 0.25, 0.75)
    annotator.click(5, 0.9, 0.1)
    annotator.click(5, 0.5, 0.5)  # taken back
    annotator.key(3, " ")
    annotator.tap(1, 0.4, 0.6)
    went = annotator.path(2, [(0.1 + 0.1 * k, 0.2) for k in range(8)])
    annotator.submit()
    views = [view for view in annotator.log(tmp_path / "log.jsonl") if view["page"] == 0]
    clicks = happened(views, "click")
    assert_same_places(clicks, annotator.did, views)
    assert [c["state"] for c in clicks] == [True, True, False, True, True]
    assert [c["pointer"] for c in clicks] == ["mouse"] * 3 + ["keyboard", "touch"]
    assert [view["slot"] for view in views if view["selected"]] == [0, 1, 3]
    moves = [(m["x"], m["y"]) for m in happened([views[2]], "move")]
    width = views[2]["shown"]["width"]
    for x, y in went:  # every place that the mouse was held at for longer than a sample
        assert any(abs(x - mx) * width <= 1 and abs(y - my) * width <= 1 for mx, my in moves)
    assert annotator.complaints == []
    made = luab_data.convert_browsing(
        tmp_path / "log.jsonl", tmp_path / "made", worker_key=KEY, shown=False
    )
    assert made.num_rows["rounds"] == len(views)


WATCH = """
window.own = [];
const note = (type, t) => own.push([t, type]);
const isSubmit = (event) => event.type === "click" && event.target.closest("main > button.main");
for (const type of ["pointermove", "pointerenter", "keydown", "click", "load", "scroll", "resize"])
    addEventListener(
        type, (event) => note(isSubmit(event) ? "submit" : type, event.timeStamp), true);
addEventListener("blur", () => note("blur", performance.now()));
addEventListener("focus", () => note("focus", performance.now()));
document.addEventListener("visibilitychange", () =>
    note(document.hidden ? "blur" : "focus", performance.now()));
new MutationObserver(() => {
    if (document.querySelector(".grid") && !own.shown) own.shown = performance.now();
}).observe(document, {childList: true, subtree: true});
"""
"""Somebody who looks over the page's shoulder, with a list of their own."""


@pytest.mark.parametrize("task", ["browsing"], indirect=True)
def test_wall_visible_and_active_time_are_those_that_passed(
    annotator: Annotator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    idle = 300
    monkeypatch.setattr(spent, "IDLE_MS", idle)
    driver = annotator.driver
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    try:
        annotator.open()
        annotator.path(0, [(0.1 + 0.1 * k, 0.5) for k in range(8)])
        time.sleep(3 * idle / 1000)  # reads, and touches nothing
        annotator.click(2, 0.5, 0.5)
        page = driver.current_window_handle
        driver.switch_to.new_window("tab")
        time.sleep(1)
        driver.close()
        driver.switch_to.window(page)
        annotator.click(4, 0.5, 0.5)
        annotator.submit()
        own = driver.execute_script("return {events: own, shown: own.shown}")
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    events = sorted(e for e in own["events"] if e[0] >= own["shown"])
    events = events[: [type for _, type in events].index("submit") + 1]
    assert {"blur", "focus"} <= {type for _, type in events}
    times, is_seen = {"wall": 0.0, "visible": 0.0, "active": 0.0}, True
    last, at_work_until = own["shown"], own["shown"] + idle
    for t, type in events:
        times["wall"] += t - last
        if is_seen:
            times["visible"] += t - last
            times["active"] += max(0.0, min(t, at_work_until) - last)
        is_seen = is_seen if type not in ("blur", "focus") else type == "focus"
        last, at_work_until = t, t + idle
    assert times["active"] < times["visible"] - idle < times["wall"] - 1000
    views = [view for view in annotator.log(tmp_path / "log.jsonl") if view["page"] == 0]
    for name, own_ms in times.items():
        assert abs(views[0]["spent"][name] - own_ms) <= 0.02 * own_ms, (name, views[0]["spent"])
    made = luab_data.convert_browsing(
        tmp_path / "log.jsonl", tmp_path / "made", worker_key=KEY, shown=False
    )
    rows = luab_data.read_table(made.out, "rounds").select(["page_idx", "page_active_ms"])
    assert {
        row["page_active_ms"] for row in rows.to_pylist() if row["page_idx"] == 0
    } == {round(views[0]["spent"]["active"])}  # fmt: skip


@pytest.mark.parametrize("task", ["browsing"], indirect=True)
def test_a_reload_goes_on_with_the_same_selections_and_loses_nothing(
    annotator: Annotator, tmp_path: Path
):
    annotator.open()
    annotator.click(0, 0.5, 0.5)
    annotator.click(4, 0.5, 0.5)
    annotator.driver.refresh()  # at once: the events have not gone out
    annotator.ready()
    chosen = annotator.driver.execute_script(
        "return [...document.querySelectorAll('.cell')].map((c) => c.getAttribute('aria-checked'))"
    )
    assert [k for k, state in enumerate(chosen) if state == "true"] == [0, 4]
    annotator.click(4, 0.2, 0.2)
    annotator.submit()
    views = [view for view in annotator.log(tmp_path / "log.jsonl") if view["page"] == 0]
    assert_same_places(happened(views, "click"), annotator.did, views)
    times = [event["t"] for event in happened(views, "click")]
    assert times == sorted(times) and len({*times}) == 3  # one clock over the reload


@pytest.mark.parametrize("task", ["browsing"], indirect=True)
def test_what_is_done_without_a_network_arrives_later_and_once(
    annotator: Annotator, tmp_path: Path
):
    annotator.open()
    annotator.driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    annotator.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    annotator.click(0, 0.5, 0.5)
    time.sleep(2.6)  # a batch was tried, and is kept
    annotator.click(1, 0.5, 0.5)
    assert "Not saved yet" in annotator.wait("#saved:not(:empty)").text
    annotator.driver.execute_cdp_cmd(
        "Network.emulateNetworkConditions", {**offline, "offline": False}
    )
    annotator.submit()
    views = [view for view in annotator.log(tmp_path / "log.jsonl") if view["page"] == 0]
    assert_same_places(happened(views, "click"), annotator.did, views)


@pytest.mark.parametrize("task", ["browsing"], indirect=True)
def test_a_browser_that_keeps_nothing_is_told_so_and_loses_nothing(
    annotator: Annotator, tmp_path: Path
):
    blocked = """for (const name of ["localStorage", "indexedDB"])
        Object.defineProperty(window, name, {
            get() { throw new DOMException("no", "SecurityError"); },
        });"""
    driver = annotator.driver
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": blocked})[
        "identifier"
    ]
    try:
        driver.get(annotator.address)
        assert "do not load it again" in annotator.wait(".notice").text
        annotator.open()
        annotator.click(0, 0.5, 0.5)
        annotator.submit()
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": script})
    views = [view for view in annotator.log(tmp_path / "log.jsonl") if view["page"] == 0]
    assert_same_places(happened(views, "click"), annotator.did, views)


SENT = """
window.sent = [];
const real = fetch;
window.fetch = async (path, options) => {
    const answer = await real(path, options);
    if (path === "api/events") sent.push([JSON.parse(options.body).sequence, answer.status]);
    return answer;
};
"""
"""What was sent of events, and what the server answered."""
KEPT = """
const [done] = arguments;
const request = indexedDB.open("luab", 1);
request.onsuccess = () => {
    const all = request.result.transaction("batches").objectStore("batches").getAll();
    all.onsuccess = () => done([all.result.length, Object.keys(localStorage)]);
};
"""
"""Batches that the browser keeps, and the names of what else it does."""


@pytest.mark.parametrize("task", ["browsing"], indirect=True)
def test_what_comes_after_the_end_of_a_session_is_not_sent_again(annotator: Annotator):
    annotator.open()
    driver = annotator.driver
    driver.execute_script(SENT)
    token = driver.execute_script("return localStorage['luab-token']")
    headers = {"Authorization": f"Bearer {token}", "Origin": annotator.address}
    for page in range(2):  # from another browser
        body = {"page": page, "batches": 0, "answer": {"selected": []}}
        httpx.post(f"{annotator.address}/api/page", json=body, headers=headers).raise_for_status()
    for number in (1, 2):  # the second goes out: the first does not stand in its way
        annotator.click(0, 0.5, 0.5)
        annotator.until("return sent.filter(([, status]) => status === 410).length", number)
    sent = driver.execute_script("return sent.map(([sequence]) => sequence)")
    assert sent == sorted({*sent})  # each once
    driver.execute_script("document.querySelector('main > button.main').click()")
    assert len(annotator.wait("output.code").text) == 10
    assert driver.execute_async_script(KEPT)[0] == 0
    assert driver.execute_script("return document.getElementById('saved').textContent") == ""


@pytest.mark.parametrize("task", ["browsing"], indirect=True)
def test_on_a_full_disk_the_page_says_so_and_all_is_kept_when_there_is_room(
    annotator: Annotator, tmp_path: Path
):
    annotator.open()
    driver, engine = annotator.driver, annotator.study.store._engine
    said = "return document.getElementById('saved').textContent"

    def full(_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    sa.event.listen(engine, "commit", full)
    try:
        annotator.click(0, 0.5, 0.5)
        annotator.until(f"{said}.startsWith('Not saved yet')", True)
        driver.execute_script(
            "window.confirm = () => true; document.getElementById('withdraw').click()"
        )
        annotator.until(f"{said}.startsWith('Nothing is deleted yet. This cannot be saved')", True)
        driver.execute_script("document.querySelector('main > button.main').click()")
        annotator.until(f"{said}.startsWith('Not saved yet')", True)
        assert "Page 1 of 2" in driver.page_source
    finally:
        sa.event.remove(engine, "commit", full)
    annotator.until("return document.getElementById('progress').textContent", "Page 2 of 2")
    annotator.until(said, "")
    views = [view for view in annotator.log(tmp_path / "log.jsonl") if view["page"] == 0]
    assert_same_places(happened(views, "click"), annotator.did, views)
    assert [view["slot"] for view in views if view["selected"]] == [0]


@pytest.mark.parametrize("task", ["browsing"], indirect=True)
def test_the_answer_to_a_page_waits_for_room_on_the_disk_and_the_page_says_so(
    annotator: Annotator,
):
    annotator.open()
    store = annotator.study.store
    act = store.act

    async def full(_: Any) -> None:
        raise OutputError("the database refuses: database or disk is full")

    store.act = full  # type: ignore[method-assign]
    annotator.driver.execute_script("document.querySelector('main > button.main').click()")
    said = "return document.getElementById('saved').textContent"
    annotator.until(f"{said}.startsWith('Not saved yet')", True)
    store.act = act  # type: ignore[method-assign]
    annotator.until("return document.getElementById('progress').textContent", "Page 2 of 2")
    annotator.until(said, "")


@pytest.mark.parametrize("task", ["browsing"], indirect=True)
def test_who_comes_while_a_study_is_paused_reads_so_before_they_consent(annotator: Annotator):
    row = {"at_ms": 1, "act": "pause", "about": ""}
    with annotator.study.store.alone() as connection:
        connection.execute(db.audit.insert(), row)
    annotator.driver.get(annotator.address)
    assert "paused at the moment" in annotator.wait(".notice").text
    annotator.wait("button.main").click()  # nothing was begun that could go on
    assert "paused" in annotator.wait(".notice[role=alert]").text
    with annotator.study.store.alone() as connection:
        connection.execute(db.audit.insert(), {**row, "act": "resume"})
    annotator.open()


@pytest.mark.parametrize("task", ["browsing"], indirect=True)
def test_a_second_tab_does_not_take_part(annotator: Annotator):
    annotator.open()
    first = annotator.driver.current_window_handle
    annotator.driver.switch_to.new_window("tab")
    annotator.driver.get(annotator.address)
    assert "open in another tab" in annotator.wait(".notice").text
    annotator.driver.close()
    annotator.driver.switch_to.window(first)


@pytest.mark.parametrize("task", ["tagging"], indirect=True)
def test_labels_dragged_moved_removed_and_undone_are_in_the_log(
    annotator: Annotator, tmp_path: Path
):
    annotator.open()
    button = '.palette [data-name="{}"]'.format
    added = annotator.drag(button("Käse"), 0, 0.3, 0.4)
    annotator.drag(button("dog"), 0, 0.7, 0.7)
    moved = annotator.drag(".placed", 0, 0.6, 0.2)
    annotator.drag(".placed:last-of-type", None, 0, 0)  # off the picture: taken away
    annotator.driver.execute_script(
        "const buttons = [...document.querySelectorAll('.tools button')];"
        "buttons.find((b) => b.textContent === 'Undo').click()"
    )
    annotator.submit()
    (view,) = [view for view in annotator.log(tmp_path / "log.jsonl") if view["page"] == 0]
    acts = happened([view], "add", "move-label", "remove")
    assert [(a["type"], a["label"]) for a in acts] == [
        ("add", "Käse"), ("add", "dog"), ("move-label", "Käse"), ("remove", "dog"), ("add", "dog"),
    ]  # fmt: skip
    for act, (fx, fy) in ((acts[0], added), (acts[2], moved)):
        assert abs(act["x"] - fx) * view["shown"]["width"] <= TOLERANCE_PX
        assert abs(act["y"] - fy) * view["shown"]["height"] <= TOLERANCE_PX
    assert acts[2]["from_x"] == acts[0]["x"] and acts[4]["x"] == acts[3]["x"]
    luab_data.convert_tagging(
        tmp_path / "log.jsonl", tmp_path / "made", worker_key=KEY, shown=False
    )
    (row,) = luab_data.read_table(tmp_path / "made").to_pylist()
    assert row["icon_name"] == ["Käse", "dog"] and row["is_present_at_end"] == [True, True]
    assert annotator.complaints == []


def test_pages_fit_a_phone_and_withdrawing_deletes(annotator: Annotator, task: str):
    annotator.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": True,
    })  # fmt: skip
    annotator.open()
    wide = annotator.driver.execute_script(
        "return [document.documentElement.scrollWidth, innerWidth,"
        " ...[...document.querySelectorAll('button, [data-slot]')]"
        " .map((e) => e.getBoundingClientRect().right)]"
    )
    assert max(wide) <= 320, wide
    annotator.driver.execute_script(
        "window.confirm = () => true; document.getElementById('withdraw').click()"
    )
    assert "deleted" in annotator.wait(".notice").text
    annotator.driver.execute_script(SENT)
    annotator.mouse("mouseMoved", 50, 50, buttons=0)
    annotator.driver.execute_script(  # as if the page were left, which sends what waits
        "navigator.sendBeacon = (path) => sent.push([path, 0]);dispatchEvent(new Event('pagehide'))"
    )
    assert annotator.driver.execute_script("return sent") == []
    assert annotator.driver.execute_async_script(KEPT) == [0, []]  # nothing of them stays
    annotator.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
