"""The datasets behind the columns: where each is looked for, whose it is, how large.

Licences and sizes are what the sources say as far as we remember; read the source before use.
"""

from __future__ import annotations

from luab_train.evaluate.layouts import (
    Dataset,
    class_folders,
    corruptions,
    index_folders,
    superclass_folders,
    wnid_folders,
    wnids_of,
)

_ADVERSARIAL = "Hendrycks et al., Natural adversarial examples, CVPR 2021"
_IN9 = "Xiao et al., Noise or signal, ICLR 2021"
_IN9_FOLDER = r"(^|/)(bg[-_]?challenge|backgrounds?[-_]challenge(_data)?|imagenet-?9)$"

IN_1K = Dataset(
    name="ImageNet-1k validation",
    place="imagenet/val",
    pattern=r"^val$|(^|/)(imagenet|imagenet-?1k|in-?1k|ilsvrc[^/]*|cls-loc)/val(idation)?$"
    r"|(^|/)(imagenet|imagenet-?1k|ilsvrc2012_img)[-_]val$",
    check=wnid_folders,
    citation="Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015",
    licence="ImageNet terms, non-commercial research",
    size="6.3 GB",
)
IN_V2 = Dataset(
    name="ImageNet-V2, matched frequency",
    place="imagenetv2-matched-frequency-format-val",
    pattern=r"imagenet-?v2[^/]*matched-?frequency[^/]*$",
    check=index_folders,
    citation="Recht et al., Do ImageNet classifiers generalize to ImageNet?, ICML 2019",
    licence="MIT",
    size="1.2 GB",
)
IN_A = Dataset(
    name="ImageNet-A",
    place="imagenet-a",
    pattern=r"(^|/)imagenet-?a$",
    check=wnids_of("imagenet_a_synsets.txt"),
    citation=_ADVERSARIAL,
    licence="MIT",
    size="0.7 GB",
)
IN_R = Dataset(
    name="ImageNet-R",
    place="imagenet-r",
    pattern=r"(^|/)imagenet-?r$",
    check=wnids_of("imagenet_r_synsets.txt"),
    citation="Hendrycks et al., The many faces of robustness, ICCV 2021",
    licence="MIT",
    size="2.1 GB",
)
IN_C = Dataset(
    name="ImageNet-C",
    place="imagenet-c",
    pattern=r"(^|/)imagenet-?c$",
    check=corruptions,
    citation="Hendrycks and Dietterich, Benchmarking neural network robustness, ICLR 2019",
    licence="CC BY 4.0",
    size="75 GB",
)
IN_O = Dataset(
    name="ImageNet-O",
    place="imagenet-o",
    pattern=r"(^|/)imagenet-?o$",
    check=wnid_folders,
    citation=_ADVERSARIAL,
    licence="MIT",
    size="0.1 GB",
)
SKETCH = Dataset(
    name="ImageNet-Sketch",
    place="sketch",
    pattern=r"(^|/)(imagenet[-_]?)?sketch$",
    check=wnid_folders,
    citation="Wang et al., Learning robust global representations, NeurIPS 2019",
    licence="MIT",
    size="7 GB",
)
OBJECTNET = Dataset(
    name="ObjectNet",
    place="objectnet-1.0",
    pattern=r"(^|/)objectnet(-1\.0)?$",
    required=("images", "mappings"),
    check=class_folders("images"),
    telling=True,
    citation="Barbu et al., ObjectNet, NeurIPS 2019",
    licence="its own; never train or tune on it",
    size="190 GB",
)
SI_SCORE = tuple(
    Dataset(
        name=f"SI-Score {factor}",
        place=f"object_{factor}",
        pattern=rf"(^|/)object_{factor}$",
        required=("foreground_classes.csv",),
        check=class_folders(""),
        citation="Djolonga et al., On robustness and transferability, CVPR 2021",
        licence="Apache-2.0",
        size="?",
    )
    for factor in ("size", "location", "rotation")
)
BG_MIXED = Dataset(
    name="Backgrounds Challenge, mixed",
    place="bg_challenge",
    pattern=_IN9_FOLDER,
    required=("mixed_same/val", "mixed_rand/val", "in_to_in9.json"),
    check=superclass_folders("mixed_same/val", "mixed_rand/val"),
    telling=True,
    citation=_IN9,
    licence="ImageNet terms",
    size="0.3 GB",
)
BG_CHALLENGE = Dataset(
    name="Backgrounds Challenge",
    place="bg_challenge",
    pattern=_IN9_FOLDER,
    required=("original/val", "fg_mask/val", "only_bg_t/val", "in_to_in9.json"),
    check=superclass_folders("original/val", "fg_mask/val", "only_bg_t/val"),
    telling=True,
    citation=_IN9,
    licence="ImageNet terms",
    size="1 GB",
)
