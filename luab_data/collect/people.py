"""[I/O] Who takes part, and where they stand: participants, sessions, pages, answers.

A participant is known by a keyed hash of the platform's id, or by a random id where there is none.
A token of 128 random bits is all that opens a session.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from luab_data.collect import tables as db
from luab_data.collect.plan import Task, arm_of, next_task
from luab_data.collect.store import Store, now_ms
from luab_data.collect.study import Study
from luab_data.errors import OptionError
from luab_data.raw.worker_ids import WorkerHash


class Session(Struct, frozen=True, kw_only=True):
    """One person's work on one task."""

    id: int
    participant: int
    arm: str | None
    task: Task
    task_id: int
    begun_ms: int
    finished_ms: int | None
    code: str | None
    entry: dict[str, str]


class Tasks(dict[int, Task]):
    """Tasks by their ids; those that another process has made since are looked up."""

    def __init__(self, store: Store, tasks: Mapping[int, Task]) -> None:
        super().__init__(tasks)
        self._store = store

    def __missing__(self, number: int) -> Task:
        return self.refreshed()[number]

    def refreshed(self) -> dict[int, Task]:
        """All that there are now."""
        with self._store.reading() as connection:
            found = tasks_in(connection)
        self.update(found)
        return found


def tasks_in(connection: sa.Connection) -> dict[int, Task]:
    """All tasks of a study."""
    rows = connection.execute(sa.select(db.tasks).order_by(db.tasks.c.id)).all()
    return {row.id: msgspec.json.decode(row.task, type=Task) for row in rows}


class Refused(OptionError):
    """Somebody may not take part, or not now; says why in words for them."""


PAUSED = "This study is paused at the moment. Please come back later."
BEGUN = (
    "You have begun this study before. Please go on in the browser and at the address where you"
    " began, or come back later."
)
NOTHING_LEFT = "Nothing is left to do in this study at the moment. Thank you!"


FORGET_S = 5.0
"""Until what is deleted is looked for in the database's log again, while others read it."""
VISIT = ("assignmentId", "submission")
"""Of a session's entry: what the platform tells of one visit, to that person alone."""


def is_paused(connection: sa.Connection) -> bool:
    """Whether the researcher's last word was that nobody new begins."""
    last = (
        sa.select(db.audit.c.act)
        .where(db.audit.c.act.in_(("pause", "resume")))
        .order_by(db.audit.c.id.desc())
        .limit(1)
    )
    return connection.scalar(last) == "pause"


