"""[I/O] `README.md`'s tables from the result rows; run as a script, writes them anew.

A target stands here once, with the number that decides it. What was not measured has no line; what
was missed says by how much.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import narratives

FOLDER = Path(__file__).resolve().parent
README = FOLDER / "README.md"
RESULTS = FOLDER / "results" / "convert.jsonl"
ANALYSIS_RESULTS = FOLDER / "results" / "analyse.jsonl"
SUITE_RESULTS = FOLDER / "results" / "eval.jsonl"
WSOL_RESULTS = FOLDER / "results" / "wsol.jsonl"
TRAIN_RESULTS = FOLDER / "results" / "train.jsonl"
_END = "<!-- end -->"

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One target of speed or memory that was set before it was measured.

    Args:
        comparison: the row it is read from; a prefix that ends in `/` takes any of the dataset's.
        what: the quantity, for the table.
        value: result row -> (number that decides, text for the table).
        at_least: the target; `aim`: the better one.
        larger: whether larger is better.
        unit: written after target and aim.
    """

    comparison: str
    what: str
    value: Callable[[list[Row]], tuple[float, str]]
    at_least: float
    aim: float | None = None
    larger: bool = True
    unit: str = "x"

    def verdict(self, found: float) -> str:
        """`aim met`, `met` or by how much the target is missed."""

        def reached(limit: float) -> bool:
            return found >= limit if self.larger else found <= limit

        if self.aim is not None and reached(self.aim):
            return "aim met"
        if reached(self.at_least):
            return "met"
        short = 1 - found / self.at_least if self.larger else found / self.at_least - 1
        return f"**missed by {short:.0%}**"


def spread(values: Iterable[float], digits: int = 2) -> str:
    """`median (min-max)`."""
    found = sorted(values)
    return f"{median(found):.{digits}f} ({found[0]:.{digits}f}-{found[-1]:.{digits}f})"


def ratios(row: Row, arms: tuple[str, str] = ("baseline", "ours"), key: str = "wall_s") -> Any:
    """The ratio of two arms, pair by pair."""
    return [pair[arms[0]][key] / pair[arms[1]][key] for pair in row["pairs"]]


def _wall_ratio(rows: list[Row]) -> tuple[float, str]:
    found = ratios(rows[-1])
    return median(found), f"{spread(found)}, n = {len(found)}"


def _peak(rows: list[Row]) -> tuple[float, str]:
    found = [pair["ours"]["tree_rss_mib"] for row in rows for pair in row["pairs"]]
    return max(found), f"{max(found):.0f} (median {median(found):.0f}), n = {len(found)}"


def _size(rows: list[Row]) -> tuple[float, str]:
    size = rows[-1]["out_bytes"]["ours"]["default"] / rows[-1]["input"]["bytes"]
    everything = sum(rows[-1]["out_bytes"]["ours"].values()) / rows[-1]["input"]["bytes"]
    return size, f"{size:.3f} (all tables {everything:.3f})"


def cost_ratios(row: Row, *, net: bool) -> list[float]:
    """Cost per record of the large log over that of the small one; net of start-up or not."""
    small, large = row["smaller"]["records"], row["input"]["records"]

    def cost(pair: Row, arm: str, records: int) -> float:
        return float(pair[arm]["wall_s"] - (pair["start"]["wall_s"] if net else 0)) / records

    return [cost(p, "ours", large) / cost(p, "smaller", small) for p in row["pairs"]]


def _cost(rows: list[Row]) -> tuple[float, str]:
    net, gross = (cost_ratios(rows[-1], net=net) for net in (True, False))
    return median(net), f"{spread(net)}, n = {len(net)}; start-up included {spread(gross)}"


def _peak_growth(rows: list[Row]) -> tuple[float, str]:
    found = ratios(rows[-1], ("ours", "smaller"), "tree_rss_mib")
    return median(found), f"{spread(found)}, n = {len(found)}"


TARGETS = (
    Target(comparison="imagenet-ab/hf", what="wall: HF datasets / ours", value=_wall_ratio,
           at_least=6, aim=10),
    Target(comparison="imagenet-ab/reference", what="wall: reference / ours", value=_wall_ratio,
           at_least=12, aim=25),
    Target(comparison="coco-ab/json", what="wall: json.load + loop + pandas / ours",
           value=_wall_ratio, at_least=4, aim=6),
    Target(comparison="imagenet-ab/", what="peak memory of ours, whole tree, any run", value=_peak,
           at_least=600, aim=350, larger=False, unit=" MiB"),
    Target(comparison="coco-ab/", what="peak memory of ours, whole tree, any run", value=_peak,
           at_least=400, aim=250, larger=False, unit=" MiB"),
    Target(comparison="imagenet-ab/scaling", what="cost per record, net of start-up: this log /"
           " the smaller one", value=_cost, at_least=1.1, larger=False, unit=""),
    Target(comparison="imagenet-ab/scaling", what="peak memory: this log / the smaller one",
           value=_peak_growth, at_least=1.1, larger=False, unit=""),
    Target(comparison="imagenet-ab/", what="image-level table / raw log, bytes", value=_size,
           at_least=1 / 3, aim=1 / 5, larger=False, unit=""),
)  # fmt: skip


