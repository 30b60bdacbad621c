"""The sections of a recipe: data, model, mixing, loss, optimiser, engine; and the names of targets.

Fields that the paper leaves open say so; their defaults are ours (`docs/decisions.md`).
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from luab_data.kinds import kind_of
from luab_train.settings import Count, NotNegative, Share

Target = Literal[
    "none", "random", "centre", "shuffled", "click", "first_click", "hull_centre", "calibrated",
    "oracle", "trace", "dwell_time", "trace_last", "trace_centroid", "hull", "box",
]  # fmt: skip
TARGETS: tuple[str, ...] = typing.get_args(Target)
TRACE_TARGETS = ("trace", "trace_last", "trace_centroid", "hull_centre")
"""Those that a tracing dataset has."""
OUTLINES = ("hull", "box")
"""Those that are no place but the corners of an area, for `loss.attention` alone."""
COCO_TARGETS = ("none", "random", "centre", "shuffled", "click", "first_click", "oracle")

Backend = Literal["pillow", "fast"]
Best = Literal["val_accuracy", "val_label_loss", "val_localisation", "val_point_error", "val_map"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """How an image becomes a tensor. The folders are arguments of a run, not of a recipe."""

    dataset: str = "imagenet-ab"
    """The kind of log it learns from: one label and one point an image, or several labels (of
    COCO-AB 80) that may each have a point. A run takes it from its dataset folder. Pictures of
    ImageNet-AB and COCO-AB are seen as stored, others turned as EXIF says.
    """
    image_size: Annotated[int, Meta(ge=8)] = 224
    """Side of the square the network sees, px."""
    eval_resize: int = 256
    """Shorter side the image is resized to before the centre crop of `image_size`, px."""
    eval_fit: Literal["crop", "squash"] = "crop"
    """What is resized to `eval_resize`: the shorter side, or both, so that nothing is cut off (as
    timm evaluates some ViTs).
    """
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    """Resampling filter, antialiased; the paper does not name it for ResNets."""
    backend: Backend = "fast"
    """What decodes, crops and resizes in training: Pillow, or libjpeg-turbo and torch, in less
    time; pixels differ by less than 0.1 of 255 in the mean, and no geometry does. Of what is no
    colour JPEG `fast` is Pillow, and so is all validation and evaluation.
    """
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Share of the image's area that a training crop covers, drawn uniformly."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width / height of a training crop, drawn log-uniformly."""
    crop_keep: Share = 0.0
    """Probability that a training crop is moved so that it holds the image's point, which `target`
    says; 0 is the usual crop. Its size and shape are drawn as ever.
    """
    flip: Share = 0.5
    """Probability of a horizontal flip."""
    color_jitter: Share = 0.0
    """Strength of brightness, contrast and saturation jitter; 0 is off."""
    auto_augment: str | None = None
    """timm's RandAugment, e.g. `rand-m9-mstd0.5-inc1`; none is off. With it timm leaves colour
    jitter out, and so do we.
    """
    point_geometry: Literal["follow", "stale"] = "follow"
    """Points under RandAugment's rotations, shears and shifts: moved along and masked where they
    leave, or left where the crop put them, as timm's own pipeline would have it.
    """
    random_erase: Share = 0.0
    """Probability that a rectangle of an image becomes noise (timm, `pixel`); points are kept."""
    repeats: Count = 1
    """Views of an image in an epoch of unchanged length (DeiT: repeated augmentation, 3)."""
    fraction: Annotated[float, Meta(ge=1e-6, le=1)] = 1.0
    """Share of the training images of each class that is used, by a hash of (seed 0, image id)."""
    point_noise: NotNegative = 0.0
    """Standard deviation of Gaussian noise added to each target, fractions of the image; drawn once
    per image.
    """
    notebook_labels: bool = False
    """COCO-AB: a class with an icon outside the crop loses its label, as in the released notebook.
    It changes the labels of the arms with points only; for comparison.
    """
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from RGB in [0, 1]."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Divides RGB after the mean is taken off."""
    missing_images: Literal["raise", "skip"] = "raise"
    """Rows of the dataset without an image: an error, or left out and counted."""
    corrupt_images: Literal["raise", "skip"] = "raise"
    """An image that cannot be decoded: an error, or left out of losses and metrics, reported and
    counted. A copy of another image of its batch stands in for it, so that batch norm sees images.
    """
    num_workers: Annotated[int, Meta(ge=0)] = 8
    """Loader processes per GPU; 0 loads in the training process. Changes no result."""
    cache: Literal["none", "memory"] = "none"
    """`memory` decodes each image once and keeps it; for small sets. Changes no result."""

    @property
    def several_labels(self) -> bool:
        """Whether an image may be of several classes, each with a point of its own."""
        return kind_of({"dataset": self.dataset}).several_labels

    @property
    def as_shown(self) -> bool:
        """Whether pictures are turned as EXIF says."""
        return kind_of({"dataset": self.dataset}).as_shown


