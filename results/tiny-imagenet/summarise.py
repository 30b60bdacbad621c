"""Rows and bits -> the tables of README.md and the figures.     [I/O]

    python results/tiny-imagenet/summarise.py [--folder FOLDER]

Reads runs.jsonl, hits.parquet, images.parquet and, where it is there, curves.csv of the folder;
writes the figures and what stands between the two marks of its README.md. Nothing is typed by hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import figures
from experiments import ARMS, FRACTIONS, LAMBDAS, LONGER_EPOCHS, MODELS, NOISES, tuned_recipe
from hits import HITS, IMAGES, Hits, read_hits
from measures import BY_NAME, MEASURES, Measure, difference, level, seeds_of
from paired import Estimate
from run import ROWS, read_rows

BEGIN, END = "<!-- tables: summarise.py writes these -->", "<!-- end of tables -->"
COMPARED = ("accuracy", "other", "gap", "masked", "centre", "off_centre")
TITLES = {"cnn": "ResNet", "vit": "ViT"}


def percent(found: Estimate) -> str:
    """`61.2`, or a dash where no run is there."""
    return "–" if not found.num_seeds else f"{100 * found.mean:.1f}"


def signed(found: Estimate) -> str:
    """`+1.2 [0.1, 2.3]` in points; bold where 0 is outside."""
    if not found.num_seeds:
        return "–"
    if found.low != found.low:
        return f"{100 * found.mean:+.1f} (1 seed)"
    text = f"{100 * found.mean:+.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"**{text}**" if found.clear else text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def arms_section(hits: Hits, model: str, group: str, title: str) -> Iterator[str]:
    """Every arm's level, then click less every other arm."""
    names = {
        arm: f"{group}-{model}-{arm}" for arm in ARMS if seeds_of(hits, f"{group}-{model}-{arm}")
    }
    if not names:
        return
    yield f"### {TITLES[model]}: {title}"
    yield ""
    yield "Percent, mean over seeds."
    yield ""
    yield from table(
        ["arm", "seeds", *(measure.title for measure in MEASURES)],
        [
            [arm, str(len(seeds_of(hits, name))), *(_level(hits, name, m) for m in MEASURES)]
            for arm, name in names.items()
        ],
    )
    yield "Click less the other arm, points [95 % interval over seeds and images]."
    yield ""
    others = [(arm, name) for arm, name in names.items() if arm != "click"]
    yield from differences(hits, [(f"− {arm}", f"{group}-{model}-click", n) for arm, n in others])


def _level(hits: Hits, name: str, measure: Measure) -> str:
    if measure.points and name.endswith("-none"):
        return "–"
    return percent(level(hits, name, measure))


