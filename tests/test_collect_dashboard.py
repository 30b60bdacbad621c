"""The researcher's dashboard: who gets in, what it shows and suggests, pause, and the audit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from collect_world import Person, make_study

from luab_data.cli import main
from luab_data.collect import dashboard
from luab_data.collect import tables as db
from luab_data.collect.acceptance import Answered, Work, suggest, work_of
from luab_data.collect.dashboard import COOKIE, login_token
from luab_data.collect.plan import Page, Slot, Task
from luab_data.collect.serve import Opened, opened
from luab_data.collect.study import Acceptance

WORKER = "A1WORKER"
MTURK = {"assignmentId": "3ASSIGNMENT", "hitId": "3H", "workerId": WORKER,
         "turkSubmitTo": "https://workersandbox.mturk.com"}  # fmt: skip
OURS = {"X-Luab": "researcher"}
INSIDE = ("/researcher/api/overview", "/researcher/api/replay?session=1&page=0",
          "/researcher/export")  # fmt: skip


class Researcher(Person):
    """Somebody at the dashboard, logged in unless the token is wrong."""

    def __init__(self, study: Opened, token: str | None = None) -> None:
        self._app, self.token, self.cookie = study.app, "", ""
        token = login_token(study.people.secret) if token is None else token
        self.login = self.act("login", {"token": token})
        if self.login.status_code == 200:
            self.cookie = self.login.cookies[COOKIE]

    def _headers(self) -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={self.cookie}"}

    def act(self, name: str, body: Any, **headers: str) -> Any:
        return self.post(f"/researcher/api/{name}", body, **{**OURS, **headers})

    @property
    def overview(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/researcher/api/overview").json()
        return found


@pytest.fixture
def study(tmp_path: Path):
    changes = {
        'kinds = ["open"]': 'kinds = ["mturk", "open"]',
        "reward_usd = 0.0": "reward_usd = 2.5",
    }
    with opened(make_study(tmp_path, "browsing", changes=changes)) as found:
        yield found


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [1000.0]
    monkeypatch.setattr(dashboard, "_clock", lambda: time[0])
    return time


def acts_of(study: Opened) -> list[str]:
    with study.store.reading() as connection:
        return [*connection.scalars(sa.select(db.audit.c.act).order_by(db.audit.c.id))]


def work(study: Opened, *, finds_all: bool) -> Person:
    """A whole session of somebody from MTurk, who selects all, or nothing."""
    ann = Person(study, **MTURK)
    ann.do({"type": "click", "slot": 1, "page": 0, "t": 5, "fx": 0.5, "fy": 0.5, "state": True})
    for page in range(2):
        ann.submit(page, {"selected": [*range(6)] if finds_all else [], "failed": []})
    return ann


# --- who gets in ---------------------------------------------------------------------------------


def test_nothing_is_shown_without_a_login_and_participants_tokens_open_nothing(study: Opened):
    ann = Person(study, **MTURK)
    assert study.study.title not in ann.get("/researcher").text
    for cookie in ("", f"{COOKIE}={ann.token}", f"{COOKIE}={login_token(study.people.secret)}"):
        for path in INSIDE:
            refused = ann.get(path, Cookie=cookie)
            assert refused.status_code == 401 and [*refused.json()] == ["error"]
        for path in ("logout", "pause"):
            body = {"paused": True} if path == "pause" else {}
            refused = ann.post(f"/researcher/api/{path}", body, Cookie=cookie, **OURS)
            assert refused.status_code == 401
    assert Researcher(study, ann.token).login.status_code == 403
    assert acts_of(study) == ["wrong token"]


def test_the_cookie_is_its_own_and_ends_with_log_out_or_twelve_hours(
    study: Opened, now: list[float]
):
    eve = Researcher(study)
    said = eve.login.headers["set-cookie"].lower()
    assert "httponly" in said and "samesite=strict" in said and "path=/researcher" in said
    assert login_token(study.people.secret) not in said
    other = Researcher(study)
    assert other.cookie != eve.cookie
    assert eve.act("logout", {}).status_code == 200
    assert eve.get(INSIDE[0]).status_code == 401 and other.get(INSIDE[0]).status_code == 200
    now[0] += 12 * 3600
    assert other.get(INSIDE[0]).status_code == 401


def test_acts_from_other_sites_do_nothing(study: Opened):
    eve = Researcher(study)
    evil = {"Origin": "https://evil.example"}
    assert eve.act("pause", {"paused": True}, **evil).status_code == 403
    assert eve.post("/researcher/api/pause", {"paused": True}).status_code == 403  # no header
    assert eve.act("pause", {"paused": True, "more": 1}).status_code == 400
    assert not eve.overview["paused"]
    policies = eve.get("/researcher").headers.get_list("content-security-policy")
    assert "frame-ancestors 'none'" in policies  # though participants' pages may be in MTurk's


def test_each_wrong_token_doubles_the_time_until_the_next(study: Opened, now: list[float]):
    waits = []
    for _ in range(4):
        assert Researcher(study, "0" * 32).login.status_code == 403
        assert Researcher(study).login.status_code == 429  # not even the right one
        begun = now[0]
        while Researcher(study, "é").login.status_code == 429 and now[0] < begun + 90:
            now[0] += 0.25
        waits.append(now[0] - begun)
        now[0] += 60
    assert waits == [0.5, 2, 8, 32]  # two wrong ones each
    assert Researcher(study).login.status_code == 200
    assert Researcher(study, "0" * 32).login.status_code == 403  # and from the start again
    now[0] += 0.5
    assert Researcher(study).login.status_code == 200


def test_serve_prints_the_link_that_opens_it(study: Opened, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    folder = Path(study.study.images).parent / "browsing"
    said = CliRunner().invoke(main, ["collect", "serve", str(folder), "--port", "0"]).output
    assert re.search(
        rf" http://127.0.0.1:\d+/researcher#{login_token(study.people.secret)}\n", said
    )


# --- what it shows -------------------------------------------------------------------------------


def test_sessions_are_shown_with_a_suggestion_and_no_raw_id(study: Opened):
    ann = work(study, finds_all=True)
    bob = Person(study)
    eve = Researcher(study)
    found = eve.overview
    begun, done = found["sessions"]
    assert (done["answered"], done["recall"], done["suggestion"]) == (2, 1.0, "accept")
    assert (begun["answered"], begun["recall"], begun["suggestion"]) == (0, None, "wait")
    assert done["code"] == ann.state["code"] and len(done["person"]) == 8
    assert found["progress"]["sessions finished"] == 1 and found["reward_usd"] == 2.5
    everything = "".join(eve.get(path).text for path in (*INSIDE[:2], f"{INSIDE[2]}?suffix=.jsonl"))
    for raw in (WORKER, MTURK["assignmentId"], ann.token, bob.token):
        assert raw not in everything


def test_a_page_is_replayed_from_its_events_and_only_what_is_new_comes_again(study: Opened):
    ann, eve = Person(study), Researcher(study)
    click = {"type": "click", "slot": 1, "page": 0, "t": 5, "fx": 0.5, "fy": 0.5, "state": True}
    ann.do(click, {**click, "page": 1})
    path = "/researcher/api/replay?session=1&page=0"
    first = eve.get(path).json()
    assert first["events"] == [{k: v for k, v in click.items() if k != "page"}]
    assert [s["picture"] for s in first["slots"]] == [s["picture"] for s in ann.state["slots"]]
    assert sum(s["known"] for s in first["slots"]) == 3 and not first["finished"]
    ann.do({**click, "t": 9, "state": False})
    newer = eve.get(f"{path}&since={first['last']}").json()
    assert [event["t"] for event in newer["events"]] == [9] and newer["last"] == 1
    for wrong, status in (("session=9&page=0", 404), ("session=1&page=9", 404), ("session=x", 400)):
        assert eve.get(f"/researcher/api/replay?{wrong}").status_code == status
    assert acts_of(study) == ["log in", "replay"]  # following it is one act


def test_who_is_new_is_told_of_a_pause_and_who_began_goes_on(study: Opened):
    ann, eve = Person(study, **MTURK), Researcher(study)
    eve.act("pause", {"paused": True})
    refused = Person(study).joined
    assert refused.status_code == 403 and "paused" in refused.json()["error"]
    assert Person(study, **MTURK).token == ann.token
    assert ann.submit(0, {"selected": []}).json()["page"] == 1
    assert eve.overview["paused"] and eve.overview["progress"]["participants"] == 1
    eve.act("pause", {"paused": False})
    assert Person(study).joined.status_code == 200
    assert acts_of(study) == ["log in", "pause", "resume"]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_the_log_is_downloaded_as_the_command_writes_it(study: Opened, tmp_path: Path, suffix: str):
    from luab_data.collect.export import export

    work(study, finds_all=False)
    eve = Researcher(study)
    got = eve.get(f"/researcher/export?suffix={suffix}")
    export(study, tmp_path / f"log{suffix}")
    assert got.content == (tmp_path / f"log{suffix}").read_bytes()
    assert f'filename="log{suffix}"' in got.headers["content-disposition"]
    assert eve.get("/researcher/export?suffix=.exe").status_code == 400
    (last, *_) = eve.overview["acts"]
    assert (last["act"], last["about"]) == ("export", "12 views of 1 sessions")


# --- what it suggests ----------------------------------------------------------------------------

TASK = Task((Page((Slot("a", known=True), Slot("b"), Slot("c", known=True)), "dog"),) * 2)


def answered(page: int, seconds: float, answer: Any) -> Answered:
    return Answered(page, round(1000 * seconds), json.dumps(answer))


def test_work_is_counted_by_hand():
    done = work_of(TASK, 1000, [
        answered(1, 6, {"selected": [0, 1, 2], "failed": [2]}),
        answered(0, 3, {"selected": [0, 1]}),
    ])  # fmt: skip
    assert done == Work(num_pages=2, answered=2, seconds=2.5, known=3, found=2, lost=1,
                        failed=1)  # fmt: skip
    assert done.recall == 2 / 3


@pytest.mark.parametrize(
    ("answers", "rules", "decision", "reason"),
    [
        ([], {}, "wait", "0 of 2 pages are answered"),
        ([{"selected": [0]}] * 2, {}, "accept", "2 of 4 known pictures selected, 4.0 s a page"),
        ([{"selected": [0]}, {}], {}, "reject",
         "1 of 4 known pictures selected; expected 33 % at least"),
        ([{"selected": [0]}] * 2, {"min_recall": 0.5}, "accept",
         "2 of 4 known pictures selected, 4.0 s a page"),
        ([{"selected": [0, 2]}] * 2, {"min_seconds_a_page": 4.5}, "reject",
         "4.0 s a page; expected 4.5 s at least"),
        ([{"failed": [0, 1, 2]}] * 2, {}, "look", "4 known pictures are said not to have loaded"),
        ([{"selected": [0], "failed": [2]}, {"failed": [0, 2]}], {}, "look",
         "1 of 1 known pictures selected, 3 known pictures are said not to have loaded"),
        ([{"selected": [0, 2]}, {"failed": [0, 2]}], {}, "accept",
         "2 of 2 known pictures selected, 4.0 s a page"),
    ],
)  # fmt: skip
def test_suggestions_follow_the_rules_of_the_study(
    answers: list[Any], rules: dict[str, float], decision: str, reason: str
):
    given = [answered(page, 4 * (page + 1), answer) for page, answer in enumerate(answers)]
    suggested = suggest(Acceptance(**rules), work_of(TASK, 0, given))
    assert suggested == (decision, reason)


def test_without_known_pictures_time_alone_decides():
    task = Task((Page((Slot("a"),)),))
    done = work_of(task, 0, [answered(0, 3, {"labels": []})])
    assert suggest(Acceptance(), done) == ("accept", "3.0 s a page")
