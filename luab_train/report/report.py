"""`luab-train report`: arms side by side as Markdown, JSON and training curves.     [I/O]"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from luab_data.files import ALREADY, new_folder
from luab_train.recipe import TARGETS
from luab_train.report.compare import CONFIDENCE, Estimate, Report, compare
from luab_train.report.measures import ARM_WORDS, measures_of
from luab_train.report.runs import LAST_EPOCH, Run, arm_names, read_run

Contents = Callable[[], bytes]
"""Makes the content of a file."""


def to_json(report: Report, runs: Sequence[Run]) -> str:
    """Every number of the report and of each run; NaN is null."""
    content = {
        **asdict(report),
        "confidence": CONFIDENCE,
        "runs": [
            {
                "path": str(run.path),
                "arm": name,
                "seed": run.recipe.seed,
                "minutes": run.minutes,
                "dataset_digest": run.dataset.get("digest"),
                "results": {key: run.result(key) for key in run.results},
            }
            for run, name in zip(runs, arm_names(runs), strict=True)
        ],
    }
    return json.dumps(null_for_nan(content), indent=2, allow_nan=False) + "\n"


def null_for_nan(value: Any) -> Any:
    """The same nested value with None for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: null_for_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [null_for_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_markdown(report: Report) -> str:
    """The report as Markdown: per test set the arms and the paired differences, then footnotes."""
    lines = [
        f"# {_list(f'`{r}`' for r in report.recipes)}: {_list(arm.name for arm in report.arms)}",
        "",
    ]
    lines += [_how_to_read(report), "", _arms_in_words(report), ""]
    if report.different:
        lines += [
            "**These runs differ in more than target and seed**, maybe not only the arm matters:"
        ]
        lines += [f"- {key}: {' / '.join(values)}" for key, values in report.different.items()]
        lines += [""]
    if not report.sets:
        lines += [
            "No run was validated, or evaluated on a folder: nothing to compare by seed. See"
            " `luab-train eval --help`.",
            "",
        ]
    for key in report.sets:
        lines += ["## Last epoch, validation" if key == LAST_EPOCH else f"## `{key}`", ""]
        lines += [*_arm_table(report, key), ""]
        lines += [*_difference_table(report, key), ""]
    lines += _footnotes(report)
    return "\n".join(lines).rstrip() + "\n"


def _how_to_read(report: Report) -> str:
    epochs = _list(str(epochs) for epochs in report.epochs)
    units = {
        "imagenet-ab": "accuracy and localisation in %, point error in % of the image's side",
        "coco-ab": "mAP, the mean of the average precisions of the classes present, in %",
    }[report.dataset]
    return (
        f"{epochs} epochs, numbers of the last one. Mean ± half of the {CONFIDENCE:.0%} t interval "
        f"over seeds; {units}; minutes a run."
    )


def _arms_in_words(report: Report) -> str:
    targets = dict.fromkeys(arm.target for arm in report.arms)
    return "What an arm learns: " + "; ".join(f"`{t}` {ARM_WORDS[t]}" for t in targets) + "."


def _arm_table(report: Report, key: str) -> list[str]:
    arms = [arm for arm in report.arms if key in arm.results]
    measures = measures_of(report.dataset)
    counts = arms[0].counts[key]
    shown = {name: _count(value) for name, value in counts.items()}
    head = ["arm", "seeds", *(
        f"{m.name} ({m.of.format(**shown)})" if m.of else m.name for m in measures
    ), "minutes"]  # fmt: skip
    rows = [
        [
            arm.name,
            _seeds(arm.tested[key]),
            *(_estimate(arm.results[key][m.key], len(arm.tested[key])) for m in measures),
            _number(arm.minutes, ".1f"),
        ]
        for arm in arms
    ]
    centre = counts["centre_localisation"]
    if math.isfinite(centre):
        # Off-centre images are those where the centre is in no box.
        off = "0.0" if counts["off_centre"] else "-"
        rows.append(["*always the centre*", "", "", f"{100 * centre:.1f}", off, "", ""])
    return _table(head, rows)


def _difference_table(report: Report, key: str) -> list[str]:
    measures = measures_of(report.dataset)
    rows = [
        [
            f"{difference.arm} - {difference.versus}",
            _seeds(difference.tested[key]),
            *(
                paired(difference.results[key][m.key], 100, of=len(difference.tested[key]))
                for m in measures
            ),
        ]
        for difference in report.differences
        if key in difference.results
    ]
    return _table(["paired difference", "seeds", *(m.name for m in measures)], rows) if rows else []


def _footnotes(report: Report) -> list[str]:
    notes = []
    placeless = [arm.name for arm in report.arms if not arm.learns_place]
    if placeless and report.sets and any(m.is_of_place for m in measures_of(report.dataset)):
        notes.append(f"Heads of {_list(placeless)} learned no place: their points say nothing (-).")
    if any(len(arm.seeds) == 1 for arm in report.arms):
        notes.append("One seed has no interval: run more seeds before believing a difference.")
    if report.dataset == "coco-ab" and report.sets:
        notes.append(
            "Whether points lie on objects is measured by `luab-train eval RUN --benchmarks coco`."
        )
    notes += _left_out(report)
    if report.reference not in {arm.target for arm in report.arms} and len(report.arms) > 1:
        notes.append(
            f"No run has target {report.reference}, so nothing is compared with it. Choose another "
            "--reference."
        )
    for key in report.sets:
        lacking = [arm.name for arm in report.arms if len(arm.tested.get(key, ())) < len(arm.seeds)]
        if lacking:
            notes.append(f"Not every run of {_list(lacking)} has a result of {key}.")
    for difference in report.differences:
        if not difference.seeds:
            notes.append(
                f"{difference.arm} and {difference.versus} have no seed in common: not compared."
            )
    return [line for note in notes for line in (note, "")]


def _left_out(report: Report) -> list[str]:
    """Images that could not be decoded, by arm: they count in no number."""
    notes = []
    for part, which in enumerate(("training", "validation")):
        counts = {arm.name: arm.left_out[part] for arm in report.arms if arm.left_out[part]}
        if counts:
            listed = _list(f"{name} {count:,}" for name, count in counts.items())
            notes.append(
                f"Images left out of {which} because they could not be decoded, most in an epoch: "
                f"{listed}."
            )
    return notes


def paired(estimate: Estimate, factor: float = 1.0, *, of: int = 0) -> str:
    """A difference with its interval, `+1.2 [-0.3, +2.7]`, and how many `of` the seeds have one."""
    if not estimate.n:
        return "-"
    mean, low, high = (
        signed(factor * value) for value in (estimate.mean, estimate.low, estimate.high)
    )
    span = "" if estimate.n == 1 else f" [{low}, {high}]"
    return f"{mean}{span}{_share(estimate.n, of)}"


def signed(value: float) -> str:
    """One decimal and its sign; what rounds to zero is `+0.0`, never `-0.0`."""
    return f"{round(value, 1) + 0.0:+.1f}"


def _estimate(estimate: Estimate, of: int) -> str:
    """Percent of a fraction, from so many runs."""
    if not estimate.n:
        return "-"
    half = "" if estimate.n == 1 else f" ± {100 * estimate.half_width:.1f}"
    return f"{100 * estimate.mean:.1f}{half}{_share(estimate.n, of)}"


def _share(n: int, of: int) -> str:
    # A run that diverged has no number; the others alone would look like the arm.
    if n < of:
        return f" ({n} of {of} seeds)"
    return " (one seed)" if n == 1 else ""


def _seeds(seeds: Sequence[int]) -> str:
    return " ".join(map(str, seeds))


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _count(value: float) -> str:
    return f"{int(value):,}" if math.isfinite(value) else "-"


def _list(names: Any) -> str:
    return ", ".join(names)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns also line up in a terminal."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = [("-" * w if i < 2 else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    return [line(head), line(rule), *(line(row) for row in rows)]


def write_report(
    report: Report, runs: Sequence[Run], out: Path, *, force: bool = False
) -> list[Path]:
    """Write report.md, report.json and, where runs were validated, curves.png; their paths."""
    return write_files(training_files(report, runs), out, force=force)[0]


def training_files(report: Report, runs: Sequence[Run]) -> dict[str, Contents]:
    """File name -> what makes its content."""
    from luab_train.report.figures import curves_png

    contents: dict[str, Contents] = {
        "report.md": lambda: to_markdown(report).encode(),
        "report.json": lambda: to_json(report, runs).encode(),
    }
    if any(LAST_EPOCH in run.results for run in runs):
        contents["curves.png"] = lambda: curves_png(runs)
    return contents


def write_files(
    contents: Mapping[str, Contents], out: Path, *, force: bool = False
) -> tuple[list[Path], bool]:
    """Write a report's folder; the paths of its files, and whether the same was there already.

    Raises:
        OutputError: as files.new_folder; another report is replaced with `force` only.
    """
    with new_folder(out, by="comparison", force=force) as target:
        for name, content in contents.items():
            file = target.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content())
    return [out / name for name in contents], target.same


