"""luab-collect and what goes wrong: killed servers, connections that are cut, full disks."""

from __future__ import annotations

import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from collect_world import Person, make_study

from luab_data.collect.serve import opened

ROOT = Path(__file__).resolve().parents[1]


class Client:
    """Somebody whose browser sends on until it is told that everything is kept.

    Args:
        address: of the server, which comes and goes.
        name: of the events that are sent, so that they can be told apart.
    """

    def __init__(self, address: str, name: int, seed: int) -> None:
        self.name, self.random = name, random.Random(seed)
        self.http = httpx.Client(base_url=address, verify=False, headers={"Origin": address})
        self.acknowledged: list[int] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def ask(self, path: str, body: Any, token: str = "") -> httpx.Response:
        """Ask until there is an answer."""
        while True:
            try:
                # Cut some connections before the answer has come: it may have been kept, or not.
                timeout = 0.005 if self.random.random() < 0.2 else 10
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                answer = self.http.post(path, json=body, headers=headers, timeout=timeout)
                if answer.status_code == 200:
                    return answer
            except httpx.TransportError:
                time.sleep(0.05)

    def run(self) -> None:
        """Send batches of one event each."""
        token = self.ask("/api/join", {"consent": True}).json()["token"]
        sequence = 0
        while not self.stop.is_set() or sequence < 12:  # however slow the machine is
            event = {"t": sequence, "page": 0, "type": "move", "slot": self.name}
            self.ask("/api/events", {"sequence": sequence, "events": [event]}, token)
            self.acknowledged.append(sequence)
            sequence += 1
        self.http.close()


def serving(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "luab_data", "collect", "serve", str(folder)]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen([*command, "--port", str(port)], cwd=ROOT, stdout=quiet, stderr=quiet)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server
        except OSError:
            assert server.poll() is None, "the server did not start"
            time.sleep(0.05)


@pytest.mark.parametrize(
    "kills", [3, pytest.param(250, marks=pytest.mark.slow)]
)  # four clients: a thousand chances to lose something
def test_killed_at_any_moment_nothing_acknowledged_is_lost_and_nothing_is_doubled(
    tmp_path: Path, kills: int
):
    folder = make_study(tmp_path, "browsing", changes={"overlap = 1": "overlap = 100"})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rng = random.Random(0)
    clients = [Client(f"http://127.0.0.1:{port}", k, k) for k in range(4)]
    server = serving(folder, port)
    for client in clients:
        client.thread.start()
    for _ in range(kills):
        time.sleep(rng.uniform(0.1, 0.6))
        server.send_signal(signal.SIGKILL)
        server.wait()
        server = serving(folder, port)
    time.sleep(0.5)
    for client in clients:
        client.stop.set()
    for client in clients:
        client.thread.join(120)
    server.send_signal(signal.SIGKILL)
    server.wait()
    with closing(sqlite3.connect(folder / "study.sqlite")) as connection:
        rows = connection.execute("SELECT session, sequence, events FROM batches").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for client in clients:
        kept = [n for _, n, text in rows if json.loads(text)[0]["slot"] == client.name]
        assert len(client.acknowledged) >= 12
        assert sorted(kept)[: len(client.acknowledged)] == client.acknowledged  # each once
        assert len(kept) <= len(client.acknowledged) + 1  # the last one may wait for its answer


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
