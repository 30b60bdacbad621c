"""[I/O] What the researcher reaches of a study: progress, people, replay, pause, the log.

A token that only the study's secret gives opens it, for a cookie of its own random value, whose
hash is kept in the database, so that every server of the study knows it. Every act is a row of the
audit. No answer holds more of a person than the beginning of their keyed hash.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from msgspec import Meta, Struct
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from luab_data.collect import tables as db
from luab_data.collect.app import PAGES
from luab_data.collect.export import export
from luab_data.collect.guard import Handler, Wrong, guarded, read
from luab_data.collect.pay import Decision, Row, decide, rows_of
from luab_data.collect.people import is_paused
from luab_data.collect.serve import Opened, progress_of
from luab_data.collect.store import Store, now_ms

PATH = "/researcher"
COOKIE = "luab-researcher"
HEADER = ("x-luab", "researcher")
"""Of every request that changes something: no form of another site can send it."""
LOGGED_IN_S = 12 * 3600
SLOWEST_S = 60.0
_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_MOST_CLIENTS = 10_000
_NUM_ACTS = 50
_SHOWN = ("t", "type", "slot", "x", "y", "fx", "fy", "label", "state", "layout", "pointer")
"""Of an event, in a replay."""

_clock = time.time


def login_token(secret: bytes) -> str:
    """The researcher's token: 128 bits of the study's secret, kept nowhere."""
    return hmac.digest(secret, b"researcher", "sha256").hex()[:32]


class _Login(Struct, forbid_unknown_fields=True):
    token: Annotated[str, Meta(max_length=200)]


class _Pause(Struct, forbid_unknown_fields=True):
    paused: bool


class _Decide(Struct, forbid_unknown_fields=True):
    """About sessions; `bonus_usd` None is what is suggested for each."""

    sessions: Annotated[list[Annotated[int, Meta(ge=0, lt=2**31)]], Meta(max_length=10_000)]
    decision: Decision
    bonus_usd: Annotated[float, Meta(ge=0, le=1000)] | None = None
    reason: Annotated[str, Meta(max_length=500)] = ""


class _Nothing(Struct, forbid_unknown_fields=True):
    pass


class Logins:
    """Who is logged in: hashes of cookies, in the database.

    Args:
        token: that opens the dashboard.
        store: the database.
    """

    def __init__(self, token: str, store: Store) -> None:
        self._token, self._store = token.encode(), store
        self._wrong: dict[str, tuple[int, float]] = {}  # client -> times, not before

    async def log_in(self, token: str, client: str) -> str:
        """A new cookie for the token.

        Args:
            token: as it was given.
            client: address of who asks; each wrong token doubles the time until its next one.

        Raises:
            Wrong: the token is wrong, or comes too soon after a wrong one.
        """
        now = _clock()
        times, not_before = self._wrong.get(client, (0, 0.0))
        if now < not_before:
            raise Wrong(429, f"Wrong before: try again in {not_before - now:.0f} s.")
        if not hmac.compare_digest(token.encode(), self._token):
            if len(self._wrong) >= _MOST_CLIENTS:
                self._wrong.pop(next(iter(self._wrong)))
            self._wrong[client] = times + 1, now + min(SLOWEST_S, 0.5 * 2.0 ** min(times, 10))
            raise Wrong(403, "This is not the researcher's token of this study.")
        self._wrong.pop(client, None)
        cookie = secrets.token_urlsafe(32)
        old = sa.delete(db.logins).where(db.logins.c.until_s <= sa.bindparam("now"))
        await self._store.write(old, {"now": now})
        row = {"cookie": _hashed(cookie), "until_s": now + LOGGED_IN_S}
        await self._store.write(sa.insert(db.logins), row)
        return cookie

    def is_in(self, cookie: str) -> bool:
        """Whether a cookie is one of ours that has not expired."""
        until = sa.select(db.logins.c.until_s).where(db.logins.c.cookie == _hashed(cookie))
        with self._store.reading() as connection:
            return float(connection.scalar(until) or 0.0) > _clock()

    async def log_out(self, cookie: str) -> None:
        """Forget a cookie."""
        gone = sa.delete(db.logins).where(db.logins.c.cookie == sa.bindparam("gone"))
        await self._store.write(gone, {"gone": _hashed(cookie)})


def _hashed(cookie: str) -> str:
    """What of a cookie is kept: nobody who reads the database can log in by it."""
    return hashlib.sha256(cookie.encode()).hexdigest()


class Dashboard:
    """The routes of the researcher.

    Args:
        study: open; its app is not used.
        is_secure: whether browsers reach it by TLS alone.
    """

    def __init__(self, study: Opened, *, is_secure: bool) -> None:
        self._study, self._is_secure = study, is_secure
        self._logins = Logins(login_token(study.people.secret), study.store)
        self._insert = sa.insert(db.audit)

    def routes(self) -> list[Route]:
        """All of them."""

        def route(path: str, handler: Handler, *methods: str) -> Route:
            return Route(f"{PATH}{path}", guarded(_private(handler)), methods=[*methods])

        inside = self._inside
        return [
            route("", self.page, "GET"),
            route("/api/login", _ours(self.log_in), "POST"),
            route("/api/logout", _ours(inside(self.log_out)), "POST"),
            route("/api/pause", _ours(inside(self.pause)), "POST"),
            route("/api/decide", _ours(inside(self.decide)), "POST"),
            route("/api/overview", inside(self.overview), "GET"),
            route("/api/replay", inside(self.replay), "GET"),
            route("/export", inside(self.download), "GET"),
        ]

    def _inside(self, handler: Handler) -> Handler:
        """Only for who is logged in."""

        async def answer(request: Request) -> Response:
            cookie = request.cookies.get(COOKIE, "")
            if not await run_in_threadpool(self._logins.is_in, cookie):
                raise Wrong(401, "Log in by the link that `luab-data collect serve` prints.")
            return await handler(request)

        return answer

    async def _note(self, act: str, about: str = "") -> None:
        """Write an act into the audit."""
        row = {"at_ms": now_ms(), "act": act, "about": about}
        await self._study.store.write(self._insert, row)

    async def page(self, request: Request) -> Response:
        """The page; it holds nothing before somebody logs in."""
        return FileResponse(PAGES / "dashboard.html")

    async def log_in(self, request: Request) -> Response:
        """A cookie for the token."""
        login: _Login = await read(request, _Login)
        client = request.client.host if request.client else ""
        try:
            cookie = await self._logins.log_in(login.token, client)
        except Wrong as wrong:
            if wrong.status == 403:  # those that come too soon are not looked at
                await self._note("wrong token")
            raise
        await self._note("log in")
        answer = JSONResponse({"logged_in": True})
        answer.set_cookie(
            COOKIE, cookie, max_age=LOGGED_IN_S, path=PATH, httponly=True, samesite="strict",
            secure=self._is_secure,
        )  # fmt: skip
        return answer

    async def log_out(self, request: Request) -> Response:
        """Forget the cookie."""
        await read(request, _Nothing)
        await self._logins.log_out(request.cookies[COOKIE])
        await self._note("log out")
        answer = JSONResponse({"logged_in": False})
        answer.delete_cookie(COOKIE, path=PATH)
        return answer

    async def pause(self, request: Request) -> Response:
        """Let nobody new begin, or let them again."""
        wanted: _Pause = await read(request, _Pause)
        await self._note("pause" if wanted.paused else "resume")
        return JSONResponse({"paused": wanted.paused})

    async def decide(self, request: Request) -> Response:
        """Accept or reject sessions that are finished, with a bonus and a reason."""
        wanted: _Decide = await read(request, _Decide)
        is_reject = wanted.decision == "reject"
        if is_reject and not wanted.reason.strip():
            raise Wrong(400, "A rejection needs a reason: the person reads it.")
        known = {row.session: row for row in await run_in_threadpool(self._rows)}
        bonuses = {}
        for session in dict.fromkeys(wanted.sessions):
            row = known.get(session)
            if row is None or row.code is None:
                raise Wrong(409, f"Session {session} is not finished, or not there any more.")
            suggested = row.bonus_usd if wanted.bonus_usd is None else wanted.bonus_usd
            bonuses[session] = 0.0 if is_reject else round(suggested, 2)
        act = partial(
            decide, bonuses=bonuses, decision=wanted.decision, reason=wanted.reason.strip()
        )
        await self._study.store.act(act)
        return JSONResponse({"decided": len(bonuses)})

    def _rows(self) -> list[Row]:
        return [*rows_of(self._study)]

    async def overview(self, request: Request) -> Response:
        """How far the study is, and who did what."""
        return JSONResponse(await run_in_threadpool(self._overview))

    def _overview(self) -> dict[str, Any]:
        study = self._study
        with study.store.reading() as connection:
            paused = is_paused(connection)
            acts = connection.execute(
                sa.select(db.audit).order_by(db.audit.c.id.desc()).limit(_NUM_ACTS)
            ).all()
        return {
            "title": study.study.title,
            "paused": paused,
            "progress": progress_of(study),
            "pages_to_do": study.study.entry.overlap
            * sum(len(task.pages) for task in study.people.tasks.refreshed().values()),
            "reward_usd": study.study.acceptance.reward_usd,
            "sessions": [
                {**msgspec.to_builtins(row), "recall": row.recall} for row in self._rows()
            ],
            "acts": [{"at_ms": a.at_ms, "act": a.act, "about": a.about} for a in acts],
        }

    async def replay(self, request: Request) -> Response:
        """What happened on a page, after a batch `since` that the researcher has already."""
        session, page, since = (_number(request, name) for name in ("session", "page", "since"))
        found = await run_in_threadpool(self._replay, session, page, since)
        if since < 0:
            await self._note("replay", f"session {session}, page {page + 1}")
        return JSONResponse(found)

    def _replay(self, session: int, page: int, since: int) -> dict[str, Any]:
        study = self._study
        one, batches = db.sessions.c, db.batches.c
        newer = sa.and_(batches.session == session, batches.sequence > since)
        with study.store.reading() as connection:
            row = connection.execute(
                sa.select(one.task, one.finished_ms).where(one.id == session)
            ).first()
            rows = connection.execute(
                sa.select(batches.sequence, batches.events)
                .where(newer)
                .order_by(batches.sequence)
            ).all()  # fmt: skip
        pages = study.people.tasks[row.task].pages if row else ()
        if row is None or page >= len(pages):
            raise Wrong(404, "There is no such page.")
        events = [event for batch in rows for event in msgspec.json.decode(batch.events)]
        return {
            "label": pages[page].label,
            "num_pages": len(pages),
            "finished": row.finished_ms is not None,
            "slots": [{"picture": s.picture, "known": s.known} for s in pages[page].slots],
            "last": rows[-1].sequence if rows else since,
            "events": [
                {key: event[key] for key in _SHOWN if key in event}
                for event in events
                if event.get("page") == page
            ],
        }

    async def download(self, request: Request) -> Response:
        """The log as it is now."""
        suffix = request.query_params.get("suffix", ".jsonl.zst")
        if suffix not in _SUFFIXES:
            raise Wrong(400, f"suffix: expected one of {', '.join(_SUFFIXES)}.")
        folder = tempfile.TemporaryDirectory(prefix="luab-export-")
        file = Path(folder.name) / f"log{suffix}"
        try:
            done = await run_in_threadpool(export, self._study, file)
            await self._note("export", f"{done.views} views of {done.sessions} sessions")
        except BaseException:
            folder.cleanup()
            raise
        return FileResponse(file, filename=file.name, background=BackgroundTask(folder.cleanup))


def _number(request: Request, name: str) -> int:
    """A whole number of the address; -1 where it is left out."""
    given = request.query_params.get(name, "-1")
    if given == "-1" and name == "since":
        return -1
    if not (given.isdecimal() and given.isascii() and len(given) < 10):
        raise Wrong(400, f"{name}: expected a whole number.")
    return int(given)


def _ours(handler: Handler) -> Handler:
    """Only with the header that our own page sends."""

    async def answer(request: Request) -> Response:
        name, value = HEADER
        if request.headers.get(name) != value:
            raise Wrong(403, "This request is not from the researcher's page.")
        return await handler(request)

    return answer


def _private(handler: Handler) -> Handler:
    """Kept by no cache, shown in no frame, not even where participants' pages are."""

    async def answer(request: Request) -> Response:
        response = await handler(request)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        return response

    return answer