@click.command("report")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default="report", show_default=True,
    help="Folder for the report: report.md and, by what there is, JSON, curves, tables, HTML.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace another report at OUT.")
@click.option(
    "--reference", type=click.Choice(TARGETS), default="none", show_default=True,
    help="Arm that the others are compared with.",
)  # fmt: skip
@click.option(
    "--allow-different", is_flag=True,
    help="Compare runs that differ in more than target and seed; the report says in what.",
)  # fmt: skip
@click.option(
    "--root", type=click.Path(exists=True, path_type=Path, file_okay=False),
    help="Folder of the benchmarks' images: adds samples, failures and what depends on a place.",
)  # fmt: skip
def report_command(
    runs: tuple[Path, ...],
    out: Path,
    force: bool,
    reference: str,
    allow_different: bool,
    root: Path | None,
) -> None:
    """Compare finished RUNs: arms side by side, differences paired by seed, training curves.

    Where they were evaluated on benchmarks, also the paper's tables with our rows, as Markdown,
    CSV, LaTeX and one HTML page with figures. A RUN may also be the folder that
    `luab-train eval --benchmarks` wrote for another model.
    """
    folders = [path for path in runs if _is_evaluation(path)]
    read = [read_run(path) for path in runs if path not in folders]
    contents: dict[str, Contents] = {}
    text = ""
    if read:
        report = compare(read, reference=reference, allow_different=allow_different)
        contents = training_files(report, read)
        text = to_markdown(report)
    if folders or any(_has_results(run.path / "evaluation") for run in read):
        from luab_train.evaluate.report.files import benchmark_files, benchmark_report

        benchmarks = benchmark_report(read, folders, reference=reference)
        written_text = "\n".join(filter(None, [text, benchmarks.markdown(details=True)]))
        text = "\n".join(filter(None, [text, benchmarks.markdown(details=False)]))
        contents |= benchmark_files(benchmarks, read, root=root)
        contents["report.md"] = written_text.encode
    written, is_same = write_files(contents, out, force=force)
    click.echo(text)
    if is_same:
        click.echo(f"{out}: {ALREADY}")
    else:
        click.echo(f"written: {', '.join(map(str, written))}")


def _is_evaluation(path: Path) -> bool:
    """Whether a path is a folder of results of a model that is no run."""
    return _has_results(path) and not (path / "recipe.json").is_file()


def _has_results(folder: Path) -> bool:
    kept = ("results.jsonl", "wsol/rows.parquet", "coco/scores.parquet")
    return any((folder / name).is_file() for name in kept)
