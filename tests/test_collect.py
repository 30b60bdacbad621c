"""luab-collect without a browser: plans, what is kept, what is refused, and the log."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import re
import struct
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from collect_world import CLASSES, Person, draw_pictures, make_study
from hypothesis import given
from hypothesis import strategies as st

import luab_data
from luab_data.cli import main
from luab_data.collect import people
from luab_data.collect import tables as db
from luab_data.collect.demo import write_demo
from luab_data.collect.export import export, sessions
from luab_data.collect.pictures import Thumbnails, find_pictures
from luab_data.collect.plan import make_tasks, next_task
from luab_data.collect.release import export_release
from luab_data.collect.serve import Opened, add_round, opened, progress_of
from luab_data.collect.spent import spent_on
from luab_data.collect.store import Store
from luab_data.collect.study import read_study
from luab_data.errors import ImagesError, OptionError, OutputError
from luab_data.views.log import Spent

KEY = b"a key of sixteen bytes"


def move(slot: int, t: float, x: float, y: float) -> dict[str, Any]:
    return {"type": "move", "slot": slot, "page": 0, "t": t, "fx": x, "fy": y, "pointer": "mouse"}


def click(slot: int, t: float, state: bool, page: int = 0) -> dict[str, Any]:
    return {"type": "click", "slot": slot, "page": page, "t": t, "fx": 0.25, "fy": 0.75,
            "state": state, "pointer": "mouse"}  # fmt: skip


LAYOUT = {"type": "resize", "page": 0, "t": 1, "layout": [[10 * k, 5, 100, 75] for k in range(6)],
          "viewport": [800, 600], "ratio": 2, "scroll": [0, 0]}  # fmt: skip


# --- the plan ------------------------------------------------------------------------------------


def test_every_picture_of_a_class_is_asked_about_once_among_others(tmp_path: Path):
    study = read_study(make_study(tmp_path, "browsing"))
    pictures = find_pictures(tmp_path / "pictures")
    tasks = make_tasks(study, pictures)
    known = Counter(
        (page.label, slot.picture)
        for task in tasks for page in task.pages for slot in page.slots if slot.known
    )  # fmt: skip
    assert len(known) == len(pictures) and {*known.values()} == {1}
    for label, key in known:
        assert pictures[key].path.startswith(f"{label}/")
    for task in tasks:
        assert 1 <= len(task.pages) <= 2
        for page in task.pages:
            assert len({slot.picture for slot in page.slots}) == len(page.slots) == 6
            assert all(slot.known or not pictures[slot.picture].is_in(page.label)
                       for slot in page.slots)  # fmt: skip
    assert make_tasks(study, pictures) == tasks  # by seed
    again = make_tasks(study, pictures, only=[key for _, key in known][:2], round=2)
    asked = [s.picture for task in again for p in task.pages for s in p.slots if s.known]
    assert sorted(asked) == sorted(key for _, key in [*known][:2])


def test_examples_and_icons_are_shown_and_nobody_is_asked_about_them(tmp_path: Path):
    dog = 'examples = ["dog/IMG 001.png", "dog/IMG 002.png"], icon = "Käse/IMG 000.png" }'
    folder = make_study(tmp_path, "browsing")
    file = folder / "study.toml"
    text = file.read_text()
    (line,) = [line for line in text.splitlines() if 'name = "dog"' in line]
    file.write_text(text.replace(line, f'  {{ name = "dog", {dog},'))
    with opened(folder) as study:
        keys = {picture.path: key for key, picture in study.pictures.items()}
        aside = [keys[f"dog/IMG 00{k}.png"] for k in (1, 2)]
        slots = [s for t in study.people.tasks.values() for page in t.pages for s in page.slots]
        assert not {slot.picture for slot in slots} & {*aside, keys["Käse/IMG 000.png"]}
        ann = Person(study)
        told = {label["name"]: label for label in ann.state["classes"]}
        assert told["dog"]["examples"] == aside and told["dog"]["icon"] == keys["Käse/IMG 000.png"]
        assert told["Käse"]["examples"] == [] and told["Käse"]["icon"] is None
        assert ann.get(f"/picture/{aside[0]}").status_code == 200
    file.write_text(text.replace(line, '  { name = "dog", icon = "../none.png" },'))
    with pytest.raises(ImagesError, match=r"\.\./none\.png: no picture of the study"):
        with opened(folder):
            pass


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 4)), st.lists(st.integers(0, 9)))
def test_the_next_task_is_one_that_needs_somebody_and_the_person_never_had(taken, mine):
    found = next_task(taken, mine, 3)
    able = [t for t, count in taken.items() if count < 3 and t not in mine]
    assert (
        (found in able and taken[found] == min(taken[t] for t in able)) if able else found is None
    )


# --- pictures ------------------------------------------------------------------------------------


def test_pictures_are_turned_shrunk_and_encoded_anew_and_nothing_else_is_served(tmp_path: Path):
    from PIL import Image

    root = draw_pictures(tmp_path / "p", each=1)
    (root / "evil.svg").write_text("<svg onload='alert(1)'/>")
    turned = Image.new("RGB", (400, 100))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "turned.jpg", exif=exif)
    pictures = find_pictures(root)
    assert [p.path for p in pictures.values()] == [
        "Käse/IMG 000.png", "dog/IMG 000.png", "turned.jpg",
    ]  # fmt: skip
    assert [p.image_id for p in pictures.values()] == ["Käse/IMG 000", "dog/IMG 000", "turned"]
    made = Thumbnails(root, pictures, tmp_path / "cache")
    key = next(k for k, p in pictures.items() if p.image_id == "turned")
    assert (pictures[key].width, pictures[key].height) == (100, 400)
    body, kind = made.get(key, 90) or (b"", "")
    assert kind == "image/jpeg" and made.get(key, 90) == (body, kind)
    with Image.open(io.BytesIO(body)) as seen:
        assert seen.size == (100, 400)
    assert made.get("../evil.svg", 100) is None
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    with pytest.raises(ImagesError, match=r"broken\.png: cannot be opened"):
        find_pictures(root)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "chunk", "said"),
    [
        (9, b"zTXt", "cannot be opened as a picture"),
        (9, b"iCCP", "cannot be opened as a picture"),
        (11_000, b"", "has 11000 x 11000 pixels; expected 120,000,000 at most"),
        (50_000, b"", "cannot be opened as a picture"),
    ],
)
def test_a_picture_that_unpacks_to_too_much_is_named(
    tmp_path: Path, width: int, chunk: bytes, said: str
):
    root = draw_pictures(tmp_path / "p", each=1)
    size = struct.pack(">IIBBBBB", width, width, 8, 2, 0, 0, 0)
    much = _chunk(chunk, b"k\0\0" + zlib.compress(b"A" * 80_000_000)) if chunk else b""
    end = _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")
    (root / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", size) + much + end)
    with pytest.raises(ImagesError, match=f"bomb.png: {said}"):
        find_pictures(root)


def test_nothing_but_pixels_of_a_picture_goes_out(tmp_path: Path):
    from PIL import Image

    root = draw_pictures(tmp_path / "p", each=1)
    image = Image.new("RGB", (30, 20))
    image.save(root / "a.jpg", comment=b"of Olga", icc_profile=b"of Olga")
    image.save(root / "b.png", icc_profile=b"of Olga")
    pictures = find_pictures(root)
    made = Thumbnails(root, pictures, tmp_path / "cache")
    for key, picture in pictures.items():
        body, _ = made.get(key, 160) or (b"", "")
        assert body and b"Olga" not in body and b"iCCP" not in body, picture


def test_a_picture_is_served_to_many_at_once_and_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pictures = find_pictures(draw_pictures(tmp_path / "p", each=1))
    made = Thumbnails(tmp_path / "p", pictures, tmp_path / "cache")
    key, write, others = next(iter(pictures)), Path.write_bytes, []

    def meanwhile(path: Path, body: bytes) -> int:
        monkeypatch.setattr(Path, "write_bytes", write)
        others.append(made.get(key, 324))  # before this one is in its place
        return write(path, body)

    monkeypatch.setattr(Path, "write_bytes", meanwhile)
    found = made.get(key, 324)
    assert others == [found] and made.get(key, 324) == found

    def full(path: Path, body: bytes) -> int:
        write(path, body[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert made.get(key, 160) == found  # the picture is smaller than either width
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{key}-324.png"]


# --- a session -----------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path):
    with opened(make_study(tmp_path, "browsing")) as found:
        yield found


def rows_of(study: Opened, table: sa.Table) -> list[Any]:
    with study.store.reading() as connection:
        return [*connection.execute(sa.select(table)).all()]


def test_a_session_from_consent_to_its_code(study: Opened):
    ann = Person(study)
    state = ann.state
    assert state["page"] == 0 and len(state["slots"]) == 6 and state["class"]["name"] in CLASSES
    assert "known" not in json.dumps(state)  # who answers is not told which are of the class
    assert ann.do(LAYOUT, click(2, 50.5, True)).json()["acknowledged"] == 0
    assert [e["slot"] for e in ann.state["events"]] == [2]  # a reload finds the selection
    assert ann.submit(0, {"selected": [2], "failed": []}).json()["page"] == 1
    done = ann.submit(1, {"selected": [], "failed": []}).json()
    assert done["finished"] and len(done["code"]) == 10
    assert ann.submit(1, {"selected": [0], "failed": []}).json()["code"] == done["code"]
    assert ann.submit(2, {"selected": [0]}).json()["code"] == done["code"]  # no such page
    assert [json.loads(row.answer)["selected"] for row in rows_of(study, db.answers)] == [[2], []]
    assert Person(study).state["page"] == 0 and progress_of(study)["sessions finished"] == 1


def test_what_is_sent_twice_is_kept_once_and_an_answer_waits_for_its_events(study: Opened):
    ann = Person(study)
    first, again = ann.do(click(0, 1, True)), None
    ann.sequence = 0
    again = ann.do(click(5, 9, True))
    assert first.json()["acknowledged"] == again.json()["acknowledged"] == 0
    (row,) = rows_of(study, db.batches)
    assert json.loads(row.events)[0]["slot"] == 0
    ann.sequence = 3
    refused = ann.submit(0, {"selected": []})
    assert refused.status_code == 409 and "have not arrived" in refused.json()["error"]
    assert ann.submit(1, {"selected": []}).status_code == 409


def test_who_withdraws_leaves_nothing(study: Opened):
    ann, bob = Person(study), Person(study)
    ann.do(click(0, 1, True))
    bob.do(click(1, 1, True))
    assert ann.post("/api/withdraw", {}).json() == {"withdrawn": True}
    assert ann.get("/api/state").status_code == 401
    assert ann.do(click(2, 2, True)).status_code == 401
    assert [len(rows_of(study, t)) for t in (db.participants, db.sessions, db.batches)] == [1, 1, 1]


def test_who_withdrew_writes_into_nobody_elses_session_and_leaves_no_trace_on_the_disk(
    study: Opened, tmp_path: Path
):
    ann = Person(study)
    assert ann.do({**click(0, 1, True), "type": "a word of Ann's"}).status_code == 200
    ann.post("/api/withdraw", {})
    on_disk = b"".join(path.read_bytes() for path in tmp_path.glob("browsing/study.sqlite*"))
    assert b"a word of Ann's" not in on_disk
    bob = Person(study)
    assert ann.do(click(2, 2, True)).status_code == 401
    assert bob.state["next_sequence"] == 0 and rows_of(study, db.batches) == []


@pytest.mark.parametrize("path", ["/api/events", "/api/page", "/api/join"])
def test_json_as_deep_as_a_well_is_refused(study: Opened, path: str):
    key = {"/api/events": b"events", "/api/page": b"answer", "/api/join": b"x"}[path]
    body = b'{"%s": %s%s}' % (key, b"[" * 200_000, b"]" * 200_000)
    answer = Person(study)._ask("POST", path, content=body)
    assert answer.status_code == 400 and "makes no sense" in answer.json()["error"]


def test_the_wildest_events_that_are_taken_end_no_export(study: Opened, tmp_path: Path):
    ann, far = Person(study), 1e6
    layout = {"layout": [[far, -far, far, far]] * 6, "viewport": [far, far], "ratio": far}
    wild = [
        {**LAYOUT, **layout},
        {**click(0, -1e12, True), "fx": 1e308, "fy": -1e308, "from": [1e308, 0]},
        {**click(1, 1e12, True), "pointer": ""},
        {**click(10_000, 5, True), "state": None},
        {**click(2, 5, True), "type": "add", "label": "dog"},
        {**click(3, 5, True), "type": "submit"},
    ]
    assert ann.do(*wild).status_code == 200
    for more in ({"t": 1e13}, {**layout, "viewport": [1e7, 1]}, {**layout, "layout": [[1e7] * 4]}):
        assert ann.do({**LAYOUT, **more}).status_code == 400
    ann.sequence = 1
    given = {"selected": [0, 0, 9_999], "failed": [5], "labels": ["x"], "nothing": True}
    assert ann.submit(0, given).status_code == 200
    export(study, tmp_path / "log.jsonl")
    made = luab_data.convert_browsing(
        tmp_path / "log.jsonl", tmp_path / "made", worker_key=b"k" * 20, shown=False
    )
    assert made.num_rows["rounds"] == 6
    assert export_release(study, tmp_path / "log.tar.gz").views == 3


def test_an_event_names_no_class_but_the_studys(study: Opened):
    ann = Person(study)
    for type, label in (("down", "=1+1"), ("click", "Olga"), ("category", "Olga"), ("add", "")):
        refused = ann.do({**click(0, 1, True), "type": type, "label": label})
        assert refused.status_code == 400 and "of no class" in refused.json()["error"]
    for type, label in (("down", "dog"), ("category", ""), ("click", None), ("add", "dog")):
        kept = ann.do({**click(0, 1, True), "type": type, "label": label})
        assert kept.status_code == 200


def test_a_place_far_off_the_picture_is_left_out_of_the_log(study: Opened, tmp_path: Path):
    ann = Person(study)
    far = {**move(2, 9, 11.5, 0.5), "type": "leave"}  # as a fast pointer leaves a small picture
    ann.do(far, {**far, "fx": 1.5})
    ann.submit(0, {"selected": [2]})
    export(study, tmp_path / "log.jsonl")
    assert luab_data.validate(tmp_path / "log.jsonl").num_views == 6
    seen = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[2])["events"]
    assert [(e.get("x"), e.get("y")) for e in seen] == [(None, None), (1.5, 0.5)]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/api/join", {"consent": False}, {}, 400),
        ("/api/join", {"consent": True, "more": 1}, {}, 400),
        ("/api/events", {"sequence": -1, "events": []}, {}, 400),
        ("/api/events", {"sequence": 0, "events": [click(0, 1, True)] * 5001}, {}, 400),
        ("/api/events", {"sequence": 0, "events": [{"type": "click"}]}, {}, 400),
        ("/api/events", {"sequence": 0, "events": [{**click(0, 1, True), "t": "x"}]}, {}, 400),
        ("/api/events", {"sequence": 0, "events": {"t": 1}}, {}, 400),
        ("/api/events", {"sequence": 0, "events": [{**click(0, 1, True), "t": 1e300}]}, {}, 400),
        ("/api/events", {"sequence": 0, "events": [{**LAYOUT, "pointer": "<b>"}]}, {}, 400),
        ("/api/events", {"sequence": 0, "events": [{**LAYOUT, "viewport": None}]}, {}, 400),
        ("/api/events", {"sequence": 0, "events": [{**LAYOUT, "layout": [[0, 0, -1, 1]]}]}, {},
         400),
        ("/api/events", {"sequence": 0, "events": [{**click(0, 1, True), "type": "add"}]}, {}, 400),
        ("/api/page", {"page": 0}, {"Origin": "http://[x"}, 403),
        ("/api/events", {"sequence": 0, "events": [{"type": "x" * 1_000_001}]}, {}, 413),
        ("/api/events", {"sequence": 0}, {"Authorization": "Bearer nobody"}, 401),
        ("/api/page", {"page": 0, "answer": {"selected": "all"}}, {}, 400),
        ("/api/page", {"page": 0, "answer": {"selected": [-1], "more": 1}}, {}, 400),
        ("/api/page", {"page": 0}, {"Origin": "https://evil.example"}, 403),
        ("/api/withdraw", {}, {"Origin": "null"}, 403),
    ],
)  # fmt: skip
def test_what_makes_no_sense_or_is_from_elsewhere_is_refused_in_a_sentence(
    study: Opened, path: str, body: Any, headers: dict[str, str], status: int
):
    ann = Person(study)
    answer = ann.post(path, body, **headers)
    assert answer.status_code == status and re.search(r"[.`\d]$", answer.json()["error"])
    assert "Traceback" not in answer.text


def test_headers_let_nothing_of_others_in(study: Opened):
    ann = Person(study)
    for path in ("/", "/static/main.js", "/api/state"):
        headers = ann.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    for path in (
        "/static/../app.py",
        "/static/%2e%2e%2fapp.py",
        "/static/main.py",
        f"/static/{'a' * 300}.js",
        "/picture/..%2fx",
    ):
        assert ann.get(path).status_code == 404
    assert ann.get("/picture/abc?w=1e9").status_code == 400


# --- ways in and out -----------------------------------------------------------------------------

MTURK = {"assignmentId": "3A", "hitId": "3H", "workerId": "A1WORKER",
         "turkSubmitTo": "https://workersandbox.mturk.com"}  # fmt: skip


def ways(tmp_path: Path, kinds: str) -> Path:
    more = f'kinds = {kinds}\nprolific_completion = "C0DE"'
    changes = {'kinds = ["open"]': more, "pages = 2": "pages = 1"}
    return make_study(tmp_path, "tagging", changes=changes)


def test_a_worker_of_mturk_is_hashed_works_once_and_leaves_by_its_form(tmp_path: Path):
    folder = ways(tmp_path, '["mturk"]')
    with opened(folder) as study:
        ann = Person(study, **MTURK)
        assert Person(study, **MTURK).token == ann.token  # comes back: goes on
        done = ann.submit(0, {"labels": []}).json()
        assert done["leave"] == {
            "form": "https://workersandbox.mturk.com/mturk/externalSubmit",
            "fields": {"assignmentId": "3A", "code": done["code"]},
        }
        again = Person(study, **MTURK).joined
        assert again.status_code == 403 and "already" in again.json()["error"]
        frames = ann.get("/").headers["content-security-policy"]
        assert "frame-ancestors https://*.mturk.com" in frames
    assert b"A1WORKER" not in b"".join(p.read_bytes() for p in folder.glob("study.sqlite*"))


def test_who_returns_a_hit_and_accepts_another_leaves_by_the_form_of_the_other(tmp_path: Path):
    with opened(ways(tmp_path, '["mturk"]')) as study:
        first = Person(study, **MTURK)
        query = {**MTURK, "assignmentId": "3B"}  # the browser holds the token of the first one
        again = first.post("/api/join", {"consent": True, "query": query}).json()
        assert again["token"] == first.token
        done = first.submit(0, {"labels": []}).json()
    assert done["leave"]["fields"]["assignmentId"] == "3B"


MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (MTURK, {**MTURK, "assignmentId": "3B"}),
        ({"PROLIFIC_PID": "5f0", "SESSION_ID": "a"}, {"PROLIFIC_PID": "5f0", "SESSION_ID": "b"}),
        ({"PROLIFIC_PID": "5f0", "SESSION_ID": "a"}, {"PROLIFIC_PID": "5f0"}),
    ],
)
def test_who_knows_the_id_of_somebody_does_not_reach_their_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: Any, theirs: Any
):
    with opened(ways(tmp_path, '["mturk", "prolific"]')) as study:
        ann, bob = Person(study, **mine), Person(study, PROLIFIC_PID="5f1", SESSION_ID="c")
        for held in ("", "a" * 22, bob.token, "é"):
            body = {"consent": True, "query": theirs, "token": held}
            refused = Person._ask(ann, "POST", "/api/join", json=body)
            assert refused.status_code == 403 and "begun" in refused.json()["error"]
        assert Person(study, **mine).token == ann.token  # the same visit, from another browser
        now = people.now_ms()
        monkeypatch.setattr(people, "now_ms", lambda: now + 61 * MINUTE_MS)
        other = Person(study, **theirs)  # they have left: another session, not theirs
        assert other.token and other.token != ann.token
        stored = [msgspec.json.decode(row.entry) for row in rows_of(study, db.sessions)]
        assert "5f0" not in str(stored) and not {"a", "c"} & {*map(str, stored[1].values())}


def test_somebody_who_comes_many_times_at_once_has_one_session(tmp_path: Path):
    with opened(ways(tmp_path, '["prolific"]')) as study:
        taken = study.people._taken
        study.people._taken = lambda found: (time.sleep(0.05), taken(found))[1]  # type: ignore

        async def all_at_once() -> list[str]:
            join = study.people.join
            return await asyncio.gather(*(join("prolific", "5f0", {}) for _ in range(12)))

        assert len({*asyncio.run(all_at_once())}) == 1
        assert len(rows_of(study, db.sessions)) == 1


@pytest.mark.parametrize(
    ("kinds", "query", "said"),
    [
        ('["mturk"]', {**MTURK, "turkSubmitTo": "https://[x"}, "from its HIT"),
        ('["mturk"]', {**MTURK, "assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE"}, "preview"),
        ('["mturk"]', {**MTURK, "turkSubmitTo": "https://mturk.com.evil.example"}, "from its HIT"),
        ('["mturk"]', {**MTURK, "turkSubmitTo": "http://www.mturk.com"}, "from its HIT"),
        ('["link"]', {"invite": "1-0123456789abcdef"}, "by your link"),
        ('["link"]', {"invite": "1-é"}, "by your link"),
        ('["prolific", "link"]', {}, "from Prolific or by your link"),
    ],
)
def test_who_comes_another_way_is_told_so(tmp_path: Path, kinds: str, query: Any, said: str):
    with opened(ways(tmp_path, kinds)) as study:
        refused = Person(study, **query).joined
        assert refused.status_code == 403 and said in refused.json()["error"]
        assert rows_of(study, db.participants) == []


def test_prolific_and_invitations_lead_in_and_out(tmp_path: Path):
    folder = ways(tmp_path, '["prolific", "link"]')
    said = CliRunner().invoke(main, ["collect", "invite", str(folder), "--count", "2"])
    invitation = said.output.split()[1].partition("invite=")[2]
    with opened(folder) as study:
        ann = Person(study, PROLIFIC_PID="5f0")
        link = ann.submit(0, {"labels": []}).json()["leave"]["link"]
        assert link == "https://app.prolific.com/submissions/complete?cc=C0DE"
        bob = Person(study, invite=invitation)
        assert bob.submit(0, {"labels": []}).json()["leave"] is None
        assert {row.entry for row in rows_of(study, db.participants)} == {"prolific", "link"}


def test_who_finds_nothing_left_leaves_prolific_by_its_screen_out_and_who_may_come_back_stays(
    tmp_path: Path,
):
    folder = ways(tmp_path, '["prolific", "link"]')
    text = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(
        text.replace("[entry]", '[entry]\nprolific_screen_out = "0UT"')
    )
    with opened(folder) as study:
        Person(study, PROLIFIC_PID="5f0").submit(0, {"labels": []})
        again = Person(study, PROLIFIC_PID="5f0").joined
        assert again.status_code == 403 and "done this study already" in again.json()["error"]
        assert again.json()["leave"]["link"].endswith("/complete?cc=0UT")
        with study.store.alone() as connection:
            connection.execute(sa.insert(db.audit), {"at_ms": 1, "act": "pause", "about": ""})
        assert "leave" not in Person(study, PROLIFIC_PID="5f1").joined.json()


# --- the database --------------------------------------------------------------------------------


def test_one_bad_write_does_not_take_the_others_with_it(tmp_path: Path):
    store = Store(f"sqlite:///{tmp_path / 's.sqlite'}")
    task = {"task": "{}"}

    async def write() -> list[Any]:
        rows = [{"task": None}, task, task]
        writes = (store.write(sa.insert(db.tasks), row) for row in rows)
        return await asyncio.gather(*writes, return_exceptions=True)

    bad, *good = asyncio.run(write())
    assert isinstance(bad, OutputError) and "NOT NULL" in str(bad) and good == [None, None]
    with store.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(db.tasks)) == 2
        assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(sa.text("PRAGMA synchronous")) == 2
    store.close()


def test_a_study_whose_pictures_are_gone_is_not_served_with_others(tmp_path: Path):
    folder = make_study(tmp_path, "tagging")
    with opened(folder):
        pass
    (tmp_path / "pictures/dog/IMG 000.png").unlink()
    with pytest.raises(OptionError, match="1 pictures of the study are gone"), opened(folder):
        pass


# --- the log -------------------------------------------------------------------------------------


def test_a_browsing_session_becomes_a_log_and_a_dataset(study: Opened, tmp_path: Path):
    ann = Person(study)
    state = ann.state
    enter = {"type": "enter", "slot": 2, "page": 0, "t": 5, "fx": 0, "fy": 0.5}
    ann.do(LAYOUT, enter, move(2, 7, 0.1, 0.5), {**move(0, 8, 0, 0), "slot": None})
    ann.do(
        click(2, 20, True),
        click(2, 30, False),
        click(2, 40, True),
        {"type": "submit", "page": 0, "t": 60},
    )
    ann.submit(0, {"selected": [2], "failed": []})
    done = export(study, tmp_path / "log.jsonl")
    assert (done.views, done.sessions, done.same) == (6, 1, False)
    views = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    seen = views[2]
    assert seen["asked"] == {"class": state["class"]["name"]} and seen["selected"] is True
    assert seen["shown"] == {"x": 20, "y": 5, "width": 100, "height": 75}
    assert [e["type"] for e in seen["events"]] == [
        "resize", "enter", "move", "click", "click", "click", "submit",
    ]  # fmt: skip
    assert [e["type"] for e in views[0]["events"]] == ["resize", "submit"]
    for name in ("log.jsonl.gz", "log.jsonl.zst"):
        export(study, tmp_path / name)
    made = [
        luab_data.convert_browsing(tmp_path / name, tmp_path / name.replace(".", "-"), title="t",
                                   worker_key=KEY, shown=False).content_digest
        for name in ("log.jsonl", "log.jsonl.gz", "log.jsonl.zst")
    ]  # fmt: skip
    assert len({*made}) == 1
    rows = luab_data.read_table(tmp_path / "log-jsonl", "rounds").to_pylist()
    (row,) = [row for row in rows if row["selected"]]
    assert row["selected_record_x"] == [0.25, 0.25] and row["image_position_x"] == 20
    assert row["hit_submit_time"] == (state["begun_ms"] + 60) // 1000


def happening(*told: tuple[float, str]) -> list[dict[str, Any]]:
    return [{"t": 1000.0 * t, "type": type} for t, type in told]


def test_time_on_a_page_is_that_of_the_example():
    moves = [(t, "move") for t in range(1, 5)]
    told = [(0, "focus"), *moves, (6, "blur"), (60, "focus"), (61, "click"), (86, "submit")]
    assert spent_on(happening(*told)) == Spent(wall=86_000, visible=32_000, active=17_000)
    assert spent_on(happening((3, "load"))) == Spent(wall=0, visible=0, active=0)
    assert spent_on([]) is None


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["move", "blur", "focus"]))))
def test_time_on_a_page_is_counted_as_second_by_second(told: list[tuple[int, str]]):
    told = sorted(told, key=lambda one: one[0])
    found = spent_on(happening(*told))
    if not told:
        assert found is None
        return
    visible = active = 0
    for second in range(told[0][0], told[-1][0]):
        before = [one for one in told if one[0] <= second]
        said = [type for _, type in before if type != "move"]
        is_seen = not said or said[-1] == "focus"
        visible += is_seen
        active += is_seen and second - before[-1][0] < 10
    assert found == Spent(
        wall=1000 * (told[-1][0] - told[0][0]), visible=1000 * visible, active=1000 * active
    )


def test_a_log_is_of_one_moment_though_people_go_on_while_it_is_written(study: Opened):
    people = [Person(study), Person(study)]
    for person in people:
        person.do({"t": 1, "page": 0, "type": "move", "slot": 0, "fx": 0.5, "fy": 0.5})
        assert person.submit(0, {"selected": [0]}).status_code == 200
    found = sessions(study, False)
    first = list(next(found))
    people[1].do({"t": 2, "page": 1, "type": "move", "slot": 0, "fx": 0.5, "fy": 0.5})
    assert people[1].submit(1, {"selected": [1]}).status_code == 200
    assert [len(list(views)) for views in found] == [len(first)]
    assert [len(list(views)) for views in sessions(study, False)] == [6, 12]


def test_a_tagging_session_becomes_a_log_and_a_dataset(tmp_path: Path):
    with opened(make_study(tmp_path, "tagging")) as study:
        ann = Person(study)
        add = {"type": "add", "slot": 0, "page": 0, "t": 9, "label": "Käse", "fx": 0.2, "fy": 0.3}
        moved = {**add, "type": "move-label", "t": 12, "fx": 0.6, "fy": 0.7, "from": [0.2, 0.3]}
        ann.do(add, moved)
        ann.submit(0, {"labels": ["Käse"], "nothing": False, "unsure": True})
        export(study, tmp_path / "log.jsonl")
    view = json.loads((tmp_path / "log.jsonl").read_text())
    assert view["answer"] == "unsure" and view["asked"] == {"classes": [*CLASSES]}
    luab_data.convert_tagging(
        tmp_path / "log.jsonl", tmp_path / "made", worker_key=KEY, shown=False
    )
    (row,) = luab_data.read_table(tmp_path / "made").to_pylist()
    assert (row["icon_name"], row["final_x"], row["last_add_x"]) == (["Käse"], [0.6], [0.2])


# --- the command ---------------------------------------------------------------------------------


def test_init_takes_folders_for_classes_and_never_overwrites(tmp_path: Path):
    root = draw_pictures(tmp_path / "pictures")
    (root / ".git").mkdir()
    given = ["collect", "init", str(tmp_path / "s"), "--images", str(root), "--task", "browsing"]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    assert [label.name for label in read_study(tmp_path / "s").classes] == [*CLASSES]
    again = CliRunner().invoke(main, given)
    assert again.exit_code == 1 and "is there already" in again.output
    said = CliRunner().invoke(main, ["collect", "status", str(tmp_path / "s")])
    assert said.exit_code == 1 or "sessions finished" in said.output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('task = "tagging"', "Invalid enum value"), ("seed = 0", "Expected `int`"),
        ("overlap = 1", "`int` >= 1"), ('kinds = ["open"]', "unknown field `kindz`"),
        ("kinds = ", "length >= 1"),
        ("# [arms.dot]\n# pointer_dot", r"arms\.dot: .*unknown field `pointer_dott`"),
    ],
)  # fmt: skip
def test_a_study_that_makes_no_sense_says_where(tmp_path: Path, change: str, said: str):
    broken = {'task = "tagging"': 'task = "singing"', "seed = 0": 'seed = "x"',
              "overlap = 1": "overlap = 0", 'kinds = ["open"]': 'kindz = ["open"]',
              "kinds = ": "kinds = []  # ",
              "# [arms.dot]\n# pointer_dot": "[arms.dot]\npointer_dott"}  # fmt: skip
    folder = make_study(tmp_path, "tagging", changes={change: broken[change]})
    with pytest.raises(OptionError, match=rf"study\.toml: .*{said}"):
        read_study(folder)


def test_the_demo_is_a_study_of_ten_digits(tmp_path: Path):
    folder = write_demo(tmp_path / "demo")
    assert write_demo(folder) == folder  # and once made it is left as it is
    with opened(folder) as study:
        ann = Person(study)
        assert len(study.pictures) == 240 and len(ann.state["slots"]) == 12
        assert ann.get(f"/picture/{ann.state['slots'][0]['picture']}").status_code == 200


def take_part(study: Opened, choose: Any) -> None:
    """People answer until nothing is left: `choose(study, slot)` says whether one is selected."""
    while (ann := Person(study)).token:
        state = ann.state
        while not state.get("finished"):
            number, chosen = state["page"], [s for s in state["slots"] if choose(state, s)]
            clicks = [click(s["slot"], 10.0 * k, True, number) for k, s in enumerate(chosen, 1)]
            ann.do(
                {**LAYOUT, "page": number}, *clicks, {"type": "submit", "page": number, "t": 900}
            )
            places = [s["slot"] for s in chosen]
            state = ann.submit(number, {"selected": places, "failed": []}).json()


def test_a_second_round_asks_about_what_nobody_selected(study: Opened, tmp_path: Path):
    with pytest.raises(OptionError, match="round 1 is not finished"):
        add_round(study)
    path = {key: picture.path for key, picture in study.pictures.items()}
    take_part(study, lambda _, slot: "IMG 000" not in path[slot["picture"]])
    assert add_round(study) == 2  # a class each
    folder = tmp_path / "browsing"
    with opened(folder) as again:
        second = [task for task in again.people.tasks.values() if task.round == 2]
        asked = {s.picture for t in second for p in t.pages for s in p.slots if s.known}
        assert {path[key] for key in asked} == {f"{name}/IMG 000.png" for name in CLASSES}


def test_the_guide_leads_from_pictures_to_a_dataset_and_its_report(tmp_path: Path):
    """docs/collect.md with people in the place of a browser."""

    def run(*words: object) -> str:
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.output

    folder = make_study(tmp_path, "browsing", changes={"overlap = 1": "overlap = 2"})
    with opened(folder) as study:
        of_class = {key: picture.path.partition("/")[0] for key, picture in study.pictures.items()}
        take_part(study, lambda state, s: of_class[s["picture"]] == state["class"]["name"])
    assert "sessions finished      4" in run("collect", "status", folder)
    log = tmp_path / "log.jsonl.zst"
    assert "next: luab-data convert browsing" in run("collect", "export", folder, "--out", log)
    assert "views" in run("validate", log)
    run("convert", "browsing", log, "--out", tmp_path / "my-ab")
    run("check", tmp_path / "my-ab")
    images = tmp_path / "pictures"
    run("report", tmp_path / "my-ab", "--images", images, "--out", tmp_path / "page")
    said = luab_data.stats(tmp_path / "my-ab")
    # Each picture is asked about with its own class and, as one of the others, with the other one.
    assert said.estimates["agreement"].value == 1