class People:
    """The people of a study.

    Args:
        study: what is asked.
        store: the database.
        secret: by which ids are hashed and completion codes are made.
        tasks: made by plan.make_tasks, by their ids.
    """

    def __init__(
        self, study: Study, store: Store, secret: bytes, tasks: Mapping[int, Task]
    ) -> None:
        self.study, self.store, self.tasks = study, store, Tasks(store, tasks)
        self.secret = secret
        self._hash = WorkerHash(secret)

    def known_as(self, platform: str, who: str) -> str:
        """The keyed hash of somebody's id at a platform."""
        return str(self._hash(f"{platform}:{who}"))

    async def join(
        self, platform: str, who: str | None, entry: Mapping[str, str], held: str = ""
    ) -> str:
        """The token of a person's session: a new one, or that which they have not finished.

        Args:
            platform: that they come from: `open`, `link`, `mturk`, `prolific`.
            who: their id there; it is hashed before anything is written. None: nobody known.
            entry: what of the address the end of the session needs, without who they are.
            held: token of an earlier visit from the same browser. Others may know somebody's id,
                so it opens a session together with this, or with the platform's name of the visit.

        Raises:
            Refused: there is nothing for them.
        """
        person = self.known_as(platform, who) if who else secrets.token_hex(8)
        row = {
            "person": person,
            "entry": platform,
            "consented_ms": now_ms(),
        }
        return await self.store.act(partial(self._begin, row, bool(who), entry, held))

    def _begin(
        self,
        row: dict[str, Any],
        is_known: bool,
        entry: Mapping[str, str],
        held: str,
        connection: sa.Connection,
    ) -> str:
        """In one transaction: who is refused leaves no row."""
        token, left_by = secrets.token_urlsafe(16), msgspec.json.encode(dict(entry)).decode()
        is_me = db.participants.c.person == row["person"]
        one = db.sessions.c
        mine = connection.execute(
            sa.select(one.task, one.token, one.finished_ms, one.begun_ms, one.entry)
            .join(db.participants)
            .where(is_me)
        ).all()
        open_ones = [found for found in mine if found.finished_ms is None]
        for found in open_ones:
            before = msgspec.json.decode(found.entry, type=dict[str, str])
            is_same = all(before.get(key) == entry.get(key) for key in VISIT)
            if is_same or hmac.compare_digest(found.token.encode(), held.encode()):
                renewed = sa.update(db.sessions).where(one.token == found.token)
                connection.execute(renewed.values(entry=left_by))  # another assignment, perhaps
                return str(found.token)
        if is_paused(connection):
            raise Refused(PAUSED)
        num_open = sum(found.begun_ms > self._expired_ms() for found in open_ones)
        num_mine = len(mine) - len(open_ones) + num_open
        if is_known and num_mine >= self.study.entry.sessions_each:
            raise Refused(BEGUN if num_open else "You have done this study already. Thank you!")
        task = next_task(
            self._taken(connection), [found.task for found in mine], self.study.entry.overlap
        )
        if task is None:
            raise Refused(NOTHING_LEFT)
        arms = connection.execute(
            sa.select(db.participants.c.arm, sa.func.count()).group_by(db.participants.c.arm)
        ).all()
        row["arm"] = arm_of(self.study, row["person"], {arm: count for arm, count in arms})
        connection.execute(self.store.insert_new(db.participants), row)
        participant = connection.scalar(sa.select(db.participants.c.id).where(is_me))
        connection.execute(sa.insert(db.sessions), {
            "participant": participant, "token": token, "task": task, "begun_ms": now_ms(),
            "entry": left_by,
        })  # fmt: skip
        return token

    def closed(self) -> str | None:
        """Why nobody new can begin at the moment, in words for them; None: they can."""
        with self.store.reading() as connection:
            if is_paused(connection):
                return PAUSED
            task = next_task(self._taken(connection), (), self.study.entry.overlap)
            return NOTHING_LEFT if task is None else None

    def _expired_ms(self) -> int:
        """Who began before this, and has not finished, has left."""
        return now_ms() - self.study.entry.expires_minutes * 60_000

    def _taken(self, connection: sa.Connection) -> dict[int, int]:
        """Task -> sessions that are finished, or begun and not expired."""
        one = db.sessions.c
        counts = connection.execute(
            sa.select(one.task, sa.func.count())
            .where(sa.or_(one.finished_ms.is_not(None), one.begun_ms > self._expired_ms()))
            .group_by(one.task)
        ).all()  # fmt: skip
        taken = {task: count for task, count in counts}
        return {task: taken.get(task, 0) for task in connection.scalars(sa.select(db.tasks.c.id))}

    def session(self, token: str) -> Session | None:
        """The session that a token opens."""
        with self.store.reading() as connection:
            row = connection.execute(
                sa.select(db.sessions, db.participants.c.arm)
                .join(db.participants)
                .where(db.sessions.c.token == token)
            ).first()  # fmt: skip
        if row is None:
            return None
        return Session(
            id=row.id,
            participant=row.participant,
            arm=row.arm,
            task=self.tasks[row.task],
            task_id=row.task,
            begun_ms=row.begun_ms,
            finished_ms=row.finished_ms,
            code=row.code,
            entry=msgspec.json.decode(row.entry, type=dict[str, str]),
        )

    def events(self, session: Session) -> Iterator[list[Any]]:
        """Batches of a session in their order."""
        with self.store.reading() as connection:
            query = (
                sa.select(db.batches.c.events)
                .where(db.batches.c.session == session.id)
                .order_by(db.batches.c.sequence)
            )
            for row in connection.execution_options(yield_per=16).scalars(query):
                yield msgspec.json.decode(row)

    def admitted(self, token: str) -> tuple[int, int, int] | None:
        """The session that a token opens, characters of its events, and batches; in one question,
        for a thousand people ask it in their first two seconds.
        """
        one, events = db.sessions.c, db.batches.c.events
        query = (
            sa.select(one.id, sa.func.sum(sa.func.length(events)), sa.func.count(events))
            .outerjoin_from(db.sessions, db.batches)
            .where(one.token == token)
            .group_by(one.id)
        )
        with self.store.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else (row[0], int(row[1] or 0), row[2])

    def next_sequence(self, session: Session) -> int:
        """The number of the next batch."""
        with self.store.reading() as connection:
            last = connection.scalar(
                sa.select(sa.func.max(db.batches.c.sequence))
                .where(db.batches.c.session == session.id)
            )  # fmt: skip
        return 0 if last is None else int(last) + 1

    def num_answered(self, session: Session) -> int:
        """Pages that are answered: the next one is the page of that number."""
        with self.store.reading() as connection:
            return self._count(connection, session)

    @staticmethod
    def _count(connection: sa.Connection, session: Session) -> int:
        query = sa.select(sa.func.count()).where(db.answers.c.session == session.id)
        return int(connection.scalar(query) or 0)

    async def answer(self, session: Session, page: int, answer: bytes) -> None:
        """Keep the answer to a page, once; the last one ends the session with a code."""
        if page >= len(session.task.pages):
            return  # it has no such page
        row = {
            "session": session.id,
            "page": page,
            "received_ms": now_ms(),
            "answer": answer.decode(),
        }
        await self.store.act(partial(self._answer, session, row))

    def _answer(self, session: Session, row: dict[str, Any], connection: sa.Connection) -> None:
        connection.execute(self.store.insert_new(db.answers), row)
        if self._count(connection, session) >= len(session.task.pages):
            ended = sa.update(db.sessions).where(
                db.sessions.c.id == session.id, db.sessions.c.finished_ms.is_(None)
            )
            connection.execute(ended.values(finished_ms=now_ms(), code=self.code(session)))

    def code(self, session: Session) -> str:
        """The completion code of a session: 10 characters that only the study's secret gives."""
        made = hmac.digest(self.secret, f"code/{session.id}/{session.begun_ms}".encode(), "sha256")
        return made.hex()[:10].upper()

    async def withdraw(self, session: Session) -> None:
        """Delete all that is known of a participant."""
        gone = sa.delete(db.participants).where(db.participants.c.id == sa.bindparam("gone"))
        await self.store.write(gone, {"gone": session.participant})
        if not await asyncio.to_thread(self.store.forget):
            self._forgetting = asyncio.create_task(self._forget())  # kept, or it may be collected

    async def _forget(self) -> None:
        while not await asyncio.to_thread(self.store.forget):
            await asyncio.sleep(FORGET_S)
