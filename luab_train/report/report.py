"""`luab-train report`: runs and evaluated models side by side, as files of every format.     [I/O]

Read `runs`, then `arms`, `layouts`, `compare`, `tables`, `words` and `render`, in this order;
`figures` and `draw`, `factors` and `samples` make the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click

from luab_data.files import ALREADY, new_folder
from luab_data.statistics.estimate import LEVEL
from luab_data.tools import COCO
from luab_train.evaluate.stored import RESULTS
from luab_train.metrics.intervals import t_interval
from luab_train.metrics.places import is_of_place
from luab_train.report.arms import ARM_WORDS, VALIDATION, Arm, Model, arms_of
from luab_train.report.compare import pairs_of
from luab_train.report.figures import plan
from luab_train.report.layouts import measured
from luab_train.report.render import (
    Drawn,
    Report,
    mean_json,
    page_html,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from luab_train.report.runs import (
    SIZES,
    Run,
    arm_names,
    check_comparable,
    read_run,
)
from luab_train.report.tables import make_tables
from luab_train.sections import TARGETS

Contents = Callable[[], bytes]
"""Makes the content of a file."""


def make_report(
    runs: Sequence[Run],
    folders: Sequence[Path] = (),
    *,
    reference: str = "none",
    allow_different: bool = False,
    root: Path | None = None,
) -> Report:
    """Compare finished runs and evaluated models.

    Args:
        runs: at most one per arm and seed; evaluated or not.
        folders: evaluations of models that are no runs.
        reference: target of the arms that the others are compared with; if no run has it, the first
            arm is.
        allow_different: compare runs that differ in more than target and seed; the report then
            says in what.
        root: folder of the benchmarks' images; None leaves out the figures that need it.

    Raises: OptionError, see `check_comparable`.
    """
    none = bool(folders) and not runs
    different = {} if none else check_comparable(runs, allow_different=allow_different)
    arms = arms_of(runs, folders)
    tables = make_tables(arms, reference=reference)
    figures = plan(arms, tables)
    if root is not None:
        from luab_train.report.draw import looks_of
        from luab_train.report.factors import plan_factors
        from luab_train.report.samples import plan_samples

        figures += chain(plan_factors(arms, looks_of(arms), root), plan_samples(arms, root))
    recipes = dict.fromkeys(run.recipe.name for run in runs)
    names = ", ".join(arm.name for arm in arms)
    return Report(
        title=f"{', '.join(f'`{r}`' for r in recipes)}: {names}" if runs else names,
        paragraphs=tuple(_paragraphs(arms, runs, different, reference)),
        tables=tuple(tables),
        figures=tuple(figures),
        runs=_of_runs(arms, runs, different, reference) if runs else {"confidence": LEVEL},
    )


# --- in words -------------------------------------------------------------------------------------


def _paragraphs(
    arms: Sequence[Arm], runs: Sequence[Run], different: Mapping[str, Sequence[str]], reference: str
) -> list[str]:
    """What goes before the tables."""
    if not runs:
        return []
    epochs = ", ".join(map(str, sorted({run.recipe.epochs for run in runs})))
    targets = dict.fromkeys(arm.target for arm in arms if arm.target is not None)
    texts = [
        f"{epochs} epochs, numbers of the last one, never of the best.",
        "What an arm learns: " + "; ".join(f"`{t}` {ARM_WORDS[t]}" for t in targets) + ".",
    ]
    if different:
        listed = "; ".join(f"`{key}`: {' / '.join(v)}" for key, v in different.items())
        texts.append(
            "These runs differ in more than target and seed, so maybe not only the arm matters:"
            f" {listed}."
        )
    if not any(run.results for run in runs):
        texts.append(
            "No run was validated, or evaluated on a folder: nothing to compare by seed. See"
            " `luab-train eval --help`."
        )
    placeless = [arm.name for arm in arms if not arm.learns_place]
    results = [key for run in runs for found in run.results.values() for key in found]
    if placeless and any(map(is_of_place, results)):
        texts.append(
            f"Heads of {', '.join(placeless)} learned no place: their points say nothing (–)."
        )
    of_coco = tuple(runs[0].environment.get("classes", COCO.names)) == COCO.names
    if runs[0].recipe.data.several_labels and of_coco and results:
        texts.append(
            "Whether points lie on objects is measured by `luab-train eval RUN --benchmarks coco`."
        )
    for part, which in enumerate(("training", "validation")):
        counts = {arm.name: arm.left_out[part] for arm in arms if arm.left_out[part]}
        if counts:
            listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            texts.append(
                f"Images left out of {which} because they could not be decoded, most in an epoch:"
                f" {listed}."
            )
    if len(arms) > 1 and reference not in {arm.target for arm in arms}:
        texts.append(
            f"No run has target {reference}, so the first, {arms[0].name}, takes its place. Choose"
            " another --reference."
        )
    for a, b in pairs_of(arms, reference):
        if None not in (a.target, b.target) and not set(a.seeds) & set(b.seeds):
            texts.append(f"{a.name} and {b.name} have no seed in common: not compared by seed.")
    return texts


# --- runs as JSON ---------------------------------------------------------------------------------


def _of_runs(
    arms: Sequence[Arm], runs: Sequence[Run], different: Mapping[str, Sequence[str]], reference: str
) -> dict[str, Any]:
    """Arms, differences and runs, in the units of metrics.jsonl."""
    of_runs = [arm for arm in arms if arm.runs]
    data = runs[0].recipe.data
    return {
        "dataset": data.dataset,
        "recipes": [*dict.fromkeys(run.recipe.name for run in runs)],
        "epochs": sorted({run.recipe.epochs for run in runs}),
        "reference": reference,
        "arms": [
            {
                "name": arm.name,
                "target": arm.target,
                "learns_place": arm.learns_place,
                **_by_seed([(model,) for model in arm.models], data.several_labels),
                "minutes": t_interval(run.minutes for run in arm.runs).value,
                "left_out": arm.left_out,
            }
            for arm in of_runs
        ],
        "differences": [
            {"arm": a.name, "versus": b.name, **_by_seed(_pairs(a, b), data.several_labels)}
            for a, b in pairs_of(of_runs, reference)
        ],
        "different": different,
        "confidence": LEVEL,
        "runs": [
            {
                "path": str(run.path),
                "arm": name,
                "seed": run.recipe.seed,
                "minutes": run.minutes,
                "dataset_digest": run.dataset.get("digest"),
                "results": {key: run.result(key) for key in run.results},
                "epochs": run.epochs,
            }
            for run, name in zip(runs, arm_names(runs), strict=True)
        ],
    }


def _pairs(a: Arm, b: Arm) -> list[tuple[Model, ...]]:
    return [(x, y) for x in a.models for y in b.models if x.seed == y.seed]


def _by_seed(models: Sequence[tuple[Model, ...]], several_labels: bool) -> dict[str, Any]:
    """Test set by test set, what each run measured, or how much more than its partner."""
    names = dict.fromkeys(name for model, *_ in models if model.run for name in model.run.results)
    tested = {
        name: [some for some in models if all(m.run and name in m.run.results for m in some)]
        for name in names
    }
    tested = {name: of_set for name, of_set in tested.items() if of_set}

    def number(some: tuple[Model, ...], name: str, metric: str) -> float:
        first, *others = (model.value((VALIDATION + name, metric)) for model in some)
        return first - sum(others)

    values = {
        name: {m: [number(some, name, m) for some in of_set] for m in measured(several_labels)}
        for name, of_set in tested.items()
    }
    sizes = (*SIZES[several_labels], "centre_localisation")
    return {
        "seeds": [model.seed for model, *_ in models],
        "tested": {name: [m.seed for m, *_ in of_set] for name, of_set in tested.items()},
        "results": {
            name: {metric: mean_json(t_interval(v)) for metric, v in of_set.items()}
            for name, of_set in values.items()
        },
        "values": values,
        "counts": {
            name: {size: of_set[0][0].run.results[name].get(size, math.nan) for size in sizes}  # type: ignore[union-attr]
            for name, of_set in tested.items()
        },
    }


# --- files ----------------------------------------------------------------------------------------


def report_files(report: Report) -> dict[str, Contents]:
    """File name -> what makes its content."""
    drawn = Drawn()
    return {
        "report.md": lambda: to_markdown(report).encode(),
        "report.json": lambda: to_json(report).encode(),
        "tables.csv": lambda: to_csv(report.tables).encode(),
        "tables.tex": lambda: to_latex(report).encode(),
        **{f.file: lambda f=f: drawn.png(f) for f in report.figures},  # type: ignore[misc]
        "report.html": lambda: page_html(report, drawn).encode(),
    }


def write_report(report: Report, out: Path, *, force: bool = False) -> tuple[list[Path], bool]:
    """Write a report's folder; the paths of its files, and whether the same was there already.

    Raises:
        OutputError: as files.new_folder; another report is replaced with `force` only.
    """
    contents = report_files(report)
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
    help="Folder for the report: Markdown, HTML, LaTeX, CSV, JSON and figures, the same in each.",
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

    Where they were evaluated on benchmarks, also the paper's tables with our rows. A RUN may also
    be the folder that `luab-train eval --benchmarks` wrote for another model.
    """
    folders = [path for path in runs if _is_evaluation(path)]
    read = [read_run(path) for path in runs if path not in folders]
    report = make_report(
        read, folders, reference=reference, allow_different=allow_different, root=root
    )
    written, is_same = write_report(report, out, force=force)
    click.echo(to_markdown(report, details=False))
    if is_same:
        click.echo(f"{out}: {ALREADY}")
    else:
        click.echo(f"written: {', '.join(map(str, written))}")


def _is_evaluation(path: Path) -> bool:
    """Whether a path is a folder of results of a model that is no run."""
    kept = (RESULTS, "wsol/rows.parquet", "coco/scores.parquet")
    return any((path / name).is_file() for name in kept) and not (path / "recipe.json").is_file()
