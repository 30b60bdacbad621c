"""What a transfer to Mask R-CNN is, but for the folders.

The paper names Mask R-CNN and COCO average precision and nothing else: every default is ours, the
usual 1x schedule (Detectron: 90,000 updates of 16 images, about 12 epochs of COCO 2017).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from luab_data.errors import OptionError
from luab_train.settings import Count, NotNegative, Share, check_fields


@dataclass(frozen=True, kw_only=True)
class DetectionData:
    """How an image reaches the network."""

    min_size: Annotated[int, Meta(ge=32)] = 800
    """Shorter side after resizing, px, in training and evaluation."""
    max_size: int = 1333
    """Largest longer side, px; it wins over `min_size`."""
    flip: Share = 0.5
    """Probability of a horizontal flip; the one augmentation of the 1x schedule."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from RGB in [0, 1]; must be what the backbone was trained with."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Divides RGB after the mean is taken off."""
    num_workers: Annotated[int, Meta(ge=0)] = 4
    """Loader processes per GPU; 0 loads in the training process. Changes no result."""


@dataclass(frozen=True, kw_only=True)
class DetectionModel:
    """Mask R-CNN with a feature pyramid; the numbers of boxes are torchvision's defaults."""

    trainable_layers: Annotated[int, Meta(ge=0, le=5)] = 3
    """Stages of the backbone that are trained, from the last: 3 leaves stem and layer1 as they are,
    5 trains all. Batch norm is frozen in any case.
    """
    proposals: tuple[int, int] = (2000, 1000)
    """Regions an image that pass the proposal network's suppression: in training, in evaluation."""
    sampled_boxes: Count = 512
    """Of an image's proposals, how many the heads are trained on; a quarter of them on objects."""
    detections: Count = 100
    """Kept an image; COCO's average precision looks at no more."""


@dataclass(frozen=True, kw_only=True)
class DetectionOptim:
    """SGD with momentum: linear warm-up, then a constant rate that falls twice."""

    lr: NotNegative = 0.02
    """For `batch_size` 16. It is never rescaled: with another `batch_size`, set this too."""
    momentum: Annotated[float, Meta(ge=0, le=0.9999)] = 0.9
    """Plain, not Nesterov's."""
    weight_decay: NotNegative = 1e-4
    """Of everything that is trained, biases too, as in torchvision's reference."""
    steps: tuple[int, int] = (8, 11)
    """Epochs after which the rate falls."""
    gamma: Share = 0.1
    """What the rate is multiplied by then."""
    warmup_updates: Annotated[int, Meta(ge=0)] = 1000
    """Length of the linear warm-up."""
    warmup_factor: Share = 0.001
    """Share of `lr` at the very first update."""
    accumulate: Count = 1
    """Backward passes per update; `batch_size` images are split over them. It saves memory; each
    pass averages over its own images and boxes.
    """
    precision: Literal["auto", "no", "fp16", "bf16"] = "no"
    """`no` is float32; `auto` is bf16 on GPUs that have it, else fp16 on CUDA."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One transfer. Build a variant with `override` or `dataclasses.replace`."""

    model: DetectionModel = field(default_factory=DetectionModel)
    data: DetectionData = field(default_factory=DetectionData)
    optim: DetectionOptim = field(default_factory=DetectionOptim)
    epochs: Count = 12
    batch_size: Count = 16
    """Images per update over all processes."""
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    """Decides the new layers' weights, data order, flips and sampled boxes."""
    evaluate_every: Count = 1
    """Epochs between two evaluations; after the last epoch there always is one."""
    checkpoint_every: Count | None = None
    """Updates between two checkpoints within an epoch; None saves after each epoch alone."""

    RESULT_NEUTRAL = frozenset({"data.num_workers", "checkpoint_every"})

    def __post_init__(self) -> None:
        check_fields(self)
        if self.data.max_size < self.data.min_size:
            raise OptionError(
                f"data.max_size is {self.data.max_size}, less than data.min_size"
                f" {self.data.min_size}; expected the longer side to be longer"
            )
        if min(self.model.proposals) < 1:
            raise OptionError(f"model.proposals is {self.model.proposals}; expected two above 0")
        if min(self.data.std) <= 0:
            raise OptionError(f"data.std is {self.data.std}; expected three numbers above 0")
        if not 0 < self.optim.steps[0] <= self.optim.steps[1]:
            raise OptionError(
                f"optim.steps is {self.optim.steps}; expected two epochs in order, e.g. 8,11"
            )
        if self.batch_size % self.optim.accumulate:
            raise OptionError(
                f"batch_size {self.batch_size} in optim.accumulate {self.optim.accumulate} parts;"
                " expected a multiple"
            )


def rate(update: int, *, updates: int, optim: DetectionOptim) -> float:
    """The learning rate of one update.

    Args:
        update: 0 is the very first.
        updates: of an epoch.
        optim: of the recipe.
    """
    passed = sum(update >= step * updates for step in optim.steps)
    warm = 1.0
    if update < optim.warmup_updates:
        begun = update / optim.warmup_updates
        warm = optim.warmup_factor + (1 - optim.warmup_factor) * begun
    return optim.lr * optim.gamma**passed * warm
