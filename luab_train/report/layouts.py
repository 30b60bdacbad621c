"""Which tables there are: their columns, and what the paper prints in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from luab_train.evaluate.benchmarks import BENCHMARKS, BY_NAME
from luab_train.metrics.robustness import C15, EXTRA, SEVERITIES
from luab_train.report.arms import VALIDATION
from luab_train.report.cells import Column, Key, Table


def _columns(keys: Sequence[Key], *, short: Mapping[Key, str] | None = None) -> tuple[Column, ...]:
    """Columns of metrics of our entries; `short` heads replace the metrics' titles."""
    columns = []
    for name, metric in keys:
        found = BY_NAME[name].metric(metric)
        assert found is not None
        digits = 1 if found.unit == "percent" else 2
        title = (short or {}).get((name, metric), found.title)
        columns.append(Column(name, metric, title, found.direction, digits))
    return tuple(columns)


_TABLE_1 = {(b.name, b.metrics[0].name): b.title for b in BENCHMARKS}
_OWN_TABLES = ("wsol", "coco")

ROBUSTNESS = Table(
    "robustness",
    "Classification and robustness",
    "The paper's Table 1, percent; IN-O is an AUROC, BGC-gap a difference in points.",
    _columns([*_TABLE_1], short=_TABLE_1),
)
_OTHERS = {
    (b.name, m.name): f"{b.title}: {m.title}"
    for b in BY_NAME.values()
    if b.name not in _OWN_TABLES
    for m in b.metrics
    if not m.detail and (b.name, m.name) not in _TABLE_1
}
BESIDE = Table(
    "beside",
    "What the paper does not print",
    "The same benchmarks by other metrics, and other benchmarks; percent, or as the head says.",
    _columns([*_OTHERS], short=_OTHERS),
)
WSOL = Table(
    "wsol",
    "Weakly supervised localisation",
    "The paper's Tables 4 and 5, percent: top-1 localisation at the best threshold on the split"
    " itself, and mPxAP on COCO. Beside them the same at a fixed threshold, and the family of"
    " metrics that is often taken for it.",
    _columns(
        [("wsol", "top1_loc"), ("wsol", "top1_loc_fixed"), ("wsol", "max_box_acc"),
         ("wsol", "max_box_acc_v2"), ("coco", "mpxap")]
    ),
)  # fmt: skip
COCO = Table(
    "coco",
    "COCO: accuracy and reliance on context",
    "The paper's Tables 6 and 7, percent; VOC is the same under the envelope of precision, and the"
    " paper does not say which of the two it prints. It gives no formula of its two context"
    " metrics: they compare the score of a class when the class itself is removed with its score"
    " when another one is, a random or the worst one; lower is better. V is our reading: how often"
    " the score is no lower without the class itself than without the other. D is the difference of"
    " the scores themselves, in logits.",
    _columns(
        [("coco", "map"), ("coco", "map_envelope"), ("coco", "v_worst"), ("coco", "v_random"),
         ("coco", "difference")],
        short={("coco", "map_envelope"): "mAP, VOC"},
    ),
)  # fmt: skip
LOCALISATION = Table(
    "localisation",
    "Where the model says the object is",
    "Percent. The paper draws these without numbers. The image's centre is what a model that"
    " learnt nothing about places would answer.",
    _columns(
        [("wsol", "point_in_box"), ("wsol", "peak_in_box"), ("wsol", "centre_in_box"),
         ("coco", "on_mask"), ("coco", "centre")]
    ),
)  # fmt: skip
CORRUPTIONS = Table(
    "in-c",
    "ImageNet-C by corruption and severity",
    "Top-1, percent.",
    tuple(
        Column("in-c", f"{name}-{severity}", f"{name} {severity}")
        for name in (*C15, *EXTRA)
        for severity in SEVERITIES
    ),
    form="curves",
)
LAYOUTS = (ROBUSTNESS, BESIDE, WSOL, COCO, LOCALISATION, CORRUPTIONS)

_PAPERS_ARMS = {"none": "baseline", "random": "random points", "click": "LUAB"}


def quoted_rows(layout: Table) -> dict[str, dict[Key, str]]:
    """Name of a row, which must never look like ours -> column -> as the paper prints it.

    What an entry quotes is all there is of the paper's numbers; its tables have no seeds and no
    intervals.
    """
    found: dict[tuple[str, str], dict[Key, str]] = {}
    for column in layout.columns:
        entry = BY_NAME.get(column.benchmark)
        printed = {} if entry is None else entry.quoted.get(column.metric, {})
        for row, text in printed.items():
            network, arm = row.rsplit(" ", 1)
            found.setdefault((network, arm), {})[column.key] = text
    networks = [*dict.fromkeys(network for network, _ in found)]
    return {
        f"paper (quoted): {network}, {said}": found[network, arm]
        for network in networks
        for arm, said in _PAPERS_ARMS.items()
        if (network, arm) in found
    }


_VALIDATION = {
    "imagenet-ab": {
        "accuracy": ("accuracy", "up", "num_images"),
        "localisation": ("localisation", "up", "boxed"),
        "localisation_off_centre": ("off-centre", "up", "off_centre"),
        "point_error": ("point error", "down", ""),
    },
    "coco-ab": {"map": ("mAP", "up", "num_images")},
}
_UNITS = {
    "imagenet-ab": "Accuracy and localisation in %, off-centre is localisation where the image's"
    " centre is in no box, point error in % of the image's side",
    "coco-ab": "mAP, the mean of the average precisions of the classes present, in %",
}
VALIDATION_PANELS = {
    "accuracy": "validation accuracy, %",
    "localisation": "validation localisation, %: all boxes",
    "localisation_off_centre": "validation localisation, %: boxes off the centre",
    "map": "validation mAP, %",
}
"""Metric -> title of its panel among the training curves."""


def measured(dataset: str) -> tuple[str, ...]:
    """What runs on a dataset are compared by; `label_loss` in nats, all others fractions."""
    return (*_VALIDATION[dataset], "label_loss")


def validation_layout(name: str, dataset: str, sizes: Mapping[str, float], title: str) -> Table:
    """The table of one test set of metrics.jsonl.

    Args:
        name: of the test set.
        dataset: of the runs.
        sizes: of the test set, by name.
        title: of the table.
    """
    columns = []
    for metric, (text, direction, size) in _VALIDATION[dataset].items():
        n = sizes.get(size, math.nan)
        of = f" (n = {int(n):,})" if math.isfinite(n) else ""
        if metric == "map" and "num_classes" in sizes:
            of = of.replace(")", f", {int(sizes['num_classes'])} classes)")
        columns.append(
            Column(
                VALIDATION + name, metric, text + of, direction, factor=100, by_image=False  # type: ignore[arg-type]
            )
        )  # fmt: skip
    columns += [
        Column(VALIDATION + name, "label_loss", "label loss", "down", digits=3, by_image=False),
        Column(VALIDATION + name, "minutes", "minutes", "", by_image=False),
    ]
    caption = f"{_UNITS[dataset]}; label loss in nats; minutes a run."
    return Table(f"validation-{name}".replace(" ", "-"), title, caption, tuple(columns))
