"""What both command lines do whatever the verb: sentences, exit codes, progress, hints."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from luab_data import console
from luab_data.console import LuabGroup, install_command, progress
from luab_data.errors import OutputError


def group(act) -> click.Group:
    main = LuabGroup("main")
    main.add_command(click.Command("act", callback=act))
    return main


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (OutputError("out: is a file"), 1, "out: is a file"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C; what was not finished is not there"),
    ],
)
def test_an_error_is_one_sentence(error: BaseException, code: int, sentence: str):
    def act():
        raise error

    found = CliRunner().invoke(group(act), ["act"])
    assert (found.exit_code, found.output) == (code, f"Error: {sentence}\n")


def run(*args: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "luab_data", *args]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, **options)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize("verb", ["convert", "stats"])
def test_a_full_disk_behind_stdout_is_one_sentence(verb: str):
    with open("/dev/full", "w") as full:
        found = run(verb, "--help", stdout=full)
    assert found.returncode == 1
    assert found.stderr.startswith("Error: standard output cannot be written (No space left")
    assert found.stderr.count("\n") == 1


def test_a_reader_that_has_had_enough_is_no_error():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        found = run("--help", stdout=pipe)
    assert found.stderr == ""


def test_off_a_terminal_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console, "_LINE_EVERY_S", 0.0)
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    assert [*progress(range(3), what="count", unit="thing")] == [0, 1, 2]
    lines = err.getvalue().splitlines()
    assert lines and all(line.startswith("count: ") and "\r" not in line for line in lines)
    assert " of 3, 00:0" in lines[0] and "thing/s" in lines[0] and "|" not in lines[0]


def test_short_work_says_nothing(monkeypatch: pytest.MonkeyPatch):
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    assert [*progress(range(3), what="count")] == [0, 1, 2]
    with progress(what="more", total=5) as bar:
        bar.update(5)
    assert err.getvalue() == ""


def test_the_hint_works_from_where_luab_was_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    class Installed:
        text: str | None = None

        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return self.text

    monkeypatch.setattr(console, "distribution", lambda name: Installed())
    Installed.text = f'{{"url": "file://{tmp_path}", "dir_info": {{"editable": true}}}}'
    assert install_command("report") == f'pip install -e "{tmp_path}[report]"'
    monkeypatch.chdir(tmp_path)
    Installed.text = f'{{"url": "file://{tmp_path}", "dir_info": {{}}}}'
    assert install_command("report") == 'pip install ".[report]"'
    # A checkout that nobody installed.
    Installed.text = None
    checkout = Path(console.__file__).parents[1]
    assert install_command("report") == f'pip install "{checkout}[report]"'
    monkeypatch.chdir(checkout)
    assert install_command("report") == 'pip install ".[report]"'
    monkeypatch.setattr(console, "__file__", str(tmp_path / "site-packages" / "luab_data" / "x.py"))
    assert install_command("report") == 'pip install "luab[report]"'
