"""What a table is: columns, and rows of cells, each a number with all that is known of it; and
which tables there are, with what the paper prints in them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from luab_train.evaluate.benchmark import Benchmark
from luab_train.evaluate.benchmarks import BENCHMARKS, BY_NAME
from luab_train.metrics.intervals import Estimate
from luab_train.report.arms import VALIDATION

Key = tuple[str, str]
"""Benchmark, or test set, and metric."""
Kind = Literal["quoted", "ours", "baseline", "difference"]
KINDS: tuple[Kind, ...] = ("quoted", "ours", "baseline", "difference")
ARROWS = {"up": " ↑", "down": " ↓", "": ""}
RAISED = dict(zip("ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", "abcdefghijklmnoprstuvwxyz", strict=True))
"""Letters as they stand beside a number."""

Status = Literal["value", "missing", "failed", "none", "empty", "not printed", "quoted"]
"""`missing`: not evaluated. `failed`: its evaluation ended with an error. `none`: evaluated, but
there is no such number. `empty`: nothing to evaluate. `quoted`: as printed in the paper. `not
printed`: not in the paper."""


class Column(NamedTuple):
    """One column.

    Args:
        benchmark, metric: of the rows.
        title: its head.
        direction: which way is better; empty where neither is.
        digits: after the point.
        factor: from the rows' unit to the one that is shown.
        by_image: predictions of each image may be kept, which two models are compared on.
    """

    benchmark: str
    metric: str
    title: str
    direction: Literal["up", "down", ""] = "up"
    digits: int = 1
    factor: float = 1.0
    by_image: bool = True

    @property
    def key(self) -> Key:
        """Of the row."""
        return self.benchmark, self.metric

    @property
    def head(self) -> str:
        """Title with its arrow."""
        return self.title + ARROWS[self.direction]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number, in the unit of its column.

    Args:
        status: what it is; but for `value` there is no number of ours.
        value, low, high: NaN where there is none.
        n: images, or seeds, that the interval is over; 0 if unknown.
        over: `images`, `seeds`, or empty: what the interval is over.
        p_value: of a difference; NaN where no test was made.
        test: its name.
        verdict: of a difference: 1 better, -1 worse, 0 when the interval holds 0 or there is none.
        text: in place of a number.
        marks: what nobody may read it without, e.g. `1,000 of 50,000 images`.
        note: what else is known of it.
    """

    status: Status
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    over: str = ""
    p_value: float = math.nan
    test: str = ""
    verdict: int = 0
    text: str = ""
    marks: tuple[str, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, found: Estimate, over: str) -> Cell:
        """An estimate; `none` if it has no value."""
        if not math.isfinite(found.value):
            return cls(status="none")
        over = over if math.isfinite(found.low) else ""
        return cls(status="value", value=found.value, low=found.low, high=found.high, n=found.n,
                   over=over, note=found.why_none)  # fmt: skip


