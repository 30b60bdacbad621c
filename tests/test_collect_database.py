"""The database of a study: several servers on one, who is refused, what another version made."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from collect_world import Person, make_study
from postgres import IS_HERE, postgres
from test_collect_dashboard import Researcher

from luab_data.collect import people
from luab_data.collect import tables as db
from luab_data.collect.export import sessions
from luab_data.collect.serve import Opened, add_round, opened
from luab_data.collect.store import Store
from luab_data.errors import OptionError

HERE = Path(__file__).parent
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}


def count(study: Opened, table: sa.Table) -> int:
    with study.store.reading() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


def test_who_withdraws_while_others_read_is_gone_from_the_disk_once_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(people, "FORGET_S", 0.01)
    folder = make_study(tmp_path, "browsing")

    def is_on_disk(token: str) -> bool:
        return any(token.encode() in file.read_bytes() for file in folder.glob("study.sqlite*"))

    with opened(folder) as study:
        token = Person(study).token
        session = study.people.session(token)
        assert session and is_on_disk(token)

        async def withdraw() -> None:
            with study.store.reading(snapshot=True) as connection:  # an export, say
                connection.execute(sa.select(db.sessions)).all()
                await asyncio.wait_for(
                    study.people.withdraw(session), 5
                )  # who asks waits for nobody
                assert is_on_disk(token)
                row = {"at_ms": 1, "act": "others write", "about": ""}
                await study.store.write(sa.insert(db.audit), row)
            await study.people._forgetting

        asyncio.run(withdraw())
        assert not is_on_disk(token)


def test_who_is_refused_leaves_no_row(tmp_path: Path):
    changes = {'kinds = ["open"]': 'kinds = ["prolific", "open"]'}
    with opened(make_study(tmp_path, "tagging", changes=changes)) as study:
        with study.store.alone() as connection:
            row = {"at_ms": 1, "act": "pause", "about": ""}
            connection.execute(sa.insert(db.audit), row)
        assert "paused" in Person(study).joined.json()["error"]
        with study.store.alone() as connection:
            connection.execute(sa.insert(db.audit), {**row, "act": "resume"})
        assert Person(study).post("/api/join", {"consent": False}).status_code == 400
        while (last := Person(study)).token:
            pass
        assert last.joined.status_code == 403 and "Nothing is left" in last.joined.json()["error"]
        tasks = len(study.people.tasks)
        assert (count(study, db.participants), count(study, db.sessions)) == (tasks, tasks)


def test_after_the_end_of_a_session_events_are_refused_for_good(tmp_path: Path):
    move = {"t": 1, "page": 0, "type": "move"}
    with opened(make_study(tmp_path, "browsing")) as study:
        ann = Person(study)
        assert ann.do(move).status_code == 200
        for page in (0, 1):
            ann.submit(page, {"selected": []})
        refused = ann.do(move)
        assert refused.status_code == 410 and "has ended" in refused.json()["error"]
        assert count(study, db.batches) == 1
    script = (Path(db.__file__).parent / "pages/recorder.js").read_text()
    assert "[400, 410, 413].includes(response.status)" in script  # and it does not send it again


def test_what_is_done_at_one_server_holds_at_the_others(tmp_path: Path):
    """A login and its end, a pause, another round."""
    folder = make_study(tmp_path, "browsing", changes={"overlap = 1": "overlap = 1\n"})
    with opened(folder) as one, opened(folder) as other:
        eve, there = Researcher(one), Researcher(other, "no token")
        there.cookie = eve.cookie
        assert there.get("/researcher/api/overview").status_code == 200
        eve.act("pause", {"paused": True})
        assert there.overview["paused"] and "paused" in Person(other).joined.json()["error"]
        eve.act("pause", {"paused": False})
        first = len(one.people.tasks)
        for _ in range(first):
            ann = Person(one)
            for page in range(2):
                ann.submit(page, {"selected": []})
        assert "Nothing is left" in Person(other).joined.json()["error"]
        more = add_round(one)
        assert there.overview["progress"]["sessions to do"] == first + more
        ann = Person(other)  # it was opened before there was such a task
        assert ann.state["num_pages"] >= 1 and ann.do({"t": 1, "page": 0, "type": "move"})
        assert eve.overview["sessions"][0]["answered"] == 0
        assert len(list(sessions(one, False))) == first + 1
        assert there.act("logout", {}).status_code == 200
        assert eve.get("/researcher/api/overview").status_code == 401
    kept = sqlite3.connect(folder / "study.sqlite").execute("SELECT * FROM logins").fetchall()
    assert kept == []


def test_people_are_spread_evenly_over_arms(tmp_path: Path):
    folder = make_study(tmp_path, "browsing", changes={"overlap = 1": "overlap = 50"})
    arms = "".join(f"[arms.{name}]\n" for name in "abc")
    with (folder / "study.toml").open("a") as file:
        file.write(arms)
    with opened(folder) as study:
        for number in range(1, 21):
            Person(study)
            with study.store.reading() as connection:
                found = Counter(connection.scalars(sa.select(db.participants.c.arm)))
            counts = [found[name] for name in "abc"]
            assert sum(counts) == number and max(counts) - min(counts) <= 1
            if number == 3:
                first = found
        assert first == Counter("abc")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("no url", "makes no sense"),
        ("sqlite:////nowhere/s.sqlite", "cannot be opened"),
        ("postgresql://ann:hidden@127.0.0.1:1/study", r"ann:\*\*\*@.*(cannot be|is not installed)"),
    ],
)
def test_a_database_that_is_not_there_is_said_without_its_password(url: str, said: str):
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    with pytest.raises(OptionError, match=said) as refused:
        Store(url)
    assert "hidden" not in str(refused.value)


def take_part(folder: str, database: str | None, people: int) -> None:
    """In a process of its own: people join, send a batch twice, and say who they were."""
    with opened(folder, database=database) as study:
        print("ready", flush=True)
        input()
        for number in range(people):
            ann = Person(study, PROLIFIC_PID=f"p{number}")  # the same people in every process
            event = {"t": 1, "page": 0, "type": "move"}
            acknowledged = 0
            for _ in range(2):
                ann.sequence = number
                acknowledged += ann.do(event).status_code == 200 if ann.token else 0
            print(json.dumps([number, ann.token, acknowledged]))


def several(folder: Path, database: str | None, processes: int, people: int) -> None:
    """Servers of one database at once: nobody twice, no slot too often, no batch twice."""
    script = (
        f"import test_collect_database as t; t.take_part({str(folder)!r}, {database!r}, {people})"
    )
    pipe = subprocess.PIPE
    each = [
        subprocess.Popen(
            [sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True, env=_ENVIRONMENT
        )
        for _ in range(processes)
    ]
    for process in each:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in each:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    said = [json.loads(x) for process in each for x in process.communicate()[0].splitlines()]
    assert len(said) == processes * people
    tokens = {(number, token) for number, token, _ in said if token}
    with opened(folder, database=database) as study, study.store.reading() as connection:
        num_tasks = len(study.people.tasks)
        rows = connection.execute(sa.select(db.sessions.c.task, db.sessions.c.token)).all()
        num_made = connection.scalar(sa.select(sa.func.count()).select_from(db.tasks))
        num_people = connection.scalar(sa.select(sa.func.count()).select_from(db.participants))
        events = connection.scalars(sa.select(db.batches.c.events)).all()
    overlap = 2
    assert num_made == num_tasks < people
    assert Counter(row.task for row in rows) == dict.fromkeys(range(1, num_tasks + 1), overlap)
    assert {token for _, token in tokens} == {row.token for row in rows}
    assert len(tokens) == len(rows) == num_people  # whoever comes to two servers has one session
    assert all(acknowledged == 2 for _, token, acknowledged in said if token)
    assert len(events) == len(rows) and all(len(json.loads(text)) == 1 for text in events)


OVERLAP = {"overlap = 1": "overlap = 2", 'kinds = ["open"]': 'kinds = ["prolific"]'}


def test_two_servers_on_one_file_give_no_slot_twice(tmp_path: Path):
    several(make_study(tmp_path, "tagging", changes=OVERLAP), None, 2, 15)


@pytest.mark.slow
@pytest.mark.skipif(not IS_HERE, reason="PostgreSQL is not installed: apt install postgresql")
def test_several_servers_on_one_postgresql_give_no_slot_twice(tmp_path: Path):
    pytest.importorskip("psycopg")
    with postgres() as url:
        several(make_study(tmp_path, "tagging", changes=OVERLAP), url, 4, 25)
