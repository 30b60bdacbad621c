"""[I/O] What participants reach of a study: pages, pictures, and where events go.

Every answer is JSON, a page of ours or a picture that was encoded anew. A request is of a session
by its token alone; one that changes anything must come from our own page.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from luab_data.collect.entry import arrive, leave, leave_unused
from luab_data.collect.guard import Budget, Wrong, decode, guarded, read
from luab_data.collect.people import PAUSED, People, Refused, Session
from luab_data.collect.pictures import Picture, Thumbnails
from luab_data.collect.plan import set_aside
from luab_data.collect.store import Ended, now_ms
from luab_data.collect.study import Label
from luab_data.collect.wire import EVENTS, Answer, Body, Events, Joining
from luab_data.errors import ImagesError

PAGES = Path(__file__).with_name("pages")
STATIC = {path.name for path in PAGES.iterdir() if path.suffix in (".js", ".css")}
_MOST_KNOWN = 20_000
JOINS = (5.0, 300.0)
"""Of an address: a second, and at once; a class of students has one address."""
BYTES = (500_000.0, 20_000_000.0)
"""Of a session's events: a second, and at once; a hurried hand makes 30,000 a second."""
UNKNOWN = "This session is not known; open the study again."
ROW = 100
"""Bytes of a batch beside its events."""
MOST_OF_SESSION = 200_000_000
"""Bytes of a session's events in all: two hours of a hurried hand."""
STATES = (1.0, 60.0)
"""Of a session: how often its page is made up, for which all of its events are read."""
DRAWING = 4
"""Pictures that are made smaller at once, so that they leave memory and threads for the rest."""


def _token(request: Request, token: str) -> str:
    """The token of a request: of its header, else of its body."""
    return request.headers.get("authorization", "").removeprefix("Bearer ") or token


