"""What the researcher decides about sessions, and the files by which people are paid."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from collect_world import Person, make_study
from test_collect_dashboard import MTURK, TASK, Researcher, answered

import luab_data
from luab_data.cli import main
from luab_data.collect import tables as db
from luab_data.collect.acceptance import bonus_of, suggest, work_of
from luab_data.collect.serve import Opened, opened
from luab_data.collect.study import Acceptance
from luab_data.errors import OptionError, OutputError

RULES = {
    'kinds = ["open"]': 'kinds = ["mturk", "prolific", "open"]',
    "reward_usd = 0.0": "reward_usd = 2.5",
    "overlap = 1": "overlap = 9",
}


@pytest.fixture
def study(tmp_path: Path):
    with opened(make_study(tmp_path, "browsing", changes=RULES)) as found:
        yield found


def whole(study: Opened, **query: str) -> Person:
    """Somebody who selects everything."""
    ann = Person(study, **query)
    for page in range(2):
        ann.submit(page, {"selected": [*range(6)], "failed": []})
    return ann


def mturk(number: int) -> dict[str, str]:
    return {**MTURK, "assignmentId": f"3A{number}", "workerId": f"A{number}"}


def folder_of(study: Opened) -> Path:
    return Path(study.study.images).parent / "browsing"


def rows(path: Path) -> list[list[str]]:
    return [*csv.reader(path.read_text().splitlines())]


@pytest.mark.parametrize(
    ("usd_an_hour", "reward_usd", "seconds", "bonus"),
    [
        (0.0, 1.0, 900, 0.0),
        (12.0, 1.0, 900, 5.0),  # half an hour for two pages: 6 USD
        (12.0, 6.0, 900, 0.0),
        (12.0, 6.0, 900.1, 0.01),  # a cent begun is a cent
        (0.1, 0.0, 18, 0.01),
    ],
)
def test_a_bonus_makes_the_reward_a_rate(usd_an_hour, reward_usd, seconds, bonus):
    answers = [answered(k, seconds * (k + 1), {"selected": [0, 2]}) for k in range(2)]
    rules = Acceptance(usd_an_hour=usd_an_hour, reward_usd=reward_usd)
    done = work_of(TASK, 0, answers)
    assert bonus_of(rules, done, suggest(rules, done)) == bonus
    assert (
        bonus_of(rules, done, suggest(Acceptance(min_recall=1, min_seconds_a_page=1e6), done)) == 0
    )


def test_the_last_decision_counts_and_all_are_in_the_audit(study: Opened):
    whole(study)
    eve = Researcher(study)
    (before,) = eve.overview["sessions"]
    assert before["decision"] is None and before["bonus_usd"] == 0
    first = eve.act("decide", {"sessions": [1], "decision": "reject", "reason": "  all selected "})
    assert first.json() == {"decided": 1}
    eve.act("decide", {"sessions": [1], "decision": "accept", "bonus_usd": 0.499, "reason": ""})
    (after,) = eve.overview["sessions"]
    assert (after["decision"], after["bonus_usd"], after["decided_because"]) == ("accept", 0.5, "")
    with study.store.reading() as connection:
        acts = connection.execute(sa.select(db.audit.c.act, db.audit.c.about)).all()
    assert acts[1:] == [
        ("reject", "session 1, all selected"), ("accept", "session 1, 0.50 USD of bonus")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"sessions": [2], "decision": "accept"}, 409, "Session 2 is not finished"),
        ({"sessions": [1, 9], "decision": "accept"}, 409, "Session 9"),
        ({"sessions": [1], "decision": "reject", "reason": " "}, 400, "needs a reason"),
        ({"sessions": [1], "decision": "accept", "bonus_usd": -1}, 400, "bonus_usd"),
        ({"sessions": [1], "decision": "pay"}, 400, "pay"),
    ],
)
def test_what_cannot_be_decided_is_refused_whole(study: Opened, body: Any, status: int, said: str):
    whole(study)
    Person(study)  # has begun
    refused = Researcher(study).act("decide", body)
    assert refused.status_code == status and said in refused.json()["error"]
    with study.store.reading() as connection:
        assert not connection.execute(sa.select(db.decisions)).all()


def test_only_the_researchers_own_page_decides(study: Opened):
    ann = whole(study)
    body = {"sessions": [1], "decision": "accept"}
    assert ann.post("/researcher/api/decide", body, **{"X-Luab": "researcher"}).status_code == 401
    eve = Researcher(study)
    assert eve.post("/researcher/api/decide", body).status_code == 403
    assert eve.act("decide", body, Origin="https://evil.example").status_code == 403


def test_the_plain_file_says_what_each_session_is_worth(study: Opened, tmp_path: Path):
    ann, bob = whole(study, **mturk(1)), whole(study)
    whole(study, PROLIFIC_PID="p1")
    Person(study)  # not finished: not in the file
    eve = Researcher(study)
    eve.act("decide", {"sessions": [1], "decision": "accept", "bonus_usd": 0.75, "reason": "=1+1"})
    eve.act("decide", {"sessions": [2], "decision": "reject", "reason": "-"})
    out = tmp_path / "pay.csv"
    done = CliRunner().invoke(main, ["collect", "pay", str(folder_of(study)), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0] == (
        f"{out}: 1 session accepted (2.50 USD and 0.75 USD of bonus), 1 rejected, 1 undecided"
    )
    header, *lines = rows(out)
    assert header[:3] == ["session", "platform", "code"]
    assert lines == [
        ["1", "mturk", ann.state["code"], "3A1", "accept", "2.50", "0.75", "'=1+1"],
        ["2", "open", bob.state["code"], "", "reject", "0.00", "0.00", "'-"],
        ["3", "prolific", lines[2][2], "", "", "0.00", "0.00", ""],
    ]
    eve.act("decide", {"sessions": [3], "decision": "accept"})
    with pytest.raises(OutputError, match="--force"):
        luab_data.collect_pay(folder_of(study), out)
    assert luab_data.collect_pay(folder_of(study), out, force=True).accepted == 2
    assert luab_data.collect_pay(folder_of(study), out).accepted == 2  # the same again


def test_mturks_own_list_comes_back_filled_in(study: Opened, tmp_path: Path):
    for number in (1, 2, 3):
        whole(study, **mturk(number))
    eve = Researcher(study)
    eve.act("decide", {"sessions": [1], "decision": "accept", "bonus_usd": 0.2})
    eve.act("decide", {"sessions": [2], "decision": "reject", "reason": "nothing was looked at"})
    results = tmp_path / "Batch_5.csv"
    results.write_text(
        "\ufeffHITId,AssignmentId,WorkerId,Answer.code,Approve,Reject\n"
        'h,3A2,A2,"a, b",,\nh,3A1,A1,c,,\nh,3A3,A3,d,,\nh,3OTHER,A9,e,,\n'
    )
    out, bonuses = tmp_path / "upload.csv", tmp_path / "bonuses.csv"
    done = luab_data.collect_pay(folder_of(study), out, results=results, bonuses=bonuses)
    assert (done.accepted, done.rejected, done.undecided, done.unknown) == (1, 1, 1, 1)
    assert rows(out) == [
        ["HITId", "AssignmentId", "WorkerId", "Answer.code", "Approve", "Reject"],
        ["h", "3A2", "A2", "a, b", "", "nothing was looked at"],
        ["h", "3A1", "A1", "c", "x", ""],
        ["h", "3A3", "A3", "d", "", ""],
        ["h", "3OTHER", "A9", "e", "", ""],
    ]
    assert rows(bonuses) == [
        ["WorkerId", "AssignmentId", "BonusAmount", "Reason"], ["A1", "3A1", "0.20", "Thank you"]
    ]  # fmt: skip


def test_prolifics_people_are_found_by_their_hashes(study: Opened, tmp_path: Path):
    for who in ("pid1", "pid2"):
        whole(study, PROLIFIC_PID=who)
    eve = Researcher(study)
    eve.act("decide", {"sessions": [1, 2], "decision": "accept", "bonus_usd": 1.5})
    results = tmp_path / "export.csv"
    results.write_text("Submission id,Participant id,Status\ns2,pid2,AWAITING REVIEW\ns9,pid9,X\n")
    out, bonuses = tmp_path / "said.csv", tmp_path / "bonuses.csv"
    luab_data.collect_pay(folder_of(study), out, results=results, bonuses=bonuses)
    assert rows(out) == [["Submission id", "decision", "reason"], ["s2", "accept", ""]]
    assert bonuses.read_text() == "pid2,1.50\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("AssignmentId,WorkerId\n3X,A1\n", "none of its 1 lines is of a finished session"),
        ("a,b\n1,2\n", "has the columns a, b; expected AssignmentId"),
        ("", "has the columns of nothing"),
    ],
)
def test_another_list_is_refused_and_nothing_is_written(
    study: Opened, tmp_path: Path, text: str, said: str
):
    whole(study, **mturk(1))
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(OptionError, match=said):
        luab_data.collect_pay(folder_of(study), tmp_path / "out.csv", results=tmp_path / "list.csv")
    with pytest.raises(OptionError, match="--results"):
        luab_data.collect_pay(
            folder_of(study), tmp_path / "out.csv", bonuses=tmp_path / "bonuses.csv"
        )
    assert not (tmp_path / "out.csv").exists()


def test_who_withdraws_leaves_no_decision(study: Opened, tmp_path: Path):
    ann = whole(study)
    Researcher(study).act("decide", {"sessions": [1], "decision": "accept"})
    ann.post("/api/withdraw", {})
    assert luab_data.collect_pay(folder_of(study), tmp_path / "pay.csv").accepted == 0
    with study.store.reading() as connection:
        assert not connection.execute(sa.select(db.decisions)).all()
