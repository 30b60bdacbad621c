"""COCO-AB: action sequences, class recall against size, superclasses. Appendix J, K.

Shares are drawn in percent.
"""

from __future__ import annotations

import numpy as np

from luab_data.figures.charts import draw_bars, draw_counts, draw_curve, label_points
from luab_data.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    SKY,
    VERMILION,
    AxesGrid,
    Estimates,
    Tables,
)  # fmt: skip
from luab_data.ragged import floats
from luab_data.schema import COCO_CLASSES, COCO_SUPERCLASSES
from luab_data.statistics.coco_icons import MIN_OCCURRENCES, SMALLEST, sequence_table, size_outliers
from luab_data.statistics.estimate import Estimate
from luab_data.words import short_count

MOST_SEQUENCES = 8
"""The most frequent ones that are named; the others are one bar."""
NUM_NAMED = 8
"""Classes of size_outliers that are named."""
_LONGEST_NAME = 26
_LEAST = 0.5  # left end of a logarithmic axis of counts


def draw_sequences(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
    """How often each sequence of actions on an icon occurs, on a logarithmic axis. Fig. J."""
    ax, table = axes[0, 0], sequence_table(found["action_sequences"])
    number = floats(table["count"])
    total, top = number.sum(), MOST_SEQUENCES
    shown = min(top, len(number))
    names = [_cut(short_sequence(name)) for name in table["sequence"].to_pylist()[:shown]]
    colours = [BLUE if valid else VERMILION for valid in table["is_valid"].to_pylist()[:shown]]
    if len(number) > top:
        names, colours = [*names, f"{len(number) - top} others"], [*colours, GREY]
        number = np.append(number[:top], number[top:].sum())
    ax.barh(np.arange(len(names)), number, 0.7, color=colours, linewidth=0)
    ends = number.copy()
    low, high = (total * floats(table[name])[:shown] for name in ("low", "high"))
    ends[:shown] = np.fmax(ends[:shown], high)
    ax.hlines(np.arange(shown), np.maximum(low, _LEAST), high, color=BLACK, linewidth=1.0)
    for place, (value, end) in enumerate(zip(number, ends, strict=True)):
        ax.annotate(
            f"{short_count(value)} ({100 * value / total:.2g} %)", (end, place), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize=7,
        )  # fmt: skip
    ax.set_yticks(np.arange(len(names)), names)
    ax.grid(False, axis="y")
    ax.set(xscale="log", ylim=(max(len(names), 1) - 0.4, -0.6), xlabel="icons")
    # Bars take the left 58 % of the logarithmic axis, numbers the rest.
    longest = max(float(ends.max(initial=1)), 1) / _LEAST
    ax.set_xlim(_LEAST, _LEAST * longest ** (1 / 0.58))


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def short_sequence(sequence: str) -> str:
    """A sequence with repeated pairs folded: add-remove-add-remove-add is (add-remove)×2-add."""
    actions = sequence.split("-")
    folded: list[str] = []
    k = 0
    while k < len(actions):
        pair, times = actions[k : k + 2], 1
        while len(pair) == 2 and actions[k + 2 * times : k + 2 * times + 2] == pair:
            times += 1
        if times > 1:
            folded.append(f"({'-'.join(pair)})×{times}")
            k += 2 * times
        else:
            folded.append(actions[k])
            k += 1
    return "-".join(folded)


def draw_class_recall(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
    """Recall of each class against the size of its objects; the farthest off are named. Fig. K.

    (80,) recalls, NaN classes are left out, those in few images are hollow; (80,) mean bins of the
    object's area; Pearson's r over the classes of MIN_OCCURRENCES images, if known, is the title.
    """
    ax, recall, size = axes[0, 0], found["class_recall"], found["class_size"]
    correlation = found.get("recall_size_correlation")
    x, y = size.value, 100 * recall.value
    seen = np.isfinite(x) & np.isfinite(y)
    enough = np.flatnonzero(seen & (recall.n >= MIN_OCCURRENCES))
    few = np.flatnonzero(seen & (recall.n < MIN_OCCURRENCES))
    area = 4 + 26 * np.sqrt(recall.n / max(float(recall.n.max(initial=1)), 1))
    ax.scatter(x[enough], y[enough], s=area[enough], color=BLUE, alpha=0.7, linewidth=0)
    ax.scatter(x[few], y[few], s=area[few], facecolor="none", edgecolor=SKY, linewidth=0.6)
    ax.set(xlabel="size of the class, mean bin of box area", ylabel="recall, %")
    ax.margins(0.08)
    if correlation is not None:
        known = np.isfinite(correlation.value)
        ax.set_title(
            f"$r$ = {_with_interval(correlation)}" if known
            else f"$r$ unknown: too few classes in {MIN_OCCURRENCES} images or more"
        )  # fmt: skip
    if len(enough) < 3 or np.ptp(x[enough]) == 0:
        return
    slope, start = np.polyfit(x[enough], y[enough], 1)
    ends = np.array([x[enough].min(), x[enough].max()])
    ax.plot(ends, start + slope * ends, color=VERMILION, linewidth=1.2, zorder=1)
    names = [*size_outliers(recall, size, num=NUM_NAMED)]
    far = [COCO_CLASSES.index(name) for name in names]
    label_points(ax, x[far], y[far], names, others=np.column_stack([x[seen], y[seen]]))


def draw_recall_by_size(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
    """Recall of icons against the size of the object, in bins of its share of the image.

    (num_bins,) logarithmic bins of the area from SMALLEST to 1.
    """
    ax, estimate = axes[0, 0], found["recall_by_size"]
    edges = np.geomspace(SMALLEST, 1, len(estimate.value) + 1)
    middle = np.sqrt(edges[:-1] * edges[1:])
    draw_curve(ax, middle, estimate, colour=GREEN)
    draw_counts(ax, middle, estimate.n)
    ax.set(
        xscale="log", xlim=(SMALLEST, 1), xlabel="largest box of the class, share of the image",
        ylabel="recall, %",
    )  # fmt: skip


def draw_superclasses(axes: AxesGrid, found: Estimates, tables: Tables) -> None:
    """Share of a page's time on each superclass, and how often it is visited.

    (11,) shares, in the order of the tool; (11,) mean visits of a page, if known, at the right.
    """
    ax, time, visits = axes[0, 0], found["superclass_time_share"], found.get("superclass_visits")
    draw_bars(ax, [*COCO_SUPERCLASSES], time, colour=GREEN, horizontal=True)
    ax.set_xlabel("share of the page's time, %")
    if visits is not None:
        across = ax.get_yaxis_transform()
        ax.text(1.0, -0.75, "visits", transform=across, ha="right", va="bottom", fontsize=7)
        for place, value in enumerate(visits.value):
            if np.isfinite(value):
                ax.text(
                    1.0, place, f"{value:.2f}", transform=across, ha="right", va="center",
                    fontsize=7, color=BLACK,
                )  # fmt: skip
        ends = 100 * np.where(np.isfinite(time.high), time.high, time.value)
        ax.set_xlim(0, 1.2 * max(float(np.nanmax(ends)) if np.isfinite(ends).any() else 1, 1))


def _with_interval(estimate: Estimate) -> str:
    text = f"{float(estimate.value):.2f}"
    if np.isfinite(estimate.low):
        text += f" ({float(estimate.low):.2f} to {float(estimate.high):.2f})"
    return text