class Participants:
    """The routes of participants.

    Args:
        people: who takes part.
        pictures: by key.
        thumbnails: what is served of them.
    """

    def __init__(
        self, people: People, pictures: dict[str, Picture], thumbnails: Thumbnails
    ) -> None:
        self._people, self._pictures, self._thumbnails = people, pictures, thumbnails
        self._labels = {label.name for label in people.study.classes}
        groups = {label.group for label in people.study.classes}
        self._names = {*self._labels, *groups, "", None}
        self._keys = set_aside(people.study, pictures)
        self._known: dict[str, int] = {}  # token -> session, of those that send events
        self._kept: dict[int, int] = {}  # session -> bytes of its events
        self._joins, self._bytes, self._states = Budget(*JOINS), Budget(*BYTES), Budget(*STATES)
        self._drawing = CapacityLimiter(DRAWING)

    def routes(self) -> list[Route]:
        """All of them."""
        post = partial(Route, methods=["POST"])
        return [
            Route("/", guarded(self.index)),
            Route("/static/{name}", guarded(self.static)),
            Route("/picture/{key}", guarded(self.picture)),
            Route("/api/study", guarded(self.study)),
            Route("/api/state", guarded(self.state)),
            post("/api/join", guarded(self.join)),
            post("/api/events", guarded(self.events)),
            post("/api/page", guarded(self.page)),
            post("/api/withdraw", guarded(self.withdraw)),
        ]

    async def index(self, request: Request) -> Response:
        """The page that everything happens on."""
        return FileResponse(PAGES / "index.html", headers={"Cache-Control": "no-cache"})

    async def static(self, request: Request) -> Response:
        """A script or a style sheet."""
        name = request.path_params["name"]
        if name not in STATIC:
            raise Wrong(404, "There is no such file.")
        return FileResponse(PAGES / name, headers={"Cache-Control": "no-cache"})

    async def picture(self, request: Request) -> Response:
        """A picture, at least as wide as `w`."""
        width = request.query_params.get("w", "648")
        if not (width.isdecimal() and width.isascii() and len(width) < 6):
            raise Wrong(400, "w is no width.")
        key = request.path_params["key"]
        try:
            found = await run_sync(self._thumbnails.get, key, int(width), limiter=self._drawing)
        except ImagesError:
            raise Wrong(502, "This picture cannot be read.") from None
        if found is None:
            raise Wrong(404, "There is no such picture.")
        body, kind = found
        return Response(body, media_type=kind, headers={"Cache-Control": "private, max-age=86400"})

    async def study(self, request: Request) -> Response:
        """What is said before somebody consents."""
        study = self._people.study
        closed = await run_in_threadpool(self._people.closed)
        return JSONResponse({"title": study.title, "consent": study.consent, "closed": closed})

    async def join(self, request: Request) -> Response:
        """Begin a session, or go on with it."""
        self._joins.spend(request.client.host if request.client else "", 1)
        joining: Joining = await read(request, Joining)
        if not joining.consent:
            raise Wrong(400, "Without consent nobody takes part.")
        people = self._people
        arrival = arrive(people.study.entry, joining.query, people.secret)
        try:
            held = _token(request, joining.token)
            token = await people.join(arrival.platform, arrival.who, arrival.entry, held)
        except Refused as refused:
            way = leave_unused(people.study.entry, arrival.entry)
            if way is None or str(refused) == PAUSED:  # else they may come back
                raise
            told = {"error": str(refused), "refused": True, "leave": way}
            return JSONResponse(told, status_code=403)
        return JSONResponse({"token": token})

    async def _session(self, request: Request, token: str = "") -> Session:
        """The session of a request."""
        given = _token(request, token)
        found = await run_in_threadpool(self._people.session, given) if given else None
        if found is None:
            raise Wrong(401, UNKNOWN)
        return found

    async def state(self, request: Request) -> Response:
        """All that the page has to know, from the start or after a reload."""
        return await self._answer(await self._session(request))

    async def _answer(self, session: Session) -> Response:
        self._states.spend(session.id, 1)
        return JSONResponse(await run_in_threadpool(self._state, session))

    def _state(self, session: Session) -> dict[str, Any]:
        people, study = self._people, self._people.study
        number = people.num_answered(session)
        state: dict[str, Any] = {
            "title": study.title,
            "task": study.task,
            "options": msgspec.to_builtins(study.options_of(session.arm)),
            "columns": study.grid.columns,
            "page": number,
            "num_pages": len(session.task.pages),
            "next_sequence": people.next_sequence(session),
            "begun_ms": session.begun_ms,
            "server_ms": now_ms(),
        }
        if number >= len(session.task.pages):
            code = people.code(session)
            way = leave(study.entry, session.entry, code)
            return {**state, "finished": True, "code": code, "leave": way}
        page = session.task.pages[number]
        labels = {label.name: label for label in study.classes}
        state["classes"] = [self._told(label) for label in study.classes]
        if page.label is not None:
            state["class"] = self._told(labels[page.label])
        state["slots"] = [
            {
                "slot": place,
                "picture": slot.picture,
                "width": self._pictures[slot.picture].width,
                "height": self._pictures[slot.picture].height,
            }
            for place, slot in enumerate(page.slots)
        ]
        state["events"] = [
            event
            for batch in people.events(session)
            for event in batch
            if event.get("page") == number and event.get("type") in _STATEFUL
        ]
        return state

    def _told(self, label: Label) -> dict[str, Any]:
        """What a page says of a class; its pictures by their keys."""
        told: dict[str, Any] = msgspec.to_builtins(label)
        told["examples"] = [self._keys[path] for path in label.examples]
        told["icon"] = self._keys.get(label.icon)
        return told

    async def events(self, request: Request) -> Response:
        """Keep a batch, once, whoever sends it how often; acknowledged when it is on the disk."""
        batch: Events = await read(request, Events)
        for event in decode(EVENTS, batch.events):
            is_placed = event.type in _PLACED
            known = self._labels if is_placed else self._names
            if event.label not in known or (is_placed and event.slot is None):
                raise Wrong(400, f"This request makes no sense: {event.type} of no class.")
        token = _token(request, batch.token)
        number = self._known.get(token)
        if number is None or number not in self._kept:
            found = await run_in_threadpool(self._people.admitted, token) if token else None
            if found is None:
                raise Wrong(401, UNKNOWN)
            number, length, count = found
            self._kept[number] = length + count * ROW
        cost = len(batch.events) + ROW
        if self._kept[number] + cost > MOST_OF_SESSION:
            raise Wrong(413, "This session holds all that is kept of one.")
        self._bytes.spend(number, cost)
        row = {
            "session": number,
            "sequence": batch.sequence,
            "received_ms": now_ms(),
            "events": bytes(batch.events).decode(),
        }
        try:
            await self._people.store.write_events(row)
        except Ended:
            self._known.pop(token, None)
            session = await self._session(request, batch.token)  # perhaps they have withdrawn
            if batch.sequence >= await run_in_threadpool(self._people.next_sequence, session):
                raise Wrong(410, "This session has ended: nothing more is kept of it.") from None
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
            self._kept.clear()
        self._known[token] = number
        self._kept[number] = self._kept.get(number, 0) + cost
        return JSONResponse({"acknowledged": batch.sequence, "server_ms": now_ms()})

    async def page(self, request: Request) -> Response:
        """Keep the answer to a page, once, after all of its events."""
        answer: Answer = await read(request, Answer)
        session = await self._session(request, answer.token)
        number = await run_in_threadpool(self._people.num_answered, session)
        if answer.page > number:
            raise Wrong(409, "The page before is not answered yet.")
        have = await run_in_threadpool(self._people.next_sequence, session)
        if have < answer.batches:
            raise Wrong(409, "Events of this page have not arrived yet.")
        if answer.page == number:
            body = msgspec.json.encode(answer.answer)
            await self._people.answer(session, answer.page, body)
        return await self._answer(session)

    async def withdraw(self, request: Request) -> Response:
        """Delete all of a participant."""
        body: Body = await read(request, Body)
        await self._people.withdraw(await self._session(request, body.token))
        self._known.clear()
        return JSONResponse({"withdrawn": True})


_PLACED = ("add", "move-label", "remove")
_STATEFUL = ("click", *_PLACED)
"""Events that a page looks otherwise after."""
