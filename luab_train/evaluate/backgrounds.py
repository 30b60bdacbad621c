"""The Backgrounds Challenge: is a foreground recognised on every background?     [I/O]

`F` foregrounds, `B` backgrounds, `S` px. Backgrounds are tried in one drawn order, in blocks that
grow, and a foreground is dropped at its first failure. Whether it is robust does not depend on the
order; how much is computed does: a foreground that half of the backgrounds fool costs two forwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from luab_data.console import progress
from luab_data.errors import ImagesError
from luab_train.data.inputs import decode_rgb
from luab_train.evaluate import processes
from luab_train.evaluate.classes import Accepted
from luab_train.evaluate.parts import ForegroundPart
from luab_train.evaluate.predict import answers_of, look
from luab_train.evaluate.predictions import PAIRS_SCHEMA
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.settings import Settings

_SEED = 0


def compose(foreground: Tensor, mask: Tensor, background: Tensor) -> Tensor:
    """Paste every foreground on every background: b (1 - M) + f M.

    Args:
        foreground: (F, 3, S, S), 0 to 255.
        mask: (F, 1, S, S), 0 to 1.
        background: (B, 3, S, S), 0 to 255.
    Returns: (F, B, 3, S, S) float32, 0 to 255.
    """
    f, m = foreground.float()[:, None], mask.float()[:, None]
    return background.float()[None] * (1 - m) + f * m


def challenge(
    predictor: Predictor, part: ForegroundPart, settings: Settings, *, what: str, seed: int = _SEED
) -> tuple[pa.Table, dict[str, int]]:
    """A table of PAIRS_SCHEMA, one row a foreground, and counts.

    Args:
        predictor: the model.
        part: foregrounds and backgrounds.
        settings: with on_bad `skip`, files that cannot be read are counted.
        what: of the progress bar.
        seed: of the order of the backgrounds; decides which failure is met first, no more.
    Returns: the counts are num_forwards, num_bad_backgrounds and num_resized.
    """
    index = np.arange(len(part))
    mine = index[processes.rank() :: processes.world()]
    found = processes.everyone(lambda: _challenge(predictor, part, mine, settings, what, seed))
    shares = [index[k :: processes.world()] for k in range(processes.world())]
    order = np.argsort(np.concatenate(shares), kind="stable")
    table = pa.concat_tables([rows for rows, _ in found]).take(pa.array(order)).combine_chunks()
    counts = {key: sum(c[key] for _, c in found) for key in ("num_forwards", "num_resized")}
    # All try the backgrounds in one order, and some stop before others.
    counts["num_bad_backgrounds"] = max(c["num_bad_backgrounds"] for _, c in found)
    if counts["num_bad_backgrounds"] == len(part.background_id):
        raise ImagesError(
            f"{part.root}: none of its {len(part.background_id)} backgrounds can be read, e.g."
            f" {part.background_id[0]}; unpack the archive again"
        )
    return table, counts


def _challenge(
    predictor: Predictor,
    whole: ForegroundPart,
    mine: np.ndarray,
    settings: Settings,
    what: str,
    seed: int,
) -> tuple[pa.Table, dict[str, int]]:
    """The same of some of the foregrounds."""
    part = replace(
        whole, image_id=whole.image_id[mine], label=whole.label[mine], mask_id=whole.mask_id[mine]
    )
    state = _Foregrounds(part, settings.on_bad)
    right = _right_classes(predictor.classes, part.accepted)
    order = np.random.default_rng(seed).permutation(len(part.background_id))
    counts = {"num_forwards": 0, "num_bad_backgrounds": 0, "num_resized": 0}
    start, block = 0, 1
    shown = settings.shown if processes.rank() == 0 else False
    with progress(total=len(part), what=what, unit="foreground", shown=shown) as bar:
        while len(state.active) and start < len(order):
            names = part.background_id[order[start : start + block]]
            loaded = [_load_or_skip(part.root / str(n), state.size, settings) for n in names]
            names = names[[image is not None for image in loaded]]
            images = [image for image in loaded if image is not None]
            counts["num_bad_backgrounds"] += len(loaded) - len(images)
            if images:
                background = torch.from_numpy(np.stack(images)).to(predictor.device)
                before = len(state.active)
                counts["num_forwards"] += _try(
                    predictor, part, state, background, names, right, settings.batch_size
                )
                bar.update(before - len(state.active))
            start += block
            block = min(2 * block, settings.batch_size)
        bar.update(len(state.active))
    if state.size and state.size != predictor.data.image_size:
        counts["num_resized"] = counts["num_forwards"]
    return state.table(), counts


class _Foregrounds:
    """Foregrounds in memory, and what became of each."""

    def __init__(self, part: ForegroundPart, on_bad: str) -> None:
        self.part = part
        size = len(part)
        self.error: list[str | None] = [None] * size
        self.failed_background: list[str | None] = [None] * size
        self.failed_class: list[str | None] = [None] * size
        self.num_tried = np.zeros(size, dtype=np.int64)
        self.size = 0
        images, masks, there = [], [], []
        for i in range(size):
            try:
                image = load_square(part.root / str(part.image_id[i]), self.size)
                mask = load_mask(part.root / str(part.mask_id[i]), image.shape[-1])
            except ImagesError as error:
                if on_bad == "raise":
                    raise
                self.error[i] = str(error).replace(f"{part.root}/", "")
                continue
            self.size = image.shape[-1]
            images.append(image)
            masks.append(mask)
            there.append(i)
        self.image = torch.from_numpy(np.stack(images)) if images else torch.empty(0)
        self.mask = torch.from_numpy(np.stack(masks)) if masks else torch.empty(0)
        self.row = np.array(there, dtype=np.int64)
        self.active = np.arange(len(there))

    def table(self) -> pa.Table:
        bad = np.array([error is not None for error in self.error], dtype=bool)
        failed = np.array([name is not None for name in self.failed_background], dtype=bool)
        columns = {
            "image_id": pa.array(self.part.image_id.tolist(), pa.string()),
            "label": pa.array(self.part.label.tolist(), pa.string()),
            "is_robust": pa.array(~failed, mask=bad),
            "num_tried": pa.array(self.num_tried, mask=bad),
            "failed_background": pa.array(self.failed_background, pa.string()),
            "failed_class": pa.array(self.failed_class, pa.string()),
            "error": pa.array(self.error, pa.string()),
        }
        return pa.table(columns, schema=PAIRS_SCHEMA)


def _try(
    predictor: Predictor,
    part: ForegroundPart,
    state: _Foregrounds,
    background: Tensor,
    names: np.ndarray,
    right: Mapping[str, Tensor],
    batch_size: int,
) -> int:
    """One block of backgrounds under all foregrounds that still stand; how many forwards it took.

    Foregrounds that fail leave `state.active`.
    """
    step = max(1, batch_size // len(background))
    standing = []
    num_forwards = 0
    for start in range(0, len(state.active), step):
        chosen = state.active[start : start + step]
        pairs = compose(
            state.image[chosen].to(predictor.device),
            state.mask[chosen].to(predictor.device),
            background,
        ).flatten(0, 1)
        if state.size != predictor.data.image_size:
            side = (predictor.data.image_size,) * 2
            pairs = F.interpolate(pairs, side, mode="bicubic", antialias=True).clamp(0, 255)
        answered = answers_of(look(predictor, pairs, "plain").logits_BC)
        top1 = answered.index_BT[:, 0].view(len(chosen), -1)
        num_forwards += top1.numel()
        for k, index in enumerate(chosen.tolist()):
            row = int(state.row[index])
            wrong = ~right[str(part.label[row])][top1[k]]
            if wrong.any():
                first = int(wrong.int().argmax())
                state.failed_background[row] = str(names[first])
                state.failed_class[row] = predictor.classes[int(top1[k, first])]
                state.num_tried[row] += first + 1
            else:
                state.num_tried[row] += len(background)
                standing.append(index)
    state.active = np.array(standing, dtype=np.int64)
    return num_forwards


def _right_classes(classes: tuple[str, ...], accepted: Accepted) -> dict[str, Tensor]:
    """Superclass -> (C,) bool."""
    return {
        label: torch.tensor([wnid in set(wnids) for wnid in classes])
        for label, wnids in accepted.items()
    }


def _load_or_skip(path: Path, size: int, settings: Settings) -> np.ndarray | None:
    try:
        return load_square(path, size)
    except ImagesError:
        if settings.on_bad == "raise":
            raise
        return None


def load_square(path: Path, size: int) -> np.ndarray:
    """(3, S, S) uint8 RGB as stored; ImagesError unless S is `size`, or any S if that is 0."""
    pixels = np.asarray(decode_rgb(path, str(path))).transpose(2, 0, 1)
    side = size or pixels.shape[-1]
    if pixels.shape != (3, side, side):
        raise ImagesError(
            f"{path}: {pixels.shape[2]} x {pixels.shape[1]} px; expected {side} x {side}, for the"
            " challenge pastes foregrounds on backgrounds pixel by pixel"
        )
    return np.asarray(pixels)


def load_mask(path: Path, size: int) -> np.ndarray:
    """(1, S, S) float32, 0 to 1, from a .npy of one or three equal channels."""
    try:
        mask = np.load(path, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise ImagesError(f"{path}: cannot be read ({error}); expected a NumPy array") from error
    shape = mask.shape
    if mask.ndim == 3:
        mask = mask[..., 0] if shape[-1] in (1, 3) else mask[0]
    if mask.shape != (size, size) or not (0 <= mask.min() and mask.max() <= 1):
        raise ImagesError(
            f"{path}: shape {shape}, values {mask.min():g} to {mask.max():g}; expected"
            f" ({size}, {size}) of 0 and 1"
        )
    return np.asarray(mask[None])
