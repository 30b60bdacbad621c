from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two pytest workers with two torch threads each wait for one another on two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))  # tests share plain modules, like logs.py

settings.register_profile(
    "luab", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("luab")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small log of ../shared as a dataset, to be read only."""
    from logs import KEY, SHARED

    from luab_data import convert_imagenet

    raw = SHARED / "data" / "raw" / "imagenet_ab_tiny.tar.gz"
    return convert_imagenet(
        raw, tmp_path_factory.mktemp("tiny") / "imagenet-ab", worker_key=KEY
    ).out


@pytest.fixture(autouse=True, scope="session")
def _own_corner(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test touches the user's key, cache or the network."""
    corner = tmp_path_factory.mktemp("home")
    os.environ["XDG_CONFIG_HOME"] = str(corner / "config")
    os.environ["HF_HOME"] = str(corner / "hf")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["MPLBACKEND"] = "agg"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    for name in ("LUAB_DATA_HOME", "LUAB_WORKER_KEY_FILE"):
        os.environ.pop(name, None)
