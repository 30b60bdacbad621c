"""A PostgreSQL server of our own, from the binaries of this machine, for as long as it is used."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
BINARIES = _PLACES[-1] if _PLACES else Path(shutil.which("initdb") or "/none").parent
IS_HERE = (BINARIES / "initdb").exists()


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database; the server listens on a socket in a folder alone."""
    folder = Path(tempfile.mkdtemp(prefix="luab-postgres-"))
    us: list[str] = []
    if os.geteuid() == 0:  # it refuses to be root
        shutil.chown(folder, "nobody")
        us = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    data = folder / "data"
    made = [*us, str(BINARIES / "initdb"), "-D", str(data), "-U", "luab", "-A", "trust"]
    subprocess.run(made, check=True, **quiet)  # type: ignore[call-overload]
    started = [*us, str(BINARIES / "postgres"), "-D", str(data), "-k", str(folder), "-h", ""]
    server = subprocess.Popen(started, **quiet)  # type: ignore[call-overload]
    try:
        ready = [str(BINARIES / "pg_isready"), "-h", str(folder), "-U", "luab", "-d", "postgres"]
        until = time.monotonic() + 60
        while subprocess.run(ready, **quiet).returncode:  # type: ignore[call-overload]
            assert server.poll() is None and time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.1)
        yield f"postgresql://luab@/postgres?host={folder}"
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
