"""Rows of results -> one table for a terminal: a line a column of the paper, details below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luab_train.evaluate.benchmarks import BENCHMARKS

ARROWS = {"up": "↑", "down": "↓"}
_HEAD = ("column", "", "metric", "value", "95 % interval", "images", "notes")
_RIGHT = (3, 4, 5)


def to_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of one model; details such as one corruption are only in results.jsonl."""
    shown = {b.name: {metric.name for metric in b.metrics} for b in BENCHMARKS}
    lines: list[tuple[str, ...]] = [_HEAD]
    lines += [_line(r) for r in rows if r["metric"] in shown.get(r["benchmark"], {r["metric"]})]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD) - 1)]
    return "\n".join(_aligned(line, widths) for line in lines)


def list_benchmarks() -> str:
    """What there is: where it belongs, how it is read, whose it is."""
    lines = []
    for benchmark in BENCHMARKS:
        arrow = ARROWS[benchmark.metrics[0].direction]
        titles = "; ".join(metric.title for metric in benchmark.metrics)
        lines.append(f"{benchmark.name:<10} {benchmark.title} {arrow}  {titles}")
        lines.append(f"{'':<10} {benchmark.preparation}; {benchmark.mapping}")
        lines += [
            f"{'':<10} ROOT/{d.place}  {d.name}, about {d.size}, {d.licence}. {d.citation}"
            for d in benchmark.datasets
        ]
    lines.append("wsol, coco not in all: localisation and COCO, see `luab_train.evaluate.extras`")
    return "\n".join(lines)


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["status"] == "missing":
        return (
            row["column"],
            ARROWS[row["direction"]],
            row["title"],
            "missing",
            "",
            "",
            row["note"],
        )
    return (
        row["column"] if row["primary"] else "",
        ARROWS[row["direction"]],
        row["title"],
        "-" if row["value"] is None else f"{row['value']:.2f}",
        "-" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}",
        f"{row['n']:,}",
        "; ".join(_notes(row)),
    )


def _notes(row: Mapping[str, Any]) -> list[str]:
    if not row["primary"]:
        return [row["note"]] if row["note"] else []
    notes = [row["note"]] if row["note"] else []
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