class TableRow(NamedTuple):
    """A row; `cells` are as many as the table has columns."""

    name: str
    cells: tuple[Cell, ...]
    kind: Kind = "ours"
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table with what must be said below it.

    Args:
        key: of files and labels.
        title, caption: of the table; what the columns are, and in what unit.
        columns: left to right.
        rows: in order, kind by kind; none in a layout, which is yet to be filled.
        notes: sentences.
        form: `wide` tables are read; `list`s are long, and read by those who look something up;
            `curves` are numbers of a figure.
        marks: what marks a cell -> its letter, or its number where there are no more letters.
    """

    key: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...] = ()
    notes: tuple[str, ...] = ()
    form: Literal["wide", "list", "curves"] = "wide"
    marks: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        told = dict.fromkeys(m for row in self.rows for cell in row.cells for m in cell.marks)
        letters = [*RAISED, *(f"({k})" for k in range(len(told)))]
        object.__setattr__(self, "marks", dict(zip(told, letters, strict=False)))

    def of_kind(self, kind: Kind) -> list[TableRow]:
        """Rows in order."""
        return [row for row in self.rows if row.kind == kind]

    @property
    def is_narrow(self) -> bool:
        """Whether there is room for intervals beside the numbers."""
        return len(self.columns) <= 6


# --- which there are ------------------------------------------------------------------------------


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

ROBUSTNESS = Table(
    "robustness",
    "Classification and robustness",
    "The paper's Table 1, percent; IN-O is an AUROC, BGC-gap a difference in points.",
    _columns([*_TABLE_1], short=_TABLE_1),
)


def _heads(entries: Sequence[Benchmark], *, detail: bool = False) -> dict[Key, str]:
    """Metrics that are in no table of the paper -> their heads, with the unit if it is not %."""
    return {
        (b.name, m.name): f"{b.title}: {m.title}" + f", {m.unit}" * (m.unit != "percent")
        for b in entries
        for m in b.metrics
        if m.detail == detail and (b.name, m.name) not in _TABLE_1
    }


_MORE = [b for b in BY_NAME.values() if b not in BENCHMARKS and b.name not in ("wsol", "coco")]
BESIDE = Table(
    "beside",
    "The same benchmarks by other metrics",
    "Percent, or as the head says. What the paper leaves open is taken both ways.",
    _columns([*_heads(BENCHMARKS)], short=_heads(BENCHMARKS)),
)
MORE = Table(
    "more",
    "What the paper does not have",
    "Percent, or as the head says.",
    _columns([*_heads(_MORE)], short=_heads(_MORE)),
)
DETAILS = tuple(
    Table(
        b.name,
        f"{b.title} in detail",
        "Percent, or as the head says.",
        _columns([*heads], short=heads),
        form="curves" if b.name == "in-c" else "list",
    )
    for b in BY_NAME.values()
    if (heads := _heads([b], detail=True))
)
"""Of one benchmark each; those of IN-C are drawn."""
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
    " the scores themselves, in logits: the mean over the other classes, or that to the worst.",
    _columns(
        [("coco", "map"), ("coco", "map_envelope"), ("coco", "v_worst"), ("coco", "v_random"),
         ("coco", "difference_worst"), ("coco", "difference")],
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
PAPERS = (ROBUSTNESS, WSOL, COCO, LOCALISATION)
"""What the paper has; a column that nobody evaluated is missing there, and left out elsewhere."""
LAYOUTS = (ROBUSTNESS, BESIDE, MORE, WSOL, COCO, LOCALISATION, *DETAILS)

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


# Of images with one label, and of those that may have several.
_VALIDATION = {
    False: {
        "accuracy": ("accuracy", "up", "num_images"),
        "localisation": ("localisation", "up", "boxed"),
        "localisation_off_centre": ("off-centre", "up", "off_centre"),
        "point_error": ("point error", "down", ""),
    },
    True: {"map": ("mAP", "up", "num_images")},
}
_UNITS = {
    False: "Accuracy and localisation in %, off-centre is localisation where the image's"
    " centre is in no box, point error in % of the image's side",
    True: "mAP, the mean of the average precisions of the classes present, in %",
}
VALIDATION_PANELS = {
    "accuracy": "validation accuracy, %",
    "localisation": "validation localisation, %: all boxes",
    "localisation_off_centre": "validation localisation, %: boxes off the centre",
    "map": "validation mAP, %",
}
"""Metric -> title of its panel among the training curves."""


def measured(several_labels: bool) -> tuple[str, ...]:
    """What runs are compared by; `label_loss` in nats, all others fractions.

    Args:
        several_labels: whether an image may have several.
    """
    return (*_VALIDATION[several_labels], "label_loss")


def validation_layout(
    name: str, several_labels: bool, sizes: Mapping[str, float], title: str
) -> Table:
    """The table of one test set of metrics.jsonl.

    Args:
        name: of the test set.
        several_labels: whether an image of the runs may have several.
        sizes: of the test set, by name.
        title: of the table.
    """
    columns = []
    for metric, (text, direction, size) in _VALIDATION[several_labels].items():
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
    caption = f"{_UNITS[several_labels]}; label loss in nats; minutes a run."
    return Table(f"validation-{name}".replace(" ", "-"), title, caption, tuple(columns))
