"""`luab-data check`: is a dataset folder whole, and what is odd about the behaviour in it."""

from __future__ import annotations

import json

import click

from luab_data.console import terminal_width


@click.command()
@click.argument("dataset", metavar="DIR", type=str)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="ID",
    help="Lint by this rule only; give it several times for several. docs/rules.md lists them.",
)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Rows to name for each lint rule.",
)
@click.pass_context
def check(
    context: click.Context, dataset: str, as_json: bool, rules: tuple[str, ...], examples: int
) -> None:
    """Verify every file and row of DIR, and lint the behaviour in it.

    DIR is a dataset folder or a name under $LUAB_DATA_HOME. Exits with 1 if DIR is not whole. Lint
    findings are information about workers and tool: they alone exit with 0.
    """
    from luab_data.checks.check import check as verify

    report = verify(dataset, rules=rules, examples=examples)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        lines = report.as_text(terminal_width()).split("\n")
        click.echo("\n".join(map(_coloured, lines)))
    if not report.whole:
        context.exit(1)


_COLOURS = {"ok": "green", "partly": "yellow", "FAILED": "red", "error": "red", "warning": "yellow"}


def _coloured(line: str) -> str:
    """The line with its first word in colour if that is a status; off a terminal echo drops it."""
    word = line.partition(" ")[0]
    return click.style(word, fg=_COLOURS[word]) + line[len(word) :] if word in _COLOURS else line
