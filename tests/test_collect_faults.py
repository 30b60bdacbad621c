"""luab-collect and what goes wrong: killed servers, connections that are cut, full disks."""

from __future__ import annotations

import json
import random
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from collect_world import Person, make_study

from luab_data.collect.serve import opened

ROOT = Path(__file__).resolve().parents[1]


SERVER = """
import sys, time
from pathlib import Path
from luab_data.collect.serve import serve
real, jump = time.time_ns, Path(sys.argv[3])
time.time_ns = lambda: real() + int(jump.read_text())  # as if somebody set the clock
serve(sys.argv[1], port=int(sys.argv[2]))
"""
FAULTS = ("server killed", "connection cut", "tab closed", "disk full", "clock jumps")


class Server:
    """A study's server in a process of its own, and what can happen to it.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.jump = folder, folder / "jump"
        self.jump.write_text("0")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start, and wait until it listens."""
        words = [sys.executable, "-c", SERVER, str(self.folder), str(self.port), str(self.jump)]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(words, cwd=ROOT, stdout=quiet, stderr=quiet)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, "the server did not start"
                time.sleep(0.05)

    def kill(self) -> None:
        """At this moment, whatever it does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def fill(self, seconds: float) -> None:
        """No file of it can grow for a while, as on a full disk."""
        limit, none = resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2
        sizes = [f.stat().st_size for f in self.folder.glob("study.sqlite*")]
        resource.prlimit(self.process.pid, limit, (max(sizes), resource.RLIM_INFINITY))
        time.sleep(seconds)
        resource.prlimit(self.process.pid, limit, none)

    def set_clock(self, hours: float) -> None:
        """Put the clock forward, or back."""
        new = self.jump.with_name("new jump")
        new.write_text(str(round(hours * 3.6e12)))
        new.replace(self.jump)  # at once: it is read at every moment


class Tab:
    """Somebody's page, which sends on until it is told that everything is kept.

    Args:
        address: of the server, which comes and goes.
        kept: what outlives the tab, as IndexedDB does: number -> batch. Filled before it is sent.
        name: of the events that are sent, so that they can be told apart.
        token: of the session; None joins.
    """

    def __init__(
        self, address: str, kept: dict[int, Any], name: int, token: str | None, seed: int
    ) -> None:
        self.address, self.kept, self.name, self.token = address, kept, name, token
        self.random = random.Random(seed)
        self.http = httpx.Client(base_url=address, timeout=10, verify=False)
        self.made: list[int] = []
        self.num_acknowledged = self.num_refused = 0
        self.is_closed, self.is_last = threading.Event(), threading.Event()
        self.cuts = 0
        self.thread = threading.Thread(target=self.live)
        self.thread.start()

    def ask(self, path: str, body: Any) -> Any:
        """The answer, if there is one."""
        headers = {"Origin": self.address}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            if self.cuts:
                self.cuts -= 1
                self.cut(path, json.dumps(body).encode(), headers)
                return None
            method = "GET" if body is None else "POST"
            answer = self.http.request(method, path, json=body, headers=headers)
        except (httpx.TransportError, OSError):
            return None
        assert answer.status_code in (200, 429, 503), answer.text  # of 500 a reason is owed
        self.num_refused += answer.status_code == 503
        return answer.json() if answer.status_code == 200 else None

    def cut(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        """Send, and be gone: before the end, or before the answer."""
        given = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{given}Content-Length: {len(body)}\r\n\r\n"
        )
        text = head.encode() + body
        port = int(self.address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(text if self.random.random() < 0.5 else text[: len(text) // 2])

    def insist(self, path: str, body: Any = None) -> Any:
        """Ask until there is an answer, or the tab is closed."""
        while not self.is_closed.is_set():
            if (answer := self.ask(path, body)) is not None:
                return answer
            time.sleep(0.05)
        return None

    def live(self) -> None:
        with self.http:
            self.run()

    def run(self) -> None:
        """Send batches of some events each, the oldest first."""
        if self.token is None:
            self.token = (self.insist("/api/join", {"consent": True}) or {}).get("token")
        state = self.insist("/api/state")
        if state is None:
            return
        sequence = max([state["next_sequence"], *(number + 1 for number in self.kept)])
        while not self.is_closed.is_set():
            if not self.is_last.is_set() or self.num_acknowledged < 3:
                self.kept[sequence] = [
                    {"t": sequence, "page": 0, "type": "move", "slot": self.name, "x": float(k)}
                    for k in range(10 * sequence, 10 * sequence + self.random.randint(1, 10))
                ]
                self.made += [round(event["x"]) for event in self.kept[sequence]]
                sequence += 1
            elif not self.kept:
                return
            for number in sorted(self.kept):
                if self.insist("/api/events", {"sequence": number, "events": self.kept[number]}):
                    self.num_acknowledged += 1
                    del self.kept[number]


@pytest.mark.parametrize("num_faults", [10, pytest.param(1000, marks=pytest.mark.slow)])
def test_whatever_goes_wrong_nothing_is_lost_and_nothing_is_doubled(
    tmp_path: Path, num_faults: int
):
    folder = make_study(tmp_path, "browsing", changes={"overlap = 1": "overlap = 100"})
    server, rng = Server(folder), random.Random(0)
    kept: list[dict[int, Any]] = [{} for _ in range(4)]
    tabs = [Tab(server.address, kept[k], k, None, k) for k in range(4)]
    closed: list[Tab] = []
    faults = [FAULTS[k % len(FAULTS)] for k in range(num_faults)]
    rng.shuffle(faults)
    for number, fault in enumerate(faults):
        time.sleep(rng.uniform(0.0, 0.2))
        which = rng.randrange(4)
        if fault == "server killed":
            server.kill()
            server.start()
        elif fault == "connection cut":
            tabs[which].cuts += rng.randint(1, 5)
        elif fault == "tab closed":
            old = tabs[which]
            old.is_closed.set()
            old.thread.join(60)
            closed.append(old)
            tabs[which] = Tab(server.address, kept[which], which, old.token, 1000 + number)
        elif fault == "disk full":
            server.fill(rng.uniform(0.05, 0.3))
        else:
            server.set_clock(rng.uniform(-48, 48))
    for tab in tabs:
        tab.is_last.set()
    for tab in tabs:
        tab.thread.join(120)
    server.kill()
    with closing(sqlite3.connect(folder / "study.sqlite")) as connection:
        rows = connection.execute("SELECT events FROM batches").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found = Counter((e["slot"], round(e["x"])) for (text,) in rows for e in json.loads(text))
    made = Counter((tab.name, number) for tab in [*closed, *tabs] for number in tab.made)
    assert not any(kept) and all(tab.num_acknowledged >= 3 for tab in tabs)
    lost, doubled = made - found, found - made
    refused = sum(tab.num_refused for tab in [*closed, *tabs])
    print(
        f"{num_faults} faults, {made.total():,} events, {refused} refused for the disk:"
        f" lost {len(lost)}, doubled {len(doubled)}"
    )
    assert made.total() > 12 and (lost, doubled) == (Counter(), Counter())


def test_a_database_that_cannot_be_read_is_no_error_of_ours(tmp_path: Path):
    with opened(make_study(tmp_path, "browsing")) as study:
        ann = Person(study)
        with study.store.alone() as connection:
            connection.exec_driver_sql("ALTER TABLE answers RENAME TO gone")
        refused = ann.get("/api/state")
        assert refused.status_code == 503 and "at the moment" in refused.json()["error"]


def test_where_the_disk_is_full_nothing_is_acknowledged_and_sending_again_helps(tmp_path: Path):
    events = [{"t": k, "page": 0, "type": "move"} for k in range(5000)]
    most = [1]  # pages of the file: as many as it has
    with opened(make_study(tmp_path, "browsing")) as study:
        ann = Person(study)

        @sa.event.listens_for(study.store._engine, "begin")
        def limit(connection: sa.Connection) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count={most[0]}")

        refused = ann.do(*events)
        assert refused.status_code == 503 and "cannot be saved" in refused.json()["error"]
        assert ann.state["next_sequence"] == 0
        most[0] = 2**30
        ann.sequence = 0
        assert ann.do(*events).json()["acknowledged"] == 0
        assert ann.state["next_sequence"] == 1