def read_rows(path: Path) -> list[Row]:
    """All result rows, oldest first."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def latest(rows: Iterable[Row]) -> list[Row]:
    """The last row of each comparison and number of records, ordered by both."""
    found = {(row["comparison"], row["input"]["records"]): row for row in rows}
    return [found[key] for key in sorted(found, key=lambda key: (key[0].split("/")[0], key[1]))]


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.3f}{unit}" if value < 1 else f"{value:g}{unit}"


def verdicts(rows: list[Row]) -> list[tuple[Target, int, str, str]]:
    """(target, records, text, verdict) of every target and input size that was measured."""
    found = []
    for target in TARGETS:
        of_target = [
            row
            for row in rows
            if row["comparison"].startswith(target.comparison)
            and ("ours" in row["out_bytes"] or target.value is not _size)
        ]
        for records in sorted({row["input"]["records"] for row in of_target}):
            value, text = target.value([r for r in of_target if r["input"]["records"] == records])
            found.append((target, records, text, target.verdict(value)))
    return found


def _targets_table(rows: list[Row]) -> list[str]:
    lines = [
        "| records | what | at least | aim | measured | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for target, records, text, verdict in verdicts(rows):
        dataset = target.comparison.split("/")[0]
        at_least = ("" if target.larger else "≤ ") + _amount(target.at_least, target.unit)
        aim = _amount(target.aim, target.unit)
        name = f"{dataset} {records:,}"
        lines.append(f"| {name} | {target.what} | {at_least} | {aim} | {text} | {verdict} |")
    return lines


def _runs_table(rows: list[Row]) -> list[str]:
    lines = [
        "| log | arm | n | wall s | CPU s | tree RSS MiB | tree PSS MiB | largest process MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for arm, what in row["arms"].items():
            runs = [pair[arm] for pair in row["pairs"]]
            cells = [
                f"{row['comparison'].split('/')[0]} {what['records']:,}",
                what["name"],
                str(len(runs)),
                *(spread((r[k] for r in runs), 2) for k in ("wall_s", "cpu_s")),
                *(
                    f"{max(r[k] for r in runs):.0f}"
                    for k in ("tree_rss_mib", "tree_pss_mib", "largest_process_mib")
                ),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    for row in rows:
        if row["comparison"].endswith("/limit"):
            found = ratios(row, ("ours", "baseline"))
            lines.append(
                f"\nOurs / decompression alone, {row['input']['records']:,} records:"
                f" {spread(found, 1)}, n = {len(found)}: {1 / median(found):.0%} of the limit."
            )
    return lines


def _origins(rows: list[Row]) -> list[str]:
    """Machine, versions and input of each row, equal ones told once."""
    found: dict[str, list[str]] = {}
    for row in rows:
        machine, versions = row["machine"], row["versions"]
        packages = ", ".join(f"{name} {number}" for name, number in versions.items())
        text = (
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
            f" {machine['system']}; {packages}"
        )
        load = max(run["load"] for pair in row["pairs"] for run in pair.values())
        found.setdefault(text, []).append(
            f"  - `{row['comparison']}` {row['input']['records']:,} records: {row['date']}, commit"
            f" {row['commit'] or 'unknown'}, `{row['input']['name']}` {row['input']['bytes']:,} B,"
            f" sha256 {row['input']['sha256'][:12]}, load before a run up to {load:.1f}"
        )
    return [line for text, runs in found.items() for line in (f"- {text}", *runs)]


def results_text(rows: list[Row], profiles: Iterable[str] = ()) -> str:
    """Everything between the marks of README.md."""
    shown = latest(rows)
    if not shown:
        return "Nothing was measured yet.\n"
    missed = [
        f"- {t.comparison.split('/')[0]} {records:,}, {t.what}: {text} ({verdict.strip('*')})"
        for t, records, text, verdict in verdicts(shown)
        if "missed" in verdict
    ]
    parts = [
        "### Targets\n",
        *_targets_table(shown),
        "\n### Misses\n",
        *(missed or ["None of the targets measured above."]),
        *(f"- Profile of ours: [`{name}`](results/{name})" for name in sorted(profiles)),
        "\n### Runs\n",
        "Times are median (min-max), memory is the largest of all runs.\n",
        *_runs_table(shown),
        "\n### Where and when\n",
        *_origins(shown),
    ]
    return "\n".join(parts) + "\n"


def analysis_text(rows: list[Row]) -> str:
    """The table of `luab-data stats` between its marks: the last row of each dataset and size."""
    latest_rows = {(row["dataset"], row["rows"]["default"]): row for row in rows}
    if not latest_rows:
        return "Nothing was measured yet.\n"
    lines = [
        "| images | n | wall s | CPU s | tree RSS MiB, largest | limit | verdict | when |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (dataset, images), row in sorted(latest_rows.items()):
        wall = max(run["wall_s"] for run in row["runs"])
        peak = max(run["tree_rss_mib"] for run in row["runs"])
        within = wall <= ANALYSIS_SECONDS and peak <= ANALYSIS_MIB
        cells = [
            f"{dataset} {images:,}",
            str(len(row["runs"])),
            *(spread(run[key] for run in row["runs"]) for key in ("wall_s", "cpu_s")),
            f"{peak:.0f}",
            f"≤ {ANALYSIS_SECONDS} s, {ANALYSIS_MIB} MiB",
            "met" if within else "**missed**",
            _when(row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def evaluation_text(suite: list[Row], wsol: list[Row]) -> str:
    """The tables of the evaluation suite and of box evaluation: the last row of each kind."""
    if not suite and not wsol:
        return "Nothing was measured yet.\n"
    lines = [
        "| suite / bare loop | images | n | wall | CPU | at least | verdict | when |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in {(r["model"], r["device"]): r for r in suite}.values():
        # The loop is bound by the processor; its time is what a busy machine leaves comparable.
        found = median(row["ratio_cpu"])
        cells = [
            f"{row['model']}, {row['device']}, {row['workers']} loader processes",
            str(row["images"]),
            str(len(row["ratio"])),
            spread(row["ratio"]),
            spread(row["ratio_cpu"]),
            "0.90x",
            "met" if found >= 0.9 else f"**missed by {1 - found / 0.9:.0%}**",
            _when(row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| box evaluation, maps | thresholds | overlaps that differ | reference (both) / ours |"
        " reference (MaxBoxAcc) / ours | at least, aim | verdict | when |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in {(r["map"], r["thresholds"]): r for r in wsol}.values():
        found = median(row["ratio"])
        verdict = "aim met" if found >= 20 else "met" if found >= 5 else ""
        cells = [
            row["map"],
            str(row["thresholds"]),
            f"{row['disagreements']} of {2 * row['thresholds'] * row['maps']:,}",
            spread(row["ratio"], 1),
            spread(row["ratio_max_box_acc"], 1),
            "5x, 20x",
            verdict or f"**missed by {1 - found / 5:.0%}**",
            _when(row),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _when(row: Row) -> str:
    machine = f"{row['machine']['cpu']}, {row['machine']['cores']} cores"
    return f"{row['date'][:10]}, commit {row['commit'] or 'unknown'}, {machine}"


ANALYSIS_SECONDS, ANALYSIS_MIB = 180, 2000
"""Limits of all statistics of 1.3 million images together."""


def with_results(text: str, results: str, *, part: str = "results") -> str:
    """README.md with a part between its marks replaced."""
    begin = f"<!-- {part} -->"
    head, mark, rest = text.partition(begin)
    _, end, tail = rest.partition(_END)
    if not mark or not end:
        raise ValueError(f"README.md has no {begin} ... {_END}")
    return f"{head}{begin}\n{results}{_END}{tail}"


def write_readme(readme: Path = README, results: Path = RESULTS) -> None:
    """Bring README.md up to date with the result rows and profiles."""
    profiles = [path.name for path in results.parent.glob("profile-*.txt")]
    text = results_text(read_rows(results), profiles)
    page = with_results(readme.read_text(encoding="utf-8"), text)
    analysis = analysis_text(read_rows(ANALYSIS_RESULTS))
    page = with_results(page, analysis, part="analysis")
    evaluation = evaluation_text(read_rows(SUITE_RESULTS), read_rows(WSOL_RESULTS))
    page = with_results(page, evaluation, part="evaluation")
    text = narratives.narratives_text(read_rows(narratives.RESULTS))
    page = with_results(page, text, part="narratives")
    from train_table import training_text  # here, since it is made of what this module has

    training = training_text(read_rows(TRAIN_RESULTS))
    readme.write_text(with_results(page, training, part="training"), encoding="utf-8")


if __name__ == "__main__":
    write_readme()
