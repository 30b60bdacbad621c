"""How many events a second a study keeps, and how soon; server and clients on one machine.

    python benchmarks/collect.py --clients 64 --seconds 20
    python benchmarks/collect.py --people 1000 --seconds 30      # at a human pace
    python benchmarks/collect.py --database postgresql+psycopg://...
    python benchmarks/collect.py --page      # until a page of 48 pictures can be used, in Chromium
    python benchmarks/collect.py --clients 1000 --seconds 120 --export      # 10 million events

Each client sends batches of 100 events over one connection and waits until they are acknowledged,
that is on the disk; people send one of 40 events every two seconds. Lost and doubled are counted in
the database afterwards. The server's memory is read once a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))


def events(count: int, rng: random.Random) -> list[dict]:
    """Moves over a picture, as the page sends them."""
    return [
        {"t": round(16.7 * k, 1), "page": 0, "type": "move", "pointer": "mouse", "slot": k % 6,
         "x": rng.randrange(1000), "y": rng.randrange(5000), "fx": rng.random(), "fy": rng.random()}
        for k in range(count)
    ]  # fmt: skip


def serve(folder: str, port: int, database: str | None) -> None:
    """The server, in a process of its own; all join from one address, which none limits here."""
    from luab_data.collect import app
    from luab_data.collect.serve import serve

    app.JOINS = (1e9, 1e9)
    serve(folder, port=port, database=database)


async def ask(streams: tuple, path: str, body: bytes, token: str = "") -> tuple[int, bytes]:
    """One request on an open connection."""
    reader, writer = streams
    method = "POST" if body else "GET"
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
    head += f"Content-Length: {len(body)}\r\n"
    head += f"Authorization: Bearer {token}\r\n\r\n" if token else "\r\n"
    writer.write(head.encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    length = next(int(v.split(b":")[1]) for v in lines if v.lower().startswith(b"content-length:"))
    return int(lines[0].split()[1]), await reader.readexactly(length)


async def join(port: int, took: list[float]) -> tuple[tuple, str]:
    """A connection, and the token of a session."""
    streams = await asyncio.open_connection("127.0.0.1", port)
    start = time.perf_counter()
    status, body = await ask(streams, "/api/join", b'{"consent": true}')
    took.append(time.perf_counter() - start)
    if status != 200:
        raise SystemExit(body.decode())
    return streams, json.loads(body)["token"]


async def client(
    streams: tuple, token: str, until: float, size: int, pause: float, took: list[float]
) -> int:
    """Send until then; how many batches were acknowledged."""
    rng = random.Random(token)
    batch, sequence = json.dumps(events(size, rng)), 0
    if pause:
        await asyncio.sleep(rng.random() * pause)
    while time.perf_counter() < until:
        start = time.perf_counter()
        text = f'{{"sequence": {sequence}, "events": {batch}}}'.encode()
        status, _ = await ask(streams, "/api/events", text, token)
        took.append(time.perf_counter() - start)
        sequence += status == 200
        await asyncio.sleep(max(0.0, pause - took[-1]))
    streams[1].close()
    return sequence


async def load(
    port: int,
    clients: int,
    seconds: float,
    size: int,
    pause: float,
    process: psutil.Process,
    held: list[int],
) -> tuple:
    """All clients at once: batches acknowledged, how long each took, and each had joined, in s."""
    took: list[float] = []
    joined: list[float] = []
    here = await asyncio.gather(*(join(port, joined) for _ in range(clients)))
    until = time.perf_counter() + seconds
    watch = asyncio.create_task(watched(process, held))
    done = await asyncio.gather(*(client(*one, until, size, pause, took) for one in here))
    watch.cancel()
    return sum(done), took, joined


async def watched(process: psutil.Process, held: list[int]) -> None:
    """MiB of a process, once a second."""
    while True:
        held.append(process.memory_info().rss >> 20)
        await asyncio.sleep(1)


def export(folder: Path) -> str:
    """How long the command takes for all that was sent, and the most memory it holds."""
    engine = sa.create_engine(f"sqlite:///{folder / 'study.sqlite'}")
    with engine.begin() as connection:  # pages that nobody answered are in no log
        connection.execute(sa.text(
            "insert into answers select id, 0, begun_ms, '{\"selected\": []}' from sessions"
        ))  # fmt: skip
        sent = connection.scalar(sa.text("select sum(json_array_length(events)) from batches"))
    engine.dispose()
    out = folder / "log.jsonl.zst"
    command = [sys.executable, "-m", "luab_data", "collect", "export", str(folder), "--out", out]
    start, most = time.perf_counter(), 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        most = max(most, process.memory_info().rss >> 20)
        time.sleep(0.05)
    took = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(process.returncode)
    size = out.stat().st_size >> 10
    return f"export of {sent:,} events: {took:.0f} s, at most {most} MiB held, {size:,} KiB written"


CONSENT = "return document.querySelector('.consent')"
PAGE = "const b = document.querySelector('main > button.main'); return b && !b.disabled"


def page(corner: Path, visits: int = 5) -> str:
    """Seconds from opening the address until all 48 pictures are there and the page can be sent.

    The first visit has its thumbnails made, the others find them; the browser's cache is off.
    """
    from browser import chromium_options
    from collect_world import served
    from PIL import Image
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    from luab_data.collect.study import init

    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (corner / "pictures" / name).mkdir(parents=True)
        for number in range(48):
            coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
            coarse.resize((1600, 1200)).save(corner / "pictures" / name / f"{number}.jpg")
    init(corner / "study", images=corner / "pictures", task="browsing")
    driver = webdriver.Chrome(**chromium_options(corner / "profile"))
    took = []
    try:
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        with served(corner / "study") as (_, address):
            wait = WebDriverWait(driver, 60, 0.005)
            for visit in range(visits):
                start = time.perf_counter()
                driver.get(address)
                if not visit:  # consent, and from there on
                    button = "document.querySelector('section.consent button').click()"
                    wait.until(lambda d: d.execute_script(CONSENT))
                    start = time.perf_counter()
                    driver.execute_script(button)
                wait.until(lambda d: d.execute_script(PAGE))
                took.append(time.perf_counter() - start)
                assert driver.execute_script("return document.images.length") == 48
    finally:
        driver.quit()
    again = sorted(took[1:])
    return (
        "a page of 48 pictures of 1600 x 1200 px can be used after"
        f" {took[0]:.2f} s where thumbnails are made, {again[len(again) // 2]:.2f} s"
        f" ({again[0]:.2f}-{again[-1]:.2f}) where they are there; the browser keeps"
        " nothing, and WebDriver's own time is in it"
    )


def main() -> None:
    """Measure, and print one row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--people", type=int, help="clients at a human pace instead")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--export", action="store_true", help="export what was sent, too")
    parser.add_argument("--database", help="URL; default: SQLite")
    parser.add_argument("--page", action="store_true", help="a page in Chromium instead")
    options = parser.parse_args()
    from collect_world import make_study

    if options.page:
        with tempfile.TemporaryDirectory() as corner:
            print(page(Path(corner)))
        return

    clients = options.people or options.clients
    size, pause = (40, 2.0) if options.people else (100, 0.0)
    with tempfile.TemporaryDirectory() as corner:
        overlap = {"overlap = 1": f"overlap = {min(clients, 10_000)}"}
        folder = make_study(Path(corner), "browsing", changes=overlap)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(str(folder), port, options.database)
        )
        process.start()
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        held: list[int] = []
        batches, took, joined = asyncio.run(
            load(port, clients, options.seconds, size, pause, psutil.Process(process.pid), held)
        )
        process.terminate()
        process.join()
        engine = sa.create_engine(options.database or f"sqlite:///{folder / 'study.sqlite'}")
        with engine.connect() as connection:
            kept = connection.scalar(sa.text("select count(*) from batches"))
        exported = export(folder) if options.export else ""
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    who, rate = "people" if options.people else "clients", batches * size / options.seconds
    print(
        f"{clients} {who}: {rate:,.0f} events/s acknowledged, p50 {p50:.0f} ms, p99 {p99:.0f} ms,"
        f" all join at once within {max(joined):.1f} s,"
        f" lost {batches - kept} of {batches * size:,} events; the server held {held[0]} MiB at"
        f" first, {held[len(held) // 10]} after a tenth of the time, {held[-1]} at the end, at most"
        f" {max(held)}"
    )
    print(exported)


if __name__ == "__main__":
    main()
