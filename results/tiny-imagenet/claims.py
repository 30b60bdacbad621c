"""What results/protocol.md compares, corrected, and which arms pay by it.     [I/O]

    python results/tiny-imagenet/claims.py [--folder FOLDER]

Writes claims-<set>.csv, .json and .png for the sets of the protocol. Nothing is computed from a
model before all seeds of its arms (`LEVELS`) are there: its comparisons stay in the number that is
corrected for, and are not significant.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from experiments import ARM_SEEDS, GROUND, GUIDED_FIRST, LOOKING, MODELS, OFF, USES
from hits import HITS, IMAGES, OFF_FILES, Hits, read_hits
from measures import BY_NAME, difference, level, seeds_of
from paired import Estimate, estimate, holm

from luab_data.figures.style import BASELINE, BLUE, GREY, drawing, new_figure, png

PRIMARY = ("accuracy", "other")
SHOWN = (*PRIMARY, "gap", "only")
"""Primary measures, then those of which nothing is claimed."""
POINTING = (*PRIMARY, "off_centre")
MEASURED: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("use", "off", "guide"), PRIMARY),
    "ground": POINTING,
}
"""Set -> what is compared."""
LEVELS: Mapping[str, Sequence[str]] = {
    "use": tuple(USES),
    "off": tuple(OFF),
    "ground": tuple(GROUND),
    "guide": GUIDED_FIRST,
}
"""Set -> the arms without which nothing of a model is computed."""
NETWORKS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("use", "off", "ground"), MODELS),
    "guide": ("vit",),
}
PLACES = ("centre", "random", "shuffled")
_SHIFT = ("shift-click", ("none", "cutmix", *(f"shift-{place}" for place in PLACES)))
_CROP = ("crop-click", ("none", *(f"crop-{place}" for place in PLACES)))
COMPARED: Mapping[str, Mapping[str, Sequence[str]]] = {
    "use": dict([("paste-click", ("none", "cutmix")), _SHIFT, _CROP]),
    "off": dict([_SHIFT, _CROP, ("eq1-click", ("none",))]),
    "ground": {"ground-click": ("none", *(f"ground-{place}" for place in PLACES), "eq1-click")},
    "guide": {f"{loss}-click": ("none", *(f"{loss}-{p}" for p in PLACES)) for loss in LOOKING},
}
"""Set -> arm -> arms that it is compared with."""
ALPHA = 0.05
HARM = 0.01
"""An arm that pays loses less of the other primary measure than this, by its interval."""
TITLES = {"cnn": "ResNet", "vit": "ViT"}
SETS = {
    "use": "pictures as they are",
    "off": "objects off the middle",
    "ground": "pointing at a cell",
    "guide": "losses on where the network looks",
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`arm` less `versus`.

    Args:
        model, measure, arm, versus: what is compared.
        found: the difference, a fraction; NaN, over no seed, while the model is not complete.
        p_holm: adjusted for all comparisons of the set; 1 where none was made.
    """

    model: str
    measure: str
    arm: str
    versus: str
    found: Estimate
    p_holm: float

    @property
    def significant(self) -> bool:
        """Whether it is not 0, after correction."""
        return self.p_holm < ALPHA


def is_complete(hits: Hits, group: str, model: str) -> bool:
    """Whether every arm of the set has all seeds."""
    return all(
        set(seeds_of(hits, f"{group}-{model}-{arm}")) >= set(ARM_SEEDS) for arm in LEVELS[group]
    )


def compared(hits: Hits, group: str) -> list[Comparison]:
    """All comparisons of a set, in the order of the protocol."""
    named, found = [], []
    for model in NETWORKS[group]:
        complete = is_complete(hits, group, model)
        for measure in MEASURED[group]:
            for arm, others in COMPARED[group].items():
                for versus in others:
                    named.append((model, measure, arm, versus))
                    names = [f"{group}-{model}-{each}" for each in (arm, versus)]
                    found.append(
                        difference(hits, *names, BY_NAME[measure])
                        if complete
                        else estimate(np.zeros((0, 0)))
                    )
    adjusted = holm(np.array([each.p_value for each in found])).tolist()
    return [
        Comparison(model=model, measure=measure, arm=arm, versus=versus, found=each, p_holm=p)
        for (model, measure, arm, versus), each, p in zip(named, found, adjusted, strict=True)
    ]


def paying(rows: Sequence[Comparison]) -> list[tuple[str, str, str]]:
    """(model, arm, primary measure) of each arm that pays: on the measure it beats no points and
    the same machinery with centre, random and shuffled points, and on the other it is not shown to
    lose more than HARM to no points.
    """
    of = {(r.model, r.measure, r.arm, r.versus): r for r in rows}
    found = []
    for model, measure, arm in dict.fromkeys((r.model, r.measure, r.arm) for r in rows):
        method = arm.removesuffix("-click")
        needed = ["none", *(f"{method}-{place}" for place in PLACES)]
        beaten = [of.get((model, measure, arm, versus)) for versus in needed]
        harm = [of[model, m, arm, "none"].found.low for m in PRIMARY if m != measure]
        if all(r and r.significant and r.found.mean > 0 for r in beaten) and min(harm) > -HARM:
            found.append((model, arm, measure))
    return found


