"""What luab-train answers is what is written down in goldens/train-*.json."""

from __future__ import annotations

import json

import pytest
import train_goldens


def test_luab_train_gives_what_is_written_down() -> None:
    then, now = json.loads(train_goldens.MADE_WITH.read_text()), train_goldens.made_with()
    found = train_goldens.differences(list(train_goldens.GOLDENS))
    if found and then != now:
        pytest.skip(f"{', '.join(found)} differ, but they were made with {then}, this is {now}")
    shown = "\n".join(found.values())
    assert not found, f"{shown[:20_000]}\n{', '.join(found)} differ; read tests/train_goldens.py"
