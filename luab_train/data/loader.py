"""Images and points in, batches of tensors out.     [I/O]"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from luab_data.console import progress
from luab_data.errors import OptionError
from luab_train.data.images import Split
from luab_train.data.transforms import EvalCrop, TrainCrop, place, sample_seed

_CACHE_LIMIT = 4 * 2**30


class Batch(NamedTuple):
    """`B` samples; point and visible are for training, size for evaluation."""

    image_BCHW: Tensor
    """uint8, RGB; the model normalises it."""
    label_B: Tensor
    """int64."""
    index_B: Tensor
    """int64, which image of the split."""
    point_B2: Tensor
    """float32, target in fractions of the crop; NaN where there is none."""
    visible_B: Tensor
    """bool: there is a target and it lies inside the crop."""
    size_B2: Tensor
    """int64, width and height of the original image, px."""


class Samples(Dataset):  # type: ignore[type-arg]
    """Samples of a split, addressed by (epoch, index): a sample has no hidden state."""

    def __init__(
        self,
        split: Split,
        crop: TrainCrop | EvalCrop,
        *,
        target: np.ndarray | None = None,
        seed: int = 0,
        cache: str = "none",
        shown: bool | None = None,
    ) -> None:
        """See the class.

        Args:
            split: what to load.
            crop: a TrainCrop draws from (seed, epoch, index); an EvalCrop draws nothing.
            target: (N, 2) fractions of the original image, NaN where there is none; None for none
                at all.
            seed: of the run.
            cache: `memory` decodes every image now and keeps it.
            shown: progress of filling the cache; None shows it on a terminal.
        """
        self.split = split
        self.crop = crop
        self.target = np.full((len(split), 2), np.nan) if target is None else target
        self.seed = seed
        self._cache = _decode_all(split, shown) if cache == "memory" else None

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, ...]:
        epoch, index = key
        image = (
            self.split.load(index) if self._cache is None else Image.fromarray(self._cache[index])
        )
        if isinstance(self.crop, TrainCrop):
            pixels, matrix = self.crop(image, sample_seed(self.seed, epoch, index))
        else:
            pixels, matrix = self.crop(image)
        point, visible = place(matrix, self.target[index], image.size, pixels.shape[1::-1])
        return pixels, self.split.label[index], index, point, visible, image.size


def _decode_all(split: Split, shown: bool | None) -> list[np.ndarray]:
    images: list[np.ndarray] = []
    size = 0
    for index in progress(range(len(split)), what="decoding", unit="image", shown=shown):
        images.append(np.asarray(split.load(index)))
        size += images[-1].nbytes
        if size > _CACHE_LIMIT:
            raise OptionError(
                f"data.cache=memory: {index + 1} of {len(split)} images already fill"
                f" {_CACHE_LIMIT >> 30} GiB; this is for small sets. Use --set data.cache=none"
                " --set data.num_workers=8"
            )
    return images


def collate(samples: list[tuple[Any, ...]]) -> Batch:
    """Samples -> Batch."""
    pixels, label, index, point, visible, size = zip(*samples, strict=True)
    return Batch(
        torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2),
        torch.tensor(label, dtype=torch.int64),
        torch.tensor(index, dtype=torch.int64),
        torch.from_numpy(np.stack(point)).float(),
        torch.tensor(visible),
        torch.tensor(size, dtype=torch.int64),
    )


class EpochOrder(Sampler[tuple[int, int]]):
    """(epoch, index) of every image, in an order that follows from (seed, epoch) alone.

    Set `epoch` before each pass. It is no `set_epoch` method: accelerate calls one of that name at
    every pass with a counter of its own, which starts at 0 again in a resumed run.
    """

    def __init__(self, length: int, *, seed: int, shuffle: bool) -> None:
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            # The trailing 1 keeps this stream apart from the samples' (seed, epoch, index).
            order = np.random.default_rng((self.seed, self.epoch, 0, 1)).permutation(self.length)
        return zip([self.epoch] * self.length, order.tolist(), strict=True)


def make_loader(
    samples: Samples, *, batch_size: int, seed: int, train: bool, num_workers: int, pin_memory: bool
) -> tuple[DataLoader[Batch], EpochOrder]:
    """A loader of one process' batches and the order to tell the epoch to.

    Training drops the last, smaller batch, so that every update averages over the same number of
    images.
    """
    order = EpochOrder(len(samples), seed=seed, shuffle=train)
    loader: DataLoader[Batch] = DataLoader(
        samples,
        # typed for plain indices; ours carry the epoch along
        batch_sampler=BatchSampler(order, batch_size, drop_last=train),  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=_one_thread if num_workers else None,
        # Else each pass would draw its workers' seed from the generator that dropout draws from.
        generator=torch.Generator().manual_seed(seed),
    )
    return loader, order


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
