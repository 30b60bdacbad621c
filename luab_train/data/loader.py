"""Images and points in, batches of tensors out.     [I/O]"""

from __future__ import annotations

import functools
import itertools
import math
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from luab_data.console import progress
from luab_data.errors import ImagesError, LuabError, OptionError
from luab_train.data.augment import TrainCrop
from luab_train.data.coco import notebook_labels
from luab_train.data.geometry import sample_seed
from luab_train.data.inputs import Crop, EvalCrop, Picture, size_of
from luab_train.data.splits import Split

_CACHE_LIMIT = 4 * 2**30


class Batch(NamedTuple):
    """`B` samples, `C` classes, `K` points an image of `D` numbers each; size is for evaluation."""

    image_BCHW: Tensor
    """uint8, RGB; the model normalises it."""
    label: Tensor
    """(B,) int64, or (B, C) float32 where an image has several."""
    valid_B: Tensor
    """bool, False: the image could not be decoded; another stands in, and it counts for nothing."""
    index_B: Tensor
    """int64, which image of the split."""
    view_B: Tensor
    """int64, which of an epoch's views of that image."""
    point_BKD: Tensor
    """float32, targets; places in fractions of the crop; NaN where there is none."""
    weight_BK: Tensor
    """float32, 0 where there is no target or it lies outside the crop, else how much it counts."""
    size_B2: Tensor
    """int64, width and height of the original image, px."""


class Sample(NamedTuple):
    """One row of a Batch, in NumPy."""

    image: np.ndarray
    label: np.ndarray
    valid: bool
    row: int
    view: int
    point: np.ndarray
    weight: np.ndarray
    size: tuple[int, int]


class Samples(Dataset):  # type: ignore[type-arg]
    """Samples of a split, addressed by (epoch, index, view): a sample has no hidden state."""

    def __init__(
        self,
        split: Split,
        crop: TrainCrop | EvalCrop,
        *,
        target: np.ndarray | None = None,
        weight: np.ndarray | None = None,
        seed: int = 0,
        corrupt: str = "raise",
        notebook_labels: bool = False,
        cache: str = "none",
        shown: bool | None = None,
    ) -> None:
        """See the class.

        Args:
            split: what to load.
            crop: a TrainCrop draws from (seed, epoch, index, view); an EvalCrop draws nothing.
            target: (N, K, D) numbers to learn, NaN where there is none; None for none at all. With
                D = 2 they are places, fractions of the original image, and move with it.
            weight: (N,) how much the targets of an image count; None is 1.
            seed: of the run.
            corrupt: `raise` at an image that cannot be decoded, or `skip` it, see Batch.valid_B.
            notebook_labels: see `luab_train.sections.Data`.
            cache: `memory` decodes every image now and keeps it.
            shown: progress of filling the cache; None shows it on a terminal.
        """
        self.split = split
        self.crop = crop
        self.target = np.full((len(split), 1, 2), np.nan) if target is None else target
        self.weight = np.ones(len(split)) if weight is None else weight
        self.seed = seed
        self.corrupt = corrupt
        self.notebook_labels = notebook_labels
        self._cache = self._decode_all(shown) if cache == "memory" else None

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: tuple[int, int, int]) -> Sample:
        epoch, index, view = key
        image = self._image(index)
        valid = image is not None
        if image is None:
            image = Image.new("RGB", (self.crop.data.image_size,) * 2)
        size = size_of(image)
        if isinstance(self.crop, TrainCrop):
            target = self.target[index]
            at = tuple(target[0]) if target.shape == (1, 2) else None
            crop = self.crop(image, sample_seed(self.seed, epoch, index, view), at)
        else:
            crop = self.crop(image)
        point, inside = self._place(crop, self.target[index], size)
        weight = np.where(inside, self.weight[index], 0.0) if valid else np.zeros(len(point))
        label = self.split.label[index]
        if self.notebook_labels:
            label = notebook_labels(label, point, inside)
        return Sample(crop.image, label, valid, index, view, point, weight, size)

    def _place(
        self, crop: Crop, target: np.ndarray, size_wh: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        if target.shape[-1] != 2:
            return target, np.isfinite(target).all(axis=-1)
        return crop.place(target, size_wh)

    def _image(self, index: int) -> Picture | None:
        if self._cache is not None:
            return self._cache[index]
        crop = self.crop
        try:
            return self.split.load(index, upright=crop.data.as_shown, backend=crop.backend)
        except ImagesError:
            if self.corrupt == "raise":
                raise
            return None

    def _decode_all(self, shown: bool | None) -> list[Picture | None]:
        self._cache = None
        images: list[Picture | None] = []
        size = 0
        for index in progress(range(len(self)), what="decoding", unit="image", shown=shown):
            image = self._image(index)
            images.append(image)
            size += 0 if image is None else 4 * math.prod(size_of(image))  # Pillow's; 3 of arrays
            if size > _CACHE_LIMIT:
                raise OptionError(
                    f"data.cache=memory: {index + 1} of {len(self)} images already fill"
                    f" {_CACHE_LIMIT >> 30} GiB; this is for small sets. Use --set data.cache=none"
                    " --set data.num_workers=8"
                )
        return images


def collate(samples: list[Sample]) -> Batch:
    """Samples -> Batch."""
    pixels, label, valid, index, view, point, weight, size = zip(*samples, strict=True)
    pixels = _stand_in(pixels, valid)
    labels = np.stack(label)
    return Batch(
        torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2),
        torch.from_numpy(labels if labels.ndim == 2 else labels.astype(np.int64)),
        torch.tensor(valid),
        torch.tensor(index, dtype=torch.int64),
        torch.tensor(view, dtype=torch.int64),
        torch.from_numpy(np.stack(point)).float(),
        torch.from_numpy(np.stack(weight)).float(),
        torch.tensor(size, dtype=torch.int64),
    )


