"""What luab-data answers is what is written down in goldens/."""

from __future__ import annotations

import goldens
import pytest


def _check(group: str) -> None:
    names = goldens.selected([group])
    found = goldens.differences(names)
    if found and (versions := goldens.other_versions()):
        pytest.skip(f"{', '.join(found)} differ, but this environment has {versions}")
    shown = "\n".join(found.values())
    assert not found, f"{shown[:20_000]}\n{', '.join(found)} differ; read tests/goldens.py"


def test_seeded_logs_give_what_is_written_down() -> None:
    _check("synthetic")


@pytest.mark.skipif(not goldens.SHARED.is_dir(), reason=f"{goldens.SHARED} is not there")
def test_shared_logs_give_what_is_written_down() -> None:
    _check("shared")


def test_every_golden_on_disk_is_made() -> None:
    files = {p.stem for p in goldens.GOLDENS.glob("*.json")}
    on_disk = {name for name in files if not name.startswith("train-")} - {goldens.MADE_WITH.stem}
    assert on_disk == set(goldens.all_goldens())


def test_goldens_stay_small() -> None:
    sizes = {path.name: path.stat().st_size for path in goldens.GOLDENS.iterdir()}
    assert max(sizes.values()) < 150_000
    assert sum(sizes.values()) < 800_000
