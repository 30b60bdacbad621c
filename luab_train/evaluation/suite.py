"""What `luab-train eval --benchmarks` does: load, run the suite, print the table.     [I/O]"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from luab_data.errors import OptionError
from luab_train.evaluation.predictor import Predictor, load_predictor
from luab_train.evaluation.runner import choose, evaluate_benchmarks
from luab_train.evaluation.table import to_table


def evaluate_model(
    source: str | Path,
    *,
    root: Path,
    names: Sequence[str] | None = None,
    out: Path | None = None,
    arch: str | None = None,
    pretrained: bool = False,
    on_bad: str = "raise",
    precision: str = "no",
    batch_size: int = 256,
    num_workers: int | None = None,
    shown: bool | None = None,
) -> str:
    """Evaluate whatever `source` names on benchmarks; the table, as text.

    Args:
        source, arch, pretrained, precision: see `load_predictor`.
        root, names, on_bad, batch_size, num_workers, shown: see `evaluate_benchmarks`.
        out: folder of the results; None is RUN/evaluation for a run, else evaluation/<name> here.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise OptionError(
            "started as several processes; benchmarks run in one. Start one process per GPU with"
            " other --benchmarks each"
        )
    choose(names)
    predictor = load_predictor(source, arch=arch, pretrained=pretrained, precision=precision)
    folder = out or _default_folder(Path(source), predictor)
    rows = evaluate_benchmarks(
        predictor,
        root=root,
        out=folder,
        names=names,
        on_bad=on_bad,
        batch_size=batch_size,
        num_workers=num_workers,
        shown=shown,
    )
    head = f"{predictor.name}, weights {predictor.digest[:12]}, percent; all rows in"
    return f"{head} {folder / 'results.jsonl'}\n{to_table(rows)}"


def _default_folder(source: Path, predictor: Predictor) -> Path:
    if source.is_dir():
        return source / "evaluation"
    return Path("evaluation") / re.sub(r"[^A-Za-z0-9.-]+", "-", predictor.name).strip("-")
