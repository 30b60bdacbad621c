"""README.md's part about training, from the rows of `results/train.jsonl`.

The median by wall time decides, and the interval of that median says whether it can: if its ends
would be judged differently, the verdict is `not resolved`, however good the median looks. `load`
says how busy the machine was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median

from table import Row, _when, spread

_OTHERS = {"plain": "the same without points", "notebook": "the notebook's way"}


def interval(values: list[float]) -> tuple[float, float]:
    """Order statistics about the median that hold it with at least 90 % confidence, whatever the
    distribution: the narrowest such pair, or the extremes if there are fewer than 5 values.
    """
    found, count = sorted(values), len(values)
    skip, tail = 0, 0.5**count
    while (tail := tail + math.comb(count, skip + 1) * 0.5**count) <= 0.05:
        skip += 1
    return found[skip], found[-1 - skip]


def verdict(values: list[float], *, limit: float, aim: float | None, larger: bool = True) -> str:
    """`aim met`, `met`, or by how much of the limit it is missed, by the median; `not resolved`
    where the ends of the median's interval lie on both sides of the limit.
    """
    sign = 1 if larger else -1
    found = median(values)
    met = sign * found >= sign * limit
    text = "met" if met else f"**missed by {abs(found / limit - 1):.1%}**"
    if aim is not None and sign * found >= sign * aim:
        text = "aim met"
    low, high = interval(values)
    if (sign * low >= sign * limit) != (sign * high >= sign * limit):
        return f"not resolved (median: {text})"
    return text


def pairs(row: Row, key: str, arms: tuple[str, str], kind: str = "") -> list[float]:
    """First arm / second, pair by pair; `kind` is empty for wall time, or `_cpu`."""
    values = row[key]
    return [a / b for a, b in zip(values[arms[0] + kind], values[arms[1] + kind], strict=True)]


def _rates(row: Row, other: str) -> list[str]:
    """Ratios of ours to another arm by wall and CPU time, and their number."""
    wall, cpu = (pairs(row, "images_per_s", ("ours", other), kind) for kind in ("", "_cpu"))
    return [_within(wall), _within(cpu), str(len(wall))]


def _within(ratios: list[float]) -> str:
    """`median [interval of the median]`."""
    low, high = interval(ratios)
    return f"{median(ratios):.3f} [{low:.3f}, {high:.3f}]"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def loader_line(row: Row) -> str:
    """One loader against both others; a line each."""
    lines = []
    for other, limit, aim in (("plain", 0.95, 0.98), ("notebook", 1.3, None)):
        found = pairs(row, "images_per_s", ("ours", other))
        target = f"{limit:.2f}, {aim:.2f}" if aim else f"{limit:.2f}"
        cells = [f"{row['source']}, {row['workers']} workers", _OTHERS[other], *_rates(row, other)]
        cells += [target, verdict(found, limit=limit, aim=aim), _when(row)]
        lines.append(_line(cells))
    return "\n".join(lines)


def checkouts_line(row: Row) -> str:
    """One loader against itself before and against torchvision's; a line each."""
    jitter = f", jitter {row['color_jitter']:g}" if row["color_jitter"] else ""
    lines = []
    for other, limit in (("before", 1.7), ("plain", 1.6)):
        found = pairs(row, "images_per_s", ("ours", other), "_cpu")
        name = f"ours of {row['before']}" if other == "before" else "torchvision's by Pillow"
        cells = [f"{row['source']}, {row['workers']} workers{jitter}", name, *_rates(row, other)]
        cells += [f"{limit:.2f}", verdict(found, limit=limit, aim=None), _when(row)]
        lines.append(_line(cells))
    return "\n".join(lines)


def stages_line(row: Row) -> str:
    """Where the CPU time of an image goes, arm by arm."""
    arms = row["stages_ms"]
    names = list(next(iter(arms.values())))
    return "\n".join(
        _line([row["source"], arm, *(f"{found[name]:.2f}" for name in names)])
        for arm, found in arms.items()
    )


def _percent(ratios: list[float]) -> str:
    """`median [interval of the median]` of ratios as what they add, %."""
    low, high, middle = (100 * (ratio - 1) for ratio in (*interval(ratios), median(ratios)))
    return f"{middle:+.2f} % [{low:+.2f}, {high:+.2f}]"


def _signed(values: list[float]) -> str:
    """`median [interval of the median]`."""
    low, high = interval(values)
    return f"{median(values):+.2f} [{low:+.2f}, {high:+.2f}]"


