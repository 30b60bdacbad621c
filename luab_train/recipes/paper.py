"""What the paper says about its training runs, key by key, beside why ours are as they are.

Han et al., "Neglected Free Lunch: Learning Image Classifiers Using Annotation Byproducts", ICCV
2023 (arXiv 2303.17595). No training code was released, so what is here is what the text says; the
values of its symbols (lambda, beta and others) are unknown to us and stay keys without a claim.

`luab-train recipes NAME --diff` compares a recipe with its statements. A recipe of yours joins by

    @builds_on(DEIT)
    def mine() -> Recipe: ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar


class Said(NamedTuple):
    """One key in the paper."""

    value: Any
    """What a recipe holds if it follows; `ON` where the paper gives no strength; for evidence U the
    words of the paper, if there are any.
    """
    where: str
    evidence: Literal["P", "C", "U"]
    """P: the paper says it. C: read in the code it builds on. U: it does not say, or not to us."""


class Statements(NamedTuple):
    """The paper on one family of runs."""

    title: str
    said: dict[str, Said]
    """Dotted key of a recipe -> what the paper says. Other keys it does not mention."""
    why: dict[str, str]
    """Dotted key -> why our recipe has its value where the paper leaves it open or we depart."""


ON = "yes, no number"
_UNKNOWN = "value unknown to us"

_FORM = "Eq. 1"

_OBJECTIVE = {
    "loss.regression": Said("smooth_l1", _FORM, "P"),
    "loss.lambda_reg": Said(f"lambda, {_UNKNOWN}", _FORM, "U"),
    "loss.beta": Said(f"beta, {_UNKNOWN}", "the loss table", "U"),
    "model.point_head": Said("regression", f"beside {_FORM}", "P"),
}
_OBJECTIVE_WHY = {
    "loss.lambda_reg": "puts the point term at 0.4, beside a label term of 1-7; sweep it",
    "loss.beta": "on [0, 1] it is MSE / 2, and the loss table has two rows that are near equal",
    "model.point_output": "keeps the point inside the image",
    "data.crop_scale": "timm's and torchvision's default, and the released notebook's",
    "data.crop_ratio": "timm's and torchvision's default",
    "data.flip": "everyone's default",
    "data.interpolation": "not named; what the family is usually trained with",
    "data.eval_resize": "224 / 0.875, the usual centre crop",
    "optim.decay_all": "as the usual training of the family has it",
    "optim.warmup_lr": "DeiT's",
    "model.attention_sigma": "ours; not tuned",
}

_IMAGENET = _OBJECTIVE | {
    "data.dataset": Said("imagenet-ab", "section 5.1", "P"),
    "loss.classification": Said("ce", _FORM, "P"),
}

_STANDARD_KEYS = (
    "batch_size",
    "data.image_size",
    "optim.name",
    "optim.lr",
    "optim.momentum",
    "optim.weight_decay",
    "optim.min_lr",
)
_STANDARD_WHY = "the usual reading of 'standard 100 epochs'"

RESNET = Statements(
    "ResNets on ImageNet-AB, 100 epochs",
    _IMAGENET
    | {
        "epochs": Said(100, "section 5.1", "P"),
        "data.crop_scale": Said(ON, "section 5.1", "P"),
        "data.flip": Said(ON, "section 5.1", "P"),
        "data.color_jitter": Said(ON, "section 5.1", "P"),
        **dict.fromkeys(_STANDARD_KEYS, Said("'standard 100 epochs'", "section 5.1", "U")),
    },
    _OBJECTIVE_WHY
    | {
        "batch_size": _STANDARD_WHY,
        "data.image_size": _STANDARD_WHY,
        "data.color_jitter": "timm's and DeiT's strength",
        "data.interpolation": "torchvision's and timm's for ResNets; bicubic moves it by about 0.2",
        "optim.name": f"{_STANDARD_WHY}: SGD, plain momentum",
        "optim.lr": f"{_STANDARD_WHY}: 0.1 for 256 images",
        "optim.momentum": _STANDARD_WHY,
        "optim.weight_decay": _STANDARD_WHY,
        "optim.decay_all": f"{_STANDARD_WHY}: on all parameters",
        "optim.min_lr": "a cosine to 0: steps at 30/60/90 are known to leave ResNet-50 near 76.2,"
        " below the paper's baseline",
        "optim.warmup_epochs": "a large rate needs some, and DeiT has 5; ours",
    },
)

ATTENTIVE = Statements(
    "Attentive pooling on ImageNet-AB (our design)",
    {key: said for key, said in RESNET.said.items() if key != "loss.regression"}
    | {
        "model.attentive_pooling": Said(True, "appendix F", "P"),
        "model.point_head": Said("attention about the point, form unknown", "appendix F", "U"),
        "model.attention_sigma": Said(f"width, {_UNKNOWN}", "appendix F", "U"),
    },
    RESNET.why
    | {
        "model.point_head": "no points exist at test, so the network predicts the map; our design",
        "loss.lambda_reg": "kept from the ResNets, but it weighs a KL of maps here; sweep it",
    },
)

_APPENDIX = "appendix F"
_DEIT_CODE = "DeiT main.py"

DEIT = Statements(
    "ViTs on ImageNet-AB, DeiT's recipe, 300 epochs",
    _IMAGENET
    | {
        "epochs": Said(300, _APPENDIX, "P"),
        "batch_size": Said(1024, _APPENDIX, "P"),
        "optim.name": Said("adamw", _APPENDIX, "P"),
        "optim.lr": Said(1e-3, f"{_APPENDIX}: 5e-4 x batch / 512", "P"),
        "optim.weight_decay": Said(0.05, _APPENDIX, "P"),
        "optim.warmup_epochs": Said(5.0, _APPENDIX, "P"),
        "optim.min_lr": Said(1e-5, _APPENDIX, "P"),
        "loss.label_smoothing": Said(0.1, _APPENDIX, "P"),
        "model.drop_path_rate": Said(0.1, _APPENDIX, "P"),
        "data.random_erase": Said(0.25, _APPENDIX, "P"),
        "data.repeats": Said(3, _APPENDIX, "P"),
        "data.color_jitter": Said(ON, _APPENDIX, "P"),
        "mix.mixup": Said(0.8, f"{_APPENDIX}, called a probability", "P"),
        "mix.cutmix": Said(1.0, f"{_APPENDIX}, called a probability", "P"),
        "data.auto_augment": Said("rand-m9-mstd0.5-inc1", _DEIT_CODE, "C"),
        "data.image_size": Said(224, _DEIT_CODE, "C"),
        "data.crop_scale": Said(ON, "DeiT datasets.py", "C"),
        "data.flip": Said(ON, "DeiT datasets.py", "C"),
        "data.eval_resize": Said(256, f"{_DEIT_CODE}: crop ratio 0.875", "C"),
        "data.interpolation": Said("bicubic", "DeiT datasets.py", "C"),
        "mix.prob": Said(1.0, _DEIT_CODE, "C"),
        "mix.switch": Said(0.5, _DEIT_CODE, "C"),
        "optim.warmup_lr": Said(1e-6, _DEIT_CODE, "C"),
        "optim.clip_grad": Said(None, _DEIT_CODE, "C"),
        "optim.ema": Said(None, f"{_DEIT_CODE}: the raw weights are evaluated", "C"),
    },
    _OBJECTIVE_WHY
    | {
        "data.color_jitter": "timm leaves jitter out where RandAugment is on, so DeiT's code has"
        " none either",
        "data.point_geometry": "the released pipeline could not have moved points here; `stale`"
        " mimics that",
        "mix.points": "nothing is said of points in mixed images; `unmixed` is the other choice",
        "optim.decay_all": "timm's optimiser for DeiT spares biases and norms",
    },
)

_TABLE_D = "Table D"
_ON_COCO = "training on COCO"
_KEPT = "kept from DeiT's recipe; not named as changed"
_KEPT_KEYS = (
    "epochs",
    "batch_size",
    "optim.name",
    "optim.warmup_epochs",
    "optim.warmup_lr",
    "optim.min_lr",
    "loss.label_smoothing",
    "data.image_size",
    "data.eval_resize",
    "data.interpolation",
)

PRIMITIVE = Statements(
    "ViTs on ImageNet-AB, the primitive recipe",
    _IMAGENET
    | {
        "optim.lr": Said(1e-3, _TABLE_D, "P"),
        "optim.weight_decay": Said(0.3, _TABLE_D, "P"),
        "data.auto_augment": Said(None, _TABLE_D, "P"),
        "data.random_erase": Said(0.0, _TABLE_D, "P"),
        "model.drop_path_rate": Said(0.0, _TABLE_D, "P"),
        "mix.mixup": Said(0.0, _TABLE_D, "P"),
        "mix.cutmix": Said(0.0, _TABLE_D, "P"),
    },
    _OBJECTIVE_WHY
    | dict.fromkeys(_KEPT_KEYS, _KEPT)
    | {
        "data.repeats": "off with the other augmentation; not named",
        "data.color_jitter": "off with the other augmentation; not named",
    },
)

COCO = Statements(
    "COCO-AB, 100 epochs",
    _OBJECTIVE
    | {
        "data.dataset": Said("coco-ab", "Table 6", "P"),
        "loss.classification": Said("bce", f"{_FORM} for COCO", "P"),
        "epochs": Said(100, _ON_COCO, "P"),
        "optim.warmup_epochs": Said(5.0, _ON_COCO, "P"),
        "batch_size": Said(128, _ON_COCO, "P"),
        "data.image_size": Said(224, _ON_COCO, "P"),
        "optim.name": Said("adamp", _ON_COCO, "P"),
        "data.flip": Said(ON, _ON_COCO, "P"),
        "data.color_jitter": Said(0.4, _ON_COCO, "P"),
        "data.random_erase": Said(ON, _ON_COCO, "P"),
        "data.crop_scale": Said(f"a minimum of its own, {_UNKNOWN}", _ON_COCO, "U"),
        "loss.lambda_reg": Said("less for ResNet-18 and ViT-Ti than for the others", _FORM, "U"),
        "optim.lr": Said(_UNKNOWN, _ON_COCO, "U"),
        "optim.weight_decay": Said(_UNKNOWN, _ON_COCO, "U"),
    },
    _OBJECTIVE_WHY
    | {
        "loss.lambda_reg": "puts the point term at 0.02-0.04, beside a BCE of 0.7 that falls below"
        " 0.1; the order is the paper's, the numbers ours",
        "loss.point_mean": "an image counts once, however many classes it has",
        "data.crop_scale": "the released notebook's",
        "data.random_erase": "DeiT's probability",
        "data.interpolation": "what the starting weights were trained with",
        "optim.lr": "usual for fine-tuning; not tuned",
        "optim.weight_decay": "usual beside AdamP; not tuned",
        "optim.min_lr": "the cosine ends at 0; not named",
        "model.pretrained": "82,783 images do not train a ViT from scratch to what is reported",
    },
)

NONE = Statements("Ours, for two CPU cores; the paper has no such runs", {}, {})

_Function = TypeVar("_Function", bound=Callable[..., Any])
_BUILT_ON: dict[str, Statements] = {}


def builds_on(statements: Statements) -> Callable[[_Function], _Function]:
    """Decorator of a recipe function: what `--diff` compares it with."""

    def remember(function: _Function) -> _Function:
        _BUILT_ON[f"{function.__module__}:{function.__name__}"] = statements
        return function

    return remember


def statements_of(name: str) -> Statements | None:
    """What a recipe `module:function` builds on, once its module is imported; None if unsaid."""
    return _BUILT_ON.get(f"luab_train.recipes.{name}") or _BUILT_ON.get(name)