def _stand_in(pixels: tuple[np.ndarray, ...], valid: tuple[bool, ...]) -> tuple[np.ndarray, ...]:
    """Images that could not be decoded become copies of the batch's others: batch norm, which
    weighs all images alike, sees images and no black.
    """
    good = [image for image, ok in zip(pixels, valid, strict=True) if ok]
    if not good or len(good) == len(pixels):
        return pixels
    others = itertools.cycle(good)
    return tuple(image if ok else next(others) for image, ok in zip(pixels, valid, strict=True))


class EpochOrder(Sampler[tuple[int, int, int]]):
    """(epoch, index, view) of an epoch, in an order that follows from (seed, epoch) alone.

    Set `epoch` before each pass, and `start` to begin within it. It is no `set_epoch` method:
    accelerate calls one of that name at every pass with a counter of its own, which starts at 0
    again in a resumed run.
    """

    def __init__(
        self, length: int, *, seed: int, shuffle: bool, repeats: int = 1, update: int = 1
    ) -> None:
        """See the class.

        Args:
            length: images, and samples of an epoch.
            seed: of the run.
            shuffle: else in the split's order.
            repeats: views of an image, all in one update but at its ends.
            update: samples of an update of all processes; within it, first views come first, so
                that each process has as many different images as can be.
        """
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.repeats = repeats
        self.update = update
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return self.length - self.start

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            # The trailing 1 keeps this stream apart from the samples' (seed, epoch, index).
            order = np.random.default_rng((self.seed, self.epoch, 0, 1)).permutation(self.length)
        place = np.arange(self.length)
        index, view = order[place // self.repeats], place % self.repeats
        if self.repeats > 1:
            dealt = np.lexsort((place, view, place // self.update))
            index, view = index[dealt], view[dealt]
        index, view = index[self.start :], view[self.start :]
        return zip([self.epoch] * len(index), index.tolist(), view.tolist(), strict=True)


def make_loader(
    samples: Dataset[Any],
    *,
    batch_size: int,
    seed: int,
    train: bool,
    num_workers: int,
    pin_memory: bool,
    repeats: int = 1,
    update: int = 1,
    collate_fn: Callable[[list[Any]], Any] = collate,
) -> tuple[DataLoader[Any], EpochOrder]:
    """A loader of one process' batches and the order to tell the epoch to.

    Training drops the last, smaller batch, so that every update averages over the same number of
    images.
    """
    length = len(samples)  # type: ignore[arg-type]
    order = EpochOrder(length, seed=seed, shuffle=train, repeats=repeats, update=update)
    loader: DataLoader[Any] = DataLoader(
        samples,
        # typed for plain indices; ours carry the epoch along
        batch_sampler=BatchSampler(order, batch_size, drop_last=train),  # type: ignore[arg-type]
        collate_fn=collate_fn,
        num_workers=num_workers,
        persistent_workers=train and num_workers > 0,  # those of validation leave with their memory
        pin_memory=pin_memory,
        worker_init_fn=worker_setup() if num_workers else None,
        # Else each pass would draw its workers' seed from the generator that dropout draws from.
        generator=torch.Generator().manual_seed(seed),
    )
    return loader, order


# --- loader processes ----------------------------------------------------------------------------

_B = TypeVar("_B")


def batches(loader: DataLoader[_B]) -> Iterator[_B]:
    """The batches of a loader, whose errors are those of the run, in one sentence.

    Raises:
        ImagesError: says what it said where it was raised: torch puts the traceback of the loader
            process before it.
        LuabError: a loader process was killed.
    """
    try:
        for batch in loader:
            _watch()  # torch sets its own handler when processes start
            yield batch
    except ImagesError as error:
        said = re.split(r"^[\w.]*ImagesError: ", str(error), flags=re.MULTILINE)[-1].strip()
        raise ImagesError(said) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _killed(error) from error


def _killed(error: RuntimeError) -> LuabError:
    return LuabError(
        f"a loader process was killed ({str(error).splitlines()[0].strip()}), mostly for lack of"
        " memory; what was finished before is kept. Run the same command again, with fewer"
        " processes: --workers, or --set data.num_workers"
    )


def _watch() -> None:
    """Let the death of a loader process be told so wherever it is noticed: torch's handler of
    SIGCHLD raises in whatever runs just then.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        return
    theirs = signal.getsignal(signal.SIGCHLD)
    if not callable(theirs) or theirs.__module__ == __name__:
        return

    def handle(number: int, frame: FrameType | None) -> None:
        try:
            theirs(number, frame)
        except RuntimeError as error:
            raise _killed(error) from error

    signal.signal(signal.SIGCHLD, handle)


def worker_setup() -> Callable[[int], None]:
    """The `worker_init_fn` of a loader of this process: one thread each, for there are as many of
    them as there are cores; and they leave at a SIGTERM of this process alone. Clusters send it to
    all processes of a job, and a run could not finish its update if its loader left first.
    """
    return functools.partial(_set_up, os.getpid())


def _set_up(run: int, worker: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all of its processes
    # Elsewhere (macOS) a process cannot tell who sent a signal.
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_leave_when_asked_by, args=(run,), daemon=True).start()


def _leave_when_asked_by(run: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != run:
        pass
    os._exit(0)
