"""What a run is, in one frozen value: data, model, loss, optimiser, and nothing that depends on a
machine. Its sections are in `luab_train.sections`; here is what they may be together.

A recipe is a Python function without arguments that returns a `Recipe`, found by its name
(`luab_train/recipes/`). The command line changes single fields through `override`; what was really
used is written to `RUN/recipe.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from luab_data.errors import DatasetError, OptionError
from luab_data.kinds import kind_of
from luab_train.sections import (
    COCO_TARGETS,
    OUTLINES,
    TRACE_TARGETS,
    Data,
    Engine,
    Loss,
    Mix,
    Model,
    Optim,
    Target,
)
from luab_train.settings import Count, check_fields, parse_json


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run, but for the folders. Build a variant with `dataclasses.replace` or `override`."""

    name: str
    """What the run is called in tables and records; `module:function` of ours."""
    model: Model
    optim: Optim
    data: Data = field(default_factory=Data)
    mix: Mix = field(default_factory=Mix)
    engine: Engine = field(default_factory=Engine)
    loss: Loss = field(default_factory=Loss)
    target: Target = "click"
    """Where the points come from, see `luab_train.data.targets`; `none` trains on labels alone."""
    epochs: Count
    """Passes over the training images."""
    batch_size: Count
    """Images per update over all processes."""
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    """Decides initial weights, data order, augmentation and drawn targets."""

    # Changing these between a run and its continuation changes no number.
    RESULT_NEUTRAL = frozenset(
        {
            *("data.num_workers", "data.cache"),
            *("engine.checkpoint_every", "engine.tracker", "engine.keep_best"),
            "data.corrupt_images",  # a run that raises has met none
        }
    )

    def __post_init__(self) -> None:
        check_fields(self)
        try:
            kind_of({"dataset": self.data.dataset})
        except DatasetError as error:
            raise OptionError(f"data.dataset {error}") from error
        for key in ("crop_scale", "crop_ratio"):
            low, high = getattr(self.data, key)
            if not 0 < low <= high or (key == "crop_scale" and high > 1):
                raise OptionError(
                    f"data.{key} is {low},{high}; expected 0 < low <= high <= 1 (scale)"
                )
        self._check_combinations()

    @property
    def point_per_class(self) -> bool:
        """Whether an image has a point for each class, not one or a trace for all of it."""
        return self.data.several_labels and self.target not in TRACE_TARGETS

    def _check_combinations(self) -> None:
        attention = self.model.point_head == "attention"
        regression = self.model.point_head == "regression"
        several, dataset = self.data.several_labels, f"data.dataset={self.data.dataset}"
        outline = self.target in OUTLINES
        guided = self.loss.attention is not None
        per_class, warmup = self.point_per_class, self.optim.warmup_epochs
        size, resize = self.data.image_size, self.data.eval_resize
        wrong = {
            f"data.eval_resize is {resize}, less than data.image_size {size}; a centre crop cannot"
            " be larger than what it is cut from": resize < size,
            f"data.std is {self.data.std}; expected three numbers above 0": min(self.data.std) <= 0,
            "model.attentive_pooling needs model.point_head=attention": (
                self.model.attentive_pooling and not attention
            ),
            "target dwell_time is a number, not a place; expected model.point_head=regression": (
                self.target == "dwell_time" and not regression
            ),
            "target trace is a map; expected model.point_head=attention or grounding": (
                self.target == "trace" and regression and not (guided and not self.loss.lambda_reg)
            ),
            f"target {self.target} is an area, not a place; expected loss.attention, and"
            " loss.lambda_reg=0": outline and (not guided or self.loss.lambda_reg > 0),
            "loss.attention asks for a place or an area; target dwell_time is none": (
                guided and self.target == "dwell_time"
            ),
            f"loss.attention is of one label an image; {dataset} has several": guided and several,
            "loss.attention has no map of mixed images; expected mix.mixup=0, mix.cutmix=0 and"
            " mix.paste=none": guided and self.mix.on,
            "loss.attention takes gradients of gradients, which torch.compile does not; expected"
            " engine.compile=false": guided and self.engine.compile,
            f"{dataset} has several labels an image; expected loss.classification=bce": (
                several and self.loss.classification != "bce"
            ),
            f"{dataset} has a point per class; expected model.point_head=regression or grounding": (
                per_class and attention
            ),
            f"{dataset} has no target {self.target}; expected one of"
            f" {', '.join(COCO_TARGETS)}": per_class and self.target not in COCO_TARGETS,
            f"loss.label_smoothing is of one label an image; {dataset} has several": (
                several and self.loss.label_smoothing > 0
            ),
            "data.notebook_labels is about icons; expected data.dataset=coco-ab": (
                self.data.notebook_labels and not per_class
            ),
            "loss.reliability_weights weighs clicks of ImageNet-AB; expected target click or"
            " calibrated": self.loss.reliability_weights
            and (several or self.target not in ("click", "calibrated")),
            f"data.point_noise moves places; target {self.target} is none": (
                self.data.point_noise > 0 and self.target in ("dwell_time", *OUTLINES)
            ),
            f"data.crop_keep needs one place an image; target {self.target} of {dataset} is none": (
                self.data.crop_keep > 0
                and (per_class or self.target in ("none", "trace", "dwell_time", *OUTLINES))
            ),
            "mix.paste is a way of mixing of its own; expected mix.mixup=0 and mix.cutmix=0": (
                self.mix.paste is not None and (self.mix.mixup > 0 or self.mix.cutmix > 0)
            ),
            f"mix.paste needs one place an image; target {self.target} of {dataset} is none": (
                self.mix.paste is not None
                and (per_class or self.target in ("none", "trace", "dwell_time", *OUTLINES))
            ),
            "model.pretrained and model.checkpoint both say where weights come from; expected one,"
            " e.g. --set model.pretrained=false": (
                self.model.pretrained and self.model.checkpoint is not None
            ),
            f"optim.min_lr {self.optim.min_lr:g} is above optim.lr {self.optim.lr:g}; the rate"
            " would rise": self.optim.min_lr > self.optim.lr,
            f"optim.warmup_lr {self.optim.warmup_lr:g} is above optim.lr {self.optim.lr:g}; the"
            " warm-up would go down": warmup > 0 and self.optim.warmup_lr > self.optim.lr,
            f"batch_size {self.batch_size} in optim.accumulate {self.optim.accumulate} parts;"
            " expected a multiple": self.batch_size % self.optim.accumulate > 0,
            f"optim.warmup_epochs is {warmup:g} of {self.epochs} epochs; the rate would never come"
            " down. Lower it: --set optim.warmup_epochs=0": warmup >= self.epochs and warmup > 0,
        }
        for message, found in wrong.items():
            if found:
                raise OptionError(message)


def from_json(text: str, *, where: str = "recipe") -> Recipe:
    """Read what `to_json` wrote. Fields that are absent (an older run) take their default, or what
    there was before them; unknown ones raise.
    """
    return parse_json(Recipe, text, where=where, absent={"data.backend": "pillow"})
