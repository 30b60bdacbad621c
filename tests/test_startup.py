"""What a command imports before it does anything: that is how long people wait for its help."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"PIL", "datasets", "matplotlib", "pandas", "pyarrow", "scipy", "shapely", "timm", "torch"}


@pytest.mark.parametrize(
    ("code", "light"),
    [
        ("import luab_data", {*HEAVY, "click", "numpy", "tqdm"}),
        ("import luab_train", {*HEAVY, "click", "numpy", "tqdm"}),
        ("from luab_data.cli import main; main(['--help'])", {*HEAVY, "numpy"}),
        ("from luab_train.cli import main; main(['--help'])", {*HEAVY, "numpy"}),
        ("from luab_train.cli import main; main(['eval', '--list'])", HEAVY - {"pyarrow"}),
    ],
)
def test_little_is_imported(code, light):
    shown = f"import atexit, sys\natexit.register(lambda: print('\\n', *sys.modules))\n{code}"
    result = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    imported = set(result.stdout.splitlines()[-1].split())
    assert light & imported == set()
