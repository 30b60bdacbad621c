"""What the demo trains, and how much of it.

lambda is the default of `Loss`. Network, image size, epochs, batch size and learning rate were
chosen for time on two cores and for the click arm's point error, on seeds 0 to 2. The accuracies of
all arms were on the screen too; none was searched for, and the verdict is not fit to be cited.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from luab_train.demo.scenes import Background
from luab_train.recipe import Data, Engine, Loss, Model, Optim, Recipe, Target

ARMS: tuple[Target, ...] = ("none", "random", "click")
"""Order of training within a seed; `none` is what the others are compared with."""

TEST_SETS: tuple[Background, ...] = ("same", "random", "next")
"""Backgrounds of the test scenes, see `luab_train.demo.scenes.background_class`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes of one demo.

    Args:
        num_train: training scenes.
        num_test: scenes per test set.
        size: side of a scene, px.
        epochs: per run.
        batch_size: images per update.
        seed: of the scenes and of the simulated annotators; runs have their own seeds, 0, 1, ...
    """

    num_train: int
    num_test: int
    size: int
    epochs: int
    batch_size: int
    seed: int = 0


FULL = Plan(num_train=2000, num_test=600, size=32, epochs=6, batch_size=32)
FAST = Plan(num_train=600, num_test=150, size=32, epochs=4, batch_size=16)


def recipe(plan: Plan) -> Recipe:
    """A small network from scratch, Eq. 1 of the paper.

    Scenes are cropped but not mirrored: a mirrored digit is not a digit.
    """
    return Recipe(
        name="demo",
        data=Data(
            image_size=plan.size,
            eval_resize=plan.size,
            interpolation="bilinear",
            crop_scale=(0.6, 1.0),
            flip=0.0,
            num_workers=0,
            cache="memory",
        ),
        model=Model(name="test_resnet"),
        loss=Loss(lambda_reg=10.0, beta=1.0),
        optim=Optim(name="adamw", lr=8e-3, weight_decay=0.05, warmup_epochs=0.5, precision="no"),
        engine=Engine(channels_last=True),
        epochs=plan.epochs,
        batch_size=plan.batch_size,
    )


def arm_recipe(plan: Plan, *, arm: Target, seed: int) -> Recipe:
    """The recipe of one run: arms of a seed differ in where the points come from, only there."""
    return replace(recipe(plan), target=arm, seed=seed)
