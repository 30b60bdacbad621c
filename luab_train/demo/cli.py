"""`luab-train demo`: parse, run, print."""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path

import click
from tqdm import tqdm

from luab_data.errors import LuabError

_WIDTH = 100


@click.command("demo")
@click.option("--fast", is_flag=True, help="One seed of less data, under a minute: for CI.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default="demo", show_default=True,
    help="Folder for everything the demo makes; a killed demo goes on there.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a demo of other sizes at OUT.")
@click.option(
    "--seeds", type=click.IntRange(min=1), help="Seeds an arm.  [default: 5; 1 with --fast]"
)
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=6.0, show_default=True,
    help="Wall time; no seed is begun that would probably end later.",
)  # fmt: skip
def demo_command(fast: bool, out: Path, force: bool, seeds: int | None, minutes: float) -> None:
    """Run the whole path on built-in data: raw logs, dataset, three arms, a table and a verdict.

    Real digits on real textures, simulated annotators, no network. It fails when a mechanism fails
    (exit code 1), never because of which arm is more accurate.
    """
    began = time.monotonic()
    # Costs a second: only now, not for --help.
    from luab_train.demo import story
    from luab_train.demo.recipe import FAST, FULL
    from luab_train.demo.run import run_demo, tell

    plan = FAST if fast else FULL
    num_seeds = seeds or (1 if fast else 5)

    def say(text: str) -> None:
        tqdm.write(text, file=sys.stdout)  # above a progress bar, if there is one
        sys.stdout.flush()

    say(textwrap.fill(story.BANNER, _WIDTH) + "\n")
    outcome = run_demo(out, plan, num_seeds=num_seeds, budget_s=60 * minutes, say=say, force=force)
    telling = tell(out, plan, outcome, num_seeds=num_seeds, say=say)
    notes, paragraph = (textwrap.fill(t, _WIDTH) for t in (story.TABLE_NOTES, telling.paragraph))
    say("\n".join(["", telling.table, "", notes, "", paragraph, ""]))
    for check in telling.checks:
        say(f"{'ok    ' if check.holds else 'FAILED'} {check.name}: {check.found}")
    say(
        f"\n{out / 'demo.png'}, {out / 'results.json'}; more: luab-train report {out / 'runs'}/*\n"
        f"{time.monotonic() - began:.0f} s, {outcome.num_seeds} of {num_seeds} seeds"
    )
    failed = [f"{check.name} ({check.found})" for check in telling.checks if not check.holds]
    if failed:
        raise LuabError(f"demo: a mechanism failed: {'; '.join(failed)}")
