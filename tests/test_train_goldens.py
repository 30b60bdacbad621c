"""What luab-train answers is what is written down in goldens/train-*.json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import train_goldens


def test_luab_train_gives_what_is_written_down() -> None:
    then, now = json.loads(train_goldens.MADE_WITH.read_text()), train_goldens.made_with()
    # In a process of its own: click keeps what help a command was first asked for.
    tests = Path(__file__).resolve().parent
    path = os.pathsep.join([str(tests.parent), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    found = subprocess.run(
        [sys.executable, "train_goldens.py", "--compare"],
        capture_output=True, text=True, cwd=tests, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    if found.returncode and then != now:
        pytest.skip(f"some differ, but they were made with {then}, this is {now}")
    shown = (found.stdout + found.stderr)[:20_000]
    assert not found.returncode, f"{shown}\nread tests/train_goldens.py"