@dataclass(frozen=True, kw_only=True)
class Model:
    """A timm classifier and a point head on its features."""

    name: str
    """Any timm classifier; `hf-hub:OWNER/NAME` is one of the Hub."""
    pretrained: bool = False
    """Start from timm's weights; needs the network or a filled cache."""
    checkpoint: str | None = None
    """File of backbone weights to start from; a classifier of another size is dropped."""
    point_head: Literal["regression", "attention", "grounding"] = "regression"
    """`regression`: one linear layer on the penultimate features, as in the paper. Ours are
    `attention`, a map over the last feature map whose mean is the point, and `grounding`, the
    choice of one of its cells and of a place inside.
    """
    point_output: Literal["sigmoid", "linear"] = "sigmoid"
    """What regression ends in. The paper does not say; a sigmoid keeps the point in the image."""
    attentive_pooling: bool = False
    """The classifier sees the features weighted by the attention map instead of their mean or the
    class token (our reading of the paper's appendix F). Needs `point_head=attention`.
    """
    attention_sigma: Annotated[float, Meta(ge=1e-3)] = 0.1
    """Standard deviation, fractions of the crop, of the Gaussian about a target point that the
    attention map, or the choice of a cell, is to match.
    """
    patch_size: Count | None = None
    """Side of a ViT's patches, px; none is the model's own."""
    drop_rate: Annotated[float, Meta(ge=0, le=0.999)] = 0.0
    """Dropout before the classifier and the head."""
    drop_path_rate: Annotated[float, Meta(ge=0, le=0.999)] = 0.0
    """Stochastic depth."""
    output_stride: Literal[8, 16, 32] | None = None
    """Pixels per cell of a CNN's last feature map; none is the model's own, mostly 32. Finer maps
    keep more of where things are (WSOL work trains ResNet-50 at 16) and cost more.
    """


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Mixup and CutMix of a batch with itself turned round, timm's way; both 0 is off.

    Points: Mixup asks the one predicted point for both targets, weighed as the images are; CutMix
    drops a point under the pasted box, and takes the pasted image's only if it lies inside.
    `paste` is click-guided mixing (`luab_train.data.pasting`), and its points are treated likewise.
    """

    mixup: NotNegative = 0.0
    """alpha of the Beta(alpha, alpha) that weighs two images."""
    cutmix: NotNegative = 0.0
    """alpha of the Beta(alpha, alpha) that sets the pasted area."""
    prob: Share = 1.0
    """Of mixing a batch at all; with `paste`, of each image."""
    switch: Share = 0.5
    """Of CutMix rather than Mixup, where both are on."""
    points: Literal["follow", "unmixed"] = "follow"
    """As above, or regress points only in batches (with `paste`, images) that were not mixed."""
    paste: Literal["in_place", "shift"] | None = None
    """The square about the partner's point is pasted in: where it was, or so that its point lies on
    the own one. `target` says which points; `loss.lambda_reg=0` uses them for nothing else.
    """
    paste_size: Annotated[float, Meta(ge=1e-3, le=1)] = 0.5
    """Side of that square, share of the crop's."""
    paste_labels: Literal["area", "equal", "fixed"] = "area"
    """The partner's share of the label: of the pixels pasted, half, or `paste_share`."""
    paste_share: Share = 0.5
    """See `paste_labels`."""

    @property
    def on(self) -> bool:
        """Whether images are mixed at all."""
        return self.mixup > 0 or self.cutmix > 0 or self.paste is not None


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Eq. 1: label term + lambda_reg * point term, over the points inside the crop.

    A head that is an attention map has KL(Gaussian about the target || map) as its point term; one
    that chooses a cell has it of the choice, and the regression's of the place inside the cell.
    """

    classification: Literal["ce", "bce"] = "ce"
    """Cross-entropy, or binary cross-entropy of every class (mean over images and classes)."""
    lambda_reg: NotNegative = 10.0
    """Weight of the point term. The paper's value is unknown; ours because a head that always
    answers the centre of uniform points costs 0.042 per coordinate, so 10 puts the term at 0.4
    beside a cross-entropy of 1-7.
    """
    regression: Literal["smooth_l1", "mse", "l1"] = "smooth_l1"
    """Of a coordinate; the mean over x and y counts for the point."""
    beta: NotNegative = 1.0
    """Where smooth-L1 turns from squared to absolute. Unknown too; on [0, 1], 1 is MSE / 2."""
    label_smoothing: Annotated[float, Meta(ge=0, le=0.999)] = 0.0
    """Of the label term."""
    point_mean: Literal["images", "points"] = "images"
    """Several points an image (COCO-AB, a trace): mean over an image's points, then over images; or
    over all points of the batch.
    """
    attention: Literal["rrr", "gradmask", "harmonizer", "robustvit"] | None = None
    """A loss on where the network looks (`luab_train.train.guidance`), with a soft map of `target`
    in place of a mask.
    """
    lambda_attention: NotNegative = 1.0
    """Weight of that term; the four are of very different size."""
    map_sigma: Annotated[float, Meta(ge=1e-3)] = 0.2
    """Standard deviation, fractions of the crop, of the Gaussian of the distance to a target that
    makes its soft map.
    """
    reliability_weights: bool = False
    """Weigh each click by `click_reliability` of `luab-data calibrate --out`."""


@dataclass(frozen=True, kw_only=True)
class Optim:
    """Optimiser and schedule: linear warm-up, then a cosine to `min_lr` that counts from the first
    update, as timm's and DeiT's; stepped at every update.
    """

    name: str = "sgd"
    """A timm optimiser; its `sgd` has Nesterov momentum, `momentum` the plain one."""
    lr: NotNegative
    """Top of cosine and warm-up, for `batch_size` images an update; never rescaled behind your
    back. With a warm-up the rate ends it a little below: the cosine is on its way already.
    """
    weight_decay: NotNegative
    """Of weights; of biases and norms only with `decay_all`."""
    decay_all: bool = False
    """Decay biases and norm parameters too, as torchvision's reference training does."""
    momentum: Annotated[float, Meta(ge=0, le=0.9999)] = 0.9
    """Used by optimisers that have one."""
    warmup_epochs: NotNegative = 5.0
    """Length of the linear warm-up; the paper is silent for ResNets, so 5 is ours."""
    warmup_lr: NotNegative = 1e-6
    """Rate of the very first update when there is a warm-up."""
    min_lr: NotNegative = 0.0
    """Where the cosine ends."""
    clip_grad: Annotated[float, Meta(ge=1e-12)] | None = None
    """Largest gradient norm; none is off."""
    accumulate: Count = 1
    """Backward passes per update; `batch_size` images are split over them. The losses are those of
    the whole; batch-norm statistics, dropout and Mixup are of each part, as of each process.
    """
    ema: Annotated[float, Meta(ge=0, le=0.999999)] | None = None
    """Decay of an exponential moving average of the weights, which is then what is validated and
    saved; none is off.
    """
    precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """`auto`: bf16 on GPUs that have it, else fp16 on CUDA, else full precision."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How a machine gets through the recipe."""

    channels_last: bool = False
    """Memory layout of images and convolutions in training; faster on GPUs with fp16 or bf16, and
    on CPUs.
    """
    compile: bool = False
    """torch.compile the network; minutes of compilation, then faster steps."""
    deterministic: bool = False
    """Refuse CUDA kernels whose result changes from run to run; on a CPU runs repeat anyway."""
    checkpoint_every: Count | None = None
    """Updates between two checkpoints within an epoch; none saves after epochs alone."""
    tracker: str | None = None
    """`tensorboard` (needs that package), or any tracker that accelerate knows, e.g. `wandb`."""
    keep_best: Best | None = None
    """What chooses the epoch whose weights are kept too, as `best.safetensors`; reports and
    evaluations take the last epoch all the same.
    """