def step_line(row: Row) -> str:
    """One network: what head and point loss add to an update."""
    wall, cpu = (pairs(row, "seconds", ("ours", "plain"), kind) for kind in ("", "_cpu"))
    added = [
        1000 * (a - b) for a, b in zip(row["seconds"]["ours"], row["seconds"]["plain"], strict=True)
    ]
    judged = row["model"] != "test_resnet"
    found = verdict(wall, limit=1.02, aim=1.005, larger=False)
    cells = [f"{row['model']}, {row['image_size']} px, batch {row['batch_size']}, {row['device']}"]
    cells += [_percent(wall), _percent(cpu), _signed(added), str(len(wall))]
    cells += ["+2 %, +0.5 %" if judged else "none", found if judged else "", _when(row)]
    return _line(cells)


def memory_line(row: Row) -> str:
    """One network: the most that either arm took."""
    ours, plain = (row["mib"][arm] for arm in ("ours", "plain"))
    added = [a - b for a, b in zip(ours, plain, strict=True)]
    cells = [f"{row['model']}, {row['image_size']} px, batch {row['batch_size']}, {row['device']}"]
    cells += [f"{median(ours):.0f}", f"{median(plain):.0f}", spread(added, 1), str(len(ours))]
    return _line([*cells, _when(row)])


def loop_line(row: Row) -> str:
    """One network: our loop against timm's."""
    cells = [f"{row['model']}, {row['image_size']} px, batch {row['batch_size']}, {row['device']}"]
    cells += [f"{row['workers']} workers", *_rates(row, "timm")]
    return _line([*cells, _when(row)])


# Part -> (a row's line or lines, title, head). Stages are named by the rows.
_TABLES: dict[str, tuple[Callable[[Row], str], str, str]] = {
    "loader": (
        loader_line,
        "Loader: images/s of ours / of another",
        "images | another | wall [interval] | CPU | n | at least, aim | verdict | when",
    ),
    "checkouts": (
        checkouts_line,
        "Loader: images/s of ours / of ours before and torchvision's; CPU time decides",
        "images | another | wall [interval] | CPU | n | at least | verdict | when",
    ),
    "profile": (stages_line, "Where the loader's time goes: ms of CPU an image", ""),
    "step": (
        step_line,
        "An update with point head and loss, against the same model without",
        "update | wall [interval] | CPU | ms added | n | at most, aim | verdict | when",
    ),
    "memory": (
        memory_line,
        "Memory of an update: the most of a process of its own, Python and torch included",
        "update | with head, MiB | without, MiB | added, MiB | n | when",
    ),
    "loop": (
        loop_line,
        "Our training loop / timm's: images/s",
        "network | loading | wall [interval] | CPU | n | when",
    ),
}


def _key(row: Row) -> tuple[object, ...]:
    """Rows of the same key replace one another."""
    names = ("part", "source", "workers", "color_jitter", "model", "image_size", "device")
    return tuple(row.get(name) for name in names)


def training_text(rows: list[Row]) -> str:
    """The tables of training: the last row of each kind, and what was missed."""
    latest = list({_key(row): row for row in rows}.values())
    if not latest:
        return "Nothing was measured yet.\n"
    text = []
    for part, (line, title, head) in _TABLES.items():
        shown = [row for row in latest if row["part"] == part]
        if shown:
            head = head or _stages_head(shown)
            rule = "|".join("---" for _ in head.split("|"))
            text += [f"### {title}\n", f"| {head} |", f"|{rule}|", *map(line, shown), ""]
    text += ["### Missed or not resolved\n", *(_misses(latest) or ["None of the targets above."])]
    return "\n".join([*text, _PROFILE, "", *_origins(latest)]) + "\n"


_PROFILE = (
    "- Profile of the loaders: [`train-loader-profile.txt`](results/train-loader-profile.txt)"
)


def _stages_head(rows: list[Row]) -> str:
    names = next(iter(rows[0]["stages_ms"].values()))
    return " | ".join(["images", "arm", *names])


def _misses(rows: list[Row]) -> list[str]:
    """Every line of the tables whose verdict is a miss, or none."""
    lines = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for row in rows
        if row["part"] in ("loader", "step", "checkouts")
        for line in _TABLES[row["part"]][0](row).splitlines()
    ]
    return [
        f"- {cells[0]}, {cells[1]}: {cells[-2].replace('**', '')}"
        for cells in lines
        if "missed" in cells[-2] or "not resolved" in cells[-2]
    ]


def _origins(rows: list[Row]) -> list[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        packages = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
        key = (f"{row['threads']} torch threads; {packages}", row["device"])
        found.setdefault(key, []).append(f"{row['part']} {row['load']:.1f}")
    return [
        f"- {device}, {text}; load before: {', '.join(sorted(set(loads)))}"
        for (text, device), loads in found.items()
    ]
