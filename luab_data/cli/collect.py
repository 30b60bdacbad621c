"""`luab-data collect`: a study of one's own, from a folder of pictures to a log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from luab_data.cli.options import FILE, FOLDER, NEW, NEW_FILE, force, with_options
from luab_data.console import LuabGroup
from luab_data.words import counted

_STUDY = click.argument("study", type=FOLDER)
_DATABASE = click.option(
    "--database", help="URL of PostgreSQL, postgresql+psycopg://... Default: a file in STUDY."
)


@click.group(cls=LuabGroup)
def collect() -> None:
    """Run an annotation study that logs what people do: browsing or tagging."""


@collect.command()
@click.argument("study", type=NEW)
@click.option("--images", type=FOLDER, required=True, help="The pictures; browsing wants a folder"
              " for each class.")  # fmt: skip
@click.option("--task", type=click.Choice(["browsing", "tagging"]), required=True,
              help="Pictures of a class on pages, or classes onto a picture.")  # fmt: skip
@click.option("--classes", type=FILE, help="A name a line, or JSON, a list or superclass -> list."
              " Default: the folders of IMAGES.")  # fmt: skip
@click.option("--title", help="What people see. Default: the folder's name.")
def init(study: Path, **options: Any) -> None:
    """Write STUDY/study.toml, to be read and changed before it is served."""
    from luab_data.collect.study import init

    path = init(study, **options)
    click.echo(f"{path}: read it, change it, then `luab-data collect serve {study}`")


@collect.command()
@_STUDY
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port."
)
@click.option("--public", metavar="ADDRESS", help="What others reach it by, https://..., through a"
              " reverse proxy. Default: nobody but this machine.")  # fmt: skip
@click.option("--proxy", default="127.0.0.1", show_default=True, help="Address of that proxy.")
@_DATABASE
def serve(study: Path, **options: Any) -> None:
    """Serve STUDY until Ctrl-C."""
    from luab_data.collect.serve import serve

    if options["public"]:
        click.echo(
            f"behind a reverse proxy with TLS that asks {options['host']}:{options['port']} with"
            " its own Host and X-Forwarded-For: docs/collect.md#letting-others-in"
        )
    serve(study, **options, ready=_saying("nothing is lost"))


def _saying(then: str) -> Callable[[str, str], None]:
    """Says the address for people, and the researcher's, which logs them in."""

    def say(people: str, researcher: str) -> None:
        click.echo(f"{people}  (Ctrl-C stops; {then})")
        click.echo(f"for you alone: {researcher}")

    return say


@collect.command()
@click.option("--study", type=NEW, default="collect-demo", show_default=True, help="Its folder.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
              help="Port of this machine.")  # fmt: skip
def demo(study: Path, port: int) -> None:
    """Serve a study of handwritten digits to try; Ctrl-C stops it."""
    from luab_data.collect.demo import write_demo
    from luab_data.collect.serve import serve

    write_demo(study)
    serve(study, port=port, ready=_saying(f"then `luab-data collect export {study}`"))


@collect.command()
@_STUDY
@_DATABASE
def status(study: Path, database: str | None) -> None:
    """Say how far STUDY is."""
    import luab_data

    for name, value in luab_data.collect_status(study, database=database).items():
        click.echo(f"{name:<22} {value:,}")


@collect.command()
@_STUDY
@click.option("--out", type=NEW_FILE, required=True, help="Log: .jsonl, .jsonl.gz or .jsonl.zst."
              " Release: .tar.gz (browsing) or .json (tagging).")  # fmt: skip
@click.option("--format", type=click.Choice(["log", "release"]), default="log", show_default=True,
              help="The open log, or what tools for ImageNet-AB or COCO-AB read.")  # fmt: skip
@click.option("--finished", is_flag=True, help="Finished sessions alone.")
@_DATABASE
@with_options(force("Replace an earlier log."))
def export(study: Path, out: Path, **options: Any) -> None:
    """Write what people did in STUDY, for `luab-data convert`."""
    import luab_data

    done = luab_data.collect_export(study, out, **options)
    click.echo(f"{out}: {counted(done.views, 'view')} of {counted(done.sessions, 'session')}")
    for remark in done.remarks:
        click.echo(remark)
    if done.views:
        click.echo(f"next: luab-data convert {done.verb} {out} --out DATASET")
    else:
        click.echo("no page is answered yet: nothing to convert")


@collect.command()
@_STUDY
@click.option("--out", type=NEW_FILE, required=True, help="CSV: a line a finished session, or the"
              " platform's list with what was decided.")  # fmt: skip
@click.option("--results", type=FILE, help="What the platform gives to download: MTurk's results"
              " of a batch, Prolific's export.")  # fmt: skip
@click.option("--bonuses", type=NEW_FILE, help="A second file, of those who get one; with"
              " --results.")  # fmt: skip
@_DATABASE
@with_options(force("Replace earlier files."))
def pay(study: Path, out: Path, **options: Any) -> None:
    """Write what is to be paid for STUDY, by what was decided on its dashboard."""
    import luab_data

    done = luab_data.collect_pay(study, out, **options)
    click.echo(
        f"{out}: {counted(done.accepted, 'session')} accepted ({done.reward_usd:.2f} USD and"
        f" {done.bonus_usd:.2f} USD of bonus), {done.rejected} rejected, {done.undecided} undecided"
    )
    if done.unknown:
        click.echo(f"{counted(done.unknown, 'line')} of {options['results']} of nobody here")
    if done.undecided:
        click.echo("decide on the dashboard that `luab-data collect serve` prints a link to")


@collect.command()
@_STUDY
@click.option("--count", type=click.IntRange(1, 100_000), required=True, help="How many links.")
@click.option("--address", default="http://127.0.0.1:8000/", show_default=True,
              help="Where people reach the study.")  # fmt: skip
def invite(study: Path, count: int, address: str) -> None:
    """Print links to STUDY, each for one person; its study.toml has to allow `link`."""
    import luab_data

    for link in luab_data.collect_invite(study, count, address=address):
        click.echo(link)


@collect.command("next-round")
@_STUDY
@_DATABASE
def next_round(study: Path, database: str | None) -> None:
    """Ask again about what nobody selected in STUDY; servers that run offer it."""
    import luab_data

    more = luab_data.collect_next_round(study, database=database)
    click.echo(f"{more:,} tasks more; servers that run offer them")
