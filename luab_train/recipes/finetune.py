"""A trained network, trained on: where it looks, with clicks where others had masks."""

from __future__ import annotations

from luab_train.recipe import Recipe
from luab_train.recipes.paper import NONE, builds_on
from luab_train.sections import Data, Loss, Model, Optim


@builds_on(NONE)
def vit_s_robustvit() -> Recipe:
    """ViT-S/16 of timm, fine-tuned so that its relevance is about the click.

    Run:     luab-train run finetune:vit_s_robustvit --data imagenet-ab --images ILSVRC/train
             --val ILSVRC/val --val-boxes ILSVRC/Annotations/CLS-LOC/val
             --out runs/vit_s_robustvit_0
    8 GPUs:  torchrun --nproc-per-node 8 -m luab_train run finetune:vit_s_robustvit
             --data imagenet-ab --images ILSVRC/train --val ILSVRC/val
             --val-boxes ILSVRC/Annotations/CLS-LOC/val --out runs/vit_s_robustvit_0
    Expect:  not run by us yet.
    Source:  Chefer, Schwartz, Wolf, NeurIPS 2022 (arXiv 2206.01161) and hila-chefer/RobustViT.
    Paper:   3 images of each of 500 classes with their masks, 50 epochs of batches of 8, AdamW with
             decay 1e-4 and lr 2e-6 for this network (AR-S); .8 of the losses on relevance and .2 of
             confidence in the network's own answer.
    Ours:    a soft map of the click for a mask, about 3 images of all 1,000 classes, and the label
             term for confidence, at the same 4 to 1. The rate falls by a cosine; crops are the
             middle of the image or nearly so, mirrored in half of the cases.
    """
    return Recipe(
        name="finetune:vit_s_robustvit",
        data=Data(
            eval_resize=248,
            crop_scale=(0.8, 1.0),
            fraction=0.0023,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        model=Model(name="vit_small_patch16_224.augreg_in21k_ft_in1k", pretrained=True),
        loss=Loss(lambda_reg=0.0, attention="robustvit", lambda_attention=4.0),
        optim=Optim(name="adamw", lr=2e-6, weight_decay=1e-4, warmup_epochs=0.0),
        epochs=50,
        batch_size=8,
        target="click",
    )
