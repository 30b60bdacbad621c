"""What commands print, and which of several processes does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def is_first_process() -> bool:
    """Whether this is the only process, or the first of torchrun's; the others say nothing."""
    return os.environ.get("RANK", "0") == "0"


def numbers_table(values: Mapping[str, Any]) -> str:
    """Two aligned rows: keys and numbers; a mean over nothing is a dash."""
    cells = {key: _cell(value) for key, value in values.items()}
    widths = {key: max(len(key), len(cell)) for key, cell in cells.items()}
    head = "  ".join(key.rjust(width) for key, width in widths.items())
    return head + "\n" + "  ".join(cells[key].rjust(width) for key, width in widths.items())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