def differences(hits: Hits, pairs: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """A line for each (title, runs, runs they are compared with)."""
    measures = [BY_NAME[name] for name in COMPARED]
    rows = []
    for title, name, versus in pairs:
        if not seeds_of(hits, name) or not seeds_of(hits, versus):
            continue
        untrained = "-none" in f"{name} {versus}"
        cells = [
            "–" if m.points and untrained else signed(difference(hits, name, versus, m))
            for m in measures
        ]
        rows.append([title, *cells])
    if rows:
        yield from table(["", *(measure.title for measure in measures)], rows)


def pooling_section(hits: Hits, model: str) -> Iterator[str]:
    """Does the map beat regression, and the pooling the map."""
    if not seeds_of(hits, f"pooling-{model}-click-attentive"):
        return
    made, arms = f"pooling-{model}", f"arms-{model}"
    yield f"### {TITLES[model]}: attentive pooling"
    yield ""
    pairs = [
        ("attentive − regression, both click", f"{made}-click-attentive", f"{arms}-click"),
        ("map − regression, both click", f"{made}-click-map", f"{arms}-click"),
        ("attentive − map, both click", f"{made}-click-attentive", f"{made}-click-map"),
        ("attentive: click − none", f"{made}-click-attentive", f"{made}-none-attentive"),
        ("none: attentive − plain", f"{made}-none-attentive", f"{arms}-none"),
        ("attentive, click − plain, none", f"{made}-click-attentive", f"{arms}-none"),
    ]
    yield from differences(hits, pairs)


def sweep_section(hits: Hits, model: str) -> Iterator[str]:
    """The weight of the point term, the noise and the data."""
    arms, none = f"arms-{model}", f"arms-{model}-none"
    weights = [(w, f"lambda-{model}-click-{w:g}") for w in LAMBDAS] + [(100.0, f"{arms}-click")]
    yield from section(
        hits,
        f"{TITLES[model]}: lambda, click − none",
        [(f"{weight:g}", name, none) for weight, name in sorted(weights)],
    )
    made = f"{arms}-click"
    yield from section(
        hits,
        f"{TITLES[model]}: noise on the clicks, click − none",
        [("0", made, none)]
        + [(f"{n:g}", f"noise-{model}-click-{n:g}", none) for n in NOISES]
        + [("random", f"{arms}-random", none)],
    )
    shares = [(f, f"fraction-{model}-click-{f:g}") for f in FRACTIONS["click"]]
    yield from section(
        hits,
        f"{TITLES[model]}: share of the training images, click − none on as many",
        [("1", made, none)]
        + [(f"{f:g}", name, f"fraction-{model}-none-{f:g}") for f, name in shares],
    )
    yield from section(
        hits,
        f"{TITLES[model]}: share of the training images, click on it − none on all",
        [(f"{f:g}", name, none) for f, name in shares],
    )


def section(hits: Hits, title: str, pairs: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """A heading and `differences`, if there are runs beside those of the arms."""
    own = [name for _, *names in pairs for name in names if not name.startswith("arms-")]
    lines = list(differences(hits, pairs)) if any(seeds_of(hits, name) for name in own) else []
    if lines:
        yield f"### {title}"
        yield ""
        yield from lines


def tuning_section(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What was tried, and what tuning decided."""
    yield "### Tuning"
    yield ""
    yield "Accuracy on `val`, percent: mean of two seeds that nothing else uses, no points."
    yield ""
    tried: defaultdict[tuple[str, float, float], list[float]] = defaultdict(list)
    for row in rows:
        if row["group"] == "tune":
            rate, decay = row["recipe"]["optim.lr"], row["recipe"]["optim.weight_decay"]
            tried[row["model"], rate, decay].append(row["val_accuracy"])
    lines = []
    for model in MODELS:
        recipe = tuned_recipe(model, rows)
        chosen = recipe and (recipe.optim.lr, recipe.optim.weight_decay)
        for (_, *setting), found in sorted((k, v) for k, v in tried.items() if k[0] == model):
            mark = "chosen" if chosen == tuple(setting) else ""
            cells = [f"{value:g}" for value in setting]
            lines.append([TITLES[model], *cells, f"{100 * sum(found) / len(found):.1f}", mark])
    yield from table(["network", "learning rate", "weight decay", "accuracy", ""], lines)


def sections(hits: Hits, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """All tables as lines of Markdown."""
    yield ""
    yield from tuning_section(rows)
    for model in MODELS:
        yield from arms_section(hits, model, "arms", "the arms")
    for model in MODELS:
        yield from arms_section(hits, model, "longer", f"{LONGER_EPOCHS} epochs instead of 8")
    for model in MODELS:
        yield from sweep_section(hits, model)
    for model in MODELS:
        yield from pooling_section(hits, model)


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), default=ROWS.parent, help="Where all is."
)
def main(folder: Path) -> None:
    """Write tables and figures."""
    hits, rows = read_hits(folder / HITS.name, folder / IMAGES.name), read_rows(folder / ROWS.name)
    readme = folder / "README.md"
    text = readme.read_text() if readme.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    made = "\n".join(sections(hits, rows))
    readme.write_text(f"{before}{BEGIN}\n{made}{END}{after}")
    figures.draw_all(hits, folder)


if __name__ == "__main__":
    main()
