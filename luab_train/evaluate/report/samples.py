"""Images of a benchmark with what the models say of them, for the figures.     [I/O]"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from luab_data.errors import LuabError
from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.layouts import Missing, locate, scan_folders
from luab_train.evaluate.measures import right as correct
from luab_train.evaluate.predictions import Predicted
from luab_train.evaluate.report.draw_samples import Sample
from luab_train.evaluate.report.evaluated import Arm, Evaluated
from luab_train.evaluate.stored import predictions

SAMPLES = 6
FAILURES = 12
BENCHMARKS = ("in-1k", "in-v2", "in-a", "in-r", "sketch", "objectnet")
"""Where samples come from: the first of these that is there."""
_LONGEST_SIDE = 320


def folder_of(benchmark: str, root: Path) -> Path | None:
    """Folder that the image ids of a benchmark of one part are relative to; None if missing."""
    place = locate(BY_NAME[benchmark].datasets[0], root, scan_folders(root))
    if isinstance(place, Missing):
        return None
    return place / "images" if benchmark == "objectnet" else place


def sample_rows(arms: Sequence[Arm], root: Path, *, seed: int = 0) -> dict[str, list[Sample]]:
    """Arm -> the same images for all, drawn at random from what all were asked.

    Class maps are of models that are runs, of the class they answer.
    """
    for benchmark in BENCHMARKS:
        found = [
            (arm, kept)
            for arm in arms
            if (kept := predictions(arm.models[0].folder, benchmark)) is not None
        ]
        folder = folder_of(benchmark, root) if found else None
        if folder is None:
            continue
        ids = set.intersection(*(set(kept.image_id.tolist()) for _, kept in found))
        if not ids:
            continue
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(np.array(sorted(ids)))[:SAMPLES].tolist()
        return {arm.name: _with_maps(arm.models[0], kept, chosen, folder) for arm, kept in found}
    return {}


def worst_failures(model: Evaluated, root: Path) -> list[Sample]:
    """The wrong answers that the model was surest of, by margin; empty without images."""
    for benchmark in BENCHMARKS:
        kept = predictions(model.folder, benchmark)
        folder = None if kept is None else folder_of(benchmark, root)
        if kept is None or folder is None:
            continue
        right = correct(kept)
        margin = np.where(right, -np.inf, kept.table["margin"].to_numpy())
        worst = [int(row) for row in np.argsort(-margin, kind="stable")[:FAILURES]]
        return [_sample(kept, row, bool(right[row]), folder) for row in worst if not right[row]]
    return []


def _with_maps(
    model: Evaluated, kept: Predicted, chosen: Sequence[str], folder: Path
) -> list[Sample]:
    row_of = {name: row for row, name in enumerate(kept.image_id.tolist())}
    right = correct(kept)
    rows = [row_of[name] for name in chosen]
    samples = [_sample(kept, row, bool(right[row]), folder) for row in rows]
    maps = _maps(model, [folder / name for name in chosen], kept.top1[rows].tolist())
    return [replace(s, cam=cam) for s, cam in zip(samples, maps, strict=True)]


def _sample(kept: Predicted, row: int, is_right: bool, folder: Path) -> Sample:
    x, y = (kept.table[name][row].as_py() for name in ("point_x", "point_y"))
    return Sample(
        pixels=_pixels(folder / str(kept.image_id[row])),
        truth=class_name(str(kept.label[row])),
        answer=class_name(str(kept.top1[row])),
        is_right=is_right,
        probability=float(kept.max_probability[row]),
        point=None if x is None or y is None else (x, y),
    )


def _pixels(file: Path) -> np.ndarray | None:
    from PIL import Image

    try:
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return np.asarray(picture)


def _maps(
    model: Evaluated, files: Sequence[Path], answers: Sequence[str]
) -> Sequence[np.ndarray | None]:
    """Class maps of the answers; None for a model that is no run, or has no map."""
    run = model.folder.parent
    if model.target is None or not all(file.is_file() for file in files):
        return [None] * len(files)
    import torch

    from luab_train.evaluate.predictor import load_predictor
    from luab_train.evaluate.wsol.cam import Mapper
    from luab_train.evaluate.wsol.squash import squash

    try:
        predictor = load_predictor(run)
        mapper = Mapper.of(predictor)
        size = predictor.data.image_size
        pixels = np.stack([squash(file, size)[0] for file in files]).transpose(0, 3, 1, 2)
        classes = torch.tensor([predictor.classes.index(answer) for answer in answers])
        with torch.no_grad():
            forward = mapper(torch.from_numpy(np.ascontiguousarray(pixels)))
            maps = mapper.maps(forward, torch.arange(len(files)), classes).cpu().numpy()
    except (LuabError, OSError, ValueError):
        # Not every network has maps, and a report is no place to fail for want of a picture.
        return [None] * len(files)
    return list(maps)


@cache
def _descriptions() -> object:
    from timm.data import ImageNetInfo

    return ImageNetInfo()


def class_name(label: str) -> str:
    """A wnid as a word; anything else as it is."""
    info = _descriptions()
    try:
        found: str = info.label_name_to_description(label)  # type: ignore[attr-defined]
    except (KeyError, ValueError):
        return label
    return found.split(",")[0] if found else label
