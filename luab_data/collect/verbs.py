"""[I/O] The verbs of `luab-data collect`, of a study's folder: `luab_data.collect_init`, ..."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from luab_data.collect.demo import write_demo
from luab_data.collect.entry import invitation_of
from luab_data.collect.export import Exported, export
from luab_data.collect.pay import Pay, pay
from luab_data.collect.release import export_release
from luab_data.collect.serve import add_round, opened, progress_of, serve
from luab_data.collect.study import init, read_study, secret_of
from luab_data.conversion import AnyPath
from luab_data.errors import OptionError

collect_init, collect_serve, collect_demo = init, serve, write_demo


def collect_status(study: AnyPath, *, database: str | None = None) -> dict[str, int]:
    """How far a study is: what there is to do, and what is done.

    Args:
        study: its folder.
        database: URL of SQLAlchemy; None is a file of SQLite in the folder.

    Raises:
        OptionError, ImagesError: the study, or its pictures, are not what they should be.
    """
    with opened(study, database=database) as found:
        return progress_of(found)


def collect_export(
    study: AnyPath,
    out: AnyPath,
    *,
    format: Literal["log", "release"] = "log",
    finished: bool = False,
    database: str | None = None,
    force: bool = False,
) -> Exported:
    """Write what people did in a study.

    Args:
        study: its folder.
        out: the file: of the open log .jsonl, .jsonl.gz or .jsonl.zst; as the release .tar.gz of
            XML files (browsing) or .json (tagging).
        format: the open `log`, or that of the `release`, for tools that read ImageNet-AB or
            COCO-AB; `remarks` of what is returned say what it cannot hold.
        finished: leave out sessions that are not finished.
        database: as of collect_status.
        force: replace an earlier file.

    Raises:
        OptionError: another suffix, or the release cannot name the classes or pictures.
        OutputError: the file cannot be written.
    """
    write = {"log": export, "release": export_release}.get(format)
    if write is None:
        raise OptionError(f"format={format!r}; expected log or release")
    with opened(study, database=database) as found:
        return write(found, Path(out), finished=finished, force=force)


def collect_pay(
    study: AnyPath,
    out: AnyPath,
    *,
    results: AnyPath | None = None,
    bonuses: AnyPath | None = None,
    database: str | None = None,
    force: bool = False,
) -> Pay:
    """Write what is to be paid for a study, by what was decided on its dashboard.

    Args:
        study: its folder.
        out: a CSV file, a line a finished session; with `results` in the platform's form.
        results: the platform's own list, which alone knows people: MTurk's results of a batch, or
            Prolific's export.
        bonuses: a second file, of those who get one.
        database: as of collect_status.
        force: replace earlier files.

    Raises:
        OptionError: no such list, or of another study. OutputError: the files cannot be written.
    """
    given = [None if path is None else Path(path) for path in (results, bonuses)]
    with opened(study, database=database) as found:
        return pay(found, Path(out), results=given[0], bonuses=given[1], force=force)


def collect_invite(
    study: AnyPath, count: int, *, address: str = "http://127.0.0.1:8000/"
) -> list[str]:
    """Links to a study, each for one person.

    Args:
        study: its folder.
        count: how many.
        address: where people reach it.

    Raises:
        OptionError: its study.toml does not allow `link`.
    """
    place = Path(study)
    if "link" not in read_study(place).entry.kinds:
        raise OptionError(f'{place}: has no `link` among its ways in; expected kinds = ["link"]')
    secret = secret_of(place)
    return [f"{address}?invite={invitation_of(secret, k)}" for k in range(1, count + 1)]


def collect_next_round(study: AnyPath, *, database: str | None = None) -> int:
    """Ask again about what nobody selected; servers that run offer it at once.

    Args:
        study: its folder.
        database: as of collect_status.
    Returns: how many tasks there are more.

    Raises:
        OptionError: the last round is not finished, nothing is left, or it is a tagging study.
    """
    with opened(study, database=database) as found:
        return add_round(found)
