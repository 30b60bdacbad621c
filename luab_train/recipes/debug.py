"""Small enough for two CPU cores; says nothing about ImageNet."""

from __future__ import annotations

from luab_train.recipe import Data, Loss, Model, Optim, Recipe


def tiny() -> Recipe:
    """A 0.37 M parameter ResNet at 64 px on a CPU, 15 epochs; choose the arm with --target.

    Run:     luab-train run debug:tiny --data imagenet-ab --images TRAIN --val VAL
             --target click --out runs/tiny_click_0
    Expect:  on 20 classes of Tiny ImageNet (10,000 images, simulated clicks), our runs of
             2026-11-22, click arm, seeds 0 and 2: validation accuracy .69 and .67, localisation of
             off-centre boxes .18 and .18 (random arm: .04 and .03). The fastest epoch took 26 s on
             one core.
    Source:  ours; timm's `test_resnet`, AdamW.
    Chosen:  lr, lambda_reg and crop_scale on 20 classes of Tiny ImageNet, by the click arm's
             validation after 6 epochs, seed 0. With lambda_reg 10 the point term was too weak to
             be learned by so small a network in so few epochs: off-centre localisation stayed
             that of an arm without clicks.
    """
    return Recipe(
        name="debug:tiny",
        data=Data(
            image_size=64,
            eval_resize=64,
            interpolation="bilinear",
            crop_scale=(0.5, 1.0),
            color_jitter=0.2,
            num_workers=0,
            cache="memory",
        ),
        model=Model(name="test_resnet"),
        loss=Loss(lambda_reg=100.0, beta=1.0),
        optim=Optim(name="adamw", lr=6e-3, weight_decay=0.05, warmup_epochs=1.0),
        epochs=15,
        batch_size=64,
        target="click",
    )
