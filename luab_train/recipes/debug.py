"""Small enough for two CPU cores; says nothing about ImageNet."""

from __future__ import annotations

from luab_train.recipe import Data, Loss, Model, Optim, Recipe


def tiny() -> Recipe:
    """Timm's 0.37 M parameter `test_resnet` at 64 px, 15 epochs on a CPU; choose the arm with
    --target.
    """
    return Recipe(
        name="debug:tiny",
        data=Data(
            image_size=64,
            eval_resize=64,
            interpolation="bilinear",
            crop_scale=(0.25, 1.0),
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
