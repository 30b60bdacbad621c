"""Rows of results -> one table for a terminal: a line a metric. And the list of benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luab_train.evaluate.benchmarks import BY_NAME

ARROWS = {"up": "↑", "down": "↓"}
_HEAD = ("column", "", "metric", "value", "95 % interval", "images", "notes")
_RIGHT = (3, 4, 5)


def report_rows(rows: Sequence[Mapping[str, Any]], folder: Path) -> tuple[str, str | None]:
    """What to print of an evaluation, and what went wrong in it; None if nothing did."""
    first = rows[0]
    where = f"all rows in {folder / 'results.jsonl'}"
    unwritten = next((row["unwritten"] for row in rows if row.get("unwritten")), None)
    if unwritten:
        where = "not all of it could be written"
    failed = [row["benchmark"] for row in rows if row["status"] == "failed"]
    problem = None
    if failed:
        notes = [str(row["note"]) for row in rows if row["status"] == "failed"]
        problem = f"{', '.join(dict.fromkeys(failed))} failed: {notes[0]}"
    elif all(row["value"] is None for row in rows):
        problem = f"nothing was measured; {first['benchmark']}: {first['note']}"
    head = f"{first['model']}, weights {first['weights'][:12]}, {_fed(first)}, percent; {where}"
    return f"{head}\n{to_table(rows)}", unwritten or problem


def _fed(row: Mapping[str, Any]) -> str:
    """How images reached the network: two numbers of one model may differ by nothing else."""
    mean, std = (" ".join(f"{v:.4g}" for v in row[key]) for key in ("mean", "std"))
    size = f"{row['image_size']} of {row['resize']} px, {row['fit']}, {row['interpolation']}"
    precision = "" if row["precision"] == "no" else f", {row['precision']}"
    return f"fed {size}, mean {mean}, std {std}{precision}"


def to_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of one model; details such as one corruption are only in results.jsonl."""
    lines: list[tuple[str, ...]] = [_HEAD]
    for row in rows:
        metric = BY_NAME[row["benchmark"]].metric(row["metric"])
        if metric is None or not metric.detail:
            lines.append(_line(row))
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD) - 1)]
    return "\n".join(_aligned(line, widths) for line in lines)


def list_benchmarks() -> str:
    """What there is: where it belongs, how it is read, whose it is."""
    lines = []
    for benchmark in BY_NAME.values():
        arrow = ARROWS[benchmark.metrics[0].direction]
        titles = "; ".join(metric.title for metric in benchmark.metrics if not metric.detail)
        by_name = "" if benchmark.in_all else "  (by name, not in all)"
        lines.append(f"{benchmark.name:<11} {benchmark.title} {arrow}  {titles}{by_name}")
        lines.append(f"{'':<11} {benchmark.preparation}; {benchmark.mapping}")
        for d in benchmark.datasets:
            about = f"{d.name}, about {d.size}, {d.licence}. {d.citation}"
            lines.append(f"{'':<11} ROOT/{d.place}  {about}")
            lines += [f"{'':<11} {file} is {told}" for file, told in d.origin.items()]
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    arrow, title = ARROWS[row["direction"]], row["title"]
    if row["status"] in ("missing", "failed"):
        return (row["column"], arrow, title, row["status"], "", "", row["note"])
    return (
        row["column"] if row["primary"] else "",
        arrow,
        title if row["unit"] == "percent" else f"{title}, {row['unit']}",
        "-" if row["value"] is None else f"{row['value']:.2f}",
        "-" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}",
        f"{row['n']:,}",
        "; ".join(_notes(row)),
    )


def _notes(row: Mapping[str, Any]) -> list[str]:
    notes = [row["note"]] if row["note"] else []
    if not row["primary"]:
        return notes
    if row.get("num_bad"):
        notes.append(f"{row['num_bad']:,} bad images skipped")
    if row.get("num_left_out"):
        notes.append(f"{row['num_left_out']:,} images of classes the model lacks left out")
    if row.get("num_resized"):
        notes.append("stored images resized for this network")
    if row.get("num_turned"):
        notes.append(f"{row['num_turned']:,} turned by EXIF")
    return notes


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.rjust(width) if i in _RIGHT else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=False))
    ]
    return "  ".join([*cells, line[-1]]).rstrip()
