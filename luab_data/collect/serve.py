"""[I/O] A study on the network: its parts put together, and the server that serves it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa

from luab_data.collect import tables as db
from luab_data.collect.app import Participants
from luab_data.collect.guard import LOOPBACK, make_app
from luab_data.collect.people import People, tasks_in
from luab_data.collect.pictures import Picture, Thumbnails, find_pictures
from luab_data.collect.plan import Task, make_tasks
from luab_data.collect.store import Store
from luab_data.collect.study import DATABASE, SECRET, Study, images_of, read_study, secret_of
from luab_data.errors import OptionError


class Opened(NamedTuple):
    """A study that is open.

    Args:
        study: what is asked.
        pictures: by key.
        store: the database.
        people: who takes part.
        app: the ASGI application.
    """

    study: Study
    pictures: dict[str, Picture]
    store: Store
    people: People
    app: Any


@contextmanager
def opened(
    folder: str | os.PathLike[str], *, database: str | None = None, public: str | None = None
) -> Iterator[Opened]:
    """Open a study; its tasks are made when it is opened first, and never again.

    Args:
        folder: of `luab-data collect init`.
        database: URL of SQLAlchemy; None is a file of SQLite in the folder.
        public: address that others reach it by; None is this machine alone.

    Raises:
        OptionError, ImagesError: the study, or its pictures, are not what they should be.
    """
    from luab_data.collect.dashboard import Dashboard  # it reads what is open

    place = Path(folder)
    study = read_study(place)
    root = images_of(place, study)
    pictures = find_pictures(root)
    if database is None:  # what people did is nobody else's to read on this machine
        (place / DATABASE).touch(mode=0o600)
        (place / DATABASE).chmod(0o600)
    store = Store(database or f"sqlite:///{place / DATABASE}")
    try:
        people = People(study, store, secret_of(place), _tasks(store, study, pictures))
        thumbnails = Thumbnails(root, pictures, place / "cache")
        participants = Participants(people, pictures, thumbnails)
        found = Opened(study, pictures, store, people, None)
        where = urlsplit(public or "http://localhost")
        is_secure = where.scheme == "https"
        routes = [*participants.routes(), *Dashboard(found, is_secure=is_secure).routes()]
        hosts = [where.hostname or ""] if public else LOOPBACK
        in_frames = "mturk" in study.entry.kinds
        app = make_app(routes, in_frames=in_frames, hosts=hosts, is_secure=is_secure)
        yield found._replace(app=app)
    finally:
        store.close()


def _tasks(store: Store, study: Study, pictures: dict[str, Picture]) -> dict[int, Task]:
    with store.alone() as connection:
        tasks = tasks_in(connection)
        if not tasks:
            made = [msgspec.json.encode(task).decode() for task in make_tasks(study, pictures)]
            connection.execute(sa.insert(db.tasks), [{"task": task} for task in made])
            tasks = tasks_in(connection)
    shown = {slot.picture for task in tasks.values() for page in task.pages for slot in page.slots}
    if gone := shown - set(pictures):
        raise OptionError(
            f"{len(gone):,} pictures of the study are gone or were renamed; expected the folder as"
            " it was when the study was first served: put them back, or make a new study"
        )
    return tasks


def add_round(study: Opened) -> int:
    """Make tasks of what was asked about in the last round and nobody selected; how many.

    Raises:
        OptionError: the last round is not finished, nothing is left, or nothing is selected in this
            kind of study.
    """
    people = study.people
    tasks = people.tasks.refreshed()
    last = max(task.round for task in tasks.values())
    asked: set[str] = set()
    selected: set[str] = set()
    with study.store.reading() as connection:
        rows = connection.execute(
            sa.select(db.sessions.c.task, db.answers.c.page, db.answers.c.answer).join(db.sessions)
        ).all()
    answered = {(task, page) for task, page, _ in rows}
    for number, task in tasks.items():
        for page, shown in enumerate(task.pages):
            if task.round != last:
                continue
            if shown.label is None:
                raise OptionError("a tagging study has one round: nothing is selected in it")
            if (number, page) not in answered:
                raise OptionError(
                    f"round {last} is not finished: wait until every page is answered"
                )
            asked.update(slot.picture for slot in shown.slots if slot.known)
    for number, page, text in rows:
        places = msgspec.json.decode(text).get("selected", ())
        slots = tasks[number].pages[page].slots
        selected.update(slots[k].picture for k in places if 0 <= k < len(slots))
    left = sorted(asked - selected)
    if not left:
        raise OptionError(f"somebody selected every picture of round {last}: nothing is left")
    made = make_tasks(study.study, study.pictures, only=left, round=last + 1)
    with study.store.alone() as connection:
        connection.execute(
            sa.insert(db.tasks), [{"task": msgspec.json.encode(task).decode()} for task in made]
        )
    return len(made)


def serve(
    folder: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    database: str | None = None,
    public: str | None = None,
    proxy: str = "127.0.0.1",
    ready: Callable[[str, str], None] | None = None,
) -> None:
    """Serve a study until it is stopped.

    Args:
        folder: of `luab-data collect init`.
        host, port: where to listen.
        database: as of `opened`.
        public: address that others reach it by, behind a reverse proxy; None is this machine alone.
        proxy: address of that proxy, whose word on who asks is taken.
        ready: told the address of people and that of the researcher, once both are open.

    Raises:
        OptionError: no such port is free; or the study is not fit to be public.
    """
    import uvicorn

    from luab_data.collect.dashboard import PATH, login_token

    read_study(Path(folder))  # before a secret is made of what is no study
    if public is not None:
        _check_public(Path(folder), public)
        logging.basicConfig(format="%(message)s")
        logging.getLogger(__package__).setLevel(logging.INFO)  # a line for each request
    elif host not in LOOPBACK:
        raise OptionError(
            f"--host {host}: others could reach the study; expected --public ADDRESS beside it, the"
            " address by which they do (docs/collect.md#letting-others-in)"
        )
    with (
        _listening(host, port) as listening,
        opened(folder, database=database, public=public) as study,
    ):
        address = (public or f"http://{host}:{listening.getsockname()[1]}").rstrip("/")
        config = uvicorn.Config(
            study.app,
            log_level="warning",
            access_log=False,
            proxy_headers=public is not None,
            forwarded_allow_ips=proxy,
            server_header=False,
        )
        if ready:
            ready(f"{address}/", f"{address}{PATH}#{login_token(study.people.secret)}")
        with suppress(KeyboardInterrupt):  # everything that was acknowledged is kept
            uvicorn.Server(config).run(sockets=[listening])


def _check_public(folder: Path, public: str) -> None:
    """Whether a study may be served to others by an address."""
    try:
        where = urlsplit(public)
        is_one = where.scheme in ("http", "https") and where.hostname and where.port != 0
    except ValueError:
        is_one = False
    if not is_one or where.path not in ("", "/") or where.query or where.fragment or where.username:
        raise OptionError(
            f"--public {public}: expected an address such as https://study.example.org"
        )
    if not (folder / SECRET).exists():
        raise OptionError(
            f"{folder / SECRET}: is not there; expected the study's secret before it is public: put"
            " it back, or make one by serving the study here first, and keep a copy"
        )


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens, before anybody is told of it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(
            f"{host}:{port}: cannot be listened to ({reason}); expected a free port: choose another"
            " by --port, 0 for any"
        ) from None


def progress_of(study: Opened) -> dict[str, int]:
    """Counts: what there is to do, and what is done."""
    with study.store.reading() as connection:

        def count(query: sa.Select[Any]) -> int:
            return int(connection.scalar(query) or 0)

        every = sa.select(sa.func.count()).select_from(db.sessions)
        return {
            "pictures": len(study.pictures),
            "sessions to do": study.study.entry.overlap
            * count(sa.select(sa.func.count()).select_from(db.tasks)),
            "sessions finished": count(every.where(db.sessions.c.finished_ms.is_not(None))),
            "sessions begun": count(every),
            "participants": count(sa.select(sa.func.count()).select_from(db.participants)),
            "pages answered": count(sa.select(sa.func.count()).select_from(db.answers)),
            "batches of events": count(sa.select(sa.func.count()).select_from(db.batches)),
        }
