"""What `luab-train eval --benchmarks` does: load, run the suite, print the table.     [I/O]"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from luab_data.errors import OptionError
from luab_train.evaluate.extras import EXTRAS, check_extras, evaluate_extra
from luab_train.evaluate.predict import default_workers
from luab_train.evaluate.predictor import Predictor, load_predictor
from luab_train.evaluate.runner import choose, evaluate_benchmarks
from luab_train.evaluate.table import to_table
from luab_train.evaluate.wsol.overlap import BoxConvention


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
    preprocessing: str = "paper",
    batch_size: int = 256,
    num_workers: int | None = None,
    box_convention: BoxConvention = "wsolevaluation",
    shown: bool | None = None,
) -> str:
    """Evaluate whatever `source` names on benchmarks; the table, as text.

    Args:
        source, arch, pretrained, precision, preprocessing: see `load_predictor`.
        root, names, on_bad, batch_size, num_workers, shown: see `evaluate_benchmarks`.
        box_convention: see `evaluate_extra`.
        out: folder of the results; None is RUN/evaluation for a run, else evaluation/<name> here.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise OptionError(
            "started as several processes; benchmarks run in one. Start one process per GPU with"
            " other --benchmarks each"
        )
    asked = list(names or ["all"])
    extras = [name for name in asked if name in EXTRAS]
    columns = [name for name in asked if name not in EXTRAS]
    choose(columns)
    if preprocessing != "paper" and asked == ["coco"]:
        raise OptionError(
            f"--preprocessing {preprocessing}: COCO has views of its own; leave it out"
        )
    if asked == ["coco"] and arch is not None and Path(source).is_file():
        from luab_train.evaluate.coco.multi_label import load_multi_label

        predictor = load_multi_label(Path(source), arch, precision=precision)
    else:
        predictor = load_predictor(
            source,
            arch=arch,
            pretrained=pretrained,
            precision=precision,
            preprocessing=preprocessing,
        )
    check_extras(extras, len(predictor.classes))
    folder = out or _default_folder(Path(source), predictor)
    rows = []
    if columns:
        rows = evaluate_benchmarks(
            predictor,
            root=root,
            out=folder,
            names=columns,
            on_bad=on_bad,
            batch_size=batch_size,
            num_workers=num_workers,
            shown=shown,
        )
    workers = default_workers() if num_workers is None else num_workers
    for name in extras:
        rows += evaluate_extra(
            predictor,
            name,
            root=root,
            out=folder,
            batch_size=batch_size,
            num_workers=workers,
            box_convention=box_convention,
        )
    head = f"{predictor.name}, weights {predictor.digest[:12]}, percent; all rows in"
    return f"{head} {folder / 'results.jsonl'}\n{to_table(rows)}"


def _default_folder(source: Path, predictor: Predictor) -> Path:
    if source.is_dir():
        return source / "evaluation"
    return Path("evaluation") / re.sub(r"[^A-Za-z0-9.-]+", "-", predictor.name).strip("-")
