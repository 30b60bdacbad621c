"""A study on the network: who is answered, how much of what, and what is said when it fails."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner
from collect_world import Person, make_study

from luab_data.cli import main
from luab_data.collect import app, guard, study
from luab_data.collect.dashboard import login_token
from luab_data.collect.guard import Budget, Wrong
from luab_data.collect.serve import Opened, opened
from luab_data.collect.store import Store
from luab_data.errors import OptionError

ROOT = Path(__file__).resolve().parents[1]
MOVE = {"t": 1, "page": 0, "type": "move"}
PUBLIC = "https://study.example.org"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Opened]:
    with opened(make_study(tmp_path, "browsing")) as found:
        yield found


# --- who is answered -----------------------------------------------------------------------------


def test_a_post_says_which_page_it_is_from(here: Opened):
    ann = Person(here)
    for origin in ("", "null", "http://localhost:81", "http://localhost.evil.example"):
        assert ann.post("/api/withdraw", {}, Origin=origin).status_code == 403
    assert ann.post("/api/withdraw", {}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "study.example.org"])
def test_another_name_of_this_machine_is_not_answered(here: Opened, host: str):
    ann = Person(here)
    assert ann.get("/", Host=host).status_code == 400
    assert ann.post("/api/join", {"consent": True}, Host=host, Origin=f"http://{host}").is_error


def test_a_public_study_answers_to_its_address_alone_and_by_tls(tmp_path: Path):
    folder = make_study(tmp_path, "browsing")
    with opened(folder, public=PUBLIC) as found:
        eve = Person(found)
        assert eve.joined.status_code == 400  # asked for as localhost
        told = {"Host": "study.example.org", "Origin": PUBLIC}
        page = eve.get("/", **told)
        assert page.headers["strict-transport-security"].startswith("max-age=")
        assert page.headers["referrer-policy"] == "same-origin"
        assert eve.post("/api/join", {"consent": True}, **told).status_code == 200
    with opened(folder) as found:
        assert "strict-transport-security" not in Person(found).get("/").headers


# --- how much ------------------------------------------------------------------------------------


def test_a_budget_fills_again_and_is_of_each_alone(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(guard.time, "monotonic", lambda: now[0])
    budget = Budget(2.0, 10.0)
    for _ in range(10):
        budget.spend("ann", 1)
    with pytest.raises(Wrong) as refused:
        budget.spend("ann", 3)
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "2"})
    budget.spend("bob", 10)
    now[0] = 1.5
    budget.spend("ann", 3)
    with pytest.raises(Wrong):
        budget.spend("ann", 1)
    now[0] = 1000.0
    budget.spend("ann", 10)
    with pytest.raises(Wrong):
        budget.spend("ann", 1)


def test_too_many_events_or_joins_wait_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(app, "BYTES", (10.0, 300.0))
    monkeypatch.setattr(app, "JOINS", (0.1, 2.0))
    with opened(make_study(tmp_path, "browsing", changes={"overlap = 1": "overlap = 9"})) as found:
        ann, bob = Person(found), Person(found)
        late = Person(found).joined
        assert late.status_code == 429 and 1 <= int(late.headers["retry-after"]) <= 11
        answers = [ann.do(*[MOVE] * 4).status_code for _ in range(5)]
        assert answers[0] == 200 and answers[-1] == 429
        assert bob.do(MOVE).status_code == 200  # who is not at fault goes on
        assert ann.state["next_sequence"] == answers.index(429)


def test_a_session_holds_so_much_and_no_more_over_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(app, "MOST_OF_SESSION", 1010)
    folder = make_study(tmp_path, "browsing", changes={"overlap = 1": "overlap = 9"})
    with opened(folder) as found:
        ann, bob = Person(found), Person(found)
        answers = [ann.do(*[MOVE] * 4).status_code for _ in range(6)]  # 225 bytes each
        assert answers == [200] * 4 + [413] * 2
        assert [bob.do().status_code for _ in range(10)] == [200] * 9 + [413]  # of nothing
        ann.sequence = 4
        assert ann.submit(0, {"selected": []}).json()["page"] == 1
    with opened(folder) as found:
        ann._app, ann.sequence = found.app, 4
        assert [ann.do().status_code for _ in range(2)] == [200, 413]


def test_a_page_is_made_up_anew_only_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(app, "STATES", (0.001, 3.0))
    with opened(make_study(tmp_path, "browsing")) as found:
        ann = Person(found)
        asked = [ann.get("/api/state").status_code for _ in range(4)]
    assert asked == [200, 200, 200, 429]


def test_a_request_that_never_ends_is_given_up(here: Opened, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guard, "SLOWEST_BODY_S", 0.05)

    async def drip() -> Any:
        yield b'{"consent": '
        await asyncio.sleep(30)

    answer = Person(here)._ask("POST", "/api/join", content=drip())
    assert answer.status_code == 408 and "too long" in answer.json()["error"]


def test_what_ended_takes_no_more_and_what_was_kept_is_acknowledged_again(here: Opened):
    ann = Person(here)
    ann.do(MOVE)
    for page in range(2):
        ann.submit(page, {"selected": []})
    assert ann.do(MOVE).status_code == 410
    ann.sequence = 0
    assert ann.do(MOVE).json()["acknowledged"] == 0


# --- what is said when it fails ------------------------------------------------------------------


def test_a_bug_of_ours_is_a_number_and_a_line_without_what_anybody_sent(
    here: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    ann = Person(here)

    def broken(_: Any) -> None:
        raise ValueError(f"{ann.token} olga@example.org")

    monkeypatch.setattr(here.people, "num_answered", broken)
    caplog.set_level(logging.INFO)
    answer = ann.get("/api/state")
    assert answer.status_code == 500
    number = re.fullmatch(
        r"Something went wrong here. It is noted as (\w{8})\.", answer.json()["error"]
    )
    (line,) = [json.loads(r.message) for r in caplog.records if r.name.startswith("luab_data")]
    assert number and line["id"] == number.group(1)
    assert line["error"] == "ValueError" and line["at"].startswith("test_collect_serve.py:")
    assert {*line} == {"epoch_ms", "method", "route", "status", "ms", "error", "at", "id"}
    assert not any(ann.token in str(line) or "olga" in str(line) for line in caplog.messages)


def test_the_log_of_requests_has_routes_and_nobody(here: Opened, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="luab_data")
    ann = Person(here, PROLIFIC_PID="5f0")
    ann.get("/picture/nothing?w=9&secret=1")
    lines = [json.loads(r.message) for r in caplog.records if r.name.startswith("luab_data")]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/api/join", 200),
        ("/picture/{key}", 404),
    ]
    assert not {"5f0", "nothing", "secret", "127.0.0.1", ann.token} & {
        *re.split(r"\W", caplog.text)
    }


# --- the secret, the database, the port ----------------------------------------------------------


def test_the_secret_is_nobody_elses_from_the_start_and_one(tmp_path: Path):
    folder = make_study(tmp_path, "browsing")
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(study.secret_of(folder)))
               for _ in range(8)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = folder / study.SECRET
    assert {*found} == {path.read_bytes()} and len(found) == 8 and len(found[0]) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [*folder.glob(".secret*")]
    path.chmod(0o644)
    with pytest.raises(OptionError, match="others may read it; expected `chmod 600"):
        study.secret_of(folder)
    path.chmod(0o600)
    path.write_bytes(b"half of")
    with pytest.raises(OptionError, match="holds 7 characters; expected the 64"):
        study.secret_of(folder)


def test_a_database_of_another_version_is_refused_and_left_as_it_is(tmp_path: Path):
    file = tmp_path / "study.sqlite"
    Store(f"sqlite:///{file}").close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE sessions DROP COLUMN code")
    with pytest.raises(OptionError, match=r"table sessions of .*; expected .*: it is of another"):
        Store(f"sqlite:///{file}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), "others could reach the study; expected --public ADDRESS"),
        (("--public", "study.example.org"), "expected an address such as https://"),
        (("--public", "https://study.example.org/a"), "expected an address such as https://"),
        (("--public", "https://[x"), "expected an address such as https://"),
        (("--public", PUBLIC), "expected the study's secret before it is public"),
    ],
)
def test_a_study_is_public_only_as_it_should_be(tmp_path: Path, options: Any, said: str):
    folder = make_study(tmp_path, "browsing")
    refused = CliRunner().invoke(main, ["collect", "serve", str(folder), *options])
    assert refused.exit_code == 1 and said in " ".join(refused.output.split())
    assert not (folder / study.SECRET).exists()


def test_the_compose_file_says_what_the_command_line_knows():
    place = ROOT / "docs/collect"
    services = yaml.safe_load((place / "compose.yaml").read_text())["services"]
    assert [*services] == ["study", "database", "caddy"]
    assert [name for name, service in services.items() if "ports" in service] == ["caddy"]
    command = services["study"]["command"].split()
    known = {o for p in main.commands["collect"].commands["serve"].params for o in p.opts}
    assert command[0] == "serve" and {w for w in command if w.startswith("--")} <= known
    inside = services["study"]["build"]
    assert (place / inside["context"] / inside["dockerfile"]).samefile(place / "Containerfile")
    assert "reverse_proxy study:8000" in (place / "Caddyfile").read_text()


def start(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """A server of its own, once it says where it is; that address."""
    command = [sys.executable, "-m", "luab_data", "collect", "serve", str(folder), *options]
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert server.stdout
    for line in server.stdout:
        if found := re.match(r"(https?://\S+)/  ", line):
            return server, found.group(1)
    raise AssertionError(server.communicate()[1])


def test_a_server_says_where_it_is_once_it_listens_and_ends_without_a_word(tmp_path: Path):
    folder = make_study(tmp_path, "browsing")
    server, address = start(folder, "--port", "0")
    assert httpx.get(f"{address}/").status_code == 200
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "9.9.9.9"}  # by nobody we trust
    login = {"token": login_token(study.secret_of(folder))}
    ours = {"Origin": address, "X-Luab": "researcher", **told}
    cookie = httpx.post(f"{address}/researcher/api/login", json=login, headers=ours).headers
    assert "Secure" not in cookie["set-cookie"]
    port = address.rpartition(":")[2]
    taken = CliRunner().invoke(main, ["collect", "serve", str(folder), "--port", port])
    assert taken.exit_code == 1 and "cannot be listened to" in taken.output
    assert "for you alone" not in taken.output
    joined = httpx.post(f"{address}/api/join", json={"consent": True}, headers={"Origin": address})
    body = {"token": joined.json()["token"], "sequence": 0, "events": [MOVE]}
    assert httpx.post(f"{address}/api/events", json=body, headers={"Origin": address}).is_success
    server.send_signal(signal.SIGINT)
    _, errors = server.communicate(timeout=30)
    assert (server.returncode, errors) == (0, "")
    with closing(sqlite3.connect(folder / "study.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM batches").fetchone() == (1,)


def test_a_public_server_believes_its_proxy(tmp_path: Path):
    folder = make_study(tmp_path, "browsing")
    study.secret_of(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server, address = start(folder, "--public", PUBLIC, "--port", str(port))
    try:
        assert address == PUBLIC
        local, told = f"http://127.0.0.1:{port}", {"Host": "study.example.org"}
        assert httpx.get(local).status_code == 400
        assert httpx.get(local, headers=told).status_code == 200
        login = {"token": login_token(study.secret_of(folder))}
        headers = {**told, "Origin": PUBLIC, "X-Luab": "researcher"}  # a proxy that says no -Proto
        found = httpx.post(f"{local}/researcher/api/login", json=login, headers=headers)
        assert "Secure" in found.headers["set-cookie"]
    finally:
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=30)
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["route"] for line in lines] == ["/", "/researcher/api/login"]