def sentence(rows: Sequence[Comparison], group: str) -> str:
    """What the set says, in one sentence a model."""
    said = []
    for model in NETWORKS[group]:
        of_model = [r for r in rows if r.model == model]
        pays = [f"{arm} ({BY_NAME[m].title})" for which, arm, m in paying(rows) if which == model]
        gains = {r.arm for r in of_model if r.versus == "none" and r.significant}
        asked = [r for r in of_model if r.versus == "none" or r.arm in gains]
        if not all(r.found.num_seeds for r in asked):
            said.append(f"{TITLES[model]}: runs are missing, nothing is claimed.")
        elif pays:
            said.append(
                f"{TITLES[model]}: by the protocol these uses of clicks pay: {', '.join(pays)}."
            )
        else:
            said.append(f"{TITLES[model]}: by the protocol no use of clicks pays.")
    return " ".join([f"{SETS[group].capitalize()}.", *said])


def row_of(row: Comparison) -> dict[str, Any]:
    """Fractions; null while the model is not complete."""
    numbers = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(row.found).items()
    }
    named = {"model": row.model, "measure": row.measure, "arm": row.arm, "versus": row.versus}
    return {**named, **numbers, "p_holm": row.p_holm, "significant": row.significant}


def levels(hits: Hits, group: str) -> Iterator[dict[str, Any]]:
    """Mean of each arm and measure of the complete models, fractions."""
    for model in (model for model in NETWORKS[group] if is_complete(hits, group, model)):
        for arm in LEVELS[group]:
            for name in dict.fromkeys((*SHOWN, *MEASURED[group])):
                found = level(hits, f"{group}-{model}-{arm}", BY_NAME[name])
                yield {"model": model, "arm": arm, "measure": name, "mean": found.mean}


def draw(rows: Sequence[Comparison], group: str) -> bytes:
    """A panel a model and primary measure, a line a comparison; full where significant."""
    lines = list(dict.fromkeys((r.arm, r.versus) for r in rows))
    measures = MEASURED[group]
    models = NETWORKS[group]
    size = {"height": 2.6 * len(models), "width": 3 + 1.95 * len(measures)}
    figure, axes = new_figure(len(models), len(measures), sharex=True, sharey=True, **size)
    for of_model, model in zip(axes, models, strict=True):
        for ax, measure in zip(of_model, measures, strict=True):
            ax.axvline(0, **BASELINE)
            of_panel = [r for r in rows if (r.model, r.measure) == (model, measure)]
            for at, row in enumerate(of_panel):
                if not row.found.num_seeds:
                    continue
                mean, low, high = (100 * v for v in (row.found.mean, row.found.low, row.found.high))
                ax.errorbar(
                    [mean], [at], xerr=[[mean - low], [high - mean]], fmt="o", color=BLUE,
                    markersize=4, linewidth=1, markerfacecolor=BLUE if row.significant else "white",
                )  # fmt: skip
            if not any(r.found.num_seeds for r in of_panel):
                ax.text(0.5, 0.5, "runs are missing", transform=ax.transAxes, ha="center",
                        color=GREY, fontsize=8, backgroundcolor="white")  # fmt: skip
            ax.set_yticks(range(len(lines)), [f"{arm} − {versus}" for arm, versus in lines])
            ax.set_title(f"{TITLES[model]}: {BY_NAME[measure].title}")
    for ax in axes[-1]:
        ax.set_xlabel("difference, percentage points")
    axes[0, 0].invert_yaxis()
    figure.suptitle(
        f"{SETS[group].capitalize()}: full where p < {ALPHA} by Holm over {len(rows)} comparisons;"
        " whiskers are 95 % intervals over seeds and images",
        fontsize=8, x=0.01, ha="left",
    )  # fmt: skip
    return png(figure)


def write(hits: Hits, group: str, folder: Path) -> str:
    """Write the three files of a set; its sentence."""
    rows = compared(hits, group)
    table = [row_of(row) for row in rows]
    out = folder / f"claims-{group}"
    with out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    said = sentence(rows, group)
    made = {"says": said, "comparisons": table, "levels": list(levels(hits, group))}
    out.with_suffix(".json").write_text(json.dumps(made, indent=1, allow_nan=False) + "\n")
    with drawing():
        out.with_suffix(".png").write_bytes(draw(rows, group))
    return said


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), default=HITS.parent, help="Where all is."
)
def main(folder: Path) -> None:
    """Write what each set of the protocol says."""
    files = dict.fromkeys(("use", "ground", "guide"), (folder / HITS.name, folder / IMAGES.name))
    files["off"] = folder / OFF_FILES[0].name, folder / OFF_FILES[1].name
    for group, (hits, images) in files.items():
        if hits.exists():
            click.echo(write(read_hits(hits, images), group, folder))


if __name__ == "__main__":
    main()
