"""A small study, its server in this process, and people who take part without a browser."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from luab_data.collect.serve import Opened, opened
from luab_data.collect.study import init

CLASSES = ("Käse", "dog")
HOME = "http://localhost"


def draw_pictures(root: Path, each: int = 6) -> Path:
    """A folder for each class; pictures of two shapes, equally named in both."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            shape = (150, 200, 3) if number % 2 else (240, 120, 3)
            pixels = rng.integers(0, 255, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"IMG {number:03d}.png")
    return root


def make_study(folder: Path, task: str, *, changes: dict[str, str] | None = None) -> Path:
    """A study of two pages (six pictures each, of a browsing study) in a session."""
    init(folder / task, images=draw_pictures(folder / "pictures"), task=task, classes=CLASSES)  # type: ignore[arg-type]
    file = folder / task / "study.toml"
    text = file.read_text()
    small = {"rows = 16": "rows = 2", "pages = 10": "pages = 2", "pages = 20": "pages = 2",
             "known = 1": "known = 1\n", "others = 3": "others = 1"}  # fmt: skip
    for old, new in {**small, **(changes or {})}.items():
        text = text.replace(old, new)
    file.write_text(text)
    return folder / task


@contextmanager
def served(folder: Path) -> Iterator[tuple[Opened, str]]:
    """The study on a port of this machine, and its address."""
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with opened(folder) as study:
        config = uvicorn.Config(study.app, port=port, log_level="error", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield study, f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)


class Person:
    """Somebody who takes part without a browser.

    Args:
        study: open.
    """

    def __init__(self, study: Opened, **query: str) -> None:
        self._app = study.app
        self.sequence = 0
        self.token = ""
        joined = self.post("/api/join", {"consent": True, "query": query})
        self.joined = joined
        if joined.status_code == 200:
            self.token = joined.json()["token"]

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            home = {"base_url": HOME, "headers": {"Origin": HOME}}
            async with httpx.AsyncClient(transport=transport, **home) as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for something."""
        return self._ask("GET", path, headers={**self._headers(), **headers})

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Send something."""
        return self._ask("POST", path, json=body, headers={**self._headers(), **headers})

    @property
    def state(self) -> dict[str, Any]:
        """Where the session stands."""
        found: dict[str, Any] = self.get("/api/state").json()
        return found

    def do(self, *events: dict[str, Any]) -> httpx.Response:
        """Send a batch of events."""
        answer = self.post("/api/events", {"sequence": self.sequence, "events": [*events]})
        self.sequence += 1
        return answer

    def submit(self, page: int, answer: dict[str, Any]) -> httpx.Response:
        """Answer a page."""
        return self.post("/api/page", {"page": page, "batches": self.sequence, "answer": answer})
